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
_GLASS_INDEX = 1.52
SHIFTS = (1, 3, 5, 7)
"""The reflections of photos that many places on are what chance is measured with."""


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
    low, high = (np.take_along_axis(ordered, np.broadcast_to(k[None, ..., None], (1, *values.shape[1:])), 0)[0] for k in ranks)
    with np.errstate(invalid="ignore"):
        return np.where((count > 0)[..., None], (low + high) / 2, 0).astype(np.float32)


# --- mirrors ----------------------------------------------------------------------------------------------------------


def mirror_likeness(seen: Compared, *, least: int = 3) -> np.ndarray:
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


def mirror_match(seen: Compared, where: np.ndarray, size: int) -> tuple[float, float, float]:
    """Over the cells `where`: correlation of the photos with what a mirror would show, the largest with what it would
    show in other photos, and the share of light that it gives back. All without what is the same `size` cells around or
    in all photos."""
    n = len(seen.shown)
    x, y = [], []
    for i in range(n):
        for to, values in ((x, seen.shown[i]), (y, seen.reflected[i])):
            light = (np.exp(values) - np.exp(seen.steady)).mean(-1)
            to.append(_flat(light, seen.both[i] & where, size))
    r, b = _regress(x, y)
    return r, max(_regress(x, y[k:] + y[:k])[0] for k in SHIFTS), b


def _flat(values: np.ndarray, ok: np.ndarray, size: int) -> np.ndarray:
    """Less their mean around each cell, 0 where not ok."""
    ok = ok.astype(np.float32)
    weight = np.maximum(cv2.blur(ok, (size, size)), 1e-3)
    return (values - cv2.blur(values * ok, (size, size)) / weight) * ok


def _regress(x: Sequence[np.ndarray], y: Sequence[np.ndarray]) -> tuple[float, float]:
    """(correlation, slope) of x on y, where both are not 0."""
    xy = xx = yy = 0.0
    for a, b in zip(x, y):
        ok = (a != 0) & (b != 0)
        xy, xx, yy = xy + float((a * b).sum()), xx + float((a * a)[ok].sum()), yy + float((b * b)[ok].sum())
    return xy / max(float(np.sqrt(xx * yy)), 1e-12), xy / max(yy, 1e-12)


# --- panes ------------------------------------------------------------------------------------------------------------


def pane_match(seen: Compared, where: np.ndarray, size: int) -> tuple[float, float, float, int]:
    """Over the cells `where`: correlation of what photos show too much with what a pane would reflect, the largest with
    what it would reflect in other photos, the slope (1: as Fresnel says), and the number of values."""
    x, y, count = [], [], 0
    for i in range(len(seen.shown)):
        ok = seen.residual_known[i] & where
        count += int(ok.sum())
        x.append(np.clip(_flat(seen.residual[i], ok, size), -0.05, 0.05))
        y.append(_flat((np.exp(seen.reflected[i]).mean(-1) - _DARK) * seen.share[i], ok, size))
    r, b = _regress(x, y)
    return r, max(abs(_regress(x, y[k:] + y[:k])[0]) for k in SHIFTS), b, count
