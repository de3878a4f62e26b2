"""The stereo kernels against their twins, on rubbish, and with any number of threads and instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from rilievo import kernels

WHOLE = {"noise": 2.0, "sigma_grey": 16.0, "sigma_px": 4.0}
SWEEP = {
    **WHOLE,
    "geometric": 0.1,
    "min_w": 0.2,
    "max_w": 1.0,
    "step": 0.02,
    "fx": 50.0,
    "fy": 55.0,
    "shift": 2.0,
    "tilt": 0.4,
    "num_random": 2,
    "num_perturbed": 4,
    "num_polish": 2,
    "reach": 11,
    "merge": False,
    "shrink": 2,
    "key": 4321,
}


def scene(h: int, w: int, n: int, seed: int, masked: bool = False):
    """Random textures in n sources of different size that look at the reference's world from the side."""
    rng = np.random.default_rng(seed)
    K = np.array([[50.0, 0, w / 2], [0, 55.0, h / 2], [0, 0, 1]])
    sizes = np.stack([rng.integers(max(h, 2), h + 9, n), rng.integers(max(w, 2), w + 9, n)], 1).astype(np.int32)
    sources = np.zeros((n, h + 8, w + 8), np.uint8)
    projections = np.zeros((n, 3, 4), np.float32)
    backs = np.zeros((n, 3), np.float32)

    def texture(height: int, width: int) -> np.ndarray:
        coarse = rng.uniform(20, 235, (height // 4 + 2, width // 4 + 2))
        return np.kron(coarse, np.ones((4, 4)))[:height, :width] + rng.uniform(-15, 15, (height, width))

    for k in range(n):
        sources[k, : sizes[k, 0], : sizes[k, 1]] = texture(*sizes[k])
        angle = rng.uniform(-0.05, 0.05)
        R = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        t = rng.uniform(-0.4, 0.4, 3) * [1, 1, 0.3]
        projections[k] = np.concatenate([K @ R @ np.linalg.inv(K), (K @ t)[:, None]], 1)
        backs[k] = K @ (-R.T @ t)
    reference = np.clip(texture(h, w), 1, 255).astype(np.uint8)
    if masked:
        reference[rng.random((h, w)) < 0.1] = 0
        sources[rng.random(sources.shape) < 0.02] = 0
    planes = np.zeros((h, w, 3), np.float32)
    planes[..., 0] = rng.uniform(0.2, 1.0, (h, w))
    planes[..., 1:] = rng.uniform(-0.01, 0.01, (h, w, 2))
    maps = np.zeros((n, (h + 8) // 2, (w + 8) // 2, 3), np.float32)
    maps[..., 0] = np.where(rng.random(maps.shape[:3]) < 0.2, 0, rng.uniform(0.2, 1.0, maps.shape[:3]))
    maps[..., 1:] = rng.uniform(-0.02, 0.02, (*maps.shape[:3], 2))
    return reference, sources, sizes, projections, planes, maps, backs


def both(name: str, *args, **settings):
    return kernels.get(name, "native")(*args, **settings), kernels.get(name, "reference")(*args, **settings)


@pytest.mark.parametrize("shape", [(20, 31, 3), (1, 40, 1), (33, 1, 2), (17, 64, 16), (2, 2, 1)])
@pytest.mark.parametrize("geometric", [False, True])
def test_cost_equals_twin(shape, geometric):
    *images, planes, depths, backs = scene(*shape, seed=sum(shape), masked=True)
    there = (depths, backs) if geometric else (None, None)
    native, twin = both("stereo_cost", *images, planes, *there, shrink=2, geometric=0.2, **WHOLE)
    np.testing.assert_allclose(native[0], twin[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(native[1], twin[1], rtol=0, atol=1e-6)
    if min(shape[:2]) > 10:
        assert 0.05 < (native[0] < 2).mean() < 1.0  # both kinds occur


@pytest.mark.parametrize("shape", [(20, 31, 3), (1, 40, 1), (33, 1, 2), (21, 66, 7)])
def test_measure_equals_twin(shape):
    *images, planes, _, _ = scene(*shape, seed=sum(shape), masked=True)
    native, twin = both("stereo_measure", *images, planes, step=0.02, **WHOLE)
    np.testing.assert_allclose(native, twin, rtol=1e-5, atol=1e-5)
    assert (native[..., 3] <= shape[2] + 1e-3).all() and (np.abs(native[..., 2]) <= 0.5).all()


@pytest.mark.parametrize("shape", [(26, 35, 2), (1, 40, 1), (40, 1, 1), (9, 70, 5)])
@pytest.mark.parametrize(("geometric", "merge"), [(False, False), (True, True)])
def test_sweep_equals_twin(shape, geometric, merge):
    *images, planes, depths, backs = scene(*shape, seed=7 + sum(shape), masked=True)
    there = (depths, backs) if geometric else (None, None)
    costs = kernels.get("stereo_cost", "native")(*images, planes, *there, shrink=2, geometric=0.1, **WHOLE)[1]
    native, twin = both("stereo_sweep", *images, planes, costs, *there, **{**SWEEP, "merge": merge})
    # The same float32 operations in the same order: equal to the last bit but for ties.
    np.testing.assert_allclose(native[1], twin[1], rtol=0, atol=1e-6)
    assert (native[0] == twin[0]).mean() > 0.999
    assert (native[1] <= costs + 1e-3).mean() > 0.7


def test_sweep_finds_a_shift():
    """The same texture moved by four pixels: one sweep after another must find the inverse depth of that shift."""
    rng = np.random.default_rng(5)
    wide = np.clip(np.kron(rng.uniform(20, 235, (20, 32)), np.ones((3, 3))) + rng.normal(0, 6, (60, 96)), 1, 255)
    reference, source = wide[:, 8:80].astype(np.uint8).copy(), wide[None, :, 4:76].astype(np.uint8).copy()
    projection = np.array([[[1, 0, 0, 40], [0, 1, 0, 0], [0, 0, 1, 0]]], np.float32)  # u = x + 40 w
    sizes = np.array([[60, 72]], np.int32)
    planes = np.zeros((60, 72, 3), np.float32)
    planes[..., 0] = rng.uniform(0.02, 0.3, (60, 72))
    costs = np.full((60, 72), 1.9, np.float32)
    setting = {**SWEEP, "min_w": 0.02, "max_w": 0.3, "step": 1 / 40, "geometric": 0.0}
    for k in range(5):
        planes, costs = kernels.stereo_sweep(
            reference, source, sizes, projection, planes, costs, None, None, **{**setting, "key": k}
        )
    inner = planes[6:-6, 6:-12, 0] * 40
    assert (np.abs(inner - 4) < 0.5).mean() > 0.99
    assert np.median(np.abs(inner - 4)) < 0.05
    assert np.median(costs[6:-6, 6:-12]) < 0.02


def test_same_bytes_for_any_threads_and_instruction_set():
    native = kernels.native()
    *images, planes, depths, backs = scene(37, 75, 3, seed=3, masked=True)
    costs = np.full((37, 75), 1.5, np.float32)
    before_threads, before_level = native.num_threads(), native.simd_level()
    answers = []
    try:
        for threads, level in [(1, "avx512"), (2, "avx512"), (2, "avx2"), (1, "baseline")]:
            native.set_num_threads(threads)
            native.set_simd_level(level)
            out = native.stereo_sweep(*images, planes, costs, depths, backs, **SWEEP)
            answers.append(out[0].tobytes() + out[1].tobytes())
    finally:
        native.set_num_threads(before_threads)
        native.set_simd_level(before_level)
    assert len(set(answers)) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38, -1e38, 0.0])
def test_rubbish_planes_are_no_match(value):
    *images, planes, depths, backs = scene(14, 18, 2, seed=1)
    planes[:] = value
    native, twin = both("stereo_cost", *images, planes, depths, backs, shrink=2, geometric=0.1, **WHOLE)
    assert np.isfinite(native[0]).all() and np.isfinite(native[1]).all()
    np.testing.assert_array_equal(native[0], twin[0])
    if value != 0.0:
        assert (native[0] == 2).all()
    costs = np.full((14, 18), np.nan, np.float32)
    out = kernels.get("stereo_sweep", "native")(*images, planes, costs, depths, backs, **SWEEP)
    assert np.isfinite(out[1]).all()
    assert np.isfinite(kernels.get("stereo_measure", "native")(*images, planes, step=0.02, **WHOLE)).all()


def test_wrong_shapes_and_types_are_errors():
    for backend in ("native", "reference"):
        cost = kernels.get("stereo_cost", backend)
        reference, sources, sizes, projections, planes, depths, backs = scene(14, 18, 2, seed=1)
        good = (reference, sources, sizes, projections, planes, depths, backs)

        def call(cost=cost, good=good, **changed):
            names = ("reference", "sources", "sizes", "projections", "planes", "depths", "backs")
            return cost(
                *[changed.get(n, g) for n, g in zip(names, good, strict=True)], shrink=2, geometric=0.1, **WHOLE
            )

        call()
        with pytest.raises(TypeError):
            call(reference=reference.astype(np.float32))
        for changed in (
            {"sizes": sizes[:1]},
            {"projections": projections[:1]},
            {"planes": planes[:3]},
            {"depths": None},
            {"depths": depths[:, :3].copy()},
            {"depths": depths[:1]},
            {"sizes": sizes + 100},
            {"projections": projections * np.float32(np.nan)},
            {"reference": reference[:0], "planes": planes[:0]},
        ):
            with pytest.raises(ValueError, match=r"\w"):
                call(**changed)


def maps(seed: int, h: int = 30, w: int = 41):
    rng = np.random.default_rng(seed)
    K = np.array([[40.0, 0, w / 2], [0, 40.0, h / 2], [0, 0, 1]])
    t = np.array([0.2, -0.1, 0.05])
    there = np.concatenate([np.eye(3), (K @ t)[:, None]], 1)
    back = np.concatenate([np.eye(3), (-K @ t)[:, None]], 1)
    depth = (3 + 0.02 * rng.normal(size=(h, w)) + (rng.random((h, w)) < 0.2)).astype(np.float32)
    other = (3 + 0.02 * rng.normal(size=(h + 3, w - 2)) + (rng.random((h + 3, w - 2)) < 0.2)).astype(np.float32)
    for values in (depth, other):
        values[rng.random(values.shape) < 0.1] = np.nan
    depth[0, :5] = np.nan, np.inf, -np.inf, 0.0, -1.0
    return depth, other, there, back


@pytest.mark.parametrize("seed", range(3))
def test_agreement_equals_twin(seed):
    native, twin = both("depth_agreement", *maps(seed), max_error_px=1.0, max_relative=0.02)
    np.testing.assert_array_equal(native[0], twin[0])
    np.testing.assert_allclose(native[1], twin[1], rtol=1e-6)
    assert set(np.unique(native[0])) == {0, 1, 2, 3}


def test_agreement_knows_before_from_behind():
    depth = np.full((20, 20), 2.0, np.float32)
    eye = np.concatenate([np.eye(3), np.zeros((3, 1))], 1)
    for other_depth, verdict in ((2.0, 1), (2.001, 1), (3.0, 2), (1.0, 3)):
        other = np.full((20, 20), other_depth, np.float32)
        got, there = kernels.depth_agreement(depth, other, eye, eye, max_error_px=1.0, max_relative=0.01)
        assert (got == verdict).all()
        np.testing.assert_allclose(there, other_depth, rtol=1e-6)
    with pytest.raises(ValueError, match="positive"):
        kernels.depth_agreement(depth, depth, eye, eye, max_error_px=0.0, max_relative=0.01)
    with pytest.raises(ValueError, match="finite"):
        kernels.depth_agreement(depth, depth, eye * np.nan, eye, max_error_px=1.0, max_relative=0.01)


@pytest.mark.parametrize("shape", [(30, 40), (1, 9), (9, 1), (0, 5)])
def test_pieces_equal_twin(shape):
    rng = np.random.default_rng(2)
    depth = rng.choice([1.0, 1.005, 1.5, np.nan, 2.0, -1.0, np.inf], shape).astype(np.float32)
    native, twin = both("depth_pieces", depth, max_relative=0.01)
    np.testing.assert_array_equal(native, twin)


def test_pieces_are_cut_at_steps():
    depth = np.ones((10, 10), np.float32)
    depth[:, 5:] = 1.2
    depth[3, :] = np.nan
    sizes = kernels.depth_pieces(depth, max_relative=0.01)
    assert sizes[0, 0] == 15 and sizes[9, 9] == 30 and (sizes[3] == 0).all()
