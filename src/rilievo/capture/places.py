"""Places on the ground: latitude and longitude to a level plane in metres and back, UTM to latitude and longitude."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rilievo.stages.georeference import ecef_from_geodetic, enu_from_ecef

# WGS 84
_A, _F = 6378137.0, 1 / 298.257223563
_K0 = 0.9996  # UTM's scale on its middle meridian


@dataclass(frozen=True)
class Plane:
    """The plane that touches the ellipsoid at a place: x east, y north, in metres. Heights are kept apart: z is the
    difference from `height`, so that a level flight stays level and the curvature of the earth is left out."""

    latitude: float
    longitude: float
    height: float = 0.0

    def from_degrees(self, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
        """Latitudes and longitudes (n,) -> x, y (n, 2)."""
        to_plane = enu_from_ecef(np.array([self.latitude, self.longitude, 0.0]))
        ecef = ecef_from_geodetic(
            np.asarray(latitude, float), np.asarray(longitude, float), np.zeros(np.shape(latitude))
        )
        return (ecef @ to_plane[:, :3].T + to_plane[:, 3])[..., :2]

    def to_degrees(self, xy: np.ndarray) -> np.ndarray:
        """x, y (n, 2) -> latitude, longitude (n, 2), by Newton's method: exact to 1e-12 degrees."""
        xy = np.asarray(xy, np.float64)
        e2 = _F * (2 - _F)
        s = math.sin(math.radians(self.latitude))
        n = _A / math.sqrt(1 - e2 * s * s)
        m = n * (1 - e2) / (1 - e2 * s * s)
        scale = np.degrees([1 / m, 1 / (n * max(math.cos(math.radians(self.latitude)), 1e-9))])
        out = np.array([self.latitude, self.longitude]) + xy[..., ::-1] * scale
        for _ in range(8):
            error = xy - self.from_degrees(out[..., 0], out[..., 1])
            out = out + error[..., ::-1] * scale
        return out


def utm_from_degrees(latitude: np.ndarray, longitude: np.ndarray, zone: int, south: bool) -> np.ndarray:
    """Easting, northing (n, 2) in a UTM zone on WGS 84 (Krueger's series, n^3: below a millimetre)."""
    n = _F / (2 - _F)
    a = _A / (1 + n) * (1 + n**2 / 4 + n**4 / 64)
    alpha = (n / 2 - 2 * n**2 / 3 + 5 * n**3 / 16, 13 * n**2 / 48 - 3 * n**3 / 5, 61 * n**3 / 240)
    phi = np.radians(latitude)
    lam = np.radians(np.asarray(longitude, float) - (6 * zone - 183))
    k = 2 * math.sqrt(n) / (1 + n)
    t = np.sinh(np.arctanh(np.sin(phi)) - k * np.arctanh(k * np.sin(phi)))
    xi, eta = np.arctan2(t, np.cos(lam)), np.arctanh(np.sin(lam) / np.sqrt(1 + t * t))
    east, north = eta.copy(), xi.copy()
    for j, c in enumerate(alpha, 1):
        east = east + c * np.cos(2 * j * xi) * np.sinh(2 * j * eta)
        north = north + c * np.sin(2 * j * xi) * np.cosh(2 * j * eta)
    return np.stack([500_000 + _K0 * a * east, _K0 * a * north + (10_000_000 if south else 0)], -1)


def course_deg(step: np.ndarray) -> float:
    """Direction of a step (x east, y north), degrees clockwise from north, 0 to 360."""
    return math.degrees(math.atan2(step[0], step[1])) % 360


def bends(count: int, off: Callable[[int, int], np.ndarray], tolerance: float) -> list[int]:
    """Which of a line's points are enough for it (Douglas & Peucker 1973). off: how far those between the points a and
    b leave the straight way from one to the other, (b - a - 1,)."""
    kept = {0, count - 1}
    waiting = [(0, count - 1)]
    while waiting:
        a, b = waiting.pop()
        if b - a < 2:
            continue
        away = off(a, b)
        if away.max() > tolerance:
            k = a + 1 + int(away.argmax())
            kept.add(k)
            waiting += [(a, k), (k, b)]
    return sorted(kept)
