"""Which photos to match: all pairs of a small set, else neighbours by GPS, by order and by what they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rilievo.types import Features, Photo


@dataclass(frozen=True)
class PairsConfig:
    """Settings of `select_pairs`."""

    version: ClassVar[int] = 1

    num_all: int = 60
    """the first photos of a set are matched with all before them, up to this many"""
    num_gps: int = 15
    """nearest earlier photos by position"""
    num_sequence: int = 8
    """photos just before in order"""
    num_similar: int = 20
    """earlier photos that look most alike"""
    num_words: int = 64
    """size of the vocabulary that looks are compared with"""
    seed: int = 0
    """seed of the vocabulary"""


def select_pairs(
    photos: Sequence[Photo], features: Callable[[str], Features], *, config: PairsConfig = PairsConfig()
) -> dict[str, list[str]]:
    """For every photo the earlier ones to match it with (names in the order of `photos`).

    features: photo name -> its features; asked only when the set is larger than num_all. A photo's list depends on the
    photos before it alone, so adding photos at the end changes nothing that was chosen before.
    """
    names = [p.name for p in photos]
    pairs = {name: names[:i] for i, name in enumerate(names[: config.num_all])}
    if len(names) <= config.num_all:
        return pairs
    looks = _looks(names, features, config)
    places = _places(photos)
    for i in range(config.num_all, len(names)):
        chosen = set(range(max(0, i - config.num_sequence), i))
        similarity = looks[:i] @ looks[i]
        chosen.update(np.argsort(-similarity, kind="stable")[: config.num_similar].tolist())
        if np.isfinite(places[i, 0]):
            distance = np.linalg.norm(places[:i] - places[i], axis=1)
            near = np.argsort(np.where(np.isfinite(distance), distance, np.inf), kind="stable")[: config.num_gps]
            chosen.update(int(j) for j in near if np.isfinite(distance[j]))
        pairs[names[i]] = [names[j] for j in sorted(chosen)]
    return pairs


def _places(photos: Sequence[Photo]) -> np.ndarray:
    """Metres east, north, up from the first photo with GPS (n, 3); NaN without."""
    known = next((p.gps for p in photos if p.gps is not None), None)
    places = np.full((len(photos), 3), np.nan)
    if known is not None:
        metre = np.pi / 180 * 6378137.0
        for i, p in enumerate(photos):
            if p.gps is not None:
                east = (p.gps[1] - known[1]) * metre * np.cos(np.radians(known[0]))
                places[i] = east, (p.gps[0] - known[0]) * metre, p.gps[2] - known[2]
    return places


def _looks(names: Sequence[str], features: Callable[[str], Features], config: PairsConfig) -> np.ndarray:
    """One unit vector a photo (n, num_words * d): descriptors summed as differences from their visual word (VLAD,
    Jegou et al. 2010, with signed square roots and normalised words, Arandjelovic & Zisserman 2013).

    The vocabulary comes from the first num_all photos, which are there whatever is added later.
    """
    rng = np.random.default_rng(config.seed)
    sample = np.concatenate([_strongest(features(n), 300) for n in names[: config.num_all]])
    words = _words(sample, config.num_words, rng)
    looks = np.zeros((len(names), words.size), np.float32)
    for i, name in enumerate(names):
        d = _strongest(features(name), 1500)
        if not len(d):
            continue
        word = np.argmax(d @ words.T - 0.5 * (words**2).sum(1), axis=1)
        sums = np.zeros_like(words)
        np.add.at(sums, word, d - words[word])
        sums = np.sign(sums) * np.sqrt(np.abs(sums))
        sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
        looks[i] = sums.ravel() / max(float(np.linalg.norm(sums)), 1e-9)
    return looks


def _strongest(features: Features, num: int) -> np.ndarray:
    d = features.descriptors[:num].astype(np.float32)
    return d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-9)


def _words(sample: np.ndarray, num: int, rng: np.random.Generator) -> np.ndarray:
    """k-means (Lloyd 1982), 8 rounds from random rows."""
    if not len(sample):
        return np.zeros((num, 1), np.float32)
    words = sample[rng.choice(len(sample), num, replace=len(sample) < num)].copy()
    for _ in range(8):
        word = np.argmax(sample @ words.T - 0.5 * (words**2).sum(1), axis=1)
        counts = np.bincount(word, minlength=num)
        sums = np.zeros_like(words)
        np.add.at(sums, word, sample)
        words = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], words).astype(np.float32)
    return words
