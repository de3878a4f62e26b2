"""`--scale`: references as people write them, and the files and pictures that they need."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rilievo.errors import InputError
from rilievo.stages.references import DepthPoints, KnownDepth, KnownLength, KnownPlane, Reference
from rilievo.types import Camera

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "km": 1000.0, "in": 0.0254, "ft": 0.3048}

SYNTAX = """one of
  X,Y:X,Y=0.30m          the distance between the points at two pixels
  X,Y=2.4m               depth at a pixel (z: along the line of sight of the camera)
  ray:X,Y=2.4m           distance from the lens to the point at a pixel, as a tape or laser measures it
  plane:X,Y:X,Y:X,Y:X,Y=0.6mx0.4m   corners around a flat rectangle, width x height
  aruco:4x4_50:0.05m     ArUco markers of this side length; apriltag:36h11:0.1m the same for AprilTags
  a4, a3, letter, card   a sheet of paper or a bank card that lies in the photo
  sensor:depth.png[:0.001]          depth of a sensor, 16 bit, metres a step
  stereo:right.png:baseline=0.193m[:focal=995px][:offset=31px]   the right photo of a rectified pair
pixels are those of the whole photo; units m cm mm in ft; a tolerance may follow: =0.30m+-2mm"""


@dataclass(frozen=True)
class MarkerRequest:
    """Markers of a dictionary to look for; size: side length of the black square, m."""

    dictionary: str
    size: float


@dataclass(frozen=True)
class SheetRequest:
    """A rectangle to look for: a key of `scale_markers.SHEETS`."""

    kind: str


@dataclass(frozen=True)
class SensorRequest:
    """A sensor's depth map of the same view; metres a step."""

    path: Path
    step: float


@dataclass(frozen=True)
class StereoRequest:
    """The right photo of a rectified pair whose left one is measured. baseline in m; focal_px: None: the photo's;
    offset_px: x of the right principal point less that of the left one."""

    path: Path
    baseline: float
    focal_px: float | None = None
    offset_px: float = 0.0


Request = Reference | MarkerRequest | SheetRequest | SensorRequest | StereoRequest

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_KINDS = ("ray", "depth", "plane", "aruco", "apriltag", "sensor", "stereo", "a4", "a3", "letter", "card")


class _Text:
    """A reference being read: knows the whole text for messages."""

    def __init__(self, text: str) -> None:
        self.text = text

    def wrong(self, part: str, why: str) -> InputError:
        return InputError(
            f"cannot read the reference {self.text!r}", f"{part!r}: {why}" if part else why, f"write {SYNTAX}"
        )

    def pixel(self, part: str) -> tuple[float, float]:
        match = re.fullmatch(rf"\s*({_NUMBER})\s*,\s*({_NUMBER})\s*", part)
        if not match:
            raise self.wrong(part, "expected a pixel, two numbers with a comma: x,y")
        return float(match[1]), float(match[2])

    def length(self, part: str, what: str = "a length") -> float:
        match = re.fullmatch(rf"\s*({_NUMBER})\s*([a-zA-Z]*)\s*", part)
        if not match:
            raise self.wrong(part, f"expected {what}: a number and a unit")
        if match[2] not in UNITS:
            near = "it has no unit" if not match[2] else f"{match[2]!r} is no unit"
            raise self.wrong(part, f"{near}; known are {', '.join(UNITS)}")
        value = float(match[1]) * UNITS[match[2]]
        if not (math.isfinite(value) and value > 0):
            raise self.wrong(part, f"{what} must be larger than zero")
        return value

    def measured(self, part: str) -> tuple[float, float]:
        """Value and standard deviation (0: none was given). A tolerance is taken as two standard deviations."""
        value, *tolerance = re.split(r"\+-|±", part)
        if len(tolerance) > 1:
            raise self.wrong(part, "more than one tolerance")
        return self.length(value), self.length(tolerance[0], "a tolerance") / 2 if tolerance else 0.0


