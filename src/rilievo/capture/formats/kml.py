"""A mission as KML: a placemark for each waypoint and the path as a line above the ground.

Rules: OGC KML 2.3 (12-007r2): longitude, latitude, height; altitudeMode relativeToGround, since heights are above
take-off; the order of elements of Placemark (name, styleUrl, ExtendedData, geometry) and of LineString (extrude,
tessellate, altitudeMode, coordinates). Values of a waypoint are in ExtendedData.
"""

from __future__ import annotations

from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from rilievo.capture.flight import Mission
from rilievo.capture.formats import table
from rilievo.capture.outlines import parse_xml

KML = "http://www.opengis.net/kml/2.2"
_K = f"{{{KML}}}"
_MODES = {"clampToGround", "relativeToGround", "absolute"}
_PLACEMARK = ["name", "styleUrl", "ExtendedData", "Point", "LineString"]


def write(mission: Mission) -> bytes:
    """The document."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<kml xmlns="{KML}">',
        "<Document>",
        f"<name>{escape(mission.name or 'flight')}</name>",
        '<Style id="path"><LineStyle><color>ff3d55c8</color><width>2</width></LineStyle></Style>',
        _placemark(
            "home", mission.home[1], mission.home[0], 0.0,
            {"kind": "home", "height_m": round(mission.home[2], 3), "safe_height_m": round(mission.safe_height_m, 4)},
        ),
    ]  # fmt: skip
    path = []
    for k, w in enumerate(mission.waypoints):
        values = table.row_of(mission, w)
        longitude, latitude = values.pop("longitude_deg"), values.pop("latitude_deg")
        path.append(f"{longitude:.9f},{latitude:.9f},{w.height_m:.4f}")
        lines.append(
            _placemark(str(k + 1), float(str(longitude)), float(str(latitude)), w.height_m, {"index": k, **values})
        )
    lines += [
        "<Placemark><name>path</name><styleUrl>#path</styleUrl><LineString><extrude>0</extrude><tessellate>0</tessellate>"
        f"<altitudeMode>relativeToGround</altitudeMode><coordinates>{' '.join(path)}</coordinates></LineString>"
        "</Placemark>",
        "</Document>",
        "</kml>",
    ]
    return ("\n".join(lines) + "\n").encode()


def _placemark(name: str, longitude: float, latitude: float, height: float, values: dict[str, object]) -> str:
    data = "".join(f"<Data name={quoteattr(k)}><value>{escape(str(v))}</value></Data>" for k, v in values.items())
    return (
        f"<Placemark><name>{escape(name)}</name><ExtendedData>{data}</ExtendedData><Point>"
        f"<altitudeMode>relativeToGround</altitudeMode><coordinates>{longitude:.9f},{latitude:.9f},{height:.4f}</coordinates>"
        "</Point></Placemark>"
    )


def read(raw: bytes) -> Mission:
    """The mission. Raises ValueError."""
    try:
        root = parse_xml(raw)
    except ElementTree.ParseError as error:
        raise ValueError(f"it is no XML: {error}") from error
    rows, home, safe = [], (0.0, 0.0, 0.0), 0.0
    for placemark in root.iter(f"{_K}Placemark"):
        values = {d.get("name", ""): d.findtext(f"{_K}value") or "" for d in placemark.iter(f"{_K}Data")}
        place = placemark.findtext(f"{_K}Point/{_K}coordinates")
        if not place or "kind" not in values:
            continue
        longitude, latitude = place.split(",")[:2]
        if values["kind"] == "home":
            home, safe = (float(latitude), float(longitude), float(values["height_m"])), float(values["safe_height_m"])
        else:
            rows.append((int(values["index"]), values | {"longitude_deg": longitude, "latitude_deg": latitude}))
    return table.mission_from([row for _, row in sorted(rows, key=lambda r: r[0])], home, safe)


def faults(raw: bytes) -> list[str]:
    """Where the document breaks the standard."""
    try:
        root = parse_xml(raw)
    except (ValueError, ElementTree.ParseError) as error:
        return [str(error)]
    found = [] if root.tag == f"{_K}kml" and len(root) == 1 else ["the root is not kml with one Document"]
    for element in root.iter():
        name = element.tag.removeprefix(_K)
        if name == "altitudeMode" and element.text not in _MODES:
            found.append(f"altitudeMode is {element.text!r}")
        if name == "coordinates":
            for place in (element.text or "").split():
                numbers = [float(v) for v in place.split(",")]
                if len(numbers) not in (2, 3) or abs(numbers[0]) > 180 or abs(numbers[1]) > 90:
                    found.append(f"no place on earth: {place}")
        if name == "Placemark":
            order = [_PLACEMARK.index(c.tag.removeprefix(_K)) for c in element]
            if order != sorted(order):
                found.append("the parts of a Placemark are out of order")
    return found
