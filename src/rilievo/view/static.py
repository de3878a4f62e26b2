"""The viewer's own files: pages, scripts and vendored libraries, with what a browser may do with them."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import re
from pathlib import Path

from rilievo.live_server import Answer, Refused

WEB = Path(__file__).parent.parent / "web"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".wasm": "application/wasm",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
_INLINE = re.compile(rb"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)


def page(folder: str = "viewer", name: str = "index.html") -> Answer:
    """The page itself; its inline scripts (an import map) are named by their hashes, no others run."""
    file = WEB / folder / name
    if not file.is_file():
        raise Refused(404, "this installation has no viewer page")
    raw = file.read_bytes()
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in _INLINE.findall(raw)
    )
    policy = (
        f"default-src 'none'; script-src 'self' 'wasm-unsafe-eval' blob: {hashes}; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; connect-src 'self' blob: data:; "
        "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    return Answer(raw, KINDS[".html"], headers={"Content-Security-Policy": policy, "X-Frame-Options": "SAMEORIGIN"})


def static(place: str) -> Answer:
    """`base.css`, `viewer/...` or `vendor/...`. Raises Refused for what is not there."""
    file = _find(place)
    if file is None:
        raise Refused(404, "there is no such file")
    kind = KINDS.get(file.suffix.lower()) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return Answer(file.read_bytes(), kind)


def _find(place: str) -> Path | None:
    parts = place.split("/")
    if place != "base.css" and (parts[0] not in ("viewer", "vendor") or len(parts) < 2):
        return None
    if any(not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", part) for part in parts):
        return None
    file = WEB.joinpath(*parts)
    return file if file.is_file() else None
