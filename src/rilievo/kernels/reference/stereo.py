"""NumPy twins of the stereo kernels: every float32 operation in the order of native/simd/stereo.cpp.

Planes are (w, a, b): inverse depth and its slope per pixel; coordinates are array indices (see native/stereo.h).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NO_MATCH = np.float32(2.0)
_f = np.float32


@dataclass(frozen=True)
class _Setting:
    """What `stereo_sweep` and `stereo_cost` share, checked."""

    reference: np.ndarray
    sources: np.ndarray
    sizes: np.ndarray
    projections: np.ndarray
    source_depths: np.ndarray | None
    backs: np.ndarray | None
    noise: np.float32
    geometric: np.float32
    weights: np.ndarray


def _setting(
    reference: np.ndarray,
    sources: np.ndarray,
    sizes: np.ndarray,
    projections: np.ndarray,
    planes: np.ndarray,
    source_depths: np.ndarray | None,
    backs: np.ndarray | None,
    noise: float,
    geometric: float,
    sigma_grey: float,
    sigma_px: float,
) -> _Setting:
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
    if (source_depths is None) != (backs is None):
        raise ValueError("source_depths and backs go together")
    if source_depths is not None and (source_depths.shape != sources.shape or backs is None or backs.shape != (n, 3)):
        raise ValueError("source_depths and sources differ in shape")
    if not 1 <= n <= 16:
        raise ValueError(f"there must be 1 to 16 sources, not {n}")
    if min(reference.shape) < 1 or (sizes < 2).any() or (sizes > sources.shape[1:]).any():
        raise ValueError("an image is empty or its size is not within the array of sources")
    if not np.isfinite(projections).all():
        raise ValueError("projections must be finite")
    if not (sigma_grey > 0 and sigma_px > 0):
        raise ValueError("sigma_grey and sigma_px must be positive")
    step = np.arange(-4, 5, 2)
    place = (step[:, None] ** 2 + step[None, :] ** 2).reshape(-1, 1) / (2.0 * float(_f(sigma_px)) ** 2)
    difference = np.arange(256.0)[None, :] ** 2 / (2.0 * float(_f(sigma_grey)) ** 2)
    weights = np.exp(-place - difference).astype(np.float32)
    return _Setting(
        reference, sources, sizes, projections, source_depths, backs, _f(noise), _f(geometric), weights
    )  # fmt: skip


@dataclass(frozen=True)
class _Patch:
    """Weighted samples around k pixels: weight and centred are (25, k)."""

    weight: np.ndarray
    centred: np.ndarray
    variance: np.ndarray
    usable: np.ndarray


def _patch(s: _Setting, y: np.ndarray, x: np.ndarray) -> _Patch:
    padded = np.pad(s.reference, 4).astype(np.float32)
    centre = padded[y + 4, x + 4]
    total, mean = np.zeros(len(x), np.float32), np.zeros(len(x), np.float32)
    value, weight = np.empty((25, len(x)), np.float32), np.empty((25, len(x)), np.float32)
    for k in range(25):
        value[k] = padded[y + (k // 5) * 2, x + (k % 5) * 2]
        w = s.weights[k, np.abs(value[k] - centre).astype(np.int32)]
        weight[k] = np.where(value[k] > 0, w, _f(0))
        total += weight[k]
        mean += weight[k] * value[k]
    usable = centre > 0
    inverse = _f(1) / np.where(usable, total, _f(1))
    mean *= inverse
    centred, variance = np.empty_like(value), np.zeros(len(x), np.float32)
    for k in range(25):
        weight[k] *= inverse
        difference = value[k] - mean
        centred[k] = weight[k] * difference
        variance += centred[k] * difference
    return _Patch(weight, centred, variance, usable)


def _match(
    s: _Setting, source: int, patch: _Patch, x: np.ndarray, y: np.ndarray, w: np.ndarray, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    P = s.projections[source].reshape(12)
    with np.errstate(over="ignore", invalid="ignore"):
        nx = P[0] * x + (P[1] * y + (P[3] * w + P[2]))
        ny = P[4] * x + (P[5] * y + (P[7] * w + P[6]))
        nz = P[8] * x + (P[9] * y + (P[11] * w + P[10]))
        ahead = nz > _f(1e-3)
        inverse = _f(1) / np.where(ahead, nz, _f(1))
        u, v = nx * inverse, ny * inverse
        zx, zy = P[8] + P[11] * a, P[9] + P[11] * b
        ux = ((P[0] + P[3] * a) - u * zx) * inverse
        uy = ((P[1] + P[3] * b) - u * zy) * inverse
        vx = ((P[4] + P[7] * a) - v * zx) * inverse
        vy = ((P[5] + P[7] * b) - v * zy) * inverse
        reach_u, reach_v = _f(4) * (np.abs(ux) + np.abs(uy)), _f(4) * (np.abs(vx) + np.abs(vy))
        area = ux * vy - uy * vx
        height, width = (int(n) for n in s.sizes[source])
        valid = ahead & patch.usable & (area > _f(0.05)) & (area < _f(20))
        valid &= (u - reach_u >= _f(0.01)) & (v - reach_v >= _f(0.01))
        valid &= (u + reach_u <= _f(width) - _f(1.01)) & (v + reach_v <= _f(height) - _f(1.01))
    zero = _f(0)
    u, v = np.where(valid, u, _f(1)), np.where(valid, v, _f(1))
    twice = _f(131072)
    ux2, uy2, vx2, vy2 = ((np.where(valid, k, zero) * twice).astype(np.int32) for k in (ux, uy, vx, vy))
    cu, cv = (u * _f(65536)).astype(np.int32), (v * _f(65536)).astype(np.int32)
    grey = np.pad(s.sources[source, :height, :width], ((0, 1), (0, 1)), "edge")
    signed = grey.astype(np.int32) - 128
    total = np.zeros(len(x), np.float32)
    square, cross = total.copy(), total.copy()
    row_u, row_v = cu - 2 * uy2 - 2 * ux2, cv - 2 * vy2 - 2 * vx2
    for j in range(5):
        su, sv = row_u, row_v
        for i in range(5):
            iu, iv, fu, fv = su >> 16, sv >> 16, (su >> 8) & 255, (sv >> 8) & 255
            top = signed[iv, iu] * (255 - fu) + signed[iv, iu + 1] * fu
            bottom = signed[iv + 1, iu] * (255 - fu) + signed[iv + 1, iu + 1] * fu
            value = (top * (255 - fv) + bottom * fv).astype(np.float32)
            weighted = patch.weight[5 * j + i] * value
            total += weighted
            square += weighted * value
            cross += patch.centred[5 * j + i] * value
            su, sv = su + ux2, sv + vx2
        row_u, row_v = row_u + uy2, row_v + vy2
    iu, iv = cu >> 16, cv >> 16
    picture = (grey[iv, iu] > 0) & (grey[iv, iu + 1] > 0) & (grey[iv + 1, iu] > 0) & (grey[iv + 1, iu + 1] > 0)
    variance = np.maximum(square - total * total, zero) * (_f(1) / (_f(65025) * _f(65025)))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        root = np.sqrt((patch.variance + s.noise) * (variance + s.noise))
        cost = _f(1) - (cross * (_f(1) / _f(65025))) / root
        if s.source_depths is not None and s.backs is not None:
            there = s.source_depths[source][(v + _f(0.5)).astype(np.int32), (u + _f(0.5)).astype(np.int32)]
            back = s.backs[source]
            ex, ey = back[0] - x * back[2], back[1] - y * back[2]
            error = np.abs(w * inverse - there) * nz * np.sqrt(ex * ex + ey * ey)
            cost += s.geometric * np.where((there > 0) & (error < _f(3)), error, _f(3))
    return np.where(valid & picture, cost, NO_MATCH)


def _view_weights(best: list[np.ndarray]) -> list[np.ndarray]:
    out = []
    for cost in best:
        t = np.maximum(_f(1) - cost, _f(0.02))
        out.append((t * t) * (t * t) * np.where(cost < NO_MATCH, _f(1), _f(0)))
    return out


def _aggregate(costs: list[np.ndarray], weights: list[np.ndarray]) -> np.ndarray:
    total, weighted = np.zeros_like(costs[0]), np.zeros_like(costs[0])
    for cost, weight in zip(costs, weights, strict=True):
        total += weight
        weighted += weight * cost
    seen = total > 0
    return np.where(seen, weighted / np.where(seen, total, _f(1)), NO_MATCH)


def _uniform(pixel: np.ndarray, key: int) -> np.ndarray:
    """float32 in [0, 1) from the pixel's number and the key."""
    h = pixel ^ np.uint32(((key * 0x9E3779B1) + 0x7F4A7C15) & 0xFFFFFFFF)
    h = h * np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h = h * np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    h = h * np.uint32(0x27D4EB2F)
    h ^= h >> np.uint32(15)
    return (h >> np.uint32(8)).astype(np.float32) * _f(2.0**-24)


