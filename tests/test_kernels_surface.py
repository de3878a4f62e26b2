"""Kernels of fusion and surfaces against their NumPy twins, and against rubbish."""

import numpy as np
import pytest

from rilievo import kernels
from rilievo.stages.points import _arrays
from surface_scenes import Ring

LIMITS = (2, 0.03, 1.5, 0.7, 0.1, 0.5, 1.0)


def maps(num=4, noise=0.01):
    ring = Ring(noise=noise)
    return [_arrays(*ring.load(name)) for name in ring.names[:num]]


def both(*arguments):
    return kernels.get("fuse_map", "native")(*arguments), kernels.get("fuse_map", "reference")(*arguments)


@pytest.mark.parametrize("num", [1, 2, 4])
@pytest.mark.parametrize("min_views", [1, 2, 3])
def test_fuse_map_equals_its_twin(num, min_views):
    arrays = maps(num)
    consumed = (np.random.default_rng(num).random(arrays[0][0].shape) < 0.2).astype(np.uint8)
    a, b = both(arrays[0], arrays[1:], consumed, min_views, *LIMITS[1:])
    assert (len(a[0]) > 100) == (num >= min_views)
    for x, y in zip(a, b):
        assert x.dtype == y.dtype and x.shape == y.shape
        if x.dtype.kind == "f":
            np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6)
        elif x.dtype == np.uint8:
            assert np.abs(x.astype(int) - y).max(initial=0) <= 1
        else:
            np.testing.assert_array_equal(x, y)


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
        consumed = np.zeros(arrays[0][0].shape, np.uint8)
        out = kernels.fuse_map(tuple(arrays[0]), [tuple(m) for m in arrays[1:]], consumed, *LIMITS)
        assert np.isfinite(out[0]).all() and np.isfinite(out[1]).all()
    first = list(maps(1)[0])
    first[6] = np.full((3, 4), np.nan)
    assert len(kernels.fuse_map(tuple(first), [], np.zeros((40, 48), np.uint8), 1, *LIMITS[1:])[0]) == 0


def test_fuse_map_takes_empty_and_one_row_maps():
    whole = maps(1)[0]
    for rows in (0, 1):
        part = tuple(np.ascontiguousarray(a[:rows]) for a in whole[:5]) + whole[5:]
        out = kernels.fuse_map(part, [], np.zeros((rows, 48), np.uint8), 1, *LIMITS[1:])
        assert len(out[0]) <= 48 * rows


def test_fuse_map_refuses_wrong_shapes_and_types():
    m = maps(1)[0]
    consumed = np.zeros((40, 48), np.uint8)
    with pytest.raises(TypeError):
        kernels.get("fuse_map", "native")((m[0].astype(np.float64), *m[1:]), [], consumed, *LIMITS)
    with pytest.raises(ValueError, match="one size"):
        kernels.get("fuse_map", "native")((m[0], m[1][1:], *m[2:]), [], consumed, *LIMITS)
    with pytest.raises(ValueError, match="consumed"):
        kernels.get("fuse_map", "native")(m, [], consumed[1:], *LIMITS)
    with pytest.raises(ValueError, match="focal"):
        kernels.get("fuse_map", "native")((*m[:5], -m[5], m[6]), [], consumed, *LIMITS)
