import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest

from rilievo import geometry, kernels
from rilievo.chain import Chain
from rilievo.errors import InputError
from rilievo.placed import load_placed
from rilievo.plan import BuildSettings
from rilievo.project import Project
from rilievo.stages import splat_surface as ss
from rilievo.stages.depth_filter import CheckConfig
from rilievo.stages.splat_start import turn_z_to
from rilievo.stages.splats_render import SplatRenderer
from rilievo.types import Camera, DepthMap, Reconstruction, Splats, View

SIZE = 120
CAMERA = Camera("PINHOLE", SIZE, SIZE, np.array([150.0, 150.0, 60.0, 60.0]))
RANGE = (0.5, 6.0)


def look_at(eye, target=(0.0, 0.0, 0.0)):
    eye, target = np.asarray(eye, np.float64), np.asarray(target, np.float64)
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, [0, 0, 1.0]) if abs(z[2]) < 0.99 else np.array([1.0, 0, 0])
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    return np.concatenate([R, (-R @ eye)[:, None]], 1)


FRONT = look_at((0, -3, 0.0))


def discs(points, normals, radius, *, seed=0, opacity=0.95, colors=None):
    """Flat Gaussians on a surface, of random colours: texture."""
    n = len(points)
    rng = np.random.default_rng(seed)
    rgb = rng.uniform(0.1, 0.9, (n, 3)) if colors is None else np.broadcast_to(colors, (n, 3))
    scales = np.tile([radius, radius, 0.05 * radius], (n, 1))
    return Splats(
        np.asarray(points, np.float32),
        turn_z_to(normals).astype(np.float32),
        scales.astype(np.float32),
        np.full(n, opacity, np.float32),
        ((rgb - 0.5) / 0.28209479177387814)[:, None].astype(np.float32),
    )


def together(*parts):
    columns = {
        f: np.concatenate([getattr(p, f) for p in parts]) for f in ("means", "quats", "scales", "opacities", "sh")
    }
    return replace(parts[0], **columns)


def plane(slope=0.6, n=6000):
    """Discs on y = slope * x, seen along y."""
    rng = np.random.default_rng(1)
    x, z = rng.uniform(-2, 2, (2, n))
    normal = np.array([slope, -1, 0]) / np.hypot(slope, 1)
    return discs(np.stack([x, slope * x, z], 1), np.tile(normal, (n, 1)), 0.05)


def sphere(n=5000):
    at = np.random.default_rng(2).normal(size=(n, 3))
    at /= np.linalg.norm(at, axis=1, keepdims=True)
    return discs(at, at, 0.04)


def rod(x=0.0, y=-0.6, n=900):
    """A rod of radius 0.03, upright: four pixels wide."""
    rng = np.random.default_rng(3)
    turn, z = rng.uniform(0, 2 * np.pi, n), rng.uniform(-0.7, 0.7, n)
    out = np.stack([np.cos(turn), np.sin(turn), 0 * z], 1)
    return discs(0.03 * out + np.stack([0 * z + x, 0 * z + y, z], 1), out, 0.01, colors=[0.7, 0.1, 0.1])


def view(splats, cam_from_world=FRONT, name="a", camera=CAMERA, **values):
    return View(name, SplatRenderer(splats).picture(camera, cam_from_world), camera, cam_from_world, **values)


def rays(cam_from_world):
    """Directions (h, w, 3) in the world of depth 1, and the centre."""
    x, y = np.meshgrid((np.arange(SIZE) + 0.5 - 60) / 150, (np.arange(SIZE) + 0.5 - 60) / 150)
    R, t = cam_from_world[:, :3], cam_from_world[:, 3]
    return np.stack([x, y, np.ones_like(x)], -1) @ R, -R.T @ t


def test_depth_and_normals_of_a_slanted_plane():
    splats = plane()
    found = ss.splat_depth(splats, view(splats), RANGE)
    d, eye = rays(FRONT)
    normal = np.array([0.6, -1, 0])
    true = -(normal @ eye) / (d @ normal)
    known = np.isfinite(found.depth)
    footprint = true / 150
    assert known[10:-10, 10:-10].mean() > 0.98
    off = np.abs(found.depth - true)[known] / footprint[known]
    assert np.quantile(off, 0.95) < 0.5  # the depth of centres would be off by 3 px here: discs of 0.05, a slope of 0.6
    toward = found.normals[known] @ FRONT[:, :3]
    assert np.quantile(toward @ (normal / np.linalg.norm(normal)), 0.05) > 0.99
    assert (np.abs(np.linalg.norm(found.normals[known], axis=1) - 1) < 1e-5).all()
    assert (off < 2 * found.sigma[known] / footprint[known]).mean() > 0.95
    assert np.isnan(found.normals[~known]).all() and np.isnan(found.sigma[~known]).all()
    assert (found.confidence[~known] == 0).all() and np.median(found.confidence[known]) > 0.9
    assert found.inferred is None


