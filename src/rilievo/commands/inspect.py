"""`rilievo info`, `why` and `clean`: looking into a project folder."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from rilievo.commands.common import Common, print_result, spell_megabytes
from rilievo.errors import InputError
from rilievo.evidence import evidence, explain
from rilievo.project import Project


def read_report(project: Project) -> dict[str, Any]:
    """The report of the last build. Raises InputError when there is none."""
    try:
        return json.loads((project.root / "export" / "report.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{project.root} has no report",
            str(error),
            "run `rilievo build` on its photos again: finished work is kept",
        ) from error


def info(
    house: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="HOUSE|FILE")], common: Common = Common()
) -> int:
    """What a project or a file of splats holds and how good it is.

    Args:
        house: the project folder that `rilievo build` wrote, or a file of Gaussian splats.
    """
    if house.is_file():
        from rilievo.commands.splat_files import describe, load, spell

        facts = describe(load(house, drop_broken=False)[0])
        print_result(facts, common.json, spell(house, facts))
        return 0
    from rilievo.report import summarize

    project = Project(house, create=False)
    report = read_report(project)
    names = project.read().get("names", {})
    size_mb = sum(p.stat().st_size for p in (project.root / "objects").glob("*/*")) / 2**20
    lines = [f"{house}: {', '.join(sorted(names)) or 'nothing finished yet'} ({spell_megabytes(size_mb)})"]
    print_result({**report, "names": names}, common.json, "\n".join([*lines, summarize(report)]))
    return 0


def why(
    house: Annotated[Path, tyro.conf.Positional],
    photo: Annotated[str, tyro.conf.Positional],
    common: Common = Common(),
) -> int:
    """Why a photo was or was not placed, with the evidence and what to do.

    Args:
        house: the project folder.
        photo: the photo's name as the report lists it (the end of the name is enough).
    """
    project = Project(house, create=False)
    report = read_report(project)
    rows = {row["name"]: row for row in report["photos"]["list"]}
    rows |= {row["name"]: {**row, "placed": False} for row in report["photos"]["rejected"]}
    found = [name for name in rows if name == photo] or [name for name in rows if name.endswith(photo)]
    if len(found) != 1:
        near = found or difflib.get_close_matches(photo, list(rows), 3, 0.4) or sorted(rows)[:3]
        raise InputError(
            f"{photo!r} names {len(found) or 'no'} photos of {house}",
            f"near it: {', '.join(near[:5])}",
            "give the whole name",
        )
    row = dict(rows[found[0]])
    row.update(evidence(project, found[0]))
    print_result(row, common.json, explain(row))
    return 0


def clean(house: Annotated[Path, tyro.conf.Positional], common: Common = Common()) -> int:
    """Delete what no current result of a project needs (older settings, removed photos).

    Args:
        house: the project folder.
    """
    files, size = Project(house, create=False).clean()
    text = f"deleted {files} files, {spell_megabytes(size / 2**20)}"
    print_result({"files": files, "bytes": size}, common.json, text)
    return 0
