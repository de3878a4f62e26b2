"""Which space is empty because photos look through it: in front of points that they are known to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rilievo.types import View

SHARE = 0.93  # of the depth of the nearest point: up to there it is empty, with room for errors of the points
GAPS, FURTHEST = (2, 4, 8), 0.06  # blocks, and share of the photo: so far around points tell, where none is nearer
NEAR_SHARE = 0.8  # of the depth of nearly all points of a photo: nothing is nearer, where no point tells
LEAST_SKY = 0.02  # share of all pixels that makes a background
FEWEST = 30  # points that can tell
PER_BLOCK = 4  # points in a block of pixels, on average
WINDOWS = (0, 1, 2, 4, 8, 16, 32)  # blocks around a block


@dataclass(frozen=True)
class Front:
    """How far a photo is known to look.

    free: float32 (windows, h, w), for each block of `step` px the depth up to which all blocks within WINDOWS of it are
    empty, world units.  near: the same for the whole photo.  blind: bool (h, w), where no point is anywhere around.
    """

    free: np.ndarray
    step: int
    near: float
    blind: np.ndarray

    def rules_out(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, size: np.ndarray, reach: np.ndarray) -> np.ndarray:
        """Whether what lies within `size` of points (n) that the photo shows at pixels x, y at depth z is empty.
        reach: `size` in pixels there."""
        windows, h, w = self.free.shape
        which = np.searchsorted(np.array(WINDOWS), np.ceil(reach / self.step)).clip(max=windows)
        column = np.clip(x / self.step, 0, w - 1).astype(np.int32)
        row = np.clip(y / self.step, 0, h - 1).astype(np.int32)
        free = np.where(which < windows, self.free[np.minimum(which, windows - 1), row, column], np.float32(self.near))
        return z + size < free


def fronts(views: Sequence[View], seen: Sequence[np.ndarray] | None) -> list[Front | None]:
    """What each view looks through. seen: for each view the points, float64 (n, 3) in the world, that it sees; too few
    tell nothing."""
    if seen is None:
        return [None] * len(views)
    return [_front(v, points) for v, points in zip(views, seen, strict=True)]


def _front(view: View, points: np.ndarray) -> Front | None:
    from scipy.ndimage import minimum_filter

    c = view.camera
    p = points @ view.cam_from_world[:, :3].T + view.cam_from_world[:, 3]
    p = p[p[:, 2] > 1e-9]
    x, y = c.fx * p[:, 0] / p[:, 2] + c.cx, c.fy * p[:, 1] / p[:, 2] + c.cy
    inside = (x >= 0) & (y >= 0) & (x < c.width) & (y < c.height)
    x, y, z = x[inside], y[inside], p[inside, 2]
    if len(z) < FEWEST:
        return None
    step = int(np.clip(np.ceil(np.sqrt(PER_BLOCK * c.width * c.height / len(z))), 4, max(c.width, c.height) / 8))
    h, w = -(-c.height // step), -(-c.width // step)
    depth = np.full((h, w), np.inf)
    np.minimum.at(depth, ((y / step).astype(int), (x / step).astype(int)), z)
    # A block is as near as its nearest neighbour: points do not reach to the rims of things. Where it has none, what is
    # a little further around counts, and at last what is nearest in the whole photo.
    free = minimum_filter(depth, 3)
    for reach in (g for g in GAPS if g * step <= FURTHEST * max(c.width, c.height)):
        free = np.where(np.isfinite(free), free, minimum_filter(depth, 2 * reach + 1))
    nearest = float(np.quantile(z, 0.01))
    blind = ~np.isfinite(free)
    free = np.where(blind, NEAR_SHARE * nearest, SHARE * free)
    windows = np.stack([minimum_filter(free, 2 * k + 1) for k in WINDOWS]).astype(np.float32)
    return Front(windows, step, NEAR_SHARE * nearest, blind)


def sky_color(views: Sequence[View], seen: Sequence[np.ndarray]) -> tuple[float, float, float] | None:
    """The mean colour 0..1 of where no point is anywhere around: the sky, mostly; None where that is little."""
    total, count, pixels = np.zeros(3), 0, 0
    for view, front in zip(views, fronts(views, seen), strict=True):
        h, w = view.pixels.shape[:2]
        pixels += h * w
        if front is None:
            continue
        blind = front.blind.repeat(front.step, 0).repeat(front.step, 1)[:h, :w]
        if view.mask is not None:
            blind = blind & view.mask
        total += view.pixels[blind].sum(0, dtype=np.int64)
        count += int(blind.sum())
    if count < LEAST_SKY * pixels:
        return None
    r, g, b = (float(x) for x in np.round(total / count / 255, 4))
    return r, g, b
