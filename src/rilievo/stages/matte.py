"""Colours of what is partly transparent, freed of the background that was photographed through them.

Forte and Pitié, "Approximate Fast Foreground Colour Estimation", ICIP 2021, eqs. 4-6: two passes of blurred colours.
"""

from __future__ import annotations

import cv2
import numpy as np

_STRIP = 512  # rows at a time


def own_colors(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The photo with each pixel's colour replaced by that of the thing alone, as far as the thing reaches.

    pixels: (h, w, 3) uint8 or uint16.  alpha: uint8 or uint16 (h, w), of its full range.  Opaque pixels keep their
    bytes, and so do clear ones far from the thing. Returns the dtype of pixels.
    """
    h, w = alpha.shape
    wide = max(8, round(max(h, w) / 40))
    near = 6
    reach = 2 * (wide + near)
    top = np.iinfo(pixels.dtype).max
    a = alpha.astype(np.float32) / np.float32(np.iinfo(alpha.dtype).max)
    rows = np.flatnonzero((a > 0).any(1))
    out = pixels.copy()
    if len(rows) == 0:
        return out
    for y in range(max(0, int(rows[0]) - wide), min(h, int(rows[-1]) + wide + 1), _STRIP):
        y0, y1 = max(0, y - reach), min(h, y + _STRIP + reach)
        part, share = pixels[y0:y1].astype(np.float32), a[y0:y1, :, None]
        if not ((share > 0) & (share < 1)).any():
            continue
        thing, ground = part, part
        for radius in (wide, near):
            thing, ground = _pass(part, share, thing, ground, radius)
        end = min(h, y + _STRIP)
        inner = slice(y - y0, end - y0)
        change = (share[inner, :, 0] < 1) & (_mean(share, wide)[inner] > 1e-4)
        found = np.clip(np.rint(thing[inner]), 0, top).astype(pixels.dtype)
        out[y:end][change] = found[change]
    return out


def _mean(values: np.ndarray, radius: int) -> np.ndarray:
    return cv2.blur(values, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)


def _pass(
    part: np.ndarray, share: np.ndarray, thing: np.ndarray, ground: np.ndarray, radius: int
) -> tuple[np.ndarray, np.ndarray]:
    # Clear and opaque pixels tell more of the two colours than mixed ones do; the paper weighs by `share` itself, which
    # leaves a third of the fringe.
    most, tiny = float(part.max(initial=1)), np.float32(1e-7)
    own, other = share**4, (1 - share) ** 4
    thing = _mean(thing * own, radius) / (_mean(own, radius)[..., None] + tiny)
    ground = _mean(ground * other, radius) / (_mean(other, radius)[..., None] + tiny)
    return np.clip(thing + share * (part - share * thing - (1 - share) * ground), 0, most), ground
