"""How blurred a photo is, in pixels."""

from __future__ import annotations

import numpy as np

_TILE, _GRID, _SIGMA0 = 256, 5, 1.0


def measure_blur(pixels: np.ndarray) -> float:
    """Sigma in px of the Gaussian blur that would make the photo's sharp edges as wide as they are.

    pixels: uint8 (h, w) or (h, w, 3) at full resolution. Blurring once more by a known sigma0 lowers the gradient of a
    step edge of width s by the factor sqrt(s^2 + sigma0^2) / s (Zhuo & Sim 2011, eqs. 5-6), so each strong edge pixel
    tells its own s. Edges are grouped by direction and the widest direction counts: motion blurs only across itself.
    Within 10 % on Gaussian blur of 1 to 6 px with noise; motion over L px (sigma L / sqrt(12)) reads up to twice that,
    because the flat top of a box lasts. Thin lines and texture read sharper than they are, so a photo in focus gives
    the floor of 0.3. NaN where there is no edge (an empty picture).
    """
    import cv2

    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise TypeError(f"pixels must be uint8 (h, w) or (h, w, 3), got {pixels.dtype} {pixels.shape}")
    sigma, level = _edge_width(pixels), 1
    while sigma / level > 1.7 and min(pixels.shape[:2]) >= 64:  # wide edges drown in noise: look at them smaller
        pixels = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        width = _edge_width(pixels)
        if np.isnan(width):
            break
        level *= 2
        # Averaging level x level px has added a variance of (level^2 - 1) / 12.
        sigma = max(sigma, float(np.sqrt(max((width * level) ** 2 - (level * level - 1) / 12, 0.0))))
    return max(sigma, 0.3)  # the pixel's own width; NaN stays NaN


def _edge_width(pixels: np.ndarray) -> float:
    """`measure_blur` at one scale."""
    import cv2

    height, width = pixels.shape[:2]
    sharp_parts, ratio_parts, bin_parts = [], [], []
    tile_h, tile_w = min(_TILE, height), min(_TILE, width)
    if tile_h < 8 or tile_w < 8:
        return float("nan")
    rows = sorted({round((height - tile_h) * i / (_GRID - 1)) for i in range(_GRID)})
    columns = sorted({round((width - tile_w) * i / (_GRID - 1)) for i in range(_GRID)})
    for r in rows:
        for c in columns:
            tile = pixels[r : r + tile_h, c : c + tile_w]
            grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY) if tile.ndim == 3 else np.ascontiguousarray(tile)
            # A light blur first: it carries noise away, and its own width is subtracted at the end.
            base = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _SIGMA0)
            again = cv2.GaussianBlur(base, (0, 0), _SIGMA0 * 1.5)
            gx, gy = cv2.Sobel(base, cv2.CV_32F, 1, 0), cv2.Sobel(base, cv2.CV_32F, 0, 1)
            hx, hy = cv2.Sobel(again, cv2.CV_32F, 1, 0), cv2.Sobel(again, cv2.CV_32F, 0, 1)
            magnitude = np.hypot(gx, gy)
            # Ridge of the gradient: only the middle of an edge obeys the formula.
            peak = cv2.dilate(magnitude, np.ones((3, 3), np.uint8))
            take = (magnitude >= peak) & (magnitude > 40.0)  # Sobel's gain is 8: 5 grey levels a pixel
            take[:4] = take[-4:] = False
            take[:, :4] = take[:, -4:] = False
            g = magnitude[take]
            sharp_parts.append(g)
            ratio_parts.append(np.hypot(hx, hy)[take] / np.maximum(g, 1e-6))
            angle = np.arctan2(gy[take], gx[take])
            bin_parts.append(np.round(angle / (np.pi / 4)).astype(int) % 4)
    strength, ratio, direction = map(np.concatenate, (sharp_parts, ratio_parts, bin_parts))
    if len(strength) < 20:
        return float("nan")
    # Sobel itself smooths by sigma^2 = 1/2 along the edge and differentiates over 2 px (sigma^2 = 1/3 across).
    fixed = _SIGMA0**2 + 1.0 / 3.0
    widths = []
    strong = strength >= np.quantile(strength, 0.5)
    for k in range(4):
        r = ratio[(direction == k) & strong]
        if len(r) < max(20, 0.04 * strong.sum()):
            continue
        q = float(np.clip(np.median(r), 1e-3, 0.9999))
        s2 = (_SIGMA0 * 1.5) ** 2 * q * q / (1 - q * q)
        widths.append(np.sqrt(max(s2 - fixed, 0.0)))
    return float(max(widths)) if widths else float("nan")
