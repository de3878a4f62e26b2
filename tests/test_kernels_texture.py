"""Texturing kernels: equal to their twins, unmoved by rubbish, the same bytes for any number of threads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rilievo import kernels

CAMERA = (60.0, 55.0, 24.5, 18.0)
W, H = 48, 37


def both(name):
    return kernels.get(name, "native"), kernels.get(name, "reference")


def scene(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A triangle soup in front of the camera."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform([-1.2, -1, 2], [1.2, 1, 5], (n, 1, 3))
    vertices = (middle + rng.normal(0, 0.3, (n, 3, 3))).reshape(-1, 3).astype(np.float32)
    return vertices, np.arange(3 * n, dtype=np.int32).reshape(-1, 3)


def grid(n: int, seed: int = 0, size: float = 40.0) -> tuple[np.ndarray, np.ndarray]:
    """A wrinkled sheet of triangles in the texture plane: corners (f, 3, 2) and faces over (n + 1)^2 vertices."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: n + 1, : n + 1]
    xy = np.stack([x, y], -1).reshape(-1, 2) * (size / n) + 3 + rng.uniform(-0.2, 0.2, ((n + 1) ** 2, 2)) * size / n
    i = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).ravel()
    faces = np.concatenate([np.stack([i, i + 1, i + n + 1], 1), np.stack([i + 1, i + n + 2, i + n + 1], 1)])
    return xy.astype(np.float32)[faces], faces.astype(np.int32)


def atlas(n: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    corners, _ = grid(n, seed)
    flat = np.concatenate([corners.reshape(-1, 2), np.ones((6 * n * n, 1), np.float32)], 1)
    own = np.arange(len(flat), dtype=np.int32).reshape(-1, 3)
    owner, _ = kernels.get("rasterize_mesh", "native")(flat, own, 1.0, 1.0, 0.0, 0.0, 50, 46)
    return corners, owner


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_rasterize_equals_twin(seed, n):
    native, reference = both("rasterize_mesh")
    vertices, faces = scene(seed, n)
    index, depth = native(vertices, faces, *CAMERA, W, H)
    index2, depth2 = reference(vertices, faces, *CAMERA, W, H)
    assert np.array_equal(index, index2)
    assert np.array_equal(depth, depth2, equal_nan=True)
    attributes = np.random.default_rng(seed).random((len(vertices), 4)).astype(np.float32)
    native, reference = both("interpolate_pixels")
    a = native(index, vertices, faces, *CAMERA, attributes)
    b = reference(index, vertices, faces, *CAMERA, attributes)
    assert np.allclose(a, b, atol=1e-6, equal_nan=True)


def test_rasterize_depth_is_exact_on_a_plane_and_leaves_no_cracks():
    """A plane cut into many faces covers every pixel once, at the plane's depth."""
    n = 12
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: n + 1, : n + 1] / n * 4 - 2
    x, y = x + rng.uniform(-0.1, 0.1, x.shape), y + rng.uniform(-0.1, 0.1, x.shape)
    vertices = np.stack([x, y, 3 + 0.5 * x - 0.2 * y], -1).reshape(-1, 3).astype(np.float32)
    _, faces = grid(n)
    index, depth = kernels.rasterize_mesh(vertices, faces, *CAMERA, W, H)
    assert (index >= 0).all()
    v, u = (np.mgrid[:H, :W] + 0.5 - np.array([CAMERA[3], CAMERA[2]])[:, None, None]) / np.array(
        [CAMERA[1], CAMERA[0]]
    )[:, None, None]
    assert np.abs(depth - 3 / (1 - 0.5 * u + 0.2 * v)).max() < 1e-4
    back = kernels.interpolate_pixels(index, vertices, faces, *CAMERA, vertices)
    assert np.abs(back[..., 2] - depth).max() < 1e-5


def test_rasterize_draws_what_crosses_the_camera_plane():
    """A floor that begins behind the camera is drawn to the lower border of the image."""
    floor = np.array([[-50, 1, -5], [50, 1, -5], [0, 1, 200]], np.float32)
    index, depth = kernels.rasterize_mesh(floor, np.array([[0, 1, 2]], np.int32), *CAMERA, W, H)
    assert (index[-1] == 0).all() and (index[:10] == -1).all()
    assert np.allclose(depth[-1], CAMERA[1] / (H - 0.5 - CAMERA[3]), rtol=1e-5)


