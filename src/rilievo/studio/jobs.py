"""The queue: one job at a time in a child process; what it tells is kept, what it told last is shown."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import psutil

from rilievo.studio.houses import OPEN, Houses
from rilievo.studio.problems import Problem, gone
from rilievo.studio.stages import Account

MAKES = ("model", "splats", "field", "depth")
QUALITIES = ("draft", "normal", "high")
LOG_LINES = 40
SAVE_S = 1.0


class Jobs:
    """Queued jobs run in the order they were asked for. A job that ran when the server ended is run again; the project
    folder goes on where it stopped. All methods may be called from several threads."""

    def __init__(self, houses: Houses, *, threads: int, memory_mb: float | None = None) -> None:
        self.houses, self.store = houses, houses.store
        self.threads, self.memory_mb = threads, memory_mb
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._running: tuple[str, Account, deque[str]] | None = None
        self._child: subprocess.Popen[str] | None = None
        self._wanted: str | None = None  # "cancelled" or "queued": what becomes of the running job
        self._closed = False
        self._version = 0
        self._recover()
        self._thread = threading.Thread(target=self._work, daemon=True, name="jobs")
        self._thread.start()

    # what is asked for

    def add(self, house_id: str, makes: list[str], quality: str, options: dict[str, Any]) -> str:
        """A new job at the end of the queue; its id. Raises Problem when there is nothing to make it of."""
        with self._wake:
            document = self.houses.document(self.houses.row(house_id))
            if not makes:
                raise Problem(400, "Nothing to make", "no product was chosen", f"choose of {', '.join(MAKES)}")
            if document["num_photos"] == 0:
                raise Problem(409, "The house has no photos", "nothing can be made of it yet", "add photos first")
            if self.store.one("SELECT id FROM jobs WHERE house_id=? AND status IN ('queued','running')", house_id):
                raise Problem(
                    409, "The house is being made already", "it has a job that waits or runs", "cancel that one first"
                )
            self._check_room()
            job_id, now = secrets.token_hex(8), time.time()
            self.store.insert(
                "jobs", id=job_id, house_id=house_id, makes=makes, quality=quality, options=options,
                status="queued", created=now, queued=now, progress={},
            )  # fmt: skip
            self._tell()
        return job_id

    def _check_room(self) -> None:
        row = self.store.one("SELECT count(*) AS n FROM jobs WHERE status IN ('queued','running')")
        if row and row["n"] >= self.houses.limits.open_jobs:
            raise Problem(429, "Too many jobs wait", f"{row['n']} are in the queue", "cancel some, or wait")

    def row(self, job_id: str) -> dict[str, Any]:
        """Raises Problem (404)."""
        row = self.store.one("SELECT * FROM jobs WHERE id=?", job_id)
        if row is None:
            raise gone("job")
        return row

    def list(self) -> list[dict[str, Any]]:
        """All jobs, the newest first."""
        return [self.document(row) for row in self.store.all("SELECT * FROM jobs ORDER BY created DESC LIMIT 1000")]

    def document(self, row: dict[str, Any]) -> dict[str, Any]:
        """What is told of a job."""
        house = self.store.one("SELECT title FROM houses WHERE id=?", row["house_id"])
        told = {
            **{k: row[k] for k in ("id", "house_id", "makes", "quality", "options", "status", "created", "error")},
            **{k: row[k] for k in ("started", "finished", "seconds")},
            "title": house["title"] if house else "",
            "stage": "",
            "stages": [],
            "progress": 0.0,
            "eta_s": None,
            "log_tail": [],
            **row["progress"],
        }
        with self._lock:
            if self._running and self._running[0] == row["id"] and row["status"] == "running":
                _, account, log = self._running
                told.update(account.document(), log_tail=list(log), seconds=row["seconds"] + self._elapsed())
        if row["status"] == "queued":
            told.update(eta_s=None, stage="")
        if row["status"] == "done":
            told["progress"] = 1.0
        return told

    def _elapsed(self) -> float:
        return round(time.monotonic() - self._running[1].began, 1) if self._running else 0.0

    def version(self) -> int:
        """Changes when any job does."""
        return self._version

    def cancel(self, job_id: str) -> None:
        """Takes a job out of the queue, or ends it. What it has finished is kept. Raises Problem (404, 409)."""
        with self._wake:
            row = self.row(job_id)
            if row["status"] not in OPEN:
                raise Problem(409, "The job is over already", f"it is {row['status']}", "")
            if row["status"] == "queued":
                self.store.update("jobs", job_id, status="cancelled", finished=time.time())
                self._tell()
                return
            self._wanted = "cancelled"
            self._kill()
            # Until it is over, so that what is asked next is told so.
            self._wake.wait_for(lambda: self._running is None or self._running[0] != job_id, 20)

    def restart(self, job_id: str, **changes: Any) -> None:
        """Puts a job that is over into the queue again. changes: other makes, quality or options. Raises Problem (404,
        409)."""
        with self._wake:
            row = self.row(job_id)
            if row["status"] in OPEN:
                raise Problem(409, "The job is not over", f"it is {row['status']}", "cancel it first")
            if self.store.one(
                "SELECT id FROM jobs WHERE house_id=? AND status IN ('queued','running')", row["house_id"]
            ):
                raise Problem(409, "The house is being made already", "another of its jobs waits or runs", "")
            self._check_room()
            self.store.update(
                "jobs", job_id, status="queued", queued=time.time(), finished=None, error=None, seconds=0.0, **changes
            )
            self._tell()

    def stop_house(self, house_id: str) -> None:
        """Ends what is made of a house, before it is deleted."""
        for row in self.store.all("SELECT id FROM jobs WHERE house_id=? AND status IN ('queued','running')", house_id):
            with contextlib.suppress(Problem):
                self.cancel(row["id"])

    def close(self) -> None:
        """Ends the child; its job goes back to the queue."""
        with self._wake:
            self._closed = True
            self._wanted = self._wanted or "queued"
            self._kill()
            self._wake.notify_all()
        self._thread.join(20)

    # the thread that runs them

    def _tell(self) -> None:
        self._version += 1
        self._wake.notify_all()

    def _recover(self) -> None:
        """Jobs that ran when the server ended go back to the queue, in front; their children are ended."""
        for row in self.store.all("SELECT * FROM jobs WHERE status='running'"):
            if row["worker"]:
                _end_stranger(row["worker"]["pid"], row["worker"]["created"])
            self.store.update("jobs", row["id"], status="queued", worker=None)

    def _work(self) -> None:
        while True:
            with self._wake:
                row = None
                while not self._closed:
                    row = self.store.one("SELECT * FROM jobs WHERE status='queued' ORDER BY queued, created LIMIT 1")
                    if row:
                        break
                    self._wake.wait(30)
                if self._closed or row is None:
                    return
                self._wanted = None
                account = Account(row["makes"], row["quality"])
                self._running = (row["id"], account, deque(maxlen=LOG_LINES))
                self.store.update(
                    "jobs", row["id"], status="running", started=row["started"] or time.time(), error=None
                )
                self._tell()
            status, error = "failed", None
            try:
                status, error = self._run(row)
            except Exception as problem:  # the queue goes on whatever happens to one job
                error = {"what": "The job could not be started", "why": str(problem)[:300], "hint": "try it again"}
            finally:
                self._end(row, status, error)

    def _end(self, row: dict[str, Any], status: str, error: dict[str, str] | None) -> None:
        with self._wake:
            assert self._running is not None
            _, account, log = self._running
            wanted = self._wanted if status != "done" else None
            status = wanted or status
            seconds = row["seconds"] + self._elapsed()
            told = {**account.document(over=True), "log_tail": list(log)}
            self.store.update(
                "jobs", row["id"], status=status, error=None if wanted else error, worker=None, progress=told,
                seconds=round(seconds, 1), finished=None if status == "queued" else time.time(),
            )  # fmt: skip
            self._running = None
            self.houses.changed(row["house_id"])
            self._tell()

    def _run(self, row: dict[str, Any]) -> tuple[str, dict[str, str] | None]:
        folder = self.houses.folder(row["house_id"])
        assert self._running is not None
        _, account, log = self._running
        error: dict[str, str] | None = None
        done = False
        with (folder / "job.log").open("w", encoding="utf-8") as log_file:

            def note(text: str) -> None:
                log.append(text[:500])
                log_file.write(text + "\n")
                log_file.flush()

            child = self._start(row, folder)
            talk = threading.Thread(target=_follow, args=(child, note), daemon=True)
            talk.start()
            saved = time.monotonic()
            assert child.stdout is not None
            for line in child.stdout:
                try:
                    told = json.loads(line)
                except ValueError:
                    continue
                with self._wake:
                    if "stage" in told:
                        new = told["stage"] != account.stage
                        account.take(told["stage"], told["done"], told["total"], told.get("reused", 0))
                        if new or told["done"] >= told["total"]:
                            note(f"{told['stage']} {told['done']}/{told['total']}")
                    elif "say" in told:
                        note(told["say"])
                    elif "error" in told:
                        error = told["error"]
                    elif "end" in told:
                        done = True
                    if time.monotonic() - saved > SAVE_S:
                        saved = time.monotonic()
                        self.store.update("jobs", row["id"], progress={**account.document(), "log_tail": list(log)})
                    self._tell()
            code = child.wait()
            talk.join(5)
            with self._lock:
                self._child = None
            _close(child)
        if done and error is None:
            return "done", None
        return "failed", error or _ended(code, log)

    def _start(self, row: dict[str, Any], folder: Path) -> subprocess.Popen[str]:
        model, depth = self.houses.made(row["house_id"])
        photos, masks = self.houses.inputs(row["house_id"])
        job = {
            "title": self.houses.row(row["house_id"])["title"],
            "makes": row["makes"],
            "quality": row["quality"],
            "options": row["options"],
            "photos": photos,
            "masks": masks,
            "house": str(model),
            "depth": str(depth),
            "threads": self.threads,
            "memory_mb": self.memory_mb or 0.75 * psutil.virtual_memory().available / 2**20,
        }
        file = folder / "job.json"
        file.write_text(json.dumps(job, indent=1), "utf-8")
        with self._lock:
            if self._wanted is not None:
                raise RuntimeError("it was cancelled before it began")
            child = subprocess.Popen(
                [sys.executable, "-m", "rilievo.studio.worker", str(file)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True, encoding="utf-8", errors="replace", cwd=folder, start_new_session=True,
            )  # fmt: skip
            self._child = child
            with contextlib.suppress(psutil.Error):
                worker = {"pid": child.pid, "created": psutil.Process(child.pid).create_time()}
                self.store.update("jobs", row["id"], worker=worker)
        return child

    def _kill(self) -> None:
        child = self._child
        if child is not None and child.poll() is None:
            _end_group(child.pid)


def _follow(child: subprocess.Popen[str], note: Any) -> None:
    assert child.stderr is not None
    with contextlib.suppress(OSError, ValueError):
        for line in child.stderr:
            note(line.rstrip("\n"))


def _close(child: subprocess.Popen[str]) -> None:
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _ended(code: int, log: deque[str]) -> dict[str, str]:
    why = f"its process ended with code {code}"
    hint = "try again: what is finished is kept; the log below may say more"
    if code < 0 and -code == getattr(signal, "SIGKILL", 9):
        why = "the system ended its process, most likely because the memory was short"
        hint = "choose a lower quality, or close other programs and try again: what is finished is kept"
    return {"what": "The job ended without an answer", "why": why, "hint": hint}


def _end_group(pid: int) -> None:
    """Ends a child and those it started. Finished work is safe: it is written whole or not at all."""
    if os.name == "nt":
        with contextlib.suppress(psutil.Error):
            for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
                process.kill()
        return
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _end_stranger(pid: int, created: float) -> None:
    """Ends the worker of a server that is gone, if that number is still its."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if abs(process.create_time() - created) < 1.0:
            _end_group(pid)
            process.wait(10)
