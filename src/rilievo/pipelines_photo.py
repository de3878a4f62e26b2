"""One photo to a depth map, a surface that carries the photo, and what goes with them."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rilievo.errors import InputError
from rilievo.io.files import replacing
from rilievo.io.photos import Source
from rilievo.mappers import PeakMemory
from rilievo.types import Camera, DepthMap, Mesh, PhotoDepth, ScaleFit

if TYPE_CHECKING:
    from rilievo.io.one_photo import OnePhoto
    from rilievo.io.relief_glb import Picture
    from rilievo.networks import Network
    from rilievo.stages.relief import Surface

DEPTH_SIZE = 768
# What a run writes only where it is asked to; a file of that name from an earlier run would tell of another depth.
OPTIONAL_FILES = ("depth.exr", "turntable.mp4", "relief.stl")

# A mesh with uvs and its texture uint8 (h, w, 3): what was seen, then what was invented.
Part = tuple[Mesh, np.ndarray]
# Pixels uint8 (h, w, 3) of the whole photo and a camera of the same view -> references for the scale.
FindReferences = Callable[[np.ndarray, Camera], Sequence[Any]]


@dataclass(frozen=True)
class PhotoSettings:
    """What is made of a photo, and how."""

    model: str | None = None
    """network, a row of `weights.DEPTH_MODELS` (default: the best one that is here)"""
    tiles: bool = False
    """look at the photo in pieces too, for finer detail"""
    depth_size: int | None = None
    """longer side of the depth map, px"""
    focal_px: float | None = None
    """focal length in pixels of the whole photo"""
    fov_deg: float | None = None
    """field of view across the photo"""
    fill: bool = False
    """close the surface behind what hides it"""
    exr: bool = False
    """write depth.exr"""
    video: bool = False
    """write turntable.mp4"""
    stl_width_mm: float | None = None
    """write relief.stl of this width"""
    stl_depth_mm: float | None = None
    """height of its relief"""
    engine: Literal["auto", "cpu", "gpu"] = "auto"
    """what runs the network"""


@dataclass(frozen=True)
class PhotoRun:
    """How it is computed; none of it changes the result."""

    num_threads: int = 1
    progress: Callable[[str, int, int], None] = field(default=lambda stage, done, total: None)


class _Clock:
    """Wall and CPU time of each stage; stages may run side by side."""

    def __init__(self, progress: Callable[[str, int, int], None]) -> None:
        self.rows: list[dict[str, Any]] = []
        self.progress = progress

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.progress(name, 0, 1)
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        self.rows.append({"stage": name, "seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3)})
        self.progress(name, 1, 1)


def check_settings(settings: PhotoSettings) -> None:
    """Raises InputError for settings that cannot be."""
    for value, option in (
        (settings.focal_px, "--focal"),
        (settings.stl_width_mm, "--stl"),
        (settings.stl_depth_mm, "--stl-depth"),
    ):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"{option} {value:g} cannot be", "it must be more than 0", f"write e.g. {option} 120")
    if settings.fov_deg is not None and not 1 <= settings.fov_deg <= 170:
        raise InputError(
            f"--fov {settings.fov_deg:g} cannot be", "a photo shows 1 to 170 degrees across", "a phone's is about 65"
        )
    if settings.focal_px is not None and settings.fov_deg is not None:
        raise InputError("--focal and --fov say the same thing", "both were given", "give one of them")
    if settings.depth_size is not None and not 64 <= settings.depth_size <= 8192:
        raise InputError(
            f"--depth-size {settings.depth_size} cannot be", "it must be 64 to 8192 px", f"the default is {DEPTH_SIZE}"
        )
    if settings.stl_depth_mm is not None and settings.stl_width_mm is None:
        raise InputError("--stl-depth is of no use", "no relief is asked for", "add --stl WIDTH_MM")


def open_model(settings: PhotoSettings, num_threads: int) -> tuple[str, Network]:
    """The network to ask, and its name. Raises MissingError when it is not here, InputError when it is not known or
    damaged."""
    from rilievo import weights
    from rilievo.networks import open_network

    name = settings.model or weights.best_depth_model()
    if name not in weights.DEPTH_MODELS:
        raise InputError(
            f"unknown depth model {name!r}", "it is not in the table", f"known are {', '.join(weights.DEPTH_MODELS)}"
        )
    return name, open_network(weights.get(name), engine=settings.engine, threads=num_threads)


def photo_to_mesh(
    source: Source,
    folder: Path,
    *,
    settings: PhotoSettings = PhotoSettings(),
    run: PhotoRun | None = None,
    model: tuple[str, Network] | None = None,
    find_references: FindReferences | None = None,
) -> dict[str, Any]:
    """Depth, surface and report of one photo in `folder`; returns the report.

    model: from `open_model` (opened here when not given).  find_references: what fixes the scale, from the photo.
    Raises InputError, MissingError or ResourceError in words for the user.
    """
    check_settings(settings)
    run = run or PhotoRun()
    clock = _Clock(run.progress)
    _prepare_folder(folder)
    with PeakMemory() as memory, ThreadPoolExecutor(max(1, run.num_threads)) as pool:
        with clock.stage("photo and network"):
            opening = pool.submit(open_model, settings, run.num_threads) if model is None else None
            photo = _read(source, settings, find_references is not None)
            name, network = opening.result() if opening is not None else model  # type: ignore[misc]
        with clock.stage("depth"):
            photo_depth = _predict(photo, name, network, settings)
        with clock.stage("scale"):
            fit, depth_map = _measure(photo, photo_depth, find_references)
        with clock.stage("surface"):
            from rilievo.stages import relief

            small = _at_size(photo.pixels, depth_map.depth.shape)
            surface = relief.prepare_surface(depth_map, small)
            mesh = relief.relief_mesh(surface)
            parts: list[Part] = [(mesh, small)]
            if settings.fill:
                from rilievo.stages.relief_fill import fill_behind

                behind = fill_behind(surface, small)
                parts += [] if behind is None else [behind]
        with clock.stage("files"):
            files = _write_files(folder, photo, photo_depth, fit, surface, parts, settings, pool)
        stages = clock.rows
    from rilievo import __version__
    from rilievo.report_photo import build_photo_report, render_photo_page

    report = build_photo_report(
        version=__version__,
        photo={
            "name": photo.name,
            "width": photo.width,
            "height": photo.height,
            "camera": photo.camera_name,
            "content_id": photo.content_id,
        },
        photo_depth=photo_depth,
        fit=fit,
        depth_map=surface.depth_map,
        model=_about_model(name, network),
        mesh=mesh,
        invented=parts[1][0] if len(parts) > 1 else None,
        cut_share=surface.cut_share,
        island_share=surface.island_share,
        settings=asdict(settings),
        files=[*files, "report.json", "report.html"],
        stages=stages,
        peak_memory_mb=memory.peak_mb,
    )
    pictures = _pictures(photo, surface, parts)
    _write_text(folder / "report.html", render_photo_page(report, pictures))
    _write_text(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False))
    return report


def _prepare_folder(folder: Path) -> None:
    """Fails before the work, not after it."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"cannot write into {folder}", "it is a file, not a folder", "choose another folder with -o")
    with replacing(folder / ".rilievo") as f:
        f.write(b"\n")
    for name in (".rilievo", *OPTIONAL_FILES):
        (folder / name).unlink(missing_ok=True)


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as f:
        f.write(text.encode())


