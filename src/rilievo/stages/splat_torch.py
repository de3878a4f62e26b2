"""The parts of training splats that need only PyTorch: loss against a photo, Adam, the 3D filter. They compute what the
kernels do (kernels/reference/splats_train.py), on whatever device the tensors are; torch is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rilievo.stages.splat_photos import SizedPhoto
from rilievo.stages.splat_rows import FILTER, HARMONICS, LOGIT, MEAN, SCALE
from rilievo.types import DepthMap

BLOCK = 16
COUNT = 12  # column of the first moments that counts a Gaussian's steps
C1, C2 = 0.01**2, 0.03**2


@dataclass(frozen=True)
class TorchPhoto:
    """A photo on the device: pixels uint8 (h, w, 3), alpha and mask uint8 (h, w) or None; viewmat (4, 4) and K (3, 3)
    float32; center (3,) of the camera."""

    pixels: Any
    alpha: Any
    mask: Any
    viewmat: Any
    K: Any
    center: Any
    width: int
    height: int

    @property
    def num_bytes(self) -> int:
        """Of the pictures."""
        return sum(a.numel() for a in (self.pixels, self.alpha, self.mask) if a is not None)


def photo_to(device: Any, photo: SizedPhoto, *, only_place: bool = False) -> TorchPhoto:
    """The photo on a device; only_place: without its pixels."""
    import torch

    put = lambda a: None if a is None else torch.as_tensor(np.array(a), device=device)  # noqa: E731
    fx, fy, cx, cy = photo.camera
    viewmat = np.eye(4)
    viewmat[:3] = photo.cam_from_world
    center = -viewmat[:3, :3].T @ viewmat[:3, 3]
    pixels, alpha, mask = (None if only_place else put(a) for a in (photo.pixels, photo.alpha, photo.mask))
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)
    w, h = photo.size
    return TorchPhoto(
        pixels, alpha, mask, put(viewmat.astype(np.float32)), put(K), put(center.astype(np.float32)), w, h
    )


def photo_loss(
    rendered: Any, photo: TorchPhoto, background: Any, gain: Any, bias: Any, block_weights: Any, dssim: float
) -> tuple[Any, Any]:
    """The loss of `kernels.photo_loss` as a tensor that autograd follows to rendered (3, h, w), gain and bias (3,), and
    the mean |x - y| of blocks of 16 x 16 pixels (no gradient). block_weights: of these blocks, or None."""
    import torch

    h, w = photo.height, photo.width
    x = rendered * gain[:, None, None] + bias[:, None, None]
    y = photo.pixels.permute(2, 0, 1).to(torch.float32) / 255
    if photo.alpha is not None:
        behind = background[:, None, None]
        y = behind + (y - behind) * (photo.alpha.to(torch.float32) / 255)
    weight = None
    if photo.mask is not None:  # where not to look both are the same, and nothing is pulled
        counts = photo.mask > 0
        x = torch.where(counts, x, x.detach())
        y = torch.where(counts, y, x.detach())
        weight = counts.to(torch.float32)
    if block_weights is not None:
        spread = block_weights.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[:h, :w]
        weight = spread if weight is None else weight * spread
    size = (x - y).abs()
    loss = (1 - dssim) * size + dssim * (1 - _ssim(x, y)) if dssim > 0 else size
    if weight is not None:
        loss = loss * weight
    return loss.sum() / (3 * h * w), block_means(size.detach().mean(0))


def _ssim(x: Any, y: Any) -> Any:
    """Structural similarity of each pixel (3, h, w): Wang et al. 2004, eq. 13, windows of 11 x 11 with sigma 1.5, zeros
    outside."""
    import torch
    import torch.nn.functional as F

    g = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = torch.as_tensor(g / g.sum(), dtype=torch.float32, device=x.device)
    stacked = torch.cat([x, y, x * x + y * y, x * y])[None]
    n = stacked.shape[1]
    # TF32 has 10 bits: variances are differences of nearly equal numbers.
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        down = F.conv2d(stacked, window.view(1, 1, 11, 1).expand(n, 1, 11, 1), padding=(5, 0), groups=n)
        mx, my, squares, cross = F.conv2d(down, window.view(1, 1, 1, 11).expand(n, 1, 1, 11), padding=(0, 5), groups=n)[
            0
        ].split(3)
    a1, a2 = 2 * mx * my + C1, 2 * (cross - mx * my) + C2
    b1, b2 = mx**2 + my**2 + C1, squares - mx**2 - my**2 + C2
    return a1 * a2 / (b1 * b2)


def block_means(values: Any) -> Any:
    """Means of blocks of 16 x 16 of (h, w); those at the right and bottom may be smaller."""
    import torch.nn.functional as F

    return F.avg_pool2d(values[None, None], BLOCK, ceil_mode=True, count_include_pad=False)[0, 0]


def shape_loss(
    features: Any, light: Any, photo: TorchPhoto, known: DepthMap, depth_weight: float, normal_weight: float
):
    """Loss of drawn depth (and normals) against known ones, as a tensor: with D = sum(w z) and the transmittance T,
    |D - (1 - T) z| / z, and (1 - T) - N . n. features (4 or 7, h, w): colours, depth, normals.  light: T (h, w)."""
    import torch

    z = torch.as_tensor(np.array(known.depth), dtype=torch.float32, device=light.device)
    valid = torch.isfinite(z)
    if photo.mask is not None:
        valid = valid & (photo.mask > 0)
    safe = torch.where(valid, z, torch.ones_like(z))
    off = (features[3] - (1 - light) * safe).abs() / safe
    total = depth_weight * torch.where(valid, off, torch.zeros_like(off)).sum()
    if normal_weight:
        n = torch.as_tensor(np.array(known.normals), dtype=torch.float32, device=light.device)
        there = valid & torch.isfinite(n).all(-1)
        turned = (1 - light) - (features[4:7] * torch.nan_to_num(n).permute(2, 0, 1)).sum(0)
        total = total + normal_weight * torch.where(there, turned, torch.zeros_like(turned)).sum()
    return total / (photo.width * photo.height)


def adam(
    rows: Any,
    first: Any,
    second: Any,
    gradient: Any,
    seen: Any,
    rates: Any,
    bias: Any,
    degree: int,
    *,
    betas: tuple[float, float],
    epsilon: float,
    opacity_weight: float,
    scale_weight: float,
) -> Any:
    """One step of Adam (Kingma & Ba 2015, algorithm 1) in place for the Gaussians that are `seen` (n,) and have a
    finite gradient (n, 64); the others keep their moments. bias (2, k): 1 / (1 - beta^t) for t = 1 ... k, 1 from there
    on. Returns the numbers of the Gaussians that took a step."""
    import torch

    used = HARMONICS + 3 * (degree + 1) ** 2
    index = (seen & torch.isfinite(gradient).all(1)).nonzero()[:, 0]
    d, row = gradient[index, :used], rows[index, :used]
    if opacity_weight:
        opacity = torch.sigmoid(row[:, LOGIT])
        d[:, LOGIT] += opacity_weight * opacity * (1 - opacity)
    if scale_weight:
        d[:, SCALE] += scale_weight * torch.exp(row[:, SCALE])
    f, s = first[index, :used], second[index, :used]
    step = f[:, COUNT].to(torch.int64)
    late = step >= bias.shape[1]
    correct = torch.where(late, 1.0, bias[:, step.clamp(max=bias.shape[1] - 1)])
    f = f.mul_(betas[0]).add_(d, alpha=1 - betas[0])
    s = s.mul_(betas[1]).addcmul_(d, d, value=1 - betas[1])
    root = (s * correct[1][:, None]).sqrt_().add_(epsilon)
    row -= rates[:used] * (f * correct[0][:, None]) / root
    f[:, COUNT], s[:, COUNT] = (step + 1).to(f.dtype), 0
    rows[index, :used], first[index, :used], second[index, :used] = row, f, s
    return index


def set_filter(rows: Any, photos: Sequence[TorchPhoto], filter_3d: float) -> None:
    """The variance that no Gaussian falls below, into the rows: filter_3d squared pixels of the photo that shows it
    largest (Yu et al. 2024, eqs. 6 and 8); 0 where no photo does. photos: at full size."""
    import torch

    means = rows[:, MEAN]
    least = torch.full((len(rows),), np.inf, dtype=torch.float32, device=rows.device)
    for p in photos:
        R, t = p.viewmat[:3, :3], p.viewmat[:3, 3]
        x, y, z = ((means * R[k]).sum(1) + t[k] for k in range(3))
        fx, fy, cx, cy = (float(v) for v in (p.K[0, 0], p.K[1, 1], p.K[0, 2], p.K[1, 2]))
        w, h = p.width, p.height
        inside = (
            (z > 0)
            & ((fx * x + (cx - w / 2) * z).abs() < 0.65 * w * z)
            & ((fy * y + (cy - h / 2) * z).abs() < 0.65 * h * z)
        )
        least = torch.minimum(least, torch.where(inside, z / max(fx, fy), least))
    rows[:, FILTER] = torch.where(torch.isfinite(least), filter_3d * least**2, torch.zeros_like(least))
