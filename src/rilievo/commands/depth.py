"""`rilievo depth`: one photo in, depth map and 3D surface out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import tyro

from rilievo.commands.common import Common, Talk, num_cores, print_result
from rilievo.errors import InputError, RilievoError


def depth(
    photos: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO...")],
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="OUT")] = None,
    model: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    scale: Annotated[
        tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="REFERENCE...")
    ] = (),
    focal: Annotated[float | None, tyro.conf.arg(metavar="PX")] = None,
    fov: Annotated[float | None, tyro.conf.arg(metavar="DEG")] = None,
    tiles: bool = False,
    depth_size: Annotated[int | None, tyro.conf.arg(metavar="PX")] = None,
    fill: bool = False,
    exr: bool = False,
    video: bool = False,
    stl: Annotated[float | None, tyro.conf.arg(metavar="WIDTH_MM")] = None,
    stl_depth: Annotated[float | None, tyro.conf.arg(metavar="MM")] = None,
    engine: Literal["auto", "cpu", "gpu"] = "auto",
    common: Common = Common(),
) -> int:
    """One photo to a depth map and a 3D surface that carries the photo.

    Without a reference (--scale) the result is relative: nearer and further hold, lengths do not. The report says which
    network answered and how far to trust it.

    Args:
        photos: photos or folders of photos; with several, each gets a folder of its own in OUT.
        output: folder to write: depth.png depth.npz relief.glb cloud.ply report.html (default: the photo's name with
            -depth behind it).
        model: the network to ask (rilievo weights list); default: the best one on this machine.
        scale: what is known of lengths in the photo, e.g. 410,220:980,240=0.80m or 512,300=2.4m.
        focal: focal length in pixels of the photo (default: from EXIF, else estimated).
        fov: field of view across the photo, degrees, instead of --focal.
        tiles: look at the photo in pieces too: finer detail, several times the work.
        depth_size: longer side of the depth map, px (default: 768).
        fill: close the surface behind what hides it; what is invented is marked.
        exr: write depth.exr too.
        video: write turntable.mp4 too, a short walk around the surface.
        stl: write relief.stl too, a body of this width for 3D printing.
        stl_depth: height of its relief (default: an eighth of its smaller side).
        engine: what runs the network.
    """
    from rilievo import pipelines_photo as pipelines
    from rilievo.io.photos import find_photos
    from rilievo.report_photo import summarize_photo

    if not photos:
        raise InputError("no photo was given", "the command line names no input", "rilievo depth PHOTO -o OUT")
    settings = pipelines.PhotoSettings(
        model=model,
        tiles=tiles,
        depth_size=depth_size,
        focal_px=focal,
        fov_deg=fov,
        fill=fill,
        exr=exr,
        video=video,
        stl_width_mm=stl,
        stl_depth_mm=stl_depth,
        engine=engine,
    )
    pipelines.check_settings(settings)
    sources = find_photos(photos)
    folders = choose_folders([s.name for s in sources], output)
    if scale and len(sources) > 1:
        raise InputError(
            "--scale needs a single photo", f"{len(sources)} photos were given: pixels of which one?", "one at a time"
        )
    find_references = reference_finder([text for texts in scale for text in texts]) if scale else None
    talk = Talk(common)
    threads = common.threads or num_cores()
    run = pipelines.PhotoRun(num_threads=threads, progress=talk.progress)
    opened = pipelines.open_model(settings, threads) if len(sources) > 1 else None
    results: list[dict[str, Any]] = []
    failed: list[tuple[str, RilievoError]] = []
    for source, folder in zip(sources, folders, strict=True):
        if len(sources) > 1:
            talk.say(f"{source.name} -> {folder}")
        try:
            report = pipelines.photo_to_mesh(
                source, folder, settings=settings, run=run, model=opened, find_references=find_references
            )
        except RilievoError as error:
            if len(sources) == 1:
                raise
            failed.append((source.name, error))
            talk.say(str(error))
            continue
        results.append({"folder": str(folder), **report})
    if not results:
        raise InputError(
            f"none of the {len(failed)} photos gave a depth map", f"the first: {failed[0][1].what}: {failed[0][1].why}"
        )
    texts = [
        f"{summarize_photo(r)}\nsurface   {Path(r['folder']) / 'relief.glb'}\n"
        f"report    {Path(r['folder']) / 'report.html'}"
        for r in results
    ]
    texts += [f"failed    {name}: {error.what}" for name, error in failed]
    value = results[0] if len(sources) == 1 else {
        "photos": results, "failed": [{"name": n, "what": e.what, "why": e.why, "hint": e.hint} for n, e in failed]
    }  # fmt: skip
    print_result(value, common.json, "\n\n".join(texts))
    return 0


def choose_folders(names: Sequence[str], output: Path | None) -> list[Path]:
    """Where each photo's files go. One photo: OUT itself, or NAME-depth in the current folder. Several: OUT/NAME, with
    the suffix where two names differ in nothing else; never one folder for two photos."""
    if len(names) == 1:
        return [output or Path(f"{PurePosixPath(names[0]).stem}-depth")]
    root = output or Path("depth")
    stems = [str(PurePosixPath(n).with_suffix("")) for n in names]
    taken = [s.casefold() for s in stems]
    return [root / (s if taken.count(s.casefold()) == 1 else n) for s, n in zip(stems, names, strict=True)]


def reference_finder(texts: Sequence[str]) -> Any:
    """A function from the photo's pixels and its camera to references, as `fit_scale` takes them."""
    from rilievo.commands.scale_options import find_references, parse_references

    requests = parse_references(texts)
    return lambda pixels, camera: find_references(requests, pixels, camera)
