"""How good single photos are for measuring, from pixels alone: blur, light, noise, JPEG, texture, shine, shadow."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rilievo.stages.photo_blur import TILE, Blur, blur_of
from rilievo.stages.photo_light import shadow_share, sky_map, specular_share

# Longer side of the copy that shares are counted on, px (about 2 Mpx), and of the one for shadows and highlights.
_COPY, _SMALL = 1750, 640
# Full-size crops that blur, noise and blocks are measured on: the best-textured of each cell of this grid.
_CELLS = 4
# Blur up to which no detail is lost: a Gaussian of sigma s passes waves up to 1 / (2 pi s) (at 60 %), a photo in focus
# up to 1 / 3.8 px, the most that a sensor with a filter of colours resolves.
_SHARP_PX = 0.6
# Blur (sigma) that such a crop still tells, px.
_WIDEST_PX = 5.4


@dataclass(frozen=True)
class QualityConfig:
    """Settings of `measure_photo`."""

    version: ClassVar[int] = 1

    dark_level: int = 12
    """brightness (0 to 255) from which down a pixel counts as black"""
    clipped_level: int = 253
    """a channel at this level or above has run over"""
    flat_contrast: float = 2.0
    """standard deviation in grey levels below which a patch of 16 px of the 2 Mpx copy has no texture to match"""


@dataclass(frozen=True)
class PhotoQuality:
    """Measures of one photo. Shares are of the picture's area, 0 to 1; NaN where nothing tells.

    megapixels: of the file.  detail_megapixels: what blur leaves of them: a sharp photo of that detail has these.
    sigma_px, defocus_px, motion_px, motion_deg, smear: see `photo_blur.Blur`.
    brightness: median, 0 to 255.  dark_share: black.  clipped_share: pixels with a channel that ran over, the
    sky left out.
    ev: log2 of mean linear light against 0.18 (a scene of average reflectance under a correct exposure: 0).
    noise: sigma in grey levels at full size.
    blocks: height of the steps at borders of JPEG's 8 px blocks, grey levels.  jpeg_quality: 1 to 100, of the file.
    textureless_share: nothing to match.  specular_share: small highlights.  shadow_share: behind hard edges of shadow.
    crop: (x, y) of the full-size crop of 256 px that shows its sharpness best.
    """

    width: int
    height: int
    megapixels: float
    detail_megapixels: float
    sigma_px: float
    defocus_px: float
    motion_px: float
    motion_deg: float
    smear: float
    brightness: float
    ev: float
    dark_share: float
    clipped_share: float
    noise: float
    blocks: float
    jpeg_quality: float
    textureless_share: float
    specular_share: float
    shadow_share: float
    crop: tuple[int, int]


def measure_photo(
    pixels: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    jpeg_quality: float = math.nan,
    config: QualityConfig = QualityConfig(),
) -> PhotoQuality:
    """All measures of one photo. pixels: uint8 (h, w, 3) RGB at full resolution, at least 32 x 32. mask: bool (h, w),
    True where shares are counted. jpeg_quality: of the file's tables, where it has some.

    Light, texture, shadows and highlights are counted on a copy of about 2 Mpx, blur, noise and blocks on 16 crops of
    256 px at full size. Raises TypeError for other pixels.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise TypeError(f"pixels must be uint8 (h, w, 3), got {pixels.dtype} {pixels.shape}")
    import cv2

    height, width = pixels.shape[:2]
    copy = _shrunk(pixels, _COPY)
    grey = _grey(copy)
    tiles, corners = _best_tiles(pixels, grey)
    noise = _noise(tiles)
    blur = _blur(pixels, tiles, noise)
    where = None if mask is None else _mask_of(mask, grey.shape)
    peak = cv2.max(cv2.max(copy[..., 0], copy[..., 1]), copy[..., 2])
    peaks, levels = (_histogram(a if where is None else a[where]) for a in (peak, grey))
    small = _shrunk(copy, _SMALL)
    sky = 0.0 if where is not None else float(sky_map(small, config.clipped_level).mean())
    inside = 1.0 if where is None else max(float(where.mean()), 1e-6)
    mpx = width * height / 1e6
    lost = 1.0 if math.isnan(blur.sigma_px) else max(1.0, blur.sigma_px / _SHARP_PX)
    return PhotoQuality(
        width=width,
        height=height,
        megapixels=mpx,
        detail_megapixels=mpx / lost**2,
        sigma_px=blur.sigma_px,
        defocus_px=blur.defocus_px,
        motion_px=blur.motion_px,
        motion_deg=blur.motion_deg,
        smear=blur.smear,
        brightness=float(np.searchsorted(np.cumsum(levels), 0.5)),
        ev=float(np.log2(max(float(levels @ _LINEAR), 1e-4) / 0.18)),
        dark_share=float(peaks[: config.dark_level + 1].sum()),
        clipped_share=max(float(peaks[config.clipped_level :].sum()) - sky, 0.0),
        noise=noise,
        blocks=_blocks(tiles, corners),
        jpeg_quality=jpeg_quality,
        textureless_share=_textureless(grey, where, config.flat_contrast, noise),
        specular_share=min(specular_share(small) / inside, 1.0),
        shadow_share=min(shadow_share(small) / inside, 1.0),
        crop=corners[0],
    )


