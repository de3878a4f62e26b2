"""What a viewer is given, houses and files of models, opened: which values each holds, where they come from.

Values are loaded when a layer is made of them, not before. A house in the middle of a build shows what it has so far.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.codec import content_id
from rilievo.errors import InputError
from rilievo.project import Project
from rilievo.types import Mesh, PointCloud, Reconstruction, Splats
from rilievo.view.progress import Progress

MODEL_ENDINGS = ("glb", "obj", "ply", "stl")
SPLAT_ENDINGS = ("spz", "splat", "sog")
_HOUSE_NAMES = ("mesh", "cloud", "splats")
# Stage of a build -> the name that its result will have.
_STAGES = {"mesh": ("texture", "refine", "surface"), "cloud": ("cloud",), "splats": ("splats",)}
TITLES = {"mesh": "Mesh", "cloud": "Point cloud", "splats": "Gaussian splats"}


@dataclass(frozen=True)
class Item:
    """One value to show. key: changes when the value does.  file: the file it comes from, where it is one's own.
    load: gives it; may take a while."""

    kind: str
    name: str
    key: str
    load: Callable[[], Any]
    file: Path | None = None


class FileSource:
    """A file of a mesh, a cloud or splats. Raises InputError when there is no such file or its ending says nothing."""

    project = None
    scene: Reconstruction | None = None

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(
                f"cannot show {path}",
                "it is a folder, but not a rilievo project" if path.is_dir() else "there is no such file or folder",
                "give the folder that `rilievo build` wrote (its -o option), or a file",
            )
        self.path, self.title = path, path.name
        self._read: Any = None
        self.kind = kind_of_file(path)
        self.unit, self.unit_note = "unknown", "a file does not say its unit"
        self.up, self.up_known = guess_file_up(path, self.kind), False

    @cached_property
    def value(self) -> Mesh | PointCloud | Splats:
        """What the file holds. Raises InputError when it is damaged."""
        self._read = self.state()
        if self.kind == "splats":
            from rilievo.io.splats import read_finite

            return read_finite(self.path)[0]
        from rilievo.io import models

        return models.read(self.path)

    def state(self) -> Any:
        """Changes when the file does."""
        try:
            stat = self.path.stat()
        except OSError:
            return self._read
        return stat.st_mtime_ns, stat.st_size

    def items(self) -> list[Item]:
        """The one value of the file; read again where the file has changed."""
        kind = self.kind
        if self._read != self.state():
            self.__dict__.pop("value", None)
        if kind == "model":
            kind = "mesh" if isinstance(self.value, Mesh) else "cloud"
        key = content_id(str(self.path.resolve()), list(self.state()))
        return [Item(kind, self.title, key, lambda: self.value, self.path)]

    def read_saved(self) -> dict[str, Any]:
        """Files keep nothing."""
        return {}


class HouseSource:
    """A project folder. must_exist: raise InputError when it has no project.json; else it may come later, and what a
    build or a training has made so far is followed."""

    def __init__(self, path: Path, *, must_exist: bool = True) -> None:
        if must_exist or (path / "project.json").exists():
            self.project = Project(path, create=False)
            self.project.read()
        else:
            self.project = None
        self.path, self.title = path, path.resolve().name
        self.growing = not must_exist
        self._progress: Progress | None = None

    def progress(self) -> Progress | None:
        """What is being made; None where nobody asked for that."""
        project = self._project()
        if self.growing and self._progress is None and project is not None:
            self._progress = Progress(project)
            self._progress.scan()
        return self._progress

    def _project(self) -> Project | None:
        if self.project is None and (self.path / "project.json").is_file():
            self.project = Project(self.path, create=False)
        return self.project

    def content(self) -> dict[str, Any]:
        """project.json."""
        project = self._project()
        return {} if project is None else project.read()

    def state(self) -> Any:
        """Changes when results come."""
        try:
            stat = (self.path / "project.json").stat()
        except OSError:
            return 0
        progress = self.progress()
        return stat.st_mtime_ns, stat.st_size, 0 if progress is None else progress.scan()

    def cameras_since(self) -> float:
        """When the cameras in use were made; 0 without any."""
        object_id = self.results().get("cameras")
        return 0.0 if object_id is None or self.project is None else self.project.object_path(object_id).stat().st_mtime

    def results(self) -> dict[str, str]:
        """cameras, mesh, cloud, splats -> object ids. While a build goes on: of this build only, as far as it is."""
        content, project = self.content(), self._project()
        if project is None:
            return {}
        names, made_from = dict(content.get("names", {})), content.get("made_from", {})
        cameras = next(iter(made_from.get("cameras", [])), None)
        if cameras is not None and cameras != names.get("cameras") and project.has(cameras):
            since = project.object_path(cameras).stat().st_mtime
            names = {"cameras": cameras}
            for name, stages in _STAGES.items():
                ids = [made_from[s][0] for s in stages if len(made_from.get(s, ())) == 1]
                fresh = [i for i in ids if project.has(i) and project.object_path(i).stat().st_mtime >= since]
                if fresh:
                    names[name] = fresh[0]
        return {k: v for k, v in names.items() if k in ("cameras", *_HOUSE_NAMES) and project.has(v)}

    @property
    def scene(self) -> Reconstruction | None:
        """Cameras and sparse points, as soon as there are some."""
        object_id, project = self.results().get("cameras"), self.project
        if object_id is None or project is None:
            return None
        if self._scene_id != object_id:
            self._scene, self._scene_id = project.get(object_id), object_id
        return self._scene

    _scene: Reconstruction | None = None
    _scene_id: str = ""

    @property
    def unit(self) -> str:
        scene = self.scene
        return "unknown" if scene is None else scene.unit

    @property
    def unit_note(self) -> str:
        from rilievo.report import scale_sentence

        scene = self.scene
        return "no cameras yet" if scene is None else scale_sentence(scene)

    @property
    def up_known(self) -> bool:
        scene = self.scene
        return scene is not None and scene.frame in ("enu", "upright")

    @property
    def up(self) -> np.ndarray:
        """Unit vector (3,): the world's z where it was levelled, else that of the photos."""
        scene = self.scene
        if scene is None or self.up_known or not len(scene.names):
            return np.array([0.0, 0.0, 1.0])
        from rilievo.stages.camera_path import scene_up

        return scene_up(scene.cam_from_world)

    def items(self) -> list[Item]:
        """Mesh, cloud and splats, as far as they are there."""
        project = self._project()
        if project is None:
            return []
        found = {kind: object_id for kind, object_id in self.results().items() if kind in _HOUSE_NAMES}
        progress = self.progress()
        state = None if progress is None else progress.training()
        items = [
            Item(kind, TITLES[kind], object_id, partial(project.get, object_id))
            for kind, object_id in found.items()
            if kind != "splats" or state is None
        ]
        if progress is not None and state is not None:
            items.append(Item("splats", "Gaussian splats (in training)", state, partial(progress.trained, state)))
        return items

    def exported_glb(self, object_id: str) -> Path | None:
        """export/model.glb, where it shows the mesh of that id."""
        content, project = self.content(), self._project()
        file = self.path / "export" / "model.glb"
        if project is None or not content.get("published") or content.get("names", {}).get("mesh") != object_id:
            return None
        try:
            made, shown = project.object_path(object_id).stat(), file.stat()
        except OSError:
            return None
        return file if shown.st_mtime >= made.st_mtime else None

    def report(self) -> dict[str, Any]:
        """report.json, empty without one."""
        return read_json(self.path / "export" / "report.json")

    def read_saved(self) -> dict[str, Any]:
        """What the viewer's tools saved: `frame` and `measures`."""
        content = self.content()
        return {k: content[k] for k in ("frame", "measures") if k in content}


