"""Lengths, depths and angles between pixels of one photo in metres, with what their errors have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rilievo.errors import InputError
from rilievo.stages.references import Observation, spell
from rilievo.stages.scale_error import Field, Places, look_up
from rilievo.stages.scale_fit import DEFAULT, ScaleConfig, no_depth
from rilievo.stages.scale_solve import across_variance, linearise, rays
from rilievo.types import PhotoDepth, ScaleFit


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
    by_ab, shared, anchors_field = shared_error(field, fit, places, photo_depth)
    own = fit.spread**2 * field.alone(places) + field.click(places, click_px)
    focal = photo_depth.focal_sigma**2
    # true - map = field - by_ab . (a, b wrong); a and b are wrong by the gains times the field at the anchors, by the
    # focal gain times the focal length's error, and by noise: covariance holds all three.
    cross = anchors_field @ by_ab.T
    out = shared + np.diag(own) + by_ab @ fit.covariance @ by_ab.T - cross - cross.T
    with_focal = -(by_ab @ np.asarray(fit.focal_gain, np.float64)) * focal
    return out, with_focal


def shared_error(
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
    relative = linear.by_place @ seen.covariance @ linear.by_place.T + np.diag(
        linear.aside + across_variance(observations, ray, seen.log_depth, seen.covariance)
    )
    focal = linear.by_focal * photo_depth.focal_sigma
    relative += np.outer(focal, focal)
    mixed = np.outer(linear.by_place @ seen.with_focal, linear.by_focal)
    relative += mixed + mixed.T
    return lengths, relative * np.outer(lengths, lengths)


def depths_at(
    photo_depth: PhotoDepth,
    fit: ScaleFit,
    xy: np.ndarray,
    *,
    photo_size: tuple[int, int] | None = None,
    config: ScaleConfig = DEFAULT,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth (n,) at pixels xy (n, 2), distance from the lens (n,), and the standard deviation of both (n, 2), in
    `fit.unit`. Raises InputError as `length_between`."""
    seen = measure_places(photo_depth, fit, xy, photo_size=photo_size, config=config)
    distance = np.linalg.norm(seen.points, axis=1)
    depth = seen.points[:, 2]
    square = (seen.points[:, :2] ** 2).sum(1)
    by_focal = -square / distance**2
    variance = np.diag(seen.covariance)
    along = variance + 2 * by_focal * seen.with_focal + (by_focal * photo_depth.focal_sigma) ** 2
    sigma = np.sqrt(np.maximum(np.stack([variance, along], 1), 0.0))
    return depth, distance, sigma * np.stack([depth, distance], 1)


def angle_at(
    photo_depth: PhotoDepth,
    fit: ScaleFit,
    xy: np.ndarray,
    *,
    photo_size: tuple[int, int] | None = None,
    config: ScaleConfig = DEFAULT,
) -> tuple[float, float]:
    """Angle in degrees at the second of three pixels xy (3, 2), and its standard deviation, by central differences.

    Raises InputError as `length_between`, and where two of the points are one.
    """
    seen = measure_places(photo_depth, fit, xy, photo_size=photo_size, config=config)
    camera, points = photo_depth.camera, seen.points
    if min(np.linalg.norm(points[0] - points[1]), np.linalg.norm(points[2] - points[1])) < 1e-9:
        raise InputError("there is no angle", "two of the three points are the same", "choose three different pixels")

    def angle(change: np.ndarray, focal: float = 0.0) -> float:
        """change: (3, 3) of log depth and of both pixels, px of the map."""
        ray = points[:, :2] / points[:, 2:]
        ray = (ray + change[:, 1:] / [camera.fx, camera.fy]) * math.exp(-focal)
        x = np.concatenate([ray, np.ones((3, 1))], 1) * (points[:, 2] * np.exp(change[:, 0]))[:, None]
        u, v = x[0] - x[1], x[2] - x[1]
        return math.degrees(math.atan2(float(np.linalg.norm(np.cross(u, v))), float(u @ v)))

    factor = 1.0 if photo_size is None else 0.5 * (camera.width / photo_size[0] + camera.height / photo_size[1])
    jacobian = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            step = np.zeros((3, 3))
            step[i, j] = 1e-4 if j == 0 else 0.01
            jacobian[i, j] = (angle(step) - angle(-step)) / (2 * step[i, j])
    by_focal = (angle(np.zeros((3, 3)), 1e-4) - angle(np.zeros((3, 3)), -1e-4)) / 2e-4
    depth = jacobian[:, 0]
    variance = depth @ seen.covariance @ depth + float((jacobian[:, 1:] ** 2).sum()) * (factor * config.click_px) ** 2
    variance += (by_focal * photo_depth.focal_sigma) ** 2 + 2 * by_focal * float(depth @ seen.with_focal)
    return angle(np.zeros((3, 3))), math.sqrt(max(variance, 0.0))


def depth_jump(
    photo_depth: PhotoDepth,
    fit: ScaleFit,
    xy0: Sequence[float],
    xy1: Sequence[float],
    *,
    photo_size: tuple[int, int] | None = None,
    ratio: float = 1.12,
) -> tuple[float, float, float, float] | None:
    """The largest jump of depth on the straight line between two pixels: x, y (px of the photo), depth before and after
    it; None where depth changes nowhere by more than `ratio` within a hundredth of the map and faster than beside.
    Sky on the line counts as a jump to an infinite depth."""
    height, width = photo_depth.disparity.shape
    factor = np.array([1.0, 1.0] if photo_size is None else [width / photo_size[0], height / photo_size[1]])
    start, end = np.asarray(xy0, np.float64) * factor, np.asarray(xy1, np.float64) * factor
    num = max(int(np.abs(end - start).max()), 2)
    line = start + np.linspace(0, 1, num)[:, None] * (end - start)
    column, row = np.clip(line.astype(np.int64), 0, [width - 1, height - 1]).T
    inverse = fit.a * photo_depth.disparity[row, column].astype(np.float64) + fit.b
    inverse[photo_depth.sky[row, column] | ~(inverse > 1e-9)] = 1e-9
    log_depth = -np.log(inverse)
    reach = max(2, round(0.01 * max(width, height)))
    if num <= reach:
        return None
    step = np.abs(log_depth[reach:] - log_depth[:-reach])
    beside = np.zeros_like(step)  # what the surfaces on both sides do over as many pixels
    beside[reach:] = step[:-reach]
    beside[:-reach] = np.maximum(beside[:-reach], step[reach:])
    jump = np.where(step > 2.5 * beside, step, 0.0)
    k = int(np.argmax(jump))
    if jump[k] < math.log(ratio):
        return None
    where = line[k + reach // 2] / factor
    before, after = (float(np.exp(v)) if v < 20 else math.inf for v in (log_depth[k], log_depth[k + reach]))
    return float(where[0]), float(where[1]), before, after


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
