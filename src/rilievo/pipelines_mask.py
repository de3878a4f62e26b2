"""Masks of what lies: sky, people, moving things, mirrors, glass, background; from photos or from a finished house.

Masks are written as COLMAP names them (`photo.jpg.png`, black: not used) to HOUSE/masks, and those of each kind alone
to HOUSE/masks/by-kind/KIND.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rilievo import kernels, pipelines, weights
from rilievo.chain import Chain
from rilievo.codec import content_id
from rilievo.draft_chain import DraftChain, what_is_kept
from rilievo.errors import AlignmentError, InputError, MissingError
from rilievo.gather import Gathered, gather
from rilievo.io import photos as files
from rilievo.io.mask_files import write_mask, write_overview
from rilievo.masks_from_scene import masks_from_scene
from rilievo.networks import open_network
from rilievo.placed import Placed, all_sources, load_placed
from rilievo.plan import TEXTURE_PRESETS, BuildSettings, Run
from rilievo.project import Project, explain_os_errors
from rilievo.stages import mask_photo

KINDS = ("sky", "people", "moving", "mirror", "glass", "background")
NEED_GEOMETRY = ("moving", "mirror", "glass")
NEED_WEIGHTS = {"people": "nanodet", "background": "isnet"}
MATCHED = ("mirror", "glass")
"""Kinds that stand still in all photos: cameras are found with them, too, and better."""
_LARGE = 0.06
"""Share of the photos from which on what moves is taken out before cameras and surface are found again."""


@dataclass(frozen=True)
class MaskSettings:
    """What may change the masks. size: longer side, px, at which geometry is compared.  grow: by how much what is
    masked grows, as a share of the photo's longer side (not in the masks of single kinds)."""

    kinds: tuple[str, ...] = ("sky", "moving", "mirror")
    size: int = 640
    grow: float = 0.003
    quality: str = "draft"
    seed: int = 0


def parse_kinds(text: str) -> tuple[str, ...]:
    """`sky,people`, or `all`: every kind but background, which is for photos of one object. Raises InputError."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    if names == ["all"]:
        return tuple(k for k in KINDS if k != "background" and (k not in NEED_WEIGHTS or weights.available("nanodet")))
    for name in names:
        if name not in KINDS:
            raise InputError(f"unknown kind of mask {name!r}", "", f"known are {', '.join(KINDS)}, or all")
    if not names:
        raise InputError("no kind of mask was named", "--auto is empty", f"known are {', '.join(KINDS)}, or all")
    return tuple(k for k in KINDS if k in names)


def photos_to_masks(
    paths: Sequence[Path],
    house: Path,
    *,
    masks: Path | None = None,
    camera: Path | None = None,
    cameras: Path | None = None,
    settings: MaskSettings = MaskSettings(),
    run: Run = Run(),
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Masks of photos, or of a house when `paths` is one; returns what was masked (the content of masks.json).

    masks: given ones; what they hide stays hidden.  camera, cameras: as of `photos_to_mesh`. Without geometry (photos
    that form no scene) the kinds that need it are left out and said in "left_out". A house keeps what it holds: the
    draft that the masks come from gets its names only where there are none yet. Raises InputError, AlignmentError when
    only kinds that need a scene were asked for, MissingError when weights are not here, ResourceError when the disk is
    full.
    """
    if masks is not None and masks.resolve() == (house / "masks").resolve():
        raise InputError(
            f"{masks} would be overwritten",
            "the masks that are given lie where the new ones are written to",
            "copy them elsewhere and give that folder, or leave --masks out",
        )
    networks = _networks(settings.kinds, run.num_threads)
    kernels.set_num_threads(run.num_threads)
    of_house = len(paths) == 1 and (paths[0] / "project.json").is_file()
    if of_house:
        placed = load_placed(paths[0], masks=masks, num_threads=run.num_threads)
        assert placed.project is not None
        chain = DraftChain(placed.project, kernels.native().num_threads(), run.progress)
        own = (paths[0] / "masks").resolve()
        sources = {n: _without(s, own) for n, s in all_sources(placed, masks).items()}
        placed = replace(placed, sources={n: sources[n] for n in placed.sources})
        return _masks_of(chain, placed, None, sources, networks, settings, say)
    chain = DraftChain(Project(house), kernels.native().num_threads(), run.progress)
    with what_is_kept(chain.project):
        found = gather(chain, paths, masks=masks, camera=camera, cameras=cameras)
        sources = {p.name: s for p, s in zip(found.photos, found.sources)}

        def again(first: Path) -> Gathered:
            return gather(chain, paths, masks=first, camera=camera, cameras=cameras)

        return _masks_of(chain, None, (found, again), sources, networks, settings, say)


def _without(source: files.Source, folder: Path) -> files.Source:
    """Masks that were found earlier are found again, not given."""
    own = source.mask is not None and source.mask.resolve().is_relative_to(folder)
    return replace(source, mask=None) if own else source


