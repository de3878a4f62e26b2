"""The second try: thin photos are found, a sound graph is left alone, two answers join."""

from __future__ import annotations

import numpy as np

from rilievo.stages.rescue import join_features, join_matches, thin_pairs
from rilievo.types import Features, Matches


def matched(name1: str, counts: dict[str, int], extractor: str = "sift", kind: int = 2) -> Matches:
    n = list(counts.values())
    rows = np.concatenate([np.zeros((0, 2), np.int32), *(np.arange(2 * c, dtype=np.int32).reshape(c, 2) for c in n)])
    offsets = np.cumsum([0, *n], dtype=np.int64)
    raw = np.array(n, np.int32)
    return Matches(extractor, name1, tuple(counts), offsets, rows, raw, np.full(len(n), kind, np.int32))


def test_sound_graph_needs_nothing() -> None:
    names = ["a", "b", "c"]
    assert thin_pairs(names, [matched("b", {"a": 90}), matched("c", {"a": 80, "b": 300})]) == {}


def test_lonely_photo_and_second_group_are_tried_again() -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    found = [
        matched("b", {"a": 90}),
        matched("c", {"a": 80, "b": 300}),
        matched("d", {"a": 0, "b": 20, "c": 5}),
        matched("e", {"a": 0, "b": 0, "c": 0, "d": 0}),
        matched("f", {"a": 0, "b": 0, "c": 0, "d": 0, "e": 200}),
    ]
    pairs = thin_pairs(names, found)
    assert "b" in pairs["d"] and set(pairs) == {"d", "e", "f"}
    assert pairs["f"] and "e" not in pairs["f"], "strong pairs are not matched again"


def test_joining_numbers_the_second_extractor_after_the_first() -> None:
    ones = np.ones(3, np.float32)
    a = Features(
        "sift", np.ones((3, 2), np.float32), ones, ones, ones, np.zeros((3, 128), np.uint8), np.zeros((3, 3), np.uint8)
    )
    b = Features(
        "xfeat",
        np.ones((3, 2), np.float32),
        ones,
        ones,
        ones,
        np.zeros((3, 64), np.float32),
        np.zeros((3, 3), np.uint8),
    )
    both = join_features(a, b)
    assert both.extractor == "sift+xfeat" and len(both.keypoints) == 6
    joined = join_matches(
        matched("y", {"x": 1, "w": 2}), matched("y", {"x": 2}, "xfeat", 6), {"x": 10, "w": 20, "y": 30}
    )
    assert joined.names0 == ("x", "w") and joined.offsets.tolist() == [0, 3, 5]
    assert joined.matches[:3].tolist() == [[0, 1], [10, 31], [12, 33]]
    assert joined.kinds.tolist() == [6, 2] and joined.num_raw.tolist() == [3, 2]
    alone = join_matches(matched("y", {"x": 1}), None, {"x": 1, "y": 1})
    assert alone.matches.tolist() == [[0, 1]]
