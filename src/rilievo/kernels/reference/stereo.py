"""NumPy twins of the stereo kernels: every float32 operation in the order of native/simd/stereo.cpp.

Planes are (w, a, b): inverse depth and its slope per pixel; coordinates are array indices (see native/stereo.h).
"""

from __future__ import annotations

import numpy as np

from rilievo.kernels.reference.stereo_match import (
    NO_MATCH,
    Pull,
    aggregate,
    f32,
    match_source,
    sample_patch,
    sample_slopes,
    setting,
    solve,
    view_weights,
)  # fmt: skip


def _uniform(pixel: np.ndarray, key: int) -> np.ndarray:
    """float32 in [0, 1) from the pixel's number and the key."""
    h = pixel ^ np.uint32(((key * 0x9E3779B1) + 0x7F4A7C15) & 0xFFFFFFFF)
    h = h * np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h = h * np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    h = h * np.uint32(0x27D4EB2F)
    h ^= h >> np.uint32(15)
    return (h >> np.uint32(8)).astype(np.float32) * f32(2.0**-24)


_NEAR = ((0, -1), (-1, -2), (1, -2), (-2, -3), (2, -3), (-3, -4), (3, -4))


def _regions(reach: int, merge: bool) -> list[list[tuple[int, int]]]:
    """Offsets (dx, dy) of the regions of the neighbourhood: a V and an arm in four directions, apart or as one."""
    arms = tuple((0, -(2 * k + 3)) for k in range(reach))
    turns = (
        lambda dx, dy: (dx, dy),
        lambda dx, dy: (-dx, -dy),
        lambda dx, dy: (dy, dx),
        lambda dx, dy: (-dy, -dx),
    )
    parts = (_NEAR + arms,) if merge else (_NEAR, arms)
    return [[t(*s) for s in steps] for t in turns for steps in parts if steps]