def _read(source: Source, settings: PhotoSettings, whole: bool) -> OnePhoto:
    import cv2  # noqa: F401  (decodes the photo; before anything that brings another OpenMP)

    from rilievo.io.one_photo import read_one_photo

    size = None if settings.tiles or whole else 2 * (settings.depth_size or DEPTH_SIZE)
    return read_one_photo(source, max_size=size)


def _predict(photo: OnePhoto, name: str, network: Network, settings: PhotoSettings) -> PhotoDepth:
    from rilievo.stages.monocular import MonocularConfig, photo_depth

    focal, origin = photo.focal_px, "exif"
    if settings.focal_px is not None:
        focal, origin = settings.focal_px, "given"
    elif settings.fov_deg is not None:
        focal, origin = photo.width / 2 / math.tan(math.radians(settings.fov_deg / 2)), "given"
    if focal is not None:
        focal *= photo.pixels.shape[1] / photo.width
    config = MonocularConfig(max_size=settings.depth_size or DEPTH_SIZE, tiles=settings.tiles)
    depth = photo_depth(
        photo.pixels, name=photo.name, model=name, network=network, focal_px=focal, focal_source=origin, config=config
    )
    if photo.alpha is not None:
        there = _at_size(photo.alpha, depth.disparity.shape) > 127
        blank = np.float32(np.nan)
        depth = replace(
            depth,
            disparity=np.where(there, depth.disparity, blank),
            sigma=np.where(there, depth.sigma, blank),
            confidence=np.where(there, depth.confidence, np.float32(0)),
            sky=depth.sky & there,
        )
    return depth


