"""Rooms of the training scenes: walls with windows and doors, light, furniture, and what lies on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training import scenes_mesh as sm
from training.render import Lamp, Light, Material, Scene
from training.scenes_library import Library
from training.scenes_objects import Thing


@dataclass
class Built:
    """A scene, where its light reaches, and how to stand in it: `stand(rng)` gives (place, target)."""

    scene: Scene
    middle: tuple[float, float, float]
    radius: float
    stand: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]
    near: float = 0.25
    """No picture is taken where something is nearer than this (median of the nearest parts), metres."""
    fov: tuple[float, float, float] = (42, 60, 80)
    """Lowest, commonest, highest horizontal field of view, degrees."""


class Floor:
    """Remembers where things stand, as circles and turned boxes' bounding boxes."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, float, float, float]] = []

    def free(self, x: float, y: float, w: float, d: float, gap: float = 0.03) -> bool:
        return all(abs(x - a) > (w + c) / 2 + gap or abs(y - b) > (d + e) / 2 + gap for a, b, c, e in self.taken)

    def take(self, x: float, y: float, w: float, d: float) -> None:
        self.taken.append((x, y, w, d))


def warm(rng, strength: float) -> tuple[float, float, float]:
    """A lamp's colour: mostly near white, sometimes orange, bluish or greenish."""
    t = rng.normal(0.1, 0.16)
    c = np.array([1 + t, 1 + rng.normal(0, 0.03), 1 - t]) * strength
    return tuple(float(v) for v in np.maximum(c, 0.05 * strength))


def indoor_light(rng, w: float, d: float, h: float, window_side=None) -> Light:
    level = float(np.exp(rng.normal(0, 0.35)))
    light = Light(
        sky_up=warm(rng, 0.32 * level),
        sky_down=warm(rng, 0.24 * level),
        occlusion_radius=float(rng.uniform(0.3, 0.8)),
        occlusion=float(rng.uniform(0.7, 1.4)),
        softness=int(rng.choice([3, 5, 9, 15])),
    )
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.85 else 0):
        place = (rng.uniform(-0.35, 0.35) * w, rng.uniform(-0.35, 0.35) * d, h - rng.uniform(0.1, 0.6))
        light.lamps.append(Lamp(tuple(float(v) for v in place), warm(rng, rng.uniform(0.5, 3.0)), 0.4))
    if window_side is not None and rng.random() < 0.85:
        inward = np.array(window_side, np.float64)
        light.side = warm(rng, rng.uniform(0.1, 0.9))
        light.side_toward = tuple(float(v) for v in inward)
        if rng.random() < 0.55:
            toward = inward + np.array([*rng.normal(0, 0.5, 2), rng.uniform(0.3, 1.2)])
            light.sun_toward = tuple(float(v) for v in toward / np.linalg.norm(toward))
            light.sun = warm(rng, rng.uniform(1.5, 6))
    if rng.random() < 0.08:
        light.flash = float(rng.uniform(0.5, 4))
    light.clouds = float(rng.uniform(0, 1))
    bright = rng.uniform(0.7, 3)
    light.zenith = tuple(float(bright * v) for v in (0.35, 0.55, 0.95))
    light.horizon = tuple(float(bright * v) for v in (0.85, 0.9, 0.95))
    return light


