"""PlayCanvas' compressed PLY (SuperSplat's `.compressed.ply`), read only: four 32-bit words a Gaussian.

Element `chunk` has the limits of 256 Gaussians each. A word holds 11, 10 and 11 bits of x y z between the limits
(places; logarithms of sizes); the number of the largest part of the quaternion (2 bits) and the three others (10 bits
each, from -sqrt(1/2) to sqrt(1/2)); or red, green, blue (between limits where there are some) and opacity in 8 bits
each. Element `sh` has harmonics of degree 1 and higher in a byte each, from -4 to 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rilievo.gaussians import NUM_COEFFICIENTS, SH_C0

CHUNK = 256


def unpack(
    tables: dict[str, dict[str, Any]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """means, quats, scales, opacities, sh of the tables of a file. Raises ValueError when they do not fit together."""
    chunk, vertex, rest = tables["chunk"], tables["vertex"], tables.get("sh", {})
    count = len(vertex["packed_position"])
    owner = np.arange(count) // CHUNK
    if count and owner[-1] >= len(chunk["min_x"]):
        raise ValueError(f"{len(chunk['min_x'])} chunks of {CHUNK} for {count} Gaussians")

    def between(share: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        low, high = (
            np.stack([np.asarray(chunk[f"{end}_{n}"], np.float64) for n in names], 1) for end in ("min", "max")
        )
        return low[owner] + (high - low)[owner] * share

    means = between(_three(vertex["packed_position"]), ("x", "y", "z"))
    scales = np.exp(between(_three(vertex["packed_scale"]), ("scale_x", "scale_y", "scale_z")))
    rgba = _fields(vertex["packed_color"], (24, 16, 8, 0), 8)
    colors = between(rgba[:, :3], ("r", "g", "b")) if "min_r" in chunk else rgba[:, :3]
    num_rest = len(rest)
    if num_rest not in [3 * (k - 1) for k in NUM_COEFFICIENTS]:
        raise ValueError(f"{num_rest} properties of harmonics")
    sh = np.empty((count, 1 + num_rest // 3, 3), np.float32)
    sh[:, 0] = (colors - 0.5) / SH_C0
    for i in range(num_rest):
        byte = np.asarray(rest[f"f_rest_{i}"], np.float64)
        if len(byte) != count:
            raise ValueError(f"{len(byte)} rows of harmonics for {count} Gaussians")
        share = np.where(byte == 0, 0, np.where(byte == 255, 1, (byte + 0.5) / 256))
        sh[:, 1 + i % (num_rest // 3), i // (num_rest // 3)] = 8 * (share - 0.5)
    return means.astype(np.float32), _quats(vertex["packed_rotation"]), scales, rgba[:, 3], sh


def _fields(words: np.ndarray, shifts: tuple[int, ...], bits: int) -> np.ndarray:
    """float64 (n, k): fields of `bits` bits as shares 0..1."""
    words = np.asarray(words, np.uint32)
    mask = np.uint32(2**bits - 1)
    return np.stack([(words >> np.uint32(s) & mask) / float(mask) for s in shifts], 1)


def _three(words: np.ndarray) -> np.ndarray:
    x, z = _fields(words, (21,), 11), _fields(words, (0,), 11)
    return np.concatenate([x, _fields(words, (11,), 10), z], 1)


def _quats(words: np.ndarray) -> np.ndarray:
    """float64 (n, 4) w x y z."""
    largest = (np.asarray(words, np.uint32) >> np.uint32(30)).astype(np.int64)
    three = (_fields(words, (20, 10, 0), 10) - 0.5) * np.sqrt(2)
    q = np.zeros((len(three), 4))
    others = np.argsort(np.arange(4) == largest[:, None], axis=1, kind="stable")[:, :3]
    np.put_along_axis(q, others, three, 1)
    np.put_along_axis(q, largest[:, None], np.sqrt(np.maximum(1 - (three**2).sum(1, keepdims=True), 0)), 1)
    return q
