"""Masks from geometry: what moved, mirrors; with the generated room and its exact masks."""

from __future__ import annotations

import numpy as np
import pytest

import mask_scenes
from mask_scenes import Room, iou
from rilievo import geometry
from rilievo.stages import mask_mirror, mask_moving, mask_scene, reflections, sheets
from rilievo.types import Camera
from scene_optics import FIGURE, GLASS, MIRROR, fresnel, true_masks
from scenes import surface_radiance


@pytest.fixture(scope="module")
def room() -> Room:
    return mask_scenes.make(10)


def test_a_mirror_shows_the_room_as_from_behind_it(room: Room) -> None:
    """A ray into the mirror brings nine tenths of what a ray from the mirrored place brings."""
    scene = room.scene
    eye = room.centers[4]
    x0, x1, z0, z1 = mask_scenes.scene_room.MIRROR_BOX
    plane = mask_scenes.scene_room.FRONT - 0.01
    at = np.array([[x0 + 0.3, plane, z0 + 0.4], [x1 - 0.2, plane, z1 - 0.3]])
    seen = scene.radiance(eye, at - eye, 1e-3)
    image = eye * [1, -1, 1] + [0, 2 * plane, 0]
    start = at - [0, 1e-3, 0]
    behind = surface_radiance(scene, start, at - image, 1e-3)
    assert np.allclose(seen, 0.9 * behind, atol=0.03)


def test_a_pane_reflects_what_fresnel_says() -> None:
    one = ((1.52 - 1) / (1.52 + 1)) ** 2
    assert fresnel(np.array([1.0]))[0] == pytest.approx(2 * one / (1 + one))
    assert fresnel(np.array([0.01]))[0] > 0.8
    assert (np.diff(fresnel(np.linspace(1, 0.05, 50))) >= -1e-4).all()


def test_true_masks_are_apart(room: Room) -> None:
    for truth in room.truth:
        assert not (truth["mirror"] & truth["glass"]).any() and not (truth["mirror"] & truth["figure"]).any()
        assert truth["figure"].mean() > 0.02
    assert not true_masks(room.scene, mask_scenes.SMALL, room.seen[0].view.cam_from_world)["figure"].any()
    assert {FIGURE, GLASS, MIRROR} == {1, 2, 3}


def test_who_walks_is_found(room: Room) -> None:
    far = mask_scene.far_away(lambda n: room.seen[int(n)], [str(k) for k in range(len(room.seen))])
    shared = total = 0
    for k, seen in enumerate(room.seen):
        there = mask_scene.expected(seen, [s for i, s in enumerate(room.seen) if i != k], far)
        found = mask_moving.find_moving(seen.view.pixels, there)
        found = mask_moving.before_mirrors(found, room.truth[k]["mirror"]) & ~room.truth[k]["mirror"]
        shared += (found & room.truth[k]["figure"]).sum()
        total += (found | room.truth[k]["figure"]).sum()
        assert (
            found.tobytes()
            == (
                mask_moving.before_mirrors(mask_moving.find_moving(seen.view.pixels, there), room.truth[k]["mirror"])
                & ~room.truth[k]["mirror"]
            ).tobytes()
        )
    assert shared / total > 0.8


def test_nothing_moves_where_photos_agree_and_a_shadow_is_no_thing() -> None:
    rng = np.random.default_rng(0)
    color = np.repeat(np.repeat(rng.uniform(60, 200, (12, 16, 3)), 10, 0), 10, 1).astype(np.float32)
    there = mask_scene.Expected(color, np.full((120, 160), 2, np.float32), np.full((120, 160), 8, np.uint8))
    pixels = np.clip(color + rng.normal(0, 3, color.shape), 0, 255)
    assert not mask_moving.find_moving(pixels.astype(np.uint8), there).any()
    dark = pixels.copy()
    dark[30:80, 40:100] *= 0.6
    assert not mask_moving.find_moving(dark.astype(np.uint8), there).any()
    thing = pixels.copy()
    thing[30:80, 40:100] = rng.uniform(0, 40, (50, 60, 3)) + [200, 20, 20]
    found = mask_moving.find_moving(np.clip(thing, 0, 255).astype(np.uint8), there)
    truth = np.zeros((120, 160), bool)
    truth[30:80, 40:100] = True
    assert iou(found, truth) > 0.9
    unknown = mask_scene.Expected(color * np.nan, there.spread * np.nan, there.count * 0)
    assert not mask_moving.find_moving(thing.astype(np.uint8), unknown).any()


def _found(room: Room) -> mask_mirror.Reflections:
    far = mask_scene.far_away(lambda n: room.seen[int(n)], [str(k) for k in range(len(room.seen))])
    return mask_mirror.find_reflectors(room.cloud, room.mesh, room.centers, room.seen, far)


