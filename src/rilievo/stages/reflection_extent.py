"""Planes held against the photos as mirrors and as panes, settled to where reflections agree best, and how far what
lies in them reaches: up to what is measured in the plane around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from rilievo.stages import reflections
from rilievo.stages.reflection_planes import Measured, votes
from rilievo.stages.reflections import NOTHING, Compared, Found, Photos, compare
from rilievo.stages.sheets import Sheet, sheet_of

_WIDENED = 2


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
    """the same where next to nothing that it shows is seen directly, but most photos agree"""
    min_pane_match: float = 0.2
    """smallest correlation of what photos show too much with what a pane would reflect"""
    min_margin: float = 0.2
    """by how much a mirror's correlation is larger than chance"""
    seed: int = 0
    """seed of the random planes"""

    def is_mirror(self, found: Found) -> bool:
        if found.match - found.chance < min(self.min_margin, 0.9 * found.match) or not found.count > 100:
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
class Tried:
    """A plane around an opening, as a mirror and as a pane."""

    sheet: Sheet
    mirror: Found
    pane: Found


def weigh(photos: Photos, measured: Measured, sheet: Sheet) -> Tried:
    seen, size = compare(photos, sheet), _window(measured, sheet)
    where = _through(seen)
    mirror = reflections.mirror_match(seen, where | ~_wall(measured, sheet), size)
    pane = reflections.pane_match(seen, where, size) if photos.residuals else NOTHING
    return Tried(sheet, mirror, pane)


def _through(seen: Compared) -> np.ndarray:
    """bool (rows, columns): cells through which most photos see."""
    return seen.behind > 0.5 * np.maximum(seen.known.sum(0), 1)


def _settled(photos: Photos, measured: Measured, tried: Tried, *, pane: bool) -> Sheet:
    """The plane moved and turned a little to where reflections agree best, with a margin around the opening."""
    best, photos = tried, photos.fewer(12)
    for step in (1.0, 0.5):
        for move in range(3):
            near = [weigh(photos, measured, _moved(best.sheet, measured, move, s * step)) for s in (-1, 1)]
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


def mirror_at(photos: Photos, measured: Measured, tried: Tried, config: MirrorConfig) -> Reflector | None:
    """The mirror in a plane, if there is one."""
    sheet = _settled(photos, measured, tried, pane=False)
    sure = tried.mirror.match > config.min_mirror_match
    for step in range(_WIDENED + 1):
        seen = compare(photos, sheet)
        around = reflections.mirror_match(seen, _through(seen), _window(measured, sheet))
        if step and not sure and not config.is_mirror(around):
            return None  # what is around does not reflect
        like = reflections.mirror_likeness(seen)
        wall = _wall(measured, sheet) & (like <= 0.06)
        parts = _parts(wall, like > 0.03)
        if parts and _at_rim(parts[0]) and step < _WIDENED:
            sheet = _wider(sheet, measured, 0.2 * measured.reach)
            continue
        through = votes(sheet, measured.crossings((sheet.normal, sheet.offset), 0.03 * measured.reach)) > 0.3
        extent = _shape(parts[0], wall, (like > 0.03) | through) if parts else None
        return None if extent is None else _judged(seen, measured, sheet, like, wall, extent, config)
    return None


def _judged(
    seen: Compared,
    measured: Measured,
    sheet: Sheet,
    like: np.ndarray,
    wall: np.ndarray,
    extent: np.ndarray,
    config: MirrorConfig,
) -> Reflector | None:
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


def pane_at(photos: Photos, measured: Measured, tried: Tried, config: MirrorConfig) -> Reflector | None:
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
