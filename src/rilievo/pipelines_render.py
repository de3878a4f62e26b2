"""Pictures and videos along a path of the camera: of splats, of a field or of a mesh."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rilievo import kernels
from rilievo.chain import Progress, no_progress
from rilievo.errors import InputError
from rilievo.io import frames
from rilievo.io.camera_path_file import read_camera_path, write_camera_path
from rilievo.project import Project, explain_os_errors
from rilievo.stages import camera_path
from rilievo.stages.camera_path import CameraPath, PathConfig
from rilievo.types import Camera, Mesh, Reconstruction, Splats

PATHS = ("orbit", "through", "photos")
KINDS = ("splats", "field", "mesh")  # the best first
SPLAT_SUFFIXES = (".spz", ".splat", ".sog")


@dataclass(frozen=True)
class RenderSettings:
    """What to draw, and how.

    what: "splats", "field", "mesh" or "auto": the best that a house has.  path: a name of `PATHS` or a file of
    `io.camera_path_file`.  size: (width, height), px, else by the photos or the file.  seconds, frames_per_second: else
    the file's, or 8 s at 30 a second.  background: 0..1.  cameras: whose cameras to go by, for things without.
    """

    what: str = "auto"
    path: str = "orbit"
    size: tuple[int, int] | None = None
    seconds: float | None = None
    frames_per_second: float | None = None
    fov_deg: float | None = None
    depth: bool = False
    normals: bool = False
    background: tuple[float, float, float] | None = None
    cameras: Path | None = None
    save_path: Path | None = None


@dataclass(frozen=True)
class Drawable:
    """A thing that can be drawn. draw: (camera, cam_from_world) -> picture uint8 (h, w, 3), depth float32 (h, w).
    points: some of its points (n, 3), for its size and its depths.  scene: cameras that belong to it, or None."""

    kind: str
    draw: Callable[[Camera, np.ndarray], tuple[np.ndarray, np.ndarray]]
    points: np.ndarray
    scene: Reconstruction | None
    unit: str = "unknown"


def render(
    source: Path | str,
    output: Path | str,
    *,
    settings: RenderSettings = RenderSettings(),
    num_threads: int = 0,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Draws a house, or a file of splats, field or mesh, along a path into a video (.mp4) or a folder of PNG frames.

    Depth goes beside: in a folder as 16 bit PNG with its scale in frames.json, with a video as NAME.depth.mp4 in
    colours; normals likewise. Returns the facts of the result: `files`, `num_frames`, `width`, `height`, `what`, ...
    Same input, same bytes. Nothing takes its name before it is whole.

    Raises InputError (nothing to draw, unknown path, bad size or ending), ResourceError (disk full).
    """
    if num_threads:
        kernels.set_num_threads(num_threads)
    source, output = Path(source), Path(output)
    is_video = frames.check_output(output)
    if settings.size is not None:
        frames.check_size(settings.size, is_video)
    thing = open_drawable(source, settings)
    path = make_path(thing, settings, is_video)
    frames.check_size(path.size, is_video)
    near, far = _depth_range(thing, path)
    if settings.save_path is not None:
        write_camera_path(settings.save_path, path)
    facts: dict[str, Any] = {
        "what": thing.kind,
        "num_frames": len(path),
        "width": path.size[0],
        "height": path.size[1],
        "frames_per_second": path.frames_per_second,
        "closed": path.closed,
    }
    beside = frames.Beside(settings.depth, settings.normals, near, far)
    if settings.depth and not is_video:
        facts |= {"depth_step": beside.depth_step, "depth_unit": thing.unit}
    started = time.perf_counter()
    open_output = frames.videos if is_video else frames.pictures
    with open_output(output, path, beside, facts) as write:
        progress("frames", 0, len(path))
        for k, (camera, place) in enumerate(zip(path.cameras, path.cam_from_world)):
            pixels, depth = thing.draw(camera, place)
            write(k, camera, pixels, depth)
            progress("frames", k + 1, len(path))
    seconds = time.perf_counter() - started
    files = [str(output)]
    if is_video:
        files += [str(frames.beside(output, kind)) for kind in ("depth", "normals") if getattr(settings, kind)]
    if settings.save_path is not None:
        files.append(str(settings.save_path))
    return {
        "files": files,
        **facts,
        "seconds": round(seconds, 2),
        "frames_drawn_per_second": round(len(path) / seconds, 2),
    }


