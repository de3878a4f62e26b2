"""Plain NumPy twins of the kernels `sift` and `match_nearest`: the specification that the native ones are held to.

Lowe 2004 (scale space, extremes, orientations, descriptors), Arandjelovic & Zisserman 2012 (RootSIFT).
"""

from __future__ import annotations

import math

import numpy as np

SCALES, SIGMA0, CAMERA, FIRST_BLUR, BORDER, SLACK = 3, 1.6, 0.5, 1.5, 5, 3
PATCH = 20


def match_nearest(
    queries: np.ndarray, targets: np.ndarray, *, max_ratio: float = 0.8, mutual: bool = True
) -> np.ndarray:
    """For every query (n, d) uint8 the row of its nearest target (m, d), or -1: int32 (n,).

    The squared distance must be below max_ratio^2 times the second best's; with `mutual` the query must be the
    target's nearest as well. Ties: the lower row. Halves of squared lengths are rounded down, as in integers.
    """
    for d in (queries, targets):
        if d.dtype != np.uint8 or d.ndim != 2:
            raise TypeError("descriptors must be uint8 (n, d)")
    if queries.shape[1] != targets.shape[1]:
        raise ValueError("descriptors differ in length")
    if not 1 <= queries.shape[1] <= 4096:
        raise ValueError("descriptors must have 1 to 4096 values")
    result = np.full(len(queries), -1, np.int32)
    if not len(queries) or not len(targets):
        return result
    q, t = queries.astype(np.int64), targets.astype(np.int64)
    half_q, half_t = (q * q).sum(1) // 2, (t * t).sum(1) // 2
    dots = q @ t.T
    value = dots - half_t
    best = np.argmax(value, 1)
    d1 = np.maximum(2 * (half_q - value[np.arange(len(q)), best]), 0)
    keep = np.ones(len(q), bool)
    if len(t) > 1:
        second = np.partition(value, -2, axis=1)[:, -2]
        keep = d1 < float(np.float32(max_ratio)) ** 2 * np.maximum(2 * (half_q - second), 0)
    if mutual:
        keep &= np.argmax(dots - half_q[:, None], 0)[best] == np.arange(len(q))
    result[keep] = best[keep]
    return result


def _kernel(sigma: float) -> np.ndarray:
    radius = min(max(math.ceil(3 * sigma), 1), 12)
    w = np.exp(-(np.arange(radius + 1.0) ** 2) / (2 * sigma * sigma))
    return (w / (w[0] + 2 * w[1:].sum())).astype(np.float32)


