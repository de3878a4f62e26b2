"""Lengths, angles, areas of points picked on a surface, with their plus-minus.

A point's covariance (3, 3) says how far it may be off; errors of different points count as independent. Values are
float64, in the scene's own unit, before the scale that the user has set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rilievo.errors import InputError

# kind -> (fewest points, most points, power of the unit of length)
KINDS: dict[str, tuple[int, int, int]] = {
    "distance": (2, 2, 1),
    "path": (2, 1000, 1),
    "height": (2, 2, 1),
    "angle": (3, 3, 0),
    "area": (3, 1000, 2),
    "volume": (3, 1000, 3),
}
_POWERS = {1: "", 2: "²", 3: "³"}


@dataclass(frozen=True)
class Unit:
    """How the scene's lengths are told. scale: of lengths.  name: "m", or "unknown".  doubt: relative standard
    deviation of the scale, None where nobody knows it."""

    scale: float = 1.0
    name: str = "unknown"
    doubt: float | None = None


def distance(points: np.ndarray) -> float:
    """Between two points (2, 3)."""
    return float(np.linalg.norm(points[1] - points[0]))


def path(points: np.ndarray) -> float:
    """Along points (n, 3)."""
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def height(points: np.ndarray, up: np.ndarray) -> float:
    """How much higher the second of two points (2, 3) is along the unit vector `up`."""
    return float((points[1] - points[0]) @ up)


def angle(points: np.ndarray) -> float:
    """At the second of three points (3, 3), degrees."""
    a, b = points[0] - points[1], points[2] - points[1]
    return math.degrees(math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b)))


def fit_plane(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(point (3,), axes (3, 3)) of the plane nearest to points (n, 3), least squares: two axes in it, then its normal,
    right-handed. Raises InputError when the points lie on one line."""
    center = points.mean(0)
    _, extent, axes = np.linalg.svd(points - center)
    if len(extent) < 2 or extent[1] <= 1e-9 * max(extent[0], 1e-300):
        raise InputError(
            "the points lie on one line", "they span no area", "pick points around the area, in their order"
        )
    axes = axes.copy()
    if np.linalg.det(axes) < 0:
        axes[2] = -axes[2]
    return center, axes


def area(points: np.ndarray) -> float:
    """Of the polygon (n, 3), laid flat on the plane that fits it best."""
    center, axes = fit_plane(points)
    x, y = ((points - center) @ axes[:2].T).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def propagate(function: Callable[[np.ndarray], float], points: np.ndarray, covariances: np.ndarray) -> float:
    """Standard deviation of a function of points (n, 3) whose errors have the covariances (n, 3, 3): first order."""
    size = max(float(np.ptp(points, axis=0).max()), 1e-12)
    step = 1e-5 * size
    variance = 0.0
    for i in range(len(points)):
        gradient = np.empty(3)
        for k in range(3):
            ahead, behind = points.copy(), points.copy()
            ahead[i, k] += step
            behind[i, k] -= step
            gradient[k] = (function(ahead) - function(behind)) / (2 * step)
        variance += float(gradient @ covariances[i] @ gradient)
    return math.sqrt(max(variance, 0.0))


def evaluate(kind: str, points: np.ndarray, covariances: np.ndarray | None, up: np.ndarray) -> tuple[float, Any]:
    """(value, sigma or None) of one of the kinds but volume, in the scene's unit; angles in degrees."""
    functions: dict[str, Callable[[np.ndarray], float]] = {
        "distance": distance,
        "path": path,
        "height": lambda p: height(p, up),
        "angle": angle,
        "area": area,
    }
    function = functions[kind]
    value = function(points)
    if covariances is None:
        return value, None
    if kind in ("distance", "path") and value == 0:
        return value, math.sqrt(float(np.trace(covariances.sum(0))) / 3)
    return value, propagate(function, points, covariances)


