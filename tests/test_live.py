"""The live picture's server: frames arrive, strangers are refused, rubbish is answered, the port is freed."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from PIL import Image

from rilievo import geometry, live_server
from rilievo.errors import ResourceError
from rilievo.live import LiveView, LiveViewer, pixels_over
from rilievo.types import Camera, View

CAMERA = Camera("PINHOLE", 80, 60, np.array([70.0, 71, 40, 30]))
PLACE = geometry.look_at(np.array([3.0, 0, 1]), np.zeros(3))


def paint(camera: Camera, cam_from_world: np.ndarray) -> np.ndarray:
    """Red says where the camera stands along x."""
    pixels = np.zeros((camera.height, camera.width, 3), np.uint8)
    pixels[..., 0] = np.clip(geometry.invert(cam_from_world)[0, 3] * 50, 0, 255)
    return pixels


def viewer(render=paint, **options) -> LiveViewer:
    return LiveViewer(render, start=(CAMERA, PLACE), open_browser=False, **options)


def query(place: np.ndarray = PLACE, **changes) -> str:
    m = ",".join(map(str, place.ravel()))
    known = {"c": "a", "w": 64, "h": 48, "fx": 60, "fy": 60, "cx": 32, "cy": 24, "m": m}
    return urlencode({**known, **changes})


@pytest.fixture(autouse=True)
def hang_up():
    """Closes the connections that a test has opened."""
    yield
    while Page.opened:
        Page.opened.pop().close()


class Page:
    """One connection that behaves as the page does; other headers and addresses on demand."""

    opened: list[http.client.HTTPConnection] = []

    def __init__(self, live: LiveViewer) -> None:
        address = urlsplit(live.url)
        assert address.hostname == "127.0.0.1" and address.port
        self.host, self.port, self.root = address.hostname, address.port, address.path
        self.connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        self.opened.append(self.connection)

    def ask(self, place: str, *, method: str = "GET", root: str | None = None, body: bytes | None = None, **headers):
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        address = (self.root if root is None else root) + place
        self.connection.request(method, address, body=body, headers=headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read(), answer.headers

    def raw(self, data: bytes) -> bytes:
        with socket.create_connection((self.host, self.port), timeout=20) as s:
            s.sendall(data)
            return s.recv(65536)


def test_frames_show_what_the_camera_sees():
    with viewer() as live:
        page = Page(live)
        for x in (1.0, 4.0):
            place = geometry.look_at(np.array([x, 0, 1]), np.zeros(3))
            status, body, headers = page.ask("frame?" + query(place))
            assert status == 200 and headers["Content-Type"] == "image/jpeg" and float(headers["X-Draw-Ms"]) >= 0
            picture = np.asarray(Image.open(io.BytesIO(body)))
            assert picture.shape == (48, 64, 3) and abs(int(picture[20, 20, 0]) - 50 * x) < 4
        assert page.ask("frame?" + query(still=1))[0] == 200


def test_page_and_its_scene():
    views = [LiveView(f"p{k}", CAMERA, PLACE, lambda k=k: paint(CAMERA, PLACE) + np.uint8(k), k == 1) for k in range(3)]
    with viewer(views=views, training=False) as live:
        page = Page(live)
        status, body, headers = page.ask("")
        assert status == 200 and b"<canvas" in body and "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store" and headers["X-Frame-Options"] == "DENY"
        for name, kind in (("live.js", "text/javascript"), ("live.css", "text/css"), ("base.css", "text/css")):
            status, body, headers = page.ask(name)
            assert status == 200 and headers["Content-Type"].startswith(kind) and b"http" not in body
        scene = json.loads(page.ask("scene")[1])
        assert [v["name"] for v in scene["views"]] == ["p0", "p1", "p2"] and scene["views"][1]["held_out"]
        assert scene["training"] is False and np.allclose(scene["start"]["cam_from_world"], PLACE.ravel())
        status, body, _ = page.ask("photo?k=2")
        assert status == 200 and Image.open(io.BytesIO(body)).size == (80, 60)
        for k in ("3", "-1", "", "1e3", "9" * 40, "²"):
            assert page.ask(f"photo?{urlencode({'k': k})}")[0] == 404
        assert page.ask("../secret")[0] == 404 and page.ask("live.py")[0] == 404


def test_training_is_steered_by_the_page():
    with viewer() as live:
        page = Page(live)
        assert live.wanted() == "run"
        live.update(status={"iteration": np.int64(30), "psnr": float("nan"), "num_splats": 12, "note": "x" * 500})
        told = json.loads(page.ask("status")[1])
        assert told["version"] == 1 and told["wanted"] == "run"
        assert told["status"] == {"iteration": 30, "psnr": None, "num_splats": 12, "note": "x" * 200}
        for wanted, then in (("pause", "pause"), ("run", "run"), ("stop", "stop"), ("run", "stop")):
            body = json.dumps({"wanted": wanted}).encode()
            assert json.loads(page.ask("control", method="POST", body=body)[1]) == {"wanted": then}
            assert live.wanted() == then


def test_strangers_are_refused():
    with viewer() as live:
        page = Page(live)
        good = f"127.0.0.1:{page.port}"
        frame = "frame?" + query()
        assert page.ask(frame, root="/")[0] == 403
        assert page.ask("", root="/")[0] == 403
        assert page.ask(frame, root=page.root[:-2] + "x/")[0] == 403
        for host in ("evil.example", f"evil.example:{page.port}", "127.0.0.1.evil.example", "", "[::1]"):
            assert page.ask(frame, Host=host)[0] == 403, host
        for origin in ("http://evil.example", "null", f"http://localhost:{page.port}", f"https://{good}"):
            assert page.ask(frame, Host=good, Origin=origin)[0] == 403, origin
        assert page.ask(frame, Sec_Fetch_Site="cross-site")[0] == 403
        assert page.ask("", Sec_Fetch_Site="cross-site")[0] == 403
        assert page.ask("", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200  # a click on its address
        body = b'{"wanted": "stop"}'
        assert page.ask("control", method="POST", body=body, Origin="http://evil.example")[0] == 403
        assert page.ask("control", method="POST", body=body, Sec_Fetch_Site="same-site")[0] == 403
        assert live.wanted() == "run"
        assert page.ask(frame, Host=f"localhost:{page.port}", Origin=f"http://localhost:{page.port}")[0] == 200
        assert page.ask(frame, Host=good, Origin=f"http://{good}", Sec_Fetch_Site="same-origin")[0] == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"w": 15},
        {"w": 100000},
        {"w": 4000, "h": 4000},
        {"w": "x"},
        {"w": "9" * 500},
        {"fx": "nan"},
        {"fx": 0},
        {"fy": -60},
        {"cx": "inf"},
        {"m": "1,2,3"},
        {"m": ",".join(["nan"] * 12)},
        {"m": ",".join(["1"] * 12)},
        {"m": "-1,0,0,0,0,1,0,0,0,0,1,0"},
        {"m": "1,0,0,1e300,0,1,0,0,0,0,1,0"},
    ],
)
def test_impossible_cameras(changes):
    drawn = []
    with viewer(lambda camera, place: drawn.append(1) or paint(camera, place)) as live:
        page = Page(live)
        assert page.ask("frame?" + query(**changes))[0] == 400
        assert not drawn and page.ask("frame?" + query())[0] == 200


def test_rubbish_is_answered_and_the_server_lives_on():
    with viewer() as live:
        page = Page(live)
        root = page.root.encode()
        host = f"Host: 127.0.0.1:{page.port}\r\n".encode()
        assert page.ask("frame")[0] == 400
        assert page.ask("frame?" + "&".join(f"a{k}=1" for k in range(100)))[0] == 400
        assert page.ask("frame?" + query(c="x" * 3000))[0] == 414
        assert b"414" in page.raw(b"GET " + root + b"a" * 70000 + b" HTTP/1.1\r\n\r\n").split(b"\r\n")[0]
        assert b" 400 " in page.raw(b"\x16\x03\x01\x02\x00\x01\x00\xff\r\n\r\n").split(b"\r\n")[0]
        assert b" 501 " in page.raw(b"BREW " + root + b" HTTP/1.1\r\n" + host + b"\r\n")
        assert b" 431 " in page.raw(b"GET " + root + b" HTTP/1.1\r\n" + host + b"a: b\r\n" * 300 + b"\r\n")
        assert b" 403 " in page.raw(b"GET " + root + b" HTTP/1.1\r\n\r\n")  # no host
        assert b" 403 " in page.raw(b"GET " + root + b" HTTP/1.1\r\n" + host + host + b"\r\n")
        assert b" 403 " in page.raw(b"GET http://evil.example" + root + b" HTTP/1.1\r\n" + host + b"\r\n")
        post = b"POST " + root + b"control HTTP/1.1\r\n" + host
        assert b" 411 " in page.raw(post + b"\r\n")
        assert b" 411 " in page.raw(post + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert b" 413 " in page.raw(post + b"Content-Length: 99999999999999\r\n\r\n")
        assert b" 413 " in page.raw(post + b"Content-Length: 5000\r\n\r\n")
        for body in (b"", b"[", b"[]", b"null", b'{"wanted": "fly"}', b'{"wanted": ["stop"]}', b"[" * 900, b"\xff\xfe"):
            status, text, _ = page.ask("control", method="POST", body=body)
            assert status in (400, 405), body
            assert b"Traceback" not in text
        assert page.ask("control")[0] == 405 and page.ask("status", method="POST", body=b"{}")[0] == 405
        assert live.wanted() == "run" and page.ask("frame?" + query())[0] == 200


def test_what_was_typed_is_not_repeated():
    with viewer() as live:
        page = Page(live)
        for answer in (page.raw(b"GET /<script>alert(1) HTTP/1.1\r\n\r\n"), page.raw(b"<script> / HTTP/1.1\r\n\r\n")):
            assert b"script>" not in answer


def test_a_renderer_that_fails_says_so():
    def fails(camera: Camera, place: np.ndarray) -> np.ndarray:
        if camera.width == 64:
            raise ValueError("no splats yet\nsecond line")
        return np.zeros((2, 2, 3), np.uint8) if camera.width == 65 else paint(camera, place)

    broken = LiveView("p", CAMERA, PLACE, lambda: np.full(1, 1 / 0))
    with viewer(fails, views=[broken]) as live:
        page = Page(live)
        status, text, _ = page.ask("frame?" + query())
        assert status == 500 and text == b"no splats yet\n"
        assert b"drawing gave uint8 (2, 2, 3)" in page.ask("frame?" + query(w=65))[1]
        assert page.ask("frame?" + query(w=66))[0] == 200
        assert page.ask("photo?k=0")[:2] == (500, b"division by zero\n")


def test_one_frame_at_a_time_and_only_the_newest_waits():
    """While one frame is drawn, of four more of the same page the first two are dropped; another page has its turn."""
    go, busy, seen = threading.Event(), threading.Event(), []
    inside = threading.Semaphore(1)

    def slow(camera: Camera, place: np.ndarray) -> np.ndarray:
        assert inside.acquire(blocking=False), "two threads draw at once"
        busy.set()
        assert go.wait(20)
        seen.append(camera.width)
        inside.release()
        return paint(camera, place)

    with viewer(slow) as live:
        results: dict[int, int] = {}

        def ask(w: int, client: str) -> None:
            results[w] = Page(live).ask("frame?" + query(w=w, c=client))[0]

        threads = []

        def send(w: int, client: str) -> None:
            threads.append(threading.Thread(target=ask, args=(w, client)))
            threads[-1].start()

        send(20, "a")
        assert busy.wait(20)
        send(30, "b")
        waiting = live._painter._waiting
        while "b" not in waiting:
            pass
        for w in (21, 22, 23, 24):
            send(w, "a")
            while "a" not in waiting or waiting["a"][-1].camera.width != w:
                pass
        go.set()
        for thread in threads:
            thread.join(20)
        assert results == {20: 200, 30: 200, 21: 204, 22: 204, 23: 200, 24: 200} and seen == [20, 30, 23, 24]


def test_slow_strangers_do_not_keep_the_owner_out():
    with viewer() as live:
        page = Page(live)
        assert page.ask("frame?" + query())[0] == 200
        slow = []
        for _ in range(3 * live_server.MAX_STRANGERS):
            s = socket.create_connection((page.host, page.port), timeout=20)
            s.sendall(b"GET / HTTP/1.1\r\n")  # and then nothing
            slow.append(s)
        assert page.ask("frame?" + query())[0] == 200
        assert Page(live).ask("frame?" + query(c="b"))[0] == 200  # a new page comes in as well
        assert slow[0].recv(10) == b""  # the oldest was hung up on
        for s in slow:
            s.close()


def test_a_reader_that_stops_reading_does_not_stop_the_picture():
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3)).astype(np.uint8)
    with viewer(lambda camera, place: noise[: camera.height, : camera.width]) as live:
        page = Page(live)
        lines = f"GET {page.root}frame?{query(w=1000, h=1000, fx=900, fy=900)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        lazy = []
        for _ in range(8):
            s = socket.create_connection((page.host, page.port), timeout=20)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(lines.encode() * 4)
            lazy.append(s)
        assert all(page.ask("frame?" + query(c="b"))[0] == 200 for _ in range(5))
        for s in lazy:
            s.close()


def test_close_frees_the_port_and_ends_who_waits():
    live = viewer()
    page = Page(live)
    assert page.ask("status")[0] == 200
    with pytest.raises(ResourceError) as caught:
        viewer(port=page.port)
    assert caught.value.what == f"the page cannot be served at port {page.port}"
    live.close()
    with pytest.raises((OSError, http.client.HTTPException)):
        page.connection.request("GET", page.root + "status")
        page.connection.getresponse().read()
    with viewer(port=page.port) as again:
        assert Page(again).ask("status")[0] == 200
        assert again.url != live.url  # a new secret
    with pytest.raises(ResourceError):
        viewer(port=70000)


def test_transparent_photos_stand_before_the_background():
    pixels = np.full((2, 2, 3), 100, np.uint8)
    alpha = np.array([[0, 255], [128, 255]], np.uint8)
    view = View("a", pixels, CAMERA, PLACE, None, alpha)
    assert pixels_over(view, (1.0, 1.0, 1.0))[:, 0, 0].tolist() == [255, 177]
    assert (pixels_over(View("a", pixels, CAMERA, PLACE)) == 100).all()
