"""Scenes of the benchmark: a front of equal windows, an arcade with deep vaults, a village from the air."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

import scene_textures as tx
from scene_indoors import rock, rod
from scene_sets import Part
from scene_shapes import Shape, box, ellipsoid, grid_faces, height_field, lathe, smooth_curve, turned

X, Y, Z = np.eye(3)
ZERO = np.zeros(3)


def repetitive(rng: np.random.Generator) -> tuple[list[Part], np.ndarray]:
    """A front of fifteen equal windows, 11 m by 7.4 m, on a wall whose bricks repeat every metre. Stains, blinds drawn
    to different heights, a door, a pipe and a few flower pots are all that tells one place from another."""
    tile = tx.bricks(rng, 512, 12)
    tile = tile.mean((0, 1)) * (tile / tile.mean((0, 1))) ** 0.7
    regular, dirt = tx.Texture.of(tile, 1.0 / 512), tx.Texture.of(_stains(rng, 0.10), 11.0 / 2048)
    wall = tx.box_mapped(regular, 16)
    stained = tx.box_mapped(dirt, 16)

    def front(points: np.ndarray, normals: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        return wall(points, normals, footprint) * stained(points, normals, footprint)

    plaster = rock(rng, 1024, (204, 196, 178), 0.003, 0.5)
    frame = rock(rng, 512, (222, 218, 208), 0.002, 0.25)
    pane = rock(rng, 1024, (66, 78, 88), 0.003, 0.4)
    blind = rock(rng, 512, (196, 176, 132), 0.002, 0.4)
    clay = rock(rng, 512, (176, 96, 62), 0.001, 0.8)
    leaf = rock(rng, 512, (70, 110, 48), 0.001, 1.2)
    street = tx.box_mapped(tx.Texture.of(_slabs(rng), 4.0 / 1024), 16)
    holes = [(0.5 + 2 * c + 0.5, 0.5 + 2 * c + 1.5, 0.9 + 2.2 * r, 2.4 + 2.2 * r) for r in range(3) for c in range(5)]
    holes[3] = (7.0, 8.0, 0.0, 2.4)
    xs = sorted({0.0, 11.0, *(h[0] for h in holes), *(h[1] for h in holes)})
    zs = sorted({0.0, 7.4, *(h[2] for h in holes), *(h[3] for h in holes)})
    parts = []
    for x0, x1 in pairwise(xs):
        for z0, z1 in pairwise(zs):
            if not any(h[0] <= x0 and x1 <= h[1] and h[2] <= z0 and z1 <= h[3] for h in holes):
                parts.append(Part(box([x0, 0, z0], [x1, 0.4, z1], 0.12), front))
    for k, (x0, x1, z0, z1) in enumerate(holes):
        parts.append(Part(box([x0, 0.24, z0], [x1, 0.30, z1], 0.12), clay if k == 3 else pane))
        for bar in np.linspace(x0, x1, 3):
            parts.append(Part(box([bar - 0.035, 0.17, z0], [bar + 0.035, 0.25, z1], 0.12, 0.008), frame))
        for bar in np.linspace(z0, z1, 4):
            parts.append(Part(box([x0, 0.18, bar - 0.03], [x1, 0.25, bar + 0.03], 0.12, 0.008), frame))
        if k == 3:
            continue
        parts.append(Part(box([x0 - 0.08, -0.13, z0 - 0.09], [x1 + 0.08, 0.1, z0], 0.06, 0.012), plaster))
        if (down := float(rng.choice([0.0, 0.3, 0.6, 0.9, 1.3]))) > 0:
            parts.append(Part(box([x0 + 0.03, 0.12, z1 - down], [x1 - 0.03, 0.15, z1], 0.08, 0.004), blind))
        if k in (5, 7, 14):
            for x in rng.uniform(x0 + 0.1, x1 - 0.1, 2):
                pot = turned(lathe(np.array([0, 0, 0.18, 0.17]), np.array([0.001, 0.06, 0.085, 0.001]), 24), 0, ZERO)
                place = np.array([x, -0.03, z0])
                parts.append(Part((pot[0] + place, pot[1]), clay))
                parts.append(Part(ellipsoid(place + [0, 0, 0.27], rng.uniform(0.09, 0.13, 3), 16), leaf))
    for z in (2.72, 4.92):
        parts.append(Part(box([0.0, -0.05, z], [11.0, 0.1, z + 0.14], 0.12, 0.015), plaster))
    parts.append(Part(box([-0.2, -0.25, 7.2], [11.2, 0.4, 7.5], 0.12, 0.02), plaster))
    parts.append(Part(rod([4.5, -0.08, 0.0], [4.5, -0.08, 7.2], 0.1, 16), frame))
    parts.append(Part(box([-1, -4.5, -0.2], [12, 0.4, 0.0], 0.25), street))
    return parts, np.array([5.5, 0.0, 3.4])


def _stains(rng: np.random.Generator, strength: float) -> np.ndarray:
    """A factor about 1 that varies slowly, (2048, 2048, 3), with a few streaks of rain."""
    streaks = cv2.blur(np.clip(tx.noise_tile(rng, 2048, 0.6, low=20) - 1.2, 0, 2), (3, 301))
    light = strength * tx.noise_tile(rng, 2048, 1.4, low=2) - 3 * strength * streaks
    return np.exp(np.repeat(light[..., None], 3, 2)).astype(np.float32)


def _slabs(rng: np.random.Generator) -> np.ndarray:
    """Paving of 8 by 8 slabs (1024, 1024, 3) that differ a little."""
    tone = np.repeat(np.repeat(rng.normal(size=(8, 8)) * 0.08, 128, 0), 128, 1)
    y, x = np.mgrid[:1024, :1024] % 128
    joint = ((x < 3) | (y < 3))[..., None]
    color = tx.linear(158, 152, 142) * np.exp(tone + 0.10 * tx.noise_tile(rng, 1024, 0.5, low=6))[..., None]
    return np.clip(np.where(joint, color * 0.4, color), 0.01, 0.9).astype(np.float32)


def concavity(rng: np.random.Generator) -> tuple[list[Part], np.ndarray]:
    """An arcade of three arches before a vaulted passage with a round niche in its back wall, and in front of it a
    stone basin deeper than it is wide."""
    ashlar = tx.box_mapped(tx.Texture.of(tx.stone(rng, 2048, (186, 172, 146), 1.0), 0.0022))
    inner = tx.box_mapped(tx.Texture.of(tx.bricks(rng, 2048, 40) * 1.25, 3.2 / 2048), 12)
    floor = tx.box_mapped(tx.Texture.of(tx.stone(rng, 2048, (150, 138, 124), 1.1), 0.0024), 16)
    dark = rock(rng, 1024, (128, 118, 112), 0.0016)
    half, width, depth, spring, top = 3.0, 1.5, 1.7, 1.55, 3.0
    parts = [Part(box([-half - 0.3, -2.6, -0.2], [half + 0.3, depth + 0.9, 0.0], 0.08), floor)]
    parts += [Part(shape, ashlar) for shape in _arcade(half, width, spring, top, 0.45)]
    # the passage: its vault, its back wall with the niche, its ends
    turn = np.linspace(0, np.pi, 41)
    vault_y, vault_z = 0.45 + depth / 2 * (1 - np.cos(turn)), 2.0 + 0.75 * np.sin(turn)
    xs = np.linspace(-half, half, 76)
    sheet = np.stack(np.broadcast_arrays(xs[None], vault_y[:, None], vault_z[:, None]), -1).reshape(-1, 3)
    parts.append(Part((sheet, grid_faces(41, 76)[:, ::-1].copy()), inner))
    parts.append(Part(box([-half, 0.43, top - 0.3], [half, 0.45 + depth + 0.5, top], 0.1), ashlar))
    back = 0.45 + depth
    for side in (-1, 1):
        low, high = sorted((side * half, side * 0.7))
        parts.append(Part(box([low, back, 0.0], [high, back + 0.5, 2.75], 0.08), inner))
        low, high = sorted((side * half, side * (half + 0.3)))
        parts.append(Part(box([low, 0.0, 0.0], [high, back + 0.5, top], 0.1), ashlar))
    parts += [Part(shape, ashlar) for shape in _niche(0.7, back, 0.45, 1.5, 2.75)]
    figure = smooth_curve(np.array([[0.45, 0.20], [0.52, 0.21], [0.55, 0.12], [0.9, 0.15], [1.25, 0.10], [1.38, 0.055],
                                    [1.5, 0.10], [1.6, 0.085], [1.66, 0.001]]), 80)  # fmt: skip
    parts.append(Part(turned(lathe(*figure.T, 48), 0, np.array([0.0, back + 0.28, 0.0])), dark))
    # the basin: 0.9 m wide, 0.95 m deep, its floor below the ground
    outer = np.array([[0.0, 0.62], [0.12, 0.60], [0.2, 0.52], [0.5, 0.50], [0.62, 0.60], [0.68, 0.60]])
    hollow = np.array([[0.69, 0.56], [0.66, 0.47], [0.45, 0.44], [0.1, 0.41], [0.02, 0.30], [0.0, 0.02]])
    profile = np.concatenate([smooth_curve(outer, 60), smooth_curve(hollow, 70)])
    scale = np.array([1.3, 1.0])
    parts.append(Part(turned(lathe(*(profile * scale).T, 96), 0, np.array([-0.9, -1.35, 0.0])), dark))
    for place, size in (([1.5, -1.2, 0.16], [0.35, 0.28, 0.3]), ([2.2, -0.7, 0.1], [0.2, 0.2, 0.2])):
        parts.append(Part(ellipsoid(np.array(place), np.array(size), 32), dark))
    return parts, np.array([0.0, 0.2, 1.15])


def _arcade(half: float, width: float, spring: float, top: float, thick: float) -> list[Shape]:
    """A wall from -half to half along x, front at y = 0, with three round arches of `width` that spring at `spring`."""
    shapes: list[Shape] = []
    middles = np.array([-1.95, 0.0, 1.95])
    edges = [-half, *np.ravel([[m - width / 2, m + width / 2] for m in middles]), half]
    for a, b in zip(edges[::2], edges[1::2]):
        shapes.append(box([a, 0.0, 0.0], [b, thick, top], 0.08))
        if b - a > 0.2:  # bases and capitals
            for z in (0.0, spring - 0.12):
                shapes.append(box([a - 0.05, -0.05, z], [b + 0.05, thick + 0.05, z + 0.12], 0.06, 0.015))
    for m in middles:
        turn = np.linspace(np.pi, 0, 49)
        x, z = m + width / 2 * np.cos(turn), spring + width / 2 * np.sin(turn)
        rise = np.linspace(0, 1, 16)[:, None]
        wall_z = z + (top - z) * rise
        for y, flip in ((0.0, False), (thick, True)):
            p = np.stack(np.broadcast_arrays(x[None], y, wall_z), -1).reshape(-1, 3)
            faces = grid_faces(16, 49)
            shapes.append((p, faces[:, ::-1].copy() if flip else faces))
        deep = np.linspace(0, thick, 7)[:, None]
        p = np.stack(np.broadcast_arrays(x[None], deep, z[None]), -1).reshape(-1, 3)
        shapes.append((p, grid_faces(7, 49)[:, ::-1].copy()))
    return shapes


def _niche(radius: float, y: float, low: float, spring: float, top: float) -> list[Shape]:
    """A round niche in a wall whose front is at y: half a cylinder, a quarter of a sphere, the wall around it."""
    turn = np.linspace(np.pi, 0, 49)
    x = radius * np.cos(turn)
    shapes = [box([-radius, y - 0.04, 0.0], [radius, y + 0.8, low], 0.06, 0.01)]
    rise = np.linspace(low, spring, 20)[:, None]
    p = np.stack(np.broadcast_arrays(x[None], y + radius * np.sin(turn)[None], rise), -1).reshape(-1, 3)
    shapes.append((p, grid_faces(20, 49)))
    tilt = np.linspace(0, np.pi / 2, 25)[:, None]
    # the half dome as arcs from the front's round arch back to the springing
    arch = np.stack([x, np.zeros(49), radius * np.sin(turn)], -1)
    p = np.stack(
        [
            np.broadcast_to(arch[None, :, 0], (25, 49)),
            y + np.cos(tilt) * arch[None, :, 2],
            spring + np.sin(tilt) * arch[None, :, 2],
        ],
        -1,
    ).reshape(-1, 3)
    shapes.append((p, grid_faces(25, 49)))
    wall_z = spring + radius * np.sin(turn) + (top - spring - radius * np.sin(turn)) * np.linspace(0, 1, 14)[:, None]
    p = np.stack(np.broadcast_arrays(x[None], y, wall_z), -1).reshape(-1, 3)
    shapes.append((p, grid_faces(14, 49)))
    return shapes


def village(rng: np.random.Generator) -> tuple[list[Part], np.ndarray]:
    """Fourteen houses with gardens, trees and roads on hilly ground, 190 m by 140 m, to be seen from 60 m above. The
    world's axes are east, north and up."""
    wide, high = 190.0, 140.0
    hills = 2.2 * tx.noise_tile(rng, 512, 2.4, low=2, high=12)

    def level(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u = (np.asarray(x, np.float32) / 256 % 1 * 512).reshape(-1, 1)
        v = (np.asarray(y, np.float32) / 256 % 1 * 512).reshape(-1, 1)
        at = [cv2.remap(hills, u[k : k + 32000], v[k : k + 32000], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
              for k in range(0, len(u), 32000)]  # fmt: skip
        return np.concatenate(at).reshape(np.shape(x)).astype(np.float64)

    gx, gy = np.linspace(-wide / 2, wide / 2, 286), np.linspace(-high / 2, high / 2, 211)
    land = level(*np.meshgrid(gx, gy))
    map_size = 4096
    image, texel = _land(rng, map_size), wide / map_size
    corner = np.array([-wide / 2, high / 2, 0.0])
    parts = [Part(height_field(gx, gy, land), tx.laid_flat(tx.Texture.of(image, texel), corner, X, -Y))]
    roofs = [
        tx.box_mapped(tx.Texture.of(np.clip(tx.bricks(rng, 1024, 42) * np.array(t, np.float32), 0, 0.9), 12.0 / 1024))
        for t in ((1.0, 1.0, 1.0), (0.75, 0.8, 0.85), (0.55, 0.8, 1.1), (1.2, 0.95, 0.8))
    ]
    walls = [rock(rng, 512, c, 0.02, 0.7) for c in ((224, 214, 190), (206, 184, 150), (216, 220, 218), (190, 150, 120))]
    stack = rock(rng, 256, (140, 80, 66), 0.02)
    places = [(-70, 38), (-46, 40), (-20, 36), (8, 40), (36, 36), (64, 39), (-72, -2), (-44, -6), (16, -4), (46, -4),
              (72, -8), (-60, -42), (-18, -40), (40, -42)]  # fmt: skip
    for k, (x, y) in enumerate(places):
        x, y = x + rng.uniform(-3, 3), y + rng.uniform(-3, 3)
        size = np.array([rng.uniform(9, 13), rng.uniform(7.5, 9.5), rng.uniform(3.5, 6.5), rng.uniform(2.5, 4.0)])
        base = np.array([x, y, float(level(np.array([x]), np.array([y]))[0])])
        angle = rng.uniform(-20, 20) + 90 * (rng.random() < 0.3)
        for shape, albedo in _house(size, (walls[k % 4], roofs[(k * 3 + k // 4) % 4], stack)):
            parts.append(Part(turned(shape, angle, base), albedo))
    greens = [rock(rng, 512, c, 0.03, 1.3) for c in ((74, 104, 50), (96, 116, 58), (60, 88, 52), (120, 112, 60))]
    taken = np.array(places, float)
    count = 0
    while count < 46:
        x, y = rng.uniform(-wide / 2 + 6, wide / 2 - 6), rng.uniform(-high / 2 + 6, high / 2 - 6)
        if np.hypot(*(taken - [x, y]).T).min() < 9 or abs(y - 17 - 4 * np.sin(x / 30)) < 6 or abs(x + 2) < 5:
            continue
        ground = float(level(np.array([x]), np.array([y]))[0])
        tall, broad = rng.uniform(3.5, 8.0), rng.uniform(1.8, 3.2)
        parts.append(Part(_crown(rng, np.array([x, y, ground + tall - broad * 0.6]), broad), greens[count % 4]))
        parts.append(Part(rod([x, y, ground - 0.3], [x, y, ground + tall - broad], 0.5, 8), stack))
        count += 1
    return parts, np.array([0.0, 0.0, 0.0])


def _house(size: np.ndarray, materials: tuple[tx.Albedo, tx.Albedo, tx.Albedo]) -> list[tuple[Shape, tx.Albedo]]:
    """Walls, two slopes of a roof with eaves, gables and a chimney. size: length, width, height to the eaves, rise."""
    a, b, h, rise = size[0] / 2, size[1] / 2, size[2], size[3]
    wall, roof, stack = materials
    shapes: list[tuple[Shape, tx.Albedo]] = [(box([-a, -b, -2.0], [a, b, h], 0.5), wall)]
    t = np.linspace(0, 1, 13)
    for side in (-1, 1):  # gables
        across = np.linspace(-b, b, 13)
        p = np.stack(np.broadcast_arrays(side * a, across[None], h + t[:, None] * rise * (1 - np.abs(across) / b)), -1)
        faces = grid_faces(13, 13)
        shapes.append(((p.reshape(-1, 3), faces if side > 0 else faces[:, ::-1].copy()), wall))
    over, thick = 0.5, 0.18
    along = np.hypot(b, rise)
    c, s = b / along, rise / along
    flat, faces = box([-a - over, -0.02, 0.0], [a + over, along + over, thick], 0.5)
    slope = flat[:, 1:2] * [0, c, -s] + flat[:, 2:] * [0, s, c] + [0, 0, h + rise]
    slope[:, 0] = flat[:, 0]
    shapes += [((slope, faces), roof), ((slope * [-1, -1, 1], faces), roof)]
    shapes.append((box([a * 0.4, -0.4 + b * 0.35, h], [a * 0.4 + 0.9, 0.4 + b * 0.35, h + rise + 0.7], 0.3), stack))
    return shapes


def _crown(rng: np.random.Generator, place: np.ndarray, radius: float) -> Shape:
    """The crown of a tree: a ball with bumps."""
    p, faces = ellipsoid(ZERO, np.ones(3), 30)
    bumps = np.zeros(len(p))
    for d in rng.normal(size=(26, 3)):
        d /= np.linalg.norm(d)
        bumps = np.maximum(bumps, np.exp(-6 * (1 - p @ d) / 0.5) * rng.uniform(0.6, 1.0))
    return p * (radius * (0.78 + 0.30 * bumps))[:, None] * [1, 1, 0.95] + place, faces


def _land(rng: np.random.Generator, size: int) -> np.ndarray:
    """Meadows, gardens, fields and two roads (rows downwards are north to south), (size, size, 3)."""
    scale = size / 190.0
    grass = tx.linear(112, 128, 70) * np.exp(
        0.25 * tx.noise_tile(rng, size, 1.3)[..., None] + 0.28 * tx.noise_tile(rng, size, 0.5, low=40)[..., None]
    )
    image = grass.astype(np.float32)
    for _ in range(26):  # plots with their own colour and rows
        x, y = rng.uniform(0, size, 2)
        w, h = rng.uniform(8, 22, 2) * scale
        turn = float(rng.uniform(-25, 25))
        mask = np.zeros((size, size), np.uint8)
        cv2.fillPoly(mask, [cv2.boxPoints(((x, y), (w, h), turn)).astype(np.int32)], 255)
        tone = tx.linear(*rng.choice([[150, 128, 92], [126, 140, 70], [168, 160, 100], [120, 104, 80]]).tolist())
        yy, xx = np.nonzero(mask)
        rows = 1 + 0.25 * np.sin((xx * np.sin(np.radians(turn)) + yy * np.cos(np.radians(turn))) / scale * 4.2)
        image[yy, xx] = 0.35 * image[yy, xx] + 0.65 * tone * rows[:, None]
    x = np.linspace(0, size, 200)
    road = np.stack([x, (70 - 17 - 4 * np.sin((x / scale - 95) / 30)) * scale], -1).astype(np.int32)
    lane = np.stack([np.full(200, 93 * scale) + 10 * np.sin(x / size * 9), x], -1).astype(np.int32)
    grain = np.exp(0.10 * tx.noise_tile(rng, size, 0.4, low=60) + 0.10 * tx.noise_tile(rng, size, 1.4))[..., None]
    for path, width, tone in ((lane, 3.4, (176, 162, 136)), (road, 5.6, (112, 112, 114))):
        mask = np.zeros((size, size), np.uint8)
        cv2.polylines(mask, [path[:, None]], False, 255, int(width * scale), cv2.LINE_AA)
        cover = mask[..., None] / 255.0
        image = image * (1 - cover) + cover * tx.linear(*tone) * grain
    dashes = np.zeros((size, size), np.uint8)
    for k in range(0, 199, 4):
        cv2.line(dashes, road[k].tolist(), road[k + 1].tolist(), 255, max(int(0.15 * scale), 1), cv2.LINE_AA)
    return np.clip(np.where(dashes[..., None] > 127, 0.6, image), 0.01, 0.9).astype(np.float32)