def test_rasterize_survives_rubbish():
    big = np.float32(3e38)
    vertices = np.array(
        [[0, 0, 1], [np.nan, 1, 1], [np.inf, 0, 1], [big, big, big], [1, 1, 0], [0, 1, -1], [1, 0, 1]], "f4"
    )
    faces = np.array(list(itertools.product(range(-1, 8), repeat=3)), np.int32)
    for name in ("native", "reference"):
        index, depth = kernels.get("rasterize_mesh", name)(vertices, faces, *CAMERA, 8, 6)
        assert np.array_equal(np.isnan(depth), index < 0) and index.max() < len(faces)
    empty = np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)
    index, depth = kernels.rasterize_mesh(*empty, *CAMERA, 5, 4)
    assert (index == -1).all() and np.isnan(depth).all()
    assert kernels.rasterize_mesh(*empty, *CAMERA, 0, 0)[0].shape == (0, 0)
    with pytest.raises(ValueError):
        kernels.rasterize_mesh(*empty, *CAMERA, -1, 4)
    with pytest.raises(TypeError):
        kernels.rasterize_mesh(vertices.astype(np.float64), faces, *CAMERA, 5, 4)
    out = kernels.interpolate_pixels(
        np.array([[-7, 0, 999]], np.int32), vertices, faces, *CAMERA, np.ones((7, 2), np.float32)
    )
    assert np.isnan(out).all()


def rasters(seed: int, vertices: np.ndarray, faces: np.ndarray) -> tuple:
    rng = np.random.default_rng(seed)
    index, depth = kernels.get("rasterize_mesh", "native")(vertices, faces, *CAMERA, W, H)
    filled = np.where(np.isnan(depth), np.float32(np.inf), depth)
    near = np.pad(filled, 1, mode="edge")
    windows = np.stack([near[i : i + H, j : j + W] for i in range(3) for j in range(3)])
    pixels = rng.integers(0, 256, (H, W, 3), np.uint8)
    mask = (rng.random((H, W)) > 0.02).astype(np.uint8)
    sharpness = rng.random((H, W)).astype(np.float32) * 10
    return pixels, mask, sharpness, depth, windows.min(0), windows.max(0), index


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_score_equals_twin(seed):
    vertices, faces = scene(seed)
    views = rasters(seed, vertices, faces)
    native, reference = both("score_faces")
    q, c = native(vertices, faces, *CAMERA, *views, 0.2)
    q2, c2 = reference(vertices, faces, *CAMERA, *views, 0.2)
    assert np.allclose(q, q2, rtol=1e-5) and np.allclose(c, c2, atol=1e-3)


def test_score_knows_front_from_back_and_hidden_from_seen():
    near = np.array([[-0.5, -0.5, 3], [0.5, -0.5, 3], [0, 0.5, 3]], np.float32)
    far = near * np.float32([0.5, 0.5, 2])
    vertices = np.concatenate([near, far])
    faces = np.array([[0, 2, 1], [0, 1, 2], [3, 5, 4]], np.int32)
    views = list(rasters(0, vertices, faces[[0, 2]]))
    views[1] = np.ones_like(views[1])
    views[6] = np.where(views[6] == 1, np.int32(2), views[6])
    quality, _ = kernels.score_faces(vertices, faces, *CAMERA, *views, 0.2)
    assert quality[0] > 0 and quality[1] == 0 and quality[2] == 0
    views[1] = np.zeros_like(views[1])
    assert kernels.score_faces(vertices, faces, *CAMERA, *views, 0.2)[0][0] == 0


def test_score_survives_rubbish():
    vertices = np.array([[0, 0, np.nan], [np.inf, 1, 1], [0, 0, 1e-30], [1e30, 0, 1], [0, 0, 1], [0, 0, 1]], np.float32)
    faces = np.array(list(itertools.product(range(-1, 7), repeat=3)), np.int32)
    views = list(rasters(0, *scene(0)))
    quality, color = kernels.score_faces(vertices, faces, *CAMERA, *views, 0.2)
    assert np.isfinite(quality).all() and np.isfinite(color).all()
    views[1] = views[1][:-1]
    with pytest.raises(ValueError, match="mask"):
        kernels.score_faces(vertices, faces, *CAMERA, *views, 0.2)


def problem(seed: int, n: int = 5, num_labels: int = 5) -> tuple:
    rng = np.random.default_rng(seed)
    _, faces = grid(n)
    from rilievo.stages.unwrap import face_neighbors

    neighbors, _ = face_neighbors(faces)
    lists = [np.flatnonzero(rng.random(num_labels) < 0.6) for _ in faces]
    offsets = np.concatenate([[0], np.cumsum([len(v) for v in lists])]).astype(np.int64)
    labels = np.concatenate(lists).astype(np.int32)
    costs = rng.random(len(labels)).astype(np.float32)
    weights = np.full(neighbors.shape, 0.3, np.float32)
    return offsets, labels, costs, neighbors, weights


