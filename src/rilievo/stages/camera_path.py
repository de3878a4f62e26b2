"""Paths of a camera through a scene, frame by frame: around what the photos look at, along the photos, or between
keyframes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from rilievo import geometry
from rilievo.errors import InputError
from rilievo.stages.upright import up_from_cameras
from rilievo.types import Camera, Reconstruction, _Value

# Cameras that see the middle from all sides but for a gap smaller than this are walked around in full.
_MAX_GAP_DEG = 100.0


@dataclass(frozen=True)
class PathConfig:
    """Settings of camera paths."""

    version: ClassVar[int] = 1

    width: int = 1280
    """width of the pictures, px"""
    height: int = 720
    """height of the pictures, px"""
    num_frames: int = 240
    """pictures of the whole path"""
    frames_per_second: float = 30.0
    """pictures a second"""
    fov_deg: float | None = None
    """angle of view from top to bottom; default: what the photos show, whole"""


@dataclass(frozen=True, eq=False)
class CameraPath(_Value):
    """Where the camera stands in each frame.

    cameras: n PINHOLE cameras of one size.  cam_from_world: float64 (n, 3, 4).  closed: the last frame leads on to the
    first.  names: a name a frame (of the photo, on a path of photos), empty without.
    """

    cameras: tuple[Camera, ...]
    cam_from_world: Float64[np.ndarray, "n 3 4"]
    frames_per_second: float
    closed: bool = False
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of every frame, px."""
        return self.cameras[0].width, self.cameras[0].height


# --- what cameras tell of a scene -------------------------------------------------------------------------------------


def scene_up(cam_from_world: np.ndarray) -> np.ndarray:
    """The direction (3,) that is up for cameras (n, 3, 4): the world's z where that is within 25 degrees."""
    up = up_from_cameras(cam_from_world)[0]
    return np.array([0.0, 0.0, 1.0]) if up[2] > np.cos(np.radians(25)) else up


def looked_at(cam_from_world: np.ndarray, points: np.ndarray | None = None) -> np.ndarray:
    """The point (3,) that cameras (n, 3, 4) look at: nearest to all lines of sight, least squares.

    Where the lines are nearly parallel, or meet behind the cameras, a point ahead of the middle of the cameras: at the
    median depth of `points` (n, 3), else at the distance over which the cameras spread.
    """
    world_from_cam = geometry.invert(np.asarray(cam_from_world, np.float64))
    eye, ahead = world_from_cam[:, :, 3], world_from_cam[:, :, 2]
    across = np.eye(3) - ahead[:, :, None] * ahead[:, None, :]
    A, b = across.sum(0), np.einsum("nij,nj->i", across, eye)
    if np.linalg.eigvalsh(A)[0] > 0.02 * len(eye):
        point = np.linalg.solve(A, b)
        depth = ((point - eye) * ahead).sum(1)
        if np.median(depth) > 0 and (depth > 0).mean() > 0.7:
            return point
    middle = int(np.argmin(np.linalg.norm(eye - np.median(eye, axis=0), axis=1)))
    if points is not None and len(points):
        depth = geometry.transform(cam_from_world[middle], points)[:, 2]
        if (depth > 0).any():
            return eye[middle] + ahead[middle] * float(np.median(depth[depth > 0]))
    spread = float(np.linalg.norm(np.ptp(eye, axis=0)))
    return eye[middle] + ahead[middle] * (spread if spread > 0 else 1.0)


# --- paths ------------------------------------------------------------------------------------------------------------


