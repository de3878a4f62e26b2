"""Placed photos to a radiance field: start, training in segments that survive a crash, held-out photos, mesh, files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rilievo import kernels
from rilievo.chain import Chain
from rilievo.codec import content_id
from rilievo.errors import InputError, ResourceError
from rilievo.field_quality import judge, publish_field, publish_mesh
from rilievo.placed import Placed, load_placed
from rilievo.plan import Run
from rilievo.plan_field import PRESETS, FieldSettings, field_config, fit_time
from rilievo.project import Project
from rilievo.stages import field as stage
from rilievo.stages.field_mesh import FieldMeshConfig, mesh_field
from rilievo.stages.field_scene import PhotoSet, pack_photos
from rilievo.stages.splats import held_out
from rilievo.types import Field, FieldState, Mesh, View

SEGMENT = 1000  # a crash costs at most so many steps


@dataclass
class Told:
    """What a run learns on its way."""

    seconds: float = 0.0
    num_samples: int = 0


def photos_to_field(
    source: Path | str,
    house: Path | str | None = None,
    *,
    photos: Path | None = None,
    masks: Path | None = None,
    settings: FieldSettings = FieldSettings(),
    run: Run = Run(),
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Project, dict[str, Any]]:
    """A radiance field of a project folder, a COLMAP folder or a transforms.json, and what it is worth.

    house: where to (default: the source, when it is a project folder). The project's name is then `field` (and
    `field_mesh`); its export folder gets `field.npz`, `field.json` and held-out photos beside their renderings.
    say: told a line now and then. Returns the project and the summary that `field.json` holds.

    Raises InputError for unusable input, ResourceError when disk or memory is short.
    """
    started = time.perf_counter()
    kernels.set_num_threads(run.num_threads)
    threads = kernels.native().num_threads()
    placed = load_placed(source, photos=photos, masks=masks, num_threads=threads)
    if placed.project is not None and house is None:
        project = placed.project
    else:
        project = Project(house or Path(f"{Path(source).resolve().stem or 'scene'}-field"))
    chain = Chain(project, threads, run.progress)
    if project is not placed.project:
        chain.name(cameras=project.put(placed.scene))
    size = settings.size or PRESETS[settings.quality][0]
    trained, tested = _split(placed, settings, size)
    views = _load(chain, placed, trained, size, run.memory_mb)
    opaque = any(v.alpha is None for v in views)
    background = settings.background or ((0.0, 0.0, 0.0) if opaque else (1.0, 1.0, 1.0))
    config = field_config(settings, background, unbounded=opaque)
    index = [placed.scene.names.index(n) for n in trained]
    inputs = [
        content_id(
            size, list(trained), [placed.photo_ids[n] for n in trained], *[placed.scene.camera(i) for i in index],
            placed.scene.cam_from_world[index], placed.scene.points,
        ),
    ]  # fmt: skip
    begin = stage.start_field(views, points=placed.scene.points, config=config)
    seen = pack_photos(views, stage.region_of(begin.field))
    del views
    if run.max_seconds is not None:
        spent = time.perf_counter() - started
        after = 2.0 + 1.5e-6 * len(tested) * size * size  # held-out photos and files
        config = fit_time(begin, seen, config, max(run.max_seconds - spent - after, 1.0))
    say(
        f"{len(trained)} photos to train on, {len(tested)} held out; {config.iterations} steps,"
        f" {'unbounded' if begin.field.unbounded else 'bounded'} scene, table of {len(begin.field.table)} rows"
    )
    told = Told()
    if found := project.find("field", config, inputs):
        field_id = found.output
        told.seconds, told.num_samples = _before(project, field_id)
        chain.progress("field", 1, 1, 1)
    else:
        field_id = _train(chain, config, inputs, begin, seen, told)
    del seen
    field: Field = project.get(field_id)
    chain.name(field=field_id)
    summary, pictures = judge(chain, placed, tested, field, size=size, config=config)
    summary |= {
        "num_samples": told.num_samples,
        "seconds": round(told.seconds, 1),
        "wall_seconds": round(time.perf_counter() - started, 1),
        "field": field_id,
    }
    publish_field(chain, field, summary, pictures)
    if settings.mesh:
        mesh_id = chain.one("field mesh", FieldMeshConfig(), [field_id], lambda: mesh_field(field))
        chain.name(field_mesh=mesh_id)
        mesh: Mesh = project.get(mesh_id)
        summary |= {"num_vertices": len(mesh.vertices), "num_faces": len(mesh.faces)}
        publish_mesh(chain, mesh)
    return project, summary


def _split(placed: Placed, settings: FieldSettings, size: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of photos to train on, and of those held out."""
    if size < 64:
        raise InputError(f"photos of {size} px are too small to train on", "", "give --size 400 or more")
    if settings.iterations is not None and settings.iterations < 1:
        raise InputError(f"{settings.iterations} steps of training cannot be", "", "give --iterations 1000 or more")
    if settings.hold_out < 0 or settings.hold_out == 1:
        raise InputError(f"--hold-out {settings.hold_out} leaves no photo to train on", "", "give 0, or 2 or more")
    names = placed.scene.names
    tested = placed.held_out if placed.held_out is not None else held_out(names, settings.hold_out or len(names) + 1)
    if settings.hold_out == 0:
        tested = ()
    trained = tuple(n for n in names if n not in set(tested))
    if len(trained) < 2:
        raise InputError(
            f"{len(trained)} photos are left to train on",
            f"{len(tested)} of {len(names)} are held out",
            "use --hold-out 0",
        )
    return trained, tested


