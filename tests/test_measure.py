"""`rilievo measure`: numbers and words for what a folder of `rilievo depth` holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rilievo.cli import main
from rilievo.commands.measure import measured, spell_length
from rilievo.errors import InputError
from rilievo.io.depth_files import write_photo_depth
from rilievo.stages.scale import fit_scale, metric_depth
from rilievo.types import ScaleFit
from test_scale import FAR, NEAR, known_depth, room, seen, true_length

SIZE = (800, 600)  # of the photo: four times the map


def written(folder: Path, fit: ScaleFit | None = None, **changes: object) -> Path:
    """A folder as `rilievo depth` leaves it, of the room of test_scale."""
    depth = room()
    photo = replace(seen(depth), **changes)  # type: ignore[arg-type]
    fit = fit or fit_scale(photo, [known_depth(depth, NEAR), known_depth(depth, FAR)])
    write_photo_depth(folder / "depth.npz", photo, fit, metric_depth(photo, fit))
    (folder / "report.json").write_text(json.dumps({"photo": {"width": SIZE[0], "height": SIZE[1]}}))
    return folder


def asked(capsys: pytest.CaptureFixture[str], *args: object) -> dict:
    assert main(["measure", *map(str, args), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_length_in_pixels_of_the_photo(tmp_path, capsys):
    out = asked(capsys, written(tmp_path), "--points", "242,162", "482,162")
    (row,) = out["lengths"]
    truth = true_length(room(), (60.5, 40.5), (120.5, 40.5))
    assert abs(row["length"] - truth) < row["plus_minus"] < 0.6 * truth
    assert out["unit"] == "m" and out["confidence"] == 0.95 and "jump" not in row
    assert main(["measure", str(tmp_path), "--points", "242,162", "482,162"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("242,162 to 482,162:  1.") and " ± " in text and " m\n" in text
    assert "95 times in 100" in text


def test_pairs_and_a_line_and_its_sum(tmp_path, capsys):
    written(tmp_path)
    pairs = asked(capsys, tmp_path, "--points", "242,162", "482,162", "100,100", "300,100")
    assert len(pairs["lengths"]) == 2 and "total" not in pairs
    line = asked(capsys, tmp_path, "--points", "242,162", "362,162", "482,162", "--polyline")
    assert len(line["lengths"]) == 2
    total = line["total"]
    assert total["length"] == pytest.approx(pairs["lengths"][0]["length"], rel=0.01)
    # Both parts share most of their errors, so they add up rather than cancel.
    assert total["sigma"] > 0.9 * np.hypot(*(row["sigma"] for row in line["lengths"]))


def test_depth_at_a_pixel_and_an_angle(tmp_path, capsys):
    written(tmp_path)
    (row,) = asked(capsys, tmp_path, "--points", "402,562")["depths"]
    truth = room()[140, 100]
    assert abs(row["depth"] - truth) < row["plus_minus"] and row["distance"] > row["depth"]
    angle = asked(capsys, tmp_path, "--points", "482,162", "242,162", "242,60", "--angle")["angle"]
    assert abs(angle["degrees"] - 90) < angle["plus_minus"] < 60


def test_a_length_across_a_jump_of_depth_is_noted(tmp_path, capsys):
    out = asked(capsys, written(tmp_path), "--points", "330,380", "330,240")  # from the box to the wall
    assert out["lengths"][0]["jump"]["depth_after"] > 1.5 * out["lengths"][0]["jump"]["depth_before"]
    assert any("depth jumps" in note and "through the air" in note for note in out["notes"])
    floor = asked(capsys, tmp_path, "--points", "40,580", "40,460")  # a slope is no jump
    assert "jump" not in floor["lengths"][0]


def test_without_a_reference_there_are_ratios_only(tmp_path, capsys):
    written(tmp_path, fit_scale(seen(room())))
    out = asked(capsys, tmp_path, "--points", "242,162", "482,162", "242,162", "362,162")
    assert out["unit"] is None and out["lengths"][1]["ratio_to_first"] == pytest.approx(0.5, rel=0.05)
    assert out["notes"][0].startswith("no unit: relative")
    assert main(["measure", str(tmp_path), "--points", "242,162", "482,162", "242,162", "362,162"]) == 0
    text = capsys.readouterr().out
    assert "1 (the first)" in text and "0.500 of the first" in text and "±" not in text


@pytest.mark.parametrize(
    "args, what, why",
    [
        (("--points", "300,300", "3000,20"), "3000,20 has no depth", "outside the photo"),
        (("--points", "10,10", "300,300"), "10,10 has no depth", "the sky is there"),
        (("--points", "300,300", "200,128"), "200,128 has no depth", "gave no depth there"),
        (("--points", "300,300", "310,300", "320,300"), "a length has two points", "one is left over"),
        (("--points", "300,300", "--angle"), "three points", "1 were given"),
        (("--points", "300;300", "1,1"), "cannot read the pixel '300;300'", "two numbers"),
        ((), "no point was given", "nothing to measure"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_the_reason(tmp_path, capsys, args, what, why):
    sky, disparity = np.zeros((150, 200), bool), seen(room()).disparity.copy()
    sky[:10], disparity[30:35] = True, np.nan
    written(tmp_path, sky=sky, disparity=disparity)
    assert main(["measure", str(tmp_path), *args]) == 1
    error = capsys.readouterr().err
    assert what in error and why in error


def test_a_folder_that_holds_nothing_is_refused(tmp_path, capsys):
    assert main(["measure", str(tmp_path / "none"), "--points", "1,1", "2,2"]) == 1
    assert "name the folder that `rilievo depth` wrote" in capsys.readouterr().err
    written(tmp_path)
    (tmp_path / "report.json").unlink()
    assert main(["measure", str(tmp_path), "--points", "1,1", "2,2"]) == 1
    assert "the size of the photo is not known" in capsys.readouterr().err


def test_numbers_have_as_many_digits_as_they_mean():
    assert spell_length(0.8421, 0.0612, "m") == "0.842 ± 0.061 m"
    assert spell_length(0.0421, 0.0031, "m") == "42.1 ± 3.1 mm"
    assert spell_length(12.34, 2.9, "m") == "12.3 ± 2.9 m"
    assert spell_length(2.0, 0.0, None) == "2.000 ± 0.000"


def test_angle_and_polyline_exclude_each_other():
    photo = seen(room())
    with pytest.raises(InputError, match="do not go together"):
        measured(photo, fit_scale(photo), SIZE, [(1, 1)] * 3, polyline=True, angle=True)


def test_points_may_be_given_in_several_goes(tmp_path, capsys):
    written(tmp_path)
    apart = asked(capsys, tmp_path, "--points", "242,162", "482,162", "-p", "242,162", "362,162")["lengths"]
    together = asked(capsys, tmp_path, "--points", "242,162", "482,162", "242,162", "362,162")["lengths"]
    assert len(apart) == 2 and apart == together
