"""Sparse points for cameras that are known already: matches held against the known geometry, tracks, triangulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rilievo import geometry
from rilievo.errors import AlignmentError
from rilievo.stages import matches as matching
from rilievo.stages.cameras import in_order, point_errors
from rilievo.types import Camera, Features, Matches, Photo, Reconstruction


@dataclass(frozen=True)
class KnownConfig:
    """Settings of `match_known` and `place_known`."""

    version: ClassVar[int] = 1

    max_ratio: float = 0.9
    """a match must be nearer than this share of the second best's distance; the known cameras sort out the rest"""
    max_error_px: float = 2.0
    """distance from the epipolar line, and later from the projected point, at which a match counts as wrong"""
    min_angle_deg: float = 1.0
    """points whose lines of sight meet at less than this angle are dropped"""


def match_known(
    name1: str,
    features1: Features,
    others: Sequence[tuple[str, Features]],
    cameras: Mapping[str, Camera],
    cam_from_world: Mapping[str, np.ndarray],
    *,
    config: KnownConfig = KnownConfig(),
) -> Matches:
    """Matches of photo name1 with each of the others that fit the known cameras (Sampson distance, Hartley & Zisserman
    2004, eq. 11.9, in pixels)."""
    settings = replace(matching.MatchesConfig(), max_ratio=config.max_ratio)
    rows, num_raw = [], []
    for name0, features0 in others:
        raw = matching.MATCHERS[features1.extractor](features0, features1, settings)
        camera0, camera1 = cameras[name0], cameras[name1]
        x0 = geometry.undistort(camera0, features0.keypoints[raw[:, 0]].astype(np.float64))
        x1 = geometry.undistort(camera1, features1.keypoints[raw[:, 1]].astype(np.float64))
        one_from_zero = geometry.compose(cam_from_world[name1], geometry.invert(cam_from_world[name0]))
        R, t = one_from_zero[:, :3], one_from_zero[:, 3]
        cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
        focal = 0.5 * (camera0.fx + camera1.fx)
        kept = matching.near_epipolar(cross @ R, x0, x1, config.max_error_px / focal)
        rows.append(raw[kept])
        num_raw.append(len(raw))
    return Matches(
        extractor=features1.extractor,
        name1=name1,
        names0=tuple(name for name, _ in others),
        offsets=np.cumsum([0, *(len(r) for r in rows)], dtype=np.int64),
        matches=np.concatenate([np.zeros((0, 2), np.int32), *rows]),
        num_raw=np.array(num_raw, np.int32),
        kinds=np.full(len(rows), matching.CALIBRATED, np.int32),
    )


def place_known(
    photos: Sequence[Photo],
    features: Mapping[str, Features],
    matches: Sequence[Matches],
    cameras: Mapping[str, Camera],
    cam_from_world: Mapping[str, np.ndarray],
    *,
    unit: str = "unknown",
    config: KnownConfig = KnownConfig(),
) -> Reconstruction:
    """The known cameras, unchanged, with points triangulated from the matches.

    Matches are joined to tracks; a track with two keypoints in one photo is no single place and dropped. Each point is
    the one nearest to its lines of sight; observations farther from it than `max_error_px` go, one round after another.
    The frame is that of the known cameras.  Raises AlignmentError where the matches give no point at all.
    """
    names = tuple(sorted(cameras))
    row = {name: i for i, name in enumerate(names)}
    models, index = geometry.distinct_cameras(cameras[name] for name in names)
    track, photo, keypoint = _tracks(names, features, matches)
    xy = np.zeros((len(track), 2), np.float32)
    color = np.zeros((len(track), 3))
    ray = np.zeros((len(track), 3))
    centers = geometry.invert(np.stack([cam_from_world[n] for n in names]))[:, :, 3]
    for name, i in row.items():
        at = photo == i
        xy[at], color[at] = features[name].keypoints[keypoint[at]], features[name].colors[keypoint[at]]
        flat = geometry.undistort(cameras[name], xy[at].astype(np.float64))
        along = np.concatenate([flat, np.ones((len(flat), 1))], 1) @ cam_from_world[name][:, :3]
        ray[at] = along / np.linalg.norm(along, axis=1, keepdims=True)
    keep = np.ones(len(track), bool)
    points = np.zeros((0, 3))
    for limit in (4 * config.max_error_px, 2 * config.max_error_px, config.max_error_px):
        points, angle = _meet(centers[photo], ray, track, keep)
        error = np.full(len(track), np.inf)
        for name, i in row.items():
            at = photo == i
            seen, depth = geometry.project(cameras[name], cam_from_world[name], np.nan_to_num(points[track[at]]))
            error[at] = np.where(depth > 0, np.linalg.norm(seen - xy[at], axis=1), np.inf)
        keep &= (np.nan_to_num(error, nan=np.inf) <= limit) & (angle[track] >= np.deg2rad(config.min_angle_deg))
        keep &= np.bincount(track[keep], minlength=len(points))[track] > 1
    kept = np.unique(track[keep])
    if not len(kept):
        raise AlignmentError(
            "the photos do not fit the known cameras",
            f"no match of {len(names)} photos gives a point within {config.max_error_px:g} px",
            "check that the cameras are those of these photos, and that the photos were not cropped or turned since",
        )
    new = np.full(len(points), -1, np.int64)
    new[kept] = np.arange(len(kept))
    track, photo, xy, color = new[track[keep]], photo[keep], xy[keep], color[keep]
    count = np.bincount(track, minlength=len(kept))[:, None]
    mean = np.stack([np.bincount(track, color[:, c], len(kept)) for c in range(3)], 1) / count
    model = Reconstruction(
        names=names,
        camera_index=index,
        cameras=models,
        cam_from_world=np.stack([cam_from_world[n] for n in names]),
        points=points[kept],
        point_colors=np.floor(mean + 0.5).astype(np.uint8),
        point_errors_px=np.zeros(len(kept), np.float32),
        obs_point=track.astype(np.int32),
        obs_photo=photo.astype(np.int32),
        obs_xy=xy,
        unit=unit,
        scale_source="known cameras" if unit != "unknown" else "none",
        unplaced={p.name: "the known cameras do not name this photo" for p in photos if p.name not in row},
        intrinsics_note="Cameras are as they were given.",
    )
    return in_order(replace(model, point_errors_px=point_errors(model)))


