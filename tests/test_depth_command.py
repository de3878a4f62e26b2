"""`rilievo depth`: files, report, messages; on a network whose answer is known (the photo's red channel)."""

from __future__ import annotations

import errno
import io
import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import networks as fake
from rilievo import cli, weights
from rilievo.commands.depth import choose_folders
from rilievo.errors import InputError
from rilievo.io import depth_files, gltf, ply, relief_glb, stl
from rilievo.stages.relief_solid import open_edges, volume

W, H = 320, 240


@pytest.fixture(autouse=True)
def network(tmp_path, monkeypatch):
    """The embedded network stands in for a tiny one."""
    path = tmp_path / "weights" / "tiny.onnx"
    path.parent.mkdir()
    path.write_bytes(fake.depth_small())
    monkeypatch.setenv("RILIEVO_WEIGHTS", str(path.parent))
    monkeypatch.setattr(weights, "get", lambda name: path)
    return path


def _photo() -> np.ndarray:
    """Red is disparity: a floor, and a box before it."""
    y, x = np.mgrid[:H, :W]
    red = 60 + 60 * y / H
    red[60:170, 110:220] = 200
    green = 90 + 60 * ((x // 20 + y // 20) % 2)
    return np.stack([red, green, 255 - green], -1).astype(np.uint8)


def _jpeg(path: Path, orientation: int = 1, exif: bool = True, size: int = 1, **more) -> Path:
    image = Image.fromarray(cv2.resize(_photo(), None, fx=size, fy=size, interpolation=cv2.INTER_CUBIC))
    notes = Image.Exif()
    notes[0x0112] = orientation
    notes[0x010F] = "Maker"
    notes.get_ifd(0x8769)[0xA405] = 30
    notes.get_ifd(0x8825)[1] = "N"
    image.save(path, "JPEG", quality=95, subsampling=0, **({"exif": notes} if exif else {}), **more)
    return path


def _run(*args: object) -> int:
    return cli.main(["depth", *map(str, args), "--threads", "1", "--quiet"])


def _glb(path: Path) -> tuple[dict, bytes]:
    raw = path.read_bytes()
    size = struct.unpack_from("<I", raw, 12)[0]
    return json.loads(raw[20 : 20 + size]), raw[20 + size + 8 :]


def test_one_photo_to_all_files(tmp_path, capsys):
    photo, out = _jpeg(tmp_path / "IMG_7.jpg"), tmp_path / "out"
    assert _run(photo, "-o", out, "--stl", 60, "--stl-depth", 5, "--exr", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    names = {p.name for p in out.iterdir()}
    expected = "depth.png depth.npz depth.exr relief.glb relief.stl cloud.ply report.json report.html"
    assert names == set(expected.split())
    assert set(report["files"]) == names
    picture = np.asarray(Image.open(out / "depth.png"))
    assert picture.shape == (H, W) and picture.dtype == np.uint16
    assert picture[100, 150] > 1.5 * picture[100, 20] > 0
    photo_depth, fit, depth_map = depth_files.read_photo_depth(out / "depth.npz")
    assert fit is not None and depth_map is not None and photo_depth.model == "depth-small"
    assert photo_depth.focal_source == "exif"
    expected = 1 / (fit.a * photo_depth.disparity + fit.b)
    assert np.median(np.abs(depth_map.depth / expected - 1)) < 1e-3
    np.testing.assert_array_equal(depth_files.read_exr(out / "depth.exr"), depth_map.depth)
    mesh, cloud, body = gltf.read(out / "relief.glb"), ply.read(out / "cloud.ply"), stl.read(out / "relief.stl")
    assert len(mesh.faces) > 100 and len(cloud.points) == depth_map.depth.size
    assert (mesh.vertices[:, 1] > 0).all()  # in front of the camera
    assert open_edges(body) == 0 and volume(body) > 0
    assert np.ptp(body.vertices[:, 0]) == pytest.approx(60, rel=1e-4)
    page = (out / "report.html").read_text()
    assert "depth-small" in page and "not measured" in page and "data:image/jpeg" in page
    assert report["unit"] == "unknown" and "relative, not measured" in report["verdict"]
    assert report == json.loads((out / "report.json").read_text()) | {"folder": str(out)}


def test_the_texture_is_the_photos_own_bytes_without_its_place(tmp_path):
    photo = _jpeg(tmp_path / "a.jpg")
    photo.write_bytes(photo.read_bytes() + b"a film that a phone hid behind the picture")
    assert _run(photo, "-o", tmp_path / "out") == 0
    root, blob = _glb(tmp_path / "out" / "relief.glb")
    view = root["bufferViews"][root["images"][0]["bufferView"]]
    packed = blob[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    assert packed[:2] == b"\xff\xd8" and packed[-2:] == b"\xff\xd9" and b"Exif" not in packed
    scan = photo.read_bytes().index(b"\xff\xda")
    assert packed[packed.index(b"\xff\xda") :] == photo.read_bytes()[scan : photo.read_bytes().rindex(b"\xff\xd9") + 2]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(packed))), np.asarray(Image.open(photo)))
    assert root["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    assert "relative" not in root["meshes"][0]["extras"]["unit"] and root["meshes"][0]["extras"]["unit"] == "unknown"


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_a_photo_on_its_side_keeps_its_bytes_and_is_upright(tmp_path, orientation):
    assert _run(_jpeg(tmp_path / "a.jpg", orientation), "-o", tmp_path / "out") == 0
    root, blob = _glb(tmp_path / "out" / "relief.glb")
    view = root["bufferViews"][root["images"][0]["bufferView"]]
    packed = blob[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    stored = np.asarray(Image.open(io.BytesIO(packed)))
    assert stored.shape == (H, W, 3)
    mesh = gltf.read(tmp_path / "out" / "relief.glb")
    assert mesh.uvs is not None
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    upright = depth_files.read_photo_depth(tmp_path / "out" / "depth.npz")[0]
    assert upright.disparity.shape == ((H, W) if orientation < 5 else (W, H))
    assert (report["photo"]["width"], report["photo"]["height"]) == ((W, H) if orientation < 5 else (H, W))
    # What lies nearest carries the red of the box: the network saw it there, the texture shows it there.
    x, y = mesh.uvs[:, 0] * W, (1 - mesh.uvs[:, 1]) * H
    red = stored[np.clip(y, 0, H - 1).astype(int), np.clip(x, 0, W - 1).astype(int), 0]
    near = mesh.vertices[:, 1] < np.quantile(mesh.vertices[:, 1], 0.02) * 1.02
    assert near.sum() > 3 and np.median(red[near]) > 190 and np.median(red[~near]) < 210


@pytest.mark.parametrize("progressive", [False, True])
def test_photo_picture_takes_what_gltf_can_show(progressive):
    def packed(image: Image.Image, **more) -> bytes:
        file = io.BytesIO()
        image.save(file, "JPEG", **more)
        return file.getvalue()

    image = Image.fromarray(_photo())
    content = packed(image, progressive=progressive, comment=b"secret", icc_profile=b"profile")
    own = relief_glb.photo_picture(content + b"tail", W, H, 1)
    assert own is not None and b"secret" not in own.content and b"profile" in own.content
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(own.content))), np.asarray(Image.open(io.BytesIO(content)))
    )
    assert relief_glb.photo_picture(content, 5000, 100, 1) is None
    assert relief_glb.photo_picture(packed(image.convert("CMYK")), W, H, 1) is None
    assert relief_glb.photo_picture(content[: len(content) // 2], W, H, 1) is None
    assert relief_glb.photo_picture(b"\x89PNG", W, H, 1) is None


def test_a_png_with_transparent_parts_has_no_surface_there(tmp_path):
    alpha = np.full((H, W), 255, np.uint8)
    alpha[:, :100] = 0
    Image.fromarray(np.dstack([_photo(), alpha])).save(tmp_path / "cut.png")
    assert _run(tmp_path / "cut.png", "-o", tmp_path / "out") == 0
    depth_map = depth_files.read_photo_depth(tmp_path / "out" / "depth.npz")[2]
    assert depth_map is not None
    assert np.isnan(depth_map.depth[:, :99]).all() and np.isfinite(depth_map.depth[:, 101:]).all()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["depth"]["unanswered_share"] == pytest.approx(100 / W, abs=0.01)


def test_same_bytes_each_run_and_for_two_threads(tmp_path):
    photo = _jpeg(tmp_path / "a.jpg")
    for k in (1, 2):
        assert (
            cli.main(["depth", str(photo), "-o", str(tmp_path / str(k)), "--stl", "50", "--threads", str(k), "-q"]) == 0
        )
    for name in ("depth.png", "depth.npz", "relief.glb", "cloud.ply", "relief.stl"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def test_a_walk_as_video(tmp_path, monkeypatch):
    from rilievo.stages import relief_orbit

    monkeypatch.setattr(relief_orbit.OrbitConfig.__init__, "__defaults__", (160, 0.5, 12, 9.0, 0.05, (38, 38, 42)))
    photo = _jpeg(tmp_path / "a.jpg")
    for k in "ab":
        assert _run(photo, "-o", tmp_path / k, "--video") == 0
    assert (tmp_path / "a" / "turntable.mp4").read_bytes() == (tmp_path / "b" / "turntable.mp4").read_bytes()
    import av

    with av.open(str(tmp_path / "a" / "turntable.mp4")) as video:
        frames = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]
    assert len(frames) == 6 and frames[0].shape == (120, 160, 3)
    small = cv2.resize(np.asarray(Image.open(photo)), (160, 120), interpolation=cv2.INTER_AREA)
    assert np.abs(frames[0].astype(int) - small)[4:-4, 4:-4].mean() < 14
    assert _run(photo, "-o", tmp_path / "a") == 0
    assert not (tmp_path / "a" / "turntable.mp4").exists()  # it would show another run's surface


def test_focal_length_by_hand_and_field_of_view(tmp_path):
    photo = _jpeg(tmp_path / "a.jpg", size=3)
    assert _run(photo, "-o", tmp_path / "a", "--focal", 1200) == 0
    got = depth_files.read_photo_depth(tmp_path / "a" / "depth.npz")[0]
    assert got.focal_source == "given"
    assert got.camera.fx == pytest.approx(1200 * got.camera.width / (3 * W), rel=1e-6)
    assert _run(photo, "-o", tmp_path / "a", "--fov", 90) == 0
    got = depth_files.read_photo_depth(tmp_path / "a" / "depth.npz")[0]
    assert got.camera.fx == pytest.approx(got.camera.width / 2, rel=1e-6)
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["focal"]["fov_deg"] == 90 and report["focal"]["px"] == pytest.approx(1.5 * W)


def test_several_photos_and_one_that_is_none(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    _jpeg(folder / "a.jpg")
    _jpeg(folder / "b.jpg", exif=False)
    (folder / "c.jpg").write_text("no photo")
    assert cli.main(["depth", str(folder), "-o", str(tmp_path / "out"), "--threads", "1", "--json"]) == 0
    result = capsys.readouterr()
    value = json.loads(result.out)
    assert [p["folder"] for p in value["photos"]] == [str(tmp_path / "out" / n) for n in "ab"]
    assert value["failed"][0]["name"] == "c.jpg" and "text" in value["failed"][0]["why"]
    assert "c.jpg cannot be used as a photo" in result.err
    assert (tmp_path / "out" / "b" / "relief.glb").is_file()
    (folder / "a.jpg").unlink(), (folder / "b.jpg").unlink()
    (folder / "d.jpg").write_text("no photo either")
    assert _run(folder, "-o", tmp_path / "out") == 1
    assert "error: none of the 2 photos gave a depth map" in capsys.readouterr().err


def test_photos_with_equal_names_have_folders_of_their_own():
    root = Path("x")
    assert choose_folders(["a.jpg"], None) == [Path("a-depth")]
    assert choose_folders(["a.jpg"], root) == [root]
    assert choose_folders(["a.jpg", "A.png", "b.jpg"], root) == [root / "a.jpg", root / "A.png", root / "b"]
    assert choose_folders(["s/a.jpg", "t/a.jpg"], None) == [Path("depth/s/a"), Path("depth/t/a")]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--fov", "190"], "error: --fov 190 cannot be\nwhy:   a photo shows 1 to 170 degrees across\n"),
        (["--focal", "-3"], "error: --focal -3 cannot be\nwhy:   it must be more than 0\n"),
        (["--focal", "900", "--fov", "60"], "error: --focal and --fov say the same thing\n"),
        (["--depth-size", "20"], "error: --depth-size 20 cannot be\nwhy:   it must be 64 to 8192 px\n"),
        (["--stl-depth", "5"], "error: --stl-depth is of no use\nwhy:   no relief is asked for\n"),
        (["--stl", "0"], "error: --stl 0 cannot be\nwhy:   it must be more than 0\n"),
        (["--model", "deep"], "error: unknown depth model 'deep'\nwhy:   it is not in the table\nhint:  known are "),
    ],
)
def test_settings_that_cannot_be_are_told(args, words, tmp_path, capsys):
    assert _run(_jpeg(tmp_path / "a.jpg"), "-o", tmp_path / "out", *args) == 1
    assert capsys.readouterr().err.startswith(words)


def test_inputs_that_cannot_be_are_told(tmp_path, capsys):
    assert _run() == 1
    assert "no photo was given" in capsys.readouterr().err
    assert _run(tmp_path / "nowhere.jpg") == 1
    assert "cannot find" in capsys.readouterr().err
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    assert _run(tmp_path / "clip.mp4", "-o", tmp_path / "out") == 1
    assert capsys.readouterr().err.startswith(
        "error: clip.mp4 is a video\nwhy:   depth is seen in one photo at a time\n"
    )
    Image.fromarray(_photo()[:8, :8]).save(tmp_path / "small.png")
    assert _run(tmp_path / "small.png", "-o", tmp_path / "out") == 1
    assert "it has only 8 x 8 pixels (at least 32 x 32)" in capsys.readouterr().err
    photo = _jpeg(tmp_path / "a.jpg")
    (tmp_path / "file").write_text("x")
    assert _run(photo, "-o", tmp_path / "file") == 1
    assert "it is a file, not a folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "x"
    whole = photo.read_bytes()
    photo.write_bytes(whole[: len(whole) // 2])
    assert _run(photo, "-o", tmp_path / "out") == 1
    assert "truncated" in capsys.readouterr().err


def test_a_full_disk_is_told_and_leaves_no_half_file(tmp_path, capsys, monkeypatch):
    def full(*args, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(depth_files.np, "savez", full)
    assert _run(_jpeg(tmp_path / "a.jpg"), "-o", tmp_path / "out") == 1
    assert capsys.readouterr().err.startswith(
        f"error: could not write {tmp_path / 'out' / 'depth.npz'}\nwhy:   the disk is full"
    )
    assert not [p.name for p in (tmp_path / "out").iterdir() if p.name.endswith(".part") or p.name == "depth.npz"]


def test_a_missing_network_is_told_before_anything_else(tmp_path, monkeypatch, capsys):
    monkeypatch.undo()
    monkeypatch.setenv("RILIEVO_WEIGHTS", str(tmp_path / "none"))
    assert _run(_jpeg(tmp_path / "a.jpg"), "-o", tmp_path / "out", "--model", "depth-anything-v2-small") == 1
    assert "Get them with: rilievo weights get depth-anything-v2-small" in capsys.readouterr().err


def test_an_empty_mesh_cannot_be_written(tmp_path):
    from rilievo.types import Mesh

    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), uvs=np.zeros((0, 2), np.float32))
    with pytest.raises(InputError, match="cannot write"):
        relief_glb.write(tmp_path / "x.glb", empty, relief_glb.Picture(b"", "image/jpeg"))


def test_fill_has_a_material_of_its_own(tmp_path):
    assert _run(_jpeg(tmp_path / "a.jpg"), "-o", tmp_path / "out", "--fill") == 0
    root, _ = _glb(tmp_path / "out" / "relief.glb")
    assert [m["name"] for m in root["materials"]] == ["seen", "invented"]
    primitives = root["meshes"][0]["primitives"]
    assert all("_INFERRED" in p["attributes"] for p in primitives) and primitives[1]["material"] == 1
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["surface"]["invented_faces"] > 0 and "invented" in report["unseen"]
    assert gltf.read(tmp_path / "out" / "relief.glb").faces.max() > 0


def test_every_reference_counts_however_it_is_given(tmp_path):
    photo = _jpeg(tmp_path / "a.jpg")
    known = ("160,110=2.0m", "160,230=3.0m")
    for k, args in enumerate((("--scale", *known), ("--scale", known[0], "--scale", known[1]))):
        assert _run(photo, "-o", tmp_path / str(k), *args) == 0
        report = json.loads((tmp_path / str(k) / "report.json").read_text())
        assert report["unit"] == "m" and report["fit"]["num_references"] == 2