def with_edges(quality: PhotoQuality, edge_px: float | None) -> PhotoQuality:
    """The same with the blur of `io.blur.measure_blur`, where its edges are much wider than the spectrum says: photos
    that were enlarged or saved hard have waves that the camera did not see."""
    if edge_px is None or not edge_px > 1.1 or edge_px < 1.7 * quality.sigma_px:
        return quality
    lost = max(1.0, edge_px / _SHARP_PX)
    return replace(
        quality, sigma_px=float(edge_px), defocus_px=float(edge_px), motion_px=0.0, motion_deg=math.nan,
        detail_megapixels=quality.megapixels / lost**2,
    )  # fmt: skip


# sRGB bytes to linear light
_LINEAR = (np.arange(256) / 255.0) ** 2.2


def _blur(pixels: np.ndarray, tiles: list[np.ndarray], noise: float) -> Blur:
    """Blur from the tiles; where it is too wide for them, or they hold no waves any more, from the picture at half its
    size, and so on."""
    import cv2

    level = 1
    blur = blur_of([t for t in tiles if t.shape == (TILE, TILE)], noise)
    while min(pixels.shape[:2]) >= 2 * TILE and not blur.sigma_px <= _WIDEST_PX:
        pixels = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        tiles = _best_tiles(pixels, _grey(_shrunk(pixels, _COPY)))[0]
        coarser = blur_of([t for t in tiles if t.shape == (TILE, TILE)], noise / (2 * level))
        if math.isnan(coarser.sigma_px):
            break
        blur, level = coarser, 2 * level
    if level == 1 or math.isnan(blur.sigma_px):
        return blur
    return replace(
        blur, sigma_px=level * blur.sigma_px, defocus_px=level * blur.defocus_px, motion_px=level * blur.motion_px
    )


