"""Where a rendering goes: a video with others beside it, or a folder of PNG frames. Whole or not at all."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import InputError
from rilievo.io.camera_path_file import write_camera_path
from rilievo.io.clip import ClipWriter
from rilievo.io.files import explained, replacing
from rilievo.stages import depth_pictures
from rilievo.stages.camera_path import CameraPath
from rilievo.types import Camera

MIN_SIDE, MAX_SIDE = 16, 8192


@dataclass(frozen=True)
class Beside:
    """What is written beside the pictures. near, far: depths of the scene, the same for all frames."""

    depth: bool
    normals: bool
    near: float
    far: float

    @property
    def depth_step(self) -> float:
        """The length of one grey level of a 16 bit depth picture."""
        return depth_pictures.depth_step(self.far)


# (frame's number, its camera, picture uint8 (h, w, 3), depth float32 (h, w))
Write = Callable[[int, Camera, np.ndarray, np.ndarray], None]
_OURS = ("frames.json", "depth", "normals", "camera_path.json")


def check_output(output: Path) -> bool:
    """Whether it is a video. Raises InputError when neither a video nor frames can go there."""
    suffix = output.suffix.lower()
    if suffix == ".mp4":
        if output.is_dir():
            raise InputError(f"cannot write {output}", "it is a folder", "choose another name with -o")
        return True
    if output.is_dir():
        if strangers := _strangers(output):
            raise InputError(
                f"{output} holds something else than frames",
                f"e.g. {', '.join(strangers[:3])}",
                "give a new or empty folder with -o",
            )
        return False
    if suffix or output.is_file():
        raise InputError(
            f"cannot tell what {output.name} is to be",
            f"the ending {suffix} is not known" if suffix else "it is a file",
            "a video ends in .mp4; a folder of PNG frames has no ending",
        )
    return False


def _strangers(folder: Path) -> list[str]:
    """What a folder holds that no rendering of before has written."""
    try:
        ours = {*json.loads((folder / "frames.json").read_bytes())["frames"], *_OURS}
    except (OSError, ValueError, KeyError, TypeError):
        ours = set()
    return sorted(p.name for p in folder.iterdir() if p.name not in ours)


def check_size(size: tuple[int, int], is_video: bool) -> None:
    width, height = size
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise InputError(
            f"pictures of {width}x{height} pixels cannot be drawn", f"a side has {MIN_SIDE} to {MAX_SIDE} pixels"
        )
    if is_video and (width % 2 or height % 2):
        raise InputError(
            f"a video cannot have {width}x{height} pixels",
            "both sides of a video must be even",
            f"ask for --size {width - width % 2}x{height - height % 2}",
        )


def beside(output: Path, kind: str) -> Path:
    """walk.mp4 -> walk.depth.mp4."""
    return output.with_name(f"{output.stem}.{kind}{output.suffix}")


@contextlib.contextmanager
def videos(output: Path, path: CameraPath, also: Beside, facts: dict[str, Any]) -> Iterator[Write]:
    with contextlib.ExitStack() as stack:

        def clip(file: Path) -> ClipWriter:
            return stack.enter_context(ClipWriter(file, *path.size, path.frames_per_second))

        normals = clip(beside(output, "normals")) if also.normals else None
        depth_clip = clip(beside(output, "depth")) if also.depth else None
        main = clip(output)
        facts["codec"] = main.codec

        def write(k: int, camera: Camera, pixels: np.ndarray, depth: np.ndarray) -> None:
            main.write(pixels)
            if depth_clip is not None:
                depth_clip.write(depth_pictures.depth_colors(depth, also.near, also.far))
            if normals is not None:
                normals.write(depth_pictures.normal_colors(depth, camera))

        yield write


@contextlib.contextmanager
def pictures(output: Path, path: CameraPath, also: Beside, facts: dict[str, Any]) -> Iterator[Write]:
    """PNG files in a folder that takes its name when it is whole."""
    part = output.with_name(f".{output.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    names = [f"{k:05d}.png" for k in range(len(path))]
    if path.names:
        names = [f"{name.replace('/', '_').removesuffix('.png')}.png" for name in path.names]
        if len(set(names)) < len(names):
            names = [f"{k:05d}_{name}" for k, name in enumerate(names)]

    def write(k: int, camera: Camera, pixels: np.ndarray, depth: np.ndarray) -> None:
        _write_png(part / names[k], pixels)
        if also.depth:
            _write_png(part / "depth" / names[k], depth_pictures.depth_levels(depth, also.depth_step))
        if also.normals:
            _write_png(part / "normals" / names[k], depth_pictures.normal_colors(depth, camera))

    try:
        part.mkdir(parents=True)
        yield write
        with replacing(part / "frames.json") as file:
            file.write(json.dumps({**facts, "frames": names}, indent=1).encode())
        write_camera_path(part / "camera_path.json", path)
        if output.is_dir():
            shutil.rmtree(output)
        part.replace(output)
    except OSError as error:
        raise explained(output, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    import cv2

    if pixels.ndim == 3:
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    with replacing(path) as file:
        file.write(cv2.imencode(".png", pixels)[1].tobytes())
