"""Drawing 3D Gaussians and its gradients, in plain NumPy: the specification of native/splats.cpp.

Kerbl et al. 2023 ("3D Gaussian Splatting for Real-Time Radiance Field Rendering"); projection after Zwicker et al.
2001 ("EWA volume splatting", eq. 31); the pixel filter that keeps the amount of light and the 3D filter are those of Yu
et al. 2024 ("Mip-Splatting", eqs. 8 and 10, with the variance that the usual viewers have).

A row is a Gaussian: 0-2 mean, 3 logit of opacity, 4-7 quaternion, 8-10 log of scales, 11 variance of the 3D filter,
16-63 spherical harmonics (coefficient by coefficient, r g b each).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

ROW = 64
HARMONICS = 16
PIXEL_VARIANCE = 0.3
MAX_ALPHA = 0.999
MIN_ALPHA = 1 / 255
MIN_TRANSMITTANCE = 1e-4
LEAST_LIGHT = 1e-6


@dataclass
class SplatFrame:
    """Gaussians as they were drawn. features float32 (channels, h, w): red green blue, depth, normal; weighed by what
    comes through, colours with the background behind them. transmittance float32 (h, w): light that comes through all.
    visible uint32 (k,): Gaussians that reach the image, nearest first."""

    features: np.ndarray
    transmittance: np.ndarray
    median_depth: np.ndarray | None
    visible: np.ndarray
    shapes: dict[int, dict[str, Any]]
    camera: tuple[np.ndarray, np.ndarray, int, int, int, bool]


def splat_forward(
    rows: np.ndarray,
    camera: np.ndarray,
    cam_from_world: np.ndarray,
    width: int,
    height: int,
    near: float,
    degree: int,
    channels: int,
    antialiased: bool,
    background: np.ndarray,
    median: bool = False,
    reuse: object = None,
) -> SplatFrame:
    """Draws Gaussians, nearest first.

    rows float32 (n, 64).  camera float64 (4,): fx fy cx cy.  near: smallest depth that is drawn.  degree: of the
    harmonics, 0 to 3.  channels: 3 colours, 4 with depth, 7 with the normal (axis of least extent, towards the camera).
    background float32 (3,).  median: also the depth at which half of the light is gone (0 where that never happens).
    reuse: an earlier frame whose memory may be used (its arrays change).
    """
    K, T = np.asarray(camera, np.float64), np.asarray(cam_from_world, np.float64)
    shapes: dict[int, dict[str, Any]] = {}
    with np.errstate(all="ignore"):
        for i, row in enumerate(np.asarray(rows, np.float64)):
            shape = _project(row, K, T, width, height, near, degree, antialiased)
            if shape is not None:
                shapes[i] = shape
    order = sorted(shapes, key=lambda i: (np.float32(shapes[i]["z"]), i))
    features = np.zeros((channels, height, width))
    light = np.ones((height, width))
    depth = np.zeros((height, width))
    for i in order:
        s = shapes[i]
        alpha, _, _, _ = _alpha(s, width, height, light)
        weight = alpha * light
        features += weight * s["feature"][:channels, None, None]
        if median:
            depth[(light >= 0.5) & (light - weight < 0.5)] = s["z"]
        light = light - weight
    features[:3] += light * np.asarray(background, np.float64)[:, None, None]
    return SplatFrame(
        features.astype(np.float32),
        light.astype(np.float32),
        depth.astype(np.float32) if median else None,
        np.array(order, np.uint32),
        shapes,
        (K, T, width, height, degree, antialiased),
    )


def splat_backward(
    frame: SplatFrame, rows: np.ndarray, d_features: np.ndarray, d_transmittance: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients float32 (n, 64) of the rows and (n, 2) of the places on the image (px), from those of what was drawn:
    d_features (channels, h, w), d_transmittance (h, w) or None."""
    _, _, width, height, _, _ = frame.camera
    g = np.asarray(d_features, np.float64)
    behind = (g * frame.features).sum(0)
    if d_transmittance is not None:
        behind = behind + np.asarray(d_transmittance, np.float64) * frame.transmittance
    light = np.ones((height, width))
    d_rows, d_xy = np.zeros((len(rows), ROW)), np.zeros((len(rows), 2))
    with np.errstate(all="ignore"):
        for i in (int(v) for v in frame.visible):
            s = frame.shapes[i]
            alpha, free, dx, dy = _alpha(s, width, height, light)
            weight = alpha * light
            along = (g * s["feature"][: len(g), None, None]).sum(0)
            behind = behind - weight * along
            d_alpha = light * along - behind / (1 - alpha)
            v = np.where(free, alpha * d_alpha, 0.0)
            moments = [(v * m).sum() for m in (np.ones_like(v), dx, dx * dx, dy, dx * dy, dy * dy)]
            d_feature = np.zeros(7)
            d_feature[: len(g)] = (g * weight).sum((1, 2))
            d_rows[i], d_xy[i] = _pull_back(np.asarray(rows[i], np.float64), s, frame, moments, d_feature, len(g))
            light = light - weight
    return d_rows.astype(np.float32), d_xy.astype(np.float32)


