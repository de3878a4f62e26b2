"""Standard deviations are honest: against known depth, known cameras, and through every file and the report."""

from __future__ import annotations

import dataclasses
import json
import struct

import numpy as np
import pytest

import test_depth as small
from capture import capture, orbit, room
from rilievo import geometry, report, report_page, report_sigma
from rilievo.io import models
from rilievo.io.gltf import SIGMA_NOTE
from rilievo.io.ply import SIGMA_COMMENT
from rilievo.stages.camera_sigma import CameraSigma, camera_sigma, with_camera_sigma
from rilievo.stages.depth_filter import EDGE, filter_depth, roughness
from rilievo.stages.points import fuse
from rilievo.types import Camera, Mesh, PointCloud, Reconstruction
from surface_scenes import Ring, sphere_cloud

# --- depth maps -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checked():
    """(map, true depth) of the small scene of test_depth: matched twice and checked."""
    drawn = [small.draw(f"{k}.jpg", eye) for k, eye in enumerate(small.EYES)]
    views = [v for v, _ in drawn]
    first = small.first_maps(views)
    second = [small.second_map(views, first, k) for k in range(len(views))]
    return filter_depth(second[0], second[1:], config=small.CONFIG), drawn[0][1], second


def test_two_of_three_errors_lie_within_sigma_and_large_sigma_means_large_errors(checked):
    found, truth, _ = checked
    known = np.isfinite(found.depth)
    error, sigma = np.abs(found.depth - truth)[known], found.sigma[known]
    assert 0.55 < (error < sigma).mean() < 0.85
    assert (error < 3 * sigma).mean() > 0.93
    order = np.argsort(sigma)
    surest, least_sure = np.array_split(order, 4)[0], np.array_split(order, 4)[-1]
    assert np.median(error[surest]) < 0.6 * np.median(error[least_sure])
    for part in (surest, least_sure):
        assert 0.4 < (error[part] < sigma[part]).mean() < 0.92


def test_roughness_of_a_plane_is_none_and_of_noise_its_sigma():
    y, x = np.mgrid[:60, :80]
    inverse = 0.2 + 0.001 * x + 0.002 * y
    assert np.nanmax(roughness((1 / inverse).astype(np.float32))) < 1e-5
    noise = 1e-3 * np.random.default_rng(0).normal(size=inverse.shape)
    rough = roughness((1 / (inverse * (1 + noise))).astype(np.float32))
    assert np.sqrt(np.nanmean(rough**2)) == pytest.approx(1e-3, rel=0.05)
    step = np.where(x < 40, 2.0, 4.0).astype(np.float32)
    assert np.nanmax(roughness(step)) <= EDGE * 1.0001
    assert np.isnan(roughness(np.full((4, 9), 2, np.float32))).all()
    alone = np.full((20, 20), np.nan, np.float32)
    alone[10, 10] = 2
    assert np.isnan(roughness(alone)).all()


def test_inferred_depth_stays_unless_others_look_through_it(checked):
    _, _, second = checked
    inferred = np.zeros(second[0].depth.shape, bool)
    inferred[50:90, 60:100] = True
    # Depth that nobody else measured: where the others have nothing, it stays with the sigma that its prior states.
    blind = [dataclasses.replace(m, depth=np.full_like(m.depth, np.nan)) for m in second[1:]]
    guess = dataclasses.replace(second[0], inferred=inferred, sigma=np.full_like(second[0].sigma, 0.2))
    kept = filter_depth(guess, blind, config=small.CONFIG)
    there = inferred & np.isfinite(second[0].depth)
    assert np.isfinite(kept.depth[there]).mean() > 0.9 and not np.isfinite(kept.depth[~inferred]).any()
    assert (kept.sigma[np.isfinite(kept.depth)] >= 0.2).all() and (kept.confidence[np.isfinite(kept.depth)] > 0).all()
    # In front of what the others see it is contradicted.
    near = dataclasses.replace(guess, depth=np.where(inferred, np.float32(1.8), second[0].depth))
    assert np.isfinite(filter_depth(near, second[1:], config=small.CONFIG).depth[inferred]).mean() < 0.05


