"""io.models: round trips, foreign files, the rules of each format, damage, disk full."""

from __future__ import annotations

import builtins
import errno
import importlib.util
import io
import json
import os
import shutil
import struct
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rilievo.errors import InputError, MissingError, ResourceError
from rilievo.io import models
from rilievo.io.axes import linear_from_srgb, srgb_from_linear, vertex_normals, yup, zup
from rilievo.io.files import replacing
from rilievo.types import Mesh, PointCloud

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
CUBE_FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 5, 7], [1, 7, 3]],
    np.int32,
)  # fmt: skip
MESH_ARRAYS = ("vertices", "faces", "normals", "confidence", "sigma", "inferred", "uvs", "texture")
CLOUD_ARRAYS = ("points", "normals", "colors", "confidence", "sigma", "spacing", "origin")


def textured_mesh(size: int = 64) -> Mesh:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    return Mesh(
        CUBE * np.float32([2, 1, 3]),
        CUBE_FACES,
        normals=vertex_normals(Mesh(CUBE, CUBE_FACES)),
        confidence=rng.random(8).astype(np.float32),
        sigma=rng.random(8).astype(np.float32),
        inferred=np.arange(12) < 2,
        uvs=rng.random((8, 2)).astype(np.float32),
        texture=np.stack([x * 255 // size, y * 255 // size, np.full_like(x, 90)], -1).astype(np.uint8),
    )


def cloud(n: int = 50, seed: int = 0) -> PointCloud:
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(n, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    points = rng.normal(size=(n, 3)).astype(np.float32)
    colors = rng.integers(0, 256, (n, 3), np.uint8)
    confidence, sigma, spacing = rng.random((3, n)).astype(np.float32)
    nothing = (np.zeros(n + 1, np.int64), np.zeros(0, np.int32))
    return PointCloud(points, normals, colors, confidence, sigma, spacing, (), *nothing)


def glb_parts(path: Path) -> tuple[dict, bytes]:
    """The two chunks of a GLB, after checking the container (glTF 2.0 specification, section 4)."""
    raw = path.read_bytes()
    assert struct.unpack_from("<4sII", raw) == (b"glTF", 2, len(raw))
    size, kind = struct.unpack_from("<I4s", raw, 12)
    assert kind == b"JSON" and size % 4 == 0
    size2, kind2 = struct.unpack_from("<I4s", raw, 20 + size)
    assert kind2 == b"BIN\0" and size2 % 4 == 0 and 28 + size + size2 == len(raw)
    return json.loads(raw[20 : 20 + size]), raw[28 + size :]


def check_glb(path: Path) -> dict[str, np.ndarray]:
    """Every rule of the specification that our files could break; returns the arrays by name."""
    root, blob = glb_parts(path)
    assert root["asset"]["version"] == "2.0"
    assert root["buffers"] == [{"byteLength": len(blob)}]
    end = 0
    for view in root["bufferViews"]:
        assert view["byteOffset"] % 4 == 0 and view["byteOffset"] >= end
        end = view["byteOffset"] + view["byteLength"]
        assert end <= len(blob)
    used = {e for m in root["materials"] for e in m.get("extensions", {})}
    assert used == set(root.get("extensionsUsed", []))
    (primitive,) = root["meshes"][0]["primitives"]
    named = dict(primitive["attributes"])
    if "indices" in primitive:
        named["indices"] = primitive["indices"]
    arrays = {}
    for name, index in named.items():
        a = root["accessors"][index]
        view = root["bufferViews"][a["bufferView"]]
        dtype = {5123: "<u2", 5125: "<u4", 5126: "<f4"}[a["componentType"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[a["type"]]
        values = np.frombuffer(blob, dtype, a["count"] * width, view["byteOffset"]).reshape(a["count"], width)
        assert values.nbytes == view["byteLength"]
        assert view["target"] == (34963 if name == "indices" else 34962)
        if name != "indices":
            assert (values.itemsize * width) % 4 == 0 and name.isupper()
            assert np.isfinite(values).all()
        arrays[name] = values
    position = root["accessors"][primitive["attributes"]["POSITION"]]
    assert position["min"] == [float(v) for v in arrays["POSITION"].min(0)]
    assert position["max"] == [float(v) for v in arrays["POSITION"].max(0)]
    assert len({len(v) for k, v in arrays.items() if k != "indices"}) == 1
    if "NORMAL" in arrays:
        assert np.abs(np.linalg.norm(arrays["NORMAL"], axis=1) - 1).max() < 5e-4
    if "indices" in arrays:
        top = arrays["indices"].max()
        assert top < len(arrays["POSITION"]) and top != np.iinfo(arrays["indices"].dtype).max
    for image in root.get("images", []):
        view = root["bufferViews"][image["bufferView"]]
        assert "target" not in view
        raw = blob[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        assert "image/" + str(Image.open(io.BytesIO(raw)).format).lower() == image["mimeType"]
    return arrays


# ---- axes and colours


def test_axes_turn_up_to_y_and_keep_handedness():
    axes = np.eye(3, dtype=np.float32)
    turned = yup(axes)
    assert np.array_equal(turned[2], [0, 1, 0])
    assert np.linalg.det(turned) == 1
    assert np.array_equal(zup(turned), axes)


def test_srgb_round_trip_is_exact():
    every = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
    assert np.array_equal(srgb_from_linear(np.round(linear_from_srgb(every) * 65535) / 65535), every)


# ---- PLY


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10))
def test_ply_cloud_round_trip(tmp_path_factory, n, seed):
    path = tmp_path_factory.mktemp("ply") / "c.ply"
    models.write(path, cloud(n, seed))
    back = models.read_cloud(path)
    for name in CLOUD_ARRAYS:
        assert np.array_equal(getattr(back, name), getattr(cloud(n, seed), name)), name


def test_ply_mesh_round_trip_with_texture(tmp_path):
    value = textured_mesh()
    assert [p.name for p in models.write(tmp_path / "m.ply", value)] == ["m.ply", "m.png"]
    back = models.read_mesh(tmp_path / "m.ply")
    for name in MESH_ARRAYS:
        assert np.array_equal(getattr(back, name), getattr(value, name)), name


def test_ply_with_origin_holds_world_coordinates_as_doubles(tmp_path):
    origin = np.array([4_512_345.678, 512_000.25, 120.125])
    models.write(tmp_path / "m.ply", replace(textured_mesh(), origin=origin, texture=None))
    raw = (tmp_path / "m.ply").read_bytes()
    assert b"property double x" in raw
    back = models.read_mesh(tmp_path / "m.ply")
    assert np.array_equal(back.origin, origin)
    assert np.array_equal(back.vertices, textured_mesh().vertices)
    # a program that knows no origin comment sees world coordinates
    (tmp_path / "foreign.ply").write_bytes(raw.replace(b"comment origin", b"comment xrigin"))
    foreign = models.read_mesh(tmp_path / "foreign.ply")
    assert np.abs(foreign.vertices + foreign.origin - (textured_mesh().vertices + origin)).max() < 1e-6


def test_ply_written_here_is_read_by_trimesh(tmp_path):
    import trimesh

    value = textured_mesh()
    models.write(tmp_path / "m.ply", value)
    other = trimesh.load(tmp_path / "m.ply", process=False)
    assert np.allclose(other.vertices, value.vertices) and np.array_equal(other.faces, value.faces)


@pytest.mark.parametrize("order", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_foreign_polygons(tmp_path, order):
    head = (
        f"ply\nformat {order} 1.0\ncomment by hand\nelement vertex 5\nproperty double x\nproperty float y\n"
        "property float z\nproperty uchar red\nproperty uchar green\nproperty uchar blue\nelement face 2\n"
        "property list uchar uint vertex_index\nend_header\n"
    )
    vertices = [(0, 0, 0, 1, 2, 3), (1, 0, 0, 4, 5, 6), (1, 1, 0, 7, 8, 9), (0, 1, 0, 1, 1, 1), (2, 2, 2, 9, 9, 9)]
    polygons = [(0, 1, 2, 3), (0, 1, 4)]
    if order == "ascii":
        body = "".join(" ".join(map(str, v)) + "\n" for v in vertices)
        body += "".join(f"{len(p)} " + " ".join(map(str, p)) + "\n" for p in polygons)
        raw = (head + body).encode()
    else:
        o = "<" if "little" in order else ">"
        raw = head.encode() + b"".join(struct.pack(o + "dffBBB", *v) for v in vertices)
        raw += b"".join(struct.pack(f"{o}B{len(p)}I", len(p), *p) for p in polygons)
    (tmp_path / "f.ply").write_bytes(raw)
    mesh = models.read_mesh(tmp_path / "f.ply")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 4]]
    assert mesh.colors is not None and mesh.colors[2].tolist() == [7, 8, 9]
    for cut in (len(raw) - 3, len(head) + 5, 40):
        (tmp_path / "cut.ply").write_bytes(raw[:cut])
        with pytest.raises(InputError, match=r"cannot read .*cut\.ply"):
            models.read(tmp_path / "cut.ply")


# ---- GLB


@pytest.mark.parametrize("quality", [92, 100])
def test_glb_textured(tmp_path, quality):
    value = textured_mesh()
    models.write(tmp_path / "m.glb", value, jpeg_quality=quality)
    arrays = check_glb(tmp_path / "m.glb")
    assert np.array_equal(arrays["POSITION"], yup(value.vertices))
    root, _ = glb_parts(tmp_path / "m.glb")
    assert root["extensionsUsed"] == ["KHR_materials_unlit"]
    assert 0 < root["meshes"][0]["extras"]["inferred_share"] < 0.5
    back = models.read_mesh(tmp_path / "m.glb")
    assert np.array_equal(back.vertices, value.vertices) and np.array_equal(back.faces, value.faces)
    assert np.abs(back.uvs - value.uvs).max() < 1e-6
    assert np.array_equal(back.confidence, value.confidence) and np.array_equal(back.sigma, value.sigma)
    assert np.abs(back.texture.astype(int) - value.texture).max() <= (0 if quality == 100 else 12)


def test_glb_texture_sits_where_the_mesh_has_it(tmp_path):
    """v runs up in our texture coordinates and down in glTF: another program must find the same colours."""
    import trimesh

    value = textured_mesh()
    models.write(tmp_path / "m.glb", value, jpeg_quality=100)
    other = trimesh.load(tmp_path / "m.glb", process=False, force="mesh")
    theirs = other.visual.material.to_color(other.visual.uv)[:, :3]
    h, w, _ = value.texture.shape
    x, y = value.uvs[:, 0] * w, (1 - value.uvs[:, 1]) * h
    ours = value.texture[np.clip(y.astype(int), 0, h - 1), np.clip(x.astype(int), 0, w - 1)]
    assert np.abs(theirs.astype(int) - ours).max() <= 8  # a texel or so apart on a ramp of 4 a texel


def test_glb_colors_and_unknown_sigma(tmp_path):
    colors = np.random.default_rng(1).integers(0, 256, (8, 3), np.uint8)
    value = Mesh(CUBE, CUBE_FACES, colors=colors, sigma=np.array([np.nan] * 4 + [1] * 4, np.float32))
    models.write(tmp_path / "m.glb", value)
    check_glb(tmp_path / "m.glb")
    back = models.read_mesh(tmp_path / "m.glb")
    assert np.array_equal(back.colors, colors)
    assert np.array_equal(back.sigma, value.sigma, equal_nan=True)


def test_glb_without_colour_is_lit(tmp_path):
    models.write(tmp_path / "m.glb", Mesh(CUBE, CUBE_FACES))
    assert "NORMAL" in check_glb(tmp_path / "m.glb")
    assert "extensionsUsed" not in glb_parts(tmp_path / "m.glb")[0]


def test_glb_cloud(tmp_path):
    models.write(tmp_path / "c.glb", cloud())
    assert "indices" not in check_glb(tmp_path / "c.glb")
    back = models.read_cloud(tmp_path / "c.glb")
    assert np.array_equal(back.points, cloud().points) and np.array_equal(back.colors, cloud().colors)


def test_glb_of_many_vertices_has_32_bit_indices(tmp_path):
    n = 65_536
    vertices = np.random.default_rng(0).random((n, 3)).astype(np.float32)
    faces = np.array([[0, 1, n - 1]], np.int32)
    models.write(tmp_path / "m.glb", Mesh(vertices, faces))
    assert check_glb(tmp_path / "m.glb")["indices"].dtype == np.uint32
    assert np.array_equal(models.read_mesh(tmp_path / "m.glb").faces, faces)
    models.write(tmp_path / "s.glb", Mesh(vertices[:-1], faces - np.int32([0, 0, 1])))
    assert check_glb(tmp_path / "s.glb")["indices"].dtype == np.uint16


@pytest.mark.parametrize("ending", ["glb", "obj", "stl"])
def test_far_origin_is_named_and_near_origin_is_added(tmp_path, ending):
    far = replace(textured_mesh(), origin=np.array([500_000.0, 4e6, 100.0]))
    models.write(tmp_path / f"far.{ending}", far)
    assert np.array_equal(models.read_mesh(tmp_path / f"far.{ending}").origin, far.origin)
    near = replace(textured_mesh(), origin=np.array([1.0, 2.0, 4.0]))
    models.write(tmp_path / f"near.{ending}", near)
    back = models.read_mesh(tmp_path / f"near.{ending}")
    assert not back.origin.any()
    assert np.array_equal(back.vertices[back.faces], near.vertices[near.faces] + np.float32([1, 2, 4]))


def test_glb_nodes_are_placed(tmp_path):
    import trimesh

    scene = trimesh.Scene()
    box = trimesh.creation.box()
    turn = trimesh.transformations.rotation_matrix(0.5, [1, 2, 3], [0, 1, 0])
    scene.add_geometry(box, transform=turn)
    scene.add_geometry(box, transform=trimesh.transformations.translation_matrix([5, 6, 7]))
    (tmp_path / "t.glb").write_bytes(scene.export(file_type="glb"))
    mesh = models.read_mesh(tmp_path / "t.glb")
    expected = zup(np.concatenate([trimesh.transform_points(box.vertices, turn), box.vertices + [5, 6, 7]]))
    assert np.abs(np.sort(mesh.vertices, 0) - np.sort(expected, 0)).max() < 1e-5
    assert len(mesh.faces) == 24


def test_glb_damaged(tmp_path):
    models.write(tmp_path / "m.glb", textured_mesh())
    raw = (tmp_path / "m.glb").read_bytes()
    wrong = (raw.replace(b'"count":8', b'"count":9'), raw.replace(b'"POSITION"', b'"POSITIOM"'))
    for bad in (raw[:-10], b"no", raw[:30], *wrong):
        (tmp_path / "bad.glb").write_bytes(bad)
        with pytest.raises(InputError, match=r"cannot read bad\.glb"):
            models.read(tmp_path / "bad.glb")


def test_empty_or_broken_models_are_refused(tmp_path):
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    with pytest.raises(InputError) as e:
        models.write(tmp_path / "e.glb", empty)
    assert e.value.why == "the model is empty, and glTF has no empty models"
    with pytest.raises(InputError) as e:
        models.write(tmp_path / "e.glb", Mesh(CUBE * np.float32(np.nan), CUBE_FACES))
    assert "not finite" in e.value.why
    for ending in ("ply", "obj", "stl"):
        models.write(tmp_path / f"e.{ending}", empty)
    assert len(models.read_cloud(tmp_path / "e.ply").points) == 0


def test_khronos_validator_finds_nothing(tmp_path):
    """Runs where Node can find the package gltf-validator (NODE_PATH)."""
    node = shutil.which("node")
    probe = node and subprocess.run([node, "-e", "require('gltf-validator')"], capture_output=True, check=False)
    if not node or not probe or probe.returncode:
        pytest.skip("the Khronos validator is not here (npm package gltf-validator)")
    models.write(tmp_path / "a.glb", textured_mesh())
    models.write(tmp_path / "b.glb", cloud())
    models.write(tmp_path / "c.glb", Mesh(CUBE, CUBE_FACES, colors=np.full((8, 3), 200, np.uint8)))
    models.write(tmp_path / "d.glb", replace(textured_mesh(), origin=np.array([5e5, 4e6, 0])), jpeg_quality=100)
    script = """
const v = require('gltf-validator'), fs = require('fs');
v.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])), {maxIssues: 20})
 .then(r => console.log(JSON.stringify(r.issues)));
"""
    for name in "abcd":
        out = subprocess.run([node, "-e", script, str(tmp_path / f"{name}.glb")], capture_output=True, check=True)
        issues = json.loads(out.stdout)
        assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues


# ---- OBJ and STL


@pytest.mark.parametrize("quality", [92, 100])
def test_obj_round_trip(tmp_path, quality):
    value = textured_mesh()
    names = [p.name for p in models.write(tmp_path / "m.obj", value, jpeg_quality=quality)]
    assert names == ["m.obj", "m.mtl", "m.png" if quality == 100 else "m.jpg"]
    back = models.read_mesh(tmp_path / "m.obj")
    assert np.array_equal(back.vertices[back.faces], value.vertices[value.faces])
    assert np.array_equal(back.uvs[back.faces], value.uvs[value.faces])
    assert np.abs(back.normals[back.faces] - value.normals[value.faces]).max() < 1e-5
    assert np.abs(back.texture.astype(int) - value.texture).max() <= (0 if quality == 100 else 12)


def test_obj_colors_and_foreign_quads(tmp_path):
    value = Mesh(CUBE, CUBE_FACES, colors=np.arange(24, dtype=np.uint8).reshape(8, 3) * 10)
    models.write(tmp_path / "c.obj", value)
    back = models.read_mesh(tmp_path / "c.obj")
    assert np.array_equal(back.colors, value.colors) and np.array_equal(back.faces, value.faces)
    (tmp_path / "q.obj").write_text("o x\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf -4 -3 -2 -1\n")
    assert models.read_mesh(tmp_path / "q.obj").faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    for bad in ("v 0 0 0\nf 1 2 3\n", "v 0 0\nf 1 1 1\n", "hello\n"):
        (tmp_path / "b.obj").write_text(bad)
        with pytest.raises(InputError):
            models.read(tmp_path / "b.obj")


def test_stl_round_trip(tmp_path):
    value = textured_mesh()
    models.write(tmp_path / "m.stl", value)
    assert (tmp_path / "m.stl").stat().st_size == 84 + 50 * 12
    back = models.read_mesh(tmp_path / "m.stl")
    assert len(back.vertices) == 8
    assert np.array_equal(back.vertices[back.faces], value.vertices[value.faces])
    lines = ["solid x", "facet normal 0 0 1", "outer loop", "vertex 0 0 0", "vertex 1 0 0", "vertex 0 1 0", "endloop"]
    (tmp_path / "a.stl").write_text("\n".join(lines))
    assert models.read_mesh(tmp_path / "a.stl").faces.shape == (1, 3)
    (tmp_path / "b.stl").write_bytes(b"not a mesh at all" * 10)
    with pytest.raises(InputError) as e:
        models.read(tmp_path / "b.stl")
    assert "not an STL file" in e.value.why


# ---- USDZ


def test_usdz_needs_its_package(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "pxr":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingError) as e:
        models.write(tmp_path / "m.usdz", textured_mesh())
    assert e.value.hint == 'pip install "rilievo[usd]"'


def test_usdz_package_is_aligned_and_a_valid_zip():
    from rilievo.io.usd import package

    files = [("model.usdc", b"x" * 1001), ("textures/surface.jpg", b"y" * 77), ("n" * 30, b"")]
    raw = package(files)
    with zipfile.ZipFile(io.BytesIO(raw)) as z:
        assert z.testzip() is None
        for (name, content), row in zip(files, z.infolist()):
            assert row.filename == name and z.read(name) == content and row.compress_type == zipfile.ZIP_STORED
            (extra,) = struct.unpack_from("<H", raw, row.header_offset + 28)
            assert (row.header_offset + 30 + len(name) + extra) % 64 == 0


@pytest.mark.skipif(importlib.util.find_spec("pxr") is None, reason="usd-core is not installed (extra: usd)")
def test_usdz_opens(tmp_path):
    from pxr import Usd, UsdGeom

    value = textured_mesh()
    models.write(tmp_path / "m.usdz", value)
    stage = Usd.Stage.Open(str(tmp_path / "m.usdz"))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/model/surface"))
    assert np.array_equal(np.array(mesh.GetPointsAttr().Get()), yup(value.vertices))


# ---- the table and the disk


def test_unknown_formats_have_a_helpful_message(tmp_path):
    with pytest.raises(InputError) as e:
        models.write(tmp_path / "m.xyz", textured_mesh())
    assert str(e.value) == (
        "error: cannot tell what m.xyz is to be\nwhy:   the format 'xyz' is not known\n"
        "hint:  formats: glb, obj, ply, stl, usdz"
    )
    with pytest.raises(InputError) as e:
        models.write(tmp_path / "m.stl", cloud())
    assert e.value.hint == "use glb or ply"
    with pytest.raises(InputError) as e:
        models.read(tmp_path / "m.usdz")
    assert e.value.why == "usdz is written only"
    with pytest.raises(InputError) as e:
        models.read(tmp_path / "absent.ply")
    assert e.value.why == "there is no such file"
    models.write(tmp_path / "model", textured_mesh(), format="stl")
    assert (tmp_path / "model").stat().st_size == 84 + 50 * 12


@pytest.mark.parametrize("ending", ["glb", "ply", "obj", "stl"])
def test_disk_full_leaves_the_old_file(tmp_path, monkeypatch, ending):
    path = tmp_path / f"m.{ending}"
    path.write_text("old")

    def full(self, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ResourceError) as e:
        models.write(path, replace(textured_mesh(), texture=None))
    assert e.value.why == "the disk is full"
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_failed_body_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), replacing(tmp_path / "x") as f:
        f.write(b"half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_same_bytes_every_time(tmp_path):
    for ending in ("glb", "ply", "obj", "stl"):
        models.write(tmp_path / f"a.{ending}", textured_mesh())
        first = (tmp_path / f"a.{ending}").read_bytes()
        models.write(tmp_path / f"a.{ending}", textured_mesh())
        assert (tmp_path / f"a.{ending}").read_bytes() == first
