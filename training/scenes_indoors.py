"""Families of training scenes under a roof: furnished rooms, desks, single objects before a backdrop, and clutter."""

from __future__ import annotations

import numpy as np

from training import scenes_mesh as sm
from training.render import Light, Scene
from training.scenes_library import Library
from training.scenes_outdoors import daylight
from training.scenes_rooms import Built, ceiling_lamp, furnish, indoor_light, on_top, on_walls, shell, wall


def room(rng, lib: Library) -> Built:
    """A furnished room, hall or corridor."""
    h = float(rng.uniform(2.3, 3.2))
    kind = rng.random()
    if kind < 0.75:
        w, d = rng.uniform(2.4, 6.5), rng.uniform(2.6, 7.5)
    elif kind < 0.88:
        w, d = rng.uniform(1.2, 2.4), rng.uniform(6, 18)
    else:
        w, d, h = rng.uniform(6, 14), rng.uniform(8, 20), float(rng.uniform(2.8, 6))
    scene = Scene(Light())
    windows = shell(rng, lib, scene, w, d, h)
    scene.light = light = indoor_light(rng, w, d, h, windows[0] if windows else None)
    ceiling_lamp(rng, lib, scene, light, h)
    sights = furnish(rng, lib, scene, w, d, h, rng.uniform(0.25, 1.1)) or [(0.0, 0.0, 0.8)]

    def stand(rng):
        if rng.random() < 0.45:  # close to something
            t = np.array(sights[int(rng.integers(len(sights)))])
            a, r = rng.uniform(0, 6.28), rng.uniform(0.8, 3.0)
            place = t + [np.cos(a) * r, np.sin(a) * r, 0]
            place[2] = rng.uniform(0.7, 1.8)
            target = t + rng.normal(0, 0.25, 3)
        else:
            place = np.array([rng.uniform(-0.46, 0.46) * w, rng.uniform(-0.46, 0.46) * d, rng.uniform(1.0, 1.8)])
            far = np.array([rng.uniform(-0.5, 0.5) * w, rng.uniform(-0.5, 0.5) * d, rng.uniform(0.3, 1.5)])
            target = far if rng.random() < 0.5 else far * [-1, -1, 1] - place * [0.5, 0.5, 0]
        place[:2] = np.clip(place[:2], [-w / 2 + 0.15, -d / 2 + 0.15], [w / 2 - 0.15, d / 2 - 0.15])
        return place, target

    return Built(scene, (0, 0, h / 2), float(np.hypot(w, d) / 2 + 1), stand, 0.3, (45, 62, 95))


def desk(rng, lib: Library) -> Built:
    """A table full of things, seen from close by."""
    w, d, h = rng.uniform(2.5, 5), rng.uniform(2.5, 5), float(rng.uniform(2.3, 2.9))
    scene = Scene(Light())
    windows = shell(rng, lib, scene, w, d, h)
    scene.light = indoor_light(rng, w, d, h, windows[0] if windows else None)
    ceiling_lamp(rng, lib, scene, scene.light, h)
    thing = lib.things["table"][int(rng.integers(6))] if rng.random() < 0.6 else lib.pick(rng, "table")
    size = thing.size
    at_wall = rng.random() < 0.6
    y = d / 2 - size[1] / 2 - 0.02 if at_wall else rng.uniform(-0.2, 0.2) * d
    x = rng.uniform(-0.4, 0.4) * max(0.0, w - size[0])
    lib.place(scene, rng, thing, (x, y, 0))
    on_top(
        rng,
        lib,
        scene,
        thing,
        (x, y, 0),
        0.0,
        int(rng.integers(8, 80)),
        ("decor", "small", "vase", "monitor", "keyboard", "lamp", "small", "plant"),
    )
    sights = [(x, y, float(size[2]))]
    for _ in range(int(rng.integers(0, 6))):
        other = lib.pick(rng, ("chair", "storage", "large", "plant", "sofa")[int(rng.integers(5))])
        s = max(other.size[:2])
        px, py = rng.uniform(-0.5, 0.5) * max(0.1, w - s), rng.uniform(-0.5, 0.5) * max(0.1, d - s)
        if (abs(px - x) > (s + size[0]) / 2 or abs(py - y) > (s + size[1]) / 2) and other.size[2] < h:
            lib.place(scene, rng, other, (px, py, 0), rng.choice([0, 1.57, 3.14, 4.71]) + rng.normal(0, 0.1))
    on_walls(rng, lib, scene, w, d, h, sights)

    def stand(rng):
        t = np.array([x, y, size[2]]) + rng.uniform(-0.4, 0.4, 3) * [size[0], size[1], 0.2]
        a = rng.uniform(-2.6, -0.5) if at_wall else rng.uniform(0, 6.28)
        r, up = rng.uniform(0.5, 1.7), rng.uniform(0.1, 1.0)
        place = t + [np.cos(a) * r, np.sin(a) * r, up]
        place[:2] = np.clip(place[:2], [-w / 2 + 0.1, -d / 2 + 0.1], [w / 2 - 0.1, d / 2 - 0.1])
        return place, t

    return Built(scene, (0, 0, h / 2), float(np.hypot(w, d) / 2 + 1), stand, 0.2, (45, 60, 75))


