"""Kernels on meshes and on the points around them against their NumPy twins, and against rubbish."""

import numpy as np
import pytest
import trimesh

from rilievo import kernels


def native(name):
    return kernels.get(name, "native")


def reference(name):
    return kernels.get(name, "reference")


def ball(subdivisions=2, noise=0.0, seed=0):
    mesh = trimesh.creation.icosphere(subdivisions)
    rng = np.random.default_rng(seed)
    vertices = mesh.vertices * (1 + noise * rng.normal(size=(len(mesh.vertices), 1)))
    return vertices.astype(np.float32), np.asarray(mesh.faces, np.int32)


def soup(num_faces, seed=0):
    """Random triangles: edges with any number of faces, in any direction."""
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(max(4, num_faces // 3), 3)).astype(np.float32)
    return vertices, rng.integers(0, len(vertices), (num_faces, 3)).astype(np.int32)


def with_holes(seed=0, subdivisions=2):
    vertices, faces = ball(subdivisions, 0.02, seed)
    return vertices, faces[np.random.default_rng(seed).random(len(faces)) > 0.1]


def points_of(num, seed=0):
    points = np.random.default_rng(seed).normal(size=(num, 3)).astype(np.float32)
    points[num // 2 :] = np.round(points[num // 2 :], 1)  # equal coordinates and equal distances happen
    return points


@pytest.mark.parametrize("num", [0, 1, 12, 13, 100, 1000])
def test_build_tree_equals_its_twin(num):
    a, b = (kernels.get("build_tree", backend)(points_of(num)) for backend in ("native", "reference"))
    np.testing.assert_array_equal(a[1], b[1])
    np.testing.assert_array_equal(a[2], b[2])
    leaves = [num * k // (len(a[1]) + 1) for k in range(1, len(a[1]) + 1)] if num in (12, 13, 100) else []
    numbers = [np.ascontiguousarray(t[0][:, 3]).view(np.int32) for t in (a, b)]
    assert sorted(numbers[0]) == list(range(num))
    for begin, end in zip([0, *leaves], [*leaves, num]):
        if len(leaves) < 2:
            assert set(numbers[0][begin:end]) == set(numbers[1][begin:end])
    np.testing.assert_array_equal(a[0][:, :3], points_of(num)[numbers[0]])


@pytest.mark.parametrize("num", [0, 1, 12, 13, 100, 1000])
@pytest.mark.parametrize(("count", "limit"), [(1, np.inf), (7, np.inf), (5, 0.4)])
def test_nearest_points_equals_its_twin(num, count, limit):
    tree = native("build_tree")(points_of(num))
    places = np.concatenate([points_of(num)[:20], points_of(50, 1) * 2, [[np.nan, 0, 0], [1e30, 0, 0]]])
    places = places.astype(np.float32)
    a = native("nearest_points")(*tree, places, count, limit)
    b = reference("nearest_points")(*tree, places, count, limit)
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])


def test_trees_refuse_rubbish():
    points = points_of(40)
    tree = native("build_tree")(points)
    with pytest.raises(ValueError, match="finite"):
        native("build_tree")(np.full_like(points, np.inf))
    with pytest.raises(TypeError):
        native("build_tree")(points.astype(np.float64))
    for bad in ((tree[0][:5], *tree[1:]), (tree[0], tree[1], tree[2] + np.uint8(3))):
        with pytest.raises(ValueError, match="tree"):
            native("nearest_points")(*bad, points, 1, 1.0)
    for count, limit in ((0, 1.0), (65, 1.0), (1, -1.0), (1, np.nan)):
        with pytest.raises(ValueError, match="nearest_points"):
            native("nearest_points")(*tree, points, count, limit)


LIMITS = np.array([4, 0.3, 0.7, 3, 1, 0.5, 0.1])


def snap_arguments(num=300, seed=0):
    rng = np.random.default_rng(seed)
    vertices, _ = ball(2, 0.05, seed)
    normals = rng.normal(size=(num, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    points = (normals * (1 + 0.02 * rng.normal(size=(num, 1)))).astype(np.float32)
    sigma = np.where(rng.random(num) < 0.1, np.nan, rng.uniform(0.01, 0.2, num)).astype(np.float32)
    traits = (
        points,
        (normals + 0.1 * rng.normal(size=(num, 3))).astype(np.float32),
        sigma,
        rng.random(num).astype(np.float32),
        np.full(num, 0.15, np.float32),
    )
    return [*native("build_tree")(points), *traits, vertices, (vertices / 1.0).astype(np.float32), 12, 4, LIMITS]


@pytest.mark.parametrize("num", [1, 20, 300])
def test_snap_steps_equal_their_twin(num):
    arguments = snap_arguments(num)
    a, b = native("snap_steps")(*arguments), reference("snap_steps")(*arguments)
    np.testing.assert_array_equal(a[1], b[1])
    np.testing.assert_allclose(a[0], b[0], atol=1e-9)
    assert num < 300 or (a[1].mean() > 0.9 and np.abs(a[0]).max() > 0.02)


def test_snap_steps_refuse_or_survive_rubbish():
    good = snap_arguments()
    for place, value in ((4, good[4][1:]), (9, good[9][1:]), (10, 0), (10, 65), (0, good[0][:5])):
        bad = list(good)
        bad[place] = value
        with pytest.raises(ValueError, match=r"snap_steps|tree"):
            native("snap_steps")(*bad)
    for place in (3, 4, 5, 6, 7, 8, 9):
        for rubbish in (np.nan, np.inf, 0.0, -1.0, 1e38):
            bad = list(good)
            bad[place] = np.full_like(good[place], rubbish)
            native("snap_steps")(*bad)


@pytest.mark.parametrize("mesh", [ball(), with_holes(1), soup(0), soup(1), soup(60), soup(400, 1)])
def test_edge_kernels_equal_their_twins(mesh):
    vertices, faces = mesh
    twins = native("edge_twins")(vertices, faces)
    np.testing.assert_array_equal(twins, reference("edge_twins")(vertices, faces))
    a = native("split_fans")(faces, twins, len(vertices))
    b = reference("split_fans")(faces, twins, len(vertices))
    for x, y in zip(a, b):
        assert x.dtype == y.dtype == np.int32
        np.testing.assert_array_equal(x, y)
    chosen = (np.random.default_rng(len(faces)).random(len(faces)) < 0.8).astype(np.uint8)
    np.testing.assert_array_equal(
        native("join_faces")(twins, chosen), reference("join_faces")(twins, chosen).reshape(len(faces))
    )
    face, k = np.nonzero(twins == -1)
    start, end = faces[face, (k + 1) % 3], faces[face, k]
    for x, y in zip(native("border_loops")(start, end), reference("border_loops")(start, end)):
        np.testing.assert_array_equal(x, y)


def test_sheets_that_share_an_edge_stay_closed():
    """Two boxes that touch along an edge: the edge has four faces, and each box keeps its own."""
    one = trimesh.creation.box()
    box = np.asarray(one.vertices, np.float32) + np.float32(0.5)
    other = box + np.array([1, 1, 0], np.float32)
    vertices = np.concatenate([box, other])
    faces = np.concatenate([one.faces, one.faces + 8]).astype(np.int32)
    _, first, merged = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    faces = merged.reshape(-1)[faces].astype(np.int32)
    vertices = vertices[first]
    twins = kernels.edge_twins(vertices, faces)
    assert (twins >= 0).all()
    split, origin = kernels.split_fans(faces, twins, len(vertices))
    assert len(origin) == 2
    assert len(np.unique(kernels.join_faces(twins, np.ones(len(faces), np.uint8)))) == 2
    assert trimesh.Trimesh(np.concatenate([vertices, vertices[origin]]), split, process=False).is_watertight


def test_edge_kernels_refuse_rubbish():
    vertices, faces = ball(0)
    twins = native("edge_twins")(vertices, faces)
    for bad in (faces + 1, faces - 1):
        with pytest.raises(ValueError, match="not there"):
            native("edge_twins")(vertices, bad)
        with pytest.raises(ValueError, match="not there"):
            native("split_fans")(bad, twins, len(vertices))
    for bad in (twins + 1, twins - 3, np.roll(twins, 1, 0)):
        with pytest.raises(ValueError, match="twins"):
            native("split_fans")(faces, bad, len(vertices))
        with pytest.raises(ValueError, match="twins"):
            native("join_faces")(bad, np.ones(len(faces), np.uint8))
    with pytest.raises(ValueError, match="one choice"):
        native("join_faces")(twins, np.ones(3, np.uint8))
    with pytest.raises(ValueError, match="out of range"):
        native("border_loops")(np.array([-1], np.int32), np.array([0], np.int32))
    native("edge_twins")(vertices * np.float32(np.nan), faces)
    native("edge_twins")(vertices * 0, np.repeat(faces, 4, 0))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", ["ball", "holes"])
def test_simplify_mesh_equals_its_twin(make, seed):
    vertices, faces = ball(2, 0.02, seed) if make == "ball" else with_holes(seed)
    twins = native("edge_twins")(vertices, faces)
    if make == "holes":
        faces, origin = native("split_fans")(faces, twins, len(vertices))
        vertices = np.concatenate([vertices, vertices[origin]])
        twins = native("edge_twins")(vertices, faces)
    weight = np.random.default_rng(seed).uniform(0.5, 2, len(vertices))
    arguments = (vertices.astype(np.float64), faces, twins, weight, len(faces) // 3, 0.05)
    a, b = native("simplify_mesh")(*arguments), reference("simplify_mesh")(*arguments)
    assert 0.2 * len(faces) < len(a[1]) <= max(len(faces) // 3, 0.5 * len(faces))
    np.testing.assert_array_equal(a[1], b[1])
    np.testing.assert_allclose(a[0], b[0], atol=1e-9)


def test_simplify_mesh_refuses_or_survives_rubbish():
    vertices, faces = ball(1)
    good = [vertices.astype(np.float64), faces, native("edge_twins")(vertices, faces), np.ones(len(vertices)), 20, 0.1]
    for place, value in (
        (0, good[0] * np.nan),
        (0, good[0] * 1e300),
        (1, faces + 1),
        (1, faces * 0),
        (2, good[2] + 1),
        (2, good[2][1:]),
        (3, good[3] * 0),
        (3, good[3] * np.nan),
        (3, good[3][1:]),
        (5, 0.0),
        (5, np.nan),
    ):
        bad = list(good)
        bad[place] = value
        with pytest.raises(ValueError, match="simplify_mesh"):
            native("simplify_mesh")(*bad)
    assert len(native("simplify_mesh")(good[0] * 0, *good[1:])[1]) <= len(faces)
    assert len(native("simplify_mesh")(*good[:4], -5, 0.1)[1]) >= 4
    triangles, mess = soup(200)
    mess = mess[[len(set(f)) == 3 for f in mess.tolist()]]
    twins = native("edge_twins")(triangles, mess)
    native("simplify_mesh")(triangles.astype(np.float64), mess, twins, np.ones(len(triangles)), 5, 0.1)
    empty = np.zeros((0, 3), np.int32)
    assert native("simplify_mesh")(np.zeros((0, 3)), empty, empty, np.zeros(0), 5, 0.1)[1].shape == (0, 3)


def test_mesh_kernels_give_the_same_bytes_for_any_number_of_threads():
    results = []
    for threads in (1, 2):
        kernels.set_num_threads(threads)
        points = points_of(20000)
        tree = kernels.build_tree(points)
        near = kernels.nearest_points(*tree, points[:5000], 5, np.inf)
        vertices, faces = ball(6)
        twins = kernels.edge_twins(vertices, faces)
        arguments = snap_arguments(3000)
        arguments[8:10] = [vertices, vertices]
        results.append([a.tobytes() for a in (*tree, *near, twins, *kernels.snap_steps(*arguments))])
    kernels.set_num_threads(0)
    assert results[0] == results[1]