def _load(chain: Chain, placed: Placed, names: Sequence[str], size: int, memory_mb: float) -> list[View]:
    """The photos at working size. Raises ResourceError when they need more memory than there may be used."""
    views: list[View] = []
    for k, name in enumerate(names):
        chain.progress("photos", k, len(names))
        views.append(placed.load_view(name, size))
        if k == 0:
            pixels = views[0].camera.width * views[0].camera.height
            need = len(names) * pixels * 9 / 2**20 + 600
            if need > memory_mb:
                raise ResourceError(
                    f"{len(names)} photos of {size} px do not fit into the memory",
                    f"about {need:.0f} MiB are needed, {memory_mb:.0f} MiB may be used",
                    f"--size {size // 2} needs a quarter of it; or allow more with --memory",
                )
    chain.progress("photos", len(names), len(names))
    return views


def _train(
    chain: Chain,
    config: stage.FieldConfig,
    inputs: Sequence[str],
    begin: FieldState,
    photos: PhotoSet,
    told: Told,
) -> str:
    """Trains in segments, each a step of the ledger, so that a run that was killed goes on where the last one ended.
    The last two states are kept while it runs, none afterwards. Returns the id of the finished field."""
    project, total = chain.project, config.iterations
    marks = [*range(SEGMENT, total, SEGMENT), total]
    recipe = lambda mark: [*inputs, f"iteration {mark}"]  # noqa: E731
    state, done = begin, 0
    kept: list[str] = []
    for mark in reversed(marks):
        if found := project.find("field training", config, recipe(mark)):
            state, done, kept = project.get(found.output), mark, [found.output]
            told.seconds = _before(project, found.output)[0]
            break
    reused = done
    chain.progress("field", done, total, reused)

    def watch(trainer: stage.Trainer) -> bool:
        if trainer.iteration % 10 == 0 and trainer.iteration < total:
            chain.progress("field", trainer.iteration, total, reused)
        return True

    for mark in (m for m in marks if m > done):
        started = time.perf_counter()
        state = stage.train_segment(state, photos, mark, config=config, watch=watch)
        told.seconds += time.perf_counter() - started
        if mark < total:
            made = state
            output = project.run("field training", config, recipe(mark), lambda made=made: made).output
            _remember(project, output, told.seconds, state.num_samples)
            kept.append(output)
            while len(kept) > 2:
                project.object_path(kept.pop(0)).unlink(missing_ok=True)
    field = stage.finish(state)
    if not np.unpackbits(field.occupancy).any():
        raise InputError(
            "nothing is left of the scene",
            "the field became empty everywhere: photos and cameras do not belong together, or masks hide everything",
            "look at the cameras with `rilievo info`, and leave out --masks",
        )
    told.num_samples = state.num_samples
    output = project.run("field", config, inputs, lambda: field).output
    _remember(project, output, told.seconds, told.num_samples)
    content = project.read()
    project.update(made_from={**content.get("made_from", {}), "field": [output]})
    for old in kept:
        project.object_path(old).unlink(missing_ok=True)
    chain.progress("field", total, total, reused)
    return output


def _remember(project: Project, object_id: str, seconds: float, num_samples: int) -> None:
    kept = {k: v for k, v in project.read().get("field_training", {}).items() if project.has(k)}
    project.update(field_training={**kept, object_id: [round(seconds, 2), num_samples]})


def _before(project: Project, object_id: str) -> tuple[float, int]:
    """Seconds and samples that a state or field took."""
    seconds, num_samples = project.read().get("field_training", {}).get(object_id, (0.0, 0))
    return float(seconds), int(num_samples)
