"""A live picture of a scene in the browser: frames drawn here, on the CPU, for the camera under the user's hand.

The page (web/live.html) asks for the next frame before the last one is decoded; one thread draws, another encodes, and
of the frames that a page waits for only the newest two are drawn. A renderer of 35 ms thus gives more than 20 frames a
second.

    GET  .../             the page            GET  .../scene    where to start, the photos' cameras
    GET  .../frame?...    one JPEG            GET  .../photo?k= one photo as JPEG
    GET  .../status       what training says  POST .../control  {"wanted": "run" | "pause" | "stop"}
"""

from __future__ import annotations

import io
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.live_server import Answer, LocalServer, Refused, has_screen
from rilievo.stages.camera_path import looked_at, scene_up
from rilievo.stages.splat_photos import SizedPhoto
from rilievo.types import Camera, View

Render = Callable[..., np.ndarray]

MAX_SIDE = 4096
MAX_PIXELS = 4_200_000
MAX_WAITING = 16  # pages that wait for a frame
WAIT_S = 60.0  # for a frame, at most
WANTED = ("run", "pause", "stop")
_WEB = Path(__file__).with_name("web")
_FILES = {
    "": ("live.html", "text/html; charset=utf-8"),
    "live.js": ("live.js", "text/javascript; charset=utf-8"),
    "base.css": ("base.css", "text/css; charset=utf-8"),
    "live.css": ("live.css", "text/css; charset=utf-8"),
}


@dataclass(frozen=True)
class LiveView:
    """A photo that the page can go to and compare with.

    camera: PINHOLE.  cam_from_world: (3, 4).  load: gives its pixels, uint8 (h, w, 3) of the camera's shape; called
    when the page asks for it, from one thread at a time.  held_out: training does not see it.
    """

    name: str
    camera: Camera
    cam_from_world: np.ndarray
    load: Callable[[], np.ndarray]
    held_out: bool = False


