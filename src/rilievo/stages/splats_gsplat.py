"""Training splats on a CUDA device: the steps of `stages.splats`, drawn by gsplat (Ye et al. 2025, Apache-2.0).

gsplat and torch are never needed for anything else, and are imported only here, when they are asked for. States and
splats are the same as those of the CPU: a run may go on with the other engine. Everything in SplatsConfig counts. What
differs: sums on a GPU are taken in any order, so two runs agree closely but not to the byte; and gsplat is built with
approximate exponentials.
"""

from __future__ import annotations

import importlib.util
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rilievo.errors import MissingError, ResourceError
from rilievo.stages import splat_torch, splats
from rilievo.stages.splat_photos import PhotoStack
from rilievo.stages.splat_rows import FILTER, HARMONICS, LOGIT, MEAN, QUAT, SCALE
from rilievo.stages.splat_torch import TorchPhoto
from rilievo.stages.splats import SplatsConfig
from rilievo.types import DepthMap, SplatState

PIXEL_VARIANCE = 0.3  # of the filter on the image plane, px^2, as our kernels have it
SHOW_EVERY = 100  # steps after which a watcher's rows are fetched from the device anew
HINT = 'pip install "rilievo[cuda]" on a machine with an NVIDIA GPU and the CUDA toolkit (nvcc), or use --engine cpu'


def available() -> str | None:
    """None where gsplat can run; else the reason why not, in words. The first time gsplat compiles its kernels, which
    takes some minutes."""
    for package in ("gsplat", "torch"):  # torch is slow to import: not where it is of no use
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
    try:
        import torch
    except Exception as error:
        return f"torch does not start ({_first_line(error)})"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    try:
        from gsplat.cuda._backend import _C
    except Exception as error:  # the compiler's own complaints, a package that it needs, ...
        return f"gsplat does not start ({_first_line(error)})"
    if _C is None:
        return "gsplat finds no CUDA toolkit (nvcc) to compile its kernels with"
    return None


def choose_engine(wanted: str) -> str:
    """ "cpu" or "gsplat" for "auto", "cpu" or "gsplat". Raises MissingError when gsplat is wanted and cannot run."""
    if wanted not in ("auto", "cpu", "gsplat"):
        raise ValueError(f"engine must be auto, cpu or gsplat, not {wanted!r}")
    if wanted == "cpu":
        return "cpu"
    reason = available()
    if reason is None:
        return "gsplat"
    if wanted == "gsplat":
        raise MissingError("the engine gsplat cannot run here", reason, HINT)
    return "cpu"


def train_gsplat(
    state: SplatState,
    stack: PhotoStack,
    until: int,
    *,
    depths: Callable[[str, int], DepthMap | None] | None = None,
    watch: Callable[[int, np.ndarray], bool] | None = None,
    config: SplatsConfig,
) -> SplatState:
    """What `splats.train` does, on the current CUDA device: same state, settings, order of photos, loss, growth.

    depths: as there.  watch: told the iteration after each step, and the rows as they were at most SHOW_EVERY steps
    before; training ends there when it says False. Not to the byte the same from run to run.
    Raises MissingError where gsplat cannot run, ResourceError when the device's memory does not suffice.
    """
    if (reason := available()) is not None:
        raise MissingError("the engine gsplat cannot run here", reason, HINT)
    import torch

    try:
        return _train(state, stack, until, depths, watch, config)
    except torch.cuda.OutOfMemoryError as error:
        raise ResourceError(
            "the memory of the graphics card does not suffice to train these splats",
            _first_line(error),
            "take smaller photos or fewer splats, or use --engine cpu",
        ) from error


def draw(
    rows: Any,
    photo: TorchPhoto,
    background: Any,
    *,
    near: float,
    degree: int,
    channels: int = 3,
    antialiased: bool = True,
) -> tuple[Any, Any, dict[str, Any]]:
    """What `kernels.splat_forward` draws, by gsplat: features (channels, h, w), transmittance (h, w), and gsplat's own
    account of it. rows (n, 64): a tensor, or a dict of parts as `parts_of` makes it (then autograd follows them).
    channels: 3 colours, 4 with depth, 7 with normals. background (3,)."""
    import gsplat
    import torch

    part = rows if isinstance(rows, dict) else parts_of(rows)
    raw = torch.exp(2 * part["scale"].clamp(-80, 80))
    variance = raw + part["filter"]
    kept = raw / variance
    opacity = torch.sigmoid(part["logit"]) * torch.sqrt(kept[:, 0] * kept[:, 1] * kept[:, 2])
    look = part["mean"] - photo.center
    features = (gsplat.spherical_harmonics(degree, look, part["sh"]) + 0.5).clamp_min(0)
    if channels == 7:
        features = torch.cat([features, _normals(part["quat"], raw, look, photo.viewmat)], 1)
    behind = torch.cat([background, background.new_zeros(features.shape[1] - 3)])
    drawn, alpha, meta = gsplat.rasterization(
        part["mean"],
        part["quat"],
        torch.sqrt(variance),
        opacity,
        features,
        photo.viewmat[None],
        photo.K[None],
        photo.width,
        photo.height,
        near_plane=near,
        eps2d=PIXEL_VARIANCE,
        packed=False,
        backgrounds=behind[None],
        render_mode="RGB" if channels == 3 else "RGB+D",
        rasterize_mode="antialiased" if antialiased else "classic",
    )
    drawn = drawn[0].permute(2, 0, 1)
    if channels == 7:  # gsplat puts the depth last
        drawn = drawn[[0, 1, 2, 6, 3, 4, 5]]
    return drawn, 1 - alpha[0, ..., 0], meta