# --- what is drawn ----------------------------------------------------------------------------------------------------


def open_drawable(source: Path, settings: RenderSettings) -> Drawable:
    """The thing in a house or a file. Raises InputError when there is nothing to draw."""
    if not source.exists():
        raise InputError(f"cannot find {source}", "there is no such file or folder", "Check the spelling.")
    cameras = None if settings.cameras is None else _cameras_of(settings.cameras)
    if source.is_dir() and (source / "project.json").is_file():
        return _of_house(Project(source, create=False), settings, cameras)
    if source.is_dir() and not (source / "meta.json").is_file():
        raise InputError(
            f"{source} cannot be drawn", "it is a folder, but not of `rilievo build`", "give a house, or a file"
        )
    file = source / "meta.json" if source.is_dir() else source
    if file.suffix.lower() == ".npz":
        from rilievo.io.field import read_field

        if settings.what not in ("auto", "field"):
            raise InputError(f"{source} holds no {settings.what}", "it holds a field")
        return _drawable(read_field(file), "field", cameras, settings)
    kind = "splats" if holds_splats(file) else "mesh"
    if settings.what not in ("auto", kind):
        raise InputError(
            f"{source} holds no {settings.what}", f"it holds a {kind}" if kind == "mesh" else "it holds splats"
        )
    if kind == "splats":
        from rilievo.io.splats import read_splats

        return _drawable(read_splats(file), kind, cameras, settings)
    from rilievo.io.models import read_mesh

    return _drawable(read_mesh(file), kind, cameras, settings)


def holds_splats(path: Path) -> bool:
    """Whether a file holds Gaussian splats: by its ending, or by its first bytes where meshes have the same ending."""
    suffix = path.suffix.lower()
    if suffix in SPLAT_SUFFIXES or path.name == "meta.json":
        return True
    marks = {".ply": (b"f_dc_0", b"packed_position"), ".glb": (b"KHR_gaussian_splatting",)}.get(suffix, ())
    if not marks:
        return False
    with explain_os_errors("read it", path), path.open("rb") as file:
        head = file.read(1 << 20)
    if suffix == ".ply":
        head = head.split(b"end_header", 1)[0]
    return any(mark in head for mark in marks)


def _of_house(project: Project, settings: RenderSettings, cameras: Reconstruction | None) -> Drawable:
    names = project.read().get("names", {})
    there = [kind for kind in KINDS if kind in names]
    if settings.what == "auto" and not there:
        raise InputError(
            f"{project.root} has nothing to draw yet", "it has neither splats nor field nor mesh", "run `rilievo build`"
        )
    kind = there[0] if settings.what == "auto" else settings.what
    if kind not in names:
        verb = {"splats": "splats", "field": "field"}.get(kind, "build")
        raise InputError(
            f"{project.root} has no {kind}",
            f"it has {', '.join(there) or 'nothing to draw yet'}",
            f"make it with `rilievo {verb}`",
        )
    if cameras is None and "cameras" in names:
        cameras = project.named("cameras")
    return _drawable(project.named(kind), kind, cameras, settings)


def _drawable(value: Any, kind: str, scene: Reconstruction | None, settings: RenderSettings) -> Drawable:
    unit = scene.unit if scene is not None else "unknown"
    background = settings.background
    if isinstance(value, Mesh):
        from rilievo.stages.render import RenderConfig, render_mesh

        if not len(value.faces):
            raise InputError("there is nothing to draw", "the mesh has no faces")
        config = RenderConfig()
        if background is not None:
            r, g, b = (round(255 * c) for c in background)
            config = replace(config, background=(r, g, b))
        points = _some(value.vertices.astype(np.float64) + value.origin)
        return Drawable(
            kind, lambda camera, place: render_mesh(value, camera, place, config=config), points, scene, unit
        )
    if isinstance(value, Splats):
        if not len(value.means):
            raise InputError("there is nothing to draw", "there are no Gaussians")
        solid = value.opacities >= min(0.1, float(value.opacities.max()))
        points = _some(value.means[solid].astype(np.float64) + value.origin)
        return Drawable(kind, _splat_drawer(value, background), points, scene, unit)
    from rilievo.stages.field_render import render_field

    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
    points = value.center + value.radius * corners if scene is None or not len(scene.points) else scene.points
    return Drawable(
        kind,
        lambda camera, place: render_field(value, camera, place, background=background),
        _some(points),
        scene,
        unit,
    )


