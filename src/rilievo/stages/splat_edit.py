"""Editing Gaussian splats: cut out, clean, move, turn, enlarge, put together. Values in, values out.

Places are in the world (means + origin) everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import UInt8

from rilievo import geometry, kernels
from rilievo.errors import InputError
from rilievo.gaussians import rotate_quats, rotate_sh, settle, turn_points
from rilievo.types import Reconstruction, Splats

REASONS = ("kept", "transparent", "giant", "isolated", "unseen")
"""What `Cleaned.reason` counts by."""


@dataclass(frozen=True)
class CleanConfig:
    """Settings of `clean`. A limit of 0 switches a rule off."""

    version: ClassVar[int] = 1

    min_opacity: float = 0.005
    """less opaque Gaussians go: one 8-bit step is 0.004"""
    giant: float = 1.0
    """Gaussians with a longest axis (one standard deviation) above this many times the size of the scene go; the size
    is the diagonal of the box around the middle nine tenths of the means"""
    isolation: float = 3.0
    """Gaussians go whose neighbour number `num_neighbours` is farther than this many times the usual distance plus the
    Gaussian's own longest axis; smaller cleans more"""
    num_neighbours: int = 8
    """clusters of fewer floaters than this are seen as isolated"""
    min_views: int = 1
    """with cameras: Gaussians in sight of fewer photos go"""


DEFAULT_CLEAN = CleanConfig()


@dataclass(frozen=True, eq=False)
class Cleaned:
    """What `clean` left, and why the others went.

    reason: for each Gaussian of the input the number of a row of `REASONS`; a Gaussian that breaks several rules counts
    for the first.
    """

    splats: Splats
    reason: UInt8[np.ndarray, "n"]

    @property
    def removed(self) -> dict[str, int]:
        """Reason -> how many Gaussians, of those rules that removed some."""
        counts = np.bincount(self.reason, minlength=len(REASONS))
        return {name: int(n) for name, n in zip(REASONS[1:], counts[1:]) if n}


def select(splats: Splats, keep: np.ndarray) -> Splats:
    """The Gaussians where bool (n,) `keep` is True, in their order."""
    return replace(
        splats,
        means=splats.means[keep],
        quats=splats.quats[keep],
        scales=splats.scales[keep],
        opacities=splats.opacities[keep],
        sh=splats.sh[keep],
    )


def crop(splats: Splats, low: Sequence[float], high: Sequence[float]) -> Splats:
    """The Gaussians whose means lie in the box from low (x, y, z) to high, its faces included.

    Raises InputError when a side of the box is turned round or nothing is left.
    """
    if not np.less_equal(low, high).all():
        raise InputError(
            "the box to crop to is empty",
            f"it goes from {_spell(low)} to {_spell(high)}",
            "give xmin,ymin,zmin,xmax,ymax,zmax",
        )
    world = splats.means.astype(np.float64) + splats.origin
    inside = np.all((world >= low) & (world <= high), axis=1)
    return _some(splats, inside, f"the box from {_spell(low)} to {_spell(high)}")


def crop_sphere(splats: Splats, center: Sequence[float], radius: float) -> Splats:
    """The Gaussians whose means are not farther from center (x, y, z) than radius.

    Raises InputError when nothing is left.
    """
    away = splats.means.astype(np.float64) + splats.origin - np.asarray(center, np.float64)
    inside = (away * away).sum(1) <= radius * radius if radius >= 0 else np.zeros(len(away), bool)
    return _some(splats, inside, f"the sphere of radius {radius:g} around {_spell(center)}")


def _some(splats: Splats, keep: np.ndarray, where: str) -> Splats:
    if not keep.any():
        world = splats.means.astype(np.float64) + splats.origin
        raise InputError(
            "nothing is left of the splats",
            f"no Gaussian lies in {where}",
            f"they reach from {_spell(world.min(0))} to {_spell(world.max(0))}" if len(world) else "there were none",
        )
    return select(splats, keep)


def _spell(xyz: Sequence[float] | np.ndarray) -> str:
    return "(" + ", ".join(f"{float(v):g}" for v in xyz) + ")"


def clean(splats: Splats, cameras: Reconstruction | None = None, *, config: CleanConfig = DEFAULT_CLEAN) -> Cleaned:
    """Removes what disturbs: nearly transparent, giant and isolated Gaussians ("floaters"), and with `cameras` those
    that no photo has in sight.

    Isolated are those in thin air (statistical outlier removal, Rusu et al. 2008, with distances to the k-th
    neighbour); Gaussians that reach their neighbours, as a far background's do, are not. The neighbours are looked up
    among those that earlier rules left. Raises InputError when nothing would be left.
    """
    n = len(splats.means)
    reason = np.zeros(n, np.uint8)
    longest = splats.scales.max(1).astype(np.float64) if n else np.zeros(0)
    _mark(reason, splats.opacities < config.min_opacity, "transparent")
    if config.giant > 0 and n:
        low, high = np.quantile(splats.means.astype(np.float64), [0.05, 0.95], axis=0)
        _mark(reason, longest > config.giant * float(np.linalg.norm(high - low)), "giant")
    if config.isolation > 0:
        left = np.flatnonzero(reason == 0)
        if len(left) > config.num_neighbours:
            distance = _kth_distance(splats.means[left], config.num_neighbours)
            isolated = distance > config.isolation * (np.median(distance) + longest[left])
            _mark(reason, np.isin(np.arange(n), left[isolated]), "isolated")
    if cameras is not None and config.min_views > 0:
        world = splats.means.astype(np.float64) + splats.origin
        _mark(reason, count_views(world, cameras) < config.min_views, "unseen")
    if n and not (reason == 0).any():
        raise InputError(
            "cleaning would leave nothing of the splats",
            ", ".join(f"{k} {v}" for k, v in Cleaned(splats, reason).removed.items()),
            "the scene may be too small for these rules: export it without --clean",
        )
    return Cleaned(select(splats, reason == 0), reason)


