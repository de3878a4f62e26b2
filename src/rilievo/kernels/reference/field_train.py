"""Volume rendering of a radiance field, its gradients and its optimiser in NumPy. See native/field.h.

Values follow the dtype of `table`: float64 for derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rilievo.kernels.reference.field import (
    OUT,
    ROW,
    Layers,
    check_levels,
    corners,
    density_forward,
    field_encode,
    split_weights,
)
from rilievo.kernels.reference.field_march import field_march

MIN_TRANSMITTANCE = 1e-4


def harmonics(d: np.ndarray) -> np.ndarray:
    """The first 16 real spherical harmonics (degree 3) of unit directions, (n, 16)."""
    x, y, z = d.T
    xx, yy, zz, xy, yz, xz = x * x, y * y, z * z, x * y, y * z, x * z
    one = np.ones_like(x)
    rows = (
        0.28209479 * one, -0.48860251 * y, 0.48860251 * z, -0.48860251 * x,
        1.0925484 * xy, -1.0925484 * yz, 0.94617470 * zz - 0.31539157, -1.0925484 * xz, 0.54627422 * (xx - yy),
        0.59004359 * y * (yy - 3 * xx), 2.8906114 * xy * z, 0.45704580 * y * (1 - 5 * zz),
        0.37317633 * z * (5 * zz - 3), 0.45704580 * x * (1 - 5 * zz), 1.4453057 * z * (xx - yy),
        0.59004359 * x * (3 * yy - xx),
    )  # fmt: skip
    return np.stack(rows, -1).astype(d.dtype)


@dataclass(frozen=True)
class _Lit:
    """Samples that count and what was computed on their way."""

    offsets: np.ndarray
    t: np.ndarray
    delta: np.ndarray
    u: np.ndarray
    features: np.ndarray
    hidden: np.ndarray
    density: np.ndarray
    weight: np.ndarray
    left: np.ndarray  # of each ray
    inputs: np.ndarray
    hidden1: np.ndarray
    hidden2: np.ndarray
    color: np.ndarray
    marched: int

    def ray(self, r: int) -> slice:
        return slice(self.offsets[r], self.offsets[r + 1])


def _light(
    levels: np.ndarray,
    table: np.ndarray,
    layers: Layers,
    march: tuple[np.ndarray, bool, np.ndarray],
    rays: tuple[np.ndarray, np.ndarray, np.ndarray],
    min_weight: float,
) -> _Lit:
    kind = table.dtype
    offsets, t, delta, u = field_march(*march, *rays)
    t, delta = t.astype(kind), delta.astype(kind)
    features = field_encode(levels, table, u)
    hidden, out, density = density_forward(layers, features)
    passed = np.exp(-density * delta)
    kept, weights, first = [], [], [0]
    left = np.ones(len(offsets) - 1, kind)
    for r in range(len(left)):
        for i in range(offsets[r], offsets[r + 1]):
            if left[r] < MIN_TRANSMITTANCE:
                break
            behind = left[r] * passed[i]
            if left[r] - behind < min_weight:
                continue
            kept.append(i)
            weights.append(left[r] - behind)
            left[r] = behind
        first.append(len(kept))
    i = np.array(kept, int)
    direction = np.repeat(rays[1].astype(kind), np.diff(first), axis=0)
    inputs = np.concatenate([out[i], harmonics(direction)], 1)
    hidden1 = np.maximum(inputs @ layers.color1, 0)
    hidden2 = np.maximum(hidden1 @ layers.color2, 0)
    color = 1 / (1 + np.exp(-(hidden2 @ layers.color3)[:, :3]))
    return _Lit(
        np.array(first), t[i], delta[i], u[i], features[i], hidden[i], density[i], np.array(weights, kind), left,
        inputs, hidden1, hidden2, color, len(t),
    )  # fmt: skip


def field_gradients(
    levels: np.ndarray,
    density_width: int,
    color_width: int,
    table: np.ndarray,
    weights: np.ndarray,
    occupancy: np.ndarray,
    unbounded: bool,
    edges: np.ndarray,
    origins: np.ndarray,
    directions: np.ndarray,
    jitter: np.ndarray,
    targets: np.ndarray,
    backgrounds: np.ndarray,
    ray_weights: np.ndarray,
    scale: float,
    huber: float,
    distortion: float,
    opacity: float,
    min_weight: float,
    table_gradients: np.ndarray,
    weight_gradients: np.ndarray,
) -> tuple[np.ndarray, int, int]:
    """Adds the gradients of the loss of n rays; returns (the loss of each ray (n), samples marched, samples that
    count).

    The loss is scale * ray_weight * (squared error of the three channels, linear beyond `huber` where that is above 0,
    + distortion * spread (Barron et al. 2022, eq. 15, in t / (1 + t)) + opacity * entropy of the ray's opacity).
    Rays end where less than 1e-4 of the light is left; samples whose weight is below min_weight are taken as empty.
    table_gradients, weight_gradients: float32, like table and weights, changed in place. Raises ValueError for shapes
    that do not fit and values that are not finite.
    """
    check_levels(levels, table)
    if any(len(a) != len(origins) for a in (targets, backgrounds, ray_weights)):
        raise ValueError("there must be a target, a background and a weight for every ray")
    if not all(np.isfinite(a).all() for a in (targets, backgrounds, ray_weights)):
        raise ValueError("targets, backgrounds and ray_weights must be finite")
    if not all(np.isfinite(x) and x >= 0 for x in (scale, huber, distortion, opacity, min_weight)):
        raise ValueError("scale, huber, distortion, opacity and min_weight must not be negative")
    layers = split_weights(weights, len(levels), density_width, color_width)
    lit = _light(
        levels, table, layers, (occupancy, unbounded, edges), (origins, directions, jitter), min_weight
    )  # fmt: skip
    losses = np.zeros(len(origins), table.dtype)
    d_logits = np.zeros((len(lit.t), OUT), table.dtype)
    d_first = np.zeros(len(lit.t), table.dtype)
    for r in range(len(origins)):
        s = lit.ray(r)
        w, c, left = lit.weight[s], lit.color[s], lit.left[r]
        weigh = scale * ray_weights[r]
        error = w @ c + left * backgrounds[r] - targets[r]
        size = np.abs(error)
        linear = (huber > 0) & (size > huber)
        loss = np.where(linear, huber * (2 * size - huber), error**2).sum()
        d_color = weigh * 2 * np.where(linear, np.sign(error) * huber, error)
        d_weight, d_opacity = np.zeros(len(w), table.dtype), 0.0
        if opacity > 0:
            o = np.clip(1 - left, 1e-3, 1 - 1e-3)
            loss -= opacity * (o * np.log(o) + (1 - o) * np.log(1 - o))
            d_opacity = weigh * opacity * (np.log(1 - o) - np.log(o)) if o == 1 - left else 0.0
        if distortion > 0:
            m, wide = lit.t[s] / (1 + lit.t[s]), lit.delta[s] / (1 + lit.t[s]) ** 2
            others = (np.abs(m[:, None] - m) * w).sum(1)
            loss += distortion * (w @ others + (w * w * wide).sum() / 3)
            d_weight = weigh * distortion * (2 * others + 2 / 3 * w * wide)
        losses[r] = weigh * loss
        d_logits[s, :3] = w[:, None] * d_color * c * (1 - c)
        shine = c @ d_color + d_weight
        through = left + np.cumsum(w[::-1])[::-1] - w  # what passes the sample
        light = np.cumsum((w * shine)[::-1])[::-1] - w * shine + left * (backgrounds[r] @ d_color - d_opacity)
        d_first[s] = lit.delta[s] * lit.density[s] * (through * shine - light)
    d2 = (d_logits @ layers.color3.T) * (lit.hidden2 > 0)
    d1 = (d2 @ layers.color2.T) * (lit.hidden1 > 0)
    d_out = (d1 @ layers.color1.T)[:, :OUT]
    d_out[:, 0] += d_first
    d_hidden = (d_out @ layers.density2.T) * (lit.hidden > 0)
    parts = (
        lit.features.T @ d_hidden, lit.hidden.T @ d_out,
        lit.inputs.T @ d1, lit.hidden1.T @ d2, lit.hidden2.T @ d_logits,
    )  # fmt: skip
    weight_gradients += np.concatenate([p.ravel() for p in parts]).astype(weight_gradients.dtype)
    d_features = (d_hidden @ layers.density1.T).reshape(len(lit.t), len(levels), ROW)
    for v, level in enumerate(levels):
        for row, w in corners(level, lit.u.astype(table.dtype)):
            np.add.at(table_gradients, row, (d_features[:, v] * w[:, None]).astype(table_gradients.dtype))
    return losses, lit.marched, len(lit.t)


def field_trace(
    levels: np.ndarray,
    density_width: int,
    color_width: int,
    table: np.ndarray,
    weights: np.ndarray,
    occupancy: np.ndarray,
    unbounded: bool,
    edges: np.ndarray,
    origins: np.ndarray,
    directions: np.ndarray,
    jitter: np.ndarray,
    background: np.ndarray,
    min_weight: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What rays see: colour (n, 3) over `background` (3), distance (n) at which half of the light is stopped (NaN where
    less is), opacity (n). Samples whose weight is below min_weight are taken as empty."""
    check_levels(levels, table)
    if not np.isfinite(background).all():
        raise ValueError("background must be finite")
    layers = split_weights(weights, len(levels), density_width, color_width)
    lit = _light(levels, table, layers, (occupancy, unbounded, edges), (origins, directions, jitter), min_weight)
    n = len(origins)
    color, distance = np.zeros((n, 3), table.dtype), np.full(n, np.nan, table.dtype)
    for r in range(n):
        s = lit.ray(r)
        w = lit.weight[s]
        color[r] = w @ lit.color[s] + lit.left[r] * background
        behind = 1 - np.cumsum(w)
        at = np.flatnonzero(behind <= 0.5)
        if len(at):
            k = at[0]
            share = (behind[k] + w[k] - 0.5) / w[k]
            distance[r] = lit.t[s][k] + (share - 0.5) * lit.delta[s][k]
    return color, distance, 1 - lit.left


def field_adam(
    values: np.ndarray,
    gradients: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    """One step of Adam (Kingma & Ba 2015, without the correction of the start) for the values whose gradient is not 0;
    gradients are 0 afterwards. All float32 (n), changed in place."""
    n = len(values)
    if not len(gradients) == len(mean) == len(square) == n:
        raise ValueError("values, gradients, mean and square must have one length")
    if not (np.isfinite(rate) and 0 <= beta1 < 1 and 0 <= beta2 < 1 and epsilon > 0):
        raise ValueError("rate must be finite, beta1 and beta2 0 to below 1, epsilon positive")
    f = np.float32
    on = gradients != 0
    g = gradients[on]
    mean[on] = f(beta1) * mean[on] + (f(1) - f(beta1)) * g
    square[on] = f(beta2) * square[on] + (f(1) - f(beta2)) * (g * g)
    values[on] -= f(rate) * (mean[on] / (np.sqrt(square[on]) + f(epsilon)))
    gradients[:] = 0
