"""Places where something moves while they are photographed, with exact masks: what `rilievo mask` is judged on.

capture("street", folder)        # folder/photos/*.jpg, folder/truth/{cameras.json, mesh.ply, masks/figure/*.png}

hall        a textured room, two people who cross it at different speeds
companion   the same room; somebody close by keeps in step with the camera and is a third of each photo
studio      a corner with white walls (scene_indoors.white_room), one person
street      a house front under the sky, three passers-by
cart        an arcade; a printed cart as large as a small car passes before it, there and back
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import scene_buildings
import scene_indoors
import scene_sets
import scene_textures as tx
from rilievo.geometry import look_at
from rilievo.types import Camera
from scene_indoors import _picture, rock
from scene_optics import FIGURE, make
from scene_room import _worn, figure, keep_in_step, shoot
from scene_sets import Part
from scene_shapes import box, ellipsoid, turned
from scenes import ring_cameras

X, Y, Z = np.eye(3)
CAMERA = Camera("OPENCV", 800, 600, np.array([610.0, 610.0, 396.5, 302.0, -0.04, 0.01, 0.0, 0.0]))
Mover = Callable[[int, int, np.ndarray], list[Part]]
"""Photo number, number of photos, cam_from_world: the parts that are in other places in each photo."""


@dataclass(frozen=True)
class Case:
    """scene: its parts and where to look.  cameras: from that point and a seed.  mover: what moves."""

    scene: Callable[[np.random.Generator], tuple[list[Part], np.ndarray]]
    cameras: Callable[[np.ndarray, int], np.ndarray]
    mover: Callable[[int], Mover]


# --- places -----------------------------------------------------------------------------------------------------------


def _hall(rng: np.random.Generator) -> tuple[list[Part], np.ndarray]:
    """6.4 m by 4.6 m: brick and stone walls, pictures, two benches, a column, a chest, a rug."""
    brick = tx.box_mapped(tx.Texture.of(tx.bricks(rng, 2048, 44) * 1.2, 4.0 / 2048), 14)
    stone = tx.box_mapped(tx.Texture.of(tx.stone(rng, 2048, (190, 180, 160), 0.8), 0.0024), 14)
    floor = tx.box_mapped(tx.Texture.of(tx.stone(rng, 2048, (140, 128, 116), 1.0), 0.0024), 16)
    oak = tx.box_mapped(tx.Texture.of(tx.wood(rng, 1024), 0.0016))
    grey = rock(rng, 1024, (120, 124, 130), 0.0016)
    parts = [
        Part(box([-3.2, 2.3, 0.0], [3.2, 2.4, 2.7], 0.1), brick),
        Part(box([-3.3, -2.3, 0.0], [-3.2, 2.4, 2.7], 0.1), stone),
        Part(box([3.2, -2.3, 0.0], [3.3, 2.4, 2.7], 0.1), stone),
        Part(box([-3.2, -2.3, -0.1], [3.2, 2.3, 0.0], 0.1), floor),
        Part(box([-2.6, 1.7, 0.0], [-1.2, 2.1, 0.45], 0.06, 0.006), oak),
        Part(box([1.3, 1.75, 0.0], [2.4, 2.2, 0.8], 0.06, 0.006), grey),
        Part(ellipsoid(np.array([1.85, 1.95, 1.0]), np.array([0.2, 0.18, 0.22])), grey),
    ]
    for x, z, w, h in ((-1.9, 1.6, 0.9, 0.7), (0.1, 1.5, 0.7, 0.9), (2.0, 1.75, 0.7, 0.5)):
        parts += _picture(rng, oak, np.array([x, 2.3, z]), X, -Y, w, h)
    for y in (0.4, 1.5):
        parts += _picture(rng, oak, np.array([-3.2, y, 1.5]), Y, X, 0.7, 0.7)
        parts += _picture(rng, oak, np.array([3.2, y, 1.5]), -Y, -X, 0.7, 0.6)
    rug = tx.laid_flat(tx.Texture.of(tx.cloth(rng, 2048), 2.4 / 2048), np.array([-1.2, 1.2, 0.0]), X, -Y)
    parts.append(Part(box([-1.2, -0.2, 0.0], [1.2, 1.2, 0.012], 0.1), rug))
    return parts, np.array([0.0, 1.4, 1.1])


def _line(a: tuple[float, ...], b: tuple[float, ...], aim: float) -> Callable[[np.ndarray, int], np.ndarray]:
    """Twenty cameras from a to b at eye height, and back a little higher and farther away; aim: share of the way to the
    target's x that each looks to the side."""

    def cameras(target: np.ndarray, seed: int) -> np.ndarray:
        rng = np.random.default_rng([seed, 15])
        out = []
        for k in range(20):
            t = k / 9 if k < 10 else (19 - k) / 9
            eye = np.array(a) + t * (np.array(b) - np.array(a)) + ([0, 0, 0] if k < 10 else [0.1, -0.25, 0.4])
            at = target + [(1 - aim) * (eye[0] - target[0]), 0, 0] + 0.06 * rng.normal(size=3)
            out.append(look_at(eye + 0.04 * rng.normal(size=3), at))
        return np.array(out)

    return cameras


