"""Streets as training scenes."""

from __future__ import annotations

import numpy as np

from training import scenes_mesh as sm
from training.render import Scene
from training.scenes_library import Library
from training.scenes_outdoors import block, daylight, facade
from training.scenes_rooms import Built


def pole(rng, lib, scene, x: float, y: float, toward: float) -> None:
    """Street lamps, traffic signs and lights."""
    kind = rng.random()
    steel = scene.material(lib.material(rng, "metal"))
    if kind < 0.4:
        h, arm = rng.uniform(4.5, 9), rng.uniform(0.6, 2.2) * toward
        path = [(0, 0, 0), (0, 0, h * 0.9), (arm * 0.3, 0, h), (arm, 0, h)]
        scene.add(sm.join([sm.tube(path, 0.07, 8), sm.box((0.6, 0.25, 0.12), (arm, 0, h - 0.1))]), [steel], (x, y, 0))
    elif kind < 0.85:
        h = rng.uniform(2.0, 3.2)
        sign = scene.material(lib.picture(rng, "poster" if rng.random() < 0.6 else "paint"))
        shape = rng.integers(0, 3)
        n = (24, 4, 3)[shape]
        t = np.linspace(0, 2 * np.pi, n + 1)[:-1] + (np.pi / 4 if shape == 1 else np.pi / 2)
        plate = sm.prism(np.stack([np.cos(t), np.sin(t)], 1) * 0.38, 0.03, 1).moved((0, -0.06, h))
        scene.add(
            sm.join([sm.cylinder(0.035, h + 0.3, 8), plate]),
            [steel, sign],
            (x, y, 0),
            rng.normal(0, 0.15) + (np.pi if rng.random() < 0.4 else 0),
        )
    else:
        h = rng.uniform(2.6, 4)
        red = scene.material(lib.plain((0.8, 0.05, 0.03), emit=float(rng.uniform(0, 3))))
        green = scene.material(lib.plain((0.05, 0.5, 0.2), emit=float(rng.uniform(0, 2))))
        black = scene.material(lib.plain((0.02, 0.02, 0.02)))
        lamp = sm.join([sm.cylinder(0.06, h, 8), sm.box((0.3, 0.25, 0.9), (0, 0, h), 1),
                        sm.ellipsoid((0.2, 0.1, 0.2), 10, 2).moved((0, -0.14, h + 0.6)),
                        sm.ellipsoid((0.2, 0.1, 0.2), 10, 3).moved((0, -0.14, h + 0.1))])  # fmt: skip
        scene.add(lamp, [steel, black, red, green], (x, y, 0))


def bend(scene: Scene, curve: float, slope: float, hill: float) -> None:
    """Turns a straight street along +y into a curved, climbing one (also what is already added)."""
    for k, (corners, normals, uvs, material) in enumerate(scene.parts):
        c = corners.copy()
        y = c[..., 1]
        c[..., 0] += np.float32(curve) * y * np.abs(y)
        c[..., 2] += np.float32(slope) * y + np.float32(hill) * y * y
        scene.parts[k] = (c.astype(np.float32), normals, uvs, material)


def strip(x0: float, x1: float, y0: float, y1: float, z: float, slot: int = 0, steps: int = 24) -> sm.Part:
    """A long flat strip, cut across so that it can bend."""
    y = np.linspace(y0, y1, steps + 1)
    points = np.stack(np.broadcast_arrays(np.array([x0, x1])[:, None], y[None], z), -1)
    return sm.grid(points, slot)


