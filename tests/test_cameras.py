"""Structure from motion on captures with known answers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture import Capture, capture, joined, orbit, room
from rilievo.errors import AlignmentError, InputError
from rilievo.geometry import align, look_at, project
from rilievo.stages import georeference, intrinsics, upright
from rilievo.stages.cameras import CamerasConfig, reconstruct
from rilievo.stages.diagnose import diagnose
from rilievo.types import Camera, Reconstruction

CAMERA = Camera("RADIAL", 1600, 1200, np.array([1400.0, 809.0, 592.0, -0.06, 0.02]))


def scene(n: int = 9, *, points: int = 900, seed: int = 1, **settings: object) -> Capture:
    rng = np.random.default_rng(seed)
    return capture(orbit(n), room(rng, points), CAMERA, seed=seed, **settings)  # type: ignore[arg-type]


def center_error(model: Reconstruction, truth: Capture) -> float:
    """RMSE of the camera centres after alignment, in the truth's unit."""
    index = {p.name: i for i, p in enumerate(truth.photos)}
    R, t = truth.cam_from_world[:, :, :3], truth.cam_from_world[:, :, 3]
    centers = -np.einsum("nji,nj->ni", R, t)[[index[n] for n in model.names]]
    scale, b = align(model.centers, centers)
    return float(np.sqrt(np.mean(np.sum((scale * model.centers @ b[:, :3].T + b[:, 3] - centers) ** 2, 1))))


@pytest.fixture(scope="module")
def nine() -> tuple[Capture, Reconstruction]:
    truth = scene()
    return truth, reconstruct(truth.photos, truth.features, truth.matches)


def as_bytes(model: Reconstruction) -> bytes:
    values = (getattr(model, f.name) for f in dataclasses.fields(model))
    return b"".join(v.tobytes() if isinstance(v, np.ndarray) else repr(v).encode() for v in values)


def test_places_all_photos_accurately(nine: tuple[Capture, Reconstruction]) -> None:
    truth, model = nine
    assert model.names == tuple(p.name for p in truth.photos)
    gsd = 4.0 / 1400
    assert center_error(model, truth) < 1.5 * gsd
    assert model.reprojection_error() < 0.6
    assert model.unplaced == {} and model.num_models == 1


def test_principal_point_is_found_where_photos_determine_it(nine: tuple[Capture, Reconstruction]) -> None:
    _, model = nine
    camera = model.cameras[0]
    assert camera.model == "RADIAL"
    assert abs(camera.cx - 809) < 4 and abs(camera.cy - 592) < 4
    assert abs(camera.fx - 1400) < 5
    assert "principal point refined to" in model.intrinsics_note


def test_points_match_observations_and_colors(nine: tuple[Capture, Reconstruction]) -> None:
    truth, model = nine
    counts = np.bincount(model.obs_point, minlength=len(model.points))
    assert counts.min() >= 2
    errors = []
    for k in range(len(model.names)):
        rows = model.obs_photo == k
        xy, depth = project(model.camera(k), model.cam_from_world[k], model.points[model.obs_point[rows]])
        assert (depth > 0).all()
        errors.append(np.linalg.norm(xy - model.obs_xy[rows], axis=1))
    assert np.concatenate(errors).max() <= 4.1
    # The colours of the capture code the position: the model's points must carry those of the true points.
    index = {p.name: i for i, p in enumerate(truth.photos)}
    R, t = truth.cam_from_world[:, :, :3], truth.cam_from_world[:, :, 3]
    centers = -np.einsum("nji,nj->ni", R, t)[[index[n] for n in model.names]]
    scale, b = align(model.centers, centers)
    where = scale * model.points @ b[:, :3].T + b[:, 3]
    expected = np.clip(where * 40 + 128, 0, 255)
    assert np.median(np.abs(expected - model.point_colors)) < 2


def test_stands_upright(nine: tuple[Capture, Reconstruction]) -> None:
    truth, model = nine
    assert model.frame == "upright" and model.unit == "unknown" and model.scale_source == "none"
    _, b = align(model.centers, -np.einsum("nji,nj->ni", truth.cam_from_world[:, :, :3], truth.cam_from_world[:, :, 3]))
    up = b[:, :3] @ [0, 0, 1]
    assert np.rad2deg(np.arccos(min(1.0, up[2]))) < 0.5
    depths = [
        np.median(project(model.camera(k), model.cam_from_world[k], model.points)[1]) for k in range(len(model.names))
    ]
    assert np.median(depths) == pytest.approx(1.0, abs=0.02)
    assert np.quantile(model.points[:, 2], 0.02) == pytest.approx(0, abs=0.01)


