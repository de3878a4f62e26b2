"""Which photo each face takes its colours from.

Every photo rates the faces that it sees (size in pixels, angle, sharpness, occlusion); photos whose colour of a face
disagrees with the others lose it (people, leaves, reflections; after Waechter et al. 2014, "Let There Be Color!",
section 3.2); exposures are made equal; and the labels are chosen together so that neighbours share a photo where it
costs little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rilievo import kernels
from rilievo.stages.unwrap import connected_patches
from rilievo.types import Camera, Mesh, View

TINY_PX = 20  # what lies wrong on the picture of a face this small is not noticed
EDGE_RADIUS_PX = 3  # colours this near to a depth step belong to either side


@dataclass(frozen=True)
class Ratings:
    """What photos see of faces, sorted by face, then by view: row i says that view[i] shows face[i].

    quality: float32 > 0.  color: float32 (m, 3), mean colour 0..255.  offsets: int64 (f + 1,), rows of each face.
    """

    face: np.ndarray
    view: np.ndarray
    quality: np.ndarray
    color: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True)
class Placed:
    """Where a photo stands; its pixels are loaded when they are needed."""

    camera: Camera
    cam_from_world: np.ndarray


@dataclass(frozen=True)
class Rating:
    """What one photo shows: faces int64 (m,), quality float32 (m,), mean colours float32 (m, 3), and how sharp the
    photo is where it shows the surface, about 0 (blurred) to 0.5."""

    face: np.ndarray
    quality: np.ndarray
    color: np.ndarray
    sharpness: float


def rate_view(mesh: Mesh, view: View, *, min_cos: float, size: int = 1200) -> Rating:
    """The faces that this photo shows, how well, and their colours. The photo is rated at `size` pixels at most."""
    import cv2

    camera = rating_camera(view.camera, size)
    intrinsics = (camera.fx, camera.fy, camera.cx, camera.cy)
    w, h = camera.width, camera.height
    times = round(view.camera.fx / camera.fx)
    full = view.pixels[: h * times, : w * times]  # a whole number of pixels each: fast and exact
    vertices = from_camera(view, mesh.vertices, mesh.origin).astype(np.float32)
    face_index, depth = kernels.rasterize_mesh(vertices, mesh.faces, *intrinsics, w, h)
    nothing = np.isnan(depth)
    around = 2 * EDGE_RADIUS_PX + 1
    filled = np.where(nothing, np.float32(np.inf), depth)
    front = cv2.erode(filled, np.ones((around, around), np.uint8))
    back = cv2.dilate(filled, np.ones((5, 5), np.uint8))
    gray = cv2.cvtColor(full, cv2.COLOR_RGB2GRAY)
    slope = _resized(_slope(gray), w, h)
    half = _resized(gray[: h * times // 2 * 2, : w * times // 2 * 2], max(1, w * times // 2), max(1, h * times // 2))
    coarse = _resized(_slope(half), w, h)
    sharpness = cv2.boxFilter(slope, cv2.CV_32F, (9, 9))
    pixels = _resized(full, w, h)
    mask = np.ones((h, w), np.uint8)
    if view.mask is not None:  # a pixel beside a masked one shares its colour
        mask = _resized(view.mask[: h * times, : w * times].astype(np.uint8) * 255, w, h)
        mask = cv2.erode((mask == 255).astype(np.uint8), np.ones((3, 3), np.uint8))
    rasters = (pixels, mask, sharpness, depth, front, back, face_index)
    quality, color = kernels.score_faces(vertices, mesh.faces, *intrinsics, *rasters, min_cos)
    seen = np.flatnonzero(quality > 0)
    share = times * times
    # Slopes of half the picture are twice as steep where it is blurred, about the same where it is sharp.
    textured = ~nothing & (mask > 0) & (coarse > 3)
    ratio = float(slope[textured].sum(dtype=np.int64)) / max(float(coarse[textured].sum(dtype=np.int64)), 1.0)
    color = color[seen]
    burnt = (
        np.maximum(np.maximum(color[:, 0], color[:, 1]), color[:, 2]) > 250
    )  # what the channel was cannot be told any more
    quality = quality[seen] * np.where(burnt, np.float32(0.25 * share), np.float32(share))
    return Rating(seen, quality, color, max(0.0, ratio - 0.5))


def from_camera(view: Placed | View, points: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Points (n, 3) relative to origin (3,) -> float64 (n, 3) in the camera's axes."""
    R = view.cam_from_world[:, :3]
    shift = R @ origin + view.cam_from_world[:, 3]
    x, y, z = points.T.astype(np.float64)
    return np.stack([R[k, 0] * x + R[k, 1] * y + R[k, 2] * z + shift[k] for k in range(3)], 1)