def energy(chosen: np.ndarray, offsets, labels, costs, neighbors, weights) -> float:
    total = 0.0
    for f, label in enumerate(chosen):
        own = labels[offsets[f] : offsets[f + 1]]
        assert (label in own) if len(own) else label == -1
        if len(own):
            total += costs[offsets[f] + np.flatnonzero(own == label)[0]]
            total += sum(
                0.5 * weights[f, k] for k, g in enumerate(neighbors[f]) if g >= 0 and chosen[g] not in (label, -1)
            )
    return total


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_labels_equal_twin_and_beat_greedy(seed):
    given_ = problem(seed)
    native, reference = both("label_faces")
    chosen = native(*given_, 8)
    assert np.array_equal(chosen, reference(*given_, 8))
    offsets, labels, costs, *_ = given_
    greedy = np.array(
        [labels[a + np.argmin(costs[a:b])] if b > a else -1 for a, b in itertools.pairwise(offsets)], np.int32
    )
    assert energy(chosen, *given_) <= energy(greedy, *given_)


def test_labels_find_the_optimum_of_a_chain():
    """On a tree the method is exact: compare with trying everything."""
    rng = np.random.default_rng(3)
    n, num = 6, 3
    neighbors = np.full((n, 3), -1, np.int32)
    for i in range(n - 1):
        neighbors[i, 1], neighbors[i + 1, 0] = i + 1, i
    offsets = np.arange(n + 1, dtype=np.int64) * num
    labels = np.tile(np.arange(num, dtype=np.int32), n)
    weights = np.full((n, 3), 0.4, np.float32)
    for _ in range(10):
        costs = rng.random(n * num).astype(np.float32)
        given_ = (offsets, labels, costs, neighbors, weights)
        best = min(energy(np.array(c), *given_) for c in itertools.product(range(num), repeat=n))
        assert energy(kernels.label_faces(*given_, 10), *given_) == pytest.approx(best, abs=1e-5)


def test_labels_survive_rubbish():
    offsets, labels, costs, neighbors, weights = problem(0)
    costs = costs.copy()
    costs[::3] = np.nan
    assert len(kernels.label_faces(offsets, labels, costs, neighbors + np.int32(7), weights, 3)) == len(neighbors)
    with pytest.raises(ValueError, match="offsets"):
        kernels.label_faces(offsets[:-1], labels, costs, neighbors, weights, 3)
    with pytest.raises(ValueError, match="rise"):
        kernels.label_faces(offsets, labels[::-1].copy(), costs, neighbors, weights, 3)
    nothing = np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros((0, 3), np.int32), np.zeros((0, 3), np.float32)
    assert len(kernels.label_faces(np.zeros(1, np.int64), *nothing, 3)) == 0


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_merging_equals_twin_and_leaves_fewer_patches(seed):
    offsets, labels, costs, neighbors, weights = problem(seed, n=6, num_labels=4)
    best = [labels[a + np.argmin(costs[a:b])] if b > a else -1 for a, b in itertools.pairwise(offsets)]
    chosen = np.array(best, np.int32)
    native, reference = both("merge_patches")
    given_ = (offsets, labels, costs, neighbors, chosen, 5, 1.5)
    merged = native(*given_)
    assert np.array_equal(merged, reference(*given_))
    energy(merged, offsets, labels, costs, neighbors, weights)  # every face has a label of its own list
    from rilievo.stages.unwrap import connected_patches

    assert connected_patches(neighbors, merged).max() < connected_patches(neighbors, chosen).max()
    assert np.array_equal(native(*given_[:5], 0, 1.5), chosen)


def test_merging_survives_rubbish():
    offsets, labels, costs, neighbors, _ = problem(0)
    costs = costs.copy()
    costs[::3] = np.nan
    chosen = np.full(len(neighbors), 2**31 - 1, np.int32)
    assert len(kernels.merge_patches(offsets, labels, costs, neighbors + np.int32(7), chosen, 9, np.nan)) == len(chosen)
    with pytest.raises(ValueError, match="offsets"):
        kernels.merge_patches(offsets, labels, costs, neighbors[:-1], chosen, 9, 1.0)
    with pytest.raises(ValueError, match="equally long"):
        kernels.merge_patches(offsets, labels, costs[:-1], neighbors, chosen, 9, 1.0)
    with pytest.raises(ValueError, match="fall"):
        falling = np.concatenate([offsets[:1], offsets[-2:0:-1], offsets[-1:]])
        kernels.merge_patches(falling, labels, costs, neighbors, chosen, 9, 1.0)
    none = np.zeros(0, np.int32)
    empty = np.zeros(1, np.int64), none, np.zeros(0, np.float32), np.zeros((0, 3), np.int32), none
    assert len(kernels.merge_patches(*empty, 9, 1.0)) == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_rejecting_colours_equals_twin(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 9, 60)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    colors = rng.normal(120, 8, (offsets[-1], 3)) + rng.choice([0, 70], (offsets[-1], 1), p=[0.8, 0.2])
    native, reference = both("reject_colors")
    found = native(offsets, colors.astype(np.float32), 10.0)
    assert np.array_equal(found, reference(offsets, colors.astype(np.float32), 10.0)) and found.any()


