"""depth.npz, depth.png and depth.exr: exact round trips, meaning written down, damage told."""

from __future__ import annotations

import errno
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rilievo.errors import InputError, ResourceError
from rilievo.io import depth_files as df
from rilievo.types import Camera, DepthMap, PhotoDepth, ScaleFit


def _photo_depth(h: int = 33, w: int = 47, scale: str = "relative", name: str = "IMG_1.jpg") -> PhotoDepth:
    rng = np.random.default_rng(h * w)
    disparity = rng.random((h, w)).astype(np.float32)
    disparity[0, :3] = np.nan
    sky = np.zeros((h, w), bool)
    sky[:4, 5:9] = True
    disparity[sky] = 0
    sigma = np.where(rng.random((h, w)) < 0.1, np.nan, 0.01 * rng.random((h, w))).astype(np.float32)
    K = np.array([[51.3, 0, w / 2 + 0.21], [0, 50.9, h / 2], [0, 0, 1]])
    return PhotoDepth(
        name, "tiny", scale, Camera.pinhole(w, h, K), "exif", 1 / 3, disparity, sigma,
        rng.random((h, w)).astype(np.float32), sky,
    )  # fmt: skip


def _fit(**changes) -> ScaleFit:
    values = {
        "a": 0.1 + 0.2,
        "b": -1e-17,
        "covariance": np.array([[1e-9, 2e-12], [2e-12, np.pi]]),
        "spread": float("nan"),
        "unit": "m",
        "method": "two known depths (Maße, 深さ)",
        "num_references": 5,
        "num_outliers": 1,
        "shift_known": True,
    }
    return ScaleFit(**(values | changes))


def _depth_map(photo_depth: PhotoDepth, inferred: bool = True) -> DepthMap:
    depth = (1 / (0.3 * photo_depth.disparity + 0.1)).astype(np.float32)
    depth[photo_depth.sky] = np.nan
    normals = np.zeros((*depth.shape, 3), np.float32)
    normals[..., 2] = -1
    return DepthMap(
        photo_depth.name, photo_depth.camera, np.eye(4)[:3] * 1.0, depth, normals, photo_depth.confidence * 0.5,
        depth * 0.03, (), photo_depth.sky.copy() if inferred else None,
    )  # fmt: skip


def _same(a, b) -> None:
    for name in type(a).__dataclass_fields__:
        x, y = getattr(a, name), getattr(b, name)
        if isinstance(x, Camera):
            _same(x, y)
        elif isinstance(x, np.ndarray):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y, err_msg=name)
        elif isinstance(x, float) and np.isnan(x):
            assert np.isnan(y)
        else:
            assert x == y, name


@pytest.mark.parametrize("scale", ["relative", "similar", "metric"])
def test_npz_gives_back_every_bit(tmp_path, scale):
    photo_depth = _photo_depth(scale=scale)
    fit, depth_map = _fit(), _depth_map(photo_depth)
    df.write_photo_depth(tmp_path / "depth.npz", photo_depth, fit, depth_map)
    got, got_fit, got_map = df.read_photo_depth(tmp_path / "depth.npz")
    _same(photo_depth, got)
    assert got_fit is not None and got_map is not None
    _same(fit, got_fit)
    _same(depth_map, got_map)


def test_npz_without_fit_and_depth_and_same_bytes(tmp_path):
    photo_depth = _photo_depth()
    for name in "ab":
        df.write_photo_depth(tmp_path / name, photo_depth)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    got, fit, depth_map = df.read_photo_depth(tmp_path / "a")
    assert fit is None and depth_map is None and got.name == "IMG_1.jpg"


