"""Scores with answers that can be worked out by hand."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from rilievo import geometry
from rilievo.errors import InputError
from rilievo.evaluate import (
    EvaluateConfig,
    Truth,
    align_to_truth,
    evaluate,
    evaluate_cameras,
    evaluate_cloud,
    evaluate_mesh,
    load_truth,
    prepare_surface,
    sample_by_area,
)
from rilievo.types import Camera, Mesh, PointCloud, Reconstruction

CONFIG = EvaluateConfig(num_samples=20_000)
CAMERA = Camera("OPENCV", 400, 300, np.array([500.0, 500, 205, 148, -0.05, 0, 0, 0]))


def ring(num: int = 8, radius: float = 5.0, height: float = 2.0) -> np.ndarray:
    angles = 2 * np.pi * np.arange(num) / num
    eyes = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(num, height)], -1)
    return np.array([geometry.look_at(eye, np.zeros(3)) for eye in eyes])


def sphere_truth() -> Truth:
    ball = trimesh.creation.icosphere(subdivisions=5, radius=1.0)
    cams = ring()
    names = tuple(f"{i:03}.jpg" for i in range(len(cams)))
    return Truth(names, (CAMERA,) * len(cams), cams, np.array(ball.vertices, np.float64), ball.faces.astype(np.int32))


def reconstruction(truth: Truth, cam_from_world: np.ndarray | None = None) -> Reconstruction:
    n = len(truth.names)
    return Reconstruction(
        truth.names,
        np.zeros(n, np.int32),
        (truth.cameras[0],),
        truth.cam_from_world if cam_from_world is None else cam_from_world,
        np.zeros((1, 3)),
        np.zeros((1, 3), np.uint8),
        np.zeros(1, np.float32),
        np.zeros(n, np.int32),
        np.arange(n, dtype=np.int32),
        np.zeros((n, 2), np.float32),
    )


def cloud_of(points: np.ndarray) -> PointCloud:
    n = len(points)
    one = np.ones(n, np.float32)
    normals = np.tile(np.array([0, 0, 1], np.float32), (n, 1))
    colors = np.zeros((n, 3), np.uint8)
    offsets = np.zeros(n + 1, np.int64)
    return PointCloud(points.astype(np.float32), normals, colors, one, one, one, ("a",), offsets, np.zeros(0, np.int32))


def moved(cam_from_world: np.ndarray, scale: float, R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The same cameras in a world x' = scale R x + t."""
    centers = geometry.invert(cam_from_world)[:, :, 3] @ R.T * scale + t
    rotations = cam_from_world[:, :, :3] @ R.T
    return np.concatenate([rotations, -np.einsum("nij,nj->ni", rotations, centers)[:, :, None]], 2)


@settings(max_examples=25, deadline=None)
@given(
    scale=st.floats(1e-3, 1e3),
    quaternion=st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1),
    t=st.lists(st.floats(-100, 100), min_size=3, max_size=3),
)
def test_any_similarity_of_the_truth_has_no_error(scale: float, quaternion: list[float], t: list[float]) -> None:
    truth = sphere_truth_without_surface()
    R = geometry.rotation_from_quaternion(np.array(quaternion) / np.linalg.norm(quaternion))
    score = evaluate_cameras(reconstruction(truth, moved(truth.cam_from_world, scale, R, np.array(t))), truth)
    assert score.center_rmse < 1e-6
    assert score.rotation_max_deg < 1e-6
    assert score.scale == pytest.approx(1 / scale, rel=1e-6)


def sphere_truth_without_surface() -> Truth:
    return replace(sphere_truth(), vertices=None, faces=None)


def test_rotation_and_intrinsics_errors() -> None:
    truth = sphere_truth_without_surface()
    a = np.radians(3.0)
    twist = np.array([[np.cos(a), -np.sin(a), 0, 0], [np.sin(a), np.cos(a), 0, 0], [0, 0, 1, 0]])
    cams = geometry.compose(np.broadcast_to(twist, (8, 3, 4)), truth.cam_from_world)
    camera = Camera("OPENCV", 400, 300, np.array([510.0, 510, 208, 152, 0, 0, 0, 0]))
    score = evaluate_cameras(replace(reconstruction(truth, cams), cameras=(camera,)), truth)
    assert score.rotation_mean_deg == pytest.approx(3.0)
    assert score.center_rmse < 1e-9
    assert score.focal_error_percent == pytest.approx(2.0)
    assert score.principal_point_error_px == pytest.approx(5.0)


