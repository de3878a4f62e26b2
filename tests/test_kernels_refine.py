"""The kernels of mesh refinement against their twins, on rubbish, and with any threads and instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from rilievo import geometry, kernels

NAMES = ("warp_surface", "compare_warped", "collect_pixels")


def hill(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A rough height field around (0, 0, 2) in camera axes, facing the camera."""
    x, y = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
    z = 2 + 0.1 * np.sin(3 * x) + 0.02 * rng.normal(size=x.shape)
    a = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    faces = np.concatenate([np.stack([a, a + n, a + 1], 1), np.stack([a + 1, a + n, a + n + 1], 1)])
    return np.stack([x, y, z], -1).reshape(-1, 3), faces.astype(np.int32)


def pair(h: int, w: int, seed: int = 0):
    """Arguments of `warp_surface` for two cameras before the hill, and the first photo's mesh in its axes."""
    rng = np.random.default_rng(seed)
    vertices, faces = hill(12, rng)
    cameras, rasters, sizes = [], [], [(h, w), (h + 5, w + 3)]
    motion = geometry.look_at(np.array([0.5, 0.2, 0.1]), np.array([0.0, 0, 2]), up=(0.0, -1.0, 0.0))
    for (rows, columns), camera_from_world in zip(sizes, (np.eye(3, 4), motion)):
        own = geometry.transform(camera_from_world, vertices).astype(np.float32)
        camera = np.array([0.9 * w, 0.85 * w, columns / 2 - 1, rows / 2 + 1.5])
        cameras.append(camera)
        rasters.append((own, *kernels.rasterize_mesh(own, faces, *camera, columns, rows)))
    p = rasters[0][0].astype(np.float64)[faces]
    normals = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    gray = rng.uniform(0, 255, sizes[1]).astype(np.float32)
    (own, index, depth), (_, _, depth1) = rasters
    return (depth, index, normals, cameras[0], gray, depth1, cameras[1], motion, 0.2, 0.01), own, faces


def both(name: str, *args):
    return kernels.get(name, "native")(*args), kernels.get(name, "reference")(*args)


@pytest.mark.parametrize("size", [(40, 53), (17, 64), (1, 30), (30, 1), (33, 16)])
def test_warp_equals_twin(size):
    arguments, _, _ = pair(*size)
    native, twin = both("warp_surface", *arguments)
    differ = np.isnan(native[0]) != np.isnan(twin[0])
    assert differ.mean() < 0.01  # a point at the edge of what is hidden
    np.testing.assert_allclose(np.where(differ, 0, native[0]), np.where(differ, 0, twin[0]), rtol=0, atol=0.1)
    slope = np.where(differ, 0, twin[1])
    np.testing.assert_allclose(np.where(differ, 0, native[1]), slope, rtol=1e-3, atol=1e-3 * np.abs(slope).max() + 1e-9)
    if min(size) > 1:
        assert 0.2 < np.isfinite(native[0]).mean() < 1


@pytest.mark.parametrize("radius", [1, 3, 8])
@pytest.mark.parametrize("size", [(40, 53), (70, 16), (1, 30), (30, 1)])
def test_compare_equals_twin(size, radius):
    rng = np.random.default_rng(radius)
    a = rng.uniform(0, 255, size).astype(np.float32)
    b = (0.5 * a + rng.uniform(0, 128, size)).astype(np.float32)
    a[rng.random(size) < 0.05] = np.nan
    b[rng.random(size) < 0.1] = np.nan
    slope = rng.normal(size=size).astype(np.float32)
    sums = [np.ones((4, *size), np.float32) for _ in range(2)]
    for answer, backend in zip(sums, ("native", "reference")):
        kernels.get("compare_warped", backend)(a, b, slope, radius, 4.0, 0.3, answer)
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-4, atol=1e-4)
    assert (sums[0] >= 1)[1:].all() and (sums[0][3] <= 2).all()
    if min(size) > 30:
        assert (sums[0][3] == 2).mean() > 0.5


def test_collect_equals_twin_and_turns_interpolation_round():
    arguments, own, faces = pair(40, 53)
    index, camera = arguments[1], arguments[3]
    values = np.random.default_rng(1).normal(size=(3, 40, 53)).astype(np.float32)
    sums = [np.ones((len(faces), 3, 3), np.float32) for _ in range(2)]
    for answer, backend in zip(sums, ("native", "reference")):
        kernels.get("collect_pixels", backend)(index, own, faces, camera, values, answer)
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-4, atol=1e-4)
    attributes = np.random.default_rng(2).normal(size=(len(own), 1)).astype(np.float32)
    picture = np.nan_to_num(kernels.interpolate_pixels(index, own, faces, *camera, attributes))[..., 0]
    back = ((sums[0] - 1) * attributes[faces]).sum((0, 1))
    np.testing.assert_allclose(back, (values * picture).sum((1, 2)), rtol=1e-4, atol=1e-3)


