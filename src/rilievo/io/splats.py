"""Gaussian splats: files to values and back.

`FORMATS` is the table: a new format is a row. Axes: PLY, .splat and SOG hold the world as it is (COLMAP's axes, what
every trainer writes there); SPZ holds it with y and z reversed (its files are x right, y up, z back where PLY files are
x right, y down, z forward); GLB is turned from z up to y up, like the meshes of `io.gltf`, so that both lie together.
View-dependent colours are turned with the axes.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import InputError
from rilievo.io.files import read_bytes
from rilievo.types import Splats


@dataclass(frozen=True)
class SplatFormat:
    """One file format: its module in `rilievo.io`, how its files start, the highest degree of spherical harmonics it
    holds, whether it holds an origin, one line about it, and the shortest and longest axis it holds (None: any)."""

    module: str
    starts: tuple[bytes, ...]
    max_degree: int
    keeps_origin: bool
    about: str
    scales: tuple[float, float] | None = None


SPZ_SCALES = (4.54e-5, 379.8)  # exp(-10), exp(255 / 16 - 10)

FORMATS: dict[str, SplatFormat] = {
    "ply": SplatFormat("splats_ply", (b"ply",), 3, True, "what trainers write and every viewer reads; nothing is lost"),
    "spz": SplatFormat(
        "splats_spz", (b"\x1f\x8b", b"NGSP"), 3, False, "Niantic's, about a tenth of the PLY", SPZ_SCALES
    ),
    "splat": SplatFormat("splats_splat", (), 0, False, "32 bytes a Gaussian, one colour each"),
    "sog": SplatFormat("splats_sog", (b"PK",), 3, True, "PlayCanvas', about a fifteenth of the PLY, for the web"),
    "glb": SplatFormat("splats_gltf", (b"glTF",), 3, True, "glTF 2.0 with KHR_gaussian_splatting; y up"),
}

_TINY = float(np.finfo(np.float32).tiny)


@dataclass(eq=False)
class Raw:
    """What a file holds before it is checked: scales as lengths, opacities 0..1, quaternions w x y z of any length."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    sh: np.ndarray
    antialiased: bool = False
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: np.ndarray | None = None


def read_splats(path: str | os.PathLike[str], *, format: str | None = None) -> Splats:
    """The Gaussians of a file.

    format: a name of `FORMATS`; by default the ending of `path` says it. A SOG may also be a folder's `meta.json`.
    Raises InputError when the file is missing, damaged, empty, of another format than it says, or when a Gaussian is
    not made of finite numbers; MissingError when an optional package is needed.
    """
    splats, num_broken = read_finite(path, format=format)
    if num_broken:
        raise InputError(
            f"cannot read {Path(path).name}",
            f"{num_broken} of its {num_broken + len(splats.means)} Gaussians are not made of finite numbers",
            "leave them out with: rilievo export FILE --clean -o NEW_FILE",
        )
    return splats


def read_finite(path: str | os.PathLike[str], *, format: str | None = None) -> tuple[Splats, int]:
    """Like `read_splats`, but Gaussians that are not made of finite numbers are left out and counted."""
    source = Path(path)
    name = format_of(source, format)
    data = read_bytes(source)
    other = next((n for n, row in FORMATS.items() if n != name and data.startswith(row.starts)), None)
    if FORMATS[name].starts and not data.startswith(FORMATS[name].starts) and source.name != "meta.json":
        why = f"it starts like {other}" if other else "it is empty" if not data else f"it does not start like {name}"
        hint = f"give it the ending .{other}" if other else ""
        raise InputError(f"cannot read {source.name} as {name}", why, hint)
    if name == "splat" and other in ("ply", "glb"):
        raise InputError(
            f"cannot read {source.name} as splat", f"it starts like {other}", f"give it the ending .{other}"
        )
    return _checked(source, _module(name).read(source, data))


