"""Pictures of any size, piece by piece: what a filter needs around a tile is given to it, memory stays bounded.

Tiles are cut by the picture's size alone and every one is computed on its own, so that the number of threads changes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from rilievo import interrupt

TILE = 512


def unit(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 -> float32 0..1."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def deep(pixels: np.ndarray) -> np.ndarray:
    """float32 0..1 -> uint16, rounded."""
    return np.rint(np.clip(pixels, 0, 1) * np.float32(65535)).astype(np.uint16)


def widened(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 -> uint16 of the same meaning."""
    return pixels if pixels.dtype == np.uint16 else pixels.astype(np.uint16) * np.uint16(257)


def narrowed(pixels: np.ndarray) -> np.ndarray:
    """uint16 -> uint8, rounded."""
    out = np.empty(pixels.shape, np.uint8)
    for i in range(0, len(pixels), 256):
        out[i : i + 256] = (pixels[i : i + 256].astype(np.uint32) + 128) // 257
    return out


def luma(pixels: np.ndarray) -> np.ndarray:
    """RGB float32 (h, w, 3) -> its grey values (h, w), ITU-R BT.601."""
    return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)


def map_tiles(
    pixels: np.ndarray,
    function: Callable[[np.ndarray], np.ndarray],
    *,
    halo: int,
    scale: int = 1,
    tile: int = TILE,
    threads: int = 1,
) -> np.ndarray:
    """uint16 (h scale, w scale, 3): the function of each tile with `halo` pixels around it, put together.

    pixels: uint16 (h, w, 3).  function: float32 (a, b, 3) 0..1 -> float32 (a scale, b scale, 3). Beyond the border of
    the picture it sees its mirror image. Raises KeyboardInterrupt between tiles.
    """
    h, w = pixels.shape[:2]
    out = np.empty((h * scale, w * scale, 3), np.uint16)
    corners = [(y, x) for y in range(0, h, tile) for x in range(0, w, tile)]

    def work(corner: tuple[int, int]) -> None:
        interrupt.check()
        y, x = corner
        y1, x1 = min(y + tile, h), min(x + tile, w)
        done = function(unit(cut(pixels, y - halo, x - halo, y1 + halo, x1 + halo)))
        inner = done[halo * scale : (halo + y1 - y) * scale, halo * scale : (halo + x1 - x) * scale]
        out[y * scale : y1 * scale, x * scale : x1 * scale] = deep(inner)

    if threads == 1 or len(corners) == 1:
        for corner in corners:
            work(corner)
    else:
        with ThreadPoolExecutor(threads) as pool:
            futures = [pool.submit(work, corner) for corner in corners]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return out


def cut(pixels: np.ndarray, y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
    """pixels[y0:y1, x0:x1] with the picture mirrored where that reaches beyond it."""
    h, w = pixels.shape[:2]
    inside = pixels[max(y0, 0) : min(y1, h), max(x0, 0) : min(x1, w)]
    if y0 >= 0 and x0 >= 0 and y1 <= h and x1 <= w:
        return inside
    rows, columns = _mirrored(y0, y1, h), _mirrored(x0, x1, w)
    return np.ascontiguousarray(pixels[rows][:, columns])


def _mirrored(start: int, stop: int, size: int) -> np.ndarray:
    """Indices of a period of 2 size - 2, as OpenCV's BORDER_REFLECT_101."""
    period = max(2 * size - 2, 1)
    i = np.arange(start, stop) % period
    return np.where(i < size, i, period - i)
