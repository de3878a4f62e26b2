"""Plans round an object: tiers of photos at rising elevation, from above, and of the underside once it is turned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rilievo import geometry
from rilievo.capture import optics
from rilievo.capture.coverage import box_triangles, sample_triangles
from rilievo.capture.gear import Gear
from rilievo.capture.limits import exposure, exposure_notes
from rilievo.capture.stations import Builder, Plan, Stations, assess, check_overlap, planned_depth
from rilievo.errors import InputError

# standard -> elevations of the tiers (deg), largest step between neighbours (deg), overlap
STANDARDS: dict[str, tuple[tuple[float, ...], float, float]] = {
    "minimum": ((10.0, 45.0), 30.0, 0.60),
    "professional": ((0.0, 30.0, 55.0), 12.0, 0.80),
    "high": ((0.0, 20.0, 40.0, 60.0), 10.0, 0.80),
}
# Share of the picture that the object fills where it fits into it.
FILL = 0.8


@dataclass(frozen=True)
class Round:
    """Where stations round a box lie: corners `inner` (half extents) of the box that the cameras aim at, their offsets
    `reach` from it, half extents of the object, and its middle's height."""

    inner: np.ndarray
    reach: np.ndarray
    half: np.ndarray

    def station(self, theta: float, elevation: float, quarter: int, along: float, level: float) -> np.ndarray:
        """cam_from_world seen from a direction (azimuth theta, elevation, radians), round the corner of a quarter (0 to
        3), or `along` the side after it (0..1)."""
        signs = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)], float)
        here, there = signs[quarter], signs[(quarter + 1) % 4]
        corner = (here + along * (there - here)) * self.inner[:2]
        flat = math.cos(elevation)
        out = np.array([math.cos(theta) * flat, math.sin(theta) * flat, math.sin(elevation)])
        aim = np.array([*corner, self.half[2] + level])
        # on the ellipsoid with these reaches: the directions are exact, the distances as planned on the axes
        return geometry.look_at(aim + out / math.sqrt(float(((out / self.reach) ** 2).sum())), aim)


def plan_object(
    gear: Gear,
    size: tuple[float, float, float],
    *,
    distance: float | None = None,
    gsd: float | None = None,
    detail: float | None = None,
    standard: str = "professional",
    tiers: tuple[float, ...] | None = None,
    step_deg: float | None = None,
    overlap: float | None = None,
    underside: bool = False,
    turntable: bool = False,
    portrait: bool | None = None,
    triangles: np.ndarray | None = None,
    speed_m_s: float | None = None,
) -> Plan:
    """A plan round an object of width, depth, height (m) that stands on z = 0, its middle at x = y = 0.

    tiers: elevations in degrees instead of the standard's.  turntable: the camera stands, the object turns: all photos
    of a tier have one distance.  portrait: the camera is turned (None: where the object is taller than wide).
    triangles: its surface, where it is known.  speed_m_s: of the camera (None: by hand; 0: tripod). Raises InputError.
    """
    tiers, step_deg, overlap = _standard(standard, tiers, step_deg, overlap)
    half = np.array(size, np.float64) / 2
    if not (np.isfinite(half).all() and (half > 0).all()):
        raise InputError(
            f"an object of {size} m has no size", "", "give width x depth x height, e.g. --size 30x20x40cm"
        )
    upright = bool(half[2] > max(half[:2])) if portrait is None else portrait
    picture = np.array(gear.pixels[::-1] if upright else gear.pixels)
    depth = planned_depth(gear, distance=distance, gsd=gsd, detail=detail, fit=_fitting(gear, half, picture))
    fine = optics.gsd_at(gear, depth)
    triangles = (
        box_triangles([-half[0], -half[1], 0], [half[0], half[1], 2 * half[2]]) if triangles is None else triangles
    )
    camera = gear.camera(depth, upright=upright)
    around = _round(half, depth, fine * picture, turntable)
    samples = reachable(triangles, underside)
    step, notes = step_deg, []
    for _ in range(8):
        stations = _stations(around, tiers, step, overlap, fine * picture, underside)
        found = assess(stations, camera, triangles, samples=samples)
        # the least of the share that neighbours show of the same surface: a closer step until it is reached
        if not len(found.overlaps) or float(found.overlaps.min()) >= overlap or step < 4:
            break
        step *= 0.8
    if step < step_deg:
        notes.append(f"a step of {step_deg:g} degrees would overlap by less than {overlap:.0%}: {step:.3g} are planned")
    if turntable and (around.inner > 0).any():
        raise InputError(
            "the object does not fit into the picture on a turntable",
            f"at {depth:.3g} m the picture shows {fine * picture[0]:.3g} x {fine * picture[1]:.3g} m",
            "ask for less detail, leave --turntable out, or plan its parts",
        )
    hold = (0.0 if turntable else None) if speed_m_s is None else speed_m_s
    facts = ring_facts(stations) | {"step_deg": step}
    limits = exposure(gear, depth, found.depths, hold)
    return Plan(
        "object", gear, camera, stations, np.ascontiguousarray(triangles, np.float64), depth, fine,
        asked={"size_m": list(map(float, size)), "standard": standard, "tiers_deg": list(tiers), "overlap": overlap,
               "step_deg": step_deg, "underside": underside, "turntable": turntable},
        facts=facts | {"exposure": limits, "figures": found.figures()},
        notes=(*notes, *exposure_notes(limits, gear)),
    )  # fmt: skip


