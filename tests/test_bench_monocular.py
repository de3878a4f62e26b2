"""bench/monocular.py: truth and photo belong together, a model is told from a prior, and a table comes out."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("RILIEVO_DATA", ROOT.parent / "shared/data"))
spec = importlib.util.spec_from_file_location("bench_monocular", ROOT / "bench" / "monocular.py")
assert spec is not None and spec.loader is not None
monocular = importlib.util.module_from_spec(spec)
sys.modules["bench_monocular"] = monocular
spec.loader.exec_module(monocular)


def frames(folder: Path):
    """A made-up set: grey is inverse depth."""
    depth = np.minimum(6.0, 60.0 / (np.arange(60)[:, None] + 6.0)) * np.ones((60, 90))
    depth[20:40, 30:60] = 2.5
    grey = np.repeat((200 / depth)[..., None], 3, 2).round().astype(np.uint8)
    yield monocular.Frame("one", grey, depth, np.zeros(depth.shape, bool), 80.0)


@pytest.fixture
def only_made_up(monkeypatch):
    monkeypatch.setattr(monocular, "SETS", {"made up": monocular.Set(frames, 10.0, "grey is inverse depth", True)})


def test_a_right_model_beats_the_priors_and_pictures_are_written(only_made_up, monkeypatch, tmp_path, capsys):
    def predict(pixels, focal_px):
        assert focal_px == 80.0
        return pixels[::2, ::2, 0].astype(np.float32), np.zeros((30, 45), bool)

    monkeypatch.setattr(monocular, "find_model", lambda name: ("right", predict))
    monkeypatch.setattr(sys, "argv", ["monocular.py", "--json", "--pictures", str(tmp_path)])
    assert monocular.main() == 0
    rows = json.loads(capsys.readouterr().out)["made up"]
    assert rows["right"]["abs_rel"] < 0.03 and rows["right"]["ordinal"] > 0.98
    assert rows["right"]["gain"]["AbsRel"] > 0.7 and rows["right"]["sky_near"] is None
    assert rows["constant"]["abs_rel"] > rows["gradient"]["abs_rel"] > 0.05
    import cv2

    assert np.shape(cv2.imread(str(tmp_path / "made up_one.png"))) == (320, 4 * 480, 3)


def test_a_prior_without_an_error_leaves_no_gain_to_tell():
    def row(abs_rel, delta1, ordinal):
        return {"abs_rel": abs_rel, "delta1": delta1, "ordinal": ordinal}

    rows = {"constant": row(0.1, 1.0, 0.5), "gradient": row(0.2, 1.0, 0.8), "m": row(0.05, 0.9, 0.9)}
    found = monocular.gains(rows, "m")
    assert found["AbsRel"] == pytest.approx(0.5) and found["order"] == pytest.approx(0.5) and np.isnan(found["delta1"])


def test_without_a_model_the_priors_alone(only_made_up, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["monocular.py", "--model", "none"])
    assert monocular.main() == 0
    out = capsys.readouterr().out
    assert "constant" in out and "gradient" in out and "gain" not in out


def test_absent_data_are_left_out(monkeypatch, tmp_path, capsys):
    for name in ("nyu", "kitti", "7scenes", "motorcycle", "idol"):
        monkeypatch.setattr(sys, "argv", ["monocular.py", "--model", "none", "--set", name, "--data", str(tmp_path)])
        assert monocular.main() == 0
        assert f"{name}: not in {tmp_path}, skipped" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nyu", "kitti", "7scenes", "motorcycle", "idol"])
def test_truth_of_the_data_sets(name):
    try:
        frame = next(monocular.SETS[name].read(DATA))
    except (FileNotFoundError, StopIteration):
        pytest.skip(f"{name} is not in {DATA}")
    assert frame.pixels.shape == (*frame.depth.shape, 3) and frame.pixels.dtype == np.uint8
    usual = {"nyu": (0.7, 10), "kitti": (2, 90), "7scenes": (0.4, 5), "motorcycle": (1.9, 5.5), "idol": (1.5, 8)}
    low, high = np.nanpercentile(frame.depth, [0.1, 99.9])
    assert usual[name][0] < low < high < usual[name][1]
    assert np.nanmedian(frame.depth[-len(frame.depth) // 4 :]) < np.nanmedian(frame.depth)  # below is near


def test_own_scenes_carry_their_depth(monkeypatch, tmp_path):
    import scenes

    monkeypatch.setattr(scenes, "_openness", lambda vertices, *_: np.ones(len(vertices), np.float32))  # flat light
    monkeypatch.setattr(monocular, "KEPT", tmp_path)
    (frame,) = monocular.own_scene("repetitive", 1, 0.1)
    assert frame.pixels.shape == (80, 120, 3) and frame.focal_px == 90.0
    assert 4 < np.nanmin(frame.depth) < np.nanmedian(frame.depth) < 12
    again = next(monocular.own_scene("repetitive", 1, 0.1))  # kept
    np.testing.assert_array_equal(again.depth, frame.depth)
