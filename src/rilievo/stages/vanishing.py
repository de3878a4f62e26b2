"""The focal length from vanishing points of three directions at right angles (a Manhattan world).

Line segments come from LSD (Grompone von Gioi et al. 2012, in OpenCV). Points where two segments meet are candidates;
two candidates at right angles give the focal length, f^2 = -(v1 . v2) for a principal point in the middle (Caprile &
Torre 1990), and with it the third direction. The hypothesis that explains most is refined by least squares over the
rotation and the logarithm of the focal length, whose standard deviation comes from the normal equations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import cv2
import numpy as np

_USUAL, _USUAL_SIGMA = 2 * 0.866, 0.35  # focal length in half longer sides: 60 degrees, relative standard deviation
_CROOKED = 0.1  # relative error that buildings bring in whose angles are not quite right, and principal points off


@dataclass(frozen=True)
class VanishingConfig:
    """Settings of `vanishing_focal`."""

    version: ClassVar[int] = 1

    max_size: int = 1000
    """longer side at which segments are looked for"""
    min_length: float = 0.025
    """shortest segment, as a share of the photo's diagonal"""
    max_segments: int = 350
    """the longest are taken"""
    num_samples: int = 900
    """pairs of segments whose meeting points are tried"""
    num_candidates: int = 40
    """meeting points that are paired"""
    inlier_deg: float = 1.5
    """angle between a segment and the direction to its vanishing point up to which it belongs to it"""
    seed: int = 0
    """of the random pairs"""


@dataclass(frozen=True)
class VanishingFocal:
    """focal_px: in pixels of the picture that was given.  sigma: relative standard deviation; infinite where the photo
    does not tell, with the reason."""

    focal_px: float
    sigma: float
    reason: str = ""


def vanishing_focal(pixels: np.ndarray, *, config: VanishingConfig = VanishingConfig()) -> VanishingFocal:
    """pixels: uint8 (h, w, 3) or (h, w), the whole photo."""
    h, w = pixels.shape[:2]
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    shrink = min(1.0, config.max_size / max(h, w))
    if shrink < 1:
        grey = cv2.resize(grey, (round(w * shrink), round(h * shrink)), interpolation=cv2.INTER_AREA)
    segments = find_segments(grey, config)
    found = focal_from_segments(segments, max(grey.shape), config)
    return replace(found, focal_px=found.focal_px * max(h, w) / max(grey.shape))


def find_segments(grey: np.ndarray, config: VanishingConfig) -> np.ndarray:
    """float64 (n, 4): ends x0 y0 x1 y1 of straight segments, longest first, in pixels from the picture's middle."""
    h, w = grey.shape
    found = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD).detect(grey)[0]
    if found is None:
        return np.zeros((0, 4))
    ends = found.reshape(-1, 4).astype(np.float64) + 0.5 - np.array([w, h, w, h]) / 2
    length = np.hypot(ends[:, 2] - ends[:, 0], ends[:, 3] - ends[:, 1])
    # A line along the picture's own rim is none of the scene.
    at_rim = (np.abs(ends[:, [0, 2]]).min(1) > w / 2 - 3) | (np.abs(ends[:, [1, 3]]).min(1) > h / 2 - 3)
    keep = (length > config.min_length * math.hypot(h, w)) & ~at_rim
    order = np.lexsort((ends[keep, 1], ends[keep, 0], -length[keep]))[: config.max_segments]
    return ends[keep][order]


