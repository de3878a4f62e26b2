"""Known depth and normals in the training of splats: a wall of one colour, of which photos alone say nothing."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from rilievo import geometry
from rilievo.stages import splats
from rilievo.stages.splat_photos import sized
from rilievo.stages.splats_render import SplatRenderer
from rilievo.types import Camera, DepthMap, View
from splat_training_scenes import CONFIG, stack_of

WALL = Camera.pinhole(64, 48, np.array([[60.0, 0, 32], [0, 60.0, 24], [0, 0, 1]]))


def wall_views() -> list[View]:
    pixels = np.full((48, 64, 3), (200, 120, 60), np.uint8)
    eyes = [(x, y, 0.0) for x in (-0.4, 0, 0.4) for y in (-0.3, 0.3)]
    placed = [geometry.look_at(np.array(e), np.array([0, 0, 2.0]), up=(0.0, -1.0, 0.0)) for e in eyes]
    return [View(f"{k}.png", pixels, WALL, p) for k, p in enumerate(placed)]


def wall_depth(view: View, level: int) -> DepthMap:
    """Depth and normals of the wall z = 2."""
    photo = sized(view, level, np.zeros(3))
    w, h = photo.size
    x, y = np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5)
    fx, fy, cx, cy = photo.camera
    R, t = view.cam_from_world[:, :3], view.cam_from_world[:, 3]
    rays = np.stack([(x - cx) / fx, (y - cy) / fy, np.ones_like(x)], -1)
    depth = ((2 - (-R.T @ t)[2]) / (rays @ R)[..., 2]).astype(np.float32)
    depth[:3] = np.nan  # not known everywhere
    normals = np.broadcast_to(R @ [0, 0, -1], (h, w, 3)).astype(np.float32)
    normals = np.where(np.isnan(depth)[..., None], np.nan, normals).astype(np.float32)
    blank = np.ones((h, w), np.float32)
    return DepthMap(view.name, photo.pinhole(), view.cam_from_world, depth, normals, blank, blank)


@pytest.mark.parametrize(("depth_weight", "normal_weight"), [(0.0, 0.0), (1.0, 0.0), (1.0, 0.3)])
def test_known_depth_and_normals_pull(depth_weight, normal_weight):
    rng = np.random.default_rng(2)
    views = wall_views()
    by_name = {v.name: v for v in views}
    stack = stack_of(views)
    points = np.stack([rng.uniform(-1.6, 1.6, 400), rng.uniform(-1.3, 1.3, 400), 2 + 0.15 * rng.normal(size=400)], 1)
    colors = np.tile(np.array([[200, 120, 60]], np.uint8), (400, 1))
    config = replace(CONFIG, iterations=300, max_splats=400, num_far=0, degree=0, mean_rate=1e-3)
    config = replace(config, depth_weight=depth_weight, normal_weight=normal_weight)
    begun = splats.start_splats(stack, points=points, colors=colors, config=config)
    known = {(v.name, level): wall_depth(v, level) for v in views for level in (0, 1)}
    ended = splats.train(begun, stack, 300, depths=lambda name, level: known[name, level], config=config)
    made = splats.finish(ended, config=config)
    off, upright = [], []
    for name, view in by_name.items():
        frame = SplatRenderer(made).draw(view.camera, view.cam_from_world, channels=7)
        light = 1 - frame.transmittance
        z = frame.features[3] / np.maximum(light, 1e-6)
        off.append(np.nanmean(np.abs(z / known[name, 0].depth - 1)))
        normal = np.nan_to_num(known[name, 0].normals).transpose(2, 0, 1)
        upright.append((frame.features[4:7] * normal).sum(0)[3:].mean())
    error, alike = float(np.mean(off)), float(np.mean(upright))
    # Measured: 0.19 and 0.57 from photos alone, 0.002 and 0.54 with depth, 0.026 and 0.85 with normals too.
    assert error < (0.06 if normal_weight else 0.006) if depth_weight else error > 0.1, error
    assert alike > 0.75 if normal_weight else alike < 0.65, alike


def test_gradients_of_known_depth_and_normals_equal_central_differences():
    rng = np.random.default_rng(3)
    view = wall_views()[0]
    known, photo = wall_depth(view, 0), sized(view, 0, np.zeros(3))
    photo = replace(photo, mask=(rng.random((48, 64)) < 0.8).astype(np.uint8))
    config = replace(CONFIG, depth_weight=0.7, normal_weight=0.4)
    features, light = rng.normal(size=(7, 48, 64)), rng.uniform(0, 1, (48, 64))
    features[3] += 2

    def loss(features: np.ndarray, light: np.ndarray) -> float:
        counts = np.isfinite(known.depth) & (photo.mask > 0)
        depth, normal = known.depth[counts], known.normals.transpose(2, 0, 1)[:, counts].astype(np.float64)
        far = np.abs(features[3][counts] - (1 - light[counts]) * depth) / depth
        turned = (1 - light[counts]) - (features[4:7][:, counts] * normal).sum(0)
        return float((0.7 * far + 0.4 * turned).sum() / light.size)

    work = SimpleNamespace(
        frame=SimpleNamespace(features=features, transmittance=light), gradient=np.zeros((7, 48, 64))
    )
    d_light = splats._known_shape(work, photo, known, config)  # type: ignore[arg-type]
    assert d_light.dtype == np.float32 and not work.gradient[:3].any()
    for values, gradient in ((features, work.gradient), (light, d_light)):
        for at in [tuple(rng.integers(0, values.shape)) for _ in range(40)]:
            kept, sides = values[at], []
            for step in (1e-6, -1e-6):
                values[at] = kept + step
                sides.append(loss(features, light))
            values[at] = kept
            if values is light or at[0] > 2:
                assert gradient[at] == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-4, abs=1e-9), at
