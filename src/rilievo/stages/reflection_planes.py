"""Planes in which a mirror or a pane may lie: walls, and the rims of openings in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rilievo import geometry
from rilievo.stages.mask_scene import Seen
from rilievo.stages.sheets import Sheet, sheet_of
from rilievo.types import PointCloud

Plane = tuple[np.ndarray, float]
"""normal (3,), pointing to the cameras, and offset: normal @ x = offset."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Points of a scene that at least two photos measured, in world axes, float64. seers: bool (n, views), which of the
    views did.  reach: usual distance from a camera to what it sees.  eyes: of the views (v, 3).  cameras: all (n, 3).
    """

    points: np.ndarray
    normals: np.ndarray
    spacing: np.ndarray
    seers: np.ndarray
    eyes: np.ndarray
    cameras: np.ndarray
    reach: float

    @staticmethod
    def of(cloud: PointCloud, centers: np.ndarray, views: Sequence[Seen], most: int = 300_000) -> Measured | None:
        """None where there are too few points."""
        kept = np.diff(cloud.view_offsets) >= 2
        index = np.flatnonzero(kept if cloud.inferred is None else kept & ~cloud.inferred)
        index = index[:: max(1, len(index) // most)]
        if len(index) < 500 or len(views) < 3:
            return None
        points = cloud.points[index].astype(np.float64) + cloud.origin
        by_name = {name: i for i, name in enumerate(cloud.names)}
        eyes = np.array([geometry.invert(v.view.cam_from_world)[:, 3] for v in views])
        seers = _seers(cloud, index, [by_name.get(v.view.name, -1) for v in views])
        some = points[:: max(1, len(points) // 2000)]
        reach = float(np.median(np.linalg.norm(some[:, None] - eyes[None], axis=2)))
        return Measured(
            points, cloud.normals[index].astype(np.float64), cloud.spacing[index].astype(np.float64), seers, eyes,
            centers, reach,
        )  # fmt: skip

    def crossings(self, plane: Plane, depth: float) -> np.ndarray:
        """Where the lines of sight to points at least that far behind a plane cross it (n, 3)."""
        normal, offset = plane
        height = self.points @ normal - offset
        out = []
        for k, eye in enumerate(self.eyes):
            p = self.points[self.seers[:, k] & (height < -depth)]
            t = (eye @ normal - offset) / ((eye - p) @ normal)
            out.append(eye + t[:, None] * (p - eye))
        return np.concatenate(out)


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


def walls(measured: Measured, *, most: int, seed: int) -> list[Plane]:
    """The largest planes that have all cameras on one side."""
    points, normals, spacing = measured.points, measured.normals, measured.spacing
    rng = np.random.default_rng(seed)
    left = np.arange(len(points))
    out: list[Plane] = []
    least = max(300, len(points) // 200)
    for _ in range(3 * most):
        if len(left) < least or len(out) == most:
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
            normal, offset = fitted(points[left[near]], measured.cameras.mean(0))
        near = np.abs(points[left] @ normal - offset) < 4 * spacing[left]
        if near.sum() < least:
            break
        if (measured.cameras @ normal - offset > 0).all():
            out.append((normal, float(offset)))
        left = left[~near]
    return out


def fronts(measured: Measured, planes: Sequence[Plane], *, most: int = 4) -> list[Plane]:
    """Planes parallel to walls and before them in which something narrow lies, such as a cabinet's frame."""
    reach, least = measured.reach, max(120, len(measured.points) // 2500)
    normals: list[np.ndarray] = []
    out: list[Plane] = []
    for normal, _ in planes:
        if any(normal @ other > 0.99 for other in normals):
            continue
        normals.append(normal)
        along = measured.points[measured.normals @ normal > 0.94] @ normal
        nearest = float((measured.cameras @ normal).min())
        if len(along) < least:
            continue
        step = 0.004 * reach
        edges = np.arange(along.min() - step, nearest, step)
        if len(edges) < 4:
            continue
        count = np.histogram(along, edges)[0]
        count = np.convolve(count, [1, 1, 1], "same")
        peaks = np.flatnonzero(
            (count >= least) & (count == cv2.dilate(count.astype(np.float32), np.ones((9, 1))).ravel())
        )
        taken = [o for n, o in planes if n @ normal > 0.99]
        for k in peaks[np.argsort(-count[peaks], kind="stable")]:
            middle = float(edges[k] + edges[k + 1]) / 2
            if len([1 for n, _ in out if n is normal]) < most and all(abs(middle - o) > 0.012 * reach for o in taken):
                near = along[np.abs(along - middle) < 1.5 * step]
                out.append((normal, float(np.median(near))))
                taken.append(float(middle))
    return out


def fitted(points: np.ndarray, towards: np.ndarray) -> Plane:
    """The plane of points, its normal to the side of `towards`."""
    middle = points.mean(0)
    _, axes = np.linalg.eigh(np.cov((points - middle).T))
    normal = axes[:, 0] * np.sign(axes[:, 0] @ (towards - middle))
    return normal, float(normal @ middle)


def openings(
    measured: Measured, wall: Plane, level: np.ndarray, *, cells: int, enclosed: float, depth: float = 0.03
) -> list[tuple[Sheet, np.ndarray]]:
    """Parts of a wall through which points behind it are seen: a sheet of the wall and the cells of each, the largest
    first. cells: of the sheet, to the length of reach.  enclosed: the least share of a part's rim where something
    stands.  depth: how far behind, as a share of reach."""
    normal, offset = wall
    reach = measured.reach
    through = measured.crossings(wall, depth * reach)
    height = measured.points @ normal - offset
    on = measured.points[(np.abs(height) < 0.02 * reach) & (measured.normals @ normal > 0.7)]
    if len(through) < 40 or len(on) < 40:
        return []
    sheet = sheet_of(normal, offset, on, reach / cells, level, most=2 * cells)
    seen_on, seen_through = votes(sheet, on), votes(sheet, through)
    # A point on the wall has one vote, one behind it as many as photos measured it.
    share = max(float(measured.seers.sum(1).mean()), 1.0)
    open_ = (seen_through > 0.3) & (seen_through > share * seen_on)
    barred = cv2.morphologyEx((seen_on > 0.3).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0
    open_ = cv2.morphologyEx(open_.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    if cells > 100:  # where cells are small enough for frames to be seen
        open_ = open_ * ~barred
    open_ = cv2.morphologyEx(open_, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, label, stats, _ = cv2.connectedComponentsWithStats(open_)
    order = [
        k
        for k in np.argsort(-stats[:, cv2.CC_STAT_AREA], kind="stable")
        if k and stats[k, cv2.CC_STAT_AREA] > 150 * (cells / 160) ** 2
    ]
    return [(sheet, label == k) for k in order[:3] if _enclosed(measured, sheet, label == k) > enclosed]


def _enclosed(measured: Measured, sheet: Sheet, opening: np.ndarray) -> float:
    """Share of an opening's surroundings where something stands that bounds it."""
    height = measured.points @ sheet.normal - sheet.offset
    near = votes(sheet, measured.points[np.abs(height) < 0.08 * measured.reach]) > 0.05
    ring = cv2.dilate(np.pad(opening, 4).astype(np.uint8), np.ones((9, 9), np.uint8)) - np.pad(opening, 4)
    return float((ring[4:-4, 4:-4] * near).sum() / max(ring.sum(), 1))


def votes(sheet: Sheet, points: np.ndarray) -> np.ndarray:
    """Number of points at each cell, a little blurred: float32 (rows, columns)."""
    c = np.floor(sheet.cells(points)).astype(np.int64)
    rows, columns = sheet.shape
    c = c[(c >= 0).all(1) & (c[:, 0] < columns) & (c[:, 1] < rows)]
    count = np.bincount(c[:, 1] * columns + c[:, 0], minlength=rows * columns).reshape(rows, columns)
    return cv2.GaussianBlur(count.astype(np.float32), (0, 0), 0.8)


def rims(measured: Measured, sheet: Sheet, opening: np.ndarray, *, seed: int) -> list[Plane]:
    """Planes of what surrounds an opening: a frame that leans, or stands before its wall."""
    reach = measured.reach
    size = int(np.sqrt(opening.sum()))
    ring = cv2.dilate(opening.astype(np.uint8), np.ones((2 * max(3, size // 4) + 1,) * 2, np.uint8)) > 0
    cells = np.floor(sheet.cells(measured.points)).astype(np.int64)
    rows, columns = sheet.shape
    height = measured.points @ sheet.normal - sheet.offset
    near = (height > -0.03 * reach) & (height < 0.2 * reach)
    near &= (cells >= 0).all(1) & (cells[:, 0] < columns) & (cells[:, 1] < rows)
    near[near] = ring[cells[near, 1], cells[near, 0]]
    near &= measured.normals @ sheet.normal > 0.85
    left = np.flatnonzero(near)
    rng = np.random.default_rng(seed)
    out: list[Plane] = []
    total = len(left)
    while len(left) > max(60, 0.06 * total) and len(out) < 3:
        p, n = measured.points[left], measured.normals[left]
        tolerance = 0.004 * reach
        sample = rng.choice(len(left), min(len(left), 4000), replace=False)
        best, choice = 0, None
        for i in rng.integers(0, len(left), 120):
            m = n[rng.integers(0, len(left), 1)[0]] if rng.random() < 0.3 else n[i]
            close = np.abs((p[sample] - p[i]) @ m) < tolerance
            if (c := int(close.sum())) > best:
                best, choice = c, (m, float(m @ p[i]))
        assert choice is not None
        plane = choice
        for _ in range(3):
            close = np.abs(p @ plane[0] - plane[1]) < tolerance
            if close.sum() < 30:
                break
            plane = fitted(p[close], measured.cameras.mean(0))
        close = np.abs(p @ plane[0] - plane[1]) < 1.5 * tolerance
        if close.sum() < 30:
            break
        if plane[0] @ sheet.normal > 0.9 and (measured.cameras @ plane[0] > plane[1]).all():
            out.append(plane)
        left = left[~close]
    return out
