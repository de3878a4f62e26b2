"""The child process that looks at photos closely, kept busy by one thread; a photo that ends it is told, not tried
again."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
from typing import Any

from rilievo.studio.houses import Houses

TIMEOUT_S = 120.0


class Inspector:
    """Looks at photos in the order they came. `add` returns at once."""

    def __init__(self, houses: Houses) -> None:
        self.houses = houses
        self._queue: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._child: subprocess.Popen[str] | None = None
        self._closed = False
        for row in houses.store.all("SELECT house_id, name FROM photos WHERE checked=0 ORDER BY added"):
            self.add(row["house_id"], row["name"])
        self._thread = threading.Thread(target=self._work, daemon=True, name="inspector")
        self._thread.start()

    def add(self, house_id: str, name: str) -> None:
        """This photo has arrived."""
        self._queue.put((house_id, name))

    def close(self) -> None:
        """Ends the child."""
        self._closed = True
        self._queue.put(None)
        child = self._child
        if child is not None:
            with contextlib.suppress(OSError):
                child.kill()
        self._thread.join(5)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None and not self._closed:
            house_id, name = item
            store = self.houses.store
            row = store.one("SELECT * FROM photos WHERE house_id=? AND name=? AND checked=0", house_id, name)
            if row is None:
                continue
            folder = self.houses.folder(house_id)
            told = self._ask(
                {
                    "path": row["facts"].get("source") or str(folder / "photos" / name),
                    "name": row["given"] if "source" in row["facts"] else name,
                    "pts": row["facts"].get("frame"),
                    "thumb": str(folder / "thumbs" / f"{name}.jpg"),
                }
            )
            if self._closed:
                return
            facts = {**row["facts"], **told.get("facts", {})}
            if "why" in told:
                facts["warnings"] = [f"cannot be used: {told['why']}"]
            store.run(
                "UPDATE photos SET checked=1, facts=? WHERE house_id=? AND name=? AND added=?",
                facts,
                house_id,
                name,
                row["added"],
            )
        self._end_child()

    def _ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "rilievo.studio.looks"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
        child = self._child
        assert child.stdin is not None and child.stdout is not None
        timer = threading.Timer(TIMEOUT_S, child.kill)
        timer.start()
        try:
            child.stdin.write(json.dumps(asked) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
        except OSError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            self._end_child()
            return {"why": "decoding it ended in an error"}
        return json.loads(line)

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(OSError):
                child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
