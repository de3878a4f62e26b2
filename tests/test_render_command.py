"""`rilievo render`: videos and frames of meshes and splats along paths; same bytes, clear errors, nothing half done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from rilievo import cli, geometry
from rilievo.commands.render import parse_color, parse_size
from rilievo.errors import InputError, ResourceError
from rilievo.io import models
from rilievo.io.camera_path_file import read_camera_path
from rilievo.io.clip import ClipWriter
from rilievo.pipelines_render import RenderSettings, holds_splats, render
from rilievo.stages.depth_pictures import depth_colors, depth_levels, depth_step, normal_colors
from rilievo.types import Camera, Mesh, Splats


@pytest.fixture(scope="module")
def ball(tmp_path_factory) -> Path:
    """A red ball of radius 1 around (5, 6, 7) as a GLB."""
    import trimesh

    sphere = trimesh.creation.icosphere(3)
    colors = np.tile(np.array([220, 30, 30], np.uint8), (len(sphere.vertices), 1))
    vertices = (sphere.vertices + [5, 6, 7]).astype(np.float32)
    path = tmp_path_factory.mktemp("ball") / "ball.ply"
    models.write(path, Mesh(vertices, sphere.faces.astype(np.int32), colors=colors))
    return path


def some_splats() -> Splats:
    rng = np.random.default_rng(0)
    n = 200
    quats = rng.normal(size=(n, 4)).astype(np.float32)
    return Splats(
        rng.normal(size=(n, 3)).astype(np.float32),
        quats / np.linalg.norm(quats, axis=1, keepdims=True),
        np.full((n, 3), 0.1, np.float32),
        np.full(n, 0.9, np.float32),
        rng.normal(size=(n, 1, 3)).astype(np.float32),
    )


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def picture(path: Path) -> np.ndarray:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None
    return found[..., ::-1] if found.ndim == 3 else found


def problem(*args, **options) -> InputError:
    with pytest.raises(InputError) as caught:
        render(*args, **options)
    return caught.value


# --- results ----------------------------------------------------------------------------------------------------------


def test_video_of_a_house(tiny_house, tmp_path):
    settings = RenderSettings(size=(160, 120), seconds=0.5, frames_per_second=12, depth=True, normals=True)
    told = []
    facts = render(
        tiny_house, tmp_path / "a.mp4", settings=settings, num_threads=2, progress=lambda *a: told.append(a[:3])
    )
    assert [Path(f).name for f in facts["files"]] == ["a.mp4", "a.depth.mp4", "a.normals.mp4"]
    assert facts["what"] == "mesh" and facts["num_frames"] == 6 and facts["closed"]
    assert told[0] == ("frames", 0, 6) and told[-1] == ("frames", 6, 6)
    for file in facts["files"]:
        frames = frames_of(Path(file))
        assert len(frames) == 6 and frames[0].shape == (120, 160, 3) and np.std(frames[0]) > 5
    with av.open(facts["files"][0]) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 12
    again = render(tiny_house, tmp_path / "b.mp4", settings=settings, num_threads=1)
    for one, two in zip(facts["files"], again["files"]):
        assert Path(one).read_bytes() == Path(two).read_bytes()
    assert sorted(p.name[0] for p in tmp_path.iterdir()) == ["a"] * 3 + ["b"] * 3  # no temporary file stays


def test_frames_at_the_photos_with_depth(tiny_house, tmp_path):
    out = tmp_path / "frames"
    facts = render(
        tiny_house, out, settings=RenderSettings(path="photos", size=(100, 75), depth=True, normals=True), num_threads=2
    )
    known = json.loads((out / "frames.json").read_text())
    assert len(known["frames"]) == 8 == facts["num_frames"] and known["depth_step"] == facts["depth_step"]
    name = known["frames"][2]
    assert picture(out / name).shape == (75, 100, 3) and picture(out / "normals" / name).shape == (75, 100, 3)
    levels = picture(out / "depth" / name)
    assert levels.dtype == np.uint16 and levels.shape == (75, 100)
    # the same scene from the same camera by the mesh's own renderer
    from rilievo.project import Project
    from rilievo.stages.render import render_mesh

    path = read_camera_path(out / "camera_path.json")
    camera, place = path.cameras[2], path.cam_from_world[2]
    pixels, depth = render_mesh(Project(tiny_house, create=False).named("mesh"), camera, place)
    seen = np.isfinite(depth)
    assert ((levels > 0) == seen).mean() > 0.99
    assert np.nanmax(np.abs(levels * known["depth_step"] - depth)[seen & (levels > 0) & (levels < 65535)]) < 0.05
    assert np.abs(picture(out / name).astype(int) - pixels).mean() < 1
    # once more into the same folder: the frames of before are replaced
    before = (out / name).read_bytes()
    render(tiny_house, out, settings=RenderSettings(path="photos", size=(100, 75)), num_threads=1)
    assert (out / name).read_bytes() == before and not (out / "depth").exists()
    (out / "mine.png").write_bytes(b"")
    assert problem(tiny_house, out, settings=RenderSettings(path="photos", size=(100, 75))).why == "e.g. mine.png"


def test_a_mesh_file_needs_no_photos(ball, tmp_path):
    settings = RenderSettings(size=(64, 64), seconds=0.2, frames_per_second=20, background=(0.0, 0.0, 1.0))
    facts = render(ball, tmp_path / "round", settings=settings)
    assert facts["num_frames"] == 4 and facts["frames_per_second"] == 20
    for k in range(4):
        pixels = picture(tmp_path / "round" / f"{k:05d}.png")
        assert pixels[32, 32].tolist() == [220, 30, 30] and pixels[0, 0].tolist() == [0, 0, 255]
        assert 0.2 < (pixels[..., 0] > 128).mean() < 0.8
    error = problem(ball, tmp_path / "x", settings=RenderSettings(path="through"))
    assert error.what == "there are no cameras for the path through" and "--cameras" in error.hint


def test_cameras_from_elsewhere_and_paths_from_files(ball, tiny_house, tmp_path):
    small = RenderSettings(
        size=(64, 48), seconds=0.2, cameras=tiny_house, path="through", save_path=tmp_path / "p.json"
    )
    facts = render(ball, tmp_path / "a.mp4", settings=small)
    assert str(tmp_path / "p.json") in facts["files"]
    again = render(ball, tmp_path / "b.mp4", settings=RenderSettings(path=str(tmp_path / "p.json")))
    assert again["num_frames"] == 6 and (again["width"], again["height"]) == (64, 48)
    truth = RenderSettings(size=(64, 48), path="photos", cameras=tiny_house / "export" / "transforms.json")
    assert render(ball, tmp_path / "c", settings=truth)["num_frames"] == 8
    colmap = RenderSettings(size=(64, 48), path="photos", cameras=tiny_house / "export" / "cameras")
    assert render(ball, tmp_path / "d", settings=colmap)["num_frames"] == 8


def test_splats_are_told_from_meshes(ball, tmp_path):
    from rilievo.io.splats import write_splats

    for ending in ("ply", "spz", "splat", "sog", "glb"):
        write_splats(tmp_path / f"a.{ending}", some_splats())
        assert holds_splats(tmp_path / f"a.{ending}"), ending
    models.write(tmp_path / "mesh.glb", models.read_mesh(ball))
    assert not holds_splats(ball) and not holds_splats(tmp_path / "mesh.glb")
    assert problem(tmp_path / "a.ply", tmp_path / "x", settings=RenderSettings(what="mesh")).why == "it holds splats"


def test_splats_are_drawn(tmp_path):
    from rilievo.io.splats import write_splats

    write_splats(tmp_path / "a.ply", some_splats())
    settings = RenderSettings(size=(96, 64), seconds=0.1, background=(0.0, 0.0, 0.0), depth=True)
    facts = render(tmp_path / "a.ply", tmp_path / "out", settings=settings)
    assert facts["what"] == "splats" and facts["num_frames"] == 3
    pixels = picture(tmp_path / "out" / "00001.png")
    assert pixels[0, 0].max() == 0 and 0.05 < (pixels.max(2) > 20).mean() < 0.9
    assert picture(tmp_path / "out" / "depth" / "00001.png").max() > 0
    from rilievo.io.splats import read_splats
    from rilievo.stages.splats_render import render_splats

    path = read_camera_path(tmp_path / "out" / "camera_path.json")
    alone, _ = render_splats(
        read_splats(tmp_path / "a.ply"), path.cameras[1], path.cam_from_world[1], background=(0.0, 0.0, 0.0)
    )
    assert np.abs(pixels.astype(int) - alone).max() <= 1


# --- what cannot be done ----------------------------------------------------------------------------------------------


def test_bad_outputs_and_sizes(ball, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dir.mp4").mkdir()
    assert str(problem(ball, tmp_path / "a.gif")) == (
        "error: cannot tell what a.gif is to be\n"
        "why:   the ending .gif is not known\n"
        "hint:  a video ends in .mp4; a folder of PNG frames has no ending"
    )
    assert problem(ball, tmp_path / "file").why == "it is a file"
    assert problem(ball, tmp_path / "dir.mp4").why == "it is a folder"
    assert problem(ball, tmp_path / "mine").what == f"{tmp_path / 'mine'} holds something else than frames"
    assert (tmp_path / "mine" / "photo.png").exists()
    for size in ((8, 100), (100, 9000), (0, 0)):
        assert "a side has 16 to 8192 pixels" in problem(ball, tmp_path / "x", settings=RenderSettings(size=size)).why
    odd = problem(ball, tmp_path / "x.mp4", settings=RenderSettings(size=(101, 75)))
    assert odd.hint == "ask for --size 100x74"
    for bad in ({"seconds": 0.0}, {"seconds": float("nan")}, {"frames_per_second": -1.0}, {"fov_deg": 200.0}):
        problem(ball, tmp_path / "x", settings=RenderSettings(**bad))
    long = RenderSettings(seconds=3600.0, frames_per_second=3600.0)
    assert "too long" in problem(ball, tmp_path / "x", settings=long).what
    assert problem(ball, tmp_path / "x", settings=RenderSettings(path="nowhere")).why == (
        "it is neither orbit, through, photos nor a file"
    )
    assert not (tmp_path / "x").exists() and not (tmp_path / "x.mp4").exists()


def test_bad_inputs(tiny_house, tmp_path):
    assert problem(tmp_path / "no.ply", tmp_path / "x").why == "there is no such file or folder"
    (tmp_path / "folder").mkdir()
    assert "not of `rilievo build`" in problem(tmp_path / "folder", tmp_path / "x").why
    error = problem(tiny_house, tmp_path / "x", settings=RenderSettings(what="splats"))
    assert error.why == "it has mesh" and error.hint == "make it with `rilievo splats`"
    (tmp_path / "bad.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float f_dc_0\nend_header\n")
    problem(tmp_path / "bad.ply", tmp_path / "x")
    bare = tmp_path / "house"
    shutil.copytree(tiny_house, bare, ignore=lambda _, names: [n for n in names if n == "export"])
    content = json.loads((bare / "project.json").read_text())
    (bare / "project.json").write_text(json.dumps({**content, "names": {"cameras": content["names"]["cameras"]}}))
    assert "has nothing to draw yet" in problem(bare, tmp_path / "x").what


def test_a_failure_leaves_nothing(ball, tmp_path):
    def stop(stage: str, done: int, total: int, reused: int = 0) -> None:
        if done == 2:
            raise KeyboardInterrupt

    settings = RenderSettings(size=(32, 32), seconds=0.2, depth=True, normals=True)
    for target in ("a.mp4", "frames"):
        with pytest.raises(KeyboardInterrupt):
            render(ball, tmp_path / target, settings=settings, progress=stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["a.mp4", "frames"])
def test_full_disk(ball, small_disk, target, monkeypatch):
    """Noise takes so much room that a few frames fill the disk."""
    from rilievo.stages import render as stage

    rng = np.random.default_rng(0)

    def noise(*_, **__):
        return rng.integers(0, 256, (600, 600, 3)).astype(np.uint8), np.ones((600, 600), np.float32)

    monkeypatch.setattr(stage, "render_mesh", noise)
    with pytest.raises(ResourceError) as caught:
        render(ball, small_disk / target, settings=RenderSettings(size=(600, 600), seconds=1.0))
    assert "disk" in caught.value.why and not list(small_disk.iterdir())


def test_no_place_to_write(ball, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    small = RenderSettings(size=(32, 32), seconds=0.1)
    for target in (tmp_path / "file" / "a.mp4", tmp_path / "file" / "frames"):
        with pytest.raises((InputError, ResourceError)):
            render(ball, target, settings=small)


# --- the command line -------------------------------------------------------------------------------------------------


def test_command(ball, tmp_path, capsys):
    line = ["render", str(ball), "--size", "64x48", "--seconds", "0.1", "-o", str(tmp_path / "a.mp4"), "--background"]
    assert cli.main([*line, "#00ff00", "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert facts["files"] == [str(tmp_path / "a.mp4")] and facts["num_frames"] == 3 and not err
    corner = frames_of(tmp_path / "a.mp4")[0][2, 2].astype(int)
    assert np.abs(corner - [0, 255, 0]).max() < 8
    assert cli.main([*line, "white"]) == 0
    out, err = capsys.readouterr()
    assert "3 frames of 64x48 (mesh)" in out and "frames" in err
    assert cli.main([*line, "pink"]) == 1
    assert "cannot read the colour 'pink'" in capsys.readouterr().err


def test_default_name_is_said(ball, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["render", str(ball), "--size", "32x32", "--seconds", "0.1", "-q"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["ball-orbit.mp4"]


def test_sizes_and_colours():
    assert parse_size(" 1280 x 720") == (1280, 720) and parse_size("64×48") == (64, 48)
    for text in ("1280", "axb", "-5x10", "10x10x10", ""):
        with pytest.raises(InputError):
            parse_size(text)
    assert (
        parse_color("1,0.5,0") == (1, 0.5, 0) and parse_color("#FF0000") == (1, 0, 0) and parse_color("black")[0] == 0
    )
    for text in ("", "1,2,3", "nan,0,0", "#ff", "1,1"):
        with pytest.raises(InputError):
            parse_color(text)


# --- pictures of depth and normals ------------------------------------------------------------------------------------


def test_depth_levels_keep_depth():
    depth = np.array([[0.5, 2.0, np.nan], [1e9, 0.0, -1]], np.float32)
    step = depth_step(4.0)
    assert 4 / 65535 <= step < 4.3 / 65535
    levels = depth_levels(depth, step)
    assert levels[0, 2] == 0 == levels[1, 1] == levels[1, 2] and levels[1, 0] == 65535
    assert abs(levels[0, 1] * step - 2) <= step / 2
    colors = depth_colors(depth, 0.5, 4.0)
    assert colors[0, 2].max() == 0 and colors[0, 0, 0] > colors[0, 0, 2] and colors[1, 0, 2] > colors[1, 0, 0]


def test_normals_of_a_plane():
    camera = Camera("PINHOLE", 60, 40, np.array([50.0, 50, 30, 20]))
    x = (np.arange(60) + 0.5 - 30) / 50
    y = (np.arange(40) + 0.5 - 20) / 50
    n = np.array([0.6, -0.3, -0.74162])  # right, up, towards the camera
    depth = (-3 / (n[0] * x[None] + n[1] * y[:, None] + n[2])).astype(np.float32)
    shown = normal_colors(depth, camera)[5:-5, 5:-5].reshape(-1, 3)
    assert np.abs(shown - (127.5 + 127.5 * n * [1, -1, -1])).max() <= 1
    depth[20, 30] = np.nan
    assert (normal_colors(depth, camera)[20, [29, 30, 31]] == 0).all()
    assert normal_colors(depth[:1, :1], camera).shape == (1, 1, 3)
    step = np.full((40, 60), 1.0, np.float32)
    step[:, 30:] = 5.0  # something near before something far
    assert (normal_colors(step, camera)[5:-5, 29:31] == 0).all() and normal_colors(step, camera)[20, 10, 2] == 255


def test_clip_of_an_odd_rate(tmp_path):
    with ClipWriter(tmp_path / "a.mp4", 32, 32, 29.97) as clip:
        for k in range(3):
            clip.write(np.full((32, 32, 3), 80 * k, np.uint8))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert abs(float(container.streams.video[0].average_rate or 0) - 29.97) < 0.01
    with pytest.raises(RuntimeError), ClipWriter(tmp_path / "b.mp4", 32, 32, 10):
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_geometry_of_frames_is_ours():
    """A quaternion made from a rotation gives the rotation."""
    for k in range(4):
        q = np.random.default_rng(k).normal(size=4)
        R = geometry.rotation_from_quaternion(q / np.linalg.norm(q))
        assert np.allclose(geometry.rotation_from_quaternion(geometry.quaternion_from_rotation(R)), R)
