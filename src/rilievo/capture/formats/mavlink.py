"""A mission as MAVLink mission items, shared by QGroundControl's plan and the text format of ArduPilot.

Rules: MAVLink common message set, MAV_CMD and MAV_FRAME (https://mavlink.io/en/messages/common.html) and the mission
protocol (https://mavlink.io/en/services/mission.html). What stands between two waypoints is done when the first one is
reached, so gimbal and heading are set before the waypoint they belong to, photos after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rilievo.capture.flight import Mission, Waypoint

NAV_WAYPOINT, RETURN, TAKEOFF, YAW, SPEED, DIGICAM, MOUNT, TRIGGER, CAPTURE = 16, 20, 22, 115, 178, 203, 205, 206, 2000
RELATIVE, MISSION, GLOBAL = 3, 2, 0  # MAV_FRAME
MAV_MOUNT_MODE_MAVLINK_TARGETING = 2
# What is written here and read again; other commands are refused.
KNOWN = {NAV_WAYPOINT, RETURN, TAKEOFF, YAW, SPEED, DIGICAM, MOUNT, TRIGGER, CAPTURE}
PLACED = {NAV_WAYPOINT, TAKEOFF}


@dataclass(frozen=True)
class Item:
    """One mission item: seven parameters, the last three latitude, longitude, height where it is a place."""

    command: int
    frame: int
    params: tuple[float, ...]


def items_of(mission: Mission, photo: int) -> list[Item]:
    """The items of a mission. photo: the command that takes one photo, DIGICAM or CAPTURE."""

    def do(command: int, *params: float) -> Item:
        return Item(command, MISSION, (*params, *(0.0,) * (7 - len(params))))

    out = [Item(TAKEOFF, RELATIVE, (0.0, 0.0, 0.0, math.nan, mission.home[0], mission.home[1], mission.safe_height_m))]
    speed: float | None = None
    for w in mission.waypoints:
        out.append(do(MOUNT, w.pitch_deg, 0.0, 0.0, 0.0, 0.0, 0.0, MAV_MOUNT_MODE_MAVLINK_TARGETING))
        out.append(do(YAW, w.heading_deg, 0.0, 0.0, 0.0))
        if speed != w.speed_m_s:
            out.append(do(SPEED, 1.0, w.speed_m_s, -1.0))
            speed = w.speed_m_s
        # a short stop lets the drone settle and turn; 0 flies through
        hold = 1.0 if w.stops else 0.0
        out.append(Item(NAV_WAYPOINT, RELATIVE, (hold, 0.0, 0.0, w.heading_deg, w.latitude, w.longitude, w.height_m)))
        if w.photo == "once":
            out.append(do(photo, 0.0, 0.0, 1.0, 0.0) if photo == CAPTURE else do(photo, 0.0, 0.0, 0.0, 0.0, 1.0))
        elif w.photo == "start":
            out.append(do(TRIGGER, mission.interval_m, 0.0, 1.0))
        elif w.photo == "stop":
            out.append(do(TRIGGER, 0.0, 0.0, 0.0))
    return [*out, Item(RETURN, MISSION, (0.0,) * 7)]


def mission_of(items: Sequence[Item], home: tuple[float, float, float]) -> Mission:
    """The mission that items describe. Raises ValueError."""
    waypoints: list[Waypoint] = []
    pitch, heading, speed, interval, safe = -90.0, 0.0, 0.0, 0.0, 0.0
    for item in items:
        p = item.params
        if item.command == TAKEOFF:
            safe = p[6]
        elif item.command == MOUNT:
            pitch = p[0]
        elif item.command == YAW:
            heading = p[0]
        elif item.command == SPEED:
            speed = p[1]
        elif item.command == NAV_WAYPOINT:
            waypoints.append(Waypoint(p[4], p[5], p[6], heading, pitch, speed, p[0] > 0))
        elif item.command in (DIGICAM, CAPTURE, TRIGGER):
            if not waypoints:
                raise ValueError("a photo comes before the first waypoint")
            mark = "once" if item.command != TRIGGER else "start" if p[0] > 0 else "stop"
            interval = p[0] if mark == "start" else interval
            last = waypoints[-1]
            waypoints[-1] = Waypoint(
                last.latitude,
                last.longitude,
                last.height_m,
                last.heading_deg,
                last.pitch_deg,
                last.speed_m_s,
                last.stops,
                mark,
            )
        elif item.command != RETURN:
            raise ValueError(f"the command {item.command} is not known")
    if not waypoints:
        raise ValueError("there is no waypoint")
    return Mission("", home, tuple(waypoints), interval, waypoints[0].speed_m_s, safe)


def item_faults(items: Sequence[Item]) -> list[str]:
    """Where items break the rules of their commands."""
    found = []
    for k, item in enumerate(items):
        if item.command not in KNOWN:
            found.append(f"item {k}: unknown command {item.command}")
        if len(item.params) != 7:
            found.append(f"item {k}: {len(item.params)} parameters, not 7")
            continue
        if item.command in PLACED:
            if item.frame not in (GLOBAL, RELATIVE, 10):
                found.append(f"item {k}: a place in frame {item.frame}")
            if not (abs(item.params[4]) <= 90 and abs(item.params[5]) <= 180 and math.isfinite(item.params[6])):
                found.append(f"item {k}: no place on earth")
        if item.command == SPEED and not item.params[1] > 0:
            found.append(f"item {k}: a speed of {item.params[1]}")
        if item.command == YAW and not 0 <= item.params[0] <= 360:
            found.append(f"item {k}: a heading of {item.params[0]}")
        if item.command == TRIGGER and not item.params[0] >= 0:
            found.append(f"item {k}: an interval of {item.params[0]}")
    if not any(item.command == NAV_WAYPOINT for item in items):
        found.append("there is no waypoint")
    return found
