"""Plain NumPy twin of the kernel `choose_sides`: on which side of a step in depth a pixel lies.

Kopf et al. 2007 (joint bilateral upsampling), Otsu 1979 (two means).
"""

from __future__ import annotations

import numpy as np

SPLITS, ROUNDS = 3, 4


def choose_sides(
    values: np.ndarray,
    colors: np.ndarray,
    trust: np.ndarray,
    picture: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    alike: np.ndarray,
    reach: int,
    near: float,
    flat: float,
    slope: float,
) -> np.ndarray:
    """float32 (n,): values of a small map at pixels of its large picture, without averages across a step.

    values, trust: float32 (h, w), trust > 0.  colors: uint8 (h, w, 3), the picture at that size.  picture: uint8
    (H, W, 3).  rows, columns: int32 (n,), pixels of `picture`.  Candidates are the small map's pixels within `reach`
    (1 to 4) of the pixel's place in it; each weighs trust, times alike[squared colour distance / 64] (float32; the last
    entry holds for all beyond), times a Gaussian of its distance (`near`, small pixels). While their standard deviation
    is above flat + slope * mean they are split in two, by two means, and the lighter side is dropped; the answer is the
    weighted mean of what is left. Raises ValueError for sizes that do not fit and pixels outside the picture.
    """
    if colors.shape[:2] != values.shape or trust.shape != values.shape:
        raise ValueError("values, colors and trust must have one size")
    if len(rows) != len(columns):
        raise ValueError("rows and columns differ in length")
    if not 1 <= reach <= 4:
        raise ValueError("reach must be 1 to 4")
    if not len(alike):
        raise ValueError("alike is empty")
    if not near > 0:
        raise ValueError("near must be positive")
    (h, w), (H, W) = values.shape, picture.shape[:2]
    if len(rows) and not h * w:
        raise ValueError("values is empty")
    if len(rows) and (min(rows.min(), columns.min()) < 0 or rows.max() >= H or columns.max() >= W):
        raise ValueError("a pixel lies outside the picture")
    out = np.empty(len(rows), np.float32)
    for i, (r, c) in enumerate(zip(rows, columns)):
        y, x = (r + 0.5) * h / H - 0.5, (c + 0.5) * w / W - 0.5
        y0, x0 = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
        yy = np.arange(max(y0 - reach, 0), min(y0 + reach, h - 1) + 1)
        xx = np.arange(max(x0 - reach, 0), min(x0 + reach, w - 1) + 1)
        place = np.ix_(yy, xx)
        square = ((colors[place].astype(np.int64) - picture[r, c].astype(np.int64)) ** 2).sum(-1)
        weight = alike[np.minimum(square // 64, len(alike) - 1)] * trust[place]
        far = np.exp(-((yy - y) ** 2) / (2 * near**2))[:, None] * np.exp(-((xx - x) ** 2) / (2 * near**2))
        out[i] = _heavier(values[place].ravel().astype(np.float64), (weight * far + 1e-20).ravel(), flat, slope)
    return out


def _heavier(v: np.ndarray, w: np.ndarray, flat: float, slope: float) -> float:
    mean = (w @ v) / w.sum()
    for _ in range(SPLITS):
        if (w @ (v - mean) ** 2) / w.sum() <= (flat + slope * abs(mean)) ** 2:
            break
        at = mean
        low = v < at
        for k in range(ROUNDS):
            low = v < at
            if w[low].sum() <= 0 or w[~low].sum() <= 0:
                return float(mean)
            if k + 1 < ROUNDS:
                at = 0.5 * ((w[low] @ v[low]) / w[low].sum() + (w[~low] @ v[~low]) / w[~low].sum())
        keep = low if w[low].sum() > w[~low].sum() else ~low
        v, w = v[keep], w[keep]
        mean = (w @ v) / w.sum()
    return float(mean)
