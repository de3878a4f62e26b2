"""Broken and extreme Gaussians: nothing crashes, all is finite, and the others are drawn as without them."""

from __future__ import annotations

import numpy as np
import pytest

from rilievo import kernels
from splat_rows_scenes import PLACED, camera, random_rows

BACK = np.array([0.2, 0.5, 0.9], np.float32)
SIZE = (37, 29)
BACKENDS = ["native", "reference"]


def draw(rows, backend="native", size=SIZE, channels=7, antialiased=True, median=False):
    forward = kernels.get("splat_forward", backend)
    return forward(rows, camera(*size), PLACED, *size, 0.05, 3, channels, antialiased, BACK, median)


def gradients(rows, backend="native", size=SIZE, channels=7, antialiased=True):
    frame = draw(rows, backend, size, channels, antialiased)
    g = np.random.default_rng(1).normal(size=(channels, size[1], size[0])).astype(np.float32)
    return kernels.get("splat_backward", backend)(frame, rows, g)


def one(**columns) -> np.ndarray:
    """A plain Gaussian in the middle of the picture, with some columns changed."""
    row = np.zeros((1, 64), np.float32)
    row[0, :3] = [0, 0, 3]
    row[0, 3], row[0, 4], row[0, 8:11], row[0, 16:19] = 1, 1, np.log(0.1), 0.5
    for name, value in columns.items():
        row[0, {"mean": slice(0, 3), "logit": 3, "quat": slice(4, 8), "scale": slice(8, 11), "filter": 11}[name]] = (
            value
        )
    return row


CENTER = -PLACED[:, :3].T @ PLACED[:, 3]
UNSEEN = {
    "nan mean": one(mean=np.nan),
    "infinite mean": one(mean=[0, np.inf, 3]),
    "far out mean": one(mean=[1e30, 0, 3]),
    "nan logit": one(logit=np.nan),
    "no opacity": one(logit=-np.inf),
    "faint": one(logit=-30),
    "nan quaternion": one(quat=[np.nan, 0, 0, 1]),
    "zero quaternion": one(quat=0),
    "huge quaternion": one(quat=1e30),
    "nan scale": one(scale=[0, np.nan, 0]),
    "infinite scale": one(scale=np.inf),
    "scale beyond floats": one(scale=1e30),
    "scale whose square is beyond floats": one(scale=60.0),
    "nan filter": one(filter=np.nan),
    "behind": one(mean=2 * CENTER - [0, 0, 3]),
    "on the camera": one(mean=CENTER),
    "within the near plane": one(mean=CENTER + 0.04 * PLACED[2, :3]),
    "giant behind": one(mean=2 * CENTER - [0, 0, 3], scale=np.log(1e6)),
}
BEYOND_FLOATS = ("scale beyond floats", "scale whose square is beyond floats", "huge quaternion")
for column in (16, 20, 63):
    for strange in (np.nan, np.inf):
        UNSEEN[f"{strange} in column {column}"] = one()
        UNSEEN[f"{strange} in column {column}"][0, column] = strange


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("antialiased", [True, False])
def test_the_others_are_drawn_as_if_broken_ones_were_not_there(backend, antialiased):
    good = random_rows(12 if backend == "reference" else 300, 5)
    clean, clean_gradients = (
        draw(good, backend, antialiased=antialiased),
        gradients(good, backend, antialiased=antialiased),
    )
    # What is beyond the range of float32 is no trouble for the twin.
    unseen = {k: v for k, v in UNSEEN.items() if backend == "native" or k not in BEYOND_FLOATS}
    for name in [*(unseen if backend == "native" else ()), "all"]:
        broken = np.concatenate(list(unseen.values())) if name == "all" else unseen[name]
        half = len(good) // 2
        rows = np.concatenate([good[:half], broken, good[half:]])
        kept = np.r_[:half, half + len(broken) : len(rows)]
        frame = draw(rows, backend, antialiased=antialiased)
        assert frame.features.tobytes() == clean.features.tobytes(), name
        assert frame.transmittance.tobytes() == clean.transmittance.tobytes(), name
        assert np.isin(frame.visible, kept).all(), name
        for found, expected in zip(gradients(rows, backend, antialiased=antialiased), clean_gradients):
            assert found[kept].tobytes() == expected.tobytes(), name
            assert not np.delete(found, kept, 0).any(), name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["nan mean", "infinite scale", "zero quaternion", "nan in column 20", "behind"])
