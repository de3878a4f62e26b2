"""Placed photos to Gaussian splats: start, training in segments that survive a crash, held-out photos, files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.chain import Chain
from rilievo.codec import content_id
from rilievo.errors import InputError
from rilievo.placed import Placed
from rilievo.plan import Run
from rilievo.plan_splats import PRESETS, SplatSettings, fit_time, splats_config
from rilievo.project import Project
from rilievo.splats_live import SplatViewer
from rilievo.splats_quality import judge, mean_psnr, publish_splats
from rilievo.stages import splats as stage
from rilievo.stages.splat_photos import PhotoStack
from rilievo.training_run import Checkpoints, cost_of, open_house, split_photos
from rilievo.types import DepthMap, PointCloud, Splats, SplatState

SEGMENTS, MIN_STEPS = 12, 250  # a crash costs at most a twelfth of the training, or so many steps


@dataclass
class Told:
    """What a run learns on its way. scores: iteration, PSNR of held-out photos, number of Gaussians, now and then."""

    seconds: float = 0.0
    stopped: bool = False
    scores: list[dict[str, Any]] = field(default_factory=list)


def photos_to_splats(
    source: Path | str,
    house: Path | str | None = None,
    *,
    photos: Path | None = None,
    masks: Path | None = None,
    settings: SplatSettings = SplatSettings(),
    run: Run = Run(),
    say: Callable[[str], None] = lambda text: None,
    live: Callable[[str], None] | None = None,
) -> tuple[Project, dict[str, Any]]:
    """Splats of a project folder, a COLMAP folder or a transforms.json, and what they are worth.

    house: where to (default: the source, when it is a project folder). The project's name is then `splats`; its export
    folder gets `splats.ply`, `splats.json` and held-out photos beside their renderings.
    say: told a line now and then.  live: shows the training in the browser, told the address.
    Returns the project and the summary that `splats.json` holds.

    Raises InputError for unusable input, MissingError when an engine is wanted that cannot run, ResourceError when disk
    or memory is short.
    """
    started = time.perf_counter()
    chain, placed = open_house(source, house, "splats", run, photos=photos, masks=masks)
    summary = train_splats(chain, placed, settings, run, say=say, live=live, started=started)
    return chain.project, summary


def train_splats(
    chain: Chain,
    placed: Placed,
    settings: SplatSettings,
    run: Run,
    *,
    say: Callable[[str], None] = lambda text: None,
    live: Callable[[str], None] | None = None,
    started: float | None = None,
) -> dict[str, Any]:
    """Trains (or finds) the splats of placed photos, names them, judges them and writes the files; the summary."""
    started = time.perf_counter() if started is None else started
    size = settings.size or PRESETS[settings.quality][0]
    if size < 64:
        raise InputError(f"photos of {size} px are too small to train on", "", "give --size 400 or more")
    trained, tested = split_photos(placed, settings.hold_out)
    origin = np.round(np.median(placed.scene.centers, axis=0), 3)
    load = lambda name: placed.load_view(name, size)  # noqa: E731
    stack = PhotoStack(trained, load, origin=origin, max_bytes=min(run.memory_mb * 0.5, 6000) * 2**20)
    first = stack.get(trained[0], 0)
    background = settings.background or ((1.0, 1.0, 1.0) if first.alpha is not None else (0.0, 0.0, 0.0))
    config = splats_config(settings, background)
    engine = choose_engine(settings.engine)
    cloud, points, colors, kind = _start_from(placed, settings, trained)
    index = [placed.scene.names.index(n) for n in trained]
    cameras, poses = [placed.scene.camera(i) for i in index], placed.scene.cam_from_world[index]
    photo_ids = [placed.photo_ids[n] for n in trained]
    inputs = [
        content_id(size, kind, engine, list(trained), photo_ids, *cameras, poses, origin),
        cloud or content_id(placed.scene.points, placed.scene.point_colors),
    ]

    begun: SplatState | None = None
    begun_with = 0

    def start() -> SplatState:
        if begun is not None and begun_with == config.max_splats:
            return begun
        house = placed.project  # where the cloud lies, wherever the splats go
        dense = None if cloud is None or house is None else _of_photos(house.get(cloud), trained)
        return stage.start_splats(stack, cloud=dense, points=points, colors=colors, config=config)

    if run.max_seconds is not None:
        begun, begun_with = start(), config.max_splats
        left = run.max_seconds - (time.perf_counter() - started)
        reserve = 0.04 * run.max_seconds + 1.0
        config = fit_time(begun, stack, config, max(left - reserve, 1.0), fixed_cap=settings.max_splats is not None)
    say(
        f"{len(trained)} photos of {first.size[0]} x {first.size[1]} px to train on, {len(tested)} held out;"
        f" {config.iterations} steps, at most {config.max_splats} splats, engine {engine}"
    )
    told = Told()
    depths = _depths(placed.project, stack) if config.depth_weight or config.normal_weight else None
    tests = PhotoStack(tested, load, origin=origin, max_bytes=min(run.memory_mb * 0.2, 2000) * 2**20)
    viewer = None
    if live is not None:
        viewer = SplatViewer(placed, (*trained, *tested), set(tested), size, origin, config, started)
        live(viewer.server.url)
    try:
        if found := chain.project.find("splats", config, inputs):
            splats_id = found.output
            told.seconds = cost_of(chain.project, splats_id).get("seconds", 0.0)
            chain.progress("splats", 1, 1, 1)
        else:
            splats_id = _train(chain, config, inputs, start, stack, tests, depths, engine, told, viewer)
        chain.name(splats=splats_id)
        splats: Splats = chain.project.get(splats_id)
        summary, pictures = judge(chain, placed, tests, splats, size=size, config=config, engine=engine)
        summary |= {
            "seconds": round(told.seconds, 1),
            "wall_seconds": round(time.perf_counter() - started, 1),
            "stopped": told.stopped,
            "history": told.scores,
            "splats": splats_id,
        }
        publish_splats(chain, splats, summary, pictures)
        if viewer:
            viewer.finished(splats, summary)
    finally:
        if viewer:
            viewer.close()
    return summary


def choose_engine(wanted: str) -> str:
    """ "cpu" or "gsplat". Raises MissingError when gsplat is wanted and cannot run."""
    if wanted == "cpu":
        return "cpu"
    from rilievo.stages import splats_gsplat

    return splats_gsplat.choose_engine(wanted)


def _start_from(
    placed: Placed, settings: SplatSettings, trained: Sequence[str]
) -> tuple[str | None, np.ndarray | None, np.ndarray | None, str]:
    """The cloud's id, points and colours that training starts from, and what was asked for."""
    wanted = settings.start
    if wanted == "cloud" and placed.cloud is None:
        raise InputError(
            "there is no dense cloud to start from", "", "run `rilievo build` first, or use --start points"
        )
    cloud = placed.cloud if wanted in ("auto", "cloud") else None
    if cloud is None and wanted in ("auto", "points") and len(placed.scene.points):
        return None, placed.scene.points, placed.scene.point_colors, wanted
    if wanted == "points" and cloud is None:
        raise InputError("there are no sparse points to start from", "", "use --start random")
    return cloud, None, None, wanted


