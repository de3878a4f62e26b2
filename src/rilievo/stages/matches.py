"""Matches of one photo with earlier ones: nearest descriptors, then geometric verification."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rilievo import geometry, kernels
from rilievo.stages.pairs import PairsConfig, select_pairs
from rilievo.types import Camera, Features, Matches, Photo

__all__ = ["MATCHERS", "MatchesConfig", "PairsConfig", "guess_camera", "match", "select_pairs", "verify"]

DEGENERATE, CALIBRATED, UNCALIBRATED, PLANAR_OR_PANORAMIC = 1, 2, 3, 6


@dataclass(frozen=True)
class MatchesConfig:
    """Settings of `match`."""

    version: ClassVar[int] = 1

    max_ratio: float = 0.8
    """a match must be nearer than this share of the second best's distance (Lowe 2004, section 7.1)"""
    max_error_px: float = 4.0
    """distance from the epipolar line at which a match counts as wrong"""
    min_inliers: int = 15
    """a pair with fewer verified matches is not used"""
    min_inlier_ratio: float = 0.03
    """and this share of all its matches more: chance alone verifies some of many"""
    max_planar_ratio: float = 0.8
    """a pair whose matches fit one plane or a turn of the camera to this share is marked as such"""
    seed: int = 0
    """seed of the random samples"""


def guess_camera(photo: Photo) -> tuple[Camera, bool]:
    """(camera to start from, whether its focal length is known): SIMPLE_RADIAL with EXIF's focal length, or 1.2 times
    the long side where there is none; principal point in the middle, no distortion."""
    focal = photo.focal_px or 1.2 * max(photo.width, photo.height)
    params = np.array([focal, photo.width / 2, photo.height / 2, 0.0])
    return Camera("SIMPLE_RADIAL", photo.width, photo.height, params), photo.focal_px is not None


def match(
    name1: str,
    features1: Features,
    others: Sequence[tuple[str, Features, Camera]],
    camera1: Camera,
    *,
    config: MatchesConfig = MatchesConfig(),
) -> Matches:
    """Verified matches of photo name1 with each of the others (name, features, camera), which came before it.

    Cameras are guesses: they only decide whether a pair is marked as calibrated. Raises ValueError when features come
    from different extractors.
    """
    rows, kinds, num_raw = [], [], []
    for name0, features0, camera0 in others:
        if features0.extractor != features1.extractor:
            raise ValueError(f"{name0} has {features0.extractor} features, {name1} has {features1.extractor}")
        raw = MATCHERS[features1.extractor](features0, features1, config)
        seed = int.from_bytes(hashlib.sha256(f"{config.seed}/{name0}/{name1}".encode()).digest()[:4], "little") >> 1
        kept, kind = verify(
            features0.keypoints[raw[:, 0]], features1.keypoints[raw[:, 1]], camera0, camera1, seed=seed, config=config
        )
        rows.append(raw[kept])
        kinds.append(kind)
        num_raw.append(len(raw))
    return Matches(
        extractor=features1.extractor,
        name1=name1,
        names0=tuple(name for name, _, _ in others),
        offsets=np.cumsum([0, *(len(r) for r in rows)], dtype=np.int64),
        matches=np.concatenate([np.zeros((0, 2), np.int32), *rows]),
        num_raw=np.array(num_raw, np.int32),
        kinds=np.array(kinds, np.int32),
    )


def match_nearest(features0: Features, features1: Features, config: MatchesConfig) -> np.ndarray:
    """Nearest neighbours of byte descriptors, ratio and cross check: int32 (m, 2) rows of features 0 and 1."""
    nearest = kernels.match_nearest(features0.descriptors, features1.descriptors, max_ratio=config.max_ratio)
    rows = np.flatnonzero(nearest >= 0)
    return _one_to_one(np.stack([rows, nearest[rows]], 1).astype(np.int32), features0.keypoints, features1.keypoints)


def _one_to_one(matches: np.ndarray, xy0: np.ndarray, xy1: np.ndarray) -> np.ndarray:
    """A place with two orientations is two keypoints: matches count once, and not at all when they disagree."""
    first0, first1 = _first_of_place(xy0), _first_of_place(xy1)
    places = np.unique(np.stack([first0[matches[:, 0]], first1[matches[:, 1]]], 1), axis=0)
    alone0 = np.bincount(places[:, 0], minlength=len(xy0))[places[:, 0]] == 1
    alone1 = np.bincount(places[:, 1], minlength=len(xy1))[places[:, 1]] == 1
    return np.ascontiguousarray(places[alone0 & alone1], np.int32)