def orbit(scene: Reconstruction, *, config: PathConfig | None = None) -> CameraPath:
    """A closed path around what the photos look at, at their usual distance and height, up as in the scene.

    Photos from all sides give a full circle; photos from one side give a swing to and fro between the outermost of
    them, so that the path does not show what no photo saw. Raises InputError without photos.
    """
    config = config or PathConfig()
    _check(config, scene)
    up = scene_up(scene.cam_from_world)
    middle = looked_at(scene.cam_from_world, scene.points)
    away = scene.centers - middle
    distance = np.linalg.norm(away, axis=1)
    height = np.arcsin(np.clip(away @ up / np.maximum(distance, 1e-300), -1, 1))
    east, north = _level_axes(up, away)
    azimuth = np.arctan2(away @ north, away @ east)
    begin, width = _covered(azimuth)
    turn = 2 * np.pi * np.arange(config.num_frames) / config.num_frames
    if np.degrees(2 * np.pi - width) < _MAX_GAP_DEG:
        angles = azimuth[0] + turn
    else:
        angles = begin + 0.5 * width * (1 + np.sin(turn))
    limit = np.radians(80)
    around = _on_sphere(
        angles,
        np.full(len(angles), np.clip(np.median(height), -limit, limit)),
        float(np.median(distance)),
        (east, north, up),
    )
    places = np.stack([geometry.look_at(middle + step, middle, tuple(up)) for step in around])
    return _path(_usual_camera(scene, config), places, config, closed=True)


def orbit_around(
    low: np.ndarray, high: np.ndarray, *, up: Sequence[float] = (0, 0, 1), config: PathConfig | None = None
) -> CameraPath:
    """A full circle around a box, from `low` (3,) to `high` (3,), for things without photos: a little from above, the
    whole box in the picture. Raises InputError for an empty box."""
    config = config or PathConfig()
    _check(config)
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    radius = float(np.linalg.norm(high - low)) / 2
    if not (np.isfinite(radius) and radius > 0):
        raise InputError("there is nothing to go around", "the thing to draw is empty or a single point")
    focal = 0.5 * config.height / np.tan(np.radians(config.fov_deg or 40.0) / 2)
    up_ = np.asarray(up, np.float64) / np.linalg.norm(up)
    turn = 2 * np.pi * np.arange(config.num_frames) / config.num_frames
    middle = (low + high) / 2
    axes = (*_level_axes(up_, np.array([[1.0, 0.3, 0.0]])), up_)
    directions = _on_sphere(turn, np.full(len(turn), np.radians(20)), 1.0, axes)
    corners = np.array(np.meshgrid(*np.stack([low, high], 1))).reshape(3, -1).T - middle
    # A camera at distance d sees a corner at (x, y, d + z) in its axes; it must be in the middle 94 % of the picture.
    R = np.stack([geometry.look_at(d, np.zeros(3), tuple(up_))[:, :3] for d in directions])
    x, y, z = np.moveaxis(corners @ R.swapaxes(1, 2), -1, 0)
    room = 0.94 * np.array([config.width, config.height]) / 2 / focal
    distance = float(max((np.abs(x) / room[0] - z).max(), (np.abs(y) / room[1] - z).max(), 1.01 * radius))
    places = np.concatenate([R, -(R @ (middle + distance * directions)[:, :, None])], 2)
    return _path(_camera(config, focal), places, config, closed=True)


def through(scene: Reconstruction, *, config: PathConfig | None = None) -> CameraPath:
    """A smooth path through the places of the photos in the order of their names, at even speed.

    Where that order is no walk (it is more than twice as long as a short way past all of them, as with photos numbered
    by chance) the short way is taken. Raises InputError for fewer than two places.
    """
    config = config or PathConfig()
    _check(config, scene)
    order = _walk(scene.centers)
    places = scene.cam_from_world[order]
    return between(places, [_usual_camera(scene, config)] * len(places), config=config)


def at_photos(scene: Reconstruction, *, config: PathConfig | None = None) -> CameraPath:
    """One frame a photo, from where it was taken, with its own angle of view: the photo fits whole into the frame, its
    middle in the frame's middle."""
    config = config or PathConfig()
    _check(config, scene)
    cameras = tuple(_fitted(scene.camera(i), config) for i in range(len(scene.names)))
    return CameraPath(cameras, scene.cam_from_world, config.frames_per_second, False, scene.names)


