"""Files on their way into a house: chunks that may stop anywhere and go on, then a look at what has arrived."""

from __future__ import annotations

import asyncio
import hashlib
import math
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rilievo.io.pixels import PHOTO_SUFFIXES, VIDEO_SUFFIXES
from rilievo.studio.houses import Houses, photo_document
from rilievo.studio.inspector import Inspector
from rilievo.studio.looks import look_at_header
from rilievo.studio.names import apart, check_name
from rilievo.studio.problems import Problem, gone
from rilievo.studio.unzip import unpack

FORGOTTEN_S = 7 * 86400.0
BLOCK = 1 << 20  # bytes that are written at a time
QUIET_S = 3.0  # without a byte, and another connection may go on with the upload
KINDS = "photos may be JPEG, PNG, TIFF, HEIC, WebP or raw files; videos mp4, mov and the like; or a zip of those"


@dataclass(eq=False)
class _Sender:
    """The connection that sends a file. heard: when it last did; while that is written, never."""

    task: asyncio.Task[Any]
    heard: float = field(default_factory=time.monotonic)
    replaced: bool = False


class Uploads:
    """The offset of an upload is the size of its file, so that nothing is lost with the server."""

    def __init__(self, houses: Houses, inspector: Inspector) -> None:
        self.houses, self.inspector = houses, inspector
        self.store, self.limits = houses.store, houses.limits
        self._busy: set[str] = set()
        self._senders: dict[str, _Sender] = {}  # of the event loop's thread only
        self._lock = threading.Lock()
        self._looking = threading.Semaphore(2)  # whole files are in memory while their headers are read

    def begin(self, house_id: str, name: str, size: int, sha256: str | None = None) -> dict[str, Any]:
        """A new upload, or the one that was begun with this name and size. Raises Problem."""
        self.houses.row(house_id)
        check_name(name, self.limits.name_length)
        self.check_size(name, size)
        old = self._find(house_id, name, size)
        if old is None:
            self._check_room(house_id, size)
            upload_id = secrets.token_urlsafe(12)
            try:
                self.store.insert(
                    "uploads",
                    id=upload_id,
                    house_id=house_id,
                    given=name,
                    bytes=size,
                    sha256=sha256,
                    changed=time.time(),
                )
            except sqlite3.IntegrityError:  # the same was asked for twice at once
                old = self._find(house_id, name, size)
            else:
                self.part(house_id, upload_id).touch()
                return {"upload_id": upload_id, "offset": 0, "size": size}
        assert old is not None
        if sha256 and sha256 != old["sha256"]:
            self.store.update("uploads", old["id"], sha256=sha256)
            old["sha256"] = sha256
        told = self.document(old)
        if told["offset"] == size:  # all had come, but the server ended before it looked at it
            with self._alone(old["id"]):
                told.update(self.finish(self.row(old["id"])))
        return told

    @contextmanager
    def _alone(self, upload_id: str) -> Iterator[None]:
        """One connection at a time. Raises Problem (409)."""
        with self._lock:
            if upload_id in self._busy:
                raise Problem(409, "This file is being sent already", "another connection sends it", "wait a moment")
            self._busy.add(upload_id)
        try:
            yield
        finally:
            self._busy.discard(upload_id)

    def _find(self, house_id: str, name: str, size: int) -> dict[str, Any] | None:
        return self.store.one("SELECT * FROM uploads WHERE house_id=? AND given=? AND bytes=?", house_id, name, size)

    def check_size(self, name: str, size: int) -> None:
        """Raises Problem for a file that is too large, empty, or of no kind that is known."""
        suffix = Path(name).suffix.lower()
        limits = self.limits
        if suffix in VIDEO_SUFFIXES:
            most = limits.video_bytes
        elif suffix == ".zip":
            most = limits.zip_bytes
        elif suffix in PHOTO_SUFFIXES:
            most = limits.photo_bytes
        else:
            raise Problem(415, f"{name} is neither photo nor video", f"its name ends in {suffix or 'nothing'}", KINDS)
        if size == 0:
            raise Problem(400, f"{name} is empty", "it has no bytes", "copy it again from the camera")
        if size > most:
            raise Problem(
                413, f"{name} is too large", f"it has {size / 1e6:,.0f} MB; {most / 1e6:,.0f} MB are the most", ""
            )

    def _check_room(self, house_id: str, size: int) -> None:
        limits = self.limits
        self.check_count(house_id, 1)
        row = self.store.one("SELECT count(*) AS n FROM uploads")
        if row and row["n"] >= limits.open_uploads:
            raise Problem(429, "Too many uploads are open", f"{row['n']} are not complete", "finish or delete some")
        self.check_disk(size)

    def check_count(self, house_id: str, more: int) -> None:
        """Raises Problem (409) when so many more photos are too many."""
        row = self.store.one("SELECT count(*) AS n FROM photos WHERE house_id=?", house_id)
        if row and row["n"] + more > self.limits.photos_a_house:
            raise Problem(
                409,
                "The house has too many photos",
                f"{self.limits.photos_a_house} are the most",
                "make a second house of the rest",
            )

    def check_disk(self, size: int) -> None:
        """Raises Problem (507) when the disk has no room for so many bytes."""
        free = shutil.disk_usage(self.houses.root).free
        if size + self.limits.free_disk_bytes > free:
            raise Problem(
                507,
                "The disk is too full",
                f"{size / 1e6:,.0f} MB are to come, {free / 1e6:,.0f} MB are free, and some must stay free",
                "delete houses that are done, or move the houses folder to a larger disk",
            )

    def part(self, house_id: str, upload_id: str) -> Path:
        """Where what has arrived lies."""
        return self.houses.folder(house_id) / "parts" / upload_id

    def sweep(self) -> None:
        """At the start: uploads that nobody goes on with, and files that no upload knows."""
        old = time.time() - FORGOTTEN_S
        for row in self.store.all("SELECT id, house_id FROM uploads WHERE changed<?", old):
            self.store.run("DELETE FROM uploads WHERE id=?", row["id"])
        known = {row["id"] for row in self.store.all("SELECT id FROM uploads")}
        for house in self.store.all("SELECT id FROM houses WHERE deleted=0"):
            for path in (self.houses.folder(house["id"]) / "parts").glob("*"):
                if path.name not in known:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def row(self, upload_id: str) -> dict[str, Any]:
        """The upload of that id. Raises Problem (404)."""
        row = self.store.one("SELECT * FROM uploads WHERE id=?", upload_id)
        if row is None:
            raise gone("upload")
        return row

    def document(self, row: dict[str, Any]) -> dict[str, Any]:
        """What is told of an upload."""
        part = self.part(row["house_id"], row["id"])
        return {
            "upload_id": row["id"],
            "name": row["given"],
            "size": row["bytes"],
            "offset": part.stat().st_size if part.exists() else 0,
        }

    def cancel(self, upload_id: str) -> None:
        """Forgets an upload and what has arrived of it."""
        row = self.row(upload_id)
        self.store.run("DELETE FROM uploads WHERE id=?", upload_id)
        self.part(row["house_id"], upload_id).unlink(missing_ok=True)

    async def append(self, upload_id: str, offset: int, body: AsyncIterator[bytes]) -> dict[str, Any]:
        """Writes what comes, from `offset` on; when the file is complete it is looked at and joins the house.
        Raises Problem; what had arrived before stays."""
        await self._replace_quiet(upload_id)
        with self._alone(upload_id):
            task = asyncio.current_task()
            assert task is not None
            sender = self._senders[upload_id] = _Sender(task)
            try:
                row = await asyncio.to_thread(self.row, upload_id)
                document = await self._write(row, offset, body, sender)
            except asyncio.CancelledError:
                if not sender.replaced:
                    raise
                task.uncancel()
                raise Problem(409, "Another connection sends this file", "this one had fallen silent", "") from None
            finally:
                del self._senders[upload_id]
            if document["offset"] == row["bytes"]:
                document.update(await asyncio.to_thread(self.finish, row))
            return document

    async def _replace_quiet(self, upload_id: str) -> None:
        """Ends a connection that says nothing: a phone that changes its network leaves one behind."""
        old = self._senders.get(upload_id)
        if old is None or old.replaced or time.monotonic() - old.heard < QUIET_S:
            return
        old.replaced = True
        old.task.cancel()
        for _ in range(100):
            if self._senders.get(upload_id) is not old:
                return
            await asyncio.sleep(0.01)

    async def _write(
        self, row: dict[str, Any], offset: int, body: AsyncIterator[bytes], sender: _Sender
    ) -> dict[str, Any]:
        document = await asyncio.to_thread(self.document, row)
        if offset != document["offset"]:
            raise Problem(
                409,
                "The upload goes on elsewhere",
                f"{document['offset']} bytes have arrived, the chunk begins at {offset}",
                "ask for the offset and send from there",
                offset=document["offset"],
            )
        part = self.part(row["house_id"], row["id"])
        at, waiting = offset, bytearray()
        try:
            with part.open("r+b" if part.exists() else "wb") as file:
                file.seek(offset)
                try:
                    async for chunk in body:
                        sender.heard = time.monotonic()
                        if at + len(waiting) + len(chunk) > row["bytes"]:
                            raise Problem(
                                413, "More came than was announced", f"the file was to have {row['bytes']} bytes", ""
                            )
                        waiting += chunk
                        if len(waiting) >= BLOCK:
                            # No longer waiting: if this is cancelled meanwhile, the thread still writes it, once.
                            block, waiting, sender.heard = waiting, bytearray(), math.inf
                            await asyncio.to_thread(file.write, block)
                            at, sender.heard = at + len(block), time.monotonic()
                finally:  # what came before the connection broke need not be sent again
                    file.write(waiting)
                    at += len(waiting)
        except OSError as error:
            raise Problem(
                507, "The file could not be written", error.strerror or str(error), "free some space, then go on"
            ) from error
        await asyncio.to_thread(self.store.update, "uploads", row["id"], changed=time.time())
        return {"upload_id": row["id"], "offset": at, "size": row["bytes"]}

    def finish(self, row: dict[str, Any]) -> dict[str, Any]:
        """A complete file joins its house: {"photo": document} or, of a zip, {"photos": [...], "left_out": [...]}.
        Raises RilievoError when it cannot be used; it is deleted then."""
        part = self.part(row["house_id"], row["id"])
        try:
            if row["sha256"] and _sha256(part) != row["sha256"].lower():
                raise Problem(
                    422,
                    f"{row['given']} arrived damaged",
                    "its sha256 is not the one that was announced",
                    "send it again",
                )
            if Path(row["given"]).suffix.lower() == ".zip":
                return self.adopt_zip(row["house_id"], row["given"], part)
            return {"photo": self.adopt(row["house_id"], row["given"], part)}
        finally:
            self.store.run("DELETE FROM uploads WHERE id=?", row["id"])
            part.unlink(missing_ok=True)

    def adopt_zip(self, house_id: str, given: str, part: Path) -> dict[str, Any]:
        """Unpacks a zip; its photos join the house. Raises Problem when it has none."""
        folder = part.with_name(part.name + ".d")
        photos, left_out = [], []
        try:
            for name, file, why in unpack(part, folder, self.limits, lambda n: self.check_count(house_id, n)):
                if file is None:
                    left_out.append({"name": name, "why": why})
                    continue
                try:
                    photos.append(self.adopt(house_id, name, file))
                except Exception as error:
                    left_out.append({"name": name, "why": getattr(error, "why", "") or str(error)})
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if not photos:
            raise Problem(
                415,
                f"{given} holds no photo that can be used",
                "; ".join(f"{o['name']}: {o['why']}" for o in left_out[:3]) or "it is empty",
                KINDS,
            )
        return {"photos": photos, "left_out": left_out}

    def adopt(self, house_id: str, given: str, file: Path) -> dict[str, Any]:
        """Moves a file into the house as a photo or video, under a name that is safe and its own; one of the same
        given name is replaced. Raises RilievoError when it is neither."""
        name = check_name(given, self.limits.name_length)
        with self._looking:
            facts = look_at_header(file, name, self.limits.photo_pixels)
        with self.store.change():
            self.houses.row(house_id)
            rows = self.store.all("SELECT name, given FROM photos WHERE house_id=?", house_id)
            same = next((r["name"] for r in rows if r["given"] == given), None)
            name = same or apart(name, {r["name"].casefold() for r in rows})
            size = file.stat().st_size
            file.replace(self.houses.folder(house_id) / "photos" / name)
            self.store.run("DELETE FROM photos WHERE house_id=? AND name=?", house_id, name)
            self.store.insert(
                "photos", house_id=house_id, name=name, given=given, bytes=size, added=time.time(), facts=facts
            )
        (self.houses.folder(house_id) / "thumbs" / f"{name}.jpg").unlink(missing_ok=True)
        self.inspector.add(house_id, name)
        self.houses.changed(house_id)
        return photo_document(self.houses.photo(house_id, name))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
