"""One photo for depth: read once, decoded no larger than it is needed, with its own bytes kept for the texture."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from rilievo.errors import InputError
from rilievo.io.exif import focal_px
from rilievo.io.photos import Source, decode_pixels, open_whole
from rilievo.io.pixels import open_photo

MIN_SIZE = 32


@dataclass(frozen=True, eq=False)
class OnePhoto:
    """A photo that was read. width, height: of the whole photo, upright.  pixels: uint8 (h, w, 3), upright, perhaps
    smaller.  alpha: uint8 of that size where it has transparent parts.  orientation: how it is stored (EXIF, 1 to 8).
    focal_px: of the whole photo, from EXIF, or None."""

    name: str
    content: bytes
    content_id: str
    width: int
    height: int
    pixels: np.ndarray
    alpha: np.ndarray | None
    orientation: int
    focal_px: float | None
    camera_name: str | None


def read_one_photo(source: Source, *, max_size: int | None = None) -> OnePhoto:
    """Reads a photo. max_size: longer side of the pixels wanted (None: all); of a photo longer than 2:1 as many pixels
    are kept as a 2:1 one would have, so that something is left of a panorama's height.

    Raises InputError that says what is wrong with the file, also for a video and for fewer than 32 x 32 pixels;
    ResourceError, MissingError as `io.photos.read_photo`.
    """
    if source.is_video or source.pts is not None:
        raise InputError(
            f"{source.name} is a video",
            "depth is seen in one photo at a time",
            f"for a model from the whole video: rilievo build {source.path}; or save one frame of it as a photo",
        )
    data, opened = open_whole(source)
    if min(opened.width, opened.height) < MIN_SIZE:
        raise InputError(
            f"{source.name} cannot be used as a photo",
            f"it has only {opened.width} x {opened.height} pixels (at least {MIN_SIZE} x {MIN_SIZE})",
            "give the original photo, not a thumbnail",
        )
    longer, shorter = max(opened.width, opened.height), min(opened.width, opened.height)
    if max_size is not None and longer > 2 * shorter:
        max_size = round(max(max_size * math.sqrt(longer / (2 * shorter)), 2 * MIN_SIZE * longer / shorter))
    pixels, alpha = decode_pixels(opened, source.name, max_size=max_size)
    return OnePhoto(
        name=source.name,
        content=data,
        content_id=hashlib.sha256(data).hexdigest(),
        width=opened.width,
        height=opened.height,
        pixels=pixels,
        alpha=alpha,
        orientation=opened.notes.orientation,
        focal_px=focal_px(opened.notes, opened.width, opened.height),
        camera_name=opened.notes.camera_name,
    )


def decode_again(photo: OnePhoto, max_size: int) -> np.ndarray:
    """The photo's pixels at another size, uint8 (h, w, 3), longer side at most max_size."""
    suffix = PurePosixPath(photo.name).suffix.lower()
    return decode_pixels(open_photo(photo.content, photo.name, suffix), photo.name, max_size=max_size)[0]
