"""Photos for tests of `prepare`: an object with and without its table, its exact mask; textures; motion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

import scene_sets
from rilievo import geometry
from rilievo.types import Camera
from scenes import CAMERA, assemble, pixel_directions, render, ring_cameras


def turntable(
    num: int = 2, *, name: str = "blocks", seed: int = 0, plain: bool = True, camera: Camera = CAMERA
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(photo, photo of the empty table, true mask bool) from several sides; noise and exposure differ. plain: the table
    is of one colour, as turntables are, else printed."""
    rng = np.random.default_rng([seed, *name.encode()])
    parts, target = scene_sets.SCENES[name](rng)
    if plain:
        parts = [replace(parts[0], albedo=lambda p, n, f: np.full((len(p), 3), 0.42, np.float32)), *parts[1:]]
    full, bare = (assemble(p, target, np.random.default_rng(seed)) for p in (parts, parts[:1]))
    bare = replace(bare, around=full.around)
    out = []
    for k, place in enumerate(ring_cameras(num, radius=1.9, height=1.0, target=target, start_deg=-80, spread_deg=110)):
        photo = render(full, camera, place, seed=k)
        empty = render(bare, camera, place, seed=100 + k, exposure=1.06).pixels
        to_world = geometry.invert(place)
        rays = (pixel_directions(camera, 1).reshape(-1, 3) @ to_world[:, :3].T).astype(np.float32)
        hit = full.rays.run(np.tile(to_world[:, 3].astype(np.float32), (len(rays), 1)), rays, output=True)["primID"]
        mask = (hit >= 0) & (full.material[np.maximum(hit, 0)] > 0)
        out.append((photo.pixels, empty, mask.reshape(camera.height, camera.width)))
    return out


def photo(seed: int = 0, size: tuple[int, int] = (480, 360)) -> np.ndarray:
    """A sharp, clean picture uint8 with edges, flat parts, lines and soft texture."""
    rng = np.random.default_rng(seed)
    w, h = size
    canvas = np.full((2 * h, 2 * w, 3), rng.integers(90, 150, 3), np.uint8)
    for _ in range(60):
        color = tuple(int(v) for v in rng.integers(25, 230, 3))
        x, y = int(rng.integers(0, 2 * w)), int(rng.integers(0, 2 * h))
        kind = int(rng.integers(0, 3))
        if kind == 0:
            corners = np.array([x, y]) + rng.integers(-120, 120, (4, 2))
            cv2.fillConvexPoly(canvas, cv2.convexHull(corners.astype(np.int32)), color, cv2.LINE_AA)
        elif kind == 1:
            cv2.circle(canvas, (x, y), int(rng.integers(8, 70)), color, -1, cv2.LINE_AA)
        else:
            end = (x + int(rng.integers(-200, 200)), y + int(rng.integers(-200, 200)))
            cv2.line(canvas, (x, y), end, color, int(rng.integers(2, 7)), cv2.LINE_AA)
    soft = cv2.GaussianBlur(rng.normal(size=(2 * h, 2 * w)), (0, 0), 3)
    shaded = canvas + (60 * soft * (np.arange(2 * w) > w))[..., None]
    return np.clip(np.rint(cv2.resize(shaded, size, interpolation=cv2.INTER_AREA)), 0, 255).astype(np.uint8)


def noisy(pixels: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    """With Gaussian noise, uint8."""
    out = pixels + sigma * np.random.default_rng(seed).normal(size=pixels.shape)
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """The file, colour at half resolution."""
    return cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[
        1
    ].tobytes()


def write(path: Path, data: bytes) -> Path:
    """A file, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return float((a & b).sum() / max((a | b).sum(), 1))
