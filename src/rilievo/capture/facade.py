"""Plans along a facade: rows of photos parallel to it, slanted ones for depth, tilted ones where nobody can stand."""

from __future__ import annotations

import math

import numpy as np

from rilievo import geometry
from rilievo.capture import optics
from rilievo.capture.around import ring_facts
from rilievo.capture.coverage import box_triangles
from rilievo.capture.gear import Gear
from rilievo.capture.limits import exposure, exposure_notes
from rilievo.capture.stations import Builder, Plan, Stations, assess, check_overlap, planned_depth
from rilievo.errors import InputError

# standard -> overlap along a row, overlap of rows, whether photos slanted by 30 degrees are added to every row. One row
# always has them: parallel photos of a flat wall do not tell the focal length from the distance.
STANDARDS = {"minimum": (0.60, 0.40, False), "professional": (0.80, 0.60, True), "high": (0.85, 0.70, True)}
SLANT_DEG = 30.0
MIN_VIEWS = 3


def plan_facade(
    gear: Gear,
    size: tuple[float, float],
    *,
    distance: float | None = None,
    gsd: float | None = None,
    detail: float | None = None,
    relief: float = 0.0,
    standard: str = "professional",
    overlap: float | None = None,
    side_overlap: float | None = None,
    heights: tuple[float, float] | None = None,
    portrait: bool = False,
    speed_m_s: float | None = None,
) -> Plan:
    """A plan along a wall of width and height (m): it stands on z = 0 from x = 0 on, its front is y = 0, cameras are at
    negative y.

    relief: how far parts stand out of the wall or recede into it: the distance is kept from the former, and their
    overlap. heights: lowest and highest place of the camera; where that is too low, photos are tilted up and their gsd
    is coarser. Raises InputError.
    """
    usual = _standard(standard)
    overlap, side_overlap = overlap or usual[0], side_overlap or usual[1]
    check_overlap(overlap)
    check_overlap(side_overlap)
    if not (0 < size[0] < 5000 and 0 < size[1] < 1000) or not 0 <= relief < 100:
        raise InputError(f"a facade of {size[0]:g} x {size[1]:g} m cannot be planned", "", "e.g. --size 12x8m")
    depth = planned_depth(gear, distance=distance, gsd=gsd, detail=detail)
    if depth <= 1.2 * relief:
        raise InputError(
            f"at {depth:.3g} m the camera would touch what stands out by {relief:g} m",
            "the wanted detail asks for a very small distance",
            "ask for less detail, or use a longer lens (--focal)",
        )
    fine = optics.gsd_at(gear, depth)
    picture = np.array(gear.pixels[::-1] if portrait else gear.pixels)
    # overlap shall hold on the parts that stand out towards the camera
    shown = fine * picture * (depth - relief) / depth
    low, high = _reach(heights, depth, shown[1])
    camera = gear.camera(depth, upright=portrait)
    triangles = box_triangles([0, 0, 0], [size[0], max(0.2, relief), size[1]])
    front = _front(size)
    # beyond the edges, then closer, until every point of the front is seen MIN_VIEWS times
    for closer, margin in ((0.93**k, margin) for k in range(12) for margin in (0.25, 0.5)):
        stations = _stations(size, depth, shown * closer, overlap, side_overlap, (low, high), usual[2], margin)
        found = assess(stations, camera, triangles, samples=front)
        if found.coverage.counts.min() >= MIN_VIEWS:
            break
    depths = (min(found.depths[0], depth - relief), found.depths[1], max(found.depths[2], depth + relief))
    limits = exposure(gear, depth, depths, speed_m_s)
    notes = list(exposure_notes(limits, gear))
    top = float(stations.centers[:, 2].max())
    if heights is None and top > 2.5:
        notes.append(
            f"the camera goes up to {top:.1f} m: that takes a pole or a drone; --heights 1 2.5 plans from the ground"
        )
    if high < size[1] - shown[1] / 2:
        notes.append(
            f"above {high:g} m photos are tilted up: there the gsd is up to "
            f"{found.figures()['gsd_coarsest'] * 1000:.3g} mm"
        )
    return Plan(
        "facade", gear, camera, stations, triangles, depth, fine,
        asked={"size_m": list(map(float, size)), "standard": standard, "overlap": overlap, "side_overlap": side_overlap,
               "relief_m": relief, "heights_m": list(heights) if heights else None},
        facts=ring_facts(stations) | {"exposure": limits, "figures": found.figures()},
        notes=tuple(notes),
    )  # fmt: skip


