"""Gaussians as the kernels want them: rows of 64 numbers (see native/splats.h), from and to `Splats`."""

from __future__ import annotations

import numpy as np

from rilievo.types import Splats

ROW = 64
MEAN, LOGIT, QUAT, SCALE, FILTER, HARMONICS = slice(0, 3), 3, slice(4, 8), slice(8, 11), 11, 16
MAX_LOGIT = 12.0


def rows_of(splats: Splats) -> np.ndarray:
    """float32 (n, 64); means are relative to the splats' origin."""
    rows = np.zeros((len(splats.means), ROW), np.float32)
    rows[:, MEAN] = splats.means
    opacity = np.clip(splats.opacities.astype(np.float64), 1e-7, 1 - 1e-7)
    rows[:, LOGIT] = np.clip(np.log(opacity / (1 - opacity)), -MAX_LOGIT, MAX_LOGIT)
    rows[:, QUAT] = splats.quats
    rows[:, SCALE] = np.log(np.maximum(splats.scales.astype(np.float64), 1e-30))
    count = splats.sh.shape[1] * 3
    rows[:, HARMONICS : HARMONICS + count] = splats.sh.reshape(len(rows), count)
    return rows


def splats_of(
    rows: np.ndarray, *, degree: int, antialiased: bool, background: tuple[float, float, float], origin: np.ndarray
) -> Splats:
    """The Gaussians of rows (n, 64), the 3D filter worked into their scales and opacities (Yu et al. 2024, eq. 8)."""
    wide = rows.astype(np.float64)
    raw = np.exp(2 * wide[:, SCALE])
    variance = raw + wide[:, FILTER : FILTER + 1]
    opacity = 1 / (1 + np.exp(-wide[:, LOGIT])) * np.sqrt(np.prod(raw / variance, 1))
    quats = wide[:, QUAT] / np.linalg.norm(wide[:, QUAT], axis=1, keepdims=True)
    count = (degree + 1) ** 2
    return Splats(
        np.ascontiguousarray(rows[:, MEAN], np.float32),
        quats.astype(np.float32),
        np.sqrt(variance).astype(np.float32),
        opacity.astype(np.float32),
        np.ascontiguousarray(rows[:, HARMONICS : HARMONICS + 3 * count].reshape(-1, count, 3), np.float32),
        antialiased,
        background,
        np.asarray(origin, np.float64),
    )