def test_one_camera_off_and_one_missing() -> None:
    truth = sphere_truth_without_surface()
    few = replace(
        reconstruction(truth),
        names=truth.names[:-1],
        camera_index=np.zeros(7, np.int32),
        cam_from_world=truth.cam_from_world[:-1].copy(),
    )
    few = replace(few, obs_photo=np.minimum(few.obs_photo, 6))
    score = evaluate_cameras(few, truth)
    assert (score.num_truth, score.num_placed, score.missing) == (8, 7, ("007.jpg",))
    assert score.gsd == pytest.approx(np.hypot(5, 2) / 500)  # the one sparse point lies at the world's zero
    cams = few.cam_from_world.copy()
    cams[0, :, 3] += [0.07, 0, 0]
    score = evaluate_cameras(replace(few, cam_from_world=cams), truth)
    assert 0.04 < score.center_max < 0.07
    assert score.center_rmse_gsd == pytest.approx(score.center_rmse / score.gsd)


def test_no_alignment_says_why() -> None:
    truth = sphere_truth_without_surface()
    renamed = replace(reconstruction(truth), names=tuple("x" + n for n in truth.names))
    with pytest.raises(InputError, match="cannot be laid on the truth") as caught:
        evaluate_cameras(renamed, truth)
    assert "0 of its 8 photos are named in the truth" in caught.value.why
    in_a_folder = replace(reconstruction(truth), names=tuple("left/" + n for n in truth.names))
    assert evaluate_cameras(in_a_folder, truth).num_placed == 8


def test_ground_sample_distance_and_visibility_of_a_sphere() -> None:
    truth = sphere_truth()
    surface = prepare_surface(truth, config=CONFIG)
    distance = np.hypot(5, 2)
    assert (distance - 1) / 500 < surface.gsd < distance / 500
    # A photo sees the cap with n . c > 1 / distance (c: direction to the camera). Three of eight see everything but the
    # bottom; count analytically at random points.
    c = truth.centers / distance
    true_count = ((surface.seen + surface.origin) @ c.T > 1 / distance - 0.01).sum(1)
    assert (true_count >= 3).all()
    rng = np.random.default_rng(0)
    n = rng.normal(size=(20_000, 3))
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    share = ((n @ c.T > 1 / distance + np.cos(np.radians(85)) * 0.99).sum(1) >= 3).mean()
    assert surface.seen_share == pytest.approx(share, abs=0.015)


def test_hidden_surface_does_not_count() -> None:
    truth = sphere_truth()
    assert truth.vertices is not None and truth.faces is not None
    box = trimesh.creation.box((0.5, 0.5, 0.5))  # inside the sphere: no photo sees it
    vertices = np.concatenate([truth.vertices, box.vertices])
    faces = np.concatenate([truth.faces, box.faces + len(truth.vertices)]).astype(np.int32)
    surface = prepare_surface(replace(truth, vertices=vertices, faces=faces), config=CONFIG)
    assert np.linalg.norm(surface.seen + surface.origin, axis=1).min() > 0.99


@pytest.mark.parametrize("offset_gsd", [0.0, 0.9, 1.1, 1.9, 2.1, 4.9, 5.1])
def test_blown_up_sphere_scores_all_or_nothing(offset_gsd: float) -> None:
    truth = sphere_truth()
    assert truth.vertices is not None and truth.faces is not None
    surface = prepare_surface(truth, config=CONFIG)
    alignment = align_to_truth(reconstruction(truth), truth)
    bigger = truth.vertices * (1 + offset_gsd * surface.gsd)
    score = evaluate_mesh(Mesh(bigger.astype(np.float32), truth.faces), alignment, surface, config=CONFIG)
    expected = tuple(1.0 if offset_gsd < t else 0.0 for t in (1, 2, 5))
    assert score.accuracy == expected and score.completeness == expected and score.f1 == expected
    assert score.error_median_gsd == pytest.approx(offset_gsd, abs=0.03)
    points, _ = sample_by_area(bigger, truth.faces, 100_000, 3)
    cloud = evaluate_cloud(cloud_of(points), alignment, surface, config=CONFIG)
    assert cloud.accuracy == expected
    if offset_gsd < 4.5:
        assert cloud.completeness[2] > 0.99