def test_rejecting_colours_survives_rubbish():
    offsets = np.array([0, 4, 4, 8], np.int64)
    colors = np.full((8, 3), 9, np.float32)
    colors[1], colors[6] = np.nan, np.inf
    assert not kernels.reject_colors(offsets, colors, 5.0).any()
    assert len(kernels.reject_colors(np.zeros(1, np.int64), colors[:0], 5.0)) == 0
    for bad in (offsets[:-1], offsets[::-1].copy(), offsets[:0]):
        with pytest.raises(ValueError, match="offsets"):
            kernels.reject_colors(bad, colors, 5.0)
    with pytest.raises(ValueError, match="tolerance"):
        kernels.reject_colors(offsets, colors, np.nan)


def charts(seed: int, n: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    middle = rng.uniform(-100, 100, (n, 1, 1, 2))
    corner = middle + rng.normal(0, 12, (n, 4, 1, 2)) * [1, 0.5] + rng.normal(0, 5, (n, 4, 3, 2))
    return corner.reshape(-1, 3, 2).astype(np.float32), np.repeat(np.arange(n, dtype=np.int32), 4)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_packing_equals_twin_and_keeps_charts_apart(seed):
    corner, chart = charts(seed)
    native, reference = both("pack_charts")
    shift, height = native(corner, chart, 30, 256, 3, 4)
    shift2, height2 = reference(corner, chart, 30, 256, 3, 4)
    assert np.array_equal(shift, shift2) and height == height2 > 0
    placed = corner + shift[chart][:, None].astype(np.float32)
    assert placed.min() >= 3 and placed[..., 0].max() <= 253 and placed[..., 1].max() <= height - 3
    taken = np.full((height, 256), -1)
    for c in range(30):  # the charts, each wider by 2 texels, share no texel
        flat = placed[chart == c].reshape(-1, 2)
        corners = np.concatenate([flat, np.ones((len(flat), 1), np.float32)], 1).astype(np.float32)
        faces = np.arange(len(flat), dtype=np.int32).reshape(-1, 3)
        index, _ = kernels.rasterize_mesh(corners, faces, 1.0, 1.0, 0.0, 0.0, 256, int(height))
        own = kernels.grow_owner(index, 2) >= 0
        assert not (own & (taken >= 0)).any()
        taken[own] = c


def test_packing_survives_rubbish():
    corner, chart = charts(0)
    assert kernels.pack_charts(corner, chart, 30, 8, 3, 4)[1] == -1
    with pytest.raises(ValueError):
        kernels.pack_charts(corner * np.float32(np.nan), chart, 30, 256, 3, 4)
    with pytest.raises(ValueError):
        kernels.pack_charts(corner, chart, 3, 256, 3, 4)
    with pytest.raises(ValueError):
        kernels.pack_charts(corner, chart, 30, 0, 3, 4)
    empty = np.zeros((0, 3, 2), np.float32), np.zeros(0, np.int32)
    assert kernels.pack_charts(*empty, 0, 256, 3, 4)[1] == 0


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 3))
def test_baking_equals_twin(seed, radius):
    rng = np.random.default_rng(seed)
    corners, owner = atlas(5, seed)
    grown = [f(owner, radius) for f in both("grow_owner")]
    assert np.array_equal(*grown)
    owner = grown[0]
    selected = np.flatnonzero(rng.random(len(corners)) < 0.7).astype(np.int32)
    photo = np.concatenate([corners * np.float32(0.8) + 2, np.ones((len(corners), 3, 1), np.float32)], 2)
    photo *= rng.uniform(0.9, 1.1, (len(corners), 3, 1)).astype(np.float32)
    pixels = rng.integers(0, 256, (40, 44, 3), np.uint8)
    shift = rng.normal(0, 20, (len(corners), 3, 3)).astype(np.float32)
    shift[::4] = 0
    n = 25
    xy = rng.uniform(0, 45, (n, 2)).astype(np.float32)
    patch = (np.arange(len(corners)) % 2).astype(np.int32)
    sample_shift = rng.normal(0, 20, (n, 3)).astype(np.float32)
    results = []
    for backend in ("native", "reference"):
        out = np.zeros((*owner.shape, 3), np.uint8)
        kernels.get("bake_faces", backend)(out, owner, corners, selected, photo[selected], pixels)
        stages = [out.copy()]
        kernels.get("shift_colors", backend)(out, owner, corners, shift)
        stages.append(out.copy())
        kernels.get("blend_seams", backend)(
            out, owner, patch, xy, (np.arange(n) % 2).astype(np.int32), sample_shift, 9.0
        )
        stages.append(out.copy())
        kernels.get("fill_gutters", backend)(out, owner, 4)
        results.append([*stages, out])
    for a, b in zip(*results):
        difference = np.abs(a.astype(int) - b)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01  # float32 sums round otherwise now and then


