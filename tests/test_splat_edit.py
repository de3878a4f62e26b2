"""Editing splats, and `rilievo export` and `rilievo info` of splats."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rilievo import geometry, kernels
from rilievo.cli import main
from rilievo.commands.splat_files import rotation
from rilievo.errors import InputError
from rilievo.gaussians import quaternion_from_rotation, rotate_sh, settle, sh_basis, sh_rotation
from rilievo.io.splats import FORMATS, read_splats, write_splats
from rilievo.project import Project
from rilievo.stages.splat_edit import CleanConfig, clean, count_views, crop, crop_sphere, merge, transform
from rilievo.types import Camera, Reconstruction, Splats
from splat_scenes import assert_same, colors, covariances, random_splats


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    q = rng.normal(size=4)
    return geometry.rotation_from_quaternion(q / np.linalg.norm(q))


def directions(rng: np.random.Generator, n: int) -> np.ndarray:
    d = rng.normal(size=(n, 3))
    return d / np.linalg.norm(d, axis=1, keepdims=True)


# harmonics


def test_the_basis_is_that_of_the_specification() -> None:
    """Values of KHR_gaussian_splatting's formulas at (2, 3, 6) / 7, worked out by hand."""
    basis = sh_basis(np.array([[2, 3, 6]]) / 7, 3)[0]
    expected = [
        *(0.2820947917738781, -0.4886025119029199 * 3 / 7, 0.4886025119029199 * 6 / 7, -0.4886025119029199 * 2 / 7),
        *(1.092548430592079 * 6 / 49, -1.092548430592079 * 18 / 49, 0.31539156525252 * 59 / 49),
        *(-1.092548430592079 * 12 / 49, 0.5462742152960395 * -5 / 49),
        *(-0.5900435899266435 * 3 * 3 / 343, 2.890611442640554 * 36 / 343, -0.4570457994644657 * 3 * 131 / 343),
        *(0.3731763325901154 * 6 * 33 / 343, -0.4570457994644657 * 2 * 131 / 343, 1.445305721320277 * 6 * -5 / 343),
        -0.5900435899266435 * 2 * -23 / 343,
    ]
    assert np.allclose(basis, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("degree", range(4))
def test_turned_coefficients_show_the_same_colours(degree: int) -> None:
    rng = np.random.default_rng(degree)
    for _ in range(20):
        R = random_rotation(rng)
        splats = random_splats(8, degree, seed=degree)
        turned = replace(splats, sh=rotate_sh(splats.sh, R))
        for d in directions(rng, 20):
            assert np.abs(colors(turned, R @ d) - colors(splats, d)).max() < 2e-6


def test_turning_harmonics_is_a_group() -> None:
    rng = np.random.default_rng(3)
    A, B = random_rotation(rng), random_rotation(rng)
    a, b = sh_rotation(A, 3), sh_rotation(B, 3)
    assert np.allclose(a @ b, sh_rotation(A @ B, 3), atol=1e-12)
    assert np.allclose(a @ a.T, np.eye(16), atol=1e-12)
    assert np.array_equal(np.round(sh_rotation(np.eye(3), 3), 12), np.eye(16))
    mirror = np.diag([1.0, -1.0, 1.0])  # harmonics odd in y change their sign
    signs = np.diag(np.round(sh_rotation(mirror, 3), 12))
    assert signs.tolist() == [1, -1, 1, 1, -1, -1, 1, 1, 1, -1, -1, -1, 1, 1, 1, 1]


@given(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(v * v for v in q) > 0.1))
def test_quaternions_of_rotations(q: tuple[float, ...]) -> None:
    unit = np.array(q) / np.linalg.norm(q)
    back = quaternion_from_rotation(geometry.rotation_from_quaternion(unit))
    assert back[0] >= 0 and abs(abs(back @ unit) - 1) < 1e-12


# transform


@pytest.mark.parametrize("degree", range(4))
def test_a_moved_scene_looks_the_same_from_a_moved_camera(degree: int) -> None:
    rng = np.random.default_rng(7)
    splats = random_splats(20, degree, origin=np.array([1.0, 2.0, 3.0]))
    scale, R, t = 2.5, random_rotation(rng), rng.normal(size=3)
    moved = transform(splats, scale, np.column_stack([R, t]))
    world = splats.means + splats.origin
    assert np.abs(moved.means + moved.origin - (scale * world @ R.T + t)).max() < 1e-5
    expected = scale**2 * R @ covariances(splats) @ R.T
    assert np.abs(covariances(moved) - expected).max() < 1e-5 * np.abs(expected).max()
    eye = rng.normal(size=3) * 5
    for i in range(20):
        before, after = world[i] - eye, moved.means[i] + moved.origin - (scale * R @ eye + t)
        seen = colors(splats, before / np.linalg.norm(before))[i]
        assert np.abs(colors(moved, after / np.linalg.norm(after))[i] - seen).max() < 1e-5
    back = transform(moved, 1 / scale, np.column_stack([R.T, -R.T @ t / scale]))
    assert_same(back, splats, place=1e-5, log_scale=1e-6, opacity=0, turn=1e-5, sh=1e-5)


