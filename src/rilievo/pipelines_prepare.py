"""Photos prepared for people, textures and, where the proof says so, for geometry: each step told, originals kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from rilievo import interrupt, kernels
from rilievo.errors import InputError, MissingError, ResourceError
from rilievo.io.photo_copies import MAX_JPEG_SIDE, Original, encode_copy, encode_mask, jpeg_tables, read_original
from rilievo.io.photo_notes import adapted
from rilievo.io.photos import Photo, Rejected, Source, find_photos, read_camera_file, select_photos, try_read_photo
from rilievo.mappers import map_threads
from rilievo.plan import Run
from rilievo.preparing.colors import SetColors, match_set
from rilievo.preparing.cutout import Cutter, open_cutter
from rilievo.preparing.enlarge import Enlarger, open_enlarger
from rilievo.preparing.settings import (
    MANIFEST,
    PHOTOS,
    RECORDS,
    VERSION,
    Folder,
    PrepareSettings,
    check_settings,
    recipe_of,
    write_json,
)
from rilievo.stages.matte import own_colors
from rilievo.stages.tiles import narrowed, widened
from rilievo.stages.upscale_network import SECONDS_PER_MPX

_COPIED = ("jpeg", "png", "tiff", "webp", "bmp", "heic")
_LOSSY = ("jpeg", "heic", "video")


def prepare_photos(
    paths: Iterable[Path | str],
    out: Path | str,
    *,
    settings: PrepareSettings = PrepareSettings(),
    run: Run = Run(),
    camera: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Photos, folders or videos to copies in OUT/photos with a manifest (also written to OUT/prepared.json).

    Photos that are in OUT already, made from the same file by the same settings, are kept. camera: file of known
    intrinsics; OUT/camera.txt then holds them for the new size. A photo that cannot be used is a result (`rejected`).

    Raises InputError when nothing can be used or a setting makes no sense, MissingError without weights that were
    asked for, ResourceError when memory or disk is short.
    """
    check_settings(settings)
    kernels.set_num_threads(run.num_threads)
    threads = kernels.native().num_threads()
    root = Path(out)
    sources = _sources(paths, root)
    folder = Folder(root, sources)
    photos, rejected = _read(sources, threads, run)
    enlarger = open_enlarger(settings, photos, threads, run)
    if enlarger.network is not None:
        seconds = sum(p.width * p.height for _, p in photos) * 1e-6 * SECONDS_PER_MPX[enlarger.network.name] / threads
        say(f"{enlarger.network.name}: about {max(1, round(seconds / 60))} min on {threads} threads")
    cutter = open_cutter(settings, threads)
    colors = match_set(photos, threads, run) if settings.white_balance else SetColors({}, np.ones(3), "")
    records: list[dict[str, Any]] = []
    reused = 0
    for number, (source, photo) in enumerate(photos):
        run.progress("photos prepared", number, len(photos), reused)
        try:
            parts = [
                photo.content_id,
                asdict_plain(colors.of(source.name)),
                enlarger.inputs(source.name),
                cutter.inputs,
            ]
            recipe = recipe_of(settings, parts)
            record = folder.record(source, recipe)
            if record:
                reused += 1
                folder.claim(source, record)
            else:
                record = _prepare(source, photo, folder, settings, run, threads, colors, enlarger, cutter, recipe)
            records.append(record)
        except (InputError, MissingError) as error:
            if isinstance(error, MissingError) or "in the way" in error.what:
                raise
            rejected.append(Rejected(source.name, error.why or error.what))
    run.progress("photos prepared", len(photos), len(photos), reused)
    if not records:
        raise InputError("none of the photos could be prepared", f"{rejected[0].name}: {rejected[0].reason}")
    manifest = {
        "made_by": f"rilievo prepare, method {VERSION}",
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(settings).items()},
        "colors": colors.figures(),
        "camera": _scaled_camera(camera, photos, records, root),
        "photos": [{k: v for k, v in r.items() if k != "recipe"} for r in records],
        "rejected": [asdict(r) for r in rejected],
    }
    write_json(root / MANIFEST, manifest)
    return manifest


