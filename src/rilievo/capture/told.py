"""A plan in words, as a JSON document and as tables."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import numpy as np

from rilievo.capture.stations import Plan

FORMAT = "rilievo-plan"
VERSION = 1


def spell_length(metres: float | None) -> str:
    """0.31 mm, 4.2 cm, 1.85 m, 1.2 km."""
    if metres is None or not math.isfinite(metres):
        return "-"
    for limit, factor, unit in ((0.01, 1000, "mm"), (1, 100, "cm"), (1000, 1, "m")):
        if abs(metres) < limit:
            return f"{metres * factor:.3g} {unit}"
    return f"{metres / 1000:.3g} km"


def spell_shutter(seconds: float | None) -> str:
    """1/400 s; what no motion limits is "any"."""
    if seconds is None:
        return "any"
    return f"1/{math.ceil(1 / seconds):d} s" if seconds < 0.5 else f"{seconds:.1g} s"


def rows(plan: Plan) -> list[tuple[str, str]]:
    """(what, how much) of a plan."""
    figures, facts = plan.facts["figures"], plan.facts
    exposure = facts["exposure"]
    gear = plan.gear
    out = [
        ("camera", f"{gear.name}, {gear.focal_mm:g} mm ({gear.focal_35mm:.0f} mm on full frame), "
                   f"{plan.camera.width} x {plan.camera.height} px"),
        ("photos", str(len(plan.stations.group))),
        *([] if plan.kind == "area" else [("distance", spell_length(plan.depth))]),
        ("gsd", f"{spell_length(plan.gsd)} a pixel (median of the surface {spell_length(figures['gsd_median'])})"),
        ("footprint", f"{spell_length(plan.gsd * plan.camera.width)} x {spell_length(plan.gsd * plan.camera.height)}"),
        ("overlap of neighbours", f"{figures['overlap_median']:.0%}, at least {figures['overlap_least']:.0%}"),
    ]  # fmt: skip
    if math.isfinite(figures["overlap_across_median"]):
        out.append(("overlap to the side", f"{figures['overlap_across_median']:.0%}"))
    out += [
        ("views of a point", f"{figures['views_median']:.0f}, at least {figures['views_least']}"),
        ("angle between views", f"{figures['angle_median_deg']:.0f} degrees (median of the widest)"),
        ("depth precision", f"{spell_length(figures['sigma_pair'])} from two neighbours, "
                            f"{spell_length(figures['sigma_all'])} from all photos of a point"),
        ("aperture", _aperture(exposure, gear.f_numbers)),
        ("sharp", f"from {spell_length(exposure['sharp_from_m'])} to "
                  + (spell_length(exposure["sharp_to_m"]) if exposure["sharp_to_m"] else "infinity")
                  + f", focused at {spell_length(exposure['focus_m'])}"),
        ("shutter", f"{spell_shutter(exposure['slowest_shutter_s'])} or faster ({exposure['held']})"
                    if exposure["slowest_shutter_s"] else "any: nothing moves"),
    ]  # fmt: skip
    return out + [(str(k), str(v)) for k, v in facts.get("flight_rows", [])]


def _aperture(exposure: dict[str, Any], f_numbers: tuple[float, float]) -> str:
    if f_numbers[0] == f_numbers[1]:
        return f"f/{f_numbers[0]:.3g}, fixed"
    limit = exposure["f_number_limit_by_diffraction"]
    needed = exposure["f_number_for_depth_of_field"]
    field = f"depth of field needs f/{needed:.2g}" if needed > f_numbers[0] else "all is sharp at any"
    return f"f/{exposure['f_number']:.2g} ({field}, diffraction blurs from f/{limit:.2g} on)"


def title(plan: Plan) -> str:
    """Plan of an object, 0.3 x 0.2 x 0.4 m."""
    size = plan.asked.get("size_m")
    sizes = " x ".join(f"{v:g}" for v in size) + " m" if size else spell_area(plan.asked.get("area_m2", 0.0))
    if plan.asked.get("pattern") == "corridor":
        return f"Plan of a corridor, {plan.asked['width_m']:g} m wide, {sizes}"
    name = {"object": "an object", "facade": "a facade", "room": "a room", "area": "an area"}[plan.kind]
    return f"Plan of {name}, {sizes}"


def spell_area(square_metres: float) -> str:
    """2.4 ha, 850 m2."""
    return f"{square_metres / 10_000:.3g} ha" if square_metres >= 10_000 else f"{square_metres:.3g} m²"


def text(plan: Plan) -> str:
    """The plan for a terminal."""
    table = rows(plan)
    width = max(len(k) for k, _ in table)
    lines = [title(plan), *(f"  {k:<{width}}  {v}" for k, v in table), ""]
    lines += [group_line(ring, plan) for ring in plan.facts["rings"]]
    lines += [f"note: {note}" for note in plan.notes]
    return "\n".join(lines)


def group_line(ring: dict[str, Any], plan: Plan) -> str:
    """What one group of photos is."""
    line = f"  {ring['name'] + ':':<28} {ring['photos']:>5} photos"
    if plan.kind == "object":
        height = ring["height_m"]
        if ring["name"].startswith("turned over"):  # then what was the top lies on the table
            height = plan.asked["size_m"][2] - height
        line += f", camera {spell_length(height)} above the table"
        low, high = ring["radius_m"]
        if high > 0.02 * plan.depth:
            away = spell_length(high) if high - low < 0.02 * high else f"{spell_length(low)} to {spell_length(high)}"
            line += f", {away} from the middle, every {360 / ring['photos']:.3g} degrees"
    elif plan.kind in ("room", "facade"):
        line += f", camera {spell_length(ring['height_m'])} above the floor"
    return line


def document(plan: Plan) -> dict[str, Any]:
    """Everything as plain values."""
    stations, camera = plan.stations, plan.camera
    return _finite(
        {
            "format": FORMAT,
            "version": VERSION,
            "kind": plan.kind,
            "gear": {
                "name": plan.gear.name,
                "sensor_mm": list(plan.gear.sensor_mm),
                "focal_mm": plan.gear.focal_mm,
                "pixels": list(plan.gear.pixels),
            },
            "camera": {
                "model": camera.model,
                "width": camera.width,
                "height": camera.height,
                "params": camera.params.tolist(),
            },
            "num_photos": len(stations.group),
            "depth_m": plan.depth,
            "gsd_m": plan.gsd,
            "asked": plan.asked,
            **{k: v for k, v in plan.facts.items() if k != "flight_rows"},
            "notes": list(plan.notes),
            "place": None if plan.place is None else list(plan.place),
            "stations": [
                {
                    "group": stations.groups[int(stations.group[k])],
                    "strip": int(stations.strip[k]),
                    "cam_from_world": np.round(stations.cam_from_world[k], 9).tolist(),
                }
                for k in range(len(stations.group))
            ],
        }
    )


def _finite(value: Any) -> Any:
    """NaN and infinity are no JSON: null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shot_list(plan: Plan) -> str:
    """One row a photo as CSV: place (m), heading clockwise from y and elevation (deg) of the view, angle round z."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["photo", "group", "strip", "x_m", "y_m", "z_m", "heading_deg", "elevation_deg", "turntable_deg", "distance_m"]
    )
    stations = plan.stations
    centers, look = stations.centers, stations.directions
    for k in range(len(stations.group)):
        heading = math.degrees(math.atan2(look[k, 0], look[k, 1])) % 360
        elevation = math.degrees(math.asin(max(-1.0, min(1.0, float(look[k, 2])))))
        turn = math.degrees(math.atan2(centers[k, 1], centers[k, 0])) % 360
        row = [f"{v:.4f}" for v in centers[k]] + [f"{heading:.2f}", f"{elevation:.2f}", f"{turn:.2f}"]
        writer.writerow(
            [k + 1, stations.groups[int(stations.group[k])], int(stations.strip[k]), *row, f"{plan.depth:.4f}"]
        )
    return out.getvalue()
