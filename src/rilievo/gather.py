"""Finding the photos of a build and reading them again when a stage needs their pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from rilievo.chain import Chain
from rilievo.codec import content_id
from rilievo.errors import InputError, MissingError
from rilievo.io import photos as files
from rilievo.io.known_cameras import KnownCameras, read_known_cameras
from rilievo.mappers import map_threads
from rilievo.placed import describe_sources
from rilievo.types import Camera, DepthMap, Photo, Reconstruction, View


@dataclass(frozen=True)
class PhotoConfig:
    """Reading of a photo's metadata; it has no settings."""

    version: ClassVar[int] = 1


@dataclass(frozen=True)
class Gathered:
    """The usable photos of a build in their order of arrival, where they lie, and the files that cannot be used."""

    photos: tuple[Photo, ...]
    photo_ids: tuple[str, ...]
    sources: tuple[files.Source, ...]
    rejected: tuple[files.Rejected, ...]
    camera: Camera | None = None
    known: KnownCameras | None = None

    @cached_property
    def _index(self) -> dict[str, int]:
        return {photo.name: i for i, photo in enumerate(self.photos)}

    def photo(self, name: str) -> Photo:
        """The photo of that name."""
        return self.photos[self._index[name]]

    def source(self, name: str) -> files.Source:
        """Where the photo of that name lies."""
        return self.sources[self._index[name]]

    def load_pixels(self, name: str) -> np.ndarray:
        """uint8 (h, w, 3) of the full photo, upright."""
        return files.load_pixels(self.source(name))

    def load_mask(self, name: str, *, matching: bool = False) -> np.ndarray | None:
        """bool (h, w), True where the photo may be used; matching: to find cameras."""
        return files.load_mask(self.source(name), matching=matching)

    def load_view(self, scene: Reconstruction, name: str, max_size: int) -> View:
        """The undistorted photo of a placed camera."""
        from rilievo.stages.views import undistort_view

        i = scene.names.index(name)
        return undistort_view(
            self.load_pixels(name),
            scene.camera(i),
            scene.cam_from_world[i],
            name,
            max_size=max_size,
            mask=self.load_mask(name),
        )


def gather(
    chain: Chain,
    paths: Iterable[Path | str],
    *,
    masks: Path | None = None,
    camera: Path | None = None,
    cameras: Path | None = None,
) -> Gathered:
    """Photos of folders, files and videos. Those of an earlier run keep their place, new ones come last, so that what
    was computed for a photo and the ones before it stays valid.

    camera: intrinsics of all photos.  cameras: intrinsics and places of the photos.
    Raises InputError when nothing usable is found or a mask or a file of cameras does not fit.
    """
    project = chain.project
    sources, unreadable = _expand(chain, files.find_photos(paths, masks=masks))
    earlier = {name: i for i, name in enumerate(project.read().get("photos", []))}
    sources.sort(key=lambda s: earlier.get(s.name, len(earlier)))
    config = PhotoConfig()
    ids: dict[str, str] = {}

    def read(source: files.Source) -> Photo | files.Rejected:
        if source.name in unreadable:
            return unreadable[source.name]
        key = [_file_hash(source.path), source.name, str(source.pts), _file_hash(source.mask) if source.mask else ""]
        if found := project.find("photos", config, key):
            ids[source.name] = found.output
            return project.get(found.output)
        photo = files.try_read_photo(source)
        if isinstance(photo, Photo):
            ids[source.name] = project.run("photos", config, key, lambda: photo).output
        return photo

    results: list[Photo | files.Rejected] = []
    for result in map_threads(read, sources, chain.num_threads):
        results.append(result)
        chain.progress("photos", len(results), len(sources))
    chosen = files.select_photos(sources, results)
    photos = tuple(photo for _, photo in chosen.photos)
    known = None
    if camera is not None:
        known = files.read_camera_file(camera, size=(photos[0].width, photos[0].height))
    placed = None if cameras is None else read_known_cameras(cameras, photos)
    made_from = {**project.read().get("made_from", {}), "photos": [ids[p.name] for p in photos]}
    where = describe_sources(project, (s for s, _ in chosen.photos))
    project.update(photos=[p.name for p in photos], made_from=made_from, sources=where)
    return Gathered(
        photos, tuple(ids[p.name] for p in photos), tuple(s for s, _ in chosen.photos), chosen.rejected, known, placed
    )


def place_id(scene: Reconstruction, found: Gathered, name: str) -> str:
    """Names what a view depends on: its photo, its camera and where it stands."""
    i = scene.names.index(name)
    photo = found.photo(name)
    return content_id(photo.content_id, photo.mask_id, scene.camera(i), scene.cam_from_world[i])


class StoredMaps:
    """Depth maps on disk as `stages.points.fuse` wants them: one at a time."""

    def __init__(
        self,
        names: Sequence[str],
        neighbours: Mapping[str, Sequence[str]],
        load: Callable[[str], tuple[DepthMap, View]],
    ) -> None:
        self.names, self.neighbours, self._load = names, neighbours, load

    def load(self, name: str) -> tuple[DepthMap, np.ndarray]:
        """The map and the pixels of its view."""
        depth_map, view = self._load(name)
        return depth_map, view.pixels


def _expand(chain: Chain, sources: list[files.Source]) -> tuple[list[files.Source], dict[str, files.Rejected]]:
    """Videos replaced by their chosen frames, and the videos that cannot be read. The choice of frames is remembered by
    the video's content."""
    from rilievo.io.video import choose_frames

    expanded: list[files.Source] = []
    unreadable: dict[str, files.Rejected] = {}
    for source in sources:
        if not source.is_video:
            expanded.append(source)
            continue
        key = f"{_file_hash(source.path)}/{source.name}"
        remembered = chain.project.read().get("videos", {})
        if key not in remembered:
            chain.progress("video frames", 0, 1)
            try:
                frames = choose_frames(source)
            except (InputError, MissingError) as error:
                expanded.append(source)
                unreadable[source.name] = files.Rejected(source.name, error.why or error.what)
                continue
            chain.progress("video frames", 1, 1)
            remembered = {**remembered, key: [[f.name, f.pts] for f in frames]}
            chain.project.update(videos=remembered)
        for name, pts in remembered[key]:
            mask = source.mask / f"{name.rsplit('/', 1)[1]}.png" if source.mask else None
            expanded.append(files.Source(name, source.path, mask if mask and mask.is_file() else None, pts))
    return expanded, unreadable


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
