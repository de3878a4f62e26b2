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

SHRINK = 2  # the first pass works on images this much smaller


@dataclass(frozen=True)
class DepthConfig:
    """Settings of `estimate_depth` and `depth_filter.filter_depth`."""

    version: ClassVar[int] = 5

    max_size: int = 1600
    """longer side of the depth maps, px"""
    num_sources: int = 5
    """photos that each photo is matched with"""
    sweeps: tuple[int, ...] = (10, 3, 1)
    """sweeps of the first pass at each size, the smallest first; each size is twice the one before, the last is half
    that of the maps"""
    geometric_sweeps: int = 2
    """sweeps of the second pass, which is at full size and uses the other photos' depth"""
    num_random: int = 1
    """random planes tried per pixel and sweep; twice as many on the coarsest image"""
    num_perturbed: int = 2
    """small random changes tried per pixel and sweep of the first pass"""
    num_polish: int = 1
    """steps of least squares matching per pixel and sweep"""
    reach: int = 11
    """length of the long arms of the neighbourhood, in steps of two pixels (at most 11)"""
    sigma_grey: float = 10.0
    """grey difference at which a sample of the window loses weight"""
    sigma_px: float = 3.0
    """distance at which a sample of the window loses weight, px"""
    noise: float = 2.0
    """variance of grey values that counts as noise, not texture"""
    geometric_weight: float = 0.05
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
            "draft": {"max_size": 800, "num_sources": 4, "sweeps": (8, 1), "geometric_sweeps": 1},
            "normal": {"max_size": 1600},
            "high": {"max_size": 8192, "sweeps": (10, 3, 1, 1)},
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

    Two calls make a map. The first one, without `start`, gives a map of half the view's size. The second one takes that
    map as `start` and the sources' first maps as `source_depths` (same order as `sources`), and gives the map of full
    size; disagreement with the sources' maps adds to the cost (Xu & Tao 2019, eq. 8).

    seeds: float (k, 3), x and y in pixels of the view and depth: sparse points, used as first guesses.
    depth_range: nearest and farthest depth to look for.

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
    if (start is None) != (source_depths is None):
        raise ValueError("start and source_depths go together")
    limits = (1.0 / far, 1.0 / near)
    key = int.from_bytes(hashlib.sha256(f"{config.seed}/{view.name}".encode()).digest()[:4], "little")
    rng = np.random.default_rng(key)
    if start is None or source_depths is None:
        return _first_map(view, sources, np.asarray(seeds, np.float64).reshape(-1, 3), limits, key, rng, config)
    return _second_map(view, sources, start, source_depths, limits, key, rng, config)


def _first_map(
    view: View,
    sources: Sequence[View],
    seeds: np.ndarray,
    limits: tuple[float, float],
    key: int,
    rng: np.random.Generator,
    config: DepthConfig,
) -> DepthMap:
    """From random planes on the smallest images to half the size of the view."""
    levels = pl.build_levels(view, sources, len(config.sweeps), shrink=SHRINK)
    planes = pl.start_planes(levels[0], seeds, 1.0 / SHRINK / 2 ** (len(levels) - 1), limits, rng)
    match: dict[str, float] = _match_settings(config)
    costs = kernels.stereo_cost(*levels[0].images, planes, None, None, shrink=1, geometric=0.0, **match)[1]
    sweep_number = 0
    for number, level in enumerate(levels):
        coarsest = number == 0
        if number:
            planes, costs = pl.double_planes(planes, costs, level.reference.shape)
        sweeps = config.sweeps[len(config.sweeps) - len(levels) + number]
        if coarsest:
            sweeps = max(sweeps, config.sweeps[0])
        for k in range(sweeps):
            narrow = k / max(sweeps - 1, 1)
            planes, costs = kernels.stereo_sweep(
                *level.images, planes, costs, None, None, shrink=1, geometric=0.0,
                min_w=limits[0], max_w=limits[1], step=level.step, fx=float(level.K[0, 0]), fy=float(level.K[1, 1]),
                shift=(4.0 if coarsest else 1.0) * 0.25**narrow, tilt=(0.6 if coarsest else 0.3) * 0.3**narrow,
                num_random=config.num_random * (2 if coarsest else 1), num_perturbed=config.num_perturbed,
                num_polish=config.num_polish, reach=config.reach, merge=False,
                key=(key + 977 * sweep_number) & 0xFFFFFFFF, **match,
            )  # fmt: skip
            sweep_number += 1
    return _measured_map(view, sources, levels[-1], planes, limits, config)


