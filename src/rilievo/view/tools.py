"""The page's tools: what a POST asks to be measured, changed or saved."""

from __future__ import annotations

from typing import Any

import numpy as np

from rilievo.errors import InputError
from rilievo.view import measures
from rilievo.view.cuts import section, volume_over
from rilievo.view.saved import Saved, number, read_plane
from rilievo.view.sources import Source
from rilievo.view.surface import Spot, Surface

PLACES = ("pick", "measure", "volume", "section", "measures", "scale", "up", "origin")
_MAX_LINE_POINTS = 200_000


class Tools:
    """Measures on the surfaces of all sources, and what is saved of them."""

    def __init__(self, sources: list[Source], origin: np.ndarray) -> None:
        self.saved = [Saved(s, origin) for s in sources]
        self.surfaces = [Surface(s, origin) for s in sources]

    def post(self, place: str, body: Any) -> dict[str, Any]:
        """The answer's document. Raises InputError for what cannot be measured or read."""
        if not isinstance(body, dict):
            raise InputError("the message cannot be read", "it is no JSON object", "")
        house = body.get("house", 0)
        if isinstance(house, bool) or not isinstance(house, int) or not 0 <= house < len(self.saved):
            raise InputError("there is no such house", f"{len(self.saved)} are shown", "")
        if place == "pick":
            return self._pick(body)
        if place in ("measure", "volume", "section"):
            kind = body.get("kind", place) if place == "measure" else place
            return self._measure({**body, "kind": kind}, house)
        saved = self.saved[house]
        if place == "measures":
            listed = saved.save_measures(body.get("list"))
            return {"saved": saved.kept, "measures": listed}
        if place == "scale":
            self._scale(body, saved, house)
        elif place == "up":
            saved.set_up(body.get("up"))
        else:
            saved.set_origin(body.get("point"))
        return {"saved": saved.kept, "frame": saved.shown()}

    # the surface

    def _spots(self, points: np.ndarray, house: int | None) -> list[Spot | None]:
        """The nearest surface of a house, of all houses without one; None where there is none."""
        best: list[Spot | None] = [None] * len(points)
        for k, surface in enumerate(self.surfaces):
            if house is not None and k != house:
                continue
            for i, spot in enumerate(surface.spots(points) or []):
                have = best[i]
                if have is None or spot.distance < have.distance:
                    best[i] = spot
        return best

    def _pick(self, body: dict[str, Any]) -> dict[str, Any]:
        point = np.array([number(body, name) for name in "xyz"])
        radius = number(body, "radius", 0.0)
        house = body.get("house") if "house" in body else None
        spot = self._spots(point[None], house)[0]
        if spot is None or (radius > 0 and spot.distance > radius):
            return {"sigma": None, "normal": None, "spacing": None, "distance": None}
        return {
            "sigma": spot.sigma,
            "normal": spot.normal.tolist(),
            "spacing": spot.spacing,
            "distance": spot.distance,
        }

    def _covariances(self, points: np.ndarray, house: int | None) -> tuple[np.ndarray | None, str]:
        """(n, 3, 3), or None and why: a point is not on a surface, or its uncertainty is not known."""
        spots = self._spots(points, house)
        size = max(float(np.ptp(points, axis=0).max()), 1e-12)
        rows = []
        for spot in spots:
            if spot is None:
                return None, measures.NO_SIGMA
            reach = max(0.02 * size, 20 * (spot.sigma or 0.0), 3 * (spot.spacing or 0.0))
            if spot.distance > reach:
                return None, measures.OFF_SURFACE
            row = spot.covariance()
            if row is None:
                return None, measures.NO_SIGMA
            rows.append(row)
        return np.stack(rows), ""

    # measures

    def _measure(self, body: dict[str, Any], house: int) -> dict[str, Any]:
        kind = body["kind"]
        if kind == "section":
            return self._section(body, house)
        if not isinstance(kind, str) or kind not in measures.KINDS:
            raise InputError("there is no such measure", f"kinds: {', '.join((*measures.KINDS, 'section'))}", "")
        points = measures.read_points(body, kind)
        if kind == "volume":
            return self._volume(body, points, house)
        covariances, why = self._covariances(points, body.get("house"))
        saved = self.saved[house]
        value, sigma = measures.evaluate(kind, points, covariances, saved.up())
        told = measures.result(abs(value), sigma, measures.KINDS[kind][2], saved.unit(), why)
        if kind == "height":
            told["signed"] = value * saved.unit().scale
        return {**_echo(body), **told}

    def _mesh(self, house: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        mesh = self.surfaces[house].mesh()
        if mesh is None:
            raise InputError("there is no mesh to cut", "volumes and sections are cut from a mesh", "build one first")
        return mesh

    def _volume(self, body: dict[str, Any], points: np.ndarray, house: int) -> dict[str, Any]:
        saved = self.saved[house]
        over = volume_over(points, *self._mesh(house), saved.up())
        (covariances, why), sigma = self._covariances(points, house), None
        if covariances is not None and over.spread is not None:
            rise = np.einsum("j,njk,k->n", over.normal, covariances, over.normal)
            sigma = float(np.sqrt((over.lever**2 * rise).sum() + over.spread**2))
        unit = saved.unit()
        told = measures.result(over.cut - over.fill, sigma, 3, unit, why)
        cube = unit.scale**3
        share = over.covered / over.base
        told |= {
            "cut": over.cut * cube,
            "fill": over.fill * cube,
            "net": (over.cut - over.fill) * cube,
            "base_area": over.base * unit.scale**2,
            "covered": share,
            "cut_text": measures.result(over.cut, sigma, 3, unit)["text"],
            "fill_text": measures.result(over.fill, sigma, 3, unit)["text"],
        }
        if sigma is not None:
            note = "as if all of the surface were off the same way"
            told["sigma_note"] = note if told["sigma_note"] is None else f"{note}; {told['sigma_note']}"
        if abs(share - 1) > 0.02:
            told["coverage_note"] = f"the surface covers {100 * share:.0f} % of the base"
        return {**_echo(body), **told}

    def _section(self, body: dict[str, Any], house: int) -> dict[str, Any]:
        plane = read_plane(body.get("plane"))
        point, normal = np.array(plane["point"]), np.array(plane["normal"])
        cut = section(*self._mesh(house), point, normal)
        unit = self.saved[house].unit()
        around = cut.sigma
        loops = sum(cut.closed)
        # A line that lies outside by sigma everywhere is longer by 2 pi sigma a loop, and holds sigma * length more.
        length_sigma = (
            None if around is None else around * float(np.hypot(2 * np.pi * loops, 2 * (len(cut.lines) - loops)))
        )
        area_sigma = None if around is None else around * cut.length
        length = measures.result(cut.length, length_sigma, 1, unit)
        inside = measures.result(cut.area, area_sigma, 2, unit)
        total = sum(len(line) for line in cut.lines)
        step = max(1, -(-total // _MAX_LINE_POINTS))
        return {
            **_echo(body),
            **length,
            "plane": plane,
            "lines": [line[::step].tolist() for line in cut.lines],
            "closed": cut.closed,
            "length": length["value"],
            "area": inside["value"] if loops else None,  # an open line holds none
            "area_text": inside["text"] if loops else None,
            "area_sigma": inside["sigma"] if loops else None,
        }

    def _scale(self, body: dict[str, Any], saved: Saved, house: int) -> None:
        if body.get("points") is None:
            saved.change(scale=None, unit=None, scale_doubt=None)
            return
        points = measures.read_points({"points": body["points"]}, "distance")
        covariances, _ = self._covariances(points, house)
        measured, sigma = measures.evaluate("distance", points, covariances, saved.up())
        saved.set_scale(body, measured, sigma)


def _echo(body: dict[str, Any]) -> dict[str, Any]:
    """What was asked, as far as it is known."""
    return {k: body[k] for k in ("id", "name", "kind", "points", "plane", "house") if k in body}
