"""What the trainings of splats and of fields share: their house, photos held out, checkpoints, files on quality."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rilievo import kernels
from rilievo.chain import Chain
from rilievo.codec import Config
from rilievo.errors import InputError
from rilievo.io.files import replacing
from rilievo.placed import Placed, load_placed
from rilievo.plan import Run
from rilievo.project import Project
from rilievo.stages.splats import held_out

MAX_SHOWN = 6  # held-out photos that are put beside their renderings


def open_house(
    source: Path | str, house: Path | str | None, ending: str, run: Run, *, photos: Path | None, masks: Path | None
) -> tuple[Chain, Placed]:
    """The placed photos of `source` and a run over the house that the result goes to: `house`, else the source where it
    is one, else a new one named after it with `ending` behind. Raises as `load_placed` and `Project` do."""
    kernels.set_num_threads(run.num_threads)
    threads = kernels.native().num_threads()
    placed = load_placed(source, photos=photos, masks=masks, num_threads=threads)
    same = house is None or Path(house).resolve() == Path(source).resolve()
    if placed.project is not None and same:
        project = placed.project
    else:
        project = Project(house or Path(f"{Path(source).resolve().stem or 'scene'}-{ending}"))
    chain = Chain(project, threads, run.progress)
    if project is not placed.project:
        chain.name(cameras=project.put(placed.scene))
    return chain, placed


def split_photos(placed: Placed, hold_out: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of photos to train on, and of those held out: the data set's own, else every so many; none for 0. Raises
    InputError when fewer than two are left to train on."""
    names = placed.scene.names
    tested = placed.held_out if placed.held_out is not None else held_out(names, hold_out)
    if hold_out == 0:
        tested = ()
    trained = tuple(n for n in names if n not in set(tested))
    if len(trained) < 2:
        raise InputError(
            f"{len(trained)} photos are left to train on",
            f"{len(tested)} of {len(names)} are held out",
            "use --hold-out 0",
        )
    return trained, tested


class Checkpoints:
    """States of a training in the ledger, so that a run that was killed goes on where the last one ended. The last two
    are kept while it runs, none afterwards.

    stage: its name; states are those of "STAGE training". What a state cost (numbers by name) is remembered beside it.
    """

    def __init__(self, project: Project, stage: str, config: Config, inputs: Sequence[str]) -> None:
        self._project, self._stage, self._config, self._inputs = project, stage, config, inputs
        self._kept: list[str] = []

    def _recipe(self, mark: int) -> list[str]:
        return [*self._inputs, f"iteration {mark}"]

    def latest(self, marks: Sequence[int]) -> tuple[int, Any, dict[str, float]]:
        """The newest state of these iterations: iteration, state and what it cost; (0, None, {}) without any."""
        found = {m: self._project.find(f"{self._stage} training", self._config, self._recipe(m)) for m in marks}
        kept = {mark: step.output for mark, step in found.items() if step is not None}
        if not kept:
            return 0, None, {}
        self._kept = list(kept.values())  # of a run that was killed, all of them go in the end
        mark = max(kept)
        return mark, self._project.get(kept[mark]), cost_of(self._project, kept[mark])

    def keep(self, mark: int, state: Any, **cost: float) -> None:
        """Stores the state after so many iterations."""
        step = self._project.run(f"{self._stage} training", self._config, self._recipe(mark), lambda: state)
        self._remember(step.output, cost)
        self._kept.append(step.output)
        while len(self._kept) > 2:
            self._forget(self._kept.pop(0))

    def finish(self, value: Any, *, whole: bool = True, **cost: float) -> str:
        """Stores the result and forgets the states; its object id. whole: it is what the recipe asks for (else, when
        somebody ended the training, a result of its own)."""
        project = self._project
        if whole:
            output = project.run(self._stage, self._config, self._inputs, lambda: value).output
        else:
            output = project.put(value)
        self._remember(output, cost)
        project.update(made_from={**project.read().get("made_from", {}), self._stage: [output]})
        for old in self._kept:
            self._forget(old)
        return output

    def _forget(self, object_id: str) -> None:
        self._project.object_path(object_id).unlink(missing_ok=True)

    def _remember(self, object_id: str, cost: Mapping[str, float]) -> None:
        kept = {k: v for k, v in self._project.read().get("training", {}).items() if self._project.has(k)}
        self._project.update(training={**kept, object_id: dict(cost)})


def cost_of(project: Project, object_id: str) -> dict[str, float]:
    """What `Checkpoints` remembers of a state or a result."""
    return dict(project.read().get("training", {}).get(object_id, {}))


def publish_quality(folder: Path, name: str, summary: Mapping[str, Any], pictures: Mapping[str, np.ndarray]) -> None:
    """folder/NAME.json with the summary and folder/NAME/PHOTO.jpg: photo left, rendering right."""
    import cv2

    shown = folder / name
    shown.mkdir(exist_ok=True)
    for old in shown.glob("*.jpg"):
        old.unlink()
    for photo, pixels in pictures.items():
        _, packed = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        (shown / (photo.replace("/", "_").replace("\\", "_") + ".jpg")).write_bytes(packed.tobytes())
    with replacing(folder / f"{name}.json") as file:
        file.write(json.dumps(summary, indent=1, ensure_ascii=False).encode())
