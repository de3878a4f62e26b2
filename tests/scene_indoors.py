"""Scenes of the benchmark: a white room, wires and rods, paving seen at grazing angles. Like those of `scene_sets`, but
too large for unit tests."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

import scene_textures as tx
from scene_sets import Part
from scene_shapes import Shape, box, ellipsoid, height_field, lathe, smooth_curve, tube, turned

X, Y, Z = np.eye(3)


def rock(
    rng: np.random.Generator, size: int, color: tuple[int, int, int], texel: float, contrast: float = 1.0
) -> tx.Albedo:
    """Stone of one colour, laid on from three sides."""
    return tx.box_mapped(tx.Texture.of(tx.stone(rng, size, color, contrast), texel))


def rod(a: list[float], b: list[float], diameter: float, columns: int = 10) -> Shape:
    """A straight rod."""
    path = np.linspace(np.array(a, np.float64), np.array(b, np.float64), 24)
    return tube(path, np.full(24, diameter / 2), columns)


def white_room(rng: np.random.Generator) -> tuple[list[Part], np.ndarray]:
    """A corner of a room, 4 m by 4 m and 2.6 m high: two white walls whose paint varies by about a hundredth, a wooden
    floor, furniture and pictures that carry the cameras."""
    paint = tx.linear(232, 228, 219) * np.exp(
        0.010 * tx.noise_tile(rng, 2048, 1.3)[..., None] + 0.012 * tx.noise_tile(rng, 2048, 0.3, low=60)[..., None]
    )
    wall = tx.box_mapped(tx.Texture.of(paint.astype(np.float32), 4.1 / 2048), 16)
    white = rock(rng, 1024, (226, 224, 216), 0.002, 0.05)
    floor = tx.laid_flat(tx.Texture.of(tx.wood(rng, 2048), 4.2 / 2048), np.array([-2.0, 2.0, 0.0]), X, -Y)
    oak = tx.box_mapped(tx.Texture.of(tx.wood(rng, 1024), 0.0016))
    fabric = rock(rng, 1024, (92, 112, 126), 0.0016, 0.55)
    ochre = rock(rng, 512, (188, 142, 60), 0.0016, 0.6)
    parts = [
        Part(box([-2.0, 2.0, 0.0], [2.2, 2.12, 2.6], 0.08), wall),
        Part(box([-2.12, -2.2, 0.0], [-2.0, 2.12, 2.6], 0.08), wall),
        Part(box([-2.0, -2.2, -0.1], [2.2, 2.0, 0.0], 0.08), floor),
        Part(box([-2.0, 1.985, 0.0], [2.2, 2.01, 0.09], 0.1, 0.004), white),
        Part(box([-2.01, -2.2, 0.0], [-1.985, 2.0, 0.09], 0.1, 0.004), white),
    ]
    for x, z, w, h in ((-1.15, 1.45, 0.8, 0.6), (-0.15, 1.6, 0.45, 0.6), (1.35, 1.5, 0.5, 0.7)):
        parts += _picture(rng, oak, np.array([x, 2.0, z]), X, -Y, w, h)
    parts += _picture(rng, oak, np.array([-2.0, -0.05, 1.55]), Y, X, 0.55, 0.75)
    # a door in its frame
    for y in (-1.85, -0.95):
        parts.append(Part(box([-2.01, y - 0.05, 0.0], [-1.96, y + 0.05, 2.1], 0.1, 0.006), white))
    parts.append(Part(box([-2.01, -1.9, 2.05], [-1.96, -0.9, 2.15], 0.1, 0.006), white))
    parts.append(Part(box([-2.01, -1.8, 0.0], [-1.985, -1.0, 2.05], 0.1), white))
    parts.append(Part(rod([-1.99, -1.06, 1.02], [-1.94, -1.06, 1.02], 0.016), oak))
    parts.append(Part(rod([-1.94, -1.07, 1.02], [-1.94, -1.19, 1.02], 0.018), oak))
    for low in ([-2.01, -0.82, 1.05], [-2.01, 0.35, 0.28]):
        parts.append(Part(box(low, np.array(low) + [0.022, 0.08, 0.08], 0.02, 0.004), white))
    # a sofa under the pictures
    for low, high, k in (
        ([-1.7, 1.05, 0.08], [0.35, 1.95, 0.40], 0), ([-1.7, 1.72, 0.38], [0.35, 1.96, 0.85], 0),
        ([-1.86, 1.02, 0.05], [-1.68, 1.96, 0.60], 0), ([0.33, 1.02, 0.05], [0.51, 1.96, 0.60], 0),
        ([-1.62, 1.03, 0.40], [-0.68, 1.74, 0.52], 1), ([-0.66, 1.03, 0.40], [0.30, 1.74, 0.52], 1),
    ):  # fmt: skip
        parts.append(Part(box(low, high, 0.04, 0.045 if k else 0.03), fabric))
    parts.append(Part(turned(box([-0.2, -0.07, 0.0], [0.2, 0.07, 0.38], 0.02, 0.06), 14, np.array([-1.3, 1.62, 0.51])),
                      ochre))  # fmt: skip
    # a low table on a rug
    line_x, line_y = np.linspace(-1.3, 0.9, 60), np.linspace(-0.75, 0.85, 50)
    rug = 0.006 + 0.003 * np.sin(9 * line_x[None] + 2 * np.sin(5 * line_y[:, None]))
    weave = tx.laid_flat(tx.Texture.of(tx.cloth(rng, 2048), 2.2 / 2048), np.array([-1.3, 0.85, 0.0]), X, -Y)
    parts.append(Part(height_field(line_x, line_y, rug), weave))
    parts.append(Part(box([-0.75, -0.3, 0.37], [0.35, 0.4, 0.41], 0.05, 0.006), oak))
    for x in (-0.68, 0.28):
        for y in (-0.23, 0.33):
            parts.append(Part(box([x - 0.025, y - 0.025, 0.0], [x + 0.025, y + 0.025, 0.38], 0.04, 0.004), oak))
    vase = smooth_curve(np.array([[0.41, 0.05], [0.45, 0.09], [0.54, 0.10], [0.62, 0.045], [0.68, 0.06]]), 40)
    parts.append(Part(turned(lathe(*vase.T, 40), 0, np.array([-0.4, 0.12, 0.0])), rock(rng, 512, (58, 92, 104), 0.001)))
    # shelves of books
    for z in (0.02, 0.42, 0.82, 1.22):
        parts.append(Part(box([-1.99, 0.72, z], [-1.69, 1.0 - 0.02 + 0.7, z + 0.022], 0.06, 0.002), white))
        if z < 1.2:
            at = 0.76
            while at < 1.62:
                w, h, d = rng.uniform(0.018, 0.05), rng.uniform(0.2, 0.33), rng.uniform(0.16, 0.24)
                tone = tuple(int(t) for t in rng.integers(40, 190, 3))
                cover = rock(rng, 256, tone, 0.0012, 0.7)
                parts.append(Part(box([-1.98, at, z + 0.02], [-1.98 + d, at + w, z + 0.02 + h], 0.05, 0.003), cover))
                at += w + (0.002 if rng.random() < 0.85 else 0.09)
    for y in (0.70, 1.68):
        parts.append(Part(box([-1.99, y, 0.0], [-1.69, y + 0.022, 1.25], 0.06, 0.002), white))
    # a lamp
    parts.append(Part(rod([1.05, 1.5, 0.02], [1.05, 1.5, 1.5], 0.024), oak))
    parts.append(Part(turned(lathe(np.array([0.0, 0.0, 0.02, 0.03]), np.array([0.001, 0.15, 0.15, 0.02]), 36), 0,
                             np.array([1.05, 1.5, 0.0])), oak))  # fmt: skip
    shade = np.array([[1.42, 0.235], [1.72, 0.15], [1.721, 0.146], [1.421, 0.231], [1.42, 0.235]])
    parts.append(Part(turned(lathe(*shade.T, 48), 0, np.array([1.05, 1.5, 0.0])), white))
    return parts, np.array([-0.75, 0.75, 0.95])


def _picture(
    rng: np.random.Generator, frame: tx.Albedo, middle: np.ndarray, right: np.ndarray, out: np.ndarray, w: float,
    h: float,
) -> list[Part]:  # fmt: skip
    """A framed print on a wall whose face looks along `out`."""

    def slab(a: float, b: float, c: float, d: float, depth: float, bevel: float = 0.0) -> Shape:
        ends = [middle + right * u + Z * v + out * k for u, v, k in ((a, c, -0.002), (b, d, depth))]
        return box(np.minimum(*ends), np.maximum(*ends), 0.05, bevel)

    sheet = tx.printed(rng, int(900 * h / w), 900, (214, 206, 190))
    tint = np.exp(0.5 * tx.noise_tile(rng, 2048, 1.5)[: sheet.shape[0], :900, None] * rng.normal(size=3))
    image = tx.Texture.of(np.clip(sheet * tint, 0.01, 0.95).astype(np.float32), w / 900)
    corner = middle - right * w / 2 + Z * h / 2
    parts = [Part(slab(-w / 2, w / 2, -h / 2, h / 2, 0.012), tx.laid_flat(image, corner, right, -Z))]
    for a, b, c, d in (
        (-w / 2 - 0.03, -w / 2, -h / 2 - 0.03, h / 2 + 0.03), (w / 2, w / 2 + 0.03, -h / 2 - 0.03, h / 2 + 0.03),
        (-w / 2, w / 2, -h / 2 - 0.03, -h / 2), (-w / 2, w / 2, h / 2, h / 2 + 0.03),
    ):  # fmt: skip
        parts.append(Part(slab(a, b, c, d, 0.024, 0.003), frame))
    return parts


def wires(rng: np.random.Generator) -> tuple[list[Part], np.ndarray]:
    """A fence of wires, a chair of rods and wires, and ropes: 3 to 12 mm thick, 1.5 to 6 px in the photos, before
    gravel and a brick wall."""
    pebbles = tx.Texture.of(tx.stone(rng, 4096, (140, 132, 120), 1.2), 5.0 / 4096)
    gravel = tx.laid_flat(pebbles, np.array([-2.5, 2.5, 0.0]), X, -Y)
    brick = tx.box_mapped(tx.Texture.of(tx.bricks(rng, 2048, 30), 2.3 / 2048), 16)
    steel = rock(rng, 512, (150, 154, 156), 0.0012, 0.9)
    post = rock(rng, 512, (96, 104, 92), 0.0012, 1.0)
    paint = rock(rng, 512, (140, 52, 40), 0.0012, 0.7)
    rope = rock(rng, 512, (196, 170, 110), 0.0012, 1.0)
    line = np.linspace(-2.5, 2.5, 101)
    rough = tx.noise_tile(rng, 128, 1.3, low=3)[:101, :101] * 0.006
    parts = [
        Part(height_field(line, line[:-30], rough[:-30]), gravel),
        Part(box([-2.2, 0.98, -0.05], [2.2, 1.15, 1.35], 0.08), brick),
    ]
    # the fence: upright wires of five thicknesses, level ones of 5 mm
    y = 0.25
    for x in (-1.35, 0.15):
        parts.append(Part(rod([x, y, -0.05], [x, y, 1.12], 0.028, 14), post))
    for z in (0.10, 1.05):
        parts.append(Part(rod([-1.35, y, z], [0.15, y, z], 0.016, 12), post))
    for k, x in enumerate(np.linspace(-1.25, 0.05, 14)):
        parts.append(Part(rod([x, y, 0.10], [x, y, 1.05], (0.003, 0.004, 0.006, 0.008, 0.012)[k % 5]), steel))
    for z in np.linspace(0.22, 0.93, 7):
        parts.append(Part(rod([-1.35, y + 0.004, z], [0.15, y + 0.004, z], 0.005), steel))
    # ropes from a mast
    mast = np.array([0.62, 0.45, 1.25])
    parts.append(Part(rod([0.62, 0.45, -0.05], mast.tolist(), 0.03, 14), post))
    for foot, thick in (([0.3, -0.35, 0.0], 0.003), ([1.3, 0.0, 0.0], 0.004), ([0.95, -0.5, 0.0], 0.006)):
        parts.append(Part(rod(mast.tolist(), foot, thick), rope))
        parts.append(Part(rod([foot[0], foot[1], -0.03], [foot[0], foot[1], 0.09], 0.014), post))
    parts += _chair(paint, steel, -25, np.array([-0.55, -0.45, 0.0]))
    for place, size, color in (
        ([0.5, -0.75, 0.06], [0.16, 0.12, 0.10], (150, 140, 122)),
        ([-1.25, -0.7, 0.05], [0.14, 0.15, 0.09], (120, 96, 84)),
        ([1.2, -0.6, 0.07], [0.12, 0.14, 0.12], (108, 122, 132)),
        ([-1.6, 0.5, 0.1], [0.2, 0.17, 0.17], (150, 140, 122)),
    ):
        parts.append(Part(ellipsoid(np.array(place), np.array(size)), rock(rng, 512, color, 0.0012)))
    return parts, np.array([-0.2, 0.0, 0.45])


def _chair(bar: tx.Albedo, wire: tx.Albedo, angle: float, place: np.ndarray) -> list[Part]:
    """A garden chair: four legs, a seat of crossed wires, a curved back with spokes."""
    shapes: list[tuple[Shape, tx.Albedo]] = []
    half, seat = 0.2, 0.44
    for x in (-half, half):
        for y, lean in ((-half, -0.03), (half, 0.05)):
            shapes.append((rod([x * 1.08, y + lean, -0.02], [x, y, seat], 0.014), bar))
    corner = [[-half, -half], [half, -half], [half, half], [-half, half], [-half, -half]]
    for a, b in pairwise(corner):
        shapes.append((rod([*a, seat], [*b, seat], 0.014), bar))
    for t in np.linspace(-half, half, 9)[1:-1]:
        shapes.append((rod([t, -half, seat], [t, half, seat], 0.005), wire))
        shapes.append((rod([-half, t, seat + 0.005], [half, t, seat + 0.005], 0.005), wire))
    turn = np.linspace(0, np.pi, 60)
    hoop = np.stack([-half * np.cos(turn), half + 0.10 * np.sin(turn), seat + 0.46 * np.sin(turn) ** 0.7], -1)
    shapes.append((tube(hoop, np.full(60, 0.006), 12), bar))
    for k in range(8, 53, 6):
        shapes.append((rod([hoop[k, 0] * 0.75, half, seat], hoop[k].tolist(), 0.006), wire))
    for z in (0.15,):
        for a, b in pairwise(corner):
            shapes.append((rod([a[0] * 1.05, a[1], z], [b[0] * 1.05, b[1], z], 0.008), bar))
    return [Part(turned(shape, angle, place), albedo) for shape, albedo in shapes]


def slanted_ground(rng: np.random.Generator) -> tuple[list[Part], np.ndarray]:
    """A square paved with setts, seen by a person's camera that looks level: most of it at 75 to 86 degrees from its
    normal. A raised pavement, crates, cones, bollards, a bench and a heap of sand stand on it."""
    sett = tx.bricks(rng, 4096, 132)
    sett = 0.75 * sett.mean(2, keepdims=True) * tx.linear(205, 202, 196) * 2.0 + 0.25 * sett
    paving = tx.laid_flat(tx.Texture.of(sett.astype(np.float32), 15.0 / 4096), np.array([-7.5, 7.5, 0.0]), X, -Y)
    slab = tx.box_mapped(tx.Texture.of(tx.stone(rng, 2048, (172, 166, 152), 0.8), 0.004), 16)
    crate = tx.box_mapped(tx.Texture.of(tx.wood(rng, 1024), 0.0016))
    cone = rock(rng, 512, (214, 96, 40), 0.002, 0.5)
    iron = rock(rng, 512, (70, 74, 80), 0.002, 0.9)
    sand = rock(rng, 1024, (206, 182, 132), 0.003, 0.8)
    line = np.linspace(-7.5, 7.5, 151)
    rise = 0.03 * tx.noise_tile(rng, 256, 2.0, low=1, high=8)[:151, :151]
    parts = [
        Part(height_field(line, line, rise), paving),
        Part(box([-7.5, 4.6, -0.3], [7.5, 7.5, 0.16], 0.15, 0.02), slab),
    ]
    for place, turn, size in (([-1.6, 1.2], 20, 0.7), ([-0.75, 1.65], -12, 0.55), ([2.4, -0.6], 40, 0.6)):
        shape = box([-size / 2, -size / 2, -0.1], [size / 2, size / 2, size * 0.8], 0.05, 0.01)
        parts.append(Part(turned(shape, turn, np.array([*place, 0.0])), crate))
    upper = box([-0.25, -0.2, 0.0], [0.25, 0.2, 0.35], 0.05, 0.01)
    parts.append(Part(turned(upper, 33, np.array([-1.55, 1.25, 0.555])), crate))
    profile = np.array([[-0.05, 0.20], [0.03, 0.20], [0.035, 0.15], [0.60, 0.03], [0.605, 0.001]])
    for place in ([0.6, -1.6], [1.9, 1.7], [-2.6, -1.0], [-0.4, 3.4], [4.0, 2.6]):
        parts.append(Part(turned(lathe(*profile.T, 40), 0, np.array([*place, 0.0])), cone))
    post = np.array([[-0.1, 0.075], [0.75, 0.06], [0.78, 0.085], [0.86, 0.08], [0.9, 0.05], [0.91, 0.001]])
    for x in (-4.2, -2.1, 0.0, 2.1, 4.2):
        parts.append(Part(turned(lathe(*post.T, 32), 0, np.array([x, 4.2, 0.0])), iron))
    for z, y, high in ((0.45, 5.5, 0.05), (0.45, 5.65, 0.05), (0.45, 5.8, 0.05), (0.75, 5.95, 0.12)):
        parts.append(Part(box([-0.9, y - 0.06, z + 0.16], [0.9, y + 0.06, z + high + 0.16], 0.08, 0.008), crate))
    for x in (-0.75, 0.75):
        parts.append(Part(box([x - 0.05, 5.45, 0.14], [x + 0.05, 5.85, 0.62], 0.08, 0.008), iron))
        parts.append(Part(box([x - 0.04, 5.92, 0.14], [x + 0.04, 6.0, 1.05], 0.08, 0.008), iron))
    heap = np.linspace(-1, 1, 61)
    hx, hy = np.meshgrid(heap, heap)
    bump = 0.55 * np.exp(-2.6 * (hx**2 + 1.2 * hy**2)) - 0.09 + 0.015 * tx.noise_tile(rng, 64, 1.2, low=3)[:61, :61]
    parts.append(Part(turned(height_field(1.3 * heap, 1.1 * heap, bump), 15, np.array([3.6, 0.9, 0.0])), sand))
    return parts, np.array([0.2, 1.0, 0.3])
