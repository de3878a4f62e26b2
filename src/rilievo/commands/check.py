"""`rilievo check`: what is wrong with photos before they are built, and why photos of a house failed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from rilievo.commands.common import Common, Talk, print_result, run_of
from rilievo.errors import InputError

# Exit code where photos must be mended or taken before a build.
NOT_READY = 3


def check(
    photos: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTOS...|HOUSE")],
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="OUT")] = None,
    masks: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    kind: Literal["auto", "object", "front", "area", "room"] = "auto",
    next_photos: Annotated[int, tyro.conf.arg(name="next", metavar="N")] = 5,
    surface: bool = True,
    strict: bool = False,
    common: Common = Common(),
) -> int:
    """Photos before a build: which are bad and why, what is missing, and which to take next. Or a house after it: why
    each photo failed or was weak, and the photo that would have helped.

    Writes check.html, check.json, contact.jpg, plan.svg and coverage.glb.
    The same command with more photos does only the new work.
    Exit code 0: ready or usable; 3: photos are missing or must be taken again; 1: nothing could be checked.

    Args:
        photos: folders, files or a video; or one project folder that `rilievo build` wrote.
        output: the folder to write (default: the first input's name with -check behind it).
        masks: folder of masks, named photo.jpg.png; black is not looked at.
        kind: what is photographed: an object walked around, a front (wall, relief), an area from above, a room.
        next_photos: how many photos to propose.
        surface: make a draft surface for the coverage (without it the sparse points have to do).
        strict: exit code 3 also where the photos are usable but could be better.
    """
    if not photos:
        raise InputError("no photos were given", "the command line names no input", "rilievo check FOLDER")
    if not 0 <= next_photos <= 50:
        raise InputError(f"cannot propose {next_photos} photos", "0 to 50 make sense", "leave out --next, or give 5")
    out = output or default_out(photos[0])
    talk = Talk(common)
    if len(photos) == 1 and (photos[0] / "project.json").is_file():
        from rilievo.pipelines_check import check_house

        _refuse_foreign(out)
        checked = check_house(
            photos[0], kept=out / "kept", kind=kind, num_next=next_photos, run=run_of(common, talk), say=talk.say
        )
    else:
        checked = _check_photos(photos, out, masks, kind, next_photos, surface, common, talk)
    from rilievo.checking.publish import publish
    from rilievo.checking.verdict import as_text

    publish(checked, out, f"Check of {photos[0].resolve().name}")
    print_result(checked.document, common.json, f"{as_text(checked.document)}\nreport    {out / 'check.html'}")
    failed = checked.level == "bad" or (strict and checked.level != "good")
    return NOT_READY if failed else 0


def _check_photos(photos, out, masks, kind, next_photos, surface, common, talk):
    from rilievo.pipelines_check import CheckSettings, check_photos

    settings = CheckSettings(common.quality, kind, next_photos, surface, common.seed)
    _refuse_foreign(out)
    return check_photos(
        photos, house=out / "kept", masks=masks, settings=settings, run=run_of(common, talk), say=talk.say
    )


def _refuse_foreign(out: Path) -> None:
    if not _is_ours(out):
        raise InputError(
            f"{out} is not empty and no folder of a check",
            "a check writes only into a new folder, or one that a check wrote",
            "give another folder with -o",
        )


def _is_ours(folder: Path) -> bool:
    """Whether a check may write there: new, empty, or written by a check (a killed one leaves only what it kept)."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder", "a check writes a folder", "choose another name with -o")
    names = {p.name for p in folder.iterdir()}
    return not names or "check.json" in names or "kept" in names


def default_out(first: Path) -> Path:
    """my_photos -> my_photos-check, in the current folder."""
    return Path(f"{first.resolve().stem or 'photos'}-check")
