"""Depth from a network in gaps of measured depth: laid on what is confirmed, tried on it, left out where it fails."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rilievo.stages import photo_prior_field as fields
from rilievo.stages.photo_prior import PhotoPriorConfig, complete_depth, fit_photo, lay_on
from rilievo.types import Camera, DepthMap, PhotoDepth

H, W = 120, 160
CAMERA = Camera("PINHOLE", W, H, np.array([200.0, 200.0, W / 2, H / 2]))
EYE = np.concatenate([np.eye(3), np.zeros((3, 1))], 1)
CONFIG = PhotoPriorConfig(grid=80)
X, Y = (np.arange(W) + 0.5 - W / 2) / 200, (np.arange(H)[:, None] + 0.5 - H / 2) / 200


def room(bend: float = 0.15) -> np.ndarray:
    """A floor, and behind it a wall that is bent (no plane fits it)."""
    wall = 4.0 + bend * np.cos(9 * X) + 0 * Y
    with np.errstate(divide="ignore"):
        floor = np.where(Y > 0.02, 0.8 / np.maximum(Y, 0.02), np.inf)
    return np.minimum(wall, floor).astype(np.float32)


def blank(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    out = np.zeros((H, W), bool)
    out[top:bottom, left:right] = True
    return out


def measured(depth: np.ndarray, known: np.ndarray) -> DepthMap:
    sigma = 0.002 * depth
    noisy = depth + np.random.default_rng(1).normal(size=depth.shape) * sigma
    nan = np.float32(np.nan)
    return DepthMap(
        "a.jpg", CAMERA, EYE, np.where(known, noisy, nan).astype(np.float32),
        np.where(known[..., None], np.array([0, 0, -1], np.float32), nan), np.where(known, 0.8, 0).astype(np.float32),
        np.where(known, sigma, nan).astype(np.float32), (),
    )  # fmt: skip


def network(depth: np.ndarray, scale: float = 3.0, shift: float = 0.4, warp: float = 0.04) -> PhotoDepth:
    """What a fair network says: right up to scale, shift and a smooth error of a few percent."""
    off = 1 + warp * np.sin(3 * X + 1) * np.cos(4 * Y)
    disparity = (scale / depth * off + shift).astype(np.float32)
    ones = np.ones((H, W), np.float32)
    sky = np.zeros((H, W), bool)
    return PhotoDepth("a.jpg", "made up", "relative", CAMERA, "given", 0.0, disparity, 0.1 * ones, ones, sky)


GAP = blank(60, 15, 100, 40)


def completed(before: DepthMap, seen: PhotoDepth, others=()) -> DepthMap:
    fit = lay_on(before, seen, config=CONFIG)
    return complete_depth(before, fit_photo(before, seen, fit, config=CONFIG), others, config=CONFIG)


def test_a_gap_in_a_bent_wall_closes_without_a_step_and_its_sigma_is_honest():
    truth = room()
    before = measured(truth, ~GAP)
    found = completed(before, network(truth))
    assert found.inferred is not None and found.inferred[GAP].mean() > 0.95 and not found.inferred[~GAP].any()
    error = np.abs(found.depth / truth - 1)[GAP & found.inferred]
    relative = (found.sigma / found.depth)[GAP & found.inferred]
    assert np.median(error) < 0.004 and error.max() < 0.015
    assert (error < relative).mean() > 0.68 and np.median(relative) < 0.02
    assert (found.confidence[GAP & found.inferred] == np.float32(CONFIG.confidence)).all()
    # a flat wall laid across instead would be further off than this
    assert np.abs(found.depth / truth - 1)[30, 70:90].max() < 0.5 * (truth[30].max() / truth[30].min() - 1)
    border = np.abs(np.diff(found.depth[27], axis=0))[58:102]
    assert border.max() < 0.06  # noise of the confirmed part is 8 mm, the wall's slope 7 mm a pixel
    normal = found.normals[GAP & found.inferred]
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)
    assert (normal[:, 2] < 0).all()


@given(st.floats(0.01, 100), st.floats(0, 50))
@settings(max_examples=25)
def test_scale_and_shift_of_the_network_do_not_matter(scale, shift):
    truth = room()
    before = measured(truth, ~GAP)
    fit = lay_on(before, network(truth, scale, shift, warp=0.0), config=CONFIG)
    np.testing.assert_allclose([fit.a * scale, fit.a * shift + fit.b], [1, 0], atol=3e-3)
    assert fit.spread < 0.004 and fit.shift_known and fit.unit == "unknown"


def test_what_was_measured_stays_as_it_was():
    truth = room()
    before = measured(truth, ~GAP)
    found = completed(before, network(truth))
    known = np.isfinite(before.depth)
    for a, b in ((before.depth, found.depth), (before.sigma, found.sigma), (before.confidence, found.confidence)):
        np.testing.assert_array_equal(a[known], b[known])


def test_a_network_that_saw_nothing_fills_nothing_and_the_reason_is_told():
    truth = room()
    before = measured(truth, ~GAP)
    rng = np.random.default_rng(0)
    noise = replace(network(truth), disparity=rng.uniform(0.1, 3.0, (H, W)).astype(np.float32))
    inverted = replace(network(truth), disparity=(2 - 1 / truth).astype(np.float32))
    fit = lay_on(before, inverted, config=CONFIG)
    assert np.isnan(fit.a) and fit.method == "what the network calls near is confirmed to be far"
    assert (
        lay_on(before, noise, config=CONFIG).method == "the network does no better than one depth for the whole photo"
    )
    for seen in (noise, inverted):
        assert completed(before, seen) is before


def test_a_wild_scene_is_told_as_such():
    truth = np.exp(np.random.default_rng(3).uniform(0, 3, (H // 10, W // 10))).repeat(10, 0).repeat(10, 1)
    seen = replace(network(room()), disparity=(1 / truth[::-1] + 1 / truth).astype(np.float32))
    fit = lay_on(measured(truth.astype(np.float32), np.ones((H, W), bool)), seen, config=CONFIG)
    assert np.isnan(fit.a) and "where other photos confirm depth" in fit.method


def test_too_little_confirmed():
    truth = room()
    before = measured(truth, blank(0, 0, 12, 12))
    fit = lay_on(before, network(truth), config=CONFIG)
    assert np.isnan(fit.a) and fit.method == "only 0.8 % of the photo is confirmed by other photos"
    assert completed(before, network(truth)) is before


def test_nothing_is_filled_further_away_than_it_was_tried():
    truth = room()
    before = measured(truth, blank(0, 0, 50, H))
    found = completed(before, network(truth))
    assert found.inferred is not None and found.inferred[:, 50:60].mean() > 0.3
    assert not found.inferred[:, 100:].any()


def test_sky_and_outlines_stay_open():
    truth = room()
    truth[20:60, 60:90] = 2.0  # a box before the wall, its outline in the gap
    seen = network(truth)
    sky = blank(0, 0, W, 10)
    before = measured(truth, ~(blank(40, 15, 75, 70) | sky))
    found = completed(before, replace(seen, sky=sky))
    assert np.isnan(found.depth[sky]).all()
    flying = np.minimum(np.abs(found.depth / 2 - 1), np.abs(found.depth / room() - 1))
    assert np.nanmax(flying[15:70, 40:75]) < 0.05  # either the box or the wall, nothing between
    assert np.isfinite(found.depth[25:55, 66:75]).mean() > 0.3 and np.isfinite(found.depth[25:55, 40:50]).mean() > 0.3


def test_a_step_that_the_network_did_not_see_is_not_bridged():
    """A box before the wall, its outline in a gap of 10 pixels; the network is too blurred for it."""
    import cv2

    truth = room()
    truth[20:60, 60:110] = 3.0
    gap = blank(55, 15, 66, 70)
    seen = network(truth)
    blurred = replace(seen, disparity=cv2.GaussianBlur(seen.disparity, (0, 0), 12))
    found = completed(measured(truth, ~gap), blurred)
    ramp = np.minimum(np.abs(found.depth / 3 - 1), np.abs(found.depth / room() - 1))
    assert (ramp[20:58, 56:65] > 0.03).mean() < 0.02  # NaN is left open
    sharp = completed(measured(truth, ~gap), seen)
    assert np.isfinite(sharp.depth[22:56, 56:65]).mean() > 0.4  # where the network saw it, it is filled up to it


def test_another_map_that_looks_through_forbids_it_and_contrary_guesses_too():
    truth = room()
    before = measured(truth, ~GAP)
    nothing = measured(truth, np.zeros((H, W), bool))
    behind = measured(np.where(blank(70, 20, 90, 35), 6.0, truth).astype(np.float32), np.ones((H, W), bool))
    found = completed(before, network(truth), [(behind, nothing)])
    assert np.isnan(found.depth[blank(72, 22, 88, 33)]).all()
    assert np.isfinite(found.depth[blank(62, 17, 68, 38)]).mean() > 0.9
    nearer = measured((0.9 * truth).astype(np.float32), GAP)
    assert completed(before, network(truth), [(nothing, nearer)]) is before
    agreeing = measured(truth, GAP)
    both = completed(before, network(truth), [(nothing, nearer), (nothing, agreeing)])
    assert np.isfinite(both.depth[GAP]).mean() > 0.9


def test_a_map_of_another_size_will_do():
    truth = room()
    seen = network(truth)
    camera = Camera("PINHOLE", W // 2, H // 2, np.array([100.0, 100.0, W / 4, H / 4]))
    arrays = {k: np.ascontiguousarray(getattr(seen, k)[::2, ::2]) for k in ("disparity", "sigma", "confidence", "sky")}
    found = completed(measured(truth, ~GAP), replace(seen, camera=camera, **arrays))
    assert np.nanmax(np.abs(found.depth / truth - 1)[GAP]) < 0.03


def test_a_field_passes_through_what_is_known_and_keeps_to_its_side_of_a_step():
    log_inverse = np.zeros((12, 20))
    log_inverse[:, 10:] = -0.5
    residual = np.full((12, 20), np.nan)
    residual[:, 2], residual[:, 17] = 0.1, -0.1
    cells = fields.Cells(log_inverse, residual, np.isfinite(residual).astype(float), 1)
    field = fields.solve_field(cells, np.isfinite(residual))
    np.testing.assert_allclose(field[:, 2], 0.1, atol=0.01)
    assert (field[:, 4:9] > 0.08).all() and (field[:, 11:16] < -0.08).all()


def test_what_was_tried_is_what_it_is_worth():
    rng = np.random.default_rng(0)
    smooth = 0.05 * np.sin(np.arange(40) / 6) * np.ones((30, 1))
    for noise in (0.002, 0.02):
        residual = smooth + noise * rng.normal(size=(30, 40))
        cells = fields.Cells(np.zeros((30, 40)), residual, np.ones((30, 40)), 1)
        trust = fields.try_field(cells, np.ones((30, 40), bool))
        assert trust.num_tests == 2 * 30 * 40
        assert 0.5 * noise < trust.at(np.array(1.0)) < 3 * noise + 0.006
        assert (np.diff(trust.at(np.linspace(0, trust.distance[-1], 20))) >= 0).all()
        assert np.isinf(trust.at(np.array(30.0)))
    none = fields.try_field(cells, np.zeros((30, 40), bool))
    assert none.num_tests == 0 and np.isinf(none.at(np.array(0.0)))


def test_cells_take_the_middle_half():
    residual = np.full((4, 4), 0.1)
    residual[0] = [5.0, -3.0, np.nan, 0.1]
    cells = fields.gather_cells(np.zeros((4, 4)), residual, 4)
    assert cells.residual.shape == (1, 1) and cells.residual[0, 0] == pytest.approx(0.1)
    assert cells.weight[0, 0] == 15 / 16


def test_same_bytes_each_time():
    truth = room()
    before = measured(truth, ~GAP)
    first, second = (completed(before, network(truth)) for _ in range(2))
    assert first.depth.tobytes() == second.depth.tobytes() and first.sigma.tobytes() == second.sigma.tobytes()


# Filled depth at some pixels, for PhotoPriorConfig.version 1: raise the version when these move.
GOLDEN = (1, [4.117, 4.147, 4.114, 4.119, 4.146, 4.113])


def test_golden_answer_and_version_change_together():
    truth = room()
    found = completed(measured(truth, ~GAP), network(truth))
    answer = [round(float(found.depth[y, x]), 3) for y in (20, 34) for x in (65, 80, 95)]
    assert PhotoPriorConfig.version == GOLDEN[0]
    np.testing.assert_allclose(answer, GOLDEN[1], atol=2e-3)


def test_a_build_with_a_network_that_understands_nothing_stays_as_it_was_and_says_so(
    tiny, tiny_house, tmp_path, monkeypatch
):
    """The stand-in takes red for near: no photo of this scene can be laid on by that."""
    import shutil

    import networks
    from rilievo import BuildSettings, Run, photos_to_mesh, weights

    model = tmp_path / "red.onnx"
    model.write_bytes(networks.depth_small())
    monkeypatch.setenv("RILIEVO_WEIGHTS", str(tmp_path / "weights"))
    weights.add(model, name="depth-small")
    reports, clouds = [], []
    for threads in (2, 1):
        house = tmp_path / f"house{threads}"
        shutil.copytree(tiny_house, house)
        settings = BuildSettings(quality="draft", prior="depth")
        project = photos_to_mesh([tiny / "photos"], house, settings=settings, run=Run(num_threads=threads))
        reports.append(json.loads((house / "export" / "report.json").read_text()))
        clouds.append(project.read()["names"]["cloud"])
        assert "Depth network" in (house / "export" / "report.html").read_text()
    assert clouds[0] == clouds[1]
    rows = reports[0]["photo_prior"]
    assert len(rows) == 8 and rows == reports[1]["photo_prior"]
    unused = [row for row in rows.values() if not row["used"]]
    assert len(unused) >= 6 and all(row["reason"] and row["filled_share"] == 0 for row in unused)
    assert any("the depth network could not be laid on" in w for w in reports[0]["warnings"])
    without = json.loads((tiny_house / "export" / "report.json").read_text())
    assert without["photo_prior"] == {} and "Depth network" not in (tiny_house / "export" / "report.html").read_text()


def test_without_a_model_the_build_says_what_is_missing_before_it_starts(tiny, tmp_path, monkeypatch):
    from rilievo import BuildSettings, Run, photos_to_mesh, weights
    from rilievo.errors import MissingError

    monkeypatch.setattr(weights, "_place", lambda name: (tmp_path / f"{name}.onnx", ""))
    with pytest.raises(MissingError, match="'depth-small' are not in this installation"):
        photos_to_mesh([tiny / "photos"], tmp_path / "house", settings=BuildSettings(prior="depth"), run=Run(1))
    assert "keypoints" not in json.loads((tmp_path / "house" / "project.json").read_text()).get("accounts", {})
