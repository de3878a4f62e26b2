"""What a set's photos say of each other: which overlap, and by how much their exposure and colour differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rilievo.io.photos import Photo, Source, load_mask, load_pixels
from rilievo.mappers import map_threads
from rilievo.plan import Run
from rilievo.stages import color_match
from rilievo.stages.features import FeaturesConfig, extract
from rilievo.stages.matches import guess_camera, match, select_pairs
from rilievo.types import Features, Matches

Photos = Sequence[tuple[Source, Photo]]
SMALL = 1200


@dataclass(frozen=True, eq=False)
class SetColors:
    """gains: photo name -> factor on light per channel.  cast: the common one.  note: what could not be told."""

    gains: dict[str, np.ndarray]
    cast: np.ndarray
    note: str

    def of(self, name: str) -> np.ndarray:
        """What this photo's light is multiplied by."""
        return np.round(self.gains.get(name, np.ones(3)) * self.cast, 4)

    def figures(self) -> dict[str, Any] | None:
        """For the manifest."""
        if not self.note and not self.gains:
            return None
        return {"cast": np.round(self.cast, 4).tolist(), "matched": len(self.gains), "note": self.note}


def overlap(photos: Photos, threads: int, run: Run) -> tuple[dict[str, Features], list[Matches]]:
    """Keypoints of small copies and their verified matches: enough to know which photos show the same places."""
    config = FeaturesConfig(max_features=2500, max_size=SMALL, upsample=False)

    def find(item: tuple[Source, Photo]) -> Features:
        source, photo = item
        pixels = load_pixels(source, max_size=SMALL)
        found = extract(pixels, name=photo.content_id, mask=load_mask(source, max_size=SMALL), config=config)
        factor = np.float32(photo.width / pixels.shape[1])
        return Features(
            found.extractor, found.keypoints * factor, found.scales * factor, found.orientations, found.scores,
            found.descriptors, smoothed_colors(pixels, found.keypoints),
        )  # fmt: skip

    names = [s.name for s, _ in photos]
    features: dict[str, Features] = {}
    for name, found in zip(names, map_threads(find, photos, threads)):
        features[name] = found
        run.progress("overlap: keypoints", len(features), len(names))
    cameras = {s.name: guess_camera(p)[0] for s, p in photos}
    chosen = select_pairs([p for _, p in photos], lambda n: features[n])
    matches: list[Matches] = []
    later = names[1:]
    work = lambda n: match(n, features[n], [(o, features[o], cameras[o]) for o in chosen[n]], cameras[n])  # noqa: E731
    for found in map_threads(work, later, threads):
        matches.append(found)
        run.progress("overlap: matches", len(matches), len(later))
    return features, matches


def smoothed_colors(pixels: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """uint8 (n, 3): mean colour of 5 x 5 pixels around each keypoint."""
    import cv2

    mean = cv2.blur(pixels, (5, 5))
    x = np.clip(keypoints[:, 0].astype(int), 0, pixels.shape[1] - 1)
    y = np.clip(keypoints[:, 1].astype(int), 0, pixels.shape[0] - 1)
    return np.ascontiguousarray(mean[y, x])


def match_set(photos: Photos, threads: int, run: Run) -> SetColors:
    """The gains that make the set agree, and its common cast."""
    gains: dict[str, np.ndarray] = {}
    names = [s.name for s, _ in photos]
    if len(photos) > 1:
        features, matches = overlap(photos, threads, run)
        gains = color_match.solve_gains(names, features, matches)
    alone = [n for n in names if n not in gains]
    samples = []
    for source, _ in photos:
        small = load_pixels(source, max_size=256)
        gain = gains.get(source.name, np.ones(3))
        light = color_match.shown(color_match.linear(small / 255.0) * gain)
        samples.append(np.clip(np.rint(light * 255), 0, 255).astype(np.uint8))
    note = "the cast is a guess from the colours of all photos: no grey card was seen"
    if alone and len(photos) > 1:
        note += f"; {len(alone)} of {len(photos)} photos overlap with no other and keep their exposure"
    return SetColors(gains, color_match.common_cast(samples), note)
