"""A plan: where photos are taken from, of what surface, and what that gives."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32

from rilievo import geometry
from rilievo.capture import optics
from rilievo.capture.coverage import Coverage, Obstacles, Picture, sample_triangles, view_counts
from rilievo.capture.gear import Gear
from rilievo.errors import InputError
from rilievo.types import Camera, _Value

MAX_PHOTOS = 20_000
# Standard deviation of the parallax between two photos that is planned with, px.
SIGMA_PX = 0.5


@dataclass(frozen=True, eq=False)
class Stations(_Value):
    """Where photos are taken from. Photo i belongs to groups[group[i]] and to the strip strip[i]; photos of a strip
    follow one another, and strips of one group lie side by side in the order of their numbers."""

    cam_from_world: Float64[np.ndarray, "n 3 4"]
    group: Int32[np.ndarray, "n"]
    strip: Int32[np.ndarray, "n"]
    groups: tuple[str, ...]
    closed: frozenset[int] = frozenset()

    @property
    def centers(self) -> np.ndarray:
        """float64 (n, 3)."""
        return geometry.invert(self.cam_from_world)[:, :, 3]

    @property
    def directions(self) -> np.ndarray:
        """Where the cameras look, unit (n, 3)."""
        return self.cam_from_world[:, 2, :3]

    def neighbours(self) -> list[tuple[int, int]]:
        """Photos that follow one another in a strip; rings are closed."""
        pairs = []
        for s in np.unique(self.strip):
            index = np.flatnonzero(self.strip == s)
            pairs += list(zip(index[:-1].tolist(), index[1:].tolist()))
            if int(s) in self.closed and len(index) > 2:
                pairs.append((int(index[-1]), int(index[0])))
        return pairs

    def across(self) -> list[tuple[int, int]]:
        """Each photo with the nearest one of the next strip of its group."""
        pairs, centers = [], self.centers
        side_by_side = [p for g in range(len(self.groups)) for p in pairwise(np.unique(self.strip[self.group == g]))]
        for s, t in side_by_side:
            a, b = np.flatnonzero(self.strip == s), np.flatnonzero(self.strip == t)
            away = np.linalg.norm(centers[a, None] - centers[None, b], axis=2)
            turned = 1 - self.directions[a] @ self.directions[b].T
            near = np.argmin(away * (1 + turned), 1)
            pairs += [(int(i), int(b[j])) for i, j in zip(a, near)]
        return pairs


class Builder:
    """Collects stations, group by group, strip by strip."""

    def __init__(self) -> None:
        self._poses: list[np.ndarray] = []
        self._group: list[int] = []
        self._strip: list[int] = []
        self._groups: list[str] = []
        self._closed: set[int] = set()
        self._num_strips = 0

    def strip(self, group: str, poses: list[np.ndarray], *, closed: bool = False) -> None:
        """Adds photos that follow one another. Raises InputError when there are far too many."""
        if not poses:
            return
        if group not in self._groups:
            self._groups.append(group)
        if len(self._poses) + len(poses) > MAX_PHOTOS:
            raise InputError(
                f"the plan has more than {MAX_PHOTOS} photos",
                "the surface is very large for the wanted detail",
                "ask for less detail (--gsd, --detail), or plan it in parts",
            )
        if closed:
            self._closed.add(self._num_strips)
        self._poses += poses
        self._group += [self._groups.index(group)] * len(poses)
        self._strip += [self._num_strips] * len(poses)
        self._num_strips += 1

    def done(self) -> Stations:
        """What was collected."""
        return Stations(
            np.array(self._poses, np.float64).reshape(-1, 3, 4),
            np.array(self._group, np.int32),
            np.array(self._strip, np.int32),
            tuple(self._groups),
            frozenset(self._closed),
        )


@dataclass(frozen=True, eq=False)
class Plan(_Value):
    """Stations and what they shall give. kind: object, facade, room, area.  camera: as focused.  triangles: the surface
    that was planned for.  depth, gsd: planned.  asked: what was asked for, as plain values.  facts: further results
    as plain values.  notes: sentences that people should read.  place: latitude, longitude (deg) and height of the
    world's zero, for an area."""

    kind: str
    gear: Gear
    camera: Camera
    stations: Stations
    triangles: Float64[np.ndarray, "m 3 3"]
    depth: float
    gsd: float
    asked: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    place: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class Assessment:
    """What a set of photos has of a surface. points, normals: samples of it with their coverage.
    overlaps: share of what a photo shows of the surface that the next one of its strip shows too; across: the same
    to the side.  depths: of the surface in the pictures, 1st, 50th and 99th percentile.  pair_sigma: expected standard
    deviation of depth from neighbours in a strip, median."""

    points: np.ndarray
    normals: np.ndarray
    coverage: Coverage
    overlaps: np.ndarray
    across: np.ndarray
    depths: tuple[float, float, float]
    pair_sigma: float

    def figures(self) -> dict[str, float]:
        """The numbers that a plan states and a check holds it against."""
        c = self.coverage
        seen = c.counts > 0

        def middle(values: np.ndarray, share: float = 0.5) -> float:
            values = values[np.isfinite(values)]
            return float(np.quantile(values, share)) if len(values) else math.nan

        return {
            "gsd_median": middle(c.gsd),
            "gsd_coarsest": middle(c.gsd, 0.99),
            "overlap_median": middle(self.overlaps),
            "overlap_least": float(self.overlaps.min()) if len(self.overlaps) else math.nan,
            "overlap_across_median": middle(self.across),
            "views_least": int(c.counts.min()) if len(c.counts) else 0,
            "views_5_percent": float(np.quantile(c.counts, 0.05)) if len(c.counts) else 0.0,
            "views_median": float(np.median(c.counts)) if len(c.counts) else 0.0,
            "views_mean": float(c.counts.mean()) if len(c.counts) else 0.0,
            "seen_share": float(seen.mean()) if len(seen) else 0.0,
            "seen_3_share": float((c.counts >= 3).mean()) if len(seen) else 0.0,
            "angle_median_deg": middle(c.angle_deg),
            "depth_near": self.depths[0],
            "depth_median": self.depths[1],
            "depth_far": self.depths[2],
            "sigma_pair": self.pair_sigma,
            # one pixel of noise in x and y was counted; parallax of two photos has the square root of two of one's
            "sigma_all": middle(c.sigma[seen]) * SIGMA_PX / math.sqrt(2),
        }


