"""From verified matches to models: pycolmap's mappers fed with our keypoints, in memory and repeatable.

The incremental mapper follows Schönberger & Frahm, "Structure-from-Motion Revisited" (CVPR 2016); the global one Pan et
al., "Global Structure-from-Motion Revisited" (ECCV 2024). Every random choice is seeded. The mappers run on one thread:
with two, Ceres adds residuals in an order that depends on timing and the last digits of the answer with it. Pinning
costs little for small sets: Ceres uses one thread below 50 000 residuals anyway (tests hold the bytes equal).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from rilievo.types import CAMERA_PARAMS, Camera, Features, Matches, Photo

if TYPE_CHECKING:
    import pycolmap

# A pair counts as connected from this many verified matches on (COLMAP's min_num_matches).
MIN_PAIR_MATCHES = 15
# Matches that a photo needs with the model's points to be registered.
MIN_REGISTER = 30


@contextmanager
def quiet() -> Iterator[Any]:
    """pycolmap with its log silenced: what there is to say is returned as data."""
    import pycolmap

    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.FATAL)
    try:
        yield pycolmap
    finally:
        pycolmap.logging.minloglevel = before


def pairs(matches: Sequence[Matches]) -> Iterator[tuple[str, str, np.ndarray, int, int]]:
    """(name0, name1, matches (m, 2), num_raw, kind) of every pair that was tried."""
    for item in matches:
        for k, name0 in enumerate(item.names0):
            rows = item.matches[item.offsets[k] : item.offsets[k + 1]]
            yield name0, item.name1, rows, int(item.num_raw[k]), int(item.kinds[k])


def components(
    names: Sequence[str], matches: Sequence[Matches], min_matches: int = MIN_PAIR_MATCHES
) -> list[list[str]]:
    """Groups of photos that verified matches connect, largest first, names sorted; photos alone are groups of one."""
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for name0, name1, rows, _, _ in pairs(matches):
        if len(rows) >= min_matches and name0 in parent and name1 in parent:
            a, b = sorted((root(name0), root(name1)))
            parent[b] = a
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(root(name), []).append(name)
    return sorted(groups.values(), key=lambda g: (-len(g), g))


def to_pycolmap(camera: Camera, camera_id: int, *, prior_focal: bool) -> pycolmap.Camera:
    """Our camera as pycolmap's."""
    import pycolmap

    cam = pycolmap.Camera(
        model=camera.model, width=camera.width, height=camera.height, params=camera.params.copy(), camera_id=camera_id
    )
    cam.has_prior_focal_length = prior_focal
    return cam


def from_pycolmap(camera: pycolmap.Camera) -> Camera:
    """pycolmap's camera as ours. Raises ValueError for a model that rilievo does not know."""
    name = camera.model.name
    if name not in CAMERA_PARAMS:
        raise ValueError(f"unknown camera model {name!r}; known: {', '.join(CAMERA_PARAMS)}")
    return Camera(name, int(camera.width), int(camera.height), np.array(camera.params, np.float64))


def make_cache(
    photos: Sequence[Photo],
    features: Mapping[str, Features],
    matches: Sequence[Matches],
    cameras: Mapping[str, tuple[int, Camera, bool]],
) -> tuple[pycolmap.DatabaseCache, dict[str, int]]:
    """The scene graph in memory and the image id of each photo.

    cameras: photo name -> (camera id, starting intrinsics, focal length known). Photos that no pair connects are left
    out. Ids follow the sorted names, so that the order in which the photos are given changes nothing.
    """
    import pycolmap

    cache = pycolmap.DatabaseCache()
    rows = [(name0, name1, m, kind) for name0, name1, m, _, kind in pairs(matches) if len(m) >= MIN_PAIR_MATCHES]
    rows.sort(key=lambda r: (r[0], r[1]))
    connected = {name for row in rows for name in row[:2]}
    ids = {photo.name: k + 1 for k, photo in enumerate(sorted(photos, key=lambda p: p.name)) if photo.name in connected}
    for camera_id, camera, known in sorted({cameras[n][0]: cameras[n] for n in ids}.values(), key=lambda c: c[0]):
        cam = to_pycolmap(camera, camera_id, prior_focal=known)
        cache.add_camera(cam)
        rig = pycolmap.Rig(rig_id=camera_id)
        rig.add_ref_sensor(cam.sensor_id)
        cache.add_rig(rig)
    for name, i in sorted(ids.items(), key=lambda item: item[1]):
        camera_id = cameras[name][0]
        keypoints = features[name].keypoints.astype(np.float64)
        image = pycolmap.Image(name=name, keypoints=keypoints, camera_id=camera_id, image_id=i)
        frame = pycolmap.Frame()
        frame.frame_id = i
        frame.rig_id = camera_id
        frame.add_data_id(image.data_id)
        image.frame_id = i
        cache.add_frame(frame)
        cache.add_image(image)
    graph = cache.correspondence_graph
    for name0, name1, m, kind in rows:
        if name0 in ids and name1 in ids:
            geometry = pycolmap.TwoViewGeometry()
            geometry.config = kind
            geometry.inlier_matches = m.astype(np.uint32)
            graph.add_two_view_geometry(ids[name0], ids[name1], geometry)
    graph.finalize()
    return cache, ids


