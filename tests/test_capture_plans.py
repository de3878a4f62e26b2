"""Plans of objects, facades and rooms."""

import math
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from rilievo.capture import told
from rilievo.capture.around import STANDARDS, plan_object
from rilievo.capture.coverage import box_triangles
from rilievo.capture.drawing import Page, pdf
from rilievo.capture.facade import plan_facade
from rilievo.capture.gear import Gear, find_gear
from rilievo.capture.lengths import parse_length, parse_size
from rilievo.capture.room import plan_room
from rilievo.capture.sheet import sheet, sheet_pdf
from rilievo.capture.show import plan_mesh
from rilievo.capture.stations import assess
from rilievo.errors import InputError

PHONE = find_gear("iPhone 13")
FULL = Gear("full", (36.0, 24.0), 50.0, (6000, 4000))


def test_object_by_hand():
    # 0.3 mm of detail are three pixels: gsd 0.1 mm, depth 50 (1 + 0.1 / 0.006) = 883.3 mm
    plan = plan_object(FULL, (0.2, 0.2, 0.2), detail=0.0003)
    assert plan.gsd == pytest.approx(0.0001) and plan.depth == pytest.approx(0.88333, abs=1e-5)
    # it shows 0.6 x 0.4 m: all of the object, so cameras stand round its middle, that far from its sides
    radii = np.linalg.norm(plan.stations.centers - [0, 0, 0.1], axis=1)
    assert radii == pytest.approx(plan.depth + 0.1)
    # tiers at 0, 30, 55 degrees with steps of at most 12 degrees: 4 x 8, 4 x 7, 4 x 5, and two from above
    assert [r["photos"] for r in plan.facts["rings"]] == [32, 28, 20, 2]
    tilt = np.degrees(np.arcsin(-plan.stations.directions[:, 2]))
    assert np.unique(np.round(tilt, 6)).tolist() == [0, 30, 55, 90]
    # neighbours in the lowest tier are 11.25 degrees apart: B = 2 R sin(5.625 deg), sigma = Z^2 / (f B) / 2
    base = 2 * (plan.depth + 0.1) * math.sin(math.radians(90 / 8 / 2)) * math.cos(math.radians(90 / 8 / 2))
    ring = plan_object(FULL, (0.2, 0.2, 0.2), detail=0.0003, tiers=(0.0,), step_deg=11.25)
    found = ring.facts["figures"]
    assert found["sigma_pair"] == pytest.approx(found["depth_median"] ** 2 / (plan.camera.fx * base) * 0.5, rel=0.02)
    assert found["gsd_median"] == pytest.approx(0.0001, rel=0.05)


def test_standards_have_their_tiers_and_steps():
    for standard, (tiers, step, overlap) in STANDARDS.items():
        plan = plan_object(PHONE, (0.3, 0.2, 0.4), standard=standard)
        stations = plan.stations
        assert len(stations.groups) == len(tiers) + 1 and len(tiers) >= 2
        for i, j in stations.neighbours():
            angle = math.degrees(math.acos(np.clip(stations.directions[i] @ stations.directions[j], -1, 1)))
            assert angle <= step + 1e-6 or stations.group[i] == len(tiers)
        assert plan.facts["figures"]["overlap_least"] >= overlap
        assert plan.facts["figures"]["views_least"] >= (8 if standard == "minimum" else 20)
        assert plan.facts["figures"]["seen_share"] == 1.0


def test_all_of_a_large_object_is_covered():
    plan = plan_object(PHONE, (4.2, 1.8, 1.4), gsd=0.0005)
    figures = plan.facts["figures"]
    assert figures["views_least"] >= 4 and figures["gsd_coarsest"] < 1.1 * plan.gsd
    # nobody stands inside the object or nearer than planned
    away = np.maximum(np.abs(plan.stations.centers - [0, 0, 0.7]) - [2.1, 0.9, 0.7], 0)
    assert np.linalg.norm(away, axis=1).min() > 0.6 * plan.depth


def test_underside_and_turntable():
    plain = plan_object(PHONE, (0.2, 0.2, 0.1))
    both = plan_object(PHONE, (0.2, 0.2, 0.1), underside=True)
    assert (both.stations.centers[:, 2] < 0).any() and not (plain.stations.centers[:, 2] < 0).any()
    assert both.facts["figures"]["seen_share"] == 1.0
    turned = plan_object(FULL, (0.2, 0.1, 0.1), turntable=True)
    for g in range(3):
        mine = turned.stations.centers[turned.stations.group == g]
        assert np.ptp(np.linalg.norm(mine[:, :2], axis=1)) < 1e-9 and np.ptp(mine[:, 2]) < 1e-9
    assert turned.facts["exposure"]["slowest_shutter_s"] is None
    with pytest.raises(InputError, match="turntable"):
        plan_object(FULL, (2.0, 1.0, 1.0), gsd=0.0001, turntable=True)


