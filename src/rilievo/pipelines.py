"""Pipelines: stages strung together over a project folder. Each is short enough to be read as the recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rilievo import kernels, weights
from rilievo.chain import Cache, Chain
from rilievo.codec import content_id
from rilievo.errors import AlignmentError
from rilievo.gather import Gathered, StoredMaps, gather, place_id
from rilievo.io.known_cameras import KnownCameras
from rilievo.pipelines_prior import complete_from_photos
from rilievo.pipelines_splat_surface import SPLATS_SHARE, complete_cloud
from rilievo.plan import (
    TEXTURE_PRESETS,
    BuildSettings,
    Plan,
    Run,
    check_plan,
    depth_config,
    fit_budget,
    measure_slowness,
    predict,
    searches_fine,
)
from rilievo.project import Project
from rilievo.types import Camera, DepthMap, Features, Photo, PointCloud, Reconstruction, View


def photos_to_mesh(
    paths: Iterable[Path | str],
    house: Path | str,
    *,
    masks: Path | None = None,
    camera: Path | None = None,
    cameras: Path | None = None,
    settings: BuildSettings = BuildSettings(),
    run: Run = Run(),
    announce: Callable[[Plan], None] | None = None,
) -> Project:
    """Photos, folders or videos to cameras, cloud and textured mesh in a project folder, with its exports and report.

    The project's names are then `cameras` (Reconstruction), `cloud` (PointCloud) and `mesh` (Mesh). Only what is not in
    the folder yet is computed. `announce` is told the plan before the long work starts.

    Raises InputError for unusable input, AlignmentError when the photos form no scene, ResourceError when memory, disk
    or permission is short, MissingError when a depth prior is wanted and no model is there.
    """
    from rilievo.publish import publish

    kernels.set_num_threads(run.num_threads)
    project = Project(house)
    chain = Chain(project, kernels.native().num_threads(), run.progress)
    found = gather(chain, paths, masks=masks, camera=camera, cameras=cameras)
    slowness = 1.0
    if run.max_seconds is not None:
        slowness = measure_slowness()
        seconds = run.max_seconds * (1 - SPLATS_SHARE if settings.surface == "splats" else 1.0)
        settings = fit_budget(found, settings, chain.num_threads, seconds, slowness)
    plan = predict(found, settings, chain.num_threads, slowness)
    if announce:
        announce(plan)
    check_plan(plan, run, house)
    if settings.prior == "depth":
        weights.get(weights.best_depth_model())  # before the long work
    given = found.known
    sparse = use_cameras(chain, found, given, settings) if given else find_cameras(chain, found, settings)
    cloud = make_cloud(chain, found, sparse, settings)
    if settings.surface == "splats":
        cloud, _ = complete_cloud(chain, found, sparse.object_id, cloud, settings, run)
    mesh = make_mesh(chain, found, sparse, cloud, settings)
    chain.name(cameras=sparse.object_id, cloud=cloud, mesh=mesh)
    publish(chain, found, sparse.features, asdict(settings))
    return project


# --- the three parts --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sparse:
    """Cameras and sparse points, and the features they came from (photo name -> object id)."""

    object_id: str
    reconstruction: Reconstruction
    features: Mapping[str, str]


def find_cameras(chain: Chain, found: Gathered, settings: BuildSettings) -> Sparse:
    """Keypoints, matches, structure from motion. With `keypoints="auto"` photos whose matches are thin are matched
    again by the learned pair, where its weights are installed."""
    from rilievo.stages import cameras, pairs, rescue

    project = chain.project
    names = [photo.name for photo in found.photos]
    first = "sift" if settings.keypoints == "auto" else settings.keypoints
    keypoints = find_keypoints(chain, found, names, first, settings, "keypoints")
    load = Cache(lambda name: project.get(keypoints[name]), 64)
    chosen = pairs.select_pairs(found.photos, load, config=pairs.PairsConfig(seed=settings.seed))
    matched = match_pairs(chain, found, keypoints, load, {n: chosen[n] for n in names[1:]}, settings, "matches")
    inputs = [*found.photo_ids, *keypoints.values(), *matched.values()]
    joined: dict[str, Features] = {}
    matches = {name: project.get(i) for name, i in matched.items()}
    thin = rescue.thin_pairs(names, list(matches.values())) if settings.keypoints == "auto" else {}
    if thin and weights.available("xfeat") and weights.available("lighterglue"):
        again = [n for n in names if n in thin or any(n in others for others in thin.values())]
        learned = find_keypoints(chain, found, again, "xfeat", settings, "learned keypoints")
        load_learned = Cache(lambda name: project.get(learned[name]), 64)
        second = match_pairs(chain, found, learned, load_learned, thin, settings, "learned matches")
        inputs += [*learned.values(), *second.values()]
        num_first = {name: len(load(name).keypoints) for name in names}
        for name, object_id in second.items():
            matches[name] = rescue.join_matches(matches[name], project.get(object_id), num_first)
        joined = {name: rescue.join_features(load(name), load_learned(name)) for name in learned}

    config = cameras.CamerasConfig(seed=settings.seed)
    known = dict.fromkeys(names, found.camera) if found.camera is not None else None
    object_id = chain.one(
        "cameras",
        config,
        [*inputs, content_id(found.camera)],
        lambda: cameras.reconstruct(
            found.photos,
            {name: joined.get(name) or load(name) for name in names},
            list(matches.values()),
            cameras=known,
            config=config,
        ),
    )
    return Sparse(object_id, project.get(object_id), keypoints)


def use_cameras(chain: Chain, found: Gathered, given: KnownCameras, settings: BuildSettings) -> Sparse:
    """Known cameras: keypoints, matches that fit them, and points."""
    from rilievo.stages import known, pairs

    project, cameras, placed = chain.project, given.cameras, given.cam_from_world
    names = [photo.name for photo in found.photos if photo.name in cameras]
    extractor = "sift" if settings.keypoints == "auto" else settings.keypoints
    keypoints = find_keypoints(chain, found, names, extractor, settings, "keypoints")
    load = Cache(lambda name: project.get(keypoints[name]), 64)
    chosen = pairs.select_pairs(
        [p for p in found.photos if p.name in cameras], load, config=pairs.PairsConfig(seed=settings.seed)
    )
    place = {name: content_id(name, keypoints[name], cameras[name], placed[name]) for name in names}
    config = known.KnownConfig()
    matched = chain.each(
        "matches",
        config,
        names[1:],
        lambda name: [place[name], *(place[n] for n in chosen[name])],
        lambda name: known.match_known(
            name, load(name), [(n, load(n)) for n in chosen[name]], cameras, placed, config=config
        ),
        parallel=True,
    )
    object_id = chain.one(
        "cameras",
        config,
        [*found.photo_ids, *place.values(), *matched.values(), content_id(given.unit)],
        lambda: known.place_known(
            found.photos,
            {name: load(name) for name in names},
            [project.get(i) for i in matched.values()],
            cameras,
            placed,
            unit=given.unit,
            config=config,
        ),
    )
    return Sparse(object_id, project.get(object_id), keypoints)


def find_keypoints(
    chain: Chain, found: Gathered, names: Sequence[str], extractor: str, settings: BuildSettings, stage: str
) -> dict[str, str]:
    """Features of each photo: {photo name: object id}."""
    from rilievo.stages import features

    config = features.FeaturesConfig(extractor=extractor, upsample=searches_fine(found, settings), seed=settings.seed)
    return chain.each(
        stage,
        config,
        names,
        lambda name: [found.photo(name).content_id, f"{mask} with grey" if (mask := found.photo(name).mask_id) else ""],
        lambda name: features.extract(
            found.load_pixels(name),
            name=found.photo(name).content_id,
            mask=found.load_mask(name, matching=True),
            config=config,
        ),
        parallel=True,
    )


def match_pairs(
    chain: Chain,
    found: Gathered,
    keypoints: Mapping[str, str],
    load: Callable[[str], Features],
    pairs: Mapping[str, Sequence[str]],
    settings: BuildSettings,
    stage: str,
) -> dict[str, str]:
    """Matches of each later photo with its earlier partners: {later photo: object id}."""
    from rilievo.stages import matches

    config = matches.MatchesConfig(seed=settings.seed)
    guesses = {p.name: guess(p, found.camera) for p in found.photos}
    return chain.each(
        stage,
        config,
        pairs,
        lambda name: [
            content_id(name, guesses[name], keypoints[name], [(n, keypoints[n]) for n in pairs[name]]),
            content_id(*(guesses[n] for n in pairs[name])),
        ],
        lambda name: matches.match(
            name, load(name), [(n, load(n), guesses[n]) for n in pairs[name]], guesses[name], config=config
        ),
        parallel=True,
    )


def guess(photo: Photo, known: Camera | None) -> Camera:
    """The camera to start from: the one given, EXIF's focal length, or a usual one."""
    from rilievo.stages.matches import guess_camera

    return known if known is not None else guess_camera(photo)[0]