def pixels_over(view: View | SizedPhoto, background: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """uint8 (h, w, 3) of a view, in front of a background (0..1) where the photo is transparent."""
    if view.alpha is None:
        return view.pixels
    a = view.alpha.astype(np.float32)[..., None] / 255
    return np.rint(view.pixels * a + np.asarray(background, np.float32) * 255 * (1 - a)).astype(np.uint8)


class LiveViewer:
    """Shows a scene at `url` until `close`; the page steers training by `wanted`.

    render: (PINHOLE camera, cam_from_world (3, 4)) -> uint8 (h, w, 3); called from one thread at a time, any number of
    times, with cameras of at most 4.2 Mpx.  start: camera and place to begin with.  views: photos to go to.
    pivot: what to turn around (default: what the photos look at).  up: the world's up (default: the photos').
    training: whether there is something to pause and to stop.  port: 0 for any that is free.  open_browser: show it at
    once, where there is a screen.
    Raises ResourceError when the port is taken.
    """

    def __init__(
        self,
        render: Render,
        *,
        start: tuple[Camera, np.ndarray],
        views: Sequence[LiveView] = (),
        pivot: np.ndarray | None = None,
        up: np.ndarray | None = None,
        training: bool = True,
        port: int = 0,
        open_browser: bool = True,
    ) -> None:
        self._views = tuple(views)
        self._load = lru_cache(4)(lambda k: jpeg(np.asarray(self._views[k].load(), np.uint8), 90))
        self._load_lock = threading.Lock()
        self._scene = _describe(start, self._views, pivot, up, training)
        self._lock = threading.Lock()
        self._status: dict[str, Any] = {}
        self._version = 0
        self._wanted = "run"
        self._painter = Painter(render)
        try:
            self._server = LocalServer(self._answer, port)
        except BaseException:
            self._painter.close()
            raise
        self.url = self._server.url
        if open_browser and has_screen():
            import webbrowser

            threading.Thread(target=webbrowser.open, args=(self.url,), daemon=True).start()

    def update(self, *, status: Mapping[str, Any]) -> None:
        """There is something new to show. Known entries of status, all optional: `iteration`, `num_iterations`, `psnr`
        (of held-out photos, dB), `num_splats`, `seconds`, and `note`, a few words."""
        with self._lock:
            self._status = {str(k): _plain(v) for k, v in status.items()}
            self._version += 1

    def wanted(self) -> str:
        """What the page's buttons ask for: "run", "pause" or "stop"."""
        with self._lock:
            return self._wanted

    def close(self) -> None:
        """Ends the page's connections and frees the port. A frame that is being drawn is waited for."""
        self._painter.close()
        self._server.close()

    def __enter__(self) -> LiveViewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # what the page asks for

    def _answer(self, place: str, query: dict[str, str], body: Any) -> Answer:
        if place == "control":
            return self._control(body)
        if body is not None:
            raise Refused(405, "this is not for writing")
        if place == "frame":
            return self._frame(query)
        if place == "status":
            with self._lock:
                return Answer.json({"status": self._status, "version": self._version, "wanted": self._wanted})
        if place == "scene":
            return Answer.json(self._scene)
        if place == "photo":
            return self._photo(query)
        if place in _FILES:
            name, kind = _FILES[place]
            return Answer((_WEB / name).read_bytes(), kind)
        raise Refused(404, "there is no such page")

    def _control(self, body: Any) -> Answer:
        if body is None:
            raise Refused(405, "this is for writing")
        wanted = body.get("wanted") if isinstance(body, dict) else None
        if wanted not in WANTED:
            raise Refused(400, f"wanted must be one of {', '.join(WANTED)}")
        with self._lock:
            if self._wanted != "stop":  # what has stopped does not go on
                self._wanted = wanted
            return Answer.json({"wanted": self._wanted})

    def _photo(self, query: dict[str, str]) -> Answer:
        k = query.get("k", "")
        if not (k.isascii() and k.isdigit() and len(k) < 7 and int(k) < len(self._views)):
            raise Refused(404, "there is no such photo")
        with self._load_lock:
            try:
                return Answer(self._load(int(k)), "image/jpeg")
            except Exception as error:
                raise Refused(500, first_line(error)) from error

    def _frame(self, query: dict[str, str]) -> Answer:
        camera, cam_from_world = read_camera(query)
        client = query.get("c", "")[:32]
        job = Job(camera, cam_from_world)
        if not self._painter.submit(client, job):
            raise Refused(503, "too many pages wait for a picture")
        if not job.done.wait(WAIT_S) or job.stale:
            return Answer(status=204)
        if job.error or job.pixels is None:
            raise Refused(500, job.error or "nothing was drawn")
        quality = 92 if query.get("still") == "1" else 80
        told = {"X-Draw-Ms": f"{1000 * job.seconds:.1f}", "X-Version": str(self._version)}
        return Answer(jpeg(job.pixels, quality), "image/jpeg", headers=told)


# --- drawing ----------------------------------------------------------------------------------------------------------


class Job:
    """One frame that is wanted. stale: a newer one of the same page took its place.  more: further arguments of the
    painter's render."""

    def __init__(self, camera: Camera, cam_from_world: np.ndarray, more: tuple[Any, ...] = ()) -> None:
        self.camera, self.cam_from_world, self.more = camera, cam_from_world, more
        self.done = threading.Event()
        self.pixels: np.ndarray | None = None
        self.stale, self.error, self.seconds = False, "", 0.0

    def drop(self) -> None:
        self.stale = True
        self.done.set()


class Painter:
    """The thread that draws. Pages take turns; of each page only the two newest wishes wait."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, client: str, job: Job) -> bool:
        """False when too many pages wait already."""
        with self._changed:
            if self._closed:
                job.drop()
                return True
            if client not in self._waiting and len(self._waiting) >= MAX_WAITING:
                return False
            wishes = self._waiting.setdefault(client, deque())
            if len(wishes) == 2:
                wishes.popleft().drop()
            wishes.append(job)
            self._changed.notify()
        return True

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                client, wishes = self._waiting.popitem(last=False)
                job = wishes.popleft()
                if wishes:
                    self._waiting[client] = wishes  # last in the row
            started = time.perf_counter()
            try:
                pixels = np.asarray(self._render(job.camera, job.cam_from_world, *job.more))
                if pixels.dtype != np.uint8 or pixels.shape != (job.camera.height, job.camera.width, 3):
                    raise ValueError(f"drawing gave {pixels.dtype} {pixels.shape}")
                job.pixels = pixels
            except Exception as error:  # the page says so; the next frame may do better
                job.error = first_line(error)
            job.seconds = time.perf_counter() - started
            job.done.set()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            for wishes in self._waiting.values():
                for job in wishes:
                    job.drop()
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join()


def jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """uint8 (h, w, 3) as JPEG."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(
        out, "JPEG", quality=quality, subsampling=2 if quality < 90 else 0
    )
    return out.getvalue()


