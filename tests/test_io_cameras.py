"""Camera files: what is written is read back, by us and by pycolmap."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rilievo import geometry
from rilievo.errors import InputError
from rilievo.io import cameras
from rilievo.types import CAMERA_PARAMS, Camera, Reconstruction


def rotation(rng: np.random.Generator) -> np.ndarray:
    q = rng.normal(size=4)
    return geometry.rotation_from_quaternion(q / np.linalg.norm(q))


def some_model(
    seed: int = 0, *, cams: tuple[str, ...] = ("RADIAL", "PINHOLE"), n: int = 5, width: int = 96, height: int = 64
) -> Reconstruction:
    rng = np.random.default_rng(seed)
    made = []
    for model in cams:
        names = CAMERA_PARAMS[model]
        values = {"cx": width / 2 + 1.5, "cy": height / 2 - 0.7, "f": 90.0, "fx": 91.0, "fy": 89.0}
        made.append(Camera(model, width, height, np.array([values.get(p, rng.normal(0, 0.01)) for p in names])))
    poses = [np.concatenate([rotation(rng), rng.normal(size=(3, 1))], 1) for _ in range(n)]
    count = 30
    seen = [(p, k) for p in range(count) for k in sorted(rng.permutation(n)[: rng.integers(2, n + 1)])]
    return Reconstruction(
        names=tuple(f"a/photo {k}.jpg" for k in range(n)),
        camera_index=np.array([k % len(made) for k in range(n)], np.int32),
        cameras=tuple(made),
        cam_from_world=np.array(poses),
        points=rng.normal(size=(count, 3)),
        point_colors=rng.integers(0, 256, (count, 3)).astype(np.uint8),
        point_errors_px=rng.random(count).astype(np.float32),
        obs_point=np.array([p for p, _ in seen], np.int32),
        obs_photo=np.array([k for _, k in seen], np.int32),
        obs_xy=rng.uniform(5, 60, (len(seen), 2)).astype(np.float32),
        frame="enu",
        unit="m",
        scale_source="gps",
        origin=np.array([44.4, 8.9, 12.5]),
    )


def test_colmap_round_trip(tmp_path: Path) -> None:
    model = some_model(cams=tuple(CAMERA_PARAMS), n=9)
    paths = cameras.write_colmap(tmp_path / "sparse", model)
    assert [p.name for p in paths] == ["cameras.bin", "images.bin", "points3D.bin"]
    back = cameras.read_colmap(tmp_path / "sparse")
    assert back.names == model.names
    assert np.abs(back.cam_from_world - model.cam_from_world).max() < 1e-12
    for k in range(len(model.names)):
        assert back.camera(k).model == model.camera(k).model
        assert np.array_equal(back.camera(k).params, model.camera(k).params)
    assert np.array_equal(back.points, model.points)
    assert np.array_equal(back.point_colors, model.point_colors)
    assert np.array_equal(back.point_errors_px, model.point_errors_px)
    for name in ("obs_point", "obs_photo", "obs_xy"):
        assert np.array_equal(getattr(back, name), getattr(model, name)), name


def test_colmap_projects_as_we_do(tmp_path: Path) -> None:
    """The foreign reader sees the same pictures of the points: axes, pixels and parameters mean the same."""
    import pycolmap

    model = some_model(cams=("OPENCV",), n=3)
    cameras.write_colmap(tmp_path, model)
    theirs = pycolmap.Reconstruction(str(tmp_path))
    for k in range(3):
        xy, depth = geometry.project(model.camera(k), model.cam_from_world[k], model.points)
        image = theirs.images[k + 1]
        for p in np.flatnonzero(depth > 0.5):
            assert np.allclose(image.project_point(model.points[p]), xy[p], atol=1e-9)


def test_transforms_round_trip(tmp_path: Path) -> None:
    for cams in (("PINHOLE",), ("OPENCV", "FULL_OPENCV"), ("OPENCV_FISHEYE",)):
        model = some_model(cams=cams)
        back = cameras.read_transforms(cameras.write_transforms(tmp_path / "transforms.json", model))
        assert back.names == model.names
        assert np.abs(back.cam_from_world - model.cam_from_world).max() < 1e-9
        for k in range(len(model.names)):
            assert back.camera(k).model == model.camera(k).model
            assert np.array_equal(back.camera(k).params, model.camera(k).params)
        assert (back.frame, back.unit, back.scale_source) == ("enu", "m", "gps")
        assert np.array_equal(back.origin, model.origin)


@pytest.mark.parametrize("name", ["SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "RADIAL_FISHEYE"])
def test_transforms_keep_what_simple_models_do(tmp_path: Path, name: str) -> None:
    model = some_model(cams=(name,))
    back = cameras.read_transforms(cameras.write_transforms(tmp_path / "transforms.json", model))
    xy = np.random.default_rng(1).uniform(-0.5, 0.5, (50, 2))
    assert np.abs(geometry.distort(back.cameras[0], xy) - geometry.distort(model.cameras[0], xy)).max() < 1e-9


def test_transforms_axes_are_opengl(tmp_path: Path) -> None:
    """A camera at (0, -3, 1) that looks along +y: the matrix has its right +x, its up +z, its back -y."""
    pose = geometry.look_at(np.array([0.0, -3, 1]), np.array([0.0, 5, 1]))
    model = some_model(cams=("PINHOLE",), n=2)
    object.__setattr__(model, "cam_from_world", np.stack([pose, pose]))
    document = json.loads(cameras.write_transforms(tmp_path / "t.json", model).read_text())
    expected = [[1, 0, 0, 0], [0, 0, -1, -3], [0, 1, 0, 1], [0, 0, 0, 1]]
    assert np.allclose(document["frames"][0]["transform_matrix"], expected)
    assert document["camera_model"] == "OPENCV" and document["fl_x"] == 91.0 and document["w"] == 96
    assert document["applied_transform"] == np.eye(3, 4).tolist()


def test_applied_transform_is_undone(tmp_path: Path) -> None:
    model = some_model(cams=("PINHOLE",))
    path = cameras.write_transforms(tmp_path / "t.json", model)
    document = json.loads(path.read_text())
    applied = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]])
    for frame in document["frames"]:
        frame["transform_matrix"] = (np.vstack([applied, [0, 0, 0, 1]]) @ frame["transform_matrix"]).tolist()
    document["applied_transform"] = applied.tolist()
    path.write_text(json.dumps(document))
    assert np.abs(cameras.read_transforms(path).cam_from_world - model.cam_from_world).max() < 1e-9


def test_blender_scene_takes_its_size_from_the_pictures(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "train").mkdir()
    Image.new("RGB", (80, 60)).save(tmp_path / "train" / "r_0.png")
    frame = {"file_path": "./train/r_0", "transform_matrix": np.eye(4).tolist()}
    path = tmp_path / "transforms_train.json"
    path.write_text(json.dumps({"camera_angle_x": 1.0, "frames": [frame]}))
    model = cameras.read_transforms(path)
    assert model.names == ("train/r_0",)
    assert model.cameras[0].model == "PINHOLE" and model.cameras[0].fx == pytest.approx(40 / np.tan(0.5))
    (tmp_path / "train" / "r_0.png").unlink()
    with pytest.raises(InputError) as caught:
        cameras.read_transforms(path)
    assert "does not say the size of the photos" in caught.value.why


@pytest.mark.parametrize(
    ("text", "why"),
    [("{", "Expecting"), ("{}", "it has no 'frames'"), ('{"frames": [{"file_path": "a"}], "w": 4}', "it has no 'h'")],
)
def test_rubbish_transforms_are_explained(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        cameras.read_transforms(path)
    assert why in caught.value.why


def test_no_colmap_model_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no COLMAP model"):
        cameras.read_colmap(tmp_path)


def test_unknown_colmap_model_is_explained(tmp_path: Path) -> None:
    cameras.write_colmap(tmp_path, some_model(cams=("PINHOLE",)))
    fov = struct.pack("<QIiQQ5d", 1, 1, 7, 96, 64, 90.0, 90.0, 48.0, 32.0, 0.5)
    (tmp_path / "cameras.bin").write_bytes(fov)
    with pytest.raises(InputError, match="camera model FOV"):
        cameras.read_colmap(tmp_path)


@given(st.integers(0, 2**32 - 1))
def test_quaternion_inverts(seed: int) -> None:
    R = rotation(np.random.default_rng(seed))
    assert np.abs(geometry.rotation_from_quaternion(cameras.quaternion(R)) - R).max() < 1e-12


@pytest.mark.parametrize("turn", [np.diag([1.0, -1, -1]), np.diag([-1.0, 1, -1]), np.diag([-1.0, -1, 1]), np.eye(3)])
def test_quaternion_of_half_turns(turn: np.ndarray) -> None:
    assert np.abs(geometry.rotation_from_quaternion(cameras.quaternion(turn)) - turn).max() < 1e-12


def test_undistorted_export_is_a_workspace(tmp_path: Path) -> None:
    camera = Camera("RADIAL", 96, 64, np.array([80.0, 49.0, 31.0, -0.08, 0.01]))
    source = some_model(cams=("PINHOLE",), n=3)
    points = np.random.default_rng(3).uniform([-0.4, -0.25, 1], [0.4, 0.25, 1.5], (30, 3))
    poses = np.stack([np.concatenate([np.eye(3), [[0.02 * k], [0], [0]]], 1) for k in range(3)])
    xy = np.concatenate([geometry.project(camera, pose, points)[0] for pose in poses]).astype(np.float32)
    model = Reconstruction(
        names=("b.heic", "c.png", "sub/a.jpg"),
        camera_index=np.zeros(3, np.int32),
        cameras=(camera,),
        cam_from_world=poses,
        points=points,
        point_colors=source.point_colors,
        point_errors_px=source.point_errors_px,
        obs_point=np.tile(np.arange(30, dtype=np.int32), 3),
        obs_photo=np.repeat(np.arange(3, dtype=np.int32), 30),
        obs_xy=xy,
    )
    grey = np.full((64, 96, 3), 128, np.uint8)
    paths = cameras.export_undistorted(tmp_path, model, lambda name: grey)
    assert {p.relative_to(tmp_path).as_posix() for p in paths} >= {
        "images/b.heic.jpg",
        "images/c.png",
        "images/sub/a.jpg",
        "sparse/images.bin",
    }
    assert all(p.is_file() for p in paths)
    back = cameras.read_colmap(tmp_path / "sparse")
    assert [c.model for c in back.cameras] == ["PINHOLE"]
    for k in range(3):
        rows = back.obs_photo == k
        xy, _ = geometry.project(back.camera(k), back.cam_from_world[k], back.points[back.obs_point[rows]])
        assert np.abs(xy - back.obs_xy[rows]).max() < 1e-3
    paths = cameras.export_undistorted(tmp_path / "ns", model, lambda name: grey, format="nerfstudio")
    back = cameras.read_transforms(paths[-1])
    assert back.names == ("images/b.heic.jpg", "images/c.png", "images/sub/a.jpg")
    with pytest.raises(ValueError, match="colmap or nerfstudio"):
        cameras.export_undistorted(tmp_path, model, lambda name: grey, format="x")
