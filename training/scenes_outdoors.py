"""Families of training scenes under the sky: parks and terrain, facades and monuments."""

from __future__ import annotations

import numpy as np

from training import scenes_mesh as sm
from training.render import Light, Scene
from training.scenes_library import Library
from training.scenes_rooms import Built, warm


def daylight(rng) -> Light:
    """Clear, hazy, overcast, low sun, or dusk."""
    kind = rng.random()
    e = rng.uniform(0.15, 1.25) if kind < 0.85 else rng.uniform(0.05, 0.2)
    a = rng.uniform(0, 6.28)
    toward = (float(np.cos(a) * np.cos(e)), float(np.sin(a) * np.cos(e)), float(np.sin(e)))
    clear = kind < 0.65
    tint = np.clip(np.array([1, 0.94, 0.84]) + (1.2 - e) * np.array([0.05, -0.08, -0.2]), 0.2, 1.2)
    sun = tint * (rng.uniform(1.2, 3.2) if clear else rng.uniform(0, 0.4))
    blue = rng.uniform(0.2, 1.0) if clear else rng.uniform(0, 0.25)
    zenith = np.array([0.85, 0.87, 0.9]) * (1 - blue) + np.array([0.16, 0.36, 0.85]) * blue
    horizon = np.array([0.92, 0.93, 0.94]) * (1 - 0.35 * blue) + np.array([0.5, 0.65, 0.85]) * 0.35 * blue
    if kind > 0.85:
        horizon = horizon * [1.1, 0.8, 0.6]
        zenith = zenith * 0.6
    ambient = zenith * 0.5 + 0.28
    fog = (
        0.0
        if rng.random() < 0.3
        else float(np.exp(rng.uniform(np.log(0.0006), np.log(0.006 if rng.random() < 0.85 else 0.03))))
    )
    return Light(
        sun_toward=toward,
        sun=tuple(float(v) for v in sun),
        sky_up=tuple(float(v) for v in ambient * rng.uniform(0.5, 0.9)),
        sky_down=warm(rng, float(rng.uniform(0.18, 0.35))),
        zenith=tuple(float(v) for v in zenith * rng.uniform(0.7, 1.1)),
        horizon=tuple(float(v) for v in horizon * rng.uniform(0.8, 1.15)),
        clouds=float(rng.choice([0, rng.uniform(0.2, 1)])),
        cloud_color=tuple(float(v) for v in np.ones(3) * rng.uniform(0.6, 1.2)),
        fog=fog,
        fog_color=tuple(float(v) for v in horizon * rng.uniform(0.75, 1)),
        occlusion_radius=float(rng.uniform(0.6, 2.0)),
        occlusion=float(rng.uniform(0.7, 1.3)),
        softness=int(rng.choice([3, 3, 5, 9])),
    )


