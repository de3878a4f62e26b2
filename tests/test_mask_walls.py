"""Walls behind what moves, and what is expected where a surface was only guessed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rilievo.geometry import look_at
from rilievo.stages import mask_moving, mask_scene, mask_walls
from rilievo.types import Camera, PointCloud, View

CAMERA = Camera("PINHOLE", 160, 120, np.array([140.0, 140.0, 80.0, 60.0]))


def _cloud(points: np.ndarray, normals: np.ndarray) -> PointCloud:
    n = len(points)
    ones = np.ones(n, np.float32)
    return PointCloud(
        points.astype(np.float32), normals.astype(np.float32), np.zeros((n, 3), np.uint8), ones, 0.002 * ones,
        0.01 * ones, ("a", "b"), np.arange(n + 1, dtype=np.int64) * 2, np.tile(np.array([0, 1], np.int32), n),
    )  # fmt: skip


def _room() -> tuple[PointCloud, np.ndarray]:
    """A wall (y = 2) and a floor (z = 0), measured in their corners only, and a box in the middle of the room."""
    rng = np.random.default_rng(0)
    parts = []
    for x in (-1.5, 1.5):
        for z in (0.4, 2.2):
            parts.append((np.array([x, 2, z]) + rng.uniform(-0.3, 0.3, (900, 3)) * [1, 0, 1], [0, -1, 0]))
        for y in (-0.5, 1.5):
            parts.append((np.array([x, y, 0]) + rng.uniform(-0.3, 0.3, (900, 3)) * [1, 1, 0], [0, 0, 1]))
    parts.append((np.array([0, 0.8, 0.3]) + rng.uniform(-0.3, 0.3, (900, 3)) * [1, 0, 1], [0, -1, 0]))
    points = np.concatenate([p for p, _ in parts])
    normals = np.concatenate([np.tile(np.array(n, float), (len(p), 1)) for p, n in parts])
    centers = np.array([[x, -3.0, 1.4] for x in np.linspace(-1, 1, 6)])
    return _cloud(points + 0.002 * rng.normal(size=points.shape), normals), centers


def test_walls_are_found_and_drawn_between_what_was_measured() -> None:
    cloud, centers = _room()
    walls = mask_walls.find_walls(cloud, centers)
    assert sorted(tuple(np.round(w.normal, 1) + 0.0) for w in walls) == [(0, -1, 0), (0, 0, 1)]
    view = View("a", np.zeros((120, 160, 3), np.uint8), CAMERA, look_at(centers[2], np.array([0.0, 2.0, 1.3])))
    none = np.full((120, 160), np.inf, np.float32)
    depth = mask_walls.draw_walls(none, view, walls)
    assert abs(depth[60, 80] - 5.0) < 0.03  # the wall straight ahead, where nothing was measured
    assert not np.isfinite(depth[0]).any()  # above the wall's measured parts
    known = none.copy()
    known[60, 80] = 3.0
    assert mask_walls.draw_walls(known, view, walls)[60, 80] == 3
    again = mask_walls.find_walls(cloud, centers)
    assert all(a.outline.tobytes() == b.outline.tobytes() for a, b in zip(walls, again))
    empty = replace(
        _cloud(np.zeros((0, 3)), np.zeros((0, 3))), view_offsets=np.zeros(1, np.int64), view_index=np.zeros(0, np.int32)
    )
    assert mask_walls.find_walls(empty, centers) == [] and mask_walls.draw_walls(none, view, []) is none


def test_a_plane_with_much_behind_it_is_no_wall() -> None:
    cloud, centers = _room()
    behind = cloud.points.copy()
    behind[::2, 1] += 2.5  # half of everything is also farther off
    found = mask_walls.find_walls(replace(cloud, points=behind), centers)
    assert found and not any(abs(w.offset + 2) < 0.5 and w.normal[1] < -0.5 for w in found)


def test_a_guessed_place_needs_photos_that_say_the_same() -> None:
    """Six photos of a flat wall: what most of them show counts, also where others hide it; noise counts as unknown."""
    rng = np.random.default_rng(1)
    depth = np.full((120, 160), 5.0, np.float32)
    seen = []
    for k in range(7):
        pixels = np.full((120, 160, 3), 180, np.uint8)
        pixels[:, 100:] = rng.integers(0, 255, (120, 60, 3))
        if k in (2, 3):
            pixels[:, 20:60] = (200, 30, 30)
        place = np.concatenate([np.eye(3), np.zeros((3, 1))], 1)
        seen.append(mask_scene.Seen(View(str(k), pixels, CAMERA, place), depth))
    there = mask_scene.expected(seen[2], seen[:2] + seen[3:], 100.0, guessed=np.ones((120, 160), bool))
    assert (there.count[:, :95] >= 3).all() and np.abs(there.color[:, :95] - 180).max() < 4
    assert (there.count[:, 105:] == 0).mean() > 0.9
    found = mask_moving.find_moving(seen[2].view.pixels, there)
    assert found[10:110, 25:55].all() and not found[:, 70:95].any()


def test_a_plain_thing_before_bricks_is_found_whole() -> None:
    """Its colour lies within the range of the bricks' and the mortar's, but not in the middle."""
    rng = np.random.default_rng(2)
    bricks = np.full((120, 160, 3), (205, 200, 190), np.float32)
    for row in range(0, 120, 8):
        for x in range(-(row % 16) // 2, 160, 16):
            bricks[row + 1 : row + 7, max(x + 1, 0) : max(x + 15, 0)] = (120, 60, 50)
    there = mask_scene.Expected(bricks, np.full((120, 160), 2, np.float32), np.full((120, 160), 8, np.uint8))
    pixels = bricks + rng.normal(0, 3, bricks.shape)
    truth = np.zeros((120, 160), bool)
    truth[30:100, 60:90] = True
    pixels[truth] = np.array([165, 130, 120]) + rng.normal(0, 3, (truth.sum(), 3))
    found = mask_moving.find_moving(np.clip(pixels, 0, 255).astype(np.uint8), there)
    assert (found & truth).sum() / (found | truth).sum() > 0.85
    still = np.clip(bricks + rng.normal(0, 3, bricks.shape), 0, 255).astype(np.uint8)
    assert not mask_moving.find_moving(np.roll(still, 1, 1), there).any()
