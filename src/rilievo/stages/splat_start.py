"""Where Gaussians start: discs along a dense cloud, sparse points, the visual hull of cut-out photos, or chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rilievo import kernels
from rilievo.gaussians import SH_C0
from rilievo.stages.splat_photos import SizedPhoto
from rilievo.stages.splat_rows import HARMONICS, LOGIT, MEAN, QUAT, ROW, SCALE
from rilievo.types import PointCloud

HULL_CELLS = 112  # along each side of the box that the visual hull is looked for in


@dataclass(frozen=True)
class Start:
    """Gaussians to begin with: rows float32 (n, 64), relative to the stack's origin; how they were found."""

    rows: np.ndarray
    method: str


def from_points(
    points: np.ndarray,
    colors: np.ndarray,
    *,
    opacity: float,
    normals: np.ndarray | None = None,
    spacing: np.ndarray | None = None,
) -> np.ndarray:
    """Rows of Gaussians at points (n, 3) with colours uint8 (n, 3): as wide as the mean distance to their three nearest
    neighbours (Kerbl et al. 2023, section 5.1; never wider than three times the median), flat along `normals` (n, 3)
    where there are some. spacing (n,): at least so wide."""
    n = len(points)
    rows = np.zeros((n, ROW), np.float32)
    points = np.ascontiguousarray(points, np.float32)
    rows[:, MEAN] = points
    width = np.full(n, 1.0)
    if n > 3:
        _, distance = kernels.nearest_points(*kernels.build_tree(points), points, 4, np.inf)
        width = np.maximum(distance[:, 1:].mean(1), 1e-9)
        width = np.minimum(width, 3 * np.median(width))
    if spacing is not None:
        width = np.maximum(width, spacing)
    scales = np.repeat(width[:, None], 3, 1)
    rows[:, QUAT] = [1, 0, 0, 0]
    if normals is not None:
        scales[:, 2] *= 0.15
        rows[:, QUAT] = turn_z_to(normals)
    rows[:, SCALE] = np.log(scales)
    rows[:, LOGIT] = np.log(opacity / (1 - opacity))
    rows[:, HARMONICS : HARMONICS + 3] = (colors.astype(np.float32) / 255 - 0.5) / SH_C0
    return rows


def turn_z_to(normals: np.ndarray) -> np.ndarray:
    """Unit quaternions w x y z (n, 4) of the shortest rotations that take the z axis to unit normals (n, 3)."""
    n = np.asarray(normals, np.float64)
    n = np.where(n[:, 2:] < 0, -n, n)  # a disc has two sides: never more than 90 degrees
    q = np.stack([1 + n[:, 2], -n[:, 1], n[:, 0], np.zeros(len(n))], 1)
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def from_cloud(cloud: PointCloud, origin: np.ndarray, *, max_splats: int) -> np.ndarray:
    """Discs along a dense cloud, thinned to at most max_splats points by cells of a grid."""
    points = cloud.points.astype(np.float64) + (cloud.origin - origin)
    keep = thin(points, max_splats)
    normals = cloud.normals[keep]
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.where(length > 0.5, normals / np.maximum(length, 1e-9), [[0, 0, 1]])
    return from_points(points[keep], cloud.colors[keep], opacity=0.5, normals=normals)


def thin(points: np.ndarray, most: int) -> np.ndarray:
    """Numbers of at most `most` points spread evenly: the first of each cell of the finest grid that has so few."""
    if len(points) <= most:
        return np.arange(len(points))
    low = points.min(0)
    extent = float((points.max(0) - low).max())
    fine, coarse = 1e-6 * extent, extent
    keep = np.arange(1)
    for _ in range(24):
        cell = float(np.sqrt(fine * coarse))
        found = _first_of_cells(points - low, cell)
        if len(found) > most:
            fine = cell
        else:
            coarse, keep = cell, found
            if len(found) > 0.97 * most:
                break
    return keep


def _first_of_cells(points: np.ndarray, cell: float) -> np.ndarray:
    at = np.floor(points / cell).astype(np.int64)
    key = (at[:, 0] * 2097152 + at[:, 1]) * 2097152 + at[:, 2]
    _, first = np.unique(key, return_index=True)
    return np.sort(first)


