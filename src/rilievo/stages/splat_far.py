"""Where Gaussians start for what the dense cloud does not hold: surroundings, far background, sky."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rilievo import kernels
from rilievo.stages.splat_photos import PhotoStack, SizedPhoto
from rilievo.stages.splat_rows import ROW, SCALE
from rilievo.stages.splat_start import from_points, pixel_of

DEPTHS = 24  # that are tried along a line of sight
MOST_OTHERS = 32  # photos that judge them
AGREE = 5.0  # differences of colour, 0..255, that are none
LIKE_THE_BEST = 3.0  # the furthest depth wins that is not worse than the best by more
DISTINCT = 25.0  # half of the depths must be worse than the best by more: in the sky they all look alike
FREE = 0.97  # what is nearer than this share of the depth of Gaussians would hide them
DOME_REACH = np.radians(40)  # so far from sky that was seen there is sky too
FEWEST_DOME = 300  # fewer would be so broad that they reach the scene


@dataclass(frozen=True)
class _Seen:
    """A photo, its colours smoothed float32 (h, w, 3), where it sees through all Gaussians bool (h, w), and else their
    depth float32 (h, w)."""

    photo: SizedPhoto
    smooth: np.ndarray
    through: np.ndarray
    depth: np.ndarray


def far_away(
    rows: np.ndarray, stack: PhotoStack, level: int, near: float, *, distance: float, most: int, seed: int
) -> np.ndarray:
    """Rows of Gaussians, at most `most`, for what the photos show where they see through `rows`: at the depth at which
    the other photos show the same colour; where all depths look the same, as in the sky, at `distance` and beyond.
    They are spread over the photos evenly. Behind them a dome of the sky's colours closes what no photo shows.

    near: nothing closer to a camera is drawn, world units; a hundredth of the scene's distance."""
    rng = np.random.default_rng([seed, 102])
    num_dome = most // 3 if most >= 3 * FEWEST_DOME else 0
    share = (most - num_dome) // max(len(stack.names), 1)
    photos = _seen_through(rows, stack, level, near)
    found: list[tuple[np.ndarray, ...]] = []
    for number, seen in enumerate(photos):
        p = seen.photo
        at = np.flatnonzero(seen.through)
        if not len(at) or not share:
            continue
        area = len(at) / min(share, len(at))
        at = np.sort(rng.permutation(at)[:share])
        y, x = np.divmod(at, p.size[0])
        ray = np.stack([(x + 0.5 - p.camera[2]) / p.camera[0], (y + 0.5 - p.camera[3]) / p.camera[1], 0 * x + 1.0], 1)
        others = [photos[k] for k in range(len(photos)) if k != number]
        if len(others) > MOST_OTHERS:
            others = [others[k] for k in np.sort(rng.permutation(len(others))[:MOST_OTHERS])]
        length = _depth_that_agrees(seen, ray, seen.smooth[y, x], others, low=50 * near, high=distance)
        is_far = np.isnan(length)
        length = np.where(is_far, distance * rng.uniform(1.0, 1.5, len(at)), length)
        R, t = p.cam_from_world[:, :3], p.cam_from_world[:, 3]
        points = (ray * length[:, None] - t) @ R
        found.append((points, p.pixels[y, x], 0.6 * np.sqrt(area) * length / p.camera[0], is_far))
    if not found:
        return np.zeros((0, ROW), np.float32)
    points, colors, width, is_far = (np.concatenate([f[k] for f in found]) for k in range(4))
    far = from_points(points, colors, opacity=0.5)
    far[:, SCALE] = np.log(width)[:, None]
    if not num_dome or not is_far.any():
        return far
    centers = np.array([-s.photo.cam_from_world[:, :3].T @ s.photo.cam_from_world[:, 3] for s in photos])
    return np.concatenate([far, _dome(points[is_far], colors[is_far], centers.mean(0), 1.6 * distance, num_dome)])


def _seen_through(rows: np.ndarray, stack: PhotoStack, level: int, near: float) -> list[_Seen]:
    """The photos without transparency, and what they see through the Gaussians."""
    import cv2

    frame: Any = None
    found = []
    for name in stack.names:
        p = stack.get(name, level)
        if p.alpha is not None:
            continue
        frame = kernels.splat_forward(
            rows, p.camera, p.cam_from_world, *p.size, near, 0, 4, True, np.zeros(3, np.float32), True, frame
        )
        through = frame.transmittance > 0.8
        if p.mask is not None:
            through &= p.mask > 0
        found.append(_Seen(p, cv2.blur(p.pixels, (3, 3)).astype(np.float32), through, np.array(frame.median_depth)))
    return found


