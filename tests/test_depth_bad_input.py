"""`rilievo depth` on photos, models and disks that are odd or broken: a right answer, or what, why and a hint."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import networks
from rilievo import cli, weights
from rilievo.io import depth_files

W, H = 240, 180


@pytest.fixture(autouse=True)
def model(tmp_path, monkeypatch) -> Path:
    """The model is a tiny one whose disparity is the photo's red channel, kept as a user's own file."""
    file = tmp_path / "red.onnx"
    file.write_bytes(networks.depth_small(smear=1))
    monkeypatch.setenv("RILIEVO_WEIGHTS", str(tmp_path / "weights"))
    return next(iter(weights.add(file, name="depth-small").values()))


def picture(width: int = W, height: int = H) -> np.ndarray:
    """Grey rises downwards, a lighter box before it."""
    grey = np.repeat((60 + 60 * np.arange(height) / height)[:, None], width, 1)
    grey[height // 4 : height * 2 // 3, width // 3 : width * 2 // 3] = 200
    return np.repeat(grey[..., None], 3, 2).astype(np.uint8)


def run(photo: Path, *more: str) -> int:
    return cli.main(["depth", str(photo), "-o", str(photo.parent / "out"), "--threads", "1", "--quiet", *more])


def disparity_of(photo: Path) -> np.ndarray:
    """What was made of a photo: its relative inverse depth, 0 to 1 (the network's red)."""
    return depth_files.read_photo_depth(photo.parent / "out" / "depth.npz")[0].disparity


def message(capsys) -> list[str]:
    """The lines on stderr: a message has what, why and a hint, and no traceback."""
    err = capsys.readouterr().err
    assert "Traceback" not in err
    lines = err.strip().splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "why", "hint"], err
    return [line.partition(":")[2].strip() for line in lines]


# --- odd photos get a right answer ------------------------------------------------------------------------------------


def save(path: Path, kind: str) -> Path:
    rgb = picture()
    image = Image.fromarray(rgb)
    if kind == "grey jpeg":
        image.convert("L").save(path.with_suffix(".jpg"), quality=97)
    elif kind == "grey with alpha":
        image.convert("LA").save(path.with_suffix(".png"))
    elif kind == "cmyk jpeg":
        image.convert("CMYK").save(path.with_suffix(".jpg"), quality=97)
    elif kind == "cmyk tiff":
        image.convert("CMYK").save(path.with_suffix(".tif"))
    elif kind == "palette":
        image.quantize(64).save(path.with_suffix(".png"))
    elif kind == "16 bit colour":
        cv2.imwrite(str(path.with_suffix(".png")), rgb.astype(np.uint16) * 257)
    elif kind == "16 bit grey":
        cv2.imwrite(str(path.with_suffix(".tif")), rgb[..., 0].astype(np.uint16) * 257)
    elif kind == "two colours":
        Image.fromarray(rgb[..., 0] > 150).save(path.with_suffix(".png"))
    elif kind == "a jpeg called png":
        image.save(path.with_suffix(".png"), "JPEG", quality=97)
    return next(p for p in path.parent.iterdir() if p.stem == path.stem and p.is_file())


