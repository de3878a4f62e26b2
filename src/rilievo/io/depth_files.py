"""Depth of one photo as files: `depth.npz` (everything, exactly), `depth.png` (16 bit, bright is near), OpenEXR.

depth.npz holds the arrays `disparity sigma confidence sky K size` (the PhotoDepth), with a DepthMap also `depth normals
depth_sigma depth_confidence cam_from_world`, and `about`, a JSON text with the rest: name, model, scale, focal_source,
focal_sigma and `fit` (the ScaleFit).
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import InputError
from rilievo.io.files import read_bytes, replacing
from rilievo.types import Camera, DepthMap, PhotoDepth, ScaleFit

FORMAT = 1
_SCALES = ("relative", "similar", "metric")


def write_photo_depth(
    path: Path, photo_depth: PhotoDepth, fit: ScaleFit | None = None, depth_map: DepthMap | None = None
) -> None:
    """Writes depth.npz: what `read_photo_depth` gives back is equal to the last bit. Same values, same bytes.

    Raises ResourceError when the disk is full or may not be written.
    """
    about: dict[str, Any] = {
        "format": FORMAT,
        "name": photo_depth.name,
        "model": photo_depth.model,
        "scale": photo_depth.scale,
        "focal_source": photo_depth.focal_source,
        "focal_sigma": float(photo_depth.focal_sigma),
        "fit": None if fit is None else fit_as_dict(fit),
        "unit": "unknown" if fit is None else fit.unit,
        "meaning": "1 / depth = fit.a * disparity + fit.b; depth is z in the camera (x right, y down, z forward)",
    }
    arrays: dict[str, np.ndarray] = {
        "disparity": photo_depth.disparity,
        "sigma": photo_depth.sigma,
        "confidence": photo_depth.confidence,
        "sky": photo_depth.sky,
        "K": photo_depth.camera.K,
        "size": np.array([photo_depth.camera.width, photo_depth.camera.height], np.int64),
    }
    if depth_map is not None:
        arrays |= {
            "depth": depth_map.depth,
            "normals": depth_map.normals,
            "depth_sigma": depth_map.sigma,
            "depth_confidence": depth_map.confidence,
            "cam_from_world": depth_map.cam_from_world,
        }
        if depth_map.inferred is not None:
            arrays["inferred"] = depth_map.inferred
    arrays["about"] = np.array(json.dumps(about, ensure_ascii=False))
    with replacing(path) as f:
        np.savez(f, **arrays)  # type: ignore[arg-type]


def read_photo_depth(path: Path) -> tuple[PhotoDepth, ScaleFit | None, DepthMap | None]:
    """What `write_photo_depth` wrote. The DepthMap is None where the file has none.

    Raises InputError when there is no such file, or it is damaged or another kind of file.
    """
    path = Path(path)
    arrays = _load(path)
    try:
        about = json.loads(str(arrays["about"]))
        if about["format"] != FORMAT:
            raise InputError(
                f"cannot read {path.name}",
                f"its format is number {about['format']}, this version of rilievo reads number {FORMAT}",
                "make it again with `rilievo depth`",
            )
        width, height = (int(n) for n in arrays["size"])
        shape = (height, width)
        if any(arrays[k].shape != shape for k in ("disparity", "sigma", "confidence", "sky")):
            raise ValueError(f"its arrays are not all {width} x {height}")
        if about["scale"] not in _SCALES:
            raise ValueError(f"scale {about['scale']!r}")
        camera = Camera.pinhole(width, height, arrays["K"])
        photo_depth = PhotoDepth(
            name=str(about["name"]),
            model=str(about["model"]),
            scale=str(about["scale"]),
            camera=camera,
            focal_source=str(about["focal_source"]),
            focal_sigma=float(about["focal_sigma"]),
            disparity=arrays["disparity"],
            sigma=arrays["sigma"],
            confidence=arrays["confidence"],
            sky=arrays["sky"],
        )
        fit = None if about["fit"] is None else fit_from_dict(about["fit"])
        depth_map = None
        if "depth" in arrays:
            depth_map = DepthMap(
                name=photo_depth.name,
                camera=camera,
                cam_from_world=arrays["cam_from_world"],
                depth=arrays["depth"],
                normals=arrays["normals"],
                confidence=arrays["depth_confidence"],
                sigma=arrays["depth_sigma"],
                inferred=arrays.get("inferred"),
            )
            if depth_map.depth.shape != shape:
                raise ValueError(f"its depth is not {width} x {height}")
    except (KeyError, ValueError, TypeError, IndexError) as e:
        why = f"it has no {e.args[0]!r}" if isinstance(e, KeyError) and e.args else str(e)
        raise InputError(
            f"cannot read {path.name}", f"it is not a depth.npz of `rilievo depth`, or damaged: {why}"
        ) from e
    return photo_depth, fit, depth_map


def _load(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        read_bytes(path)  # says what is wrong
    try:
        with path.open("rb") as f, np.load(f, allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in file.files}
    except (zipfile.BadZipFile, ValueError, TypeError, AttributeError, EOFError, OSError, zlib.error) as e:
        raise InputError(
            f"cannot read {path.name}", f"it is not a depth.npz of `rilievo depth`, or damaged ({e})"
        ) from e


def fit_as_dict(fit: ScaleFit) -> dict[str, Any]:
    """A ScaleFit as plain JSON values, exact."""
    values = {f.name: getattr(fit, f.name) for f in fields(fit)}
    return {
        k: v.tolist() if isinstance(v, np.ndarray) else v.item() if isinstance(v, np.generic) else v
        for k, v in values.items()
    }


def fit_from_dict(values: dict[str, Any]) -> ScaleFit:
    """`fit_as_dict` the other way. Raises KeyError, TypeError or ValueError where something is missing."""
    known = {f.name for f in fields(ScaleFit)}
    kept = {k: v for k, v in values.items() if k in known}
    shapes = {"covariance": (2, 2), "anchors": (-1, 4), "focal_gain": (2,)}
    arrays = {k: np.array(values[k], np.float64).reshape(shape) for k, shape in shapes.items() if k in values}
    return ScaleFit(**{**kept, **arrays})


# ------------------------------------------------------------------------------------------------------------ PNG

_BAND_ROWS = 256


def write_depth_png(
    path: Path,
    depth: np.ndarray,
    size: tuple[int, int],
    *,
    unit: str = "unknown",
    sky: np.ndarray | None = None,
    num_threads: int = 1,
) -> tuple[float, float]:
    """The usual picture of depth: 16-bit grey PNG of the photo's size (width, height), bright is near. Returns (slope,
    offset): 1 / depth = slope * value + offset for values from 1.

    depth: float32 (h, w), NaN where unknown, inf or `sky` where there is no surface: both have value 0. A text chunk
    says so. Between samples the inverse depth is interpolated, never between a known and an unknown one. The bytes are
    the same for any number of threads.
    """
    import cv2

    known = np.isfinite(depth) & (depth > 0)
    if sky is not None:
        known &= ~sky
    inverse = np.zeros(depth.shape, np.float32)
    np.divide(1, depth, out=inverse, where=known)
    low, high = (float(inverse[known].min()), float(inverse[known].max())) if known.any() else (0.0, 1.0)
    slope = (high - low) / 65534 if high > low else (high or 1.0) / 65534
    offset = low - slope
    values = np.where(known, np.round((inverse - low) / slope) + 1, 0)
    values = np.clip(values, 0, 65535).astype(np.uint16)
    seen = known.astype(np.uint8)
    if not known.all() and known.any():
        values = _grow(values, seen)
    width, height = size
    full = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
    if not known.all():
        full[cv2.resize(seen, (width, height), interpolation=cv2.INTER_NEAREST) == 0] = 0
    where = "in the camera's viewing direction"
    length = f"in {unit}" if unit != "unknown" else "in units that were not measured (relative)"
    comment = (
        f"16-bit depth, bright is near. value 0: no surface or no answer. value 1 to 65535: 1/depth = {slope:.9g} * "
        f"value + {offset:.9g}, depth {where}, {length}."
    )
    texts = {
        "Software": "rilievo",
        "Comment": comment,
        "inverse_depth_slope": f"{slope:.17g}",
        "inverse_depth_offset": f"{offset:.17g}",
        "unit": unit,
    }
    _write_png16(path, full, texts, num_threads)
    return slope, offset


def _grow(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Unknown pixels take the value of the nearest known one, so that interpolation at the border stays clean."""
    import cv2

    _, labels = cv2.distanceTransformWithLabels(1 - seen, cv2.DIST_L1, 3, labelType=cv2.DIST_LABEL_PIXEL)
    label = np.asarray(labels, np.int32)
    table = np.zeros(int(label.max()) + 1, np.uint16)
    at = seen > 0
    table[label[at]] = values[at]
    return table[label]


