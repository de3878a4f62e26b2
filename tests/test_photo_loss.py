"""The loss of a rendering against a photo: equal to its twin, its gradient to central differences; rubbish."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from rilievo import kernels
from rilievo.evaluate.images import ssim

SIZES = [(37, 50), (16, 16), (70, 33), (5, 3), (1, 1), (1, 40)]
OPTIONS = {
    "plain": {},
    "alpha": {"alpha": True},
    "mask": {"mask": True},
    "blocks": {"blocks": True},
    "exposure": {"exposure": True},
    "everything": {"alpha": True, "mask": True, "blocks": True, "exposure": True},
}


def scene(
    h: int, w: int, *, alpha=False, mask=False, blocks=False, exposure=False, seed=0
) -> dict[str, np.ndarray | None]:
    """Arguments of the loss before `dssim`: a smooth rendering, a photo that is near it with some noise."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(0, 3, w), np.linspace(0, 2, h))
    rendered = 0.5 + 0.3 * np.sin(x + y * [[[1]], [[2]], [[3]]]) + 0.05 * rng.normal(size=(3, h, w))
    photo = np.clip(rendered.transpose(1, 2, 0) + 0.1 * rng.normal(size=(h, w, 3)), 0, 1)
    shape = (-(-h // 16), -(-w // 16))
    return {
        "rendered": rendered.astype(np.float32),
        "photo": np.rint(photo * 255).astype(np.uint8),
        "alpha": rng.integers(0, 256, (h, w)).astype(np.uint8) if alpha else None,
        "mask": (rng.random((h, w)) < 0.7).astype(np.uint8) * 255 if mask else None,
        "block_weights": rng.uniform(0, 2, shape).astype(np.float32) if blocks else None,
        "background": np.array([0.9, 0.2, 0.4], np.float32),
        "gain": np.array([1.2, 0.8, 0.9] if exposure else [1, 1, 1], np.float32),
        "bias": np.array([0.05, -0.1, 0.02] if exposure else [0, 0, 0], np.float32),
    }


def answer(backend: str, arguments: dict, dssim: float) -> tuple:
    """What the kernel returns, its gradient, and its errors of blocks."""
    h, w = arguments["photo"].shape[:2]
    gradient, errors = np.full((3, h, w), 7, np.float32), np.full((-(-h // 16), -(-w // 16)), 7, np.float32)
    found = kernels.get("photo_loss", backend)(*arguments.values(), dssim, gradient, errors)
    return found, gradient, errors


@pytest.mark.parametrize("dssim", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", OPTIONS)
def test_loss_equals_twin(options, size, dssim):
    arguments = scene(*size, **OPTIONS[options])
    native, twin = (answer(b, arguments, dssim) for b in ("native", "reference"))
    for a, b in zip(native[0], twin[0]):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(native[1], twin[1], rtol=2e-3, atol=2e-4 * np.abs(twin[1]).max())
    np.testing.assert_allclose(native[2], twin[2], rtol=1e-5, atol=1e-6)


def objective(arguments: dict, dssim: float, frozen: np.ndarray) -> float:
    """The loss again, window by window. frozen: where the mask hides the photo, both pictures are this."""
    gain, bias, background = (
        np.asarray(arguments[k], np.float64)[:, None, None] for k in ("gain", "bias", "background")
    )
    x = arguments["rendered"] * gain + bias
    y = arguments["photo"].transpose(2, 0, 1) / 255
    h, w = y.shape[1:]
    if arguments["alpha"] is not None:
        opaque = arguments["alpha"] / 255
        y = y * opaque + background * (1 - opaque)
    weight = np.ones((h, w))
    if arguments["block_weights"] is not None:
        weight = arguments["block_weights"].astype(np.float64).repeat(16, 0).repeat(16, 1)[:h, :w]
    if arguments["mask"] is not None:
        hidden = arguments["mask"] == 0
        weight = np.where(hidden, 0, weight)
        x, y = np.where(hidden, frozen, x), np.where(hidden, frozen, y)
    at = np.arange(-5, 6)
    window = np.exp(-(at[:, None] ** 2 + at**2) / 4.5)
    window /= window.sum()
    mean = lambda a: (sliding_window_view(np.pad(a, 5), (11, 11)) * window).sum((-1, -2))  # noqa: E731
    total = 0.0
    for c in range(3):
        mx, my = mean(x[c]), mean(y[c])
        vx, vy, vxy = mean(x[c] ** 2) - mx**2, mean(y[c] ** 2) - my**2, mean(x[c] * y[c]) - mx * my
        S = (2 * mx * my + 1e-4) * (2 * vxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
        total += (weight * ((1 - dssim) * np.abs(x[c] - y[c]) + dssim * (1 - S))).sum()
    return total / (3 * h * w)


@pytest.mark.parametrize("dssim", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("options", OPTIONS)
def test_gradient_equals_central_differences(options, dssim):
    h, w = 19, 23
    arguments = scene(h, w, **OPTIONS[options], seed=5)
    wide = {k: v.astype(np.float64) if v is not None and v.dtype == np.float32 else v for k, v in arguments.items()}
    frozen = wide["rendered"] * wide["gain"][:, None, None] + wide["bias"][:, None, None]
    found, gradient, _ = answer("native", arguments, dssim)
    step = 1e-7  # short: |x - y| has a corner

    def slope(name: str, at) -> float:
        sides = []
        for sign in (1, -1):
            changed = wide[name].copy()
            changed[at] += sign * step
            sides.append(objective(wide | {name: changed}, dssim, frozen))
        return (sides[0] - sides[1]) / (2 * step)

    rng = np.random.default_rng(6)
    limit = 2e-3 * float(np.abs(gradient).max())
    for _ in range(25):
        c, i, j = rng.integers(0, [3, h, w])
        if arguments["mask"] is not None and arguments["mask"][i, j] == 0:
            assert gradient[c, i, j] == 0
            continue
        assert gradient[c, i, j] == pytest.approx(slope("rendered", (c, i, j)), rel=2e-3, abs=limit)
    for name, part in (("gain", found[4]), ("bias", found[5])):
        for c in range(3):
            assert part[c] == pytest.approx(slope(name, c), rel=2e-3, abs=1e-4)


def test_sums_are_those_that_papers_report():
    arguments = scene(40, 61)
    (l1, similar, squared, number, _, _), _, errors = answer("native", arguments, 0.2)
    x, y = arguments["rendered"].transpose(1, 2, 0).astype(np.float64), arguments["photo"] / 255
    assert number == 40 * 61 * 3
    assert l1 / number == pytest.approx(np.abs(x - y).mean(), rel=1e-5)
    assert squared / number == pytest.approx(((x - y) ** 2).mean(), rel=1e-5)
    # The published measure, with black around the picture.
    assert similar / number == pytest.approx(ssim(np.clip(x, 0, 1), y, padding="zero"), abs=2e-3)
    assert errors[0, 0] == pytest.approx(np.abs(x - y)[:16, :16].mean(), rel=1e-5)
    assert errors[-1, -1] == pytest.approx(np.abs(x - y)[32:, 48:].mean(), rel=1e-5)


def test_equal_pictures_have_no_loss():
    arguments = scene(33, 40)
    arguments["rendered"] = np.ascontiguousarray(arguments["photo"].transpose(2, 0, 1) / np.float32(255), np.float32)
    (l1, similar, _, number, _, _), gradient, errors = answer("native", arguments, 0.5)
    assert l1 < 1e-4 and similar == pytest.approx(number, rel=1e-5) and errors.max() < 1e-6
    assert np.abs(gradient).max() * number < 0.6  # at most the sign of rounding, times 1 - dssim


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_photo_that_is_hidden_says_nothing(backend):
    arguments = scene(20, 35)
    arguments["mask"] = np.zeros((20, 35), np.uint8)
    (l1, similar, squared, number, d_gain, d_bias), gradient, errors = answer(backend, arguments, 0.2)
    assert (l1, similar, squared, number) == (0, 0, 0, 0) and not any(d_gain) and not any(d_bias)
    assert not gradient.any() and not errors.any()


def test_what_the_mask_hides_changes_nothing():
    arguments = scene(40, 48, mask=True)
    changed = dict(arguments)
    changed["photo"] = np.where(arguments["mask"][..., None] > 0, arguments["photo"], 255 - arguments["photo"])
    a, b = answer("native", arguments, 0.2), answer("native", changed, 0.2)
    assert a[0] == b[0] and a[1].tobytes() == b[1].tobytes() and a[2].tobytes() == b[2].tobytes()


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf, 1e30])
def test_rubbish_in_a_rendering_stays_near_its_place(strange):
    arguments = scene(48, 80)
    arguments["rendered"][1, 20, 30] = strange
    clean = answer("native", scene(48, 80), 0.2)[1]
    (l1, *_), gradient, errors = answer("native", arguments, 0.2)
    assert not l1 < 1e6  # not passed over
    far = np.ones((48, 80), bool)
    far[9:32, 19:42] = False
    np.testing.assert_array_equal(gradient[:, far], clean[:, far])
    np.testing.assert_array_equal(gradient[[0, 2]], clean[[0, 2]])
    assert np.isfinite(np.delete(errors.ravel(), 5 + 1)).all() and not errors[1, 1] < 1e3


def test_more_channels_than_colours_are_left_alone():
    arguments = scene(20, 30)
    _, gradient, _ = answer("native", arguments, 0.2)
    arguments["rendered"] = np.concatenate([arguments["rendered"], np.full((4, 20, 30), np.nan, np.float32)])
    wide = np.full((7, 20, 30), 3, np.float32)
    kernels.photo_loss(*arguments.values(), 0.2, wide, np.zeros((2, 2), np.float32))
    assert wide[:3].tobytes() == gradient.tobytes() and (wide[3:] == 3).all()


def answers(threads: int, level: str) -> list:
    native = kernels.native()
    before = native.simd_level()
    native.set_num_threads(threads)
    native.set_simd_level(level)
    try:
        found = []
        for size in ((130, 201), (33, 17), (1, 1)):
            sums, gradient, errors = answer("native", scene(*size, **OPTIONS["everything"]), 0.2)
            found.append((sums, gradient.tobytes(), errors.tobytes()))
        return found
    finally:
        native.set_num_threads(0)
        native.set_simd_level(before)


def test_same_bytes_with_any_threads_and_instructions():
    first = answers(1, "baseline")
    for threads, level in ((2, "baseline"), (2, "avx512"), (1, "avx2"), (3, "avx2")):
        assert answers(threads, level) == first, (threads, level)


def test_wrong_arguments_are_refused():
    good = scene(20, 35, **OPTIONS["everything"])
    gradient, errors = np.zeros((3, 20, 35), np.float32), np.zeros((2, 3), np.float32)
    kernels.photo_loss(*good.values(), 0.2, gradient, errors)
    for name, wrong in {
        "rendered": good["rendered"][:, :19], "alpha": good["alpha"][:5], "mask": good["mask"][:5],
        "block_weights": np.ones((2, 2), np.float32), "gain": np.zeros(3, np.float32),
        "bias": np.full(3, np.nan, np.float32), "photo": good["photo"][:19],
    }.items():  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            kernels.photo_loss(*(good | {name: wrong}).values(), 0.2, gradient, errors)
    for name in ("rendered", "photo", "mask", "alpha", "background"):
        with pytest.raises(TypeError):
            kernels.photo_loss(*(good | {name: good[name].astype(np.float64)}).values(), 0.2, gradient, errors)
    for dssim in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError):
            kernels.photo_loss(*good.values(), dssim, gradient, errors)
    for one, other in ((gradient[:2], errors), (gradient, errors[:1]), (gradient[:, :10].copy(), errors)):
        with pytest.raises(ValueError):
            kernels.photo_loss(*good.values(), 0.2, one, other)
