"""`rilievo evaluate`: a result against known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from rilievo.commands.common import Common, print_result
from rilievo.errors import InputError
from rilievo.project import Project


def evaluate(
    house: Annotated[Path, tyro.conf.Positional],
    truth: Path,
    common: Common = Common(),
) -> int:
    """Camera error, and accuracy, completeness and F1 of cloud and mesh at 1, 2 and 5 ground sample distances.

    The depth of one photo (what `rilievo depth` wrote) is compared with a depth picture after one scale and one shift.

    Args:
        house: the project folder, or the folder of one photo's depth.
        truth: folder with cameras.json and mesh.ply, or *.camera files, or COLMAP text files; for one photo's depth a
            picture of true depth: 16 bit PNG or TIFF in any unit (0: unknown), or npz or npy.
    """
    if truth.is_file() and (house / "depth.npz").is_file():
        return evaluate_one_photo(house, truth, common)
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


def evaluate_one_photo(folder: Path, truth: Path, common: Common) -> int:
    """Scores of a depth map against true depth, printed beside those of two priors that know nothing."""
    from dataclasses import asdict

    import numpy as np

    from rilievo.evaluate import depth as ev
    from rilievo.io.depth_files import read_photo_depth
    from rilievo.io.truth import read_depth_picture

    known = read_depth_picture(truth)
    seen = read_photo_depth(folder / "depth.npz")[0]
    shape = known.shape
    if abs(np.log(shape[1] / shape[0] * seen.disparity.shape[0] / seen.disparity.shape[1])) > 0.03:
        raise InputError(
            "the true depth is not of this photo",
            f"it has {shape[1]} x {shape[0]} pixels, the depth map {seen.disparity.shape[1]} x"
            f" {seen.disparity.shape[0]}: another shape",
            "give a truth of the whole photo, turned as the photo is",
        )
    called = ev.fit_size(seen.sky.astype(np.float32), shape) > 0.5
    disparity = {seen.model: ev.fit_size(seen.disparity, shape)}
    disparity |= {name: make(shape) for name, make in ev.BASELINES.items()}
    scores = {
        name: ev.evaluate_depth(d, known, called_sky=called if name == seen.model else None)
        for name, d in disparity.items()
    }
    lines = [
        f"{name:<24}AbsRel {s.abs_rel:.3f}, within a factor 1.25: {s.delta1:.3f}, pairs in order: {s.ordinal:.3f}"
        for name, s in scores.items()
    ]
    value = {k: {n: v if np.isfinite(v) else None for n, v in asdict(s).items()} for k, s in scores.items()}
    print_result(value, common.json, "\n".join(lines))
    return 0
