"""Pictures of a mesh from any camera, drawn by our own z-buffer: for reports, comparisons and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rilievo import kernels
from rilievo.geometry import transform
from rilievo.types import Camera, Mesh


@dataclass(frozen=True)
class RenderConfig:
    """Settings of `render_mesh`."""

    version: ClassVar[int] = 1
    background: tuple[int, int, int] = (255, 255, 255)
    """Colour where there is no surface."""
    shading: bool | None = None
    """Light from the camera and above. Default: only where the mesh has no colours of its own."""
    supersample: int = 2
    """Rays along each side of a pixel."""
    surface_color: tuple[int, int, int] = (190, 188, 184)
    """Colour of a mesh that has none."""


def render_mesh(
    mesh: Mesh, camera: Camera, cam_from_world: np.ndarray, *, config: RenderConfig | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A picture uint8 (h, w, 3) and its depth float32 (h, w), NaN where there is no surface.

    camera: PINHOLE.  cam_from_world (3, 4).  Colours come from the texture, else the vertices, else they are grey and
    lit. Faces are drawn from both sides. Raises ValueError when the camera has distortion.
    """
    config = config or RenderConfig()
    if camera.model not in ("PINHOLE", "SIMPLE_PINHOLE"):
        raise ValueError(f"render_mesh needs a camera without distortion, not {camera.model}")
    k = max(1, int(config.supersample))
    width, height = camera.width * k, camera.height * k
    intrinsics = (camera.fx * k, camera.fy * k, camera.cx * k, camera.cy * k)
    vertices = transform(cam_from_world, mesh.vertices.astype(np.float64) + mesh.origin).astype(np.float32)
    face_index, depth = kernels.rasterize_mesh(vertices, mesh.faces, *intrinsics, width, height)
    seen = face_index >= 0
    color = np.empty((height, width, 3), np.float32)
    color[:] = config.surface_color
    textured = mesh.texture is not None and mesh.uvs is not None
    if mesh.texture is not None and mesh.uvs is not None:
        uv = kernels.interpolate_pixels(face_index, vertices, mesh.faces, *intrinsics, mesh.uvs)
        color = _sample_texture(mesh.texture, uv)
    elif mesh.colors is not None:
        color = kernels.interpolate_pixels(
            face_index, vertices, mesh.faces, *intrinsics, mesh.colors.astype(np.float32)
        )
    lit = config.shading if config.shading is not None else not (textured or mesh.colors is not None)
    if lit:
        color = color * _light(mesh, vertices, face_index, intrinsics, cam_from_world)[..., None]
    color = np.where(seen[..., None], color, np.array(config.background, np.float32))
    if k > 1:
        color = block_mean(color, k)
        depth = depth[k // 2 :: k, k // 2 :: k]
    return np.clip(np.round(np.nan_to_num(color)), 0, 255).astype(np.uint8), np.ascontiguousarray(depth)


def block_mean(picture: np.ndarray, k: int) -> np.ndarray:
    """Means over blocks of k x k pixels: float32 (k h, k w, c) -> (h, w, c)."""
    total = np.zeros_like(picture[::k, ::k])
    for i in range(k):
        for j in range(k):
            total += picture[i::k, j::k]
    return total / np.float32(k * k)


def _sample_texture(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear, with (0, 0) at the lower left corner."""
    import cv2

    h, w = texture.shape[:2]
    x = np.nan_to_num(uv[..., 0]) * w - 0.5
    y = (1 - np.nan_to_num(uv[..., 1])) * h - 0.5
    out = cv2.remap(
        texture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return out.astype(np.float32)


def _light(
    mesh: Mesh, vertices: np.ndarray, face_index: np.ndarray, intrinsics: tuple[float, ...], cam_from_world: np.ndarray
) -> np.ndarray:
    """0..1 a pixel: half from the camera, half from above, two-sided, on smooth normals."""
    x = vertices.astype(np.float64)[mesh.faces]
    area = np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0])
    if mesh.normals is not None:
        normals = mesh.normals.astype(np.float64) @ cam_from_world[:, :3].T
    else:
        corner = mesh.faces.ravel()
        columns = [np.bincount(corner, np.repeat(area[:, c], 3), len(vertices)) for c in range(3)]
        normals = np.stack(columns, 1)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = (normals / np.where(length > 0, length, 1)).astype(np.float32)
    n = kernels.interpolate_pixels(face_index, vertices, mesh.faces, *intrinsics, normals)
    length = np.linalg.norm(n, axis=-1)
    n = n / np.where(length > 0, length, 1)[..., None]
    facing = np.abs(n[..., 2])
    up = (cam_from_world[:, :3] @ [0.35, -0.25, 0.9]).astype(np.float32)
    n_toward = np.where(n[..., 2:] > 0, -n, n)
    above = np.clip(n_toward @ up, 0, 1)
    return np.clip(0.25 + 0.45 * facing + 0.4 * above, 0, 1)
