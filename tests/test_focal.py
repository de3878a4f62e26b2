"""The focal length of one photo: drawn rooms with known answers, real photos, and how sources combine."""

from __future__ import annotations

import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rilievo.stages.focal import FocalEstimate, combine_focal, estimate_focal
from rilievo.stages.vanishing import focal_from_segments, vanishing_focal

DATA = Path(os.environ.get("RILIEVO_DATA") or Path(__file__).parents[2] / "shared" / "data")


def turn(yaw: float, pitch: float, roll: float = 0.0) -> np.ndarray:
    """cam_from_world rotation of a camera that looks along world z, y down; degrees."""
    x, y, z = (cv2.Rodrigues(np.radians(a) * np.eye(3)[i])[0] for i, a in enumerate((pitch, yaw, roll)))
    return z @ x @ y


def room(focal: float, yaw: float, pitch: float, seed: int = 0, size: tuple[int, int] = (600, 800)) -> np.ndarray:
    """A tiled floor and boxes, painted from far to near."""
    rng = np.random.default_rng(seed)
    h, w = size
    R = turn(yaw, pitch)
    faces: list[tuple[np.ndarray, float]] = []
    for i in range(-9, 9):
        for j in range(18):
            corners = np.array([[i, 1.5, j], [i + 1, 1.5, j], [i + 1, 1.5, j + 1], [i, 1.5, j + 1]], float)
            faces.append((corners, 110 + 60 * ((i + j) % 2)))
    for _ in range(9):
        c, s = rng.uniform([-6, 0, 4], [6, 0, 15]), rng.uniform(0.4, 1.4, 3)
        box = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * s / 2
        box += [c[0], 1.5 - s[1] / 2, c[2]]
        for face in ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)):
            faces.append((box[list(face)], rng.uniform(20, 240)))
    picture = np.full((h, w), 200, np.uint8)
    faces.sort(key=lambda f: -np.linalg.norm(f[0].mean(0)))
    for corners, shade in faces:
        x = corners @ R.T
        if x[:, 2].min() < 0.3:
            continue
        uv = focal * x[:, :2] / x[:, 2:] + [w / 2 - 0.5, h / 2 - 0.5]
        cv2.fillConvexPoly(picture, (uv * 16).round().astype(np.int32), float(shade), cv2.LINE_AA, 4)
    noise = rng.normal(0, 2, picture.shape)
    return np.repeat(np.clip(picture + noise, 0, 255).astype(np.uint8)[..., None], 3, 2)


@pytest.mark.parametrize("focal", [480.0, 700.0, 1100.0])
def test_a_room_seen_at_an_angle_gives_its_focal_length(focal: float) -> None:
    errors, sigmas = [], []
    for seed, (yaw, pitch) in enumerate([(35, 14), (-48, 20), (28, 25)]):
        found = vanishing_focal(room(focal, yaw, pitch, seed))
        assert math.isfinite(found.sigma), found
        errors.append(abs(math.log(found.focal_px / focal)))
        sigmas.append(found.sigma)
    assert max(errors) < 0.08 and np.median(errors) < 0.03
    assert all(e < 3 * s for e, s in zip(errors, sigmas))


def test_a_room_seen_straight_on_does_not_tell() -> None:
    found = vanishing_focal(room(700.0, 0, 0))
    assert found.sigma > 0.25 and found.reason


def test_a_photo_without_straight_edges_does_not_tell() -> None:
    rng = np.random.default_rng(0)
    for pixels in (
        np.full((300, 400, 3), 90, np.uint8),
        cv2.GaussianBlur(rng.integers(0, 255, (300, 400, 3), dtype=np.uint8), (0, 0), 2),
    ):
        found = vanishing_focal(pixels)
        assert math.isinf(found.sigma) and found.reason
        estimate = estimate_focal(pixels, full_size=(3000, 4000))
        assert estimate.source == "assumed" and estimate.note == found.reason
        assert estimate.focal_px == pytest.approx(2000 / math.tan(math.radians(30)))


def test_lines_in_all_directions_are_not_believed() -> None:
    rng = np.random.default_rng(1)
    believed = 0
    for _ in range(12):
        a = rng.uniform([-400, -300], [400, 300], (150, 2))
        angle = rng.uniform(0, np.pi, 150)
        b = a + rng.uniform(25, 120, 150)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        believed += focal_from_segments(np.hstack([a, b]), 800).sigma < 0.25
    assert believed == 0


def test_the_answer_is_the_same_every_time() -> None:
    pixels = room(700.0, 35, 14)
    assert vanishing_focal(pixels) == vanishing_focal(pixels)


def test_exif_stays_and_size_is_the_full_photos() -> None:
    pixels = room(700.0, 35, 14)
    given_ = estimate_focal(pixels, full_size=(3000, 4000), given_px=3100.0)
    assert (given_.focal_px, given_.source) == (3100.0, "exif")
    assert combine_focal(given_, 9000.0, 0.01) == given_
    found = estimate_focal(pixels, full_size=(3000, 4000))
    assert found.source == "vanishing points" and found.focal_px == pytest.approx(3500, rel=0.08)


@given(st.floats(100, 9000), st.floats(100, 9000), st.floats(0.01, 1), st.floats(0.01, 1))
@settings(max_examples=60, deadline=None)
def test_sources_combine_by_their_uncertainty(f1: float, f2: float, s1: float, s2: float) -> None:
    both = combine_focal(FocalEstimate(f1, s1, "assumed"), f2, s2)
    assert min(f1, f2) * 0.999 <= both.focal_px <= max(f1, f2) * 1.001
    assert both.sigma <= min(s1, s2)
    assert both.source == ("assumed" if s1 <= s2 else "network")
    assert combine_focal(FocalEstimate(f1, s1, "assumed"), None, math.inf).focal_px == f1


@pytest.mark.skipif(not (DATA / "sceaux_castle").is_dir(), reason="no real photos here (RILIEVO_DATA)")
def test_real_photos_are_within_what_is_stated() -> None:
    cases = [
        *(("metric3d_demo/data/nyu_demo/rgb/rgb_00000.jpg", 518.86),),
        *((f"fountain_P11/images/{i:04}.jpg", 2759.48) for i in (0, 1, 9, 10)),
        *((f"sceaux_castle/images/100_{i}.JPG", 2905.88) for i in (7101, 7103, 7106)),
    ]
    off = []
    for path, truth in cases:
        pixels = cv2.imread(str(DATA / path), cv2.IMREAD_COLOR_RGB)
        shape = pixels.shape[:2]
        small = cv2.resize(pixels, (1024, round(1024 * shape[0] / shape[1])), interpolation=cv2.INTER_AREA)
        found = estimate_focal(small, full_size=shape)
        assert found.source == "vanishing points", path
        off.append(math.log(found.focal_px / truth) / found.sigma)
    assert np.abs(off).max() < 2.5 and np.median(np.abs(off)) < 1.2
