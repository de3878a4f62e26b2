import re

import numpy as np
import pytest

from rilievo import report, report_page
from rilievo.types import Camera, Mesh, Photo, PointCloud, Reconstruction


def scene(unit="unknown", **changes):
    """Two cameras one unit apart looking along +z at four points at depth 2, f = 100 px: gsd 0.02."""
    eye = np.tile(np.eye(3, 4), (2, 1, 1))
    eye[1, 0, 3] = -1.0
    points = np.array([[0.0, 0, 2], [1, 0, 2], [0, 1, 2], [1, 1, 2]])
    return Reconstruction(
        names=("a.jpg", "b.jpg"),
        camera_index=np.zeros(2, np.int32),
        cameras=(Camera("SIMPLE_PINHOLE", 200, 150, np.array([100.0, 100, 75])),),
        cam_from_world=eye,
        points=points,
        point_colors=np.zeros((4, 3), np.uint8),
        point_errors_px=np.array([0.2, 0.2, 0.4, 0.4], np.float32),
        obs_point=np.array([0, 1, 2, 3, 0, 1, 2], np.int32),
        obs_photo=np.array([0, 0, 0, 0, 1, 1, 1], np.int32),
        obs_xy=np.zeros((7, 2), np.float32),
        unit=unit,
        **changes,
    )


def cloud(n=4):
    return PointCloud(
        points=np.zeros((n, 3), np.float32),
        normals=np.zeros((n, 3), np.float32),
        colors=np.zeros((n, 3), np.uint8),
        confidence=np.full(n, 0.5, np.float32),
        sigma=np.full(n, 0.01, np.float32),
        spacing=np.full(n, 0.02, np.float32),
        names=("a.jpg", "b.jpg"),
        view_offsets=np.arange(0, 3 * n + 1, 3),
        view_index=np.zeros(3 * n, np.int32),
    )


def square(inferred):
    vertices = np.array([[0, 0, 2], [1, 0, 2], [1, 1, 2], [0, 1, 2]], np.float32)
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]], np.int32), inferred=np.array(inferred))


def make(**changes):
    photos = [Photo(n, n, 200, 150, "k", blur_px=b) for n, b in (("a.jpg", 0.5), ("b.jpg", 4.0), ("<c>.jpg", None))]
    arguments = {
        "version": "0.1.0",
        "settings": {"quality": "draft"},
        "photos": photos,
        "rejected": [("notes.jpg", "not an image")],
        "num_keypoints": {"a.jpg": 7},
        "reconstruction": scene(unplaced={"<c>.jpg": "no verified matches"}),
        "cloud": cloud(),
        "mesh": square([True, False]),
        "boundary_lengths": [4.0],
        "texture_facts": {},
        "stages": [{"stage": "depth", "seconds": 2.0, "cpu_seconds": 3.0, "peak_memory_mb": 99.0, "items": 2}],
    }
    return report.build_report(**{**arguments, **changes})


def test_figures_of_a_scene_whose_answers_are_known():
    made = make()
    assert made["gsd"] == pytest.approx(0.02)
    assert (made["photos"]["total"], made["photos"]["placed"]) == (3, 2)
    assert made["sparse"]["mean_track_length"] == 1.75
    assert made["sparse"]["reprojection_error_px"] == pytest.approx(0.286, abs=1e-3)
    assert made["mesh"]["area"] == 1.0
    assert made["mesh"]["inferred_share"] == 0.5
    assert made["cloud"]["sigma_median_gsd"] == 0.5
    assert made["cloud"]["share_seen_by_3"] == 1.0
    rows = {row["name"]: row for row in made["photos"]["list"]}
    assert rows["b.jpg"]["num_observations"] == 3
    assert rows["b.jpg"]["reprojection_error_px"] == pytest.approx(0.267, abs=1e-3)
    assert (rows["<c>.jpg"]["placed"], rows["<c>.jpg"]["reason"]) == (False, "no verified matches")


def test_warnings_name_what_a_careful_person_must_know():
    text = "\n".join(make()["warnings"])
    assert "1 of 3 photos could not be placed: <c>.jpg" in text
    assert "1 files could not be used" in text
    assert "50 % of the surface was not measured" in text
    assert "1 photos are blurred by more than 3 px: b.jpg" in text
    calm = make(photos=[Photo("a.jpg", "a", 200, 150, "k")], rejected=[], mesh=square([False] * 2))
    assert calm["warnings"] == []


def test_the_scale_is_said_first_and_honestly():
    assert "no metric scale" in make()["verdict"]
    metric = make(reconstruction=scene("m", scale_source="gps"))
    assert "lengths are in m, scale from gps" in metric["verdict"]
    assert "0.01 m (1 sigma" in metric["verdict"]


def test_the_page_is_whole_escaped_and_loads_nothing():
    made = make()
    picture = np.zeros((6, 8, 3), np.uint8)
    page = report_page.render_page(made, scene(), [("a <b>", picture)], {"a.jpg": report_page.to_jpeg(picture)}, "T<x>")
    assert page.count("<html") == page.count("</html>") == 1
    assert "&lt;c&gt;.jpg" in page
    assert "<c>.jpg" not in page
    assert "T&lt;x&gt;" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("<polygon") == 2


def test_a_report_of_nothing_seen_has_no_figures_but_does_not_fail():
    empty = scene()
    from dataclasses import replace

    none = np.zeros(0, np.int32)
    empty = replace(empty, obs_point=none, obs_photo=none, obs_xy=np.zeros((0, 2), np.float32))
    made = make(reconstruction=empty, cloud=cloud(0), mesh=square([False, False]))
    assert made["gsd"] is None
    assert made["cloud"]["sigma_median"] is None
    assert report_page.render_page(made, empty, [], {}, "x")
    assert report.summarize(made)


def test_masks_are_counted():
    kinds = {"sky": {"photos": 1, "share": 0.2}}
    facts = make(masked={"a.jpg": 0.95, "b.jpg": 0.25}, kinds=kinds)
    assert facts["masks"] == {"photos": 2, "share": 0.6, "kinds": kinds}
    assert [row["masked"] for row in facts["photos"]["list"]] == [0.95, 0.25, None]
    assert "masks hide more than nine tenths of 1 photos: a.jpg" in facts["warnings"]
    assert make()["masks"] == {"photos": 0, "share": 0.0, "kinds": {}}
