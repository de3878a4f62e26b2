"""Training pictures: shards of renders, cut, turned and made to look like photos taken by many cameras.

A folder of shards holds, for each number, `rgb_00000.npy` (n, h, w, 3) uint8 sRGB, `inverse_depth_00000.npy` (n, h, w)
float16 in 1/m with 0 for sky, and `about_00000.json`, a list of n objects with `family`, `focal_px` and `seed`.
Everything random is a function of the seed, the step and the place in the batch: a run that was stopped goes on with
the pictures that it would have seen.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

SIZES = (
    (192, 256), (192, 256), (192, 256), (224, 224), (224, 224), (256, 192), (256, 192),
    (160, 288), (160, 288), (128, 320), (96, 320), (224, 288), (288, 224), (256, 320),
)  # fmt: skip
"""Heights and widths of batches, one drawn for each: portrait to 3.3:1, multiples of 32."""
OUTSIDE = -1.0
"""Target of cells that the turned picture does not cover."""


@dataclass(frozen=True)
class Sample:
    """One picture for training."""

    rgb: np.ndarray
    """(h, w, 3) uint8."""
    inverse_depth: np.ndarray
    """(h/2, w/2) float32, 0 for sky, -1 outside."""
    log_focal: float
    """Logarithm of focal length / longer side; NaN where unknown."""
    family: str
    """The generator's family of scenes."""


@dataclass
class Shards:
    """The shards of some folders, opened as they appear and never held in memory."""

    folders: list[Path]
    """Where they lie."""
    names: list[str] = field(default_factory=list)
    """The complete shards, sorted."""
    _open: dict[str, tuple[np.ndarray, np.ndarray, list[dict]]] = field(default_factory=dict)
    _ends: list[int] = field(default_factory=list)

    def refresh(self) -> int:
        """Look for new shards; answers how many there are. A shard counts once its `about` file is there."""
        for number, folder in enumerate(self.folders):
            for path in folder.glob("about_*.json"):
                stem = path.stem.removeprefix("about_")
                name = f"{number}/{stem}"
                if name in self._open:
                    continue
                try:
                    about = json.loads(path.read_text())
                    rgb = np.load(folder / f"rgb_{stem}.npy", mmap_mode="r")
                    inverse = np.load(folder / f"inverse_depth_{stem}.npy", mmap_mode="r")
                except (OSError, ValueError):
                    continue  # still being written
                if len(about) == len(rgb) == len(inverse) > 0:
                    self._open[name] = (rgb, inverse, about)
        self.names = sorted(self._open)
        self._ends = list(itertools.accumulate(len(self._open[name][2]) for name in self.names))
        return len(self.names)

    def __len__(self) -> int:
        """Number of pictures."""
        return self._ends[-1] if self._ends else 0

    def raw(self, index: int) -> tuple[np.ndarray, np.ndarray, dict]:
        """Answer picture, inverse depth (float32) and description number `index`."""
        shard = bisect.bisect_right(self._ends, index)
        if index < 0 or shard == len(self._ends):
            raise IndexError(index)
        rgb, inverse, about = self._open[self.names[shard]]
        index -= self._ends[shard] - len(about)
        return np.asarray(rgb[index]), np.asarray(inverse[index], np.float32), about[index]


