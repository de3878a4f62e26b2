"""Repairs and measures of a triangle surface: manifold edges, components, spikes, holes, smoothing, simplification.

All functions work on (vertices float32 (v, 3), faces int32 (f, 3)) and return new arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rilievo.types import Mesh


@dataclass(frozen=True, eq=False)
class Hole:
    """A closed loop of border edges: its vertices in order, its length, and the area of the fan over its centre."""

    vertices: np.ndarray
    length: float
    area: float


def holes(mesh: Mesh) -> list[Hole]:
    """The border loops of a mesh, longest first. A surface with one outer rim counts the rim as a hole."""
    found = []
    for loop in border_loops(mesh.faces):
        p = mesh.vertices[loop].astype(np.float64)
        following = np.roll(p, -1, 0)
        arms = p - p.mean(0)
        area = 0.5 * np.linalg.norm(np.cross(arms, np.roll(arms, -1, 0)), axis=1).sum()
        found.append(Hole(loop, float(np.linalg.norm(following - p, axis=1).sum()), float(area)))
    return sorted(found, key=lambda hole: -hole.length)


def border_loops(faces: np.ndarray) -> list[np.ndarray]:
    """Loops of edges that one face only uses, each int (k,), in the direction in which a patch would run over them.

    Where several loops touch in a vertex they are cut apart there, so no loop visits a vertex twice.
    """
    start, end = _border_edges(faces)
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    free = np.ones(len(start), bool)
    loops: list[np.ndarray] = []
    for seed in range(len(start)):
        if not free[seed]:
            continue
        path: list[int] = []
        place: dict[int, int] = {}
        edge = seed
        while True:
            free[edge] = False
            vertex = int(start[edge])
            place[vertex] = len(path)
            path.append(vertex)
            target = int(end[edge])
            if target in place:
                cut = place[target]
                loops.append(np.array(path[cut:], np.int64))
                for vertex in path[cut:]:
                    del place[vertex]
                del path[cut:]
                if not path:
                    break
            k = int(np.searchsorted(start, target, "left"))
            while k < len(start) and start[k] == target and not free[k]:
                k += 1
            if k >= len(start) or start[k] != target:
                break  # an open chain: the faces around it are not a manifold
            edge = k
    return loops


def _border_edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directed edges without a partner, turned round: a patch that fills the hole has these edges."""
    if not len(faces):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    a = faces.astype(np.int64).ravel()
    b = np.roll(faces, -1, 1).astype(np.int64).ravel()
    size = int(faces.max()) + 1
    key = np.minimum(a, b) * size + np.maximum(a, b)
    _, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
    single = counts[inverse] == 1
    return b[single], a[single]


def tidy(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drops faces that use a vertex twice, have no finite corner or repeat another face, and unused vertices."""
    good = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    finite = np.asarray(np.isfinite(vertices).all(axis=1))
    good &= finite[faces].all(axis=1)
    faces = faces[good]
    if len(faces):
        _, first = np.unique(np.sort(faces, 1), axis=0, return_index=True)
        faces = faces[np.sort(first)]
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    renumber = np.cumsum(used) - 1
    return np.ascontiguousarray(vertices[used], np.float32), renumber[faces].astype(np.int32)


def split_nonmanifold(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Repeats vertices so that every edge has at most two faces and every vertex one fan of faces.

    Nothing moves: sheets that met in an edge or a point just stop sharing it (Guéziec et al. 2001, cutting).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(faces):
        return vertices, faces
    num = len(faces)
    corner = np.arange(3 * num).reshape(num, 3)
    a, b = faces.astype(np.int64).ravel(), np.roll(faces, -1, 1).astype(np.int64).ravel()
    corner_a, corner_b = corner.ravel(), np.roll(corner, -1, 1).ravel()
    forward = a < b
    size = len(vertices)
    key = np.minimum(a, b) * size + np.maximum(a, b)
    order = np.argsort(key, kind="stable")
    _, first, counts = np.unique(key[order], return_index=True, return_counts=True)
    pair = first[counts == 2]
    e0, e1 = order[pair], order[pair + 1]
    opposite = forward[e0] != forward[e1]  # equal directions: the two faces are not oriented alike
    e0, e1 = e0[opposite], e1[opposite]
    rows = np.concatenate([corner_a[e0], corner_b[e0]])
    columns = np.concatenate([corner_b[e1], corner_a[e1]])
    links = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(3 * num, 3 * num))
    _, fan = connected_components(links, directed=False)
    _, where, fan = np.unique(fan, return_index=True, return_inverse=True)
    return np.ascontiguousarray(vertices[faces.ravel()[where]]), fan.reshape(num, 3).astype(np.int32)


def components(faces: np.ndarray, num_vertices: int) -> np.ndarray:
    """Number of the connected component of each face, int (f,)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows = np.concatenate([faces[:, 0], faces[:, 1]])
    columns = np.concatenate([faces[:, 1], faces[:, 2]])
    links = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(num_vertices, num_vertices))
    _, label = connected_components(links, directed=False)
    return label[faces[:, 0]] if len(faces) else np.zeros(0, np.int32)


