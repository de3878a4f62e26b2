"""Radiance fields: files to values and back. A file is an uncompressed .npz that holds `types.Field` by name."""

from __future__ import annotations

import io
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import InputError
from rilievo.io.files import read_bytes, replacing
from rilievo.types import Field

FORMAT = "rilievo field 1"
_PARTS: dict[str, tuple[type, int]] = {  # dtype and number of axes
    "table": (np.float32, 2),
    "levels": (np.int32, 2),
    "weights": (np.float32, 1),
    "density_width": (np.int64, 0),
    "color_width": (np.int64, 0),
    "occupancy": (np.uint8, 3),
    "edges": (np.float32, 1),
    "center": (np.float64, 1),
    "radius": (np.float64, 0),
    "unbounded": (np.bool_, 0),
    "background": (np.float64, 1),
}


def write_field(path: str | os.PathLike[str], field: Field) -> None:
    """Writes a field, whole or not at all; same field, same bytes. Raises ResourceError (disk full, no permission)."""
    held: dict[str, Any] = {f.name: np.asarray(getattr(field, f.name), _PARTS[f.name][0]) for f in fields(field)}
    with replacing(path) as file:
        np.savez(file, format=np.array(FORMAT), **held)


def read_field(path: str | os.PathLike[str]) -> Field:
    """The field in a file. Raises InputError when the file is missing, damaged, or holds something else; nothing in it
    is ever run."""
    source = Path(path)

    def wrong(why: str) -> InputError:
        return InputError(f"cannot read {source.name}", why, "give the field.npz that `rilievo field` wrote")

    raw = read_bytes(source)
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            if "format" not in file.files or str(file["format"]) != FORMAT:
                raise wrong(f"it does not hold a radiance field ({FORMAT})")
            held: dict[str, Any] = {name: file[name] for name in _PARTS if name in file.files}
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib, NumPy: a damaged archive may set off any error there is
        raise wrong(f"it is damaged, or no .npz ({type(error).__name__}: {error})") from error
    for name, (dtype, axes) in _PARTS.items():
        if name not in held:
            raise wrong(f"it has no {name}")
        part = held[name]
        if part.dtype != dtype or part.ndim != axes:
            raise wrong(
                f"its {name} is {part.dtype} with {part.ndim} axes, not {np.dtype(dtype)} with {axes}: it is damaged"
            )
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            raise wrong(f"its {name} holds numbers that are not finite: it is damaged")
    if why := _fault(held):
        raise wrong(f"{why}: it is damaged")
    return Field(
        **{
            name: np.ascontiguousarray(held[name])
            for name, (_, axes) in _PARTS.items()
            if axes and name != "background"
        },
        density_width=int(held["density_width"]),
        color_width=int(held["color_width"]),
        radius=float(held["radius"]),
        unbounded=bool(held["unbounded"]),
        background=tuple(held["background"].tolist()),
    )


def _fault(held: dict[str, Any]) -> str:
    """What does not fit together, "" when nothing: what the kernels ask for (native/bindings_field.cpp)."""
    levels, table = held["levels"].astype(np.int64), held["table"]
    if levels.shape not in [(n, 4) for n in (4, 8, 12, 16)] or table.shape[1] != 4:
        return f"its levels {levels.shape} or its table {table.shape} have a wrong shape"
    resolution, first, rows, hashed = levels.T
    corners = np.where(hashed != 0, 1, (np.clip(resolution, 0, 1 << 20) + 1) ** 3)
    power = (rows & (rows - 1)) == 0
    good = (resolution >= 1) & (resolution <= np.where(hashed != 0, 1 << 20, 1024)) & (rows >= corners)
    ends = np.concatenate([[0], np.cumsum(rows)])
    if not (good & (power | (hashed == 0))).all() or (first != ends[:-1]).any() or ends[-1] != len(table):
        return "its levels do not fit its table"
    d, c = int(held["density_width"]), int(held["color_width"])
    if not all(16 <= width <= 256 and width % 16 == 0 for width in (d, c)):
        return f"its networks have widths of {d} and {c}"
    num_weights = 4 * len(levels) * d + 16 * d + 32 * c + c * c + 16 * c
    if len(held["weights"]) != num_weights:
        return f"its networks have {len(held['weights'])} weights, not {num_weights}"
    grid = held["occupancy"].shape[0]
    if not 8 <= grid <= 1024 or grid % 8 or held["occupancy"].shape != (grid, grid, grid // 8):
        return f"its occupancy has the shape {held['occupancy'].shape}"
    edges = held["edges"]
    if len(edges) < 2 or edges[0] < 0 or (np.diff(edges) <= 0).any():
        return "its edges do not rise"
    if held["center"].shape != (3,) or not float(held["radius"]) > 0:
        return "it does not say where it is"
    if held["background"].shape != (3,) or (np.abs(held["background"] - 0.5) > 0.5).any():
        return "its background is no colour"
    return ""
