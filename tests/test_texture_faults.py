"""stages.texture with photos that are wrong (exposure, something moved, blurred, mirrored): no model may show it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from rilievo.geometry import invert
from rilievo.stages.texture import TextureConfig, texture
from rilievo.types import Mesh, View
from test_texture import ball, error_of, paint, photograph, standpoints

WRONG = "05.jpg"
CONFIG = TextureConfig(max_texture_size=1024)


@pytest.fixture(scope="module")
def world() -> tuple[Mesh, dict[str, View]]:
    mesh = ball(18)
    return mesh, {name: photograph(mesh, c, name) for name, c in standpoints(16).items()}


def made(world: tuple[Mesh, dict[str, View]], pixels: np.ndarray, **settings: bool) -> Mesh:
    """The model when photo WRONG has these pixels."""
    mesh, views = world
    wrong = {**views, WRONG: replace(views[WRONG], pixels=pixels)}
    return texture(mesh, wrong.__getitem__, list(wrong), config=replace(CONFIG, **settings))


def from_wrong(out: Mesh) -> np.ndarray:
    return out.face_view == out.names.index(WRONG)


@pytest.mark.parametrize("stops", [-1.5, 1.5])
def test_another_exposure_leaves_no_step(world, stops):
    """The light of one photo is 2.8 times more or less than of the others (in the linear light before sRGB's curve)."""
    linear = (world[1][WRONG].pixels / 255.0) ** 2.2 * 2**stops
    pixels = np.clip(255 * np.clip(linear, 0, 1) ** (1 / 2.2), 0, 255).astype(np.uint8)
    raw = made(world, pixels, equalize=False, remove_outliers=False)
    out = made(world, pixels)
    seen = out.face_view >= 0
    assert np.abs(error_of(raw)[from_wrong(raw)]).mean() > 20
    assert np.abs(error_of(out)[seen]).mean() < 4
    if from_wrong(out).any():
        assert np.abs(error_of(out)[from_wrong(out)].mean(0)).max() < 8
    others = seen & ~from_wrong(out)
    assert np.abs(error_of(out)[others].mean(0)).max() < 3  # the rest keeps its own exposure


def test_something_that_moved_leaves_no_ghost(world):
    """A person in one photo, with patterned clothes, before the best seen part of the surface."""
    pixels = world[1][WRONG].pixels.copy()
    pixels[30:130, 85:120] = np.random.default_rng(0).integers(180, 255, (100, 35, 1)) * np.array([1, 0.2, 1])
    ghost = lambda m: int((np.abs(error_of(m)[m.face_view >= 0]).max(1) > 50).sum())  # noqa: E731
    assert ghost(made(world, pixels, remove_outliers=False)) > 20
    assert ghost(made(world, pixels)) == 0


def test_a_blurred_photo_is_hardly_used(world):
    _, views = world
    rng = np.random.default_rng(1)
    grain = rng.normal(0, 12, (160, 200, 1))
    sharp = {n: replace(v, pixels=np.clip(v.pixels + grain, 0, 255).astype(np.uint8)) for n, v in views.items()}
    usual = from_wrong(made((world[0], sharp), sharp[WRONG].pixels)).sum()
    blurred = cv2.GaussianBlur(sharp[WRONG].pixels, (0, 0), 3)
    assert from_wrong(made((world[0], sharp), blurred)).sum() < 0.25 * usual


def test_a_mirrored_photo_is_not_used(world):
    pixels = np.ascontiguousarray(world[1][WRONG].pixels[:, ::-1])
    bad = made(world, pixels, remove_outliers=False)
    assert from_wrong(bad).sum() > 50 and np.abs(error_of(bad)[from_wrong(bad)]).mean() > 20
    out = made(world, pixels)
    assert from_wrong(out).sum() == 0
    assert np.abs(error_of(out)[out.face_view >= 0]).mean() < 3


def test_filled_surface_is_as_bright_as_what_is_around(world):
    """The south of the ball is in no photo: no black, no white, and smooth."""
    mesh, views = world
    high = {n: v for n, v in views.items() if invert(v.cam_from_world)[2, 3] > 0}
    out = texture(mesh, high.__getitem__, list(high), config=CONFIG)
    h, w = out.texture.shape[:2]
    unseen = out.face_view < 0
    uv = out.uvs[out.faces[unseen]].mean(1)
    colors = out.texture[((1 - uv[:, 1]) * h).astype(int), (uv[:, 0] * w).astype(int)].astype(float)
    assert unseen.sum() > 100
    around = paint(mesh.vertices[mesh.faces].mean(1))
    assert (colors > around.min(0) - 10).all() and (colors < around.max(0) + 10).all()
