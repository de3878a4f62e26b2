"""The scene that the page shows: its manifest, its layers, its photos, made of houses and files.

    "" base.css viewer/* vendor/*  page and files          scene.json?rev=N       the manifest
    layer/ID/FILE           bytes of a layer              photo/K.jpg?size=S     a photo, undistorted
    depth/K.png, mask/K.png a photo's depth, its mask     frame?layer=ID&...      splats drawn here, a JPEG
    why/K.json              what is known of a photo      report.html             of the house
    measures.json|csv       saved measures
    POST pick measure volume section measures scale up origin: see `tools`

What takes long is made in a thread of its own; `rev` of the manifest changes when there is more, `busy` says that more
will come.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import RilievoError
from rilievo.live_server import Answer, Refused
from rilievo.view import facts, layers, static
from rilievo.view.frames import FrameLayers
from rilievo.view.making import Job, Workshop
from rilievo.view.photos import MAX_SIZE, MIN_SIZE, Photos
from rilievo.view.saved import as_csv, as_json
from rilievo.view.sources import (
    FileSource,
    HouseSource,
    Item,
    Source,
    anchor_points,
    open_source,
    robust_bounds,
    scene_origin,
)
from rilievo.view.store import LayerStore
from rilievo.view.tools import PLACES, Tools

_LAYER = re.compile(r"layer/([a-z0-9-]{1,40})/([a-z0-9_-]{1,40}\.(?:bin|glb|spz|ply))")
_PHOTO = re.compile(r"(photo|depth|mask)/(\d{1,6})\.(?:jpg|png)")
_WHY = re.compile(r"why/(\d{1,6})\.json")
_KINDS = {".bin": "application/octet-stream", ".glb": "model/gltf-binary"}
ORDER = ("mesh", "levels", "cloud", "splats", "sparse", "inferred", "holes")


class ViewScene:
    """Houses and files as one scene; `answer` serves it. All methods may be called from several threads.

    sources: houses (folders) and files.  growing: a house may still be in the making, or empty.
    Raises InputError when a source is missing or damaged.
    """

    def __init__(self, sources: Sequence[Path], *, growing: bool = False) -> None:
        self.sources: list[Source] = [open_source(Path(p), must_exist=not growing) for p in sources]
        for source in self.sources:
            if isinstance(source, FileSource):
                source.value  # noqa: B018  (damaged files are told now)
        self.growing = growing
        self.photos = [Photos(s) if isinstance(s, HouseSource) else None for s in self.sources]
        self.stores = [LayerStore(s.path if isinstance(s, HouseSource) else None) for s in self.sources]
        self.origin = self._find_origin()
        self.tools = Tools(self.sources, self.origin)
        self.frames = FrameLayers()
        self._drawn: dict[str, Item] = {}
        self._rev = int(time.time() * 1000) * 1000
        self._state: Any = None
        self._checked = 0.0
        self._rows: tuple[Any, list[dict[str, Any]]] | None = None
        self._workshop = Workshop(self._changed)
        self._lock = self._workshop.lock
        self._refresh()

    def _changed(self) -> None:
        self._rev += 1

    def _find_origin(self) -> np.ndarray:
        for source in self.sources:
            if source.scene is not None or isinstance(source, FileSource):
                return scene_origin(source)
        return np.zeros(3)

    def close(self) -> None:
        """Ends the thread (after the layer it is making) and deletes what was kept for this run only."""
        self._workshop.close()
        self.frames.close()
        for store in self.stores:
            store.close()

    def __enter__(self) -> ViewScene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # layers

    def _refresh(self) -> None:
        """Looks at the sources for what is new; at most once a second."""
        with self._lock:
            now = time.monotonic()
            if self._state is not None and now - self._checked < 1.0:
                return
            self._checked = now
            state = [s.state() for s in self.sources]
            if state == self._state:
                return
            first = self._state is None
            self._state = state
            if not first:
                self._rev += 1
            if not first and not self._workshop.ready:
                self.origin = self._find_origin()
                self.tools = Tools(self.sources, self.origin)
            self._workshop.want([job for k, source in enumerate(self.sources) for job in self._wanted(k, source)])

    def _wanted(self, house: int, source: Source) -> list[Job]:
        """All layers of a source, what is seen first first."""
        store, origin = self.stores[house], self.origin
        place = tuple(origin.tolist())
        jobs = []

        def add(name: str, key: tuple[Any, ...], make: Callable[[layers.Write, Path], dict[str, Any] | None]) -> None:
            layer = name if house == 0 else f"{name}-{house}"
            key = (*key, *place)
            jobs.append(Job(layer, key, house, lambda: layers.kept(store, name, key, make)))

        items = source.items()
        for item in items:
            if item.kind == "mesh":
                add("mesh", (item.key, "full"), self._mesh_maker(source, item))
        if isinstance(source, HouseSource) and source.scene is not None:
            scene = source.scene
            if len(scene.points):
                add("sparse", (source.results()["cameras"],), lambda w, _: layers.sparse_layer(scene, origin, w))
        for item in items:
            if item.kind == "splats":
                add("splats", (item.key,), lambda w, f, i=item: layers.splats_layer(i.load(), i.name, origin, w, f))
                self._drawn["splats" if house == 0 else f"splats-{house}"] = item
        for item in items:
            if item.kind == "mesh":
                add("levels", (item.key,), lambda w, _, i=item: layers.level_layer(i.load(), origin, w))
        for item in items:
            if item.kind == "cloud":
                add("cloud", (item.key,), lambda w, _, i=item: layers.cloud_layer(i.load(), origin, w))
        for item in items:
            if item.kind == "mesh":
                add("inferred", (item.key,), lambda w, _, i=item: layers.inferred_layer(i.load(), origin, w))
                add("holes", (item.key,), lambda w, _, i=item: layers.hole_layer(i.load(), origin))
        return jobs

    def _mesh_maker(self, source: Source, item: Item) -> Callable[[layers.Write, Path], dict[str, Any] | None]:
        file = item.file if item.file is not None and item.file.suffix.lower() == ".glb" else None
        if isinstance(source, HouseSource):
            file = source.exported_glb(item.key)
        if file is not None:
            return lambda w, _: layers.exported_mesh_layer(file, self.origin, w)
        return lambda w, _: layers.mesh_layer(item.load(), self.origin, w)

    def wait(self, *, first: bool = False, timeout: float = 600.0) -> bool:
        """Until all layers are made (first: until there is one to see). False after the timeout."""
        return self._workshop.wait(first=first, timeout=timeout)

    # answers

    def answer(self, place: str, query: dict[str, str], body: Any) -> Answer:
        """What the page asks for. Raises Refused for what is not there; other errors are documents."""
        try:
            return self._answer(place, query, body)
        except RilievoError as error:
            return failed(error)
        except (
            OSError,
            ValueError,
            ArithmeticError,
            LookupError,
            TypeError,
        ) as error:  # a fault of ours, or of the disk
            return failed(RilievoError("this cannot be answered", repr(error)[:300]), 500)

    def _answer(self, place: str, query: dict[str, str], body: Any) -> Answer:
        if body is not None:
            if place not in PLACES:
                raise Refused(405 if place else 404, "this is not for writing")
            return self._post(place, body)
        if place == "":
            return static.page()
        if place == "base.css" or place.startswith(("viewer/", "vendor/")):
            return static.static(place)
        if place == "scene.json":
            return self._scene(query)
        if place == "frame":
            return self._frame(query)
        if place in ("measures.json", "measures.csv"):
            return self._export(place)
        if place == "report.html":
            return self._report()
        if match := _LAYER.fullmatch(place):
            return self._layer(match[1], match[2])
        if match := _PHOTO.fullmatch(place):
            return self._picture(match[1], int(match[2]), query)
        if match := _WHY.fullmatch(place):
            return self._why(int(match[1]))
        raise Refused(404, "there is no such page")

    def _scene(self, query: dict[str, str]) -> Answer:
        self._refresh()
        with self._lock:
            if query.get("rev") == str(self._rev):
                return Answer.json({"rev": self._rev, "unchanged": True, "busy": self._workshop.busy})
            return Answer.json(self.manifest())

    def manifest(self) -> dict[str, Any]:
        """The document `scene.json`."""
        first = self.sources[0]
        with self._lock:
            ready = sorted(self._workshop.ready.items(), key=lambda kv: (kv[1].house, ORDER.index(kv[0].split("-")[0])))
            listed = []
            coarse = {
                (r.house, r.key[0]): layers.addressed(r.entry, k)["levels"]
                for k, r in ready
                if r.entry and r.entry["kind"] == "levels"
            }
            for layer, r in ready:
                if r.entry is not None and r.entry["kind"] != "levels":
                    version = r.folder.name[-8:]
                    entry = {"id": layer, "house": r.house, "version": version, **layers.addressed(r.entry, layer)}
                    if entry["kind"] == "splats":
                        entry["stream"] = f"frame?layer={layer}"
                    if entry["kind"] == "mesh":
                        entry["levels"] = [*coarse.get((r.house, r.key[0]), []), *entry["levels"]]
                    if len(self.sources) > 1:
                        entry["name"] = f"{entry['name']} ({self.sources[r.house].title})"
                    listed.append(entry)
            for house in range(len(self.sources)):  # something of each must be seen at first
                mine = [e for e in listed if e["house"] == house]
                if mine and not any(e["visible"] for e in mine):
                    mine[0]["visible"] = True
            return {
                "rev": self._rev,
                "busy": self._workshop.busy,
                "title": " | ".join(s.title for s in self.sources),
                "unit": first.unit,
                "unit_note": first.unit_note,
                "up": [float(x) for x in first.up],
                "up_known": bool(first.up_known),
                "origin": self.origin.tolist(),
                "bounds": robust_bounds(self._anchor_points()),
                "layers": listed,
                "problems": self._workshop.problems(),
                "photos": self._photo_rows(),
                "houses": [
                    {"title": s.title, "path_name": s.path.name, "unit": s.unit, "saved": saved.shown()}
                    for s, saved in zip(self.sources, self.tools.saved)
                ],
                "saved": self.tools.saved[0].shown(),
                "measures": [{**m, "house": k} for k, saved in enumerate(self.tools.saved) for m in saved.measures()],
                "report": "report.html" if (first.path / "export" / "report.html").is_file() else None,
                "facts": facts.of_source(first),
                "gpu_note": None,
            }

    def _anchor_points(self) -> np.ndarray:
        """Of all sources, relative to the origin."""
        parts = []
        for source in self.sources:
            if source.scene is not None and len(source.scene.points):
                parts.append(source.scene.points - self.origin)
            elif isinstance(source, FileSource):
                parts.append(anchor_points(source.value) + (source.value.origin - self.origin))
        return np.concatenate(parts) if parts else np.zeros((0, 3))

    def _photo_rows(self) -> list[dict[str, Any]]:
        """All photos; their number in this list is that of their addresses."""
        state = (self._state, tuple(self.origin.tolist()))
        if self._rows is None or self._rows[0] != state:
            self._rows = (state, self._list_photos())
        return self._rows[1]

    def _list_photos(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for house, photos in enumerate(self.photos):
            if photos is None:
                continue
            depths, listed = photos.has_depth(), photos.rows(self.origin)
            masks = photos.mask_files(row["name"] for row in listed)
            for row in listed:
                k = len(rows)
                there = row["usable"]
                rows.append(
                    {
                        **row,
                        "house": house,
                        "url": f"photo/{k}.jpg?size=1600" if there else None,
                        "thumb": f"photo/{k}.jpg?size=160" if there else None,
                        "why": f"why/{k}.json",
                        "depth": f"depth/{k}.png?v={depths[row['name']][:8]}" if row["name"] in depths else None,
                        "mask": _mask_url(k, masks.get(row["name"])) if there else None,
                    }
                )
        return rows

    def _post(self, place: str, body: Any) -> Answer:
        told = self.tools.post(place, body)
        if "saved" in told:
            with self._lock:
                self._rev += 1
                told["rev"] = self._rev
        return Answer.json(told)

    def _frame(self, query: dict[str, str]) -> Answer:
        layer = query.get("layer", "splats")
        with self._lock:
            item = self._drawn.get(layer)
        if item is None:
            raise Refused(404, "there are no such splats")
        return self.frames.answer(layer, item.key, item.load, self.origin, query)

    def _export(self, place: str) -> Answer:
        listed = [{**m, "house": k} for k, saved in enumerate(self.tools.saved) for m in saved.measures()]
        headers = {"Content-Disposition": f'attachment; filename="{place}"'}
        if place.endswith(".csv"):
            return Answer(as_csv(listed), "text/csv; charset=utf-8", headers=headers)
        raw = as_json(self.sources[0].title, self.tools.saved[0].unit(), listed)
        return Answer(raw, "application/json", headers=headers)

    def _report(self) -> Answer:
        file = self.sources[0].path / "export" / "report.html"
        if not isinstance(self.sources[0], HouseSource) or not file.is_file():
            raise Refused(404, "there is no report yet")
        policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"
        return Answer(file.read_bytes(), "text/html; charset=utf-8", headers={"Content-Security-Policy": policy})

    def _layer(self, layer: str, name: str) -> Answer:
        with self._lock:
            ready = self._workshop.ready.get(layer)
        if ready is None or ready.entry is None:
            raise Refused(404, "there is no such layer")
        try:
            raw = (ready.folder / name).read_bytes()
        except OSError as error:
            raise Refused(404, "there is no such file in this layer") from error
        return Answer(raw, _KINDS.get(Path(name).suffix, "application/octet-stream"))

    def _photo(self, k: int) -> tuple[dict[str, Any], Photos]:
        """Row k of the manifest's photos, and the photos of its house. Raises Refused."""
        self._refresh()
        rows = self._photo_rows()
        if k >= len(rows):
            raise Refused(404, "there is no such photo")
        photos = self.photos[rows[k]["house"]]
        assert photos is not None
        return rows[k], photos

    def _why(self, k: int) -> Answer:
        """What is known about photo k: text for people, the photos that match it best."""
        from rilievo.evidence import evidence, explain

        row, photos = self._photo(k)
        project = photos.house.project
        known = {} if project is None or not row["usable"] else evidence(project, row["name"])
        told = {"name": row["name"], "placed": row["placed"], "reason": row["reason"], "hint": known.get("hint", "")}
        text = explain({**told, **known, "faults": row["faults"]})
        return Answer.json({"name": row["name"], "text": text, "partners": known.get("partners", [])[:20]})

    def _picture(self, what: str, k: int, query: dict[str, str]) -> Answer:
        row, photos = self._photo(k)
        if what == "depth":
            return Answer(photos.depth(row["name"]), "image/png")
        if what == "mask":
            return Answer(photos.mask(row["name"]), "image/png")
        size = query.get("size", "1600")
        if not (size.isascii() and size.isdigit() and len(size) <= 5 and MIN_SIZE <= int(size) <= MAX_SIZE):
            raise Refused(400, f"size must be {MIN_SIZE} to {MAX_SIZE}")
        return Answer(photos.picture(row["name"], int(size)), "image/jpeg")


def _mask_url(k: int, file: Path | None) -> str | None:
    return None if file is None else f"mask/{k}.png?v={file.stat().st_mtime_ns:x}"


def failed(error: RilievoError, status: int = 400) -> Answer:
    """An error as a document."""
    answer = Answer.json({"error": error.what, "why": error.why, "hint": error.hint})
    return Answer(answer.body, answer.kind, status)
