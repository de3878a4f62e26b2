"""Shapes of the synthetic scenes: each function returns (vertices (v, 3) metres, faces (f, 3)).

Faces are counter-clockwise seen from outside.
"""

from __future__ import annotations

import numpy as np

Shape = tuple[np.ndarray, np.ndarray]


def grid_faces(rows: int, columns: int, *, wrap: bool = False) -> np.ndarray:
    """Triangles of a (rows, columns) grid of vertices; wrap joins the last column to the first. Seen from the side
    where rows go up and columns go right, they run counter-clockwise."""
    last = columns if wrap else columns - 1
    r, c = np.mgrid[: rows - 1, :last]
    a, b = r * columns + c, r * columns + (c + 1) % columns
    up = columns
    first = np.stack([a, b, b + up], -1).reshape(-1, 3)
    second = np.stack([a, b + up, a + up], -1).reshape(-1, 3)
    return np.concatenate([first, second]).astype(np.int32)


def height_field(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Shape:
    """Surface over a grid: x (c,), y (r,), z (r, c); seen from above."""
    X, Y = np.meshgrid(x, y)
    return np.stack([X, Y, z], -1).reshape(-1, 3), grid_faces(len(y), len(x))


def box(low: np.ndarray, high: np.ndarray, step: float = 1e9, bevel: float = 0.0) -> Shape:
    """A box whose faces are cut into squares of about `step`; `bevel` pulls edges in, as if they were worn."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    vertices, faces, start = [], [], 0
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        nu = max(2, int(np.ceil((high[u] - low[u]) / step)) + 1)
        nv = max(2, int(np.ceil((high[v] - low[v]) / step)) + 1)
        U, V = np.meshgrid(np.linspace(low[u], high[u], nu), np.linspace(low[v], high[v], nv))
        for side in (0, 1):
            p = np.empty((nu * nv, 3))
            p[:, axis], p[:, u], p[:, v] = (high if side else low)[axis], U.ravel(), V.ravel()
            f = grid_faces(nv, nu)
            vertices.append(p)
            faces.append((f if side else f[:, ::-1]) + start)
            start += len(p)
    p = np.concatenate(vertices)
    if bevel > 0:
        middle, half = (low + high) / 2, (high - low) / 2
        inner = np.clip(p - middle, -(half - bevel), half - bevel)
        out = p - middle - inner
        length = np.linalg.norm(out, axis=1, keepdims=True)
        p = middle + inner + out / np.maximum(length, 1e-12) * np.minimum(length, bevel)
    return p, np.concatenate(faces).astype(np.int32)


def lathe(z: np.ndarray, r: np.ndarray, columns: int) -> Shape:
    """A surface of revolution: profile (z, r) from its foot along the outside; r may be (k,) or (k, columns)."""
    angle = 2 * np.pi * np.arange(columns) / columns
    r = np.broadcast_to(r[:, None] if r.ndim == 1 else r, (len(z), columns))
    p = np.stack([r * np.cos(angle), r * np.sin(angle), np.broadcast_to(z[:, None], r.shape)], -1)
    return p.reshape(-1, 3), grid_faces(len(z), columns, wrap=True)


def tube(path: np.ndarray, radius: np.ndarray, columns: int) -> Shape:
    """A tube along path (k, 3) of radius (k,) or (k, columns), closed at both ends. Its frame is carried along the path
    without twist."""
    k = len(path)
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.cross(tangent[0], [0.31, 0.17, 0.93])
    sides = np.empty((k, 3))
    for i in range(k):
        side = side - tangent[i] * (side @ tangent[i])
        side /= np.linalg.norm(side)
        sides[i] = side
    other = np.cross(tangent, sides)
    angle = 2 * np.pi * np.arange(columns) / columns
    r = np.broadcast_to(radius[:, None] if np.ndim(radius) == 1 else radius, (k, columns))[..., None]
    ring = np.cos(angle)[None, :, None] * sides[:, None] + np.sin(angle)[None, :, None] * other[:, None]
    p = (path[:, None] + r * ring).reshape(-1, 3)
    faces = grid_faces(k, columns, wrap=True)
    first, last = np.arange(columns), np.arange(columns) + (k - 1) * columns
    caps = [np.stack([np.roll(first, -1), first, np.full(columns, len(p))], -1)]
    caps.append(np.stack([last, np.roll(last, -1), np.full(columns, len(p) + 1)], -1))
    return np.concatenate([p, path[:1], path[-1:]]), np.concatenate([faces, *caps]).astype(np.int32)


def ellipsoid(center: np.ndarray, axes: np.ndarray, rows: int = 24) -> Shape:
    """Axes-aligned ellipsoid."""
    latitude = np.linspace(-np.pi / 2, np.pi / 2, rows)
    p, faces = lathe(np.sin(latitude), np.cos(latitude), 2 * rows)
    return p * axes + center, faces


def smooth_curve(points: np.ndarray, count: int) -> np.ndarray:
    """A smooth curve (count, d) through points (k, d), even in its parameter."""
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(np.linspace(0, 1, len(points)), points)(np.linspace(0, 1, count))


def turned(shape: Shape, angle_deg: float, shift: np.ndarray) -> Shape:
    """Turned about z, then shifted."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return shape[0] @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + shift, shape[1]


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals by area-weighted sums over the faces around each vertex."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    n = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for k in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(faces[:, k], n[:, axis], len(vertices))
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-20)
