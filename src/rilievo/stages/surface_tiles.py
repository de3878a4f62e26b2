"""Pieces of space for scenes that are too large for one tetrahedralisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Tile:
    """A box low <= place < high that belongs to one tile (open to infinity at the scene's ends), and the points that
    take part: those within the box and around it, and a few of all the others. members int64, ascending."""

    low: np.ndarray
    high: np.ndarray
    members: np.ndarray

    def owns(self, places: np.ndarray) -> np.ndarray:
        """bool (n,): whose place is in the box."""
        return np.asarray(((places >= self.low) & (places < self.high)).all(axis=1))


def cut_tiles(points: np.ndarray, reach: np.ndarray, max_points: int, stride: int) -> list[Tile]:
    """Boxes with at most `max_points` of the points float64 (n, 3), cut at the middle point along their longest side.

    reach float64 (n,): how far around a tile a point matters; the widest that is usual in a tile counts. Of the points
    beyond that, each `stride`-th takes part (0: none), so that every tile knows the whole scene coarsely.
    One tile with all points where they are few enough (or max_points is 0).
    """
    everywhere = np.full(3, np.inf)
    if max_points <= 0 or len(points) <= max_points:
        return [Tile(-everywhere, everywhere, np.arange(len(points)))]
    tiles: list[Tile] = []
    pending = [(-everywhere, everywhere, np.arange(len(points)))]
    while pending:
        low, high, inside = pending.pop()
        extent = np.ptp(points[inside], axis=0)
        axis = int(extent.argmax())
        if len(inside) <= max_points or extent[axis] <= 0:
            margin = float(np.quantile(reach[inside], 0.9))
            near = np.asarray(((points >= low - margin) & (points < high + margin)).all(axis=1))
            if stride:
                near[::stride] = True
            tiles.append(Tile(low, high, np.flatnonzero(near)))
            continue
        along = points[inside, axis]
        middle = float(np.partition(along, len(along) // 2)[len(along) // 2])
        if middle == along.min():  # many points in one place: the cut must leave something on either side
            middle = float(along[along > middle].min())
        below, above = high.copy(), low.copy()
        below[axis] = above[axis] = middle
        lower = along < middle
        pending.append((above, high, inside[~lower]))
        pending.append((low, below, inside[lower]))
    return tiles
