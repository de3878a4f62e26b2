"""Procedural colour for the synthetic scenes: periodic noise tiles, bricks, cloth, print, and how they lie on surfaces.

Colours are linear light, float32, 0..1. Everything is drawn from a seeded generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

# albedo(points (n, 3), normals (n, 3), footprint (n,)) -> linear RGB (n, 3)
Albedo = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def linear(r: int, g: int, b: int) -> np.ndarray:
    """sRGB bytes -> linear light."""
    return (np.array([r, g, b], np.float32) / 255.0) ** np.float32(2.2)


def noise_tile(rng: np.random.Generator, size: int, slope: float, low: float = 1.0, high: float = 1e9) -> np.ndarray:
    """Periodic noise (size, size) of mean 0 and standard deviation 1 whose amplitude falls as frequency^-slope between
    `low` and `high` cycles a tile: white noise shaped in the Fourier domain."""
    f = np.fft.fftfreq(size, 1.0 / size)
    radius = np.hypot(f[:, None], f[None, : size // 2 + 1])
    gain = np.where((radius >= low) & (radius <= high), np.maximum(radius, 1.0) ** -slope, 0.0)
    tile = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(size, size))) * gain, s=(size, size))
    return (tile / tile.std()).astype(np.float32)


@dataclass(frozen=True)
class Texture:
    """An image with its smaller copies; one texel of the first is `texel` metres wide. It repeats both ways."""

    levels: tuple[np.ndarray, ...]
    texel: float

    @classmethod
    def of(cls, image: np.ndarray, texel: float) -> Texture:
        levels = [np.ascontiguousarray(image, np.float32)]
        while min(levels[-1].shape[:2]) > 8:
            levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        return cls(tuple(levels), texel)

    def at(self, u: np.ndarray, v: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        """Colour (n, 3) at (u, v) metres, from the copy whose texel is nearest to the footprint (metres)."""
        level = np.clip(np.round(np.log2(np.maximum(footprint, 1e-9) / self.texel)), 0, len(self.levels) - 1)
        out = np.empty((len(u), 3), np.float32)
        for k in np.unique(level).astype(int):
            where = np.flatnonzero(level == k)
            image = self.levels[k]
            h, w = image.shape[:2]
            x = np.mod(u[where] / (self.texel * 2**k), w).astype(np.float32) - 0.5
            y = np.mod(v[where] / (self.texel * 2**k), h).astype(np.float32) - 0.5
            for a in range(0, len(where), 32_000):  # remap takes maps of at most 32767 rows
                part = slice(a, a + 32_000)
                out[where[part]] = cv2.remap(
                    image, x[part, None], y[part, None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
                ).reshape(-1, 3)
        return out


def box_mapped(texture: Texture, sharpness: float = 8.0) -> Albedo:
    """The texture laid on from the three axes and blended by the normal; the two sides of an axis differ by an offset,
    so that no place looks like another."""

    def albedo(points: np.ndarray, normals: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        weight = np.abs(normals) ** sharpness
        weight /= np.maximum(weight.sum(1, keepdims=True), 1e-12)
        out = np.zeros((len(points), 3), np.float32)
        for axis in range(3):
            where = np.flatnonzero(weight[:, axis] > 0.01)
            if len(where):
                u, v = points[where, 1 if axis == 0 else 0], -points[where, 1 if axis == 2 else 2]
                shift = np.where(normals[where, axis] > 0, 0.0, 0.371 * texture.texel * texture.levels[0].shape[0])
                color = texture.at(u + shift + 0.113 * axis, v + 0.7 * shift, footprint[where])
                out[where] += weight[where, axis, None].astype(np.float32) * color
        return out

    return albedo


def laid_flat(texture: Texture, origin: np.ndarray, x_axis: np.ndarray, y_axis: np.ndarray) -> Albedo:
    """The image once, its top left corner at origin, its rows along x_axis and its columns along y_axis (unit)."""

    def albedo(points: np.ndarray, normals: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        return texture.at((points - origin) @ x_axis, (points - origin) @ y_axis, footprint)

    return albedo


def stone(rng: np.random.Generator, size: int, base: tuple[int, int, int], contrast: float = 1.0) -> np.ndarray:
    """Weathered stone (size, size, 3): clouds, grain, dark pits, pale veins, lichen."""
    clouds, grain = noise_tile(rng, size, 1.4), noise_tile(rng, size, 0.55, low=12)
    veins = np.exp(-((noise_tile(rng, size, 1.6, low=3) / 0.05) ** 2))
    pits = np.clip(noise_tile(rng, size, 0.5, low=20, high=size / 5) - 1.5, 0, 1.5)
    lichen = np.clip(noise_tile(rng, size, 1.2, low=5) - 1.1, 0, 0.8) * np.clip(1 + 0.6 * grain, 0, 2)
    light = np.exp(contrast * (0.22 * clouds + 0.30 * grain + 0.30 * veins - 0.95 * pits))[..., None]
    color = linear(*base) * light
    warm = np.exp(0.06 * contrast * noise_tile(rng, size, 1.2))[..., None]
    color = color * np.concatenate([warm, np.ones_like(warm), 1 / warm], 2)
    patch = np.clip(lichen, 0, 1)[..., None] * 0.7
    return np.clip(color * (1 - patch) + linear(150, 150, 70) * patch, 0.005, 0.95).astype(np.float32)


def wood(rng: np.random.Generator, size: int) -> np.ndarray:
    """Boards (size, size, 3) with rings along x."""
    y = np.linspace(0, 1, size, endpoint=False)[:, None]
    wave = noise_tile(rng, size, 1.8)
    rings = np.sin(2 * np.pi * (24 * y + 0.9 * wave)) * 0.25
    fibre = cv2.blur(noise_tile(rng, size, 0.3), (max(size // 40, 3), 1)) * 0.9
    light = np.exp(rings + fibre + 0.15 * wave)[..., None]
    return np.clip(linear(142, 96, 60) * light, 0.01, 0.9).astype(np.float32)


def bricks(rng: np.random.Generator, size: int, rows: int) -> np.ndarray:
    """A wall of bricks (size, size, 3), each with its own colour, in running bond."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    warp = noise_tile(rng, size, 1.2, low=4) * 0.0012
    row = np.floor((y + warp) * rows).astype(int) % rows
    columns = rows // 3
    u = (x + warp) * columns + 0.5 * (row % 2)
    column = np.floor(u).astype(int) % columns
    tint = rng.normal(size=(rows, columns, 3)) * [0.22, 0.16, 0.14] + rng.normal(size=(rows, columns, 1)) * 0.18
    gap_y = np.abs(np.mod((y + warp) * rows, 1) - 0.5) > 0.44
    gap_x = np.abs(np.mod(u, 1) - 0.5) > 0.48
    color = linear(156, 92, 70) * np.exp(tint[row, column] + 0.16 * noise_tile(rng, size, 0.6, low=8)[..., None])
    mortar = linear(178, 168, 150) * np.exp(0.12 * noise_tile(rng, size, 0.5)[..., None])
    dirt = np.exp(0.16 * noise_tile(rng, size, 1.5))[..., None]
    return np.clip(np.where((gap_x | gap_y)[..., None], mortar, color) * dirt, 0.01, 0.9).astype(np.float32)


