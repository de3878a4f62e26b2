"""What a build or a training that goes on has made so far: read from the ledger, entry by entry as they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rilievo.project import Project

DEPTH_STAGES = ("depth", "depth refined", "depth checked", "depth filled")
_TRAINING = "splats training"


class Progress:
    """Follows the ledger of a house. `scan` looks for new entries; the rest tells what they were."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._seen: dict[Path, float] = {}
        self._read: set[Path] = set()
        self._depths: list[tuple[float, int, str]] = []  # when, how far, object id
        self._states: list[tuple[float, str, dict[str, Any]]] = []

    def scan(self) -> int:
        """How many entries there are that matter here."""
        for folder in (self._project.root / "ledger").glob("??"):
            try:
                when = folder.stat().st_mtime
                if self._seen.get(folder) == when:
                    continue
                self._seen[folder] = when
                new = [p for p in folder.glob("*.json") if p not in self._read]
            except OSError:
                continue
            for path in new:
                self._take(path)
        return len(self._depths) + len(self._states)

    def _take(self, path: Path) -> None:
        try:
            entry = json.loads(path.read_bytes())
            when = path.stat().st_mtime
        except (OSError, ValueError):
            return
        self._read.add(path)
        stage = entry.get("stage")
        if stage in DEPTH_STAGES:
            self._depths.append((when, DEPTH_STAGES.index(stage), entry["output"]))
        elif stage == _TRAINING:
            self._states.append((when, entry["output"], entry["config"]))

    def depths(self, since: float) -> list[str]:
        """Object ids of depth maps made since then, the best of each photo last."""
        fresh = [(stage, when, output) for when, stage, output in self._depths if when >= since]
        return [output for _, _, output in sorted(fresh)]

    def training(self) -> str | None:
        """Object id of the newest state of splats that train; None when there is none (any more)."""
        there = [(when, output) for when, output, _ in self._states if self._project.has(output)]
        return max(there)[1] if there else None

    def trained(self, object_id: str) -> Any:
        """The splats of a state."""
        from rilievo.stages.splat_rows import splats_of
        from rilievo.stages.splats import SplatsConfig

        config = SplatsConfig(**_tuples(next(c for _, o, c in self._states if o == object_id)))
        state = self._project.get(object_id)
        return splats_of(
            state.rows,
            degree=config.degree_at(state.iteration),
            antialiased=config.antialiased,
            background=config.background,
            origin=state.origin,
        )


def _tuples(config: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
