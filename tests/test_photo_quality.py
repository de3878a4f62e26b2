"""Measures of single photos: known blur is measured and told apart; light, noise, JPEG, texture, shine, shadows."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

import scene_textures as tx
from rilievo.io.blur import measure_blur
from rilievo.io.jpeg_quality import jpeg_quality
from rilievo.stages.photo_blur import blur_of
from rilievo.stages.photo_light import shadow_map, specular_share
from rilievo.stages.photo_quality import measure_photo, with_edges


def _scene(seed: int = 0, size: int = 640) -> np.ndarray:
    """Stones and print, uint8 (size, size, 3): some flat areas, edges, texture."""
    rng = np.random.default_rng(seed)
    stone = tx.stone(rng, 1024, (150, 120, 90))[:1024, :1024]
    paper = cv2.resize(np.asarray(tx.printed(rng, 1024, 1024)), (1024, 1024))
    picture = np.where(np.arange(1024)[None, :, None] < 620, stone, paper).astype(np.float32)
    picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return np.clip(255 * picture ** (1 / 2.2), 0, 255).astype(np.uint8)


def _taken(pixels: np.ndarray, noise: float = 1.0, quality: int = 92, seed: int = 1) -> np.ndarray:
    """With noise, through a JPEG."""
    rng = np.random.default_rng(seed)
    noisy = np.clip(pixels + noise * rng.normal(size=pixels.shape), 0, 255).astype(np.uint8)
    raw = cv2.imencode(".jpg", noisy[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(raw, cv2.IMREAD_COLOR)[..., ::-1])


def _smeared(pixels: np.ndarray, length: int, degrees: float) -> np.ndarray:
    n = 2 * length + 1
    kernel, a = np.zeros((n, n), np.float32), math.radians(degrees)
    for s in np.linspace(-length / 2, length / 2, 40 * length):
        kernel[round(length - s * math.sin(a)), round(length + s * math.cos(a))] += 1
    return cv2.filter2D(pixels, -1, kernel / kernel.sum())


@pytest.mark.parametrize("seed", [0, 1])
def test_a_gaussian_blur_is_measured_within_a_quarter_and_is_no_motion(seed: int) -> None:
    sharp = measure_photo(_taken(_scene(seed)))
    assert sharp.sigma_px < 0.7 and sharp.motion_px == 0
    for sigma in (1.5, 2.5, 4.0):
        q = measure_photo(_taken(cv2.GaussianBlur(_scene(seed), (0, 0), sigma)))
        assert q.defocus_px == pytest.approx(sigma, rel=0.25)
        assert q.motion_px == 0
        assert q.detail_megapixels < 0.3 * q.megapixels


def test_a_blur_that_leaves_nothing_is_still_measured() -> None:
    q = measure_photo(_taken(cv2.GaussianBlur(_scene(size=1200), (0, 0), 14), noise=0.5))
    assert q.sigma_px > 6


def test_an_enlarged_photo_is_not_called_sharp() -> None:
    small = cv2.resize(_scene(size=800), (100, 100), interpolation=cv2.INTER_AREA)
    large = _taken(cv2.resize(small, (800, 800), interpolation=cv2.INTER_CUBIC), noise=0, quality=75)
    q = with_edges(measure_photo(large), measure_blur(large))
    assert q.sigma_px > 2 and q.detail_megapixels < 0.1
    sharp = _taken(_scene())
    assert with_edges(measure_photo(sharp), measure_blur(sharp)) == measure_photo(sharp)


@pytest.mark.parametrize(("length", "degrees"), [(8, 0), (12, 30), (12, 90), (9, 135)])
def test_a_smear_is_measured_with_its_direction(length: int, degrees: float) -> None:
    q = measure_photo(_taken(_smeared(_scene(), length, degrees)))
    assert q.motion_px == pytest.approx(length, rel=0.3)
    assert abs((q.motion_deg - degrees + 90) % 180 - 90) <= 15
    assert q.defocus_px < 1.5


def test_light_is_told() -> None:
    base = _scene().astype(np.float32) / 255
    right = measure_photo(_taken(_scene()))
    dark = measure_photo(_taken((255 * (base**2.2 / 8) ** (1 / 2.2)).astype(np.uint8)))
    light = measure_photo(_taken((255 * np.clip(base**2.2 * 6, 0, 1) ** (1 / 2.2)).astype(np.uint8)))
    assert dark.ev == pytest.approx(right.ev - 3, abs=0.3)
    assert light.clipped_share > 0.2 > right.clipped_share
    assert measure_photo(np.full((300, 300, 3), 3, np.uint8)).dark_share == 1


def test_an_overexposed_sky_is_no_fault() -> None:
    picture = _scene()
    picture[:200] = 255
    assert measure_photo(_taken(picture)).clipped_share < 0.03
    assert measure_photo(_taken(picture[::-1])).clipped_share > 0.25


def test_noise_and_hard_compression_are_told() -> None:
    even = _scene()
    even[:, :300] = 120
    quiet, loud = (measure_photo(_taken(even, noise=s, quality=98)) for s in (0.5, 6.0))
    # grey mixes three channels: 0.67 of their noise
    assert loud.noise == pytest.approx(0.67 * 6, rel=0.35) and quiet.noise < 1
    fine, coarse = (measure_photo(_taken(_scene(), quality=s)) for s in (95, 15))
    assert coarse.blocks > 0.8 > 3 * fine.blocks


def test_texture_is_counted_also_inside_a_mask() -> None:
    picture = _scene(size=512)
    picture[:, :256] = 120
    q = measure_photo(_taken(picture))
    assert q.textureless_share == pytest.approx(0.5, abs=0.08)
    mask = np.zeros((512, 512), bool)
    mask[:, 256:] = True
    assert measure_photo(_taken(picture), mask=mask).textureless_share < 0.1


def test_highlights_and_shadows_are_found_and_white_things_are_not() -> None:
    base = np.full((300, 400, 3), (110, 90, 70), np.uint8)
    shiny = base.copy()
    for x in range(40, 380, 60):
        cv2.circle(shiny, (x, 150), 4, (255, 255, 255), -1)
    white = base.copy()
    white[50:150, 50:150] = 255
    assert specular_share(shiny) > 0.002
    assert specular_share(white) == 0
    shaded, painted = base.copy(), base.copy()
    shaded[60:160, 100:250] = np.rint(base[60:160, 100:250] * 0.62)
    painted[60:160, 100:250] = (40, 60, 120)
    assert shadow_map(shaded)[80:140, 120:230].mean() > 0.8
    assert shadow_map(painted).mean() == 0


def test_what_tells_nothing_is_nan_and_other_pixels_are_refused() -> None:
    flat = measure_photo(np.full((400, 400, 3), 128, np.uint8))
    assert math.isnan(flat.sigma_px) and flat.textureless_share == 1
    small = measure_photo(_taken(_scene())[:40, :40].copy())
    assert math.isnan(small.sigma_px) and small.width == 40
    assert math.isnan(blur_of([]).sigma_px)
    with pytest.raises(TypeError, match="uint8"):
        measure_photo(np.zeros((40, 40), np.uint8))


def test_the_quality_of_a_jpeg_is_read_from_its_tables() -> None:
    picture = _scene(size=64)
    for quality in (30, 50, 75, 90):
        raw = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        assert jpeg_quality(raw) == pytest.approx(quality, abs=1)
    for rubbish in (
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xdb\x00\x43\x00",
        b"\x89PNG" * 30,
        b"\xff\xd8\xff\xdb\xff\xff" + bytes(70),
    ):
        jpeg_quality(rubbish)
