"""What a build shall do, and what that is expected to take: settings, presets, prediction, time budget."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from rilievo import kernels
from rilievo.chain import Progress, no_progress
from rilievo.errors import InputError, ResourceError
from rilievo.gather import Gathered
from rilievo.stages.depth import DepthConfig


@dataclass(frozen=True)
class BuildSettings:
    """What may change the result of `photos_to_mesh`. depth_size: longer side of the depth maps, px (None: by
    quality).  prior: what closes gaps of depth maps: "planes", or "depth": planes, then a network's view of each photo.
    """

    quality: str = "normal"
    surface: str = "auto"
    keypoints: str = "auto"
    max_faces: int | None = None
    texture_size: int | None = None
    seed: int = 0
    depth_size: int | None = None
    watertight: bool = False
    prior: str = "planes"


@dataclass(frozen=True)
class Run:
    """How it is computed: threads, the memory limit, who is told how far it is. None of these changes the result;
    `max_seconds` does, by choosing the best settings that are expected to fit."""

    num_threads: int = 0
    memory_mb: float = 8192.0
    max_seconds: float | None = None
    progress: Progress = field(default=no_progress)


# Largest side of the views that texture the model, default texture size and triangles, for each quality.
TEXTURE_PRESETS = {"draft": (1200, 2048, 100_000), "normal": (2400, 4096, 300_000), "high": (8192, 8192, 1_000_000)}
# Longer side, px, from which on a draft searches photos for keypoints at their own size only.
LARGE_PHOTO = 2000


def depth_config(settings: BuildSettings) -> DepthConfig:
    """Settings of the depth maps. Raises InputError for a size below 64 px."""
    if settings.depth_size is not None and settings.depth_size < 64:
        raise InputError(
            f"depth maps of {settings.depth_size} px are too small",
            "nothing can be measured on fewer than 64 pixels",
            "give --depth-size 400 or more, or leave it out",
        )
    config = replace(DepthConfig.for_quality(settings.quality), seed=settings.seed)
    return config if settings.depth_size is None else replace(config, max_size=settings.depth_size)


def searches_fine(found: Gathered, settings: BuildSettings) -> bool:
    """Whether keypoints are searched for details of a pixel: for a look, large photos need not be, and that is three
    fifths of the work."""
    return settings.quality != "draft" or max((max(p.width, p.height) for p in found.photos), default=0) < LARGE_PHOTO


@dataclass(frozen=True)
class Plan:
    """What a build is expected to take; `settings` are those it will use."""

    num_photos: int
    megapixels: float
    quality: str
    num_threads: int
    seconds: float
    memory_mb: float
    settings: BuildSettings = BuildSettings()


# CPU seconds measured by bench/suite.py: a photo's Mpx of keypoints, a pair of photos, a Mpx of depth map, the same
# fused, and meshed (on one thread mostly), a Mpx of view textured, and of view that refines the mesh.
COST = {"keypoints": 0.2, "pair": 0.09, "depth": 6.0, "cloud": 1.3, "surface": 1.4, "texture": 0.4, "refine": 1.1}
# And a photo that a network looks at and whose depth map is completed by it.
COST["prior"] = 1.3
# Seconds that every build takes besides, and by how much threads get in each other's way.
FIXED_SECONDS, CROWDING = 6.0, 1.08
# Seconds of the work of `measure_slowness` on the machine that COST was measured on.
USUAL_SPEED = 0.0138


def predict(found: Gathered, settings: BuildSettings, num_threads: int, slowness: float = 1.0) -> Plan:
    """Time and memory from the number and size of the photos. slowness: how much longer this machine takes than the
    one that was measured (`measure_slowness`)."""
    sizes = [(p.width, p.height) for p in found.photos]
    depth_size = depth_config(settings).max_size
    view_size = TEXTURE_PRESETS[settings.quality][0]
    mpx = sum(w * h for w, h in sizes) / 1e6
    depth_mpx = sum(_mpx_within(w, h, depth_size) for w, h in sizes)
    view_mpx = sum(_mpx_within(w, h, view_size) for w, h in sizes)
    n = len(sizes)
    pairs = n * (n - 1) / 2 if n <= 60 else 30 * n
    shared = (
        COST["keypoints"] * mpx * (1.0 if searches_fine(found, settings) else 0.4)
        + COST["pair"] * pairs
        + (COST["depth"] + COST["cloud"]) * depth_mpx
        + (COST["prior"] * n if settings.prior == "depth" else 0.0)
        + (COST["texture"] + (COST["refine"] if settings.quality == "high" else 0.0)) * view_mpx
    )
    alone = COST["surface"] * depth_mpx
    largest = max((w * h / 1e6 for w, h in sizes), default=0.0)
    largest_depth = max((_mpx_within(w, h, depth_size) for w, h in sizes), default=0.0)
    memory = 500 + max(60 * largest * num_threads, 300 * largest_depth + 55 * depth_mpx)
    seconds = slowness * (FIXED_SECONDS + CROWDING * shared / num_threads + alone)
    return Plan(n, mpx / max(n, 1), settings.quality, num_threads, seconds, memory, settings)


def _mpx_within(width: int, height: int, max_size: int) -> float:
    scale = min(1.0, max_size / max(width, height))
    return width * height * scale * scale / 1e6


# What a time budget chooses from, best first: quality and longer side of the depth maps, px (None: the quality's own).
STEPS: tuple[tuple[str, int | None], ...] = (
    ("high", None), ("high", 3200), ("high", 2400), ("normal", None), ("normal", 1200), ("draft", None), ("draft", 600),
)  # fmt: skip


def fit_budget(
    found: Gathered, settings: BuildSettings, num_threads: int, seconds: float, slowness: float
) -> BuildSettings:
    """The best settings that are expected to fit into so many seconds; the quickest where none does."""
    chosen = settings
    for quality, depth_size in STEPS:
        chosen = replace(settings, quality=quality, depth_size=depth_size)
        if predict(found, chosen, num_threads, slowness).seconds <= seconds:
            break
    return chosen


def measure_slowness() -> float:
    """How much longer this machine takes for a little fixed work than the one that COST was measured on."""
    y, x = np.mgrid[0:240, 0:320]
    waves = np.sin(x / 3.1) * np.cos(y / 2.3) + np.sin((x + 2 * y) / 7.7) + ((x * 7919 + y * 104729) % 97) / 97
    grey = (110 + 35 * waves).astype(np.uint8)
    pixels = np.ascontiguousarray(np.repeat(grey[..., None], 3, 2))
    seconds = []
    for _ in range(8):
        started = time.perf_counter()
        kernels.sift(
            pixels, np.zeros((0, 0), np.uint8), max_features=2000, upsample=True, min_contrast=0.01, max_edge_ratio=10.0
        )
        seconds.append(time.perf_counter() - started)
    return float(np.clip(min(seconds) / USUAL_SPEED, 0.1, 20.0))


def check_plan(plan: Plan, run: Run, house: Path | str) -> None:
    """Raises InputError for a single photo and ResourceError when the memory limit is too low."""
    if plan.num_photos < 2:
        raise InputError(
            "a 3D model needs at least two photos",
            f"{plan.num_photos} usable photo was found",
            "take 20 or more photos around the object, each overlapping the one before by two thirds",
        )
    if plan.memory_mb > run.memory_mb:
        easier = {"high": "--quality normal", "normal": "--quality draft"}.get(plan.quality, "fewer photos at a time")
        raise ResourceError(
            f"the memory is too short: about {plan.memory_mb / 1024:.1f} GiB are needed",
            f"the limit is {run.memory_mb / 1024:.1f} GiB",
            f"use {easier} (needs less than half), or raise --memory; what is in {house} is kept",
        )