def test_origin_and_camera_far_from_zero_give_the_same_depth():
    splats, far = plane(), np.array([4.5e5, -2e5, 300.0])
    there = replace(splats, origin=far)
    moved = FRONT.copy()
    moved[:, 3] -= moved[:, :3] @ far
    a = ss.splat_depth(splats, view(splats), RANGE)
    b = ss.splat_depth(there, replace(view(splats), cam_from_world=moved), RANGE)
    assert np.allclose(a.depth, b.depth, rtol=1e-5, equal_nan=True)


def test_depth_of_a_sphere_and_nothing_beside_it():
    splats = sphere()
    found = ss.splat_depth(splats, view(splats), RANGE)
    d, eye = rays(FRONT)
    a, b, c = (d * d).sum(-1), d @ eye, eye @ eye - 1
    square = b * b - a * c
    true = np.where(square > 0, (-b - np.sqrt(np.maximum(square, 0))) / a, np.nan)
    known = np.isfinite(found.depth)
    inner = square > 0.8
    assert known[inner].mean() > 0.97
    assert np.quantile(np.abs(found.depth - true)[known & inner], 0.95) < 0.015
    assert not known[square < -1.0].any()


def test_a_thin_rod_survives_and_completes_stereo_that_looked_past_it():
    splats = together(plane(0.0), rod())
    eyes = [(x, -3.0, z) for x in (-0.5, 0.0, 0.5) for z in (-0.3, 0.3)]
    views = [view(splats, look_at(e), str(k)) for k, e in enumerate(eyes)]
    maps = [ss.splat_depth(splats, v, RANGE) for v in views]
    config = CheckConfig(min_piece_px=20)
    for k in (0, 3):
        checked = ss.check_splat_depth(maps[k], (m for m in maps if m is not maps[k]), config=config)
        d, eye = rays(views[k].cam_from_world)
        # How far rays pass the rod's axis (0, -0.6), and where.
        beside = np.abs(d[..., 0] * (-0.6 - eye[1]) + d[..., 1] * eye[0]) / np.linalg.norm(d[..., :2], axis=-1)
        depth = (-0.6 - eye[1]) / d[..., 1]
        on = (beside < 0.02) & (np.abs(d[..., 2] * depth + eye[2]) < 0.65)
        assert on.sum() > 100
        good = np.abs(checked.depth - depth) < 0.06
        assert good[on].mean() > 0.9
        # Stereo saw the wall everywhere: the rod is put in front of it, the wall stays as it was.
        behind = ((0 - eye[1]) / d[..., 1]).astype(np.float32)
        stereo = DepthMap(
            str(k), CAMERA, views[k].cam_from_world, behind, np.tile(np.float32([0, 0, -1]), (SIZE, SIZE, 1)),
            np.full((SIZE, SIZE), 0.9, np.float32), 0.002 * behind,
        )  # fmt: skip
        both = ss.add_depth(stereo, checked)
        assert (np.abs(both.depth - depth) < 0.06)[on].mean() > 0.9
        off = beside > 0.08
        assert (both.depth == behind)[off].mean() > 0.995
        assert (checked.sigma >= maps[k].sigma)[np.isfinite(checked.depth)].all()


def test_splats_fill_what_stereo_does_not_know_or_guesses():
    splats = plane()
    mine = ss.splat_depth(splats, view(splats), RANGE)
    unsure = replace(mine, sigma=mine.sigma + np.float32(0.2))
    depth = np.full((SIZE, SIZE), 3.0, np.float32)
    depth[:, :40] = np.nan
    guess = np.zeros((SIZE, SIZE), bool)
    guess[:, 40:60] = True
    normals = np.where(np.isfinite(depth)[..., None], np.float32([0, 0, -1]), np.float32(np.nan))
    ones = np.where(np.isfinite(depth), np.float32(1), np.float32(0))
    stereo = DepthMap("a", CAMERA, FRONT, depth, normals, ones, 0.01 * depth, inferred=guess)
    both = ss.add_depth(stereo, mine)
    known = np.isfinite(mine.depth)
    assert (both.depth == mine.depth)[:, :60][known[:, :60]].mean() > 0.98
    assert both.inferred is not None and not (both.inferred & known).any()
    assert np.array_equal(ss.add_depth(stereo, unsure).depth, depth, equal_nan=True)
    with pytest.raises(ValueError, match="60"):
        half = {f: getattr(stereo, f)[:60, :60] for f in ("depth", "normals", "confidence", "sigma", "inferred")}
        ss.add_depth(replace(stereo, **half), mine)