def test_same_bytes_for_any_order_and_run(nine: tuple[Capture, Reconstruction]) -> None:
    truth, model = nine
    again = reconstruct(truth.photos[::-1], truth.features, truth.matches[::-1])
    assert as_bytes(again) == as_bytes(model)


def test_known_intrinsics_are_held() -> None:
    truth = scene(6)
    known = {p.name: CAMERA for p in truth.photos}
    model = reconstruct(truth.photos, truth.features, truth.matches, cameras=known)
    assert model.cameras[0].params.tobytes() == CAMERA.params.tobytes()
    assert model.intrinsics_note == "intrinsics held as given"
    assert center_error(model, truth) < 0.003


def test_two_photos_keep_the_intrinsics() -> None:
    truth = scene(2, noise_px=0.5, focal_px=1400.0)
    model = reconstruct(truth.photos, truth.features, truth.matches)
    assert model.cameras[0].params.tolist() == [1400.0, 800.0, 600.0, 0.0]
    assert model.intrinsics_note.startswith("focal length held at the value from EXIF; distortion")
    assert len(model.points) > 50


def test_what_photos_do_not_determine_stays_near_the_centre() -> None:
    """A walk along a flat wall that the camera faces: shifts of the principal point are turns of the camera."""
    rng = np.random.default_rng(5)
    wall = np.stack([rng.uniform(-4, 4, 900), rng.normal(0, 0.02, 900), rng.uniform(0, 3, 900)], 1)
    poses = np.stack([look_at(np.array([x, -4.0, 1.5]), np.array([x, 0, 1.5])) for x in np.linspace(-1.5, 1.5, 6)])
    truth = capture(poses, wall, CAMERA, seed=2, focal_px=1400.0, noise_px=0.6)
    model = reconstruct(truth.photos, truth.features, truth.matches)
    assert abs(model.cameras[0].cx - 800) < 12 and abs(model.cameras[0].cy - 600) < 12
    assert "principal point refined to" not in model.intrinsics_note


def flight(relief: float, **settings: object) -> Capture:
    """Four lines over ground, seen straight down; the true focal length is 1400 px."""
    rng = np.random.default_rng(3)
    n = 1500
    ground = np.stack([rng.uniform(-5, 5, n), rng.uniform(-5, 5, n), relief * rng.uniform(0, 1, n)], 1)
    poses = []
    for row, y in enumerate(np.linspace(-2.4, 2.4, 4)):
        for x in np.linspace(-3, 3, 6) * (1 if row % 2 == 0 else -1):
            eye = np.array([x, y, 4.0]) + 0.02 * rng.normal(size=3)
            down = eye - [0, 0, 4.0] + 0.05 * rng.normal(size=3) * [1, 1, 0]
            poses.append(look_at(eye, down, up=(1.0 if row % 2 == 0 else -1.0, 0, 0)))
    return capture(np.stack(poses), ground, CAMERA, seed=3, noise_px=0.5, **settings)  # type: ignore[arg-type]


def test_focal_length_that_photos_do_not_determine_is_exifs() -> None:
    """Over flat ground seen straight down a longer lens is a greater height: left free it runs away."""
    truth = flight(0.0, focal_px=1400.0)
    model = reconstruct(truth.photos, truth.features, truth.matches)
    assert len(model.names) == 24
    assert model.cameras[0].fx == pytest.approx(1400, rel=0.01)
    assert "focal length held near EXIF's" in model.intrinsics_note
    assert model.reprojection_error() < 0.8
    # without EXIF there is nothing to hold it at, and that is told
    truth = flight(0.0)
    model = reconstruct(truth.photos, truth.features, truth.matches)
    assert "the photos determine the focal length" in model.intrinsics_note


def test_wrong_focal_length_in_exif_is_overruled_by_photos() -> None:
    truth = flight(2.0, focal_px=2000.0)
    model = reconstruct(truth.photos, truth.features, truth.matches)
    assert model.cameras[0].fx == pytest.approx(1400, rel=0.02)
    assert "held" not in model.intrinsics_note


def test_refine_none_holds_all() -> None:
    truth = scene(5, focal_px=1390.0)
    model = reconstruct(truth.photos, truth.features, truth.matches, config=CamerasConfig(refine="none"))
    assert model.cameras[0].params.tolist() == [1390.0, 800.0, 600.0, 0.0]
    assert model.intrinsics_note == "intrinsics not refined (refine=none)"


