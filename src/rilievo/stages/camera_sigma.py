"""How far points are off because cameras are: the covariance of bundle adjustment, carried to the surface.

Depth maps err on their own, each pixel by itself; cameras err for all pixels at once, and no number of agreeing maps
takes that out. Here the normal equations of bundle adjustment are set up once more from the finished reconstruction
(Triggs et al. 2000, sections 6.1 and 9), the points are eliminated, and what is left is inverted with the gauge fixed
by the cameras' centres: what remains is the error that is left after the result was laid on the truth by its cameras.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rilievo import geometry
from rilievo.types import Camera, PointCloud, Reconstruction


@dataclass(frozen=True)
class CameraSigmaConfig:
    """How the uncertainty of cameras is worked out."""

    version: ClassVar[int] = 1
    max_points: int = 4000
    """Sparse points whose observations are used; those of the others are taken to be alike."""
    max_photos: int = 300
    """Photos that are worked out together; larger sets are cut into runs of neighbours (drift between them is then not
    counted)."""
    inflation: float = 2.5
    """Factor on the formal standard deviations: residuals of matches are not independent, and lenses not quite as their
    models. Against truth the formal values were too small by 2.1 (demo), 3.2 (idol) and 3.3 (a slanted ground)."""
    focal_prior: float = 0.2
    """What is known of the focal length without photos, as a share of it."""
    principal_prior: float = 0.01
    """What is known of the principal point without photos, as a share of the longer side."""
    distortion_prior: float = 0.1
    """What is known of each coefficient of distortion without photos."""
    seed: int = 0
    """seed of the choice of points"""


@dataclass(frozen=True, eq=False)
class CameraSigma:
    """Covariance (k, 3, 3) that camera errors give to the places `points` (k, 3), world units squared."""

    points: np.ndarray
    covariance: np.ndarray


def camera_sigma(
    reconstruction: Reconstruction, *, known_intrinsics: bool = False, config: CameraSigmaConfig = CameraSigmaConfig()
) -> CameraSigma:
    """What the errors of the cameras do to points, at sparse points of the reconstruction.

    known_intrinsics: the intrinsics were given and count as exact. Without enough observations (fewer than twice the
    unknowns) the result is empty: nothing can be said.
    """
    n = len(reconstruction.names)
    found = [
        _run(reconstruction, np.arange(a, min(a + config.max_photos, n)), known_intrinsics, config)
        for a in range(0, n, config.max_photos)
    ]
    return CameraSigma(np.concatenate([f.points for f in found]), np.concatenate([f.covariance for f in found]))


def with_camera_sigma(cloud: PointCloud, cameras: CameraSigma) -> PointCloud:
    """The cloud with what its cameras are uncertain by added to its sigma: along each normal, from the nearest sparse
    points (mean of eight)."""
    from scipy.spatial import cKDTree

    if not len(cameras.points) or not len(cloud.points):
        return cloud
    tree = cKDTree(cameras.points - cloud.origin)
    k = min(8, len(cameras.points))
    variance = np.empty(len(cloud.points))
    for a in range(0, len(variance), 1 << 18):
        part = slice(a, a + (1 << 18))
        _, near = tree.query(cloud.points[part], k=list(range(1, k + 1)))
        C = cameras.covariance[near].mean(1)
        normals = cloud.normals[part].astype(np.float64)
        variance[part] = np.einsum("ni,nij,nj->n", normals, C, normals)
    sigma = np.sqrt(cloud.sigma.astype(np.float64) ** 2 + variance)
    return replace(cloud, sigma=sigma.astype(np.float32))


def _run(scene: Reconstruction, photos: np.ndarray, known_intrinsics: bool, config: CameraSigmaConfig) -> CameraSigma:
    """The same for some of the photos."""
    from scipy import linalg, sparse

    nothing = CameraSigma(np.zeros((0, 3)), np.zeros((0, 3, 3)))
    local = np.full(len(scene.names), -1)
    local[photos] = np.arange(len(photos))
    chosen = local[scene.obs_photo] >= 0
    counts = np.bincount(scene.obs_point[chosen], minlength=len(scene.points))
    usable = np.flatnonzero(counts >= 2)
    total = int(counts[usable].sum())
    usable = np.sort(np.random.default_rng(config.seed).permutation(usable)[: config.max_points])
    row = np.full(len(scene.points), -1)
    row[usable] = np.arange(len(usable))
    chosen &= row[scene.obs_point] >= 0
    photo, point = local[scene.obs_photo[chosen]], row[scene.obs_point[chosen]]
    if len(photos) < 2 or 2 * len(photo) < 2 * (3 * len(usable) + 6 * len(photos)) / 2 + 20:
        return nothing

    # Lengths in units of the mean distance of the points from the cameras' middle: well conditioned.
    centers = scene.centers[photos]
    middle = centers.mean(0)
    unit = float(np.linalg.norm(scene.points[usable] - middle, axis=1).mean())
    matrices = scene.cam_from_world[photos]
    seen = np.einsum("tij,tj->ti", matrices[photo, :, :3], scene.points[usable][point]) + matrices[photo, :, 3]
    front = seen[:, 2] > 1e-6 * unit
    photo, point, seen = photo[front], point[front], seen[front]
    by_place, by_lens, lens, priors = _derivatives(scene, photos, photo, seen, known_intrinsics, config)
    R = matrices[photo, :, :3]
    num_rows, num_photos, num_points = len(photo), len(photos), len(usable)
    columns = 6 * num_photos + sum(len(p) for p in priors)
    # d place in the camera = d rotation x place + d translation
    turned = np.cross(np.eye(3)[None], seen[:, None])  # row r: e_r x place
    J_photo = np.concatenate([np.einsum("tij,tkj->tik", by_place, turned), by_place * unit], 2)
    rows = np.arange(2 * num_rows).reshape(num_rows, 2, 1)
    parts = [(J_photo, rows, 6 * photo[:, None, None] + np.arange(6))]
    if by_lens.shape[2]:
        parts.append((by_lens, rows, 6 * num_photos + lens[:, None, :]))
    J = sum(
        sparse.csr_matrix(
            (v.ravel(), (np.broadcast_to(r, v.shape).ravel(), np.broadcast_to(c, v.shape).ravel())),
            (2 * num_rows, columns),
        )
        for v, r, c in parts
    )
    J_point = by_place @ R * unit
    B = sparse.csr_matrix(
        (
            J_point.ravel(),
            (
                np.broadcast_to(rows, J_point.shape).ravel(),
                np.broadcast_to(3 * point[:, None, None] + np.arange(3), J_point.shape).ravel(),
            ),
        ),
        (2 * num_rows, 3 * num_points),
    )
    V = np.zeros((num_points, 9))
    per_row = np.einsum("tij,tik->tjk", J_point, J_point).reshape(-1, 9)
    for c in range(9):
        V[:, c] = np.bincount(point, per_row[:, c], num_points)
    V = V.reshape(-1, 3, 3)
    V += np.eye(3) * (1e-9 * np.trace(V, axis1=1, axis2=2)[:, None, None] + 1e-12)
    inverse = sparse.block_diag(list(np.linalg.inv(V)), format="csr")
    answer = inverse @ (B.T @ J)  # how points follow the cameras, with the sign turned
    S = np.asarray(((J.T @ J) - (B.T @ J).T @ answer).todense()) * (total / max(num_rows, 1))

    variance = _observation_variance(scene, photo, point, usable, num_rows, num_points, columns)
    at = 6 * num_photos
    for prior in priors:
        S[np.arange(at, at + len(prior)), np.arange(at, at + len(prior))] += variance / prior**2
        at += len(prior)
    gauge = _gauge(matrices, (centers - middle) / unit, columns)
    scale = np.sqrt(np.maximum(np.diag(S), 1e-12 * np.diag(S).max()))
    S, gauge = S / scale[:, None] / scale, gauge / scale
    gauge /= np.linalg.norm(gauge, axis=1, keepdims=True)
    bordered = np.block([[S, gauge.T], [gauge, np.zeros((len(gauge), len(gauge)))]])
    try:
        covariance = linalg.inv(bordered, overwrite_a=True, check_finite=True)[:columns, :columns]
    except (linalg.LinAlgError, ValueError):
        return nothing
    covariance = covariance / scale[:, None] / scale * variance * config.inflation**2
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    moved = (answer @ root).reshape(num_points, 3, -1) * unit
    return CameraSigma(scene.points[usable], np.einsum("pik,pjk->pij", moved, moved))


def _observation_variance(
    scene: Reconstruction,
    photo: np.ndarray,
    point: np.ndarray,
    usable: np.ndarray,
    num_rows: int,
    num_points: int,
    columns: int,
) -> float:
    """Variance of one coordinate of an observation, px^2, from the reprojection errors; adjustment has used up a part
    of it for each unknown. Errors are lengths of 2D residuals: their median is 1.1774 sigma (Rayleigh)."""
    length = np.repeat(scene.point_errors_px[usable].astype(np.float64), np.bincount(point, minlength=num_points))
    sigma = float(np.median(length)) / 1.1774 if len(length) else 0.0
    free = max(2 * num_rows - 3 * num_points - columns, 0.1 * num_rows)
    return max(sigma, 0.05) ** 2 * 2 * num_rows / free


def _derivatives(
    scene: Reconstruction,
    photos: np.ndarray,
    photo: np.ndarray,
    seen: np.ndarray,
    known: bool,
    config: CameraSigmaConfig,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """Of the pixel by the place in the camera (t, 2, 3) and by the lens (t, 2, q), the lens' columns (t, q), and the
    priors of each camera's parameters."""
    by_place = np.empty((len(photo), 2, 3))
    index = scene.camera_index[photos]
    cameras = sorted(set(index.tolist()))
    widest = max(len(scene.cameras[c].params) for c in cameras)
    by_lens = np.zeros((len(photo), 2, 0 if known else widest))
    lens = np.zeros((len(photo), by_lens.shape[2]), np.int64)
    priors: list[np.ndarray] = []
    at = 0
    for c in cameras:
        camera = scene.cameras[c]
        mine = index[photo] == c
        x = seen[mine]
        xy = x[:, :2] / x[:, 2:]
        h = 1e-6
        D = np.stack(
            [(geometry.distort(camera, xy + d) - geometry.distort(camera, xy - d)) / (2 * h) for d in h * np.eye(2)], 2
        )
        flat = np.zeros((len(x), 2, 3))
        flat[:, 0, 0] = flat[:, 1, 1] = 1 / x[:, 2]
        flat[:, :, 2] = -xy / x[:, 2:]
        by_place[mine] = D @ flat
        if known:
            continue
        steps, prior = _parameter_steps(camera, config)
        columns = np.empty((len(x), 2, widest))
        columns[:, :, len(steps) :] = 0
        for k, step in enumerate(steps):
            change = np.zeros(len(steps))
            change[k] = step
            high, low = (
                geometry.distort(Camera(camera.model, camera.width, camera.height, camera.params + s * change), xy)
                for s in (1, -1)
            )
            columns[:, :, k] = (high - low) / (2 * step)
        by_lens[mine] = columns
        lens[mine] = np.minimum(at + np.arange(widest), at + len(steps) - 1)
        priors.append(prior)
        at += len(steps)
    return by_place, by_lens, lens, priors


