"""The focal length of one photo: from EXIF or the user, else from vanishing points and a network, else assumed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rilievo.stages.vanishing import VanishingConfig, vanishing_focal

ASSUMED_SIGMA = 0.35  # relative: lenses from 20 to 45 mm (full frame) are within one and a bit of it
EXIF_SIGMA = 0.03
GIVEN_SIGMA = 0.005


@dataclass(frozen=True)
class FocalConfig:
    """Settings of `estimate_focal`."""

    version: ClassVar[int] = 1

    vanishing_points: bool = True
    """look for straight lines and their vanishing points where no focal length is given"""
    max_sigma: float = 0.25
    """largest relative standard deviation at which vanishing points are believed"""


@dataclass(frozen=True)
class FocalEstimate:
    """A focal length.

    focal_px: in pixels of the full photo.  sigma: relative standard deviation.  source: as in `PhotoDepth`.
    note: why other sources were not used, one sentence, or nothing.
    """

    focal_px: float
    sigma: float
    source: str
    note: str = ""

    @property
    def is_measured(self) -> bool:
        """Whether it is more than an assumption."""
        return self.source in ("given", "exif", "vanishing points")


def estimate_focal(
    pixels: np.ndarray,
    *,
    full_size: tuple[int, int],
    given_px: float | None = None,
    given_source: str = "exif",
    config: FocalConfig = FocalConfig(),
) -> FocalEstimate:
    """Without a network.

    pixels: uint8 (h, w, 3), the whole photo at any size.  full_size: height and width of the full photo.  given_px: in
    pixels of the full photo.  A focal length from vanishing points supposes that the principal point is in the middle.
    """
    if given_px is not None:
        return FocalEstimate(given_px, GIVEN_SIGMA if given_source == "given" else EXIF_SIGMA, given_source)
    assumed = FocalEstimate(max(full_size) / 2 / math.tan(math.radians(30)), ASSUMED_SIGMA, "assumed")
    if not config.vanishing_points:
        return assumed
    found = vanishing_focal(pixels, config=VanishingConfig())
    if found.sigma > config.max_sigma:
        return replace(assumed, note=found.reason or "the vanishing points are too uncertain")
    # What lenses usually are counts too, by its own uncertainty.
    full_px = found.focal_px * max(full_size) / max(pixels.shape[:2])
    focal_px, sigma = _mean(assumed.focal_px, assumed.sigma, full_px, found.sigma)
    return FocalEstimate(focal_px, sigma, "vanishing points")


def _mean(f1: float, sigma1: float, f2: float, sigma2: float) -> tuple[float, float]:
    """Mean of the logarithms, weighted by their variances, and its relative standard deviation."""
    a, b = sigma1**-2, sigma2**-2
    return math.exp((a * math.log(f1) + b * math.log(f2)) / (a + b)), (a + b) ** -0.5


def combine_focal(first: FocalEstimate, network_px: float | None, network_sigma: float) -> FocalEstimate:
    """With what a network believes: the mean of the logarithms, weighted by their variances. A given focal length and
    one from EXIF are left alone. The source is the one that weighs most."""
    if first.source in ("given", "exif") or network_px is None or not math.isfinite(network_sigma):
        return first
    focal_px, sigma = _mean(first.focal_px, first.sigma, network_px, network_sigma)
    source = first.source if first.sigma <= network_sigma else "network"
    return FocalEstimate(focal_px, sigma, source, first.note)
