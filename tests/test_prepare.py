"""`rilievo prepare`: files, notes, account, going on, refusals, cut-outs, proof."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from prepare_scenes import iou, jpeg, photo, turntable, write
from rilievo import cli
from rilievo.errors import InputError, ResourceError
from rilievo.io import photo_notes
from rilievo.io.photos import Source, read_photo
from rilievo.pipelines_prepare import prepare_photos
from rilievo.plan import Run
from rilievo.preparing.proof import PairScore, compare, epipolar_residuals, verdict
from rilievo.preparing.settings import PrepareSettings
from rilievo.stages import cutout
from rilievo.stages.ncnn_graph import to_onnx
from rilievo.types import Camera
from scenes import exif_bytes, tiny_capture

GPS = (46.5, 11.3, 260.0)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6" drone-dji:GimbalYaw="1.5"/></x:xmpmeta>'


def capture(folder: Path, *, orientation: int = 1, quality: int = 40, seed: int = 0) -> Path:
    """A JPEG with EXIF, GPS, XMP and a colour profile, lying on its side where wanted."""
    from PIL import ImageCms

    exif = Image.Exif()
    exif.load(exif_bytes(Camera("SIMPLE_PINHOLE", 240, 180, np.array([250.0, 120, 90])), gps=GPS))
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x927C] = b"maker's own \x00\x01"
    exif.get_ifd(0x8769)[0xA20E] = IFDRational(10000, 3)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    out = io.BytesIO()
    Image.fromarray(photo(seed, (240, 180))).save(
        out, "JPEG", quality=quality, exif=exif.tobytes(), icc_profile=icc, xmp=XMP
    )
    return write(folder / f"IMG_{seed}.jpg", out.getvalue())


def run(tmp: Path, *options: str, inputs: str = "in", out: str = "out") -> int:
    return cli.main(["prepare", str(tmp / inputs), "-o", str(tmp / out), "-q", *options])


def account(tmp: Path, out: str = "out") -> dict:
    return json.loads((tmp / out / "prepared.json").read_text())


def test_notes_survive_turning_and_enlarging(tmp_path):
    original = capture(tmp_path / "in", orientation=6)
    before = original.read_bytes()
    assert run(tmp_path, "--upscale", "2") == 0
    copy = tmp_path / "out" / "photos" / "IMG_0.jpg"
    with Image.open(copy) as made, Image.open(original) as given:
        assert made.size == (360, 480)  # upright
        exif, old = made.getexif(), given.getexif()
        assert exif[0x0112] == 1
        detail = exif.get_ifd(0x8769)
        assert (detail[0xA002], detail[0xA003]) == (360, 480)
        assert float(detail[0xA20E]) == 2 * float(old.get_ifd(0x8769)[0xA20E])
        assert detail[0x927C] == b"maker's own \x00\x01"
        assert dict(exif.get_ifd(0x8825)) == dict(old.get_ifd(0x8825))
        assert made.info["icc_profile"] == given.info["icc_profile"]
        assert b'tiff:Orientation="1"' in made.info["xmp"]
        assert b"GimbalYaw" in made.info["xmp"]
    assert original.read_bytes() == before
    photos = [read_photo(Source(p.name, p)) for p in (original, copy)]
    assert photos[1].focal_px == pytest.approx(2 * photos[0].focal_px)
    assert photos[1].gps == photos[0].gps
    (record,) = account(tmp_path)["photos"]
    assert record["scale"] == 2
    assert record["result"]["focal_px"] == pytest.approx(2 * record["source"]["focal_px"], rel=1e-4)
    assert record["not_kept"] == []


@pytest.mark.parametrize("damage", [b"", b"II*\x00", b"XX*\x00" + bytes(40), b"II*\x00\x08\x00\x00\x00\xff\xff"])
def test_damaged_notes_are_dropped_in_words(damage):
    notes, lost = photo_notes.adapted(photo_notes.Notes(exif=damage), width=10, height=10, scale=1.0)
    assert notes.exif == b""
    assert lost == (["EXIF: it is damaged"] if damage else [])


def test_sixteen_bits_and_transparency_stay(tmp_path):
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 65536, (64, 80, 4)).astype(np.uint16)
    cv2.imwrite(str(write(tmp_path / "in" / "deep.png", b"")), deep)
    assert run(tmp_path, "--upscale", "3", "--model", "bicubic") == 0
    out = cv2.imread(str(tmp_path / "out/photos/deep.png"), cv2.IMREAD_UNCHANGED)
    assert out.dtype == np.uint16
    assert out.shape == (192, 240, 4)
    small = cv2.resize(out, (80, 64), interpolation=cv2.INTER_AREA).astype(float)
    assert np.corrcoef(small[..., 3].ravel(), deep[..., 3].ravel())[0, 1] > 0.95


@pytest.mark.parametrize("quality", [95, 60, 30])
def test_the_default_enlarges_no_worse_than_bicubic(tmp_path, quality):
    from rilievo.evaluate.images import psnr, ssim

    true = photo(3, (400, 320))
    small = cv2.resize(true, (200, 160), interpolation=cv2.INTER_AREA)
    write(tmp_path / "in/a.jpg", jpeg(small, quality))
    scores = []
    for model in ("bicubic", "auto"):
        assert run(tmp_path, "--upscale", "2", "--model", model, "--jpeg-quality", "100", out=model) == 0
        made = np.asarray(Image.open(tmp_path / model / "photos/a.jpg"))
        scores.append((psnr(made, true), ssim(made, true)))
    assert scores[1][0] > scores[0][0]
    assert scores[1][1] > scores[0][1]


def test_what_needs_nothing_is_copied_byte_by_byte(tmp_path):
    original = capture(tmp_path / "in", quality=97, orientation=6)
    assert run(tmp_path, "--restore", "--sharpen", "--deblur") == 0
    assert (tmp_path / "out/photos/IMG_0.jpg").read_bytes() == original.read_bytes()
    (record,) = account(tmp_path)["photos"]
    assert record["copied"]
    assert not any(s["done"] for s in record["steps"])
    assert all(s["note"] for s in record["steps"])


def test_going_on_keeps_what_is_whole_and_makes_the_rest_the_same(tmp_path):
    for seed in range(2):
        capture(tmp_path / "in", seed=seed)
    capture(tmp_path / "in/b", seed=0).rename(tmp_path / "in/b/IMG_0.JPG")
    settings = PrepareSettings(restore=True)
    seen = []
    tell = lambda stage, done, total, reused=0: seen.append((stage, done, reused))  # noqa: E731
    first = prepare_photos([tmp_path / "in"], tmp_path / "out", settings=settings, run=Run(1, progress=tell))
    assert [r["name"] for r in first["rejected"]] == ["IMG_0.jpg"] or len(first["photos"]) == 2  # an exact copy
    made = tmp_path / "out" / first["photos"][0]["file"]
    good = made.read_bytes()
    made.write_bytes(good[:-9])  # as a crash leaves it
    seen.clear()
    again = prepare_photos([tmp_path / "in"], tmp_path / "out", settings=settings, run=Run(3, progress=tell))
    assert made.read_bytes() == good
    assert seen[-1] == ("photos prepared", 2, 1)
    assert again == first
    # Other settings make other files in the same place.
    other = prepare_photos([tmp_path / "in"], tmp_path / "out", settings=PrepareSettings(upscale=2), run=Run(1))
    assert other["photos"][0]["result"]["width"] == 480


def test_an_input_folder_may_hold_the_output(tmp_path):
    capture(tmp_path / "in")
    for _ in range(2):
        assert run(tmp_path, "--restore", out="in/out") == 0
        assert len(account(tmp_path, "in/out")["photos"]) == 1


def test_originals_and_strangers_are_never_overwritten(tmp_path, capsys):
    original = capture(tmp_path / "set/photos")
    assert cli.main(["prepare", str(original), "-o", str(tmp_path / "set"), "--restore"]) == 1
    assert "originals are never overwritten" in capsys.readouterr().err
    capture(tmp_path / "in")
    stranger = write(tmp_path / "out/photos/IMG_0.jpg", b"mine")
    assert run(tmp_path, "--restore") == 1
    assert "nothing was overwritten" in capsys.readouterr().err
    assert stranger.read_bytes() == b"mine"


def test_bad_photos_are_results_and_bad_wishes_are_told(tmp_path, capsys):
    capture(tmp_path / "in")
    write(tmp_path / "in/broken.jpg", (tmp_path / "in/IMG_0.jpg").read_bytes()[:3000])
    write(tmp_path / "in/empty.png", b"")
    assert run(tmp_path, "--restore", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {r["name"] for r in told["rejected"]} == {"broken.jpg", "empty.png"}
    for options, word in (
        (["--upscale", "7"], "1 to 6"),
        (["--remove-background", "--background", "empty"], "--empty PHOTO"),
        (["--remove-background", "--background", "depth"], "--house HOUSE"),
        (["--upscale", "2", "--model", "span"], "rilievo weights get span-x2"),
        (["--prove"], "a pair has two"),
        (["--truth", "x"], "--prove"),
    ):
        assert run(tmp_path, *options) == 1
        assert word in capsys.readouterr().err


def test_too_large_for_memory_says_how_much(tmp_path):
    capture(tmp_path / "in")
    with pytest.raises(ResourceError, match=r"1440 x 1080 pixels needs about 0\.3 GiB") as error:
        prepare_photos(
            [tmp_path / "in"], tmp_path / "out", settings=PrepareSettings(upscale=6), run=Run(1, memory_mb=310)
        )
    assert "--upscale" in error.value.hint


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    for seed in range(2):
        capture(tmp_path / "in", seed=seed)
    from rilievo.preparing import settings as prepare_settings

    real, count = prepare_settings.replacing, []

    def full(path):
        count.append(path)
        if len(count) == 5:  # the claim of the second photo was written, its picture is not
            raise ResourceError(f"could not write {path}", "the disk is full")
        return real(path)

    monkeypatch.setattr(prepare_settings, "replacing", full)
    with pytest.raises(ResourceError, match="could not write"):
        prepare_photos([tmp_path / "in"], tmp_path / "out", settings=PrepareSettings(restore=True), run=Run(1))
    monkeypatch.undo()
    again = prepare_photos([tmp_path / "in"], tmp_path / "out", settings=PrepareSettings(restore=True), run=Run(1))
    assert len(again["photos"]) == 2


def test_known_intrinsics_grow_with_the_photos(tmp_path):
    capture(tmp_path / "in")
    given = write(tmp_path / "camera.txt", b"OPENCV 240 180 250 251 118 91 -0.1 0.01 0 0.001\n")
    assert run(tmp_path, "--upscale", "2", "--camera", str(given)) == 0
    words = (tmp_path / "out/camera.txt").read_text().split("\n")[1].split()
    assert words[0] == "OPENCV"
    assert [float(v) for v in words[1:]] == [480, 360, 500, 502, 236, 182, -0.1, 0.01, 0, 0.001]


def test_objects_are_cut_out_by_difference_and_masks_have_colmaps_names(tmp_path):
    camera = Camera("OPENCV", 560, 420, np.array([602.0, 602.0, 284.0, 206.5, -0.05, 0.01, 0.0, 0.0]))
    ((pixels, empty, true),) = turntable(1, camera=camera)
    write(tmp_path / "in/a.jpg", jpeg(pixels, 95))
    bare = write(tmp_path / "empty.jpg", jpeg(empty, 95))
    options = ["--remove-background", "--background", "empty", "--empty", str(bare)]
    assert run(tmp_path, *options, "--cutout", "masks") == 0
    mask = cv2.imread(str(tmp_path / "out/masks/a.jpg.png"), cv2.IMREAD_UNCHANGED)
    assert iou(mask > 127, true) > 0.9
    assert run(tmp_path, *options, out="alpha") == 0
    alpha = cv2.imread(str(tmp_path / "alpha/photos/a.png"), cv2.IMREAD_UNCHANGED)[..., 3]
    assert np.array_equal(alpha, mask)
    stranger = cutout.by_difference(pixels, photo(3, (560, 420)))
    assert stranger is None


def test_an_even_backdrop_is_found_and_an_uneven_one_refused():
    y, x = np.mgrid[:300, :400] / 300
    back = np.stack([190 - 40 * y, 195 - 30 * y + 10 * x, 200 - 20 * x], -1)
    true = ((x - 0.7) ** 2 + (y - 0.5) ** 2) < 0.09
    texture = photo(2, (400, 300)).astype(float) * 0.6
    scene = np.where(true[..., None], texture, back) + np.random.default_rng(0).normal(size=(300, 400, 3))
    found = cutout.by_backdrop(np.clip(np.rint(scene), 0, 255).astype(np.uint8))
    assert found is not None
    assert iou(found.mask > 127, true) > 0.95
    assert cutout.by_backdrop(photo(2)) is None


def test_what_stands_on_the_ground_is_told_from_it():
    import trimesh

    ground = trimesh.creation.box((6, 6, 0.02), trimesh.transformations.translation_matrix([0, 0, -0.01]))
    ground = ground.subdivide().subdivide().subdivide()
    thing = trimesh.creation.icosphere(3, 0.4)
    thing.apply_translation([0.1, 0, 0.45])
    both = trimesh.util.concatenate([ground, thing])
    chosen = cutout.above_support(both.vertices, both.faces, np.array([0.1, 0, 0.35]), np.array([0.0, 0, 1]))
    belongs = np.arange(len(both.faces)) >= len(ground.faces)
    assert iou(chosen, belongs) > 0.97


def test_proof_compares_in_pixels_of_the_original_and_counts_truly(tmp_path, capsys):
    tiny_capture(tmp_path, num=3)
    assert run(tmp_path, "--sharpen", "--upscale", "2", "--prove", "--json", inputs="photos") == 0
    proof = json.loads(capsys.readouterr().out)["proof"]
    assert len(proof["pairs"]) == 3
    assert proof["before"]["inliers"] > 200
    assert proof["after"]["residual_px"] < 1.0
    assert proof["advice"]
    assert account(tmp_path)["proof"]["before"] == proof["before"]


def test_proof_says_no_where_copies_are_worse(tmp_path, capsys):
    """Photos whose fine detail was smoothed away, and copies with false detail, are told as worse."""
    good = [PairScore(9000, 1000, 900, 700, 0.30)]
    for bad in (
        PairScore(20000, 1500, 800, 600, 0.30),
        PairScore(20000, 1500, 1200, 690, 0.40),
        PairScore(0, 0, 0, 0, float("nan")),
    ):
        proof = compare(good, [bad])
        assert not proof["good_for_geometry"]
        assert "worse" in proof["advice"]
    assert compare(good, [PairScore(9000, 1000, 905, 705, 0.30)])["advice"].endswith("use the originals for geometry")
    assert compare(good, [PairScore(9000, 1300, 1200, 1000, 0.28)])["good_for_geometry"]
    assert not verdict(compare([], [])["before"], compare([], [])["after"])[0]


def test_epipolar_residuals_are_those_of_the_noise():
    rng = np.random.default_rng(0)
    points = rng.uniform([-1, -1, 4], [1, 1, 8], (600, 3))
    a = 800 * points[:, :2] / points[:, 2:]
    moved = points @ cv2.Rodrigues(np.array([0.02, -0.1, 0.03]))[0].T + [0.7, 0.1, 0.05]
    b = 800 * moved[:, :2] / moved[:, 2:]
    noise = [0.3 * rng.normal(size=a.shape) for _ in range(2)]
    found = epipolar_residuals(a + noise[0], b + noise[1])
    assert np.median(found) == pytest.approx(0.6745 * 0.3, rel=0.2)
    assert not len(epipolar_residuals(a[:5], b[:5]))


def ncnn_file(scale: int = 2) -> bytes:
    """Nearest neighbour as a network: a convolution that copies each colour scale^2 times, a shuffle of pixels."""
    channels = 3 * scale * scale
    weights = np.zeros((channels, 3, 1, 1), np.float16)
    for c in range(channels):
        weights[c, c // scale**2] = 1
    text = (
        "7767517\n4 5\nInput in 0 1 data\n"
        f"Convolution c 1 1 data a 0={channels} 1=1 5=1 6={channels * 3} 9=2 -23310=1,0.1\n"
        f"PixelShuffle p 1 1 a b 0={scale}\nBinaryOp m 1 1 b output 0=2 1=1 2=1.0\n"
    )
    data = weights.tobytes()
    tag = (0x01306B47).to_bytes(4, "little")
    return text.encode() + tag + data + bytes(-len(data) % 4) + np.zeros(channels, "<f4").tobytes()


def test_networks_in_ncnns_format_run_and_mark_what_they_invent(tmp_path):
    from rilievo.stages import upscale_network as net
    from rilievo.stages.tiles import widened

    small = widened(photo(1, (200, 170)))
    upscaler = net.Upscaler("span-x2", 2, net.open_network(to_onnx(ncnn_file()), engine="cpu", threads=2))
    for scale in (2, 4, 3, 1):
        out = net.upscale_by_network(small, scale, upscaler, threads=2)
        assert out.shape == (170 * scale, 200 * scale, 3)
    assert np.abs(net.upscale_by_network(small, 2, upscaler)[::2, ::2].astype(int) - small).max() <= 1


@pytest.mark.parametrize(
    "bad", [b"", b"7767517\n", b"7767517\n1 1\nNova n 0 1 data\n", ncnn_file()[:-4], ncnn_file() + b"0000"]
)
def test_damaged_networks_are_told(bad):
    with pytest.raises(InputError, match="not an ncnn network"):
        to_onnx(bad)
