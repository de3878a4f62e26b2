"""A mission as GeoJSON: a point for each waypoint and the path as a line.

Rules: RFC 7946: a FeatureCollection, WGS 84, longitude before latitude. Heights are properties: a third coordinate
would be a height above the ellipsoid, which a flight above take-off does not know.
"""

from __future__ import annotations

import json
from typing import Any

from rilievo.capture.flight import Mission
from rilievo.capture.formats import table


def write(mission: Mission) -> bytes:
    """The collection."""
    home = [round(mission.home[1], 9), round(mission.home[0], 9)]
    features: list[dict[str, Any]] = [
        _feature("Point", home, {"kind": "home", "height_m": round(mission.home[2], 3),
                                 "safe_height_m": round(mission.safe_height_m, 4)})
    ]  # fmt: skip
    path = []
    for k, w in enumerate(mission.waypoints):
        values = table.row_of(mission, w)
        place = [values.pop("longitude_deg"), values.pop("latitude_deg")]
        path.append(place)
        features.append(_feature("Point", place, {"index": k, **values}))
    features.append(_feature("LineString", path if len(path) > 1 else path * 2, {"kind": "path", "name": mission.name}))
    return json.dumps({"type": "FeatureCollection", "features": features}, indent=1, allow_nan=False).encode() + b"\n"


def _feature(kind: str, coordinates: Any, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def read(raw: bytes) -> Mission:
    """The mission. Raises ValueError."""
    document = json.loads(raw.decode("utf-8-sig"))
    if not isinstance(document, dict) or document.get("type") != "FeatureCollection":
        raise ValueError("it is no FeatureCollection")
    rows, home, safe = [], (0.0, 0.0, 0.0), 0.0
    for feature in document["features"]:
        values, at = dict(feature["properties"]), feature["geometry"]["coordinates"]
        if values["kind"] == "home":
            home, safe = (float(at[1]), float(at[0]), float(values["height_m"])), float(values["safe_height_m"])
        elif values["kind"] == "waypoint":
            values |= {"longitude_deg": at[0], "latitude_deg": at[1], "stops": str(values["stops"])}
            rows.append((int(values["index"]), values))
    return table.mission_from([row for _, row in sorted(rows, key=lambda r: r[0])], home, safe)


def faults(raw: bytes) -> list[str]:
    """Where the document breaks RFC 7946."""
    try:
        document = json.loads(raw)
        found = [] if document["type"] == "FeatureCollection" else ["no FeatureCollection"]
        if "crs" in document:
            found.append("a reference system is named: the standard has WGS 84 only")
        for k, feature in enumerate(document["features"]):
            if feature["type"] != "Feature" or not isinstance(feature["properties"], dict):
                found.append(f"feature {k} is none")
            geometry = feature["geometry"]
            places = [geometry["coordinates"]] if geometry["type"] == "Point" else geometry["coordinates"]
            if geometry["type"] not in ("Point", "LineString") or (
                geometry["type"] == "LineString" and len(places) < 2
            ):
                found.append(f"feature {k}: a bad {geometry['type']}")
            if any(not 2 <= len(p) <= 3 or abs(p[0]) > 180 or abs(p[1]) > 90 for p in places):
                found.append(f"feature {k}: no place on earth")
        return found
    except (ValueError, KeyError, TypeError) as error:
        return [f"no GeoJSON: {error}"]