def _standard(
    standard: str, tiers: tuple[float, ...] | None, step_deg: float | None, overlap: float | None
) -> tuple[tuple[float, ...], float, float]:
    if standard not in STANDARDS:
        raise InputError(f"unknown standard {standard!r}", "", f"known are {', '.join(STANDARDS)}")
    usual = STANDARDS[standard]
    tiers, step_deg = tuple(sorted(tiers or usual[0])), usual[1] if step_deg is None else step_deg
    overlap = usual[2] if overlap is None else overlap
    if any(not -10 <= t <= 80 for t in tiers):
        raise InputError("tiers lie between -10 and 80 degrees", f"asked for {', '.join(f'{t:g}' for t in tiers)}",
                         "photos from straight above are added anyway")  # fmt: skip
    if not 2 <= step_deg <= 60:
        raise InputError(f"a step of {step_deg:g} degrees is not possible", "2 to 60 are", "10 to 15 are usual")
    check_overlap(overlap)
    return tiers, step_deg, overlap


def _fitting(gear: Gear, half: np.ndarray, picture: np.ndarray) -> float:
    """Depth of the nearest face at which the whole object fills FILL of the picture from each side and from above."""
    wide = 2 * math.hypot(half[0], half[1])
    gsd = max(wide / (FILL * picture[0]), 2 * half[2] / (FILL * picture[1]))
    # seen from the side, the object reaches half its depth behind the face: the face is what is nearest
    return optics.depth_for_gsd(gear, gsd)


def _round(half: np.ndarray, depth: float, shown: np.ndarray, turntable: bool) -> Round:
    """Cameras aim at the object's middle as far as it fits, along its sides where it does not."""
    limit = np.array([shown[0], shown[0], shown[1]]) * FILL / 2
    inner = np.where(half > 1.01 * limit, half - limit, 0.0)
    reach = depth + half - inner
    if turntable:
        reach[:2] = reach[:2].max()
    return Round(inner, reach, half)


def _stations(
    around: Round, tiers: tuple[float, ...], step_deg: float, overlap: float, shown: np.ndarray, underside: bool
) -> Stations:
    builder = Builder()
    upper = [(f"tier {elevation:g} deg", elevation) for elevation in tiers]
    _add_tiers(builder, around, upper, step_deg, overlap, shown, rows=True)
    _add_above(builder, around, "from above", overlap, shown)
    if not underside:
        return builder.done()
    turned = Builder()
    lower = [(f"turned over, tier {t:g} deg", t) for t in tiers if t > 0] or [("turned over", tiers[0])]
    _add_tiers(turned, around, lower, step_deg, overlap, shown, rows=False)
    _add_above(turned, around, "turned over, from above", overlap, shown)
    # turned about its x axis: what the camera sees from above is then what was below
    over = np.array([[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 2 * around.half[2]]], np.float64)
    below = turned.done()
    poses = geometry.compose(below.cam_from_world, over[None])
    for s in np.unique(below.strip):
        index = np.flatnonzero(below.strip == s)
        builder.strip(below.groups[below.group[index[0]]], list(poses[index]), closed=int(s) in below.closed)
    return builder.done()


