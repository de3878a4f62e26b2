"""Scenes without number: each seed heaps other stones of other colours on a cloth, for measuring on new ones."""

from __future__ import annotations

import numpy as np

import scene_textures as tx
from scene_sets import Part, X, Y
from scene_shapes import box, ellipsoid, height_field, tube, turned


def heap(rng: np.random.Generator) -> tuple[list[Part], np.ndarray]:
    """A large stone or two in the middle, four to six smaller ones around, a bar, on printed paper or cloth."""
    kind = rng.integers(2)
    picture = tx.printed(rng, 1024, 1024) if kind else tx.cloth(rng, 1024)
    ground = tx.laid_flat(tx.Texture.of(picture, 1.7 / 1024), np.array([-0.85, 0.85, 0.0]), X, -Y)
    colors = [tuple(int(c) for c in rng.integers(70, 190, 3)) for _ in range(3)]
    stones = [tx.box_mapped(tx.Texture.of(tx.stone(rng, 512, c, 0.9), 0.0012)) for c in colors]
    line = np.linspace(-0.85, 0.85, 41)
    parts = [Part(height_field(line, line, np.zeros((41, 41))), ground)]
    w, d, h = rng.uniform([0.16, 0.12, 0.22], [0.26, 0.2, 0.45])
    turn = float(rng.uniform(0, 90))
    parts.append(Part(turned(box([-w, -d, 0], [w, d, h], 0.03, 0.015), turn, np.zeros(3)), stones[0]))
    top = rng.uniform([0.09, 0.09, 0.07], [0.16, 0.14, 0.14])
    parts.append(Part(ellipsoid(np.array([0.0, 0.0, h + 0.9 * top[2]]), top), stones[1]))
    for k in range(int(rng.integers(4, 7))):
        angle, away = 2 * np.pi * (k + rng.uniform(0, 0.6)) / 6, rng.uniform(0.36, 0.55)
        at = np.array([away * np.cos(angle), away * np.sin(angle), 0.0])
        size = rng.uniform(0.06, 0.13, 3)
        stone = stones[int(rng.integers(3))]
        if rng.random() < 0.5:
            parts.append(
                Part(
                    turned(box(-size * [1, 1, 0], size * [1, 1, 1.6], 0.03, 0.01), float(rng.uniform(0, 90)), at), stone
                )
            )
        else:
            parts.append(Part(ellipsoid(at + [0, 0, 0.8 * size[2]], size), stone))
    a = rng.uniform(0, 2 * np.pi)
    foot = np.array([0.3 * np.cos(a), 0.3 * np.sin(a), 0.0])
    parts.append(Part(tube(foot + np.outer(np.linspace(0, 0.5, 3), [0, 0, 1.0]), np.full(3, 0.02), 16), stones[2]))
    return parts, np.array([0.0, 0.0, 0.18])