def parse_references(texts: Sequence[str]) -> list[Request]:
    """References and requests for some (`find_references` answers those) from the texts of `--scale`.

    Raises InputError that names the part that cannot be read.
    """
    return [_parse(text.strip()) for text in texts]


def _parse(text: str) -> Request:
    read = _Text(text)
    kind, _, rest = text.partition(":")
    kind = kind.strip().lower()
    if kind in ("a4", "a3", "letter", "card"):
        if rest:
            raise read.wrong(rest, f"nothing can follow {kind}")
        return SheetRequest(kind)
    if kind in ("aruco", "apriltag"):
        return _marker(read, kind, rest)
    if kind == "sensor":
        return _sensor(read, rest)
    if kind == "stereo":
        return _stereo(read, rest)
    if kind == "plane":
        return _plane(read, rest)
    if kind in ("ray", "depth"):
        pixel, equals, value = rest.partition("=")
        if not equals:
            raise read.wrong(rest, "expected X,Y=DISTANCE")
        return KnownDepth(read.pixel(pixel), *read.measured(value), along_ray=kind == "ray")
    if re.match(r"[a-z]", kind):
        near = difflib.get_close_matches(kind, _KINDS, 1)
        raise read.wrong(kind, f"no such kind of reference{f'; did you mean {near[0]}?' if near else ''}")
    pixels, equals, value = text.partition("=")
    if not equals:
        raise read.wrong("", "there is no = with what is known")
    ends = pixels.split(":")
    if len(ends) == 1:
        return KnownDepth(read.pixel(ends[0]), *read.measured(value))
    if len(ends) == 2:
        xy0, xy1 = read.pixel(ends[0]), read.pixel(ends[1])
        if xy0 == xy1:
            raise read.wrong(pixels, "both ends are the same pixel")
        return KnownLength(xy0, xy1, *read.measured(value))
    raise read.wrong(pixels, f"{len(ends)} pixels; a distance has two, a depth one")


def _marker(read: _Text, kind: str, rest: str) -> MarkerRequest:
    from rilievo.stages.scale_markers import dictionary_names

    name, colon, size = rest.rpartition(":")
    if not colon:
        example = "4x4_50" if kind == "aruco" else "36h11"
        raise read.wrong(rest, f"expected a dictionary and the side length, e.g. {kind}:{example}:0.05m")
    wanted = name.strip().lower()
    full = f"apriltag_{wanted}" if kind == "apriltag" else wanted
    known = [n for n in dictionary_names() if n.startswith("apriltag_") == (kind == "apriltag")]
    if full not in known:
        listed = ", ".join(n.removeprefix("apriltag_") for n in known)
        raise read.wrong(name, f"no such dictionary of markers; known are {listed}")
    return MarkerRequest(full, read.length(size, "the side length"))


def _sensor(read: _Text, rest: str) -> SensorRequest:
    match = re.fullmatch(rf"(.+?)(?::({_NUMBER}))?", rest)
    if not match:
        raise read.wrong(rest, "expected the file of the sensor's depth")
    step = float(match[2]) if match[2] else 0.001
    if not step > 0:
        raise read.wrong(match[2], "metres a step must be larger than zero")
    return SensorRequest(Path(match[1]), step)


def _stereo(read: _Text, rest: str) -> StereoRequest:
    path, *options = re.split(r":(?=[a-z]+=)", rest)
    if not path:
        raise read.wrong(rest, "expected the file of the right photo")
    values: dict[str, float] = {}
    for option in options:
        name, _, value = option.partition("=")
        if name == "baseline":
            values[name] = read.length(value, "the baseline")
        elif name in ("focal", "offset"):
            match = re.fullmatch(rf"({_NUMBER})(?:px)?", value)
            if not match or (name == "focal" and float(match[1]) <= 0):
                raise read.wrong(option, "expected a number of pixels")
            values[name] = float(match[1])
        else:
            raise read.wrong(option, "known are baseline, focal and offset")
    if "baseline" not in values:
        raise read.wrong(rest, "no baseline, the distance between the two lenses: baseline=0.193m")
    return StereoRequest(Path(path), values["baseline"], values.get("focal"), values.get("offset", 0.0))


