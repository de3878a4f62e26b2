"""Scores of single-photo depth with answers that can be worked out by hand."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rilievo import cli
from rilievo.errors import InputError
from rilievo.evaluate.depth import (
    BASELINES,
    DepthEvaluateConfig,
    DepthScore,
    align_disparity,
    aligned_inverse,
    boundary_score,
    evaluate_depth,
    fit_size,
    mean_score,
)
from rilievo.io.depth_files import write_photo_depth
from rilievo.types import Camera, PhotoDepth


def room(seed: int = 0, shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    """Depth of a floor that rises to a wall, a box before it, some pixels unknown."""
    rng = np.random.default_rng(seed)
    depth = np.minimum(6.0, 60.0 / (np.arange(shape[0])[:, None] + 6.0)) * np.ones(shape)
    depth[15:30, 20:40] = 2.5
    depth[rng.random(shape) < 0.05] = np.nan
    return depth


@given(st.floats(0.01, 100), st.floats(-5, 5), st.sampled_from(["least squares", "median"]))
def test_a_right_prediction_is_perfect_at_any_scale_and_shift(scale, shift, method):
    depth = room()
    inverse = np.nan_to_num(1 / depth, nan=0.3)
    found = evaluate_depth(scale * inverse + shift, depth, config=DepthEvaluateConfig(method=method))
    assert found.abs_rel < 1e-6 and found.delta1 == 1 and found.ordinal == 1
    assert found.boundary_f1 > 0.99  # a step of just 5 % may fall to either side
    a, b = align_disparity(scale * inverse + shift, depth, method=method)
    np.testing.assert_allclose([a * scale, a * shift + b], [1, 0], atol=1e-6)


@given(st.floats(0.1, 10), st.floats(-2, 2), st.integers(0, 5))
def test_scores_do_not_depend_on_scale_and_shift_of_the_prediction(scale, shift, seed):
    depth = room(seed)
    guess = np.random.default_rng(seed).random(depth.shape) + np.nan_to_num(1 / depth, nan=0.2)
    for method in ("least squares", "median"):
        config = DepthEvaluateConfig(method=method, max_depth=5.0)
        one, two = (evaluate_depth(d, depth, config=config) for d in (guess, scale * guess + shift))
        np.testing.assert_allclose(one.abs_rel, two.abs_rel, rtol=1e-6)
        np.testing.assert_allclose(one.delta1, two.delta1, atol=2e-3)
        np.testing.assert_allclose(one.ordinal, two.ordinal, atol=1e-4)


def test_known_numbers():
    """Depths 1, 2, 4 seen as one: the mean of inverse depth is 7/12."""
    depth = np.array([[1.0, 2.0, 4.0]])
    found = evaluate_depth(np.ones((1, 3)), depth)
    seen = 12 / 7
    np.testing.assert_allclose(found.abs_rel, (abs(seen - 1) + abs(seen - 2) / 2 + abs(seen - 4) / 4) / 3)
    assert found.delta1 == pytest.approx(1 / 3) and found.ordinal == 0.5
    # the median fit instead takes the middle one
    found = evaluate_depth(np.ones((1, 3)), depth, config=DepthEvaluateConfig(method="median"))
    np.testing.assert_allclose(found.abs_rel, (1 + 0 + 0.5) / 3)


def test_the_wrong_way_round_earns_nothing():
    depth = room()
    inverted = np.nan_to_num(-1 / depth, nan=0.0)
    assert align_disparity(inverted, depth)[0] == 0.0
    one, constant = evaluate_depth(inverted, depth), evaluate_depth(np.ones(depth.shape), depth)
    assert one.ordinal == 0.0 and constant.ordinal == 0.5
    assert one.abs_rel == pytest.approx(constant.abs_rel) and one.abs_rel > 0.2


def test_pairs_of_nearly_one_depth_are_left_out():
    depth = np.array([[1.0, 1.05], [2.0, 2.1]])
    right = np.array([[0.9, 1.0], [0.5, 0.55]])  # in each row the wrong way round, between the rows right
    assert evaluate_depth(right, depth).ordinal == 1.0
    assert evaluate_depth(right, depth, config=DepthEvaluateConfig(min_ratio=1.01)).ordinal < 0.9
    assert math.isnan(evaluate_depth(right, depth, config=DepthEvaluateConfig(min_ratio=3.0)).ordinal)


def test_beyond_the_limit_truth_is_left_out_and_predictions_are_capped():
    depth = np.array([[1.0, 2.0, 50.0]])
    aligned = aligned_inverse(np.array([[1.0, 0.5, -3.0]]), 1.0, 0.0, depth, config=DepthEvaluateConfig(max_depth=10.0))
    np.testing.assert_allclose(aligned, [[1.0, 0.5, 0.1]])
    found = evaluate_depth(np.array([[1.0, 0.5, 7.0]]), depth, config=DepthEvaluateConfig(max_depth=10.0))
    assert found.abs_rel < 1e-9  # the third pixel would be far off


def test_pixels_without_an_answer_count_as_wrong():
    depth = room()
    disparity = np.nan_to_num(1 / depth, nan=0.3)
    disparity[:, :30] = np.nan
    found = evaluate_depth(disparity, depth)
    assert found.abs_rel < 1e-9
    assert found.unanswered == pytest.approx(0.5, abs=0.02) and found.delta1 == pytest.approx(1 - found.unanswered)
    assert found.ordinal == pytest.approx(0.25, abs=0.1)  # both of a pair must be known


def test_boundaries_must_lie_where_they_are():
    depth = np.full((20, 40), 4.0)
    depth[:, 20:] = 2.0
    right, blurred, beside = 1 / depth, 1 / depth, np.roll(1 / depth, 1, 1)
    blurred = np.repeat(np.interp(np.arange(40), [14, 26], [0.25, 0.5])[None], 20, 0)
    assert boundary_score(right, depth) == 1.0
    assert boundary_score(blurred, depth) < 0.2  # its steps are of 4 to 8 %
    assert boundary_score(beside, depth) == 0.0
    assert math.isnan(boundary_score(right, np.full((20, 40), 4.0)))
    unknown = depth.copy()
    unknown[:, 19:21] = np.nan
    assert math.isnan(boundary_score(right, unknown))


def test_sky():
    depth = room()
    sky = np.zeros(depth.shape, bool)
    sky[:6] = True
    depth[sky] = np.nan
    disparity = np.nan_to_num(1 / depth, nan=0.3)
    disparity[sky] = 0.0
    called = sky.copy()
    called[6:8] = True
    found = evaluate_depth(disparity, depth, sky=sky, called_sky=called)
    assert found.sky_near == 0.0 and found.sky_lost == pytest.approx(2 / 34, abs=0.01)
    disparity[sky] = 0.3  # as near as the floor
    assert evaluate_depth(disparity, depth, sky=sky).sky_near == 1.0
    assert math.isnan(evaluate_depth(disparity, depth).sky_near)
    assert found.boundary_f1 > evaluate_depth(disparity, depth, sky=sky).boundary_f1


def test_metres_are_taken_as_they_are():
    depth = room()
    inverse = np.nan_to_num(1 / depth, nan=0.3)
    config = DepthEvaluateConfig(method="none")
    assert evaluate_depth(inverse, depth, config=config).abs_rel < 1e-9
    assert evaluate_depth(inverse / 1.1, depth, config=config).abs_rel == pytest.approx(0.1)


def test_what_cannot_be_compared():
    with pytest.raises(InputError, match="cannot be compared") as caught:
        evaluate_depth(np.ones((4, 4)), np.zeros((4, 4)))
    assert caught.value.why.startswith("both are known at 0 pixels")
    with pytest.raises(ValueError, match="unknown alignment"):
        align_disparity(np.ones(3), np.ones(3), method="best")
    with pytest.raises(ValueError, match=r"\(3,\), the truth \(4,\)"):
        align_disparity(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="no photo"):
        mean_score([])


def test_a_mean_leaves_out_what_could_not_be_told():
    nan = float("nan")
    one = DepthScore(0.1, 0.8, 0.9, nan, nan, nan, 0.0)
    two = DepthScore(0.3, 0.6, 0.7, 0.5, nan, 0.2, 0.0)
    mean = mean_score([one, two])
    assert mean.abs_rel == pytest.approx(0.2) and mean.boundary_f1 == 0.5 and math.isnan(mean.sky_near)


def test_priors_and_sizes():
    depth = room()
    floor = depth.copy()
    floor[:7] = floor[15:30, 20:40] = np.nan
    scores = {name: evaluate_depth(make(depth.shape), floor) for name, make in BASELINES.items()}
    assert scores["constant"].ordinal == 0.5 and scores["constant"].delta1 < 0.6
    assert scores["gradient"].abs_rel < 1e-9  # a level floor is what it stands for
    assert fit_size(np.ones((10, 20)), (40, 60)).shape == (40, 60)
    half = fit_size(np.kron(np.arange(6.0).reshape(2, 3), np.ones((2, 2))), (2, 3))
    np.testing.assert_array_equal(half, np.arange(6.0).reshape(2, 3))


def one_photo(folder: Path, depth: np.ndarray) -> None:
    """What `rilievo depth` leaves for a photo whose depth it got right up to scale and shift."""
    h, w = depth.shape
    disparity = (3 / np.nan_to_num(depth, nan=4.0) + 0.5).astype(np.float32)
    one = np.ones((h, w), np.float32)
    camera = Camera("PINHOLE", w, h, np.array([50.0, 50.0, w / 2, h / 2]))
    seen = PhotoDepth("a", "made up", "relative", camera, "given", 0.0, disparity, one, one, np.zeros((h, w), bool))
    folder.mkdir()
    write_photo_depth(folder / "depth.npz", seen)


def test_the_command_compares_a_photo_with_a_depth_picture(tmp_path, capsys):
    depth = room()
    one_photo(tmp_path / "out", depth)
    cv2.imwrite(str(tmp_path / "truth.png"), (1000 * np.nan_to_num(depth)).astype(np.uint16))
    np.save(tmp_path / "truth.npy", depth)
    for name in ("truth.png", "truth.npy"):
        assert cli.main(["evaluate", str(tmp_path / "out"), "--truth", str(tmp_path / name), "--json"]) == 0
        scores = json.loads(capsys.readouterr().out)
        assert scores["made up"]["abs_rel"] < 1e-3 and scores["made up"]["delta1"] == 1.0
        assert scores["constant"]["abs_rel"] > 0.1 and scores["gradient"]["ordinal"] > 0.5
    assert cli.main(["evaluate", str(tmp_path / "out"), "--truth", str(tmp_path / "truth.png")]) == 0
    assert "made up" in capsys.readouterr().out


def test_a_truth_that_is_none_is_told(tmp_path, capsys):
    one_photo(tmp_path / "out", room())
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((40, 60, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "other.png"), np.full((60, 40), 900, np.uint16))
    (tmp_path / "text.png").write_text("no picture")
    np.savez(tmp_path / "two.npz", a=np.ones(3), b=np.ones(3))
    for name, words in (
        ("photo.png", "depth is one channel of 16 bit or floating point"),
        ("other.png", "it has 40 x 60 pixels, the depth map 60 x 40: another shape"),
        ("text.png", "it is no picture that can be read"),
        ("two.npz", "cannot be read as true depth"),
    ):
        assert cli.main(["evaluate", str(tmp_path / "out"), "--truth", str(tmp_path / name)]) == 1
        assert words in capsys.readouterr().err
