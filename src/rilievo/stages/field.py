"""Training a radiance field from placed photos, in segments (Mueller et al. 2022; see native/field.h)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rilievo import kernels
from rilievo.errors import InputError
from rilievo.stages.field_scene import (
    MIN_WEIGHT,
    SPREAD,
    PhotoSet,
    Region,
    expand,
    find_region,
    open_cells,
    pack_photos,
    sample_edges,
)
from rilievo.types import Field, FieldState, View

ROW = 4  # features a level
OUT, COLOR_IN = 16, 32
BETA1, BETA2, EPSILON = 0.9, 0.99, 1e-15
MAX_RAYS = 1 << 17
START_DENSITY = 0.06  # per radius, in an unbounded scene
WARM_UP = 256  # steps in an unbounded scene before cells may be empty, at most an eighth of all
LOOKS = 1 << 17  # cells that are looked at in one go


@dataclass(frozen=True)
class FieldConfig:
    """How a radiance field is trained."""

    version: ClassVar[int] = 2
    iterations: int = 6000
    """steps of training"""
    samples: int = 1 << 15
    """samples along rays that a step looks at, about"""
    levels: int = 8
    """levels of the hash encoding: 4, 8, 12 or 16"""
    table_bits: int = 17
    """logarithm of the rows a level may have"""
    coarsest: int = 16
    """cells across of the coarsest level"""
    finest: int = 0
    """cells across of the finest level (0: what a pixel spans)"""
    density_width: int = 32
    """width of the density network, a multiple of 16"""
    color_width: int = 32
    """width of the colour network, a multiple of 16"""
    steps: int = 512
    """places along the scene's diagonal where a ray may be sampled"""
    grid: int = 128
    """cells across of the grid that says where the field is empty, a multiple of 8"""
    rate: float = 1e-2
    """learning rate"""
    last_rate: float = 0.1
    """learning rate at the end, as a share of `rate`"""
    huber: float = 0.1
    """colour errors beyond this count linearly (0: squares everywhere)"""
    distortion: float = 0.0
    """weight of a loss that draws a ray's density together (Barron et al. 2022, eq. 15)"""
    opacity: float = 0.0
    """weight of a loss that makes rays opaque or empty"""
    coarse_until: float = 0.3
    """share of the steps that look at rays in coarser steps: four times for the first half of them, then twice"""
    update_every: int = 16
    """steps between looks at which cells are empty"""
    background: tuple[float, float, float] | None = None
    """colour 0..1 behind the scene (default: white; photos with transparency are trained before random colours)"""
    seed: int = 0
    """seed of everything random"""


def start_field(
    views: Sequence[View],
    *,
    points: np.ndarray | None = None,
    seen: Sequence[np.ndarray] | None = None,
    config: FieldConfig,
) -> FieldState:
    """An untrained field for these photos. points: float64 (p, 3), sparse points of the scene, where known.  seen: for
    each photo the points (n, 3) that it sees; in front of them the field is empty."""
    if len(views) < 2:
        raise InputError(
            f"a radiance field needs several photos, not {len(views)}",
            "depth is learned from how things move between photos",
            "give at least two photos that see the same things",
        )
    check_config(config)
    region = find_region(views, points)
    cells = open_cells(views, region, config.grid, seen=seen)
    if not cells.any():
        raise InputError(
            "no part of space is seen by two photos", "the photos do not overlap", "check the cameras of the photos"
        )
    levels = _levels(views, region, config)
    rng = np.random.default_rng([config.seed, 0xF1E1D])
    table = rng.uniform(-1e-4, 1e-4, (int(levels[-1, 1] + levels[-1, 2]), ROW)).astype(np.float32)
    weights = _first_weights(rng, config)
    if region.unbounded:
        _thin_out(table[: int(levels[0, 2])], weights, config)
    field = Field(
        table=table,
        levels=levels,
        weights=weights,
        density_width=config.density_width,
        color_width=config.color_width,
        occupancy=np.packbits(cells, axis=-1, bitorder="little"),
        edges=sample_edges(region, views, config.steps),
        center=region.center,
        radius=region.radius,
        unbounded=region.unbounded,
        background=config.background or (1.0, 1.0, 1.0),
    )
    nothing = np.zeros_like
    return FieldState(
        field=field,
        table_mean=nothing(table),
        table_square=nothing(table),
        weight_mean=nothing(weights),
        weight_square=nothing(weights),
        density=np.where(cells, np.float32(1.0), np.float32(-1.0)),
        iteration=0,
        num_rays=512,
        num_samples=0,
    )


