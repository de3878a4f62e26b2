"""What cameras see of a surface: how often each point of it, from which angles, how fine, how precisely.

Shared by plans (stations that do not exist yet) and checks (photos that were taken). The surface is points with
normals; what may stand in the way are triangles. Closed and open surfaces both work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32, Int64

from rilievo import geometry
from rilievo.types import Camera, _Value

# Surface that is turned away by more than this is seen, but so foreshortened (to a quarter) that little on it matches.
MAX_INCIDENCE_DEG = 75.0
_NUM_PROBES = 32


@dataclass(frozen=True, eq=False)
class Coverage(_Value):
    """What n points of a surface have of k photos.

    counts: photos that see the point.  incidence_deg: the smallest angle between its normal and a photo that sees it.
    angle_deg: the widest angle between two photos that see it (0: one photo).  gsd: the finest depth / focal length.
    sigma: standard deviation along the normal, world units, of the point triangulated from all its photos with one
    pixel of noise in x and in y.  NaN (sigma: also infinite) where no photo, for sigma no second photo, sees it.
    Point i is seen by photos view_index[view_offsets[i]:view_offsets[i + 1]], in rising order.
    """

    counts: Int32[np.ndarray, "n"]
    incidence_deg: Float64[np.ndarray, "n"]
    angle_deg: Float64[np.ndarray, "n"]
    gsd: Float64[np.ndarray, "n"]
    sigma: Float64[np.ndarray, "n"]
    view_offsets: Int64[np.ndarray, "n1"]
    view_index: Int32[np.ndarray, "m"]

    def views(self, i: int) -> np.ndarray:
        """Photos that see point i, int32."""
        return self.view_index[self.view_offsets[i] : self.view_offsets[i + 1]]


class Obstacles:
    """Triangles that may stand between a camera and a point. triangles: (m, 3, 3), any float."""

    def __init__(self, triangles: np.ndarray) -> None:
        from embreex import rtcore_scene
        from embreex.mesh_construction import TriangleMesh

        # rays are traced in float32: coordinates near zero lose the least
        self.origin = triangles.reshape(-1, 3).mean(0) if len(triangles) else np.zeros(3)
        self._scene: Any = rtcore_scene.EmbreeScene()
        if len(triangles):
            TriangleMesh(self._scene, np.ascontiguousarray(triangles - self.origin, np.float32))
        self._empty = not len(triangles)

    def visible(self, eye: np.ndarray, points: np.ndarray) -> np.ndarray:
        """True (n,) where nothing lies between eye (3,) and points (n, 3); the last 1/5000 of the way is left out."""
        if self._empty or not len(points):
            return np.ones(len(points), bool)
        origins = np.tile((eye - self.origin).astype(np.float32), (len(points), 1))
        until = np.full(len(points), 0.9998, np.float32)
        return self._scene.run(origins, (points - eye).astype(np.float32), until, query="OCCLUDED") != 0

    def first_hit(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """How many times its direction (n, 3) a ray goes until it hits something, inf where it does not; float64."""
        if self._empty or not len(origins):
            return np.full(len(origins), np.inf)
        hit = self._scene.run(
            (origins - self.origin).astype(np.float32), np.ascontiguousarray(directions, np.float32), output=True
        )
        return np.where(hit["primID"] < 0, np.inf, hit["tfar"].astype(np.float64))


def box_triangles(low: Sequence[float] | np.ndarray, high: Sequence[float] | np.ndarray) -> np.ndarray:
    """The 12 triangles of a box, counter-clockwise seen from outside, float64 (12, 3, 3)."""
    corners = np.array([[(low, high)[(k >> a) & 1][a] for a in range(3)] for k in range(8)], np.float64)
    quads = [(0, 4, 6, 2), (1, 3, 7, 5), (0, 1, 5, 4), (2, 6, 7, 3), (0, 2, 3, 1), (4, 5, 7, 6)]
    return corners[[t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]]


def grid_triangles(x: np.ndarray, y: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """A height grid as triangles facing up, float64 (m, 3, 3). x (w,) and y (h,) rise; heights (h, w), NaN: a hole."""
    X, Y = np.meshgrid(x, y)
    points = np.stack([X, Y, heights], -1).astype(np.float64)
    a, b, c, d = points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]
    lower, upper = np.stack([a, b, c], -2), np.stack([a, c, d], -2)
    found = np.concatenate([lower.reshape(-1, 3, 3), upper.reshape(-1, 3, 3)])
    return found[np.isfinite(found).all((1, 2))]


def sample_by_area(triangles: np.ndarray, num_samples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) drawn evenly by area, float64, and the triangle of each (n,). Strata along the summed area keep the
    noise below that of independent draws. Triangles without area get none; no area at all gives no points."""
    a, b, c = (triangles[:, k].astype(np.float64) for k in range(3))
    summed = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1))
    if not len(summed) or not summed[-1] > 0:
        return np.zeros((0, 3)), np.zeros(0, np.int64)
    rng = np.random.default_rng(seed)
    where = (np.arange(num_samples) + rng.random(num_samples)) / num_samples * summed[-1]
    face = np.minimum(np.searchsorted(summed, where, side="right"), len(summed) - 1)
    u, v = rng.random(num_samples), rng.random(num_samples)
    flip = u + v > 1  # fold the square onto the triangle
    u, v = np.where(flip, 1 - u, u)[:, None], np.where(flip, 1 - v, v)[:, None]
    return a[face] + u * (b[face] - a[face]) + v * (c[face] - a[face]), face


