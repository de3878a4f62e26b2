"""The surface that one photo shows: its depth map as a mesh that carries the photo, and as a cloud.

The world of these values has the photo's camera at its origin: x right, y forward, z up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rilievo.stages import relief_grid as grids
from rilievo.stages import relief_shape as shape
from rilievo.types import DepthMap, Mesh, PointCloud

# `cam_from_world` of the photo: world x right, y forward, z up.
PHOTO_FROM_WORLD = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0]])
PHOTO_FROM_WORLD.flags.writeable = False


@dataclass(frozen=True)
class ReliefConfig:
    """Settings of `prepare_surface`, `relief_mesh` and `relief_cloud`."""

    version: ClassVar[int] = 1

    jump: float = 0.04
    """a silhouette is where what lies behind is this share further away than the surface's own slope explains"""
    weak_jump: float = 0.012
    """along a silhouette, smaller jumps are cut too"""
    min_island: float = 3e-4
    """pieces of surface smaller than this share of the picture are left out"""
    max_bend: float = 0.0012
    """by what share of its distance the surface may depart from its triangles"""
    max_slide_px: float = 0.35
    """by how many pixels of the depth map the photo may slide on its triangles"""
    smoothing: int = 10
    """rounds of smoothing along the rims"""


@dataclass(frozen=True, eq=False)
class Surface:
    """What a depth map says of the surface, pixel by pixel.

    depth_map: silhouettes sharpened, normals set.  known: bool (h, w), where it has depth and is not left out as too
    small a piece.  inverse: 1/depth float32 (h, w), finite everywhere (elsewhere that of the nearest known pixel).
    tears: where the surface is cut.  cut_share, island_share: share of the pixels that touch a cut, or are left out.
    """

    depth_map: DepthMap
    known: np.ndarray
    inverse: np.ndarray
    tears: shape.Tears
    cut_share: float
    island_share: float


def prepare_surface(
    depth_map: DepthMap, pixels: np.ndarray | None = None, *, config: ReliefConfig | None = None
) -> Surface:
    """Finds where the surface tears, and makes soft silhouettes sharp.

    depth_map: of one photo, any frame; it is put into the photo's own. pixels: the photo uint8 (h, w, 3) of the map's
    size, to find silhouettes more exactly. Raises ValueError when the sizes differ.
    """
    config = config or ReliefConfig()
    depth = depth_map.depth
    if pixels is not None and pixels.shape != (*depth.shape, 3):
        raise ValueError(f"the photo is {pixels.shape}, its depth {depth.shape}")
    known = np.isfinite(depth) & (depth > 0)
    inverse = np.zeros(depth.shape, np.float32)
    np.divide(1, depth, out=inverse, where=known)
    inverse = shape.sharpen(inverse, known, pixels, rise=config.jump)
    tears = shape.find_tears(inverse, known, jump=config.jump, weak_jump=config.weak_jump)
    out = np.full(depth.shape, np.nan, np.float32)
    np.divide(1, inverse, out=out, where=known)
    prepared = replace(
        depth_map,
        cam_from_world=PHOTO_FROM_WORLD.copy(),
        depth=out,
        normals=shape.normals_of(inverse, known, depth_map.camera),
        sigma=np.where(known, depth_map.sigma, np.float32(np.nan)),
    )
    small = shape.small_pieces(known, tears, max(4, round(config.min_island * known.size)))
    if small.any():
        known = known & ~small
        tears = shape.Tears(tears.across | ~(known[:, 1:] & known[:, :-1]), tears.down | ~(known[1:] & known[:-1]))
        inverse = shape.fill_unknown(inverse, known)
    cut = np.zeros(known.shape, bool)
    cut[:, 1:] |= tears.across & known[:, 1:] & known[:, :-1]
    cut[1:] |= tears.down & known[1:] & known[:-1]
    return Surface(prepared, known, inverse, tears, float(cut.mean()), float(small.mean()))


