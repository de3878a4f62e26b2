"""The flight of a plan: waypoints, speed, photo interval, time, and what each battery carries."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rilievo.capture.gear import Drone, Gear
from rilievo.capture.places import Plane, bends, course_deg
from rilievo.capture.stations import Stations
from rilievo.errors import InputError

if TYPE_CHECKING:
    from rilievo.capture.area import AreaSettings

ACCELERATION_M_S2 = 2.0
CLIMB_M_S = 3.0
PHOTO_STOP_S = 1.5  # to settle, at a waypoint of its own
# Waypoints farther apart than this are refused by DJI's mobile SDK (2000 m).
LONGEST_LEG_M = 1900.0
# How far a line between waypoints may leave the planned height.
HEIGHT_TOLERANCE_M = 1.0


@dataclass(frozen=True)
class Waypoint:
    """height_m: above take-off.  heading_deg: of camera and nose, clockwise from north.  pitch_deg: of the gimbal, -90
    straight down.  speed_m_s: to the next one.  stops: the drone stops there.  photo: "once" there; "start" and
    "stop" of photos at the mission's interval; "" none."""

    latitude: float
    longitude: float
    height_m: float
    heading_deg: float
    pitch_deg: float
    speed_m_s: float
    stops: bool = True
    photo: str = ""


@dataclass(frozen=True)
class Mission:
    """One flight on one battery. home: latitude, longitude (deg), height above sea level (m) of take-off.  interval_m:
    between photos, 0 where each has its waypoint.  safe_height_m: above take-off, to start and come home.  wpml: DJI's
    numbers of drone and payload."""

    name: str
    home: tuple[float, float, float]
    waypoints: tuple[Waypoint, ...]
    interval_m: float
    speed_m_s: float
    safe_height_m: float
    wpml: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Flight:
    """All missions of a plan, and what they take. seconds, lengths: of each."""

    missions: tuple[Mission, ...]
    seconds: tuple[float, ...]
    speed_m_s: float
    interval_m: float
    interval_s: float
    length_m: float
    height_above_ground_m: float
    farthest_m: float
    battery_minutes: float
    num_photos: tuple[int, ...] = field(default=())

    def facts(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "batteries": len(self.missions),
            "seconds": sum(self.seconds),
            "seconds_per_battery": list(self.seconds),
            "photos_per_battery": list(self.num_photos),
            "waypoints_per_battery": [len(m.waypoints) for m in self.missions],
            "length_m": self.length_m,
            "speed_m_s": self.speed_m_s,
            "photo_interval_m": self.interval_m,
            "photo_interval_s": self.interval_s,
            "height_above_ground_m": self.height_above_ground_m,
            "farthest_from_home_m": self.farthest_m,
        }

    def rows(self, depth: float) -> list[tuple[str, str]]:
        """What a sheet says of it."""
        minutes = sum(self.seconds) / 60
        number = len(self.missions)
        batteries = "battery" if number == 1 else "batteries"
        return [
            ("height", f"{depth:.4g} m above ground, up to {self.height_above_ground_m:.4g} m"),
            ("speed", f"{self.speed_m_s:.3g} m/s, a photo every {self.interval_m:.3g} m = {self.interval_s:.2g} s"),
            ("flight", f"{self.length_m / 1000:.3g} km, {minutes:.0f} min, {number} {batteries} of "
                       f"{self.battery_minutes:.0f} min"),
            ("farthest from take-off", f"{self.farthest_m:.0f} m"),
        ]  # fmt: skip


def fly(
    gear: Gear,
    stations: Stations,
    plane: Plane,
    ground: Callable[[np.ndarray], np.ndarray],
    settings: AreaSettings,
) -> Flight:
    """The flight of stations on a plane. ground: heights of it, (n, 2) -> (n,). Raises InputError where a battery
    does not last, or photos come faster than the camera writes them."""
    assert gear.drone is not None
    drone = gear.drone
    centers = stations.centers
    steps = [float(np.linalg.norm(centers[j] - centers[i])) for i, j in stations.neighbours()]
    interval = float(np.median(steps)) if steps else 0.0
    speed = _speed(drone, min(steps) if steps else math.inf, settings.speed_m_s, gear.name)
    assert settings.home is not None
    place = settings.home
    home_xy = plane.from_degrees(np.array(place[:1]), np.array(place[1:]))[0]
    lines = [np.flatnonzero(stations.strip == s) for s in np.unique(stations.strip)]

    def waypoints_of(sortie: list[np.ndarray]) -> list[Waypoint]:
        flown = [w for line in sortie for w in _waypoints(line, stations, plane, speed, settings.every_photo)]
        return _short_legs(flown, plane)

    most = settings.max_waypoints or drone.max_waypoints or math.inf
    sorties = _sorties(
        lines, centers, home_xy, drone, lambda s: _seconds(s, centers, home_xy, speed, settings.every_photo),
        lambda s: len(waypoints_of(s)) <= most,
    )  # fmt: skip
    missions, seconds, length = [], [], 0.0
    for number, sortie in enumerate(sorties, 1):
        missions.append(
            Mission(
                name=f"flight {number} of {len(sorties)}",
                home=(float(place[0]), float(place[1]), plane.height),
                waypoints=tuple(waypoints_of(sortie)),
                interval_m=0.0 if settings.every_photo else interval,
                speed_m_s=speed,
                safe_height_m=max(20.0, float(centers[np.concatenate(sortie), 2].max())),
                wpml=drone.wpml,
            )
        )
        seconds.append(_seconds(sortie, centers, home_xy, speed, settings.every_photo))
        length += _length(sortie, centers, home_xy)
    return Flight(
        tuple(missions), tuple(seconds), speed, interval, interval / speed, length,
        float((centers[:, 2] - ground(centers[:, :2])).max()),
        float(np.linalg.norm(centers[:, :2] - home_xy, axis=1).max()),
        drone.minutes, tuple(sum(len(line) for line in sortie) for sortie in sorties),
    )  # fmt: skip