def sample_triangles(triangles: np.ndarray, num_samples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) drawn evenly by area and their unit normals (n, 3), float64."""
    points, face = sample_by_area(triangles, num_samples, seed)
    a, b, c = (triangles[face, k].astype(np.float64) for k in range(3))
    cross = np.cross(b - a, c - a)
    return points, cross / np.linalg.norm(cross, axis=1, keepdims=True)


class Picture:
    """Which points fall into the pictures of one camera; knows how far from the axis its distortion can be trusted."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        edge_x, edge_y = np.linspace(0, camera.width, 9), np.linspace(0, camera.height, 9)
        border = np.concatenate(
            [np.stack([edge_x, np.full(9, y)], -1) for y in (0.0, camera.height)]
            + [np.stack([np.full(9, x), edge_y], -1) for x in (0.0, camera.width)]
        )
        # distortion polynomials fold back far outside the picture: leave out what no pixel can reach
        self.reach = 1.02 * float(np.linalg.norm(geometry.undistort(camera, border), axis=1).max())

    def inside(self, cam_from_world: np.ndarray, points: np.ndarray) -> np.ndarray:
        """True (n,) where a point (n, 3) falls into the picture, whatever stands in between."""
        x = geometry.transform(cam_from_world, points)
        near = np.flatnonzero((x[:, 2] > 0) & ((x[:, :2] ** 2).sum(1) < (self.reach * x[:, 2]) ** 2))
        uv = geometry.distort(self.camera, x[near, :2] / x[near, 2:])
        inside = np.zeros(len(points), bool)
        inside[near] = (uv >= 0).all(1) & (uv[:, 0] <= self.camera.width) & (uv[:, 1] <= self.camera.height)
        return inside

    def rays(self, per_side: int) -> np.ndarray:
        """Directions with z = 1 of a grid of pixels over the whole picture, float64 (per_side^2, 3)."""
        k = (np.arange(per_side) + 0.5) / per_side
        x, y = np.meshgrid(k * self.camera.width, k * self.camera.height)
        xy = geometry.undistort(self.camera, np.stack([x.ravel(), y.ravel()], -1))
        return np.concatenate([xy, np.ones((len(xy), 1))], 1)


def view_counts(
    points: np.ndarray,
    normals: np.ndarray | None,
    cameras: Sequence[Camera],
    camera_index: np.ndarray,
    cam_from_world: np.ndarray,
    *,
    obstacles: Obstacles | None = None,
    max_incidence_deg: float = MAX_INCIDENCE_DEG,
    depth_range: tuple[float, float] = (0.0, math.inf),
) -> Coverage:
    """What photos see of points (n, 3). Photo i was taken by cameras[camera_index[i]] at cam_from_world[i] (k, 3, 4).

    normals: unit (n, 3), None where they are not known (incidence is NaN then, and every side counts).
    depth_range: what is sharp, nearest and farthest depth.
    """
    points = np.ascontiguousarray(points, np.float64)
    pictures = [Picture(c) for c in cameras]
    focals = np.array([math.sqrt(c.fx * c.fy) for c in cameras])
    min_cos = math.cos(math.radians(max_incidence_deg))
    seen_point, seen_photo, direction, depth_px = [], [], [], []
    for k, pose in enumerate(cam_from_world):
        camera = int(camera_index[k])
        index = np.flatnonzero(pictures[camera].inside(pose, points))
        eye = geometry.invert(pose)[:, 3]
        depth = points[index] @ pose[2, :3] + pose[2, 3]
        ray = points[index] - eye
        length = np.linalg.norm(ray, axis=1)
        keep = (depth >= depth_range[0]) & (depth <= depth_range[1])
        if normals is not None:
            keep &= -(ray * normals[index]).sum(1) >= min_cos * length
        index, ray, length, depth = index[keep], ray[keep], length[keep], depth[keep]
        if obstacles is not None:
            keep = obstacles.visible(eye, points[index])
            index, ray, length, depth = index[keep], ray[keep], length[keep], depth[keep]
        seen_point.append(index)
        seen_photo.append(np.full(len(index), k, np.int32))
        direction.append(-ray / length[:, None])
        depth_px.append(np.stack([depth / focals[camera], length / focals[camera]], -1))
    return _collect(points, normals, seen_point, seen_photo, direction, depth_px)