def pipeline_options(
    seed: int, num_photos: int, fixed_cameras: set[int], *, max_error_px: float
) -> pycolmap.IncrementalPipelineOptions:
    """COLMAP's incremental options, tuned: fewer global adjustments while the model grows, since a thorough one
    follows."""
    import pycolmap

    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = seed
    options.mapper.random_seed = seed
    options.triangulation.random_seed = seed
    options.num_threads = 1
    options.mapper.num_threads = 1
    options.extract_colors = False
    # Adjusted in full when the model grew by 40 %, roughly and on the points that cover the photos best: the thorough
    # adjustment comes at the end (`intrinsics.adjust`) and ends at the same cameras, at a third of the time.
    options.ba_global_frames_ratio = 1.4
    options.ba_global_points_ratio = 1.4
    options.ba_global_max_refinements = 2
    options.ba_local_max_refinements = 1
    options.ba_global_max_num_iterations = 15
    options.ba_local_max_num_iterations = 5
    options.mapper.ba_local_num_images = 4
    options.ba_global_function_tolerance = 1e-4
    options.ba_local_function_tolerance = 1e-3
    options.mapper.ba_global_ignore_redundant_points3D = True
    options.min_num_matches = MIN_PAIR_MATCHES
    options.min_model_size = 2
    options.ba_refine_extra_params = num_photos > 2
    options.max_num_models = 10
    options.constant_cameras = fixed_cameras
    options.mapper.constant_cameras = fixed_cameras
    options.mapper.filter_max_reproj_error = max_error_px
    options.mapper.init_max_error = max_error_px
    options.mapper.abs_pose_max_error = 3 * max_error_px
    options.mapper.abs_pose_min_num_inliers = MIN_REGISTER
    options.triangulation.merge_max_reproj_error = max_error_px
    options.triangulation.complete_max_reproj_error = max_error_px
    # Tracks of two photos add little to the cameras but many unknowns; the smallest sets have nothing else.
    options.triangulation.ignore_two_view_tracks = num_photos > 4
    return options


def map_incremental(
    cache: pycolmap.DatabaseCache, options: pycolmap.IncrementalPipelineOptions
) -> list[pycolmap.Reconstruction]:
    """All models of the incremental mapper, best first (most photos, then most points). Photos that the best model left
    out are tried again with half of the matches required."""
    with quiet() as pycolmap:
        pycolmap.set_random_seed(options.random_seed)
        found = pycolmap.ReconstructionManager()
        pycolmap.IncrementalPipeline(options, cache, found).run()
        models = best_first([found.get(k) for k in range(found.size())])
        if models and models[0].num_reg_images() < cache.num_images():
            models[0] = _register_rest(cache, models[0], options)
            inside = set(models[0].reg_image_ids())
            models = models[:1] + [m for m in models[1:] if len(set(m.reg_image_ids()) - inside) >= 2]
    return models