def answers(threads: int, level: str) -> bytes:
    native = kernels.native()
    native.set_num_threads(threads)
    before = native.simd_level()
    native.set_simd_level(level)
    try:
        arguments, own, faces = pair(150, 201)
        warped, slope = native.warp_surface(*arguments)
        gray = np.random.default_rng(3).uniform(0, 255, warped.shape).astype(np.float32)
        sums = np.zeros((4, *warped.shape), np.float32)
        native.compare_warped(gray, warped, slope, 3, 4.0, 0.3, sums)
        corners = np.zeros((len(faces), 3, 4), np.float32)
        native.collect_pixels(arguments[1], own, faces, arguments[3], sums, corners)
        return b"".join(a.tobytes() for a in (warped, slope, sums, corners))
    finally:
        native.set_num_threads(0)
        native.set_simd_level(before)


def test_same_bytes_with_any_threads_and_instructions():
    first = answers(1, "baseline")
    assert all(answers(threads, level) == first for threads, level in ((2, "avx512"), (1, "avx2"), (3, "baseline")))


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_rubbish_neither_crashes_nor_passes(backend):
    warp, compare, collect = (kernels.get(name, backend) for name in NAMES)
    arguments, own, faces = pair(20, 30)
    depth, index, normals, camera, gray, depth1, camera1, motion, cos, slack = arguments
    for strange in (np.nan, np.inf, -np.inf, -1.0, 1e38, 0.0):
        warped, slope = warp(np.full_like(depth, strange), index, *arguments[2:])
        assert np.isfinite(slope).all() and (np.isnan(warped).all() or strange > 1e30)
        warp(depth, index, np.full_like(normals, strange), *arguments[3:])
        warp(depth, index, normals, camera, np.full_like(gray, strange), np.full_like(depth1, strange), *arguments[6:])
    for strange in (-5, 10**9, -(2**31)):
        warped, _ = warp(depth, np.full_like(index, strange), *arguments[2:])
        assert np.isnan(warped).all()
        collect(
            np.full_like(index, strange),
            own,
            faces,
            camera,
            np.ones((1, 20, 30), np.float32),
            np.zeros((len(faces), 3, 1), np.float32),
        )
        sums = np.zeros((len(faces), 3, 1), np.float32)
        collect(index, own, np.full_like(faces, strange), camera, np.ones((1, 20, 30), np.float32), sums)
        assert not sums.any()
    empty = np.zeros((0, 0), np.float32)
    warped, _ = warp(empty, np.zeros((0, 0), np.int32), *arguments[2:])
    assert warped.shape == (0, 0)
    warped, _ = warp(depth, index, np.zeros((0, 3), np.float32), *arguments[3:])
    assert np.isnan(warped).all()
    warped, _ = warp(depth, index, normals, camera, empty, empty, camera1, motion, cos, slack)
    assert np.isnan(warped).all()
    for hole in (np.nan, np.inf):
        sums = np.zeros((4, 20, 30), np.float32)
        compare(np.full((20, 30), hole, np.float32), np.zeros((20, 30), np.float32), depth * 0, 2, 1.0, 1.0, sums)
        assert not sums.any()
    with pytest.raises(ValueError):
        warp(depth[:5].copy(), index, *arguments[2:])
    with pytest.raises(ValueError):
        warp(depth, index, normals, camera, gray, depth1, camera1, motion, 0.0, slack)
    for radius, noise in ((0, 1.0), (9, 1.0), (3, 0.0), (3, np.nan)):
        with pytest.raises(ValueError):
            compare(depth, depth, depth, radius, noise, 1.0, np.zeros((4, 20, 30), np.float32))
    with pytest.raises(ValueError):
        compare(depth, depth, depth, 2, 1.0, 1.0, np.zeros((3, 20, 30), np.float32))
    with pytest.raises(ValueError):
        collect(index, own, faces, camera, np.ones((2, 20, 30), np.float32), np.zeros((len(faces), 3, 1), np.float32))
    if backend == "native":
        with pytest.raises(TypeError):
            warp(depth.astype(np.float64), index, *arguments[2:])
        with pytest.raises(ValueError):
            warp(depth, index, normals, np.array([np.nan, 1, 1, 1]), *arguments[4:])
