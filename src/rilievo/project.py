"""The project folder ("house"): values named by the hash of their bytes, and a ledger of how each was made.

    objects/3f/3f9c....safetensors   the arrays of one value; never changed
    ledger/a1/a1b2....json           stage, version, config, ids of inputs -> id of output, seconds, peak memory
    project.json                     the names people use -> object ids
    export/                          files for people, made from objects, safe to delete

A recipe (stage + version + config + input ids) finds its ledger entry, so an unchanged step is not done again and a
killed run goes on where it stopped. The object is written first and the ledger entry last, each under a temporary name
that is then renamed: a crash loses work, never truth.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import psutil

from rilievo.codec import Config, encode, read_value
from rilievo.errors import InputError, ResourceError
from rilievo.mappers import PeakMemory

try:
    import fcntl
except ImportError:  # Windows: threads only
    fcntl = None


@dataclass(frozen=True)
class Step:
    """What the ledger knows of one result. reused: it was there before this run."""

    stage: str
    output: str
    seconds: float
    cpu_seconds: float
    peak_memory_mb: float
    reused: bool


@contextmanager
def explain_os_errors(doing: str, path: Path) -> Iterator[None]:
    """Turns a full disk or a missing permission into a ResourceError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(
                f"the disk is full: could not {doing}",
                f"no space is left on the device that holds {path}",
                "free some space and run the same command again: finished work is kept and will not be done twice",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ResourceError(
                f"no permission to write: could not {doing}",
                f"{path} cannot be written by this user ({error.strerror})",
                "choose another output folder with -o, or change the folder's permissions",
            ) from error
        raise


class Project:
    """One project folder. All methods may be called from several threads and processes at once."""

    def __init__(self, root: Path | str, *, create: bool = True) -> None:
        self.root = Path(root)
        self._lock = threading.Lock()
        if not create:
            if not (self.root / "project.json").is_file():
                raise InputError(
                    f"{self.root} is not a rilievo project",
                    "it has no project.json",
                    "give the folder that `rilievo build` wrote (its -o option)",
                )
            return
        if self.root.exists() and not self.root.is_dir():
            raise InputError(
                f"{self.root} is a file, not a folder", "a project is a folder", "choose another name with -o"
            )
        if self.root.is_dir() and not (self.root / "project.json").exists():
            strangers = [p.name for p in self.root.iterdir() if p.name not in ("objects", "ledger", "export", "tmp")]
            if strangers:
                raise InputError(
                    f"{self.root} is not empty and not a rilievo project",
                    f"it holds {', '.join(sorted(strangers)[:3])}{' ...' if len(strangers) > 3 else ''}",
                    "give a new or empty folder with -o",
                )
        with explain_os_errors("create the project folder", self.root):
            for name in ("objects", "ledger", "tmp", "export"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
        self._remove_stale_temporaries()

    def _remove_stale_temporaries(self) -> None:
        for path in (self.root / "tmp").glob("*-*"):
            pid = path.name.split("-", 1)[0]
            if not (pid.isdigit() and psutil.pid_exists(int(pid))):
                path.unlink(missing_ok=True)

    def _write(self, path: Path | None, pieces: Iterable[bytes | memoryview]) -> str:
        """Under a temporary name, flushed, then renamed: readers see the whole file or none. Without a path the bytes
        become an object. Returns the sha256 of the bytes."""
        temporary = self.root / "tmp" / f"{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}"
        digest = hashlib.sha256()
        with explain_os_errors("write a result", self.root):
            try:
                with temporary.open("wb") as file:
                    for piece in pieces:
                        digest.update(piece)
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                name = digest.hexdigest()
                target = path or self.object_path(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        return name

    # objects

    def object_path(self, object_id: str) -> Path:
        return self.root / "objects" / object_id[:2] / f"{object_id}.safetensors"

    def put(self, value: Any) -> str:
        """Stores a value; its id is the sha256 of its bytes."""
        return self._write(None, encode(value))

    def get(self, object_id: str) -> Any:
        """The value of that id. Raises InputError when the object is missing or damaged."""
        path = self.object_path(object_id)
        try:
            return read_value(path)
        except (OSError, ValueError) as error:
            raise InputError(
                f"a result in {self.root} cannot be read", f"{path.name[:12]}...: {error}", "run `rilievo build` again"
            ) from error

    def has(self, object_id: str) -> bool:
        return self.object_path(object_id).exists()

    # ledger

    def _ledger_path(self, recipe: str) -> Path:
        return self.root / "ledger" / recipe[:2] / f"{recipe}.json"

    def find(self, stage: str, config: Config, inputs: Sequence[str]) -> Step | None:
        """The ledger's answer to a recipe, when its object is still there."""
        try:
            entry = json.loads(self._ledger_path(_recipe(stage, config, inputs)).read_bytes())
        except (OSError, ValueError):
            return None
        if not self.has(entry["output"]):
            return None
        return Step(stage, entry["output"], entry["seconds"], entry["cpu_seconds"], entry["peak_memory_mb"], True)

    def run(self, stage: str, config: Config, inputs: Sequence[str], make: Callable[[], Any]) -> Step:
        """The result of a recipe: from the ledger, or made now, stored and entered."""
        if found := self.find(stage, config, inputs):
            return found
        started, cpu = time.perf_counter(), time.process_time()
        with PeakMemory() as memory:
            value = make()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        output = self.put(value)
        entry = {
            "stage": stage,
            "version": config.version,
            "config": asdict(cast(Any, config)),
            "inputs": list(inputs),
            "output": output,
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "peak_memory_mb": round(memory.peak_mb, 1),
        }
        text = json.dumps(entry, indent=1, sort_keys=True)
        self._write(self._ledger_path(_recipe(stage, config, inputs)), [text.encode()])
        return Step(stage, output, seconds, cpu_seconds, memory.peak_mb, False)

    def ledger(self) -> Iterator[dict[str, Any]]:
        """Every entry, in the order of their recipes."""
        for path in sorted((self.root / "ledger").glob("*/*.json")):
            try:
                yield json.loads(path.read_bytes())
            except ValueError:
                continue

    # names

    def read(self) -> dict[str, Any]:
        """project.json, or an empty dict for a new project."""
        try:
            return json.loads((self.root / "project.json").read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise InputError(
                f"{self.root / 'project.json'} is damaged", str(error), "delete this file and run the same build again"
            ) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other thread or process changes project.json meanwhile: a viewer may save while a build goes on."""
        with self._lock, explain_os_errors("write a result", self.root):
            (self.root / "tmp").mkdir(exist_ok=True)
            with (self.root / "tmp" / "lock").open("ab") as file:
                if fcntl is not None:
                    with suppress(OSError):  # some network file systems know no locks
                        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
                yield

    def update(self, **changes: Any) -> dict[str, Any]:
        """Changes some names of project.json (None removes one)."""
        with self._alone():
            content = self.read()
            content.update(changes)
            content = {k: v for k, v in content.items() if v is not None}
            text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
            self._write(self.root / "project.json", [text.encode()])
        return content

    def named(self, name: str) -> Any:
        """The value that project.json calls `name`. Raises InputError when it was not made yet."""
        object_id = self.read().get("names", {}).get(name)
        if object_id is None:
            raise InputError(
                f"{self.root} has no {name} yet",
                "the build did not get that far",
                "run `rilievo build` on its photos again",
            )
        return self.get(object_id)

    def clean(self) -> tuple[int, int]:
        """Deletes the objects and ledger entries that no current result was made from: (files, bytes) deleted."""
        content = self.read()
        keep = set(content.get("names", {}).values()) | {
            i for ids in content.get("made_from", {}).values() for i in ids
        }
        num_files = num_bytes = 0
        for path in sorted((self.root / "objects").glob("*/*.safetensors")):
            if path.stem not in keep:
                num_bytes += path.stat().st_size
                num_files += 1
                path.unlink()
        for path in sorted((self.root / "ledger").glob("*/*.json")):
            try:
                gone = json.loads(path.read_bytes())["output"] not in keep
            except (ValueError, KeyError):
                gone = True
            if gone:
                num_bytes += path.stat().st_size
                num_files += 1
                path.unlink()
        return num_files, num_bytes


def _recipe(stage: str, config: Config, inputs: Sequence[str]) -> str:
    recipe = {"stage": stage, "version": config.version, "config": asdict(cast(Any, config)), "inputs": list(inputs)}
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
