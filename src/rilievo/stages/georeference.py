"""From the model's own frame to metres, east, north and up, by the GPS positions of the photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rilievo.types import Photo, Reconstruction

# WGS 84.
_A = 6378137.0
_F = 1 / 298.257223563
_E2 = _F * (2 - _F)

# Standard deviation of a phone's or camera's GPS where the file does not say: level and height.
GPS_STD_M = (4.0, 4.0, 8.0)
# How well the gravity estimate of `upright` knows up.
UP_STD_DEG = 2.0
# A scale that GPS knows worse than this is not a scale.
MAX_SCALE_STD = 0.1


def moved(model: Reconstruction, scale: float, b_from_a: np.ndarray) -> Reconstruction:
    """The model in another frame: x_in_b = scale R x_in_a + t."""
    R, t = b_from_a[:, :3], b_from_a[:, 3]
    centers = scale * model.centers @ R.T + t
    rotations = model.cam_from_world[:, :, :3] @ R.T
    cam_from_world = np.concatenate([rotations, -np.einsum("nij,nj->ni", rotations, centers)[:, :, None]], 2)
    return replace(model, cam_from_world=cam_from_world, points=scale * model.points @ R.T + t)


def ecef_from_geodetic(lat_deg: np.ndarray, lon_deg: np.ndarray, height: np.ndarray) -> np.ndarray:
    """WGS 84 latitude, longitude (deg), ellipsoidal height (m) -> earth-centred coordinates (..., 3) in metres."""
    lat, lon = np.deg2rad(lat_deg), np.deg2rad(lon_deg)
    n = _A / np.sqrt(1 - _E2 * np.sin(lat) ** 2)
    return np.stack(
        [
            (n + height) * np.cos(lat) * np.cos(lon),
            (n + height) * np.cos(lat) * np.sin(lon),
            (n * (1 - _E2) + height) * np.sin(lat),
        ],
        -1,
    )


def enu_from_ecef(origin: np.ndarray) -> np.ndarray:
    """(3, 4) from earth-centred coordinates to east, north, up at origin (latitude deg, longitude deg, height m)."""
    lat, lon = np.deg2rad(origin[:2])
    R = np.array(
        [
            [-np.sin(lon), np.cos(lon), 0.0],
            [-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)],
            [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)],
        ]
    )
    center = ecef_from_geodetic(origin[0], origin[1], origin[2])
    return np.concatenate([R, -(R @ center)[:, None]], 1)


def to_enu(model: Reconstruction, photos: Sequence[Photo], up: np.ndarray) -> Reconstruction | None:
    """The model in metres, east-north-up at the mean GPS position, or with a note why GPS could not be used.

    Returns None when fewer than 3 placed photos have GPS, or when their spread is too small for their noise: the scale
    would be wrong by more than 10 %, or the heading is not determined. `up` (3,), the gravity estimate, takes part
    with a standard deviation of 2 degrees, so that photos along one line are enough and the uncertain GPS height does
    not tilt the model. Outliers are left out by iteratively reweighted least squares (Cauchy) on the residual in
    sigmas.
    """
    by_name = {p.name: p for p in photos}
    rows = [(k, by_name[name]) for k, name in enumerate(model.names) if by_name[name].gps is not None]
    if len(rows) < 3:
        return None
    gps = np.array([p.gps for _, p in rows], np.float64)
    std = np.array([p.gps_std_m or GPS_STD_M for _, p in rows], np.float64)
    std = np.maximum(np.where(np.isfinite(std) & (std > 0), std, np.array(GPS_STD_M)), 0.005)
    origin = np.array([*np.median(gps[:, :2], 0), np.median(gps[:, 2])])
    enu = ecef_from_geodetic(gps[:, 0], gps[:, 1], gps[:, 2]) @ enu_from_ecef(origin)[:, :3].T
    enu = enu + enu_from_ecef(origin)[:, 3]
    centers = model.centers[[k for k, _ in rows]]
    fit = fit_similarity(centers, enu, std, up)
    if fit is None:
        return None
    scale, enu_from_world, residuals, scale_std = fit
    if scale_std > MAX_SCALE_STD:
        return None
    rms = float(np.sqrt(np.mean(np.minimum(residuals, 100.0) ** 2)))
    note = (
        f"scale and frame from the GPS of {len(rows)} photos: median residual {np.median(residuals):.2f} m, "
        f"rms {rms:.2f} m, scale known to {100 * scale_std:.1f} %"
    )
    placed = moved(model, scale, enu_from_world)
    return replace(placed, frame="enu", unit="m", scale_source="gps", origin=origin, georeference_note=note)


def fit_similarity(
    x: np.ndarray, y: np.ndarray, std: np.ndarray, up: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray, float] | None:
    """Robust similarity y ~ scale R x + t with R up ~ (0, 0, 1): (scale, (3, 4), residuals (n,) in m, relative standard
    deviation of the scale), or None when it is not determined.

    x (n, 3) model, y (n, 3) metres, std (n, 3) of y. Gauss-Newton on 7 parameters from level starts at several headings
    (a start by Umeyama's closed form would let noise tilt it), Cauchy weights.
    """
    n = len(x)
    mean = x.mean(0)
    size = float(np.sqrt(np.mean(np.sum((x - mean) ** 2, 1))))
    if size < 1e-12:
        return None
    a = (x - mean) / size
    level = _rotation_to_z(up)
    best = None
    for start in range(8):
        angle = start * np.pi / 4
        c, s = np.cos(angle), np.sin(angle)
        R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ level
        median = np.median(y, 0)
        spread = float(np.sqrt(np.median(np.sum((y - median) ** 2, 1))))
        log_scale = np.log(max(spread, 1e-3))
        t = median.copy()
        found = _gauss_newton(a, y, std, up, R, log_scale, t)
        if found is not None and (best is None or found[0] < best[0] - 1e-9):
            best = found
    if best is None:
        return None
    _, R, log_scale, t, weight, normal = best
    scale = float(np.exp(log_scale))
    residuals = np.linalg.norm(y - (scale * a @ R.T + t), axis=1)
    # Residuals larger than the stated noise make the scale less certain, smaller ones do not make it more certain.
    z = (y - (scale * a @ R.T + t)) / std
    chi = float(np.sum(weight[:, None] * z * z) / max(weight.sum() * 3 - 7, 1.0))
    try:
        covariance = np.linalg.inv(normal) * max(chi, 1.0)
    except np.linalg.LinAlgError:
        return None
    scale_std = float(np.sqrt(max(covariance[3, 3], 0.0)))
    heading_std = float(np.sqrt(max(covariance[2, 2], 0.0)))
    if not np.isfinite(scale_std) or heading_std > np.deg2rad(15) or weight.sum() < min(3.0, 0.5 * n):
        return None
    s = scale / size
    return s, np.concatenate([R, (t - s * R @ mean)[:, None]], 1), residuals, scale_std


def _gauss_newton(a, y, std, up, R, log_scale, t):
    """(cost, R, log scale, t, weights (n,), normal matrix (7, 7)) or None; parameters: rotation 3, log scale, t 3."""
    gravity = np.deg2rad(UP_STD_DEG)
    cost, weight, normal = np.inf, np.ones(len(a)), np.eye(7)
    for iteration in range(60):
        s = np.exp(np.clip(log_scale, -20, 30))
        moved_a = s * a @ R.T
        r = (y - moved_a - t) / std
        d2 = np.sum(r * r, 1)
        # Wide at first, so that a far start finds its way.
        width = 9.0 * (1 + 1e4 * 0.3**iteration)
        weight = 1 / (1 + d2 / width)
        J = np.zeros((len(a), 3, 7))
        J[:, 0, 1], J[:, 0, 2] = moved_a[:, 2], -moved_a[:, 1]
        J[:, 1, 0], J[:, 1, 2] = -moved_a[:, 2], moved_a[:, 0]
        J[:, 2, 0], J[:, 2, 1] = moved_a[:, 1], -moved_a[:, 0]
        J[:, :, 3] = moved_a
        J[:, :, 4:] = np.eye(3)
        J /= std[:, :, None]
        w = np.repeat(weight, 3)
        Jf, rf = J.reshape(-1, 7), r.reshape(-1)
        normal = (Jf * w[:, None]).T @ Jf
        gradient = (Jf * w[:, None]).T @ rf
        # Tilt: R up should be z; a small rotation q moves it by q x z.
        u = R @ up
        tilt = np.array([u[1], -u[0]])
        normal[0, 0] += 1 / gravity**2
        normal[1, 1] += 1 / gravity**2
        gradient[0] += tilt[0] / gravity**2
        gradient[1] += tilt[1] / gravity**2
        cost = float(np.sum(np.log1p(d2 / 9.0)) * 9.0 + np.sum(tilt**2) / gravity**2)
        try:
            step = np.linalg.solve(normal + 1e-9 * np.diag(np.diag(normal)), gradient)
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(step).all():
            return None
        step[:4] = np.clip(step[:4], -0.5, 0.5)
        R = _rodrigues(step[:3]) @ R
        log_scale += step[3]
        t = t + step[4:]
        if np.abs(step).max() < 1e-10 and iteration > 15:
            break
    return cost, R, log_scale, t, weight, normal


def _rodrigues(q: np.ndarray) -> np.ndarray:
    angle = float(np.linalg.norm(q))
    K = np.array([[0, -q[2], q[1]], [q[2], 0, -q[0]], [-q[1], q[0], 0]])
    if angle < 1e-8:
        return np.eye(3) + K
    return np.eye(3) + np.sin(angle) / angle * K + (1 - np.cos(angle)) / angle**2 * K @ K


def _rotation_to_z(up: np.ndarray) -> np.ndarray:
    """The rotation that turns `up` into (0, 0, 1)."""
    z = up / np.linalg.norm(up)
    x = np.cross(z, [1.0, 0, 0] if abs(z[0]) < 0.7 else [0, 1.0, 0])
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


__all__ = ["ecef_from_geodetic", "enu_from_ecef", "fit_similarity", "moved", "to_enu"]
