"""Mirrors and panes of glass: parts of planes that show, besides or instead of what lies behind them, the images of what
stands before them.

Where photos see through an opening in a plane, or past a frame that stands before it, planes around are tried: for each
the room is drawn as a mirror there would show it, and the photos are held against that (`reflections`). An open door or
a window without a pane reflects nothing and is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from rilievo import geometry
from rilievo.stages import reflections
from rilievo.stages.mask_scene import Seen, expected, places
from rilievo.stages.reflection_planes import Measured, Plane, fronts, openings, rims, votes, walls
from rilievo.stages.reflections import NOTHING, Compared, Found, Photos, compare
from rilievo.stages.sheets import Sheet, Surface, sheet_of, to_light
from rilievo.types import Camera, Mesh, PointCloud

_WIDENED = 2
_MOST_SETTLED = 6


@dataclass(frozen=True)
class MirrorConfig:
    """Settings of `find_reflectors`."""

    version: ClassVar[int] = 2

    num_planes: int = 8
    """planes of the scene that are looked at, the largest first"""
    size: int = 320
    """longer side of the photos that are compared, px"""
    min_mirror_match: float = 0.4
    """smallest correlation of the photos with what a mirror would show"""
    min_scarce_match: float = 0.15
    """the same where next to nothing that it shows is seen directly, but most photos agree and a surface explains less"""
    min_pane_match: float = 0.2
    """smallest correlation of what photos show too much with what a pane would reflect"""
    min_margin: float = 0.2
    """by how much a mirror's correlation is larger than chance"""
    seed: int = 0
    """seed of the random planes"""

    def is_mirror(self, found: Found) -> bool:
        if found.match - found.chance < min(self.min_margin, 0.9 * found.match) or not 100 < found.count:
            return False
        if found.match > self.min_mirror_match:
            return 0.35 < found.share < 1.4
        return found.match > self.min_scarce_match and found.agree > 0.4 and 0.6 < found.share < 1.4

    def may_be_mirror(self, found: Found) -> bool:
        """Of a plane that is not settled yet."""
        sure = found.match > max(0.12, found.chance + 0.1) and found.count > 100
        return sure and (found.agree >= 0.4 or found.match > self.min_mirror_match) and 0.35 < found.share < 1.4

    def is_pane(self, found: Found) -> bool:
        sure = found.match > max(self.min_pane_match, 1.8 * found.chance)
        return sure and 0.35 < found.share < 2.2 and found.count > 500


@dataclass(frozen=True, eq=False)
class Reflector:
    """A mirror or a pane. extent: cells of the sheet that it covers, bool (rows, columns).  match: correlation of the
    photos with what it should reflect, chance: the largest with what it should reflect in other photos.  share: of the
    light that it reflects; of a pane in units of what Fresnel's equations say."""

    kind: str
    sheet: Sheet
    extent: np.ndarray
    match: float
    chance: float
    share: float

    @property
    def size(self) -> tuple[float, float]:
        """Width and height, world units."""
        return self.sheet.step * int(self.extent.any(0).sum()), self.sheet.step * int(self.extent.any(1).sum())


@dataclass(frozen=True, eq=False)
class Reflections:
    """What was found. untold: sizes (width, height) of openings that reflect nothing that any photo shows directly, or
    too little of it: a window, a doorway, or a mirror of what no photo shows."""

    mirrors: tuple[Reflector, ...]
    panes: tuple[Reflector, ...]
    untold: tuple[tuple[float, float], ...]
    num_openings: int