def _overlap(room: Room, found: mask_mirror.Reflector, kind: str) -> float:
    shared = total = 0
    for seen, truth in zip(room.seen, room.truth):
        mask = mask_mirror.mirror_mask(found, seen) & ~truth["figure"]
        shared += (mask & truth[kind]).sum()
        total += (mask | truth[kind]).sum()
    return shared / total


def test_a_mirror_and_a_pane_are_found() -> None:
    room = mask_scenes.make_still("study", 10)
    found = _found(room)
    assert len(found.mirrors) == 1 and len(found.panes) == 1
    mirror, pane = found.mirrors[0], found.panes[0]
    assert mirror.sheet.normal @ [1, 0, 0] > 0.999 and mirror.sheet.offset == pytest.approx(-2.588, abs=0.03)
    assert pane.sheet.normal @ [0, -1, 0] > 0.999 and pane.sheet.offset == pytest.approx(-1.83, abs=0.04)
    assert _overlap(room, mirror, "mirror") > 0.8 and _overlap(room, pane, "glass") > 0.8
    assert mirror.match > mirror.chance + 0.3 and pane.match > 2 * pane.chance and 0.5 < pane.share < 1.6
    told = mask_mirror.describe(found, "m", ("mirror", "glass"))
    assert told[0].startswith("a mirror of 0.") and told[1].startswith("a pane of glass of 1.")


def test_an_open_doorway_is_neither() -> None:
    found = _found(mask_scenes.make_still("passage", 8))
    assert not found.mirrors and not found.panes
    told = mask_mirror.describe(found, "m", ("mirror", "glass"))
    assert told[0] == "no mirror was found" and told[1].startswith("no pane of glass was found: ")


def test_masks_go_from_views_to_photos() -> None:
    camera = Camera("OPENCV", 300, 200, np.array([260.0, 262.0, 148.0, 103.0, -0.12, 0.02, 0.001, -0.001]))
    view = Camera("PINHOLE", 330, 230, np.array([260.0, 260.0, 165.0, 115.0]))
    mask = np.zeros((230, 330), bool)
    mask[60:150, 80:200] = True
    out = mask_scene.to_photo(mask, view, camera)
    assert out.shape == (200, 300)
    rng = np.random.default_rng(0)
    xy = rng.uniform([0, 0], [300, 200], (400, 2))
    at = geometry.undistort(camera, xy) * 260.0 + [165.0, 115.0]
    inside = (np.abs(at - [140, 105]) < [58, 43]).all(1)
    outside = (np.abs(at - [140, 105]) > [62, 47]).any(1)
    got = out[xy[:, 1].astype(int), xy[:, 0].astype(int)]
    assert got[inside].all() and not got[outside].any()


def test_rubbish_gives_no_mask() -> None:
    nan = mask_scene.Expected(
        np.full((20, 30, 3), np.nan, np.float32), np.full((20, 30), np.nan, np.float32), np.zeros((20, 30), np.uint8)
    )
    assert not mask_moving.find_moving(np.zeros((20, 30, 3), np.uint8), nan).any()
    none = mask_scenes.PointCloud(
        *(np.zeros((0, 3), t) for t in (np.float32, np.float32, np.uint8)),
        *(np.zeros(0, np.float32) for _ in range(3)),
        (),
        np.zeros(1, np.int64),
        np.zeros(0, np.int32),
    )
    mesh = mask_scenes.Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    nothing = mask_mirror.find_reflectors(none, mesh, np.zeros((3, 3)), [], 1.0)
    assert not nothing.mirrors and not nothing.panes and not nothing.untold
    assert "shows something behind a plane" in mask_mirror.describe(nothing, "m", ("glass",))[0]


def test_what_a_sheet_reflects_is_what_stands_before_it() -> None:
    """A wall before a sheet is seen in it at the place where the ray, sent back, meets it."""
    sheet = sheets.sheet_of(
        np.array([0.0, -1, 0]), -2.0, np.array([[-1.0, 2, 0], [1, 2, 2]]), 0.05, np.array([0.0, 0, -1])
    )
    wall = np.array([[-9.0, -3, -9], [9, -3, -9], [9, -3, 9], [-9, -3, 9]])
    surface = sheets.Surface(wall, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    eye = np.array([0.3, -1.0, 1.2])
    points, there = sheets.reflected_places(sheet, eye, surface.before(sheet, 0.1))
    assert there.all() and np.allclose(points[..., 1], -3, atol=1e-4)
    at = sheet.centers()
    back = (at - eye) * [1, -1, 1]
    assert np.allclose(points, at + back * (5 / 3), atol=1e-3)
    assert not sheets.reflected_places(sheet, eye, surface.before(sheet, 6.0))[1].any()
    assert np.allclose(reflections.pane_share(np.array([1.0, 0.4])), fresnel(np.array([1.0, 0.4])))
