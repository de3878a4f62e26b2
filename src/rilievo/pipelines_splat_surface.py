"""A dense cloud from trained splats: alone, or completing the depth maps of stereo (`build --surface splats`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from rilievo.chain import Cache, Chain
from rilievo.codec import content_id
from rilievo.errors import AlignmentError
from rilievo.gather import Gathered, StoredMaps, place_id
from rilievo.placed import Placed, load_placed
from rilievo.plan import BuildSettings, Run, depth_config
from rilievo.types import DepthMap, Photo, PointCloud, Reconstruction

SPLATS_SHARE = 0.4  # of a time budget

STAGES = ("splat depth", "splat depth checked", "depth with splats", "splat cloud")


def make_splat_cloud(
    chain: Chain,
    found: Gathered,
    scene: Reconstruction,
    splats_id: str,
    *,
    stereo: Mapping[str, str] | None = None,
    max_size: int = 1600,
    exact_cameras: bool = False,
) -> str:
    """Depth maps drawn from splats (of object id `splats_id`), held against each other and fused: the cloud's id.

    stereo: photo name -> object id of the finished depth map of stereo, max_size px wide like those drawn: splats then
    add only what it does not know.  exact_cameras: they were given, and have no errors of their own.

    Raises InputError when the splats are empty, AlignmentError when the maps agree on no surface.
    """
    from rilievo.stages import camera_sigma, points
    from rilievo.stages import splat_surface as stage
    from rilievo.stages.depth_filter import CheckConfig

    project, stereo = chain.project, stereo or {}
    near = stage.neighbours(scene)
    names = [name for name in scene.names if near[name]]
    if not names:
        raise AlignmentError(
            "splats give no surface",
            "no photo looks at the same thing as another one, from less than 60 degrees beside",
            "take photos all around, each a step to the side of the one before",
        )
    load_view = Cache(lambda name: found.load_view(scene, name, max_size), 8)
    ranges = {name: stage.depth_limits(scene, name) for name in names}
    splats = Cache(lambda object_id: stage.SplatDepths(project.get(object_id)), 1)
    config = stage.SplatDepthConfig()
    drawn = chain.each(
        "splat depth",
        config,
        names,
        lambda name: [splats_id, place_id(scene, found, name), content_id(ranges[name], max_size)],
        lambda name: splats(splats_id).draw(load_view(name), ranges[name], config=config),
    )
    splats.clear()
    near = {name: [n for n in near[name] if n in drawn] for name in names}
    load_drawn = Cache(lambda name: project.get(drawn[name]), 8)
    check = CheckConfig(max_size=max_size)
    checked = chain.each(
        "splat depth checked",
        check,
        names,
        lambda name: [drawn[name], *(drawn[n] for n in near[name])],
        lambda name: stage.check_splat_depth(load_drawn(name), (load_drawn(n) for n in near[name]), config=check),
    )
    load_drawn.clear()
    both = [name for name in names if name in stereo]
    completed = chain.each(
        "depth with splats",
        config,
        both,
        lambda name: [stereo[name], checked[name]],
        lambda name: stage.add_depth(project.get(stereo[name]), project.get(checked[name]), config=config),
    )
    final = {**stereo, **checked, **completed}
    maps = StoredMaps(
        [name for name in scene.names if name in final],
        {name: near.get(name, []) for name in final},
        lambda name: (project.get(final[name]), found.load_view(scene, name, max_size)),
    )
    fusion = points.FusionConfig()

    def fused() -> PointCloud:
        load_view.clear()
        cloud = points.fuse(maps, config=fusion)
        return cloud if exact_cameras else camera_sigma.with_camera_sigma(cloud, camera_sigma.camera_sigma(scene))

    inputs = [*(final[name] for name in maps.names), content_id(scene.obs_xy, scene.points), str(exact_cameras)]
    return chain.one("splat cloud", fusion, inputs, fused)


def complete_cloud(
    chain: Chain, found: Gathered, scene_id: str, cloud: str, settings: BuildSettings, run: Run
) -> tuple[str, dict[str, Any]]:
    """Splats of a build, trained from its stereo cloud, and the cloud in which they complete stereo: its object id, and
    the summary of the splats. The project's names are then `cameras`, `cloud` (that of stereo) and `splats`."""
    from rilievo.pipelines_splats import train_splats
    from rilievo.plan_splats import SplatSettings

    project = chain.project
    chain.name(cameras=scene_id, cloud=cloud)
    splats = train_splats(
        chain,
        load_placed(project.root, num_threads=chain.num_threads),
        SplatSettings(quality=settings.quality, seed=settings.seed),
        replace(run, max_seconds=SPLATS_SHARE * run.max_seconds if run.max_seconds else None),
    )
    completed = make_splat_cloud(
        chain,
        found,
        project.get(scene_id),
        project.read()["names"]["splats"],
        stereo=stereo_maps(chain, project.get(scene_id), completed=settings.prior == "depth"),
        max_size=depth_config(settings).max_size,
        exact_cameras=found.known is not None,
    )
    return completed, splats


def stereo_maps(chain: Chain, scene: Reconstruction, *, completed: bool = False) -> dict[str, str]:
    """The finished depth maps of a build, photo name -> object id; none where they belong to other cameras.
    completed: those with a depth network's guesses (`build --prior depth`)."""
    made = chain.project.read().get("made_from", {})
    maps: dict[str, str] = {}
    for object_id in made.get("depth completed" if completed else "depth filled", []):
        depth_map: DepthMap = chain.project.get(object_id)
        name = depth_map.name
        if name in scene.names and np.array_equal(
            depth_map.cam_from_world, scene.cam_from_world[scene.names.index(name)]
        ):
            maps[name] = object_id
    return maps


def gathered(placed: Placed) -> Gathered:
    """Placed photos as a build's stages want them."""
    scene = placed.scene
    photos = tuple(
        Photo(name, placed.photo_ids[name], scene.camera(i).width, scene.camera(i).height, "")
        for i, name in enumerate(scene.names)
    )
    ids = tuple(photo.content_id for photo in photos)
    return Gathered(photos, ids, tuple(placed.sources[name] for name in scene.names), ())
