"""The main job, whole: photos to textured mesh, its files, its promises."""

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

from rilievo import BuildSettings, Run, cli, photos_to_mesh
from rilievo.io import models
from rilievo.project import Project


def names_of(house):
    return json.loads((house / "project.json").read_text())["names"]


def run_cli(*args):
    return cli.main([str(a) for a in args])


def test_a_build_gives_every_promised_file_and_a_model_near_the_truth(tiny, tiny_house, capsys):
    export = tiny_house / "export"
    for name in ("model.glb", "model.obj", "cloud.ply", "transforms.json", "report.json", "report.html"):
        assert (export / name).stat().st_size > 0, name
    for name in ("cameras.bin", "images.bin", "points3D.bin"):
        assert (export / "cameras" / name).stat().st_size > 0, name
    report = json.loads((export / "report.json").read_text())
    assert report["photos"]["placed"] == report["photos"]["total"] == 8
    assert report["sparse"]["reprojection_error_px"] < 0.7
    assert {s["stage"] for s in report["stages"]} >= {
        "keypoints",
        "matches",
        "cameras",
        "depth",
        "cloud",
        "surface",
        "texture",
    }
    assert run_cli("evaluate", tiny_house, "--truth", tiny / "truth", "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["cameras"]["center_rmse_gsd"] < 0.6
    assert scores["mesh"]["f1"][1] > 0.8  # at 2 gsd


def test_the_model_file_is_the_mesh_with_its_texture(tiny_house):
    mesh = Project(tiny_house, create=False).named("mesh")
    assert mesh.texture is not None
    assert mesh.uvs is not None
    assert mesh.inferred is not None
    back = models.read(tiny_house / "export" / "model.glb")
    assert len(back.faces) == len(mesh.faces)
    np.testing.assert_allclose(np.ptp(back.vertices, axis=0), np.ptp(mesh.vertices, axis=0), rtol=1e-3)


def test_the_model_stands_upright(tiny_house, tiny):
    """The camera ring was level around z: cameras stay above the ground of the model."""
    scene = Project(tiny_house, create=False).named("cameras")
    assert scene.frame == "upright"
    truth = json.loads((tiny / "truth" / "cameras.json").read_text())["world_from_cam"]
    up = [np.array(truth[name])[:3, :3] @ (m[:, :3] @ [0, 0, 1]) for name, m in zip(scene.names, scene.cam_from_world)]
    assert np.mean(up, axis=0)[2] > 0.99


def test_the_same_command_again_computes_nothing(tiny, tiny_house):
    told = []
    run = Run(num_threads=2, progress=lambda *args: told.append(args))
    before = names_of(tiny_house)
    photos_to_mesh([tiny / "photos"], tiny_house, settings=BuildSettings(quality="draft"), run=run)
    assert names_of(tiny_house) == before
    last = {stage: (done, reused) for stage, done, total, *rest in told for reused in (rest or [0])}
    assert all(done == reused for stage, (done, reused) in last.items() if stage != "photos"), last


def test_one_thread_gives_the_same_objects_as_two(tiny, tiny_house, tmp_path):
    photos_to_mesh(
        [tiny / "photos"], tmp_path / "house", settings=BuildSettings(quality="draft"), run=Run(num_threads=1)
    )
    one, two = (json.loads((h / "project.json").read_text()) for h in (tmp_path / "house", tiny_house))
    assert one["made_from"] == two["made_from"]
    assert one["names"] == two["names"]


def test_a_new_photo_reruns_only_what_depends_on_it(tiny, tmp_path):
    photos, house = tmp_path / "photos", tmp_path / "house"
    shutil.copytree(tiny / "photos", photos)
    kept_out = sorted(photos.iterdir())[3]
    kept_out.rename(tmp_path / kept_out.name)
    settings = BuildSettings(quality="draft")
    photos_to_mesh([photos], house, settings=settings, run=Run(num_threads=2))
    (tmp_path / kept_out.name).rename(photos / kept_out.name)
    photos_to_mesh([photos], house, settings=settings, run=Run(num_threads=2))
    accounts = json.loads((house / "project.json").read_text())["accounts"]
    assert (accounts["keypoints"]["items"], accounts["keypoints"]["reused"]) == (8, 7)
    assert (accounts["matches"]["items"], accounts["matches"]["reused"]) == (7, 6)
    assert len(Project(house, create=False).named("cameras").names) == 8


STAGES = (
    "keypoints",
    "matches",
    "cameras",
    "depth",
    "depth refined",
    "depth checked",
    "cloud",
    "surface",
    "texture",
    "export",
)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_in_any_stage_and_the_same_command_again_gives_the_same_objects(stage, tiny, tiny_house, tmp_path):
    """Starts from the finished house with this stage's last result (and all that follow) taken away, and dies in it."""
    house = tmp_path / "house"
    shutil.copytree(tiny_house, house)
    forget_from(house, STAGES.index(stage))
    script = f"""
import os, signal
from rilievo import photos_to_mesh, BuildSettings, Run
from rilievo.project import Project
write = Project._write
def progress(stage, done, total, reused=0):
    if stage == {stage!r}:
        def dying(self, path, pieces):
            file = self.root / "tmp" / f"{{os.getpid()}}-half"
            file.write_bytes(b"half of a result")
            os.kill(os.getpid(), signal.SIGKILL)
        Project._write = dying
photos_to_mesh([{str(tiny / "photos")!r}], {str(house)!r}, settings=BuildSettings(quality="draft"),
               run=Run(2, progress=progress))
"""
    died = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, env=dict(os.environ))
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    photos_to_mesh([tiny / "photos"], house, settings=BuildSettings(quality="draft"), run=Run(num_threads=2))
    assert names_of(house) == names_of(tiny_house)
    assert [path.name for path in (house / "tmp").iterdir()] == ["lock"]


