"""What the twins of the stereo kernels share: every float32 operation in the order of native/simd/stereo_match.h.

Planes are (w, a, b): inverse depth and its slope per pixel; coordinates are array indices (see native/stereo.h).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NO_MATCH = np.float32(2.0)
f32 = np.float32


@dataclass(frozen=True)
class Setting:
    """What `stereo_sweep` and `stereo_cost` share, checked."""

    reference: np.ndarray
    sources: np.ndarray
    sizes: np.ndarray
    projections: np.ndarray
    source_planes: np.ndarray | None
    backs: np.ndarray | None
    shrink: int
    noise: np.float32
    geometric: np.float32
    weights: np.ndarray


def setting(
    reference: np.ndarray,
    sources: np.ndarray,
    sizes: np.ndarray,
    projections: np.ndarray,
    planes: np.ndarray,
    source_planes: np.ndarray | None,
    backs: np.ndarray | None,
    shrink: int,
    noise: float,
    geometric: float,
    sigma_grey: float,
    sigma_px: float,
) -> Setting:
    for array, dtype, ndim in (
        (reference, np.uint8, 2),
        (sources, np.uint8, 3),
        (sizes, np.int32, 2),
        (projections, np.float32, 3),
        (planes, np.float32, 3),
    ):
        if array.dtype != dtype or array.ndim != ndim:
            raise TypeError(f"expected {np.dtype(dtype)} with {ndim} dimensions, got {array.dtype} {array.shape}")
    n = len(sources)
    if sizes.shape != (n, 2) or projections.shape != (n, 3, 4):
        raise ValueError("sources, sizes and projections differ in number")
    if planes.shape != (*reference.shape, 3):
        raise ValueError("planes and reference differ in size")
    if (source_planes is None) != (backs is None):
        raise ValueError("source_planes and backs go together")
    if source_planes is not None and backs is not None:
        if source_planes.ndim != 4 or source_planes.shape[3] != 3 or len(source_planes) != n or backs.shape != (n, 3):
            raise ValueError("sources, source_planes and backs differ in number")
        if not 1 <= shrink <= 16:
            raise ValueError("shrink must be between 1 and 16")
        small = sizes // shrink
        if (small < 1).any() or (small > source_planes.shape[1:3]).any():
            raise ValueError("source_planes are smaller than the sources divided by shrink")
    if not 1 <= n <= 16:
        raise ValueError(f"there must be 1 to 16 sources, not {n}")
    if min(reference.shape) < 1 or (sizes < 2).any() or (sizes > sources.shape[1:]).any():
        raise ValueError("an image is empty or its size is not within the array of sources")
    if not np.isfinite(projections).all():
        raise ValueError("projections must be finite")
    if not (sigma_grey > 0 and sigma_px > 0):
        raise ValueError("sigma_grey and sigma_px must be positive")
    step = np.arange(-4, 5, 2)
    place = (step[:, None] ** 2 + step[None, :] ** 2).reshape(-1, 1) / (2.0 * float(f32(sigma_px)) ** 2)
    difference = np.arange(256.0)[None, :] ** 2 / (2.0 * float(f32(sigma_grey)) ** 2)
    weights = np.exp(-place - difference).astype(np.float32)
    return Setting(
        reference, sources, sizes, projections, source_planes, backs, shrink, f32(noise), f32(geometric), weights
    )  # fmt: skip


@dataclass(frozen=True)
class Patch:
    """Weighted samples around k pixels: weight and centred are (25, k)."""

    weight: np.ndarray
    centred: np.ndarray
    variance: np.ndarray
    usable: np.ndarray


def sample_patch(s: Setting, y: np.ndarray, x: np.ndarray) -> Patch:
    padded = np.pad(s.reference, 4).astype(np.float32)
    centre = padded[y + 4, x + 4]
    total, mean = np.zeros(len(x), np.float32), np.zeros(len(x), np.float32)
    value, weight = np.empty((25, len(x)), np.float32), np.empty((25, len(x)), np.float32)
    for k in range(25):
        value[k] = padded[y + (k // 5) * 2, x + (k % 5) * 2]
        w = s.weights[k, np.abs(value[k] - centre).astype(np.int32)]
        weight[k] = np.where(value[k] > 0, w, f32(0))
        total += weight[k]
        mean += weight[k] * value[k]
    usable = centre > 0
    inverse = f32(1) / np.where(usable, total, f32(1))
    mean *= inverse
    centred, variance = np.empty_like(value), np.zeros(len(x), np.float32)
    for k in range(25):
        weight[k] *= inverse
        difference = value[k] - mean
        centred[k] = weight[k] * difference
        variance += centred[k] * difference
    return Patch(weight, centred, variance, usable)


@dataclass(frozen=True)
class Slopes:
    """Grey value slopes of the reference over the patch, and what their sums over it are (native/simd/stereo_match.h):
    x, y (25, k); sum and with (2, 3, k); pairs (3, 6, k)."""

    x: np.ndarray
    y: np.ndarray
    sum: np.ndarray
    centred: np.ndarray
    pairs: np.ndarray


def sample_slopes(s: Setting, patch: Patch, y: np.ndarray, x: np.ndarray) -> Slopes:
    """Central differences around k pixels; none where a neighbour has no picture."""
    padded = np.pad(s.reference, 5).astype(np.float32)
    n = len(x)
    wx, wy = np.empty((25, n), np.float32), np.empty((25, n), np.float32)
    linear, pairs = np.zeros((4, 3, n), np.float32), np.zeros((3, 6, n), np.float32)
    for j in range(5):
        row = y + 2 * j - 4 + 5
        row1, row2 = np.zeros((4, 2, n), np.float32), np.zeros((3, 3, n), np.float32)
        for i in range(5):
            k, column = 5 * j + i, x + 2 * i - 4 + 5
            left, right = padded[row, column - 1], padded[row, column + 1]
            above, below = padded[row - 1, column], padded[row + 1, column]
            gx = np.where((left > 0) & (right > 0), (right - left) * f32(0.5), f32(0))
            gy = np.where((above > 0) & (below > 0), (below - above) * f32(0.5), f32(0))
            wx[k], wy[k] = patch.weight[k] * gx, patch.weight[k] * gy
            dx, dx2 = f32(0.5 * (i - 2)), f32(0.25 * (i - 2) ** 2)
            for t, term in enumerate((wx[k], wy[k], patch.centred[k] * gx, patch.centred[k] * gy)):
                row1[t, 0] += term
                row1[t, 1] += term * dx
            for t, term in enumerate((wx[k] * gx, wx[k] * gy, wy[k] * gy)):
                row2[t, 0] += term
                row2[t, 1] += term * dx
                row2[t, 2] += term * dx2
        dy, dy2 = f32(0.5 * (j - 2)), f32(0.25 * (j - 2) ** 2)
        linear += np.stack([row1[:, 0], row1[:, 1], row1[:, 0] * dy], 1)
        r0, r1, r2 = row2[:, 0], row2[:, 1], row2[:, 2]
        pairs += np.stack([r0, r1, r0 * dy, r2, r1 * dy, r0 * dy2], 1)
    return Slopes(wx, wy, linear[:2], linear[2:], pairs)


@dataclass(frozen=True)
class Pull:
    """Sum over views of the normal equations of a plane's three changes: matrix (6, k), right (3, k)."""

    matrix: np.ndarray
    right: np.ndarray


