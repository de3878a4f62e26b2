"""Photos whose cameras are placed, of a project folder or of somebody else's data set: what splats and fields see."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rilievo.codec import content_id
from rilievo.errors import InputError
from rilievo.io import photos as files
from rilievo.io.photo_sets import file_hash, keep_photos, read_photo_set
from rilievo.io.photos import Source
from rilievo.mappers import map_threads
from rilievo.project import Project
from rilievo.types import Photo, Reconstruction, View

MIN_PHOTOS = 3


@dataclass(frozen=True)
class Placed:
    """Photos and their cameras.

    scene: cameras of any model and sparse points with colours (there may be none); photos that are left out are in its
    `unplaced`, each with the reason.  photo_ids: photo name -> content id of its bytes and those of its mask.
    held_out: photos that the data set itself keeps for testing, None where it names none.  project: the house, when it
    is one.  cloud: object id of the dense cloud in the house.  sources: photo name -> where it lies.
    """

    scene: Reconstruction
    photo_ids: Mapping[str, str]
    held_out: tuple[str, ...] | None
    project: Project | None
    cloud: str | None
    sources: Mapping[str, Source]

    def load_view(self, name: str, max_size: int) -> View:
        """The undistorted photo (PINHOLE, longer side at most max_size px), with its mask file's mask, and `alpha` when
        the file is transparent somewhere. Raises InputError when it cannot be read any more."""
        from rilievo.stages.views import undistort_view

        source = self.sources[name]
        i = self.scene.names.index(name)
        pixels, alpha = files.load_straight(source)
        return undistort_view(
            pixels,
            self.scene.camera(i),
            self.scene.cam_from_world[i],
            name,
            max_size=max_size,
            mask=None if source.mask is None else files.load_mask(source),
            alpha=alpha,
        )


def load_placed(
    path: Path | str, *, photos: Path | str | None = None, masks: Path | str | None = None, num_threads: int = 2
) -> Placed:
    """Placed photos of a project folder, a COLMAP folder, a transforms.json (nerfstudio, instant-ngp, Blender) or its
    folder, or a layout of `io.truth`.

    photos: folder that holds the photos, when they lie elsewhere now.  masks: folder with `NAME.png` a photo (white:
    may be used); without it the masks of the build or of the data set.  num_threads: for reading; it never changes the
    result.

    Raises InputError when there are no cameras, the photos are gone or have changed, a photo has another size than its
    camera, or fewer than 3 photos remain.
    """
    path = Path(path)
    photos, masks = (None if p is None else Path(p) for p in (photos, masks))
    if (path / "project.json").is_file():
        placed = _load_house(Project(path, create=False), photos, masks, num_threads)
    else:
        found = read_photo_set(path, photos=photos, masks=masks, map_many=lambda f, x: map_threads(f, x, num_threads))
        placed = Placed(found.scene, found.photo_ids, found.held_out, None, None, found.sources)
    if len(placed.scene.names) < MIN_PHOTOS:
        lost = "; ".join(f"{name}: {why}" for name, why in list(placed.scene.unplaced.items())[:3])
        raise InputError(
            f"too few placed photos in {path}",
            f"{len(placed.scene.names)} can be used, {MIN_PHOTOS} are needed" + (f" ({lost})" if lost else ""),
            "take more photos of the scene, or give the folder that holds them with --photos",
        )
    return placed


def all_sources(placed: Placed, masks: Path | None = None) -> dict[str, Source]:
    """Where the photos of a house lie, also those that could not be placed, as far as they are still what they were."""
    project = placed.project
    if project is None:
        return dict(placed.sources)
    content = project.read()
    house = _House(project, None, masks)
    out: dict[str, Source] = {}
    for name, object_id in zip(content.get("photos", []), content.get("made_from", {}).get("photos", [])):
        if name in placed.sources:
            out[name] = placed.sources[name]
        elif isinstance(where := house.find(project.get(object_id)), Source):
            out[name] = where
    return {**out, **placed.sources}


# --- where the photos of a house lie ----------------------------------------------------------------------------------


def describe_sources(project: Project, sources: Iterable[Source]) -> dict[str, dict[str, Any]]:
    """What project.json remembers of the places of photos: each as an absolute path and as seen from the house."""
    root = os.path.realpath(project.root)

    def both(kind: str, path: Path) -> dict[str, str]:
        told = {kind: str(path.absolute())}
        with contextlib.suppress(ValueError):  # another drive on Windows
            told[f"{kind}_from_house"] = Path(os.path.relpath(os.path.realpath(path), root)).as_posix()
        return told

    described = {}
    for source in sources:
        described[source.name] = both("path", source.path)
        if source.mask is not None:
            described[source.name] |= both("mask", source.mask)
        if source.pts is not None:
            described[source.name]["pts"] = source.pts
    return described


def remembered_places(root: Path, told: Any, kind: str) -> list[Path]:
    """Where a "path" or "mask" that `describe_sources` told may lie: as seen from the house, then as it was. Of what is
    damaged nothing is taken."""
    if not isinstance(told, Mapping):
        return []
    seen, was = told.get(f"{kind}_from_house"), told.get(kind)
    places = [Path(os.path.realpath(root), seen)] if isinstance(seen, str) else []
    return [*places, Path(was)] if isinstance(was, str) else places


class _House:
    """Finds the photos of a project again and checks that they are what they were."""

    def __init__(self, project: Project, photos: Path | None, masks: Path | None) -> None:
        self.root, self.folder = project.root, photos
        content = project.read()
        self.remembered: dict[str, dict[str, Any]] = content.get("sources", {})
        self.videos: dict[str, list[list[Any]]] = content.get("videos", {})
        self.mask_folder = masks
        self.others = self._index(photos) if photos is not None else {}
        if photos is None and not self.remembered:
            raise InputError(
                f"{self.root} does not say where its photos lie",
                "it was built by an earlier version of rilievo",
                "give their folder with --photos, or run the same build again",
            )
        self._hashes: dict[Path, str] = {}

    def _index(self, folder: Path) -> dict[str, list[Path]]:
        by_name: dict[str, list[Path]] = {}
        for source in files.find_photos([folder]):
            by_name.setdefault(source.name, []).insert(0, source.path)
            if (last := PurePosixPath(source.name).name) != source.name:
                by_name.setdefault(last, []).append(source.path)
        return by_name

    def hash(self, path: Path) -> str:
        """Of a file's bytes; a video is asked for once a frame."""
        if path not in self._hashes:
            self._hashes[path] = file_hash(path)
        return self._hashes[path]

    def find(self, photo: Photo) -> Source | str:
        """Where a photo lies now; or "gone", or "changed"."""
        told = self.remembered.get(photo.name, {})
        clip = photo.name.rpartition("/")[0] if photo.camera_key.startswith("video | ") else None
        places = self._places(told, "path")
        if self.folder is not None:
            key = clip if clip is not None else photo.name
            places = self.others.get(key) or self.others.get(PurePosixPath(key).name, [])
        places = [p for p in places if p.is_file()]
        if not places:
            return "gone"
        for path in places:
            pts = self._frame_pts(path, photo.name, clip) if clip is not None else None
            if pts is not None or (clip is None and self.hash(path) == photo.content_id):
                mask = self._mask(photo, Source(photo.name, path, pts=pts), told)
                return mask if isinstance(mask, str) else Source(photo.name, path, mask, pts)
        return "changed"

    def _frame_pts(self, path: Path, name: str, clip: str) -> int | None:
        """The time stamp of a chosen frame; None when the video is not the one it was chosen from."""
        frames = self.videos.get(f"{self.hash(path)}/{clip}", [])
        return next((int(pts) for frame, pts in frames if frame == name), None)

    def _mask(self, photo: Photo, source: Source, told: dict[str, Any]) -> Path | str | None:
        if self.mask_folder is not None:
            if source.pts is None:
                return files.find_mask(source, self.mask_folder)
            clip, _, number = photo.name.rpartition("/")
            mask = self.mask_folder / clip / f"{number}.png"
            return mask if mask.is_file() else None
        if photo.mask_id in (None, "alpha"):
            return None
        masks = [p for p in self._places(told, "mask") if p.is_file()]
        if not masks:
            return "its mask is gone"
        return next((m for m in masks if self.hash(m) == photo.mask_id), "its mask has changed")

    def _places(self, told: dict[str, Any], kind: str) -> list[Path]:
        return remembered_places(self.root, told, kind)[::-1]  # where it was comes first; its bytes are compared


