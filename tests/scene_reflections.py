"""Rooms that differ, with mirrors, panes of glass, open doorways or nothing of these; with exact masks.

    capture("hall", folder)       # folder/photos/*.jpg, folder/truth/{cameras.json, mesh.ply, masks/KIND/*.png}

TUNED are the rooms that settings were chosen on, HELD_OUT those that were only judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import scene_textures as tx
from rilievo.geometry import look_at
from rilievo.types import Camera
from scene_indoors import _picture, rock
from scene_optics import FIGURE, GLASS, MIRROR, OpticScene, make
from scene_room import CAMERA, _table, figure, shoot
from scene_sets import Part
from scene_shapes import Shape, box, lathe, smooth_curve, turned

X, Y, Z = np.eye(3)


@dataclass(frozen=True)
class Hung:
    """Something on a wall. wall: "front" (y+), "back" (y-), "left" (x-), "right" (x+).  at: of its middle along the
    wall, m to the right of the wall's middle as one looks at it.  low: height of its lower rim.  tilt_deg: by how much
    its upper rim leans into the room (below 0: its lower rim stands out)."""

    wall: str
    at: float
    low: float
    width: float
    height: float
    tilt_deg: float = 0.0


@dataclass(frozen=True)
class Layout:
    """A room from -wide to wide and from back to front, and how it is photographed: an arc around `target` (x, y) at
    `radius`, from one angle to the other and back at another height. opening: a hole in a wall with a room behind;
    glazed: with a pane in it.  cabinet: with a pane, 0.35 m before its wall.  pictures: (wall, at, z, width, height).
    """

    wide: float
    back: float
    front: float
    paint: tuple[int, int, int]
    contrast: float
    target: tuple[float, float]
    radius: float
    arc_deg: tuple[float, float]
    pictures: tuple[tuple[str, float, float, float, float], ...]
    mirror: Hung | None = None
    opening: Hung | None = None
    glazed: bool = False
    cabinet: Hung | None = None
    chest: tuple[str, float] | None = None
    table: bool = True
    heights: tuple[float, float] = (1.35, 1.75)
    aim: float = 1.05
    high: float = 2.6
    somebody: bool = False
    seed: int = 0


TUNED: dict[str, Layout] = {
    "study": Layout(
        2.6, -2.4, 2.2, (206, 196, 176), 0.06, (-0.9, 0.9), 2.7, (-110, 12),
        (("front", -1.6, 1.5, 0.7, 0.8), ("left", -1.3, 1.5, 0.6, 0.6), ("right", 0.4, 1.5, 0.9, 0.7),
         ("right", -1.2, 1.55, 0.6, 0.8), ("back", 0.9, 1.5, 0.8, 0.8), ("back", -0.9, 1.45, 0.7, 0.9)),
        mirror=Hung("left", 0.3, 0.55, 0.8, 1.5), cabinet=Hung("front", 0.3, 0.35, 1.3, 0.9), seed=11,
    ),
    "parlour": Layout(
        3.2, -2.8, 1.8, (180, 194, 190), 0.04, (0.4, 1.1), 2.8, (-150, -45),
        (("front", -1.9, 1.5, 0.8, 0.9), ("front", 2.3, 1.5, 0.7, 0.7), ("left", 0.5, 1.5, 0.8, 0.7),
         ("right", -0.3, 1.5, 0.7, 0.9), ("back", 0.0, 1.6, 1.2, 0.9), ("back", 1.9, 1.5, 0.7, 0.7)),
        mirror=Hung("front", 0.4, 0.95, 1.3, 0.9, tilt_deg=8.0), chest=("front", 0.4), seed=12,
    ),
    "passage": Layout(
        2.5, -2.6, 2.0, (222, 214, 200), 0.05, (-0.1, 1.2), 2.8, (-140, -40),
        (("front", -1.6, 1.5, 0.8, 0.7), ("left", 0.8, 1.5, 0.7, 0.7), ("right", 0.2, 1.5, 0.7, 0.8),
         ("back", -0.7, 1.5, 0.9, 0.8), ("back", 1.1, 1.5, 0.6, 0.8)),
        opening=Hung("front", 0.6, 0.0, 1.0, 2.05), chest=("front", -1.6), seed=13,
    ),
    "veranda": Layout(
        2.8, -2.6, 2.2, (198, 190, 182), 0.05, (-0.3, 1.3), 2.8, (-135, -35),
        (("front", -2.2, 1.5, 0.6, 0.8), ("front", 1.9, 1.5, 0.8, 0.8), ("left", 0.6, 1.5, 0.8, 0.8),
         ("right", 0.1, 1.5, 0.9, 0.8), ("back", -0.6, 1.5, 1.1, 0.8), ("back", 1.2, 1.55, 0.7, 0.9)),
        opening=Hung("front", -0.4, 0.35, 1.6, 1.7), glazed=True, seed=14,
    ),
    "hall": Layout(
        2.3, -2.9, 2.4, (196, 178, 160), 0.05, (0.7, 0.8), 2.6, (-195, -65),
        (("front", -1.5, 1.5, 0.6, 0.8), ("right", 1.5, 1.5, 0.7, 0.8), ("left", 0.2, 1.5, 0.9, 0.8),
         ("left", -1.4, 1.5, 0.7, 0.7), ("back", 0.0, 1.5, 0.9, 0.9), ("back", -1.3, 1.5, 0.5, 0.6)),
        mirror=Hung("right", -0.3, 0.6, 0.9, 1.3, tilt_deg=4.0), opening=Hung("front", 0.5, 0.05, 1.1, 2.0),
        glazed=True, heights=(1.45, 1.7), seed=21,
    ),
    "landing": Layout(
        2.6, -2.5, 2.3, (204, 186, 172), 0.05, (-0.8, 0.7), 2.6, (-120, 15),
        (("left", -1.5, 1.5, 0.6, 0.7), ("front", -1.7, 1.5, 0.6, 0.8), ("right", 0.2, 1.5, 0.9, 0.8),
         ("right", -1.4, 1.5, 0.6, 0.7), ("back", 0.3, 1.5, 1.0, 0.9), ("back", -1.4, 1.5, 0.6, 0.8)),
        mirror=Hung("left", 0.2, 0.5, 1.1, 1.4, tilt_deg=-5.0), cabinet=Hung("front", 0.4, 0.5, 1.5, 1.0), seed=26,
    ),
    "office": Layout(
        3.0, -2.6, 2.1, (192, 198, 206), 0.04, (0.5, 0.9), 2.7, (-170, -60),
        (("front", -1.4, 1.5, 0.9, 0.8), ("front", 0.9, 1.55, 0.6, 0.8), ("right", -1.3, 1.5, 0.6, 0.8),
         ("left", 0.3, 1.5, 1.0, 0.8), ("back", -0.5, 1.5, 0.9, 0.9), ("back", 1.6, 1.5, 0.7, 0.7)),
        mirror=Hung("right", 0.3, 0.7, 1.0, 1.2, tilt_deg=3.0), chest=("front", -1.4), seed=27,
    ),
    "salon": Layout(
        3.4, -3.0, 2.6, (214, 200, 204), 0.03, (-0.2, 1.5), 3.4, (-145, -35),
        (("front", -2.6, 1.5, 0.7, 0.9), ("front", 2.7, 1.6, 0.6, 0.6), ("left", 0.9, 1.5, 1.0, 0.8),
         ("right", -0.6, 1.5, 0.9, 1.0), ("back", -1.6, 1.5, 1.0, 0.8), ("back", 0.9, 1.55, 0.9, 1.1)),
        mirror=Hung("front", -0.9, 0.9, 1.7, 1.0), cabinet=Hung("front", 1.4, 0.5, 1.1, 1.2),
        chest=("front", -0.9), somebody=True, seed=22,
    ),
}  # fmt: skip

HELD_OUT: dict[str, Layout] = {
    "wash": Layout(
        2.2, -4.6, 1.6, (190, 204, 212), 0.04, (0.1, 1.6), 2.0, (-128, -52),
        (("front", -1.2, 1.5, 0.5, 0.7), ("front", 1.4, 1.5, 0.6, 0.8), ("back", -0.8, 1.6, 1.1, 0.9),
         ("back", 0.9, 1.5, 1.2, 1.0), ("left", 2.6, 1.5, 0.8, 0.8), ("right", -2.4, 1.4, 0.9, 0.8)),
        mirror=Hung("front", 0.1, 1.0, 0.9, 0.8), chest=("front", 0.1), table=False, heights=(1.4, 1.6), aim=1.3,
        seed=23,
    ),
    "gallery": Layout(
        3.0, -2.7, 2.3, (200, 208, 190), 0.04, (0.3, 1.3), 3.0, (-138, -38),
        (("front", -1.5, 1.5, 1.0, 0.8), ("front", -0.1, 1.6, 0.9, 1.1), ("left", -0.4, 1.5, 0.8, 0.9),
         ("right", 0.5, 1.5, 0.9, 0.7), ("back", 0.0, 1.5, 1.3, 0.9), ("back", -1.7, 1.5, 0.7, 0.7)),
        opening=Hung("front", 1.5, 0.8, 1.2, 1.1), somebody=True, seed=24,
    ),
    "porch": Layout(
        2.7, -2.5, 2.1, (188, 180, 168), 0.05, (0.2, 1.2), 2.7, (-140, -30),
        (("front", -1.9, 1.5, 0.6, 0.8), ("front", 2.1, 1.5, 0.5, 0.7), ("left", 0.7, 1.5, 0.9, 0.8),
         ("right", -0.2, 1.5, 0.8, 0.8), ("back", -0.9, 1.5, 1.0, 0.8), ("back", 0.8, 1.55, 0.7, 0.9)),
        opening=Hung("front", 0.3, 0.5, 1.9, 1.5), glazed=True, seed=25,
    ),
    "den": Layout(
        2.7, -2.7, 2.0, (208, 192, 168), 0.05, (0.6, 0.8), 2.6, (-185, -70),
        (("front", -1.0, 1.5, 0.7, 0.8), ("right", 1.6, 1.5, 0.6, 0.7), ("left", -0.6, 1.5, 0.9, 0.8),
         ("left", 1.1, 1.5, 0.6, 0.8), ("back", 0.4, 1.5, 1.0, 0.8), ("back", -1.3, 1.5, 0.8, 0.8)),
        mirror=Hung("right", -0.1, 0.45, 0.9, 1.6, tilt_deg=-4.0), cabinet=Hung("front", 0.9, 0.4, 1.2, 1.1), seed=28,
    ),
    "loft": Layout(
        3.2, -2.9, 2.4, (188, 200, 206), 0.04, (0.2, 1.2), 3.0, (-140, -40),
        (("front", -2.2, 1.5, 0.8, 0.8), ("front", 2.2, 1.5, 0.7, 0.9), ("right", 0.2, 1.5, 0.9, 0.7),
         ("left", -0.4, 1.5, 0.8, 0.9), ("back", 0.6, 1.5, 1.1, 0.9), ("back", -1.6, 1.5, 0.8, 0.7)),
        mirror=Hung("front", 0.2, 0.5, 1.2, 1.5, tilt_deg=2.0), seed=29,
    ),
}  # fmt: skip

ROOMS = TUNED | HELD_OUT
_INTO = {"front": Y, "back": -Y, "left": -X, "right": X}


def room(name: str) -> OpticScene:
    """The room without anybody in it."""
    at = ROOMS[name]
    rng = np.random.default_rng([at.seed, 41])
    paint = tx.linear(*at.paint) * np.exp(
        at.contrast * (tx.noise_tile(rng, 2048, 1.3)[..., None] + tx.noise_tile(rng, 2048, 0.3, low=60)[..., None])
    )
    wall = tx.box_mapped(tx.Texture.of(paint.astype(np.float32), 6.0 / 2048), 16)
    floor_at = np.array([-at.wide, at.front, 0.0])
    floor = tx.laid_flat(tx.Texture.of(tx.wood(rng, 2048), 7.5 / 2048), floor_at, X, -Y)
    oak = tx.box_mapped(tx.Texture.of(tx.wood(rng, 1024), 0.0016))
    dark = rock(rng, 512, (58, 48, 42), 0.0016, 0.6)
    ochre, blue = rock(rng, 512, (188, 142, 60), 0.0016, 0.8), rock(rng, 512, (70, 96, 124), 0.0016, 0.8)
    parts = [Part(box([-at.wide, at.back, -0.1], [at.wide, at.front, 0.0], 0.1), floor)]
    for side in _INTO:
        hole = at.opening if at.opening is not None and at.opening.wall == side else None
        parts += [Part(_laid(at, side, b), wall) for b in _wall(at, side, hole)]
    for side, u, z, w, h in at.pictures:
        origin, right, into = _frame(at, side)
        parts += _picture(rng, oak, origin + u * right + z * Z, right, -into, w, h)
    if at.table:
        parts += _table(rng, oak, ochre, blue)
    if at.chest:
        parts += _chest(rng, at, oak)
    flat = tx.box_mapped(tx.Texture.of(np.full((8, 8, 3), 0.5, np.float32), 0.1))
    kinds = [(p, 0) for p in parts]
    if at.mirror is not None:
        frame, silver = _mirror(at, at.mirror)
        kinds += [(Part(s, oak), 0) for s in frame] + [(Part(silver, flat), MIRROR)]
    if at.opening is not None:
        kinds += [(p, 0) for p in _beyond(rng, at, at.opening, oak)]
        if at.glazed:
            bars, panes = _glazing(at.opening)
            kinds += [(Part(_laid(at, at.opening.wall, s), dark), 0) for s in bars]
            kinds += [(Part(_laid(at, at.opening.wall, s), flat), GLASS) for s in panes]
    if at.cabinet is not None:
        inside, pane = _cabinet(rng, at, at.cabinet, dark)
        kinds += [(p, 0) for p in inside] + [(Part(pane, flat), GLASS)]
    return make(kinds, np.array([*at.target, at.aim]), rng)


def _frame(at: Layout, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a wall: the middle of its foot, the direction to the right as one looks at it, and the one into it."""
    middle = {"front": [0, at.front, 0], "back": [0, at.back, 0]}
    y = (at.back + at.front) / 2
    origin = np.array((middle | {"left": [-at.wide, y, 0], "right": [at.wide, y, 0]})[side], np.float64)
    into = _INTO[side]
    return origin, np.cross(into, Z), into


