"""`rilievo splats` as a user runs it: files, figures, a run that is killed, bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rilievo import cli
from rilievo.io.splats import read_splats
from rilievo.project import Project
from rilievo.stages.splats_render import render_splats
from rilievo.types import Camera

OPTIONS = ["--size", "160", "--max-splats", "2500", "--engine", "cpu", "--start", "random", "--quiet"]


def command(tiny: Path, house: Path, *options: str) -> list[str]:
    return ["splats", str(tiny / "truth"), "--photos", str(tiny / "photos"), "-o", str(house), *OPTIONS, *options]


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory) -> Path:
    """500 steps in one go: two segments."""
    house = tmp_path_factory.mktemp("splats") / "house"
    assert cli.main(command(tiny, house, "--iterations", "500", "--threads", "2")) == 0
    return house


def test_files_and_figures(trained, tiny, capsys):
    assert cli.main(command(tiny, trained, "--iterations", "500", "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["num_held_out"] == 1 and result["num_trained"] == 7
    assert result["psnr"] > 14 and 0 < result["ssim"] < 1
    assert [row["iteration"] for row in result["history"]] == []  # nothing was trained again
    assert result == json.loads((trained / "export" / "splats.json").read_text("utf-8"))
    splats = read_splats(trained / "export" / "splats.ply")
    assert len(splats.means) == result["num_splats"] <= 2500
    assert len(list((trained / "export" / "splats").glob("*.jpg"))) == 1
    scene = Project(trained, create=False).named("cameras")
    kept = Project(trained, create=False).named("splats")
    camera = Camera.pinhole(200, 150, np.diag([0.5, 0.5, 1]) @ scene.camera(0).K)
    a, _ = render_splats(kept, camera, scene.cam_from_world[0])
    b, _ = render_splats(splats, camera, scene.cam_from_world[0])
    assert np.abs(a.astype(int) - b).max() <= 2


def test_no_training_states_are_left(trained):
    left = [entry for entry in Project(trained).ledger() if entry["stage"] == "splats training"]
    assert left and not any(Project(trained).has(entry["output"]) for entry in left)


def test_killed_run_goes_on_to_the_same_bytes(trained, tiny, tmp_path):
    house = tmp_path / "killed"
    options = command(tiny, house, "--iterations", "500", "--threads", "1")
    process = subprocess.Popen([sys.executable, "-m", "rilievo.cli", *options], stderr=subprocess.DEVNULL)

    def states() -> list[str]:
        ledger = Project(house, create=False).ledger() if (house / "project.json").exists() else []
        return [entry["output"] for entry in ledger if entry["stage"] == "splats training"]

    while process.poll() is None and not states():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert "splats" not in Project(house, create=False).read().get("names", {})
    assert cli.main(options) == 0
    names = [Project(h, create=False).read()["names"]["splats"] for h in (house, trained)]
    assert names[0] == names[1]


def test_splats_of_a_built_house_start_from_its_cloud_wherever_they_go(tiny_house, tmp_path, capsys):
    other = tmp_path / "other"
    short = ["--iterations", "40", "--size", "160", "--max-splats", "3000", "--engine", "cpu"]
    options = ["splats", str(tiny_house), "-o", str(other), *short, "--depth-weight", "0.1", "--quiet", "--json"]
    assert cli.main([*options, "--start", "cloud"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["psnr"] > 14 and result["num_splats"] > 1000
    assert "splats" in Project(other, create=False).read()["names"]
    assert "splats" not in Project(tiny_house, create=False).read()["names"]


def test_mesh_of_splats_leaves_the_built_model_alone(tiny_house, tmp_path, capsys):
    house = tmp_path / "house"
    shutil.copytree(tiny_house, house)
    built = Project(house, create=False).read()["names"]
    model = (house / "export" / "model.glb").read_bytes()
    short = ["--iterations", "150", "--size", "200", "--max-splats", "6000", "--engine", "cpu", "--quality", "draft"]
    assert cli.main(["splats", str(house), *short, "--mesh", "--quiet", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    names = Project(house, create=False).read()["names"]
    assert result["num_faces"] == len(Project(house, create=False).named("splats_mesh").faces) > 500
    assert names["mesh"] == built["mesh"] != names["splats_mesh"]
    assert (house / "export" / "model.glb").read_bytes() == model
    assert (house / "export" / "splats_mesh.glb").stat().st_size > 10_000


def test_bad_input_is_explained(tiny, tmp_path, capsys):
    assert cli.main(command(tiny, tmp_path / "a", "--hold-out", "1")) == 1
    assert "0 photos are left to train on" in capsys.readouterr().err
    assert cli.main(["splats", str(tiny / "photos"), "-o", str(tmp_path / "b"), "--engine", "cpu"]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert cli.main(["splats", str(tmp_path / "nowhere"), "-o", str(tmp_path / "c")]) == 1
    assert "why:" in capsys.readouterr().err
    assert cli.main(command(tiny, tmp_path / "d", "--start", "cloud")) == 1
    assert "no dense cloud" in capsys.readouterr().err