def test_moving_far_away_keeps_the_shape() -> None:
    splats = random_splats(20, 1)
    far = transform(splats, 1.0, np.column_stack([np.eye(3), [4e6, -5e5, 80.0]]))
    assert np.array_equal(far.means, splats.means) and far.origin.tolist() == [4e6, -5e5, 80.0]
    assert np.array_equal(far.sh, splats.sh) and np.array_equal(far.quats, splats.quats)
    back = transform(far, 1.0, np.column_stack([np.eye(3), [-4e6, 5e5, -80.0]]))
    assert np.array_equal(back.means, splats.means) and not back.origin.any()


def test_settle_keeps_an_origin_only_where_it_is_needed() -> None:
    means = np.array([[0.0, 0, 0], [1, 1, 1]])
    assert not settle(means, np.array([10.0, 0, 0]))[1].any()
    assert settle(means, np.array([100.0, 0, 0]))[1].tolist() == [100, 0, 0]


@pytest.mark.parametrize(
    ("scale", "R"),
    [(0, np.eye(3)), (-1, np.eye(3)), (np.nan, np.eye(3)), (1, np.diag([1, 1, -1.0])), (1, 2 * np.eye(3))],
)
def test_what_is_no_similarity_is_refused(scale: float, R: np.ndarray) -> None:
    with pytest.raises(InputError, match="cannot be"):
        transform(random_splats(3, 0), scale, np.column_stack([R, np.zeros(3)]))


# crop, merge


def test_crop_keeps_what_lies_inside_in_the_world() -> None:
    splats = random_splats(200, 1, origin=np.array([100.0, 0, 0]))
    low, high = [99.5, -1, -1], [101, 0.5, 2]
    cut = crop(splats, low, high)
    world = splats.means.astype(np.float64) + splats.origin
    inside = ((world >= low) & (world <= high)).all(1)
    assert 0 < len(cut.means) < 200 and np.array_equal(cut.means, splats.means[inside])
    assert np.array_equal(cut.sh, splats.sh[inside]) and np.array_equal(cut.origin, splats.origin)
    ball = crop_sphere(splats, [100, 0, 0], 1.2)
    assert np.array_equal(ball.means, splats.means[np.linalg.norm(world - [100, 0, 0], axis=1) <= 1.2])


def test_crop_says_when_nothing_is_left_and_where_the_splats_are() -> None:
    splats = random_splats(5, 0)
    with pytest.raises(InputError, match="nothing is left") as caught:
        crop(splats, [50, 50, 50], [51, 51, 51])
    assert "they reach from (" in caught.value.hint
    with pytest.raises(InputError, match="nothing is left"):
        crop_sphere(splats, [0, 0, 0], -1)
    with pytest.raises(InputError, match="box to crop to is empty"):
        crop(splats, [1, 0, 0], [0, 1, 1])


def test_merge_puts_degrees_and_origins_together() -> None:
    a, b = random_splats(10, 1, seed=1), random_splats(12, 3, seed=2, origin=np.array([5.0, 0, 0]))
    both = merge([a, b])
    assert both.degree == 3 and len(both.means) == 22
    world = np.concatenate([a.means, b.means + b.origin])
    assert np.abs(both.means + both.origin - world).max() < 1e-6
    d = np.array([0.6, 0.48, 0.64])
    assert np.allclose(colors(both, d), np.concatenate([colors(a, d), colors(b, d)]), atol=1e-6)
    far = merge([replace(a, origin=np.array([4e6, 0, 0])), replace(b, origin=np.array([4e6 + 5, 0, 0]))])
    assert np.abs(far.means + far.origin - world - [4e6, 0, 0]).max() < 1e-6
    with pytest.raises(InputError, match="do not go together"):
        merge([a, replace(b, antialiased=False)])
    with pytest.raises(InputError, match="no splats"):
        merge([])


# clean


def wall(n: int = 40) -> Splats:
    """A flat n x n wall of Gaussians that touch, 1 wide, and 30 of a far, large background."""
    x, y = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n))
    rng = np.random.default_rng(0)
    far = directions(rng, 30) * 2.5 + 0.5
    means = np.concatenate([np.column_stack([x.ravel(), y.ravel(), 0 * x.ravel()]), far])
    scales = np.full((len(means), 3), 0.5 / n)
    scales[n * n :] = 0.9
    ones = np.ones(len(means))
    return Splats(
        means.astype(np.float32),
        np.tile(np.float32([1, 0, 0, 0]), (len(means), 1)),
        scales.astype(np.float32),
        (0.8 * ones).astype(np.float32),
        np.zeros((len(means), 1, 3), np.float32),
    )


