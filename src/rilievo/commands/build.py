"""`rilievo build`: photos or a video in, textured model and report out."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from rilievo.commands.common import (
    Common,
    Talk,
    parse_seconds,
    print_result,
    run_of,
    spell_megabytes,
    spell_seconds,
)
from rilievo.commands.inspect import read_report
from rilievo.errors import InputError


def build(
    photos: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTOS...")],
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="HOUSE")] = None,
    masks: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    auto_masks: Annotated[str | None, tyro.conf.arg(metavar="KINDS")] = None,
    camera: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    cameras: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None,
    surface: Literal["auto", "delaunay", "poisson", "ball-pivoting", "splats"] = "auto",
    keypoints: Literal["auto", "sift", "xfeat"] = "auto",
    max_faces: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None,
    texture_size: Annotated[int | None, tyro.conf.arg(metavar="PX")] = None,
    depth_size: Annotated[int | None, tyro.conf.arg(metavar="PX")] = None,
    watertight: bool = False,
    prior: Literal["planes", "depth"] = "planes",
    splats: bool = False,
    common: Common = Common(),
) -> int:
    """Photos or a video to cameras, dense cloud, textured mesh and report.

    The same command again does only what is missing: after a crash, or with more photos.

    Args:
        photos: folders, files or a video (mp4, mov).
        output: the project folder to write (default: the first input's name with -model behind it).
        masks: folder of masks, named photo.jpg.png; black is not used.
        auto_masks: mask first, as `rilievo mask --auto` does: sky, people, moving, mirror, glass, background, with
            commas between, or all. They are written to HOUSE/masks; what --masks hides stays hidden too.
        camera: file with known intrinsics (a COLMAP camera line, or a 3 x 3 K matrix).
        cameras: cameras that are placed already, used as they are (a COLMAP model, transforms.json, or a folder that
            `evaluate --truth` reads).
        surface: method of the mesh; auto is the one that measures best; splats trains Gaussian splats and takes from
            them what stereo does not see: thin things, rims, reflections (of a time budget they get two fifths).
        keypoints: auto is SIFT, with the learned pair as rescue where its weights are installed.
        max_faces: triangles of the final mesh (default: by quality).
        texture_size: largest side of the texture, px (default: by quality).
        depth_size: longer side of the depth maps, px (default: by quality).
        watertight: close the surface everywhere, e.g. for 3D printing; what no photo saw is marked as inferred.
        prior: what closes gaps where photos show nothing to match: planes through their surroundings, or depth: planes,
            then what a depth network sees in each photo, as far as it can be trusted. Both are marked as inferred.
        splats: train Gaussian splats too, as `rilievo splats` does (of a time budget they get two fifths).
    """
    from rilievo import __version__, pipelines
    from rilievo import plan as plans
    from rilievo.report import summarize

    if not photos:
        raise InputError("no photos were given", "the command line names no input", "rilievo build FOLDER -o model")
    house = output or default_house(photos[0])
    talk = Talk(common)
    max_seconds = parse_seconds(common.time_budget) if common.time_budget else None
    if auto_masks is not None:
        started = time.monotonic()
        masks = _find_masks(photos, house, auto_masks, masks, camera, cameras, common, talk)
        if max_seconds is not None:
            max_seconds = max(max_seconds - (time.monotonic() - started), 1.0)
    run = run_of(common, talk, max_seconds=0.6 * max_seconds if splats and max_seconds else max_seconds)

    def announce(plan: plans.Plan) -> None:
        size = plan.settings.depth_size
        talk.say(
            f"rilievo {__version__}: {plan.num_photos} photos of about {plan.megapixels:.1f} Mpx at quality"
            f" {plan.quality}{f', depth maps of {size} px' if size else ''} -> {house}\n"
            f"expected: about {spell_seconds(plan.seconds)} on {plan.num_threads} threads, less where work is kept from"
            f" before; {spell_megabytes(plan.memory_mb)} of memory (limit {spell_megabytes(run.memory_mb)})"
        )

    project = pipelines.photos_to_mesh(
        photos,
        house,
        masks=masks,
        camera=camera,
        cameras=cameras,
        settings=plans.BuildSettings(
            quality=common.quality,
            surface=surface,
            keypoints=keypoints,
            max_faces=max_faces,
            texture_size=texture_size,
            seed=common.seed,
            depth_size=depth_size,
            watertight=watertight,
            prior=prior,
        ),
        run=run,
        announce=announce,
    )
    report = read_report(project)
    if splats:
        from rilievo.pipelines_splats import photos_to_splats
        from rilievo.plan_splats import SplatSettings

        _, report["splats"] = photos_to_splats(
            house,
            settings=SplatSettings(quality=common.quality, seed=common.seed),
            run=replace(run, max_seconds=0.4 * max_seconds if max_seconds else None),
            say=talk.say,
        )
    text = (
        f"{summarize(report)}\nmodel     {house / 'export' / 'model.glb'}\nreport    {house / 'export' / 'report.html'}"
    )
    if splats:
        made = report["splats"]
        quality = "" if made["psnr"] is None else f", PSNR {made['psnr']:.2f} dB on photos held out"
        text += f"\nsplats    {house / 'export' / 'splats.ply'} ({made['num_splats']}{quality})"
    print_result(report, common.json, text)
    return 0


def _find_masks(
    photos: tuple[Path, ...],
    house: Path,
    kinds: str,
    masks: Path | None,
    camera: Path | None,
    cameras: Path | None,
    common: Common,
    talk: Talk,
) -> Path:
    """Masks of these kinds in HOUSE/masks, and what given ones hide; the folder."""
    from rilievo.pipelines_mask import MaskSettings, parse_kinds, photos_to_masks

    found = photos_to_masks(
        photos,
        house,
        masks=masks,
        camera=camera,
        cameras=cameras,
        settings=MaskSettings(kinds=parse_kinds(kinds), seed=common.seed),
        run=run_of(common, talk),
        say=talk.say,
    )
    parts = [f"{kind} {100 * row['share']:.1f} %" for kind, row in found["kinds"].items()]
    talk.say(f"masks: {', '.join(parts)} of all pixels -> {found['folder']} (look at overview.png)")
    for note in found["notes"]:
        talk.say(f"masks: {note}")
    return house / "masks"


def default_house(first: Path) -> Path:
    """my_photos -> my_photos-model, in the current folder."""
    return Path(f"{first.resolve().stem or 'photos'}-model")
