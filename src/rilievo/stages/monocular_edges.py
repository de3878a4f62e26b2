"""A coarse disparity map enlarged to the size of its photo, with its steps where the photo has edges.

A network's map is small and its steps are smeared over a few of its pixels; enlarged, those in-between values would
stand in the scene as rubber sheets between an object and what is behind it. So near steps no pixel takes an average:
it takes the value of one nearby coarse pixel that lies clear of the step, on the side whose colour it has. This is
joint bilateral upsampling (Kopf et al. 2007) with the weighted median of Ma et al. 2013 in the place of the mean.
Elsewhere the map is smooth and cubic interpolation is right.
"""

from __future__ import annotations

import cv2
import numpy as np

_REACH = 3  # coarse pixels, to each side, in which a value is looked for
_CHUNK = 1 << 15


def step_strength(disparity: np.ndarray, spread: float) -> np.ndarray:
    """How much of a step there is within 3 x 3 pixels, float32 (h, w): the range of values less what a slope in
    either diagonal direction would give, as a share of the local disparity (and a little of the picture's spread)."""
    d = np.where(np.isfinite(disparity), disparity, 0).astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    extent = cv2.dilate(d, kernel) - cv2.erode(d, kernel)
    return extent / np.maximum(cv2.blur(d, (3, 3)) * 0.5 + 0.5 * spread, 1e-12)


def enlarge(
    disparity: np.ndarray, guide: np.ndarray, *, spread: float, threshold: float, color_sigma: float = 12.0
) -> tuple[np.ndarray, np.ndarray]:
    """(disparity, steps) at the size of `guide`: float32 (H, W) and bool (H, W), True beside steps.

    disparity: float32 (h, w), not NaN.  guide: uint8 (H, W, 3).  spread: mean absolute deviation of the disparity.
    threshold: relative change from pixel to pixel that counts as a step.
    """
    h, w = disparity.shape
    H, W = guide.shape[:2]
    smooth = cv2.resize(disparity, (W, H), interpolation=cv2.INTER_CUBIC if h < H else cv2.INTER_AREA)
    if h * w >= H * W:
        return np.maximum(smooth, 0), np.zeros((H, W), bool)
    strength = step_strength(disparity, spread)
    near = cv2.dilate((strength > threshold).astype(np.uint8), np.ones((3, 3), np.uint8))
    if not near.any():
        return np.maximum(smooth, 0), np.zeros((H, W), bool)
    band = cv2.resize(near, (W, H), interpolation=cv2.INTER_NEAREST).astype(bool)
    coarse = cv2.resize(guide, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32)
    trust = np.exp(-((strength / threshold) ** 2)).astype(np.float32) + 1e-4
    out = smooth
    rows, cols = np.nonzero(band)
    for i in range(0, len(rows), _CHUNK):
        r, c = rows[i : i + _CHUNK], cols[i : i + _CHUNK]
        out[r, c] = _choose(disparity, coarse, trust, guide[r, c].astype(np.float32), r, c, (H, W), color_sigma)
    return np.maximum(out, 0), band


def _choose(
    disparity: np.ndarray,
    coarse: np.ndarray,
    trust: np.ndarray,
    color: np.ndarray,
    r: np.ndarray,
    c: np.ndarray,
    size: tuple[int, int],
    color_sigma: float,
) -> np.ndarray:
    """Weighted median of the coarse values around each of n pixels, float32 (n,)."""
    h, w = disparity.shape
    y, x = (r + 0.5) * h / size[0] - 0.5, (c + 0.5) * w / size[1] - 0.5
    y0, x0 = np.rint(y).astype(np.int32), np.rint(x).astype(np.int32)
    steps = np.arange(-_REACH, _REACH + 1, dtype=np.int32)
    dy, dx = (a.ravel() for a in np.meshgrid(steps, steps, indexing="ij"))
    yy, xx = np.clip(y0[:, None] + dy, 0, h - 1), np.clip(x0[:, None] + dx, 0, w - 1)
    flat = yy * w + xx
    far = (yy - y[:, None]) ** 2 + (xx - x[:, None]) ** 2
    unlike = ((coarse.reshape(-1, 3)[flat] - color[:, None]) ** 2).sum(-1)
    weight = np.exp(-unlike / (2 * color_sigma**2) - far / (2 * (0.6 * _REACH) ** 2)).astype(np.float32) + 1e-9
    weight *= trust.reshape(-1)[flat]
    values = disparity.reshape(-1)[flat]
    order = np.argsort(values, axis=1)
    summed = np.cumsum(np.take_along_axis(weight, order, 1), axis=1)
    middle = (summed < 0.5 * summed[:, -1:]).sum(1)
    return np.take_along_axis(np.take_along_axis(values, order, 1), middle[:, None], 1)[:, 0]
