"""Camera paths: around a scene, along its photos, between keyframes; and nerfstudio's file of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from rilievo import geometry
from rilievo.errors import InputError
from rilievo.io.camera_path_file import read_camera_path, write_camera_path
from rilievo.stages.camera_path import (
    PathConfig,
    at_photos,
    between,
    looked_at,
    orbit,
    orbit_around,
    scene_up,
    through,
)
from rilievo.types import Camera, Reconstruction

CAMERA = Camera("OPENCV", 400, 300, np.array([350.0, 352, 210, 140, -0.05, 0, 0, 0]))
SMALL = PathConfig(width=160, height=120, num_frames=48)


def scene_at(eyes: np.ndarray, target=(10.0, 20, 30), camera: Camera = CAMERA) -> Reconstruction:
    """Cameras at `eyes` relative to a target that all look at."""
    target = np.array(target)
    places = np.stack([geometry.look_at(target + eye, target) for eye in eyes])
    empty = np.zeros(0, np.int32)
    return Reconstruction(
        tuple(f"{k:03d}.jpg" for k in range(len(eyes))),
        np.zeros(len(eyes), np.int32),
        (camera,),
        places,
        np.zeros((0, 3)),
        np.zeros((0, 3), np.uint8),
        np.zeros(0, np.float32),
        empty,
        empty,
        np.zeros((0, 2), np.float32),
    )


def ring(begin: float, end: float, num: int = 12, distance: float = 4.0, height: float = 1.0) -> np.ndarray:
    a = np.linspace(begin, end, num, endpoint=False)
    return np.stack([distance * np.cos(a), distance * np.sin(a), height + 0 * a], 1)


def centers(path) -> np.ndarray:
    return geometry.invert(path.cam_from_world)[:, :, 3]


def turned_between(path) -> np.ndarray:
    """Angles between neighbouring frames, rad."""
    R = path.cam_from_world[:, :, :3]
    cosine = (np.einsum("nij,nij->n", R[1:], R[:-1]) - 1) / 2
    return np.arccos(np.clip(cosine, -1, 1))


def test_orbit_goes_around_what_the_photos_see():
    scene = scene_at(ring(0.3, 0.3 + 2 * np.pi))
    path = orbit(scene, config=SMALL)
    away = centers(path) - [10, 20, 30]
    assert len(path) == 48 and path.closed and path.size == (160, 120)
    assert path.cam_from_world[3].flags.c_contiguous
    assert np.allclose(np.linalg.norm(away, axis=1), np.sqrt(17)) and np.allclose(away[:, 2], 1)
    steps = np.linalg.norm(np.diff(np.concatenate([away, away[:1]]), axis=0), axis=1)
    assert steps.max() / steps.min() < 1 + 1e-9  # even, over the seam too
    assert np.allclose(away[0], scene.centers[0] - [10, 20, 30])
    pixel, depth = geometry.project(path.cameras[7], path.cam_from_world[7], np.array([[10.0, 20, 30]]))
    assert np.allclose(pixel, [80, 60]) and depth > 0
    assert path.cameras[0].fx == pytest.approx(0.4 * 351)  # 400 x 300 whole in 160 x 120


def test_photos_from_one_side_are_not_gone_behind():
    scene = scene_at(ring(-0.6, 0.6, 13))
    path = orbit(scene, config=SMALL)
    away = centers(path) - [10, 20, 30]
    azimuth = np.arctan2(away[:, 1], away[:, 0])
    assert azimuth.min() > -0.61 and azimuth.max() < 0.61 and np.ptp(azimuth) > 1.0
    assert np.linalg.norm(away[0] - away[-1]) < 0.5  # closed
    assert np.abs(np.diff(azimuth, 2)).max() < 0.02  # smooth


def test_scenes_that_lie_on_their_side():
    turn = geometry.look_at(np.zeros(3), np.array([1.0, 2, 0.5]))[:, :3]
    scene = scene_at(ring(0, 2 * np.pi))
    tilted = replace(
        scene,
        cam_from_world=np.concatenate([scene.cam_from_world[:, :, :3] @ turn.T, scene.cam_from_world[:, :, 3:]], 2),
    )
    assert np.allclose(scene_up(tilted.cam_from_world), turn @ [0, 0, 1], atol=1e-6)
    target = turn @ [10, 20, 30]
    assert np.allclose(looked_at(tilted.cam_from_world), target, atol=1e-6)
    away = centers(orbit(tilted, config=SMALL)) - target
    assert np.allclose(away @ (turn @ [0, 0, 1]), 1, atol=1e-6)


def test_parallel_lines_of_sight_meet_at_the_depth_of_the_points():
    place = geometry.look_at(np.array([0.0, -5, 1]), np.array([0.0, 0, 1]))
    places = np.repeat(place[None], 5, 0)
    places[:, 0, 3] += np.arange(5) - 2.0
    points = np.array([[0.0, 3, 1], [0, 3, 2], [0, -50, 1]])
    assert np.allclose(looked_at(places, points), [0, 3, 1], atol=1e-6)
    assert looked_at(places)[1] > -5
    assert looked_at(places[:1])[1] > -5


def test_orbit_around_a_box_shows_all_of_it():
    low, high = np.array([-1.0, 2, 3]), np.array([2.0, 3, 5])
    corners = np.array([[x, y, z] for x in (-1, 2) for y in (2, 3) for z in (3, 5)], np.float64)
    for size in ((160, 90), (90, 160)):
        path = orbit_around(low, high, config=PathConfig(*size, num_frames=20))
        for camera, place in zip(path.cameras, path.cam_from_world):
            pixels, depth = geometry.project(camera, place, corners)
            assert (depth > 0).all() and (pixels > 0).all() and (pixels < size).all()
        spans = [
            np.ptp(geometry.project(path.cameras[0], place, corners)[0], axis=0) / size for place in path.cam_from_world
        ]
        assert np.max(spans) > 0.7  # and fills it
    with pytest.raises(InputError):
        orbit_around(low, low)


def test_through_passes_the_photos_smoothly():
    scene = scene_at(ring(0, 3, 9))
    path = through(scene, config=replace(SMALL, num_frames=400))
    x = centers(path)
    nearest = np.linalg.norm(scene.centers[:, None] - x, axis=2).min(1)
    assert nearest.max() < 0.03 and np.allclose(x[0], scene.centers[0]) and np.allclose(x[-1], scene.centers[-1])
    steps = np.linalg.norm(np.diff(x, axis=0), axis=1)
    assert steps.max() / steps.min() < 1.2
    assert turned_between(path).max() < 0.02
    R = path.cam_from_world[:, :, :3]
    assert np.abs(R @ R.swapaxes(1, 2) - np.eye(3)).max() < 1e-12


def test_photos_numbered_by_chance_are_passed_on_a_short_way():
    eyes = ring(0, 6, 24)
    mixed = scene_at(eyes[np.random.default_rng(0).permutation(24)])
    length = np.linalg.norm(np.diff(centers(through(mixed, config=SMALL)), axis=0), axis=1).sum()
    assert length < 1.5 * np.linalg.norm(np.diff(eyes, axis=0), axis=1).sum()
    few = scene_at(ring(0, 6, 2))
    assert len(through(few, config=SMALL)) == 48
    with pytest.raises(InputError):
        through(scene_at(np.repeat(ring(0, 1, 1), 3, 0)), config=SMALL)
    with pytest.raises(InputError):
        through(scene_at(ring(0, 1, 1)), config=SMALL)


def test_closed_paths_have_no_seam():
    places = scene_at(ring(0, 2 * np.pi, 6)).cam_from_world
    path = between(places, [Camera("PINHOLE", 9, 9, np.array([100.0, 100, 80, 60]))] * 6, closed=True, config=SMALL)
    x = centers(path)
    around = np.concatenate([x, x[:2]])
    second = np.linalg.norm(np.diff(around, 2, axis=0), axis=1)
    assert second.max() < 0.12 and np.linalg.norm(np.diff(around, axis=0), axis=1).max() < 0.8
    lens = [Camera("PINHOLE", 9, 9, np.array([f, f, 80.0, 60])) for f in (100.0, 200)]
    zoom = between(places[:2], lens, config=SMALL)
    assert zoom.cameras[0].fx == pytest.approx(100) and 140 < zoom.cameras[24].fx < 160


def test_at_photos_shows_each_photo_whole():
    scene = scene_at(ring(0, 2, 5))
    path = at_photos(scene, config=PathConfig(800, 300))
    assert path.names == scene.names and len(path) == 5 and path.cameras[0].fx == pytest.approx(351)
    assert np.array_equal(path.cam_from_world, scene.cam_from_world)


@pytest.mark.parametrize("change", [{"num_frames": 0}, {"frames_per_second": 0.0}, {"fov_deg": 180.0}])
def test_impossible_paths(change):
    for make in (orbit, through, at_photos):
        with pytest.raises(InputError):
            make(scene_at(ring(0, 6)), config=replace(SMALL, **change))


# --- files ------------------------------------------------------------------------------------------------------------


def test_written_paths_are_read_again(tmp_path):
    path = orbit(scene_at(ring(0, 6)), config=SMALL)
    write_camera_path(tmp_path / "a.json", path)
    again = read_camera_path(tmp_path / "a.json")
    assert np.allclose(again.cam_from_world, path.cam_from_world, atol=1e-12) and again.closed
    assert again.cam_from_world[3].flags.c_contiguous  # as kernels want it
    assert again.size == (160, 120) and again.frames_per_second == 30 and again.cameras[0].fx == pytest.approx(
        path.cameras[0].fx
    )  # fmt: skip
    large = read_camera_path(tmp_path / "a.json", size=(640, 240))
    assert large.size == (640, 240) and large.cameras[0].fy == pytest.approx(2 * path.cameras[0].fy)
    longer = read_camera_path(tmp_path / "a.json", seconds=3.2)
    assert len(longer) == 96
    assert np.abs(centers(longer)[:2] - centers(path)[:1]).max() < 0.6


def nerfstudio_file(**changes) -> dict:
    """As its viewer writes it: a camera at (1, 2, 3) that looks along +y, z up; then one that moved along x."""
    keys, frames = [], []
    for x in (1.0, 2.0, 4.0):
        matrix = [1, 0, 0, x, 0, 0, -1, 2, 0, 1, 0, 3, 0, 0, 0, 1]
        keys.append({"matrix": matrix, "fov": 60.0, "aspect": 1.5, "override_transition_enabled": False})
        frames.append({"camera_to_world": matrix, "fov": 60.0, "aspect": 1.5})
    document = {"default_fov": 60.0, "default_transition_sec": 2.0, "keyframes": keys, "camera_type": "perspective"}
    document |= {"render_height": 200, "render_width": 300, "fps": 10, "seconds": 0.3, "is_cycle": False}
    return document | {"smoothness_value": 0.0, "camera_path": frames} | changes


def read(tmp_path, document, **options):
    (tmp_path / "path.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return read_camera_path(tmp_path / "path.json", **options)


def test_axes_and_angle_of_nerfstudio(tmp_path):
    path = read(tmp_path, nerfstudio_file())
    assert len(path) == 3 and path.size == (300, 200) and path.frames_per_second == 10
    assert np.allclose(centers(path)[0], [1, 2, 3])
    assert path.cameras[0].fy == pytest.approx(100 / np.tan(np.radians(30)))
    pixel, depth = geometry.project(path.cameras[0], path.cam_from_world[0], np.array([[1.0, 5, 3], [2, 5, 4]]))
    assert np.allclose(depth, 3) and np.allclose(pixel[0], [150, 100])
    assert pixel[1, 0] > 150 and pixel[1, 1] < 100  # x to the right, z up


def test_keyframes_alone_make_a_path(tmp_path):
    document = nerfstudio_file(seconds=4)
    del document["camera_path"]
    path = read(tmp_path, document)
    assert len(path) == 40 and np.allclose(centers(path)[[0, -1], 0], [1, 4])
    assert (np.diff(centers(path)[:, 0]) > 0).all()
    older = [
        dict(k, matrix=json.dumps(np.reshape(k["matrix"], (4, 4)).T.ravel().tolist())) for k in document["keyframes"]
    ]
    assert np.allclose(read(tmp_path, document | {"keyframes": older}).cam_from_world, path.cam_from_world)
    one = read(
        tmp_path, nerfstudio_file(keyframes=[], camera_path=nerfstudio_file()["camera_path"][:1], seconds=2), seconds=2
    )
    assert len(one) == 20 and np.ptp(centers(one)) == pytest.approx(2)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("not json", "Expecting value"),
        ("[" * 100000, ""),
        ("[]", "neither camera_path nor keyframes"),
        ({"frames": []}, "neither camera_path nor keyframes"),
        (nerfstudio_file(camera_type="equirectangular"), "its camera is equirectangular"),
        (nerfstudio_file(camera_type="fisheye"), "its camera is fisheye"),
        (nerfstudio_file(camera_path=[{"camera_to_world": [1] * 16, "fov": 60}]), "no rotation and shift"),
        (nerfstudio_file(camera_path=[{"camera_to_world": [1, 2], "fov": 60}]), "cannot reshape"),
        (nerfstudio_file(camera_path=[{"fov": 60}]), "it has no 'camera_to_world'"),
        (nerfstudio_file(keyframes=[{"matrix": np.eye(4).tolist(), "fov": 0}]), "field of view of 0"),
        (nerfstudio_file(keyframes=[], camera_path=[]), "0 frames and 0 keyframes"),
        (nerfstudio_file(fps=0), "division by zero"),
        (nerfstudio_file(seconds=1e9), "frames in all"),
        (nerfstudio_file(seconds=float("nan")), "cannot convert float NaN"),
        (nerfstudio_file(render_width=-3), "-3 x 200"),
    ],
)
def test_damaged_paths(tmp_path, document, said):
    with pytest.raises(InputError) as caught:
        read(tmp_path, document)
    assert said in caught.value.why
