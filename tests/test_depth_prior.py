"""Depth laid over areas without texture: between what is confirmed, not beyond, and never against another map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rilievo.stages.depth_prior import PriorConfig, infer_depth
from rilievo.types import Camera, DepthMap, View

H, W = 120, 160
CAMERA = Camera("PINHOLE", W, H, np.array([200.0, 200.0, W / 2, H / 2]))
EYE = np.concatenate([np.eye(3), np.zeros((3, 1))], 1)
CONFIG = PriorConfig()


def wall(tilt: tuple[float, float] = (0.3, -0.2), distance: float = 4.0) -> np.ndarray:
    """Depth of the plane z = distance + tilt . (x, y)."""
    x, y = (np.arange(W) + 0.5 - W / 2) / 200, (np.arange(H)[:, None] + 0.5 - H / 2) / 200
    return (distance / (1 - tilt[0] * x - tilt[1] * y)).astype(np.float32)


def picture(smooth: np.ndarray, seed: int = 0) -> View:
    """A view with strong texture but for where `smooth` is."""
    grey = np.random.default_rng(seed).integers(20, 236, (H, W))
    grey[smooth] = 200
    return View("a.jpg", np.repeat(grey[..., None], 3, 2).astype(np.uint8), CAMERA, EYE)


def measured(depth: np.ndarray, known: np.ndarray, noise: float = 0.3) -> DepthMap:
    """The map of what is known, with noise of `noise` pixels at a baseline of a quarter of the distance."""
    sigma = noise * depth / 200 * 4
    noisy = depth + np.random.default_rng(1).normal(size=depth.shape) * sigma
    nan = np.float32(np.nan)
    return DepthMap(
        "a.jpg", CAMERA, EYE, np.where(known, noisy, nan).astype(np.float32),
        np.where(known[..., None], np.array([0, 0, -1], np.float32), nan), np.where(known, 0.8, 0).astype(np.float32),
        np.where(known, sigma, nan).astype(np.float32), (),
    )  # fmt: skip


def blank(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    out = np.zeros((H, W), bool)
    out[top:bottom, left:right] = True
    return out


def core(area: np.ndarray, margin: int = 6) -> np.ndarray:
    """The area without its border."""
    import cv2

    return cv2.erode(area.astype(np.uint8), np.ones((2 * margin + 1,) * 2, np.uint8)) > 0


def test_a_smooth_patch_of_a_wall_closes_and_is_marked():
    area, truth = blank(40, 30, 110, 90), wall()
    found = infer_depth(measured(truth, ~core(area, 3)), picture(area), [], config=CONFIG)
    inside = core(area)
    assert found.inferred is not None and found.inferred[inside].mean() > 0.98
    assert not found.inferred[~area].any()
    error = np.abs(found.depth - truth)[inside]
    assert error.max() < 0.5 * 4 / 200 * 4  # within half a pixel of match
    assert (error < found.sigma[inside]).mean() > 0.68
    assert np.median(found.sigma[inside]) > 1.2 * np.median(found.sigma[~area])
    assert (found.confidence[inside] == np.float32(CONFIG.confidence)).all()
    normal = np.array([0.3, -0.2, -1.0]) / np.linalg.norm([0.3, -0.2, -1.0])
    assert ((found.normals[inside] @ normal) > 0.999).all()


def test_what_was_measured_stays_as_it_was():
    area, truth = blank(40, 30, 110, 90), wall()
    before = measured(truth, ~core(area, 3))
    found = infer_depth(before, picture(area), [], config=CONFIG)
    known = np.isfinite(before.depth)
    for a, b in ((before.depth, found.depth), (before.sigma, found.sigma), (before.normals, found.normals)):
        np.testing.assert_array_equal(a[known], b[known])
    assert found.inferred is not None and not found.inferred[known].any()


def test_sky_above_a_roof_stays_empty():
    sky = blank(0, 0, W, 60)
    sky[30:60, 60:100] = False  # a tower
    found = infer_depth(measured(wall(), ~core(sky, 3)), picture(sky), [], config=CONFIG)
    assert np.isfinite(found.depth[core(sky)]).mean() < 0.02


def test_texture_without_depth_is_not_filled():
    area = blank(40, 30, 110, 90)
    before = measured(wall(), ~area)
    assert infer_depth(before, picture(np.zeros((H, W), bool)), [], config=CONFIG) is before


def test_nothing_is_laid_across_a_step():
    area, depth = blank(40, 30, 110, 90), wall((0.0, 0.0))
    depth[:, 75:] = 5.0  # the wall ends behind the smooth area
    found = infer_depth(measured(depth, ~core(area, 3)), picture(area), [], config=CONFIG)
    middle = blank(62, 40, 88, 80)
    assert np.isfinite(found.depth[middle]).mean() < 0.1


def test_a_map_that_looks_through_forbids_it():
    area, truth = blank(40, 30, 110, 90), wall()
    before = measured(truth, ~core(area, 3))
    other = measured(np.where(blank(60, 45, 90, 75), 6.0, truth).astype(np.float32), np.ones((H, W), bool), noise=0.0)
    found = infer_depth(before, picture(area), (m for m in [other]), config=CONFIG)
    assert np.isfinite(found.depth[blank(64, 49, 86, 71)]).mean() < 0.02
    assert np.isfinite(found.depth[blank(46, 36, 56, 84)]).mean() > 0.9


def test_corner_gives_each_side_its_own_plane():
    x = (np.arange(W) + 0.5 - W / 2) / 200
    truth = np.minimum(4.0 / (1 - 0.8 * x), 4.0 / (1 + 0.8 * x)).astype(np.float32)[None].repeat(H, 0)
    area = blank(20, 30, 140, 90)
    found = infer_depth(measured(truth, ~core(area, 3)), picture(area), [], config=CONFIG)
    here = core(area) & np.isfinite(found.depth)
    assert here.sum() > 0.3 * core(area).sum()
    assert np.quantile(np.abs(found.depth - truth)[here], 0.95) < 4 / 200 * 4


@pytest.mark.parametrize("known", [np.zeros((H, W), bool), blank(0, 0, 3, 3), blank(10, 60, W - 10, 61)])
def test_too_little_to_go_by_changes_nothing(known):
    before = measured(wall(), known)
    found = infer_depth(before, picture(np.ones((H, W), bool)), [], config=CONFIG)
    assert np.isfinite(found.depth).sum() == known.sum()


def test_same_bytes_each_time_and_sizes_are_checked():
    area = blank(40, 30, 110, 90)
    before, view = measured(wall(), ~core(area, 3)), picture(area)
    first, second = (infer_depth(before, view, [], config=CONFIG) for _ in range(2))
    assert first.depth.tobytes() == second.depth.tobytes() and first.sigma.tobytes() == second.sigma.tobytes()
    with pytest.raises(ValueError, match="its view"):
        infer_depth(before, replace(view, pixels=view.pixels[:-1]), [], config=CONFIG)


# Inferred depth at some pixels, for PriorConfig.version 1: raise the version when these move.
GOLDEN = (1, [3.895, 4.011, 4.135, 3.822, 3.934, 4.052])


def test_golden_answer_and_version_change_together():
    area = blank(40, 30, 110, 90)
    found = infer_depth(measured(wall(), ~core(area, 3)), picture(area), [], config=CONFIG)
    answer = [round(float(found.depth[y, x]), 3) for y in (50, 70) for x in (55, 75, 95)]
    assert PriorConfig.version == GOLDEN[0]
    np.testing.assert_allclose(answer, GOLDEN[1], atol=2e-3)