def _parameter_steps(camera: Camera, config: CameraSigmaConfig) -> tuple[np.ndarray, np.ndarray]:
    """Steps of the numeric derivative and prior standard deviations of a camera's parameters."""
    from rilievo.types import CAMERA_PARAMS

    size = max(camera.width, camera.height)
    rules = {"f": (1e-4 * size, config.focal_prior * camera.fx), "c": (1e-4 * size, config.principal_prior * size)}
    rows = [rules.get(name[0], (1e-5, config.distortion_prior)) for name in CAMERA_PARAMS[camera.model]]
    return np.array([r[0] for r in rows]), np.array([r[1] for r in rows])


def _gauge(matrices: np.ndarray, centers: np.ndarray, columns: int) -> np.ndarray:
    """(7, columns): change of the best similarity between the cameras before and after. The turns of the cameras count
    a little, so that centres on one line leave nothing open."""
    R = matrices[:, :, :3]
    out = np.zeros((7, columns))
    lever = 0.1 * float(np.sqrt((centers**2).sum(1).mean()))
    for i in range(len(R)):
        block = out[:, 6 * i : 6 * i + 6]
        by_translation = -R[i].T  # of the centre
        block[:3, 3:] = by_translation
        block[3:6, 3:] = np.cross(centers[i], by_translation.T).T
        block[3:6, :3] = -(lever**2) * R[i].T
        block[6, 3:] = centers[i] @ by_translation
    return out
