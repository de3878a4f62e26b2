"""The focal length of one photo: from EXIF or the user, else from vanishing points and a network, else assumed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

ASSUMED_SIGMA = 0.35  # relative: from a 20 mm to a 45 mm lens (full frame) within two of it
EXIF_SIGMA = 0.03
GIVEN_SIGMA = 0.005


@dataclass(frozen=True)
class FocalConfig:
    """Settings of `estimate_focal`."""

    version: ClassVar[int] = 1

    vanishing_points: bool = True
    """look for straight lines and their vanishing points where no focal length is given"""


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
    """Without a network. pixels: uint8 (h, w, 3), of any size; full_size: height and width of the full photo;
    given_px: in pixels of the full photo."""
    if given_px is not None:
        return FocalEstimate(given_px, GIVEN_SIGMA if given_source == "given" else EXIF_SIGMA, given_source)
    longer = max(full_size)
    return FocalEstimate(longer / 2 / math.tan(math.radians(30)), ASSUMED_SIGMA, "assumed")


def combine_focal(first: FocalEstimate, network_px: float | None, network_sigma: float) -> FocalEstimate:
    """With what a network believes: the mean of the logarithms, weighted by their variances. A given focal length and
    one from EXIF are left alone. The source is the one that weighs most."""
    if first.source in ("given", "exif") or network_px is None or not math.isfinite(network_sigma):
        return first
    a, b = first.sigma**-2, network_sigma**-2
    log = (a * math.log(first.focal_px) + b * math.log(network_px)) / (a + b)
    return FocalEstimate(math.exp(log), (a + b) ** -0.5, first.source if a >= b else "network", first.note)
