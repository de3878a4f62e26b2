"""Micro-sharpening without halos: limited by the blur that was measured, by noise, and by what is around each pixel."""

from __future__ import annotations

import cv2
import numpy as np

from rilievo.stages.tiles import luma, map_tiles

MIN_BLUR, MAX_BLUR = 0.45, 2.5


def sharpen(pixels: np.ndarray, blur_px: float, noise_sigma: float, *, threads: int = 1) -> np.ndarray:
    """uint16 (h, w, 3): edges steeper, nothing brighter or darker than its own surroundings were.

    blur_px: sigma of the photo's blur (at least MIN_BLUR to change anything).  noise_sigma: of lightness in grey levels
    of 255; detail below twice that is left alone. Lightness alone is changed, so colours get no fringes.
    """
    sigma = float(np.clip(blur_px, MIN_BLUR, MAX_BLUR))
    # Van Cittert's first steps: b - G b is what one more blur would take away. More of them for wider blur, since an
    # edge of width s needs it, but never so many that noise grows more than threefold.
    rounds = 1 if sigma < 0.8 else 2 if sigma < 1.6 else 3
    core = 2 * noise_sigma / 255
    reach = 2 * int(np.ceil(sigma)) + 1

    def work(tile: np.ndarray) -> np.ndarray:
        grey = luma(tile)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        low, high = cv2.erode(grey, kernel), cv2.dilate(grey, kernel)
        out = grey
        for _ in range(rounds):
            out = out + (grey - cv2.GaussianBlur(out, (0, 0), sigma))
            out = np.clip(out, low, high)  # no overshoot: no halo
        change = out - grey
        size = np.abs(change)
        change = change * np.clip((size - core / 2) / max(core, 1e-6), 0, 1) if core > 0 else change
        return tile + change[..., None]

    return map_tiles(pixels, work, halo=8 * int(np.ceil(sigma)) + 4, threads=threads)
