"""Kernels of fusion against their NumPy twins, and against rubbish."""

import numpy as np
import pytest

from rilievo import kernels
from rilievo.stages.points import _arrays
from surface_scenes import Ring

LIMITS = (2, 0.03, 1.5, 0.7, 0.1, 0.5, 1.0, 3.0, 0.65)


def maps(num=4, noise=0.01, inferred=False):
    ring = Ring(noise=noise)
    out = [_arrays(*ring.load(name)) for name in ring.names[:num]]
    rng = np.random.default_rng(num)
    for i, m in enumerate(out):
        colors = rng.integers(0, 256, m[4].shape).astype(np.uint8)
        guessed = (rng.random(m[0].shape) < 0.3).astype(np.uint8) if inferred and i % 3 != 2 else None
        out[i] = (*m[:4], colors, guessed, *m[6:])
    return out


def both(kernel, *arguments):
    return kernels.get(kernel, "native")(*arguments), kernels.get(kernel, "reference")(*arguments)


@pytest.mark.parametrize("inferred", [False, True])
@pytest.mark.parametrize("num", [1, 2, 4])
@pytest.mark.parametrize("min_views", [1, 2, 3])
def test_fuse_map_equals_its_twin(num, min_views, inferred):
    arrays = maps(num, inferred=inferred)
    ranks = np.random.default_rng(num).permutation(num).astype(np.int32)
    a, b = both("fuse_map", arrays[0], arrays[1:], ranks, min_views, *LIMITS[1:])
    assert (len(a[0]) > 50) == (num >= min_views)
    if inferred and num == 4 and min_views < 3:
        assert 0 < a[6].sum() < len(a[6])
    for x, y in zip(a, b):
        assert x.dtype == y.dtype and x.shape == y.shape
        if x.dtype.kind == "f":
            np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(x, y)


def test_measured_pixels_have_the_place_before_inferred_ones():
    arrays = maps(3, noise=0.0)
    whole = np.ones(arrays[0][0].shape, np.uint8)
    ranks = np.arange(3, dtype=np.int32)
    plain = [kernels.fuse_map(m, [o for o in arrays if o is not m], ranks, *LIMITS) for m in arrays]
    guessed = (*arrays[0][:5], whole, *arrays[0][6:])
    first = kernels.fuse_map(guessed, arrays[1:], ranks, *LIMITS)
    second = kernels.fuse_map(arrays[1], [guessed, arrays[2]], ranks, *LIMITS)
    assert len(plain[0][0]) > 100 and len(first[0]) == 0  # all that the guessed map shows, others measured
    assert len(second[0]) > len(plain[1][0])  # and they no longer leave it to the nearer one
    alone = kernels.fuse_map(guessed, [(*m[:5], whole, *m[6:]) for m in arrays[1:]], ranks, *LIMITS)
    assert len(alone[0]) > 100 and alone[6].all()
    assert np.median(alone[4]) > np.median(plain[0][4])  # agreeing guesses are no surer


def test_fuse_map_survives_rubbish():
    rng = np.random.default_rng(3)
    for trial in range(6):
        arrays = [list(m) for m in maps(3)]
        for m in arrays:
            bad = rng.random(m[0].shape) < 0.5
            m[0] = np.where(bad, [np.nan, np.inf, -1.0, 0.0, 1e38, 1e-38][trial], m[0]).astype(np.float32)
            m[1] = np.where(rng.random(m[1].shape) < 0.3, [0.0, np.nan, np.inf, 1e30, 0, -1][trial], m[1])
            m[1] = m[1].astype(np.float32)
            m[3] = np.where(bad, [np.inf, 0, -1, np.nan, 1e-45, 1e38][trial], m[3]).astype(np.float32)
        out = kernels.fuse_map(tuple(arrays[0]), [tuple(m) for m in arrays[1:]], np.arange(3, dtype=np.int32), *LIMITS)
        assert np.isfinite(out[0]).all() and np.isfinite(out[1]).all()
    first = list(maps(1)[0])
    first[7] = np.full((3, 4), np.nan)
    assert len(kernels.fuse_map(tuple(first), [], np.zeros(1, np.int32), 1, *LIMITS[1:])[0]) == 0


def test_fuse_map_takes_empty_and_one_row_maps():
    whole = maps(1, inferred=True)[0]
    for rows in (0, 1):
        part = tuple(np.ascontiguousarray(a[:rows]) for a in whole[:6]) + whole[6:]
        out = kernels.fuse_map(part, [], np.zeros(1, np.int32), 1, *LIMITS[1:])
        assert len(out[0]) <= 48 * rows


def test_fuse_map_refuses_wrong_shapes_and_types():
    m = maps(1)[0]
    rank = np.zeros(1, np.int32)
    native = kernels.get("fuse_map", "native")
    with pytest.raises(TypeError):
        native((m[0].astype(np.float64), *m[1:]), [], rank, *LIMITS)
    with pytest.raises(ValueError, match="one size"):
        native((m[0], m[1][1:], *m[2:]), [], rank, *LIMITS)
    with pytest.raises(ValueError, match="one size"):
        native((*m[:5], np.zeros((3, 3), np.uint8), *m[6:]), [], rank, *LIMITS)
    with pytest.raises(ValueError, match="ranks"):
        native(m, [], np.zeros(2, np.int32), *LIMITS)
    with pytest.raises(ValueError, match="focal"):
        native((*m[:6], -m[6], m[7]), [], rank, *LIMITS)


