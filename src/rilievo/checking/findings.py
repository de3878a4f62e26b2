"""What is wrong with single photos, in words: against fixed limits, and against the photos that show the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rilievo.checking.looks import Look
from rilievo.stages.photo_quality import PhotoQuality

# Verdicts of a finding: the photo is lost for measuring, it is worse than it should be, it is worth knowing.
BAD, WEAK, NOTE = "bad", "weak", "note"
ORDER = {BAD: 0, WEAK: 1, NOTE: 2}
# Blur (sigma) from which a photo is called soft, and lost; its share of the neighbours' that is called so at any size.
SOFT_PX, LOST_PX, SOFTER = 1.2, 2.5, 1.6
# Resolution that professionals ask for, and the least (Mpx).
PRO_MPX, MIN_MPX = 24.0, 12.0


@dataclass(frozen=True)
class Finding:
    """One thing about a photo (or the set). text: a sentence without its subject ("is ...").  hint: what to do, may be
    empty.  value: the number in the text."""

    kind: str
    level: str
    text: str
    hint: str
    value: float


def spell_direction(degrees: float) -> str:
    """Of a smear in the picture, in words."""
    names = ("level", "rising to the right", "upright", "falling to the right")
    return names[round(degrees / 45) % 4]


def single(quality: PhotoQuality) -> list[Finding]:
    """What the photo's own measures say, whatever the others are like."""
    q, found = quality, []
    if math.isnan(q.sigma_px):
        if not q.textureless_share < 0.9:
            found.append(
                Finding("empty", BAD, "shows nothing that could be matched", "leave it out", q.textureless_share)
            )
    elif q.sigma_px >= SOFT_PX:
        level = BAD if q.sigma_px >= LOST_PX else WEAK
        found.append(_blur(q, level, ""))
    if q.dark_share > 0.4 or q.ev < -3.5:
        level = BAD if q.dark_share > 0.8 or q.ev < -5 else WEAK
        text = f"is underexposed ({100 * q.dark_share:.0f} % black, {q.ev:+.1f} EV against average grey)"
        found.append(Finding("dark", level, text, "more light or a longer exposure, on a tripod", q.ev))
    if q.clipped_share > 0.08:
        level = BAD if q.clipped_share > 0.6 else WEAK
        text = f"has run over in {100 * q.clipped_share:.0f} % of its area (highlights without detail)"
        found.append(Finding("clipped", level, text, "expose less, by 1 EV or more", q.clipped_share))
    if q.noise > 6:
        text = f"is noisy (sigma {q.noise:.1f} of 255)"
        found.append(Finding("noise", WEAK, text, "a lower ISO and more light, on a tripod", q.noise))
    if q.blocks > 0.9 or q.jpeg_quality < 50:
        saved = "" if math.isnan(q.jpeg_quality) else f"quality {q.jpeg_quality:.0f}, "
        level = BAD if q.blocks > 3 or q.jpeg_quality < 12 else WEAK
        text = f"was compressed too hard ({saved}steps of {q.blocks:.1f} grey levels between blocks)"
        found.append(Finding("jpeg", level, text, "take it from the camera, not from a messenger", q.jpeg_quality))
    if q.textureless_share > 0.75:
        text = f"has no texture in {100 * q.textureless_share:.0f} % of its area"
        found.append(Finding("textureless", WEAK, text, "get nearer, or put patterns around", q.textureless_share))
    if q.specular_share > 0.008:
        text = f"has highlights in {100 * q.specular_share:.1f} % of its area that wander with the camera"
        found.append(Finding("specular", WEAK, text, "soft light, or polarising filters", q.specular_share))
    if q.shadow_share > 0.2:
        text = f"has hard shadows over {100 * q.shadow_share:.0f} % of its area"
        found.append(Finding("shadow", NOTE, text, "an overcast sky or soft light", q.shadow_share))
    return found


def _blur(q: PhotoQuality, level: str, compared: str) -> Finding:
    left = (
        f"; {q.detail_megapixels:.2g} of {q.megapixels:.2g} Mpx are left" if q.detail_megapixels < q.megapixels else ""
    )
    if q.motion_px > 0 and q.motion_px / math.sqrt(12) > 0.6 * q.defocus_px:
        text = f"is shaken over {q.motion_px:.0f} px, {spell_direction(q.motion_deg)}{compared}{left}"
        hint = "take it again: a shorter exposure, a tripod, or both elbows on the body"
        return Finding("motion", level, text, hint, q.motion_px)
    text = f"is out of focus by {q.sigma_px:.1f} px (sigma){compared}{left}"
    return Finding("defocus", level, text, "take it again, focused on the subject, at f/8 or so", q.sigma_px)


def relative(
    looks: Mapping[str, Look], neighbours: Mapping[str, Sequence[str]], gains: Mapping[str, np.ndarray]
) -> dict[str, list[Finding]]:
    """What photos are in comparison with those that show the same. neighbours: photo -> photos that overlap it (all
    others where nothing is known).  gains: photo -> red, green, blue in EV against the others
    (`faults.relative_gains`), NaN unknown."""
    out: dict[str, list[Finding]] = {}
    for name, look in looks.items():
        q, found = look.quality, []
        others = [looks[n].quality for n in neighbours.get(name, ()) if n in looks]
        sigmas = [o.sigma_px for o in others if not math.isnan(o.sigma_px)]
        if len(sigmas) >= 2 and 0.8 <= q.sigma_px < SOFT_PX and q.sigma_px > SOFTER * float(np.median(sigmas)):
            compared = f" (photos that show the same: {float(np.median(sigmas)):.1f} px)"
            found.append(_blur(q, WEAK, compared))
        noises = [o.noise for o in others]
        # Texture without a flat part reads as noise of up to 2.
        if len(noises) >= 2 and 3.5 < q.noise <= 6 and q.noise > 2.5 * float(np.median(noises)) + 0.5:
            text = f"is noisier than its neighbours (sigma {q.noise:.1f} against {float(np.median(noises)):.1f})"
            found.append(Finding("noise", WEAK, text, "one ISO for all photos, as low as it goes", q.noise))
        gain = gains.get(name)
        if gain is not None and np.isfinite(gain).all():
            found += _light(gain)
        elif gain is None and len(others) >= 3:
            # nothing was matched: brightness against the photos around, which may show something else
            ev = q.ev - float(np.median([o.ev for o in others]))
            if abs(ev) > 1.5:
                text = f"is {abs(ev):.1f} EV {'lighter' if ev > 0 else 'darker'} than the photos around it"
                found.append(Finding("exposure", WEAK, text, "hold one exposure for all photos", ev))
        if found:
            out[name] = found
    return out


def _light(gain: np.ndarray) -> list[Finding]:
    found, ev = [], float(gain.mean())
    if abs(ev) > 0.6:
        text = f"is {abs(ev):.1f} EV {'lighter' if ev > 0 else 'darker'} than the others where they show the same"
        level = BAD if abs(ev) > 2.5 else WEAK
        found.append(Finding("exposure", level, text, "hold one exposure for all photos (manual, or lock)", ev))
    red, blue = float(gain[0] - gain[1]), float(gain[2] - gain[1])
    if max(abs(red), abs(blue)) > 0.3:
        text = f"has another white balance than the others (red {red:+.1f} EV, blue {blue:+.1f} EV against green)"
        value = red if abs(red) > abs(blue) else blue
        found.append(Finding("white balance", WEAK, text, "one white balance for all photos", value))
    return found