def test_a_rough_mesh_decides_what_is_hidden():
    hollow = np.concatenate(
        [box_triangles([-0.1, -0.1, 0], [0.1, 0.1, 0.02]), box_triangles([-0.1, -0.1, 0.3], [0.1, 0.1, 0.32])]
    )
    open_box = plan_object(FULL, (0.2, 0.2, 0.32), triangles=hollow).facts["figures"]
    assert open_box["views_5_percent"] < plan_object(FULL, (0.2, 0.2, 0.32)).facts["figures"]["views_5_percent"]


def test_facade_by_hand():
    # gsd 2 mm with 8.333 k px: 50 (1 + 2 / 0.006) mm = 16.717 m; a picture shows 12 x 8 m
    plan = plan_facade(FULL, (30.0, 12.0), gsd=0.002, overlap=0.75, side_overlap=0.5, standard="minimum")
    assert plan.depth == pytest.approx(16.7167, abs=1e-3)
    centers = plan.stations.centers
    assert np.allclose(centers[:, 1], -plan.depth)
    parallel = plan.stations.group == plan.stations.groups.index("parallel")
    rows = [np.flatnonzero(plan.stations.strip == s) for s in np.unique(plan.stations.strip[parallel])]
    for row in rows:
        steps = np.abs(np.diff(centers[row, 0]))
        assert steps.max() <= 12 * 0.25 + 1e-9 and np.ptp(steps) < 1e-9
    heights = np.array([centers[row[0], 2] for row in rows])
    assert np.diff(heights).max() <= 8 * 0.5 + 1e-9
    figures = plan.facts["figures"]
    assert figures["views_least"] >= 3 and figures["gsd_median"] == pytest.approx(0.002, rel=1e-3)
    # the overlap in the pictures is that of the footprints
    found = assess(plan.stations, plan.camera, plan.triangles)
    along = [k for k, (i, _) in enumerate(plan.stations.neighbours()) if parallel[i]]
    assert np.median(found.overlaps[along]) == pytest.approx(1 - steps.max() / 12, abs=0.03)
    # parallel photos alone would not tell the focal length: some are slanted, at every standard
    assert not parallel.all()


def test_facade_from_the_ground_is_tilted():
    plan = plan_facade(FULL, (12.0, 10.0), gsd=0.001, heights=(1.0, 2.5))
    assert plan.stations.centers[:, 2].max() <= 2.5 + 1e-9
    assert any("tilted up" in note for note in plan.notes)
    assert plan.facts["figures"]["seen_3_share"] == 1.0
    assert any("pole or a drone" in n for n in plan_facade(FULL, (12.0, 10.0), gsd=0.001).notes)


def test_relief_keeps_the_overlap_where_it_stands_out():
    flat, deep = (plan_facade(FULL, (12.0, 8.0), gsd=0.001, relief=r) for r in (0.0, 2.0))
    assert len(deep.stations.group) > len(flat.stations.group)


@pytest.mark.parametrize("size, gsd", [((5, 4, 2.6), None), ((12, 9, 3.2), 0.001)])
def test_rooms_are_seen_all_over(size, gsd):
    plan = plan_room(PHONE, size, gsd=gsd)
    figures = plan.facts["figures"]
    assert figures["seen_3_share"] >= 0.99
    centers = plan.stations.centers
    assert (centers > 0.1).all() and (centers < np.array(size) - 0.1).all()
    # corners are rounded: nobody turns on the spot
    for i, j in plan.stations.neighbours():
        assert np.linalg.norm(centers[i] - centers[j]) > 0.03


def test_same_input_same_plan():
    a, b = (told.document(plan_room(PHONE, (5, 4, 2.6))) for _ in range(2))
    assert a == b


