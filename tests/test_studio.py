"""The studio's server: houses, uploads, jobs, exports, pages."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import socket
import time
import zipfile

import psutil
import pytest
from PIL import Image

from rilievo.studio import uploads as uploads_module
from studio_server import PHOTOS, Studio, is_done, small_photos


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    with Studio(tmp_path_factory.mktemp("studio") / "houses") as running:
        yield running


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return small_photos(tmp_path_factory.mktemp("photos"), 6, (320, 240))


def jpeg(width: int = 200, height: int = 150, color: tuple[int, int, int] = (90, 120, 60)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, "JPEG")
    return file.getvalue()


def test_houses_are_made_renamed_and_deleted(studio):
    house = studio.post("/api/houses", title="  Urn\nin the  garden ")
    assert house["title"] == "Urn in the garden" and house["status"] == "empty" and house["num_photos"] == 0
    place = f"/api/houses/{house['id']}"
    assert studio.client.patch(place, json={"title": "Vase"}).json()["title"] == "Vase"
    assert studio.get("/api/houses")[0]["id"] == house["id"]
    assert (studio.houses / house["id"] / "photos").is_dir()
    assert studio.client.delete(place).status_code == 204
    answer = studio.client.get(place)
    assert answer.status_code == 404 and set(answer.json()) == {"error", "why", "hint"}
    assert not (studio.houses / house["id"]).exists()
    assert studio.client.get("/api/houses/../../etc").status_code == 404


def test_a_photo_tells_what_it_is(studio):
    house = studio.house("one")
    sent = studio.send(house, "IMG 1.jpg", PHOTOS[0].read_bytes()).json()
    assert sent["offset"] == PHOTOS[0].stat().st_size and sent["photo"]["name"] == "IMG 1.jpg"
    for _ in range(200):
        [photo] = studio.get(f"/api/houses/{house}/photos")
        if photo["checked"]:
            break
        time.sleep(0.05)
    with Image.open(PHOTOS[0]) as picture:
        assert (photo["width"], photo["height"]) == picture.size
    assert 0.2 < photo["sharpness"] < 2 and photo["warnings"] == []
    thumb = studio.client.get(photo["thumb"])
    assert thumb.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(thumb.content)) as small:
        assert max(small.size) == 320
    assert studio.get(f"/api/houses/{house}")["status"] == "ready"

    blurred = io.BytesIO()
    with Image.open(PHOTOS[1]) as picture:
        picture.resize((100, 66)).resize(picture.size, Image.Resampling.BICUBIC).save(blurred, "JPEG")
    studio.send(house, "blurred.jpg", blurred.getvalue())
    studio.send(house, "black.jpg", jpeg(800, 600, (1, 1, 1)))
    for _ in range(200):
        told = {p["name"]: p for p in studio.get(f"/api/houses/{house}/photos")}
        if all(p["checked"] for p in told.values()):
            break
        time.sleep(0.05)
    assert any("blurred" in w for w in told["blurred.jpg"]["warnings"])
    assert any("dark" in w for w in told["black.jpg"]["warnings"])
    assert studio.client.delete(f"/api/houses/{house}/photos/black.jpg").status_code == 204
    assert len(studio.get(f"/api/houses/{house}/photos")) == 2


def test_an_upload_goes_on_where_it_stopped(studio):
    house = studio.house("pieces")
    data = PHOTOS[0].read_bytes()
    asked = {"name": "a.jpg", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    begun = studio.post(f"/api/houses/{house}/uploads", **asked)
    place = f"/api/uploads/{begun['upload_id']}"
    assert begun["offset"] == 0

    def broken():
        yield data[:100_000]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        studio.client.patch(place, content=broken(), headers={"Upload-Offset": "0"})
    for _ in range(100):  # the server hears of it a little later
        again = studio.post(f"/api/houses/{house}/uploads", **asked)
        if again["offset"]:
            break
        time.sleep(0.02)
    assert again == {**begun, "offset": 100_000, "name": "a.jpg"}
    assert studio.client.head(place).headers["Upload-Offset"] == "100000"
    assert studio.get(f"/api/houses/{house}")["status"] == "uploading"
    wrong = studio.client.patch(place, content=b"x", headers={"Upload-Offset": "5"})
    assert wrong.status_code == 409 and wrong.json()["offset"] == 100_000
    assert studio.client.patch(place, content=data[:1]).status_code == 422
    end = studio.client.patch(place, content=data[100_000:], headers={"Upload-Offset": "100000"})
    assert end.json()["photo"]["name"] == "a.jpg"
    assert (studio.houses / house / "photos" / "a.jpg").read_bytes() == data
    assert not list((studio.houses / house / "parts").iterdir())
    assert studio.client.get(place).status_code == 404


def test_another_connection_goes_on_with_an_upload_that_fell_silent(studio):
    house = studio.house("silent")
    data = PHOTOS[0].read_bytes()
    begun = studio.post(f"/api/houses/{house}/uploads", name="a.jpg", size=len(data))
    place = f"/api/uploads/{begun['upload_id']}"
    with socket.create_connection(("127.0.0.1", studio.port), 5) as line:
        head = f"PATCH {place} HTTP/1.1\r\nHost: 127.0.0.1:{studio.port}\r\nAuthorization: Bearer {studio.token}\r\n"
        line.sendall(f"{head}Upload-Offset: 0\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data[:50_000])
        time.sleep(0.5)
        started, statuses = time.monotonic(), []
        at = 0
        while at < len(data):
            sent = studio.client.patch(place, content=data[at:], headers={"Upload-Offset": str(at)})
            statuses.append(sent.status_code)
            told = sent.json()
            at = told.get("offset", at)
            assert time.monotonic() - started < 15, told
            time.sleep(0.1)
        assert line.recv(4096).startswith(b"HTTP/1.1 409")
    assert set(statuses) == {200, 409} and time.monotonic() - started > 2  # not at once: it may be slow only
    assert (studio.houses / house / "photos" / "a.jpg").read_bytes() == data


def test_a_block_that_is_being_written_when_a_request_ends_is_written_once(tmp_path):
    from rilievo.studio.parts import Studio as Parts

    async def send(uploads, upload_id: str, data: bytes) -> None:
        async def body():
            yield data[: uploads_module.BLOCK]
            yield data[uploads_module.BLOCK :]

        await uploads.append(upload_id, 0, body())

    async def ended(uploads, upload_id: str, data: bytes) -> None:
        task = asyncio.ensure_future(send(uploads, upload_id, data))
        part = parts.uploads.part(house, upload_id)
        while part.stat().st_size == 0:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    parts = Parts.open(tmp_path / "houses")
    try:
        house = parts.houses.make("x")
        for k in range(5):
            data = os.urandom(uploads_module.BLOCK + 1000)
            upload_id = parts.uploads.begin(house, f"{k}.jpg", len(data) + 5)["upload_id"]
            asyncio.run(ended(parts.uploads, upload_id, data))
            came = parts.uploads.part(house, upload_id).read_bytes()
            assert came and data.startswith(came)
    finally:
        parts.close()


def test_a_file_that_had_come_when_the_server_ended_is_taken(studio):
    house = studio.house("whole")
    data = PHOTOS[0].read_bytes()
    begun = studio.post(f"/api/houses/{house}/uploads", name="a.jpg", size=len(data))
    (studio.houses / house / "parts" / begun["upload_id"]).write_bytes(data)
    again = studio.post(f"/api/houses/{house}/uploads", name="a.jpg", size=len(data))
    assert again["offset"] == len(data) and again["photo"]["name"] == "a.jpg"
    assert len(studio.get(f"/api/houses/{house}/photos")) == 1


def test_a_file_that_arrives_damaged_is_sent_again(studio):
    house = studio.house("damaged")
    begun = studio.post(f"/api/houses/{house}/uploads", name="a.jpg", size=4, sha256="0" * 64)
    end = studio.client.patch(f"/api/uploads/{begun['upload_id']}", content=b"abcd", headers={"Upload-Offset": "0"})
    assert end.status_code == 422 and "damaged" in end.json()["error"]
    assert studio.get(f"/api/houses/{house}/photos") == []


def test_a_zip_of_photos_is_unpacked(studio):
    house = studio.house("zip")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("walk/left/1.jpg", jpeg())
        archive.writestr("walk/right/1.jpg", jpeg(300, 200))
        archive.writestr("walk/notes.txt", "hello")
        archive.writestr("../../evil.jpg", jpeg())
        archive.writestr("broken.jpg", b"nothing")
    told = studio.send(house, "walk.zip", packed.getvalue()).json()
    assert sorted(p["name"] for p in told["photos"]) == ["walk-left-1.jpg", "walk-right-1.jpg"]
    assert sorted(o["name"] for o in told["left_out"]) == ["../../evil.jpg", "broken.jpg"]


def test_time_and_memory_are_predicted(studio, photos):
    house = studio.house("predict", photos)
    draft = studio.post(f"/api/houses/{house}/predict", makes=["model"], quality="draft")
    more = studio.post(f"/api/houses/{house}/predict", makes=["model", "splats", "field", "depth"], quality="high")
    assert 1 < draft["seconds"] < more["seconds"] and 100 < draft["memory_mb"] <= more["memory_mb"]
    assert any("few" in note for note in draft["notes"])
    empty = studio.client.post(f"/api/houses/{studio.house('x')}/predict", json={"makes": ["model"]})
    assert empty.status_code == 409


def test_photos_become_a_model_that_can_be_looked_at_and_downloaded(studio, photos):
    house = studio.house("Urn", photos)
    job_id = studio.post(f"/api/houses/{house}/jobs", makes=["model"], quality="draft")["job_id"]
    with studio.client.stream("GET", f"/api/jobs/{job_id}/events", timeout=120) as events:
        told = [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]
    assert told[-1]["status"] == "done" and told[-1]["progress"] == 1
    marks = [t["progress"] for t in told]
    assert marks == sorted(marks) and len(set(marks)) > 2
    made = {s["name"] for s in told[-1]["stages"] if s["done"] == s["total"] > 0}
    assert made >= {"keypoints", "cameras", "depth", "cloud", "texture"}
    done = studio.get(f"/api/houses/{house}")
    assert done["status"] == "done" and done["seconds"] > 1 and done["size_bytes"] > 10**6

    files = {f["name"]: f for f in studio.get(f"/api/houses/{house}/exports")}
    assert {"model.glb", "model.obj", "cloud.ply", "report.html", "cameras/images.bin"} <= set(files)
    glb = studio.client.get(files["model.glb"]["url"])
    assert glb.content[:4] == b"glTF" and len(glb.content) == files["model.glb"]["bytes"]
    part = studio.client.get(files["model.glb"]["url"], headers={"Range": "bytes=4-11"})
    assert part.status_code == 206 and part.content == glb.content[4:12]
    with zipfile.ZipFile(io.BytesIO(studio.client.get(f"/api/houses/{house}/all.zip").content)) as archive:
        assert set(archive.namelist()) == set(files) and archive.testzip() is None
    report = studio.client.get(f"/api/houses/{house}/report")
    assert "sandbox" in report.headers["Content-Security-Policy"] and b"photos" in report.content

    for _ in range(100):
        scene = studio.get(f"/api/houses/{house}/view/scene.json")
        if not scene["busy"]:
            break
        time.sleep(0.1)
    assert scene["title"] == "Urn" and {"mesh", "cloud", "sparse"} <= {layer["kind"] for layer in scene["layers"]}
    level = scene["layers"][0]["levels"][0]["url"]
    assert studio.client.get(f"/api/houses/{house}/view/{level}").content[:4] == b"glTF"
    again = studio.client.get(f"/api/houses/{house}/view/scene.json?rev={scene['rev']}").json()
    assert again["unchanged"]
    measured = studio.post(f"/api/houses/{house}/view/measure", kind="distance", points=[[0, 0, 0], [3, 4, 0]])
    assert measured["value"] == pytest.approx(5)
    assert studio.client.get(f"/api/houses/{house}/view", follow_redirects=False).status_code == 303


def test_jobs_wait_are_cancelled_go_on_and_are_deleted(studio, photos):
    first, second = studio.house("first", photos), studio.house("second", photos)
    a = studio.post(f"/api/houses/{first}/jobs", makes=["model"], quality="draft")["job_id"]
    b = studio.post(f"/api/houses/{second}/jobs", makes=["model"], quality="draft")["job_id"]
    assert studio.client.post(f"/api/houses/{first}/jobs", json={"makes": ["model"]}).status_code == 409
    studio.wait(a, lambda j: j["stage"] == "matches")
    assert studio.get(f"/api/jobs/{b}")["status"] == "queued"
    assert [studio.get(f"/api/houses/{h}")["status"] for h in (first, second)] == ["running", "queued"]
    assert studio.client.delete(f"/api/houses/{first}/photos/{photos[0].name}").status_code == 409
    assert studio.post(f"/api/jobs/{a}/cancel")["status"] == "cancelled"
    assert studio.client.post(f"/api/jobs/{a}/cancel").status_code == 409
    assert not [p for p in psutil.Process(studio.process.pid).children() if first in " ".join(p.cmdline())]
    studio.wait(b, lambda j: j["stage"] == "keypoints")  # the next one begins by itself
    assert studio.post(f"/api/jobs/{a}/restart")["status"] == "queued"
    assert studio.client.delete(f"/api/houses/{second}").status_code == 204  # while it runs
    assert studio.client.get(f"/api/jobs/{b}").status_code == 404
    job = studio.wait(a, is_done)
    kept = {s["name"]: s.get("reused", 0) for s in job["stages"]}
    assert kept["keypoints"] == len(photos)  # finished before it was cancelled
    assert not (studio.houses / second).exists()


def test_nothing_of_a_deleted_house_comes_back(studio, tmp_path):
    from rilievo.studio.looks import look_closely

    house = studio.house("gone", PHOTOS[:6])  # they are still looked at
    studio.client.get(f"/api/houses/{house}/view/scene.json")
    assert studio.client.delete(f"/api/houses/{house}").status_code == 204
    for _ in range(10):
        assert not [p for p in studio.houses.iterdir() if house in p.name]
        time.sleep(0.1)
    with pytest.raises(FileNotFoundError):
        look_closely(PHOTOS[0], "a.jpg", tmp_path / "gone" / "a.jpg.jpg")
    assert not list(tmp_path.iterdir())


def test_a_job_that_cannot_be_done_says_why(studio):
    house = studio.house("plain")
    for k in range(3):
        studio.send(house, f"{k}.jpg", jpeg(320, 240, (50 * k, 90, 90)))
    job_id = studio.post(f"/api/houses/{house}/jobs", makes=["model"], quality="draft")["job_id"]
    job = studio.wait(job_id, lambda j: j["status"] == "failed")
    assert all(job["error"][part] for part in ("what", "why", "hint"))
    assert studio.get(f"/api/houses/{house}")["message"] == job["error"]["what"]
    assert studio.client.post(f"/api/houses/{studio.house('none')}/jobs", json={"makes": ["model"]}).status_code == 409


def test_depth_of_one_photo(studio, photos):
    house = studio.house("depth", photos[:1])
    options = {"photo": photos[0].name}
    job_id = studio.post(f"/api/houses/{house}/jobs", makes=["depth"], quality="draft", options=options)["job_id"]
    studio.wait(job_id, is_done)
    names = {f["name"] for f in studio.get(f"/api/houses/{house}/exports")}
    assert {"depth/relief.glb", "depth/depth.png"} <= names
    assert studio.client.get(f"/api/houses/{house}/report").status_code == 200
    assert studio.get(f"/api/houses/{house}/view/scene.json")["title"] == "depth"


def test_pages_are_served(studio):
    page = studio.client.get("/")
    assert page.status_code == 200 and b"rilievo studio" in page.content
    for place in ("/static/base.css", "/static/studio/app.js", "/static/studio/studio.css"):
        assert studio.client.get(place).status_code == 200
    assert studio.client.get("/static/studio/../../studio/app.py").status_code == 404
    assert studio.client.get("/static/viewer/share_boot.js").status_code == 404
    assert studio.client.get("/capture").status_code == 404
    assert studio.client.get("/docs").status_code == 404
    assert studio.get("/openapi.json")["info"]["title"] == "rilievo studio"
    state = studio.get("/api/state")
    assert state["machine"]["threads"] >= 1 and state["machine"]["free_disk_mb"] > 0


def test_help_and_view_do_not_load_the_studio():
    import subprocess
    import sys

    code = (
        "import sys; from rilievo import cli; import rilievo.commands.view, rilievo.commands.serve; cli.usage();"
        "print([m for m in sys.modules if m.split('.')[0] in ('fastapi', 'uvicorn', 'starlette', 'pydantic')])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert told.stdout.strip() == "[]", told.stderr