def _write_png16(path: Path, values: np.ndarray, texts: dict[str, str], num_threads: int) -> None:
    """PNG (ISO/IEC 15948), 16-bit grey, rows as differences to the row above; bands are packed side by side, each
    ending on a byte (a full flush of deflate), so that they can be joined."""
    height, width = values.shape

    def filtered(top: int) -> bytes:
        raw = values[max(top - 1, 0) : top + _BAND_ROWS].astype(">u2").view(np.uint8)
        first = np.zeros((1, raw.shape[1]), np.uint8) if top == 0 else raw[:1]
        rows = raw if top == 0 else raw[1:]
        out = np.empty((len(rows), raw.shape[1] + 1), np.uint8)
        out[:, 0] = 2  # the filter "Up"
        out[0, 1:] = rows[0] - first[0]
        np.subtract(rows[1:], rows[:-1], out=out[1:, 1:])
        return out.tobytes()

    def packed(top: int) -> tuple[bytes, bytes]:
        raw = filtered(top)
        deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
        last = top + _BAND_ROWS >= height
        return deflate.compress(raw) + deflate.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH), raw

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    with replacing(path) as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)))
        for key, text in texts.items():
            f.write(chunk(b"tEXt", key.encode("latin-1") + b"\0" + text.encode("latin-1", "replace")))
        adler = 1
        f.write(chunk(b"IDAT", b"\x78\x01"))
        for piece, raw in _in_order(packed, range(0, height, _BAND_ROWS), num_threads):
            adler = zlib.adler32(raw, adler)
            f.write(chunk(b"IDAT", piece))
        f.write(chunk(b"IDAT", struct.pack(">I", adler)) + chunk(b"IEND", b""))


