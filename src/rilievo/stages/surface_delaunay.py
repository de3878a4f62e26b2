"""Surface as the minimum cut of a Delaunay tetrahedralisation by visibility (Labatut, Pons & Keriven 2009)."""

from __future__ import annotations

import numpy as np

from rilievo import kernels
from rilievo.stages.points import thin
from rilievo.stages.surface_tiles import cut_tiles
from rilievo.types import PointCloud

_GRID = float(1 << 26)
# A tetrahedron around the cube [0, _GRID]^3: delaunay() wants one that encloses all points.
_CORNERS = np.array([[-4, -4, -4], [12, -4, -4], [-4, 12, -4], [-4, -4, 12]]) * _GRID

# Capacity that one ray of a single point adds; capacities are integers, so that the cut is exact.
_UNIT = 64.0
# How far behind a point, in its softness, space is said to be inside.
_BEHIND = 1.5
# How far all rays of a point but one are followed, in its softness; that one goes to its camera.
_REACH = 60.0
# Weight of the shape of facets against one ray. At 4 and more the empty surface can be the cheapest cut of all.
_QUALITY = 0.5
# Rays of a point that are followed, spread over its views.
_MAX_RAYS = 5
# How far around a tile points take part, in spacings of the thinned points, and which share of those beyond.
_OVERLAP = 30.0
_FAR_STRIDE = 64
# Capacity that no cut can pay; how far a closed surface's box stands off, as a share of the extent
# and in the points' softness (more than _BEHIND, else what lies behind points would be outside the box).
_OUTSIDE = 1 << 29
_BOX_ROOM, _BOX_BEHIND = 0.02, 4.0
# Softness of a ray's end in spacings of the thinned points.
_SOFTNESS = 0.5


