"""Splat files: round trips, foreign files, axes, and files that are damaged or lie."""

from __future__ import annotations

import gzip
import json
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rilievo.errors import InputError
from rilievo.gaussians import SH_C0, rotate_quats, rotate_sh, turn_points
from rilievo.io import models
from rilievo.io.axes import YUP_FROM_ZUP
from rilievo.io.splats import FORMATS, losses, read_splats, write_splats
from rilievo.types import PointCloud
from splat_scenes import assert_same, colors, columns_of, foreign_ply, random_splats

FOREIGN = Path(__file__).parent / "foreign"
EXACT = {"place": 0.0, "log_scale": 1e-6, "opacity": 1e-7, "turn": 1e-5, "sh": 2e-6}
# What the bits of each format allow.
SPZ = {"place": 1e-6, "log_scale": 0.0313, "opacity": 0.002, "turn": 0.006, "sh": 0.25}
SOG = {"place": 1e-4, "log_scale": 0.02, "opacity": 0.002, "turn": 0.02, "sh": 0.05}


# round trips


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize(("format", "bounds"), [("ply", EXACT), ("glb", EXACT), ("spz", SPZ), ("sog", SOG)])
def test_what_is_written_is_read_again(format: str, bounds: dict, degree: int, tmp_path: Path) -> None:
    splats = random_splats(50, degree, antialiased=degree % 2 == 0)
    write_splats(tmp_path / f"a.{format}", splats)
    back = read_splats(tmp_path / f"a.{format}")
    assert_same(back, splats, **bounds)
    assert back.antialiased == splats.antialiased
    write_splats(tmp_path / f"b.{format}", splats)
    assert (tmp_path / f"a.{format}").read_bytes() == (tmp_path / f"b.{format}").read_bytes()


@pytest.mark.parametrize("format", ["ply", "glb", "sog"])
def test_origin_and_background_survive(format: str, tmp_path: Path) -> None:
    splats = random_splats(20, 1, background=(0.0, 0.25, 1.0), origin=np.array([512345.25, 5201234.5, 431.125]))
    write_splats(tmp_path / f"a.{format}", splats)
    back = read_splats(tmp_path / f"a.{format}")
    assert np.array_equal(back.origin, splats.origin) and back.background == splats.background
    assert np.abs(np.sort(back.means, 0) - np.sort(splats.means, 0)).max() < 1e-4
    assert losses(splats, format) == []
    assert losses(splats, "spz") == ["spz has no place for the origin (512345.25, 5201234.5, 431.125): add it yourself"]
    assert len(losses(splats, "splat")) == 2


def test_an_origin_nearby_is_added_so_that_every_program_sees_the_world(tmp_path: Path) -> None:
    splats = random_splats(20, 0, origin=np.array([3.0, -2.0, 1.0]))
    for format in FORMATS:
        write_splats(tmp_path / f"a.{format}", splats)
        back = read_splats(tmp_path / f"a.{format}")
        assert not back.origin.any()
        world = np.sort(splats.means + splats.origin, 0)
        assert np.abs(np.sort(back.means, 0) - world).max() < 1e-3


def test_splat_puts_what_matters_first(tmp_path: Path) -> None:
    splats = random_splats(40, 2)
    write_splats(tmp_path / "a.splat", splats)
    back = read_splats(tmp_path / "a.splat")
    weight = back.scales.astype(np.float64).prod(1) * back.opacities
    assert (np.diff(weight) <= 1e-2 * weight[:-1]).all()
    flat = replace(splats, sh=np.ascontiguousarray(splats.sh[:, :1]))
    assert_same(back, flat, place=0, log_scale=0, opacity=0.002, turn=0.03, sh=0.004)


def test_spz_keeps_small_things_small_and_refuses_what_is_too_far(tmp_path: Path) -> None:
    splats = random_splats(20, 0)
    for size in (1e-3, 1.0, 1e3, 1e6):
        write_splats(tmp_path / "a.spz", replace(splats, means=(size * splats.means).astype(np.float32)))
        back = read_splats(tmp_path / "a.spz")
        assert np.abs(back.means - size * splats.means).max() <= max(size * 2**-21, 2**-21)
    with pytest.raises(InputError, match="SPZ ends at 8388608"):
        write_splats(tmp_path / "b.spz", replace(splats, means=(1e8 * splats.means).astype(np.float32)))
    assert not (tmp_path / "b.spz").exists()