def focal_from_segments(
    segments: np.ndarray, longer: float, config: VanishingConfig = VanishingConfig()
) -> VanishingFocal:
    """segments: as from `find_segments`; longer: longer side of the picture, px."""
    if len(segments) < 12:
        return VanishingFocal(longer, math.inf, f"only {len(segments)} straight edges were found")
    lines = _Lines(segments / (0.5 * longer))
    points = _candidates(lines, config)
    best = _best_pairs(lines, points, config)
    if not best:
        return VanishingFocal(longer, math.inf, "no two sets of parallel edges at right angles were found")
    refined = [_refine(lines, f, R, config) for f, R, _ in best]
    refined = [r for r in refined if r is not None]
    if not refined:
        return VanishingFocal(longer, math.inf, "no two sets of parallel edges at right angles were found")
    scores = np.array([r.score - _rarity(r.focal) for r in refined])
    top = refined[int(np.argmax(scores))]
    if top.score < 0.3:
        return VanishingFocal(
            top.focal * 0.5 * longer, math.inf, f"only {100 * top.score:.0f} % of the straight edges fit right angles"
        )
    if top.num_second < 5:
        return VanishingFocal(top.focal * 0.5 * longer, math.inf, "the edges show perspective in one direction only")
    # Other answers that explain nearly as much: the truth may be one of them.
    weight = np.exp(-(scores.max() - scores) / 0.03)
    apart = np.log(np.array([r.focal for r in refined]) / top.focal)
    other = float((weight * apart**2).sum() / weight.sum())
    sigma = math.sqrt(top.sigma**2 + other + _CROOKED**2)
    reason = "" if sigma < 0.25 else "the edges leave the focal length open"
    if _rarity(top.focal) > 0.02 * 2.2**2:
        sigma, reason = math.inf, "the edges fit right angles only for a focal length that no usual lens has"
    return VanishingFocal(top.focal * 0.5 * longer, sigma, reason)


def _rarity(focal: Any) -> Any:
    """What a hypothesis must explain more for being far from usual lenses; focal in half longer sides."""
    return 0.02 * (np.log(focal / _USUAL) / _USUAL_SIGMA) ** 2


class _Lines:
    """Segments in units of half the longer side: homogeneous lines, middles, unit directions, lengths."""

    def __init__(self, ends: np.ndarray) -> None:
        a, b = ends[:, :2], ends[:, 2:]
        self.middle = 0.5 * (a + b)
        self.length = np.linalg.norm(b - a, axis=1)
        self.direction = (b - a) / self.length[:, None]
        one = np.ones((len(ends), 1))
        self.line = np.cross(np.hstack([a, one]), np.hstack([b, one]))
        self.line /= np.linalg.norm(self.line[:, :2], axis=1, keepdims=True)
        # Long segments say more, but one of ten times the length is not ten times as sure to be of the building.
        self.weight = np.sqrt(self.length)

    def sine(self, v: np.ndarray) -> np.ndarray:
        """(m, n): signed sine of the angle between each segment and the way from its middle to each of the homogeneous
        points v (m, 3)."""
        to = v[:, None, :2] - v[:, None, 2:] * self.middle[None]
        norm = np.maximum(np.linalg.norm(to, axis=2), 1e-12)
        return (to[..., 0] * self.direction[:, 1] - to[..., 1] * self.direction[:, 0]) / norm


def _support(sine: np.ndarray, config: VanishingConfig) -> np.ndarray:
    """1 for a perfect fit, falling to 0 at the inlier angle."""
    return np.maximum(1 - (sine / math.sin(math.radians(config.inlier_deg))) ** 2, 0)


def _candidates(lines: _Lines, config: VanishingConfig) -> np.ndarray:
    """(m, 3) unit homogeneous points in which many segments meet, best first, none near another."""
    rng = np.random.default_rng(config.seed)
    n = len(lines.length)
    chance = lines.weight / lines.weight.sum()
    i, j = rng.choice(n, (2, config.num_samples), p=chance)
    i, j = i[i != j], j[i != j]
    v = np.cross(lines.line[i], lines.line[j])
    size = np.linalg.norm(v, axis=1)
    v = v[size > 1e-9] / size[size > 1e-9, None]
    fit = _support(lines.sine(v), config)
    score = fit @ lines.weight
    kept: list[int] = []
    covered = np.zeros((0, n))
    for k in np.argsort(-score, kind="stable"):
        if len(kept) and (covered @ (fit[k] * lines.weight) > 0.85 * score[k]).any():
            continue
        kept.append(int(k))
        covered = np.vstack([covered, fit[k] > 0])
        if len(kept) == config.num_candidates:
            break
    return v[kept]


