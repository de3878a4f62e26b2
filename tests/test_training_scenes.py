"""The generator of training pictures: repeatable, resumable, and its depth is the depth of the scene."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training import render, scenes, scenes_library, scenes_mesh, scenes_models, scenes_objects, scenes_texture

SIZE = 48


@pytest.fixture(scope="module", autouse=True)
def small_library():
    """A library of few pictures and things: a whole one takes 15 s of processor time."""
    patch = pytest.MonkeyPatch()
    kinds = {k: (f, 1) for k, (f, _) in scenes_texture.KINDS.items()}
    patch.setattr(scenes_texture, "KINDS", kinds)
    makers = {k: (f, 6 if k == "table" else 1) for k, (f, _) in scenes_objects.MAKERS.items()}
    patch.setattr(scenes_library, "MAKERS", makers)
    patch.setattr(scenes, "SHARD", 4)
    scenes.library.cache_clear()
    yield
    patch.undo()
    scenes.library.cache_clear()


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    out = tmp_path_factory.mktemp("shards")
    assert scenes.main(["--out", str(out), "--count", "4", "--seed", "3", "--size", str(SIZE), "--procedural"]) == 0
    return out


def _read(folder: Path) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    about = json.loads((folder / "about_00000.json").read_text())
    return np.load(folder / "rgb_00000.npy"), np.load(folder / "inverse_depth_00000.npy"), about


def test_a_shard_has_the_shapes_and_ranges_promised(shard):
    rgb, inverse, about = _read(shard)
    assert rgb.shape == (4, SIZE, SIZE, 3) and rgb.dtype == np.uint8
    assert inverse.shape == (4, SIZE, SIZE) and inverse.dtype == np.float16
    assert np.isfinite(inverse).all() and (inverse >= 0).all() and (inverse > 0).mean() > 0.4
    assert [set(a) for a in about] == [{"family", "focal_px", "seed"}] * 4
    assert all(a["family"] in scenes.FAMILIES and 0.4 * SIZE < a["focal_px"] < 2.3 * SIZE for a in about)
    assert all(picture.std() > 8 for picture in rgb)  # textured and lit, not one grey


def test_the_same_seed_gives_the_same_bytes_and_another_number_does_not(shard, tmp_path):
    options = ["--count", "4", "--size", str(SIZE), "--procedural"]
    scenes.library.cache_clear()
    scenes.main(["--out", str(tmp_path / "again"), "--seed", "3", *options])
    for name in ("rgb_00000.npy", "inverse_depth_00000.npy", "about_00000.json"):
        assert (tmp_path / "again" / name).read_bytes() == (shard / name).read_bytes()
    rgb, _, _ = _read(shard)
    other = scenes.pictures_of(3, 1, SIZE, None)
    assert not np.array_equal(other[0][0], rgb[0])


def test_what_is_there_is_left_alone_and_what_is_missing_is_made(shard, tmp_path):
    for name in ("rgb_00000.npy", "inverse_depth_00000.npy"):
        (tmp_path / name).write_bytes(b"half")  # interrupted: without its description a shard does not count
    scenes.main(["--out", str(tmp_path), "--count", "4", "--seed", "3", "--size", str(SIZE), "--procedural"])
    assert (tmp_path / "rgb_00000.npy").read_bytes() == (shard / "rgb_00000.npy").read_bytes()
    (tmp_path / "rgb_00000.npy").write_bytes(b"kept")
    scenes.main(["--out", str(tmp_path), "--count", "4", "--seed", "3", "--size", str(SIZE), "--procedural"])
    assert (tmp_path / "rgb_00000.npy").read_bytes() == b"kept"
    assert not list(tmp_path.glob(".*"))


def _cast(corners: np.ndarray, origin: np.ndarray, ray: np.ndarray) -> float:
    """Distance to the nearest triangle in units of the ray (Moeller & Trumbore 1997), inf for none."""
    a, b, c = corners.astype(np.float64).transpose(1, 0, 2)
    e1, e2 = b - a, c - a
    p = np.cross(ray, e2)
    det = (e1 * p).sum(1)
    with np.errstate(all="ignore"):
        s = origin - a
        u = (s * p).sum(1) / det
        q = np.cross(s, e1)
        v = (q @ ray) / det
        t = (e2 * q).sum(1) / det
        hit = (np.abs(det) > 1e-14) & (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    return float(t[hit].min()) if hit.any() else np.inf


@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_depth_is_that_of_rays_through_pixel_centres(number):
    scene, view = scenes.scene_of(3, number, SIZE, None)
    _, inverse = render.draw(scene, view, SIZE, np.random.default_rng(0))
    rng = np.random.default_rng(number)
    right = 0
    for row, column in rng.integers(0, SIZE, (25, 2)):
        ray = np.array([(column + 0.5 - SIZE / 2) / view.focal, (row + 0.5 - SIZE / 2) / view.focal, 1.0])
        z = _cast(scene.corners, view.place.astype(np.float64), view.turn.astype(np.float64).T @ ray)
        right += abs(inverse[row, column] - 1 / z) <= 2e-3 / z + 1e-7
    assert right >= 24  # one may graze an edge


def test_every_family_builds_a_scene_with_a_view():
    lib = scenes.library(3, 0, None)
    for name, (build, _) in scenes.FAMILIES.items():
        built = build(np.random.default_rng(8), lib)
        built.scene.prepare(lib.atlas)
        assert np.isfinite(built.scene.corners).all() and np.isfinite(built.scene.attributes).all(), name
        rng = np.random.default_rng(1)
        views = [scenes.random_view(rng, built, SIZE) for _ in range(60)]
        assert any(scenes.good(render.probe(built.scene, v, SIZE), built) for v in views), name


def test_a_view_is_level_unless_rolled():
    view = scenes.look(np.array([0, 0, 1.5]), np.array([3.0, 4.0, 1.5]), 0.0, 100.0)
    assert np.allclose(view.turn @ [0, 0, 1], [0, -1, 0], atol=1e-6)  # up is -y in the camera
    assert np.allclose(view.turn @ [0.6, 0.8, 0], [0, 0, 1], atol=1e-6)
    assert np.allclose(view.turn @ view.turn.T, np.eye(3), atol=1e-6)


def test_shadow_and_lamp_darken_and_brighten():
    lib = scenes.library(3, 0, None)
    light = render.Light(sun_toward=(0, 0, 1.0), sun=(2.0, 2.0, 2.0), occlusion=0.0, sky_up=(0.2,) * 3)
    scene = render.Scene(light)
    look = scene.material(lib.plain((0.5, 0.5, 0.5)))
    scene.add(scenes_mesh.quad((-5, -5, 0), (5, -5, 0), (5, 5, 0), (-5, 5, 0)), [look])
    scene.add(scenes_mesh.box((1, 1, 0.1), (0, 0, 1.5)), [look])
    scene.prepare(lib.atlas)
    scene.light_up((0, 0, 0), 4.0)
    points = [np.array([[0.0, 3.0]], np.float32), np.zeros((1, 2), np.float32), np.full((1, 2), 0.02, np.float32)]
    share = scene.sun_map.share(points, 0.03)
    assert share[0, 0] < 0.05 and share[0, 1] > 0.95


def test_boxes_are_closed_and_look_outward():
    part = scenes_mesh.boxes([[1.0, 2.0, 3.0]], [[2.0, 4.0, 6.0]])
    corners = part.corners.astype(np.float64)
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.isclose((corners[:, 0] * flat).sum() / 6, 48.0)  # divergence theorem: the volume
    assert ((flat * part.normals[:, 0]).sum(1) > 0).all()


def test_a_foreign_model_becomes_a_standing_thing(tmp_path):
    import zipfile

    obj = "mtllib a.mtl\nv 0 0 0\nv 2 0 0\nv 2 4 0\nv 0 4 2\nvt 0 0\nvt 1 0\nvt 1 1\n"
    obj += "usemtl red\nf 1/1 2/2 3/3\nf 1/1 3/3 4/2\n"
    catalogue = "name#1=Chair\nmodel#1=/a/a.obj\nwidth#1=50\ndepth#1=40\nheight#1=90\n"
    path = tmp_path / "x.sh3f"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", catalogue)
        archive.writestr("a/a.obj", obj)
        archive.writestr("a/a.mtl", "newmtl red\nKd 0.8 0.1 0.1\n")
    (tmp_path / "models").mkdir()
    with zipfile.ZipFile(path) as archive:
        scenes_models._convert_catalogue(archive, tmp_path / "models", "x")
    (tmp_path / "complete").write_text("ok")
    (found,) = scenes_models.load_models(tmp_path)
    model, _ = scenes_models.read_model(found)
    low, high = model.corners.reshape(-1, 3).min(0), model.corners.reshape(-1, 3).max(0)
    assert np.allclose(high - low, [0.5, 0.4, 0.9], atol=1e-5) and abs(low[2]) < 1e-6
    assert np.allclose(model.colors[0], [0.8, 0.1, 0.1])
    assert scenes_library.role_of(found) == "chair"


@pytest.mark.parametrize("kind", sorted(scenes_texture.KINDS))
def test_every_picture_is_a_picture(kind):
    image = scenes_texture.KINDS[kind][0](np.random.default_rng(2))
    assert image.shape == (scenes_texture.SIZE, scenes_texture.SIZE, 3) and image.dtype == np.uint8
    assert image.std() > 0.3
