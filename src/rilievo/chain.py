"""Running stages against a project folder: what is asked for, what is kept, what it cost."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar

from rilievo.codec import Config
from rilievo.mappers import PeakMemory, map_threads
from rilievo.project import Project, Step

V = TypeVar("V")


class Progress(Protocol):
    """Told after each item of a stage; `reused` of the `done` items were kept from before."""

    def __call__(self, stage: str, done: int, total: int, reused: int = 0) -> None: ...


def no_progress(stage: str, done: int, total: int, reused: int = 0) -> None:
    """Says nothing."""


class Chain:
    """One run of a pipeline over a project: memoised stages, their account, and the names of what they made."""

    def __init__(self, project: Project, num_threads: int, progress: Progress = no_progress) -> None:
        self.project = project
        self.num_threads = num_threads
        self.progress = progress

    def one(self, stage: str, config: Config, inputs: Sequence[str], make: Callable[[], Any]) -> str:
        """A stage with a single result; its object id."""
        return self.each(stage, config, [stage], lambda _: inputs, lambda _: make())[stage]

    def each(
        self,
        stage: str,
        config: Config,
        items: Iterable[str],
        inputs: Callable[[str], Sequence[str]],
        make: Callable[[str], Any],
        *,
        parallel: bool = False,
    ) -> dict[str, str]:
        """A stage with one result an item: {item: object id}. parallel: items at the same time (the stage itself is
        serial); otherwise the stage's kernels use all threads."""
        names = list(items)
        results: dict[str, str] = {}
        reused = 0
        self.progress(stage, 0, max(len(names), 1))
        started, cpu = time.perf_counter(), time.process_time()

        def work(name: str) -> Step:
            return self.project.run(stage, config, inputs(name), lambda: make(name))

        with PeakMemory() as memory:
            steps = map_threads(work, names, self.num_threads if parallel else 1)
            for name, step in zip(names, steps):
                results[name] = step.output
                reused += step.reused
                self.progress(stage, len(results), len(names), reused)
        self._enter(stage, names, results, reused, time.perf_counter() - started, time.process_time() - cpu, memory)
        return results

    def _enter(
        self,
        stage: str,
        names: Sequence[str],
        results: Mapping[str, str],
        reused: int,
        seconds: float,
        cpu_seconds: float,
        memory: PeakMemory,
    ) -> None:
        content = self.project.read()
        accounts = dict(content.get("accounts", {}))
        if reused < len(names) or stage not in accounts:  # a stage that was kept as it is keeps its account
            accounts[stage] = {
                "seconds": round(seconds, 2),
                "cpu_seconds": round(cpu_seconds, 2),
                "peak_memory_mb": round(memory.peak_mb, 1),
                "items": len(names),
                "reused": reused,
            }
        made_from = {**content.get("made_from", {}), stage: [results[name] for name in names]}
        self.project.update(accounts=accounts, made_from=made_from)

    def name(self, **names: str) -> None:
        """Gives results the names people use."""
        self.project.update(names={**self.project.read().get("names", {}), **names})

    def forget_all_but(self, stages: Sequence[str]) -> None:
        """Drops accounts and results of stages that this pipeline no longer has."""
        content = self.project.read()
        keep = set(stages)
        self.project.update(
            accounts={k: v for k, v in content.get("accounts", {}).items() if k in keep},
            made_from={k: v for k, v in content.get("made_from", {}).items() if k in keep},
        )


class Cache(Generic[V]):
    """The last few values of a function, so that neighbours of a photo are not read again and again. A value
    that two threads ask for at once is made once."""

    def __init__(self, make: Callable[[str], V], capacity: int) -> None:
        self._make, self._capacity = make, max(capacity, 1)
        self._values: OrderedDict[str, V] = OrderedDict()
        self._lock = Lock()

    def __call__(self, key: str) -> V:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            value = self._make(key)
            self._values[key] = value
            while len(self._values) > self._capacity:
                self._values.popitem(last=False)
            return value

    def clear(self) -> None:
        """Forgets all values."""
        with self._lock:
            self._values.clear()
