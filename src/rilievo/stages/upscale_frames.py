"""More pixels from more photos: overlapping photos sample the same surface between each other's pixels.

Irani & Peleg 1991, "Improving resolution by image registration" (eqs. 2-3): each photo is predicted from the estimate,
what is missing is projected back. Photos are laid on each other by dense flow (Kroeger et al. 2016, DIS) at the
enlarged size; where flow forth and back or colours disagree, a photo does not count (moving things, occlusion, gloss).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from rilievo.stages.tiles import deep, unit
from rilievo.stages.upscale import enlarged, fit_size, new_size

_ROUNDS = 12
MAX_SHIFT_SHARE = 0.12
MIN_COVERED = 0.25


@dataclass(frozen=True, eq=False)
class Fused:
    """pixels: uint16.  num_used: neighbours that added to it.  covered: share of the picture that at least one of them
    shows.  residual: standard deviation between photos where they agree, in grey levels of 255."""

    pixels: np.ndarray
    num_used: int
    covered: float
    residual: float


@dataclass(frozen=True, eq=False)
class _Frame:
    """A neighbour: its pixels float32, where each enlarged pixel of the photo lies in it (x, y), the trust in it."""

    pixels: np.ndarray
    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray


def fuse_frames(pixels: np.ndarray, others: list[np.ndarray], scale: float, *, threads: int = 1) -> Fused | None:
    """The photo enlarged with what the others add; None where none of them fits well enough.

    pixels, others: uint16 (h, w, 3), all of one size.
    """
    whole = math.ceil(scale - 1e-9)
    photo = unit(pixels)
    frames, residuals = [], []
    for other in others:
        found = _aligned(photo, unit(other), whole)
        if found is not None:
            frames.append(found[0])
            residuals.append(found[1])
    if not frames:
        return None
    covered = float(np.mean(np.max([f.weight for f in frames], axis=0) > 0.5))
    if covered < MIN_COVERED:
        return None
    out = _fused(photo, frames, whole)
    done = fit_size(deep(out), new_size(pixels, scale))
    return Fused(done, len(frames), covered, 255 * float(np.median(residuals)))


def _aligned(photo: np.ndarray, other: np.ndarray, scale: int) -> tuple[_Frame, float] | None:
    """The neighbour laid on the photo, and the spread of what differs; None where too little fits."""
    gain = np.median(other.reshape(-1, 3), axis=0) / np.maximum(np.median(photo.reshape(-1, 3), axis=0), 1e-3)
    if gain.min() < 0.5 or gain.max() > 2:
        return None
    grey = [_even(p) for p in (photo, other)]
    start = _homography(*grey)
    if start is None:
        return None
    forth, back = _flow(grey[0], grey[1], start), _flow(grey[1], grey[0], np.linalg.inv(start))
    h, w = grey[0].shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    if float(np.median(np.hypot(forth[..., 0], forth[..., 1]))) > MAX_SHIFT_SHARE * max(h, w):
        return None
    there = [cv2.remap(back[..., k], x + forth[..., 0], y + forth[..., 1], cv2.INTER_LINEAR) for k in range(2)]
    inside = (x + forth[..., 0] > 1) & (x + forth[..., 0] < w - 2) & (y + forth[..., 1] > 1)
    inside &= y + forth[..., 1] < h - 2
    round_trip = np.hypot(forth[..., 0] + there[0], forth[..., 1] + there[1])
    laid = cv2.remap(other, x + forth[..., 0], y + forth[..., 1], cv2.INTER_CUBIC)
    # Exposure of the two photos, place by place: only the difference of detail is to be told.
    off = cv2.GaussianBlur(laid - photo, (0, 0), 8)
    detail = np.abs(laid - photo - off).max(2)
    detail = cv2.GaussianBlur(detail, (0, 0), 1.5)
    spread = float(np.median(detail[inside])) + 1e-4 if inside.any() else 1.0
    edge = cv2.GaussianBlur(
        np.hypot(cv2.Sobel(grey[0], cv2.CV_32F, 1, 0), cv2.Sobel(grey[0], cv2.CV_32F, 0, 1)), (0, 0), 2
    )
    allowed = 3 * spread + 0.06 * edge
    weight = inside * np.exp(-((round_trip / 0.35) ** 2)) * np.exp(-((detail / allowed) ** 2))
    if float((weight > 0.5).mean()) < 0.1:
        return None
    size = (w * scale, h * scale)
    fine = [cv2.resize(forth[..., k], size, interpolation=cv2.INTER_CUBIC) for k in range(2)]
    yy, xx = np.mgrid[: size[1], : size[0]].astype(np.float32)
    xx, yy = (xx + 0.5) / scale - 0.5, (yy + 0.5) / scale - 0.5
    soft = cv2.resize(weight.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    there_x, there_y = _inverse_maps(back)
    levelled = other - cv2.remap(off, there_x, there_y, cv2.INTER_LINEAR)
    return _Frame(levelled, xx + fine[0], yy + fine[1], soft), spread


def _inverse_maps(back: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    h, w = back.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    return x + back[..., 0], y + back[..., 1]


def _even(pixels: np.ndarray) -> np.ndarray:
    """Grey with its local mean taken out: flow should follow detail, not light."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.clip(0.5 + 1.5 * (grey - cv2.GaussianBlur(grey, (0, 0), 20)), 0, 1).astype(np.float32)


