"""`rilievo check`: files, exit codes, bad input, the same again with more photos, a house."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import scenes
from rilievo.cli import main
from rilievo.io.models import read_mesh


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos of blocks over a third of a circle; one shaken, one copied, one cut short."""
    folder = tmp_path_factory.mktemp("capture")
    paths = scenes.tiny_capture(folder, num=8, samples=1, edge_samples=2)
    pixels = cv2.imread(str(paths[3]))
    kernel = np.zeros((13, 13), np.float32)
    kernel[6] = 1 / 13
    cv2.imwrite(str(paths[3]), cv2.filter2D(pixels, -1, kernel), [cv2.IMWRITE_JPEG_QUALITY, 92])
    shutil.copyfile(paths[0], paths[0].with_name("copy.jpg"))
    paths[0].with_name("short.jpg").write_bytes(paths[1].read_bytes()[:9000])
    return folder / "photos"


@pytest.fixture(scope="module")
def checked(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    out = tmp_path_factory.mktemp("out") / "check"
    code = main(["check", str(photos), "-o", str(out), "--quality", "draft", "--quiet"])
    return out, code


def test_the_files_and_the_exit_code_say_the_same(checked: tuple[Path, int]) -> None:
    out, code = checked
    document = json.loads((out / "check.json").read_text())
    assert code == (3 if document["level"] == "bad" else 0)
    assert document["verdict"].startswith(("Ready", "Usable", "Not ready"))
    rows = {row["name"]: row for row in document["photos"]["list"]}
    assert rows["IMG_0003.jpg"]["level"] == "bad"
    assert rows["IMG_0003.jpg"]["findings"][0]["kind"] == "motion"
    assert rows["IMG_0003.jpg"]["findings"][0]["value"] == pytest.approx(13, abs=3)
    assert sum(row["level"] == "bad" for row in rows.values()) == 1
    why = {r["name"]: r["reason"] for r in document["photos"]["rejected"]}
    assert "truncated" in why["short.jpg"] and any("exact copy" in w for w in why.values())
    assert document["alignment"]["placed"] >= 7 and document["alignment"]["graph"]["connected_share"] > 0.8
    assert document["around"]["kind"] == "front"
    assert 20 < document["coverage"]["score"] <= 100
    page = (out / "check.html").read_text()
    assert (
        document["verdict"][:40] in page
        and "<script" not in page
        and "http://" not in page.replace("http://www.w3.org", "")
    )
    assert "at 100 %" in page and "<svg" in page
    assert cv2.imread(str(out / "contact.jpg")).shape[1] > 1000
    assert sum(document["coverage"]["views_shares"]) == pytest.approx(1, abs=0.01)
    colors = np.unique(read_mesh(out / "coverage.glb").colors, axis=0)
    assert len(colors) >= 3
    assert (out / "plan.svg").read_text().startswith("<svg")


def test_the_same_again_does_nothing_anew_and_more_photos_only_theirs(
    checked: tuple[Path, int], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = checked
    before = (out / "check.json").read_bytes(), (out / "plan.svg").read_bytes()
    main(["check", str(photos), "-o", str(out), "--quality", "draft", "--threads", "1"])
    told = capsys.readouterr().err
    assert told.count("kept from before") >= 5, told
    assert ((out / "check.json").read_bytes(), (out / "plan.svg").read_bytes()) == before


def test_json_is_one_document_on_stdout(
    checked: tuple[Path, int], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, code = checked
    again = main(["check", str(photos), "-o", str(out), "--quality", "draft", "--json", "--quiet"])
    said = capsys.readouterr()
    assert again == code and said.err == ""
    assert json.loads(said.out) == json.loads((out / "check.json").read_text())


def test_a_set_that_does_not_hang_together_is_a_result(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    shutil.copyfile(photos / "IMG_0001.jpg", folder / "a.jpg")
    assert main(["check", str(folder), "-o", str(tmp_path / "one"), "--quiet"]) == 3
    assert "one photo alone" in capsys.readouterr().out
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "b.jpg"), noise)
    assert main(["check", str(folder), "-o", str(tmp_path / "two"), "--quiet"]) == 3
    said = capsys.readouterr().out
    assert "could not be aligned" in said
    rows = json.loads((tmp_path / "two" / "check.json").read_text())["photos"]["list"]
    assert not any("leave it out" in row["advice"] for row in rows)


def test_bad_input_is_told_in_words_and_foreign_folders_are_left_alone(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    assert main(["check", str(photos), "-o", str(mine)]) == 1
    assert "no folder of a check" in capsys.readouterr().err
    assert [p.name for p in mine.iterdir()] == ["letter.txt"]
    assert main(["check", str(photos), "-o", str(mine / "letter.txt")]) == 1
    assert "is a file" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["check", str(empty), "-o", str(tmp_path / "x")]) == 1
    assert "the folder is empty" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "nowhere"), "-o", str(tmp_path / "x")]) == 1
    assert "cannot find" in capsys.readouterr().err
    assert main(["check", str(photos), "--next", "99"]) == 1
    assert "cannot propose 99" in capsys.readouterr().err
    assert main(["check", str(photos), "--kind", "teapot"]) == 2


def test_a_house_tells_why_photos_failed_and_is_not_changed(
    checked: tuple[Path, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rilievo.project import Project

    out, _ = checked
    house = tmp_path / "house"
    shutil.copytree(out / "kept", house)
    project = Project(house)
    project.update(names={"cameras": project.read()["made_from"]["cameras"][0]})
    before = {p: p.read_bytes() for p in sorted(house.rglob("*")) if p.is_file()}
    code = main(["check", str(house), "-o", str(tmp_path / "after"), "--quiet"])
    said = capsys.readouterr().out
    assert code == 0 and said.startswith("Built, but it can be better")
    document = json.loads((tmp_path / "after" / "check.json").read_text())
    row = next(r for r in document["photos"]["list"] if r["name"] == "IMG_0003.jpg")
    assert "keypoints" in row["why"] and "again" in row["fix"]["words"] and row["fix"]["center"] is not None
    assert {p: p.read_bytes() for p in sorted(house.rglob("*")) if p.is_file() and p.name != "lock"} == {
        p: b for p, b in before.items() if p.name != "lock"
    }
    (tmp_path / "nothing").mkdir()
    Project(tmp_path / "nothing").update(photos=[])
    assert main(["check", str(tmp_path / "nothing"), "-o", str(tmp_path / "after2")]) == 1
    assert "has no cameras yet" in capsys.readouterr().err
