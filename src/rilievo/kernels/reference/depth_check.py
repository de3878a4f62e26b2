"""NumPy twins of the kernels that hold depth maps against each other (native/depth_check.cpp)."""

from __future__ import annotations

import numpy as np


def _apply(P: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = [((P[r, 0] * x + P[r, 1] * y) + P[r, 2]) * z + P[r, 3] for r in range(3)]
    return rows[0], rows[1], rows[2]


def _known(depth: np.ndarray) -> np.ndarray:
    return (depth > 0) & (depth < np.inf)


def _depth_at(depth: np.ndarray, u: np.ndarray, v: np.ndarray, max_relative: float) -> np.ndarray:
    """Inverse depth between four pixels of one surface, else depth of the nearest; -1 where there is none."""
    h, w = depth.shape
    out = np.full(len(u), -1.0)
    x, y = np.floor(u + 0.5).astype(np.int64), np.floor(v + 0.5).astype(np.int64)
    inside = (x >= 0) & (y >= 0) & (x < w) & (y < h)
    nearest = depth[y[inside], x[inside]]
    out[inside] = np.where(_known(nearest), nearest, -1.0)
    cu, cv = np.floor(u), np.floor(v)
    x0, y0 = cu.astype(np.int64), cv.astype(np.int64)
    four = np.flatnonzero((x0 >= 0) & (y0 >= 0) & (x0 + 1 < w) & (y0 + 1 < h))
    x0, y0 = x0[four], y0[four]
    corners = np.stack([depth[y0, x0], depth[y0, x0 + 1], depth[y0 + 1, x0], depth[y0 + 1, x0 + 1]])
    low, high = corners.min(0), corners.max(0)
    one = _known(corners).all(0)
    one &= high.astype(np.float64) - low <= 2.0 * max_relative * low.astype(np.float64)
    d = corners[:, one].astype(np.float64)
    at = four[one]
    fu, fv = u[at] - cu[at], v[at] - cv[at]
    top, bottom = (1 - fu) / d[0] + fu / d[1], (1 - fu) / d[2] + fu / d[3]
    out[at] = 1.0 / ((1 - fv) * top + fv * bottom)
    return out


def depth_agreement(
    depth: np.ndarray,
    other: np.ndarray,
    other_from_this: np.ndarray,
    this_from_other: np.ndarray,
    *,
    max_error_px: float,
    max_relative: float,
) -> tuple[np.ndarray, np.ndarray]:
    """What another depth map says of each pixel of this one, and the depth it would give it.

    depth, other: float32 (h, w), NaN unknown.  other_from_this, this_from_other: float64 (3, 4), K_b [R K_a^-1 | t] for
    array indices.  Returns verdict uint8 (h, w): 0 not seen or unknown there, 1 agrees (comes back within
    `max_error_px` pixels and within `max_relative` of its depth), 2 the other looks through the point, 3 the point is
    hidden behind what the other sees; and depth float32 (h, w), NaN where the verdict is 0.
    """
    for array, dtype in ((depth, np.float32), (other, np.float32)):
        if array.dtype != dtype or array.ndim != 2:
            raise TypeError(f"expected {np.dtype(dtype)} (h, w), got {array.dtype} {array.shape}")
    if other_from_this.shape != (3, 4) or this_from_other.shape != (3, 4):
        raise TypeError("projections must be float64 (3, 4)")
    if not (np.isfinite(other_from_this).all() and np.isfinite(this_from_other).all()):
        raise ValueError("projections must be finite")
    if not (max_error_px > 0 and max_relative > 0):
        raise ValueError("limits must be positive")
    verdict = np.zeros(depth.shape, np.uint8)
    there = np.full(depth.shape, np.nan, np.float32)
    y, x = np.nonzero(_known(depth))
    d = depth[y, x].astype(np.float64)
    q = _apply(other_from_this, x.astype(np.float64), y.astype(np.float64), d)
    ahead = q[2] > 1e-6 * d
    safe = np.where(ahead, q[2], 1.0)
    u, v = q[0] / safe, q[1] / safe
    ahead &= (u > -0.5) & (v > -0.5) & (u < other.shape[1] - 0.5) & (v < other.shape[0] - 0.5)
    x, y = x[ahead], y[ahead]
    d, u, v, q2 = (k[ahead] for k in (d, u, v, q[2]))
    z = _depth_at(other, u, v, max_relative)
    back = _apply(this_from_other, u, v, z)
    good = (z > 0) & (back[2] > 0)
    x, y = x[good], y[good]
    d, q2, z, b0, b1, b2 = (k[good] for k in (d, q2, z, *back))
    ex, ey = b0 / b2 - x, b1 / b2 - y
    agrees = (ex * ex + ey * ey <= max_error_px * max_error_px) & (np.abs(b2 - d) <= max_relative * d)
    verdict[y, x] = np.where(agrees, 1, np.where(z > q2, 2, 3))
    there[y, x] = b2.astype(np.float32)
    return verdict, there


def depth_pieces(depth: np.ndarray, *, max_relative: float) -> np.ndarray:
    """int32 (h, w): pixels in the 4-connected piece of each pixel, 0 where depth is unknown.

    Neighbours are one piece when their depths differ by at most `max_relative` of the smaller one.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if depth.dtype != np.float32 or depth.ndim != 2:
        raise TypeError(f"expected float32 (h, w), got {depth.dtype} {depth.shape}")
    if not max_relative > 0:
        raise ValueError("max_relative must be positive")
    known = _known(depth)
    number = np.arange(depth.size).reshape(depth.shape)
    edges = []
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        a, b = depth[first], depth[second]
        with np.errstate(invalid="ignore"):
            one = known[first] & known[second] & (np.abs(a - b) <= np.float32(max_relative) * np.minimum(a, b))
        edges.append(np.stack([number[first][one], number[second][one]]))
    i, j = np.concatenate(edges, 1)
    graph = coo_matrix((np.ones(len(i), np.int8), (i, j)), (depth.size, depth.size))
    label = connected_components(graph, directed=False)[1].reshape(depth.shape)
    count = np.bincount(label[known], minlength=depth.size)
    return np.where(known, count[label], 0).astype(np.int32)
