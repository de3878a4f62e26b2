"""Kernel closest_on_mesh against its twin, and fed with rubbish."""

import numpy as np
import pytest

from rilievo import kernels


def random_mesh(rng: np.random.Generator, num_faces: int) -> tuple[np.ndarray, np.ndarray]:
    vertices = rng.normal(size=(max(3, num_faces // 2), 3))
    return vertices, rng.integers(0, len(vertices), (num_faces, 3)).astype(np.int32)


@pytest.mark.parametrize(("num_points", "num_faces"), [(0, 3), (1, 1), (50, 4), (300, 5), (200, 333)])
@pytest.mark.parametrize("max_distance", [np.inf, 0.3])
def test_equals_its_twin(num_points: int, num_faces: int, max_distance: float) -> None:
    rng = np.random.default_rng(num_points + num_faces)
    vertices, faces = random_mesh(rng, num_faces)  # repeated corners happen: triangles without area
    points = rng.normal(size=(num_points, 3)) * 2
    d, f = kernels.get("closest_on_mesh", "native")(points, vertices, faces, max_distance)
    d0, f0 = kernels.get("closest_on_mesh", "reference")(points, vertices, faces, max_distance)
    np.testing.assert_allclose(d, d0, atol=1e-12)
    np.testing.assert_array_equal(f >= 0, f0 >= 0)
    one = kernels.get("closest_on_mesh", "reference")
    for i in np.flatnonzero(f >= 0)[:40]:  # the face that was named is at that distance (ties may differ)
        assert one(points[i : i + 1], vertices, faces[f[i] : f[i] + 1], np.inf)[0][0] == pytest.approx(d[i], abs=1e-12)


def test_known_answers() -> None:
    vertices = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0]], np.float64)
    faces = np.array([[0, 1, 2]], np.int32)
    points = np.array([[0.5, 0.5, 3], [-3, -4, 0], [3, 0, 0], [2, 2, 0], [0.5, 0.5, 0]], np.float64)
    distance, _ = kernels.closest_on_mesh(points, vertices, faces, np.inf)
    np.testing.assert_allclose(distance, [3, 5, 1, np.sqrt(2), 0], atol=1e-12)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_rubbish(backend: str) -> None:
    closest = kernels.get("closest_on_mesh", backend)
    vertices = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0]], np.float64)
    faces = np.array([[0, 1, 2]], np.int32)
    points = np.array([[np.nan, 0, 0], [np.inf, 0, 0], [0, 0, 1]])
    distance, face = closest(points, vertices, faces, 10.0)
    np.testing.assert_array_equal(distance, [np.nan, np.nan, 1])
    np.testing.assert_array_equal(face, [-1, -1, 0])
    distance, face = closest(points[2:], vertices, np.zeros((0, 3), np.int32), 10.0)
    assert np.isinf(distance[0]) and face[0] == -1
    with pytest.raises(ValueError, match="not there"):
        closest(points, vertices, np.array([[0, 1, 3]], np.int32), 1.0)
    with pytest.raises(ValueError, match="not there"):
        closest(points, vertices, np.array([[0, 1, -1]], np.int32), 1.0)
    with pytest.raises(ValueError, match="finite"):
        closest(points, vertices * np.nan, faces, 1.0)
    for bad in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="positive"):
            closest(points, vertices, faces, bad)
    with pytest.raises(TypeError):
        closest(points.astype(np.float32), vertices, faces, 1.0)
    with pytest.raises(TypeError):
        closest(points[:, :2], vertices, faces, 1.0)
    far = np.array([[1e200, 0, 0], [1e9, 0, 0]])
    assert closest(far, vertices, faces, np.inf)[0][1] == pytest.approx(1e9 - 2)


def test_same_bytes_with_one_and_two_threads() -> None:
    rng = np.random.default_rng(0)
    vertices, faces = random_mesh(rng, 500)
    points = rng.normal(size=(5000, 3))
    answers = []
    for threads in (1, 2):
        kernels.set_num_threads(threads)
        distance, face = kernels.get("closest_on_mesh", "native")(points, vertices, faces, np.inf)
        answers.append(distance.tobytes() + face.tobytes())
    kernels.set_num_threads(0)
    assert answers[0] == answers[1]
