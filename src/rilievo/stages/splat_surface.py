"""Depth maps drawn from Gaussians: a way to surface for what stereo cannot match (thin, shiny)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rilievo import geometry, kernels
from rilievo.errors import InputError
from rilievo.stages.splat_rows import HARMONICS, MEAN, ROW, SH_C0, rows_of
from rilievo.types import Camera, DepthMap, Reconstruction, Splats

# A depth that planes give may differ from the median Gaussian's by this share of the depth: further off it is a mixture
# of near and far things.
MIX = 0.02
# Planes seen at a cosine below this say little about depth along the ray.
GRAZING = 0.1
MIN_SEEN = 20  # sparse points that a photo must see for its range of depths to be theirs


@dataclass(frozen=True)
class SplatDepthConfig:
    """How depth is drawn from Gaussians."""

    version: ClassVar[int] = 1

    min_stopped: float = 0.6
    """share of the light that Gaussians must stop for a pixel to have depth"""
    max_spread: float = 0.03
    """standard deviation of depth along a ray, as a share of depth, above which there is no surface"""
    spread_px: float = 4.0
    """spread along the ray, in footprints of a pixel, that halves the confidence"""
    sigma_px: float = 0.5
    """standard deviation that every depth has, in footprints of a pixel"""
    sigma_spread: float = 0.3
    """share of the spread along the ray that counts as standard deviation"""


class SplatDepths:
    """Gaussians made ready for many depth maps."""

    def __init__(self, splats: Splats) -> None:
        if not len(splats.means):
            raise InputError("there is no surface in the splats", "they hold no Gaussian", "train them again")
        self.splats = splats
        self._rows = rows_of(splats)
        R = geometry.rotation_from_quaternion(splats.quats)
        axis = splats.scales.argmin(1)
        self._normals = R[np.arange(len(R)), :, axis]
        self._frame: Any = None

    def draw(
        self,
        name: str,
        camera: Camera,
        cam_from_world: np.ndarray,
        depth_range: tuple[float, float],
        *,
        config: SplatDepthConfig = SplatDepthConfig(),
    ) -> DepthMap:
        """The depth map of one photo: see `splat_depth`."""
        if camera.model not in ("PINHOLE", "SIMPLE_PINHOLE"):
            raise ValueError(f"splats are drawn without distortion, not as {camera.model}")
        near, far = (float(d) for d in depth_range)
        if not (0 < near < far):
            raise ValueError(f"depth_range must be two positive depths, near first, got {depth_range}")
        placed = np.array(cam_from_world, np.float64, order="C")
        placed[:, 3] += placed[:, :3] @ self.splats.origin
        unit = min(far, 1e3 * near)  # what is carried as colour stays near 1
        p = self.splats.means @ placed[:, :3].T + placed[:, 3]
        rows = self._rows
        rows[:, HARMONICS:ROW] = 0
        carried = np.stack([np.abs(np.einsum("ni,ni->n", self._normals @ placed[:, :3].T, p)), p[:, 2] ** 2 / unit], 1)
        rows[:, HARMONICS : HARMONICS + 2] = (carried / unit - 0.5) / SH_C0
        self._frame = kernels.splat_forward(
            rows,
            np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float64),
            placed,
            camera.width,
            camera.height,
            0.5 * near,
            0,
            7,
            self.splats.antialiased,
            np.zeros(3, np.float32),
            True,
            self._frame,
        )
        return _depth_map(self._frame, name, camera, np.array(cam_from_world, np.float64), (near, far), unit, config)


def splat_depth(
    splats: Splats,
    name: str,
    camera: Camera,
    cam_from_world: np.ndarray,
    depth_range: tuple[float, float],
    *,
    config: SplatDepthConfig = SplatDepthConfig(),
) -> DepthMap:
    """What Gaussians say about the depth of one photo.

    camera: PINHOLE, of the map's size.  depth_range: nearest and farthest depth that counts as surface (`depth_limits`):
    Gaussians that stand for the sky or lie in front of the lens give none.

    Each Gaussian counts as the plane across its shortest axis. Distance from the camera and normal of these planes are
    blended as colours are, and the ray is met with the blended plane (Chen et al. 2024, "PGSR", eqs. 5 to 8): unlike the
    depth of centres it has no steps from one Gaussian to the next. It must lie near the Gaussian at which half of the
    light is gone; at edges, where planes of near and far things mix, that one's depth is taken instead.

    Confidence falls with the light that comes through and with the spread of depth along the ray. Sigma grows with that
    spread and with the difference of the two depths; it is never below half a footprint.

    Raises InputError without Gaussians, ValueError for a camera with distortion or a bad range.
    """
    return SplatDepths(splats).draw(name, camera, cam_from_world, depth_range, config=config)


def _depth_map(
    frame: Any,
    name: str,
    camera: Camera,
    cam_from_world: np.ndarray,
    depth_range: tuple[float, float],
    unit: float,
    config: SplatDepthConfig,
) -> DepthMap:
    features, stopped = frame.features, 1 - frame.transmittance
    share = 1 / np.maximum(stopped, np.float32(1e-6))
    median = frame.median_depth
    x = ((np.arange(camera.width) + 0.5 - camera.cx) / camera.fx).astype(np.float32)[None]
    y = ((np.arange(camera.height) + 0.5 - camera.cy) / camera.fy).astype(np.float32)[:, None]
    N = features[4:7]
    along = -(N[0] * x + N[1] * y + N[2])
    length = np.sqrt((N * N).sum(0))
    with np.errstate(all="ignore"):
        plane = features[0] * np.float32(unit) / along
        flat = along > GRAZING * np.sqrt(x * x + y * y + 1) * length
        off = np.abs(plane - median)
        flat &= off < MIX * median
        depth = np.where(flat, plane, median)
        mean = features[3] * share
        spread = np.sqrt(np.maximum(features[1] * share * np.float32(unit * unit) - mean * mean, 0))
        footprint = depth / np.float32(camera.fx)
        sigma = np.sqrt(
            (config.sigma_px * footprint) ** 2
            + (config.sigma_spread * spread) ** 2
            + np.where(flat, 0.5 * off, spread + footprint) ** 2
        )
        confidence = stopped / (1 + (spread / (config.spread_px * footprint)) ** 2)
        normals = (N / length).transpose(1, 2, 0)
    near, far = depth_range
    good = (median > 0) & (depth > near) & (depth < far) & (stopped >= config.min_stopped)
    good &= (spread < config.max_spread * depth) & (length > 1e-6) & (along > 0) & np.isfinite(sigma)
    nan = np.float32(np.nan)
    return DepthMap(
        name,
        camera,
        cam_from_world,
        np.where(good, depth, nan).astype(np.float32),
        np.where(good[..., None], normals, nan).astype(np.float32),
        np.where(good, np.clip(confidence, 0, 1), 0).astype(np.float32),
        np.where(good, sigma, nan).astype(np.float32),
    )
