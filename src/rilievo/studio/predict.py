"""What a job is expected to take, from the sizes of the photos."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from rilievo.studio.problems import Problem

# CPU seconds of a step of splats: fixed, and a Mpx of photo (a house of 36 photos: 0.31 at 0.48 Mpx); of a field.
SPLATS_STEP, SPLATS_STEP_MPX = 0.05, 0.5
FIELD_STEP = 0.2
DEPTH_SECONDS = {"draft": 6.0, "normal": 6.0, "high": 40.0}
FRAMES_OF_VIDEO = 120


def predict(
    photos: Sequence[dict[str, Any]], makes: Sequence[str], quality: str, threads: int, free_mb: float
) -> dict[str, Any]:
    """photos: documents of a house's photos. Seconds, memory (MB), disk (MB) and notes for people.

    Raises Problem (409) when there are no photos.
    """
    from rilievo import plan
    from rilievo.gather import Gathered
    from rilievo.plan_field import PRESETS as FIELDS
    from rilievo.plan_splats import PRESETS as SPLATS

    sizes = []
    for photo in photos:
        if photo["width"]:
            number = FRAMES_OF_VIDEO if photo["kind"] == "video" else 1
            sizes += [(photo["width"], photo["height"])] * number
    if not sizes:
        raise Problem(409, "Nothing can be predicted yet", "the house has no photos", "add photos first")
    notes: list[str] = []
    seconds, memory, disk = 0.0, 300.0, 0.0
    slowness = _slowness()
    several = {"model", "splats", "field"} & set(makes)
    if several:
        found = Gathered(tuple(_photo(k, w, h) for k, (w, h) in enumerate(sizes)), (), (), ())
        told = plan.predict(found, plan.BuildSettings(quality=quality), threads, slowness)
        seconds += told.seconds
        memory = max(memory, told.memory_mb)
        disk += 25 + sum(w * h for w, h in sizes) / 1e6 * {"draft": 8, "normal": 14, "high": 30}[quality]
        if "model" not in makes:
            notes.append("cameras and a model come first: splats and field are made of them")
        if len(sizes) < 2:
            notes.append("one photo gives depth only; the others need more photos")
        elif len(sizes) < 12:
            notes.append(f"{len(sizes)} photos are few: holes are likely")
    if "splats" in makes:
        size, steps, most = SPLATS[quality]
        mpx = sum(_mpx(w, h, size) for w, h in sizes) / len(sizes)
        seconds += slowness * steps * (SPLATS_STEP + SPLATS_STEP_MPX * mpx) / max(threads, 1)
        memory = max(memory, 600 + sum(_mpx(w, h, size) for w, h in sizes) * 4 + most * 2e-3)
        disk += 60 + most * 1.3e-3
    if "field" in makes:
        _, steps, _, bits = FIELDS[quality]
        seconds += slowness * steps * FIELD_STEP / max(threads, 1)
        memory = max(memory, 900 + 2**bits * 16 * 16 / 1e6)
        disk += 80
    if "depth" in makes:
        seconds += slowness * DEPTH_SECONDS[quality]
        memory = max(memory, 1200.0)
        disk += 20
    blurred = sum(any(w.startswith(("blurred", "cannot")) for w in p["warnings"]) for p in photos)
    if blurred and several:
        notes.append(f"{blurred} of {len(photos)} photos are blurred or cannot be read: they will hardly be placed")
    if memory * 1.05 > 0.75 * free_mb:
        notes.append(
            f"the memory is short: about {memory / 1000:.1f} GB are needed, {free_mb / 1000:.1f} GB are free; "
            "choose a lower quality"
        )
    if any(p["kind"] == "video" for p in photos) and several:
        notes.append("of a video the sharpest frames are taken; how many is known only then")
    return {"seconds": round(seconds, 1), "memory_mb": round(memory), "disk_mb": round(disk), "notes": notes}


def _mpx(width: int, height: int, size: int) -> float:
    scale = min(1.0, size / max(width, height))
    return width * height * scale * scale / 1e6


def _photo(k: int, width: int, height: int) -> Any:
    from rilievo.types import Photo

    return Photo(name=str(k), content_id=str(k), width=width, height=height, camera_key="")


@lru_cache(1)
def _slowness() -> float:
    from rilievo import plan

    return plan.measure_slowness()
