"""Splats drawn on the CPU for browsers that have no GPU: JPEG by JPEG, for the camera under the user's hand."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from rilievo.live import WAIT_S, Job, Painter, jpeg, read_camera
from rilievo.live_server import Answer, Refused
from rilievo.types import Splats

Color = tuple[float, float, float] | None
Planes = tuple[tuple[float, float, float, float], ...]
MAX_PLANES = 16


class Frames:
    """Draws the splats of one layer; they are loaded with the first frame. load: gives them.  origin: of the scene."""

    def __init__(self, load: Callable[[], Splats], origin: np.ndarray) -> None:
        self._load, self._origin = load, origin
        self._painter = Painter(self._draw)
        self._renderer: Any = None
        self._cut: tuple[Planes, Any] | None = None

    def _draw(self, camera: Any, cam_from_scene: np.ndarray, background: Color, planes: Planes) -> np.ndarray:
        from rilievo.stages.splats_render import SplatRenderer

        if self._renderer is None:  # the painter has one thread
            splats = self._load()
            self._renderer = SplatRenderer(replace(splats, origin=splats.origin - self._origin))
        renderer = self._renderer
        if planes:
            if self._cut is None or self._cut[0] != planes:
                self._cut = (planes, SplatRenderer(_cut(renderer.splats, planes)))
            renderer = self._cut[1]
        return renderer.picture(camera, cam_from_scene, background=background)

    def answer(self, query: Mapping[str, str]) -> Answer:
        """One JPEG for w h fx fy cx cy (px) and m, the 12 numbers of cam_from_scene row by row; `c` names the page,
        still=1 asks for quality, bg=rrggbb is the colour behind all (default: the splats' own), planes=n,n,n,d;...
        leaves out what lies behind one of these planes (n x + d < 0). 204 when a newer wish of the page took
        its place."""
        job = Job(*read_camera(query), (read_color(query), read_planes(query)))
        if not self._painter.submit(query.get("c", "")[:32], job):
            raise Refused(503, "too many pages wait for a picture")
        if not job.done.wait(WAIT_S) or job.stale:
            return Answer(status=204)
        if job.error or job.pixels is None:
            raise Refused(500, job.error or "nothing was drawn")
        raw = jpeg(job.pixels, 92 if query.get("still") == "1" else 80)
        return Answer(raw, "image/jpeg", headers={"X-Draw-Ms": f"{1000 * job.seconds:.1f}"})

    def close(self) -> None:
        """Waits for the frame that is being drawn."""
        self._painter.close()


def read_color(query: Mapping[str, str]) -> Color:
    """bg of a query, 0..1; None without one. Raises Refused."""
    text = query.get("bg", "")
    if not text:
        return None
    if not re.fullmatch("[0-9a-f]{6}", text):
        raise Refused(400, "bg must be six hexadecimal digits")
    r, g, b = bytes.fromhex(text)
    return r / 255, g / 255, b / 255


def read_planes(query: Mapping[str, str]) -> Planes:
    """planes of a query. Raises Refused."""
    planes = []
    for text in filter(None, query.get("planes", "").split(";")):
        try:
            a, b, c, d = (float(x) for x in text.split(","))
        except ValueError as error:
            raise Refused(400, "a plane is four numbers") from error
        if len(planes) == MAX_PLANES or not np.abs([a, b, c, d]).max() < 1e12:  # not a number is refused too
            raise Refused(400, f"there are at most {MAX_PLANES} planes, of finite numbers")
        planes.append((a, b, c, d))
    return tuple(planes)


def _cut(splats: Splats, planes: Planes) -> Splats:
    from rilievo.stages.splat_edit import select

    points = splats.means.astype(np.float64) + splats.origin
    return select(splats, np.all([points @ plane[:3] + plane[3] >= 0 for plane in planes], axis=0))


class FrameLayers:
    """The layers that are drawn here, by their names."""

    def __init__(self) -> None:
        self._frames: dict[str, tuple[Any, Frames]] = {}
        self._lock = threading.Lock()

    def answer(self, layer: str, key: Any, load: Callable[[], Splats], origin: np.ndarray, query: Any) -> Answer:
        """A frame of the layer. key: changes when its splats do."""
        old = None
        with self._lock:
            if layer not in self._frames or self._frames[layer][0] != key:
                old = self._frames.pop(layer, None)
                self._frames[layer] = (key, Frames(load, origin))
            frames = self._frames[layer][1]
        if old is not None:
            old[1].close()
        return frames.answer(query)

    def close(self) -> None:
        """Ends all drawing."""
        with self._lock:
            frames, self._frames = [f for _, f in self._frames.values()], {}
        for f in frames:
            f.close()