def find_reflectors(
    cloud: PointCloud,
    mesh: Mesh,
    centers: np.ndarray,
    views: Sequence[Seen],
    far: float,
    *,
    panes: bool = True,
    config: MirrorConfig = MirrorConfig(),
) -> Reflections:
    """Mirrors and panes of a scene. centers: of all cameras (n, 3).  views: what the photos see; all or some of them.
    panes: whether they are looked for."""
    views = [smaller(v, config.size) for v in views]
    measured = Measured.of(cloud, centers, views)
    if measured is None:
        return Reflections((), (), (), 0)
    planes = walls(measured, most=config.num_planes, seed=config.seed)
    level = _level(planes, views)
    planes += fronts(measured, planes)
    places_ = [
        (wall, sheet, part)
        for cells, enclosed in ((80, 0.55), (160, 0.75))
        for wall in planes
        for sheet, part in openings(measured, wall, level, cells=cells, enclosed=enclosed)
    ]
    if not places_:
        return Reflections((), (), (), 0)
    solid = mesh.faces if mesh.inferred is None else mesh.faces[~mesh.inferred]
    surface = Surface(mesh.vertices + mesh.origin, solid)
    photos = Photos.of(views, surface, far, _residuals(views, far) if panes else None)
    tried: list[_Tried] = []
    for wall, sheet, part in places_:
        _try(tried, photos.fewer(12), measured, planes, wall, sheet, part, level, config)
    mirrors: list[Reflector] = []
    hopeful = sorted((t for t in tried if config.may_be_mirror(t.mirror)), key=lambda t: t.mirror.chance - t.mirror.match)
    for t in hopeful[:_MOST_SETTLED]:
        if all(not _meets(t.sheet, m) for m in mirrors) and (found := _mirror(photos, measured, t, config)) is not None:
            mirrors.append(found)
    found_panes: list[Reflector] = []
    for t in sorted((t for t in tried if config.is_pane(t.pane)), key=lambda t: -t.pane.rank):
        if all(not _meets(t.sheet, m) for m in (*mirrors, *found_panes)):
            if (found := _panes(photos, measured, t, config)) is not None:
                found_panes.append(found)
    untold = [t for t in tried if not any(_meets(t.sheet, m) for m in (*mirrors, *found_panes))]
    return Reflections(tuple(mirrors), tuple(found_panes), _sizes(untold), len(_sizes(tried)))


def describe(found: Reflections, unit: str, kinds: Sequence[str]) -> list[str]:
    """Sentences on what was found, or why nothing was."""

    def measure(size: tuple[float, float]) -> str:
        return f"{size[0]:.3g} x {size[1]:.3g} {unit}"

    out = [
        f"{'a mirror' if r.kind == 'mirror' else 'a pane of glass'} of {measure(r.size)}: what photos show there agrees "
        f"with what it should reflect (correlation {r.match:.2f}, by chance {r.chance:.2f})"
        for r in (*found.mirrors, *found.panes)
        if r.kind in kinds
    ]
    if "mirror" in kinds and not found.mirrors:
        out.append("no mirror was found")
    if "glass" in kinds and not found.panes:
        why = (
            "no opening was found that shows something behind a plane"
            if not found.num_openings
            else f"in {found.num_openings} openings nothing is reflected above the noise"
        )
        out.append(f"no pane of glass was found: {why}")
    if found.untold:
        count = len(found.untold)
        out.append(
            f"{count} opening{'s' * (count > 1)} (up to {measure(found.untold[0])}) "
            f"{'are' if count > 1 else 'is'} not masked: nothing that photos show directly is reflected there, as in "
            "a doorway or a niche, but also in a mirror of what no photo shows (photos the other way would tell)"
        )
    return out