def rating_camera(camera: Camera, size: int) -> Camera:
    """The camera of the photo made smaller by a whole number, so that no side is longer than `size`; what is left over
    at the right and lower border is cut off."""
    times = min(-(-max(camera.width, camera.height) // max(size, 1)), camera.width, camera.height)
    intrinsics = np.array([camera.fx, camera.fy, camera.cx, camera.cy]) / times
    return Camera("PINHOLE", camera.width // times, camera.height // times, intrinsics)


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture with each pixel the mean of what it covers."""
    import cv2

    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _slope(gray: np.ndarray) -> np.ndarray:
    """Steepness of a grey picture, uint8 levels a pixel (saturated at 255)."""
    import cv2

    gx, gy = (cv2.convertScaleAbs(cv2.Sobel(gray, cv2.CV_16S, *d), alpha=0.25) for d in ((1, 0), (0, 1)))
    return cv2.addWeighted(gx, 0.5, gy, 0.5, 0)


def join_ratings(parts: list[Rating], num_faces: int) -> Ratings:
    """The ratings of all views, in order of the views, as one table. Photos that are blurred beside the others count
    less (the square of how much less sharp than the median they are)."""
    sharp = np.array([p.sharpness for p in parts])
    used = np.array([len(p.face) > 0 for p in parts])
    usual = float(np.median(sharp[used])) if used.any() else 0.0
    factor = np.clip(sharp / usual, 0.1, 1.0) ** 2 if usual > 0.02 else np.ones(len(parts))
    face = np.concatenate([p.face for p in parts]).astype(np.int64)
    view = np.repeat(np.arange(len(parts), dtype=np.int32), [len(p.face) for p in parts])
    order = np.argsort(face, kind="stable")
    offsets = np.zeros(num_faces + 1, np.int64)
    np.cumsum(np.bincount(face, minlength=num_faces), out=offsets[1:])
    quality = np.concatenate([p.quality * np.float32(k) for p, k in zip(parts, factor)])
    color = np.concatenate([p.color for p in parts])
    return Ratings(face[order], view[order], quality[order], color[order], offsets)


def equalize_exposure(ratings: Ratings, num_views: int, *, max_faces: int = 20_000) -> np.ndarray:
    """Factors float64 (n, 3) that bring the photos to one exposure and white balance, a colour channel at a time.

    Least squares on log colours, log c = surface + view, the surface's unknown eliminated, re-weighted against
    outliers (Huber); the median factor is 1. Only faces that several photos see, neither dark nor burnt out, count.
    """
    counts = np.diff(ratings.offsets)
    usable = np.flatnonzero(counts >= 2)
    if not len(usable) or num_views < 2:
        return np.ones((num_views, 3))
    usable = usable[:: max(1, len(usable) // max_faces)]
    gains = np.ones((num_views, 3))
    for channel in range(3):
        values = np.full((len(usable), num_views), np.nan)
        for column in range(int(counts[usable].max())):
            has = usable[counts[usable] > column]
            rows = ratings.offsets[has] + column
            value = ratings.color[rows, channel].astype(np.float64)
            good = (value > 8) & (value < 247)
            values[np.flatnonzero(counts[usable] > column)[good], ratings.view[rows[good]]] = np.log(value[good])
        known = ~np.isnan(values)
        values = np.nan_to_num(values)
        x = np.zeros(num_views)
        weight = known.astype(np.float64)
        for _ in range(8):
            total = np.maximum(weight.sum(1), 1e-12)
            # normal equations after the surface is eliminated: diag(sum w) - sum w w' / total
            A = np.diag(weight.sum(0)) - (weight / total[:, None]).T @ weight
            mean = (weight * values).sum(1) / total
            b = (weight * (values - mean[:, None])).sum(0)
            # A weak pull to "no change" fixes the mean and photos that share nothing with the others.
            A += np.eye(num_views) * (1e-3 * weight.sum() / num_views + 1e-9)
            x = np.linalg.solve(A, b)
            residual = values - x
            residual -= ((weight * residual).sum(1) / total)[:, None]
            weight = known * np.minimum(1.0, 0.04 / np.maximum(np.abs(residual), 1e-9))
        gains[:, channel] = np.exp(-(x - np.median(x)))
    return np.clip(gains, 0.25, 4.0)


def find_outliers(
    ratings: Ratings, gains: np.ndarray, *, tolerance: float = 12.0, most_wrong: float = 0.5
) -> np.ndarray:
    """True for rows whose colour of the face disagrees with what most photos see, bool (m,).

    tolerance: the least deviation that counts, levels. A photo that disagrees on more than the share `most_wrong` of
    what three or more photos see (mirrored, in a wrong place) is left out as a whole, as long as most photos agree.
    """
    color = ratings.color * gains[ratings.view].astype(np.float32)
    out = kernels.reject_colors(ratings.offsets, np.ascontiguousarray(color), tolerance).astype(bool)
    judged = np.diff(ratings.offsets)[ratings.face] >= 3
    wrong = np.bincount(ratings.view[judged], out[judged], len(gains))
    share = wrong / np.maximum(np.bincount(ratings.view[judged], minlength=len(gains)), 1)
    bad = share > most_wrong
    return out | bad[ratings.view] if bad.sum() < 0.3 * len(gains) else out


def near_outliers(ratings: Ratings, outlier: np.ndarray, neighbors: np.ndarray, *, rings: int = 2) -> np.ndarray:
    """Rows whose face lies within `rings` sides of an outlier of the same view, bool (m,): what stands before the
    surface does not end where a face ends."""
    num_views = int(ratings.view.max(initial=0)) + 1
    key = ratings.face * num_views + ratings.view
    out = outlier.copy()
    front = np.flatnonzero(outlier)
    for _ in range(rings):
        around = neighbors[ratings.face[front]]
        wanted = (around.astype(np.int64) * num_views + ratings.view[front][:, None])[around >= 0]
        at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        front = np.unique(at[(key[at] == wanted) & ~out[at]])
        out[front] = True
    return out


def choose_views(
    mesh: Mesh, ratings: Ratings, outlier: np.ndarray, neighbors: np.ndarray, *, smoothness: float
) -> np.ndarray:
    """The view of each face, int32 (f,), -1 where none sees it: least sum of data costs (log of how much worse than
    the best view, an outlier 7 more) and of `smoothness` for each side between different views, both weighted by size.
    Small patches then go to a neighbour's view where that costs less than a chart of their own is worth.
    """
    counts = np.diff(ratings.offsets)
    face = ratings.face
    if not len(face):
        return np.full(len(counts), -1, np.int32)
    sound = np.where(outlier, ratings.quality * np.float32(0.05), ratings.quality)
    sound = np.where(near_outliers(ratings, outlier, neighbors) & ~outlier, sound * np.float32(0.2), sound)
    best = np.zeros(len(counts), np.float32)
    some = np.flatnonzero(counts)
    best[some] = np.maximum.reduceat(sound, ratings.offsets[some])
    cost = np.minimum(np.log(best[face] / sound), 5.0)
    x = mesh.vertices.astype(np.float64)[mesh.faces]
    area = np.linalg.norm(np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]), axis=1)
    length = np.linalg.norm(np.roll(x, -1, axis=1) - x, axis=2)
    seen = counts > 0
    cost = cost * np.clip(area / max(area[seen].mean(), 1e-300), 0.25, 4)[face]
    weight = smoothness * np.clip(length / max(length[seen].mean(), 1e-300), 0.25, 4)
    weights = weight.astype(np.float32)
    cost = cost.astype(np.float32) + np.where(outlier, np.float32(4), np.float32(0))
    chosen = kernels.label_faces(ratings.offsets, ratings.view, cost, neighbors, weights, 6)
    cost = cost + np.where(outlier, np.float32(100), np.float32(0))  # no patch is small enough for a wrong colour
    return kernels.merge_patches(ratings.offsets, ratings.view, cost, neighbors, chosen, 100, 10.0)


def lay_unseen(
    mesh: Mesh, placed: list[Placed], face_view: np.ndarray, neighbors: np.ndarray, *, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """(chart_view, face_view) int32 (f,): the photo by whose projection a face is laid out, and whose colours it has.

    A face that no photo shows, or one of a patch of up to three faces, is laid out with its neighbours where it faces
    their photo and no other face lies there, or where it is tiny (a fold); it has no photo's colours then. chart_view
    is -1 where that fails.
    """
    small = np.bincount(patch := connected_patches(neighbors, face_view))[patch] <= 3
    chart_view = np.where(small, -1, face_view).astype(np.int32)
    loose = np.flatnonzero(chart_view < 0)
    x = mesh.vertices.astype(np.float64)[mesh.faces[loose]]
    normal = np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    cosine = np.full((len(loose), len(placed)), -1.0, np.float32)
    tiny = np.zeros((len(loose), len(placed)), bool)
    for i, view in enumerate(placed):
        c = from_camera(view, x.reshape(-1, 3), mesh.origin).reshape(-1, 3, 3)
        ray = c.mean(1)
        toward = -np.einsum("fi,fi->f", normal @ view.cam_from_world[:, :3].T, ray)
        toward /= np.maximum(np.linalg.norm(ray, axis=1), 1e-300)
        camera = view.camera
        with np.errstate(all="ignore"):
            xy = c[..., :2] / c[..., 2:] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
            inside = (c[..., 2] > 1e-9) & (xy >= 1).all(-1) & (xy <= [camera.width - 1, camera.height - 1]).all(-1)
            u, v = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
            area = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / 2
        pixels = (rating_camera(camera, size).fx / camera.fx) ** 2
        tiny[:, i] = small[loose] & inside.all(1) & (area * pixels < TINY_PX)
        cosine[:, i] = np.where(inside.all(1), toward, -1)
        cosine[:, i] = np.where(tiny[:, i], np.maximum(0.16, cosine[:, i]), cosine[:, i])
    for _ in range(8):  # from the border of a hole inwards
        free = np.flatnonzero(chart_view[loose] < 0)
        around = neighbors[loose[free]]
        option = np.where(around >= 0, chart_view[np.maximum(around, 0)], -1)
        value = np.where(option >= 0, cosine[free[:, None], np.maximum(option, 0)], -1)
        best = value.argmax(1)
        good = value[np.arange(len(free)), best] > 0.15
        if not good.any():
            break
        chart_view[loose[free[good]]] = option[np.flatnonzero(good), best[good]]
    laid = loose[chart_view[loose] >= 0]
    tested = laid[~tiny[np.searchsorted(loose, laid), chart_view[laid]]]
    hidden = tested[_overlaps(mesh, placed, chart_view, tested, size)]
    chart_view[hidden] = -1
    # A small patch that found no place keeps its photo's colours and its own chart.
    kept = loose[chart_view[loose] < 0]
    chart_view[kept] = face_view[kept]
    face_view = face_view.copy()
    face_view[laid] = np.where(chart_view[laid] == face_view[laid], face_view[laid], -1)
    return chart_view, face_view


def _overlaps(mesh: Mesh, placed: list[Placed], chart_view: np.ndarray, laid: np.ndarray, size: int) -> np.ndarray:
    """For each of the faces `laid`: does another face, not beside it, take its place in the projection of its photo?"""
    bad = np.zeros(len(laid), bool)
    last = np.ones(len(chart_view), np.float32)
    last[laid] = 2  # what photos show goes before
    for i, view in enumerate(placed):
        which = np.flatnonzero(chart_view[laid] == i)
        if not len(which):
            continue
        camera = rating_camera(view.camera, size)
        own = np.flatnonzero(chart_view == i)
        corner = from_camera(view, mesh.vertices[mesh.faces[own]].reshape(-1, 3), mesh.origin)
        corner *= np.repeat(last[own], 3)[:, None]
        soup = np.arange(3 * len(own), dtype=np.int32).reshape(-1, 3)
        intrinsics = (camera.fx, camera.fy, camera.cx, camera.cy)
        index, _ = kernels.rasterize_mesh(corner.astype(np.float32), soup, *intrinsics, camera.width, camera.height)
        middle = corner.reshape(-1, 3, 3).mean(1)[np.searchsorted(own, laid[which])]
        col = (middle[:, 0] / middle[:, 2] * camera.fx + camera.cx).astype(int)
        row = (middle[:, 1] / middle[:, 2] * camera.fy + camera.cy).astype(int)
        there = index[np.clip(row, 0, camera.height - 1), np.clip(col, 0, camera.width - 1)]
        other = mesh.faces[own[np.maximum(there, 0)]]
        beside = (mesh.faces[laid[which]][:, :, None] == other[:, None, :]).any((1, 2))
        bad[which] = (there >= 0) & ~beside
    return bad
