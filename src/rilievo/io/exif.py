"""What a camera wrote beside the pixels: orientation, focal length, position, time."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from typing import Any

from rilievo.io.sensors import FULL_FRAME, sensor_width_mm

# Tag numbers of the Exif 2.32 standard.
_MAKE, _MODEL, _ORIENTATION, _EXIF_IFD, _GPS_IFD = 0x010F, 0x0110, 0x0112, 0x8769, 0x8825
_TIME, _SUBSECONDS, _FOCAL_MM, _FOCAL_35 = 0x9003, 0x9291, 0x920A, 0xA405
_PLANE_X, _PLANE_UNIT, _WIDTH, _HEIGHT, _ZOOM, _LENS = 0xA20E, 0xA210, 0xA002, 0xA003, 0xA404, 0xA434
_EXPOSURE_S, _F_NUMBER, _ISO, _BALANCE, _SUBJECT_M, _SOFTWARE = 0x829A, 0x829D, 0x8827, 0xA403, 0x9206, 0x0131
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_DIAGONAL_35_MM = math.hypot(36.0, 24.0)


@dataclass(frozen=True)
class CameraNotes:
    """EXIF (and DJI's XMP) of one photo, as far as reconstruction needs it; None where the file does not say."""

    orientation: int = 1
    maker: str = ""
    model: str = ""
    lens: str = ""
    focal_mm: float | None = None
    focal_35mm: float | None = None
    sensor_mm: float | None = None  # long side, from FocalPlaneXResolution
    zoom: float | None = None
    gps: tuple[float, float, float] | None = None
    gps_std_m: tuple[float, float, float] | None = None
    taken_at: str | None = None
    exposure_s: float | None = None
    f_number: float | None = None
    iso: float | None = None
    white_balance: str | None = None  # "auto" or "manual"
    subject_m: float | None = None  # distance that was focused on
    software: str = ""

    @property
    def camera_name(self) -> str | None:
        """Maker and model without repeating the maker's name."""
        maker, model = self.maker.strip(), self.model.strip()
        if any(word in model.lower().split() for word in maker.lower().split()):
            return model
        return f"{maker} {model}".strip() or None


def _number(value: Any) -> float | None:
    """A positive finite float, or None: EXIF is full of zeros, infinities and strings."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "ignore")
    return str(value).replace("\x00", " ").strip() if value is not None else ""


def _degrees(value: Any, reference: Any, positive: str) -> float | None:
    try:
        d, m, s = (float(v) for v in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    degrees = d + m / 60 + s / 3600
    if not math.isfinite(degrees):
        return None
    return degrees if _text(reference).upper()[:1] in (positive, "") else -degrees


def _gps(tags: dict[int, Any]) -> tuple[tuple[float, float, float] | None, tuple[float, float, float] | None]:
    latitude, longitude = _degrees(tags.get(2), tags.get(1), "N"), _degrees(tags.get(4), tags.get(3), "E")
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return None, None
    if latitude == 0 and longitude == 0:  # receivers without a fix write zeros
        return None, None
    height = _number(tags.get(6)) or 0.0
    if tags.get(5) in (b"\x01", 1, b"1"):
        height = -height
    error = _number(tags.get(31))  # GPSHPositioningError, metres
    return (latitude, longitude, height), ((error, error, 2 * error) if error else None)


def _xmp_number(xmp: str, name: str) -> float | None:
    found = re.search(rf'drone-dji:{name}(?:="|>)\s*([+-]?[0-9.]+)', xmp)
    return float(found.group(1)) if found else None


def _xmp_gps(xmp: str) -> tuple[tuple[float, float, float] | None, tuple[float, float, float] | None]:
    """DJI writes position with more digits, and the standard deviations of its RTK receiver, into XMP."""
    position = [
        _xmp_number(xmp, "GpsLatitude"),
        _xmp_number(xmp, "GpsLongitude") or _xmp_number(xmp, "GpsLongtitude"),
        _xmp_number(xmp, "AbsoluteAltitude"),
    ]
    std = [_xmp_number(xmp, f"RtkStd{axis}") for axis in ("Lon", "Lat", "Hgt")]
    gps = tuple(position) if all(v is not None for v in position) and any(position[:2]) else None
    known = gps is not None and all(v is not None and v > 0 for v in std)
    return gps, (tuple(std) if known else None)  # type: ignore[return-value]


def read_notes(exif: Any, *, xmp: bytes | str = b"") -> CameraNotes:
    """`CameraNotes` from a `PIL.Image.Exif` and the XMP packet; damaged entries are passed over."""
    try:
        main = dict(exif)
        detail, place = dict(exif.get_ifd(_EXIF_IFD)), dict(exif.get_ifd(_GPS_IFD))
    except Exception:  # a damaged block is the same as none: the pixels are still good
        return CameraNotes()
    gps, gps_std = _gps(place)
    if isinstance(xmp, bytes):
        xmp = xmp.decode("utf-8", "ignore")
    if "drone-dji" in xmp:
        dji_gps, dji_std = _xmp_gps(xmp)
        gps, gps_std = dji_gps or gps, dji_std or gps_std

    sensor = None
    density, unit = _number(detail.get(_PLANE_X)), _MM_PER_UNIT.get(detail.get(_PLANE_UNIT, 2))
    sides = _number(detail.get(_WIDTH)), _number(detail.get(_HEIGHT))
    if density and unit and sides[0] and sides[1]:
        sensor = max(sides) / density * unit  # type: ignore[type-var]
        if not 2.0 < sensor < 70.0:  # writers that never set the unit, or resized without updating
            sensor = None
    taken = re.match(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)", _text(detail.get(_TIME)))
    taken_at = "{}-{}-{}T{}:{}:{}".format(*taken.groups()) if taken else None
    if taken_at and (fraction := re.match(r"\d+", _text(detail.get(_SUBSECONDS)))):
        taken_at += "." + fraction.group(0)
    orientation = main.get(_ORIENTATION, 1)
    iso, balance = detail.get(_ISO), detail.get(_BALANCE)
    if isinstance(iso, tuple):  # some write the sensitivity twice
        iso = iso[0] if iso else None
    return CameraNotes(
        orientation=orientation if orientation in range(1, 9) else 1,
        maker=_text(main.get(_MAKE)),
        model=_text(main.get(_MODEL)),
        lens=_text(detail.get(_LENS)),
        focal_mm=_number(detail.get(_FOCAL_MM)),
        focal_35mm=_number(detail.get(_FOCAL_35)),
        sensor_mm=sensor,
        zoom=_number(detail.get(_ZOOM)),
        gps=gps,
        gps_std_m=gps_std,
        taken_at=taken_at,
        exposure_s=_number(detail.get(_EXPOSURE_S)),
        f_number=_number(detail.get(_F_NUMBER)),
        iso=_number(iso),
        white_balance={0: "auto", 1: "manual"}.get(balance) if isinstance(balance, int) else None,
        subject_m=_number(detail.get(_SUBJECT_M)),
        software=_text(main.get(_SOFTWARE)),
    )


def read_tiff_notes(header: bytes) -> CameraNotes:
    """`CameraNotes` from the first bytes of a raw file that is TIFF inside (NEF, CR2, ARW, DNG, ORF, RW2, PEF ...)."""
    from PIL import Image

    if header[:2] not in (b"II", b"MM"):
        return CameraNotes()
    order = b"II*\x00" if header[:2] == b"II" else b"MM\x00*"  # Olympus and Panasonic write a magic of their own
    exif = Image.Exif()
    try:
        exif.load(b"Exif\x00\x00" + order + header[4:])
    except Exception:
        return CameraNotes()
    return read_notes(exif)


def read_jpeg_notes(thumbnail: bytes) -> CameraNotes:
    """`CameraNotes` from a JPEG that a raw file carries as its preview."""
    from PIL import JpegImagePlugin

    try:
        return read_notes(JpegImagePlugin.JpegImageFile(io.BytesIO(thumbnail)).getexif())
    except Exception:
        return CameraNotes()


def focal_px(notes: CameraNotes, width: int, height: int) -> float | None:
    """Focal length in px of a photo of that size, or None.

    Best first: mm with the sensor's width from the table or from FocalPlaneXResolution; the 35 mm equivalent, which
    CIPA DCG-001 defines over the diagonal. A value outside 0.2 to 40 times the long side is not believed.
    """
    long_side = max(width, height)
    zoom = notes.zoom if notes.zoom and notes.zoom > 1 else 1.0
    focal = None
    sensor = sensor_width_mm(notes.maker, notes.model) or notes.sensor_mm
    if notes.focal_mm and notes.focal_35mm and not sensor and abs(notes.focal_35mm / notes.focal_mm - 1) < 0.03:
        sensor = FULL_FRAME
    if notes.focal_mm and sensor:
        focal = notes.focal_mm / sensor * long_side * zoom
    by_diagonal = None
    if notes.focal_35mm:  # digital zoom is already in it
        by_diagonal = notes.focal_35mm / _DIAGONAL_35_MM * math.hypot(width, height)
    if focal and by_diagonal and not 0.75 < focal / by_diagonal < 1.33:
        focal = by_diagonal  # they contradict each other: another crop or a wrong sensor; the maker's own figure wins
    focal = focal or by_diagonal
    return focal if focal and 0.2 * long_side < focal < 40 * long_side else None