def test_npz_is_plain_for_other_programs(tmp_path):
    df.write_photo_depth(tmp_path / "depth.npz", _photo_depth(), _fit(), _depth_map(_photo_depth()))
    with np.load(tmp_path / "depth.npz", allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        assert {"disparity", "sigma", "confidence", "sky", "K", "size", "depth", "normals"} <= set(file.files)
        assert file["size"].tolist() == [47, 33]
    assert about["fit"]["a"] == 0.1 + 0.2 and about["model"] == "tiny" and about["unit"] == "m"


def test_damaged_npz_is_told(tmp_path):
    path = tmp_path / "depth.npz"
    with pytest.raises(InputError, match="cannot read") as caught:
        df.read_photo_depth(path)
    assert "no such file" in caught.value.why
    df.write_photo_depth(path, _photo_depth())
    whole = path.read_bytes()
    for bad in (b"", b"hello", whole[:200], whole[: len(whole) // 2], whole[:300] + b"\xff" * 60 + whole[360:]):
        path.write_bytes(bad)
        with pytest.raises(InputError, match=r"cannot read depth\.npz"):
            df.read_photo_depth(path)
    np.savez(path, disparity=np.zeros((2, 2), np.float32))
    with pytest.raises(InputError) as caught:
        df.read_photo_depth(path)
    assert "it has no 'about'" in caught.value.why
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(InputError):
        df.read_photo_depth(tmp_path / "x.npy")


def test_npz_of_another_format_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(df, "FORMAT", 9)
    df.write_photo_depth(tmp_path / "depth.npz", _photo_depth())
    monkeypatch.undo()
    with pytest.raises(InputError) as caught:
        df.read_photo_depth(tmp_path / "depth.npz")
    assert "its format is number 9" in caught.value.why


def test_arrays_that_do_not_fit_together_are_told(tmp_path):
    df.write_photo_depth(tmp_path / "depth.npz", _photo_depth())
    with np.load(tmp_path / "depth.npz") as file:
        arrays = {k: file[k] for k in file.files}
    np.savez(tmp_path / "depth.npz", **(arrays | {"sky": np.zeros((3, 3), bool)}))
    with pytest.raises(InputError) as caught:
        df.read_photo_depth(tmp_path / "depth.npz")
    assert "not all 47 x 33" in caught.value.why


def _texts(raw: bytes) -> dict[str, str]:
    at, texts = 8, {}
    while at < len(raw):
        size, kind = int.from_bytes(raw[at : at + 4], "big"), raw[at + 4 : at + 8]
        if kind == b"tEXt":
            key, text = raw[at + 8 : at + 8 + size].split(b"\0", 1)
            texts[key.decode()] = text.decode()
        at += 12 + size
    return texts


def test_png_says_what_its_values_mean(tmp_path):
    h, w = 60, 80
    y = np.mgrid[:h, :w][0]
    depth = (2 + 6 * y / h).astype(np.float32)
    depth[:10] = np.nan
    sky = np.zeros((h, w), bool)
    sky[10:20] = True
    slope, offset = df.write_depth_png(tmp_path / "depth.png", depth, (640, 480), unit="m", sky=sky)
    picture = np.asarray(Image.open(tmp_path / "depth.png"))
    assert picture.dtype == np.uint16 and picture.shape == (480, 640)
    assert (picture[:155] == 0).all() and (picture[162:] > 0).all()
    assert picture[170, 0] > picture[470, 0]  # bright is near
    texts = _texts((tmp_path / "depth.png").read_bytes())
    assert "bright is near" in texts["Comment"] and texts["unit"] == "m" and "in m" in texts["Comment"]
    assert float(texts["inverse_depth_slope"]) == slope and float(texts["inverse_depth_offset"]) == offset
    got = 1 / (slope * picture[8 * 30 + 4] + offset)
    assert np.allclose(got, depth[30, 0], rtol=0.01)
    assert picture.max() == 65535 and picture[picture > 0].min() == 1


@given(st.integers(1, 300), st.integers(1, 700), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_png_is_what_was_written_for_any_size_and_threads(h, w, seed):
    import tempfile
    from pathlib import Path

    values = np.random.default_rng(seed).integers(0, 65536, (h, w), np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        for threads in (1, 2):
            df._write_png16(Path(folder) / f"{threads}.png", values, {"Comment": "x"}, threads)
        one, two = (Path(folder, f"{k}.png").read_bytes() for k in (1, 2))
        with Image.open(Path(folder) / "1.png") as image:
            image.verify()
        np.testing.assert_array_equal(np.asarray(Image.open(Path(folder) / "1.png")), values)
    assert one == two


def test_png_of_nothing_and_of_one_depth(tmp_path):
    nothing = np.full((8, 8), np.nan, np.float32)
    df.write_depth_png(tmp_path / "a.png", nothing, (16, 16))
    assert (np.asarray(Image.open(tmp_path / "a.png")) == 0).all()
    slope, offset = df.write_depth_png(tmp_path / "b.png", np.full((8, 8), 4, np.float32), (16, 16))
    value = np.asarray(Image.open(tmp_path / "b.png"))
    assert np.allclose(slope * value + offset, 0.25)
    assert "not measured (relative)" in _texts((tmp_path / "b.png").read_bytes())["Comment"]


@given(st.integers(1, 50), st.integers(1, 40), st.booleans())
@settings(max_examples=20, deadline=None)
def test_exr_comes_back(h, w, smooth):
    import tempfile
    from pathlib import Path

    rng = np.random.default_rng(h * 100 + w)
    depth = rng.random((h, w)).astype(np.float32)
    if smooth:
        depth[:] = 2.5
        depth[0, 0] = np.nan
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "depth.exr"
        df.write_exr(path, depth, comment="z")
        np.testing.assert_array_equal(df.read_exr(path), depth)
        raw = path.read_bytes()
        for bad in (raw[:20], raw[:-3], b"x" * 50, b""):
            path.write_bytes(bad)
            with pytest.raises(InputError):
                df.read_exr(path)


def test_full_disk_and_folder_in_place_of_a_file(tmp_path, monkeypatch):
    (tmp_path / "depth.npz").mkdir()
    with pytest.raises(ResourceError, match="could not write"):
        df.write_photo_depth(tmp_path / "depth.npz", _photo_depth())
    with pytest.raises(InputError) as caught:
        df.read_photo_depth(tmp_path / "depth.npz")
    assert "folder" in caught.value.why

    def full(*args, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(ResourceError) as caught:
        df.write_photo_depth(tmp_path / "other.npz", _photo_depth())
    assert "the disk is full" in caught.value.why and not list(tmp_path.glob(".other*"))
