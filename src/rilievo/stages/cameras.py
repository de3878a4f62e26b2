"""Structure from motion: verified matches in, cameras and sparse points out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rilievo.errors import AlignmentError, InputError
from rilievo.geometry import project
from rilievo.stages import georeference, intrinsics, mapping, tracks, upright
from rilievo.stages.diagnose import no_model_error, one_standpoint, unplaced_reason
from rilievo.types import Camera, Features, Matches, Photo, Reconstruction

if TYPE_CHECKING:
    import pycolmap


@dataclass(frozen=True)
class CamerasConfig:
    """Settings of structure from motion."""

    version: ClassVar[int] = 3

    seed: int = 0
    """Seed of every random choice; the same seed gives the same bytes."""
    mapper: str = "auto"
    """incremental (robust), global (fast for large sets), or auto: global from 300 photos on."""
    refine: str = "auto"
    """Which intrinsics to refine: auto (distortion, and focal length and principal point where the photos determine
    them), focal (focal length and k1), none (as given or guessed)."""
    max_error_px: float = 4.0
    """Largest reprojection error of an observation, px (of a photo up to 3200 px; grows with larger ones)."""
    frame: str = "auto"
    """World frame: auto (east-north-up in metres when GPS allows, else upright), upright, or arbitrary."""


GLOBAL_FROM = 300
# A model with fewer of the connected photos than this share is tried to be bettered.
ENOUGH_PLACED = 0.8


def reconstruct(
    photos: Sequence[Photo],
    features: Mapping[str, Features],
    matches: Sequence[Matches],
    *,
    cameras: Mapping[str, Camera] | None = None,
    config: CamerasConfig = CamerasConfig(),
) -> Reconstruction:
    """Cameras and sparse points from verified matches.

    photos: all photos of the set.  features: photo name -> keypoints in px of the full photo.  matches: as `Matches`
    describes; pairs with fewer than 15 matches are not used.  cameras: photo name -> known intrinsics, held fixed.

    The largest model is returned; photos that are not in it are in `unplaced` with a reason, and `num_models` counts
    all models. Points are sorted by their coordinates, observations by point and photo: the same input gives the same
    bytes whatever the order of photos and the number of threads.

    Raises AlignmentError when fewer than two photos can be placed (no overlap, one standpoint), InputError for fewer
    than two photos or for features that are missing.
    """
    if config.mapper not in ("auto", "incremental", "global"):
        raise ValueError(f"mapper must be auto, incremental or global, not {config.mapper!r}")
    if config.refine not in ("auto", "focal", "none"):
        raise ValueError(f"refine must be auto, focal or none, not {config.refine!r}")
    if config.frame not in ("auto", "upright", "arbitrary"):
        raise ValueError(f"frame must be auto, upright or arbitrary, not {config.frame!r}")
    photos = sorted(photos, key=lambda p: p.name)
    if len(photos) < 2:
        raise InputError(
            f"a model needs at least 2 photos, got {len(photos)}",
            "depth comes from seeing the same point from two standpoints",
            "give a folder with overlapping photos, or use `rilievo depth` for one photo",
        )
    absent = [p.name for p in photos if p.name not in features]
    if absent:
        raise InputError(f"no keypoints for {absent[0]}", f"{len(absent)} of {len(photos)} photos have none", "")
    groups = intrinsics.group_cameras(photos, cameras, features=features, matches=matches)
    of_photo = {name: (g.id, g.camera, g.known_focal) for g in groups for name in g.names}
    cache, ids = mapping.make_cache(photos, features, matches, of_photo)
    limit = config.max_error_px * max(1.0, max(max(p.width, p.height) for p in photos) / 3200)
    held = {g.id for g in groups if g.fixed or config.refine == "none" or (len(ids) <= 2 and g.known_focal)}
    options = mapping.pipeline_options(config.seed, len(ids), held, max_error_px=limit)
    models = _map(cache, options, config, lambda: one_standpoint(features, matches, of_photo)) if ids else []
    if not models:
        raise no_model_error(photos, features, matches, of_photo)
    model, others = models[0], models[1:]
    aside = tracks.set_aside(model)
    model, note = intrinsics.adjust(model, groups, refine=config.refine, max_error_px=limit)
    result = _to_reconstruction(model, features, note, 1 + len(others))
    result = tracks.bring_back(result, aside, features, max_error_px=limit / 2)
    if len(result.names) < 2 or not len(result.points):
        raise no_model_error(photos, features, matches, of_photo)
    in_others = [sorted(m.images[i].name for i in m.reg_image_ids()) for m in others]
    unplaced = {
        p.name: unplaced_reason(p, photos, matches, result.names, in_others)
        for p in photos
        if p.name not in set(result.names)
    }
    result = replace(result, unplaced=unplaced)
    if config.frame == "arbitrary":
        return in_order(result)
    up, information = upright.up_from_cameras(result.cam_from_world)
    up = upright.refine_up(up, information, result.points, seed=config.seed)
    if config.frame == "auto":
        placed = georeference.to_enu(result, photos, up)
        if placed is not None:
            return in_order(placed)
    scale, upright_from_world = upright.upright_frame(result.cam_from_world, result.points, up)
    return in_order(replace(georeference.moved(result, scale, upright_from_world), frame="upright"))


def _map(
    cache: pycolmap.DatabaseCache,
    options: pycolmap.IncrementalPipelineOptions,
    config: CamerasConfig,
    one_place: Callable[[], bool],
) -> list[pycolmap.Reconstruction]:
    """All models, best first. Where few photos are placed, once more with the tracks of two photos (wide steps between
    the photos leave few others), and at last with starts of little parallax (video, distant scenes)."""
    count = cache.num_images()
    if config.mapper == "global" or (config.mapper == "auto" and count > GLOBAL_FROM):
        models = mapping.map_global(cache, options)
        if models and models[0].num_reg_images() >= ENOUGH_PLACED * count:
            return models
    else:
        models = mapping.map_incremental(cache, options)
    for attempt in ("two views", "little parallax"):
        if models and (attempt == "little parallax" or models[0].num_reg_images() >= ENOUGH_PLACED * count):
            break
        options.triangulation.ignore_two_view_tracks = False
        if attempt == "little parallax":
            if one_place():
                break
            options.mapper.init_min_tri_angle = 1.5
        more = mapping.map_incremental(cache, options)
        if more and (not models or more[0].num_reg_images() > models[0].num_reg_images()):
            models = more
    return models


def _to_reconstruction(
    model: pycolmap.Reconstruction, features: Mapping[str, Features], note: str, num_models: int
) -> Reconstruction:
    """pycolmap's model as our value: photos sorted by name, cameras by first photo, points not yet in final order."""
    placed = sorted((model.images[i].name, i) for i in model.reg_image_ids())
    names = tuple(name for name, _ in placed)
    camera_ids = list(dict.fromkeys(model.images[i].camera_id for _, i in placed))
    cameras = tuple(mapping.from_pycolmap(model.cameras[c]) for c in camera_ids)
    camera_index = np.array([camera_ids.index(model.images[i].camera_id) for _, i in placed], np.int32)
    cam_from_world = np.stack([np.asarray(model.images[i].cam_from_world().matrix()) for _, i in placed])
    order = {i: k for k, (_, i) in enumerate(placed)}
    points, colors = [], []
    obs: list[tuple[int, int, int]] = []
    for point in model.points3D.values():
        seen = [(order[e.image_id], e.point2D_idx) for e in point.track.elements if e.image_id in order]
        if len(seen) < 2:
            continue
        obs.extend((len(points), photo, keypoint) for photo, keypoint in seen)
        points.append(point.xyz)
    table = np.array(obs, np.int64).reshape(-1, 3)
    xyz = np.array(points, np.float64).reshape(-1, 3)
    obs_xy = np.zeros((len(table), 2), np.float32)
    obs_color = np.zeros((len(table), 3), np.float64)
    for k, name in enumerate(names):
        rows = np.flatnonzero(table[:, 1] == k)
        obs_xy[rows] = features[name].keypoints[table[rows, 2]]
        obs_color[rows] = features[name].colors[table[rows, 2]]
    count = np.maximum(np.bincount(table[:, 0], minlength=len(xyz)), 1)
    colors = np.stack([np.bincount(table[:, 0], obs_color[:, c], len(xyz)) for c in range(3)], 1) / count[:, None]
    result = Reconstruction(
        names=names,
        camera_index=camera_index,
        cameras=cameras,
        cam_from_world=np.ascontiguousarray(cam_from_world, np.float64),
        points=xyz,
        point_colors=np.floor(colors + 0.5).astype(np.uint8),
        point_errors_px=np.zeros(len(xyz), np.float32),
        obs_point=table[:, 0].astype(np.int32),
        obs_photo=table[:, 1].astype(np.int32),
        obs_xy=obs_xy,
        num_models=num_models,
        intrinsics_note=note,
    )
    return replace(result, point_errors_px=point_errors(result))