def test_baking_copies_pixels_exactly():
    """A chart that is a cut-out, shifted by whole texels, holds the photo's own pixels."""
    corners, owner = atlas(5)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 64, 3), np.uint8)
    photo = np.concatenate([corners + np.float32([7, 5]), np.ones((len(corners), 3, 1), np.float32)], 2)
    texture = np.zeros((*owner.shape, 3), np.uint8)
    kernels.bake_faces(texture, owner, corners, np.arange(len(corners), dtype=np.int32), photo, pixels)
    row, col = np.nonzero(owner >= 0)
    assert len(row) > 1000
    assert np.array_equal(texture[row, col], pixels[row + 5, col + 7])


def test_baking_survives_rubbish():
    corners, owner = atlas(4)
    bad = corners.copy()
    bad[0], bad[1], bad[2] = np.nan, np.inf, 0
    texture = np.full((*owner.shape, 3), 9, np.uint8)
    photo = np.full((len(bad), 3, 3), np.nan, np.float32)
    pixels = np.zeros((4, 4, 3), np.uint8)
    every = np.arange(-2, len(bad) - 2, dtype=np.int32)
    kernels.bake_faces(texture, owner, bad, every, photo, pixels)
    kernels.shift_colors(texture, owner, bad, np.full((len(bad), 3, 3), np.nan, np.float32))
    nans = np.full((5, 3), np.nan, np.float32)
    zeros = np.zeros(5, np.int32)
    kernels.blend_seams(texture, owner, np.zeros(3, np.int32), nans[:, :2].copy(), zeros, nans, 5.0)
    kernels.blend_seams(texture, owner, np.zeros(0, np.int32), nans[:, :2].copy(), zeros, nans, -1.0)
    with pytest.raises(ValueError):
        kernels.blend_seams(texture, owner, zeros, nans[:, :2].copy(), zeros, nans, np.nan)
    assert (texture == 9).all()
    kernels.fill_gutters(texture, np.full_like(owner, -1), 5)
    assert (texture == 9).all()
    read_only = texture.copy()
    read_only.flags.writeable = False
    with pytest.raises(TypeError):
        kernels.fill_gutters(read_only, owner, 5)
    with pytest.raises(ValueError):
        kernels.fill_gutters(texture[:-1].copy(), owner, 5)
    with pytest.raises(ValueError):
        kernels.bake_faces(texture, owner, bad, every[:-1].copy(), photo, pixels)


def test_same_bytes_with_one_and_two_threads():
    vertices, faces = scene(1, 3000)
    corners, owner = atlas(6)
    shift = np.random.default_rng(0).normal(0, 9, (len(corners), 3, 3)).astype(np.float32)
    results = []
    for threads in (1, 2):
        kernels.set_num_threads(threads)
        index, depth = kernels.rasterize_mesh(vertices, faces, 600.0, 600.0, 240.0, 180.0, 480, 360)
        values = kernels.interpolate_pixels(index, vertices, faces, 600.0, 600.0, 240.0, 180.0, vertices)
        texture = np.full((*owner.shape, 3), 100, np.uint8)
        kernels.shift_colors(texture, owner, corners, shift)
        xy = corners[:, 0].copy()
        patch = np.zeros(len(corners), np.int32)
        kernels.blend_seams(texture, owner, patch, xy, patch, shift[:, 0].copy(), 20.0)
        kernels.fill_gutters(texture, owner, 3)
        offsets = np.arange(0, 3 * len(faces) + 1, 3, dtype=np.int64)
        odd = kernels.reject_colors(offsets, vertices * np.float32(50), 5.0)
        results.append((index, depth, values, texture, odd))
    kernels.set_num_threads(0)
    for a, b in zip(*results):
        assert a.tobytes() == b.tobytes()
