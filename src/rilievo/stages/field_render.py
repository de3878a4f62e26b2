"""Pictures of a radiance field from any camera."""

from __future__ import annotations

import numpy as np

from rilievo import kernels
from rilievo.stages.field_scene import MIN_WEIGHT, squeeze
from rilievo.types import Camera, Field

ROWS = 64  # of a picture at a time: bounds the memory, never the result


def camera_rays(field: Field, camera: Camera, cam_from_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Origins (3) and unit directions (h, w, 3) of the rays through all pixels, float32, in the field's radii. Raises
    ValueError when the camera has distortion."""
    if camera.model not in ("PINHOLE", "SIMPLE_PINHOLE"):
        raise ValueError(f"fields are drawn without distortion, not as {camera.model}")
    y, x = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    R, t = cam_from_world[:, :3], cam_from_world[:, 3]
    rays = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones_like(x)], -1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    origin = (-R.T @ t - field.center) / field.radius
    return origin.astype(np.float32), (rays @ R).astype(np.float32)


def trace(
    field: Field,
    origins: np.ndarray,
    directions: np.ndarray,
    *,
    edges: np.ndarray | None = None,
    background: tuple[float, float, float] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What rays see, in the field's radii: colour float32 (n, 3), distance (n) where half of the light is stopped (NaN
    where less is), opacity (n)."""
    return kernels.field_trace(
        field.levels, field.density_width, field.color_width, field.table, field.weights, field.occupancy,
        field.unbounded, field.edges if edges is None else edges, origins, directions,
        np.full(len(origins), 0.5, np.float32),
        np.array(field.background if background is None else background, np.float32), MIN_WEIGHT,
    )  # fmt: skip


def render_field(
    field: Field,
    camera: Camera,
    cam_from_world: np.ndarray,
    *,
    background: tuple[float, float, float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The picture uint8 (h, w, 3) and depth float32 (h, w) (z in the camera, where half of the light is stopped; NaN
    where less is) of a PINHOLE camera. background: 0..1 (default: the field's). Raises ValueError when the camera has
    distortion."""
    origin, directions = camera_rays(field, camera, cam_from_world)
    pixels = np.empty((camera.height, camera.width, 3), np.uint8)
    depth = np.empty((camera.height, camera.width), np.float32)
    ahead = directions @ cam_from_world[2, :3].astype(np.float32)
    for top in range(0, camera.height, ROWS):
        rows = np.s_[top : top + ROWS]
        d = np.ascontiguousarray(directions[rows].reshape(-1, 3))
        color, distance, _ = trace(field, np.tile(origin, (len(d), 1)), d, background=background)
        pixels[rows] = np.clip(np.rint(color * 255), 0, 255).astype(np.uint8).reshape(-1, camera.width, 3)
        depth[rows] = distance.reshape(-1, camera.width) * np.float32(field.radius) * ahead[rows]
    return pixels, depth


def density_at(field: Field, points: np.ndarray) -> np.ndarray:
    """Density per radius, float32 (n), at points in radii around the field's centre, float (n, 3); also where the field
    is marked empty."""
    u = squeeze(points, field.unbounded).astype(np.float32)
    return kernels.field_density(field.levels, field.density_width, field.color_width, field.table, field.weights, u)


def field_normals(field: Field, points: np.ndarray, step: float = 0.005) -> np.ndarray:
    """Unit normals float32 (n, 3) at world points (n, 3): against the slope of the logarithm of density, by central
    differences over `step` radii; NaN where there is no slope."""
    at = (points - field.center) / field.radius
    ends = np.stack([at + s * step * np.eye(3)[a] for a in range(3) for s in (1, -1)])
    values = np.log(density_at(field, ends.reshape(-1, 3))).reshape(3, 2, -1)
    slope = (values[:, 1] - values[:, 0]).T
    length = np.linalg.norm(slope, axis=1, keepdims=True)
    return np.where(length > 0, slope / np.where(length > 0, length, 1), np.nan).astype(np.float32)


def render_normals(field: Field, camera: Camera, cam_from_world: np.ndarray) -> np.ndarray:
    """Unit normals in camera axes float32 (h, w, 3) of what `render_field` shows, facing the camera; NaN where it has
    no depth."""
    _, depth = render_field(field, camera, cam_from_world)
    y, x = np.nonzero(np.isfinite(depth))
    z = depth[y, x].astype(np.float64)
    ray = np.stack([(x + 0.5 - camera.cx) / camera.fx, (y + 0.5 - camera.cy) / camera.fy, np.ones(len(x))], -1)
    R, t = cam_from_world[:, :3], cam_from_world[:, 3]
    found = field_normals(field, (ray * z[:, None] - t) @ R) @ R.T.astype(np.float32)
    found *= np.where((found * ray).sum(1) > 0, -1, 1)[:, None].astype(np.float32)
    normals = np.full((*depth.shape, 3), np.nan, np.float32)
    normals[y, x] = found
    return normals
