"""Noise of a photo: how strong, in which frequencies; and its removal.

Measured in the flattest blocks of 8 x 8 (Ponomarenko et al. 2007): what their cosine transform holds where a flat
surface holds nothing. Removed by shrinkage of overlapping blocks (kernel `shrink_blocks`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rilievo import kernels
from rilievo.kernels.reference.shrink import COSINE
from rilievo.stages.tiles import map_tiles, unit

# Rows: lightness, blue against yellow, red against green: orthonormal, so that noise stays as strong as it is.
OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]], np.float32) / np.sqrt(np.array([[3], [2], [6]], np.float32))
_TILE, _GRID = 256, 5
_ORDER = np.add.outer(np.arange(8), np.arange(8))
_NONE = np.zeros((0, 0, 0), np.float32)
MIN_SIGMA = 0.9
"""Below this many grey levels of 255 noise is left alone: rounding to bytes alone makes 0.29."""


@dataclass(frozen=True, eq=False)
class Noise:
    """spectrum: float32 (3, 8, 8), standard deviation of each coefficient of each row of OPPONENT, pixels 0..1.

    sigma: of lightness, in grey levels of 255.  sigma_color: of the two colours.
    """

    spectrum: np.ndarray
    sigma: float
    sigma_color: float


def measure_noise(pixels: np.ndarray) -> Noise:
    """The noise of a photo, uint8 or uint16 (h, w, 3). Where no part is flat it reads somewhat too high; clipped parts
    are passed over. All zeros for a picture below 16 x 16."""
    blocks = [np.zeros((0, 3, 8, 8), np.float32)]
    h, w = pixels.shape[:2]
    side_h, side_w = min(_TILE, h) // 8 * 8, min(_TILE, w) // 8 * 8
    if min(side_h, side_w) < 16:
        return Noise(np.zeros((3, 8, 8), np.float32), 0.0, 0.0)
    for r in sorted({round((h - side_h) * i / (_GRID - 1)) for i in range(_GRID)}):
        for c in sorted({round((w - side_w) * i / (_GRID - 1)) for i in range(_GRID)}):
            tile = unit(pixels[r : r + side_h, c : c + side_w])
            cells = tile.reshape(side_h // 8, 8, side_w // 8, 8, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, 8, 8)
            good = (cells.min(axis=(1, 2, 3)) > 4 / 255) & (cells.max(axis=(1, 2, 3)) < 251 / 255)
            planes = np.einsum("kc,ncyx->nkyx", OPPONENT, cells[good])
            blocks.append(COSINE @ planes @ COSINE.T)
    all_blocks = np.concatenate(blocks)
    if len(all_blocks) < 64:
        return Noise(np.zeros((3, 8, 8), np.float32), 0.0, 0.0)
    # Ranked by the low frequencies of lightness, measured in the others.
    low = (_ORDER >= 1) & (_ORDER <= 3)
    flatness = (all_blocks[:, 0, low] ** 2).sum(1)
    flat = all_blocks[np.argsort(flatness, kind="stable")[: max(48, len(all_blocks) // 50)]]
    spectrum = (np.median(np.abs(flat), axis=0) / 0.6745).astype(np.float32)
    # Texture falls off with frequency, noise hardly does: what the lower ones hold beyond the upper ones is texture.
    upper = np.sqrt((spectrum[:, (_ORDER >= 8) & (_ORDER <= 10)] ** 2).mean(1))
    spectrum[:, low] = upper[:, None]
    spectrum = np.minimum(spectrum, 1.25 * upper[:, None, None])
    spectrum[:, 0, 0] = 0
    sigma, *colors = 255 * upper.astype(np.float64)
    return Noise(spectrum, float(sigma), float(np.sqrt(np.mean(np.square(colors)))))


def denoise(pixels: np.ndarray, noise: Noise, *, strength: float = 1.0) -> np.ndarray:
    """uint16 (h, w, 3) without its noise: hard thresholds, then a Wiener filter led by their result.

    strength: factor on the measured noise.
    """
    spectrum = np.ascontiguousarray(noise.spectrum * np.float32(strength))
    return map_tiles(pixels, lambda tile: shrink(tile, spectrum), halo=16, tile=1024)


def shrink(tile: np.ndarray, spectrum: np.ndarray, *, hard: float = 2.7, step: int = 2) -> np.ndarray:
    """float32 (h, w, 3) 0..1 -> the same without what noise of this spectrum (3, 8, 8) explains."""
    h, w = tile.shape[:2]
    planes = np.ascontiguousarray((tile.reshape(-1, 3) @ OPPONENT.T).T).reshape(3, h, w)
    pilot = kernels.shrink_blocks(planes, _NONE, spectrum, step=step, hard=hard)
    clean = kernels.shrink_blocks(planes, pilot, spectrum, step=step, hard=0.0)
    return (clean.reshape(3, -1).T @ OPPONENT).reshape(h, w, 3)
