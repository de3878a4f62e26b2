"""A capture with known answers, without pixels: cameras, points, noisy keypoints and true matches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rilievo.geometry import look_at, project
from rilievo.types import Camera, Features, Matches, Photo


@dataclass
class Capture:
    """photos[i] stands at cam_from_world[i]; keypoint j of photo i shows points[seen[i][j]]."""

    photos: list[Photo]
    features: dict[str, Features]
    matches: list[Matches]
    cam_from_world: np.ndarray
    points: np.ndarray
    camera: Camera


def room(rng: np.random.Generator, n: int) -> np.ndarray:
    """Points on a floor (z = 0), two walls and some boulders, about 4 m in size, with a height of 0 to 2 m."""
    a, b = rng.uniform(-2, 2, n), rng.uniform(0, 2, n)
    kind = rng.integers(0, 4, n)
    floor = np.stack([a, rng.uniform(-2, 2, n), np.zeros(n)], 1)
    wall1 = np.stack([a, np.full(n, 2.0), b], 1)
    wall2 = np.stack([np.full(n, -2.0), a, b], 1)
    ball = rng.normal(size=(n, 3))
    ball = ball / np.linalg.norm(ball, axis=1, keepdims=True) * 0.4 + [0.3, 0.2, 0.5]
    return np.choose(kind[:, None], [floor, wall1, wall2, ball])


def orbit(n: int, *, radius: float = 4.0, height: float = 1.6, sweep_deg: float = 110.0) -> np.ndarray:
    """Cameras on an arc that look at the room's middle."""
    angles = np.deg2rad(np.linspace(-100, -100 + sweep_deg, n))
    eyes = np.stack([radius * np.cos(angles), radius * np.sin(angles), height + 0.3 * np.sin(5 * angles)], 1)
    return np.stack([look_at(e, np.array([0.1 * np.sin(3 * k), 0.0, 0.6])) for k, e in enumerate(eyes)])


def capture(
    cam_from_world: np.ndarray,
    points: np.ndarray,
    camera: Camera,
    *,
    seed: int = 0,
    noise_px: float = 0.3,
    wrong: float = 0.02,
    focal_px: float | None = None,
    gps: list[tuple[float, float, float]] | None = None,
    prefix: str = "IMG",
) -> Capture:
    """Keypoints with Gaussian noise and all-pairs matches, a share `wrong` of them false."""
    rng = np.random.default_rng(seed)
    photos, features, matches, seen = [], {}, [], []
    for i, pose in enumerate(cam_from_world):
        name = f"{prefix}_{i:04d}.jpg"
        xy, depth = project(camera, pose, points)
        ok = (depth > 0.1) & (xy > 0).all(1) & (xy < [camera.width, camera.height]).all(1)
        rows = rng.permutation(np.flatnonzero(ok))
        keypoints = (xy[rows] + rng.normal(0, noise_px, (len(rows), 2))).astype(np.float32)
        n = len(rows)
        colors = np.clip(points[rows] * 40 + 128, 0, 255).astype(np.uint8)
        features[name] = Features(
            "sift", keypoints, np.full(n, 2, np.float32), np.zeros(n, np.float32), np.ones(n, np.float32),
            np.zeros((n, 128), np.uint8), colors,
        )  # fmt: skip
        photos.append(
            Photo(name, f"{i:064x}", camera.width, camera.height, "test", focal_px, None if gps is None else gps[i])
        )
        seen.append(rows)
    index = np.full((len(photos), len(points)), -1, np.int64)
    for i, rows in enumerate(seen):
        index[i, rows] = np.arange(len(rows))
    for j in range(len(photos)):
        parts, offsets, raw = [], [0], []
        for i in range(j):
            both = np.flatnonzero((index[i] >= 0) & (index[j] >= 0))
            pair = np.stack([index[i, both], index[j, both]], 1).astype(np.int32)
            bad = rng.random(len(pair)) < wrong
            pair[bad, 1] = rng.integers(0, max(len(seen[j]), 1), bad.sum())
            pair = pair[np.unique(pair[:, 1], return_index=True)[1]] if len(pair) >= 15 else pair[:0]
            parts.append(pair)
            raw.append(len(both))
            offsets.append(offsets[-1] + len(pair))
        matches.append(
            Matches(
                "sift",
                photos[j].name,
                tuple(p.name for p in photos[:j]),
                np.array(offsets, np.int64),
                np.concatenate(parts) if parts else np.zeros((0, 2), np.int32),
                np.array(raw, np.int32),
                np.full(j, 2, np.int32),
            )
        )
    return Capture(photos, features, matches, cam_from_world, points, camera)


def joined(*captures: Capture) -> tuple[list[Photo], dict[str, Features], list[Matches]]:
    """The photos of several captures as one set, with no matches between them."""
    photos = [p for c in captures for p in c.photos]
    features = {n: f for c in captures for n, f in c.features.items()}
    return photos, features, [m for c in captures for m in c.matches]
