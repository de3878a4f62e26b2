"""QGroundControl's .plan files, with simple items only.

Rules: QGroundControl Developer Guide, "Plan File Format": fileType "Plan", version 1; mission version 2; SimpleItems,
https://docs.qgroundcontrol.com/master/en/qgc-dev-guide/file_formats/plan.html.
"""

from __future__ import annotations

import json
import math
from typing import Any

from rilievo.capture.flight import Mission
from rilievo.capture.formats import mavlink
from rilievo.capture.formats.mavlink import Item

PX4, QUADROTOR = 12, 2  # MAV_AUTOPILOT, MAV_TYPE
_MISSION_KEYS = (
    "version", "firmwareType", "globalPlanAltitudeMode", "vehicleType", "cruiseSpeed", "hoverSpeed", "items",
    "plannedHomePosition",
)  # fmt: skip


def write(mission: Mission) -> bytes:
    """The plan as JSON."""
    items = []
    for number, item in enumerate(mavlink.items_of(mission, mavlink.CAPTURE), 1):
        entry: dict[str, Any] = {
            "autoContinue": True,
            "command": item.command,
            "doJumpId": number,
            "frame": item.frame,
            "params": [_value(v, k in (4, 5)) for k, v in enumerate(item.params)],
            "type": "SimpleItem",
        }
        if item.command in mavlink.PLACED:
            entry |= {"AMSLAltAboveTerrain": None, "Altitude": _value(item.params[6]), "AltitudeMode": 1}
        items.append(entry)
    plan = {
        "fileType": "Plan",
        "geoFence": {"circles": [], "polygons": [], "version": 2},
        "groundStation": "QGroundControl",
        "mission": {
            "cruiseSpeed": mission.speed_m_s,
            "firmwareType": PX4,
            "globalPlanAltitudeMode": 1,
            "hoverSpeed": mission.speed_m_s,
            "items": items,
            "plannedHomePosition": [round(mission.home[0], 9), round(mission.home[1], 9), round(mission.home[2], 3)],
            "vehicleType": QUADROTOR,
            "version": 2,
        },
        "rallyPoints": {"points": [], "version": 2},
        "version": 1,
    }
    return json.dumps(plan, indent=4, allow_nan=False).encode() + b"\n"


def _value(value: float, place: bool = False) -> float | int | None:
    if math.isnan(value):
        return None
    value = round(value, 9 if place else 4)
    return int(value) if value == int(value) else value


def _items(mission: dict[str, Any]) -> list[Item]:
    out = []
    for item in mission["items"]:
        if item["type"] != "SimpleItem":
            raise ValueError(f"a {item['type']} cannot be read")
        params = tuple(math.nan if v is None else float(v) for v in item["params"])
        out.append(Item(int(item["command"]), int(item["frame"]), params))
    return out


def read(raw: bytes) -> Mission:
    """The mission of a plan of simple items. Raises ValueError."""
    plan = json.loads(raw.decode("utf-8-sig"))
    if not isinstance(plan, dict) or plan.get("fileType") != "Plan":
        raise ValueError("it is no QGroundControl plan")
    home = plan["mission"]["plannedHomePosition"]
    return mavlink.mission_of(_items(plan["mission"]), (float(home[0]), float(home[1]), float(home[2])))


def faults(raw: bytes) -> list[str]:
    """Where the file breaks the published format."""
    try:
        plan = json.loads(raw)
        mission = plan["mission"]
        items = mission["items"]
        found = [f"mission has no {key}" for key in _MISSION_KEYS if key not in mission]
        if plan["fileType"] != "Plan" or plan["version"] != 1 or mission["version"] != 2:
            found.append("wrong kind or version")
        if not isinstance(plan["groundStation"], str) or len(mission["plannedHomePosition"]) != 3:
            found.append("no ground station or home")
        if [item["doJumpId"] for item in items] != list(range(1, len(items) + 1)):
            found.append("items do not count from 1")
        for part in ("geoFence", "rallyPoints"):
            if part in plan and plan[part]["version"] != 2:
                found.append(f"{part} is not of version 2")
        if any(type(item["autoContinue"]) is not bool for item in items):
            found.append("autoContinue is no truth value")
        return found + mavlink.item_faults(_items(mission))
    except (ValueError, KeyError, TypeError) as error:
        return [f"no plan: {error}"]