def read_points(body: Mapping[str, Any], kind: str) -> np.ndarray:
    """float64 (n, 3) of a measure's document. Raises InputError."""
    least, most, _ = KINDS[kind]
    points = vectors(body.get("points"), "points")
    if not least <= len(points) <= most:
        many = f"{least}" if least == most else f"{least} to {most}"
        raise InputError(f"a measure of {kind} has {many} points", f"{len(points)} were given", "")
    if kind == "angle" and (np.array_equal(points[0], points[1]) or np.array_equal(points[2], points[1])):
        raise InputError("the angle has no sides", "two of its points are the same", "pick three different points")
    return points


def vectors(value: Any, name: str) -> np.ndarray:
    """float64 (n, 3) of a list of lists. Raises InputError when it is none, or holds numbers beyond all sense."""
    try:
        if not isinstance(value, list) or len(value) > 10_000:
            raise ValueError("no list, or a long one")
        if not all(isinstance(row, list) and len(row) == 3 for row in value):
            raise ValueError("not three numbers each")
        if any(isinstance(x, bool) or not isinstance(x, int | float) for row in value for x in row):
            raise ValueError("no numbers")
        points = np.array(value, np.float64).reshape(-1, 3)
    except (ValueError, OverflowError, TypeError) as error:
        raise InputError(f"{name} cannot be read", str(error), "give a list of [x, y, z]") from error
    if not (np.abs(points) < 1e12).all():
        raise InputError(f"{name} cannot be read", "the numbers are not finite, or too large", "")
    return points


def vector(value: Any, name: str) -> np.ndarray:
    """float64 (3,). Raises InputError."""
    return vectors([value], name)[0]


def result(value: float, sigma: float | None, power: int, unit: Unit, why_not: str = "") -> dict[str, Any]:
    """value, sigma, unit, text and sigma_note of a measure whose value and sigma are in the scene's unit to a power;
    power 0: degrees.  why_not: why sigma is None."""
    note = f"plus-minus is not known: {why_not or NO_SIGMA}" if sigma is None else None
    if power == 0:
        return {**_told(value, sigma, "°", "degree"), "sigma_note": note}
    scale = unit.scale**power
    value, sigma = value * scale, None if sigma is None else sigma * scale
    if sigma is not None and unit.doubt is not None:
        sigma = math.hypot(sigma, power * abs(value) * unit.doubt)
    elif sigma is not None:
        note = "without an error of the scale, which is not known"
    if unit.name == "unknown":
        name = {1: "units", 2: "square units", 3: "cubic units"}[power]
        return {**_told(value, sigma, f" {name}", "unknown"), "sigma_note": note}
    name = f"{unit.name}{_POWERS[power]}"
    return {**_told(value, sigma, f" {name}", name), "sigma_note": note}


NO_SIGMA = "the surface does not say its uncertainty here"
OFF_SURFACE = "a point is not on the surface"


def _told(value: float, sigma: float | None, suffix: str, unit: str) -> dict[str, Any]:
    return {"value": value, "sigma": sigma, "unit": unit, "text": spell(value, sigma, suffix)}


def spell(value: float, sigma: float | None, suffix: str) -> str:
    """`1.234 m ± 0.003 m`: sigma rounded up to one digit (two, where the first is 1), value to the same place."""
    if sigma is None or not math.isfinite(sigma) or sigma <= 0:
        return f"{_digits(value, 4 - _place(value)) if value else '0'}{suffix}"
    place = _place(sigma)
    decimals = -place + (1 if sigma / 10.0**place < 2 else 0)
    step = 10.0**-decimals
    shown = math.ceil(sigma / step - 1e-9) * step
    return f"{_digits(value, decimals)}{suffix} ± {_digits(shown, decimals)}{suffix}"


def _place(x: float) -> int:
    """The power of ten of a number's first digit."""
    return math.floor(math.log10(abs(x))) if x else 0


def _digits(x: float, decimals: int) -> str:
    if decimals <= 0:
        return f"{round(x, decimals):.0f}"
    return f"{x:.{min(decimals, 12)}f}"


def covariance(normal: np.ndarray | None, sigma: float, along: float) -> np.ndarray:
    """(3, 3) of a point that is off by `sigma` along the normal and by `along` in the surface."""
    if normal is None:
        return np.eye(3) * max(sigma, along) ** 2
    n = np.outer(normal, normal)
    return sigma**2 * n + along**2 * (np.eye(3) - n)
