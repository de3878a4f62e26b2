"""Depth from one photo: contracts, edges, tiles, windows, sky, on networks whose answer is known."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

import networks as fake
from rilievo.errors import InputError
from rilievo.networks import Network, open_network
from rilievo.stages.monocular import MonocularConfig, map_size, photo_depth
from rilievo.stages.monocular_contracts import check_contract, recover_focal
from rilievo.stages.monocular_edges import enlarge
from rilievo.stages.monocular_merge import fit_line

PLAIN = MonocularConfig(mirror=False, find_sky=False)


@pytest.fixture(scope="module")
def small() -> Network:
    return open_network(fake.depth_small(), engine="cpu", threads=1)


def scene(height: int = 480, width: int = 640, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A photo whose red channel is its disparity (uint8), objects in other colours, and that disparity."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    disparity = 40 + 50 * y + 10 * x
    color = np.stack([np.zeros_like(x), 90 + 30 * y, 140 - 20 * x], -1)
    for _ in range(14):
        c = rng.uniform([0, 0], [width, height])
        angle = np.sort(rng.uniform(0, 2 * np.pi, 6))
        radius = rng.uniform(0.06, 0.17) * height
        shape = (c + radius * np.stack([np.cos(angle), np.sin(angle)], -1)).astype(np.int32)
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [shape], 1)
        inside = mask > 0
        disparity[inside] = rng.uniform(110, 230) + 30 * (x[inside] - 0.5)
        color[inside, 1:] = rng.uniform(20, 235, 2)
    color[..., 0] = disparity
    return np.clip(np.rint(color), 0, 255).astype(np.uint8), np.rint(disparity) / 255


def test_a_plain_photo_gives_its_disparity(small: Network) -> None:
    pixels, truth = scene()
    depth = photo_depth(pixels, name="a.jpg", model="depth-small", network=small, focal_px=500.0, config=PLAIN)
    assert depth.disparity.shape == (480, 640) and depth.scale == "relative" and depth.focal_source == "exif"
    assert depth.camera.fx == pytest.approx(500) and depth.camera.cx == 320
    assert np.median(np.abs(depth.disparity - truth)) < 0.01
    assert np.isfinite(depth.sigma).all() and (depth.confidence > 0).all() and not depth.sky.any()


def test_mirroring_is_undone(small: Network) -> None:
    pixels, _ = scene()
    one, two = (
        photo_depth(
            pixels, name="a", model="depth-small", network=small, config=MonocularConfig(mirror=m, find_sky=False)
        )
        for m in (False, True)
    )
    assert np.abs(one.disparity - two.disparity).mean() < 2e-3
    assert two.camera.fx == pytest.approx(one.camera.fx, rel=1e-4)


def test_steps_follow_the_photo_and_hold_no_values_in_between() -> None:
    pixels, truth = scene(768, 1024, seed=3)
    h, w = 288, 384
    smeared = cv2.blur(cv2.resize(truth.astype(np.float32), (w, h), interpolation=cv2.INTER_AREA), (3, 3))
    spread = float(np.mean(np.abs(smeared - np.median(smeared))))
    sharp, band = enlarge(smeared, pixels, spread=spread, threshold=0.08)
    linear = cv2.resize(smeared, (1024, 768), interpolation=cv2.INTER_LINEAR)
    mixed = [mixed_share(a, truth) for a in (linear, sharp)]
    assert 0.02 < band.mean() < 0.5
    assert mixed[1] < 0.15 * mixed[0], mixed
    assert np.abs(sharp - truth).mean() < 0.4 * np.abs(linear - truth).mean()


def mixed_share(found: np.ndarray, truth: np.ndarray, reach: int = 9) -> float:
    """Share of the pixels near a step whose value lies between its two sides."""
    kernel = np.ones((reach, reach), np.uint8)
    t = truth.astype(np.float32)
    high, low = cv2.dilate(t, kernel), cv2.erode(t, kernel)
    near = high - low > 0.1
    to_nearest = np.minimum(np.abs(found - high), np.abs(found - low))
    return float((to_nearest[near] > 0.2 * (high - low)[near]).mean())


def test_map_sizes() -> None:
    assert map_size(3000, 4000, 1024) == (768, 1024)
    assert map_size(3000, 4000, 0) == (3000, 4000)
    assert map_size(100, 200, 1024) == (100, 200)
    h, w = map_size(5000, 50000, 1024)
    assert w / h == pytest.approx(10, rel=0.01) and h * w <= 1024 * 512 * 1.01


def test_too_small_a_photo_says_so(small: Network) -> None:
    with pytest.raises(InputError) as caught:
        photo_depth(np.zeros((8, 8, 3), np.uint8), name="dot.png", model="depth-small", network=small)
    assert str(caught.value) == (
        "error: dot.png is too small to see depth in\n"
        "why:   it has 8 x 8 pixels, at least 32 x 32 are needed\n"
        "hint:  Give the original photo, not a thumbnail."
    )


def test_a_panorama_is_seen_in_windows_of_one_scale() -> None:
    network = open_network(fake.depth_small(drift=0.5), engine="cpu", threads=1)
    pixels, truth = scene(240, 1700, seed=5)
    depth = photo_depth(pixels, name="pan", model="depth-small", network=network, focal_px=900.0, config=PLAIN)
    t = cv2.resize(truth.astype(np.float32), depth.disparity.shape[::-1], interpolation=cv2.INTER_AREA)
    a, b = fit_line(depth.disparity, t)
    assert np.median(np.abs(a * depth.disparity + b - t)) < 0.02


def test_tiles_add_detail_without_seams() -> None:
    """Bumps finer than the whole photo's look can tell; each piece comes with a scale and a shift of its own."""
    network = open_network(fake.depth_small(drift=0.5, smear=7), engine="cpu", threads=1)
    y, x = np.mgrid[:720, :960] / 960
    bumps = 6 * np.sin(2 * np.pi * 40 * x) * np.sin(2 * np.pi * 40 * y)
    truth = 80 + 60 * y + 30 * x
    pixels = np.stack([truth + bumps, 40 + 150 * x, 200 - 180 * y], -1).round().astype(np.uint8)
    found = []
    for tiles in (False, True):
        config = MonocularConfig(mirror=False, find_sky=False, max_size=960, network_side=288, tiles=tiles)
        found.append(
            photo_depth(pixels, name="a", model="depth-small", network=network, focal_px=900.0, config=config).disparity
        )
    error, inner = [], np.s_[20:-20, 20:-20]
    for d in found:
        a, b = fit_line(d, truth + bumps)
        error.append((a * d + b - truth - bumps)[inner] / 6)
    assert error[0].std() > 0.4 and error[1].std() < 0.2
    # A seam would stand out of the error as a line along which it jumps.
    jump_x = np.abs(np.diff(error[1], axis=1).mean(0))
    jump_y = np.abs(np.diff(error[1], axis=0).mean(1))
    assert max(jump_x.max(), jump_y.max()) < 0.02