def parts_of(rows: Any) -> dict[str, Any]:
    """Copies of what is trained of rows (n, 64), and the 3D filter."""
    return {
        "mean": rows[:, MEAN].contiguous(),
        "logit": rows[:, LOGIT].contiguous(),
        "quat": rows[:, QUAT].contiguous(),
        "scale": rows[:, SCALE].contiguous(),
        "sh": rows[:, HARMONICS:].reshape(len(rows), 16, 3).contiguous(),
        "filter": rows[:, FILTER : FILTER + 1].contiguous(),
    }


TRAINED = ("mean", "logit", "quat", "scale", "sh")
COLUMNS = {"mean": MEAN, "logit": slice(LOGIT, LOGIT + 1), "quat": QUAT, "scale": SCALE, "sh": slice(HARMONICS, 64)}


def _normals(quat: Any, raw: Any, look: Any, viewmat: Any) -> Any:
    """The axis of least extent, turned to the camera, in its frame (n, 3)."""
    import torch

    w, x, y, z = torch.nn.functional.normalize(quat, dim=1).unbind(1)
    columns = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], 1),
            torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], 1),
            torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], 1),
        ],
        1,
    )
    axis = raw.detach().argmin(1)
    normal = columns[torch.arange(len(axis), device=axis.device), axis]
    away = (normal * look).sum(1, keepdim=True).detach() > 0
    return torch.where(away, -normal, normal) @ viewmat[:3, :3].T


@dataclass
class _Device:
    """What lies on the GPU while it trains."""

    rows: Any
    first: Any
    second: Any
    score: Any
    bias: Any
    max_bytes: float
    photos: OrderedDict[tuple[str, int], TorchPhoto] = field(default_factory=OrderedDict)
    held: int = 0
    filtering: list[TorchPhoto] | None = None

    def photo(self, stack: PhotoStack, name: str, level: int) -> TorchPhoto:
        """A photo, kept there as long as there is room."""
        key = (name, level)
        if key not in self.photos:
            made = splat_torch.photo_to(self.rows.device, stack.get(name, level))
            self.photos[key] = made
            self.held += made.num_bytes
            while self.held > self.max_bytes and len(self.photos) > 1:
                self.held -= self.photos.popitem(last=False)[1].num_bytes
        self.photos.move_to_end(key)
        return self.photos[key]


def _room() -> tuple[Any, float]:
    """The device, and how many bytes of photos it may hold."""
    import torch

    return torch.device("cuda"), 0.4 * torch.cuda.mem_get_info()[0]


def _train(
    state: SplatState,
    stack: PhotoStack,
    until: int,
    depths: Callable[[str, int], DepthMap | None] | None,
    watch: Callable[[int, np.ndarray], bool] | None,
    config: SplatsConfig,
) -> SplatState:
    import torch

    device, max_bytes = _room()
    put = lambda a: torch.as_tensor(np.array(a), device=device)  # noqa: E731
    steps = np.arange(1, splats.NUM_BIAS + 1)
    bias = np.stack([1 / (1 - beta**steps) for beta in splats.BETAS]).astype(np.float32)
    on = _Device(
        *(put(a) for a in (state.rows, state.first, state.second, state.score, bias)),
        max_bytes=max_bytes,
    )
    exposure, shown, reached = np.array(state.exposure), state.rows, state.iteration
    order, epoch = np.zeros(0, int), -1
    for iteration in range(state.iteration, min(until, config.iterations)):
        if config.filter_3d > 0 and iteration % (2 * config.grow_every) == 0:
            _set_filter(on, stack, config)
        if iteration // len(stack.names) != epoch:
            epoch = iteration // len(stack.names)
            order = np.random.default_rng([config.seed, 7, epoch]).permutation(len(stack.names))
        number = int(order[iteration % len(stack.names)])
        _step(on, stack, number, iteration, state.extent, exposure, depths, config)
        reached = iteration + 1
        if reached % config.grow_every == 0 and reached < config.iterations:
            shown = _grow(on, reached, exposure, config, shown)
        if watch is not None:
            if reached % SHOW_EVERY == 0:
                shown = on.rows.cpu().numpy()
            if not watch(reached, shown):
                break
    back = lambda a: np.ascontiguousarray(a.cpu().numpy())  # noqa: E731
    return replace(
        state,
        iteration=reached,
        rows=back(on.rows),
        first=back(on.first),
        second=back(on.second),
        score=back(on.score),
        exposure=exposure,
    )