# --- points -----------------------------------------------------------------------------------------------------------


def test_sigma_of_fused_points_covers_their_distance_from_the_surface():
    class Independent(Ring):  # every map states the sigma of its own noise
        def load(self, name):
            depth_map, pixels = super().load(name)
            return dataclasses.replace(depth_map, sigma=np.full_like(depth_map.sigma, 0.01)), pixels

    cloud = fuse(Independent(noise=0.01))
    error = np.abs(np.linalg.norm(cloud.points, axis=1) - 1)
    assert 0.6 < (error < cloud.sigma).mean() < 0.85


# --- cameras ----------------------------------------------------------------------------------------------------------


def noisy_reconstruction(
    noise_px: float = 0.3, num: int = 7, scale: float = 1.0, num_points: int = 500
) -> Reconstruction:
    """Cameras and points as they are, with reprojection errors as noise would leave them."""
    rng = np.random.default_rng(0)
    camera = Camera("SIMPLE_RADIAL", 1200, 900, np.array([1100.0, 600, 450, -0.02]))
    made = capture(orbit(num), room(rng, num_points), camera, noise_px=noise_px)
    seen = [geometry.project(camera, m, made.points) for m in made.cam_from_world]
    inside = [(z > 0.1) & (xy > 0).all(1) & (xy < [1200, 900]).all(1) for xy, z in seen]
    obs = np.array([(p, i) for i, ok in enumerate(inside) for p in np.flatnonzero(ok)], np.int32)
    xy = np.concatenate([xy[ok] for (xy, _), ok in zip(seen, inside)]).astype(np.float32)
    matrices = made.cam_from_world.copy()
    matrices[:, :, 3] *= scale
    n = len(made.points)
    return Reconstruction(
        tuple(f"{i}.jpg" for i in range(num)), np.zeros(num, np.int32), (camera,), matrices, made.points * scale,
        np.zeros((n, 3), np.uint8), (noise_px * np.sqrt(rng.chisquare(2, n))).astype(np.float32),
        obs[:, 0].copy(), obs[:, 1].copy(), xy,
    )  # fmt: skip


def size(found: CameraSigma) -> float:
    return float(np.median(np.sqrt(np.trace(found.covariance, axis1=1, axis2=2))))


def test_camera_sigma_follows_noise_scale_and_number_of_photos():
    usual = camera_sigma(noisy_reconstruction())
    assert len(usual.points) > 400
    footprint = 4.0 / 1100
    assert 0.05 * footprint < size(usual) < 4 * footprint
    assert size(camera_sigma(noisy_reconstruction(0.6))) == pytest.approx(2 * size(usual), rel=0.1)
    assert size(camera_sigma(noisy_reconstruction(scale=50.0))) == pytest.approx(50 * size(usual), rel=1e-3)
    assert size(camera_sigma(noisy_reconstruction(num=4))) > 1.2 * size(usual)
    assert size(camera_sigma(noisy_reconstruction(), known_intrinsics=True)) < size(usual)
    values = np.linalg.eigvalsh(usual.covariance)
    assert (values > -1e-9 * values.max()).all()


def test_camera_sigma_does_not_depend_on_the_world_frame():
    scene = noisy_reconstruction()
    turn = geometry.look_at(np.array([3.0, -2, 5]), np.zeros(3))
    moved = dataclasses.replace(
        scene,
        points=geometry.transform(turn, scene.points),
        cam_from_world=geometry.compose(scene.cam_from_world, np.broadcast_to(geometry.invert(turn), (7, 3, 4))),
    )
    a, b = camera_sigma(scene), camera_sigma(moved)
    R = turn[:, :3]
    np.testing.assert_allclose(R @ a.covariance @ R.T, b.covariance, rtol=1e-3, atol=1e-3 * np.abs(a.covariance).max())


