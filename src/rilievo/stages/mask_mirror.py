"""Mirrors and panes of glass: parts of planes that show the images of what stands before them, instead of what
lies behind them or besides it.

Where photos see through an opening in a plane, or past a frame that stands before it, planes around are tried: for each
the room is drawn as a mirror there would show it, and the photos are held against that (`reflections`). An open door or
a window without a pane reflects nothing and is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from rilievo import geometry
from rilievo.stages.mask_scene import Seen, expected, places
from rilievo.stages.reflection_extent import MirrorConfig, Reflector, Tried, mirror_at, pane_at, weigh
from rilievo.stages.reflection_planes import Measured, Plane, fronts, openings, rims, walls
from rilievo.stages.reflections import Photos
from rilievo.stages.sheets import Sheet, Surface, sheet_of, to_light
from rilievo.types import Camera, Mesh, PointCloud

_MOST_SETTLED = 6
_USUAL = MirrorConfig()


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
    config: MirrorConfig = _USUAL,
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
    tried: list[Tried] = []
    for wall, sheet, part in places_:
        _try(tried, photos.fewer(12), measured, planes, wall, sheet, part, level, config)
    mirrors: list[Reflector] = []
    hopeful = sorted(
        (t for t in tried if config.may_be_mirror(t.mirror)), key=lambda t: t.mirror.chance - t.mirror.match
    )
    for t in hopeful[:_MOST_SETTLED]:
        if (
            all(not _meets(t.sheet, m) for m in mirrors)
            and (found := mirror_at(photos, measured, t, config)) is not None
        ):
            mirrors.append(found)
    found_panes: list[Reflector] = []
    for t in sorted((t for t in tried if config.is_pane(t.pane)), key=lambda t: -t.pane.rank):
        if any(_meets(t.sheet, m) for m in (*mirrors, *found_panes)):
            continue
        if (found := pane_at(photos, measured, t, config)) is not None:
            found_panes.append(found)
    untold = [t for t in tried if not any(_meets(t.sheet, m) for m in (*mirrors, *found_panes))]
    return Reflections(tuple(mirrors), tuple(found_panes), _sizes(untold), len(_sizes(tried)))


def describe(found: Reflections, unit: str, kinds: Sequence[str]) -> list[str]:
    """Sentences on what was found, or why nothing was."""

    def measure(size: tuple[float, float]) -> str:
        return f"{size[0]:.3g} x {size[1]:.3g} {unit}"

    out = [
        f"{'a mirror' if r.kind == 'mirror' else 'a pane of glass'} of {measure(r.size)}: what photos show there "
        f"agrees with what it should reflect (correlation {r.match:.2f}, by chance {r.chance:.2f})"
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


def _try(
    tried: list[Tried],
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

        first = [weigh(photos, measured, sheet_at(k)) for k in (-2, 0, 2)]
        around = {k for t, k in zip(first, (-2, 0, 2)) if t.mirror.match > 0.12 or t.pane.match > 0.1}
        more = sorted({k + d for k in around for d in (-1, 1)})
        found = [*first, *(weigh(photos, measured, sheet_at(k)) for k in more)]
        as_mirror = max(found, key=lambda t: t.mirror.match if t.mirror.count > 100 else 0.0)
        as_pane = max(found, key=lambda t: t.pane.rank)
        tried += [as_mirror] if as_mirror is as_pane else [as_mirror, as_pane]


def _covers(sheet: Sheet, points: np.ndarray) -> bool:
    c = sheet.cells(points)
    return bool(((c > -2) & (c < np.array(sheet.shape[::-1]) + 2)).all(1).mean() > 0.9)


def _meets(sheet: Sheet, other: Reflector) -> bool:
    """Whether a sheet lies where something was found."""
    at = other.sheet.centers()[other.extent]
    if abs(sheet.normal @ other.sheet.normal) < 0.9 or np.abs(at @ sheet.normal - sheet.offset).min() > 20 * sheet.step:
        return False
    cells = sheet.cells(at)
    inside = ((cells > 0) & (cells < np.array(sheet.shape[::-1]))).all(1)
    return bool(inside.mean() > 0.3)


def _sizes(tried: Sequence[Tried]) -> tuple[tuple[float, float], ...]:
    """Width and height of the openings that were looked at, each once."""
    kept: list[Sheet] = []
    for t in tried:
        middle = t.sheet.centers().mean((0, 1))
        if not any(np.linalg.norm(middle - s.centers().mean((0, 1))) < 0.5 * s.step * max(s.shape) for s in kept):
            kept.append(t.sheet)
    sizes = [(s.step * s.shape[1] / 1.25, s.step * s.shape[0] / 1.25) for s in kept]
    return tuple(sorted(sizes, key=lambda s: -s[0] * s[1]))