def test_what_spz_has_no_bits_for_is_told() -> None:
    splats = random_splats(20, 3)
    scales = splats.scales.copy()
    scales[3, 1], scales[7, 0] = 1e-6, 1e4
    assert losses(replace(splats, scales=scales), "spz") == [
        "spz holds lengths from 4.5e-05 to 380: 2 Gaussians are longer or shorter and were set to that "
        "(--scale brings a scene into range)"
    ]
    assert [losses(replace(splats, scales=scales), f) for f in ("ply", "sog", "glb")] == [[], [], []]


@pytest.mark.parametrize("format", FORMATS)
def test_one_gaussian_and_extreme_ones(format: str, tmp_path: Path) -> None:
    for n in (1, 2, 70):
        splats = random_splats(n, 3)
        extreme = replace(
            splats,
            scales=np.where(np.arange(3 * n).reshape(n, 3) % 2, np.float32(1e-30), np.float32(1e30)),
            opacities=(np.arange(n) % 2).astype(np.float32),
            sh=splats.sh * np.float32(1e4),
        )
        for value in (splats, extreme, replace(splats, means=0 * splats.means)):
            write_splats(tmp_path / f"a.{format}", value)
            back = read_splats(tmp_path / f"a.{format}")
            assert len(back.means) == n
            assert np.abs(np.sort(back.means, 0) - np.sort(value.means, 0)).max() < 1e-3
            assert np.abs(np.sort(back.opacities) - np.sort(value.opacities)).max() < 0.003


# files of other programs


@pytest.mark.parametrize("format", ["spz", "sog", "compressed.ply"])
def test_files_of_splat_transform_hold_the_same_scene(format: str) -> None:
    """Written from splats.ply by splat-transform 2.7.1 (SPZ version 4, SOG version 2, compressed PLY)."""
    truth = read_splats(FOREIGN / "splats.ply")
    bounds = {
        "place": 2e-3 if format == "compressed.ply" else 2e-4,
        "log_scale": 0.05,
        "opacity": 0.005,
        "turn": 0.03,
        "sh": 0.35,
    }
    assert_same(read_splats(FOREIGN / f"splats.{format}"), truth, **bounds)


def test_a_glb_of_splat_transform_stands_as_it_says() -> None:
    """That program takes PLY files to be y down and turns the scene half round z; reading turns y up to z up."""
    truth = read_splats(FOREIGN / "splats.ply")
    R = YUP_FROM_ZUP.T @ np.diag([-1.0, -1.0, 1.0])
    turned = replace(
        truth,
        means=turn_points(truth.means, R).astype(np.float32),
        quats=rotate_quats(truth.quats, R),
        sh=rotate_sh(truth.sh, R),
    )
    assert_same(read_splats(FOREIGN / "splats.glb"), turned, **(EXACT | {"place": 1e-6}))


def test_gsply_reads_what_we_write(tmp_path: Path) -> None:
    gsply = pytest.importorskip("gsply", reason="gsply is not installed (extra `dev`)")
    splats = random_splats(30, 3)
    write_splats(tmp_path / "a.ply", splats)
    ply = gsply.plyread(tmp_path / "a.ply")
    assert np.array_equal(ply.means, splats.means) and np.allclose(ply.quats, splats.quats, atol=1e-6)
    assert np.array_equal(ply.sh0, splats.sh[:, 0]) and np.array_equal(ply.shN, splats.sh[:, 1:])
    assert np.allclose(ply.scales, np.log(splats.scales), atol=1e-5)
    p = splats.opacities.astype(np.float64)
    assert np.allclose(np.ravel(ply.opacities), np.log(p / (1 - p)), atol=1e-4)
    write_splats(tmp_path / "a.spz", splats)
    spz = gsply.read_spz(str(tmp_path / "a.spz"))  # as it is in the file: y up, z back
    assert np.allclose(spz.means * [1, -1, -1], splats.means, atol=1e-6)
    dots = np.abs((spz.quats * [1, 1, -1, -1] * splats.quats).sum(1))
    assert dots.min() > 1 - 1e-5
    turned = replace(splats, sh=np.concatenate([spz.sh0[:, None], spz.shN], 1).astype(np.float32))
    for d in ([0.6, 0.48, 0.64], [-0.48, 0.8, -0.36]):
        assert np.abs(colors(turned, np.array(d) * [1, -1, -1]) - colors(splats, d)).max() < 0.25


