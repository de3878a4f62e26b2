"""Plain NumPy twin of native/fusion.cpp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# depth (h, w), normals (h, w, 3), confidence (h, w), sigma (h, w) float32; colors (h, w, 3) uint8; inferred (h, w)
# uint8 or None; camera fx fy cx cy, cam_from_world (3, 4) float64
MapArrays = tuple[Any, ...]

# See native/fusion.cpp.
BETTER_FIRST, BETTER_LATER, GRAZING, CLOSE_FOOTPRINTS, OTHER_BRIGHTNESS = 0.99, 1.03, 0.5, 0.5, 100
# Share of a map's variance that its neighbours have in common; weight, in votes, of the sigmas that the maps state.
SHARED_VARIANCE, PRIOR_VOTES = 0.15, 4.0


def fuse_map(
    reference: MapArrays,
    neighbours: Sequence[MapArrays],
    ranks: np.ndarray,
    min_views: int,
    max_relative_depth: float,
    max_reprojection_px: float,
    min_normal_cos: float,
    min_confidence: float,
    default_sigma_px: float,
    max_contradictions: float,
    max_sigmas: float,
    min_distance: float,
) -> tuple[np.ndarray, ...]:
    """Points that pixels of the reference map form with its neighbours, those left out that a neighbour sees better.

    ranks int32 (1 + neighbours): of two maps that see a place equally well the one with the lower rank has it.

    Returns points float64 (n, 3), normals float32 (n, 3), colors uint8 (n, 3), confidence, sigma, spacing float32
    (n,), inferred uint8 (n,), counts int32 (n,) of views, and for all views of all points in turn views int32 (m,) (0
    the reference, j + 1 neighbour j).

    A neighbour agrees when the depth at which the reference ray meets the tangent plane of the neighbour's pixel is
    within `max_relative_depth`, the two points are within `max_reprojection_px` in the neighbour, and the normals
    agree. It contradicts when its own depth there is much larger: it looks through the point. A neighbour that agrees
    and is nearer (in footprints), at no much more grazing angle, with a pixel within `min_distance` footprints, has
    the place; what is measured has it before what is inferred. Of the votes those count that lie within `max_sigmas`
    standard deviations of their weighted median. Sigma is that of the distance from the surface: of the mean of votes
    that correlate, raised where they differ by more than they say.
    """
    depth, _, confidence, _, colors, _, k, cam_from_world = reference
    if not (k[:2] > 0).all():
        raise ValueError("fuse_map: focal lengths must be positive")
    h, w = depth.shape
    R = cam_from_world[:, :3]
    pixel = np.arange(h * w)
    d = depth.ravel().astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        pixel = pixel[np.isfinite(d) & (d > 0) & (confidence.ravel() >= min_confidence)]
        d = d[pixel]
        ray, normal, own_sigma, guessed = _look(reference, pixel, default_sigma_px)
        square = d**2 * (ray**2).sum(1)
        good = np.isfinite(square) & np.isfinite(normal).all(1)
    pixel, d, ray, normal, own_sigma, guessed = _pick(good, pixel, d, ray, normal, own_sigma, guessed)
    point, square = d[:, None] * ray, square[good]
    ray_length = np.sqrt((ray * ray).sum(1))

    n, num = len(pixel), 1 + len(neighbours)
    voted, weight, sigmas, sure = (np.zeros((n, num)) for _ in range(4))
    agrees, priors = np.zeros((n, num), bool), np.zeros((n, num), bool)
    conflicts = np.zeros(n, np.int64)
    owned = np.ones(n, bool)
    color, directions = np.zeros((n, num, 3), np.int64), np.zeros((n, num, 3))
    agrees[:, 0], voted[:, 0], sigmas[:, 0], directions[:, 0], priors[:, 0] = True, d, own_sigma, normal, guessed
    sure[:, 0] = confidence.ravel()[pixel]
    weight[:, 0] = sure[:, 0] / own_sigma**2
    color[:, 0] = colors.reshape(-1, 3)[pixel]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for j, other in enumerate(neighbours, 1):
            od, _, oc, _, ocolors, _, ok, omatrix = other
            oh, ow = od.shape
            turn = omatrix[:, :3] @ R.T
            shift = omatrix[:, 3] - turn @ cam_from_world[:, 3]
            oeye = -turn.T @ shift
            seen = point @ turn.T + shift
            uv = seen[:, :2] / seen[:, 2:] * ok[:2] + ok[2:]
            at = np.flatnonzero((seen[:, 2] > 0) & (uv >= 0).all(1) & (uv < [ow, oh]).all(1))
            cell = uv[at].astype(np.int64)
            op = cell[:, 1] * ow + cell[:, 0]
            z, odepth = seen[at, 2], od.ravel()[op].astype(np.float64)
            known = np.isfinite(odepth) & (odepth > 0) & (oc.ravel()[op] >= min_confidence)
            allowed = max_relative_depth * z
            oray, onormal, osigma, oguessed = _look(other, op, default_sigma_px)
            conflicts[at[known & (odepth > z + 3 * allowed) & ~oguessed]] += 1
            oray, onormal = oray @ turn, onormal @ turn
            fine = known & (np.abs(odepth - z) <= 3 * allowed)
            fine &= np.isfinite(onormal).all(1) & ((normal[at] * onormal).sum(1) >= min_normal_cos)
            at, op, z, odepth, oray, onormal, osigma, oguessed = _pick(
                fine, at, op, z, odepth, oray, onormal, osigma, oguessed
            )
            r = ray[at]
            slope, oslope = (onormal * r).sum(1), (onormal * oray).sum(1)
            vote = d[at] + (odepth - z) * (r * oray).sum(1) / (oray * oray).sum(1)
            plane = (onormal * (oeye + odepth[:, None] * oray)).sum(1) / slope
            steep = np.abs(slope) > 0.2 * ray_length[at]
            vote = np.where(steep, plane, vote)
            osigma = np.where(steep, osigma * np.clip(np.abs(oslope / slope), 0.25, 4.0), osigma)
            moved = (vote[:, None] * r) @ turn.T + shift
            apart = moved[:, :2] / moved[:, 2:] * ok[:2] + ok[2:] - uv[at]
            fine = (np.abs(vote - d[at]) <= max_relative_depth * d[at]) & (moved[:, 2] > 0)
            fine &= (apart**2).sum(1) <= max_reprojection_px**2
            at, op, vote, odepth, oray, osigma, onormal, oguessed = _pick(
                fine, at, op, vote, odepth, oray, osigma, onormal, oguessed
            )
            line = point[at] - oeye
            better = (ok[0] / k[0]) ** 2 * square[at] / (line**2).sum(1)
            ocos = np.abs((normal[at] * line).sum(1)) / np.sqrt((line**2).sum(1))
            own_cos = np.abs((normal[at] * ray[at]).sum(1)) / ray_length[at]
            between = oeye + odepth[:, None] * oray - point[at]
            aside = (between**2).sum(1) - (between * normal[at]).sum(1) ** 2
            reach = min_distance * np.maximum(d[at] / k[0], odepth / ok[0])
            lost = (ocos >= GRAZING * own_cos) & (better > (BETTER_FIRST if ranks[j] < ranks[0] else BETTER_LATER))
            lost &= aside <= reach**2
            owned[at] &= np.where(guessed[at] != oguessed, ~guessed[at], ~lost)
            agrees[at, j], voted[at, j], sigmas[at, j], directions[at, j] = True, vote, osigma, onormal
            priors[at, j] = oguessed
            sure[at, j] = oc.ravel()[op]
            weight[at, j] = sure[at, j] / osigma**2
            color[at, j] = ocolors.reshape(-1, 3)[op]

        everyone = agrees
        order = np.argsort(np.where(agrees, voted, np.inf), axis=1, kind="stable")
        running = np.cumsum(np.take_along_axis(np.where(agrees, weight, 0), order, 1), 1)
        middle = np.take_along_axis(order, (running >= 0.5 * running[:, -1:]).argmax(1)[:, None], 1)
        m_depth, m_sigma = np.take_along_axis(voted, middle, 1), np.take_along_axis(sigmas, middle, 1)
        limit = np.maximum(max_sigmas * np.sqrt(sigmas**2 + m_sigma**2), (CLOSE_FOOTPRINTS * d / k[0])[:, None])
        agrees = agrees & (np.abs(voted - m_depth) <= limit)
        count = agrees.sum(1)
        heard = agrees & (guessed[:, None] | ~priors)
        weight = np.where(heard, weight, 0)
        total, num_heard = weight.sum(1), heard.sum(1)
        fused = (weight * voted).sum(1) / total
        direction = (weight[..., None] * directions).sum(1)
        length = np.linalg.norm(direction, axis=1)
        keep = owned & (everyone.sum(1) >= min_views) & (count >= min_views) & (conflicts <= max_contradictions * count)
        place = (fused[:, None] * ray - cam_from_world[:, 3]) @ R
        keep &= (num_heard > 0) & np.isfinite(place).all(1) & (length > 1e-12 * total) & np.isfinite(length)

        part = np.where(heard, weight / total[:, None] * sigmas, 0)
        misfit = (np.where(heard, (voted - fused[:, None]) / np.where(heard, sigmas, 1), 0) ** 2).sum(1)
        scale = (PRIOR_VOTES + misfit / (1 - SHARED_VARIANCE)) / (PRIOR_VOTES + num_heard - 1)
        variance = SHARED_VARIANCE * part.sum(1) ** 2 + (1 - SHARED_VARIANCE) * (part**2).sum(1)
        spread = np.sqrt(variance * np.maximum(1.0, scale))
        sigma = np.where(guessed, own_sigma, spread)
        across = np.maximum(np.abs((direction * ray).sum(1)) / length, 0.1 * ray_length)
        mean_confidence = np.where(heard, sure, 0).sum(1) / num_heard * (1 - np.ldexp(1.0, 1 - count))

    brightness = color @ [1, 2, 1]
    num_seen = everyone.sum(1)
    by_brightness = np.argsort(np.where(everyone, brightness, 10_000), axis=1, kind="stable")
    median = np.take_along_axis(by_brightness, ((num_seen - 1) // 2)[:, None], 1)
    odd = np.abs(brightness[:, 0] - np.take_along_axis(brightness, median, 1)[:, 0]) > OTHER_BRIGHTNESS
    chosen = np.where((num_seen > 2) & odd, median[:, 0], 0)
    _, views = np.nonzero(agrees & keep[:, None])
    return (
        place[keep],
        (direction[keep] / length[keep, None] @ R).astype(np.float32),
        color[np.flatnonzero(keep), chosen[keep]].astype(np.uint8),
        np.minimum(1.0, mean_confidence)[keep].astype(np.float32),
        (sigma * across)[keep].astype(np.float32),
        (fused[keep] / k[0]).astype(np.float32),
        guessed[keep].astype(np.uint8),
        count[keep].astype(np.int32),
        views.astype(np.int32),
    )


def _pick(rows: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(array[rows] for array in arrays)


def _look(arrays: MapArrays, pixel: np.ndarray, default_sigma_px: float) -> tuple[np.ndarray, ...]:
    """Rays with depth 1 and normals in camera axes, sigma, and whether inferred, of some pixels of a map."""
    depth, normals, _, sigma, _, inferred, k, _ = arrays
    row, column = np.divmod(pixel, depth.shape[1])
    ray = np.stack([(column + 0.5 - k[2]) / k[0], (row + 0.5 - k[3]) / k[1], np.ones(len(pixel))], -1)
    d = depth.ravel()[pixel].astype(np.float64)
    s = sigma.ravel()[pixel].astype(np.float64)
    with np.errstate(invalid="ignore"):
        s = np.where(np.isfinite(s) & (s > 0), np.maximum(s, 1e-7 * d), default_sigma_px * d / k[0])
    guessed = np.zeros(len(pixel), bool) if inferred is None else inferred.ravel()[pixel] != 0
    return ray, normals.reshape(-1, 3)[pixel].astype(np.float64), s, guessed