def write_splats(path: str | os.PathLike[str], splats: Splats, *, format: str | None = None) -> tuple[Path, ...]:
    """Writes Gaussians; returns the files that were written. A file is whole or absent: it is written under a temporary
    name first.

    format: a name of `FORMATS`; by default the ending of `path` says it. What a format has no place for is left out
    (`FORMATS` says what): colours that depend on the direction, an origin far away.
    Raises InputError (unknown format, no Gaussians, or some that are not finite or too far away for the format) and
    ResourceError (disk full, no permission).
    """
    target = Path(path)
    name = format_of(target, format)
    if not len(splats.means):
        raise InputError(f"cannot write {target.name}", "there are no Gaussians")
    arrays = (splats.means, splats.quats, splats.scales, splats.opacities, splats.sh)
    if not all(np.isfinite(a).all() for a in arrays) or splats.scales.min() <= 0:
        raise InputError(f"cannot write {target.name}", "some Gaussians have values that are not finite, or no size")
    if splats.opacities.min() < 0 or splats.opacities.max() > 1:
        raise InputError(f"cannot write {target.name}", "some Gaussians have an opacity outside 0 to 1")
    _module(name).write(target, splats)
    return (target,)


def format_of(path: Path, format: str | None = None) -> str:
    """The name in `FORMATS`. Raises InputError when there is none."""
    name = (format or path.suffix.lstrip(".")).lower()
    if format is None and path.name == "meta.json":
        return "sog"
    if name not in FORMATS:
        why = f"the format {name!r} is not known" if name else "the file name has no ending that says the format"
        raise InputError(f"cannot tell what {path.name} is to be", why, f"formats of splats: {', '.join(FORMATS)}")
    return name


def _module(name: str) -> Any:
    return importlib.import_module(f"rilievo.io.{FORMATS[name].module}")


def _checked(path: Path, raw: Raw) -> tuple[Splats, int]:
    """The value, without Gaussians that are not finite, and how many those were."""
    from rilievo.gaussians import settle

    if not len(raw.means):
        raise InputError(f"cannot read {path.name}", "it holds no Gaussians")
    with np.errstate(all="ignore"):
        length = np.linalg.norm(raw.quats.astype(np.float64), axis=1)
        scales = raw.scales.astype(np.float32)
        good = (length > 1e-12) & np.isfinite(length) & ~np.isnan(raw.opacities)
        good &= np.isfinite(scales).all(1) & (scales >= 0).all(1)
        good &= np.isfinite(raw.means.astype(np.float32)).all(1)
        good &= np.isfinite(raw.sh.astype(np.float32)).all((1, 2))
    num_broken = int(len(good) - good.sum())
    if num_broken == len(good):
        raise InputError(f"cannot read {path.name}", "none of its Gaussians is made of finite numbers")
    means, quats, opacities, sh = raw.means, raw.quats, raw.opacities, raw.sh
    if num_broken:
        means, quats, scales, opacities, sh = (a[good] for a in (means, quats, scales, opacities, sh))
        length = length[good]
    origin = np.zeros(3) if raw.origin is None else np.asarray(raw.origin, np.float64)
    if means.dtype == np.float64:
        center = np.round(means.mean(0))
        means, origin = settle(means - center, origin + center)
    return (
        Splats(
            np.ascontiguousarray(means, np.float32),
            (quats / length[:, None]).astype(np.float32),
            np.maximum(scales, _TINY),
            np.clip(opacities, 0, 1).astype(np.float32),
            np.ascontiguousarray(sh, np.float32),
            raw.antialiased,
            raw.background,
            origin,
        ),
        num_broken,
    )


def world_means(splats: Splats) -> tuple[np.ndarray, np.ndarray]:
    """(float32 means, origin that is left), as `io.axes.near_zero`."""
    from rilievo.io.axes import near_zero

    return near_zero(splats.means, splats.origin)


def losses(splats: Splats, format: str) -> list[str]:
    """What a file of this format would not hold of these Gaussians, a sentence each (rounding is not told)."""
    row, told = FORMATS[format], []
    if splats.degree > row.max_degree:
        told.append(f"{format} holds one colour a Gaussian: how colours change with the direction is not in the file")
    origin = world_means(splats)[1]
    if not row.keeps_origin and origin.any():
        told.append(f"{format} has no place for the origin ({', '.join(f'{v:.10g}' for v in origin)}): add it yourself")
    if row.scales is not None:
        low, high = row.scales
        outside = int(((splats.scales < 0.9 * low) | (splats.scales > 1.1 * high)).any(1).sum())
        if outside:
            told.append(
                f"{format} holds lengths from {low:.2g} to {high:.3g}: {outside} Gaussians are longer or shorter and "
                "were set to that (--scale brings a scene into range)"
            )
    return told
