"""Surfaces without a rim: every edge has two faces, the normals point out of the matter."""

from __future__ import annotations

import numpy as np

from rilievo import kernels
from rilievo.stages import mesh_clean

_ROUNDS = 6


def close(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The surface with every rim filled, as closed manifold pieces; what cannot be joined to two faces goes.

    Sheets are cut apart where they meet in an edge or a point. Raises nothing: no faces are left where there is no
    closed surface at all.
    """
    for _ in range(_ROUNDS):
        vertices, faces = mesh_clean.split_nonmanifold(*mesh_clean.tidy(vertices, faces))
        if is_closed(vertices, faces):
            return vertices, faces
        vertices, faces = mesh_clean.fill_holes(vertices, faces, np.inf)
    # Some edge resists: whole pieces with such an edge go.
    vertices, faces = mesh_clean.split_nonmanifold(*mesh_clean.tidy(vertices, faces))
    twins = _twins(vertices, faces)
    label = kernels.join_faces(twins, np.ones(len(faces), np.uint8))
    open_piece = np.zeros(len(faces), bool)
    open_piece[label[(twins < 0).any(1)]] = True
    return mesh_clean.tidy(vertices, faces[~open_piece[label]])


def is_closed(vertices: np.ndarray, faces: np.ndarray) -> bool:
    """Whether every edge has exactly two faces, which run along it in opposite directions."""
    return bool((_twins(vertices, faces) >= 0).all())


def without_voids(vertices: np.ndarray, faces: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A closed surface without the pieces whose volume is not positive (they bound air in the matter) and those of
    which no face is `measured` (bool (f,))."""
    label = mesh_clean.components(vertices, faces)
    if not len(label):
        return vertices, faces
    middle = vertices.mean(0).astype(np.float64)
    a, b, c = (vertices[faces[:, k]].astype(np.float64) - middle for k in range(3))
    volume = np.bincount(label, np.einsum("fc,fc->f", a, np.cross(b, c)))
    seen = np.bincount(label, measured) > 0
    return mesh_clean.tidy(vertices, faces[((volume > 0) & seen)[label]])


def part_copies(vertices: np.ndarray, faces: np.ndarray, distance: float) -> np.ndarray:
    """Vertices float32 (v, 3), of which those at one place are moved into the matter by up to `distance`: programs that
    merge equal vertices would join sheets there again."""
    for _ in range(_ROUNDS):
        order = np.lexsort(vertices.T)
        equal = (np.diff(vertices[order], axis=0) == 0).all(1)
        if not equal.any():
            break
        copies = np.unique(np.concatenate([order[:-1][equal], order[1:][equal]]))
        normals = mesh_clean.vertex_normals(vertices, faces)[copies]
        share = (0.5 + 0.5 * (np.arange(len(copies)) % 7) / 6)[:, None]  # copies with one normal part as well
        vertices = vertices.copy()
        vertices[copies] -= (distance * share * normals).astype(np.float32)
    return vertices


def _twins(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    return kernels.edge_twins(np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32))
