"""A furnished room with a mirror and a glazed cabinet on its far wall, and somebody who walks through while it is
photographed; with exact masks.

    capture(folder, num=20)        # folder/photos/*.jpg, folder/truth/{cameras.json, mesh.ply, masks/KIND/*.png}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

import scene_textures as tx
from rilievo.geometry import invert, look_at
from rilievo.types import Camera
from scene_indoors import _picture, rock, rod
from scene_optics import FIGURE, GLASS, MIRROR, OpticScene, make, true_masks
from scene_sets import Part
from scene_shapes import box, ellipsoid, height_field, lathe, smooth_curve, tube, turned
from scenes import exif_bytes, render, write_photo, write_truth

X, Y, Z = np.eye(3)
WIDE, BACK, FRONT, HIGH = 2.9, -2.8, 2.0, 2.6
MIRROR_BOX = (-1.45, -0.35, 0.75, 2.05)  # x0, x1, z0, z1 on the far wall


def room(seed: int = 0, *, bare: bool = False) -> OpticScene:
    """The room without anybody in it: four walls, no ceiling, daylight. bare: hardly any pictures, and paint that
    shows next to nothing, so that whoever keeps in step with the camera is most of what there is to match."""
    rng = np.random.default_rng([seed, 21])
    paint = tx.linear(214, 206, 188) * np.exp(
        (0.015 if bare else 0.05)
        * (tx.noise_tile(rng, 2048, 1.3)[..., None] + tx.noise_tile(rng, 2048, 0.3, low=60)[..., None])
    )
    wall = tx.box_mapped(tx.Texture.of(paint.astype(np.float32), 6.0 / 2048), 16)
    boards = tx.wood(rng, 2048)
    boards = boards.mean((0, 1)) + (0.15 if bare else 1.0) * (boards - boards.mean((0, 1)))
    floor = tx.laid_flat(tx.Texture.of(boards.astype(np.float32), 6.0 / 2048), np.array([-3.0, 3.0, 0.0]), X, -Y)
    oak = tx.box_mapped(tx.Texture.of(tx.wood(rng, 1024), 0.0016))
    dark = rock(rng, 512, (52, 44, 40), 0.0016, 0.6)
    ochre, blue = rock(rng, 512, (188, 142, 60), 0.0016, 0.8), rock(rng, 512, (70, 96, 124), 0.0016, 0.8)
    plain: list[Part] = [
        Part(box([-WIDE, FRONT, 0.0], [WIDE, FRONT + 0.1, HIGH], 0.1), wall),
        Part(box([-WIDE, BACK - 0.1, 0.0], [WIDE, BACK, HIGH], 0.1), wall),
        Part(box([-WIDE - 0.1, BACK, 0.0], [-WIDE, FRONT, HIGH], 0.1), wall),
        Part(box([WIDE, BACK, 0.0], [WIDE + 0.1, FRONT, HIGH], 0.1), wall),
        Part(box([-WIDE, BACK, -0.1], [WIDE, FRONT, 0.0], 0.1), floor),
    ]
    for x, z, w, h in ((0.15, 1.55, 0.5, 0.7), (-2.2, 1.5, 0.6, 0.8), (2.35, 1.5, 0.5, 0.6))[: 1 if bare else 3]:
        plain += _picture(rng, oak, np.array([x, FRONT, z]), X, -Y, w, h)
    for x, z, w, h in ((-1.7, 1.5, 0.9, 0.7), (0.0, 1.6, 0.8, 1.0), (1.7, 1.5, 0.7, 0.9)):
        plain += _picture(rng, oak, np.array([x, BACK, z]), -X, Y, w, h)
    for y, z in () if bare else ((0.9, 1.5), (-0.9, 1.55)):
        plain += _picture(rng, oak, np.array([-WIDE, y, z]), Y, X, 0.7, 0.7)
        plain += _picture(rng, oak, np.array([WIDE, y, z]), -Y, -X, 0.7, 0.6)
    if not bare:
        plain += _table(rng, oak, ochre, blue)
    plain += _chest(rng, oak, -0.9)
    plain += _cabinet(rng, dark)
    x0, x1, z0, z1 = MIRROR_BOX
    for low, high in (
        ([x0 - 0.05, FRONT - 0.03, z0 - 0.05], [x0, FRONT, z1 + 0.05]),
        ([x1, FRONT - 0.03, z0 - 0.05], [x1 + 0.05, FRONT, z1 + 0.05]),
        ([x0, FRONT - 0.03, z0 - 0.05], [x1, FRONT, z0]),
        ([x0, FRONT - 0.03, z1], [x1, FRONT, z1 + 0.05]),
    ):
        plain.append(Part(box(low, high, 0.05, 0.004), oak))
    flat = tx.box_mapped(tx.Texture.of(np.full((8, 8, 3), 0.5, np.float32), 0.1))
    silver = Part(box([x0, FRONT - 0.01, z0], [x1, FRONT - 0.004, z1], 0.2), flat)
    pane = (
        np.array([[0.75, 1.6, 0.25], [2.05, 1.6, 0.25], [2.05, 1.6, 1.05], [0.75, 1.6, 1.05]]),
        np.array([[0, 1, 2], [0, 2, 3]], np.int32),
    )
    parts = [(p, 0) for p in plain] + [(silver, MIRROR), (Part(pane, flat), GLASS)]
    return make(parts, np.array([0.1, 1.3, 1.05]), rng)


def _table(rng: np.random.Generator, oak: tx.Albedo, ochre: tx.Albedo, blue: tx.Albedo) -> list[Part]:
    """A table with things on it, on a rug, in the middle of the room."""
    line_x, line_y = np.linspace(-1.1, 1.1, 50), np.linspace(-0.8, 0.8, 40)
    weave = tx.laid_flat(tx.Texture.of(tx.cloth(rng, 2048), 2.2 / 2048), np.array([-1.1, 0.8, 0.0]), X, -Y)
    bump = 0.006 + 0.003 * np.sin(9 * line_x[None] + 2 * np.sin(5 * line_y[:, None]))
    parts = [Part(height_field(line_x, line_y, bump), weave)]
    parts.append(Part(box([-0.6, -0.35, 0.5], [0.55, 0.35, 0.54], 0.05, 0.006), oak))
    for x in (-0.54, 0.49):
        for y in (-0.29, 0.29):
            parts.append(Part(rod([x, y, 0.0], [x, y, 0.51], 0.05), oak))
    vase = smooth_curve(np.array([[0.54, 0.05], [0.58, 0.09], [0.67, 0.10], [0.75, 0.045], [0.81, 0.06]]), 40)
    parts.append(Part(turned(lathe(*vase.T, 40), 0, np.array([-0.3, 0.1, 0.0])), blue))
    parts.append(Part(ellipsoid(np.array([0.1, -0.1, 0.61]), np.array([0.09, 0.08, 0.07])), ochre))
    cover = tx.printed(rng, 600, 800, (150, 60, 50))
    book = tx.laid_flat(tx.Texture.of(cover, 0.3 / 800), np.array([0.15, 0.25, 0.0]), X, -Y)
    parts.append(Part(turned(box([0.15, 0.02, 0.54], [0.45, 0.25, 0.58], 0.05, 0.003), 0, np.zeros(3)), book))
    return parts


def _chest(rng: np.random.Generator, oak: tx.Albedo, x: float) -> list[Part]:
    """A low chest under the mirror with two jars."""
    parts = [Part(box([x - 0.6, 1.62, 0.0], [x + 0.6, 1.99, 0.5], 0.06, 0.008), oak)]
    for dx, tone in ((-0.35, (170, 84, 60)), (0.3, (96, 120, 84))):
        jar = np.array([[0.5, 0.06], [0.56, 0.09], [0.62, 0.05], [0.66, 0.055]])
        shape = turned(lathe(*smooth_curve(jar, 30).T, 32), 0, np.array([x + dx, 1.8, 0.0]))
        parts.append(Part(shape, rock(rng, 512, tone, 0.0012, 0.8)))
    return parts


def _cabinet(rng: np.random.Generator, dark: tx.Albedo) -> list[Part]:
    """A dark cabinet with a few things behind its pane (y = 1.6)."""
    boxes = [
        ([0.70, 1.6, 0.0], [2.10, 1.98, 0.25]), ([0.70, 1.6, 1.05], [2.10, 1.98, 1.10]),
        ([0.70, 1.6, 0.25], [0.75, 1.98, 1.05]), ([2.05, 1.6, 0.25], [2.10, 1.98, 1.05]),
        ([0.75, 1.93, 0.25], [2.05, 1.98, 1.05]), ([0.75, 1.66, 0.64], [2.05, 1.93, 0.66]),
    ]  # fmt: skip
    parts = [Part(box(low, high, 0.06, 0.003), dark) for low, high in boxes]
    for x, z, tone in ((0.95, 0.25, (150, 60, 52)), (1.35, 0.66, (196, 180, 130)), (1.75, 0.25, (88, 120, 140))):
        jar = np.array([[0.0, 0.06], [0.08, 0.10], [0.2, 0.05], [0.28, 0.07]])
        shape = turned(lathe(*smooth_curve(jar, 30).T, 32), 0, np.array([x, 1.78, z]))
        parts.append(Part(shape, rock(rng, 512, tone, 0.0012, 0.9)))
    return parts


def figure(place: tuple[float, float], heading_deg: float, stride: float, seed: int = 0) -> list[Part]:
    """Somebody 1.75 m tall who stands at `place` in mid-step; stride: phase of the walk, one period is two steps."""
    rng = np.random.default_rng([seed, 33])
    shirt = tx.box_mapped(tx.Texture.of(_checked(rng), 0.0016))
    trousers, skin = rock(rng, 512, (58, 66, 96), 0.0016, 0.9), rock(rng, 512, (196, 146, 118), 0.0016, 0.25)
    hair, shoe = rock(rng, 512, (60, 40, 26), 0.0016, 0.8), rock(rng, 256, (40, 34, 30), 0.0016, 0.6)
    swing = 0.42 * np.sin(2 * np.pi * stride)
    shapes = []

    def limb(points: list[list[float]], radii: list[float], albedo: tx.Albedo) -> None:
        path = smooth_curve(np.array(points), 24)
        shapes.append((tube(path, np.interp(np.linspace(0, 1, 24), np.linspace(0, 1, len(radii)), radii), 16), albedo))

    for side in (-1, 1):
        a = side * swing
        knee = [0.22 * np.sin(a) + 0.05, 0.1 * side, 0.52]
        foot = [0.80 * np.sin(a) * (1.0 if a > 0 else 0.85), 0.1 * side, 0.08]
        limb([[0.0, 0.1 * side, 0.95], knee, foot], [0.095, 0.065, 0.05], trousers)
        shapes.append((ellipsoid(np.array([foot[0] + 0.06, foot[1], 0.045]), np.array([0.14, 0.05, 0.045]), 12), shoe))
        hand = [-0.55 * np.sin(a) + 0.08, 0.27 * side, 0.85]
        limb([[0.0, 0.22 * side, 1.42], [-0.2 * np.sin(a), 0.27 * side, 1.12], hand], [0.06, 0.048, 0.036], shirt)
        shapes.append((ellipsoid(np.array(hand) - [0, 0, 0.04], np.array([0.04, 0.03, 0.06]), 12), skin))
    limb([[0, 0, 0.88], [0, 0, 1.15], [0.02, 0, 1.44]], [0.15, 0.155, 0.14], shirt)
    shapes.append((ellipsoid(np.array([0.02, 0.0, 1.42]), np.array([0.12, 0.22, 0.09]), 16), shirt))
    limb([[0.02, 0, 1.44], [0.02, 0, 1.56]], [0.06, 0.055], skin)
    shapes.append((ellipsoid(np.array([0.03, 0, 1.64]), np.array([0.10, 0.078, 0.12]), 20), skin))
    shapes.append((ellipsoid(np.array([0.01, 0, 1.68]), np.array([0.105, 0.085, 0.10]), 20), hair))
    shift = np.array([place[0], place[1], 0.0])
    return [Part(turned(shape, heading_deg, shift), _worn(albedo, heading_deg, shift)) for shape, albedo in shapes]


def _checked(rng: np.random.Generator) -> np.ndarray:
    size = 512
    line = np.arange(size)
    stripe = ((line // 32) % 3 == 0).astype(np.float32)
    cloth = 0.35 + 0.3 * stripe[:, None] + 0.3 * stripe[None]
    image = cloth[..., None] * tx.linear(220, 90, 70) + (1 - cloth[..., None]) * tx.linear(60, 60, 80)
    return (image * np.exp(0.25 * tx.noise_tile(rng, size, 0.8)[..., None])).astype(np.float32)


def _worn(albedo: tx.Albedo, heading_deg: float, shift: np.ndarray) -> tx.Albedo:
    """Colour that goes along with whoever wears it."""
    c, s = np.cos(np.radians(heading_deg)), np.sin(np.radians(heading_deg))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return lambda points, normals, footprint: albedo((points - shift) @ turn, normals @ turn, footprint)


CAMERA = Camera("OPENCV", 800, 600, np.array([640.0, 640.0, 403.5, 297.0, -0.04, 0.01, 0.0, 0.0]))


def cameras(num: int, target: np.ndarray, seed: int = 0) -> np.ndarray:
    """Two walks along an arc through the room, there and back: `cam_from_world` (num, 3, 4)."""
    rng = np.random.default_rng([seed, 9])
    out = []
    for k in range(num):
        there = k < (num + 1) // 2
        n = (num + 1) // 2 if there else num // 2
        t = (k if there else k - (num + 1) // 2) / max(n - 1, 1)
        angle = np.radians(-142 + 104 * (t if there else 1 - t))
        eye = np.array([2.75 * np.cos(angle), 1.3 + 2.75 * np.sin(angle), 1.35 if there else 1.75])
        aim = target + [0.15 * np.cos(angle), 0, 0.0 if there else -0.15]
        out.append(look_at(eye + 0.03 * rng.normal(size=3), aim + 0.05 * rng.normal(size=3)))
    return np.array(out)


def walk(k: int, num: int) -> tuple[tuple[float, float], float, float]:
    """Where somebody is at photo k, which way they go, and the phase of their walk: along the far wall and back."""
    half = (num + 1) // 2
    there = k < half
    t = (k if there else k - half) / max((half if there else num // 2) - 1, 1)
    x = -1.7 + 3.2 * t if there else 1.5 - 3.2 * t
    y = 0.85 + 0.2 * np.sin(5 * t) if there else 0.95 - 0.15 * np.sin(4 * t)
    return (x, float(y)), 0.0 if there else 180.0, 0.37 * k


def keep_in_step(cam_from_world: np.ndarray) -> tuple[tuple[float, float], float, float]:
    """Like `walk`, for somebody who stays in the same place of the picture: what moves with the camera."""
    world_from_cam = invert(cam_from_world)
    place = world_from_cam[:, 3] + world_from_cam[:, :3] @ np.array([0.25, 0.0, 1.55])
    ahead = np.degrees(np.arctan2(world_from_cam[1, 2], world_from_cam[0, 2]))
    return (float(place[0]), float(place[1])), float(ahead) - 60.0, 0.1


def capture(
    folder: Path, *, num: int = 20, seed: int = 0, bare: bool = False, somebody: bool = True, camera: Camera = CAMERA,
    samples: int = 2,
) -> list[Path]:  # fmt: skip
    """Renders the photos, writes the truth, returns the photos' paths. The true mesh has the mirror as a surface, but
    neither the pane nor the figure."""
    empty = room(seed, bare=bare)
    places = cameras(num, empty.target, seed)
    ways = [keep_in_step(place) if bare else walk(k, num) for k, place in enumerate(places)]
    scenes = (empty.with_parts(figure(*way, seed=seed), FIGURE) if somebody else empty for way in ways)
    return shoot(folder, scenes, empty.without(GLASS), places, camera, samples=samples, seed=seed)


def shoot(
    folder: Path, scenes: Iterable[OpticScene], still: OpticScene, places: np.ndarray, camera: Camera, *, samples: int,
    seed: int, kinds: Sequence[str] | None = None,
) -> list[Path]:  # fmt: skip
    """Photos of a scene for each place, the true masks (of these kinds, or all) and the truth of what stood still."""
    paths = []
    for k, (place, scene) in enumerate(zip(places, scenes)):
        photo = render(scene, camera, place, samples=samples, seed=1000 * seed + k)
        path = folder / "photos" / f"IMG_{k:04}.jpg"
        write_photo(path, photo.pixels, exif=exif_bytes(camera, number=k), quality=92)
        for kind, mask in true_masks(scene, camera, place).items():
            if kinds is not None and kind not in kinds:
                continue
            to = folder / "truth" / "masks" / kind / f"{path.name}.png"
            to.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(to), mask.astype(np.uint8) * 255)
        paths.append(path)
    write_truth(folder / "truth", still, camera, [p.name for p in paths], places)
    return paths
