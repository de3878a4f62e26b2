"""`rilievo mask`: what lies in photos (sky, people, moving things, mirrors, glass, background) is masked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from rilievo.commands.common import Common, Talk, print_result, run_of
from rilievo.errors import InputError


def mask(
    photos: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTOS|HOUSE...")],
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="HOUSE")] = None,
    auto: Annotated[str, tyro.conf.arg(metavar="KINDS")] = "sky,moving,mirror",
    masks: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    grow: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.003,
    separate: bool = False,
    common: Common = Common(),
) -> int:
    """Mask what should not be measured: HOUSE/masks/photo.jpg.png, black where the photo is not used.

    Then: rilievo build PHOTOS -o HOUSE --masks HOUSE/masks (or both at once: rilievo build PHOTOS --auto-masks KINDS).
    The photos stay as they are.

    Args:
        photos: photos, folders or a video; or a house, whose cameras and surface are used.
        output: the project folder to write to (default: the first input's name with -masked behind it; of a house:
            itself).
        auto: what to mask, with commas between: sky, people, moving (what stands elsewhere in most other photos),
            mirror (and what is seen in it), glass (panes that reflect, and what is seen through them), background (all
            but the thing that a photo is of), or all (but background).
            people and background need weights (rilievo weights get nanodet, isnet).
        masks: masks that you have; what they hide stays hidden.
        grow: by how much what is masked grows, as a share of the photo's longer side.
        separate: build what moved too, by itself, in HOUSE/moving (it must be stiff and in enough photos).
    """
    from rilievo.pipelines_mask import MaskSettings, parse_kinds, photos_to_masks
    from rilievo.pipelines_separate import separate_moving
    from rilievo.plan import BuildSettings

    if not photos:
        raise InputError("no photos were given", "the command line names no input", "rilievo mask FOLDER --auto sky")
    kinds = parse_kinds(auto)
    if not 0 <= grow <= 0.1:
        raise InputError(f"--grow {grow:g} cannot be", "it is a share of the photo, 0 to 0.1", "the default is 0.003")
    if separate and "moving" not in kinds:
        raise InputError("--separate is of no use", "moving things are not looked for", "add moving to --auto")
    of_house = len(photos) == 1 and (photos[0] / "project.json").is_file()
    if of_house and output is not None and output.resolve() != photos[0].resolve():
        raise InputError(
            "masks of a house are written into it", f"-o names {output}", "leave -o out, or give the photos instead"
        )
    house = photos[0] if of_house else output or Path(f"{photos[0].resolve().stem or 'photos'}-masked")
    talk = Talk(common)
    run = run_of(common, talk)
    report = photos_to_masks(
        photos,
        house,
        masks=masks,
        settings=MaskSettings(kinds=kinds, grow=grow, seed=common.seed),
        run=run,
        say=talk.say,
    )
    lines = [f"{report['photos']} photos, {100 * report['hidden']:.1f} % of their pixels are masked"]
    for kind, row in report["kinds"].items():
        lines.append(f"{kind:<12}{row['photos']:>4} photos, {100 * row['share']:.2f} % of all pixels")
    lines += [f"{kind:<12}left out: {why}" for kind, why in report["left_out"].items()]
    lines += [f"note        {note}" for note in report["notes"]]
    if hidden := report["mostly_hidden"]:
        more = f" and {len(hidden) - 3} more" if len(hidden) > 3 else ""
        lines.append(f"warning     more than nine tenths are masked of {', '.join(hidden[:3])}{more}")
    if separate:
        sources = [Path(p) for p in photos] if not of_house else _photos_of(house)
        made, why = separate_moving(
            sources, house, settings=BuildSettings(quality=common.quality, seed=common.seed), run=run
        )
        report["separate"] = {"house": str(house / "moving") if made else None, "reason": why}
        lines.append(
            f"moving      {house / 'moving' / 'export' / 'model.glb'}" if made else f"moving      not built: {why}"
        )
    lines.append(f"masks       {report['folder']} (look at overview.png)")
    if not of_house:
        lines.append(f"next        rilievo build {' '.join(map(str, photos))} -o {house} --masks {report['folder']}")
    print_result(report, common.json, "\n".join(lines))
    return 0


def _photos_of(house: Path) -> list[Path]:
    """The files of a house's photos; a video once."""
    from rilievo.placed import load_placed

    return list(dict.fromkeys(s.path for s in load_placed(house).sources.values()))
