"""Undistorted views, and the choice of photos to match with."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rilievo import geometry
from rilievo.errors import InputError
from rilievo.stages.views import SourcesConfig, depth_range, select_sources, sparse_seeds, undistort_view
from rilievo.types import Camera, Reconstruction

EYE = np.concatenate([np.eye(3), np.zeros((3, 1))], 1)


def smooth(xy: np.ndarray) -> np.ndarray:
    """A smooth colour pattern over normalised coordinates (..., 2) -> uint8 (..., 3)."""
    x, y = xy[..., 0], xy[..., 1]
    waves = [np.sin(9 * x + 2 * y), np.cos(7 * y - 3 * x), np.sin(8 * x * y + x)]
    return (127.5 + 120 * np.stack(waves, -1)).astype(np.uint8)


def pixel_grid(camera: Camera) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5), -1).reshape(-1, 2)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["SIMPLE_RADIAL", "PINHOLE", "OPENCV", "SIMPLE_RADIAL_FISHEYE"]),
    st.floats(-0.12, 0.12),
    st.integers(60, 400),
)
def test_view_shows_what_its_camera_says(model, k, max_size):
    """Every pixel of the view has the colour of the direction that its PINHOLE camera gives it."""
    w, h = 240, 180
    params = {
        "SIMPLE_RADIAL": [200, 121, 88, k],
        "PINHOLE": [200, 205, 121, 88],
        "OPENCV": [200, 205, 121, 88, k, 0.01, 0.002, -0.001],
        "SIMPLE_RADIAL_FISHEYE": [200, 121, 88, k],
    }[model]
    camera = Camera(model, w, h, np.array(params, np.float64))
    pixels = smooth(geometry.undistort(camera, pixel_grid(camera))).reshape(h, w, 3)
    view = undistort_view(pixels, camera, EYE, "a.jpg", max_size=max_size)
    assert view.camera.model == "PINHOLE"
    assert max(view.pixels.shape[:2]) <= max_size
    assert view.pixels.shape[:2] == (view.camera.height, view.camera.width)
    expected = smooth(geometry.undistort(view.camera, pixel_grid(view.camera))).reshape(view.pixels.shape)
    inside = np.ones(view.pixels.shape[:2], bool) if view.mask is None else view.mask
    assert inside.mean() > 0.75
    inner = inside.copy()
    inner[:2] = inner[-2:] = False
    inner[:, :2] = inner[:, -2:] = False
    difference = np.abs(view.pixels.astype(int) - expected)[inner]
    assert np.median(difference) <= 2 and np.quantile(difference, 0.99) < 12


def test_photo_of_a_pinhole_camera_comes_back_unchanged():
    camera = Camera("PINHOLE", 32, 24, np.array([30.0, 30, 16, 12]))
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8)
    view = undistort_view(pixels, camera, EYE, "a.jpg", max_size=100)
    np.testing.assert_array_equal(view.pixels, pixels)
    assert view.mask is None


def test_shrinking_averages():
    """Stripes finer than the view's pixels become their mean instead of a moire."""
    camera = Camera("PINHOLE", 400, 300, np.array([300.0, 300, 200, 150]))
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[:, ::2] = 255
    view = undistort_view(pixels, camera, EYE, "a.jpg", max_size=90)
    assert np.abs(view.pixels.astype(float) - 127.5).max() < 12


def test_mask_goes_along_and_bad_sizes_are_told():
    camera = Camera("SIMPLE_RADIAL", 80, 60, np.array([70.0, 40, 30, -0.05]))
    pixels = np.zeros((60, 80, 3), np.uint8)
    mask = np.ones((60, 80), bool)
    mask[:, :40] = False
    view = undistort_view(pixels, camera, EYE, "a.jpg", max_size=80, mask=mask)
    assert view.mask is not None
    assert not view.mask[:, :35].any() and view.mask[10:50, 45:75].all()
    with pytest.raises(InputError, match="mask of a"):
        undistort_view(pixels, camera, EYE, "a.jpg", max_size=80, mask=mask[:5])
    with pytest.raises(InputError, match="cannot be undistorted"):
        undistort_view(pixels[:5], camera, EYE, "a.jpg", max_size=80)
    with pytest.raises(TypeError, match="uint8"):
        undistort_view(pixels.astype(np.float32), camera, EYE, "a.jpg", max_size=80)