def test_depth_anything_is_normalised_and_divisible_by_14() -> None:
    network = open_network(fake.depth_anything(), engine="cpu", threads=1)
    pixels, truth = scene()
    depth = photo_depth(
        pixels, name="a", model="depth-anything-v2-small", network=network, focal_px=500.0, config=PLAIN
    )
    assert np.median(np.abs(depth.disparity - truth)) < 0.01 and depth.scale == "relative"
    assert np.isfinite(depth.sigma).all()


@pytest.mark.parametrize("shape", [(480, 640), (640, 480)])
def test_metric3d_undoes_its_canonical_camera(shape: tuple[int, int]) -> None:
    network = open_network(fake.metric3d(), engine="cpu", threads=1)
    pixels = np.full((*shape, 3), 128, np.uint8)
    depth = photo_depth(pixels, name="a", model="metric3d-v2-small", network=network, focal_px=520.0, config=PLAIN)
    shrunk = min(616 / min(shape), 1064 / max(shape))
    expected = 10 * 128 / 255 * 520 * shrunk / 1000
    assert depth.scale == "metric"
    assert np.median(1 / depth.disparity) == pytest.approx(expected, rel=5e-3)
    unknown = photo_depth(pixels, name="a", model="metric3d-v2-small", network=network, config=PLAIN)
    assert unknown.scale == "similar" and unknown.focal_source == "assumed"


def test_moge_finds_shift_and_focal_length() -> None:
    network = open_network(fake.moge(shift=0.4, metric_scale=2.0, focal=0.9), engine="cpu", threads=1)
    pixels, truth = scene()
    pixels[..., 1] = np.maximum(pixels[..., 1], 200)
    pixels[:60, :, 1] = 0
    found = photo_depth(pixels, name="a", model="moge-2-vits-normal", network=network, config=PLAIN)
    assert found.scale == "metric" and found.focal_source == "network"
    assert found.camera.fx == pytest.approx(0.9 * 640, rel=0.02)
    assert np.isnan(found.disparity[:40]).all() and np.isnan(found.sigma[:40]).all()
    assert np.median(np.abs(1 / found.disparity[100:] - 2 * (1 + truth[100:]))) < 0.05
    known = photo_depth(pixels, name="a", model="moge-2-vits-normal", network=network, focal_px=0.9 * 640, config=PLAIN)
    assert np.nanmedian(np.abs(known.disparity / found.disparity - 1)) < 0.02


def test_focal_recovery_says_when_there_is_nothing() -> None:
    with pytest.raises(InputError, match="saw nothing"):
        recover_focal(np.zeros((3, 3)), np.zeros((3, 2)), None)


def test_a_file_of_another_model_is_told_apart(small: Network) -> None:
    other = open_network(fake.depth_anything(), engine="cpu", threads=1)
    with pytest.raises(InputError) as caught:
        check_contract(other, "depth-small")
    text = str(caught.value)
    assert (
        "expected an input 'image' of shape (1, 3, H, W)" in text and "found inputs 'pixel_values' (n, 3, h, w)" in text
    )
    with pytest.raises(InputError, match="not a network that sees depth"):
        check_contract(small, "xfeat")


