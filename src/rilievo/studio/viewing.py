"""The viewer of each house: scenes that were looked at lately are kept open."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rilievo.studio.problems import Problem

if TYPE_CHECKING:
    from rilievo.live_server import Answer
    from rilievo.view.scene import ViewScene

OPEN_SCENES = 3


class Viewing:
    """All methods may be called from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scenes: OrderedDict[str, tuple[Path, ViewScene]] = OrderedDict()
        self._opening: dict[str, threading.Lock] = {}

    def answer(
        self, house_id: str, made: tuple[Path, Path], title: str, place: str, query: dict[str, str], body: Any
    ) -> Answer:
        """What the viewer's page of a house (made: `Houses.made`) asks for. Raises Problem for what is refused."""
        from rilievo.live_server import Refused

        try:
            with self._scene(house_id, made, title) as scene:
                return scene.answer(place, query, body)
        except Refused as refused:
            raise Problem(refused.status, "The viewer cannot show that", refused.reason, "") from refused

    @contextmanager
    def _scene(self, house_id: str, made: tuple[Path, Path], title: str) -> Iterator[ViewScene]:
        from rilievo.view.scene import ViewScene

        source = _source(*made)
        with self._lock:
            opening = self._opening.setdefault(house_id, threading.Lock())
        with opening:
            with self._lock:
                kept = self._scenes.get(house_id)
                if kept is not None and kept[0] == source:
                    self._scenes.move_to_end(house_id)
            if kept is None or kept[0] != source:
                scene = ViewScene([source], growing=True)
                kept = (source, scene)
                old = []
                with self._lock:
                    if house_id in self._scenes:
                        old.append(self._scenes.pop(house_id))
                    self._scenes[house_id] = kept
                    while len(self._scenes) > OPEN_SCENES:
                        old.append(self._scenes.popitem(last=False)[1])
                for _, other in old:
                    other.close()
        kept[1].sources[0].title = title or "untitled"
        yield kept[1]

    def close(self, house_id: str | None = None) -> None:
        """Lets go of a house, or of all."""
        with self._lock:
            chosen = [house_id] if house_id is not None else list(self._scenes)
            scenes = [self._scenes.pop(key)[1] for key in chosen if key in self._scenes]
        for scene in scenes:
            scene.close()


def _source(model: Path, depth: Path) -> Path:
    """The project; of a house with nothing but the depth of one photo, its surface."""
    relief = depth / "relief.glb"
    return relief if relief.is_file() and not (model / "project.json").is_file() else model