def sky_scene():
    """A sphere before a sky dome of one colour, some of whose Gaussians ended up near the sphere."""
    rng = np.random.default_rng(4)
    at = rng.normal(size=(3000, 3))
    at /= np.linalg.norm(at, axis=1, keepdims=True)
    dome = discs(12 * at, at, 0.6, colors=[0.6, 0.7, 0.9])
    near = np.stack([rng.uniform(1.4, 1.6, 60), rng.uniform(-0.2, 0.2, 60), rng.uniform(-0.2, 0.2, 60)], 1)
    return together(sphere(), dome, discs(near, np.tile([0.0, -1, 0], (60, 1)), 0.05, colors=[0.6, 0.7, 0.9]))


def test_sky_is_no_surface_nor_are_its_gaussians_near_the_scene():
    splats = sky_scene()
    back = look_at((0, -4.5, 0))
    shown = view(splats, back)
    found = ss.splat_depth(splats, shown, (0.5, 8.0))
    d, eye = rays(back)
    square = (d @ eye) ** 2 - (d * d).sum(-1) * (eye @ eye - 1)
    known = np.isfinite(found.depth)
    assert known[square > 0.5].mean() > 0.97
    assert not known[square < -0.9].any()
    # Without the rule for patches the near ones would be there: this is what the test is about.
    loose = ss.splat_depth(splats, shown, (0.5, 8.0), config=ss.SplatDepthConfig(max_beyond=1.0))
    assert np.isfinite(loose.depth[square < -0.9]).sum() > 50
    # And without a range of depths the dome would be.
    dome = ss.splat_depth(splats, shown, (0.5, 50.0), config=ss.SplatDepthConfig(max_beyond=1.0))
    assert np.isfinite(dome.depth[square < -0.9]).mean() > 0.5


def test_masked_and_transparent_pixels_have_no_depth():
    splats = plane()
    mask = np.ones((SIZE, SIZE), bool)
    mask[:, :30] = False
    alpha = np.full((SIZE, SIZE), 255, np.uint8)
    alpha[:40] = 0
    masked = ss.splat_depth(splats, view(splats, mask=mask), RANGE)
    cut = ss.splat_depth(splats, view(splats, alpha=alpha), RANGE)
    assert np.isnan(masked.depth[:, :30]).all() and np.isfinite(masked.depth[20:-20, 40:-20]).mean() > 0.98
    assert np.isnan(cut.depth[:40]).all() and np.isfinite(cut.depth[50:-20, 20:-20]).mean() > 0.98


def test_same_bytes_for_any_number_of_threads():
    splats = sky_scene()
    maps = []
    for threads in (1, 2, 1):
        kernels.set_num_threads(threads)
        maps.append(ss.splat_depth(splats, view(splats), RANGE))
    for other in maps[1:]:
        for f in ("depth", "normals", "confidence", "sigma"):
            assert getattr(maps[0], f).tobytes() == getattr(other, f).tobytes(), f


def test_bad_input_is_told():
    splats = plane()
    shown = view(splats)
    empty = replace(splats, **{f: getattr(splats, f)[:0] for f in ("means", "quats", "scales", "opacities", "sh")})
    with pytest.raises(InputError, match="no surface in the splats"):
        ss.splat_depth(empty, shown, RANGE)
    for bad in ((0.0, 1.0), (2.0, 1.0), (1.0, np.inf), (np.nan, 1.0)):
        with pytest.raises(ValueError, match="depth_range"):
            ss.splat_depth(splats, shown, bad)
    bent = Camera("SIMPLE_RADIAL", SIZE, SIZE, np.array([150.0, 60.0, 60.0, 0.1]))
    with pytest.raises(ValueError, match="SIMPLE_RADIAL"):
        ss.splat_depth(splats, replace(shown, camera=bent), RANGE)
    one = replace(splats, **{f: getattr(splats, f)[:1] for f in ("means", "quats", "scales", "opacities", "sh")})
    assert np.isnan(
        ss.splat_depth(one, replace(shown, cam_from_world=look_at((0, 9, 0), (0, 20, 0))), RANGE).depth
    ).all()
    rubbish = replace(
        splats, means=np.where(np.arange(6000)[:, None] % 7 == 0, np.nan, splats.means).astype(np.float32)
    )
    assert np.isfinite(ss.splat_depth(rubbish, shown, RANGE).depth).mean() > 0.5


