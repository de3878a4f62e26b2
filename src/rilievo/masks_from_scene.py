"""Masks of photos that form a scene: what moved between them, mirrors and panes of glass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rilievo.chain import Cache, Chain
from rilievo.codec import content_id
from rilievo.placed import Placed
from rilievo.stages import mask_mirror, mask_moving, mask_scene, mask_walls
from rilievo.types import Mesh, PointCloud

_MOST_OTHERS = 12


def masks_from_scene(
    chain: Chain,
    placed: Placed,
    mesh_id: str,
    cloud_id: str,
    kinds: Sequence[str],
    *,
    size: int,
    seed: int,
    voters: Placed | None = None,
) -> dict[str, Any]:
    """kind -> photo name -> object id of a mask (`pipelines_mask.Stored`), and "notes": sentences on what was found.

    kinds: of moving, mirror, glass.  size: longer side, px, at which photos are compared.  voters: the same with masks
    of what is known to have moved, which then says nothing of what stands there.
    """
    project, scene = chain.project, placed.scene
    names = list(scene.names)
    mesh: Mesh = project.get(mesh_id)
    cloud: PointCloud = project.get(cloud_id)
    kept = max(8, min(64, int(6e8 / (10 * size**2))))

    def see(name: str) -> mask_scene.Seen:
        view = placed.load_view(name, size)
        return mask_scene.Seen(view, mask_scene.surface_depth(mesh, view, cloud))

    def see_voter(name: str) -> mask_scene.Seen:
        own = load(name)
        return own if voters is None else mask_scene.Seen(voters.load_view(name, size), own.depth)

    load = Cache(see, kept)
    far = mask_scene.far_away(load, names[:: max(1, len(names) // 24)])
    inputs = [mesh_id, cloud_id, content_id(list(names), scene.cam_from_world)]
    out: dict[str, Any] = {}
    chain.progress("reflections", 0, 1)
    some = [load(n) for n in names[:: max(1, len(names) // 40)]]
    panes = "glass" in kinds
    config = mask_mirror.MirrorConfig(seed=seed)
    found = mask_mirror.find_reflectors(cloud, mesh, scene.centers, some, far, panes=panes, config=config)
    chain.progress("reflections", 1, 1)
    mirrors = found.mirrors
    told = [content_id(m.sheet.normal, m.sheet.offset, m.extent) for m in mirrors]
    notes = mask_mirror.describe(found, "units" if scene.unit == "unknown" else scene.unit, kinds)
    others = mask_scene.other_photos(scene, _MOST_OTHERS)
    walls = mask_walls.find_walls(cloud, scene.centers) if "moving" in kinds else []
    load_walled = Cache(lambda n: _walled(see_voter(n), walls, mirrors), kept)
    moving = mask_moving.MovingConfig()

    def photo_size(name: str, mask: np.ndarray) -> np.ndarray:
        return mask_scene.to_photo(mask, load(name).view.camera, scene.camera(names.index(name)))

    def before(name: str, mirror: np.ndarray) -> np.ndarray:
        """Somebody who stands before a mirror hides it."""
        return mirror & ~np.asarray(project.get(moved[name])) if name in moved else mirror

    moved: dict[str, str] = {}
    if "moving" in kinds:
        moved = chain.each(
            "mask moving",
            moving,
            names,
            lambda n: [
                *inputs,
                placed.photo_ids[n],
                *(placed.photo_ids[o] for o in others[n]),
                str(size),
                str(mask_walls.WallsConfig.version),
                *told,
            ],
            lambda n: _moving(
                load(n),
                load_walled(n),
                [load_walled(o) for o in others[n]],
                mirrors,
                far,
                moving,
                lambda m: photo_size(n, m),
            ),
        )
        out["moving"] = moved
    for kind, things in (("mirror", mirrors), ("glass", found.panes)):
        if kind in kinds:
            which = [content_id(m.sheet.normal, m.sheet.offset, m.extent) for m in things]
            out[kind] = chain.each(
                f"mask {kind}",
                config,
                names,
                lambda n, w=which: [*inputs, placed.photo_ids[n], str(size), moved.get(n, ""), *w],
                lambda n, t=things: before(n, photo_size(n, _in_mirrors(load(n), t))),
            )
    out["notes"] = notes
    return out


def _in_mirrors(seen: mask_scene.Seen, mirrors: Sequence[mask_mirror.Reflector]) -> np.ndarray:
    out = np.zeros(seen.depth.shape, bool)
    for mirror in mirrors:
        out |= mask_mirror.mirror_mask(mirror, seen)
    return out


def _walled(
    seen: mask_scene.Seen, walls: Sequence[mask_walls.Wall], mirrors: Sequence[mask_mirror.Reflector]
) -> mask_scene.Seen:
    """With walls where nothing was measured, but for mirrors, which show something else."""
    depth = mask_walls.draw_walls(seen.depth, seen.view, walls)
    return mask_scene.Seen(seen.view, np.where(_in_mirrors(seen, mirrors), seen.depth, depth))


def _moving(
    seen: mask_scene.Seen,
    walled: mask_scene.Seen,
    others: Sequence[mask_scene.Seen],
    mirrors: Sequence[mask_mirror.Reflector],
    far: float,
    config: mask_moving.MovingConfig,
    photo_size: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    guessed = np.isfinite(walled.depth) & ~np.isfinite(seen.depth)
    there = mask_scene.expected(walled, others, far, guessed=guessed)
    found = mask_moving.find_moving(seen.view.pixels, there, config=config)
    if seen.view.mask is not None:
        found &= seen.view.mask
    return photo_size(mask_moving.before_mirrors(found, _in_mirrors(seen, mirrors)))
