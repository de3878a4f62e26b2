"""What notes (EXIF) and fingerprints say about a set: changed settings, doubles, missing notes, resolution."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from rilievo.checking.findings import MIN_MPX, NOTE, PRO_MPX, WEAK, Finding
from rilievo.checking.looks import Look


def by_photo(looks: Sequence[Look]) -> dict[str, list[Finding]]:
    """What the notes of single photos say against those of the set."""
    out: dict[str, list[Finding]] = {look.name: [] for look in looks}

    def usual(values: Sequence[float | None]) -> float | None:
        known = [v for v in values if v]
        return Counter(known).most_common(1)[0][0] if len(known) > 1 else None

    focal = usual([n.notes.focal_mm for n in looks])
    zoom = usual([n.notes.zoom for n in looks])
    subject = [n.notes.subject_m for n in looks if n.notes.subject_m]
    exposures = {n.name: ev for n in looks if (ev := exposure_value(n)) is not None}
    middle = float(np.median(list(exposures.values()))) if len(exposures) > 2 else None
    balances = Counter(n.notes.white_balance for n in looks if n.notes.white_balance)
    bodies = Counter(n.notes.camera_name for n in looks if n.notes.camera_name)
    sizes = Counter((max(n.quality.width, n.quality.height), min(n.quality.width, n.quality.height)) for n in looks)
    for look in looks:
        notes, found = look.notes, out[look.name]
        if not notes.camera_name and not notes.focal_mm and not notes.focal_35mm:
            text = "has no EXIF: focal length and camera are unknown"
            found.append(Finding("exif", NOTE, text, "copy it from the camera; messengers strip the notes", 0.0))
        if focal and notes.focal_mm and abs(math.log(notes.focal_mm / focal)) > 0.02:
            text = f"was zoomed: {notes.focal_mm:g} mm, the others {focal:g} mm"
            found.append(Finding("zoom", WEAK, text, "leave the zoom alone, tape it", notes.focal_mm))
        if zoom and notes.zoom and abs(math.log(notes.zoom / zoom)) > 0.02:
            text = f"has a digital zoom of {notes.zoom:g}, the others {zoom:g}"
            found.append(Finding("zoom", WEAK, text, "no digital zoom", notes.zoom))
        if len(subject) > 2 and notes.subject_m and abs(math.log(notes.subject_m / float(np.median(subject)))) > 0.4:
            text = f"was focused at {notes.subject_m:g} m, the others at {float(np.median(subject)):g} m"
            found.append(Finding("focus", NOTE, text, "manual focus, left alone", notes.subject_m))
        if middle is not None and look.name in exposures and abs(exposures[look.name] - middle) > 1.0:
            ev = middle - exposures[look.name]
            text = f"got {abs(ev):.1f} EV {'more' if ev > 0 else 'less'} light than the others (EXIF)"
            found.append(Finding("settings", NOTE, text, "one exposure for all photos", ev))
        if len(balances) > 1 and notes.white_balance and notes.white_balance != balances.most_common(1)[0][0]:
            text = f"has white balance {notes.white_balance!r}, the others {balances.most_common(1)[0][0]!r}"
            found.append(Finding("white balance", NOTE, text, "one white balance for all photos", 0.0))
        if len(bodies) > 1 and notes.camera_name and bodies[notes.camera_name] < 0.2 * len(looks):
            text = f"is from another camera ({notes.camera_name})"
            found.append(Finding("camera", NOTE, text, "", 0.0))
        size = max(look.quality.width, look.quality.height), min(look.quality.width, look.quality.height)
        if len(sizes) > 1 and sizes[size] < 0.2 * len(looks):
            text = f"has another size ({size[0]} x {size[1]} px) than the others"
            found.append(Finding("size", NOTE, text, "full size, uncropped, for all photos", float(size[0])))
    return {name: found for name, found in out.items() if found}


def exposure_value(look: Look) -> float | None:
    """Light that the settings let through, as EV at ISO 100 (higher: less light); None where the notes do not say."""
    n = look.notes
    if not (n.exposure_s and n.f_number):
        return None
    return math.log2(n.f_number**2 / n.exposure_s) - math.log2((n.iso or 100.0) / 100.0)


def of_set(looks: Sequence[Look]) -> list[Finding]:
    """What holds for the set as a whole."""
    found = []
    n = len(looks)
    mpx = float(np.median([look.quality.megapixels for look in looks])) if looks else 0.0
    detail = float(np.median([look.quality.detail_megapixels for look in looks])) if looks else 0.0
    for limit, word in ((MIN_MPX, "minimum"), (PRO_MPX, "professional")):
        if 1.02 * mpx < limit:
            text = f"photos have {mpx:.1f} Mpx; the {word} standard is {limit:.0f}"
            found.append(
                Finding(
                    "resolution", WEAK if limit == MIN_MPX else NOTE, text, "the camera's full size, or get nearer", mpx
                )
            )
            break
    if detail < 0.5 * mpx:
        text = f"photos are soft throughout: {detail:.1f} of {mpx:.1f} Mpx hold detail"
        found.append(Finding("soft", WEAK, text, "check focus, shutter and lens; a tripod", detail))
    for kind, key, limit, text, hint in (
        ("textureless", "textureless_share", 0.5, "{:.0f} % of the area has no texture", "put patterns around"),
        ("shadow", "shadow_share", 0.1, "hard shadows lie over {:.0f} % of the area", "an overcast sky or soft light"),
        (
            "specular",
            "specular_share",
            0.004,
            "highlights cover {:.1f} % of the area",
            "polarising filters, soft light",
        ),
        ("clipped", "clipped_share", 0.05, "{:.0f} % of the area has run over", "expose less"),
    ):
        values = [getattr(look.quality, key) for look in looks]
        values = [v for v in values if not math.isnan(v)]
        if values and float(np.median(values)) > limit:
            found.append(
                Finding(kind, NOTE, text.format(100 * float(np.median(values))), hint, float(np.median(values)))
            )
    evs = [ev for look in looks if (ev := exposure_value(look)) is not None]
    if len(evs) > 2 and max(evs) - min(evs) > 1.0:
        text = f"exposure was left to the camera: its settings span {max(evs) - min(evs):.1f} EV"
        found.append(Finding("settings", NOTE, text, "one exposure for all photos (manual)", max(evs) - min(evs)))
    blank = sum(not look.notes.camera_name and not look.notes.focal_mm for look in looks)
    if n and blank == n:
        found.append(Finding("exif", NOTE, "no photo says its camera or focal length", "", float(blank)))
    return found


def doubles(looks: Sequence[Look]) -> dict[str, str]:
    """Photo -> the earlier photo that it repeats: the same view from the same place, as their small pictures tell."""
    prints = [look.fingerprint.astype(np.float32).ravel() for look in looks]
    units = []
    for p in prints:
        p = p - p.mean()
        units.append(p / max(float(np.linalg.norm(p)), 1e-6))
    out: dict[str, str] = {}
    for i in range(1, len(looks)):
        like = np.stack(units[:i]) @ units[i]
        j = int(np.argmax(like))
        if like[j] > 0.997 and looks[j].name not in out:
            out[looks[i].name] = looks[j].name
    return out


def merged(*parts: Mapping[str, Sequence[Finding]]) -> dict[str, list[Finding]]:
    """Findings of several checks by photo; of one kind the first is kept."""
    out: dict[str, list[Finding]] = {}
    for part in parts:
        for name, found in part.items():
            kept = out.setdefault(name, [])
            kinds = {f.kind for f in kept}
            kept += [f for f in found if f.kind not in kinds]
    return out
