"""Serving the application: the socket, connections that say nothing, the end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from rilievo.errors import ResourceError
from rilievo.studio.limits import Limits


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ResourceError when the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(256)
    except (OSError, OverflowError) as error:
        raise ResourceError(
            f"the studio cannot be served at {host} port {port}",
            getattr(error, "strerror", None) or str(error),
            "choose another --port, or 0 for any that is free",
        ) from error
    return listening


def server(app: Any, limits: Limits) -> uvicorn.Server:
    """A server of the application; `run(sockets=[...])` blocks until `should_exit`."""
    protocol = type("_Bound", (_Patient,), {"limits": limits, "open_ones": {}})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=32_768,
    )
    return uvicorn.Server(config)


class _Patient(H11Protocol):
    """Connections whose request's head does not come are ended; of too many, the one that has said nothing longest."""

    limits: Limits
    open_ones: dict[_Patient, None]
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A new one."""
        super().connection_made(transport)
        self.open_ones[self] = None
        if len(self.open_ones) > self.limits.connections:
            idle = next((c for c in self.open_ones if c._waits()), None)
            (idle or self).transport.abort()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self.open_ones.pop(self, None)
        self._relax()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes: of a head or of a body."""
        if self._waits():
            self._watch()
        super().data_received(data)
        if not self._waits():
            self._relax()

    def _waits(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.request_head_s, self._expire)

    def _relax(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if self._waits():
            with contextlib.suppress(Exception):
                self.transport.abort()
