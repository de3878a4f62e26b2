"""Dense depth: a view matched with several others by PatchMatch, then held against the others' maps.

Method: PatchMatch with a plane a pixel (Bleyer et al. 2011), bilateral NCC (Schoenberger et al. 2016), checkerboard
updates with view weights per pixel and geometric consistency from coarse to fine (Xu & Tao 2019). The inner loops are
the kernels `stereo_sweep` and `stereo_cost`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rilievo import kernels
from rilievo.errors import InputError
from rilievo.stages import planes as pl
from rilievo.types import DepthMap, View


@dataclass(frozen=True)
class DepthConfig:
    """Settings of `estimate_depth` and `depth_filter.filter_depth`."""

    version: ClassVar[int] = 2

    max_size: int = 1600
    """longer side of the depth maps, px"""
    sweeps: tuple[int, ...] = (16, 3, 1, 1)
    """sweeps over the image at each size, the smallest first; each size is twice the one before"""
    geometric_sweeps: int = 1
    """sweeps of the pass that uses the other photos' depth"""
    num_random: int = 1
    """random planes tried per pixel and sweep; twice as many on the coarsest image"""
    num_perturbed: int = 4
    """small changes tried per pixel and sweep"""
    reach: int = 11
    """length of the long arms of the neighbourhood, in steps of two pixels (at most 11)"""
    sigma_grey: float = 10.0
    """grey difference at which a sample of the window loses weight"""
    sigma_px: float = 3.0
    """distance at which a sample of the window loses weight, px"""
    noise: float = 2.0
    """variance of grey values that counts as noise, not texture"""
    geometric_weight: float = 0.1
    """cost of one pixel of disagreement with another photo's depth"""
    max_cost: float = 0.9
    """pixels that match worse (1 - correlation) have no depth"""
    max_sigma_px: float = 3.0
    """pixels whose match is less certain have no depth, px"""
    min_agreeing: int = 2
    """photos whose depth must agree for a pixel to stay (one where only two other photos are there)"""
    min_confidence: float = 0.4
    """a pixel as sure of its match as this needs only one photo that agrees, if none looks through it"""
    max_error_px: float = 1.0
    """how far a point may move when it goes to another photo and comes back with that photo's depth, px"""
    max_relative: float = 0.01
    """by how much of the depth two photos may differ"""
    min_piece_px: int = 60
    """smaller islands of depth are removed, px"""
    seed: int = 0
    """seed of the random planes"""

    @classmethod
    def for_quality(cls, quality: str, *, seed: int = 0) -> DepthConfig:
        """The settings of `draft`, `normal` or `high`."""
        presets: dict[str, dict[str, Any]] = {
            "draft": {"max_size": 800, "sweeps": (10, 1, 1)},
            "normal": {"max_size": 1600},
            "high": {"max_size": 8192, "sweeps": (16, 3, 1, 1, 1)},
        }
        if quality not in presets:
            raise ValueError(f"quality must be draft, normal or high, not {quality!r}")
        return cls(**presets[quality], seed=seed)


def estimate_depth(
    view: View,
    sources: Sequence[View],
    *,
    seeds: np.ndarray,
    depth_range: tuple[float, float],
    start: DepthMap | None = None,
    source_depths: Sequence[DepthMap] | None = None,
    config: DepthConfig | None = None,
) -> DepthMap:
    """Depth, normal, confidence and sigma for each pixel of `view`, matched with 1 to 16 `sources`.

    seeds: float (k, 3), x and y in pixels of the view and depth: sparse points, used as first guesses.
    depth_range: nearest and farthest depth to look for.  start: the view's own map from a first pass; then only
    `geometric_sweeps` sweeps at full size follow.  source_depths: first maps of the sources, same order and sizes;
    disagreement with them then adds to the cost (Xu & Tao 2019, eq. 8).

    The result is not yet checked against other maps (`filter_depth` does that); pixels that match nowhere are NaN.
    Raises InputError without sources, ValueError for a bad range or maps that do not fit the views.
    """
    config = config or DepthConfig()
    near, far = (float(d) for d in depth_range)
    if not (0 < near < far < np.inf):
        raise ValueError(f"depth_range must be two positive depths, near first, got {depth_range}")
    if not sources:
        raise InputError(
            f"{view.name} cannot be given depth",
            "no other photo shares enough of the scene with it at a useful angle",
            "take more photos around it, a step to the side each",
        )
    limits = (1.0 / far, 1.0 / near)
    key = int.from_bytes(hashlib.sha256(f"{config.seed}/{view.name}".encode()).digest()[:4], "little")
    rng = np.random.default_rng(key)
    levels = pl.build_levels(view, sources, len(config.sweeps) if start is None else 1)
    match: dict[str, float] = {
        "noise": config.noise, "sigma_grey": config.sigma_grey, "sigma_px": config.sigma_px, "geometric": 0.0,
    }  # fmt: skip
    geometry: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    if start is not None:
        planes = _planes_from(start, view, levels[-1], limits, rng)
    else:
        seeds = np.asarray(seeds, np.float64).reshape(-1, 3)
        planes = pl.start_planes(levels[0], seeds, 0.5 ** (len(levels) - 1), limits, rng)
    costs: np.ndarray | None = None if start is None else np.float32(1.0) - start.confidence
    sweep_number = 0
    for number, level in enumerate(levels):
        coarsest = number == 0 and start is None
        if number and costs is not None:
            planes, costs = pl.double_planes(planes, costs, level.reference.shape)
        if source_depths is not None and number == len(levels) - 1:
            geometry = _source_geometry(view, sources, source_depths, level)
            match["geometric"] = config.geometric_weight
        if costs is None:
            costs = kernels.stereo_cost(*level.images, planes, *geometry, **match)[1]
        sweeps = config.sweeps[len(config.sweeps) - len(levels) + number] if start is None else config.geometric_sweeps
        if coarsest:
            sweeps = max(sweeps, config.sweeps[0])
        for k in range(sweeps):
            narrow = k / max(sweeps - 1, 1)
            planes, costs = kernels.stereo_sweep(
                *level.images, planes, costs, *geometry,
                min_w=limits[0], max_w=limits[1], step=level.step, fx=float(level.K[0, 0]), fy=float(level.K[1, 1]),
                shift=(4.0 if coarsest else 1.0) * 0.25**narrow, tilt=(0.6 if coarsest else 0.3) * 0.3**narrow,
                num_random=config.num_random * (2 if coarsest else 1), num_perturbed=config.num_perturbed,
                reach=config.reach, key=(key + 977 * sweep_number) & 0xFFFFFFFF, **match,
            )  # fmt: skip
            sweep_number += 1
    return _measured_map(view, sources, levels[-1], planes, limits, config)


