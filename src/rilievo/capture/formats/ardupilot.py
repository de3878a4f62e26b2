"""The text format of waypoints that ArduPilot's ground stations read: "QGC WPL 110".

Rules: MAVLink, "File Formats", mission plain-text format: a first line, then twelve columns between tabs: index,
current, frame, command, param1 to param4, latitude, longitude, height, autocontinue,
https://mavlink.io/en/file_formats/. (The example on that page has latitude and longitude exchanged; its column names
and all programs have latitude first.) Item 0 is home.
"""

from __future__ import annotations

import math

from rilievo.capture.flight import Mission
from rilievo.capture.formats import mavlink
from rilievo.capture.formats.mavlink import Item

_FIRST = "QGC WPL 110"


def write(mission: Mission) -> bytes:
    """The text, lines ended as on Windows, as Mission Planner writes them."""
    home = Item(mavlink.NAV_WAYPOINT, mavlink.GLOBAL, (0.0, 0.0, 0.0, 0.0, *mission.home))
    lines = [_FIRST]
    for k, item in enumerate([home, *mavlink.items_of(mission, mavlink.DIGICAM)]):
        numbers = [0.0 if math.isnan(v) else v for v in item.params]
        params = [f"{v:.8f}" for v in numbers[:4]]
        place = [f"{numbers[4]:.9f}", f"{numbers[5]:.9f}", f"{numbers[6]:.6f}"]
        lines.append("\t".join([str(k), str(int(k == 0)), str(item.frame), str(item.command), *params, *place, "1"]))
    return ("\r\n".join(lines) + "\r\n").encode()


def _rows(raw: bytes) -> list[tuple[int, int, Item, int]]:
    lines = raw.decode("ascii").splitlines()
    if not lines or lines[0].strip() != _FIRST:
        raise ValueError(f"its first line is not {_FIRST!r}")
    out = []
    for line in lines[1:]:
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 12:
            raise ValueError(f"a line has {len(fields)} columns, not 12")
        params = tuple(float(v) for v in fields[4:11])
        out.append((int(fields[0]), int(fields[1]), Item(int(fields[3]), int(fields[2]), params), int(fields[11])))
    return out


def read(raw: bytes) -> Mission:
    """The mission. Raises ValueError."""
    rows = _rows(raw)
    if len(rows) < 2:
        raise ValueError("there is no waypoint")
    home = rows[0][2].params
    return mavlink.mission_of([item for _, _, item, _ in rows[1:]], (home[4], home[5], home[6]))


def faults(raw: bytes) -> list[str]:
    """Where the text breaks the published format."""
    try:
        rows = _rows(raw)
    except (ValueError, UnicodeDecodeError) as error:
        return [str(error)]
    found = []
    if [index for index, *_ in rows] != list(range(len(rows))):
        found.append("items do not count from 0")
    if [current for _, current, *_ in rows] != [1] + [0] * (len(rows) - 1):
        found.append("exactly the first item must be current")
    if any(auto not in (0, 1) for *_, auto in rows):
        found.append("autocontinue is neither 0 nor 1")
    if any(not math.isfinite(v) for _, _, item, _ in rows for v in item.params):
        found.append("a parameter is no number")
    return found + mavlink.item_faults([item for _, _, item, _ in rows])
