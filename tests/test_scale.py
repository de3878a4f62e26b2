"""Metres from a network's depth: exact where the network is, honest where it is not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from rilievo.errors import AlignmentError, InputError
from rilievo.stages.references import DepthPoints, KnownDepth, KnownLength, KnownPlane
from rilievo.stages.scale import ScaleConfig, fit_scale, length_between, metric_depth, plus_minus, polyline_lengths
from rilievo.stages.scale_error import SHAPE_ERRORS, ShapeError
from rilievo.stages.scale_measure import measure_places
from rilievo.types import Camera, PhotoDepth, ScaleFit

H, W = 150, 200
CAMERA = Camera("PINHOLE", W, H, np.array([180.0, 180.0, W / 2, H / 2]))


def room(seed: int | None = None, level: float = 0.1) -> np.ndarray:
    """Depth of a floor that ends in a wall, with a box on it; with a seed, wrong by a smooth field."""
    import cv2

    y = (np.arange(H)[:, None] + 0.5 - H / 2) / 180 + np.zeros((1, W))
    depth = np.minimum(5.0, 1.2 / np.maximum(y, 1e-3))
    depth[80:120, 60:110] = 2.2
    if seed is None:
        return depth
    rng = np.random.default_rng(seed)
    wide = cv2.resize(rng.normal(0, 1, (4, 5)), (W, H), interpolation=cv2.INTER_CUBIC)
    near = cv2.resize(rng.normal(0, 1, (9, 12)), (W, H), interpolation=cv2.INTER_CUBIC)
    return depth * np.exp(level * (0.75 * wide / wide.std() + 0.65 * near / near.std()))


def seen(depth: np.ndarray, scale: str = "relative", a: float = 2.0, b: float = 0.15, **changes: object) -> PhotoDepth:
    """A network's answer whose 1/depth is a * disparity + b (b only where it is relative)."""
    inverse = 1 / depth
    disparity = {"relative": (inverse - b) / a, "similar": inverse / a, "metric": inverse}[scale]
    nan = np.full(depth.shape, np.nan, np.float32)
    known = np.ones(depth.shape, np.float32)
    sky = np.zeros(depth.shape, bool)
    value = PhotoDepth(
        "a.jpg", "some", scale, CAMERA, "exif", 0.02, np.maximum(disparity, 1e-4).astype(np.float32), nan, known, sky
    )  # fmt: skip
    return replace(value, **changes)  # type: ignore[arg-type]


def point(depth: np.ndarray, xy: tuple[float, float]) -> np.ndarray:
    z = depth[int(xy[1]), int(xy[0])]
    return np.array([(xy[0] - CAMERA.cx) / CAMERA.fx * z, (xy[1] - CAMERA.cy) / CAMERA.fy * z, z])


def true_length(depth: np.ndarray, xy0: tuple[float, float], xy1: tuple[float, float]) -> float:
    return float(np.linalg.norm(point(depth, xy0) - point(depth, xy1)))


EXACT = ScaleConfig(click_px=0.0)
NEAR, FAR, BOX = (100.5, 140.5), (60.5, 40.5), (80.5, 100.5)


def known_depth(depth: np.ndarray, xy: tuple[float, float]) -> KnownDepth:
    return KnownDepth(xy, float(point(depth, xy)[2]))


# --- exact networks ---------------------------------------------------------------------------------------------------


def test_two_depths_fix_scale_and_shift():
    depth = room()
    fit = fit_scale(seen(depth), [known_depth(depth, NEAR), known_depth(depth, FAR)])
    assert fit.a == pytest.approx(2.0, rel=0.25) and fit.b == pytest.approx(0.15, abs=0.05)
    assert fit.shift_known and fit.unit == "m" and fit.num_references == 2
    assert "scale and shift" in fit.method


def test_many_depths_leave_no_room_for_what_is_typical():
    depth = room()
    y, x = np.mgrid[5:H:8, 5:W:8] + 0.5
    xy = np.stack([x.ravel(), y.ravel()], 1)
    z = depth[xy[:, 1].astype(int), xy[:, 0].astype(int)]
    fit = fit_scale(seen(depth), [DepthPoints(xy, z)])
    assert fit.a == pytest.approx(2.0, rel=0.02) and fit.b == pytest.approx(0.15, abs=0.01)