def _tracks(
    names: Sequence[str], features: Mapping[str, Features], matches: Sequence[Matches]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(track, photo, keypoint) int64 (n,) each: keypoints that matches connect, sorted by track, photo, keypoint."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first = dict(zip(names, np.cumsum([0, *(len(features[n].keypoints) for n in names)]).tolist()))
    total = sum(len(features[n].keypoints) for n in names)
    pairs = [np.zeros((0, 2), np.int64)]
    for item in matches:
        for k, name0 in enumerate(item.names0):
            if name0 in first and item.name1 in first:
                rows = item.matches[item.offsets[k] : item.offsets[k + 1]].astype(np.int64)
                pairs.append(rows + [first[name0], first[item.name1]])
    edges = np.concatenate(pairs)
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(total, total))
    label = connected_components(graph, directed=False)[1]
    used = np.unique(edges)
    starts = np.array([first[n] for n in names])
    photo = np.searchsorted(starts, used, side="right") - 1
    track = np.unique(label[used], return_inverse=True)[1].reshape(-1)
    # Two places in one photo: the track joins what does not belong together.
    pair, count = np.unique(track * len(names) + photo, return_counts=True)
    bad = np.zeros(int(track.max(initial=-1)) + 1, bool)
    bad[pair[count > 1] // len(names)] = True
    good = ~bad[track]
    track, photo, keypoint = track[good], photo[good], (used - starts[photo])[good]
    order = np.lexsort((keypoint, photo, track))
    track = np.unique(track[order], return_inverse=True)[1].reshape(-1)
    return track, photo[order], keypoint[order]


def _meet(center: np.ndarray, ray: np.ndarray, track: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (t, 3) nearest to the kept rays of each track, and the widest angle (t,) of a ray to the mean ray, doubled
    (so that two rays give the angle between them)."""
    num = int(track.max(initial=-1)) + 1
    if not keep.any():
        return np.full((num, 3), np.nan), np.zeros(num)
    c, r, t = center[keep], ray[keep], track[keep]
    across = np.eye(3) - r[:, :, None] * r[:, None, :]
    A = np.stack([np.bincount(t, across[:, i, j], num) for i in range(3) for j in range(3)], 1).reshape(num, 3, 3)
    moved = np.einsum("nij,nj->ni", across, c)
    b = np.stack([np.bincount(t, moved[:, i], num) for i in range(3)], 1)
    solvable = np.linalg.cond(A) < 1e10
    points = np.full((num, 3), np.nan)
    points[solvable] = np.linalg.solve(A[solvable], b[solvable][..., None])[..., 0]
    mean = np.stack([np.bincount(t, r[:, i], num) for i in range(3)], 1)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-30)
    angle = np.zeros(num)
    np.maximum.at(angle, t, 2 * np.arccos(np.clip((r * mean[t]).sum(1), -1, 1)))
    return points, angle