def make_cloud(chain: Chain, found: Gathered, sparse: Sparse, settings: BuildSettings) -> str:
    """Depth maps of all placed photos (matched, refined with their neighbours' depth, checked, filled where
    texture is weak), then one cloud."""
    from rilievo.stages import camera_sigma, depth, depth_filter, depth_prior, points, views

    project, scene = chain.project, sparse.reconstruction
    config = depth_config(settings)
    sources = views.select_sources(scene, config=views.SourcesConfig(num_sources=config.num_sources))
    names = [name for name in scene.names if sources[name]]
    if not names:
        raise AlignmentError(
            "no depth can be measured",
            "no photo shares enough of the scene with another one at a useful angle",
            "take the photos from places further apart",
        )
    load_view = Cache(lambda name: found.load_view(scene, name, config.max_size), 16)
    place = {name: place_id(scene, found, name) for name in scene.names}

    def estimate(name: str) -> DepthMap:
        view = load_view(name)
        return depth.estimate_depth(
            view,
            [load_view(s) for s in sources[name]],
            seeds=views.sparse_seeds(scene, view),
            depth_range=views.depth_range(scene, name),
            config=config,
        )

    def seeds_id(name: str) -> str:
        return content_id(scene.points[scene.obs_point[scene.obs_photo == scene.names.index(name)]])

    first = chain.each(
        "depth",
        config,
        names,
        lambda name: [place[name], *(place[s] for s in sources[name]), seeds_id(name)],
        estimate,
    )
    load_first = Cache(lambda name: project.get(first[name]), 10)
    near = {name: [s for s in sources[name] if s in first] for name in names}

    def refine(name: str) -> DepthMap:
        return depth.estimate_depth(
            load_view(name),
            [load_view(s) for s in near[name]],
            seeds=np.zeros((0, 3)),
            depth_range=views.depth_range(scene, name),
            start=load_first(name),
            source_depths=[load_first(s) for s in near[name]],
            config=config,
        )

    second = chain.each(
        "depth refined", config, names, lambda name: [first[name], *(first[s] for s in near[name])], refine
    )
    # Full maps take 24 bytes a pixel: about 400 MB of them are kept.
    largest = max(p.width * p.height * min(1.0, config.max_size / max(p.width, p.height)) ** 2 for p in found.photos)
    kept = max(2, min(10, int(4e8 / (24 * largest))))
    load_second = Cache(lambda name: project.get(second[name]), kept)
    check = depth_filter.CheckConfig(**asdict(config))
    checked = chain.each(
        "depth checked",
        check,
        names,
        lambda name: [second[name], *(second[s] for s in near[name])],
        lambda name: depth_filter.filter_depth(load_second(name), (load_second(s) for s in near[name]), config=check),
        parallel=settings.quality != "high",
    )
    prior = depth_prior.PriorConfig(seed=settings.seed)
    load_checked = Cache(lambda name: project.get(checked[name]), kept)
    filled = chain.each(
        "depth filled",
        prior,
        names,
        lambda name: [place[name], checked[name], *(checked[s] for s in near[name])],
        lambda name: depth_prior.infer_depth(
            load_checked(name), load_view(name), (load_checked(s) for s in near[name]), config=prior
        ),
        parallel=settings.quality != "high",
    )
    if settings.prior == "depth":
        load_checked.clear()
        filled = complete_from_photos(chain, found, scene, place, filled, near, config.max_size)
    fusion = points.FusionConfig()
    maps = StoredMaps(
        names, near, lambda name: (project.get(filled[name]), found.load_view(scene, name, config.max_size))
    )

    def fused() -> PointCloud:
        for cache in (load_first, load_second, load_checked, load_view):  # the fusion keeps its own window of maps
            cache.clear()
        cloud = points.fuse(maps, config=fusion)
        if found.known is not None:  # cameras that were given count as exact
            return cloud
        moved = camera_sigma.camera_sigma(scene, known_intrinsics=found.camera is not None)
        return camera_sigma.with_camera_sigma(cloud, moved)

    return chain.one("cloud", fusion, [*filled.values(), sparse.object_id], fused)


