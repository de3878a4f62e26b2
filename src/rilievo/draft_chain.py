"""Work in a house that is not its build: a draft that masks come from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rilievo.chain import Chain
from rilievo.project import Project


class DraftChain(Chain):
    """A chain whose draft does not pass for the build: the account and results of its stages bear other names."""

    def _enter(self, stage: str, *rest: Any) -> None:
        super()._enter(stage if stage.startswith("mask ") else f"masks: {stage}", *rest)


@contextmanager
def what_is_kept(project: Project) -> Iterator[None]:
    """What a finished house says of its photos stays as it was; the draft reads them with other masks."""
    before = project.read()
    if not before.get("names"):
        yield
        return
    try:
        yield
    finally:
        now = project.read()
        kept = {k: before.get(k) for k in ("photos", "sources")}
        made_from = {**now.get("made_from", {}), "photos": before.get("made_from", {}).get("photos", [])}
        project.update(**kept, made_from=made_from)
