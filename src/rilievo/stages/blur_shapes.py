"""Kernels of straight motion and of defocus, and which of them a kernel that was found is."""

from __future__ import annotations

import math

import cv2
import numpy as np
from scipy import fft

_FINE = 9


def line_kernel(length_px: float, angle_deg: float) -> np.ndarray:
    """Even motion over a length: float32 (n, n) of sum 1. The angle is counter-clockwise from the right."""
    side = 2 * math.ceil(length_px / 2 + 1) + 1
    at = np.linspace(-0.5, 0.5, max(3, math.ceil(length_px * _FINE) | 1)) * length_px
    x, y = at * math.cos(math.radians(angle_deg)), -at * math.sin(math.radians(angle_deg))
    kernel = np.zeros((side, side))
    _splat(kernel, x + side // 2, y + side // 2)
    return (kernel / kernel.sum()).astype(np.float32)


def disc_kernel(radius_px: float) -> np.ndarray:
    """Defocus of a round aperture: float32 (n, n) of sum 1."""
    side = 2 * math.ceil(radius_px + 1) + 1
    n = side * _FINE
    at = (np.arange(n) + 0.5) / _FINE - side / 2
    fine = (at[:, None] ** 2 + at[None] ** 2 <= radius_px**2).astype(np.float64)
    kernel = fine.reshape(side, _FINE, side, _FINE).mean((1, 3))
    return (kernel / kernel.sum()).astype(np.float32)


def _splat(kernel: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    u, v = x - left, y - top
    for dy, dx, weight in ((0, 0, (1 - u) * (1 - v)), (0, 1, u * (1 - v)), (1, 0, (1 - u) * v), (1, 1, u * v)):
        np.add.at(kernel, (top + dy, left + dx), weight)


def shape_of(kernel: np.ndarray) -> tuple[float, float, float]:
    """(standard deviation along the longest direction, across it, its angle in degrees 0..180)."""
    side = len(kernel)
    y, x = (np.mgrid[:side, :side] - side // 2).astype(float)
    k = kernel / kernel.sum()
    x, y = x - (k * x).sum(), -(y - (k * y).sum())
    xy = (k * x * y).sum()
    values, vectors = np.linalg.eigh(np.array([[(k * x * x).sum(), xy], [xy, (k * y * y).sum()]]))
    angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1])) % 180
    return float(np.sqrt(max(values[1], 0))), float(np.sqrt(max(values[0], 0))), angle


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Largest normalised correlation of two kernels over shifts, after a blur of 0.7 px."""
    a, b = (cv2.GaussianBlur(np.pad(k, 3), (0, 0), 0.7) for k in (a, b))
    n = len(a) + len(b)
    spectra = [np.asarray(fft.rfft2(k, (n, n))) for k in (a, b)]
    c = np.asarray(fft.irfft2(spectra[0] * np.conj(spectra[1]), (n, n)))
    return float(c.max() / np.sqrt((a**2).sum() * (b**2).sum()))


def recognised(kernel: np.ndarray) -> tuple[np.ndarray, str]:
    """The kernel as it would be without the softness of the estimate, and what it is: motion, defocus or mixed.

    An estimate is the true kernel blurred by the lens and by the penalty of the estimate, about equally in all
    directions: how wide straight motion is across tells how much.
    """
    along, across, angle = shape_of(kernel)
    motion = line_kernel(max(1.0, math.sqrt(12 * max(along**2 - across**2, 0.1))), angle)
    radius = 2 * math.sqrt(max((along**2 + across**2) / 2 - 0.55, 0.15))
    found = {"motion": (motion, across), "defocus": (disc_kernel(radius), 0.75)}
    best, name = 0.0, "mixed"
    for what, (model, soft) in found.items():
        fits = likeness(_softened(model, soft), kernel)
        if fits > best:
            best, name = fits, what
    if best > 0.93:
        return found[name][0], name
    return _crisper(kernel, 0.7), "mixed"


def _softened(kernel: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(np.pad(kernel, 4), (0, 0), max(sigma, 0.3))


def _crisper(kernel: np.ndarray, sigma: float) -> np.ndarray:
    """Richardson and Lucy's iteration against a Gaussian."""
    wide = np.pad(kernel, 2)
    out = wide.copy()
    for _ in range(12):
        out *= cv2.GaussianBlur(wide / np.maximum(cv2.GaussianBlur(out, (0, 0), sigma), 1e-8), (0, 0), sigma)
    out[out < 0.02 * out.max()] = 0
    return out / out.sum()
