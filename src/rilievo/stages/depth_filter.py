"""Depth maps held against each other: what others confirm stays, with a standard deviation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rilievo import kernels
from rilievo.stages import planes as pl
from rilievo.stages.depth import DepthConfig
from rilievo.types import DepthMap

# Variances that make up sigma^2, as multiples of: the variance that the match itself states; that of the map's
# roughness; that of the other maps' disagreement. Found on two scenes with known depth (bench/sigma.py: idol and
# slant@known), checked on others.
MATCH, ROUGHNESS, SPREAD = 0.02, 0.65, 0.35
# Distance of the neighbours that roughness is measured against, px, and the relative step in depth above which a
# difference is an edge rather than an error.
REACH_PX, EDGE = 3, 0.02


@dataclass(frozen=True)
class CheckConfig(DepthConfig):
    """The same settings under the version of the check, whose answer changes without that of the matching."""

    version: ClassVar[int] = 6


def filter_depth(depth_map: DepthMap, others: Iterable[DepthMap], *, config: DepthConfig | None = None) -> DepthMap:
    """The map with only those pixels that other maps confirm.

    A pixel stays when at least `min_agreeing` others give its point the same place (within `max_error_px` and
    `max_relative`), and not more of them look through it. Islands below `min_piece_px` go. Confidence grows with the
    number of photos that agree. Inferred pixels need no agreement, only that not more others look through them than
    agree. `others` is read once, in order, one at a time: it may be a generator.

    Sigma is put together from what the match says of itself, from how rough the map is (`roughness`), and from how far
    the others' depths are from this one: each sees errors that the rest cannot see. It is that of depth for given
    cameras; errors of the cameras come on top (`stages.camera_sigma`).
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
        difference = np.where(agrees, there - depth_map.depth, np.float32(0.0))
        spread += difference * difference
    needed = max(1, min(config.min_agreeing, num_others - 1))
    keep = (agreeing >= needed) & (agreeing >= through)
    # Seen by two photos only: enough where the match itself is good and nobody objects.
    keep |= (agreeing == 1) & (through == 0) & (depth_map.confidence > config.min_confidence)
    if depth_map.inferred is not None:
        keep |= depth_map.inferred & (agreeing >= through) & np.isfinite(depth_map.depth)
    depth = np.where(keep, depth_map.depth, np.float32(np.nan))
    pieces = kernels.depth_pieces(depth, max_relative=2 * config.max_relative)
    keep &= pieces >= config.min_piece_px
    depth = np.where(keep, depth_map.depth, np.float32(np.nan))
    match = depth_map.sigma**2
    rough = roughness(depth) * depth
    variance = MATCH * match + ROUGHNESS * rough**2 + SPREAD * spread / np.maximum(agreeing, 1)
    # Alone among unknown pixels, nothing but the match's own word is there to go by.
    variance = np.where(np.isfinite(rough), variance, match + SPREAD * spread / np.maximum(agreeing, 1))
    if depth_map.inferred is not None:  # a prior knows best how far it can be off
        variance = np.where(depth_map.inferred, np.maximum(match, variance), variance)
    support = agreeing / (agreeing + 1.0) * np.clip(1.0 - through / np.maximum(agreeing + through, 1), 0.0, 1.0)
    if depth_map.inferred is not None:
        support = np.where(depth_map.inferred, np.maximum(support, 0.5), support)
    nan = np.float32(np.nan)
    return DepthMap(
        depth_map.name, depth_map.camera, depth_map.cam_from_world, depth,
        np.where(keep[..., None], depth_map.normals, nan),
        np.where(keep, depth_map.confidence * support, 0.0).astype(np.float32),
        np.where(keep, np.sqrt(variance), nan).astype(np.float32), depth_map.sources, depth_map.inferred,
    )  # fmt: skip


def roughness(depth: np.ndarray) -> np.ndarray:
    """Noise of a depth map as a share of its depth, float32 (h, w), NaN where no two opposite neighbours are known.

    Inverse depth of a plane is linear in pixels: where a pixel's differs from the mean of two opposite neighbours',
    that is noise, or shape that a matching window smooths over. Root mean square over four directions, scaled to the
    standard deviation of one pixel; steps at edges count as `EDGE` at most.
    """
    h, w = depth.shape
    r = REACH_PX
    out = np.full((h, w), np.nan, np.float32)
    if h <= 2 * r or w <= 2 * r:
        return out
    inverse = np.full((h + 2 * r, w + 2 * r), np.nan, np.float32)
    np.divide(np.float32(1.0), depth, out=inverse[r : r + h, r : r + w])
    total, count = np.zeros((h, w), np.float32), np.zeros((h, w), np.float32)
    for dy, dx in ((0, r), (r, 0), (r, r), (r, -r)):
        before = inverse[r - dy : r - dy + h, r - dx : r - dx + w]
        after = inverse[r + dy : r + dy + h, r + dx : r + dx + w]
        second = (before + after) * depth - np.float32(2.0)
        known = np.isfinite(second)
        second[~known] = 0.0
        total += np.minimum(second * second * np.float32(1 / 6), np.float32(EDGE**2))
        count += known
    return np.sqrt(np.divide(total, count, out=out, where=count > 0), out=out)