def assess(
    stations: Stations,
    camera: Camera,
    triangles: np.ndarray,
    *,
    num_samples: int = 4000,
    samples: tuple[np.ndarray, np.ndarray] | None = None,
    rays: int = 16,
) -> Assessment:
    """What the stations have of a surface. samples: points and unit normals to look at instead of a draw by area."""
    obstacles = Obstacles(triangles)
    points, normals = samples if samples is not None else sample_triangles(triangles, num_samples)
    num = len(stations.group)
    index = np.zeros(num, np.int32)
    coverage = view_counts(points, normals, [camera], index, stations.cam_from_world, obstacles=obstacles)
    picture = Picture(camera)
    in_cam = picture.rays(rays)
    hits: list[np.ndarray] = []
    depths = []
    centers = stations.centers
    for k in range(num):
        R = stations.cam_from_world[k, :, :3]
        far = obstacles.first_hit(np.tile(centers[k], (len(in_cam), 1)), in_cam @ R)
        found = np.isfinite(far)
        hits.append(centers[k] + far[found, None] * (in_cam[found] @ R))
        depths.append(far[found])

    def shared(i: int, j: int) -> float:
        if not len(hits[i]):
            return math.nan
        inside = picture.inside(stations.cam_from_world[j], hits[i])
        inside[inside] = obstacles.visible(centers[j], hits[i][inside])
        return float(inside.mean())

    along, across = stations.neighbours(), stations.across()
    overlaps = np.array([shared(i, j) for i, j in along])
    focal = math.sqrt(camera.fx * camera.fy)
    sigmas = [
        optics.depth_precision(float(np.median(depths[i])), focal, base, SIGMA_PX)
        for i, j in along
        if len(depths[i]) and (base := _baseline(centers[j] - centers[i], stations.directions[i])) > 0
    ]
    every = np.concatenate([np.zeros(0), *depths])
    spread = tuple(float(v) for v in np.quantile(every, [0.01, 0.5, 0.99])) if len(every) else (math.nan,) * 3
    return Assessment(
        points,
        normals,
        coverage,
        overlaps[np.isfinite(overlaps)],
        np.array([v for i, j in across if math.isfinite(v := shared(i, j))]),
        spread,  # type: ignore[arg-type]
        float(np.median(sigmas)) if sigmas else math.nan,
    )


def _baseline(step: np.ndarray, direction: np.ndarray) -> float:
    """Length of a step across the direction of view."""
    return float(np.linalg.norm(step - (step @ direction) * direction))


def check_overlap(overlap: float) -> None:
    """Raises InputError for what is no overlap."""
    if not 0.3 <= overlap <= 0.95:
        raise InputError(
            f"an overlap of {overlap:.0%} cannot be planned",
            "30 to 95 % can",
            "60 % is the least that is usual, 80 % is good",
        )


def planned_depth(
    gear: Gear, *, distance: float | None, gsd: float | None, detail: float | None, fit: float | None = None
) -> float:
    """Depth to take photos from, m: as given, or for a gsd, or for the smallest detail, which three pixels shall span
    (two are the sampling theorem's, the third pays for lens and colour filter), or `fit`. Raises InputError."""
    given = [v for v in (distance, gsd, detail) if v is not None]
    if len(given) > 1:
        raise InputError("give one of --distance, --gsd and --detail", "each of them decides how far the camera stands")
    if given and not 0 < given[0] < math.inf:
        raise InputError(f"{given[0]:g} m is no length to plan with", "it must be more than zero", "e.g. --gsd 0.5mm")
    if distance is not None:
        depth = distance
    elif gsd is not None or detail is not None:
        depth = optics.depth_for_gsd(gear, gsd if gsd is not None else detail / 3)  # type: ignore[operator]
    elif fit is not None:
        depth = fit
    else:
        raise InputError("how fine shall it be?", "nothing says how far the camera stands", "give --gsd, e.g. 2mm")
    if depth < 1.5 * gear.focal_mm / 1000:
        raise InputError(
            f"{gear.name} cannot be that close: {depth * 1000:.0f} mm",
            f"its lens has {gear.focal_mm:g} mm, and closer than one and a half of that is more than macro",
            "ask for less detail, or use a longer lens (--focal)",
        )
    return depth