def check_config(config: FieldConfig) -> None:
    """Raises InputError where a setting is out of its range."""
    c = config
    for name, good, wanted in (
        ("iterations", c.iterations >= 0, "0 or more"),
        ("samples", c.samples >= 64, "at least 64"),
        ("levels", c.levels in (4, 8, 12, 16), "4, 8, 12 or 16"),
        ("table_bits", 4 <= c.table_bits <= 24, "4 to 24"),
        ("coarsest", 1 <= c.coarsest <= 1024, "1 to 1024"),
        ("finest", c.finest == 0 or c.coarsest <= c.finest <= 1 << 20, "0, or `coarsest` to 2^20"),
        ("density_width", 16 <= c.density_width <= 256 and c.density_width % 16 == 0, "a multiple of 16, 16 to 256"),
        ("color_width", 16 <= c.color_width <= 256 and c.color_width % 16 == 0, "a multiple of 16, 16 to 256"),
        ("steps", 8 <= c.steps <= 1 << 16, "8 to 2^16"),
        ("grid", 8 <= c.grid <= 512 and c.grid % 8 == 0, "a multiple of 8, 8 to 512"),
        ("rate", 0 < c.rate < math.inf, "above 0"),
        ("last_rate", 0 < c.last_rate <= 1, "above 0, at most 1"),
        ("huber", 0 <= c.huber < math.inf, "0 or more"),
        ("distortion", 0 <= c.distortion < math.inf, "0 or more"),
        ("opacity", 0 <= c.opacity < math.inf, "0 or more"),
        ("coarse_until", 0 <= c.coarse_until <= 1, "0 to 1"),
        ("update_every", c.update_every >= 1, "at least 1"),
        ("background", c.background is None or _is_color(c.background), "three numbers, 0 to 1"),
        ("seed", c.seed >= 0, "0 or more"),
    ):
        if not good:
            raise InputError(
                f"the setting {name} is {getattr(c, name)}",
                f"it must be {wanted}",
                f"give {name} a value in that range",
            )


def _is_color(color: Sequence[float]) -> bool:
    return len(color) == 3 and all(0 <= x <= 1 for x in color)


def _levels(views: Sequence[View], region: Region, config: FieldConfig) -> np.ndarray:
    """Rows of Field.levels: resolutions in geometric progression (Mueller et al. 2022, eq. 2 and 3)."""
    finest = config.finest
    if not finest:
        centers = np.stack([-v.cam_from_world[:, :3].T @ v.cam_from_world[:, 3] for v in views])
        away = np.linalg.norm(centers - region.center, axis=1)
        pixel = np.median(away / np.array([v.camera.fx for v in views]))
        finest = int(np.clip((4 if region.unbounded else 2) * region.radius / pixel, 4 * config.coarsest, 1 << 13))
    growth = (finest / config.coarsest) ** (1 / (config.levels - 1))
    rows, first = [], 0
    for k in range(config.levels):
        resolution = round(config.coarsest * growth**k)
        corners = (resolution + 1) ** 3
        hashed = corners > 1 << config.table_bits
        count = 1 << config.table_bits if hashed else corners
        rows.append((resolution, first, count, int(hashed)))
        first += count
    return np.array(rows, np.int32)


def _first_weights(rng: np.random.Generator, config: FieldConfig) -> np.ndarray:
    inputs, d, c = ROW * config.levels, config.density_width, config.color_width
    matrices = []
    for n, m in ((inputs, d), (d, OUT), (COLOR_IN, c), (c, c), (c, OUT)):
        bound = math.sqrt(6 / n) if m != OUT else math.sqrt(3 / n)
        matrices.append(rng.uniform(-bound, bound, (n, m)))
    matrices[-1][:, 3:] = 0  # only red, green and blue are read
    return np.concatenate([w.ravel() for w in matrices]).astype(np.float32)


