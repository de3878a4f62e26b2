"""What the studio refuses, and that it goes on serving meanwhile."""

from __future__ import annotations

import io
import os
import socket
import struct
import threading
import time
import zipfile
import zlib

import httpx
import pytest
from PIL import Image

from studio_server import PHOTOS, Studio

NAMES = ["../evil.jpg", "..\\evil.jpg", "/etc/evil.jpg", "C:\\evil.jpg", "a/b.jpg", "..", ".", "", " ", "a\x00.jpg",
         "a\nb.jpg", "x" * 300 + ".jpg", "c:evil.jpg"]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("safety")


@pytest.fixture(scope="module")
def studio(root):
    with Studio(root / "houses") as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_outside(root, studio):
    """Whatever was asked, nothing is written beside the houses."""
    yield
    assert [p.name for p in root.iterdir()] == ["houses"]
    inside = {p.name for p in (root / "houses").iterdir() if p.is_file()}
    assert inside <= {"studio.sqlite3", "studio.sqlite3-wal", "studio.sqlite3-shm", "studio.sqlite3.lock"}
    for folder in (root / "houses").iterdir():
        if folder.is_dir():
            assert {p.name for p in folder.iterdir()} <= {"photos", "thumbs", "parts"}


def told(answer: httpx.Response) -> str:
    document = answer.json()
    assert set(document) >= {"error", "why", "hint"} and document["error"]
    return " ".join([document["error"], document["why"], document["hint"]])


@pytest.mark.parametrize("name", NAMES)
def test_names_with_folders_and_rubbish_are_refused(studio, name):
    house = studio.house("names")
    answer = studio.send(house, name, b"x")
    assert answer.status_code in (400, 422), answer.text
    assert told(answer)
    assert not list((studio.houses / house / "photos").iterdir())


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("<img src=x onerror=alert(1)>.jpg", "_img src=x onerror=alert(1)_.jpg"),
        ('"><script>alert(1)</script>.jpg'.replace("/", ""), None),
        ("CON.jpg", "_CON.jpg"),
        (".hidden.jpg", "hidden.jpg"),
        ("gpj.\u202eevil.jpg", None),
    ],
)
def test_scripts_in_names_become_harmless(studio, name, safe):
    house = studio.house("<script>alert(1)</script>")
    answer = studio.send(house, name, PHOTOS[0].read_bytes())
    assert answer.status_code == 200, answer.text
    stored = answer.json()["photo"]["name"]
    assert safe is None or stored == safe
    assert not set(stored) & set('<>:"|?*\\/\u202e')
    assert [p.name for p in (studio.houses / house / "photos").iterdir()] == [stored]
    listed = studio.client.get(f"/api/houses/{house}/photos")
    assert listed.headers["content-type"] == "application/json"
    assert listed.headers["x-content-type-options"] == "nosniff"
    assert "script-src 'self'" in studio.client.get("/").headers["content-security-policy"]


def test_names_that_become_equal_stay_apart(studio):
    house = studio.house("equal")
    for name in ("a<.jpg", "a>.jpg", "A_.jpg"):
        studio.send(house, name, PHOTOS[0].read_bytes())
    assert sorted(p.name for p in (studio.houses / house / "photos").iterdir()) == ["A_-3.jpg", "a_-2.jpg", "a_.jpg"]


@pytest.mark.parametrize("place", ["..%2f..%2fstudio.sqlite3", "../../studio.sqlite3", "%2e%2e/photos", "/etc/passwd",
                                   "..%5c..%5cstudio.sqlite3", "cameras/../../project.json"])  # fmt: skip
def test_downloads_stay_inside(studio, place):
    house = studio.house("inside")
    for part in ("exports", "photos", "view"):
        answer = studio.client.get(f"/api/houses/{house}/{part}/{place}")
        assert answer.status_code in (404, 405), (part, answer.status_code)
    for other in (f"/static/{place}", f"/static/studio/{place}", f"/api/houses/{place}"):
        assert studio.client.get(other).status_code == 404
    raw = f"GET /static/../../../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1:{studio.port}\r\n"
    assert b"404" in talk(studio, (raw + f"Authorization: Bearer {studio.token}\r\n\r\n").encode())


