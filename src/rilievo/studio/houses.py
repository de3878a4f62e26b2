"""Houses of the studio: their folders, their photos, what is told of them.

HOUSES/ID/photos/    the files as they were sent
         thumbs/     small pictures of them
         parts/      uploads that are not complete
         model/      the project folder; of a house that `rilievo build` made, HOUSES/NAME is it
         depth/      what was made of one photo
         job.log     what the last job said
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rilievo.studio import adopted
from rilievo.studio.limits import Limits
from rilievo.studio.names import HOUSE_ID, apart, check_name, clean_title
from rilievo.studio.problems import Problem, gone
from rilievo.studio.store import Store

UPLOADING_S = 60.0  # without a byte, and a house no longer counts as receiving
OPEN = ("queued", "running")


class Houses:
    """All methods may be called from several threads."""

    def __init__(self, root: Path, store: Store, limits: Limits) -> None:
        self.root, self.store, self.limits = root, store, limits
        self._sizes: dict[str, tuple[float, Any, int]] = {}
        self._lock = threading.RLock()
        self._adopted = -9.0

    def folder(self, house_id: str) -> Path:
        """Where a house lies. Raises Problem (404) for what is no house."""
        if not HOUSE_ID.fullmatch(house_id):
            raise gone("house")
        return self.root / house_id

    def model(self, house_id: str) -> Path:
        """Its project folder."""
        row = self.store.one("SELECT place FROM houses WHERE id=?", house_id)
        return self.root / row["place"] if row and row["place"] else self.folder(house_id) / "model"

    def made(self, house_id: str) -> tuple[Path, Path]:
        """Where results lie: the project folder, and the folder of what was made of one photo."""
        return self.model(house_id), self.folder(house_id) / "depth"

    def make(self, title: str, house_id: str | None = None) -> str:
        """A new house; its id. Raises Problem when there are too many or the disk is full."""
        title = clean_title(title, self.limits.title_length)
        row = self.store.one("SELECT count(*) AS n FROM houses WHERE deleted=0")
        if row and row["n"] >= self.limits.houses:
            raise Problem(409, "There are too many houses", f"{row['n']} are the most", "delete some that are done")
        house_id = house_id or secrets.token_hex(6)
        folder = self.folder(house_id)
        try:
            for name in ("photos", "thumbs", "parts"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Problem(507, "The house cannot be made", error.strerror or str(error), "free some space") from error
        self.store.insert("houses", id=house_id, title=title, created=time.time())
        return house_id

    def adopt(self) -> list[tuple[str, str]]:
        """Projects that were put into the houses folder become houses; houses whose project is gone are forgotten.
        Returns (house, photo) of photos that nobody has looked at. At most once in two seconds."""
        with self._lock:
            if time.monotonic() - self._adopted < 2:
                return []
            self._adopted = time.monotonic()
            new = []
            rows = self.store.all("SELECT id, place, deleted FROM houses WHERE place<>''")
            there = adopted.projects(self.root)
            for row in rows:
                if not row["deleted"] and row["place"] not in there:
                    self._forget(row["id"])
            for place in there:
                if all(row["place"] != place for row in rows):
                    new += self._adopt(place)
            return new

    def _adopt(self, place: str) -> list[tuple[str, str]]:
        told = adopted.describe(self.root / place)
        try:
            house_id = self.make(clean_title(told["title"][: self.limits.title_length], self.limits.title_length))
        except Problem:  # too many houses, or a full disk: it is tried again
            return []
        names: list[str] = []
        with self.store.change():
            self.store.update("houses", house_id, place=place, created=told["created"])
            for photo in told["photos"][: self.limits.photos_a_house]:
                try:
                    name = check_name(photo["name"].replace("/", "-"), self.limits.name_length)
                except Problem:
                    continue
                name = apart(name, {n.casefold() for n in names})
                names.append(name)
                size = photo["path"].stat().st_size if photo["path"].is_file() else 0
                self.store.insert(
                    "photos", house_id=house_id, name=name, given=photo["name"], bytes=size, added=time.time(),
                    facts=photo["facts"],
                )  # fmt: skip
        return [(house_id, name) for name in names]

    def inputs(self, house_id: str) -> tuple[list[str], str | None]:
        """What a build reads, files and folders, and its folder of masks."""
        row, rows = self.row(house_id), self.store.all("SELECT facts FROM photos WHERE house_id=?", house_id)
        elsewhere = sorted({r["facts"]["source"] for r in rows if "source" in r["facts"]})
        own = [str(self.folder(house_id) / "photos")] if any("source" not in r["facts"] for r in rows) else []
        masks = adopted.describe(self.root / row["place"])["masks"] if row["place"] else None
        return elsewhere + own, None if masks is None else str(masks)

    def row(self, house_id: str) -> dict[str, Any]:
        """The house of that id. Raises Problem (404)."""
        row = self.store.one("SELECT * FROM houses WHERE id=? AND deleted=0", house_id)
        if row is None:
            raise gone("house")
        return row

    def list(self) -> list[dict[str, Any]]:
        """Documents of all houses, the newest first."""
        rows = self.store.all("SELECT * FROM houses WHERE deleted=0 ORDER BY created DESC")
        return [self.document(row) for row in rows]

    def document(self, row: dict[str, Any]) -> dict[str, Any]:
        """What is told of a house."""
        house_id = row["id"]
        counted = self.store.one("SELECT count(*) AS n FROM photos WHERE house_id=?", house_id)
        first = self.store.one("SELECT * FROM photos WHERE house_id=? ORDER BY name LIMIT 1", house_id)
        job = self.store.one("SELECT * FROM jobs WHERE house_id=? ORDER BY created DESC LIMIT 1", house_id)
        number = counted["n"] if counted else 0
        status = self._status(row, number, job)
        told: dict[str, Any] = {
            "id": house_id,
            "title": row["title"],
            "created": row["created"],
            "status": status,
            "num_photos": number,
            "thumb": None if first is None else thumb_address(first),
            "makes": job["makes"] if job else self._made(row),
            "quality": job["quality"] if job else None,
            "job_id": job["id"] if job else None,
            "seconds": job["seconds"] if job else None,
            "size_bytes": self.size(house_id, status),
        }
        if job and job["status"] == "running":
            told["progress"] = job["progress"].get("progress", 0.0)
        if job and job["status"] == "failed" and job["error"]:
            told["message"] = job["error"]["what"]
        return told

    def _made(self, row: dict[str, Any]) -> list[str]:
        """What a project that was made elsewhere has."""
        return adopted.makes(self.root / row["place"]) if row["place"] else []

    def _status(self, row: dict[str, Any], number: int, job: dict[str, Any] | None) -> str:
        if job and job["status"] in OPEN:
            return job["status"]
        since = time.time() - UPLOADING_S
        if self.store.one("SELECT id FROM uploads WHERE house_id=? AND changed>?", row["id"], since):
            return "uploading"
        if job:
            return job["status"]
        if row["place"] and (self.root / row["place"] / "export" / "report.html").is_file():
            return "done"
        return "ready" if number else "empty"

    def size(self, house_id: str, status: str) -> int:
        """Bytes on disk; counted again now and then only."""
        with self._lock:
            when, of, size = self._sizes.get(house_id, (0.0, None, 0))
            age = time.monotonic() - when
            if of is not None and age < (15 if status in OPEN else 600 if of == status else 1):
                return size
            self._sizes[house_id] = (time.monotonic(), status, size)  # others need not count at the same time
        size = _tree_size(self.folder(house_id))
        model = self.model(house_id)
        size += _tree_size(model) if model.parent == self.root else 0
        with self._lock:
            self._sizes[house_id] = (time.monotonic(), status, size)
        return size

    def changed(self, house_id: str) -> None:
        """Its size is counted anew."""
        with self._lock:
            self._sizes.pop(house_id, None)

    def rename(self, house_id: str, title: str) -> dict[str, Any]:
        """Gives it another title."""
        self.row(house_id)
        self.store.update("houses", house_id, title=clean_title(title, self.limits.title_length))
        return self.document(self.row(house_id))

    def delete(self, house_id: str) -> None:
        """Forgets the house, then deletes its folder; what cannot be deleted now is at the next start. Photos that lie
        elsewhere stay."""
        self.row(house_id)
        self._forget(house_id)

    def _forget(self, house_id: str) -> None:
        with self.store.change():
            for table in ("photos", "uploads", "jobs"):
                self.store.run(f"DELETE FROM {table} WHERE house_id=?", house_id)
            self.store.run("DELETE FROM tasks WHERE house_id=?", house_id)
            self.store.update("houses", house_id, deleted=1)
        self.changed(house_id)
        self._remove(house_id)

    def _remove(self, house_id: str) -> bool:
        """Whether nothing of its folder is left. It is moved away first: who still writes into it finds it no more."""
        left = False
        for k, folder in enumerate((self.folder(house_id), self.model(house_id))):
            if folder.parent != self.root:
                continue
            doomed = self.root / f"{house_id}{'-model' * k}.deleted"
            with contextlib.suppress(OSError):
                folder.rename(doomed)
            for path in (doomed, folder):
                shutil.rmtree(path, ignore_errors=True)
                left |= path.exists()
        if not left:
            self.store.update("houses", house_id, place="")  # another project may come to that place
        return not left

    def sweep(self) -> None:
        """At the start: what a killed server left half deleted, and what came into a house after it was deleted."""
        for row in self.store.all("SELECT id FROM houses WHERE deleted=1"):
            if self._remove(row["id"]):
                self.store.run("DELETE FROM houses WHERE id=?", row["id"])

    # photos

    def photos(self, house_id: str) -> list[dict[str, Any]]:
        """Documents of its photos and videos, by name."""
        rows = self.store.all("SELECT * FROM photos WHERE house_id=? ORDER BY name", house_id)
        return [photo_document(row) for row in rows]

    def photo(self, house_id: str, name: str) -> dict[str, Any]:
        """One photo's row. Raises Problem (404)."""
        row = self.store.one("SELECT * FROM photos WHERE house_id=? AND name=?", house_id, name)
        if row is None:
            raise gone("photo")
        return row

    def forget_photo(self, house_id: str, name: str) -> None:
        """Deletes a photo. Raises Problem (409) while a job reads the photos."""
        self.photo(house_id, name)
        if self.store.one("SELECT id FROM jobs WHERE house_id=? AND status='running'", house_id):
            raise Problem(
                409, "The photo is in use", "the house is being made of its photos", "cancel the job, then delete it"
            )
        folder = self.folder(house_id)
        (folder / "photos" / name).unlink(missing_ok=True)
        (folder / "thumbs" / f"{name}.jpg").unlink(missing_ok=True)
        self.store.run("DELETE FROM photos WHERE house_id=? AND name=?", house_id, name)
        self.changed(house_id)


def thumb_address(row: dict[str, Any]) -> str:
    """Where a photo's small picture is; another address once there is one, so that pages show it."""
    version = int(1000 * row["added"]) if row["checked"] else 0
    return f"/api/houses/{row['house_id']}/photos/{quote(row['name'], safe='')}/thumb.jpg?v={version}"


def photo_document(row: dict[str, Any]) -> dict[str, Any]:
    """What is told of a photo; what is not known yet is None."""
    facts = row["facts"]
    return {
        "name": row["name"],
        "given": row["given"],
        "bytes": row["bytes"],
        "checked": bool(row["checked"]),
        "kind": facts.get("kind", "photo"),
        "width": facts.get("width"),
        "height": facts.get("height"),
        "taken": facts.get("taken"),
        "camera": facts.get("camera"),
        "sharpness": facts.get("sharpness"),
        "warnings": facts.get("warnings", []),
        "thumb": thumb_address(row),
    }


def _tree_size(folder: Path) -> int:
    total, stack = 0, [os.fspath(folder)]
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total