def _measure(
    photo: OnePhoto, photo_depth: PhotoDepth, find_references: FindReferences | None
) -> tuple[ScaleFit, DepthMap]:
    from rilievo.stages.scale import fit_scale, metric_depth

    height, width = photo.pixels.shape[:2]
    references = find_references(photo.pixels, photo_depth.camera) if find_references is not None else ()
    fit = fit_scale(photo_depth, references, photo_size=(width, height))
    return fit, metric_depth(photo_depth, fit)


def _at_size(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    from rilievo.io.pixels import shrink

    return shrink(pixels, shape[1], shape[0])


def _write_files(
    folder: Path,
    photo: OnePhoto,
    photo_depth: PhotoDepth,
    fit: ScaleFit,
    surface: Surface,
    parts: list[Part],
    settings: PhotoSettings,
    pool: ThreadPoolExecutor,
) -> list[str]:
    """Writes them side by side; returns their names."""
    from rilievo.io import depth_files, ply, relief_glb
    from rilievo.stages import relief

    depth_map = surface.depth_map
    mesh, small = parts[0]
    work: dict[str, Callable[[], Any]] = {
        "relief.glb": lambda: relief_glb.write(
            folder / "relief.glb",
            mesh,
            _texture(photo),
            invented=parts[1][0] if len(parts) > 1 else None,
            invented_picture=_packed(parts[1][1], photo.name) if len(parts) > 1 else None,
            extras=_extras(photo_depth, fit),
        ),
        "cloud.ply": lambda: ply.write(folder / "cloud.ply", relief.relief_cloud(surface, small)),
        "depth.npz": lambda: depth_files.write_photo_depth(folder / "depth.npz", photo_depth, fit, depth_map),
        "depth.png": lambda: depth_files.write_depth_png(
            folder / "depth.png", depth_map.depth, (photo.width, photo.height), unit=fit.unit, sky=photo_depth.sky
        ),
    }
    if settings.exr:
        comment = f"depth (z in the camera), unit {fit.unit}, by {photo_depth.model}; NaN: no surface or no answer"
        work["depth.exr"] = lambda: depth_files.write_exr(folder / "depth.exr", depth_map.depth, comment=comment)
    if settings.stl_width_mm is not None:
        work["relief.stl"] = lambda: _write_solid(folder / "relief.stl", surface, settings)
    waiting: list[Future[Any]] = [pool.submit(function) for function in work.values()]
    for future in waiting:
        future.result()
    if settings.video:
        _write_video(folder / "turntable.mp4", surface, [(mesh, np.ascontiguousarray(photo.pixels)), *parts[1:]])
        work["turntable.mp4"] = lambda: None
    return sorted(work)


def _extras(photo_depth: PhotoDepth, fit: ScaleFit) -> dict[str, Any]:
    return {
        "photo": photo_depth.name,
        "depth_by": photo_depth.model,
        "unit": fit.unit,
        "scale": fit.method,
    }


def _texture(photo: OnePhoto) -> Picture:
    """The photo's own bytes, or the photo packed anew."""
    from rilievo.io.relief_glb import MAX_TEXTURE, photo_picture

    own = photo_picture(photo.content, photo.width, photo.height, photo.orientation)
    if own is not None:
        return own
    return _packed(_whole_pixels(photo, MAX_TEXTURE), photo.name)


def _packed(pixels: np.ndarray, name: str) -> Picture:
    import cv2

    from rilievo.io.relief_glb import Picture

    done, packed = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not done:
        raise InputError(f"the texture of {name} could not be packed", "OpenCV gave no reason")
    return Picture(packed.tobytes(), "image/jpeg")


def _whole_pixels(photo: OnePhoto, max_size: int) -> np.ndarray:
    from rilievo.io.one_photo import decode_again
    from rilievo.io.pixels import shrink, shrunk_size

    width, height = shrunk_size(photo.width, photo.height, max_size)
    if photo.pixels.shape[1] >= width:
        return shrink(photo.pixels, width, height)
    return decode_again(photo, max_size)


def _write_video(path: Path, surface: Surface, parts: list[Part]) -> None:
    from rilievo.io.clip import write_clip
    from rilievo.stages.relief_orbit import OrbitConfig, orbit_cameras, orbit_frames

    config = OrbitConfig()
    camera, places = orbit_cameras(surface.depth_map.camera, surface.inverse[surface.known], config=config)
    frames = orbit_frames(parts, camera, places, config=config)
    write_clip(path, frames, camera.width, camera.height, config.frames_per_second)


def _write_solid(path: Path, surface: Surface, settings: PhotoSettings) -> None:
    from rilievo.io import stl
    from rilievo.stages.relief_solid import SolidConfig, open_edges, relief_solid, volume

    assert settings.stl_width_mm is not None
    config = SolidConfig(width_mm=settings.stl_width_mm, depth_mm=settings.stl_depth_mm)
    if not surface.known.any():
        raise InputError("no relief can be made", "the photo has no depth anywhere")
    body = relief_solid(surface, config=config)
    if open_edges(body) or not volume(body) > 0:
        raise InputError(
            "the relief is not a closed body", f"{open_edges(body)} edges are open", "try another --depth-size"
        )
    stl.write(path, body)


def _about_model(name: str, network: Network) -> dict[str, Any]:
    from rilievo import weights

    row = weights.WEIGHTS[name]
    return {
        "name": name,
        "what": row.what,
        "licence": row.licence,
        "engine": network.engine,
        "own_file": weights.is_own(name),
    }


def _pictures(photo: OnePhoto, surface: Surface, parts: list[Part]) -> list[tuple[str, np.ndarray]]:
    """For the page: the photo, its depth, its shape, and the surface from both sides."""
    from rilievo.geometry import look_at
    from rilievo.report_photo import depth_picture, normal_picture
    from rilievo.stages.relief_orbit import draw

    camera = surface.depth_map.camera
    factor = min(1.0, 560 / max(camera.width, camera.height))
    width, height = max(1, round(camera.width * factor)), max(1, round(camera.height * factor))
    eye = Camera.pinhole(width, height, np.diag([width / camera.width, height / camera.height, 1]) @ camera.K)
    pictures = [
        (f"photo {photo.name}", _at_size(parts[0][1], (height, width))),
        ("depth: bright is near, grey has none", depth_picture(surface.depth_map, max(width, height))),
        ("directions of the surface", normal_picture(surface.depth_map, max(width, height))),
    ]
    if surface.known.any():
        away = 1 / float(np.median(surface.inverse[surface.known]))
        for side, angle in (("left", -15), ("right", 15)):
            place = np.array([math.sin(math.radians(angle)), -math.cos(math.radians(angle)), 0.12]) * away
            centre = np.array([0, away, 0])
            view = draw(parts, eye, look_at(centre + place, centre), background=(120, 120, 120), supersample=1)
            pictures.append((f"the surface from {abs(angle)} degrees to the {side}; grey was not seen", view))
    return pictures
