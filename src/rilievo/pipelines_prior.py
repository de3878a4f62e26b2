"""`build --prior depth`: gaps of depth maps closed by what a network sees in each photo (`stages.photo_prior`)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rilievo import weights
from rilievo.chain import Cache, Chain
from rilievo.gather import Gathered
from rilievo.types import DepthMap, PhotoDepth, Reconstruction, ScaleFit

STAGES = ("photo depth", "photo depth laid on", "photo depth fitted", "depth completed", "photo prior")


def complete_from_photos(
    chain: Chain,
    found: Gathered,
    scene: Reconstruction,
    place: Mapping[str, str],
    maps: Mapping[str, str],
    near: Mapping[str, Sequence[str]],
    max_size: int,
) -> dict[str, str]:
    """The depth maps (photo name -> object id) with their gaps closed as far as a network can be trusted there.

    place: what each view depends on.  maps: checked, and filled by planes.  near: the photos that see the same.
    Raises MissingError where no depth model is on this machine.
    """
    from rilievo.networks import open_network
    from rilievo.stages import monocular
    from rilievo.stages import photo_prior as pp

    project = chain.project
    model = weights.best_depth_model()
    path = weights.get(model)
    seeing = monocular.MonocularConfig(max_size=0)
    config = pp.PhotoPriorConfig()
    # One thread a photo: then the answer does not depend on how many there are.
    network = open_network(path, engine="cpu", threads=1)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def see(name: str) -> PhotoDepth:
        view = found.load_view(scene, name, max_size)
        seen = monocular.photo_depth(
            view.pixels,
            name=name,
            model=model,
            network=network,
            focal_px=view.camera.fx,
            focal_source="given",
            config=seeing,
        )
        if view.mask is None:
            return seen
        return replace(seen, disparity=np.where(view.mask, seen.disparity, np.float32(np.nan)))

    seen = chain.each(
        "photo depth", seeing, maps, lambda n: [place[n], model, digest, str(max_size)], see, parallel=True
    )
    laid = chain.each(
        "photo depth laid on",
        config,
        maps,
        lambda n: [maps[n], seen[n]],
        lambda n: pp.lay_on(project.get(maps[n]), project.get(seen[n]), config=config),
        parallel=True,
    )
    guessed = chain.each(
        "photo depth fitted",
        config,
        maps,
        lambda n: [maps[n], seen[n], laid[n]],
        lambda n: pp.fit_photo(project.get(maps[n]), project.get(seen[n]), project.get(laid[n]), config=config),
        parallel=True,
    )
    load = Cache(lambda object_id: project.get(object_id), 8)

    def complete(name: str) -> DepthMap:
        others = ((load(maps[o]), load(guessed[o])) for o in near[name])
        return pp.complete_depth(load(maps[name]), load(guessed[name]), others, config=config)

    completed = chain.each(
        "depth completed",
        config,
        maps,
        lambda n: [maps[n], guessed[n], *(i for o in near[n] for i in (maps[o], guessed[o]))],
        complete,
    )
    load.clear()

    def tell() -> dict[str, Any]:
        return {n: _row(model, project.get(laid[n]), project.get(maps[n]), project.get(completed[n])) for n in maps}

    chain.one("photo prior", config, [*laid.values(), *completed.values()], tell)
    return completed


def _row(model: str, fit: ScaleFit, before: DepthMap, after: DepthMap) -> dict[str, Any]:
    """What the report says of a photo."""
    filled = np.isfinite(after.depth).sum() - np.isfinite(before.depth).sum()
    return {
        "model": model,
        "used": bool(np.isfinite(fit.a)),
        "reason": "" if np.isfinite(fit.a) else fit.method,
        "spread": float(fit.spread) if np.isfinite(fit.spread) else None,
        "filled_share": float(filled / after.depth.size),
    }
