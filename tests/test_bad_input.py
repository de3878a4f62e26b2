"""Bad input: a clear message (what, why, hint), and nothing that was good is lost."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from rilievo import BuildSettings, Run, cli, photos_to_mesh
from rilievo.errors import AlignmentError, InputError, ResourceError

DRAFT = BuildSettings(quality="draft")
TWO = Run(num_threads=2)


def build(photos, house, **changes):
    return photos_to_mesh([photos], house, settings=DRAFT, run=TWO, **changes)


def test_an_empty_folder(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError) as caught:
        build(tmp_path / "photos", tmp_path / "house")
    assert str(caught.value) == (
        f"error: no photos in {tmp_path / 'photos'}\n"
        "why:   the folder is empty\n"
        "hint:  Photos may be JPEG, PNG, TIFF, HEIC or raw; videos mp4 or mov."
    )


def test_one_photo(tiny, tmp_path):
    first = sorted((tiny / "photos").iterdir())[0]
    with pytest.raises(InputError) as caught:
        photos_to_mesh([first], tmp_path / "house", settings=DRAFT, run=TWO)
    assert str(caught.value) == (
        "error: a 3D model needs at least two photos\n"
        "why:   1 usable photo was found\n"
        "hint:  take 20 or more photos around the object, each overlapping the one before by two thirds"
    )


def test_good_photos_are_used_beside_bad_files_and_each_bad_one_is_told(tiny, tmp_path):
    from PIL import Image

    photos = tmp_path / "photos"
    shutil.copytree(tiny / "photos", photos)
    whole = sorted(photos.iterdir())[0].read_bytes()
    (photos / "notes.jpg").write_text("this is a shopping list")
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 3])
    (photos / "empty.mp4").write_bytes(b"")
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(photos / "dot.png")
    build(photos, tmp_path / "house")
    report = json.loads((tmp_path / "house" / "export" / "report.json").read_text())
    assert report["photos"]["placed"] == 8
    rejected = {row["name"]: row["reason"] for row in report["photos"]["rejected"]}
    assert {"notes.jpg", "empty.mp4", "dot.png"} <= set(rejected)
    assert all(reason for reason in rejected.values())
    assert "cut.jpg" in rejected or "cut.jpg" in {row["name"] for row in report["photos"]["list"]}


def test_photos_that_share_nothing(tmp_path):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((400, 300)).save(tmp_path / "photos" / f"{i}.jpg")
    with pytest.raises(AlignmentError) as caught:
        build(tmp_path / "photos", tmp_path / "house")
    assert caught.value.why
    assert caught.value.hint


def test_all_photos_blurred_says_so(tiny, tmp_path):
    from PIL import Image, ImageFilter

    (tmp_path / "photos").mkdir()
    for path in sorted((tiny / "photos").iterdir())[:4]:
        Image.open(path).filter(ImageFilter.GaussianBlur(8)).save(tmp_path / "photos" / path.name)
    try:
        build(tmp_path / "photos", tmp_path / "house")
    except AlignmentError as error:
        assert "blur" in str(error)
    else:
        report = json.loads((tmp_path / "house" / "export" / "report.json").read_text())
        assert any("blurred" in w for w in report["warnings"])


def test_two_unrelated_sets_build_the_larger_and_name_the_other(tiny, tmp_path):
    from scenes import CAMERA, make_scene, ring_cameras, write_capture

    photos = tmp_path / "photos"
    shutil.copytree(tiny / "photos", photos)
    scene = make_scene("facade", 7)
    ring = ring_cameras(4, radius=9.0, height=0.0, target=scene.target, start_deg=-110, spread_deg=40)
    for path in write_capture(scene, tmp_path / "other", CAMERA, ring, seed=7, prefix="OTHER_"):
        shutil.copy(path, photos / path.name)
    build(photos, tmp_path / "house")
    report = json.loads((tmp_path / "house" / "export" / "report.json").read_text())
    unplaced = {row["name"]: row["reason"] for row in report["photos"]["list"] if not row["placed"]}
    assert {name.split("_")[0] for name in unplaced} == {"OTHER"}
    assert len(unplaced) == 4
    assert all(unplaced.values())
    assert any("could not be placed" in w for w in report["warnings"])


def test_a_mask_of_the_wrong_size_leaves_out_its_photo_and_says_why(tiny, tmp_path):
    from PIL import Image

    masks = tmp_path / "masks"
    masks.mkdir()
    names = [path.name for path in sorted((tiny / "photos").iterdir())]
    for name in names:
        Image.fromarray(np.full((10, 10), 255, np.uint8)).save(masks / f"{name}.png")
    with pytest.raises(InputError) as caught:
        build(tiny / "photos", tmp_path / "house", masks=masks)
    assert "none of the files given can be used" in str(caught.value)
    assert "10 x 10" in str(caught.value)
    assert "400 x 300" in str(caught.value)


def test_masks_keep_what_is_masked_out_of_the_model(tiny, tiny_house, tmp_path):
    """The left half of every photo is masked: no keypoint may lie there."""
    from PIL import Image

    from rilievo.project import Project

    masks = tmp_path / "masks"
    masks.mkdir()
    for path in (tiny / "photos").iterdir():
        mask = np.zeros((300, 400), np.uint8)
        mask[:, 200:] = 255
        Image.fromarray(mask).save(masks / f"{path.name}.png")
    with contextlib.suppress(AlignmentError):
        build(tiny / "photos", tmp_path / "house", masks=masks)
    project = Project(tmp_path / "house", create=False)
    for object_id in project.read()["made_from"]["keypoints"]:
        assert project.get(object_id).keypoints[:, 0].min() >= 199


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_no_permission_to_write(tiny, tmp_path, monkeypatch):
    """Root may write anywhere, so the refusal of the system is played."""

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(ResourceError) as caught:
        build(tiny / "photos", tmp_path / "house")
    assert str(caught.value).startswith("error: no permission to write: could not create the project folder\n")
    assert "choose another output folder with -o" in caught.value.hint


def test_a_full_disk_and_then_more_room(tiny, tiny_house, small_disk, tmp_path):
    with pytest.raises(ResourceError) as caught:
        build(tiny / "photos", small_disk / "house")
    assert str(caught.value).startswith("error: the disk is full: could not ")
    assert "run the same command again" in caught.value.hint
    shutil.copytree(small_disk / "house", tmp_path / "house")
    build(tiny / "photos", tmp_path / "house")
    read = [json.loads((h / "project.json").read_text())["names"] for h in (tmp_path / "house", tiny_house)]
    assert read[0] == read[1]


def test_too_little_memory_is_said_before_the_work(tiny, tmp_path):
    with pytest.raises(ResourceError, match="the memory is too short") as caught:
        photos_to_mesh([tiny / "photos"], tmp_path / "house", settings=DRAFT, run=Run(2, memory_mb=100))
    assert "--memory" in caught.value.hint
    assert not (tmp_path / "house" / "ledger" / "keypoints").exists()


def test_unknown_options_and_values_are_wrong_usage(tiny, capsys):
    assert cli.main(["build", str(tiny), "--qualty", "draft"]) == 2
    assert "--qualty" in capsys.readouterr().err
    assert cli.main(["build", str(tiny), "--quality", "best"]) == 2
    assert cli.main(["build", str(tiny / "nowhere")]) == 1
    assert capsys.readouterr().err.endswith("hint:  Check the spelling.\n")


def test_messages_of_the_command_reach_stderr_without_a_traceback(tmp_path):
    (tmp_path / "photos").mkdir()
    command = [sys.executable, "-m", "rilievo.cli", "build", str(tmp_path / "photos"), "-o", str(tmp_path / "house")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.startswith("error: no photos in")
    assert "Traceback" not in run.stderr