def facade(rng, lib: Library, scene: Scene, at, yaw: float, wide: float, high: float, deep: float = 8.0) -> None:
    """A building whose front looks toward -y before it is turned: piers, spandrels, recessed panes, doors, cornices."""
    storey = rng.uniform(2.7, 3.8)
    ny = max(1, int(high / storey))
    nx = max(1, int(wide / rng.uniform(2.0, 4.5)))
    high = ny * storey + rng.uniform(0.2, 1.0)
    body = scene.material(lib.material(rng, "masonry" if rng.random() < 0.75 else "wall"))
    trim = scene.material(lib.material(rng, ("plaster", "stone", "paint", "wood")[int(rng.integers(4))]))
    dark = rng.uniform(0.01, 0.12)
    glass = scene.material(
        lib.plain((dark, dark * 1.1, dark * 1.25), shine=0.6, gloss=90.0, mirror=float(rng.uniform(0.2, 0.8)))
    )
    roof = scene.material(lib.material(rng, "roof"))
    parts = [sm.box((wide, deep, high), (0, deep / 2 + 0.25, 0), 0)]
    step_x, depth = wide / nx, rng.uniform(0.08, 0.3)
    ww, wh = step_x * rng.uniform(0.35, 0.75), storey * rng.uniform(0.4, 0.7)
    sill = rng.uniform(0.25, 0.95)
    if sill + wh > storey - 0.1:
        sill = storey - 0.1 - wh
    xs = (np.arange(nx) + 0.5) * step_x - wide / 2
    # piers between the windows, bands above and below them
    edges = np.concatenate([[-wide / 2], np.sort(np.concatenate([xs - ww / 2, xs + ww / 2])), [wide / 2]]).reshape(
        -1, 2
    )
    y = 0.25 - depth / 2
    parts.append(sm.boxes([[e.mean(), y, high / 2] for e in edges], [[e[1] - e[0], depth, high] for e in edges], 0))
    lows = [0.0] + [k * storey + sill + wh for k in range(ny)]
    highs = [k * storey + sill for k in range(ny)] + [high]
    parts.append(
        sm.boxes(
            [[0, y + 0.002, (a + b) / 2] for a, b in zip(lows, highs)],
            [[wide - 0.01, depth, b - a] for a, b in zip(lows, highs)],
            0,
        )
    )
    centers, sizes, slots = [], [], []
    frames, balconies, shutters = rng.random() < 0.8, rng.random() < 0.25, rng.random() < 0.25
    for x in xs:
        for k in range(ny):
            z = k * storey + sill
            centers.append([x, 0.245, z + wh / 2])
            sizes.append([ww, 0.02, wh])
            slots.append(1)
            if frames:
                for dx, dz, sx, sz in (
                    (0, wh / 2, 0.05, wh),
                    (0, wh * 0.65, ww, 0.05),
                    (-ww / 2, wh / 2, 0.08, wh),
                    (ww / 2, wh / 2, 0.08, wh),
                ):
                    centers.append([x + dx, 0.22, z + dz])
                    sizes.append([sx, 0.06, sz])
                    slots.append(2)
                centers.append([x, 0.25 - depth - 0.04, z - 0.04])
                sizes.append([ww + 0.25, 0.2, 0.08])
                slots.append(2)
            if shutters:
                for s in (-1, 1):
                    centers.append([x + s * (ww * 0.75), 0.25 - depth - 0.02, z + wh / 2])
                    sizes.append([ww * 0.48, 0.05, wh])
                    slots.append(3)
            if balconies and k > 0:
                centers += [[x, -0.5, z - 0.1], [x, -0.98, z + 0.45]]
                sizes += [[ww + 0.6, 1.0, 0.12], [ww + 0.6, 0.04, 0.9]]
                slots += [2, 3]
    for k in range(ny + 1):
        if k in (0, ny) or rng.random() < 0.3:
            out = rng.uniform(0.05, 0.45)
            centers.append([0, 0.25 - depth - out / 2 + 0.02, min(high, k * storey + 0.1)])
            sizes.append([wide + 0.1, out, rng.uniform(0.1, 0.35)])
            slots.append(2)
    x = xs[int(rng.integers(nx))]
    centers += [[x, 0.22 - depth, 1.1], [x, 0.2 - depth, 2.3]]
    sizes += [[1.2, 0.12, 2.2], [1.6, 0.3, 0.15]]
    slots += [3, 2]
    if rng.random() < 0.35:  # a shop sign
        centers.append([rng.uniform(-0.2, 0.2) * wide, 0.05 - depth, storey - 0.25])
        sizes.append([wide * rng.uniform(0.3, 0.8), 0.15, 0.6])
        slots.append(4)
    parts.append(sm.boxes(centers, sizes, slots))
    if rng.random() < 0.55:
        rise = rng.uniform(1.2, 3.5)
        if rng.random() < 0.6:
            gable = sm.prism([(-deep / 2 - 0.4, 0), (deep / 2 + 0.4, 0), (0, rise)], wide + 0.4, 5).moved(
                (0, deep / 2 + 0.25, high), np.pi / 2
            )
        else:
            gable = sm.prism([(-wide / 2 - 0.3, 0), (wide / 2 + 0.3, 0), (0, rise)], deep + 0.6, 5).moved(
                (0, deep / 2 + 0.25, high)
            )
        parts.append(gable)
    sign = scene.material(lib.material(rng, "poster"))
    door = scene.material(lib.material(rng, "furniture"))
    scene.add(sm.join(parts), [body, glass, trim, door, sign, roof], at, yaw)


