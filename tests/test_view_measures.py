"""Measures of the viewer against known geometry, and their plus-minus against simulation and algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rilievo.errors import InputError
from rilievo.view import measures
from rilievo.view.cuts import clip, ears, section, signed_area, volume_over
from rilievo.view.mesh_levels import joined
from view_scenes import SIGMA, box, hill

UP = np.array([0.0, 0, 1])
METRES = measures.Unit(1.0, "m", None)


def vertices(mesh):
    return mesh.vertices.astype(np.float64), mesh.faces, mesh.sigma.astype(np.float64)


def test_values():
    p = np.array([[0.0, 0, 0], [3, 4, 0], [3, 4, 12]])
    assert measures.distance(p[:2]) == 5
    assert measures.path(p) == 17
    assert measures.height(p[1:], UP) == 12
    assert measures.angle(np.array([[2.0, 0, 0], [0, 0, 0], [0, 0, 7]])) == pytest.approx(90, abs=1e-12)
    assert measures.angle(np.array([[2.0, 0, 0], [0, 0, 0], [-1, 1e-9, 0]])) == pytest.approx(180, abs=1e-6)
    square = np.array([[0.0, 0, 1], [2, 0, 1], [2, 3, 1], [0, 3, 1]])
    assert measures.area(square) == pytest.approx(6, rel=1e-12)
    tilt = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    assert measures.area(square @ tilt.T + 100) == pytest.approx(6, rel=1e-9)


def test_sigma_of_a_distance_is_that_of_its_ends_along_the_line():
    points = np.array([[0.0, 0, 0], [2, 1, 0]])
    along = np.array([2.0, 1, 0]) / np.sqrt(5)
    C = np.stack([measures.covariance(UP, 0.01, 0.003), measures.covariance(np.array([1.0, 0, 0]), 0.02, 0.005)])
    expected = np.sqrt(along @ (C[0] + C[1]) @ along)
    assert measures.evaluate("distance", points, C, UP)[1] == pytest.approx(expected, rel=1e-6)
    flat = np.stack([measures.covariance(UP, 0.01, 0.0)] * 2)
    assert measures.evaluate("height", np.array([[0.0, 0, 0], [1, 0, 2]]), flat, UP)[1] == pytest.approx(0.01 * 2**0.5)


@pytest.mark.parametrize("kind", ["distance", "path", "height", "angle", "area"])
def test_sigma_agrees_with_simulation(kind):
    rng = np.random.default_rng(3)
    points = np.array([[0.0, 0, 0], [1, 0.2, 0.1], [1.2, 1.1, 0.0], [0.1, 0.9, 0.05]])
    points = points[: {"distance": 2, "height": 2, "angle": 3}.get(kind, 4)]
    normals = rng.normal(size=points.shape)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    C = np.stack([measures.covariance(n, 0.004, 0.002) for n in normals])
    value, sigma = measures.evaluate(kind, points, C, UP)
    noise = np.einsum("nij,mnj->mni", np.linalg.cholesky(C), rng.normal(size=(4000, *points.shape)))
    tried = [measures.evaluate(kind, points + e, None, UP)[0] for e in noise]
    assert np.std(tried) == pytest.approx(sigma, rel=0.05)
    assert np.mean(tried) == pytest.approx(value, abs=4 * sigma / 60)


def test_words_say_value_and_plus_minus_to_the_same_place():
    assert measures.spell(1.23412, 0.00271, " m") == "1.234 m ± 0.003 m"
    assert measures.spell(1.23412, 0.00131, " m") == "1.2341 m ± 0.0014 m"
    assert measures.spell(1234.5, 27.0, " m") == "1230 m ± 30 m"
    assert measures.spell(0.5, None, " m") == "0.50000 m"
    assert measures.spell(0.0, None, "°") == "0°"


def test_the_doubt_of_the_scale_is_added_with_the_power_of_the_unit():
    unit = measures.Unit(2.0, "mm", 0.01)
    told = measures.result(10.0, 0.03, 2, unit)
    assert told["value"] == 40 and told["unit"] == "mm²"
    assert told["sigma"] == pytest.approx(np.hypot(0.12, 2 * 40 * 0.01))
    assert told["sigma_note"] is None
    assert "scale" in measures.result(10.0, 0.03, 1, METRES)["sigma_note"]
    assert measures.result(10.0, None, 1, unit)["sigma"] is None
    assert measures.result(90.0, 0.1, 0, unit)["text"] == "90.00° ± 0.10°"
    assert measures.result(1.0, 0.1, 1, measures.Unit())["text"] == "1.00 units ± 0.10 units"


def test_volume_of_a_cone_over_its_base():
    square = np.array([[-1.5, -1.5, 0], [1.5, -1.5, 0], [1.5, 1.5, 0], [-1.5, 1.5, 0]])
    over = volume_over(square, *vertices(hill(200)), UP)
    assert over.cut == pytest.approx(np.pi / 3, rel=1e-3)
    assert over.fill == pytest.approx(0, abs=1e-6)
    assert over.base == pytest.approx(9) and over.covered == pytest.approx(9, rel=1e-6)
    assert over.spread == pytest.approx(9 * SIGMA, rel=1e-5)
    # All of the base lifted by d takes d times its area away.
    assert over.lever.sum() == pytest.approx(9)
    lifted = volume_over(square + [0, 0, 0.1], *vertices(hill(200)), UP)
    assert lifted.cut - lifted.fill == pytest.approx(over.cut - 0.9, rel=1e-6)
    assert lifted.cut == pytest.approx(np.pi / 3 * 0.9**3, rel=2e-3)


def test_volume_within_an_outline_that_is_not_convex_and_of_overhangs():
    sheet = hill(60)
    flat = np.array(
        [[0.0, 0, -0.5], [1.5, 0, -0.5], [1.5, 0.5, -0.5], [0.5, 0.5, -0.5], [0.5, 1.5, -0.5], [0, 1.5, -0.5]]
    )
    raised = sheet.vertices.astype(np.float64) * [1, 1, 0]
    assert volume_over(flat, raised, sheet.faces, None, UP).cut == pytest.approx(0.5 * 1.25, rel=1e-6)
    assert volume_over(flat[::-1], raised, sheet.faces, None, UP).cut == pytest.approx(0.5 * 1.25, rel=1e-6)
    around = np.array([[-3.0, -3, 0.1], [3, -3, 0.1], [3, 3, 0.1], [-3, 3, 0.1]])
    whole = volume_over(around, *vertices(box((2, 1, 0.5))), UP)
    assert whole.cut == pytest.approx(2 * 0.15, rel=1e-6) and whole.cut - whole.fill == pytest.approx(1.0, rel=1e-6)


def test_an_outline_that_crosses_itself_or_spans_nothing_is_refused():
    bow = np.array([[0.0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0.0], [0.5, 3, 0]])
    with pytest.raises(InputError):
        volume_over(bow, *vertices(hill(4)), UP)
    with pytest.raises(InputError, match="line"):
        measures.area(np.array([[0.0, 0, 0], [1, 1, 1], [2, 2, 2]]))


@given(st.integers(0, 10_000))
def test_parts_of_clipped_triangles_keep_their_area(seed):
    rng = np.random.default_rng(seed)
    triangles = rng.normal(size=(20, 3, 3))
    n, d = rng.normal(size=3), rng.normal()
    side = triangles @ n - d
    parts = [clip(triangles, side), clip(triangles, -side)]
    area = [np.linalg.norm(np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]), axis=1).sum() for t in (*parts, triangles)]
    assert area[0] + area[1] == pytest.approx(area[2], rel=1e-9)
    assert (parts[0] @ n - d > -1e-9).all()


@given(st.integers(0, 10_000))
def test_ears_fill_a_star(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 30))
    angle = np.sort(rng.uniform(0, 2 * np.pi, n))
    star = np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(0.2, 2, n)[:, None]
    if np.diff(np.r_[angle, angle[0] + 2 * np.pi]).max() > np.pi - 0.05:
        return
    pieces = ears(star)
    assert sum(abs(signed_area(p)) for p in pieces) == pytest.approx(signed_area(star), rel=1e-9)


def test_section_of_a_box_is_its_outline():
    v, f, s = vertices(box((2, 1, 0.5)))
    cut = section(v, f, s, np.array([0, 0, 0.1]), UP)
    assert cut.closed == [True] and len(cut.lines) == 1
    assert cut.length == pytest.approx(6) and cut.area == pytest.approx(2) and cut.sigma == pytest.approx(SIGMA)
    assert np.allclose(cut.lines[0][:, 2], 0.1)
    slant = np.array([1.0, 0, 1]) / np.sqrt(2)
    assert section(v, f, s, np.zeros(3), slant).area == pytest.approx(0.5 * np.sqrt(2), rel=1e-6)
    assert section(v, f, None, np.array([0, 0, 5.0]), UP).lines == []


def test_section_of_a_pipe_takes_the_inner_line_off_and_an_open_sheet_gives_an_open_line():
    outer, inner = box((2, 2, 1)), box((1, 1, 1.0))
    v = np.concatenate([outer.vertices, inner.vertices]).astype(np.float64)
    f = np.concatenate([outer.faces, inner.faces[:, ::-1] + 8])
    cut = section(v, f, None, np.zeros(3), UP)
    assert len(cut.lines) == 2 and cut.area == pytest.approx(3)
    hilly = hill(50)
    v, f, s = vertices(hilly)
    line = section(v, f, s, np.array([0, 0.011, 0]), np.array([0.0, 1, 0]))
    assert line.closed == [False] and line.area == 0
    assert line.length == pytest.approx(2 + 2 * np.sqrt(2), rel=1e-2)


def test_seams_close():
    mesh = box()
    apart = mesh.vertices[mesh.faces.ravel()]
    from rilievo.types import Mesh

    v, f, rows = joined(Mesh(apart, np.arange(36, dtype=np.int32).reshape(-1, 3)))
    assert len(v) == 8 and len(f) == 12 and np.array_equal(apart[rows], v)
