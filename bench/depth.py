"""Speed of dense depth, for each SIMD level that the machine has.

    python bench/depth.py [NAME...] [--quality Q] [--size PX] [--data DIR] [--level L...] [--repeat N]

NAME: sceaux_castle, fountain_P11 or demo (default: the first of them that is there; demo is the capture that comes with
the project). Nine photos are aligned, and the depth map of the one in the middle is made with its five best sources:
first pass, second pass, what each match is worth, and the check against the sources' maps. Printed are CPU seconds
(user and system, one thread) per Mpx of depth map, least of N, and Mpx per second and core. The maps of the sources are
made before and not timed: their own passes count where it is their turn. DIR: folder with the data sets (default:
$RILIEVO_DATA, else ../shared/data beside the repository).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2  # noqa: F401  (before pycolmap, or writing PNG aborts)

from rilievo import kernels
from rilievo.io import photos as io
from rilievo.stages import depth, depth_filter, views
from rilievo.types import DepthMap, Reconstruction, View

ROOT = Path(__file__).resolve().parent.parent
SETS = {"sceaux_castle": "sceaux_castle", "fountain_P11": "fountain_P11/images", "demo": "@/examples/capture/photos"}


def folder(name: str, data: Path) -> Path:
    """Where the photos of a set are."""
    return ROOT / SETS[name][2:] if SETS[name].startswith("@/") else data / SETS[name]


class Maps:
    """The passes over the photos of a scene, each a function of a photo's name."""

    def __init__(self, scene: Reconstruction, load: Callable[[str], View], config: depth.DepthConfig) -> None:
        self.scene, self.config = scene, config
        self.sources = views.select_sources(scene)
        self.views: dict[str, View] = {}
        self.load = load

    def view(self, name: str) -> View:
        """The undistorted photo, kept."""
        if name not in self.views:
            self.views[name] = self.load(name)
        return self.views[name]

    def first(self, name: str) -> DepthMap:
        """The map of half the size."""
        return depth.estimate_depth(
            self.view(name),
            [self.view(s) for s in self.sources[name]],
            seeds=views.sparse_seeds(self.scene, self.view(name)),
            depth_range=views.depth_range(self.scene, name),
            config=self.config,
        )

    def second(self, name: str, first: dict[str, DepthMap]) -> DepthMap:
        """The map of full size."""
        near = [s for s in self.sources[name] if s in first]
        return depth.estimate_depth(
            self.view(name),
            [self.view(s) for s in near],
            seeds=views.sparse_seeds(self.scene, self.view(name)),
            depth_range=views.depth_range(self.scene, name),
            start=first[name],
            source_depths=[first[s] for s in near],
            config=self.config,
        )


def align(sources: list[io.Source]) -> Reconstruction:
    """Cameras and sparse points of some photos."""
    from rilievo.stages import cameras, features, matches

    photos = [photo for _, photo in io.read_photos(sources).photos]
    by_name = {source.name: source for source in sources}
    found = {p.name: features.extract(io.load_pixels(by_name[p.name]), name=p.content_id) for p in photos}
    guess = {p.name: matches.guess_camera(p)[0] for p in photos}
    names = list(guess)
    matched = [
        matches.match(n, found[n], [(o, found[o], guess[o]) for o in names[:k]], guess[n])
        for k, n in enumerate(names)
        if k
    ]
    return cameras.reconstruct(photos, found, matched)


def seconds(work: Callable[[], DepthMap], repeat: int) -> tuple[float, DepthMap]:
    """Least CPU time of some runs, and the map."""
    best, made = float("inf"), None
    for _ in range(repeat):
        begin = time.process_time()
        made = work()
        best = min(best, time.process_time() - begin)
    assert made is not None
    return best, made


def measure(name: str, options: argparse.Namespace) -> None:
    """Prints a line a SIMD level."""
    by_name = {source.name: source for source in io.find_photos([folder(name, options.data)])}
    kept = sorted(by_name)
    kept = kept[max(len(kept) // 2 - 4, 0) :][:9]
    scene = align([by_name[n] for n in kept])
    config = depth.DepthConfig.for_quality(options.quality)
    if options.size:
        config = replace(config, max_size=options.size)

    def load(photo: str) -> View:
        i = scene.names.index(photo)
        return views.undistort_view(
            io.load_pixels(by_name[photo]), scene.camera(i), scene.cam_from_world[i], photo, max_size=config.max_size
        )

    maps = Maps(scene, load, config)
    middle = scene.names[len(scene.names) // 2]
    needed = [middle, *maps.sources[middle]]
    first = {n: maps.first(n) for n in {*needed, *(s for n in needed for s in maps.sources[n])}}
    others = [maps.second(n, first) for n in maps.sources[middle]]
    height, width = maps.view(middle).pixels.shape[:2]
    mpx = width * height / 1e6
    print(f"{name}, {middle}, {width} x {height}, {len(others)} sources, {options.quality}; CPU s per Mpx")
    print("level       first  second   check     all   Mpx/s/core")
    native = kernels.native()
    best = native.simd_level()
    for level in options.level or ["avx512", "avx2", "baseline"]:
        native.set_simd_level(level)
        if native.simd_level() != level:
            print(f"{level:<10}not on this machine")
            continue
        times = [
            seconds(lambda: maps.first(middle), options.repeat),
            seconds(lambda: maps.second(middle, first), options.repeat),
        ]
        made = times[1][1]
        times.append(seconds(lambda made=made: depth_filter.filter_depth(made, others, config=config), options.repeat))
        each = [t / mpx for t, _ in times]
        print(f"{level:<10}" + "".join(f"{s:8.2f}" for s in [*each, sum(each)]) + f"{1 / sum(each):13.3f}", flush=True)
    native.set_simd_level(best)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--quality", default="normal", choices=["draft", "normal", "high"])
    parser.add_argument("--size", type=int, help="longer side of the map, px")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("RILIEVO_DATA", ROOT.parent / "shared/data")))
    parser.add_argument("--level", action="append")
    parser.add_argument("--repeat", type=int, default=2)
    options = parser.parse_args()
    kernels.set_num_threads(1)
    there = [n for n in SETS if folder(n, options.data).is_dir()]
    for name in options.names or there[:1]:
        if name not in there:
            print(f"{name}: {folder(name, options.data)} is not there, skipped")
            continue
        measure(name, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
