"""The synthetic scenes by name: parts (shape, colour) and the point that cameras look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

import scene_textures as tx
from scene_shapes import Shape, box, ellipsoid, height_field, lathe, smooth_curve, tube, turned

X, Y, Z = np.eye(3)


@dataclass(frozen=True)
class Part:
    """A shape of one material."""

    shape: Shape
    albedo: tx.Albedo
    gloss: float = 0.0


def blocks(rng: np.random.Generator) -> tuple[list[Part], np.ndarray]:
    """For unit tests: a few stones and a rod on printed paper. Few faces, small textures, quick to make."""
    ground = tx.Texture.of(tx.printed(rng, 1024, 1024), 1.6 / 1024)
    cloth = tx.laid_flat(ground, np.array([-0.8, 0.8, 0.0]), X, -Y)
    stones = [
        tx.box_mapped(tx.Texture.of(tx.stone(rng, 512, color), 0.0012))
        for color in ((150, 140, 122), (168, 108, 84), (108, 122, 132))
    ]
    line = np.linspace(-0.8, 0.8, 41)
    parts = [
        Part(height_field(line, line, np.zeros((41, 41))), cloth),
        Part(turned(box([-0.2, -0.2, 0], [0.2, 0.2, 0.32], 0.03, 0.012), 20, np.zeros(3)), stones[0]),
        Part(turned(box([-0.14, -0.1, 0], [0.14, 0.1, 0.16], 0.03, 0.012), -30, np.array([0.42, -0.25, 0])), stones[1]),
        Part(ellipsoid(np.array([0.02, 0.0, 0.46]), np.array([0.16, 0.16, 0.16])), stones[2]),
        Part(ellipsoid(np.array([-0.42, -0.2, 0.13]), np.array([0.2, 0.15, 0.15])), stones[1]),
        Part(tube(np.array([[0.3, 0.25, 0.0], [0.3, 0.25, 0.3], [0.3, 0.25, 0.6]]), np.full(3, 0.02), 16), stones[0]),
    ]
    return parts, np.array([0.0, -0.05, 0.18])


def _urn(rng: np.random.Generator) -> Shape:
    """A fluted urn with a band of relief, 46 cm high, open at the top."""
    outer = np.array([[0, .078], [.012, .082], [.022, .074], [.040, .046], [.075, .030], [.105, .036], [.118, .046],
                      [.128, .040], [.140, .062], [.175, .106], [.215, .128], [.255, .134], [.300, .124], [.335, .100],
                      [.360, .074], [.385, .062], [.405, .066], [.425, .086], [.440, .100], [.452, .104],
                      [.460, .099]])  # fmt: skip
    inner = np.array([[.458, .093], [.440, .086], [.405, .055], [.370, .056], [.335, .086], [.290, .108], [.240, .114],
                      [.200, .098], [.170, .060], [.160, .004]])  # fmt: skip
    columns = 300
    profile = np.concatenate([smooth_curve(outer, 250), smooth_curve(inner, 50)])
    z, r = profile.T
    r = np.repeat(r[:, None], columns, 1)
    angle = 2 * np.pi * np.arange(columns) / columns
    side = np.arange(len(z)) < 250

    def bump(low: float, high: float) -> np.ndarray:
        edge = 0.008
        return np.where(side, np.clip((z - low) / edge, 0, 1) * np.clip((high - z) / edge, 0, 1), 0)[:, None]

    flutes = np.abs(np.sin(10 * angle))[None]
    r = r - 0.009 * bump(0.135, 0.215) * (1 - flutes) ** 1.5
    relief = tx.noise_tile(rng, 512, 1.5, low=5, high=36)
    x = np.broadcast_to(angle / (2 * np.pi) * 512, r.shape).astype(np.float32)
    y = np.broadcast_to((z / 0.8 * 512)[:, None], r.shape).astype(np.float32)
    carved = cv2.remap(relief, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    r = r + 0.0065 * bump(0.226, 0.306) * np.clip(1.6 * carved, -0.5, 0.9)
    r = r + 0.004 * bump(0.218, 0.227) + 0.004 * bump(0.304, 0.313)
    chips = cv2.remap(tx.noise_tile(rng, 512, 1.1, low=8, high=120), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return lathe(z, r - 0.0012 * np.clip(chips - 0.9, 0, 1.5), columns)


def _handle(side: float) -> Shape:
    path = smooth_curve(np.array([[.060, .392], [.105, .408], [.150, .392], [.172, .345], [.150, .300], [.118, .285],
                                  [.122, .262], [.142, .268]]), 110)  # fmt: skip
    k = np.linspace(0, 1, 110)[:, None]
    twist = 1 + 0.12 * np.cos(3 * (2 * np.pi * np.arange(18) / 18)[None] + 30 * k)
    radius = 0.0088 * (1 - 0.45 * k**3) * twist
    return tube(np.stack([side * path[:, 0], np.zeros(110), path[:, 1]], -1), radius, 18)


def _ammonite() -> Shape:
    """A fossil on its side: a ribbed tube in a spiral."""
    t = np.linspace(0, 1, 420)
    angle = 2 * np.pi * 3.1 * t
    size = 0.008 * np.exp(2.25 * t)
    radius = np.clip(0.40 * size, 0.0015, None)
    path = np.stack([size * np.cos(angle), size * np.sin(angle), np.zeros_like(t)], -1)
    ribs = 1 + 0.13 * np.cos(260 * t)
    shape = tube(path, radius * ribs, 26)
    return shape[0] * [1, 1, 0.8], shape[1]


def _cloth_height(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Soft folds that die out towards the middle of the table, where things stand."""
    r = np.hypot(x / 0.30, y / 0.26)
    flat = 1 / (1 + np.exp(-(r - 1.45) * 7))
    fold = np.sin(9 * x + 3.5 * np.sin(3 * y)) * np.sin(5 * y + 1.0) + 0.5 * np.sin(17 * y - 4 * x + 2 * np.sin(4 * x))
    return 0.0055 * flat * fold