def read_camera(query: Mapping[str, str]) -> tuple[Camera, np.ndarray]:
    """w h fx fy cx cy (px) and m, the 12 numbers of cam_from_world row by row. Raises Refused."""
    try:
        w, h = int(query["w"]), int(query["h"])
        fx, fy, cx, cy = (float(query[name]) for name in ("fx", "fy", "cx", "cy"))
        m = np.array([float(x) for x in query["m"].split(",")], np.float64).reshape(3, 4)
    except (KeyError, ValueError, OverflowError) as error:
        raise Refused(400, "the camera cannot be read") from error
    if not (16 <= w <= MAX_SIDE and 16 <= h <= MAX_SIDE and w * h <= MAX_PIXELS):
        raise Refused(400, f"a picture has 16 to {MAX_SIDE} pixels a side and at most {MAX_PIXELS} in all")
    side = max(w, h)
    sane = all(0.02 * side <= f <= 200 * side for f in (fx, fy)) and all(abs(c) <= 100 * side for c in (cx, cy))
    R = m[:, :3]
    if not sane or not (np.abs(m) < 1e12).all() or not (np.abs(R @ R.T - np.eye(3)) < 1e-3).all():
        raise Refused(400, "there is no such camera")
    U, _, Vt = np.linalg.svd(R)
    if np.linalg.det(U @ Vt) < 0:
        raise Refused(400, "there is no such camera")
    m[:, :3] = U @ Vt
    return Camera("PINHOLE", w, h, np.array([fx, fy, cx, cy], np.float64)), m


# --- what the page is told --------------------------------------------------------------------------------------------


def _describe(
    start: tuple[Camera, np.ndarray],
    views: Sequence[LiveView],
    pivot: np.ndarray | None,
    up: np.ndarray | None,
    training: bool,
) -> dict[str, Any]:
    places = np.stack([v.cam_from_world for v in views] or [start[1]]).astype(np.float64)
    if up is None:
        up = scene_up(places)
    if pivot is None:
        pivot = looked_at(places)
    return {
        "start": _camera_document(*start),
        "views": [
            {"name": v.name, "held_out": v.held_out, **_camera_document(v.camera, v.cam_from_world)} for v in views
        ],
        "pivot": [float(x) for x in pivot],
        "up": [float(x) for x in up],
        "training": training,
    }


def _camera_document(camera: Camera, cam_from_world: np.ndarray) -> dict[str, Any]:
    return {
        "width": camera.width,
        "height": camera.height,
        "intrinsics": [camera.fx, camera.fy, camera.cx, camera.cy],
        "cam_from_world": np.asarray(cam_from_world, np.float64).ravel().tolist(),
    }


def _plain(value: Any) -> Any:
    """A status entry as JSON can say it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int) else str(value)[:200]


def first_line(error: Exception) -> str:
    """Of what an error says, for a page."""
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