def test_a_third_of_wrong_points_does_not_move_the_fit():
    depth = room(3, 0.05)
    rng = np.random.default_rng(0)
    xy = rng.uniform(2, [W - 2, H - 2], (3000, 2))
    z = depth[xy[:, 1].astype(int), xy[:, 0].astype(int)] * rng.normal(1, 0.01, 3000)
    wrong = z.copy()
    bad = rng.random(3000) < 0.33
    wrong[bad] *= np.exp(rng.normal(0.8, 0.7, bad.sum()))
    clean = fit_scale(seen(depth), [DepthPoints(xy, z, unit="unknown")])
    fit = fit_scale(seen(depth), [DepthPoints(xy, wrong, unit="unknown")])
    assert fit.unit == "unknown" and fit.num_outliers > 600
    here = np.array([0.1, 0.2, 0.35])
    assert np.allclose(fit.a * here + fit.b, clean.a * here + clean.b, rtol=0.02)


@pytest.fixture
def good_network(monkeypatch):
    """The tests' model is known to be wrong by 1 % only."""
    monkeypatch.setitem(SHAPE_ERRORS, "some", ShapeError(level=0.01))


def test_one_length_fixes_the_scale_and_says_that_the_shift_is_assumed(good_network):
    depth = room()
    given = KnownLength((65.5, 100.5), (105.5, 100.5), true_length(depth, (65.5, 100.5), (105.5, 100.5)))
    photo = seen(depth)
    fit = fit_scale(photo, [given])
    assert not fit.shift_known and "shift as in typical photos" in fit.method
    length, sigma = length_between(photo, fit, given.xy0, given.xy1)
    assert length == pytest.approx(given.length, rel=0.01)
    far, far_sigma = length_between(photo, fit, FAR, (140.5, 40.5))
    assert far_sigma / far > 2 * sigma / length


def test_one_length_is_enough_where_only_the_scale_is_unknown():
    depth = room()
    for scale, a in (("similar", 2.0), ("metric", 1.0)):
        photo = seen(depth, scale)
        fit = fit_scale(photo, [KnownLength(FAR, (140.5, 40.5), true_length(depth, FAR, (140.5, 40.5)))])
        assert fit.b == 0.0 and fit.shift_known and fit.a == pytest.approx(a, rel=0.01)


def test_a_metric_network_is_checked_by_references():
    depth = room()
    photo = seen(depth * 1.1, "metric")
    unchecked = fit_scale(photo)
    assert (unchecked.a, unchecked.b, unchecked.unit) == (1.0, 0.0, "m") and "not checked" in unchecked.method
    fit = fit_scale(photo, [known_depth(depth, NEAR), known_depth(depth, FAR), known_depth(depth, BOX)])
    assert 1.05 < fit.a < 1.1 and "times 0.9" in fit.method
    assert length_between(photo, fit, NEAR, FAR)[1] < length_between(photo, unchecked, NEAR, FAR)[1]


def test_distance_along_the_ray_is_told_from_depth():
    depth = room()
    corner = (190.5, 140.5)
    x = point(depth, corner)
    photo = seen(depth, "similar")
    along = fit_scale(photo, [KnownDepth(corner, float(np.linalg.norm(x)), along_ray=True)])
    assert along.a == pytest.approx(fit_scale(photo, [known_depth(depth, corner)]).a, rel=1e-6)


def test_a_rectangle_fixes_scale_and_shift():
    depth = room()
    # On the floor, 1.2 m below the camera: a strip of 0.5 m by 2 m that runs away from it.
    corners = np.array([[-0.5, 1.2, 2.5], [0.5, 1.2, 2.5], [0.5, 1.2, 4.5], [-0.5, 1.2, 4.5]])
    xy = corners[:, :2] / corners[:, 2:] * 180 + [W / 2, H / 2]
    depth[80:120, 60:110] = np.minimum(5.0, 1.2 / ((np.arange(80, 120) + 0.5 - H / 2) / 180))[:, None]
    plane = KnownPlane(tuple(map(tuple, xy.tolist())), 1.0, 2.0, corner_sigma_px=0.2)
    fit = fit_scale(seen(depth), [plane])
    assert fit.a == pytest.approx(2.0, rel=0.2) and fit.unit == "m"


