"""The depth network inside the package: it loads, keeps its contract and sees simple scenes roughly right."""

from __future__ import annotations

import cv2
import numpy as np
import onnxruntime
import pytest

from rilievo import weights

MODEL = weights.get("depth-small")
OUTPUTS = ["disparity", "log_sigma", "sky", "log_focal"]
SIZES = [(192, 256), (256, 192), (224, 224), (96, 320), (384, 512), (32, 32)]


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])


def look(session: onnxruntime.InferenceSession, rgb: np.ndarray) -> list[np.ndarray]:
    image = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
    return [np.asarray(answer) for answer in session.run(OUTPUTS, {"image": image})]


def test_size_of_the_file() -> None:
    assert 4e6 < MODEL.stat().st_size < 25e6


def test_names_shapes_and_types(session: onnxruntime.InferenceSession) -> None:
    (image,) = session.get_inputs()
    assert image.name == "image"
    assert image.type == "tensor(float)"
    assert image.shape == [1, 3, "height", "width"]
    assert [answer.name for answer in session.get_outputs()] == OUTPUTS
    assert all(answer.type == "tensor(float)" for answer in session.get_outputs())


def test_metadata(session: onnxruntime.InferenceSession) -> None:
    about = session.get_modelmeta().custom_metadata_map
    wanted = {"name", "version", "licence", "trained", "description", "normalisation", "training_set", "pretrained"}
    assert wanted <= set(about)
    assert about["licence"] == "Apache-2.0"
    assert "no photo" in about["training_set"]


@pytest.mark.parametrize("size", SIZES)
def test_any_multiple_of_32(session: onnxruntime.InferenceSession, size: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    disparity, log_sigma, sky, log_focal = look(session, rgb)
    assert disparity.shape == log_sigma.shape == sky.shape == (1, *size)
    assert log_focal.shape == (1,)
    assert all(np.isfinite(answer).all() for answer in (disparity, log_sigma, sky, log_focal))
    assert disparity.min() >= 0
    assert -1.5 < float(log_focal[0]) < 1.5


@pytest.mark.parametrize("level", [0, 127, 255])
def test_a_picture_of_one_colour_gives_finite_answers(session: onnxruntime.InferenceSession, level: int) -> None:
    assert all(np.isfinite(answer).all() for answer in look(session, np.full((192, 256, 3), level, np.uint8)))


def test_same_bytes_with_two_threads(session: onnxruntime.InferenceSession) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    other = onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
    rgb = box_room()[0]
    for one, two in zip(look(session, rgb), look(other, rgb), strict=True):
        np.testing.assert_array_equal(one, two)


def checkered(u: np.ndarray, v: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Tiles of two colours."""
    odd = (np.floor(u) + np.floor(v)) % 2
    return low + (high - low) * odd[..., None]


def floor_under_sky(height: int = 192, width: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """A tiled floor that runs to the horizon: picture and inverse depth, 0 in the sky."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    down, across = (rows - 0.35 * height) / 200, (columns - width / 2) / 200
    inverse = np.maximum(down, 0) / 1.5
    depth = 1 / np.maximum(inverse, 1e-3)
    rgb = checkered(across * depth, depth, np.array([120, 100, 80.0]), np.array([170, 150, 120.0]))
    fade = np.clip(depth / 40, 0, 1)[..., None]
    rgb = rgb * (1 - fade) + np.array([150, 150, 150.0]) * fade
    sky = np.array([235, 215, 190.0]) - np.array([90, 60, 10.0]) * (1 - rows / (0.35 * height))[..., None]
    rgb = np.where(down[..., None] > 0, rgb, sky[..., ::-1] * 0 + np.array([150, 185, 230.0]) * (1 - 0.2 * fade))
    return np.clip(rgb, 0, 255).astype(np.uint8), inverse


def box_room(height: int = 192, width: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """A room seen along its length, with a box on the floor: picture and inverse depth by casting rays."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    x, y = (columns - width / 2) / 220, (rows - 0.45 * height) / 220
    faces = {  # inverse depth of each plane, and its colour
        "floor": (y / 1.4, np.array([150, 110, 70.0])),
        "ceiling": (-y / 1.3, np.array([235, 235, 230.0])),
        "left": (-x / 1.8, np.array([190, 185, 160.0])),
        "right": (x / 1.8, np.array([205, 200, 175.0])),
        "back": (np.full_like(x, 1 / 5.0), np.array([170, 170, 150.0])),
    }
    stack = np.stack([plane for plane, _ in faces.values()])
    which, inverse = stack.argmax(0), stack.max(0)
    rgb = np.stack([tone for _, tone in faces.values()])[which]
    depth = 1 / inverse
    boards = checkered(x * depth * 4, depth, np.array([-18, -14, -10.0]), np.array([12, 9, 6.0]))
    rgb = rgb + np.where((which == 0)[..., None], boards, 0)
    rgb = rgb * (0.75 + 0.5 * np.clip(inverse * 1.2, 0, 0.5))[..., None]
    front = (abs(x + 0.05) < 0.3 / 2.2) & (y * 2.2 < 1.4) & (y * 2.2 > 0.8)
    top = (abs(x + 0.05) * (0.8 / np.maximum(y, 1e-6)) < 0.3) & (y > 0.8 / 2.8) & (y <= 0.8 / 2.2)
    inverse = np.where(front, 1 / 2.2, np.where(top, y / 0.8, inverse))
    rgb = np.where(front[..., None], np.array([60, 90, 150.0]), rgb)
    rgb = np.where(top[..., None], np.array([110, 145, 205.0]), rgb)
    noise = np.random.default_rng(0).normal(0, 3, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8), inverse


def order(said: np.ndarray, true: np.ndarray) -> float:
    """Share of pairs of places that are in the right order."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, true.size, (2, 20000))
    s, t = said.ravel(), true.ravel()
    apart = np.abs(t[a] - t[b]) > 0.15 * t.max()
    return float(((s[a] > s[b]) == (t[a] > t[b]))[apart].mean())


def test_a_floor_is_near_below_and_far_above(session: onnxruntime.InferenceSession) -> None:
    rgb, inverse = floor_under_sky()
    disparity, _, sky, _ = look(session, rgb)
    assert order(disparity[0], inverse) > 0.95
    assert sky[0, :40].mean() > sky[0, -60:].mean() + 2


def test_a_room_with_a_box(session: onnxruntime.InferenceSession) -> None:
    rgb, inverse = box_room()
    disparity = look(session, rgb)[0][0]
    assert order(disparity, inverse) > 0.85
    # The box stands out from the wall behind it, and the back wall is behind the side walls' near ends.
    ring = cv2.dilate((inverse == 1 / 2.2).astype(np.uint8), np.ones((3, 3))) > 0
    assert disparity[ring].mean() > disparity[70:90, 118:138].mean()
    assert disparity[80:110, :10].mean() > disparity[70:90, 118:138].mean()


def test_a_mirrored_picture_gives_the_mirrored_answer_roughly(session: onnxruntime.InferenceSession) -> None:
    rgb, _ = box_room()
    plain = look(session, rgb)[0][0]
    mirrored = look(session, np.ascontiguousarray(rgb[:, ::-1]))[0][0, :, ::-1]
    assert np.corrcoef(plain.ravel(), mirrored.ravel())[0, 1] > 0.9