def _load_house(project: Project, photos: Path | None, masks: Path | None, num_threads: int) -> Placed:
    for kind, folder in (("photos", photos), ("masks", masks)):
        if folder is not None and not folder.is_dir():
            why = "it is not a folder" if folder.exists() else "it does not exist"
            raise InputError(
                f"the {kind} folder {folder} cannot be used", why, f"Give the folder that holds the {kind}."
            )
    content = project.read()
    scene: Reconstruction = project.named("cameras")
    object_ids = dict(zip(content.get("photos", []), content.get("made_from", {}).get("photos", [])))
    house = _House(project, photos, masks)
    known = {name: project.get(object_ids[name]) for name in scene.names if name in object_ids}
    names = list(known)
    found = dict(zip(names, map_threads(lambda n: house.find(known[n]), names, num_threads)))
    changed = [n for n, where in found.items() if isinstance(where, str) and where != "gone"]
    sources = {n: where for n, where in found.items() if isinstance(where, Source)}
    if changed:
        why = found[changed[0]]
        raise InputError(
            f"{_some(changed)} not what {project.root} was built from",
            f"{changed[0]}: {'the file has other content now' if why == 'changed' else why}",
            "give the folder of the unchanged photos with --photos (and of masks with --masks), or build again",
        )
    if not sources:
        told = house.remembered.get(names[0], {}).get("path", "") if names else ""
        where = f"in {photos}" if photos else f"where they were, e.g. {told}"
        raise InputError(
            f"the photos of {project.root} are gone",
            f"none of {len(scene.names)} is {where}",
            "give the folder that holds them now with --photos",
        )
    lost = {n: "its file is gone" for n in scene.names if n not in sources}
    ids = {n: _photo_id(known[n], s, masks is not None) for n, s in sources.items()}
    # That of stereo, also where splats completed it since: then they need not be trained again.
    cloud = next(iter(content.get("made_from", {}).get("cloud", [])), content.get("names", {}).get("cloud"))
    return Placed(keep_photos(scene, sources, lost), ids, None, project, cloud, sources)


def _photo_id(photo: Photo, source: Source, other_masks: bool) -> str:
    mask = photo.mask_id
    if other_masks:
        mask = file_hash(source.mask) if source.mask is not None else None
    return photo.content_id if mask is None else content_id(photo.content_id, mask)


def _some(names: Sequence[str]) -> str:
    """a.jpg is; a.jpg, b.jpg and 3 more are."""
    shown = ", ".join(names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{shown}{more} {'is' if len(names) == 1 else 'are'}"
