"""Dense depth on a scene with a known answer: a ball in front of a wall, drawn by rays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rilievo import geometry, kernels
from rilievo.errors import InputError
from rilievo.stages.depth import DepthConfig, estimate_depth
from rilievo.stages.depth_filter import filter_depth
from rilievo.types import Camera, DepthMap, View

CONFIG = DepthConfig(sweeps=(6, 2), min_piece_px=20)
BALL, RADIUS, WALL = np.array([0.1, 0.05, 3.0]), 0.6, 4.0


def texture(points: np.ndarray) -> np.ndarray:
    """Grey 0..1 from smoothed noise on a lattice, the same for every view."""
    rng = np.random.default_rng(0)
    table = rng.uniform(0, 1, (64, 64, 64)).astype(np.float32)
    out = np.zeros(points.shape[:-1])
    for scale, weight in ((9.0, 0.5), (24.0, 0.5)):
        p = points * scale
        cell = np.floor(p).astype(np.int64)
        f = p - cell
        for corner in np.ndindex(2, 2, 2):
            at = (cell + corner) % 64
            w = np.prod(np.where(np.array(corner), f, 1 - f), axis=-1)
            out += weight * w * table[at[..., 0], at[..., 1], at[..., 2]]
    return out


def draw(name: str, eye: tuple[float, float, float], size: tuple[int, int] = (160, 120)) -> tuple[View, np.ndarray]:
    w, h = size
    camera = Camera("PINHOLE", w, h, np.array([1.2 * w, 1.2 * w, w / 2 + 1.3, h / 2 - 0.7]))
    cam_from_world = geometry.look_at(np.array(eye), np.array([0.0, 0.0, 3.3]), up=(0.0, -1.0, 0.0))
    xy = np.stack(np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5), -1).reshape(-1, 2)
    rays = np.concatenate([geometry.undistort(camera, xy), np.ones((w * h, 1))], 1) @ cam_from_world[:, :3]
    origin = np.array(eye)
    depth = (WALL - origin[2]) / rays[:, 2]
    b, c = rays @ (origin - BALL), ((origin - BALL) ** 2).sum() - RADIUS**2
    a = (rays**2).sum(1)
    root = b * b - a * c
    ball = root > 0
    depth[ball] = (-b[ball] - np.sqrt(root[ball])) / a[ball]
    grey = texture(origin + rays * depth[:, None])
    noise = np.random.default_rng(int(1000 * (eye[0] + 2 * eye[1] + 4))).normal(0, 1.0, len(grey))
    grey = np.clip(40 + 170 * grey + noise, 0, 255).astype(np.uint8).reshape(h, w)
    return View(name, np.repeat(grey[..., None], 3, 2), camera, cam_from_world), depth.reshape(h, w)


EYES = [(0.0, 0.0, 0.0), (-0.35, 0.0, 0.0), (0.35, 0.02, 0.0), (0.0, -0.35, 0.05), (0.05, 0.35, 0.0)]


@pytest.fixture(scope="module")
def scene() -> list[tuple[View, np.ndarray]]:
    return [draw(f"{k}.jpg", eye) for k, eye in enumerate(EYES)]


NO_SEEDS = np.zeros((0, 3))


def first_maps(views: list[View], config: DepthConfig = CONFIG) -> list[DepthMap]:
    """Maps of half the size of the views."""
    return [
        estimate_depth(v, [o for o in views if o is not v], seeds=NO_SEEDS, depth_range=(1.5, 6.0), config=config)
        for v in views
    ]


def second_map(views: list[View], first: list[DepthMap], k: int = 0, config: DepthConfig = CONFIG) -> DepthMap:
    """The full map of view k."""
    others = [i for i in range(len(views)) if i != k]
    return estimate_depth(
        views[k],
        [views[i] for i in others],
        seeds=NO_SEEDS,
        depth_range=(1.5, 6.0),
        start=first[k],
        source_depths=[first[i] for i in others],
        config=config,
    )


@pytest.fixture(scope="module")
def first(scene: list[tuple[View, np.ndarray]]) -> list[DepthMap]:
    return first_maps([v for v, _ in scene])


@pytest.fixture(scope="module")
def maps(scene: list[tuple[View, np.ndarray]], first: list[DepthMap]) -> list[DepthMap]:
    views = [v for v, _ in scene]
    return [second_map(views, first, k) for k in range(len(views))]


def errors_gsd(found: DepthMap, truth: np.ndarray) -> np.ndarray:
    return np.abs(found.depth - truth) / (truth / found.camera.fx)


def test_first_pass_finds_the_surface_at_half_the_size(scene, first):
    view, truth = scene[0]
    found = first[0]
    assert found.depth.shape == (60, 80) and (found.camera.width, found.camera.height) == (80, 60)
    np.testing.assert_allclose(found.camera.params, view.camera.params / 2)
    truth = 1 / (1 / truth).reshape(60, 2, 80, 2).mean((1, 3))
    error = errors_gsd(found, truth)
    known = np.isfinite(found.depth)
    assert known.mean() > 0.85
    assert np.nanmedian(error) < 0.8
    assert (error[known] < 3).mean() > 0.8
    assert found.sources == tuple(v.name for v, _ in scene[1:])
    assert (found.depth > 0)[known].all() and (found.confidence[~known] == 0).all()
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


def test_normals_are_unit_face_the_camera_and_are_right(scene, maps):
    view, truth = scene[0]
    known = np.isfinite(maps[0].depth)
    n = maps[0].normals[known]
    np.testing.assert_allclose(np.linalg.norm(n, axis=1), 1.0, atol=1e-5)
    xy = np.stack(np.meshgrid(np.arange(truth.shape[1]) + 0.5, np.arange(truth.shape[0]) + 0.5), -1)[known]
    ray = np.concatenate([geometry.undistort(view.camera, xy), np.ones((len(xy), 1))], 1)
    assert ((n * ray).sum(1) < 0).all()
    points = geometry.transform(geometry.invert(view.cam_from_world), ray * truth[known][:, None])
    on_ball = truth[known] < 3.3
    right = np.where(on_ball[:, None], points - BALL, [0.0, 0.0, -1.0]) @ view.cam_from_world[:, :3].T
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    angle = np.degrees(np.arccos(np.clip((n * right).sum(1), -1, 1)))
    assert np.median(angle[on_ball]) < 12
    assert np.median(angle[~on_ball]) < 8


def test_second_pass_and_filter_leave_few_outliers(scene, maps):
    kept = filter_depth(maps[0], (m for m in maps[1:]), config=CONFIG)
    error = errors_gsd(kept, scene[0][1])
    known = np.isfinite(kept.depth)
    assert known.mean() > 0.75
    assert (error[known] < 3).mean() > 0.97
    before = errors_gsd(maps[0], scene[0][1])
    assert (error[known] < 3).mean() > (before[np.isfinite(before)] < 3).mean()
    assert np.isfinite(kept.sigma[known]).all() and (kept.sigma[known] > 0).all()
    assert np.isnan(kept.normals[~known]).all() and (kept.confidence[known] > 0).all()
    # Sigma means something: most errors are within it, it is not just large, and it tells good depth from bad.
    miss = np.abs(kept.depth - scene[0][1])[known]
    sigma = kept.sigma[known]
    assert (miss < sigma).mean() > 0.5
    assert np.median(sigma) < 1.5 * np.median(kept.depth[known]) / kept.camera.fx
    sure = sigma < np.median(sigma)
    assert np.median(miss[sure]) < 0.8 * np.median(miss[~sure])


def test_filter_drops_what_no_other_map_confirms(scene, maps):
    wrong = maps[0].depth.copy()
    wrong[40:70, 40:70] *= 0.8
    kept = filter_depth(replace(maps[0], depth=wrong), maps[1:], config=CONFIG)
    assert np.isfinite(kept.depth[40:70, 40:70]).mean() < 0.02
    assert np.isfinite(kept.depth[80:110, 40:70]).mean() > 0.8


def test_masked_pixels_have_no_depth(scene):
    views = [v for v, _ in scene]
    mask = np.ones((120, 160), bool)
    mask[:, :60] = False
    masked = [replace(views[0], mask=mask), *views[1:3]]
    found = second_map(masked, first_maps(masked))
    assert np.isnan(found.depth[:, :60]).all()
    assert np.isfinite(found.depth[20:100, 70:130]).mean() > 0.8


def test_a_flat_wall_without_texture_is_not_made_up(scene):
    views = [replace(v, pixels=np.full_like(v.pixels, 128)) for v, _ in scene]
    found = second_map(views, first_maps(views))
    assert np.isfinite(found.depth).mean() < 0.01


def test_same_bytes_with_one_and_two_threads_and_other_seed_differs():
    views = [draw(f"{k}.jpg", eye, (64, 48))[0] for k, eye in enumerate(EYES[:3])]
    answers = []
    native = kernels.native()
    before = native.num_threads()
    try:
        for threads, seed in ((1, 0), (2, 0), (2, 1)):
            kernels.set_num_threads(threads)
            config = replace(CONFIG, seed=seed)
            found = second_map(views, first_maps(views, config), config=config)
            answers.append(found.depth.tobytes() + found.normals.tobytes() + found.sigma.tobytes())
    finally:
        kernels.set_num_threads(before)
    assert answers[0] == answers[1] != answers[2]


def test_reference_backend_gives_the_same_map():
    views = [draw(f"{k}.jpg", eye, (48, 36))[0] for k, eye in enumerate(EYES[:3])]
    config = replace(CONFIG, sweeps=(2,), geometric_sweeps=1)

    def run() -> tuple[DepthMap, DepthMap]:
        first = first_maps(views, config)
        second = [second_map(views, first, k, config) for k in range(len(views))]
        return first[0], filter_depth(second[0], second[1:], config=config)

    native = run()
    before = kernels.use_backend("reference")
    try:
        twin = run()
    finally:
        kernels.use_backend(before)
    for a, b in zip(native, twin, strict=True):
        assert (np.isfinite(a.depth) == np.isfinite(b.depth)).mean() > 0.995
        both = np.isfinite(a.depth) & np.isfinite(b.depth)
        assert both.any() and np.isclose(a.depth[both], b.depth[both], rtol=1e-5).mean() > 0.995


def test_bad_input_is_told(scene, first, maps):
    view = scene[0][0]
    with pytest.raises(InputError, match="cannot be given depth"):
        estimate_depth(view, [], seeds=np.zeros((0, 3)), depth_range=(1.0, 2.0), config=CONFIG)
    for bad in ((0.0, 1.0), (2.0, 1.0), (1.0, np.inf), (np.nan, 1.0)):
        with pytest.raises(ValueError, match="depth_range"):
            estimate_depth(view, [scene[1][0]], seeds=np.zeros((0, 3)), depth_range=bad, config=CONFIG)
    with pytest.raises(ValueError, match="2 sources but 1"):
        estimate_depth(
            view, [scene[1][0], scene[2][0]], seeds=np.zeros((0, 3)), depth_range=(1.0, 2.0),
            start=first[0], source_depths=first[1:2], config=CONFIG,
        )  # fmt: skip
    with pytest.raises(ValueError, match="half the view"):
        second_map([v for v, _ in scene], maps)
    with pytest.raises(ValueError, match="go together"):
        estimate_depth(
            view, [scene[1][0]], seeds=np.zeros((0, 3)), depth_range=(1.0, 2.0), start=first[0], config=CONFIG
        )
    with pytest.raises(ValueError, match="quality"):
        DepthConfig.for_quality("best")
    assert DepthConfig.for_quality("draft").max_size < DepthConfig.for_quality("normal").max_size


# Depth of the tiny scene at a few pixels, for DepthConfig.version 5. When a change of the method moves these numbers,
# raise DepthConfig.version and write the new ones down: stored results of the old method must not be taken for new.
GOLDEN = (
    5,
    [
        3.839, 4.01, 3.979, 4.016, 3.953, 2.68, 2.501, 2.533, 3.999, 2.658,
        2.417, 2.449, 4.023, 2.555, 2.459, 2.522, 3.959, 4.039, 2.867, 3.83,
    ],
)  # fmt: skip


def test_golden_answer_and_version_change_together():
    views = [draw(f"{k}.jpg", eye, (96, 72))[0] for k, eye in enumerate(EYES[:4])]
    found = second_map(views, first_maps(views))
    answer = [round(float(d), 3) for d in found.depth[12:66:12, 16:80:16].ravel()]
    assert DepthConfig.version == GOLDEN[0]
    np.testing.assert_allclose(answer, GOLDEN[1], atol=2e-3)
