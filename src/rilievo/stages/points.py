"""Fusion of depth maps into one oriented, coloured point cloud; the maps are streamed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from rilievo import kernels
from rilievo.errors import AlignmentError
from rilievo.types import DepthMap, PointCloud

# Points are held against each other when their normals differ by less than this, and they are no farther apart along
# the normal than this many footprints.
_MAX_MERGE_DEG = 60.0
_MERGE_DEPTH = 0.8
# Company is looked for within this many footprints.
_CROWD_RADIUS = 3.0


class MapSource(Protocol):
    """Where `fuse` gets its depth maps from, one at a time.

    names: the maps.  neighbours: for each name, the maps that may show the same surface, best first.
    load: a depth map and the pixels of its view, uint8 (h, w, 3) of the same size.
    """

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def neighbours(self) -> Mapping[str, Sequence[str]]: ...

    def load(self, name: str) -> tuple[DepthMap, np.ndarray]: ...


@dataclass(frozen=True)
class FusionConfig:
    """How depth maps become points."""

    version: ClassVar[int] = 5
    min_views: int = 2
    """Photos that must agree on a point, its own included (fewer, but two, where a photo has fewer neighbours).
    Depth maps that were checked against each other before need no more than two."""
    max_neighbours: int = 8
    """Neighbours that a depth map is compared with, and so the number of maps held in memory less one."""
    max_relative_depth: float = 0.01
    """Largest difference of two depths of one point, as a fraction of the depth."""
    max_reprojection_px: float = 1.0
    """Largest distance, in pixels of the depth map, between the places where two maps put a point."""
    max_normal_deg: float = 40.0
    """Largest angle between the normals of two maps."""
    min_confidence: float = 0.1
    """Pixels below this confidence are not used."""
    default_sigma_px: float = 0.5
    """Standard deviation of a depth that comes without one, in pixels' footprints."""
    max_contradictions: float = 1.0
    """A point goes when more than this many views for each agreeing one look through it."""
    max_sigmas: float = 3.0
    """Depths agree when they differ by no more than this many standard deviations (or half a footprint)."""
    min_distance: float = 0.65
    """Points of different maps closer than this many footprints are one point (0: all stay)."""
    min_neighbours: int = 4
    """A point goes when fewer other points than this lie within three footprints (0: all stay)."""


def fuse(maps: MapSource, *, config: FusionConfig = FusionConfig()) -> PointCloud:
    """Merges depth maps into a PointCloud, each patch of surface once, from the photo that sees it best.

    Every pixel is compared with its map's neighbours (`fuse_map` in native/fusion.cpp). Where one of them sees the
    same place from nearer, the pixel says nothing itself; its depth counts in the mean (by confidence / sigma^2) that
    the other forms. Places that two maps still report, as they are no neighbours or saw it equally well, become one
    (`distinct_points`), and points that stand alone go (`crowded_points`). A point is inferred when no pixel that was
    measured supports it.

    Memory: `config.max_neighbours + 1` maps of 28 bytes a pixel, and by estimate 200 bytes a point before
    repeats are dropped, whatever the number of photos (bench/large.py measures the whole process).

    Raises AlignmentError when nothing is consistent, ValueError when a map's pixels have another size.
    """
    names = tuple(maps.names)
    index = {name: i for i, name in enumerate(names)}
    neighbours = {
        name: [other for other in maps.neighbours.get(name, ()) if other in index and other != name][
            : config.max_neighbours
        ]
        for name in names
    }
    window = _Window(maps, config.max_neighbours + 1)
    parts: list[list[np.ndarray]] = []
    origin: np.ndarray | None = None
    for name in _visiting_order(names, neighbours):
        group = [name, *neighbours[name]]
        arrays = [window.get(member, keep=group) for member in group]
        if origin is None:
            origin = _origin(arrays[0])
        ids = np.array([index[member] for member in group], np.int32)
        points, *columns, counts, views = kernels.fuse_map(
            arrays[0],
            arrays[1:],
            ids,
            max(2, min(config.min_views, len(group))),
            config.max_relative_depth,
            config.max_reprojection_px,
            float(np.cos(np.deg2rad(config.max_normal_deg))),
            config.min_confidence,
            config.default_sigma_px,
            config.max_contradictions,
            config.max_sigmas,
            config.min_distance,
        )
        owner = np.full(len(counts), ids[0], np.int32)
        parts.append([(points - origin).astype(np.float32), *columns, counts, ids[views], owner])
    del window
    if origin is None or not any(len(part[0]) for part in parts):
        raise AlignmentError(
            "the depth maps do not agree on any surface",
            f"no pixel of {len(names)} depth maps is confirmed by {config.min_views} photos",
            "take photos that overlap more (each spot in at least three), or lower min_views to 2",
        )
    return _cloud(_joined(parts), names, origin, config)


def _joined(parts: list[list[np.ndarray]]) -> list[np.ndarray]:
    """The parts' columns one after another; each part's column is let go as soon as it was copied."""
    columns = []
    for k in range(len(parts[0])):
        columns.append(np.concatenate([part[k] for part in parts]))
        for part in parts:
            part[k] = part[k][:0]
    return columns


