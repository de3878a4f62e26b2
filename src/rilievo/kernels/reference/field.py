"""The hash encoding and the networks of a radiance field in NumPy. See native/field.h.

Values follow the dtype of `table`: float64 for derivatives, float32 as the native kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

ROW, OUT, DIRECTION, COLOR_IN = 4, 16, 16, 32
MAX_LOG_DENSITY = 15.0
_PRIMES = (1, 2654435761, 805459861)


@dataclass(frozen=True)
class Layers:
    """The matrices of both networks, as views of the weights."""

    density1: np.ndarray
    density2: np.ndarray
    color1: np.ndarray
    color2: np.ndarray
    color3: np.ndarray


def split_weights(weights: np.ndarray, num_levels: int, density_width: int, color_width: int) -> Layers:
    """Raises ValueError when the length is wrong."""
    d, c = density_width, color_width
    shapes = ((ROW * num_levels, d), (d, OUT), (COLOR_IN, c), (c, c), (c, OUT))
    ends = np.cumsum([n * m for n, m in shapes])
    if len(weights) != ends[-1]:
        raise ValueError("weights must have the sizes of the networks")
    return Layers(*[w.reshape(s) for w, s in zip(np.split(weights, ends[:-1]), shapes)])


def check_levels(levels: np.ndarray, table: np.ndarray) -> None:
    """Raises ValueError when the rows of the levels are not those of the table."""
    if len(levels) not in (4, 8, 12, 16):
        raise ValueError("there must be 4, 8, 12 or 16 levels")
    first = 0
    for resolution, begin, rows, hashed in levels.tolist():
        if not 1 <= resolution <= 1 << 20:
            raise ValueError("resolutions must be 1 to 2^20")
        if begin != first or rows < 1:
            raise ValueError("levels must follow each other in the table")
        if hashed and rows & (rows - 1):
            raise ValueError("a hashed level must have a power of two of rows")
        if not hashed and (resolution + 1) ** 3 > rows:
            raise ValueError("a level that is not hashed needs a row for every corner")
        first += rows
    if first != len(table):
        raise ValueError("the table must have the rows of its levels")


def corners(level: np.ndarray, u: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row in the table (n) and trilinear weight (n) of each of the eight corners of a level's cell around u (n, 3)."""
    resolution, first, rows, hashed = (int(x) for x in level)
    x = np.clip(np.nan_to_num(u * u.dtype.type(resolution), nan=0.0), 0, resolution)
    cell = np.minimum(x.astype(np.int32), resolution - 1)
    f = x - cell.astype(u.dtype)
    one = u.dtype.type(1)
    for k in range(8):
        step = np.array([k & 1, k >> 1 & 1, k >> 2])
        w = np.where(step, f, one - f)
        at = (cell + step).astype(np.uint64)
        if hashed:
            h = at * np.array(_PRIMES, np.uint64)
            row = (h[:, 0] ^ h[:, 1] ^ h[:, 2]) & np.uint64(rows - 1)
        else:
            side = np.uint64(resolution + 1)
            row = at[:, 0] + side * (at[:, 1] + side * at[:, 2])
        yield row.astype(np.int64) + first, w[:, 0] * (w[:, 1] * w[:, 2])


def field_encode(levels: np.ndarray, table: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Features (n, 4 levels) of points u (n, 3) in [0, 1]^3 (Mueller et al. 2022, section 3, eq. 4).

    levels: int32 (l, 4), see `types.Field`.  table: float32 (rows, 4). Points outside are moved to the border, NaN to
    0. Raises ValueError when the rows of the levels are not those of the table.
    """
    check_levels(levels, table)
    u = u.astype(table.dtype)
    features = np.zeros((len(u), len(levels), ROW), table.dtype)
    for v, level in enumerate(levels):
        for row, weight in corners(level, u):
            features[:, v] += table[row] * weight[:, None]
    return features.reshape(len(u), ROW * len(levels))


def density_forward(layers: Layers, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hidden values, outputs (n, 16) and density (n)."""
    hidden = np.maximum(features @ layers.density1, 0)
    out = hidden @ layers.density2
    return hidden, out, np.exp(np.clip(out[:, 0], -MAX_LOG_DENSITY, MAX_LOG_DENSITY))


def field_density(
    levels: np.ndarray, density_width: int, color_width: int, table: np.ndarray, weights: np.ndarray, u: np.ndarray
) -> np.ndarray:
    """Density (n), per unit of length, at u (n, 3) in [0, 1]^3: the exponential of the density network's first output,
    clamped to e^-15 .. e^15."""
    layers = split_weights(weights, len(levels), density_width, color_width)
    return density_forward(layers, field_encode(levels, table, u))[2]
