"""Surfaces of a scalar grid: marching cubes (Lorensen & Cline 1987) with tables that are derived, not typed.

On a face whose inside corners lie across from each other, each is cut off by itself (the rule depends on the four signs
only, so that neighbouring cubes agree): the surface has no holes.
"""

from __future__ import annotations

from functools import cache

import numpy as np

# Corner k of a cube is at (x, y, z) = bits 0, 1, 2 of k. Faces, counter-clockwise seen from outside.
_FACES = ((0, 4, 6, 2), (1, 3, 7, 5), (0, 1, 5, 4), (2, 6, 7, 3), (0, 2, 3, 1), (4, 5, 7, 6))
# Edges as (lower corner, axis).
_EDGES = tuple((k, a) for a in range(3) for k in range(8) if not k >> a & 1)


def _edge(a: int, b: int) -> int:
    return _EDGES.index((min(a, b), (a ^ b).bit_length() - 1))


@cache
def triangles() -> np.ndarray:
    """Edges of the triangles of each of the 256 cases, int8 (256, t, 3), -1 where there are no more. Corners of a case
    are inside where its bit is set; triangles are counter-clockwise seen from outside."""
    found = []
    for case in range(256):
        follows: dict[int, int] = {}
        for face in _FACES:
            inside = [case >> c & 1 for c in face]
            for k in range(4):
                if inside[k] and not inside[k - 1]:  # a run of inside corners begins
                    end = k
                    while inside[(end + 1) % 4]:
                        end += 1
                    into = _edge(face[k - 1], face[k])
                    out = _edge(face[end % 4], face[(end + 1) % 4])
                    follows[into] = out
        rows = []
        while follows:
            start, at = next(iter(follows.items()))
            loop = [start]
            del follows[start]
            while at != start:
                loop.append(at)
                at = follows.pop(at)
            rows += [(loop[0], loop[k], loop[k + 1]) for k in range(1, len(loop) - 1)]
        found.append(rows)
    most = max(map(len, found))
    table = np.full((256, most, 3), -1, np.int8)
    for case, rows in enumerate(found):
        table[case, : len(rows)] = np.array(rows, np.int8).reshape(-1, 3)
    return table


def marching_cubes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The surface where float32 (nz, ny, nx) values cross 0 (inside above): vertices float32 (v, 3) as (x, y, z) in
    grid steps, faces int32 (f, 3), counter-clockwise seen from where values are negative. No surface where a corner is
    NaN."""
    nz, ny, nx = values.shape
    if min(values.shape) < 2:
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)
    inside = (values > 0).astype(np.uint8)
    case = np.zeros((nz - 1, ny - 1, nx - 1), np.uint8)
    bad = np.isnan(values)
    spoiled = np.zeros(case.shape, bool) if bad.any() else None
    for k in range(8):
        x, y, z = k & 1, k >> 1 & 1, k >> 2
        corner = np.s_[z : nz - 1 + z, y : ny - 1 + y, x : nx - 1 + x]
        case |= inside[corner] << np.uint8(k)
        if spoiled is not None:
            spoiled |= bad[corner]
    active = (case != 0) & (case != 255)
    if spoiled is not None:
        active &= ~spoiled
    z, y, x = np.nonzero(active)
    rows = triangles()[case[z, y, x]]
    cell, which = np.nonzero(rows[:, :, 0] >= 0)
    edges = rows[cell, which].astype(np.int64)
    corner, axis = np.array(_EDGES).T
    first = (z * ny + y) * nx + x
    offset = ((corner >> 2) * ny + (corner >> 1 & 1)) * nx + (corner & 1)
    keys = (first[cell][:, None] + offset[edges]) * 3 + axis[edges]
    used, faces = np.unique(keys, return_inverse=True)
    low, way = used // 3, used % 3
    step = np.array([1, nx, nx * ny])[way]
    flat = values.reshape(-1).astype(np.float64)
    a, b = flat[low], flat[low + step]
    place = np.stack([low % nx, low // nx % ny, low // (nx * ny)], -1).astype(np.float64)
    place[np.arange(len(used)), way] += a / (a - b)
    return place.astype(np.float32), faces.reshape(-1, 3).astype(np.int32)
