"""What can be told of a photo or video: its header at once, sharpness and a small picture a little later.

Run as `python -m rilievo.studio.looks` this is the child that decodes: pictures of strangers are unpacked in a process
of its own, so that a broken one can neither fill nor end the server. Lines of JSON in, lines of JSON out.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from rilievo.errors import RilievoError
from rilievo.io.photos import Source
from rilievo.io.pixels import VIDEO_SUFFIXES, open_photo, sniff
from rilievo.studio.problems import Problem

THUMB = 320  # px of the longer side
BLURRED_PX, SOFT_PX = 4.0, 2.5
SMALL_PX = 640
LARGE = 60_000_000  # pixels beyond which a photo is looked at smaller
CHILD_BYTES = 6 << 30  # address space of the child: a photo of the largest size that is taken needs half


def look_at_header(path: Path, name: str, max_pixels: int) -> dict[str, Any]:
    """Kind, size, camera and time of a file, by its content. Raises InputError or Problem (415) for what is neither
    photo nor video."""
    suffix = Path(name).suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return _video_header(path, name)
    data = path.read_bytes()
    if sniff(data[:32], suffix) == "video":
        raise Problem(415, f"{name} cannot be used", "it is a video with the name of a photo", "rename it to .mp4")
    opened = open_photo(data, name, suffix)
    if opened.width * opened.height > max_pixels:
        raise Problem(
            413,
            f"{name} is too large",
            f"it has {opened.width} x {opened.height} pixels; {max_pixels / 1e6:.0f} Mpx are the most",
            "save it smaller",
        )
    if min(opened.width, opened.height) < 32:
        raise Problem(
            415, f"{name} cannot be used as a photo", f"it has only {opened.width} x {opened.height} pixels", ""
        )
    return {
        "kind": "photo",
        "width": opened.width,
        "height": opened.height,
        "taken": opened.notes.taken_at,
        "camera": opened.notes.camera_name,
        "warnings": [],
    }


def _video_header(path: Path, name: str) -> dict[str, Any]:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise Problem(415, f"{name} cannot be used", "it has no picture, only other streams", "")
            stream = container.streams.video[0]
            seconds = float(container.duration or 0) / 1e6
            width, height = stream.codec_context.width, stream.codec_context.height
    except (av.error.FFmpegError, OSError, ValueError) as error:  # pyright: ignore[reportAttributeAccessIssue]
        raise Problem(
            415, f"{name} cannot be used as a video", "its content is no video that can be read", "copy it again"
        ) from error
    return {"kind": "video", "width": width, "height": height, "seconds": round(seconds, 1), "warnings": []}


def look_closely(path: Path, name: str, thumb: Path, pts: int | None = None) -> dict[str, Any]:
    """Sharpness (sigma of the blur, px) and warnings; writes the small picture. pts: time of a frame, where the photo
    is one of a video. Raises RilievoError when the file cannot be decoded."""
    import cv2
    import numpy as np

    from rilievo.checking.findings import spell_direction
    from rilievo.io.blur import measure_blur
    from rilievo.io.photos import decode_pixels, open_whole
    from rilievo.io.pixels import shrink, shrunk_size
    from rilievo.io.video import load_frame
    from rilievo.stages.photo_quality import measure_photo, with_edges

    suffix = Path(name).suffix.lower()
    warnings: list[str] = []
    facts: dict[str, Any] = {}
    if pts is not None:
        pixels = load_frame(Source(name, path, pts=pts))
    elif suffix in VIDEO_SUFFIXES:
        pixels = load_frame(_first_frame(path, name))
    else:
        _, opened = open_whole(Source(name, path))
        whole = opened.width * opened.height <= LARGE
        pixels, _ = decode_pixels(opened, name, max_size=None if whole else 6000)
        measured = with_edges(measure_photo(pixels), measure_blur(pixels))
        larger = max(opened.width, opened.height) / max(pixels.shape[:2])
        blur, smear = measured.sigma_px * larger, measured.motion_px * larger
        facts["sharpness"] = round(blur, 2) if np.isfinite(blur) else None
        shaken = f", shaken over {smear:.0f} px, {spell_direction(measured.motion_deg)}" if smear > 0 else ""
        how = f"blurred ({blur:.1f} px{shaken})"
        if not np.isfinite(blur):
            warnings.append("nothing in it has an edge: an even surface, or the lens was covered")
        elif blur > BLURRED_PX:
            warnings.append(f"{how}: it will hardly be placed; take it again")
        elif blur > SOFT_PX:
            warnings.append(f"a little {how}")
        if measured.clipped_share > 0.3:
            warnings.append(f"{100 * measured.clipped_share:.0f} % of it are overexposed")
        if max(opened.width, opened.height) < SMALL_PX:
            warnings.append(f"small: {opened.width} x {opened.height} pixels show little detail")
    height, width = pixels.shape[:2]
    w, h = shrunk_size(width, height, THUMB)
    small = np.ascontiguousarray(shrink(pixels, w, h))
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    if suffix not in VIDEO_SUFFIXES:
        if float(np.mean(grey < 8)) > 0.6:
            warnings.append("very dark")
        elif float(np.mean(grey > 250)) > 0.6:
            warnings.append("overexposed")
    good, raw = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    if good:
        # Not with `replacing`, which makes folders: of a house that is deleted meanwhile nothing may come back.
        new = thumb.with_name(f".{thumb.name}.part")
        new.write_bytes(raw.tobytes())
        new.replace(thumb)
    return {**facts, "warnings": warnings}


def _first_frame(path: Path, name: str) -> Source:
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.pts is not None:
                return Source(name, path, pts=frame.pts)
    raise Problem(415, f"{name} cannot be used as a video", "it has no picture that can be read", "")


def bound_memory() -> None:
    """A picture that unpacks to more than it said ends in MemoryError, not in a machine without memory."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (CHILD_BYTES, CHILD_BYTES))
    except (ImportError, OSError, ValueError):  # not every system has it
        return


def main() -> int:
    """The child: {path, name, thumb, pts} a line; answers {facts} or {why}."""
    import cv2

    cv2.setNumThreads(1)
    bound_memory()
    if hasattr(os, "nice"):
        os.nice(5)  # files that still come go first
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            told = {"facts": look_closely(Path(asked["path"]), asked["name"], Path(asked["thumb"]), asked.get("pts"))}
        except RilievoError as error:
            told = {"why": error.why or error.what}
        except MemoryError:
            told = {"why": "the memory is too short to decode it"}
        except Exception as error:
            told = {"why": f"it cannot be decoded ({type(error).__name__})"}
        print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