def _splat_drawer(
    splats: Splats, background: tuple[float, float, float] | None
) -> Callable[[Camera, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """`stages.splats_render.render_splats` for many frames: the Gaussians are made ready once."""
    from rilievo.stages.splats_render import SplatRenderer, to_bytes

    renderer = SplatRenderer(splats)

    def draw(camera: Camera, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        frame = renderer.draw(camera, place, background=background, channels=4, median=True)
        depth = np.array(frame.median_depth)
        depth[depth == 0] = np.nan
        return to_bytes(frame.features), depth

    return draw


def _some(points: np.ndarray) -> np.ndarray:
    """At most about 20,000 of the points, always the same."""
    points = points[np.isfinite(points).all(1)]
    return points[:: max(1, len(points) // 20_000)]


def _cameras_of(path: Path) -> Reconstruction:
    if (path / "project.json").is_file():
        return Project(path, create=False).named("cameras")
    from rilievo.io.photo_sets import read_cameras

    return read_cameras(path)


# --- the path ---------------------------------------------------------------------------------------------------------


def make_path(thing: Drawable, settings: RenderSettings, is_video: bool) -> CameraPath:
    """The path that the settings ask for. Raises InputError when the thing has no cameras to go by, or the file of a
    path cannot be read."""
    for name, value in (("--seconds", settings.seconds), ("--fps", settings.frames_per_second)):
        if value is not None and not (math.isfinite(value) and 0 < value <= 3600):
            raise InputError(f"{name} {value:g} is no length or rate of a video", "it must be above 0, at most 3600")
    if settings.path not in PATHS:
        file = Path(settings.path)
        if not file.is_file():
            raise InputError(
                f"cannot find the path {settings.path}",
                f"it is neither {', '.join(PATHS)} nor a file",
                "give one of these names, or a camera path of nerfstudio (.json)",
            )
        return read_camera_path(
            file,
            size=settings.size,
            frames_per_second=settings.frames_per_second,
            seconds=settings.seconds,
        )
    width, height = settings.size or _usual_size(thing.scene)
    rate = settings.frames_per_second or 30.0
    num = max(1, round((settings.seconds or 8.0) * rate))
    if num > 100_000:
        raise InputError(
            f"a video of {num} frames is too long", "at most 100000 frames are drawn", "ask for less seconds"
        )
    config = PathConfig(width, height, num, rate, settings.fov_deg)
    if thing.scene is not None and len(thing.scene.names):
        make = {"orbit": camera_path.orbit, "through": camera_path.through, "photos": camera_path.at_photos}
        return make[settings.path](thing.scene, config=config)
    if settings.path != "orbit":
        raise InputError(
            f"there are no cameras for the path {settings.path}",
            f"the file ({thing.kind}) does not say where photos were taken",
            "name the house or the cameras with --cameras, or take --path orbit",
        )
    low, high = np.quantile(thing.points, [0.01, 0.99] if thing.kind == "splats" else [0.0, 1.0], axis=0)
    return camera_path.orbit_around(low, high, config=config)


def _usual_size(scene: Reconstruction | None) -> tuple[int, int]:
    """Longer side 1280, the shape of most photos, even."""
    if scene is None or not len(scene.names):
        return 1280, 720
    shape = float(np.median([scene.camera(i).width / scene.camera(i).height for i in range(len(scene.names))]))
    short = max(2, round(1280 / max(shape, 1 / shape) / 2) * 2)
    return (1280, short) if shape >= 1 else (short, 1280)


def _depth_range(thing: Drawable, path: CameraPath) -> tuple[float, float]:
    """Near and far depth of what the path sees: the same for all its frames."""
    some = range(0, len(path), max(1, len(path) // 32))
    depths = [thing.points @ path.cam_from_world[k][2, :3] + path.cam_from_world[k][2, 3] for k in some]
    ahead = np.concatenate(depths)
    ahead = ahead[ahead > 1e-9 * max(float(np.abs(ahead).max(initial=0)), 1e-30)]
    if not len(ahead):
        return 1.0, 2.0
    near, far = np.quantile(ahead, [0.01, 0.998])
    return float(near), float(max(far, near * 1.001))
