"""Coarser levels of a mesh: its seams closed, simplified, and its colours carried over."""

from __future__ import annotations

import numpy as np

from rilievo.types import Mesh


def joined(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(vertices, faces int32, row of the mesh's vertices) with vertices of equal position made one; faces that lose
    their area that way are left out."""
    position = np.ascontiguousarray(mesh.vertices).view(np.dtype((np.void, 12))).ravel()
    _, first, same = np.unique(position, return_index=True, return_inverse=True)
    faces = same.ravel()[mesh.faces].astype(np.int32)
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return np.ascontiguousarray(mesh.vertices[first]), np.ascontiguousarray(faces[whole]), first