def _rings(*tiers: tuple[int, float, float, float, float]) -> Callable[[np.ndarray, int], np.ndarray]:
    def cameras(target: np.ndarray, seed: int) -> np.ndarray:
        rings = []
        for k, (n, r, z, a, s) in enumerate(tiers):
            ring = {"radius": r, "height": z, "start_deg": a, "spread_deg": s, "jitter": 0.015, "seed": 7 * seed + k}
            rings.append(ring_cameras(n, target=target, **ring))
        return np.concatenate(rings)

    return cameras


# --- what moves -------------------------------------------------------------------------------------------------------


def person(
    place: tuple[float, float], heading_deg: float, stride: float, seed: int, colors: tuple[tuple[int, int, int], ...],
    height: float = 1.0,
) -> list[Part]:  # fmt: skip
    """The figure of `scene_room` in other clothes (shirt, trousers, hair) and of another height."""
    rng = np.random.default_rng([seed, 41])
    parts = figure(place, heading_deg, stride, seed)
    shift = np.array([*place, 0.0])
    shirt, trousers, hair = (_worn(rock(rng, 512, c, 0.0016, 0.6), heading_deg, shift) for c in colors)
    for numbers, albedo in (((2, 6, 8, 9), shirt), ((0, 4), trousers), ((12,), hair)):
        for i in numbers:
            parts[i] = replace(parts[i], albedo=albedo)
    return [replace(p, shape=((p.shape[0] - shift) * height + shift, p.shape[1])) for p in parts]


def cart(place: tuple[float, float], heading_deg: float, seed: int, size: float = 1.0) -> list[Part]:
    """A printed box on wheels with a cabin, 1.7 m long and 1.15 m high."""
    rng = np.random.default_rng([seed, 43])
    shift = np.array([*place, 0.0])
    printed = np.clip(tx.printed(rng, 900, 1700, (190, 170, 60)), 0.01, 0.95).astype(np.float32)
    body = tx.box_mapped(tx.Texture.of(printed, 1.2 / 900))
    dark, glass = rock(rng, 256, (38, 38, 40), 0.002, 0.6), rock(rng, 256, (70, 96, 110), 0.003, 0.3)
    shapes = [
        (box([-0.85, -0.4, 0.2], [0.45, 0.4, 1.15], 0.06, 0.01), body),
        (box([0.45, -0.38, 0.2], [0.85, 0.38, 0.72], 0.06, 0.02), body),
        (box([0.45, -0.34, 0.72], [0.7, 0.34, 1.0], 0.06, 0.02), glass),
    ]
    for x in (-0.55, 0.55):
        for y in (-0.38, 0.38):
            shapes.append((ellipsoid(np.array([x, y, 0.17]), np.array([0.17, 0.05, 0.17]), 20), dark))
    out = []
    for shape, albedo in shapes:
        v, f = turned(shape, heading_deg, np.zeros(3))
        out.append(Part((v * size + shift, f), _worn(albedo, heading_deg, shift)))
    return out


