"""What the studio remembers: houses, photos, uploads, jobs and tasks in one SQLite file in the houses folder."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rilievo.errors import ResourceError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings(name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS houses(
  id TEXT PRIMARY KEY, title TEXT NOT NULL, created REAL NOT NULL, deleted INTEGER NOT NULL DEFAULT 0,
  place TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS photos(
  house_id TEXT NOT NULL, name TEXT NOT NULL, given TEXT NOT NULL, bytes INTEGER NOT NULL, added REAL NOT NULL,
  checked INTEGER NOT NULL DEFAULT 0, facts TEXT NOT NULL DEFAULT '{}', PRIMARY KEY(house_id, name));
CREATE TABLE IF NOT EXISTS uploads(
  id TEXT PRIMARY KEY, house_id TEXT NOT NULL, given TEXT NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT,
  changed REAL NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS upload_names ON uploads(house_id, given, bytes);
CREATE TABLE IF NOT EXISTS jobs(
  id TEXT PRIMARY KEY, house_id TEXT NOT NULL, makes TEXT NOT NULL, quality TEXT NOT NULL, options TEXT NOT NULL,
  status TEXT NOT NULL, created REAL NOT NULL, queued REAL NOT NULL, started REAL, finished REAL,
  seconds REAL NOT NULL DEFAULT 0, progress TEXT NOT NULL DEFAULT '{}', error TEXT, worker TEXT);
CREATE INDEX IF NOT EXISTS job_houses ON jobs(house_id);
CREATE TABLE IF NOT EXISTS tasks(
  house_id TEXT PRIMARY KEY, name TEXT NOT NULL, options TEXT NOT NULL, created REAL NOT NULL,
  committed INTEGER NOT NULL);
"""
_JSON = ("facts", "makes", "options", "progress", "error", "worker")


class Store:
    """Rows as dictionaries; JSON columns are decoded. All methods may be called from several threads.

    Raises ResourceError when the file cannot be opened, or another studio has it open.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            path.touch(mode=0o600)
            self._guard = _hold(path.with_name(path.name + ".lock"))
            self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._base.row_factory = sqlite3.Row
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._base.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ResourceError(
                f"the studio cannot use {path.parent}",
                str(error),
                "choose a folder that can be written, on a local disk",
            ) from error

    def close(self) -> None:
        """Lets go of the file."""
        with self._lock:
            self._base.close()
            self._guard.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """Several statements as one: all or none."""
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    def run(self, sql: str, *values: Any) -> int:
        """Changes rows; how many."""
        with self._lock:
            return self._base.execute(sql, [_plain(v) for v in values]).rowcount

    def all(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Rows."""
        with self._lock:
            return [_decoded(row) for row in self._base.execute(sql, [_plain(v) for v in values])]

    def one(self, sql: str, *values: Any) -> dict[str, Any] | None:
        """The first row, if any."""
        with self._lock:
            row = self._base.execute(sql, [_plain(v) for v in values]).fetchone()
            return None if row is None else _decoded(row)

    def insert(self, table: str, **values: Any) -> None:
        """A new row."""
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        self.run(f"INSERT INTO {table}({names}) VALUES({marks})", *values.values())

    def update(self, table: str, key: str, **values: Any) -> int:
        """Changes the row whose id is `key`."""
        return self.run(f"UPDATE {table} SET {', '.join(f'{n}=?' for n in values)} WHERE id=?", *values.values(), key)

    def setting(self, name: str, make: Any) -> str:
        """A remembered value; made the first time."""
        with self.change():
            row = self.one("SELECT value FROM settings WHERE name=?", name)
            if row is None:
                row = {"value": make()}
                self.insert("settings", name=name, value=row["value"])
        return row["value"]


def _hold(path: Path) -> Any:
    """Two studios over one folder would run every job twice. The lock ends with the process, however it ends."""
    file = path.open("w")
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise ResourceError(
            f"another studio already serves {path.parent}",
            "its jobs would be run twice",
            "use the one that runs, end it first, or give another folder",
        ) from error
    return file


def _plain(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list, tuple)) else value


def _decoded(row: sqlite3.Row) -> dict[str, Any]:
    return {n: json.loads(row[n]) if n in _JSON and row[n] is not None else row[n] for n in row.keys()}  # noqa: SIM118


def marks(values: Sequence[Any]) -> str:
    """Place holders for so many values."""
    return ", ".join("?" * len(values))
