"""`rilievo export`: a finished model or its cameras in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from rilievo.commands.common import Common, print_result
from rilievo.errors import InputError
from rilievo.project import Project, explain_os_errors

MODEL_SUFFIXES = {"glb": ".glb", "obj": ".obj", "ply": ".ply", "stl": ".stl", "usdz": ".usdz"}


def export(
    house: Annotated[Path, tyro.conf.Positional],
    format: Literal["glb", "obj", "ply", "stl", "usdz", "colmap", "nerfstudio"] = "glb",
    what: Literal["mesh", "cloud"] = "mesh",
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    images: bool = False,
    photos: Path | None = None,
    common: Common = Common(),
) -> int:
    """Write a finished model, cloud or its cameras in another format.

    Args:
        house: the project folder.
        format: glb, obj, ply, stl or usdz for the model; colmap or nerfstudio for the cameras.
        what: the mesh, or the point cloud (glb and ply).
        output: file or folder to write (default: in HOUSE/export).
        images: with colmap or nerfstudio, also write the undistorted photos.
        photos: folder of the photos, needed for --images.
    """
    project = Project(house, create=False)
    folder = project.root / "export"
    with explain_os_errors("write the export", output or folder):
        if format in MODEL_SUFFIXES:
            from rilievo.io import models

            target = output or folder / f"{'model' if what == 'mesh' else 'cloud'}{MODEL_SUFFIXES[format]}"
            target.parent.mkdir(parents=True, exist_ok=True)
            written = [str(p) for p in models.write(target, project.named(what), format=format)]
        else:
            written = _export_cameras(project, format, output or folder / format, images, photos)
    print_result({"files": written}, common.json, "\n".join(written))
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
