"""Depth where nothing can be matched: planes through what is known around areas without texture.

The idea of planar priors (Xu & Tao 2020, "Planar Prior Assisted PatchMatch Multi-View Stereo"), turned round: planes
are not hypotheses for matching but are laid, after the check against other maps, through the confirmed pixels in and
around an area of weak texture, and only fill what lies between them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rilievo import kernels
from rilievo.stages import planes as pl
from rilievo.types import DepthMap, View

# Directions of `_first_hits`; the second four are opposite to the first.
_DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


@dataclass(frozen=True)
class PriorConfig:
    """Settings of `infer_depth`."""

    version: ClassVar[int] = 1

    max_texture: float = 5.0
    """standard deviation of grey values around a pixel below which its texture is weak"""
    min_area: float = 2e-4
    """smaller areas of weak texture are left as they are (share of the picture)"""
    min_anchors: int = 60
    """confirmed pixels that a plane must pass through"""
    min_share: float = 0.15
    """share of the confirmed pixels of an area that a plane must pass through"""
    max_planes: int = 4
    """planes in one area"""
    min_hits: int = 5
    """of eight directions, in how many a pixel must meet its plane's confirmed pixels before any others"""
    min_pairs: int = 2
    """pairs of opposite directions among them"""
    min_between: float = 0.5
    """share of an area that must lie so for the plane to go on towards the border of the picture"""
    max_beyond: float = 0.1
    """how far it then goes (share of the picture's width)"""
    confidence: float = 0.3
    """confidence of inferred depth"""
    relief: float = 0.01
    """what a wall may depart from flat a pixel of distance from confirmed depth, pixels"""
    max_relative: float = 0.01
    """by how much of the depth another map may differ"""
    seed: int = 0
    """seed of the search for planes"""


