"""Photos out of a zip, with limits on what it may unpack to."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from rilievo.io.pixels import PHOTO_SUFFIXES, VIDEO_SUFFIXES
from rilievo.studio.limits import Limits
from rilievo.studio.names import check_name
from rilievo.studio.problems import Problem

MAX_MEMBERS = 20_000


def unpack(
    file: Path, folder: Path, limits: Limits, check_count: Callable[[int], None]
) -> Iterator[tuple[str, Path | None, str]]:
    """(name, unpacked file, "") of each photo or video; (name, None, why) of what is left out. Folders inside become
    part of the name. Raises Problem for a zip that is none, or that unpacks to too much."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            wanted = [m for m in members if _is_photo(m.filename)]
            _check(file, members, wanted, limits)
            check_count(len(wanted))
            folder.mkdir(exist_ok=True)
            budget = int(limits.zip_ratio * file.stat().st_size) + 10_000_000
            for k, member in enumerate(wanted):
                try:
                    name = _flat_name(member.filename, limits)
                except Problem as problem:
                    yield member.filename[:100], None, problem.why
                    continue
                target = folder / str(k)
                budget -= _extract(archive, member, target, min(budget, limits.photo_bytes), file.name)
                yield name, target, ""
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise Problem(
            415, "The zip cannot be read", f"it is damaged or encrypted ({error})", "send the photos themselves"
        ) from error


def _is_photo(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.suffix.lower() in PHOTO_SUFFIXES | VIDEO_SUFFIXES and not path.name.startswith(".")


def _check(file: Path, members: list[zipfile.ZipInfo], wanted: list[zipfile.ZipInfo], limits: Limits) -> None:
    total, size = sum(m.file_size for m in wanted), file.stat().st_size
    if len(members) > MAX_MEMBERS:
        raise Problem(413, "The zip has too many files", f"{len(members)} are in it", "send the photos themselves")
    if total > limits.zip_ratio * size + 10_000_000 or total > 2 * limits.zip_bytes:
        raise _bomb(total / max(size, 1))


def _bomb(ratio: float) -> Problem:
    return Problem(
        413,
        "The zip unpacks to too much",
        f"its content is at least {ratio:.0f} times as large as itself: no zip of photos is",
        "send the photos themselves",
    )


def _flat_name(name: str, limits: Limits) -> str:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if any(part in ("..", "/") or ":" in part for part in parts):
        raise Problem(400, "This name cannot be used", "it points out of the zip", "")
    flat = "-".join(parts)
    return check_name(flat if len(flat.encode()) <= limits.name_length else parts[-1], limits.name_length)


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, most: int, zip_name: str) -> int:
    """Never believes what the zip says of itself: counts what comes."""
    written = 0
    with archive.open(member) as source, target.open("wb") as out:
        while block := source.read(1 << 20):
            written += len(block)
            if written > most:
                raise _bomb(written / max(member.compress_size, 1))
            out.write(block)
    return written
