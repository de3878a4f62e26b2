"""Fitting a photo's depth to few observations: most probable scale and shift, and how every error moves them.

True log depth at a place is the network's at (a, b) plus a random field (`scale_error.Field`), so observations near
each other count for little more than one. Scale enters every logarithm as a constant and is solved for exactly; shift
is searched on a line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rilievo.stages.references import Observation
from rilievo.stages.scale_error import Field, Places, ShapeError
from rilievo.types import Camera

# eta = log(shift above the least allowed, in spans of disparity): depth ratios in a photo from 1.004 to over 1000.
_ETAS = np.linspace(-7.0, 5.5, 126)


@dataclass(frozen=True)
class Family:
    """The (a, b) that a photo may have: 1/depth = exp(log_scale) * (d - low + span * exp(eta)) / middle(eta), or, where
    b is 0, exp(log_scale) * d / typical. low, span: least disparity and its range; typical: its median."""

    low: float
    span: float
    typical: float
    shifted: bool

    @classmethod
    def of(cls, disparity: np.ndarray, shifted: bool) -> Family:
        """From all known disparities of a photo (n,)."""
        low, typical, high = (float(v) for v in np.quantile(disparity, [0.01, 0.5, 0.99]))
        span = max(high - low, 1e-3 * max(high, 1e-12))
        return cls(low, span, max(typical, 1e-12), shifted)

    def factors(self, eta: float) -> tuple[float, float]:
        """(a, b) at log_scale 0: depth 1 at the median disparity."""
        if not self.shifted:
            return 1.0 / self.typical, 0.0
        rise = self.span * math.exp(eta) - self.low
        return 1.0 / (self.typical + rise), rise / (self.typical + rise)

    def contrast(self, eta: np.ndarray | float) -> np.ndarray | float:
        """log(farthest / nearest depth - 1)."""
        return -np.asarray(eta)

    def log_depth(self, disparity: np.ndarray, eta: float) -> np.ndarray:
        """At log_scale 0; NaN behind infinity."""
        a, b = self.factors(eta)
        inverse = a * disparity + b
        return -np.log(np.where(inverse > 1e-9, inverse, 1e-9))

    def gradient(self, disparity: np.ndarray, eta: float) -> np.ndarray:
        """Of log depth with (log_scale, eta): (n, 2)."""
        out = np.stack([-np.ones(len(disparity)), np.zeros(len(disparity))], 1)
        if self.shifted:
            rise = self.span * math.exp(eta)
            here = np.maximum(disparity - self.low + rise, 1e-9 * self.span)
            out[:, 1] = rise / (self.typical - self.low + rise) - rise / here
        return out

    def jacobian(self, log_scale: float, eta: float) -> np.ndarray:
        """Of (a, b) with (log_scale, eta): (2, 2)."""
        a, b = self.factors(eta)
        scale = math.exp(log_scale)
        out = np.array([[scale * a, 0.0], [scale * b, 0.0]])
        if self.shifted:
            rise = self.span * math.exp(eta)
            total = self.typical - self.low + rise
            out[0, 1] = -scale * rise / total**2
            out[1, 1] = scale * rise * (total - (rise - self.low)) / total**2
        return out


@dataclass(frozen=True)
class Problem:
    """Observations of one photo. noise: covariance of their values (n, n). camera: of the map's size."""

    places: Places
    observations: tuple[Observation, ...]
    noise: np.ndarray
    camera: Camera
    focal_sigma: float
    click_px: float

    def rays(self) -> np.ndarray:
        """x/z, y/z and 1 of every place (n, 3)."""
        return rays(self.camera, self.places.xy)

    def subset(self, keep: np.ndarray) -> Problem:
        """With some observations only (bool (n,)); places stay."""
        chosen = tuple(o for o, k in zip(self.observations, keep) if k)
        noise = self.noise[np.ix_(keep, keep)]
        return Problem(self.places, chosen, noise, self.camera, self.focal_sigma, self.click_px)


