"""`rilievo measure`: lengths, depths and angles in a photo whose depth `rilievo depth` has found."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from rilievo.commands.common import Common, print_result
from rilievo.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from rilievo.types import PhotoDepth, ScaleFit


def measure(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")],
    points: Annotated[
        tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction, tyro.conf.arg(aliases=["-p"], metavar="X,Y...")
    ] = (),
    polyline: bool = False,
    angle: bool = False,
    common: Common = Common(),
) -> int:
    """Lengths between pixels of a photo, each with the half width of its 95 % interval; depth where one pixel is given.

    The interval counts the references, one and a half pixels for every click, the focal length, and what the network is
    known to get wrong, more so far from the references.

    Args:
        folder: what `rilievo depth` wrote.
        points: pixels of the photo in its full size, x,y: two for each length, or one for its depth.
        polyline: points form one line: each part of it, and the sum.
        angle: the angle at the second of three points.
    """
    photo_depth, fit, photo_size = read_folder(folder)
    pixels = [parse_pixel(text) for texts in points for text in texts]
    result = measured(photo_depth, fit, photo_size, pixels, polyline=polyline, angle=angle)
    print_result(result, common.json, told(result))
    return 0


def parse_pixel(text: str) -> tuple[float, float]:
    """`x,y`. Raises InputError."""
    parts = text.split(",")
    try:
        x, y = (float(part) for part in parts)
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise InputError(f"cannot read the pixel {text!r}", "expected two numbers with a comma", "write e.g. 410,220")
    return x, y


def read_folder(folder: Path) -> tuple[PhotoDepth, ScaleFit, tuple[int, int]]:
    """Depth, scale and size of the photo that `rilievo depth` wrote. Raises InputError when something is missing."""
    from rilievo.io.depth_files import read_photo_depth

    if not folder.is_dir():
        raise InputError(
            f"there is nothing to measure in {folder}",
            "it is not a folder",
            "name the folder that `rilievo depth` wrote",
        )
    photo_depth, fit, _ = read_photo_depth(folder / "depth.npz")
    if fit is None:
        raise InputError(
            f"{folder / 'depth.npz'} says nothing of scale",
            "it was written without one",
            "make it again with `rilievo depth`",
        )
    try:
        photo = json.loads((folder / "report.json").read_text("utf-8"))["photo"]
        size = (int(photo["width"]), int(photo["height"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the size of the photo is not known in {folder}",
            f"report.json cannot be read ({error}): pixels could not be placed",
            "make it again with `rilievo depth`",
        ) from error
    return photo_depth, fit, size


def measured(
    photo_depth: PhotoDepth,
    fit: ScaleFit,
    photo_size: tuple[int, int],
    pixels: Sequence[tuple[float, float]],
    *,
    polyline: bool = False,
    angle: bool = False,
) -> dict[str, Any]:
    """All that was asked for, as plain values. Raises InputError for too few pixels and where there is no depth."""
    import numpy as np

    _check(pixels, polyline, angle)
    result: dict[str, Any] = {
        "photo": photo_depth.name,
        "model": photo_depth.model,
        "unit": fit.unit if fit.unit != "unknown" else None,
        "scale": fit.method,
        "shift_known": fit.shift_known,
        "confidence": 0.95,
    }
    xy = np.array(pixels, np.float64)
    if angle:
        result |= _angle(photo_depth, fit, photo_size, xy)
    elif len(pixels) == 1:
        result["depths"] = _depths(photo_depth, fit, photo_size, xy)
    else:
        result |= _lengths(photo_depth, fit, photo_size, xy, polyline)
    result["notes"] = _notes(photo_depth, fit, result)
    return result


def _check(pixels: Sequence[tuple[float, float]], polyline: bool, angle: bool) -> None:
    if not pixels:
        raise InputError(
            "no point was given", "there is nothing to measure", "rilievo measure OUT --points 410,220 980,240"
        )
    if angle and polyline:
        raise InputError("--angle and --polyline do not go together", "one asks for an angle, one for lengths")
    if angle and len(pixels) != 3:
        raise InputError("an angle has three points", f"{len(pixels)} were given", "give three, the corner second")
    if polyline and len(pixels) < 2:
        raise InputError("a line has two points or more", f"{len(pixels)} was given")
    if not (polyline or angle) and len(pixels) > 1 and len(pixels) % 2:
        raise InputError(
            "a length has two points",
            f"{len(pixels)} points were given: one is left over",
            "give pairs, or one line with --polyline",
        )


def _spread(value: float, sigma: float) -> float:
    from rilievo.stages.scale import plus_minus

    return plus_minus(value, sigma)


def _lengths(
    photo_depth: PhotoDepth, fit: ScaleFit, photo_size: tuple[int, int], xy: np.ndarray, polyline: bool
) -> dict[str, Any]:
    import numpy as np

    from rilievo.stages.scale import depth_jump, polyline_lengths

    first = np.arange(len(xy) - 1) if polyline else np.arange(0, len(xy), 2)
    pairs = np.stack([first, first + 1], 1)
    lengths, covariance = polyline_lengths(photo_depth, fit, xy, pairs=pairs, photo_size=photo_size)
    rows = []
    for k, (i, j) in enumerate(pairs):
        sigma = math.sqrt(covariance[k, k])
        row: dict[str, Any] = {
            "from": xy[i].tolist(),
            "to": xy[j].tolist(),
            "length": float(lengths[k]),
            "plus_minus": _spread(float(lengths[k]), sigma),
            "sigma": sigma,
        }
        if fit.unit == "unknown":
            row["ratio_to_first"] = float(lengths[k] / max(lengths[0], 1e-12))
        jump = depth_jump(photo_depth, fit, xy[i].tolist(), xy[j].tolist(), photo_size=photo_size)
        if jump is not None:
            row["jump"] = {
                "at": [round(jump[0], 1), round(jump[1], 1)],
                "depth_before": jump[2] if math.isfinite(jump[2]) else None,
                "depth_after": jump[3] if math.isfinite(jump[3]) else None,
            }
        rows.append(row)
    out: dict[str, Any] = {"lengths": rows}
    if polyline and len(rows) > 1:
        total, sigma = float(lengths.sum()), math.sqrt(float(covariance.sum()))
        out["total"] = {"length": total, "plus_minus": _spread(total, sigma), "sigma": sigma}
    return out


def _depths(
    photo_depth: PhotoDepth, fit: ScaleFit, photo_size: tuple[int, int], xy: np.ndarray
) -> list[dict[str, Any]]:
    from rilievo.stages.scale import depths_at

    depth, distance, sigma = depths_at(photo_depth, fit, xy, photo_size=photo_size)
    return [
        {
            "at": xy[k].tolist(),
            "depth": float(depth[k]),
            "plus_minus": _spread(float(depth[k]), float(sigma[k, 0])),
            "sigma": float(sigma[k, 0]),
            "distance": float(distance[k]),
            "distance_plus_minus": _spread(float(distance[k]), float(sigma[k, 1])),
        }
        for k in range(len(xy))
    ]


def _angle(photo_depth: PhotoDepth, fit: ScaleFit, photo_size: tuple[int, int], xy: np.ndarray) -> dict[str, Any]:
    from rilievo.stages.scale import angle_at

    value, sigma = angle_at(photo_depth, fit, xy, photo_size=photo_size)
    row = {"points": xy.tolist(), "degrees": value, "plus_minus": min(1.96 * sigma, 180.0), "sigma": sigma}
    return {"angle": row}


def _notes(photo_depth: PhotoDepth, fit: ScaleFit, result: dict[str, Any]) -> list[str]:
    """What a reader must know, one sentence each."""
    notes = []
    if fit.unit == "unknown":
        notes.append("no unit: relative. Only ratios mean something; give a reference with `rilievo depth --scale`")
    if not fit.shift_known:
        notes.append(
            "the ratio of far to near is that of a typical photo: a second reference at another depth would fix it"
            if fit.unit != "unknown"
            else "even ratios of lengths at different depths are rough: the network leaves them open"
        )
    if photo_depth.focal_sigma > 0.05:
        notes.append(
            f"the focal length is {photo_depth.focal_source}, good to {photo_depth.focal_sigma:.0%}: widths at a known "
            "depth are no better"
        )
    unit = "" if fit.unit == "unknown" else f" {fit.unit}"
    for row in result.get("lengths", []):
        if "jump" in row:
            x, y = row["jump"]["at"]
            before, after = (
                "the sky" if d is None else f"{d:.3g}{unit}"
                for d in (row["jump"]["depth_before"], row["jump"]["depth_after"])
            )
            notes.append(
                f"between {_spell(row['from'])} and {_spell(row['to'])} depth jumps, from {before} to {after} at "
                f"{x:g},{y:g}: the length goes through the air"
            )
    return notes


def _spell(xy: Sequence[float]) -> str:
    return f"{xy[0]:g},{xy[1]:g}"


def spell_length(value: float, plus_minus: float, unit: str | None) -> str:
    """`0.842 +- 0.061 m`: as many digits as the interval leaves a meaning. Small metres are written in mm or cm."""
    name = unit or ""
    if unit == "m":
        name, factor = ("mm", 1000.0) if value < 0.1 else ("m", 1.0)
        value, plus_minus = value * factor, plus_minus * factor
    digits = 3 if not plus_minus > 0 else min(max(1 - math.floor(math.log10(plus_minus)), 0), 6)
    return f"{value:.{digits}f} ± {plus_minus:.{digits}f} {name}".rstrip()


def told(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    unit = result["unit"]
    lines = []
    for row in result.get("lengths", []):
        said = spell_length(row["length"], row["plus_minus"], unit)
        if unit is None:
            said = f"{row['ratio_to_first']:.3f} of the first" if row is not result["lengths"][0] else "1 (the first)"
        lines.append(f"{_spell(row['from'])} to {_spell(row['to'])}:  {said}")
    if "total" in result and unit is not None:
        lines.append(f"sum:  {spell_length(result['total']['length'], result['total']['plus_minus'], unit)}")
    elif "total" in result:
        lines.append(f"sum:  {result['total']['length'] / result['lengths'][0]['length']:.3f} of the first")
    for row in result.get("depths", []):
        if unit is None:
            lines.append(f"{_spell(row['at'])}:  depth {row['depth']:.3f}, without a unit")
        else:
            lines.append(
                f"{_spell(row['at'])}:  depth {spell_length(row['depth'], row['plus_minus'], unit)}, "
                f"from the lens {spell_length(row['distance'], row['distance_plus_minus'], unit)}"
            )
    if "angle" in result:
        row = result["angle"]
        lines.append(f"angle at {_spell(row['points'][1])}:  {row['degrees']:.1f} ± {row['plus_minus']:.1f} degrees")
    if unit is not None or "angle" in result:
        lines.append(f"(± holds the truth 95 times in 100; {result['scale']})")
    lines += [f"note: {note}" for note in result["notes"]]
    return "\n".join(lines)