def test_wide_steps_use_tracks_of_two_photos() -> None:
    """A chain where neighbours alone match, and nine of ten points are seen by two of them only."""
    truth = scene(6)
    only = []
    for j, m in enumerate(truth.matches):
        rows = m.matches[m.offsets[-2] :] if j else m.matches
        # Most keypoints are matched either with the photo before or with the one after.
        if j:
            rows = rows[
                ((rows[:, 0] % 10 == 0) | (rows[:, 0] % 2 == 0)) & ((rows[:, 1] % 10 == 0) | (rows[:, 1] % 2 == 1))
            ]
        offsets = np.array([0, len(rows)] if j else [0], np.int64)
        only.append(
            dataclasses.replace(
                m, names0=m.names0[-1:], offsets=offsets, matches=rows, num_raw=m.num_raw[-1:], kinds=m.kinds[-1:]
            )
        )
    model = reconstruct(truth.photos, truth.features, only)
    assert len(model.names) == 6
    assert np.mean(np.bincount(model.obs_point) == 2) > 0.5


def test_two_sets_give_the_larger_and_name_the_other() -> None:
    a = scene(7)
    b = capture(orbit(4), room(np.random.default_rng(9), 500), CAMERA, seed=5, prefix="OTHER")
    model = reconstruct(*joined(a, b))
    assert model.names == tuple(p.name for p in a.photos)
    assert model.num_models == 2
    assert sorted(model.unplaced) == [p.name for p in b.photos]
    assert model.unplaced["OTHER_0000.jpg"].startswith("it belongs to a separate model with OTHER_0001.jpg")


def test_photo_without_matches_is_named() -> None:
    truth = scene(6)
    lonely = dataclasses.replace(truth.photos[0], name="zebra.jpg")
    features = truth.features | {"zebra.jpg": truth.features["IMG_0000.jpg"]}
    model = reconstruct([*truth.photos, lonely], features, truth.matches)
    assert model.unplaced == {"zebra.jpg": "it was compared with no other photo"}
    text = diagnose("zebra.jpg", [*truth.photos, lonely], features, truth.matches, model)
    assert text.startswith("zebra.jpg was not placed: it was compared with no other photo")
    assert "hint: take two or three photos on the way from IMG_0005.jpg to zebra.jpg" in text
    text = diagnose("IMG_0002.jpg", truth.photos, truth.features, truth.matches, model)
    assert text.startswith("IMG_0002.jpg was placed: it sees") and "best partners:" in text


def test_one_standpoint_is_an_error() -> None:
    points = room(np.random.default_rng(2), 900)
    eye = np.array([0.5, -4.0, 1.5])
    poses = np.stack([look_at(eye, np.array([x, 0, 0.7])) for x in np.linspace(-0.8, 0.8, 5)])
    truth = capture(poses, points, CAMERA, seed=3, focal_px=1400.0)
    with pytest.raises(AlignmentError) as caught:
        reconstruct(truth.photos, truth.features, truth.matches)
    assert caught.value.what == "the 5 photos were taken from one standpoint: there is no depth to measure"
    assert caught.value.hint.startswith("walk sideways between the photos")


def test_no_overlap_is_an_error() -> None:
    sets = [capture(orbit(1), room(np.random.default_rng(k), 300), CAMERA, prefix=f"P{k}") for k in range(3)]
    with pytest.raises(AlignmentError) as caught:
        reconstruct(*joined(*sets))
    assert caught.value.what == "the 3 photos do not overlap: no two of them show the same thing"
    assert "fewer than 15 verified matches in every pair" in caught.value.why


def test_one_photo_is_an_error() -> None:
    truth = scene(2)
    with pytest.raises(InputError, match="at least 2 photos, got 1"):
        reconstruct(truth.photos[:1], truth.features, [])


@pytest.mark.parametrize("bad", [{"mapper": "x"}, {"refine": "x"}, {"frame": "x"}])
def test_unknown_settings_are_refused(bad: dict[str, str]) -> None:
    truth = scene(2, points=50)
    with pytest.raises(ValueError, match="must be"):
        reconstruct(truth.photos, truth.features, truth.matches, config=CamerasConfig(**bad))  # type: ignore[arg-type]


def geodetic(enu: np.ndarray, origin: np.ndarray) -> list[tuple[float, float, float]]:
    """ENU metres -> latitude, longitude, height, by Newton's method on the forward formula."""
    found = []
    frame = georeference.enu_from_ecef(origin)
    for target in enu:
        x = np.array(origin, np.float64)
        for _ in range(20):
            f = frame[:, :3] @ georeference.ecef_from_geodetic(*x) + frame[:, 3]
            J = np.stack(
                [
                    (frame[:, :3] @ georeference.ecef_from_geodetic(*(x + d)) + frame[:, 3] - f) / d.max()
                    for d in np.diag([1e-6, 1e-6, 1e-2])
                ],
                1,
            )
            x = x + np.linalg.solve(J, target - f)
        found.append((float(x[0]), float(x[1]), float(x[2])))
    return found


