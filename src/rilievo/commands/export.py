"""`rilievo export`: a finished model, its splats or its cameras in another format; splat files edited and converted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro

from rilievo.commands.common import Common, Talk, print_result
from rilievo.commands.splat_files import Edit
from rilievo.errors import InputError
from rilievo.project import Project, explain_os_errors

MODEL_SUFFIXES = {"glb": ".glb", "obj": ".obj", "ply": ".ply", "stl": ".stl", "usdz": ".usdz"}
SPLATS_ONLY = ("spz", "splat", "sog")
Format = Literal["glb", "obj", "ply", "stl", "usdz", "spz", "splat", "sog", "colmap", "nerfstudio"]
What = Literal["mesh", "cloud", "splats"]


def export(
    house: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="HOUSE|FILE")],
    format: Annotated[Format | None, tyro.conf.arg(metavar="|".join(get_args(Format)))] = None,
    what: Annotated[What | None, tyro.conf.arg(metavar="|".join(get_args(What)))] = None,
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    images: bool = False,
    photos: Path | None = None,
    edit: Edit = Edit(),
    common: Common = Common(),
) -> int:
    """Write a finished model, cloud, splats or the cameras in another format; convert and edit files of splats.

    Args:
        house: the project folder, or a file of Gaussian splats (ply, spz, splat, sog, glb).
        format: glb, obj, ply, stl or usdz for the model; ply, spz, splat, sog or glb for splats; colmap or nerfstudio
            for the cameras (default: what the ending of the output says, else glb).
        what: the mesh, the point cloud (glb and ply) or the splats (default: the mesh where there is one, the splats
            for spz, splat and sog).
        output: file or folder to write (default: in HOUSE/export).
        images: with colmap or nerfstudio, also write the undistorted photos.
        photos: folder of the photos, needed for --images.
    """
    if format is None:
        ending = output.suffix.lstrip(".").lower() if output is not None else ""
        format = ending if ending in MODEL_SUFFIXES or ending in SPLATS_ONLY else "glb"  # type: ignore[assignment]
    assert format is not None
    if house.is_file():
        if what not in (None, "splats"):
            raise InputError(f"{house} is a file", f"a file holds splats, not a {what}", "give a project folder")
        return _export_file(house, format, output, edit, common)
    project = Project(house, create=False)
    names = project.read().get("names", {})
    if what is None:
        only = "splats" in names and "mesh" not in names
        what = "splats" if format in SPLATS_ONLY or (only and format in ("glb", "ply")) else "mesh"
    folder = project.root / "export"
    if what == "splats" and format not in ("colmap", "nerfstudio"):
        if "splats" not in names:
            raise InputError(f"{house} has no splats yet", "", f"make them with: rilievo splats {house}")
        cameras = project.named("cameras") if edit.clean and "cameras" in names else None
        target = output or folder / f"splats.{format}"
        return _write_splats(project.named("splats"), format, target, edit, common, cameras)
    if edit.asked:
        raise InputError(
            f"{', '.join(edit.asked)} cannot be done here",
            "only splats are edited",
            "add --what splats, or leave it out",
        )
    with explain_os_errors("write the export", output or folder):
        if format in MODEL_SUFFIXES:
            from rilievo.io import models

            target = output or folder / f"{'model' if what == 'mesh' else 'cloud'}{MODEL_SUFFIXES[format]}"
            target.parent.mkdir(parents=True, exist_ok=True)
            written = [str(p) for p in models.write(target, project.named(what), format=format)]
        elif format in SPLATS_ONLY:
            raise InputError(f"cannot write a {what} as {format}", f"{format} holds splats", "add --what splats")
        else:
            written = _export_cameras(project, format, output or folder / format, images, photos)
    print_result({"files": written}, common.json, "\n".join(written))
    return 0


def _export_file(path: Path, format: str, output: Path | None, edit: Edit, common: Common) -> int:
    from rilievo.commands.splat_files import load

    target = output or path.with_suffix(f".{format}")
    if target.exists() and target.samefile(path):
        raise InputError(f"{target} would be written over itself", "", "name another file with -o")
    splats, num_broken = load(path, drop_broken=edit.clean)
    return _write_splats(splats, format, target, edit, common, None, num_broken)


def _write_splats(
    splats: Any, format: str, target: Path, edit: Edit, common: Common, cameras: Any, num_broken: int = 0
) -> int:
    from rilievo.commands.splat_files import apply
    from rilievo.io import splats as files

    if format not in files.FORMATS:
        raise InputError(
            f"cannot write splats as {format}",
            f"formats of splats: {', '.join(files.FORMATS)}",
            "choose one with --format",
        )
    talk = Talk(common)
    edited, removed = apply(splats, edit, cameras, num_broken)
    if removed:
        talk.say("left out: " + ", ".join(f"{n} {reason}" for reason, n in removed.items()))
    for loss in files.losses(edited, format):
        talk.say(loss)
    with explain_os_errors("write the export", target):
        written = [str(p) for p in files.write_splats(target, edited, format=format)]
    facts = {"files": written, "num_splats": len(edited.means), "removed": removed}
    print_result(facts, common.json, "\n".join(written))
    return 0


def _export_cameras(project: Project, format: str, target: Path, images: bool, photos: Path | None) -> list[str]:
    from rilievo.io import cameras
    from rilievo.io.photos import find_photos, load_pixels

    scene = project.named("cameras")
    target.mkdir(parents=True, exist_ok=True)
    if images:
        if photos is None:
            raise InputError("the undistorted photos need the photos", "no folder was given", "add --photos FOLDER")
        sources = {source.name: source for source in find_photos([photos])}
        missing = [name for name in scene.names if name not in sources]
        if missing:
            raise InputError(
                f"{len(missing)} photos of the project are not in {photos}", ", ".join(missing[:5]), "give their folder"
            )
        return [
            str(p)
            for p in cameras.export_undistorted(target, scene, lambda name: load_pixels(sources[name]), format=format)
        ]
    if format == "colmap":
        return [str(p) for p in cameras.write_colmap(target, scene)]
    return [str(cameras.write_transforms(target / "transforms.json", scene))]
