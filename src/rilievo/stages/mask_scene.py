"""What a photo should show if nothing had moved: surfaces seen from its place, coloured by the other photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rilievo import geometry, kernels
from rilievo.types import Camera, Mesh, PointCloud, Reconstruction, View

AGREES = 0.02
"""Relative difference of depth within which two photos see the same place."""

_SIMILAR, _MIN_VOTES = 12.0, 0.5
"""Where the surface is guessed: colours (of 255 a channel) as near as this are one, and this share must have it."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A view and the depth of the surface in it: float32 (h, w), infinite where there is none."""

    view: View
    depth: np.ndarray


@dataclass(frozen=True, eq=False)
class Expected:
    """What the other photos say that a view should show.

    color: float32 (h, w, 3) 0..255, median over those that see the place; NaN where fewer than 3 do.  spread: float32
    (h, w), median distance of theirs from it.  count: uint8 (h, w).
    """

    color: np.ndarray
    spread: np.ndarray
    count: np.ndarray


def surface_depth(mesh: Mesh, view: View, cloud: PointCloud | None = None) -> np.ndarray:
    """Depth of the mesh in a view (PINHOLE camera): float32 (h, w), infinite where there is none. cloud: where the mesh
    has nothing, its points that at least 3 photos saw (meshes drop what hangs in the air, as do a mirror's images).
    """
    c = view.camera
    world = mesh.vertices + mesh.origin
    vertices = geometry.transform(view.cam_from_world, world).astype(np.float32)
    _, depth = kernels.rasterize_mesh(vertices, mesh.faces, c.fx, c.fy, c.cx, c.cy, c.width, c.height)
    depth = np.where(np.isfinite(depth), depth, np.float32(np.inf)).astype(np.float32)
    return depth if cloud is None else np.where(np.isfinite(depth), depth, _points_depth(cloud, view))


def _points_depth(cloud: PointCloud, view: View) -> np.ndarray:
    """Depth of the nearest points, with the holes between neighbours closed."""
    c = view.camera
    keep = np.diff(cloud.view_offsets) >= 3
    p = geometry.transform(view.cam_from_world, cloud.points[keep] + cloud.origin)
    with np.errstate(all="ignore"):
        x, y = c.fx * p[:, 0] / p[:, 2] + c.cx, c.fy * p[:, 1] / p[:, 2] + c.cy
        ok = (p[:, 2] > 0) & (x >= 0) & (x < c.width) & (y >= 0) & (y < c.height)
    depth = np.full(c.height * c.width, np.inf, np.float32)
    np.minimum.at(depth, y[ok].astype(np.int64) * c.width + x[ok].astype(np.int64), p[ok, 2].astype(np.float32))
    inverse = np.where(np.isfinite(depth), 1 / depth, 0).reshape(c.height, c.width).astype(np.float32)
    inverse = cv2.morphologyEx(inverse, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    inverse = cv2.medianBlur(inverse, 5)
    with np.errstate(divide="ignore"):
        return np.where(inverse > 0, 1 / inverse, np.float32(np.inf)).astype(np.float32)


def places(view: View, depth: np.ndarray, far: float) -> np.ndarray:
    """World points (h, w, 3) that pixels show; what has no surface is put `far` away."""
    h, w = depth.shape
    x, y = np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5)
    z = np.where(np.isfinite(depth), depth, np.float32(far)).astype(np.float64)
    points = geometry.unproject(view.camera, view.cam_from_world, np.stack([x, y], -1).reshape(-1, 2), z.ravel())
    return points.reshape(h, w, 3)


