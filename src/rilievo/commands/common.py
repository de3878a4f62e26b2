"""What the verbs share: common options, progress on stderr, results on stdout."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from rilievo import interrupt
from rilievo.errors import InputError

if TYPE_CHECKING:
    from rilievo.plan import Run

Quality = Literal["draft", "normal", "high"]


@dataclass(frozen=True)
class Common:
    """Options with the same meaning in every verb."""

    quality: Quality = "normal"
    """resolution and effort: draft for a first look, normal, high for full resolution"""
    time_budget: Annotated[str | None, tyro.conf.arg(metavar="TIME")] = None
    """choose the best quality expected to fit, e.g. 10m, 90s, 1h"""
    threads: int = 0
    """threads to use (0: one per core); never changes the result"""
    memory: Annotated[str | None, tyro.conf.arg(metavar="SIZE")] = None
    """memory to stay below, e.g. 4G (default: three quarters of what is free)"""
    seed: int = 0
    """seed of everything random"""
    json: bool = False
    """print the result as one JSON document on stdout"""
    quiet: Annotated[bool, tyro.conf.arg(aliases=["-q"])] = False
    """say nothing but errors"""
    verbose: Annotated[bool, tyro.conf.arg(aliases=["-v"])] = False
    """say more"""


def parse_seconds(text: str) -> float:
    """Seconds of `90`, `90s`, `10m`, `1.5h`. Raises InputError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)?\s*", text)
    if not match:
        raise InputError(f"cannot read the time {text!r}", "expected a number and a unit", "write e.g. 90s, 10m or 1h")
    return float(match[1]) * {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600}[match[2]]


def parse_megabytes(text: str) -> float:
    """MiB of `4G`, `4GB`, `500M`. Raises InputError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([MGT])(?:i?B)?\s*", text, re.IGNORECASE)
    if not match:
        raise InputError(f"cannot read the memory {text!r}", "expected a number and a unit", "write e.g. 500M or 4G")
    return float(match[1]) * {"M": 1, "G": 1024, "T": 1024**2}[match[2].upper()]


def run_of(common: Common, talk: Talk, *, max_seconds: float | None = None) -> Run:
    """How a verb's work is computed, as its common options say. max_seconds: instead of their time budget."""
    import psutil

    from rilievo.plan import Run

    free_mb = psutil.virtual_memory().available / 2**20
    if max_seconds is None and common.time_budget:
        max_seconds = parse_seconds(common.time_budget)
    return Run(
        num_threads=common.threads or num_cores(),
        memory_mb=parse_megabytes(common.memory) if common.memory else 0.75 * free_mb,
        max_seconds=max_seconds,
        progress=talk.progress,
    )


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spell_seconds(seconds: float) -> str:
    """45 s, 3 min 20 s, 1 h 5 min."""
    if not math.isfinite(seconds):
        return "?"
    seconds = round(seconds)
    if seconds < 90:
        return f"{seconds} s"
    if seconds < 5400:
        return f"{seconds // 60} min" + (f" {seconds % 60} s" if seconds % 60 and seconds < 600 else "")
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def spell_megabytes(mb: float) -> str:
    """780 MiB, 2.3 GiB."""
    return f"{mb:.0f} MiB" if mb < 1000 else f"{mb / 1024:.1f} GiB"


def print_result(value: dict[str, Any], as_json: bool, text: str) -> None:
    """The result of a verb on stdout."""
    print(json.dumps(value, indent=1, ensure_ascii=False) if as_json else text)


class Talk:
    """Progress on stderr: a line that rewrites itself on a terminal, one line a stage elsewhere."""

    def __init__(self, common: Common) -> None:
        self.quiet = common.quiet
        self.verbose = common.verbose
        self.live = sys.stderr.isatty() and not common.quiet
        self._stage = ""
        self._started = self._shown = 0.0
        self._first = 0

    def say(self, text: str) -> None:
        """One line of talk."""
        if not self.quiet:
            self._clear()
            print(text, file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self.live:
            sys.stderr.write("\r\x1b[K")

    def progress(self, stage: str, done: int, total: int, reused: int = 0) -> None:
        """Called by a pipeline after each item: what is being done, done/total, rate and time left. Raises
        KeyboardInterrupt after a Ctrl-C that was lost on its way."""
        interrupt.check()
        if self.quiet:
            return
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._started, self._first, self._shown = stage, now, done, 0.0
        elapsed, fresh = now - self._started, done - reused
        if done >= total:
            note = " (kept from before)" if total and reused >= total else f" ({reused} kept)" if reused else ""
            count = f" {total}" if total > 1 else ""
            self._clear()
            print(f"  {stage:<24}{count:>6}  {spell_seconds(elapsed):>10}{note}", file=sys.stderr, flush=True)
            self._stage = ""
        elif self.live and now - self._shown > 0.1:
            self._shown = now
            left = f", {spell_seconds(elapsed / fresh * (total - done))} left" if fresh > 0 else ""
            rate = f", {fresh / elapsed:.1f}/s" if fresh > 0 and elapsed > 1 and fresh / elapsed >= 0.1 else ""
            sys.stderr.write(f"\r\x1b[K  {stage} {done}/{total}{rate}{left}")
            sys.stderr.flush()
