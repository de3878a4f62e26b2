"""A second try where the photo graph is thin: which photos, with which partners, and how both answers are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rilievo.types import Features, Matches


@dataclass(frozen=True)
class RescueConfig:
    """Settings of `thin_pairs`."""

    version: ClassVar[int] = 1

    min_matches: int = 50
    """verified matches that make a pair a strong one"""
    min_partners: int = 2
    """a photo with fewer strong partners is thin; so is one cut off from the largest group of photos"""
    max_tries: int = 6
    """weak pairs of a thin photo that are tried again, the most promising first"""


def thin_pairs(
    names: Sequence[str], matches: Sequence[Matches], *, config: RescueConfig = RescueConfig()
) -> dict[str, list[str]]:
    """Pairs to match again by a stronger method: later photo -> earlier photos, empty when the graph is sound.

    names: the photos in order.  matches: what the first method found, one value a photo.
    """
    place = {name: i for i, name in enumerate(names)}
    verified = {(n0, m.name1): int(m.offsets[k + 1] - m.offsets[k]) for m in matches for k, n0 in enumerate(m.names0)}
    raw = {(n0, m.name1): int(m.num_raw[k]) for m in matches for k, n0 in enumerate(m.names0)}
    strong = [pair for pair, count in verified.items() if count >= config.min_matches]
    group = {name: name for name in names}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for a, b in strong:
        ra, rb = sorted((root(a), root(b)), key=place.__getitem__)
        group[rb] = ra
    size: dict[str, int] = {}
    partners = dict.fromkeys(names, 0)
    for name in names:
        size[root(name)] = size.get(root(name), 0) + 1
    for a, b in strong:
        partners[a] += 1
        partners[b] += 1
    main = max(size, key=lambda r: (size[r], -place[r])) if size else ""
    chosen: set[tuple[str, str]] = set()
    for name in names:
        if partners[name] >= config.min_partners and root(name) == main:
            continue
        weak = [p for p in verified if name in p and verified[p] < config.min_matches]
        # Half-found pairs first, then neighbours in order.
        weak.sort(key=lambda p: (-verified[p], abs(place[p[0]] - place[p[1]]), -raw[p], place[p[0]]))
        chosen.update(weak[: config.max_tries])
    pairs: dict[str, list[str]] = {}
    for a, b in sorted(chosen, key=lambda p: (place[p[1]], place[p[0]])):
        pairs.setdefault(b, []).append(a)
    return pairs


def join_features(first: Features, second: Features) -> Features:
    """Keypoints of two extractors in one value, the second's after the first's. Descriptors are not comparable and
    left out (n, 0)."""

    def both(field: str) -> np.ndarray:
        return np.concatenate([getattr(first, field), getattr(second, field)])

    count = len(first.scales) + len(second.scales)
    return Features(
        f"{first.extractor}+{second.extractor}",
        both("keypoints"),
        both("scales"),
        both("orientations"),
        both("scores"),
        np.zeros((count, 0), np.uint8),
        both("colors"),
    )


def join_matches(first: Matches, second: Matches | None, num_first: Mapping[str, int]) -> Matches:
    """Matches of one photo by two extractors, numbered as in `join_features`.

    num_first: photo name -> number of its keypoints by the first extractor. Of a pair's two kinds the one with more
    matches stays.
    """
    extra: dict[str, tuple[np.ndarray, int, int]] = {}
    if second is not None:
        if second.name1 != first.name1:
            raise ValueError(f"matches of {first.name1} cannot be joined with those of {second.name1}")
        for k, name0 in enumerate(second.names0):
            rows = second.matches[second.offsets[k] : second.offsets[k + 1]]
            shift = np.array([num_first[name0], num_first[first.name1]], np.int32)
            extra[name0] = rows + shift, int(second.num_raw[k]), int(second.kinds[k])
    names0 = [*first.names0, *(n for n in extra if n not in first.names0)]
    parts, kinds, num_raw = [], [], []
    for name0 in names0:
        part, raw, kind = np.zeros((0, 2), np.int32), 0, 1
        if name0 in first.names0:
            k = first.names0.index(name0)
            part = first.matches[first.offsets[k] : first.offsets[k + 1]]
            raw, kind = int(first.num_raw[k]), int(first.kinds[k])
        if name0 in extra:
            more, more_raw, more_kind = extra[name0]
            kind = more_kind if len(more) > len(part) else kind
            part, raw = np.concatenate([part, more]), raw + more_raw
        parts.append(part)
        kinds.append(kind)
        num_raw.append(raw)
    return Matches(
        extractor=first.extractor if second is None else f"{first.extractor}+{second.extractor}",
        name1=first.name1,
        names0=tuple(names0),
        offsets=np.cumsum([0, *map(len, parts)], dtype=np.int64),
        matches=np.concatenate([np.zeros((0, 2), np.int32), *parts]),
        num_raw=np.array(num_raw, np.int32),
        kinds=np.array(kinds, np.int32),
    )
