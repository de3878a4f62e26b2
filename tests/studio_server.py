"""A running studio for tests: `rilievo serve` in a process of its own, and a client that knows its token."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

PHOTOS = sorted((Path(__file__).parent.parent / "examples" / "capture" / "photos").glob("*.jpg"))


class Studio:
    """`rilievo serve HOUSES`; `client` asks it."""

    def __init__(self, houses: Path, port: int = 0, options: Sequence[str] = ()) -> None:
        self.houses = houses
        command = [sys.executable, "-m", "rilievo.cli", "serve", str(houses), "--port", str(port), "--no-browser"]
        self.process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self.talk: list[str] = []
        assert self.process.stdout is not None and self.process.stderr is not None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        line = self.process.stdout.readline()
        found = re.match(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", line)
        assert found, line + "".join(self.talk)
        self.port, self.token = int(found[1]), found[2]
        self.address = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(
            base_url=self.address, headers={"Authorization": f"Bearer {self.token}"}, timeout=30, trust_env=False
        )
        for _ in range(100):
            try:
                self.client.get("/api/state")
                return
            except httpx.ConnectError:
                time.sleep(0.05)
        raise AssertionError("".join(self.talk))

    def _read(self) -> None:
        for line in self.process.stderr or ():
            self.talk.append(line)

    def kill(self) -> None:
        """As the system would: at once."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """Ends it politely if it still runs."""
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)
        self._reader.join(5)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # the API

    def get(self, place: str) -> Any:
        answer = self.client.get(place)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, place: str, **document: Any) -> Any:
        answer = self.client.post(place, json=document)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def house(self, title: str, photos: Sequence[Path] = ()) -> str:
        """A new house with these photos."""
        house_id = self.post("/api/houses", title=title)["id"]
        for photo in photos:
            self.send(house_id, photo.name, photo.read_bytes())
        return house_id

    def send(self, house_id: str, name: str, data: bytes) -> httpx.Response:
        """A file in one piece; the last answer."""
        begun = self.client.post(f"/api/houses/{house_id}/uploads", json={"name": name, "size": len(data)})
        if begun.status_code != 201:
            return begun
        return self.client.patch(
            f"/api/uploads/{begun.json()['upload_id']}", content=data, headers={"Upload-Offset": "0"}
        )

    def wait(self, job_id: str, until: Any, seconds: float = 120.0) -> dict[str, Any]:
        """Asks until `until(document)`."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            job = self.get(f"/api/jobs/{job_id}")
            if until(job):
                return job
            assert job["status"] in ("queued", "running"), job
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s: {job}")


def is_done(job: dict[str, Any]) -> bool:
    return job["status"] == "done"


def small_photos(folder: Path, number: int, size: tuple[int, int] = (480, 360)) -> list[Path]:
    """The first sample photos made small: quick to make a model of."""
    folder.mkdir(exist_ok=True)
    made = []
    for source in PHOTOS[:number]:
        with Image.open(source) as photo:
            photo.resize(size).save(folder / source.name, quality=88)
        made.append(folder / source.name)
    return made
