"""Verbs on the arrays of 3D Gaussians: spherical harmonics and their rotation, quaternions, positions far from zero.

The real spherical harmonics of Gaussian splats (Kerbl et al. 2023) have the Condon-Shortley phase; the constants are
those that KHR_gaussian_splatting lists. Coefficients are ordered by degree, within a degree by order -l to l.
"""

from __future__ import annotations

from functools import cache

import numpy as np

SH_C0 = 0.28209479177387814
"""The constant harmonic: colour = 0.5 + SH_C0 * sh[0] + ..."""

NUM_COEFFICIENTS = (1, 4, 9, 16)
"""Rows of `Splats.sh` for degree 0 to 3."""


def sh_basis(directions: np.ndarray, degree: int) -> np.ndarray:
    """The harmonics up to `degree` (0 to 3) at unit directions (n, 3): float64 (n, (degree + 1)^2)."""
    x, y, z = np.asarray(directions, np.float64).T
    xx, yy, zz = x * x, y * y, z * z
    rows = [np.full_like(x, SH_C0)]
    if degree > 0:
        c = 0.4886025119029199
        rows += [-c * y, c * z, -c * x]
    if degree > 1:
        rows += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * zz - xx - yy),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (xx - yy),
        ]
    if degree > 2:
        rows += [
            -0.5900435899266435 * y * (3 * xx - yy),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * zz - xx - yy),
            0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
            -0.4570457994644658 * x * (4 * zz - xx - yy),
            1.445305721320277 * z * (xx - yy),
            -0.5900435899266435 * x * (xx - 3 * yy),
        ]
    return np.stack(rows, 1)


@cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Directions (28, 3) and weights whose weighted sum is the exact integral over the sphere of any polynomial up to
    degree 6, the product of two harmonics of degree 3: Gauss-Legendre in z, equal steps around it."""
    z, weight = np.polynomial.legendre.leggauss(4)
    angle = 2 * np.pi * np.arange(7) / 7
    r = np.sqrt(1 - z * z)
    directions = np.stack(
        [np.outer(r, np.cos(angle)), np.outer(r, np.sin(angle)), np.repeat(z[:, None], 7, 1)], -1
    ).reshape(-1, 3)
    return directions, np.repeat(weight * 2 * np.pi / 7, 7)


def sh_rotation(rotation: np.ndarray, degree: int) -> np.ndarray:
    """How coefficients change when the world is turned by `rotation` (3, 3): new = matrix @ old, float64 (k, k).

    Harmonics of one degree turn into harmonics of the same degree, Y_j(R^T d) = sum_i M_ij Y_i(d), so M_ij is the
    integral of Y_i(d) Y_j(R^T d) over the sphere: block diagonal, orthogonal. Mirror images are rotated likewise.
    """
    directions, weights = _quadrature()
    here = sh_basis(directions, degree)
    there = sh_basis(directions @ np.asarray(rotation, np.float64), degree)
    matrix = np.einsum("d,di,dj->ij", weights, here, there, optimize=False)
    band = np.repeat(np.arange(degree + 1), 2 * np.arange(degree + 1) + 1)
    return np.where(band[:, None] == band[None, :], matrix, 0.0)


def rotate_sh(sh: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """float32 (n, k, 3) coefficients of Gaussians in a world turned by `rotation` (3, 3)."""
    degree = NUM_COEFFICIENTS.index(sh.shape[1])
    matrix = sh_rotation(rotation, degree)
    out = np.empty_like(sh, np.float32)
    for i in range(sh.shape[1]):
        # Term by term in a fixed order: the bytes do not depend on a matrix library.
        row = np.zeros((len(sh), 3))
        for j in np.flatnonzero(matrix[i]):
            row += matrix[i, j] * sh[:, j]
        out[:, i] = row
    return out


def quaternion_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) -> unit quaternion (4,) w x y z with w >= 0 (Shepperd 1978: from the largest of the
    four, for accuracy)."""
    R = np.asarray(rotation, np.float64)
    xx, yy, zz = R[0, 0], R[1, 1], R[2, 2]
    K = np.array(
        [
            [1 + xx + yy + zz, R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]],
            [R[2, 1] - R[1, 2], 1 + xx - yy - zz, R[0, 1] + R[1, 0], R[0, 2] + R[2, 0]],
            [R[0, 2] - R[2, 0], R[0, 1] + R[1, 0], 1 - xx + yy - zz, R[1, 2] + R[2, 1]],
            [R[1, 0] - R[0, 1], R[0, 2] + R[2, 0], R[1, 2] + R[2, 1], 1 - xx - yy + zz],
        ]
    )
    q = K[int(np.argmax(np.diag(K)))]
    q = q / np.linalg.norm(q)
    return -q if q[0] < 0 else q


def multiply_quaternions(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Hamilton product p q of quaternions w x y z (..., 4), float64: first q turns, then p."""
    a, b, c, d = np.moveaxis(np.asarray(p, np.float64), -1, 0)
    w, x, y, z = np.moveaxis(np.asarray(q, np.float64), -1, 0)
    return np.stack(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ],
        -1,
    )


def rotate_quats(quats: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """float32 unit quaternions (n, 4) of Gaussians in a world turned by `rotation` (3, 3)."""
    turned = multiply_quaternions(quaternion_from_rotation(rotation), quats)
    return (turned / np.linalg.norm(turned, axis=1, keepdims=True)).astype(np.float32)


def turn_points(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """float64 (n, 3) points in a world turned by `rotation` (3, 3), in the same order of operations everywhere."""
    p = np.asarray(points, np.float64)
    R = np.asarray(rotation, np.float64)
    return np.stack([R[i, 0] * p[:, 0] + R[i, 1] * p[:, 1] + R[i, 2] * p[:, 2] for i in range(3)], 1)


def settle(means: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 means (n, 3) with their origin -> (float32 means, origin): the origin is zero where single precision can
    carry the world's coordinates (they are less than 16 times the size of the scene away from zero)."""
    world = means + origin
    size = float(np.ptp(world, axis=0).max()) if len(world) else 0.0
    if not origin.any() or np.abs(world).max(initial=0.0) <= 16 * size:
        return world.astype(np.float32), np.zeros(3)
    return means.astype(np.float32), np.asarray(origin, np.float64)