def test_a_broken_gaussian_alone_is_an_empty_picture(backend, name):
    frame = draw(UNSEEN[name], backend, median=True)
    assert (frame.transmittance == 1).all() and (frame.median_depth == 0).all() and len(frame.visible) == 0
    np.testing.assert_array_equal(frame.features[:3], np.broadcast_to(BACK[:, None, None], frame.features[:3].shape))
    assert not frame.features[3:].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_giant_behind_them_all_is_a_backdrop(backend):
    good = random_rows(12, 5)
    giant = one(mean=[0, 0, 8], scale=np.log(1e6), logit=0.4)
    without, frame = draw(good, backend, channels=4), draw(np.concatenate([giant, good]), backend, channels=4)
    alpha, color = 1 / (1 + np.exp(-0.4)), 0.5 + 0.28209479177387814 * 0.5
    light = without.transmittance.astype(np.float64)
    z = PLACED[2, :3] @ [0, 0, 8] + PLACED[2, 3]
    open_ = light >= 1.001e-4  # beyond that nothing is added
    np.testing.assert_allclose(frame.transmittance[open_], (light * (1 - alpha))[open_], rtol=1e-3, atol=1e-5)
    expected = without.features[:3] + light * alpha * (color - BACK.astype(np.float64)[:, None, None])
    np.testing.assert_allclose(frame.features[:3][:, open_], expected[:, open_], atol=1e-3)
    np.testing.assert_allclose(frame.features[3][open_], (without.features[3] + light * alpha * z)[open_], rtol=2e-3)


EXTREME = {
    "needle": one(scale=[np.log(1e-8), np.log(1e-8), 0], quat=[0.8, 0.3, 0.4, 0.2]),
    "disc": one(scale=[0, 0, np.log(1e-8)], quat=[0.8, 0.3, 0.4, 0.2]),
    "disc seen from its edge": one(scale=[0, np.log(1e-8), 0], quat=[1, 0, 0, 0]),
    "point": one(scale=np.log(1e-8)),
    "no extent": one(scale=-1e30),
    "no extent, filtered": one(scale=-60, filter=0.01),
    "giant": one(scale=np.log(1e6)),
    "giant needle": one(scale=[np.log(1e6), np.log(1e-6), np.log(1e-6)]),
    "giant out of the picture": one(mean=[1e4, -1e4, 3], scale=np.log(1e6)),
    "full opacity": one(logit=1e30),
    "just before the near plane": one(mean=CENTER + 0.0501 * PLACED[2, :3], scale=np.log(1e-3)),
    "far": one(mean=[0, 0, 1e15], scale=np.log(1e14)),
    "short quaternion": one(quat=[3e-10, 0, 4e-10, 0]),
    "glaring": np.where(np.arange(64) >= 16, np.float32(1e20), one()).astype(np.float32),
}


@pytest.mark.parametrize("antialiased", [True, False])
@pytest.mark.parametrize("name", EXTREME)
def test_extreme_gaussians_stay_finite_and_like_the_twin(name, antialiased):
    rows = np.concatenate([random_rows(8, 5), EXTREME[name]])
    native, twin = (draw(rows, b, antialiased=antialiased, median=True) for b in BACKENDS)
    for a in (native.features, native.transmittance, native.median_depth):
        assert np.isfinite(a).all()
    size = np.maximum(np.abs(twin.features).reshape(7, -1).max(1), 1)[:, None, None]
    off = np.abs(native.features - twin.features) / size
    assert (off > 2e-3).mean() < 0.02
    assert ((native.transmittance >= 0) & (native.transmittance <= 1)).all()
    for found in gradients(rows, antialiased=antialiased):
        assert np.isfinite(found).all()


def test_a_gradient_that_is_no_number_moves_nothing():
    rows = random_rows(30, 6)
    before = rows.copy()
    first, second, score = np.zeros_like(rows), np.zeros_like(rows), np.zeros((30, 4), np.float32)
    rates, bias = np.full(64, 0.01, np.float32), np.ones((2, 1), np.float32)
    rates[11:16] = 0
    for strange in (np.nan, np.inf):
        g = np.full((7, SIZE[1], SIZE[0]), strange, np.float32)
        kernels.splat_update(draw(rows), g, None, rows, first, second, score, rates, bias, 0.9, 0.999, 1e-15)
        np.testing.assert_array_equal(rows, before)
        # (one that lies beside the last pixel of the picture, but in its tile, has a gradient: 0)
        assert (
            not second.any() and not np.delete(first, 12, 1).any() and first[:, 12].sum() <= 2 and not score[:, 0].any()
        )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [SIZE, (1, 1)])
