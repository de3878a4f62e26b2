"""Depth maps held against each other: what others confirm stays, with a standard deviation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from rilievo import kernels
from rilievo.stages import planes as pl
from rilievo.stages.depth import DepthConfig
from rilievo.types import DepthMap


def filter_depth(depth_map: DepthMap, others: Iterable[DepthMap], *, config: DepthConfig | None = None) -> DepthMap:
    """The map with only those pixels that other maps confirm.

    A pixel stays when at least `min_agreeing` others give its point the same place (within `max_error_px` and
    `max_relative`), and not more of them look through it. Islands below `min_piece_px` go. Confidence grows with the
    number of photos that agree; sigma takes in how well they agree. `others` is read once, in order, one at a time: it
    may be a generator.
    """
    config = config or DepthConfig()
    shape = depth_map.depth.shape
    agreeing, through = np.zeros(shape, np.int16), np.zeros(shape, np.int16)
    spread = np.zeros(shape, np.float32)
    num_others = 0
    K = pl.index_matrix(depth_map.camera.K)
    for other in others:
        num_others += 1
        Ko = pl.index_matrix(other.camera.K)
        verdict, there = kernels.depth_agreement(
            depth_map.depth,
            other.depth,
            pl.projection(Ko, pl.relative(other, depth_map), K),
            pl.projection(K, pl.relative(depth_map, other), Ko),
            max_error_px=config.max_error_px,
            max_relative=config.max_relative,
        )
        agrees = verdict == 1
        agreeing += agrees
        through += verdict == 2
        difference = there[agrees] - depth_map.depth[agrees]
        spread[agrees] += difference * difference
    needed = max(1, min(config.min_agreeing, num_others - 1))
    keep = (agreeing >= needed) & (agreeing >= through)
    # Seen by two photos only: enough where the match itself is good and nobody objects.
    keep |= (agreeing == 1) & (through == 0) & (depth_map.confidence > config.min_confidence)
    depth = np.where(keep, depth_map.depth, np.float32(np.nan))
    pieces = kernels.depth_pieces(depth, max_relative=2 * config.max_relative)
    keep &= pieces >= config.min_piece_px
    # The difference of two maps has twice the variance of one. Maps that agree share their errors of matching: they
    # can show that a depth is less certain than its own match says, not that it is more.
    variance = np.maximum(depth_map.sigma**2, spread / (2 * np.maximum(agreeing, 1)))
    support = agreeing / (agreeing + 1.0) * np.clip(1.0 - through / np.maximum(agreeing + through, 1), 0.0, 1.0)
    nan = np.float32(np.nan)
    return DepthMap(
        depth_map.name, depth_map.camera, depth_map.cam_from_world,
        np.where(keep, depth_map.depth, nan), np.where(keep[..., None], depth_map.normals, nan),
        np.where(keep, depth_map.confidence * support, 0.0).astype(np.float32),
        np.where(keep, np.sqrt(variance), nan).astype(np.float32), depth_map.sources, depth_map.inferred,
    )  # fmt: skip