def _laid(at: Layout, side: str, shape: Shape) -> Shape:
    """A shape given as (to the right, into the wall, up) at its place."""
    origin, right, into = _frame(at, side)
    return shape[0] @ np.stack([right, into, Z]) + origin, shape[1]


def _wall(at: Layout, side: str, hole: Hung | None) -> list[Shape]:
    half = at.wide if side in ("front", "back") else (at.front - at.back) / 2
    if hole is None:
        return [box([-half, 0.0, 0.0], [half, 0.1, at.high], 0.1)]
    x0, x1, z0, z1 = _rim(hole)
    pieces = [
        ([-half, 0.0, 0.0], [x0, 0.1, at.high]), ([x1, 0.0, 0.0], [half, 0.1, at.high]),
        ([x0, 0.0, z1], [x1, 0.1, at.high]), ([x0, 0.0, 0.0], [x1, 0.1, z0]),
    ]  # fmt: skip
    return [box(a, b, 0.1) for a, b in pieces if b[2] - a[2] > 0.01]


def _rim(thing: Hung) -> tuple[float, float, float, float]:
    return thing.at - thing.width / 2, thing.at + thing.width / 2, thing.low, thing.low + thing.height


def _mirror(at: Layout, thing: Hung) -> tuple[list[Shape], Shape]:
    """Frame and glass of a mirror, turned around its lower (or upper) rim."""
    x0, x1, z0, z1 = _rim(thing)
    boxes = [
        box([x0 - 0.05, -0.03, z0 - 0.05], [x0, 0.0, z1 + 0.05], 0.05, 0.004),
        box([x1, -0.03, z0 - 0.05], [x1 + 0.05, 0.0, z1 + 0.05], 0.05, 0.004),
        box([x0, -0.03, z0 - 0.05], [x1, 0.0, z0], 0.05, 0.004),
        box([x0, -0.03, z1], [x1, 0.0, z1 + 0.05], 0.05, 0.004),
        box([x0, -0.012, z0], [x1, -0.004, z1], 0.2),
    ]
    a = np.radians(thing.tilt_deg)
    hinge = np.array([0.0, 0.0, z0 - 0.05 if a > 0 else z1 + 0.05])
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    laid = [_laid(at, thing.wall, ((v - hinge) @ turn.T + hinge, f)) for v, f in boxes]
    return laid[:-1], laid[-1]


