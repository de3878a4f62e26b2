"""The studio's pages and their files."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from rilievo.studio.parts import Served
from rilievo.studio.problems import Problem, gone

WEB = Path(__file__).parent.parent / "web"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}
router = APIRouter(include_in_schema=False)


@router.get("/")
@router.head("/")
def index() -> Response:
    """The studio."""
    return FileResponse(WEB / "studio" / "index.html", media_type=KINDS[".html"])


@router.get("/capture")
def capture(studio: Served) -> Response:
    """The page for phones; only where other machines may come in."""
    if not studio.lan:
        raise Problem(
            404,
            "Phones cannot reach this studio",
            "it serves this machine only",
            "start it with --host and this machine's address in your network",
        )
    return FileResponse(WEB / "studio" / "capture.html", media_type=KINDS[".html"])


@router.get("/static/{place:path}")
def static(place: str) -> Response:
    """Scripts, styles and pictures of the pages."""
    parts = place.split("/")
    known = place == "base.css" or (len(parts) == 2 and parts[0] == "studio")
    kind = KINDS.get(Path(parts[-1]).suffix)
    if not known or kind is None or not all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", part) for part in parts):
        raise gone("file")
    file = WEB.joinpath(*parts)
    if not file.is_file():
        raise gone("file")
    return FileResponse(file, media_type=kind, headers={"Cache-Control": "no-cache"})


@router.get("/favicon.ico")
def icon() -> Response:
    """The pages name their own."""
    return Response(status_code=204)
