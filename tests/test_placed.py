"""Placed photos: of a house that was moved, of COLMAP, nerfstudio and Blender, with what is missing or wrong."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rilievo import geometry
from rilievo.chain import Chain
from rilievo.errors import InputError
from rilievo.gather import gather
from rilievo.io import cameras as camera_files
from rilievo.io.clip import write_clip
from rilievo.placed import load_placed
from rilievo.project import Project
from rilievo.stages.views import undistort_view
from rilievo.types import Camera, Reconstruction

DATA = Path(os.environ.get("RILIEVO_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
CAMERA = Camera("SIMPLE_RADIAL", 80, 60, np.array([70.0, 40, 30, -0.05]))


def picture(number: int, width: int = 80, height: int = 60) -> np.ndarray:
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


def write_photos(folder: Path, num: int = 4, ending: str = "png") -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"p{k}.{ending}" for k in range(num)]
    for k, name in enumerate(names):
        Image.fromarray(picture(k)).save(folder / name)
    return names


def scene_of(names: list[str], camera: Camera = CAMERA) -> Reconstruction:
    names = sorted(names)
    angles = np.linspace(0, 1.5, len(names))
    places = [geometry.look_at(3 * np.array([np.cos(a), np.sin(a), 0.4]), np.zeros(3)) for a in angles]
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (12, 3))
    rows = np.stack(np.meshgrid(np.arange(12), np.arange(len(names)), indexing="ij"), -1).reshape(-1, 2)
    xy = [geometry.project(camera, places[p], points[k : k + 1])[0][0] for k, p in rows]
    return Reconstruction(
        tuple(names),
        np.zeros(len(names), np.int32),
        (camera,),
        np.array(places),
        points,
        np.full((12, 3), 90, np.uint8),
        np.full(12, 0.3, np.float32),
        rows[:, 0].astype(np.int32),
        rows[:, 1].astype(np.int32),
        np.array(xy, np.float32),
    )


def make_house(folder: Path, *, masks: bool = False, inputs: list[Path] | None = None) -> Project:
    """Photos in folder/photos, and a house beside them that has cameras and no more."""
    if inputs is None:
        names = write_photos(folder / "photos")
        if masks:
            (folder / "masks").mkdir()
            for name in names:
                shown = np.zeros((60, 80), np.uint8)
                shown[:, :40] = 255
                Image.fromarray(shown).save(folder / "masks" / f"{name}.png")
    project = Project(folder / "house")
    chain = Chain(project, 1)
    found = gather(chain, inputs or [folder / "photos"], masks=folder / "masks" if masks else None)
    size = found.photos[0]
    camera = Camera("SIMPLE_RADIAL", size.width, size.height, np.array([70.0, size.width / 2, size.height / 2, -0.05]))
    chain.name(cameras=project.put(scene_of([p.name for p in found.photos], camera)))
    return project


def problem(*args, **options) -> InputError:
    with pytest.raises(InputError) as caught:
        load_placed(*args, **options)
    return caught.value


# --- a house ----------------------------------------------------------------------------------------------------------


def test_a_real_build_knows_its_photos(tiny_house):
    placed = load_placed(tiny_house)
    project = Project(tiny_house, create=False)
    assert placed.scene.names == project.named("cameras").names and len(placed.scene.points)
    assert placed.project is not None and placed.cloud == project.read()["names"]["cloud"]
    assert placed.held_out is None and set(placed.photo_ids) == set(placed.scene.names)
    view = placed.load_view(placed.scene.names[0], 200)
    assert view.camera.model == "PINHOLE" and max(view.pixels.shape) <= 200 and view.alpha is None


def test_house_moved_together_with_its_photos(tmp_path):
    make_house(tmp_path / "a", masks=True)
    before = load_placed(tmp_path / "a" / "house")
    (tmp_path / "a").rename(tmp_path / "b")
    after = load_placed(tmp_path / "b" / "house")
    assert after.sources["p1.png"].path.resolve() == (tmp_path / "b" / "photos" / "p1.png").resolve()
    assert after.photo_ids == before.photo_ids and len(set(after.photo_ids.values())) == 4
    mask = after.load_view("p1.png", 80).mask
    assert mask is not None and mask[:, :30].all() and not mask[:, 50:].any()


def test_house_alone_elsewhere_needs_to_be_told(tmp_path):
    make_house(tmp_path / "a")
    before = load_placed(tmp_path / "a" / "house")
    shutil.move(tmp_path / "a" / "house", tmp_path / "house")
    assert load_placed(tmp_path / "house").photo_ids == before.photo_ids  # the absolute path still holds
    shutil.move(tmp_path / "a" / "photos", tmp_path / "elsewhere" / "deep")
    error = problem(tmp_path / "house")
    assert error.what == f"the photos of {tmp_path / 'house'} are gone"
    assert error.why == f"none of 4 is where they were, e.g. {tmp_path / 'a' / 'photos' / 'p0.png'}"
    assert error.hint == "give the folder that holds them now with --photos"
    for folder in ("elsewhere", "elsewhere/deep"):
        assert load_placed(tmp_path / "house", photos=tmp_path / folder).photo_ids == before.photo_ids
    assert "it does not exist" in str(problem(tmp_path / "house", photos=tmp_path / "no"))


def test_changed_and_missing_photos(tmp_path):
    make_house(tmp_path)
    (tmp_path / "photos" / "p3.png").unlink()
    placed = load_placed(tmp_path / "house")
    assert placed.scene.names == ("p0.png", "p1.png", "p2.png")
    assert placed.scene.unplaced == {"p3.png": "its file is gone"}
    assert len(placed.scene.points) == 12 and set(placed.scene.obs_photo) == {0, 1, 2}
    Image.fromarray(picture(9)).save(tmp_path / "photos" / "p1.png")
    assert str(problem(tmp_path / "house")) == (
        f"error: p1.png is not what {tmp_path / 'house'} was built from\n"
        "why:   p1.png: the file has other content now\n"
        "hint:  give the folder of the unchanged photos with --photos (and of masks with --masks), or build again"
    )
    (tmp_path / "photos" / "p1.png").unlink()
    assert problem(tmp_path / "house").what == f"too few placed photos in {tmp_path / 'house'}"


def test_changed_and_new_masks(tmp_path):
    make_house(tmp_path, masks=True)
    before = load_placed(tmp_path / "house")
    shutil.copytree(tmp_path / "masks", tmp_path / "other")
    Image.fromarray(np.full((60, 80), 255, np.uint8)).save(tmp_path / "masks" / "p0.png.png")
    assert "p0.png: its mask has changed" in str(problem(tmp_path / "house"))
    (tmp_path / "masks" / "p0.png.png").unlink()
    assert "p0.png: its mask is gone" in str(problem(tmp_path / "house"))
    (tmp_path / "other" / "p0.png.png").unlink()
    after = load_placed(tmp_path / "house", masks=tmp_path / "other")
    assert after.photo_ids["p0.png"] != before.photo_ids["p0.png"]
    assert after.photo_ids["p1.png"] == before.photo_ids["p1.png"]


def test_frames_of_a_video(tmp_path):
    (tmp_path / "photos").mkdir()
    scenery = np.repeat(np.repeat(picture(0, 60, 30), 8, 0), 8, 1)
    frames = [np.ascontiguousarray(scenery[20:180, 4 * k : 4 * k + 240]) for k in range(50)]
    write_clip(tmp_path / "photos" / "clip.mp4", frames, 240, 160, 15)
    project = make_house(tmp_path, inputs=[tmp_path / "photos"])
    placed = load_placed(tmp_path / "house")
    name = placed.scene.names[1]
    assert name.startswith("clip.mp4/") and placed.load_view(name, 100).pixels.shape[1] <= 100
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert load_placed(tmp_path / "house", photos=tmp_path / "moved").photo_ids == placed.photo_ids
    write_clip(tmp_path / "moved" / "clip.mp4", frames[::-1], 240, 160, 15)
    assert "not what" in problem(tmp_path / "house", photos=tmp_path / "moved").what
    project.update(sources=None)
    assert "does not say where its photos lie" in problem(tmp_path / "house").what


# --- data sets of others ----------------------------------------------------------------------------------------------


def blender(folder: Path, split: str, num: int = 3, size: int = 40) -> None:
    (folder / split).mkdir(parents=True)
    frames = []
    for k in range(num):
        rgba = np.zeros((size, size, 4), np.uint8)
        rgba[10:30, 10:30] = (250, 120, 0, 255)
        Image.fromarray(rgba).save(folder / split / f"r_{k}.png")
        matrix = np.eye(4)
        matrix[:3] = geometry.invert(geometry.look_at(np.array([3.0, k, 1]), np.zeros(3)))
        matrix[:3, 1:3] *= -1
        frames.append({"file_path": f"./{split}/r_{k}", "transform_matrix": matrix.tolist()})
    document = {"camera_angle_x": 0.7, "frames": frames}
    (folder / f"transforms_{split}.json").write_text(json.dumps(document))


def test_blender_sets_hold_out_their_test_photos(tmp_path):
    for split in ("train", "val"):
        blender(tmp_path, split)
    placed = load_placed(tmp_path)
    assert placed.held_out == ("val/r_0", "val/r_1", "val/r_2")
    assert placed.scene.names == ("train/r_0", "train/r_1", "train/r_2", *placed.held_out)
    assert placed.scene.cameras[0].fx == pytest.approx(20 / np.tan(0.35)) and len(placed.scene.cameras) == 1
    assert np.allclose(placed.scene.centers[1], [3, 1, 1])
    view = placed.load_view("train/r_0", 400)
    assert view.mask is None and view.alpha is not None
    assert view.alpha[20, 20] == 255 and view.alpha[0, 0] == 0
    assert tuple(view.pixels[20, 20]) == (250, 120, 0) and tuple(view.pixels[0, 0]) == (0, 0, 0)  # straight, as stored
    blender(tmp_path, "test", num=2)
    assert load_placed(tmp_path / "transforms_train.json").held_out == ("test/r_0", "test/r_1")


def test_shrinking_keeps_the_colour_at_the_outline():
    """Colours do not mix with what lies behind the outline, where alpha is 0."""
    pixels, alpha = np.zeros((60, 60, 3), np.uint8), np.zeros((60, 60), np.uint8)
    pixels[:, 27:] = (200, 100, 40)
    alpha[:, 27:] = 255
    camera = Camera("SIMPLE_RADIAL", 60, 60, np.array([70.0, 30, 30, -0.05]))
    view = undistort_view(pixels, camera, np.eye(3, 4), "a", max_size=17, alpha=alpha)
    assert view.alpha is not None and ((view.alpha > 20) & (view.alpha < 235)).any()  # some pixels are half covered
    seen = view.alpha > 8
    assert np.abs(view.pixels[seen].astype(int) - (200, 100, 40)).max() <= 3
    with pytest.raises(TypeError):
        undistort_view(pixels, camera, np.eye(3, 4), "a", max_size=17, alpha=alpha[:5])


def nerfstudio(folder: Path, **changes) -> dict:
    names = write_photos(folder / "images")
    scene = scene_of(names)
    camera_files.write_transforms(folder / "transforms.json", scene, photos={n: f"images/{n}" for n in names})
    document = json.loads((folder / "transforms.json").read_text()) | changes
    (folder / "transforms.json").write_text(json.dumps(document))
    return document


def test_nerfstudio_points_masks_and_splits(tmp_path):
    applied = np.array([[0, 1, 0, 2.0], [0, 0, 1, 0], [1, 0, 0, -1]])
    document = nerfstudio(tmp_path, ply_file_path="cloud.ply")
    names = [f["file_path"] for f in document["frames"]]
    plain = load_placed(tmp_path).scene
    moved = {**document, "applied_transform": applied.tolist(), "val_filenames": names[:1]}
    moved["frames"] = [
        {**f, "transform_matrix": [*(applied @ np.array(f["transform_matrix"])).tolist(), [0, 0, 0, 1]]}
        for f in document["frames"]
    ]
    moved["frames"][1]["mask_path"] = "mask.png"
    Image.fromarray(np.zeros((60, 80), np.uint8)).save(tmp_path / "mask.png")
    x = np.array([[0.5, 0.25, 1.0], [0, 0, 0]])
    rows = "\n".join(" ".join(map(str, [*p, 10, 20, 30])) for p in (x @ applied[:, :3].T + applied[:, 3]).tolist())
    kinds = [f"property float {k}" for k in "xyz"] + [f"property uchar {k}" for k in ("red", "green", "blue")]
    head = ["ply", "format ascii 1.0", "element vertex 2", *kinds, "end_header", ""]
    (tmp_path / "cloud.ply").write_text("\n".join(head) + rows + "\n")
    (tmp_path / "transforms.json").write_text(json.dumps(moved))
    placed = load_placed(tmp_path)
    assert placed.held_out == ("images/p0.png",)
    assert np.allclose(placed.scene.cam_from_world, plain.cam_from_world, atol=1e-9)
    assert np.allclose(placed.scene.points, x, atol=1e-6) and (placed.scene.point_colors == [10, 20, 30]).all()
    mask = placed.load_view("images/p1.png", 80).mask
    assert mask is not None and not mask.any()


def test_some_missing_are_left_out_all_missing_is_an_error(tmp_path):
    nerfstudio(tmp_path)
    (tmp_path / "images" / "p1.png").write_bytes(b"not a picture")
    placed = load_placed(tmp_path)
    assert "images/p1.png" in placed.scene.unplaced and len(placed.scene.names) == 3
    (tmp_path / "images" / "p1.png").unlink()
    assert load_placed(tmp_path).scene.unplaced == {"images/p1.png": "its file is missing"}
    shutil.move(tmp_path / "images", tmp_path / "away")
    error = problem(tmp_path)
    assert error.what.endswith("transforms.json are not there") and "none of 4" in error.why
    assert len(load_placed(tmp_path, photos=tmp_path / "away").scene.names) == 3
    (tmp_path / "away" / "p0.png").unlink()
    assert "too few placed photos" in problem(tmp_path, photos=tmp_path / "away").what


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.pop("frames"), "it has no 'frames'"),
        (lambda d: d["frames"][0].update(transform_matrix=[[1, 2], [3, 4]]), "cannot reshape"),
        (lambda d: d["frames"][0].update(transform_matrix=(2 * np.eye(4)).tolist()), "is no rotation and shift"),
        (lambda d: d["frames"].append(d["frames"][0]), "images/p0.png"),
        (lambda d: d.update(w=60, h=60), "the photo has 80 x 60"),
        (lambda d: d.update(frames=[]), "none of 0"),
    ],
)
def test_damaged_transforms(tmp_path, change, said):
    document = nerfstudio(tmp_path)
    change(document)
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    assert said in problem(tmp_path).why


@pytest.mark.parametrize("layout", ["sparse/0", "sparse", "colmap/sparse/0", "."])
def test_colmap_folders(tmp_path, layout):
    names = write_photos(tmp_path / "images", ending="jpg")
    camera_files.write_colmap(tmp_path / layout, scene_of(names))
    placed = load_placed(tmp_path)
    assert placed.scene.names == tuple(names) and len(placed.scene.points) == 12 and placed.held_out is None
    assert placed.load_view("p2.jpg", 80).camera.model == "PINHOLE"
    (tmp_path / "images" / "p0.jpg").unlink()
    assert load_placed(tmp_path).scene.unplaced == {"p0.jpg": "its file is missing"}
    shutil.rmtree(tmp_path / "images")
    assert "none of 4" in problem(tmp_path).why


def test_colmap_photos_of_another_size(tmp_path):
    names = write_photos(tmp_path / "images")
    scene = scene_of(names)
    camera_files.write_colmap(tmp_path / "sparse" / "0", scene)
    (tmp_path / "half").mkdir()
    for name in names:
        Image.open(tmp_path / "images" / name).resize((40, 30)).save(tmp_path / "half" / name)
    half = load_placed(tmp_path, photos=tmp_path / "half").scene
    assert half.cameras[0].fx == pytest.approx(35) and np.allclose(half.obs_xy, scene.obs_xy / 2, atol=1e-4)
    Image.open(tmp_path / "images" / "p1.png").resize((50, 60)).save(tmp_path / "half" / "p1.png")
    error = problem(tmp_path, photos=tmp_path / "half")
    assert error.what == "the known camera of p1.png does not fit the photo" and "80 x 60" in error.why


def test_colmap_takes_pictures_as_they_are_stored(tmp_path):
    """COLMAP passes over EXIF's orientation; a camera that fits the turned picture only is of another."""
    names = write_photos(tmp_path / "images", ending="jpg")
    exif = Image.Exif()
    exif[274] = 6
    for name in names:
        Image.open(tmp_path / "images" / name).save(tmp_path / "images" / name, exif=exif)
    scene = scene_of(names)
    camera_files.write_colmap(tmp_path / "sparse" / "0", scene)
    assert load_placed(tmp_path).load_view(names[0], 80).pixels.shape[:2] == (60, 80)
    upright = Camera("SIMPLE_RADIAL", 60, 80, np.array([70.0, 30, 40, -0.05]))
    camera_files.write_colmap(tmp_path / "sparse" / "0", replace(scene, cameras=(upright,)))
    assert load_placed(tmp_path).load_view(names[0], 80).pixels.shape[:2] == (80, 60)


