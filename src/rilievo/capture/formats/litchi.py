"""Litchi's table of waypoints.

Rules: Litchi Mission Hub exports as described at https://www.litchiutilities.com/docs/litchiCsv.php (columns, ranges)
and the limits of DJI's SDK that Litchi names (https://forum.flylitchi.com/t/903): heights -200 to 500 m, 0.6 to 1999 m
between waypoints, 15 actions each. Heading mode, finish action and cruising speed are not in the file: set "Custom" and
"Straight lines" after the import. Heights are above take-off.
"""

from __future__ import annotations

import csv
import io
import math
from itertools import pairwise

from rilievo.capture.flight import Mission, Waypoint

_ACTIONS = [f"{kind}{k}" for k in range(1, 16) for kind in ("actiontype", "actionparam")]
COLUMNS = [
    "latitude", "longitude", "altitude(m)", "heading(deg)", "curvesize(m)", "rotationdir", "gimbalmode",
    "gimbalpitchangle", *_ACTIONS, "altitudemode", "speed(m/s)", "poi_latitude", "poi_longitude", "poi_altitude(m)",
    "poi_altitudemode", "photo_timeinterval", "photo_distinterval",
]  # fmt: skip
_NONE, _STAY, _PHOTO = -1, 0, 1  # actiontype
_INTERPOLATE = 2  # gimbalmode
_SETTLE_MS = 1000


def write(mission: Mission) -> bytes:
    """The table."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    on = False
    for w in mission.waypoints:
        # a photo of its own needs the drone to stand; at intervals it flies through
        actions = [(_STAY, _SETTLE_MS), (_PHOTO, 0)] if w.photo == "once" else []
        on = w.photo == "start" or (on and w.photo != "stop")
        flat = [v for action in actions for v in action] + [_NONE, 0] * (15 - len(actions))
        writer.writerow(
            [f"{w.latitude:.9f}", f"{w.longitude:.9f}", f"{w.height_m:.3f}", f"{w.heading_deg % 360:.2f}", 0, 0,
             _INTERPOLATE, f"{w.pitch_deg:.2f}", *flat, 0, f"{w.speed_m_s:.2f}", 0, 0, 0, 0, -1,
             f"{mission.interval_m:.2f}" if on else -1]
        )  # fmt: skip
    return out.getvalue().encode()


def _rows(raw: bytes) -> list[dict[str, float]]:
    rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"))))
    if not rows or not {"latitude", "longitude", "altitude(m)"} <= set(rows[0]):
        raise ValueError("it has no waypoints, or not Litchi's columns in metres")
    return [{k: float(v) for k, v in row.items() if k and v not in (None, "")} for row in rows]


def read(raw: bytes) -> Mission:
    """The mission. Raises ValueError."""
    waypoints, interval, on = [], 0.0, False
    for row in _rows(raw):
        step = row.get("photo_distinterval", -1.0)
        once = any(row.get(f"actiontype{k}", _NONE) == _PHOTO for k in range(1, 16))
        photo = "once" if once else "start" if step > 0 and not on else "stop" if step <= 0 and on else ""
        interval, on = (step, True) if step > 0 else (interval, False)
        waypoints.append(
            Waypoint(
                row["latitude"], row["longitude"], row["altitude(m)"], row.get("heading(deg)", 0.0),
                row.get("gimbalpitchangle", 0.0), row.get("speed(m/s)", 0.0), photo != "", photo,
            )
        )  # fmt: skip
    return Mission("", (0.0, 0.0, 0.0), tuple(waypoints), interval, waypoints[0].speed_m_s, 0.0)


def faults(raw: bytes) -> list[str]:
    """Where the table breaks the published ranges."""
    try:
        rows = _rows(raw)
        header = raw.decode("utf-8-sig").splitlines()[0].split(",")
    except ValueError as error:
        return [str(error)]
    found = [] if header == COLUMNS else ["the columns are not Litchi's"]
    ranges = {
        "latitude": (-90, 90), "longitude": (-180, 180), "altitude(m)": (-200, 500), "heading(deg)": (0, 360),
        "gimbalpitchangle": (-90, 60), "speed(m/s)": (0, 15), "gimbalmode": (0, 2), "rotationdir": (0, 1),
        "altitudemode": (0, 1), "curvesize(m)": (0, 1000), "photo_timeinterval": (-1, 65535),
        "photo_distinterval": (-1, 65535),
    }  # fmt: skip
    for k, row in enumerate(rows):
        for name, (low, high) in ranges.items():
            if not low <= row.get(name, math.nan) <= high:
                found.append(f"row {k + 1}: {name} is {row.get(name)}, not within {low} to {high}")
        if any(not -1 <= row[f"actiontype{n}"] <= 5 for n in range(1, 16)):
            found.append(f"row {k + 1}: an unknown action")
    for k, (a, b) in enumerate(pairwise(rows)):
        away = _distance(a, b)
        if not 0.6 <= away <= 1999:
            found.append(f"rows {k + 1} and {k + 2} are {away:.1f} m apart, not 0.6 to 1999")
    return found


def _distance(a: dict[str, float], b: dict[str, float]) -> float:
    north = math.radians(b["latitude"] - a["latitude"]) * 6_371_000
    east = math.radians(b["longitude"] - a["longitude"]) * 6_371_000 * math.cos(math.radians(a["latitude"]))
    return math.sqrt(north**2 + east**2 + (b["altitude(m)"] - a["altitude(m)"]) ** 2)