def _pane(x0: float, x1: float, y: float, z0: float, z1: float) -> Shape:
    return np.array([[x0, y, z0], [x1, y, z0], [x1, y, z1], [x0, y, z1]]), np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def _glazing(hole: Hung) -> tuple[list[Shape], list[Shape]]:
    """A frame with one bar in the middle, and two panes."""
    x0, x1, z0, z1 = _rim(hole)
    bar, middle = 0.06, (x0 + x1) / 2
    boxes = [
        ([x0, 0.02, z0], [x0 + bar, 0.08, z1]), ([x1 - bar, 0.02, z0], [x1, 0.08, z1]),
        ([x0 + bar, 0.02, z0], [x1 - bar, 0.08, z0 + bar]), ([x0 + bar, 0.02, z1 - bar], [x1 - bar, 0.08, z1]),
        ([middle - bar / 2, 0.02, z0 + bar], [middle + bar / 2, 0.08, z1 - bar]),
    ]  # fmt: skip
    panes = [(x0 + bar, middle - bar / 2), (middle + bar / 2, x1 - bar)]
    return [box(a, b, 0.06, 0.004) for a, b in boxes], [_pane(a, b, 0.05, z0 + bar, z1 - bar) for a, b in panes]


def _beyond(rng: np.random.Generator, at: Layout, hole: Hung, oak: tx.Albedo) -> list[Part]:
    """What is seen through the hole: another room, 1.8 m deep, with a print and jars on a shelf."""
    x = hole.at
    wall = rock(rng, 1024, (168, 160, 176), 0.0018, 0.5)
    ground = rock(rng, 1024, (132, 118, 104), 0.0018, 0.9)
    shapes: list[tuple[Shape, tx.Albedo]] = [
        (box([x - 1.8, 1.9, 0.0], [x + 1.8, 2.0, at.high], 0.1), wall),
        (box([x - 1.9, 0.1, 0.0], [x - 1.8, 1.9, at.high], 0.1), wall),
        (box([x + 1.8, 0.1, 0.0], [x + 1.9, 1.9, at.high], 0.1), wall),
        (box([x - 1.8, 0.1, -0.1], [x + 1.8, 1.9, 0.0], 0.1), ground),
        (box([x - 0.9, 1.4, 0.85], [x + 0.9, 1.75, 0.9], 0.06, 0.004), oak),
        (box([x - 0.85, 1.4, 0.0], [x - 0.8, 1.75, 0.86], 0.06, 0.004), oak),
        (box([x + 0.8, 1.4, 0.0], [x + 0.85, 1.75, 0.86], 0.06, 0.004), oak),
    ]
    for dx, tone in ((-0.6, (150, 60, 52)), (-0.1, (196, 180, 130)), (0.45, (88, 120, 140))):
        jar = np.array([[0.0, 0.06], [0.1, 0.11], [0.25, 0.06], [0.34, 0.08]])
        shape = turned(lathe(*smooth_curve(jar, 30).T, 32), 0, np.array([x + dx, 1.55, 0.9]))
        shapes.append((shape, rock(rng, 512, tone, 0.0012, 0.9)))
    parts = [Part(_laid(at, hole.wall, s), a) for s, a in shapes]
    origin, right, into = _frame(at, hole.wall)
    return parts + _picture(rng, oak, origin + (x + 0.2) * right + 1.9 * into + 1.75 * Z, right, -into, 0.8, 0.6)