def make_mesh(
    chain: Chain, found: Gathered, sparse: Sparse, cloud: str, settings: BuildSettings, *, thinning: float = 3.0
) -> str:
    """Surface from the cloud, at quality high refined by the photos, then texture from the photos. thinning: of
    `stages.mesh.MeshConfig`."""
    from rilievo.stages import mesh, refine, texture

    project, scene = chain.project, sparse.reconstruction
    view_size, texture_size, max_faces = TEXTURE_PRESETS[settings.quality]
    config = mesh.MeshConfig(
        surface="auto" if settings.surface == "splats" else settings.surface,
        max_faces=settings.max_faces or max_faces,
        watertight=settings.watertight,
        thinning=thinning,
    )
    surface = chain.one(
        "surface",
        config,
        [cloud, content_id(list(scene.names), scene.centers)],
        lambda: mesh.mesh_cloud(project.get(cloud), scene, config=config),
    )
    paint = texture.TextureConfig(max_texture_size=settings.texture_size or texture_size)
    views = [content_id(view_size), *(place_id(scene, found, name) for name in scene.names)]

    def load(name: str) -> View:
        return found.load_view(scene, name, view_size)

    if settings.quality == "high":
        finer = refine.RefineConfig(max_faces=config.max_faces)
        coarse = surface
        surface = chain.one(
            "refine",
            finer,
            [coarse, *views],
            lambda: refine.refine_mesh(project.get(coarse), load, scene.names, scene, config=finer),
        )
    return chain.one(
        "texture",
        paint,
        [surface, *views],
        lambda: texture.texture(project.get(surface), load, scene.names, config=paint),
    )
