"""Plain twins of native/point_tree.cpp and native/snap.cpp, for small inputs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

LEAF = 12


def build_tree(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A balanced k-d tree over points float32 (n, 3), all finite.

    Returns packed float32 (n, 4): places, and in the last column the bits of the point's number (int32); splits
    float32 and axes uint8 of the nodes: node i has the children 2 i + 1 and 2 i + 2 and cuts its range of rows in the
    middle, coordinates along its axis being at most its split before and at least that behind. Ranges of at most 12
    rows are not cut, and have no order of their own.
    """
    if points.dtype != np.float32:
        raise TypeError("build_tree: points must be float32")
    if not np.isfinite(points).all():
        raise ValueError("point_tree: points must be finite")
    depth, largest = 0, len(points)
    while largest > LEAF:
        largest, depth = (largest + 1) // 2, depth + 1
    order = np.arange(len(points))
    bounds, splits, axes = [0, len(points)], [], []
    for _ in range(depth):
        finer = []
        for begin, end in pairwise(bounds):
            inside = points[order[begin:end]]
            extent = inside.max(0) - inside.min(0)
            axis, middle = int(extent.argmax()), (begin + end) // 2
            order[begin:end] = order[begin:end][np.lexsort((order[begin:end], inside[:, axis]))]
            splits.append(points[order[middle], axis])
            axes.append(axis)
            finer += [begin, middle]
        bounds = [*finer, len(points)]
    packed = np.empty((len(points), 4), np.float32)
    packed[:, :3] = points[order]
    packed[:, 3] = order.astype(np.int32).view(np.float32)
    return packed, np.array(splits, np.float32), np.array(axes, np.uint8)


def nearest_points(
    packed: np.ndarray, splits: np.ndarray, axes: np.ndarray, places: np.ndarray, count: int, limit: float
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` points nearest to places float32 (m, 3), not farther than `limit`, nearest first.

    packed, splits, axes: as from `build_tree`. Returns numbers int32 (m, count), -1 where there are no more, and
    distances float64 (m, count), inf there. Of equally near points the lower number comes first.
    """
    if not 1 <= count <= 64:
        raise ValueError("nearest_points: count must be from 1 to 64")
    if not limit >= 0:
        raise ValueError("nearest_points: limit must not be negative")
    del splits, axes
    number = np.ascontiguousarray(packed[:, 3]).view(np.int32)
    index = np.full((len(places), count), -1, np.int32)
    distance = np.full((len(places), count), np.inf)
    for row, place in enumerate(places.astype(np.float64)):
        if not np.isfinite(place).all():
            continue
        x, y, z = (packed[:, :3].astype(np.float64) - place).T
        squared = x * x + y * y + z * z
        first = np.lexsort((number, squared))[:count]
        first = first[squared[first] <= limit * limit]
        index[row, : len(first)] = number[first]
        distance[row, : len(first)] = np.sqrt(squared[first])
    return index, distance


def snap_steps(
    packed: np.ndarray,
    splits: np.ndarray,
    axes: np.ndarray,
    points: np.ndarray,
    point_normals: np.ndarray,
    sigma: np.ndarray,
    confidence: np.ndarray,
    spacing: np.ndarray,
    vertices: np.ndarray,
    normals: np.ndarray,
    neighbours: int,
    min_points: int,
    limits: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Displacement float64 (v, 3) of each vertex to the mean plane of its points, and whether it has enough (uint8).

    packed, splits, axes: the tree over points float32 (n, 3) with normals, and sigma, confidence, spacing float32 (n,).
    vertices, normals float32 (v, 3). limits float64 (7,): reach, least cosine between the normal of a point and the
    vertex's, then between it and the mean normal, longest step, width of the weight by residual, share of the points'
    own planes against the mean plane, least sigma believed; lengths in spacings of the nearest point.
    """
    reach, min_facing, min_agreement, max_step, residual, curved, min_sigma = limits
    index, distance = nearest_points(packed, splits, axes, vertices, neighbours, np.inf)
    found = index >= 0
    index = np.where(found, index, 0)
    own = spacing[index[:, 0]].astype(np.float64)[:, None]
    toward = point_normals[index].astype(np.float64)
    usable = found & ((toward * normals[:, None].astype(np.float64)).sum(-1) > min_facing) & (distance <= reach * own)
    given = sigma[index].astype(np.float64)
    believed = np.where(np.isnan(given), np.inf, np.maximum(given, min_sigma * own))
    weight = confidence[index] * (own / believed) ** 2
    width = np.maximum(np.max(np.where(usable, distance, 0), axis=1, keepdims=True), own)
    weight = weight * np.exp(-((np.where(found, distance, 0) / width) ** 2)) * usable
    mean = (weight[..., None] * toward).sum(1)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-30)
    usable &= (toward * mean[:, None]).sum(-1) > min_agreement
    across = mean[:, None] + curved * (toward - mean[:, None])
    offset = ((points[index].astype(np.float64) - vertices.astype(np.float64)[:, None]) * across).sum(-1)
    number = usable.sum(1)
    ordered = np.sort(np.where(usable, offset, np.inf), axis=1)
    middle = np.take_along_axis(ordered, np.maximum(number - 1, 0)[:, None] // 2, 1)
    middle = np.where(number[:, None] > 0, middle, 0)
    weight = weight * usable * np.exp(-0.5 * ((offset - middle) / (residual * own)) ** 2)
    total = weight.sum(1)
    held = (number >= min_points) & (total > 0)
    move = np.clip((weight * offset).sum(1) / np.where(held, total, 1), -max_step * own[:, 0], max_step * own[:, 0])
    return mean * np.where(held, move, 0)[:, None], held.astype(np.uint8)
