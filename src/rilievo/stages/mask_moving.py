"""What moved between the photos: pixels that disagree with what most other photos show at that place.

The surface that all photos share is drawn from a photo's place and coloured by the others (`mask_scene.expected`). A
pixel that lies outside of the range of colours around there has moved, unless it is that colour in shade. Its outline
is then found by a minimum cut between the colours of what moved and of what did not (Rother et al., "GrabCut",
SIGGRAPH 2004).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from rilievo.stages.mask_scene import Expected


@dataclass(frozen=True)
class MovingConfig:
    """Settings of `find_moving`."""

    version: ClassVar[int] = 2

    min_difference: float = 16.0
    """distance of colours (of 255 a channel) from which on a pixel disagrees"""
    slack: float = 0.004
    """how far the drawn surface may be off, as a share of the picture's longer side"""
    min_area: float = 0.0008
    """smallest thing that counts, as a share of the picture"""
    shade: float = 0.35
    """a pixel of the same hue as expected and at least this bright relative to it is in a shadow, and did not move"""


def find_moving(pixels: np.ndarray, there: Expected, *, config: MovingConfig = MovingConfig()) -> np.ndarray:
    """bool (h, w): what does not stand in most other photos. pixels: uint8 (h, w, 3) RGB, of the size of `there`.

    What fewer than 3 other photos see is decided by its colour alone, where it hangs together with what moved.
    """
    h, w = pixels.shape[:2]
    known = there.count >= 3
    if known.mean() < 0.02:
        return np.zeros((h, w), bool)
    strong, known = disagreement(pixels, there, config)
    seed = (strong > config.min_difference).astype(np.uint8)
    seed = cv2.morphologyEx(seed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    joined = cv2.morphologyEx(seed, cv2.MORPH_CLOSE, _disc(max(2, round(0.012 * max(h, w)))))
    joined = _large(joined > 0, config.min_area * h * w)
    # A rim along an edge that is drawn a little beside its place is no thing: things have an inside.
    inside = cv2.erode(joined.astype(np.uint8), _disc(max(1, round(config.slack * max(h, w)))))
    joined = _touching(joined, inside > 0)
    if not joined.any():
        return joined
    return _outline(pixels, joined, (seed > 0) & joined, known, strong, config)


def before_mirrors(found: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """What moved, without the parts that are seen in a mirror only. mirror: bool (h, w)."""
    if not (found & mirror).any():
        return found
    return _touching(found, found & ~cv2.dilate(mirror.astype(np.uint8), _disc(3)).astype(bool))


def disagreement(pixels: np.ndarray, there: Expected, config: MovingConfig) -> tuple[np.ndarray, np.ndarray]:
    """How far each pixel is from the colours expected around its place: float32 (h, w), 0 in shadows and where nothing
    is known; and whether it is known, which it is not where the other photos disagree among themselves too."""
    own = pixels.astype(np.float32)
    known = there.count >= 3
    there = replace(there, color=_as_bright(own, there.color, known))
    size = 2 * max(1, round(config.slack * max(pixels.shape[:2]))) + 1
    box = np.ones((size, size), np.uint8)
    low = cv2.erode(np.where(known[..., None], there.color, np.float32(255)), box)
    high = cv2.dilate(np.where(known[..., None], there.color, np.float32(0)), box)
    off = np.linalg.norm(np.maximum(np.maximum(own - high, low - own), 0), axis=-1)
    near = cv2.dilate(np.where(known, there.spread, np.float32(0)), box)
    off = np.where(known, np.maximum(off - 1.5 * near, 0), 0).astype(np.float32)
    off = np.maximum(off, _blurred_difference(own, there, known, config))
    decided = known & ((near < config.min_difference) | (off > config.min_difference))
    return np.where(_shaded(own, there.color, known, config), np.float32(0), off), decided


def _as_bright(own: np.ndarray, color: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The expected colours as the photo's light makes them: veiled by stray light and exposed as it is, and as bright
    in its middle and towards its corners (vignetting). Both are what most pixels agree on."""
    h, w = known.shape
    at = np.flatnonzero(known.ravel())
    at = at[:: max(1, len(at) // 20_000)]
    if len(at) < 500:
        return color
    color = np.stack([_toned(own[..., c], color[..., c], at) for c in range(3)], -1)

    def terms(index: np.ndarray) -> np.ndarray:
        y, x = np.divmod(index, w)
        x, y = (x - w / 2) / max(h, w), (y - h / 2) / max(h, w)
        return np.stack([np.ones(len(x)), x, y, x * x + y * y], -1)

    ratio = np.log((own.reshape(-1, 3)[at].mean(-1) + 4) / (color.reshape(-1, 3)[at].mean(-1) + 4)).astype(np.float64)
    X, fit = terms(at), np.array([float(np.median(ratio)), 0.0, 0.0, 0.0])
    for limit in (0.3, 0.15, 0.1, 0.1):
        near = np.abs(ratio - X @ fit) < limit
        if near.sum() < 300:
            return color
        fit = np.linalg.solve(X[near].T @ X[near] + 1e-3 * np.eye(4), X[near].T @ ratio[near])
    factor = np.exp(np.clip(terms(np.arange(h * w)) @ fit, -0.7, 0.7)).reshape(h, w, 1)
    return ((color + 4) * factor - 4).astype(np.float32)


def _toned(own: np.ndarray, color: np.ndarray, at: np.ndarray) -> np.ndarray:
    """color (h, w) with the contrast and the veil of `own`: a line fitted at the pixels `at` that are near it."""
    x, y = color.ravel()[at].astype(np.float64), own.ravel()[at].astype(np.float64)
    slope, offset = 1.0, float(np.median(y - x))
    for limit in (50.0, 30.0, 20.0, 20.0):
        near = np.abs(y - slope * x - offset) < limit
        if near.sum() < 300 or x[near].std() < 8:
            break
        fit = np.polyfit(x[near], y[near], 1)
        slope, offset = float(np.clip(fit[0], 0.6, 1.5)), float(fit[1])
    return (slope * color + offset).astype(np.float32)


def _blurred_difference(own: np.ndarray, there: Expected, known: np.ndarray, config: MovingConfig) -> np.ndarray:
    """float32 (h, w): how much mean colours around each pixel differ, in units of `disagreement`. Texture hides much in
    its range of colours, but few things have its mean; and that hardly depends on where exactly it is drawn."""
    size = max(own.shape[:2])
    sigma = 0.6 * config.slack * size

    def blur(a: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(a, (0, 0), sigma)

    weight = blur(known.astype(np.float32))
    sums = [blur(np.where(known[..., None], a, np.float32(0))) for a in (own, there.color)]
    is_, was = (s / np.maximum(weight, 1e-3)[..., None] for s in sums)
    slopes = [cv2.Sobel(was, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=1 / 8) for dx in (0, 1)]
    slope = np.sqrt(sum((g * g).sum(-1) for g in slopes))
    spread = blur(np.where(known, there.spread, np.float32(0))) / np.maximum(weight, 1e-3)
    off = np.linalg.norm(is_ - was, axis=-1) - 0.5 * config.slack * size * slope - spread
    off = np.where(known & (weight > 0.5), np.maximum(1.2 * off, 0), 0).astype(np.float32)
    return cv2.erode(off, _disc(max(1, round(0.8 * sigma))))  # blurred, a thing is larger than it is


def _shaded(own: np.ndarray, color: np.ndarray, known: np.ndarray, config: MovingConfig) -> np.ndarray:
    """bool (h, w): the expected colour with less light: darker by one factor a neighbourhood, nearly the same in all
    channels (the sky's light in a shadow is bluer than the sun's)."""
    weight = cv2.blur(known.astype(np.float32), (5, 5))
    sums = [cv2.blur(np.where(known[..., None], a, np.float32(0)), (5, 5)) for a in (own, color)]
    is_, was = (s / np.maximum(weight, 1e-3)[..., None] + 4 for s in sums)
    # light is linear in these, not in the picture's values
    ratio = (is_ / was) ** 2.2
    mean = ratio.mean(-1)
    hue = ratio / np.maximum(mean, 1e-6)[..., None]
    even = (np.abs(hue - 1).max(-1) < 0.22) & (mean > config.shade**2.2) & (mean < 0.96)
    fine = cv2.blur(mean * mean, (7, 7)) - cv2.blur(mean, (7, 7)) ** 2
    middle = (even & (fine < (0.12 * mean) ** 2)).astype(np.uint8)
    middle = cv2.morphologyEx(middle, cv2.MORPH_OPEN, _disc(2))
    like = _likeness_of_texture(own, color, known)
    middle |= (((np.abs(hue - 1).max(-1) < 0.3) & (mean < 0.9) & (like > 0.6)) | (like > 0.8)).astype(np.uint8)
    # Along its edge a shadow fades, so that the factor is not one there.
    reach = max(4, round(2 * config.slack * max(own.shape[:2])))
    return (middle > 0) | (even & (cv2.dilate(middle, _disc(reach)) > 0))


def _likeness_of_texture(own: np.ndarray, color: np.ndarray, known: np.ndarray) -> np.ndarray:
    """float32 (h, w): correlation of the pictures' logarithms in 9 x 9 pixels, 0 where one shows no texture."""
    ones = known.astype(np.float32)
    a, b = (np.where(known, np.log(x.mean(-1) + 4), np.float32(0)).astype(np.float32) for x in (own, color))
    count = np.maximum(cv2.blur(ones, (9, 9)), 1e-3)
    mean_a, mean_b = cv2.blur(a, (9, 9)) / count, cv2.blur(b, (9, 9)) / count
    var_a = cv2.blur(a * a, (9, 9)) / count - mean_a**2
    var_b = cv2.blur(b * b, (9, 9)) / count - mean_b**2
    both = cv2.blur(a * b, (9, 9)) / count - mean_a * mean_b
    textured = known & (var_a > 4e-4) & (var_b > 4e-4)
    return np.where(textured, both / np.sqrt(np.maximum(var_a * var_b, 1e-12)), np.float32(0)).astype(np.float32)


def _outline(
    pixels: np.ndarray,
    joined: np.ndarray,
    seed: np.ndarray,
    known: np.ndarray,
    strong: np.ndarray,
    config: MovingConfig,
) -> np.ndarray:
    h, w = joined.shape
    band = max(3, round(0.015 * max(h, w)))
    wide = cv2.dilate(joined.astype(np.uint8), _disc(band)) > 0
    # What others do not see may belong to it, as far as it hangs together with it.
    reach = max(4, round(0.2 * max(h, w)))
    unseen = _touching((~known & (cv2.dilate(joined.astype(np.uint8), _disc(reach)) > 0)) | joined, joined) & ~known
    labels = np.full((h, w), cv2.GC_BGD, np.uint8)
    labels[unseen | wide] = cv2.GC_PR_BGD
    labels[wide & known & ~joined & (cv2.blur(strong, (5, 5)) < 1)] = cv2.GC_BGD
    labels[joined] = cv2.GC_PR_FGD
    labels[seed & (strong > 2 * config.min_difference)] = cv2.GC_FGD
    like = _likeness(pixels, labels)
    labels[unseen & ~joined & (like > 0.7)] = cv2.GC_PR_FGD
    if (labels == cv2.GC_FGD).sum() < 10 or (labels == cv2.GC_BGD).sum() < 10:
        return joined
    cv2.setRNGSeed(0)  # its mixtures of colours begin with a random choice
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cut, _, _ = cv2.grabCut(
        np.ascontiguousarray(pixels[..., ::-1]), labels, (0, 0, 1, 1), *models, 3, cv2.GC_INIT_WITH_MASK
    )
    found = (cut == cv2.GC_FGD) | (cut == cv2.GC_PR_FGD)
    found = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    # What no other photo shows is taken only for its colour.
    found &= known | joined | (cv2.blur(like, (9, 9)) > 0.5)
    found &= ~_too_much(found, found & ~known & ~joined, joined)
    # Small gaps where by chance it has the colour of what is behind it, or where that is not known.
    closed = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, _disc(max(2, round(0.015 * max(h, w))))) > 0
    found |= closed & ~(known & (cv2.blur(strong, (5, 5)) < 1))
    found = _large(_touching(found, seed), config.min_area * h * w)
    return ~_large(~found, 2 * config.min_area * h * w)


def _too_much(found: np.ndarray, beyond: np.ndarray, joined: np.ndarray) -> np.ndarray:
    """bool (h, w): of `beyond`, what belongs to a connected part that would be more than thrice what was seen to move:
    a wall of that colour rather than a thing that goes on."""
    count, label = cv2.connectedComponents(found.astype(np.uint8), connectivity=8)
    label = np.asarray(label, np.int64)
    more, moved = (np.bincount(label[part], minlength=count) for part in (beyond, found & joined))
    return beyond & (more > 2 * moved)[label]


def _likeness(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float32 (h, w), 0..1: whether a pixel's colour is more frequent in what moved for certain or in what did not."""
    bins = (pixels >> 4).astype(np.int64)
    index = (bins[..., 0] * 16 + bins[..., 1]) * 16 + bins[..., 2]
    shares = []
    for label in (cv2.GC_FGD, cv2.GC_BGD):
        count = np.bincount(index[labels == label], minlength=4096).astype(np.float32).reshape(16, 16, 16)
        for axis in range(3):  # neighbouring colours count too
            count = np.apply_along_axis(lambda a: np.convolve(a, [0.25, 0.5, 0.25], "same"), axis, count)
        shares.append((count / max(count.sum(), 1)).ravel())
    return (shares[0] / (shares[0] + shares[1] + 1e-5))[index].astype(np.float32)


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _large(mask: np.ndarray, area: float) -> np.ndarray:
    """Its connected parts of at least that area."""
    _, label, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= area
    keep[0] = False
    return keep[np.asarray(label, np.int64)]


def _touching(mask: np.ndarray, what: np.ndarray) -> np.ndarray:
    """Its connected parts that have pixels in common with `what`."""
    count, label = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    keep = np.zeros(count, bool)
    keep[np.unique(np.asarray(label, np.int64)[mask & what])] = True
    keep[0] = False
    return keep[np.asarray(label, np.int64)]
