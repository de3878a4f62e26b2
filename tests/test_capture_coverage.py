"""What cameras see of a surface."""

import math

import numpy as np
import pytest

from rilievo.capture.coverage import (
    Obstacles,
    Picture,
    box_triangles,
    grid_triangles,
    sample_triangles,
    view_counts,
)
from rilievo.geometry import look_at
from rilievo.types import Camera

CAMERA = Camera("PINHOLE", 1000, 800, np.array([1000.0, 1000.0, 500.0, 400.0]))


def seen(points, normals, eyes, target=(0.0, 0.0, 0.0), up=(0.0, 1.0, 0.0), **options):
    poses = np.array([look_at(np.array(e, float), np.array(target, float), up) for e in eyes])
    return view_counts(np.array(points, float), normals, [CAMERA], np.zeros(len(poses), int), poses, **options)


def test_a_pair_by_hand():
    # two cameras 10 m above a point, 1 m apart, looking at it
    up = np.array([[0.0, 0.0, 1.0]])
    found = seen([[0, 0, 0]], up, [(-0.5, 0, 10), (0.5, 0, 10)])
    assert found.counts.tolist() == [2] and found.views(0).tolist() == [0, 1]
    assert found.angle_deg[0] == pytest.approx(2 * math.degrees(math.atan(0.05)))
    assert found.incidence_deg[0] == pytest.approx(math.degrees(math.atan(0.05)))
    assert found.gsd[0] == pytest.approx(math.hypot(0.5, 10) / 1000)
    # Z^2 / (f B) times the root of two, since both pictures have a pixel of noise; nearly, for the rays converge
    assert found.sigma[0] == pytest.approx(100 / (1000 * 1.0) * math.sqrt(2), rel=0.01)


def test_nobody_and_one():
    up = np.array([[0.0, 0.0, 1.0]] * 2)
    found = seen([[0, 0, 0], [50, 0, 0]], up, [(0, 0, 10)])
    assert found.counts.tolist() == [1, 0]
    assert found.angle_deg[0] == 0 and np.isinf(found.sigma[0])
    assert np.isnan([found.angle_deg[1], found.sigma[1], found.gsd[1], found.incidence_deg[1]]).all()
    none = view_counts(np.zeros((0, 3)), None, [CAMERA], np.zeros(0, int), np.zeros((0, 3, 4)))
    assert len(none.counts) == 0 and none.view_offsets.tolist() == [0]


def test_back_sides_slopes_and_sharpness_do_not_count():
    points = [[0.0, 0.0, 0.0]]
    for normal, options, count in (
        ((0, 0, 1), {}, 1), ((0, 0, -1), {}, 0), ((0.97, 0, 0.243), {}, 0),
        ((0.97, 0, 0.243), {"max_incidence_deg": 80}, 1),
        ((0, 0, 1), {"depth_range": (0, 9.5)}, 0), ((0, 0, 1), {"depth_range": (9.5, 10.5)}, 1),
    ):  # fmt: skip
        normals = np.array([normal], float) / np.linalg.norm(normal)
        assert seen(points, normals, [(0, 0, 10)], **options).counts[0] == count, (normal, options)


def test_what_stands_in_the_way_hides():
    lid = Obstacles(box_triangles([-1, -1, 4], [1, 1, 5]))
    points, up = [[0, 0, 0], [3, 0, 0]], np.array([[0.0, 0.0, 1.0]] * 2)
    assert seen(points, up, [(0, 0, 10)], obstacles=lid).counts.tolist() == [0, 1]
    assert seen(points, up, [(0, 0, 10)]).counts.tolist() == [1, 1]


def test_a_box_is_seen_by_what_faces_it():
    triangles = box_triangles([-1, -1, -1], [1, 1, 1])
    points, normals = sample_triangles(triangles, 600)
    assert ((points * normals).sum(1) > 0.99).all()  # outwards
    assert np.bincount(np.abs(points).argmax(1)).tolist() == [200, 200, 200]
    found = seen(points, normals, [(8, 0, 0), (0, 8, 0)], up=(0, 0, 1), obstacles=Obstacles(triangles))
    assert (found.counts == ((normals[:, 0] > 0.5) | (normals[:, 1] > 0.5))).all()


def test_a_grid_faces_up_and_leaves_holes():
    heights = np.arange(12.0).reshape(3, 4)
    heights[0, 0] = np.nan
    found = grid_triangles(np.arange(4.0), np.arange(3.0), heights)
    normals = np.cross(found[:, 1] - found[:, 0], found[:, 2] - found[:, 0])
    assert len(found) == 12 - 2 and (normals[:, 2] > 0).all()


def test_distortion_does_not_fold_far_points_into_the_picture():
    bent = Camera("RADIAL", 1000, 800, np.array([1000.0, 500.0, 400.0, -0.3, 0.05]))
    pose = np.eye(3, 4)
    # without a limit the polynomial brings rays at 70 degrees back inside
    x = np.array([[0.3, 0.0, 1.0], [2.4, 0.0, 1.0], [0.0, 0.0, -1.0]])
    assert Picture(bent).inside(pose, x).tolist() == [True, False, False]


def test_many_views_have_the_right_angle():
    turn = np.linspace(0, math.radians(40), 90)
    eyes = np.stack([10 * np.sin(turn), np.zeros(90), 10 * np.cos(turn)], -1)
    found = seen([[0, 0, 0]], np.array([[0.0, 0.0, 1.0]]), eyes)
    assert found.counts[0] == 90 and found.angle_deg[0] == pytest.approx(40, abs=1)


def test_sigma_shrinks_with_views_as_it_should():
    # n pairs in one place are as good as one pair with sigma / sqrt(n)
    up = np.array([[0.0, 0.0, 1.0]])
    one, four = (seen([[0, 0, 0]], up, [(-1, 0, 10), (1, 0, 10)] * n).sigma[0] for n in (1, 4))
    assert four == pytest.approx(one / 2)


def test_ray_hits():
    obstacles = Obstacles(box_triangles([-1, -1, 0], [1, 1, 2]))
    far = obstacles.first_hit(np.array([[0, 0, 10.0], [5, 0, 10.0]]), np.array([[0, 0, -1.0], [0, 0, -1.0]]))
    assert far.tolist() == pytest.approx([8.0, math.inf])
    assert np.isinf(Obstacles(np.zeros((0, 3, 3))).first_hit(np.zeros((1, 3)), np.ones((1, 3)))).all()
