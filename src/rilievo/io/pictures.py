"""Pictures that belong to models: textures to JPEG or PNG and back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from rilievo.errors import InputError
from rilievo.io.files import read_bytes, replacing


def encode_picture(pixels: np.ndarray, jpeg_quality: int = 100) -> tuple[bytes, str]:
    """uint8 (h, w, 3) -> (bytes, ending): "jpg" with full-resolution colour, or "png" when jpeg_quality is 100."""
    from PIL import Image

    out = io.BytesIO()
    image = Image.fromarray(pixels)
    if jpeg_quality >= 100:
        image.save(out, "PNG", compress_level=6)
        return out.getvalue(), "png"
    image.save(out, "JPEG", quality=int(jpeg_quality), subsampling=0, optimize=True)
    return out.getvalue(), "jpg"


def decode_picture(raw: bytes, name: str) -> np.ndarray:
    """Bytes of a picture -> uint8 (h, w, 3). Raises InputError when they are none."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(raw)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read the texture {name}", f"it is not a picture that can be decoded ({e})") from e


def write_picture(path: Path, pixels: np.ndarray, jpeg_quality: int = 100) -> None:
    """Writes uint8 (h, w, 3) as JPEG, or as PNG when jpeg_quality is 100."""
    raw, _ = encode_picture(pixels, jpeg_quality)
    with replacing(path) as f:
        f.write(raw)


def read_picture(path: Path) -> np.ndarray:
    """uint8 (h, w, 3)."""
    return decode_picture(read_bytes(path), path.name)
