"""Optics of plans against numbers worked out by hand."""

import math

import pytest

from rilievo.capture import optics
from rilievo.capture.gear import TABLE, Gear, find_gear
from rilievo.errors import InputError

# 36 x 24 mm, 6000 x 4000 px: a pixel is 6 um; 50 mm are 8333.3 px
FULL = Gear("full", (36.0, 24.0), 50.0, (6000, 4000))


def test_depth_and_gsd_by_hand():
    # Z = f (1 + gsd / pitch): 0.05 (1 + 0.12 / 0.006) = 0.05 * 21 = 1.05 m
    assert optics.depth_for_gsd(FULL, 0.00012) == pytest.approx(1.05, rel=1e-12)
    assert optics.gsd_at(FULL, 1.05) == pytest.approx(0.00012, rel=1e-12)
    # 6000 x 4000 pixels of 0.12 mm
    assert optics.footprint(FULL, 0.00012) == pytest.approx((0.72, 0.48))
    # far away the lens is where textbooks have it: Z = gsd f / pitch. Phantom 4 Pro at 80 m: 80 * 2.412 um / 8.8 mm
    drone = find_gear("DJI Phantom 4 Pro")
    assert optics.gsd_at(drone, 80.0) == pytest.approx(80 * 13.2 / 5472 / 8.8, rel=2e-4)
    assert optics.footprint(drone, 80 * 13.2 / 5472 / 8.8) == pytest.approx((120.0, 80.0))


def test_camera_is_focused():
    camera = FULL.camera(1.05)
    # image distance f Z / (Z - f) = 52.5 mm = 8750 px, and depth / focal is the gsd
    assert camera.fx == pytest.approx(8750) and 1.05 / camera.fx == pytest.approx(0.00012)
    assert (camera.width, camera.height, camera.cx, camera.cy) == (6000, 4000, 3000, 2000)
    upright = FULL.camera(upright=True)
    assert (upright.width, upright.height, upright.fx) == (4000, 6000, pytest.approx(50 / 0.006))


def test_depth_of_field_by_hand():
    # one pixel of sigma is a disc of 4 px = 24 um; hyperfocal 50^2 / (8 * 0.024) = 13020.8 mm
    near, far = optics.focus_limits(FULL, 8.0, 2.0)
    h, s = 2500 / (8 * 0.024), 2000.0
    assert near == pytest.approx(h * s / (h + s - 50) / 1000) and far == pytest.approx(h * s / (h - (s - 50)) / 1000)
    assert near == pytest.approx(1.7395, abs=1e-4) and far == pytest.approx(2.3523, abs=1e-4)
    assert math.isinf(optics.focus_limits(FULL, 8.0, 14.0)[1])


def test_aperture_for_a_depth_is_the_inverse():
    f_number, focus = optics.f_number_for(FULL, 1.7395, 2.3523)
    assert f_number == pytest.approx(8.0, rel=1e-3) and focus == pytest.approx(2.0, rel=1e-3)
    near, far = optics.focus_limits(FULL, *optics.f_number_for(FULL, 0.9, 1.3))
    assert (near, far) == pytest.approx((0.9, 1.3), rel=1e-9)


def test_diffraction_by_hand():
    # sigma 0.42 * 0.55 um * N = half a pixel of 6 um: N = 3 / 0.231 = 12.987; at 1:1 half of that
    assert optics.diffraction_f_number(FULL, 0.0) == pytest.approx(12.987, abs=1e-3)
    assert optics.diffraction_f_number(FULL, 1.0) == pytest.approx(6.4935, abs=1e-3)


def test_shutter_by_hand():
    # a drone of 10 m/s at 2 cm: half a pixel is 1 cm, 1 ms
    assert optics.slowest_shutter_s(0.02, 10.0, 0.0, 3000) == pytest.approx(1 / 1000)
    # turning half a degree a second with 3000 px: 26.2 px/s, 1/52 s
    assert optics.slowest_shutter_s(0.02, 0.0, math.radians(0.5), 3000) == pytest.approx(0.5 / 26.1799, rel=1e-4)
    assert math.isinf(optics.slowest_shutter_s(0.02, 0.0, 0.0, 3000))


def test_precision_by_hand():
    # Z^2 / (f B) sigma: 4 / (8000 * 0.2) * 0.5 = 1.25 mm
    assert optics.depth_precision(2.0, 8000, 0.2, 0.5) == pytest.approx(0.00125)


def test_exposure_says_when_it_is_not_enough():
    near = optics.exposure_limits(FULL, 0.6, (0.45, 0.75), speed_m_s=0.0, turn_rad_s=0.0)
    assert not near.sharp and near.f_number == pytest.approx(near.max_f_number) and near.needed_f_number > 22
    far = optics.exposure_limits(FULL, 6.0, (5.5, 6.5), speed_m_s=0.0, turn_rad_s=0.0)
    assert far.sharp and far.near <= 5.5 and far.far >= 6.5 and math.isinf(far.shutter_s)
    phone = optics.exposure_limits(find_gear("iPhone 13"), 0.3, (0.2, 0.5), speed_m_s=0.0, turn_rad_s=0.0)
    assert phone.f_number == 1.6 and not phone.sharp


def test_table_agrees_with_the_makers_equivalent_focal_lengths():
    said = {"Apple iPhone 11": 26, "Apple iPhone 12": 26, "Apple iPhone 13 Pro": 26, "Apple iPhone 14 Pro": 24,
            "Apple iPhone 15": 26, "Apple iPhone 15 Pro": 24, "Samsung Galaxy S23": 23, "Samsung Galaxy S24 Ultra": 23,
            "Google Pixel 7": 24, "Ricoh GR III": 28, "DJI Phantom 4 Pro": 24, "DJI Mavic 3": 24, "DJI Mini 4 Pro": 24,
            "DJI Air 2S": 22}  # fmt: skip
    for name, focal in said.items():
        assert TABLE[name].focal_35mm == pytest.approx(focal, abs=1.0), name
    for gear in TABLE.values():
        aspect = gear.sensor_mm[0] / gear.sensor_mm[1] / (gear.pixels[0] / gear.pixels[1])
        assert aspect == pytest.approx(1, abs=0.015), gear.name
        assert 1.0 < gear.pitch_mm * 1000 < 8 and gear.f_numbers[0] <= gear.f_numbers[1]
        assert (gear.drone is not None) == (gear.kind == "drone")


def test_cameras_are_found_by_name_or_written_out():
    assert find_gear("iphone 13").name == "Apple iPhone 13"
    assert find_gear("IPHONE13 pro").name == "Apple iPhone 13 Pro"
    assert find_gear("mini 4").name == "DJI Mini 4 Pro"
    own = find_gear("23.5x15.6,35,6000x4000", focal_mm=50.0)
    assert own.pixels == (6000, 4000) and own.focal_px == pytest.approx(50 / 23.5 * 6000)
    for wrong in ("nikom", "P1", "", "23.5x15.6,35,6000x6000", "23.5x15.6,0,6000x4000", "0x0,35,6000x4000"):
        with pytest.raises(InputError):
            find_gear(wrong)
    with pytest.raises(InputError, match="lens"):
        find_gear("iPhone 13", focal_mm=-1)
