"""Looking at one photo: its measures, its notes, a fingerprint, and the small pictures that reports show."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from rilievo.io import photos as files
from rilievo.io.exif import CameraNotes
from rilievo.io.jpeg_quality import jpeg_quality
from rilievo.io.pixels import shrink, shrunk_size
from rilievo.stages.photo_blur import TILE
from rilievo.stages.photo_quality import PhotoQuality, QualityConfig, measure_photo, with_edges

THUMBNAIL, _PRINT = 320, 32


@dataclass(frozen=True)
class LookConfig:
    """Settings of `look`."""

    version: ClassVar[int] = 1

    quality: int = QualityConfig.version
    """version of the measures"""


@dataclass(frozen=True)
class Look:
    """One photo as it was looked at. fingerprint: uint8 (32, 32).  thumbnail, crop: JPEG bytes of the whole, at most
    320 px, and of 256 px at full size."""

    name: str
    notes: CameraNotes
    quality: PhotoQuality
    fingerprint: np.ndarray
    thumbnail: bytes
    crop: bytes

    def to_value(self) -> dict[str, Any]:
        """What a project stores."""
        return {
            "notes": asdict(self.notes),
            "quality": asdict(self.quality),
            "fingerprint": self.fingerprint,
            "thumbnail": np.frombuffer(self.thumbnail, np.uint8),
            "crop": np.frombuffer(self.crop, np.uint8),
        }

    @classmethod
    def from_value(cls, name: str, value: dict[str, Any]) -> Look:
        """The look that `to_value` wrote."""
        return cls(
            name,
            CameraNotes(**value["notes"]),
            PhotoQuality(**value["quality"]),
            value["fingerprint"],
            value["thumbnail"].tobytes(),
            value["crop"].tobytes(),
        )


def look(source: files.Source, edge_px: float | None = None) -> Look:
    """Reads and measures one photo. edge_px: its blur by its edges (`Photo.blur_px`). Raises InputError when it is none
    or is cut short."""
    notes, stored = CameraNotes(), float("nan")
    if source.pts is not None:
        pixels = files.load_pixels(source)
        alpha = None
    else:
        data, opened = files.open_whole(source)
        pixels, alpha = files.decode_pixels(opened, source.name)
        notes, stored = opened.notes, jpeg_quality(data)
    mask = files.load_mask(source) if source.mask is not None else None if alpha is None else alpha > 127
    quality = with_edges(measure_photo(pixels, mask=mask, jpeg_quality=stored), edge_px)
    height, width = pixels.shape[:2]
    small = shrink(pixels, *shrunk_size(width, height, THUMBNAIL))
    x, y = quality.crop
    return Look(
        source.name,
        notes,
        quality,
        np.ascontiguousarray(shrink(small, _PRINT, _PRINT).mean(2).astype(np.uint8)),
        to_jpeg(small, 82),
        to_jpeg(pixels[y : y + TILE, x : x + TILE], 95),
    )


def to_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """uint8 (h, w, 3) RGB -> JPEG bytes."""
    import cv2

    return cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
