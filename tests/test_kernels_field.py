"""The kernels of the radiance field against their twins, against differences, on rubbish, with any threads and
instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from rilievo import kernels

LEVELS = np.array([[4, 0, 125, 0], [7, 125, 512, 0], [16, 637, 256, 1], [33, 893, 512, 1]], np.int32)
EDGES = (0.02 + 0.05 * np.arange(90)).astype(np.float32)
WIDTHS = (16, 32)


def scene(seed: int = 0, num_rays: int = 37, unbounded: bool = False) -> dict[str, object]:
    """Arguments of `field_gradients` without the gradients: a random field and rays that cross it."""
    rng = np.random.default_rng(seed)
    d, c = WIDTHS
    table = rng.normal(0, 1.2, (1405, 4)).astype(np.float32)
    sizes = ((16, d), (d, 16), (32, c), (c, c), (c, 16))
    matrices = [rng.normal(0, np.sqrt(2 / n), (n, m)) for n, m in sizes]
    matrices[1][:, 0] += 0.3  # dense enough to stop some rays
    weights = np.concatenate([m.ravel() for m in matrices]).astype(np.float32)
    occupancy = rng.integers(0, 256, (16, 16, 2), np.uint8)
    occupancy[8:, :8] = 0  # a block of 8 x 8 x 8 cells is empty
    eyes = rng.normal(size=(num_rays, 3))
    eyes *= 2 / np.linalg.norm(eyes, axis=1, keepdims=True)
    at = rng.uniform(-0.7, 0.7, (num_rays, 3))
    directions = (at - eyes) / np.linalg.norm(at - eyes, axis=1, keepdims=True)
    directions[-1] = (0, 0, 1)  # along an axis
    return {
        "levels": LEVELS, "density_width": d, "color_width": c, "table": table, "weights": weights,
        "occupancy": occupancy, "unbounded": unbounded, "edges": EDGES,
        "origins": eyes.astype(np.float32), "directions": directions.astype(np.float32),
        "jitter": rng.random(num_rays).astype(np.float32), "targets": rng.random((num_rays, 3)).astype(np.float32),
        "backgrounds": rng.random((num_rays, 3)).astype(np.float32),
        "ray_weights": rng.integers(0, 3, num_rays).astype(np.float32), "scale": 1 / num_rays, "huber": 0.1,
        "distortion": 0.05, "opacity": 0.02, "min_weight": 0.0,
    }  # fmt: skip


def pick(s: dict[str, object], *names: str) -> list:
    return [s[n] for n in names]


NETWORK = ("levels", "density_width", "color_width", "table", "weights")
MARCH = ("occupancy", "unbounded", "edges", "origins", "directions", "jitter")
LOSS = ("targets", "backgrounds", "ray_weights", "scale", "huber", "distortion", "opacity", "min_weight")


def gradients(s: dict[str, object], backend: str, dtype=np.float32):
    table, weights = (np.zeros(s[n].shape, dtype) for n in ("table", "weights"))
    answer = kernels.get("field_gradients", backend)(*pick(s, *NETWORK, *MARCH, *LOSS), table, weights)
    return *answer, table, weights


def photos(seed: int = 0):
    rng = np.random.default_rng(seed)
    sizes = np.array([[0, 9, 7], [63, 5, 11]], np.int64)
    cameras = np.zeros((2, 16))
    cameras[:, :4] = [[10, 11, 4.5, 3.5], [6, 6, 2, 5]]
    for k in range(2):
        cameras[k, 4:13] = np.linalg.qr(rng.normal(size=(3, 3)))[0].ravel()
    cameras[:, 13:] = rng.normal(size=(2, 3))
    return rng.integers(0, 256, (118, 4), np.uint8), (rng.random(118) < 0.3).astype(np.uint8), sizes, cameras


def test_encoding_and_density_equal_twins():
    s = scene()
    u = np.random.default_rng(1).random((333, 3)).astype(np.float32)
    u[:3] = [[0, 0, 0], [1, 1, 1], [0, 1, 0.5]]
    for name, args in (("field_encode", pick(s, "levels", "table")), ("field_density", pick(s, *NETWORK))):
        native, twin = (kernels.get(name, b)(*args, u) for b in ("native", "reference"))
        np.testing.assert_allclose(native, twin, rtol=2e-5, atol=2e-6)
    assert len(kernels.field_density(*pick(s, *NETWORK), u[:0])) == 0


@pytest.mark.parametrize("unbounded", [False, True])
def test_march_equals_twin(unbounded):
    s = scene(2, 200, unbounded)
    native, twin = (kernels.get("field_march", b)(*pick(s, *MARCH)) for b in ("native", "reference"))
    np.testing.assert_array_equal(native[0], twin[0])
    assert native[0][-1] > 2000
    for a, b in zip(native[1:], twin[1:]):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_march_leaves_out_only_what_is_empty():
    s = scene(3, 100)
    s["occupancy"] = np.full((16, 16, 2), 255, np.uint8)
    offsets, t, _, u = kernels.field_march(*pick(s, *MARCH))
    s["occupancy"] = np.zeros((16, 16, 2), np.uint8)
    assert kernels.field_march(*pick(s, *MARCH))[0][-1] == 0
    p = np.repeat(s["origins"], np.diff(offsets), 0) + t[:, None] * np.repeat(s["directions"], np.diff(offsets), 0)
    np.testing.assert_allclose(u, p / 2 + 0.5, atol=1e-5)


@pytest.mark.parametrize("random_background", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_rays_equal_twin(masked, random_background):
    pixels, usable, sizes, cameras = photos()
    usable = usable if masked else usable[:0]
    args = (pixels, usable, sizes, cameras, 7, 11, 500, random_background, np.array([1, 0.5, 0], np.float32))
    native, twin = (kernels.get("field_rays", b)(*args) for b in ("native", "reference"))
    for a, b in zip(native, twin):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    assert set(native[6]) == {0, 1}
    other = kernels.field_rays(*args[:5], 12, *args[6:])
    assert (other[2] != native[2]).mean() > 0.99
    if masked:
        assert 0 < (native[5] == 0).sum() < 50  # 0.7^16 of the rays found no pixel


@pytest.mark.parametrize("min_weight", [0.0, 0.01])
@pytest.mark.parametrize("unbounded", [False, True])
def test_gradients_equal_twin(unbounded, min_weight):
    s = scene(4, 61, unbounded) | {"min_weight": min_weight}
    native, twin = gradients(s, "native"), gradients(s, "reference")
    np.testing.assert_allclose(native[0], twin[0], rtol=1e-4, atol=1e-7)
    assert native[2] == twin[2] and native[2] < native[1]
    for a, b in zip(native[3:], twin[3:]):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5 * np.abs(b).max())


@pytest.mark.parametrize("name", ["table", "weights"])
def test_gradients_equal_differences(name):
    s = scene(5, 24) | {"huber": 0.3}
    native = gradients(s, "native")[3 if name == "table" else 4].astype(np.float64).ravel()
    double = s | {n: s[n].astype(np.float64) for n in ("table", "weights", "targets", "backgrounds", "ray_weights")}

    def loss(values: np.ndarray) -> float:
        return float(gradients(double | {name: values}, "reference", np.float64)[0].sum())

    rng = np.random.default_rng(6)
    most = np.argsort(-np.abs(native))[:200]
    for k in np.concatenate([rng.choice(most, 12), rng.integers(0, len(native), 4)]):
        ends = []
        for step in (1e-6, -1e-6):
            values = double[name].copy()
            values.reshape(-1)[k] += step
            ends.append(loss(values))
        assert native[k] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=2e-3, abs=2e-4 * np.abs(native).max())


def test_trace_equals_twin_and_gradients_see_the_same_light():
    s = scene(7, 150)
    background = np.array([1, 0.2, 0], np.float32)
    args = (*pick(s, *NETWORK, *MARCH), background, s["min_weight"])
    native, twin = (kernels.get("field_trace", b)(*args) for b in ("native", "reference"))
    np.testing.assert_array_equal(np.isnan(native[1]), np.isnan(twin[1]))
    for a, b in zip(native, twin):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert np.isfinite(native[1]).mean() > 0.2
    s |= {"targets": native[0], "backgrounds": np.tile(background, (150, 1)), "distortion": 0.0, "opacity": 0.0}
    assert gradients(s, "native")[0].max() < 1e-6


def test_adam_equals_twin():
    rng = np.random.default_rng(8)
    start = [rng.normal(size=1003).astype(np.float32) for _ in range(4)]
    start[1][rng.random(1003) < 0.6] = 0
    start[1][100:200] = 0
    start[3] = np.abs(start[3])
    both = [[a.copy() for a in start] for _ in range(2)]
    for arrays, backend in zip(both, ("native", "reference")):
        kernels.get("field_adam", backend)(*arrays, 0.01, 0.9, 0.99, 1e-15)
    for a, b in zip(*both):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    untouched = start[1] == 0
    np.testing.assert_array_equal(both[0][0][untouched], start[0][untouched])
    assert (both[0][0][~untouched] != start[0][~untouched]).all() and not both[0][1].any()


def answers(threads: int, level: str) -> bytes:
    native = kernels.native()
    native.set_num_threads(threads)
    before = native.simd_level()
    native.set_simd_level(level)
    try:
        s = scene(9, 700)
        u = np.random.default_rng(1).random((3000, 3)).astype(np.float32)
        losses, _, _, table, weights = gradients(s, "native")
        found = [losses, table.copy(), weights.copy(), native.field_density(*pick(s, *NETWORK), u)]
        found += native.field_trace(*pick(s, *NETWORK, *MARCH), np.ones(3, np.float32), 1e-3)
        found += native.field_march(*pick(s, *MARCH))
        values, mean, square = s["weights"].copy(), np.zeros_like(weights), np.zeros_like(weights)
        native.field_adam(values, weights, mean, square, 0.01, 0.9, 0.99, 1e-15)
        return b"".join(a.tobytes() for a in (*found, values, mean, square))
    finally:
        native.set_num_threads(0)
        native.set_simd_level(before)


def test_same_bytes_with_any_threads_and_instructions():
    first = answers(1, "baseline")
    assert all(answers(threads, level) == first for threads, level in ((2, "avx512"), (1, "avx2"), (3, "baseline")))


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_rubbish_neither_crashes_nor_passes(backend):
    s = scene(10, 8)
    with np.errstate(all="ignore"):
        for strange in (np.nan, np.inf, 1e38):
            losses = gradients(s | {"table": np.full_like(s["table"], strange)}, backend)[0]
            assert not np.isfinite(losses[s["ray_weights"] > 0]).all() or strange == 1e38
        density = kernels.get("field_density", backend)(
            *pick(s, *NETWORK), np.array([[np.nan, 0, 0], [1e38, -1e38, 0.5], [np.inf, 2, -1]], np.float32)
        )
        assert np.isfinite(density).all()
    empty = s | {n: s[n][:0] for n in ("origins", "directions", "jitter", "targets", "backgrounds", "ray_weights")}
    losses, marched, kept, table, weights = gradients(empty, backend)
    assert len(losses) == marched == kept == 0 and not table.any() and not weights.any()
    bad = {
        "origins": [np.nan], "directions": [0.0, np.nan, 5.0], "jitter": [-1.0, np.nan, 2.0],
        "targets": [np.nan, np.inf],
        "backgrounds": [np.nan], "ray_weights": [np.inf],
    }  # fmt: skip
    for name, values in bad.items():
        for value in values:
            with pytest.raises(ValueError):
                gradients(s | {name: np.full_like(s[name], value)}, backend)
    for change in (
        {"scale": -1.0}, {"huber": np.nan}, {"edges": EDGES[::-1].copy()}, {"edges": EDGES[:1]},
        {"occupancy": np.zeros((16, 16, 3), np.uint8)}, {"weights": s["weights"][1:]}, {"table": s["table"][1:]},
        {"targets": s["targets"][1:]}, {"levels": np.ascontiguousarray(LEVELS[:3])}, {"levels": LEVELS + 1},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            gradients(s | change, backend)
    pixels, usable, sizes, cameras = photos()
    draw, white = kernels.get("field_rays", backend), np.ones(3, np.float32)
    for change in ((0, pixels[:50]), (2, sizes * [[1, 0, 1]]), (3, cameras * np.nan), (3, -cameras), (2, sizes[:0])):
        args = [pixels, usable[:0], sizes, cameras]
        args[change[0]] = np.ascontiguousarray(change[1])
        with pytest.raises(ValueError):
            draw(*args, 0, 0, 10, False, white)
    blocked = draw(pixels, usable * 0, sizes, cameras, 0, 0, 10, False, white)
    assert not blocked[5].any()
    with pytest.raises(ValueError):
        kernels.get("field_adam", backend)(*(np.zeros(n, np.float32) for n in (4, 3, 4, 4)), 0.1, 0.9, 0.99, 1e-8)
    with pytest.raises((TypeError, ValueError)):
        kernels.get("field_adam", "native")(*(np.zeros(4) for _ in range(4)), 0.1, 0.9, 0.99, 1e-8)
