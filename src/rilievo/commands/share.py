"""`rilievo share`: one page of a model that opens from disk, also on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from rilievo.commands.common import Common, parse_megabytes, print_result, spell_megabytes


def share(
    house: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="HOUSE|FILE")],
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="PAGE")] = None,
    what: Literal["mesh", "splats", "cloud"] | None = None,
    max_size: Annotated[str, tyro.conf.arg(metavar="SIZE")] = "20M",
    common: Common = Common(),
) -> int:
    """Write one self-contained web page of a model: it opens from disk and on a phone, without network.

    Args:
        house: a project folder or a file of a mesh, a cloud or splats.
        output: the page to write (default: NAME.html in the current folder).
        what: what it shows (default: the mesh, where there is one).
        max_size: of the page; the model is simplified to fit.
    """
    from rilievo.io.files import replacing
    from rilievo.view.share import share_page

    limit = parse_megabytes(max_size)
    raw, facts = share_page(house, what, int(limit * 2**20))
    target = output or Path(f"{house.resolve().stem or 'model'}.html")
    with replacing(target) as file:
        file.write(raw)
    size = spell_megabytes(len(raw) / 2**20) if len(raw) > 2**20 else f"{len(raw) // 1024} KiB"
    print_result({"file": str(target), **facts}, common.json, f"{target} ({facts['what']}, {size})")
    return 0