def match_source(
    s: Setting,
    source: int,
    patch: Patch,
    x: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    slopes: Slopes | None = None,
    view_weight: np.ndarray | None = None,
    pull: Pull | None = None,
    step: float = 0.0,
) -> np.ndarray:
    """1 - NCC and the geometric term; with slopes, adds the view's part of the normal equations to pull."""
    P = s.projections[source].reshape(12)
    with np.errstate(over="ignore", invalid="ignore"):
        nx = P[0] * x + (P[1] * y + (P[3] * w + P[2]))
        ny = P[4] * x + (P[5] * y + (P[7] * w + P[6]))
        nz = P[8] * x + (P[9] * y + (P[11] * w + P[10]))
        ahead = nz > f32(1e-3)
        inverse = f32(1) / np.where(ahead, nz, f32(1))
        u, v = nx * inverse, ny * inverse
        zx, zy = P[8] + P[11] * a, P[9] + P[11] * b
        ux = ((P[0] + P[3] * a) - u * zx) * inverse
        uy = ((P[1] + P[3] * b) - u * zy) * inverse
        vx = ((P[4] + P[7] * a) - v * zx) * inverse
        vy = ((P[5] + P[7] * b) - v * zy) * inverse
        reach_u, reach_v = f32(4) * (np.abs(ux) + np.abs(uy)), f32(4) * (np.abs(vx) + np.abs(vy))
        area = ux * vy - uy * vx
        height, width = (int(n) for n in s.sizes[source])
        valid = ahead & patch.usable & (area > f32(0.05)) & (area < f32(20))
        valid &= (u - reach_u >= f32(0.01)) & (v - reach_v >= f32(0.01))
        valid &= (u + reach_u <= f32(width) - f32(1.01)) & (v + reach_v <= f32(height) - f32(1.01))
    zero = f32(0)
    u, v = np.where(valid, u, f32(1)), np.where(valid, v, f32(1))
    twice = f32(131072)
    ux2, uy2, vx2, vy2 = ((np.where(valid, k, zero) * twice).astype(np.int32) for k in (ux, uy, vx, vy))
    cu, cv = (u * f32(65536)).astype(np.int32), (v * f32(65536)).astype(np.int32)
    grey = np.pad(s.sources[source, :height, :width], ((0, 1), (0, 1)), "edge")
    signed = grey.astype(np.int32) - 128
    total = np.zeros(len(x), np.float32)
    square, cross = total.copy(), total.copy()
    along_x = along_y = slope_0 = slope_x = slope_y = np.zeros_like(total)
    if slopes is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            by_area = f32(step) / np.where(valid, area, f32(1))
            du, dv = (P[3] - u * P[11]) * inverse, (P[7] - v * P[11]) * inverse
            along_x = np.where(valid, (vy * du - uy * dv) * by_area, zero)
            along_y = np.where(valid, (ux * dv - vx * du) * by_area, zero)
    row_u, row_v = cu - 2 * uy2 - 2 * ux2, cv - 2 * vy2 - 2 * vx2
    for j in range(5):
        su, sv, row_0 = row_u, row_v, np.zeros(len(x), np.float32)
        for i in range(5):
            iu, iv, fu, fv = su >> 16, sv >> 16, (su >> 8) & 255, (sv >> 8) & 255
            top = signed[iv, iu] * (255 - fu) + signed[iv, iu + 1] * fu
            bottom = signed[iv + 1, iu] * (255 - fu) + signed[iv + 1, iu + 1] * fu
            value = (top * (255 - fv) + bottom * fv).astype(np.float32)
            weighted = patch.weight[5 * j + i] * value
            total += weighted
            square += weighted * value
            cross += patch.centred[5 * j + i] * value
            if slopes is not None:
                slope = (along_x * slopes.x[5 * j + i] + along_y * slopes.y[5 * j + i]) * value
                row_0 = row_0 + slope
                slope_x = slope_x + slope * f32(0.5 * (i - 2))
            su, sv = su + ux2, sv + vx2
        slope_0, slope_y = slope_0 + row_0, slope_y + row_0 * f32(0.5 * (j - 2))
        row_u, row_v = row_u + uy2, row_v + vy2
    iu, iv = cu >> 16, cv >> 16
    picture = (grey[iv, iu] > 0) & (grey[iv, iu + 1] > 0) & (grey[iv + 1, iu] > 0) & (grey[iv + 1, iu + 1] > 0)
    variance = np.maximum(square - total * total, zero) * (f32(1) / (f32(65025) * f32(65025)))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        deviation = np.sqrt((patch.variance + s.noise) * (variance + s.noise))
        correlation = (cross * (f32(1) / f32(65025))) / deviation
        cost = f32(1) - correlation
        if slopes is not None and pull is not None and view_weight is not None:
            seen = np.where(valid & picture, view_weight, zero)
            sums = (total, slope_0, slope_x, slope_y)
            _add_pull(s, patch, slopes, pull, seen, along_x, along_y, sums, correlation, deviation)
        if s.source_planes is not None and s.backs is not None:
            by_shrink = f32(1) / f32(s.shrink)
            mu, mv = (u + f32(0.5)) * by_shrink, (v + f32(0.5)) * by_shrink
            iu = np.minimum(mu.astype(np.int32), width // s.shrink - 1)
            iv = np.minimum(mv.astype(np.int32), height // s.shrink - 1)
            known, slope_u, slope_v = s.source_planes[source][iv, iu].T
            off_u, off_v = mu - f32(0.5) - iu.astype(np.float32), mv - f32(0.5) - iv.astype(np.float32)
            there = np.where(known > 0, known + (slope_u * off_u + slope_v * off_v), zero)
            back = s.backs[source]
            ex, ey = back[0] - x * back[2], back[1] - y * back[2]
            error = np.abs(w * inverse - there) * nz * np.sqrt(ex * ex + ey * ey)
            cost += s.geometric * np.where((there > 0) & (error < f32(3)), error, f32(3))
    return np.where(valid & picture, cost, NO_MATCH)


def _add_pull(
    s: Setting,
    patch: Patch,
    slopes: Slopes,
    pull: Pull,
    seen: np.ndarray,
    along_x: np.ndarray,
    along_y: np.ndarray,
    sums: tuple[np.ndarray, ...],
    correlation: np.ndarray,
    deviation: np.ndarray,
) -> None:
    by_value = f32(1) / f32(65025)
    by_reference = f32(1) / (patch.variance + s.noise)
    by_both, mean = correlation / deviation, sums[0] * by_value
    weight = seen * by_reference
    total = [along_x * slopes.sum[0, k] + along_y * slopes.sum[1, k] for k in range(3)]
    centred = [along_x * slopes.centred[0, k] + along_y * slopes.centred[1, k] for k in range(3)]
    for k in range(3):
        rise = centred[k] - by_both * (patch.variance + s.noise) * (sums[k + 1] * by_value - mean * total[k])
        pull.right[k] += weight * rise
    xx, xy, yy = along_x * along_x, f32(2) * along_x * along_y, along_y * along_y
    for k, (p, q) in enumerate(((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))):
        bend = (
            (xx * slopes.pairs[0, k] + xy * slopes.pairs[1, k] + yy * slopes.pairs[2, k])
            - total[p] * total[q]
            - centred[p] * centred[q] * by_reference
        )
        pull.matrix[k] += weight * bend


def solve(pull: Pull, total_weight: np.ndarray) -> list[np.ndarray]:
    """The change that the pull asks for, at most one step each."""
    m, right, one = pull.matrix, pull.right, f32(1)
    least = f32(1e-3) * total_weight + f32(1e-12)
    m00, m11, m22 = (m[k] * f32(1.02) + least for k in (0, 3, 5))
    i0 = one / m00
    l1, l2 = m[1] * i0, m[2] * i0
    i1 = one / np.maximum(m11 - l1 * m[1], least)
    cross = m[4] - l1 * m[2]
    l3 = cross * i1
    i2 = one / np.maximum((m22 - l2 * m[2]) - l3 * cross, least)
    y1 = right[1] - l1 * right[0]
    y2 = (right[2] - l2 * right[0]) - l3 * y1
    c2 = y2 * i2
    c1 = y1 * i1 - l3 * c2
    c0 = (right[0] * i0 - l1 * c1) - l2 * c2
    return [np.minimum(np.maximum(c, -one), one) for c in (c0, c1, c2)]


def view_weights(best: list[np.ndarray]) -> list[np.ndarray]:
    out = []
    for cost in best:
        t = np.maximum(f32(1) - cost, f32(0.02))
        out.append((t * t) * (t * t) * np.where(cost < NO_MATCH, f32(1), f32(0)))
    return out


def aggregate(costs: list[np.ndarray], weights: list[np.ndarray]) -> np.ndarray:
    total, weighted = np.zeros_like(costs[0]), np.zeros_like(costs[0])
    for cost, weight in zip(costs, weights, strict=True):
        total += weight
        weighted += weight * cost
    seen = total > 0
    return np.where(seen, weighted / np.where(seen, total, f32(1)), NO_MATCH)