def _in_order(work: Callable[[int], Any], items: Iterable[int], num_threads: int) -> Iterator[Any]:
    """Results in the order of the items; only a few are held at a time."""
    if num_threads <= 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(num_threads) as pool:
        waiting = []
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * num_threads:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


# ------------------------------------------------------------------------------------------------------------ EXR


def write_exr(path: Path, depth: np.ndarray, *, comment: str = "") -> None:
    """One float32 channel `Z` as OpenEXR 2.0 scan lines, ZIP packed. NaN and inf are kept.

    After "Technical Introduction to OpenEXR" (file layout) and "OpenEXR File Layout" (headers, ZIP: bytes of a block
    are parted into even and odd ones, replaced by differences + 128, then deflated; 16 lines a block).
    """
    height, width = depth.shape
    values = np.ascontiguousarray(depth, "<f4")

    def attribute(name: str, kind: str, content: bytes) -> bytes:
        return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(content)) + content

    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    header = b"".join(
        [
            struct.pack("<II", 20000630, 2),
            attribute("channels", "chlist", b"Z\0" + struct.pack("<iBxxxii", 2, 0, 1, 1) + b"\0"),
            attribute("comments", "string", comment.encode()),
            attribute("compression", "compression", b"\3"),
            attribute("dataWindow", "box2i", window),
            attribute("displayWindow", "box2i", window),
            attribute("lineOrder", "lineOrder", b"\0"),
            attribute("pixelAspectRatio", "float", struct.pack("<f", 1)),
            attribute("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
            attribute("screenWindowWidth", "float", struct.pack("<f", 1)),
            b"\0",
        ]
    )
    blocks = []
    for top in range(0, height, 16):
        raw = values[top : top + 16].view(np.uint8).ravel()
        parted = np.concatenate([raw[0::2], raw[1::2]])
        steps = parted.copy()
        steps[1:] = parted[1:] - parted[:-1] + np.uint8(128)
        packed = zlib.compress(steps.tobytes(), 4)
        content = packed if len(packed) < raw.size else raw.tobytes()
        blocks.append(struct.pack("<ii", top, len(content)) + content)
    offsets, at = [], len(header) + 8 * len(blocks)
    for block in blocks:
        offsets.append(at)
        at += len(block)
    with replacing(path) as f:
        f.write(header + struct.pack(f"<{len(offsets)}Q", *offsets))
        for block in blocks:
            f.write(block)


def read_exr(path: Path) -> np.ndarray:
    """The float32 (h, w) of a file of `write_exr`. Raises InputError for others."""
    raw = read_bytes(path)
    try:
        if struct.unpack_from("<II", raw) != (20000630, 2):
            raise ValueError("not a single-part scan line OpenEXR file")
        at, found = 8, {}
        while raw[at]:
            name, kind = raw[at : raw.index(b"\0", at)], b""
            at += len(name) + 1
            kind = raw[at : raw.index(b"\0", at)]
            at += len(kind) + 1
            (size,) = struct.unpack_from("<i", raw, at)
            found[name] = raw[at + 4 : at + 4 + size]
            at += 4 + size
        left, top, right, bottom = struct.unpack("<4i", found[b"dataWindow"])
        width, height = right - left + 1, bottom - top + 1
        if found[b"channels"][:6] != b"Z\0\2\0\0\0" or found[b"compression"] != b"\3" or min(width, height) < 1:
            raise ValueError("not one ZIP packed float channel Z")
        out = np.empty((height, width), "<f4")
        at += 1
        for offset in struct.unpack_from(f"<{-(-height // 16)}Q", raw, at):
            line, size = struct.unpack_from("<ii", raw, offset)
            rows = out[line - top : line - top + 16]
            content = raw[offset + 8 : offset + 8 + size]
            if size < rows.nbytes:
                steps = np.frombuffer(zlib.decompress(content), np.uint8).copy()
                steps[1:] -= np.uint8(128)
                parted = np.add.accumulate(steps, dtype=np.uint8)
                flat = np.empty(parted.size, np.uint8)
                half = -(-parted.size // 2)
                flat[0::2], flat[1::2] = parted[:half], parted[half:]
                content = flat.tobytes()
            rows[:] = np.frombuffer(content, "<f4").reshape(rows.shape)
    except (ValueError, IndexError, KeyError, struct.error, zlib.error) as e:
        raise InputError(f"cannot read {path.name}", f"it is no depth in OpenEXR as rilievo writes it ({e})") from e
    return out.astype(np.float32)
