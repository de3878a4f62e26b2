"""What a training of a radiance field shall do: settings, presets, and how many steps fit into a time."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace

from rilievo.stages.field import FieldConfig, Trainer
from rilievo.stages.field_scene import PhotoSet
from rilievo.types import FieldState


@dataclass(frozen=True)
class FieldSettings:
    """What may change the field of `photos_to_field`; None: by quality, or as the photos are.

    size: longer side of the photos, px.  background: colour 0..1 behind everything (None: white behind photos with
    transparency, else that of the sky, else black).  hold_out: every so many photos one is kept for judging (0: none).
    mesh: make a mesh too.
    """

    quality: str = "normal"
    size: int | None = None
    iterations: int | None = None
    background: tuple[float, float, float] | None = None
    hold_out: int = 8
    mesh: bool = False
    seed: int = 0


# Longer side of the photos, steps, width of the networks, logarithm of the rows a level of the table may have.
PRESETS = {"draft": (640, 2500, 32, 16), "normal": (1000, 10_000, 32, 17), "high": (1600, 40_000, 64, 19)}
WARM_UP, TRIAL = 90, 30  # steps that settle the number of rays, and steps that are timed
SETTLED = 0.93  # later steps take this share of a timed one: empty space is known by then


def field_config(settings: FieldSettings, background: tuple[float, float, float], *, unbounded: bool) -> FieldConfig:
    """The settings of the stage. Rays through an unbounded scene have more samples, and little that says where along
    them the colour comes from."""
    _, iterations, width, bits = PRESETS[settings.quality]
    return FieldConfig(
        iterations=settings.iterations or iterations,
        samples=1 << 17 if unbounded else 1 << 15,
        distortion=0.005 if unbounded else 0.0,
        density_width=width,
        color_width=width,
        table_bits=bits,
        background=background,
        seed=settings.seed,
    )


def fit_time(start: FieldState, photos: PhotoSet, config: FieldConfig, seconds: float) -> FieldConfig:
    """The same settings with the number of steps that is expected to take so long, found by taking some. A run with
    this number repeats the result whatever the time it takes."""
    begun = time.perf_counter()
    trainer = Trainer(start, photos, replace(config, iterations=10**6))
    times = []
    while len(times) < WARM_UP + TRIAL and time.perf_counter() - begun < 0.15 * seconds + 1:
        now = time.perf_counter()
        trainer.step()
        times.append(time.perf_counter() - now)
    timed = times[-TRIAL:] if len(times) > TRIAL else times[len(times) // 2 :]
    left = seconds - (time.perf_counter() - begun)
    step = SETTLED * statistics.fmean(timed)
    return replace(config, iterations=max(100, int(left / step) // 50 * 50))