def _plane(read: _Text, rest: str) -> KnownPlane:
    pixels, equals, size = rest.partition("=")
    if not equals:
        raise read.wrong(rest, "there is no = with width x height")
    corners = tuple(read.pixel(part) for part in pixels.split(":"))
    if len(corners) != 4:
        raise read.wrong(pixels, f"{len(corners)} corners; a rectangle has four")
    match = re.fullmatch(rf"\s*({_NUMBER}\s*[a-z]*)\s*[x×*]\s*({_NUMBER}\s*[a-z]*)\s*", size)
    if not match:
        raise read.wrong(size, "expected width x height, e.g. 0.6mx0.4m")
    width, height = match[1], match[2]
    if not re.search("[a-z]", width):  # 0.6x0.4m: one unit for both
        width += "".join(re.findall("[a-z]", height))
    return KnownPlane(corners, read.length(width, "a width"), read.length(height, "a height"))


def find_references(requests: Sequence[Request], pixels: np.ndarray, camera: Camera) -> list[Reference]:
    """Requests answered: markers and sheets found in the photo, files read. Pixels of the references are the photo's.

    pixels: uint8 (h, w, 3), the whole photo.  camera: PINHOLE, of the photo's size (or any size: it is scaled).
    Raises InputError when something asked for is not in the photo, or a file cannot be used.
    """
    from rilievo.stages import scale_markers, scale_stereo

    height, width = pixels.shape[:2]
    camera = resized(camera, width, height)
    found: list[Reference] = []
    for request in requests:
        if isinstance(request, MarkerRequest):
            found += scale_markers.find_markers(pixels, request.dictionary, request.size)
        elif isinstance(request, SheetRequest):
            found.append(scale_markers.find_sheet(pixels, camera, request.kind))
        elif isinstance(request, SensorRequest):
            steps = _read_steps(request.path)
            found.append(scale_stereo.sensor_points(steps, request.step, (width, height), request.path.name))
        elif isinstance(request, StereoRequest):
            right = _read_picture(request.path)
            if right.shape != pixels.shape:
                raise InputError(
                    f"{request.path.name} is not the other photo of the pair",
                    f"it is {right.shape[1]} x {right.shape[0]}, the photo is {width} x {height}",
                )
            focal = request.focal_px or camera.fx
            found.append(
                scale_stereo.stereo_points(pixels, right, focal * request.baseline, offset_px=request.offset_px)
            )
        else:
            found.append(request)
    return found


def resized(camera: Camera, width: int, height: int) -> Camera:
    """The PINHOLE camera for the same picture at another size."""
    sx, sy = width / camera.width, height / camera.height
    params = np.array([camera.fx * sx, camera.fy * sy, camera.cx * sx, camera.cy * sy], np.float64)
    return Camera("PINHOLE", width, height, params)


def _read_picture(path: Path) -> np.ndarray:
    from rilievo.io.pictures import read_picture

    return read_picture(path)


def _read_steps(path: Path) -> np.ndarray:
    """Depth of a sensor as whole numbers (h, w), 0 unknown. Raises InputError for anything but one 16-bit channel."""
    import cv2

    from rilievo.io.files import read_bytes

    raw = np.frombuffer(read_bytes(path), np.uint8)
    steps = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED) if len(raw) else None
    if steps is None or steps.dtype != np.uint16 or steps.ndim != 2:
        found = "it is no picture" if steps is None else f"it has {steps.dtype} values of shape {steps.shape}"
        raise InputError(
            f"cannot use {path.name} as a sensor's depth", found, "expected a 16-bit PNG with one channel, 0 unknown"
        )
    return steps


__all__ = ["SYNTAX", "DepthPoints", "Request", "find_references", "parse_references", "resized"]
