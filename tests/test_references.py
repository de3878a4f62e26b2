"""References as people write them, and things of known size found in rendered photos."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from rilievo.commands.scale_options import (
    MarkerRequest,
    SensorRequest,
    SheetRequest,
    StereoRequest,
    find_references,
    parse_references,
)
from rilievo.errors import AlignmentError, InputError
from rilievo.stages.references import KnownDepth, KnownLength, KnownPlane, plane_depth
from rilievo.stages.scale_markers import find_markers, find_sheet
from rilievo.stages.scale_stereo import sensor_points, stereo_points
from rilievo.types import Camera

W, H, FOCAL = 1200, 900, 1000.0
CAMERA = Camera("PINHOLE", W, H, np.array([FOCAL, FOCAL, W / 2, H / 2]))


# --- the text of --scale ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        ("10,20:30,40=0.30m", KnownLength((10, 20), (30, 40), 0.3)),
        (" 10.5,20:30,40 = 30cm ", KnownLength((10.5, 20), (30, 40), 0.3)),
        ("10,20:30,40=300mm+-4mm", KnownLength((10, 20), (30, 40), 0.3, 0.002)),
        ("10,20=2.4m", KnownDepth((10, 20), 2.4)),
        ("depth:10,20=2.4m", KnownDepth((10, 20), 2.4)),
        ("ray:10,20=8ft", KnownDepth((10, 20), 8 * 0.3048, along_ray=True)),
        ("aruco:4x4_50:0.05m", MarkerRequest("4x4_50", 0.05)),
        ("apriltag:36h11:10cm", MarkerRequest("apriltag_36h11", 0.1)),
        ("a4", SheetRequest("a4")),
        ("card", SheetRequest("card")),
        ("plane:0,0:9,0:9,9:0,9=0.6mx0.4m", KnownPlane(((0, 0), (9, 0), (9, 9), (0, 9)), 0.6, 0.4)),
        ("plane:0,0:9,0:9,9:0,9=60x40cm", KnownPlane(((0, 0), (9, 0), (9, 9), (0, 9)), 0.6, 0.4)),
    ],
)
def test_a_reference_is_read(text, expected):
    (found,) = parse_references([text])
    assert type(found) is type(expected)
    for name, value in vars(expected).items():
        mine = getattr(found, name)
        assert mine == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value), name


def test_files_are_named_in_a_reference():
    sensor, plain, stereo = parse_references(
        ["sensor:a/depth.png:0.0002", "sensor:C:\\d.png", "stereo:r.png:baseline=19.3cm:focal=995px:offset=31.1"]
    )
    assert isinstance(sensor, SensorRequest) and sensor.path.name == "depth.png" and sensor.step == 0.0002
    assert isinstance(plain, SensorRequest) and str(plain.path) == "C:\\d.png" and plain.step == 0.001
    assert isinstance(stereo, StereoRequest) and stereo.path.name == "r.png"
    assert (stereo.baseline, stereo.focal_px, stereo.offset_px) == (pytest.approx(0.193), 995.0, 31.1)


@pytest.mark.parametrize(
    "text, part",
    [
        ("10,20:30,40", "there is no ="),
        ("10,20:30,40=0.3", "'0.3': it has no unit"),
        ("10,20:30,40=0.3yd", "'yd' is no unit"),
        ("10,20:30,40=-1m", "'-1m': a length must be larger than zero"),
        ("10;20:30,40=1m", "'10;20': expected a pixel"),
        ("10,20:10,20=1m", "both ends are the same pixel"),
        ("1,2:3,4:5,6=1m", "3 pixels"),
        ("aruko:4x4_50:0.05m", "did you mean aruco?"),
        ("aruco:4x5_50:0.05m", "'4x5_50': no such dictionary"),
        ("apriltag:4x4_50:0.05m", "no such dictionary"),
        ("aruco:4x4_50", "expected a dictionary and the side length"),
        ("plane:0,0:9,0:9,9=1mx1m", "3 corners"),
        ("plane:0,0:9,0:9,9:0,9=1m", "expected width x height"),
        ("stereo:right.png", "no baseline"),
        ("stereo:right.png:baseline=1m:zoom=2", "known are baseline, focal and offset"),
        ("a4:1", "nothing can follow a4"),
    ],
)
def test_the_wrong_part_of_a_reference_is_named(text, part):
    with pytest.raises(InputError) as error:
        parse_references([text])
    assert text in error.value.what and part in error.value.why and "X,Y:X,Y=0.30m" in error.value.hint


# --- planes -----------------------------------------------------------------------------------------------------------


def place(width: float, height: float, turn: tuple[float, float, float], t: tuple[float, float, float]) -> np.ndarray:
    """Corners (4, 2) in the photo of a rectangle around its centre, and the rest that tests compare with."""
    R = cv2.Rodrigues(np.array(turn, np.float64))[0]
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64) - 0.5
    x = np.concatenate([unit * [width, height], np.zeros((4, 1))], 1) @ R.T + np.array(t)
    return x[:, :2] / x[:, 2:] * FOCAL + [W / 2, H / 2]


def depth_at(xy: np.ndarray, turn: tuple[float, float, float], t: tuple[float, float, float]) -> np.ndarray:
    normal = cv2.Rodrigues(np.array(turn, np.float64))[0][:, 2]
    ray = np.concatenate([(xy - [W / 2, H / 2]) / FOCAL, np.ones((len(xy), 1))], 1)
    return (normal @ np.array(t)) / (ray @ normal)


def paint(photo: np.ndarray, texture: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Lays a texture (h, w, 3) on a quadrilateral, with soft edges as a lens makes them."""
    th, tw = texture.shape[:2]
    scale = 4
    source = np.array([[0, 0], [tw, 0], [tw, th], [0, th]], np.float32)
    H_big = cv2.getPerspectiveTransform(source, (corners * scale).astype(np.float32))
    shift = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
    inverse_shift = np.linalg.inv(shift)
    size = (W * scale, H * scale)
    big = cv2.warpPerspective(texture, shift @ H_big @ inverse_shift, size, flags=cv2.INTER_LINEAR)
    mask = cv2.warpPerspective(np.full((th, tw), 255, np.uint8), shift @ H_big @ inverse_shift, size)
    small = cv2.resize(big, (W, H), interpolation=cv2.INTER_AREA).astype(np.float32)
    share = cv2.resize(mask, (W, H), interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    return photo * (1 - share) + small


def ground(seed: int = 0, level: float = 90.0) -> np.ndarray:
    """A mottled table."""
    rng = np.random.default_rng(seed)
    rough = cv2.resize(rng.normal(0, 1, (45, 60)).astype(np.float32), (W, H), interpolation=cv2.INTER_CUBIC)
    return (level + 12 * rough)[..., None] * np.array([1.0, 0.85, 0.7], np.float32)


def photograph(photo: np.ndarray, seed: int = 0, noise: float = 3.0) -> np.ndarray:
    grain = np.random.default_rng(seed + 100).normal(0, noise, photo.shape)
    return np.clip(cv2.GaussianBlur(photo, (0, 0), 0.6) + grain, 0, 255).astype(np.uint8)


def test_depth_on_a_plane_is_exact_for_exact_corners_and_grows_with_the_focal_length():
    turn, t = (0.5, -0.4, 0.2), (0.05, -0.03, 1.4)
    corners = place(0.6, 0.4, turn, t)
    plane = KnownPlane(tuple(map(tuple, corners.tolist())), 0.6, 0.4)
    xy, log_depth, covariance, gain = plane_depth(plane, CAMERA, 1.5)
    assert np.allclose(np.exp(log_depth), depth_at(xy, turn, t), rtol=1e-6)
    assert (gain > 0.7).all() and (gain < 1.4).all()
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_the_stated_error_of_a_plane_is_true():
    turn, t = (0.7, 0.2, 0.1), (0.1, 0.1, 2.0)
    corners, rng, off, said = place(0.6, 0.4, turn, t), np.random.default_rng(5), [], []
    for _ in range(40):
        noisy = corners + rng.normal(0, 1.5, (4, 2))
        xy, log_depth, covariance, _ = plane_depth(KnownPlane(tuple(map(tuple, noisy.tolist())), 0.6, 0.4), CAMERA, 1.5)
        off.append(log_depth[0] - math.log(depth_at(xy[:1], turn, t)[0]))
        said.append(math.sqrt(covariance[0, 0]))
    assert 0.6 < np.std(off) / np.mean(said) < 1.4


def test_corners_of_no_rectangle_are_refused():
    with pytest.raises(InputError, match="in no order"):
        plane_depth(KnownPlane(((100, 100), (500, 400), (500, 100), (100, 400)), 0.6, 0.4), CAMERA, 1.5)
    with pytest.raises(InputError, match="not those of a rectangle"):
        plane_depth(KnownPlane(((100, 100), (900, 100), (900, 200), (100, 200)), 0.3, 0.4), CAMERA, 1.5)


# --- found in photos --------------------------------------------------------------------------------------------------

VIEWS = [((0.6, 0.1, 0.2), (0.02, 0.05, 0.6)), ((-0.3, 0.5, -0.4), (-0.1, 0.0, 0.9))]


@pytest.mark.parametrize("turn, t", VIEWS)
@pytest.mark.parametrize("dictionary", ["4x4_50", "apriltag_36h11"])
def test_a_marker_is_found_to_parts_of_a_pixel(dictionary, turn, t):
    code = getattr(cv2.aruco, "DICT_4X4_50" if dictionary == "4x4_50" else "DICT_APRILTAG_36h11")
    marker = cv2.aruco.generateImageMarker(cv2.aruco.getPredefinedDictionary(code), 7, 400)
    sheet = np.full((560, 560), 235, np.uint8)
    sheet[80:480, 80:480] = marker
    corners = place(0.1 * 1.4, 0.1 * 1.4, turn, t)
    photo = photograph(paint(ground(), np.repeat(sheet[..., None], 3, 2), corners))
    (found,) = find_markers(photo, dictionary, 0.1)
    assert found.what == "marker 7"
    assert np.abs(np.array(found.corners) - place(0.1, 0.1, turn, t)).max() < 0.6
    xy, log_depth, covariance, _ = plane_depth(found, CAMERA, 1.5)
    off = log_depth - np.log(depth_at(xy, turn, t))
    assert np.abs(off).max() < 0.012
    assert (np.abs(off) < 3.5 * np.sqrt(np.diag(covariance))).all()


def test_two_markers_are_both_used():
    photo = ground()
    known = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    for number, x in ((3, -0.25), (11, 0.3)):
        sheet = np.full((560, 560), 235, np.uint8)
        sheet[80:480, 80:480] = cv2.aruco.generateImageMarker(known, number, 400)
        photo = paint(photo, np.repeat(sheet[..., None], 3, 2), place(0.14, 0.14, (0.3, 0.1, 0), (x, 0, 1.0)))
    found = find_references(parse_references(["aruco:4x4_50:0.1m"]), photograph(photo), CAMERA)
    assert [f.what for f in found if isinstance(f, KnownPlane)] == ["marker 3", "marker 11"]


@pytest.mark.parametrize("turn, t", VIEWS)
def test_a_sheet_of_paper_is_found(turn, t):
    paper = np.full((420, 594, 3), 225, np.uint8)
    for row in range(40, 380, 22):  # with writing on it
        paper[row : row + 5, 50:540:2] = 90
    corners = place(0.297, 0.210, turn, t)
    found = find_sheet(photograph(paint(ground(1), paper, corners)), CAMERA, "a4")
    miss = min(np.abs(np.roll(np.array(found.corners), k, 0) - corners).max() for k in range(4))
    assert miss < 1.0
    xy, log_depth, _, _ = plane_depth(found, CAMERA, 1.5)
    assert np.abs(log_depth - np.log(depth_at(xy, turn, t))).max() < 0.02


@pytest.mark.parametrize("turn, t", [((0.5, 0.1, 0.2), (0.02, 0.03, 0.3)), ((-0.3, 0.5, -0.4), (-0.03, 0.0, 0.4))])
def test_a_bank_card_is_found_though_its_corners_are_round(turn, t):
    card = np.zeros((540, 856, 3), np.uint8)
    card[:] = (30, 60, 150)
    card[200:300, 100:220] = (200, 180, 90)
    card[400:430, 80:600] = (220, 220, 230)
    photo = ground(2, 150.0)
    corners = place(0.0856, 0.05398, turn, t)
    flat = paint(photo, card, corners)
    mask = np.zeros((540, 856, 3), np.uint8)
    r = 32
    cv2.rectangle(mask, (r, 0), (855 - r, 539), (255,) * 3, -1)
    cv2.rectangle(mask, (0, r), (855, 539 - r), (255,) * 3, -1)
    for x, y in ((r, r), (855 - r, r), (r, 539 - r), (855 - r, 539 - r)):
        cv2.circle(mask, (x, y), r, (255,) * 3, -1)
    share = paint(np.zeros((H, W, 3), np.float32), mask, corners) / 255
    found = find_sheet(photograph(photo * (1 - share) + flat * share), CAMERA, "card")
    miss = min(np.abs(np.roll(np.array(found.corners), k, 0) - corners).max() for k in range(4))
    assert miss < 1.5
    xy, log_depth, _, _ = plane_depth(found, CAMERA, 1.5)
    assert np.abs(log_depth - np.log(depth_at(xy, turn, t))).max() < 0.03


def test_what_is_not_in_the_photo_is_said():
    empty = photograph(ground())
    with pytest.raises(InputError, match="no marker of the dictionary 4x4_50 is in the photo"):
        find_markers(empty, "4x4_50", 0.1)
    with pytest.raises(InputError, match="no A4 sheet is in the photo"):
        find_sheet(empty, CAMERA, "a4")
    square = paint(ground(), np.full((300, 300, 3), 230, np.uint8), place(0.2, 0.2, (0.2, 0.1, 0), (0, 0, 0.8)))
    with pytest.raises(InputError, match="no bank card"):
        find_sheet(photograph(square), CAMERA, "card")


def test_a_stereo_pair_gives_depth():
    rng = np.random.default_rng(3)
    texture = cv2.GaussianBlur(rng.normal(128, 160, (240, 420)).astype(np.float32), (0, 0), 1.2)
    texture = np.clip(texture, 0, 255).astype(np.uint8)
    left, right = texture[:, 40:360].copy(), texture[:, 60:380].copy()  # 20 px of disparity
    left[80:160, 100:200], right[80:160, 64:164] = texture[:80, 200:300], texture[:80, 200:300]  # 36 px
    pair = [np.repeat(p[..., None], 3, 2) for p in (left, right)]
    found = stereo_points(*pair, 100.0, offset_px=5.0)
    inside = ((found.xy > [106, 86]) & (found.xy < [194, 154])).all(1)
    outside = ((found.xy < [60, 300]) | (found.xy > [215, 300])).any(1) & (found.xy[:, 0] > 30)
    assert inside.sum() > 50 and abs(np.median(found.depth[inside]) - 100 / 41) < 0.02
    assert outside.sum() > 500 and abs(np.median(found.depth[outside]) - 100 / 25) < 0.02
    with pytest.raises(AlignmentError, match="do not match"):
        stereo_points(pair[0], rng.integers(0, 255, pair[0].shape).astype(np.uint8), 100.0)


def test_depth_of_a_sensor_is_taken_on_surfaces_only():
    steps = np.full((60, 80), 2000, np.uint16)
    steps[:, 40:] = 4000
    steps[:10] = 0
    found = sensor_points(steps, 0.001, (160, 120))
    assert set(np.round(found.depth, 6)) == {2.0, 4.0}
    assert (np.abs(found.xy[:, 0] - 80) > 3).all() and (found.xy[:, 1] > 20).all()
    with pytest.raises(InputError, match="not the same shape"):
        sensor_points(steps, 0.001, (160, 160))