def _chest(rng: np.random.Generator, at: Layout, oak: tx.Albedo) -> list[Part]:
    """A low chest with two jars."""
    assert at.chest is not None
    side, x = at.chest
    shapes = [(box([x - 0.6, -0.4, 0.0], [x + 0.6, -0.02, 0.5], 0.06, 0.008), oak)]
    for dx, tone in ((-0.35, (170, 84, 60)), (0.3, (96, 120, 84))):
        jar = np.array([[0.5, 0.06], [0.56, 0.09], [0.62, 0.05], [0.66, 0.055]])
        shape = turned(lathe(*smooth_curve(jar, 30).T, 32), 0, np.array([x + dx, -0.2, 0.0]))
        shapes.append((shape, rock(rng, 512, tone, 0.0012, 0.8)))
    return [Part(_laid(at, side, s), a) for s, a in shapes]


def _cabinet(rng: np.random.Generator, at: Layout, thing: Hung, dark: tx.Albedo) -> tuple[list[Part], Shape]:
    """A cabinet with a shelf and jars behind its pane."""
    x0, x1, z0, z1 = _rim(thing)
    front, rear, middle = -0.38, -0.02, (z0 + z1) / 2
    boxes = [
        ([x0 - 0.05, front, 0.0], [x1 + 0.05, rear, z0]), ([x0 - 0.05, front, z1], [x1 + 0.05, rear, z1 + 0.05]),
        ([x0 - 0.05, front, z0], [x0, rear, z1]), ([x1, front, z0], [x1 + 0.05, rear, z1]),
        ([x0, rear - 0.05, z0], [x1, rear, z1]), ([x0, front + 0.06, middle - 0.01], [x1, rear - 0.05, middle + 0.01]),
    ]  # fmt: skip
    shapes: list[tuple[Shape, tx.Albedo]] = [(box(a, b, 0.06, 0.003), dark) for a, b in boxes]
    places = ((0.2, z0), (0.65, z0), (0.4, middle + 0.01), (0.8, middle + 0.01))
    for (share, z), tone in zip(places, ((150, 60, 52), (196, 180, 130), (88, 120, 140), (160, 150, 90))):
        jar = np.array([[0.0, 0.06], [0.08, 0.10], [0.2, 0.05], [0.28, 0.07]])
        place = np.array([x0 + share * (x1 - x0), -0.2, z])
        shapes.append((turned(lathe(*smooth_curve(jar, 30).T, 32), 0, place), rock(rng, 512, tone, 0.0012, 0.9)))
    pane = _laid(at, thing.wall, _pane(x0, x1, front + 0.01, z0, z1))
    return [Part(_laid(at, thing.wall, s), a) for s, a in shapes], pane


