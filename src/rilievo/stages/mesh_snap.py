"""Pulls a surface onto the points that it was made of.

A surface through some of the points inherits their noise, and a visibility cut even prefers the points behind: rays
count everything in front of the farthest point as free space. The cloud as a whole has no such bias, so every vertex is
moved to the local mean plane of the points around it, a moving least squares projection (Levin 2003; Alexa et al. 2003)
whose weights fall with the distance from the vertex and with a point's residual (Öztireli, Guennebaud & Gross 2009).
"""

from __future__ import annotations

import numpy as np

from rilievo import kernels
from rilievo.stages import mesh_clean
from rilievo.stages.neighbours import Neighbours

# Nearest points that are looked at.
_NEIGHBOURS = 12
# Points that must agree with a vertex before they move it.
_MIN_POINTS = 4
# Points farther away than this, in their spacing, have no say.
_REACH = 4.0
# Least cosine between the normal of a point and the vertex's, then between it and the mean normal.
_MIN_FACING = 0.3
_MIN_AGREEMENT = 0.7
# A vertex moves at most this far in a round, in spacings.
_MAX_STEP = 3.0
# Points whose residual is this many spacings from the median count e^-0.5 less.
_RESIDUAL = 1.0
# Share of the points' own planes, against the mean plane, in the surface that they span.
_CURVED = 0.5
# The least sigma that is believed, in spacings.
_MIN_SIGMA = 0.1
# Rounds of averaging by which vertices without points follow their neighbours.
_FOLLOW = 30
# Times that the step of the vertices around a face that would turn over is halved.
_RETREATS = 5


def snap(vertices: np.ndarray, faces: np.ndarray, near: Neighbours, rounds: int) -> np.ndarray:
    """The vertices float32 (v, 3), moved along the surface's normal onto the mean plane of the points around them.

    Only points that face the way of the vertex pull it, so the two sides of a thin thing stay apart; vertices with too
    few points go along with their neighbours; no face turns over.
    """
    cloud = near.cloud
    limits = np.array([_REACH, _MIN_FACING, _MIN_AGREEMENT, _MAX_STEP, _RESIDUAL, _CURVED, _MIN_SIGMA], np.float64)
    for _ in range(rounds):
        step, held = kernels.snap_steps(
            *near.tree,
            cloud.points,
            cloud.normals,
            cloud.sigma,
            cloud.confidence,
            cloud.spacing,
            vertices,
            mesh_clean.vertex_normals(vertices, faces),
            _NEIGHBOURS,
            _MIN_POINTS,
            limits,
        )
        vertices = _move(vertices, faces, _follow(step, held > 0, faces))
    return vertices


def _follow(step: np.ndarray, held: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Steps with those of vertices that are not held replaced by the mean of their neighbours', again and again."""
    from scipy.sparse import csr_matrix

    if held.all() or not held.any():
        return step
    a, b = faces.ravel(), np.roll(faces, -1, 1).ravel()
    rows, columns = np.concatenate([a, b]), np.concatenate([b, a])
    loose = ~held[rows]
    links = csr_matrix((np.ones(int(loose.sum())), (rows[loose], columns[loose])), shape=(len(step), len(step)))
    degree = np.maximum(np.asarray(links.sum(1)).ravel(), 1)[:, None]
    for _ in range(_FOLLOW):
        step = np.where(held[:, None], step, (links @ step) / degree)
    return step


def _move(vertices: np.ndarray, faces: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Vertices after the step, which is shortened where a face would turn over."""
    before = _face_normals(vertices, faces)
    for attempt in range(_RETREATS + 1):
        moved = (vertices + step).astype(np.float32)
        turned = (before * _face_normals(moved, faces)).sum(1) < 0
        if not turned.any():
            return moved
        around = np.unique(faces[turned])
        step = step.copy()
        step[around] *= 0.5 if attempt < _RETREATS else 0.0
    return (vertices + step).astype(np.float32)


def _face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Normals float64 (f, 3), as long as twice the area."""
    p = vertices[faces].astype(np.float64)
    return np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
