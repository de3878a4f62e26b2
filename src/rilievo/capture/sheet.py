"""The printable sheet of a plan: a page with drawings, figures and tick boxes, as SVG or PDF."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rilievo.capture import told
from rilievo.capture.drawing import Page, Point, pdf, text_width
from rilievo.capture.show import GROUP_COLORS
from rilievo.capture.stations import Plan

GREY, PALE, INK = "#8a8f96", "#e4e7ea", "#222222"


def sheet(plan: Plan) -> list[Page]:
    """A4 pages: the sheet."""
    page = Page()
    page.text((15, 20), told.title(plan), size=6, bold=True)
    page.text((15, 26), f"{len(plan.stations.group)} photos with {plan.gear.name}", size=3.8, color=GREY)
    if plan.kind == "area":
        _panel(page, (15, 34, 180, 118), plan, (0, 1), "from above, north is up")
        top = 162.0
    elif plan.kind == "facade":
        _panel(page, (15, 34, 180, 64), plan, (0, 2), "the front")
        _panel(page, (15, 104, 180, 48), plan, (0, 1), "from above")
        top = 162.0
    else:
        _panel(page, (15, 34, 88, 88), plan, (0, 1), "from above")
        _panel(page, (107, 34, 88, 88), plan, (0, 2), "from the side")
        top = 132.0
    top = _table(page, top, told.rows(plan))
    top = _groups(page, top + 3, plan)
    pages = [page]
    for note in plan.notes:
        lines = _wrapped(note, 172, 3.0)
        if top + 4 * len(lines) > 284:
            page, top = Page(), 20.0
            pages.append(page)
        page.circle((17, top - 1), 0.7, fill="#c8553d")
        for line in lines:
            page.text((20, top), line, size=3.0)
            top += 4
        top += 1
    for k, each in enumerate(pages):
        each.text((195, 290), f"rilievo plan, page {k + 1} of {len(pages)}", size=2.6, color=GREY, anchor="end")
    return pages


def sheet_pdf(plan: Plan) -> bytes:
    """The sheet as one PDF."""
    return pdf(sheet(plan), told.title(plan))


def _wrapped(text: str, width: float, size: float) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and text_width(longer, size) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line else lines


def _table(page: Page, top: float, rows: list[tuple[str, str]]) -> float:
    for name, value in rows:
        page.text((15, top), name, size=3.1, color=GREY)
        for line in _wrapped(value, 132, 3.1):
            page.text((60, top), line, size=3.1)
            top += 4.4
    return top


def _groups(page: Page, top: float, plan: Plan) -> float:
    """One line a group, with a box to tick. Groups side by side where they are many."""
    rings = plan.facts["rings"]
    columns = 2 if len(rings) > 14 else 1
    per_column = math.ceil(len(rings) / columns)
    for k, ring in enumerate(rings[:40]):
        x, y = 15 + 92 * (k // per_column), top + 5.2 * (k % per_column)
        page.poly([(x, y - 2.8), (x + 3, y - 2.8), (x + 3, y + 0.2), (x, y + 0.2)], closed=True, stroke=INK)
        page.circle((x + 6, y - 1.2), 1.1, fill=GROUP_COLORS[k % len(GROUP_COLORS)])
        line = " ".join(told.group_line(ring, plan).split())
        page.text((x + 9, y), line if columns == 1 else _cut(line, 80), size=3.0)
    return top + 5.2 * per_column + 3


def _cut(text: str, width: float) -> str:
    while text_width(text, 3.0) > width:
        text = text[:-2]
    return text


def _scale_bar(length: float) -> float:
    """A round length up to that."""
    power = 10 ** math.floor(math.log10(length))
    return max(m * power for m in (1, 2, 5) if m * power <= length)


def _panel(page: Page, box: tuple[float, float, float, float], plan: Plan, axes: tuple[int, int], name: str) -> None:
    """The plan drawn along two world axes into a box (x, y, width, height)."""
    x0, y0, width, height = box
    page.poly([(x0, y0), (x0 + width, y0), (x0 + width, y0 + height), (x0, y0 + height)], closed=True, stroke=PALE)
    page.text((x0 + 2, y0 + 4.5), name, size=2.8, color=GREY)
    centers = plan.stations.centers[:, axes]
    surface = plan.triangles[..., axes]
    outline = plan.facts.get("outline")
    around = surface.reshape(-1, 2) if outline is None else np.array(outline)
    every = np.concatenate([centers, around])
    low, high = every.min(0), every.max(0)
    size = np.maximum(high - low, 1e-9)
    scale = float(min((width - 12) / size[0], (height - 22) / size[1]))
    middle = (low + high) / 2

    def at(point: np.ndarray) -> Point:
        x = x0 + width / 2 + (point[0] - middle[0]) * scale
        return float(x), float(y0 + height / 2 - 1 - (point[1] - middle[1]) * scale)

    if outline is not None and axes == (0, 1):
        page.poly([at(np.array(p)) for p in outline], closed=True, fill="#eef3ea", stroke="#7d9a6a", width=0.3)
    else:
        _hull(page, surface.reshape(-1, 2), at)
    _cameras(page, plan, axes, at, scale)
    bar = _scale_bar(0.35 * width / scale)
    end = (x0 + 4 + bar * scale, y0 + height - 4)
    page.line((x0 + 4, y0 + height - 4), end, stroke=INK, width=0.5)
    page.text((x0 + 4, y0 + height - 5.4), told.spell_length(bar), size=2.6)


def _hull(page: Page, points: np.ndarray, at: Callable[[np.ndarray], Point]) -> None:
    from scipy.spatial import ConvexHull, QhullError

    try:
        ring = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        return
    page.poly([at(p) for p in ring], closed=True, fill="#ece7dc", stroke="#9b8f78", width=0.3)


def _cameras(page: Page, plan: Plan, axes: tuple[int, int], at: Callable[[np.ndarray], Point], scale: float) -> None:
    stations = plan.stations
    centers, look = stations.centers[:, axes], stations.directions[:, axes]
    many = len(centers) > 400
    for s in np.unique(stations.strip):
        index = np.flatnonzero(stations.strip == s)
        color = GROUP_COLORS[int(stations.group[index[0]]) % len(GROUP_COLORS)]
        points = [at(centers[k]) for k in index]
        page.poly(points, stroke=color, width=0.12, closed=int(s) in stations.closed)
        for k, point in zip(index, points):
            page.circle(point, 0.35 if many else 0.6, fill=color)
            if not many and float(np.linalg.norm(look[k])) > 0.15:
                tip = (point[0] + 3 * float(look[k, 0]), point[1] - 3 * float(look[k, 1]))
                page.line(point, tip, stroke=color, width=0.15)
    if plan.kind != "area":
        return
    marks = {"start": centers[0], "end": centers[-1]}
    marks |= {name: np.array(plan.facts[key]) for name, key in (("home", "home_xy"), ("fewest views", "worst_xy"))}
    for word, place in marks.items():
        point = at(place)
        page.circle(point, 1.0, stroke=INK, fill="#ffffff", width=0.3)
        wide = text_width(word, 2.6)
        ground = ((1.5, -1.6), (wide + 2.1, -1.6), (wide + 2.1, 1.6), (1.5, 1.6))
        page.poly([(point[0] + dx, point[1] + dy) for dx, dy in ground], closed=True, stroke=None, fill="#ffffff")
        page.text((point[0] + 1.8, point[1] + 0.9), word, size=2.6, bold=True)
