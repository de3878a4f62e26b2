"""Plain twins of native/mesh_edges.cpp, for small meshes.

Half-edge 3 f + k runs from corner k of face f to the next.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np

from rilievo.kernels.reference.collapse import simplify_mesh

__all__ = ["border_loops", "edge_twins", "join_faces", "simplify_mesh", "split_fans"]


def edge_twins(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """int32 (f, 3): the half-edge that runs the other way along each half-edge's edge; -1 where no other face has the
    edge; -2 where the faces there cannot be paired.

    vertices float32 (v, 3), faces int32 (f, 3). Where four faces or more meet in an edge and their directions alternate
    around it, those with matter between them are twins (inside is behind a face). Faces with a repeated vertex have -2.
    Raises ValueError where a corner is out of range.
    """
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise ValueError("edge_twins: a face uses a vertex that is not there")
    twins = np.full(3 * len(faces), -2, np.int32)
    meeting: dict[tuple[int, int], list[int]] = defaultdict(list)
    start, end = faces.ravel(), np.roll(faces, -1, 1).ravel()
    for h in range(3 * len(faces)):
        if len(set(faces[h // 3].tolist())) == 3:
            meeting[min(start[h], end[h]), max(start[h], end[h])].append(h)
    for (low, high), edges in meeting.items():
        forward = [start[h] == low for h in edges]
        if len(edges) == 1:
            twins[edges[0]] = -1
        elif len(edges) == 2 and forward[0] != forward[1]:
            twins[edges[0]], twins[edges[1]] = edges[1], edges[0]
        elif len(edges) % 2 == 0:
            angles = _angles(vertices.astype(np.float64), faces, low, high, edges)
            if angles is None:
                continue
            ring = [(edges[i], forward[i]) for i in np.lexsort((np.array(edges), angles))]
            if all(a[1] != b[1] for a, b in pairwise(ring)):
                for (h, way), (t, _) in zip(ring, [*ring[1:], ring[0]]):
                    if not way:
                        twins[h], twins[t] = t, h
    return twins.reshape(-1, 3)


def _angles(vertices: np.ndarray, faces: np.ndarray, low: int, high: int, edges: list[int]) -> np.ndarray | None:
    axis = vertices[high] - vertices[low]
    length = np.linalg.norm(axis)
    if not length > 0:
        return None
    tips = vertices[[faces[h // 3, (h + 2) % 3] for h in edges]] - vertices[low]
    tips = tips - np.outer(tips @ axis / length**2, axis)
    x, y = tips @ tips[0], tips @ np.cross(axis, tips[0]) / length
    if not (x * x + y * y > 0).all():
        return None
    angle = np.arctan2(y, x)
    angle[0] = 0
    return np.where(angle < 0, angle + 2 * np.pi, angle)


def split_fans(faces: np.ndarray, twins: np.ndarray, num_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """(faces, origin): every fan of faces around a vertex has a vertex of its own. The first fan keeps the number,
    others have numbers from num_vertices on; origin int32: which vertex each of those repeats.

    Raises ValueError where a corner is out of range or the twins are not of these faces.
    """
    if len(faces) and (faces.min() < 0 or faces.max() >= num_vertices):
        raise ValueError("split_fans: a face uses a vertex that is not there")
    twin = _checked(twins, "split_fans").ravel()
    corner, following = faces.ravel(), np.arange(3 * len(faces)).reshape(-1, 3)[:, [1, 2, 0]].ravel()
    parent = list(range(3 * len(faces)))
    for h, t in enumerate(twin):
        if t < h:
            continue
        if corner[h] != corner[following[t]] or corner[following[h]] != corner[t]:
            raise ValueError("split_fans: twins are not of these faces")
        _join(parent, h, int(following[t]))
        _join(parent, int(following[h]), int(t))
    out, origin = corner.copy(), []
    taken = np.zeros(num_vertices, bool)
    for c in range(len(corner)):
        first = _root(parent, c)
        if first < c:
            out[c] = out[first]
        elif not taken[corner[c]]:
            taken[corner[c]] = True
        else:
            origin.append(corner[c])
            out[c] = num_vertices + len(origin) - 1
    return out.reshape(-1, 3).astype(np.int32), np.array(origin, np.int32)


def join_faces(twins: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """int32 (f,): the lowest face that is joined to each face over twins int32 (f, 3), through chosen faces only (uint8
    (f,)); -1 for the others."""
    twin = _checked(twins, "join_faces").ravel()
    if len(chosen) != len(twins):
        raise ValueError("join_faces: one choice a face")
    parent = list(range(len(twins)))
    for h, t in enumerate(twin):
        if t > h and chosen[h // 3] and chosen[t // 3]:
            _join(parent, h // 3, int(t) // 3)
    return np.array([_root(parent, f) if chosen[f] else -1 for f in range(len(twins))], np.int32)


def border_loops(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(offsets int64, vertices int32): loops of the directed edges start[i] -> end[i], int32; loop j has the vertices
    vertices[offsets[j]:offsets[j + 1]]. No loop visits a vertex twice: where loops touch they are cut apart. Chains
    that do not close are left out."""
    if len(start) != len(end):
        raise ValueError("border_loops: start and end must have one size")
    if len(start) and min(start.min(), end.min()) < 0:
        raise ValueError("border_loops: a vertex is out of range")
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    free = np.ones(len(start), bool)
    offsets, vertices = [0], []
    for seed in range(len(start)):
        path: list[int] = []
        edge = seed if free[seed] else None
        while edge is not None:
            free[edge] = False
            path.append(int(start[edge]))
            target = int(end[edge])
            if target in path:
                cut = path.index(target)
                vertices += path[cut:]
                offsets.append(len(vertices))
                del path[cut:]
                if not path:
                    break
            edge = next((k for k in np.flatnonzero(start == target) if free[k]), None)
    return np.array(offsets, np.int64), np.array(vertices, np.int32)


def _checked(twins: np.ndarray, who: str) -> np.ndarray:
    flat = twins.ravel()
    bad = (flat < -2) | (flat >= len(flat))
    if not bad.any():
        bad = (flat >= 0) & (flat[np.maximum(flat, 0)] != np.arange(len(flat)))
    if bad.any():
        raise ValueError(f"{who}: twins do not fit together")
    return twins


def _root(parent: list[int], i: int) -> int:
    while parent[i] != i:
        i = parent[i]
    return i


def _join(parent: list[int], a: int, b: int) -> None:
    a, b = _root(parent, a), _root(parent, b)
    parent[max(a, b)] = min(a, b)
