"""Splats on the command line: what a file holds, and the edits of `rilievo export`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from rilievo.errors import InputError
from rilievo.types import Reconstruction, Splats


@dataclass(frozen=True)
class Edit:
    """What `rilievo export` does to splats before it writes them, in this order."""

    merge: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE...")] = ()
    """splats: add those of these files"""
    crop: Annotated[str | None, tyro.conf.arg(metavar="BOX")] = None
    """splats: keep those in the box xmin,ymin,zmin,xmax,ymax,zmax or the sphere x,y,z,radius"""
    clean: bool = False
    """splats: leave out transparent, giant, isolated and broken ones, and those in sight of no photo of the house"""
    scale: float = 1.0
    """splats: enlarge the world this many times"""
    rotate: Annotated[str | None, tyro.conf.arg(metavar="ROTATION")] = None
    """splats: turn the world, AXIS,DEGREES (x,90) or degrees about x, then y, then z (90,0,45)"""
    translate: Annotated[str | None, tyro.conf.arg(metavar="X,Y,Z")] = None
    """splats: move the world, after it was enlarged and turned"""

    @property
    def asked(self) -> list[str]:
        """The options that were given."""
        plain = Edit()
        return [f"--{n}" for n in vars(plain) if getattr(self, n) != getattr(plain, n)]


def numbers(text: str, option: str, counts: tuple[int, ...]) -> list[float]:
    """Finite numbers of `1,2,3`. Raises InputError when there are not as many as one of `counts`."""
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in counts or not all(map(math.isfinite, values)):
        wanted = " or ".join(str(c) for c in counts)
        raise InputError(f"cannot read {option} {text!r}", f"expected {wanted} numbers with commas between them")
    return values


def rotation(text: str) -> np.ndarray:
    """float64 (3, 3) of `x,90` or `90,0,45` (degrees about the fixed axes x, then y, then z). Raises InputError."""
    axis, _, rest = text.partition(",")
    if axis in ("x", "y", "z"):
        angles = [0.0, 0.0, 0.0]
        angles["xyz".index(axis)] = numbers(rest, f"--rotate {axis},", (1,))[0]
    else:
        angles = numbers(text, "--rotate", (3,))
    R = np.eye(3)
    for i, degrees in enumerate(angles):
        quarter = degrees % 90 == 0  # exact for quarter turns
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        c, s = (float(round(c)), float(round(s))) if quarter else (c, s)
        turn = np.eye(3)
        j, k = (i + 1) % 3, (i + 2) % 3
        turn[j, j], turn[j, k], turn[k, j], turn[k, k] = c, -s, s, c
        R = turn @ R
    return R


def load(path: Path, *, drop_broken: bool) -> tuple[Splats, int]:
    """The splats of a file and how many were left out because they are not finite."""
    from rilievo.io.splats import read_finite, read_splats

    return read_finite(path) if drop_broken else (read_splats(path), 0)


def apply(
    splats: Splats, edit: Edit, cameras: Reconstruction | None, num_broken: int = 0
) -> tuple[Splats, dict[str, int]]:
    """The edited splats and what was left out by --clean: reason -> how many."""
    from rilievo.stages import splat_edit

    removed: dict[str, int] = {}
    parts = [splats]
    for path in edit.merge:
        part, broken = load(path, drop_broken=edit.clean)
        if path.suffix.lower() == ".splat":  # such a file cannot say how it was trained
            part = replace(part, antialiased=splats.antialiased)
        parts.append(part)
        num_broken += broken
    if num_broken:
        removed["not finite"] = num_broken
    if len(parts) > 1:
        splats = splat_edit.merge(parts)
    if edit.crop is not None:
        box = numbers(edit.crop, "--crop", (4, 6))
        if len(box) == 6:
            splats = splat_edit.crop(splats, box[:3], box[3:])
        else:
            splats = splat_edit.crop_sphere(splats, box[:3], box[3])
    if edit.clean:
        cleaned = splat_edit.clean(splats, cameras)
        splats = cleaned.splats
        removed |= cleaned.removed
    if {"--scale", "--rotate", "--translate"} & set(edit.asked):
        R = np.eye(3) if edit.rotate is None else rotation(edit.rotate)
        t = [0.0] * 3 if edit.translate is None else numbers(edit.translate, "--translate", (3,))
        splats = splat_edit.transform(splats, edit.scale, np.column_stack([R, t]))
    return splats, removed


def describe(splats: Splats) -> dict[str, Any]:
    """What a program may want to know of splats."""
    world = splats.means.astype(np.float64) + splats.origin
    return {
        "num_splats": len(splats.means),
        "degree": splats.degree,
        "antialiased": splats.antialiased,
        "low": world.min(0).tolist(),
        "high": world.max(0).tolist(),
        "median_opacity": float(np.median(splats.opacities)),
        "median_scale": float(np.median(splats.scales)),
        "origin": splats.origin.tolist(),
        "background": list(splats.background),
    }


def spell(path: Path, facts: dict[str, Any]) -> str:
    """`describe` for a terminal."""
    low, high = (", ".join(f"{v:.10g}" for v in facts[k]) for k in ("low", "high"))
    trained = "with the filter of Mip-Splatting" if facts["antialiased"] else "without the filter of Mip-Splatting"
    lines = [
        f"{path}: {facts['num_splats']} Gaussians, colours of degree {facts['degree']}, {trained}",
        f"  from ({low}) to ({high})",
        f"  median opacity {facts['median_opacity']:.2f}, median length of an axis {facts['median_scale']:.4g}",
    ]
    if any(facts["origin"]):
        lines.append(f"  relative to the origin ({', '.join(f'{v:.10g}' for v in facts['origin'])})")
    return "\n".join(lines)
