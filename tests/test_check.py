"""Checks of sets on captures with known answers, without pixels: the round, coverage, what to take next, who may go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rilievo.checking import next_photos, set_checks
from rilievo.checking.alignment import Aligned, photo_graph
from rilievo.checking.around import look_around
from rilievo.checking.findings import BAD, WEAK, relative, single
from rilievo.checking.looks import Look
from rilievo.checking.result import _bridges
from rilievo.checking.surface import make_patches, overlaps, second_best
from rilievo.geometry import look_at
from rilievo.io.exif import CameraNotes
from rilievo.stages.photo_quality import PhotoQuality
from rilievo.types import Camera, Matches, Mesh, Reconstruction

CAMERA = Camera("PINHOLE", 600, 400, np.array([620.0, 620.0, 300.0, 200.0]))
GOOD = PhotoQuality(
    4000,
    3000,
    12.0,
    12.0,
    0.5,
    0.5,
    0.0,
    float("nan"),
    0.0,
    120.0,
    0.0,
    0.0,
    0.0,
    0.8,
    0.1,
    92.0,
    0.1,
    0.0,
    0.0,
    (0, 0),
)


def _ball(radius: float = 0.5, rings: int = 24) -> Mesh:
    """A closed ball around the origin."""
    import trimesh

    ball = trimesh.creation.uv_sphere(radius, count=[rings, 2 * rings])
    return Mesh(ball.vertices.astype(np.float32), ball.faces.astype(np.int32), inferred=np.zeros(len(ball.faces), bool))


def _scene(places: list[tuple[float, float]], distance: float = 2.0) -> Reconstruction:
    """Photos that look at the origin from (azimuth, elevation) in degrees."""
    a, e = np.radians(np.array(places, float)).T
    eyes = distance * np.stack([np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)], 1)
    poses = np.stack([look_at(eye, np.zeros(3)) for eye in eyes])
    n = len(places)
    return Reconstruction(
        tuple(f"IMG_{k:03}.jpg" for k in range(n)), np.zeros(n, np.int32), (CAMERA,), poses, np.zeros((0, 3)),
        np.zeros((0, 3), np.uint8), np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(0, np.int32),
        np.zeros((0, 2), np.float32), frame="upright",
    )  # fmt: skip


def _aligned(scene: Reconstruction) -> Aligned:
    return Aligned((), scene, (), {}, _ball())


RING = [(a, 15.0) for a in range(0, 360, 20)]
HIGH = [(a + 7.0, 45.0) for a in range(0, 360, 30)]


@pytest.mark.parametrize(("start", "width"), [(60, 80), (200, 120), (320, 100)])
def test_a_missing_sector_is_named_where_it_is(start: float, width: float) -> None:
    places = [(a, e) for a, e in RING + HIGH if (a - start) % 360 > width]
    found = look_around(_scene(places))
    assert found.kind == "object"
    assert len(found.sectors) == 1
    sector = found.sectors[0]
    turn = places[0][0]  # azimuth 0 is the first photo
    ring = sorted(a for a, _ in places)
    gaps = [((b - a) % 360, a, b) for a, b in zip(ring, ring[1:] + ring[:1])]
    _, low, high = max(gaps)
    assert (sector.start_deg + turn - low - 10) % 360 == pytest.approx(0, abs=3) or (
        sector.start_deg + turn - low - 10
    ) % 360 == pytest.approx(360, abs=3)
    assert abs((sector.end_deg + turn - high + 10 + 180) % 360 - 180) < 3
    names = dict(zip([f"IMG_{k:03}.jpg" for k in range(len(places))], places))
    assert names[sector.before][0] % 360 == pytest.approx(low % 360)
    assert names[sector.after][0] % 360 == pytest.approx(high % 360)


def test_a_whole_round_misses_nothing_and_one_tier_is_too_few() -> None:
    whole = look_around(_scene(RING + HIGH))
    assert not whole.sectors and whole.tier_gap < 1 and [round(t.elevation_deg) for t in whole.tiers] == [15, 45]
    assert whole.step_deg == pytest.approx(20)
    low = look_around(_scene(RING))
    assert low.tier_gap > 1 and low.to_json()["missing_tier"] == pytest.approx(37, abs=2)
    high = look_around(_scene(HIGH))
    assert high.to_json()["missing_tier"] == pytest.approx(23, abs=2)


def test_a_front_has_no_missing_sector() -> None:
    found = look_around(_scene([(a, 10.0) for a in range(-40, 41, 10)] + [(a, 30.0) for a in range(-40, 41, 10)]))
    assert found.kind == "front" and not found.sectors and found.to_json()["missing_tier"] is None
    assert look_around(_scene([(a, 10.0) for a in range(-40, 41, 10)]), kind="object").sectors


def test_coverage_falls_with_what_is_missing_and_next_photos_bring_it_back() -> None:
    part = [(a, e) for a, e in RING if not 80 <= a <= 200]
    scene = _scene(part)
    aligned, around = _aligned(scene), look_around(scene)
    patches = make_patches(aligned, 1500)
    proposals, wanted = next_photos.propose(scene, around, patches, 5)
    whole = make_patches(_aligned(_scene(RING)), 1500)
    assert patches.score(wanted) < whole.score(wanted) - 8
    assert len(proposals) == 5
    # each stands where photos are missing, and near enough to one that is there or was proposed before
    azimuth = [
        np.degrees(np.arctan2(*(-p.cam_from_world[:, :3].T @ p.cam_from_world[:, 3])[1::-1])) % 360 for p in proposals
    ]
    inside = [60 < a < 220 for a in azimuth]
    assert sum(inside) >= 4
    assert all("round to the" in p.words() or "degrees" in p.words() for p in proposals)
    poses = np.concatenate([scene.cam_from_world, np.stack([p.cam_from_world for p in proposals])])
    n = len(poses)
    more = replace(
        scene,
        names=tuple(f"IMG_{k:03}.jpg" for k in range(n)),
        camera_index=np.zeros(n, np.int32),
        cam_from_world=poses,
    )
    assert make_patches(_aligned(more), 1500).score(wanted) > patches.score(wanted) + 6


def test_no_photo_may_go_whose_loss_opens_a_hole() -> None:
    # three photos see the back, many the front
    places = [(a, 10.0) for a in range(-40, 41, 2)] + [(140.0, 10.0), (180.0, 10.0), (220.0, 10.0)]
    scene = _scene(places)
    patches = make_patches(_aligned(scene), 1500)
    wanted = patches.seen.counts > 0
    back, front = [f"IMG_{k:03}.jpg" for k in (41, 42, 43)], ["IMG_020.jpg", "IMG_010.jpg", "IMG_031.jpg"]
    told = next_photos.losses(scene, patches, wanted, [*back, *front])
    assert not any(told[n] for n in back)
    assert all(told[n] for n in front)
    # what may go one by one must not go together
    every = next_photos.losses(scene, patches, wanted, list(scene.names))
    stay = [k for k, n in enumerate(scene.names) if not every.get(n)]
    rest = make_patches(_aligned(_scene([places[k] for k in stay])), 1500)
    lost = (patches.seen.counts >= 3) & (rest.seen.counts < 3)
    assert lost.mean() < 0.03


def test_overlap_is_that_of_the_footprints() -> None:
    scene = _scene([(0, 0.0), (5, 0.0), (10, 0.0), (90, 0.0)])
    patches = make_patches(_aligned(scene), 500)
    found = second_best(overlaps(scene, patches.obstacles))
    # a ball of radius 0.5 at 2 m, of which a turn by b hides the share (1 - cos b) / 2 of the disc or so
    assert 0.9 < found["IMG_001.jpg"] <= 1.0
    assert found["IMG_003.jpg"] < 0.5


def test_the_graph_tells_islands_and_weak_links() -> None:
    names = [f"{k}.jpg" for k in range(8)]
    counts = {("0.jpg", "1.jpg"): 300, ("1.jpg", "2.jpg"): 200, ("2.jpg", "3.jpg"): 40, ("3.jpg", "4.jpg"): 250}
    counts |= {("5.jpg", "6.jpg"): 90}
    items = []
    for (a, b), n in counts.items():
        rows = np.zeros((n, 2), np.int32)
        items.append(Matches("sift", b, (a,), np.array([0, n]), rows, np.array([n], np.int32), np.array([2], np.int32)))
    graph = photo_graph(names, items, counts)
    assert [len(i) for i in graph.islands] == [5, 2, 1]
    assert graph.connected_share == 5 / 8
    assert graph.weak == (("2.jpg", "3.jpg", 40, 2),)
    bridges = _bridges(names, graph)
    assert [(b["from"], b["to"]) for b in bridges] == [("4.jpg", "5.jpg")]


def _look(name: str, fingerprint: int = 0, notes: CameraNotes = CameraNotes(), **quality: float) -> Look:
    rng = np.random.default_rng(fingerprint)
    picture = rng.integers(0, 255, (32, 32), dtype=np.uint8)
    return Look(name, notes, replace(GOOD, **quality), picture, b"", b"")


def test_changed_settings_and_missing_notes_are_found() -> None:
    usual = CameraNotes(
        maker="A", model="B", focal_mm=35, exposure_s=1 / 100, f_number=8, iso=100, white_balance="auto"
    )
    looks = [_look(f"{k}.jpg", k, usual) for k in range(6)]
    looks += [
        _look("zoomed.jpg", 10, replace(usual, focal_mm=50)),
        _look("bright.jpg", 11, replace(usual, exposure_s=1 / 25)),
        _look("tinted.jpg", 12, replace(usual, white_balance="manual")),
        _look("bare.jpg", 13),
        _look("cropped.jpg", 14, usual, width=2000),
    ]
    found = {name: {f.kind for f in fs} for name, fs in set_checks.by_photo(looks).items()}
    assert found == {
        "zoomed.jpg": {"zoom"}, "bright.jpg": {"settings"}, "tinted.jpg": {"white balance"}, "bare.jpg": {"exif"},
        "cropped.jpg": {"size"},
    }  # fmt: skip
    assert {f.kind for f in set_checks.of_set(looks)} == {"resolution", "settings"}


def test_doubles_are_found_by_their_looks() -> None:
    looks = [_look("a.jpg", 1), _look("b.jpg", 2), _look("c.jpg", 1), _look("d.jpg", 1)]
    assert set_checks.doubles(looks) == {"c.jpg": "a.jpg", "d.jpg": "a.jpg"}


def test_verdicts_on_single_photos_are_absolute_and_relative() -> None:
    assert single(GOOD) == []
    blurred = single(replace(GOOD, sigma_px=3.0, defocus_px=3.0))
    assert [(f.kind, f.level) for f in blurred] == [("defocus", BAD)] and "3.0 px" in blurred[0].text
    shaken = single(replace(GOOD, sigma_px=2.0, motion_px=7.0, motion_deg=90.0))
    assert [(f.kind, f.level) for f in shaken] == [("motion", WEAK)] and "7 px, upright" in shaken[0].text
    looks = {f"{k}": _look(f"{k}", k) for k in range(5)}
    looks["soft"] = _look("soft", 9, sigma_px=0.95)
    near = {name: [n for n in looks if n != name] for name in looks}
    gains = {"1": np.array([1.2, 1.2, 1.2]), "2": np.array([0.4, 0.0, -0.4]), "0": np.zeros(3)}
    found = relative(looks, near, gains)
    assert {n: [f.kind for f in fs] for n, fs in found.items()} == {
        "soft": ["defocus"], "1": ["exposure"], "2": ["white balance"]
    }  # fmt: skip


def test_a_time_budget_chooses_what_fits() -> None:
    from rilievo.pipelines_check import CheckSettings, fit_budget

    asked = CheckSettings(quality="normal", num_next=3)
    found = [fit_budget(asked, 40, seconds, 2) for seconds in (600, 60, 45, 1)]
    assert [(c.quality, c.surface) for c in found] == [
        ("high", True), ("normal", True), ("draft", True), ("draft", False)
    ]  # fmt: skip
    assert all(c.num_next == 3 for c in found)
