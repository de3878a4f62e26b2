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
from rilievo.geometry import transform
from rilievo.stages.unwrap import connected_patches
from rilievo.types import Mesh, View

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


def rate_view(mesh: Mesh, view: View, *, min_cos: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The faces (m,) that this photo shows, how well, float32 (m,), and their mean colour, float32 (m, 3)."""
    import cv2

    camera = view.camera
    intrinsics = (camera.fx, camera.fy, camera.cx, camera.cy)
    vertices = transform(view.cam_from_world, mesh.vertices.astype(np.float64) + mesh.origin).astype(np.float32)
    h, w = view.pixels.shape[:2]
    face_index, depth = kernels.rasterize_mesh(vertices, mesh.faces, *intrinsics, w, h)
    nothing = np.isnan(depth)
    size = 2 * EDGE_RADIUS_PX + 1
    filled = np.where(nothing, np.float32(np.inf), depth)
    front = cv2.erode(filled, np.ones((size, size), np.uint8))
    back = cv2.dilate(filled, np.ones((5, 5), np.uint8))
    gray = cv2.cvtColor(view.pixels, cv2.COLOR_RGB2GRAY)
    gx, gy = cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)
    sharpness = cv2.boxFilter(cv2.magnitude(gx, gy), -1, (9, 9)) / 8
    mask = np.ones((h, w), np.uint8)
    if view.mask is not None:  # a pixel beside a masked one shares its colour
        mask = cv2.erode(view.mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    rasters = (np.ascontiguousarray(view.pixels), mask, sharpness, depth, front, back, face_index)
    quality, color = kernels.score_faces(vertices, mesh.faces, *intrinsics, *rasters, min_cos)
    seen = np.flatnonzero(quality > 0)
    return seen, quality[seen], color[seen]


def join_ratings(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], num_faces: int) -> Ratings:
    """The ratings of all views, in order of the views, as one table."""
    face = np.concatenate([p[0] for p in parts]).astype(np.int64)
    view = np.repeat(np.arange(len(parts), dtype=np.int32), [len(p[0]) for p in parts])
    order = np.argsort(face, kind="stable")
    offsets = np.zeros(num_faces + 1, np.int64)
    np.cumsum(np.bincount(face, minlength=num_faces), out=offsets[1:])
    quality, color = (np.concatenate([p[i] for p in parts]) for i in (1, 2))
    return Ratings(face[order], view[order], quality[order], color[order], offsets)


def equalize_exposure(ratings: Ratings, num_views: int, *, max_faces: int = 20_000) -> np.ndarray:
    """Factors float64 (n, 3) that bring the photos to one exposure and white balance, a colour channel at a time.

    Least squares on log colours, log c = surface + view, the surface's unknown eliminated, re-weighted against
    outliers (Huber); the mean factor is 1. Only faces that several photos see, neither dark nor burnt out, count.
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
        gains[:, channel] = np.exp(-(x - x.mean()))
    return np.clip(gains, 0.25, 4.0)


def find_outliers(ratings: Ratings, gains: np.ndarray, *, tolerance: float = 12.0, chunk: int = 20_000) -> np.ndarray:
    """True for rows whose colour of the face disagrees with what most photos see, bool (m,).

    Around the median colour, mean and spread of the rows within three deviations are taken in turn until they settle
    (a Gaussian fitted to the mode, as in Waechter et al. 2014, section 3.2). Faces seen less than three times are left
    alone. tolerance: the least deviation, levels.
    """
    out = np.zeros(len(ratings.face), bool)
    counts = np.diff(ratings.offsets)
    color = ratings.color * gains[ratings.view].astype(np.float32)
    faces = np.flatnonzero(counts >= 3)
    for begin in range(0, len(faces), chunk):
        some = faces[begin : begin + chunk]
        width = int(counts[some].max())
        column = np.arange(width)
        valid = column < counts[some][:, None]
        rows = np.minimum(ratings.offsets[some][:, None] + column, len(color) - 1)
        c = color[rows]
        center = _median(c, valid)
        # The spread starts from the median deviation: half of the rows may be wrong.
        sigma = np.maximum(tolerance, 1.48 * _median(np.abs(c - center[:, None]), valid))
        inlier = valid
        for _ in range(5):
            distance = (((c - center[:, None]) / sigma[:, None]) ** 2).sum(-1)
            inlier = valid & (distance < 9)
            num = np.maximum(inlier.sum(1), 1)[:, None]
            filled = np.where(inlier[..., None], c, 0)
            center = np.where(inlier.any(1)[:, None], filled.sum(1) / num, center)
            spread = np.where(inlier[..., None], (c - center[:, None]) ** 2, 0).sum(1) / num
            sigma = np.maximum(tolerance, np.sqrt(spread))
        out[rows[valid & ~inlier]] = True
    return out


def _median(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The lower median over axis 1 of what is valid: (n, k, c), (n, k) -> (n, c)."""
    order = np.sort(np.where(valid[..., None], values, np.float32(np.inf)), axis=1)
    middle = (np.maximum(valid.sum(1), 1) - 1) // 2
    return order[np.arange(len(order)), middle]


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
    the best view, an outlier 3 more) and of `smoothness` for each side between different views, both weighted by size.
    Small patches then go to a neighbour's view where that costs less than a chart of their own is worth.
    """
    counts = np.diff(ratings.offsets)
    face = ratings.face
    sound = np.where(outlier, ratings.quality * np.float32(0.05), ratings.quality)
    sound = np.where(near_outliers(ratings, outlier, neighbors) & ~outlier, sound * np.float32(0.2), sound)
    best = np.zeros(len(counts), np.float32)
    np.maximum.at(best, face, sound)
    cost = np.minimum(np.log(best[face] / sound), 5.0)
    x = mesh.vertices.astype(np.float64)[mesh.faces]
    area = np.linalg.norm(np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]), axis=1)
    length = np.linalg.norm(np.roll(x, -1, axis=1) - x, axis=2)
    seen = counts > 0
    if not seen.any():
        return np.full(len(counts), -1, np.int32)
    cost = cost * np.clip(area / max(area[seen].mean(), 1e-300), 0.25, 4)[face]
    weight = smoothness * np.clip(length / max(length[seen].mean(), 1e-300), 0.25, 4)
    weights = weight.astype(np.float32)
    cost = cost.astype(np.float32)
    chosen = kernels.label_faces(ratings.offsets, ratings.view, cost, neighbors, weights, 15)
    return merge_small_patches(ratings, cost, neighbors, chosen)


