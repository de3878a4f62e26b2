"""The viewer's server: the manifest, layers in levels of detail, photos, tools that save, refusals."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rilievo.errors import InputError
from rilievo.io import gltf, models
from rilievo.io.mask_files import write_mask
from rilievo.io.splats import read_splats, write_splats
from rilievo.project import Project
from rilievo.types import Mesh
from rilievo.view.mesh_levels import Places, coarser
from rilievo.view.octree import MAX_POINTS, build_octree
from rilievo.view.scene import ViewScene
from rilievo.view.sources import open_source
from rilievo.view.surface import Surface
from view_scenes import SIGMA, box, cameras, cloud, get, hill, house, layer, opened, post, splats, textured_sphere


def vertices_of(scene: ViewScene, url: str) -> np.ndarray:
    """What a viewer draws: the vertices of a GLB, moved by its nodes."""
    raw = get(scene, url)
    root, blob = gltf.read_chunks(Path("x.glb"), raw)
    parts = []
    for primitive, matrix in gltf.placed(root):
        xyz = gltf.accessor(root, blob, primitive["attributes"]["POSITION"]).astype(np.float64)
        parts.append(xyz @ matrix[:3, :3].T + matrix[:3, 3])
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A house of the box, and its scene."""
    root = house(tmp_path_factory.mktemp("view") / "box", unplaced={"bad.jpg": "too few matches"}, with_splats=True)
    scene = opened(root)
    yield root, scene
    scene.close()


# --- the manifest and its layers --------------------------------------------------------------------------------------


def test_the_manifest_says_what_there_is(plain):
    _, scene = plain
    m = get(scene, "scene.json")
    assert m["title"] == "box" and m["unit"] == "m" and m["up"] == [0, 0, 1] and m["up_known"]
    assert {e["kind"] for e in m["layers"]} == {
        "mesh",
        "cloud",
        "splats",
        "sparse",
    }  # closed: no holes, nothing inferred
    assert not m["busy"] and m["problems"] == [] and m["saved"]["scale"] == 1 and m["measures"] == []
    mesh = layer(m, "mesh")
    assert mesh["visible"] and mesh["count"] == 12 and not mesh["textured"] and mesh["has_sigma"]
    assert mesh["sigma_range"] == pytest.approx([SIGMA, SIGMA])
    assert len(m["photos"]) == 5
    bad = m["photos"][4]
    assert not bad["placed"] and bad["reason"] == "too few matches" and "rilievo why" in bad["hint"]
    assert get(scene, "scene.json", rev=str(m["rev"])) == {"rev": m["rev"], "unchanged": True, "busy": False}


def test_layers_lie_in_the_scenes_coordinates(plain):
    _, scene = plain
    m = get(scene, "scene.json")
    xyz = vertices_of(scene, layer(m, "mesh")["levels"][-1]["url"])
    assert np.allclose(xyz.max(0), [1, 0.5, 0.25], atol=1e-6) and np.allclose(xyz.min(0), [-1, -0.5, -0.25], atol=1e-6)
    points = layer(m, "cloud")
    rows = [read_node(scene, n) for n in points["nodes"]]
    assert sum(len(r[0]) for r in rows) == points["count"] == 1000
    assert np.allclose(rows[0][0][:, 2], 0.25) and (rows[0][1] == 200).all() and np.allclose(rows[0][2], SIGMA)
    assert layer(m, "sparse")["error_range"][1] <= 1