def _add_tiers(
    builder: Builder, around: Round, tiers: list[tuple[str, float]], step_deg: float, overlap: float,
    shown: np.ndarray, *, rows: bool,
) -> None:  # fmt: skip
    for k, (name, elevation_deg) in enumerate(tiers):
        elevation = math.radians(elevation_deg)
        # the lowest tier goes up the whole side; the others look at the upper edge
        num_rows = math.ceil(2 * around.inner[2] / ((1 - overlap) * shown[1]) - 1e-9) + 1 if k == 0 and rows else 1
        levels = np.linspace(-around.inner[2], around.inner[2], num_rows) if num_rows > 1 else [around.inner[2]]
        num_turn = max(2, math.ceil(90 * math.cos(elevation) / step_deg - 1e-9))
        for level in levels:
            poses = []
            for quarter in range(4):
                side = 2 * around.inner[quarter % 2]
                num_side = math.ceil(side / ((1 - overlap) * shown[0]) - 1e-9)
                last = num_turn + 1 if num_side else num_turn
                for i in range(last):
                    theta = (quarter + i / num_turn) * math.pi / 2
                    poses.append(around.station(theta, elevation, quarter, 0.0, level))
                for i in range(1, num_side):
                    theta = (quarter + 1) * math.pi / 2
                    poses.append(around.station(theta, elevation, quarter, i / num_side, level))
            builder.strip(name, poses, closed=True)


def _add_above(builder: Builder, around: Round, name: str, overlap: float, shown: np.ndarray) -> None:
    """Photos straight down: a grid where the top is larger than the picture, else two at right angles."""
    top = around.half[2] + around.inner[2]
    eye_z = top + around.reach[2]
    # the picture's long side lies along x
    num = [math.ceil(2 * around.inner[a] / ((1 - overlap) * shown[a]) - 1e-9) + 1 for a in (0, 1)]
    for y in np.linspace(-around.inner[1], around.inner[1], num[1]) if num[1] > 1 else [0.0]:
        xs = np.linspace(-around.inner[0], around.inner[0], num[0]) if num[0] > 1 else [0.0]
        poses = [_down(np.array([x, y, eye_z]), (0.0, 1.0, 0.0)) for x in xs]
        if num == [1, 1]:
            poses.append(_down(np.array([0.0, 0.0, eye_z]), (1.0, 0.0, 0.0)))
        builder.strip(name, poses)


def _down(eye: np.ndarray, up: tuple[float, float, float]) -> np.ndarray:
    return geometry.look_at(eye, eye - [0, 0, 1.0], up)


def reachable(triangles: np.ndarray, underside: bool, num_samples: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) and normals of the surface without what the object stands on, unless that is photographed too."""
    points, normals = sample_triangles(triangles, num_samples)
    if underside:
        return points, normals
    low, high = triangles[..., 2].min(), triangles[..., 2].max()
    keep = (normals[:, 2] > -0.9) | (points[:, 2] > low + 0.02 * (high - low))
    return points[keep], normals[keep]


def ring_facts(stations: Stations) -> dict[str, Any]:
    """The groups of a plan, as plain values."""
    centers, rings = stations.centers, []
    for g, name in enumerate(stations.groups):
        mine = stations.group == g
        rings.append(
            {
                "name": name,
                "photos": int(mine.sum()),
                "height_m": float(np.median(centers[mine, 2])),
                "radius_m": [float(v) for v in np.quantile(np.linalg.norm(centers[mine, :2], axis=1), [0, 1])],
            }
        )
    return {"rings": rings}