def rays(camera: Camera, xy: np.ndarray) -> np.ndarray:
    """x/z, y/z and 1 at pixels (n, 2) of a PINHOLE camera: (n, 3)."""
    out = np.ones((len(xy), 3))
    out[:, :2] = (xy - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    return out


@dataclass(frozen=True)
class Linear:
    """Observations around one (a, b): log of what the map says (n,), and how that rises with log depth at the places
    (n, p) and with log focal length (n,). aside: variance that pixels read wrongly across the ray bring (n,)."""

    value: np.ndarray
    by_place: np.ndarray
    by_focal: np.ndarray
    aside: np.ndarray


def observed(observations: tuple[Observation, ...], ray: np.ndarray, log_depth: np.ndarray) -> np.ndarray:
    """Log of what depth maps of log depth (..., p) at rays (p, 3) say of the observations: (..., n)."""
    first, second, is_length, is_ray = _columns(observations)
    value = log_depth[..., first] + np.where(is_ray, 0.5 * np.log1p((ray[first, :2] ** 2).sum(1)), 0.0)
    if is_length.any():
        k, m = first[is_length], second[is_length]
        apart = ray[k] * np.exp(log_depth[..., k])[..., None] - ray[m] * np.exp(log_depth[..., m])[..., None]
        value[..., is_length] = 0.5 * np.log(np.maximum((apart**2).sum(-1), 1e-24))
    return value


def _columns(observations: tuple[Observation, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """First place, last place, whether it is a length, whether along the ray: (n,) each."""
    first = np.array([o.places[0] for o in observations], np.int64)
    last = np.array([o.places[-1] for o in observations], np.int64)
    kinds = np.array([o.kind for o in observations])
    return first, last, kinds == "length", kinds == "ray"


def linearise(
    observations: tuple[Observation, ...],
    ray: np.ndarray,
    log_depth: np.ndarray,
    focal: float,
    click_px: float,
) -> Linear:
    """What depth maps of log depth (p,) at rays (p, 3) say of the observations, and how that changes."""
    n, rows = len(observations), np.arange(len(observations))
    first, last, is_length, is_ray = _columns(observations)
    value = observed(observations, ray, log_depth)
    by_place, aside = np.zeros((n, len(ray))), np.zeros(n)
    by_place[rows, first] = 1.0
    square = (ray[first, :2] ** 2).sum(1)
    by_focal = np.where(is_ray, -square / (1 + square), 0.0)
    if is_length.any():
        k, m, at = first[is_length], last[is_length], rows[is_length]
        x0, x1 = ray[k] * np.exp(log_depth[k])[:, None], ray[m] * np.exp(log_depth[m])[:, None]
        length = np.exp(value[at])
        u = (x0 - x1) / length[:, None]
        by_place[at, k], by_place[at, m] = (u * x0).sum(1) / length, -(u * x1).sum(1) / length
        across = u[:, 0] ** 2 + u[:, 1] ** 2
        by_focal[at] = -across
        aside[at] = across * (click_px / focal / length) ** 2 * (x0[:, 2] ** 2 + x1[:, 2] ** 2)
    by_focal -= np.array([o.focal_gain for o in observations])
    return Linear(value, by_place, by_focal, aside)


@dataclass(frozen=True)
class Solution:
    """log_scale and eta, their covariance (2, 2), residuals (n,) and how many of their own standard deviations each
    lies from what all others say (n,), fit of all (chi square a degree of freedom), how much both rise with the field
    at the places (2, p) and with log focal length (2,)."""

    log_scale: float
    eta: float
    covariance: np.ndarray
    residual: np.ndarray
    alone: np.ndarray
    chi_square: float
    by_place: np.ndarray
    by_focal: np.ndarray


def solve(problem: Problem, family: Family, field: Field, level: float, prior_scale: tuple[float, float]) -> Solution:
    """Mean log_scale and eta by their posterior. prior_scale: mean and standard deviation of log_scale, or infinity.

    The covariance of the observations is taken at the photo's field (a, b as in `field`), so callers solve twice.
    """
    row = field.row
    ray, places = problem.rays(), problem.places
    seen = np.array([o.value for o in problem.observations])
    shared = level**2 * field.between(places, places)
    own = level**2 * field.alone(places) + field.click(places, problem.click_px)
    log_depth = -np.log(np.maximum(field.a * places.disparity + field.b, 1e-9))

    def around(z: np.ndarray) -> Linear:
        return linearise(problem.observations, ray, z, problem.camera.fx, problem.click_px)

    linear = around(log_depth)
    own_and_shared = shared + np.diag(own)
    V = linear.by_place @ own_and_shared @ linear.by_place.T
    V += problem.focal_sigma**2 * np.outer(linear.by_focal, linear.by_focal) + problem.noise
    V += np.diag(linear.aside + 1e-8 + across_variance(problem.observations, ray, log_depth, own_and_shared))
    grid = _search(problem, family, row, seen, V, prior_scale) if family.shifted else (0.0, 0.0, 0.0)
    return _finish(problem, family, row, seen, V, around, prior_scale, grid)


def across_variance(
    observations: tuple[Observation, ...], ray: np.ndarray, log_depth: np.ndarray, covariance: np.ndarray
) -> np.ndarray:
    """Variance of log length (n,) from ends that are off across the line between them, 0 but for lengths.

    To first order that changes no length; but ends that the map puts at one depth, and that are apart in depth, are
    much farther apart than they look: sqrt(1 + (offset / length)^2) times, taken where the offset is 1.96 sigma.
    covariance: of log depth at the places (p, p).
    """
    out = np.zeros(len(observations))
    for i, seen in enumerate(observations):
        if seen.kind != "length":
            continue
        k, m = seen.places
        x0, x1 = ray[k] * math.exp(log_depth[k]), ray[m] * math.exp(log_depth[m])
        D = np.outer(x0, x0) * covariance[k, k] + np.outer(x1, x1) * covariance[m, m]
        D -= (np.outer(x0, x1) + np.outer(x1, x0)) * covariance[k, m]
        square = max(float((x0 - x1) @ (x0 - x1)), 1e-24)
        aside = max(float(np.trace(D) - (x0 - x1) @ D @ (x0 - x1) / square), 0.0)
        out[i] = (0.5 * math.log1p(1.96**2 * aside / square) / 1.96) ** 2
    return out


def _search(
    problem: Problem,
    family: Family,
    row: ShapeError,
    seen: np.ndarray,
    V: np.ndarray,
    prior_scale: tuple[float, float],
) -> tuple[float, float, float]:
    """Mean and variance of eta by its posterior on a grid, log_scale solved for at each, and how log_scale follows."""
    inverse = np.linalg.inv(V)
    mean, doubt = prior_scale
    known = 0.0 if math.isinf(doubt) else doubt**-2
    tried = np.stack([family.log_depth(problem.places.disparity, eta) for eta in _ETAS])
    residual = seen - observed(problem.observations, problem.rays(), tried)
    offset = ((residual @ inverse).sum(1) - mean * known) / (inverse.sum() + known)  # of log depth: -log_scale
    left = residual - offset[:, None]
    cost = np.einsum("ki,ij,kj->k", left, inverse, left, optimize=True) + known * (offset + mean) ** 2
    cost += ((family.contrast(_ETAS) - row.contrast) / row.contrast_doubt) ** 2
    likely = np.exp(-0.5 * (cost - cost.min()))
    likely /= likely.sum()
    # Mean and spread of the logarithm of the depth ratio, which is what lengths depend on; eta itself has long tails
    # where the photo is nearly flat.
    ratio = np.log1p(np.exp(-_ETAS))
    mean_ratio = float(likely @ ratio)
    doubt_ratio = math.sqrt(max(float(likely @ (ratio - mean_ratio) ** 2), 0.0))
    eta = -math.log(math.expm1(max(mean_ratio, 1e-3)))
    steep = 1 / (1 + math.exp(eta))  # of ratio with -eta
    return eta, (doubt_ratio / steep) ** 2, float(np.interp(eta, _ETAS, -np.gradient(offset, _ETAS)))


def _finish(
    problem: Problem,
    family: Family,
    row: ShapeError,
    seen: np.ndarray,
    V: np.ndarray,
    around: Callable[[np.ndarray], Linear],
    prior_scale: tuple[float, float],
    grid: tuple[float, float, float],
) -> Solution:
    """Scale at the grid's eta, gains by the linear model there; covariance by that too, or wider where the grid is."""
    places = problem.places
    eta, variance, follows = grid
    linear = around(family.log_depth(places.disparity, eta))
    inverse = np.linalg.inv(V)
    J = linear.by_place @ family.gradient(places.disparity, eta)  # with (log_scale, eta)
    mean, doubt = prior_scale
    prior = np.zeros((2, 2))
    if math.isfinite(doubt):
        prior[0, 0] = doubt**-2
    prior[1, 1] = row.contrast_doubt**-2 if family.shifted else 1e12
    weight, right = float(inverse.sum()), float((inverse @ (seen - linear.value)).sum())
    if math.isfinite(doubt):
        weight, right = weight + doubt**-2, right - mean / doubt**2
    log_scale = -right / weight
    residual = seen - linear.value + log_scale
    information = J.T @ inverse @ J + prior
    covariance = np.linalg.inv(information)
    if not family.shifted:
        covariance[1] = covariance[:, 1] = 0.0
    gain = covariance @ J.T @ inverse
    along = np.array([follows, 1.0])
    covariance = covariance + max(variance - covariance[1, 1], 0.0) * np.outer(along, along)
    Q = inverse - inverse @ J @ np.linalg.inv(information) @ J.T @ inverse
    alone = (Q @ residual) / np.sqrt(np.maximum(np.diag(Q), 1e-12))
    freedom = max(len(seen) - (2 if family.shifted else 1) + (1 if math.isfinite(doubt) else 0), 0)
    chi = float(residual @ inverse @ residual) / freedom if freedom else 1.0
    return Solution(log_scale, eta, covariance, residual, alone, chi, gain @ linear.by_place, gain @ linear.by_focal)
