"""Uploads into the studio on this machine: speed, memory of the server, one file interrupted and resumed.

    python bench/studio.py [--photos 300] [--mb 5] [--parallel 4] [--sent-only] [--json]

Photos of noise, each its own file, are sent as the page sends them: several at a time, in chunks; every fiftieth is
broken off in the middle of a chunk and goes on from the offset that the server tells. What has arrived is compared by
sha256. Memory is the peak resident size of the server, and of its child that looks at photos, every 20 ms. `sent` is
until the last byte was taken and the photo listed; `looked at` until each has its sharpness and its small picture
(--sent-only: not waited for).
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
CHUNK = 4 << 20


def make_photo(mb: float) -> bytes:
    """A JPEG of 12 Mpx with noise, about so large."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:3000, 0:4000].astype(np.float32)
    waves = 120 + 60 * np.sin(x / 40) * np.cos(y / 55)
    for spread in (14, 22, 34, 50):
        pixels = np.clip(waves[..., None] + rng.normal(0, spread, (3000, 4000, 1)), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(np.repeat(pixels, 3, 2)).save(file, "JPEG", quality=85)
        if file.tell() >= mb * 1e6:
            break
    return file.getvalue()


def own_copy(photo: bytes, k: int) -> bytes:
    """The same picture with a note of its own."""
    note = f"photo {k}".encode()
    return photo[:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note + photo[2:]


class Client:
    """One connection to the studio."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.headers = port, {"Authorization": f"Bearer {token}"}
        self.line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, place: str, body: Any = None, **headers: str) -> Any:
        """JSON of the answer."""
        if isinstance(body, dict):
            body, headers = json.dumps(body), {**headers, "Content-Type": "application/json"}
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        self.line.request(method, place, body, {**self.headers, **named})
        answer = self.line.getresponse()
        raw = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {place}: {answer.status} {raw[:300]!r}")
        return json.loads(raw)

    def send(self, house: str, name: str, data: bytes, *, broken: bool) -> None:
        """A file in chunks. broken: the first connection ends in the middle of a chunk."""
        asked = {"name": name, "size": len(data)}
        begun = self.ask("POST", f"/api/houses/{house}/uploads", asked)
        place, at = f"/api/uploads/{begun['upload_id']}", begun["offset"]
        if broken:
            self._break(place, data)
            for _ in range(500):
                at = self.ask("POST", f"/api/houses/{house}/uploads", asked)["offset"]
                if at > 0:
                    break
                time.sleep(0.01)
            if not 0 < at < len(data):
                raise RuntimeError(f"resumed at {at}")
        while at < len(data):
            try:
                at = self.ask("PATCH", place, data[at : at + CHUNK], Upload_Offset=str(at))["offset"]
            except RuntimeError as error:
                if "409" not in str(error):  # the broken connection is still being read to its end
                    raise
                time.sleep(0.05)
                at = self.ask("GET", place)["offset"]

    def _break(self, place: str, data: bytes) -> None:
        self.line.putrequest("PATCH", place)
        for name, value in {**self.headers, "Upload-Offset": "0", "Content-Length": str(len(data))}.items():
            self.line.putheader(name, value)
        self.line.endheaders()
        self.line.send(data[: len(data) // 3])
        self.line.close()


class Watch:
    """Peak resident memory of the server and of its children, MiB."""

    def __init__(self, pid: int) -> None:
        self.server = self.children = 0.0
        self._process, self._over = psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.02):
            try:
                self.server = max(self.server, self._process.memory_info().rss / 2**20)
                rss = sum(c.memory_info().rss for c in self._process.children(recursive=True)) / 2**20
                self.children = max(self.children, rss)
            except psutil.Error:
                continue

    def close(self) -> None:
        """Ends it."""
        self._over.set()
        self._thread.join()


def measure(number: int, mb: float, parallel: int, folder: Path, *, sent_only: bool = False) -> dict[str, Any]:
    """Sends the photos; what it took."""
    photo = make_photo(mb)
    command = [sys.executable, "-m", "rilievo.cli", "serve", str(folder / "houses"), "--port", "0", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    found = re.match(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", server.stdout.readline())
    assert found
    port, token = int(found[1]), found[2]
    time.sleep(1)
    watch = Watch(server.pid)
    try:
        house = Client(port, token).ask("POST", "/api/houses", {"title": "bench"})["id"]
        clients = threading.local()

        def send(k: int) -> None:
            if not hasattr(clients, "one"):
                clients.one = Client(port, token)
            clients.one.send(house, f"IMG_{k:04}.jpg", own_copy(photo, k), broken=k % 50 == 7)

        started = time.perf_counter()
        with ThreadPoolExecutor(parallel) as pool:
            list(pool.map(send, range(number)))
        sent = time.perf_counter() - started
        cpu = sum(psutil.Process(server.pid).cpu_times()[:2])
        print(f"sent in {sent:.1f} s, {cpu:.1f} CPU s of the server", file=sys.stderr, flush=True)
        client = Client(port, token)
        listed = client.ask("GET", f"/api/houses/{house}/photos")
        assert len(listed) == number, len(listed)
        while not sent_only and any(not p["checked"] for p in client.ask("GET", f"/api/houses/{house}/photos")):
            time.sleep(0.5)
        looked = time.perf_counter() - started
        stored = sorted((folder / "houses" / house / "photos").iterdir())
        same = all(
            hashlib.sha256(p.read_bytes()).digest() == hashlib.sha256(own_copy(photo, k)).digest()
            for k, p in enumerate(stored)
        )
    finally:
        watch.close()
        server.terminate()
        server.wait(30)
    return {
        "photos": number,
        "mb_each": round(len(photo) / 1e6, 2),
        "sent_s": round(sent, 1),
        "server_cpu_s": round(cpu, 1),
        "mb_per_s": round(number * len(photo) / 1e6 / sent, 1),
        "looked_at_s": None if sent_only else round(looked, 1),
        "server_mib": round(watch.server),
        "children_mib": round(watch.children),
        "interrupted": len(range(7, number, 50)),
        "same_bytes": same and len(stored) == number,
        "cores": os.cpu_count(),
    }


def main() -> int:
    """Prints the figures; 1 when bytes differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--mb", type=float, default=5.0)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--sent-only", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = measure(args.photos, args.mb, args.parallel, Path(folder), sent_only=args.sent_only)
    print(json.dumps(told) if args.json else "\n".join(f"{k:<14}{v}" for k, v in told.items()))
    return 0 if told["same_bytes"] else 1


if __name__ == "__main__":
    sys.exit(main())