def test_camera_sigma_holds_for_errors_that_noise_makes():
    """Cameras adjusted to noisy observations are off by about what is stated (with the factor for real lenses out)."""
    from rilievo.stages.camera_sigma import CameraSigmaConfig

    scene = noisy_reconstruction(0.4, num_points=120)
    ratios = []
    for seed in range(4):
        adjusted = adjust(scene, 0.4, seed)
        stated = camera_sigma(adjusted, known_intrinsics=True, config=CameraSigmaConfig(inflation=1.0))
        s, same = geometry.align(adjusted.centers, scene.centers)
        # The same exact observations, triangulated with the adjusted cameras: only their errors show.
        moved = geometry.transform(same, triangulated(adjusted, scene) * s)
        seen = np.bincount(scene.obs_point, minlength=len(scene.points)) >= 2
        error = (moved - scene.points)[seen]
        precision = np.linalg.inv(stated.covariance + 1e-14 * np.eye(3))
        ratios.append(np.einsum("ni,nij,nj->n", error, precision, error).mean() / 3)
    assert 0.3 < np.mean(ratios) < 2.0  # a few global modes dominate: means of four adjustments scatter


def adjust(scene: Reconstruction, noise_px: float, seed: int) -> Reconstruction:
    """Bundle adjustment by Gauss-Newton of cameras alone against points that follow (variable projection, dense)."""
    rng = np.random.default_rng(seed)
    xy = scene.obs_xy + rng.normal(0, noise_px, scene.obs_xy.shape)
    matrices, points = scene.cam_from_world.copy(), scene.points.copy()
    n, p = len(matrices), len(points)
    camera = scene.cameras[0]
    for _ in range(2):
        x = np.einsum("tij,tj->ti", matrices[scene.obs_photo, :, :3], points[scene.obs_point])
        x = x + matrices[scene.obs_photo, :, 3]
        rows = np.arange(2 * len(x)).reshape(-1, 2)
        base = geometry.distort(camera, x[:, :2] / x[:, 2:])
        J = np.zeros((2 * len(x), 6 * n + 3 * p))
        for k in range(6):
            step = np.cross(np.eye(3)[k], x) if k < 3 else np.broadcast_to(np.eye(3)[k - 3], x.shape)
            y = x + 1e-6 * step
            d = (geometry.distort(camera, y[:, :2] / y[:, 2:]) - base) / 1e-6
            J[rows, (6 * scene.obs_photo + k)[:, None]] = d
        for k in range(3):
            y = x + 1e-6 * matrices[scene.obs_photo, :, k]
            d = (geometry.distort(camera, y[:, :2] / y[:, 2:]) - base) / 1e-6
            J[rows, (6 * n + 3 * scene.obs_point + k)[:, None]] = d
        A = J.T @ J
        change = np.linalg.solve(A + np.diag(1e-6 * np.diag(A) + 1e-9), J.T @ (xy - base).ravel())
        for i in range(n):
            w, t = change[6 * i : 6 * i + 3], change[6 * i + 3 : 6 * i + 6]
            W = np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])
            u, _, v = np.linalg.svd(np.eye(3) + W)
            matrices[i] = np.concatenate([u @ v @ matrices[i, :, :3], (u @ v @ matrices[i, :, 3] + t)[:, None]], 1)
        points += change[6 * n :].reshape(-1, 3)
    x = np.einsum("tij,tj->ti", matrices[scene.obs_photo, :, :3], points[scene.obs_point])
    x = x + matrices[scene.obs_photo, :, 3]
    length = np.linalg.norm(geometry.distort(camera, x[:, :2] / x[:, 2:]) - xy, axis=1)
    errors = np.bincount(scene.obs_point, length, p) / np.maximum(np.bincount(scene.obs_point, minlength=p), 1)
    return dataclasses.replace(scene, cam_from_world=matrices, points=points, point_errors_px=errors.astype(np.float32))


def triangulated(adjusted: Reconstruction, exact: Reconstruction) -> np.ndarray:
    """Places of the points from exact pixels and the adjusted cameras."""
    out = []
    for point in range(len(exact.points)):
        seen = np.flatnonzero(exact.obs_point == point)
        camera = exact.cameras[0]
        xy = geometry.undistort(camera, exact.obs_xy[seen].astype(np.float64))
        P = adjusted.cam_from_world[exact.obs_photo[seen]]
        A = np.concatenate([xy[:, :1] * P[:, 2] - P[:, 0], xy[:, 1:] * P[:, 2] - P[:, 1]])
        out.append(np.linalg.lstsq(A[:, :3], -A[:, 3], rcond=None)[0])
    return np.array(out)


