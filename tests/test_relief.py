"""The surface of one photo: silhouettes cut, slanted floors whole, few triangles where flat, closed bodies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rilievo.geometry import look_at
from rilievo.stages import relief, relief_grid, relief_shape, relief_solid
from rilievo.stages.relief_orbit import OrbitConfig, draw, orbit_cameras, orbit_frames
from rilievo.types import Camera, DepthMap, Mesh

H, W, F = 96, 128, 110.0
K = np.array([[F, 0, W / 2], [0, F, H / 2], [0, 0, 1]])
CAMERA = Camera.pinhole(W, H, K)
Y, X = np.mgrid[:H, :W] + 0.5


def _map(depth: np.ndarray) -> DepthMap:
    h, w = depth.shape
    one = np.ones((h, w), np.float32)
    return DepthMap(
        "a.jpg", replace(CAMERA, width=w, height=h), np.eye(4)[:3], depth.astype(np.float32),
        np.zeros((h, w, 3), np.float32), one, (0.02 * depth).astype(np.float32),
    )  # fmt: skip


def _room() -> np.ndarray:
    """A floor 1.5 below the camera that runs to a wall at 6, and a box's front at 2 before them."""
    with np.errstate(divide="ignore"):
        floor = np.where(Y > H / 2, 1.5 * F / np.maximum(Y - H / 2, 1e-9), np.inf)
    depth = np.minimum(floor, 6.0)
    depth[30:70, 40:80] = 2.0
    return depth


def _view_of_faces(mesh: Mesh) -> np.ndarray:
    """Twice the signed area of each face in the picture, px^2; negative: counter-clockwise (y runs down)."""
    assert mesh.uvs is not None
    x = (mesh.uvs * [W, -H])[mesh.faces].astype(np.float64)
    a, b = x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def test_a_floor_at_a_grazing_angle_is_whole_and_a_box_is_cut():
    surface = relief.prepare_surface(_map(_room()))
    assert surface.island_share == 0
    across, down = surface.tears.across, surface.tears.down
    assert across[32:60, 39].all() and across[32:60, 79].all() and down[29, 42:78].all()
    floor = np.ones_like(across)
    floor[:, 37:82] = False
    assert not across[floor].any() and not down[:, :36].any() and not down[:, 84:].any()


def test_triangles_cover_the_photo_once_and_lie_on_the_surface():
    surface = relief.prepare_surface(_map(_room()))
    mesh = relief.relief_mesh(surface)
    area = _view_of_faces(mesh)
    assert (area <= 1e-6).mean() > 0.999
    # All but the half pixel around the picture: the rims of both sides of a cut meet in the middle.
    assert -area.sum() / 2 == pytest.approx((H - 1) * (W - 1), rel=2e-3)
    assert len(mesh.faces) < 0.35 * 2 * H * W
    # x right, y forward, z up: the wall at 6, the box at 2, the floor at -1.5
    assert mesh.vertices[:, 1].max() == pytest.approx(6, rel=0.01) and mesh.vertices[:, 1].min() < 2.01
    assert mesh.vertices[:, 2].min() == pytest.approx(-1.5, rel=0.02)
    u = mesh.uvs[:, 0] * W if mesh.uvs is not None else 0
    assert np.allclose(mesh.vertices[:, 0] / mesh.vertices[:, 1] * F + W / 2, u, atol=0.01)


def test_a_wall_takes_few_triangles_and_a_bent_one_more():
    wall = relief.relief_mesh(relief.prepare_surface(_map(np.full((97, 129), 3.0))))
    assert len(wall.faces) == 2 * 6 * 8
    bent = relief.relief_mesh(relief.prepare_surface(_map(3 + 0.1 * np.sin(X / 5))))
    assert len(bent.faces) > 10 * len(wall.faces)


def test_no_cracks_inside_where_nothing_is_torn():
    depth = 3 + 0.2 * np.sin(X / 7) * np.cos(Y / 9) + 0.02 * np.random.default_rng(0).random((H, W))
    surface = relief.prepare_surface(_map(depth))
    assert not surface.tears.across.any() and not surface.tears.down.any()
    mesh = relief.relief_mesh(surface)
    f = mesh.faces.astype(np.int64)
    start, end = f.ravel(), f[:, [1, 2, 0]].ravel()
    alone = ~np.isin(start * len(mesh.vertices) + end, end * len(mesh.vertices) + start)
    at = mesh.uvs[start[alone]] * [W, H] if mesh.uvs is not None else np.zeros((0, 2))
    border = np.minimum(np.minimum(at[:, 0], W - at[:, 0]), np.minimum(at[:, 1], H - at[:, 1]))
    assert alone.any() and border.max() <= 0.51


