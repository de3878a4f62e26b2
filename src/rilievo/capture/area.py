"""Plans from the air: grids, cross-grids, oblique passes and orbits over an outline, following the terrain, so that
every point of ground and roofs is seen often enough. Counted on the terrain, not on a plane below it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rilievo import geometry
from rilievo.capture import corridor, flight, optics, outlines
from rilievo.capture.around import ring_facts
from rilievo.capture.coverage import Obstacles, view_counts
from rilievo.capture.gear import Gear
from rilievo.capture.limits import exposure, exposure_notes
from rilievo.capture.places import Plane
from rilievo.capture.stations import Builder, Plan, Stations, assess, check_overlap, planned_depth
from rilievo.capture.terrain import Raster, Terrain, lay_out
from rilievo.errors import InputError

PATTERNS = ("grid", "cross", "oblique", "orbit", "corridor")
MIN_VIEWS = 4
# Two photos from nearly one place are one for the eye: this much of an angle must lie between some two of them.
MIN_ANGLE_DEG = 10.0
LEGAL_HEIGHT_M = 120.0  # the ceiling of the open category in the EU and of Part 107 in the US (400 ft)
SIGHT_M = 500.0
# Steeper ground is a wall: photos from above do not see it, and none is asked for.
MAX_SLOPE_DEG = 60.0
CALIBRATION_TILT = math.radians(30)


@dataclass(frozen=True)
class AreaSettings:
    """What is asked of a flight. height: above ground, m; or gsd.  overlap, side_overlap: forward and between lines, at
    the height of roofs.  roof_height: of what stands on the ground where no surface model tells.  angle_deg: course of
    the lines, clockwise from north (None: the fewest lines).  tilt_deg: of oblique photos from straight down.
    clearance: least height above anything near.  home: take-off, latitude and longitude (None: the first corner).
    speed_m_s: None: as fast as drone and photo interval allow.  every_photo: a waypoint for each photo instead of
    photos at intervals along lines.  plain: a grid without the two tilted passes that tell the focal length; for a
    camera whose calibration is known.  width: of a corridor.  margin: beyond the outline, in footprints.
    max_waypoints: of one flight (0: what the drone's app takes)."""

    height: float | None = None
    gsd: float | None = None
    pattern: str = "grid"
    overlap: float = 0.80
    side_overlap: float = 0.70
    roof_height: float = 0.0
    angle_deg: float | None = None
    tilt_deg: float = 45.0
    clearance: float = 20.0
    orbit_radius: float | None = None
    width: float | None = None
    home: tuple[float, float] | None = None
    speed_m_s: float | None = None
    every_photo: bool = False
    plain: bool = False
    margin: float = 0.5
    min_views: int = MIN_VIEWS
    max_waypoints: int = 0


@dataclass(frozen=True, eq=False)
class Ground:
    """What is flown over, on a plane: the outline (n, 2), terrain or None, what lines follow, points that must be seen,
    the surface as triangles, the share of it whose height is not known, and a corridor's course (n, 2)."""

    plane: Plane
    outline: np.ndarray
    terrain: Terrain | None
    base: Callable[[np.ndarray], np.ndarray]
    points: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray
    unknown: float = 0.0
    course: np.ndarray | None = None


def plan_area(
    gear: Gear, outline: np.ndarray, settings: AreaSettings = AreaSettings(), raster: Raster | None = None
) -> tuple[Plan, flight.Flight]:
    """A plan over an outline (latitude, longitude (n, 2)) and the flight of it; for a corridor along a line of that
    width. Raises InputError."""
    _check(settings)
    if gear.drone is None:
        raise InputError(
            f"{gear.name} does not fly",
            "an area is photographed by drone",
            "--camera 'DJI Mavic 3 Enterprise'; `rilievo plan cameras` lists them",
        )
    along = settings.pattern == "corridor"
    outline = outlines.check_course(outline) if along else outlines.check_outline(outline)
    home = settings.home or (float(outline[0, 0]), float(outline[0, 1]))
    settings = replace(settings, home=home)
    depth = planned_depth(gear, distance=settings.height, gsd=settings.gsd, detail=None)
    fine = optics.gsd_at(gear, depth)
    if depth <= settings.roof_height + 2:
        raise InputError(
            f"at {depth:.0f} m the drone would meet roofs of {settings.roof_height:g} m",
            "",
            "fly higher, or ask for a coarser gsd",
        )
    camera = gear.camera()
    shown = np.array(optics.footprint(gear, fine))
    ground = _ground(outline, settings, raster, depth, shown)
    closer, worst = 1.0, None
    for _ in range(14):
        stations = _stations(ground, settings, depth, shown, closer)
        counts = view_counts(
            ground.points, ground.normals, [camera], np.zeros(len(stations.group), np.int32), stations.cam_from_world,
            obstacles=Obstacles(ground.triangles) if ground.terrain is not None else None,
        )  # fmt: skip
        few = (counts.counts < settings.min_views) | ~(counts.angle_deg >= MIN_ANGLE_DEG)
        worst = int(np.lexsort((np.nan_to_num(counts.angle_deg), counts.counts))[0])
        if not few.any():
            break
        closer *= 0.9
    found = assess(
        stations,
        camera,
        ground.triangles,
        samples=(ground.points, ground.normals),
        rays=12 if len(stations.group) > 800 else 16,
    )
    figures = found.figures()
    below = ground.base if ground.terrain is None else ground.terrain.at
    made = flight.fly(gear, stations, ground.plane, below, settings)
    limits = exposure(gear, depth, found.depths, made.speed_m_s)
    place = ground.plane.to_degrees(ground.points[worst, :2])
    height = ground.points[worst, 2]
    facts: dict[str, Any] = ring_facts(stations) | {
        "exposure": limits,
        "figures": figures,
        "outline": ground.outline.tolist(),
        "worst_point": {
            "latitude": float(place[0]),
            "longitude": float(place[1]),
            "height_m": float(height),
            "views": int(counts.counts[worst]),
            "angle_deg": float(counts.angle_deg[worst]) if counts.counts[worst] else 0.0,
        },
        "guaranteed_views": settings.min_views if not few.any() else int(counts.counts.min()),
        "worst_xy": ground.points[worst, :2].tolist(),
        "home_xy": ground.plane.from_degrees(np.array(home[:1]), np.array(home[1:]))[0].tolist(),
        "flight": made.facts(),
        "flight_rows": made.rows(depth),
    }
    notes = [*_notes(made, few, counts.counts, settings, ground.unknown, closer), *exposure_notes(limits, gear)]
    plan = Plan(
        "area", gear, camera, stations, ground.triangles, depth, fine,
        asked={"area_m2": outlines.area(ground.outline), "pattern": settings.pattern, "overlap": settings.overlap,
               "side_overlap": settings.side_overlap, "height_m": depth, "roof_height_m": settings.roof_height,
               "min_views": settings.min_views, "width_m": settings.width, "margin_footprints": settings.margin},
        facts=facts, notes=tuple(notes), place=(ground.plane.latitude, ground.plane.longitude, ground.plane.height),
    )  # fmt: skip
    return plan, made


def _check(settings: AreaSettings) -> None:
    check_overlap(settings.overlap)
    check_overlap(settings.side_overlap)
    if settings.pattern not in PATTERNS:
        raise InputError(f"unknown pattern {settings.pattern!r}", "", f"known are {', '.join(PATTERNS)}")
    if (settings.pattern == "corridor") != (settings.width is not None):
        raise InputError(
            "a corridor has a line and a width", f"pattern {settings.pattern}, width {settings.width}",
            "--pattern corridor --width 60m",
        )  # fmt: skip
    if settings.width is not None and not 1 <= settings.width <= 5000:
        raise InputError(f"a corridor {settings.width:g} m wide cannot be planned", "1 to 5000 m can", "--width 60m")
    if not 10 <= settings.tilt_deg <= 60:
        raise InputError(
            f"a tilt of {settings.tilt_deg:g} degrees cannot be planned", "10 to 60 can", "30 to 45 are usual"
        )
    if not 0 <= settings.margin <= 2:
        raise InputError(
            f"a margin of {settings.margin:g} footprints cannot be planned", "0 to 2 can", "a half is usual"
        )
    if not 0 <= settings.roof_height < 1000 or not 1 <= settings.clearance < 1000:
        raise InputError("roofs and clearance lie between 0 and 1000 m", "", "--roof-height 12 --clearance 20")
    if settings.max_waypoints and not 10 <= settings.max_waypoints <= 65_535:
        raise InputError(
            f"flights of at most {settings.max_waypoints} waypoints cannot be planned", "10 to 65535 can", "e.g. 99"
        )
    if settings.height is not None and not settings.height <= 3000:
        raise InputError(
            f"{settings.height:g} m above ground cannot be planned", "3000 m is the most", "e.g. --height 80"
        )


def _ground(
    outline: np.ndarray, settings: AreaSettings, raster: Raster | None, depth: float, shown: np.ndarray
) -> Ground:
    assert settings.home is not None
    home = np.array(settings.home)
    height = 0.0
    if raster is not None:
        known = raster.at_degrees(home[None, 0], home[None, 1])[0]
        if not np.isfinite(known):
            raise InputError(
                "the terrain does not cover the take-off place",
                f"no height is known at {home[0]:.5f}, {home[1]:.5f}",
                "give --home inside the terrain",
            )
        height = float(known)
    middle = outline.mean(0)
    plane = Plane(float(middle[0]), float(middle[1]), height)
    xy = plane.from_degrees(outline[:, 0], outline[:, 1])
    course, half = None, 0.0
    if settings.width is not None:
        course, half = corridor.straight_pieces(xy, float(shown[0])), settings.width / 2
        xy = corridor.border(course, half)
    elif outlines.area(xy) < 1.0:
        raise InputError("the outline has no area", "its corners lie on one line", "draw it again")

    def inside(points: np.ndarray) -> np.ndarray:
        return outlines.inside(xy, points) if course is None else corridor.within(course, half, points)

    reach = float(shown.max()) + depth * math.tan(math.radians(settings.tilt_deg))
    low, high = xy.min(0) - reach, xy.max(0) + reach
    level = _level(plane, xy, settings, low, high, course)
    if raster is None:
        return level
    terrain, unknown = lay_out(raster, plane, low, high)
    base = terrain.flight_surface((float(shown[1]), float(shown[0])), settings.clearance - depth, 25.0)
    X, Y = np.meshgrid(terrain.x, terrain.y)
    points = np.stack([X, Y, terrain.heights], -1).reshape(-1, 3)
    normals = terrain.normals().reshape(-1, 3)
    keep = inside(points[:, :2]) & (normals[:, 2] > math.cos(math.radians(MAX_SLOPE_DEG)))
    if not keep.any():
        return level
    return Ground(plane, xy, terrain, base, points[keep], normals[keep], terrain.triangles(), unknown, course)


def _level(
    plane: Plane, xy: np.ndarray, settings: AreaSettings, low: np.ndarray, high: np.ndarray, course: np.ndarray | None
) -> Ground:
    """Level ground, and roofs that may stand anywhere on it."""
    if course is None:
        k = (np.arange(40) + 0.5) / 40
        size = xy.max(0) - xy.min(0)
        X, Y = np.meshgrid(xy[:, 0].min() + k * size[0], xy[:, 1].min() + k * size[1])
        spots = np.stack([X.ravel(), Y.ravel()], -1)
        spots = np.concatenate([spots[outlines.inside(xy, spots)], xy])  # the corners are seen least
    else:
        assert settings.width is not None
        length = float(np.linalg.norm(np.diff(course, axis=0), axis=1).sum())
        spots = corridor.band_points(course, settings.width / 2, max(settings.width / 8, length / 800))
    levels = [0.0, settings.roof_height] if settings.roof_height > 0 else [0.0]
    points = np.concatenate([np.concatenate([spots, np.full((len(spots), 1), z)], 1) for z in levels])
    corners = np.array([[low[0], low[1], 0], [high[0], low[1], 0], [high[0], high[1], 0], [low[0], high[1], 0.0]])
    triangles = corners[[[0, 1, 2], [0, 2, 3]]]
    return Ground(
        plane, xy, None, lambda at: np.zeros(len(at)), points, np.tile([0.0, 0.0, 1.0], (len(points), 1)), triangles,
        course=course,
    )  # fmt: skip


def _stations(ground: Ground, settings: AreaSettings, depth: float, shown: np.ndarray, closer: float) -> Stations:
    """closer: factor on the distances between photos and lines."""
    at_roofs = (depth - _tops(ground, settings)) / depth
    step = closer * (1 - settings.overlap) * shown[1] * at_roofs
    gap = closer * (1 - settings.side_overlap) * shown[0] * at_roofs
    margin = (settings.margin * float(shown[1]), settings.margin * float(shown[0]))
    angle = outlines.best_angle(ground.outline)
    if settings.angle_deg is not None:
        angle = math.radians(90 - settings.angle_deg)
    builder = Builder()

    def lines(group: str, angle: float, look: float | None, tilt: float, sides: bool = False) -> None:
        """Lines along an angle; photos look down, tilted towards `look`. Their top is forward."""
        lead = depth * math.tan(tilt)
        for line in outlines.sweep(ground.outline, angle, gap, step, margin):
            ahead = line[-1] - line[0] if len(line) > 1 else np.array([math.cos(angle), math.sin(angle)])
            ahead = ahead / max(float(np.linalg.norm(ahead)), 1e-12)
            to = ahead if look is None else np.array([math.cos(look), math.sin(look)])
            # so far back that the middle of the picture lies where the line is
            places = line - lead * (to if tilt else 0 * to)
            z = ground.base(places) + depth
            builder.strip(group, [_looking(np.array([*p, h]), to, tilt) for p, h in zip(places, z)])

    if ground.course is not None:
        _along(builder, ground, settings, depth, shown, step, gap)
        return builder.done()
    lines("grid", angle, None, 0.0)
    if settings.pattern in ("grid", "cross") and not settings.plain:
        # photos straight down from one height do not tell the focal length from the height: two passes that look ahead
        # along a line across the grid do
        line = outlines.middle_line(ground.outline, angle + math.pi / 2, step, margin)
        for way in (line, line[::-1]):
            to = (way[-1] - way[0]) / max(float(np.linalg.norm(way[-1] - way[0])), 1e-12)
            places = way - depth * math.tan(CALIBRATION_TILT) * to
            z = ground.base(places) + depth
            poses = [_looking(np.array([*p, h]), to, CALIBRATION_TILT) for p, h in zip(places, z)]
            builder.strip("tilted, across", poses)
    if settings.pattern == "cross":
        lines("cross grid", angle + math.pi / 2, None, 0.0)
    if settings.pattern == "oblique":
        tilt = math.radians(settings.tilt_deg)
        for k in range(4):
            look = angle + k * math.pi / 2
            course = math.degrees(math.pi / 2 - look) % 360
            lines(f"oblique towards {course:.0f} deg", look, look, tilt)
    if settings.pattern == "orbit":
        _orbits(builder, ground, settings, depth, shown, closer)
    return builder.done()


def _along(
    builder: Builder, ground: Ground, settings: AreaSettings, depth: float, shown: np.ndarray, step: float, gap: float
) -> None:
    """Lines along a corridor, and one there and back whose photos look ahead, for the focal length."""
    assert ground.course is not None and settings.width is not None
    beyond = settings.margin * float(shown[1])
    # half a footprint of margin is had when the outer lines lie on the edges
    reach = max(settings.width / 2 + (settings.margin - 0.5) * float(shown[0]), gap / 2)
    passes = [("along", corridor.lines(ground.course, reach, gap, step, beyond), 0.0)]
    if not settings.plain:
        ahead = corridor.lines(ground.course, 1e-3, 1.0, step, beyond)
        passes.append(("tilted, along", ahead, CALIBRATION_TILT))
    for name, lines, tilt in passes:
        for piece, line in lines:
            to = (line[-1] - line[0]) / max(float(np.linalg.norm(line[-1] - line[0])), 1e-12)
            places = line - depth * math.tan(tilt) * to
            z = ground.base(places) + depth
            group = name if len(ground.course) == 2 else f"{name}, piece {piece + 1}"
            builder.strip(group, [_looking(np.array([*p, h]), to, tilt) for p, h in zip(places, z)])


def _tops(ground: Ground, settings: AreaSettings) -> float:
    """How far roofs rise above what the flight follows."""
    if ground.terrain is None:
        return settings.roof_height
    above = ground.points[:, 2] - ground.base(ground.points[:, :2])
    return max(settings.roof_height, float(np.quantile(above, 0.999)), 0.0)


def _looking(eye: np.ndarray, to: np.ndarray, tilt: float) -> np.ndarray:
    """cam_from_world of a camera that looks down, tilted by an angle towards `to`, the picture's top there."""
    forward = np.array([*(to * math.sin(tilt)), -math.cos(tilt)])
    return geometry.look_at(eye, eye + forward, (float(to[0]), float(to[1]), 0.0) if tilt < 1e-6 else (0.0, 0.0, 1.0))


def _orbits(
    builder: Builder, ground: Ground, settings: AreaSettings, depth: float, shown: np.ndarray, closer: float
) -> None:
    middle = (ground.outline.min(0) + ground.outline.max(0)) / 2
    extent = float(np.linalg.norm(ground.outline - middle, axis=1).max())
    radius = settings.orbit_radius or extent + depth * math.tan(math.radians(settings.tilt_deg)) / 2
    if radius > 1000 or radius < 3:
        raise InputError(
            f"an orbit of {radius:.0f} m cannot be flown round the area",
            "orbits are for single buildings and small sites",
            "use --pattern oblique, or give --orbit-radius",
        )
    top = _tops(ground, settings)
    low = float(ground.base(middle[None])[0])
    aim = np.array([*middle, low + top / 2])
    for name, height in (("orbit, high", depth), ("orbit, low", max(0.6 * depth, top + settings.clearance))):
        away = math.hypot(radius, height - top / 2)
        wide = shown[0] * away / depth
        num = max(24, math.ceil(2 * math.pi * radius / (closer * (1 - settings.overlap) * wide)))
        turn = 2 * math.pi * np.arange(num) / num
        places = middle + radius * np.stack([np.cos(turn), np.sin(turn)], -1)
        z = np.maximum(low, ground.base(places)) + height
        builder.strip(name, [geometry.look_at(np.array([*p, h]), aim) for p, h in zip(places, z)], closed=True)


def _notes(
    made: flight.Flight, few: np.ndarray, counts: np.ndarray, settings: AreaSettings, unknown: float, closer: float
) -> list[str]:
    notes = []
    if few.any():
        notes.append(
            f"{int(few.sum())} of {len(few)} places are seen by fewer than {settings.min_views} photos, "
            f"or from one side only (least: {int(counts.min())}); they lie behind something, or the flight is too low"
        )
    elif closer < 1:
        notes.append(
            f"lines and photos are {1 - closer:.0%} closer than the overlaps ask for, "
            f"so that every place is seen by at least {settings.min_views}"
        )
    if unknown > 0.001:
        notes.append(
            f"the terrain is unknown in {unknown:.1%} of what surrounds the flight: heights are filled from around"
        )
    if made.height_above_ground_m > LEGAL_HEIGHT_M:
        notes.append(
            f"the flight goes up to {made.height_above_ground_m:.0f} m above ground: without a permission "
            f"{LEGAL_HEIGHT_M:.0f} m is the limit in the EU, and 400 ft (122 m) in the US"
        )
    if made.farthest_m > SIGHT_M:
        notes.append(f"the farthest point is {made.farthest_m:.0f} m from take-off: the drone must stay in sight")
    return notes