def objects(rng, lib: Library) -> Built:
    """One or a few objects on a ground or table before a backdrop, from all around; also garages and yards."""
    outdoors = rng.random() < 0.45
    light = indoor_light(rng, 5, 5, 3, (1, 0, 0))
    scene = Scene(light)
    role = (
        "small",
        "vase",
        "statue",
        "large",
        "chair",
        "plant",
        "rock",
        "bike",
        "bike",
        "vehicle",
        "person",
        "small",
        "statue",
        "statue",
    )[int(rng.integers(14))]
    thing = lib.pick(rng, role)
    size = thing.size
    scale = 1.0
    if role == "statue" and rng.random() < 0.6:
        scale = rng.uniform(0.15, 0.6)
    extent = float(np.linalg.norm(size)) * scale
    ground = scene.material(
        lib.material(rng, "ground" if outdoors else ("floor", "furniture", "cloth")[int(rng.integers(3))])
    )
    reach = max(3.0, extent * 4)
    base, room_w, tall = 0.0, 0.0, 2.6
    if outdoors:
        scene.light = daylight(rng)
        far = 60.0
        scene.add(sm.quad((-far, -far, 0), (far, -far, 0), (far, far, 0), (-far, far, 0)), [ground])
        for _ in range(int(rng.integers(2, 12))):
            a, r = rng.uniform(0, 6.28), reach * rng.uniform(1.2, 5)
            lib.place(
                scene,
                rng,
                lib.pick(rng, ("tree", "bush", "rock", "street")[int(rng.integers(4))]),
                (np.cos(a) * r, np.sin(a) * r, 0),
                a,
            )
        if rng.random() < 0.6:
            look = scene.material(lib.material(rng, "masonry"))
            for a in rng.uniform(0, 6.28, 3):
                r = reach * rng.uniform(1.5, 3)
                scene.add(
                    sm.box((rng.uniform(5, 25), 0.4, rng.uniform(1, 6))),
                    [look],
                    (np.cos(a) * r, np.sin(a) * r, 0),
                    a + 1.57,
                )
    elif extent < 1.0 and rng.random() < 0.7:
        table = lib.things["table"][int(rng.integers(6))]
        base = float(table.part.high[2])
        scene.add(sm.box((max(1.2, extent * 2.5), max(0.8, extent * 2), base)), [ground])
        room_w = rng.uniform(3, 6)
        shell(rng, lib, scene, room_w, room_w, tall)
    else:
        room_w = max(reach, 4.0)
        tall = max(2.6, float(size[2]) + 1)
        shell(rng, lib, scene, room_w, room_w, tall)
        for _ in range(int(rng.integers(0, 12))):
            other = lib.pick(rng, ("storage", "large", "decor", "bike")[int(rng.integers(4))])
            a = rng.uniform(0, 6.28)
            r = room_w / 2 - max(other.size[:2]) / 2 - 0.1
            if r > extent / 2 + max(other.size[:2]) / 2:
                lib.place(scene, rng, other, (np.cos(a) * r, np.sin(a) * r, 0), a - 1.57)
    lib.place(scene, rng, thing, (0, 0, base), rng.uniform(0, 6.28), scale)
    for _ in range(int(rng.integers(0, 7))):
        small = lib.pick(rng, "decor")
        a, r = rng.uniform(0, 6.28), extent * rng.uniform(0.6, 1.1)
        if base == 0 or r < 0.55:
            lib.place(scene, rng, small, (np.cos(a) * r, np.sin(a) * r, base), a, 1.0 if extent < 3 else 2.0)

    def stand(rng):
        a, e = rng.uniform(0, 6.28), rng.uniform(0.02, 1.0)
        r = extent * rng.uniform(0.75, 1.8) + 0.12
        t = np.array([0, 0, base + size[2] * scale * rng.uniform(0.3, 0.6)]) + rng.normal(0, 0.1, 3) * extent
        place = t + np.array([np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)]) * r
        place[2] = max(place[2], base + 0.08)
        if room_w:
            place = np.clip(place, [-room_w * 0.47, -room_w * 0.47, 0.1], [room_w * 0.47, room_w * 0.47, tall - 0.15])
        return place, t

    return Built(
        scene,
        (0, 0, base),
        max(2.5, extent * 1.5) if outdoors else float(room_w),
        stand,
        min(0.4, extent * 0.3) + 0.05,
        (30, 50, 70),
    )