def cameras(name: str, num: int) -> np.ndarray:
    """`cam_from_world` (num, 3, 4): along an arc and back."""
    at = ROOMS[name]
    rng = np.random.default_rng([at.seed, 9])
    half, out = (num + 1) // 2, []
    for k in range(num):
        there = k < half
        t = k / max(half - 1, 1) if there else 1 - (k - half) / max(num - half - 1, 1)
        angle = np.radians(at.arc_deg[0] + (at.arc_deg[1] - at.arc_deg[0]) * t)
        side = np.array([np.cos(angle), np.sin(angle)])
        eye = np.array([*(at.target + at.radius * side), at.heights[0 if there else 1]])
        aim = np.array([*(at.target + [0.15, 0.0] * side), at.aim - (0.0 if there else 0.15)])
        out.append(look_at(eye + 0.03 * rng.normal(size=3), aim + 0.05 * rng.normal(size=3)))
    return np.array(out)


def _walk(name: str, k: int, num: int) -> tuple[tuple[float, float], float, float]:
    """Where somebody is at photo k: before the wall at the front, along it and back."""
    at = ROOMS[name]
    t = 2 * k / max(num - 1, 1)
    x = at.target[0] - 1.6 + 3.2 * (t if t <= 1 else 2 - t)
    return (x, at.target[1] - 0.35 + 0.15 * float(np.sin(5 * t))), 0.0 if t <= 1 else 180.0, 0.37 * k


def capture(name: str, folder: Path, *, num: int = 20, camera: Camera = CAMERA, samples: int = 1) -> list[Path]:
    """Renders the photos, writes the truth, returns the photos' paths. The true mesh has mirrors as surfaces, but
    neither panes nor people."""
    at, empty = ROOMS[name], room(name)
    places = cameras(name, num)
    scenes = (
        empty.with_parts(figure(*_walk(name, k, num), seed=at.seed), FIGURE) if at.somebody else empty
        for k in range(len(places))
    )
    return shoot(folder, scenes, empty.without(GLASS), places, camera, samples=samples, seed=at.seed)