def cloth(rng: np.random.Generator, size: int) -> np.ndarray:
    """A woven table cloth (size, size, 3): bands, flowers that are all different, threads, stains."""
    color = np.tile(linear(206, 196, 174), (size, size, 1))
    for k in range(22):  # bands of uneven width and colour, in both directions
        band = np.array(_muted(rng, 50, 180), np.float32)
        at, width = int(rng.integers(0, size)), int(rng.integers(size // 160, size // 36))
        target = color[at : at + width] if k % 2 else color[:, at : at + width]
        target[...] = 0.45 * target + 0.55 * band
    for _ in range(420):
        _flower(rng, color, size)
    y, x = np.mgrid[:size, :size]
    period = max(size // 512, 4)
    weave = 0.10 * np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period)
    slub = cv2.blur(noise_tile(rng, size, 0.2), (1, 31)) + cv2.blur(noise_tile(rng, size, 0.2), (31, 1))
    stains = 0.15 * noise_tile(rng, size, 1.5, low=2) + 0.20 * noise_tile(rng, size, 0.5, low=30)
    return np.clip(color * np.exp(weave + 0.35 * slub + stains)[..., None], 0.01, 0.92).astype(np.float32)


def _muted(rng: np.random.Generator, low: int, high: int) -> list[float]:
    tone = rng.integers(low, high, 3)
    return linear(*(0.5 * tone + 0.5 * tone.mean()).astype(int).tolist()).tolist()


def _flower(rng: np.random.Generator, color: np.ndarray, size: int) -> None:
    center = rng.integers(0, size, 2)
    radius = float(rng.uniform(0.006, 0.02) * size)
    petals, turn = int(rng.integers(4, 9)), float(rng.uniform(0, 360))
    tone = _muted(rng, 40, 190)
    for k in range(petals):
        angle = turn + 360.0 * k / petals
        at = center + radius * 0.55 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
        axes = (max(int(radius * 0.5), 1), max(int(radius * rng.uniform(0.14, 0.3)), 1))
        cv2.ellipse(color, (int(at[0]), int(at[1])), axes, angle, 0, 360, tone, -1)
    heart = _muted(rng, 130, 235)
    cv2.circle(color, (int(center[0]), int(center[1])), max(int(radius * 0.22), 1), heart, -1)


def printed(
    rng: np.random.Generator, height: int, width: int, paper: tuple[int, int, int] = (226, 218, 196)
) -> np.ndarray:
    """A printed page (height, width, 3): headline, columns of made-up words, a picture, a few pen marks."""
    page = np.tile(linear(*paper), (height, width, 1))
    ink = np.zeros((height, width), np.uint8)
    letters = np.array(list("abcdefghiklmnoprstuvz"))

    def word(k: int) -> str:
        return "".join(rng.choice(letters, k))

    unit = width / 1000.0
    margin = int(50 * unit)
    headline = (margin, int(130 * unit))
    thick = max(int(6 * unit), 1)
    cv2.putText(ink, word(9).title(), headline, cv2.FONT_HERSHEY_TRIPLEX, 3.2 * unit, 255, thick, cv2.LINE_AA)
    x0, y0, w, h = margin, int(180 * unit), int(430 * unit), int(330 * unit)
    tones = linear(*rng.integers(90, 240, 3).tolist())
    picture = np.clip(0.5 + 0.28 * noise_tile(rng, 256, 1.2), 0.03, 1)[..., None] * tones
    page[y0 : y0 + h, x0 : x0 + w] = cv2.resize(picture.astype(np.float32), (w, h))
    line, text = int(26 * unit), 0.62 * unit
    for column in range(2):
        left = margin + column * int(470 * unit)
        y = int((560 if column == 0 else 200) * unit)
        while y < height - margin // 2:
            x = left
            while x < left + int(400 * unit):
                w = word(int(rng.integers(2, 9)))
                cv2.putText(ink, w, (x, y), cv2.FONT_HERSHEY_COMPLEX, text, 255, max(round(1.4 * unit), 1), cv2.LINE_AA)
                x += int((9 + 11.5 * len(w)) * unit)
            y += line * (2 if rng.random() < 0.1 else 1)
    cover = (ink / 255.0)[..., None].astype(np.float32)
    page = page * (1 - cover) + linear(35, 32, 34) * cover
    for _ in range(4):
        points = (rng.random((5, 2)) * [width, height]).astype(np.int32)
        pen = linear(*rng.choice([[150, 40, 40], [40, 60, 150]]).tolist()).tolist()
        cv2.polylines(page, [points[:, None]], False, pen, max(int(2 * unit), 1))
    fibre = noise_tile(rng, 1 << (max(height, width) - 1).bit_length(), 0.5, low=4)[:height, :width]
    return np.clip(page * np.exp(0.05 * fibre)[..., None], 0.01, 0.95).astype(np.float32)


def surroundings(rng: np.random.Generator, size: int = 512) -> np.ndarray:
    """What lies around the scene, far away and out of focus: (size, 2 size, 3), row 0 the zenith, longitude along x."""
    elevation = 90 - 180 * (np.arange(size) + 0.5) / size
    sky = np.where(elevation > 0, np.clip(elevation / 70, 0, 1), 0)[:, None, None]
    color = linear(198, 214, 232) * (1 - sky) + linear(104, 152, 214) * sky
    color = np.tile(color, (1, 2 * size, 1)).astype(np.float32)
    wide = np.concatenate([noise_tile(rng, size, 1.6, low=2)] * 2, 1)
    fine = np.concatenate([noise_tile(rng, size, 0.9, low=6)] * 2, 1)
    clouds = np.clip(0.5 * wide + 0.2, 0, 1)[..., None] * 0.7
    color = color * (1 - clouds) + 0.85 * clouds
    trees = (elevation[:, None] < 14 + 9 * wide[size // 3][None, :] + 2 * fine)[..., None]
    green = linear(82, 104, 58) * np.exp(0.45 * wide + 0.35 * fine)[..., None]
    ground = linear(128, 118, 96) * np.exp(0.25 * wide + 0.25 * fine)[..., None]
    color = np.where(trees, green, color)
    color = np.where((elevation < -6)[:, None, None], ground, color)
    wrapped = np.concatenate([color[:, -64:], color, color[:, :64]], 1).astype(np.float32)
    return cv2.GaussianBlur(wrapped, (0, 0), size / 110)[:, 64:-64]