def _thin_out(coarsest: np.ndarray, weights: np.ndarray, config: FieldConfig) -> None:
    """Lets the density begin at START_DENSITY everywhere, by a feature that is 1, a hidden unit that copies it, and
    what that adds to the logarithm of density: a ray of many radii must not begin in fog, which photos of few sides
    would never clear."""
    d = config.density_width
    coarsest[:, 0] = 1
    first = weights[: ROW * config.levels * d].reshape(-1, d)
    first[:, 0] = 0
    first[0] = 0
    first[0, 0] = 1
    weights[ROW * config.levels * d] = math.log(START_DENSITY)


class Trainer:
    """A state's arrays while they change.

    loss: of the last step.  kept: samples that took part in colour and gradient, so far.
    """

    def __init__(self, state: FieldState, photos: PhotoSet, config: FieldConfig) -> None:
        self.state, self.photos, self.config = state, photos, config
        f = state.field
        self.table, self.weights = f.table.copy(), f.weights.copy()
        self.moments = [
            a.copy() for a in (state.table_mean, state.table_square, state.weight_mean, state.weight_square)
        ]
        self.density, self.occupancy = state.density.copy(), f.occupancy.copy()
        self.iteration, self.num_rays, self.num_samples = state.iteration, state.num_rays, state.num_samples
        self.table_gradients = np.zeros_like(self.table)
        self.weight_gradients = np.zeros_like(self.weights)
        self.open = np.flatnonzero(self.density.ravel() >= 0)
        self.spacing = _spacing(f, self.open)
        self.loss = float("nan")
        self.kept = 0

    def step(self) -> None:
        """One step: rays, gradients, optimiser, and the number of rays for the next."""
        c, f, p = self.config, self.state.field, self.photos
        if self.iteration % c.update_every == 0:
            self.update_occupancy()
        origins, directions, jitter, targets, backgrounds, weights, _ = kernels.field_rays(
            p.pixels, p.usable, p.sizes, p.cameras, c.seed & 0xFFFFFFFF, self.iteration, self.num_rays,
            p.has_alpha, np.array(f.background, np.float32),
        )  # fmt: skip
        edges = np.ascontiguousarray(f.edges[:: edge_step(self.iteration, c)])
        losses, marched, kept = kernels.field_gradients(
            f.levels, f.density_width, f.color_width, self.table, self.weights, self.occupancy, f.unbounded, edges,
            origins, directions, jitter, targets, backgrounds, weights, 1.0 / self.num_rays, c.huber, c.distortion,
            c.opacity, MIN_WEIGHT, self.table_gradients, self.weight_gradients,
        )  # fmt: skip
        self.loss = float(losses.sum(dtype=np.float64))
        if not np.isfinite(self.loss):
            raise InputError(
                f"training broke down in step {self.iteration}",
                "the loss is no longer a number",
                "use a smaller learning rate, or look whether the cameras are right",
            )
        rate = learning_rate(self.iteration, c)
        kernels.field_adam(
            self.table.reshape(-1), self.table_gradients.reshape(-1), self.moments[0].reshape(-1),
            self.moments[1].reshape(-1), rate, BETA1, BETA2, EPSILON,
        )  # fmt: skip
        kernels.field_adam(
            self.weights, self.weight_gradients, self.moments[2], self.moments[3], rate, BETA1, BETA2, EPSILON
        )
        wanted = self.num_rays * c.samples // max(marched, 1)
        wanted = min(max(wanted, self.num_rays // 2, 64), 2 * self.num_rays, MAX_RAYS)
        self.num_rays = (self.num_rays + wanted + 1) // 2  # up: rounded down it would stay below what is wanted
        self.num_samples += marched
        self.kept += kept
        self.iteration += 1

    def update_occupancy(self) -> None:
        """Looks at a part of the cells again: a cell keeps the larger of what it had, less a twentieth, and what it has
        at a place drawn in it (Mueller et al. 2022, appendix E.2)."""
        f, grid = self.state.field, self.config.grid
        warm_up = min(WARM_UP, self.config.iterations // 8) if f.unbounded else 0
        if self.iteration < warm_up:
            return  # nothing is known yet of far the most cells
        begins = f.unbounded and self.iteration < warm_up + self.config.update_every
        count = len(self.open) if begins else min(len(self.open), LOOKS)
        rng = np.random.default_rng([self.config.seed, 0x0CC, self.iteration])
        begin = (self.iteration // self.config.update_every * count) % len(self.open)
        which = (begin + np.arange(count)) % len(self.open)
        cells = self.open[which]
        corner = np.stack([cells % grid, cells // grid % grid, cells // grid**2], -1)
        u = ((corner + rng.random((count, 3))) / grid).astype(np.float32)
        now = kernels.field_density(f.levels, f.density_width, f.color_width, self.table, self.weights, u)
        flat = self.density.reshape(-1)
        fade = np.float32(0.95 ** (len(self.open) / count))  # seldom seen cells forget as much
        flat[cells] = now if begins else np.maximum(fade * flat[cells], now)
        known = flat[self.open]
        thick = known * self.spacing
        limit = min(0.01, float(thick.mean(dtype=np.float64)))
        full = np.zeros(grid**3, bool)
        full[self.open] = thick >= np.float32(limit)
        self.occupancy = np.packbits(full.reshape(grid, grid, grid), axis=-1, bitorder="little")

    def result(self) -> FieldState:
        """The state now; the trainer must not go on after it."""
        return FieldState(
            field=replace(self.state.field, table=self.table, weights=self.weights, occupancy=self.occupancy),
            table_mean=self.moments[0],
            table_square=self.moments[1],
            weight_mean=self.moments[2],
            weight_square=self.moments[3],
            density=self.density,
            iteration=self.iteration,
            num_rays=self.num_rays,
            num_samples=self.num_samples,
        )


def _spacing(field: Field, cells: np.ndarray) -> np.ndarray:
    """Distance between samples at each cell, in radii, about."""
    grid = field.occupancy.shape[0]
    step = np.float32(field.edges[1] - field.edges[0])
    if not field.unbounded:
        return np.full(len(cells), step, np.float32)
    u = (np.stack([cells % grid, cells // grid % grid, cells // grid**2], -1) + 0.5) / grid
    r = np.linalg.norm(expand(u, True), axis=1)
    return np.maximum(step, SPREAD * r).astype(np.float32)


def learning_rate(iteration: int, config: FieldConfig) -> float:
    """Rises over the first steps, then falls geometrically to its last value."""
    rise = min(1.0, (iteration + 1) / 50)
    share = iteration / max(config.iterations, 1)
    return config.rate * rise * config.last_rate ** max(0.0, share)


def edge_step(iteration: int, config: FieldConfig) -> int:
    """How many of the field's sampling steps are taken as one."""
    share = iteration / max(config.iterations * config.coarse_until, 1e-9)
    return 4 if share < 0.5 else 2 if share < 1 else 1


def train_segment(
    state: FieldState,
    views: Sequence[View] | PhotoSet,
    until_iteration: int,
    *,
    config: FieldConfig,
    watch: Callable[[Trainer], bool] | None = None,
) -> FieldState:
    """The state after `until_iteration` steps, those it has included; cut anywhere, the end has the same bytes.

    views: the photos of `start_field`, or what `pack_photos` made of them.  watch: called after each step; False ends
    the segment there. Raises InputError without photos, for a setting out of its range, and when the loss is no longer
    a number.
    """
    check_config(config)
    if not isinstance(views, PhotoSet) and not views:
        raise InputError(
            "there is no photo to train on", "the list of photos is empty", "give the photos that start_field got"
        )
    photos = views if isinstance(views, PhotoSet) else pack_photos(views, region_of(state.field))
    trainer = Trainer(state, photos, config)
    while trainer.iteration < until_iteration:
        trainer.step()
        if watch is not None and not watch(trainer):
            break
    return trainer.result()


def region_of(field: Field) -> Region:
    """The place of a field's scene."""
    return Region(field.center, field.radius, field.unbounded)


def finish(state: FieldState) -> Field:
    """The trained field."""
    return state.field