def test_bad_wishes_are_explained():
    for make in (
        lambda: plan_object(PHONE, (0.3, 0.2, 0.0)),
        lambda: plan_object(PHONE, (0.3, math.nan, 0.1)),
        lambda: plan_object(PHONE, (0.3, 0.2, 0.1), gsd=0.001, detail=0.001),
        lambda: plan_object(PHONE, (0.3, 0.2, 0.1), gsd=1e-7),
        lambda: plan_object(PHONE, (0.3, 0.2, 0.1), overlap=0.99),
        lambda: plan_object(PHONE, (0.3, 0.2, 0.1), tiers=(95.0,)),
        lambda: plan_object(PHONE, (0.3, 0.2, 0.1), step_deg=0.0),
        lambda: plan_object(PHONE, (300.0, 200.0, 100.0), gsd=0.0002),
        lambda: plan_facade(PHONE, (12.0, 8.0)),
        lambda: plan_facade(PHONE, (0.0, 8.0), gsd=0.001),
        lambda: plan_facade(PHONE, (12.0, 8.0), gsd=0.0002, relief=2.0),
        lambda: plan_facade(PHONE, (12.0, 8.0), gsd=0.001, heights=(3.0, 1.0)),
        lambda: plan_room(PHONE, (0.5, 4.0, 2.6)),
        lambda: plan_room(PHONE, (5.0, 4.0, 2.6), standard="best"),
    ):
        with pytest.raises(InputError) as error:
            make()
        assert error.value.what and not error.value.what.endswith(".")


def test_lengths_and_sizes():
    assert parse_length("0.5mm") == pytest.approx(0.0005) and parse_length("2,5 m") == 2.5 and parse_length("3") == 3
    assert parse_size("30x20x15cm", 3, "") == pytest.approx((0.3, 0.2, 0.15))
    assert parse_size("1.2m x 80 cm", 2, "") == pytest.approx((1.2, 0.8))
    for wrong in ("", "x", "-3m", "0", "3 miles", "1e3"):
        with pytest.raises(InputError):
            parse_length(wrong)
    for wrong in ("3", "3x4", "3x0x2", "axbxc", "3x4x5x6"):
        with pytest.raises(InputError):
            parse_size(wrong, 3, "30x20x15cm")


def test_sheet_is_drawn_twice():
    plan = plan_object(PHONE, (0.3, 0.2, 0.4), underside=True)
    pages = sheet(plan)
    svg = ElementTree.fromstring(pages[0].svg())
    text = " ".join(t.text or "" for t in svg.iter("{http://www.w3.org/2000/svg}text"))
    assert "Apple iPhone 13" in text and "turned over" in text and "0.3 x 0.2 x 0.4 m" in text
    circles = len(list(svg.iter("{http://www.w3.org/2000/svg}circle")))
    assert circles >= 2 * len(plan.stations.group)
    for element in svg.iter():  # all within the page
        if element.tag.endswith("circle"):
            assert 0 < float(element.get("cx", "-1")) < 210 and 0 < float(element.get("cy", "-1")) < 297
    raw = sheet_pdf(plan)
    assert raw.startswith(b"%PDF-1.4") and raw.rstrip().endswith(b"%%EOF") and raw == sheet_pdf(plan)


def test_pdf_places_its_objects_where_it_says():
    page = Page()
    page.text((10, 10), "a (b) \\ c é", bold=True)
    page.line((0, 0), (210, 297))
    raw = pdf([page, Page()], "two (pages)")
    start = int(raw.split(b"startxref\n")[1].split()[0])
    rows = raw[start:].split(b"\n")
    assert rows[0] == b"xref" and b"/Count 2" in raw
    for number, row in enumerate(rows[3 : 2 + int(rows[1].split()[1])], 1):
        assert raw[int(row[:10]) :].startswith(b"%d 0 obj" % number)


def test_mesh_and_document_hold_every_camera():
    plan = plan_object(PHONE, (0.3, 0.2, 0.4))
    mesh = plan_mesh(plan)
    assert mesh.colors is not None and len(mesh.faces) >= 3000 + 6 * len(plan.stations.group)
    document = told.document(plan)
    assert len(document["stations"]) == document["num_photos"] == len(plan.stations.group)
    assert np.allclose(document["stations"][5]["cam_from_world"], plan.stations.cam_from_world[5])
    rows = told.shot_list(plan).splitlines()
    assert len(rows) == 1 + len(plan.stations.group)
    first = dict(zip(rows[0].split(","), rows[1].split(",")))
    assert float(first["turntable_deg"]) == pytest.approx(0) and float(first["heading_deg"]) == pytest.approx(270)
    assert "nan" not in str(told._finite({"a": math.nan})).lower()


def test_neighbours_and_lines_beside():
    plan = plan_facade(FULL, (12.0, 8.0), gsd=0.001, standard="minimum")
    stations = plan.stations
    centers = stations.centers
    for i, j in stations.across():
        if stations.groups[stations.group[i]] != "parallel":
            continue
        assert stations.strip[j] == stations.strip[i] + 1 and abs(centers[i, 0] - centers[j, 0]) < 0.01
    ring = plan_object(PHONE, (0.3, 0.2, 0.4)).stations
    assert len([p for p in ring.neighbours() if ring.group[p[0]] == 0]) == int((ring.group == 0).sum())
    assert replace(ring, closed=frozenset()).neighbours() != ring.neighbours()