def point_errors(model: Reconstruction) -> np.ndarray:
    """Mean reprojection error of each point over its observations, px, float32 (p,)."""
    error = np.zeros(len(model.obs_point))
    for k in range(len(model.names)):
        rows = np.flatnonzero(model.obs_photo == k)
        xy, _ = project(model.camera(k), model.cam_from_world[k], model.points[model.obs_point[rows]])
        error[rows] = np.linalg.norm(xy - model.obs_xy[rows], axis=1)
    count = np.bincount(model.obs_point, minlength=len(model.points))
    total = np.bincount(model.obs_point, error, len(model.points))
    return (total / np.maximum(count, 1)).astype(np.float32)


def in_order(model: Reconstruction) -> Reconstruction:
    """Points sorted by coordinates, observations by point, photo and pixel."""
    p = model.points
    order = np.lexsort((p[:, 2], p[:, 1], p[:, 0]))
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    obs_point = rank[model.obs_point]
    t = np.lexsort((model.obs_xy[:, 1], model.obs_xy[:, 0], model.obs_photo, obs_point))
    return replace(
        model,
        points=p[order],
        point_colors=model.point_colors[order],
        point_errors_px=model.point_errors_px[order],
        obs_point=obs_point[t],
        obs_photo=model.obs_photo[t],
        obs_xy=model.obs_xy[t],
    )


__all__ = ["AlignmentError", "CamerasConfig", "point_errors", "reconstruct"]
