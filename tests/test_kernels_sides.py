"""The kernel that tells on which side of a step a pixel lies, against its twin, on rubbish, and with any threads."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rilievo import kernels


def case(h: int, w: int, times: float, seed: int = 0) -> list:
    rng = np.random.default_rng(seed)
    H, W = max(1, round(h * times)), max(1, round(w * times))
    picture = rng.integers(0, 255, (H, W, 3), dtype=np.uint8)
    values = (rng.uniform(0, 0.05, (h, w)) + rng.integers(0, 3, (h, w))).astype(np.float32)
    trust = rng.uniform(1e-4, 1, (h, w)).astype(np.float32)
    rows, columns = (a.ravel().astype(np.int32) for a in np.mgrid[:H, :W])
    alike = np.exp(-np.arange(400) * 64 / (2 * 30.0**2)).astype(np.float32)
    colors = cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA).reshape(h, w, 3)
    return [values, colors, trust, picture, rows, columns, alike, 3, 1.5, 0.02, 0.05]


@pytest.mark.parametrize("shape", [(7, 9, 3.3), (12, 5, 2.0), (1, 20, 4.0), (20, 1, 1.5), (1, 1, 5.0)])
@pytest.mark.parametrize("reach", [1, 3, 4])
def test_native_equals_twin(shape: tuple[int, int, float], reach: int) -> None:
    arguments = case(*shape)
    arguments[7] = reach
    native = kernels.get("choose_sides", "native")(*arguments)
    twin = kernels.get("choose_sides", "reference")(*arguments)
    assert native.dtype == twin.dtype == np.float32
    # A tie between two sides, or a value right at the mean, may fall either way.
    differ = np.abs(native - twin) > 1e-4
    assert differ.mean() < 0.01


def test_no_value_lies_between_two_sides() -> None:
    arguments = case(30, 40, 4.0)
    rng = np.random.default_rng(1)
    arguments[0] = np.where(np.arange(40)[None] < 20, 1.0, 2.0).repeat(30, 0).astype(np.float32)
    arguments[0] += rng.normal(0, 0.004, (30, 40)).astype(np.float32)
    found = kernels.choose_sides(*arguments)
    assert np.minimum(np.abs(found - 1), np.abs(found - 2)).max() < 0.02


def test_threads_change_nothing() -> None:
    arguments = case(40, 50, 4.0)
    answers = []
    for n in (1, 2):
        kernels.set_num_threads(n)
        answers.append(kernels.get("choose_sides", "native")(*arguments).tobytes())
    kernels.set_num_threads(0)
    assert answers[0] == answers[1]


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_rubbish_is_refused(backend: str) -> None:
    kernel = kernels.get("choose_sides", backend)
    good = case(6, 8, 2.0)

    def refused(place: int, value: object, error: type[Exception] = ValueError) -> None:
        bad = list(good)
        bad[place] = value
        with pytest.raises(error):
            kernel(*bad)

    refused(1, good[1][:-1].copy())
    refused(2, good[2][:, :-1].copy())
    refused(4, good[4][:-1].copy())
    refused(4, good[4] + np.int32(100))
    refused(5, good[5] - np.int32(1))
    refused(6, good[6][:0])
    refused(7, 0)
    refused(7, 5)
    refused(8, 0.0)
    empty = list(good)
    empty[4] = empty[5] = np.zeros(0, np.int32)
    assert len(kernel(*empty)) == 0


def test_wrong_types_and_values_that_are_no_numbers() -> None:
    kernel = kernels.get("choose_sides", "native")
    good = case(6, 8, 2.0)
    with pytest.raises(TypeError):
        kernel(good[0].astype(np.float64), *good[1:])
    good[0][2, 3] = np.nan
    good[2][1, 1] = np.inf
    assert len(kernel(*good)) == len(good[4])