def test_of_several_colmap_models_the_largest(tmp_path):
    names = write_photos(tmp_path / "images", 6)
    camera_files.write_colmap(tmp_path / "sparse" / "0", scene_of(names[:3]))
    camera_files.write_colmap(tmp_path / "sparse" / "1", scene_of(names[1:]))
    assert len(load_placed(tmp_path).scene.names) == 5


def test_truth_layouts_and_what_is_none(tiny, tmp_path):
    placed = load_placed(tiny / "truth")
    assert len(placed.scene.names) == 8 and placed.scene.unit == "m"
    write_photos(tmp_path / "only photos")
    error = problem(tmp_path / "only photos")
    assert error.why == "it holds photos, but no cameras"
    assert error.hint.startswith("run `rilievo build ")
    assert problem(tmp_path / "nothing").why == "there is no such file or folder"
    (tmp_path / "empty").mkdir()
    assert "COLMAP folder" in problem(tmp_path / "empty").hint


def test_same_result_for_any_number_of_threads(tmp_path):
    make_house(tmp_path)
    one, many = (load_placed(tmp_path / "house", num_threads=n) for n in (1, 5))
    assert one.photo_ids == many.photo_ids and list(one.sources) == list(many.sources)


@pytest.mark.skipif(not (DATA / "chair").is_dir(), reason="no test data here (RILIEVO_DATA)")
def test_chair():
    placed = load_placed(DATA / "chair")
    assert len(placed.scene.names) == 60 and placed.held_out is not None and len(placed.held_out) == 10
    view = placed.load_view("train/r_0", 800)
    assert view.alpha is not None and view.pixels.shape == (800, 800, 3)
