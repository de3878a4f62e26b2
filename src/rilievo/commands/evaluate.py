"""`rilievo evaluate`: a result against known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from rilievo.commands.common import Common, print_result
from rilievo.project import Project


def evaluate(
    house: Annotated[Path, tyro.conf.Positional],
    truth: Path,
    common: Common = Common(),
) -> int:
    """Camera error, and accuracy, completeness and F1 of cloud and mesh at 1, 2 and 5 ground sample distances.

    Args:
        house: the project folder.
        truth: folder with cameras.json and mesh.ply, or *.camera files, or COLMAP text files.
    """
    from rilievo.evaluate import evaluate as compare
    from rilievo.io.truth import load_truth

    project = Project(house, create=False)
    known = load_truth(truth)
    names = project.read().get("names", {})
    result = compare(
        project.named("cameras"),
        project.named("cloud") if "cloud" in names else None,
        project.named("mesh") if "mesh" in names else None,
        known,
    )
    print_result(result.to_json(), common.json, str(result))
    return 0
