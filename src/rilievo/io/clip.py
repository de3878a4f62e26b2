"""Writing a video: H.264 in MP4 where PyAV has the encoder, else MPEG-4."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from rilievo.errors import MissingError
from rilievo.io.files import replacing


class ClipWriter:
    """A video that grows frame by frame; the file takes its name when the block ends well. Same frames, same bytes.

    width, height: even.  frames_per_second: any rate above 0.  codec: the encoder's name.
    Raises MissingError without PyAV, ResourceError when the disk is full.
    """

    def __init__(self, path: Path, width: int, height: int, frames_per_second: float) -> None:
        try:
            import av
        except ImportError as error:
            raise MissingError(
                f"cannot write {path.name}", "the package av is not installed", "pip install av"
            ) from error
        self._av = av
        self.codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._path, self._width, self._height = path, width, height
        self._rate = Fraction(frames_per_second).limit_denominator(1001)

    def __enter__(self) -> ClipWriter:
        # One thread, and no AVX-512: with it x264 gives other bytes each time (it reads memory that nobody has set).
        plain = "threads=1:asm=SSE4" if platform.machine().lower() in ("x86_64", "amd64") else "threads=1"
        # Said aloud, since players guess by the size of the picture.
        plain += ":colormatrix=smpte170m:range=tv"
        options = {"crf": "20", "preset": "veryfast", "x264-params": plain}
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(replacing(self._path))
            self._container = stack.enter_context(self._av.open(file, "w", format="mp4"))
            self._stream: Any = self._container.add_stream(
                self.codec, rate=self._rate, options=options if self.codec == "libx264" else {"qscale": "3"}
            )
            self._stream.width, self._stream.height, self._stream.pix_fmt = self._width, self._height, "yuv420p"
            self._stack = stack.pop_all()
        return self

    def write(self, pixels: np.ndarray) -> None:
        """The next frame, uint8 (height, width, 3)."""
        import cv2

        # Converted here: FFmpeg's own conversion may depend on where the pixels lie in memory.
        planes = np.ascontiguousarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2YUV_I420), np.uint8)
        self._container.mux(self._stream.encode(self._av.VideoFrame.from_ndarray(planes, format="yuv420p")))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if kind is None:
            with self._stack:
                self._container.mux(self._stream.encode())
            return None
        return self._stack.__exit__(kind, error, trace)


def write_clip(path: Path, frames: Iterable[np.ndarray], width: int, height: int, frames_per_second: float) -> str:
    """Writes frames uint8 (height, width, 3), both sides even, and returns the encoder's name. Same frames, same bytes.

    Raises MissingError without PyAV, ResourceError when the disk is full.
    """
    with ClipWriter(path, width, height, frames_per_second) as clip:
        for pixels in frames:
            clip.write(pixels)
    return clip.codec
