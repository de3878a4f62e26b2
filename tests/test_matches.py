"""Stage `match`: a synthetic pair with known geometry, kinds of pairs, chosen pairs that never change."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rilievo import geometry
from rilievo.stages import matches as m
from rilievo.stages.pairs import PairsConfig, select_pairs
from rilievo.types import Camera, Features, Photo

CAMERA = Camera("SIMPLE_RADIAL", 800, 600, np.array([700.0, 400.0, 300.0, 0.0]))


def features(xy: np.ndarray, descriptors: np.ndarray) -> Features:
    n = len(xy)
    ones = np.ones(n, np.float32)
    return Features("sift", xy.astype(np.float32), ones, ones, ones, descriptors, np.zeros((n, 3), np.uint8))


def scene(
    num: int = 300, *, flat: bool = False, turn_only: bool = False, num_wrong: int = 60, focal: float = 700.0
) -> tuple[Features, Features, np.ndarray]:
    """Two photos of one scene; descriptors say who belongs to whom, num_wrong of them lie."""
    rng = np.random.default_rng(3)
    points = np.column_stack([rng.uniform(-2, 2, (num, 2)), np.full(num, 6.0) if flat else rng.uniform(4, 9, num)])
    angle = 0.15
    R = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    other = np.c_[R, np.zeros(3) if turn_only else [-0.9, 0.1, 0.1]]
    true = Camera("SIMPLE_RADIAL", 800, 600, np.array([focal, 400.0, 300.0, 0.0]))
    xy0 = geometry.project(true, np.eye(4)[:3], points)[0] + rng.normal(0, 0.3, (num, 2))
    xy1 = geometry.project(true, other, points)[0] + rng.normal(0, 0.3, (num, 2))
    d = rng.integers(0, 90, (num, 128), np.uint8)
    xy1[:num_wrong] = rng.uniform(0, 600, (num_wrong, 2))
    order = rng.permutation(num)
    return features(xy0, d), features(xy1[order], d[order]), order


def test_true_matches_are_found_and_lies_are_not() -> None:
    a, b, order = scene()
    found = m.match("b", b, [("a", a, CAMERA)], CAMERA)
    assert found.names0 == ("a",) and found.offsets.tolist() == [0, len(found.matches)]
    assert found.num_raw[0] == 300
    assert (order[found.matches[:, 1]] == found.matches[:, 0]).all()
    assert (found.matches[:, 0] >= 60).sum() >= 235, "right ones kept"
    assert (found.matches[:, 0] < 60).sum() <= 6, "wrong ones near their epipolar line by chance only"
    assert found.kinds.tolist() == [m.CALIBRATED]


def test_kinds_of_pairs() -> None:
    for options, kind in [
        ({"flat": True}, m.PLANAR_OR_PANORAMIC),
        ({"turn_only": True}, m.PLANAR_OR_PANORAMIC),
        ({"num_wrong": 299}, m.DEGENERATE),
        ({"num": 10, "num_wrong": 0}, m.DEGENERATE),
    ]:
        a, b, _ = scene(**options)
        found = m.match("b", b, [("a", a, CAMERA)], CAMERA)
        assert found.kinds.tolist() == [kind], options
        if kind == m.DEGENERATE:
            assert len(found.matches) == 0


def test_wrong_focal_length_is_not_called_calibrated() -> None:
    a, b, _ = scene(focal=1600.0, num_wrong=0)
    short = Camera("SIMPLE_RADIAL", 800, 600, np.array([300.0, 400.0, 300.0, 0.0]))
    assert m.match("b", b, [("a", a, short)], short).kinds.tolist() == [m.UNCALIBRATED]


def test_same_answer_twice_and_seed_by_names() -> None:
    a, b, _ = scene()
    one, two = (m.match("b", b, [("a", a, CAMERA), ("c", a, CAMERA)], CAMERA) for _ in range(2))
    assert np.array_equal(one.matches, two.matches) and np.array_equal(one.kinds, two.kinds)
    alone = m.match("b", b, [("c", a, CAMERA)], CAMERA)
    assert np.array_equal(alone.matches, one.matches[one.offsets[1] :])


def test_no_others_no_features_no_error() -> None:
    a, b, _ = scene()
    empty = features(np.zeros((0, 2)), np.zeros((0, 128), np.uint8))
    found = m.match("b", b, [("a", empty, CAMERA)], CAMERA)
    assert found.offsets.tolist() == [0, 0] and found.num_raw.tolist() == [0] and found.kinds.tolist() == [1]
    assert m.match("b", b, [], CAMERA).offsets.tolist() == [0]
    assert len(m.match("b", empty, [("a", a, CAMERA)], CAMERA).matches) == 0


def test_all_matches_at_one_place() -> None:
    d = np.random.default_rng(0).integers(0, 90, (50, 128), np.uint8)
    same = features(np.full((50, 2), 7.0) + np.arange(50)[:, None] * 1e-4, d)
    assert m.match("b", same, [("a", same, CAMERA)], CAMERA).kinds[0] in (m.DEGENERATE, m.PLANAR_OR_PANORAMIC)


def test_a_place_with_two_orientations_matches_once() -> None:
    xy = np.array([[1, 1], [1, 1], [2, 2], [3, 3]], np.float32)
    matches = np.array([[0, 0], [1, 1], [2, 2], [3, 3]], np.int32)
    assert m._one_to_one(matches, xy, xy).tolist() == [[0, 0], [2, 2], [3, 3]]
    disagree = np.array([[0, 2], [1, 3], [2, 0]], np.int32)
    assert m._one_to_one(disagree, xy, xy).tolist() == [[2, 0]]


def test_features_of_different_extractors_are_refused() -> None:
    a, b, _ = scene()
    other = Features("xfeat", a.keypoints, a.scales, a.orientations, a.scores, a.descriptors, a.colors)
    with pytest.raises(ValueError, match="xfeat"):
        m.match("b", b, [("a", other, CAMERA)], CAMERA)


def test_guess_camera() -> None:
    known = Photo("a", "", 4000, 3000, "", focal_px=3200.0)
    camera, is_known = m.guess_camera(known)
    assert (camera.model, camera.fx, camera.cx, camera.cy, is_known) == ("SIMPLE_RADIAL", 3200, 2000, 1500, True)
    camera, is_known = m.guess_camera(Photo("a", "", 3000, 4000, ""))
    assert (camera.fx, is_known) == (4800, False)


def looks(i: int) -> Features:
    """Photo i of a walk round a building: neighbours in the circle share descriptors. Photo order is scrambled."""
    rng = np.random.default_rng(0)
    world = rng.integers(0, 120, (2000, 128), np.uint8)
    start = (i * 37 % 100) * 20
    rows = (start + np.arange(120)) % 2000
    return features(np.zeros((120, 2)), world[rows])


def test_small_sets_are_matched_completely() -> None:
    photos = [Photo(f"{i}", "", 8, 8, "") for i in range(5)]
    pairs = select_pairs(photos, lambda name: pytest.fail("no features needed"))
    assert pairs == {"0": [], "1": ["0"], "2": ["0", "1"], "3": ["0", "1", "2"], "4": ["0", "1", "2", "3"]}


def test_large_sets_find_neighbours_by_looks_and_keep_their_choice() -> None:
    config = PairsConfig(num_all=20, num_similar=6, num_sequence=1, num_words=16)
    photos = [Photo(f"{i}", "", 8, 8, "") for i in range(90)]
    pairs = select_pairs(photos, lambda name: looks(int(name)), config=config)
    # Photos whose place in the walk differs by one share most descriptors.
    place = {i: i * 37 % 100 for i in range(90)}
    found = wanted = 0
    for i in range(20, 90):
        for j in range(i):
            if (place[i] - place[j]) % 100 in (1, 99):
                wanted += 1
                found += f"{j}" in pairs[f"{i}"]
        assert len(pairs[f"{i}"]) <= 7
    assert found > 0.9 * wanted
    fewer = select_pairs(photos[:70], lambda name: looks(int(name)), config=config)
    assert all(fewer[name] == pairs[name] for name in fewer)


def test_large_sets_use_positions() -> None:
    config = PairsConfig(num_all=10, num_similar=1, num_sequence=1, num_gps=4)
    rng = np.random.default_rng(1)
    spots = rng.uniform(0, 0.01, (40, 2))
    photos = [Photo(f"{i}", "", 8, 8, "", gps=(45 + a, 11 + b, 100.0)) for i, (a, b) in enumerate(spots)]
    pairs = select_pairs(photos, lambda name: looks(0), config=config)
    metres = spots * [1, np.cos(np.radians(45))]
    for i in range(10, 40):
        nearest = np.argsort(np.linalg.norm(metres[:i] - metres[i], axis=1))[:4]
        assert {f"{j}" for j in nearest} <= set(pairs[f"{i}"])


def test_real_descriptors_match_across_a_known_turn() -> None:
    """Through extract and match together: a picture and its turned, shrunken copy."""
    from rilievo.stages.features import extract

    rng = np.random.default_rng(0)
    layers = [cv2.resize(rng.uniform(0, 255, (240 // n, 320 // n, 3)), (320, 240)) for n in (6, 15, 40)]
    pixels = np.clip(np.mean(layers, axis=0) * 1.6 - 70, 0, 255).astype(np.uint8)
    A = cv2.getRotationMatrix2D((160, 120), 25, 0.8)
    turned = cv2.warpAffine(pixels, A, (320, 240), flags=cv2.INTER_AREA, borderValue=(128, 128, 128))
    a, b = extract(pixels, name="a"), extract(turned, name="b")
    found = m.match("b", b, [("a", a, CAMERA)], CAMERA)
    expected = (a.keypoints[found.matches[:, 0]] - 0.5) @ A[:, :2].T + A[:, 2] + 0.5
    error = np.linalg.norm(b.keypoints[found.matches[:, 1]] - expected, axis=1)
    assert len(error) > 100 and np.median(error) < 0.25 and found.kinds[0] == m.PLANAR_OR_PANORAMIC
