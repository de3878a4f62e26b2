"""What the network is trained for: relative inverse depth up to scale and shift, its doubt, sky and focal length.

Scale-and-shift-invariant error and gradient matching follow Ranftl et al. 2020, "Towards robust monocular depth
estimation: mixing datasets for zero-shot cross-dataset transfer", equations 5 to 7 (alignment by median and mean
absolute deviation) and 11 (gradients at several scales). The ranking term is the pairwise loss of Chen et al. 2016,
"Single-image depth perception in the wild", equation 2. The doubt is the scale of a Laplace distribution (Kendall and
Gal 2017, "What uncertainties do we need in Bayesian deep learning for computer vision?", equation 8).

All maps are (n, h, w). `target` is inverse depth with 0 for sky; cells outside the picture are -1 and count nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

GRADIENT_SCALES = 4
"""Levels of the gradient matching, each half as large as the one before."""
MAX_NORMALISED = 10.0
"""Truth further than this from its median, in spreads, is drawn in: one thing at the lens must not rule the picture."""
MIN_SPREAD = 1e-4
"""Pictures whose truth varies less than this part of its median teach nothing about shape."""
RANK_RATIO = 1.06
"""Two places are ranked when their inverse depths differ by more than this factor."""


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term of the sum."""

    aligned: float = 1.0
    """Error after alignment."""
    gradient: float = 0.5
    """Gradient matching."""
    rank: float = 0.1
    """Order of pairs of places."""
    doubt: float = 0.05
    """Likelihood of the error under the predicted scale; the error itself is not moved by it."""
    sky: float = 0.2
    """Sky or not."""
    focal: float = 0.1
    """Focal length."""


def spread(maps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Answer median and mean absolute deviation (n, 1, 1) of each map where `mask` is true (equation 5)."""
    medians = torch.stack(
        [m[k].median() if bool(k.any()) else m.new_zeros(()) for m, k in zip(maps, mask, strict=True)]
    )
    medians = medians[:, None, None]
    deviation = ((maps - medians).abs() * mask).sum((1, 2), keepdim=True) / mask.sum((1, 2), keepdim=True).clamp(min=1)
    return medians, deviation


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of each map, then of the maps that have any weight."""
    total = weights.sum((1, 2))
    each = (values * weights).sum((1, 2)) / total.clamp(min=1e-6)
    return (each * (total > 0)).sum() / (total > 0).sum().clamp(min=1)


def gradient_loss(residual: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of the absolute slope of the residual at several scales (equation 11)."""
    total = residual.new_zeros(())
    for level in range(GRADIENT_SCALES):
        step = 2**level
        r, w = residual[:, ::step, ::step], weights[:, ::step, ::step]
        across, down = torch.minimum(w[:, :, 1:], w[:, :, :-1]), torch.minimum(w[:, 1:], w[:, :-1])
        # Where one side counts nowhere the slope does not either; else the farther side says how much it counts.
        across = torch.where(across > 0, torch.maximum(w[:, :, 1:], w[:, :, :-1]), across)
        down = torch.where(down > 0, torch.maximum(w[:, 1:], w[:, :-1]), down)
        total = total + _mean((r[:, :, 1:] - r[:, :, :-1]).abs(), across)
        total = total + _mean((r[:, 1:] - r[:, :-1]).abs(), down)
    return total


def rank_loss(predicted: Tensor, target: Tensor, mask: Tensor, pairs: Tensor) -> Tensor:
    """Softplus of wrongly ordered pairs; `pairs` (2, k) are places in the flattened maps, `predicted` is aligned."""
    a, b = pairs
    p, t, m = predicted.flatten(1), target.flatten(1), mask.flatten(1)
    near, far = t[:, a], t[:, b]
    sign = (near > RANK_RATIO * far + 1e-5).float() - (far > RANK_RATIO * near + 1e-5).float()
    known = (m[:, a] & m[:, b] & (sign != 0)).float()
    loss = F.softplus(-4.0 * sign * (p[:, a] - p[:, b])) / 4.0
    return (loss * known).sum() / known.sum().clamp(min=1)


def total_loss(
    answer: tuple[Tensor, Tensor, Tensor, Tensor],
    target: Tensor,
    log_focal: Tensor,
    pairs: Tensor,
    weights: LossWeights,
) -> tuple[Tensor, dict[str, float]]:
    """Sum of all terms and the value of each.

    `answer` is what the network said (disparity, log_sigma, sky, log_focal); `log_focal` (n,) is NaN where unknown;
    `pairs` (2, k) int64 are places whose order is compared.
    """
    disparity, log_sigma, sky, said_focal = answer
    inside = target >= 0
    is_sky = inside & (target == 0)
    land = inside & ~is_sky
    t_median, t_spread = spread(target.clamp(min=0), inside)
    land_mean = (target * land).sum((1, 2), keepdim=True) / land.sum((1, 2), keepdim=True).clamp(min=1)
    teaches = t_spread > MIN_SPREAD * land_mean.clamp(min=1e-6)
    mask = inside & teaches
    goal = ((target - t_median) / t_spread.clamp(min=1e-8)).clamp(-MAX_NORMALISED, MAX_NORMALISED)
    p_median, p_spread = spread(disparity, inside)
    said = (disparity - p_median) / p_spread.clamp(min=1e-4)
    residual = (said - goal) * mask
    # Depth error at a far place is large for a small error of inverse depth, so half of the weight goes by that.
    far = (land_mean / (target + 0.3 * land_mean).clamp(min=1e-8)).clamp(max=3.0)
    far = torch.where(is_sky, torch.ones_like(far), far) * mask
    far = far * mask.sum((1, 2), keepdim=True) / far.sum((1, 2), keepdim=True).clamp(min=1e-6)
    error = residual.abs()
    counts = 0.5 * mask + 0.5 * far
    terms = {
        "aligned": _mean(error, counts),
        "gradient": gradient_loss(residual, counts),
        "rank": rank_loss(said, target, mask, pairs),
        "doubt": _mean(error.detach() * torch.exp(-log_sigma) + log_sigma, mask.float()),
        "sky": _mean(F.binary_cross_entropy_with_logits(sky, is_sky.float(), reduction="none"), inside.float()),
    }
    known = torch.isfinite(log_focal)
    difference = torch.where(known, said_focal - torch.nan_to_num(log_focal), torch.zeros_like(said_focal))
    terms["focal"] = F.smooth_l1_loss(difference, torch.zeros_like(difference), beta=0.1)
    total = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
    return total, {name: float(value.detach()) for name, value in terms.items()}