def visual_hull(
    photos: Sequence[SizedPhoto], *, cells: int = HULL_CELLS
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Points on the surface of what all cut-out photos allow (Laurentini 1994), their colours, and the cell's size.

    Cells of a grid around what the cameras look at that half of the photos show and none shows as transparent; those
    with a neighbour that is not such a cell are the surface. A colour is the median over the photos that show the
    point. None where the photos have no alpha or agree on nothing.
    """
    if not photos or any(p.alpha is None for p in photos):
        return None
    centers = np.array([-p.cam_from_world[:, :3].T @ p.cam_from_world[:, 3] for p in photos])
    target = looked_at(photos)
    # The box: no wider than the images are at the target.
    reach = [
        np.linalg.norm(c - target) * 0.5 * max(p.size[0] / p.camera[0], p.size[1] / p.camera[1])
        for c, p in zip(centers, photos)
    ]
    half = float(np.median(reach))
    low, high = target - half, target + half
    points = np.zeros((0, 3))
    for n in (cells // 3, cells):  # first coarsely, to find the box
        step = (high - low) / n
        axes = [low[k] + (np.arange(n) + 0.5) * step[k] for k in range(3)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        inside, times = np.arange(len(grid)), np.zeros(len(grid), np.int32)
        for p in photos:
            margin = 0 if n == cells else int(2 + 0.6 * _cell_px(p, step, target))
            allowed, shown = _may_be(p, grid[inside], margin=margin)
            inside, times = inside[allowed], times[allowed] + shown[allowed]
        # What is out of most pictures is only not disproved: the corners of the box.
        inside = inside[2 * times >= len(photos)]
        if len(inside) < 8:
            return None
        points = grid[inside]
        if n != cells:
            low, high = points.min(0) - step, points.max(0) + step
            continue
        full = np.zeros((n + 2,) * 3, bool)
        full[1:-1, 1:-1, 1:-1].reshape(-1)[:] = False
        at = np.stack(np.unravel_index(inside, (n, n, n)), 1) + 1
        full[tuple(at.T)] = True
        around = np.ones(len(at), bool)
        for axis in range(3):
            for side in (-1, 1):
                beside = at.copy()
                beside[:, axis] += side
                around &= full[tuple(beside.T)]
        points = points[~around]
    step = (high - low) / cells
    return points, median_color(photos, points), float(step.mean())


def _cell_px(photo: SizedPhoto, step: np.ndarray, target: np.ndarray) -> float:
    depth = (photo.cam_from_world[:, :3] @ target + photo.cam_from_world[:, 3])[2]
    return float(photo.camera[0] * np.max(step) / max(depth, 1e-9))


def _may_be(photo: SizedPhoto, points: np.ndarray, margin: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether a photo allows something to be at points (not seen as transparent within `margin` px), and shows them."""
    assert photo.alpha is not None
    alpha = photo.alpha
    if margin:
        import cv2

        alpha = cv2.dilate(alpha, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    x, y, ahead = pixel_of(photo, points)
    w, h = photo.size
    seen = ahead & (x >= 0) & (y >= 0) & (x < w) & (y < h)
    allowed = np.ones(len(points), bool)
    allowed[seen] = alpha[y[seen], x[seen]] > 8
    return allowed, seen


def pixel_of(photo: SizedPhoto, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column and row int64 (n,) of the pixels that points (n, 3) fall on, and whether they lie before the camera."""
    p = points @ photo.cam_from_world[:, :3].T + photo.cam_from_world[:, 3]
    ahead = p[:, 2] > 1e-9
    z = np.where(ahead, p[:, 2], 1.0)
    x = np.clip(photo.camera[0] * p[:, 0] / z + photo.camera[2], -1, 1e6)
    y = np.clip(photo.camera[1] * p[:, 1] / z + photo.camera[3], -1, 1e6)
    return np.floor(x).astype(np.int64), np.floor(y).astype(np.int64), ahead


def median_color(photos: Sequence[SizedPhoto], points: np.ndarray, *, most: int = 24) -> np.ndarray:
    """uint8 (n, 3): the median over the photos that have the point in the image (at most `most`, evenly chosen)."""
    chosen = [photos[i] for i in np.unique(np.linspace(0, len(photos) - 1, min(most, len(photos))).astype(int))]
    seen = np.full((len(chosen), len(points), 3), np.nan, np.float32)
    for k, photo in enumerate(chosen):
        x, y, ahead = pixel_of(photo, points)
        w, h = photo.size
        there = ahead & (x >= 0) & (y >= 0) & (x < w) & (y < h)
        seen[k, there] = photo.pixels[y[there], x[there]]
    nowhere = np.isnan(seen[..., 0]).all(0)
    seen[:, nowhere] = 128
    return np.rint(np.nanmedian(seen, 0)).astype(np.uint8)


def looked_at(photos: Sequence[SizedPhoto]) -> np.ndarray:
    """The point nearest to all optical axes, float64 (3,)."""
    A, b = 1e-9 * np.eye(3), np.zeros(3)
    for p in photos:
        R, t = p.cam_from_world[:, :3], p.cam_from_world[:, 3]
        across = np.eye(3) - np.outer(R[2], R[2])
        A += across
        b += across @ (-R.T @ t)
    return np.linalg.solve(A, b)


def at_random(photos: Sequence[SizedPhoto], count: int, seed: int) -> np.ndarray:
    """Points (count, 3) in a ball around what the cameras look at, half of them near its middle."""
    rng = np.random.default_rng([seed, 101])
    target = looked_at(photos)
    centers = np.array([-p.cam_from_world[:, :3].T @ p.cam_from_world[:, 3] for p in photos])
    radius = float(np.median(np.linalg.norm(centers - target, axis=1)))
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    distance = radius * np.where(rng.uniform(size=count) < 0.5, 0.4, 1.5) * rng.uniform(size=count) ** (1 / 3)
    return target + direction * distance[:, None]
