"""Speed of dense depth: `python bench/depth.py [NAME] [--quality Q] [--photos N] [--data DIR] [--levels L...]`.

Everything that makes a depth map is counted: both passes, what each match is worth, and the check against other maps.
Printed for each SIMD level that the machine has: CPU seconds per Mpx of depth map (user and system, one thread) and
Mpx per second and core. NAME: sceaux_castle, fountain_P11 (default: the first that is there, else the bundled
examples/capture, whose photos are small). N photos beside each other are measured (default 1: its map, and the maps of
its five sources for the check, which are made but not timed); cameras come from the set itself (fountain) or from
structure from motion first.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SETS = {
    "sceaux_castle": "sceaux_castle/images",
    "fountain_P11": "fountain_P11/images",
    "demo": "@/examples/capture/photos",
}


def folder(name: str, data: Path) -> Path:
    """Where the photos of a set are."""
    place = SETS[name]
    return ROOT / place[2:] if place.startswith("@/") else data / place


def scene(photos_dir: Path) -> tuple[Any, Callable[[str], np.ndarray]]:
    """Cameras and sparse points of the photos, and how to load one."""
    from rilievo.io import photos as io
    from rilievo.stages import cameras, features, matches, pairs

    sources = io.find_photos([photos_dir])
    photos = io.read_photos(sources)
    by_name = {p.name: p for p in photos}
    load = {n: (lambda n=n: io.load_pixels(by_name[n])) for n in by_name}
    found = {n: features.extract(load[n](), name=n, config=features.FeaturesConfig(num_keypoints=2500)) for n in load}
    chosen = pairs.select_pairs(photos, lambda n: found[n])
    guess = {p.name: matches.guess_camera(p)[0] for p in photos}
    matched = [
        matches.match(n, found[n], [(o, found[o], guess[o]) for o in chosen[n]], guess[n]) for n in list(load)[1:]
    ]
    return cameras.reconstruct(photos, found, matched), lambda n: load[n]()


def measure(name: str, quality: str, num_photos: int, levels: list[str], data: Path) -> None:
    """Prints one line a SIMD level."""
