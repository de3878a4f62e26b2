"""Kernels of surfaces against their NumPy twins, and against rubbish."""

import numpy as np
import pytest

from rilievo import kernels

CUBE = float(1 << 20)
CORNERS = np.array([[-4, -4, -4], [12, -4, -4], [-4, 12, -4], [-4, -4, 12]]) * CUBE


def enclosed(points):
    return np.concatenate([np.floor(points), CORNERS])


def determinants(points, vertices):
    p = points[vertices]
    return np.linalg.det(p[:, 1:] - p[:, :1])


def rows_of(vertices):
    return set(map(tuple, np.sort(vertices, 1).tolist()))


@pytest.mark.parametrize("num", [0, 1, 7, 300])
def test_delaunay_equals_its_twin(num):
    points = enclosed(np.random.default_rng(num).random((num, 3)) * CUBE)
    for backend in ("native", "reference"):
        vertices, neighbours = kernels.get("delaunay", backend)(points)
        assert vertices.dtype == neighbours.dtype == np.int32
        assert (determinants(points, vertices) > 0).all()
        for i in range(4):  # across each face the same three corners, and back again
            inner = np.flatnonzero(neighbours[:, i] >= 0)
            other = neighbours[inner, i]
            assert ((neighbours[other] == inner[:, None]).sum(1) == 1).all()
            shared = [len(set(vertices[a].tolist()) & set(vertices[b].tolist())) for a, b in zip(inner, other)]
            assert set(shared) <= {3}
        if backend == "native":
            first = rows_of(vertices)
    assert rows_of(vertices) == first


