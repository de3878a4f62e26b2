"""`rilievo prepare`: copies of photos, repaired as far as can be without inventing, and an account of what was done."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from rilievo.commands.common import Common, Talk, print_result, run_of
from rilievo.errors import InputError


def prepare(
    photos: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTOS...")],
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="OUT")] = None,
    restore: bool = False,
    denoise: bool = False,
    white_balance: bool = False,
    deblur: bool = False,
    upscale: Annotated[float, tyro.conf.arg(metavar="N")] = 1.0,
    sharpen: bool = False,
    model: Literal["auto", "bicubic", "lanczos", "frames", "span", "realesrgan-x2", "realesrgan-x4plus"] = "auto",
    remove_background: bool = False,
    background: Literal["auto", "network", "empty", "backdrop", "grabcut", "depth"] = "auto",
    cutout: Literal["alpha", "masks"] = "alpha",
    box: Annotated[str | None, tyro.conf.arg(metavar="X,Y,W,H")] = None,
    empty: Annotated[Path | None, tyro.conf.arg(metavar="PHOTO")] = None,
    house: Annotated[Path | None, tyro.conf.arg(metavar="HOUSE")] = None,
    camera: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    jpeg_quality: int = 97,
    prove: bool = False,
    truth: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    common: Common = Common(),
) -> int:
    """Photos to prepared copies in OUT/photos; originals are never touched.

    Each step measures first and leaves a photo alone where it would not help; OUT/prepared.json says what was done to
    which photo and why. EXIF, GPS, XMP, colour profile, transparency and 16 bits are kept. Use the originals for
    geometry unless --prove says otherwise. The same command again goes on where it stopped.

    Args:
        photos: folders, files or a video (mp4, mov).
        output: folder to write: photos, masks, prepared.json (default: the first input's name and -prepared).
        restore: undo damage of JPEG, by the file's own tables.
        denoise: remove noise where enough is measured.
        white_balance: one exposure and colour for the set, from what overlapping photos share, and a neutral cast.
        deblur: take out motion or defocus where its kernel can be told and a trial gains.
        upscale: enlarge up to 6 times.
        sharpen: steeper edges without halos, as far as the measured blur allows.
        model: what enlarges. auto: interpolation and back-projection; frames: overlapping photos (the honest way to
            more detail); span and realesrgan: networks (rilievo weights get NAME), whose detail is marked as invented.
        remove_background: cut the object out.
        background: how it is found: a network (weights isnet), the difference from an empty scene, an even backdrop,
            GrabCut, or the depth of a project.
        cutout: alpha writes PNG with transparency, masks writes OUT/masks/photo.jpg.png as COLMAP names them.
        box: where the thing is that you want, in pixels of the original: cut out is what fills this box.
        empty: photo of the same view without the object, e.g. of the empty turntable.
        house: project of these photos, for --background depth.
        camera: file of known intrinsics; OUT/camera.txt holds them for the new size.
        jpeg_quality: of copies that are JPEG.
        prove: match pairs before and after, and say whether the copies are good for geometry.
        truth: with --prove, folder of known truth: also build from both (slow) and compare the surfaces.
    """
    from rilievo import pipelines_prepare as pipelines
    from rilievo.preparing.settings import PrepareSettings

    if not photos:
        raise InputError("no photos were given", "the command line names no input", "rilievo prepare FOLDER -o OUT")
    if truth is not None and not prove:
        raise InputError("--truth belongs to --prove", "nothing is to be proved", "add --prove")
    settings = PrepareSettings(
        restore=restore,
        denoise=denoise,
        white_balance=white_balance,
        deblur=deblur,
        upscale=upscale,
        model=model,
        sharpen=sharpen,
        background=background if remove_background else "",
        cutout=cutout,
        box=None if box is None else _box(box),
        empty=empty,
        house=house,
        jpeg_quality=jpeg_quality,
    )
    out = output or Path(f"{photos[0].resolve().stem or 'photos'}-prepared")
    talk = Talk(common)
    run = run_of(common, talk)
    manifest = pipelines.prepare_photos(photos, out, settings=settings, run=run, camera=camera, say=talk.say)
    if prove:
        from rilievo.preparing.proof import prove_set

        manifest["proof"] = prove_set(photos, out, manifest, run=run, truth=truth)
    print_result(manifest, common.json, "\n".join(summary(manifest, out)))
    return 0


def _box(text: str) -> tuple[int, int, int, int]:
    parts = text.replace(" ", "").split(",")
    if len(parts) != 4 or not all(p.isdecimal() for p in parts):
        raise InputError(f"--box {text} is no box", "four whole numbers are needed", "give --box x,y,width,height")
    x, y, w, h = map(int, parts)
    return x, y, w, h


def summary(manifest: dict[str, Any], out: Path) -> list[str]:
    """What was done, step by step, with the commonest reason where it was not."""
    records, lines = manifest["photos"], []
    lines.append(f"photos    {len(records)} prepared in {out / 'photos'}")
    names = list(dict.fromkeys(s["step"] for r in records for s in r["steps"]))
    for name in names:
        steps = [s for r in records for s in r["steps"] if s["step"] == name]
        done = [s for s in steps if s["done"]]
        line = f"{name:<14}{len(done)} of {len(steps)}"
        if done:
            line += f"; e.g. {done[0]['note']}"
        left = Counter(s["note"] for s in steps if not s["done"]).most_common(1)
        if left:
            line += f"{'; left' if done else ': left'}, e.g. {left[0][0]}"
        lines.append(line)
    invented = [r for r in records if r["invented"]]
    if invented:
        share = sum(r["invented"]["share"] for r in invented) / len(invented)
        lines.append(
            f"invented      {100 * share:.0f} % of the pixels, marked in {out / 'invented'}: not for measuring"
        )
    if any(r["mask"] for r in records):
        lines.append(f"masks         {out / 'masks'}  (rilievo build {out / 'photos'} --masks {out / 'masks'})")
    for r in manifest["rejected"]:
        lines.append(f"left out      {r['name']}: {r['reason']}")
    if manifest.get("proof"):
        lines += manifest["proof"]["lines"]
    lines.append(f"account       {out / 'prepared.json'}")
    return lines
