"""Masks of what lies: sky, people, moving things, mirrors, background; from photos alone or from a finished house.

Masks are written as COLMAP names them (`photo.jpg.png`, black: not used) to HOUSE/masks, and those of each kind alone
to HOUSE/masks/by-kind/KIND.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rilievo import kernels, pipelines, weights
from rilievo.chain import Cache, Chain
from rilievo.codec import content_id
from rilievo.draft_chain import DraftChain, what_is_kept
from rilievo.errors import AlignmentError, InputError, MissingError
from rilievo.gather import Gathered, gather
from rilievo.io import photos as files
from rilievo.io.mask_files import write_mask, write_overview
from rilievo.networks import Network, open_network
from rilievo.placed import Placed, all_sources, load_placed
from rilievo.plan import TEXTURE_PRESETS, BuildSettings, Run
from rilievo.project import Project, explain_os_errors
from rilievo.stages import mask_mirror, mask_moving, mask_photo, mask_scene, mask_walls
from rilievo.types import Mesh, PointCloud

KINDS = ("sky", "people", "moving", "mirror", "background")
NEED_GEOMETRY = ("moving", "mirror")
NEED_WEIGHTS = {"people": "nanodet", "background": "isnet"}
MATCHED = ("mirror",)
"""Kinds that stand still in all photos: cameras are found with them, too, and better."""
_MOST_OTHERS = 12
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
    if "glass" in names:
        raise InputError(
            "panes of glass are not found by themselves",
            "what is behind a pane is measured as if it were not there, and its weak reflections seldom are",
            "leave glass out of --auto; where a pane reflects a lot, mirror finds it, or give masks with --masks",
        )
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
    networks: Mapping[str, Network],
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
    scene = {} if placed is None or not geometric else _geometric(chain, placed, mesh, cloud, settings)
    if gathered is not None and found is not None and _share(chain, scene.get("moving", {})) > _LARGE:
        # What moves led the draft astray: once more without it.
        first = chain.project.root / "masks" / "first"
        _write(chain, sources, {**single, "moving": scene["moving"]}, {}, settings, None, first)
        with suppress(AlignmentError):
            better, mesh, cloud = _placed_draft(chain, gathered[1](first), settings)
            seen = {n: found.source(n) for n in better.scene.names}
            scene = _geometric(chain, replace(better, sources=seen), mesh, cloud, settings, better)
    folder = chain.project.root / "masks"
    report = _write(chain, sources, {**single, **scene}, left_out, settings, scene.get("notes"), folder)
    chain.project.update(masks={k: v for k, v in report.items() if k not in ("list", "folder")})
    return report


def _share(chain: Chain, masks: Stored) -> float:
    """Mean share of the photos' pixels that masks hide."""
    return float(np.mean([np.asarray(chain.project.get(i)).mean() for i in masks.values()])) if masks else 0.0


def _networks(kinds: Sequence[str], num_threads: int) -> dict[str, Network]:
    """Those that the kinds need, opened before the long work."""
    from rilievo.stages import segment

    out: dict[str, Network] = {}
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
        out["foreground"] = segment.open_foreground(threads=1)
    return out


# --- photos alone -----------------------------------------------------------------------------------------------------

Stored = Mapping[str, str]
"""photo name -> object id of a bool array (h, w), True where the photo is not to be used."""


def _single(chain: Chain, kind: str, sources: Mapping[str, files.Source], networks: Mapping[str, Network]) -> Stored:
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


