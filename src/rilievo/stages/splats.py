"""Training 3D Gaussian splats on photos (Kerbl et al. 2023), on the CPU: from a start to a finished set, step by step.

`start_splats` -> `train` (as often as one likes, each time up to an iteration) -> `finish`. The state between two calls
holds everything, and chance depends on the seed and the iteration only: however the way is cut, the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from rilievo import kernels
from rilievo.errors import InputError
from rilievo.stages import splat_density, splat_far, splat_start
from rilievo.stages.splat_photos import PhotoStack, SizedPhoto
from rilievo.stages.splat_rows import FILTER, HARMONICS, LOGIT, MEAN, QUAT, SCALE, splats_of
from rilievo.types import DepthMap, PointCloud, Splats, SplatState

BETAS, EPSILON, NUM_BIAS = (0.9, 0.999), 1e-15, 8192
FILTER_PHOTOS = 48  # that say how fine a Gaussian may be
NEAR = 0.01  # what is nearer to a camera than this share of the scene's distance is not drawn


@dataclass(frozen=True)
class SplatsConfig:
    """Settings of the training of splats."""

    version: ClassVar[int] = 2

    iterations: int = 6000
    """steps, one photo each"""
    max_splats: int = 200_000
    """Gaussians at most"""
    degree: int = 3
    """of the spherical harmonics: how fast colour may change with the direction, 0 to 3"""
    levels: int = 2
    """halvings of the photos' size that the training starts with"""
    full_from: float = 0.4
    """share of the iterations after which photos are seen at full size"""
    grow_until: float = 0.6
    """share of the iterations up to which Gaussians are added"""
    grow_every: int = 100
    """iterations between two changes of the number of Gaussians"""
    dssim: float = 0.2
    """weight of structural dissimilarity in the loss; the rest is the absolute difference"""
    antialiased: bool = True
    """filter as a pixel does, keeping the amount of light"""
    filter_3d: float = 0.03
    """variance that no Gaussian falls below, px^2 of the photo that shows it largest: no needles when zooming"""
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """colour 0..1 behind everything"""
    random_background: bool = False
    """put photos with transparency before another random colour each time"""
    exposure: bool = False
    """let each photo have a brightness and tint of its own"""
    robust: bool = False
    """leave out what only single photos show (people, cars)"""
    depth_weight: float = 0.0
    """weight of the difference from known depth, relative to depth"""
    normal_weight: float = 0.0
    """weight of the difference from known normals"""
    opacity_weight: float = 0.0
    """weight of the mean opacity: haze goes sooner"""
    scale_weight: float = 0.0
    """weight of the mean scale, relative to the scene"""
    mean_rate: float = 3e-4
    """learning rate of places, relative to the distance of the scene; falls to a hundredth"""
    scale_rate: float = 1e-2
    """learning rate of the logarithm of scales"""
    turn_rate: float = 1e-3
    """learning rate of quaternions"""
    opacity_rate: float = 5e-2
    """learning rate of the logit of opacities"""
    color_rate: float = 5e-3
    """learning rate of colours; what depends on the direction has a twentieth"""
    min_opacity: float = 0.005
    """Gaussians that are fainter go"""
    num_random: int = 30_000
    """Gaussians to start with where nothing else is known"""
    num_far: int = 4000
    """Gaussians for the sky and what lies behind everything"""
    seed: int = 0
    """seed of the order of photos and everything random"""

    def level(self, iteration: int) -> int:
        """How often the photos' size is halved at this step."""
        if self.levels == 0 or iteration >= self.full_from * self.iterations:
            return 0
        return self.levels - int(iteration / (self.full_from * self.iterations) * self.levels)

    def degree_at(self, iteration: int) -> int:
        """Degree of the harmonics at this step: one more each eighth of the way."""
        return min(self.degree, int(8 * iteration / self.iterations))


