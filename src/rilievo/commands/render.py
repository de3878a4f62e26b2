"""`rilievo render`: a video or frames along a path of the camera."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import tyro

from rilievo.commands.common import Common, Talk, num_cores, print_result, spell_seconds
from rilievo.errors import InputError

COLORS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}


def render(
    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="HOUSE|FILE")],
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="OUT")] = None,
    path: Annotated[str, tyro.conf.arg(metavar="PATH")] = "orbit",
    what: Literal["auto", "splats", "field", "mesh"] = "auto",
    size: Annotated[str | None, tyro.conf.arg(metavar="WxH")] = None,
    fps: Annotated[float | None, tyro.conf.arg(metavar="RATE")] = None,
    seconds: Annotated[float | None, tyro.conf.arg(metavar="S")] = None,
    fov: Annotated[float | None, tyro.conf.arg(metavar="DEG")] = None,
    background: Annotated[str | None, tyro.conf.arg(metavar="COLOR")] = None,
    depth: bool = False,
    normals: bool = False,
    cameras: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None,
    save_path: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    common: Common = Common(),
) -> int:
    """A video or frames of splats, a field or a mesh along a path of the camera.

    Args:
        source: the project folder, a file of splats (ply, spz, splat, sog), a field (npz) or a mesh (glb, obj, ply,
            stl).
        output: video to write (.mp4), or a folder for PNG frames (default: NAME-PATH.mp4 in the current folder).
        path: orbit (around what the photos look at), through (along the photos), photos (one frame a photo, where it
            was taken), or a camera path of nerfstudio's viewer (.json).
        what: what of a house to draw; auto is the best that is there.
        size: width and height of the frames, px (default: 1280 on the longer side, shaped as the photos).
        fps: frames a second (default: 30, or as the path file says).
        seconds: length of the video (default: 8, or as the path file says).
        fov: angle of view from top to bottom, degrees (default: as the photos).
        background: colour behind everything: white, black, #rrggbb or r,g,b with 0 to 1.
        depth: write depth too: 16 bit PNG with their scale in frames.json, or a coloured video beside the first.
        normals: write the directions of surfaces too, as colours.
        cameras: for a file, whose cameras to go by: a house, a COLMAP folder or a transforms.json.
        save_path: write the path to this file too, as nerfstudio's viewer writes it.
    """
    from rilievo import pipelines_render as pipelines

    talk = Talk(common)
    kind = Path(path).stem if path not in pipelines.PATHS else path
    target = output or Path(f"{source.resolve().stem or 'scene'}-{kind}.mp4")
    settings = pipelines.RenderSettings(
        what=what,
        path=path,
        size=None if size is None else parse_size(size),
        seconds=seconds,
        frames_per_second=fps,
        fov_deg=fov,
        depth=depth,
        normals=normals,
        background=None if background is None else parse_color(background),
        cameras=cameras,
        save_path=save_path,
    )
    facts = pipelines.render(
        source, target, settings=settings, num_threads=common.threads or num_cores(), progress=talk.progress
    )
    text = (
        f"{facts['num_frames']} frames of {facts['width']}x{facts['height']} ({facts['what']}) in "
        f"{spell_seconds(facts['seconds'])}, {facts['frames_drawn_per_second']} a second\n" + "\n".join(facts["files"])
    )
    print_result(facts, common.json, text)
    return 0


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of `1280x720`. Raises InputError."""
    match = re.fullmatch(r"\s*(\d{1,6})\s*[xX×]\s*(\d{1,6})\s*", text)
    if not match:
        raise InputError(f"cannot read the size {text!r}", "expected width x height", "write e.g. 1280x720")
    return int(match[1]), int(match[2])


def parse_color(text: str) -> tuple[float, float, float]:
    """Red, green, blue 0..1 of `white`, `black`, `#ff8000` or `1,0.5,0`. Raises InputError."""
    name = text.strip().lower()
    if name in COLORS:
        return COLORS[name]
    if match := re.fullmatch(r"#?([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", name):
        r, g, b = (int(m, 16) / 255 for m in match.groups())
        return r, g, b
    try:
        r, g, b = (float(word) for word in name.split(","))
    except ValueError:
        r = g = b = -1.0
    if not all(0 <= c <= 1 for c in (r, g, b)):
        raise InputError(
            f"cannot read the colour {text!r}",
            "expected a name, six hexadecimal digits, or three numbers from 0 to 1",
            "write e.g. white, #ff8000 or 1,0.5,0",
        )
    return r, g, b