_NEAR = ((0, -1), (-1, -2), (1, -2), (-2, -3), (2, -3), (-3, -4), (3, -4))


def _regions(reach: int) -> list[list[tuple[int, int]]]:
    """Offsets (dx, dy) of the eight regions of the neighbourhood: four Vs, then four arms."""
    arms = tuple((0, -(2 * k + 3)) for k in range(reach))
    turns = (
        lambda dx, dy: (dx, dy),
        lambda dx, dy: (-dx, -dy),
        lambda dx, dy: (dy, dx),
        lambda dx, dy: (-dy, -dx),
    )
    return [[t(*s) for s in steps] for steps in (_NEAR, arms) if steps for t in turns]


def stereo_sweep(
    reference: np.ndarray,
    sources: np.ndarray,
    sizes: np.ndarray,
    projections: np.ndarray,
    planes: np.ndarray,
    costs: np.ndarray,
    source_depths: np.ndarray | None,
    backs: np.ndarray | None,
    *,
    min_w: float,
    max_w: float,
    step: float,
    fx: float,
    fy: float,
    shift: float,
    tilt: float,
    num_random: int,
    num_perturbed: int,
    reach: int,
    noise: float,
    geometric: float,
    sigma_grey: float,
    sigma_px: float,
    key: int,
) -> tuple[np.ndarray, np.ndarray]:
    """One PatchMatch sweep over both colours of the checkerboard: (planes float32 (h, w, 3), costs float32 (h, w)).

    reference: uint8 (h, w), 0 = no picture.  sources: uint8 (n, hs, ws), sizes: int32 (n, 2) height and width in use.
    projections: float32 (n, 3, 4), source index from (x, y, 1, w).  source_depths: float32 (n, hs, ws) inverse depth
    of the sources, 0 unknown, with backs float32 (n, 3); or None for both.  min_w, max_w: range of inverse depth.
    step: inverse depth of about one pixel.  shift (steps) and tilt (tangent): size of the first perturbations.
    Raises ValueError or TypeError for arrays that do not fit.
    """
    s = _setting(
        reference, sources, sizes, projections, planes, source_depths, backs, noise, geometric, sigma_grey, sigma_px
    )
    h, width = reference.shape
    if costs.shape != (h, width):
        raise ValueError("costs and reference differ in size")
    if not 0 <= reach <= 11:
        raise ValueError("reach must be between 0 and 11")
    low, high = _f(min_w), _f(max_w)
    pad = 24
    with np.errstate(invalid="ignore"):
        known = np.where((costs < NO_MATCH) & (reference > 0), costs, NO_MATCH)
    state = np.pad(planes, ((pad, pad), (pad, pad), (0, 0)))
    cost_state = np.pad(known, pad, constant_values=NO_MATCH)
    for colour in (0, 1):
        y, x = np.nonzero((np.add.outer(np.arange(h), np.arange(width)) & 1) == colour)
        if not len(x):
            continue
        patch = _patch(s, y, x)
        fx_, fy_ = x.astype(np.float32), y.astype(np.float32)

        def match(w: np.ndarray, a: np.ndarray, b: np.ndarray, patch=patch, x=fx_, y=fy_) -> list[np.ndarray]:
            return [_match(s, k, patch, x, y, w, a, b) for k in range(len(sources))]

        own = state[y + pad, x + pad]
        hypotheses = [(own[:, 0], own[:, 1], own[:, 2], patch.usable)]
        for region in _regions(reach):
            best = np.full(len(x), NO_MATCH)
            picked, offset = np.zeros((len(x), 3), np.float32), np.zeros((len(x), 2), np.float32)
            for dx, dy in region:
                cost = cost_state[y + pad + dy, x + pad + dx]
                better = cost < best
                best = np.where(better, cost, best)
                picked[better] = state[y[better] + pad + dy, x[better] + pad + dx]
                offset[better] = dx, dy
            w, a, b = picked.T
            w = w - (a * offset[:, 0] + b * offset[:, 1])
            hypotheses.append((w, a, b, (best < NO_MATCH) & (w >= low) & (w <= high)))
        table = []
        for w, a, b, usable in hypotheses:
            table.append([np.where(usable, c, NO_MATCH) for c in match(w, a, b)])
        weights = _view_weights([np.minimum.reduce([row[k] for row in table]) for k in range(len(sources))])
        best, w, a, b = np.full(len(x), NO_MATCH), own[:, 0], own[:, 1], own[:, 2]
        for (tw, ta, tb, _), row in zip(hypotheses, table, strict=True):
            cost = _aggregate(row, weights)
            better = cost < best
            best = np.where(better, cost, best)
            w, a, b = np.where(better, tw, w), np.where(better, ta, a), np.where(better, tb, b)
        blind = patch.usable & np.logical_and.reduce([weight == 0 for weight in weights])
        weights = [np.where(blind, _f(1), weight) for weight in weights]
        pixel = (x + y * 65536).astype(np.uint32)
        now_shift, now_tilt = _f(shift), _f(tilt)
        by_fx, by_fy = _f(1) / _f(fx), _f(1) / _f(fy)
        for k in range(num_random + num_perturbed):
            r0, r1, r2 = (_uniform(pixel, key + 3 * k + j) * _f(2) - _f(1) for j in range(3))
            if k < num_random:
                tw = low + (high - low) * ((r0 + _f(1)) * _f(0.5))
                ta = r1 * np.abs(r1) * _f(2) * (tw * by_fx)
                tb = r2 * np.abs(r2) * _f(2) * (tw * by_fy)
            else:
                kind = (k - num_random) % 3
                tw = w if kind == 2 else w + r0 * (_f(step) * now_shift)
                tw = np.minimum(np.maximum(tw, low), high)
                ta = a if kind == 1 else a + r1 * now_tilt * (tw * by_fx)
                tb = b if kind == 1 else b + r2 * now_tilt * (tw * by_fy)
                if kind == 2:
                    now_shift, now_tilt = now_shift * _f(0.5), now_tilt * _f(0.5)
            cost = _aggregate(match(tw, ta, tb), weights)
            better = (cost < best) & patch.usable
            best = np.where(better, cost, best)
            w, a, b = np.where(better, tw, w), np.where(better, ta, a), np.where(better, tb, b)
        keep = patch.usable
        ky, kx = y[keep] + pad, x[keep] + pad
        state[ky, kx] = np.stack([w, a, b], 1)[keep]
        cost_state[ky, kx] = best[keep]
    inner = slice(pad, -pad)
    return state[inner, inner].copy(), cost_state[inner, inner].copy()


