"""A small bunch of Gaussians photographed from around, for tests of training."""

from __future__ import annotations

import numpy as np

from rilievo import geometry
from rilievo.stages.splat_photos import PhotoStack
from rilievo.stages.splats import SplatsConfig
from rilievo.stages.splats_render import SplatRenderer
from rilievo.types import Camera, Splats, View

WIDTH, HEIGHT = 72, 64
CAMERA = Camera.pinhole(WIDTH, HEIGHT, np.array([[95.0, 0, WIDTH / 2], [0, 95.0, HEIGHT / 2], [0, 0, 1]]))

# Rates are written out: the bounds below are for these, whatever the defaults become.
CONFIG = SplatsConfig(
    iterations=240, max_splats=500, levels=1, grow_every=20, degree=1, full_from=0.4, grow_until=0.6, dssim=0.2,
    filter_3d=0.03, mean_rate=3e-4, scale_rate=1e-2, turn_rate=1e-3, opacity_rate=5e-2, color_rate=5e-3,
)  # fmt: skip


def truth(n: int = 150, seed: int = 0) -> Splats:
    """A ball of Gaussians around (0, 0, 0), mostly opaque, of many colours."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(n, 3))
    means *= (0.65 * rng.uniform(0.6, 1, n) / np.linalg.norm(means, axis=1))[:, None]
    quats = rng.normal(size=(n, 4))
    sh = 0.1 * rng.normal(size=(n, 4, 3))
    sh[:, 0] = rng.uniform(-1.5, 1.5, (n, 3))
    return Splats(
        means.astype(np.float32),
        (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        np.exp(rng.uniform(np.log(0.06), np.log(0.16), (n, 3))).astype(np.float32),
        rng.uniform(0.7, 0.98, n).astype(np.float32),
        sh.astype(np.float32),
        background=(0.0, 0.0, 0.0),
    )


def placed(number: int, count: int) -> np.ndarray:
    """cam_from_world of one of `count` cameras around the ball, alternately from above and below."""
    angle = 2 * np.pi * number / count
    eye = np.array([3 * np.cos(angle), 3 * np.sin(angle), 1.3 if number % 2 else -0.6])
    return geometry.look_at(eye, np.zeros(3), up=(0.0, 0.0, 1.0))


def views_of(splats: Splats, count: int, *, cut_out: bool = False, turn: float = 0.0) -> list[View]:
    """Photos of the splats; cut_out: with their transparency, colours not multiplied by it."""
    renderer, made = SplatRenderer(splats), []
    for number in range(count):
        cam_from_world = placed(number, count) @ turned(turn)
        frame = renderer.draw(CAMERA, cam_from_world)
        color, alpha = np.array(frame.features).transpose(1, 2, 0), 1 - np.array(frame.transmittance)
        if cut_out:
            color = color / np.maximum(alpha, 1e-3)[..., None]
        pixels = np.rint(np.clip(color, 0, 1) * 255).astype(np.uint8)
        opaque = np.rint(alpha * 255).astype(np.uint8) if cut_out else None
        made.append(View(f"{number:02d}.png", pixels, CAMERA, cam_from_world, None, opaque))
    return made


def turned(angle: float) -> np.ndarray:
    """The world turned about its upright axis, (4, 4)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def stack_of(views: list[View], **options) -> PhotoStack:
    by_name = {v.name: v for v in views}
    return PhotoStack(list(by_name), by_name.__getitem__, **options)


def points_near(splats: Splats, noise: float = 0.05, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Rough places and colours, as sparse points have them."""
    rng = np.random.default_rng(seed)
    points = splats.means + noise * rng.normal(size=splats.means.shape)
    colors = np.clip(0.5 + 0.28 * splats.sh[:, 0] + 0.1 * rng.normal(size=(len(points), 3)), 0, 1)
    return points.astype(np.float64) + splats.origin, np.rint(255 * colors).astype(np.uint8)