def _mask_of(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray | None:
    """The mask at the size of the copy; None where it hides all."""
    import cv2

    small = cv2.resize(mask.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return small if small.any() else None


def _histogram(grey: np.ndarray) -> np.ndarray:
    """Share of each of the 256 levels."""
    return np.bincount(grey.ravel(), minlength=256) / grey.size


def _grey(pixels: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)


def _shrunk(pixels: np.ndarray, size: int) -> np.ndarray:
    """Area-averaged by a whole factor, which is several times quicker than any other, to at most `size` px."""
    import cv2

    height, width = pixels.shape[:2]
    factor = -(-max(height, width) // size)
    if factor == 1:
        return pixels
    h, w = height // factor, width // factor
    if not h or not w:
        return pixels
    return cv2.resize(pixels[: h * factor, : w * factor], (w, h), interpolation=cv2.INTER_AREA)


def _best_tiles(pixels: np.ndarray, grey: np.ndarray) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
    """Grey full-size crops of up to 256 px, the best-textured of each cell of a grid, best first, and where (x, y) they
    lie. grey: the copy that texture is looked for in."""
    import cv2

    height, width = pixels.shape[:2]
    if height < TILE or width < TILE:
        return [_grey(pixels)], [(0, 0)]
    factor = width / grey.shape[1]
    gradient = cv2.absdiff(grey[:-1, :-1], grey[1:, 1:])
    side = max(4, round(TILE / factor))
    if min(gradient.shape) < side:
        side = min(gradient.shape)
    # texture everywhere in the crop, not one strong edge: small differences count as much as large ones
    mean = cv2.boxFilter(np.minimum(gradient, 24), cv2.CV_32F, (side, side), anchor=(0, 0))
    limit_y, limit_x = gradient.shape[0] - side + 1, gradient.shape[1] - side + 1
    found = []
    for i in range(_CELLS):
        for j in range(_CELLS):
            top, bottom = limit_y * i // _CELLS, limit_y * (i + 1) // _CELLS
            left, right = limit_x * j // _CELLS, limit_x * (j + 1) // _CELLS
            part = mean[top : max(bottom, top + 1), left : max(right, left + 1)]
            r, c = np.unravel_index(int(np.argmax(part)), part.shape)
            x = min(round((left + int(c)) * factor), width - TILE)
            y = min(round((top + int(r)) * factor), height - TILE)
            found.append((-float(part[r, c]), y, x))
    found = sorted(set(found))
    return (
        [_grey(pixels[y : y + TILE, x : x + TILE]) for _, y, x in found],
        [(x, y) for _, y, x in found],
    )


def _noise(tiles: list[np.ndarray]) -> float:
    """Sigma of the noise in grey levels: the smoothest patches of 8 px under a filter that knows no planes (Immerkaer
    1996, eq. 2)."""
    import cv2

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    found = []
    for tile in tiles:
        h, w = tile.shape[0] // 8 * 8, tile.shape[1] // 8 * 8
        if h < 16 or w < 16:
            continue
        high = cv2.filter2D(tile, cv2.CV_32F, kernel)[:h, :w]
        level = cv2.resize(tile[:h, :w], (w // 8, h // 8), interpolation=cv2.INTER_AREA)
        power = cv2.resize(high * high, (w // 8, h // 8), interpolation=cv2.INTER_AREA)
        found.append(power[(level > 8) & (level < 247)])
    power = np.concatenate(found) if found else np.zeros(0)
    if len(power) < 16:
        return 0.0
    # the lowest tenth of means of 64 squares lies at 0.77 of their expectation
    return float(np.sqrt(np.quantile(power, 0.1) / 0.77))


def _blocks(tiles: list[np.ndarray], corners: list[tuple[int, int]]) -> float:
    """Mean height of steps at borders of 8 px blocks beyond those elsewhere, grey levels, along rows and columns."""
    found = []
    for axis in (0, 1):
        total, count = np.zeros(8), np.zeros(8)
        for tile, corner in zip(tiles, corners):
            t = tile.astype(np.int16)
            step = np.abs(np.diff(t, axis=axis)).astype(np.float32)
            # a real edge rises over several pixels: what the neighbouring steps hold does not count
            inner = step.take(range(1, step.shape[axis] - 1), axis)
            around = np.maximum(
                step.take(range(step.shape[axis] - 2), axis), step.take(range(2, step.shape[axis]), axis)
            )
            excess = np.maximum(inner - around, 0) * (around < 6)
            line = excess.mean(1 - axis)
            phase = (np.arange(len(line)) + 2 + corner[1 - axis]) % 8
            total += np.bincount(phase, line, 8)
            count += np.bincount(phase, minlength=8)
        line = total / np.maximum(count, 1)
        found.append(float(line.max() - np.median(line)))
    return max(min(found), 0.0)


def _textureless(grey: np.ndarray, where: np.ndarray | None, contrast: float, noise: float) -> float:
    import cv2

    h, w = grey.shape[0] // 16 * 16, grey.shape[1] // 16 * 16
    if not h or not w:
        return math.nan
    g = grey[:h, :w].astype(np.float32)
    size = (w // 16, h // 16)
    mean = cv2.resize(g, size, interpolation=cv2.INTER_AREA)
    square = cv2.resize(g * g, size, interpolation=cv2.INTER_AREA)
    # noise is texture only where it is much weaker in the copy than at full size: take it off as if it were not
    spread = np.sqrt(np.maximum(square - mean * mean - min(noise, 2.0) ** 2 / 4, 0))
    if where is not None:
        whole = cv2.resize(where[:h, :w].astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.99
        return float((spread[whole] < contrast).mean()) if whole.any() else math.nan
    return float((spread < contrast).mean())
