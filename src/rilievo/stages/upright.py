"""Which way is up: the world's z from how people hold cameras, made exact by the planes of the scene.

Photographers keep the camera level far more carefully than its pitch or heading, so the up direction is the one that is
most nearly orthogonal to the x axes of all cameras (the y axes for photos whose rotation was lost). Where floors,
tables or walls agree with it, their planes fix the rest.
"""

from __future__ import annotations

import numpy as np

from rilievo.geometry import transform

# How level a camera is held (roll), and how far from level it is pitched: standard deviations.
ROLL_DEG = 3.0
PITCH_DEG = 35.0
# A plane tells about up when it is this near to level or plumb, with this standard deviation.
PLANE_MAX_DEG = 7.0
PLANE_DEG = 1.0


def up_from_cameras(cam_from_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(up (3,) in the world, its information matrix (3, 3) in 1/rad^2) from cameras (n, 3, 4).

    Robust least squares (Geman-McClure on the roll) from several starts; a camera that is turned by 90 degrees counts
    by its y axis. The pitch enters as a weak prior about the horizon: it decides where all x axes are parallel, as
    before a facade.
    """
    R = np.asarray(cam_from_world, np.float64)[:, :, :3]
    x, y, z = R[:, 0], R[:, 1], R[:, 2]
    starts = [-y.mean(0), np.linalg.eigh(x.T @ x)[1][:, 0], np.linalg.eigh(y.T @ y)[1][:, 0], -z.mean(0)]
    # More starts: directions orthogonal to pairs of x axes that lie far apart in the list.
    n = len(R)
    for i in range(min(n, 12)):
        starts.append(np.cross(x[i * n // min(n, 12)], x[(i * n // min(n, 12) + n // 3) % n]))
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for start in starts:
        length = np.linalg.norm(start)
        if length < 1e-3:
            continue
        up = start / length
        for _ in range(30):
            sideways = (np.abs(y @ up) < np.abs(x @ up))[:, None]
            level = np.where(sideways, y, x)
            information = _information(level, z, up)
            new = np.linalg.eigh(information)[1][:, 0]
            new *= np.sign(new @ up) or 1.0
            if np.linalg.norm(new - up) < 1e-10:
                break
            up = new
        sideways = (np.abs(y @ up) < np.abs(x @ up))[:, None]
        level = np.where(sideways, y, x)
        s, p = np.sin(np.deg2rad([ROLL_DEG, PITCH_DEG]))
        a, b = (level @ up / s) ** 2, (z @ up / p) ** 2
        # Turned photos are rare: each costs as much as a camera rolled by 60 degrees.
        cost = float(np.sum(a / (1 + a)) + 0.33 * np.sum(b / (1 + b)) + 0.3 * np.sum(sideways))
        # Image y points down; cameras that look straight down or up say it by their view: down is the common case.
        if up @ (y.sum(0) + 0.5 * z.sum(0)) > 0:
            up = -up
        if best is None or cost < best[0] - 1e-9:
            best = (cost, up, _information(level, z, up))
    assert best is not None
    return best[1], best[2]


def _information(level: np.ndarray, z: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Weighted normal matrix of the residuals level.up / sin(roll) and z.up / sin(pitch) (Geman-McClure weights)."""
    s, p = np.sin(np.deg2rad([ROLL_DEG, PITCH_DEG]))
    a, b = (level @ up / s) ** 2, (z @ up / p) ** 2
    wa, wb = 1 / (1 + a) ** 2 / s**2, 0.2 / (1 + b) ** 2 / p**2
    return (level * wa[:, None]).T @ level + (z * wb[:, None]).T @ z


def refine_up(up: np.ndarray, information: np.ndarray, points: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Up corrected by the scene's planes: level ones (floor, table) along it, plumb ones (walls) across it.

    A plane takes part when it holds at least 12 % of the points and lies within PLANE_MAX_DEG of level or plumb; all
    directions are then combined by their precision.
    """
    if len(points) < 200:
        return up
    normals = _planes(points, seed)
    # Averaging many cameras does not make people's habit exact: at best 1 degree from the cameras alone.
    total = information / max(1.0, float(np.trace(information)) * np.deg2rad(1.0) ** 2 / 2)
    sigma = np.deg2rad(PLANE_DEG)
    used = False
    for normal, share in normals:
        angle = np.rad2deg(np.arccos(min(1.0, abs(float(normal @ up)))))
        weight = min(1.0, share / 0.3) / sigma**2
        if angle < PLANE_MAX_DEG:
            total = total + weight * (np.eye(3) - np.outer(normal, normal))
            used = True
        elif angle > 90 - PLANE_MAX_DEG:
            total = total + weight * np.outer(normal, normal)
            used = True
    if not used:
        return up
    new = np.linalg.eigh(total)[1][:, 0]
    return new * (np.sign(new @ up) or 1.0)


def _planes(points: np.ndarray, seed: int, most: int = 4) -> list[tuple[np.ndarray, float]]:
    """Up to `most` dominant planes as (unit normal, share of all points), by sequential RANSAC (Fischler & Bolles
    1981)."""
    rng = np.random.default_rng([seed, 77])
    center = np.median(points, 0)
    size = float(np.median(np.linalg.norm(points - center, axis=1)))
    rest = points[np.linalg.norm(points - center, axis=1) < 6 * size]
    tolerance = 0.02 * size
    total = len(points)
    found: list[tuple[np.ndarray, float]] = []
    while len(found) < most and len(rest) > 0.12 * total and len(rest) > 50:
        sample = rest[rng.integers(0, len(rest), (400, 3))]
        normals = np.cross(sample[:, 1] - sample[:, 0], sample[:, 2] - sample[:, 0])
        lengths = np.linalg.norm(normals, axis=1)
        keep = lengths > 1e-12 * size * size
        normals, anchor = normals[keep] / lengths[keep, None], sample[keep, 0]
        if not len(normals):
            break
        thin = rest[rng.permutation(len(rest))[:1500]]
        counts = (np.abs(thin @ normals.T - np.sum(normals * anchor, 1)) < tolerance).sum(0)
        k = int(np.argmax(counts))
        normal, offset = normals[k], float(normals[k] @ anchor[k])
        for _ in range(5):
            near = np.abs(rest @ normal - offset) < tolerance
            if near.sum() < 10:
                break
            mean = rest[near].mean(0)
            d = rest[near] - mean
            normal = np.linalg.eigh(d.T @ d)[1][:, 0]
            offset = float(normal @ mean)
        near = np.abs(rest @ normal - offset) < tolerance
        share = float(near.sum()) / total
        if share < 0.12:
            break
        found.append((normal, share))
        rest = rest[~near]
    return found


def upright_frame(cam_from_world: np.ndarray, points: np.ndarray, up: np.ndarray) -> tuple[float, np.ndarray]:
    """(scale, upright_from_world (3, 4)): z up, y the cameras' mean heading, zero under the scene's centre on its
    ground, and a scale that puts the median camera one unit from the scene. Apply as `scale * x @ R.T + t`.

    The heading is that of the first camera when the cameras look every way. Ground is the level below which 2 % of the
    points lie.
    """
    forward = np.asarray(cam_from_world)[:, 2, :3]
    flat = forward - np.outer(forward @ up, up)
    heading = flat.mean(0)
    if np.linalg.norm(heading) < 0.3:
        longest = int(np.argmax(np.linalg.norm(flat, axis=1) > 0.2))
        heading = flat[longest]
    if np.linalg.norm(heading) < 1e-6:
        heading = np.cross(up, np.asarray(cam_from_world)[0, 0, :3])
    heading = heading - (heading @ up) * up
    y = heading / np.linalg.norm(heading)
    R = np.stack([np.cross(y, up), y, up])
    depths = [np.median(transform(m, points)[:, 2]) for m in np.asarray(cam_from_world)]
    scale = 1.0 / max(float(np.median(depths)), 1e-12)
    turned = scale * points @ R.T
    zero = np.array([np.median(turned[:, 0]), np.median(turned[:, 1]), np.quantile(turned[:, 2], 0.02)])
    return scale, np.concatenate([R, -zero[:, None]], 1)
