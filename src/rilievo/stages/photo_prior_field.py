"""A smooth correction that makes a network's depth meet confirmed depth, and what it is worth where it was not told.

The correction is of log inverse depth, on a small grid: the minimiser of

    sum_known weight (c - r)^2  +  sum_neighbours g (c - c')^2  +  pull sum c^2,

a membrane through the residuals r of the confirmed cells (Levin et al. 2004 spread colours so; Pérez et al. 2003 close
holes so). g falls where the network sees a depth jump: what is wrong with a vase says nothing about the wall behind it.
`pull` lets it fade to nothing far from everything.

Its error is measured, not assumed: cells in the fields of checkerboards of several sizes are hidden, predicted from the
rest, and what they turn out to be off by is told by their distance from what was not hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Cells:
    """The picture on a small grid (h, w). log_inverse: of the network's depth laid on, NaN where it sees none.
    residual: log of confirmed inverse depth minus that, NaN unknown.  weight: confirmed pixels, as a share of a cell.
    size: of a cell, px."""

    log_inverse: np.ndarray
    residual: np.ndarray
    weight: np.ndarray
    size: int


@dataclass(frozen=True)
class Trust:
    """Relative standard deviation `sigma` (k,) of corrected depth at `distance` (k,), in cells, from the nearest
    confirmed cell; both rise.  Beyond the last distance nothing was tested.  num_tests: hidden cells."""

    distance: np.ndarray
    sigma: np.ndarray
    num_tests: int

    def at(self, distance: np.ndarray) -> np.ndarray:
        """Interpolated; infinite beyond what was tested."""
        if not len(self.distance):
            return np.full(np.shape(distance), np.inf)
        return np.where(distance <= self.distance[-1], np.interp(distance, self.distance, self.sigma), np.inf)


def gather_cells(log_inverse: np.ndarray, residual: np.ndarray, size: int) -> Cells:
    """Means (of the residual: the mean of the middle half) of cells of size x size pixels; both (h, w), NaN unknown."""
    h, w = (-(-n // size) for n in log_inverse.shape)
    padded = []
    for values in (log_inverse, residual):
        out = np.full((h * size, w * size), np.nan)
        out[: values.shape[0], : values.shape[1]] = values
        padded.append(out.reshape(h, size, w, size).transpose(0, 2, 1, 3).reshape(h, w, size * size))
    seen, known = (np.isfinite(p) for p in padded)
    mean = np.where(seen, padded[0], 0).sum(2) / np.maximum(seen.sum(2), 1)
    ordered = np.sort(padded[1], 2)  # NaN last
    count = known.sum(2)
    place = np.arange(size * size)
    middle = (place >= (count // 4)[..., None]) & (place < (count - count // 4)[..., None])
    value = np.where(middle, np.nan_to_num(ordered), 0).sum(2) / np.maximum(middle.sum(2), 1)
    return Cells(
        np.where(seen.sum(2) * 2 > size * size, mean, np.nan),
        np.where(count > 0, value, np.nan),
        count / (size * size),
        size,
    )


def solve_field(cells: Cells, known: np.ndarray, *, jump: float = 0.04, pull: float = 2e-4) -> np.ndarray:
    """The correction (h, w) of log inverse depth through the cells where `known`. jump: relative step of depth from
    cell to cell at which neighbours stop telling each other."""
    from scipy import sparse
    from scipy.sparse.linalg import splu

    h, w = known.shape
    index = np.arange(h * w).reshape(h, w)
    weight = np.where(known, 4.0 * cells.weight, 0.0).ravel()
    rows, columns, values = [], [], []
    diagonal = weight + pull
    base = np.where(np.isfinite(cells.log_inverse), cells.log_inverse, -50.0)
    for axis in (0, 1):
        i, j = (np.moveaxis(index, axis, 0)[s].ravel() for s in (slice(None, -1), slice(1, None)))
        step = np.abs(base.ravel()[i] - base.ravel()[j])
        g = 1e-4 + np.exp(-np.minimum((step / jump) ** 2, 50.0))
        rows += [i, j]
        columns += [j, i]
        values += [-g, -g]
        np.add.at(diagonal, i, g)
        np.add.at(diagonal, j, g)
    rows.append(np.arange(h * w))
    columns.append(np.arange(h * w))
    values.append(diagonal)
    shape = (h * w, h * w)
    matrix = sparse.csc_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape)
    right = weight * np.where(known, cells.residual, 0.0).ravel()
    solver = splu(matrix, permc_spec="COLAMD")
    return solver.solve(right).reshape(h, w)


def distance_from(known: np.ndarray) -> np.ndarray:
    """Distance in cells to the nearest known one."""
    import cv2

    if not known.any():
        return np.full(known.shape, np.inf)
    return cv2.distanceTransform((~known).astype(np.uint8), cv2.DIST_L2, 5).astype(np.float64)


def contradiction(field: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """By how much the network contradicts what surrounds a gap: the step that the correction (h, w) makes across it.

    A gap between a table's edge and the floor behind it is bridged by a ramp where the network saw no step there; the
    truth is the one or the other, anywhere in the gap. distance: of each cell from confirmed ones.
    """
    import cv2

    slope = np.hypot(*np.gradient(field)).astype(np.float32)
    width = cv2.dilate(np.minimum(distance, 1e6).astype(np.float32), np.ones((9, 9), np.uint8))
    return (cv2.dilate(slope, np.ones((5, 5), np.uint8)) * width).astype(np.float64)


def try_field(cells: Cells, known: np.ndarray) -> Trust:
    """Hides known cells and predicts them: fields of checkerboards of an eighth and a fourth of the picture."""
    h, w = known.shape
    y, x = np.indices((h, w))
    errors, distances, inner = [], [], []
    for part in (8, 4):
        side = max(max(h, w) // part, 3)
        for odd in (0, 1):
            hidden = known & ((y // side + x // side) % 2 == odd)
            kept = known & ~hidden
            if hidden.sum() < 10 or kept.sum() < 10:
                continue
            miss = np.abs(solve_field(cells, kept) - cells.residual)
            errors.append(miss[hidden])
            distances.append(distance_from(kept)[hidden])
            inner.append(miss[kept])
    if not errors:
        return Trust(np.zeros(0), np.zeros(0), 0)
    error, distance = np.concatenate(errors), np.concatenate(distances)
    at, spread = [0.0], [1.4826 * float(np.median(np.concatenate(inner)))]
    edges = np.unique(np.quantile(distance, np.linspace(0, 1, 9)))
    for low, high in pairwise(edges):
        here = (distance > low) & (distance <= high) if len(at) > 1 else (distance <= high)
        if here.sum() >= 10:
            at.append(float(np.median(distance[here])))
            spread.append(float(np.quantile(error[here], 0.68)))
    return Trust(np.array(at), np.maximum.accumulate(spread), len(error))