def _depth_that_agrees(
    seen: _Seen, ray: np.ndarray, color: np.ndarray, others: Sequence[_Seen], *, low: float, high: float
) -> np.ndarray:
    """Depth float64 (n,) of rays (n, 3) of a photo at which other photos show `color` (n, 3) too (a plane sweep,
    Collins 1996): the furthest one that is about as good as the best. NaN for "at `high` or beyond", also where less
    than two photos can tell, or many depths are as good."""
    depths = low * (high / low) ** (np.arange(DEPTHS) / (DEPTHS - 1))
    R, t = seen.photo.cam_from_world[:, :3], seen.photo.cam_from_world[:, 3]
    points = ((ray[:, None] * depths[:, None] - t) @ R).reshape(-1, 3)
    wanted = np.repeat(color, DEPTHS, axis=0)
    differs = np.full((len(others), len(points)), np.inf, np.float32)
    hides = np.zeros(len(points), np.int32)
    for k, other in enumerate(others):
        x, y, ahead = pixel_of(other.photo, points)
        w, h = other.photo.size
        inside = np.flatnonzero(ahead & (x >= 0) & (y >= 0) & (x < w) & (y < h))
        at, z = (y[inside], x[inside]), points[inside] @ other.photo.cam_from_world[2, :3]
        hides[inside] += z + other.photo.cam_from_world[2, 3] < FREE * other.depth[at]
        inside = inside[other.through[at]]
        differs[k, inside] = np.abs(other.smooth[y[inside], x[inside]] - wanted[inside]).mean(1)
    differs.sort(0)
    judges = np.isfinite(differs).sum(0)
    # Half of those that can see it must agree: something that was not reconstructed may stand before the others.
    half = np.maximum((judges + 1) // 2, 2)
    counted = np.arange(len(others))[:, None] < half
    cost = np.where(counted & np.isfinite(differs), differs, 0.0).sum(0) / half
    known = ((judges >= 2) & (hides == 0)).reshape(-1, DEPTHS)
    all_costs = cost.reshape(-1, DEPTHS)
    cost = np.where(known, all_costs, np.inf)
    best = cost.min(1)
    good = cost <= (np.maximum(best, AGREE) + LIKE_THE_BEST)[:, None]
    judged = (judges >= 2).reshape(-1, DEPTHS)
    poor = (judged & (all_costs > best[:, None] + DISTINCT)).sum(1)
    surely = (best <= 3 * AGREE) & (judged.sum(1) >= 4) & (2 * poor >= judged.sum(1))
    chosen = DEPTHS - 1 - good[:, ::-1].argmax(1)
    return np.where(surely & (chosen < DEPTHS - 1), depths[chosen], np.nan)


def _dome(points: np.ndarray, colors: np.ndarray, center: np.ndarray, radius: float, number: int) -> np.ndarray:
    """Rows of at most `number` broad, nearly opaque Gaussians on a sphere around `center`, in all directions that
    points (n, 3) with colours uint8 (n, 3) lie near: between what the photos show of the sky there is sky too, and no
    hole. Colours are means of the points around, the nearer the heavier."""
    golden = np.pi * (3 - np.sqrt(5))
    k = np.arange(number)
    z = 1 - 2 * (k + 0.5) / number
    out = np.sqrt(1 - z**2)
    direction = np.stack([out * np.cos(golden * k), out * np.sin(golden * k), z], 1)
    toward = points - center
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    cosine = direction @ toward.T
    near = cosine.max(1)
    keep = near > np.cos(DOME_REACH)
    weight = np.exp(200 * (cosine[keep] - near[keep, None]))
    color = (weight @ colors.astype(np.float64)) / weight.sum(1, keepdims=True)
    rows = from_points(center + radius * direction[keep], np.rint(color).astype(np.uint8), opacity=0.95)
    rows[:, SCALE] = np.log(radius * np.sqrt(4 * np.pi / number))
    return rows
