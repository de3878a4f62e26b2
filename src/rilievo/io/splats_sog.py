"""Splats in SOG (PlayCanvas, "Spatially Ordered Gaussians", version 2): a zip of meta.json and lossless WebP images.

A pixel of each image is a Gaussian, row by row. means_l and means_u hold the low and high bytes of sign(x) log(1 + |x|)
between limits; quats the three smallest of the four and, as 252 + its number, the largest (counted w x y z by the
programs that write and read these files, x y z w by the text of the specification); scales (logarithms)
and sh0 (f_dc, with the opacity as alpha) numbers of a table of 256 values; shN_labels the row of a palette,
shN_centroids, whose coefficients are numbers of a third table. Gaussians are written along a Morton curve, which makes
the images smooth and so small. Axes are those of PLY files.

The tables are found with Lloyd's algorithm in one dimension (`codebooks.line`), the palette by splitting along the
directions of largest spread (`codebooks.palette`): the same bytes every time.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import InputError
from rilievo.gaussians import NUM_COEFFICIENTS
from rilievo.io.codebooks import line, morton_order, palette
from rilievo.io.files import read_bytes, replacing
from rilievo.io.splats import Raw, world_means
from rilievo.types import Splats

_PER_BYTE = 64  # more Gaussians a byte than any image of real ones holds: a bomb


def write(path: Path, splats: Splats) -> None:
    """Writes one zip file. Places keep 16 bits of their logarithm an axis, colours and sizes 8 bits."""
    means, origin = world_means(splats)
    order = morton_order(means)
    count = len(order)
    width = max(4, -(-int(np.ceil(np.sqrt(count))) // 4) * 4)
    height = max(4, (count + 4 * width - 1) // (4 * width) * 4)

    def image(columns: np.ndarray) -> bytes:
        pixels = np.zeros((height * width, 4), np.uint8)
        pixels[:, 3] = 255
        pixels[:count, : columns.shape[1]] = columns
        return _webp(pixels.reshape(height, width, 4))

    places = means[order].astype(np.float64)
    places = np.sign(places) * np.log1p(np.abs(places))
    low, high = places.min(0), places.max(0)
    codes = np.round(65535 * (places - low) / np.where(high > low, high - low, 1)).astype(np.int64)
    scale_table, scale_codes = line(np.log(splats.scales[order].astype(np.float64)))
    color_table, color_codes = line(splats.sh[order, 0])
    alpha = np.round(255 * splats.opacities[order].astype(np.float64)).astype(np.uint8)
    files = {
        "means_l.webp": image(codes & 255),
        "means_u.webp": image(codes >> 8),
        "scales.webp": image(scale_codes),
        "quats.webp": image(_smallest_three(splats.quats[order])),
        "sh0.webp": image(np.column_stack([color_codes, alpha])),
    }
    meta: dict[str, Any] = {
        "version": 2,
        "asset": {"generator": "rilievo"},
        "count": count,
        "antialias": splats.antialiased,
        **({"model": "antialiased"} if splats.antialiased else {}),
        "background": list(splats.background),
        "means": {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]},
        "scales": {"codebook": scale_table.tolist(), "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {"codebook": color_table.tolist(), "files": ["sh0.webp"]},
    }
    if origin.any():
        meta["origin"] = origin.tolist()
    if splats.degree:
        per = splats.sh.shape[1] - 1
        rest = splats.sh[order, 1:].reshape(count, 3 * per)
        centers, labels = palette(
            rest, min(64, 2 ** max(int(np.log2(count / 1024)), 0)) * 1024 if count > 1024 else count
        )
        table, codes = line(centers)
        rows = -(-len(centers) // 64)
        pixels = np.zeros((rows * 64, per, 4), np.uint8)
        pixels[..., 3] = 255
        pixels[: len(centers), :, :3] = codes.reshape(-1, per, 3)
        files["shN_centroids.webp"] = _webp(pixels.reshape(rows, 64 * per, 4))
        files["shN_labels.webp"] = image(np.column_stack([labels & 255, labels >> 8, 0 * labels]))
        meta["shN"] = {"count": len(centers), "bands": splats.degree, "codebook": table.tolist()}
        meta["shN"]["files"] = ["shN_centroids.webp", "shN_labels.webp"]
    with replacing(path) as f, zipfile.ZipFile(f, "w", zipfile.ZIP_STORED) as archive:
        for name, raw in {**files, "meta.json": json.dumps(meta).encode()}.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), raw)


def _webp(pixels: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(out, "WEBP", lossless=True, exact=True, quality=75, method=4)
    return out.getvalue()


def _smallest_three(quats: np.ndarray) -> np.ndarray:
    """Unit quaternions w x y z -> uint8 (n, 4): the three without the largest, and which that is."""
    q = quats.astype(np.float64)
    largest = np.argmax(np.abs(q), 1)
    q *= np.where(np.take_along_axis(q, largest[:, None], 1) < 0, -1.0, 1.0)
    others = np.argsort(np.arange(4) == largest[:, None], axis=1, kind="stable")[:, :3]
    three = np.clip(np.round(255 * (np.take_along_axis(q, others, 1) * np.sqrt(0.5) + 0.5)), 0, 255)
    return np.column_stack([three, 252 + largest]).astype(np.uint8)


def read(path: Path, data: bytes) -> Raw:
    """Reads a bundle, or a `meta.json` with its images beside it."""
    try:
        if path.name == "meta.json":
            return _decode(path, json.loads(data), lambda name: read_bytes(path.parent / Path(name).name), None)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _decode(path, json.loads(_member(archive, "meta.json")), lambda n: _member(archive, n), len(data))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError) as e:
        raise InputError(f"cannot read {path.name}", f"the SOG file is damaged or cut short ({e})") from e
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError) as e:
        raise InputError(f"cannot read {path.name}", f"the SOG file is damaged ({e!r})") from e


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    found = archive.getinfo(name)
    if found.file_size > 64 * found.compress_size + 65536:  # images are packed already: no zip makes them smaller
        raise ValueError(f"{name} promises {found.file_size} bytes")
    return archive.read(found)


def _decode(path: Path, meta: dict[str, Any], member: Callable[[str], bytes], size: int | None) -> Raw:
    if meta.get("version") != 2:
        raise InputError(f"cannot read {path.name}", f"it is SOG version {meta.get('version', 1)}; version 2 is read")
    count = int(meta["count"])
    if count < 1:
        raise InputError(f"cannot read {path.name}", "it holds no Gaussians")
    if size is not None and count > _PER_BYTE * size:
        raise InputError(f"cannot read {path.name}", f"{count} Gaussians in {size} bytes: the file is damaged")

    def pixels(name: str) -> np.ndarray:
        return _pixels(path, name, member(name), 2 * count + 65536).reshape(-1, 4)[:count]

    means = meta["means"]
    lower, upper = (pixels(n)[:, :3].astype(np.int64) for n in means["files"])
    low, high = np.asarray(means["mins"], np.float64), np.asarray(means["maxs"], np.float64)
    places = low + (high - low) * ((upper << 8 | lower) / 65535.0)
    places = np.sign(places) * np.expm1(np.abs(places))
    scales = np.exp(_table(meta["scales"])[pixels(meta["scales"]["files"][0])[:, :3]])
    color = pixels(meta["sh0"]["files"][0])
    bands = int(meta["shN"]["bands"]) if meta.get("shN") else 0
    if not 0 <= bands <= 3:
        raise InputError(f"cannot read {path.name}", f"it has harmonics of degree {bands}; 0 to 3 are read")
    sh = np.empty((count, NUM_COEFFICIENTS[bands], 3), np.float32)
    sh[:, 0] = _table(meta["sh0"])[color[:, :3]]
    if bands:
        sh[:, 1:] = _harmonics(path, meta["shN"], NUM_COEFFICIENTS[bands] - 1, pixels, member)
    antialiased = bool(meta.get("antialias")) or meta.get("model") == "antialiased"
    background = tuple(float(c) for c in meta.get("background", (1, 1, 1)))
    origin = np.asarray(meta["origin"], np.float64) if "origin" in meta else None
    if len(background) != 3 or (origin is not None and (origin.shape != (3,) or not np.isfinite(origin).all())):
        raise ValueError("origin or background")
    quats = _quats(pixels(meta["quats"]["files"][0]))
    return Raw(places.astype(np.float32), quats, scales, color[:, 3] / 255.0, sh, antialiased, background, origin)


def _table(entry: dict[str, Any]) -> np.ndarray:
    if "codebook" not in entry:
        raise ValueError("no codebook")
    table = np.asarray([np.nan if v is None else v for v in entry["codebook"]], np.float64)
    out = np.full(256, np.nan)
    out[: len(table)] = table[:256]
    return out


def _harmonics(
    path: Path, entry: dict[str, Any], per: int, pixels: Callable[[str], np.ndarray], member: Callable[[str], bytes]
) -> np.ndarray:
    """float (n, per, 3)."""
    centroids, labels = entry["files"]
    num = int(entry["count"])
    if not 1 <= num <= 65536:
        raise ValueError(f"a palette of {num}")
    image = _pixels(path, centroids, member(centroids), 65536 * per)
    if image.shape[1] != 64 * per or image.shape[0] * 64 < num:
        raise ValueError(f"a palette of {image.shape[1]} x {image.shape[0]} pixels")
    rows = _table(entry)[image.reshape(-1, per, 4)[:num, :, :3]]
    label = pixels(labels).astype(np.int64)
    label = label[:, 0] + 256 * label[:, 1]
    if label.max(initial=0) >= num:
        raise ValueError("a label without a row")
    return rows[label]


def _pixels(path: Path, name: str, raw: bytes, most: int) -> np.ndarray:
    """uint8 (h, w, 4) of one image; its size is looked at before it is unpacked."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(raw)) as picture:
            if picture.width * picture.height > most:
                raise ValueError(f"{name} is {picture.width} x {picture.height} pixels")
            return np.array(picture.convert("RGBA"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as e:
        raise InputError(f"cannot read {path.name}", f"its image {name} cannot be decoded ({e})") from e


def _quats(pixels: np.ndarray) -> np.ndarray:
    """float64 (n, 4) w x y z."""
    largest = pixels[:, 3].astype(np.int64) - 252
    if largest.min() < 0:
        raise ValueError("a quaternion of an unknown mode")
    three = (pixels[:, :3] / 255.0 - 0.5) * np.sqrt(2)
    q = np.zeros((len(pixels), 4))
    others = np.argsort(np.arange(4) == largest[:, None], axis=1, kind="stable")[:, :3]
    np.put_along_axis(q, others, three, 1)
    rest = np.sqrt(np.maximum(1 - (three**2).sum(1), 0))
    np.put_along_axis(q, largest[:, None], rest[:, None], 1)
    return q
