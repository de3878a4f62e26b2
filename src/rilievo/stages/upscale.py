"""Larger photos without learned detail: interpolation, corrected until it shrinks back to the photo it came from.

Irani & Peleg 1991, "Improving resolution by image registration" (eq. 3), with one picture and the mean over a pixel's
area as the camera.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from rilievo.stages.tiles import map_tiles

ROUNDS = 8
_KINDS = {"bicubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}


def new_size(pixels: np.ndarray, scale: float) -> tuple[int, int]:
    """(width, height) of the picture enlarged."""
    return round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)


def upscale(
    pixels: np.ndarray, scale: float, *, kind: str = "lanczos", back_project: bool = True, threads: int = 1
) -> np.ndarray:
    """uint16 (round(h scale), round(w scale), 3). kind: bicubic or lanczos.

    back_project: correct it so that the mean over each old pixel is that pixel again: sharper on a clean photo; what is
    wrong in a damaged one is sharpened, too. A scale between whole numbers is made from the next whole one.
    """
    whole = math.ceil(scale - 1e-9)
    out = map_tiles(
        pixels, lambda tile: enlarged(tile, whole, kind, ROUNDS if back_project else 0), halo=12, scale=whole,
        tile=384, threads=threads,
    )  # fmt: skip
    return fit_size(out, new_size(pixels, scale))


def fit_size(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture at (width, height), averaged down where it is larger."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def enlarged(tile: np.ndarray, scale: int, kind: str, rounds: int) -> np.ndarray:
    """float32 (h scale, w scale, 3) of a tile float32 (h, w, 3)."""
    size, small = (tile.shape[1] * scale, tile.shape[0] * scale), (tile.shape[1], tile.shape[0])
    out = cv2.resize(tile, size, interpolation=_KINDS[kind])
    for _ in range(rounds):
        error = tile - cv2.resize(out, small, interpolation=cv2.INTER_AREA)
        out = out + cv2.resize(error, size, interpolation=cv2.INTER_CUBIC)
    return out


def departs(pixels: np.ndarray, plain: np.ndarray, *, most: float = 3.0) -> np.ndarray:
    """uint8 (h, w), 255 where a picture differs from its plain enlargement by more than `most` grey levels of 255.

    pixels, plain: uint16 (h, w, 3).
    """
    out = np.empty(pixels.shape[:2], np.uint8)
    for i in range(0, len(pixels), 256):
        difference = np.abs(pixels[i : i + 256].astype(np.int32) - plain[i : i + 256]).max(2)
        out[i : i + 256] = np.where(difference > most * 257, 255, 0)
    return out
