"""`rilievo mask`: files, counts and messages."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import networks as fake
from rilievo import cli, pipelines_mask, weights
from rilievo.errors import InputError
from rilievo.io.mask_files import write_mask
from rilievo.io.photos import find_photos, load_mask
from rilievo.stages import segment
from test_segment import FakeDetector, fake_foreground


def _run(*args: object) -> int:
    return cli.main(["mask", *map(str, args), "--threads", "1", "--quiet"])


def _sums(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos of sky over a field with a bright red thing before it, one of them in a subfolder."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    for name, x in (("a.jpg", 60), ("roll/b.jpg", 180)):
        picture = np.full((240, 320, 3), (40, 90, 60), np.uint8)
        picture[120:] = rng.integers(40, 110, (120, 320, 3))
        picture[:120] = (0, 170, 235)
        picture[90:200, x : x + 80] = (255, 20, 20)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    return folder


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins: sky is what has no red, the foreground is red."""
    store = tmp_path / "weights"
    store.mkdir()
    (store / "depth.onnx").write_bytes(fake.depth_small(smear=1))
    (store / "isnet.onnx").write_bytes(fake_foreground())
    real = weights.get
    found = {"depth-small": store / "depth.onnx", "isnet": store / "isnet.onnx"}
    monkeypatch.setattr(weights, "get", lambda name: found[name] if name in found else real(name))
    monkeypatch.setattr(weights, "available", lambda name: name in found or name == "nanodet")
    monkeypatch.setattr(
        segment, "open_detector", lambda **_: FakeDetector({"x": (1, 3, 416, 416)}, {"a": ()}, "cpu", 1, None)
    )


