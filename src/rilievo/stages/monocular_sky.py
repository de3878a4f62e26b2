"""Where a photo shows the sky: the network's opinion, held against colour, texture and place."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

_MOST = 1 << 20  # pixels at which sky is looked for


def find_sky(guide: np.ndarray, disparity: np.ndarray, probability: np.ndarray | None) -> np.ndarray:
    """bool (h, w). guide uint8 (h, w, 3), disparity float32 (h, w), probability float32 (h, w) of the network or None.

    Sky is what the network calls sky, or, where it has no opinion, what is as far as anything in the photo. In both
    cases it must be nearly without texture, of a colour that skies have, and hang together with the photo's upper edge
    or be called sky with certainty. A network's doubt is settled by likeness to the sky that is certain.
    """
    h, w = disparity.shape
    if h * w > _MOST:
        s = (_MOST / (h * w)) ** 0.5
        size = max(1, round(w * s)), max(1, round(h * s))
        chance = None if probability is None else cv2.resize(probability, size, interpolation=cv2.INTER_AREA)
        small = find_sky(
            cv2.resize(guide, size, interpolation=cv2.INTER_AREA),
            cv2.resize(disparity, size, interpolation=cv2.INTER_AREA),
            chance,
        )
        large = cv2.resize(small.astype(np.uint8) * np.uint8(255), (w, h), interpolation=cv2.INTER_LINEAR)
        return np.asarray(large) > 127
    smooth = cv2.GaussianBlur(guide, (0, 0), 1.0)
    look = _likeness(guide, smooth)
    if probability is None:
        known = disparity[np.isfinite(disparity)]
        if not len(known):
            return np.zeros((h, w), bool)
        high = float(np.quantile(known, 0.95))
        # All that is within a thirtieth of the nearest disparity is as good as infinitely far.
        far = np.clip((0.03 * high - np.nan_to_num(disparity, nan=high)) / max(0.01 * high, 1e-12), -30, 30)
        probability = (1 / (1 + np.exp(-far))).astype(np.float32)
        sure, maybe = 0.5, 0.5
        score = probability * look
    else:
        sure, maybe = 0.9, 0.15
        score = probability * (0.5 + 0.5 * look)
    certain = (probability > sure) & (look > 0.5)
    if certain.mean() < 1e-3:
        return np.zeros((h, w), bool)
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB).astype(np.float32)
    like = _color_model(lab, certain)
    fill = (score > 0.3) | (certain) | ((probability > maybe) & (like > 0.5) & (look > 0.3))
    fill &= (probability > sure) | (look > 0.3)
    sky = _connected(fill, certain, probability * like)
    # Up to the edge of what stands before it, where texture and the network's smear made it doubtful: by colour alone.
    reach = max(2, round(max(h, w) / 80))
    near = cv2.dilate(sky.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    return sky | (near & (like > 0.6))


def clear_of_sky(disparity: np.ndarray, sky: np.ndarray) -> np.ndarray:
    """A coarse disparity map whose pixels that are partly sky take the value of the nearest that is none.

    A network's map is smeared, so that what stands before the sky seems farther along its rim. disparity: float32
    (h, w).  sky: bool (H, W), finer. What is thinner than that has no clear pixel nearby and stays as it was seen.
    """
    from scipy.ndimage import distance_transform_edt

    share = cv2.resize(sky.astype(np.float32), disparity.shape[::-1], interpolation=cv2.INTER_AREA)
    mixed = cv2.GaussianBlur(share, (0, 0), 2.0) > 0.08
    if not mixed.any() or mixed.all():
        return disparity
    found: Any = distance_transform_edt(mixed, return_indices=True)
    distance, index = found
    nearest = disparity[tuple(index)]
    return np.where(mixed & (distance <= 5), nearest, disparity).astype(np.float32)


def _likeness(guide: np.ndarray, smooth: np.ndarray) -> np.ndarray:
    """0..1, float32: little texture, and blue, or bright and without much colour, or the red of a low sun."""
    grey = cv2.cvtColor(smooth, cv2.COLOR_RGB2GRAY)
    gx, gy = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=0.125)
    rough = cv2.blur(np.hypot(gx, gy), (9, 9))
    fine = cv2.cvtColor(guide, cv2.COLOR_RGB2GRAY).astype(np.float32)
    variance = cv2.blur(fine * fine, (9, 9)) - cv2.blur(fine, (9, 9)) ** 2
    flat = np.exp(-((rough / 8.0) ** 2) - np.maximum(variance, 0) / 14.0**2)
    r, g, b = (smooth[..., i].astype(np.float32) for i in range(3))
    value = np.maximum(np.maximum(r, g), b)
    blue = (b >= r) & (b >= g - 4) & (value > 50)
    bright = value > 140
    greenish = (g > b + 6) & (g > r + 2)
    return (flat * np.where(greenish, 0.1, np.where(blue | bright, 1.0, 0.35))).astype(np.float32)


def _color_model(lab: np.ndarray, certain: np.ndarray) -> np.ndarray:
    """How close each pixel's colour is to the certain sky's at about its height, 0..1 float32."""
    h = lab.shape[0]
    weight = certain.astype(np.float32)
    n = weight.sum(1)
    rows = np.arange(h)
    have = np.nonzero(n > 0)[0]
    means = np.stack([np.interp(rows, have, (lab[have, :, k] * weight[have]).sum(1) / n[have]) for k in range(3)], -1)
    means = cv2.GaussianBlur(means.astype(np.float32), (1, 0), sigmaX=1e-3, sigmaY=max(h / 40, 1.0))
    difference = lab - means[:, None]
    spread = np.sqrt(max(float((difference[certain] ** 2).mean()), 9.0))
    return np.exp(-(difference**2).sum(-1) / (2 * (2.5 * spread) ** 2)).astype(np.float32)


def _connected(fill: np.ndarray, certain: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """The connected parts of `fill` that touch the upper edge or hold a fair piece of certain sky, and those cut off
    from it (between branches, below an arm) that the network and the sky's colour both take for sky on the whole."""
    count, label, stats, _ = cv2.connectedComponentsWithStats(fill.astype(np.uint8), connectivity=4)
    keep = np.zeros(count, bool)
    keep[np.unique(label[0])] = True
    inside = np.bincount(label[certain], minlength=count)
    area = stats[:, cv2.CC_STAT_AREA]
    keep |= inside > np.maximum(0.5 * area, 2e-4 * fill.size)
    keep &= inside > 0.02 * area
    keep |= np.bincount(label.ravel(), chance.ravel(), count) > 0.4 * np.maximum(area, 2e-4 * fill.size)
    keep[0] = False
    return keep[np.asarray(label, np.int64)]
