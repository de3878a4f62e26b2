"""The engine gsplat: its messages everywhere; with torch and a CUDA device also its agreement with our kernels."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace

import numpy as np
import pytest

import plain_gsplat
from rilievo import kernels
from rilievo.errors import MissingError
from rilievo.kernels.reference.splats_train import photo_loss as twin
from rilievo.stages import splats, splats_gsplat
from rilievo.stages.splat_photos import PhotoStack, SizedPhoto
from rilievo.types import Camera, DepthMap, SplatState, View

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's and gsplat's own

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")


@pytest.fixture(params=["cuda", "plain"])
def device(request, monkeypatch) -> str:
    """Where gsplat runs: on a CUDA device; and in plain PyTorch, by gsplat's own formulas."""
    if request.param == "cuda":
        if (reason := splats_gsplat.available()) is not None:
            pytest.skip(reason)
        return "cuda"
    torch, gsplat = pytest.importorskip("torch"), pytest.importorskip("gsplat")
    torch.set_num_threads(1)  # small pictures: threads would only wait for each other
    monkeypatch.setattr(splats_gsplat, "available", lambda: None)
    monkeypatch.setattr(splats_gsplat, "_room", lambda: (torch.device("cpu"), 1e9))
    monkeypatch.setattr(gsplat, "rasterization", plain_gsplat.rasterization)
    monkeypatch.setattr(gsplat, "spherical_harmonics", plain_gsplat.spherical_harmonics)
    return "cpu"


