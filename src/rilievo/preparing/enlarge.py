"""Enlarging photos of a set: what does it, what it may invent, and what neighbours add."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from rilievo.io.photos import Photo, Source
from rilievo.plan import Run
from rilievo.preparing.settings import LEARNED, PrepareSettings
from rilievo.stages import restore as jpeg
from rilievo.stages.upscale import departs, new_size, upscale
from rilievo.stages.upscale_network import Upscaler, open_upscaler, upscale_by_network

MAX_FRAMES = 8


@dataclass
class Enlarger:
    """How the photos of one run are enlarged."""

    settings: PrepareSettings
    threads: int
    network: Upscaler | None = None
    neighbours: dict[str, list[tuple[Source, Photo]]] = field(default_factory=dict)

    def inputs(self, name: str) -> list[str]:
        """What the result depends on beside the photo: the network in use, the neighbours."""
        return [self.network.name if self.network else "", *(p.content_id for _, p in self.neighbours.get(name, []))]

    @property
    def learned_repair(self) -> Callable[[Any], None] | None:
        """For the step `restore`, where a network was named and nothing is to be enlarged."""
        return self._repair if self.network is not None and self.settings.upscale == 1 else None

    def _repair(self, work: Any) -> None:
        assert self.network is not None
        plain = work.pixels
        work.pixels = upscale_by_network(plain, 1, self.network, threads=self.threads)
        share = _mark(work, plain, self.network.name)
        note = f"repaired by {self.network.name}: {100 * share:.0f} % of the pixels are not what was photographed"
        work.told("restore", True, note, model=self.network.name, invented=share)

    def enlarge(self, work: Any, source: Source) -> None:
        """The step `upscale`."""
        scale, model = self.settings.upscale, self.settings.model
        if work.alpha is not None:
            work.alpha = _enlarged_alpha(work.alpha, new_size(work.pixels, scale))
        if self.network is not None:
            self._by_network(work, scale)
            return
        if model == "frames" and self._by_frames(work, source, scale):
            return
        damaged = work.damaged
        if model == "bicubic":
            work.pixels = upscale(work.pixels, scale, kind="bicubic", back_project=False, threads=self.threads)
            note = "bicubic interpolation"
        elif damaged and model != "lanczos":
            # What is wrong in a damaged photo would be sharpened with it: its damage is taken out first.
            quality = jpeg.jpeg_quality(work.tables)
            work.pixels = upscale(jpeg.restore_jpeg(work.pixels, work.tables), scale, threads=self.threads)
            note = f"Lanczos and back-projection, after the damage of JPEG quality {quality:.0f} was removed"
        else:
            work.pixels = upscale(work.pixels, scale, threads=self.threads)
            note = "Lanczos and back-projection: it shrinks to the photo it came from"
        work.told("upscale", True, f"{scale:g} times by {note}", scale=scale, model=model, invented=0.0)

    def _by_network(self, work: Any, scale: float) -> None:
        assert self.network is not None
        name = self.network.name
        before = work.pixels
        repaired = name.startswith("span") and work.damaged
        if repaired:  # trained on clean photos: it takes damage for detail
            before = jpeg.restore_jpeg(before, work.tables)
        plain = upscale(before, scale, threads=self.threads)
        work.pixels = upscale_by_network(before, scale, self.network, threads=self.threads)
        share = _mark(work, plain, name)
        note = f"{scale:g} times by {name}: {100 * share:.0f} % of the pixels hold detail that no camera saw"
        if repaired:
            note += "; JPEG's damage was removed first"
        work.told("upscale", True, note, scale=scale, model=name, invented=share)

    def _by_frames(self, work: Any, source: Source, scale: float) -> bool:
        """From overlapping photos; False where they do not help."""
        from rilievo.io.photos import load_pixels
        from rilievo.stages import upscale_frames as frames
        from rilievo.stages.tiles import widened

        others = [widened(load_pixels(s)) for s, _ in self.neighbours.get(source.name, [])]
        others = [o for o in others if o.shape == work.pixels.shape]
        if not others:
            note = "no other photo shows enough of the same: a single photo holds no more detail"
            work.told("multi-frame", False, note)
            return False
        found = frames.fuse_frames(work.pixels, others, scale, threads=self.threads)
        if found is None:
            note = "the neighbours do not fit to within a fraction of a pixel: they would blur, not add"
            work.told("multi-frame", False, note, neighbours=len(others))
            return False
        work.pixels = found.pixels
        note = f"{scale:g} times from {found.num_used + 1} photos; {100 * found.covered:.0f} % of it is in two or more"
        work.told(
            "upscale", True, note, scale=scale, model="frames", frames=found.num_used + 1, covered=found.covered,
            residual=found.residual, invented=0.0,
        )  # fmt: skip
        return True


def _mark(work: Any, plain: np.ndarray, name: str) -> float:
    """Marks what a network made up; its share."""
    work.invented = departs(work.pixels, plain)
    share = float((work.invented > 0).mean())
    work.invented_note = {"model": name, "share": round(share, 4), "compared_with": "interpolation, 3 grey levels"}
    return share


def _enlarged_alpha(alpha: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(alpha, size, interpolation=cv2.INTER_CUBIC)  # saturates


def open_enlarger(settings: PrepareSettings, photos: list[tuple[Source, Photo]], threads: int, run: Run) -> Enlarger:
    """Opens the network that was named, finds neighbours where they are wanted. Raises MissingError without weights."""
    enlarger = Enlarger(settings, threads)
    needed = settings.upscale > 1 or settings.restore
    if settings.model in LEARNED and needed:
        enlarger.network = open_upscaler(settings.model, settings.upscale, threads=threads)
    elif settings.model == "frames" and settings.upscale > 1 and len(photos) > 1:
        enlarger.neighbours = _neighbours(photos, threads, run)
    return enlarger


def _neighbours(photos: list[tuple[Source, Photo]], threads: int, run: Run) -> dict[str, list[tuple[Source, Photo]]]:
    """For every photo those that share the most matches with it, at most MAX_FRAMES."""
    from rilievo.preparing.colors import overlap

    _, matches = overlap(photos, threads, run)
    shared: dict[str, dict[str, int]] = {}
    for m in matches:
        for k, name0 in enumerate(m.names0):
            count = int(m.offsets[k + 1] - m.offsets[k])
            if count >= 60:
                shared.setdefault(name0, {})[m.name1] = count
                shared.setdefault(m.name1, {})[name0] = count
    by_name = {s.name: (s, p) for s, p in photos}
    return {
        name: [by_name[o] for o in sorted(near, key=lambda o: (-near[o], o))[:MAX_FRAMES]]
        for name, near in shared.items()
    }