def _standard(standard: str) -> tuple[float, float, bool]:
    if standard not in STANDARDS:
        raise InputError(f"unknown standard {standard!r}", "", f"known are {', '.join(STANDARDS)}")
    return STANDARDS[standard]


def _reach(heights: tuple[float, float] | None, depth: float, shown: float) -> tuple[float, float]:
    if heights is None:
        return min(1.5, shown / 2), math.inf
    if not 0 <= heights[0] <= heights[1]:
        raise InputError(f"the camera cannot stand between {heights[0]:g} and {heights[1]:g} m", "", "--heights 0.5 3")
    return heights


def _places(length: float, shown: float, overlap: float, margin: float) -> np.ndarray:
    """Middles of photos along a length so that neighbours overlap at least that much and the outer ones reach that
    share of a picture beyond the ends."""
    start, end = -margin * shown + shown / 2, length + margin * shown - shown / 2
    if end <= start:  # all fits into one picture: a pair from both sides, else there is no depth
        step = (1 - overlap) * shown
        return length / 2 + np.array([-step, 0.0, step])
    num = math.ceil((end - start) / ((1 - overlap) * shown) - 1e-9) + 1
    return np.linspace(start, end, max(num, 3))


def _stations(
    size: tuple[float, float], depth: float, shown: np.ndarray, overlap: float, side_overlap: float,
    reach: tuple[float, float], slanted: bool, margin: float,
) -> Stations:  # fmt: skip
    builder = Builder()
    rows = np.linspace(
        min(shown[1] / 2, size[1] / 2),
        max(size[1] - shown[1] / 4, size[1] / 2),
        max(1, math.ceil((size[1] - 0.75 * shown[1]) / ((1 - side_overlap) * shown[1]) - 1e-9) + 1),
    )
    if len(rows) == 1:
        rows = np.array([size[1] / 2])
    columns = _places(size[0], shown[0], overlap, margin)

    def strip(group: str, xs: np.ndarray, z: float, turn: float) -> None:
        eye_z = min(max(z, reach[0]), reach[1])
        away = depth if eye_z == z else max(depth, 0.7 * abs(z - eye_z))  # not steeper than 55 degrees
        shift = away * math.tan(turn)
        poses = [geometry.look_at(np.array([x - shift, -away, eye_z]), np.array([x, 0.0, z])) for x in xs]
        builder.strip(group, poses)

    for k, z in enumerate(rows):
        strip("parallel", columns if k % 2 == 0 else columns[::-1], float(z), 0.0)
    for turn, name in ((SLANT_DEG, "slanted to the right"), (-SLANT_DEG, "slanted to the left")):
        # fewer: they serve reveals and the shape of the whole, not the texture
        xs = _places(size[0], shown[0], min(overlap, 0.7), margin)
        for k, z in enumerate(rows if slanted else rows[len(rows) // 2 :][:1]):
            strip(name, xs if k % 2 == 0 else xs[::-1], float(z), math.radians(turn))
    return builder.done()


def _front(size: tuple[float, float], num: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Points on the front of the wall, evenly, and their normals."""
    k = (np.arange(num) + 0.5) / num
    x, z = np.meshgrid(k * size[0], k * size[1])
    points = np.stack([x.ravel(), np.zeros(num * num), z.ravel()], -1)
    return points, np.tile([0.0, -1.0, 0.0], (num * num, 1))
