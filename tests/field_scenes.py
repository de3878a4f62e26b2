"""Radiance fields and captures with known answers."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from rilievo import geometry
from rilievo.types import Camera, Field

SIZE, FOCAL, NUM = 64, 80.0, 14
CAMERA = Camera.pinhole(SIZE, SIZE, np.array([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]]))
BALL_RADIUS = 0.8  # of the ball that `write_capture` shows, around the origin


def sphere_field(radius: float = 0.6, sharpness: float = 200.0) -> Field:
    """A grey ball: density is exp(sharpness (radius - |p|)). The first level holds the exponent and its negative, the
    networks hand them through; the ball stands around (10, 20, 30), 2 units of the world are a radius of the field."""
    across, first, levels = 64, 0, []
    for resolution in (across, 2, 2, 2):
        rows = (resolution + 1) ** 3
        levels.append((resolution, first, rows, 0))
        first += rows
    z, y, x = np.meshgrid(*[np.arange(across + 1)] * 3, indexing="ij")
    distance = np.linalg.norm(np.stack([x, y, z], -1).reshape(-1, 3) / across * 2 - 1, axis=1)
    table = np.zeros((first, 4), np.float32)
    table[: len(distance), 0] = sharpness * (radius - distance)
    table[: len(distance), 1] = -table[: len(distance), 0]
    inner, outer = np.zeros((16, 16), np.float32), np.zeros((16, 16), np.float32)
    inner[0, 0] = inner[1, 1] = outer[0, 0] = 1
    outer[1, 0] = -1
    return Field(
        table=table,
        levels=np.array(levels, np.int32),
        weights=np.concatenate([inner.ravel(), outer.ravel(), np.zeros(64 * 16, np.float32)]),
        density_width=16,
        color_width=16,
        occupancy=np.full((32, 32, 4), 255, np.uint8),
        edges=np.linspace(0.02, 5, 1500).astype(np.float32),
        center=np.array([10.0, 20.0, 30.0]),
        radius=2.0,
    )


def write_capture(folder: Path, num: int = NUM) -> Path:
    """A folder as Blender and nerfstudio write it: cut-out photos of a ball whose colour is its normal, and a
    transforms.json."""
    folder.mkdir()
    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    frames = []
    for k in range(num):
        angle = 2 * np.pi * k / num
        place = geometry.look_at(3 * np.array([np.cos(angle), np.sin(angle), 0.6 * (-1) ** k]), np.zeros(3))
        origin = -place[:, :3].T @ place[:, 3]
        ray = np.stack([(x - SIZE / 2) / FOCAL, (y - SIZE / 2) / FOCAL, np.ones_like(x)], -1) @ place[:, :3]
        ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
        along = ray @ origin
        root = along**2 - origin @ origin + BALL_RADIUS**2
        hit = origin + (-along - np.sqrt(np.maximum(root, 0)))[..., None] * ray
        picture = np.zeros((SIZE, SIZE, 4), np.uint8)
        picture[..., :3] = np.clip(127 + 127 * hit / BALL_RADIUS, 0, 255)
        picture[..., 3] = np.where(root > 0, 255, 0)
        cv2.imwrite(str(folder / f"p{k:02d}.png"), picture)
        world_from_cam = np.eye(4)
        world_from_cam[:3, :3] = place[:, :3].T * [1, -1, -1]
        world_from_cam[:3, 3] = origin
        frames.append({"file_path": f"p{k:02d}.png", "transform_matrix": world_from_cam.tolist()})
    lens = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": SIZE / 2, "cy": SIZE / 2, "w": SIZE, "h": SIZE}
    (folder / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    return folder
