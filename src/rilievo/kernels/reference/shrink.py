"""Plain NumPy twin of the kernel `shrink_blocks`: noise removed from overlapping blocks by their cosine transform.

Yu & Sapiro 2011 (IPOL); with a pilot the empirical Wiener filter of Dabov et al. 2007 (eq. 9) on single blocks.
"""

from __future__ import annotations

import numpy as np

_k = np.arange(8)
COSINE = (np.sqrt(np.where(_k, 2, 1) / 8)[:, None] * np.cos(np.pi * np.outer(_k, 2 * _k + 1) / 16)).astype(np.float32)


def shrink_blocks(planes: np.ndarray, pilot: np.ndarray, sigma: np.ndarray, step: int, hard: float) -> np.ndarray:
    """float32 (c, h, w): the planes without what their noise explains.

    planes: float32 (c, h, w), at least 8 x 8.  pilot: a first estimate of the same shape, or float32 (0, 0, 0).
    sigma: float32 (c, 8, 8), standard deviation of the noise in each coefficient of a block.  step: distance of blocks
    (1 to 8); the last row and column of blocks touch the border.  hard: without a pilot, coefficients below
    hard * sigma become zero; the mean of a block always stays. Blocks count the more, the fewer coefficients they keep.
    """
    channels, h, w = planes.shape
    if h < 8 or w < 8 or channels < 1:
        raise ValueError("planes must have at least 8 x 8 pixels")
    if pilot.size and pilot.shape != planes.shape:
        raise ValueError("pilot and planes differ in size")
    if sigma.shape != (channels, 8, 8):
        raise ValueError("sigma needs a row for each plane")
    if not 1 <= step <= 8:
        raise ValueError("step must be 1 to 8")
    if not hard >= 0:
        raise ValueError("hard must not be negative")
    total, weight = np.zeros_like(planes), np.zeros_like(planes)
    for y in sorted({*range(0, h - 8, step), h - 8}):
        for x in sorted({*range(0, w - 8, step), w - 8}):
            at = np.s_[:, y : y + 8, x : x + 8]
            c = COSINE @ planes[at] @ COSINE.T
            if pilot.size:
                p = (COSINE @ pilot[at] @ COSINE.T) ** 2
                gain = p / (p + sigma**2 + np.float32(1e-12))
            else:
                gain = (np.abs(c) > np.float32(hard) * sigma).astype(np.float32)
            gain[:, 0, 0] = 1
            share = 1 / (gain**2).sum((1, 2), keepdims=True)
            total[at] += share * (COSINE.T @ (gain * c) @ COSINE)
            weight[at] += share
    return total / weight
