"""What a photo's file carries beside its pixels, as bytes: EXIF, XMP and colour profile, to be passed on to a copy.

EXIF is changed in place, byte by byte (Exif 2.32, TIFF 6.0): maker notes, whose offsets only their maker knows, stay
as they are. Extended XMP and the pictures that some cameras append (MPF) are not passed on.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rilievo.io.pixels import pillow_picture, warnings_lock

_HEAD = b"Exif\x00\x00"
_WIDTH, _HEIGHT, _ORIENTATION, _EXIF_IFD, _GPS_IFD = 0x0100, 0x0101, 0x0112, 0x8769, 0x8825
_PIXELS_X, _PIXELS_Y, _PLANE_X, _PLANE_Y, _MAKER = 0xA002, 0xA003, 0xA20E, 0xA20F, 0x927C
_THUMB_AT, _THUMB_LENGTH = 0x0201, 0x0202
_MAIN = (0x010E, 0x010F, 0x0110, 0x0112, 0x0131, 0x0132, 0x013B, 0x8298)  # what a TIFF or raw file says of the photo
MAX_JPEG_BLOCK = 65_000


@dataclass(frozen=True)
class Notes:
    """Bytes as they stand in a file: exif (TIFF structure, without the head `Exif\\0\\0`), xmp packet, icc profile."""

    exif: bytes = b""
    xmp: bytes = b""
    icc: bytes = b""


def read_file_notes(data: bytes, format: str) -> Notes:
    """The notes of a photo file whose `format` is known (as `io.pixels.sniff`). Damaged ones are left out."""
    try:
        if format == "heic":
            return _heic_notes(data)
        if format == "raw":
            return Notes(exif=_rebuilt(_raw_exif(data)))
        with warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = pillow_picture(io.BytesIO(data), format)
            xmp = picture.info.get("xmp") or b""
            icc = picture.info.get("icc_profile") or b""
            if format in ("jpeg", "webp", "png") and isinstance(picture.info.get("exif"), bytes):
                exif = picture.info["exif"].removeprefix(_HEAD)
            else:
                exif = _rebuilt(picture.getexif())
        return Notes(exif, xmp.encode() if isinstance(xmp, str) else bytes(xmp), icc if _is_rgb(icc) else b"")
    except Exception:  # the pixels are good whatever stands beside them
        return Notes()


def _heic_notes(data: bytes) -> Notes:
    import pi_heif

    heif = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
    info: dict[str, Any] = heif.info
    icc = info.get("icc_profile") or b""
    return Notes((info.get("exif") or b"").removeprefix(_HEAD), info.get("xmp") or b"", icc if _is_rgb(icc) else b"")


def _is_rgb(icc: bytes) -> bool:
    """Profiles of grey or CMYK pictures say nothing of the RGB that was made of them."""
    return icc[16:20] == b"RGB "


def _raw_exif(data: bytes) -> Any:
    from PIL import Image

    exif = Image.Exif()
    exif.load(_HEAD + (b"II*\x00" if data[:2] == b"II" else b"MM\x00*") + data[4:])
    return exif


def _rebuilt(exif: Any) -> bytes:
    """EXIF of a TIFF or raw file without what describes the storage of its pixels."""
    from PIL import Image

    out = Image.Exif()
    main = dict(exif)
    for tag in _MAIN:
        if tag in main:
            out[tag] = main[tag]
    for number in (_EXIF_IFD, _GPS_IFD):
        part = {t: v for t, v in dict(exif.get_ifd(number)).items() if t != _MAKER}
        if part:
            out.get_ifd(number).update(part)
    return out.tobytes().removeprefix(_HEAD) if len(out) else b""


def adapted(notes: Notes, *, width: int, height: int, scale: float) -> tuple[Notes, list[str]]:
    """The notes of a copy that is upright, `scale` times as large and width x height pixels; its preview is removed.

    Second: what could not be passed on, in words.
    """
    lost: list[str] = []
    exif = notes.exif
    if exif:
        try:
            exif = _patched(exif, width, height, scale)
        except (struct.error, ValueError, IndexError):
            exif, lost = b"", ["EXIF: it is damaged"]
    xmp = re.sub(rb'(tiff:Orientation(?:="|>))\s*[1-8]', rb"\g<1>1", notes.xmp)
    for name, value in ((b"exif:PixelXDimension", width), (b"exif:PixelYDimension", height)):
        xmp = re.sub(rb"(" + name + rb'(?:="|>))\s*\d+', rb"\g<1>%d" % value, xmp)
    return Notes(exif, xmp, notes.icc), lost


def _patched(exif: bytes, width: int, height: int, scale: float) -> bytes:
    out = bytearray(exif)
    order = {b"II": "<", b"MM": ">"}.get(bytes(out[:2]))
    if order is None:
        raise ValueError("no byte order")
    (start,) = struct.unpack_from(order + "I", out, 4)
    main, link = _entries(out, order, start)
    sides = {_WIDTH: width, _HEIGHT: height, _PIXELS_X: width, _PIXELS_Y: height, _ORIENTATION: 1}
    parts = [main]
    for at in (main.get(_EXIF_IFD),):
        if at is not None:
            parts.append(_entries(out, order, struct.unpack_from(order + "I", out, at + 8)[0])[0])
    for entries in parts:
        for tag, value in sides.items():
            if tag in entries:
                _set_whole(out, order, entries[tag], value)
        for tag in (_PLANE_X, _PLANE_Y):
            if tag in entries:
                _scale_ratio(out, order, entries[tag], scale)
    (second,) = struct.unpack_from(order + "I", out, link)
    if second:
        struct.pack_into(order + "I", out, link, 0)  # the preview shows the photo as it was
        try:
            preview, _ = _entries(out, order, second)
            at, length = (struct.unpack_from(order + "I", out, preview[t] + 8)[0] for t in (_THUMB_AT, _THUMB_LENGTH))
            if at + length <= len(out):
                out[at : at + length] = bytes(length)
        except (KeyError, struct.error, ValueError):
            pass
    return bytes(out)


def _entries(data: bytearray, order: str, start: int) -> tuple[dict[int, int], int]:
    """(tag -> where its entry of 12 bytes stands, where the link to the next directory stands)."""
    (count,) = struct.unpack_from(order + "H", data, start)
    end = start + 2 + 12 * count
    if start < 8 or end + 4 > len(data):
        raise ValueError("a directory ends early")
    return {struct.unpack_from(order + "H", data, at)[0]: at for at in range(start + 2, end, 12)}, end


def _set_whole(data: bytearray, order: str, at: int, value: int) -> None:
    kind, count = struct.unpack_from(order + "HI", data, at + 2)
    if count != 1 or kind not in (3, 4):
        return
    if kind == 3 and value <= 0xFFFF:
        struct.pack_into(order + "HH", data, at + 8, value, 0)
    else:
        struct.pack_into(order + "HII", data, at + 2, 4, 1, value)


def _scale_ratio(data: bytearray, order: str, at: int, scale: float) -> None:
    """Pixels a unit of the sensor grow with the picture."""
    kind, count = struct.unpack_from(order + "HI", data, at + 2)
    (where,) = struct.unpack_from(order + "I", data, at + 8)
    if kind != 5 or count != 1 or where + 8 > len(data):
        return
    top, bottom = struct.unpack_from(order + "II", data, where)
    if not bottom:
        return
    ratio = Fraction(top, bottom) * Fraction(scale).limit_denominator(10_000)
    while max(ratio.numerator, ratio.denominator) > 0xFFFFFFFF:
        ratio = ratio.limit_denominator(max(1, ratio.denominator // 1000))
        if ratio.denominator == 1 and ratio.numerator > 0xFFFFFFFF:
            return
    struct.pack_into(order + "II", data, where, ratio.numerator, ratio.denominator)
