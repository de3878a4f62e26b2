"""Photos of a house for the page: where they stand, what they show, their depth, and why some could not be placed."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import InputError
from rilievo.io.photos import Source as PhotoFile
from rilievo.placed import remembered_places
from rilievo.project import Project
from rilievo.types import Camera, DepthMap, Reconstruction
from rilievo.view.progress import DEPTH_STAGES
from rilievo.view.sources import HouseSource

MAX_SIZE, MIN_SIZE = 4096, 16
_KEPT = 96  # pictures in memory


class Photos:
    """The photos of one house. Pictures are made when they are asked for and kept in memory."""

    def __init__(self, house: HouseSource) -> None:
        self.house = house
        self._kept: OrderedDict[Any, bytes] = OrderedDict()
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._depths: dict[str, str] = {}
        self._peeked: dict[str, str] = {}

    # what the manifest says

    def rows(self, origin: np.ndarray) -> list[dict[str, Any]]:
        """One row a photo, in the order of the build: it stays while more of them are placed."""
        scene = self.house.scene
        report = self.house.report().get("photos", {})
        told: dict[str, dict[str, Any]] = {str(row.get("name")): row for row in report.get("list", [])}
        rows = [] if scene is None else self._placed(scene, origin, told)
        unplaced = {} if scene is None else dict(scene.unplaced)
        names = {row["name"] for row in rows}
        for name in self.house.content().get("photos", []):
            if name not in names and name not in unplaced:
                unplaced[name] = "" if scene is None else "no verified matches"
        for name, reason in unplaced.items():
            if name in names:
                continue
            row = told.get(name, {})
            size = (row.get("width"), row.get("height"))
            rows.append(_unplaced(name, reason or None, _hint(row), size, scene is not None))
            rows[-1]["faults"] = row.get("faults", [])
        order = {name: k for k, name in enumerate(self.house.content().get("photos", []))}
        rows.sort(key=lambda row: order.get(row["name"], len(order)))
        for row in report.get("rejected", []):
            if row["name"] not in names and row["name"] not in unplaced:
                rows.append(_unplaced(row["name"], row["reason"], None, (None, None), True, usable=False))
        return rows

    def _placed(
        self, scene: Reconstruction, origin: np.ndarray, told: dict[str, dict[str, Any]]
    ) -> list[dict[str, Any]]:
        from rilievo.stages.views import pinhole_for

        num = np.bincount(scene.obs_photo, minlength=len(scene.names))
        error = np.bincount(
            scene.obs_photo, scene.point_errors_px[scene.obs_point].astype(np.float64), minlength=len(scene.names)
        )
        straight: dict[int, Camera] = {}
        rows = []
        for i, name in enumerate(scene.names):
            k = int(scene.camera_index[i])
            if k not in straight:
                camera = scene.cameras[k]
                straight[k] = pinhole_for(camera, max(camera.width, camera.height))
            camera = straight[k]
            pose = scene.cam_from_world[i].copy()
            pose[:, 3] += pose[:, :3] @ origin
            rows.append(
                {
                    "name": name,
                    "placed": True,
                    "width": camera.width,
                    "height": camera.height,
                    "K": [camera.fx, camera.fy, camera.cx, camera.cy],
                    "cam_from_world": pose.ravel().tolist(),
                    "error_px": None if not num[i] else round(float(error[i] / num[i]), 4),
                    "num_points": int(num[i]),
                    "reason": None,
                    "hint": _hint(told.get(name, {})),
                    "faults": told.get(name, {}).get("faults", []),
                    "usable": True,
                }
            )
        return rows

    def has_depth(self) -> dict[str, str]:
        """Photo name -> object id of its newest depth map."""
        made_from = self.house.content().get("made_from", {})
        project = self.house.project
        if project is None:
            return {}
        scene = self.house.scene
        progress = self.house.progress()
        ids = [] if progress is None else progress.depths(self.house.cameras_since())
        for object_id in [*ids, *(i for stage in DEPTH_STAGES for i in made_from.get(stage, []))]:
            name = self._name_of(project, object_id)
            if name is not None and scene is not None and name in scene.names:
                self._depths[name] = object_id
        return self._depths

    def _name_of(self, project: Project, object_id: str) -> str | None:
        """The name in a stored value, from the head of its file."""
        if object_id not in self._peeked:
            try:
                with project.object_path(object_id).open("rb") as file:
                    size = int.from_bytes(file.read(8), "little")
                    header = json.loads(file.read(min(size, 1 << 22)))
                self._peeked[object_id] = json.loads(header["__metadata__"]["rilievo"])["name"]
            except (OSError, ValueError, KeyError, TypeError):
                return None
        return self._peeked[object_id]

    # pictures

    def picture(self, name: str, size: int) -> bytes:
        """JPEG of a photo, undistorted where it is placed, at most `size` px. Raises InputError when it is gone."""
        return self._keep(("photo", name, size), lambda: self._photo(name, size))

    def depth(self, name: str) -> bytes:
        """PNG of a photo's depth, red near and blue far, transparent where unknown. Raises InputError."""
        object_id = self.has_depth().get(name)
        if object_id is None:
            raise InputError(f"{name} has no depth map", "", "")
        return self._keep(("depth", object_id), lambda: self._depth(object_id))

    def mask_files(self, names: Iterable[str]) -> dict[str, Path]:
        """Masks of the photos that have one: that of the build, or else the one that `rilievo mask` wrote since."""
        project = self.house.project
        if project is None:
            return {}
        sources = project.read().get("sources", {})
        found = {name: _mask_file(project, name, sources.get(name, {})) for name in names}
        return {name: path for name, path in found.items() if path is not None}

    def mask(self, name: str) -> bytes:
        """PNG over a photo, undistorted where it is placed: red where it is masked. Raises InputError."""
        path = self.mask_files([name]).get(name)
        if path is None:
            raise InputError(f"{name} has no mask", "", "")
        return self._keep(("mask", str(path), path.stat().st_mtime_ns), lambda: self._mask(name, path))

    def _mask(self, name: str, path: Path) -> bytes:
        import cv2

        from rilievo.io.photos import load_mask
        from rilievo.stages.views import undistort_view

        usable = load_mask(replace(find_file(self.house.project, name), mask=path), max_size=1600)
        assert usable is not None
        scene = self.house.scene
        hidden = ~usable
        if scene is not None and name in scene.names:
            i = scene.names.index(name)
            h, w = usable.shape
            camera = shrunk(scene.camera(i), w, h)
            red = np.repeat(hidden[..., None], 3, 2).astype(np.uint8) * np.uint8(255)
            hidden = undistort_view(red, camera, scene.cam_from_world[i], name, max_size=1600).pixels[..., 0] > 127
        rgba = np.zeros((*hidden.shape, 4), np.uint8)
        rgba[hidden] = (60, 40, 255, 190)  # blue, green, red, alpha
        return cv2.imencode(".png", rgba, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes()

    def _keep(self, key: Any, make: Any) -> bytes:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._making:  # one at a time: memory of large photos
            raw = make()
        with self._lock:
            self._kept[key] = raw
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return raw

    def _photo(self, name: str, size: int) -> bytes:
        from rilievo.io.photos import load_pixels
        from rilievo.live import jpeg
        from rilievo.stages.views import undistort_view

        source = find_file(self.house.project, name)
        scene = self.house.scene
        if scene is None or name not in scene.names:
            return jpeg(load_pixels(source, max_size=size), 88)
        i = scene.names.index(name)
        camera = scene.camera(i)
        # Twice as large as asked for, then resampled once.
        pixels = load_pixels(source, max_size=min(2 * size, max(camera.width, camera.height)))
        h, w = pixels.shape[:2]
        if abs(w / h - camera.width / camera.height) > 0.02 * camera.width / camera.height:
            raise InputError(f"{name} has changed", f"it is {w} x {h} now", "")
        view = undistort_view(pixels, shrunk(camera, w, h), scene.cam_from_world[i], name, max_size=size)
        return jpeg(view.pixels, 88)

    def _depth(self, object_id: str) -> bytes:
        import cv2

        from rilievo.stages.depth_pictures import depth_colors

        assert self.house.project is not None
        value = self.house.project.get(object_id)
        if not isinstance(value, DepthMap):
            raise InputError("this is no depth map", "", "")
        known = np.isfinite(value.depth) & (value.depth > 0)
        near, far = np.quantile(value.depth[known], [0.01, 0.99]) if known.any() else (1.0, 2.0)
        colors = depth_colors(value.depth, float(near), float(max(far, near * 1.001)))
        rgba = np.dstack([colors[..., ::-1], np.where(known, 255, 0).astype(np.uint8)])
        return cv2.imencode(".png", rgba, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes()


def _mask_file(project: Project, name: str, told: dict[str, Any]) -> Path | None:
    places = remembered_places(project.root, told, "mask")
    return next((p for p in (*places, project.root / "masks" / f"{name}.png") if p.is_file()), None)


def shrunk(camera: Camera, width: int, height: int) -> Camera:
    """The camera of a photo that was made smaller: pixels scale, distortion stays."""
    from rilievo.types import CAMERA_PARAMS

    params = camera.params.copy()
    for k, name in enumerate(CAMERA_PARAMS[camera.model]):
        if name in ("f", "fx", "cx"):
            params[k] *= width / camera.width
        elif name in ("fy", "cy"):
            params[k] *= height / camera.height
    return Camera(camera.model, width, height, params)


def find_file(project: Project | None, name: str) -> PhotoFile:
    """Where a photo of a house lies. Raises InputError when it is gone."""
    told = {} if project is None else project.read().get("sources", {}).get(name, {})
    places = [] if project is None else remembered_places(project.root, told, "path")
    for path in places:
        if path.is_file():
            return PhotoFile(name, path, pts=told.get("pts"))
    raise InputError(
        f"the photo {name} cannot be shown",
        "its file is gone" if told else "the house does not say where it lies",
        "put the photos back where they were, or build again",
    )


def _hint(row: dict[str, Any]) -> str | None:
    hints = [f.get("hint") for f in row.get("faults", []) if f.get("hint")]
    return "; ".join(hints) or row.get("hint") or None


def _unplaced(
    name: str, reason: str | None, hint: str | None, size: tuple[Any, Any], done: bool, usable: bool = True
) -> dict[str, Any]:
    if done and hint is None and usable:
        hint = f"`rilievo why HOUSE {name}` lists the evidence"
    return {
        "name": name,
        "placed": False,
        "width": size[0],
        "height": size[1],
        "K": None,
        "cam_from_world": None,
        "error_px": None,
        "num_points": 0,
        "reason": reason if done else "not placed yet",
        "hint": hint,
        "faults": [],
        "usable": usable,
    }
