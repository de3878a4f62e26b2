"""What the viewer's tools leave behind: scale, up, origin and measures, in project.json of the house.

    frame     {"cameras": id, "scale", "unit", "scale_doubt", "up": [x, y, z], "origin": [x, y, z]}
    measures  {"cameras": id, "origin": [x, y, z], "list": [...]}    points relative to that origin

Both are of the cameras they were set for; after the cameras were computed anew they are kept, but not used. Files keep
nothing: theirs last as long as the viewer.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from rilievo.errors import InputError
from rilievo.view.measures import KINDS, Unit, vector, vectors
from rilievo.view.sources import HouseSource, Source

UNITS = ("m", "cm", "mm", "km", "in", "ft")
MAX_MEASURES = 500
_ALL_KINDS = (*KINDS, "section")


class Saved:
    """Frame and measures of one source. origin: of the scene, to which the page's points are relative."""

    def __init__(self, source: Source, origin: np.ndarray) -> None:
        self.source, self.origin = source, origin
        self._session: dict[str, Any] = {}

    @property
    def kept(self) -> bool:
        """Whether it is saved for good."""
        return isinstance(self.source, HouseSource) and self.source.project is not None

    def _read(self, name: str) -> dict[str, Any]:
        document = self.source.read_saved().get(name) if self.kept else self._session.get(name)
        return document if isinstance(document, dict) else {}

    def _write(self, name: str, document: dict[str, Any] | None) -> None:
        if isinstance(self.source, HouseSource) and self.source.project is not None:
            self.source.project.update(**{name: document})
        else:
            self._session[name] = document

    def _cameras(self) -> str:
        return self.source.results().get("cameras", "") if isinstance(self.source, HouseSource) else ""

    def stale(self) -> str | None:
        """Why what was saved is not used; None when it is."""
        for name in ("frame", "measures"):
            document = self._read(name)
            if document and document.get("cameras", "") != self._cameras():
                return f"the cameras were computed anew since: the {name} of the older ones is not used"
        return None

    def frame(self) -> dict[str, Any]:
        """The frame in use; empty without one."""
        document = self._read("frame")
        return document if document.get("cameras", "") == self._cameras() else {}

    def shown(self) -> dict[str, Any]:
        """The manifest's `saved`: the origin relative to the scene's."""
        frame = self.frame()
        origin = frame.get("origin")
        return {
            "scale": frame.get("scale", 1.0),
            "unit": self.unit().name,
            "up": frame.get("up"),
            "origin": None if origin is None else (np.array(origin) - self.origin).tolist(),
            "stale": self.stale(),
        }

    def unit(self) -> Unit:
        """How lengths are told."""
        frame = self.frame()
        if "scale" in frame:
            return Unit(float(frame["scale"]), str(frame["unit"]), frame.get("scale_doubt"))
        return Unit(1.0, self.source.unit, None)

    def up(self) -> np.ndarray:
        """Unit vector (3,)."""
        up = self.frame().get("up")
        return np.asarray(self.source.up if up is None else up, np.float64)

    def change(self, **changes: Any) -> None:
        """Some entries of the frame; None takes one out."""
        frame = {k: v for k, v in {**self.frame(), **changes}.items() if v is not None}
        frame.pop("cameras", None)
        self._write("frame", {"cameras": self._cameras(), **frame} if frame else None)

    def set_scale(self, body: Mapping[str, Any], measured: float, sigma: float | None) -> None:
        """A length that is known: `length`, `unit`, `sigma` (of the length, may be missing) of a distance that measures
        so much in the scene. Raises InputError."""
        length, doubt = number(body, "length"), number(body, "sigma", 0.0)
        unit = body.get("unit", "m")
        if unit not in UNITS:
            raise InputError("the unit is not known", f"{str(unit)[:20]!r}", f"use one of {', '.join(UNITS)}")
        if not length > 1e-9 or not measured > 1e-9 or doubt < 0:
            raise InputError(
                "the scale cannot be set", "a length of zero or below has no scale", "pick two places further apart"
            )
        relative = math.hypot(doubt / length, (sigma or 0.0) / measured)
        self.change(scale=length / measured, unit=unit, scale_doubt=relative)

    def set_up(self, value: Any) -> None:
        """`up`, of any length but zero; None takes it out. Raises InputError."""
        up = None if value is None else vector(value, "up")
        if up is not None:
            length = float(np.linalg.norm(up))
            if not length > 1e-12:
                raise InputError("up has no direction", "its length is zero", "")
            up = (up / length).tolist()
        self.change(up=up)

    def set_origin(self, value: Any) -> None:
        """A point of the scene; None takes it out. Raises InputError."""
        self.change(origin=None if value is None else (vector(value, "point") + self.origin).tolist())

    # measures

    def measures(self) -> list[dict[str, Any]]:
        """Saved measures, points relative to the scene's origin."""
        document = self._read("measures")
        if document.get("cameras", "") != self._cameras():
            return []
        shift = np.array(document.get("origin", [0, 0, 0]), np.float64) - self.origin
        return [_shifted(m, shift) for m in document.get("list", [])]

    def save_measures(self, value: Any) -> list[dict[str, Any]]:
        """Replaces them. Raises InputError for what is none."""
        if not isinstance(value, list) or len(value) > MAX_MEASURES:
            raise InputError("the measures cannot be saved", f"give a list of at most {MAX_MEASURES}", "")
        kept = [clean(m) for m in value]
        document = {"cameras": self._cameras(), "origin": self.origin.tolist(), "list": kept}
        self._write("measures", document if kept else None)
        return kept


