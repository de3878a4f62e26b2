"""The kernels that draw Gaussians and their gradients: against their twins, against central differences, and with any
threads and instruction set. Broken Gaussians are in test_kernels_splats_rubbish.py, the loss in test_photo_loss.py."""

from __future__ import annotations

import numpy as np
import pytest

from rilievo import kernels
from rilievo.kernels.reference import splats as reference
from splat_rows_scenes import PLACED, camera, few_rows, random_rows

BACK = np.array([0.2, 0.5, 0.9], np.float32)
SIZES = [(37, 29), (16, 16), (50, 17), (1, 1), (33, 1)]


def draw(rows, backend="native", size=(37, 29), channels=7, antialiased=True, degree=3, median=False, reuse=None):
    forward = kernels.get("splat_forward", backend)
    return forward(rows, camera(*size), PLACED, *size, 0.05, degree, channels, antialiased, BACK, median, reuse)


def upstream(size, channels, seed=1) -> tuple[np.ndarray, np.ndarray]:
    """What a loss would say of the features and of the transmittance."""
    rng = np.random.default_rng(seed)
    shape = (size[1], size[0])
    return rng.normal(size=(channels, *shape)).astype(np.float32), rng.normal(size=shape).astype(np.float32)


def assert_pictures_equal(a, b, limit: float, few: float = 0.01) -> None:
    """Equal but for pixels at the edge of a Gaussian, which one of the two may take and the other not (alpha 1/255)."""
    off = np.abs(np.asarray(a, np.float64) - b)
    assert (off > limit).mean() <= few, (off > limit).mean()
    assert off.max(initial=0) <= 0.01 * max(1.0, float(np.abs(b).max(initial=0)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("channels", "antialiased", "degree", "filtered"), [
    (3, True, 3, False), (4, False, 2, True), (7, True, 1, True), (7, False, 0, False),
])  # fmt: skip
def test_drawing_equals_twin(size, channels, antialiased, degree, filtered):
    rows = random_rows(70, channels, filtered=filtered)
    native, twin = (draw(rows, b, size, channels, antialiased, degree, channels > 3) for b in ("native", "reference"))
    assert native.features.shape == twin.features.shape == (channels, size[1], size[0])
    assert_pictures_equal(native.features, twin.features, 2e-5)
    assert_pictures_equal(native.transmittance, twin.transmittance, 1e-5)
    assert native.visible.tolist() == twin.visible.tolist()
    if min(size) > 1:
        assert 0.05 < native.transmittance.mean() < 0.95 and 20 < len(native.visible) < 70
    if channels > 3:
        differ = ~np.isclose(native.median_depth, twin.median_depth, rtol=1e-5)
        assert differ.mean() <= 0.01
        if min(size) > 1:
            assert ((twin.median_depth > 0) == (twin.transmittance < 0.5)).mean() > 0.99
    else:
        assert native.median_depth is None and twin.median_depth is None


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("channels", "antialiased", "filtered"), [(3, True, False), (4, False, True), (7, True, True)])
def test_gradients_equal_twin(size, channels, antialiased, filtered, light):
    rows = random_rows(60, 10 + channels, filtered=filtered)
    g, g_light = upstream(size, channels)
    answers = [
        kernels.get("splat_backward", b)(
            draw(rows, b, size, channels, antialiased), rows, g, g_light if light else None
        )
        for b in ("native", "reference")
    ]
    for native, twin in zip(*answers):
        assert native.dtype == twin.dtype == np.float32 and native.shape == twin.shape
        # By column: their units differ. A pixel at the edge of alpha 1/255 moves its Gaussian a little.
        scale = np.abs(twin).max(0) + 1e-6
        off = np.abs(native - twin) / scale
        assert (off > 1e-3).mean() < 0.02 and off.max() < 0.05, ((off > 1e-3).mean(), off.max())
    if min(size) > 1:
        assert (np.abs(answers[1][0]) > 0).any(0)[[*range(11), *range(16, 64)]].all()
        assert not answers[0][0][:, 11:16].any()


GROUPS = {"mean": slice(0, 3), "logit": slice(3, 4), "quat": slice(4, 8), "scale": slice(8, 11), "sh": slice(16, 64)}