def between(
    cam_from_world: np.ndarray, cameras: Sequence[Camera], *, closed: bool = False, config: PathConfig | None = None
) -> CameraPath:
    """A smooth path through keyframes (k, 3, 4), k >= 2, at even speed; focal lengths change along with it.

    Places, rotations (as quaternions) and focal lengths follow Akima's spline (Akima 1970), which does not swing out
    between keyframes. The length of a step is that of the way and of the turn, 1 rad counting as much as the median
    step. Raises InputError for fewer than two different keyframes.
    """
    from scipy.interpolate import Akima1DInterpolator

    config = config or PathConfig()
    _check(config)
    world_from_cam = geometry.invert(np.asarray(cam_from_world, np.float64))
    quats = np.array([geometry.quaternion_from_rotation(R) for R in world_from_cam[:, :, :3]])
    rows = np.concatenate([world_from_cam[:, :, 3], quats, [[c.fx, c.fy, c.cx, c.cy] for c in cameras]], 1)
    if closed and len(rows) > 2:
        rows = np.concatenate([rows, rows[:1]])
    for k in range(1, len(rows)):  # q and -q are one rotation: the nearer one
        if rows[k, 3:7] @ rows[k - 1, 3:7] < 0:
            rows[k, 3:7] *= -1
    way = np.linalg.norm(np.diff(rows[:, :3], axis=0), axis=1)
    turn = 2 * np.arccos(np.clip((rows[1:, 3:7] * rows[:-1, 3:7]).sum(1), -1, 1))
    usual = float(np.median(way[way > 0])) if (way > 0).any() else 1.0
    step = np.hypot(way, usual * turn)
    keep = np.concatenate([[True], step > 1e-9 * max(float(step.max(initial=0.0)), 1e-300)])
    rows, step = rows[keep], step[keep[1:]]
    if len(rows) < 2:
        raise InputError("there is no path", "all its places are the same", "give at least two different places")
    along = np.concatenate([[0.0], np.cumsum(step)])
    is_loop = closed and len(rows) > 3
    if is_loop:  # three keyframes more at each end, so that the spline is as smooth at the seam
        total = along[-1]
        sign = 1.0 if rows[-1, 3:7] @ rows[0, 3:7] > 0 else -1.0
        flip = np.array([1.0] * 3 + [sign] * 4 + [1.0] * 4)
        k = min(3, len(rows) - 1)
        rows = np.concatenate([rows[-1 - k : -1] * flip, rows, rows[1 : 1 + k] * flip])
        along = np.concatenate([along[-1 - k : -1] - total, along, along[1 : 1 + k] + total])
        begin, length = 0.0, total
    else:
        begin, length = 0.0, float(along[-1])
    steps = config.num_frames if closed else max(config.num_frames - 1, 1)
    at = begin + length * np.arange(config.num_frames) / steps
    values = Akima1DInterpolator(along, rows)(np.clip(at, along[0], along[-1])) if len(rows) > 2 else _straight(
        along, rows, at
    )  # fmt: skip
    quats = values[:, 3:7] / np.linalg.norm(values[:, 3:7], axis=1, keepdims=True)
    places = np.concatenate([geometry.rotation_from_quaternion(quats), values[:, :3, None]], 2)
    w, h = config.width, config.height
    frames = tuple(Camera("PINHOLE", w, h, np.ascontiguousarray(v[7:11])) for v in values)
    return CameraPath(frames, geometry.invert(places), config.frames_per_second, closed)


