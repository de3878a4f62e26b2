"""The training of splats in the browser: what `rilievo splats --live` shows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rilievo.live import LiveView, LiveViewer, pixels_over
from rilievo.placed import Placed
from rilievo.stages.splat_rows import splats_of
from rilievo.stages.splats import SplatsConfig
from rilievo.stages.splats_render import SplatRenderer
from rilievo.types import Camera, Splats


class SplatViewer:
    """Shows the newest Gaussians while they train. The page's frames are drawn from a snapshot that is at most a second
    old; nothing of this changes the result, except when the page says stop."""

    def __init__(
        self,
        placed: Placed,
        names: Sequence[str],
        tested: set[str],
        size: int,
        origin: np.ndarray,
        config: SplatsConfig,
        started: float,
    ) -> None:
        self.config, self.started = config, started
        self.psnr = float("nan")
        self._origin = origin
        self._lock = threading.Lock()
        self._renderer: SplatRenderer | None = None
        self._taken = 0.0
        views = []
        for name in names:
            view = placed.load_view(name, 160)  # for its camera; pixels are loaded when the page asks
            scale = size / max(view.camera.width, view.camera.height)
            w, h = round(view.camera.width * scale), round(view.camera.height * scale)
            camera = Camera("PINHOLE", w, h, view.camera.params * scale)
            views.append(
                LiveView(name, camera, view.cam_from_world, self._loader(placed, name, camera), name in tested)
            )
        self.server = LiveViewer(self._draw, start=(views[0].camera, views[0].cam_from_world), views=views)

    def _loader(self, placed: Placed, name: str, camera: Camera) -> Callable[[], np.ndarray]:
        def load() -> np.ndarray:
            import cv2

            view = placed.load_view(name, max(camera.width, camera.height))
            pixels = pixels_over(view, self.config.background)
            if pixels.shape[:2] != (camera.height, camera.width):
                pixels = cv2.resize(pixels, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
            return pixels

        return load

    def _draw(self, camera: Camera, cam_from_world: np.ndarray) -> np.ndarray:
        with self._lock:
            renderer = self._renderer
        if renderer is None:
            return np.full((camera.height, camera.width, 3), 128, np.uint8)
        return renderer.picture(camera, cam_from_world)

    def watch(self, iteration: int, rows: np.ndarray) -> bool:
        """After each step: takes a snapshot now and then; waits while the page says pause. False: stop."""
        now = time.perf_counter()
        if now - self._taken > 1.0 or iteration == 1:
            self._show(rows, iteration, "")
            self._taken = time.perf_counter()
        waited = False
        while self.server.wanted() == "pause":
            if not waited:
                self._show(rows, iteration, "paused")
                waited = True
            time.sleep(0.1)
        return self.server.wanted() != "stop"

    def _show(self, rows: np.ndarray, iteration: int, note: str) -> None:
        splats = splats_of(
            rows,
            degree=self.config.degree_at(iteration),
            antialiased=self.config.antialiased,
            background=self.config.background,
            origin=self._origin,
        )
        with self._lock:
            self._renderer = SplatRenderer(splats)
        self._tell(iteration, len(rows), note)

    def _tell(self, iteration: int, number: int, note: str) -> None:
        self.server.update(
            status={
                "iteration": iteration,
                "num_iterations": self.config.iterations,
                "psnr": None if np.isnan(self.psnr) else round(self.psnr, 2),
                "num_splats": number,
                "seconds": round(time.perf_counter() - self.started, 1),
                "note": note,
            }
        )

    def finished(self, splats: Splats, summary: Mapping[str, Any]) -> None:
        """Shows the finished splats until Ctrl-C or the page's stop."""
        with self._lock:
            self._renderer = SplatRenderer(splats)
        self.psnr = float("nan") if summary["psnr"] is None else summary["psnr"]
        self._tell(summary["iterations"], summary["num_splats"], "finished: Ctrl-C in the terminal ends this page")
        if summary["stopped"]:
            return
        try:
            while self.server.wanted() != "stop":
                time.sleep(0.2)
        except KeyboardInterrupt:
            return

    def close(self) -> None:
        self.server.close()
