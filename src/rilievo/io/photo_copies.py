"""Photos in full depth, and their copies: 8 or 16 bits, transparency and notes kept; JPEG or PNG out."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from rilievo.errors import ResourceError
from rilievo.io.exif import focal_px
from rilievo.io.photo_notes import MAX_JPEG_BLOCK, Notes, read_file_notes
from rilievo.io.photos import Source, decode_whole, open_whole

Format = Literal["jpeg", "png"]
MAX_JPEG_SIDE = 65_500


@dataclass(frozen=True)
class Original:
    """A photo as its file holds it, upright.

    data: the file's bytes (empty for a frame of a video).  format: as `io.pixels.sniff`, or "video".
    pixels: uint8 or uint16 (h, w, 3), not multiplied by its alpha.  alpha: same depth (h, w), None where opaque.
    turned: whether the stored pixels were turned to make it upright.  focal_px: by its notes, None without.
    """

    data: bytes
    format: str
    pixels: np.ndarray
    alpha: np.ndarray | None
    notes: Notes
    turned: bool
    focal_px: float | None = None

    @property
    def bits(self) -> int:
        """8 or 16."""
        return 8 * self.pixels.dtype.itemsize


def read_original(source: Source) -> Original:
    """Decodes one photo (a raw file to 16 bits). Raises InputError, ResourceError or MissingError."""
    if source.pts is not None:
        from rilievo.io.video import load_frame

        return Original(b"", "video", load_frame(source), None, Notes(), False)
    data, opened = open_whole(source)
    if opened.format == "raw":
        pixels = _developed(data)
    else:
        pixels = decode_whole(opened, source.name)
    alpha = None
    if pixels.shape[2] in (2, 4):
        alpha = np.ascontiguousarray(pixels[..., -1])
        if alpha.min() == np.iinfo(alpha.dtype).max:
            alpha = None
        pixels = pixels[..., :-1]
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    notes = read_file_notes(data, opened.format)
    return Original(
        data,
        opened.format,
        np.ascontiguousarray(pixels),
        alpha,
        notes,
        opened.notes.orientation != 1,
        focal_px(opened.notes, pixels.shape[1], pixels.shape[0]),
    )


def _developed(data: bytes) -> np.ndarray:
    import rawpy

    with rawpy.imread(io.BytesIO(data)) as raw:
        # As for every photo here: the camera's white balance, no brightening photo by photo; 16 bits, sRGB curve.
        return raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16, gamma=(2.4, 12.92))


def encode_copy(
    pixels: np.ndarray, alpha: np.ndarray | None, notes: Notes, format: Format, *, quality: int
) -> tuple[bytes, list[str]]:
    """The bytes of a photo file and what could not be passed on, in words.

    pixels: uint8 or uint16 (h, w, 3).  alpha: the same depth (h, w), for PNG only.  JPEG keeps 8 bits and colour at
    full resolution. Raises ValueError for what a JPEG cannot hold, ResourceError when the encoder gives up.
    """
    if format == "png":
        return _png(pixels, alpha, notes), []
    if alpha is not None or pixels.dtype != np.uint8 or max(pixels.shape[:2]) > MAX_JPEG_SIDE:
        raise ValueError("a JPEG has 8 bits, no transparency and at most 65500 pixels a side")
    from PIL import Image

    options: dict[str, bytes] = {}
    lost = []
    for key, value, name in (("exif", notes.exif, "EXIF"), ("xmp", notes.xmp, "XMP")):
        if len(value) > MAX_JPEG_BLOCK:
            lost.append(f"{name}: its {len(value):,} bytes do not fit into a JPEG")
        elif value:
            options[key] = b"Exif\x00\x00" + value if key == "exif" else value
    if notes.icc:
        options["icc_profile"] = notes.icc
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality, subsampling=0, **options)  # type: ignore[arg-type]
    return out.getvalue(), lost


def encode_mask(mask: np.ndarray) -> bytes:
    """uint8 (h, w) as a grey PNG."""
    done, packed = cv2.imencode(".png", np.ascontiguousarray(mask), [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not done:
        raise ResourceError("a mask could not be encoded", "the PNG encoder gave up")
    return packed.tobytes()


def _png(pixels: np.ndarray, alpha: np.ndarray | None, notes: Notes) -> bytes:
    planes = pixels[..., ::-1] if alpha is None else np.dstack([pixels[..., ::-1], alpha])
    try:
        done, packed = cv2.imencode(".png", np.ascontiguousarray(planes), [cv2.IMWRITE_PNG_COMPRESSION, 4])
    except cv2.error as error:
        done, packed = False, np.zeros(0, np.uint8)
        reason = str(error).strip().splitlines()[-1]
    else:
        reason = "the PNG encoder gave up"
    if not done:
        raise ResourceError(f"a picture of {pixels.shape[1]} x {pixels.shape[0]} px could not be encoded", reason[:200])
    data = packed.tobytes()
    chunks = b""
    if notes.icc:
        chunks += _chunk(b"iCCP", b"profile\x00\x00" + zlib.compress(notes.icc))
    if notes.exif:
        chunks += _chunk(b"eXIf", notes.exif)
    if notes.xmp:
        chunks += _chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + notes.xmp)
    return data[:33] + chunks + data[33:]  # right behind IHDR, before the pixels (PNG 1.2, table 5.3)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def jpeg_tables(data: bytes) -> list[np.ndarray]:
    """The quantisation tables of a JPEG, luma first: int (8, 8) in rows; none for another file."""
    from PIL import Image, JpegImagePlugin

    if data[:2] != b"\xff\xd8":
        return []
    try:
        picture = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
        tables: dict[int, list[int]] = picture.quantization  # type: ignore[attr-defined]
        return [np.array(tables[k], np.int32).reshape(8, 8) for k in sorted(tables)]
    except (OSError, ValueError, SyntaxError, KeyError, Image.DecompressionBombError):
        return []