# --- cameras without sparse points, and the whole way to a mesh -------------------------------------------------------


def ring(num=12, radius=3.0):
    """Cameras around the middle, in turns above and below."""
    turn = np.arange(num) * 2 * np.pi / num
    return np.stack([look_at((radius * np.cos(a), radius * np.sin(a), 0.8 * (-1) ** k)) for k, a in enumerate(turn)])


def bare_scene(cams):
    n = len(cams)
    return Reconstruction(
        tuple(f"{k:02d}.png" for k in range(n)), np.zeros(n, np.int32), (CAMERA,), cams,
        np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32),
        np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros((0, 2), np.float32),
    )  # fmt: skip


def test_limits_and_neighbours_without_sparse_points():
    scene = bare_scene(ring())
    near, far = ss.depth_limits(scene, "03.png")
    distance = np.linalg.norm(scene.centers[3])
    assert 0 < near < distance - 1 and distance + 1 < far < 3 * distance
    found = ss.neighbours(scene, num=4)
    for k, name in enumerate(scene.names):
        others = [int(o[:2]) for o in found[name]]
        assert len(others) == 4 and k not in others
        steps = [min((k - o) % 12, (o - k) % 12) for o in others]
        assert max(steps) <= 2
    with pytest.raises(InputError, match="no place"):
        ss.depth_limits(scene, "other.png")


def test_splats_of_somebody_elses_cameras_become_a_mesh(tmp_path):
    from PIL import Image

    from rilievo.pipelines_splat_mesh import splats_to_mesh

    splats, cams = sphere(9000), ring(16)
    renderer = SplatRenderer(splats)
    frames = []
    for k, cam in enumerate(cams):
        frame = renderer.draw(CAMERA, cam, background=(0, 0, 0))
        pixels = np.clip(np.rint(255 * frame.features[:3]), 0, 255).astype(np.uint8).transpose(1, 2, 0)
        alpha = np.rint(255 * (1 - frame.transmittance)).astype(np.uint8)
        Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / f"{k:02d}.png")
        world_from_cam = np.eye(4)
        world_from_cam[:3] = geometry.invert(cam)
        world_from_cam[:3, 1:3] *= -1  # OpenGL's axes
        frames.append({"file_path": f"{k:02d}.png", "transform_matrix": world_from_cam.tolist()})
    told = {"fl_x": 150.0, "fl_y": 150.0, "cx": 60.0, "cy": 60.0, "w": SIZE, "h": SIZE, "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(told))
    placed = load_placed(tmp_path)
    chain = Chain(Project(tmp_path / "house"), 2)
    splats_id = chain.project.put(splats)
    cloud, mesh = splats_to_mesh(chain, placed, splats_id, BuildSettings(quality="draft"))
    assert splats_to_mesh(chain, placed, splats_id, BuildSettings(quality="draft")) == (cloud, mesh)
    names = chain.project.read()["names"]
    assert (names["cloud"], names["mesh"]) == (cloud, mesh) and "cameras" in names
    found = chain.project.get(mesh)
    radius = np.linalg.norm(found.vertices + found.origin, axis=1)
    assert len(found.faces) > 500
    assert np.median(np.abs(radius - 1)) < 0.02 and np.quantile(np.abs(radius - 1), 0.95) < 0.08
    assert found.texture is not None
    for file in ("model.glb", "model.obj", "cloud.ply", "cameras/cameras.bin", "splats_mesh.glb", "splats_cloud.ply"):
        assert (tmp_path / "house" / "export" / file).stat().st_size > 0


def test_the_versions_tell_when_the_answer_changes():
    """A golden answer: bump SplatDepthConfig.version when it changes."""
    splats = plane()
    found = ss.splat_depth(splats, view(splats), RANGE)
    assert ss.SplatDepthConfig.version == 1
    assert len(dataclasses.fields(ss.SplatDepthConfig)) == 8
    assert np.nanmean(found.depth) == pytest.approx(3.0, abs=0.2)
