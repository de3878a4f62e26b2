"""Video in: frames chosen by motion and sharpness, so that neighbours overlap and none is blurred."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rilievo.errors import InputError, MissingError
from rilievo.io.blur import measure_blur
from rilievo.io.photos import Source
from rilievo.types import Photo

_SMALL = 320  # long side of the pictures in which motion is followed


@dataclass(frozen=True)
class _Small:
    """One decoded frame, small: what the choice is made from."""

    index: int
    pts: int
    grey: np.ndarray
    detail: float  # sharpness: energy of the second derivative over that of the first


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingError("videos cannot be read", "the package av is not installed", "pip install av") from error
    return av


def _open(source: Source) -> Any:
    av = _av()
    try:
        size = source.path.stat().st_size
    except OSError as error:
        raise InputError(f"{source.name} cannot be read", error.strerror or str(error)) from error
    if size == 0:
        raise InputError(
            f"{source.name} cannot be used as a video", "the file is empty (0 bytes)", "Copy it again from the camera."
        )
    try:
        container = av.open(str(source.path))
    except (av.FFmpegError, ValueError, OSError) as error:
        raise InputError(
            f"{source.name} cannot be used as a video",
            f"its content is not a video that can be decoded ({str(error)[:100]})",
            "Videos may be mp4 or mov, H.264, H.265, AV1 or ProRes.",
        ) from error
    if not container.streams.video:
        container.close()
        raise InputError(f"{source.name} cannot be used as a video", "it holds no pictures, only sound or data")
    return container


def _frames(source: Source) -> Iterator[tuple[int, Any]]:
    """(index, frame) in display order; a damaged end stops the reading, what came before is used."""
    av = _av()
    with _open(source) as container:
        try:
            for index, frame in enumerate(container.decode(container.streams.video[0])):
                if frame.pts is not None:
                    yield index, frame
        except av.FFmpegError:
            return


def _luma(frame: Any) -> np.ndarray:
    """Grey uint8 (h, w): the stored brightness plane where it is 8 bit, which costs nothing."""
    if frame.format.name in ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "nv12"):
        plane = frame.planes[0]
        return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
    return frame.to_ndarray(format="gray")


def _small(source: Source) -> Iterator[_Small]:
    """The frames from which to choose, about 15 to 30 a second."""
    import cv2

    every = _every(source)
    for index, frame in _frames(source):
        if index % every:
            continue
        scale = min(1.0, _SMALL / max(frame.width, frame.height))
        middle = min(1.0, 2.0 * scale)
        grey = cv2.resize(_luma(frame), None, fx=middle, fy=middle, interpolation=cv2.INTER_AREA)
        second = cv2.norm(cv2.Laplacian(grey, cv2.CV_16S), cv2.NORM_L2)
        first = np.hypot(cv2.norm(cv2.Sobel(grey, cv2.CV_16S, 1, 0)), cv2.norm(cv2.Sobel(grey, cv2.CV_16S, 0, 1)))
        size = (max(16, round(frame.width * scale)), max(16, round(frame.height * scale)))
        small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        yield _Small(index, frame.pts, small, float(second / (first + grey.size**0.5)))


def _every(source: Source) -> int:
    with _open(source) as container:
        rate = container.streams.video[0].average_rate
    return max(1, int(float(rate) / 15)) if rate else 1


class _Tracker:
    """Follows corners of a chosen frame; `motion` is the way of the faster fifth as a share of the short side."""

    def __init__(self, first: _Small) -> None:
        import cv2

        self.start = cv2.goodFeaturesToTrack(first.grey, 300, 0.01, 7)
        self.now = self.start
        self.count = 0 if self.start is None else len(self.start)
        self.before = first.grey

    def motion(self, frame: _Small) -> float:
        """Infinite when most corners are lost: the view has changed altogether."""
        import cv2

        if self.now is None or len(self.now) < 10 or self.start is None:
            changed = float(np.mean(np.abs(frame.grey.astype(np.float32) - self.before))) > 8
            return float("inf") if changed else 0.0
        moved, good, _ = cv2.calcOpticalFlowPyrLK(self.before, frame.grey, self.now, np.empty_like(self.now))
        h, w = frame.grey.shape
        inside = (moved[:, 0, 0] >= 0) & (moved[:, 0, 0] < w) & (moved[:, 0, 1] >= 0) & (moved[:, 0, 1] < h)
        keep = (good[:, 0] == 1) & inside
        self.start, self.now, self.before = self.start[keep], moved[keep], frame.grey
        if len(self.now) < 0.5 * self.count:
            return float("inf")
        way = np.linalg.norm((self.now - self.start)[:, 0], axis=1)
        return float(np.quantile(way, 0.8)) / min(h, w)


def choose_frames(source: Source, *, overlap: float = 0.88, max_frames: int = 300) -> list[Source]:
    """Frames of a video as sources named `clip.mp4/000123.png` (the number is the frame's place in the video).

    From each chosen frame its corners are followed (Lucas & Kanade 1981, pyramidal) until the faster fifth of them has
    moved by 1 - overlap of the short side (the faster ones: who walks round an object holds the object still in the
    picture); of the frames around that place the sharpest is next. Where half of the corners are lost the next frame
    is taken at once. More than max_frames are thinned evenly.
    Raises InputError when the file is not a readable video.
    """
    step = 1.0 - overlap
    frames = _small(source)
    waiting: list[_Small] = []  # frames to look at again after a choice was made further back
    chosen: list[_Small] = []
    window: list[tuple[_Small, float]] = []
    tracker: _Tracker | None = None
    beginning: list[_Small] = []

    def choose() -> None:
        nonlocal tracker, window, waiting
        best = max(window, key=lambda c: c[0].detail)[0]
        waiting = [c for c, _ in window if c.index > best.index] + waiting
        chosen.append(best)
        tracker, window = _Tracker(best), []

    while True:
        frame = waiting.pop(0) if waiting else next(frames, None)
        if tracker is None:  # the sharpest of the first half second or so
            if frame is not None:
                beginning.append(frame)
            if beginning and (frame is None or len(beginning) == 10):
                window = [(f, 0.0) for f in beginning]
                choose()
                continue
            if frame is None:
                break
            continue
        if frame is None:
            if window and window[-1][1] > 0.4 * step:
                choose()
                continue
            break
        motion = tracker.motion(frame)
        if motion > 0.4 * step:
            window.append((frame, motion))
        if motion > 1.3 * step:
            window = [c for c in window if c[1] >= 0.6 * step and np.isfinite(c[1])] or window[-3:]
            choose()
        elif len(window) > 90:  # creeping: keep the memory bounded
            window = window[-60:]
    if not chosen:
        raise InputError(f"{source.name} cannot be used as a video", "no frame of it can be decoded")
    if len(chosen) > max_frames:
        chosen = [chosen[round(i * (len(chosen) - 1) / (max_frames - 1))] for i in range(max_frames)]
    return [_frame_source(source, f) for f in chosen]


def _frame_source(source: Source, frame: _Small) -> Source:
    number = f"{frame.index:06d}.png"
    mask = source.mask / f"{number}.png" if source.mask is not None else None
    if mask is not None and not mask.is_file():
        mask = None
    return Source(f"{source.name}/{number}", source.path, mask, frame.pts)


def load_frame(source: Source) -> np.ndarray:
    """RGB uint8 (h, w, 3) of one frame, turned as the video says: the same bytes every time."""
    if source.pts is None:
        raise ValueError(f"{source.name} is not a frame of a video")
    av = _av()
    with _open(source) as container:
        stream = container.streams.video[0]
        container.seek(source.pts, stream=stream, backward=True)
        try:
            for frame in container.decode(stream):
                if frame.pts == source.pts:
                    return _upright(frame)
        except av.FFmpegError as error:
            raise InputError(f"{source.name} cannot be decoded", str(error)[:100]) from error
    raise InputError(f"{source.name} cannot be found again", "the video has changed since its frames were chosen")


def _upright(frame: Any) -> np.ndarray:
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4)) if frame.rotation else pixels


def frame_bytes(source: Source) -> bytes:
    """One frame as a PNG file."""
    import cv2

    return cv2.imencode(".png", load_frame(source)[..., ::-1])[1].tobytes()


def read_frame(source: Source) -> Photo:
    """`read_photo` of a video's frame: content_id is the hash of its pixels."""
    pixels = load_frame(source)
    height, width = pixels.shape[:2]
    blur = measure_blur(pixels)
    mask_id = None
    if source.mask is not None:
        from rilievo.io.photos import load_mask

        load_mask(source)  # says so when its size is wrong
        mask_id = hashlib.sha256(source.mask.read_bytes()).hexdigest()
    return Photo(
        name=source.name,
        content_id=hashlib.sha256(f"{width}x{height}".encode() + pixels.tobytes()).hexdigest(),
        width=width,
        height=height,
        camera_key=f"video | {source.name.rpartition('/')[0]} | {width}x{height}",
        blur_px=round(blur, 3) if np.isfinite(blur) else None,
        mask_id=mask_id,
    )
