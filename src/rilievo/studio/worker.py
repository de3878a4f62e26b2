"""The child that makes a job: `python -m rilievo.studio.worker JOB.json`, lines of JSON on stdout, talk on stderr.

    {"stage", "done", "total", "reused"}    after each item        {"say": text}    a line of talk
    {"error": {"what", "why", "hint"}}      it could not be done   {"end": facts}   done

It ends by itself when the server does: its stdin closes then.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

from rilievo.errors import InputError, RilievoError


class Lines:
    """The way to the server."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._lock = out, threading.Lock()
        self._last: tuple[str, float] = ("", 0.0)

    def send(self, **facts: Any) -> None:
        """One line. A server that is gone ends this process."""
        with self._lock:
            try:
                self._out.write(json.dumps(facts) + "\n")
                self._out.flush()
            except OSError:
                end_group()

    def progress(self, stage: str, done: int, total: int, reused: int = 0) -> None:
        """As pipelines tell it; not more than ten lines a second."""
        now = time.monotonic()
        same, when = self._last
        if stage == same and done < total and now - when < 0.1:
            return
        self._last = (stage, now)
        self.send(stage=stage, done=done, total=total, reused=reused)

    def say(self, text: str) -> None:
        """A line for the log."""
        self.send(say=text)


def end_group() -> None:
    """Ends this process and those it started, at once."""
    if os.name != "nt" and os.getpgrp() == os.getpid():
        with contextlib.suppress(OSError):
            os.killpg(0, signal.SIGKILL)
    os._exit(1)


def watch_parent() -> None:
    """The server holds the other end of stdin: when it ends, this does."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        end_group()

    threading.Thread(target=wait, daemon=True).start()


def make(job: dict[str, Any], lines: Lines) -> dict[str, Any]:
    """Runs the pipelines of a job; what they say of their results. Raises RilievoError."""
    from rilievo.plan import Run

    makes, house = job["makes"], Path(job["house"])
    run = Run(num_threads=job["threads"], memory_mb=job["memory_mb"], progress=lines.progress)
    facts: dict[str, Any] = {}
    seed: int = job["options"].get("seed", 0)
    if "depth" in makes:
        facts["depth"] = make_depth(job, lines)
    if {"model", "splats", "field"} & set(makes):
        from rilievo.pipelines import photos_to_mesh
        from rilievo.plan import BuildSettings
        from rilievo.project import Project

        known = {k: v for k, v in job["options"].items() if k in BUILD_OPTIONS}
        settings = BuildSettings(quality=job["quality"], **known)
        Project(house).update(title=job["title"] or None)
        masks = Path(job["masks"]) if job["masks"] else None
        photos_to_mesh([Path(p) for p in job["photos"]], house, masks=masks, settings=settings, run=run)
        facts["model"] = True
    if "splats" in makes:
        from rilievo.pipelines_splats import photos_to_splats
        from rilievo.plan_splats import SplatSettings

        _, facts["splats"] = photos_to_splats(
            house, settings=SplatSettings(quality=job["quality"], seed=seed), run=run, say=lines.say
        )
    if "field" in makes:
        from rilievo.pipelines_field import photos_to_field
        from rilievo.plan_field import FieldSettings

        _, facts["field"] = photos_to_field(
            house, settings=FieldSettings(quality=job["quality"], seed=seed), run=run, say=lines.say
        )
    return facts


BUILD_OPTIONS = ("surface", "keypoints", "max_faces", "texture_size", "depth_size", "watertight", "prior", "seed")


def make_depth(job: dict[str, Any], lines: Lines) -> bool:
    """Depth and surface of the photo that the job names, else of the first."""
    from rilievo import kernels
    from rilievo.io.photos import find_photos
    from rilievo.pipelines_photo import PhotoRun, PhotoSettings, photo_to_mesh

    kernels.set_num_threads(job["threads"])
    photos = [s for s in find_photos([Path(p) for p in job["photos"]]) if not s.is_video]
    wanted = job["options"].get("photo")
    chosen = next((s for s in photos if wanted in (None, s.name)), None)
    if chosen is None:
        raise InputError(
            "There is no photo to make depth of",
            f"{wanted} is not in the house" if wanted else "the house has videos only",
            "choose one of its photos",
        )
    settings = PhotoSettings(tiles=job["quality"] == "high")
    run = PhotoRun(num_threads=job["threads"], progress=lambda s, d, t: lines.progress(f"one photo: {s}", d, t))
    photo_to_mesh(chosen, Path(job["depth"]), settings=settings, run=run)
    return True


def main() -> int:
    """Reads the job, makes it, tells how it ended."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print must not come between the lines
    lines = Lines(out)
    watch_parent()
    if hasattr(os, "nice"):
        os.nice(5)  # pages and uploads go first
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    try:
        lines.send(end=json.loads(json.dumps(make(job, lines), default=str)))
    except RilievoError as error:
        print(error, file=sys.stderr)
        lines.send(error={"what": error.what, "why": error.why, "hint": error.hint})
        return 1
    except MemoryError:
        hint = "choose a lower quality, or close other programs and try again: what is finished is kept"
        lines.send(error={"what": "The memory is too short", "why": "the machine has no more", "hint": hint})
        return 1
    except Exception as error:
        traceback.print_exc()
        lines.send(
            error={
                "what": "The job ended in an error of the program",
                "why": f"{type(error).__name__}: {error}"[:300],
                "hint": "try again: what is finished is kept; the log below says where it was",
            }
        )
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # threads of libraries may not hold it up