@pytest.mark.parametrize(
    "kind",
    ["grey jpeg", "grey with alpha", "cmyk jpeg", "cmyk tiff", "palette", "16 bit colour", "16 bit grey", "two colours",
     "a jpeg called png"],
)  # fmt: skip
def test_any_kind_of_pixels(kind, tmp_path):
    photo = save(tmp_path / "photo", kind)
    assert run(photo) == 0
    found = disparity_of(photo)
    assert found.shape == (H, W)
    expected = picture()[..., 0] / 255
    if kind == "two colours":
        expected = (expected > 150 / 255).astype(np.float64)
    inner = np.zeros((H, W), bool)  # away from the box's outline, where the map is smoothed
    inner[12 : H // 4 - 12], inner[H // 4 + 12 : H * 2 // 3 - 12, W // 3 + 12 : W * 2 // 3 - 12] = True, True
    assert np.abs(found - expected)[inner].max() < 0.04
    assert (tmp_path / "out" / "relief.glb").stat().st_size > 1000


def test_transparent_parts_have_no_depth(tmp_path):
    alpha = np.full((H, W), 255, np.uint8)
    alpha[:, : W // 4] = 0
    photo = tmp_path / "cut.png"
    Image.fromarray(np.dstack([picture(), alpha])).save(photo)
    assert run(photo) == 0
    found = disparity_of(photo)
    assert np.isnan(found[:, : W // 4 - 2]).all() and np.isfinite(found[:, W // 4 + 2 :]).all()


def test_nothing_but_transparency(tmp_path, capsys):
    photo = tmp_path / "glass.png"
    Image.fromarray(np.dstack([picture(), np.zeros((H, W), np.uint8)])).save(photo)
    assert run(photo) == 1
    what, why, _ = message(capsys)
    assert "glass.png" in what and why


def panorama(folder: Path, height: int) -> Path:
    cv2.imwrite(str(folder / "round.jpg"), picture(50_000, height), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return folder / "round.jpg"


def test_a_panorama_of_50000_pixels(tmp_path):
    photo = panorama(tmp_path, 1000)
    assert run(photo, "--depth-size", "200") == 0
    found = disparity_of(photo)
    assert found.shape[1] == pytest.approx(50 * found.shape[0], rel=0.05) and found.shape[0] >= 20
    middle, left = found[:, found.shape[1] // 2], found[:, found.shape[1] // 8]
    assert np.median(middle[len(middle) // 3 : len(middle) * 3 // 5]) > 1.4 * np.median(left)


def test_a_strip_is_told(tmp_path, capsys):
    assert run(panorama(tmp_path, 200)) == 1
    what, why, hint = message(capsys)
    assert what == "round.jpg is too long to see depth in" and "times as many one way" in why and "Cut it" in hint


# --- what cannot be used is told --------------------------------------------------------------------------------------


def test_eight_pixels(tmp_path, capsys):
    photo = tmp_path / "icon.png"
    Image.fromarray(picture(8, 8)).save(photo)
    assert run(photo) == 1
    assert message(capsys) == [
        "icon.png cannot be used as a photo",
        "it has only 8 x 8 pixels (at least 32 x 32)",
        "give the original photo, not a thumbnail",
    ]
    assert not (tmp_path / "out" / "relief.glb").exists()


def test_one_colour_is_either_told_or_flat(tmp_path, capsys):
    photo = tmp_path / "wall.png"
    Image.fromarray(np.full((H, W, 3), 120, np.uint8)).save(photo)
    if run(photo) == 0:
        found = disparity_of(photo)
        assert np.nanmax(found) - np.nanmin(found) < 0.02
    else:
        message(capsys)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.95])
def test_a_truncated_photo(share, tmp_path, capsys):
    photo = tmp_path / "cut.jpg"
    rng = np.random.default_rng(0)
    noisy = np.clip(picture(640, 480) + rng.normal(0, 20, (480, 640, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(photo, quality=95)
    whole = photo.read_bytes()
    photo.write_bytes(whole[: int(share * len(whole))])
    assert run(photo) == 1
    what, why, hint = message(capsys)
    assert "cut.jpg" in what and why and hint
    assert not (tmp_path / "out" / "relief.glb").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.jpg", b"this is a shopping list", "notes.jpg"),
        ("empty.jpg", b"", "empty.jpg"),
        ("page.png", b"<html><body>404 not found</body></html>", "page.png"),
        ("half.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "half.png"),
        ("clip.mp4", b"\0\0\0\x18ftypmp42", "clip.mp4 is a video"),
        ("clip.mov", b"", "clip.mov is a video"),
    ],
)
def test_files_that_are_no_photos(name, content, words, tmp_path, capsys):
    photo = tmp_path / name
    photo.write_bytes(content)
    assert run(photo) == 1
    what, why, hint = message(capsys)
    assert words in what and why and hint


def test_a_file_that_claims_more_pixels_than_it_can_hold(tmp_path, capsys):
    """A header of 60000 x 60000 in a small file must not take the machine down."""
    photo = tmp_path / "bomb.png"
    Image.fromarray(picture()).save(photo)
    raw = bytearray(photo.read_bytes())
    raw[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    photo.write_bytes(raw)
    assert run(photo) == 1
    what, why, _ = message(capsys)
    assert "bomb.png" in what and "60000 x 60000" in why


# --- models that are broken -------------------------------------------------------------------------------------------


def good_photo(folder: Path) -> Path:
    Image.fromarray(picture()).save(folder / "photo.png")
    return folder / "photo.png"


def test_a_model_whose_bytes_changed_is_not_run(model, tmp_path, capsys):
    raw = bytearray(model.read_bytes())
    raw[len(raw) // 2] ^= 1
    model.write_bytes(raw)
    assert run(good_photo(tmp_path), "--model", "depth-small") == 1
    what, why, hint = message(capsys)
    assert what == "the weights 'depth-small' are damaged"
    assert str(model) in why and hint == "Delete it and get it again."


def test_a_fetched_model_with_a_wrong_sum_is_not_run(tmp_path, capsys):
    name = "depth-anything-v2-small"
    place = weights.folder() / f"{name}-{weights.WEIGHTS[name].sha256[:16]}.onnx"
    place.write_bytes(networks.depth_anything())
    assert run(good_photo(tmp_path)) == 1  # it is the best there is, and nothing else answers in its name
    what, why, _ = message(capsys)
    assert what == f"the weights {name!r} are damaged" and str(place) in why


@pytest.mark.parametrize("content", [b"", b"no network at all", networks.depth_small()[:500]])
def test_a_model_that_is_no_network_cannot_be_added(content, tmp_path, capsys):
    file = tmp_path / "broken.onnx"
    file.write_bytes(content)
    assert cli.main(["weights", "add", str(file), "--as", "depth-small"]) == 1
    what, why, hint = message(capsys)
    assert "broken.onnx" in what and why and hint


def test_a_damaged_network_in_the_installation(tmp_path, monkeypatch, capsys):
    """The embedded file has no sum of its own: what onnxruntime says must reach the user in words."""
    broken = tmp_path / "depth_small.onnx"
    broken.write_bytes(networks.depth_small()[:500])
    monkeypatch.setattr(weights, "get", lambda name: broken)
    assert run(good_photo(tmp_path)) == 1
    what, why, hint = message(capsys)
    assert what == "depth_small.onnx cannot be opened as a network" and why and "damaged" in hint


def test_a_model_of_another_kind(tmp_path, monkeypatch, capsys):
    other = tmp_path / "other.onnx"
    other.write_bytes(networks.depth_anything())
    monkeypatch.setattr(weights, "get", lambda name: other)
    assert run(good_photo(tmp_path), "--model", "depth-small") == 1
    what, why, _ = message(capsys)
    assert what == "this network is not 'depth-small'" and "'disparity'" in why


# --- no room ----------------------------------------------------------------------------------------------------------


def test_a_full_disk(small_disk, tmp_path, capsys):
    rng = np.random.default_rng(0)
    noisy = np.clip(picture(1200, 900) + rng.normal(0, 20, (900, 1200, 3)), 0, 255).astype(np.uint8)
    photo = tmp_path / "large.png"
    Image.fromarray(noisy).save(photo)
    assert cli.main(["depth", str(photo), "-o", str(small_disk / "out"), "--threads", "1", "--quiet"]) == 1
    what, why, hint = message(capsys)
    assert str(small_disk) in what and "disk is full" in f"{what} {why}" and hint
    left = [p.name for p in (small_disk / "out").iterdir()]
    assert not [n for n in left if n.endswith(".part")] and "report.json" not in left


def test_a_folder_that_may_not_be_made(tmp_path, monkeypatch, capsys):
    """Root may write anywhere, so the refusal of the system is played."""
    photo = good_photo(tmp_path)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    assert run(photo) == 1
    what, why, _ = message(capsys)
    assert "permission" in f"{what} {why}".lower()


def test_bad_photos_beside_good_ones_are_told_and_the_rest_is_made(tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    good_photo(photos)
    (photos / "notes.jpg").write_text("this is a shopping list")
    Image.fromarray(picture(8, 8)).save(photos / "icon.png")
    assert cli.main(["depth", str(photos), "-o", str(tmp_path / "all"), "--threads", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["photos"]) == 1 and {row["name"] for row in result["failed"]} == {"notes.jpg", "icon.png"}
    assert all(row["what"] and row["why"] for row in result["failed"])