def urn(rng: np.random.Generator) -> tuple[list[Part], np.ndarray]:
    """The sample capture: an urn with handles on a plinth, dried stems in it, a fossil, two books and a printed sheet,
    on a table with a patterned cloth. Concave parts (flutes, mouth, handles) and thin ones (handles, stems of 5 mm)."""
    size = 2048
    marble = tx.box_mapped(tx.Texture.of(tx.stone(rng, size, (186, 176, 156), 0.9), 0.00036))
    plinth = tx.box_mapped(tx.Texture.of(tx.stone(rng, size, (122, 112, 108), 1.0), 0.00036))
    fossil = tx.box_mapped(tx.Texture.of(tx.stone(rng, 1024, (150, 104, 70), 1.2), 0.00036))
    stem = tx.box_mapped(tx.Texture.of(tx.stone(rng, 512, (138, 118, 62), 1.4), 0.0003))
    board = tx.box_mapped(tx.Texture.of(tx.wood(rng, 1024), 0.0007))
    cloth = tx.laid_flat(tx.Texture.of(tx.cloth(rng, 4096), 1.3 / 4096), np.array([-0.65, 0.65, 0]), X, -Y)
    wide = [np.linspace(-0.60, 0.60, 151), np.linspace(-0.50, 0.50, 126)]
    parts = [
        Part(height_field(*wide, _cloth_height(*np.meshgrid(*wide))), cloth),
        Part(box([-0.60, -0.50, -0.035], [0.60, 0.50, -0.0075], 0.1, 0.003), board, 0.03),
        Part(turned(box([-0.115, -0.115, -0.002], [0.115, 0.115, 0.070], 0.006, 0.006), 15, np.zeros(3)), plinth),
        Part(turned(box([-0.095, -0.095, 0.070], [0.095, 0.095, 0.085], 0.006, 0.004), 15, np.zeros(3)), plinth),
    ]
    up = np.array([0, 0, 0.084])
    parts += [Part(turned(s, 15, up), marble, 0.02) for s in (_urn(rng), _handle(1.0), _handle(-1.0))]
    parts += [Part(turned(_ammonite(), 60, np.array([0.30, -0.22, 0.022])), fossil, 0.05)]
    for path in (
        [[0.02, 0.01, 0.30], [0.05, 0.03, 0.48], [0.09, 0.05, 0.59], [0.15, 0.05, 0.66]],
        [[-0.02, 0.0, 0.30], [-0.05, -0.02, 0.48], [-0.08, -0.02, 0.60], [-0.08, 0.02, 0.70]],
        [[0.0, -0.02, 0.30], [0.02, -0.05, 0.48], [0.01, -0.10, 0.57], [-0.03, -0.16, 0.63]],
    ):
        curve = smooth_curve(np.array(path), 40)
        parts.append(Part(tube(curve, np.linspace(0.0032, 0.0024, 40), 10), stem))
        for k in (-1, -5, -10):
            parts.append(
                Part(ellipsoid(curve[k] + rng.normal(size=3) * 0.004, np.array([0.010, 0.010, 0.016]), 14), stem)
            )
    parts += _books(rng)
    sheet = tx.printed(rng, 1200, 900)
    line_x, line_y = np.linspace(0, 0.225, 40), np.linspace(0, 0.30, 50)
    sx, sy = np.meshgrid(line_x, line_y)
    curl = (
        0.0035
        + 0.010 * np.clip((sy - 0.2) / 0.1, 0, 1) ** 2
        + 0.002 * np.sin(20 * sx) * np.clip((sy - 0.1) / 0.2, 0, 1)
    )
    paper = turned(height_field(line_x, line_y, curl), 24, np.array([-0.20, -0.46, 0.0]))
    c, s = np.cos(np.radians(24)), np.sin(np.radians(24))
    across, along = np.array([c, s, 0]), np.array([-s, c, 0])
    corner = np.array([-0.20, -0.46, 0.0]) + 0.30 * along
    parts.append(Part(paper, tx.laid_flat(tx.Texture.of(sheet, 0.225 / 900), corner, across, -along)))
    return parts, np.array([0.0, 0.0, 0.29])


