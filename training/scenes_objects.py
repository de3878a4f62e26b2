"""Things that stand in the training scenes: furniture, plants, people, vehicles, stones, made of simple shapes.

A `Thing` is a part whose slots name the kind of material they want; every time it is placed it gets other materials.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training import scenes_mesh as sm
from training.render import Material


@dataclass(frozen=True)
class Thing:
    """A part standing on the origin, and for each of its slots a kind or group of materials, or a fixed material."""

    part: sm.Part
    wants: tuple
    name: str = ""

    @property
    def size(self) -> np.ndarray:
        return self.part.high - self.part.low


def _legs(w: float, d: float, h: float, thick: float, slot: int) -> sm.Part:
    x, y = w / 2 - thick, d / 2 - thick
    at = [[sx * x, sy * y, h / 2] for sx in (-1, 1) for sy in (-1, 1)]
    return sm.boxes(at, [[thick, thick, h]] * 4, slot)


def make_chair(rng) -> Thing:
    w, h = rng.uniform(0.4, 0.55), rng.uniform(0.42, 0.5)
    parts = [_legs(w, w, h, rng.uniform(0.025, 0.05), 0), sm.box((w, w, 0.05), (0, 0, h), 1)]
    back = rng.uniform(0.35, 0.6)
    if rng.random() < 0.5:
        parts.append(sm.box((w, 0.04, back), (0, w / 2, h + 0.08), 1))
    else:
        n = int(rng.integers(3, 7))
        xs = np.linspace(-w / 2 + 0.03, w / 2 - 0.03, n)
        parts.append(sm.boxes([[x, w / 2, h + back / 2] for x in xs], [[0.03, 0.03, back]] * n, 0))
        parts.append(sm.box((w, 0.04, 0.08), (0, w / 2, h + back), 0))
    if rng.random() < 0.3:
        parts.append(sm.ellipsoid((w, w, 0.1), 12, 1, 0.4).moved((0, 0, h + 0.03)))
    return Thing(sm.join(parts), ("furniture", "cloth" if rng.random() < 0.5 else "furniture"), "chair")


def make_table(rng) -> Thing:
    w, d, h = rng.uniform(0.8, 2.0), rng.uniform(0.6, 1.0), rng.choice([0.45, 0.72, 0.74, 0.76])
    top = rng.uniform(0.02, 0.05)
    if rng.random() < 0.3:
        r = d / 2 + 0.1
        parts = [
            sm.cylinder(r, top, 24, 0).moved((0, 0, h - top)),
            sm.cylinder(0.05, h - top, 10, 1),
            sm.cylinder(0.3, 0.04, 16, 1),
        ]
    else:
        parts = [sm.box((w, d, top), (0, 0, h - top), 0), _legs(w, d, h - top, rng.uniform(0.04, 0.08), 1)]
        if rng.random() < 0.6:
            parts.append(sm.box((w - 0.1, d - 0.1, 0.08), (0, 0, h - top - 0.08), 1))
        if rng.random() < 0.4:
            parts.append(sm.box((0.4, d - 0.1, h - top - 0.1), (w / 2 - 0.25, 0, 0.1), 0))
    return Thing(sm.join(parts), ("furniture", "furniture"), "table")


def make_bed(rng) -> Thing:
    w, d, h = rng.uniform(0.9, 2.0), rng.uniform(1.9, 2.1), rng.uniform(0.3, 0.5)
    parts = [
        sm.box((w, d, h - 0.15), (0, 0, 0.05), 0),
        sm.ellipsoid((w, d, 0.28), 20, 1, 0.25).moved((0, 0, h - 0.12)),
        sm.box((w + 0.05, 0.06, rng.uniform(0.7, 1.2)), (0, d / 2, 0), 0),
    ]
    blanket = sm.ellipsoid((w + 0.06, d * 0.65, 0.2), 24, 2, 0.3).moved((0, -d * 0.17, h))
    parts.append(sm.lumpy(rng, blanket, 0.4, 0.02))
    for k in range(1 if w < 1.3 else 2):
        pillow = sm.ellipsoid((0.6, 0.4, 0.18), 14, 3, 0.5)
        parts.append(
            sm.lumpy(rng, pillow, 0.25, 0.015).moved(((k - 0.5) * 0.8 if w > 1.3 else 0, d / 2 - 0.3, h + 0.08))
        )
    return Thing(sm.join(parts), ("furniture", "cloth", "cloth", "cloth"), "bed")


def make_sofa(rng) -> Thing:
    w, d, h = rng.uniform(0.8, 2.4), rng.uniform(0.8, 1.0), rng.uniform(0.36, 0.46)
    power = rng.uniform(0.15, 0.4)
    parts = [
        sm.box((w, d, h * 0.6), (0, 0, 0.06), 0),
        sm.ellipsoid((w, 0.25, rng.uniform(0.6, 0.9)), 16, 0, power).moved((0, d / 2 - 0.12, 0.1)),
        sm.ellipsoid((0.2, d, h + 0.2), 16, 0, power).moved((-w / 2, 0, 0)),
        sm.ellipsoid((0.2, d, h + 0.2), 16, 0, power).moved((w / 2, 0, 0)),
    ]
    n = max(1, round(w / 0.7))
    for k in range(n):
        x = (k + 0.5) * (w - 0.2) / n - (w - 0.2) / 2
        seat = sm.ellipsoid(((w - 0.2) / n, d - 0.2, 0.22), 14, 1, 0.3)
        parts.append(sm.lumpy(rng, seat, 0.3, 0.01).moved((x, -0.05, h * 0.6)))
        if rng.random() < 0.5:
            cushion = sm.ellipsoid((0.45, 0.16, 0.45), 14, 2, 0.5)
            parts.append(cushion.moved((x, d / 2 - 0.3, h + 0.08), rng.normal(0, 0.2), matrix=sm.turn_matrix(0, -0.25)))
    return Thing(sm.join(parts), ("cloth", "cloth", "cloth"), "sofa")


def make_shelf(rng) -> Thing:
    """A bookcase with books and boxes, or a closed cupboard."""
    w, d, h = rng.uniform(0.6, 1.8), rng.uniform(0.25, 0.45), rng.uniform(0.8, 2.2)
    t = 0.025
    n = max(2, int(h / rng.uniform(0.28, 0.45)))
    parts = [
        sm.boxes([[-w / 2, 0, h / 2], [w / 2, 0, h / 2]], [[t, d, h]] * 2, 0),
        sm.box((w, t, h), (0, d / 2, 0), 0),
        sm.boxes([[0, 0, (k + 0.5) * t + k * (h - t) / n] for k in range(n + 1)], [[w, d, t]] * (n + 1), 0),
    ]
    if rng.random() < 0.3:  # doors
        columns = max(1, round(w / 0.5))
        for k in range(columns):
            x = (k + 0.5) * w / columns - w / 2
            parts.append(sm.box((w / columns - 0.01, 0.02, h - 0.08), (x, -d / 2 - 0.01, 0.06), 1))
            parts.append(sm.box((0.02, 0.03, 0.12), (x + w / columns * 0.35, -d / 2 - 0.03, h * 0.5), 2))
    else:
        centers, sizes, slots = [], [], []
        step = (h - t) / n
        for k in range(n):
            x, z = -w / 2 + 0.03, k * step + t
            while x < w / 2 - 0.06 and rng.random() < 0.985:
                if rng.random() < 0.1:
                    x += rng.uniform(0.03, 0.3)
                    continue
                big = rng.random() < 0.08
                bw = rng.uniform(0.12, 0.3) if big else rng.uniform(0.012, 0.055)
                bh = min(step - 0.04, rng.uniform(0.08, 0.25) if big else rng.uniform(0.15, 0.33))
                bd = rng.uniform(0.12, d - 0.06)
                if x + bw > w / 2 - 0.02:
                    break
                centers.append([x + bw / 2, d / 2 - 0.02 - bd / 2 - rng.uniform(0, 0.04), z + bh / 2])
                sizes.append([bw * 0.95, bd, bh])
                slots.append(1 + int(rng.integers(0, 9)))
                x += bw
        if centers:
            parts.append(sm.boxes(centers, sizes, slots))
    wants = ("furniture", "thing", "thing", "paint", "paint", "paint", "fabric", "poster", "paint", "spines")
    return Thing(sm.join(parts), wants, "shelf")


def make_lamp(rng) -> Thing:
    h = rng.choice([rng.uniform(0.3, 0.6), rng.uniform(1.3, 1.8)])
    r = rng.uniform(0.1, 0.25)
    shade = sm.lathe([(r, h - r * 1.2), (r * rng.uniform(0.4, 1), h)], 16, 1)
    parts = [sm.cylinder(0.012 + 0.01 * h, h - r * 0.8, 8, 0), sm.cylinder(0.05 + 0.07 * h, 0.03, 16, 0), shade]
    glow = Material(cell=1, tile=1.5, tint=(1.0, 0.9, 0.7), emit=float(rng.uniform(0, 5)), casts=False)
    return Thing(sm.join(parts), ("metal", glow), "lamp")


def make_vase(rng) -> Thing:
    """Bottles, vases, cups, bowls: something turned."""
    n = int(rng.integers(4, 9))
    h, r = rng.uniform(0.05, 0.35), rng.uniform(0.025, 0.12)
    z = np.sort(rng.uniform(0, 1, n)) * h
    z[0], z[-1] = 0, h
    radius = np.interp(np.linspace(0, 1, 24), np.linspace(0, 1, n), r * rng.uniform(0.25, 1, n))
    profile = np.stack([radius, np.interp(np.linspace(0, 1, 24), np.linspace(0, 1, n), z)], 1)
    parts = [sm.lathe(np.concatenate([[[0, 0]], profile]), 18, 0)]
    if rng.random() < 0.5:
        parts.append(sm.lathe(np.stack([profile[:, 0] * 0.9, profile[:, 1]], 1)[::-1], 18, 1))
    else:
        parts.append(sm.lathe([profile[-1], (0, h)], 18, 1))
    if rng.random() < 0.3:
        t = np.linspace(-np.pi / 2, np.pi / 2, 8)
        handle = np.stack([profile[10, 0] + np.cos(t) * r * 0.5, 0 * t, h * 0.5 + np.sin(t) * h * 0.3], 1)
        parts.append(sm.tube(handle, 0.006, 6, 0))
    return Thing(sm.join(parts), ("thing", "thing"), "vase")


def make_box_thing(rng) -> Thing:
    """Boxes, books, packets, balls, fruit, tins."""
    kind = rng.integers(0, 5)
    s = rng.uniform(0.04, 0.35)
    if kind <= 1:
        size = s * rng.uniform(0.2, 1.0, 3)
        parts = [sm.box(size, (0, 0, 0), 0)]
        if rng.random() < 0.4:
            parts.append(sm.box(size * [0.96, 0.96, 0.3], (0, 0, size[2]), 1))
    elif kind == 2:
        parts = [sm.ellipsoid(s * rng.uniform(0.4, 1, 3), 16, 0, rng.uniform(0.3, 1.0))]
    elif kind == 3:
        parts = [sm.cylinder(s * 0.3, s * rng.uniform(0.3, 1.3), 18, 0)]
    else:  # a pile of books or sheets
        n, z, parts = int(rng.integers(2, 7)), 0.0, []
        for _ in range(n):
            t = rng.uniform(0.008, 0.05)
            size = (rng.uniform(0.12, 0.22), rng.uniform(0.18, 0.3), t)
            parts.append(sm.box(size, (0, 0, 0), int(rng.integers(0, 2))).moved((0, 0, z), rng.normal(0, 0.2)))
            z += t
    return Thing(sm.join(parts), ("thing", "thing"), "box")


def make_monitor(rng) -> Thing:
    w = rng.uniform(0.35, 0.75)
    h = w * rng.uniform(0.55, 0.75)
    z = rng.uniform(0.06, 0.16)
    parts = [
        sm.box((w, 0.04, h), (0, 0, z), 0),
        sm.upright(w - 0.03, h - 0.03, (0, -0.022, z + h / 2), 1),
        sm.cylinder(0.03, z + 0.05, 10, 0),
        sm.box((w * 0.45, 0.18, 0.015), (0, 0, 0), 0),
    ]  # fmt: skip
    return Thing(sm.join(parts), ("paint", "@screen"), "monitor")


def make_keyboard(rng) -> Thing:
    return Thing(sm.box((rng.uniform(0.3, 0.46), 0.15, 0.025), (0, 0, 0), 0), ("keys",), "keyboard")


def make_potted(rng) -> Thing:
    h = rng.uniform(0.25, 1.6)
    r = 0.08 + h * 0.1
    pot = sm.lathe([(0, 0), (r * 0.7, 0), (r, r * 1.5), (r * 0.85, r * 1.5), (0, r * 1.3)], 16, 0)
    n = int(rng.integers(40, 260))
    direction = rng.normal(size=(n, 3)) * [1, 1, 0.8]
    centers = direction / np.linalg.norm(direction, axis=1, keepdims=True) * rng.uniform(0.2, 1, (n, 1)) ** 0.5
    centers = centers * [h * 0.35, h * 0.35, h * 0.4] + [0, 0, r * 1.5 + h * 0.4]
    leaves = sm.cards(rng, centers, 0.03 + 0.07 * h, 1)
    stems = [
        sm.tube(np.linspace([0, 0, r], c, 4) + rng.normal(0, 0.01, (4, 3)), 0.006, 5, 1)
        for c in centers[:: max(1, n // 12)]
    ]
    return Thing(sm.join([pot, leaves, *stems]), ("thing", "foliage"), "potted")


def make_person(rng) -> Thing:
    """Standing or walking, of rounded limbs."""
    h = rng.uniform(1.1, 1.95)
    s = h / 1.75
    stride, swing = rng.uniform(0, 0.35), rng.uniform(0, 0.5)
    hip, shoulder = 0.9 * s, 1.42 * s
    wide = rng.uniform(0.85, 1.3)
    parts = []
    for side in (-1, 1):
        foot = np.array([side * 0.1 * wide, side * stride, 0.05]) * s
        knee = np.array([side * 0.1 * wide, side * stride * 0.4 - 0.05, 0.48]) * s
        top = np.array([side * 0.09 * wide, 0, hip / s]) * s
        parts.append(sm.tube([foot, knee, top], np.array([0.05, 0.065, 0.09]) * s * wide, 9, 1))
        parts.append(sm.ellipsoid((0.1 * s, 0.27 * s, 0.1 * s), 10, 3).moved(foot + [0, -0.06 * s, -0.05]))
        hand = np.array([side * 0.27 * wide, -side * swing * 0.6, 0.78]) * s
        elbow = np.array([side * 0.27 * wide, -side * swing * 0.1 + 0.04, 1.08]) * s
        arm = np.array([side * 0.2 * wide, 0, shoulder / s - 0.03]) * s
        parts.append(sm.tube([hand, elbow, arm], np.array([0.035, 0.045, 0.06]) * s * wide, 8, 0))
        parts.append(sm.ellipsoid(np.array([0.07, 0.07, 0.14]) * s, 8, 2).moved(hand - [0, 0, 0.1 * s]))
    torso = [
        (0.001, hip - 0.05),
        (0.15 * wide * s, hip),
        (0.14 * wide * s, 1.1 * s),
        (0.19 * wide * s, 1.35 * s),
        (0.06 * s, 1.48 * s),
    ]
    parts.append(sm.lathe(torso, 14, 0).moved(scale=(1, 0.65, 1)))
    parts.append(sm.cylinder(0.05 * s, 0.12 * s, 8, 2).moved((0, 0, 1.44 * s)))
    parts.append(sm.ellipsoid(np.array([0.16, 0.2, 0.24]) * s, 12, 2).moved((0, 0, 1.52 * s)))
    parts.append(sm.ellipsoid(np.array([0.18, 0.22, 0.18]) * s, 10, 3).moved((0, 0.015 * s, 1.6 * s)))
    skin = np.array([0.7, 0.42, 0.3]) * rng.uniform(0.15, 1.1)
    return Thing(sm.join(parts), ("cloth", "cloth", Material(cell=1, tile=1.0, tint=tuple(skin)), "paint"), "person")


def make_car(rng) -> Thing:
    """A rounded body on wheels: side outlines blended across the width."""
    length, width, height = rng.uniform(3.5, 5.0), rng.uniform(1.6, 1.95), rng.uniform(1.35, 1.9)
    hood, tail = rng.uniform(0.18, 0.3), rng.uniform(0.02, 0.25)
    belt = rng.uniform(0.52, 0.6) * height
    x = np.array(
        [-0.5, -0.5, -0.47, -0.5 + hood, -0.5 + hood + 0.12, 0.5 - tail - 0.1, 0.5 - tail * 0.6, 0.49, 0.5, 0.48]
    )
    z = np.array([0.25, 0.4, belt - 0.12, belt, height, height * 0.98, belt + 0.08, belt - 0.05, 0.45, 0.25])
    t = np.linspace(0, 1, 40)
    k = np.linspace(0, 1, len(x))
    side = np.stack([np.interp(t, k, x) * length, np.interp(t, k, z)], 1)
    across = np.array([-1, -0.97, -0.8, -0.4, 0, 0.4, 0.8, 0.97, 1])
    points = np.zeros((len(side), len(across), 3), np.float32)
    for j, a in enumerate(across):
        inset = np.where(side[:, 1] > belt, 1 - 0.18 * (side[:, 1] - belt) / (height - belt), 1.0)
        drop = (np.abs(a) > 0.9) * 0.06 + (np.abs(a) > 0.99) * 0.1
        points[:, j, 0] = side[:, 0] * (1 - 0.02 * abs(a))
        points[:, j, 1] = a * width / 2 * inset
        points[:, j, 2] = side[:, 1] - drop * (side[:, 1] - 0.3)
    body = sm.grid(points, 0)
    parts = [body]
    for s in (-1, 1):  # closed sides, and panes on them
        ring = points[:, 0 if s < 0 else -1]
        middle = ring.mean(0)
        tri = np.stack([np.broadcast_to(middle, ring[:-1].shape), ring[:-1], ring[1:]], 1).astype(np.float32)
        n = np.broadcast_to(np.float32([0, s, 0]), tri.shape)
        parts.append(sm.Part(tri, n, np.ascontiguousarray(tri[..., [0, 2]]), np.zeros(len(tri), np.int32)))
        y, yt = s * (width / 2 + 0.012), s * (width / 2 * 0.86 + 0.02)
        x0, x1 = (-0.5 + hood + 0.06) * length, (0.5 - tail - 0.04) * length
        parts.append(
            sm.quad(
                (x0, y * 0.97, belt + 0.02),
                (x1, y * 0.97, belt + 0.02),
                (x1 - 0.25, yt, height - 0.12),
                (x0 + 0.3, yt, height - 0.12),
                1,
            )
        )
        for wx in (-0.31, 0.3):
            wheel = sm.cylinder(rng.uniform(0.29, 0.34), 0.2, 18, 2).moved(matrix=sm.turn_matrix(0, np.pi / 2))
            parts.append(wheel.moved((wx * length, s * width / 2 - (0.05 if s < 0 else -0.13), 0.32)))
            hub = sm.cylinder(0.2, 0.02, 12, 3).moved(matrix=sm.turn_matrix(0, np.pi / 2))
            parts.append(hub.moved((wx * length, s * (width / 2 + 0.06), 0.32)))
    for x0, x1, z0, z1 in (
        (-0.5 + hood, -0.5 + hood + 0.115, belt + 0.04, height - 0.04),
        (0.5 - tail * 0.6, 0.5 - tail - 0.09, belt + 0.12, height - 0.06),
    ):
        d = -0.025 if x0 < 0 else 0.025
        y = width * 0.38
        parts.append(
            sm.quad(
                (x0 * length + d, -y, z0),
                (x0 * length + d, y, z0),
                (x1 * length + d, y * 0.9, z1),
                (x1 * length + d, -y * 0.9, z1),
                1,
            )
        )
    for xs, slot in ((-1, 4), (1, 5)):
        parts.append(
            sm.boxes(
                [[xs * length * 0.492, s * width * 0.36, belt - 0.2] for s in (-1, 1)], [[0.06, 0.3, 0.14]] * 2, slot
            )
        )
        parts.append(sm.box((0.05, 0.5, 0.12), (xs * length * 0.49, 0, 0.42), 4))
    # turned so that its front looks toward -y
    part = sm.join(parts).moved(yaw=np.pi / 2)
    glass = Material(cell=1, tile=1.0, tint=(0.02, 0.025, 0.03), shine=0.8, gloss=120.0, mirror=0.6)
    tyre = Material(cell=1, tile=1.0, tint=(0.015, 0.015, 0.015))
    hub = Material(cell=1, tile=1.0, tint=(0.35, 0.35, 0.36), shine=0.5)
    lamp = Material(cell=1, tile=1.0, tint=(0.8, 0.8, 0.75), shine=0.8)
    red = Material(cell=1, tile=1.0, tint=(0.4, 0.01, 0.01), shine=0.6)
    return Thing(part, ("@car", glass, tyre, hub, lamp, red), "car")


def make_tree(rng) -> Thing:
    """Trunk, branches and a crown of leaves over dark lumps; or a conifer; or bare."""
    h = rng.uniform(3.5, 14)
    kind = rng.random()
    trunk_r = h * rng.uniform(0.012, 0.03)
    lean = rng.normal(0, 0.03 * h, (6, 3)) * [1, 1, 0]
    lean[0] = 0
    if kind < 0.25:
        trunk = sm.tube(np.linspace([0, 0, 0], [0, 0, h * 0.95], 6), np.linspace(trunk_r, 0.02, 6), 7, 0)
        parts = [trunk]
        n = int(rng.integers(5, 10))
        spread = h * rng.uniform(0.14, 0.28)
        for k in range(n):
            z0 = h * (0.12 + 0.85 * k / n)
            r = spread * (1 - k / n) + 0.1
            cone = sm.lathe([(0.05, z0), (r, z0 - 0.05 * h), (r * 0.3, z0 + 0.08 * h), (0.01, z0 + 1.3 * h / n)], 12, 1)
            parts.append(sm.lumpy(rng, cone, r * 0.6, r * 0.1))
        t = rng.random(900) ** 0.6
        a = rng.uniform(0, 6.28, 900)
        r = spread * (1 - t) * rng.uniform(0.5, 1.1, 900)
        centers = np.stack([np.cos(a) * r, np.sin(a) * r, h * (0.1 + 0.9 * t)], 1)
        parts.append(sm.cards(rng, centers, 0.025 * h, 1, np.stack([np.cos(a), np.sin(a), 0.3 + 0 * a], 1)))
        return Thing(sm.join(parts), ("wood", "foliage"), "conifer")
    fork = h * rng.uniform(0.2, 0.45)
    trunk = np.linspace([0, 0, 0], [0, 0, h * 0.75], 6) + np.cumsum(lean, 0) * 0.4
    parts = [sm.tube(trunk, np.linspace(trunk_r, trunk_r * 0.3, 6), 9, 0)]
    clusters = []
    for _ in range(int(rng.integers(6, 13))):
        start = trunk[int(rng.integers(2, 6))]
        a, up = rng.uniform(0, 6.28), rng.uniform(0.1, 0.9)
        end = start + np.array([np.cos(a), np.sin(a), up]) * h * rng.uniform(0.12, 0.32)
        bow = np.linspace(start, end, 5) + rng.normal(0, 0.012 * h, (5, 3)) * np.linspace(0, 1, 5)[:, None]
        parts.append(sm.tube(bow, np.linspace(trunk_r * 0.45, 0.012, 5), 6, 0))
        clusters.append((bow[-1], h * rng.uniform(0.09, 0.2)))
        for _ in range(2 if kind < 0.85 else 6):
            tip = bow[int(rng.integers(2, 5))] + rng.normal(0, 0.07 * h, 3)
            parts.append(sm.tube(np.linspace(bow[2], tip, 3), [trunk_r * 0.2, 0.012, 0.005], 5, 0))
            clusters.append((tip, h * rng.uniform(0.05, 0.12)))
    if kind < 0.9:
        dense = rng.random() < 0.7
        for center, r in clusters:
            center = np.maximum(center, [-99, -99, fork])
            if dense:
                blob = sm.ellipsoid((2 * r, 2 * r, 1.6 * r), 10, 1)
                parts.append(sm.lumpy(rng, blob, r * 0.6, r * 0.16).moved(center - [0, 0, 0.8 * r]))
            n = 70 if dense else 110
            d = rng.normal(size=(n, 3))
            d /= np.linalg.norm(d, axis=1, keepdims=True)
            c = center + d * r * rng.uniform(0.75, 1.25, (n, 1)) * [1, 1, 0.8]
            parts.append(sm.cards(rng, c, 0.012 * h + 0.07, 1, d))
    return Thing(sm.join(parts), ("wood", "foliage"), "tree")


def make_bush(rng) -> Thing:
    parts = []
    for _ in range(int(rng.integers(1, 5))):
        s = rng.uniform(0.4, 1.6, 3) * [1, 1, 0.8]
        at = rng.normal(0, 0.4, 3) * [1, 1, 0]
        parts.append(sm.lumpy(rng, sm.ellipsoid(s, 14, 0), s.min() * 0.4, s.min() * 0.09).moved(at - [0, 0, 0.1]))
        d = rng.normal(size=(160, 3))
        d /= np.linalg.norm(d, axis=1, keepdims=True)
        parts.append(sm.cards(rng, d * s / 2 * rng.uniform(0.9, 1.2, (160, 1)) + [0, 0, s[2] / 2] + at, 0.06, 0, d))
    return Thing(sm.join(parts), ("foliage",), "bush")


def make_rock(rng) -> Thing:
    s = rng.uniform(0.15, 1.0, 3) * rng.uniform(0.5, 2.5)
    base = sm.ellipsoid(s, 24, 0, rng.uniform(0.5, 1))
    rock = sm.lumpy(rng, base, s.min() * 0.9, s.min() * 0.14)
    return Thing(sm.lumpy(rng, rock, s.min() * 0.25, s.min() * 0.03), ("masonry",), "rock")


def make_statue(rng) -> Thing:
    """A carved stone: turned, stacked, lumped, or a figure, on a base or not."""
    parts = []
    z = 0.0
    if rng.random() < 0.6:
        w = rng.uniform(0.4, 0.9)
        for _ in range(int(rng.integers(1, 4))):
            t = rng.uniform(0.06, 0.4)
            parts.append(sm.box((w, w, t), (0, 0, z), 0))
            z, w = z + t, w * rng.uniform(0.8, 1.05)
    kind = rng.integers(0, 4)
    if kind == 0:
        figure = make_person(rng).part.slotted(1)
        parts.append(sm.lumpy(rng, figure, 0.12, 0.012).moved((0, 0, z)))
    elif kind == 1:
        n = int(rng.integers(6, 14))
        r = np.interp(np.linspace(0, 1, 60), np.linspace(0, 1, n), rng.uniform(0.08, 0.4, n))
        part = sm.lathe(np.stack([r, np.linspace(0, rng.uniform(0.5, 1.6), 60)], 1), 40, 1)
        part = sm.join([part, sm.lathe([(r[-1], part.high[2]), (0, part.high[2])], 40, 1)])
        parts.append(sm.lumpy(rng, part, 0.1, rng.uniform(0.0, 0.02)).moved((0, 0, z)))
    else:
        for _ in range(int(rng.integers(2, 7))):
            s = rng.uniform(0.2, 0.8, 3)
            blob = sm.ellipsoid(s, 36, 1, rng.uniform(0.4, 1.1))
            blob = sm.lumpy(rng, blob, s.min() * 0.5, s.min() * 0.08)
            blob = sm.lumpy(rng, blob, s.min() * 0.12, s.min() * 0.02)
            parts.append(blob.moved((*rng.normal(0, 0.15, 2), z)))
            z += s[2] * rng.uniform(0.4, 0.9)
    return Thing(sm.join(parts), ("masonry", "stone" if rng.random() < 0.7 else "marble"), "statue")


def make_bike(rng) -> Thing:
    """Two wheels and tubes."""
    r, base, t = rng.uniform(0.28, 0.36), rng.uniform(0.95, 1.35), rng.uniform(0.012, 0.05)
    parts = []
    for x in (-base / 2, base / 2):
        wheel = sm.torus(r - t, max(0.015, t), 26, 0).moved((0, 0, -t)).moved(matrix=sm.turn_matrix(0, np.pi / 2))
        parts.append(wheel.moved((x, 0, r)))
        for a in np.linspace(0, np.pi, 7)[:-1]:
            d = np.array([np.cos(a), 0, np.sin(a)]) * (r - t)
            parts.append(sm.tube([[x, 0, r] - d, [x, 0, r] + d], 0.004, 4, 2))
    seat, crank, head = (base * 0.18, 0, 0.85), (0.05, 0, r), (-base * 0.36, 0, 0.9)
    for a, b in (
        (seat, crank),
        (head, crank),
        (seat, head),
        (seat, (base / 2, 0, r)),
        (crank, (base / 2, 0, r)),
        (head, (-base / 2, 0, r)),
    ):
        parts.append(sm.tube(np.linspace(a, b, 3), rng.uniform(0.014, 0.03), 7, 1))
    parts.append(sm.tube([(head[0], -0.3, 1.02), (head[0] - 0.05, 0, 0.98), (head[0], 0.3, 1.02)], 0.014, 6, 2))
    parts.append(sm.ellipsoid((0.28, 0.16, 0.09), 10, 3).moved((seat[0], 0, 0.86)))
    if rng.random() < 0.5:  # a motor and a tank
        parts.append(sm.ellipsoid((0.45, 0.28, 0.4), 16, 2, 0.5).moved((0, 0, r - 0.1)))
        parts.append(sm.ellipsoid((0.5, 0.26, 0.26), 16, 1, 0.7).moved((-0.12, 0, 0.68)))
        parts.append(sm.tube([(0, 0.15, r), (0.3, 0.17, r - 0.05), (0.6, 0.17, r)], 0.04, 9, 2))
    tyre = Material(cell=1, tile=1.0, tint=(0.015, 0.015, 0.015))
    return Thing(sm.join(parts).moved(yaw=np.pi / 2), (tyre, "@car", "metal", "paint"), "bike")


# Role -> how it is made, and how many variants a library has.
MAKERS = {
    "chair": (make_chair, 6),
    "table": (make_table, 6),
    "bed": (make_bed, 3),
    "sofa": (make_sofa, 4),
    "storage": (make_shelf, 8),
    "lamp": (make_lamp, 4),
    "plant": (make_potted, 4),
    "person": (make_person, 8),
    "vehicle": (make_car, 6),
    "small": (make_box_thing, 24),
    "vase": (make_vase, 12),
    "monitor": (make_monitor, 4),
    "keyboard": (make_keyboard, 2),
    "large": (make_shelf, 2),
    "wall": (make_monitor, 1),
    "street": (make_rock, 2),
    "bike": (make_bike, 3),
    "tree": (make_tree, 14),
    "bush": (make_bush, 8),
    "rock": (make_rock, 8),
    "statue": (make_statue, 8),
}