def read_node(scene: ViewScene, node: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    raw, n = get(scene, node["url"]), node["count"]
    assert len(raw) == 19 * n
    xyz = np.frombuffer(raw[: 12 * n], "<f4").reshape(-1, 3)
    return xyz, np.frombuffer(raw[12 * n : 15 * n], "u1").reshape(-1, 3), np.frombuffer(raw[15 * n :], "<f4")


def test_splats_come_as_spz_with_the_matrix_that_places_them(plain, tmp_path):
    _, scene = plain
    entry = layer(get(scene, "scene.json"), "splats")
    (tmp_path / "a.spz").write_bytes(get(scene, entry["url"]))
    back = read_splats(tmp_path / "a.spz")  # turned to our axes: the file itself has y and z reversed
    matrix = np.array(entry["matrix"]).reshape(4, 4).T
    placed = (back.means.astype(np.float64) * [1, -1, -1]) @ matrix[:3, :3].T + matrix[:3, 3]
    assert np.abs(placed - splats().means).max() < 1e-4
    assert np.allclose(back.scales * matrix[0, 0], 0.05, rtol=0.05)


def test_far_from_zero_the_scene_has_an_origin(tmp_path):
    far = (500_000.0, 4_500_000.0, 300.0)
    with opened(house(tmp_path / "far", origin=far)) as scene:
        m = get(scene, "scene.json")
        assert np.abs(np.array(m["origin"]) - far).max() < 1
        xyz = vertices_of(scene, layer(m, "mesh")["levels"][-1]["url"]) + m["origin"]
        assert np.allclose((xyz.max(0) + xyz.min(0)) / 2, far, atol=1e-4)
        pose = np.array(m["photos"][0]["cam_from_world"]).reshape(3, 4)
        center = -pose[:, :3].T @ pose[:, 3] + m["origin"]
        assert np.allclose(center, np.add(far, [4, 0, 1.5]), atol=1e-6)


def test_a_second_start_finds_its_layers(plain, monkeypatch):
    root, _ = plain
    monkeypatch.setattr("rilievo.view.layers.build_octree", lambda points: pytest.fail("made again"))
    with opened(root) as scene:
        assert len(get(scene, "scene.json")["layers"]) == 4


def test_a_house_that_cannot_be_written_is_shown_all_the_same(tmp_path):
    root = house(tmp_path / "h")
    shutil.rmtree(root / "export")
    (root / "export").write_text("in the way")
    with opened(root) as scene:
        m = get(scene, "scene.json")
        assert m["problems"] == [] and len(get(scene, layer(m, "cloud")["nodes"][0]["url"])) == 19_000
        own = scene.stores[0].root
    assert not own.exists()


def test_an_octree_holds_each_point_once_coarse_to_fine():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(150_000, 3)).astype(np.float32)
    points[:, 2] *= 0.01
    nodes = build_octree(points)
    rows = np.concatenate([n.rows for n in nodes])
    assert len(rows) == len(points) and (np.bincount(rows) == 1).all()
    assert max(len(n.rows) for n in nodes) <= MAX_POINTS
    assert sorted(c for n in nodes for c in n.children) == list(range(1, len(nodes)))
    assert len(nodes[0].rows) > 2000
    for n in nodes:
        for c in n.children:
            assert nodes[c].spacing == n.spacing / 2
            assert (nodes[c].low >= n.low).all() and (nodes[c].high <= n.high).all()
        assert (points[n.rows] >= n.low).all() and (points[n.rows] <= n.high).all()


def test_coarser_meshes_keep_shape_colours_and_sigma():
    fine = textured_sphere()
    level = coarser(fine, 3000, 512)
    assert 2000 < len(level.faces) <= 3000 and level.texture is not None and level.uvs is not None
    x = level.vertices[level.faces].mean(1).astype(np.float64)
    assert np.abs(np.linalg.norm(x, axis=1) - 1).max() < 0.01
    h, w = level.texture.shape[:2]
    uv = level.uvs[level.faces].mean(1)
    seen = level.texture[((1 - uv[:, 1]) * h).astype(int), (uv[:, 0] * w).astype(int)].astype(float)
    assert np.abs(seen - (127.5 + 127.5 * x)).max() < 12
    assert level.sigma is not None and np.abs(level.sigma - np.abs(level.vertices[:, 2])).max() < 0.03


def test_places_are_the_nearest_ones():
    mesh = box((2, 2, 2))
    on = Places(mesh, np.array([[0.3, 0.4, 5], [-7, 0.1, 0.2]]))
    assert np.allclose(on.distance, [4, 6]) and np.allclose(on.mean(mesh.vertices), [[0.3, 0.4, 1], [-1, 0.1, 0.2]])


def test_spots_are_those_of_all_faces(tmp_path):
    mesh = hill(30)
    models.write(tmp_path / "hill.ply", mesh)
    points = np.random.default_rng(0).normal(size=(30, 3)) * [2, 2, 0.7]
    spots = Surface(open_source(tmp_path / "hill.ply"), np.array([0.5, 0, 0])).spots(points - [0.5, 0, 0])
    on = Places(mesh, points)
    assert np.allclose([s.distance for s in spots], on.distance, rtol=1e-9) and spots[0].sigma == pytest.approx(SIGMA)