def _straight(along: np.ndarray, rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    share = ((at - along[0]) / (along[1] - along[0]))[:, None]
    return rows[0] * (1 - share) + rows[1] * share


# --- parts ------------------------------------------------------------------------------------------------------------


def _check(config: PathConfig, scene: Reconstruction | None = None) -> None:
    if config.num_frames < 1 or not config.frames_per_second > 0:
        raise InputError(
            "there is no path",
            f"{config.num_frames} frames at {config.frames_per_second:g} a second were asked for",
            "ask for at least one frame",
        )
    if config.fov_deg is not None and not 1 <= config.fov_deg <= 170:
        raise InputError(f"an angle of view of {config.fov_deg:g} degrees cannot be drawn", "it must be 1 to 170")
    if scene is not None and not scene.names:
        raise InputError("there is no path", "the scene has no cameras", "give one that photos were placed in")


def _camera(config: PathConfig, focal: float) -> Camera:
    params = np.array([focal, focal, config.width / 2, config.height / 2], np.float64)
    return Camera("PINHOLE", config.width, config.height, params)


def _fitted(camera: Camera, config: PathConfig) -> Camera:
    """PINHOLE camera of the frame that shows all of the photo's middle (fx = fy)."""
    if config.fov_deg is not None:
        return _camera(config, 0.5 * config.height / np.tan(np.radians(config.fov_deg) / 2))
    scale = min(config.width / camera.width, config.height / camera.height)
    return _camera(config, scale * 0.5 * (camera.fx + camera.fy))


def _usual_camera(scene: Reconstruction, config: PathConfig) -> Camera:
    fitted = [_fitted(scene.camera(i), config).fx for i in range(len(scene.names))]
    return _camera(config, float(np.median(fitted)))


def _path(camera: Camera, places: np.ndarray, config: PathConfig, *, closed: bool) -> CameraPath:
    return CameraPath((camera,) * len(places), places, config.frames_per_second, closed)


def _level_axes(up: np.ndarray, away: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two directions that stand on `up` and on each other; the first towards the cameras' side."""
    level = away - (away @ up)[:, None] * up
    east = level.sum(0)
    if np.linalg.norm(east) < 1e-9 * max(float(np.abs(away).max()), 1e-300):
        east = np.cross(up, [0.0, 1.0, 0.0] if abs(up[1]) < 0.9 else [1.0, 0.0, 0.0])
    east = east / np.linalg.norm(east)
    return east, np.cross(up, east)


def _covered(azimuth: np.ndarray) -> tuple[float, float]:
    """(begin, width), rad, of the shortest arc that holds all angles."""
    angles = np.sort(np.mod(azimuth, 2 * np.pi))
    gaps = np.diff(np.concatenate([angles, angles[:1] + 2 * np.pi]))
    widest = int(np.argmax(gaps))
    return float(angles[(widest + 1) % len(angles)]), float(2 * np.pi - gaps[widest])


def _on_sphere(
    azimuth: np.ndarray, height: np.ndarray, distance: float, axes: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    east, north, up = axes
    level = np.cos(azimuth)[:, None] * east + np.sin(azimuth)[:, None] * north
    return distance * (np.cos(height)[:, None] * level + np.sin(height)[:, None] * up)


def _walk(centers: np.ndarray) -> np.ndarray:
    """The order to pass places in: as given, or a short way past all where that is less than half as long."""
    given = np.arange(len(centers))
    if not 4 <= len(centers) <= 2000:
        return given
    near = _short_way(centers)

    def length(order: np.ndarray) -> float:
        return float(np.linalg.norm(np.diff(centers[order], axis=0), axis=1).sum())

    return near if 2 * length(near) < length(given) else given


def _short_way(centers: np.ndarray) -> np.ndarray:
    """From the first place always to the nearest, then shortened by turning pieces around (2-opt, Croes 1958)."""
    between_all = np.linalg.norm(centers[:, None] - centers[None], axis=2)
    order, left = [0], np.ones(len(centers), bool)
    left[0] = False
    while left.any():
        nearest = int(np.argmin(np.where(left, between_all[order[-1]], np.inf)))
        order.append(nearest)
        left[nearest] = False
    way = np.array(order)
    for _ in range(20):
        better = False
        for i in range(1, len(way) - 1):
            a, b, ends = way[i - 1], way[i], way[i + 1 :]
            after = np.append(way[i + 2 :], -1)
            gain = between_all[a, b] - between_all[a, ends]
            gain = gain + np.where(after >= 0, between_all[ends, after] - between_all[b, after], 0)
            best = int(np.argmax(gain))
            if gain[best] > 1e-12:
                j = i + 1 + best
                way[i : j + 1] = way[i : j + 1][::-1]
                better = True
        if not better:
            break
    return way