def test_triangles_depart_from_the_surface_by_no_more_than_asked():
    depth = 3 + 0.3 * np.sin(X / 11) + 0.2 * np.cos(Y / 13)
    config = relief.ReliefConfig(max_bend=0.01)
    mesh = relief.relief_mesh(relief.prepare_surface(_map(depth)), config=config)
    from rilievo import kernels

    cam = np.stack([mesh.vertices[:, 0], -mesh.vertices[:, 2], mesh.vertices[:, 1]], 1)
    _, drawn = kernels.rasterize_mesh(np.ascontiguousarray(cam), mesh.faces, F, F, W / 2, H / 2, W, H)
    inner = np.isfinite(drawn)
    assert inner.mean() > 0.95 and (np.abs(drawn[inner] / depth[inner] - 1) < 0.015).mean() > 0.99
    fine = relief.relief_mesh(relief.prepare_surface(_map(depth)), config=relief.ReliefConfig(max_bend=0.001))
    assert len(fine.faces) > 2 * len(mesh.faces)


def test_soft_silhouettes_become_steps():
    import cv2

    soft = 1 / cv2.GaussianBlur((1 / _room()).astype(np.float32), (0, 0), 1.2)
    surface = relief.prepare_surface(_map(soft))
    depth = surface.depth_map.depth
    rows = depth[35:60]
    between = (rows > 2.3) & (rows < 4.0)
    was = (soft[35:60] > 2.3) & (soft[35:60] < 4.0)
    assert was[:, 30:90].sum() > 50 and between[:, 30:90].sum() < 0.1 * was[:, 30:90].sum()
    assert np.median(np.abs(depth[35:60, 45:75] - 2)) < 0.02


def test_small_loose_pieces_are_left_out_of_the_surface_but_not_of_the_depth():
    depth = np.full((H, W), 5.0)
    depth[20:22, 30:33] = 1.5
    surface = relief.prepare_surface(_map(depth), config=relief.ReliefConfig(min_island=0.001))
    assert not surface.known[20:22, 30:33].any() and surface.known.sum() == H * W - 6
    assert np.isfinite(surface.depth_map.depth).all()


def test_sky_and_unknown_stay_open():
    depth = _room()
    depth[:20] = np.nan
    surface = relief.prepare_surface(_map(depth))
    mesh = relief.relief_mesh(surface)
    assert mesh.uvs is not None and (1 - mesh.uvs[:, 1]).min() * H > 19.4
    cloud = relief.relief_cloud(surface, np.zeros((H, W, 3), np.uint8))
    assert len(cloud.points) == (H - 20) * W and np.isfinite(cloud.normals).all()


def test_nothing_known_gives_an_empty_mesh():
    mesh = relief.relief_mesh(relief.prepare_surface(_map(np.full((H, W), np.nan))))
    assert len(mesh.faces) == 0


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_any_map_gives_sound_triangles(h, w, seed):
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.normal(size=(h, w)) * rng.choice([0.001, 0.1, 1.0]))
    depth[rng.random((h, w)) < rng.choice([0, 0.1, 0.6])] = np.nan
    surface = relief.prepare_surface(_map(depth), config=relief.ReliefConfig(min_island=0))
    mesh = relief.relief_mesh(surface)
    assert np.isfinite(mesh.vertices).all() and (mesh.vertices[:, 1] > 0).all()
    if len(mesh.faces):
        assert mesh.faces.max() == len(mesh.vertices) - 1 and mesh.faces.min() == 0
        assert all(len(set(face)) == 3 for face in mesh.faces[:200].tolist())


def test_normals_face_the_camera_and_are_right():
    depth = _room()
    normals = relief.prepare_surface(_map(depth)).depth_map.normals
    assert np.allclose(normals[40, 60], [0, 0, -1], atol=1e-3)
    assert np.allclose(normals[90, 20], [0, -1, 0], atol=1e-2)  # the floor looks up, y runs down


def test_same_bytes_each_time():
    a, b = (relief.relief_mesh(relief.prepare_surface(_map(_room()))) for _ in range(2))
    assert a.vertices.tobytes() == b.vertices.tobytes() and a.faces.tobytes() == b.faces.tobytes()


def test_the_photo_helps_to_find_a_silhouette():
    import cv2

    soft = 1 / cv2.GaussianBlur((1 / _room()).astype(np.float32), (0, 0), 2.0)
    shifted = np.roll(soft, 1, axis=1)  # the network's edge lies a pixel beside the photo's
    photo = np.full((H, W, 3), 40, np.uint8)
    photo[30:70, 40:80] = 220
    wrong = [
        int(((relief.prepare_surface(_map(shifted), p).depth_map.depth[36:56] < 3) != (_room()[36:56] < 3)).sum())
        for p in (None, photo)
    ]
    assert wrong[1] < wrong[0]
    with pytest.raises(ValueError, match="the photo is"):
        relief.prepare_surface(_map(soft), photo[:5])


