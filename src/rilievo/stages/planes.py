"""What plane-sweeping stereo works on: image pyramids with their projections, and planes for depth and normals.

A plane at a pixel is (w, a, b): inverse depth and its change per pixel to the right and down (native/stereo.h). All
coordinates here are array indices (the centre of the top-left pixel is (0, 0)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rilievo.types import Camera, DepthMap, View


@dataclass(frozen=True)
class Level:
    """A view and its sources at one size.

    reference: uint8 (h, w), 0 = no picture.  sources: uint8 (n, hs, ws), each in the upper left corner; sizes: int32
    (n, 2), height and width of each.  projections: float32 (n, 3, 4), homogeneous source index from (x, y, 1, w).
    K: of the reference, for indices.  step: inverse depth that moves a match by about one pixel.
    """

    reference: np.ndarray
    sources: np.ndarray
    sizes: np.ndarray
    projections: np.ndarray
    K: np.ndarray
    step: float

    @property
    def images(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The leading arguments of the stereo kernels."""
        return self.reference, self.sources, self.sizes, self.projections


def index_matrix(K: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """K for array indices, of an image `scale` times as large."""
    out = np.array(K, np.float64)
    out[:2] *= scale
    out[:2, 2] -= 0.5
    return out


def build_levels(view: View, sources: Sequence[View], num_levels: int, *, shrink: int = 1) -> list[Level]:
    """Coarse to fine; fewer levels when an image would fall below 48 pixels. The finest is `shrink` times smaller than
    the view (a power of two)."""
    reference = [grey_image(view)]
    others = [[grey_image(s)] for s in sources]
    scale = 1.0
    while scale * shrink > 1.0:
        scale *= 0.5
        for images in [reference, *others]:
            images[0] = halve(images[0])
    while len(reference) < num_levels and min(min(g[-1].shape) for g in [reference, *others]) >= 96:
        for images in [reference, *others]:
            images.append(halve(images[-1]))
    return [
        _level(view, sources, reference[k], [o[k] for o in others], scale * 0.5**k)
        for k in reversed(range(len(reference)))
    ]


def camera_of_size(camera: Camera, height: int, width: int) -> Camera:
    """The PINHOLE camera of an image halved as often as it takes to come from `camera`'s to this size."""
    scale = 1.0
    while camera.width * scale >= 2 * width:
        scale *= 0.5
    return camera if scale == 1.0 else Camera("PINHOLE", width, height, np.array([*camera.params]) * scale)


def _level(view: View, sources: Sequence[View], reference: np.ndarray, others: list[np.ndarray], scale: float) -> Level:
    sizes = np.array([o.shape for o in others], np.int32)
    stack = np.zeros((len(others), *np.maximum(sizes.max(0), 2)), np.uint8)
    projections = np.empty((len(others), 3, 4))
    K = index_matrix(view.camera.K, scale)
    shifts = []
    for k, (s, pixels) in enumerate(zip(sources, others, strict=True)):
        stack[k, : sizes[k, 0], : sizes[k, 1]] = pixels
        source_from_view = relative(s, view)
        projections[k] = projection(index_matrix(s.camera.K, scale), source_from_view, K)
        # How far a match moves per unit of inverse depth, seen from the reference: focal length times baseline.
        shifts.append(
            np.hypot(*(K[0, 0] * source_from_view[:2, 3])) or np.linalg.norm(K[0, 0] * source_from_view[:, 3])
        )
    step = 1.0 / max(float(np.median(shifts)), 1e-12)
    return Level(reference, stack, sizes, projections.astype(np.float32), K, step)


def relative(to: View | DepthMap, of: View | DepthMap) -> np.ndarray:
    """(3, 4): the camera axes of `to` from those of `of`."""
    R = to.cam_from_world[:, :3] @ of.cam_from_world[:, :3].T
    return np.concatenate([R, (to.cam_from_world[:, 3] - R @ of.cam_from_world[:, 3])[:, None]], 1)


def projection(K_to: np.ndarray, to_from_of: np.ndarray, K_of: np.ndarray) -> np.ndarray:
    """(3, 4): K_to [R K_of^-1 | t]."""
    return np.concatenate([K_to @ to_from_of[:, :3] @ np.linalg.inv(K_of), K_to @ to_from_of[:, 3:]], 1)


def grey_image(view: View) -> np.ndarray:
    """uint8 (h, w), at least 1 where the view may be used and 0 elsewhere."""
    import cv2

    grey = np.maximum(cv2.cvtColor(view.pixels, cv2.COLOR_RGB2GRAY), 1)
    if view.mask is not None:
        grey[~view.mask] = 0
    return grey


def halve(grey: np.ndarray) -> np.ndarray:
    """Half the size by averaging 2 x 2 pixels; 0 (no picture) where one of them is."""
    h, w = grey.shape[0] // 2 * 2, grey.shape[1] // 2 * 2
    quarter = [grey[i:h:2, j:w:2] for i in (0, 1) for j in (0, 1)]
    total = sum((q.astype(np.uint16) for q in quarter), np.uint16(2))
    out = np.asarray(total // 4, np.uint8)
    out[np.minimum.reduce(quarter) == 0] = 0
    return out


def start_planes(
    level: Level, seeds: np.ndarray, scale: float, limits: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """float32 (h, w, 3): random inverse depth within `limits`, and fronto-parallel planes of the seeds around them.

    seeds: (k, 3) x, y in pixels of the full view and depth; `scale`: size of this level relative to it.
    """
    h, w = level.reference.shape
    planes = np.zeros((h, w, 3), np.float32)
    planes[..., 0] = rng.uniform(*limits, (h, w))
    good = np.isfinite(seeds).all(1) & (seeds[:, 2] > 0)
    x = np.floor(seeds[good, 0] * scale).astype(np.int64)
    y = np.floor(seeds[good, 1] * scale).astype(np.int64)
    inverse = 1.0 / seeds[good, 2]
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            inside = (x + dx >= 0) & (x + dx < w) & (y + dy >= 0) & (y + dy < h)
            planes[y[inside] + dy, x[inside] + dx, 0] = np.clip(inverse[inside], *limits)
    return planes


def double_planes(planes: np.ndarray, costs: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Planes float32 (h, w, 3) and their costs of an image of half the size, carried over to `shape`."""
    h, w = shape
    y, x = np.arange(h), np.arange(w)
    cy, cx = np.minimum(y // 2, planes.shape[0] - 1), np.minimum(x // 2, planes.shape[1] - 1)
    out = planes[np.ix_(cy, cx)]
    dy, dx = ((y - 0.5) / 2 - cy).astype(np.float32), ((x - 0.5) / 2 - cx).astype(np.float32)
    out[..., 0] += out[..., 1] * dx[None, :] + out[..., 2] * dy[:, None]
    out[..., 1:] *= np.float32(0.5)
    return out, costs[np.ix_(cy, cx)]


def planes_to_depth(planes: np.ndarray, K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth float32 (h, w) and unit normals float32 (h, w, 3) in camera axes, facing the camera. K: for indices."""
    h, w = planes.shape[:2]
    inverse, a, b = (planes[..., k] for k in range(3))
    x, y = np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)[:, None]
    n = np.empty((h, w, 3), np.float32)
    n[..., 0] = -np.float32(K[0, 0]) * a
    n[..., 1] = -np.float32(K[1, 1]) * b
    n[..., 2] = -(inverse + a * (np.float32(K[0, 2]) - x) + b * (np.float32(K[1, 2]) - y))
    n /= np.sqrt((n * n).sum(2, keepdims=True))
    return 1.0 / inverse, n


def depth_to_planes(depth: np.ndarray, normals: np.ndarray, K: np.ndarray) -> np.ndarray:
    """The planes float32 (h, w, 3) of a depth map with normals; NaN where unknown. K: for indices."""
    h, w = depth.shape
    rx = ((np.arange(w) - K[0, 2]) / K[0, 0]).astype(np.float32)
    ry = ((np.arange(h) - K[1, 2]) / K[1, 1]).astype(np.float32)[:, None]
    along = normals[..., 0] * rx + normals[..., 1] * ry + normals[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        per_pixel = 1.0 / (depth * along)
    out = np.empty((h, w, 3), np.float32)
    out[..., 0] = 1.0 / depth
    out[..., 1] = normals[..., 0] * per_pixel / np.float32(K[0, 0])
    out[..., 2] = normals[..., 1] * per_pixel / np.float32(K[1, 1])
    return out