def differences(rows: np.ndarray, columns: range, size, channels, antialiased, step: float) -> np.ndarray:
    """Central differences of sum(g features) + sum(g_light transmittance), drawn by the twin, (n, columns)."""
    g, g_light = (a.astype(np.float64) for a in upstream(size, channels))

    def loss(changed: np.ndarray) -> float:
        frame = draw(changed, "reference", size, channels, antialiased)
        return float((g * frame.features).sum() + (g_light * frame.transmittance).sum())

    slope = np.zeros((len(rows), len(columns)))
    for i in range(len(rows)):
        for k, column in enumerate(columns):
            sides = []
            for sign in (1, -1):
                changed = rows.astype(np.float64)
                changed[i, column] += sign * step
                sides.append(loss(changed))
            slope[i, k] = (sides[0] - sides[1]) / (2 * step)
    return slope


@pytest.mark.parametrize("group", list(GROUPS))
@pytest.mark.parametrize(("antialiased", "filtered", "channels"), [(True, True, 7), (False, False, 4)])
def test_gradients_equal_central_differences(group, antialiased, filtered, channels, monkeypatch):
    # Gaussians that cover the whole picture: no edge of alpha 1/255 runs through it, as the gradient leaves that out.
    size, rows = (21, 15), few_rows(3, width=0.9, filtered=filtered)
    columns = range(64)[GROUPS[group]]
    slope = differences(rows, columns, size, channels, antialiased, 2e-3)
    g, g_light = upstream(size, channels)
    frame = draw(rows, "native", size, channels, antialiased)
    gradient, _ = kernels.splat_backward(frame, rows, g, g_light)
    scale = np.abs(slope).max()
    assert scale > 1e-2
    np.testing.assert_allclose(gradient[:, columns], slope, rtol=5e-3, atol=2e-3 * scale)


@pytest.mark.parametrize("group", list(GROUPS))
def test_gradients_of_small_gaussians_equal_central_differences(group, monkeypatch):
    # Here the pixel filter takes much of the light. The twin without the edge of alpha 1/255 stands for both.
    monkeypatch.setattr(reference, "MIN_ALPHA", 1e-9)
    size, rows = (21, 15), few_rows(4, width=0.05, filtered=True)
    columns = range(64)[GROUPS[group]]
    slope = differences(rows, columns, size, 7, True, 1e-3)
    gradient, _ = reference.splat_backward(draw(rows, "reference", size), rows, *upstream(size, 7))
    np.testing.assert_allclose(gradient[:, columns], slope, rtol=5e-3, atol=2e-3 * np.abs(slope).max())


def test_gradients_of_places_on_the_image_are_those_of_the_principal_point():
    size, rows = (21, 15), few_rows(5, width=0.9, filtered=False)[:4]
    g, _ = upstream(size, 3)
    _, d_xy = kernels.splat_backward(draw(rows, "native", size, 3), rows, g)
    for axis in (0, 1):
        sides = []
        for sign in (1, -1):
            moved = camera(*size)
            moved[2 + axis] += sign * 0.01
            frame = reference.splat_forward(rows, moved, PLACED, *size, 0.05, 3, 3, True, BACK)
            sides.append(float((g.astype(np.float64) * frame.features).sum()))
        assert d_xy[:, axis].sum() == pytest.approx((sides[0] - sides[1]) / 0.02, rel=5e-3, abs=1e-3)


RATES = np.full(64, 0.01, np.float32)
RATES[11:16] = 0  # the filter, and columns that are not trained
STEPS = np.arange(1, 4)
BIAS = np.stack([1 / (1 - 0.9**STEPS), 1 / (1 - 0.999**STEPS)]).astype(np.float32)


def updated(backend: str, steps: int, channels: int = 7, degree: int = 3, n: int = 40, **weights) -> list[np.ndarray]:
    """Rows, moments and score after some steps; more steps than BIAS has columns go on without correction."""
    size, rows = (37, 29), random_rows(n, 21, filtered=True)
    first, second, score = np.zeros_like(rows), np.zeros_like(rows), np.zeros((n, 4), np.float32)
    frame = None
    for step in range(steps):
        frame = draw(rows, backend, size, channels, degree=degree, reuse=frame)
        g, g_light = upstream(size, channels, 100 + step)
        kernels.get("splat_update", backend)(
            frame, g, g_light, rows, first, second, score, RATES, BIAS, 0.9, 0.999, 1e-8, **weights
        )
    return [rows, first, second, score]