def test_camera_sigma_adds_to_points_and_says_nothing_without_observations():
    cloud, _ = sphere_cloud(500)
    moved = with_camera_sigma(cloud, CameraSigma(np.zeros((1, 3)), np.diag([0.0, 0.0, 0.04])[None]))
    added = np.sqrt(moved.sigma.astype(np.float64) ** 2 - cloud.sigma.astype(np.float64) ** 2)
    np.testing.assert_allclose(added, 0.2 * np.abs(cloud.normals[:, 2]), atol=2e-4)
    scene = noisy_reconstruction()
    none = np.zeros(0, np.int32)
    empty = camera_sigma(
        dataclasses.replace(scene, obs_point=none, obs_photo=none, obs_xy=np.zeros((0, 2), np.float32))
    )
    assert len(empty.points) == 0
    assert with_camera_sigma(cloud, empty) is cloud


# --- files ------------------------------------------------------------------------------------------------------------


def measured_square() -> Mesh:
    """Two triangles, the second one inferred; one corner's sigma is unknown."""
    vertices = np.array([[0, 0, 2], [1, 0, 2], [1, 1, 2], [0, 1, 2]], np.float32)
    faces = np.array([[0, 2, 1], [0, 3, 2]], np.int32)
    sigma = np.array([0.01, 0.02, 0.03, np.nan], np.float32)
    return Mesh(vertices, faces, sigma=sigma, inferred=np.array([False, True]))


def test_ply_carries_sigma_of_points_and_vertices_and_says_what_it_is(tmp_path):
    cloud, _ = sphere_cloud(300)
    cloud = dataclasses.replace(cloud, sigma=np.linspace(0.001, 1, 300).astype(np.float32))
    for name, value in (("cloud.ply", cloud), ("mesh.ply", measured_square())):
        models.write(tmp_path / name, value)
        np.testing.assert_array_equal(models.read(tmp_path / name).sigma, value.sigma)
        header = (tmp_path / name).read_bytes().split(b"end_header")[0].decode()
        assert "property float sigma" in header and f"comment {SIGMA_COMMENT}\n" in header
    bare = models.write(tmp_path / "bare.ply", dataclasses.replace(measured_square(), sigma=None))[0]
    assert b"sigma" not in bare.read_bytes()[:400]


def test_glb_carries_sigma_as_the_standard_wants_and_other_readers_take_it(tmp_path):
    import trimesh

    mesh = measured_square()
    path = models.write(tmp_path / "model.glb", mesh)[0]
    raw = path.read_bytes()
    root = json.loads(raw[20 : 20 + struct.unpack_from("<I", raw, 12)[0]])
    primitive = root["meshes"][0]["primitives"][0]
    accessor = root["accessors"][primitive["attributes"]["_SIGMA"]]
    position = root["accessors"][primitive["attributes"]["POSITION"]]
    assert (accessor["type"], accessor["componentType"], accessor["count"]) == ("SCALAR", 5126, position["count"])
    assert root["bufferViews"][accessor["bufferView"]]["byteOffset"] % 4 == 0
    assert root["meshes"][0]["extras"]["_SIGMA"] == SIGMA_NOTE
    assert "extensionsRequired" not in root
    np.testing.assert_array_equal(models.read(path).sigma, mesh.sigma)
    other = next(iter(trimesh.load(path, process=False).geometry.values()))
    assert len(other.faces) == 2
    np.testing.assert_allclose(other.vertex_attributes["_SIGMA"].ravel(), [0.01, 0.02, 0.03, -1])


# --- report -----------------------------------------------------------------------------------------------------------


