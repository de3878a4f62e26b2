"""Points that only two photos see: kept out of the adjustment, measured again from the final cameras.

Between two photos nothing contradicts a match that slid along the epipolar line, and on bricks, tiles and fences whole
groups of matches slide together. A third photo catches them. So where photos have enough longer tracks, those alone
decide the cameras (on idol, a stone on a tiled table, this takes the camera error from 4.9 gsd to 0.3); afterwards
two-photo points come back if they agree with the cameras and lie near points that more photos confirm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from rilievo.geometry import invert, project, undistort
from rilievo.types import Features, Reconstruction

if TYPE_CHECKING:
    import pycolmap

# A photo with this many observations of points that three or more photos see needs no others.
ENOUGH = 100
# How far from confirmed points a two-photo point may lie, in units of its depth.
NEAR = 0.15

Pair = tuple[tuple[str, int], tuple[str, int]]


def set_aside(model: pycolmap.Reconstruction) -> list[Pair]:
    """Takes points of two observations out of the model, in place, where both photos have enough longer tracks.

    Returns them as pairs of (photo name, keypoint index), in a fixed order.
    """
    tracks = {i: [(e.image_id, e.point2D_idx) for e in p.track.elements] for i, p in model.points3D.items()}
    count: dict[int, int] = {}
    for track in tracks.values():
        if len(track) > 2:
            for image_id, _ in track:
                count[image_id] = count.get(image_id, 0) + 1
    found = []
    for point_id, track in tracks.items():
        if len(track) == 2 and all(count.get(image_id, 0) >= ENOUGH for image_id, _ in track):
            model.delete_point3D(point_id)
            a, b = sorted((model.images[image_id].name, int(index)) for image_id, index in track)
            found.append((a, b))
    return sorted(found)


def bring_back(
    model: Reconstruction, aside: list[Pair], features: Mapping[str, Features], *, max_error_px: float
) -> Reconstruction:
    """The model with those pairs as points that fit: error at most max_error_px in both photos, rays at least 1.5
    degrees apart, in front of both, and no farther from points of three or more photos than NEAR times the depth."""
    from scipy.spatial import cKDTree

    if not aside:
        return model
    index = {name: k for k, name in enumerate(model.names)}
    aside = [pair for pair in aside if all(name in index for name, _ in pair)]
    photo = np.array([[index[name] for name, _ in pair] for pair in aside], np.int64).reshape(-1, 2)
    keypoint = np.array([[k for _, k in pair] for pair in aside], np.int64).reshape(-1, 2)
    xy = np.zeros((len(photo), 2, 2), np.float32)
    color = np.zeros((len(photo), 2, 3))
    ray = np.zeros((len(photo), 2, 3))
    for k, name in enumerate(model.names):
        at = photo == k
        pixels = features[name].keypoints[keypoint[at]]
        flat = undistort(model.camera(k), pixels.astype(np.float64))
        direction = np.concatenate([flat, np.ones((len(flat), 1))], 1) @ invert(model.cam_from_world[k])[:, :3].T
        xy[at], color[at] = pixels, features[name].colors[keypoint[at]]
        ray[at] = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    center = model.centers[photo]
    points, angle = midpoints(center, ray)
    good = (angle > np.deg2rad(1.5)) & np.isfinite(points).all(1)
    points = np.where(good[:, None], points, 0.0)
    error = np.zeros(photo.shape)
    depth = np.zeros(photo.shape)
    for k in range(len(model.names)):
        at = photo == k
        seen, z = project(model.camera(k), model.cam_from_world[k], points[np.nonzero(at)[0]])
        error[at], depth[at] = np.linalg.norm(seen - xy[at], axis=1), z
    good &= (depth > 0).all(1) & (np.nan_to_num(error, nan=np.inf) <= max_error_px).all(1)
    confirmed = np.bincount(model.obs_point, minlength=len(model.points)) > 2
    if confirmed.any() and good.any():
        near, _ = cKDTree(model.points[confirmed]).query(points[good], k=min(3, int(confirmed.sum())))
        good[good] = np.asarray(near).reshape(good.sum(), -1)[:, -1] <= NEAR * depth[good].min(1)
    kept = np.flatnonzero(good)
    first = len(model.points)
    number = np.arange(first, first + len(kept), dtype=np.int32)
    return replace(
        model,
        points=np.concatenate([model.points, points[kept]]),
        point_colors=np.concatenate([model.point_colors, np.floor(color[kept].mean(1) + 0.5).astype(np.uint8)]),
        point_errors_px=np.concatenate([model.point_errors_px, error[kept].mean(1).astype(np.float32)]),
        obs_point=np.concatenate([model.obs_point, np.repeat(number, 2)]),
        obs_photo=np.concatenate([model.obs_photo, photo[kept].reshape(-1).astype(np.int32)]),
        obs_xy=np.concatenate([model.obs_xy, xy[kept].reshape(-1, 2)]),
    )


def midpoints(center: np.ndarray, ray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) nearest to both rays of each pair, and the angles (n,) between the rays in radians.

    center, ray (n, 2, 3): starts and unit directions. Parallel rays give NaN.
    """
    a, b = ray[:, 0], ray[:, 1]
    base = center[:, 1] - center[:, 0]
    cos = np.clip(np.sum(a * b, 1), -1, 1)
    sin2 = 1 - cos * cos
    safe = np.where(sin2 > 1e-12, sin2, np.nan)
    s = (np.sum(base * a, 1) - cos * np.sum(base * b, 1)) / safe
    t = (cos * np.sum(base * a, 1) - np.sum(base * b, 1)) / safe
    p, q = center[:, 0] + s[:, None] * a, center[:, 1] + t[:, None] * b
    # Weighted by distance: the nearer camera knows the point better.
    w = (np.abs(t) / np.maximum(np.abs(s) + np.abs(t), 1e-30))[:, None]
    angle = np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), np.sum(a * b, 1))
    return w * p + (1 - w) * q, angle
