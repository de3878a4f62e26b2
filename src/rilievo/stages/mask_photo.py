"""Masks from single photos: sky, people, and what lies behind the thing that a photo is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from rilievo.networks import Network
from rilievo.stages import foreground, segment
from rilievo.stages.monocular import MonocularConfig, photo_depth

_LONGEST = 2000  # px: people and sky need not be found in more


@dataclass(frozen=True)
class PhotoMaskConfig:
    """Settings of `find_sky`, `find_people` and `find_background`."""

    version: ClassVar[int] = 2

    min_score: float = 0.3
    """how sure the detector must be of a person, 0..1"""
    sure_score: float = 0.5
    """from where on its word is enough: the whole box is masked where no outline is found in it"""
    foreground: float = 0.5
    """share of a pixel that must belong to the foreground"""
    min_foreground: float = 0.005
    """share of the photo below which nothing counts as its foreground"""


def find_sky(pixels: np.ndarray, network: Network, name: str) -> np.ndarray:
    """bool (h, w). pixels: uint8 (h, w, 3) RGB.  network: rilievo's own depth network (weights `depth-small`), which
    tells sky; its word is held against colour, texture and place (`monocular_sky`)."""
    small = foreground.at_most(pixels, _LONGEST)
    seen = photo_depth(small, name=name, model="depth-small", network=network, config=MonocularConfig(mirror=False))
    return _enlarged(seen.sky, pixels.shape[:2])


def find_people(
    pixels: np.ndarray,
    detector: Network,
    outliner: foreground.Foreground | None,
    config: PhotoMaskConfig = PhotoMaskConfig(),
) -> np.ndarray:
    """bool (h, w): people, by boxes of NanoDet, in each box by IS-Net, or without it by a minimum cut of colours."""
    small = foreground.at_most(pixels, _LONGEST)
    h, w = small.shape[:2]
    out = np.zeros((h, w), bool)
    for found in segment.detect(small, detector, min_score=config.min_score, labels=(segment.PERSON,)):
        x0, y0, x1, y1 = found.box
        mx, my = 0.12 * (x1 - x0) + 4, 0.08 * (y1 - y0) + 4
        left, top = max(0, int(x0 - mx)), max(0, int(y0 - my))
        right, bottom = min(w, int(x1 + mx) + 1), min(h, int(y1 + my) + 1)
        crop = np.ascontiguousarray(small[top:bottom, left:right])
        if min(crop.shape[:2]) < 8:
            continue
        if outliner is not None:
            inside = foreground.glance(crop, outliner) > config.foreground
        else:
            inside = _cut(crop, (int(x0) - left, int(y0) - top, int(x1 - x0), int(y1 - y0)))
        box = np.zeros((h, w), bool)
        box[max(0, int(y0 - my / 2)) : int(y1 + my / 2) + 1, max(0, int(x0 - mx / 2)) : int(x1 + mx / 2) + 1] = True
        part = np.zeros((h, w), bool)
        part[top:bottom, left:right] = inside
        part &= box
        area = max((x1 - x0) * (y1 - y0), 1.0)
        if part.sum() < 0.12 * area:
            if found.score < config.sure_score:
                continue
            part = np.zeros((h, w), bool)
            part[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1] = True
        out |= part
    return _enlarged(out, pixels.shape[:2])


def find_background(
    pixels: np.ndarray, network: foreground.Foreground, config: PhotoMaskConfig = PhotoMaskConfig()
) -> np.ndarray | None:
    """bool (h, w): what lies behind the thing that the photo is of; None where the network sees no such thing."""
    front = foreground.foreground(pixels, network) > config.foreground
    return ~front if front.mean() >= config.min_foreground else None


def _cut(crop: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    cv2.setRNGSeed(0)
    labels = np.zeros(crop.shape[:2], np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    box = (max(box[0], 1), max(box[1], 1), min(box[2], crop.shape[1] - 3), min(box[3], crop.shape[0] - 3))
    cut, _, _ = cv2.grabCut(np.ascontiguousarray(crop[..., ::-1]), labels, box, *models, 4, cv2.GC_INIT_WITH_RECT)
    return (cut == cv2.GC_FGD) | (cut == cv2.GC_PR_FGD)


def _enlarged(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if mask.shape == shape[:2]:
        return mask
    soft = cv2.resize(mask.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(soft) > 0.5
