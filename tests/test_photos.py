"""Photos in: formats, EXIF, masks, bad files, blur, video frames."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from rilievo.errors import InputError
from rilievo.io import photos
from rilievo.io.exif import CameraNotes, focal_px
from rilievo.io.pixels import turn
from rilievo.io.sensors import sensor_width_mm
from rilievo.io.video import choose_frames, frame_bytes

DATA = Path(os.environ.get("RILIEVO_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def picture(width: int = 96, height: int = 64, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def save(path: Path, pixels: np.ndarray, exif: dict[int, object] | None = None, **options: Any) -> Path:
    block = Image.Exif()
    for tag, value in (exif or {}).items():
        block[tag] = value
    Image.fromarray(pixels).save(path, exif=block, **options)
    return path


def one(path: Path) -> photos.Source:
    return photos.find_photos([path])[0]


def test_finds_photos_in_natural_order_and_skips_the_rest(tmp_path: Path) -> None:
    for name in ["b/IMG_10.jpg", "b/IMG_9.JPG", "a.png", ".hidden.jpg", "notes.txt", "masks/a.png.png"]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    found = photos.find_photos([tmp_path], masks=tmp_path / "masks")
    assert [s.name for s in found] == ["a.png", "b/IMG_9.JPG", "b/IMG_10.jpg"]
    assert [s.mask and s.mask.name for s in found] == ["a.png.png", None, None]


def test_names_are_unique_and_safe_everywhere(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for name in ("a.jpg", "con.jpg", "what?.jpg"):
            (tmp_path / folder / name).write_bytes(b"x")
    names = [s.name for s in photos.find_photos([tmp_path / "one", tmp_path / "two", tmp_path / "one" / "a.jpg"])]
    assert names == ["a.jpg", "_con.jpg", "what_.jpg", "two/a.jpg", "two/_con.jpg", "two/what_.jpg"]


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        photos.find_photos([tmp_path])
    assert str(caught.value) == (
        f"error: no photos in {tmp_path}\nwhy:   the folder is empty\n"
        "hint:  Photos may be JPEG, PNG, TIFF, HEIC or raw; videos mp4 or mov."
    )
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(InputError, match="no photos in") as caught:
        photos.find_photos([tmp_path])
    assert caught.value.why == "its files (1) have no suffix of a photo or video"
    with pytest.raises(InputError, match="cannot find"):
        photos.find_photos([tmp_path / "missing"])
    with pytest.raises(InputError, match="masks folder"):
        photos.find_photos([tmp_path], masks=tmp_path / "missing")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = picture(96, 64)
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    path = save(tmp_path / "a.png", np.ascontiguousarray(turn(upright, inverse)), {0x0112: orientation})
    photo = photos.read_photo(one(path))
    assert (photo.width, photo.height) == (96, 64)
    assert np.array_equal(photos.load_pixels(one(path)), upright)
    if orientation == 6:  # "the stored picture must be turned clockwise"
        assert np.array_equal(np.asarray(Image.open(path).transpose(Image.Transpose.ROTATE_270)), upright)


def test_formats_give_the_same_pixels(tmp_path: Path) -> None:
    pixels = picture(128, 96)
    save(tmp_path / "a.png", pixels)
    save(tmp_path / "a.tif", pixels, compression="tiff_lzw")
    save(tmp_path / "a.bmp", pixels)
    cv2.imwrite(str(tmp_path / "deep.tif"), pixels[..., ::-1].astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "deep.png"), pixels[..., ::-1].astype(np.uint16) * 257)
    save(tmp_path / "a.webp", pixels, lossless=True)
    for source in photos.find_photos([tmp_path]):
        photo = photos.read_photo(source)
        assert (photo.width, photo.height) == (128, 96)
        assert np.array_equal(photos.load_pixels(source), pixels), source.name
    save(tmp_path / "grey.png", pixels[..., 0])
    assert np.array_equal(photos.load_pixels(one(tmp_path / "grey.png")), np.repeat(pixels[..., :1], 3, 2))
    save(tmp_path / "a.jpg", pixels, quality=95)
    assert np.abs(photos.load_pixels(one(tmp_path / "a.jpg")).astype(int) - pixels).mean() < 3
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert np.abs(photos.load_pixels(one(tmp_path / "cmyk.jpg")).astype(int) - pixels).mean() < 6


def raw_file() -> bytes:
    """A small DNG as a camera would write it: TIFF with a Bayer mosaic (RGGB), left half dark, right half bright."""
    width, height = 64, 48
    mosaic = np.full((height, width), 8000, np.uint16)
    mosaic[:, : width // 2] = 2000
    entries: list[tuple[int, int, int, bytes]] = []

    def add(tag: int, kind: int, *values: int) -> None:
        if kind in (5, 10):
            blob = b"".join(struct.pack("<ii", v, 1) for v in values)
        else:
            blob = struct.pack(f"<{len(values)}{ {1: 'B', 3: 'H', 4: 'I'}[kind] }", *values)
        entries.append((tag, kind, len(values), blob))

    def text(tag: int, value: str) -> None:
        entries.append((tag, 2, len(value) + 1, value.encode() + b"\0"))

    for tag, value in [(254, 0), (256, width), (257, height)]:
        add(tag, 4, value)
    for tag, value in [(258, 16), (259, 1), (262, 32803)]:
        add(tag, 3, value)
    text(271, "NIKON CORPORATION")
    text(272, "NIKON D3200")
    add(273, 4, 0)
    add(274, 3, 1)
    add(277, 3, 1)
    add(278, 4, height)
    add(279, 4, mosaic.nbytes)
    add(33421, 3, 2, 2)
    add(33422, 1, 0, 1, 1, 2)
    add(50706, 1, 1, 4, 0, 0)
    text(50708, "NIKON D3200")
    add(50717, 4, 16383)
    add(50721, 10, 1, 0, 0, 0, 1, 0, 0, 0, 1)
    add(50728, 5, 1, 1, 1)
    add(50778, 3, 21)
    table = 8 + 2 + 12 * len(entries) + 4
    data_start = table + sum(len(b) + len(b) % 2 for *_, b in entries if len(b) > 4)
    blobs = body = b""
    for tag, kind, count, blob in entries:
        if tag == 273:
            blob = struct.pack("<I", data_start)
        body += struct.pack("<HHI", tag, kind, count)
        if len(blob) > 4:
            body += struct.pack("<I", table + len(blobs))
            blobs += blob + b"\0" * (len(blob) % 2)
        else:
            body += blob.ljust(4, b"\0")
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    return head + body + struct.pack("<I", 0) + blobs + mosaic.tobytes()


def test_raw_file_is_developed(tmp_path: Path) -> None:
    (tmp_path / "a.dng").write_bytes(raw_file())
    source = one(tmp_path / "a.dng")
    photo = photos.read_photo(source)
    assert photo.camera_name == "NIKON D3200"
    pixels = photos.load_pixels(source)
    assert pixels.shape == (photo.height, photo.width, 3)
    assert pixels[:, -16:].mean() > pixels[:, :16].mean() + 40


def test_smaller_pixels_are_close_to_the_full_ones(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", cv2.resize(picture(80, 56), (640, 400)), quality=95)
    small = photos.load_pixels(one(path), max_size=150)
    assert small.shape == (94, 150, 3)
    full = cv2.resize(photos.load_pixels(one(path)), (150, 94), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - full).mean() < 2


def test_focal_length_and_position_are_read(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "NIKON CORPORATION", "NIKON D3200"
    exif[0x8769] = {0x920A: 40.0, 0x9003: "2019:07:11 15:07:32", 0x9291: "50"}
    exif[0x8825] = {1: "S", 2: (52.0, 31.0, 8.1), 3: "E", 4: (13.0, 24.0, 1.06), 5: b"\x00", 6: 27.0, 31: 4.0}
    Image.fromarray(picture(300, 200)).save(tmp_path / "a.jpg", exif=exif)
    photo = photos.read_photo(one(tmp_path / "a.jpg"))
    assert photo.camera_name == "NIKON D3200"
    assert photo.focal_px == pytest.approx(40 / 23.2 * 300)
    assert photo.gps == pytest.approx((-52.518917, 13.400294, 27.0), abs=1e-6)
    assert photo.gps_std_m == (4.0, 4.0, 8.0)
    assert photo.taken_at == "2019-07-11T15:07:32.50"


def test_focal_length_choices() -> None:
    assert focal_px(CameraNotes(focal_35mm=50.0), 3000, 2000) == pytest.approx(50 / 43.2666 * 3605.55, rel=1e-4)
    assert focal_px(CameraNotes(focal_mm=10.0, sensor_mm=20.0), 3000, 2000) == 1500
    assert focal_px(CameraNotes(focal_mm=34.2, focal_35mm=34.0), 1600, 1200) == pytest.approx(1520)
    assert focal_px(CameraNotes(focal_mm=10.0), 3000, 2000) is None
    assert focal_px(CameraNotes(focal_mm=1e9, sensor_mm=20.0), 3000, 2000) is None
    contradiction = CameraNotes(focal_mm=10.0, sensor_mm=40.0, focal_35mm=50.0)
    assert focal_px(contradiction, 3000, 2000) == pytest.approx(4166.7, rel=1e-4)


@pytest.mark.parametrize(
    "maker, model, width",
    [
        ("NIKON CORPORATION", "NIKON D60", 23.6),
        ("Canon", "Canon EOS 5D Mark III", 36.0),
        ("Canon", "Canon EOS 550D", 22.3),
        ("EASTMAN KODAK COMPANY", "KODAK Z612 ZOOM DIGITAL CAMERA", 5.76),
        ("SONY", "ILCE-7RM4", 35.8),
        ("SONY", "ILCE-6000", 23.5),
        ("DJI", "FC6310", 13.2),
        ("Panasonic", "DMC-GH4", 17.3),
        ("Nobody", "Nothing", None),
    ],
)
def test_sensor_table(maker: str, model: str, width: float | None) -> None:
    assert sensor_width_mm(maker, model) == width


def test_damaged_exif_does_not_lose_the_photo(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(picture()).save(path, exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff")
    assert photos.read_photo(one(path)).focal_px is None


def test_bad_files_are_told_apart(tmp_path: Path) -> None:
    good = save(tmp_path / "good.jpg", picture(320, 240), quality=95)
    (tmp_path / "text.jpg").write_text("this is not a photo\n")
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:-2000])
    (tmp_path / "noise.jpg").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "header.jpg").write_bytes(good.read_bytes()[:40])
    (tmp_path / "clip.mp4").write_bytes(b"")
    (tmp_path / "fake.mp4").write_bytes(b"no video at all")
    (tmp_path / "copy.jpg").write_bytes(good.read_bytes())
    save(tmp_path / "dot.png", np.zeros((1, 1, 3), np.uint8))
    save(tmp_path / "whole.png", picture())
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-100])
    result = photos.read_photos(photos.find_photos([tmp_path]))
    assert [p.name for _, p in result.photos] == ["copy.jpg", "whole.png"]
    reasons = {r.name: r.reason for r in result.rejected}
    assert "not a video that can be decoded" in reasons.pop("fake.mp4")
    assert "header of this JPEG file is damaged" in reasons.pop("header.jpg")
    assert reasons == {
        "clip.mp4": "the file is empty (0 bytes)",
        "cut.jpg": "the JPEG is truncated: its data end before the picture does",
        "cut.png": "the PNG is truncated: its data end before the picture does",
        "dot.png": "it has only 1 x 1 pixels (at least 32 x 32)",
        "empty.jpg": "the file is empty (0 bytes)",
        "good.jpg": "it is an exact copy of copy.jpg",
        "noise.jpg": "its content is no known picture format, whatever its name says",
        "text.jpg": "its content is text, whatever its name says",
    }


def test_only_bad_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("this is not a photo\n")
    with pytest.raises(InputError, match="none of the files given can be used") as caught:
        photos.read_photos(photos.find_photos([tmp_path]))
    assert "text.jpg: its content is text" in caught.value.why


def test_decompression_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    zeros = chunk(b"IDAT", zlib.compress(b"\0" * 999))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + zeros + chunk(b"IEND", b""))
    result = photos.try_read_photo(one(tmp_path / "bomb.png"))
    assert isinstance(result, photos.Rejected) and "claims 30000 x 30000 pixels" in result.reason


def test_masks(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "m").mkdir()
    path = save(tmp_path / "p" / "a.jpg", picture(128, 96))
    mask = np.zeros((96, 128), np.uint8)
    mask[20:70, 30:90] = 1
    Image.fromarray(mask).save(tmp_path / "m" / "a.jpg.png")
    source = photos.find_photos([tmp_path / "p"], masks=tmp_path / "m")[0]
    assert photos.read_photo(source).mask_id
    loaded = photos.load_mask(source)
    assert loaded is not None and np.array_equal(loaded, mask > 0)
    small = photos.load_mask(source, max_size=64)
    assert small is not None and small.shape == (48, 64) and small.sum() == 25 * 30
    assert photos.load_mask(one(path)) is None
    Image.fromarray(mask[:50]).save(tmp_path / "m" / "a.jpg.png")
    with pytest.raises(InputError) as caught:
        photos.read_photo(source)
    assert str(caught.value) == (
        "error: the mask a.jpg.png does not fit its photo\n"
        "why:   the mask has 128 x 50 pixels, the photo 128 x 96\n"
        "hint:  Make masks at the photo's own size: white where it may be used, black where not."
    )


def test_transparency_is_a_mask(tmp_path: Path) -> None:
    pixels = np.dstack([picture(64, 64), np.zeros((64, 64), np.uint8)])
    pixels[16:48, 16:48, 3] = 255
    source = one(save(tmp_path / "a.png", pixels))
    assert photos.read_photo(source).mask_id == "alpha"
    mask, rgb = photos.load_mask(source), photos.load_pixels(source)
    assert mask is not None and mask.sum() == 32 * 32 and (rgb[~mask] == 255).all()
    assert np.array_equal(rgb[mask], pixels[mask][:, :3])


def test_raw_beside_its_jpeg_is_left_out(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", picture())
    (tmp_path / "a.dng").write_bytes(raw_file())
    result = photos.read_photos(photos.find_photos([tmp_path]))
    assert [p.name for _, p in result.photos] == ["a.jpg"]
    assert result.rejected[0].reason == "it is the raw file of a.jpg, which is used"


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_blur_is_measured(noise: float) -> None:
    rng = np.random.default_rng(0)
    sharp = np.full((1600, 2000), 128, np.uint8)
    for _ in range(60):
        corners = (rng.uniform([0, 0], [2000, 1600]) + rng.normal(0, 250, (5, 2))).astype(np.int32)
        cv2.fillPoly(sharp, [cv2.convexHull(corners)], int(rng.integers(20, 235)))
    before = 0.0
    for sigma in (0.8, 1.0, 1.5, 2.0, 3.0, 5.0):
        blurred = cv2.GaussianBlur(sharp.astype(np.float32), (0, 0), sigma * 4)
        blurred = cv2.resize(blurred, (500, 400), interpolation=cv2.INTER_AREA) + rng.normal(0, noise, (400, 500))
        measured = photos.measure_blur(np.clip(blurred + 0.5, 0, 255).astype(np.uint8))
        assert 0.75 * sigma < measured < 1.3 * sigma
        assert measured > before
        before = measured


def test_blur_of_nothing_is_nan() -> None:
    assert np.isnan(photos.measure_blur(np.zeros((200, 200), np.uint8)))
    assert np.isnan(photos.measure_blur(np.zeros((3, 3), np.uint8)))
    with pytest.raises(TypeError):
        photos.measure_blur(np.zeros((200, 200), np.float32))


def test_camera_files(tmp_path: Path) -> None:
    path = tmp_path / "camera.txt"
    path.write_text("# a comment\n1 OPENCV 3072 2048 2759.5 2764.2 1520.7 1006.8 0.1 0 0 0\n")
    camera = photos.read_camera_file(path)
    assert (camera.model, camera.width, camera.fx, camera.param("k1")) == ("OPENCV", 3072, 2759.5, 0.1)
    path.write_text("SIMPLE_RADIAL 640 480 500 320 240 0.01")
    assert photos.read_camera_file(path).params.tolist() == [500, 320, 240, 0.01]
    path.write_text("2759.48 0 1520.69 \n0 2764.16 1006.81 \n0 0 1 \n")
    camera = photos.read_camera_file(path, size=(3072, 2048))
    assert camera.model == "PINHOLE" and camera.K[1, 1] == 2764.16
    for text, message in [
        ("1 2 3", "3 numbers"),
        ("hello", "hello"),
        ("PINHOLE 640 480 500", "takes 4 parameters"),
        ("SIMPLE_PINHOLE 640 480 -5 320 240", "focal length -5"),
        ("1 2 3 4 5 6 7 8 9", "0 0 1"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            photos.read_camera_file(path, size=(640, 480))
        assert message in caught.value.why


def write_clip(path: Path, num_frames: int = 40) -> None:
    """A camera that pans over a picture, standing still at first; every frame but each fourth is blurred."""
    import av

    world = cv2.resize(
        np.random.default_rng(1).integers(0, 256, (60, 200), np.uint8), (1600, 480), interpolation=cv2.INTER_NEAREST
    )
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 320, 240, "yuv420p", 4_000_000
        for i in range(num_frames):
            x = max(0, i - 8) * 12
            view = world[100:340, x : x + 320]
            if i % 4:
                view = cv2.GaussianBlur(view, (0, 0), 2.5)
            frame = av.VideoFrame.from_ndarray(np.repeat(view[..., None], 3, 2), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_video_frames_are_sharp_and_spaced_by_motion(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4")
    source = one(tmp_path / "clip.mp4")
    frames = choose_frames(source, overlap=0.75)
    numbers = [int(f.name[-10:-4]) for f in frames]
    assert frames[0].name.startswith("clip.mp4/0000") and frames[0].name.endswith(".png")
    assert sum(n <= 8 for n in numbers) == 1, "a still camera gives one frame"
    assert sum(n % 4 == 0 for n in numbers) >= len(numbers) - 1, numbers
    assert 5 <= len(numbers) <= 9
    photo = photos.read_photo(frames[2])
    assert photo.content_id == photos.read_photo(frames[2]).content_id
    pixels = photos.load_pixels(frames[2])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(frame_bytes(frames[2])))), pixels)
    assert photo.camera_key == photos.read_photo(frames[1]).camera_key
    assert len(choose_frames(source, overlap=0.75, max_frames=3)) == 3


def test_real_photos_are_read() -> None:
    if not (DATA / "sceaux_castle").is_dir():
        pytest.skip(f"no test data at {DATA}: set RILIEVO_DATA")
    kodak = photos.read_photo(photos.find_photos([DATA / "sceaux_castle" / "images"])[0])
    assert kodak.focal_px == pytest.approx(2905.88, rel=0.02) and kodak.camera_name == "KODAK Z612 ZOOM DIGITAL CAMERA"
    idol = photos.read_photo(photos.find_photos([DATA / "idol" / "photos"])[0])
    assert idol.focal_px == pytest.approx(1520, rel=0.01)
    berlin = photos.find_photos([DATA / "opensfm/berlin/images"], masks=DATA / "opensfm/berlin/masks")[0]
    photo = photos.read_photo(berlin)
    assert photo.gps == pytest.approx((52.518917, 13.400294, 27.0), abs=1e-5) and photo.mask_id
