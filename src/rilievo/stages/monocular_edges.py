"""A coarse disparity map enlarged to the size of its photo, with its steps where the photo has edges.

A network's map is small and its steps are smeared over a few of its pixels; enlarged, those in-between values would
stand in the scene as rubber sheets between an object and what is behind it. So near steps no pixel takes an average
across the step: it takes the mean of nearby coarse pixels that lie clear of the step, on the side whose colours it has
(the kernel `choose_sides`; joint bilateral upsampling, Kopf et al. 2007, with the two sides told apart first).
Elsewhere the map is smooth and cubic interpolation is right.
"""

from __future__ import annotations

import cv2
import numpy as np

from rilievo import kernels

REACH = 4  # coarse pixels, to each side, in which a value is looked for
_STRIPE = 256  # rows of the large map at a time: memory
COLOR_SIGMA = 14.0  # of 255: colours that differ by this are likely of one surface


def step_strength(disparity: np.ndarray, spread: float) -> np.ndarray:
    """How much disparity changes within 3 x 3 pixels, float32 (h, w), as a share of what it is there (or of the
    picture's spread, where it is far)."""
    d = disparity.astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    extent = cv2.dilate(d, kernel) - cv2.erode(d, kernel)
    return extent / np.maximum(0.5 * cv2.blur(d, (3, 3)) + 0.5 * spread, 1e-12)


def enlarge(
    disparity: np.ndarray, guide: np.ndarray, *, spread: float, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """(disparity, steps) at the size of `guide`: float32 (H, W) and bool (H, W), True beside steps.

    disparity: float32 (h, w), not NaN.  guide: uint8 (H, W, 3).  spread: mean absolute deviation of the disparity.
    threshold: relative change from pixel to pixel that counts as a step.
    """
    h, w = disparity.shape
    H, W = guide.shape[:2]
    larger = h * w < H * W
    smooth = cv2.resize(disparity, (W, H), interpolation=cv2.INTER_CUBIC if larger else cv2.INTER_AREA)
    strength = step_strength(disparity, spread)
    near = cv2.dilate((strength > threshold).astype(np.uint8), np.ones((3, 3), np.uint8))
    if not larger or not near.any():
        return np.maximum(smooth, 0), np.zeros((H, W), bool)
    band = cv2.resize(near, (W, H), interpolation=cv2.INTER_NEAREST).astype(bool)
    coarse = np.ascontiguousarray(disparity, np.float32), cv2.resize(guide, (w, h), interpolation=cv2.INTER_AREA)
    trust = np.exp(-((strength / threshold) ** 2)).astype(np.float32) + np.float32(1e-4)
    alike = np.exp(-(np.arange(400) + 0.5) * 64 / (2 * COLOR_SIGMA**2)).astype(np.float32)
    rules = REACH, 0.5 * REACH, 0.5 * threshold * spread, 0.5 * threshold
    picture = np.ascontiguousarray(guide)
    for top in range(0, H, _STRIPE):
        rows, columns = (a.astype(np.int32) for a in np.nonzero(band[top : top + _STRIPE]))
        rows += top
        smooth[rows, columns] = kernels.choose_sides(*coarse, trust, picture, rows, columns, alike, *rules)
    smooth[band] = cv2.medianBlur(smooth, 5)[band]  # single pixels of a colour that fits the other side better
    return np.maximum(smooth, 0), band
