"""Mirrors: places behind a wall, seen through it, that are the images of places before it.

Stereo sees what a mirror shows as if it lay behind the mirror's plane. So a mirror is a part of a plane through which
the photos see points that, laid back by reflection at the plane, fall on surfaces that the photos see directly, and
not into space that the photos see to be empty. A window or a door passes the first test and fails the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from rilievo import geometry
from rilievo.stages.mask_scene import Seen, look, places
from rilievo.types import PointCloud


@dataclass(frozen=True)
class MirrorConfig:
    """Settings of `find_mirrors`."""

    version: ClassVar[int] = 1

    num_planes: int = 8
    """planes of the scene that are looked behind, the largest first"""
    min_points: int = 60
    """fewest points behind a plane whose images fall on surfaces that are seen directly"""
    min_agreement: float = 0.6
    """smallest share of them among those whose images can be tested"""
    seed: int = 0
    """seed of the random planes"""


@dataclass(frozen=True, eq=False)
class Mirror:
    """A mirror: points x of its plane have normal @ x = offset (the normal points to the cameras), and it covers the
    cells of `extent` (bool (h, w)): cell [r, c] is at origin + (c + 0.5) * step * right + (r + 0.5) * step * down.
    num_agreeing, num_tested: points behind it whose images could be tested, and those that fell on surfaces."""

    normal: np.ndarray
    offset: float
    origin: np.ndarray
    right: np.ndarray
    down: np.ndarray
    step: float
    extent: np.ndarray
    num_agreeing: int
    num_tested: int


def find_mirrors(
    cloud: PointCloud, centers: np.ndarray, views: Sequence[Seen], far: float, *, config: MirrorConfig = MirrorConfig()
) -> list[Mirror]:
    """Mirrors of a scene. centers: of all cameras (n, 3).  views: what the photos see; all or some of them."""
    keep = np.diff(cloud.view_offsets) >= 2
    index = np.flatnonzero(keep)
    index = index[:: max(1, len(index) // 500_000)]
    if len(index) < 500:
        return []
    points = cloud.points[index].astype(np.float64) + cloud.origin
    normals = cloud.normals[index].astype(np.float64)
    spacing = cloud.spacing[index].astype(np.float64)
    by_name = {name: i for i, name in enumerate(cloud.names)}
    eyes = np.array([geometry.invert(v.view.cam_from_world)[:, 3] for v in views])
    seers = _seers(cloud, index, [by_name.get(v.view.name, -1) for v in views])
    found: list[Mirror] = []
    for normal, offset in _planes(points, normals, spacing, centers, config):
        mirror = _behind(points, spacing, normal, offset, eyes, seers, views, far, config)
        if mirror is not None and all(not _same(mirror, m) for m in found):
            found.append(mirror)
    return found


def mirror_mask(mirror: Mirror, seen: Seen) -> np.ndarray:
    """bool (h, w): where a view shows the mirror and nothing before it."""
    view = seen.view
    h, w = seen.depth.shape
    ray = places(view, np.ones((h, w), np.float32), 1.0) - (eye := geometry.invert(view.cam_from_world)[:, 3])
    along = ray @ mirror.normal
    with np.errstate(all="ignore"):
        depth = (mirror.offset - eye @ mirror.normal) / along
        at = eye + depth[..., None] * ray - mirror.origin
        column = np.floor(at @ mirror.right / mirror.step)
        row = np.floor(at @ mirror.down / mirror.step)
    rows, columns = mirror.extent.shape
    inside = (depth > 0) & (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    out = np.zeros((h, w), bool)
    out[inside] = mirror.extent[row[inside].astype(np.int64), column[inside].astype(np.int64)]
    hidden = (seen.depth < 0.97 * depth).astype(np.uint8)
    hidden = cv2.morphologyEx(hidden, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    return out & ~hidden


def _seers(cloud: PointCloud, index: np.ndarray, views: list[int]) -> np.ndarray:
    """bool (n, len(views)): which of the views measured which of the points."""
    counts = np.diff(cloud.view_offsets)[index]
    owner = np.repeat(np.arange(len(index)), counts)
    start = np.repeat(cloud.view_offsets[:-1][index] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    which = cloud.view_index[start + np.arange(len(owner))]
    number = np.full(len(cloud.names) + 1, -1)
    for k, v in enumerate(views):
        if v >= 0:
            number[v] = k
    out = np.zeros((len(index), len(views)), bool)
    ok = number[which] >= 0
    out[owner[ok], number[which[ok]]] = True
    return out


def _planes(
    points: np.ndarray, normals: np.ndarray, spacing: np.ndarray, centers: np.ndarray, config: MirrorConfig
) -> list[tuple[np.ndarray, float]]:
    """(normal, offset) of the largest planes that have all cameras on one side, the normal pointing to them."""
    rng = np.random.default_rng(config.seed)
    left = np.arange(len(points))
    out: list[tuple[np.ndarray, float]] = []
    least = max(300, len(points) // 200)
    for _ in range(3 * config.num_planes):
        if len(left) < least or len(out) == config.num_planes:
            break
        sample = rng.choice(left, min(len(left), 12_000), replace=False)
        p, n, tolerance = points[sample], normals[sample], 3 * spacing[sample]
        best, choice = 0, None
        for i in rng.integers(0, len(sample), 150):
            near = (np.abs((p - p[i]) @ n[i]) < tolerance) & (n @ n[i] > 0.95)
            if (count := int(near.sum())) > best:
                best, choice = count, (n[i], n[i] @ p[i])
        if choice is None:
            break
        normal, offset = choice
        for _ in range(3):
            near = (np.abs(points[left] @ normal - offset) < 3 * spacing[left]) & (normals[left] @ normal > 0.9)
            if near.sum() < least:
                break
            middle = points[left[near]].mean(0)
            normal = np.linalg.svd(points[left[near]] - middle, full_matrices=False)[2][2]
            normal = normal * np.sign(normal @ (centers.mean(0) - middle))
            offset = float(normal @ middle)
        near = np.abs(points[left] @ normal - offset) < 4 * spacing[left]
        if near.sum() < least:
            break
        side = centers @ normal - offset
        if (side > 0).all():
            out.append((normal, float(offset)))
        left = left[~near]
    return out


def _behind(
    points: np.ndarray,
    spacing: np.ndarray,
    normal: np.ndarray,
    offset: float,
    eyes: np.ndarray,
    seers: np.ndarray,
    views: Sequence[Seen],
    far: float,
    config: MirrorConfig,
) -> Mirror | None:
    """The mirror in a plane, if there is one; a mirror may hang a little before its wall or lie in it."""
    height = points @ normal - offset
    reach = float(np.median(eyes @ normal - offset))
    behind = np.flatnonzero(height < -np.maximum(8 * spacing, 0.02 * reach))
    if len(behind) < config.min_points:
        return None
    tested = behind[:: max(1, len(behind) // 6000)]
    shifts = np.linspace(-0.03, 0.03, 25) * reach
    counts = [_reflected_agreement(points[tested], normal, offset + d, views, far, 0.006)[0] for d in shifts]
    # Images of floor and side walls slide along these when the plane is shifted, and tell nothing: of the shifts that
    # are as good as the best, the smallest.
    good = np.flatnonzero(np.array(counts) >= 0.93 * max(counts))
    best = offset + float(shifts[good[np.argmin(np.abs(shifts[good]))]])
    agree, usable = _reflected_agreement(points[tested], normal, best, views, far, 0.015)
    if agree < config.min_points or agree < config.min_agreement * usable:
        return None
    return _extent(points, spacing, normal, best, eyes, seers, agree, usable)


def _reflected_agreement(
    points: np.ndarray, normal: np.ndarray, offset: float, views: Sequence[Seen], far: float, margin: float
) -> tuple[int, int]:
    """(images of points that fall on a surface which some view sees, images that can be tested): in one of the views
    they lie on its surface, or in the empty space before it."""
    image = points - 2 * (points @ normal - offset)[:, None] * normal
    on, through = np.zeros(len(points), bool), np.zeros(len(points), bool)
    for seen in views:
        _, a, b = look(image, seen, far, margin=margin)
        on |= a
        through |= b
    return int(on.sum()), int((on | through).sum())


def _extent(
    points: np.ndarray,
    spacing: np.ndarray,
    normal: np.ndarray,
    offset: float,
    eyes: np.ndarray,
    seers: np.ndarray,
    agree: int,
    tested: int,
) -> Mirror | None:
    """The cells of the plane through which points behind it are seen, less those where points lie on it."""
    height = points @ normal - offset
    tolerance = np.maximum(8 * spacing, 0.02 * float(np.median(eyes @ normal - offset)))
    crossing = []
    for k, eye in enumerate(eyes):
        p = points[seers[:, k] & (height < -tolerance)]
        t = (eye @ normal - offset) / ((eye - p) @ normal)
        crossing.append(eye + t[:, None] * (p - eye))
    through = np.concatenate(crossing)
    on = points[np.abs(height) < 0.5 * tolerance]
    if len(through) < 50:
        return None
    axis = np.eye(3)[np.argmin(np.abs(normal))]
    right = np.cross(axis, normal)
    right /= np.linalg.norm(right)
    down = np.cross(normal, right)
    u = np.stack([through @ right, through @ down], -1)
    low, high = np.quantile(u, 0.002, axis=0), np.quantile(u, 0.998, axis=0)
    margin = 0.1 * (high - low)
    low, high = low - margin, high + margin
    step = float((high - low).max() / 160)
    size = np.maximum(np.ceil((high - low) / step).astype(int), 3)

    def votes(x: np.ndarray) -> np.ndarray:
        c = np.floor((np.stack([x @ right, x @ down], -1) - low) / step).astype(int)
        c = c[(c >= 0).all(1) & (c < size).all(1)]
        return cv2.GaussianBlur(
            np.bincount(c[:, 1] * size[0] + c[:, 0], minlength=size.prod()).reshape(size[::-1]).astype(np.float32),
            (0, 0),
            0.8,
        )

    seen_through, seen_on = votes(through), votes(on)
    # A point on the plane has one vote, one behind it as many as photos see it.
    share = seers[np.abs(height) < 0.5 * tolerance].sum(1).mean() if len(on) else 1.0
    level = 0.05 * float(np.median(seen_through[seen_through > 0])) if (seen_through > 0).any() else 0.0
    mirror = (seen_through > level) & (seen_through > 0.5 * share * seen_on)
    extent = _filled(mirror, (seen_on > 0.3) & (share * seen_on > seen_through))
    if extent is None:
        return None
    origin = normal * offset + right * low[0] + down * low[1]
    return Mirror(normal, offset, origin, right, down, step, extent, agree, tested)


def _filled(mirror: np.ndarray, wall: np.ndarray) -> np.ndarray | None:
    """The largest part, grown up to where points lie on the plane, and then the rectangle or the convex shape around it
    where nearly all of that is no wall: a mirror shows little near its rim, where views of it differ most."""
    closed = cv2.morphologyEx(mirror.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    closed = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    count, label, stats, _ = cv2.connectedComponentsWithStats(closed)
    if count < 2:
        return None
    part = (label == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    size = int(np.sqrt(part.sum()))
    for _ in range(max(2, size // 8)):
        part = cv2.dilate(part, np.ones((3, 3), np.uint8)) * ~wall
    part = cv2.morphologyEx(part, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    if not part.any():
        return None
    outline, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.convexHull(np.concatenate(outline))
    shapes = [np.rint(cv2.boxPoints(cv2.minAreaRect(hull))).astype(np.int32), hull.astype(np.int32)]
    for shape in shapes:
        whole = cv2.fillConvexPoly(np.zeros_like(part), shape.reshape(-1, 1, 2), 1) > 0
        if (wall & whole).sum() < 0.08 * whole.sum() and part.sum() > 0.6 * whole.sum():
            return whole
    return part > 0


def _same(a: Mirror, b: Mirror) -> bool:
    middle = [m.origin + m.step * (m.extent.shape[1] * m.right + m.extent.shape[0] * m.down) / 2 for m in (a, b)]
    size = a.step * max(a.extent.shape)
    return bool(a.normal @ b.normal > 0.97 and np.linalg.norm(middle[0] - middle[1]) < 0.5 * size)
