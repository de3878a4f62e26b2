"""Rows of Gaussians before a camera, for tests of the kernels."""

from __future__ import annotations

import numpy as np

from rilievo import geometry

PLACED = geometry.look_at(np.array([0.4, -0.3, -0.2]), np.array([0.1, 0.0, 3.0]), up=(0.0, -1.0, 0.0))


def camera(width: int, height: int) -> np.ndarray:
    """fx fy cx cy, a little off the middle."""
    return np.array([1.1 * max(width, height), 1.05 * max(width, height), 0.48 * width, 0.53 * height])


def random_rows(n: int, seed: int = 0, *, width: float = 0.08, filtered: bool = False) -> np.ndarray:
    """Gaussians around (0, 0, 3), some out of the picture, some nearly opaque, `width` wide (standard deviation)."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((n, 64), np.float32)
    rows[:, :3] = rng.normal(size=(n, 3)) * [0.9, 0.8, 0.5] + [0, 0, 3]
    rows[:, 3] = rng.uniform(-3, 8, n)
    rows[:, 4:8] = rng.normal(size=(n, 4))
    rows[:, 8:11] = np.log(width) + rng.uniform(-1.3, 0.9, (n, 3))
    if filtered:
        rows[:, 11] = (0.5 * width) ** 2 * rng.uniform(0, 1, n)
    rows[:, 16:19] = rng.uniform(-1.7, 1.9, (n, 3))
    rows[:, 19:] = 0.3 * rng.normal(size=(n, 45))
    return rows


def few_rows(seed: int = 0, *, width: float, filtered: bool) -> np.ndarray:
    """Five Gaussians whose derivatives meet no corner: axes of clearly different length, normals not edge on, no colour
    near zero. The last one's middle is far out of the picture, the last but one has a colour below zero."""
    rng = np.random.default_rng(seed)
    rows = random_rows(5, seed, filtered=filtered)
    rows[:, :3] = [[0, 0, 2.6], [0.2, -0.2, 2.9], [-0.3, 0.15, 3.1], [0.1, 0.3, 3.4], [3.4, 0.3, 3.2]]
    rows[:, 3] = rng.uniform(-0.5, 1.2, 5)
    rows[:, 4:8] = [1, 0, 0, 0] + 0.35 * rng.normal(size=(5, 4))
    rows[:, 8:11] = np.log(width) + np.array([0.0, 0.35, -0.6]) + 0.1 * rng.normal(size=(5, 3))
    rows[4, 3], rows[4, 8:11] = 2, np.log([3.0, 4.5, 2.0])
    rows[:, 11] *= (width / 0.08) ** 2
    rows[:, 16:19] = rng.uniform(0.2, 1.7, (5, 3))
    rows[:, 19:] = 0.1 * rng.normal(size=(5, 45))
    rows[3, 17] = -4
    return rows
