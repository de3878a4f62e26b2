"""Views for dense matching: undistorted photos at working size, and which photos to match with which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rilievo import geometry
from rilievo.errors import InputError
from rilievo.types import Camera, Reconstruction, View


def undistort_view(
    pixels: np.ndarray,
    camera: Camera,
    cam_from_world: np.ndarray,
    name: str,
    *,
    max_size: int,
    mask: np.ndarray | None = None,
    alpha: np.ndarray | None = None,
) -> View:
    """The photo as a PINHOLE camera of at most `max_size` px on its longer side would have taken it.

    pixels: uint8 (h, w, 3), the full photo.  camera: its camera (any model).  mask: bool (h, w), True where usable.
    alpha: uint8 (h, w), how opaque the photo is; `pixels` are not multiplied by it. Where the photo is resampled,
    colours count by their alpha, so that nothing bleeds in from behind the outline.
    The view keeps the photo's focal length (times the scale; fx and fy become one value's scaled pair) and covers the
    whole photo as far as that costs at most 15 % more pixels a side; what lies outside of the photo is masked. When the
    photo shrinks, a Gaussian of the matching width removes what the smaller image could not show. Raises InputError
    when the pixels do not have the camera's size.
    """
    import cv2

    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise TypeError(f"pixels must be uint8 (h, w, 3), got {pixels.dtype} {pixels.shape}")
    if pixels.shape[:2] != (camera.height, camera.width):
        raise InputError(
            f"{name} cannot be undistorted",
            f"the photo has {pixels.shape[1]} x {pixels.shape[0]} pixels, its camera {camera.width} x {camera.height}",
            "run the alignment again with the photos as they are now",
        )
    if mask is not None and mask.shape != pixels.shape[:2]:
        raise InputError(
            f"the mask of {name} does not fit",
            f"it has {mask.shape[1]} x {mask.shape[0]} pixels, the photo {camera.width} x {camera.height}",
            "save the mask with the size of the photo",
        )
    if alpha is not None and (alpha.shape != pixels.shape[:2] or alpha.dtype != np.uint8):
        raise TypeError(f"alpha must be uint8 {pixels.shape[:2]}, got {alpha.dtype} {alpha.shape}")
    if max_size < 16:
        raise ValueError(f"max_size must be at least 16, got {max_size}")
    target = pinhole_for(camera, max_size)
    w, h = target.width, target.height
    straight = camera.model in ("PINHOLE", "SIMPLE_PINHOLE")
    same = straight and (w, h) == (camera.width, camera.height)
    if same:
        valid = None if mask is None else np.asarray(mask, bool)
        return View(name, np.ascontiguousarray(pixels), target, np.asarray(cam_from_world, np.float64), valid, alpha)

    shrink = camera.fx / target.fx
    sigma = 0.0
    if shrink > 1.0:
        # A pixel of the view averages a square of `shrink` pixels; the Gaussian has the variance of that square less
        # that of the pixel already there.
        sigma = float(np.sqrt(max(shrink * shrink - 1.0, 0.0) / 12.0))
    map_x, map_y = _sampling_grid(camera, target)

    def resample(image: np.ndarray) -> np.ndarray:
        if sigma > 0.2:
            image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        return cv2.remap(image, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    if alpha is None:
        out = resample(pixels)
    else:
        weight = alpha.astype(np.float32)
        there = resample(weight)
        colours = resample(pixels * weight[..., None]) / np.maximum(there, 0.5)[..., None]
        out = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
        alpha = np.clip(np.rint(there), 0, 255).astype(np.uint8)
    valid = (map_x >= -0.5) & (map_x <= camera.width - 0.5) & (map_y >= -0.5) & (map_y <= camera.height - 0.5)
    if mask is not None:
        there = cv2.remap(
            np.asarray(mask, np.uint8), map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0
        )
        valid &= there > 0
    valid = None if valid.all() else valid
    return View(name, out, target, np.asarray(cam_from_world, np.float64), valid, alpha)


def pinhole_for(camera: Camera, max_size: int) -> Camera:
    """PINHOLE camera that covers the field of `camera`, at most max_size px on the longer side."""
    if camera.model in ("PINHOLE", "SIMPLE_PINHOLE"):
        left, top, right, bottom = 0.0, 0.0, float(camera.width), float(camera.height)
        fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    else:
        # Where the edges of the photo fall in the undistorted image of the same focal length.
        t = np.linspace(0.0, 1.0, 65)
        w, h = float(camera.width), float(camera.height)
        edges = [
            np.stack([t * 0, t * h], 1),
            np.stack([t * w, t * 0], 1),
            np.stack([t * 0 + w, t * h], 1),
            np.stack([t * w, t * 0 + h], 1),
        ]
        fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
        ideal = [geometry.undistort(camera, e) * [fx, fy] + [cx, cy] for e in edges]
        slack = 0.15
        left = float(np.clip(ideal[0][:, 0].min(), -slack * w, slack * w))
        top = float(np.clip(ideal[1][:, 1].min(), -slack * h, slack * h))
        right = float(np.clip(ideal[2][:, 0].max(), w - slack * w, w + slack * w))
        bottom = float(np.clip(ideal[3][:, 1].max(), h - slack * h, h + slack * h))
    width, height = right - left, bottom - top
    scale = min(1.0, max_size / max(width, height))
    out_w, out_h = max(int(np.floor(width * scale + 1e-6)), 4), max(int(np.floor(height * scale + 1e-6)), 4)
    params = np.array([fx * scale, fy * scale, (cx - left) * scale, (cy - top) * scale], np.float64)
    return Camera("PINHOLE", out_w, out_h, params)


def _sampling_grid(camera: Camera, target: Camera) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of `target` the array index in the photo of `camera`: float32 (h, w) for x and for y."""
    x = (np.arange(target.width) + 0.5 - target.cx) / target.fx
    map_x = np.empty((target.height, target.width), np.float32)
    map_y = np.empty_like(map_x)
    for begin in range(0, target.height, 64):  # in bands: the float64 intermediates stay small
        rows = np.arange(begin, min(begin + 64, target.height))
        y = (rows + 0.5 - target.cy) / target.fy
        xy = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), -1).reshape(-1, 2)
        uv = geometry.distort(camera, xy).reshape(len(rows), target.width, 2) - 0.5
        map_x[rows], map_y[rows] = uv[..., 0], uv[..., 1]
    return map_x, map_y