def stereo_cost(
    reference: np.ndarray,
    sources: np.ndarray,
    sizes: np.ndarray,
    projections: np.ndarray,
    planes: np.ndarray,
    source_depths: np.ndarray | None,
    backs: np.ndarray | None,
    *,
    noise: float,
    geometric: float,
    sigma_grey: float,
    sigma_px: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Costs of given planes: per source float32 (h, w, n), 2 = no match, and their weighted mean float32 (h, w)."""
    s = _setting(
        reference, sources, sizes, projections, planes, source_depths, backs, noise, geometric, sigma_grey, sigma_px
    )
    h, width = reference.shape
    y, x = (k.reshape(-1) for k in np.mgrid[:h, :width])
    patch = _patch(s, y, x)
    w, a, b = planes.reshape(-1, 3).T
    costs = [
        _match(s, k, patch, x.astype(np.float32), y.astype(np.float32), w, a, b) for k in range(len(sources))
    ]  # fmt: skip
    total = _aggregate(costs, _view_weights(costs))
    return np.stack(costs, 1).reshape(h, width, len(sources)), total.reshape(h, width)


def stereo_measure(
    reference: np.ndarray,
    sources: np.ndarray,
    sizes: np.ndarray,
    projections: np.ndarray,
    planes: np.ndarray,
    *,
    step: float,
    noise: float,
    sigma_grey: float,
    sigma_px: float,
) -> np.ndarray:
    """What each match is worth, float32 (h, w, 4).

    Its cost; the curvature k of the cost c + k d^2 for a shift by d times `step` of inverse depth, from the costs half
    a step to either side; the shift d of the lowest point, at most 1/2; the effective number of views. Views that do
    not see all three places do not count but for the cost.
    """
    s = _setting(reference, sources, sizes, projections, planes, None, None, noise, 0.0, sigma_grey, sigma_px)
    h, width = reference.shape
    y, x = (k.reshape(-1) for k in np.mgrid[:h, :width])
    patch = _patch(s, y, x)
    fx, fy = x.astype(np.float32), y.astype(np.float32)
    w, a, b = planes.reshape(-1, 3).T
    half = _f(0.5) * _f(step)
    here = [_match(s, k, patch, fx, fy, w, a, b) for k in range(len(sources))]
    weights = _view_weights(here)
    cost = _aggregate(here, weights)
    total, squares, before, after = (np.zeros(len(x), np.float32) for _ in range(4))
    for k in range(len(sources)):
        low = _match(s, k, patch, fx, fy, w - half, a, b)
        high = _match(s, k, patch, fx, fy, w + half, a, b)
        weight = np.where((low < NO_MATCH) & (high < NO_MATCH), weights[k], _f(0))
        total += weight
        squares += weight * weight
        before += weight * (low - here[k])
        after += weight * (high - here[k])
    seen = total > 0
    inverse = _f(1) / np.where(seen, total, _f(1))
    before, after = before * inverse, after * inverse
    both = before + after
    vertex = _f(0.25) * (before - after) / np.maximum(both, _f(1e-3))
    views = np.where(seen, total * total / np.where(seen, squares, _f(1)), _f(0))
    shift = np.minimum(np.maximum(vertex, _f(-0.5)), _f(0.5))
    return np.stack([cost, both * _f(2), shift, views], 1).reshape(h, width, 4)