@pytest.mark.parametrize("order", ["", "<", ">"])
@pytest.mark.parametrize("degree", range(4))
def test_foreign_plys_in_any_order_and_layout(order: str, degree: int, tmp_path: Path) -> None:
    splats = random_splats(15, degree, seed=4)
    columns = columns_of(splats, degree)
    kinds = {"extra": ("double", "f8"), "opacity": ("double", "f8")}
    data = foreign_ply(order, list(columns), np.column_stack(list(columns.values())), kinds=kinds)
    (tmp_path / "a.ply").write_bytes(data)
    back = read_splats(tmp_path / "a.ply")
    assert_same(back, splats, **(EXACT | {"log_scale": 1e-5}))
    assert np.abs(np.linalg.norm(back.quats, axis=1) - 1).max() < 1e-6
    assert not back.antialiased  # what nobody says is not assumed


@pytest.mark.parametrize(
    ("comment", "antialiased"),
    [
        ("SplatRenderMode: mip", True),
        ("splatrendermode:  MIP", True),
        ("antialiased 1", True),
        ("SplatRenderMode: default", False),
        ("antialiased 0", False),
        ("origin of this file: a phone", False),
    ],
)
def test_how_a_ply_says_it_was_trained(comment: str, antialiased: bool, tmp_path: Path) -> None:
    columns = columns_of(random_splats(3, 0), 0)
    data = foreign_ply("<", list(columns), np.column_stack(list(columns.values())), comment)
    (tmp_path / "a.ply").write_bytes(data)
    assert read_splats(tmp_path / "a.ply").antialiased == antialiased


def test_plys_with_plain_colours_doubles_or_flat_gaussians(tmp_path: Path) -> None:
    splats = random_splats(9, 0)
    columns = columns_of(splats, 0)
    for c, n in enumerate(("red", "green", "blue")):
        columns[n] = np.array([0, 51, 255] * 3)
        del columns[f"f_dc_{c}"]
    del columns["scale_2"]
    columns["x"] = columns["x"] + 4e6
    kinds = dict.fromkeys(("red", "green", "blue"), ("uchar", "u1")) | dict.fromkeys("xyz", ("double", "f8"))
    (tmp_path / "a.ply").write_bytes(
        foreign_ply("<", list(columns), np.column_stack(list(columns.values())), kinds=kinds)
    )
    back = read_splats(tmp_path / "a.ply")
    assert np.allclose(0.5 + SH_C0 * back.sh[:, 0, 0], np.array([0, 0.2, 1] * 3), atol=1e-6)
    assert np.abs(back.means[:, 0] + back.origin[0] - columns["x"]).max() < 1e-6
    assert (back.scales[:, 2] < 1e-3 * back.scales[:, :2].min(1)).all()


def old_spz(version: int, splats, sh_bytes: np.ndarray, extra: bytes = b"") -> bytes:
    """SPZ 1 or 2 by the book, one Gaussian after the other."""
    out = bytearray(struct.pack("<IIIBBBB", 0x5053474E, version, len(splats.means), splats.degree, 12, 1, 0))
    for m in splats.means * [1, -1, -1]:
        for v in m:
            fixed = round(float(v) * 4096).to_bytes(3, "little", signed=True)
            out += np.float16(v).tobytes() if version == 1 else fixed
    out += bytes(round(float(a) * 255) for a in splats.opacities)
    for dc in splats.sh[:, 0]:
        out += bytes(round(float(127.5 + 38.25 * v)) for v in dc)
    for s in splats.scales:
        out += bytes(round(float(16 * (np.log(v) + 10))) for v in s)
    for w, x, y, z in splats.quats:
        sign = 1 if w >= 0 else -1
        out += bytes(round(float(127.5 + 127.5 * sign * v)) for v in (x, -y, -z))
    return gzip.compress(bytes(out + sh_bytes.tobytes() + extra))


@pytest.mark.parametrize("version", [1, 2])
def test_old_spz(version: int, tmp_path: Path) -> None:
    splats = random_splats(25, 1)
    signs = np.array([-1, -1, 1])  # of the harmonics y, z, x where y and z turn round
    sh_bytes = np.round(128 + 128 * splats.sh[:, 1:] * signs[:, None]).astype(np.uint8)
    (tmp_path / "a.spz").write_bytes(old_spz(version, splats, sh_bytes, b"a vendor's extension"))
    back = read_splats(tmp_path / "a.spz")
    assert_same(back, splats, place=2e-3, log_scale=0.032, opacity=0.002, turn=0.1, sh=0.02)
    assert back.antialiased