def talk(studio, raw: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", studio.port), 5) as line:
        line.sendall(raw)
        return line.recv(4096)


def png_bomb(side: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(bytes(side // 8 + 1) * 200, 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_wrong_types_and_bombs_are_refused(studio):
    house = studio.house("types")
    cases = {
        "text.jpg": (b"<script>alert(1)</script>" * 50, 422),
        "page.html": (b"<html>", 415),
        "program.exe": (b"MZ", 415),
        "none": (b"abc", 415),
        "empty.jpg": (b"", 400),
        "bomb.png": (png_bomb(60_000), 422),
        "large.png": (png_bomb(30_000), 422),
        "cut.png": (b"\x89PNG\r\n\x1a\n" + bytes(100), 422),
        "film.mp4": (b"no film" * 100, 415),
        "not.zip": (b"PK no zip", 415),
        "tiny.png": (tiny(), 415),
    }
    for name, (data, status) in cases.items():
        answer = studio.send(house, name, data)
        assert answer.status_code == status, (name, answer.text)
        assert told(answer)
    assert not list((studio.houses / house / "photos").iterdir())
    assert not list((studio.houses / house / "parts").iterdir())
    assert studio.get(f"/api/houses/{house}")["status"] == "empty"


def tiny() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return file.getvalue()


def test_zip_bombs_are_refused(studio):
    house = studio.house("bombs")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(80_000_000))
    answer = studio.send(house, "bomb.zip", packed.getvalue())
    assert answer.status_code == 413 and "unpacks to too much" in told(answer)

    # One that lies about its size.
    raw = bytearray(packed.getvalue())
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        k = raw.index(signature)
        raw[k + at : k + at + 4] = struct.pack("<I", 1000)
    answer = studio.send(house, "liar.zip", bytes(raw))
    assert answer.status_code in (413, 415) and told(answer)

    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for k in range(20_001):
            archive.writestr(f"{k}.jpg", b"")
    assert studio.send(house, "many.zip", many.getvalue()).status_code == 413
    assert not list((studio.houses / house / "photos").iterdir())
    assert not list((studio.houses / house / "parts").iterdir())


def test_what_is_too_large_is_refused_before_it_comes(studio):
    house = studio.house("large")
    begin = f"/api/houses/{house}/uploads"
    answer = studio.client.post(begin, json={"name": "a.jpg", "size": 2 * 10**9})
    assert answer.status_code == 413 and "too large" in told(answer)
    full = studio.client.post(begin, json={"name": "a.mp4", "size": 20_000_000_000})
    assert full.status_code in (201, 507)
    begun = studio.post(begin, name="b.jpg", size=1000)
    more = studio.client.patch(
        f"/api/uploads/{begun['upload_id']}", content=bytes(2000), headers={"Upload-Offset": "0"}
    )
    assert more.status_code == 413
    assert studio.client.post("/api/houses", content=b"{" + b" " * 400_000).status_code == 413
    assert studio.client.post("/api/houses", json={"title": "x" * 200}).status_code == 400
    assert studio.client.get("/" + "x" * 5000).status_code == 414


def ask(studio, method="GET", place="/api/houses", token=True, **headers) -> httpx.Response:
    with httpx.Client(base_url=studio.address, trust_env=False) as client:
        if token:
            headers["Cookie"] = f"rilievo-{studio.port}={studio.token}"
        return client.request(
            method,
            place,
            headers={k.replace("_", "-"): v for k, v in headers.items()},
            json={} if method == "POST" else None,
        )


def test_other_pages_may_not_ask(studio):
    own = f"http://127.0.0.1:{studio.port}"
    before = len(studio.get("/api/houses"))
    assert ask(studio, "POST", Origin=own, Sec_Fetch_Site="same-origin").status_code == 201
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{studio.port + 1}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ):
        answer = ask(studio, "POST", **headers)
        assert answer.status_code == 403 and told(answer), headers
        assert ask(studio, "GET", **headers).status_code == 403
        assert ask(studio, "POST", "/task/new/init", **headers).status_code == 403
    assert len(studio.get("/api/houses")) == before + 1
    # A link elsewhere may open the front page (without the cookie, which is SameSite=Strict), nothing more.
    opened = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert ask(studio, "GET", "/", **opened).status_code == 200
    assert ask(studio, "GET", "/api/houses", **opened).status_code == 403
    assert "access-control-allow-origin" not in ask(studio).headers
    assert ask(studio, "OPTIONS", "/api/houses", Origin="https://evil.example").status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:1", "127.0.0.1", "", "[::1", "0.0.0.0"]
)
def test_other_hosts_are_refused(studio, host):
    assert ask(studio, Host=host).status_code in (400, 403)


def test_the_token_is_needed_and_moves_into_a_cookie(studio):
    for place in ("/", "/api/houses", "/static/base.css", "/info", "/openapi.json"):
        assert ask(studio, place=place, token=False).status_code == 401, place
    assert ask(studio, place="/api/houses?token=wrong", token=False).status_code == 401
    assert ask(studio, place=f"/api/houses?token={studio.token}", token=False).status_code == 200
    greeted = ask(studio, place=f"/?token={studio.token}", token=False)
    assert greeted.status_code == 303 and greeted.headers["location"] == "/"
    cookie = greeted.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert ((studio.houses / "studio.sqlite3").stat().st_mode & 0o077) == 0 or os.name == "nt"


def test_other_machines_come_in_only_when_asked_for(tmp_path_factory):
    from rilievo.studio.serving import Serving

    serving = Serving(tmp_path_factory.mktemp("lan") / "houses", host="0.0.0.0")
    thread = threading.Thread(target=serving.run)
    thread.start()
    try:
        assert serving.lan and "/capture?token=" in serving.capture_url and "0.0.0.0" not in serving.url
        with httpx.Client(base_url=f"http://127.0.0.1:{serving.port}", trust_env=False) as phone:
            assert phone.get("/capture").status_code == 401
            assert b"capture" in phone.get(f"/capture?token={serving.token}", follow_redirects=True).content
            assert phone.get("/capture", headers={"Host": f"evil.example:{serving.port}"}).status_code == 403
            own = {"Host": f"{socket.gethostname().upper()}.local:{serving.port}"}
            assert phone.get(f"/info?token={serving.token}", headers=own).json()["engine"] == "rilievo"
    finally:
        serving.stop()
        thread.join(20)


def test_slow_clients_do_not_keep_others_out(studio):
    house = studio.house("slow")
    begun = studio.post(f"/api/houses/{house}/uploads", name="a.jpg", size=10**6)
    head = f"Host: 127.0.0.1:{studio.port}\r\nAuthorization: Bearer {studio.token}\r\n"
    patch = (
        f"PATCH /api/uploads/{begun['upload_id']} HTTP/1.1\r\n{head}Upload-Offset: 0\r\nContent-Length: 900000\r\n\r\n"
    )
    kinds = [
        b"",
        b"GET / HT",
        f"GET / HTTP/1.1\r\n{head}X-Slow: ".encode(),
        f"POST /api/houses HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode(),
        f"{patch}abc".encode(),
        f"GET /api/houses HTTP/1.1\r\n{head}\r\n".encode() * 200,  # asks and never listens
    ]
    lines = []
    try:
        for k in range(100):
            line = socket.create_connection(("127.0.0.1", studio.port), 5)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.sendall(kinds[k % len(kinds)])
            lines.append(line)
        slowest = 0.0
        for _ in range(10):
            started = time.monotonic()
            with httpx.Client(base_url=studio.address, trust_env=False, timeout=10) as fresh:
                assert fresh.get(f"/api/houses/{house}?token={studio.token}").status_code == 200
                assert fresh.get(f"/?token={studio.token}", follow_redirects=True).status_code == 200
            slowest = max(slowest, time.monotonic() - started)
        assert studio.send(house, "b.jpg", PHOTOS[0].read_bytes()).status_code == 200
        assert slowest < 3.0
    finally:
        for line in lines:
            line.close()


def test_connections_that_say_nothing_are_ended(tmp_path_factory):
    from dataclasses import replace

    from rilievo.studio.limits import Limits
    from rilievo.studio.serving import Serving

    limits = replace(Limits(), request_head_s=0.5, silence_s=0.7, connections=20)
    serving = Serving(tmp_path_factory.mktemp("short") / "houses", limits=limits)
    thread = threading.Thread(target=serving.run)
    thread.start()
    try:
        head = f"Host: 127.0.0.1:{serving.port}\r\nAuthorization: Bearer {serving.token}\r\n"
        half = f"POST /api/houses HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{{"
        for said, answer in ((b"", b""), (b"GET / HT", b""), (half.encode(), b"HTTP/1.1 408")):
            started = time.monotonic()
            with socket.create_connection(("127.0.0.1", serving.port), 5) as line:
                line.sendall(said)
                got = line.recv(4096)
                assert got[:12] == answer and time.monotonic() - started < 3
        crowd = [socket.create_connection(("127.0.0.1", serving.port), 5) for _ in range(60)]
        answer = httpx.get(f"http://127.0.0.1:{serving.port}/api/state?token={serving.token}", trust_env=False)
        assert answer.status_code == 200
        for line in crowd:
            line.close()
    finally:
        serving.stop()
        thread.join(20)
    assert not thread.is_alive()


def test_the_openapi_holds_under_random_requests(tmp_path):
    """Schemathesis: whatever is asked, the studio answers, and never with a mistake of its own."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st
    from schemathesis.checks import CHECKS

    (not_a_server_error,) = (c for c in CHECKS.get_all() if c.__name__ == "not_a_server_error")
    with Studio(tmp_path / "houses") as studio:
        house = studio.house("target", [PHOTOS[0]])
        studio.send(house, "notes.jpg", b"x")
        headers = {"Authorization": f"Bearer {studio.token}"}
        schema = schemathesis.openapi.from_url(f"{studio.address}/openapi.json", headers=headers)
        operations = [o.ok() for o in schema.get_all_operations()]
        assert len(operations) > 35
        statuses: dict[int, int] = {}
        started = time.monotonic()
        quick = settings(
            max_examples=14, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip

        def check(operation) -> None:
            @quick
            @given(case=operation.as_strategy(), real=st.booleans())
            def run(case, real) -> None:
                if time.monotonic() - started > 35:
                    return
                if "house_id" in (case.path_parameters or {}):
                    deletes = case.method == "DELETE" and operation.path == "/api/houses/{house_id}"
                    case.path_parameters["house_id"] = (
                        "0123456789ab" if deletes else house if real else case.path_parameters["house_id"]
                    )
                answer = case.call(headers=headers, timeout=10)
                case.validate_response(answer, checks=[not_a_server_error])
                statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1

            run()

        for operation in operations:
            check(operation)
        assert not [s for s in statuses if s >= 500], statuses
        assert statuses.get(200, 0) > 20 and sum(statuses.values()) > 150, statuses
        assert studio.get("/api/houses")
        assert not [line for line in studio.talk if "Traceback" in line], "".join(studio.talk)[-3000:]
    assert [p.name for p in tmp_path.iterdir()] == ["houses"]
