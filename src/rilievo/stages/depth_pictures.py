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
    x = (np.arange(w) + 0.5 - camera.cx) / camera.fx
    y = (np.arange(h) + 0.5 - camera.cy) / camera.fy
    z = depth.astype(np.float64)
    points = np.stack([x[None, :] * z, y[:, None] * z, z], -1)
    across = np.full_like(points, np.nan)
    down = np.full_like(points, np.nan)
    across[:, 1:-1] = points[:, 2:] - points[:, :-2]
    down[1:-1] = points[2:] - points[:-2]
    normal = np.cross(down, across)  # towards the camera
    length = np.linalg.norm(normal, axis=-1)
    # Steps: surfaces are not seen at less than about 3 degrees.
    sight = points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-30)
    with np.errstate(invalid="ignore", divide="ignore"):
        normal = normal / length[..., None]
        slant = -(normal * sight).sum(-1)
        known = np.isfinite(slant) & (slant > 0.05)
    shown = np.where(known[..., None], normal * [1.0, -1.0, -1.0], 0)
    return np.where(known[..., None], np.rint(127.5 + 127.5 * shown), 0).astype(np.uint8)
