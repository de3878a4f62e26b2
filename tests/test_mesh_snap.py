import dataclasses

import numpy as np

from rilievo.stages import mesh_clean
from rilievo.stages.mesh import MeshConfig, mesh_cloud
from rilievo.stages.mesh_snap import snap
from rilievo.stages.neighbours import Neighbours
from rilievo.types import PointCloud
from surface_scenes import sphere_cloud


def cloud_of(points, normals, sigma=0.3):
    """Points one spacing apart, which is 1."""
    num = len(points)
    return PointCloud(
        points.astype(np.float32),
        normals.astype(np.float32),
        np.zeros((num, 3), np.uint8),
        np.ones(num, np.float32),
        np.full(num, sigma, np.float32),
        np.ones(num, np.float32),
        (),
        np.zeros(num + 1, np.int64),
        np.zeros(0, np.int32),
    )


def noisy_plane(size=60, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    points = np.stack([x.ravel(), y.ravel(), noise * rng.normal(size=size * size)], 1)
    points[:, :2] += 0.3 * rng.uniform(-1, 1, (size * size, 2))
    normals = np.array([0, 0, 1.0]) + 0.1 * rng.normal(size=points.shape)
    return cloud_of(points, normals / np.linalg.norm(normals, axis=1, keepdims=True))


def sheet(size, step, height):
    n = size // step
    y, x = np.mgrid[0 : n + 1, 0 : n + 1] * step
    a = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).ravel()
    faces = np.concatenate([np.stack([a, a + 1, a + n + 2], 1), np.stack([a, a + n + 2, a + n + 1], 1)])
    return np.stack([x, y, np.full_like(x, height)], -1).reshape(-1, 3).astype(np.float32), faces.astype(np.int32)


def snapped(vertices, faces, cloud, rounds=2):
    return snap(vertices, faces, Neighbours(cloud), rounds)


def test_a_sheet_behind_the_noise_comes_to_the_middle_of_it():
    cloud = noisy_plane()
    vertices, faces = sheet(60, 3, -1)
    out = snapped(vertices, faces, cloud)
    assert abs(out[:, 2].mean()) < 0.1
    assert out[:, 2].std() < 0.25
    assert np.abs(out[:, :2] - vertices[:, :2]).max() < 0.5
    assert snapped(vertices, faces, cloud, 0) is vertices


def test_points_of_little_trust_pull_little():
    cloud = noisy_plane(noise=0.0)
    wrong = np.random.default_rng(1).random(len(cloud.points)) < 0.3
    points = cloud.points.copy()
    points[wrong, 2] += 2
    sigma = np.where(wrong, 3.0, 0.3).astype(np.float32)
    vertices, faces = sheet(60, 3, 0)
    out = snapped(vertices, faces, dataclasses.replace(cloud, points=points, sigma=sigma))
    assert np.abs(out[:, 2]).mean() < 0.05
    unknown = dataclasses.replace(cloud, points=points, sigma=np.where(wrong, np.nan, 0.3).astype(np.float32))
    assert np.abs(snapped(vertices, faces, unknown)[:, 2]).mean() < 0.05


def test_the_radius_of_a_sphere_is_kept():
    import trimesh

    # Spacing 0.13 on radius 1: planes alone would lie 4 % of a spacing and more too deep.
    cloud, _ = sphere_cloud(800, noise=0.01)
    ball = trimesh.creation.icosphere(3, radius=0.93)
    faces = np.asarray(ball.faces, np.int32)
    radius = np.linalg.norm(snapped(np.asarray(ball.vertices, np.float32), faces, cloud), axis=1)
    assert abs(radius.mean() - 1) < 0.02 * float(cloud.spacing[0])
    assert radius.std() < 0.01


def test_a_thin_rod_keeps_both_sides():
    angle, along = np.meshgrid(np.arange(8) * np.pi / 4, np.arange(60))
    normals = np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1).reshape(-1, 3)
    radius = 8 / (2 * np.pi)
    noise = 0.1 * np.random.default_rng(2).normal(size=(len(normals), 1))
    points = normals * (radius + noise) + along.reshape(-1, 1) * [0, 0, 1.0]
    import trimesh

    rod = trimesh.creation.cylinder(radius=0.6, height=50, sections=10).subdivide_to_size(3.0)
    inner = rod.vertices + [0, 0, 29.5]
    faces = np.asarray(rod.faces, np.int32)
    out = snapped(inner.astype(np.float32), faces, cloud_of(points, normals))
    ring = np.hypot(inner[:, 0], inner[:, 1]) > 0.5
    before, after = inner[ring, :2], out[ring, :2]
    assert (before * after).sum(1).min() > 0, "a vertex went to the other side"
    assert abs(np.hypot(*after.T).mean() - radius) < 0.15


def test_vertices_without_points_follow_and_no_face_turns():
    cloud = noisy_plane(noise=0.2)
    blank = (np.abs(cloud.points[:, :2] - 30) < 8).all(1)
    keep = np.flatnonzero(~blank)
    bare = cloud_of(cloud.points[keep], cloud.normals[keep])
    vertices, faces = sheet(60, 2, -2)
    out = snapped(vertices, faces, bare)
    inside = (np.abs(vertices[:, :2] - 30) < 4).all(1)
    assert np.abs(out[inside, 2]).max() < 0.6
    p = out[faces].astype(float)
    assert (np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])[:, 2] > 0).all()


def test_no_face_turns_where_normals_are_rubbish():
    cloud = noisy_plane(noise=1.0)
    rng = np.random.default_rng(3)
    normals = rng.normal(size=cloud.points.shape) + [0, 0, 1]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    cloud = dataclasses.replace(cloud, normals=normals.astype(np.float32))
    vertices, faces = sheet(60, 1, 0)
    p, q = vertices[faces].astype(float), snapped(vertices, faces, cloud, 1)[faces].astype(float)
    before, after = (np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]) for t in (p, q))
    assert np.isfinite(q).all()
    assert ((before * after).sum(1) >= 0).all()


def test_far_and_empty_surfaces_stay():
    cloud = noisy_plane(10)
    vertices, faces = sheet(60, 3, 50)
    np.testing.assert_array_equal(snapped(vertices, faces, cloud), vertices)
    assert snapped(vertices[:0], faces[:0], cloud).shape == (0, 3)
    few = cloud_of(cloud.points[:2], cloud.normals[:2])
    np.testing.assert_array_equal(snapped(*sheet(10, 1, 0), few), sheet(10, 1, 0)[0])


def test_surfaces_are_snapped():
    cloud, reconstruction = sphere_cloud(6000, noise=0.02)
    spacing = float(cloud.spacing[0])

    def error(thinning, snapping):
        config = MeshConfig(thinning=thinning, snapping=snapping)
        mesh = mesh_cloud(cloud, reconstruction, config=config)
        assert not snapping or 0.9 < mesh_clean.face_areas(mesh.vertices, mesh.faces).sum() / (4 * np.pi) < 1.1
        return np.abs(np.linalg.norm(mesh.vertices, axis=1) - 1).mean() / spacing

    # Noise of 0.44 spacings: the surface must neither break at any thinning nor keep the noise.
    for thinning in (1.0, 2.0):
        assert error(thinning, 1) < 0.15 < 0.25 < error(thinning, 0)
