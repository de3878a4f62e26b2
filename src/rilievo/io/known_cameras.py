"""Cameras that somebody else has placed: their intrinsics and where they stand, from any layout that is understood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rilievo.errors import InputError
from rilievo.io import cameras as files
from rilievo.io.truth import load_truth
from rilievo.types import Camera, Photo

_HINT = (
    "Give a COLMAP model (cameras, images as .bin or .txt), a transforms.json, rilievo's cameras.json, *.camera files "
    "or a Middlebury *_par.txt."
)


@dataclass(frozen=True)
class KnownCameras:
    """Photo name -> its camera and where it stands; unit "m" or "unknown"."""

    cameras: Mapping[str, Camera]
    cam_from_world: Mapping[str, np.ndarray]
    unit: str


def read_known_cameras(path: Path | str, photos: Sequence[Photo]) -> KnownCameras:
    """The known cameras of these photos: a folder in one of the layouts of `io.truth`, COLMAP's binary model, or a
    transforms.json (the file or its folder).

    Photos are found by name, or by the last part of the name where that is unique; a camera of another size is scaled
    where the shape of the photo agrees. Photos that the file does not name are left out.

    Raises InputError when nothing can be read, fewer than two photos are named, or a size does not fit.
    """
    rows, unit = read_rows(Path(path))
    cameras: dict[str, Camera] = {}
    placed: dict[str, np.ndarray] = {}
    by_stem: dict[str, list[str]] = {}
    for name in rows:
        by_stem.setdefault(_last(name), []).append(name)
    for photo in photos:
        same = by_stem.get(_last(photo.name), [])
        name = photo.name if photo.name in rows else same[0] if len(same) == 1 else None
        if name is not None:
            cameras[photo.name] = fit_camera(rows[name][0], photo.name, photo.width, photo.height)
            placed[photo.name] = np.array(rows[name][1], np.float64)
    if len(cameras) < 2:
        raise InputError(
            f"the known cameras in {path} are not those of these photos",
            f"{len(cameras)} of {len(photos)} photos are named there, e.g. the photos have {photos[0].name}, the file "
            f"{next(iter(rows), 'nothing')}",
            _HINT,
        )
    return KnownCameras(cameras, placed, unit)


def read_rows(path: Path) -> tuple[dict[str, tuple[Camera, np.ndarray]], str]:
    """The cameras of a file or folder by name, each with its cam_from_world, and their unit."""
    if path.is_file() and path.suffix == ".json" and path.name != "cameras.json":
        model = files.read_transforms(path)
    elif (path / "cameras.bin").is_file():
        model = files.read_colmap(path)
    elif (path / "transforms.json").is_file():
        model = files.read_transforms(path / "transforms.json")
    else:
        try:
            truth = load_truth(path.parent if path.is_file() else path)
        except InputError as error:
            raise InputError(f"no known cameras can be read from {path}", error.why, _HINT) from error
        return {n: (truth.cameras[i], truth.cam_from_world[i]) for i, n in enumerate(truth.names)}, truth.unit
    return {n: (model.camera(i), model.cam_from_world[i]) for i, n in enumerate(model.names)}, model.unit


def _last(name: str) -> str:
    """The last part of a name without its ending (files name photos with and without)."""
    return Path(name).stem


def fit_camera(camera: Camera, name: str, width: int, height: int) -> Camera:
    """The camera at the size of its photo, px. Raises InputError when the shape of the photo is another one."""
    if (camera.width, camera.height) == (width, height) or not camera.width:
        return camera if camera.width else replace(camera, width=width, height=height)
    scale = width / camera.width
    if abs(height / camera.height - scale) > 0.01 * scale:
        raise InputError(
            f"the known camera of {name} does not fit the photo",
            f"it is of {camera.width} x {camera.height} pixels, the photo has {width} x {height}",
            "give the photos as they were when the cameras were made",
        )
    params = camera.params.copy()
    num = 3 if len(params) > 2 and camera.model.startswith(("SIMPLE", "RADIAL")) else 4
    params[:num] *= scale
    return Camera(camera.model, width, height, params)
