"""Pulls a surface onto the points that it was made of.

A surface through some of the points inherits their noise, and a visibility cut even prefers the points behind: rays
count everything in front of the farthest point as free space. The cloud as a whole has no such bias, so every vertex is
moved to the local mean plane of the points around it, a moving least squares projection (Levin 2003; Alexa et al. 2003)
whose weights fall with the distance from the vertex and with a point's residual (Öztireli, Guennebaud & Gross 2009).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rilievo.stages import mesh_clean
from rilievo.types import PointCloud

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

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
# Vertices that are looked at together: bounds memory, and has no influence on the result.
_CHUNK = 32768


def snap(vertices: np.ndarray, faces: np.ndarray, cloud: PointCloud, tree: cKDTree, rounds: int) -> np.ndarray:
    """The vertices float32 (v, 3), moved along the surface's normal onto the mean plane of the points around them.

    tree: over `cloud.points`. Only points that face the way of the vertex pull it, so the two sides of a thin thing
    stay apart; vertices with too few points go along with their neighbours; no face turns over.
    """
    for _ in range(rounds):
        step, held = _steps(vertices, mesh_clean.vertex_normals(vertices, faces), cloud, tree)
        step = _follow(step, held, faces)
        vertices = _move(vertices, faces, step)
    return vertices


def _steps(
    vertices: np.ndarray, normals: np.ndarray, cloud: PointCloud, tree: cKDTree
) -> tuple[np.ndarray, np.ndarray]:
    """Displacement float64 (v, 3) of each vertex to the mean plane of its points, and whether it has enough of them."""
    step, held = np.zeros(vertices.shape), np.zeros(len(vertices), bool)
    count = min(_NEIGHBOURS, len(cloud.points))
    for start in range(0, len(vertices), _CHUNK):
        at = vertices[start : start + _CHUNK].astype(np.float64)
        distance, index = tree.query(at, k=list(range(1, count + 1)))
        spacing = cloud.spacing[index[:, 0]].astype(np.float64)[:, None]
        toward = cloud.normals[index].astype(np.float64)
        facing = (toward * normals[start : start + _CHUNK, None]).sum(-1) > _MIN_FACING
        usable = facing & (distance <= _REACH * spacing)
        sigma = np.maximum(np.nan_to_num(cloud.sigma[index].astype(np.float64), nan=np.inf), _MIN_SIGMA * spacing)
        weight = cloud.confidence[index] * (spacing / sigma) ** 2
        # The widest neighbour used sets the scale of the falling weight, so it adapts to the density of the points.
        width = np.maximum(np.max(np.where(usable, distance, 0), axis=1, keepdims=True), spacing)
        weight = weight * np.exp(-((distance / width) ** 2)) * usable
        mean = (weight[..., None] * toward).sum(1)
        mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-30)
        usable &= (toward * mean[:, None]).sum(-1) > _MIN_AGREEMENT
        # On a sphere the mean plane lies too deep and the points' own planes too high by the same: half of each.
        across = mean[:, None] + _CURVED * (toward - mean[:, None])
        offset = ((cloud.points[index] - at[:, None]) * across).sum(-1)
        middle = _middle(offset, usable)
        weight = weight * usable * np.exp(-0.5 * ((offset - middle) / (_RESIDUAL * spacing)) ** 2)
        total = weight.sum(1)
        enough = (usable.sum(1) >= _MIN_POINTS) & (total > 0)
        move = (weight * offset).sum(1) / np.where(enough, total, 1)
        limit = _MAX_STEP * spacing[:, 0]
        step[start : start + _CHUNK] = mean * np.where(enough, np.clip(move, -limit, limit), 0)[:, None]
        held[start : start + _CHUNK] = enough
    return step, held


def _middle(values: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """The (lower) median of the usable values of each row, (v, 1); 0 where there is none."""
    number = usable.sum(1, keepdims=True)
    ordered = np.sort(np.where(usable, values, np.inf), axis=1)
    return np.where(number > 0, np.take_along_axis(ordered, np.maximum(number - 1, 0) // 2, 1), 0.0)


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
