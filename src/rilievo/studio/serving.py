"""A studio at an address: its token, the names it answers to, its run."""

from __future__ import annotations

import secrets
import socket
import sys
from pathlib import Path

import psutil

from rilievo.errors import InputError
from rilievo.studio.app import create_app
from rilievo.studio.limits import Limits
from rilievo.studio.parts import Studio
from rilievo.studio.server import bind, server

LOCAL = ("127.0.0.1", "localhost", "[::1]")


class Serving:
    """Opens the studio of a folder and its port. Raises InputError or ResourceError."""

    def __init__(
        self,
        root: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        threads: int = 0,
        memory_mb: float | None = None,
    ) -> None:
        limits = limits or Limits()
        self.lan = host not in ("127.0.0.1", "localhost", "::1")
        self._socket = bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        try:
            hosts = _names(host) if self.lan else LOCAL
            self.studio = Studio.open(root, limits=limits, threads=threads, memory_mb=memory_mb)
        except BaseException:
            self._socket.close()
            raise
        self.studio.lan = self.lan
        # Kept with the houses, so that pages that are open go on after a restart.
        self.token = self.studio.store.setting("token", lambda: secrets.token_urlsafe(24))
        shown = _shown(host) if self.lan else "127.0.0.1"
        self.url = f"http://{shown}:{self.port}/?token={self.token}"
        self.capture_url = f"http://{shown}:{self.port}/capture?token={self.token}"
        self.server = server(create_app(self.studio, token=self.token, hosts=hosts, port=self.port), limits)

    def run(self) -> None:
        """Until Ctrl-C or SIGTERM."""
        sys.stdout.flush()
        try:
            self.server.run(sockets=[self._socket])
        except KeyboardInterrupt:
            pass
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Ends `run` from another thread."""
        self.server.should_exit = True


def _names(host: str) -> tuple[str, ...]:
    """What a Host header may say when other machines come in: addresses, and what this machine calls itself."""
    own = socket.gethostname().lower()
    local = (*LOCAL, own, own if own.endswith(".local") else f"{own}.local") if own else LOCAL
    if host in ("0.0.0.0", "::"):
        found = [a.address for addresses in psutil.net_if_addrs().values() for a in addresses]
        return (*local, *(a for a in found if a.count(".") == 3), *(f"[{a.split('%')[0]}]" for a in found if ":" in a))
    if ":" in host:
        return (*local, f"[{host}]")
    if not host:
        raise InputError("--host is empty", "it must name an address of this machine", "e.g. --host 192.168.1.20")
    return (*local, host.lower())


def _shown(host: str) -> str:
    """The address to open."""
    if host in ("0.0.0.0", "::"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # nothing is sent: it tells which of our addresses would be used
                return probe.getsockname()[0]
            except OSError:
                return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