@pytest.mark.parametrize("kind", ["grid", "sphere", "plane", "line", "equal"])
def test_delaunay_of_degenerate_points(kind):
    """No sphere around a tetrahedron holds a point, and the tetrahedra fill the outer one: whatever the ties."""
    rng = np.random.default_rng(5)
    if kind == "grid":
        points = rng.integers(0, 5, (150, 3)) * 1000.0
    elif kind == "sphere":  # many integer points on one sphere
        n = np.arange(-15, 16)
        x, y, z = (a.ravel() for a in np.meshgrid(n, n, n))
        on = x * x + y * y + z * z == 225
        points = np.stack([x, y, z], 1)[on] * 100.0 + 5000
    elif kind == "plane":
        points = np.concatenate([rng.integers(0, 1000, (200, 2)), np.full((200, 1), 500)], 1).astype(float)
    elif kind == "line":
        points = np.outer(np.arange(60), [3.0, 2.0, 1.0])
    else:
        points = np.full((40, 3), 77.0)
    points = enclosed(points)
    vertices, _ = kernels.get("delaunay", "native")(points)
    volume = determinants(points, vertices)
    assert (volume > 0).all()
    assert volume.sum() == pytest.approx(np.linalg.det(CORNERS[1:] - CORNERS[0]), rel=1e-9)
    assert len(np.unique(points[np.unique(vertices)], axis=0)) == len(np.unique(points, axis=0))
    exact = points.astype(np.int64).astype(object)
    for tet in vertices[:: max(1, len(vertices) // 40)]:
        a = exact[tet[0]]
        rows = [[*(exact[v] - a), ((exact[v] - a) ** 2).sum()] for v in tet[1:]]
        for i in range(len(points)):
            d = exact[i] - a
            assert _det4([*rows, [*d, (d**2).sum()]]) <= 0


def _det4(m):
    """Exact determinant; negative or zero: the last row's point is not inside the sphere of the others and zero."""

    def det(rows):
        if len(rows) == 1:
            return rows[0][0]
        return sum((-1) ** j * rows[0][j] * det([r[:j] + r[j + 1 :] for r in rows[1:]]) for j in range(len(rows)))

    return -det([list(r) for r in m])


def test_delaunay_refuses_rubbish():
    good = enclosed(np.random.default_rng(0).random((10, 3)) * CUBE)
    run = kernels.get("delaunay", "native")
    for bad, message in (
        (good[:3], "four points"),
        (good + 0.5, "integers"),
        (good * 1e6, "integers"),
        (np.where(good == good[2], np.nan, good), "integers"),
        (good[::-1].copy(), "tetrahedron|outside"),
        (np.concatenate([good[:1] - 60 * CUBE, good]), "outside"),
    ):
        with pytest.raises(ValueError, match=message):
            run(bad)
    with pytest.raises(TypeError):
        run(good.astype(np.float32))


def scene(num=60, seed=0):
    """Points on a sphere with rays to four cameras, tetrahedra, and the arguments of visibility_capacities."""
    rng = np.random.default_rng(seed)
    n = rng.normal(size=(num, 3))
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    points = enclosed((0.5 + 0.2 * n) * CUBE)
    centers = np.array([[0.9, 0.5, 0.55], [0.1, 0.45, 0.5], [0.5, 0.93, 0.5], [0.48, 0.5, 0.08]]) * CUBE
    sees = ((centers[None] - points[:num, None]) * n[:, None]).sum(2) > 0
    vertices, neighbours = kernels.get("delaunay", "native")(points)
    sigma = rng.uniform(0.01, 0.03, num) * CUBE
    weight = rng.uniform(0.5, 2, num)
    offsets = np.concatenate([[0], np.cumsum(sees.sum(1))]).astype(np.int64)
    views = np.nonzero(sees)[1].astype(np.int32)
    return points, vertices, neighbours, centers, sigma, weight, offsets, views


@pytest.mark.parametrize("reach", [3.0, 1e9])
def test_visibility_capacities_equal_their_twin(reach):
    arguments = (*scene(), 1.0, reach, 0.3, 1000.0)
    a_edges, a_terminals = kernels.get("visibility_capacities", "native")(*arguments)
    b_edges, b_terminals = kernels.get("visibility_capacities", "reference")(*arguments)
    assert a_edges.max() > 5000 and a_terminals.max() > 5000 and a_terminals.min() < -500
    np.testing.assert_allclose(a_edges, b_edges, atol=3)
    np.testing.assert_allclose(a_terminals, b_terminals, atol=3)


def test_visibility_and_cut_give_the_same_bytes_for_any_number_of_threads():
    results = []
    for threads in (1, 2):
        kernels.set_num_threads(threads)
        edges, terminals = kernels.visibility_capacities(*scene(2000), 1.0, 20.0, 0.3, 64.0)
        side, _ = kernels.min_cut(scene(2000)[2], edges, terminals)
        results.append((edges.tobytes(), terminals.tobytes(), side.tobytes()))
    kernels.set_num_threads(0)
    assert results[0] == results[1]
    assert 0 < side.sum() < len(side)


def test_visibility_capacities_refuse_or_survive_rubbish():
    run = kernels.get("visibility_capacities", "native")
    points, vertices, neighbours, centers, sigma, weight, offsets, views = scene(30)
    rest = (1.0, 20.0, 0.3, 64.0)
    for bad in (
        (points, vertices + 40, neighbours, centers, sigma, weight, offsets, views),
        (points, vertices, neighbours - 2, centers, sigma, weight, offsets, views),
        (points, vertices, neighbours, centers, sigma, weight, offsets, views + 4),
        (points, vertices, neighbours, centers, -sigma, weight, offsets, views),
        (points, vertices, neighbours, centers, sigma, weight * np.nan, offsets, views),
        (points, vertices, neighbours, centers, sigma, weight, offsets + 1, views),
        (points, vertices, neighbours, centers, sigma, weight, offsets[::-1].copy(), views),
        (points, vertices, neighbours[1:], centers, sigma, weight, offsets, views),
    ):
        with pytest.raises(ValueError, match="visibility_capacities"):
            run(*bad, *rest)
    rng = np.random.default_rng(1)
    shuffled = rng.permutation(neighbours.ravel()).reshape(neighbours.shape)
    run(points, vertices, shuffled, centers, sigma, weight, offsets, views, *rest)  # nonsense, but it ends
    run(points * np.nan, vertices, neighbours, centers, sigma, weight, offsets, views, *rest)
    none = np.zeros((0, 4), np.int32)
    edges, terminals = run(points, none, none, centers, sigma, weight, offsets, views, *rest)
    assert edges.shape == (0, 4) and terminals.shape == (0,)


@pytest.mark.parametrize("seed", range(6))
def test_min_cut_equals_its_twin(seed):
    rng = np.random.default_rng(seed)
    points = enclosed(rng.random((40 * (seed + 1), 3)) * CUBE)
    _, neighbours = kernels.get("delaunay", "native")(points)
    capacities = (rng.integers(0, 40, neighbours.shape) * (rng.random(neighbours.shape) < 0.7)).astype(np.int32)
    terminals = (rng.integers(-90, 91, len(neighbours)) * (rng.random(len(neighbours)) < 0.4)).astype(np.int32)
    side, flow = kernels.get("min_cut", "native")(neighbours, capacities, terminals)
    twin_side, twin_flow = kernels.get("min_cut", "reference")(neighbours, capacities, terminals)
    assert flow == twin_flow > 0
    np.testing.assert_array_equal(side, twin_side)


def test_min_cut_refuses_or_survives_rubbish():
    run = kernels.get("min_cut", "native")
    pair = np.array([[1, -1, -1, -1], [0, -1, -1, -1]], np.int32)
    ones = np.ones((2, 4), np.int32)
    ends = np.array([5, -5], np.int32)
    assert run(pair, ones, ends)[1] == 1
    for neighbours, capacities, terminals in (
        (pair + 5, ones, ends),
        (np.array([[1, -1, -1, -1], [-1, -1, -1, -1]], np.int32), ones, ends),
        (pair, -ones, ends),
        (pair, ones * np.int32(2**31 - 1), ends),
        (pair, ones, np.full(2, -(2**31), np.int32)),
        (pair, ones, ends[:1]),
    ):
        with pytest.raises(ValueError, match="min_cut"):
            run(neighbours, capacities, terminals)
    side, flow = run(np.zeros((0, 4), np.int32), np.zeros((0, 4), np.int32), np.zeros(0, np.int32))
    assert flow == 0 and side.shape == (0,)


def bumpy_sphere(num, seed=0):
    rng = np.random.default_rng(seed)
    n = rng.normal(size=(num, 3))
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    return n * (1 + 0.01 * rng.normal(size=(num, 1))), n


@pytest.mark.parametrize("num", [0, 1, 3, 150])
def test_ball_pivot_equals_its_twin(num):
    points, normals = bumpy_sphere(num)
    radii = np.array([0.25, 0.5])
    a = kernels.get("ball_pivot", "native")(points, normals, radii)
    b = kernels.get("ball_pivot", "reference")(points, normals, radii)
    assert a.dtype == b.dtype == np.int32 and len(a) > 1.5 * num - 5
    np.testing.assert_array_equal(a, b)


def test_ball_pivot_makes_an_oriented_manifold_of_empty_balls():
    points, normals = bumpy_sphere(1500)
    radius = 0.12
    faces = kernels.get("ball_pivot", "native")(points, normals, np.array([radius]))
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(faces) > 2000 and len(np.unique(edges, axis=0)) == len(edges)
    a, u, v = points[faces[:, 0]], points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]]
    w = np.cross(u, v)
    assert ((w * normals[faces[:, 0]]).sum(1) > 0).all()
    w2, u2, v2 = ((k * k).sum(1, keepdims=True) for k in (w, u, v))
    offset = (u2 * np.cross(v, w) + v2 * np.cross(w, u)) / (2 * w2)
    center = a + offset + np.sqrt((radius**2 - (offset**2).sum(1, keepdims=True)) / w2) * w
    distance = np.linalg.norm(points[None] - center[:, None], axis=2)
    np.testing.assert_allclose(np.take_along_axis(distance, faces, 1), radius, rtol=1e-9)
    assert (distance > radius * (1 - 1e-5)).all()


def test_ball_pivot_refuses_or_survives_rubbish():
    run = kernels.get("ball_pivot", "native")
    points, normals = bumpy_sphere(50)
    good = np.array([0.3])
    for bad in (
        (points * np.nan, normals, good),
        (points, normals * np.inf, good),
        (points, normals[1:], good),
        (points, normals, -good),
        (points, normals, np.array([0.3, 0.2])),
        (points, normals, np.array([1e-9])),
    ):
        with pytest.raises(ValueError, match="ball_pivot"):
            run(*bad)
    assert len(run(np.repeat(points[:1], 40, axis=0), np.repeat(normals[:1], 40, axis=0), good)) == 0
    assert len(run(points, normals * 0, good)) == 0
    assert run(points, normals, np.zeros(0)).shape == (0, 3)
