"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rilievo.errors import InputError, ResourceError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that takes the name `path` only when it is complete: until then it has a name of its own beside
    it, which is removed when the body raises. Folders that are missing are made.

    Raises ResourceError when the disk is full or may not be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as f:
            yield f
            f.flush()
        temporary.replace(target)
    except BaseException as e:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(e, OSError):
            raise explained(target, e) from e
        raise


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The file's bytes. Raises InputError when there is no such file and ResourceError when it cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as e:
        raise InputError(f"cannot read {path}", "there is no such file") from e
    except IsADirectoryError as e:
        raise InputError(f"cannot read {path}", "it is a folder, not a file") from e
    except OSError as e:
        raise ResourceError(f"cannot read {path}", e.strerror or str(e)) from e


def explained(path: Path, e: OSError) -> ResourceError:
    """What to tell when `path` could not be written."""
    what = f"could not write {path}"
    if e.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return ResourceError(what, "the disk is full", "free some space or write to another disk; nothing was changed")
    if e.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ResourceError(what, "there is no permission to write there", f"choose a folder other than {path.parent}")
    return ResourceError(what, e.strerror or str(e))
