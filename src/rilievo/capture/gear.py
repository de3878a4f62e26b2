"""Cameras as plans need them: sensor, focal length, pixels, apertures; for drones also how long and how fast they fly.

Figures are those that makers publish. Of a phone the main camera is meant, at the number of pixels it writes by default
(pixels that are joined in the phone count as one).
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, replace

import numpy as np

from rilievo.errors import InputError
from rilievo.types import Camera

FULL_FRAME_DIAGONAL_MM = math.hypot(36.0, 24.0)


@dataclass(frozen=True)
class Drone:
    """What limits a flight. max_speed_m_s: of a mapping flight.  minutes: usable time of one battery, landing reserve
    left out.  interval_s: shortest time between photos.  wpml: DJI's numbers of drone and payload (type, subtype,
    payload type, payload subtype), where DJI documents them.  max_waypoints: that its app takes
    in one flight, 0 where that is more than a battery lasts for."""

    max_speed_m_s: float
    minutes: float
    interval_s: float
    wpml: tuple[int, int, int, int] | None = None
    max_waypoints: int = 0


@dataclass(frozen=True)
class Gear:
    """A camera with its lens. sensor_mm, pixels: long side first.  f_numbers: widest and narrowest aperture, both the
    same where it is fixed."""

    name: str
    sensor_mm: tuple[float, float]
    focal_mm: float
    pixels: tuple[int, int]
    f_numbers: tuple[float, float] = (2.8, 22.0)
    kind: str = "camera"
    drone: Drone | None = None

    @property
    def pitch_mm(self) -> float:
        """Width of a pixel on the sensor."""
        return self.sensor_mm[0] / self.pixels[0]

    @property
    def focal_px(self) -> float:
        """Focal length in pixels, focused at infinity."""
        return self.focal_mm / self.pitch_mm

    @property
    def focal_35mm(self) -> float:
        """The focal length that gives the same diagonal field of view on 36 x 24 mm (CIPA DCG-001)."""
        return self.focal_mm * FULL_FRAME_DIAGONAL_MM / math.hypot(*self.sensor_mm)

    def camera(self, depth_m: float = math.inf, *, upright: bool = False) -> Camera:
        """The pinhole camera of this gear, focused at a depth. upright: turned to portrait."""
        width, height = self.pixels[::-1] if upright else self.pixels
        f = self.focal_px if math.isinf(depth_m) else self.focal_px * depth_m / (depth_m - self.focal_mm / 1000)
        return Camera("PINHOLE", width, height, np.array([f, f, width / 2, height / 2]))


def _phone(name: str, pixels: tuple[int, int], pitch_um: float, focal_mm: float, f_number: float) -> Gear:
    sensor = (round(pixels[0] * pitch_um / 1000, 3), round(pixels[1] * pitch_um / 1000, 3))
    return Gear(name, sensor, focal_mm, pixels, (f_number, f_number), "phone")


_FLY = 200  # DJI Fly's limit of waypoints
_M12, _SQUARE_4080 = (4032, 3024), (4080, 3072)
_FULL, _CANON_APSC, _MFT, _INCH = (35.9, 23.9), (22.3, 14.9), (17.3, 13.0), (13.2, 8.8)

_ROWS: tuple[Gear, ...] = (
    _phone("Apple iPhone 11", _M12, 1.4, 4.25, 1.8),
    _phone("Apple iPhone 12", _M12, 1.4, 4.2, 1.6),
    _phone("Apple iPhone 13", _M12, 1.7, 5.1, 1.6),
    _phone("Apple iPhone 13 Pro", _M12, 1.9, 5.7, 1.5),
    _phone("Apple iPhone 14", _M12, 1.9, 5.7, 1.5),
    _phone("Apple iPhone 14 Pro", _M12, 2.44, 6.86, 1.78),
    _phone("Apple iPhone 15", (5712, 4284), 1.412, 5.96, 1.6),
    _phone("Apple iPhone 15 Pro", (5712, 4284), 1.722, 6.765, 1.78),
    _phone("Apple iPhone 16", (5712, 4284), 1.412, 5.96, 1.6),
    _phone("Apple iPhone 16 Pro", (5712, 4284), 1.722, 6.765, 1.78),
    _phone("Samsung Galaxy S21", (4000, 3000), 1.8, 5.4, 1.8),
    _phone("Samsung Galaxy S22", (4080, 3060), 2.0, 5.4, 1.8),
    _phone("Samsung Galaxy S23", (4080, 3060), 2.0, 5.4, 1.8),
    _phone("Samsung Galaxy S24", (4080, 3060), 2.0, 5.4, 1.8),
    _phone("Samsung Galaxy S23 Ultra", (4000, 3000), 2.4, 6.3, 1.7),
    _phone("Samsung Galaxy S24 Ultra", (4000, 3000), 2.4, 6.3, 1.7),
    _phone("Google Pixel 6", _SQUARE_4080, 2.4, 6.81, 1.85),
    _phone("Google Pixel 7", _SQUARE_4080, 2.4, 6.81, 1.85),
    _phone("Google Pixel 8", _SQUARE_4080, 2.4, 6.9, 1.68),
    Gear("Sony A7 III", (35.6, 23.8), 50.0, (6000, 4000)),
    Gear("Sony A7 IV", _FULL, 50.0, (7008, 4672)),
    Gear("Sony A7R IV", (35.7, 23.8), 50.0, (9504, 6336)),
    Gear("Sony A6400", (23.5, 15.6), 35.0, (6000, 4000)),
    Gear("Sony RX100 VII", _INCH, 9.0, (5472, 3648), (2.8, 11.0)),
    Gear("Canon EOS 5D Mark IV", (36.0, 24.0), 50.0, (6720, 4480)),
    Gear("Canon EOS R5", (36.0, 24.0), 50.0, (8192, 5464)),
    Gear("Canon EOS R6", _FULL, 50.0, (5472, 3648)),
    Gear("Canon EOS 90D", _CANON_APSC, 35.0, (6960, 4640)),
    Gear("Canon EOS R7", _CANON_APSC, 35.0, (6960, 4640)),
    Gear("Nikon D850", _FULL, 50.0, (8256, 5504)),
    Gear("Nikon Z6 II", _FULL, 50.0, (6048, 4024)),
    Gear("Nikon Z7 II", _FULL, 50.0, (8256, 5504)),
    Gear("Nikon D7500", (23.5, 15.7), 35.0, (5568, 3712)),
    Gear("Fujifilm X-T4", (23.5, 15.6), 35.0, (6240, 4160)),
    Gear("Fujifilm X-T5", (23.5, 15.6), 35.0, (7728, 5152)),
    Gear("Fujifilm GFX 100S", (43.8, 32.9), 63.0, (11648, 8736), (2.8, 32.0)),
    Gear("OM System OM-1", (17.4, 13.0), 25.0, (5184, 3888)),
    Gear("Panasonic GH5", _MFT, 25.0, (5184, 3888)),
    Gear("Ricoh GR III", (23.5, 15.6), 18.3, (6000, 4000), (2.8, 16.0)),
    Gear("DJI Mavic 3 Enterprise", _MFT, 12.29, (5280, 3956), (2.8, 11.0), "drone",
         Drone(15.0, 33.0, 0.7, (77, 0, 66, 0))),
    Gear("DJI Mavic 3", _MFT, 12.29, (5280, 3956), (2.8, 11.0), "drone", Drone(12.0, 33.0, 2.0, max_waypoints=_FLY)),
    Gear("DJI Matrice 4E", _MFT, 12.29, (5280, 3956), (2.8, 11.0), "drone", Drone(15.0, 35.0, 0.5, (99, 0, 88, 0))),
    Gear("DJI Matrice 3D", _MFT, 12.29, (5280, 3956), (2.8, 11.0), "drone", Drone(15.0, 35.0, 0.7, (91, 0, 80, 0))),
    Gear("DJI Matrice 350 P1 35 mm", (35.9, 24.0), 35.0, (8192, 5460), (2.8, 16.0), "drone",
         Drone(15.0, 35.0, 0.7, (89, 0, 50, 1))),
    Gear("DJI Matrice 300 P1 35 mm", (35.9, 24.0), 35.0, (8192, 5460), (2.8, 16.0), "drone",
         Drone(15.0, 35.0, 0.7, (60, 0, 50, 1))),
    Gear("DJI Phantom 4 Pro", _INCH, 8.8, (5472, 3648), (2.8, 11.0), "drone", Drone(10.0, 20.0, 2.5)),
    Gear("DJI Phantom 4 RTK", _INCH, 8.8, (5472, 3648), (2.8, 11.0), "drone", Drone(10.0, 20.0, 2.5)),
    Gear("DJI Air 2S", _INCH, 8.38, (5472, 3648), (2.8, 2.8), "drone", Drone(10.0, 21.0, 2.0)),
    Gear("DJI Air 3", (9.68, 7.26), 6.72, _M12, (1.7, 1.7), "drone", Drone(10.0, 32.0, 2.0, max_waypoints=_FLY)),
    Gear("DJI Mini 3 Pro", (9.68, 7.26), 6.72, _M12, (1.7, 1.7), "drone", Drone(8.0, 24.0, 2.0)),
    Gear("DJI Mini 4 Pro", (9.68, 7.26), 6.72, _M12, (1.7, 1.7), "drone", Drone(8.0, 24.0, 2.0, max_waypoints=_FLY)),
    Gear("DJI Mini 2", (6.3, 4.7), 4.49, (4000, 3000), (2.8, 2.8), "drone", Drone(8.0, 22.0, 2.0)),
    Gear("Autel EVO II Pro", _INCH, 10.57, (5472, 3648), (2.8, 11.0), "drone", Drone(10.0, 28.0, 2.0)),
)  # fmt: skip
TABLE: dict[str, Gear] = {gear.name: gear for gear in _ROWS}


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z]+|[0-9]+", text.lower()))


def find_gear(text: str, *, focal_mm: float | None = None, pixels: tuple[int, int] | None = None) -> Gear:
    """A row of the table by its name or an unambiguous part of it, or `SENSOR_WxHmm,FOCALmm,PIXELS_WxH`.

    focal_mm, pixels: another lens, another size of the pictures (whole sensor). Raises InputError.
    """
    gear = _written_out(text) or _row(text)
    if pixels is not None:
        gear = replace(gear, pixels=(max(pixels), min(pixels)))
    if focal_mm is not None:
        if not 0.5 <= focal_mm <= 2000:
            raise InputError(f"a lens of {focal_mm:g} mm is not possible", "", "give its focal length in mm, e.g. 35")
        gear = replace(gear, focal_mm=focal_mm)
    return gear


def _row(text: str) -> Gear:
    wanted = _plain(text).split()
    exact = [gear for gear in _ROWS if set(_plain(gear.name).split()) >= set(wanted)] if wanted else []
    if len(exact) > 1:  # the shortest name says no more than was asked: "iPhone 13" is not the Pro
        shortest = min(len(_plain(g.name).split()) for g in exact)
        exact = [g for g in exact if len(_plain(g.name).split()) == shortest]
    if len(exact) == 1:
        return exact[0]
    if exact:
        names = ", ".join(g.name for g in exact)
        raise InputError(f"more than one camera is meant by {text!r}", names, "give one of these names")
    near = difflib.get_close_matches(_plain(text), [_plain(g.name) for g in _ROWS], 3, 0.4)
    close = ", ".join(g.name for g in _ROWS if _plain(g.name) in near)
    raise InputError(
        f"the camera {text!r} is not in the table",
        f"close names: {close}" if close else f"{len(_ROWS)} cameras are known",
        "`rilievo plan cameras` lists them; or write it out, sensor, focal length, pixels: 23.5x15.6,35,6000x4000",
    )


def _written_out(text: str) -> Gear | None:
    number = r"(\d+(?:\.\d+)?)"
    match = re.fullmatch(
        rf"\s*{number}\s*x\s*{number}\s*(?:mm)?\s*,\s*{number}\s*(?:mm)?\s*,\s*(\d+)\s*x\s*(\d+)\s*", text
    )
    if not match:
        return None
    width, height, focal = (float(v) for v in match.groups()[:3])
    sensor = (max(width, height), min(width, height))
    pixels = (max(int(match[4]), int(match[5])), min(int(match[4]), int(match[5])))
    aspect = sensor[0] / max(sensor[1], 1e-9) / (pixels[0] / max(pixels[1], 1))
    if pixels[1] < 16 or not (sensor[1] > 0.5 and sensor[0] < 300) or not 0.5 <= focal <= 2000:
        raise InputError(
            f"cannot use the camera {text!r}",
            f"sensor {width:g} x {height:g} mm, {focal:g} mm, {match[4]} x {match[5]} px",
            "write sensor in mm, focal length in mm, pixels: 23.5x15.6,35,6000x4000",
        )
    if abs(aspect - 1) > 0.02:
        raise InputError(
            f"the camera {text!r} has pixels that are not square",
            f"the sensor is {sensor[0] / sensor[1]:.3f} times as wide as high, the picture {pixels[0] / pixels[1]:.3f}",
            "give the part of the sensor that the picture uses",
        )
    name = f"{width:g} x {height:g} mm, {focal:g} mm, {pixels[0]} x {pixels[1]} px"
    return Gear(name, sensor, focal, pixels, (2.8, 22.0))