def test_clean_takes_floaters_and_leaves_wall_and_background() -> None:
    scene = wall()
    floaters = replace(
        random_splats(9, 0), means=np.float32([[0.2 * i, 0.5, 0.4 + 0.11 * (i % 3)] for i in range(9)]),
        scales=np.full((9, 3), 0.004, np.float32), opacities=np.full(9, 0.9, np.float32),
    )  # fmt: skip
    giant = replace(floaters, means=np.zeros((9, 3), np.float32), scales=np.full((9, 3), 40, np.float32))
    faint = replace(floaters, means=scene.means[:9], opacities=np.full(9, 0.003, np.float32))
    both = merge([scene, floaters, giant, faint])
    done = clean(both)
    assert done.removed == {"transparent": 9, "giant": 9, "isolated": 9}
    assert np.array_equal(done.splats.means, scene.means)
    n = len(scene.means)
    assert done.reason.tolist() == [0] * n + [3] * 9 + [2] * 9 + [1] * 9
    off = clean(both, config=CleanConfig(min_opacity=0, giant=0, isolation=0))
    assert off.removed == {} and len(off.splats.means) == len(both.means)


def test_the_answer_of_clean_has_a_version() -> None:
    """Changing these numbers means raising CleanConfig.version."""
    assert CleanConfig.version == 1
    splats = random_splats(3000, 0, seed=5)
    assert clean(splats).removed == {"isolated": 27}
    harsh = CleanConfig(isolation=1.5, min_opacity=0.05, giant=0.02)
    assert clean(splats, config=harsh).removed == GOLDEN


GOLDEN = {"transparent": 100, "giant": 332, "isolated": 346}


def test_clean_gives_the_same_on_any_number_of_threads() -> None:
    splats = random_splats(3000, 0, seed=5)
    reasons = []
    for threads in (1, 2):
        kernels.set_num_threads(threads)
        reasons.append(clean(splats, config=CleanConfig(isolation=1.5)).reason)
    kernels.set_num_threads(0)
    assert np.array_equal(*reasons) and 0 < (reasons[0] == 3).sum() < 1000


def looking_down(num: int = 3) -> Reconstruction:
    """Cameras above the wall, 2 away, that see 1 x 1 of it around (0.5, 0.5)."""
    camera = Camera("SIMPLE_RADIAL", 100, 100, np.array([200.0, 50, 50, -0.01]))
    poses = np.stack([geometry.look_at(np.array([0.5, 0.5 - 1e-6, 2.0]), np.array([0.5, 0.5, 0])) for _ in range(num)])
    return Reconstruction(
        tuple(f"{i}.jpg" for i in range(num)), np.zeros(num, np.int32), (camera,), poses, np.zeros((0, 3)),
        np.zeros((0, 3), np.uint8), np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(0, np.int32),
        np.zeros((0, 2), np.float32),
    )  # fmt: skip


def test_what_no_photo_sees_goes_when_cameras_are_given() -> None:
    cameras = looking_down()
    points = np.array([[0.5, 0.5, 0], [0.05, 0.9, 0], [1.2, 0.5, 0], [0.5, 0.5, 1.9], [0.5, 0.5, 3], [0.5, 0.5, 2]])
    assert count_views(points, cameras).tolist() == [3, 3, 0, 3, 0, 0]
    scene = wall()
    done = clean(scene, cameras, config=CleanConfig(isolation=0))
    assert done.removed["unseen"] >= 20
    assert (count_views(done.splats.means.astype(np.float64), cameras) == 3).all()


def test_clean_refuses_to_leave_nothing() -> None:
    splats = replace(random_splats(20, 0), opacities=np.full(20, 0.001, np.float32))
    with pytest.raises(InputError, match="would leave nothing") as caught:
        clean(splats)
    assert caught.value.why == "transparent 20"
    assert len(clean(random_splats(1, 0), config=CleanConfig(giant=0)).splats.means) == 1


# commands


def run(*args: object) -> int:
    return main([str(a) for a in args])


@pytest.fixture
def scene_ply(tmp_path: Path) -> Path:
    splats = random_splats(300, 3, seed=9)
    means, opacities = splats.means.copy(), splats.opacities.copy()
    means[0], opacities[0] = 0, 0.001  # one for --clean
    write_splats(tmp_path / "in.ply", replace(splats, means=means, opacities=opacities))
    return tmp_path / "in.ply"