@pytest.mark.parametrize(("channels", "degree", "weights"), [
    (7, 3, {}), (4, 1, {"opacity_weight": 0.3, "scale_weight": 5.0}), (3, 0, {"opacity_weight": 0.3}),
])  # fmt: skip
def test_update_equals_twin(channels, degree, weights):
    start = random_rows(40, 21, filtered=True)
    native, twin = (updated(b, 5, channels, degree, **weights) for b in ("native", "reference"))
    counts = native[1][:, 12], twin[1][:, 12]
    # A Gaussian between the pixels' middles at the rim is drawn into none of them: only the twin counts it as drawn.
    assert (counts[0] <= counts[1]).all() and (counts[0] == counts[1]).mean() > 0.9
    seen = counts[0] > 0
    assert 10 < seen.sum() < 40 and counts[0].max() == 5
    np.testing.assert_array_equal(native[0][~seen], start[~seen])
    np.testing.assert_array_equal(native[0][:, 11:16], start[:, 11:16])
    assert np.abs(native[0] - start).max() > 0.02
    # Adam follows the sign of small gradients, which rounding may turn: a few numbers may differ by a step.
    same = counts[0] == counts[1]
    off = np.abs(native[0] - twin[0])[same]
    assert (off > 1e-3).mean() < 0.01 and off.max() < 0.11, ((off > 1e-3).mean(), off.max())
    np.testing.assert_allclose(native[3][same], twin[3][same], rtol=1e-2, atol=1e-2)
    if degree < 3:
        used = 16 + -(-3 * (degree + 1) ** 2 // 16) * 16
        np.testing.assert_array_equal(native[0][:, used:], start[:, used:])


def test_update_steps_down_the_gradient():
    rows, _, _, _ = updated("native", 1)
    start = random_rows(40, 21, filtered=True)
    d, _ = reference.splat_backward(draw(start, "reference"), start, *upstream((37, 29), 7, 100))
    clear = np.abs(d) > 1e-3  # one step of Adam is the learning rate, whatever the length of the gradient
    np.testing.assert_allclose((rows - start)[clear], -0.01 * np.sign(d[clear]), rtol=0.02)


def test_a_frame_may_be_used_again():
    big, small = random_rows(70, 1), random_rows(20, 2)
    used = draw(big, size=(50, 40), channels=7, median=True)
    again = draw(small, size=(20, 30), channels=4, reuse=used)
    assert again is used
    fresh = draw(small, size=(20, 30), channels=4)
    assert again.features.tobytes() == fresh.features.tobytes() and again.median_depth is None
    g, _ = upstream((20, 30), 4)
    for a, b in zip(kernels.splat_backward(again, small, g), kernels.splat_backward(fresh, small, g)):
        assert a.tobytes() == b.tobytes()


def answers(threads: int, level: str) -> list[bytes]:
    native = kernels.native()
    before = native.simd_level()
    native.set_num_threads(threads)
    native.set_simd_level(level)
    try:
        found = []
        for channels, antialiased in ((3, False), (4, True), (7, True)):
            rows = random_rows(3000, channels, width=0.03, filtered=antialiased)
            size = (133, 101)
            frame = draw(rows, size=size, channels=channels, antialiased=antialiased, median=channels > 3)
            found += [frame.features, frame.transmittance, frame.visible]
            found += [frame.median_depth] if channels > 3 else []
            found += kernels.splat_backward(frame, rows, *upstream(size, channels))
        found += updated("native", 3, n=2500)
        return [a.tobytes() for a in found]
    finally:
        native.set_num_threads(0)
        native.set_simd_level(before)


def test_same_bytes_with_any_threads_and_instructions():
    first = answers(1, "baseline")
    for threads, level in ((2, "baseline"), (2, "avx512"), (1, "avx2"), (3, "avx2"), (1, "avx512")):
        assert answers(threads, level) == first, (threads, level)
