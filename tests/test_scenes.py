"""The synthetic scenes are the ruler for the rest: their cameras, depth, files and truth must be exact."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import scene_bench
import scene_sets
import scenes
from rilievo import geometry, kernels
from rilievo.evaluate import load_truth, prepare_surface
from rilievo.types import Camera
from scene_shapes import box, ellipsoid, lathe, tube, vertex_normals
from scene_textures import Texture, noise_tile

FEW = Camera("OPENCV", 120, 90, np.array([130.0, 128.0, 62.0, 44.0, -0.06, 0.02, 0.0, 0.0]))


@pytest.fixture(scope="module")
def blocks() -> scenes.Scene:
    return scenes.make_scene("blocks", 3)


@pytest.fixture(scope="module")
def eye(blocks: scenes.Scene) -> np.ndarray:
    return scenes.ring_cameras(3, radius=1.7, height=0.8, target=blocks.target, jitter=0.02, seed=1)[1]


def test_depth_unprojects_onto_the_surface(blocks: scenes.Scene, eye: np.ndarray) -> None:
    depth = scenes.render(blocks, FEW, eye, samples=1).depth
    hit = np.isfinite(depth)
    assert 0.3 < hit.mean() < 1.0
    y, x = np.nonzero(hit)
    xy = np.stack([x + 0.5, y + 0.5], -1)
    points = geometry.unproject(FEW, eye, xy, depth[hit])
    distance, _ = kernels.closest_on_mesh(np.ascontiguousarray(points), blocks.vertices, blocks.faces, 1.0)
    assert distance.max() < 2e-6  # metres, of 2: what float32 rays can do
    back, z = geometry.project(FEW, eye, points)
    np.testing.assert_allclose(back, xy, atol=1e-6)
    np.testing.assert_allclose(z, depth[hit], rtol=1e-6)


def test_nothing_lies_in_front_of_the_depth(blocks: scenes.Scene, eye: np.ndarray) -> None:
    depth = scenes.render(blocks, FEW, eye, samples=1).depth
    xy, z = geometry.project(FEW, eye, blocks.vertices)
    inside = (z > 0) & (xy > 1).all(1) & (xy[:, 0] < FEW.width - 1) & (xy[:, 1] < FEW.height - 1)
    column, row = np.floor(xy[inside]).astype(int).T
    around = np.stack([depth[row + i, column + j] for i in (-1, 0, 1) for j in (-1, 0, 1)])
    nearest = np.nanmin(np.where(np.isnan(around), np.inf, around), axis=0)
    assert (z[inside] > nearest - 0.05).all()
    assert (np.abs(z[inside] - depth[row, column]) < 0.02).sum() > 500  # and many vertices are the surface seen


def test_rays_agree_with_the_distortion_model() -> None:
    rays = scenes.pixel_directions(FEW, 2)
    assert rays.shape == (180, 240, 3)
    x, y = np.meshgrid((np.arange(240) + 0.5) / 2, (np.arange(180) + 0.5) / 2)
    np.testing.assert_allclose(
        geometry.distort(FEW, rays[..., :2].reshape(-1, 2)), np.stack([x.ravel(), y.ravel()], -1), atol=1e-9
    )
    with pytest.raises(ValueError, match="only k1 and k2"):
        scenes.pixel_directions(Camera("OPENCV", 9, 9, np.array([9.0, 9, 4, 4, 0, 0, 0.1, 0])), 1)


def test_same_seed_same_picture_other_seed_other_picture(blocks: scenes.Scene, eye: np.ndarray) -> None:
    first = scenes.render(blocks, FEW, eye, seed=5).pixels
    again = scenes.render(scenes.make_scene("blocks", 3), FEW, eye, seed=5).pixels
    assert first.tobytes() == again.tobytes()
    noisy = scenes.render(blocks, FEW, eye, seed=6).pixels
    difference = first.astype(float) - noisy
    assert 0.3 < difference.std() < 6  # noise, not another picture
    other = scenes.render(scenes.make_scene("blocks", 4), FEW, eye, seed=5).pixels
    assert np.abs(first.astype(float) - other).mean() > 5


def test_light_behaves(blocks: scenes.Scene, eye: np.ndarray) -> None:
    plain = scenes.render(blocks, FEW, eye, noise=0.0).pixels.astype(float)
    assert 60 < plain.mean() < 190  # neither dark nor washed out
    assert (plain >= 254).mean() < 0.02
    assert plain.std() > 25
    brighter = scenes.render(blocks, FEW, eye, noise=0.0, exposure=1.3).pixels.astype(float)
    assert brighter.mean() > plain.mean() + 8
    soft = scenes.render(blocks, FEW, eye, noise=0.0, blur_px=3.0).pixels.astype(float)
    assert np.abs(np.diff(soft, axis=1)).mean() < 0.6 * np.abs(np.diff(plain, axis=1)).mean()
    night = replace(blocks, sun=np.array([0.0, 0.0, -1.0]))  # the sun below the table: sky alone is left
    assert scenes.render(night, FEW, eye, noise=0.0).pixels.mean() < plain.mean() - 10


def test_capture_reads_back(blocks: scenes.Scene, tmp_path: Path) -> None:
    cams = scenes.ring_cameras(3, radius=1.7, height=0.8, target=blocks.target, start_deg=-60, spread_deg=20)
    paths = scenes.write_capture(blocks, tmp_path, FEW, cams, gps_origin=(45.0, 9.0, 120.0), packed=True)
    truth = load_truth(tmp_path)
    assert truth.names == tuple(p.name for p in paths) == ("IMG_0000.jpg", "IMG_0001.jpg", "IMG_0002.jpg")
    np.testing.assert_allclose(truth.cam_from_world, cams, atol=1e-9)
    np.testing.assert_array_equal(truth.cameras[0].params, FEW.params)
    assert truth.vertices is not None and truth.faces is not None
    np.testing.assert_array_equal(truth.vertices, blocks.vertices)  # to the last bit: the surface that was rendered
    np.testing.assert_array_equal(truth.faces, blocks.faces)
    surface = prepare_surface(truth)
    assert surface.gsd == pytest.approx(1.75 / 130, rel=0.15)
    with Image.open(paths[0]) as image:
        exif = image.getexif()
        sub, place = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
        assert image.size == (120, 90)
    assert exif[0x010F] == "Rilievo"
    assert float(sub[0x920A]) * 120 / 23.5 == pytest.approx(130.0, rel=1e-3)
    assert sub[0xA405] == round(130 * 36 / 120)
    degrees = float(place[2][0]) + float(place[2][1]) / 60 + float(place[2][2]) / 3600
    north = truth.centers[0][1]
    assert (degrees - 45.0) * np.pi / 180 * 6.371e6 == pytest.approx(north, abs=0.05)
    assert float(place[6]) == pytest.approx(120 + truth.centers[0][2], abs=1e-3)


def test_tiny_capture_overlaps(tmp_path: Path) -> None:
    paths = scenes.tiny_capture(tmp_path, num=6, samples=1)
    assert len(paths) == 6
    surface = prepare_surface(load_truth(tmp_path))
    assert surface.seen_share > 0.4  # by three photos at least
    centers = load_truth(tmp_path).centers
    assert np.linalg.norm(centers[1:] - centers[:-1], axis=1).min() > 0.1


def test_one_standpoint_only_turns() -> None:
    cams = scenes.one_standpoint(4, eye=np.array([1.7, 0, 0.8]), target=np.zeros(3))
    np.testing.assert_allclose(geometry.invert(cams)[:, :, 3], np.tile([1.7, 0, 0.8], (4, 1)), atol=1e-12)
    assert np.ptp(cams[:, 2, 1]) > 0.1


def test_ring_looks_at_its_target() -> None:
    target = np.array([1.0, 2.0, 3.0])
    cams = scenes.ring_cameras(5, radius=2.0, height=1.0, target=target)
    in_cam = np.array([geometry.transform(m, target[None])[0] for m in cams])
    np.testing.assert_allclose(in_cam, np.tile([0, 0, np.sqrt(5)], (5, 1)), atol=1e-12)
    assert (cams[:, 1, 2] < 0).all()  # image y points down


@pytest.mark.parametrize(
    ("shape", "volume"),
    [
        (box([0, 0, 0], [1, 2, 3], 0.5), 6.0),
        (ellipsoid(np.array([1.0, 1, 1]), np.array([1.0, 2.0, 3.0]), 60), 4 / 3 * np.pi * 6),
        (tube(np.array([[0, 0, 0], [0, 0, 1], [0, 0, 2.0]]), np.full(3, 0.5), 90), np.pi * 0.25 * 2),
        (lathe(np.array([0, 0, 1, 1.0]), np.array([0, 1, 1, 0.0]), 90), np.pi),
    ],
)
def test_shapes_are_closed_and_face_outside(shape: tuple[np.ndarray, np.ndarray], volume: float) -> None:
    vertices, faces = shape
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    assert (np.cross(a, b) * c).sum() / 6 == pytest.approx(volume, rel=0.01)  # signed: negative if inside out
    area = np.cross(b - a, c - a).sum(0)
    np.testing.assert_allclose(area, 0, atol=1e-9)  # closed
    normals = vertex_normals(vertices, faces)
    assert ((vertices - vertices.mean(0)) * normals).sum() > 0


def test_texture_filters_and_repeats() -> None:
    rng = np.random.default_rng(0)
    tile = noise_tile(rng, 256, 0.8)
    assert abs(tile.mean()) < 1e-3 and tile.std() == pytest.approx(1, rel=1e-3)
    edge = np.abs(tile[0] - tile[-1]).mean()
    assert edge < 1.5 * np.abs(np.diff(tile, axis=0)).mean()  # periodic
    texture = Texture.of(np.repeat(tile[..., None], 3, 2), 0.01)
    u, v = rng.uniform(0, 2.56, 4000), rng.uniform(0, 2.56, 4000)
    fine = texture.at(u, v, np.full(4000, 0.01))
    np.testing.assert_allclose(texture.at(u + 2.56, v - 5.12, np.full(4000, 0.01)), fine, atol=0.2)
    assert texture.at(u, v, np.full(4000, 0.32)).std() < 0.5 * fine.std()


def test_every_scene_is_listed_with_its_maker() -> None:
    assert set(scene_sets.SCENES) >= {"blocks", "urn", "facade"}  # other tests add scenes of their own
    assert set(scene_bench.SCENES) == set(scene_bench.SHOTS)
    assert not set(scene_bench.SCENES) & set(scene_sets.SCENES)


def test_captures_of_the_benchmark_are_plausible() -> None:
    """12 to 24 photos that overlap: every camera sees the point in the middle or stands beside one that moves on."""
    for name, shots in scene_bench.SHOTS.items():
        cams = shots.cameras(np.array([5.5, 0.0, 3.4]) if name == "repetitive" else np.zeros(3))
        assert 12 <= len(cams) <= 24, name
        np.testing.assert_allclose(np.linalg.det(cams[:, :, :3]), 1, atol=1e-9)
        np.testing.assert_array_equal(
            cams, shots.cameras(np.array([5.5, 0, 3.4]) if name == "repetitive" else np.zeros(3))
        )
        centers = geometry.invert(cams)[:, :, 3]
        assert len(np.unique(np.round(centers, 3), axis=0)) == len(cams), name
    assert [n for n, s in scene_bench.SHOTS.items() if s.gps] == ["village"]


def test_edges_are_smoothed_at_little_cost(blocks: scenes.Scene, eye: np.ndarray) -> None:
    def tone(**samples: int) -> np.ndarray:
        return scenes.render(blocks, FEW, eye, noise=0, **samples).pixels.astype(float)  # type: ignore[arg-type]

    best, plain, refined = tone(samples=4), tone(samples=1), tone(samples=1, edge_samples=4)
    jagged = np.abs(plain - best).max(2) > 40  # outlines, mostly
    assert jagged.sum() > 50
    assert np.abs(refined - best)[jagged].mean() < 0.15 * np.abs(plain - best)[jagged].mean()


def test_sample_capture_is_whole() -> None:
    """What `make demo` builds from: every photo has its truth, the size stays small, the lens is as EXIF says."""
    folder = Path(__file__).resolve().parent.parent / "examples" / "capture"
    photos = sorted((folder / "photos").glob("*.jpg"))
    truth = load_truth(folder)
    assert tuple(p.name for p in photos) == truth.names
    assert 24 <= len(photos) <= 36
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 20e6
    camera = truth.cameras[0]
    assert camera.width * camera.height >= 2e6
    assert truth.vertices is not None and truth.unit == "m"
    np.testing.assert_allclose(np.ptp(truth.vertices, axis=0)[:2], [1.2, 1.0], atol=0.02)  # the table
    with Image.open(photos[-1]) as image:
        assert image.size == (camera.width, camera.height)
        assert image.getexif().get_ifd(0x8769)[0xA405] == round(camera.fx * 36 / camera.width)
        assert "GPSInfo" not in image.getexif()