def test_pixels_count_in_the_photo_whose_size_is_stated():
    depth = room()
    refs = [known_depth(depth, NEAR), known_depth(depth, FAR)]
    tall = [replace(r, xy=(r.xy[0] * 5, r.xy[1] * 5)) for r in refs]
    photo = seen(depth)
    small, large = fit_scale(photo, refs), fit_scale(photo, tall, photo_size=(W * 5, H * 5))
    assert large.a == pytest.approx(small.a, rel=0.02)
    length = length_between(photo, large, (500, 700), (300, 200), photo_size=(W * 5, H * 5))[0]
    assert length == pytest.approx(length_between(photo, large, (100, 140), (60, 40))[0], rel=0.01)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_references_that_contradict_each_other_are_refused_or_set_aside():
    depth = room()
    good = [known_depth(depth, NEAR), known_depth(depth, FAR), known_depth(depth, (150.5, 120.5))]
    with pytest.raises(AlignmentError, match="do not agree"):
        fit_scale(seen(depth, "similar"), [good[0], replace(good[1], depth=100 * good[1].depth)])
    wrong = KnownDepth(BOX, 22.0)  # a point too much
    fit = fit_scale(seen(depth), [*good, wrong])
    assert fit.num_outliers == 1 and fit.num_references == 3 and "1 set aside" in fit.method
    assert fit.a == pytest.approx(2.0, rel=0.25)


def test_references_without_depth_are_refused():
    depth, refuse = room(), pytest.raises
    sky, hole = np.zeros((H, W), bool), seen(depth).disparity.copy()
    sky[:20], hole[30:40] = True, np.nan
    photo = seen(depth, sky=sky, disparity=hole)
    for xy, why in (((10, 10), "sky"), ((50, 35), "gave no depth"), ((500, 20), "outside")):
        with refuse(InputError) as error:
            fit_scale(photo, [KnownDepth(xy, 2.0)])
        assert why in error.value.why
        with refuse(InputError) as error:
            length_between(photo, fit_scale(photo), xy, (100, 100))
        assert why in error.value.why
    with refuse(InputError, match="depth of -1"):
        fit_scale(photo, [KnownDepth((100, 100), -1.0)])
    with refuse(InputError, match="pixel and itself"):
        fit_scale(photo, [KnownLength((100, 100), (100, 100), 1.0)])
    with refuse(AlignmentError, match="no surface"):
        fit_scale(replace(photo, sky=np.ones((H, W), bool)))


# --- honest errors ----------------------------------------------------------------------------------------------------


def trials(scale: str, num: int = 60) -> np.ndarray:
    """Rows of (error, plus-minus, length) of lengths after two known depths or lengths on wrong networks."""
    depth, rows = room(), []
    rng = np.random.default_rng(11)
    photos = [seen(room(seed, 0.12), scale, b=0.05) for seed in range(6)]
    for k in range(num):
        photo = photos[k % len(photos)]
        xy = [tuple(p) for p in (np.floor(rng.uniform(4, [W - 4, H - 4], (6, 2))) + 0.5).tolist()]
        if k % 2:
            refs = [known_depth(depth, xy[0]), known_depth(depth, xy[1])]
        else:
            refs = [KnownLength(xy[i], xy[i + 1], true_length(depth, xy[i], xy[i + 1])) for i in (0, 2)]
        length, sigma = length_between(photo, fit_scale(photo, refs), xy[4], xy[5])
        rows.append((abs(length - true_length(depth, xy[4], xy[5])), plus_minus(length, sigma), length))
    return np.array(rows)


@pytest.mark.parametrize("scale", ["relative", "similar"])
def test_the_stated_plus_minus_is_true(scale):
    rows = trials(scale)
    assert (rows[:, 0] <= rows[:, 1]).mean() > 0.9
    assert np.median(rows[:, 1] / rows[:, 2]) < (0.95 if scale == "relative" else 0.8)


def test_errors_inside_one_object_are_more_alike_than_across_the_picture():
    photo = seen(room(), "similar")
    fit = fit_scale(photo, [known_depth(room(), NEAR)])
    xy = np.array([[75.5, 90.5], [80.5, 90.5], [130.5, 90.5]])
    C = measure_places(photo, fit, xy, config=EXACT).covariance
    apart = [C[0, 0] + C[k, k] - 2 * C[0, k] for k in (1, 2)]  # variance of the ratio of two depths
    assert 0 < apart[0] < 0.3 * apart[1]


def test_near_a_reference_depth_is_better_known():
    depth = room()
    photo = seen(depth, "similar")
    fit = fit_scale(photo, [known_depth(depth, (30.5, 40.5))])
    sigma = metric_depth(photo, fit).sigma / depth
    assert sigma[40, 30] < 0.6 * sigma[40, 180] < sigma[145, 180]


