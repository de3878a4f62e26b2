"""A relief that can be printed: what a photo shows as a closed body of given width on a plate.

As a sculptor's bas-relief, not to scale in depth: steps between things are made smaller, the shape of each is kept
(gradients compressed, then integrated: Weyrich et al. 2007, "Digital Bas-Relief from 3D Scenes", sections 4 and 5;
the Poisson equation is solved by cosine transforms).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rilievo.stages import relief_grid as grids
from rilievo.stages.relief import Surface
from rilievo.stages.relief_shape import Tears
from rilievo.types import Mesh


@dataclass(frozen=True)
class SolidConfig:
    """Settings of `relief_solid`."""

    version: ClassVar[int] = 1

    width_mm: float = 100.0
    """width of the whole body"""
    depth_mm: float | None = None
    """height of the relief above the plate (default: an eighth of the smaller side)"""
    base_mm: float = 2.0
    """thickness of the plate"""
    max_size: int = 800
    """longer side of the grid of heights, pixels"""
    soft_step: float = 3.0
    """steps many times as steep as this, in terms of the mean slope, are made smaller"""
    tolerance_mm: float = 0.02
    """by how much triangles may depart from the heights"""


def relief_solid(surface: Surface, *, config: SolidConfig | None = None) -> Mesh:
    """The body in mm: x right, y up in the picture, z towards the viewer; its underside lies on z = 0. Closed, every
    edge has two faces.

    Where the photo gave no depth (sky) the plate is bare. Raises ValueError when there is no depth at all, or a length
    is not positive.
    """
    import cv2

    config = config or SolidConfig()
    inverse, known = surface.inverse, surface.known
    if not known.any() or min(known.shape) < 2:
        raise ValueError("no depth to make a relief of")
    factor = config.max_size / max(known.shape)
    if factor < 1:
        height, width = (max(2, round(n * factor)) for n in known.shape)
        known = cv2.resize(known.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        inverse = cv2.resize(inverse, (width, height), interpolation=cv2.INTER_AREA)
    height, width = known.shape
    scale = config.width_mm / (width - 1)
    depth_mm = config.depth_mm or min(config.width_mm, scale * (height - 1)) / 8
    if not (config.width_mm > 0 and depth_mm > 0 and config.base_mm > 0):
        raise ValueError("width, depth and base must be more than 0 mm")
    heights = relief_heights(inverse, known, config.soft_step) * np.float32(depth_mm)
    return _closed(heights, scale, config)


def relief_heights(inverse: np.ndarray, known: np.ndarray, soft_step: float) -> np.ndarray:
    """Heights 0..1 float32 (h, w) of the relief; 0 where depth is unknown."""
    if known.any():
        low, high = (float(q) for q in np.quantile(inverse[known], [0.005, 0.998]))
    else:
        low, high = 0.0, 1.0
    span = high - low
    if not span > 1e-6 * high:
        return known.astype(np.float32)
    value = np.clip((inverse - np.float32(low)) / np.float32(span), 0, 1)
    value[~known] = 0
    across, down = np.diff(value, axis=1), np.diff(value, axis=0)
    mean = float((np.abs(across).mean(dtype=np.float64) + np.abs(down).mean(dtype=np.float64)) / 2)
    limit = np.float32(max(soft_step * mean, 1e-9))
    across, down = (np.sign(g) * limit * np.log1p(np.abs(g) / limit) for g in (across, down))
    out = _integrate(across, down)
    out -= np.quantile(out[known], 0.002) - (0.02 if not known.all() else 0.0)
    out /= max(float(np.quantile(out[known], 0.999)), 1e-9)
    return np.where(known, np.clip(out, 0, 1), 0).astype(np.float32)


def _integrate(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The heights whose differences are nearest to these (least squares), free borders; mean 0."""
    from scipy.fft import dctn, idctn

    height, width = down.shape[0] + 1, across.shape[1] + 1
    divergence = np.zeros((height, width), np.float64)
    divergence[:, :-1] += across
    divergence[:, 1:] -= across
    divergence[:-1] += down
    divergence[1:] -= down
    row, column = np.ogrid[:height, :width]
    eigen = 2 * np.cos(np.pi * row / height) + 2 * np.cos(np.pi * column / width) - 4
    eigen[0, 0] = 1
    spectrum = dctn(divergence, norm="ortho") / eigen
    spectrum[0, 0] = 0
    return np.asarray(idctn(spectrum, norm="ortho"))


def _closed(heights: np.ndarray, scale: float, config: SolidConfig) -> Mesh:
    height, width = heights.shape
    whole = np.ones(heights.shape, bool)
    nowhere = Tears(np.zeros((height, width - 1), bool), np.zeros((height - 1, width), bool))
    # As inverse depths near 1, of which the grid measures bending relative to their size.
    small = np.float32(0.1 / max(float(heights.max()), 1e-6))
    grid = grids.triangulate(
        1 + small * heights,
        whole,
        nowhere,
        max_bend=float(small) * config.tolerance_mm,
        max_slide_px=np.inf,
        smoothing=0,
    )
    row, column = np.divmod(grid.home, width)
    top = np.stack([column * scale, (height - 1 - row) * scale, config.base_mm + heights[row, column]], 1)
    num = len(top)
    edges = np.concatenate([grid.faces[:, [0, 1]], grid.faces[:, [1, 2]], grid.faces[:, [2, 0]]]).astype(np.int64)
    forward, backward = edges[:, 0] * num + edges[:, 1], edges[:, 1] * num + edges[:, 0]
    a, b = edges[~np.isin(forward, backward)].T
    rim = np.unique(a)
    under = np.full(num, -1, np.int64)
    under[rim] = num + np.arange(len(rim))
    middle = num + len(rim)
    bottom = top[rim] * [1, 1, 0]
    centre = np.array([[(width - 1) * scale / 2, (height - 1) * scale / 2, 0]])
    sides = [np.stack([b, a, under[a]], 1), np.stack([b, under[a], under[b]], 1)]
    floor = np.stack([under[b], under[a], np.full(len(a), middle)], 1)
    faces = np.concatenate([grid.faces, *sides, floor]).astype(np.int32)
    return Mesh(np.concatenate([top, bottom, centre]).astype(np.float32), faces)


def open_edges(mesh: Mesh) -> int:
    """Number of edges that do not lie between exactly two faces of opposite direction: 0 for a closed body."""
    f = mesh.faces.astype(np.int64)
    start, end = f.ravel(), f[:, [1, 2, 0]].ravel()
    num = len(mesh.vertices)
    forward, backward = np.sort(start * num + end), np.sort(end * num + start)
    repeated = int((np.diff(forward) == 0).sum())
    return repeated + int((~np.isin(forward, backward)).sum())


def volume(mesh: Mesh) -> float:
    """Of a closed body, in its unit cubed; positive when its faces look outwards."""
    x = mesh.vertices.astype(np.float64)[mesh.faces]
    return float(np.einsum("ij,ij->", x[:, 0], np.cross(x[:, 1], x[:, 2])) / 6)