def _first_of_place(xy: np.ndarray) -> np.ndarray:
    """For every keypoint the row of the first one at the same place."""
    if not len(xy):
        return np.zeros(0, np.int64)
    key = np.ascontiguousarray(xy, np.float32).view(np.int64)[:, 0]
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)]


def _usac(max_error: float, seed: int, num_iterations: int) -> object:
    """Settings of OpenCV's random sampling: MAGSAC scores (Barath et al. 2020), its own generator seeded."""
    import cv2

    p = cv2.UsacParams()
    p.threshold = max_error
    p.confidence = 0.9999
    p.maxIterations = num_iterations
    p.sampler = cv2.SAMPLING_UNIFORM
    p.score = cv2.SCORE_METHOD_MAGSAC
    p.loMethod = cv2.LOCAL_OPTIM_SIGMA
    p.randomGeneratorState = seed
    p.isParallel = False
    return p


def verify(
    xy0: np.ndarray,
    xy1: np.ndarray,
    camera0: Camera,
    camera1: Camera,
    *,
    seed: int = 0,
    config: MatchesConfig = MatchesConfig(),
) -> tuple[np.ndarray, int]:
    """(bool (m,) which matches fit one epipolar geometry, kind of the pair as in `Matches.kinds`).

    xy0, xy1: pixels (m, 2). A fundamental matrix says which matches stay; a homography that explains most of them
    marks the pair as planar or panoramic, an essential matrix that explains nearly all as calibrated.
    """
    import cv2

    nothing = np.zeros(len(xy0), bool), DEGENERATE
    if len(xy0) < max(config.min_inliers, 8):
        return nothing
    a, b = np.ascontiguousarray(xy0, np.float64), np.ascontiguousarray(xy1, np.float64)
    least = config.min_inliers + config.min_inlier_ratio * len(a)
    try:
        F, inside = cv2.findFundamentalMat(a, b, _usac(config.max_error_px, seed, 5000))  # type: ignore[call-overload]
    except cv2.error:
        return nothing
    if F is None or F.shape != (3, 3) or inside is None:
        return nothing
    kept = inside.ravel() > 0
    # The matrix is fitted again to everything near it: the sampler's own set leaves out good matches at its rim.
    kept = near_epipolar(F, a, b, config.max_error_px)
    count = int(kept.sum())
    if count < least:
        return nothing
    H, plane = cv2.findHomography(a[kept], b[kept], _usac(config.max_error_px, seed, 2000))  # type: ignore[call-overload]
    if H is not None and plane is not None and int((plane > 0).sum()) >= config.max_planar_ratio * count:
        return kept, PLANAR_OR_PANORAMIC
    u, v = geometry.undistort(camera0, a[kept]), geometry.undistort(camera1, b[kept])
    focal = (camera0.fx + camera1.fx) / 2
    E, fits = cv2.findEssentialMat(
        np.ascontiguousarray(u),
        np.ascontiguousarray(v),
        np.eye(3),
        np.eye(3),
        np.zeros(4),
        np.zeros(4),
        _usac(config.max_error_px / focal, seed, 1000),  # type: ignore[call-overload]
    )
    calibrated = E is not None and fits is not None and int((fits > 0).sum()) >= 0.95 * count
    return kept, CALIBRATED if calibrated else UNCALIBRATED


def near_epipolar(F: np.ndarray, a: np.ndarray, b: np.ndarray, max_error: float) -> np.ndarray:
    """Which matches have a Sampson distance below max_error (Hartley & Zisserman 2004, eq. 11.9)."""
    ah, bh = np.c_[a, np.ones(len(a))], np.c_[b, np.ones(len(b))]
    l1, l0 = ah @ F.T, bh @ F
    squared = (bh * l1).sum(1) ** 2 / np.maximum((l1[:, :2] ** 2).sum(1) + (l0[:, :2] ** 2).sum(1), 1e-30)
    return squared < max_error**2


def match_learned(features0: Features, features1: Features, config: MatchesConfig) -> np.ndarray:
    """LighterGlue on XFeat features: int32 (m, 2)."""
    from rilievo.stages.xfeat import match_learned as run

    return run(features0, features1)


MATCHERS: dict[str, Callable[[Features, Features, MatchesConfig], np.ndarray]] = {
    "sift": match_nearest,
    "xfeat": match_learned,
}