def start_splats(
    stack: PhotoStack,
    *,
    cloud: PointCloud | None = None,
    points: np.ndarray | None = None,
    colors: np.ndarray | None = None,
    config: SplatsConfig,
) -> SplatState:
    """What training begins with: discs along `cloud`; else `points` (n, 3) in the world with `colors` uint8 (n, 3);
    else the visual hull of photos that are cut out; else chance. Behind it what the photos see through all that.

    Raises InputError without photos.
    """
    if not stack.names:
        raise InputError("no photos to train splats on", "the list is empty", "give at least three placed photos")
    level = min(2, config.levels + 1)
    photos = [stack.get(name, level) for name in stack.names]
    center = splat_start.looked_at(photos)
    centers = np.array([-p.cam_from_world[:, :3].T @ p.cam_from_world[:, 3] for p in photos])
    if cloud is not None and len(cloud.points) >= 50:
        rows = splat_start.from_cloud(cloud, stack.origin, max_splats=config.max_splats // 2)
        method = "dense cloud"
    elif points is not None and len(points) >= 50:
        color = np.full((len(points), 3), 128, np.uint8) if colors is None else colors
        keep = splat_start.thin(points, config.max_splats // 2)
        rows = splat_start.from_points(points[keep] - stack.origin, color[keep], opacity=0.1)
        method = "sparse points"
    elif (hull := splat_start.visual_hull(photos)) is not None:
        at, color, cell = hull
        keep = splat_start.thin(at, config.max_splats // 2)
        rows = splat_start.from_points(at[keep], color[keep], opacity=0.1, spacing=np.full(len(keep), 0.7 * cell))
        method = "visual hull"
    else:
        at = splat_start.at_random(photos, min(config.num_random, config.max_splats), config.seed)
        rows = splat_start.from_points(at, splat_start.median_color(photos, at), opacity=0.1)
        method = "random points"
    if method in ("dense cloud", "sparse points"):
        depth = [np.median(rows[:, MEAN] @ p.cam_from_world[2, :3] + p.cam_from_world[2, 3]) for p in photos]
        extent = float(np.median(np.abs(depth)))
    else:
        extent = float(np.median(np.linalg.norm(centers - center, axis=1)))
    extent = max(extent, 1e-9)
    spread = float(np.quantile(np.linalg.norm(rows[:, MEAN] - np.median(rows[:, MEAN], 0), axis=1), 0.98))
    if config.num_far and method != "visual hull":
        reach = 3 * max(spread, extent) + float(np.linalg.norm(centers - centers.mean(0), axis=1).max())
        far = splat_far.far_away(
            rows,
            stack,
            level,
            NEAR * extent,
            distance=reach,
            most=min(config.num_far, config.max_splats // 10),
            seed=config.seed,
        )
        rows = np.concatenate([rows, far])
    exposure = np.zeros((len(stack.names), 18), np.float32)
    exposure[:, :3] = 1
    blank = np.zeros_like(rows)
    return SplatState(
        0, rows, blank, blank, np.zeros((len(rows), 4), np.float32), stack.names, exposure, stack.origin, extent, method
    )


@dataclass
class Work:
    """Arrays that training changes, and room that it uses again and again."""

    rows: np.ndarray
    first: np.ndarray
    second: np.ndarray
    score: np.ndarray
    exposure: np.ndarray
    frame: Any = None
    gradient: np.ndarray | None = None

    @classmethod
    def of(cls, state: SplatState) -> Work:
        """Copies of a state's arrays."""
        return cls(*(np.array(a) for a in (state.rows, state.first, state.second, state.score, state.exposure)))


def train(
    state: SplatState,
    stack: PhotoStack,
    until: int,
    *,
    depths: Callable[[str, int], DepthMap | None] | None = None,
    watch: Callable[[int, np.ndarray], bool] | None = None,
    config: SplatsConfig,
) -> SplatState:
    """Training up to `until` iterations.

    depths: name and level -> known depth of that photo's size, where config.depth_weight or normal_weight asks for it.
    watch: told the iteration and the rows (which change) after each step; training ends there when it says False.
    """
    work = Work.of(state)
    steps = np.arange(1, NUM_BIAS + 1)
    bias = np.stack([1 / (1 - beta**steps) for beta in BETAS]).astype(np.float32)
    order, epoch, reached = np.zeros(0, int), -1, state.iteration
    for iteration in range(state.iteration, min(until, config.iterations)):
        if config.filter_3d > 0 and iteration % (2 * config.grow_every) == 0:
            _set_filter(work.rows, stack, config)
        if iteration // len(stack.names) != epoch:
            epoch = iteration // len(stack.names)
            order = np.random.default_rng([config.seed, 7, epoch]).permutation(len(stack.names))
        _step(work, stack, int(order[iteration % len(stack.names)]), iteration, state.extent, depths, bias, config)
        done = iteration + 1
        if done % config.grow_every == 0 and done < config.iterations:
            grow(work, done, config)
        reached = done
        if watch is not None and not watch(done, work.rows):
            break
    return replace(
        state,
        iteration=reached,
        rows=work.rows,
        first=work.first,
        second=work.second,
        score=work.score,
        exposure=work.exposure,
    )


def finish(state: SplatState, *, config: SplatsConfig) -> Splats:
    """The splats of a state; those too faint to be seen are left out."""
    opacity = 1 / (1 + np.exp(-state.rows[:, LOGIT].astype(np.float64)))
    keep = (opacity >= config.min_opacity) & np.isfinite(state.rows).all(1)
    return splats_of(
        state.rows[keep],
        degree=config.degree,
        antialiased=config.antialiased,
        background=config.background,
        origin=state.origin,
    )


def rates(iteration: int, extent: float, config: SplatsConfig) -> np.ndarray:
    """Learning rates float32 (64,) of a row at one step."""
    r = np.zeros(64, np.float64)
    r[MEAN] = config.mean_rate * extent * 0.01 ** (iteration / config.iterations)
    r[LOGIT] = config.opacity_rate
    r[QUAT] = config.turn_rate
    r[SCALE] = config.scale_rate
    r[HARMONICS : HARMONICS + 3] = config.color_rate
    r[HARMONICS + 3 :] = config.color_rate / 20
    return r.astype(np.float32)


def _step(
    work: Work,
    stack: PhotoStack,
    number: int,
    iteration: int,
    extent: float,
    depths: Callable[[str, int], DepthMap | None] | None,
    bias: np.ndarray,
    config: SplatsConfig,
) -> None:
    level = config.level(iteration)
    name = stack.names[number]
    photo = stack.get(name, level)
    w, h = photo.size
    background = np.array(config.background, np.float32)
    if config.random_background and photo.alpha is not None:
        background = np.random.default_rng([config.seed, 8, iteration]).uniform(size=3).astype(np.float32)
    known = depths(name, level) if depths and (config.depth_weight or config.normal_weight) else None
    channels = 3 if known is None else 7 if config.normal_weight else 4
    work.frame = kernels.splat_forward(
        work.rows,
        photo.camera,
        photo.cam_from_world,
        w,
        h,
        NEAR * extent,
        config.degree_at(iteration),
        channels,
        config.antialiased,
        background,
        False,
        work.frame,
    )
    features = work.frame.features
    if work.gradient is None or work.gradient.shape != (channels, h, w):
        work.gradient = np.zeros((channels, h, w), np.float32)
    gain, offset = np.ones(3, np.float32), np.zeros(3, np.float32)
    if config.exposure:
        gain, offset = work.exposure[number, :3].copy(), work.exposure[number, 3:6].copy()
    errors = np.zeros((-(-h // 16), -(-w // 16)), np.float32)
    weights = None
    if config.robust and iteration > 0.1 * config.iterations:
        kernels.photo_loss(
            features, photo.pixels, photo.alpha, photo.mask, None, background, gain, offset, 0.0, work.gradient, errors
        )
        weights = trusted(errors)
    result = kernels.photo_loss(
        features,
        photo.pixels,
        photo.alpha,
        photo.mask,
        weights,
        background,
        gain,
        offset,
        config.dssim,
        work.gradient,
        errors,
    )
    d_light = None
    if known is not None:
        d_light = _known_shape(work, photo, known, config)
    share = 1.0 / max(len(work.rows), 1)
    kernels.splat_update(
        work.frame,
        work.gradient,
        d_light,
        work.rows,
        work.first,
        work.second,
        work.score,
        rates(iteration, extent, config),
        bias,
        *BETAS,
        EPSILON,
        config.opacity_weight * share,
        config.scale_weight * share / extent,
    )
    if config.exposure and iteration > 0.05 * config.iterations:
        expose(work.exposure, number, np.array([*result[4], *result[5]]), iteration)


def trusted(errors: np.ndarray) -> np.ndarray:
    """Weights 0 or 1 of blocks of a photo: those that differ from the rendering far more than the photo does as a whole
    are left out, together with what surrounds them when most of it differs (after Sabour et al. 2023, "RobustNeRF",
    eqs. 5 to 8: trimmed by rank, smoothed, and voted on by the neighbourhood)."""
    import cv2

    limit = max(3.0 * float(np.quantile(errors, 0.5)), float(np.quantile(errors, 0.8)), 0.02)
    outlier = (errors > limit).astype(np.float32)
    around = cv2.blur(outlier, (3, 3), borderType=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(np.where((outlier > 0) & (around > 0.3) | (around > 0.6), 0.0, 1.0), np.float32)


def _known_shape(work: Work, photo: SizedPhoto, known: DepthMap, config: SplatsConfig) -> np.ndarray:
    """Gradients of depth and normals, put into the gradient's channels; returns that of the transmittance.

    With D = sum(w z) and what comes through T, |D - (1 - T) z| / z is 0 where everything that is seen lies at the known
    depth z; with N = sum(w n), (1 - T) - N . n is 0 where all normals are the known one."""
    assert work.gradient is not None
    features, light = work.frame.features, work.frame.transmittance
    w, h = photo.size
    z = known.depth
    valid = np.isfinite(z)
    if photo.mask is not None:
        valid &= photo.mask > 0
    share = 1.0 / (w * h)
    safe = np.where(valid, z, 1.0)
    sign = np.where(valid, np.sign(features[3] - (1 - light) * safe), 0.0) * (config.depth_weight * share)
    work.gradient[3] = sign / safe
    d_light = sign.astype(np.float32)
    if config.normal_weight:
        there = valid & np.isfinite(known.normals).all(-1)
        weight = np.where(there, config.normal_weight * share, 0.0)
        work.gradient[4:7] = -np.nan_to_num(known.normals).transpose(2, 0, 1) * weight
        d_light -= weight.astype(np.float32)
    return d_light


def expose(exposure: np.ndarray, number: int, gradient: np.ndarray, iteration: int) -> None:
    """One step of Adam on a photo's gain and bias; then the mean over photos is put back to no change, so that the
    scene does not drift towards a tint."""
    row = exposure[number].astype(np.float64)
    first = 0.9 * row[6:12] + 0.1 * gradient
    second = 0.99 * row[12:18] + 0.01 * gradient**2
    row[:6] -= 1e-3 * first / (np.sqrt(second) + 1e-12)
    exposure[number] = np.concatenate([row[:6], first, second])
    exposure[:, :3] -= exposure[:, :3].mean(0) - 1
    exposure[:, 3:6] -= exposure[:, 3:6].mean(0)


def _set_filter(rows: np.ndarray, stack: PhotoStack, config: SplatsConfig) -> None:
    """The variance that no Gaussian falls below, in squared pixels of the photo that shows it largest (Yu et al. 2024,
    eqs. 6 and 8; they take 0.2 together with a pixel filter of 0.1 where ours has 0.3)."""
    means = rows[:, MEAN]
    least = np.full(len(rows), np.inf, np.float32)
    chosen = np.unique(np.linspace(0, len(stack.names) - 1, min(len(stack.names), FILTER_PHOTOS)).astype(int))
    for name in (stack.names[k] for k in chosen):
        p = stack.get(name, 0)
        T = p.cam_from_world.astype(np.float32)
        x, y, z = (means @ T[k, :3] + T[k, 3] for k in range(3))
        w, h = p.size
        fx, fy, cx, cy = p.camera.astype(np.float32)
        inside = (
            (z > 0)
            & (np.abs(fx * x + (cx - w / 2) * z) < 0.65 * w * z)
            & (np.abs(fy * y + (cy - h / 2) * z) < 0.65 * h * z)
        )
        pixel = z / max(fx, fy)
        np.minimum(least, np.where(inside, pixel, np.inf), out=least)
    rows[:, FILTER] = np.where(np.isfinite(least), config.filter_3d * least**2, 0.0)


def grow(work: Work, iteration: int, config: SplatsConfig) -> None:
    """Up to grow_until the number follows a curve that reaches the cap with the last change; later ones only drop."""
    last = int(config.grow_until * config.iterations) // config.grow_every * config.grow_every
    if iteration > last and iteration % (5 * config.grow_every):
        return
    target = 0 if iteration > last else int(config.max_splats * (iteration / last) ** 0.8)
    grown = splat_density.change(
        work.rows,
        work.first,
        work.second,
        work.score,
        target=target,
        min_opacity=config.min_opacity,
    )
    work.rows, work.first, work.second = grown.rows, grown.first, grown.second
    work.score = np.zeros((len(work.rows), 4), np.float32)


def held_out(names: Sequence[str], every: int = 8) -> tuple[str, ...]:
    """Every 8th photo, in the order of names, beginning with the first (the protocol of Mip-NeRF 360)."""
    return tuple(names[::every]) if every > 0 else ()
