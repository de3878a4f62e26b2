"""Data sets of photos whose cameras somebody else has placed: where the photos lie, and what else the set tells.

* nerfstudio, instant-ngp: `transforms.json` with `mask_path`, `ply_file_path` and lists of test photos where it has any
* Blender's NeRF scenes: `transforms_train.json`, with `transforms_test.json` or else `transforms_val.json` held out
* COLMAP: a folder with `sparse/0` (or `sparse`, `colmap/sparse/0`, or the model itself) and `images` beside it
* the layouts of `io.truth`, with the photos in the folder or in `images`

A photo that is missing or damaged is left out and said in `unplaced`; none at all is an error. Pictures are taken as
they are stored, their notes on orientation passed over as COLMAP does, unless the camera fits the turned picture only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rilievo import geometry
from rilievo.errors import InputError, MissingError, ResourceError
from rilievo.io import cameras as camera_files
from rilievo.io.files import read_bytes
from rilievo.io.known_cameras import fit_camera, read_rows
from rilievo.io.photos import Source, find_mask
from rilievo.io.pixels import PHOTO_SUFFIXES, VIDEO_SUFFIXES, Opened, open_photo
from rilievo.types import Camera, Reconstruction

MapMany = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]

_MODELS = ("", "sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse", "dense/sparse", "dense/0/sparse")
_IMAGES = ("images", "photos", "imgs", "image", "rgb")


@dataclass(frozen=True)
class PhotoSet:
    """Placed photos of a data set. Photo scene.names[i] lies at sources[scene.names[i]].

    photo_ids: sha256 of the bytes of the photo, and of the mask where there is one.  held_out: photos that the set
    itself keeps for testing; None where it names none.
    """

    scene: Reconstruction
    sources: Mapping[str, Source]
    photo_ids: Mapping[str, str]
    held_out: tuple[str, ...] | None


def read_photo_set(
    path: Path | str, *, photos: Path | None = None, masks: Path | None = None, map_many: MapMany = map
) -> PhotoSet:
    """The photos and cameras of a data set in one of the layouts above.

    photos: folder that holds the photos, when they do not lie where the set says.  masks: folder with `NAME.png` a
    photo.  map_many: a mapper for the reading of the photos.  Raises InputError when the layout is not known, a file of
    cameras is damaged, no photo is there, or a photo has another shape than its camera.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"cannot find {path}", "there is no such file or folder", "Check the spelling.")
    for kind, folder in (("photos", photos), ("masks", masks)):
        if folder is not None and not folder.is_dir():
            why = "it is not a folder" if folder.exists() else "it does not exist"
            raise InputError(
                f"the {kind} folder {folder} cannot be used", why, f"Give the folder that holds the {kind}."
            )
    held_out: tuple[str, ...] | None = None
    lost: dict[str, str] = {}
    files: dict[str, Source]
    if files_of := _transforms_files(path):
        scene, files, held_out, lost = _read_transforms_set(*files_of, photos)
    elif (folder := colmap_folder(path)) is not None:
        scene = camera_files.read_colmap(folder)
        files = _found(scene.names, [photos] if photos else _image_folders(path, folder))
    else:
        scene = _read_truth_set(path)
        files = _found(scene.names, [photos] if photos else _image_folders(path, path))
    lost |= {name: "its file is missing" for name in scene.names if name not in files}
    if not files:
        raise _none_found(path, scene.names, photos)
    if masks is not None:
        files = {name: replace(source, mask=find_mask(source, masks)) for name, source in files.items()}
    return _checked(scene, files, held_out, lost, path, map_many)


def _none_found(path: Path, names: Sequence[str], photos: Path | None) -> InputError:
    where = f"in {photos}" if photos else f"where {path} says"
    return InputError(
        f"the photos of {path} are not there",
        f"none of {len(names)} is {where}, e.g. {names[0] if names else 'none is named'}",
        "give the folder that holds them with --photos",
    )


# --- checking ---------------------------------------------------------------------------------------------------------


