"""A small scene through every stage, each kernel call answered twice: by the native kernel and by its NumPy twin."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rilievo import geometry, kernels
from rilievo.types import Camera, DepthMap, Reconstruction, View

SIZE = (96, 72)


@dataclass
class Outcome:
    """What the self-test found of one kernel."""

    kernel: str
    calls: int = 0
    differing: float = 0.0
    native_seconds: float = 0.0
    error: str | None = None


def run_selftest(told: Callable[[str], None] = lambda text: None) -> list[Outcome]:
    """One outcome a kernel that the small scene uses; `differing` is the largest share of numbers that were not equal
    (ties may fall either way), `error` says what is wrong, None is well."""
    outcomes: dict[str, Outcome] = {}
    frames: dict[
        int, tuple[Any, Any]
    ] = {}  # native frames of Gaussians (alive, or their ids may return) and the twins'

    def wrapper(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        outcome = outcomes.setdefault(name, Outcome(name))

        def call(*args: Any, **settings: Any) -> Any:
            # Kernels may work in place: the twin gets copies.
            copies = [a.copy() if isinstance(a, np.ndarray) else frames.get(id(a), (a, a))[1] for a in args]
            known = name == "splat_forward" or not any(is_frame(a) and id(a) not in frames for a in args)
            started = time.perf_counter()
            answer = kernel(*args, **settings)
            outcome.native_seconds += time.perf_counter() - started
            outcome.calls += 1
            frames.pop(id(answer), None)  # drawn again: what the twin drew before is another picture
            if outcome.calls <= 2 and known:
                twin = kernels.get(name, "reference")(*copies, **settings)
                if is_frame(answer):
                    frames[id(answer)] = answer, twin
                compare = COMPARE.get(name, share_differing)
                outcome.differing = max(outcome.differing, compare(answer, twin))
                if name in IN_PLACE:
                    for a, b in zip(args, copies):
                        if isinstance(a, np.ndarray):
                            size = np.abs(b).max(initial=0) or 1.0  # gradients are small numbers
                            outcome.differing = max(outcome.differing, share_differing(a / size, b / size))
                if outcome.differing > 0.02:
                    outcome.error = f"{100 * outcome.differing:.1f} % of its numbers differ from the NumPy twin's"
            return answer

        return call

    with kernels.wrapped(wrapper):
        for name, part in PARTS.items():
            told(name)
            try:
                part()
            except Exception as error:  # a broken machine may fail in any way, and the rest shall still be tested
                outcomes[name] = Outcome(name, error=f"{type(error).__name__}: {error}")
    return sorted(outcomes.values(), key=lambda o: o.kernel)


def share_differing(a: Any, b: Any) -> float:
    """Share of numbers that differ by more than float32 rounding, over all arrays in two nested answers."""
    if isinstance(a, tuple | list):
        if len(a) != len(b):
            return 1.0
        return max((share_differing(x, y) for x, y in zip(a, b)), default=0.0)
    if a is None or b is None:
        return float(a is not b)
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape:
        return 1.0
    if not x.size:
        return 0.0
    return float(1 - np.isclose(x, y, rtol=1e-3, atol=1e-3, equal_nan=True).mean())


def share_other_cells(a: Any, b: Any) -> float:
    """Share of tetrahedra of one answer that are not in the other; their order is free."""
    cells = [{tuple(sorted(cell)) for cell in np.asarray(answer[0]).tolist()} for answer in (a, b)]
    return len(cells[0] ^ cells[1]) / max(len(cells[0] | cells[1]), 1)


def share_other_cuts(a: Any, b: Any) -> float:
    """`share_differing` of two trees of points; the order within their leaves is free."""
    by_number = [packed[np.argsort(np.ascontiguousarray(packed[:, 3]).view(np.int32)), :3] for packed, _, _ in (a, b)]
    return share_differing((by_number[0], *a[1:]), (by_number[1], *b[1:]))


def is_frame(value: Any) -> bool:
    """Whether this is what `splat_forward` answers."""
    return hasattr(value, "transmittance")


def share_other_pictures(a: Any, b: Any) -> float:
    """`share_differing` of what two frames of Gaussians show."""
    return share_differing((a.features, a.transmittance, a.median_depth), (b.features, b.transmittance, b.median_depth))


COMPARE: dict[str, Callable[[Any, Any], float]] = {
    "delaunay": share_other_cells,
    "build_tree": share_other_cuts,
    "splat_forward": share_other_pictures,
}
IN_PLACE = ("photo_loss", "splat_update")  # they answer in their arguments


# --- a small scene: a bumpy textured wall in front of five cameras ----------------------------------------------------


def small_views() -> list[View]:
    """Five views of the wall z = 2 + bump(x, y), each pixel by a few steps along its ray."""
    rng = np.random.default_rng(4)
    marks = np.repeat(np.repeat(rng.integers(30, 226, (60, 60, 3)), 5, 0), 5, 1).astype(np.uint8)
    width, height = SIZE
    camera = Camera.pinhole(width, height, np.array([[90.0, 0, width / 2], [0, 90.0, height / 2], [0, 0, 1]]))
    views = []
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones_like(x)], -1).reshape(-1, 3)
    for k, (right, down) in enumerate([(0, 0), (0.35, 0), (-0.35, 0), (0, 0.3), (0, -0.3)]):
        eye = np.array([right, down, 0.0])
        cam_from_world = geometry.look_at(eye, np.array([0.0, 0.0, 2.0]), up=(0.0, -1.0, 0.0))
        directions = rays @ cam_from_world[:, :3]
        depth = np.full(len(rays), 2.0)
        for _ in range(8):
            hit = eye + depth[:, None] * directions
            depth *= (2 + 0.05 * np.sin(4 * hit[:, 0]) * np.cos(3 * hit[:, 1]) - eye[2]) / np.maximum(hit[:, 2], 1e-6)
        hit = eye + depth[:, None] * directions
        row, column = (np.clip((hit[:, i] + 2) * 75, 0, 299).astype(int) for i in (1, 0))
        pixels = marks[row, column].reshape(height, width, 3)
        views.append(View(f"{k}.png", pixels, camera, cam_from_world))
    return views


def small_reconstruction(views: list[View]) -> Reconstruction:
    """The cameras of the views, as a reconstruction without points."""
    none = np.zeros(0, np.int32)
    return Reconstruction(
        names=tuple(v.name for v in views),
        camera_index=np.zeros(len(views), np.int32),
        cameras=(views[0].camera,),
        cam_from_world=np.stack([v.cam_from_world for v in views]),
        points=np.zeros((0, 3)),
        point_colors=np.zeros((0, 3), np.uint8),
        point_errors_px=np.zeros(0, np.float32),
        obs_point=none,
        obs_photo=none,
        obs_xy=np.zeros((0, 2), np.float32),
    )


def check_keypoints() -> None:
    """Keypoints of two views and their matches."""
    from rilievo.stages import features, matches

    first, second = small_views()[:2]
    found = [features.extract(np.kron(v.pixels, np.ones((4, 4, 1), np.uint8)), name=v.name) for v in (first, second)]
    camera = Camera("SIMPLE_RADIAL", 384, 288, np.array([360.0, 192, 144, 0]))
    matches.match("1.png", found[1], [("0.png", found[0], camera)], camera)


def check_dense() -> None:
    """Depth maps, cloud, surface, its refinement, texture and picture."""
    from rilievo.stages import depth, depth_filter, mesh, points, refine, render, texture

    views = small_views()
    by_name = {v.name: v for v in views}
    config = replace(depth.DepthConfig.for_quality("draft"), sweeps=(3, 1))
    maps: dict[str, DepthMap] = {}
    seeds = np.zeros((0, 3))
    for view in views:
        others = [v for v in views if v is not view]
        maps[view.name] = depth.estimate_depth(view, others, seeds=seeds, depth_range=(1.5, 2.6), config=config)
    second = {
        view.name: depth.estimate_depth(
            view,
            [v for v in views if v is not view],
            seeds=seeds,
            depth_range=(1.5, 2.6),
            start=maps[view.name],
            source_depths=[maps[v.name] for v in views if v is not view],
            config=config,
        )
        for view in views
    }
    names = list(second)
    checked = {
        n: depth_filter.filter_depth(second[n], [second[o] for o in names if o != n], config=config) for n in names
    }

    class Maps:
        """The maps as `points.fuse` takes them."""

        def __init__(self) -> None:
            self.names = names
            self.neighbours = {n: [o for o in names if o != n] for n in names}

        def load(self, name: str) -> tuple[DepthMap, np.ndarray]:
            return checked[name], by_name[name].pixels

    cloud = points.fuse(Maps())
    surface = mesh.mesh_cloud(cloud, small_reconstruction(views), config=mesh.MeshConfig(max_faces=2000))
    surface = refine.refine_mesh(surface, lambda n: by_name[n], names, small_reconstruction(views))
    painted = texture.texture(surface, lambda n: by_name[n], names, config=texture.TextureConfig(max_texture_size=512))
    render.render_mesh(painted, views[0].camera, views[0].cam_from_world)


def check_splats() -> None:
    """Gaussians along the wall, drawn, pulled towards a photo, and trained."""
    from rilievo.stages import splats
    from rilievo.stages.splat_photos import PhotoStack
    from rilievo.stages.splats_render import SplatRenderer

    views = small_views()
    rng = np.random.default_rng(6)
    x, y = rng.uniform([[-1.3], [-1.1]], [[1.3], [1.1]], (2, 270))
    points = np.stack([x, y, 2 + 0.05 * np.sin(4 * x) * np.cos(3 * y)], 1)
    colors = rng.integers(30, 226, (len(points), 3)).astype(np.uint8)
    by_name = {v.name: v for v in views}
    stack = PhotoStack(list(by_name), lambda name: by_name[name])
    config = splats.SplatsConfig(iterations=3, levels=0, max_splats=2 * len(points), num_far=0)
    state = splats.start_splats(stack, points=points, colors=colors, config=config)
    renderer = SplatRenderer(splats.finish(state, config=config))
    frame = renderer.draw(views[0].camera, views[0].cam_from_world, channels=7, median=True)
    pull = rng.normal(size=frame.features.shape).astype(np.float32)
    kernels.splat_backward(frame, np.array(state.rows), pull, pull[0].copy())
    splats.train(state, stack, config.iterations, config=config)


PARTS: dict[str, Callable[[], None]] = {
    "keypoints and matches": check_keypoints,
    "dense, surface, texture": check_dense,
    "splats": check_splats,
}
