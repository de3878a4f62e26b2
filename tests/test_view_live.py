"""Splats drawn on the CPU frame by frame; houses looked at while they are made."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rilievo.live_server import Refused
from rilievo.project import Project
from rilievo.stages.depth import DepthConfig
from rilievo.stages.splat_rows import rows_of
from rilievo.stages.splats import SplatsConfig
from rilievo.types import SplatState
from rilievo.view.scene import ViewScene
from view_scenes import get, house, layer, opened, splats


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A house of the box, and its scene."""
    root = house(tmp_path_factory.mktemp("view") / "box", unplaced={"bad.jpg": "too few matches"}, with_splats=True)
    scene = opened(root)
    yield root, scene
    scene.close()


def frame_query(scene: ViewScene, **changes: str) -> dict[str, str]:
    pose = get(scene, "scene.json")["photos"][0]["cam_from_world"]
    camera = {"w": "64", "h": "48", "fx": "60", "fy": "60", "cx": "32", "cy": "24"}
    return {"layer": "splats", "c": "a", **camera, "m": ",".join(map(str, pose)), **changes}


def test_splats_are_drawn_for_the_camera(plain):
    _, scene = plain
    with Image.open(io.BytesIO(get(scene, "frame", **frame_query(scene)))) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (48, 64, 3)
    assert pixels[24, 32].max() < 200 and pixels[0, 0].min() > 240  # grey in the middle, white around
    with Image.open(io.BytesIO(get(scene, "frame", **frame_query(scene, bg="ff0000", planes="0,0,1,9")))) as image:
        red = np.asarray(image).astype(int)
    assert red[0, 0, 0] > 240 and red[0, 0, 1] < 15 and abs(red[24, 32] - pixels[24, 32]).max() < 40
    with Image.open(io.BytesIO(get(scene, "frame", **frame_query(scene, planes="1,0,0,0;0,0,-1,0")))) as image:
        assert np.asarray(image).min() > 240  # all Gaussians lie above z = 0
    for bad in (
        {"w": "99999"}, {"m": "1,2"}, {"fx": "nan"}, {"layer": "mesh"}, {"bg": "red"}, {"bg": "0" * 7},
        {"planes": "1,2,3"}, {"planes": "nan,0,0,1"}, {"planes": "1,0,0,inf"}, {"planes": "1,0,0,0;" * 17},
    ):  # fmt: skip
        with pytest.raises(Refused):
            scene.answer("frame", frame_query(scene, **bad), None)


def test_a_training_is_shown_from_its_states_and_depth_maps_as_they_come(tmp_path):

    root = house(tmp_path / "h")
    project = Project(root)
    rows = rows_of(splats(300))
    state = SplatState(
        500, rows, rows * 0, rows * 0, np.zeros((300, 4), np.float32), (), np.zeros((0, 18), np.float32), np.zeros(3),
        4.0, "cloud",
    )  # fmt: skip
    with ViewScene([root], growing=True) as scene:
        scene.wait(timeout=30)
        assert "splats" not in {e["kind"] for e in get(scene, "scene.json")["layers"]}
        step = project.run("splats training", SplatsConfig(), ["x", "iteration 500"], lambda: state)
        maps = project.get(project.read()["made_from"]["depth filled"][0])

        project.run("depth", DepthConfig(), ["y"], lambda: replace(maps, name="1.jpg"))
        time.sleep(1.1)
        get(scene, "scene.json")
        scene.wait(timeout=30)
        m = get(scene, "scene.json")
        entry = layer(m, "splats")
        assert m["photos"][0]["depth"].startswith("depth/0.png?v=") and len(entry["version"]) == 8
        assert entry["count"] == 300 and "training" in entry["name"] and m["problems"] == []
        assert [p["depth"] is not None for p in m["photos"]] == [True, True, False, False]
        project.object_path(step.output).unlink()  # it has ended, or was thrown away
        project.update(training={})
        time.sleep(1.1)
        assert "splats" not in {e["kind"] for e in get(scene, "scene.json")["layers"]}


def test_a_house_grows_while_it_is_looked_at(tmp_path, monkeypatch):
    full = Project(house(tmp_path / "h"))
    content = full.read()
    full.update(names=None, made_from=None)
    with ViewScene([tmp_path / "none"], growing=True) as scene:
        assert get(scene, "scene.json")["layers"] == []
    with ViewScene([tmp_path / "h"], growing=True) as scene:
        first = get(scene, "scene.json")
        assert first["layers"] == [] and first["photos"][0]["reason"] == "not placed yet"
        full.update(made_from={"cameras": [content["names"]["cameras"]]})
        time.sleep(1.1)
        get(scene, "scene.json")
        scene.wait(timeout=30)
        m = get(scene, "scene.json")
        assert [e["kind"] for e in m["layers"]] == ["sparse"] and m["photos"][0]["placed"] and m["rev"] > first["rev"]