def _homography(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """From a's pixels to b's, as far as one plane can say it."""
    found = [cv2.ORB_create(2000).detectAndCompute((255 * g).astype(np.uint8), None) for g in (a, b)]
    if any(d is None or len(d) < 30 for _, d in found):
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(found[0][1], found[1][1])
    if len(matches) < 20:
        return None
    p = np.array([found[0][0][m.queryIdx].pt for m in matches])
    q = np.array([found[1][0][m.trainIdx].pt for m in matches])
    params = cv2.UsacParams()
    params.threshold, params.maxIterations, params.randomGeneratorState, params.isParallel = 4.0, 3000, 1, False
    H, kept = cv2.findHomography(p, q, params)
    if H is None or int(kept.sum()) < 15 or abs(np.linalg.det(H[:2, :2])) < 0.2:
        return None
    return H


def _flow(a: np.ndarray, b: np.ndarray, start: np.ndarray) -> np.ndarray:
    """float32 (h, w, 2): from a's pixels to b's."""
    h, w = a.shape
    y, x = np.mgrid[:h, :w].astype(np.float64)
    z = start[2, 0] * x + start[2, 1] * y + start[2, 2]
    first = np.stack([(start[k, 0] * x + start[k, 1] * y + start[k, 2]) / z for k in range(2)], -1)
    first = (first - np.stack([x, y], -1)).astype(np.float32)
    maps = [np.ascontiguousarray(first[..., k] + (x, y)[k], np.float32) for k in range(2)]
    laid = cv2.remap(b, maps[0], maps[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    dis.setPatchSize(8)
    dis.setPatchStride(3)
    dis.setVariationalRefinementIterations(10)
    rest = dis.calc((255 * a).astype(np.uint8), np.clip(255 * laid, 0, 255).astype(np.uint8), None)
    # A shift in the laid picture is one in b, as the homography turns it; its change over a few pixels is small.
    return first + _turned(rest, start, x, y)


def _turned(flow: np.ndarray, H: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """H (p + flow) - H p."""

    def go(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        z = H[2, 0] * u + H[2, 1] * v + H[2, 2]
        return np.stack([(H[k, 0] * u + H[k, 1] * v + H[k, 2]) / z for k in range(2)], -1)

    return (go(x + flow[..., 0], y + flow[..., 1]) - go(x, y)).astype(np.float32)


def _fused(photo: np.ndarray, frames: list[_Frame], scale: int) -> np.ndarray:
    """The estimate that explains the photo and its neighbours."""
    h, w = photo.shape[:2]
    size = (w * scale, h * scale)
    # First guess: the mean of all samples, each frame's interpolated at the enlarged pixels.
    out = enlarged(photo, scale, "lanczos", 0)
    total = np.ones(out.shape[:2], np.float32)
    for f in frames:
        total += f.weight
        out = out + f.weight[..., None] * cv2.remap(
            f.pixels, f.x, f.y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE
        )
    mean = out / total[..., None]
    # All that is known at the old resolution, with the aliases averaged away: the camera's blur is then taken out.
    out = mean
    for _ in range(_ROUNDS):
        seen = cv2.blur(out, (scale, scale)) if scale % 2 else _box(out, scale)
        out = out + 0.7 * (mean - seen)
        own = photo - cv2.resize(out, (w, h), interpolation=cv2.INTER_AREA)
        out = out + 0.3 * cv2.resize(own, size, interpolation=cv2.INTER_CUBIC)
    return out


def _box(a: np.ndarray, scale: int) -> np.ndarray:
    """Mean over scale x scale pixels around each, for an even scale: half a pixel at either end."""
    k = np.ones(scale + 1, np.float32)
    k[0] = k[-1] = 0.5
    k /= scale
    return cv2.sepFilter2D(a, -1, k, k, borderType=cv2.BORDER_REFLECT)
