"""`rilievo serve`: the studio, everything without a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from rilievo.commands.common import Common, Talk, parse_megabytes, print_result

DEFAULT_PORT = 8765


def serve(
    houses_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="HOUSES_DIR")] = Path("houses"),
    port: int = DEFAULT_PORT,
    host: str = "127.0.0.1",
    no_browser: bool = False,
    common: Common = Common(),
) -> int:
    """The studio in the browser: drop photos or a video, choose what to make, watch, look, download.

    Served to this machine only, at an address with a secret; Ctrl-C ends it. Jobs that ran then go on with the next
    start. Programs that know NodeODM (WebODM, CloudODM, PyODM) can use it as a processing node with that token.

    Args:
        houses_dir: folder of the houses; made where it is missing. Nothing is written outside it.
        port: where to serve; 0 is any port that is free.
        host: this machine's address in your network, for phones and other machines; all who know the token come in.
        no_browser: print the address only.
    """
    from rilievo.commands.view import open_browser
    from rilievo.studio.serving import Serving

    talk = Talk(common)
    memory_mb = parse_megabytes(common.memory) if common.memory else None
    serving = Serving(houses_dir, host=host, port=port, threads=common.threads, memory_mb=memory_mb)
    print_result({"url": serving.url, "port": serving.port, "houses": str(houses_dir)}, common.json, serving.url)
    if serving.lan:
        talk.say(
            f"warning: other machines in this network can reach the studio at {host}: whoever has the address above with\n"
            "         its token can see, change and delete all houses, and what is sent is not encrypted.\n"
            f"phone:   {serving.capture_url}"
        )
    talk.say(f"houses in {houses_dir}; Ctrl-C ends it, jobs that run go on with the next start")
    if not no_browser:
        open_browser(serving.url)
    serving.run()
    return 0
