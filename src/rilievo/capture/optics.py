"""The optics of a photo: scale, depth of field, diffraction, motion, precision. Lengths in metres unless named mm.

Blur is counted as everywhere in rilievo: sigma of a Gaussian of equal spread, in pixels. A point out of focus becomes a
disc of diameter d, whose spread along one axis is d / 4; an Airy disc is fitted best by a Gaussian of 0.42 wavelengths
times the f-number (Zhang et al. 2007).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rilievo.capture.gear import Gear

WAVELENGTH_MM = 0.00055  # green light
MAX_DEFOCUS_PX = 1.0  # at the ends of the depth that shall be sharp
MAX_DIFFRACTION_PX = 0.5  # everywhere
MAX_MOTION_PX = 0.5
# A steady hand: the camera turns by half a degree and moves by two centimetres in a second.
HAND_TURN_RAD_S, HAND_MOVE_M_S = math.radians(0.5), 0.02


def depth_for_gsd(gear: Gear, gsd: float) -> float:
    """Depth at which a pixel spans `gsd`, m: f (1 + gsd / pitch), the lens being focused there."""
    return gear.focal_mm / 1000 * (1 + gsd * 1000 / gear.pitch_mm)


def gsd_at(gear: Gear, depth: float) -> float:
    """Ground sample distance at a depth, m, the lens being focused there."""
    return (depth - gear.focal_mm / 1000) * gear.pitch_mm / gear.focal_mm


def footprint(gear: Gear, gsd: float) -> tuple[float, float]:
    """Width and height of what a picture shows at that gsd, long side first, m."""
    return gsd * gear.pixels[0], gsd * gear.pixels[1]


def focus_limits(gear: Gear, f_number: float, focus: float, blur_px: float = MAX_DEFOCUS_PX) -> tuple[float, float]:
    """Nearest and farthest depth with at most that blur when the lens is focused at `focus`; the far one may be inf."""
    f, disc = gear.focal_mm, 4 * blur_px * gear.pitch_mm
    s = focus * 1000
    hyperfocal = f * f / (f_number * disc)
    near = hyperfocal * s / (hyperfocal + (s - f))
    far = hyperfocal * s / (hyperfocal - (s - f)) if hyperfocal > s - f else math.inf
    return near / 1000, far / 1000


def f_number_for(gear: Gear, near: float, far: float, blur_px: float = MAX_DEFOCUS_PX) -> tuple[float, float]:
    """(f-number, focus depth) that keeps near to far within that blur: focus at the harmonic middle, m."""
    f, disc = gear.focal_mm, 4 * blur_px * gear.pitch_mm
    a, b = near * 1000, far * 1000
    focus = 2 / (1 / a + 1 / b)
    # the disc of a point at depth a: f^2 / N * (s - a) / (a (s - f)), solved for N
    return f * f * (focus - a) / (a * (focus - f) * disc), focus / 1000


def diffraction_f_number(gear: Gear, magnification: float, blur_px: float = MAX_DIFFRACTION_PX) -> float:
    """The f-number (as engraved) from which diffraction alone blurs more than that."""
    return blur_px * gear.pitch_mm / (0.42 * WAVELENGTH_MM * (1 + magnification))


def slowest_shutter_s(gsd: float, speed_m_s: float, turn_rad_s: float, focal_px: float) -> float:
    """Longest exposure with at most half a pixel of motion; inf where nothing moves."""
    px_per_s = speed_m_s / gsd + turn_rad_s * focal_px
    return MAX_MOTION_PX / px_per_s if px_per_s > 0 else math.inf


def depth_precision(depth: float, focal_px: float, baseline: float, sigma_px: float) -> float:
    """Standard deviation of the depth from one pair: Z^2 / (f B) sigma_px, sigma_px that of the parallax."""
    return depth * depth / (focal_px * baseline) * sigma_px if baseline > 0 else math.inf


@dataclass(frozen=True)
class Exposure:
    """Limits of aperture and shutter. f_number: the one to set, within what the lens can.  needed_f_number: for the
    depth of field.  max_f_number: by diffraction.  near, far: what is sharp at f_number.  sharp: the whole subject is.
    shutter_s: the longest exposure, inf on a tripod."""

    f_number: float
    needed_f_number: float
    max_f_number: float
    focus: float
    near: float
    far: float
    sharp: bool
    shutter_s: float


def exposure_limits(
    gear: Gear, depth: float, subject: tuple[float, float], *, speed_m_s: float, turn_rad_s: float
) -> Exposure:
    """Aperture and shutter for a subject that reaches from the nearest to the farthest depth (subject)."""
    f = gear.focal_mm / 1000
    near, far = max(subject[0], 1.05 * f), max(subject[1], 1.06 * f)
    needed, focus = f_number_for(gear, near, far)
    limit = diffraction_f_number(gear, f / max(focus - f, 1e-9))
    widest, narrowest = gear.f_numbers
    f_number = min(max(needed, widest), narrowest, max(limit, widest))
    if needed < f_number < limit and widest < narrowest:
        f_number = min(max(needed, min(1.4 * widest, limit)), narrowest)  # a stop down: lenses are sharper there
    sharp_near, sharp_far = focus_limits(gear, f_number, focus)
    focal_px = gear.focal_px * focus / (focus - f)
    shutter = slowest_shutter_s(gsd_at(gear, max(subject[0], 1.05 * f)), speed_m_s, turn_rad_s, focal_px)
    sharp = sharp_near <= near * (1 + 1e-6) and sharp_far >= far * (1 - 1e-6)
    return Exposure(f_number, needed, limit, focus, sharp_near, sharp_far, sharp, shutter)