def test_gps_gives_metres_and_north() -> None:
    rng = np.random.default_rng(4)
    origin = np.array([44.4, 8.9, 30.0])
    size = 30.0
    points, poses = room(rng, 900) * size, orbit(9).copy()
    poses[:, :, 3] *= size
    centers = -np.einsum("nji,nj->ni", poses[:, :, :3], poses[:, :, 3])
    noisy = centers + rng.normal(0, 1.0, centers.shape)
    noisy[3] += [400.0, -200.0, 50.0]
    truth = capture(poses, points, CAMERA, seed=1, gps=geodetic(noisy, origin))
    model = reconstruct(truth.photos, truth.features, truth.matches)
    assert (model.frame, model.unit, model.scale_source) == ("enu", "m", "gps")
    ours = geodetic(model.centers, model.origin)
    back = georeference.enu_from_ecef(origin)
    there = np.array([back[:, :3] @ georeference.ecef_from_geodetic(*g) + back[:, 3] for g in ours])
    assert np.abs(there - centers).max() < 4.0
    span = np.linalg.norm(model.centers[0] - model.centers[-1]) / np.linalg.norm(centers[0] - centers[-1])
    assert span == pytest.approx(1.0, abs=0.03)
    assert "GPS of 9 photos" in model.georeference_note


def test_gps_too_coarse_for_a_small_scene_is_not_used() -> None:
    rng = np.random.default_rng(4)
    centers = np.zeros((7, 3))
    noisy = centers + rng.normal(0, 3.0, centers.shape)
    truth = scene(7, gps=geodetic(noisy, np.array([44.4, 8.9, 30.0])))
    model = reconstruct(truth.photos, truth.features, truth.matches)
    assert (model.frame, model.unit) == ("upright", "unknown")


def test_focal_length_is_found_without_exif() -> None:
    camera = Camera("SIMPLE_RADIAL", 1600, 1200, np.array([3400.0, 800, 600, 0.0]))
    poses = np.stack([look_at(e, np.array([0, 0, 0.6])) for e in 9.0 * np.array(
        [[np.cos(a), np.sin(a), 0.3 + 0.1 * np.sin(4 * a)] for a in np.linspace(-2.2, -0.6, 6)]
    )])  # fmt: skip
    truth = capture(poses, room(np.random.default_rng(3), 900), camera, seed=2)
    (group,) = intrinsics.group_cameras(truth.photos, features=truth.features, matches=truth.matches)
    assert not group.known_focal
    assert group.camera.fx == pytest.approx(3400, rel=0.15)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["ring", "facade", "nadir", "turned"]))
def test_up_is_found_in_any_world_frame(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    n = 12
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
    if kind == "facade":
        eyes = np.stack([np.linspace(-3, 3, n), np.full(n, -6.0), np.full(n, 1.6)], 1)
        poses = np.stack([look_at(e, e + [0.1, 6, 0.0]) for e in eyes])
    elif kind == "nadir":
        eyes = np.stack([np.linspace(-3, 3, n), np.linspace(-2, 2, n), np.full(n, 50.0)], 1)
        heading = np.where(np.arange(n)[:, None] % 2, [0.3, 1.0, 0], [-1.0, 0.2, 0])
        poses = np.stack([look_at(e, e - [0, 0, 50.0], up=h) for e, h in zip(eyes, heading, strict=True)])
    else:
        eyes = np.stack([3 * np.cos(angles), 3 * np.sin(angles), np.full(n, 1.5)], 1)
        poses = np.stack([look_at(e, np.zeros(3)) for e in eyes])
    if kind == "turned":
        quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
        poses[::3] = quarter @ poses[::3]
    roll = np.deg2rad(rng.normal(0, 1.0, n))
    for k, a in enumerate(roll):
        poses[k] = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ poses[k]
    Q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    Q *= np.sign(np.linalg.det(Q))
    turned = np.concatenate([poses[:, :, :3] @ Q.T, poses[:, :, 3:]], 2)
    up, _ = upright.up_from_cameras(turned)
    limit = 8.0 if kind == "facade" else 2.0
    assert np.rad2deg(np.arccos(np.clip(up @ Q @ [0, 0, 1], -1, 1))) < limit


def test_planes_make_up_exact() -> None:
    rng = np.random.default_rng(0)
    points = room(rng, 3000) + rng.normal(0, 0.003, (3000, 3))
    tilted = np.array([np.sin(0.05), 0.0, np.cos(0.05)])
    up = upright.refine_up(tilted, np.eye(3) * 1e3, points)
    assert np.rad2deg(np.arccos(up[2])) < 0.3
