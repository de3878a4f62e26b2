"""The studio's server is killed in the middle of everything, and started again."""

from __future__ import annotations

import os
import time

import psutil
import pytest

from studio_server import PHOTOS, Studio, is_done, small_photos


def workers(pid: int) -> list[psutil.Process]:
    return [p for p in psutil.Process(pid).children() if "rilievo.studio.worker" in p.cmdline()]


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX")
def test_a_job_goes_on_after_the_server_was_killed(tmp_path):
    photos = small_photos(tmp_path / "photos", 6, (320, 240))
    data = PHOTOS[0].read_bytes()
    with Studio(tmp_path / "houses") as first:
        house, other = first.house("one", photos), first.house("two", photos)
        job = first.post(f"/api/houses/{house}/jobs", makes=["model"], quality="draft")["job_id"]
        waiting = first.post(f"/api/houses/{other}/jobs", makes=["model"], quality="draft")["job_id"]
        begun = first.post(f"/api/houses/{first.house('three')}/uploads", name="a.jpg", size=len(data))
        place = f"/api/uploads/{begun['upload_id']}"
        first.client.patch(place, content=data[:70_000], headers={"Upload-Offset": "0"})
        doomed = first.house("doomed", photos[:1])
        first.wait(job, lambda j: j["stage"] == "depth")
        [worker] = workers(first.process.pid)
        port, token = first.port, first.token
        first.kill()
    worker.wait(10)  # ends by itself: nobody holds its stdin any more
    assert not [p for p in psutil.process_iter() if p.pid == worker.pid and p.is_running()]
    # As if the server had been killed between forgetting a house and deleting it.
    import sqlite3

    with sqlite3.connect(tmp_path / "houses" / "studio.sqlite3") as base:
        base.execute("UPDATE houses SET deleted=1 WHERE id=?", [doomed])
    base.close()

    with Studio(tmp_path / "houses", port) as second:
        assert second.token == token  # pages that are open go on
        assert not (tmp_path / "houses" / doomed).exists()
        told = second.wait(job, lambda j: j["status"] == "running" and j["stage"])
        assert told["status"] == "running" and second.get(f"/api/jobs/{waiting}")["status"] == "queued"
        assert second.get(place)["offset"] == 70_000
        sent = second.client.patch(place, content=data[70_000:], headers={"Upload-Offset": "70000"})
        assert sent.json()["photo"]["name"] == "a.jpg"
        done = second.wait(job, is_done)
        kept = {s["name"]: s.get("reused", 0) for s in done["stages"]}
        assert kept["keypoints"] == len(photos) and kept["matches"] == len(photos) - 1 and kept["cameras"] == 1
        second.wait(waiting, lambda j: j["stage"] == "keypoints")  # in the order they were asked for
        assert second.get(f"/api/houses/{house}")["status"] == "done"
        [worker] = workers(second.process.pid)
        second.close()  # politely: the job goes back to the queue
    assert not worker.is_running()
    with Studio(tmp_path / "houses") as third:
        third.wait(waiting, lambda j: j["status"] == "running")
        third.post(f"/api/jobs/{waiting}/cancel")


def test_one_folder_has_one_studio(tmp_path):
    import subprocess
    import sys

    with Studio(tmp_path / "houses"):
        command = [sys.executable, "-m", "rilievo.cli", "serve", str(tmp_path / "houses"), "--port", "0"]
        second = subprocess.run([*command, "--no-browser"], capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert "another studio already serves" in second.stderr and "hint:" in second.stderr


def test_a_worker_that_is_ended_is_told(tmp_path):
    photos = small_photos(tmp_path / "photos", 6, (320, 240))
    with Studio(tmp_path / "houses") as studio:
        house = studio.house("one", photos)
        job = studio.post(f"/api/houses/{house}/jobs", makes=["model"], quality="draft")["job_id"]
        studio.wait(job, lambda j: j["stage"] == "matches")
        [worker] = workers(studio.process.pid)
        worker.kill()
        failed = studio.wait(job, lambda j: j["status"] == "failed", 10)
        assert "memory" in failed["error"]["why"] and "lower quality" in failed["error"]["hint"]
        ends = time.monotonic() + 5
        while studio.get(f"/api/houses/{house}")["status"] != "failed":
            assert time.monotonic() < ends
        studio.post(f"/api/jobs/{job}/restart")
        studio.wait(job, lambda j: j["stage"] == "depth")
