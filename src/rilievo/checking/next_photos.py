"""Which photos to take next: places around what was photographed that give the most, nearest to what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rilievo import geometry
from rilievo.capture.coverage import MAX_INCIDENCE_DEG, Picture
from rilievo.checking.around import Around, missing_elevation
from rilievo.checking.surface import MIN_VIEWS, Patches, quality_of, usual_camera
from rilievo.types import Camera, Reconstruction

# A new photo must connect: this much of what it sees is seen by others from directions within this angle.
_MIN_SHARED, _NEAR_DEG = 0.35, 40.0
# And stand no farther than this (at the target), or than the photos usually do, from one that is there or comes first.
_MAX_APART_DEG = 26.0
# A new photo that gives less than this (share of the best possible score) is not worth the walk.
_MIN_GAIN = 0.002


@dataclass(frozen=True, eq=False)
class Proposal:
    """A photo to take. cam_from_world: in the frame of the alignment.  near: the photo whose place is nearest, and
    turn_deg (to the right, round the subject), rise_deg (upwards), farther (distance over that photo's) from there.
    gain: points of the coverage score that it adds after those before it."""

    cam_from_world: np.ndarray
    camera: Camera
    near: str
    turn_deg: float
    rise_deg: float
    farther: float
    gain: float
    reason: str

    def words(self) -> str:
        """Where to stand."""
        parts = []
        if abs(self.turn_deg) >= 3:
            side = "right" if self.turn_deg > 0 else "left"
            parts.append(f"{abs(self.turn_deg):.0f} degrees round to the {side} of")
        if abs(self.rise_deg) >= 5:
            parts.append(f"{abs(self.rise_deg):.0f} degrees {'above' if self.rise_deg > 0 else 'below'}")
        where = " and ".join(parts) or "close to"
        distance = "" if 0.85 < self.farther < 1.18 else f", {self.farther:.1f} times as far away"
        return f"{where} {self.near}{distance}; {self.reason}"

    def to_json(self) -> dict[str, Any]:
        return {
            "words": self.words(),
            "near": self.near,
            "turn_deg": round(self.turn_deg, 1),
            "rise_deg": round(self.rise_deg, 1),
            "farther": round(self.farther, 2),
            "gain": round(self.gain, 2),
            "cam_from_world": np.round(self.cam_from_world, 9).tolist(),
            "center": np.round(geometry.invert(self.cam_from_world)[:, 3], 6).tolist(),
        }


class _State:
    """What each patch has so far, growing with each photo that is chosen."""

    def __init__(self, patches: Patches, scene: Reconstruction) -> None:
        seen = patches.seen
        n = len(patches.points)
        self.patches, self.counts = patches, seen.counts.astype(np.int64)
        self.angle = np.nan_to_num(seen.angle_deg)
        self.incidence = np.nan_to_num(seen.incidence_deg, nan=90.0)
        widest = int(self.counts.max(initial=0)) + 16
        self.directions = np.full((n, widest, 3), np.nan, np.float32)
        to_eye = scene.centers[seen.view_index] - np.repeat(patches.points, seen.counts, axis=0)
        to_eye /= np.maximum(np.linalg.norm(to_eye, axis=1, keepdims=True), 1e-300)
        row = np.repeat(np.arange(n), seen.counts)
        self.directions[row, np.arange(len(row)) - seen.view_offsets[row]] = to_eye

    def with_photo(self, rows: np.ndarray, direction: np.ndarray, incidence: np.ndarray) -> np.ndarray:
        """Quality (m,) of patches `rows` if they were seen along `direction` (m, 3), to the eye, too."""
        cos = np.einsum("nkd,nd->nk", self.directions[rows], direction.astype(np.float32))
        least = np.nan_to_num(cos, nan=1.0).min(1)
        angle = np.maximum(self.angle[rows], np.degrees(np.arccos(np.clip(least, -1, 1))))
        return quality_of(self.counts[rows] + 1, angle, np.minimum(self.incidence[rows], incidence))

    def quality(self) -> np.ndarray:
        return quality_of(self.counts, self.angle, self.incidence)

    def connects(self, rows: np.ndarray, direction: np.ndarray) -> float:
        """Share of patches `rows` that a photo sees from a direction not far from `direction` (m, 3)."""
        if not len(rows):
            return 0.0
        cos = np.einsum("nkd,nd->nk", self.directions[rows], direction.astype(np.float32))
        return float((np.nan_to_num(cos, nan=-1.0).max(1) > np.cos(np.radians(_NEAR_DEG))).mean())

    def add(self, rows: np.ndarray, direction: np.ndarray, incidence: np.ndarray) -> None:
        cos = np.einsum("nkd,nd->nk", self.directions[rows], direction.astype(np.float32))
        least = np.nan_to_num(cos, nan=1.0).min(1)
        self.angle[rows] = np.maximum(self.angle[rows], np.degrees(np.arccos(np.clip(least, -1, 1))))
        self.incidence[rows] = np.minimum(self.incidence[rows], incidence)
        self.directions[rows, np.minimum(self.counts[rows], self.directions.shape[1] - 1)] = direction
        self.counts[rows] += 1


@dataclass(frozen=True, eq=False)
class _Candidate:
    pose: np.ndarray
    rows: np.ndarray
    direction: np.ndarray
    incidence: np.ndarray
    azimuth: float
    elevation: float
    reason: str


def propose(scene: Reconstruction, around: Around, patches: Patches, num: int = 5) -> tuple[list[Proposal], np.ndarray]:
    """(photos to take next, best first in the order of a walk; bool (n,): surface that photos can see at all, from
    where there are some or could be).

    Candidates stand around the object at the distances and heights of the photos (and of a missing tier), before a
    front or over an area between and beside the photos. One after the other the candidate is taken that adds most to
    the coverage of the surface, and to the round where a sector or a tier is missing, among those that connect.
    """
    camera = usual_camera(scene)
    places = _around_object(around) if around.kind == "object" else _beside(scene, around)
    picture = Picture(camera)
    candidates = []
    for pose, reason in places:
        found = _view(picture, pose, patches, around, reason)
        if found is not None:
            candidates.append(found)
    wanted = patches.seen.counts > 0
    for c in candidates:
        wanted[c.rows] = True
    weight = patches.weight * wanted
    total = max(float(weight.sum()), 1e-9)
    state = _State(patches, scene)
    centers = [*scene.centers]
    chosen: list[Proposal] = []
    units = list((scene.centers - around.target) / around.distance[:, None])
    left = list(range(len(candidates)))
    while left and len(chosen) < num:
        now = state.quality()
        best, best_gain, best_points = -1, _MIN_GAIN, 0.0
        for k in left:
            c = candidates[k]
            unit = _unit(c.pose, around)
            apart = float(np.degrees(np.arccos(np.clip(max(unit @ u for u in units), -1, 1))))
            if apart < 0.25 * max(around.step_deg, 8.0):
                continue
            # the next photo must be able to see its neighbours' surface, or nobody can join it to the others
            if state.connects(c.rows, c.direction) < _MIN_SHARED or apart > max(1.15 * around.step_deg, _MAX_APART_DEG):
                continue
            points = float((weight[c.rows] * (state.with_photo(c.rows, c.direction, c.incidence) - now[c.rows])).sum())
            gain = points / total + 0.02 * _missing(around, c) * min(apart / max(around.step_deg, 10.0), 1.2)
            if gain > best_gain:
                best, best_gain, best_points = k, gain, points
        if best < 0:
            break
        c = candidates[best]
        left.remove(best)
        state.add(c.rows, c.direction, c.incidence)
        chosen.append(_proposal(scene, around, camera, c, 100 * best_points / total))
        units.append(_unit(c.pose, around))
        centers.append(geometry.invert(c.pose)[:, 3])
    return chosen, wanted


def _unit(pose: np.ndarray, around: Around) -> np.ndarray:
    offset = geometry.invert(pose)[:, 3] - around.target
    return offset / max(float(np.linalg.norm(offset)), 1e-12)


def _missing(around: Around, c: _Candidate) -> float:
    """How much a candidate fills of what is missing in the round: 1 in a missing sector or tier, else 0."""
    for s in around.sectors:
        if s.start_deg - 1 <= c.azimuth <= s.end_deg + 1 or s.start_deg - 1 <= c.azimuth + 360 <= s.end_deg + 1:
            return 1.0
    if around.kind == "object" and around.tier_gap > 1:
        return 0.6 if all(abs(c.elevation - t.elevation_deg) > 12 for t in around.tiers) else 0.0
    return 0.0


def _around_object(around: Around) -> list[tuple[np.ndarray, str]]:
    levels = [(t.elevation_deg, "") for t in around.tiers]
    extra = missing_elevation(around)
    if extra is not None:
        levels.append((extra, f"a tier at {extra:.0f} degrees is missing"))
    azimuth, out = around.azimuth_deg, []
    step = min(max(around.step_deg / 2, 5.0), 10.0)
    for elevation, why in levels:
        for a in np.arange(0, 360, step):
            # as far away as the photos on either side
            away = np.abs((azimuth - a + 180) % 360 - 180)
            near = np.argsort(away + 0.7 * np.abs(around.elevation_deg - elevation), kind="stable")[:4]
            eye = around.place(float(a), elevation, float(np.median(around.distance[near])))
            reason = why
            for s in around.sectors:
                if s.start_deg <= a <= s.end_deg or s.start_deg <= a + 360 <= s.end_deg:
                    reason = f"in the missing sector {s.start_deg % 360:.0f} to {s.end_deg % 360:.0f} degrees"
            out.append((geometry.look_at(eye, around.target, tuple(around.up)), reason))
    return out


def _beside(scene: Reconstruction, around: Around) -> list[tuple[np.ndarray, str]]:
    """Places between neighbours and a step beside photos, looking as they do."""
    centers, n = scene.centers, len(scene.names)
    away = np.linalg.norm(centers[:, None] - centers[None], axis=2)
    np.fill_diagonal(away, np.inf)
    step = float(np.median(away.min(1)))
    out = []
    for i in range(n):
        R = scene.cam_from_world[i, :, :3]
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)):
            eye = centers[i] + step * (dx * R[0] + dy * R[1])
            if np.linalg.norm(centers - eye, axis=1).min() > 0.3 * step:
                out.append((np.concatenate([R, -(R @ eye)[:, None]], 1), ""))
        j = int(np.argmin(away[i]))
        if away[i, j] > 1.4 * step and i < j:
            eye = (centers[i] + centers[j]) / 2
            ahead = scene.cam_from_world[i, 2, :3] + scene.cam_from_world[j, 2, :3]
            out.append((geometry.look_at(eye, eye + ahead, tuple(around.up)), ""))
    return out


def _view(picture: Picture, pose: np.ndarray, patches: Patches, around: Around, reason: str) -> _Candidate | None:
    """What a candidate would see; None where it stands inside something or sees next to nothing."""
    eye = geometry.invert(pose)[:, 3]
    rows = np.flatnonzero(picture.inside(pose, patches.points))
    ray = eye - patches.points[rows]
    length = np.linalg.norm(ray, axis=1)
    direction = ray / np.maximum(length, 1e-300)[:, None]
    if patches.normals is not None:
        cos = (direction * patches.normals[rows]).sum(1)
        keep = cos > np.cos(np.radians(MAX_INCIDENCE_DEG))
        incidence = np.degrees(np.arccos(np.clip(cos, -1, 1)))
    else:
        keep, incidence = np.ones(len(rows), bool), np.zeros(len(rows))
    if patches.obstacles is not None and keep.any():
        keep[keep] = patches.obstacles.visible(eye, patches.points[rows[keep]])
    if keep.sum() < 0.01 * len(patches.points):
        return None
    offset = eye - around.target
    elevation = float(np.degrees(np.arcsin(np.clip(offset @ around.up / np.linalg.norm(offset), -1, 1))))
    azimuth = float(np.degrees(np.arctan2(offset @ around.north, offset @ around.east)) % 360)
    return _Candidate(pose, rows[keep], direction[keep], incidence[keep], azimuth, elevation, reason)


def _proposal(scene: Reconstruction, around: Around, camera: Camera, c: _Candidate, gain: float) -> Proposal:
    eye = geometry.invert(c.pose)[:, 3]
    turn = (c.azimuth - around.azimuth_deg + 180) % 360 - 180
    rise = c.elevation - around.elevation_deg
    near = int(np.argmin(np.abs(turn) + np.abs(rise)))
    if around.kind != "object":
        near = int(np.argmin(np.linalg.norm(scene.centers - eye, axis=1)))
    reason = c.reason or "surface there is seen by too few photos"
    farther = float(np.linalg.norm(eye - around.target) / around.distance[near])
    return Proposal(c.pose, camera, scene.names[near], float(turn[near]), float(rise[near]), farther, gain, reason)


def losses(scene: Reconstruction, patches: Patches, wanted: np.ndarray, drop: Sequence[str]) -> dict[str, bool]:
    """For photos that one would like to leave out, worst first: True where that opens no hole. Those that may go are
    taken away before the next is asked for."""
    counts = patches.seen.counts.copy()
    weight = patches.weight * wanted
    total = max(float(weight.sum()), 1e-9)
    owner = np.repeat(np.arange(len(counts)), np.diff(patches.seen.view_offsets))
    out = {}
    for name in drop:
        if name not in scene.names:
            continue
        rows = owner[patches.seen.view_index == scene.names.index(name)]
        opened = rows[counts[rows] == MIN_VIEWS]
        # a couple of patches at a rim are chance, an opened hole is not
        free = float(weight[opened].sum()) <= 0.002 * total
        out[name] = free
        if free:
            counts[rows] -= 1
    return out
