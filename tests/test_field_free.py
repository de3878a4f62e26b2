"""Space that photos look through: in front of what they see it is empty, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from rilievo import geometry
from rilievo.stages.field_free import FEWEST, SHARE, fronts, sky_color
from rilievo.stages.field_scene import Region, expand, open_cells
from rilievo.types import Camera, View

SIZE = 96
CAMERA = Camera("PINHOLE", SIZE, SIZE, np.array([100.0, 100.0, 48.0, 48.0]))
SKY, WALL = np.array([100, 150, 200], np.uint8), np.array([150, 80, 60], np.uint8)


def wall(n: int = 6000) -> np.ndarray:
    """Points on the left half of the plane y = 0, x < 0."""
    rng = np.random.default_rng(2)
    return np.stack([rng.uniform(-3, 0, n), np.zeros(n), rng.uniform(-3, 3, n)], 1)


def views(count: int = 5) -> list[View]:
    """Cameras at y = -2 that look at the wall's edge."""
    made = []
    for k, x in enumerate(np.linspace(-0.6, 0.6, count)):
        pose = geometry.look_at(np.array([x, -2.0, 0.1 * k]), np.zeros(3), up=(0.0, 0.0, 1.0))
        y, u = np.mgrid[:SIZE, :SIZE] + 0.5
        d = np.stack([(u - 48) / 100, (y - 48) / 100, np.ones_like(u)], -1) @ pose[:, :3]
        eye = -pose[:, :3].T @ pose[:, 3]
        at = eye + d * (-eye[1] / np.maximum(d[..., 1], 1e-6))[..., None]
        made.append(View(f"{k}", np.where((at[..., 0] < 0)[..., None], WALL, SKY), CAMERA, pose))
    return made


def cells_at(cells: np.ndarray, points: np.ndarray, region: Region) -> np.ndarray:
    n = len(cells)
    p = (points - region.center) / region.radius
    r = np.maximum(np.linalg.norm(p, axis=1, keepdims=True), 1)
    at = np.clip(((p * ((2 - 1 / r) / r) / 4 + 0.5) * n).astype(int), 0, n - 1)
    return cells[at[:, 2], at[:, 1], at[:, 0]]


def test_what_photos_look_through_is_empty_and_the_wall_stays():
    region = Region(np.zeros(3), 2.5, True)
    photos = views()
    seen = [wall()] * len(photos)
    cells = open_cells(photos, region, 64, seen=seen)
    before = np.stack([np.linspace(-0.9, -0.3, 20), np.full(20, -0.7), np.zeros(20)], 1)
    behind = before * [1, -1, 1]
    on_it = np.stack([np.linspace(-0.9, -0.05, 40), np.zeros(40), np.linspace(-0.5, 0.5, 40)], 1)
    assert not cells_at(cells, before, region).any()
    assert cells_at(cells, on_it, region).all() and cells_at(cells, behind, region).all()
    # Where no point is, as beside the wall, there may be something from near the wall's depth on.
    beside = np.stack([np.full(10, 0.6), np.linspace(0.1, 1.5, 10), np.zeros(10)], 1)
    assert cells_at(cells, beside, region).all()
    assert cells_at(open_cells(photos, region, 64), before[5:], region).all()  # nothing else tells
    assert expand(np.full((1, 3), 0.5), True) == pytest.approx(0)


def test_the_depth_up_to_which_it_is_empty_is_that_of_the_nearest_point():
    photo = views(1)[0]
    front = fronts([photo], [np.concatenate([wall(), [[-0.4, -1.2, 0.0]] * 3])])[0]
    assert front is not None
    depth = lambda p: float((photo.cam_from_world @ [*p, 1])[2])  # noqa: E731
    at = photo.cam_from_world @ [-0.4, -1.2, 0.0, 1]
    column, row = (int((100 * at[k] / at[2] + 48) / front.step) for k in (0, 1))
    assert front.free[0, row, column] == pytest.approx(SHARE * depth([-0.4, -1.2, 0.0]), rel=1e-3)
    assert (front.free[1:] <= front.free[:-1]).all()  # the more blocks, the less is known


def test_too_few_points_tell_nothing():
    photos = views(2)
    assert fronts(photos, [wall(FEWEST - 1)] * 2) == [None, None]
    assert fronts(photos, [np.zeros((0, 3))] * 2) == [None, None] == fronts(photos, None)


def test_the_sky_is_what_has_no_points():
    photos = views()
    color = sky_color(photos, [wall()] * len(photos))
    assert color is not None
    np.testing.assert_allclose(np.array(color) * 255, SKY, atol=2)
    all_over = np.concatenate([wall(), wall() * [-1, 1, 1]])
    assert sky_color(photos, [all_over] * len(photos)) is None
