"""A page with its style sheets, modules and data in one file that needs no network and no server.

Modules are found by their imports, starting from the page's `<script type="module" src>`; bare names are looked up in
its import map (prefixes that end with / too). All addresses in the page are relative to web/, where the viewer serves
it. Relative imports become names of the import map that web/viewer/share_boot.js makes when the page opens. Modules
that `<meta name="rilievo-splats-only" content="ADDRESS ...">` lists are left out of pages without splats.
"""

from __future__ import annotations

import base64
import gzip
import json
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rilievo.errors import InputError

_LINK = re.compile(r"<link\b[^>]*\brel=[\"']?stylesheet[\"']?[^>]*>", re.IGNORECASE)
_HREF = re.compile(r"\bhref=[\"']([^\"']+)[\"']")
_MODULE = re.compile(
    r"<script\b(?=[^>]*\btype=[\"']module[\"'])[^>]*\bsrc=[\"']([^\"']+)[\"'][^>]*>\s*</script>", re.IGNORECASE
)
_SPLATS = re.compile(r"<meta\b[^>]*\bname=[\"']rilievo-splats-only[\"'][^>]*\bcontent=[\"']([^\"']*)[\"'][^>]*>")
_MAP = re.compile(r"<script\b[^>]*\btype=[\"']importmap[\"'][^>]*>(.*?)</script>", re.IGNORECASE | re.DOTALL)
# import ... from "x", import "x", import("x"), export ... from "x": never across a statement's end.
_IMPORT = re.compile(r"""((?:\bfrom|\bimport)\s*\(?\s*)(["'])((?:\./|\.\./)[^"'\n]+|[a-z@][^"'\n:\s]*)\2""")
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval' blob: data:; style-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src data: blob:; worker-src blob: data:; font-src data:"
)


def inline_page(
    web: Path, page: str, scene: Mapping[str, Any], files: Mapping[str, bytes], *, splats: bool = False
) -> bytes:
    """The page (its address below `web`, e.g. viewer/share.html) with all it needs. scene: the manifest.  files: bytes
    by address.  splats: it shows some. Raises InputError when the page or a file that it names is missing."""
    text = _read(web, page)
    names: dict[str, str] = {}
    left_out = set() if splats else {posixpath.normpath(a) for m in _SPLATS.findall(text) for a in m.split()}
    if found := _MAP.search(text):
        imports = json.loads(found[1]).get("imports", {})
        names = {name: posixpath.normpath(to) + "/" * to.endswith("/") for name, to in imports.items()}
        text = text.replace(found[0], "")
    entries = [posixpath.normpath(m) for m in _MODULE.findall(text)]
    text = _MODULE.sub("", text)
    for tag in _LINK.findall(text):
        address = _HREF.search(tag)
        if address is not None:
            sheet = _read(web, posixpath.normpath(address[1]))
            text = text.replace(tag, "<style>" + sheet.replace("</", "<\\/") + "</style>")
    modules, used = _modules(web, entries, names, left_out)
    boot = _read(web, "viewer/share_boot.js")
    data = (
        _json("rilievo-scene", scene)
        + _json("rilievo-files", {k: pack(v) for k, v in files.items()})
        + _json(
            "rilievo-modules",
            {
                "modules": {k: pack(v.encode()) for k, v in modules.items()},
                "names": used,
                "entries": entries,
            },
        )
        + f"<script>{boot}</script>"
    )
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    head = re.search(r"<head[^>]*>", text, re.IGNORECASE)
    if head is None or "</body>" not in text:
        raise InputError(f"{page} is no page", "it has no head or no body", "install rilievo again")
    text = text[: head.end()] + policy + text[head.end() :]
    at = text.rindex("</body>")
    return (text[:at] + data + text[at:]).encode()


def _modules(
    web: Path, entries: list[str], names: Mapping[str, str], left_out: set[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """All modules that the entries need, by address below `web`, their relative imports turned into addresses; and the
    addresses of the bare names in use."""
    found: dict[str, str] = {}
    used: dict[str, str] = {}
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        folder = posixpath.dirname(module)

        def named(match: re.Match[str], folder: str = folder) -> str:
            to = match[3]
            if to.startswith("."):
                address = posixpath.normpath(posixpath.join(folder, to))
            else:
                address = _named(to, names)
            if not address or address in left_out or not (web / address).is_file():
                return match[0]  # left out, or a word of a text that looks like an import
            waiting.append(address)
            if not to.startswith("."):
                used[to] = address
                return match[0]
            return f"{match[1]}{match[2]}{address}{match[2]}"

        found[module] = _IMPORT.sub(named, _read(web, module))
    return found, used


def _named(name: str, names: Mapping[str, str]) -> str:
    """The address of a bare name: its own row of the import map, else that of its longest prefix; empty without."""
    if name in names:
        return names[name]
    prefix = max((n for n in names if n.endswith("/") and name.startswith(n)), key=len, default="")
    return names[prefix] + name[len(prefix) :] if prefix else ""


def _read(web: Path, address: str) -> str:
    path = web / address
    if address.startswith("..") or not path.is_file():
        raise InputError(
            f"the page's file {address} is missing", "this installation is not complete", "install rilievo again"
        )
    return path.read_text("utf-8")


def pack(raw: bytes) -> str:
    """gzip as base64; the same bytes for the same bytes."""
    return base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode()


def _json(name: str, value: Any) -> str:
    """A document in a page: no `<` can end its element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f'<script type="application/json" id="{name}">{text}</script>\n'