def _alpha(s: dict[str, Any], width: int, height: int, light: np.ndarray) -> tuple[np.ndarray, ...]:
    """Opacity of one Gaussian in every pixel that takes it, whether it follows the Gaussian, and dx, dy."""
    dx = (np.arange(width) + 0.5 - s["xy"][0])[None, :]
    dy = (np.arange(height) + 0.5 - s["xy"][1])[:, None]
    A, B, C = s["conic"]
    full = s["shown"] * np.exp(-0.5 * (A * dx * dx + 2 * B * dx * dy + C * dy * dy))
    takes = (full >= MIN_ALPHA) & (light >= MIN_TRANSMITTANCE)
    alpha = np.where(takes, np.minimum(full, MAX_ALPHA), 0.0)
    return alpha, takes & (full <= MAX_ALPHA), np.broadcast_to(dx, alpha.shape), np.broadcast_to(dy, alpha.shape)


def rotation(q: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) of a unit quaternion w x y z."""
    w, x, y, z = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def harmonics(degree: int, d: np.ndarray) -> np.ndarray:
    """Real spherical harmonics (16,) of a unit direction; 0 above `degree`."""
    x, y, z = d
    xx, yy, zz = x * x, y * y, z * z
    basis = np.array(
        [
            0.28209479177387814,
            -0.4886025119029199 * y,
            0.4886025119029199 * z,
            -0.4886025119029199 * x,
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * zz - xx - yy),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (xx - yy),
            -0.5900435899266435 * y * (3 * xx - yy),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * zz - xx - yy),
            0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
            -0.4570457994644658 * x * (4 * zz - xx - yy),
            1.445305721320277 * z * (xx - yy),
            -0.5900435899266435 * x * (xx - 3 * yy),
        ]
    )
    basis[(degree + 1) ** 2 :] = 0
    return basis


def harmonics_slope(degree: int, d: np.ndarray) -> np.ndarray:
    """Derivatives (16, 3) of `harmonics` by the direction."""
    x, y, z = d
    xx, yy, zz = x * x, y * y, z * z
    a, b, c, e = 0.4886025119029199, 1.0925484305920792, 0.31539156525252005, 0.5462742152960396
    f, g, h, k, m = 0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154, 1.445305721320277
    slope = np.array(
        [
            [0, 0, 0],
            [0, -a, 0],
            [0, 0, a],
            [-a, 0, 0],
            [b * y, b * x, 0],
            [0, -b * z, -b * y],
            [-2 * c * x, -2 * c * y, 4 * c * z],
            [-b * z, 0, -b * x],
            [2 * e * x, -2 * e * y, 0],
            [-6 * f * x * y, -3 * f * (xx - yy), 0],
            [g * y * z, g * x * z, g * x * y],
            [2 * h * x * y, -h * (4 * zz - xx - 3 * yy), -8 * h * y * z],
            [-6 * k * x * z, -6 * k * y * z, k * (6 * zz - 3 * xx - 3 * yy)],
            [-h * (4 * zz - 3 * xx - yy), 2 * h * x * y, -8 * h * x * z],
            [2 * m * x * z, -2 * m * y * z, m * (xx - yy)],
            [-3 * f * (xx - yy), 6 * f * x * y, 0],
        ],
        np.float64,
    )
    slope[(degree + 1) ** 2 :] = 0
    return slope


def _project(
    row: np.ndarray,
    K: np.ndarray,
    T: np.ndarray,
    width: int,
    height: int,
    near: float,
    degree: int,
    antialiased: bool,
) -> dict[str, Any] | None:
    """One Gaussian on the image plane; None where it is not seen."""
    fx, fy, cx, cy = K
    W = T[:, :3]
    if not np.isfinite(row).all():
        return None
    p = W @ row[:3] + T[:, 3]
    length = np.linalg.norm(row[4:8])
    if not p[2] > near or not length > 1e-12:
        return None
    R = rotation(row[4:8] / length)
    raw = np.exp(2 * np.clip(row[8:11], -80, 80))
    variance = raw + row[11]
    sigma = R @ np.diag(variance) @ R.T
    uv = p[:2] / p[2]
    low = (-0.15 * np.array([width, height]) - [cx, cy]) / [fx, fy]
    high = (1.15 * np.array([width, height]) - [cx, cy]) / [fx, fy]
    held = (uv < low) | (uv > high)
    u, v = np.clip(uv, low, high)
    J = np.array([[fx, 0, -fx * u], [0, fy, -fy * v]]) / p[2]
    cov0 = J @ W @ sigma @ W.T @ J.T
    cov = cov0 + PIXEL_VARIANCE * np.eye(2)
    det0, det = max(np.linalg.det(cov0), 0.0), np.linalg.det(cov)
    if not np.isfinite(det) or det <= 0:
        return None
    share = det0 / det if antialiased else 1.0
    opacity = 1 / (1 + np.exp(-row[3]))
    shown = opacity * np.sqrt(np.prod(raw / variance)) * np.sqrt(max(share, LEAST_LIGHT))
    if not shown > MIN_ALPHA:
        return None
    xy = uv * [fx, fy] + [cx, cy]
    reach = np.sqrt(2 * np.log(shown / MIN_ALPHA) * np.diag(cov))
    if (xy + reach <= 0).any() or (xy - reach >= [width, height]).any():
        return None
    look = row[:3] + W.T @ T[:, 3]  # from the camera's centre
    d = look / np.linalg.norm(look)
    color = 0.5 + harmonics(degree, d) @ row[HARMONICS:].reshape(16, 3)
    if not np.isfinite(color).all():
        return None
    axis = int(np.argmin(raw))
    normal = W @ R[:, axis]
    sign = -1.0 if normal @ p > 0 else 1.0
    K2 = np.linalg.inv(cov)
    return {
        "p": p, "z": p[2], "R": R, "raw": raw, "variance": variance, "sigma": sigma, "uv": (u, v), "held": held,
        "J": J, "cov0": cov0, "cov": cov, "det": det, "share": share,
        "light_held": not antialiased or share < LEAST_LIGHT,
        "opacity": opacity, "shown": shown, "xy": xy, "conic": (K2[0, 0], K2[0, 1], K2[1, 1]), "length": length,
        "d": d, "distance": np.linalg.norm(look), "color": color, "axis": axis, "sign": sign,
        "feature": np.concatenate([np.maximum(color, 0), [p[2]], sign * normal]),
    }  # fmt: skip


def _pull_back(
    row: np.ndarray,
    s: dict[str, Any],
    frame: SplatFrame,
    moments: list[float],
    d_feature: np.ndarray,
    channels: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of a row and of (x, y) from those of ln(alpha), summed with powers of (dx, dy), and of the features."""
    (fx, fy, _, _), T, _, _, degree, _ = frame.camera
    W = T[:, :3]
    m0, mx, mxx, my, mxy, myy = moments
    A, B, C = s["conic"]
    d_xy = np.array([A * mx + B * my, B * mx + C * my])
    K2 = np.array([[A, B], [B, C]])
    V = K2 @ (0.5 * np.array([[mxx, mxy], [mxy, myy]])) @ K2
    if not s["light_held"]:
        cov0, cov, share = s["cov0"], s["cov"], s["share"]
        adjugate = lambda M: np.array([[M[1, 1], -M[0, 1]], [-M[0, 1], M[0, 0]]])  # noqa: E731
        V = V + m0 / (2 * share * s["det"]) * (adjugate(cov0) - share * adjugate(cov))
    d = np.zeros(ROW)
    d[3] = m0 * (1 - s["opacity"])
    J, p = s["J"], s["p"]
    JW = J @ W
    G = JW.T @ V @ JW
    dJ = (2 * V @ JW @ s["sigma"]) @ W.T
    u, v = s["uv"]
    z = p[2]
    d_p = np.array([fx / z * d_xy[0], fy / z * d_xy[1], -(fx * p[0] * d_xy[0] + fy * p[1] * d_xy[1]) / z**2])
    d_p[2] -= (dJ * J).sum() / z
    if not s["held"][0]:
        d_p += -fx / z**2 * dJ[0, 2] * np.array([1, 0, -u])
    if not s["held"][1]:
        d_p += -fy / z**2 * dJ[1, 2] * np.array([0, 1, -v])
    if channels > 3:
        d_p[2] += d_feature[3]
    d[:3] = W.T @ d_p
    R = s["R"]
    d_variance = np.diag(R.T @ G @ R)
    d[8:11] = 2 * s["raw"] * d_variance + m0 * row[11] / s["variance"]
    dR = 2 * G @ R @ np.diag(s["variance"])
    if channels > 4:
        dR[:, s["axis"]] += s["sign"] * W.T @ d_feature[4:]
    q = row[4:8] / s["length"]
    step = 1e-6  # R is quadratic in q: central differences are exact
    dq = np.array([((rotation(q + e) - rotation(q - e)) / (2 * step) * dR).sum() for e in step * np.eye(4)])
    d[4:8] = (dq - q * (q @ dq)) / s["length"]
    d_color = np.where(s["color"] > 0, d_feature[:3], 0.0)
    sh = row[HARMONICS:].reshape(16, 3)
    d[HARMONICS:] = np.outer(harmonics(degree, s["d"]), d_color).ravel()
    slope = harmonics_slope(degree, s["d"]).T @ (sh @ d_color)
    d[:3] += (slope - s["d"] * (s["d"] @ slope)) / s["distance"]
    return d, d_xy
