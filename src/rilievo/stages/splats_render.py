"""Pictures of Gaussians from any camera, drawn by our own rasteriser."""

from __future__ import annotations

from typing import Any

import numpy as np

from rilievo import kernels
from rilievo.stages.splat_rows import rows_of
from rilievo.types import Camera, Splats


class SplatRenderer:
    """Gaussians made ready to be drawn many times."""

    def __init__(self, splats: Splats) -> None:
        self.splats = splats
        self._rows = rows_of(splats)
        self._frame: Any = None

    def draw(
        self,
        camera: Camera,
        cam_from_world: np.ndarray,
        *,
        background: tuple[float, float, float] | None = None,
        channels: int = 3,
        median: bool = False,
    ) -> Any:
        """What `kernels.splat_forward` draws for a PINHOLE camera; its arrays change with the next call. Raises
        ValueError when the camera has distortion."""
        if camera.model not in ("PINHOLE", "SIMPLE_PINHOLE"):
            raise ValueError(f"splats are drawn without distortion, not as {camera.model}")
        placed = np.array(cam_from_world, np.float64, order="C")
        placed[:, 3] += placed[:, :3] @ self.splats.origin
        self._frame = kernels.splat_forward(
            self._rows,
            np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float64),
            placed,
            camera.width,
            camera.height,
            self.near,
            self.splats.degree,
            channels,
            self.splats.antialiased,
            np.array(self.splats.background if background is None else background, np.float32),
            median,
            self._frame,
        )
        return self._frame

    @property
    def near(self) -> float:
        """Nothing nearer than this is drawn: a little beside the extent of the Gaussians."""
        if not hasattr(self, "_near"):
            means = self.splats.means
            spread = np.subtract(*np.quantile(means, [0.9, 0.1], axis=0)) if len(means) else np.ones(3)
            self._near = max(float(np.linalg.norm(spread)) * 1e-3, 1e-9)
        return self._near

    def picture(
        self,
        camera: Camera,
        cam_from_world: np.ndarray,
        *,
        background: tuple[float, float, float] | None = None,
    ) -> np.ndarray:
        """uint8 (h, w, 3)."""
        return to_bytes(self.draw(camera, cam_from_world, background=background).features)


def to_bytes(features: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) of colours float32 (>= 3, h, w), 0..1."""
    scaled = np.multiply(features[:3], np.float32(255))
    np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled)
    return np.ascontiguousarray(scaled.astype(np.uint8).transpose(1, 2, 0))


def render_splats(
    splats: Splats,
    camera: Camera,
    cam_from_world: np.ndarray,
    *,
    background: tuple[float, float, float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A picture uint8 (h, w, 3) and its depth float32 (h, w): where half of the light is stopped, NaN where it is not.

    camera: PINHOLE.  cam_from_world (3, 4).  background: colour 0..1 (default: the splats' own). Raises ValueError when
    the camera has distortion.
    """
    frame = SplatRenderer(splats).draw(camera, cam_from_world, background=background, channels=4, median=True)
    depth = np.array(frame.median_depth)
    depth[depth == 0] = np.nan
    return to_bytes(frame.features), depth