def delaunay(
    cloud: PointCloud, centers: np.ndarray, thinning: float, max_points: int = 0, closed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices float32 (v, 3) and faces int32 (f, 3) between the space that rays crossed and the space behind points.

    Every point sends a ray to each photo that saw it; the tetrahedra it crosses are likely outside, the one just
    behind the point is likely inside, and the surface is the cheapest set of facets between the two. It passes through
    input points, so edges stay sharp and thin things whole; places nobody looked at have no surface of their own.

    max_points: with more thinned points than that (0: never) the scene is cut into tiles that are solved one by one.
    closed: matter ends in a box around the points, so that the surface has no rim; within one tile it is closed.
    """
    keep, counts = thin(cloud, thinning)
    along = _curve_order(cloud.points[keep])  # neighbours in space lie together in memory: the walks are twice as fast
    keep, counts = keep[along], counts[along]
    low = np.minimum(cloud.points[keep].min(0), centers.min(0)).astype(np.float64)
    high = np.maximum(cloud.points[keep].max(0), centers.max(0))
    scale = _GRID / max(float((high - low).max()), 1e-30)
    on_grid = np.round((cloud.points[keep].astype(np.float64) - low) * scale)
    spacing = scale * np.maximum(thinning, 1.0) * cloud.spacing[keep].astype(np.float64)
    softness = np.maximum(_SOFTNESS * spacing, scale * np.nan_to_num(cloud.sigma[keep].astype(np.float64)))
    weight = np.clip(np.sqrt(counts), 1.0, 4.0)
    eyes = np.ascontiguousarray((centers - low) * scale)
    around = _box_around(on_grid, _BOX_BEHIND * float(np.median(softness))) if closed else np.zeros((0, 3))
    parts: list[np.ndarray] = []
    tiles = cut_tiles(on_grid, _OVERLAP * spacing, max_points, _FAR_STRIDE)
    for tile in tiles:
        members = tile.members
        offsets, views = _spread_views(cloud, keep[members], _MAX_RAYS)
        places = np.concatenate([on_grid[members], around, _CORNERS])
        faces = _cut(places, eyes, softness[members], weight[members], offsets, views, closed)
        faces = faces[(faces < len(places) - len(_CORNERS)).all(1)]
        if len(tiles) > 1:
            faces = faces[tile.owns(places[faces].sum(1) / 3)]
        whole = np.concatenate([members, len(keep) + np.arange(len(around))])
        parts.append(whole[faces].astype(np.int32))
    extra = (around / scale + low).astype(np.float32)
    return np.concatenate([cloud.points[keep], extra]), np.concatenate(parts)


def _cut(
    places: np.ndarray,
    eyes: np.ndarray,
    softness: np.ndarray,
    weight: np.ndarray,
    offsets: np.ndarray,
    views: np.ndarray,
    closed: bool,
) -> np.ndarray:
    """Faces int32 (f, 3) of the cheapest surface; the last four places are the corners around all."""
    vertices, neighbours = kernels.delaunay(places)
    capacities, terminals = kernels.visibility_capacities(
        places, vertices, neighbours, eyes, softness, weight, offsets, views, _BEHIND, _REACH, _QUALITY, _UNIT
    )
    if closed:
        # Space at the box's corners is rather outside, so that nothing reaches there that does not rest on points.
        highest = vertices.max(1)
        terminals = terminals + np.where(highest >= len(softness), np.int32(_UNIT), np.int32(0))
        terminals[highest >= len(places) - len(_CORNERS)] = _OUTSIDE
    outside, _ = kernels.min_cut(neighbours, capacities, terminals)
    del capacities, terminals
    return _facets(vertices, neighbours, outside)


def _box_around(places: np.ndarray, least: float) -> np.ndarray:
    """The corners (8, 3), on the grid, of a box larger than the points: by a share of their extent, and by `least`."""
    low, high = places.min(0), places.max(0)
    room = np.ceil(max(_BOX_ROOM * float((high - low).max()), least)) + 1
    ends = np.stack([low - room, high + room])
    return np.array([[ends[i, 0], ends[j, 1], ends[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])


def _curve_order(points: np.ndarray) -> np.ndarray:
    """Order of points along a Z curve (Morton 1966) of 21 bits an axis."""
    low = points.min(0).astype(np.float64)
    scale = ((1 << 21) - 1) / max(float((points - low).max()), 1e-30)
    code = np.zeros(len(points), np.uint64)
    for axis in range(3):
        bits = ((points[:, axis] - low[axis]) * scale).astype(np.uint64)
        for shift, mask in (
            (32, 0x1F00000000FFFF),
            (16, 0x1F0000FF0000FF),
            (8, 0x100F00F00F00F00F),
            (4, 0x10C30C30C30C30C3),
            (2, 0x1249249249249249),
        ):
            bits = (bits | (bits << np.uint64(shift))) & np.uint64(mask)
        code |= bits << np.uint64(axis)
    return np.argsort(code, kind="stable")


def _spread_views(cloud: PointCloud, keep: np.ndarray, max_views: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `max_views` views of each chosen point, evenly taken from its list: offsets int64, view int32."""
    start, count = cloud.view_offsets[keep], np.diff(cloud.view_offsets)[keep]
    taken = np.minimum(count, max_views)
    offsets = np.concatenate([[0], np.cumsum(taken)]).astype(np.int64)
    rank = np.arange(offsets[-1]) - np.repeat(offsets[:-1], taken)
    place = np.repeat(start, taken) + rank * np.repeat(count, taken) // np.maximum(np.repeat(taken, taken), 1)
    return offsets, cloud.view_index[place]


def _facets(vertices: np.ndarray, neighbours: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Faces int32 (f, 3) of inside tetrahedra against outside ones, counter-clockwise seen from outside."""
    around = np.where(neighbours >= 0, outside[neighbours], 0)
    tet, opposite = np.nonzero((outside[:, None] == 0) & (around == 1))
    corners = np.array([[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]])[opposite]
    return np.take_along_axis(vertices[tet], corners, 1)