def mirror_mask(mirror: Reflector, seen: Seen) -> np.ndarray:
    """bool (h, w): where a view shows the mirror (or pane) and nothing before it."""
    view, sheet = seen.view, mirror.sheet
    h, w = seen.depth.shape
    ray = places(view, np.ones((h, w), np.float32), 1.0) - (eye := geometry.invert(view.cam_from_world)[:, 3])
    along = ray @ sheet.normal
    with np.errstate(all="ignore"):
        depth = (sheet.offset - eye @ sheet.normal) / along
        at = eye + depth[..., None] * ray - sheet.origin
        column = np.floor(at @ sheet.right / sheet.step)
        row = np.floor(at @ sheet.down / sheet.step)
    rows, columns = mirror.extent.shape
    inside = (depth > 0) & (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    out = np.zeros((h, w), bool)
    out[inside] = mirror.extent[row[inside].astype(np.int64), column[inside].astype(np.int64)]
    hidden = (seen.depth < 0.97 * depth).astype(np.uint8)
    hidden = cv2.morphologyEx(hidden, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    return out & ~hidden


def smaller(seen: Seen, size: int) -> Seen:
    """The view at a longer side of at most `size` px."""
    c = seen.view.camera
    s = size / max(c.width, c.height)
    if s >= 1:
        return seen
    w, h = max(1, round(c.width * s)), max(1, round(c.height * s))
    sx, sy = w / c.width, h / c.height
    camera = Camera("PINHOLE", w, h, np.array([c.fx * sx, c.fy * sy, c.cx * sx, c.cy * sy]))
    pixels = cv2.resize(seen.view.pixels, (w, h), interpolation=cv2.INTER_AREA)
    rows, columns = (((np.arange(n) + 0.5) / f).astype(np.int64) for n, f in ((h, sy), (w, sx)))
    mask = None if seen.view.mask is None else np.ascontiguousarray(seen.view.mask[rows][:, columns])
    depth = np.ascontiguousarray(seen.depth[rows][:, columns])
    return Seen(replace(seen.view, pixels=pixels, camera=camera, mask=mask, alpha=None), depth)


def _level(planes: Sequence[Plane], views: Sequence[Seen]) -> np.ndarray:
    """Down: the plane that most resembles a floor says it, or else the cameras do."""
    down = np.mean([v.view.cam_from_world[1, :3] for v in views], axis=0)
    down /= max(np.linalg.norm(down), 1e-9)
    floors = [n for n, _ in planes if -(n @ down) > 0.85]
    return -floors[0] if floors else down


def _residuals(views: Sequence[Seen], far: float) -> list[np.ndarray]:
    """Light of each view less what the others show at that place: float32 (h, w, 1), NaN unknown."""
    eyes = np.array([geometry.invert(v.view.cam_from_world)[:, 3] for v in views])
    out = []
    for i, seen in enumerate(views):
        near = np.argsort(np.linalg.norm(eyes - eyes[i], axis=1), kind="stable")[1:15]
        some = near[np.unique(np.linspace(0, len(near) - 1, 8).astype(int))]
        color = expected(seen, [views[k] for k in some], far).color
        there = np.where(np.isfinite(color), to_light(np.nan_to_num(color)), np.float32(np.nan))
        out.append((to_light(seen.view.pixels).mean(-1) - there.mean(-1))[..., None].astype(np.float32))
    return out


# --- planes that are tried --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Tried:
    """A plane around an opening, as a mirror and as a pane."""

    sheet: Sheet
    mirror: Found
    pane: Found


def _try(
    tried: list[_Tried],
    photos: Photos,
    measured: Measured,
    planes: Sequence[Plane],
    wall: Plane,
    sheet: Sheet,
    part: np.ndarray,
    level: np.ndarray,
    config: MirrorConfig,
) -> None:
    """Adds the best planes near a wall and near the rims of an opening in it."""
    cells = sheet.centers()[part]
    middle, reach = cells.mean(0), measured.reach
    near = [p for p in planes if p[0] @ wall[0] > 0.97 and abs(p[0] @ middle - p[1]) < 0.06 * reach]
    for normal, offset in (*near, *rims(measured, sheet, part, seed=config.seed)):
        at = cells - (cells @ normal - offset)[:, None] * normal
        at = middle + 1.25 * (at - middle)
        if any(t.sheet.normal @ normal > 0.9995 and abs(t.sheet.offset - offset) < 0.02 * reach and _covers(t.sheet, at)
               for t in tried):  # fmt: skip
            continue

        def sheet_at(k: int, normal=normal, offset=offset, at=at) -> Sheet:
            return sheet_of(normal, offset + k * 0.006 * reach, at, reach / 100, level, most=110)

        first = [_weigh(photos, measured, sheet_at(k)) for k in (-2, 0, 2)]
        around = {k for t, k in zip(first, (-2, 0, 2)) if t.mirror.match > 0.12 or t.pane.match > 0.1}
        more = sorted({k + d for k in around for d in (-1, 1)})
        found = [*first, *(_weigh(photos, measured, sheet_at(k)) for k in more)]
        as_mirror = max(found, key=lambda t: t.mirror.match if t.mirror.count > 100 else 0.0)
        as_pane = max(found, key=lambda t: t.pane.rank)
        tried += [as_mirror] if as_mirror is as_pane else [as_mirror, as_pane]


def _covers(sheet: Sheet, points: np.ndarray) -> bool:
    c = sheet.cells(points)
    return bool(((c > -2) & (c < np.array(sheet.shape[::-1]) + 2)).all(1).mean() > 0.9)


def _weigh(photos: Photos, measured: Measured, sheet: Sheet) -> _Tried:
    seen, size = compare(photos, sheet), _window(measured, sheet)
    where = _through(seen)
    mirror = reflections.mirror_match(seen, where | ~_wall(measured, sheet), size)
    pane = reflections.pane_match(seen, where, size) if photos.residuals else NOTHING
    return _Tried(sheet, mirror, pane)


def _through(seen: Compared) -> np.ndarray:
    """bool (rows, columns): cells through which most photos see."""
    return seen.behind > 0.5 * np.maximum(seen.known.sum(0), 1)


def _meets(sheet: Sheet, other: Reflector) -> bool:
    """Whether a sheet lies where something was found."""
    at = other.sheet.centers()[other.extent]
    return bool(
        abs(sheet.normal @ other.sheet.normal) > 0.9
        and np.abs(at @ sheet.normal - sheet.offset).min() < 20 * sheet.step
        and ((c := sheet.cells(at)) > 0).all(1)[(c < np.array(sheet.shape[::-1])).all(1)].sum() > 0.3 * len(at)
    )


def _sizes(tried: Sequence[_Tried]) -> tuple[tuple[float, float], ...]:
    """Width and height of the openings that were looked at, each once."""
    kept: list[Sheet] = []
    for t in tried:
        middle = t.sheet.centers().mean((0, 1))
        if not any(np.linalg.norm(middle - s.centers().mean((0, 1))) < 0.5 * s.step * max(s.shape) for s in kept):
            kept.append(t.sheet)
    sizes = [(s.step * s.shape[1] / 1.25, s.step * s.shape[0] / 1.25) for s in kept]
    return tuple(sorted(sizes, key=lambda s: -s[0] * s[1]))


# --- how far they reach -----------------------------------------------------------------------------------------------


def _settled(photos: Photos, measured: Measured, tried: _Tried, *, pane: bool) -> Sheet:
    """The plane moved and turned a little to where reflections agree best, with a margin around the opening."""
    best, photos = tried, photos.fewer(12)
    for step in (1.0, 0.5):
        for move in range(3):
            near = [_weigh(photos, measured, _moved(best.sheet, measured, move, s * step)) for s in (-1, 1)]
            best = max([best, *near], key=lambda t: t.pane.rank if pane else t.mirror.match)
    return _wider(best.sheet, measured, 0.07 * measured.reach)


def _moved(sheet: Sheet, measured: Measured, move: int, by: float) -> Sheet:
    """move 0: along its normal by thousandths of reach; 1, 2: turned around its middle by half degrees."""
    corners = sheet.centers()[[0, 0, -1, -1], [0, -1, 0, -1]]
    middle, normal = corners.mean(0), sheet.normal
    if move == 0:
        middle = middle + by * 0.003 * measured.reach * normal
    else:
        normal = normal + np.radians(0.6 * by) * (sheet.right if move == 1 else sheet.down)
        normal = normal / np.linalg.norm(normal)
    offset = float(normal @ middle)
    corners = corners - (corners @ normal - offset)[:, None] * normal
    away = corners - corners.mean(0)
    corners = corners + 0.5 * sheet.step * np.sign(away @ sheet.right)[:, None] * sheet.right
    corners = corners + 0.5 * sheet.step * np.sign(away @ sheet.down)[:, None] * sheet.down
    return sheet_of(normal, offset, corners, sheet.step, sheet.down)


def _wider(sheet: Sheet, measured: Measured, margin: float) -> Sheet:
    """Finer, and larger by a margin on all sides."""
    corners = sheet.centers()[[0, 0, -1, -1], [0, -1, 0, -1]]
    away = corners - corners.mean(0)
    right, down = np.sign(away @ sheet.right), np.sign(away @ sheet.down)
    corners = corners + margin * (right[:, None] * sheet.right + down[:, None] * sheet.down)
    return sheet_of(sheet.normal, sheet.offset, corners, measured.reach / 220, sheet.down, most=280)


def _wall(measured: Measured, sheet: Sheet) -> np.ndarray:
    """bool (rows, columns): where something was measured in the plane."""
    height = measured.points @ sheet.normal - sheet.offset
    near = (np.abs(height) < 0.012 * measured.reach) & (measured.normals @ sheet.normal > 0.5)
    found = votes(sheet, measured.points[near]) > 0.12
    return cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0


def _parts(wall: np.ndarray, core: np.ndarray) -> list[np.ndarray]:
    """What the wall encloses around the core: parts of the sheet, the one with most of the core first."""
    count, label = cv2.connectedComponents((~wall).astype(np.uint8), connectivity=4)
    label = np.asarray(label, np.int64)
    held = np.bincount(label[core & ~wall], minlength=count)
    order = [k for k in np.argsort(-held, kind="stable") if held[k] > max(8, 0.04 * held.max())]
    return [label == k for k in order]


def _at_rim(part: np.ndarray) -> bool:
    rim = np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]])
    return bool(rim.mean() > 0.02)


