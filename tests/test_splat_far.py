"""Where splats start for what the cloud lacks: ground at the right depth, sky far out, no hole between photos."""

from __future__ import annotations

import numpy as np
import pytest

from rilievo import geometry, kernels
from rilievo.stages import splat_far
from rilievo.stages.splat_photos import PhotoStack
from rilievo.stages.splat_rows import MEAN, SCALE
from rilievo.stages.splat_start import from_points
from rilievo.types import Camera, View

SIZE, RADIUS = 96, 4.0
CAMERA = Camera("PINHOLE", SIZE, SIZE, np.array([90.0, 90.0, 48.0, 48.0]))
SKY = np.array([120, 160, 230])
DISTANCE = 30.0


def look_at(eye: np.ndarray, target: tuple[float, float, float]) -> np.ndarray:
    return geometry.look_at(eye, np.array(target), up=(0.0, 0.0, 1.0))


def rays(cam_from_world: np.ndarray) -> np.ndarray:
    """Directions (SIZE, SIZE, 3) in the world, depth 1."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    own = np.stack([(x - 48) / 90, (y - 48) / 90, np.ones_like(x)], -1)
    return own @ cam_from_world[:, :3]


def photo(name: str, cam_from_world: np.ndarray) -> View:
    """Broad tiles on the ground z = 0, out to 8 from the middle, and a sky of one colour."""
    eye = -cam_from_world[:, :3].T @ cam_from_world[:, 3]
    d = rays(cam_from_world)
    down = np.where(d[..., 2] < -1e-6, d[..., 2], -1e-6)
    at = eye + d * (-eye[2] / down)[..., None]
    ground = (d[..., 2] < -1e-6) & (np.hypot(at[..., 0], at[..., 1]) < 8)
    rng = np.random.default_rng(3)
    tiles = rng.integers(20, 110, (40, 40, 3))
    cell = np.clip(np.floor(at[..., :2]).astype(int) + 20, 0, 39)
    pixels = np.where(ground[..., None], tiles[cell[..., 0], cell[..., 1]], SKY)
    return View(name, pixels.astype(np.uint8), CAMERA, cam_from_world)


@pytest.fixture(scope="module")
def far() -> np.ndarray:
    """What 16 photos around a small thing at (0, 0, 1) start with; they look in, and a little down."""
    angles = 2 * np.pi * np.arange(16) / 16
    eyes = [np.array([RADIUS * np.cos(a), RADIUS * np.sin(a), 1.6]) for a in angles]
    views = {str(k): photo(str(k), look_at(eye, (0, 0, 1))) for k, eye in enumerate(eyes)}
    stack = PhotoStack(list(views), views.__getitem__)
    rng = np.random.default_rng(0)
    thing = rng.normal(size=(400, 3))
    thing = 0.4 * thing / np.linalg.norm(thing, axis=1, keepdims=True) + [0, 0, 1]
    rows = from_points(thing, np.full((400, 3), 90, np.uint8), opacity=0.9)
    return splat_far.far_away(rows, stack, 0, 0.04, distance=DISTANCE, most=1800, seed=0)


def test_ground_stands_where_it_is_and_sky_behind(far):
    at = far[:, MEAN]
    away = np.linalg.norm(at, axis=1)
    near = away < 0.6 * DISTANCE
    # The samples of the ground: dark colours (the sky's red is 120 at least, blue 230).
    blue = 0.5 + 0.28209479177387814 * far[:, 16 + 2]
    assert near.sum() > 120 and len(far) <= 1800
    assert np.median(np.abs(at[near, 2])) < 0.25 and np.quantile(np.abs(at[near, 2]), 0.9) < 1.0
    assert (blue[near] < 0.6).mean() > 0.95  # no sky before the scene
    assert (away[blue > 0.85] > 0.9 * DISTANCE).mean() > 0.98


def test_no_photo_looked_there_and_there_is_no_hole(far):
    looks = look_at(np.array([0, 0, 1.5]), (0.9, 0.4, 1.7))  # outwards, from the middle
    frame = kernels.splat_forward(
        far, np.array([60.0, 60, 48, 48]), looks, SIZE, SIZE, 0.04, 0, 3, True, np.zeros(3, np.float32), False, None
    )
    assert np.quantile(frame.transmittance, 0.99) < 0.1
    middle = np.array(frame.features)[:, 4:48, 20:76].mean((1, 2)) * 255  # above the horizon
    np.testing.assert_allclose(middle, SKY, atol=12)


def test_few_have_no_dome_that_reaches_the_scene(far):
    angles = 2 * np.pi * np.arange(6) / 6
    eyes = [np.array([RADIUS * np.cos(a), RADIUS * np.sin(a), 1.6]) for a in angles]
    views = {str(k): photo(str(k), look_at(eye, (0, 0, 1))) for k, eye in enumerate(eyes)}
    rows = from_points(np.array([[0, 0, 1.0]]), np.full((1, 3), 90, np.uint8), opacity=0.9)
    few = splat_far.far_away(
        rows, PhotoStack(list(views), views.__getitem__), 0, 0.04, distance=DISTANCE, most=60, seed=0
    )
    assert 0 < len(few) <= 60
    for found in (few, far):
        reach = np.exp(found[:, SCALE]).max(1)
        assert (3 * reach < np.linalg.norm(found[:, MEAN] - [0, 0, 1], axis=1) + 2).all()