def asdict_plain(value: Any) -> Any:
    """Arrays as lists, for hashing and JSON."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def _sources(paths: Iterable[Path | str], root: Path) -> list[Source]:
    """The photos given, without those of an earlier run that lie among them, videos replaced by chosen frames."""
    from rilievo.io.video import choose_frames

    inside, earlier = root.resolve(), (root / RECORDS).is_dir()
    found = [s for s in find_photos(paths) if not (earlier and inside in s.path.resolve().parents)]
    if not found:
        raise InputError(
            f"no photos but those in {root}", "they are what an earlier run prepared", "name the originals"
        )
    out: list[Source] = []
    for source in found:
        interrupt.check()
        out += choose_frames(source) if source.is_video else [source]
    return out


def _read(sources: list[Source], threads: int, run: Run) -> tuple[list[tuple[Source, Photo]], list[Rejected]]:
    results = []
    for result in map_threads(try_read_photo, sources, threads):
        results.append(result)
        run.progress("photos read", len(results), len(sources))
    chosen = select_photos(sources, results)
    return list(chosen.photos), list(chosen.rejected)


def check_memory(photo: Photo, scale: float, run: Run) -> None:
    """Raises ResourceError, with figures, when a photo at its new size would not fit."""
    pixels = photo.width * photo.height
    # 16-bit copies before and after a step, bytes for the file, floats of the tiles.
    need = (pixels * 18 + pixels * scale**2 * 15) / 2**20 + 300
    if need > run.memory_mb:
        w, h = round(photo.width * scale), round(photo.height * scale)
        raise ResourceError(
            f"{photo.name} at {w} x {h} pixels needs about {need / 1024:.1f} GiB of memory",
            f"{run.memory_mb / 1024:.1f} GiB may be used",
            f"--upscale {max(1.0, scale / 2**0.5):.2g} halves it; --memory sets the limit",
        )


def _prepare(
    source: Source,
    photo: Photo,
    folder: Folder,
    settings: PrepareSettings,
    run: Run,
    threads: int,
    colors: SetColors,
    enlarger: Enlarger,
    cutter: Cutter,
    recipe: str,
) -> dict[str, Any]:
    """One photo through all steps into its files; its record."""
    from rilievo.preparing import steps

    check_memory(photo, settings.upscale, run)
    original = read_original(source)
    work = steps.Work(widened(original.pixels), original.alpha, photo, jpeg_tables(original.data), threads)
    for wanted, step in (
        (settings.restore, lambda: steps.restore(work, enlarger.learned_repair)),
        (settings.denoise, lambda: steps.denoise(work)),
        (settings.white_balance, lambda: steps.level_colors(work, colors)),
        (settings.deblur, lambda: steps.deblur(work)),
        (settings.upscale > 1, lambda: enlarger.enlarge(work, source)),
        (settings.sharpen, lambda: steps.sharpen(work, settings.upscale)),
        (bool(settings.background), lambda: cutter.cut(work, source)),
    ):
        if wanted:
            interrupt.check()
            step()
    return _finish(source, original, work, folder, settings, recipe)


def _finish(
    source: Source, original: Original, work: Any, folder: Folder, settings: PrepareSettings, recipe: str
) -> dict[str, Any]:
    h, w = work.pixels.shape[:2]
    scale = w / original.pixels.shape[1]
    alpha, mask = work.alpha, work.mask
    if mask is not None and settings.cutout == "alpha":
        top = np.iinfo(original.pixels.dtype).max
        cut = (mask.astype(np.uint32) * top // 255).astype(original.pixels.dtype)
        alpha, mask = cut if alpha is None else np.minimum(alpha, cut), None
        work.pixels = own_colors(work.pixels, alpha)
    lost: list[str] = []
    untouched = not any(s.done for s in work.steps) and original.format in _COPIED
    if untouched:
        suffix, data = source.path.suffix.lower(), original.data
        height, width, bits = *original.pixels.shape[:2], original.bits
    else:
        jpeg = original.format in _LOSSY and original.bits == 8 and alpha is None and max(h, w) <= MAX_JPEG_SIDE
        suffix = ".jpg" if jpeg else ".png"
        pixels = work.pixels if original.bits == 16 else narrowed(work.pixels)
        notes, lost = adapted(original.notes, width=w, height=h, scale=scale)
        data, more = encode_copy(pixels, alpha, notes, "jpeg" if jpeg else "png", quality=settings.jpeg_quality)
        lost, height, width, bits = lost + more, h, w, original.bits
    targets = folder.targets(source, suffix)
    files = {targets.photo: data}
    if mask is not None:
        files[targets.mask] = encode_mask(mask)
    if work.invented is not None:
        files[targets.invented] = encode_mask(work.invented)
    focal = original.focal_px
    record = {
        "name": source.name,
        "file": targets.photo,
        "mask": targets.mask if mask is not None else None,
        "invented": work.invented_note and {
            **work.invented_note, "mask": targets.invented if work.invented is not None else None
        },
        "source": _described(original.pixels, original.bits, original.format, _source_id(original), focal),
        "result": {
            "width": width,
            "height": height,
            "bits": bits,
            "sha256": hashlib.sha256(data).hexdigest(),
            "focal_px": None if focal is None else round(focal * scale, 3),
        },
        "scale": scale,
        "copied": untouched,
        "steps": [asdict(s) for s in work.steps],
        "not_kept": lost,
        "recipe": recipe,
    }  # fmt: skip
    return folder.write(source, files, record, targets)


def _source_id(original: Original) -> str:
    return hashlib.sha256(original.data or original.pixels.tobytes()).hexdigest()


def _described(pixels: np.ndarray, bits: int, format: str, sha256: str, focal: float | None) -> dict[str, Any]:
    h, w = pixels.shape[:2]
    focal = None if focal is None else round(focal, 3)
    return {"width": w, "height": h, "bits": bits, "format": format, "sha256": sha256, "focal_px": focal}


def _scaled_camera(
    camera: Path | None, photos: list[tuple[Source, Photo]], records: list[dict[str, Any]], root: Path
) -> str | None:
    """Writes the intrinsics given for the new size, as `rilievo build --camera` reads them; the file's name."""
    if camera is None:
        return None
    first = photos[0][1]
    known = read_camera_file(camera, size=(first.width, first.height))
    result = records[0]["result"]
    scaled = scale_camera(known, result["width"] / known.width, result["width"], result["height"])
    numbers = " ".join(f"{v:.12g}" for v in scaled.params)
    with_note = f"# for the photos in {PHOTOS}\n{scaled.model} {scaled.width} {scaled.height} {numbers}\n"
    from rilievo.io.files import replacing

    with replacing(root / "camera.txt") as f:
        f.write(with_note.encode())
    return "camera.txt"


def scale_camera(camera: Any, scale: float, width: int, height: int) -> Any:
    """Intrinsics of a photo that was enlarged: lengths in pixels grow, distortion stays (CONVENTIONS: pixel edges at
    whole numbers, so the principal point grows with the rest)."""
    from rilievo.types import CAMERA_PARAMS

    names = CAMERA_PARAMS[camera.model]
    factors = np.array([scale if n in ("f", "fx", "fy", "cx", "cy") else 1.0 for n in names])
    return replace(camera, width=width, height=height, params=camera.params * factors)
