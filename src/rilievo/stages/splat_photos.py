"""Photos as training wants them: at full, half and quarter size, the most recently used ones in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rilievo.types import Camera, View

LEVELS = 2  # sizes that are made at once: full, half, quarter


@dataclass(frozen=True)
class SizedPhoto:
    """A photo at one size. pixels uint8 (h, w, 3); alpha, mask uint8 (h, w) or None (mask: 0 where not to look); camera
    float64 (4,): fx fy cx cy."""

    pixels: np.ndarray
    alpha: np.ndarray | None
    mask: np.ndarray | None
    camera: np.ndarray
    cam_from_world: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def pinhole(self) -> Camera:
        """Its camera."""
        return Camera("PINHOLE", *self.size, self.camera)


def sized(view: View, level: int, origin: np.ndarray) -> SizedPhoto:
    """The view at 1 / 2^level of its size (means over blocks; a rest at the right and bottom is left out), its place
    relative to `origin`."""
    k = 1 << level
    camera = np.array([view.camera.fx, view.camera.fy, view.camera.cx, view.camera.cy], np.float64) / k
    placed = np.array(view.cam_from_world, np.float64)
    placed[:, 3] += placed[:, :3] @ origin
    mask = None if view.mask is None else view.mask.astype(np.uint8)
    if level == 0:
        return SizedPhoto(view.pixels, view.alpha, mask, camera, placed)
    h, w = view.pixels.shape[0] // k, view.pixels.shape[1] // k
    blocks = lambda a: a[: h * k, : w * k].reshape(h, k, w, k, *a.shape[2:])  # noqa: E731
    alpha = None
    if view.alpha is None:
        pixels = blocks(view.pixels).mean((1, 3), dtype=np.float32)
    else:  # a colour counts by how opaque it is
        weight = view.alpha.astype(np.float32)
        total = blocks(weight).sum((1, 3))
        pixels = blocks(view.pixels * weight[..., None]).sum((1, 3)) / np.maximum(total, 1e-6)[..., None]
        alpha = np.rint(total / (k * k)).astype(np.uint8)
    if mask is not None:
        mask = blocks(mask).min((1, 3))
    return SizedPhoto(np.rint(pixels).astype(np.uint8), alpha, mask, camera, placed)


class PhotoStack:
    """Photos by name and size. load: name -> view at full size; the sizes down to a quarter are made of it at once. Not
    more than `max_bytes` of pixels are kept: those that were used longest ago are loaded again when they are wanted."""

    def __init__(
        self,
        names: Sequence[str],
        load: Callable[[str], View],
        *,
        origin: np.ndarray | None = None,
        max_bytes: float = 2e9,
    ) -> None:
        self.names = tuple(names)
        self.origin = np.zeros(3) if origin is None else np.asarray(origin, np.float64)
        self._load, self._max_bytes = load, max_bytes
        self._kept: OrderedDict[tuple[str, int], SizedPhoto] = OrderedDict()
        self._bytes = 0

    def get(self, name: str, level: int) -> SizedPhoto:
        """The photo at 1 / 2^level of its size."""
        key = (name, level)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        view = self._load(name)
        for other in {level, *range(LEVELS + 1)}:
            if (name, other) not in self._kept:
                photo = sized(view, other, self.origin)
                self._kept[name, other] = photo
                self._bytes += _num_bytes(photo)
        self._kept.move_to_end(key)
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            self._bytes -= _num_bytes(self._kept.popitem(last=False)[1])
        return self._kept[key]


def _num_bytes(photo: SizedPhoto) -> int:
    return sum(a.nbytes for a in (photo.pixels, photo.alpha, photo.mask) if a is not None)