def _mark(reason: np.ndarray, where: np.ndarray, name: str) -> None:
    reason[where & (reason == 0)] = REASONS.index(name)


def _kth_distance(points: np.ndarray, k: int) -> np.ndarray:
    """Distance of each point from its k-th nearest other, float64 (n,)."""
    tree = kernels.build_tree(np.ascontiguousarray(points))
    _, distances = kernels.nearest_points(*tree, np.ascontiguousarray(points), min(k, 63) + 1, float("inf"))
    return distances[:, -1]


def count_views(points: np.ndarray, cameras: Reconstruction) -> np.ndarray:
    """How many photos have each of the world's points float64 (n, 3) within their frame and before them, int32 (n,).

    The frame is that of the lens-corrected photo; what hides a point is not looked at.
    """
    counts = np.zeros(len(points), np.int32)
    frames = [_frame(camera) for camera in cameras.cameras]
    for i in range(len(cameras.names)):
        low, high = frames[int(cameras.camera_index[i])]
        x = geometry.transform(cameras.cam_from_world[i], points)
        depth = np.where(x[:, 2] > 0, x[:, 2], np.nan)
        xy = x[:, :2] / depth[:, None]
        counts += ((xy >= low) & (xy <= high)).all(1)
    return counts


def _frame(camera: geometry.Camera) -> tuple[np.ndarray, np.ndarray]:
    """Smallest box (x, y) of normalised image coordinates around the whole photo."""
    w, h = camera.width, camera.height
    t = np.linspace(0, 1, 17)
    edge = np.concatenate(
        [np.stack([w * t, 0 * t], 1), np.stack([w * t, h + 0 * t], 1)]
        + [np.stack([0 * t, h * t], 1), np.stack([w + 0 * t, h * t], 1)]
    )
    xy = geometry.undistort(camera, edge)
    return np.nanmin(xy, axis=0), np.nanmax(xy, axis=0)


def transform(splats: Splats, scale: float, b_from_a: np.ndarray) -> Splats:
    """The Gaussians of world a in world b: x_b = scale * R x_a + t with b_from_a = [R | t] (3, 4), as `geometry.align`
    returns them. Directions turn with them, and the colours that depend on the direction of view.

    Raises InputError when scale is not above zero or R is no rotation.
    """
    b_from_a = np.asarray(b_from_a, np.float64)
    R, t = b_from_a[:, :3], b_from_a[:, 3]
    if not (scale > 0 and np.isfinite(scale) and np.isfinite(b_from_a).all()):
        raise InputError(
            "the splats cannot be moved like this", f"scale {scale:g} must be above zero and all numbers finite"
        )
    if np.abs(R @ R.T - np.eye(3)).max() > 1e-6 or np.linalg.det(R) < 0:
        raise InputError("the splats cannot be turned like this", "the matrix is not a rotation")
    means = scale * turn_points(splats.means, R)
    means, origin = settle(means, scale * turn_points(splats.origin[None], R)[0] + t)
    return replace(
        splats,
        means=means,
        quats=splats.quats if np.array_equal(R, np.eye(3)) else rotate_quats(splats.quats, R),
        scales=(splats.scales * np.float64(scale)).astype(np.float32),
        sh=splats.sh if np.array_equal(R, np.eye(3)) else rotate_sh(splats.sh, R),
        origin=origin,
    )


def merge(parts: Sequence[Splats]) -> Splats:
    """All Gaussians of several values as one, in the world they share, of the highest degree among them.

    The background is that of the first. Raises InputError when there are none, or when some were trained with the
    filter of Mip-Splatting and some without: no viewer can show both rightly at once.
    """
    if not parts:
        raise InputError("there are no splats to put together")
    first = parts[0]
    if any(p.antialiased != first.antialiased for p in parts):
        kinds = ", ".join("with" if p.antialiased else "without" for p in parts)
        raise InputError(
            "these splats do not go together",
            f"some were trained with the filter of Mip-Splatting and some not ({kinds})",
            "train them alike",
        )
    num = max(p.sh.shape[1] for p in parts)
    origin = first.origin
    means = np.concatenate([p.means.astype(np.float64) + (p.origin - origin) for p in parts])
    means, origin = settle(means, origin)
    return replace(
        first,
        means=means,
        quats=np.concatenate([p.quats for p in parts]),
        scales=np.concatenate([p.scales for p in parts]),
        opacities=np.concatenate([p.opacities for p in parts]),
        sh=np.concatenate([np.pad(p.sh, ((0, 0), (0, num - p.sh.shape[1]), (0, 0))) for p in parts]),
        origin=origin,
    )
