"""A short walk of the camera around a relief, frame by frame, drawn by our own z-buffer. What the photo did not see
stays background."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rilievo import kernels
from rilievo.geometry import look_at, transform
from rilievo.types import Camera, Mesh


@dataclass(frozen=True)
class OrbitConfig:
    """Settings of `orbit_cameras` and `orbit_frames`."""

    version: ClassVar[int] = 1

    width: int = 720
    """width of the picture (made even, as video wants it)"""
    seconds: float = 4.0
    """length; the walk is closed, so that it can be repeated"""
    frames_per_second: int = 30
    """pictures a second"""
    max_angle_deg: float = 9.0
    """how far the camera turns around the middle, to each side"""
    max_shift: float = 0.05
    """by how much of the picture's width near things move against the middle, at most"""
    background: tuple[int, int, int] = (38, 38, 42)
    """colour where the photo shows nothing"""


def orbit_cameras(
    camera: Camera, inverse: np.ndarray, *, config: OrbitConfig | None = None
) -> tuple[Camera, np.ndarray]:
    """The video's camera, and where it stands in each frame: `cam_from_world` (n, 3, 4) in the photo's world.

    A lying eight around the point at the median distance. inverse: 1/depth of the known pixels (n,); near and far
    things set how wide it may be.
    """
    config = config or OrbitConfig()
    width = max(2, config.width // 2 * 2)
    height = max(2, round(camera.height * width / camera.width / 2) * 2)
    K = np.diag([width / camera.width, height / camera.height, 1.0]) @ camera.K
    far, middle, near = (float(q) for q in np.quantile(inverse, [0.05, 0.5, 0.97]))
    pivot = 1 / middle
    # A camera that moves by t moves a thing at 1/z against the middle by fx * t * (1/z - 1/pivot).
    room = config.max_shift * camera.width / camera.fx / max(near - middle, middle - far, 1e-6 * middle)
    angle = min(np.radians(config.max_angle_deg), room / pivot)
    t = (
        2
        * np.pi
        * np.arange(round(config.seconds * config.frames_per_second))
        / (config.seconds * config.frames_per_second)
    )
    yaw, pitch = angle * np.sin(t), 0.4 * angle * np.sin(2 * t)
    centre = np.array([0.0, pivot, 0.0])
    eyes = centre + pivot * np.stack([np.sin(yaw) * np.cos(pitch), -np.cos(yaw) * np.cos(pitch), np.sin(pitch)], 1)
    return Camera.pinhole(width, height, K), np.stack([look_at(eye, centre) for eye in eyes])


def orbit_frames(
    parts: list[tuple[Mesh, np.ndarray]],
    camera: Camera,
    cam_from_world: np.ndarray,
    *,
    config: OrbitConfig | None = None,
) -> Iterator[np.ndarray]:
    """Pictures uint8 (h, w, 3). parts: meshes with uvs, and their textures uint8 (h, w, 3)."""
    config = config or OrbitConfig()
    for place in cam_from_world:
        yield draw(parts, camera, place, background=config.background)


def draw(
    parts: list[tuple[Mesh, np.ndarray]],
    camera: Camera,
    cam_from_world: np.ndarray,
    *,
    background: tuple[int, int, int],
    supersample: float = 1.5,
) -> np.ndarray:
    """One picture uint8 (h, w, 3) of textured meshes from a PINHOLE camera."""
    import cv2

    width, height = round(camera.width * supersample), round(camera.height * supersample)
    fx, fy = camera.fx * width / camera.width, camera.fy * height / camera.height
    cx, cy = camera.cx * width / camera.width, camera.cy * height / camera.height
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = background
    nearest = np.full((height, width), np.inf, np.float32)
    for mesh, texture in parts:
        if mesh.uvs is None or not len(mesh.faces):
            continue
        vertices = transform(cam_from_world, mesh.vertices.astype(np.float64)).astype(np.float32)
        face, depth = kernels.rasterize_mesh(vertices, mesh.faces, fx, fy, cx, cy, width, height)
        uv = kernels.interpolate_pixels(face, vertices, mesh.faces, fx, fy, cx, cy, mesh.uvs)
        rows, columns = texture.shape[:2]
        x = uv[..., 0] * np.float32(columns) - np.float32(0.5)
        y = (1 - uv[..., 1]) * np.float32(rows) - np.float32(0.5)
        win = np.less(depth, nearest, out=np.zeros(face.shape, bool), where=face >= 0)
        drawn = cv2.remap(
            texture, np.where(win, x, 0), np.where(win, y, 0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        picture[win] = drawn[win]
        nearest[win] = depth[win]
    if supersample == 1:
        return picture
    return np.asarray(cv2.resize(picture, (camera.width, camera.height), interpolation=cv2.INTER_AREA), np.uint8)