def random_rows(n: int, seed: int = 1) -> np.ndarray:
    """Gaussians in a ball of a few units around zero."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((n, 64), np.float32)
    rows[:, :3] = rng.normal(size=(n, 3)) * 0.6
    rows[:, 3] = rng.uniform(-2, 3, n)
    rows[:, 4:8] = rng.normal(size=(n, 4))
    rows[:, 8:11] = rng.uniform(-4, -1.5, (n, 3))
    rows[:, 11] = 1e-4
    rows[:, 16:] = rng.normal(size=(n, 48)) * 0.2
    return rows


def random_stack(num: int = 4, w: int = 96, h: int = 80, *, cut_out: bool = True) -> PhotoStack:
    """Photos of nothing in particular from all around, with alpha and masks."""
    rng = np.random.default_rng(2)
    views = {}
    for k in range(num):
        turn = 2 * np.pi * k / num
        c, s = np.cos(turn), np.sin(turn)
        placed = np.array([[c, 0, s, 0.1], [0, 1, 0, -0.1], [-s, 0, c, 4.0]])
        coarse = rng.uniform(0, 255, (h // 8, w // 8, 3))
        name = f"{k}.png"
        views[name] = View(
            name=name,
            pixels=np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8),
            camera=Camera("PINHOLE", w, h, np.array([100.0, 104, 49.5, 37])),
            cam_from_world=placed,
            mask=rng.uniform(size=(h, w)) > 0.2 if cut_out else None,
            alpha=np.kron(rng.integers(0, 256, (h // 8, w // 8)), np.ones((8, 8))).astype(np.uint8)
            if cut_out
            else None,
        )
    return PhotoStack(list(views), lambda name: views[name])


def state_of(rows: np.ndarray, stack: PhotoStack) -> SplatState:
    blank = np.zeros_like(rows)
    exposure = np.zeros((len(stack.names), 18), np.float32)
    exposure[:, :3] = 1
    score = np.zeros((len(rows), 4), np.float32)
    return SplatState(0, rows, blank, blank, score, stack.names, exposure, np.zeros(3), 4.0, "test")


def known_depth(stack: PhotoStack):
    """Depth 3.9 everywhere, facing the camera, with a hole."""

    def load(name: str, level: int) -> DepthMap:
        photo = stack.get(name, level)
        w, h = photo.size
        depth = np.full((h, w), 3.9, np.float32)
        depth[3, 4] = np.nan
        normals = np.zeros((h, w, 3), np.float32)
        normals[..., 2] = -1
        one = np.ones((h, w), np.float32)
        return DepthMap(name, photo.pinhole(), photo.cam_from_world, depth, normals, one, one)

    return load


def test_engine_names(monkeypatch):
    monkeypatch.setattr(splats_gsplat, "available", lambda: "torch sees no CUDA device")
    assert splats_gsplat.choose_engine("auto") == "cpu"
    assert splats_gsplat.choose_engine("cpu") == "cpu"
    with pytest.raises(MissingError) as caught:
        splats_gsplat.choose_engine("gsplat")
    assert caught.value.why == "torch sees no CUDA device"
    assert "--engine cpu" in caught.value.hint
    with pytest.raises(ValueError, match="engine"):
        splats_gsplat.choose_engine("opencl")
    stack = random_stack()
    with pytest.raises(MissingError):
        splats_gsplat.train_gsplat(state_of(random_rows(5), stack), stack, 1, config=splats.SplatsConfig())
    monkeypatch.setattr(splats_gsplat, "available", lambda: None)
    assert splats_gsplat.choose_engine("auto") == splats_gsplat.choose_engine("gsplat") == "gsplat"


@pytest.mark.parametrize("package", ["gsplat", "torch"])
def test_without_a_package_torch_is_not_imported(monkeypatch, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find("json"))
    before = "torch" in sys.modules
    assert splats_gsplat.available() == f"{package} is not installed"
    assert ("torch" in sys.modules) == before


@needs_torch
@pytest.mark.parametrize("case", ["plain", "all", "absolute"])
def test_loss_in_torch_equals_the_twin(case):
    import torch

    from rilievo.stages import splat_torch

    rng = np.random.default_rng(3)
    h, w = 37, 53
    full = case == "all"
    mask = (rng.uniform(size=(h, w)) > 0.3).astype(np.uint8) if full else None
    alpha = None if case == "plain" else rng.integers(0, 256, (h, w)).astype(np.uint8)
    weights = rng.integers(0, 2, (3, 4)).astype(np.float32) if full else None
    photo = SizedPhoto(
        rng.integers(0, 256, (h, w, 3)).astype(np.uint8), alpha, mask, np.array([50.0, 50, 20, 20]), np.eye(4)[:3]
    )
    x = rng.uniform(size=(3, h, w)).astype(np.float32)
    background, gain, bias = (np.array(v, np.float32) for v in ([0.2, 0.5, 0.7], [1.1, 0.9, 1], [0.01, 0, -0.02]))
    dssim = 0.0 if case == "absolute" else 0.2
    gradient, errors = np.zeros((3, h, w), np.float32), np.zeros((3, 4), np.float32)
    result = twin(x, photo.pixels, alpha, mask, weights, background, gain, bias, dssim, gradient, errors)
    leaves = [torch.tensor(v, requires_grad=True) for v in (x, gain, bias)]
    loss, blocks = splat_torch.photo_loss(
        leaves[0],
        splat_torch.photo_to("cpu", photo),
        torch.tensor(background),
        *leaves[1:],
        None if weights is None else torch.tensor(weights),
        dssim,
    )
    d = [g.numpy() for g in torch.autograd.grad(loss, leaves)]
    assert np.abs(d[0] - gradient).max() <= 1e-5 * np.abs(gradient).max()
    np.testing.assert_allclose(d[1], result[4], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(d[2], result[5], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(blocks.numpy(), errors, atol=1e-6)


@pytest.mark.parametrize("antialiased", [True, False])
def test_pictures_of_gsplat_are_ours(device, antialiased):
    """A foreign judge of our conventions: quaternions, signs of the harmonics, centres of pixels, both filters."""
    import torch

    from rilievo.stages import splat_torch

    rows, stack = random_rows(600), random_stack()
    for name in stack.names:
        photo = stack.get(name, 0)
        background = np.array([0.2, 0.5, 0.9], np.float32)
        ours = kernels.splat_forward(
            rows, photo.camera, photo.cam_from_world, *photo.size, 0.04, 3, 7, antialiased, background, False, None
        )
        with torch.no_grad():
            features, light, _ = splats_gsplat.draw(
                torch.tensor(rows, device=device),
                splat_torch.photo_to(device, photo),
                torch.tensor(background, device=device),
                near=0.04,
                degree=3,
                channels=7,
                antialiased=antialiased,
            )
        off = np.abs(features.cpu().numpy() - ours.features)
        # A Gaussian at the threshold of 1/255 may be drawn by one and not by the other.
        assert off[:3].mean() < 2e-5 and off[:3].max() < 8e-3
        assert off[3].mean() < 1e-4 and off[4:].mean() < 2e-5
        assert np.abs(light.cpu().numpy() - ours.transmittance).mean() < 2e-5


OPTIONS = {
    "plain": {},
    "classic": {"antialiased": False, "filter_3d": 0.0},
    "shape": {"depth_weight": 0.5, "normal_weight": 0.3, "opacity_weight": 0.1, "scale_weight": 0.2},
    "photos": {"exposure": True, "robust": True, "random_background": True},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_step_changes_what_ours_changes(device, name):
    stack = random_stack()
    start = replace(state_of(random_rows(400), stack), iteration=120)
    config = splats.SplatsConfig(iterations=130, levels=0, grow_every=60, **OPTIONS[name])
    depths = known_depth(stack)
    ours = splats.train(start, stack, 121, depths=depths, config=config)
    theirs = splats_gsplat.train_gsplat(start, stack, 121, depths=depths, config=config)
    assert theirs.iteration == 121
    assert (ours.first[:, 12] != theirs.first[:, 12]).mean() < 0.01  # who took a step
    for columns in (slice(0, 3), slice(3, 4), slice(4, 8), slice(8, 11), slice(16, 64)):
        a, b = ours.first[:, columns], theirs.first[:, columns]
        assert np.linalg.norm(a - b) < 0.01 * np.linalg.norm(a)
    np.testing.assert_allclose(theirs.rows[:, 11], ours.rows[:, 11], rtol=1e-4)
    assert np.linalg.norm(ours.score[:, 0] - theirs.score[:, 0]) < 0.01 * np.linalg.norm(ours.score[:, 0])
    np.testing.assert_allclose(theirs.exposure, ours.exposure, atol=2e-4)


def test_a_short_training_goes_where_ours_goes(device):
    stack = random_stack(w=48, h=40, cut_out=False)
    start = state_of(random_rows(150), stack)
    config = splats.SplatsConfig(iterations=60, max_splats=300, grow_every=10, levels=1)
    seen = []

    def watch(iteration: int, rows: np.ndarray) -> bool:
        seen.append(iteration)
        return iteration < 40

    ours = splats.train(start, stack, 40, config=config)
    theirs = splats_gsplat.train_gsplat(start, stack, 60, watch=watch, config=config)
    assert seen == list(range(1, 41)) and theirs.iteration == 40
    assert abs(len(theirs.rows) / len(ours.rows) - 1) < 0.02

    def error(state: SplatState) -> float:
        total = 0.0
        for name in stack.names:
            p = stack.get(name, 0)
            drawn = kernels.splat_forward(
                state.rows, p.camera, p.cam_from_world, *p.size, 0.04, 3, 3, True, np.zeros(3, np.float32), False, None
            )
            total += float(((drawn.features - p.pixels.transpose(2, 0, 1) / 255) ** 2).mean())
        return total

    assert error(theirs) < 0.9 * error(start)
    assert abs(10 * np.log10(error(theirs) / error(ours))) < 0.3
    assert all(np.isfinite(a).all() for a in (theirs.rows, theirs.first, theirs.second))
    # Where one engine stops the other goes on.
    assert splats.train(theirs, stack, 45, config=config).iteration == 45


def test_nothing_to_draw(device):
    stack = random_stack()
    rows = random_rows(3)
    rows[:, 2] = -100.0  # behind some cameras, far from others
    rows[1, 0] = np.nan
    config = splats.SplatsConfig(iterations=20, levels=0)
    made = splats_gsplat.train_gsplat(state_of(rows, stack), stack, 8, config=config)
    assert made.iteration == 8 and np.isfinite(made.rows[[0, 2]]).all()
    empty = splats_gsplat.train_gsplat(state_of(rows[:0], stack), stack, 4, config=config)
    assert len(empty.rows) == 0
