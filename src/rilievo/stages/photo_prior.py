"""Depth where nothing can be matched, from what a network sees in the single photo.

A network tells the shape of what one photo shows, roughly, and neither its scale nor where it lies. Both are taken from
what several photos confirm: scale and shift of inverse depth a photo (Ranftl et al. 2020, eq. 4, made robust), then a
smooth correction that meets confirmed depth at the border of a gap (`photo_prior_field`). How good the result is, is
tried in the same photo, on confirmed depth that was hidden; where that is too bad, or further from confirmed depth than
it could be tried, nothing is filled.

    lay_on -> ScaleFit -> fit_photo -> DepthMap of all that the network sees -> complete_depth -> the map, completed
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rilievo import kernels
from rilievo.stages import photo_prior_field as fields
from rilievo.stages import planes as pl
from rilievo.types import DepthMap, PhotoDepth, ScaleFit


@dataclass(frozen=True)
class PhotoPriorConfig:
    """Settings of `lay_on`, `fit_photo` and `complete_depth`."""

    version: ClassVar[int] = 1

    min_share: float = 0.02
    """share of the picture that must be confirmed by other photos"""
    max_spread: float = 0.25
    """relative standard deviation, after scale and shift, above which a network has not understood a photo"""
    min_contrast: float = 0.1
    """relative range of confirmed depth below which scale and shift cannot be told apart: a plane seen squarely"""
    max_blind: float = 0.8
    """share of the error of one depth for the whole photo that the network's must stay below"""
    grid: int = 192
    """cells along the longer side of the grid on which the correction is computed"""
    max_sigma: float = 0.02
    """relative standard deviation of depth above which a gap is left open"""
    margin: float = 1.5
    """by how much gaps are taken to be worse than what was confirmed and hidden for trying"""
    doubt: float = 1.0
    """share of the step that the correction makes across a gap which counts as possible error"""
    max_jump: float = 0.03
    """relative step of depth from pixel to pixel at which an outline is taken to run: nothing is filled there"""
    max_relative: float = 0.02
    """by how much of the depth another map may differ"""
    min_piece: float = 2e-4
    """smaller pieces are left open (share of the picture)"""
    confidence: float = 0.15
    """confidence of inferred depth"""