def _register_rest(
    cache: pycolmap.DatabaseCache,
    model: pycolmap.Reconstruction,
    options: pycolmap.IncrementalPipelineOptions,
) -> pycolmap.Reconstruction:
    """The model with photos added that only relaxed limits let in: 15 matches with its points, not 30, all tracks.
    A photo that is left with fewer than 15 observations after adjustment is taken out again."""
    import pycolmap

    relaxed = pycolmap.IncrementalMapperOptions(options.mapper.todict())
    relaxed.abs_pose_min_num_inliers = MIN_REGISTER // 2
    relaxed.abs_pose_min_inlier_ratio = 0.2
    triangulation = pycolmap.IncrementalTriangulatorOptions(options.triangulation.todict())
    triangulation.ignore_two_view_tracks = False
    mapper = pycolmap.IncrementalMapper(cache)
    mapper.begin_reconstruction(model)
    added = []
    while True:
        for image_id in mapper.find_next_images(relaxed, structure_less=False):
            if mapper.register_next_image(relaxed, image_id):
                break
        else:
            break
        added.append(image_id)
        mapper.triangulate_image(triangulation, image_id)
        mapper.iterative_local_refinement(
            1, 0.001, relaxed, options.get_local_bundle_adjustment(), triangulation, image_id
        )
    if added:
        adjustment = options.get_global_bundle_adjustment()
        mapper.iterative_global_refinement(2, 0.001, relaxed, adjustment, triangulation)
    mapper.end_reconstruction(False)
    for image_id in added:
        image = model.images[image_id]
        if image.has_pose and image.num_points3D < MIN_REGISTER // 2:
            model.deregister_frame(image.frame_id)
    return model


def map_global(
    cache: pycolmap.DatabaseCache, options: pycolmap.IncrementalPipelineOptions
) -> list[pycolmap.Reconstruction]:
    """All models of the global mapper, best first. Its time grows with the photos, not with their square."""
    with quiet() as pycolmap:
        settings = pycolmap.GlobalPipelineOptions()
        seed = options.random_seed
        settings.random_seed = settings.mapper.random_seed = seed
        settings.mapper.rotation_averaging.random_seed = seed
        settings.mapper.global_positioning.random_seed = seed
        settings.mapper.retriangulation.random_seed = seed
        settings.num_threads = settings.mapper.num_threads = 1
        settings.mapper.global_positioning.use_gpu = False
        settings.mapper.bundle_adjustment.ceres.use_gpu = False
        settings.mapper.bundle_adjustment.ceres.solver_options.num_threads = 1
        settings.min_num_matches = MIN_PAIR_MATCHES
        pycolmap.set_random_seed(seed)
        with pycolmap.Database.open(":memory:") as database:
            _fill(database, cache)
            found = pycolmap.ReconstructionManager()
            pycolmap.GlobalPipeline(settings, database, found).run()
        models = [found.get(k) for k in range(found.size())]
    return best_first(models)


def _fill(database: pycolmap.Database, cache: pycolmap.DatabaseCache) -> None:
    """The scene graph as rows of a database, with the same ids."""
    for _, camera in sorted(cache.cameras.items()):
        database.write_camera(camera, use_camera_id=True)
    for _, rig in sorted(cache.rigs.items()):
        database.write_rig(rig, use_rig_id=True)
    for _, frame in sorted(cache.frames.items()):
        database.write_frame(frame, use_frame_id=True)
    for i, image in sorted(cache.images.items()):
        database.write_image(image, use_image_id=True)
        database.write_keypoints(i, np.array([p.xy for p in image.points2D], np.float32).reshape(-1, 2))
    graph = cache.correspondence_graph
    ids = sorted(i for i, _ in cache.images.items())
    for k, i in enumerate(ids):
        for j in ids[k + 1 :]:
            m = graph.extract_matches_between_images(i, j)
            if len(m):
                database.write_matches(i, j, m)
                database.write_two_view_geometry(i, j, graph.extract_two_view_geometry(i, j, True))


def best_first(models: Sequence[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
    """Most photos first, then most points, then the first names."""
    usable = [m for m in models if m.num_reg_images() >= 2 and m.num_points3D() > 0]
    return sorted(usable, key=lambda m: (-m.num_reg_images(), -m.num_points3D(), sorted(m.reg_image_ids())))
