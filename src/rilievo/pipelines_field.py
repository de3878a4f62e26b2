"""Placed photos to a radiance field: start, training in segments that survive a crash, held-out photos, mesh, files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.chain import Chain
from rilievo.codec import content_id
from rilievo.errors import InputError, ResourceError
from rilievo.field_quality import judge, publish_field, publish_mesh
from rilievo.placed import Placed
from rilievo.plan import Run
from rilievo.plan_field import PRESETS, FieldSettings, field_config, fit_time
from rilievo.project import Project
from rilievo.stages import field as stage
from rilievo.stages.field_free import sky_color
from rilievo.stages.field_mesh import FieldMeshConfig, mesh_field
from rilievo.stages.field_scene import PhotoSet, pack_photos
from rilievo.training_run import Checkpoints, cost_of, open_house, split_photos
from rilievo.types import Field, FieldState, Mesh, PointCloud, View

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
    chain, placed = open_house(source, house, "field", run, photos=photos, masks=masks)
    project = chain.project
    size = settings.size or PRESETS[settings.quality][0]
    trained, tested = _split(placed, settings, size)
    views = _load(chain, placed, trained, size, run.memory_mb)
    opaque = any(v.alpha is None for v in views)
    seen_points = _points_of(placed, trained) if opaque else None
    background = settings.background or (1.0, 1.0, 1.0)
    if seen_points is not None and settings.background is None:
        background = sky_color(views, seen_points) or (0.0, 0.0, 0.0)
    config = field_config(settings, background, unbounded=opaque)
    index = [placed.scene.names.index(n) for n in trained]
    inputs = [
        content_id(
            size, list(trained), [placed.photo_ids[n] for n in trained], *[placed.scene.camera(i) for i in index],
            placed.scene.cam_from_world[index], placed.scene.points,
        ),
        placed.cloud or "",
    ]  # fmt: skip
    begin = stage.start_field(views, points=placed.scene.points, seen=seen_points, config=config)
    seen = pack_photos(views, stage.region_of(begin.field))
    del views
    if run.max_seconds is not None:
        spent = time.perf_counter() - started
        after = 2.0 + (8e-6 if opaque else 1.5e-6) * len(tested) * size * size  # held-out photos and files
        config = fit_time(begin, seen, config, max(run.max_seconds - spent - after, 1.0))
    say(
        f"{len(trained)} photos to train on, {len(tested)} held out; {config.iterations} steps,"
        f" {'unbounded' if begin.field.unbounded else 'bounded'} scene, table of {len(begin.field.table)} rows"
    )
    told = Told()
    if found := project.find("field", config, inputs):
        field_id = found.output
        cost = cost_of(project, field_id)
        told.seconds, told.num_samples = cost.get("seconds", 0.0), int(cost.get("num_samples", 0))
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
    return split_photos(placed, settings.hold_out)


def _points_of(placed: Placed, names: Sequence[str]) -> list[np.ndarray]:
    """For each photo the points, float64 (n, 3), that it is known to see: of the dense cloud, else the sparse ones."""
    if placed.cloud is None or placed.project is None:
        scene = placed.scene
        numbers = [scene.names.index(n) for n in names]
        return [scene.points[scene.obs_point[scene.obs_photo == k]] for k in numbers]
    cloud: PointCloud = placed.project.get(placed.cloud)
    owner = np.repeat(np.arange(len(cloud.points), dtype=np.int32), np.diff(cloud.view_offsets))
    numbers = [cloud.names.index(n) if n in cloud.names else -1 for n in names]
    return [cloud.points[owner[cloud.view_index == k]] + cloud.origin for k in numbers]


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
    """Trains in segments (see `Checkpoints`). Returns the id of the finished field."""
    total = config.iterations
    marks = [*range(SEGMENT, total, SEGMENT), total]
    checkpoints = Checkpoints(chain.project, "field", config, inputs)
    done, found, cost = checkpoints.latest(marks)
    state: FieldState = begin if found is None else found
    told.seconds = cost.get("seconds", 0.0)
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
            checkpoints.keep(mark, state, seconds=round(told.seconds, 2), num_samples=state.num_samples)
    field = stage.finish(state)
    if not np.unpackbits(field.occupancy).any():
        raise InputError(
            "nothing is left of the scene",
            "the field became empty everywhere: photos and cameras do not belong together, or masks hide everything",
            "look at the cameras with `rilievo info`, and leave out --masks",
        )
    told.num_samples = state.num_samples
    output = checkpoints.finish(field, seconds=round(told.seconds, 2), num_samples=told.num_samples)
    chain.progress("field", total, total, reused)
    return output