def _planes_from(
    start: DepthMap, view: View, level: pl.Level, limits: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    if start.depth.shape != view.pixels.shape[:2]:
        raise ValueError(f"start of {view.name} is {start.depth.shape}, the view {view.pixels.shape[:2]}")
    planes = pl.depth_to_planes(start.depth, start.normals, level.K)
    unknown = ~np.isfinite(planes).all(2)
    planes[unknown] = 0.0
    planes[unknown, 0] = rng.uniform(*limits, int(unknown.sum()))
    planes[..., 0] = np.clip(planes[..., 0], *limits)
    return planes


def _source_geometry(
    view: View, sources: Sequence[View], source_depths: Sequence[DepthMap], level: pl.Level
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse depth of the sources, float32 (n, hs, ws), 0 unknown, and the last columns of their projections back."""
    if len(source_depths) != len(sources):
        raise ValueError(f"{len(sources)} sources but {len(source_depths)} depth maps")
    inverse = np.zeros(level.sources.shape, np.float32)
    backs = np.zeros((len(sources), 3), np.float32)
    for k, (s, d) in enumerate(zip(sources, source_depths, strict=True)):
        h, w = level.sizes[k]
        if d.depth.shape != (h, w):
            raise ValueError(f"the depth map of {d.name} is {d.depth.shape}, its view {(int(h), int(w))}")
        known = d.depth > 0
        np.divide(np.float32(1.0), d.depth, out=inverse[k, :h, :w], where=known)
        backs[k] = level.K @ pl.relative(view, s)[:, 3]
    return inverse, backs


def _measured_map(
    view: View,
    sources: Sequence[View],
    level: pl.Level,
    planes: np.ndarray,
    limits: tuple[float, float],
    config: DepthConfig,
) -> DepthMap:
    """The map of the final planes: what each pixel's match is worth follows from its cost half a pixel to either side.

    Near its best place 1 - NCC grows as c + k d^2 with the shift d. With independent noise on N samples the variance
    of that place is c / (k N) (the Cramer-Rao bound of matching, Foerstner 1982, in terms of correlation).
    """
    measured = kernels.stereo_measure(
        *level.images, planes, step=level.step,
        noise=config.noise, sigma_grey=config.sigma_grey, sigma_px=config.sigma_px,
    )  # fmt: skip
    cost, curvature, shift, num_views = (measured[..., k] for k in range(4))
    planes = planes.copy()
    planes[..., 0] += shift * np.float32(level.step)
    # The 25 samples of a window overlap, and what they miss of the surface's shape counts as noise: found on a scene
    # with known depth so that about two thirds of the errors lie within one sigma.
    num_samples = np.float32(2.2)
    sigma_px = np.sqrt((cost + 0.01) / (np.maximum(curvature, 1e-6) * num_samples * np.maximum(num_views, 0.5)))
    good = (cost < config.max_cost) & (sigma_px < config.max_sigma_px) & (level.reference > 0)
    good &= (planes[..., 0] > limits[0] * 1.0001) & (planes[..., 0] < limits[1] * 0.9999)
    depth, normals = pl.planes_to_depth(planes, level.K)
    confidence = np.clip(1.0 - cost, 0.0, 1.0) / (1.0 + sigma_px**2)
    sigma = sigma_px * level.step * depth * depth
    depth[~good] = np.nan
    normals[~good] = np.nan
    sigma[~good] = np.nan
    confidence[~good] = 0.0
    return DepthMap(
        view.name, view.camera, view.cam_from_world, depth.astype(np.float32), normals.astype(np.float32),
        confidence.astype(np.float32), sigma.astype(np.float32), tuple(s.name for s in sources),
    )  # fmt: skip
