"""Camera paths as nerfstudio's viewer writes them (its `camera_path.json`), read and written.

`camera_path`: a frame each with `camera_to_world` (16 numbers row by row; OpenGL axes: x right, y up, z back), `fov`
(degrees from top to bottom) and `aspect`.  `keyframes`: `matrix` (the same; older versions wrote it column by column or
as text), `fov`, `aspect`.  Besides: `camera_type`, `render_width`, `render_height`, `fps`, `seconds`, `is_cycle`.

The world is that of the scene which is drawn. nerfstudio moves and scales its scenes unless it is told not to
(`--orientation-method none --center-method none --auto-scale-poses False`): only then its paths fit ours.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from rilievo import geometry
from rilievo.errors import InputError
from rilievo.io.files import read_bytes, replacing
from rilievo.stages.camera_path import CameraPath, PathConfig, between
from rilievo.types import Camera

MAX_FRAMES = 100_000
_OPENGL = np.array([1.0, -1.0, -1.0])  # our camera's axes in OpenGL's, and back
_HINT = "save the path in nerfstudio's viewer, or with `rilievo render --save-path`"


def read_camera_path(
    path: Path | str,
    *,
    size: tuple[int, int] | None = None,
    frames_per_second: float | None = None,
    seconds: float | None = None,
) -> CameraPath:
    """The path in a file; of a file with keyframes only (or when `seconds` or `frames_per_second` ask for another
    number of frames than it has) the smooth path through them.

    size: (width, height) of the frames, px, instead of the file's; the angle from top to bottom stays.
    Raises InputError when it is no such file, or of another camera than a perspective one.
    """
    path = Path(path)
    try:
        document = json.loads(read_bytes(path))
        if not isinstance(document, dict) or not ("camera_path" in document or "keyframes" in document):
            raise ValueError("it has neither camera_path nor keyframes")
        kind = str(document.get("camera_type", "perspective")).lower()
        frames = [_frame(f, "camera_to_world") for f in document.get("camera_path") or ()]
        keys = [_frame(f, "matrix") for f in document.get("keyframes") or ()]
        width, height = size or (int(document["render_width"]), int(document["render_height"]))
        rate = float(document.get("fps", 30) if frames_per_second is None else frames_per_second)
        told = float(document.get("seconds", len(frames) / rate if frames else 4.0))
        closed = bool(document.get("is_cycle", False))
        wanted = round((told if seconds is None else seconds) * rate)
    except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} is not a camera path", why, _HINT) from error
    if kind != "perspective":
        raise InputError(
            f"the camera path {path} cannot be drawn", f"its camera is {kind}", "choose a perspective camera there"
        )
    if not (frames or len(keys) > 1) or not (0 < rate < 1000 and width > 0 and height > 0 and 0 < wanted <= MAX_FRAMES):
        raise InputError(
            f"{path} is not a camera path",
            f"it has {len(frames)} frames and {len(keys)} keyframes, {width} x {height} px, {wanted} frames in all",
            _HINT,
        )
    config = PathConfig(width, height, wanted, rate)
    asked = seconds is not None or frames_per_second is not None
    if frames and not (asked and wanted != len(frames)):
        cameras = tuple(_camera(width, height, fov) for _, fov in frames)
        return CameraPath(cameras, np.stack([place for place, _ in frames]), rate, closed)
    knots = keys if len(keys) > 1 else frames
    if len(knots) < 2:
        return _held(knots[0], config)
    cameras = [_camera(width, height, fov) for _, fov in knots]
    return between(np.stack([place for place, _ in knots]), cameras, closed=closed, config=config)


def _held(knot: tuple[np.ndarray, float], config: PathConfig) -> CameraPath:
    camera = _camera(config.width, config.height, knot[1])
    places = np.repeat(knot[0][None], config.num_frames, 0)
    return CameraPath((camera,) * config.num_frames, places, config.frames_per_second)


def _camera(width: int, height: int, fov_deg: float) -> Camera:
    focal = 0.5 * height / math.tan(math.radians(fov_deg) / 2)
    return Camera("PINHOLE", width, height, np.array([focal, focal, width / 2, height / 2], np.float64))


def _frame(entry: dict[str, Any], key: str) -> tuple[np.ndarray, float]:
    """(cam_from_world (3, 4), fov in degrees). Raises KeyError, TypeError or ValueError."""
    numbers = entry[key]
    if isinstance(numbers, str):
        numbers = json.loads(numbers)
    m = np.array(numbers, np.float64).reshape(4, 4)
    if not np.allclose(m[3], [0, 0, 0, 1], atol=1e-6) and np.allclose(m[:, 3], [0, 0, 0, 1], atol=1e-6):
        m = m.T  # column by column
    fov = float(entry["fov"])
    R = m[:3, :3]
    if not np.isfinite(m).all() or np.abs(R @ R.T - np.eye(3)).max() > 1e-2 or np.linalg.det(R) < 0:
        raise ValueError(f"a {key} is no rotation and shift")
    if not 0.1 <= fov <= 175:
        raise ValueError(f"a field of view of {fov:g} degrees")
    U, _, Vt = np.linalg.svd(R)
    world_from_cam = np.concatenate([(U @ Vt) * _OPENGL, m[:3, 3:]], 1)
    return geometry.invert(world_from_cam), fov


def write_camera_path(path: Path | str, frames: CameraPath) -> Path:
    """Writes a path so that nerfstudio's viewer and `read_camera_path` read it. An offset of the picture's centre is
    not kept: the format has none. Raises ResourceError when the disk is full."""
    width, height = frames.size
    entries = []
    for camera, place in zip(frames.cameras, frames.cam_from_world):
        world_from_cam = geometry.invert(place)
        m = np.eye(4)
        m[:3, :3], m[:3, 3] = world_from_cam[:, :3] * _OPENGL, world_from_cam[:, 3]
        fov = 2 * math.degrees(math.atan(0.5 * height / camera.fy))
        entries.append({"camera_to_world": m.ravel().tolist(), "fov": fov, "aspect": width / height})
    chosen = sorted({round(k) for k in np.linspace(0, len(entries) - 1, min(len(entries), 24))})
    document = {
        "camera_type": "perspective",
        "render_height": height,
        "render_width": width,
        "fps": frames.frames_per_second,
        "seconds": len(frames) / frames.frames_per_second,
        "is_cycle": frames.closed,
        "smoothness_value": 0.0,
        "default_fov": entries[0]["fov"],
        "default_transition_sec": len(frames) / frames.frames_per_second / max(len(chosen), 1),
        "keyframes": [
            {"matrix": entries[k]["camera_to_world"], "fov": entries[k]["fov"], "aspect": width / height}
            for k in chosen
        ],
        "camera_path": entries,
    }
    target = Path(path)
    with replacing(target) as file:
        file.write(json.dumps(document, indent=1).encode())
    return target