def test_figures_and_sentence_of_a_surface_whose_answers_are_known():
    mesh = dataclasses.replace(measured_square(), sigma=np.array([0.01, 0.01, 0.01, 0.2], np.float32))
    facts = report_sigma.sigma_facts(mesh, 0.02, "unknown")
    assert (facts["sigma_median"], facts["sigma_95"], facts["sigma_median_gsd"]) == (0.01, 0.01, 0.5)
    assert (facts["share_inferred"], facts["share_above_2_gsd"]) == (0.5, 0.0)
    assert "half of the measured surface has a standard deviation below 0.5 pixel footprints" in facts["meaning"]
    assert "no metric scale" in facts["meaning"] and "50 % of the surface was filled in" in facts["meaning"]
    metric = report_sigma.sigma_facts(mesh, 0.02, "m")
    assert "below 10 mm" in metric["meaning"] and "footprint is 20 mm" in metric["meaning"]
    everything = dataclasses.replace(mesh, inferred=None)
    assert report_sigma.sigma_facts(everything, 0.02, "m")["share_above_2_gsd"] == 0.5
    assert report_sigma.sigma_facts(everything, 0.02, "m")["sigma_95_gsd"] == pytest.approx(0.22 / 3 / 0.02, rel=1e-2)
    for none in (dataclasses.replace(mesh, sigma=None), dataclasses.replace(mesh, inferred=np.ones(2, bool))):
        assert "no precision can be stated" in report_sigma.sigma_facts(none, 0.02, "m")["meaning"]
    assert "no precision can be stated" in report_sigma.sigma_facts(mesh, float("nan"), "m")["meaning"]


def test_heat_map_shows_sigma_hatches_what_was_not_measured_and_has_a_legend():
    mesh = dataclasses.replace(measured_square(), sigma=np.full(4, 0.02, np.float32))
    camera = Camera("PINHOLE", 400, 300, np.array([300.0, 300, 60, 60]))
    picture = report_sigma.sigma_picture(mesh, camera, np.eye(3, 4), gsd=0.02, unit="m")
    assert picture.shape == (300 + report_sigma.STRIP, 400, 3) and picture.dtype == np.uint8
    expected = report_sigma.heat(np.array([1.0]))[0]
    measured, filled = picture[90, 150].astype(float), picture[100:140, 70:90].reshape(-1, 3).astype(int)
    assert np.abs(measured / measured.max() - expected / expected.max()).max() < 0.02
    assert np.ptp(filled, axis=1).max() == 0 and len(np.unique(filled[:, 0])) > 1  # grey, striped
    assert (picture[5, 5] == 255).all()
    legend = picture[300:]
    assert (legend < 100).any() and len(np.unique(legend.reshape(-1, 3), axis=0)) > 200
    # The scale is even to the eye: brightness rises all along, and less sure is brighter.
    bright = report_sigma.heat(np.geomspace(report_sigma.LOW, report_sigma.HIGH, 64)) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(bright) > 0).all()
    assert np.array_equal(
        report_sigma.heat(np.array([1e-9, 1e9])), report_sigma.heat(np.array([report_sigma.LOW, report_sigma.HIGH]))
    )


def test_the_report_states_precision_as_data_and_on_the_page():
    from test_report import make, scene, square

    mesh = dataclasses.replace(square([False, False]), sigma=np.full(4, 0.01, np.float32))
    made = make(mesh=mesh)
    assert made["precision"]["sigma_68_gsd"] == 0.5 and made["precision"]["share_inferred"] == 0.0
    page = report_page.render_page(made, scene(), [], {}, "x")
    assert "Half of the measured surface has a standard deviation below 0.5 pixel footprints" in page
    assert "0.0 % of it is less sure than two footprints" in page
    json.dumps(made, allow_nan=False)
    assert report.summarize(made)


def test_points_without_sigma_stay_without():
    cloud, _ = sphere_cloud(10)
    unknown = dataclasses.replace(cloud, sigma=np.full(10, np.nan, np.float32))
    assert isinstance(unknown, PointCloud)
    assert np.isnan(with_camera_sigma(unknown, CameraSigma(np.zeros((1, 3)), np.eye(3)[None])).sigma).all()
