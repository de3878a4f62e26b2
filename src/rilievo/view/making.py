"""Layers are made one after the other in a thread of its own, those that are seen first first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rilievo.errors import RilievoError


@dataclass
class Job:
    """A layer to be made. key: of what it is made from.  make: gives its entry, None where it is empty, and the folder
    of its files."""

    layer: str
    key: Any
    house: int
    make: Callable[[], tuple[dict[str, Any] | None, Path]]


@dataclass
class Ready:
    """A layer that can be served."""

    key: Any
    entry: dict[str, Any] | None
    folder: Path
    house: int


class Workshop:
    """Makes the layers that are wanted; `changed` is called after each. Holds what is ready and what went wrong.

    Its lock is the caller's to take where several of its values must fit together.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self.lock = threading.RLock()
        self._work = threading.Condition(self.lock)
        self.ready: dict[str, Ready] = {}
        self._problems: dict[str, dict[str, Any]] = {}
        self._jobs: list[Job] = []
        self._making: Job | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def want(self, jobs: Sequence[Job]) -> None:
        """These layers and no others; what is there or failed already is not made again."""
        with self._work:
            names = {job.layer for job in jobs}
            self.ready = {k: r for k, r in self.ready.items() if k in names}
            self._problems = {k: p for k, p in self._problems.items() if k in names}
            self._jobs = [job for job in jobs if not self._has(job)]
            self._work.notify_all()

    def _has(self, job: Job) -> bool:
        if self._making is not None and (self._making.layer, self._making.key) == (job.layer, job.key):
            return True
        ready, problem = self.ready.get(job.layer), self._problems.get(job.layer)
        return (ready is not None and ready.key == job.key) or (problem is not None and problem["key"] == job.key)

    @property
    def busy(self) -> bool:
        """Whether more will come."""
        with self.lock:
            return bool(self._jobs) or self._making is not None

    def problems(self) -> list[dict[str, Any]]:
        """layer, error, why, hint of what could not be made."""
        with self.lock:
            return [{k: v for k, v in p.items() if k != "key"} for p in self._problems.values()]

    def _run(self) -> None:
        while True:
            with self._work:
                while not self._jobs and not self._closed:
                    self._work.wait()
                if self._closed:
                    return
                job = self._making = self._jobs.pop(0)
            made, problem = None, None
            try:
                made = job.make()
            except RilievoError as error:
                problem = {"error": error.what, "why": error.why, "hint": error.hint}
            except Exception as error:  # one broken layer must not hide the others
                problem = {"error": f"the layer {job.layer} cannot be made", "why": repr(error)[:300], "hint": ""}
            with self._work:
                self._making = None
                if made is not None:
                    self._problems.pop(job.layer, None)
                    self.ready[job.layer] = Ready(job.key, *made, job.house)
                elif problem is not None:
                    self._problems[job.layer] = {"key": job.key, "layer": job.layer, **problem}
                self._changed()
                self._work.notify_all()

    def wait(self, *, first: bool = False, timeout: float = 600.0) -> bool:
        """Until all layers are made (first: until there is one to see). False after the timeout."""
        deadline = time.monotonic() + timeout
        with self._work:
            while self.busy:
                if first and any(r.entry for r in self.ready.values()):
                    return True
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._work.wait(left)
        return True

    def close(self) -> None:
        """Ends the thread, after the layer that it is making."""
        with self._work:
            self._closed = True
            self._jobs.clear()
            self._work.notify_all()
        self._thread.join()
