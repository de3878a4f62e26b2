"""What mirrors and panes reflect: photos held against what they would show if one lay in a plane.

For a plane and every photo the room is drawn as from behind the plane (`sheets`). Where photos differ as those pictures
do, and not as a surface in the plane would, there is a mirror. Where they differ from what they should show through the
plane by a share of those pictures, as large as Fresnel's equations say, there is a pane of glass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rilievo import geometry
from rilievo.stages.mask_scene import Seen
from rilievo.stages.sheets import Sheet, Surface, at_sheet, mirrored_at, to_light

_DARK = 0.02  # light below which differences are noise
_OTHERS = 8
_NOISE = 3e-5  # variance of light, three channels, below which there is nothing to compare
_GLASS_INDEX = 1.52
SHIFTS = (3, 5, 7, 9)
"""The reflections of photos that many places on are what chance is measured with."""


@dataclass(frozen=True)
class Found:
    """match: correlation of photos with what would be reflected.  chance: the largest with what would be in other
    photos.  share: of light that is reflected (of a pane: 1 is as Fresnel's equations say).  count: number of values.
    agree: share of the photos that agree by themselves, 0 where fewer than 5 tell."""

    match: float
    chance: float
    share: float
    count: int
    agree: float

    @property
    def rank(self) -> float:
        return max(self.match, 0.0) * float(np.sqrt(self.count))


NOTHING = Found(0.0, 0.0, 0.0, 0, 0.0)


@dataclass(frozen=True, eq=False)
class Photos:
    """The photos of a scene and its surface. pictures: linear light of the views, float32 (h, w, 3).  residuals: light
    less what the other photos say should be there, its channels' mean, float32 (h, w, 1), NaN unknown; or none."""

    views: tuple[Seen, ...]
    eyes: np.ndarray
    pictures: tuple[np.ndarray, ...]
    residuals: tuple[np.ndarray, ...] | None
    surface: Surface
    far: float

    @staticmethod
    def of(
        views: Sequence[Seen], surface: Surface, far: float, residuals: Sequence[np.ndarray] | None = None
    ) -> Photos:
        eyes = np.array([geometry.invert(v.view.cam_from_world)[:, 3] for v in views])
        pictures = tuple(to_light(v.view.pixels) for v in views)
        return Photos(tuple(views), eyes, pictures, None if residuals is None else tuple(residuals), surface, far)

    def fewer(self, most: int) -> Photos:
        """Some of the photos, evenly."""
        k = slice(None, None, max(1, round(len(self.views) / most)))
        left = None if self.residuals is None else self.residuals[k]
        return Photos(self.views[k], self.eyes[k], self.pictures[k], left, self.surface, self.far)


@dataclass(frozen=True, eq=False)
class Compared:
    """At a sheet, for all photos (n, rows, columns, 3): the logarithm of the light that they show, and of that which a
    mirror would; where they know the one, and both (n, rows, columns). steady: median over the photos of what they
    show.  residual: float32 (n, rows, columns), as of `Photos`, and where it is known.  share: of light that a pane
    would reflect (n, rows, columns).  behind: number of photos that see through the sheet (rows, columns).
    """

    shown: np.ndarray
    reflected: np.ndarray
    known: np.ndarray
    both: np.ndarray
    steady: np.ndarray
    residual: np.ndarray
    residual_known: np.ndarray
    share: np.ndarray
    behind: np.ndarray


def compare(photos: Photos, sheet: Sheet, *, slack: float = 0.02) -> Compared:
    """Photos and their reflections at a sheet."""
    surface = photos.surface.before(sheet, 2 * sheet.step)
    n = len(photos.views)
    some = list(range(0, n, max(1, n // _OTHERS)))
    shape = (n, *sheet.shape)
    shown, reflected = (np.zeros((*shape, 3), np.float32) for _ in range(2))
    residual, share = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    known, both, residual_known = (np.zeros(shape, bool) for _ in range(3))
    behind = np.zeros(sheet.shape, np.int32)
    centers = sheet.centers()
    for i, seen in enumerate(photos.views):
        here = at_sheet(sheet, seen, photos.pictures[i], slack)
        chosen = some if i in some else [*some, i]
        light, count = mirrored_at(
            sheet, photos.eyes[i], surface, [photos.views[k] for k in chosen], [photos.pictures[k] for k in chosen],
            photos.far,
        )  # fmt: skip
        shown[i], reflected[i] = np.log(here.light + _DARK), np.log(light + _DARK)
        known[i], both[i] = here.known, here.known & (count > 0)
        behind += here.behind
        if photos.residuals is not None:
            left = at_sheet(sheet, seen, photos.residuals[i], slack)
            residual[i], residual_known[i] = left.light[..., 0], left.known & (count > 0)
            ray = centers - photos.eyes[i]
            share[i] = pane_share(np.abs(ray @ sheet.normal) / np.linalg.norm(ray, axis=-1))
    return Compared(
        shown, reflected, known, both, _median(shown, known), residual, residual_known, share, behind
    )  # fmt: skip


def pane_share(cosine: np.ndarray) -> np.ndarray:
    """Share of unpolarised light that a thin pane reflects with both faces, by Fresnel's equations: 2 R / (1 + R)."""
    inside = np.sqrt(1 - np.maximum(1 - cosine**2, 0) / _GLASS_INDEX**2)
    s = ((cosine - _GLASS_INDEX * inside) / (cosine + _GLASS_INDEX * inside)) ** 2
    p = ((inside - _GLASS_INDEX * cosine) / (inside + _GLASS_INDEX * cosine)) ** 2
    return (s + p) / (1 + (s + p) / 2)


def _median(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Over the photos that know: values (n, rows, columns, 3) -> (rows, columns, 3), 0 where none does."""
    ordered = np.sort(np.where(known[..., None], values, np.inf), axis=0)
    count = known.sum(0)
    ranks = (np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(values) - 1))
    low, high = (
        np.take_along_axis(ordered, np.broadcast_to(k[None, ..., None], (1, *values.shape[1:])), 0)[0] for k in ranks
    )
    with np.errstate(invalid="ignore"):
        return np.where((count > 0)[..., None], (low + high) / 2, 0).astype(np.float32)


# --- mirrors ----------------------------------------------------------------------------------------------------------


def mirror_likeness(seen: Compared, *, least: float = 2.0) -> np.ndarray:
    """By how much better the photos are explained by a mirror than by a surface in the plane: float32 (rows, columns),
    in units of the logarithm of light, 0 where fewer than `least` photos tell."""
    off_surface = np.abs(seen.shown - seen.steady).mean(-1)
    off_mirror = np.abs(seen.shown - seen.reflected - _loss(seen, off_surface)[:, None, None, None]).mean(-1)
    gain = np.where(seen.both, np.minimum(off_surface, 0.5) - np.minimum(off_mirror, 0.5), 0).astype(np.float32)
    count = seen.both.sum(0).astype(np.float32)
    total, number = (cv2.blur(a, (5, 5)) for a in (gain.sum(0), count))
    return np.where(number >= least, total / np.maximum(number, 1e-6), 0).astype(np.float32)


def _loss(seen: Compared, off_surface: np.ndarray) -> np.ndarray:
    """The logarithm of what a mirror there would leave of the light, a photo: a little below 0."""
    out = np.full(len(seen.shown), np.log(0.9), np.float32)
    for i, both in enumerate(seen.both):
        moving = both & (off_surface[i] > 0.15)
        if moving.sum() >= 30:
            out[i] = np.clip(np.median((seen.shown[i] - seen.reflected[i])[moving]), np.log(0.5), np.log(1.15))
    return out


def mirror_match(seen: Compared, where: np.ndarray, size: int) -> Found:
    """How well photos show, in the cells `where`, what a mirror would.

    Correlations are of surroundings of `size` cells, each with a weight of the contrast that it should have: somebody
    who stands before the mirror spoils some of them, and not the sum. What is the same in all photos is left out.
    """
    x, y, known = [], [], []
    for shown, reflected, both in zip(seen.shown, seen.reflected, seen.both):
        ok = both & where
        x.append(_flat(np.exp(shown) - np.exp(seen.steady), ok, size))
        y.append(_flat(np.exp(reflected), ok, size))
        known.append(ok.astype(np.float32))
    r, share, count, agree = _agreement(x, y, known, known, size)
    others = [_agreement(x, y[k:] + y[:k], known, known[k:] + known[:k], size) for k in SHIFTS]
    for k in (-size, size):  # and beside its place
        beside = ([np.roll(v, k, axis=1) for v in values] for values in (y, known))
        others.append(_agreement(x, next(beside), known, next(beside), size))
    chance = max((abs(o[0]) for o in others if o[2] > 0.1 * count), default=0.0)
    return Found(r, chance, share, count, agree)


def _agreement(
    x: Sequence[np.ndarray], y: Sequence[np.ndarray], known: Sequence[np.ndarray], too: Sequence[np.ndarray], size: int
) -> tuple[float, float, int, float]:
    """Mean correlation of surroundings of x with those of y, slope where they agree, the number of values, and the
    share of photos with a correlation, 0 where fewer than 5 tell."""
    single = []
    total = weights = slope_xy = slope_yy = 0.0
    count = 0
    for a, b, known_a, known_b in zip(x, y, known, too):
        ok = known_a * known_b
        if ok.sum() < 30:
            continue
        count += int(ok.sum())
        share = cv2.blur(ok, (size, size))
        xy, xx, yy = (cv2.blur((p * q).sum(-1) * ok, (size, size)) for p, q in ((a, b), (a, a), (b, b)))
        local = xy / np.sqrt(np.maximum((xx + _NOISE * share) * (yy + _NOISE * share), 1e-20))
        weight = np.sqrt(np.maximum(yy, 0)) * ok
        single.append(float((weight * local).sum()) / max(float(weight.sum()), 1e-9))
        total, weights = total + float((weight * local).sum()), weights + float(weight.sum())
        good = (local > 0.5) & (ok > 0)
        slope_xy, slope_yy = slope_xy + float(xy[good].sum()), slope_yy + float(yy[good].sum())
    agree = float(np.mean(np.array(single) > 0.1)) if len(single) >= 5 else 0.0
    return total / max(weights, 1e-9), slope_xy / max(slope_yy, 1e-9), count, agree


def _flat(values: np.ndarray, ok: np.ndarray, size: int) -> np.ndarray:
    """Less their mean around each cell, 0 where not ok; values (rows, columns) or (rows, columns, channels)."""
    weight = np.maximum(cv2.blur(ok.astype(np.float32), (size, size)), 1e-3)
    if values.ndim == 3:
        ok, weight = ok[..., None], weight[..., None]
    return (values - cv2.blur(values * ok, (size, size)).reshape(values.shape) / weight) * ok


def _regress(x: Sequence[np.ndarray], y: Sequence[np.ndarray]) -> tuple[float, float, int]:
    """(correlation, slope) of x on y, where both are not 0, and at how many places they are not."""
    xy = xx = yy = 0.0
    count = 0
    for a, b in zip(x, y):
        ok = (a != 0) & (b != 0)
        count += int(ok.sum())
        xy, xx, yy = xy + float((a * b).sum()), xx + float((a * a)[ok].sum()), yy + float((b * b)[ok].sum())
    return xy / max(float(np.sqrt(xx * yy)), 1e-12), xy / max(yy, 1e-12), count


def _chance(x: Sequence[np.ndarray], y: Sequence[np.ndarray]) -> float:
    """The largest correlation with those of other photos; 0.3 where they have too little in common to tell."""
    least = 0.1 * _regress(x, y)[2]
    found = [_regress(x, [*y[k:], *y[:k]]) for k in SHIFTS]
    return max((abs(r) for r, _, count in found if count > least), default=0.3)


# --- panes ------------------------------------------------------------------------------------------------------------


def pane_match(seen: Compared, where: np.ndarray, size: int) -> Found:
    """How well what photos show too much agrees, in the cells `where`, with what a pane would reflect."""
    x, y, count = [], [], 0
    for i in range(len(seen.shown)):
        ok = seen.residual_known[i] & where
        count += int(ok.sum())
        x.append(np.clip(_flat(seen.residual[i], ok, size), -0.05, 0.05))
        y.append(_flat((np.exp(seen.reflected[i]).mean(-1) - _DARK) * seen.share[i], ok, size))
    r, b, _ = _regress(x, y)
    return Found(r, _chance(x, y), b, count, 0.0)
