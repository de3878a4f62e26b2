"""One file over https into a place on disk: resumed, bounded, checked by sha256 before it gets its name."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from rilievo.errors import InputError, MissingError, ResourceError

_SCHEMES = ("https",)
_CHUNK = 1 << 18
_ATTEMPTS = 4
_TIMEOUT_S = 30.0

Progress = Callable[[int, int], None]
"""Called with (bytes here, bytes in all)."""


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect must stay on https."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_scheme(url: str) -> None:
    if urlsplit(url).scheme not in _SCHEMES:
        raise InputError(f"{url} is not fetched", "only https addresses are", "Get the file yourself and add it.")


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, to: Path, *, sha256: str, size: int, progress: Progress | None = None) -> Path:
    """Gets `url` into the file `to`, which appears only when all `size` bytes are there and their sha256 is right.

    What has come so far stays beside it as `NAME.part`, and the next call goes on from there (HTTP Range). A broken
    connection is taken up again a few times. Raises MissingError (no connection, refused, broken off), InputError
    (another file than expected, an address that is not https) and ResourceError (disk full, no permission).
    """
    _check_scheme(url)
    part = to.with_name(to.name + ".part")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        if part.exists() and part.stat().st_size > size:
            part.unlink()
        have = part.stat().st_size if part.exists() else 0
        free = shutil.disk_usage(to.parent).free
    except OSError as error:
        raise _cannot_write(to, error) from error
    if free < size - have:
        raise ResourceError(
            f"there is no room for {to.name}",
            f"it needs {(size - have) / 1e6:.0f} MB, {to.parent} has {free / 1e6:.0f} MB free",
            "Free some space, or set RILIEVO_WEIGHTS to a folder on another disk.",
        )
    trouble, found = "", ""
    for _ in range(_ATTEMPTS):
        try:
            done = part.stat().st_size if part.exists() else 0
            trouble = _stream(url, part, done, size, progress) if done < size else ""
        except OSError as error:
            raise _cannot_write(to, error) from error
        if trouble:
            continue
        found = file_sha256(part) if part.stat().st_size == size else "of a longer file"
        if found == sha256:
            part.replace(to)
            return to
        part.unlink()
        if not done:
            break  # else what was there before may have been of another file: once more from the start
    if trouble:
        raise MissingError(
            f"{to.name} could not be fetched",
            f"{urlsplit(url).hostname}: {trouble}",
            "Run the same command again (it goes on where it stopped), or get "
            f"{url} on another machine and give it to: rilievo weights add FILE",
        )
    raise InputError(
        f"{url} is not the file expected",
        f"its sha256 is {found}, expected {sha256}",
        "It was thrown away. The publisher may have replaced it: look for a newer version of rilievo.",
    )


def _cannot_write(to: Path, error: OSError) -> ResourceError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ResourceError(
        f"cannot write {to}",
        "the disk is full" if full else error.strerror or str(error),
        "Free some space, or set RILIEVO_WEIGHTS to another folder; what has come so far is kept."
        if full
        else "Set RILIEVO_WEIGHTS to a folder that you may write to.",
    )


def _stream(url: str, part: Path, done: int, size: int, progress: Progress | None) -> str:
    """Appends to `part` what is missing; returns what went wrong with the connection, in words, or nothing.

    A file that is longer than `size` is left one piece too long.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "rilievo", "Accept-Encoding": "identity"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        answer = urllib.request.build_opener(_SafeRedirects).open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing from there on: the partial file is not of this one
            part.unlink(missing_ok=True)
        return f"the server answers {error.code} {error.reason}"
    except (urllib.error.URLError, TimeoutError, http.client.HTTPException, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        return f"no connection ({getattr(reason, 'strerror', None) or reason or type(error).__name__})"
    if done and not (answer.headers.get("Content-Range") or "").startswith(f"bytes {done}-"):
        done = 0  # the server sends the whole file again
    with contextlib.closing(answer), part.open("ab" if done else "wb") as file:
        while done <= size:
            try:
                piece = answer.read(_CHUNK)
            except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
                return (
                    f"the connection broke off after {done / 1e6:.1f} of {size / 1e6:.1f} MB ({type(error).__name__})"
                )
            if not piece:
                break
            file.write(piece)
            done += len(piece)
            if progress is not None:
                progress(min(done, size), size)
    return "" if done >= size else f"the connection broke off after {done / 1e6:.1f} of {size / 1e6:.1f} MB"