def block(rng, lib, scene, at, yaw, wide, high, deep) -> None:
    """A far building: a box with a picture of windows."""
    look = scene.material(lib.material(rng, "windows"))
    scene.add(sm.box((wide, deep, high), (0, deep / 2, 0)), [look], at, yaw)
    if rng.random() < 0.4:
        roof = scene.material(lib.material(rng, "roof"))
        scene.add(
            sm.prism([(-deep / 2, 0), (deep / 2, 0), (0, rng.uniform(1, 4))], wide).moved(
                (0, deep / 2, high), np.pi / 2
            ),
            [roof],
            at,
            yaw,
        )


def terrain(rng, lib: Library) -> Built:
    """Park, garden, field or hills."""
    light = daylight(rng)
    scene = Scene(light)
    rough, size = rng.uniform(0.05, 2.5), rng.uniform(12, 50)
    waves = [(rng.normal(size=2) * 2.2 / size, rng.uniform(0, 6.28)) for _ in range(7)]
    far_waves = [(rng.normal(size=2) * 2.2 / 160, rng.uniform(0, 6.28)) for _ in range(5)]
    hills = rng.uniform(0, 45) if rng.random() < 0.7 else 0.0
    small = [(rng.normal(size=2) * 1.2, rng.uniform(0, 6.28)) for _ in range(5)]

    def height(x, y):
        h = sum(np.cos(x * k[0] + y * k[1] + p) for k, p in waves) * rough / 2.6
        r = np.hypot(x, y)
        h = h + sum(np.cos(x * k[0] + y * k[1] + p) for k, p in small) * 0.025
        far = sum(np.cos(x * k[0] + y * k[1] + p) for k, p in far_waves) + 1.5
        return h + far * hills / 2.5 * np.clip((r - 50) / 250, 0, 1) ** 1.5

    t = np.linspace(-1, 1, 121)
    s = np.sign(t) * (np.abs(t) * 0.06 + 0.94 * np.abs(t) ** 3) * 500
    x, y = np.meshgrid(s, s, indexing="ij")
    ground = sm.grid(np.stack([x, y, height(x, y)], -1))
    ground = sm.Part(ground.corners, ground.normals, np.ascontiguousarray(ground.corners[..., :2]), ground.slots)
    scene.add(
        ground,
        [scene.material(lib.material(rng, ("grass", "grass", "soil", "cobbles", "ground")[int(rng.integers(5))]))],
    )
    if rng.random() < 0.5:  # a path
        u = np.linspace(-80, 80, 81)
        wind = np.cumsum(np.cumsum(rng.normal(0, 0.04, 81)))
        wind -= wind[40]
        wide = rng.uniform(0.7, 3)
        px = np.stack([wind - wide / 2, wind + wide / 2])
        points = np.stack([px, np.broadcast_to(u, px.shape), height(px, np.broadcast_to(u, px.shape)) + 0.03], -1)
        scene.add(
            sm.grid(points), [scene.material(lib.material(rng, ("soil", "asphalt", "cobbles")[int(rng.integers(3))]))]
        )
    spots = []
    weights = rng.dirichlet([1.2, 0.8, 0.8, 0.15, 0.12, 0.1])
    roles = ("tree", "bush", "rock", "person", "street", "statue")
    picks = {r: [lib.pick(rng, r) for _ in range(3)] for r in roles}
    for _ in range(int(rng.integers(8, 60))):
        a, r = rng.uniform(0, 6.28), 2.5 + 70 * rng.random() ** 1.6
        px, py = np.cos(a) * r, np.sin(a) * r
        role = roles[int(rng.choice(6, p=weights))]
        thing = picks[role][int(rng.integers(3))]
        if len(thing.part) > 4000 and r > 40:
            continue
        k = rng.uniform(0.5, 1.3)
        lib.place(scene, rng, thing, (px, py, float(height(px, py)) - 0.05), rng.uniform(0, 6.28), k)
        spots.append((px, py, float(height(px, py)) + min(2.0, thing.size[2] * k * 0.5)))
    for _ in range(int(rng.integers(0, 4))):
        a, r = rng.uniform(0, 6.28), rng.uniform(30, 150)
        px, py = np.cos(a) * r, np.sin(a) * r
        block(
            rng,
            lib,
            scene,
            (px, py, float(height(px, py)) - 1.5),
            rng.uniform(0, 6.28),
            rng.uniform(6, 20),
            rng.uniform(5, 14),
            9.0,
        )
    blades = rng.uniform(-1, 1, (600, 2)) * 9
    centers = np.concatenate([blades, height(blades[:, 0], blades[:, 1])[:, None] + 0.03], 1)
    scene.add(sm.cards(rng, centers, 0.06), [scene.material(lib.material(rng, "foliage"))])

    def stand(rng):
        if rng.random() < 0.4 and spots:
            tx, ty, tz = spots[int(rng.integers(len(spots)))]
            a, r = rng.uniform(0, 6.28), rng.uniform(2.5, 14)
            px, py = tx + np.cos(a) * r, ty + np.sin(a) * r
            target = np.array([tx, ty, tz])
        else:
            px, py = rng.normal(0, 4, 2)
            a = rng.uniform(0, 6.28)
            z = float(height(px, py)) + 1.5
            target = np.array([px + np.cos(a) * 10, py + np.sin(a) * 10, z + rng.normal(-0.4, 1.3)])
        up = rng.uniform(1.0, 2.0) if rng.random() < 0.85 else rng.uniform(2, 12)
        return np.array([px, py, float(height(px, py)) + up]), target

    return Built(scene, (0, 0, 0), 45.0, stand, 0.6, (42, 60, 85))


