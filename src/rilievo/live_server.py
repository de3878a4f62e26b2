"""A small local web server for one page: bound to 127.0.0.1, with a secret in its address, for nobody else.

What is refused, and why: a `Host` that is not this machine (DNS rebinding), an `Origin` or `Sec-Fetch-Site` of another
page (cross-site requests), an address without the secret, long addresses, large bodies, methods other than GET
and POST.
Connections that have not shown the secret yet are few and short-lived, so that strangers cannot keep the owner out.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from rilievo.errors import ResourceError

MAX_ADDRESS = 2048  # characters of a request's path and query
MAX_BODY = 1024  # bytes
MAX_STRANGERS = 32  # connections that have not shown the secret
MAX_CONNECTIONS = 96
TIMEOUT_S = 15.0  # without a byte going either way
CLOSE_S = 5.0  # for what is being answered when the server ends

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Refused(Exception):
    """A request that is not answered: its HTTP status and a reason for people."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class Answer:
    """What goes back: bytes of a kind, with more headers. status 204 has no body."""

    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] | None = None

    @classmethod
    def json(cls, value: Any) -> Answer:
        """A JSON document."""
        return cls(json.dumps(value, allow_nan=False).encode(), "application/json")


# (what the address says behind the secret, the query, the body of a POST or None) -> what goes back
Handle = Callable[[str, dict[str, str], Any], Answer]


class LocalServer:
    """Serves `handle` at http://127.0.0.1:PORT/SECRET/ until `close`. max_body: bytes that a POST may have. Raises
    ResourceError when the port is taken."""

    def __init__(self, handle: Handle, port: int = 0, *, max_body: int = MAX_BODY) -> None:
        token = secrets.token_urlsafe(24)
        bound = {"handle_answer": staticmethod(handle), "token": token, "max_body": max_body}
        handler = type("_BoundHandler", (_Handler,), bound)
        try:
            self._server = _Server(("127.0.0.1", port), handler)
        except (OSError, OverflowError) as error:
            raise ResourceError(
                f"the page cannot be served at port {port}",
                getattr(error, "strerror", None) or str(error),
                "choose another port, or 0 for any that is free",
            ) from error
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/{token}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends all connections and frees the port. What is being answered is waited for, a little: a thread that is in
        native code while Python ends would abort the process."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.hang_up()
        self._server.wait_until_idle(CLOSE_S)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = os.name != "nt"  # there it would let another program take the port as well
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._lock = threading.Lock()
        self._strangers: dict[socket.socket, None] = {}
        self._known: set[socket.socket] = set()
        self._idle = threading.Condition(self._lock)
        self._answering = 0
        super().__init__(address, handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's would ask the network for this machine's name
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """A new connection: the oldest stranger makes room for it."""
        with self._lock:
            if len(self._known) + len(self._strangers) >= MAX_CONNECTIONS and not self._strangers:
                super().shutdown_request(request)
                return
            if len(self._strangers) >= MAX_STRANGERS:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]
                _hang_up(oldest)
            self._strangers[request] = None
        super().process_request(request, client_address)

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """A request is being answered meanwhile."""
        with self._lock:
            self._answering += 1
        try:
            yield
        finally:
            with self._idle:
                self._answering -= 1
                self._idle.notify_all()

    def wait_until_idle(self, seconds: float) -> None:
        """Until nothing is being answered."""
        with self._idle:
            self._idle.wait_for(lambda: not self._answering, seconds)

    def showed_secret(self, request: socket.socket) -> None:
        """This connection is the owner's."""
        with self._lock:
            if request in self._strangers:
                del self._strangers[request]
                self._known.add(request)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._strangers.pop(request, None)
            self._known.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Ends what is still open."""
        with self._lock:
            for request in [*self._strangers, *self._known]:
                _hang_up(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no news."""


def _hang_up(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "rilievo", ""
    timeout = TIMEOUT_S
    disable_nagle_algorithm = True  # small answers must not wait for an acknowledgement
    wbufsize = -1
    handle_answer: Handle
    token: str
    max_body = MAX_BODY

    def do_GET(self) -> None:
        self._respond(None)

    def do_POST(self) -> None:
        try:
            body = self._read_body()
        except Refused as refused:
            self._refuse(refused.status, refused.reason)
            return
        self._respond(body)

    def _respond(self, body: Any) -> None:
        try:
            place, query = self._checked()
            server = self.server
            assert isinstance(server, _Server)
            server.showed_secret(self.connection)
            with server.answering():
                answer = self.handle_answer(place, query, body)
        except Refused as refused:
            self._refuse(refused.status, refused.reason)
            return
        self._send(answer)

    def _checked(self) -> tuple[str, dict[str, str]]:
        """Where in the secret's folder the request points, and its query. Raises Refused."""
        host = self.headers.get("Host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name not in ("127.0.0.1", "localhost") or len(self.headers.get_all("Host") or []) != 1:
            raise Refused(403, "this picture is served to this machine only")
        if len(self.path) > MAX_ADDRESS:
            raise Refused(414, "the address is too long")
        try:
            address = urlsplit(self.path)
            query = dict(parse_qsl(address.query, max_num_fields=32, keep_blank_values=True))
        except ValueError as error:
            raise Refused(400, "the address cannot be read") from error
        parts = address.path.split("/", 2)
        shown = parts[1] if len(parts) == 3 else ""
        if address.netloc or not secrets.compare_digest(shown.encode(), self.token.encode()):
            raise Refused(403, "open the address that rilievo printed: it holds a secret")
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site")
        opens_page = self.command == "GET" and parts[2] == "" and self.headers.get("Sec-Fetch-Mode") == "navigate"
        foreign = site is not None and site not in ("same-origin", "none") and not opens_page
        if foreign or (origin is not None and origin != f"http://{host}"):
            raise Refused(403, "another page may not ask for this picture")
        return parts[2], query

    def _read_body(self) -> Any:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            raise Refused(411, "the size of the message is not said")
        if len(length) > 9 or int(length) > self.max_body:
            raise Refused(413, "the message is too large")
        raw = self.rfile.read(int(length))
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise Refused(400, "the message is no JSON") from error

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in {**_HEADERS, **(answer.headers or {})}.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    def _refuse(self, status: int, reason: str) -> None:
        """Says why and hangs up, so that what else was sent is not taken for a request."""
        self.close_connection = True
        self._send(Answer(f"{reason}\n".encode(), status=status, headers={"Connection": "close"}))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses: without repeating what was sent."""
        self.request_version = "HTTP/1.1"  # else http.server leaves out the status
        self._refuse(int(code), "the request is not understood")

    def log_message(self, format: str, *args: Any) -> None:
        """Talk about requests belongs nowhere."""


def has_screen() -> bool:
    """Without one, a browser in the terminal would get in the way of the progress lines."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True
