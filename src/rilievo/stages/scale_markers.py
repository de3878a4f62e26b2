"""Things of known size found in a photo: ArUco and AprilTag markers, sheets of paper, bank cards."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from rilievo.errors import InputError
from rilievo.stages.references import KnownPlane, check_corners, rectangle_place
from rilievo.types import Camera

# name: (longer side, shorter side, radius of the corners, m). Paper: ISO 216 and US letter; cards: ISO/IEC 7810 ID-1.
SHEETS: dict[str, tuple[float, float, float]] = {
    "a4": (0.297, 0.210, 0.0),
    "a3": (0.420, 0.297, 0.0),
    "letter": (0.2794, 0.2159, 0.0),
    "card": (0.08560, 0.05398, 0.00318),
}

# How well corners are found, px of the photo, at the least.
MARKER_CORNER_PX = 0.35
SHEET_CORNER_PX = 0.7


@cache
def _dictionaries() -> dict[str, int]:
    import cv2

    names = [n for n in dir(cv2.aruco) if n.startswith("DICT_")]
    return {n.removeprefix("DICT_").lower(): int(getattr(cv2.aruco, n)) for n in names}


def dictionary_names() -> list[str]:
    """Dictionaries of markers: 4x4_50 ..., aruco_original, apriltag_36h11 ..."""
    return sorted(_dictionaries())


def find_markers(pixels: np.ndarray, dictionary: str, size: float) -> list[KnownPlane]:
    """All markers of a dictionary in a photo (uint8 (h, w, 3)), size: side of their black square. The detector is
    OpenCV's (Garrido-Jurado et al. 2014), corners refined to parts of a pixel.

    Raises InputError when there is none.
    """
    import cv2

    settings = cv2.aruco.DetectorParameters()
    settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    settings.cornerRefinementMinAccuracy = 0.01
    settings.cornerRefinementMaxIterations = 60
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    known = cv2.aruco.getPredefinedDictionary(_dictionaries()[dictionary])
    corners, ids, rejected = cv2.aruco.ArucoDetector(known, settings).detectMarkers(grey)
    if ids is None or not len(ids):
        squares = len(rejected)
        raise InputError(
            f"no marker of the dictionary {dictionary} is in the photo",
            f"{squares} dark squares were looked at and none holds a code of it"
            if squares
            else "no dark square either",
            "the marker needs a white border, all four corners in the photo, and about 30 pixels a side; check the "
            "name of the dictionary",
        )
    order = np.argsort(np.asarray(ids).reshape(-1), kind="stable")
    found = []
    for k in order:
        # OpenCV has pixel (0, 0) in the middle of the first pixel, rilievo (0.5, 0.5).
        quad = np.asarray(corners[k], np.float64).reshape(4, 2) + 0.5
        number = int(np.asarray(ids).reshape(-1)[k])
        blur = max(MARKER_CORNER_PX, 0.004 * float(np.ptp(quad, 0).max()))
        found.append(KnownPlane(_tuples(quad), size, size, blur, 0.005, f"marker {number}"))
    return found


def _tuples(quad: np.ndarray) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in quad)


def find_sheet(pixels: np.ndarray, camera: Camera, kind: str) -> KnownPlane:
    """The sheet or card (a key of SHEETS) in a photo, uint8 (h, w, 3); camera: PINHOLE, of the photo's size.

    Quadrilaterals of one brightness or colour are taken at several thresholds, lines laid through their sides to parts
    of a pixel, and the one kept that a rectangle of this size explains best at this focal length. Paper must be bright
    and without colour. Raises InputError when there is none.
    """
    import cv2

    long_side, short_side, radius = SHEETS[kind]
    height, width = pixels.shape[:2]
    shrink = min(1.0, 1000 / max(width, height))
    small = cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else pixels
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    best: tuple[float, KnownPlane] | None = None
    tried = 0
    for quad in _quadrilaterals(small, paper=radius == 0):
        rough = quad / np.array([small.shape[1] / width, small.shape[0] / height])
        quad = _fine_corners(grey, rough, 0.5 / shrink + 1.5, cut=radius / short_side)
        if quad is None:
            continue
        tried += 1
        for turned in (quad, np.roll(quad, -1, 0)):
            error = rectangle_place(turned, long_side, short_side, camera.K)[2]
            size = math.sqrt(_area(turned))
            misfit = error / size
            if misfit < 0.012 and (best is None or misfit - 0.01 * size / width < best[0]):
                sigma = max(SHEET_CORNER_PX, error)
                plane = KnownPlane(_tuples(turned), long_side, short_side, sigma, 0.003, _title(kind))
                best = (misfit - 0.01 * size / width, plane)
    if best is None:
        raise InputError(
            f"no {_title(kind)} is in the photo",
            f"{tried} quadrilaterals were found, none with sides of {long_side * 1000:g} x {short_side * 1000:g} mm in "
            "perspective" if tried else "no quadrilateral of one brightness stands out",
            "lay it flat, whole, on a darker ground"
            + (", and lighter or darker than the ground" if radius else "")
            + "; or give its corners: --scale plane:x,y:x,y:x,y:x,y="
            + f"{long_side * 1000:g}mmx{short_side * 1000:g}mm",
        )  # fmt: skip
    return best[1]


def _title(kind: str) -> str:
    return {"a4": "A4 sheet", "a3": "A3 sheet", "letter": "letter sheet", "card": "bank card"}[kind]


def _area(quad: np.ndarray) -> float:
    x, y = quad.T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def _quadrilaterals(pixels: np.ndarray, *, paper: bool) -> list[np.ndarray]:
    """Corners (4, 2), clockwise, of areas with four straight sides, largest first, each place once."""
    import cv2

    blurred = cv2.bilateralFilter(pixels, 5, 30, 5)
    hsv = cv2.cvtColor(blurred, cv2.COLOR_RGB2HSV)
    value, saturation = hsv[..., 2], hsv[..., 1]
    masks = [value > t for t in _thresholds(value)]
    if paper:
        masks = [m & (saturation < 90) for m in masks]
    else:
        lab = cv2.cvtColor(blurred, cv2.COLOR_RGB2LAB)
        for channel in range(3):
            levels = _thresholds(lab[..., channel])
            masks += [lab[..., channel] > t for t in levels] + [lab[..., channel] <= t for t in levels]
    edges = cv2.Canny(blurred, 40, 120)
    masks.append(cv2.dilate(edges, np.ones((3, 3), np.uint8)) == 0)
    least = 0.0008 * pixels.shape[0] * pixels.shape[1]
    border = np.array([pixels.shape[1], pixels.shape[0]])
    found: list[tuple[float, np.ndarray]] = []
    for mask in masks:
        clean = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        contours, _ = cv2.findContours(clean, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            hull = cv2.convexHull(contour)
            area = cv2.contourArea(hull)
            if area < least or abs(cv2.contourArea(contour)) < 0.93 * area:
                continue
            length = cv2.arcLength(hull, True)
            quad = next(
                (q for e in (0.02, 0.03, 0.045, 0.06) if len(q := cv2.approxPolyDP(hull, e * length, True)) == 4), None
            )
            if quad is None:
                continue
            corners = np.asarray(quad, np.float64).reshape(4, 2) + 0.5
            if (corners < 2).any() or (corners > border - 2).any() or _area(corners) < 0.9 * area:
                continue
            x, y = corners.T
            if x @ np.roll(y, -1) - y @ np.roll(x, -1) < 0:
                corners = corners[::-1]
            found.append((area, np.roll(corners, -int(np.argmin(corners.sum(1))), 0)))
    found.sort(key=lambda f: -f[0])
    kept: list[np.ndarray] = []
    for _, quad in found:
        reach = 0.03 * math.sqrt(_area(quad)) + 1.5
        if all(np.abs(quad - other).max() > reach for other in kept):
            kept.append(quad)
        if len(kept) >= 40:
            break
    return kept


def _thresholds(channel: np.ndarray) -> list[int]:
    """Otsu's (1979) threshold of a channel and some around it."""
    import cv2

    otsu, _ = cv2.threshold(np.ascontiguousarray(channel), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    above = channel[channel > otsu]
    second = float(np.median(above)) if len(above) else float(otsu)
    levels = {int(otsu), int(0.5 * (otsu + second)), int(0.25 * otsu + 0.75 * second), int(0.6 * otsu)}
    return sorted(t for t in levels if 0 < t < 255)


def _fine_corners(grey: np.ndarray, quad: np.ndarray, reach: float, cut: float) -> np.ndarray | None:
    """Corners where lines through the four sides meet; each side from the strongest step of brightness across it, at up
    to 80 places that keep off the corners (by `cut` of the shorter side and more). None where a side has no clear step.
    """
    import cv2

    try:
        check_corners(quad, "sheet")
    except InputError:
        return None
    lines = []
    for k in range(4):
        start, end = quad[k], quad[(k + 1) % 4]
        along = end - start
        length = float(np.linalg.norm(along))
        along /= length
        across = np.array([-along[1], along[0]])
        margin = max(0.1, 1.3 * cut)
        at = np.linspace(margin, 1 - margin, int(np.clip(length / 2, 8, 80)))
        half = math.ceil(reach * 2)
        offset = np.arange(-half - 1, half + 2) * 0.5
        points = start + at[:, None, None] * (end - start) + offset[None, :, None] * across
        profile = cv2.remap(
            grey, (points[..., 0] - 0.5).astype(np.float32), (points[..., 1] - 0.5).astype(np.float32), cv2.INTER_LINEAR
        ).astype(np.float64)
        profile = (profile[:, :-2] + 2 * profile[:, 1:-1] + profile[:, 2:]) / 4
        step = profile[:, 1:] - profile[:, :-1]
        sign = 1.0 if np.median(step.sum(1)) > 0 else -1.0
        step = np.maximum(sign * step, 0)
        peak = step.max(1)
        good = peak > max(2.0, 0.3 * float(np.median(peak)))
        if good.sum() < 6:
            return None
        weight = np.where(step > 0.5 * peak[:, None], step, 0)
        middle = offset[1:-1]
        centre = (weight * 0.5 * (middle[1:] + middle[:-1])).sum(1) / np.maximum(weight.sum(1), 1e-9)
        line = _line(at[good] * length, centre[good])
        if line is None:
            return None
        slope, rise = line
        direction = along + slope * across
        lines.append((start + rise * across, direction))
    corners = []
    for k in range(4):
        (p, u), (q, v) = lines[k - 1], lines[k]
        matrix = np.stack([u, -v], 1)
        if abs(np.linalg.det(matrix)) < 1e-3:
            return None
        corners.append(p + u * np.linalg.solve(matrix, q - p)[0])
    found = np.array(corners)
    size = math.sqrt(_area(quad))
    return found if np.abs(found - quad).max() < 0.12 * size + 2 * reach else None


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float] | None:
    """(slope, value at 0) by least squares with Tukey's weights; None when half of the points are off by over 1 px."""
    weight = np.ones(len(x))
    slope, rise = 0.0, float(np.median(y))
    for _ in range(8):
        residual = y - slope * x - rise
        scale = max(1.4826 * float(np.median(np.abs(residual - np.median(residual)))), 0.1)
        weight = np.clip(1 - ((residual - np.median(residual)) / (4.685 * scale)) ** 2, 0, None) ** 2
        mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
        spread = float((weight * (x - mean_x) ** 2).sum())
        if spread <= 0:
            return None
        slope = float((weight * (x - mean_x) * (y - mean_y)).sum()) / spread
        rise = float(mean_y - slope * mean_x)
    return (slope, rise) if np.median(np.abs(y - slope * x - rise)) < 1.0 else None
