"""Writing a video: H.264 in MP4 where PyAV has the encoder, else MPEG-4."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from rilievo.errors import MissingError
from rilievo.io.files import replacing


def write_clip(path: Path, frames: Iterable[np.ndarray], width: int, height: int, frames_per_second: int) -> str:
    """Writes frames uint8 (height, width, 3), both sides even, and returns the encoder's name. Same frames, same bytes.

    Raises MissingError without PyAV, ResourceError when the disk is full.
    """
    try:
        import av
    except ImportError as error:
        raise MissingError(f"cannot write {path.name}", "the package av is not installed", "pip install av") from error
    import cv2

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    # One thread, and no AVX-512: with it x264 gives other bytes each time (it reads memory that nobody has set).
    plain = "threads=1:asm=SSE4" if platform.machine().lower() in ("x86_64", "amd64") else "threads=1"
    options = {"crf": "20", "preset": "veryfast", "x264-params": plain} if codec == "libx264" else {"qscale": "3"}
    with replacing(path) as f, av.open(f, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=frames_per_second, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for pixels in frames:
            # Converted here: FFmpeg's own conversion may depend on where the pixels lie in memory.
            planes = np.ascontiguousarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2YUV_I420), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode())
    return codec