def test_a_printable_relief_is_closed_and_as_wide_as_asked():
    surface = relief.prepare_surface(_map(_room()))
    body = relief_solid.relief_solid(surface, config=relief_solid.SolidConfig(width_mm=80, depth_mm=7, base_mm=3))
    assert relief_solid.open_edges(body) == 0 and relief_solid.volume(body) > 80 * 59 * 3
    low, high = body.vertices.min(0), body.vertices.max(0)
    assert np.allclose(low, 0, atol=1e-4)
    assert high[0] == pytest.approx(80) and high[1] == pytest.approx(80 * (H - 1) / (W - 1), rel=1e-4)
    assert 3 + 0.8 * 7 < high[2] <= 3 + 7 + 1e-3
    holed = replace(body, faces=body.faces[1:])
    assert relief_solid.open_edges(holed) > 0
    turned = replace(body, faces=body.faces[:, ::-1].copy())
    assert relief_solid.volume(turned) < 0
    with pytest.raises(ValueError, match="more than 0"):
        relief_solid.relief_solid(surface, config=relief_solid.SolidConfig(base_mm=0))


def test_relief_heights_keep_near_above_far_and_leave_the_sky_bare():
    depth = _room()
    depth[:15] = np.nan
    surface = relief.prepare_surface(_map(depth))
    heights = relief_solid.relief_heights(surface.inverse, surface.known, 3.0)
    assert (heights[:15] == 0).all() and heights[50, 60] > heights[50, 20] + 0.05 and heights.max() <= 1


def test_the_walk_starts_where_the_photo_was_taken_and_shows_it():
    surface = relief.prepare_surface(_map(_room()))
    mesh = relief.relief_mesh(surface)
    rng = np.random.default_rng(0)
    photo = np.kron(rng.integers(60, 200, (H // 8, W // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    config = OrbitConfig(width=W, seconds=1, frames_per_second=8)
    camera, places = orbit_cameras(CAMERA, surface.inverse[surface.known], config=config)
    assert camera.width == W and camera.height % 2 == 0 and places.shape == (8, 3, 4)
    assert np.allclose(places[0], look_at(np.zeros(3), np.array([0, 1.0, 0])), atol=1e-9)
    frames = list(orbit_frames([(mesh, photo)], camera, places, config=config))
    error = np.abs(frames[0][2:-2, 2:-2].astype(int) - photo[2:-2, 2:-2]).mean()
    assert error < 8
    aside = draw([(mesh, photo)], camera, places[2], background=(255, 0, 255), supersample=1)
    hole = (aside == [255, 0, 255]).all(2)
    assert 0.002 < hole[10:-10, 10:-10].mean() < 0.2  # beside the box nothing was seen


def test_the_error_of_a_split_is_at_least_that_of_all_that_hang_on_it():
    rng = np.random.default_rng(1)
    inverse = (1 + 0.1 * rng.random((33, 49))).astype(np.float32)
    known = np.ones(inverse.shape, bool)
    error = relief_grid._nested_errors(inverse, known, np.zeros((32, 48), bool), 1.0, np.inf)
    for size in (2, 4, 8, 16):
        half = size // 2
        centre = error[half::size, half::size]
        for side in (error[0:-1:size, half::size], error[size::size, half::size]):
            assert (centre >= side).all()


def test_filling_unknown_takes_the_nearest():
    values = np.zeros((5, 9), np.float32)
    values[2, 1], values[2, 7] = 3, 5
    known = values > 0
    filled = relief_shape.fill_unknown(values, known)
    assert filled[2, 0] == 3 and filled[0, 8] == 5 and filled[2, 1] == 3
    assert (relief_shape.fill_unknown(values, np.zeros_like(known)) == 0).all()


def test_what_is_hidden_is_closed_behind_and_marked():
    from rilievo.stages.relief_fill import fill_behind

    surface = relief.prepare_surface(_map(_room()))
    photo = np.full((H, W, 3), 90, np.uint8)
    photo[30:70, 40:80] = (250, 20, 20)
    filled = fill_behind(surface, photo)
    assert filled is not None
    mesh, texture = filled
    assert mesh.inferred is not None and mesh.inferred.all() and mesh.uvs is not None
    inside = (np.abs(mesh.uvs[:, 0] * W - 60) < 17) & (np.abs((1 - mesh.uvs[:, 1]) * H - 50) < 17)
    assert inside.sum() > 20 and mesh.vertices[inside, 1].min() > 3.0  # behind the box at 2, before the wall at 6
    assert mesh.vertices[:, 1].max() < 6.6
    assert (texture[45:55, 42:78, 0].astype(int) < 130).all()  # no red of the box behind it
    camera, places = orbit_cameras(CAMERA, surface.inverse[surface.known])
    seen = (relief.relief_mesh(surface), photo)
    empty = [
        (draw(parts, camera, places[30], background=(255, 0, 255), supersample=1) == [255, 0, 255]).all(2)[
            20:-20, 20:-20
        ]
        for parts in ([seen], [seen, filled])
    ]
    assert empty[0].sum() > 100 and empty[1].sum() < 0.02 * empty[0].sum()


def test_nothing_hidden_nothing_invented():
    from rilievo.stages.relief_fill import fill_behind

    assert fill_behind(relief.prepare_surface(_map(np.full((H, W), 3.0))), np.zeros((H, W, 3), np.uint8)) is None