# --- points that say the same, points that stand alone ----------------------------------------------------------------


def sheets(num, seed, owners=4):
    """Points of several maps on a plane, noise across it, spacings of three sizes."""
    rng = np.random.default_rng(seed)
    points = rng.random((num, 3)) * [np.sqrt(num), np.sqrt(num), 0.3]
    normals = np.array([0, 0, 1.0]) + 0.2 * rng.normal(size=(num, 3))
    normals[rng.random(num) < 0.1] *= -1
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    spacing = rng.choice([0.4, 1.0, 2.1], num) * rng.uniform(0.9, 1.1, num)
    return (
        (points - 5).astype(np.float32),
        normals.astype(np.float32),
        spacing.astype(np.float32),
        (rng.random(num) < 0.2).astype(np.uint8),
        rng.integers(2, 6, num).astype(np.int32),
        rng.integers(0, owners, num).astype(np.int32),
    )


@pytest.mark.parametrize(
    ("num", "radius", "depth"), [(0, 0.65, 0.8), (1, 0.65, 0.8), (40, 1.5, 0.1), (3000, 0.65, 0.8)]
)
def test_distinct_points_equals_its_twin(num, radius, depth):
    for seed in range(3):
        a, b = both("distinct_points", *sheets(num, seed), radius, depth, 0.5)
        assert a.dtype == b.dtype == np.uint8
        np.testing.assert_array_equal(a, b)
    if num > 1000:
        assert 0.2 < a.mean() < 0.8


def test_distinct_points_leave_no_two_too_close_and_no_hole():
    points, normals, spacing, inferred, counts, owner = sheets(4000, 7, owners=1000)
    normals[:] = [0, 0, 1]
    points[:, 2] = 0
    spacing[:] = 1
    stays = kernels.distinct_points(points, normals, spacing, 0 * inferred, counts, owner, 0.65, 0.8, 0.5).astype(bool)
    from scipy.spatial import cKDTree

    tree = cKDTree(points[stays])
    pairs = tree.query_pairs(0.649, output_type="ndarray")
    chosen = owner[stays]
    assert (chosen[pairs[:, 0]] == chosen[pairs[:, 1]]).all()
    assert tree.query(points)[0].max() <= 0.6501


@pytest.mark.parametrize("radius", [0.7, 3.0])
def test_crowded_points_equals_its_twin(radius):
    for num in (0, 1, 5, 2000):
        points, _, spacing, *_ = sheets(num, num)
        for limit in (0, 1, 4, 40):
            a, b = both("crowded_points", points, spacing, radius, limit)
            assert a.dtype == b.dtype == np.uint8
            np.testing.assert_array_equal(a, b)


def test_cloud_kernels_survive_rubbish():
    rubbish = [np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-44, 0.0, -1.0]
    for seed, value in enumerate(rubbish):
        points, normals, spacing, inferred, counts, owner = sheets(500, seed)
        rng = np.random.default_rng(seed)
        points[rng.random(points.shape) < 0.2] = value
        normals[rng.random(normals.shape) < 0.2] = value
        spacing[rng.random(500) < 0.2] = value
        a, b = both("distinct_points", points, normals, spacing, inferred, counts, owner, 0.65, 0.8, 0.5)
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(points[a == 1]).all() and (spacing[a == 1] > 0).all()
        a, b = both("crowded_points", points, spacing, 3.0, 4)
        np.testing.assert_array_equal(a, b)


def test_cloud_kernels_refuse_wrong_shapes_and_numbers():
    cloud = list(sheets(10, 0))
    for backend in ("native", "reference"):
        distinct, crowded = (kernels.get(k, backend) for k in ("distinct_points", "crowded_points"))
        for i in (1, 2, 3, 4, 5):
            with pytest.raises(ValueError, match="differ in length"):
                distinct(*(c[:-1] if k == i else c for k, c in enumerate(cloud)), 0.65, 0.8, 0.5)
        with pytest.raises(ValueError, match="differ in length"):
            crowded(cloud[0], cloud[2][1:], 3.0, 4)
        for radius in (0.0, -1.0, float("nan"), 1e9):
            with pytest.raises(ValueError, match="radius"):
                distinct(*cloud, radius, 0.8, 0.5)
            with pytest.raises(ValueError, match="radius"):
                crowded(cloud[0], cloud[2], radius, 4)
    with pytest.raises(TypeError):
        kernels.get("crowded_points", "native")(cloud[0].astype(np.float64), cloud[2], 3.0, 4)


def test_cloud_kernels_give_the_same_bytes_for_any_number_of_threads():
    answers = []
    for threads in (1, 2):
        kernels.set_num_threads(threads)
        cloud = sheets(20000, 1)
        answers.append(
            kernels.distinct_points(*cloud, 0.65, 0.8, 0.5).tobytes()
            + kernels.crowded_points(cloud[0], cloud[2], 3.0, 4).tobytes()
        )
    kernels.set_num_threads(0)
    assert answers[0] == answers[1]
