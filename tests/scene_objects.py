"""Single generated things before backgrounds that are busy but out of focus, as in photos of things; exact outlines."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

import scene_textures as tx
from rilievo.geometry import look_at
from rilievo.types import Camera
from scene_indoors import rock
from scene_sets import Part, _ammonite, _handle, _urn
from scene_shapes import box, ellipsoid, height_field, lathe, smooth_curve, turned
from scenes import assemble, pixel_directions, render

CAMERA = Camera("PINHOLE", 768, 576, np.array([900.0, 900.0, 384.0, 288.0]))
_X, _Y = np.eye(3)[:2]


def pictures(seed: int = 0) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, pixels uint8 (h, w, 3), outline bool (h, w)) of six things, each on a table and seen from two sides."""
    rng = np.random.default_rng([seed, 55])
    vase = smooth_curve(np.array([[0.0, 0.08], [0.06, 0.13], [0.2, 0.14], [0.32, 0.06], [0.4, 0.09]]), 60)
    up = np.array([0, 0, 0.005])
    coil, faces = _ammonite()
    upright = coil @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    things = {
        "urn": [_urn(rng), _handle(1.0), _handle(-1.0)],
        "vase": [lathe(*vase.T, 60)],
        "egg": [ellipsoid(np.array([0, 0, 0.15]), np.array([0.11, 0.11, 0.15]))],
        "box": [turned(box([-0.15, -0.1, 0], [0.15, 0.1, 0.2], 0.02, 0.008), 30, np.zeros(3))],
        "fossil": [turned((upright, faces), 40, np.array([0, 0, 0.11]))],
        "blocks": [box([-0.15, -0.08, 0], [0.15, 0.08, 0.12], 0.02, 0.008),
                   turned(box([-0.08, -0.06, 0.12], [0.08, 0.06, 0.26], 0.02, 0.008), 25, np.zeros(3))],
    }  # fmt: skip
    for k, (name, shapes) in enumerate(things.items()):
        tone = tuple(int(t) for t in rng.integers(60, 220, 3))
        skin = rock(rng, 1024, tone, 0.0006, 0.8)
        line = np.linspace(-1.5, 1.5, 31)
        wood = tx.laid_flat(tx.Texture.of(tx.wood(rng, 1024), 3.0 / 1024), np.array([-1.5, 1.5, 0]), _X, -_Y)
        table = Part(height_field(line, line, np.zeros((31, 31))), wood)
        parts = [Part((v + up, f), skin) for v, f in shapes]
        target = np.array([0, 0, 0.16])
        scene = assemble([*parts, table], target, rng)
        for side in range(2):
            angle = np.radians(40 + 130 * side + 17 * k)
            place = look_at(np.array([1.15 * np.cos(angle), 1.15 * np.sin(angle), 0.42]), target)
            sharp = render(scene, CAMERA, place, samples=2, seed=k).pixels
            world_from_cam = np.linalg.inv(np.vstack([place, [0, 0, 0, 1]]))
            d = pixel_directions(CAMERA, 1).reshape(-1, 3) @ world_from_cam[:3, :3].T
            eye = np.tile(world_from_cam[:3, 3].astype(np.float32), (len(d), 1))
            face = scene.rays.run(eye, d.astype(np.float32))
            truth = np.where(face < 0, False, scene.material[face] < len(parts)).reshape(576, 768)
            soft = cv2.GaussianBlur(sharp, (0, 0), 4)
            near = cv2.GaussianBlur(cv2.dilate(truth.astype(np.float32), np.ones((5, 5))), (0, 0), 1.0)[..., None]
            pixels = np.clip(np.rint(near * sharp + (1 - near) * soft), 0, 255).astype(np.uint8)
            yield f"{name}{side}", pixels, truth