def _second_map(
    view: View,
    sources: Sequence[View],
    start: DepthMap,
    source_depths: Sequence[DepthMap],
    limits: tuple[float, float],
    key: int,
    rng: np.random.Generator,
    config: DepthConfig,
) -> DepthMap:
    """The first map brought to full size and matched again, now also with the sources' maps."""
    level = pl.build_levels(view, sources, 1)[0]
    small = tuple(n // SHRINK for n in view.pixels.shape[:2])
    if start.depth.shape != small:
        raise ValueError(f"start of {view.name} is {start.depth.shape}, half the view {small}")
    planes = pl.depth_to_planes(start.depth, start.normals, pl.index_matrix(start.camera.K))
    unknown = ~np.isfinite(planes).all(2)
    planes[unknown] = 0.0
    planes[unknown, 0] = rng.uniform(*limits, int(unknown.sum()))
    planes, costs = pl.double_planes(planes, np.float32(1.0) - start.confidence, level.reference.shape)
    planes[..., 0] = np.clip(planes[..., 0], *limits)
    geometry = _source_geometry(view, sources, source_depths, level)
    for k in range(config.geometric_sweeps):
        first = int(k == 0)  # new planes are tried once; then the neighbours' and the polish say all there is to say
        planes, costs = kernels.stereo_sweep(
            *level.images, planes, costs, *geometry, shrink=SHRINK, geometric=config.geometric_weight,
            min_w=limits[0], max_w=limits[1], step=level.step, fx=float(level.K[0, 0]), fy=float(level.K[1, 1]),
            shift=0.25**k, tilt=0.3 * 0.3**k, num_random=config.num_random * first, num_perturbed=1 * first,
            num_polish=config.num_polish, reach=config.reach, merge=True,
            key=(key + 977 * (1000 + k)) & 0xFFFFFFFF, **_match_settings(config),
        )  # fmt: skip
    del geometry
    return _measured_map(view, sources, level, planes, limits, config)


def _match_settings(config: DepthConfig) -> dict[str, float]:
    return {"noise": config.noise, "sigma_grey": config.sigma_grey, "sigma_px": config.sigma_px}


def _source_geometry(
    view: View, sources: Sequence[View], source_depths: Sequence[DepthMap], level: pl.Level
) -> tuple[np.ndarray, np.ndarray]:
    """Planes of the sources' first maps, float32 (n, hs, ws, 3), 0 unknown, and the last columns of their projections
    back."""
    if len(source_depths) != len(sources):
        raise ValueError(f"{len(sources)} sources but {len(source_depths)} depth maps")
    sizes = level.sizes // SHRINK
    planes = np.zeros((len(sources), *sizes.max(0), 3), np.float32)
    backs = np.zeros((len(sources), 3), np.float32)
    for k, (s, d) in enumerate(zip(sources, source_depths, strict=True)):
        h, w = sizes[k]
        if d.depth.shape != (h, w):
            raise ValueError(f"the depth map of {d.name} is {d.depth.shape}, half its view {(int(h), int(w))}")
        there = pl.depth_to_planes(d.depth, d.normals, pl.index_matrix(d.camera.K))
        planes[k, :h, :w] = np.where(np.isfinite(there).all(2, keepdims=True), there, np.float32(0.0))
        backs[k] = level.K @ pl.relative(view, s)[:, 3]
    return planes, backs


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
    measured = kernels.stereo_measure(*level.images, planes, step=level.step, **_match_settings(config))
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
    camera = pl.camera_of_size(view.camera, *depth.shape)
    return DepthMap(
        view.name, camera, view.cam_from_world, depth.astype(np.float32), normals.astype(np.float32),
        confidence.astype(np.float32), sigma.astype(np.float32), tuple(s.name for s in sources),
    )  # fmt: skip