def _shape(part: np.ndarray, wall: np.ndarray, core: np.ndarray) -> np.ndarray | None:
    """A part as the rectangle or the convex shape that it nearly fills; where it leaks out of the sheet, what of it is
    near the core."""
    if _at_rim(part):
        near = cv2.morphologyEx((core & part).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
        for _ in range(max(2, int(np.sqrt(near.sum())) // 10)):
            near = cv2.dilate(near, np.ones((3, 3), np.uint8)) * part
        part = near > 0
    part = cv2.morphologyEx(part.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    count, label, stats, _ = cv2.connectedComponentsWithStats(part)
    if count < 2:
        return None
    part = (label == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    outline, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.convexHull(np.concatenate(outline))
    box = np.rint(cv2.boxPoints(cv2.minAreaRect(hull))).astype(np.int32)
    for shape in (box, hull.astype(np.int32)):
        whole = cv2.fillConvexPoly(np.zeros_like(part), shape.reshape(-1, 1, 2), 1) > 0
        if (wall & whole).sum() < 0.1 * whole.sum() and part.sum() > 0.6 * whole.sum():
            return whole
    return cv2.drawContours(np.zeros_like(part), outline, -1, 1, cv2.FILLED) > 0


def _mirror(photos: Photos, measured: Measured, tried: _Tried, config: MirrorConfig) -> Reflector | None:
    sheet = _settled(photos, measured, tried, pane=False)
    for step in range(_WIDENED + 1):
        seen = compare(photos, sheet)
        if step and not config.is_mirror(reflections.mirror_match(seen, _through(seen), _window(measured, sheet))):
            return None  # what is around does not reflect
        like = reflections.mirror_likeness(seen)
        wall = _wall(measured, sheet) & ~(like > 0.06)
        parts = _parts(wall, like > 0.03)
        if not parts or not _at_rim(parts[0]) or step == _WIDENED:
            break
        sheet = _wider(sheet, measured, 0.2 * measured.reach)
    if not parts:
        return None
    through = votes(sheet, measured.crossings((sheet.normal, sheet.offset), 0.03 * measured.reach)) > 0.3
    extent = _shape(parts[0], wall, (like > 0.03) | through)
    if extent is None:
        return None
    found = reflections.mirror_match(seen, extent & (~wall | _through(seen)), _window(measured, sheet))
    if not config.is_mirror(found) or not _clear(like, extent, wall, 1 if found.match > config.min_mirror_match else 4):
        return None
    return Reflector("mirror", sheet, extent, found.match, found.chance, found.share)


def _clear(like: np.ndarray, extent: np.ndarray, wall: np.ndarray, factor: float) -> bool:
    """Whether a mirror explains next to all that is known of a part better than a surface does; and where `factor` is
    above 1, whether something around holds the part."""
    ring = (cv2.dilate(extent.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0) & ~extent
    inside = like[cv2.erode(extent.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0]  # likeness is blurred over its rim
    good, bad = float(np.maximum(inside, 0).sum()), float(np.maximum(-inside, 0).sum())
    return good > factor * bad and (factor <= 1 or bool(ring.any() and wall[ring].mean() > 0.8))


def _panes(photos: Photos, measured: Measured, tried: _Tried, config: MirrorConfig) -> Reflector | None:
    """The panes of a plane, as one: those parts that something around encloses, and that reflect."""
    sheet = _settled(photos, measured, tried, pane=True)
    for step in range(_WIDENED + 1):
        seen = compare(photos, sheet)
        wall = _wall(measured, sheet)
        core = _through(seen) & ~wall
        size = _window(measured, sheet)
        parts = _parts(wall, core)
        parts = [p for p in parts if config.is_pane(reflections.pane_match(seen, p & core, size))]
        if not any(map(_at_rim, parts)) or step == _WIDENED:
            break
        sheet = _wider(sheet, measured, 0.2 * measured.reach)
    shapes = [s for p in parts if (s := _shape(p, wall, core)) is not None]
    if not shapes:
        return None
    extent = np.any(shapes, axis=0)
    outline, _ = cv2.findContours(extent.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    box = np.rint(cv2.boxPoints(cv2.minAreaRect(np.concatenate(outline)))).astype(np.int32)
    whole = cv2.fillConvexPoly(np.zeros(extent.shape, np.uint8), box.reshape(-1, 1, 2), 1) > 0
    if extent.sum() > 0.75 * whole.sum():  # bars and shelves between panes
        extent = whole
    found = reflections.pane_match(seen, extent & core, size)
    return Reflector("glass", sheet, extent, found.match, found.chance, found.share) if config.is_pane(found) else None


def _window(measured: Measured, sheet: Sheet) -> int:
    """Cells within which brightness is compared."""
    return max(7, round(0.15 * measured.reach / sheet.step)) | 1
