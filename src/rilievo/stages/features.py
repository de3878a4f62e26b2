"""Keypoints of one photo, by one of the extractors in `EXTRACTORS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rilievo import kernels
from rilievo.types import Features


@dataclass(frozen=True)
class FeaturesConfig:
    """Settings of `extract`."""

    version: ClassVar[int] = 2

    extractor: str = "sift"
    """name of a row of EXTRACTORS: sift, or xfeat (learned; needs its weights)"""
    max_features: int = 6000
    """keypoints a photo, the strongest first, half of them spread evenly over the photo"""
    max_size: int = 3200
    """longer side of the picture that is searched, px; larger photos are averaged down to it"""
    upsample: bool = True
    """begin at twice that size: finds details of 1 px, at two and a half times the work"""
    min_contrast: float = 1.7
    """least difference of Gaussians, in grey levels of 255 (Lowe 2004, section 4)"""
    max_edge_ratio: float = 10.0
    """keypoints on edges are left out above this ratio of curvatures (Lowe 2004, section 4.1)"""
    seed: int = 0
    """seed of everything random"""


def extract(
    pixels: np.ndarray, *, name: str, mask: np.ndarray | None = None, config: FeaturesConfig = FeaturesConfig()
) -> Features:
    """Keypoints with descriptors of a photo.

    pixels: uint8 (h, w, 3) RGB.  mask: bool (h, w), True where keypoints are wanted.  name: the photo's id, seed of
    anything random.  Keypoints come in px of `pixels` (pixel centres at 0.5), strongest first.
    Raises KeyError for an unknown extractor, ValueError for a mask of another size, MissingError without weights.
    """
    import cv2

    height, width = pixels.shape[:2]
    if mask is not None and mask.shape != (height, width):
        raise ValueError(f"mask is {mask.shape}, pixels are {(height, width)}")
    scale = min(1.0, config.max_size / max(height, width))
    small = pixels
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        if mask is not None:
            mask = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    found = EXTRACTORS[config.extractor](np.ascontiguousarray(small), mask, config)
    if scale == 1:
        return found
    factor = np.array([width / small.shape[1], height / small.shape[0]], np.float32)
    return Features(
        extractor=found.extractor,
        keypoints=found.keypoints * factor,
        scales=found.scales * factor.mean(dtype=np.float32),
        orientations=found.orientations,
        scores=found.scores,
        descriptors=found.descriptors,
        colors=found.colors,
    )


def sift(pixels: np.ndarray, mask: np.ndarray | None, config: FeaturesConfig) -> Features:
    """SIFT (Lowe 2004) with RootSIFT descriptors (Arandjelovic & Zisserman 2012), uint8 with length 512."""
    where = mask.astype(np.uint8) if mask is not None else np.zeros((0, 0), np.uint8)
    keypoints, scales, orientations, scores, descriptors, colors = kernels.sift(
        pixels,
        where,
        max_features=config.max_features,
        upsample=config.upsample,
        min_contrast=config.min_contrast,
        max_edge_ratio=config.max_edge_ratio,
    )
    return Features("sift", keypoints, scales, orientations, scores, descriptors, colors)


def xfeat(pixels: np.ndarray, mask: np.ndarray | None, config: FeaturesConfig) -> Features:
    """XFeat (Potje et al. 2024): fewer and coarser keypoints, found again over wider angles."""
    from rilievo.stages.xfeat import detect

    return detect(pixels, mask, config.max_features)


EXTRACTORS: dict[str, Callable[[np.ndarray, np.ndarray | None, FeaturesConfig], Features]] = {
    "sift": sift,
    "xfeat": xfeat,
}
