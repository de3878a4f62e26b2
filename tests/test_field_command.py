"""`rilievo field` as a user runs it: files, figures, a killed run, pictures of the result, bad input; meshes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from field_scenes import BALL_RADIUS, CAMERA, FOCAL, NUM, SIZE, sphere_field, write_capture
from rilievo import cli, geometry
from rilievo.errors import InputError, ResourceError
from rilievo.io import models
from rilievo.io.field import read_field
from rilievo.pipelines_field import photos_to_field
from rilievo.pipelines_render import RenderSettings, render
from rilievo.plan import Run
from rilievo.plan_field import FieldSettings
from rilievo.project import Project
from rilievo.stages.field_mesh import FieldMeshConfig, mesh_field
from rilievo.stages.field_render import render_field, render_normals
from rilievo.types import Camera

STEPS = 120
# The command in short segments: states are kept after 50 and 100 of its steps.
SHORT = "import sys; from rilievo import cli, pipelines_field as p; p.SEGMENT = 50; sys.exit(cli.main(sys.argv[1:]))"


def command(capture: Path, house: Path, *options: str) -> list[str]:
    quick = ["--quality", "draft", "--iterations", str(STEPS), "--quiet"]
    return ["field", str(capture), "-o", str(house), *quick, *options]


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    return write_capture(tmp_path_factory.mktemp("field") / "ball")


@pytest.fixture(scope="module")
def trained(capture, tmp_path_factory) -> Path:
    """In one segment."""
    house = tmp_path_factory.mktemp("trained") / "house"
    assert cli.main(command(capture, house, "--threads", "2")) == 0
    return house


# --- results ----------------------------------------------------------------------------------------------------------


def test_files_and_figures(trained):
    export = trained / "export"
    told = json.loads((export / "field.json").read_text("utf-8"))
    assert (told["num_held_out"], told["num_trained"]) == (2, NUM - 2)
    assert told["iterations"] == STEPS and told["size_px"] == 640 and not told["unbounded"]
    assert told["psnr"] == pytest.approx(np.mean([row["psnr"] for row in told["held_out"]]), abs=1e-3)
    assert told["psnr"] > 17 and told["ssim"] > 0.5  # of a white picture: 9
    assert told["num_samples"] > 1e6
    names = [row["photo"] for row in told["held_out"]]
    assert sorted(p.name for p in (export / "field").iterdir()) == sorted(f"{n}.jpg" for n in names)
    picture = cv2.imread(str(export / "field" / f"{names[0]}.jpg"))[..., ::-1].astype(int)
    assert picture.shape == (SIZE, 2 * SIZE, 3)
    assert np.abs(picture[:, :SIZE] - picture[:, SIZE:]).mean() < 25  # photo and rendering show the same
    field = Project(trained, create=False).named("field")
    assert field.radius < 1.5 and np.abs(field.center).max() < 0.3  # the cameras stand 3.5 away
    again = read_field(export / "field.npz")
    place = geometry.look_at(np.array([3.0, 1, 0]), np.zeros(3))
    for one, two in zip(render_field(field, CAMERA, place), render_field(again, CAMERA, place)):
        np.testing.assert_array_equal(one, two)


def test_the_same_command_again_trains_nothing_and_a_mesh_is_added(trained, capture, capsys, monkeypatch):
    def never(*_, **__):
        raise AssertionError("trained again")

    before = (trained / "export" / "field.npz").read_bytes()
    earlier = json.loads((trained / "export" / "field.json").read_text("utf-8"))
    monkeypatch.setattr("rilievo.stages.field.train_segment", never)
    assert cli.main(command(capture, trained, "--mesh", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    same = ("psnr", "ssim", "num_samples", "seconds", "field", "held_out", "settings")
    assert {k: told[k] for k in same} == {k: earlier[k] for k in same}
    assert (trained / "export" / "field.npz").read_bytes() == before
    mesh = models.read_mesh(trained / "export" / "field_mesh.glb")
    assert len(mesh.faces) == told["num_faces"] and len(mesh.vertices) == told["num_vertices"]
    away = np.linalg.norm(mesh.vertices + mesh.origin, axis=1)
    assert np.quantile(away, 0.9) == pytest.approx(BALL_RADIUS, abs=0.1)
    monkeypatch.setattr("rilievo.pipelines_field.mesh_field", never)
    assert cli.main(command(capture, trained, "--mesh")) == 0


def test_killed_run_goes_on_to_the_same_bytes(trained, capture, tmp_path):
    house = tmp_path / "killed"
    options = command(capture, house, "--threads", "1")
    process = subprocess.Popen([sys.executable, "-c", SHORT, *options], stderr=subprocess.DEVNULL)

    def states() -> list[str]:
        ledger = Project(house, create=False).ledger() if (house / "project.json").exists() else []
        return [entry["output"] for entry in ledger if entry["stage"] == "field training"]

    while process.poll() is None and not states():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    project = Project(house, create=False)
    assert "field" not in project.read().get("names", {})  # killed in mid training
    kept = states()
    assert kept and all(project.has(state) for state in kept)
    done = subprocess.run([sys.executable, "-c", SHORT, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (house / "export" / "field.npz").read_bytes() == (trained / "export" / "field.npz").read_bytes()
    assert len(states()) == 2 and states()[0] == kept[0]  # it went on where it was, and kept the state after 100
    assert not any(project.has(state) for state in states())  # none is left when all is done


def test_a_house_and_a_file_are_drawn(trained, tmp_path):
    small = RenderSettings(size=(48, 32), seconds=0.1, frames_per_second=30, background=(0.0, 0.0, 1.0), depth=True)
    facts = render(trained, tmp_path / "house", settings=small, num_threads=2)
    assert facts["what"] == "field" and facts["num_frames"] == 3
    shown = cv2.imread(str(tmp_path / "house" / "00000.png"))[..., ::-1]
    assert shown[0, 0].tolist() == [0, 0, 255] and shown[16, 24].max() < 255  # the ball before blue
    facts = render(trained / "export" / "field.npz", tmp_path / "file", settings=small, num_threads=1)
    assert facts["what"] == "field" and cv2.imread(str(tmp_path / "file" / "00000.png")).std() > 10
    depth = cv2.imread(str(tmp_path / "file" / "depth" / "00000.png"), cv2.IMREAD_UNCHANGED)
    assert depth[0, 0] == 0 < depth[16, 24]
    through = ["--path", "photos", "--cameras", str(trained), "--size", "32x32", "-q"]
    assert cli.main(["render", str(trained / "export" / "field.npz"), *through, "-o", str(tmp_path / "photos")]) == 0
    assert len(list((tmp_path / "photos").glob("*.png"))) == NUM
    with pytest.raises(InputError, match="holds no splats"):
        render(trained / "export" / "field.npz", tmp_path / "x", settings=RenderSettings(what="splats"))
    (tmp_path / "bad.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"cannot read bad\.npz"):
        render(tmp_path / "bad.npz", tmp_path / "x", settings=small)


# --- what cannot be done ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--size", "8"], "error: photos of 8 px are too small to train on"),
        (["--iterations", "0"], "error: 0 steps of training cannot be"),
        (["--hold-out", "-1"], "error: --hold-out -1 leaves no photo to train on"),
        (["--hold-out", "1"], "error: --hold-out 1 leaves no photo to train on"),
        (["--background", "mauve"], "error: cannot read the colour 'mauve'"),
        (["--photos", "nowhere"], "nowhere"),
        (["--memory", "0.2G"], "error: 12 photos of 640 px do not fit into the memory"),
    ],
)
def test_bad_options_are_told(capture, tmp_path, capsys, options, said):
    assert cli.main(command(capture, tmp_path / "house", *options)) == 1
    err = capsys.readouterr().err
    assert said in err and "hint:" in err


def test_bad_sources_are_told(capture, tmp_path, capsys):
    assert cli.main(command(tmp_path / "nowhere", tmp_path / "a")) == 1
    assert "error: " in capsys.readouterr().err
    empty = write_capture(tmp_path / "empty", num=5)
    for path in empty.glob("*.png"):
        cv2.imwrite(str(path), np.zeros((SIZE, SIZE, 4), np.uint8))
    with pytest.raises(InputError, match="agree on no object"):
        photos_to_field(empty, tmp_path / "b", settings=FieldSettings(iterations=10))
    few = write_capture(tmp_path / "few", num=2)
    with pytest.raises(InputError, match="too few placed photos"):
        photos_to_field(few, tmp_path / "c", settings=FieldSettings(iterations=10))
    with pytest.raises(ResourceError, match="do not fit"):
        photos_to_field(capture, tmp_path / "d", run=Run(memory_mb=10))


# --- surfaces of a field that is known --------------------------------------------------------------------------------


def test_the_mesh_of_a_ball_lies_where_density_crosses_the_level():
    config = FieldMeshConfig(resolution=80, max_faces=0)
    mesh = mesh_field(sphere_field(), config=config)
    away = np.linalg.norm(mesh.vertices, axis=1)
    true = 2 * (0.6 - np.log(config.level) / 200)
    assert np.abs(away - true).max() < 0.006  # an eighth of a cell
    assert ((mesh.normals * mesh.vertices).sum(1) > 0.99 * away).all()  # outwards
    p = mesh.vertices[mesh.faces].astype(np.float64)
    volume = (p[:, 0] * np.cross(p[:, 1], p[:, 2])).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi * true**3, rel=0.02)
    np.testing.assert_allclose(mesh.origin, [10, 20, 30])
    assert (np.abs(mesh.colors.astype(int) - 127) <= 1).all()  # what networks without weights say


def test_an_empty_field_has_no_mesh():
    with pytest.raises(InputError, match="no surface"):
        mesh_field(sphere_field(radius=-1.0), config=FieldMeshConfig(resolution=32))


def test_depth_and_normals_of_a_ball():
    field = sphere_field()
    place = geometry.look_at(field.center + np.array([3.0, 2.0, 1.0]), field.center)
    picture, depth = render_field(field, CAMERA, place, background=(1.0, 0.0, 0.0))
    middle = SIZE // 2
    assert depth[middle, middle] == pytest.approx(np.sqrt(14) - 1.2, abs=0.06)
    assert np.isnan(depth[0, 0]) and picture[0, 0].tolist() == [255, 0, 0]
    normals = render_normals(field, CAMERA, place)
    seen = np.isfinite(depth)
    assert np.isfinite(normals[seen]).all() and np.isnan(normals[~seen]).all()
    y, x = np.nonzero(seen)
    rays = np.stack([(x + 0.5 - middle) / FOCAL, (y + 0.5 - middle) / FOCAL, np.ones(len(x))], -1)
    points = rays * depth[seen][:, None] - place[:, :3] @ field.center - place[:, 3]
    true = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert np.median((true * normals[seen]).sum(1)) > 0.99
    fisheye = Camera("SIMPLE_RADIAL", SIZE, SIZE, np.array([FOCAL, 24, 24, 0.1]))
    with pytest.raises(ValueError, match="distortion"):
        render_field(field, fisheye, place)