@dataclass(frozen=True)
class _Plane:
    """w = coefficients @ (1, x, y), x and y from `middle`; covariance of those, variance of pixels around the plane."""

    coefficients: np.ndarray
    middle: np.ndarray
    covariance: np.ndarray
    variance: float

    def at(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inverse depth and its variance."""
        terms = np.stack([np.ones(len(x)), x - self.middle[0], y - self.middle[1]], 1)
        return terms @ self.coefficients, ((terms @ self.covariance) * terms).sum(1) + self.variance


def infer_depth(
    depth_map: DepthMap, view: View, others: Iterable[DepthMap], *, config: PriorConfig | None = None
) -> DepthMap:
    """The map with depth also where texture is too weak to match, as far as planes through confirmed depth reach.

    depth_map: already checked (`filter_depth`); view: its picture; others: checked maps that see the same place, read
    once. A pixel is filled, and marked in `inferred`, when its surroundings are weakly textured, it lies between
    confirmed pixels of one plane (`min_hits`, `min_pairs`; nothing is laid over what only touches a plane, such as sky
    above a roof) and no other map looks through the place. Its sigma grows with the distance from what is known.
    Raises ValueError when map and view differ in size.
    """
    config = config or PriorConfig()
    if depth_map.depth.shape != view.pixels.shape[:2]:
        raise ValueError(f"the map of {view.name} is {depth_map.depth.shape}, its view {view.pixels.shape[:2]}")
    known = np.isfinite(depth_map.depth)
    weak = _weak_texture(pl.grey_image(view), config.max_texture)
    holes = weak & ~known
    if not known.any() or holes.sum() < config.min_area * holes.size:
        return depth_map
    key = hashlib.sha256(f"{config.seed}/{depth_map.name}".encode()).digest()
    labels, planes = _fit_areas(depth_map, known, weak, holes, np.random.default_rng(list(key[:8])), config)
    if not planes:
        return depth_map
    choice = _surrounding_plane(labels, weak, len(planes), config)
    y, x = np.nonzero(holes & (choice >= 0))
    return _filled(depth_map, planes, y, x, choice[y, x], known, others, config)


def _weak_texture(grey: np.ndarray, limit: float) -> np.ndarray:
    import cv2

    values = grey.astype(np.float32)
    mean = cv2.blur(values, (9, 9))
    variance = cv2.blur(values * values, (9, 9)) - mean * mean
    return (variance < limit * limit) & (grey > 0)


def _fit_areas(
    depth_map: DepthMap,
    known: np.ndarray,
    weak: np.ndarray,
    holes: np.ndarray,
    rng: np.random.Generator,
    config: PriorConfig,
) -> tuple[np.ndarray, list[_Plane]]:
    """Planes of all areas, and an int16 image: k + 1 where a confirmed pixel lies on plane k, -1 where it lies on none,
    0 where nothing is confirmed."""
    import cv2

    num, areas, stats, _ = cv2.connectedComponentsWithStats(weak.astype(np.uint8), connectivity=4)
    num_holes = np.bincount(areas[holes], minlength=num)
    labels = np.where(known, np.int16(-1), np.int16(0))
    planes: list[_Plane] = []
    margin = 6  # the window of a match: pixels beside an area share its border
    for area in range(1, num):
        if num_holes[area] < config.min_area * holes.size:
            continue
        left, top, width, height = (int(v) for v in stats[area, :4])
        rows = slice(max(top - margin, 0), top + height + margin)
        columns = slice(max(left - margin, 0), left + width + margin)
        near = cv2.dilate((areas[rows, columns] == area).astype(np.uint8), np.ones((2 * margin + 1,) * 2, np.uint8)) > 0
        near &= known[rows, columns]
        y, x = np.nonzero(near)
        y, x = y + rows.start, x + columns.start
        with np.errstate(divide="ignore"):
            w = 1.0 / depth_map.depth[y, x].astype(np.float64)
        sigma = np.maximum(depth_map.sigma[y, x].astype(np.float64) * w * w, 1e-12)
        left_over = np.ones(len(w), bool)
        for _ in range(config.max_planes):
            if left_over.sum() < max(config.min_anchors, config.min_share * len(w)):
                break
            found = _find_plane(x[left_over], y[left_over], w[left_over], sigma[left_over], rng)
            members = np.flatnonzero(left_over)[found[1]]
            if found[0] is None or len(members) < max(config.min_anchors, config.min_share * len(w)):
                break
            planes.append(found[0])
            labels[y[members], x[members]] = len(planes)
            left_over[members] = False
        if len(planes) > 30000:
            break
    return labels, planes


def _find_plane(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, sigma: np.ndarray, rng: np.random.Generator
) -> tuple[_Plane | None, np.ndarray]:
    """The plane through most pixels, and which ones (indices)."""
    pick = rng.permutation(len(x))[:1500]
    triples = rng.integers(0, len(pick), (150, 3))
    terms = np.stack([np.ones(len(x)), x, y], 1)
    corner = terms[pick][triples]
    flat = np.abs(np.linalg.det(corner)) < 20.0  # three pixels in a row or close together
    corner[flat] = np.eye(3)
    tried = np.linalg.solve(corner, w[pick][triples][..., None])[..., 0]
    limit = 2.5 * np.maximum(sigma, np.median(sigma))
    close = np.abs(terms[pick] @ tried.T - w[pick, None]) < limit[pick, None]
    votes = close.sum(0)
    votes[flat] = 0
    found = tried[int(np.argmax(votes))]
    if votes.max() < 3:
        return None, np.zeros(0, np.int64)
    members = np.zeros(0, np.int64)
    middle, solution, spread, normal = np.zeros(2), found, 0.0, np.eye(3)
    for _ in range(3):
        members = np.flatnonzero(np.abs(terms @ found - w) < limit)
        if len(members) < 3:
            return None, members[:0]
        middle = np.array([x[members].mean(), y[members].mean()])
        local = terms[members] - [0.0, *middle]
        weight = 1.0 / limit[members] ** 2
        normal = (local * weight[:, None]).T @ local
        if np.linalg.cond(normal / np.sqrt(np.outer(np.diag(normal), np.diag(normal)))) > 1e3:
            return None, members[:0]  # all in one line: tells no plane
        solution = np.linalg.solve(normal, (local * weight[:, None]).T @ w[members])
        residual = w[members] - local @ solution
        spread = float(np.mean(residual**2))
        found = np.array([solution[0] - solution[1:] @ middle, *solution[1:]])
    # Windows overlap: about one in 25 pixels is a measurement of its own.
    mean_weight = float(np.mean(1.0 / limit[members] ** 2))
    covariance = np.linalg.inv(normal / mean_weight) * spread * 25.0
    return _Plane(solution, middle, covariance, spread), members


def _surrounding_plane(labels: np.ndarray, weak: np.ndarray, num_planes: int, config: PriorConfig) -> np.ndarray:
    """For each weakly textured pixel the plane (0..) that it is taken to lie on, -1 for none: int16, as `labels`.

    Found on every second pixel of every second row: first what lies between confirmed pixels of a plane; then, in areas
    of which that is most, what is close to it towards the border of the picture.
    """
    import cv2

    small, holes = labels[::2, ::2].copy(), weak[::2, ::2] & (labels[::2, ::2] <= 0)
    small[weak[::2, ::2] & (small < 0)] = 0  # stray matches inside of an area stop no walk
    y, x = np.nonzero(holes)
    hits = np.stack([_first_hits(small, dy, dx)[y, x] for dy, dx in _DIRECTIONS])
    best, choice = np.zeros(len(x), np.int32), np.full(len(x), -1, np.int16)
    towards = choice.copy()
    for plane in range(1, num_planes + 1):
        meets = hits == plane
        count = meets.sum(0, dtype=np.int32)
        pairs = (meets[:4] & meets[4:]).sum(0)
        better = (count >= config.min_hits) & (pairs >= config.min_pairs) & (count > best)
        best[better] = count[better]
        choice[better] = plane - 1
        towards[(count >= 3) & (meets | (hits == 0)).all(0)] = plane - 1
    found = np.full(small.shape, -1, np.int16)
    found[y, x] = choice
    found = _smoothed(found, holes)
    num, found_areas = cv2.connectedComponents(holes.astype(np.uint8), connectivity=4)
    areas = np.asarray(found_areas, np.int32)
    share = np.bincount(areas[found >= 0], minlength=num) / np.maximum(np.bincount(areas.reshape(-1)), 1)
    far = cv2.distanceTransform((found < 0).astype(np.uint8), cv2.DIST_L2, 3) > config.max_beyond * found.shape[1]
    beyond = np.full(small.shape, -1, np.int16)
    beyond[y, x] = towards
    found = _smoothed(np.where((found < 0) & (share[areas] > config.min_between) & ~far, beyond, found), holes)
    return np.repeat(np.repeat(found, 2, 0), 2, 1)[: labels.shape[0], : labels.shape[1]]


def _smoothed(found: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Without single walks that went astray: a pixel of `holes` does as most around it do."""
    import cv2

    found = found.copy()
    around = np.maximum(cv2.blur(holes.astype(np.float32), (9, 9)), np.float32(1e-3))
    for plane in np.unique(found[found >= 0]):
        share = cv2.blur((found == plane).astype(np.float32), (9, 9)) / around
        found[(found == plane) & (share < 0.4)] = -1
        found[holes & (found < 0) & (share > 0.6)] = plane
    return found


def _first_hits(labels: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """For each pixel the first label other than 0 that a walk by (dy, dx) meets; 0 where it leaves the picture."""
    if dy == 0:  # along rows: as columns of the transposed image
        return np.ascontiguousarray(_first_hits(np.ascontiguousarray(labels.T), dx, 0).T)
    height, width = labels.shape
    out = np.zeros_like(labels)
    rows = range(height - 2, -1, -1) if dy > 0 else range(1, height)
    for row in rows:
        ahead = np.where(labels[row + dy] != 0, labels[row + dy], out[row + dy])
        if dx == 0:
            out[row] = ahead
        elif dx > 0:
            out[row, : width - 1] = ahead[1:]
        else:
            out[row, 1:] = ahead[: width - 1]
    return out


def _filled(
    depth_map: DepthMap,
    planes: list[_Plane],
    y: np.ndarray,
    x: np.ndarray,
    choice: np.ndarray,
    known: np.ndarray,
    others: Iterable[DepthMap],
    config: PriorConfig,
) -> DepthMap:
    import cv2

    shape = depth_map.depth.shape
    K = pl.index_matrix(depth_map.camera.K)
    inverse, variance = np.zeros(len(x)), np.zeros(len(x))
    slopes = np.zeros((*shape, 3), np.float32)
    for number in np.unique(choice):
        on = choice == number
        inverse[on], variance[on] = planes[number].at(y[on], x[on])
        slopes[y[on], x[on], 1:] = planes[number].coefficients[1:]
    nearest = 1.0 / np.nanmin(depth_map.depth)
    good = (inverse > 0.2 / np.nanmax(depth_map.depth)) & (inverse < nearest)
    y, x, inverse, variance = y[good], x[good], inverse[good], variance[good]
    slopes[y, x, 0] = inverse
    filled = np.full(shape, np.nan, np.float32)
    filled[y, x] = 1.0 / inverse
    objections, support = np.zeros(shape, np.int16), np.zeros(shape, np.int16)
    for other in others:
        Ko = pl.index_matrix(other.camera.K)
        verdict, _ = kernels.depth_agreement(
            filled,
            other.depth,
            pl.projection(Ko, pl.relative(other, depth_map), K),
            pl.projection(K, pl.relative(depth_map, other), Ko),
            max_error_px=2.0,
            max_relative=config.max_relative,
        )
        objections += verdict == 2
        support += verdict == 1
    kept = (objections[y, x] == 0) | (support[y, x] > 2 * objections[y, x])
    y, x, inverse, variance = y[kept], x[kept], inverse[kept], variance[kept]
    if not len(x):
        return depth_map
    distance = cv2.distanceTransform((~known).astype(np.uint8), cv2.DIST_L2, 3)[y, x]
    depth = 1.0 / inverse
    sigma = np.sqrt(variance * depth**4 + (config.relief * distance * depth / depth_map.camera.fx) ** 2)
    # What was not matched is never surer than what was.
    sigma = np.maximum(1.5 * sigma, 1.5 * float(np.nanmedian(depth_map.sigma)) * depth / np.nanmedian(depth_map.depth))
    with np.errstate(divide="ignore", invalid="ignore"):
        normals = pl.planes_to_depth(slopes, K)[1]
    out = [
        depth_map.depth.copy(), depth_map.normals.copy(), depth_map.confidence.copy(), depth_map.sigma.copy(),
    ]  # fmt: skip
    out[0][y, x], out[1][y, x], out[2][y, x], out[3][y, x] = depth, normals[y, x], config.confidence, sigma
    inferred = np.zeros(shape, bool)
    inferred[y, x] = True
    return DepthMap(
        depth_map.name, depth_map.camera, depth_map.cam_from_world, out[0], out[1], out[2], out[3], depth_map.sources,
        inferred,
    )  # fmt: skip
