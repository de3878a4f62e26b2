"""Projects that `rilievo build` wrote into the houses folder: they are houses too, with photos that lie elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rilievo.placed import remembered_places
from rilievo.studio.names import HOUSE_ID

MAX_BYTES = 1 << 26  # of project.json: more is none of ours


def projects(root: Path) -> list[str]:
    """Names of the folders in `root` that are projects; the studio's own houses are not among them."""
    try:
        with os.scandir(root) as entries:
            names = [e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")]
    except OSError:
        return []
    strangers = [n for n in names if not (HOUSE_ID.fullmatch(n) or n.endswith(".deleted"))]
    return sorted(n for n in strangers if (root / n / "project.json").is_file())


def describe(folder: Path) -> dict[str, Any]:
    """What a project says of itself: title, when it was made, photos (name, path, facts), masks (a folder or None).
    Damaged documents say nothing. Each photo is looked for: `makes` costs less."""
    content, report = _document(folder / "project.json"), _document(folder / "export" / "report.json")
    told = report.get("photos")
    listed = told.get("list", []) if isinstance(told, dict) else []
    sizes = {str(r.get("name")): r for r in listed if isinstance(r, dict)}
    photos, masks = [], None
    sources = content.get("sources")
    for name, source in (sources if isinstance(sources, dict) else {}).items():
        path = _found(folder, source, "path")
        if path is None:
            continue
        row = sizes.get(name, {})
        facts = {"kind": "photo", "width": row.get("width"), "height": row.get("height"), "warnings": []}
        if "pts" in source:
            facts["frame"] = source["pts"]
        photos.append({"name": str(name), "path": path, "facts": {**facts, "source": str(path)}})
        mask = _found(folder, source, "mask")
        masks = masks or (None if mask is None else mask.parent)
    try:
        created = (folder / "project.json").stat().st_mtime
    except OSError:
        created = 0.0
    title = content.get("title") or folder.name
    return {"title": str(title), "created": created, "photos": photos, "masks": masks}


def makes(folder: Path) -> list[str]:
    """What has been made in a project."""
    names = _document(folder / "project.json").get("names")
    made = names if isinstance(names, dict) else {}
    return [m for m, key in (("model", "mesh"), ("splats", "splats"), ("field", "field")) if key in made]


def _found(folder: Path, source: Any, kind: str) -> Path | None:
    places = (Path(os.path.normpath(p)) for p in remembered_places(folder, source, kind))
    return next((p for p in places if p.is_absolute() and p.is_file()), None)


def _document(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            return {}
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
