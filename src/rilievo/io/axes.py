"""What formats with axes or precision other than ours need: y up, single-precision coordinates, normals."""

from __future__ import annotations

import numpy as np

from rilievo.types import Mesh

# y up and z to the viewer (glTF, USD) from our z up: x stays, up becomes y, and our -y looks at the viewer.
YUP_FROM_ZUP = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32)


def yup(xyz: np.ndarray) -> np.ndarray:
    """z-up vectors (n, 3) -> y-up vectors, float32, exact."""
    return np.ascontiguousarray(np.stack([xyz[:, 0], xyz[:, 2], -xyz[:, 1]], 1), np.float32)


def zup(xyz: np.ndarray) -> np.ndarray:
    """y-up vectors (n, 3) -> z-up vectors."""
    return np.ascontiguousarray(np.stack([xyz[:, 0], -xyz[:, 2], xyz[:, 1]], 1))


def near_zero(points: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(points float32, origin that is left): the origin is added in where single precision can carry it (it is less
    than 16 times the size of the thing away from zero), else the points stay local and the caller names the origin."""
    if not origin.any() or not len(points):
        return points, np.zeros(3)
    if np.abs(origin).max() > 16 * float(np.ptp(points, axis=0).max()):
        return points, origin
    return (points + origin).astype(np.float32), np.zeros(3)


def vertex_normals(mesh: Mesh) -> np.ndarray:
    """float32 (v, 3) unit normals: the mesh's own, else of the faces around each position, weighted by area.

    Vertices that are repeated at texture seams share theirs. A vertex without area around it points up.
    """
    if mesh.normals is not None:
        normals = mesh.normals.astype(np.float64)
    else:
        normals = np.zeros(mesh.vertices.shape)
        if len(mesh.faces):
            position = np.ascontiguousarray(mesh.vertices).view(np.dtype((np.void, 12))).ravel()
            _, first, same = np.unique(position, return_index=True, return_inverse=True)
            x = mesh.vertices.astype(np.float64)[mesh.faces]
            area = np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0])
            corner = same[mesh.faces]
            for axis in range(3):
                total = np.bincount(corner.ravel(), np.repeat(area[:, axis], 3), len(first))
                normals[:, axis] = total[same]
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    bad = ~(length[:, 0] > 1e-30)
    normals = normals / np.where(bad[:, None], 1.0, length)
    normals[bad] = (0, 0, 1)
    return normals.astype(np.float32)


def linear_from_srgb(colors: np.ndarray) -> np.ndarray:
    """uint8 sRGB -> float32 linear 0..1 (IEC 61966-2-1)."""
    c = np.arange(256) / 255.0
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)[colors]


def srgb_from_linear(linear: np.ndarray) -> np.ndarray:
    """float linear 0..1 -> uint8 sRGB (IEC 61966-2-1)."""
    c = np.clip(np.asarray(linear, np.float64), 0, 1)
    return np.round(255 * np.where(c <= 0.0031308, 12.92 * c, 1.055 * c ** (1 / 2.4) - 0.055)).astype(np.uint8)
