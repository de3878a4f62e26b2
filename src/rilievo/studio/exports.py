"""Files that were made, for downloads one by one or as a zip that is written while it is sent."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rilievo.studio.problems import Problem, gone

KINDS = {
    ".glb": "model", ".obj": "model", ".mtl": "model", ".stl": "model", ".ply": "points", ".spz": "splats",
    ".npz": "data", ".json": "data", ".html": "report", ".jpg": "picture", ".png": "picture", ".bin": "cameras",
    ".tif": "map", ".mp4": "video",
}  # fmt: skip
_WEB = {
    ".glb": "model/gltf-binary", ".json": "application/json", ".jpg": "image/jpeg", ".png": "image/png",
    ".mp4": "video/mp4",
}  # fmt: skip
TEXTURED = ("model.obj", "model.mtl", "model.jpg", "model.png", "model.glb")


def export_files(made: tuple[Path, Path]) -> dict[str, Path]:
    """Name -> file of all that was made of a house (`Houses.made`): the exports of its project, then depth/... of one
    photo."""
    found: dict[str, Path] = {}
    for root, prefix in ((made[0] / "export", ""), (made[1], "depth/")):
        for folder, folders, names in os.walk(root, followlinks=False):
            folders[:] = sorted(f for f in folders if f != "view" or Path(folder) != root)  # what the viewer keeps
            for name in sorted(names):
                path = Path(folder) / name
                if not name.startswith(".") and path.is_file() and not path.is_symlink():
                    found[prefix + path.relative_to(root).as_posix()] = path
    return found


def listed(house_id: str, made: tuple[Path, Path]) -> list[dict[str, Any]]:
    """Documents of the files."""
    rows = []
    for name, path in export_files(made).items():
        kind = "splats" if "splats" in name else KINDS.get(path.suffix.lower(), "file")
        url = f"/api/houses/{house_id}/exports/{quote(name)}"
        rows.append({"name": name, "bytes": path.stat().st_size, "kind": kind, "url": url})
    return rows


def export_file(made: tuple[Path, Path], name: str) -> tuple[Path, str]:
    """A file and its media type. Only names that `export_files` lists are known. Raises Problem (404)."""
    path = export_files(made).get(name)
    if path is None:
        raise gone("file")
    return path, _WEB.get(path.suffix.lower(), "application/octet-stream")


def textured(made: tuple[Path, Path]) -> dict[str, Path]:
    """The files of the textured model. Raises Problem (404) when there is none."""
    files = {n: p for n, p in export_files(made).items() if n in TEXTURED}
    if not files:
        raise Problem(404, "There is no textured model", "none was made of these photos", "make the model first")
    return files


class _Pipe:
    """What a zip is written to; `take` gives what has come."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._at = 0

    def write(self, raw: Any) -> int:
        self._parts.append(bytes(raw))
        self._at += len(raw)
        return len(raw)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Nothing waits."""

    def take(self) -> bytes:
        raw = b"".join(self._parts)
        self._parts.clear()
        return raw


def zipped(files: dict[str, Path]) -> Iterator[bytes]:
    """A zip of these files, piece by piece, never whole in memory. A file that vanishes meanwhile is left out."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:  # type: ignore[arg-type]
        for name, path in files.items():
            try:
                source = path.open("rb")
            except OSError:
                continue
            with source:
                member = zipfile.ZipInfo(name, time.localtime(max(path.stat().st_mtime, 315_600_000))[:6])
                member.external_attr = 0o644 << 16
                member.compress_type = (
                    zipfile.ZIP_DEFLATED
                    if path.suffix in (".ply", ".obj", ".json", ".html", ".bin")
                    else zipfile.ZIP_STORED
                )
                with archive.open(member, "w", force_zip64=True) as target:
                    while block := source.read(1 << 18):
                        target.write(block)
                        if raw := pipe.take():
                            yield raw
            if raw := pipe.take():
                yield raw
    yield pipe.take()