def wall(start, end, height: float, openings: list[tuple[float, float, float, float]], slot=0) -> sm.Part:
    """An upright wall from start to end (x, y) that looks to its left, with openings (along0, along1, low, high) and
    their reveals."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    along = (end - start) / np.linalg.norm(end - start)
    length = float(np.linalg.norm(end - start))
    back = np.array([along[1], -along[0]]) * 0.18
    parts = []

    def face(a0, a1, z0, z1):
        if a1 - a0 > 1e-3 and z1 - z0 > 1e-3:
            p, q = start + along * a0, start + along * a1
            piece = sm.quad((*q, z0), (*p, z0), (*p, z1), (*q, z1), slot)
            uv = piece.uvs.copy()
            uv[..., 0] = (uv[..., 0] * -1) - a0 + (a0 + a1)
            parts.append(sm.Part(piece.corners, piece.normals, (uv + [a0, z0]).astype(np.float32), piece.slots))

    at = 0.0
    for a0, a1, z0, z1 in sorted(openings):
        face(at, a0, 0, height)
        face(a0, a1, 0, z0)
        face(a0, a1, z1, height)
        corner = [(a0, z0), (a1, z0), (a1, z1), (a0, z1)]
        for (pa, pz), (qa, qz) in zip(corner, corner[1:] + corner[:1]):
            p, q = start + along * pa, start + along * qa
            parts.append(sm.quad((*p, pz), (*q, qz), (*(q + back), qz), (*(p + back), pz), slot))
        at = a1
    face(at, length, 0, height)
    return sm.join(parts)


def shell(rng, lib: Library, scene: Scene, w: float, d: float, h: float):
    """Floor, walls with windows and doors, ceiling, skirting, outside. Returns the sides that have windows."""
    wall_look = scene.material(lib.material(rng, "wall"))
    looks = [wall_look if rng.random() < 0.7 else scene.material(lib.material(rng, "wall")) for _ in range(4)]
    floor = scene.material(lib.material(rng, "floor"))
    top = scene.material(lib.material(rng, "ceiling", tint=(1.0, 1.0, 0.98)))
    frame = scene.material(lib.material(rng, "paint" if rng.random() < 0.6 else "wood"))
    scene.add(sm.quad((-w / 2, -d / 2, 0), (w / 2, -d / 2, 0), (w / 2, d / 2, 0), (-w / 2, d / 2, 0)), [floor])
    scene.add(sm.quad((-w / 2, d / 2, h), (w / 2, d / 2, h), (w / 2, -d / 2, h), (-w / 2, -d / 2, h)), [top])
    corners = [(-w / 2, -d / 2), (w / 2, -d / 2), (w / 2, d / 2), (-w / 2, d / 2)]
    outward = [(0, -1, 0), (1, 0, 0), (0, 1, 0), (-1, 0, 0)]
    windows = []
    has_skirting = rng.random() < 0.6
    for k in range(4):
        start, end = np.array(corners[k]), np.array(corners[(k + 1) % 4])
        length = float(np.linalg.norm(end - start))
        along = (end - start) / length
        out = np.array(outward[k], float)
        openings = []
        at = rng.uniform(0.3, 1.0)
        while at < length - 1.0 and rng.random() < 0.6:
            wide = min(rng.uniform(0.7, 2.2), length - at - 0.3)
            if rng.random() < 0.62:
                low, high = rng.uniform(0.3, 1.1), min(h - 0.12, rng.uniform(1.9, 2.5))
                openings.append((at, at + wide, low, high))
                windows.append(tuple(out))
            else:
                door(rng, lib, scene, start + along * (at + 0.5), along, out, frame)
                wide = 1.1
            at += wide + rng.uniform(0.4, 2.0)
        scene.add(wall(start, end, h, openings), [looks[k]])
        yaw = float(np.arctan2(along[1], along[0]))
        if has_skirting:
            mid = (start + end) / 2 - out[:2] * 0.008
            scene.add(sm.box((length, 0.016, 0.09)), [frame], (*mid, 0), yaw)
        for a0, a1, z0, z1 in openings:
            centre = start + along * (a0 + a1) / 2
            glazing(rng, lib, scene, centre + out[:2] * 0.1, yaw, a1 - a0, z0, z1, frame)
            if rng.random() < 0.4:
                curtain(rng, lib, scene, centre - out[:2] * 0.08, yaw, a1 - a0, z0, min(h - 0.02, z1 + 0.15))
        if openings:
            outside(rng, lib, scene, (start + end) / 2, out, yaw)
    return windows


def door(rng, lib, scene, centre, along, out, frame) -> None:
    yaw = float(np.arctan2(along[1], along[0]))
    inside = centre - out[:2] * 0.02
    look = scene.material(lib.material(rng, "furniture"))
    panels = [sm.box((0.86, 0.05, 2.02), (0, 0, 0), 0)]
    for x in (-0.2, 0.2):
        for z in (0.2, 1.1) if rng.random() < 0.8 else (0.6,):
            panels.append(sm.box((0.28, 0.07, 0.7), (x, 0, z), 0))
    panels += [
        sm.boxes(
            [[-0.48, 0, 1.03], [0.48, 0, 1.03], [0, 0, 2.07]],
            [[0.08, 0.09, 2.06], [0.08, 0.09, 2.06], [1.04, 0.09, 0.08]],
            1,
        )
    ]
    panels.append(sm.box((0.12, 0.14, 0.03), (0.34, 0, 1.0), 2))
    scene.add(sm.join(panels), [look, frame, scene.material(lib.material(rng, "metal"))], (*inside, 0), yaw)


def glazing(rng, lib, scene, centre, yaw, wide, z0, z1, frame) -> None:
    n, m = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    t = rng.uniform(0.03, 0.07)
    high = z1 - z0
    xs = np.linspace(-wide / 2 + t / 2, wide / 2 - t / 2, n + 1)
    zs = np.linspace(z0 + t / 2, z1 - t / 2, m + 1)
    at = [[x, 0, z0 + high / 2] for x in xs] + [[0, 0, z] for z in zs]
    size = [[t, 0.06, high]] * len(xs) + [[wide, 0.06, t]] * len(zs)
    scene.add(sm.boxes(at, size), [frame], (*centre, 0), yaw)
    if rng.random() < 0.2:  # blinds
        n = int(high / 0.05)
        slats = sm.boxes(
            [[0, 0.07, z1 - 0.05 * (k + 0.5)] for k in range(int(n * rng.uniform(0.3, 1)))], (wide, 0.03, 0.006)
        )
        if len(slats):
            scene.add(slats, [scene.material(lib.material(rng, "paint"))], (*centre, 0), yaw)


def curtain(rng, lib, scene, centre, yaw, wide, z0, z1) -> None:
    look = scene.material(lib.material(rng, "cloth"))
    low = 0.03 if rng.random() < 0.5 else z0 - 0.15
    for side in (-1, 1):
        t = np.linspace(0, 1, 40)
        x = side * (wide / 2 + 0.2 - t * rng.uniform(0.25, 0.7))
        folds = 0.035 * np.sin(t * rng.uniform(25, 50)) + 0.01 * np.sin(t * 90)
        z = np.linspace(low, z1, 3)
        points = np.stack(np.broadcast_arrays(x[:, None], folds[:, None], z[None]), -1)
        scene.add(sm.grid(points), [look], (*centre, 0), yaw)


def outside(rng, lib, scene, centre, out, yaw) -> None:
    """What is seen through windows: ground below, houses or trees."""
    ground = scene.material(lib.material(rng, "ground"))
    drop = rng.choice([0.3, 3.0, 6.0])
    c = np.array([*centre, 0.0]) + np.array(out) * 30.3
    scene.add(sm.quad((-40, -30, -drop), (40, -30, -drop), (40, 30, -drop), (-40, 30, -drop)), [ground], tuple(c), yaw)
    for _ in range(int(rng.integers(0, 4))):
        at = np.array([*centre, 0.0]) + np.array(out) * rng.uniform(6, 35)
        at[:2] += np.array([out[1], -out[0]]) * rng.normal(0, 12)
        if rng.random() < 0.6:
            face = scene.material(lib.material(rng, "windows", emit=0.4))
            scene.add(sm.box(rng.uniform([6, 6, 4], [20, 12, 16])), [face], (at[0], at[1], -drop), yaw)
        else:
            lib.place(
                scene, rng, lib.pick(rng, "tree"), (at[0], at[1], -drop), rng.uniform(0, 6.28), rng.uniform(0.5, 1)
            )


def on_top(rng, lib, scene, thing: Thing, at, yaw: float, count: int, roles=("decor",)) -> None:
    """Small things on the flat top of a thing that stands at `at`."""
    top = float(thing.part.high[2])
    level = np.abs(thing.part.normals[:, 0, 2]) > 0.9
    flat = thing.part.corners[level & (thing.part.corners[:, :, 2].min(1) > top - 0.08)]
    if not len(flat):
        return
    low, high = flat.reshape(-1, 3).min(0), flat.reshape(-1, 3).max(0)
    turn = sm.yaw_matrix(yaw)
    floor = Floor()
    for _ in range(count):
        small = lib.pick(rng, roles[int(rng.integers(len(roles)))])
        size = small.size
        half = max(size[0], size[1]) / 2
        room = (high - low)[:2] / 2 - half
        if (room <= 0).any():
            continue
        x, y = (low + high)[:2] / 2 + rng.uniform(-1, 1, 2) * room
        if not floor.free(x, y, 2 * half, 2 * half, 0.0):
            continue
        floor.take(x, y, 2 * half * 0.8, 2 * half * 0.8)
        spot = turn @ np.array([x, y, flat[..., 2].max()]) + np.asarray(at)
        lib.place(scene, rng, small, tuple(spot), rng.uniform(0, 6.28))


def furnish(rng, lib, scene, w, d, h, busy: float) -> list[tuple[float, float, float]]:
    """Furniture along the walls and in the middle; returns places worth looking at."""
    floor, sights = Floor(), []
    along = ["storage", "storage", "sofa", "bed", "table", "plant", "large", "lamp", "chair", "large", "bike"]
    odds = np.array([4, 4, 3, 2, 3, 1.5, 2, 1, 2, 2, 0.3])
    for _ in range(int(busy * 2.2 * (w + d))):
        role = along[int(rng.choice(len(along), p=odds / odds.sum()))]
        thing = lib.pick(rng, role)
        size = thing.size
        if size[2] > h - 0.05:
            continue
        side = int(rng.integers(4))
        yaw = (np.pi, np.pi / 2, 0.0, -np.pi / 2)[side] + (
            rng.normal(0, 0.03) if rng.random() < 0.8 else rng.normal(0, 0.5)
        )
        span = np.abs(sm.yaw_matrix(yaw)) @ size
        gap = rng.uniform(0.0, 0.12)
        if w / 2 < span[0] / 2 + gap or d / 2 < span[1] / 2 + gap:
            continue
        x = rng.uniform(-1, 1) * (w / 2 - span[0] / 2 - gap)
        y = rng.uniform(-1, 1) * (d / 2 - span[1] / 2 - gap)
        if side == 0:
            y = -d / 2 + span[1] / 2 + gap
        elif side == 1:
            x = w / 2 - span[0] / 2 - gap
        elif side == 2:
            y = d / 2 - span[1] / 2 - gap
        else:
            x = -w / 2 + span[0] / 2 + gap
        if side in (1, 3):
            yaw = -np.pi / 2 if side == 3 else np.pi / 2
        if not floor.free(x, y, span[0], span[1]):
            continue
        floor.take(x, y, span[0], span[1])
        middle = (thing.part.low + thing.part.high) / 2
        at = np.array([x, y, 0.0]) - sm.yaw_matrix(yaw) @ (middle * [1, 1, 0])
        lib.place(scene, rng, thing, tuple(at), yaw)
        sights.append((x, y, size[2] * 0.7))
        if role in ("table", "storage", "large") and 0.3 < size[2] < 1.5:
            on_top(
                rng,
                lib,
                scene,
                thing,
                at,
                yaw,
                int(rng.integers(1, 9) * busy * 2),
                ("decor", "decor", "lamp", "monitor"),
            )
    for _ in range(int(rng.integers(0, 3))):  # a table and chairs, or a rug, in the middle
        thing = lib.pick(rng, "table")
        size = thing.size
        x, y = rng.uniform(-0.3, 0.3) * w, rng.uniform(-0.3, 0.3) * d
        if not floor.free(x, y, size[0] + 0.6, size[1] + 0.6):
            continue
        floor.take(x, y, size[0] + 0.4, size[1] + 0.4)
        yaw = rng.normal(0, 0.1)
        lib.place(scene, rng, thing, (x, y, 0), yaw)
        on_top(rng, lib, scene, thing, (x, y, 0), yaw, int(rng.integers(1, 10)), ("decor", "decor", "vase", "monitor"))
        sights.append((x, y, size[2]))
        seat = lib.pick(rng, "chair")
        for side in range(4):
            for _ in range(int(rng.integers(0, 3))):
                along, beside = rng.uniform(-0.4, 0.4, 2) * size[:2]
                dx, dy = ((along, -size[1] / 2 - 0.15), (size[0] / 2 + 0.15, beside),
                          (along, size[1] / 2 + 0.15), (-size[0] / 2 - 0.15, beside))[side]  # fmt: skip
                lib.place(
                    scene, rng, seat, (x + dx, y + dy, 0), (np.pi, -np.pi / 2, 0, np.pi / 2)[side] + rng.normal(0, 0.3)
                )
    if rng.random() < 0.45:
        rw, rd = rng.uniform(0.4, 0.9) * w * 0.7, rng.uniform(0.4, 0.9) * d * 0.7
        look = scene.material(lib.picture(rng, "carpet" if rng.random() < 0.7 else "stripes"))
        x, y = rng.uniform(-0.15, 0.15) * w, rng.uniform(-0.15, 0.15) * d
        z = 0.012
        scene.add(
            sm.quad(
                (x - rw / 2, y - rd / 2, z),
                (x + rw / 2, y - rd / 2, z),
                (x + rw / 2, y + rd / 2, z),
                (x - rw / 2, y + rd / 2, z),
                0,
                True,
            ),
            [look],
        )
    for _ in range(int(rng.integers(0, 12) * busy * 2)):  # things that lie about
        role = ("decor", "decor", "large", "chair", "plant")[int(rng.integers(5))]
        thing = lib.pick(rng, role)
        size = thing.size
        r = max(size[0], size[1])
        x, y = rng.uniform(-0.5, 0.5) * (w - r), rng.uniform(-0.5, 0.5) * (d - r)
        if size[2] < h and r < min(w, d) and floor.free(x, y, r, r):
            floor.take(x, y, r, r)
            lib.place(scene, rng, thing, (x, y, 0), rng.uniform(0, 6.28))
            sights.append((x, y, size[2] / 2))
    if rng.random() < 0.22:
        for _ in range(int(rng.integers(1, 4))):
            x, y = rng.uniform(-0.4, 0.4) * w, rng.uniform(-0.4, 0.4) * d
            if floor.free(x, y, 0.5, 0.4):
                floor.take(x, y, 0.5, 0.4)
                lib.place(scene, rng, lib.pick(rng, "person"), (x, y, 0), rng.uniform(0, 6.28))
                sights.append((x, y, 1.2))
    on_walls(rng, lib, scene, w, d, h, sights)
    return sights


def on_walls(rng, lib, scene, w, d, h, sights) -> None:
    """Pictures, shelves, clocks, screens."""
    for _ in range(int(rng.integers(0, 10))):
        side = int(rng.integers(4))
        yaw = (np.pi, -np.pi / 2, 0.0, np.pi / 2)[side]
        a = rng.uniform(-0.42, 0.42)
        x, y = ((a * w, -d / 2), (w / 2, a * d), (a * w, d / 2), (-w / 2, a * d))[side]
        if side in (1, 3):
            yaw = -np.pi / 2 if side == 1 else np.pi / 2
        z = rng.uniform(1.0, 1.7)
        kind = rng.random()
        if kind < 0.6:
            pw, ph, t = rng.uniform(0.2, 1.1), rng.uniform(0.2, 0.9), rng.uniform(0.01, 0.05)
            picture = scene.material(lib.picture(rng))
            frame = scene.material(lib.material(rng, "furniture"))
            e = rng.uniform(0.0, 0.05)
            part = sm.join([
                sm.box((pw + 2 * e, t, ph + 2 * e), (0, -t / 2, z - e - ph / 2), 1),
                sm.upright(pw, ph, (0, -t - 0.002, z), 0),
            ])  # fmt: skip
            scene.add(part, [picture, frame], (x, y, 0), yaw)
        elif kind < 0.85:
            sw, sd = rng.uniform(0.4, 1.4), rng.uniform(0.15, 0.3)
            plank = Thing(sm.box((sw, sd, 0.025), (0, -sd / 2, z)), ("furniture",))
            lib.place(scene, rng, plank, (x, y, 0), yaw)
            on_top(rng, lib, scene, plank, (x, y, 0), yaw, int(rng.integers(1, 9)))
        else:
            thing = lib.pick(rng, "wall")
            lib.place(scene, rng, thing, (x, y, max(0.1, z - thing.size[2] / 2)), yaw)


def ceiling_lamp(rng, lib, scene, light: Light, h: float) -> None:
    for lamp in light.lamps:
        x, y, z = lamp.place
        glow = Material(cell=1, tile=1.0, tint=(1.0, 0.95, 0.85), emit=float(rng.uniform(1, 8)), casts=False)
        kind = rng.random()
        if kind < 0.4:
            part = sm.ellipsoid((0.3, 0.3, 0.2), 16, 0).moved((0, 0, -0.1))
        elif kind < 0.7:
            part = sm.lathe([(0.22, -0.12), (0.06, 0.06)], 18, 0)
        else:
            part = sm.box((1.2, 0.16, 0.06), (0, 0, -0.03))
        scene.add(part, [scene.material(glow)], (x, y, min(z, h - 0.08)))
        if z < h - 0.15:
            wire = Material(cell=1, tint=(0.1, 0.1, 0.1), casts=False)
            scene.add(sm.cylinder(0.006, h - z, 5), [scene.material(wire)], (x, y, z))
