"""The viewer's server refuses strange addresses, sizes and messages, and other pages."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rilievo.live_server import LocalServer, Refused
from rilievo.view.tools import PLACES
from view_scenes import house, opened, post


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A house of the box, and its scene."""
    root = house(tmp_path_factory.mktemp("view") / "box", unplaced={"bad.jpg": "too few matches"}, with_splats=True)
    scene = opened(root)
    yield root, scene
    scene.close()


@pytest.mark.parametrize(
    "place",
    [
        *("layer/mesh/../../project.json", "layer/../project.json/x.bin", "layer/mesh/layer.json"),
        *("layer/mesh/full.glb/..", "layer/mesh/%2e%2e/project.json", "layer/nothing/0.bin", "layer/cloud/99999.bin"),
        *("photo/99.jpg", "photo/-1.jpg", "photo/1e3.jpg", "photo/0.jpg\0", "depth/3000000.png"),
        *("viewer/../../cli.py", "viewer/..%2fcli.py", "vendor/", "viewer/.hidden", "vendor//etc/passwd"),
        *("project.json", "objects/x", "/etc/passwd", "scene.json/x", "x" * 1000),
    ],
)
def test_strange_addresses_are_refused(plain, place):
    with pytest.raises(Refused) as refused:
        plain[1].answer(place, {}, None)
    assert refused.value.status == 404


def test_strange_sizes_and_messages_are_refused(plain):
    _, scene = plain
    for size in ("0", "15", "99999", "1e3", "-5", "", "¹²³"):
        with pytest.raises(Refused):
            scene.answer("photo/0.jpg", {"size": size}, None)
    for place in ("scene.json", "layer/mesh/full.glb", "photo/0.jpg", "measures.csv"):
        with pytest.raises(Refused) as refused:
            scene.answer(place, {}, {"a": 1})
        assert refused.value.status == 405
    nan = float("nan")
    bad = [
        ("measure", {"kind": "distance", "points": [[0, 0, 0]]}),
        ("measure", {"kind": "distance", "points": [[0, 0, nan], [0, 0, 0]]}),
        ("measure", {"kind": "distance", "points": [[0, 0, "1"], [0, 0, 0]]}),
        ("measure", {"kind": "distance", "points": {"a": 1}}),
        ("measure", {"kind": ["distance"], "points": []}),
        ("measure", {"kind": "area", "points": [[0, 0, 0]] * 5}),
        ("measure", {"kind": "path", "points": [[0, 0, 0]] * 20_000}),
        ("measure", {"kind": "angle", "points": [[0, 0, 0]] * 3}),
        ("measure", {"kind": "distance", "points": [[0, 0, 10**400], [0, 0, 0]]}),
        ("measure", {}),
        ("pick", {"x": 1, "y": None, "z": 2}),
        ("pick", {"x": 1, "y": True, "z": 2}),
        ("pick", {"x": 1, "y": 2, "z": 2, "house": 7}),
        ("pick", {"x": 1, "y": 2, "z": 2, "house": True}),
        ("section", {"plane": {"point": [0, 0, 0], "normal": [0, 0, 0]}}),
        ("section", {"plane": 3}),
        ("volume", {"points": [[0, 0, 0], [1, 1, 1], [2, 2, 2]]}),
        ("scale", {"points": 3}),
        ("origin", {"point": "home"}),
        ("measures", {"list": "x"}),
    ]
    for place, body in bad:
        post(scene, place, status=400, **body)
    for body in ([], "x", 3, True):
        assert scene.answer("measure", {}, body).status == 400


def test_the_server_lets_no_other_page_in_and_bounds_messages(plain):
    _, scene = plain
    server = LocalServer(scene.answer, max_body=1 << 18)
    try:
        address = urlsplit(server.url)

        def ask(method: str, place: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            try:
                connection.request(
                    method, address.path + place, body, {k.replace("_", "-"): v for k, v in headers.items()}
                )
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()

        assert ask("GET", "scene.json")[0] == 200
        assert ask("GET", "scene.json", Origin="http://evil.example")[0] == 403
        assert ask("POST", "up", b'{"up": [0,0,1]}', Sec_Fetch_Site="cross-site")[0] == 403
        assert ask("GET", "scene.json", Host="evil.example")[0] == 403
        assert ask("POST", "measures", b'{"list": []}')[0] == 200
        assert ask("POST", "measures", b'{"list": [' + b" " * 200_000 + b"]}")[0] == 200
        assert ask("POST", "measures", b" " * 300_000)[0] == 413
        assert ask("POST", "measure", b"{")[0] == 400 and ask("POST", "measure", b"[" * 100_000)[0] == 400
    finally:
        server.close()


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
POINTS = st.lists(
    st.lists(st.floats(-3, 3) | st.sampled_from([0, 1, 1e11, -1e-300]), min_size=3, max_size=3), max_size=6
)
VALUES = SCALARS | POINTS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=5), SCALARS, max_size=3)
PLANES = st.fixed_dictionaries({"point": POINTS.map(lambda p: p[0] if p else 0), "normal": VALUES}) | VALUES
KIND = st.sampled_from(["distance", "path", "height", "angle", "area", "volume", "section"]) | VALUES
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "kind": KIND, "points": POINTS | VALUES, "plane": PLANES, "house": st.integers(0, 1) | VALUES, "x": VALUES,
        "y": VALUES, "z": VALUES, "up": VALUES, "point": VALUES, "length": VALUES, "unit": st.just("m") | VALUES,
        "sigma": VALUES, "list": st.lists(st.fixed_dictionaries({"kind": KIND, "points": POINTS})) | VALUES,
    },
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.sampled_from(PLACES), BODIES)
def test_any_message_gets_a_document(plain, place, body):
    _, scene = plain
    answer = scene.answer(place, {}, body)
    assert answer.status in (200, 400), (answer.status, answer.body)
    json.loads(answer.body)
    assert scene.answer("scene.json", {}, None).status == 200
    assert scene.answer("measures.csv", {}, None).status == 200
