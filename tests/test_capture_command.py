"""`rilievo plan` from the command line, as people and programs use it."""

import json
import subprocess
import sys

import numpy as np
import pytest

from rilievo.cli import main
from rilievo.io import models


def run(capsys, *args):
    code = main(["plan", *map(str, args)])
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture
def outline(tmp_path):
    ring = [[8.95, 46.02], [8.9526, 46.0202], [8.9524, 46.0215], [8.9499, 46.0214], [8.95, 46.02]]
    path = tmp_path / "field.geojson"
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    return path


def test_object_is_written_and_can_be_viewed(tmp_path, capsys):
    folder = tmp_path / "plan"
    code, out, _ = run(capsys, "object", "--size", "30x20x40cm", "--detail", "0.5mm", "-o", folder, "--json")
    result = json.loads(out)
    assert code == 0 and result["kind"] == "object" and result["gsd_m"] == pytest.approx(0.0005 / 3)
    assert sorted(p.name for p in folder.iterdir()) == ["plan.csv", "plan.glb", "plan.json", "plan.pdf", "plan.svg"]
    assert json.loads((folder / "plan.json").read_text())["stations"] == result["stations"]
    mesh = models.read_mesh(folder / "plan.glb")
    assert len(mesh.faces) > 3000 and np.ptp(mesh.vertices, axis=0).max() < 3
    from rilievo.view.scene import ViewScene

    with ViewScene((folder / "plan.glb",)) as scene:
        assert scene is not None
    first = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert run(capsys, "object", "--size", "30x20x40cm", "--detail", "0.5mm", "-o", folder)[0] == 0
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == first  # same input, same bytes


def test_words_have_every_number(capsys):
    code, out, err = run(capsys, "room", "--size", "5x4x2.6m", "--standard", "minimum")
    assert code == 0 and not err
    for word in ("photos", "distance", "gsd", "footprint", "overlap of neighbours", "views of a point",
                 "depth precision", "aperture", "sharp", "shutter", "tilted up"):  # fmt: skip
        assert word in out


def test_facade_and_cameras(capsys):
    assert run(capsys, "facade", "--size", "12x8m", "--gsd", "2mm", "--heights", "1", "2.5")[0] == 0
    code, out, _ = run(capsys, "cameras", "--json")
    assert code == 0 and {"Apple iPhone 13", "DJI Mini 4 Pro"} <= {c["name"] for c in json.loads(out)["cameras"]}


def test_model_instead_of_size(tmp_path, capsys):
    import trimesh

    trimesh.creation.icosphere(3, 0.2).export(tmp_path / "ball.ply")
    code, out, _ = run(capsys, "object", "--model", tmp_path / "ball.ply", "--camera", "Sony A7 III", "--json")
    assert code == 0 and json.loads(out)["asked"]["size_m"] == pytest.approx([0.4, 0.4, 0.4], abs=1e-3)
    # no photo looks from below: the belly of a ball is not seen, and the plan says so
    figures = json.loads(out)["figures"]
    assert figures["views_least"] == 0 and 0.9 < figures["seen_share"] < 1 and figures["views_median"] >= 10
    trimesh.PointCloud(np.zeros((3, 3))).export(tmp_path / "points.ply")
    (tmp_path / "noise.glb").write_bytes(b"glTF" + bytes(40))
    for name in ("points.ply", "noise.glb", "absent.obj"):
        code, out, err = run(capsys, "object", "--model", tmp_path / name)
        assert code == 1 and err.startswith("error: ") and not out


def test_area_writes_a_file_for_each_format_and_battery(outline, tmp_path, capsys):
    code, out, _ = run(capsys, "area", outline, "--gsd", "2cm", "--roof-height", "9m", "-o", tmp_path / "out", "--json")
    result = json.loads(out)
    assert code == 0 and result["flight"]["batteries"] == 1 and result["worst_point"]["views"] >= 4
    names = {
        "flight.kmz",
        "flight.plan",
        "flight.waypoints",
        "flight-litchi.csv",
        "flight.kml",
        "flight.geojson",
        "flight.csv",
    }
    assert names | {"plan.csv", "plan.glb", "plan.json", "plan.pdf", "plan.svg"} == {
        p.name for p in (tmp_path / "out").iterdir()
    }
    code, out, _ = run(
        capsys, "area", outline, "--height", "50m", "--camera", "DJI Mini 2", "--pattern", "oblique", "--format", "kml",
        "-o", tmp_path / "more", "--json",
    )  # fmt: skip
    flights = sorted(p.name for p in (tmp_path / "more").glob("flight*"))
    assert code == 0 and flights == [f"flight-{k}.kml" for k in range(1, json.loads(out)["flight"]["batteries"] + 1)]
    assert len(flights) > 1


def test_area_over_terrain(outline, tmp_path, capsys):
    rows = "\n".join(" ".join(f"{300 + 2 * c - r}" for c in range(30)) for r in range(30))
    (tmp_path / "dem.asc").write_text(
        f"ncols 30\nnrows 30\nxllcorner 8.945\nyllcorner 46.016\ncellsize 0.0004\n{rows}\n"
    )
    code, out, _ = run(capsys, "area", outline, "--height", "60m", "--dem", tmp_path / "dem.asc", "--json")
    result = json.loads(out)
    z = [-np.array(s["cam_from_world"])[:, :3].T @ np.array(s["cam_from_world"])[:, 3] for s in result["stations"]]
    assert code == 0 and np.ptp(np.array(z)[:, 2]) > 8
    code, _, err = run(capsys, "area", outline, "--height", "60m", "--dem", tmp_path / "no.tif")
    assert code == 1 and "no such file" in err


@pytest.mark.parametrize(
    "args, words",
    [
        (("object",), "how large is the object?"),
        (("object", "--size", "3"), "cannot read the size"),
        (("object", "--size", "30x20x40cm", "--camera", "Nokia 3310"), "not in the table"),
        (("object", "--size", "30x20x40cm", "--gsd", "many"), "cannot read the length"),
        (("facade", "--size", "12x8m"), "how fine"),
        (("area", "nowhere.kml", "--gsd", "2cm"), "no such file"),
        (("area", "nowhere.kml"), "how high shall it fly?"),
    ],
)
def test_mistakes_are_told_in_three_parts(args, words, capsys):
    code, out, err = run(capsys, *args)
    assert code == 1 and not out and err.startswith("error: ") and words in err
    assert "Traceback" not in err


def test_wrong_usage_is_2(capsys):
    assert run(capsys, "moon")[0] == 2
    assert run(capsys, "object", "--size", "1x1x1", "--standard", "best")[0] == 2


def test_nothing_is_lost_where_a_folder_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    code, _, err = run(capsys, "object", "--size", "1x1x1m", "-o", tmp_path / "file")
    assert code == 1 and err.startswith("error: ") and (tmp_path / "file").read_text() == "mine"


def test_a_pipe_that_closes_is_no_accident():
    ended = subprocess.run(
        f"{sys.executable} -m rilievo.cli plan room --size 5x4x2.6m --json | head -c 10",
        shell=True,
        capture_output=True,
    )
    assert len(ended.stdout) == 10 and b"Traceback" not in ended.stderr
