import numpy as np
import pytest
import safetensors.numpy

from rilievo.codec import content_id, decode, encode
from rilievo.types import Camera, DepthMap, Mesh, Photo, Reconstruction


def to_bytes(value):
    return b"".join(bytes(piece) for piece in encode(value))


def small_reconstruction():
    rng = np.random.default_rng(0)
    return Reconstruction(
        names=("a.jpg", "sub/b.jpg"),
        camera_index=np.zeros(2, np.int32),
        cameras=(Camera("SIMPLE_RADIAL", 40, 30, np.array([35.0, 20, 15, -0.1])),),
        cam_from_world=rng.normal(size=(2, 3, 4)),
        points=rng.normal(size=(5, 3)),
        point_colors=rng.integers(0, 255, (5, 3), dtype=np.uint8),
        point_errors_px=np.array([0.1, 0.2, np.nan, 0.3, 0.4], np.float32),
        obs_point=np.arange(5, dtype=np.int32),
        obs_photo=np.zeros(5, np.int32),
        obs_xy=rng.normal(size=(5, 2)).astype(np.float32),
        unplaced={"c.jpg": "blurred (5.1 px)"},
    )


def test_a_nested_value_comes_back_equal():
    value = small_reconstruction()
    back = decode(to_bytes(value))
    assert isinstance(back, Reconstruction)
    assert back.names == value.names
    assert back.unplaced == value.unplaced
    assert back.cameras[0].model == "SIMPLE_RADIAL"
    np.testing.assert_array_equal(back.cameras[0].params, value.cameras[0].params)
    np.testing.assert_array_equal(back.cam_from_world, value.cam_from_world)
    np.testing.assert_array_equal(back.point_errors_px, value.point_errors_px)
    assert back.obs_xy.dtype == np.float32


def test_optional_fields_tuples_and_empty_arrays_come_back():
    photo = Photo("é/IMG 1.jpg", "00ff", 40, 30, "key", focal_px=None, gps=(45.0, 9.0, 120.5))
    back = decode(to_bytes(photo))
    assert (back.name, back.gps, back.focal_px) == (photo.name, photo.gps, None)
    mesh = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), inferred=np.zeros(0, bool))
    back = decode(to_bytes(mesh))
    assert back.vertices.shape == (0, 3)
    assert back.inferred.dtype == bool
    assert back.uvs is None


def test_same_value_same_bytes_and_a_changed_value_another_id():
    assert to_bytes(small_reconstruction()) == to_bytes(small_reconstruction())
    a, b = np.arange(3), np.arange(3)
    b[2] = 7
    assert content_id("x", a) == content_id("x", a.copy()) != content_id("x", b)
    assert content_id(a) != content_id(a.astype(np.float64))
    assert content_id(["a", "b"]) != content_id("a", "b")


def test_the_safetensors_library_reads_our_files():
    value = small_reconstruction()
    arrays = safetensors.numpy.load(to_bytes(value))
    np.testing.assert_array_equal(arrays["points"], value.points)
    np.testing.assert_array_equal(arrays["cameras.0.params"], value.cameras[0].params)


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw[:20], lambda raw: b"", lambda raw: b"x" * 99])
def test_damaged_bytes_are_refused(damage):
    with pytest.raises(ValueError):
        decode(damage(to_bytes(small_reconstruction())))


def test_values_are_read_only_and_checked():
    value = small_reconstruction()
    with pytest.raises(ValueError, match="read-only"):
        value.points[0] = 1
    with pytest.raises(TypeError, match="depth"):
        DepthMap(
            "a", value.cameras[0], value.cam_from_world[0], np.zeros((2, 2)), *[np.zeros((2, 2, 3), np.float32)] * 3
        )
    with pytest.raises(ValueError, match="takes 4 parameters"):
        Camera("PINHOLE", 4, 3, np.zeros(3))
