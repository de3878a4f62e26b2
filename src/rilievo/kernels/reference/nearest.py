"""Distance from points to the closest triangle of a mesh."""

from __future__ import annotations

import numpy as np


def _squared_to_segment(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    ab = b - a
    length2 = (ab * ab).sum(-1)
    t = np.where(length2 > 0, ((p - a) * ab).sum(-1) / np.where(length2 > 0, length2, 1.0), 0.0)
    d = p - (a + ab * np.clip(t, 0.0, 1.0)[..., None])
    return (d * d).sum(-1)


def _squared_to_triangles(p, a, b, c, n, n2, flat) -> np.ndarray:  # type: ignore[no-untyped-def]
    with np.errstate(over="ignore", invalid="ignore"):  # a point 1e200 away is merely far
        inside = flat.copy()
        for u, v in ((a, b), (b, c), (c, a)):
            inside &= (np.cross(v - u, p - u) * n).sum(-1) >= 0
        height = ((p - a) * n).sum(-1)
        plane = height * height / np.where(flat, n2, 1.0)
        sides = [_squared_to_segment(p, u, v) for u, v in ((a, b), (b, c), (c, a))]
        return np.where(inside, plane, np.minimum(np.minimum(sides[0], sides[1]), sides[2]))


def closest_on_mesh(
    points: np.ndarray, vertices: np.ndarray, faces: np.ndarray, max_distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each point to the closest triangle, and which one.

    points float64 (n, 3), vertices float64 (v, 3), faces int32 (f, 3), max_distance > 0 in the same unit (or inf).
    Returns distance float64 (n,) and face int32 (n,): (inf, -1) where no triangle is nearer than max_distance,
    (nan, -1) where the point is not finite. A triangle without area (below 1e-10 of its longest side
    squared) counts as its sides. Raises ValueError for a vertex index out of range, vertices that are not finite, or a
    max_distance that is not positive; TypeError for other dtypes.
    """
    wanted = ((points, np.float64, "points"), (vertices, np.float64, "vertices"), (faces, np.int32, "faces"))
    for array, dtype, name in wanted:
        if array.dtype != dtype or array.ndim != 2 or array.shape[1] != 3:
            raise TypeError(f"{name} must be {np.dtype(dtype)} of shape (n, 3), got {array.dtype} {array.shape}")
    if not max_distance > 0:
        raise ValueError("max_distance must be positive")
    if not np.isfinite(vertices).all():
        raise ValueError("vertices must be finite")
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise ValueError("faces refer to a vertex that is not there")
    distance = np.full(len(points), np.inf)
    face = np.full(len(points), -1, np.int32)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    n = np.cross(b - a, c - a)
    n2 = (n * n).sum(-1)
    side2 = np.maximum(((b - a) ** 2).sum(-1), ((c - a) ** 2).sum(-1))
    flat = n2 > 1e-20 * side2 * side2
    for i, p in enumerate(points):
        if not np.isfinite(p).all():
            distance[i] = np.nan
            continue
        if not len(faces):
            continue
        squared = _squared_to_triangles(p, a, b, c, n, n2, flat)
        k = int(np.argmin(squared))
        if squared[k] < max_distance * max_distance:
            distance[i], face[i] = np.sqrt(squared[k]), k
    return distance, face
