"""Repairs and measures of a triangle surface: manifold edges, components, spikes, holes, smoothing, simplification.

All functions work on (vertices float32 (v, 3), faces int32 (f, 3)) and return new arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rilievo import kernels
from rilievo.types import Mesh

# Standard deviation of the faces' normals that simplification reckons with.
_NORMAL_NOISE = 0.05
# A face is flipped when its normal's cosine with that of its surroundings is below this, and these agree this much.
_FLIPPED, _COHERENT = 0.0, 0.8
_UNFOLDINGS = 12
# Faces this many rings around flipped ones are looked at while they are put right.
_UNFOLD_RINGS = 4


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
    if not len(faces):
        return []
    nowhere = np.zeros((int(faces.max()) + 1, 3), np.float32)
    offsets, vertices = kernels.border_loops(*_border_edges(faces, kernels.edge_twins(nowhere, _whole(faces))))
    return np.split(vertices.astype(np.int64), offsets[1:-1]) if len(offsets) > 1 else []


def _border_edges(faces: np.ndarray, twins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directed edges without a partner, turned round: a patch that fills the hole has these edges. int32 each."""
    face, corner = np.nonzero(twins == -1)
    return faces[face, (corner + 1) % 3].astype(np.int32), faces[face, corner].astype(np.int32)


def _whole(faces: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(faces, np.int32)


def tidy(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drops faces that use a vertex twice, have no finite corner or repeat another face, and unused vertices."""
    good = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    finite = np.asarray(np.isfinite(vertices).all(axis=1))
    good &= finite[faces].all(axis=1)
    faces = faces[good]
    faces = faces[_first_of_each(faces, len(vertices))]
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    renumber = np.cumsum(used) - 1
    return np.ascontiguousarray(vertices[used], np.float32), renumber[faces].astype(np.int32)


def _first_of_each(faces: np.ndarray, num_vertices: int) -> np.ndarray:
    """Ascending indices of the first face of each set of three corners."""
    low, mid, high = np.sort(faces, 1).astype(np.int64).T
    if num_vertices <= 1 << 21:
        key = (low << 42) | (mid << 21) | high
        order = np.argsort(key, kind="stable")
        new = np.concatenate([[True], np.diff(key[order]) != 0])[: len(faces)]
    else:
        key = low * num_vertices + mid
        order = np.lexsort((high, key))
        new = np.concatenate([[True], (np.diff(key[order]) != 0) | (np.diff(high[order]) != 0)])[: len(faces)]
    return np.sort(order[new])


def split_nonmanifold(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Repeats vertices so that every edge has at most two faces and every vertex one fan of faces.

    Nothing moves: sheets that met in an edge or a point just stop sharing it (Guéziec et al. 2001, cutting). Where
    several sheets meet in an edge, the two faces around the same matter stay joined, so closed surfaces stay closed.
    """
    if not len(faces):
        return vertices, faces
    vertices, faces = np.ascontiguousarray(vertices, np.float32), _whole(faces)
    faces, origin = kernels.split_fans(faces, kernels.edge_twins(vertices, faces), len(vertices))
    return np.concatenate([vertices, vertices[origin]]), faces


def components(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Number of the connected component of each face (joined by edges), int (f,)."""
    twins = kernels.edge_twins(np.ascontiguousarray(vertices, np.float32), _whole(faces))
    _, label = np.unique(kernels.join_faces(twins, np.ones(len(faces), np.uint8)), return_inverse=True)
    return label


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


def touches_border(vertices: np.ndarray, faces: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """bool (f,): chosen faces in a patch of chosen faces, joined by edges, that has an edge which only it uses."""
    out = np.zeros(len(faces), bool)
    if not chosen.any():
        return out
    twins = kernels.edge_twins(np.ascontiguousarray(vertices, np.float32), _whole(faces))
    label = kernels.join_faces(twins, chosen.astype(np.uint8))
    bad = np.zeros(len(faces), bool)
    bad[label[chosen & (twins == -1).any(1)]] = True
    out[chosen] = bad[label[chosen]]
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
    start, end = _border_edges(faces, kernels.edge_twins(np.ascontiguousarray(vertices, np.float32), _whole(faces)))
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


def flipped(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """bool (f,): faces whose normal is against that of the faces around them, where those agree with each other."""
    p = vertices[faces].astype(np.float64)
    normal = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    size = np.linalg.norm(normal, axis=1)
    columns = np.concatenate([normal, size[:, None]], 1)
    at_vertex = np.stack([np.bincount(faces.ravel(), np.repeat(c, 3), len(vertices)) for c in columns.T], 1)
    around = at_vertex[faces].sum(1) - 3 * columns
    agreed = np.linalg.norm(around[:, :3], axis=1)
    against = (around[:, :3] * normal).sum(1) < _FLIPPED * agreed * size
    return against & (agreed > _COHERENT * around[:, 3])


def unfold(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The vertices float32 (v, 3), those of flipped faces moved to the middle of their neighbours, again and again."""
    from scipy.sparse import csr_matrix

    touched = np.zeros(len(vertices), bool)
    touched[faces[flipped(vertices, faces)]] = True
    if not touched.any():
        return vertices
    for _ in range(_UNFOLD_RINGS):
        near = touched[faces].any(1)
        touched[faces[near]] = True
    used, local = np.unique(faces[near], return_inverse=True)
    local = local.reshape(-1, 3)
    place = vertices[used].astype(np.float64)
    a, b = local.ravel(), np.roll(local, -1, 1).ravel()
    ends = (np.concatenate([a, b]), np.concatenate([b, a]))
    links = csr_matrix((np.ones(len(ends[0])), ends), shape=(len(used), len(used)))
    links.data[:] = 1.0
    for _ in range(_UNFOLDINGS):
        corners = np.unique(local[flipped(place, local)])
        if not len(corners):
            break
        rows = links[corners]
        place[corners] = (rows @ place) / np.asarray(rows.sum(1)).reshape(-1, 1)
    vertices = vertices.copy()
    vertices[used] = place.astype(np.float32)
    return vertices


def simplify(
    vertices: np.ndarray, faces: np.ndarray, max_faces: int, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """At most `max_faces` faces, as far as edges can be collapsed without joining sheets or turning faces over.

    weight float64 (v,) > 0: how much the surface at a vertex counts (None: all the same). Edges must have at most two
    faces.
    """
    if max_faces <= 0 or len(faces) <= max_faces:
        return vertices, faces
    faces = _whole(faces)
    twins = kernels.edge_twins(np.ascontiguousarray(vertices, np.float32), faces)
    weight = np.ones(len(vertices)) if weight is None else weight
    place, faces = kernels.simplify_mesh(vertices.astype(np.float64), faces, twins, weight, max_faces, _NORMAL_NOISE)
    return place.astype(np.float32), faces
