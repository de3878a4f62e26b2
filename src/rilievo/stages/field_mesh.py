"""The surface of a radiance field as a mesh with colours at its vertices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rilievo.errors import InputError
from rilievo.stages import mesh_clean
from rilievo.stages.field_render import density_at, trace
from rilievo.stages.field_scene import squeeze
from rilievo.stages.marching_cubes import marching_cubes
from rilievo.types import Field, Mesh

SPREAD = 4.0  # logarithms of density further than this from the level are as good as any


@dataclass(frozen=True)
class FieldMeshConfig:
    """How the surface is found."""

    version: ClassVar[int] = 1
    resolution: int = 256
    """cells across the scene"""
    level: float = 40.0
    """density of the surface, per radius of the scene"""
    max_faces: int = 300_000
    """faces at most (0: as found)"""
    min_component: float = 0.01
    """pieces with a smaller share of the faces than this are dropped"""


def mesh_field(field: Field, *, config: FieldMeshConfig = FieldMeshConfig()) -> Mesh:
    """The surface where density crosses `level`, with the colours seen from straight above it.

    The scene's cube (of an unbounded field: the cube around its sphere, open where the scene goes on) is asked at
    resolution + 1 places an axis, where the field is not marked empty. Raises InputError when there is no surface.
    """
    values = _log_densities(field, config)
    vertices, faces = marching_cubes(values)
    faces = _large_pieces(vertices, faces, config.min_component)
    if not len(faces):
        raise InputError(
            "the field has no surface",
            f"its density is nowhere above {config.level:g} per radius in a piece that is large enough",
            "train it longer, or look whether the cameras are right",
        )
    vertices, faces = mesh_clean.tidy(vertices, faces)
    p = (vertices.astype(np.float64) * (2 / config.resolution) - 1).astype(np.float32)
    p, faces = mesh_clean.simplify(p, faces, config.max_faces)
    p, faces = mesh_clean.tidy(p, faces)
    normals = mesh_clean.vertex_normals(p, faces)
    return Mesh(
        vertices=(p * np.float32(field.radius)).astype(np.float32),
        faces=faces,
        normals=normals,
        colors=_colors(field, p, normals, 2 / config.resolution),
        origin=np.asarray(field.center, np.float64),
    )


def _log_densities(field: Field, config: FieldMeshConfig) -> np.ndarray:
    """Logarithm of density over the level, float32 (n, n, n) [z, y, x], clipped; a bounded scene is closed by its
    cube."""
    from scipy.ndimage import binary_dilation

    n, grid = config.resolution + 1, field.occupancy.shape[0]
    filled = np.unpackbits(field.occupancy, axis=-1, bitorder="little").astype(bool)
    full: Any = binary_dilation(filled, np.ones((3, 3, 3), bool))  # a surface may lie at the edge of a cell
    axis = np.linspace(-1, 1, n)
    values = np.full((n, n, n), -SPREAD, np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    for k in range(n):
        p = np.stack([x, y, np.full_like(x, axis[k])], -1).reshape(-1, 3)
        cell = np.minimum((squeeze(p, field.unbounded) * grid).astype(int), grid - 1)
        there = full[cell[:, 2], cell[:, 1], cell[:, 0]]
        density = density_at(field, p[there])
        values[k].reshape(-1)[there] = np.clip(np.log(density / np.float32(config.level)), -SPREAD, SPREAD)
    if not field.unbounded:
        for side in (0, -1):
            values[side] = values[:, side] = values[:, :, side] = -SPREAD
    return values


def _large_pieces(vertices: np.ndarray, faces: np.ndarray, min_share: float) -> np.ndarray:
    """Without small pieces, and without the walls of hollows that nothing outside sees."""
    if not len(faces):
        return faces
    piece = mesh_clean.components(vertices, faces)
    count = np.bincount(piece)
    corners = vertices[faces].astype(np.float64)
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    total = np.bincount(piece, volume)
    closed = np.ones(len(count), bool)
    closed[piece[mesh_clean.touches_border(vertices, faces, np.ones(len(faces), bool))]] = False
    good = (count >= min_share * len(faces)) & ~(closed & (total < 0))
    return faces[good[piece]]


def _colors(field: Field, p: np.ndarray, normals: np.ndarray, cell: float) -> np.ndarray:
    """uint8 (v, 3): what a short ray from outside sees that meets the surface head on."""
    edges = (np.arange(25) * (cell / 4)).astype(np.float32)
    length = np.linalg.norm(normals.astype(np.float64), axis=1, keepdims=True)
    directions = (-normals / length).astype(np.float32)
    origins = (p - np.float32(2 * cell) * directions).astype(np.float32)
    color, _, opacity = trace(field, origins, directions, edges=edges, background=(0.0, 0.0, 0.0))
    color = color / np.maximum(opacity, np.float32(0.05))[:, None]
    return np.clip(np.rint(color * 255), 0, 255).astype(np.uint8)