def test_a_sog_in_a_folder(tmp_path: Path) -> None:
    splats = random_splats(30, 2)
    write_splats(tmp_path / "a.sog", splats)
    with zipfile.ZipFile(tmp_path / "a.sog") as archive:
        archive.extractall(tmp_path / "folder")
    assert_same(read_splats(tmp_path / "folder" / "meta.json"), splats, **SOG)
    (tmp_path / "folder" / "quats.webp").unlink()
    with pytest.raises(InputError, match=r"quats\.webp"):
        read_splats(tmp_path / "folder" / "meta.json")


# GLB


def glb_parts(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + size]), data[20 + size :]


def glb_with(path: Path, root: dict, rest: bytes) -> None:
    text = json.dumps(root).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 20 + len(text) + len(rest)) + struct.pack("<I4s", len(text), b"JSON")
    path.write_bytes(head + text + rest)


def test_a_glb_lies_with_the_mesh_and_follows_the_extension(tmp_path: Path) -> None:
    splats = random_splats(20, 1)
    write_splats(tmp_path / "a.glb", splats)
    as_points = models.read(tmp_path / "a.glb")  # a program that does not know the extension sees points
    assert isinstance(as_points, PointCloud) and np.allclose(as_points.points, splats.means, atol=1e-6)
    root, _ = glb_parts(tmp_path / "a.glb")
    primitive = root["meshes"][0]["primitives"][0]
    assert root["extensionsUsed"] == ["KHR_gaussian_splatting"] and primitive["mode"] == 0
    told = primitive["extensions"]["KHR_gaussian_splatting"]
    assert told["kernel"] == "ellipse" and told["colorSpace"] == "srgb_rec709_display"
    names = {n.removeprefix("KHR_gaussian_splatting:") for n in primitive["attributes"]}
    harmonics = {"SH_DEGREE_0_COEF_0", *(f"SH_DEGREE_1_COEF_{i}" for i in range(3))}
    assert names == {"POSITION", "COLOR_0", "ROTATION", "SCALE", "OPACITY"} | harmonics


def test_nodes_place_gaussians(tmp_path: Path) -> None:
    splats = random_splats(20, 3)
    write_splats(tmp_path / "a.glb", splats)
    root, rest = glb_parts(tmp_path / "a.glb")
    half = float(np.sqrt(0.5))
    root["nodes"][0] |= {"rotation": [0, half, 0, half], "scale": [2, 2, 2], "translation": [1, 2, 3]}
    glb_with(tmp_path / "b.glb", root, rest)
    # A quarter turn about y, which is our z; (1, 2, 3) with y up is (1, -3, 2) with z up.
    R = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    expected = replace(
        splats,
        means=(2 * turn_points(splats.means, R) + [1, -3, 2]).astype(np.float32),
        scales=2 * splats.scales,
        quats=rotate_quats(splats.quats, R),
        sh=rotate_sh(splats.sh, R),
    )
    assert_same(read_splats(tmp_path / "b.glb"), expected, **(EXACT | {"place": 1e-6}))
    for bad in ({"scale": [1, 2, 1]}, {"scale": [-1, 1, 1]}, {"children": [0]}):
        root["nodes"][0] = {"mesh": 0, **bad}
        glb_with(tmp_path / "c.glb", root, rest)
        with pytest.raises(InputError, match=r"stretches or mirrors|loop"):
            read_splats(tmp_path / "c.glb")


def test_glbs_that_are_something_else(tmp_path: Path) -> None:
    write_splats(tmp_path / "a.glb", random_splats(5, 0))
    root, rest = glb_parts(tmp_path / "a.glb")
    extension = root["meshes"][0]["primitives"][0]["extensions"]["KHR_gaussian_splatting"]
    extension["extensions"] = {"KHR_gaussian_splatting_compression_spz_2": {}}
    glb_with(tmp_path / "b.glb", root, rest)
    with pytest.raises(InputError, match="packed with KHR_gaussian_splatting_compression_spz_2") as told:
        read_splats(tmp_path / "b.glb")
    del root["meshes"][0]["primitives"][0]["extensions"], told
    glb_with(tmp_path / "b.glb", root, rest)
    with pytest.raises(InputError, match="does not hold Gaussian splats"):
        read_splats(tmp_path / "b.glb")
