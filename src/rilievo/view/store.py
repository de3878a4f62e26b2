"""Where made layers are kept: HOUSE/export/view, or a folder of this run where that cannot be written or there is none.

A layer is a folder NAME-KEY with layer.json (written last) and the files that its addresses name. The key says what it
was made from, so that a second start finds it ready; older ones of the same name are deleted.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rilievo.codec import content_id
from rilievo.errors import ResourceError
from rilievo.io.files import replacing

VERSION = 1  # of the files' layout; a change makes all layers anew


class LayerStore:
    """Layers of one source. house: its folder, None for a file."""

    def __init__(self, house: Path | None) -> None:
        self._own: tempfile.TemporaryDirectory[str] | None = None
        self.root = self._own_folder() if house is None else house / "export" / "view"

    def _own_folder(self) -> Path:
        if self._own is None:
            self._own = tempfile.TemporaryDirectory(prefix="rilievo-view-")
        return Path(self._own.name)

    def folder(self, name: str, *made_from: Any) -> Path:
        """Of the layer `name` that is made from these ids, numbers and arrays."""
        return self.root / f"{name}-{content_id(VERSION, *made_from)[:16]}"

    def find(self, folder: Path) -> dict[str, Any] | None:
        """The entry of a layer that is finished."""
        try:
            return json.loads((folder / "layer.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def write(self, folder: Path, name: str, raw: bytes) -> Path:
        """One file of a layer; where the house cannot be written the layers of this run go elsewhere. Its place."""
        folder = self.place(folder)
        try:
            with replacing(folder / name) as file:
                file.write(raw)
            return folder / name
        except (ResourceError, OSError):
            own = self._own_folder()
            if folder.parent == own:
                raise
            self.root = own
            return self.write(own / folder.name, name, raw)

    def finish(self, folder: Path, name: str, entry: Mapping[str, Any]) -> None:
        """The layer is complete: its entry; older ones of its name go."""
        folder = self.write(folder, "layer.json", json.dumps(entry, allow_nan=False).encode()).parent
        for other in folder.parent.glob(f"{name}-*"):
            if other != folder and len(other.name) == len(name) + 17:
                shutil.rmtree(other, ignore_errors=True)

    def place(self, folder: Path) -> Path:
        """Where the files of a layer are now."""
        return folder if folder.parent == self.root else self.root / folder.name

    def close(self) -> None:
        """Deletes the folder of this run."""
        if self._own is not None:
            self._own.cleanup()
