"""Forms with files, read as they come: files go straight to disk, nothing is kept in memory."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, QuerystringParser, parse_options_header

from rilievo.studio.problems import Problem

MAX_FIELD = 1 << 18  # bytes
MAX_FIELDS = 64


@dataclass
class Form:
    """Fields, and files as (name that was given, where it lies)."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[tuple[str, Path]] = field(default_factory=list)

    def discard(self) -> None:
        """Deletes files that nobody took."""
        for _, path in self.files:
            path.unlink(missing_ok=True)


async def read_form(
    content_type: str, body: AsyncIterator[bytes], folder: Path | None, *, max_bytes: int, max_files: int
) -> Form:
    """The form of a request. folder: where files go (None: none may come). max_bytes: of a file.
    Raises Problem; files that had come are deleted then."""
    kind, options = parse_options_header(content_type)
    reader: _Reader
    if kind == b"multipart/form-data" and b"boundary" in options:
        reader = _Multipart(options[b"boundary"], folder, max_bytes, max_files)
    elif kind in (b"application/x-www-form-urlencoded", b""):
        reader = _Encoded()
    else:
        raise Problem(415, "The form cannot be read", f"its type is {kind.decode('latin-1')[:60]}", "send a form")
    waiting = bytearray()
    try:
        async for chunk in body:
            waiting += chunk
            if len(waiting) >= 1 << 18:
                await asyncio.to_thread(reader.take, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(reader.end, bytes(waiting))
    except BaseException as error:
        reader.close()
        reader.form.discard()
        if isinstance(error, FormParserError | UnicodeError | ValueError):
            raise Problem(400, "The form cannot be read", str(error)[:200], "send it again") from error
        if isinstance(error, OSError):
            raise Problem(507, "The file could not be written", error.strerror or "", "free some space") from error
        raise
    return reader.form


class _Reader:
    def __init__(self) -> None:
        self.form = Form()
        self._name, self._value = bytearray(), bytearray()

    def take(self, raw: bytes) -> None:
        raise NotImplementedError

    def end(self, raw: bytes) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Lets go of what is open."""

    def _add(self, target: bytearray, raw: bytes) -> None:
        target += raw
        if len(target) > MAX_FIELD:
            raise Problem(413, "A field of the form is too long", f"{MAX_FIELD} bytes are the most", "")

    def _keep(self, name: str, value: str) -> None:
        if len(self.form.fields) >= MAX_FIELDS:
            raise Problem(413, "The form has too many fields", f"{MAX_FIELDS} are the most", "")
        self.form.fields.setdefault(name, value)


class _Encoded(_Reader):
    def __init__(self) -> None:
        super().__init__()
        self._parser = QuerystringParser(
            {
                "on_field_name": lambda d, s, e: self._add(self._name, d[s:e]),
                "on_field_data": lambda d, s, e: self._add(self._value, d[s:e]),
                "on_field_end": self._ended,
            }
        )

    def take(self, raw: bytes) -> None:
        self._parser.write(raw)

    def end(self, raw: bytes) -> None:
        self._parser.write(raw)
        self._parser.finalize()

    def _ended(self) -> None:
        from urllib.parse import unquote_plus

        self._keep(unquote_plus(self._name.decode()), unquote_plus(self._value.decode()))
        self._name, self._value = bytearray(), bytearray()


class _Multipart(_Reader):
    def __init__(self, boundary: bytes, folder: Path | None, max_bytes: int, max_files: int) -> None:
        super().__init__()
        self._folder, self._max_bytes, self._max_files = folder, max_bytes, max_files
        self._headers: dict[str, bytes] = {}
        self._header, self._header_value = bytearray(), bytearray()
        self._file: BinaryIO | None = None
        self._came = 0
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": lambda d, s, e: self._add(self._header, d[s:e]),
                "on_header_value": lambda d, s, e: self._add(self._header_value, d[s:e]),
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_part_end": self._part_ends,
                "on_end": self._ends,
            },
        )

    def take(self, raw: bytes) -> None:
        self._parser.write(raw)

    def end(self, raw: bytes) -> None:
        self._parser.write(raw)
        self._parser.finalize()
        if not self._ended:
            raise Problem(400, "The form is not complete", "its end is missing", "send it again")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _part_begins(self) -> None:
        self._headers, self._came = {}, 0
        self._value = bytearray()

    def _header_ends(self) -> None:
        self._headers[self._header.decode("latin-1").lower()] = bytes(self._header_value)
        self._header, self._header_value = bytearray(), bytearray()

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        self._name = bytearray(options.get(b"name", b""))
        given = options.get(b"filename")
        if given is None:
            return
        if self._folder is None or len(self.form.files) >= self._max_files:
            raise Problem(413, "Too many files", f"{self._max_files if self._folder else 0} are the most here", "")
        path = self._folder / f"form-{secrets.token_hex(8)}"
        self.form.files.append((given.decode("utf-8", "replace"), path))
        self._file = path.open("wb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            self._add(self._value, data[start:end])
            return
        self._came += end - start
        if self._came > self._max_bytes:
            raise Problem(413, "The file is too large", f"{self._max_bytes / 1e6:,.0f} MB are the most", "")
        self._file.write(memoryview(data)[start:end])

    def _part_ends(self) -> None:
        if self._file is None:
            self._keep(self._name.decode(), self._value.decode())
        self.close()

    def _ends(self) -> None:
        self._ended = True