def test_large_meshes_have_levels(tmp_path):
    v, f = hill(200).vertices, hill(200).faces
    with opened(house(tmp_path / "hill", mesh=Mesh(v, f))) as scene:
        m = get(scene, "scene.json")
        levels = layer(m, "mesh")["levels"]
        assert [x["faces"] for x in levels] == [pytest.approx(20_000, abs=10), 80_000]
        assert len(vertices_of(scene, levels[0]["url"])) < 12_000
        assert layer(m, "holes")["count"] == 1 and len(layer(m, "holes")["lines"][0]) == 800


# --- photos -----------------------------------------------------------------------------------------------------------


def test_photos_are_undistorted_at_the_size_asked_for(plain):
    _, scene = plain
    row = get(scene, "scene.json")["photos"][1]
    with Image.open(io.BytesIO(get(scene, "photo/1.jpg", size="160"))) as image:
        assert image.size[0] in (159, 160) and abs(np.asarray(image).mean() - 60) < 2
        assert image.size[0] / image.size[1] == pytest.approx(row["width"] / row["height"], rel=0.02)
    assert row["depth"] is None
    with Image.open(io.BytesIO(get(scene, "depth/0.png"))) as image:
        assert image.mode == "RGBA" and image.size == (80, 60)
        alpha = np.asarray(image)[..., 3]
        assert (alpha[:10] == 0).all() and (alpha[10:] == 255).all()


