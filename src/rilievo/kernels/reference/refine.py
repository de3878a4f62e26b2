"""Plain NumPy twins of native/refine.cpp: one photo seen through the surface by another, compared, and what that says
of the surface (Vu, Labatut, Pons & Keriven 2012, "High accuracy and visibility-consistent dense multiview stereo",
section 4)."""

from __future__ import annotations

import numpy as np


def _rows(mask: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(a)[mask] for a in arrays]


def warp_surface(
    depth0: np.ndarray,
    face_index0: np.ndarray,
    normals0: np.ndarray,
    camera0: np.ndarray,
    gray1: np.ndarray,
    depth1: np.ndarray,
    camera1: np.ndarray,
    cam1_from_cam0: np.ndarray,
    min_cos: float,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Photo 1 as photo 0 would see it on the surface, and how that changes when the surface moves along its normal.

    depth0, face_index0: `rasterize_mesh` of camera 0, (h0, w0).  normals0: unit normals of the faces in camera 0,
    float32 (f, 3).  gray1, depth1: photo 1 and its own raster of the surface, float32 (h1, w1); NaN depth is not to be
    compared.  camera0, camera1: fx fy cx cy, float64 (4,).  cam1_from_cam0: float64 (3, 4).
    min_cos: surfaces seen at a flatter angle by either camera are left out.  tolerance: share of the depth by which a
    point may lie off the surface that camera 1 sees there (else it is hidden).
    Returns the grey values, float32 (h0, w0), NaN where there is none, and their derivative by the movement of the face
    along its normal (Vu et al., eq. 5: a point stays on its ray), float32 (h0, w0), 0 where there is none. Grey values
    between pixels are bilinear, and the derivative is exactly that of the bilinear surface.
    """
    for image in (depth0, gray1):
        if max(image.shape) >= 32768:
            raise ValueError("images must be smaller than 32768 pixels a side")
    if face_index0.shape != depth0.shape or gray1.shape != depth1.shape:
        raise ValueError("rasters of one camera must have one size")
    if not 0 < min_cos <= 1 or not 0 <= tolerance < np.inf:
        raise ValueError("min_cos must be above 0 and at most 1, and tolerance must not be negative")
    h, w = depth0.shape
    h1, w1 = gray1.shape
    warped, slope = np.full((h, w), np.nan, np.float32), np.zeros((h, w), np.float32)
    with np.errstate(all="ignore"):
        usable = (depth0 > 0) & (face_index0 >= 0) & (face_index0 < len(normals0))
        if h1 < 2 or w1 < 2 or not usable.any():
            return warped, slope
        row, column = np.nonzero(usable)
        z = depth0[usable].astype(np.float64)
        fx, fy, cx, cy = camera0
        d = np.stack([(column + 0.5 - cx) / fx, (row + 0.5 - cy) / fy, np.ones(len(z))], 1)
        n = normals0[face_index0[usable]].astype(np.float64)
        R, t = cam1_from_cam0[:, :3], cam1_from_cam0[:, 3]
        r = d @ R.T
        p = r * z[:, None] + t
        along = (n * d).sum(1)
        along1 = along * z - n @ (-R.T @ t)
        good = (p[:, 2] > 0) & (-along >= min_cos * np.linalg.norm(d, axis=1))
        good &= -along1 >= min_cos * np.linalg.norm(p, axis=1)
        fx, fy, cx, cy = camera1
        u, v = fx * p[:, 0] / p[:, 2] + cx - 0.5, fy * p[:, 1] / p[:, 2] + cy - 0.5
        good &= (u >= 0) & (v >= 0) & (u < w1 - 1) & (v < h1 - 1)
    row, column, r, p, along, u, v = _rows(good, row, column, r, p, along, u, v)
    i, j = v.astype(np.int64), u.astype(np.int64)
    corners = [(i, j), (i, j + 1), (i + 1, j), (i + 1, j + 1)]
    around = np.stack([depth1[c] for c in corners])
    with np.errstate(all="ignore"):
        slack = tolerance * p[:, 2]
        shown = (around > 0).all(0) & (p[:, 2] <= around.max(0) + slack) & (p[:, 2] >= around.min(0) - slack)
    row, column, r, p, along, i, j, u, v = _rows(shown, row, column, r, p, along, i, j, u, v)
    g00, g01, g10, g11 = (gray1[c].astype(np.float64) for c in ((i, j), (i, j + 1), (i + 1, j), (i + 1, j + 1)))
    a, b = u - j, v - i
    upper, lower = g00 + a * (g01 - g00), g10 + a * (g11 - g10)
    grad_u, grad_v = (1 - b) * (g01 - g00) + b * (g11 - g10), lower - upper
    du = fx * (r[:, 0] * p[:, 2] - p[:, 0] * r[:, 2]) / p[:, 2] ** 2
    dv = fy * (r[:, 1] * p[:, 2] - p[:, 1] * r[:, 2]) / p[:, 2] ** 2
    warped[row, column] = upper + b * grad_v
    slope[row, column] = (grad_u * du + grad_v * dv) / along
    return warped, slope


def _box(values: np.ndarray, radius: int) -> np.ndarray:
    """Sums over square windows, zero outside of the picture."""
    h, w = values.shape
    padded = np.pad(values, radius)
    size = range(2 * radius + 1)
    rows = np.sum([padded[k : k + h] for k in size], 0)
    return np.sum([rows[:, k : k + w] for k in size], 0)


def compare_warped(
    gray0: np.ndarray,
    warped: np.ndarray,
    slope: np.ndarray,
    radius: int,
    noise: float,
    softness: float,
    sums: np.ndarray,
) -> None:
    """Adds to `sums`, float32 (4, h, w), pixel by pixel: the derivative of the energy by a movement of the surface,
    the curvature of its Gauss-Newton model, the energy of the window around the pixel, and 1 where there is one.

    The energy of a window is s e / (e + s), with s = softness and e = 1 - ZNCC of the pixels of the window that both
    pictures show (both are finite); `noise` is added to both variances, so that grain on plain surface is no texture.
    Windows count where their centre is shown and at least half of their pixels are. The derivative (Vu et al. 2012,
    eq. 9) is that of the sum over all windows by the grey value of `warped`, times `slope`.
    """
    if not gray0.shape == warped.shape == slope.shape or sums.shape != (4, *gray0.shape):
        raise ValueError("all rasters must have one size")
    if not 1 <= radius <= 8 or not 0 < noise < np.inf or not 0 < softness < np.inf:
        raise ValueError("radius must be 1 to 8, noise and softness positive")
    both = np.isfinite(gray0) & np.isfinite(warped)
    a, b = (np.where(both, g, 0).astype(np.float64) for g in (gray0, warped))
    a, b = np.where(both, a - 128, 0), np.where(both, b - 128, 0)
    n = _box(both.astype(np.float64), radius)
    valid = both & (n >= 0.5 * (2 * radius + 1) ** 2)
    per = 1 / np.where(valid, n, 1)
    m1, m2 = _box(a, radius) * per, _box(b, radius) * per
    var1 = np.maximum(_box(a * a, radius) * per - m1 * m1, 0) + noise
    var2 = np.maximum(_box(b * b, radius) * per - m2 * m2, 0) + noise
    scale = 1 / np.sqrt(var1 * var2)
    zncc = (_box(a * b, radius) * per - m1 * m2) * scale
    e = np.maximum(1 - zncc, 0)
    share = softness / (e + softness)
    weight = np.where(valid, share * share * per, 0)
    p, k = weight * scale, weight / var2
    q = k * zncc
    change = b * _box(q, radius) - a * _box(p, radius) + _box(p * m1 - q * m2, radius)
    s = np.where(both, slope, 0).astype(np.float64)
    sums += np.stack([s * change, s * s * _box(k, radius), np.where(valid, e * share, 0), valid]).astype(np.float32)


def collect_pixels(
    face_index: np.ndarray,
    vertices_cam: np.ndarray,
    faces: np.ndarray,
    camera: np.ndarray,
    values: np.ndarray,
    corner_sums: np.ndarray,
) -> None:
    """Adds to `corner_sums`, float32 (f, 3, c): the sum over the pixels of a face of values (c, h, w) times the weight
    of each corner at the pixel: the transpose of `interpolate_pixels`. camera: fx fy cx cy, float64 (4,)."""
    if values.shape[1:] != face_index.shape or corner_sums.shape != (len(faces), 3, len(values)):
        raise ValueError("values must be rasters of the size of face_index, corner_sums three corners a face")
    fx, fy, cx, cy = camera
    with np.errstate(all="ignore"):
        x = vertices_cam.astype(np.float64)
        p = np.stack([fx * x[:, 0] + cx * x[:, 2], fy * x[:, 1] + cy * x[:, 2], x[:, 2]], 1)
        row, column = np.nonzero((face_index >= 0) & (face_index < len(faces)))
        face = face_index[row, column]
        there = np.asarray(((faces >= 0) & (faces < len(p))).all(1))
        if not there.any():
            return
        there &= np.isfinite(p[np.where(there[:, None], faces, 0)]).all((1, 2))
        row, column, face = _rows(there[face], row, column, face)
        if not len(face):
            return
        c = p[faces[face]]
        pixel = np.stack([column + 0.5, row + 0.5, np.ones(len(row))], 1)
        w = np.stack([(np.cross(c[:, (k + 1) % 3], c[:, (k + 2) % 3]) * pixel).sum(1) for k in range(3)], 1)
        total = w.sum(1)
        drawn = (total != 0) & np.isfinite(total)
        w = np.where(drawn[:, None], w / total[:, None], 0)
    for i, raster in enumerate(values):
        value = raster[row, column].astype(np.float64)
        for k in range(3):
            corner_sums[:, k, i] += np.bincount(face, w[:, k] * value, len(faces)).astype(np.float32)