def _checked(
    scene: Reconstruction,
    files: Mapping[str, Source],
    held_out: tuple[str, ...] | None,
    lost: dict[str, str],
    path: Path,
    map_many: MapMany,
) -> PhotoSet:
    """Opens every photo: its content id, and its camera at its own size."""
    names = [name for name in scene.names if name in files]
    sources: dict[str, Source] = {}
    ids: dict[str, str] = {}
    fitted: dict[str, Camera] = {}
    for name, found in zip(names, map_many(lambda n: _open(files[n], scene.camera(scene.names.index(n))), names)):
        if isinstance(found, str):
            lost[name] = found
        else:
            sources[name], ids[name], fitted[name] = found
    if not sources:
        raise InputError(f"none of the photos of {path} can be read", next(iter(lost.values())), "Copy them again.")
    scene = keep_photos(scene, sources, lost)
    scale = np.array([fitted[n].width / max(scene.camera(i).width, 1) for i, n in enumerate(scene.names)])
    obs_xy = scene.obs_xy if (scale == 1).all() else (scene.obs_xy * scale[scene.obs_photo, None]).astype(np.float32)
    cameras, index = geometry.distinct_cameras(fitted[n] for n in scene.names)
    scene = replace(scene, cameras=cameras, camera_index=index, obs_xy=obs_xy)
    if held_out is not None:
        held_out = tuple(sorted(n for n in held_out if n in sources)) or None
    return PhotoSet(scene, sources, ids, held_out)


def _open(source: Source, camera: Camera) -> tuple[Source, str, Camera] | str:
    """Where and how to read a photo, its id and its camera; or why it cannot be used."""
    try:
        data = read_bytes(source.path)
        opened = open_photo(data, source.name, source.path.suffix.lower())
    except (InputError, MissingError, ResourceError) as error:
        return error.why or error.what
    digest = hashlib.sha256(data).hexdigest()
    if source.mask is not None:
        digest = hashlib.sha256((digest + file_hash(source.mask)).encode()).hexdigest()
    stored = opened.as_stored()
    as_stored = not opened.turns or not camera.width or _fits(camera, stored) or not _fits(camera, opened)
    size = stored if as_stored else opened
    return replace(source, as_stored=as_stored), digest, fit_camera(camera, source.name, size.width, size.height)


def _fits(camera: Camera, opened: Opened) -> bool:
    scale = opened.width / camera.width
    return abs(opened.height / camera.height - scale) <= 0.01 * scale


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, "" when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def keep_photos(scene: Reconstruction, names: Iterable[str], lost: Mapping[str, str]) -> Reconstruction:
    """The scene with some photos only; the others are told in `unplaced`. Points stay."""
    wanted = set(names)
    kept = [i for i, name in enumerate(scene.names) if name in wanted]
    unplaced = {**scene.unplaced, **lost}
    if len(kept) == len(scene.names):
        return replace(scene, unplaced=unplaced)
    number = np.full(len(scene.names), -1, np.int32)
    number[kept] = np.arange(len(kept))
    rows = number[scene.obs_photo] >= 0
    return replace(
        scene,
        names=tuple(scene.names[i] for i in kept),
        camera_index=scene.camera_index[kept],
        cam_from_world=scene.cam_from_world[kept],
        obs_point=scene.obs_point[rows],
        obs_photo=number[scene.obs_photo[rows]],
        obs_xy=scene.obs_xy[rows],
        unplaced=unplaced,
    )


# --- transforms.json --------------------------------------------------------------------------------------------------


def _transforms_files(path: Path) -> tuple[Path, Path | None] | None:
    """The file of cameras, and that of the photos held out; None where there is none."""
    if path.is_file():
        if path.suffix.lower() != ".json" or path.name == "cameras.json":
            return None
        folder, file = path.parent, path
    elif (path / "transforms.json").is_file():
        return path / "transforms.json", None
    elif (path / "transforms_train.json").is_file():
        folder, file = path, path / "transforms_train.json"
    else:
        return None
    if file.name != "transforms_train.json":
        return file, None
    tests = [folder / f"transforms_{split}.json" for split in ("test", "val")]
    return file, next((t for t in tests if t.is_file()), None)


def _read_transforms_set(
    file: Path, test: Path | None, photos: Path | None
) -> tuple[Reconstruction, dict[str, Source], tuple[str, ...] | None, dict[str, str]]:
    scene, files, lost, document = _read_transforms(file, photos)
    held_out = _own_split(document)
    if held_out is not None and "train_filenames" in document:  # what is in neither list is for another use
        known = {_frame_name(n) for n in document["train_filenames"]} | set(held_out)
        scene = keep_photos(scene, known, {})
        files = {n: s for n, s in files.items() if n in known}
    if test is not None:
        other, other_files, other_lost, _ = _read_transforms(test, photos)
        scene = keep_photos(scene, set(scene.names) - set(other.names), {})
        scene, held_out = _joined(scene, other), other.names
        files, lost = {**files, **other_files}, {**lost, **other_lost}
    cloud = document.get("ply_file_path")
    if isinstance(cloud, str) and (file.parent / cloud).is_file():
        scene = _with_points(scene, file.parent / cloud, document)
    return scene, files, held_out, lost