def clutter(rng, lib: Library) -> Built:
    """Random shapes at random places, inside a box or before the sky: sharp edges, any orientation."""
    inside = rng.random() < 0.6
    w, d, h = rng.uniform(2.5, 8, 3)
    light = indoor_light(rng, w, d, h, (1, 0, 0))
    scene = Scene(light)
    if inside:
        corners = [(-w / 2, -d / 2), (w / 2, -d / 2), (w / 2, d / 2), (-w / 2, d / 2)]
        sides = [wall(p, q, h, []) for p, q in zip(corners, corners[1:] + corners[:1])]
        for part in (sm.quad(*[(*c, 0) for c in corners]), sm.quad(*[(*c, h) for c in corners[::-1]]), *sides):
            scene.add(part, [scene.material(lib.material(rng, "any"))])
    else:
        ground = scene.material(lib.material(rng, "any"))
        scene.add(sm.quad((-40, -40, 0), (40, -40, 0), (40, 40, 0), (-40, 40, 0)), [ground])
    looks = [scene.material(lib.material(rng, "any")) for _ in range(24)]
    roles = ("small", "vase", "large", "chair", "rock", "statue", "street", "plant", "person", "bush")
    for _ in range(int(rng.integers(15, 70))):
        at = rng.uniform(-0.5, 0.5, 3) * [w, d, h] + [0, 0, h / 2]
        if rng.random() < 0.4:
            at[2] = 0
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        turn *= np.linalg.det(turn)
        s = np.exp(rng.normal(-1.3, 0.6))
        kind = int(rng.integers(0, 9))
        look = [looks[int(rng.integers(24))]]
        if kind == 0:
            part = sm.box(s * rng.uniform(0.2, 2, 3))
        elif kind == 1:
            part = sm.ellipsoid(s * rng.uniform(0.4, 1.6, 3), 18, 0, rng.uniform(0.3, 1))
        elif kind == 2:
            part = sm.cylinder(s * 0.4, s * rng.uniform(0.3, 4), 18)
        elif kind == 3:
            part = sm.torus(s, s * rng.uniform(0.08, 0.4))
        elif kind == 4:
            t = np.linspace(0, 1, 12)[:, None]
            part = sm.tube(
                np.cumsum(rng.normal(0, 0.35 * s, (12, 3)) + rng.normal(0, 0.3, 3) * s, 0) + 0 * t,
                s * rng.uniform(0.03, 0.2),
                10,
            )
        elif kind == 5:
            a = rng.uniform(-1, 1, 2) * s * 2
            part = sm.quad((0, 0, 0), (a[0], 0, 0), (a[0], a[1], 0), (0, a[1], 0))
        elif kind == 6:
            u = np.linspace(-s, s, 24)
            wave = (
                sm.noise_bumps(
                    rng, np.stack(np.broadcast_arrays(u[:, None], u[None], 0 * u[:, None]), -1).astype(np.float32), s
                )
                * s
                * 0.3
            )
            part = sm.grid(np.stack(np.broadcast_arrays(u[:, None], u[None], wave), -1))
        elif kind == 7:
            part = sm.lathe(
                [(s * 0.5, 0), (0.0, s * rng.uniform(0.5, 2))], int(rng.choice([4, 5, 16])), 0, bool(rng.random() < 0.5)
            )
        else:
            thing = lib.pick(rng, roles[int(rng.integers(len(roles)))])
            k = min(1.5, rng.uniform(0.4, 2.0) / max(thing.size.max(), 0.1))
            lib.place(scene, rng, thing, tuple(at), rng.uniform(0, 6.28), k, turn if rng.random() < 0.5 else None)
            continue
        scene.add(part, look, tuple(at), 0.0, 1.0, turn if rng.random() < 0.7 else None)

    def stand(rng):
        place = rng.uniform(-0.45, 0.45, 3) * [w, d, h * 0.9] + [0, 0, h / 2]
        return place, rng.uniform(-0.4, 0.4, 3) * [w, d, h] + [0, 0, h / 2]

    return Built(scene, (0, 0, h / 2), float(np.linalg.norm([w, d, h]) / 2), stand, 0.2, (40, 60, 95))