def face_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """float64 (f,)."""
    p = vertices[faces].astype(np.float64)
    return 0.5 * np.linalg.norm(np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]), axis=1)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals float32 (v, 3), the faces around weighted by area; (0, 0, 1) where there is none."""
    p = vertices[faces].astype(np.float64)
    n = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    total = np.stack([np.bincount(faces.ravel(), np.repeat(n[:, c], 3), minlength=len(vertices)) for c in range(3)], -1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 0, total / np.where(length > 0, length, 1), [0.0, 0.0, 1.0]).astype(np.float32)


def touches_border(faces: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """bool (f,): chosen faces in a patch of chosen faces, joined by edges, that has an edge which only it uses."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    out = np.zeros(len(faces), bool)
    if not chosen.any():
        return out
    size = int(faces.max()) + 1
    a, b = faces.astype(np.int64).ravel(), np.roll(faces, -1, 1).astype(np.int64).ravel()
    _, edge, counts = np.unique(np.minimum(a, b) * size + np.maximum(a, b), return_inverse=True, return_counts=True)
    edge = edge.reshape(-1, 3)
    open_face = (counts[edge] == 1).any(1)
    patch = np.flatnonzero(chosen)
    # Faces and edges as one graph: two chosen faces with a common edge are joined through it.
    rows, columns = np.repeat(patch, 3), len(faces) + edge[patch].ravel()
    num = len(faces) + len(counts)
    links = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(num, num))
    _, label = connected_components(links, directed=False)
    bad = np.zeros(label.max() + 1, bool)
    bad[label[patch[open_face[patch]]]] = True
    out[patch] = bad[label[patch]]
    return out


def fill_holes(vertices: np.ndarray, faces: np.ndarray, max_length: float) -> tuple[np.ndarray, np.ndarray]:
    """Closes border loops shorter than `max_length`: new faces, and for loops of more than three edges a vertex in the
    middle, are appended."""
    new_vertices, new_faces = [vertices], [faces]
    num = len(vertices)
    for loop in border_loops(faces):
        p = vertices[loop].astype(np.float64)
        if len(loop) < 3 or np.linalg.norm(np.roll(p, -1, 0) - p, axis=1).sum() > max_length:
            continue
        if len(loop) == 3:
            new_faces.append(loop[None].astype(np.int32))
            continue
        following = np.roll(loop, -1)
        new_faces.append(np.stack([loop, following, np.full(len(loop), num)], 1).astype(np.int32))
        new_vertices.append(p.mean(0, keepdims=True).astype(np.float32))
        num += 1
    return np.concatenate(new_vertices), np.concatenate(new_faces)


def smooth(
    vertices: np.ndarray, faces: np.ndarray, iterations: int, weight: float = 0.5, anti: float = -0.53
) -> np.ndarray:
    """Taubin smoothing (1995): a step towards the mean of the neighbours, then a slightly larger one back, so that
    noise goes and volume stays. Border vertices move along the border only."""
    from scipy.sparse import csr_matrix

    if iterations <= 0 or not len(faces):
        return vertices
    num = len(vertices)
    a, b = faces.ravel(), np.roll(faces, -1, 1).ravel()
    start, end = _border_edges(faces)
    rows, columns = np.concatenate([a, b]), np.concatenate([b, a])
    on_border = np.zeros(num, bool)
    on_border[start] = True
    inner = ~on_border[rows]
    rows = np.concatenate([rows[inner], start, end])
    columns = np.concatenate([columns[inner], end, start])
    links = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(num, num))
    links.data[:] = 1.0
    degree = np.maximum(np.asarray(links.sum(1)).ravel(), 1)[:, None]
    lonely = np.diff(links.indptr) == 0
    p = vertices.astype(np.float64)
    for _ in range(iterations):
        for step in (weight, anti):
            mean = (links @ p) / degree
            mean[lonely] = p[lonely]
            p = p + step * (mean - p)
    return p.astype(np.float32)


def simplify(vertices: np.ndarray, faces: np.ndarray, max_faces: int) -> tuple[np.ndarray, np.ndarray]:
    """At most about `max_faces` faces by quadric edge collapse (Garland & Heckbert 1997; fast-simplification)."""
    import fast_simplification

    if max_faces <= 0 or len(faces) <= max_faces:
        return vertices, faces
    reduced = fast_simplification.simplify(
        np.array(vertices, np.float64), np.array(faces, np.int32), target_count=int(max_faces), agg=5.0
    )
    return tidy(np.asarray(reduced[0], np.float32), np.asarray(reduced[1], np.int32))