def test_a_mask_lies_over_its_photo(tmp_path):
    root = house(tmp_path / "h")
    with Image.open(next((tmp_path / "h-photos").glob("0.*"))) as image:
        w, h = image.size
    usable = np.ones((h, w), bool)
    usable[:, : w // 2] = False
    write_mask(root / "masks", "0.jpg", usable)
    with opened(root) as scene:
        rows = get(scene, "scene.json")["photos"]
        assert rows[0]["mask"].startswith("mask/0.png?v=") and rows[1]["mask"] is None
        with Image.open(io.BytesIO(get(scene, "mask/0.png"))) as image:
            alpha = np.asarray(image)[..., 3]
        left, right = alpha[:, : w // 3], alpha[:, -(w // 3) :]
        assert (left > 0).mean() > 0.9 and (right == 0).mean() > 0.9
        assert scene.answer("mask/1.png", {}, None).status == 400


def test_a_photo_says_why(plain):
    _, scene = plain
    assert get(scene, "scene.json")["photos"][4]["why"] == "why/4.json"
    assert get(scene, "why/4.json")["text"].startswith("bad.jpg was not placed: too few matches")
    assert get(scene, "why/0.json")["text"].startswith("0.jpg was placed")


def test_a_lost_photo_is_told(tmp_path):
    root = house(tmp_path / "h")
    shutil.rmtree(tmp_path / "h-photos")
    with ViewScene([root]) as scene:
        answer = scene.answer("photo/0.jpg", {}, None)
        assert answer.status == 400 and "gone" in json.loads(answer.body)["why"]


# --- tools ------------------------------------------------------------------------------------------------------------


def test_a_known_length_is_measured_with_its_plus_minus(plain):
    _, scene = plain
    told = post(scene, "measure", kind="distance", points=[[-1, -0.5, 0.25], [1, -0.5, 0.25]])
    assert told["value"] == pytest.approx(2, abs=1e-9) and told["unit"] == "m"
    assert SIGMA < told["sigma"] < 0.02 and told["text"].startswith("2.00") and "±" in told["text"]
    off = post(scene, "measure", kind="distance", points=[[-1, -0.5, 0.25], [1, -0.5, 9]])
    assert off["sigma"] is None and "not on the surface" in off["sigma_note"]
    assert post(scene, "measure", kind="angle", points=[[1, 0, 0.25], [0, 0, 0.25], [0, 0.5, 0.25]])["value"] == 90
    height = post(scene, "measure", kind="height", points=[[0, 0, 0.25], [0, 0, -0.25]])
    assert height["value"] == 0.5 and height["signed"] == -0.5
    volume = post(scene, "volume", points=[[-1, -0.5, 0], [1, -0.5, 0], [1, 0.5, 0], [-1, 0.5, 0]])
    assert volume["cut"] == pytest.approx(0.5, rel=1e-6) and volume["unit"] == "m³"
    cut = post(scene, "section", plane={"point": [0, 0, 0.1], "normal": [0, 0, 2]})
    assert cut["length"] == pytest.approx(6) and cut["area"] == pytest.approx(2) and cut["closed"] == [True]
    assert post(scene, "measure", kind="volume", points=volume["points"])["cut"] == volume["cut"]


def test_picking_tells_the_surface_there(plain):
    _, scene = plain
    spot = post(scene, "pick", x=0.2, y=0.1, z=0.2501, radius=0.01)
    assert spot["sigma"] == pytest.approx(SIGMA) and np.allclose(spot["normal"], [0, 0, 1]) and spot["spacing"] > 0
    assert post(scene, "pick", x=0, y=0, z=5, radius=0.01)["sigma"] is None


def test_scale_up_and_origin_are_saved_used_and_undone(tmp_path):
    root = house(tmp_path / "h", unit="unknown")
    a, b = [-1, -0.5, 0.25], [1, -0.5, 0.25]
    with opened(root) as scene:
        before = get(scene, "scene.json")
        assert post(scene, "measure", kind="distance", points=[a, b])["unit"] == "unknown"
        told = post(scene, "scale", points=[a, b], length=500, unit="mm", sigma=1.0)
        assert told["saved"] and told["frame"]["scale"] == pytest.approx(250) and told["rev"] > before["rev"]
        post(scene, "up", up=[0, 3, 0])
        post(scene, "origin", point=[1, 2, 3])
        m = post(scene, "measure", kind="height", points=[[0, -0.5, 0], [0, 0.5, 0]])
        assert m["value"] == pytest.approx(250) and m["unit"] == "mm" and m["sigma"] > 250 * 1 / 500
        post(scene, "scale", status=400, points=[a, a], length=1)
        post(scene, "scale", status=400, points=[a, b], length=-1)
        post(scene, "scale", status=400, points=[a, b], length=1, unit="<script>")
        post(scene, "up", status=400, up=[0, 0, 0])
    with opened(root) as scene:  # it stayed
        saved = get(scene, "scene.json")["saved"]
        assert saved["scale"] == pytest.approx(250) and saved["up"] == [0, 1, 0] and saved["origin"] == [1, 2, 3]
        for place, body in (("scale", {"points": None}), ("up", {"up": None}), ("origin", {"point": None})):
            post(scene, place, **body)
        assert get(scene, "scene.json")["saved"] == before["saved"]
    assert "frame" not in Project(root).read()


def test_measures_are_saved_with_the_house_and_exported(plain):
    root, scene = plain
    one = post(scene, "measure", kind="distance", points=[[-1, 0, 0.25], [1, 0, 0.25]], name='=2+3 "width"')
    cut = {"kind": "section", "plane": {"point": [0, 0, 0], "normal": [0, 0, 1]}, "value": 6.0, "name": "cut"}
    told = post(scene, "measures", list=[{**one, "evil": "<script>"}, cut])
    assert told["saved"] and "evil" not in told["measures"][0]
    assert Project(root).read()["measures"]["list"][0]["value"] == 2
    assert get(scene, "scene.json")["measures"][0]["name"] == '=2+3 "width"'
    document = get(scene, "measures.json")
    assert document["measures"][0]["value"] == 2 and document["unit"] == "m"
    rows = list(csv.DictReader(io.StringIO(get(scene, "measures.csv").decode("utf-8-sig"))))
    assert float(rows[0]["value"]) == 2 and rows[0]["name"] == '\'=2+3 "width"' and rows[1]["kind"] == "section"
    assert rows[0]["points"] == "-1.0 0.0 0.25; 1.0 0.0 0.25"
    for bad in ({"kind": "distance"}, {"kind": "x"}, 3, {"kind": "distance", "points": [[0, 0, float("1e300")]]}):
        post(scene, "measures", status=400, list=[bad])
    post(scene, "measures", status=400, list=[cut] * 501)
    post(scene, "measures", list=[])
    assert "measures" not in Project(root).read()


def test_what_was_saved_for_other_cameras_is_not_used(tmp_path):
    root = house(tmp_path / "h")
    with opened(root) as scene:
        post(scene, "scale", points=[[-1, -0.5, 0.25], [1, -0.5, 0.25]], length=7)
    project = Project(root)
    project.update(names={**project.read()["names"], "cameras": project.put(cameras(5))}, made_from={})
    with opened(root) as scene:
        saved = get(scene, "scene.json")["saved"]
        assert saved["scale"] == 1 and "anew" in saved["stale"]


# --- files, two at once, growing houses -------------------------------------------------------------------------------


def test_files_are_shown_and_their_tools_last_as_long_as_the_viewer(tmp_path):
    models.write(tmp_path / "box.glb", box())
    models.write(tmp_path / "box.ply", box())
    models.write(tmp_path / "points.ply", cloud())
    write_splats(tmp_path / "s.ply", splats())
    write_splats(tmp_path / "s.sog", splats())
    for name, kind in (
        ("box.glb", "mesh"),
        ("box.ply", "mesh"),
        ("points.ply", "cloud"),
        ("s.ply", "splats"),
        ("s.sog", "splats"),
    ):
        with opened(tmp_path / name) as scene:
            m = get(scene, "scene.json")
            assert m["layers"][0]["kind"] == kind and m["layers"][0]["visible"] and not m["problems"]
            assert m["photos"] == [] and m["unit"] == "unknown"
    with opened(tmp_path / "box.glb") as scene:
        xyz = vertices_of(scene, layer(get(scene, "scene.json"), "mesh")["levels"][0]["url"])
        assert np.allclose(xyz.max(0), [1, 0.5, 0.25], atol=1e-6)
        told = post(scene, "scale", points=[[-1, -0.5, 0.25], [1, -0.5, 0.25]], length=4)
        assert not told["saved"]
        assert post(scene, "measure", kind="distance", points=[[0, 0, 0.25], [1, 0, 0.25]])["value"] == 2


def test_two_houses_share_one_origin(tmp_path):
    far = (1000.0, 2000.0, 50.0)
    near = (1003.0, 2000.0, 50.0)
    with opened(house(tmp_path / "a", origin=far), house(tmp_path / "b", origin=near)) as scene:
        m = get(scene, "scene.json")
        assert [h["title"] for h in m["houses"]] == ["a", "b"] and len(m["photos"]) == 8
        both = [vertices_of(scene, layer(m, "mesh", k)["levels"][-1]["url"]).mean(0) for k in (0, 1)]
        assert np.allclose(both[1] - both[0], [3, 0, 0], atol=1e-6)
        assert layer(m, "mesh", 1)["name"] == "Mesh (b)"
        post(scene, "scale", house=1, points=[[0, 0, 0], [1, 0, 0]], length=2)
        m = get(scene, "scene.json")
        assert m["houses"][1]["saved"]["scale"] == pytest.approx(2) and m["saved"]["scale"] == 1


def test_what_cannot_be_shown_is_told(tmp_path, plain):
    (tmp_path / "note.txt").write_text("x")
    (tmp_path / "bad.glb").write_bytes(b"glTF" + b"\0" * 40)
    (tmp_path / "bad.ply").write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vertex 9\nproperty float x\n")
    (tmp_path / "empty").mkdir()
    for name in ("note.txt", "bad.glb", "bad.ply", "empty", "gone.glb"):
        with pytest.raises(InputError):
            ViewScene([tmp_path / name])
    root = tmp_path / "damaged"
    shutil.copytree(plain[0], root, ignore=shutil.ignore_patterns("view"))
    project = Project(root)
    path = project.object_path(project.read()["names"]["mesh"])
    path.write_bytes(path.read_bytes()[:200])
    with opened(root) as scene:
        m = get(scene, "scene.json")
        assert {e["kind"] for e in m["layers"]} == {"cloud", "splats", "sparse"}
        assert any("cannot be read" in p["error"] for p in m["problems"])
        told = post(scene, "measure", status=400, kind="distance", points=[[0, 0, 0], [1, 0, 0]])
        assert "cannot be read" in told["error"]
    (root / "project.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        ViewScene([root])