def lay_on(depth_map: DepthMap, seen: PhotoDepth, *, config: PhotoPriorConfig = PhotoPriorConfig()) -> ScaleFit:
    """Scale and shift that lay a network's disparity on the confirmed depth of the same view.

    depth_map: checked (`filter_depth`); what it holds as inferred is not used.  seen: of the same picture, any size.
    The unit of the result is "unknown": that of the cameras. Where the photo cannot be laid on, a is NaN and `method`
    is the reason, in words.
    """
    disparity, known = _both(depth_map, seen)
    num = int(known.sum())
    share = num / known.size
    if share < config.min_share:
        return _failed(f"only {100 * share:.1f} % of the photo is confirmed by other photos", num)
    step = max(1, num // 20_000)
    w = 1.0 / depth_map.depth[known][::step].astype(np.float64)
    d = disparity[known][::step].astype(np.float64)
    sigma = np.maximum(depth_map.sigma[known][::step].astype(np.float64) * w, 1e-4)
    a, b = _robust_line(d, w, sigma)
    laid = a * d + b
    good = laid > 0.05 * np.median(w)
    if not a > 0 or good.mean() < 0.7:
        return _failed("what the network calls near is confirmed to be far", num)
    residual = np.log(laid[good] / w[good])
    spread = 1.4826 * float(np.median(np.abs(residual - np.median(residual))))
    num_outliers = int((np.abs(residual) > 3.5 * max(spread, 0.01)).sum() + (~good).sum()) * step
    if spread > config.max_spread:
        return _failed(f"the network is off by {100 * spread:.0f} % where other photos confirm depth", num, spread)
    contrast = float(np.ptp(np.log(np.percentile(w, [2, 98]))))
    shift_known = contrast >= config.min_contrast
    log_w = np.log(w[good])
    blind = float(np.abs(log_w - np.median(log_w)).mean())  # of the same depth everywhere
    if shift_known and float(np.minimum(np.abs(residual), 1.0).mean()) > config.max_blind * blind:
        return _failed("the network does no better than one depth for the whole photo", num, spread)
    A = np.stack([d, np.ones(len(d))], 1) / w[:, None]
    # Neighbouring pixels err alike: as many tries as there are cells of a 12 x 9 grid.
    normal = A.T @ A / len(d) * min(108, len(d))
    covariance = np.linalg.pinv(normal) * max(spread, 1e-4) ** 2
    return ScaleFit(a, b, covariance, spread, "unknown", "confirmed depth", num, num_outliers, shift_known)


def _both(depth_map: DepthMap, seen: PhotoDepth) -> tuple[np.ndarray, np.ndarray]:
    """The network's disparity at the map's size, NaN on sky, and where measured depth is known too."""
    import cv2

    h, w = depth_map.depth.shape
    disparity = np.where(seen.sky, np.nan, seen.disparity).astype(np.float32)
    if disparity.shape != (h, w):
        disparity = cv2.resize(disparity, (w, h), interpolation=cv2.INTER_LINEAR)
    known = np.isfinite(depth_map.depth) & (depth_map.depth > 0) & np.isfinite(disparity)
    if depth_map.inferred is not None:
        known &= ~depth_map.inferred
    return disparity, known


def _failed(reason: str, num: int, spread: float = float("nan")) -> ScaleFit:
    nan = float("nan")
    return ScaleFit(nan, nan, np.full((2, 2), nan), spread, "unknown", reason, num)


def _robust_line(d: np.ndarray, w: np.ndarray, sigma: np.ndarray) -> tuple[float, float]:
    """(a, b) of w = a d + b with least sum of |relative residual|, by reweighted least squares; sigma: relative."""
    a, b = 0.0, float(np.median(w))
    weight = np.ones(len(d))
    for _ in range(30):
        scaled = weight / w**2
        total = scaled.sum()
        mean_d, mean_w = (scaled * d).sum() / total, (scaled * w).sum() / total
        variance = (scaled * (d - mean_d) ** 2).sum()
        if not variance > 1e-18 * total:
            return 0.0, float(mean_w)
        new = float((scaled * (d - mean_d) * (w - mean_w)).sum() / variance)
        done = abs(new - a) <= 1e-6 * abs(new)
        a, b = new, float(mean_w - new * mean_d)
        if done:
            break
        weight = 1.0 / np.maximum(np.abs(a * d + b - w) / w, np.maximum(sigma, 0.01))
    return a, b


def fit_photo(
    depth_map: DepthMap, seen: PhotoDepth, fit: ScaleFit, *, config: PhotoPriorConfig = PhotoPriorConfig()
) -> DepthMap:
    """All that the network sees as depth of the view, made to meet `depth_map` (its inferred depth too) and marked as
    inferred everywhere. NaN where it would be worse than `config.max_sigma`, at outlines, and everywhere when `fit`
    failed. sigma: as tried on confirmed depth that was hidden."""
    disparity, measured = _both(depth_map, seen)
    h, w = disparity.shape
    if not fit.a > 0 or not measured.any():
        return _empty(depth_map)
    inverse = fit.a * disparity.astype(np.float64) + fit.b
    low, high = np.percentile(1.0 / depth_map.depth[measured].astype(np.float64), [0.5, 99.5])
    with np.errstate(invalid="ignore", divide="ignore"):
        inverse = np.where((inverse > 0.5 * low) & (inverse < 1.5 * high), inverse, np.nan)
        log_inverse = np.log(inverse)
        residual = np.where(
            np.isfinite(depth_map.depth), -np.log(depth_map.depth.astype(np.float64)) - log_inverse, np.nan
        )
    residual[np.abs(residual - np.median(residual[measured & np.isfinite(residual)])) > 4 * max(fit.spread, 0.02)] = (
        np.nan
    )
    size = max(1, -(-max(h, w) // config.grid))
    cells = fields.gather_cells(log_inverse, residual, size)
    sees = np.isfinite(cells.log_inverse)
    known = sees & (cells.weight >= 0.25)
    trust = fields.try_field(cells, known)
    if not trust.num_tests:
        return _empty(depth_map)
    distance = fields.distance_from(known)
    coarse = fields.solve_field(cells, known)
    sigma = config.margin * np.hypot(trust.at(distance), config.doubt * fields.contradiction(coarse, distance))
    near = _enlarged(np.minimum(sigma, 1.0), size, (h, w))
    inverse = inverse * np.exp(_enlarged(coarse, size, (h, w)))
    usable = np.isfinite(inverse) & (near <= config.max_sigma) & ~_outlines(inverse, config.max_jump)
    depth = np.where(usable, 1.0 / inverse, np.nan).astype(np.float32)
    normals = _normals(inverse, pl.index_matrix(depth_map.camera.K))
    usable &= np.isfinite(normals).all(2)
    nan = np.float32(np.nan)
    # What was not matched is never surer than what was.
    floor = 2.0 * float(np.median(depth_map.sigma[measured] / depth_map.depth[measured]))
    return DepthMap(
        depth_map.name, depth_map.camera, depth_map.cam_from_world, np.where(usable, depth, nan),
        np.where(usable[..., None], normals, nan), np.where(usable, config.confidence, 0.0).astype(np.float32),
        np.where(usable, np.maximum(near, floor) * depth, nan).astype(np.float32), depth_map.sources, usable,
    )  # fmt: skip


def _empty(depth_map: DepthMap) -> DepthMap:
    shape = depth_map.depth.shape
    nothing = np.full(shape, np.nan, np.float32)
    return DepthMap(
        depth_map.name, depth_map.camera, depth_map.cam_from_world, nothing, np.full((*shape, 3), np.nan, np.float32),
        np.zeros(shape, np.float32), nothing, depth_map.sources, np.zeros(shape, bool),
    )  # fmt: skip


def _enlarged(cells: np.ndarray, size: int, shape: tuple[int, int]) -> np.ndarray:
    """Cells (h, w) at the size of the picture, bilinear between their middles."""
    import cv2

    y = (np.arange(shape[0], dtype=np.float32) + 0.5) / size - 0.5
    x = (np.arange(shape[1], dtype=np.float32) + 0.5) / size - 0.5
    maps = np.repeat(x[None], len(y), 0), np.repeat(y[:, None], len(x), 1)
    return cv2.remap(cells.astype(np.float32), *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _outlines(inverse: np.ndarray, max_jump: float) -> np.ndarray:
    """Where depth steps from pixel to pixel, a pixel around included: bool (h, w)."""
    import cv2

    filled = np.nan_to_num(inverse, nan=0.0).astype(np.float32)
    around = np.ones((3, 3), np.uint8)
    near, far = cv2.dilate(filled, around), cv2.erode(filled, around)
    return cv2.dilate((near > (1 + 2 * max_jump) * np.maximum(far, 1e-12)).astype(np.uint8), around) > 0


def _normals(inverse: np.ndarray, K: np.ndarray) -> np.ndarray:
    """float32 (h, w, 3) from slopes of inverse depth over five pixels (exact on planes); NaN beside unknown depth."""
    slopes = np.full((*inverse.shape, 3), np.nan, np.float32)
    slopes[..., 0] = inverse
    slopes[:, 2:-2, 1] = (inverse[:, 4:] - inverse[:, :-4]) / 4
    slopes[2:-2, :, 2] = (inverse[4:] - inverse[:-4]) / 4
    with np.errstate(invalid="ignore", divide="ignore"):
        return pl.planes_to_depth(slopes, K)[1]


def complete_depth(
    depth_map: DepthMap,
    guess: DepthMap,
    others: Iterable[tuple[DepthMap, DepthMap]],
    *,
    config: PhotoPriorConfig = PhotoPriorConfig(),
) -> DepthMap:
    """The map with `guess` (`fit_photo`) where it has gaps, marked as inferred.

    others: of photos that see the same place their map and their guess, read once. Nothing is filled through which
    another map looks, nor where more of the others' guesses contradict than agree.
    """
    open_ = ~np.isfinite(depth_map.depth) & np.isfinite(guess.depth)
    if open_.sum() < config.min_piece * open_.size:
        return depth_map
    filled = np.where(open_, guess.depth, np.float32(np.nan))
    objections, support, doubt, backing = (np.zeros(filled.shape, np.int16) for _ in range(4))
    K = pl.index_matrix(depth_map.camera.K)
    for measured, guessed in others:
        Ko = pl.index_matrix(measured.camera.K)
        there, back = pl.projection(Ko, pl.relative(measured, depth_map), K), pl.relative(depth_map, measured)
        for other, against, backed, limit in (
            (measured.depth, objections, support, config.max_relative),
            (guessed.depth, doubt, backing, 2 * config.max_relative),
        ):
            verdict, _ = kernels.depth_agreement(
                filled, other, there, pl.projection(K, back, Ko), max_error_px=1e6, max_relative=limit
            )
            against += verdict == 2 if other is measured.depth else (verdict == 2) | (verdict == 3)
            backed += verdict == 1
    kept = open_ & ((objections == 0) | (support > 2 * objections)) & (doubt <= backing + 2 * support)
    together = np.where(kept, filled, depth_map.depth)
    pieces = kernels.depth_pieces(together, max_relative=config.max_jump)
    kept &= pieces >= config.min_piece * kept.size
    if not kept.any():
        return depth_map
    inferred = kept.copy() if depth_map.inferred is None else depth_map.inferred | kept
    return DepthMap(
        depth_map.name, depth_map.camera, depth_map.cam_from_world, np.where(kept, guess.depth, depth_map.depth),
        np.where(kept[..., None], guess.normals, depth_map.normals),
        np.where(kept, guess.confidence, depth_map.confidence), np.where(kept, guess.sigma, depth_map.sigma),
        depth_map.sources, inferred,
    )  # fmt: skip
