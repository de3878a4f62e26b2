"""Endless training pictures with exact depth: `python -m training.scenes --out DIR --count N --seed S`.

Writes shards of 64 pictures: `rgb_00000.npy` uint8 (64, size, size, 3) sRGB; `inverse_depth_00000.npy` float16
(64, size, size), 1/z in 1/m along the optical axis, 0 where there is sky; `about_00000.json`, a list of
{family, focal_px, seed}. A shard that is there already is left alone, and one is either whole or not there.
A picture depends on the seed, its number and the fetched models and photographs only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from rilievo import kernels
from training import scenes_indoors, scenes_outdoors, scenes_rooms, scenes_streets
from training.render import Scene, View, draw, probe
from training.scenes_library import Library, make_library
from training.scenes_models import cache_folder, fetch

SHARD = 64
VIEWS = 4
"""Pictures of each scene."""
BLOCK = 1024
"""Pictures made with one library of textures and things."""
FAMILIES = {
    "room": (scenes_indoors.room, 0.30),
    "desk": (scenes_indoors.desk, 0.13),
    "street": (scenes_streets.street, 0.21),
    "terrain": (scenes_outdoors.terrain, 0.08),
    "monument": (scenes_outdoors.monument, 0.10),
    "objects": (scenes_indoors.objects, 0.11),
    "clutter": (scenes_indoors.clutter, 0.07),
}


@lru_cache(maxsize=1)
def library(seed: int, block: int, cache: Path | None) -> Library:
    return make_library(np.random.default_rng([seed, block, 1]), cache)


def look(place, target, roll: float, focal: float, **settings) -> View:
    """A camera at `place` that looks at `target`; roll in radians."""
    ahead = np.asarray(target, np.float64) - place
    ahead /= max(float(np.linalg.norm(ahead)), 1e-9)
    up = np.array([0, 0, 1.0]) if abs(ahead[2]) < 0.999 else np.array([0, 1.0, 0])
    right = np.cross(ahead, up)
    right /= np.linalg.norm(right)
    down = np.cross(ahead, right)
    c, s = np.cos(roll), np.sin(roll)
    turn = np.stack([c * right + s * down, -s * right + c * down, ahead])
    return View(turn.astype(np.float32), np.asarray(place, np.float32), float(focal), **settings)


def random_view(rng: np.random.Generator, built: scenes_rooms.Built, size: int) -> View:
    place, target = built.stand(rng)
    low, common, high = built.fov
    fov = rng.triangular(low, common, high) if rng.random() < 0.9 else rng.uniform(25, 100)
    focal = size / 2 / np.tan(np.radians(fov) / 2)
    roll = float(np.radians(np.clip(rng.normal(0, 2.5), -8, 8)))
    cast = 1 + rng.normal(0, 0.05, 3)
    settings = {
        "exposure": float(np.clip(np.exp(rng.normal(np.log(0.2), 0.4)), 0.05, 0.55)),
        "blur": float(rng.uniform(0.3, 2.0)) if rng.random() < 0.25 else 0.0,
        "focus": float(max(0.3, np.linalg.norm(target - place))),
        "vignette": float(rng.uniform(0, 0.9)) if rng.random() < 0.5 else 0.0,
        "cast": tuple(float(v) for v in cast),
    }
    return look(place, target, roll, focal, **settings)


def good(depth: np.ndarray, built: scenes_rooms.Built) -> bool:
    """Judges a coarse depth map: not too near, not mostly sky, not one flat thing."""
    seen = depth[np.isfinite(depth)]
    if len(seen) < 0.4 * depth.size:
        return False
    low, middle, high = np.percentile(seen, [1, 50, 97])
    if low < built.near * 0.5 or middle < built.near * 1.5:
        return False
    inverse = np.nan_to_num(1 / depth)
    if seen.std() / seen.mean() < 0.12 or high / low < 1.35:
        return False
    jumps = 0  # sides of things: a bare wall or floor teaches little
    for a, b in ((inverse[1:], inverse[:-1]), (inverse[:, 1:], inverse[:, :-1])):
        jumps += int((np.abs(a - b) > 0.08 * np.maximum(a, b)).sum())
    return jumps > 0.035 * depth.size


def pictures_of(seed: int, number: int, size: int, cache: Path | None) -> list[tuple[np.ndarray, np.ndarray, dict]]:
    """The VIEWS pictures of scene `number`: (rgb, inverse depth, about)."""
    names, odds = list(FAMILIES), np.array([f[1] for f in FAMILIES.values()])
    lib = library(seed, number * VIEWS // BLOCK, cache)
    for attempt in range(20):
        rng = np.random.default_rng([seed, number, attempt, 2])
        family = names[int(rng.choice(len(names), p=odds / odds.sum()))]
        built = FAMILIES[family][0](rng, lib)
        built.scene.prepare(lib.atlas)
        views = []
        for _ in range(40):
            view = random_view(rng, built, size)
            if good(probe(built.scene, view, size), built):
                views.append(view)
                if len(views) == VIEWS:
                    break
        if len(views) < VIEWS:
            continue
        built.scene.light_up(built.middle, built.radius)
        out = []
        for k, view in enumerate(views):
            rgb, inverse = draw(built.scene, view, size, rng)
            out.append((rgb, inverse, {"family": family, "focal_px": view.focal, "seed": [seed, number, k]}))
        return out
    raise RuntimeError(f"scene {number} of seed {seed} has no good view")


def scene_of(seed: int, number: int, size: int, cache: Path | None) -> tuple[Scene, View]:
    """The first scene tried for a number and its first good view: for tests."""
    lib = library(seed, number * VIEWS // BLOCK, cache)
    rng = np.random.default_rng([seed, number, 0, 2])
    names, odds = list(FAMILIES), np.array([f[1] for f in FAMILIES.values()])
    family = names[int(rng.choice(len(names), p=odds / odds.sum()))]
    built = FAMILIES[family][0](rng, lib)
    built.scene.prepare(lib.atlas)
    for _ in range(200):
        view = random_view(rng, built, size)
        if good(probe(built.scene, view, size), built):
            break
    built.scene.light_up(built.middle, built.radius)
    return built.scene, view


def write_shard(out: Path, shard: int, seed: int, size: int, cache: Path | None) -> bool:
    """One shard; False when it was there. The description goes last: a shard with it is whole."""
    about_path = out / f"about_{shard:05d}.json"
    if about_path.exists():
        return False
    made = []
    for number in range(shard * SHARD // VIEWS, (shard + 1) * SHARD // VIEWS):
        made += pictures_of(seed, number, size, cache)
    rgb = np.stack([m[0] for m in made])
    inverse = np.stack([m[1] for m in made]).astype(np.float16)
    for name, array in (("rgb", rgb), ("inverse_depth", inverse)):
        part = out / f".{name}_{shard:05d}.{os.getpid()}.npy"
        np.save(part, array)
        part.replace(out / f"{name}_{shard:05d}.npy")
    part = out / f".about_{shard:05d}.{os.getpid()}.json"
    part.write_text(json.dumps([m[2] for m in made]) + "\n")
    part.replace(about_path)
    return True


def colored(inverse: np.ndarray) -> np.ndarray:
    """Inverse depth as colours, near is bright; sky is black."""
    top = max(float(np.percentile(inverse, 98)), 1e-6)
    grey = np.clip(np.sqrt(inverse / top) * 255, 0, 255).astype(np.uint8)
    color = cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)[..., ::-1]
    return np.where(inverse[..., None] > 0, color, 0).astype(np.uint8)


def contact_sheet(pictures, columns: int = 6, width: int = 200) -> np.ndarray:
    """Pictures beside their inverse depth, in rows."""
    cells = []
    for rgb, inverse, _ in pictures:
        both = np.concatenate([rgb, colored(np.asarray(inverse, np.float32))], 1)
        cells.append(cv2.resize(both, (2 * width, width), interpolation=cv2.INTER_AREA))
    while len(cells) % columns:
        cells.append(np.zeros_like(cells[0]))
    return np.concatenate([np.concatenate(cells[k : k + columns], 1) for k in range(0, len(cells), columns)])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="training.scenes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder of the shards")
    parser.add_argument("--count", type=int, default=64, help="pictures, rounded up to whole shards")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=320, help="pixels along a side")
    parser.add_argument("--first", type=int, default=0, help="number of the first shard")
    parser.add_argument(
        "--preview", type=Path, help="write a contact sheet of the first COUNT pictures instead of shards"
    )
    parser.add_argument("--procedural", action="store_true", help="without fetched models and photographs")
    given = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    kernels.set_num_threads(1)
    cache = None if given.procedural else cache_folder()
    if cache is not None and not (cache / "complete").exists():
        try:
            fetch(cache)
        except Exception as problem:
            print(f"no models or photographs ({problem}): procedural shapes and textures only", file=sys.stderr)
            cache = None
    if given.preview:
        pictures = []
        start = time.process_time()
        for number in range(given.first * SHARD // VIEWS, given.first * SHARD // VIEWS + -(-given.count // VIEWS)):
            pictures += pictures_of(given.seed, number, given.size, cache)
            if number == given.first * SHARD // VIEWS:
                start = time.process_time()
        rate = (len(pictures) - VIEWS) / max(time.process_time() - start, 1e-9)
        print(f"{len(pictures)} pictures, {rate:.2f} a second of processor time", file=sys.stderr)
        cv2.imwrite(str(given.preview), contact_sheet(pictures)[..., ::-1])
        return 0
    if given.out is None:
        parser.error("--out or --preview is needed")
    given.out.mkdir(parents=True, exist_ok=True)
    for shard in range(given.first, given.first + -(-given.count // SHARD)):
        start = time.process_time()
        if write_shard(given.out, shard, given.seed, given.size, cache):
            rate = SHARD / (time.process_time() - start)
            print(f"shard {shard:05d}: {rate:.2f} pictures a second of processor time", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
