"""Limits of aperture and shutter of a plan, as plain values, and what people should know of them."""

from __future__ import annotations

import math
from typing import Any

from rilievo.capture import optics
from rilievo.capture.gear import Gear


def exposure(gear: Gear, depth: float, depths: tuple[float, float, float], speed_m_s: float | None) -> dict[str, Any]:
    """Limits of aperture and shutter as plain values. speed_m_s: None by hand, 0 on a tripod."""
    by_hand = speed_m_s is None
    limits = optics.exposure_limits(
        gear,
        depth,
        (depths[0], depths[2]),
        speed_m_s=optics.HAND_MOVE_M_S if speed_m_s is None else speed_m_s,
        turn_rad_s=optics.HAND_TURN_RAD_S if by_hand else 0.0,
    )
    return {
        "f_number": limits.f_number,
        "f_number_for_depth_of_field": limits.needed_f_number,
        "f_number_limit_by_diffraction": limits.max_f_number,
        "focus_m": limits.focus,
        "sharp_from_m": limits.near,
        "sharp_to_m": limits.far if math.isfinite(limits.far) else None,
        "whole_subject_sharp": limits.sharp,
        "slowest_shutter_s": limits.shutter_s if math.isfinite(limits.shutter_s) else None,
        "held": "by hand" if by_hand else "still" if not speed_m_s else f"moving at {speed_m_s:g} m/s",
    }


def exposure_notes(limits: dict[str, Any], gear: Gear) -> list[str]:
    """What people should know of them."""
    if limits["whole_subject_sharp"]:
        return []
    far = limits["sharp_to_m"]
    reach = f"{limits['sharp_from_m']:.3g} m to " + ("infinity" if far is None else f"{far:.3g} m")
    fixed = gear.f_numbers[0] == gear.f_numbers[1]
    why = (
        "its aperture is fixed"
        if fixed
        else f"diffraction blurs from f/{limits['f_number_limit_by_diffraction']:.2g} on"
    )
    return [
        f"depth of field is short: at f/{limits['f_number']:.2g} (more is no use: {why}) it is sharp from {reach}; "
        "what lies outside is blurred by more than a pixel. Step back, use a shorter lens, or stack photos of two "
        "focus settings"
    ]
