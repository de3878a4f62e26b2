"""Intrinsics that the user knows already: a COLMAP camera line or a 3 x 3 matrix in a text file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rilievo.errors import InputError
from rilievo.types import CAMERA_PARAMS, Camera

_HINT = (
    "Write one line as in COLMAP's cameras.txt, e.g. `PINHOLE 3072 2048 2759.5 2764.2 1520.7 1006.8`, "
    "or the 3 x 3 matrix K in three lines."
)


def read_camera_file(path: Path | str, *, size: tuple[int, int] | None = None) -> Camera:
    """The camera in a file: `[ID] MODEL WIDTH HEIGHT PARAMS...` (first such line), or K as 9 numbers.

    size: (width, height) of the photos, needed for a bare K. Raises InputError when the file holds neither.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read the camera file {path}", error.strerror or str(error), _HINT) from error
    lines = [line.split("#")[0].replace(",", " ").split() for line in text.splitlines()]
    lines = [line for line in lines if line]
    try:
        for words in lines:
            names = [i for i, w in enumerate(words[:2]) if w.upper() in CAMERA_PARAMS]
            if names:
                model, numbers = words[names[0]].upper(), words[names[0] + 1 :]
                params = np.array([float(v) for v in numbers[2:]], np.float64)
                camera = Camera(model, int(numbers[0]), int(numbers[1]), params)
                return _checked(camera, path)
        values = np.array([float(v) for line in lines for v in line], np.float64)
    except (ValueError, IndexError) as error:
        raise InputError(f"the camera file {path.name} cannot be understood", str(error), _HINT) from error
    if len(values) != 9:
        raise InputError(
            f"the camera file {path.name} cannot be understood",
            f"it has {len(values)} numbers: neither a COLMAP camera line nor a 3 x 3 matrix",
            _HINT,
        )
    K = values.reshape(3, 3)
    if not np.allclose(K[2], [0, 0, 1]) or abs(K[1, 0]) > 1e-9:
        raise InputError(
            f"the camera file {path.name} does not hold a camera matrix", "its last row is not 0 0 1", _HINT
        )
    if size is None:
        raise ValueError("a bare K needs the size of the photos")
    return _checked(Camera.pinhole(size[0], size[1], K), path)


def _checked(camera: Camera, path: Path) -> Camera:
    inside = 0 < camera.cx < camera.width and 0 < camera.cy < camera.height
    if not (np.isfinite(camera.params).all() and camera.fx > 0 and camera.fy > 0 and inside):
        raise InputError(
            f"the camera in {path.name} is not possible",
            f"focal length {camera.fx:g} x {camera.fy:g}, principal point ({camera.cx:g}, {camera.cy:g}) in a photo of "
            f"{camera.width} x {camera.height} pixels",
            _HINT,
        )
    return camera
