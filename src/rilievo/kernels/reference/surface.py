"""Plain twins of native/delaunay.cpp, native/visibility.cpp and native/min_cut.cpp, for small inputs."""

from __future__ import annotations

import numpy as np

_FACE = np.array([[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]])


def delaunay(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Delaunay tetrahedra of points float64 (n, 3) with integer values of at most 2^30, the last four of which are a
    positively oriented tetrahedron around all others.

    Returns vertices int32 (m, 4), each tetrahedron positively oriented, and neighbours int32 (m, 4) opposite each
    vertex (-1 outside). Points on one sphere may be joined in another way than by the native kernel.
    """
    from scipy.spatial import Delaunay

    if len(points) < 4:
        raise ValueError("delaunay: at least four points are needed, the last four enclosing the rest")
    if not (np.abs(points) <= 2**30).all() or (points != np.floor(points)).any():
        raise ValueError("delaunay: coordinates must be integers of at most 2^30")
    if np.linalg.det(points[-3:] - points[-4]) <= 0:
        raise ValueError("delaunay: the last four points must be a positively oriented tetrahedron")
    mesh = Delaunay(points)
    vertices, neighbours = mesh.simplices.astype(np.int32), mesh.neighbors.astype(np.int32)
    p = points[vertices]
    wrong = np.linalg.det(p[:, 1:] - p[:, :1]) < 0
    for array in (vertices, neighbours):
        array[wrong] = array[wrong][:, [1, 0, 2, 3]]
    return vertices, neighbours


def visibility_capacities(
    points: np.ndarray,
    vertices: np.ndarray,
    neighbours: np.ndarray,
    centers: np.ndarray,
    sigma: np.ndarray,
    weight: np.ndarray,
    offsets: np.ndarray,
    views: np.ndarray,
    behind: float,
    reach: float,
    quality: float,
    unit: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Capacities int32 (m, 4) from each tetrahedron to its neighbours and int32 (m,) from the source less to the sink.

    points float64 (n, 3), vertices and neighbours int32 (m, 4) as from `delaunay`, centers float64 (c, 3) of the
    cameras. Point i < k sends rays to the cameras views[offsets[i]:offsets[i + 1]]; sigma and weight float64 (k,).

    A ray adds unit * weight * (1 - exp(-d^2 / 2 sigma^2)) to each facet it crosses at distance d, in the direction
    from the camera to the point; unit * weight from the source to the tetrahedron with the camera, and from the
    tetrahedron `behind` sigmas behind the point to the sink. All rays of a point but the first end after `reach`
    sigmas. `quality` weighs 1 - the smaller cosine between a facet and the spheres around its two tetrahedra.
    """
    edges = np.zeros(vertices.shape, np.int64)
    terminals = np.zeros(len(vertices), np.int64)
    corners = points[vertices]
    triangles = corners[:, _FACE]
    normals = np.cross(triangles[:, :, 1] - triangles[:, :, 0], triangles[:, :, 2] - triangles[:, :, 0])
    for v in range(len(sigma)):
        apart = (vertices[:, _FACE] != v).all(2)
        for rank, view in enumerate(views[offsets[v] : offsets[v + 1]]):
            way = centers[view] - points[v]
            length = np.linalg.norm(way)
            if not length > 1:
                continue
            way = way / length
            amount = unit * weight[v]
            end = length if rank == 0 else min(length, reach * sigma[v])
            slope = normals @ way
            depth = np.einsum("tic,tic->ti", normals, triangles[:, :, 0] - points[v]) / np.where(slope, slope, 1)
            hit = points[v] + depth[..., None] * way
            inside = np.ones(depth.shape, bool)
            for k in range(3):
                a, b = triangles[:, :, k], triangles[:, :, (k + 1) % 3]
                inside &= np.einsum("tic,tic->ti", np.cross(b - a, hit - a), normals) >= 0
            tets, faces = np.nonzero(apart & inside & (slope > 0) & (depth > 0) & (depth < end))
            for t, i in zip(tets, faces):
                d, beyond = depth[t, i], neighbours[t, i]
                if beyond < 0:
                    continue
                soft = 1 - np.exp(-d * d / (2 * sigma[v] ** 2)) if d < 6 * sigma[v] else 1.0
                edges[beyond, int(np.flatnonzero(neighbours[beyond] == t)[0])] += int(np.floor(amount * soft + 0.5))
            stop, seen = _holding(corners, points[v] + end * way), _holding(corners, centers[view])
            if stop == seen:
                terminals[seen] += int(np.floor(amount + 0.5))
            terminals[_holding(corners, points[v] - behind * sigma[v] * way)] -= int(np.floor(amount + 0.5))
    if quality > 0:
        cosine = _face_cosines(corners, triangles, normals)
        for t, i in zip(*np.nonzero(neighbours >= 0)):
            beyond = neighbours[t, i]
            worst = min(cosine[t, i], cosine[beyond, int(np.flatnonzero(neighbours[beyond] == t)[0])])
            edges[t, i] += int(np.floor(quality * unit * (1 - worst) + 0.5))
    return edges.astype(np.int32), terminals.astype(np.int32)


def min_cut(neighbours: np.ndarray, capacities: np.ndarray, terminals: np.ndarray) -> tuple[np.ndarray, int]:
    """(side uint8 (n,), flow) of the minimum cut on a graph of nodes with up to four neighbours.

    neighbours int32 (n, 4), -1 none, symmetric; capacities int32 (n, 4) >= 0 of the edge to each; terminals int32
    (n,), capacity from the source less to the sink. side is 1 where the source still reaches when no more can flow.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    n = len(terminals)
    if (capacities < 0).any():
        raise ValueError("min_cut: capacities must not be negative")
    node, slot = np.nonzero(neighbours >= 0)
    everyone = np.arange(n)
    rows = np.concatenate([node, np.full(n, n), everyone])
    columns = np.concatenate([neighbours[node, slot], everyone, np.full(n, n + 1)])
    values = np.concatenate([capacities[node, slot], np.maximum(terminals, 0), np.maximum(-terminals, 0)])
    graph = csr_matrix((values.astype(np.int32), (rows, columns)), shape=(n + 2, n + 2))
    result = maximum_flow(graph, n, n + 1)
    left = graph - result.flow
    left.data[left.data < 0] = 0
    left.eliminate_zeros()
    side = np.zeros(n + 2, np.uint8)
    side[breadth_first_order(left, n, return_predecessors=False)] = 1
    return side[:n], int(result.flow_value)


def _holding(corners: np.ndarray, place: np.ndarray) -> int:
    """The tetrahedron that holds a place: the one with the largest smallest barycentric coordinate."""
    edges = np.swapaxes(corners[:, 1:] - corners[:, :1], 1, 2)
    with np.errstate(all="ignore"):
        last = np.linalg.solve(edges, (place - corners[:, 0])[..., None])[..., 0]
    shares = np.concatenate([1 - last.sum(1, keepdims=True), last], 1)
    return int(np.nan_to_num(shares, nan=-np.inf).min(1).argmax())


def _face_cosines(corners: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> np.ndarray:
    edges = corners[:, 1:] - corners[:, :1]
    offset = np.linalg.solve(edges, ((edges**2).sum(2) / 2)[..., None])[..., 0]
    center, radius = corners[:, 0] + offset, np.linalg.norm(offset, axis=1)
    height = -np.einsum("tic,tic->ti", normals, center[:, None] - triangles[:, :, 0])
    return np.clip(height / (np.linalg.norm(normals, axis=2) * radius[:, None]), -1, 1)