def test_damaged_files_are_no_networks(tmp_path) -> None:
    good = fake.depth_small()
    for data in (b"rubbish", good[: len(good) // 2], b""):
        path = tmp_path / "damaged.onnx"
        path.write_bytes(data)
        with pytest.raises(InputError, match="cannot be opened as a network"):
            open_network(path, engine="cpu", threads=1)


def test_same_bytes_for_any_number_of_threads() -> None:
    pixels, _ = scene()
    maps = [
        photo_depth(
            pixels,
            name="a",
            model="depth-small",
            network=open_network(fake.depth_small(), engine="cpu", threads=n),
            config=MonocularConfig(),
        ).disparity.tobytes()
        for n in (1, 2, 5)
    ]
    assert maps[0] == maps[1] == maps[2]


def test_sky_is_infinitely_far(small: Network) -> None:
    pixels, _ = scene(seed=1)
    pixels[:150] = (0, 150, 220)
    depth = photo_depth(pixels, name="a", model="depth-small", network=small)
    assert depth.sky[:140].mean() > 0.98 and depth.sky[160:].mean() < 0.01
    assert (depth.disparity[depth.sky] == 0).all()


def test_what_stands_before_the_sky_is_not_farther_along_its_rim() -> None:
    network = open_network(fake.depth_small(smear=5), engine="cpu", threads=1)
    pixels = np.empty((480, 640, 3), np.uint8)
    pixels[:] = (0, 150, 220)
    pixels[200:] = (120, 90, 60)  # a wall of one depth
    depth = photo_depth(pixels, name="a", model="depth-small", network=network, focal_px=500.0)
    assert depth.sky[:198].all() and not depth.sky[203:].any()
    wall = depth.disparity[~depth.sky]
    assert np.quantile(wall, 0.002) > 0.98 * 120 / 255


def test_fit_line_stands_a_third_of_outliers() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, 3000)
    y = 2.5 * x + 0.3 + rng.normal(0, 0.003, 3000)
    y[:900] += rng.uniform(0.2, 1, 900)
    a, b = fit_line(x, y)
    assert a == pytest.approx(2.5, abs=0.02) and b == pytest.approx(0.3, abs=0.01)
    a, _ = fit_line(x, -x)
    assert a > 0 and math.isfinite(a)


def test_a_network_of_the_real_size_runs_and_noise_is_no_reason_to_fail() -> None:
    network = open_network(fake.depth_anything_costs(layers=4, width=128), engine="cpu", threads=2)
    pixels, _ = scene(200, 260)
    depth = photo_depth(
        pixels, name="a", model="depth-anything-v2-small", network=network, config=MonocularConfig(network_side=140)
    )
    assert depth.disparity.shape == (200, 260) and np.isfinite(depth.disparity).all()


def test_sky_without_a_networks_opinion() -> None:
    """Depth Anything says nothing of sky: what is farthest, smooth, sky-coloured and above is sky."""
    network = open_network(fake.depth_anything(), engine="cpu", threads=1)
    pixels, _ = scene(seed=1)
    pixels[:150] = (0, 150, 220)
    depth = photo_depth(pixels, name="a", model="depth-anything-v2-small", network=network)
    assert depth.sky[:140].mean() > 0.98 and depth.sky[160:].mean() < 0.01
    rng = np.random.default_rng(0)
    pixels[:150, :, 1:] = rng.integers(0, 255, (150, 640, 2))  # as far, but leaves or gravel
    assert photo_depth(pixels, name="a", model="depth-anything-v2-small", network=network).sky.mean() < 0.01


def test_a_very_long_photo_has_no_gaps_and_a_thread_is_refused(small: Network) -> None:
    pixels = np.zeros((100, 2000, 3), np.uint8)
    pixels[..., 0] = np.linspace(60, 200, 2000)
    depth = photo_depth(pixels, name="a", model="depth-small", network=small, config=PLAIN)
    h, w = depth.disparity.shape
    assert w / h == pytest.approx(20, rel=0.02) and np.isfinite(depth.disparity).all()
    truth = cv2.resize(pixels[..., 0], (w, h)) / 255
    a, b = fit_line(depth.disparity, truth)
    assert a > 0 and np.abs(a * depth.disparity + b - truth).max() < 0.05
    with pytest.raises(InputError) as caught:
        photo_depth(np.zeros((64, 20000, 3), np.uint8), name="scan.tif", model="depth-small", network=small)
    assert "it has 20000 x 64 pixels, 312 times as many one way as the other" in str(caught.value)


def test_no_gpu_says_so() -> None:
    from rilievo.errors import MissingError
    from rilievo.networks import gpu_providers

    if gpu_providers():
        pytest.skip("this machine has one")
    with pytest.raises(MissingError, match="no GPU can be used"):
        open_network(fake.depth_small(), engine="gpu")
    assert open_network(fake.depth_small(), engine="auto").engine == "CPUExecutionProvider"


def test_wrong_pixels_are_a_mistake_of_the_caller(small: Network) -> None:
    with pytest.raises(TypeError):
        photo_depth(np.zeros((64, 64, 3), np.float32), name="a", model="depth-small", network=small)