def cut(
    rgb: np.ndarray, inverse: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Cut a random window of the shape of `size`, sometimes turned a little and mirrored, in one resampling.

    Answers the picture, the inverse depth at half its size (nearest: depth edges stay edges) and the factor from
    source pixels to pixels of the picture.
    """
    height, width = size
    rows, columns = inverse.shape
    fit = min(rows / height, columns / width)
    scale = fit * rng.uniform(0.6, 1.0)  # source pixels a pixel
    angle = math.radians(float(np.clip(rng.normal(0, 2.5), -7, 7))) if rng.random() < 0.4 else 0.0
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    free_x, free_y = columns - scale * width, rows - scale * height
    middle = np.array(
        [(columns - 1) / 2 + free_x * (rng.random() - 0.5), (rows - 1) / 2 + free_y * (rng.random() - 0.5)]
    )
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turn = turn * np.array([[mirror, 1.0]])

    def resample(source: np.ndarray, step: int, flags: int, border: int, value: float) -> np.ndarray:
        # Cell (0, 0) of a map of every step-th pixel has its centre at (step - 1) / 2 of the full picture.
        offset = (step - 1) / 2 - (np.array([width, height]) - 1) / 2
        matrix = np.concatenate([turn * step, (middle + turn @ offset)[:, None]], 1)
        shape = (width // step, height // step)
        return cv2.warpAffine(
            source, matrix, shape, flags=flags | cv2.WARP_INVERSE_MAP, borderMode=border, borderValue=(value,)
        )

    if scale > 1.2:
        rgb = cv2.GaussianBlur(rgb, (3, 3), 0.4 * scale)
    picture = resample(rgb, 1, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101, 0)
    target = resample(inverse, 2, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT, OUTSIDE)
    return picture, target, 1.0 / scale


def _tone_table(rng: np.random.Generator) -> np.ndarray:
    """(256, 3) uint8: exposure, white balance, gamma, contrast and a bent curve for each channel."""
    x = np.linspace(0, 1, 256)[:, None]
    gain = np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.10, 3))
    linear = np.clip(x**2.2 * gain, 0, None)
    y = np.clip(linear / (1 + linear * rng.uniform(0, 0.3)), 0, 1) ** (1 / 2.2)
    y = y ** np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.05, 3))
    contrast, pivot = np.exp(rng.normal(0, 0.25)), rng.uniform(0.35, 0.65)
    y = (y - pivot) * contrast + pivot
    # A smooth bend with fixed ends: what camera makers do to colours.
    bend = rng.normal(0, 0.04, (2, 3))
    y = y + bend[0] * np.sin(np.pi * y) + bend[1] * np.sin(2 * np.pi * y)
    y = y + abs(rng.normal(0, 0.04)) * (1 - y) * (rng.random() < 0.4)  # veil of haze or flare
    return np.rint(np.clip(y, 0, 1) * 255).astype(np.uint8)


def _colour_matrix(rng: np.random.Generator) -> np.ndarray:
    """(3, 3): saturation from grey to strong, and a little crosstalk of the channels."""
    grey = np.tile([[0.299, 0.587, 0.114]], (3, 1))
    draw = rng.random()
    saturation = 0.0 if draw < 0.08 else float(np.exp(rng.normal(-0.1, 0.35)))
    crosstalk = rng.normal(0, 0.05, (3, 3))
    crosstalk -= crosstalk.mean(1, keepdims=True)
    return grey + saturation * (np.eye(3) - grey) + crosstalk * (saturation > 0)


def photograph(rgb: np.ndarray, other: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Make a render look as if some camera had taken it: light, colour, blur, small files, noise, dirt.

    `other` is another picture that is laid over weakly now and then (reflections, pattern without shape).
    """
    height, width = rgb.shape[:2]
    x = rgb
    if other is not None and rng.random() < 0.12:
        over = cv2.resize(other, (width, height), interpolation=cv2.INTER_LINEAR)
        share = rng.uniform(0.05, 0.25)
        x = cv2.addWeighted(x, 1 - share, over, share, 0)
    if rng.random() < 0.35:  # uneven light
        field_ = np.exp(rng.normal(0, 0.22, tuple(rng.integers(2, 5, 2)))).astype(np.float32)
        light = cv2.resize(field_, (width, height), interpolation=cv2.INTER_CUBIC)
        x = cv2.multiply(x, cv2.merge([light] * 3), dtype=cv2.CV_8U)
    if rng.random() < 0.9:
        x = cv2.transform(x, _colour_matrix(rng))
        table = _tone_table(rng)
        x = cv2.LUT(x, table[None])
    draw = rng.random()
    if draw < 0.25:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.6))
    elif draw < 0.40:  # small and up again
        part = rng.uniform(0.35, 0.8)
        small = cv2.resize(x, (max(8, int(width * part)), max(8, int(height * part))), interpolation=cv2.INTER_AREA)
        x = cv2.resize(small, (width, height), interpolation=int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC])))
    elif draw < 0.48:  # a moving hand
        length = int(rng.integers(2, 6)) * 2 + 1
        kernel = np.zeros((length, length), np.float32)
        angle = rng.uniform(0, math.pi)
        for at in np.linspace(-1, 1, 4 * length) * (length // 2):
            kernel[round(length // 2 + at * math.sin(angle)), round(length // 2 + at * math.cos(angle))] = 1
        x = cv2.filter2D(x, -1, kernel / kernel.sum())
    elif draw < 0.63:  # sharpened by the camera
        x = cv2.addWeighted(x, 1 + (amount := rng.uniform(0.3, 1.2)), cv2.GaussianBlur(x, (0, 0), 1.2), -amount, 0)
    if rng.random() < 0.5:
        sigma = float(np.exp(rng.normal(1.5, 0.6)))
        coarse = rng.random() < 0.3
        shape = (height // 2, width // 2, 3) if coarse else (height, width, 3)
        noise = rng.standard_normal(shape, np.float32)
        if rng.random() < 0.3:
            noise = np.repeat(noise[..., :1], 3, 2)
        if coarse:
            noise = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR) * 1.6
        x = cv2.addWeighted(x.astype(np.float32), 1.0, noise, min(sigma, 25.0), 0)
        x = np.clip(x, 0, 255).astype(np.uint8)
    if rng.random() < 0.12:  # something covers a part: the shape behind is to be guessed from the rest
        for _ in range(int(rng.integers(1, 4))):
            h, w = int(height * rng.uniform(0.05, 0.2)), int(width * rng.uniform(0.05, 0.2))
            top, left = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
            x = x.copy()
            x[top : top + h, left : left + w] = rng.integers(0, 256, 3)
    if rng.random() < 0.06:  # the frame of a scan, or of a picture set straight
        x = x.copy()
        edge, tone = rng.integers(0, 9, 4), int(rng.choice([0, 255, int(rng.integers(0, 256))]))
        x[: edge[0]] = x[height - edge[1] :] = x[:, : edge[2]] = x[:, width - edge[3] :] = tone
    if rng.random() < 0.4:
        quality = int(rng.integers(25, 90))
        done, packed = cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if done:
            x = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(x)


def draw_sample(shards: Shards, size: tuple[int, int], seed: tuple[int, int, int]) -> Sample:
    """Draw one training picture; the same seed and shards give the same picture."""
    rng = np.random.default_rng(seed)
    rgb, inverse, about = shards.raw(int(rng.integers(len(shards))))
    picture, target, factor = cut(rgb, inverse, size, rng)
    other = shards.raw(int(rng.integers(len(shards))))[0] if rng.random() < 0.2 else None
    focal = float(about.get("focal_px") or math.nan) * factor
    log_focal = math.log(focal / max(size)) if focal > 0 else math.nan
    return Sample(photograph(picture, other, rng), target, log_focal, str(about.get("family", "")))


def draw_batch(
    shards: Shards, seed: int, step: int, part: int, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw part number `part` of batch number `step`: `count` pictures of one size.

    Answers pictures (n, h, w, 3) uint8, inverse depth (n, h/2, w/2) float32, log_focal (n,) float32 and pairs of
    places (2, k) int64 for the ranking.
    """
    rng = np.random.default_rng((seed, step))
    size = SIZES[int(rng.integers(len(SIZES)))]
    samples = [draw_sample(shards, size, (seed, step, part * count + number + 1)) for number in range(count)]
    cells = size[0] * size[1] // 4
    return (
        np.stack([sample.rgb for sample in samples]),
        np.stack([sample.inverse_depth for sample in samples]),
        np.array([sample.log_focal for sample in samples], np.float32),
        np.random.default_rng((seed, step, 0)).integers(0, cells, (2, 3000)),
    )