def _masks_of(
    chain: Chain,
    placed: Placed | None,
    gathered: tuple[Gathered, Callable[[Path], Gathered]] | None,
    sources: Mapping[str, files.Source],
    networks: Mapping[str, Any],
    settings: MaskSettings,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """gathered: the photos, and a function that gathers them again with other masks."""
    left_out: dict[str, str] = {}
    geometric = [k for k in settings.kinds if k in NEED_GEOMETRY]
    mesh, cloud = "", ""
    found = None
    single = {k: _single(chain, k, sources, networks) for k in settings.kinds if k not in NEED_GEOMETRY}
    if geometric and gathered is not None:
        found, again = gathered
        if single:  # cameras and surface are found without what single photos tell to be of no use
            first = chain.project.root / "masks" / "first"
            _write(chain, sources, single, {}, settings, None, first)
            found = again(first)
        try:
            placed, mesh, cloud = _placed_draft(chain, found, settings)
        except AlignmentError as error:
            if len(geometric) == len(settings.kinds):
                raise
            left_out = dict.fromkeys(geometric, f"{error.what}: {error.why}")
            say(f"{', '.join(geometric)} left out: {error.what} ({error.why})")
    elif geometric and placed is not None:
        made = chain.project.read()["names"]
        mesh, cloud = made["mesh"], made["cloud"]
    of_scene = partial(masks_from_scene, chain, kinds=settings.kinds, size=settings.size, seed=settings.seed)
    scene = {} if placed is None or not geometric else of_scene(placed, mesh, cloud)
    if gathered is not None and found is not None and _share(chain, scene.get("moving", {})) > _LARGE:
        # What moves led the draft astray: once more without it.
        first = chain.project.root / "masks" / "first"
        _write(chain, sources, {**single, "moving": scene["moving"]}, {}, settings, None, first)
        with suppress(AlignmentError):
            better, mesh, cloud = _placed_draft(chain, gathered[1](first), settings)
            seen = {n: found.source(n) for n in better.scene.names}
            scene = _with_found_before(
                chain, of_scene(replace(better, sources=seen), mesh, cloud, voters=better), scene
            )
    folder = chain.project.root / "masks"
    report = _write(chain, sources, {**single, **scene}, left_out, settings, scene.get("notes"), folder)
    chain.project.update(masks={k: v for k, v in report.items() if k not in ("list", "folder")})
    return report


def _with_found_before(chain: Chain, now: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Mirrors and panes that the first draft showed are not lost where the second one shows none."""
    out = dict(now)
    for kind in MATCHED:
        if kind in now and not _share(chain, now[kind]) and _share(chain, before[kind]):
            out[kind], out["notes"] = before[kind], before["notes"]
    return out


def _share(chain: Chain, masks: Stored) -> float:
    """Mean share of the photos' pixels that masks hide."""
    return float(np.mean([np.asarray(chain.project.get(i)).mean() for i in masks.values()])) if masks else 0.0


def _networks(kinds: Sequence[str], num_threads: int) -> dict[str, Any]:
    """Those that the kinds need, opened before the long work."""
    from rilievo.stages import segment
    from rilievo.stages.foreground import open_foreground

    out: dict[str, Any] = {}
    for kind in kinds:
        if kind in NEED_WEIGHTS and not weights.available(NEED_WEIGHTS[kind]):
            name = NEED_WEIGHTS[kind]
            row = weights.WEIGHTS[name]
            accept = " --accept-licence" if row.terms else ""
            raise MissingError(
                f"masks of {kind} need the weights {name!r}, which are not on this machine",
                f"{row.what}: {row.size / 1e6:.1f} MB, licence {row.licence}",
                f"Get them with: rilievo weights get {name}{accept}; or leave {kind} out of --auto",
            )
    if "sky" in kinds:
        out["depth"] = open_network(weights.get("depth-small"), engine="cpu", threads=1)
    if "people" in kinds:
        out["detector"] = segment.open_detector(threads=1)
    if "background" in kinds or ("people" in kinds and weights.available("isnet")):
        out["foreground"] = open_foreground(threads=1)
    return out


# --- photos alone -----------------------------------------------------------------------------------------------------

Stored = Mapping[str, str]
"""photo name -> object id of a bool array (h, w), True where the photo is not to be used."""


def _single(chain: Chain, kind: str, sources: Mapping[str, files.Source], networks: Mapping[str, Any]) -> Stored:
    config = mask_photo.PhotoMaskConfig()

    def make(name: str) -> np.ndarray:
        pixels = files.load_pixels(sources[name])
        if kind == "sky":
            return mask_photo.find_sky(pixels, networks["depth"], name)
        if kind == "people":
            return mask_photo.find_people(pixels, networks["detector"], networks.get("foreground"), config)
        behind = mask_photo.find_background(pixels, networks["foreground"], config)
        return np.zeros(pixels.shape[:2], bool) if behind is None else behind

    used = [weights.WEIGHTS[n].sha256 for n in ("nanodet", "isnet") if weights.available(n)]
    return chain.each(
        f"mask {kind}",
        config,
        sources,
        lambda name: [content_id(name, _file_id(sources[name])), *used],
        make,
        parallel=kind != "background",  # a photo takes 1.3 GB there
    )


def _file_id(source: files.Source) -> list[Any]:
    from rilievo.io.photo_sets import file_hash

    return [file_hash(source.path), source.pts, source.as_stored]


# --- photos that form a scene -----------------------------------------------------------------------------------------


def _placed_draft(chain: Chain, found: Gathered, settings: MaskSettings) -> tuple[Placed, str, str]:
    """Cameras, and object ids of surface and cloud, as a draft; named in a project that has no names yet."""
    from rilievo.stages import mesh

    build = BuildSettings(quality=settings.quality, seed=settings.seed)
    if found.known:
        sparse = pipelines.use_cameras(chain, found, found.known, build)
    else:
        sparse = pipelines.find_cameras(chain, found, build)
    cloud = pipelines.make_cloud(chain, found, sparse, build)
    config = mesh.MeshConfig(max_faces=TEXTURE_PRESETS[settings.quality][2])
    scene = sparse.reconstruction
    surface = chain.one(
        "surface",
        config,
        [cloud, content_id(list(scene.names), scene.centers)],
        lambda: mesh.mesh_cloud(chain.project.get(cloud), scene, config=config),
    )
    if not chain.project.read().get("names"):
        chain.name(cameras=sparse.object_id, cloud=cloud, mesh=surface)
    ids = {n: content_id(found.photo(n).content_id, found.photo(n).mask_id) for n in scene.names}
    sources = {n: found.source(n) for n in scene.names}
    return Placed(scene, ids, None, chain.project, cloud, sources), surface, cloud


# --- files ------------------------------------------------------------------------------------------------------------


def _write(
    chain: Chain,
    sources: Mapping[str, files.Source],
    kinds: Mapping[str, Any],
    left_out: Mapping[str, str],
    settings: MaskSettings,
    notes: Sequence[str] | None,
    folder: Path,
) -> dict[str, Any]:
    project = chain.project
    stored: dict[str, Stored] = {k: kinds[k] for k in KINDS if k in kinds}
    rows: list[dict[str, Any]] = []
    looks = []
    with explain_os_errors("write the masks", folder):
        for count, (name, source) in enumerate(sources.items()):
            parts = {k: np.asarray(project.get(ids[name])) for k, ids in stored.items() if name in ids}
            given = files.load_mask(source)
            row: dict[str, Any] = {"name": name, "shares": {k: round(float(m.mean()), 5) for k, m in parts.items()}}
            for kind, mask in parts.items():
                write_mask(folder / "by-kind" / kind, name, ~mask)
            hidden = np.any(list(parts.values()), axis=0) if parts else np.zeros((0, 0), bool)
            if not parts and given is None:
                row["hidden"] = 0.0
                rows.append(row)
                continue
            usable = ~_grown(hidden, settings.grow)
            blind = [m for k, m in parts.items() if k not in MATCHED]
            matched = ~_grown(np.any(blind, axis=0), settings.grow) if blind else np.ones(hidden.shape, bool)
            if given is not None:
                also = files.load_mask(source, matching=True)
                usable, matched = (usable & given, matched & also) if parts else (given, also)
            write_mask(folder, name, usable, matched)
            row["hidden"] = round(1 - float(usable.mean()), 5)
            rows.append(row)
            if len(looks) < 60:
                looks.append((name, files.load_pixels(source, max_size=480), parts))
            chain.progress("masks", count + 1, len(sources))
        shares = {
            k: round(float(np.mean([row["shares"].get(k, 0.0) for row in rows])), 5) if rows else 0.0 for k in stored
        }
        report: dict[str, Any] = {
            "photos": len(rows),
            "kinds": {
                k: {"photos": sum(row["shares"].get(k, 0.0) > 0 for row in rows), "share": shares[k]} for k in stored
            },
            "hidden": round(float(np.mean([row["hidden"] for row in rows])), 5) if rows else 0.0,
            "mostly_hidden": [row["name"] for row in rows if row["hidden"] > 0.9],
            "left_out": dict(left_out),
            "notes": list(notes or ()),
            "folder": str(folder),
            "list": rows,
        }
        folder.mkdir(parents=True, exist_ok=True)
        if looks:
            write_overview(folder / "overview.png", looks, list(stored))
        (folder / "masks.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return report


def _grown(hidden: np.ndarray, share: float) -> np.ndarray:
    radius = round(share * max(hidden.shape))
    if radius < 1 or not hidden.any():
        return hidden
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(hidden.astype(np.uint8), disc) > 0
