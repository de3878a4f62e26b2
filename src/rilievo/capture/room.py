"""Plans of a room: along its walls looking across, level and tilted, rounding its corners, not turning in them."""

from __future__ import annotations

import math

import numpy as np

from rilievo import geometry
from rilievo.capture import optics
from rilievo.capture.around import ring_facts
from rilievo.capture.coverage import box_triangles, sample_triangles
from rilievo.capture.gear import Gear
from rilievo.capture.limits import exposure, exposure_notes
from rilievo.capture.stations import Builder, Plan, Stations, assess, check_overlap, planned_depth
from rilievo.errors import InputError

# standard -> overlap along the walls, largest turn between neighbours (deg), number of level rows
STANDARDS = {"minimum": (0.60, 20.0, 1), "professional": (0.80, 12.0, 2), "high": (0.85, 10.0, 2)}
TILT_DEG = 40.0
WALL_GAP_M = 0.4  # a person with a camera before the wall behind


def plan_room(
    gear: Gear,
    size: tuple[float, float, float],
    *,
    distance: float | None = None,
    gsd: float | None = None,
    detail: float | None = None,
    standard: str = "professional",
    overlap: float | None = None,
    step_deg: float | None = None,
    heights: tuple[float, float] = (0.4, 2.2),
    portrait: bool = False,
    speed_m_s: float | None = None,
) -> Plan:
    """A plan of a room of width, depth, height (m), its floor z = 0, its corner x = y = 0.

    Photos look from each wall at the one across; where the wanted detail asks for less distance, they are taken from
    an inner round and look outwards. heights: lowest and highest place of the camera. Raises InputError.
    """
    if standard not in STANDARDS:
        raise InputError(f"unknown standard {standard!r}", "", f"known are {', '.join(STANDARDS)}")
    usual = STANDARDS[standard]
    overlap, step_deg = overlap or usual[0], step_deg or usual[1]
    check_overlap(overlap)
    if not all(1.0 <= v <= 500 for v in size):
        raise InputError(
            f"a room of {' x '.join(f'{v:g}' for v in size)} m cannot be planned",
            "sides of 1 to 500 m can",
            "give width x depth x height, e.g. --size 5x4x2.6m",
        )
    across = min(size[:2]) - WALL_GAP_M
    depth = planned_depth(gear, distance=distance, gsd=gsd, detail=detail, fit=across)
    inside_out = depth < 0.8 * across
    depth = depth if inside_out else across
    fine = optics.gsd_at(gear, depth)
    camera = gear.camera(depth, upright=portrait)
    shown = fine * np.array(gear.pixels[::-1] if portrait else gear.pixels)
    triangles = np.ascontiguousarray(box_triangles([0, 0, 0], list(size))[:, ::-1])  # seen from inside
    samples = sample_triangles(triangles, 4000)
    step, notes = step_deg, []
    for _ in range(8):
        stations = _stations(size, depth, inside_out, shown, overlap, step, usual[2], heights)
        found = assess(stations, camera, triangles, samples=samples)
        figures = found.figures()
        # where the way rounds a corner neighbours turn, and may share a tenth less
        enough = figures["overlap_median"] >= overlap and figures["overlap_least"] >= overlap - 0.1
        if (enough and figures["seen_3_share"] >= 0.99) or step < 6:
            break
        step *= 0.85
        shown = shown * 0.9
    limits = exposure(gear, depth, found.depths, speed_m_s)
    notes += exposure_notes(limits, gear)
    if figures["seen_3_share"] < 0.99:
        notes.append(
            f"{1 - figures['seen_3_share']:.1%} of walls, floor and ceiling is seen by fewer than 3 photos: "
            "use a wider lens"
        )
    if inside_out:
        notes.append("the wanted detail asks for a short distance: photos are taken from the middle, looking outwards")
    return Plan(
        "room", gear, camera, stations, triangles, depth, fine,
        asked={"size_m": list(map(float, size)), "standard": standard, "overlap": overlap, "step_deg": step_deg,
               "heights_m": list(heights)},
        facts=ring_facts(stations) | {"exposure": limits, "figures": figures, "step_deg": step},
        notes=tuple(notes),
    )  # fmt: skip


def _stations(
    size: tuple[float, float, float], depth: float, inside_out: bool, shown: np.ndarray, overlap: float,
    step_deg: float, num_levels: int, heights: tuple[float, float],
) -> Stations:  # fmt: skip
    low, high = max(heights[0], 0.15 * size[2]), min(heights[1], 0.85 * size[2])
    low = min(low, high)
    levels = np.linspace(0.35 * size[2], 0.7 * size[2], num_levels) if num_levels > 1 else [0.5 * size[2]]
    builder = Builder()
    for k, level in enumerate(levels):
        z = float(np.clip(level, low, high))
        name = "level" if len(levels) == 1 else f"level, row {k + 1}"
        builder.strip(name, _round(size, depth, inside_out, shown[0], overlap, step_deg, z, 0.0), closed=True)
    tilt = math.radians(TILT_DEG)
    builder.strip("tilted down", _round(size, depth, inside_out, shown[0], overlap, step_deg, high, -tilt), closed=True)
    builder.strip("tilted up", _round(size, depth, inside_out, shown[0], overlap, step_deg, low, tilt), closed=True)
    if inside_out:  # the middle of floor and ceiling lies behind those who look outwards
        for name, z, turn in (("across, tilted down", high, -tilt), ("across, tilted up", low, tilt)):
            builder.strip(name, _round(size, depth, False, shown[0], overlap, step_deg, z, turn), closed=True)
    return builder.done()


def _round(
    size: tuple[float, float, float], depth: float, inside_out: bool, shown: float, overlap: float, step_deg: float,
    z: float, tilt: float,
) -> list[np.ndarray]:  # fmt: skip
    """Stations once round the room on a rectangle with rounded corners, heading square to its sides."""
    half = np.array(size[:2]) / 2
    gap = depth if inside_out else WALL_GAP_M
    place = np.maximum(half - gap, 0.15 * half)  # half extents of the way
    radius = 0.5 * float(place.min())
    inner = place - radius
    poses = []
    signs = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)], float)
    num_turn = max(2, math.ceil(90 / step_deg - 1e-9))
    for quarter in range(4):
        corner, then = signs[quarter] * inner, signs[(quarter + 1) % 4] * inner
        side = float(np.linalg.norm(then - corner))
        num_side = math.ceil(side / ((1 - overlap) * shown) - 1e-9)
        steps = [(i / num_turn, 0.0) for i in range(num_turn + (num_side > 0))]
        steps += [(1.0, i / num_side) for i in range(1, num_side)]
        for turn, along in steps:
            theta = (quarter + turn) * math.pi / 2
            out = np.array([math.cos(theta), math.sin(theta)])
            xy = half + corner + along * (then - corner) + radius * out
            flat = (out if inside_out else -out) * math.cos(tilt)
            eye = np.array([*xy, z])
            poses.append(geometry.look_at(eye, eye + [*flat, math.sin(tilt)]))
    return poses
