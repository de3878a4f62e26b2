"""One self-contained page of a model: opens from disk, without network, also on a phone."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import InputError
from rilievo.types import Mesh, PointCloud, Splats
from rilievo.view import compact, facts, layers, static
from rilievo.view.inline import inline_page, pack
from rilievo.view.mesh_levels import coarser
from rilievo.view.saved import Saved
from rilievo.view.sources import Source, anchor_points, open_source, robust_bounds, scene_origin

WHAT = ("mesh", "splats", "cloud")
_TRIES = 6
_PAGES = ("viewer/share.html", "viewer/index.html")
_MIN_FACES, _MIN_SPLATS, _MIN_POINTS = 2000, 2000, 5000


def share_page(path: Path, what: str | None, max_bytes: int) -> tuple[bytes, dict[str, Any]]:
    """(page, facts about it) of a house or a file. what: mesh, splats or cloud (default: the first of them that is
    there).  max_bytes: of the page.

    Raises InputError when there is no such thing, or it cannot be made that small.
    """
    source = open_source(path)
    items = {item.kind: item for item in source.items()}
    chosen = what or next((w for w in WHAT if w in items), None)
    if chosen is None or chosen not in items:
        have = f"it has {', '.join(items)}" if items else "it is empty"
        raise InputError(f"{path} has no {chosen or 'model'} to share", have, "make it first, or choose with --what")
    value = items[chosen].load()
    origin = scene_origin(source)
    scene = _manifest(source, origin, value)
    page = next(p for p in _PAGES if (static.WEB / p).is_file() or p == _PAGES[-1])
    splats = chosen == "splats"
    spare = max_bytes - len(inline_page(static.WEB, page, scene, {}, splats=splats)) - 20_000
    make = {"mesh": _mesh, "splats": _splats, "cloud": _cloud}[chosen]
    entry, files = make(value, origin, spare)
    scene["layers"] = [{"id": chosen, "house": 0, **layers.addressed({**entry, "visible": True}, chosen)}]
    raw = inline_page(static.WEB, page, scene, {f"layer/{chosen}/{k}": v for k, v in files.items()}, splats=splats)
    told = {"what": chosen, "bytes": len(raw), "count": entry["count"]}
    if len(raw) > max_bytes:
        raise _too_large(chosen, len(raw), max_bytes)
    return raw, told


def _manifest(source: Source, origin: np.ndarray, value: Any) -> dict[str, Any]:
    """The manifest without layers: what the page can do without a server."""
    saved = Saved(source, origin)
    return {
        "rev": 1,
        "busy": False,
        "shared": True,
        "title": source.title,
        "unit": source.unit,
        "unit_note": source.unit_note,
        "up": [float(x) for x in source.up],
        "up_known": bool(source.up_known),
        "origin": origin.tolist(),
        "bounds": robust_bounds(anchor_points(value) + (value.origin - origin)),
        "saved": saved.shown(),
        "layers": [],
        "problems": [],
        "photos": [],
        "houses": [{"title": source.title, "path_name": source.path.name, "unit": source.unit, "saved": saved.shown()}],
        "measures": [{**m, "house": 0} for m in saved.measures()],
        "report": None,
        "facts": facts.of_source(source),
        "gpu_note": None,
    }


def _size(files: Mapping[str, bytes]) -> int:
    return sum(len(pack(raw)) for raw in files.values())


def _mesh(mesh: Mesh, origin: np.ndarray, spare: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    value, texture, size = mesh, 4096, 0
    for _ in range(_TRIES):
        raw = compact.quantised_glb(value, origin, texture_size=texture)
        size = len(pack(raw))
        if size <= spare:
            textured = value.texture is not None and value.uvs is not None
            entry = {
                "kind": "mesh",
                "name": "Textured mesh" if textured else "Mesh",
                "count": len(value.faces),
                "bytes": len(raw),
                "textured": textured,
                "has_sigma": layers.quantile_range(value.sigma) is not None,
                "sigma_range": layers.quantile_range(value.sigma),
                "levels": [{"url": "full.glb", "faces": len(value.faces), "bytes": len(raw)}],
            }
            return entry, {"full.glb": raw}
        num = compact.fewer(len(value.faces), size, spare)
        texture = max(texture // 2, 256) if size > 1.3 * spare or texture > 2048 else texture
        if num < _MIN_FACES:
            break
        value = coarser(mesh, num, texture)
    raise _too_large("mesh", size, spare)


def _splats(splats: Splats, origin: np.ndarray, spare: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    value, degree, size = splats, splats.degree, 0
    for _ in range(_TRIES):
        with tempfile.TemporaryDirectory() as folder:
            made: dict[str, bytes] = {}
            entry = layers.splats_layer(value, "Gaussian splats", origin, made.__setitem__, Path(folder))
            made["splats.spz"] = (Path(folder) / "splats.spz").read_bytes()
        size = _size(made)
        if size <= spare:
            return entry, made
        if degree > 1:  # colours that change with the direction take most of the room
            degree = 1
        else:
            degree, num = 0, compact.fewer(len(value.means), size, spare)
            if num < _MIN_SPLATS:
                break
            value = compact.thinned(splats, num, degree)
            continue
        value = compact.thinned(splats, len(splats.means), degree)
    raise _too_large("splats", size, spare)


def _cloud(cloud: PointCloud, origin: np.ndarray, spare: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    rng, num, size = np.random.default_rng(0), len(cloud.points), 0
    for _ in range(_TRIES):
        rows = np.sort(rng.permutation(len(cloud.points))[:num])
        some = replace(
            cloud,
            points=cloud.points[rows],
            normals=cloud.normals[rows],
            colors=cloud.colors[rows],
            confidence=cloud.confidence[rows],
            sigma=cloud.sigma[rows],
            spacing=cloud.spacing[rows],
            inferred=None,
            view_offsets=np.zeros(len(rows) + 1, np.int64),
            view_index=np.zeros(0, np.int32),
        )
        made: dict[str, bytes] = {}
        if 19 * num < 2 * spare:
            entry = layers.cloud_layer(some, origin, made.__setitem__)
            size = _size(made)
            if size <= spare:
                return entry, made
        else:
            size = 19 * num
        num = compact.fewer(num, size, spare)
        if num < _MIN_POINTS:
            break
    raise _too_large("cloud", size, spare)


def _too_large(what: str, size: float, limit: float) -> InputError:
    return InputError(
        f"the {what} does not fit into the page",
        f"it would take {size / 2**20:.1f} MiB where {max(limit, 0) / 2**20:.1f} MiB are left",
        "allow more with --max-size",
    )
