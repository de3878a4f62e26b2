"""Values as numbers of a table (vector quantisation, Gersho & Gray 1992), and an order that keeps neighbours together.

No randomness and no library that sums in an order of its own: the same values give the same tables on every machine.
"""

from __future__ import annotations

import numpy as np

_AXES = 16


def line(values: np.ndarray, size: int = 256, rounds: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """(ascending table float64 (size,), uint8 codes of the shape of `values`) for numbers of any shape.

    Lloyd's algorithm in one dimension, exact in each round: the values are sorted once, so that the cells are ranges
    and their means come from running sums. It starts halfway between equal counts and equal steps, which serves both
    the crowd and the tails.
    """
    flat = np.sort(np.asarray(values, np.float64), axis=None)
    table = 0.5 * flat[np.linspace(0, len(flat) - 1, size).astype(np.int64)] + 0.5 * np.linspace(
        flat[0], flat[-1], size
    )
    sums = np.concatenate([[0.0], np.cumsum(flat - flat[0])])
    for _ in range(rounds):
        edges = np.searchsorted(flat, 0.5 * (table[1:] + table[:-1]))
        begin, end = np.concatenate([[0], edges]), np.concatenate([edges, [len(flat)]])
        filled = end > begin
        means = flat[0] + (sums[end] - sums[begin]) / np.maximum(end - begin, 1)
        table = np.sort(np.where(filled, means, table))
    table = table.astype(np.float32).astype(np.float64)
    codes = np.searchsorted(0.5 * (table[1:] + table[:-1]), np.asarray(values, np.float64).ravel(), side="right")
    return table, codes.astype(np.uint8).reshape(np.shape(values))


def palette(rows: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(centres float64 (m, d), labels int64 (n,)) with m at most `size` for rows (n, d).

    Tree-structured: in each round every cell of more than one row is cut at its mean across the coordinate in which it
    spreads most; cells that spread most go first where not all may be cut. Coordinates are turned to the 16 principal
    axes of largest variance first, which makes cuts across one coordinate good ones.
    """
    rows = np.asarray(rows, np.float64)
    centered = rows - rows.mean(0)
    axes = _principal_axes(centered)
    turned = np.zeros((len(rows), min(rows.shape[1], _AXES)))
    for i in range(turned.shape[1]):
        for j in range(rows.shape[1]):
            turned[:, i] += axes[j, i] * centered[:, j]
    labels = np.zeros(len(rows), np.int64)
    num = 1
    while num < min(size, len(rows)):
        order = np.argsort(labels, kind="stable")
        starts = np.searchsorted(labels[order], np.arange(num))
        counts = np.diff(np.append(starts, len(rows)))
        sorted_rows = turned[order]
        means = np.add.reduceat(sorted_rows, starts) / counts[:, None]
        spread = np.add.reduceat((sorted_rows - np.repeat(means, counts, 0)) ** 2, starts)
        axis = spread.argmax(1)
        most = spread.max(1)
        above = turned[np.arange(len(rows)), axis[labels]] > means[labels, axis[labels]]
        num_above = np.bincount(labels[above], minlength=num)
        most[(num_above == 0) | (num_above == counts)] = 0  # equal rows
        chosen = np.argsort(-most, kind="stable")[: size - num]
        chosen = np.sort(chosen[most[chosen] > 0])
        if not len(chosen):
            break
        child = np.full(num, -1)
        child[chosen] = num + np.arange(len(chosen))
        labels = np.where(above & (child[labels] >= 0), child[labels], labels)
        num += len(chosen)
    order = np.argsort(labels, kind="stable")
    used, starts = np.unique(labels[order], return_index=True)
    centers = np.add.reduceat(rows[order], starts) / np.diff(np.append(starts, len(rows)))[:, None]
    return centers, np.searchsorted(used, labels)


def _principal_axes(centered: np.ndarray) -> np.ndarray:
    """Orthogonal matrix (d, d), columns by falling variance; rounded, so that no last bit of a library decides."""
    d = centered.shape[1]
    covariance = np.zeros((d, d))
    for i in range(d):
        covariance[i] = (centered[:, i : i + 1] * centered).sum(0)
    _, vectors = np.linalg.eigh(covariance)
    vectors = vectors[:, ::-1]
    sign = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(d)])
    return np.round(vectors * sign, 6)


def morton_order(points: np.ndarray) -> np.ndarray:
    """int64 (n,): the order of points (n, 3) along a Morton curve (Morton 1966) of 2^21 steps an axis."""
    p = np.asarray(points, np.float64)
    low, size = p.min(0), max(float(np.ptp(p, axis=0).max()), 1e-300)
    cells = np.clip((p - low) / size * (2**21 - 1), 0, 2**21 - 1).astype(np.uint64)
    key = np.zeros(len(p), np.uint64)
    for axis in range(3):
        x = cells[:, axis]
        for shift, mask in (
            (32, 0x1F00000000FFFF),
            (16, 0x1F0000FF0000FF),
            (8, 0x100F00F00F00F00F),
            (4, 0x10C30C30C30C30C3),
            (2, 0x1249249249249249),
        ):
            x = (x | x << np.uint64(shift)) & np.uint64(mask)
        key |= x << np.uint64(axis)
    return np.argsort(key, kind="stable")
