"""Ctrl-C that is never lost.

Python turns the signal into an exception wherever it happens to be; in a callback of compiled code or in the middle of
an import that exception can be swallowed, and the work would go on as if nothing had been said. So the wish is
remembered, and asked for between the items of a stage.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_wanted = threading.Event()


def listen() -> None:
    """Remembers Ctrl-C from now on (only the main thread can; elsewhere Python's own handler stays)."""
    _wanted.clear()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _remember)


def _remember(number: int, frame: FrameType | None) -> None:
    _wanted.set()
    raise KeyboardInterrupt


def check() -> None:
    """Raises KeyboardInterrupt when Ctrl-C was pressed since `listen`."""
    if _wanted.is_set():
        raise KeyboardInterrupt