def _speed(drone: Drone, step: float, wanted: float | None, name: str) -> float:
    most = min(drone.max_speed_m_s, step / drone.interval_s if math.isfinite(step) else drone.max_speed_m_s)
    if wanted is None:
        return max(math.floor(10 * most) / 10, 0.1)
    if not 0 < wanted <= drone.max_speed_m_s:
        raise InputError(f"{name} cannot fly {wanted:g} m/s", f"{drone.max_speed_m_s:g} m/s is the most planned", "")
    if wanted > most:
        raise InputError(
            f"at {wanted:g} m/s photos would come every {step / wanted:.2g} s",
            f"{name} writes one in {drone.interval_s:g} s",
            f"fly at most {most:.1f} m/s, or ask for less overlap",
        )
    return wanted


def _length(sortie: list[np.ndarray], centers: np.ndarray, home: np.ndarray) -> float:
    path = centers[np.concatenate(sortie)]
    legs = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    return float(legs + np.linalg.norm(path[0, :2] - home) + np.linalg.norm(path[-1, :2] - home))


def _seconds(sortie: list[np.ndarray], centers: np.ndarray, home: np.ndarray, speed: float, every: bool) -> float:
    path = centers[np.concatenate(sortie)]
    num_stops = len(path) if every else 2 * len(sortie)
    stop = speed / ACCELERATION_M_S2 + (PHOTO_STOP_S if every else 0.0)  # lost by one full stop
    up = max(float(path[0, 2]), 0.0) / CLIMB_M_S + max(float(path[-1, 2]), 0.0) / CLIMB_M_S
    return _length(sortie, centers, home) / speed + num_stops * stop + up + 30  # 30 s to start and land


def _sorties(
    lines: list[np.ndarray],
    centers: np.ndarray,
    home: np.ndarray,
    drone: Drone,
    seconds: Callable[[list[np.ndarray]], float],
    fits: Callable[[list[np.ndarray]], bool],
) -> list[list[np.ndarray]]:
    """Lines dealt out to flights that a battery lasts for (`seconds`) and a file may hold (`fits`); a line that is too
    long for one is cut."""
    waiting, sorties, now = list(lines), [], []
    while waiting:
        line = waiting.pop(0)
        if seconds([*now, line]) <= drone.minutes * 60 and fits([*now, line]):
            now.append(line)
        elif now:
            sorties.append(now)
            now, waiting = [], [line, *waiting]
        elif len(line) > 3:
            waiting = [line[: len(line) // 2], line[len(line) // 2 :], *waiting]
        elif not fits([line]):
            raise InputError(
                "no flight has so few waypoints", f"a line of {len(line)} photos needs more", "allow at least 10"
            )
        else:
            raise InputError(
                "a battery does not last to the area and back",
                f"the nearest line is {np.linalg.norm(centers[line[0], :2] - home):.0f} m from take-off, "
                f"and one battery flies {drone.minutes:g} min",
                "take off nearer (--home)",
            )
    return [*sorties, now] if now else sorties


def _waypoints(line: np.ndarray, stations: Stations, plane: Plane, speed: float, every: bool) -> list[Waypoint]:
    centers, look = stations.centers[line], stations.directions[line]
    up = -stations.cam_from_world[line, 1, :3]  # the picture's top
    degrees = plane.to_degrees(centers[:, :2])
    out = []
    for k in range(len(line)):
        flat = look[k, :2] if float(np.linalg.norm(look[k, :2])) > 1e-3 else up[k, :2]
        pitch = math.degrees(math.asin(float(np.clip(look[k, 2], -1, 1))))
        out.append(
            Waypoint(
                float(degrees[k, 0]), float(degrees[k, 1]), float(centers[k, 2]), course_deg(flat), pitch, speed,
                photo="once",
            )
        )  # fmt: skip
    turns = np.ptp(np.unwrap(np.radians([w.heading_deg for w in out]))) > math.radians(1)
    if every or turns or len(out) < 2:  # a camera that turns along the way has a waypoint for each photo
        return out
    kept = _bends(centers)
    ends = (kept[0], kept[-1])
    return [
        replace(out[k], stops=k in ends, photo="start" if k == ends[0] else "stop" if k == ends[1] else "")
        for k in kept
    ]


def _bends(path: np.ndarray) -> list[int]:
    """Points of a line (n, 3) that are enough for its heights."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path[:, :2], axis=0), axis=1))])

    def off(a: int, b: int) -> np.ndarray:
        between = np.interp(along[a + 1 : b], along[[a, b]], path[[a, b], 2])
        return np.abs(path[a + 1 : b, 2] - between)

    return bends(len(path), off, HEIGHT_TOLERANCE_M)


def _short_legs(waypoints: list[Waypoint], plane: Plane) -> list[Waypoint]:
    """No leg longer than what flight controllers take."""
    out: list[Waypoint] = []
    for w in waypoints:
        if out:
            a = out[-1]
            ends = plane.from_degrees(np.array([a.latitude, w.latitude]), np.array([a.longitude, w.longitude]))
            pieces = math.ceil(float(np.linalg.norm(ends[1] - ends[0])) / LONGEST_LEG_M)
            for k in range(1, pieces):
                t = k / pieces
                place = plane.to_degrees((ends[0] + t * (ends[1] - ends[0]))[None])[0]
                height = a.height_m + t * (w.height_m - a.height_m)
                out.append(
                    replace(
                        a, latitude=float(place[0]), longitude=float(place[1]), height_m=height, stops=False, photo=""
                    )
                )
        out.append(w)
    return out
