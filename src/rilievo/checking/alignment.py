"""What a quick alignment gives to the checks: cameras, matches, a draft surface, and the graph of photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rilievo.stages.mapping import MIN_PAIR_MATCHES, MIN_REGISTER, components, pairs
from rilievo.types import Features, Matches, Mesh, Photo, Reconstruction


@dataclass(frozen=True, eq=False)
class Aligned:
    """photos: of the size that was aligned.  mesh: closed, with `inferred` where nothing was seen; None without one."""

    photos: tuple[Photo, ...]
    scene: Reconstruction
    matches: tuple[Matches, ...]
    features: Mapping[str, Features]
    mesh: Mesh | None

    def pair_counts(self) -> dict[tuple[str, str], int]:
        """Verified matches of each pair that has any, names sorted."""
        counts = {}
        for name0, name1, rows, _, _ in pairs(self.matches):
            if len(rows):
                counts[min(name0, name1), max(name0, name1)] = len(rows)
        return counts


@dataclass(frozen=True)
class Graph:
    """islands: groups of photos that matches connect, largest first.  weak: (photo, photo, matches, photos on the
    smaller side): the strongest pair over which two parts hang together with fewer than `MIN_REGISTER * 2` matches.
    neighbours: photo -> photos that share at least MIN_PAIR_MATCHES, best first."""

    islands: tuple[tuple[str, ...], ...]
    weak: tuple[tuple[str, str, int, int], ...]
    neighbours: Mapping[str, tuple[str, ...]]

    @property
    def connected_share(self) -> float:
        """Share of the photos that are in the largest island."""
        total = sum(len(i) for i in self.islands)
        return len(self.islands[0]) / total if total else 0.0


def photo_graph(names: Sequence[str], matches: Sequence[Matches], counts: Mapping[tuple[str, str], int]) -> Graph:
    """The graph of photos and its weak places."""
    islands = components(names, matches)
    near: dict[str, list[tuple[int, str]]] = {name: [] for name in names}
    for (a, b), n in counts.items():
        if n >= MIN_PAIR_MATCHES:
            near[a].append((-n, b))
            near[b].append((-n, a))
    strong = components(names, matches, 2 * MIN_REGISTER)
    part = {name: k for k, group in enumerate(strong) for name in group}
    best: dict[tuple[int, int], tuple[int, str, str]] = {}
    for (a, b), n in counts.items():
        if n >= MIN_PAIR_MATCHES and part[a] != part[b]:
            key = min(part[a], part[b]), max(part[a], part[b])
            best[key] = max(best.get(key, (0, "", "")), (n, a, b))
    # each small part hangs on its best link only
    weak = {}
    for (i, j), (n, a, b) in best.items():
        smaller = max(i, j)  # parts are sorted by size
        if smaller not in weak or n > weak[smaller][2]:
            weak[smaller] = (a, b, n, len(strong[smaller]))
    return Graph(
        tuple(tuple(g) for g in islands),
        tuple(sorted(weak.values(), key=lambda w: (-w[3], w[2], w[0]))),
        {name: tuple(other for _, other in sorted(found)) for name, found in near.items()},
    )


def to_json(graph: Graph) -> dict[str, Any]:
    """For the report."""
    return {
        "islands": [list(i) for i in graph.islands],
        "weak_links": [{"photos": [a, b], "matches": n, "behind_it": k} for a, b, n, k in graph.weak],
        "connected_share": round(graph.connected_share, 4),
    }
