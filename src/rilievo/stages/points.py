"""Fusion of depth maps into one oriented, coloured point cloud; the maps are streamed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from rilievo import kernels
from rilievo.errors import AlignmentError
from rilievo.types import DepthMap, PointCloud


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

    version: ClassVar[int] = 4
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
    min_neighbours: int = 4
    """A point goes when fewer other points than this lie within three footprints (0: all stay)."""


def fuse(maps: MapSource, *, config: FusionConfig = FusionConfig()) -> PointCloud:
    """Merges depth maps into a PointCloud, each surface patch once.

    Every pixel of every map that no earlier point has used is compared with the map's neighbours (`fuse_map` in
    native/fusion.cpp); those that agree are averaged by confidence / sigma^2 and used up. At most
    `config.max_neighbours + 1` maps are in memory, plus one bit a pixel of all maps.

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
    used: dict[str, np.ndarray] = {}
    parts: list[tuple[np.ndarray, ...]] = []
    origin: np.ndarray | None = None
    for name in _visiting_order(names, neighbours):
        reference = window.get(name, keep=[name, *neighbours[name]])
        group = [name, *neighbours[name]]
        arrays = [reference, *(window.get(other, keep=group) for other in neighbours[name])]
        if origin is None:
            origin = _origin(reference)
        shapes = [a[0].shape for a in arrays]
        marks = [_unpack(used.get(g), shape) for g, shape in zip(group, shapes)]
        points, normals, colors, confidence, sigma, spacing, counts, views, pixels = kernels.fuse_map(
            arrays[0],
            arrays[1:],
            marks[0],
            max(2, min(config.min_views, len(arrays))),
            config.max_relative_depth,
            config.max_reprojection_px,
            float(np.cos(np.deg2rad(config.max_normal_deg))),
            config.min_confidence,
            config.default_sigma_px,
            config.max_contradictions,
        )
        for j, (member, mark) in enumerate(zip(group, marks)):
            mark.reshape(-1)[pixels[views == j]] = 1
            used[member] = np.packbits(mark)
        ids = np.array([index[member] for member in group], np.int32)
        place = (points - origin).astype(np.float32)
        parts.append((place, normals, colors, confidence, sigma, spacing, counts, ids[views]))
    if not parts or not any(len(part[0]) for part in parts):
        raise AlignmentError(
            "the depth maps do not agree on any surface",
            f"no pixel of {len(names)} depth maps is confirmed by {config.min_views} photos",
            "take photos that overlap more (each spot in at least three), or lower min_views to 2",
        )
    assert origin is not None
    points, normals, colors, confidence, sigma, spacing, counts, views = (
        np.concatenate(column) for column in zip(*parts)
    )
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    cloud = PointCloud(points, normals, colors, confidence, sigma, spacing, names, offsets, views, origin)
    if config.min_neighbours:
        cloud = select(cloud, crowded(cloud, config.min_neighbours))
    return cloud


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
    )


def crowded(cloud: PointCloud, min_neighbours: int, radius: float = 3.0) -> np.ndarray:
    """bool (n,): points with at least `min_neighbours` others within `radius` footprints; outliers are lonely."""
    from scipy.spatial import cKDTree

    if len(cloud.points) <= min_neighbours:
        return np.zeros(len(cloud.points), bool)
    tree = cKDTree(cloud.points, balanced_tree=False, compact_nodes=False)
    distance, _ = tree.query(cloud.points, k=[min_neighbours + 1])
    return distance[:, 0] <= radius * cloud.spacing


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
        self._loaded: OrderedDict[str, tuple[np.ndarray, ...]] = OrderedDict()

    def get(self, name: str, keep: Sequence[str]) -> tuple[np.ndarray, ...]:
        if name not in self._loaded:
            while len(self._loaded) >= self._size:
                victim = next((n for n in self._loaded if n not in keep), None)
                if victim is None:
                    break
                del self._loaded[victim]
            self._loaded[name] = _arrays(*self._maps.load(name))
        self._loaded.move_to_end(name)
        return self._loaded[name]


def _arrays(depth_map: DepthMap, pixels: np.ndarray) -> tuple[np.ndarray, ...]:
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
        np.array([camera.fx, camera.fy, camera.cx, camera.cy]),
        np.ascontiguousarray(depth_map.cam_from_world),
    )


def _origin(arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    """Zero, unless the world's numbers are too large for float32: then the first camera's centre, rounded."""
    cam_from_world = arrays[6]
    center = -cam_from_world[:, :3].T @ cam_from_world[:, 3]
    depth = arrays[0][np.isfinite(arrays[0])]
    reach = float(np.median(depth)) if len(depth) else 1.0
    return np.round(center) if np.abs(center).max() > 1000 * reach else np.zeros(3)


def _unpack(bits: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 (h, w) of 0 and 1 from packed bits (None: all 0)."""
    if bits is None:
        return np.zeros(shape, np.uint8)
    return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape)


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
