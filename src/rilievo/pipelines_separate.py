"""What moved, built by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2

from rilievo import pipelines
from rilievo.errors import AlignmentError, InputError
from rilievo.io.mask_files import write_mask
from rilievo.plan import BuildSettings, Run
from rilievo.project import Project, explain_os_errors


def separate_moving(
    paths: Sequence[Path], house: Path, *, settings: BuildSettings, run: Run = Run()
) -> tuple[Project | None, str]:
    """A house of its own (HOUSE/moving) for what moved: the photos with all else masked. Returns it, or none and why
    not: what bends or turns up in too few photos has no shape of its own to be found."""
    masks = house / "masks" / "by-kind" / "moving"
    kept = house / "masks" / "moving-only"
    if not masks.is_dir():
        raise InputError("nothing is known of what moved", f"{masks} is not there", "add moving to --auto")
    count = 0
    with explain_os_errors("write the masks", kept):
        for file in sorted(masks.rglob("*.png")):
            mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
            if mask is None:
                continue
            count += bool((mask == 0).mean() > 0.002)
            name = file.relative_to(masks).as_posix().removesuffix(".png")
            write_mask(kept, name, mask == 0)
    if count < 3:
        return None, f"something moved in {count} photos only, 3 are needed"
    try:
        project = pipelines.photos_to_mesh(paths, house / "moving", masks=kept, settings=settings, run=run)
    except AlignmentError as error:
        return None, f"{error.what}: {error.why}"
    return project, ""
