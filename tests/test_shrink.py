"""The kernel `shrink_blocks`: equal to its twin, rubbish refused, the same bytes for any threads and instructions."""

from __future__ import annotations

import numpy as np
import pytest

from rilievo import kernels

NONE = np.zeros((0, 0, 0), np.float32)
SPECTRUM = np.linspace(0.02, 0.2, 128, dtype=np.float32).reshape(2, 8, 8)


def planes(h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((2, h, w)).astype(np.float32)


@pytest.mark.parametrize("step", [1, 3, 8])
@pytest.mark.parametrize("size", [(8, 8), (9, 31), (70, 17)])
def test_equals_twin_with_and_without_a_pilot(size, step):
    a = planes(*size)
    native, twin = (kernels.get("shrink_blocks", b) for b in ("native", "reference"))
    first = twin(a, NONE, SPECTRUM, step, 2.7)
    np.testing.assert_allclose(native(a, NONE, SPECTRUM, step, 2.7), first, atol=2e-6)
    np.testing.assert_allclose(native(a, first, SPECTRUM, step, 0.0), twin(a, first, SPECTRUM, step, 0.0), atol=2e-6)


def test_nothing_changes_without_noise_and_a_flat_picture_stays():
    a = planes(40, 40)
    np.testing.assert_allclose(kernels.shrink_blocks(a, NONE, 0 * SPECTRUM, 2, 2.7), a, atol=2e-6)
    flat = np.full((2, 40, 40), 0.3, np.float32)
    np.testing.assert_allclose(kernels.shrink_blocks(flat, NONE, SPECTRUM, 2, 2.7), flat, atol=1e-6)


def test_same_bytes_for_any_threads_and_instructions():
    a = planes(200, 90)
    native = kernels.native()
    before, level = native.num_threads(), native.simd_level()
    found = []
    try:
        for threads, simd in ((1, "baseline"), (3, "avx2"), (2, "avx512")):
            native.set_num_threads(threads)
            native.set_simd_level(simd)
            found.append(kernels.shrink_blocks(a, NONE, SPECTRUM, 2, 2.7).tobytes())
    finally:
        native.set_num_threads(before)
        native.set_simd_level(level)
    assert len(set(found)) == 1


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_rubbish_is_refused(backend):
    shrink = kernels.get("shrink_blocks", backend)
    a = planes(16, 16)
    for bad in (
        (planes(7, 16), NONE, SPECTRUM, 2, 2.7),
        (a, planes(16, 15), SPECTRUM, 2, 2.7),
        (a, NONE, SPECTRUM[:1], 2, 2.7),
        (a, NONE, SPECTRUM, 0, 2.7),
        (a, NONE, SPECTRUM, 9, 2.7),
        (a, NONE, SPECTRUM, 2, float("nan")),
    ):
        with pytest.raises(ValueError):
            shrink(*bad)
    nan = a.copy()
    nan[0, 3, 3] = np.nan
    assert np.isfinite(shrink(nan, NONE, SPECTRUM, 2, 2.7)[1]).all()
