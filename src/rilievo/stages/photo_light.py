"""Hard shadows and highlights in one photo, as shares of its area."""

from __future__ import annotations

import numpy as np


def specular_share(pixels: np.ndarray) -> float:
    """Share of small spots without colour that have run nearly white amid darker surroundings. pixels: uint8 (h, w, 3),
    a small copy. White things and the sky are larger than such spots and do not count."""
    import cv2

    least = pixels.min(2)
    bright = (least >= 243).astype(np.uint8)
    if not bright.any():
        return 0.0
    num, label, stats, _ = cv2.connectedComponentsWithStats(cv2.dilate(bright, np.ones((3, 3), np.uint8)))
    limit = 0.004 * bright.size
    small = np.zeros(num, bool)
    small[1:] = stats[1:, cv2.CC_STAT_AREA] < limit
    spot = small[np.asarray(label, np.intp)] & (bright > 0)
    side = max(9, 2 * (max(bright.shape) // 40) + 1)
    around = cv2.blur(least, (side, side))
    # the surroundings of a highlight are surface, which is clearly darker; white paper is white around too
    return float((spot & (around < 150)).mean())


def sky_map(pixels: np.ndarray, level: int) -> np.ndarray:
    """True (h, w) where a channel has run over (`level` or more) in one piece with the upper rim while the rest is
    exposed well: the sky, which nobody measures. pixels: uint8 (h, w, 3), a small copy."""
    import cv2

    over = (pixels.max(2) >= level).astype(np.uint8)
    num, label, stats, _ = cv2.connectedComponentsWithStats(cv2.morphologyEx(over, cv2.MORPH_CLOSE, np.ones((3, 3))))
    if num < 2:
        return np.zeros(over.shape, bool)
    touching = np.bincount(label[0], minlength=num)
    sky = (touching > 0.1 * over.shape[1]) & (stats[:, cv2.CC_STAT_AREA] > 0.02 * over.size)
    sky[0] = False
    found = sky[np.asarray(label, np.intp)]
    rest = pixels[~found]
    if not len(rest) or np.median(rest.max(1)) > 200:
        return np.zeros(over.shape, bool)
    return found


def shadow_map(pixels: np.ndarray) -> np.ndarray:
    """True (h, w) where a hard shadow lies. pixels: uint8 (h, w, 3), a small copy.

    An edge of a shadow dims all three channels by nearly one factor (the sky's share makes blue fall least), a change
    of material does not (Barnard & Finlayson 2000). A dark region counts when most of its strong border is such.
    """
    import cv2

    log = np.log2(np.maximum(pixels.astype(np.float32), 4.0) / 255) * 2.2
    log = cv2.medianBlur(log, 5)
    mean = log.mean(2)
    side = 2 * (max(mean.shape) // 5) + 1  # wider than most shadows, or their middle would not be darker than around
    dark = mean < cv2.blur(mean, (side, side)) - 0.35
    dark = cv2.morphologyEx(dark.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    num, label, stats, _ = cv2.connectedComponentsWithStats(dark)
    if num < 2:
        return np.zeros(mean.shape, bool)
    # what lies on both sides of each border pixel, a few pixels off
    gx, gy = cv2.Sobel(mean, cv2.CV_32F, 1, 0), cv2.Sobel(mean, cv2.CV_32F, 0, 1)
    length = np.maximum(np.hypot(gx, gy), 1e-6)
    border = dark.astype(bool) & ~cv2.erode(dark, np.ones((3, 3), np.uint8)).astype(bool)
    rows, columns = np.nonzero(border)
    ux, uy = (gx / length)[rows, columns], (gy / length)[rows, columns]
    h, w = mean.shape

    def beside(k: float) -> np.ndarray:
        r = np.clip(np.rint(rows + k * uy), 0, h - 1).astype(int)
        c = np.clip(np.rint(columns + k * ux), 0, w - 1).astype(int)
        return log[r, c]

    drop = beside(4.0) - beside(-4.0)  # stops of light, positive: brighter outside
    fall = drop.mean(1)
    spread = drop.max(1) - drop.min(1)
    strong = fall > 0.7
    alike = strong & (spread < 0.12 + 0.22 * fall) & (drop[:, 2] <= drop[:, 0] + 0.1)
    region = label[rows, columns]
    all_border = np.bincount(region, minlength=num)
    edges, good = np.bincount(region, strong, num), np.bincount(region, alike, num)
    is_shadow = (stats[:, cv2.CC_STAT_AREA] > 0.001 * dark.size) & (edges > 0.25 * all_border) & (good > 0.6 * edges)
    is_shadow[0] = False
    return is_shadow[np.asarray(label, np.intp)]


def shadow_share(pixels: np.ndarray) -> float:
    """Share of the picture that lies in hard shadow (see `shadow_map`)."""
    return float(shadow_map(pixels).mean())