def _read_transforms(
    file: Path, photos: Path | None
) -> tuple[Reconstruction, dict[str, Source], dict[str, str], dict[str, Any]]:
    """Cameras of the photos that are there, their files, and the photos that are not."""
    try:
        document = json.loads(read_bytes(file))
        frames = [(_frame_name(frame["file_path"]), frame) for frame in document["frames"]]
    except (ValueError, KeyError, TypeError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{file} is not a transforms.json", why, "give a file as nerfstudio writes it") from error
    names = [name for name, _ in frames]
    if twice := sorted({n for n in names if names.count(n) > 1})[:3] if len(set(names)) < len(names) else []:
        raise InputError(f"{file} names a photo twice", ", ".join(twice), "remove one of the two frames")
    files: dict[str, Source] = {}
    kept = []
    for name, frame in frames:
        found = _frame_file(file.parent, name, photos)
        if found is None:
            continue
        mask = frame.get("mask_path", document.get("mask_path"))
        mask = None if not isinstance(mask, str) else file.parent / mask.replace("\\", "/")
        files[name] = Source(name, found, mask if mask is not None and mask.is_file() else None)
        if "w" not in frame and "w" not in document:
            frame = {**frame, **_stored_size(found)}
        kept.append({**frame, "file_path": name})
    if not kept:
        raise _none_found(file, names, photos)
    scene = camera_files.transforms_model({**document, "frames": kept}, file)
    _check_rigid(scene, file)
    return scene, files, {n: "its file is missing" for n in names if n not in files}, document


def _frame_name(file_path: str) -> str:
    return str(file_path).replace("\\", "/").removeprefix("./")


def _frame_file(folder: Path, name: str, photos: Path | None) -> Path | None:
    """The file of a frame; Blender's scenes leave its ending out."""
    bases = [folder / name] if photos is None else [photos / name, photos / PurePosixPath(name).name]
    for base in bases:
        for candidate in (base, *(base.with_name(base.name + s) for s in (".png", ".jpg", ".jpeg", ".webp"))):
            if candidate.is_file():
                return candidate
    return None


def _stored_size(path: Path) -> dict[str, int]:
    try:
        opened = open_photo(read_bytes(path), path.name, path.suffix.lower()).as_stored()
    except (InputError, MissingError, ResourceError):  # said later, with its name
        return {"w": 1, "h": 1}
    return {"w": opened.width, "h": opened.height}


def _own_split(document: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Photos that a transforms.json itself keeps for testing (nerfstudio's `test_filenames`, else `val_filenames`)."""
    for key in ("test_filenames", "val_filenames"):
        if isinstance(document.get(key), list) and document[key]:
            return tuple(_frame_name(n) for n in document[key])
    return None


def _check_rigid(scene: Reconstruction, file: Path) -> None:
    R = scene.cam_from_world[:, :, :3]
    off = np.abs(np.einsum("nij,nkj->nik", R, R) - np.eye(3)).max(axis=(1, 2))
    bad = ~((off < 1e-2) & (np.linalg.det(R) > 0) & np.isfinite(scene.cam_from_world).all(axis=(1, 2)))
    if bad.any():
        name = scene.names[int(np.flatnonzero(bad)[0])]
        raise InputError(
            f"{file} holds cameras that cannot be",
            f"the transform_matrix of {name} is no rotation and shift ({int(bad.sum())} of {len(bad)} photos)",
            "write the camera's matrix without scale or mirror",
        )


def _joined(a: Reconstruction, b: Reconstruction) -> Reconstruction:
    """The photos of both, sorted by name."""
    names = [*a.names, *b.names]
    order = sorted(range(len(names)), key=lambda i: names[i])
    all_cameras = [*(a.camera(i) for i in range(len(a.names))), *(b.camera(i) for i in range(len(b.names)))]
    cameras, index = geometry.distinct_cameras(all_cameras[i] for i in order)
    return replace(
        a,
        names=tuple(names[i] for i in order),
        cameras=cameras,
        camera_index=index,
        cam_from_world=np.concatenate([a.cam_from_world, b.cam_from_world])[order],
    )


def _with_points(scene: Reconstruction, file: Path, document: Mapping[str, Any]) -> Reconstruction:
    """The points that nerfstudio keeps beside its cameras; they went through `applied_transform` as the cameras did."""
    from rilievo.io.models import read_cloud

    cloud = read_cloud(file)
    applied = np.array(document.get("applied_transform", np.eye(3, 4)), np.float64)[:3]
    points = (cloud.points.astype(np.float64) + cloud.origin - applied[:, 3]) @ np.linalg.inv(applied[:, :3]).T
    good = np.isfinite(points).all(1)
    errors = np.full(int(good.sum()), np.nan, np.float32)
    return replace(scene, points=points[good], point_colors=cloud.colors[good], point_errors_px=errors)


# --- COLMAP and the layouts of truth ----------------------------------------------------------------------------------


def colmap_folder(path: Path) -> Path | None:
    """The COLMAP model in a folder; of several models (sparse/0, sparse/1, ...) the one that says most."""
    if not path.is_dir():
        return None

    def size(folder: Path) -> int:
        files = [folder / "images.bin", folder / "images.txt"]
        whole = any((folder / f"cameras{f.suffix}").is_file() for f in files if f.is_file())
        return max((f.stat().st_size for f in files if f.is_file()), default=0) if whole else 0

    for place in _MODELS:
        folder = path / place
        if not size(folder):
            continue
        numbered = sorted(f for f in folder.parent.glob("[0-9]*") if f.is_dir()) if place.endswith("/0") else [folder]
        return max(numbered, key=lambda f: (size(f), f == folder))
    return None


def _image_folders(path: Path, model: Path) -> list[Path]:
    """Where the photos may lie: beside the model or above it."""
    roots = list(dict.fromkeys([path if path.is_dir() else path.parent, model, *list(model.absolute().parents)[:3]]))
    return [root / name for root in roots for name in _IMAGES if (root / name).is_dir()] + roots[:2]


def _found(names: Sequence[str], folders: Sequence[Path]) -> dict[str, Source]:
    """The files of the photos in the first folder that holds any of them."""
    for folder in folders:
        found = {name: file for name in names if (file := _by_name(folder, name)) is not None}
        if found:
            return {name: Source(name, file) for name, file in found.items()}
    return {}


def _by_name(folder: Path, name: str) -> Path | None:
    relative = name.replace("\\", "/")
    for base in (folder / relative, folder / PurePosixPath(relative).name):
        if base.is_file() and base.suffix.lower() in PHOTO_SUFFIXES:
            return base
    return None


def read_cameras(path: Path | str) -> Reconstruction:
    """The cameras of a COLMAP folder, a transforms.json or a layout of `io.truth`, whether their photos are there or
    not. Raises InputError when there are none."""
    path = Path(path)
    if (folder := colmap_folder(path)) is not None and not (path / "transforms.json").is_file():
        return camera_files.read_colmap(folder)
    return _read_truth_set(path)


def _read_truth_set(path: Path) -> Reconstruction:
    try:
        rows, unit = read_rows(path)
    except InputError as error:
        raise InputError(f"no placed photos in {path}", _what_else(path) or error.why, _hint(path)) from error
    names = sorted(rows)
    cameras, index = geometry.distinct_cameras(rows[n][0] for n in names)
    places = np.array([rows[n][1] for n in names], np.float64).reshape(-1, 3, 4)
    empty = np.zeros(0, np.int32)
    return Reconstruction(
        names=tuple(names),
        camera_index=index,
        cameras=cameras,
        cam_from_world=places,
        points=np.zeros((0, 3)),
        point_colors=np.zeros((0, 3), np.uint8),
        point_errors_px=np.zeros(0, np.float32),
        obs_point=empty,
        obs_photo=empty,
        obs_xy=np.zeros((0, 2), np.float32),
        unit=unit,
    )


def _pictures(path: Path) -> Iterator[Path]:
    files = path.iterdir() if path.is_dir() else iter([path])
    return (f for f in files if f.suffix.lower() in PHOTO_SUFFIXES | VIDEO_SUFFIXES)


def _what_else(path: Path) -> str:
    return "it holds photos, but no cameras" if any(_pictures(path)) else ""


def _hint(path: Path) -> str:
    if any(_pictures(path)):
        return f"run `rilievo build {path} -o model` first and give its folder `model`"
    return "give the folder of `rilievo build`, a COLMAP folder (sparse/0 and images) or a transforms.json"
