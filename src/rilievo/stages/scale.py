"""One photo in metres: depth of the whole, lengths between pixels, and how far to trust them.

`fit_scale` finds scale and shift from references. Every sigma here is one standard deviation and counts the references,
the clicks, the focal length and the network's own error, which is the largest part and nearly the same for neighbours
(`scale_error`): so a length inside one object is better known than one across the picture, and all are better near the
references.
"""

from __future__ import annotations

import math

import numpy as np

from rilievo.stages.scale_error import Field, look_up
from rilievo.stages.scale_fit import DEFAULT, ScaleConfig, fit_scale
from rilievo.stages.scale_measure import (
    angle_at,
    depth_jump,
    depths_at,
    length_between,
    plus_minus,
    polyline_lengths,
    shared_error,
)
from rilievo.types import Camera, DepthMap, PhotoDepth, ScaleFit

__all__ = [
    "ScaleConfig", "angle_at", "depth_jump", "depths_at", "fit_scale", "length_between", "metric_depth", "plus_minus",
    "polyline_lengths",
]  # fmt: skip


def metric_depth(photo_depth: PhotoDepth, fit: ScaleFit, *, config: ScaleConfig = DEFAULT) -> DepthMap:
    """The whole photo in `fit.unit`: depth (NaN on sky, where unknown, and beyond infinity), normals, sigma.

    sigma holds network, references, focal length (as far as the references leave it in depth) and soft edges.
    """
    disparity = photo_depth.disparity
    with np.errstate(invalid="ignore", divide="ignore"):
        inverse = np.float32(fit.a) * disparity + np.float32(fit.b)
        depth = np.float32(1) / inverse
    depth[~(inverse > 0) | photo_depth.sky | ~np.isfinite(depth)] = np.nan
    sigma = depth * _relative_sigma(photo_depth, fit, config)
    eye = np.concatenate([np.eye(3), np.zeros((3, 1))], 1)
    normals = depth_normals(depth, photo_depth.camera)
    confidence = np.where(np.isfinite(depth), photo_depth.confidence, np.float32(0)).astype(np.float32)
    return DepthMap(photo_depth.name, photo_depth.camera, eye, depth, normals, confidence, sigma.astype(np.float32))


def _relative_sigma(photo_depth: PhotoDepth, fit: ScaleFit, config: ScaleConfig) -> np.ndarray:
    """float32 (h, w): computed on a grid of at most about 12 000 pixels and spread from there."""
    import cv2

    height, width = photo_depth.disparity.shape
    step = max(1, math.ceil(math.sqrt(height * width / 12000)))
    x, y = np.meshgrid(np.arange(step // 2, width, step) + 0.5, np.arange(step // 2, height, step) + 0.5)
    places = look_up(photo_depth, np.stack([x.reshape(-1), y.reshape(-1)], 1))
    known = np.isfinite(places.disparity) & (fit.a * places.disparity + fit.b > 0)
    variance = np.full(len(places), np.nan)
    if known.any():
        at = places.rows(known)
        field = Field.of(photo_depth, fit.a, fit.b)
        parts = []
        for k in range(0, len(at), 500):
            some = at.rows(np.arange(k, min(k + 500, len(at))))
            by_ab, shared, anchored = shared_error(field, fit, some, photo_depth)
            own = fit.spread**2 * field.alone(some) + field.click(some, config.click_px)
            moved = np.einsum("ni,ij,nj->n", by_ab, fit.covariance, by_ab) - 2 * (by_ab * anchored).sum(1)
            parts.append(np.diag(shared) + own + moved)
        variance[known] = np.concatenate(parts)
        variance[~known] = np.median(variance[known])
    small = np.sqrt(np.maximum(variance, 0.0)).reshape(x.shape).astype(np.float32)
    if step == 1:
        return small
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def depth_normals(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Unit normals facing the camera, float32 (h, w, 3), from central differences of inverse depth (of a plane it is
    linear in the pixel); NaN where depth is. Next to unknown depth the difference to the one side is taken."""
    with np.errstate(invalid="ignore", divide="ignore"):
        inverse = np.float32(1) / depth
    wx, wy = _difference(inverse, 1), _difference(inverse, 0)
    height, width = depth.shape
    x = ((np.arange(width) + 0.5 - camera.cx) / camera.fx).astype(np.float32)[None, :]
    y = ((np.arange(height) + 0.5 - camera.cy) / camera.fy).astype(np.float32)[:, None]
    # Plane n . X = 1 with X = depth (x, y, 1): inverse depth = n . (x, y, 1).
    out = np.empty((height, width, 3), np.float32)
    out[..., 0], out[..., 1] = wx * np.float32(camera.fx), wy * np.float32(camera.fy)
    out[..., 2] = inverse - out[..., 0] * x - out[..., 1] * y
    norm = np.sqrt(out[..., 0] ** 2 + out[..., 1] ** 2 + out[..., 2] ** 2)
    norm = np.maximum(norm, np.float32(1e-20))
    out /= -norm[..., None]
    return out


def _difference(values: np.ndarray, axis: int) -> np.ndarray:
    """Central differences, one-sided next to NaN and borders; 0 where there is no neighbour, NaN where values are."""
    v = np.moveaxis(values, axis, 0)
    after, before = np.zeros_like(v), np.zeros_like(v)
    step = v[1:] - v[:-1]
    good = np.isfinite(step)
    after[:-1] = np.where(good, step, 0)
    before[1:] = np.where(good, step, 0)
    count = np.zeros(v.shape, np.float32)
    count[:-1] += good
    count[1:] += good
    out = (after + before) / np.maximum(count, 1)
    out[~np.isfinite(v)] = np.nan
    return np.moveaxis(out, 0, axis)
