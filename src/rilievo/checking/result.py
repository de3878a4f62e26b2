"""All checks of a set put together: findings a photo, the set, the graph, the round, the surface, and the advice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rilievo.checking import findings as f
from rilievo.checking import next_photos, set_checks, verdict
from rilievo.checking.alignment import Aligned, Graph, photo_graph, to_json
from rilievo.checking.around import Around, look_around
from rilievo.checking.looks import Look
from rilievo.checking.surface import MIN_OVERLAP, PRO_OVERLAP, Patches, make_patches, overlaps, second_best
from rilievo.gather import Gathered
from rilievo.io.photos import Rejected
from rilievo.stages.faults import find_faults, relative_gains
from rilievo.types import Photo

# Findings for which one would like to leave a photo out.
_SPOILT = frozenset(["defocus", "motion", "dark", "clipped", "jpeg", "empty", "mirrored", "alone", "double"])
# How findings of `stages.faults` are graded; those of other kinds are measured better here.
_FAULTS = {"mirrored": f.BAD, "alone": f.BAD, "turned": f.NOTE, "focal": f.NOTE}


@dataclass(frozen=True, eq=False)
class Checked:
    """document: all results as plain values (check.json); the rest is what pictures are drawn from. aligned, around,
    patches, wanted are None without an alignment."""

    document: dict[str, Any]
    looks: tuple[Look, ...]
    aligned: Aligned | None
    around: Around | None
    patches: Patches | None
    wanted: np.ndarray | None
    proposals: tuple[next_photos.Proposal, ...]

    @property
    def level(self) -> str:
        """ "good", "weak" or "bad"."""
        return self.document["level"]


def conclude(
    found: Gathered,
    looks: Sequence[Look],
    aligned: Aligned | None,
    why: str,
    *,
    kind: str = "auto",
    num_next: int = 5,
    built: bool = False,
) -> Checked:
    """The result of a check. why: what hindered the alignment, when there is none.  built: the alignment is that
    of a build."""
    names = [look.name for look in looks]
    by_name = {look.name: look for look in looks}
    around, patches, wanted, graph = None, None, None, None
    proposals: list[next_photos.Proposal] = []
    shared: dict[str, list[tuple[str, float]]] = {}
    gains: dict[str, np.ndarray] = {}
    geometric: dict[str, list[f.Finding]] = {}
    if aligned is not None:
        scene = aligned.scene
        graph = photo_graph(names, aligned.matches, aligned.pair_counts())
        around = look_around(scene, kind)
        patches = make_patches(aligned)
        proposals, wanted = next_photos.propose(scene, around, patches, num_next)
        shared = overlaps(scene, patches.obstacles)
        gains = dict(zip(scene.names, relative_gains(scene, aligned.features)))
        geometric = _faults(aligned)
    near: Mapping[str, Sequence[str]] = _neighbours(names, shared, graph)
    doubles = _confirmed(set_checks.doubles(looks), around, aligned)
    repeated = {
        name: [f.Finding("double", f.NOTE, f"repeats {other}: the same view from the same place", "", 0.0)]
        for name, other in doubles.items()
    }
    single = {name: f.single(by_name[name].quality) for name in names}
    merged = set_checks.merged(
        single, f.relative(by_name, near, gains), geometric, set_checks.by_photo(looks), repeated
    )
    merged = {name: sorted(m, key=lambda x: (f.ORDER[x.level], x.kind)) for name, m in merged.items() if m}
    free = _free(merged, by_name, aligned, patches, wanted)
    rows = [_row(by_name[n], merged.get(n, []), aligned, around, shared, free.get(n), found.photo(n)) for n in names]
    document: dict[str, Any] = {
        "built": built,
        "photos": {
            "total": len(names) + len(found.rejected),
            "usable": len(names),
            "list": rows,
            "rejected": [_rejected(r) for r in found.rejected],
        },
        "set": [asdict(x) for x in set_checks.of_set(looks)],
        "alignment": _alignment(aligned, why, graph, shared),
        "around": None if around is None else around.to_json(),
        "coverage": _coverage(around, patches, wanted),
        "next": [p.to_json() for p in proposals],
        "bridges": [] if graph is None else _bridges(names, graph),
    }
    document = {**verdict.judge(document), **document}
    return Checked(_plain(document), tuple(looks), aligned, around, patches, wanted, tuple(proposals))


def _faults(aligned: Aligned) -> dict[str, list[f.Finding]]:
    found = find_faults(aligned.photos, aligned.features, aligned.matches, aligned.scene)
    return {
        name: [f.Finding(x.kind, _FAULTS[x.kind], x.text, x.hint, x.value) for x in faults if x.kind in _FAULTS]
        for name, faults in found.items()
    }


def _neighbours(
    names: Sequence[str], shared: Mapping[str, Sequence[tuple[str, float]]], graph: Graph | None
) -> dict[str, list[str]]:
    """Photos that show the same as each: by overlap, else by matches, else those before and after it."""
    out = {}
    for k, name in enumerate(names):
        near = [other for other, share in shared.get(name, ()) if share > 0.3][:8]
        if len(near) < 2 and graph is not None:
            near = list(graph.neighbours.get(name, ()))[:8]
        if len(near) < 2:
            near = [names[i] for i in range(max(0, k - 4), min(len(names), k + 5)) if i != k]
        out[name] = near
    return out


def _confirmed(doubles: dict[str, str], around: Around | None, aligned: Aligned | None) -> dict[str, str]:
    """Without those that were taken from places that differ enough to measure with."""
    if aligned is None or around is None:
        return doubles
    index = {name: k for k, name in enumerate(aligned.scene.names)}
    centers, out = aligned.scene.centers, {}
    for name, other in doubles.items():
        if name in index and other in index:
            i, j = index[name], index[other]
            apart = float(np.linalg.norm(centers[i] - centers[j])) / float(around.distance[j])
            if apart > math.radians(1.5):
                continue
        out[name] = other
    return out


def _free(
    merged: Mapping[str, Sequence[f.Finding]],
    looks: Mapping[str, Look],
    aligned: Aligned | None,
    patches: Patches | None,
    wanted: np.ndarray | None,
) -> dict[str, bool]:
    """For spoilt photos: whether leaving them out opens no hole; nothing for those of which that is not known."""
    spoilt = [
        (f.ORDER[x.level], -(q if not math.isnan(q := looks[name].quality.sigma_px) else 0.0), name)
        for name, found in merged.items()
        for x in found
        if x.kind in _SPOILT and (x.level == f.BAD or x.kind == "double")
    ]
    order = list(dict.fromkeys(name for _, _, name in sorted(spoilt)))
    if aligned is None or patches is None or wanted is None:
        return {}
    return next_photos.losses(aligned.scene, patches, wanted, order)


def _bridges(names: Sequence[str], graph: Graph) -> list[dict[str, str]]:
    """Where photos would connect islands with the largest: between the photos that were taken after one another."""
    at = {name: k for k, name in enumerate(names)}
    out = []
    for island in graph.islands[1:]:
        if len(island) < 2:
            continue
        pairs = ((abs(at[a] - at[b]), at[a], at[b]) for a in graph.islands[0] for b in island)
        _, i, j = min(pairs)
        a, b = names[i], names[j]
        words = f"on the way from {a} to {b}, every 15 degrees or so, each showing two thirds of the last"
        out.append({"from": a, "to": b, "words": words})
    return out


def _row(
    look: Look,
    found: Sequence[f.Finding],
    aligned: Aligned | None,
    around: Around | None,
    shared: Mapping[str, Sequence[tuple[str, float]]],
    free: bool | None,
    photo: Photo,
) -> dict[str, Any]:
    q = look.quality
    placed = None if aligned is None else look.name in aligned.scene.names
    level = found[0].level if found and found[0].level != f.NOTE else "good"
    reason = ""
    if aligned is not None and not placed:
        level, reason = f.BAD, aligned.scene.unplaced.get(look.name, "")
    k = aligned.scene.names.index(look.name) if aligned is not None and placed else None
    quality = {key: round(v, 4) if isinstance(v, float) else v for key, v in asdict(q).items()}
    return {
        "name": look.name,
        "level": level,
        "placed": placed,
        "reason": reason,
        "findings": [asdict(x) for x in found],
        "advice": _advice(level, found, placed, free),
        "quality": quality,
        "camera": photo.camera_name,
        "taken_at": photo.taken_at,
        "focal_px": photo.focal_px,
        "azimuth_deg": None if k is None or around is None else round(float(around.azimuth_deg[k]), 1),
        "elevation_deg": None if k is None or around is None else round(float(around.elevation_deg[k]), 1),
        "spacing_deg": None if k is None or around is None else round(float(around.spacing_deg[k]), 1),
        "overlaps": [{"photo": n, "share": round(s, 3)} for n, s in list(shared.get(look.name, ()))[:4]],
    }


def _advice(level: str, found: Sequence[f.Finding], placed: bool | None, free: bool | None) -> str:
    """What to do with a photo. To leave it out is said only where that is known to open no hole."""
    double = any(x.kind == "double" for x in found)
    if free:
        return "leave it out: others see all that it shows" if level == f.BAD or double else "keep"
    if free is False:
        return "keep it until it was taken again: without it there is a hole"
    if level != f.BAD:
        return "keep"
    if placed is False:
        return "take it again: it could not be placed, so nothing is lost without it"
    return "take it again; keep it until then"


def _rejected(r: Rejected) -> dict[str, str]:
    return {"name": r.name, "reason": r.reason}


def _alignment(
    aligned: Aligned | None, why: str, graph: Graph | None, shared: Mapping[str, Sequence[tuple[str, float]]]
) -> dict[str, Any]:
    if aligned is None or graph is None:
        return {"done": False, "why": why}
    scene = aligned.scene
    second = second_best({n: list(s) for n, s in shared.items()})
    values = list(second.values())
    return {
        "done": True,
        "placed": len(scene.names),
        "unplaced": dict(sorted(scene.unplaced.items())),
        "models": scene.num_models,
        "reprojection_error_px": round(scene.reprojection_error(), 3),
        "frame": scene.frame,
        "unit": scene.unit,
        "graph": to_json(graph),
        "overlap": {
            "median": round(float(np.median(values)), 3) if values else None,
            "least": round(min(values), 3) if values else None,
            "minimum_standard": MIN_OVERLAP,
            "professional_standard": PRO_OVERLAP,
            "below_minimum": sorted(n for n, v in second.items() if v < MIN_OVERLAP),
            "below_professional": sum(v < PRO_OVERLAP for v in values),
        },
    }


def _coverage(around: Around | None, patches: Patches | None, wanted: np.ndarray | None) -> dict[str, Any] | None:
    """The score and what is behind it. Surface that turns to a sector from where nobody looked is seen aslant or not at
    all: the surface's score counts by the share of the round that was looked from, a missing tier takes a tenth."""
    if around is None or patches is None or wanted is None:
        return None
    surface = patches.score(wanted)
    missing = sum(s.width_deg for s in around.sectors)
    score = surface * (1 - missing / 360) * (0.9 if around.tier_gap > 1 else 1.0)
    weight = patches.weight * wanted
    total = max(float(weight.sum()), 1e-9)
    counts = patches.seen.counts
    some = (counts > 0) & wanted
    return {
        "score": round(score, 1),
        "surface_score": round(surface, 1),
        "missing_round_deg": round(missing, 1),
        "below_3_views_share": round(float((weight * (counts < 3)).sum()) / total, 4),
        "views_shares": [round(float(weight[_with_views(counts, k)].sum()) / total, 4) for k in range(11)],
        "views_median": float(np.median(counts[some])) if some.any() else 0.0,
        "angle_median_deg": round(float(np.median(patches.seen.angle_deg[some])), 1) if some.any() else None,
        "incidence_median_deg": _median(patches.seen.incidence_deg[some]),
        "gsd_median": _median(patches.seen.gsd[some]),
        "surface": "draft surface" if patches.normals is not None else "sparse points",
    }


def _with_views(counts: np.ndarray, views: int) -> np.ndarray:
    """Patches with just that many views, ten standing for more too."""
    return counts == views if views < 10 else counts >= 10


def _median(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(f"{np.median(values):.4g}") if len(values) else None


def _plain(value: Any) -> Any:
    """NaN and infinity become None, tuples lists."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
