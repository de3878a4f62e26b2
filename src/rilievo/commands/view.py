"""`rilievo view`: a house or files of models in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from rilievo.commands.common import Common, Talk, print_result


def view(
    sources: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="HOUSE|FILE...")],
    port: int = 0,
    no_browser: bool = False,
    common: Common = Common(),
) -> int:
    """Show a house or files of models in the browser: turn them, measure, compare.

    Served to this machine only, at an address with a secret; Ctrl-C ends it.

    Args:
        sources: project folders, or files: meshes and clouds (glb, obj, ply, stl), splats (ply, spz, splat, sog, glb).
            Several are shown together.
        port: where to serve; 0 is any port that is free.
        no_browser: print the address only.
    """
    from rilievo.errors import InputError
    from rilievo.live_server import LocalServer
    from rilievo.view.scene import ViewScene

    if not sources:
        raise InputError("nothing to show", "the command line names no house and no file", "rilievo view HOUSE")
    talk = Talk(common)
    with ViewScene(sources) as scene:
        server = LocalServer(scene.answer, port, max_body=1 << 18)
        try:
            print_result({"url": server.url, "port": server.port}, common.json, server.url)
            talk.say("Ctrl-C ends it")
            if not no_browser:
                open_browser(server.url)
            wait_for_end()
        finally:
            server.close()
    return 0


def open_browser(url: str) -> None:
    """Shows an address, where there is a screen."""
    import threading
    import webbrowser

    from rilievo.live_server import has_screen

    if has_screen():
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def wait_for_end() -> None:
    """Until Ctrl-C."""
    import sys
    import threading

    from rilievo import interrupt

    sys.stdout.flush()
    try:
        while True:
            threading.Event().wait(0.5)
            interrupt.check()
    except KeyboardInterrupt:
        return
