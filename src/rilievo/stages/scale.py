"""One photo in metres: depth of the whole, lengths between pixels, and how far to trust them.

`fit_scale` finds scale and shift from references. Every sigma here is one standard deviation and counts the references,
the clicks, the focal length and the network's own error, which is the largest part and nearly the same for neighbours
(`scale_error`): so a length inside one object is better known than one across the picture, and all are better near the
references.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rilievo.errors import InputError
from rilievo.stages.references import Observation, spell
from rilievo.stages.scale_error import Field, Places, look_up
from rilievo.stages.scale_fit import DEFAULT, ScaleConfig, fit_scale, no_depth
from rilievo.stages.scale_solve import linearise, rays
from rilievo.types import Camera, DepthMap, PhotoDepth, ScaleFit

__all__ = ["ScaleConfig", "fit_scale", "length_between", "metric_depth", "plus_minus", "polyline_lengths"]


def _inverse(fit: ScaleFit, disparity: np.ndarray) -> np.ndarray:
    return fit.a * disparity + fit.b


@dataclass(frozen=True)
class Measured:
    """Places looked up for measuring: points in the camera (n, 3), log depth (n,), the covariance of its errors (n, n)
    and their covariance with that of log focal length (n,)."""

    points: np.ndarray
    log_depth: np.ndarray
    covariance: np.ndarray
    with_focal: np.ndarray
    ripple: np.ndarray


def measure_places(
    photo_depth: PhotoDepth,
    fit: ScaleFit,
    xy: np.ndarray,
    *,
    photo_size: tuple[int, int] | None = None,
    config: ScaleConfig = DEFAULT,
) -> Measured:
    """Points at pixels xy (n, 2) and what their errors have in common. Raises InputError where there is no depth."""
    camera = photo_depth.camera
    xy = np.asarray(xy, np.float64).reshape(-1, 2)
    factor = np.array(
        [1.0, 1.0] if photo_size is None else [camera.width / photo_size[0], camera.height / photo_size[1]]
    )
    places = look_up(photo_depth, xy * factor)
    for k, reason in enumerate(places.reason):
        if reason:
            raise no_depth(reason, xy[k], photo_depth)
    inverse = _inverse(fit, places.disparity)
    if (inverse <= 0).any():
        k = int(np.argmin(inverse))
        raise InputError(
            f"the pixel at {spell(xy[k])} has no depth",
            "it lies farther away than the references allow to tell",
            "add a reference that is about as far away",
        )
    log_depth = -np.log(inverse)
    field = Field.of(photo_depth, fit.a, fit.b)
    covariance, with_focal = _error(field, fit, places, photo_depth, float(factor.mean()) * config.click_px)
    points = rays(camera, places.xy) * np.exp(log_depth)[:, None]
    return Measured(points, log_depth, covariance, with_focal, field.a * places.ripple / inverse)


def _error(
    field: Field, fit: ScaleFit, places: Places, photo_depth: PhotoDepth, click_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Covariance of (true log depth - the map's) at places (n, n), and with log focal length (n,)."""
    by_ab, shared, anchors_field = _shared(field, fit, places, photo_depth)
    own = fit.spread**2 * field.alone(places) + field.click(places, click_px)
    focal = photo_depth.focal_sigma**2
    # true - map = field - by_ab . (a, b wrong); a and b are wrong by the gains times the field at the anchors, by the
    # focal gain times the focal length's error, and by noise: covariance holds all three.
    cross = anchors_field @ by_ab.T
    out = shared + np.diag(own) + by_ab @ fit.covariance @ by_ab.T - cross - cross.T
    with_focal = -(by_ab @ np.asarray(fit.focal_gain, np.float64)) * focal
    return out, with_focal


