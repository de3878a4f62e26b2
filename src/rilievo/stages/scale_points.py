"""Thousands of depths, some wrong, to few trusted places: RANSAC and reweighted least squares in inverse depth, then
one observation for each part of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rilievo.stages.scale_error import Places


@dataclass(frozen=True)
class Cells:
    """Points that agree, gathered by part of the picture: index of the point that stands for each part (m,), log depth
    there (m,), its variance (m,); num_inliers, num_outliers of all points."""

    index: np.ndarray
    log_depth: np.ndarray
    variance: np.ndarray
    num_inliers: int
    num_outliers: int


def line_through(disparity: np.ndarray, inverse: np.ndarray, *, shifted: bool, seed: int = 0) -> tuple[float, float]:
    """(a, b) of 1/depth = a * disparity + b by RANSAC (300 samples, least 60 % quantile of the relative residual, after
    Rousseeuw's LMedS 1984), then least squares with Tukey's weights, both on relative residuals. b = 0 unless
    `shifted`.
    """
    rng = np.random.default_rng(seed)
    pick = np.arange(len(disparity)) if len(disparity) <= 800 else np.sort(rng.permutation(len(disparity))[:800])
    d, w = disparity[pick], inverse[pick]
    first, second = rng.integers(0, len(d), (2, 300))
    with np.errstate(divide="ignore", invalid="ignore"):
        a = (w[first] - w[second]) / (d[first] - d[second])
        b = w[first] - a * d[first]
        single = w[first] / d[first]
    single[~np.isfinite(single)] = np.median(w) / max(float(np.median(d)), 1e-12)
    apart = np.abs(d[first] - d[second]) > 0.05 * max(float(np.ptp(np.quantile(d, [0.02, 0.98]))), 1e-12)
    good = np.isfinite(a) & (a > 0) & apart if shifted else np.zeros(len(a), bool)
    a = np.concatenate([a[good], single])
    b = np.concatenate([b[good], np.zeros(len(single))])
    miss = np.abs(a[:, None] * d + b[:, None] - w) / w
    best = int(np.argmin(np.quantile(miss, 0.6, axis=1)))
    a_now, b_now = float(a[best]), float(b[best])
    for _ in range(12):
        residual = (a_now * disparity + b_now - inverse) / inverse
        scale = max(1.4826 * float(np.median(np.abs(residual))), 1e-4)
        weight = np.clip(1 - (residual / (4.685 * scale)) ** 2, 0, None) ** 2 / inverse**2
        if shifted:
            d0, w0 = np.average(disparity, weights=weight), np.average(inverse, weights=weight)
            variance = float((weight * (disparity - d0) ** 2).sum())
            slope = float((weight * (disparity - d0) * (inverse - w0)).sum()) / variance if variance > 0 else 0.0
            if not slope > 0:
                break
            a_new, b_new = slope, float(w0 - slope * d0)
        else:
            a_new, b_new = float((weight * disparity * inverse).sum() / (weight * disparity**2).sum()), 0.0
        if abs(a_new - a_now) <= 1e-7 * abs(a_now) and abs(b_new - b_now) <= 1e-7 * float(np.median(inverse)):
            a_now, b_now = a_new, b_new
            break
        a_now, b_now = a_new, b_new
    return a_now, b_now


def gather_cells(
    places: Places, depth: np.ndarray, sigma: np.ndarray, diagonal: float, *, shifted: bool, max_cells: int = 60
) -> Cells:
    """Points laid robustly on the map, and what each part of the picture says.

    places: all with a disparity.  depth, sigma: (n,).  diagonal: of the map, px.
    Up to 20 points stay what they are.
    """
    disparity, inverse = places.disparity, 1.0 / depth
    relative = np.maximum(sigma / depth, 1e-4)
    if len(depth) <= 20:
        everything = np.arange(len(depth))
        return Cells(everything, np.log(depth), relative**2, len(depth), 0)
    a, b = line_through(disparity, inverse, shifted=shifted)
    with np.errstate(invalid="ignore", divide="ignore"):
        residual = np.log(depth) + np.log(a * disparity + b)
    finite = np.isfinite(residual)
    middle = np.median(residual[finite])
    spread = max(1.4826 * float(np.median(np.abs(residual[finite] - middle))), 0.005)
    inlier = finite & (np.abs(residual - middle) < 3.5 * spread)
    keys = np.floor(places.xy / diagonal * 9).astype(np.int64)
    columns = int(keys[:, 0].max()) + 1
    cell = keys[:, 1] * columns + keys[:, 0]
    groups = []
    for c in np.unique(cell[inlier]):
        members = np.flatnonzero(inlier & (cell == c))
        if len(members) >= 6 and np.ptp(np.log(depth[members])) > 0.25:
            half = depth[members] < np.median(depth[members])
            groups += [members[half], members[~half]]
        elif len(members):
            groups.append(members)
    groups = [g for g in groups if len(g)]
    groups.sort(key=lambda g: (-len(g), int(g[0])))
    groups = groups[:max_cells]
    index, value, variance = [], [], []
    for members in groups:
        local = float(np.median(residual[members]))
        calm = np.abs(residual[members] - local) + places.ripple[members] * a * depth[members]
        calm += np.linalg.norm(places.xy[members] - np.median(places.xy[members], 0), axis=1) / diagonal
        stands = int(members[np.argmin(calm)])
        noise = 1.4826 * float(np.median(np.abs(residual[members] - local))) if len(members) > 2 else spread
        index.append(stands)
        value.append(local - float(np.log(a * disparity[stands] + b)))
        variance.append(1.6 * noise**2 / len(members) + float(np.median(relative[members])) ** 2)
    num = int(inlier.sum())
    return Cells(np.array(index, np.int64), np.array(value), np.array(variance), num, len(depth) - num)