def ring(num: int, points: np.ndarray) -> Reconstruction:
    """Photos on an arc around the origin, 6 degrees apart, that all see all points."""
    camera = Camera("PINHOLE", 400, 300, np.array([400.0, 400, 200, 150]))
    angles = np.radians(np.arange(num) * 6.0)
    eyes = np.stack([4 * np.cos(angles), 4 * np.sin(angles), np.zeros(num)], 1)
    cams = np.stack([geometry.look_at(e, np.zeros(3)) for e in eyes])
    photo, point, xy = [], [], []
    for i in range(num):
        uv, _ = geometry.project(camera, cams[i], points)
        photo.append(np.full(len(points), i))
        point.append(np.arange(len(points)))
        xy.append(uv)
    return Reconstruction(
        tuple(f"{i:02d}.jpg" for i in range(num)), np.zeros(num, np.int32), (camera,), cams, points,
        np.zeros((len(points), 3), np.uint8), np.zeros(len(points), np.float32),
        np.concatenate(point).astype(np.int32), np.concatenate(photo).astype(np.int32),
        np.concatenate(xy).astype(np.float32),
    )  # fmt: skip


def test_sources_have_a_useful_angle_and_do_not_depend_on_order():
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (200, 3))
    r = ring(20, points)
    chosen = select_sources(r, config=SourcesConfig(num_sources=4))
    assert set(chosen) == set(r.names)
    for name, sources in chosen.items():
        steps = [abs(int(s[:2]) - int(name[:2])) for s in sources]
        assert len(set(sources)) == 4 and name not in sources
        assert set(steps) <= {1, 2, 3, 4, 5}  # 6 to 30 degrees
    assert {abs(int(s[:2]) - 10) for s in chosen["10.jpg"][:2]} <= {2, 3}  # 12 and 18 degrees come first
    order = np.random.default_rng(1).permutation(len(r.obs_point))
    shuffled = dataclasses.replace(
        r, obs_point=r.obs_point[order], obs_photo=r.obs_photo[order], obs_xy=r.obs_xy[order]
    )
    assert select_sources(shuffled, config=SourcesConfig(num_sources=4)) == chosen


def test_photo_that_shares_nothing_has_no_sources():
    r = ring(4, np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3)))
    keep = r.obs_photo != 3
    r = dataclasses.replace(r, obs_point=r.obs_point[keep], obs_photo=r.obs_photo[keep], obs_xy=r.obs_xy[keep])
    chosen = select_sources(r)
    assert chosen["03.jpg"] == () and "03.jpg" not in chosen["00.jpg"]
    with pytest.raises(InputError, match="depth range of 03"):
        depth_range(r, "03.jpg")
    with pytest.raises(InputError, match="no place"):
        depth_range(r, "unknown.jpg")


def test_range_and_seeds_come_from_the_points_seen():
    r = ring(3, np.random.default_rng(0).uniform(-0.5, 0.5, (300, 3)))
    near, far = depth_range(r, "00.jpg")
    assert 2.0 < near < 3.5 and 4.5 < far < 6.5
    view = undistort_view(np.zeros((300, 400, 3), np.uint8), r.camera(0), r.cam_from_world[0], "00.jpg", max_size=200)
    seeds = sparse_seeds(r, view)
    assert seeds.dtype == np.float32 and seeds.shape == (300, 3)
    back = geometry.unproject(view.camera, view.cam_from_world, seeds[:, :2], seeds[:, 2])
    np.testing.assert_allclose(back, r.points, atol=1e-4)
