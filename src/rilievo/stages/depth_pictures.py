"""Depth and normals as pictures for people and programs."""

from __future__ import annotations

import numpy as np

from rilievo.types import Camera


def depth_step(far: float) -> float:
    """The length of one grey level of a 16 bit depth picture that reaches `far`, rounded up to two digits."""
    step = max(far, 1e-30) / 65535
    digit = 10.0 ** (np.floor(np.log10(step)) - 1)
    return float(f"{np.ceil(step / digit - 1e-9) * digit:.2g}")


def depth_levels(depth: np.ndarray, step: float) -> np.ndarray:
    """uint16 (h, w): depth / step, rounded; 0 where there is none, 65535 where it is further than that says."""
    known = np.isfinite(depth) & (depth > 0)
    levels = np.clip(np.rint(np.where(known, depth, 0) / step), 1, 65535)
    return np.where(known, levels, 0).astype(np.uint16)


def depth_colors(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    """uint8 (h, w, 3): red where near, blue where far, even steps of 1/depth (Turbo, Mikhailov 2019); black where there
    is none."""
    import cv2

    known = np.isfinite(depth) & (depth > 0)
    inverse = 1 / np.where(known, depth, 1)
    share = (inverse - 1 / far) / max(1 / near - 1 / far, 1e-30)
    levels = np.rint(255 * (0.02 + 0.96 * np.clip(share, 0, 1))).astype(np.uint8)
    colors = cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)[..., ::-1]
    return np.ascontiguousarray(np.where(known[..., None], colors, 0).astype(np.uint8))


def normal_colors(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """uint8 (h, w, 3) of the surface's direction in the camera (PINHOLE): red to the right, green up, blue towards the
    viewer, 128 for zero; black where there is no depth or a step in it."""
    h, w = depth.shape
    x = ((np.arange(w) + 0.5 - camera.cx) / camera.fx).astype(np.float32)[None, :]
    y = ((np.arange(h) + 0.5 - camera.cy) / camera.fy).astype(np.float32)[:, None]
    z = np.where(depth > 0, depth, np.nan).astype(np.float32)
    # Differences of points (x z, y z, z) across and down, between the two neighbours of each inner pixel.
    with np.errstate(invalid="ignore", over="ignore"):
        right, left, below, above = z[1:-1, 2:], z[1:-1, :-2], z[2:, 1:-1], z[:-2, 1:-1]
        across = (x[:, 2:] * right - x[:, :-2] * left, y[1:-1] * (right - left), right - left)
        down = (x[:, 1:-1] * (below - above), y[2:] * below - y[:-2] * above, below - above)
        n = [down[(k + 1) % 3] * across[(k + 2) % 3] - down[(k + 2) % 3] * across[(k + 1) % 3] for k in range(3)]
        length = np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2])
        sight = np.sqrt(x[:, 1:-1] ** 2 + y[1:-1] ** 2 + 1)
        slant = -(n[0] * x[:, 1:-1] + n[1] * y[1:-1] + n[2]) / (length * sight)
        # Steps: surfaces are not seen at less than about 3 degrees. A pixel without depth shows nothing itself.
        known = (slant > 0.05) & np.isfinite(length) & np.isfinite(z[1:-1, 1:-1])
        factor = np.where(known, np.float32(127.5) / length, 0)
        levels = [np.where(known, np.rint(127.5 + sign * factor * part), 0) for sign, part in zip((1, -1, -1), n)]
    shown = np.zeros((h, w, 3), np.uint8)
    shown[1:-1, 1:-1] = np.stack(levels, -1)
    return shown