def stereo_sweep(
    reference: np.ndarray,
    sources: np.ndarray,
    sizes: np.ndarray,
    projections: np.ndarray,
    planes: np.ndarray,
    costs: np.ndarray,
    source_planes: np.ndarray | None,
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
    num_polish: int,
    reach: int,
    merge: bool,
    shrink: int,
    noise: float,
    geometric: float,
    sigma_grey: float,
    sigma_px: float,
    key: int,
) -> tuple[np.ndarray, np.ndarray]:
    """One PatchMatch sweep over both colours of the checkerboard: (planes float32 (h, w, 3), costs float32 (h, w)).

    reference: uint8 (h, w), 0 = no picture.  sources: uint8 (n, hs, ws), sizes: int32 (n, 2) height and width in use.
    projections: float32 (n, 3, 4), source index from (x, y, 1, w).  source_planes: float32 (n, hm, wm, 3), the planes
    of the sources' maps (inverse depth 0: unknown), which are `shrink` times smaller than the sources, with backs
    float32 (n, 3), the last columns of the projections back; or None for both.  min_w, max_w: range of inverse depth.
    step: inverse depth of about one pixel.  shift (steps) and tilt (tangent): size of the first perturbations.
    num_polish: Gauss-Newton steps.  merge: one hypothesis for each of four directions, not a near and a far one.
    Raises ValueError or TypeError for arrays that do not fit.
    """
    s = setting(
        reference,
        sources,
        sizes,
        projections,
        planes,
        source_planes,
        backs,
        shrink,
        noise,
        geometric,
        sigma_grey,
        sigma_px,
    )
    h, width = reference.shape
    if costs.shape != (h, width):
        raise ValueError("costs and reference differ in size")
    if not 0 <= reach <= 11:
        raise ValueError("reach must be between 0 and 11")
    low, high = f32(min_w), f32(max_w)
    pad = 24
    with np.errstate(invalid="ignore"):
        known = np.where((costs < NO_MATCH) & (reference > 0), costs, NO_MATCH)
    state = np.pad(planes, ((pad, pad), (pad, pad), (0, 0)))
    cost_state = np.pad(known, pad, constant_values=NO_MATCH)
    for colour in (0, 1):
        y, x = np.nonzero((np.add.outer(np.arange(h), np.arange(width)) & 1) == colour)
        if not len(x):
            continue
        patch = sample_patch(s, y, x)
        fx_, fy_ = x.astype(np.float32), y.astype(np.float32)

        def match(w: np.ndarray, a: np.ndarray, b: np.ndarray, patch=patch, x=fx_, y=fy_) -> list[np.ndarray]:
            return [match_source(s, k, patch, x, y, w, a, b) for k in range(len(sources))]

        own = state[y + pad, x + pad]
        hypotheses = [(own[:, 0], own[:, 1], own[:, 2], patch.usable)]
        for region in _regions(reach, merge):
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
        weights = view_weights([np.minimum.reduce([row[k] for row in table]) for k in range(len(sources))])
        best, w, a, b = np.full(len(x), NO_MATCH), own[:, 0], own[:, 1], own[:, 2]
        for (tw, ta, tb, _), row in zip(hypotheses, table, strict=True):
            cost = aggregate(row, weights)
            better = cost < best
            best = np.where(better, cost, best)
            w, a, b = np.where(better, tw, w), np.where(better, ta, a), np.where(better, tb, b)
        blind = patch.usable & np.logical_and.reduce([weight == 0 for weight in weights])
        weights = [np.where(blind, f32(1), weight) for weight in weights]
        pixel = (x + y * 65536).astype(np.uint32)
        now_shift, now_tilt = f32(shift), f32(tilt)
        by_fx, by_fy = f32(1) / f32(fx), f32(1) / f32(fy)
        for k in range(num_random + num_perturbed):
            r0, r1, r2 = (_uniform(pixel, key + 3 * k + j) * f32(2) - f32(1) for j in range(3))
            if k < num_random:
                tw = low + (high - low) * ((r0 + f32(1)) * f32(0.5))
                ta = r1 * np.abs(r1) * f32(2) * (tw * by_fx)
                tb = r2 * np.abs(r2) * f32(2) * (tw * by_fy)
            else:
                kind = (k - num_random) % 3
                tw = w if kind == 2 else w + r0 * (f32(step) * now_shift)
                tw = np.minimum(np.maximum(tw, low), high)
                ta = a if kind == 1 else a + r1 * now_tilt * (tw * by_fx)
                tb = b if kind == 1 else b + r2 * now_tilt * (tw * by_fy)
                if kind == 2:
                    now_shift, now_tilt = now_shift * f32(0.5), now_tilt * f32(0.5)
            cost = aggregate(match(tw, ta, tb), weights)
            better = (cost < best) & patch.usable
            best = np.where(better, cost, best)
            w, a, b = np.where(better, tw, w), np.where(better, ta, a), np.where(better, tb, b)
        slopes = sample_slopes(s, patch, y, x) if num_polish > 0 else None
        for _ in range(num_polish):
            pull = Pull(np.zeros((6, len(x)), np.float32), np.zeros((3, len(x)), np.float32))
            for k, weight in enumerate(weights):
                match_source(s, k, patch, fx_, fy_, w, a, b, slopes, weight, pull, step)
            c0, c1, c2 = solve(pull, sum(weights, np.zeros(len(x), np.float32)))
            radius = f32(step) / f32(4)
            tw = np.minimum(np.maximum(w + c0 * f32(step), low), high)
            ta, tb = a + c1 * radius, b + c2 * radius
            cost = aggregate(match(tw, ta, tb), weights)
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
    source_planes: np.ndarray | None,
    backs: np.ndarray | None,
    *,
    shrink: int,
    noise: float,
    geometric: float,
    sigma_grey: float,
    sigma_px: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Costs of given planes: per source float32 (h, w, n), 2 = no match, and their weighted mean float32 (h, w)."""
    s = setting(
        reference,
        sources,
        sizes,
        projections,
        planes,
        source_planes,
        backs,
        shrink,
        noise,
        geometric,
        sigma_grey,
        sigma_px,
    )
    h, width = reference.shape
    y, x = (k.reshape(-1) for k in np.mgrid[:h, :width])
    patch = sample_patch(s, y, x)
    w, a, b = planes.reshape(-1, 3).T
    costs = [
        match_source(s, k, patch, x.astype(np.float32), y.astype(np.float32), w, a, b) for k in range(len(sources))
    ]  # fmt: skip
    total = aggregate(costs, view_weights(costs))
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
    s = setting(reference, sources, sizes, projections, planes, None, None, 1, noise, 0.0, sigma_grey, sigma_px)
    h, width = reference.shape
    y, x = (k.reshape(-1) for k in np.mgrid[:h, :width])
    patch = sample_patch(s, y, x)
    fx, fy = x.astype(np.float32), y.astype(np.float32)
    w, a, b = planes.reshape(-1, 3).T
    half = f32(0.5) * f32(step)
    here = [match_source(s, k, patch, fx, fy, w, a, b) for k in range(len(sources))]
    weights = view_weights(here)
    cost = aggregate(here, weights)
    total, squares, before, after = (np.zeros(len(x), np.float32) for _ in range(4))
    for k in range(len(sources)):
        low = match_source(s, k, patch, fx, fy, w - half, a, b)
        high = match_source(s, k, patch, fx, fy, w + half, a, b)
        weight = np.where((low < NO_MATCH) & (high < NO_MATCH), weights[k], f32(0))
        total += weight
        squares += weight * weight
        before += weight * (low - here[k])
        after += weight * (high - here[k])
    seen = total > 0
    inverse = f32(1) / np.where(seen, total, f32(1))
    before, after = before * inverse, after * inverse
    both = before + after
    vertex = f32(0.25) * (before - after) / np.maximum(both, f32(1e-3))
    views = np.where(seen, total * total / np.where(seen, squares, f32(1)), f32(0))
    shift = np.minimum(np.maximum(vertex, f32(-0.5)), f32(0.5))
    return np.stack([cost, both * f32(2), shift, views], 1).reshape(h, width, 4)