def _crossing(seed: int) -> Mover:
    first = ((52, 110, 84), (150, 140, 118), (30, 26, 24))
    second = ((214, 206, 190), (48, 52, 66), (120, 84, 48))

    def mover(k: int, num: int, _: np.ndarray) -> list[Part]:
        t, u = (k / num * 1.4 + 0.1 * seed) % 1, (k / num * 2.3 + 0.35 + 0.1 * seed) % 1
        one = person((-2.4 + 4.8 * t, 0.3 + 0.9 * t), 10.6, 0.29 * k, seed, first)
        return one + person((2.3 - 4.4 * u, 1.1 - 0.6 * u), 188.0, 0.41 * k + 0.2, seed + 1, second, 0.92)

    return mover


def _companion(seed: int) -> Mover:
    return lambda k, num, place: figure(*keep_in_step(place), seed=seed)


def _pacing(seed: int) -> Mover:
    colors = ((58, 74, 128), (92, 70, 56), (70, 50, 30))

    def mover(k: int, num: int, _: np.ndarray) -> list[Part]:
        t = (k * 0.27 + 0.13 * seed) % 2
        t = min(t, 2 - t)
        return person((-1.2 + 1.9 * t, 0.75 - 1.0 * t), -28.0, 0.33 * k, seed, colors)

    return mover


def _passers_by(seed: int) -> Mover:
    looks = (
        ((170, 60, 52), (60, 62, 70), (40, 30, 26)),
        ((66, 92, 66), (110, 96, 74), (150, 120, 70)),
        ((90, 88, 96), (40, 40, 46), (30, 26, 24)),
    )

    def mover(k: int, num: int, _: np.ndarray) -> list[Part]:
        out: list[Part] = []
        for i, (y, speed, ahead, tall) in enumerate(
            ((-1.1, 0.085, 1, 1.0), (-2.0, 0.12, -1, 1.05), (-2.9, 0.06, 1, 0.9))
        ):
            t = (0.31 * i + speed * k + 0.07 * seed) % 1
            x = -0.5 + 9.0 * (t if ahead > 0 else 1 - t)
            out += person((x, y), 0.0 if ahead > 0 else 180.0, 0.31 * k + 0.3 * i, seed + i, looks[i], tall)
        return out

    return mover


def _delivering(seed: int) -> Mover:
    def mover(k: int, num: int, _: np.ndarray) -> list[Part]:
        t = (k * 0.13 + 0.11 * seed) % 2
        ahead, t = t < 1, min(t, 2 - t)
        return cart((-2.4 + 4.8 * t, -2.35 + 0.2 * np.sin(4 * t)), (8.0 if ahead else 188.0), seed)

    return mover


CASES = {
    "hall": Case(_hall, _line((-2.2, -2.6, 1.45), (2.2, -2.6, 1.45), 0.75), _crossing),
    "companion": Case(_hall, _line((-2.2, -2.6, 1.45), (2.2, -2.6, 1.45), 0.75), _companion),
    "studio": Case(scene_indoors.white_room, _rings((10, 3.3, 0.65, -84, 78), (10, 3.0, 0.3, -78, 66)), _pacing),
    "street": Case(scene_sets.facade, _line((0.2, -8.2, 1.6), (7.8, -8.2, 1.6), 0.35), _passers_by),
    "cart": Case(scene_buildings.concavity, _rings((11, 4.6, 0.5, -138, 96), (9, 4.0, 0.95, -132, 84)), _delivering),
}


def capture(case: str, folder: Path, *, seed: int = 0, num: int = 20, moving: bool = True) -> list[Path]:
    """Renders the photos, writes the truth (without what moves), returns the photos' paths."""
    rng = np.random.default_rng([seed, *case.encode()])
    chosen = CASES[case]
    parts, target = chosen.scene(rng)
    still = make([(p, 0) for p in parts], target, rng)
    places = chosen.cameras(target, seed)[:num]
    mover = chosen.mover(seed)
    scenes = (
        still.with_parts(mover(k, len(places), place), FIGURE) if moving else still for k, place in enumerate(places)
    )
    return shoot(folder, scenes, still, places, CAMERA, samples=1, seed=seed, kinds=("figure",))
