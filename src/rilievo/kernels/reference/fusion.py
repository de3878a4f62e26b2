"""Plain NumPy twin of native/fusion.cpp."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# depth (h, w), normals (h, w, 3), confidence (h, w), sigma (h, w) float32; colors (h, w, 3) uint8;
# camera fx fy cx cy, cam_from_world (3, 4) float64
MapArrays = tuple[np.ndarray, ...]

# Share of a map's variance that its neighbours have in common; weight, in votes, of the sigmas that the maps state.
SHARED_VARIANCE, PRIOR_VOTES = 0.15, 4.0


def fuse_map(
    reference: MapArrays,
    neighbours: Sequence[MapArrays],
    consumed: np.ndarray,
    min_views: int,
    max_relative_depth: float,
    max_reprojection_px: float,
    min_normal_cos: float,
    min_confidence: float,
    default_sigma_px: float,
    max_contradictions: float,
) -> tuple[np.ndarray, ...]:
    """Points that pixels of the reference map, where `consumed` (uint8 (h, w)) is 0, form with its neighbours.

    Returns points float64 (n, 3), normals float32 (n, 3), colors uint8 (n, 3), confidence, sigma, spacing float32
    (n,), counts int32 (n,) of views, and for all views of all points in turn views int32 (m,) (0 the reference, j + 1
    neighbour j) and pixels int32 (m,), the flat index of the pixel in that view.

    A neighbour agrees when the depth at which the reference ray meets the tangent plane of the neighbour's pixel is
    within `max_relative_depth`, the two points are within `max_reprojection_px` in the neighbour, and the normals
    agree. It contradicts when its own depth there is much larger: it looks through the point. Sigma is that of the
    distance from the surface: of the mean of votes that correlate, raised where they differ by more than they say.
    """
    depth, _, confidence, _, colors, k, _ = reference
    if not (k[:2] > 0).all():
        raise ValueError("fuse_map: focal lengths must be positive")
    h, w = depth.shape
    pixel = np.arange(h * w)
    d = depth.ravel().astype(np.float64)
    with np.errstate(invalid="ignore"):
        pixel = pixel[(consumed.ravel() == 0) & np.isfinite(d) & (d > 0) & (confidence.ravel() >= min_confidence)]
    d = d[pixel]
    eye, ray, normal, own_sigma = _look(reference, pixel, default_sigma_px)
    point = eye + d[:, None] * ray
    good = np.asarray(np.isfinite(point).all(1) & np.isfinite(normal).all(1))
    pixel, d, ray, normal, own_sigma, point = _pick(good, pixel, d, ray, normal, own_sigma, point)

    n = len(pixel)
    num = 1 + len(neighbours)
    voted, weight = np.zeros((n, num)), np.zeros((n, num))
    hit = np.zeros((n, num), np.int64)
    agrees = np.zeros((n, num), bool)
    conflicts = np.zeros(n, np.int64)
    sure = np.zeros((n, num))
    color = np.zeros((n, num, 3))
    directions = np.zeros((n, num, 3))
    sigmas = np.ones((n, num))
    sigmas[:, 0] = own_sigma
    agrees[:, 0], voted[:, 0], hit[:, 0], directions[:, 0] = True, d, pixel, normal
    sure[:, 0] = confidence.ravel()[pixel]
    weight[:, 0] = sure[:, 0] / own_sigma**2
    color[:, 0] = colors.reshape(-1, 3)[pixel]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for j, other in enumerate(neighbours, 1):
            od, _, oc, _, ocolors, ok, omatrix = other
            oh, ow = od.shape
            seen = point @ omatrix[:, :3].T + omatrix[:, 3]
            uv = seen[:, :2] / seen[:, 2:] * ok[:2] + ok[2:]
            at = np.flatnonzero((seen[:, 2] > 0) & (uv >= 0).all(1) & (uv < [ow, oh]).all(1))
            cell = uv[at].astype(np.int64)
            op = cell[:, 1] * ow + cell[:, 0]
            z, odepth = seen[at, 2], od.ravel()[op].astype(np.float64)
            known = np.isfinite(odepth) & (odepth > 0)
            allowed = max_relative_depth * z
            enough = oc.ravel()[op] >= min_confidence
            through = known & (odepth > z + 3 * allowed) & enough
            conflicts[at[through]] += 1
            near = known & (np.abs(odepth - z) <= 3 * allowed) & enough
            at, op, z, odepth = at[near], op[near], z[near], odepth[near]
            oeye, oray, onormal, osigma = _look(other, op, default_sigma_px)
            fine = np.isfinite(onormal).all(1) & ((normal[at] * onormal).sum(1) >= min_normal_cos)
            at, op, z, odepth, oray, onormal, osigma = _pick(fine, at, op, z, odepth, oray, onormal, osigma)
            r = ray[at]
            slope, oslope = (onormal * r).sum(1), (onormal * oray).sum(1)
            vote = d[at] + (odepth - z) * (r * oray).sum(1) / (oray * oray).sum(1)
            plane = (onormal * (oeye + odepth[:, None] * oray - eye)).sum(1) / slope
            steep = np.abs(slope) > 0.2 * np.sqrt((r * r).sum(1))
            vote = np.where(steep, plane, vote)
            osigma = np.where(steep, osigma * np.clip(np.abs(oslope / slope), 0.25, 4.0), osigma)
            moved = (eye + vote[:, None] * r) @ omatrix[:, :3].T + omatrix[:, 3]
            shift = moved[:, :2] / moved[:, 2:] * ok[:2] + ok[2:] - uv[at]
            fine = (np.abs(vote - d[at]) <= max_relative_depth * d[at]) & (moved[:, 2] > 0)
            fine &= (shift**2).sum(1) <= max_reprojection_px**2
            at, op, vote, osigma, onormal = at[fine], op[fine], vote[fine], osigma[fine], onormal[fine]
            agrees[at, j], voted[at, j], hit[at, j], directions[at, j] = True, vote, op, onormal
            sure[at, j] = oc.ravel()[op]
            weight[at, j] = sure[at, j] / osigma**2
            sigmas[at, j] = osigma
            color[at, j] = ocolors.reshape(-1, 3)[op]

    count = agrees.sum(1)
    total = weight.sum(1)
    fused = (weight * voted).sum(1) / total
    direction = (weight[..., None] * directions).sum(1)
    length = np.linalg.norm(direction, axis=1)
    keep = (count >= min_views) & (conflicts <= max_contradictions * count)
    keep &= np.isfinite(fused) & (length > 1e-12 * total)
    part = weight / total[:, None] * sigmas
    misfit = (agrees * ((voted - fused[:, None]) / sigmas) ** 2).sum(1)
    scale = (PRIOR_VOTES + misfit / (1 - SHARED_VARIANCE)) / (PRIOR_VOTES + count - 1)
    variance = SHARED_VARIANCE * part.sum(1) ** 2 + (1 - SHARED_VARIANCE) * (part**2).sum(1)
    across = np.abs((direction * ray).sum(1)) / np.where(length > 0, length, 1)
    across = np.maximum(across, 0.1 * np.linalg.norm(ray, axis=1))
    mean_confidence = sure.sum(1) / count * (1 - np.ldexp(1.0, 1 - count))
    final_sigma = np.sqrt(variance * np.maximum(1, scale)) * across
    rows, views = np.nonzero(agrees & keep[:, None])
    return (
        (eye + fused[:, None] * ray)[keep],
        (direction[keep] / length[keep, None]).astype(np.float32),
        (color.sum(1)[keep] / count[keep, None] + 0.5).astype(np.uint8),
        np.minimum(1.0, mean_confidence)[keep].astype(np.float32),
        final_sigma[keep].astype(np.float32),
        (fused[keep] / k[0]).astype(np.float32),
        count[keep].astype(np.int32),
        views.astype(np.int32),
        hit[rows, views].astype(np.int32),
    )


def _pick(rows: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(array[rows] for array in arrays)


def _look(arrays: MapArrays, pixel: np.ndarray, default_sigma_px: float) -> tuple[np.ndarray, ...]:
    """Camera centre, rays with camera depth 1, normals (world axes) and sigma of some pixels of a map."""
    depth, normals, _, sigma, _, k, cam_from_world = arrays
    R, t = cam_from_world[:, :3], cam_from_world[:, 3]
    row, column = np.divmod(pixel, depth.shape[1])
    in_camera = np.stack([(column + 0.5 - k[2]) / k[0], (row + 0.5 - k[3]) / k[1], np.ones(len(pixel))], -1)
    d = depth.ravel()[pixel].astype(np.float64)
    s = sigma.ravel()[pixel].astype(np.float64)
    with np.errstate(invalid="ignore"):
        s = np.where(np.isfinite(s) & (s > 0), np.maximum(s, 1e-7 * d), default_sigma_px * d / k[0])
    return -R.T @ t, in_camera @ R, normals.reshape(-1, 3)[pixel].astype(np.float64) @ R, s
