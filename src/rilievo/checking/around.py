"""How the places of photos lie around what they show: kind of capture, missing sectors, tiers, angular spacing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from rilievo.stages.camera_path import looked_at, scene_up
from rilievo.types import Reconstruction

# Angular step between neighbours around an object: the least that works, and what professionals keep to.
MIN_STEP_DEG, PRO_STEP_DEG = 30.0, 15.0
MIN_TIERS, PRO_TIERS = 2, 3
# Photos whose elevations differ by less belong to one tier.
_TIER_DEG = 9.0
# A second tier stands this far above or below the first: farther, its photos would match those of the first badly.
_NEXT_TIER_DEG = 22.0


@dataclass(frozen=True)
class Tier:
    """Photos at about one elevation over the target."""

    elevation_deg: float
    photos: tuple[str, ...]
    step_deg: float


@dataclass(frozen=True)
class Sector:
    """A part of the round without photos, counter-clockwise from above, 0 to 360 + width. start, end: what should be
    filled; the photos at its sides stand half a step away.  before, after: these photos."""

    start_deg: float
    end_deg: float
    before: str
    after: str

    @property
    def width_deg(self) -> float:
        return self.end_deg - self.start_deg


@dataclass(frozen=True, eq=False)
class Around:
    """kind: "object" (photos look inwards from around), "front" (a wall, a relief), "area" (from above), "room" (photos
    look outwards or every way).  target: what is looked at.  up, east, north: axes of azimuth (0: east) and elevation.
    azimuth_deg, elevation_deg, distance: of each photo, seen from the target.  azimuth_zero: what azimuth 0 is, words.
    spacing_deg: of each photo, the angle to its nearest neighbour at the target.  step_deg: typical step of a tier.
    """

    kind: str
    target: np.ndarray
    up: np.ndarray
    east: np.ndarray
    north: np.ndarray
    azimuth_deg: np.ndarray
    elevation_deg: np.ndarray
    distance: np.ndarray
    spacing_deg: np.ndarray
    azimuth_zero: str
    step_deg: float
    tiers: tuple[Tier, ...]
    sectors: tuple[Sector, ...]
    largest_gap_deg: float
    tier_gap: float

    def place(self, azimuth_deg: float, elevation_deg: float, distance: float) -> np.ndarray:
        """A point around the target, world."""
        a, e = np.radians([azimuth_deg, elevation_deg])
        level = np.cos(a) * self.east + np.sin(a) * self.north
        return self.target + distance * (np.cos(e) * level + np.sin(e) * self.up)

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "kind": self.kind,
            "azimuth_zero": self.azimuth_zero,
            "step_deg": round(self.step_deg, 1),
            "spacing_deg": {
                "median": round(float(np.median(self.spacing_deg)), 1),
                "largest": round(float(np.max(self.spacing_deg)), 1),
            },
            "largest_gap_deg": round(self.largest_gap_deg, 1),
            "tiers": [
                {"elevation_deg": round(t.elevation_deg, 1), "photos": len(t.photos), "step_deg": round(t.step_deg, 1)}
                for t in self.tiers
            ],
            "missing_tier": missing_elevation(self),
            "missing_sectors": [
                {
                    "from_deg": round(s.start_deg % 360, 1),
                    "to_deg": round(s.end_deg % 360, 1),
                    "width_deg": round(s.width_deg, 1),
                    "between": [s.before, s.after],
                }
                for s in self.sectors
            ],
        }


def look_around(scene: Reconstruction, kind: str = "auto") -> Around:
    """Where the photos of a scene with at least 2 photos stand around what they show. kind: "auto", or what it is."""
    up = scene_up(scene.cam_from_world)
    centers, ahead = scene.centers, scene.cam_from_world[:, 2, :3]
    target = looked_at(scene.cam_from_world, scene.points if len(scene.points) else None)
    offset = centers - target
    distance = np.maximum(np.linalg.norm(offset, axis=1), 1e-12)
    first = int(np.argmin(np.where(np.abs(offset @ up) < 0.9 * distance, np.arange(len(centers)), len(centers))))
    if scene.frame == "enu":
        east, zero = np.array([1.0, 0.0, 0.0]), "east, 90 is north"
        east = east - up * (east @ up)
    else:
        east, zero = offset[first] - up * (offset[first] @ up), scene.names[first]
    if np.linalg.norm(east) < 1e-9:
        east = np.cross(up, [0.0, 1.0, 0.0] if abs(up[1]) < 0.9 else [1.0, 0.0, 0.0])
    east = east / np.linalg.norm(east)
    north = np.cross(up, east)
    azimuth = np.degrees(np.arctan2(offset @ north, offset @ east)) % 360
    elevation = np.degrees(np.arcsin(np.clip(offset @ up / distance, -1, 1)))
    unit = offset / distance[:, None]
    cos = np.clip(unit @ unit.T, -1, 1)
    np.fill_diagonal(cos, -1)
    spacing = np.degrees(np.arccos(cos.max(1)))
    if kind == "auto":
        kind = _kind(ahead, unit, up, azimuth, elevation)
    tiers = _tiers(scene.names, azimuth, elevation)
    step = _step(tiers, azimuth, spacing)
    sectors, largest = _sectors(scene.names, azimuth, elevation, step) if kind == "object" else ((), 0.0)
    gap = _tier_gap(elevation) if kind == "object" else 0.0
    return Around(
        kind, target, up, east, north, azimuth, elevation, distance, spacing, zero, step, tiers, sectors, largest, gap
    )


def _kind(ahead: np.ndarray, unit: np.ndarray, up: np.ndarray, azimuth: np.ndarray, elevation: np.ndarray) -> str:
    inward = -(ahead * unit).sum(1) > np.cos(np.radians(35))
    if np.median(-ahead @ up) > np.cos(np.radians(35)) and float(np.std(unit @ up)) < 0.25:
        return "area"
    if inward.mean() > 0.7:
        ordered = np.sort(azimuth[elevation < 70]) if (elevation < 70).sum() > 1 else np.sort(azimuth)
        gap = float(np.max(np.diff(np.r_[ordered, ordered[0] + 360])))
        return "object" if gap < 200 else "front"
    return "front" if np.linalg.norm(ahead.mean(0)) > 0.75 else "room"


def _tiers(names: tuple[str, ...], azimuth: np.ndarray, elevation: np.ndarray) -> tuple[Tier, ...]:
    """Photos sorted into tiers: groups of elevations with wider steps between them than within."""
    order = np.argsort(elevation, kind="stable")
    groups, group = [], [int(order[0])]
    for i, j in pairwise(order.tolist()):
        if elevation[j] - elevation[i] > 0.55 * _TIER_DEG or elevation[j] - elevation[group[0]] > 2.5 * _TIER_DEG:
            groups.append(group)
            group = []
        group.append(int(j))
    groups.append(group)
    merged: list[list[int]] = []
    for g in groups:
        close = merged and float(np.mean(elevation[g]) - np.mean(elevation[merged[-1]])) < _TIER_DEG
        if close:
            merged[-1] += g
        else:
            merged.append(list(g))
    # strays are no tier
    enough = [g for g in merged if len(g) >= max(3, 0.12 * len(names))] or merged[:1]
    out = []
    for g in enough:
        a = np.sort(azimuth[g])
        steps = np.diff(np.r_[a, a[0] + 360]) if len(a) > 1 else np.array([360.0])
        out.append(Tier(float(np.mean(elevation[g])), tuple(names[i] for i in sorted(g)), float(np.median(steps))))
    return tuple(out)


def _step(tiers: tuple[Tier, ...], azimuth: np.ndarray, spacing: np.ndarray) -> float:
    """Typical step between neighbours of a tier, degrees of azimuth."""
    steps = [t.step_deg for t in tiers if len(t.photos) >= 4]
    return float(min(steps)) if steps else float(np.median(spacing))


def _sectors(
    names: tuple[str, ...], azimuth: np.ndarray, elevation: np.ndarray, step: float
) -> tuple[tuple[Sector, ...], float]:
    """Parts of the round that no photo of any tier looks from, widest first, and the widest step of all."""
    level = np.flatnonzero(elevation < 70)  # photos from straight above look from everywhere and nowhere
    if len(level) < 3:
        return (), 0.0
    order = level[np.argsort(azimuth[level], kind="stable")]
    nexts = np.roll(order, -1)
    width = (azimuth[nexts] - azimuth[order]) % 360
    found = []
    for i, j, w in zip(order, nexts, width):
        if w > max(1.7 * step, MIN_STEP_DEG + 5):
            half = min(step / 2, w / 4)
            start = float(azimuth[i]) + half
            found.append(Sector(start, start + float(w) - 2 * half, names[i], names[j]))
    return tuple(sorted(found, key=lambda s: -s.width_deg)), float(width.max())


def _tier_gap(elevation: np.ndarray) -> float:
    """How badly a tier is missing: below 1 two tiers or more follow one another closely enough."""
    low, high = np.quantile(elevation, [0.05, 0.95])
    if high - low < 15:
        return 2.0 - float(high - low) / 15
    ordered = np.sort(elevation)
    inner = ordered[(ordered >= low) & (ordered <= high)]
    return float(np.max(np.diff(inner))) / 40.0


def missing_elevation(around: Around) -> float | None:
    """Where a tier is missing, degrees above the target; None where there are enough."""
    levels = [t.elevation_deg for t in around.tiers]
    if around.kind != "object" or not levels or around.tier_gap <= 1:
        return None
    if len(levels) < MIN_TIERS:
        return levels[0] + _NEXT_TIER_DEG if levels[0] < 30 else max(levels[0] - _NEXT_TIER_DEG, 8.0)
    steps = np.diff(levels)
    k = int(np.argmax(steps))
    return (levels[k] + levels[k + 1]) / 2
