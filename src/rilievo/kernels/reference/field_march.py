"""Rays of a radiance field in NumPy: through random pixels, and their samples in occupied cells. See native/field.h."""

from __future__ import annotations

import numpy as np


def check_rays(origins: np.ndarray, directions: np.ndarray, jitter: np.ndarray) -> None:
    """Raises ValueError for rays that are none."""
    if len(directions) != len(origins) or len(jitter) != len(origins):
        raise ValueError("there must be a direction and a jitter for every origin")
    if not np.isfinite(origins).all():
        raise ValueError("origins must be finite")
    if not (np.abs((directions.astype(np.float64) ** 2).sum(1) - 1) < 1e-3).all():
        raise ValueError("directions must be unit vectors")
    if not ((jitter >= 0) & (jitter <= 1)).all():
        raise ValueError("jitter must be 0 to 1")


def field_march(
    occupancy: np.ndarray,
    unbounded: bool,
    edges: np.ndarray,
    origins: np.ndarray,
    directions: np.ndarray,
    jitter: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Samples of rays in occupied cells: (offsets int64 (n + 1), t (s), delta (s), u (s, 3)); ray r has samples
    offsets[r] to offsets[r + 1].

    Sample k of a ray lies at edges[k] + jitter (edges[k + 1] - edges[k]) and stands for
    delta = edges[k + 1] - edges[k].
    occupancy: uint8 (g, g, g / 8), see `types.Field`.  origins, directions: float32 (n, 3), in radii.  Raises
    ValueError for shapes that do not fit, values that are not finite, directions that are not unit vectors.
    """
    grid = len(occupancy)
    if occupancy.shape != (grid, grid, grid // 8) or grid % 8 or not 8 <= grid <= 1024:
        raise ValueError("occupancy must have the shape (g, g, g / 8) with g a multiple of 8, 8 to 1024")
    if len(edges) < 2 or not (np.diff(edges) > 0).all() or edges[0] < 0 or not np.isfinite(edges).all():
        raise ValueError("edges must rise")
    check_rays(origins, directions, jitter)
    full = np.unpackbits(occupancy, axis=-1, bitorder="little").astype(bool)
    width = np.diff(edges)
    offsets, ts, deltas, us = [0], [], [], []
    for o, d, j in zip(origins, directions, jitter):
        t = edges[:-1] + j * width
        p = o + t[:, None] * d
        if unbounded:
            square = (p[:, 0] * p[:, 0] + p[:, 1] * p[:, 1]) + p[:, 2] * p[:, 2]
            r = np.sqrt(np.maximum(square, 1))
            p = np.where(square[:, None] > 1, p * ((2 - 1 / r) / r)[:, None], p)
            inside, half = np.ones(len(t), bool), np.float32(0.25)
        else:
            inside, half = (np.abs(p) <= 1).all(1), np.float32(0.5)
        u = np.clip(p * half + np.float32(0.5), 0, 1)
        x, y, z = np.minimum((u * np.float32(grid)).astype(int), grid - 1).T
        found = inside & full[z, y, x]
        ts.append(t[found])
        deltas.append(width[found])
        us.append(u[found])
        offsets.append(offsets[-1] + int(found.sum()))
    if not len(origins):
        return np.zeros(1, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros((0, 3), np.float32)
    return np.array(offsets), np.concatenate(ts), np.concatenate(deltas), np.concatenate(us)


def _scramble(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.uint32)
    state = x * np.uint32(747796405) + np.uint32(2891336453)
    word = ((state >> ((state >> np.uint32(28)) + np.uint32(4))) ^ state) * np.uint32(277803737)
    return (word >> np.uint32(22)) ^ word


def field_rays(
    pixels: np.ndarray,
    usable: np.ndarray,
    sizes: np.ndarray,
    cameras: np.ndarray,
    seed: int,
    iteration: int,
    n: int,
    random_background: bool,
    background: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Rays through n pixels drawn at random: origins, directions (n, 3), jitter (n), targets, backgrounds (n, 3),
    weights (n), all float32, and the photo int32 (n).

    pixels: uint8 (p, 4), red green blue alpha of all photos.  usable: uint8 (p) or (0); a pixel with 0 is drawn again,
    16 times at most, then its weight is 0.  sizes: int64 (photos, 3), first pixel, width, height.  cameras: float64
    (photos,
    16): fx fy cx cy, world_from_cam row by row, centre.  Random numbers are PCG hashes (Jarzynski & Olano 2020) of
    (seed,
    iteration, ray). A target is the pixel over its background. Raises ValueError for photos outside of the pixels.
    """
    if len(sizes) == 0 or len(cameras) != len(sizes):
        raise ValueError("there must be a camera for every photo")
    if (
        (sizes[:, 1:] < 1).any()
        or (sizes[:, 0] < 0).any()
        or (sizes[:, 0] + sizes[:, 1] * sizes[:, 2] > len(pixels)).any()
    ):
        raise ValueError("photos must lie within the pixels")
    if not np.isfinite(cameras).all() or (cameras[:, :2] <= 0).any():
        raise ValueError("cameras must be finite, focal lengths positive")
    base = _scramble(_scramble(np.array([seed])) + np.uint32(iteration))
    key = _scramble(base + np.arange(n).astype(np.uint32))
    count = np.zeros(n, np.uint32)

    def roll(which: np.ndarray) -> np.ndarray:
        number = _scramble(key[which] + np.uint32(0x9E3779B9) * count[which])
        count[which] += np.uint32(1)
        return number

    def fraction(which: np.ndarray) -> np.ndarray:
        return (roll(which) >> np.uint32(8)).astype(np.float32) * np.float32(1 / 16777216)

    def below(which: np.ndarray, limit: np.ndarray) -> np.ndarray:
        return ((roll(which).astype(np.uint64) * limit.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)

    everyone = np.arange(n)
    jitter = fraction(everyone)
    if random_background:
        backgrounds = np.stack([fraction(everyone) for _ in range(3)], -1)
    else:
        backgrounds = np.tile(background.astype(np.float32), (n, 1))
    photo, x, y, at = (np.zeros(n, np.int64) for _ in range(4))
    good, left = np.zeros(n, bool), everyone
    for _ in range(16):
        photo[left] = below(left, np.full(len(left), len(sizes)))
        x[left] = below(left, sizes[photo[left], 1])
        y[left] = below(left, sizes[photo[left], 2])
        at[left] = sizes[photo[left], 0] + y[left] * sizes[photo[left], 1] + x[left]
        good[left] = usable[at[left]] != 0 if len(usable) else True
        left = left[~good[left]]
        if not len(left):
            break
    c = cameras[photo]
    ray = np.stack([(x + 0.5 - c[:, 2]) / c[:, 0], (y + 0.5 - c[:, 3]) / c[:, 1], np.ones(n)], -1)
    d = np.einsum("nij,nj->ni", c[:, 4:13].reshape(-1, 3, 3), ray)
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    color = pixels[at].astype(np.float32) / np.float32(255)
    targets = color[:, :3] * color[:, 3:] + backgrounds * (1 - color[:, 3:])
    origins = c[:, 13:16].astype(np.float32)
    return origins, d.astype(np.float32), jitter, targets, backgrounds, good.astype(np.float32), photo.astype(np.int32)
