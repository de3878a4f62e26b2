"""Defocus and motion blur of a photo in pixels, told apart by the spectrum of its sharpest-textured parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

TILE = 256
_ANGLES = 12
# Cycles a pixel: below, a tile holds too few waves; above, demosaicing, sharpening and JPEG have their say.
_FREQUENCIES = np.geomspace(0.022, 0.36, 13)
# Amplitude of what the world shows falls like 1 / f: (mean, standard deviation) of the exponent of power, halved.
_SLOPE, _SLOPE_SIGMA = 1.15, 0.25
# What a photo in perfect focus reads.
FLOOR_PX = 0.3
# A smear is called one when the log of how much better it explains the spectrum than a round blur exceeds this.
_MIN_GAIN, _DOUBT = 0.3, 0.02


@dataclass(frozen=True)
class Blur:
    """sigma_px: sigma of the Gaussian with the variance of all the blur in its widest direction.  defocus_px: sigma of
    the part that is alike in all directions.  motion_px: length of the straight smear, 0 where there is none beyond
    doubt.  motion_deg: its direction in the picture, 0 along rows, 90 up and down, counter-clockwise, in [0, 180), NaN
    without one.  smear: log of how much better a smear explains the spectrum than a round blur (a score, no verdict).
    NaN where no tile has texture.
    """

    sigma_px: float
    defocus_px: float
    motion_px: float
    motion_deg: float
    smear: float


NO_BLUR_KNOWN = Blur(math.nan, math.nan, math.nan, math.nan, math.nan)


def blur_of(tiles: Sequence[np.ndarray], noise: float = 1.0) -> Blur:
    """Blur over tiles of one photo, each uint8 (256, 256) at full resolution. noise: its sigma in grey levels.

    Power of what cameras see falls like f^-2s in each direction, with s near 1 (Field 1987); blur multiplies it by
    exp(-(2 pi f d)^2) for a Gaussian of sigma d and by sinc^2 (L f cos) for a smear over L px. d, L and the direction
    are those that explain the measured log power best when its level is free in each direction and s has a prior.
    """
    power, floor = _spectrum(tiles, max(1.0, 1.5 * noise))
    usable = power > 3.0 * floor
    if usable.sum() < 24:
        return NO_BLUR_KNOWN
    y = np.log(np.maximum(power - floor, 1e-9))
    weight = np.where(usable, 1 - floor / np.maximum(power, 1e-9), 0.0)
    table, settings = _model()
    # a little blur is no blur: prefer the smaller of equals
    cost = _residual(table, y, weight) + 2e-4 * (settings[:, 0] ** 2 + settings[:, 1] ** 2 / 12)
    plain = settings[:, 1] == 0
    best, round_only = int(np.argmin(cost)), int(np.flatnonzero(plain)[np.argmin(cost[plain])])
    gain = float(np.log((cost[round_only] + _DOUBT) / (cost[best] + _DOUBT)))
    d, length, theta = settings[best]
    moved = gain > _MIN_GAIN and length > 1.0
    sigma = math.hypot(d, length / math.sqrt(12)) if gain > _MIN_GAIN / 3 else settings[round_only, 0]
    if not moved:
        d, length, theta = settings[round_only]
    return Blur(
        sigma_px=max(float(sigma), FLOOR_PX),
        defocus_px=max(float(d), FLOOR_PX),
        motion_px=float(length),
        motion_deg=float(-theta % 180) if moved else math.nan,
        smear=gain,
    )


def _spectrum(tiles: Sequence[np.ndarray], noise: float) -> tuple[np.ndarray, float]:
    """Mean power of tiles in bins (angles * frequencies,), each tile with the same weight, and the same of noise
    (its sigma in grey levels; JPEG's rounding alone makes about 1)."""
    import cv2

    index, count = _bins()
    window = np.outer(np.hanning(TILE), np.hanning(TILE)).astype(np.float32)
    total, floors = np.zeros(len(count)), []
    for tile in tiles:
        if tile.shape != (TILE, TILE):
            continue
        grey = tile.astype(np.float32)
        grey -= grey.mean()
        spectrum = cv2.dft(grey * window, flags=cv2.DFT_COMPLEX_OUTPUT)[:, : TILE // 2]
        p = (spectrum.astype(np.float64) ** 2).sum(-1).ravel()
        binned = np.bincount(index, p, len(count) + 1)[:-1] / count
        middle = binned.reshape(_ANGLES, -1)[:, 1:6].mean()
        floor = (window**2).sum() * noise**2
        if middle < 4 * floor:
            continue
        total += binned / middle
        floors.append(floor / middle)
    if not floors:
        return np.zeros(len(count)), 1.0
    return total / len(floors), float(np.mean(floors))


@cache
def _bins() -> tuple[np.ndarray, np.ndarray]:
    """For each coefficient of half a spectrum its bin (the last: none), and how many each bin has."""
    fy = np.fft.fftfreq(TILE)[:, None]
    fx = np.fft.fftfreq(TILE)[None, : TILE // 2]
    f, angle = np.hypot(fx, fy), np.degrees(np.arctan2(fy, fx)) % 180
    edges = np.sqrt(_FREQUENCIES[1:] * _FREQUENCIES[:-1])
    radial = np.searchsorted(edges, f)
    around = np.round(angle / (180 / _ANGLES)).astype(int) % _ANGLES
    outside = (f < 0.8 * _FREQUENCIES[0]) | (f > 1.1 * _FREQUENCIES[-1]) | ((fx == 0) & (fy < 0))
    n = _ANGLES * len(_FREQUENCIES)
    index = np.where(outside, n, around * len(_FREQUENCIES) + radial).ravel()
    return index, np.maximum(np.bincount(index, minlength=n + 1)[:-1], 1)


@cache
def _model() -> tuple[np.ndarray, np.ndarray]:
    """Log of the power that blur leaves in each bin, float32 (n, bins), for settings (n, 3): d and L in px, direction
    in degrees (y down)."""
    d = np.concatenate([np.arange(0, 3.0, 0.2), np.arange(3.0, 6.1, 0.5)])
    length = np.concatenate(
        [[0.0], np.arange(2.0, 8.0, 1.0), np.arange(8.0, 16.0, 2.0), [16.0, 19.0, 22.0, 26.0, 30.0]]
    )
    theta = np.arange(0, 180, 7.5)
    D, L, T = (a.ravel() for a in np.meshgrid(d, length, theta, indexing="ij"))
    keep = (L > 0) | (T == 0)
    D, L, T = D[keep], L[keep], T[keep]
    step = 180 / _ANGLES
    power = np.zeros((len(D), _ANGLES, len(_FREQUENCIES)))
    # a bin is wide: what it holds is averaged over its places
    growth = (_FREQUENCIES[1] / _FREQUENCIES[0]) ** 0.3
    offsets = [(a, r) for a in (-0.35, 0.0, 0.35) for r in (1 / growth, 1.0, growth)]
    for turn, factor in offsets:
        phi = np.radians((np.arange(_ANGLES) + turn) * step)
        f = _FREQUENCIES * factor
        along = np.abs(np.cos(phi - np.radians(T)[:, None]))[:, :, None] * f
        power += np.exp(-((2 * math.pi * D[:, None, None] * f) ** 2)) * np.sinc(L[:, None, None] * along) ** 2
    log = np.log(np.maximum(power / len(offsets), 1e-7)).reshape(len(D), -1)
    return log.astype(np.float32), np.stack([D, L, T], -1)


def _residual(table: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted mean squared difference of y (bins,) from each row of the table when each angle's level and the slope
    over frequency are fitted, the latter with its prior."""
    n = len(_FREQUENCIES)
    w = weight.reshape(_ANGLES, n)
    x = np.tile(-2 * np.log(_FREQUENCIES), (_ANGLES, 1))
    total = np.maximum(w.sum(1, keepdims=True), 1e-9)

    def centred(a: np.ndarray) -> np.ndarray:
        return a - (a * w).sum(-1, keepdims=True) / total

    xc = centred(x)
    r = centred((y - table).reshape(-1, _ANGLES, n))
    sxx = float((w * xc * xc).sum())
    prior = 1.5 / _SLOPE_SIGMA**2
    slope = ((w * xc * r).sum((1, 2)) + prior * _SLOPE) / (sxx + prior)
    left = (w * (r - slope[:, None, None] * xc) ** 2).sum((1, 2)) + prior * (slope - _SLOPE) ** 2
    return left / w.sum()