def _blur(a: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Valid part of the separable blur: smaller by the radius on each side."""
    for axis in (1, 0):
        a = np.moveaxis(a, axis, -1)
        n, r = a.shape[-1], len(w) - 1
        s = w[0] * a[..., r : n - r]
        for i in range(1, r + 1):
            s = s + w[i] * (a[..., r - i : n - r - i] + a[..., r + i : n - r + i])
        a = np.moveaxis(s, -1, axis)
    return a


def _doubled(luma: np.ndarray) -> np.ndarray:
    h, w = luma.shape

    def indices(n: int) -> tuple[np.ndarray, np.ndarray]:
        i = np.arange(2 * n)
        return i >> 1, np.clip((i >> 1) + np.where(i & 1, 1, -1), 0, n - 1)

    (ny, fy), (nx, fx) = indices(h), indices(w)
    a = luma.astype(np.int64)
    total = 9 * a[np.ix_(ny, nx)] + 3 * a[np.ix_(ny, fx)] + 3 * a[np.ix_(fy, nx)] + a[np.ix_(fy, fx)]
    return total.astype(np.float32) * np.float32(1 / 4096)


def _refine(dog: np.ndarray, s: int, x: int, y: int, min_contrast: float, max_edge_ratio: float) -> tuple | None:
    """Quadratic fit (Lowe 2004, eqs. 2-3): (x, y, scale step, value) or None."""
    x0, y0 = x, y
    for attempt in range(5):
        c = dog[s - 1 : s + 2, y - 1 : y + 2, x - 1 : x + 2].astype(np.float64)
        g = 0.5 * np.array([c[1, 1, 2] - c[1, 1, 0], c[1, 2, 1] - c[1, 0, 1], c[2, 1, 1] - c[0, 1, 1]])
        v = c[1, 1, 1]
        xx, yy = c[1, 1, 2] + c[1, 1, 0] - 2 * v, c[1, 2, 1] + c[1, 0, 1] - 2 * v
        ss = c[2, 1, 1] + c[0, 1, 1] - 2 * v
        xy = 0.25 * (c[1, 2, 2] - c[1, 2, 0] - c[1, 0, 2] + c[1, 0, 0])
        xs = 0.25 * (c[2, 1, 2] - c[2, 1, 0] - c[0, 1, 2] + c[0, 1, 0])
        ys = 0.25 * (c[2, 2, 1] - c[2, 0, 1] - c[0, 2, 1] + c[0, 0, 1])
        H = np.array([[xx, xy, xs], [xy, yy, ys], [xs, ys, ss]])
        if abs(np.linalg.det(H)) < 1e-12:
            return None
        d = -np.linalg.solve(H, g)
        if not (np.abs(d) < 2).all():
            return None
        move = np.sign(d).astype(int) * (np.abs(d) > 0.6)
        if not 1 <= s + move[2] <= SCALES:
            move[2] = 0
        if move.any() and attempt < 4:
            x, y, s = x + move[0], y + move[1], s + move[2]
            if max(abs(x - x0), abs(y - y0)) > SLACK - 1:
                return None
            continue
        if (np.abs(d) > 1).any():
            return None
        value = abs(v + 0.5 * g @ d)
        area = xx * yy - xy * xy
        if (
            not value >= min_contrast
            or area <= 0
            or (xx + yy) ** 2 * max_edge_ratio >= (max_edge_ratio + 1) ** 2 * area
        ):
            return None
        return x + d[0], y + d[1], s + d[2], value
    return None


def _extremes(dog: np.ndarray, min_contrast: float) -> list[tuple[int, int, int]]:
    """(level, row, column) of values beyond all 26 neighbours and 0.8 of the contrast."""
    found = []
    for s in range(1, SCALES + 1):
        v = dog[s]
        around = np.stack(
            [
                np.roll(dog[s + ds], (-dy, -dx), (0, 1))
                for ds in (-1, 0, 1)
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
                if ds or dy or dx
            ]
        )
        limit = np.float32(0.8) * np.float32(min_contrast)
        top = (v > limit) & (v >= around.max(0))
        low = (v < -limit) & (v <= around.min(0))
        found += [(s, int(y), int(x)) for y, x in np.argwhere(top | low)]
    return found


def _patch(image: np.ndarray, cx: float, cy: float, ux: float, uy: float) -> tuple[np.ndarray, np.ndarray]:
    """Size and direction (turns) of the gradient on a grid of PATCH x PATCH around (cx, cy), column step (ux, uy)."""
    v, u = np.mgrid[0 : PATCH + 2, 0 : PATCH + 2] - 0.5 * (PATCH + 1)
    h, w = image.shape
    x, y = np.clip(cx + u * ux - v * uy, 0, w - 1), np.clip(cy + u * uy + v * ux, 0, h - 1)
    ix, iy = x.astype(int), y.astype(int)
    fx, fy = x - ix, y - iy
    jx, jy = np.minimum(ix + 1, w - 1), np.minimum(iy + 1, h - 1)
    a = image.astype(np.float64)
    top = a[iy, ix] + (a[iy, jx] - a[iy, ix]) * fx
    bottom = a[jy, ix] + (a[jy, jx] - a[jy, ix]) * fx
    p = top + (bottom - top) * fy
    dx, dy = p[1:-1, 2:] - p[1:-1, :-2], p[2:, 1:-1] - p[:-2, 1:-1]
    return np.hypot(dx, dy), np.mod(np.arctan2(dy, dx) / (2 * np.pi), 1.0)


def _window(sigma: float) -> np.ndarray:
    v, u = np.mgrid[0:PATCH, 0:PATCH] - 0.5 * (PATCH - 1)
    return np.exp(-(u * u + v * v) / (2 * sigma * sigma))


def _directions(image: np.ndarray, cx: float, cy: float, sigma: float) -> list[float]:
    size, turn = _patch(image, cx, cy, 0.5 * sigma, 0.0)
    m, at = size * _window(3.0), turn * 36
    low, f = np.floor(at).astype(int), at - np.floor(at)
    h = np.bincount((low % 36).ravel(), (m * (1 - f)).ravel(), 36) + np.bincount(
        ((low + 1) % 36).ravel(), (m * f).ravel(), 36
    )
    for _ in range(6):
        h = (np.roll(h, 1) + h + np.roll(h, -1)) / 3
    if not h.max() > 0:
        return []
    a, c = np.roll(h, 1), np.roll(h, -1)
    peaks = np.flatnonzero((h > a) & (h >= c) & (h >= 0.8 * h.max()))
    peaks = peaks[np.argsort(-h[peaks], kind="stable")][:2]
    return [float(((i + 0.5 * (a[i] - c[i]) / (a[i] - 2 * h[i] + c[i])) / 36) % 1.0) for i in peaks]


def _describe(image: np.ndarray, cx: float, cy: float, sigma: float, angle: float) -> np.ndarray:
    step = 0.75 * sigma
    size, turn = _patch(image, cx, cy, step * math.cos(angle), step * math.sin(angle))
    m, at = size * _window(8.0), turn * 8
    low, f = np.floor(at).astype(int), at - np.floor(at)
    bins = np.zeros((PATCH, PATCH, 8))
    rows, columns = np.mgrid[0:PATCH, 0:PATCH]
    np.add.at(bins, (rows, columns, low % 8), m * (1 - f))
    np.add.at(bins, (rows, columns, (low + 1) % 8), m * f)
    # Every sample is shared by the two cells whose centres are around it; cells 0 and 5 catch what lies outside.
    share = np.zeros((6, PATCH))
    i = np.arange(PATCH)
    share[i >> 2, i] = 1 - ((i & 3) * 0.25 + 0.125)
    share[(i >> 2) + 1, i] = (i & 3) * 0.25 + 0.125
    v = np.einsum("ai,bj,ijk->abk", share, share, bins)[1:5, 1:5].ravel()
    v = np.minimum(v, 0.2 * np.linalg.norm(v))
    total = v.sum()
    return np.minimum(np.floor(512 * np.sqrt(v / total if total > 0 else v) + 0.5), 255).astype(np.uint8)


def _spread(found: list[dict], max_features: int, grid: int, width: int, height: int) -> list[dict]:
    """Strongest first; half of the places are given out cell by cell."""
    found = sorted(found, key=lambda e: (-e["score"], e["x"], e["y"]))
    same = ("x", "y", "sigma", "score")  # two neighbours can move to the same top
    found = [e for i, e in enumerate(found) if not i or any(e[k] != found[i - 1][k] for k in same)]
    if len(found) <= max_features:
        return found
    cell = max(width, height) / max(grid, 1)
    cells = [(int(e["x"] / cell), int(e["y"] / cell)) for e in found]
    quota = max_features // 2 // max(len(set(cells)), 1)
    taken: dict[tuple[int, int], int] = {}
    keep = set()
    for i, c in enumerate(cells):
        if taken.get(c, 0) < quota:
            keep.add(i)
        taken[c] = taken.get(c, 0) + 1
    for i in range(len(found)):
        if len(keep) >= max_features:
            break
        keep.add(i)
    return [found[i] for i in sorted(keep)]


def sift(
    pixels: np.ndarray,
    mask: np.ndarray,
    *,
    max_features: int = 8000,
    upsample: bool = True,
    min_contrast: float = 1.7,
    max_edge_ratio: float = 10.0,
    grid: int = 16,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(keypoints (n, 2), scales, orientations, scores (n,) float32, descriptors (n, 128), colors (n, 3) uint8).

    pixels: uint8 (h, w, 3).  mask: uint8 (h, w), 0 where no keypoint is wanted, or of size 0.
    """
    if pixels.dtype != np.uint8 or mask.dtype != np.uint8 or pixels.ndim != 3 or mask.ndim != 2:
        raise TypeError("pixels must be uint8 (h, w, 3), the mask uint8 (h, w)")
    height, width = pixels.shape[:2]
    if pixels.shape[2] != 3 or (mask.size and mask.shape != (height, width)):
        raise ValueError("pixels must be (h, w, 3), the mask of that size or empty")
    found: list[dict] = []
    if min(width, height) >= 16 and max_features > 0:
        luma = pixels.astype(np.int64) @ np.array([77, 150, 29])
        k = 2.0 ** (1 / SCALES)
        kernels = [_kernel(SIGMA0 * k**i * math.sqrt(k * k - 1)) for i in range(SCALES + 2)]
        first = _kernel(FIRST_BLUR if upsample else math.sqrt(SIGMA0**2 - CAMERA**2))
        base = _doubled(luma) if upsample else luma.astype(np.float32) * np.float32(1 / 256)
        step = 0.5 if upsample else 1.0
        offset = 0.5 * step
        for octave in range(14):
            h, w = base.shape
            # One more than blur and slack need, as far as a keypoint may move beyond the border.
            reach = sum(len(r) - 1 for r in kernels) + SLACK + 1
            lead = len(first) - 1 if octave == 0 else 0
            g = np.pad(base, reach + lead, mode="edge")
            if octave == 0:
                g = _blur(g, first)
            margin, dog, levels = reach, [], []
            for i, kernel in enumerate(kernels):
                blurred = _blur(g, kernel)
                r = len(kernel) - 1
                margin -= r
                inner = margin - SLACK - 1
                crop = slice(inner, -inner or None)
                dog.append((blurred - g[r:-r, r:-r])[crop, crop])
                if i < SCALES:
                    stored = np.clip(blurred * np.float32(256) + np.float32(0.5), 0, 65535).astype(np.uint16)
                    levels.append(stored[margin : margin + h, margin : margin + w])
                g = blurred
            pad = SLACK + 1
            dogs = np.stack(dog)
            for s, y, x in _extremes(dogs, min_contrast):
                if not (BORDER <= x - pad < w - BORDER and BORDER <= y - pad < h - BORDER):
                    continue
                fit = _refine(dogs, s, x, y, min_contrast, max_edge_ratio)
                if fit is None:
                    continue
                u, v, level, value = fit[0] - pad, fit[1] - pad, fit[2], fit[3]
                found.append(
                    {
                        "u": u, "v": v, "sigma": SIGMA0 * 2 ** (level / SCALES), "x": u * step + offset,
                        "y": v * step + offset, "score": value, "step": step,
                        "image": levels[min(max(math.floor(level + 0.5), 1), SCALES) - 1],
                    }
                )  # fmt: skip
            if min(w, h) < 32:
                break
            base = levels[-1][: h // 2 * 2 : 2, : w // 2 * 2 : 2].astype(np.float32) * np.float32(1 / 256)
            step *= 2
    if mask.size:
        found = [e for e in found if mask[min(int(e["y"]), height - 1), min(int(e["x"]), width - 1)]]
    rows = []
    for e in _spread(found, max_features, grid, width, height):
        color = pixels[min(max(int(e["y"]), 0), height - 1), min(max(int(e["x"]), 0), width - 1)]
        for turn in _directions(e["image"], e["u"], e["v"], e["sigma"]):
            angle = turn * 2 * math.pi
            descriptor = _describe(e["image"], e["u"], e["v"], e["sigma"], angle)
            rows.append((e["x"], e["y"], e["sigma"] * e["step"], angle, e["score"], descriptor, color))
    numbers = np.array([r[:5] for r in rows], np.float32).reshape(-1, 5)
    return (
        np.ascontiguousarray(numbers[:, :2]),
        numbers[:, 2].copy(),
        numbers[:, 3].copy(),
        numbers[:, 4].copy(),
        np.array([r[5] for r in rows], np.uint8).reshape(-1, 128),
        np.array([r[6] for r in rows], np.uint8).reshape(-1, 3),
    )