def _best_pairs(lines: _Lines, points: np.ndarray, config: VanishingConfig) -> list[tuple[float, np.ndarray, float]]:
    """(focal length, rotation whose columns are the directions, score) of the hypotheses that explain most."""
    a, b = np.triu_indices(len(points), 1)
    v1, v2 = points[a], points[b]
    with np.errstate(divide="ignore", invalid="ignore"):
        squared = -(v1[:, :2] * v2[:, :2]).sum(1) / (v1[:, 2] * v2[:, 2])
    good = np.isfinite(squared) & (squared > 0.5**2) & (squared < 10.0**2)
    v1, v2, f = v1[good], v2[good], np.sqrt(squared[good])
    if not len(f):
        return []
    d1 = np.stack([v1[:, 0] / f, v1[:, 1] / f, v1[:, 2]], 1)
    d2 = np.stack([v2[:, 0] / f, v2[:, 1] / f, v2[:, 2]], 1)
    d1 /= np.linalg.norm(d1, axis=1, keepdims=True)
    d2 /= np.linalg.norm(d2, axis=1, keepdims=True)
    R = np.stack([d1, d2, np.cross(d1, d2)], 2)
    third = np.stack([f * R[:, 0, 2], f * R[:, 1, 2], R[:, 2, 2]], 1)
    fits = [_support(lines.sine(v), config) for v in (v1, v2, third)]
    score = np.maximum(np.maximum(fits[0], fits[1]), fits[2]) @ lines.weight / lines.weight.sum()
    score = score - _rarity(f)
    order = np.argsort(-score, kind="stable")[:12]
    return [(float(f[k]), R[k], float(score[k])) for k in order]


@dataclass(frozen=True)
class _Refined:
    focal: float
    sigma: float
    score: float
    num_second: int


def _refine(lines: _Lines, focal: float, R: np.ndarray, config: VanishingConfig) -> _Refined | None:
    """Least squares over (log focal, rotation) with each segment's end as far from its direction as an angle says."""
    log_f, limit = math.log(focal), math.sin(math.radians(config.inlier_deg))
    J = np.zeros((0, 4))
    for step in range(12):
        sines = lines.sine(_points(log_f, R))
        nearest = np.argmin(np.abs(sines), axis=0)
        r = np.take_along_axis(sines, nearest[None], 0)[0]
        inside = np.abs(r) < limit * (2.0 if step < 3 else 1.0)
        if inside.sum() < 8:
            return None
        weight = np.where(inside, lines.length / (1 + (r / (0.4 * limit)) ** 2), 0)
        J = np.empty((len(r), 4))
        for k in range(4):
            moved = np.zeros(4)
            moved[k] = 1e-5
            there = lines.sine(_points(log_f + moved[0], _turn(moved[1:]) @ R))
            J[:, k] = (np.take_along_axis(there, nearest[None], 0)[0] - r) / 1e-5
        A = (J * weight[:, None]).T @ J + 1e-9 * np.eye(4) * weight.sum()
        change = -np.linalg.solve(A, (J * weight[:, None]).T @ r)
        change *= min(1.0, 0.15 / max(np.abs(change).max(), 1e-12))
        log_f, R = log_f + float(change[0]), _turn(change[1:]) @ R
        if abs(log_f) > 3:
            return None
    sines = lines.sine(_points(log_f, R))
    nearest = np.argmin(np.abs(sines), axis=0)
    r = np.take_along_axis(sines, nearest[None], 0)[0]
    inside = np.abs(r) < limit
    fit = _support(sines, config).max(0)
    if inside.sum() < 8:
        return None
    # Of an angle: what is left over, shared between the ends' noise and the scene's own crookedness. Segments on one
    # edge of a building err together, so they count as a quarter of their number.
    noise = max(float(np.sqrt(np.average(r[inside] ** 2, weights=lines.length[inside]))), math.radians(0.1))
    w = np.where(inside, lines.length / lines.length[inside].mean(), 0) / noise**2 / 4
    A = (J * w[:, None]).T @ J
    try:
        sigma = math.sqrt(max(float(np.linalg.inv(A + 1e-9 * np.eye(4))[0, 0]), 0.0))
    except np.linalg.LinAlgError:
        return None
    counts = np.sort(np.bincount(nearest[inside], minlength=3))
    score = float((fit * lines.weight).sum() / lines.weight.sum())
    return _Refined(math.exp(log_f), sigma, score, int(counts[-2]))


def _points(log_f: float, R: np.ndarray) -> np.ndarray:
    """The vanishing points of the three directions, (3, 3), one a row."""
    f = math.exp(log_f)
    return np.stack([f * R[0], f * R[1], R[2]], 1)


def _turn(w: np.ndarray) -> np.ndarray:
    """Rotation by a rotation vector (Rodrigues)."""
    return cv2.Rodrigues(np.asarray(w, np.float64))[0]
