"""Outlines of areas, courses and walls: polygons and lines from GeoJSON, KML and KMZ, and lines that sweep areas."""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from rilievo.errors import InputError
from rilievo.io.files import read_bytes

_HINT = "draw one polygon, e.g. in geojson.io or Google Earth, and save it as GeoJSON or KML"
_MAX_BYTES = 64 << 20


def read_outline(path: Path) -> tuple[np.ndarray, list[str]]:
    """The polygon of a file: latitude, longitude (n, 2), not closed; notes about what was left out. Raises InputError
    where there is none, several, or one that makes no area."""
    rings, courses = _shapes(path)
    if len(rings) != 1:
        why = "it has no polygon" if not rings else f"it has {len(rings)} polygons"
        hint = "along a line: --pattern corridor --width 60m" if courses and not rings else _HINT
        raise InputError(f"{path} does not hold one outline", why, hint)
    ring, num_holes = rings[0]
    notes = [f"{num_holes} holes of the outline are flown over, too"] if num_holes else []
    return check_outline(ring, str(path)), notes


def read_course(path: Path) -> np.ndarray:
    """The line of a file: latitude, longitude (n, 2), in the order in which it was drawn. Raises InputError where there
    is none or several."""
    rings, courses = _shapes(path)
    if len(courses) != 1:
        why = f"it has {len(courses)} lines" if courses else "it has a polygon" if rings else "it has no line"
        raise InputError(f"{path} does not hold one line", why, "draw one line, and save it as GeoJSON or KML")
    return check_course(courses[0], str(path))


def read_walls(path: Path) -> tuple[np.ndarray, bool]:
    """The foot of walls: a line, or the outline of a building: latitude, longitude (n, 2), not closed, and whether it
    is an outline. Raises InputError."""
    rings, courses = _shapes(path)
    if len(rings) + len(courses) != 1:
        raise InputError(
            f"{path} does not hold one line or outline",
            f"it has {len(courses)} lines and {len(rings)} polygons",
            "draw the foot of the wall as one line, or the building as one polygon",
        )
    if courses:
        return check_course(courses[0], str(path)), False
    return check_outline(rings[0][0], str(path)), True


def _shapes(path: Path) -> tuple[list[tuple[np.ndarray, int]], list[np.ndarray]]:
    """Polygons (and their numbers of holes) and lines of a file."""
    raw = read_bytes(path)
    if len(raw) > _MAX_BYTES:
        raise InputError(f"{path} is too large for an outline", f"{len(raw) >> 20} MiB", _HINT)
    try:
        if raw[:2] == b"PK":
            raw = _kmz(raw, path)
        return _kml_shapes(raw) if raw.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<" else _geojson_shapes(raw)
    except (ValueError, KeyError, TypeError, IndexError, ElementTree.ParseError, zipfile.BadZipFile, OSError) as error:
        raise InputError(
            f"cannot read an outline from {path}", f"it is damaged or of another kind ({error})", _HINT
        ) from error


def check_course(course: np.ndarray, name: str = "the line") -> np.ndarray:
    """Latitude, longitude (n, 2) of a line without repeated points. Raises InputError for what is none on earth."""
    course = _on_earth(course, name)
    if len(course) < 2:
        raise InputError(f"{name} has fewer than two points", f"{len(course)} are different", "draw it again")
    return course


def check_outline(ring: np.ndarray, name: str = "the outline") -> np.ndarray:
    """Latitude, longitude (n, 2) without repeated points. Raises InputError for what is no area on earth."""
    ring = _on_earth(ring, name)
    if len(ring) > 1 and (ring[0] == ring[-1]).all():
        ring = ring[:-1]
    if len(ring) < 3:
        raise InputError(f"{name} has fewer than three corners", f"{len(ring)} are different", _HINT)
    if _crosses_itself(ring):
        raise InputError(f"the border of {name} crosses itself", "inside and outside are not clear", _HINT)
    return ring


