"""Focal length, distortion and principal point: how they start, and which of them the photos determine.

Lenses are not centred on their sensors: real principal points lie 5 to 20 px off. Left at the centre they bend the
whole model, but set free where the photos do not determine them they run away. So does the focal length over flat
ground seen straight down, where a longer lens is a greater height. So the decision is measured: after a bundle
adjustment with everything free, the marginal covariances of principal point and focal length (the inverse of the normal
matrix, Triggs et al., "Bundle Adjustment: A Modern Synthesis", 2000, section 9) are combined with weak priors at the
centre and at the focal length of EXIF, which is the maximum a posteriori estimate to second order; the last adjustment
holds the result fixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rilievo.stages.mapping import pairs, quiet
from rilievo.types import Camera, Features, Matches, Photo

if TYPE_CHECKING:
    import pycolmap

# Starting focal length in units of the longer side when nothing is known: a 43 mm lens on full frame.
UNKNOWN_FOCAL = 1.2
# Prior of the principal point about the centre: standard deviation in units of the longer side.
PRINCIPAL_PRIOR = 0.01
# Prior of the focal length about EXIF's: a relative standard deviation. The equivalent of 35 mm is rounded to whole
# millimetres (2 % of a phone's), and focusing near makes a lens longer.
FOCAL_PRIOR = 0.03
# A known focal length that is this many standard deviations off what the photos tell is a wrong one (digital zoom,
# crops).
WRONG_FOCAL = 4.0
# Relative uncertainty of the focal length that is told.
VAGUE_FOCAL = 0.02
# Residuals of one photo are not independent (blur, rolling shutter, unmodelled distortion), so the formal covariance is
# too small: measured against truth (fountain-P11, idol) errors are up to 5 times the formal standard deviation.
INFLATION = 4.0


@dataclass(frozen=True)
class CameraGroup:
    """Photos that share one set of intrinsics. fixed: given by the user, held. known_focal: from EXIF."""

    id: int
    names: tuple[str, ...]
    camera: Camera
    fixed: bool
    known_focal: bool


def group_cameras(
    photos: Sequence[Photo],
    known: Mapping[str, Camera] | None = None,
    *,
    features: Mapping[str, Features] | None = None,
    matches: Sequence[Matches] = (),
) -> list[CameraGroup]:
    """One group for each camera_key and size, in the order of the first photo's name.

    Photos in `known` are grouped by equal intrinsics and held fixed. Without EXIF one focal length is looked for in the
    fundamental matrices of the group's own pairs (`focal_from_pairs`).
    """
    known = known or {}
    by_key: dict[tuple, list[Photo]] = {}
    for photo in sorted(photos, key=lambda p: p.name):
        camera = known.get(photo.name)
        if camera is not None:
            key = ("given", camera.model, camera.width, camera.height, camera.params.tobytes())
        else:
            key = ("unknown", photo.camera_key, photo.width, photo.height)
        by_key.setdefault(key, []).append(photo)
    groups = []
    for k, members in enumerate(by_key.values()):
        names = tuple(p.name for p in members)
        first = members[0]
        camera = known.get(first.name)
        if camera is not None:
            groups.append(CameraGroup(k + 1, names, camera, True, True))
            continue
        focals = sorted(p.focal_px for p in members if p.focal_px)
        if focals:
            focal = focals[len(focals) // 2]
        else:
            guess = focal_from_pairs(set(names), first.width, first.height, features or {}, matches)
            focal = guess or UNKNOWN_FOCAL * max(first.width, first.height)
        params = np.array([focal, first.width / 2, first.height / 2, 0.0])
        groups.append(
            CameraGroup(k + 1, names, Camera("SIMPLE_RADIAL", first.width, first.height, params), False, bool(focals))
        )
    return groups


def focal_from_pairs(
    names: set[str], width: int, height: int, features: Mapping[str, Features], matches: Sequence[Matches]
) -> float | None:
    """Focal length (px) at which the group's fundamental matrices are closest to essential ones, or None.

    An essential matrix has two equal singular values; for K^T F K the relative gap (s1 - s2) / s2 is a function of the
    focal length alone when the principal point is the centre (Mendonça & Cipolla, "A Simple Technique for
    Self-Calibration", CVPR 1999, eq. 9). The sum over the best pairs, each capped, is searched on a grid from a 14 mm
    to a 180 mm lens. None when fewer than three pairs take part or no focal length stands out.
    """
    found = [
        (len(rows), name0, name1, rows)
        for name0, name1, rows, _, kind in pairs(matches)
        if name0 in names and name1 in names and len(rows) >= 60 and kind in (2, 3)
    ]
    found = sorted(found, key=lambda r: (-r[0], r[1], r[2]))[:60]
    if len(found) < 3:
        return None
    side = max(width, height)
    center = np.array([width / 2, height / 2])
    grid = np.geomspace(0.4, 5.0, 120)
    cost = np.zeros(len(grid))
    for _, name0, name1, rows in found:
        x0 = (features[name0].keypoints[rows[:, 0]].astype(np.float64) - center) / side
        x1 = (features[name1].keypoints[rows[:, 1]].astype(np.float64) - center) / side
        F = _fundamental(x0, x1)
        K = np.zeros((len(grid), 3, 3))
        K[:, 0, 0] = K[:, 1, 1] = grid
        K[:, 2, 2] = 1.0
        s = np.linalg.svd(K @ F @ K, compute_uv=False)
        cost += np.minimum((s[:, 0] - s[:, 1]) / np.maximum(s[:, 1], 1e-12), 0.5)
    cost /= len(found)
    best = int(np.argmin(cost))
    if best in (0, len(grid) - 1) or cost[best] > 0.6 * np.median(cost):
        return None
    return float(grid[best] * side)


def _fundamental(x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
    """Fundamental matrix (3, 3) of verified matches: normalised eight-point method (Hartley 1997) with three rounds of
    reweighting by the Sampson distance. Coordinates about 1 in size."""

    def normaliser(x: np.ndarray) -> np.ndarray:
        m = x.mean(0)
        s = np.sqrt(2) / max(float(np.mean(np.linalg.norm(x - m, axis=1))), 1e-12)
        return np.array([[s, 0, -s * m[0]], [0, s, -s * m[1]], [0, 0, 1]])

    T0, T1 = normaliser(x0), normaliser(x1)
    one = np.ones((len(x0), 1))
    a, b = np.concatenate([x0, one], 1) @ T0.T, np.concatenate([x1, one], 1) @ T1.T
    A = (b[:, :, None] * a[:, None, :]).reshape(-1, 9)
    weight = np.ones(len(A))
    F = np.zeros((3, 3))
    for _ in range(4):
        Aw = A * weight[:, None]
        F = np.linalg.eigh(Aw.T @ Aw)[1][:, 0].reshape(3, 3)
        U, s, Vt = np.linalg.svd(F)
        F = (U * [s[0], s[1], 0.0]) @ Vt
        l1, l0 = a @ F.T, b @ F
        distance = np.abs(np.sum(b * l1, 1)) / np.sqrt(
            np.maximum(l1[:, 0] ** 2 + l1[:, 1] ** 2 + l0[:, 0] ** 2 + l0[:, 1] ** 2, 1e-30)
        )
        scale = max(1.4826 * float(np.median(distance)), 1e-9)
        gradient = np.sqrt(np.maximum(l1[:, 0] ** 2 + l1[:, 1] ** 2 + l0[:, 0] ** 2 + l0[:, 1] ** 2, 1e-30))
        weight = 1.0 / gradient / (1.0 + (distance / (2 * scale)) ** 2)
    return T1.T @ F @ T0


def adjust(
    model: pycolmap.Reconstruction, groups: Sequence[CameraGroup], *, refine: str, max_error_px: float
) -> tuple[pycolmap.Reconstruction, str]:
    """The last bundle adjustments: (model, which intrinsics were refined and why not where they were not).

    refine: "auto" (distortion and principal point where they are determined), "focal" (focal length and k1 only) or
    "none" (as they are). Loss: Cauchy at 1 px. Points with more than max_error_px are dropped afterwards.
    """
    import copy

    groups = [g for g in groups if _num_photos(model, g.id)]
    for g in groups:
        if g.fixed:
            _set(model.cameras[g.id], g.camera.model, g.camera.params.tolist())
    free = [g for g in groups if not g.fixed] if refine != "none" else []
    if free and model.num_reg_images() <= 2:
        return _adjust_two(model, groups, max_error_px)
    if not free:
        _solve(model, groups, variable=set(), principal=False)
        _filter(model, max_error_px)
        return model, _given_note(groups, refine)
    notes: dict[int, str] = {}
    settled = focal_held = False
    if refine == "auto":
        strong = [g for g in free if _num_photos(model, g.id) >= 3]
        for g in strong:
            camera = model.cameras[g.id]
            if camera.model.name == "SIMPLE_RADIAL":
                f, cx, cy, k1 = camera.params
                _set(camera, "RADIAL", [f, cx, cy, k1, 0.0])
        before = copy.deepcopy(model)
        covariance = _solve(model, groups, variable={g.id for g in strong}, principal=True, want_covariance=True)
        targets: dict[int, np.ndarray] = {}
        focals: dict[int, float] = {}
        ran_away = False
        for g in strong:
            point, moved, note = _decide(model, g, covariance.get(g.id))
            focals[g.id], vague, focal_note = _decide_focal(model, g, covariance.get(g.id))
            targets[g.id] = point
            ran_away |= moved
            focal_held |= vague
            notes[g.id] = f"{focal_note}; {note}"
        if ran_away or focal_held:
            model = before
            for camera_id, point in targets.items():
                camera = model.cameras[camera_id]
                params = np.array(camera.params)
                params[_principal_index(camera)] = point
                if focal_held:
                    params[list(camera.focal_length_idxs())] = focals[camera_id]
                camera.params = params.tolist()
        settled = not (ran_away or focal_held) and len(strong) == len(free)
    if not settled:
        _solve(model, groups, variable={g.id for g in free}, principal=False, focal=not focal_held)
    # Cauchy's loss has all but ignored what is dropped here: a few do not ask for another round.
    if _filter(model, max_error_px) > 0.01 * model.compute_num_observations():
        _solve(model, groups, variable={g.id for g in free}, principal=False, focal=not focal_held)
    return model, _note(model, groups, notes, refine)


def _adjust_two(
    model: pycolmap.Reconstruction, groups: Sequence[CameraGroup], max_error_px: float
) -> tuple[pycolmap.Reconstruction, str]:
    """Two photos determine one focal length at best: EXIF's is trusted, and no distortion is assumed."""
    for g in groups:
        if not g.fixed:
            f = g.camera.fx if g.known_focal else model.cameras[g.id].mean_focal_length()
            _set(model.cameras[g.id], "SIMPLE_RADIAL", [f, g.camera.width / 2, g.camera.height / 2, 0.0])
    unknown = {g.id for g in groups if not (g.fixed or g.known_focal)}
    _solve(model, groups, variable=unknown, principal=False, distortion=False)
    _filter(model, max_error_px)
    how = "held at the value from EXIF" if not unknown else "refined"
    return model, f"focal length {how}; distortion and principal point not refined: two photos do not determine them"


def _num_photos(model: pycolmap.Reconstruction, camera_id: int) -> int:
    return sum(model.images[i].camera_id == camera_id for i in model.reg_image_ids())


def _set(camera: pycolmap.Camera, model: str, params: list[float]) -> None:
    import pycolmap

    camera.model = getattr(pycolmap.CameraModelId, model)
    camera.params = params


def _principal_index(camera: pycolmap.Camera) -> list[int]:
    return list(camera.principal_point_idxs())


def _solve(
    model: pycolmap.Reconstruction,
    groups: Sequence[CameraGroup],
    *,
    variable: set[int],
    principal: bool,
    focal: bool = True,
    distortion: bool = True,
    want_covariance: bool = False,
) -> dict[int, np.ndarray]:
    """One robust bundle adjustment in place. Returns the marginal covariance of the intrinsics of each variable camera,
    in px^2 of the measured residuals, when it is wanted and can be had."""
    with quiet() as pycolmap:
        options = pycolmap.BundleAdjustmentOptions()
        options.refine_principal_point = principal
        options.refine_focal_length = focal
        options.refine_extra_params = distortion
        options.print_summary = False
        options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
        options.ceres.loss_function_scale = 1.0
        solver = options.ceres.solver_options
        solver.num_threads = 1
        solver.max_num_iterations = 60
        solver.function_tolerance = 1e-5
        config = pycolmap.BundleAdjustmentConfig()
        for i in sorted(model.reg_image_ids()):
            config.add_image(i)
        for group in groups:
            if group.id not in variable:
                config.set_constant_cam_intrinsics(group.id)
        config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
        adjuster = pycolmap.create_default_ceres_bundle_adjuster(options, config, model)
        adjuster.solve()
        model.update_point_3d_errors()
        if not want_covariance:
            return {}
        wanted = pycolmap.BACovarianceOptions()
        wanted.params = pycolmap.BACovarianceOptionsParams.ALL
        covariance = pycolmap.estimate_ba_covariance(wanted, model, adjuster)
        if covariance is None:
            return {}
        # Errors are lengths of 2D residuals; the median of a Rayleigh law is 1.1774 sigma.
        errors = np.array([p.error for p in model.points3D.values()])
        variance = (float(np.median(errors)) / 1.1774) ** 2
        found = {}
        for camera_id in sorted(variable):
            C = covariance.get_other_params_cov(model.cameras[camera_id].params)
            if C is not None and np.isfinite(C).all():
                found[camera_id] = np.asarray(C) * variance
        return found


def _filter(model: pycolmap.Reconstruction, max_error_px: float) -> int:
    """Drops observations with large errors and points with thin angles; returns how many observations went."""
    import pycolmap

    return int(pycolmap.ObservationManager(model).filter_all_points3D(max_error_px, 1.5))


def _decide(
    model: pycolmap.Reconstruction, group: CameraGroup, covariance: np.ndarray | None
) -> tuple[np.ndarray, bool, str]:
    """(principal point to hold, whether it is far from the free one, what to say)."""
    camera = model.cameras[group.id]
    index = _principal_index(camera)
    center = np.array([group.camera.width / 2, group.camera.height / 2])
    prior = PRINCIPAL_PRIOR * max(group.camera.width, group.camera.height)
    free = np.array(camera.params)[index]
    if covariance is None or len(covariance) != len(camera.params):
        return center, True, "principal point kept at the centre: the photos do not determine it"
    C = covariance[np.ix_(index, index)] * INFLATION**2
    sigma = np.sqrt(np.diag(C))
    if not (np.isfinite(sigma).all() and (sigma > 0).all()) or np.abs(free - center).max() > 8 * prior:
        return center, True, "principal point kept at the centre: the photos do not determine it"
    precision = np.linalg.inv(C)
    posterior = np.linalg.inv(precision + np.eye(2) / prior**2)
    point = center + posterior @ precision @ (free - center)
    determined = bool((sigma < 0.5 * prior).all())
    # Where the photos determine it and the prior moves it by less than a quarter of what is known anyway, the free
    # estimate stands as it is, and with it the adjustment.
    moved = not determined or bool((np.abs(point - free) > 0.25 * sigma).any())
    if not moved:
        point = free
    offset = point - center
    if determined:
        note = (
            f"principal point refined to ({point[0]:.1f}, {point[1]:.1f}), "
            f"{offset[0]:+.1f} and {offset[1]:+.1f} px from the centre, to about {sigma[0]:.1f} and {sigma[1]:.1f} px"
        )
    else:
        note = (
            f"principal point held near the centre ({offset[0]:+.1f} and {offset[1]:+.1f} px): "
            f"the photos determine it to {sigma[0]:.0f} and {sigma[1]:.0f} px only"
        )
    return point, moved, note


def _decide_focal(
    model: pycolmap.Reconstruction, group: CameraGroup, covariance: np.ndarray | None
) -> tuple[float, bool, str]:
    """(focal length to hold, whether it is to be held, what to say of it)."""
    camera = model.cameras[group.id]
    free = float(camera.mean_focal_length())
    known = group.camera.fx if group.known_focal else None
    index = list(camera.focal_length_idxs())
    sigma = np.inf
    if covariance is not None and len(covariance) == len(camera.params):
        variance = float(np.mean(np.diag(covariance)[index]))
        sigma = INFLATION * np.sqrt(variance) if np.isfinite(variance) and variance > 0 else np.inf
    refined = "focal length, k1 and k2 refined"
    if known is None:
        if sigma > VAGUE_FOCAL * free:
            how = f"to {sigma / free:.0%} only" if sigma < free else "not at all"
            refined += f" (the photos determine the focal length {how}: tilted photos or EXIF would)"
        return free, False, refined
    prior = FOCAL_PRIOR * known
    if sigma < 0.5 * prior or abs(free - known) > WRONG_FOCAL * np.hypot(sigma, prior):
        return free, False, refined
    weight = 0.0 if np.isinf(sigma) else prior**2 / (prior**2 + sigma**2)
    focal = known + weight * (free - known)
    how = f"determine it to {sigma / free:.0%} only" if sigma < free else "do not determine it"
    return focal, True, f"k1 and k2 refined; focal length held near EXIF's ({focal / known - 1:+.1%}): the photos {how}"


def _given_note(groups: Sequence[CameraGroup], refine: str) -> str:
    if all(g.fixed for g in groups):
        return "intrinsics held as given"
    return f"intrinsics not refined (refine={refine})"


def _note(model: pycolmap.Reconstruction, groups: Sequence[CameraGroup], notes: dict[int, str], refine: str) -> str:
    parts = []
    for group in groups:
        count = _num_photos(model, group.id)
        head = f"camera {group.id} ({count} photo{'s' if count != 1 else ''})"
        if group.fixed:
            parts.append(f"{head}: held as given")
        elif group.id in notes:
            parts.append(f"{head}: {notes[group.id]}")
        elif refine == "auto":
            parts.append(f"{head}: focal length and k1 refined; principal point kept at the centre: too few photos")
        else:
            parts.append(f"{head}: focal length and k1 refined (refine={refine})")
    return ". ".join(parts)