@pytest.mark.parametrize("format", [f for f in FORMATS if f != "ply"])
def test_export_converts_files(format: str, scene_ply: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / f"out.{format}"
    assert run("export", scene_ply, "-o", out, "--json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == {"files": [str(out)], "num_splats": 300, "removed": {}}
    assert ("one colour a Gaussian" in told.err) == (format == "splat")
    assert len(read_splats(out).means) == 300


def test_export_edits_in_the_order_it_says(scene_ply: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out.ply"
    box = "-1,-1,-1,1,1,1"
    options = ["--merge", scene_ply, "--crop", box, "--scale", "2", "--rotate", "z,90", "--translate", "0,0,10"]
    assert run("export", scene_ply, "-o", out, *options, "--quiet") == 0
    splats = read_splats(scene_ply)
    cut = crop(merge([splats, splats]), [-1, -1, -1], [1, 1, 1])
    R = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    expected = transform(cut, 2, np.column_stack([R, [0, 0, 10]]))
    back = read_splats(out)
    assert np.array_equal(back.means, expected.means) and np.array_equal(back.sh, expected.sh)
    assert run("export", scene_ply, "-o", tmp_path / "ball.ply", "--crop", "0,0,0,1", "--clean") == 0
    assert "left out: 1 transparent" in capsys.readouterr().err
    assert np.linalg.norm(read_splats(tmp_path / "ball.ply").means, axis=1).max() <= 1


def test_rotations_are_told_by_axis_or_three_angles() -> None:
    assert np.array_equal(rotation("x,90") @ [0, 1, 0], [0, 0, 1])
    assert np.array_equal(rotation("y,90") @ [0, 0, 1], [1, 0, 0])
    assert np.array_equal(rotation("90,0,90"), rotation("z,90") @ rotation("x,90"))
    assert np.allclose(rotation("z,30") @ [1, 0, 0], [np.sqrt(3) / 2, 0.5, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--crop", "1,2,3"], "error: cannot read --crop '1,2,3'"),
        (["--crop", "1,2,3,nan"], "error: cannot read --crop"),
        (["--rotate", "w,90"], "error: cannot read --rotate 'w,90'"),
        (["--translate", "1,2"], "error: cannot read --translate '1,2'"),
        (["--scale", "0"], "error: the splats cannot be moved like this"),
        (["--format", "stl"], "error: cannot write splats as stl"),
        (["--what", "mesh"], "is a file"),
        (["-o", "SAME"], "would be written over itself"),
        (["--merge", "nowhere.ply"], "error: cannot read nowhere.ply"),
    ],
)
def test_export_of_files_says_what_is_wrong(
    options: list[str], message: str, scene_ply: Path, capsys: pytest.CaptureFixture
) -> None:
    before = scene_ply.read_bytes()
    assert run("export", scene_ply, *[scene_ply if o == "SAME" else o for o in options]) == 1
    assert message in capsys.readouterr().err
    assert scene_ply.read_bytes() == before


def test_info_of_a_file(scene_ply: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("info", scene_ply) == 0
    assert "300 Gaussians, colours of degree 3, with the filter of Mip-Splatting" in capsys.readouterr().out
    assert run("info", scene_ply, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["num_splats"] == 300 and facts["degree"] == 3
    means = read_splats(scene_ply).means.astype(np.float64)
    assert facts["low"] == means.min(0).tolist() and facts["high"] == means.max(0).tolist()


def test_a_house_with_splats(tiny_house: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    house = tmp_path / "house"
    shutil.copytree(tiny_house, house)
    assert run("export", house, "--format", "spz") == 1
    assert f"make them with: rilievo splats {house}" in capsys.readouterr().err
    assert run("export", house, "--format", "ply", "--clean") == 1
    assert "only splats are edited" in capsys.readouterr().err
    project = Project(house, create=False)
    scene = project.named("cloud")
    splats = replace(random_splats(len(scene.points), 2), means=scene.points, origin=scene.origin)
    project.update(names={**project.read()["names"], "splats": project.put(splats)})
    for format in ("spz", "sog", "splat"):
        assert run("export", house, "--format", format, "--quiet") == 0
        assert len(read_splats(house / "export" / f"splats.{format}").means) == len(splats.means)
    assert run("export", house, "--format", "ply", "--what", "splats", "--clean", "--json") == 0
    told = json.loads(capsys.readouterr().out.split("\n", 3)[3])
    assert told["files"] == [str(house / "export" / "splats.ply")]
    assert told["num_splats"] + sum(told["removed"].values()) == len(splats.means)
    assert run("export", house, "-o", tmp_path / "model.glb") == 0  # a house with a mesh still exports it
    assert "KHR_gaussian_splatting" not in (tmp_path / "model.glb").read_bytes()[:2000].decode("latin-1")