def street(rng, lib: Library) -> Built:
    """A road with pavements, houses or green, parked and moving cars, poles, trees, people."""
    light = daylight(rng)
    scene = Scene(light)
    style = ("city", "suburb", "rural")[int(rng.choice(3, p=[0.4, 0.45, 0.15]))]
    lanes = int(rng.integers(1, 5 if style != "suburb" else 3))
    half = lanes * rng.uniform(2.7, 3.6) / 2 + rng.uniform(0, 1.0)
    parking = rng.random(2) < (0.6 if style != "rural" else 0.05)
    walk = rng.uniform(1.3, 4.0, 2)
    y0, y1 = -35.0, float(rng.uniform(90, 220))
    kerb = rng.uniform(0.03, 0.16) if style != "rural" else 0.0
    road = scene.material(lib.material(rng, "asphalt"))
    scene.add(strip(-half - 2.3 * parking[0], half + 2.3 * parking[1], y0, y1, 0.0), [road])
    paint = scene.material(lib.plain(np.ones(3) * rng.uniform(0.35, 0.85) * [1, 1, rng.choice([1, 0.6])]))
    if rng.random() < 0.8:
        for k in range(1, lanes):
            x = -half + 2 * half * k / lanes
            if rng.random() < 0.75:
                period, dash = rng.uniform(4, 12), rng.uniform(1.5, 4)
                at = np.arange(y0, y1 - dash, period)
                scene.add(sm.join([strip(x - 0.07, x + 0.07, y, y + dash, 0.012, 0, 2) for y in at]), [paint])
            else:
                scene.add(strip(x - 0.07, x + 0.07, y0, y1, 0.012), [paint])
        if rng.random() < 0.5:
            for x in (-half + 0.2, half - 0.2):
                scene.add(strip(x - 0.06, x + 0.06, y0, y1, 0.012), [paint])
    if rng.random() < 0.3:  # a zebra crossing
        y = rng.uniform(6, 40)
        scene.add(
            sm.join([strip(x, x + 0.45, y, y + 3, 0.014, 0, 2) for x in np.arange(-half + 0.3, half - 0.4, 0.95)]),
            [paint],
        )
    for _ in range(int(rng.integers(0, 5))):  # patches and covers
        x, y = rng.uniform(-half, half * 0.6), rng.uniform(2, 50)
        patch = scene.material(lib.material(rng, "asphalt" if rng.random() < 0.7 else "metal"))
        scene.add(strip(x, x + rng.uniform(0.6, 2), y, y + rng.uniform(0.6, 8), 0.006, 0, 3), [patch])
    lane_of = [(-half + (k + 0.5) * 2 * half / lanes) for k in range(lanes)]
    for s in (-1, 1):
        edge = half + 2.3 * parking[0 if s < 0 else 1]
        side_walk = walk[0 if s < 0 else 1]
        pave = scene.material(
            lib.material(rng, ("tiles", "cobbles", "asphalt", "stone", "stone")[int(rng.integers(5))])
        )
        stone = scene.material(lib.material(rng, "stone"))
        green = scene.material(lib.material(rng, ("grass", "grass", "soil", "cobbles")[int(rng.integers(4))]))
        a, b = sorted((s * edge, s * (edge + side_walk)))
        if style == "rural":
            pave = green
        scene.add(strip(a, b, y0, y1, kerb), [pave])
        if kerb:
            k0, k1 = sorted((s * (edge - 0.0), s * (edge + 0.15)))
            scene.add(strip(k0, k1, y0, y1, kerb + 0.005), [stone])
            face = np.stack(
                np.broadcast_arrays(s * edge, np.linspace(y0, y1, 25)[None], np.array([0, kerb])[:, None]), -1
            )
            scene.add(sm.grid(face), [stone])
        lawn = edge + side_walk
        wide = 70.0
        a, b = sorted((s * lawn, s * (lawn + wide)))
        scene.add(strip(a, b, y0, y1 + 60, kerb - 0.01), [green])
        if parking[0 if s < 0 else 1]:
            y = y0 + rng.uniform(0, 8)
            while y < min(y1, 90):
                if rng.random() < 0.65:
                    car = lib.pick(rng, "vehicle")
                    if car.size.max() < 6.5:
                        lib.place(
                            scene,
                            rng,
                            car,
                            (s * (edge - 1.1), y, 0),
                            (0 if rng.random() < 0.5 else np.pi) + rng.normal(0, 0.02),
                        )
                y += rng.uniform(5, 8)
        setback = (0.0 if style == "city" else rng.uniform(2, 14)) + lawn
        y = y0 + rng.uniform(0, 5)
        dense = {"city": 0.93, "suburb": 0.7, "rural": 0.15}[style]
        while y < y1:
            bw = rng.uniform(6, 22) if style == "city" else rng.uniform(7, 14)
            bh = rng.uniform(5, 22) if style == "city" else rng.uniform(3, 8)
            if rng.random() < dense:
                back = setback + (rng.uniform(0, 4) if style != "city" else rng.uniform(0, 0.6))
                make = facade if y < 55 and y + bw > -8 else None
                at, yaw = (s * back, y + bw / 2, kerb - 0.01), s * np.pi / 2
                if make is None:
                    block(rng, lib, scene, at, yaw, bw, bh, 9.0)
                else:
                    facade(rng, lib, scene, at, yaw, bw, bh, 9.0)
            y += bw + (rng.choice([0, 0, 0.8, 9]) if style == "city" else rng.uniform(1, 14))
        if style != "city" and rng.random() < 0.75:  # hedge, wall or fence before the gardens
            kind, h = rng.integers(0, 3), rng.uniform(0.6, 2.2)
            look = scene.material(lib.material(rng, "foliage" if kind == 0 else ("masonry" if kind == 1 else "planks")))
            y = y0
            while y < min(100, y1):
                ln = rng.uniform(5, 16)
                if kind == 0:
                    u = np.linspace(0, 1, int(ln * 2) + 2)
                    v = np.linspace(0, 1, 7)
                    px = np.interp(v, [0, 0.2, 0.4, 0.6, 0.8, 1], [-0.5, -0.5, -0.4, 0.4, 0.5, 0.5])
                    pz = np.interp(v, [0, 0.2, 0.4, 0.6, 0.8, 1], [0, 0.6, 1, 1, 0.6, 0]) * h
                    points = np.stack(np.broadcast_arrays(px[None], u[:, None] * ln, pz[None]), -1).astype(np.float32)
                    points = points + (sm.noise_bumps(rng, points, 0.5) * 0.07)[..., None]
                    hedge = sm.grid(points)
                    leaves = points.reshape(-1, 3)[rng.integers(0, points.size // 3, 120)] + rng.normal(
                        0, 0.06, (120, 3)
                    )
                    scene.add(sm.join([hedge, sm.cards(rng, leaves, 0.05)]), [look], (s * (lawn + 0.6), y, kerb))
                else:
                    scene.add(sm.box((0.2, ln, h), (0, ln / 2, 0)), [look], (s * (lawn + 0.3), y, kerb))
                y += ln + rng.choice([0.0, 0.3, 4.0])
        trees = {"city": 0.35, "suburb": 0.75, "rural": 0.9}[style]
        y = y0
        while y < min(y1, 130):
            y += rng.uniform(4, 14)
            if rng.random() < trees:
                off = edge + 0.8 if (style == "city" or rng.random() < 0.4) else lawn + rng.uniform(1, 12)
                role = "tree" if rng.random() < 0.8 else "bush"
                lib.place(
                    scene, rng, lib.pick(rng, role), (s * off, y, kerb), rng.uniform(0, 6.28), rng.uniform(0.6, 1.2)
                )
        y = y0
        while y < min(y1, 80):
            y += rng.uniform(4, 22)
            if rng.random() < 0.7:
                pole(rng, lib, scene, s * (edge + rng.uniform(0.3, 0.7)), y, -s)
        for _ in range(int(rng.integers(0, 7)) if style != "rural" else 0):
            who = "person" if rng.random() < 0.7 else ("street" if rng.random() < 0.7 else "bike")
            x = s * (edge + rng.uniform(0.5, max(0.6, side_walk - 0.3)))
            lib.place(scene, rng, lib.pick(rng, who), (x, rng.uniform(2, 45), kerb), rng.uniform(0, 6.28))
    for x in lane_of:
        y = rng.uniform(5, 25)
        while y < 120:
            if rng.random() < (0.5 if style != "suburb" else 0.25):
                lib.place(
                    scene,
                    rng,
                    lib.pick(rng, "vehicle"),
                    (x + rng.normal(0, 0.2), y, 0),
                    (0 if x > 0 else np.pi) + rng.normal(0, 0.03),
                )
            y += rng.uniform(8, 40)
    if rng.random() < 0.8:  # what closes the view at the end
        for _ in range(int(rng.integers(1, 7))):
            x, y = rng.normal(0, 30), y1 + rng.uniform(0, 40)
            if rng.random() < 0.5:
                block(rng, lib, scene, (x, y, -0.5), 0.0, rng.uniform(8, 30), rng.uniform(5, 20), 10.0)
            else:
                lib.place(scene, rng, lib.pick(rng, "tree"), (x, y, 0), 0.0, rng.uniform(0.8, 1.5))
    curve = float(rng.normal(0, 0.0006)) if rng.random() < 0.5 else 0.0
    slope, hill = (float(rng.normal(0, 0.015)), float(rng.normal(0, 0.00012))) if rng.random() < 0.6 else (0.0, 0.0)
    bend(scene, curve, slope, hill)

    def stand(rng):
        y = rng.uniform(-12, 18)
        if rng.random() < 0.7:  # a car's camera
            x = lane_of[int(rng.integers(len(lane_of)))] + rng.normal(0, 0.3)
            z, yaw, pitch = rng.normal(1.65, 0.15), rng.normal(0, 0.1), rng.normal(-0.02, 0.04)
        else:
            x = rng.uniform(-half - walk[0], half + walk[1])
            z, yaw, pitch = rng.uniform(1.2, 2.3), rng.normal(0, 0.8), rng.normal(0.02, 0.12)
            if abs(x) > half and rng.random() < 0.5:
                yaw = np.sign(x) * rng.uniform(0.3, 1.8)
        ground = kerb * (abs(x) > half) + slope * y + hill * y * y
        x = x + curve * y * abs(y)
        place = np.array([x, y, ground + max(0.9, z)])
        yaw = -yaw - 2 * curve * y
        aim = np.array([-np.sin(yaw), np.cos(yaw), np.tan(pitch) + slope])
        return place, place + aim * 10

    return Built(scene, (0, 22, 0), 48.0, stand, 1.0, (45, 68, 92))
