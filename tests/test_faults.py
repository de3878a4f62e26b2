"""Single bad photos: what is said of each, with its number and what to do, and that the rest of the model stands."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rilievo import report
from rilievo.commands.inspect import explain
from rilievo.io import photos as io
from rilievo.stages import cameras, faults, features, matches
from rilievo.stages.faults import Fault

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("bench_faults", ROOT / "bench" / "faults.py")
assert spec is not None and spec.loader is not None
bench = importlib.util.module_from_spec(spec)
sys.modules["bench_faults"] = bench
spec.loader.exec_module(bench)


def solve(items, folder):
    """Photos, features, matches and model of items (`bench.Item`), as a build makes them."""
    bench.write_items(items, folder)
    sources = io.find_photos([folder])
    found = io.read_photos(sources)
    by_name = {s.name: s for s in sources}
    photos = [p for _, p in found.photos]
    keypoints = {p.name: features.extract(io.load_pixels(by_name[p.name]), name=p.content_id) for p in photos}
    guess = {p.name: matches.guess_camera(p)[0] for p in photos}
    matched = [
        matches.match(p.name, keypoints[p.name], [(q.name, keypoints[q.name], guess[q.name]) for q in photos[:k]],
                      guess[p.name])
        for k, p in enumerate(photos) if k
    ]  # fmt: skip
    scene = cameras.reconstruct(photos, keypoints, matched)
    small = {n: float(np.median(io.load_pixels(s, max_size=160))) for n, s in by_name.items()}
    return photos, keypoints, matched, scene, small


def named(k):
    return f"IMG_{k:04}.jpg"


@pytest.fixture(scope="module")
def lights(tiny, tmp_path_factory):
    """One photo each: mirrored, nearly black, 1.5 EV lighter, warm, and one of something else."""
    items = bench.read_items(tiny / "photos")
    bench._touch(items[1], bench._relight(items[1].pixels, 2**1.5))
    bench._touch(items[2], bench._relight(items[2].pixels, [1.35, 1.0, 0.70]))
    bench._touch(items[3], items[3].pixels[:, ::-1])
    bench._touch(items[7], bench._relight(items[7].pixels, 0.002))
    bench.unrelated(items)
    return solve(items, tmp_path_factory.mktemp("lights"))


@pytest.fixture(scope="module")
def shapes(tiny, tmp_path_factory):
    """One photo each: turned by a quarter, twice the focal length in EXIF, blurred."""
    items = bench.read_items(tiny / "photos")
    bench._touch(items[2], np.rot90(items[2].pixels))
    bench._wrong_focal(items[4], 2.0)
    import cv2

    bench._touch(items[6], cv2.GaussianBlur(items[6].pixels, (0, 0), 4.0))
    return solve(items, tmp_path_factory.mktemp("shapes"))


def kinds(found):
    return {name: [f.kind for f in several] for name, several in found.items()}


def test_light_mirror_and_strangers_are_told(lights):
    photos, keypoints, matched, scene, small = lights
    found = faults.find_faults(photos, keypoints, matched, scene, brightness=small)
    assert kinds(found) == {
        named(1): ["exposure"],
        named(2): ["tint"],
        named(3): ["mirrored"],
        named(7): ["dark"],
        "OTHER_0001.jpg": ["alone"],
    }
    assert set(scene.names) == {named(k) for k in (0, 1, 2, 4, 5, 6)}
    assert found[named(1)][0].value == pytest.approx(1.5, abs=0.25)
    assert found[named(1)][0].text.endswith("EV lighter than the others")
    assert "red +0." in found[named(2)][0].text and "blue -0." in found[named(2)][0].text
    assert "its mirror image has" in found[named(3)][0].text
    assert found[named(3)][0].hint == "flip it left to right and build again"
    assert found[named(7)][0].text.startswith("is nearly black (median brightness ")


def test_turn_focal_length_and_blur_are_told(shapes):
    photos, keypoints, matched, scene, small = shapes
    found = faults.find_faults(photos, keypoints, matched, scene, brightness=small)
    assert kinds(found) == {named(2): ["turned"], named(4): ["focal"], named(6): ["blur"]}
    assert found[named(2)][0].text == "is turned by +90 degrees against the others and was used as it is"
    assert found[named(2)][0].hint == ""
    assert found[named(4)][0].value == pytest.approx(0.5, rel=0.1)
    assert "901 px there" in found[named(4)][0].text
    assert found[named(6)][0].value == pytest.approx(4, rel=0.3)
    assert {named(2), named(4)} <= set(scene.names)
    # the wrong focal length was replaced by a measured one, and only for its photo
    true = 430.0
    for k, name in enumerate(scene.names):
        assert scene.camera(k).fx == pytest.approx(true, rel=0.04), name


def test_a_sound_capture_has_no_faults(shapes):
    photos, keypoints, matched, scene, small = shapes
    calm = [replace(p, focal_px=430.0, blur_px=0.4) for p in photos]
    found = faults.find_faults(calm, keypoints, matched, replace(scene, frame="arbitrary"), brightness=small)
    assert set(found) <= {named(6)}  # the blurred one finds no partner


def test_mirrored_features_are_those_of_the_mirror_image(tiny):
    pixels = bench.read_items(tiny / "photos", 1)[0].pixels
    there = features.extract(pixels, name="x")
    real = features.extract(np.ascontiguousarray(pixels[:, ::-1]), name="x")
    made = faults.mirrored_features(there, pixels.shape[1])
    rows = matches.match_nearest(made, real, matches.MatchesConfig())
    near = np.linalg.norm(made.keypoints[rows[:, 0]] - real.keypoints[rows[:, 1]], axis=1) < 0.5
    assert len(rows) > 0.7 * len(real.keypoints) and near.mean() > 0.97
    assert len(matches.match_nearest(there, real, matches.MatchesConfig())) < 0.2 * len(rows)


def test_gains_without_evidence_are_unknown(shapes):
    _, keypoints, _, scene, _ = shapes
    assert np.isnan(faults.relative_gains(scene, {})).all()
    empty = {n: replace(f, keypoints=f.keypoints[:0], colors=f.colors[:0]) for n, f in keypoints.items()}
    assert np.isnan(faults.relative_gains(scene, empty)).all()
    gains = faults.relative_gains(scene, keypoints)
    assert gains.shape == (len(scene.names), 3) and np.nanmax(np.abs(gains)) < 0.5


def row(name, *several):
    found = [vars(f) for f in several]
    return {"name": name, "placed": True, "reason": "", "blur_px": 0.5, "faults": found}


def test_warnings_name_the_photo_the_fault_and_what_to_do():
    mirrored = Fault("mirrored", "is mirrored: its mirror image has 300 verified matches with b.jpg", "flip it", 300.0)
    turned = Fault("turned", "is turned by +90 degrees against the others", "", 90.0)
    blur = [Fault("blur", f"is blurred by {s} px", "hold still", s) for s in (3.0, 5.0, 4.0)]
    rows = [row("a.jpg", mirrored), row("b.jpg", turned), *(row(f"c{k}.jpg", f) for k, f in enumerate(blur))]
    assert report.list_faults(rows) == [
        "a.jpg is mirrored: its mirror image has 300 verified matches with b.jpg: flip it",
        "3 photos are blurred: c0.jpg, c1.jpg, c2.jpg (the most: is blurred by 5.0 px); hold still",
    ]
    assert report.list_faults([row("a.jpg")]) == []


def test_why_puts_the_fault_before_the_general_advice():
    fault = Fault("mirrored", "is mirrored", "flip it left to right and build again", 300.0)
    text = explain({**row("a.jpg", fault), "placed": False,
                    "diagnosis": "a.jpg was not placed: no matches\nkeypoints: 9\nhint: take more photos"})  # fmt: skip
    assert text == (
        "a.jpg was not placed: no matches\nit is mirrored\nkeypoints: 9\nhint: flip it left to right and build again"
    )
    assert explain({**row("b.jpg"), "placed": False, "reason": "it is an exact copy of a.jpg"}) == (
        "b.jpg was not placed: it is an exact copy of a.jpg"
    )


def test_every_fault_of_the_bench_is_described():
    readme = (ROOT / "bench" / "README.md").read_text()
    for name, change in bench.FAULTS.items():
        assert change.__doc__ and name in readme, name


def test_cameras_that_contradict_exif_in_every_photo_are_told_as_a_doubt_about_the_model(shapes):
    photos, keypoints, matched, scene, small = shapes
    far = [replace(p, focal_px=900.0, blur_px=0.4) for p in photos]
    found = faults.find_faults(far, keypoints, matched, scene, brightness=small)
    texts = [f.text for name in scene.names for f in found[name] if f.kind == "focal"]
    assert len(texts) == len(scene.names)
    assert all("like all of the set" in text for text in texts)
