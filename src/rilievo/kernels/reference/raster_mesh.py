"""Plain NumPy twins of native/raster_mesh.cpp (Olano & Greer 1997, section 3)."""

from __future__ import annotations

import numpy as np


def _edges(p: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Rows: edge functions (a, b, c) opposite each corner of homogeneous corners p (3, 3), and the determinant."""
    with np.errstate(all="ignore"):
        u, v = p[[1, 2, 0]], p[[2, 0, 1]]
        e = np.stack(
            [
                u[:, 1] * v[:, 2] - u[:, 2] * v[:, 1],
                u[:, 2] * v[:, 0] - u[:, 0] * v[:, 2],
                u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0],
            ],
            1,
        )
        det = p[0, 0] * e[0, 0] + p[0, 1] * e[0, 1] + p[0, 2] * e[0, 2]
    if not np.isfinite(det) or det == 0:
        return None
    return (-e, -det) if det < 0 else (e, det)


def _homogeneous(x: np.ndarray, fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    x = x.astype(np.float64)
    return np.stack([fx * x[:, 0] + cx * x[:, 2], fy * x[:, 1] + cy * x[:, 2], x[:, 2]], 1)


def _valid(face: np.ndarray, n: int) -> bool:
    return bool((face >= 0).all() and (face < n).all())


def rasterize_mesh(
    vertices_cam: np.ndarray,
    faces: np.ndarray,
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    width: int,
    height: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest face at each pixel centre, int32 (h, w), -1 none, and its depth float32 (h, w), NaN none.

    vertices_cam: float32 (v, 3) in camera axes.  faces: int32 (f, 3); both sides are drawn; a face that names a vertex
    that is not there is left out. At equal depth the lower face wins; a pixel on a side shared by two faces belongs to
    one of them.
    """
    index = np.full((height, width), -1, np.int32)
    nearest = np.zeros((height, width))
    for f, face in enumerate(faces):
        if not _valid(face, len(vertices_cam)):
            continue
        with np.errstate(all="ignore"):
            p = _homogeneous(vertices_cam[face], fx, fy, cx, cy)
            if not np.isfinite(p).all() or not (p[:, 2] > 0).any():
                continue
            if (p[:, 2] > 1e-9).all():
                xy = p[:, :2] / p[:, 2:]
                low = np.clip(np.floor(xy.min(0) - 0.5), 0, [width, height]).astype(int)
                high = np.clip(np.ceil(xy.max(0) + 0.5), 0, [width, height]).astype(int)
            else:
                low, high = np.array([0, 0]), np.array([width, height])
        made = _edges(p)
        if made is None or (low >= high).any():
            continue
        e, det = made
        x, y = np.arange(low[0], high[0]) + 0.5, (np.arange(low[1], high[1]) + 0.5)[:, None]
        with np.errstate(all="ignore"):
            w = [e[k, 0] * x + (e[k, 1] * y + e[k, 2]) for k in range(3)]
            inside = np.ones(w[0].shape, bool)
            for k in range(3):
                owns = e[k, 0] > 0 or (e[k, 0] == 0 and e[k, 1] > 0)
                inside &= (w[k] >= 0) if owns else (w[k] > 0)
            inverse = (w[0] + w[1] + w[2]) / det
        area = (slice(low[1], high[1]), slice(low[0], high[0]))
        win = inside & (inverse > nearest[area]) & np.isfinite(inverse)
        nearest[area] = np.where(win, inverse, nearest[area])
        index[area] = np.where(win, np.int32(f), index[area])
    with np.errstate(all="ignore"):
        return index, np.where(index >= 0, 1 / nearest, np.nan).astype(np.float32)


def interpolate_pixels(
    face_index: np.ndarray,
    vertices_cam: np.ndarray,
    faces: np.ndarray,
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    attributes: np.ndarray,
) -> np.ndarray:
    """Vertex attributes float32 (v, k) at the pixels of `rasterize_mesh`, perspective-correct: float32 (h, w, k), NaN
    where there is no face."""
    out = np.full((*face_index.shape, attributes.shape[1]), np.nan, np.float32)
    for f in np.unique(face_index):
        if f < 0 or f >= len(faces) or not _valid(faces[f], len(vertices_cam)):
            continue
        made = _edges(_homogeneous(vertices_cam[faces[f]], fx, fy, cx, cy))
        if made is None:
            continue
        e, _ = made
        row, col = np.nonzero(face_index == f)
        w = np.stack([e[k, 0] * (col + 0.5) + (e[k, 1] * (row + 0.5) + e[k, 2]) for k in range(3)])
        total = w[0] + w[1] + w[2]
        value = sum(w[k][:, None] * attributes[faces[f][k]].astype(np.float64) for k in range(3))
        with np.errstate(all="ignore"):
            out[row, col] = np.where(total[:, None] == 0, np.nan, value / total[:, None])
    return out
