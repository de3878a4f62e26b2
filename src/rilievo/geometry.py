"""Verbs on arrays: transforms, projection, triangulation, alignment. float64 in, float64 out.

A rigid transform is a (3, 4) matrix [R | t] named by its direction: `b_from_a`. Leading dimensions broadcast.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from rilievo.types import Camera


def compose(c_from_b: np.ndarray, b_from_a: np.ndarray) -> np.ndarray:
    """`c_from_a` (..., 3, 4) from `c_from_b` and `b_from_a`."""
    R = c_from_b[..., :3] @ b_from_a[..., :3]
    t = c_from_b[..., :3] @ b_from_a[..., 3:] + c_from_b[..., 3:]
    return np.concatenate([R, t], -1)


def invert(b_from_a: np.ndarray) -> np.ndarray:
    """`a_from_b` (..., 3, 4) of a rigid transform."""
    Rt = np.swapaxes(b_from_a[..., :3], -1, -2)
    return np.concatenate([Rt, -Rt @ b_from_a[..., 3:]], -1)


def transform(b_from_a: np.ndarray, x_in_a: np.ndarray) -> np.ndarray:
    """Points (n, 3) in a -> points (n, 3) in b."""
    return x_in_a @ b_from_a[:, :3].T + b_from_a[:, 3]


def distinct_cameras(cameras: Iterable[Camera]) -> tuple[tuple[Camera, ...], np.ndarray]:
    """The different ones of some cameras in order of arrival, and for each the number of its like, int32 (n,)."""
    found: dict[tuple[str, int, int, tuple[float, ...]], int] = {}
    models: list[Camera] = []
    index = []
    for camera in cameras:
        key = (camera.model, camera.width, camera.height, tuple(camera.params.tolist()))
        if key not in found:
            found[key] = len(models)
            models.append(camera)
        index.append(found[key])
    return tuple(models), np.array(index, np.int32)


def distort(camera: Camera, xy: np.ndarray) -> np.ndarray:
    """Normalised image coordinates (n, 2) -> pixels (n, 2) of the camera model (COLMAP's definitions)."""
    x, y = xy[:, 0], xy[:, 1]
    model = camera.model
    if model.endswith("FISHEYE"):
        r = np.hypot(x, y)
        theta = np.arctan(r)
        t2 = theta * theta
        if model == "OPENCV_FISHEYE":
            k = [camera.param(f"k{i}") for i in range(1, 5)]
            theta_d = theta * (1 + t2 * (k[0] + t2 * (k[1] + t2 * (k[2] + t2 * k[3]))))
        else:
            theta_d = theta * (1 + t2 * (camera.param("k1") + t2 * camera.param("k2")))
        factor = np.where(r > 1e-12, theta_d / np.maximum(r, 1e-12), 1.0)
        u, v = x * factor, y * factor
    else:
        k1, k2, k3 = camera.param("k1"), camera.param("k2"), camera.param("k3")
        k4, k5, k6 = camera.param("k4"), camera.param("k5"), camera.param("k6")
        p1, p2 = camera.param("p1"), camera.param("p2")
        r2 = x * x + y * y
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        v = y * radial + 2 * p2 * x * y + p1 * (r2 + 2 * y * y)
    return np.stack([camera.fx * u + camera.cx, camera.fy * v + camera.cy], -1)


def undistort(camera: Camera, xy_px: np.ndarray, iterations: int = 50) -> np.ndarray:
    """Pixels (n, 2) -> normalised image coordinates (n, 2): Newton's method with a numerical Jacobian."""
    xy_px = np.asarray(xy_px, np.float64).reshape(-1, 2)
    target = (xy_px - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    if camera.model.endswith("FISHEYE"):
        theta = np.hypot(target[:, 0], target[:, 1])
        x = target * (np.tan(np.minimum(theta, 1.5)) / np.maximum(theta, 1e-12))[:, None]
    else:
        x = target.copy()
    if camera.model in ("PINHOLE", "SIMPLE_PINHOLE"):
        return x
    step = 1e-6
    for _ in range(iterations):
        f0 = distort(camera, x)
        residual = f0 - xy_px
        if np.nanmax(np.abs(residual), initial=0.0) < 1e-9:
            break
        jx = (distort(camera, x + [step, 0]) - f0) / step
        jy = (distort(camera, x + [0, step]) - f0) / step
        det = jx[:, 0] * jy[:, 1] - jx[:, 1] * jy[:, 0]
        det = np.where(np.abs(det) < 1e-12, 1e-12, det)
        dx = (jy[:, 1] * residual[:, 0] - jy[:, 0] * residual[:, 1]) / det
        dy = (-jx[:, 1] * residual[:, 0] + jx[:, 0] * residual[:, 1]) / det
        x -= np.clip(np.stack([dx, dy], -1), -0.5, 0.5)
    return x


def project(camera: Camera, cam_from_world: np.ndarray, x_in_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World points (n, 3) -> (pixels (n, 2), depth (n,)). Points at or behind the camera plane give NaN pixels."""
    x = transform(cam_from_world, x_in_world)
    depth = x[:, 2]
    safe = np.where(depth > 1e-12, depth, np.nan)
    return distort(camera, x[:, :2] / safe[:, None]), depth


def unproject(camera: Camera, cam_from_world: np.ndarray, xy_px: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Pixels (n, 2) with depth (n,) -> world points (n, 3)."""
    xy = undistort(camera, xy_px)
    x_in_cam = np.concatenate([xy, np.ones((len(xy), 1))], 1) * np.asarray(depth, np.float64)[:, None]
    return transform(invert(cam_from_world), x_in_cam)


def triangulate(P: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """One point (3,) from its normalised coordinates xy (k, 2) in k cameras P (k, 3, 4): linear least squares
    (Hartley & Zisserman 2004, section 12.2)."""
    A = np.concatenate([xy[:, :1] * P[:, 2] - P[:, 0], xy[:, 1:] * P[:, 2] - P[:, 1]])
    X = np.linalg.svd(A)[2][-1]
    return X[:3] / X[3]


def align(x_in_a: np.ndarray, x_in_b: np.ndarray, *, with_scale: bool = True) -> tuple[float, np.ndarray]:
    """(scale, b_from_a (3, 4)) that minimises |x_in_b - (scale R x_in_a + t)|^2 (Umeyama 1991, eqs. 34-42).

    The returned matrix holds R and t; apply as `scale * x @ R.T + t`. Raises ValueError for fewer than 3 points or
    points on one line.
    """
    a, b = np.asarray(x_in_a, np.float64), np.asarray(x_in_b, np.float64)
    if len(a) < 3 or a.shape != b.shape:
        raise ValueError(f"alignment needs at least 3 pairs of points, got {len(a)} and {len(b)}")
    ma, mb = a.mean(0), b.mean(0)
    U, D, Vt = np.linalg.svd((b - mb).T @ (a - ma) / len(a))
    if D[1] <= 1e-12 * max(D[0], 1e-300):
        raise ValueError("alignment is not determined: the points lie on one line")
    S = np.diag([1.0, 1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt))])
    R = U @ S @ Vt
    variance = ((a - ma) ** 2).sum() / len(a)
    scale = float(np.trace(np.diag(D) @ S) / variance) if with_scale else 1.0
    return scale, np.concatenate([R, (mb - scale * R @ ma)[:, None]], 1)


def rotation_from_quaternion(q_wxyz: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4) w x y z -> rotation matrices (..., 3, 3)."""
    w, x, y, z = np.moveaxis(np.asarray(q_wxyz, np.float64), -1, 0)
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        -2,
    )


def quaternion_from_rotation(R: np.ndarray) -> np.ndarray:
    """Unit quaternion (4,) w x y z, w >= 0, of a rotation matrix (Shepperd 1978: the largest component first)."""
    four = np.array(
        [
            1 + R[0, 0] + R[1, 1] + R[2, 2],
            1 + R[0, 0] - R[1, 1] - R[2, 2],
            1 - R[0, 0] + R[1, 1] - R[2, 2],
            1 - R[0, 0] - R[1, 1] + R[2, 2],
        ]
    )
    k = int(np.argmax(four))
    a, b, c = R[2, 1], R[0, 2], R[1, 0]
    d, e, f = R[1, 2], R[2, 0], R[0, 1]
    rows = [
        [four[0], a - d, b - e, c - f],
        [a - d, four[1], c + f, b + e],
        [b - e, c + f, four[2], a + d],
        [c - f, b + e, a + d, four[3]],
    ]
    q = np.array(rows[k])
    q /= np.linalg.norm(q)
    return -q if q[0] < 0 else q


def look_at(eye: np.ndarray, target: np.ndarray, up: Sequence[float] = (0.0, 0.0, 1.0)) -> np.ndarray:
    """`cam_from_world` (3, 4) of a camera at eye that looks at target, image y pointing against `up`."""
    z = np.asarray(target, np.float64) - eye
    z /= np.linalg.norm(z)
    x = np.cross(z, up)
    if np.linalg.norm(x) < 1e-9:
        x = np.cross(z, [0.0, 1.0, 0.0])
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    return np.concatenate([R, -(R @ eye)[:, None]], 1)