def _on_earth(ring: np.ndarray, name: str) -> np.ndarray:
    ring = np.asarray(ring, np.float64).reshape(-1, 2)
    if not np.isfinite(ring).all() or (np.abs(ring[:, 0]) > 85).any() or (np.abs(ring[:, 1]) > 180).any():
        raise InputError(
            f"{name} has points that are no latitude and longitude",
            "latitudes up to 85 and longitudes up to 180 degrees can be planned",
            "GeoJSON and KML have longitude first; save the outline in WGS 84, not in a national grid",
        )
    keep = np.ones(len(ring), bool)
    keep[1:] = (np.diff(ring, axis=0) != 0).any(1)
    ring = ring[keep]
    if not len(ring):
        return ring
    if np.ptp(ring[:, 1]) > 180:
        raise InputError(f"{name} crosses the 180th meridian", "that is not supported", "plan both sides apart")
    if np.ptp(ring[:, 0]) > 0.5 or np.ptp(ring[:, 1]) * math.cos(math.radians(ring[0, 0])) > 0.5:
        raise InputError(
            f"{name} is more than 50 km long", "no drone flies that", "is it latitude, longitude in degrees?"
        )
    return ring


def _crosses_itself(ring: np.ndarray) -> bool:
    a, b = ring, np.roll(ring, -1, 0)
    n = len(ring)

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        return np.sign(
            (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])
        )

    for i in range(n):
        j = np.arange(i + 2, n - (i == 0))
        if (
            len(j)
            and (
                (side(a[i], b[i], a[j]) * side(a[i], b[i], b[j]) < 0)
                & (side(a[j], b[j], a[i]) * side(a[j], b[j], b[i]) < 0)
            ).any()
        ):
            return True
    return False


def _geojson_shapes(raw: bytes) -> tuple[list[tuple[np.ndarray, int]], list[np.ndarray]]:
    found: list[tuple[np.ndarray, int]] = []
    courses: list[np.ndarray] = []

    def look(value: Any) -> None:
        if not isinstance(value, dict):
            raise ValueError("not GeoJSON")
        kind = value["type"]
        if kind == "FeatureCollection":
            for feature in value["features"]:
                look(feature)
        elif kind == "Feature":
            if value.get("geometry"):
                look(value["geometry"])
        elif kind == "GeometryCollection":
            for geometry in value["geometries"]:
                look(geometry)
        elif kind in ("Polygon", "MultiPolygon"):
            for rings in [value["coordinates"]] if kind == "Polygon" else value["coordinates"]:
                points = np.array([[float(p[1]), float(p[0])] for p in rings[0]])
                found.append((points, len(rings) - 1))
        elif kind in ("LineString", "MultiLineString"):
            for line in [value["coordinates"]] if kind == "LineString" else value["coordinates"]:
                courses.append(np.array([[float(p[1]), float(p[0])] for p in line]))

    look(json.loads(raw.decode("utf-8-sig")))
    return found, courses


def _kmz(raw: bytes, path: Path) -> bytes:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = [n for n in archive.namelist() if n.lower().endswith(".kml")]
        if not names:
            raise ValueError("the archive has no .kml")
        name = "doc.kml" if "doc.kml" in names else names[0]
        if archive.getinfo(name).file_size > _MAX_BYTES:
            raise InputError(f"{path} is too large for an outline", "its .kml unpacks to more than 64 MiB", _HINT)
        return archive.read(name)


def parse_xml(raw: bytes) -> ElementTree.Element:
    """The root of an XML file. A document type is refused: outlines and missions need none, and entities can be made to
    grow without end. Raises ValueError."""
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
        raise ValueError("it declares a document type")
    return ElementTree.fromstring(raw)


def _kml_shapes(raw: bytes) -> tuple[list[tuple[np.ndarray, int]], list[np.ndarray]]:
    root = parse_xml(raw)
    found, courses = [], []
    for polygon in root.iter():
        if polygon.tag.rpartition("}")[2] == "LineString":
            text = "".join(c.text or "" for c in polygon.iter() if c.tag.rpartition("}")[2] == "coordinates")
            courses.append(_kml_points(text))
        if polygon.tag.rpartition("}")[2] != "Polygon":
            continue
        rings = {"outerBoundaryIs": [], "innerBoundaryIs": []}
        for child in polygon:
            name = child.tag.rpartition("}")[2]
            if name in rings:
                rings[name] += [c.text or "" for c in child.iter() if c.tag.rpartition("}")[2] == "coordinates"]
        if len(rings["outerBoundaryIs"]) != 1:
            raise ValueError("a polygon without an outer boundary")
        found.append((_kml_points(rings["outerBoundaryIs"][0]), len(rings["innerBoundaryIs"])))
    return found, courses


