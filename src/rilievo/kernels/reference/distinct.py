"""Plain NumPy twins of native/distinct.cpp."""

from __future__ import annotations

import numpy as np

# See native/distinct.cpp.
COARSER, FINER, ENOUGH_VIEWS = 2, 1, 3
NO_LEVEL = -128


def distinct_points(
    points: np.ndarray,
    normals: np.ndarray,
    spacing: np.ndarray,
    inferred: np.ndarray,
    counts: np.ndarray,
    owner: np.ndarray,
    radius: float,
    depth: float,
    min_normal_cos: float,
) -> np.ndarray:
    """uint8 (n,): 1 for points that stay, 0 for those that repeat one that stays.

    points, normals float32 (n, 3), spacing float32 (n,), inferred uint8 (n,), counts int32 (n,) of views, owner int32
    (n,): the map a point comes from.

    Points are taken measured before inferred, fine before coarse (in steps of two), those of three views or more
    before those of two, then by owner. A point goes when one of another owner that stays lies within `radius` spacings
    of it along the surface and `depth` across, with a normal of at least this cosine, and is at most two steps finer
    or one coarser. Points that are not finite or have no spacing go.
    """
    from scipy.spatial import cKDTree

    n = len(points)
    _check("distinct_points", points, spacing, normals, inferred, counts, owner)
    if not (0 < radius <= 100 and 0 <= depth <= 100):
        raise ValueError("distinct_points: radius must be positive, depth not negative, both at most 100")
    stays = np.zeros(n, np.uint8)
    reach = np.sqrt(radius**2 + depth**2)
    level = _levels(points, reach * spacing.astype(np.float64))
    usable = np.flatnonzero(level != NO_LEVEL)
    if not len(usable):
        return stays
    order = np.lexsort(
        (usable, owner[usable], -np.minimum(counts[usable], ENOUGH_VIEWS), level[usable], inferred[usable] != 0)
    )
    at = points.astype(np.float64)
    tree = cKDTree(at[usable])
    for p in usable[order]:
        near = usable[tree.query_ball_point(at[p], reach * float(spacing[p]) * 1.000001)]
        near = near[(stays[near] == 1) & (owner[near] != owner[p])]
        step = level[p] - level[near]
        near = near[(step <= COARSER) & (step >= -FINER)]
        apart = at[p] - at[near]
        unit = float(spacing[p]) ** 2
        with np.errstate(invalid="ignore", over="ignore"):
            off = (apart * normals[near]).sum(1) ** 2
            covers = (off <= depth**2 * unit) & ((apart**2).sum(1) - off <= radius**2 * unit)
            covers &= (normals[near].astype(np.float64) @ normals[p].astype(np.float64)) >= min_normal_cos
        stays[p] = not covers.any()
    return stays


def crowded_points(points: np.ndarray, spacing: np.ndarray, radius: float, min_neighbours: int) -> np.ndarray:
    """uint8 (n,): 1 for points with at least `min_neighbours` others within `radius` of their spacing, among those
    whose spacing is within two steps of two of theirs. Points that are not finite or have no spacing have no company.
    """
    from scipy.spatial import cKDTree

    _check("crowded_points", points, spacing)
    if not 0 < radius <= 100:
        raise ValueError("crowded_points: radius must be positive, at most 100")
    out = np.zeros(len(points), np.uint8)
    level = _levels(points, radius * spacing.astype(np.float64))
    usable = np.flatnonzero(level != NO_LEVEL)
    if not len(usable):
        return out
    at = points[usable].astype(np.float64)
    near = cKDTree(at).query_ball_point(at, radius * spacing[usable].astype(np.float64))
    for i, others in zip(usable, near):
        out[i] = (np.abs(level[usable[others]] - level[i]) <= 2).sum() - 1 >= min_neighbours
    return out


def _levels(points: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Level int64 (n,) of the cubes with at least this side."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        good = (side > 1e-35) & (side < 1e35)
        level = np.ceil(np.log2(np.where(good, side, 1.0))).astype(np.int64)
        good &= (np.abs(points.astype(np.float64)) < np.ldexp(2.0**40, level)[:, None]).all(1)
    return np.where(good, level, NO_LEVEL)


def _check(kernel: str, points: np.ndarray, *others: np.ndarray) -> None:
    if any(len(other) != len(points) for other in others):
        raise ValueError(f"{kernel}: arrays differ in length")
