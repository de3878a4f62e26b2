"""How near a picture is to the true one: PSNR, SSIM and LPIPS, as papers on radiance fields report them.

Pictures are uint8, or floats from 0 to 1, (h, w, 3), as they are shown (sRGB), both of one size. Higher PSNR and SSIM
are better, lower LPIPS is.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from rilievo.errors import InputError

_SIZE, _SIGMA, _K1, _K2 = 11, 1.5, 0.01, 0.03


def psnr(image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB: -10 log10 of the mean squared error over pixels and channels, peak 1.

    mask: bool (h, w), True where pixels count (None: everywhere). Infinite for equal pictures. Raises InputError when
    the pictures cannot be compared.
    """
    a, b = _pair(image, truth)
    error = (a - b) ** 2
    if mask is not None:
        error = error[_mask(mask, a.shape[:2])]
    mean = float(error.mean())
    return float("inf") if mean == 0 else -10 * float(np.log10(mean))


def ssim(
    image: np.ndarray,
    truth: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    padding: Literal["valid", "zero"] = "valid",
) -> float:
    """Structural similarity (Wang et al. 2004, eq. 13; 11 x 11 Gaussian window of sigma 1.5, K1 0.01, K2 0.03), mean
    over windows and channels.

    padding: "valid" takes only windows that lie in the picture, as the authors' program does; "zero" takes one a pixel
    with black around the picture, as the trainers descended from 3D Gaussian splatting do (their figures are a little
    higher for scenes whose border is easy).
    mask: bool (h, w), True where the middle of a window counts (None: everywhere).
    Raises InputError when the pictures cannot be compared or are smaller than a window.
    """
    a, b = _pair(image, truth)
    if padding not in ("valid", "zero"):
        raise InputError(f"unknown padding {padding!r}", "", "use valid or zero")
    if min(a.shape[:2]) < _SIZE:
        raise InputError(
            "the pictures are too small for SSIM", f"{a.shape[1]} x {a.shape[0]} pixels; a window has {_SIZE} x {_SIZE}"
        )
    half = _SIZE // 2
    if padding == "zero":
        a, b = (np.pad(x, ((half, half), (half, half), (0, 0))) for x in (a, b))
    elif mask is not None:
        mask = _mask(mask, a.shape[:2])[half:-half, half:-half]
    mean_a, mean_b = _window(a), _window(b)
    var_a, var_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    c1, c2 = _K1**2, _K2**2
    top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity = top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return float(similarity.mean() if mask is None else similarity[_mask(mask, similarity.shape[:2])].mean())


def lpips(image: np.ndarray, truth: np.ndarray, *, net: str = "alex") -> float:
    """Learned perceptual image patch similarity, version 0.1 (Zhang et al. 2018, eq. 1), mean over the picture.

    net: "alex" (AlexNet, the authors' choice for comparing) or "vgg" (VGG16, what most papers on splats report). Their
    weights are fetched once: `rilievo weights get alexnet lpips-alex --accept-licence`.
    Raises MissingError when they are not on this machine, InputError when the pictures cannot be compared or are
    smaller than 32 pixels.
    """
    from rilievo.evaluate.perceptual import distance

    a, b = _pair(image, truth)
    if min(a.shape[:2]) < 32:
        raise InputError("the pictures are too small for LPIPS", f"{a.shape[1]} x {a.shape[0]} pixels; 32 are needed")
    return distance(a, b, net)


def _pair(image: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 0..1. Raises InputError when they are no pictures of one size."""
    if image.shape != truth.shape:
        raise InputError(
            "the pictures differ in size",
            f"{' x '.join(map(str, image.shape))} and {' x '.join(map(str, truth.shape))} (height, width, channels)",
            "compare pictures of the same camera at the same size",
        )
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError("these are no colour pictures", f"their shape is {image.shape}, expected (height, width, 3)")
    return _unit(image), _unit(truth)


def _unit(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels / 255.0
    if pixels.dtype.kind != "f":
        raise InputError(f"pixels of type {pixels.dtype} cannot be compared", "expected uint8, or floats from 0 to 1")
    if not np.isfinite(pixels).all():
        raise InputError("the pictures cannot be compared", "some pixels are not finite numbers")
    if pixels.min() < -1e-4 or pixels.max() > 1 + 1e-4:
        raise InputError(
            "the pictures cannot be compared",
            f"floats run from {pixels.min():g} to {pixels.max():g}, expected 0 to 1",
            "clip them, or give uint8",
        )
    return np.clip(pixels.astype(np.float64), 0, 1)


def _mask(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if mask.shape != shape or mask.dtype != bool:
        raise InputError(
            "the mask does not fit the pictures", f"it is {mask.dtype} {mask.shape}, expected bool {shape}"
        )
    if not mask.any():
        raise InputError("there is nothing to compare", "the mask is False everywhere")
    return mask


def _window(x: np.ndarray) -> np.ndarray:
    """Gaussian-weighted mean of each whole window: (h, w, 3) -> (h - 10, w - 10, 3)."""
    t = np.arange(_SIZE) - _SIZE // 2
    weight = np.exp(-(t**2) / (2 * _SIGMA**2))
    weight /= weight.sum()
    rows = sum(weight[i] * x[i : x.shape[0] - _SIZE + 1 + i] for i in range(_SIZE))
    return sum(weight[i] * rows[:, i : x.shape[1] - _SIZE + 1 + i] for i in range(_SIZE))  # type: ignore[return-value]
