"""Loss of a rendering against a photo and the optimiser of Gaussians, in plain NumPy: specifies native/splat_loss.cpp
and the training half of native/splats.cpp."""

from __future__ import annotations

import numpy as np

from rilievo.kernels.reference.splats import SplatFrame, splat_backward

BLOCK = 16
C1, C2 = 0.01**2, 0.03**2


def _blur(a: np.ndarray) -> np.ndarray:
    """11 x 11, Gaussian of sigma 1.5, zeros outside, on the last two axes."""
    g = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    g /= g.sum()
    padded = np.pad(a, [(0, 0)] * (a.ndim - 2) + [(5, 5), (5, 5)])
    h, w = a.shape[-2:]
    down = sum(g[k] * padded[..., k : k + h, :] for k in range(11))
    return sum(g[k] * down[..., :, k : k + w] for k in range(11))  # type: ignore[return-value]


def photo_loss(
    rendered: np.ndarray,
    photo: np.ndarray,
    alpha: np.ndarray | None,
    mask: np.ndarray | None,
    block_weights: np.ndarray | None,
    background: np.ndarray,
    gain: np.ndarray,
    bias: np.ndarray,
    dssim: float,
    gradient: np.ndarray,
    block_errors: np.ndarray,
) -> tuple[float, float, float, float, tuple[float, ...], tuple[float, ...]]:
    """The loss sum(w ((1 - dssim) |x - y| + dssim (1 - SSIM))) / (3 h w) of x = gain * rendered + bias and the photo y,
    and its gradient by `rendered`, which fills `gradient`.

    rendered float32 (>= 3, h, w).  photo uint8 (h, w, 3), where `alpha` uint8 (h, w) says so over `background` (3,).
    mask uint8 (h, w): 0 where not to look; there y = x.  block_weights float32: w of blocks of 16 x 16 pixels.
    gain, bias (3,): exposure of the photo.  block_errors is filled with the mean |x - y| of each block.
    Returns the sums over pixels that count of |x - y|, SSIM (0 where dssim is) and (x - y)^2, their number, and the
    gradients of gain and bias (Wang et al. 2004, eq. 13; Zhao et al. 2017 for the use as a loss).
    """
    h, w = photo.shape[:2]
    g, b = (np.asarray(a, np.float64)[:, None, None] for a in (gain, bias))
    raw = np.asarray(rendered[:3], np.float64)
    x = raw * g + b
    y = photo.astype(np.float64).transpose(2, 0, 1) / 255
    if alpha is not None:
        behind = np.asarray(background, np.float64)[:, None, None]
        y = behind + (y - behind) * (alpha / 255.0)
    counts = np.ones((h, w)) if mask is None else (mask > 0).astype(np.float64)
    weight = counts
    if block_weights is not None:
        weight = counts * np.kron(block_weights, np.ones((BLOCK, BLOCK)))[:h, :w]
    y = np.where(counts > 0, y, x)
    mx, my, squares, cross = _blur(x), _blur(y), _blur(x * x + y * y), _blur(x * y)
    a1, a2 = 2 * mx * my + C1, 2 * (cross - mx * my) + C2
    b1, b2 = mx**2 + my**2 + C1, squares - mx**2 - my**2 + C2
    S = a1 * a2 / (b1 * b2)
    share = 1 / (3 * h * w)
    ws = -dssim * share * weight
    d_mean = 2 * (my * (a2 - a1) / (b1 * b2) + mx * S * (1 / b2 - 1 / b1))
    d_x = _blur(ws * d_mean) + 2 * x * _blur(ws * -S / b2) + y * _blur(ws * 2 * a1 / (b1 * b2))
    d_x = np.where(counts > 0, d_x, 0) + (1 - dssim) * share * weight * np.sign(x - y)
    gradient[:3] = d_x * g
    size = np.abs(x - y) * counts
    padded = np.pad(size.mean(0), ((0, -h % BLOCK), (0, -w % BLOCK)))
    number = np.pad(np.ones((h, w)), ((0, -h % BLOCK), (0, -w % BLOCK)))
    shape = (padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK)
    block_errors[:] = padded.reshape(shape).sum((1, 3)) / number.reshape(shape).sum((1, 3))
    return (
        float(size.sum()),
        float((S * counts).sum()) if dssim > 0 else 0.0,
        float((size**2).sum()),
        float(3 * counts.sum()),
        tuple((d_x * raw).sum((1, 2))),
        tuple(d_x.sum((1, 2))),
    )


def splat_update(
    frame: SplatFrame,
    d_features: np.ndarray,
    d_transmittance: np.ndarray | None,
    rows: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    score: np.ndarray,
    rates: np.ndarray,
    bias: np.ndarray,
    beta1: float,
    beta2: float,
    epsilon: float,
    opacity_weight: float = 0.0,
    scale_weight: float = 0.0,
) -> None:
    """One step of Adam (Kingma & Ba 2015, algorithm 1) for the Gaussians that were drawn; others keep their moments.

    Changes rows, first, second (n, 64) and score (n, 4) in place. first[:, 12] counts a Gaussian's steps. rates (64,)
    are learning rates; bias (2, k): 1 / (1 - beta^t) for t = 1 ... k, taken as 1 from there on. opacity_weight and
    scale_weight: of the sum of opacities and of scales in the loss. score gains the length of the gradient on the image
    plane, 1, and keeps the largest reach in pixels.
    """
    d_rows, d_xy = splat_backward(frame, rows, d_features, d_transmittance)
    degree = frame.camera[4]
    used = HARMONICS_AT + -(-3 * (degree + 1) ** 2 // 16) * 16
    for i in (int(v) for v in frame.visible):
        d = d_rows[i].astype(np.float64)
        opacity = 1 / (1 + np.exp(-float(rows[i, 3])))
        d[3] += opacity_weight * opacity * (1 - opacity)
        d[8:11] += scale_weight * np.exp(rows[i, 8:11])
        if not np.isfinite(d).all():
            continue
        s = frame.shapes[i]
        reach = float(np.sqrt(2 * np.log(s["shown"] * 255) * np.diag(s["cov"]).max()))
        score[i] = [score[i, 0] + np.linalg.norm(d_xy[i]), score[i, 1] + 1, max(score[i, 2], reach), score[i, 3]]
        step = int(first[i, 12])
        scale1, scale2 = bias[:, step] if step < bias.shape[1] else (1.0, 1.0)
        first[i, :used] = beta1 * first[i, :used] + (1 - beta1) * d[:used]
        second[i, :used] = beta2 * second[i, :used] + (1 - beta2) * d[:used] ** 2
        rows[i, :used] -= rates[:used] * (first[i, :used] * scale1) / (np.sqrt(second[i, :used] * scale2) + epsilon)
        first[i, 12], second[i, 12] = step + 1, 0


HARMONICS_AT = 16
