"""Missions as files that drones and their apps read, and back.

Each module has `write(mission) -> bytes`, `read(raw) -> Mission` and `faults(raw) -> list[str]`: where a file breaks
the published rules of its format, which the module's first lines name.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rilievo.capture.flight import Mission
from rilievo.errors import InputError
from rilievo.io.files import read_bytes


@dataclass(frozen=True)
class Format:
    """A row of the table. ending: of its files.  module: in this package.  what: for people.  tolerances: how exactly
    the format holds a value, where that is less than a file of numbers holds it."""

    ending: str
    module: str
    what: str
    tolerances: dict[str, float]

    def call(self, name: str, value: Any) -> Any:
        """Calls one of the module's functions."""
        return getattr(importlib.import_module(f"rilievo.capture.formats.{self.module}"), name)(value)


FORMATS: dict[str, Format] = {
    "dji": Format(
        ".kmz", "wpml", "DJI Pilot 2, FlightHub 2, DJI Fly (WPML)", {"heading": 0.5, "angle": 0.05, "metres": 0.005}
    ),
    "qgc": Format(".plan", "qgc", "QGroundControl", {}),
    "ardupilot": Format(".waypoints", "ardupilot", "Mission Planner, ArduPilot (QGC WPL 110)", {}),
    "litchi": Format("-litchi.csv", "litchi", "Litchi", {"metres": 0.005}),
    "kml": Format(".kml", "kml", "Google Earth, Dronelink and others", {}),
    "geojson": Format(".geojson", "geojson", "map programs", {}),
    "csv": Format(".csv", "table", "a table", {}),
}


def write_mission(name: str, mission: Mission) -> bytes:
    """A mission in a format of the table. What was written is read back and compared. Raises InputError where the
    format cannot hold it."""
    row = FORMATS[name]
    raw = row.call("write", mission)
    wrong = [*row.call("faults", raw), *differences(mission, row.call("read", raw), row)]
    if wrong:
        raise InputError(
            f"the flight cannot be written for {row.what}",
            "; ".join(wrong[:3]),
            "plan a smaller part, or use another format (--format)",
        )
    return raw


def read_mission(path: Path, name: str | None = None) -> Mission:
    """A mission from a file, its format by the name's ending. Raises InputError."""
    if name is None:
        lower = path.name.lower()
        named = [n for n, row in FORMATS.items() if lower.endswith(row.ending)]
        # a table may be Litchi's, whatever its name
        name = max(named, key=lambda n: len(FORMATS[n].ending), default=None)
    if name is None:
        raise InputError(f"what kind of mission is {path}?", "its ending is not known", ", ".join(FORMATS))
    try:
        return FORMATS[name].call("read", read_bytes(path))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path} is no mission for {FORMATS[name].what}", str(error)) from error


def differences(a: Mission, b: Mission, row: Format) -> list[str]:
    """Where two missions differ by more than a format's rounding: an empty list where they are the same."""
    metres, heading = row.tolerances.get("metres", 1e-3), row.tolerances.get("heading", 0.01)
    angle, place = row.tolerances.get("angle", 0.01), 2e-8
    found = []
    if len(a.waypoints) != len(b.waypoints):
        return [f"{len(a.waypoints)} waypoints became {len(b.waypoints)}"]
    if abs(a.interval_m - b.interval_m) > 0.01:
        found.append(f"photos every {a.interval_m:g} m became {b.interval_m:g} m")
    for k, (p, q) in enumerate(zip(a.waypoints, b.waypoints)):
        turn = (p.heading_deg - q.heading_deg + 180) % 360 - 180
        if abs(p.latitude - q.latitude) > place or abs(p.longitude - q.longitude) > place:
            found.append(f"waypoint {k} moved")
        if abs(p.height_m - q.height_m) > metres:
            found.append(f"height of waypoint {k}: {p.height_m:g} became {q.height_m:g}")
        if abs(turn) > heading + 1e-9:
            found.append(f"heading of waypoint {k}: {p.heading_deg:g} became {q.heading_deg:g}")
        if abs(p.pitch_deg - q.pitch_deg) > angle:
            found.append(f"pitch of waypoint {k}: {p.pitch_deg:g} became {q.pitch_deg:g}")
        if not math.isclose(p.speed_m_s, q.speed_m_s, abs_tol=0.01):
            found.append(f"speed at waypoint {k}: {p.speed_m_s:g} became {q.speed_m_s:g}")
        if p.photo != q.photo:
            found.append(f"photo at waypoint {k}: {p.photo!r} became {q.photo!r}")
    return found