def test_nothing_to_draw(backend, size):
    rows = np.zeros((0, 64), np.float32)
    frame = draw(rows, backend, size, median=True)
    assert (frame.transmittance == 1).all() and len(frame.visible) == 0 and (frame.median_depth == 0).all()
    d_rows, d_xy = gradients(rows, backend, size)
    assert d_rows.shape == (0, 64) and d_xy.shape == (0, 2)


GOOD = {
    "rows": random_rows(4), "camera": camera(*SIZE), "cam_from_world": PLACED, "width": 37, "height": 29, "near": 0.05,
    "degree": 3, "channels": 7, "antialiased": True, "background": BACK,
}  # fmt: skip


@pytest.mark.parametrize(("error", "change"), [
    (TypeError, {"rows": GOOD["rows"].astype(np.float64)}), (TypeError, {"rows": GOOD["rows"][:, :63]}),
    (TypeError, {"rows": GOOD["rows"][0]}), (TypeError, {"rows": np.asfortranarray(GOOD["rows"])}),
    (TypeError, {"camera": GOOD["camera"].astype(np.float32)}), (TypeError, {"camera": GOOD["camera"][:3]}),
    (TypeError, {"cam_from_world": np.eye(4)}), (TypeError, {"background": np.zeros(4, np.float32)}),
    (ValueError, {"width": 0}), (ValueError, {"height": -1}), (ValueError, {"width": 32768}),
    (ValueError, {"degree": 4}), (ValueError, {"degree": -1}), (ValueError, {"channels": 5}),
    (ValueError, {"channels": 3, "median": True}), (ValueError, {"near": 0.0}), (ValueError, {"near": np.nan}),
    (ValueError, {"camera": np.array([0.0, 30, 10, 10])}), (ValueError, {"camera": np.array([30.0, 30, np.nan, 10])}),
    (ValueError, {"cam_from_world": np.full((3, 4), np.inf)}),
])  # fmt: skip
def test_wrong_arguments_are_refused(error, change):
    assert kernels.splat_forward(**GOOD) is not None
    with pytest.raises(error):
        kernels.splat_forward(**GOOD | change)


def test_wrong_gradients_and_moments_are_refused():
    rows = random_rows(4)
    frame = draw(rows)
    g = np.zeros((7, SIZE[1], SIZE[0]), np.float32)
    light = np.zeros(SIZE[::-1], np.float32)
    for wrong in (
        (rows[:3], g), (rows, g[:3]), (rows, g[:, 1:].copy()), (rows, g[:, :, 1:].copy()), (rows, g, light.T.copy()),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            kernels.splat_backward(frame, *wrong)
    with pytest.raises(TypeError):
        kernels.splat_backward(frame, rows, g.astype(np.float64))
    blank, score = np.zeros_like(rows), np.zeros((4, 4), np.float32)
    rates, bias = np.zeros(64, np.float32), np.ones((2, 5), np.float32)
    good = [g, light, rows.copy(), blank, blank.copy(), score, rates, bias, 0.9, 0.999, 1e-15]
    kernels.splat_update(frame, *good)
    for at, wrong in {2: rows[:3], 3: blank[:, :60].copy(), 4: blank[:2], 5: score[:, :3].copy(), 0: g[:4],
                      1: light[:5], 8: 1.0, 9: -0.1, 10: 0.0}.items():  # fmt: skip
        with pytest.raises(ValueError):
            kernels.splat_update(frame, *good[:at], wrong, *good[at + 1 :])
    for at, wrong in {2: rows.astype(np.float64), 6: rates[:63], 7: bias[:1], 5: score.astype(np.float64)}.items():
        with pytest.raises(TypeError):
            kernels.splat_update(frame, *good[:at], wrong, *good[at + 1 :])
    read_only = rows.copy()
    read_only.flags.writeable = False
    with pytest.raises(TypeError):
        kernels.splat_update(frame, *good[:2], read_only, *good[3:])