@dataclass(frozen=True)
class SourcesConfig:
    """How photos are chosen to be matched with each photo."""

    version: ClassVar[int] = 1

    num_sources: int = 5
    """photos that each photo is matched with"""
    best_angle_deg: float = 14.0
    """angle between two lines of sight that counts most"""
    min_angle_deg: float = 1.5
    """below this angle depth is not measured"""
    max_angle_deg: float = 60.0
    """above this angle surfaces look too different"""
    min_shared: int = 8
    """sparse points two photos must share"""


def select_sources(
    reconstruction: Reconstruction, *, config: SourcesConfig | None = None
) -> dict[str, tuple[str, ...]]:
    """For each placed photo the photos to match it with, best first; an empty tuple where none shares enough.

    A sparse point seen by both photos counts by the angle between the lines of sight and by the ratio of scales (the
    idea of Goesele et al. 2007, section 3, with a smooth fall on both sides of the best angle). Photos are taken one
    after another; a point that has already been covered twice counts less, so that each part of the photo is seen by
    several sources. Ties go to the name that sorts first.
    """
    config = config or SourcesConfig()
    r = reconstruction
    n = len(r.names)
    visible = np.zeros((n, len(r.points)), bool)
    visible[r.obs_photo, r.obs_point] = True
    focal = np.array([0.5 * (r.camera(i).fx + r.camera(i).fy) for i in range(n)])
    centers = r.centers
    out: dict[str, tuple[str, ...]] = {}
    for i in range(n):
        points = np.flatnonzero(visible[i])
        if not len(points):
            out[r.names[i]] = ()
            continue
        x = r.points[points]
        weights = np.zeros((n, len(points)))
        for j in range(n):
            shared = visible[j, points]
            if j != i and shared.sum() >= config.min_shared:
                weights[j, shared] = _pair_weight(x[shared], centers[i], centers[j], focal[i], focal[j], config)
        # Points that crowd in one place should not outvote the rest of the photo: cells of a 12 x 12 grid weigh alike
        # (by the root of their number).
        weights *= _crowding(r, i, points)
        names = _greedy(weights, config.num_sources, [*r.names])
        out[r.names[i]] = names
    return out