def test_the_focal_length_counts_across_but_not_where_the_reference_lies_across_too(good_network):
    depth = room()
    photo = seen(depth, "similar", focal_sigma=0.3)
    across = KnownLength((40.5, 30.5), (60.5, 30.5), true_length(depth, (40.5, 30.5), (60.5, 30.5)))
    ends = (40.5, 34.5), (60.5, 34.5)
    width_fit = fit_scale(photo, [across], config=EXACT)
    width, width_sigma = length_between(photo, width_fit, *ends, config=EXACT)
    deep_fit = fit_scale(photo, [known_depth(depth, (50.5, 30.5))], config=EXACT)
    deep, deep_sigma = length_between(photo, deep_fit, *ends, config=EXACT)
    assert deep_sigma / deep > 0.3 > 0.2 > width_sigma / width


def test_sigma_of_a_polyline_holds_what_its_parts_have_in_common(good_network):
    depth = room()
    photo = seen(depth)
    fit = fit_scale(photo, [known_depth(depth, NEAR), known_depth(depth, FAR)])
    xy = np.array([[30.5, 20.5], [50.5, 20.5], [70.5, 20.5]])
    lengths, covariance = polyline_lengths(photo, fit, xy)
    assert lengths.shape == (2,) and covariance[0, 1] > 0
    assert np.linalg.eigvalsh(covariance).min() > 0
    assert lengths[0] == pytest.approx(length_between(photo, fit, xy[0], xy[1])[0])


def test_plus_minus_is_two_sigma_where_sigma_is_small_and_more_where_it_is_not():
    assert plus_minus(2.0, 0.02) == pytest.approx(1.96 * 0.02, rel=0.01)
    assert plus_minus(2.0, 1.2) > 1.96 * 1.2
    assert plus_minus(2.0, 0.0) == 0.0


# --- whole maps -------------------------------------------------------------------------------------------------------


def test_metric_depth_of_the_whole_photo():
    depth = room()
    sky = np.zeros((H, W), bool)
    sky[:5] = True
    photo = seen(depth, sky=sky)
    made = metric_depth(photo, ScaleFit(2.0, 0.15, np.zeros((2, 2)), 0.1, "m", "given"))
    assert np.isnan(made.depth[:5]).all() and np.isnan(made.sigma[:5]).all() and np.isnan(made.normals[:5]).all()
    assert np.allclose(made.depth[5:], depth[5:], rtol=1e-5)
    assert np.allclose(made.normals[30, 30], [0, 0, -1], atol=1e-3)  # the wall
    assert np.allclose(made.normals[140, 20], [0, -1, 0], atol=2e-2)  # the floor
    assert (made.sigma[5:] > 0).all() and np.isfinite(made.sigma[5:]).all()
    assert (made.confidence[:5] == 0).all()


def test_beyond_infinity_depth_is_unknown():
    photo = seen(room())
    made = metric_depth(photo, ScaleFit(2.0, -0.3, np.zeros((2, 2)), 0.1, "m", "given"))
    lost = 2.0 * photo.disparity - 0.3 <= 0
    assert lost.any() and np.isnan(made.depth[lost]).all()


def test_a_fit_is_the_same_every_time():
    depth = room(2)
    refs = [known_depth(depth, NEAR), known_depth(depth, FAR)]
    first, second = (fit_scale(seen(depth), refs) for _ in range(2))
    assert (first.a, first.b) == (second.a, second.b) and np.array_equal(first.covariance, second.covariance)


def test_without_a_reference_there_is_no_unit_but_a_surface():
    photo = seen(room())
    fit = fit_scale(photo)
    assert fit.unit == "unknown" and not fit.shift_known and fit.num_references == 0
    made = metric_depth(photo, fit).depth
    assert np.isfinite(made).all() and 0.5 < np.median(made) < 2
    assert 2 < made.max() / made.min() < 20


def test_a_flat_wall_is_no_trouble():
    photo = seen(np.full((H, W), 3.0))
    fit = fit_scale(photo, [KnownDepth(NEAR, 3.0), KnownDepth(FAR, 3.0)])
    length, sigma = length_between(photo, fit, (50.5, 50.5), (150.5, 50.5))
    assert length == pytest.approx(100 / 180 * 3, rel=0.01) and math.isfinite(sigma)