def _shared(
    field: Field, fit: ScaleFit, places: Places, photo_depth: PhotoDepth
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of log depth with (a, b) (n, 2); covariance of the field between places (n, n); between places and what it does
    to a and b (n, 2)."""
    inverse = np.maximum(_inverse(fit, places.disparity), 1e-12)
    by_ab = -np.stack([places.disparity, np.ones(len(places))], 1) / inverse[:, None]
    shared = fit.spread**2 * field.between(places, places)
    anchors = np.asarray(fit.anchors, np.float64).reshape(-1, 4)
    if not len(anchors):
        return by_ab, shared, np.zeros((len(places), 2))
    at = look_up(photo_depth, anchors[:, :2])
    known = np.isfinite(at.disparity)
    at = at.rows(known)
    return by_ab, shared, fit.spread**2 * field.between(places, at) @ anchors[known, 2:]


def length_between(
    photo_depth: PhotoDepth,
    fit: ScaleFit,
    xy0: Sequence[float],
    xy1: Sequence[float],
    *,
    photo_size: tuple[int, int] | None = None,
    config: ScaleConfig = DEFAULT,
) -> tuple[float, float]:
    """Straight distance between the points seen at two pixels, and its standard deviation, in `fit.unit`.

    Raises InputError where a pixel is outside, on the sky or has no depth.
    """
    xy = np.array([xy0, xy1], np.float64)
    lengths, covariance = polyline_lengths(photo_depth, fit, xy, photo_size=photo_size, config=config)
    return float(lengths[0]), float(math.sqrt(covariance[0, 0]))


def polyline_lengths(
    photo_depth: PhotoDepth,
    fit: ScaleFit,
    xy: np.ndarray,
    *,
    pairs: np.ndarray | None = None,
    photo_size: tuple[int, int] | None = None,
    config: ScaleConfig = DEFAULT,
) -> tuple[np.ndarray, np.ndarray]:
    """Lengths (m,) between pixels xy (n, 2) taken by `pairs` int (m, 2) (None: each with the next), and their
    covariance (m, m). Raises InputError as `length_between`."""
    xy = np.asarray(xy, np.float64).reshape(-1, 2)
    pairs = np.stack([np.arange(len(xy) - 1), np.arange(1, len(xy))], 1) if pairs is None else np.asarray(pairs)
    seen = measure_places(photo_depth, fit, xy, photo_size=photo_size, config=config)
    camera = photo_depth.camera
    factor = 1.0 if photo_size is None else 0.5 * (camera.width / photo_size[0] + camera.height / photo_size[1])
    observations = tuple(Observation("length", (int(i), int(j)), 0.0, 0.0, k) for k, (i, j) in enumerate(pairs))
    ray = rays(
        camera, xy * ([1, 1] if photo_size is None else [camera.width / photo_size[0], camera.height / photo_size[1]])
    )
    linear = linearise(observations, ray, seen.log_depth, camera.fx, factor * config.click_px)
    lengths = np.exp(linear.value)
    relative = linear.by_place @ seen.covariance @ linear.by_place.T + np.diag(linear.aside)
    focal = linear.by_focal * photo_depth.focal_sigma
    relative += np.outer(focal, focal)
    mixed = np.outer(linear.by_place @ seen.with_focal, linear.by_focal)
    relative += mixed + mixed.T
    return lengths, relative * np.outer(lengths, lengths)


def plus_minus(length: float, sigma: float) -> float:
    """Half the width of the interval length +- that holds the truth with 95 %, errors being normal in the logarithm."""
    if not sigma > 0 or not length > 0:
        return 0.0
    relative = sigma / length
    low, high = 1.96 * relative * 0.5, math.expm1(2.0 * relative) + 1e-9
    for _ in range(40):
        middle = 0.5 * (low + high)
        below = math.log1p(-middle) / relative if middle < 1 else -math.inf
        inside = 0.5 * (math.erf(math.log1p(middle) / relative / math.sqrt(2)) - math.erf(below / math.sqrt(2)))
        low, high = (middle, high) if inside < 0.95 else (low, middle)
    return length * high


# --- whole maps -------------------------------------------------------------------------------------------------------


def metric_depth(photo_depth: PhotoDepth, fit: ScaleFit, *, config: ScaleConfig = DEFAULT) -> DepthMap:
    """The whole photo in `fit.unit`: depth (NaN on sky, where unknown, and beyond infinity), normals, sigma.

    sigma holds network, references, focal length (as far as the references leave it in depth) and soft edges.
    """
    disparity = photo_depth.disparity
    with np.errstate(invalid="ignore", divide="ignore"):
        inverse = np.float32(fit.a) * disparity + np.float32(fit.b)
        depth = np.float32(1) / inverse
    depth[~(inverse > 0) | photo_depth.sky | ~np.isfinite(depth)] = np.nan
    sigma = depth * _relative_sigma(photo_depth, fit, config)
    eye = np.concatenate([np.eye(3), np.zeros((3, 1))], 1)
    normals = depth_normals(depth, photo_depth.camera)
    confidence = np.where(np.isfinite(depth), photo_depth.confidence, np.float32(0)).astype(np.float32)
    return DepthMap(photo_depth.name, photo_depth.camera, eye, depth, normals, confidence, sigma.astype(np.float32))


def _relative_sigma(photo_depth: PhotoDepth, fit: ScaleFit, config: ScaleConfig) -> np.ndarray:
    """float32 (h, w): computed on a grid of at most about 12 000 pixels and spread from there."""
    import cv2

    height, width = photo_depth.disparity.shape
    step = max(1, math.ceil(math.sqrt(height * width / 12000)))
    x, y = np.meshgrid(np.arange(step // 2, width, step) + 0.5, np.arange(step // 2, height, step) + 0.5)
    places = look_up(photo_depth, np.stack([x.reshape(-1), y.reshape(-1)], 1))
    known = np.isfinite(places.disparity) & (_inverse(fit, places.disparity) > 0)
    variance = np.full(len(places), np.nan)
    if known.any():
        at = places.rows(known)
        field = Field.of(photo_depth, fit.a, fit.b)
        parts = []
        for k in range(0, len(at), 500):
            some = at.rows(np.arange(k, min(k + 500, len(at))))
            by_ab, shared, anchored = _shared(field, fit, some, photo_depth)
            own = fit.spread**2 * field.alone(some) + field.click(some, config.click_px)
            moved = np.einsum("ni,ij,nj->n", by_ab, fit.covariance, by_ab) - 2 * (by_ab * anchored).sum(1)
            parts.append(np.diag(shared) + own + moved)
        variance[known] = np.concatenate(parts)
        variance[~known] = np.median(variance[known])
    small = np.sqrt(np.maximum(variance, 0.0)).reshape(x.shape).astype(np.float32)
    if step == 1:
        return small
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def depth_normals(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Unit normals facing the camera, float32 (h, w, 3), from central differences of inverse depth (of a plane it is
    linear in the pixel); NaN where depth is. Next to unknown depth the difference to the one side is taken."""
    with np.errstate(invalid="ignore", divide="ignore"):
        inverse = np.float32(1) / depth
    wx, wy = _difference(inverse, 1), _difference(inverse, 0)
    height, width = depth.shape
    x = ((np.arange(width) + 0.5 - camera.cx) / camera.fx).astype(np.float32)[None, :]
    y = ((np.arange(height) + 0.5 - camera.cy) / camera.fy).astype(np.float32)[:, None]
    # Plane n . X = 1 with X = depth (x, y, 1): inverse depth = n . (x, y, 1).
    out = np.empty((height, width, 3), np.float32)
    out[..., 0], out[..., 1] = wx * np.float32(camera.fx), wy * np.float32(camera.fy)
    out[..., 2] = inverse - out[..., 0] * x - out[..., 1] * y
    norm = np.sqrt(out[..., 0] ** 2 + out[..., 1] ** 2 + out[..., 2] ** 2)
    norm = np.maximum(norm, np.float32(1e-20))
    out /= -norm[..., None]
    return out


def _difference(values: np.ndarray, axis: int) -> np.ndarray:
    """Central differences, one-sided next to NaN and borders; 0 where there is no neighbour, NaN where values are."""
    v = np.moveaxis(values, axis, 0)
    after, before = np.zeros_like(v), np.zeros_like(v)
    step = v[1:] - v[:-1]
    good = np.isfinite(step)
    after[:-1] = np.where(good, step, 0)
    before[1:] = np.where(good, step, 0)
    count = np.zeros(v.shape, np.float32)
    count[:-1] += good
    count[1:] += good
    out = (after + before) / np.maximum(count, 1)
    out[~np.isfinite(v)] = np.nan
    return np.moveaxis(out, 0, axis)