def monument(rng, lib: Library) -> Built:
    """Facades, arches, columns, statues and carved walls seen from a few metres to thirty."""
    light = daylight(rng)
    scene = Scene(light)
    ground = scene.material(
        lib.material(rng, ("cobbles", "tiles", "asphalt", "grass", "soil", "stone")[int(rng.integers(6))])
    )
    scene.add(sm.quad((-80, -80, 0), (80, -80, 0), (80, 80, 0), (-80, 80, 0)), [ground])
    wide, high = rng.uniform(6, 26), rng.uniform(4, 18)
    kind = rng.random()
    stone = scene.material(lib.material(rng, "masonry"))
    trim = scene.material(lib.material(rng, "stone"))
    parts: list[sm.Part] = []
    if kind < 0.45:
        facade(rng, lib, scene, (0, 0, 0), 0.0, wide, high)
        x = wide / 2
        for s in (-1, 1):
            if rng.random() < 0.7:
                bw = rng.uniform(5, 15)
                facade(
                    rng,
                    lib,
                    scene,
                    (s * (x + bw / 2 + rng.choice([0, 0, 3])), rng.uniform(0, 3), 0),
                    0.0,
                    bw,
                    rng.uniform(4, 18),
                )
    elif kind < 0.75:  # carved wall, niches, columns, pediment
        u, v = np.linspace(-wide / 2, wide / 2, 110), np.linspace(0, high, 80)
        p = np.stack(np.broadcast_arrays(u[:, None], 0.0, v[None]), -1).astype(np.float32)
        relief = sm.noise_bumps(rng, p, rng.uniform(0.5, 2)) * rng.uniform(0, 0.12)
        for _ in range(int(rng.integers(0, 9))):
            c, r, amount = rng.uniform([-wide / 2, 0], [wide / 2, high]), rng.uniform(0.4, 1.5), rng.uniform(-0.5, 0.5)
            dist = (
                np.maximum(np.abs(p[..., 0] - c[0]) * rng.uniform(0.6, 1.6), np.abs(p[..., 2] - c[1]))
                if rng.random() < 0.5
                else np.hypot(p[..., 0] - c[0], p[..., 2] - c[1])
            )
            relief = relief + amount * np.clip((r - dist) / 0.15, 0, 1)
        p[..., 1] += relief.astype(np.float32)
        parts.append(sm.grid(p, 0, smooth=False))
        parts.append(sm.box((wide, 3, high), (0, 1.8, 0), 0))
        for z in np.sort(rng.uniform(0, high, int(rng.integers(1, 5)))):
            parts.append(sm.box((wide + 0.2, rng.uniform(0.3, 1.0), rng.uniform(0.1, 0.4)), (0, 0, z), 1))
        n = int(rng.integers(0, 8))
        for cx in np.linspace(-wide * 0.45, wide * 0.45, n) if n else []:
            parts.append(column(rng, high * 0.95).moved((cx, -rng.uniform(0.5, 0.9), 0)))
        if rng.random() < 0.5:
            parts.append(
                sm.prism([(-wide / 2 - 0.3, 0), (wide / 2 + 0.3, 0), (0, wide * 0.18)], 2.0, 1).moved((0, 0.4, high))
            )
    else:  # free columns, arch, or a tower
        n = int(rng.integers(2, 9))
        for cx in np.linspace(-wide / 2, wide / 2, n):
            parts.append(column(rng, high * rng.uniform(0.4, 0.8)).moved((cx, 0, 0)))
        if rng.random() < 0.7:
            parts.append(sm.box((wide + 1.5, 1.4, 0.8), (0, 0, high * 0.8), 1))
        t = np.linspace(0, np.pi, 14)
        r = rng.uniform(1.2, 3)
        parts.append(sm.tube(np.stack([np.cos(t) * r, 0 * t - 1.5, np.sin(t) * r + 2.2], 1), 0.4, 8, 1))
        for s in (-1, 1):
            parts.append(sm.box((0.8, 0.8, 2.3), (s * r, -1.5, 0), 0))
        parts.append(
            sm.lathe([(3, 0), (2.6, high), (3, high), (0.1, high + 4)], int(rng.choice([4, 8, 20])), 0, False).moved(
                (rng.normal(0, 8), 10, 0)
            )
        )
    if rng.random() < 0.4:  # stairs
        n = int(rng.integers(2, 10))
        for k in range(n):
            parts.append(sm.box((wide * 0.6, 0.35 * (n - k) + 0.5, 0.16), (0, -0.175 * (n - k) - 0.25, 0.16 * k), 1))
    if parts:
        scene.add(sm.join(parts), [stone, trim])
    sights = [(0.0, -0.5, high * 0.4), (wide * 0.3, -0.5, 1.6), (-wide * 0.3, -0.5, 2.0)]
    for _ in range(int(rng.integers(0, 9))):
        role = ("statue", "statue", "street", "person", "person", "bush", "tree", "vehicle", "plant", "bike")[
            int(rng.integers(10))
        ]
        thing = lib.pick(rng, role)
        x, y = rng.normal(0, wide * 0.5), -rng.uniform(1.5, 12)
        k = rng.uniform(1.0, 2.2) if role == "statue" else 1.0
        lib.place(scene, rng, thing, (x, y, 0), rng.uniform(0, 6.28), k)
        if role in ("statue", "street"):
            sights.append((x, y, thing.size[2] * k * 0.6))
    for _ in range(int(rng.integers(0, 12))):
        a, r = rng.uniform(0, 6.28), rng.uniform(20, 60)
        if np.sin(a) > 0:
            lib.place(scene, rng, lib.pick(rng, "tree"), (np.cos(a) * r, np.sin(a) * r, 0), a)
        else:
            block(
                rng,
                lib,
                scene,
                (np.cos(a) * r, np.sin(a) * r - 8, 0),
                np.pi + rng.normal(0, 0.4),
                12.0,
                rng.uniform(5, 15),
                8.0,
            )

    def stand(rng):
        t = np.array(sights[int(rng.integers(len(sights)))]) + rng.normal(0, 0.6, 3)
        a, r = rng.normal(-np.pi / 2, 0.6), rng.uniform(2.0, 9) if rng.random() < 0.5 else rng.uniform(6, 30)
        place = t + [np.cos(a) * r, np.sin(a) * r, 0]
        place[2] = rng.uniform(1.2, 2.0)
        return place, t

    return Built(scene, (0, -4, 0), 26.0, stand, 0.8, (30, 55, 75))


def column(rng, high: float) -> sm.Part:
    """Base, tapered shaft, capital."""
    r = rng.uniform(0.18, 0.5)
    profile = [
        (r * 1.5, 0),
        (r * 1.5, 0.15),
        (r * 1.2, 0.3),
        (r, 0.4),
        (r * 0.85, high - 0.5),
        (r * 1.2, high - 0.3),
        (r * 1.5, high - 0.15),
        (r * 1.5, high),
    ]
    return sm.lathe(profile, int(rng.choice([8, 18, 24])), 1)