def _collect(
    points: np.ndarray,
    normals: np.ndarray | None,
    seen_point: list[np.ndarray],
    seen_photo: list[np.ndarray],
    direction: list[np.ndarray],
    depth_px: list[np.ndarray],
) -> Coverage:
    n = len(points)
    point = np.concatenate([np.zeros(0, np.int64), *seen_point])
    order = np.argsort(point, kind="stable")
    point = point[order]
    photo = np.concatenate([np.zeros(0, np.int32), *seen_photo])[order]
    d = np.concatenate([np.zeros((0, 3)), *direction])[order]
    px = np.concatenate([np.zeros((0, 2)), *depth_px])[order]
    offsets = np.searchsorted(point, np.arange(n + 1)).astype(np.int64)
    counts = np.diff(offsets).astype(np.int32)
    gsd, incidence = np.full(n, np.inf), np.full(n, np.nan)
    np.minimum.at(gsd, point, px[:, 0])
    if normals is not None:
        cos = np.full(n, -1.0)
        np.maximum.at(cos, point, (d * normals[point]).sum(1))
        incidence = np.degrees(np.arccos(np.clip(cos, -1, 1)))
    unseen = counts == 0
    gsd[unseen] = incidence[unseen] = np.nan
    angle, sigma = np.full(n, np.nan), np.full(n, np.nan)
    for size in np.unique(counts[counts > 0]):
        which = np.flatnonzero(counts == size)
        for part in np.array_split(which, max(1, len(which) * int(size) * min(int(size), 64) // 2_000_000)):
            rows = offsets[part, None] + np.arange(size)
            angle[part] = _widest(d[rows])
            along = d[rows].mean(1) if normals is None else normals[part]
            sigma[part] = _sigma(d[rows], px[rows, 1], along)
    return Coverage(counts, incidence, angle, gsd, sigma, offsets, np.ascontiguousarray(photo))


def _widest(d: np.ndarray) -> np.ndarray:
    """Widest angle, degrees (n,), between any two of the unit vectors (n, k, 3)."""
    if d.shape[1] > 2 * _NUM_PROBES:
        # of many, those that lie farthest in some direction are enough: the angle is right to a degree
        k = np.arange(_NUM_PROBES) + 0.5
        z, turn = 1 - 2 * k / _NUM_PROBES, math.pi * (1 + math.sqrt(5)) * k
        probes = np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z])
        d = np.take_along_axis(d, np.argmax(d @ probes, axis=1)[..., None], axis=1)
    # by the chord, which is exact for small angles where the cosine is not
    square = np.zeros(len(d))
    for k in range(1, d.shape[1]):
        square = np.maximum(square, ((d[:, k:] - d[:, :-k]) ** 2).sum(-1).max(1))
    return np.degrees(2 * np.arcsin(np.clip(np.sqrt(square) / 2, 0, 1)))


def _sigma(d: np.ndarray, pixel: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Standard deviation (n,) along a direction (n, 3) of points seen along d (n, k, 3) with pixels of that size in the
    world (n, k) across the ray, one pixel of noise in x and y: the inverse of the information that the rays give,
    sum (I - d d^T) / pixel^2. Infinite where rays are parallel."""
    w = 1 / pixel**2
    information = np.eye(3) * w.sum(1)[:, None, None] - np.einsum("nk,nki,nkj->nij", w, d, d)
    values, vectors = np.linalg.eigh(information)
    share = np.einsum("nij,ni->nj", vectors, along / np.linalg.norm(along, axis=1, keepdims=True)) ** 2
    floor = 1e-12 * values[:, 2:]
    with np.errstate(divide="ignore"):
        terms = np.where(values > floor, share / np.maximum(values, floor), np.where(share > 1e-9, np.inf, 0.0))
    return np.sqrt(terms.sum(1))