def test_half_a_sphere_and_junk_in_the_air() -> None:
    truth = sphere_truth()
    assert truth.vertices is not None and truth.faces is not None
    surface = prepare_surface(truth, config=CONFIG)
    alignment = align_to_truth(reconstruction(truth), truth)
    middle = truth.vertices[truth.faces].mean(1)
    half = Mesh(truth.vertices.astype(np.float32), truth.faces[middle[:, 0] > 0])
    score = evaluate_mesh(half, alignment, surface, config=CONFIG)
    assert score.accuracy[0] == 1.0
    assert score.completeness[0] == pytest.approx(0.5, abs=0.02)
    assert score.f1[0] == pytest.approx(2 / 3, abs=0.02)
    # one big triangle in the sky of the same area as the sphere: two vertices more, half the area
    side = np.sqrt(4 * np.pi * 4 / np.sqrt(3))
    sky = np.array([[0, 0, 9], [side, 0, 9], [side / 2, side * np.sqrt(3) / 2, 9]])
    vertices = np.concatenate([truth.vertices, sky]).astype(np.float32)
    faces = np.concatenate([truth.faces, [[len(vertices) - 3, len(vertices) - 2, len(vertices) - 1]]]).astype(np.int32)
    inferred = np.arange(len(faces)) == len(faces) - 1
    score = evaluate_mesh(Mesh(vertices, faces, inferred=inferred), alignment, surface, config=CONFIG)
    assert score.accuracy[2] == pytest.approx(0.5, abs=0.01)
    assert score.completeness[0] == 1.0
    assert score.accuracy_measured == (1.0, 1.0, 1.0)
    assert score.inferred_share == pytest.approx(0.5, abs=0.01)


def test_origin_of_mesh_and_cloud_is_respected() -> None:
    truth = sphere_truth()
    assert truth.vertices is not None and truth.faces is not None
    far = np.array([4e5, 5e6, 300.0])  # a national grid: float32 alone would be off by half a metre
    cams = moved(truth.cam_from_world, 1.0, np.eye(3), far)
    truth_far = replace(truth, cam_from_world=cams, vertices=truth.vertices + far)
    mesh = Mesh(truth.vertices.astype(np.float32), truth.faces, origin=far)
    points, _ = sample_by_area(truth.vertices, truth.faces, 100_000, 0)
    evaluation = evaluate(
        reconstruction(truth_far), replace(cloud_of(points), origin=far), mesh, truth_far, config=CONFIG
    )
    assert evaluation.mesh is not None and evaluation.cloud is not None
    assert evaluation.mesh.f1[0] == 1.0
    assert evaluation.mesh.error_median_gsd < 1e-3
    assert evaluation.cloud.accuracy[0] == 1.0


def test_empty_results_score_zero_and_json_is_plain() -> None:
    truth = sphere_truth()
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    evaluation = evaluate(reconstruction(truth), cloud_of(np.zeros((0, 3))), empty, truth, config=CONFIG)
    assert evaluation.mesh is not None and evaluation.mesh.f1 == (0.0, 0.0, 0.0)
    assert evaluation.cloud is not None and evaluation.cloud.f1 == (0.0, 0.0, 0.0)
    text = json.dumps(evaluation.to_json(), allow_nan=False)
    assert json.loads(text)["mesh"]["error_median_gsd"] is None


def test_what_a_person_reads() -> None:
    truth = sphere_truth()
    assert truth.vertices is not None and truth.faces is not None
    inferred = np.arange(len(truth.faces)) % 4 == 0
    mesh = Mesh(truth.vertices.astype(np.float32), truth.faces, inferred=inferred)
    lines = str(evaluate(reconstruction(truth), None, mesh, truth, config=CONFIG)).splitlines()
    assert lines[0].startswith("cameras   8 of 8 placed; centres ")
    assert "mesh      within 2 gsd: F1 1.000, accuracy 1.000, completeness 1.000" in lines
    assert "25." in lines[-1] or "24." in lines[-1]
    assert not any(line.startswith("cloud") for line in lines)


def test_a_scan_of_points_can_be_the_truth() -> None:
    truth = sphere_truth()
    assert truth.vertices is not None and truth.faces is not None
    points, _ = sample_by_area(truth.vertices, truth.faces, 60_000, 0)
    scan = replace(truth, vertices=None, faces=None, points=points)
    evaluation = evaluate(
        reconstruction(scan), None, Mesh(truth.vertices.astype(np.float32), truth.faces), scan, config=CONFIG
    )
    assert evaluation.mesh is not None and evaluation.mesh.f1[1] > 0.99


