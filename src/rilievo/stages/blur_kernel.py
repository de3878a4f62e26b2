"""The kernel of a photo's motion or defocus, from the photo alone.

Cho & Lee 2009, "Fast motion deblurring": coarse to fine; edges are predicted by a shock filter (their section 4.1), the
kernel is the one that makes the predicted gradients into those seen (least squares in the Fourier domain, eqs. 10-12
with a plain penalty), the photo is deconvolved with it, and again.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from scipy import fft

ROUNDS = 5


def forward(a: np.ndarray) -> np.ndarray:
    """Half spectrum of a real picture."""
    return np.asarray(fft.rfft2(a))


def backward(spectrum: np.ndarray, s: tuple[int, ...]) -> np.ndarray:
    """The real picture (h, w) of a half spectrum."""
    return np.asarray(fft.irfft2(spectrum, s))


def estimate_kernel(tiles: list[np.ndarray], size: int) -> np.ndarray:
    """float32 (size, size), non-negative, of sum 1, its centre of mass in the middle.

    tiles: float32 (h, w), grey 0..1, all blurred alike.  size: odd, at least 3.
    """
    sizes = [size]
    while sizes[-1] > 5:
        smaller = round(sizes[-1] / math.sqrt(2))
        sizes.append(max(3, smaller | 1))
    sizes.reverse()
    kernel = np.zeros((sizes[0], sizes[0]), np.float32)
    middle = sizes[0] // 2
    kernel[middle, middle - 1 : middle + 2] = kernel[middle - 1 : middle + 2, middle] = 0.2
    kernel /= kernel.sum()
    latents: list[np.ndarray] = []
    for side in sizes:
        factor = side / size
        blurred = [_scaled(t, factor) for t in tiles]
        if side != sizes[0]:
            kernel = centred(_tidy(_resized(kernel, side)))
        tapered = [taper(b, kernel) for b in blurred]
        if not latents:
            latents = [b.copy() for b in tapered]
        else:
            latents = [_resized_to(x, b.shape) for x, b in zip(latents, tapered)]
        for step in range(ROUNDS):
            share = 0.9**step
            edges = [predicted_edges(x, side, share) for x in latents]
            kernel = centred(_tidy(_solve_kernel(edges, tapered, side)))
            latents = [wiener(b, kernel, 2e-3) for b in tapered]
    return kernel


def _scaled(a: np.ndarray, factor: float) -> np.ndarray:
    if factor >= 1:
        return a
    size = max(8, round(a.shape[1] * factor)), max(8, round(a.shape[0] * factor))
    return cv2.resize(a, size, interpolation=cv2.INTER_AREA)


def _resized_to(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return cv2.resize(a, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def _resized(kernel: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(kernel, (side, side), interpolation=cv2.INTER_LINEAR)


def predicted_edges(latent: np.ndarray, side: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Gradients (x, y) of strong edges, steepened (Osher & Rudin 1990), noise removed; zeros elsewhere."""
    a = cv2.bilateralFilter(latent.astype(np.float32), 5, 0.1 * share + 0.02, 2.0)
    for _ in range(1):
        gx, gy = cv2.Sobel(a, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(a, cv2.CV_32F, 0, 1, scale=1 / 8)
        xx, yy = cv2.Sobel(a, cv2.CV_32F, 2, 0, scale=1 / 4), cv2.Sobel(a, cv2.CV_32F, 0, 2, scale=1 / 4)
        xy = cv2.Sobel(a, cv2.CV_32F, 1, 1, scale=1 / 4)
        along = gx * gx * xx + 2 * gx * gy * xy + gy * gy * yy
        a = a - np.sign(along) * np.hypot(gx, gy)
    gx = np.diff(a, axis=1, append=a[:, -1:])
    gy = np.diff(a, axis=0, append=a[-1:])
    strength = np.hypot(gx, gy)
    # The strongest of each of four directions, so that every direction of the kernel is seen.
    direction = np.round(np.arctan2(gy, gx) / (np.pi / 4)).astype(int) % 4
    wanted = int(min(0.25 * a.size, max(2 * side * math.sqrt(a.size) / share, 200)))
    keep = np.zeros(a.shape, bool)
    for k in range(4):
        here = direction == k
        values = strength[here]
        if len(values):
            count = min(len(values) - 1, wanted // 4)
            keep |= here & (strength >= max(np.partition(values, -count - 1)[-count - 1], 0.004))
    keep[:2] = keep[-2:] = False
    keep[:, :2] = keep[:, -2:] = False
    return gx * keep, gy * keep


def _solve_kernel(edges: list[tuple[np.ndarray, np.ndarray]], tapered: list[np.ndarray], side: int) -> np.ndarray:
    top, bottom, shape = None, None, tapered[0].shape
    weight = 0.0
    for (px, py), b in zip(edges, tapered):
        bx, by = np.diff(b, axis=1, append=b[:, -1:]), np.diff(b, axis=0, append=b[-1:])
        for p, q in ((px, bx), (py, by)):
            P, Q = forward(p), forward(q)
            t, d = np.conj(P) * Q, np.abs(P) ** 2
            top, bottom = (t, d) if top is None else (top + t, bottom + d)
            weight += float((p * p).sum())
    assert top is not None and bottom is not None
    full = backward(top / (bottom + 0.02 * weight + 1e-9), s=shape)
    half = side // 2
    return np.roll(full, (half, half), (0, 1))[:side, :side].astype(np.float32)


def _tidy(kernel: np.ndarray) -> np.ndarray:
    """Non-negative, without specks, of sum 1."""
    k = np.maximum(kernel, 0)
    k[k < 0.07 * k.max()] = 0
    count, label = cv2.connectedComponents((k > 0).astype(np.uint8), connectivity=8)
    if count > 2:
        mass = np.array([k[label == i].sum() for i in range(1, count)])
        for i, m in enumerate(mass, 1):
            if m < 0.15 * mass.max():
                k[label == i] = 0
    total = k.sum()
    if total <= 0:
        k[k.shape[0] // 2, k.shape[1] // 2] = total = 1.0
    return (k / total).astype(np.float32)


def centred(kernel: np.ndarray) -> np.ndarray:
    """The kernel with its centre of mass in the middle, to within half a pixel."""
    side = len(kernel)
    y, x = np.mgrid[:side, :side] - side // 2
    dy, dx = round(float((kernel * y).sum())), round(float((kernel * x).sum()))
    if not dy and not dx:
        return kernel
    moved = np.zeros_like(kernel)
    src = kernel[max(dy, 0) : side + min(dy, 0), max(dx, 0) : side + min(dx, 0)]
    moved[max(-dy, 0) : max(-dy, 0) + src.shape[0], max(-dx, 0) : max(-dx, 0) + src.shape[1]] = src
    return moved / max(float(moved.sum()), 1e-9)


def otf(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Its Fourier transform at the size of a picture (half spectrum), centre of the kernel at the origin."""
    padded = np.zeros(shape, np.float32)
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel
    return forward(np.roll(padded, (-(kernel.shape[0] // 2), -(kernel.shape[1] // 2)), (0, 1)))


def taper(a: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The picture running into its own other side, as the Fourier transform believes it does."""
    reach = max(4, len(kernel))
    soft = backward(forward(a) * otf(kernel, a.shape), s=a.shape).astype(np.float32)
    soft = cv2.GaussianBlur(soft, (0, 0), reach / 2, borderType=cv2.BORDER_REFLECT) * 0.5 + soft * 0.5
    ramps = [np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / reach for n in a.shape]
    y, x = (0.5 - 0.5 * np.cos(np.pi * np.clip(r, 0, 1)) for r in ramps)
    weight = (y[:, None] * x[None]).astype(np.float32)
    return a * weight + soft * (1 - weight)


def wiener(a: np.ndarray, kernel: np.ndarray, strength: float) -> np.ndarray:
    """Deconvolution with a penalty on gradients: argmin |k * x - a|^2 + strength |grad x|^2."""
    K = otf(kernel, a.shape)
    dx, dy = otf(np.array([[0, -1, 1]], np.float32), a.shape), otf(np.array([[0], [-1], [1]], np.float32), a.shape)
    bottom = np.abs(K) ** 2 + strength * (np.abs(dx) ** 2 + np.abs(dy) ** 2) + 1e-6
    return backward(np.conj(K) * forward(a) / bottom, s=a.shape).astype(np.float32)