def relief_mesh(surface: Surface, *, config: ReliefConfig | None = None) -> Mesh:
    """The surface as triangles that lie under the photo: uvs are places in it, (0, 0) its lower left corner.

    It is open where it tears and where there is no depth. sigma: standard deviation of the distance from the true
    surface, from that of depth.
    """
    config = config or ReliefConfig()
    depth_map, known = surface.depth_map, surface.known
    grid = grids.triangulate(
        surface.inverse,
        known,
        surface.tears,
        max_bend=config.max_bend,
        max_slide_px=config.max_slide_px,
        smoothing=config.smoothing,
    )
    gx, gy = shape.slopes(surface.inverse)
    vertices, uvs = place_vertices(grid, surface.inverse, gx, gy, depth_map)
    normals = depth_map.normals.reshape(-1, 3)[grid.home]
    return Mesh(
        vertices,
        grid.faces,
        normals=np.ascontiguousarray(to_world(normals)),
        sigma=_across_surface(depth_map.sigma.ravel()[grid.home], normals, vertices),
        uvs=uvs,
    )


def place_vertices(
    grid: grids.Grid, inverse: np.ndarray, gx: np.ndarray, gy: np.ndarray, depth_map: DepthMap
) -> tuple[np.ndarray, np.ndarray]:
    """(vertices float32 (v, 3) in the photo's world, uvs float32 (v, 2)): each on the plane of its home pixel."""
    camera = depth_map.camera
    width, height = camera.width, camera.height
    row, column = np.divmod(grid.home, width)
    step = grid.xy - np.stack([column + 0.5, row + 0.5], 1).astype(np.float32)
    w0 = inverse.ravel()[grid.home]
    w = w0 + gx.ravel()[grid.home] * step[:, 0] + gy.ravel()[grid.home] * step[:, 1]
    z = 1 / np.clip(w, w0 * 0.93, w0 * 1.07)  # half a pixel from home a steeper slope is no slope
    x = (grid.xy[:, 0] - camera.cx) / camera.fx * z
    y = (grid.xy[:, 1] - camera.cy) / camera.fy * z
    vertices = np.stack([x, z, -y], 1).astype(np.float32)
    uvs = np.stack([grid.xy[:, 0] / width, 1 - grid.xy[:, 1] / height], 1).astype(np.float32)
    return vertices, uvs


def to_world(x_in_cam: np.ndarray) -> np.ndarray:
    """Camera axes (n, 3) -> the photo's world."""
    return np.stack([x_in_cam[:, 0], x_in_cam[:, 2], -x_in_cam[:, 1]], 1)


def _across_surface(sigma_depth: np.ndarray, normals_cam: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Standard deviation across the surface of points whose depth has sigma_depth: they move along their rays."""
    rays = np.stack([vertices[:, 0], -vertices[:, 2], vertices[:, 1]], 1)
    along = np.einsum("ij,ij->i", rays, normals_cam) / np.maximum(vertices[:, 1], 1e-30)
    return (sigma_depth * np.abs(along)).astype(np.float32)


def relief_cloud(surface: Surface, pixels: np.ndarray) -> PointCloud:
    """A point for every pixel with depth, with the photo's colours; pixels uint8 (h, w, 3) of the map's size."""
    depth_map = surface.depth_map
    camera = depth_map.camera
    if pixels.shape != (*depth_map.depth.shape, 3):
        raise ValueError(f"the photo is {pixels.shape}, its depth {depth_map.depth.shape}")
    known = np.isfinite(depth_map.depth) & np.isfinite(depth_map.normals[..., 0])
    at = np.flatnonzero(known.ravel())
    row, column = np.divmod(at, camera.width)
    z = depth_map.depth.ravel()[at]
    x = ((column + 0.5 - camera.cx) / camera.fx).astype(np.float32) * z
    y = ((row + 0.5 - camera.cy) / camera.fy).astype(np.float32) * z
    points = np.stack([x, z, -y], 1)
    normals = depth_map.normals.reshape(-1, 3)[at]
    num = len(at)
    return PointCloud(
        points,
        np.ascontiguousarray(to_world(normals)),
        pixels.reshape(-1, 3)[at],
        depth_map.confidence.ravel()[at],
        _across_surface(depth_map.sigma.ravel()[at], normals, points),
        (z / np.float32(camera.fx)).astype(np.float32),
        (depth_map.name,),
        np.arange(num + 1, dtype=np.int64),
        np.zeros(num, np.int32),
        inferred=None if depth_map.inferred is None else depth_map.inferred.ravel()[at],
    )