def _cloud(columns: list[np.ndarray], names: tuple[str, ...], origin: np.ndarray, config: FusionConfig) -> PointCloud:
    """The points that say something of their own and have company. Empties `columns` on the way."""
    points, normals, spacing, inferred, counts, owner = (columns[k] for k in (0, 1, 5, 6, 7, 9))
    keep = np.ones(len(points), bool)
    if config.min_distance:
        cos = float(np.cos(np.deg2rad(_MAX_MERGE_DEG)))
        keep = kernels.distinct_points(
            points, normals, spacing, inferred, counts, owner, config.min_distance, _MERGE_DEPTH, cos
        ).astype(bool)
    if config.min_neighbours:
        keep[keep] = kernels.crowded_points(points[keep], spacing[keep], _CROWD_RADIUS, config.min_neighbours)
    columns.pop()
    del points, normals, spacing, inferred, owner
    columns[8] = columns[8][np.repeat(keep, counts)]
    for k in range(8):
        columns[k] = columns[k][keep]
    points, normals, colors, confidence, sigma, spacing, inferred, counts, views = columns
    columns.clear()
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    only = inferred.astype(bool) if inferred.any() else None
    return PointCloud(points, normals, colors, confidence, sigma, spacing, names, offsets, views, origin, only)


def select(cloud: PointCloud, keep: np.ndarray) -> PointCloud:
    """The points of a cloud where `keep` (bool (n,)) is True."""
    offsets = cloud.view_offsets
    counts = np.diff(offsets)
    return PointCloud(
        cloud.points[keep],
        cloud.normals[keep],
        cloud.colors[keep],
        cloud.confidence[keep],
        cloud.sigma[keep],
        cloud.spacing[keep],
        cloud.names,
        np.concatenate([[0], np.cumsum(counts[keep], dtype=np.int64)]),
        cloud.view_index[np.repeat(keep, counts)],
        cloud.origin,
        None if cloud.inferred is None else cloud.inferred[keep],
    )


def crowded(cloud: PointCloud, min_neighbours: int, radius: float = _CROWD_RADIUS) -> np.ndarray:
    """bool (n,): points with at least `min_neighbours` others within `radius` footprints; outliers are lonely."""
    return kernels.crowded_points(cloud.points, cloud.spacing, radius, min_neighbours).astype(bool)


def thin(cloud: PointCloud, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """(indices, counts): one point for each cell of `spacing` footprints and each of six directions of the normal.

    indices int64 (k,), ascending: the point with the smallest sigma in its cell.
    counts int64 (k,): points in the cell.
    The cells' size follows the local footprint in steps of two; spacing 0 keeps all points.
    """
    num = len(cloud.points)
    if spacing <= 0 or not num:
        return np.arange(num), np.ones(num, np.int64)
    level = np.round(np.log2(np.maximum(cloud.spacing.astype(np.float64), 1e-30)))
    cell = np.floor(cloud.points / (spacing * np.exp2(level))[:, None]).astype(np.int64)
    axis = np.abs(cloud.normals).argmax(1)
    side = 2 * axis + (cloud.normals[np.arange(num), axis] > 0)
    key = level.astype(np.int64) * 6 + side
    for column in cell.T:  # a hash: two cells that share a key by chance are merged, which does no harm
        key = (key * np.int64(6364136223846793005) + column) * np.int64(-7046029254386353131)
        key ^= key >> 29
    order = np.lexsort((cloud.sigma, key))
    new = np.concatenate([[True], np.diff(key[order]) != 0])
    chosen = order[new]
    counts = np.diff(np.concatenate([np.flatnonzero(new), [num]]))
    ascending = np.argsort(chosen)
    return chosen[ascending], counts[ascending]


class _Window:
    """At most `size` loaded maps; those not in use that were needed longest ago go first."""

    def __init__(self, maps: MapSource, size: int) -> None:
        self._maps = maps
        self._size = size
        self._loaded: OrderedDict[str, tuple[Any, ...]] = OrderedDict()

    def get(self, name: str, keep: Sequence[str]) -> tuple[Any, ...]:
        if name not in self._loaded:
            while len(self._loaded) >= self._size:
                victim = next((n for n in self._loaded if n not in keep), None)
                if victim is None:
                    break
                del self._loaded[victim]
            self._loaded[name] = _arrays(*self._maps.load(name))
        self._loaded.move_to_end(name)
        return self._loaded[name]


def _arrays(depth_map: DepthMap, pixels: np.ndarray) -> tuple[Any, ...]:
    """A depth map as the kernel takes it."""
    if pixels.shape != (*depth_map.depth.shape, 3):
        raise ValueError(
            f"depth map {depth_map.name} is {depth_map.depth.shape[1]} x {depth_map.depth.shape[0]}, "
            f"its pixels have shape {pixels.shape}"
        )
    camera = depth_map.camera
    return (
        depth_map.depth,
        depth_map.normals,
        depth_map.confidence,
        depth_map.sigma,
        np.ascontiguousarray(pixels),
        None if depth_map.inferred is None else depth_map.inferred.view(np.uint8),
        np.array([camera.fx, camera.fy, camera.cx, camera.cy]),
        np.ascontiguousarray(depth_map.cam_from_world),
    )


def _origin(arrays: tuple[Any, ...]) -> np.ndarray:
    """Zero, unless the world's numbers are too large for float32: then the first camera's centre, rounded."""
    cam_from_world = arrays[7]
    center = -cam_from_world[:, :3].T @ cam_from_world[:, 3]
    depth = arrays[0][np.isfinite(arrays[0])]
    reach = float(np.median(depth)) if len(depth) else 1.0
    return np.round(center) if np.abs(center).max() > 1000 * reach else np.zeros(3)


def _visiting_order(names: Sequence[str], neighbours: Mapping[str, Sequence[str]]) -> list[str]:
    """Each map next to one that shares most of its neighbours, so that few maps are loaded twice."""
    left = dict.fromkeys(names)
    order: list[str] = []
    loaded: set[str] = set()
    while left:
        name = max(left, key=lambda n: len(loaded.intersection((n, *neighbours[n]))))
        del left[name]
        order.append(name)
        loaded = {name, *neighbours[name]}
    return order
