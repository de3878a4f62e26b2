"""Undoing damage of JPEG without learned weights: noise of quantisation, of a spectrum that the file's tables tell.

Foi et al. 2007 ("Pointwise shape-adaptive DCT", section on deblocking) take quantisation for noise whose variance is
0.69 q^1.3; here each frequency has its own q. The kernel's blocks lie at all places, so steps at the edges of the
file's own blocks count as noise as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rilievo.stages.noise import shrink
from rilievo.stages.tiles import map_tiles

# Luma table of quality 50 (ITU-T T.81, table K.1): quality is told as the usual encoder's figure.
_HALF = np.array(
    [[16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
     [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
     [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99]], np.float64,
)  # fmt: skip
MAX_QUALITY = 90.0
"""Better JPEGs are left as they are: what can be gained is below what may be lost."""


def jpeg_quality(tables: Sequence[np.ndarray]) -> float:
    """What an encoder with the usual tables would call this quality, 1 to 100; 100 for no JPEG."""
    if not tables:
        return 100.0
    factor = float(np.median(tables[0] / _HALF))
    return float(np.clip(100 - 50 * factor if factor <= 1 else 50 / factor, 1, 100))


def blockiness(pixels: np.ndarray) -> float:
    """How much stronger steps are at one phase of 8 rows and columns than at the others: about 1 for an undamaged
    picture, above 1.2 where a JPEG's blocks show. pixels: uint8 or uint16 (h, w, 3). Finds damage that was saved again
    in a better file, as long as it was not resized."""
    found = 1.0
    green = pixels[..., 1].astype(np.float32)
    for axis in (0, 1):
        if green.shape[axis] < 64:
            continue
        second = np.abs(np.diff(green, axis=axis))
        steps = np.minimum(second, np.percentile(second, 90)).mean(1 - axis)
        phases = np.array([steps[k::8].mean() for k in range(8)])
        found = max(found, float(phases.max() / max(np.median(phases), 1e-6)))
    return found


def restore_jpeg(pixels: np.ndarray, tables: Sequence[np.ndarray]) -> np.ndarray:
    """uint16 (h, w, 3) without the noise of quantisation. tables: int (8, 8) of the file, luma first."""
    spectrum = np.empty((3, 8, 8), np.float32)
    for k in range(3):
        table = tables[min(k, 1, len(tables) - 1)].astype(np.float64)
        spectrum[k] = np.sqrt(0.69 * table**1.3) / 255
    return map_tiles(pixels, lambda tile: shrink(tile, spectrum), halo=16, tile=1024)
