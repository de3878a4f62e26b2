"""The plan of a check as SVG: photos, surface, what is missing and where to stand next, from above and unrolled."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from rilievo import geometry
from rilievo.checking.around import Around
from rilievo.checking.surface import MIN_VIEWS

if TYPE_CHECKING:
    from rilievo.checking.result import Checked

_COLORS = {"good": "#3a7bd5", "weak": "#d9902f", "bad": "#cc3333"}
_NEXT, _GAP, _SEEN, _FEW = "#1a9850", "#cc3333", "#9a9a9a", "#e0564b"


def plan_svg(checked: Checked, size: int = 640) -> str:
    """SVG text: seen from above, and below it, for an object, azimuth against elevation. Empty without an alignment."""
    if checked.aligned is None or checked.around is None:
        return ""
    height = size
    parts = [_from_above(checked, size)]
    if checked.around.kind == "object":
        parts.append(f'<g transform="translate(0 {size + 8})">{_unrolled(checked, size, 220)}</g>')
        height = size + 228
    style = (
        "<style>text{font:12px system-ui,sans-serif;fill:currentColor}.n{font-weight:600;fill:#fff;text-anchor:middle}"
        ".s{font-size:10.5px;opacity:.75}</style>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {height}" role="img" color="#555"'
        f' font-family="system-ui,sans-serif">{style}{"".join(parts)}</svg>\n'
    )


def _levels(checked: Checked) -> dict[str, str]:
    return {row["name"]: row["level"] for row in checked.document["photos"]["list"]}


def _from_above(checked: Checked, size: int) -> str:
    around, aligned, patches = checked.around, checked.aligned, checked.patches
    assert around is not None and aligned is not None and patches is not None and checked.wanted is not None
    scene, levels = aligned.scene, _levels(checked)
    axes = np.stack([around.east, around.north], 1)
    eyes = (scene.centers - around.target) @ axes
    new = np.array([geometry.invert(p.cam_from_world)[:, 3] for p in checked.proposals]).reshape(-1, 3)
    new = (new - around.target) @ axes
    keep = checked.wanted & (patches.weight > 0.05)
    flat = (patches.points - around.target) @ axes
    everything = np.concatenate([eyes, new, *([np.quantile(flat[keep], [0.02, 0.98], axis=0)] if keep.any() else [])])
    low, high = everything.min(0), everything.max(0)
    span = max(float((high - low).max()), 1e-9) * 1.3
    middle = (low + high) / 2

    def at(xy: np.ndarray) -> np.ndarray:
        k = (xy - middle) / span
        return np.stack([k[..., 0] + 0.5, 0.5 - k[..., 1]], -1) * size

    out = []
    centre = at(np.zeros(2))
    radius = float(np.median(np.linalg.norm(eyes, axis=1))) / span * size
    for s in around.sectors:
        out.append(_wedge(centre, 1.12 * radius, s.start_deg, s.end_deg))
    few = patches.seen.counts < MIN_VIEWS
    for which, color in ((keep & ~few, _SEEN), (keep & few, _FEW)):
        places = at(flat[which])
        places = places[((places > 0) & (places < size)).all(1)]
        dots = "".join(f"M{x:.1f} {y:.1f}h.01" for x, y in places)
        width = 2 if color == _SEEN else 3
        if dots:
            out.append(
                f'<path d="{dots}" stroke="{color}" stroke-width="{width}" stroke-linecap="round" opacity=".6"/>'
            )
    ahead = scene.cam_from_world[:, 2, :3] @ axes
    for k, name in enumerate(scene.names):
        shape = _camera(at(eyes[k]), ahead[k], size * 0.018)
        color = _COLORS[levels.get(name, "good")]
        out.append(
            f'<polygon points="{shape}" fill="{color}" fill-opacity=".85"><title>{escape(name)}</title></polygon>'
        )
    for k, p in enumerate(checked.proposals, 1):
        place = at(new[k - 1])
        shape = _camera(place, p.cam_from_world[2, :3] @ axes, size * 0.034)
        out.append(f'<polygon points="{shape}" fill="{_NEXT}" fill-opacity=".45"/>')
        out.append(f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="9" fill="{_NEXT}"/>')
        out.append(f'<text class="n" x="{place[0]:.1f}" y="{place[1] + 4:.1f}">{k}</text>')
    out += _first_and_sides(around, scene.names, at(eyes))
    out.append(
        f'<text x="10" y="18">from above</text><text class="s" x="10" y="{size - 28}">numbers: photos to take next;'
        f" grey dots: surface, red ones: seen by fewer than {MIN_VIEWS} photos</text>"
        f'<text class="s" x="10" y="{size - 12}">'
        "wedges: photos (blue good, orange weak, red bad); red sector: no photo looks from there</text>"
    )
    return "".join(out)


def _first_and_sides(around: Around, names: tuple[str, ...], places: np.ndarray) -> list[str]:
    """Names of the first photo and of those at the sides of missing sectors, beside their wedges."""
    wanted = {around.azimuth_zero} | {n for s in around.sectors[:3] for n in (s.before, s.after)}
    out, middle = [], places.mean(0)
    for name in sorted(wanted & set(names)):
        x, y = places[names.index(name)]
        # towards the middle, where there is room
        anchor, dx = ("end", -10) if x > middle[0] else ("start", 10)
        short = name.rsplit("/", 1)[-1]
        out.append(f'<text class="s" text-anchor="{anchor}" x="{x + dx:.1f}" y="{y - 6:.1f}">{escape(short)}</text>')
    return out


def _camera(at: np.ndarray, ahead: np.ndarray, length: float) -> str:
    """Corners of a wedge that opens to where a camera looks. ahead: (east, north), shorter when tilted."""
    look = np.array([ahead[0], -ahead[1]])
    size = float(np.linalg.norm(look))
    look = look / size if size > 1e-6 else np.array([0.0, -1.0])
    side = 0.45 * np.array([-look[1], look[0]])
    tips = [at, at + length * (look + side), at + length * (look - side)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in tips)


def _wedge(centre: np.ndarray, radius: float, start: float, end: float) -> str:
    angles = np.radians(np.linspace(start, end, max(2, int((end - start) / 4))))
    rim = centre + radius * np.stack([np.cos(angles), -np.sin(angles)], 1)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in [centre, *rim])
    return f'<polygon points="{points}" fill="{_GAP}" fill-opacity=".12" stroke="{_GAP}" stroke-opacity=".5"/>'


def _unrolled(checked: Checked, width: int, height: int) -> str:
    """Azimuth to the right, elevation upwards: where photos look from."""
    around, aligned, levels = checked.around, checked.aligned, _levels(checked)
    assert around is not None and aligned is not None
    left, right, top, bottom = 40.0, width - 12.0, 26.0, height - 30.0
    low = min(0.0, float(np.floor(around.elevation_deg.min() / 10) * 10))

    def at(azimuth: float, elevation: float) -> tuple[float, float]:
        x = left + (azimuth % 360) / 360 * (right - left)
        return x, bottom - (elevation - low) / (90 - low) * (bottom - top)

    out = ['<text x="10" y="16">all round: where photos look from</text>']
    for e in range(int(low), 91, 30):
        y = at(0, e)[1]
        out.append(
            f'<path d="M{left} {y:.1f}H{right}" stroke="#8886"/><text class="s" x="6" y="{y + 4:.1f}">{e}°</text>'
        )
    for a in range(0, 360, 45):
        x = at(a, low)[0]
        out.append(f'<text class="s" text-anchor="middle" x="{x:.1f}" y="{bottom + 15:.1f}">{a}°</text>')
    for s in around.sectors:
        spans = [(s.start_deg % 360, s.start_deg % 360 + s.width_deg)]
        if spans[0][1] > 360:
            spans = [(spans[0][0], 359.99), (0.0, spans[0][1] - 360)]
        for a, b in spans:
            x0, x1 = at(a, low)[0], at(min(b, 359.99), low)[0]
            out.append(
                f'<rect x="{x0:.1f}" y="{top}" width="{x1 - x0:.1f}" height="{bottom - top}"'
                f' fill="{_GAP}" fill-opacity=".12"/>'
            )
    for k, name in enumerate(aligned.scene.names):
        x, y = at(float(around.azimuth_deg[k]), float(around.elevation_deg[k]))
        color = _COLORS[levels.get(name, "good")]
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"><title>{escape(name)}</title></circle>')
    for k, p in enumerate(checked.proposals, 1):
        offset = geometry.invert(p.cam_from_world)[:, 3] - around.target
        azimuth = float(np.degrees(np.arctan2(offset @ around.north, offset @ around.east)))
        elevation = float(np.degrees(np.arcsin(np.clip(offset @ around.up / np.linalg.norm(offset), -1, 1))))
        x, y = at(azimuth, elevation)
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" fill="{_NEXT}"/>')
        out.append(f'<text class="n" x="{x:.1f}" y="{y + 4:.1f}">{k}</text>')
    return "".join(out)