def _shifted(measure: dict[str, Any], shift: np.ndarray) -> dict[str, Any]:
    if not shift.any():
        return measure
    moved = dict(measure)
    if "points" in measure:
        moved["points"] = (np.array(measure["points"], np.float64).reshape(-1, 3) + shift).tolist()
    if "plane" in measure:
        moved["plane"] = {**measure["plane"], "point": (np.array(measure["plane"]["point"]) + shift).tolist()}
    return moved


def clean(measure: Any) -> dict[str, Any]:
    """A measure with the entries that are known, checked. Raises InputError."""
    if not isinstance(measure, dict) or measure.get("kind") not in _ALL_KINDS:
        raise InputError("a measure cannot be read", f"kinds are {', '.join(_ALL_KINDS)}", "")
    kept: dict[str, Any] = {"kind": measure["kind"]}
    for name, longest in (("id", 64), ("name", 200), ("unit", 20), ("text", 200), ("sigma_note", 400), ("layer", 40)):
        if isinstance(measure.get(name), str):
            kept[name] = measure[name][:longest]
    for name in ("value", "sigma", "cut", "fill", "net", "length", "area"):
        value = measure.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e30:
            kept[name] = float(value)
    if isinstance(measure.get("house"), int) and 0 <= measure["house"] < 1000:
        kept["house"] = measure["house"]
    if measure["kind"] == "section":
        kept["plane"] = read_plane(measure.get("plane"))
    else:
        kept["points"] = vectors(measure.get("points"), "points").tolist()
    return kept


def read_plane(value: Any) -> dict[str, list[float]]:
    """{"point", "normal"} with a unit normal. Raises InputError."""
    if not isinstance(value, dict):
        raise InputError("the plane cannot be read", "give its point and its normal", "")
    point, normal = vector(value.get("point"), "the plane's point"), vector(value.get("normal"), "the plane's normal")
    length = float(np.linalg.norm(normal))
    if not length > 1e-12:
        raise InputError("the plane has no direction", "the length of its normal is zero", "")
    return {"point": point.tolist(), "normal": (normal / length).tolist()}


def number(body: Mapping[str, Any], name: str, default: float | None = None) -> float:
    """A number of a document, finite and of a size with sense. Raises InputError."""
    value = body.get(name, default)
    if value is None and default is not None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e12:
        raise InputError(f"{name} is no number", f"got {str(value)[:40]!r}", "")
    return float(value)


def as_json(title: str, unit: Unit, measures: list[dict[str, Any]]) -> bytes:
    """measures.json for people and programs."""
    document = {
        "title": title,
        "unit": unit.name,
        "scale": unit.scale,
        "scale_relative_sigma": unit.doubt,
        "points": "coordinates of the scene, before scale",
        "measures": measures,
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode()


def as_csv(measures: list[dict[str, Any]]) -> bytes:
    """measures.csv: one row a measure. Cells that a spreadsheet would take for a formula get an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["name", "kind", "value", "sigma", "unit", "text", "note", "points"])
    for m in measures:
        points = [m["plane"]["point"], m["plane"]["normal"]] if "plane" in m else m["points"]
        place = "; ".join(" ".join(repr(float(x)) for x in p) for p in points)
        words = [m.get("name", ""), m["kind"], m.get("value"), m.get("sigma"), m.get("unit", ""), m.get("text", "")]
        writer.writerow([_harmless(w) for w in [*words, m.get("sigma_note") or "", place]])
    return ("\ufeff" + out.getvalue()).encode()


def _harmless(cell: Any) -> Any:
    if isinstance(cell, str) and re.match(r"[=+\-@\t\r]", cell) and not re.fullmatch(r"[-+0-9.e; ]+", cell):
        return "'" + cell
    return cell
