"""Walls and floors through the little that was measured on them, to know what is behind somebody who moves.

Stereo leaves out what shows no texture. Where a plane closes the scene off, with all cameras and nearly all points on
one side of it, its surface goes on between its measured parts; so it is drawn within their convex hull.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from rilievo import geometry
from rilievo.types import PointCloud, View


@dataclass(frozen=True)
class WallsConfig:
    """Settings of `find_walls`."""

    version: ClassVar[int] = 1

    num_planes: int = 10
    """planes of the scene that are looked at, the largest first"""
    min_share: float = 0.01
    """smallest share of the points that makes a plane"""
    min_before: float = 0.88
    """share of all points that lie before a wall or on it (what a mirror shows lies behind)"""
    seed: int = 0
    """seed of the random planes"""


@dataclass(frozen=True, eq=False)
class Wall:
    """Points x of a plane, normal @ x = offset (the normal points to the cameras), within the convex polygon `outline`
    (k, 2) of coordinates along `right` and `down`."""

    normal: np.ndarray
    offset: float
    right: np.ndarray
    down: np.ndarray
    outline: np.ndarray


def find_walls(cloud: PointCloud, centers: np.ndarray, *, config: WallsConfig = WallsConfig()) -> list[Wall]:
    """Planes that close the scene off. centers: of all cameras (n, 3)."""
    index = np.flatnonzero(np.diff(cloud.view_offsets) >= 2)
    index = index[:: max(1, len(index) // 60_000)]
    if len(index) < 500 or not len(centers):
        return []
    points = cloud.points[index].astype(np.float64) + cloud.origin
    normals = cloud.normals[index].astype(np.float64)
    away = np.median(np.linalg.norm(points[:, None] - centers[None, :: max(1, len(centers) // 8)], axis=2))
    near = max(3.0 * float(np.median(cloud.spacing[index])), 0.005 * float(away))
    rng = np.random.default_rng(config.seed)
    left = np.arange(len(points))
    walls: list[Wall] = []
    for _ in range(config.num_planes):
        if len(left) < config.min_share * len(points):
            break
        on = _largest_plane(points[left], normals[left], near, rng)
        if len(on) < config.min_share * len(points):
            break
        these = left[on]
        left = np.delete(left, on)
        middle = points[these].mean(0)
        normal = np.linalg.svd(points[these] - middle, full_matrices=False)[2][2]
        if np.median((centers - middle) @ normal) < 0:
            normal = -normal
        offset = float(normal @ middle)
        before = (points @ normal - offset) > -3 * near
        if before.mean() < config.min_before or ((centers @ normal - offset) < near).any():
            continue
        walls.append(_outlined(points[these], normal, offset, near))
    return walls


def draw_walls(depth: np.ndarray, view: View, walls: Sequence[Wall]) -> np.ndarray:
    """float32 (h, w): the depth of a view (PINHOLE camera), and of the nearest wall where it is infinite."""
    unknown = np.flatnonzero(~np.isfinite(depth).ravel())
    if not walls or not len(unknown):
        return depth
    c = view.camera
    y, x = np.divmod(unknown, c.width)
    rays = np.stack([(x + 0.5 - c.cx) / c.fx, (y + 0.5 - c.cy) / c.fy, np.ones(len(x))], -1)
    world_from_cam = geometry.invert(view.cam_from_world)
    along, eye = rays @ world_from_cam[:, :3].T, world_from_cam[:, 3]
    nearest = np.full(len(unknown), np.inf)
    for wall in walls:
        down = along @ wall.normal
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (wall.offset - eye @ wall.normal) / down
        hit = np.flatnonzero((down < 0) & (z > 0) & (z < nearest))
        at = eye + z[hit, None] * along[hit]
        hit = hit[_inside(np.stack([at @ wall.right, at @ wall.down], -1), wall.outline)]
        nearest[hit] = z[hit]
    out = depth.copy()
    out.ravel()[unknown] = nearest.astype(np.float32)
    return out


def _largest_plane(points: np.ndarray, normals: np.ndarray, near: float, rng: np.random.Generator) -> np.ndarray:
    """Indices of the points on the best of 150 planes, each through a point and square to its normal."""
    some = np.arange(len(points))[:: max(1, len(points) // 8000)]
    best, best_plane = 0, (np.zeros(3), 0.0)
    for k in rng.integers(0, len(points), 150):
        n = normals[k] / max(float(np.linalg.norm(normals[k])), 1e-12)
        on = (np.abs((points[some] - points[k]) @ n) < near) & (normals[some] @ n > 0.8)
        if on.sum() > best:
            best, best_plane = int(on.sum()), (n, float(points[k] @ n))
    for tight in (2.0, 1.0):  # the normal of one point is rough
        n, d = best_plane
        on = np.flatnonzero((np.abs(points @ n - d) < tight * near) & (normals @ n > 0.7))
        if len(on) < 3:
            return on[:0]
        middle = points[on].mean(0)
        turned = np.linalg.svd(points[on] - middle, full_matrices=False)[2][2]
        turned = turned if turned @ n > 0 else -turned
        best_plane = turned, float(turned @ middle)
    n, d = best_plane
    return np.flatnonzero((np.abs(points @ n - d) < near) & (normals @ n > 0.7))


def _outlined(points: np.ndarray, normal: np.ndarray, offset: float, near: float) -> Wall:
    right = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
    right /= np.linalg.norm(right)
    down = np.cross(normal, right)
    flat = np.stack([points @ right, points @ down], -1)
    # stray points do not widen it: each counts with company only
    _, which, count = np.unique(np.floor(flat / (4 * near)), axis=0, return_inverse=True, return_counts=True)
    kept = flat[count[which.ravel()] >= 3]
    if len(kept) < 3:
        kept = flat
    outline = cv2.convexHull(np.ascontiguousarray(kept, np.float32))[:, 0].astype(np.float64)
    return Wall(normal, offset, right, down, outline)


def _inside(at: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """bool (n,): points (n, 2) within a convex polygon, in either order of its corners."""
    a, b = outline, np.roll(outline, -1, 0)
    turn = np.sign((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) if len(outline) >= 3 else 0
    out = np.full(len(at), turn != 0)
    for p, q in zip(a, b):
        edge = q - p
        out &= turn * (edge[0] * (at[:, 1] - p[1]) - edge[1] * (at[:, 0] - p[0])) >= 0
    return out