def merge_small_patches(
    ratings: Ratings, cost: np.ndarray, neighbors: np.ndarray, chosen: np.ndarray, *, most: int = 40, worth: float = 8.0
) -> np.ndarray:
    """`chosen` with patches of up to `most` faces given to the view of a neighbouring patch that sees all of them, when
    their data costs rise by less than `worth` for the whole patch. Smallest patches first, twice over."""
    chosen = chosen.copy()
    num_views = int(ratings.view.max(initial=0)) + 1
    key = ratings.face * num_views + ratings.view
    for _ in range(2):
        patch = connected_patches(neighbors, chosen)
        size = np.bincount(patch)
        order = np.argsort(patch, kind="stable")
        start = np.concatenate([[0], np.cumsum(size)])
        small = np.flatnonzero((size <= most) & (chosen[order[start[:-1]]] >= 0))
        for p in small[np.argsort(size[small], kind="stable")]:
            faces = order[start[p] : start[p + 1]]
            own = chosen[faces[0]]
            around = neighbors[faces]
            views = chosen[around[around >= 0]]
            options = np.unique(views[(views >= 0) & (views != own)])
            if not len(options) or (chosen[faces] != own).any():
                continue
            wanted = np.concatenate([[own], options])[:, None] + faces.astype(np.int64) * num_views
            at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
            total = np.where(key[at] == wanted, cost[at], np.float32(np.inf)).sum(1)
            best = int(np.argmin(total[1:])) + 1
            if total[best] < total[0] + worth:
                chosen[faces] = options[best - 1]
    return chosen
