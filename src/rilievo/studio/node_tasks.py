"""Tasks of the NodeODM API: each is a house with one job."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections import deque
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rilievo.studio.exports import export_files, textured
from rilievo.studio.models import Options
from rilievo.studio.names import HOUSE_ID
from rilievo.studio.parts import Studio
from rilievo.studio.problems import Problem

CODES = {"queued": 10, "running": 20, "failed": 30, "done": 40, "cancelled": 50}
TEXTS = (".txt", ".geojson", ".csv")
ASSETS = ("all.zip", "textured_model.zip", "orthophoto.tif")
# name, type, default, domain, help
OPTIONS = (
    ("quality", "enum", "normal", ["draft", "normal", "high"], "resolution and effort: draft for a first look"),
    ("splats", "bool", "false", "bool", "make Gaussian splats too"),
    ("field", "bool", "false", "bool", "make a radiance field too"),
    ("max-faces", "int", "", "positive integer", "triangles of the final mesh (default: by quality)"),
    ("texture-size", "int", "", "integer from 64 to 16384", "largest side of the texture, px (default: by quality)"),
    ("depth-size", "int", "", "integer from 64 to 8192", "longer side of the depth maps, px (default: by quality)"),
    ("surface", "enum", "auto", ["auto", "delaunay", "poisson", "ball-pivoting", "splats"], "method of the mesh"),
    ("watertight", "bool", "false", "bool", "close the surface everywhere, e.g. for 3D printing"),
    ("prior", "enum", "planes", ["planes", "depth"], "what closes gaps where photos show nothing to match"),
    ("seed", "int", "0", "integer >= 0", "seed of everything random"),
)


def option_documents() -> list[dict[str, Any]]:
    """The answer of /options."""
    return [{"name": n, "type": t, "value": v, "domain": d, "help": h} for n, t, v, d, h in OPTIONS]


def parse_options(text: str) -> list[dict[str, Any]]:
    """Serialized options as clients send them. Options that are not ours are left out: clients send those of other
    engines too. Raises Problem for values that cannot be."""
    try:
        given = json.loads(text) if text.strip() else []
        pairs = {str(o["name"]): o["value"] for o in given}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Problem(400, "The options cannot be read", "they are no JSON list of {name, value}", "") from error
    known = {row[0]: row for row in OPTIONS}
    kept = [{"name": name, "value": value} for name, value in pairs.items() if name in known]
    job_of(kept)
    return kept


def job_of(options: list[dict[str, Any]]) -> tuple[list[str], str, dict[str, Any]]:
    """makes, quality and options of a job. Raises Problem for values that cannot be."""
    values = {o["name"]: o["value"] for o in options if o["value"] not in ("", None)}
    quality = str(values.pop("quality", "normal"))
    if quality not in ("draft", "normal", "high"):
        raise Problem(400, "Unknown quality", f"{quality[:40]} is none of draft, normal, high", "")
    makes = ["model", *(name for name in ("splats", "field") if _is_true(values.pop(name, False)))]
    named = {n.replace("-", "_"): _is_true(v) if n == "watertight" else v for n, v in values.items()}
    try:
        return makes, quality, Options.model_validate(named).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise Problem(400, "An option cannot be", f"{'.'.join(map(str, first['loc']))}: {first['msg']}", "") from error


def _is_true(value: Any) -> bool:
    return value is True or str(value).lower() in ("true", "1", "yes", "on")


class Tasks:
    """All methods may be called from several threads."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.store = studio, studio.store

    def begin(self, fields: dict[str, str], wanted: str | None) -> str:
        """A task that photos can be added to; its uuid. Raises Problem."""
        options = self._options(fields)
        task_id = str(uuid.uuid4())
        if wanted:
            try:
                task_id = str(uuid.UUID(wanted))
            except ValueError as error:
                raise Problem(400, "set-uuid is no UUID", wanted[:60], "leave it out") from error
            if self.store.one("SELECT id FROM houses WHERE id=?", task_id):
                raise Problem(409, "This UUID is taken", task_id, "leave set-uuid out")
        name = fields.get("name") or f"Task of {time.strftime('%Y-%m-%d %H:%M')}"
        created = _created(fields.get("dateCreated"))
        self.studio.houses.make(name[: self.studio.limits.title_length], task_id)
        self.store.insert("tasks", house_id=task_id, name=name[:1000], options=options, created=created, committed=0)
        return task_id

    def describe(self, task_id: str, fields: dict[str, str]) -> None:
        """Name and options of a task that was begun without. Raises Problem."""
        options = self._options(fields)
        name = fields.get("name")
        if name:
            self.studio.houses.rename(task_id, name[: self.studio.limits.title_length])
            self.store.run("UPDATE tasks SET name=? WHERE house_id=?", name[:1000], task_id)
        created = _created(fields.get("dateCreated"))
        self.store.run("UPDATE tasks SET options=?, created=? WHERE house_id=?", options, created, task_id)

    def _options(self, fields: dict[str, str]) -> list[dict[str, Any]]:
        if fields.get("zipurl"):
            raise Problem(400, "zipurl is not served", "this node fetches nothing from the network", "upload the files")
        return parse_options(fields.get("options", ""))

    def row(self, task_id: str) -> dict[str, Any]:
        """Raises Problem when there is no such task."""
        row = None
        if HOUSE_ID.fullmatch(task_id):
            row = self.store.one("SELECT * FROM tasks WHERE house_id=?", task_id)
        if row is None:
            raise Problem(404, f"{task_id[:60]} not found", "there is no such task", "")
        return row

    def open_row(self, task_id: str) -> dict[str, Any]:
        """A task that photos may still be added to. Raises Problem."""
        row = self.row(task_id)
        if row["committed"]:
            raise Problem(409, "The task has begun", "photos cannot be added any more", "make a new task")
        return row

    def add(self, task_id: str, files: list[tuple[str, Path]]) -> None:
        """Photos, videos or zips of them. Of other engines' text files, those that would change the result unseen
        (ground control) are refused; others are left out, which the output says. Raises Problem."""
        uploads = self.studio.uploads
        self.open_row(task_id)
        if not files:
            raise Problem(400, "No files came", "the form has no images", "")
        for given, path in files:
            given = given.replace("\\", "/").rsplit("/", 1)[-1]
            size = path.stat().st_size
            if Path(given).suffix.lower() in TEXTS:
                self._leave_out(task_id, given)
                continue
            uploads.check_size(given, size)
            uploads.check_count(task_id, 1)
            if Path(given).suffix.lower() == ".zip":
                uploads.adopt_zip(task_id, given, path)
            else:
                uploads.adopt(task_id, given, path)

    def _leave_out(self, task_id: str, given: str) -> None:
        if "gcp" in given.lower() or "control" in given.lower():
            raise Problem(
                415,
                "Ground control cannot be used by this node",
                f"{given[:80]} would be ignored, and the model would look controlled without being so",
                "leave the file out; the model is then placed by the GPS of the photos, where they have it",
            )
        with (self.studio.houses.folder(task_id) / "notes.log").open("a", encoding="utf-8") as notes:
            notes.write(f"left out: {given[:80]!r} (this node does not use such files)\n")

    def commit(self, task_id: str) -> None:
        """Queues the task. Raises Problem when it has no photos."""
        row = self.open_row(task_id)
        makes, quality, options = job_of(row["options"])
        self.studio.jobs.add(task_id, makes, quality, options)
        self.store.run("UPDATE tasks SET committed=1 WHERE house_id=?", task_id)

    def job(self, task_id: str) -> dict[str, Any]:
        """The job's row. Raises Problem for a task that was not committed."""
        self.row(task_id)
        job = self.store.one("SELECT * FROM jobs WHERE house_id=? ORDER BY created DESC LIMIT 1", task_id)
        if job is None:
            raise Problem(404, f"{task_id} not found", "its upload is not complete", "commit it first")
        return job

    def listed(self) -> list[dict[str, str]]:
        """The answer of /task/list."""
        return [{"uuid": r["house_id"]} for r in self.store.all("SELECT house_id FROM tasks WHERE committed=1")]

    def document(self, task_id: str) -> dict[str, Any]:
        """The answer of /task/{uuid}/info."""
        row, job = self.row(task_id), self.studio.jobs.document(self.job(task_id))
        status: dict[str, Any] = {"code": CODES[job["status"]]}
        if job["error"]:
            status["errorMessage"] = ": ".join(filter(None, (job["error"]["what"], job["error"]["why"])))
        counted = self.store.one("SELECT count(*) AS n FROM photos WHERE house_id=?", task_id)
        return {
            "uuid": task_id,
            "name": row["name"],
            "dateCreated": int(1000 * row["created"]),
            "processingTime": int(1000 * job["seconds"]) if job["started"] else -1,
            "status": status,
            "options": row["options"],
            "imagesCount": counted["n"] if counted else 0,
            "progress": round(100 * job["progress"], 1),
        }

    def output(self, task_id: str, line: int) -> list[str]:
        """Lines of the log from `line` on; negative: the last ones."""
        self.job(task_id)
        kept: deque[str] = deque(maxlen=20_000)
        for name in ("notes.log", "job.log"):
            with (
                contextlib.suppress(OSError),
                (self.studio.houses.folder(task_id) / name).open(encoding="utf-8", errors="replace") as lines,
            ):
                kept.extend(text.rstrip("\n") for text in lines)
        return list(kept)[line:]

    def restart(self, task_id: str, options: str | None) -> None:
        """Again, with other options where they are given."""
        job = self.job(task_id)
        if options is None:
            self.studio.jobs.restart(job["id"])
            return
        parsed = parse_options(options)
        makes, quality, chosen = job_of(parsed)
        self.studio.jobs.restart(job["id"], makes=makes, quality=quality, options=chosen)
        self.store.run("UPDATE tasks SET options=? WHERE house_id=?", parsed, task_id)

    def asset(self, task_id: str, name: str) -> dict[str, Path] | Path:
        """Files of a zip, or one file. Raises Problem for what was not made."""
        job = self.job(task_id)
        made = self.studio.houses.made(task_id)
        if job["status"] != "done":
            raise Problem(
                409, f"There is no {name[:60]} yet", f"the task is {job['status']}", "wait until it is completed"
            )
        files = export_files(made)
        if name == "all.zip":
            return files
        if name == "textured_model.zip":
            return textured(made)
        found = files.get(name) or next((p for n, p in files.items() if n.rsplit("/", 1)[-1] == name), None)
        if found is None:
            why = "none was made of these photos" if name in ASSETS else f"the assets are {', '.join(ASSETS)}"
            raise Problem(404, f"There is no {name[:60]}", why, "all.zip has all that was made")
        return found


def _created(text: str | None) -> float:
    try:
        milliseconds = int(text) if text else None
    except ValueError as error:
        raise Problem(400, "dateCreated is no number", str(text)[:40], "give milliseconds since 1970") from error
    return time.time() if milliseconds is None or not 0 < milliseconds < 10**14 else milliseconds / 1000
