"""Cuts of a mesh: volume over a plane within a polygon, and sections. Exact for the mesh, float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rilievo.errors import InputError
from rilievo.view.measures import fit_plane


@dataclass(frozen=True)
class OverPlane:
    """cut: volume of what stands above the plane.  fill: of what is missing below it.  base: area of the polygon.
    covered: of it, how much lies under or over the surface.  spread: the surface's sigma summed over its projection,
    None where it is not known.  lever: by how much the volume falls when a point of the base rises, (n,)."""

    cut: float
    fill: float
    base: float
    covered: float
    spread: float | None
    lever: np.ndarray
    normal: np.ndarray


def volume_over(
    polygon: np.ndarray, vertices: np.ndarray, faces: np.ndarray, sigma: np.ndarray | None, up: np.ndarray
) -> OverPlane:
    """The volume between a mesh and the plane fitted through a polygon (n, 3), seen along the plane's normal, within
    the polygon. Faces count by the side that they turn to the plane's normal, so overhangs are right.

    up: the normal points to this side.  sigma (v,): of the surface. Raises InputError when the polygon spans no area or
    crosses itself.
    """
    center, axes = fit_plane(polygon)
    if axes[2] @ up < 0:
        axes = np.stack([axes[1], axes[0], -axes[2]])
    flat = (polygon - center) @ axes[:2].T
    if signed_area(flat) < 0:
        flat = flat[::-1]
    if _crosses(flat):
        raise InputError("the outline crosses itself", "its sides intersect", "pick its corners in their order")
    base = signed_area(flat)
    local = (vertices - center) @ axes.T
    low, high = flat.min(0), flat.max(0)
    corners = local[faces]
    near = (corners[:, :, :2].max(1) >= low).all(1) & (corners[:, :, :2].min(1) <= high).all(1)
    corners = corners[near]
    value = np.full((len(corners), 3, 1), np.nan)
    if sigma is not None:
        value = sigma[faces[near]][..., None].astype(np.float64)
    pieces = np.concatenate([corners, value], 2)
    cut = fill = covered = 0.0
    spread = 0.0
    for triangle in ears(flat):
        inside = pieces
        for k in range(3):
            a, b = triangle[k], triangle[(k + 1) % 3]
            n = np.array([a[1] - b[1], b[0] - a[0]])  # to the left of a -> b
            inside = clip(inside, inside[:, :, :2] @ n - a @ n)
        above, below = clip(inside, inside[:, :, 2]), clip(inside, -inside[:, :, 2])
        cut += float((_projected(above) * above[:, :, 2].mean(1)).sum())
        fill -= float((_projected(below) * below[:, :, 2].mean(1)).sum())
        flat_area = _projected(inside)
        covered += float(flat_area.sum())
        spread += float((np.abs(flat_area) * inside[:, :, 3].mean(1)).sum())
    # A point of the base that rises by 1 lifts the plane over the polygon's middle by this much, least squares.
    u = (polygon - center) @ axes[:2].T
    A = np.column_stack([np.ones(len(u)), u])
    middle = np.array([1.0, *_centroid(flat)])
    lever = base * (middle @ np.linalg.pinv(A))
    return OverPlane(cut, fill, base, covered, spread if np.isfinite(spread) else None, lever, axes[2])


def clip(triangles: np.ndarray, side: np.ndarray) -> np.ndarray:
    """The parts of triangles (n, 3, d) where a linear function is positive; side (n, 3): its values at the corners.
    Attributes beyond the coordinates are interpolated. Returns (m, 3, d), same orientation."""
    inside = side > 0
    count = inside.sum(1)
    parts = [triangles[count == 3]]
    for wanted in (1, 2):
        rows = np.flatnonzero(count == wanted)
        if not len(rows):
            continue
        odd = np.argmax(inside[rows] == (wanted == 1), axis=1)  # the corner that is alone on its side
        order = (odd[:, None] + np.arange(3)) % 3
        t = np.take_along_axis(triangles[rows], order[:, :, None], 1)
        s = np.take_along_axis(side[rows], order, 1)
        f = s[:, :1] / (s[:, :1] - s[:, 1:])  # where the two edges of that corner cross
        p = t[:, :1] + f[:, :, None] * (t[:, 1:] - t[:, :1])
        if wanted == 1:
            parts.append(np.stack([t[:, 0], p[:, 0], p[:, 1]], 1))
        else:
            parts.append(np.stack([p[:, 0], t[:, 1], t[:, 2]], 1))
            parts.append(np.stack([p[:, 0], t[:, 2], p[:, 1]], 1))
    return np.concatenate(parts)


def _projected(triangles: np.ndarray) -> np.ndarray:
    """Signed areas (n,) of triangles (n, 3, d) seen from above."""
    a, b = triangles[:, 1, :2] - triangles[:, 0, :2], triangles[:, 2, :2] - triangles[:, 0, :2]
    return (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2


def signed_area(polygon: np.ndarray) -> float:
    """Of a polygon (n, 2), positive when counter-clockwise."""
    x, y = polygon.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _centroid(polygon: np.ndarray) -> np.ndarray:
    x, y = polygon.T
    cross = x * np.roll(y, -1) - y * np.roll(x, -1)
    area = cross.sum() / 2
    return np.array([((x + np.roll(x, -1)) @ cross), ((y + np.roll(y, -1)) @ cross)]) / (6 * area)


def ears(polygon: np.ndarray) -> np.ndarray:
    """Triangles (n - 2, 3, 2) of a counter-clockwise polygon (n, 2): its ears, cut off one by one (Meisters 1975).
    It must not cross itself. Raises InputError when no ear is found."""
    index = list(range(len(polygon)))
    found = []
    while len(index) > 3:
        best, best_quality = None, -1.0
        for k in range(len(index)):
            a, b, c = (polygon[index[(k + j) % len(index)]] for j in (-1, 0, 1))
            turn = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
            if turn < 0:
                continue
            others = polygon[
                [i for j, i in enumerate(index) if j not in ((k - 1) % len(index), k, (k + 1) % len(index))]
            ]
            if turn > 0 and len(others) and _within(others, a, b, c).any():
                continue
            quality = turn / max(float((c - a) @ (c - a)), 1e-300)
            if quality > best_quality:
                best, best_quality = k, quality
                if len(index) > 60:  # any will do
                    break
        if best is None:
            raise InputError("the outline crosses itself", "its sides intersect", "pick its corners in their order")
        n = len(index)
        found.append([index[best - 1], index[best], index[(best + 1) % n]])
        del index[best]
    found.append(index)
    return polygon[np.array(found)]


def _crosses(polygon: np.ndarray) -> bool:
    """Whether two sides of a polygon (n, 2) that do not meet in a corner intersect."""
    a, b = polygon, np.roll(polygon, -1, 0)

    def left(p: np.ndarray) -> np.ndarray:  # of side i, point j
        d = (b - a)[:, None]
        return d[..., 0] * (p[None, :, 1] - a[:, None, 1]) - d[..., 1] * (p[None, :, 0] - a[:, None, 0])

    apart = left(a) * left(b) < 0
    return bool((apart & apart.T).any())


def _within(p: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    def left(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return (v[0] - u[0]) * (p[:, 1] - u[1]) - (v[1] - u[1]) * (p[:, 0] - u[0])

    return (left(a, b) >= 0) & (left(b, c) >= 0) & (left(c, a) >= 0)


@dataclass(frozen=True)
class Section:
    """Lines (k, 3) of a cut, closed ones without their first point repeated; sigma of the surface along them (mean)."""

    lines: list[np.ndarray]
    closed: list[bool]
    length: float
    area: float
    sigma: float | None


def section(
    vertices: np.ndarray, faces: np.ndarray, sigma: np.ndarray | None, point: np.ndarray, normal: np.ndarray
) -> Section:
    """The cut of a mesh with the plane through a point. area: inside of its closed lines, those in them taken off.
    faces must share vertices (no seams)."""
    side = (vertices - point) @ normal
    side = np.where(side == 0, 1e-300, side)
    s = side[faces]
    crossing = (s > 0).any(1) & (s < 0).any(1)
    faces, s = faces[crossing], s[crossing]
    if not len(faces):
        return Section([], [], 0.0, 0.0, None)
    ends = []  # for each face the two edges that cross: from the edge where the surface goes down to where it goes up
    for down in (True, False):
        here = (s > 0) & (np.roll(s, -1, 1) < 0) if down else (s < 0) & (np.roll(s, -1, 1) > 0)
        k = np.argmax(here, 1)
        rows = np.arange(len(faces))
        ends.append(np.stack([faces[rows, k], faces[rows, (k + 1) % 3]], 1))
    edges = np.sort(np.concatenate(ends), 1)
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    index = index.ravel()
    a, b = unique.T
    f = side[a] / (side[a] - side[b])
    places = vertices[a] + f[:, None] * (vertices[b] - vertices[a])
    value = None if sigma is None else sigma[a] + f * (sigma[b] - sigma[a])
    start, end = index[: len(faces)], index[len(faces) :]
    lengths = np.linalg.norm(places[end] - places[start], axis=1)
    chains, closed = _chains(start.tolist(), end.tolist())
    lines = [places[c] for c in chains]
    mean = None
    if value is not None:
        weight = np.where(np.isfinite(value[start]), lengths, 0)
        if weight.sum() > 0:
            mean = float(np.nansum(value[start] * weight) / weight.sum())
    axes = _axes(normal)
    inside = sum(signed_area((line - point) @ axes.T) for line, c in zip(lines, closed) if c)
    return Section(lines, closed, float(lengths.sum()), float(abs(inside)), mean)


def _axes(normal: np.ndarray) -> np.ndarray:
    """Two axes (2, 3) across a unit normal."""
    u = np.cross(normal, np.eye(3)[int(np.argmin(np.abs(normal)))])
    u /= np.linalg.norm(u)
    return np.stack([u, np.cross(normal, u)])


def _chains(start: list[int], end: list[int]) -> tuple[list[list[int]], list[bool]]:
    """Directed pieces start[i] -> end[i] as lines: the numbers of their points, and whether they close."""
    leaving: dict[int, list[int]] = {}
    for i, a in enumerate(start):
        leaving.setdefault(a, []).append(i)
    arriving = set(end)
    left = set(range(len(start)))
    chains, closed = [], []
    heads = [i for i, a in enumerate(start) if a not in arriving]
    for first in [*heads, *range(len(start))]:
        if first not in left:
            continue
        left.discard(first)
        line = [start[first], end[first]]
        while True:
            following = next((i for i in leaving.get(line[-1], ()) if i in left), None)
            if following is None:
                break
            left.discard(following)
            line.append(end[following])
            if line[-1] == line[0]:
                break
        closes = line[-1] == line[0] and len(line) > 2
        chains.append(line[:-1] if closes else line)
        closed.append(closes)
    return chains, closed