def _geometric(
    chain: Chain, placed: Placed, mesh_id: str, cloud_id: str, settings: MaskSettings, voters: Placed | None = None
) -> dict[str, Any]:
    """kind -> masks, and "notes": sentences on what was found. voters: the same with masks of what is known to have
    moved, which then says nothing of what stands there."""
    project, scene = chain.project, placed.scene
    names = list(scene.names)
    mesh: Mesh = project.get(mesh_id)
    cloud: PointCloud = project.get(cloud_id)
    kept = max(8, min(64, int(6e8 / (10 * settings.size**2))))

    def see(name: str) -> mask_scene.Seen:
        view = placed.load_view(name, settings.size)
        return mask_scene.Seen(view, mask_scene.surface_depth(mesh, view, cloud))

    def see_voter(name: str) -> mask_scene.Seen:
        own = load(name)
        return own if voters is None else mask_scene.Seen(voters.load_view(name, settings.size), own.depth)

    load = Cache(see, kept)
    far = mask_scene.far_away(load, names[:: max(1, len(names) // 24)])
    inputs = [mesh_id, cloud_id, content_id(list(names), scene.cam_from_world)]
    out: dict[str, Any] = {}
    chain.progress("mirrors", 0, 1)
    some = [load(n) for n in names[:: max(1, len(names) // 24)]]
    mirrors = mask_mirror.find_mirrors(cloud, scene.centers, some, far)
    chain.progress("mirrors", 1, 1)
    unit = "units" if scene.unit == "unknown" else scene.unit
    told = [content_id(m.normal, m.offset, m.extent) for m in mirrors]
    notes = [
        f"a mirror of {m.step * m.extent.any(0).sum():.3g} x {m.step * m.extent.any(1).sum():.3g} {unit}: "
        f"{m.num_agreeing} of {m.num_tested} places behind it are images of places before it"
        for m in mirrors
    ]
    others = mask_scene.other_photos(scene, _MOST_OTHERS)
    walls = mask_walls.find_walls(cloud, scene.centers) if "moving" in settings.kinds else []
    load_walled = Cache(lambda n: _walled(see_voter(n), walls, mirrors), kept)
    moving = mask_moving.MovingConfig()

    def photo_size(name: str, mask: np.ndarray) -> np.ndarray:
        return mask_scene.to_photo(mask, load(name).view.camera, scene.camera(names.index(name)))

    def before(name: str, mirror: np.ndarray) -> np.ndarray:
        """Somebody who stands before a mirror hides it."""
        return mirror & ~np.asarray(project.get(moved[name])) if name in moved else mirror

    moved: dict[str, str] = {}
    if "moving" in settings.kinds:
        moved = chain.each(
            "mask moving",
            moving,
            names,
            lambda n: [
                *inputs,
                placed.photo_ids[n],
                *(placed.photo_ids[o] for o in others[n]),
                str(settings.size),
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
    if "mirror" in settings.kinds:
        config = mask_mirror.MirrorConfig(seed=settings.seed)
        out["mirror"] = chain.each(
            "mask mirror",
            config,
            names,
            lambda n: [*inputs, placed.photo_ids[n], str(settings.size), moved.get(n, ""), *told],
            lambda n: before(n, photo_size(n, _in_mirrors(load(n), mirrors))),
        )
        if not mirrors:
            notes.append("no mirror was found")
    out["notes"] = notes
    return out


def _in_mirrors(seen: mask_scene.Seen, mirrors: Sequence[mask_mirror.Mirror]) -> np.ndarray:
    out = np.zeros(seen.depth.shape, bool)
    for mirror in mirrors:
        out |= mask_mirror.mirror_mask(mirror, seen)
    return out


def _walled(
    seen: mask_scene.Seen, walls: Sequence[mask_walls.Wall], mirrors: Sequence[mask_mirror.Mirror]
) -> mask_scene.Seen:
    """With walls where nothing was measured, but for mirrors, which show something else."""
    depth = mask_walls.draw_walls(seen.depth, seen.view, walls)
    return mask_scene.Seen(seen.view, np.where(_in_mirrors(seen, mirrors), seen.depth, depth))


def _moving(
    seen: mask_scene.Seen,
    walled: mask_scene.Seen,
    others: Sequence[mask_scene.Seen],
    mirrors: Sequence[mask_mirror.Mirror],
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