def _books(rng: np.random.Generator) -> list[Part]:
    parts = []
    level = -0.002
    for turn, size, color in ((-25, (0.20, 0.15, 0.034), (120, 44, 40)), (-8, (0.17, 0.12, 0.026), (48, 84, 96))):
        cover = tx.printed(rng, 900, 1200, color) * 1.0
        leather = tx.stone(rng, 1024, color, 0.8)
        cover = np.clip(cover * 0.6 + 0.4 * leather[:900, :1024].repeat(2, 1)[:, :1200], 0, 1).astype(np.float32)
        place = np.array([-0.34, 0.20, level])
        w, d, h = size
        shape = turned(box([-w / 2, -d / 2, 0], [w / 2, d / 2, h], 0.008, 0.003), turn, place)
        parts.append(Part(shape, tx.box_mapped(tx.Texture.of(cover, 0.00019)), 0.04))
        level += h - 0.0005
    return parts


def facade(rng: np.random.Generator) -> tuple[list[Part], np.ndarray]:
    """A house front, 8 m by 6 m, facing -y: brick wall, six recessed windows, sills, a door, a cornice, paving."""
    wall = tx.box_mapped(tx.Texture.of(tx.bricks(rng, 2048, 60), 4.5 / 2048), 16)
    plaster = tx.box_mapped(tx.Texture.of(tx.stone(rng, 1024, (196, 186, 164), 0.8), 0.003))
    frame = tx.box_mapped(tx.Texture.of(tx.wood(rng, 1024), 0.002))
    pane = tx.box_mapped(tx.Texture.of(tx.stone(rng, 1024, (74, 84, 92), 0.7), 0.003))
    street = tx.box_mapped(tx.Texture.of(tx.bricks(rng, 2048, 36) * 0.8, 4.1 / 2048), 16)
    holes = [(x, x + 1.1, z, z + 1.6) for z in (0.9, 3.5) for x in (0.9, 3.45, 6.0)]
    holes[1] = (3.35, 4.65, 0.0, 2.4)
    xs = sorted({0.0, 8.0, *(h[0] for h in holes), *(h[1] for h in holes)})
    zs = sorted({0.0, 6.0, *(h[2] for h in holes), *(h[3] for h in holes)})
    parts = []
    for x0, x1 in pairwise(xs):
        for z0, z1 in pairwise(zs):
            inside = any(h[0] <= x0 and x1 <= h[1] and h[2] <= z0 and z1 <= h[3] for h in holes)
            if not inside:
                parts.append(Part(box([x0, 0, z0], [x1, 0.4, z1], 0.1), wall))
    for k, (x0, x1, z0, z1) in enumerate(holes):
        parts.append(Part(box([x0, 0.22, z0], [x1, 0.30, z1], 0.1), frame if k == 1 else pane))
        for bar in np.linspace(x0, x1, 3):
            parts.append(Part(box([bar - 0.04, 0.16, z0], [bar + 0.04, 0.24, z1], 0.1, 0.01), frame))
        for bar in np.linspace(z0, z1, 3):
            parts.append(Part(box([x0, 0.17, bar - 0.04], [x1, 0.24, bar + 0.04], 0.1, 0.01), frame))
        if k != 1:
            parts.append(Part(box([x0 - 0.1, -0.14, z0 - 0.1], [x1 + 0.1, 0.1, z0], 0.06, 0.015), plaster))
    parts.append(Part(box([-0.2, -0.28, 5.7], [8.2, 0.4, 6.0], 0.1, 0.03), plaster))
    parts.append(Part(box([-0.1, -0.14, 5.5], [8.1, 0.4, 5.7], 0.1, 0.03), plaster))
    parts.append(Part(box([0.0, -0.05, 2.85], [8.0, 0.1, 3.05], 0.1, 0.02), plaster))
    for x in (0.0, 7.6):
        parts.append(Part(box([x, -0.12, 0.0], [x + 0.4, 0.1, 5.5], 0.1, 0.02), plaster))
    parts.append(Part(box([-1, -5, -0.2], [9, 0.4, 0.0], 0.2), street))
    return parts, np.array([4.0, 0.0, 2.7])


# name -> its maker
SCENES: dict[str, Callable[[np.random.Generator], tuple[list[Part], np.ndarray]]] = {
    "blocks": blocks,
    "urn": urn,
    "facade": facade,
}