def _pair_weight(
    x: np.ndarray, center0: np.ndarray, center1: np.ndarray, focal0: float, focal1: float, config: SourcesConfig
) -> np.ndarray:
    """Usefulness 0..1 of a second photo for each point (k, 3)."""
    d0, d1 = center0 - x, center1 - x
    l0, l1 = np.linalg.norm(d0, axis=1), np.linalg.norm(d1, axis=1)
    cosine = (d0 * d1).sum(1) / np.maximum(l0 * l1, 1e-300)
    angle = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    below = np.exp(-((angle - config.best_angle_deg) ** 2) / (2 * (0.45 * config.best_angle_deg) ** 2))
    above = np.exp(-((angle - config.best_angle_deg) ** 2) / (2 * (1.1 * config.best_angle_deg) ** 2))
    by_angle = np.where(angle < config.best_angle_deg, below, above)
    by_angle[(angle < config.min_angle_deg) | (angle > config.max_angle_deg)] = 0.0
    ratio = (focal1 / np.maximum(l1, 1e-300)) / (focal0 / np.maximum(l0, 1e-300))
    # A source that sees the surface coarser matches less precisely; a finer one is hardly worse.
    by_scale = np.where(ratio < 1.0, ratio**2, np.minimum(1.0, (1.6 / np.maximum(ratio, 1e-12)) ** 2))
    return by_angle * by_scale


def _crowding(r: Reconstruction, photo: int, points: np.ndarray) -> np.ndarray:
    camera = r.camera(photo)
    uv, _ = geometry.project(camera, r.cam_from_world[photo], r.points[points])
    uv = np.nan_to_num(uv)
    cell = np.clip((uv / [camera.width, camera.height] * 12).astype(np.int64), 0, 11)
    key = cell[:, 1] * 12 + cell[:, 0]
    count = np.bincount(key, minlength=144)
    return 1.0 / np.sqrt(count[key])


def _greedy(weights: np.ndarray, num: int, names: list[str]) -> tuple[str, ...]:
    covered = np.zeros(weights.shape[1])
    left = [j for j in range(len(weights)) if weights[j].any()]
    chosen: list[int] = []
    while left and len(chosen) < num:
        need = 1.0 / (1.0 + np.maximum(covered - 1.0, 0.0))
        gains = [(-float(np.round((weights[j] * need).sum(), 9)), names[j], j) for j in left]
        best = min(gains)[2]
        chosen.append(best)
        left.remove(best)
        covered += weights[best]
    return tuple(names[j] for j in chosen)


def depth_range(reconstruction: Reconstruction, name: str) -> tuple[float, float]:
    """Nearest and farthest depth to expect in one photo, from the sparse points that it sees, with margins.

    Raises InputError when the photo is not placed or sees fewer than three points.
    """
    depth = _seen_points(reconstruction, name)[1]
    if len(depth) < 3:
        raise InputError(
            f"the depth range of {name} is unknown",
            f"it sees {len(depth)} sparse points; at least 3 are needed",
            "leave this photo out of dense matching",
        )
    near, far = np.quantile(depth, [0.01, 0.99])
    near, far = min(near, np.median(depth)) / 1.6, far * 1.35
    return float(near), float(far)


def sparse_seeds(reconstruction: Reconstruction, view: View) -> np.ndarray:
    """Sparse points that the view's photo observed, as float32 (k, 3): x, y in pixels of the view, and depth."""
    points, _ = _seen_points(reconstruction, view.name)
    uv, depth = geometry.project(view.camera, view.cam_from_world, reconstruction.points[points])
    inside = (uv >= 0).all(1) & (uv[:, 0] < view.camera.width) & (uv[:, 1] < view.camera.height)
    return np.concatenate([uv, depth[:, None]], 1)[inside].astype(np.float32)


def _seen_points(r: Reconstruction, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the points one photo observes, in front of it, and their depth."""
    if name not in r.names:
        raise InputError(f"{name} has no place in the reconstruction", r.unplaced.get(name, ""), "see `rilievo why`")
    i = r.names.index(name)
    points = np.unique(r.obs_point[r.obs_photo == i])
    depth = geometry.transform(r.cam_from_world[i], r.points[points])[:, 2]
    ahead = depth > 1e-9
    return points[ahead], depth[ahead]
