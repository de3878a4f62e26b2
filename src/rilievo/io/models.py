"""Meshes and point clouds: files to values and back.

`FORMATS` is the table: a new format is a row. Our world is z up; formats that are y up (GLB, USDZ) are turned here.
PLY holds world coordinates (doubles when the mesh has an origin). The other formats are read in single precision by
most programs: a mesh far from its origin keeps its local coordinates there and the file names the origin.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rilievo.errors import InputError
from rilievo.types import Mesh, PointCloud


@dataclass(frozen=True)
class Format:
    """One file format: its module in `rilievo.io`, what it can hold, and one line about it."""

    module: str
    writes: tuple[type, ...]
    reads: bool
    about: str


FORMATS: dict[str, Format] = {
    "glb": Format("gltf", (Mesh, PointCloud), True, "glTF 2.0 in one file, texture inside; y up, metres"),
    "obj": Format("obj", (Mesh,), True, "Wavefront OBJ with .mtl and texture beside it"),
    "ply": Format("ply", (Mesh, PointCloud), True, "binary PLY with confidence, sigma and world coordinates"),
    "stl": Format("stl", (Mesh,), True, "binary STL: triangles only"),
    "usdz": Format("usd", (Mesh,), False, "USDZ for phones and headsets (needs rilievo[usd])"),
}


def write(
    path: str | os.PathLike[str], value: Mesh | PointCloud, *, format: str | None = None, jpeg_quality: int = 92
) -> tuple[Path, ...]:
    """Writes a mesh or a cloud; returns the files that were written, the model first.

    format: a name of `FORMATS`; by default the ending of `path` says it.
    jpeg_quality: of the texture where it is stored as JPEG (GLB, OBJ, USDZ); 100 stores PNG, without loss.
    Each file is whole or absent: it is written under a temporary name first.
    Raises InputError (unknown format, or a format that cannot hold the value), MissingError (optional package absent)
    and ResourceError (disk full, no permission).
    """
    target = Path(path)
    name = _format_name(target, format)
    row = FORMATS[name]
    if not isinstance(value, row.writes):
        holders = [n for n, r in FORMATS.items() if type(value) in r.writes]
        raise InputError(
            f"cannot write a {type(value).__name__} as {name}",
            f"{name} holds {' or '.join(t.__name__ for t in row.writes)}",
            f"use {' or '.join(holders)}" if holders else "",
        )
    options: dict[str, Any] = {} if name in ("ply", "stl") else {"jpeg_quality": jpeg_quality}
    return _function(row, "write")(target, value, **options)


def read(path: str | os.PathLike[str], *, format: str | None = None) -> Mesh | PointCloud:
    """Reads a mesh, or a cloud when the file has points but no faces.

    Raises InputError when the file is missing, damaged, empty, or of a format that is not read.
    """
    source = Path(path)
    name = _format_name(source, format)
    if not FORMATS[name].reads:
        readable = ", ".join(n for n, r in FORMATS.items() if r.reads)
        raise InputError(f"cannot read {source.name}", f"{name} is written only", f"formats that are read: {readable}")
    return _function(FORMATS[name], "read")(source)


def read_mesh(path: str | os.PathLike[str]) -> Mesh:
    """Like `read`, but a file without faces is an InputError."""
    value = read(path)
    if not isinstance(value, Mesh):
        raise InputError(f"{Path(path).name} is not a mesh", f"it holds {len(value.points)} points and no faces")
    return value


def read_cloud(path: str | os.PathLike[str]) -> PointCloud:
    """Like `read`, but a file with faces is an InputError."""
    value = read(path)
    if not isinstance(value, PointCloud):
        raise InputError(f"{Path(path).name} is not a point cloud", f"it holds {len(value.faces)} faces")
    return value


def _format_name(path: Path, format: str | None) -> str:
    name = (format or path.suffix.lstrip(".")).lower()
    if name not in FORMATS:
        why = f"the format {name!r} is not known" if name else "the file name has no ending that says the format"
        raise InputError(f"cannot tell what {path.name} is to be", why, f"formats: {', '.join(FORMATS)}")
    return name


def _function(row: Format, name: str) -> Callable[..., Any]:
    return getattr(importlib.import_module(f"rilievo.io.{row.module}"), name)
