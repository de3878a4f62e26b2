"""Stages of `prepare` against known truth: noise, JPEG, blur, sharpening, colour, enlarging."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from prepare_scenes import jpeg, noisy, photo
from rilievo.evaluate.images import psnr, ssim
from rilievo.io.blur import measure_blur
from rilievo.io.photo_copies import jpeg_tables
from rilievo.stages import blur_shapes, color_match, deblur, noise, restore, sharpen, upscale, upscale_frames
from rilievo.stages.tiles import cut, map_tiles, narrowed, widened
from rilievo.types import Features, Matches

NARROW = np.s_[24:-24, 24:-24]


def decoded(data: bytes) -> np.ndarray:
    return np.ascontiguousarray(cv2.imdecode(np.frombuffer(data, np.uint8), 1)[..., ::-1])


def blurred(pixels: np.ndarray, kernel: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    return noisy(cv2.filter2D(pixels.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT), sigma)


def test_tiles_put_a_picture_together_again_whatever_their_size_and_number_of_threads():
    picture = widened(photo(size=(150, 101)))
    soften = lambda t: cv2.GaussianBlur(t, (0, 0), 1.5)  # noqa: E731
    whole = map_tiles(picture, soften, halo=16, tile=512)
    for tile, threads in ((64, 1), (37, 3)):
        again = map_tiles(picture, soften, halo=16, tile=tile, threads=threads)
        assert np.abs(again.astype(int) - whole).max() <= 1
    assert np.array_equal(cut(picture, -5, -3, 20, 30)[5:, 3:], picture[:20, :30])
    tiny = cut(picture[:1, :1], -4, -4, 5, 5)
    assert tiny.shape == (9, 9, 3)


@pytest.mark.parametrize("sigma", [2.0, 6.0])
def test_noise_is_measured_and_removed(sigma):
    clean = photo(1)
    given = noisy(clean, sigma)
    found = noise.measure_noise(given)
    assert found.sigma == pytest.approx(sigma, rel=0.15)
    assert found.sigma_color == pytest.approx(sigma, rel=0.15)
    out = narrowed(noise.denoise(widened(given), found))
    assert psnr(out, clean) > psnr(given, clean) + 4
    assert noise.measure_noise(clean).sigma < noise.MIN_SIGMA


@pytest.mark.parametrize("quality", [30, 60, 85])
def test_jpeg_is_restored_and_never_made_worse(quality):
    for seed in (2, 3):
        clean = photo(seed)
        data = jpeg(clean, quality)
        tables = jpeg_tables(data)
        assert restore.jpeg_quality(tables) == pytest.approx(quality, abs=1.5)
        given = decoded(data)
        out = narrowed(restore.restore_jpeg(widened(given), tables))
        assert psnr(out, clean) > psnr(given, clean) + 0.2
        assert ssim(out, clean) > ssim(given, clean)
    assert restore.blockiness(decoded(jpeg(photo(2), 20))) > 1.2 > 1.15 > restore.blockiness(photo(2))
    assert jpeg_tables(b"\x89PNG") == []


@pytest.mark.parametrize(("length", "angle", "gain"), [(4.0, 20.0, 1.5), (8.0, 120.0, 3.0)])
def test_motion_is_found_and_taken_out(length, angle, gain):
    clean = photo(4, (560, 420))
    given = blurred(clean, blur_shapes.line_kernel(length, angle))
    found = deblur.estimate_blur(widened(given), measure_blur(given))
    assert found.usable, found.note
    assert found.length_px == pytest.approx(length, rel=0.2)
    assert abs((found.angle_deg - angle + 90) % 180 - 90) < 16
    out = narrowed(deblur.deconvolve(widened(given), found))
    assert psnr(out[NARROW], clean[NARROW]) > psnr(given[NARROW], clean[NARROW]) + gain
    assert found.kernel.sum() == pytest.approx(1, abs=1e-4)
    assert "motion of" in found.note


def test_deblurring_refuses_what_it_cannot_help():
    sharp = photo(5)
    left = deblur.estimate_blur(widened(sharp), measure_blur(sharp))
    assert not left.usable
    assert "nothing to undo" in left.note
    empty = np.full((200, 200, 3), 120, np.uint8)
    assert "no edges" in deblur.estimate_blur(widened(empty), float("nan")).note
    # Two halves that moved differently: no single kernel is right.
    clean = photo(6, (560, 420))
    given = blurred(clean, blur_shapes.line_kernel(9, 0))
    given[:, 280:] = blurred(clean, blur_shapes.line_kernel(9, 90))[:, 280:]
    assert not deblur.estimate_blur(widened(given), measure_blur(given)).usable


def test_kernels_have_the_shape_they_say():
    along, across, angle = blur_shapes.shape_of(blur_shapes.line_kernel(8, 30))
    assert along * np.sqrt(12) == pytest.approx(8, rel=0.06)
    assert across < 0.5
    assert angle == pytest.approx(30, abs=2)
    along, across, _ = blur_shapes.shape_of(blur_shapes.disc_kernel(3))
    assert 4 * along == pytest.approx(6, rel=0.05)
    assert along == pytest.approx(across, rel=1e-3)
    assert blur_shapes.likeness(blur_shapes.line_kernel(8, 0), blur_shapes.line_kernel(8, 90)) < 0.6


def test_sharpening_steepens_edges_and_leaves_no_halo():
    clean = photo(7)
    given = np.clip(np.rint(cv2.GaussianBlur(clean.astype(np.float32), (0, 0), 1.0)), 0, 255).astype(np.uint8)
    blur = measure_blur(given)
    out = narrowed(sharpen.sharpen(widened(given), blur, 0.3))
    assert measure_blur(out) < 0.8 * blur
    assert psnr(out, clean) > psnr(given, clean) + 0.5
    step = np.full((80, 80, 3), 60, np.uint8)
    step[:, 40:] = 180
    soft = np.clip(np.rint(cv2.GaussianBlur(step.astype(np.float32), (0, 0), 1.5)), 0, 255).astype(np.uint8)
    crisp = narrowed(sharpen.sharpen(widened(soft), 1.5, 0.0))
    assert crisp.min() >= 60
    assert crisp.max() <= 180
    steepest = [int(np.diff(a[40, :, 1].astype(int)).max()) for a in (soft, crisp)]
    assert steepest[1] > 1.3 * steepest[0]
    # Flat noise is not sharpened.
    flat = noisy(np.full((100, 100, 3), 128, np.uint8), 3)
    calm = narrowed(sharpen.sharpen(widened(flat), 1.0, 3.0))
    assert calm.std() < 1.2 * flat.std()


def features(colors: np.ndarray) -> Features:
    n = len(colors)
    zeros = np.zeros(n, np.float32)
    return Features("sift", np.zeros((n, 2), np.float32), zeros, zeros, zeros, np.zeros((n, 128), np.uint8), colors)


def test_exposures_and_colours_of_a_set_come_together():
    rng = np.random.default_rng(0)
    light = color_match.linear(rng.uniform(0.2, 0.75, (200, 3)))
    true = {"a": np.array([1.0, 1.0, 1.0]), "b": np.array([0.6, 0.7, 0.9]), "c": np.array([1.3, 1.2, 1.1])}
    seen = {
        n: features(np.clip(np.rint(color_match.shown(light * g) * 255), 0, 255).astype(np.uint8))
        for n, g in true.items()
    }
    rows = np.repeat(np.arange(200, dtype=np.int32)[:, None], 2, 1)
    rows[:20, 1] = rows[19::-1, 1]  # a tenth of the matches is wrong
    one = np.array([200], np.int32)
    matches = [
        Matches("sift", "b", ("a",), np.array([0, 200]), rows, one, one),
        Matches("sift", "c", ("b",), np.array([0, 200]), rows, one, one),
    ]
    gains = color_match.solve_gains(["a", "b", "c", "alone"], seen | {"alone": seen["a"]}, matches)
    assert set(gains) == {"a", "b", "c"}
    together = np.array([gains[n] * true[n] for n in "abc"])
    assert np.ptp(together, axis=0).max() < 0.02 * together.mean()


def test_gains_keep_white_white_and_clip_nothing_hard():
    ramp = np.linspace(0, 65535, 4096).astype(np.uint16)[None, :, None].repeat(3, 2)
    dark = color_match.apply_gains(ramp, np.array([0.5, 0.6, 0.7]))
    assert dark[0, -1].tolist() == [65535] * 3
    bright = color_match.apply_gains(ramp, np.array([2.0, 1.5, 1.2]))
    for out in (dark, bright):
        assert (np.diff(out[0].astype(int), axis=0) >= 0).all()
    assert (bright[0, :4000] < 65535).all()


def test_a_cast_is_told_and_bounded():
    grey = photo(8)
    warm = np.clip(color_match.shown(color_match.linear(grey / 255) * [1.2, 1.0, 0.8]) * 255, 0, 255).astype(np.uint8)
    ratio = color_match.common_cast([warm]) / color_match.common_cast([grey])
    assert ratio == pytest.approx([1 / 1.2, 1.0, 1 / 0.8], rel=0.04)
    assert color_match.common_cast([np.full((64, 64, 3), (200, 40, 40), np.uint8)]).max() <= 1.5


def test_enlarging_beats_bicubic_on_clean_photos_and_shrinks_back():
    clean = photo(9)
    small = cv2.resize(clean, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    plain = upscale.upscale(widened(small), 2, kind="bicubic", back_project=False)
    out = upscale.upscale(widened(small), 2, threads=2)
    assert psnr(narrowed(out), clean) > psnr(narrowed(plain), clean) + 0.2
    assert ssim(narrowed(out), clean) > ssim(narrowed(plain), clean)
    again = cv2.resize(out, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)
    assert np.abs(narrowed(again).astype(int) - small).mean() < 0.3
    assert upscale.upscale(widened(small[:40, :33]), 6).shape == (240, 198, 3)
    assert upscale.upscale(widened(small[:40, :33]), 2.5).shape == (100, 82, 3)


def test_overlapping_photos_add_detail_and_strangers_none():
    clean = photo(10, (512, 384))
    rng = np.random.default_rng(0)
    frames = []
    for k in range(4):
        turn = cv2.getRotationMatrix2D((256, 192), 1.2 * k, 1.0)
        turn[:, 2] += rng.uniform(-4, 4, 2) * (k > 0)
        moved = cv2.warpAffine(clean, turn, (512, 384), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
        frames.append(widened(noisy(cv2.resize(moved, (256, 192), interpolation=cv2.INTER_AREA), 1.5, k)))
    found = upscale_frames.fuse_frames(frames[0], frames[1:], 2)
    assert found is not None
    assert found.num_used == 3
    plain = narrowed(upscale.upscale(frames[0], 2, kind="bicubic", back_project=False))
    assert psnr(narrowed(found.pixels)[NARROW], clean[NARROW]) > psnr(plain[NARROW], clean[NARROW]) + 1
    stranger = widened(cv2.resize(photo(11, (512, 384)), (256, 192)))
    assert upscale_frames.fuse_frames(frames[0], [stranger], 2) is None


def test_what_a_network_changed_is_marked():
    plain = widened(photo(12))
    changed = plain.copy()
    changed[10:20, 30:50] += 2000
    marked = upscale.departs(changed, plain)
    assert (marked > 0).sum() == 200
    assert marked[15, 40] == 255
