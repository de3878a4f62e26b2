"""How far a job is: its stages as they come, the share of the whole that each usually takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

# Share of the time by stage, of a build of normal quality; relative numbers.
MODEL = {
    "photos": 2, "keypoints": 6, "matches": 8, "cameras": 6, "depth": 34, "depth refined": 14, "depth checked": 3,
    "depth filled": 3, "cloud": 8, "surface": 8, "texture": 7, "export": 2,
}  # fmt: skip
REFINE = {"refine": 25}
SPLATS = {"splats": 90, "held-out photos": 3}
FIELD = {"field": 90}
DEPTH = {f"one photo: {s}": w for s, w in (
    ("photo and network", 2), ("depth", 8), ("scale", 1), ("surface", 3), ("files", 3),
)}  # fmt: skip


def expected(makes: Sequence[str], quality: str) -> dict[str, float]:
    """Stages that a job will have, with their weights."""
    weights: dict[str, float] = {}
    if "depth" in makes:
        weights |= DEPTH
    if {"model", "splats", "field"} & set(makes):
        model = dict(MODEL)
        if quality == "high":
            tail = {k: model.pop(k) for k in ("texture", "export")}
            model |= REFINE | tail
        weights |= model
    if "splats" in makes:
        weights |= SPLATS
    if "field" in makes:
        weights |= FIELD
    return weights


class Account:
    """Stages of one run of a job. `document` is what the pages are told."""

    def __init__(self, makes: Sequence[str], quality: str) -> None:
        self.weights = expected(makes, quality)
        self.stages: dict[str, dict[str, Any]] = {}
        self.stage = ""
        self.began = time.monotonic()
        self._entered = self.began
        self._highest = 0.0
        self._first: tuple[float, float] | None = None  # when work that was not kept from before began, and where

    def take(self, stage: str, done: int, total: int, reused: int) -> None:
        """A line of progress."""
        now = time.monotonic()
        if stage != self.stage:
            self._close(now)
            self.stage, self._entered = stage, now
        row = self.stages.setdefault(stage, {"name": stage, "done": 0, "total": total, "seconds": 0.0, "before": 0.0})
        if done < row["done"]:  # a stage that comes a second time goes on in the same line
            row["before"] = row["seconds"]
        row.update(done=done, total=total, reused=reused)
        if self._first is None and done > reused:
            self._first = (now, self.progress())

    def _close(self, now: float) -> None:
        if self.stage:
            row = self.stages[self.stage]
            row["before"] = row["seconds"] = round(row["before"] + now - self._entered, 2)

    def progress(self) -> float:
        """0..1, never less than it was."""
        order = list(self.weights)
        total = sum(self.weights.values()) or 1.0
        latest = max((order.index(s) for s in self.stages if s in self.weights), default=-1)
        made = 0.0
        for k, name in enumerate(order):
            row = self.stages.get(name)
            if k < latest:
                made += self.weights[name]
            elif row is not None:
                made += self.weights[name] * min(1.0, row["done"] / max(row["total"], 1))
        self._highest = max(self._highest, min(made / total, 0.999))
        return self._highest

    def eta_s(self) -> float | None:
        """Seconds that are left, from the pace so far; None before there is one."""
        if self._first is None:
            return None
        when, where = self._first
        elapsed, gained = time.monotonic() - when, self.progress() - where
        if elapsed < 3 or gained < 0.02:
            return None
        return round(elapsed / gained * (1 - self.progress()), 1)

    def document(self, *, over: bool = False) -> dict[str, Any]:
        """Stage, stages, progress and time left; over: the job has ended."""
        now = time.monotonic()
        if self.stage:
            row = self.stages[self.stage]
            row["seconds"] = round(row["before"] + now - self._entered, 2)
        names = [*self.weights, *(s for s in self.stages if s not in self.weights)]
        empty = {"done": 0, "total": 0, "seconds": 0.0}
        rows = [
            {k: v for k, v in {"name": n, **empty, **self.stages.get(n, {})}.items() if k != "before"}
            for n in sorted(names, key=self._place)
            if not over or n in self.stages
        ]
        return {
            "stage": self.stage,
            "stages": rows,
            "progress": round(self.progress(), 4),
            "eta_s": None if over else self.eta_s(),
        }

    def _place(self, name: str) -> float:
        """Known stages in their order, others behind the one they came after."""
        order = list(self.weights)
        if name in self.weights:
            return float(order.index(name))
        came = list(self.stages)
        before = [order.index(s) for s in came[: came.index(name)] if s in self.weights]
        return max(before, default=-1) + 0.5
