"""One exposure and one colour for a set: what the same places look like in overlapping photos (Brown & Lowe 2007, eq.
29, per channel and robust), and the common cast of all of them (Finlayson & Trezzi 2004, "Shades of gray")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rilievo.types import Features, Matches

_CLIP_LOW, _CLIP_HIGH = 8, 247
MAX_GAIN = 4.0


def linear(values: np.ndarray) -> np.ndarray:
    """sRGB 0..1 -> light (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def shown(light: np.ndarray) -> np.ndarray:
    """Light -> sRGB 0..1."""
    light = np.maximum(light, 0)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def pair_ratios(
    colors0: np.ndarray, colors1: np.ndarray, *, min_count: int = 20
) -> tuple[np.ndarray, np.ndarray] | None:
    """(log of light in photo 0 over photo 1 per channel, its standard error), None where too few places tell.

    colors: uint8 (n, 3), the same places in both. Clipped values are left out.
    """
    good = ((np.minimum(colors0, colors1) >= _CLIP_LOW) & (np.maximum(colors0, colors1) <= _CLIP_HIGH)).all(1)
    if good.sum() < min_count:
        return None
    ratios = np.log(linear(colors0[good] / 255.0)) - np.log(linear(colors1[good] / 255.0))
    middle = np.median(ratios, axis=0)
    spread = 1.4826 * np.median(np.abs(ratios - middle), axis=0)
    return middle, np.maximum(1.2533 * spread / np.sqrt(good.sum()), 0.003)


def solve_gains(
    names: Sequence[str], features: Mapping[str, Features], matches: Sequence[Matches]
) -> dict[str, np.ndarray]:
    """Photo name -> factor on its light per channel, float64 (3,), that makes the set agree; photos that share no place
    with others are left out. The median of all factors is 1, none beyond MAX_GAIN.

    Least squares over pairs, weighed by their certainty, with large contradictions damped (Huber).
    """
    rows: list[tuple[int, int, np.ndarray, np.ndarray]] = []
    index = {n: i for i, n in enumerate(names)}
    for m in matches:
        for k, name0 in enumerate(m.names0):
            part = m.matches[m.offsets[k] : m.offsets[k + 1]]
            found = pair_ratios(features[name0].colors[part[:, 0]], features[m.name1].colors[part[:, 1]])
            if found is not None:
                rows.append((index[name0], index[m.name1], *found))
    if not rows:
        return {}
    a, b = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    ratio, error = np.array([r[2] for r in rows]), np.array([r[3] for r in rows])
    joined = np.unique(np.concatenate([a, b]))
    gains = np.zeros((len(names), 3))
    for c in range(3):
        weight = 1 / error[:, c] ** 2
        for _ in range(5):
            # gain_a + ratio = gain_b: both photos then show the same light; a weak pull to 1 settles what is free.
            A = np.zeros((len(names), len(names)))
            right = np.zeros(len(names))
            for i, j, sign in ((a, a, 1), (b, b, 1), (a, b, -1), (b, a, -1)):
                np.add.at(A, (i, j), sign * weight)
            np.add.at(right, a, -weight * ratio[:, c])
            np.add.at(right, b, weight * ratio[:, c])
            A += np.eye(len(names))
            gains[:, c] = np.linalg.solve(A, right)
            off = np.abs(gains[a, c] + ratio[:, c] - gains[b, c]) / error[:, c]
            weight = np.minimum(1, 3 / np.maximum(off, 1e-9)) / error[:, c] ** 2
    gains -= np.median(gains[joined].mean(1))
    limit = np.log(MAX_GAIN)
    return {str(names[i]): np.exp(np.clip(gains[i], -limit, limit)) for i in joined.tolist()}


def common_cast(samples: Sequence[np.ndarray], *, power: float = 6.0, most: float = 1.5) -> np.ndarray:
    """float64 (3,): factors on light that make the set's mean colour neutral, green 1, none beyond `most`.

    samples: uint8 (h, w, 3), small copies of the photos. A guess, as every white balance without a grey card is: a
    set that is all of one colour gets that colour taken for a cast, hence the limit.
    """
    total, count = np.zeros(3), 0
    for sample in samples:
        pixels = sample.reshape(-1, 3)
        good = (pixels.max(1) <= _CLIP_HIGH) & (pixels.min(1) >= _CLIP_LOW)
        total += (linear(pixels[good] / 255.0) ** power).sum(0)
        count += int(good.sum())
    if count < 1000:
        return np.ones(3)
    mean = (total / count) ** (1 / power)
    return np.clip(mean[1] / mean, 1 / most, most)


def apply_gains(pixels: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """uint16 (h, w, 3) with light multiplied per channel; clipped white stays white, and nothing new clips hard."""
    values = np.arange(65536) / 65535.0
    light = linear(values)
    tables = []
    for gain in gains:
        lifted = light * gain
        if gain > 1:  # a shoulder above 0.8 of full light instead of a cut
            over = np.maximum(lifted - 0.8, 0)
            lifted = np.where(lifted > 0.8, 0.8 + 0.2 * (1 - np.exp(-over / 0.2)), lifted)
            lifted = np.maximum(lifted, light)
        elif gain < 1:  # the brightest fifth runs back to white: blown highlights stay without a colour
            t = np.clip((light - 0.8) / 0.2, 0, 1) ** 2
            lifted = lifted * (1 - t) + light * t
        tables.append(np.rint(np.clip(shown(lifted), 0, 1) * 65535).astype(np.uint16))
    return np.stack([tables[c][pixels[..., c]] for c in range(3)], -1)
