"""The shape side of mesh refinement: the regulariser, the step, and the splitting of large triangles."""

from __future__ import annotations

from typing import Any

import numpy as np

# Iterations of conjugate gradients for one step, and the residual at which they may stop.
_ITERATIONS = 60
_SMALL = 1e-4
# Rounds of averaging after which the way to the mean of the neighbours is what it usually is around a vertex: that much
# is the shape (a ball, a rod) and not roughness.
_USUAL_ROUNDS = 4
# Times that the step of the vertices around a face that would turn over is halved.
_RETREATS = 6
# A face may not turn by more than this in a step (cosine).
_MIN_TURN = 0.3


def edges_of(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges int64 (e, 2), lower vertex first; edge of each side of a face int (f, 3) (side k runs from corner k to the
    next); number of faces at each edge."""
    a, b = faces.astype(np.int64), np.roll(faces, -1, 1).astype(np.int64)
    size = int(faces.max(initial=0)) + 1
    key = (np.minimum(a, b) * size + np.maximum(a, b)).ravel()
    unique, side, counts = np.unique(key, return_inverse=True, return_counts=True)
    return np.stack([unique // size, unique % size], 1), side.reshape(-1, 3), counts


def curvature_operator(vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray, crease: float) -> Any:
    """Sparse matrix L (v, v): L @ x is the way from each vertex to the mean of its neighbours.

    A neighbour weighs by 1 / distance (Desbrun et al. 1999, scale-dependent umbrella) and by the cosine between the
    normals to the power of `crease`, so that nothing is smoothed across edges and round thin rods. Border vertices
    have empty rows.
    """
    from scipy.sparse import csr_matrix

    edges, _, counts = edges_of(faces)
    num = len(vertices)
    border = np.zeros(num, bool)
    border[edges[counts == 1].ravel()] = True
    a, b = edges.T
    length = np.linalg.norm(vertices[a] - vertices[b], axis=1)
    alike = np.clip((normals[a] * normals[b]).sum(1), 1e-3, 1.0) ** crease
    weight = alike / np.maximum(length, 1e-3 * np.median(length) if len(length) else 1e-12)
    rows, columns, values = np.concatenate([a, b]), np.concatenate([b, a]), np.concatenate([weight, weight])
    keep = ~border[rows]
    rows, columns, values = rows[keep], columns[keep], values[keep]
    total = np.bincount(rows, values, num)
    inner = np.flatnonzero(total > 0)
    rows_all = np.concatenate([rows, inner])
    columns_all = np.concatenate([columns, inner])
    values_all = np.concatenate([values / total[rows], np.full(len(inner), -1.0)])
    return csr_matrix((values_all, (rows_all, columns_all)), shape=(num, num))


def solve_step(
    operator: Any,
    vertices: np.ndarray,
    normals: np.ndarray,
    slope: np.ndarray,
    curvature: np.ndarray,
    stiffness: np.ndarray,
    damping: np.ndarray,
    smoothing: np.ndarray,
) -> np.ndarray:
    """Movements d (v,) along the normals: the least sum over vertices of slope d + curvature d^2 / 2 + damping d^2 / 2
    + stiffness c^2 / 2.

    c is how much the way to the mean of the neighbours, along the normal, differs after the movement from what it is on
    average around the vertex before: flat, and evenly round, is smooth (a thin plate, Kobbelt et al. 1998, that is bent
    to begin with). smoothing: 1 makes the surface smooth, 0 keeps its shape. Conjugate gradients with a diagonal
    preconditioner; sums run in a fixed order."""
    own = operator.tocsr(copy=True)
    row = np.repeat(np.arange(len(vertices)), np.diff(own.indptr))
    own.data = own.data * (normals[row] * normals[own.indices]).sum(1)
    bend = (normals * (operator @ vertices)).sum(1)
    usual = bend
    for _ in range(_USUAL_ROUNDS):
        usual = usual + operator @ usual
    bend = smoothing * (bend - usual)
    back = own.T.tocsr()
    diagonal = curvature + damping
    squared = own.copy()
    squared.data = squared.data**2
    jacobi = diagonal + squared.T @ stiffness
    jacobi = np.where(jacobi > 0, jacobi, 1.0)

    def apply(x: np.ndarray) -> np.ndarray:
        return diagonal * x + back @ (stiffness * (own @ x))

    residual = -slope - back @ (stiffness * bend)
    x = np.zeros(len(vertices))
    z = residual / jacobi
    direction = z.copy()
    rho = float((residual * z).sum())
    first = rho
    for _ in range(_ITERATIONS):
        if not rho > _SMALL**2 * first:
            break
        image = apply(direction)
        bent = float((direction * image).sum())
        if not bent > 0:
            break
        step = rho / bent
        x += step * direction
        residual -= step * image
        z = residual / jacobi
        following = float((residual * z).sum())
        direction = z + (following / rho) * direction
        rho = following
    return x


def move(vertices: np.ndarray, faces: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Vertices after the step, which is shortened where a face would turn over."""
    before = _unit_normals(vertices, faces)
    for attempt in range(_RETREATS + 1):
        moved = vertices + step
        turned = (before * _unit_normals(moved, faces)).sum(1) < _MIN_TURN
        turned &= (before * before).sum(1) > 0
        if not turned.any():
            return moved
        around = np.unique(faces[turned])
        step = step.copy()
        step[around] *= 0.5 if attempt < _RETREATS else 0.0
    return vertices + step


def _unit_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    p = vertices[faces]
    n = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    return n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-300)


def split_edges(faces: np.ndarray, chosen: np.ndarray, num_vertices: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces with the chosen edges (of `edges_of`) cut in the middle: those with one, two or three such edges become
    two, three or four. Returns the faces, the parent of each, and the two ends of each new vertex (numbered from
    `num_vertices` on)."""
    edges, side, _ = edges_of(faces)
    number = np.full(len(edges), -1, np.int64)
    number[chosen] = num_vertices + np.arange(int(chosen.sum()))
    middle = number[side]
    count = (middle >= 0).sum(1)
    parent = np.arange(len(faces))
    # Turn each face so that its pattern of cut sides is one of three.
    first = np.zeros(len(faces), np.int64)
    one, two = count == 1, count == 2
    first[one] = np.argmax(middle[one] >= 0, axis=1)
    first[two] = (np.argmax(middle[two] < 0, axis=1) + 1) % 3
    turn = (first[:, None] + np.arange(3)) % 3
    c, m = np.take_along_axis(faces.astype(np.int64), turn, 1), np.take_along_axis(middle, turn, 1)
    out, origin = [faces[count == 0]], [parent[count == 0]]

    def add(mask: np.ndarray, *triangles: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        for triangle in triangles:
            out.append(np.stack(triangle, 1)[mask])
            origin.append(parent[mask])

    a, b, d = c.T
    ab, bd, da = m.T
    add(one, (a, ab, d), (ab, b, d))
    add(two, (ab, b, bd), (a, ab, bd), (a, bd, d))  # sides ab and bd are cut
    add(count == 3, (a, ab, da), (ab, b, bd), (da, bd, d), (ab, bd, da))
    faces_out, parent_out = np.concatenate(out), np.concatenate(origin)
    order = np.argsort(parent_out, kind="stable")
    return faces_out[order].astype(np.int32), parent_out[order], edges[chosen]