def _kml_points(text: str) -> np.ndarray:
    points = [tuple(float(v) for v in p.split(",")[:2]) for p in text.split()]
    return np.array([[lat, lon] for lon, lat in points])


# --- sweeping ---------------------------------------------------------------------------------------------------------


def area(xy: np.ndarray) -> float:
    """Area of a polygon (n, 2)."""
    x, y = xy[:, 0] - xy[0, 0], xy[:, 1] - xy[0, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def inside(xy: np.ndarray, points: np.ndarray) -> np.ndarray:
    """True where points (m, 2) lie inside a polygon (n, 2)."""
    hit = np.zeros(len(points), bool)
    for a, b in zip(xy, np.roll(xy, -1, 0)):
        between = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            at = a[0] + (points[:, 1] - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
        hit ^= between & (points[:, 0] < at)
    return hit


def best_angle(xy: np.ndarray) -> float:
    """Direction of lines, radians from x, across which the polygon is narrowest: the fewest lines, the fewest turns."""
    from scipy.spatial import ConvexHull

    hull = xy[ConvexHull(xy).vertices]
    edges = np.roll(hull, -1, 0) - hull
    angles = np.arctan2(edges[:, 1], edges[:, 0]) % math.pi
    across = np.stack([-np.sin(angles), np.cos(angles)], -1) @ hull.T
    width = np.ptp(across, axis=1)
    least = width <= width.min() * (1 + 1e-9)
    return float(angles[least].min())


def sweep(xy: np.ndarray, angle: float, gap: float, step: float, margin: tuple[float, float]) -> list[np.ndarray]:
    """Lines over a polygon (n, 2) in a direction (radians): points (k, 2) of each, `step` apart, lines at most `gap`
    apart, back and forth. margin: how far they go beyond the polygon, along and across the lines.
    """
    c, s = math.cos(angle), math.sin(angle)
    turned = xy @ np.array([[c, -s], [s, c]])
    low, high = turned[:, 1].min() - margin[1], turned[:, 1].max() + margin[1]
    num = math.ceil((high - low) / gap - 1e-9) + 1
    lines = []
    for k, v in enumerate(np.linspace(low, high, num)):
        u = _reach(turned, v - margin[1] - gap / 2, v + margin[1] + gap / 2)
        if u is None:
            continue
        start, end = u[0] - margin[0], u[1] + margin[0]
        count = math.ceil((end - start) / step - 1e-9) + 1
        middle = (start + end) / 2
        us = middle + step * (np.arange(count) - (count - 1) / 2)
        line = np.stack([us, np.full(count, v)], -1) @ np.array([[c, s], [-s, c]])
        lines.append(line if k % 2 == 0 else line[::-1])
    return lines


def middle_line(xy: np.ndarray, angle: float, step: float, margin: tuple[float, float]) -> np.ndarray:
    """Points (k, 2) of the one line that crosses the middle of a polygon in a direction; otherwise as `sweep`."""
    c, s = math.cos(angle), math.sin(angle)
    v = (xy @ np.array([[c, -s], [s, c]]))[:, 1]
    gap = float(np.ptp(v)) + 2 * margin[1]
    lines = sweep(xy, angle, gap / 2, step, margin)
    return lines[len(lines) // 2]


def _reach(turned: np.ndarray, low: float, high: float) -> tuple[float, float] | None:
    """From where to where the part of a polygon with low <= v <= high reaches along u."""
    us = [p[0] for p in turned if low <= p[1] <= high]
    for a, b in zip(turned, np.roll(turned, -1, 0)):
        for v in (low, high):
            if (a[1] - v) * (b[1] - v) < 0:
                us.append(a[0] + (v - a[1]) / (b[1] - a[1]) * (b[0] - a[0]))
    return (float(min(us)), float(max(us))) if us else None
