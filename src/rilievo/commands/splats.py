"""`rilievo splats`: Gaussian splats of placed photos, trained on the CPU or with gsplat."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from rilievo.commands.common import Common, Talk, print_result, run_of, spell_seconds
from rilievo.commands.render import parse_color


def splats(
    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="HOUSE|COLMAP|transforms.json")],
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="HOUSE")] = None,
    iterations: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None,
    max_splats: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None,
    size: Annotated[int | None, tyro.conf.arg(metavar="PX")] = None,
    degree: Literal[0, 1, 2, 3] = 3,
    background: Annotated[str | None, tyro.conf.arg(metavar="COLOR")] = None,
    hold_out: Annotated[int, tyro.conf.arg(metavar="INT")] = 8,
    start: Literal["auto", "cloud", "points", "hull", "random"] = "auto",
    exposure: bool = False,
    robust: bool = False,
    depth_weight: float = 0.0,
    normal_weight: float = 0.0,
    engine: Literal["auto", "cpu", "gsplat"] = "auto",
    photos: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    masks: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    live: bool = False,
    mesh: bool = False,
    common: Common = Common(),
) -> int:
    """Gaussian splats of photos whose cameras are known: a picture from anywhere, as the photos would show it.

    The same command again goes on where a run was killed, and does nothing when all is there.

    Args:
        source: a project folder of `rilievo build`, a COLMAP folder, or a transforms.json (nerfstudio, instant-ngp,
            Blender) or its folder.
        output: the project folder to write (default: HOUSE itself, else the source's name with -splats behind it).
        iterations: steps of training (default: by quality, or as many as fit the time budget).
        max_splats: Gaussians at most (default: by quality, or by the time budget).
        size: longer side of the photos to train on, px (default: by quality).
        degree: how fast colours may change with the direction.
        background: colour behind everything: white, black, random (for photos with transparency), #rrggbb or r,g,b.
        hold_out: every so many photos one is not trained on and tells how good the result is; 0: use all.
        start: from the dense cloud, sparse points, the hull of cut-out photos, or chance; auto: the first there is.
        exposure: let each photo have a brightness and tint of its own.
        robust: leave out what only single photos show: people, cars.
        depth_weight: how much the house's depth maps count, e.g. 0.1.
        normal_weight: how much the normals of its depth maps count, e.g. 0.05.
        engine: cpu (our own), gsplat (CUDA, where torch and gsplat are installed), auto: gsplat where it can run.
        photos: folder of the photos, where they are no longer where they were.
        masks: folder of masks, named photo.jpg.png; black is not used.
        live: watch in the browser while it trains.
        mesh: make a cloud and a textured mesh of them too (splats_cloud.ply, splats_mesh.glb).
    """
    from rilievo.pipelines_splats import photos_to_splats
    from rilievo.plan_splats import SplatSettings

    talk = Talk(common)
    random = background == "random"
    project, summary = photos_to_splats(
        source,
        output,
        photos=photos,
        masks=masks,
        settings=SplatSettings(
            quality=common.quality,
            size=size,
            iterations=iterations,
            max_splats=max_splats,
            degree=degree,
            background=None if background is None or random else parse_color(background),
            random_background=random,
            hold_out=hold_out,
            start=start,
            exposure=exposure,
            robust=robust,
            depth_weight=depth_weight,
            normal_weight=normal_weight,
            engine=engine,
            seed=common.seed,
        ),
        run=run_of(common, talk),
        say=talk.say,
        live=(lambda url: talk.say(f"live: {url}")) if live else None,
    )
    if mesh:
        from rilievo.pipelines_splat_mesh import add_mesh

        options = run_of(common, talk)
        summary |= add_mesh(project, source, photos=photos, masks=masks, quality=common.quality, run=options)
    quality = "no photo was held out, so how good they are was not measured"
    if summary["psnr"] is not None:
        quality = f"PSNR {summary['psnr']:.2f} dB, SSIM {summary['ssim']:.3f}"
        if summary["lpips"] is not None:
            quality += f", LPIPS {summary['lpips']:.3f}"
        quality += f" on {summary['num_held_out']} photos that were not trained on"
    text = (
        f"splats    {summary['num_splats']} after {summary['iterations']} steps"
        f"{' (stopped by hand)' if summary['stopped'] else ''}, {spell_seconds(summary['seconds'])} of training"
        f" (again: --iterations {summary['iterations']} --max-splats {summary['max_splats']})\n"
        f"quality   {quality}\n"
        f"file      {project.root / 'export' / 'splats.ply'}\n"
        f"pictures  {project.root / 'export' / 'splats'}"
    )
    if "num_faces" in summary:
        text += f"\nmesh      {summary['num_faces']} faces, {project.root / 'export' / 'splats_mesh.glb'}"
    print_result(summary, common.json, text)
    return 0