def _of_photos(cloud: PointCloud, trained: Sequence[str]) -> PointCloud:
    """The points that some photo in training saw: what only held-out photos saw would give them away."""
    known = np.array([n in set(trained) for n in cloud.names])
    seen = np.zeros(len(cloud.points), bool)
    owner = np.repeat(np.arange(len(cloud.points)), np.diff(cloud.view_offsets))
    seen[owner[known[cloud.view_index]]] = True
    keep = np.flatnonzero(seen)
    return replace(
        cloud,
        points=cloud.points[keep],
        normals=cloud.normals[keep],
        colors=cloud.colors[keep],
        confidence=cloud.confidence[keep],
        sigma=cloud.sigma[keep],
        spacing=cloud.spacing[keep],
        view_offsets=np.zeros(len(keep) + 1, np.int64),
        view_index=np.zeros(0, np.int32),
        inferred=None if cloud.inferred is None else cloud.inferred[keep],
    )


def _train(
    chain: Chain,
    config: stage.SplatsConfig,
    inputs: Sequence[str],
    start: Callable[[], SplatState],
    stack: PhotoStack,
    tests: PhotoStack,
    depths: Callable[[str, int], DepthMap | None] | None,
    engine: str,
    told: Told,
    viewer: SplatViewer | None,
) -> str:
    """Trains in segments (see `Checkpoints`). Returns the id of the finished splats."""
    total = config.iterations
    segments = max(1, min(SEGMENTS, total // MIN_STEPS))
    marks = [round(total * k / segments) for k in range(1, segments + 1)]
    checkpoints = Checkpoints(chain.project, "splats", config, inputs)
    done, state, cost = checkpoints.latest(marks)
    told.seconds = cost.get("seconds", 0.0)
    step: Callable[..., SplatState] = stage.train
    if engine == "gsplat":
        from rilievo.stages.splats_gsplat import train_gsplat

        step = train_gsplat
    begun = time.perf_counter()
    if state is None:
        chain.progress("splats", 0, total)
        state = start()
        told.seconds += time.perf_counter() - begun
    reused = done

    def watch(iteration: int, rows: np.ndarray) -> bool:
        chain.progress("splats", min(iteration, total - 1), total, reused)
        return viewer.watch(iteration, rows) if viewer else True

    for mark in (m for m in marks if m > done):
        begun = time.perf_counter()
        state = step(state, stack, mark, depths=depths, watch=watch, config=config)
        told.seconds += time.perf_counter() - begun
        if state.iteration < mark:
            told.stopped = True
            break
        if mark < total:
            checkpoints.keep(mark, state, seconds=round(told.seconds, 2))
        psnr = mean_psnr(stage.finish(state, config=config), tests, most=8)
        score = None if np.isnan(psnr) else round(psnr, 3)
        told.scores.append({"iteration": mark, "psnr": score, "num_splats": len(state.rows)})
        if viewer:
            viewer.psnr = psnr
    splats = stage.finish(state, config=config)
    if not len(splats.means):
        raise InputError(
            "nothing is left of the splats",
            "all Gaussians became transparent: photos and cameras do not belong together, or masks hide everything",
            "look at the cameras with `rilievo info`, and leave out --masks",
        )
    output = checkpoints.finish(splats, whole=not told.stopped, seconds=round(told.seconds, 2))
    chain.progress("splats", total, total, reused)
    return output


def _depths(project: Project | None, stack: PhotoStack) -> Callable[[str, int], DepthMap | None]:
    """Known depth of the house's photos at the size that training asks for. Raises InputError where there is none."""
    made = {} if project is None else project.read().get("made_from", {})
    ids = next((made[k] for k in ("depth filled", "depth checked") if made.get(k)), None)
    if project is None or ids is None:
        raise InputError("there are no depth maps to learn from", "", "run `rilievo build` on the photos first")
    by_name: dict[str, str] = {}
    for i in ids:
        by_name[project.get(i).name] = i
    kept: dict[tuple[str, int], DepthMap | None] = {}

    def find(name: str, level: int) -> DepthMap | None:
        import cv2

        if (name, level) not in kept:
            if len(kept) > 64:
                kept.clear()
            kept[name, level] = None
            if name in by_name:
                full: DepthMap = project.get(by_name[name])
                size = stack.get(name, level).size
                shrink = lambda a: cv2.resize(a, size, interpolation=cv2.INTER_NEAREST)  # noqa: E731
                kept[name, level] = replace(
                    full, depth=shrink(full.depth), normals=shrink(full.normals), confidence=shrink(full.confidence),
                    sigma=shrink(full.sigma), inferred=None,
                )  # fmt: skip
        return kept[name, level]

    return find
