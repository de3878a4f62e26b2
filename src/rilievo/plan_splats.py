"""What a training of splats shall do: settings, presets, and how many steps fit into a time."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from rilievo.stages import splat_density
from rilievo.stages.splat_photos import PhotoStack
from rilievo.stages.splat_rows import SCALE
from rilievo.stages.splats import SplatsConfig, train
from rilievo.types import SplatState


@dataclass(frozen=True)
class SplatSettings:
    """What may change the splats of `photos_to_splats`; None: by quality, or as the photos are.

    size: longer side of the photos, px.  background: colour 0..1 behind everything (None: white behind photos with
    transparency, else black).  hold_out: every so many photos one is kept for judging (0: none).  start: "auto",
    "cloud", "points", "hull" or "random".  engine: "auto", "cpu" or "gsplat".
    """

    quality: str = "normal"
    size: int | None = None
    iterations: int | None = None
    max_splats: int | None = None
    degree: int = 3
    background: tuple[float, float, float] | None = None
    random_background: bool = False
    hold_out: int = 8
    start: str = "auto"
    exposure: bool = False
    robust: bool = False
    depth_weight: float = 0.0
    normal_weight: float = 0.0
    antialiased: bool = True
    engine: str = "auto"
    seed: int = 0


# Longer side of the photos, steps, Gaussians at most.
PRESETS = {"draft": (640, 2000, 80_000), "normal": (1000, 6000, 200_000), "high": (1600, 15_000, 400_000)}
CAPS = (200_000, 150_000, 100_000, 70_000, 50_000, 30_000)  # what a time budget chooses from
FEWEST = 1800  # steps below which fewer Gaussians are the better use of the time


def splats_config(settings: SplatSettings, background: tuple[float, float, float]) -> SplatsConfig:
    """The settings of the stage."""
    _, iterations, cap = PRESETS[settings.quality]
    return SplatsConfig(
        iterations=settings.iterations or iterations,
        max_splats=settings.max_splats or cap,
        degree=settings.degree,
        background=background,
        random_background=settings.random_background,
        exposure=settings.exposure,
        robust=settings.robust,
        depth_weight=settings.depth_weight,
        normal_weight=settings.normal_weight,
        antialiased=settings.antialiased,
        seed=settings.seed,
    )


def fit_time(
    start: SplatState, stack: PhotoStack, config: SplatsConfig, seconds: float, *, fixed_cap: bool
) -> SplatsConfig:
    """The same settings with the number of steps (and, unless it is fixed, of Gaussians) that is expected to take so
    long, found by taking a few steps at each size with few and with many Gaussians. A run with these numbers repeats
    the result whatever the time it takes."""
    caps = (
        (config.max_splats,) if fixed_cap else tuple(c for c in CAPS if c <= config.max_splats) or (config.max_splats,)
    )
    few = _step_seconds(start, stack, config)
    most = max(caps)
    many = _step_seconds(_grown(start, most), stack, config)
    chosen = replace(config, iterations=1)
    for cap in caps:
        slope = [max(m - f, 0.0) / max(most - len(start.rows), 1) for f, m in zip(few, many)]
        at = np.linspace(0, 1, 200, endpoint=False)
        number = len(start.rows) + np.minimum(at / config.grow_until, 1) ** 0.8 * (cap - len(start.rows))
        trial = replace(config, iterations=1000)
        levels = [trial.level(int(1000 * a)) for a in at]
        mean = np.mean([few[k] + slope[k] * max(n - len(start.rows), 0) for k, n in zip(levels, number)])
        iterations = int(seconds / max(float(mean), 1e-6))
        chosen = replace(config, iterations=max(iterations // 50 * 50, 100), max_splats=cap)
        if chosen.iterations >= FEWEST:
            break
    return chosen


def _grown(state: SplatState, number: int) -> SplatState:
    """So many Gaussians for a trial: the start's, split again and again, so small that they cover as much."""
    rows = np.array(state.rows)
    while len(rows) < number:
        chosen = np.arange(min(len(rows), number - len(rows)))
        rows, other = splat_density.split(rows, chosen)
        rows = np.concatenate([rows, other])
    first = np.resize(state.rows[:, SCALE], (len(rows), 3)).mean(dtype=np.float64)
    rows[:, SCALE] += np.float32(
        first - 0.5 * np.log(len(rows) / len(state.rows)) - rows[:, SCALE].mean(dtype=np.float64)
    )
    blank = np.zeros_like(rows)
    return replace(state, rows=rows, first=blank, second=blank, score=np.zeros((len(rows), 4), np.float32))


def _step_seconds(state: SplatState, stack: PhotoStack, config: SplatsConfig) -> list[float]:
    """Seconds of a step at each size, full size first: the median of a few."""
    found = []
    for level in range(config.levels + 1):
        fixed = replace(config, levels=level, full_from=1e9 if level else 0.0, iterations=10**9, grow_every=10**9)
        times: list[float] = []
        last = [time.perf_counter()]

        def watch(iteration: int, rows: np.ndarray, times: list[float] = times, last: list[float] = last) -> bool:
            now = time.perf_counter()
            times.append(now - last[0])
            last[0] = now
            return len(times) < 7

        train(replace(state, iteration=5 * 10**8), stack, 5 * 10**8 + 7, watch=watch, config=fixed)
        found.append(float(np.median(times[2:])))
    return found