def test_samples_follow_area_not_vertices() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [9, 0, 0], [9, 3, 0], [9, 0, 2]], np.float64)
    faces = np.array([[0, 1, 2], [3, 4, 5], [0, 0, 1]], np.int32)  # areas 0.5, 3, 0
    points, face = sample_by_area(vertices, faces, 7_000, 1)
    np.testing.assert_allclose(np.bincount(face, minlength=3), [1000, 6000, 0], atol=1)
    np.testing.assert_allclose(points[face == 0].mean(0), [1 / 3, 1 / 3, 0], atol=0.02)
    again, _ = sample_by_area(vertices, faces, 7_000, 1)
    assert again.tobytes() == points.tobytes()
    assert sample_by_area(vertices, faces[2:], 10, 0)[0].shape == (0, 3)


def write_rilievo_truth(folder: Path, truth: Truth, *, packed: bool) -> None:
    world_from_cam = geometry.invert(truth.cam_from_world)
    known = {
        "K": CAMERA.K.tolist(),
        "k1": -0.05,
        "width": 400,
        "height": 300,
        "world_from_cam": {n: m.tolist() for n, m in zip(truth.names, world_from_cam)},
    }
    (folder / "cameras.json").write_text(json.dumps(known))
    data = trimesh.Trimesh(truth.vertices, truth.faces, process=False).export(file_type="ply")
    if packed:
        (folder / "mesh.ply.gz").write_bytes(gzip.compress(data))
    else:
        (folder / "mesh.ply").write_bytes(data)


@pytest.mark.parametrize("packed", [False, True])
def test_reads_its_own_layout(tmp_path: Path, packed: bool) -> None:
    truth = sphere_truth()
    (tmp_path / "truth").mkdir()
    write_rilievo_truth(tmp_path / "truth", truth, packed=packed)
    loaded = load_truth(tmp_path)
    assert loaded.names == truth.names
    np.testing.assert_allclose(loaded.cam_from_world, truth.cam_from_world, atol=1e-12)
    np.testing.assert_array_equal(loaded.cameras[0].params, CAMERA.params)
    assert loaded.vertices is not None and loaded.faces is not None and truth.vertices is not None
    np.testing.assert_allclose(loaded.vertices, truth.vertices, atol=1e-6)
    np.testing.assert_array_equal(loaded.faces, truth.faces)


def test_reads_strecha_and_colmap_text(tmp_path: Path) -> None:
    R, center = ring()[1, :, :3], np.array([1.0, 2.0, 3.0])
    rows = [CAMERA.K, np.zeros((1, 3)), R.T, center[None]]
    text = "\n".join(" ".join(repr(float(x)) for x in row) for block in rows for row in block) + "\n400 300\n"
    (tmp_path / "0000.jpg.camera").write_text(text)
    strecha = load_truth(tmp_path)
    assert strecha.names == ("0000.jpg",)
    np.testing.assert_allclose(strecha.centers[0], center)
    np.testing.assert_allclose(strecha.cam_from_world[0, :, :3], R)
    colmap = tmp_path / "colmap_ground_truth"
    colmap.mkdir()
    (colmap / "cameras.txt").write_text("# c\n1 SIMPLE_RADIAL 400 300 500 200 150 -0.03\n")
    (colmap / "images.txt").write_text("# i\n1 1 0 0 0 -1 -2 -3 1 a b.jpg\n\n2 0 0 0 1 1 0 0 1 c.jpg\n1 2 -1\n")
    (tmp_path / "0000.jpg.camera").unlink()
    known = load_truth(tmp_path)
    assert known.names == ("a b.jpg", "c.jpg")
    np.testing.assert_allclose(known.centers, [[1, 2, 3], [1, 0, 0]], atol=1e-12)


def test_bad_truth_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no truth found") as caught:
        load_truth(tmp_path / "nowhere")
    assert caught.value.why == "there is no such folder"
    (tmp_path / "cameras.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be read") as caught:
        load_truth(tmp_path)
    assert "world_from_cam" in caught.value.why
    truth = sphere_truth()
    with pytest.raises(InputError, match="no true surface"):
        prepare_surface(sphere_truth_without_surface())
    behind = replace(truth, cam_from_world=-truth.cam_from_world)
    with pytest.raises(InputError, match="seen by enough photos"):
        prepare_surface(behind, config=CONFIG)