Source = FileSource | HouseSource


def open_source(path: Path, *, must_exist: bool = True) -> Source:
    """A house or a file. Raises InputError."""
    if (path / "project.json").exists() or (not must_exist and not path.is_file()):
        return HouseSource(path, must_exist=must_exist)
    return FileSource(path)


def kind_of_file(path: Path) -> str:
    """ "splats" or "model". Raises InputError for an ending that is not known."""
    ending = path.suffix.lstrip(".").lower()
    if ending in SPLAT_ENDINGS or path.name == "meta.json":
        return "splats"
    if ending not in MODEL_ENDINGS:
        known = ", ".join((*MODEL_ENDINGS, *SPLAT_ENDINGS))
        raise InputError(f"cannot show {path.name}", f"files that can be shown: {known}", "or give a project folder")
    with path.open("rb") as file:
        start = file.read(65536)
    if ending == "ply" and b"property float f_dc_0" in start.split(b"end_header")[0]:
        return "splats"
    return "splats" if ending == "glb" and b"KHR_gaussian_splatting" in start else "model"


def guess_file_up(path: Path, kind: str) -> np.ndarray:
    """Trainers of splats write COLMAP's axes, y down; other files are z up here, ours as well."""
    if kind == "splats" and path.suffix.lower() in (".ply", ".spz", ".splat", ".sog"):
        with path.open("rb") as file:
            if b"rilievo" not in file.read(4096):
                return np.array([0.0, -1.0, 0.0])
    return np.array([0.0, 0.0, 1.0])


def read_json(path: Path) -> dict[str, Any]:
    """A document; empty where there is none or it is damaged."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def scene_origin(source: Source) -> np.ndarray:
    """Zero where single precision can carry the coordinates, else a round place in the middle."""
    if source.scene is not None and len(source.scene.points):
        points = source.scene.points
    elif source.scene is not None and len(source.scene.names):
        points = source.scene.centers
    elif isinstance(source, FileSource):
        value = source.value
        points = anchor_points(value) + value.origin
    else:
        return np.zeros(3)
    middle, size = np.median(points, axis=0), np.ptp(np.quantile(points, [0.02, 0.98], axis=0), axis=0).max()
    return np.zeros(3) if np.abs(middle).max() <= 16 * max(size, 1e-30) else np.round(middle)


def anchor_points(value: Mesh | PointCloud | Splats) -> np.ndarray:
    """Points (n, 3) of a value, relative to its origin; at most 100,000 of them."""
    points = {Mesh: "vertices", PointCloud: "points", Splats: "means"}[type(value)]
    xyz = getattr(value, points)
    return xyz[:: max(len(xyz) // 100_000, 1)].astype(np.float64)


def robust_bounds(points: np.ndarray) -> dict[str, list[float]]:
    """Where 96 % of the points lie along each axis."""
    if not len(points):
        return {"min": [-1.0] * 3, "max": [1.0] * 3}
    low, high = np.quantile(points, [0.02, 0.98], axis=0)
    return {"min": low.tolist(), "max": high.tolist()}