def forget_from(house, number):
    """Deletes the ledger entry of the last result of stage `number`, and all entries of the stages that follow."""
    entries = [(path, json.loads(path.read_text())) for path in (house / "ledger").glob("*/*.json")]
    content = json.loads((house / "project.json").read_text())
    for path, entry in entries:
        if entry["stage"] in STAGES and STAGES.index(entry["stage"]) >= number:
            path.unlink()
    content.pop("published", None)
    (house / "project.json").write_text(json.dumps(content))


def test_an_interrupt_ends_with_130_and_work_is_kept(tiny, tmp_path):
    house = tmp_path / "house"
    command = [
        sys.executable,
        "-m",
        "rilievo.cli",
        "build",
        str(tiny / "photos"),
        "-o",
        str(house),
        "--quality",
        "draft",
    ]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list((house / "ledger").glob("*/*.json")):
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, talk = run.communicate(timeout=120)
    assert run.returncode == 130, talk
    assert "the same command goes on from here" in talk
    assert list((house / "ledger").glob("*/*.json"))


def test_why_and_info_answer_from_the_project(tiny_house, capsys):
    name = Project(tiny_house, create=False).named("cameras").names[0]
    assert run_cli("why", tiny_house, name) == 0
    text = capsys.readouterr().out
    assert f"{name} was placed" in text
    assert "verified of" in text
    assert run_cli("info", tiny_house) == 0
    assert "8 of 8 photos placed" in capsys.readouterr().out
    assert run_cli("why", tiny_house, "nowhere.jpg") == 1
    assert "give the whole name" in capsys.readouterr().err


@pytest.mark.parametrize("format", ["glb", "obj", "ply", "stl", "colmap", "nerfstudio"])
def test_export_writes_files_that_exist(tiny_house, tmp_path, format, capsys):
    target = tmp_path / ("out" if format in ("colmap", "nerfstudio") else f"out.{format}")
    assert run_cli("export", tiny_house, "--format", format, "-o", target, "--json") == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert files
    for file in files:
        assert Path(file).stat().st_size > 0


def test_a_watertight_model_is_asked_for_on_the_command_line(tiny, tiny_house, tmp_path, capsys):
    import trimesh

    house = tmp_path / "house"
    shutil.copytree(tiny_house, house)
    options = ("--quality", "draft", "--threads", "2", "--quiet")
    assert run_cli("build", tiny / "photos", "-o", house, "--watertight", *options) == 0
    before, after = (Project(h, create=False).named("mesh") for h in (tiny_house, house))
    # Vertices on texture seams are repeated: by place they are one.
    solid = trimesh.Trimesh(after.vertices, after.faces, process=False)
    solid.merge_vertices(merge_tex=True, merge_norm=True)
    assert solid.is_watertight
    assert solid.volume > 0
    assert after.inferred.mean() > before.inferred.mean()
    assert names_of(house)["cloud"] == names_of(tiny_house)["cloud"]
