"""Doing one thing to many items: serially or in threads (kernels release the GIL), results in their order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import psutil

T = TypeVar("T")
R = TypeVar("R")


def map_serial(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """One after the other."""
    return map(function, items)


def map_threads(function: Callable[[T], R], items: Iterable[T], num_threads: int) -> Iterator[R]:
    """In a pool of threads. At most twice as many items as threads are under way, so that results waiting to be taken
    stay few. The first error in the order of the items ends the work; items that have not started are dropped."""
    if num_threads <= 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(num_threads)
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 2 * num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class PeakMemory:
    """Peak resident memory of this process while the block runs, sampled 20 times a second."""

    def __enter__(self) -> PeakMemory:
        self._process = psutil.Process()
        self.peak_mb = self._now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _now(self) -> float:
        return self._process.memory_info().rss / 2**20

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.peak_mb = max(self.peak_mb, self._now())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak_mb = max(self.peak_mb, self._now())