def look(
    points: np.ndarray, other: Seen, far: float, *, margin: float = AGREES
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How world points (..., 3) appear in another view: colour float32 (..., 3), whether it sees the place (its surface
    is there), and whether it sees through it (its surface lies behind)."""
    shape = points.shape[:-1]
    c = other.view.camera
    p = geometry.transform(other.view.cam_from_world, points.reshape(-1, 3))
    z = p[:, 2]
    with np.errstate(all="ignore"):
        x, y = c.fx * p[:, 0] / z + c.cx, c.fy * p[:, 1] / z + c.cy
        inside = (z > 0) & (x >= 0.5) & (x <= c.width - 0.5) & (y >= 0.5) & (y <= c.height - 0.5)
    x, y = (np.where(inside, a, -1.0).astype(np.float32) for a in (x, y))
    column, row = (np.clip(a.astype(np.int64), 0, n - 1) for a, n in ((x, c.width), (y, c.height)))
    there = np.minimum(other.depth, np.float32(far))[row, column]
    if other.view.mask is not None:
        inside &= other.view.mask[row, column]
    z = np.minimum(z, far)
    sees = inside & (np.abs(z - there) <= margin * there)
    through = inside & (z < (1 - margin) * there)
    color = np.zeros((len(p), 3), np.float32)
    for a in range(0, len(p), 30_000):  # remap takes maps of at most 32767 rows
        part = slice(a, a + 30_000)
        maps = x[part, None] - np.float32(0.5), y[part, None] - np.float32(0.5)
        color[part] = cv2.remap(other.view.pixels, *maps, cv2.INTER_LINEAR).reshape(-1, 3)
    return color.reshape(*shape, 3), sees.reshape(shape), through.reshape(shape)


def expected(seen: Seen, others: Sequence[Seen], far: float, *, guessed: np.ndarray | None = None) -> Expected:
    """What `seen` should show, from the views `others`. far: distance beyond all surfaces.  guessed: bool (h, w), where
    the surface was not measured: there the most frequent colour counts, and none where too few photos show it, as in
    mirrors and niches."""
    points = places(seen.view, seen.depth, far)
    own = seen.view.pixels.astype(np.float32)
    stack, valid = [], []
    for other in others:
        color, sees, _ = look(points, other, far)
        sees &= np.isfinite(seen.depth)  # a place without a surface need not be far away
        if sees.sum() < 100:
            continue
        # Exposure and white balance: a factor a channel, from what both see alike.
        gain = np.median((own[sees] + 4) / (color[sees] + 4), axis=0)
        stack.append(np.clip((color + 4) * gain - 4, 0, 255))
        valid.append(sees)
    h, w = seen.depth.shape
    if len(stack) < 3:
        none = np.full((h, w, 3), np.nan, np.float32)
        return Expected(none, np.full((h, w), np.nan, np.float32), np.zeros((h, w), np.uint8))
    ok = np.stack(valid, -1)
    count = ok.sum(-1).astype(np.uint8)
    enough = count >= 3
    n = count[enough].astype(np.int64)
    values = np.stack(stack, -1)[enough].astype(np.float32)  # (places, 3, views)
    values[~np.broadcast_to(ok[enough][:, None], values.shape)] = np.inf
    middle = _median(values, n[:, None])
    off = np.sqrt(((values - middle[..., None]) ** 2).sum(1))  # infinite where a view sees something else
    color = np.full((h, w, 3), np.nan, np.float32)
    spread = np.full((h, w), np.nan, np.float32)
    color[enough], spread[enough] = middle, _median(off, n)
    if guessed is not None and (guessed & enough).any():
        there = guessed & enough
        some = guessed[enough]
        color[there], spread[there], votes = _most_frequent(values[some])
        count[there] = np.where((votes >= 4) & (votes >= _MIN_VOTES * n[some]), count[there], 0)
        count[guessed & ~enough] = 0
        color[guessed & (count == 0)], spread[guessed & (count == 0)] = np.nan, np.nan
    return Expected(color, spread, count)


def _most_frequent(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of colours (n, 3, k), infinite where there is none: mean (n, 3) of the largest group of similar ones, their mean
    distance from it, how many they are."""
    best = np.zeros(len(values), np.int64)
    inside = np.zeros((len(values), values.shape[2]), bool)
    finite = np.isfinite(values[:, 0])
    clean = np.where(finite[:, None], values, np.float32(0))
    for k in range(values.shape[2]):
        near = finite & finite[:, k, None] & (((clean - clean[..., k, None]) ** 2).sum(1) < _SIMILAR**2)
        more = near.sum(1) > best
        best[more], inside[more] = near.sum(1)[more], near[more]
    weight = np.maximum(best, 1).astype(np.float32)
    mean = (clean * inside[:, None]).sum(2) / weight[:, None]
    off = np.sqrt(((clean - mean[..., None]) ** 2).sum(1))
    return mean, (off * inside).sum(1) / weight, best


def _median(values: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Of the `count` finite ones among values (..., k): the lower and the upper middle's mean."""
    values = np.sort(values, axis=-1)
    count = np.broadcast_to(count, values.shape[:-1])
    low = np.take_along_axis(values, ((count - 1) // 2)[..., None], -1)[..., 0]
    return (low + np.take_along_axis(values, (count // 2)[..., None], -1)[..., 0]) / 2


def other_photos(scene: Reconstruction, most: int) -> dict[str, list[str]]:
    """For each photo some others that share something with it, near and far ones: somebody may stand still for a
    while."""
    n = len(scene.names)
    seen = np.zeros((n, max(len(scene.points), 1)), bool)
    seen[scene.obs_photo, scene.obs_point] = True
    shared = (seen.astype(np.float32) @ seen.T.astype(np.float32)).astype(int)
    centers = scene.centers
    out = {}
    for i, name in enumerate(scene.names):
        away = np.linalg.norm(centers - centers[i], axis=1)
        able = [j for j in np.lexsort((np.arange(n), away)) if j != i and shared[i, j] >= 15]
        if len(able) < 6:
            able = [j for j in np.lexsort((np.arange(n), away)) if j != i]
        able = able[:40]
        pick = np.unique(np.linspace(0, len(able) - 1, min(len(able), most)).astype(int)) if able else []
        out[name] = [scene.names[able[k]] for k in pick]
    return out


def far_away(load: Callable[[str], Seen], names: Sequence[str]) -> float:
    """A distance beyond all surfaces: 30 times the largest usual depth."""
    largest = 0.0
    for name in names:
        depth = load(name).depth
        known = depth[np.isfinite(depth)]
        if len(known):
            largest = max(largest, float(np.quantile(known, 0.95)))
    return 30 * largest if largest else 1.0


def to_photo(mask: np.ndarray, view_camera: Camera, camera: Camera) -> np.ndarray:
    """A view's mask (bool (h, w)) at the pixels of the photo (any camera model): bool (H, W)."""
    step = 8
    xs, ys = (np.unique(np.append(np.arange(0, n, step), n)).astype(np.float64) for n in (camera.width, camera.height))
    grid = np.stack(np.meshgrid(xs, ys), -1)
    at = geometry.undistort(camera, grid.reshape(-1, 2)).reshape(grid.shape)
    at = at * [view_camera.fx, view_camera.fy] + [view_camera.cx, view_camera.cy]
    # between the points of the grid the map is as good as linear
    px, py = np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5
    rows = np.stack([_lines(ys, at[..., k], py) for k in range(2)], -1)
    columns = np.stack([_lines(xs, rows[..., k].T, px).T for k in range(2)], -1).astype(np.float32)
    soft = cv2.remap(
        mask.astype(np.float32), columns[..., 0] - 0.5, columns[..., 1] - 0.5, cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return soft > 0.5


def _lines(x: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """values (n, m) given at x (n,), between them on lines: (len(at), m)."""
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    t = ((at - x[i]) / (x[i + 1] - x[i]))[:, None]
    return values[i] * (1 - t) + values[i + 1] * t