def _step(
    on: _Device,
    stack: PhotoStack,
    number: int,
    iteration: int,
    extent: float,
    exposure: np.ndarray,
    depths: Callable[[str, int], DepthMap | None] | None,
    config: SplatsConfig,
) -> None:
    import torch

    if not len(on.rows):
        return
    level, name, degree = config.level(iteration), stack.names[number], config.degree_at(iteration)
    photo = on.photo(stack, name, level)
    put = lambda a: torch.as_tensor(np.asarray(a, np.float32), device=on.rows.device)  # noqa: E731
    background = np.array(config.background, np.float32)
    if config.random_background and photo.alpha is not None:
        background = np.random.default_rng([config.seed, 8, iteration]).uniform(size=3).astype(np.float32)
    background = put(background)
    known = depths(name, level) if depths and (config.depth_weight or config.normal_weight) else None
    channels = 3 if known is None else 7 if config.normal_weight else 4
    parts = parts_of(on.rows)
    wanted = [parts[p].requires_grad_() for p in TRAINED]
    features, light, meta = draw(
        parts,
        photo,
        background,
        near=splats.NEAR * extent,
        degree=degree,
        channels=channels,
        antialiased=config.antialiased,
    )
    gain, offset = put(exposure[number, :3]), put(exposure[number, 3:6])
    if not config.exposure:
        gain, offset = torch.ones_like(gain), torch.zeros_like(offset)
    weights = None
    if config.robust and iteration > 0.1 * config.iterations:
        with torch.no_grad():
            _, errors = splat_torch.photo_loss(features[:3], photo, background, gain, offset, None, 0.0)
        weights = put(splats.trusted(errors.cpu().numpy()))
    if config.exposure:
        wanted += [gain.requires_grad_(), offset.requires_grad_()]
    loss, _ = splat_torch.photo_loss(features[:3], photo, background, gain, offset, weights, config.dssim)
    if known is not None:
        loss = loss + splat_torch.shape_loss(features, light, photo, known, config.depth_weight, config.normal_weight)
    wanted.append(meta["means2d"])
    found = torch.autograd.grad(loss, wanted, allow_unused=True)
    with torch.no_grad():
        gradient = torch.zeros_like(on.rows)
        for part, d in zip(TRAINED, found):
            if d is not None:
                gradient[:, COLUMNS[part]] = d.reshape(len(d), -1)
        radii = meta["radii"][0]
        share = 1.0 / max(len(on.rows), 1)
        stepped = splat_torch.adam(
            on.rows,
            on.first,
            on.second,
            gradient,
            (radii > 0).all(-1),
            put(splats.rates(iteration, extent, config)),
            on.bias,
            degree,
            betas=splats.BETAS,
            epsilon=splats.EPSILON,
            opacity_weight=config.opacity_weight * share,
            scale_weight=config.scale_weight * share / extent,
        )
        on.score[stepped, 0] += found[-1][0].norm(dim=-1)[stepped]
        on.score[stepped, 1] += 1
        on.score[stepped, 2] = torch.maximum(on.score[stepped, 2], radii[stepped].amax(-1).to(torch.float32))
    if config.exposure and iteration > 0.05 * config.iterations:
        slope = torch.cat([found[-3], found[-2]]).cpu().numpy()
        splats.expose(exposure, number, slope.astype(np.float64), iteration)


def _set_filter(on: _Device, stack: PhotoStack, config: SplatsConfig) -> None:
    """As `splats.train` does, of the same photos; only where they are is kept of these."""
    if on.filtering is None:
        count = min(len(stack.names), splats.FILTER_PHOTOS)
        chosen = np.unique(np.linspace(0, len(stack.names) - 1, count).astype(int))
        on.filtering = [
            splat_torch.photo_to(on.rows.device, stack.get(stack.names[k], 0), only_place=True) for k in chosen
        ]
    splat_torch.set_filter(on.rows, on.filtering, config.filter_3d)


def _grow(on: _Device, iteration: int, exposure: np.ndarray, config: SplatsConfig, shown: np.ndarray) -> np.ndarray:
    """The change of `splats.train`, made on the CPU. Returns the rows there."""
    import torch

    last = int(config.grow_until * config.iterations) // config.grow_every * config.grow_every
    if iteration > last and iteration % (5 * config.grow_every):
        return shown
    rows, first, second, score = (a.cpu().numpy() for a in (on.rows, on.first, on.second, on.score))
    work = splats.Work(rows, first, second, score, exposure)
    splats.grow(work, iteration, config)
    on.rows, on.first, on.second, on.score = (
        torch.as_tensor(a, device=on.rows.device) for a in (work.rows, work.first, work.second, work.score)
    )
    return work.rows


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip()[:300] if lines else type(error).__name__
