"""Accuracy of the depth of one photo against true depth.

A network that tells inverse depth up to scale and shift is compared as in Ranftl et al. 2020 ("Towards Robust Monocular
Depth Estimation", TPAMI 44(3), sections 4 and 5): on the pixels whose depth is known, and nearer than `max_depth`, one
scale a >= 0 and one shift b a photo lay the prediction on the truth, in inverse depth; what comes out beyond
`max_depth` (or behind the camera) is set to `max_depth`; all errors are of depth, at the truth's size, over all known
pixels; a set's score is the mean over its photos. Two alignments:

* "least squares": a and b minimise the sum of (a * disparity + b - 1/depth)^2 (their eq. 4), the usual one;
* "median": b from the medians, a from the mean absolute deviations from them (their eq. 5): a few pixels that are very
  near or simply wrong weigh less.

A scale below zero would call far what the model calls near: a = 0 is used instead (constant depth). "none" takes
the prediction as it is, for models that know metres.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from rilievo.errors import InputError

METHODS = ("least squares", "median", "none")


@dataclass(frozen=True)
class DepthEvaluateConfig:
    """Settings of `evaluate_depth`."""

    version: ClassVar[int] = 1

    method: str = "least squares"
    """how the prediction is laid on the truth: least squares, median or none"""
    max_depth: float = float("inf")
    """truth further away is left out, predictions further away are set to it, unit of the truth (usual: 10 m for rooms,
    80 m for streets)"""
    num_pairs: int = 50_000
    """pairs of pixels drawn for the ordinal accuracy"""
    min_ratio: float = 1.1
    """pairs whose depths differ by a smaller factor are left out"""
    seed: int = 0
    """seed of the pairs"""


DEFAULT_DEPTH = DepthEvaluateConfig()


@dataclass(frozen=True)
class DepthScore:
    """One photo, or the mean over several. NaN: could not be told.

    abs_rel: mean of |depth - truth| / truth.  delta1: share of pixels within a factor of 1.25 of truth.
    ordinal: share of random pairs of pixels, their depths apart by a factor of at least `min_ratio`, that are in the
    right order (equal predictions count half: constant depth has 0.5).
    boundary_f1: see `boundary_score`.
    sky_near: share of the true sky that is predicted nearer than the farthest twentieth of the true surface.
    sky_lost: share of the true surface that the model calls sky.
    unanswered: share of known pixels for which the model gave no answer; they count as wrong in delta1 and ordinal and
    are left out of abs_rel.
    """

    abs_rel: float
    delta1: float
    ordinal: float
    boundary_f1: float
    sky_near: float
    sky_lost: float
    unanswered: float


def align_disparity(disparity: np.ndarray, depth: np.ndarray, *, method: str = "least squares") -> tuple[float, float]:
    """(a, b) with 1/depth = a * disparity + b, a >= 0, from the pixels where both are known (finite, depth > 0).

    disparity, depth: any one shape. Raises InputError where fewer than 2 pixels are known, ValueError for an unknown
    method or different shapes.
    """
    if method not in METHODS:
        raise ValueError(f"unknown alignment {method!r}; known: {', '.join(METHODS)}")
    if disparity.shape != depth.shape:
        raise ValueError(f"the prediction is {disparity.shape}, the truth {depth.shape}")
    known = np.isfinite(disparity) & np.isfinite(depth) & (depth > 0)
    if known.sum() < 2:
        raise InputError(
            "depth cannot be compared with the truth",
            f"both are known at {int(known.sum())} pixels, and two unknowns (scale and shift) are to be found",
            "check that the truth belongs to this photo and has no unit that makes it all zero",
        )
    if method == "none":
        return 1.0, 0.0
    d, w = disparity[known].astype(np.float64), 1.0 / depth[known].astype(np.float64)
    if method == "median":
        middle, middle_w = float(np.median(d)), float(np.median(w))
        spread, spread_w = float(np.abs(d - middle).mean()), float(np.abs(w - middle_w).mean())
        a = spread_w / spread if spread > 1e-9 * max(abs(middle), 1e-300) else 0.0
        return a, middle_w - a * middle
    mean, mean_w = float(d.mean()), float(w.mean())
    variance = float(((d - mean) ** 2).mean())
    a = float(((d - mean) * (w - mean_w)).mean()) / variance if variance > (1e-9 * abs(mean)) ** 2 else 0.0
    a = max(a, 0.0)
    return a, mean_w - a * mean


def evaluate_depth(
    disparity: np.ndarray,
    depth: np.ndarray,
    *,
    sky: np.ndarray | None = None,
    called_sky: np.ndarray | None = None,
    config: DepthEvaluateConfig = DEFAULT_DEPTH,
) -> DepthScore:
    """The inverse depth (h, w) that a model sees in a photo against the true depth (h, w).

    disparity: NaN where the model gave no answer, 0 for infinitely far.  depth: unknown where NaN, infinite or not
    above 0.  sky: bool (h, w), where the truth is known to be sky.  called_sky: where the model says so.
    Raises InputError as `align_disparity`, ValueError for different sizes.
    """
    depth = np.where(np.isfinite(depth) & (depth > 0) & (depth <= config.max_depth), depth, np.nan).astype(np.float64)
    disparity = np.asarray(disparity, np.float64)
    a, b = align_disparity(disparity, depth, method=config.method)
    aligned = aligned_inverse(disparity, a, b, depth, config=config)
    known = np.isfinite(depth)
    answered = known & np.isfinite(aligned)
    ratio = depth[answered] * aligned[answered]  # truth / prediction
    within = (ratio < 1.25) & (ratio > 1 / 1.25)
    far = float(np.percentile(depth[known], 95.0))
    with np.errstate(invalid="ignore"):
        near = float((aligned[sky] > 1.0 / far).mean()) if sky is not None and sky.any() else float("nan")
    return DepthScore(
        abs_rel=float(np.abs(1.0 / ratio - 1.0).mean()),
        delta1=float(within.sum() / known.sum()),
        ordinal=_ordinal(disparity[known], depth[known], config),
        boundary_f1=boundary_score(aligned, depth, sky=sky),
        sky_near=near,
        sky_lost=float(called_sky[known].mean()) if called_sky is not None else float("nan"),
        unanswered=float(1.0 - answered.sum() / known.sum()),
    )


def aligned_inverse(
    disparity: np.ndarray, a: float, b: float, depth: np.ndarray, *, config: DepthEvaluateConfig = DEFAULT_DEPTH
) -> np.ndarray:
    """Inverse depth float64 (h, w) of a prediction laid on the truth, never below that of the farthest depth
    (`max_depth`; without one, ten times the farthest true depth)."""
    limit = config.max_depth if np.isfinite(config.max_depth) else 10.0 * float(np.nanmax(depth))
    return np.maximum(a * np.asarray(disparity, np.float64) + b, 1.0 / limit)


def _ordinal(disparity: np.ndarray, depth: np.ndarray, config: DepthEvaluateConfig) -> float:
    rng = np.random.default_rng(config.seed)
    i, j = rng.integers(0, len(depth), (2, config.num_pairs))
    apart = np.maximum(depth[i], depth[j]) >= config.min_ratio * np.minimum(depth[i], depth[j])
    i, j = i[apart], j[apart]
    if not len(i):
        return float("nan")
    nearer = np.sign(depth[j] - depth[i])  # 1 where i is the nearer one
    said = np.sign(disparity[i] - disparity[j])  # NaN where one has no answer: neither right nor a tie
    return float((np.where(said == nearer, 1.0, np.where(said == 0, 0.5, 0.0))).mean())


def boundary_score(inverse: np.ndarray, depth: np.ndarray, *, sky: np.ndarray | None = None) -> float:
    """How well depth jumps lie where they are: the boundary F1 of Bochkovskii et al. 2024 ("Depth Pro", section 3.3).

    An edge is a pair of neighbouring pixels (4-neighbourhood, with direction) of which one is further by more than t;
    precision and recall compare the edges of the prediction with those of the truth, pair by pair; their F1 is averaged
    over ten t from 5 to 25 %, weighted by t. Pairs with a pixel of unknown truth are left out; `sky` counts as
    infinitely far. NaN where the truth has no edges. inverse: predicted inverse depth, aligned; NaN has no edge.
    """
    truth = 1.0 / depth
    if sky is not None:
        truth = np.where(sky, 0.0, truth)
    steps = np.linspace(0.05, 0.25, 10)
    hits, said, there = np.zeros(10), np.zeros(10), np.zeros(10)
    for axis in (0, 1):
        t0, t1 = (np.moveaxis(truth, axis, 0)[s] for s in (slice(None, -1), slice(1, None)))
        p0, p1 = (np.moveaxis(inverse, axis, 0)[s] for s in (slice(None, -1), slice(1, None)))
        both = np.isfinite(t0) & np.isfinite(t1)
        t0, t1, p0, p1 = t0[both], t1[both], p0[both], p1[both]
        for near_t, far_t, near_p, far_p in ((t0, t1, p0, p1), (t1, t0, p1, p0)):
            for k, step in enumerate(steps):
                true, seen = near_t > (1 + step) * far_t, near_p > (1 + step) * far_p
                hits[k] += (true & seen).sum()
                said[k] += seen.sum()
                there[k] += true.sum()
    told = there > 0
    if not told.any():
        return float("nan")
    f1 = 2 * hits[told] / (said[told] + there[told])
    return float((f1 * steps[told]).sum() / steps[told].sum())


def fit_size(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A prediction (h, w) at the size of the truth: bilinear (pixel areas where it shrinks), NaN stays NaN."""
    import cv2

    if values.shape == shape:
        return values
    shrinks = values.shape[0] > shape[0]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(values.astype(np.float32), shape[::-1], interpolation=way)


def constant_disparity(shape: tuple[int, int]) -> np.ndarray:
    """The prior that knows nothing: the same depth everywhere."""
    return np.ones(shape)


def gradient_disparity(shape: tuple[int, int]) -> np.ndarray:
    """The prior of a level ground under an upright camera: inverse depth grows linearly downwards, (row + 0.5) / h.
    After alignment that is a plane through the photo's rows whose horizon and height are the best there are."""
    rows = (np.arange(shape[0]) + 0.5) / shape[0]
    return np.repeat(rows[:, None], shape[1], 1)


# name -> the disparity (h, w) that any model has to beat
BASELINES = {"constant": constant_disparity, "gradient": gradient_disparity}


def mean_score(scores: list[DepthScore]) -> DepthScore:
    """The mean of each number over the photos for which it could be told. Raises ValueError for an empty list."""
    if not scores:
        raise ValueError("no photo was scored")
    means: dict[str, Any] = {}
    for field in fields(DepthScore):
        values = np.array([getattr(score, field.name) for score in scores])
        told = values[np.isfinite(values)]
        means[field.name] = float(told.mean()) if len(told) else float("nan")
    return DepthScore(**means)
