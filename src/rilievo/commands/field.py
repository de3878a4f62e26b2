"""`rilievo field`: a radiance field of placed photos, trained on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from rilievo.commands.common import Common, Talk, print_result, run_of, spell_seconds
from rilievo.commands.render import parse_color


def field(
    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="HOUSE|COLMAP|transforms.json")],
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="HOUSE")] = None,
    iterations: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None,
    size: Annotated[int | None, tyro.conf.arg(metavar="PX")] = None,
    background: Annotated[str | None, tyro.conf.arg(metavar="COLOR")] = None,
    hold_out: Annotated[int, tyro.conf.arg(metavar="INT")] = 8,
    mesh: bool = False,
    photos: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    masks: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    common: Common = Common(),
) -> int:
    """A radiance field of photos whose cameras are known: density and colour of every point (Instant-NGP on the CPU).

    Photos that are transparent around an object give a bounded field of it, others an unbounded one. The same command
    again goes on where a run was killed, and does nothing when all is there.

    Args:
        source: a project folder of `rilievo build`, a COLMAP folder, or a transforms.json (nerfstudio, instant-ngp,
            Blender) or its folder.
        output: the project folder to write (default: HOUSE itself, else the source's name with -field behind it).
        iterations: steps of training (default: by quality, or as many as fit the time budget).
        size: longer side of the photos to train on, px (default: by quality).
        background: colour behind everything: white, black, #rrggbb or r,g,b.
        hold_out: every so many photos one is not trained on and tells how good the result is; 0: use all.
        mesh: make a mesh of its surface too (field_mesh.glb).
        photos: folder of the photos, where they are no longer where they were.
        masks: folder of masks, named photo.jpg.png; black is not used.
    """
    from rilievo.pipelines_field import photos_to_field
    from rilievo.plan_field import FieldSettings

    talk = Talk(common)
    project, summary = photos_to_field(
        source,
        output,
        photos=photos,
        masks=masks,
        settings=FieldSettings(
            quality=common.quality,
            size=size,
            iterations=iterations,
            background=None if background is None else parse_color(background),
            hold_out=hold_out,
            mesh=mesh,
            seed=common.seed,
        ),
        run=run_of(common, talk),
        say=talk.say,
    )
    quality = "no photo was held out, so how good it is was not measured"
    if summary["psnr"] is not None:
        quality = (
            f"PSNR {summary['psnr']:.2f} dB, SSIM {summary['ssim']:.3f}"
            f" on {summary['num_held_out']} photos that were not trained on"
        )
    text = (
        f"field     {summary['iterations']} steps, {summary['num_samples'] / 1e6:.0f} million samples,"
        f" {spell_seconds(summary['seconds'])} of training (again: --iterations {summary['iterations']})\n"
        f"quality   {quality}\n"
        f"file      {project.root / 'export' / 'field.npz'}\n"
        f"pictures  {project.root / 'export' / 'field'}"
    )
    if "num_faces" in summary:
        text += f"\nmesh      {summary['num_faces']} faces, {project.root / 'export' / 'field_mesh.glb'}"
    print_result(summary, common.json, text)
    return 0
