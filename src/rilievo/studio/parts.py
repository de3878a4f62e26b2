"""What the parts of the application share: the studio that is served, and how it is reached from a request."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from rilievo.studio.houses import Houses
from rilievo.studio.inspector import Inspector
from rilievo.studio.jobs import Jobs
from rilievo.studio.limits import Limits
from rilievo.studio.store import Store
from rilievo.studio.uploads import Uploads
from rilievo.studio.viewing import Viewing


@dataclass
class Studio:
    """All that is served. lan: other machines may reach it, and phones may capture."""

    root: Path
    limits: Limits
    store: Store
    houses: Houses
    inspector: Inspector
    uploads: Uploads
    jobs: Jobs
    viewing: Viewing = field(default_factory=Viewing)
    lan: bool = False
    streams: int = 0

    @classmethod
    def open(
        cls, root: Path, *, limits: Limits | None = None, threads: int = 0, memory_mb: float | None = None
    ) -> Studio:
        """The studio of a folder, which is made where it is missing. Raises ResourceError."""
        from rilievo.project import explain_os_errors

        limits = limits or Limits()
        root = root.resolve()
        with explain_os_errors("make the houses folder", root):
            root.mkdir(parents=True, exist_ok=True)
        store = Store(root / "studio.sqlite3")
        houses = Houses(root, store, limits)
        houses.sweep()
        inspector = Inspector(houses)
        uploads = Uploads(houses, inspector)
        uploads.sweep()
        jobs = Jobs(houses, threads=threads or num_cores(), memory_mb=memory_mb)
        studio = cls(root, limits, store, houses, inspector, uploads, jobs)
        studio.adopt()
        return studio

    def adopt(self) -> None:
        """Projects that `rilievo build` wrote into the folder become houses."""
        for house_id, name in self.houses.adopt():
            self.inspector.add(house_id, name)

    def delete_house(self, house_id: str) -> None:
        """Ends what is made of it, then deletes it. Raises Problem (404)."""
        self.houses.row(house_id)
        self.jobs.stop_house(house_id)
        self.viewing.close(house_id)
        self.houses.delete(house_id)

    def close(self) -> None:
        """Ends children and threads; jobs go back to the queue."""
        self.jobs.close()
        self.inspector.close()
        self.viewing.close()
        self.store.close()


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _studio(request: Request) -> Studio:
    return request.app.state.studio


Served = Annotated[Studio, Depends(_studio)]
