"""Cameras that are known already: read from foreign files, used as they are, with points that fit them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rilievo import BuildSettings, Run, cli, geometry, photos_to_mesh
from rilievo.errors import AlignmentError, InputError
from rilievo.io import cameras as files
from rilievo.io.known_cameras import read_known_cameras
from rilievo.io.truth import load_truth
from rilievo.project import Project
from rilievo.stages import known
from rilievo.types import Camera, Features, Matches, Photo

CAMERA = Camera("SIMPLE_RADIAL", 400, 300, np.array([380.0, 200, 150, -0.05]))


def photo(name: str, width: int = 400, height: int = 300) -> Photo:
    return Photo(name, name, width, height, "one")


def ring(num: int) -> dict[str, np.ndarray]:
    angles = np.linspace(0, 0.8, num)
    return {
        f"{k}.jpg": geometry.look_at(3 * np.array([np.cos(a), np.sin(a), 0.4]), np.zeros(3))
        for k, a in enumerate(angles)
    }


def seen_points(num: int = 60, wrong: int = 0) -> tuple[np.ndarray, dict[str, Features], list[Matches]]:
    """Points in a cube, seen by a ring of four photos, each matched with all before it; the last `wrong` keypoints of
    every photo are elsewhere."""
    rng = np.random.default_rng(3)
    points = rng.uniform(-0.5, 0.5, (num, 3))
    features = {}
    for name, cam_from_world in ring(4).items():
        xy = geometry.project(CAMERA, cam_from_world, points)[0].astype(np.float32)
        if wrong:
            xy[-wrong:] = rng.uniform(20, 280, (wrong, 2))
        one = np.ones(num, np.float32)
        features[name] = Features(
            "sift", xy, one, one, one, np.zeros((num, 128), np.uint8), np.full((num, 3), 90, np.uint8)
        )
    rows = np.stack([np.arange(num)] * 2, 1).astype(np.int32)
    matches = []
    for k in range(1, 4):
        count = np.arange(k + 1, dtype=np.int64) * num
        none = np.zeros(k, np.int32)
        names = tuple(f"{j}.jpg" for j in range(k))
        matches.append(Matches("sift", f"{k}.jpg", names, count, np.concatenate([rows] * k), none, none))
    return points, features, matches


def place(features: dict[str, Features], matches: list[Matches], **options):
    poses = ring(4)
    return known.place_known(
        [photo(n) for n in poses], features, matches, dict.fromkeys(poses, CAMERA), poses, **options
    )


def test_points_are_where_the_known_cameras_see_them() -> None:
    points, features, matches = seen_points()
    model = place(features, matches, unit="m")
    assert model.unit == "m"
    assert model.scale_source == "known cameras"
    assert len(model.points) == 60
    order = np.lexsort(points.T[::-1])
    np.testing.assert_allclose(model.points, points[order], atol=2e-5)
    assert np.bincount(model.obs_point).tolist() == [4] * 60
    for i, name in enumerate(model.names):
        np.testing.assert_array_equal(model.cam_from_world[i], ring(4)[name])


def test_matches_that_do_not_fit_the_cameras_give_no_points() -> None:
    points, features, matches = seen_points(wrong=15)
    model = place(features, matches)
    from scipy.spatial import cKDTree

    off, _ = cKDTree(points[:45]).query(model.points)
    assert 45 <= len(model.points) <= 50
    assert np.sum(off < 1e-4) == 45
    assert model.reprojection_error() < 0.5


def test_a_track_with_two_places_in_one_photo_is_dropped() -> None:
    _, features, matches = seen_points()
    crossed = matches[0].matches.copy()
    crossed[0, 1] = 1  # keypoint 0 of photo 0 with keypoint 1 of photo 1: joins two tracks
    model = place(features, [replace(matches[0], matches=crossed), *matches[1:]])
    assert len(model.points) == 58


def test_cameras_of_other_photos_are_an_error() -> None:
    _, features, matches = seen_points(wrong=60)
    with pytest.raises(AlignmentError, match="do not fit the known cameras"):
        place(features, matches)


def test_photos_that_the_file_does_not_name_are_unplaced(tiny: Path) -> None:
    truth = load_truth(tiny / "truth")
    photos = [photo(n) for n in (*truth.names[:3], "other.jpg")]
    found = read_known_cameras(tiny / "truth", photos)
    assert sorted(found.cameras) == sorted(truth.names[:3])
    with pytest.raises(InputError, match="not those of these photos"):
        read_known_cameras(tiny / "truth", [photo("x.jpg"), photo("y.jpg")])


def test_cameras_are_scaled_to_smaller_photos_and_refused_where_the_shape_differs(tiny: Path) -> None:
    truth = load_truth(tiny / "truth")
    small = [photo(n, 200, 150) for n in truth.names]
    camera = read_known_cameras(tiny / "truth", small).cameras[truth.names[0]]
    assert (camera.width, camera.height) == (200, 150)
    np.testing.assert_allclose(camera.params[:4], truth.cameras[0].params[:4] / 2)
    np.testing.assert_allclose(camera.params[4:], truth.cameras[0].params[4:])
    with pytest.raises(InputError, match="does not fit the photo"):
        read_known_cameras(tiny / "truth", [photo(n, 300, 400) for n in truth.names])


def test_a_middlebury_file_is_read(tmp_path: Path) -> None:
    from PIL import Image

    lines = ["2"]
    poses = ring(2)
    for name, cam_from_world in poses.items():
        png = name.replace("jpg", "png")
        Image.new("RGB", (64, 48)).save(tmp_path / png)
        numbers = [50, 0, 31.5, 0, 50, 23.5, 0, 0, 1, *cam_from_world[:, :3].ravel(), *cam_from_world[:, 3]]
        lines.append(" ".join([png, *(repr(float(x)) for x in numbers)]))
    (tmp_path / "thing_par.txt").write_text("\n".join(lines) + "\n")
    truth = load_truth(tmp_path)
    assert truth.names == ("0.png", "1.png")
    np.testing.assert_allclose(truth.cam_from_world, np.stack(list(poses.values())))
    assert truth.cameras[0].params.tolist() == [50, 50, 32, 24]  # our pixels count from the corner


@pytest.fixture(scope="module")
def known_house(tiny: Path, tmp_path_factory) -> Path:
    house = tmp_path_factory.mktemp("known") / "house"
    photos_to_mesh(
        [tiny / "photos"],
        house,
        cameras=tiny / "truth",
        settings=BuildSettings(quality="draft"),
        run=Run(num_threads=2),
    )
    return house


def test_a_build_with_known_cameras_keeps_them_and_measures_in_their_unit(tiny: Path, known_house: Path) -> None:
    truth = load_truth(tiny / "truth")
    model = Project(known_house, create=False).named("cameras")
    np.testing.assert_array_equal(model.cam_from_world, truth.cam_from_world)
    assert model.unit == "m"
    assert model.reprojection_error() < 0.7
    report = json.loads((known_house / "export" / "report.json").read_text())
    assert "known cameras" in json.dumps(report)


def test_exported_cameras_can_be_used_again(tiny: Path, known_house: Path, tmp_path: Path) -> None:
    model = Project(known_house, create=False).named("cameras")
    photos = [photo(n) for n in model.names]
    for path in (known_house / "export" / "cameras", known_house / "export" / "transforms.json"):
        found = read_known_cameras(path, photos)
        for i, name in enumerate(model.names):
            np.testing.assert_allclose(found.cam_from_world[name], model.cam_from_world[i], atol=1e-9)
    files.write_transforms(tmp_path / "transforms.json", model)
    assert read_known_cameras(tmp_path, photos).unit == "m"


def test_the_command_line_takes_known_cameras(tiny: Path, known_house: Path, tmp_path: Path, capsys) -> None:
    house = tmp_path / "again"
    shutil.copytree(known_house, house)
    options = ["--cameras", str(tiny / "truth"), "--quality", "draft", "--quiet"]
    assert cli.main(["build", str(tiny / "photos"), "-o", str(house), *options]) == 0
    before, after = (json.loads((h / "project.json").read_text())["names"] for h in (known_house, house))
    assert before == after
    (tmp_path / "empty").mkdir()
    assert cli.main(["build", str(tiny / "photos"), "-o", str(house), "--cameras", str(tmp_path / "empty")]) == 1
    assert "no known cameras can be read" in capsys.readouterr().err