def test_sky_and_background_of_photos(photos: Path, networks: None, tmp_path: Path, capsys) -> None:
    before = _sums(photos)
    house = tmp_path / "house"
    assert _run(photos, "-o", house, "--auto", "sky,background", "--grow", 0, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert _sums(photos) == before
    assert told["photos"] == 2 and set(told["kinds"]) == {"sky", "background"} and not told["left_out"]
    for source in find_photos([photos], masks=house / "masks"):
        assert source.mask == house / "masks" / f"{source.name}.png"
        usable = load_mask(source)
        assert usable is not None
        x = 60 if source.name.startswith("a") else 180
        truth = np.zeros((240, 320), bool)
        truth[90:200, x : x + 80] = True
        assert (usable & truth).sum() / (usable | truth).sum() > 0.95
        sky = cv2.imread(str(house / "masks" / "by-kind" / "sky" / f"{source.name}.png"), cv2.IMREAD_GRAYSCALE) == 0
        assert sky[:80].mean() > 0.95 and not sky[205:].any() and set(np.unique(sky)) == {False, True}
    assert (house / "masks" / "overview.png").is_file()
    rows = {row["name"]: row for row in json.loads((house / "masks" / "masks.json").read_text())["list"]}
    assert rows["a.jpg"]["hidden"] == pytest.approx(1 - 110 * 80 / (240 * 320), abs=0.02)
    again = _sums(house / "masks")
    assert _run(photos, "-o", house, "--auto", "sky,background", "--grow", 0) == 0
    assert _sums(house / "masks") == again


def test_people_and_masks_that_were_given(photos: Path, networks: None, tmp_path: Path) -> None:
    given = tmp_path / "given"
    left = np.ones((240, 320), bool)
    left[:, :40] = False
    write_mask(given, "a.jpg", left)
    house = tmp_path / "house"
    # a single bright thing on black is what the stand-in takes for a person
    dark = tmp_path / "dark" / "a.jpg"
    dark.parent.mkdir()
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[60:200, 120:200] = (255, 40, 40)
    cv2.imwrite(str(dark), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
    assert _run(dark.parent, "-o", house, "--auto", "people", "--masks", given, "--grow", 0.02) == 0
    usable = cv2.imread(str(house / "masks" / "a.jpg.png"), cv2.IMREAD_GRAYSCALE) > 0
    assert not usable[:, :40].any() and not usable[70:190, 125:195].any() and usable[10:50, 230:].all()
    assert not usable[100, 116], "what is masked grows"


def test_messages(photos: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILIEVO_WEIGHTS", str(tmp_path / "none"))

    def error(*args: object) -> str:
        assert _run(*args) == 1
        return capsys.readouterr().err

    assert "unknown kind of mask 'ghosts'" in error(photos, "--auto", "sky,ghosts")
    assert "no kind of mask was named" in error(photos, "--auto", ",")
    text = error(photos, "-o", tmp_path / "h", "--auto", "background")
    assert "masks of background need the weights 'isnet'" in text
    assert "rilievo weights get isnet --accept-licence; or leave background out" in text
    assert "people need the weights 'nanodet'" in error(photos, "-o", tmp_path / "h", "--auto", "people")
    assert "no photos were given" in error()
    assert "cannot find" in error(tmp_path / "nowhere", "--auto", "sky")
    assert "--separate is of no use" in error(photos, "--auto", "sky", "--separate")
    assert "--grow 2 cannot be" in error(photos, "--grow", 2)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.jpg").write_bytes(b"rubbish")
    assert "error" in error(tmp_path / "bad", "-o", tmp_path / "h2", "--auto", "sky")
    assert pipelines_mask.parse_kinds("glass, mirror, sky") == ("sky", "mirror", "glass")
    with pytest.raises(InputError):
        write_mask(tmp_path / "m", "../../out", np.ones((2, 2), bool))


def test_photos_without_a_scene_get_the_masks_that_need_none(
    photos: Path, networks: None, tmp_path: Path, capsys
) -> None:
    assert _run(photos, "-o", tmp_path / "h", "--auto", "moving,mirror") == 1
    assert "error" in capsys.readouterr().err
    assert _run(photos, "-o", tmp_path / "h", "--auto", "sky,moving", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["left_out"]) == ["moving"] and told["kinds"]["sky"]["photos"] == 2


def test_a_still_scene_has_nothing_to_mask(tiny_house: Path, tmp_path: Path, capsys) -> None:
    house = tmp_path / "house"
    shutil.copytree(tiny_house, house)
    report = (house / "export" / "report.json").read_bytes()
    assert _run(house, "--auto", "moving,mirror,glass", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["hidden"] < 0.02 and told["notes"][0] == "no mirror was found"
    assert told["notes"][1].startswith("no pane of glass was found: ") and set(told["kinds"]) == {
        "moving",
        "mirror",
        "glass",
    }
    assert (house / "export" / "report.json").read_bytes() == report
    assert len(list((house / "masks").glob("*.jpg.png"))) == 8
    assert _run(house, "--auto", "sky", "-o", tmp_path / "other") == 1


def test_one_command_masks_and_builds_and_a_house_masks_all_its_photos(
    tiny: Path, networks: None, tmp_path: Path, capsys
) -> None:
    folder, house = tmp_path / "photos", tmp_path / "house"
    shutil.copytree(tiny / "photos", folder)
    noise = np.random.default_rng(3).integers(0, 255, (300, 400, 3)).astype(np.uint8)
    noise[:150] = (235, 170, 0)  # what the stand-in takes for sky (BGR)
    cv2.imwrite(str(folder / "other.jpg"), noise)
    build = ["build", str(folder), "-o", str(house), "--auto-masks", "moving", "--quality", "draft", "--threads", "2"]
    assert cli.main([*build, "--quiet", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["masks"]["photos"] == 8 and set(report["masks"]["kinds"]) == {"moving"}
    assert report["masks"]["share"] < 0.03
    assert [row["name"] for row in report["photos"]["list"] if not row["placed"]] == ["other.jpg"]
    assert "masks: depth" in {row["stage"] for row in report["stages"]}
    project = json.loads((house / "project.json").read_text())
    before = _sums(house / "objects") | _sums(house / "masks")
    assert cli.main([*build, "--quiet"]) == 0
    assert _sums(house / "objects") | _sums(house / "masks") == before, "the same command again computes nothing"
    again = json.loads((house / "project.json").read_text())
    assert {k: again[k] for k in ("names", "photos", "sources")} == {
        k: project[k] for k in ("names", "photos", "sources")
    }
    capsys.readouterr()
    assert cli.main([*build, "--quiet", "--masks", str(house / "masks")]) == 1
    assert "would be overwritten" in capsys.readouterr().err
    assert cli.main([*build[:-6], "--auto-masks", "ghosts", "--quiet"]) == 1
    assert "unknown kind of mask 'ghosts'" in capsys.readouterr().err
    # photos of the house that were not placed have a sky, too
    assert _run(house, "--auto", "sky", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["photos"] == 9
    assert next(row for row in told["list"] if row["name"] == "other.jpg")["shares"]["sky"] > 0.4
    assert json.loads((house / "project.json").read_text())["names"] == project["names"]


def test_grey_is_matched_but_not_measured(photos: Path, tmp_path: Path) -> None:
    usable = np.zeros((240, 320), bool)
    usable[:, 100:] = True
    matched = usable.copy()
    matched[:, 50:] = True
    write_mask(tmp_path / "m", "a.jpg", usable, matched)
    source = next(s for s in find_photos([photos], masks=tmp_path / "m") if s.name == "a.jpg")
    plain, wide = load_mask(source), load_mask(source, matching=True)
    assert plain is not None and (plain == usable).all()
    assert wide is not None and (wide == matched).all()
    write_mask(tmp_path / "m", "a.jpg", np.zeros((240, 320), bool), matched)  # nothing to be measured: all black
    nothing = load_mask(source, matching=True)
    assert nothing is not None and not nothing.any()


def test_a_mirror_of_the_first_draft_is_not_lost(tmp_path: Path) -> None:
    """The second draft, made without what moves, may show too little of what a mirror reflects."""
    from rilievo.chain import Chain
    from rilievo.pipelines_mask import _with_found_before
    from rilievo.project import Project

    chain = Chain(Project(tmp_path / "house"), 1, lambda *_: None)
    some, none = np.zeros((6, 8), bool), np.zeros((6, 8), bool)
    some[2:4, 3:6] = True
    ids = [chain.project.put(m) for m in (some, none)]
    before = {"mirror": {"a.jpg": ids[0]}, "moving": {"a.jpg": ids[0]}, "notes": ["a mirror"]}
    now = {"mirror": {"a.jpg": ids[1]}, "moving": {"a.jpg": ids[1]}, "notes": ["no mirror was found"]}
    kept = _with_found_before(chain, now, before)
    assert kept["mirror"] == before["mirror"] and kept["notes"] == ["a mirror"] and kept["moving"] == now["moving"]
    assert _with_found_before(chain, before, now) == before
