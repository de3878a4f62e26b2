"""A mission as a table of comma-separated values, RFC 4180: one row a waypoint, home in the first."""

from __future__ import annotations

import csv
import io

from rilievo.capture.flight import Mission, Waypoint

COLUMNS = [
    "kind", "latitude_deg", "longitude_deg", "height_m", "heading_deg", "pitch_deg", "speed_m_s", "stops", "photo",
    "interval_m",
]  # fmt: skip


def row_of(mission: Mission, w: Waypoint) -> dict[str, object]:
    """A waypoint's values, rounded as files have them."""
    return {
        "kind": "waypoint",
        "latitude_deg": round(w.latitude, 9),
        "longitude_deg": round(w.longitude, 9),
        "height_m": round(w.height_m, 4),
        "heading_deg": round(w.heading_deg, 4),
        "pitch_deg": round(w.pitch_deg, 4),
        "speed_m_s": round(w.speed_m_s, 4),
        "stops": int(w.stops),
        "photo": w.photo,
        "interval_m": round(mission.interval_m, 4) if w.photo == "start" else 0,
    }


def waypoint_of(row: dict[str, str]) -> Waypoint:
    """A waypoint from its values. Raises ValueError and KeyError."""
    photo = row["photo"] or ""
    if photo not in ("", "once", "start", "stop"):
        raise ValueError(f"photo is {photo!r}")
    return Waypoint(
        float(row["latitude_deg"]), float(row["longitude_deg"]), float(row["height_m"]), float(row["heading_deg"]),
        float(row["pitch_deg"]), float(row["speed_m_s"]), row["stops"] == "1", photo,
    )  # fmt: skip


def mission_from(rows: list[dict[str, str]], home: tuple[float, float, float], safe: float) -> Mission:
    """A mission from rows of waypoints. Raises ValueError."""
    if not rows:
        raise ValueError("there is no waypoint")
    waypoints = tuple(waypoint_of(row) for row in rows)
    if any(not (abs(w.latitude) <= 90 and abs(w.longitude) <= 180) for w in waypoints):
        raise ValueError("a waypoint is no place on earth")
    interval = max((float(row["interval_m"] or 0) for row in rows), default=0.0)
    return Mission("", home, waypoints, interval, waypoints[0].speed_m_s, safe)


def write(mission: Mission) -> bytes:
    """The table; the row "home" has take-off's height above sea level, and the safe height as its interval."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    home = dict(zip(COLUMNS[1:4], (round(mission.home[0], 9), round(mission.home[1], 9), round(mission.home[2], 3))))
    writer.writerow({"kind": "home", **home, "interval_m": round(mission.safe_height_m, 4)})
    for w in mission.waypoints:
        writer.writerow(row_of(mission, w))
    return out.getvalue().encode()


def _rows(raw: bytes) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline=""))
    if reader.fieldnames is None or list(reader.fieldnames) != COLUMNS:
        raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
    return list(reader)


def read(raw: bytes) -> Mission:
    """The mission. Raises ValueError."""
    rows = _rows(raw)
    first = next((row for row in rows if row["kind"] == "home"), None)
    if first is None:
        raise ValueError("it has no row 'home'")
    home = (float(first["latitude_deg"]), float(first["longitude_deg"]), float(first["height_m"]))
    return mission_from([row for row in rows if row["kind"] == "waypoint"], home, float(first["interval_m"]))


def faults(raw: bytes) -> list[str]:
    """Where the table cannot be read."""
    try:
        read(raw)
    except (ValueError, KeyError, TypeError) as error:
        return [str(error)]
    return [] if b"\r\n" in raw else ["rows do not end with CRLF"]
