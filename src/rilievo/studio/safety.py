"""Who may ask, and how long: the layer around the application that every request goes through.

Refused: a `Host` that is not this studio's (DNS rebinding); an `Origin` or `Sec-Fetch-Site` of another page
(cross-site requests); requests without the token, as cookie, `token=` or `Authorization: Bearer`; long bodies where
none belong; clients that fall silent.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.exceptions import HTTPException

from rilievo.studio.limits import Limits

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PAGES = ("/", "/capture")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "geolocation=(), microphone=(), camera=(self)",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
}
MAX_ADDRESS = 4096
KEY_PROBLEM = (
    "This page has no key to the studio",
    "every address of it needs the token",
    "open the address that `rilievo serve` printed",
)


class Safety:
    """ASGI layer. hosts: what a Host header may say, without the port; port: None for any (tests)."""

    def __init__(
        self,
        app: Any,
        *,
        token: str,
        hosts: Collection[str],
        port: int | None,
        limits: Limits,
        large: Callable[[str], bool],
    ) -> None:
        self.app, self.token, self.hosts, self.port = app, token, frozenset(hosts), port
        self.limits, self.large = limits, large
        self.cookie = f"rilievo-{port or 0}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets here
            return
        send = self._with_headers(scope, send)
        refusal = self._check(scope)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        if scope["method"] in ("GET", "HEAD") and scope["path"] in PAGES and "token=" in _text(scope["query_string"]):
            await self._greet(scope, send)
            return
        await self.app(scope, self._bounded(scope, receive), send)

    # who

    def _check(self, scope: Scope) -> tuple[int, str, str, str] | None:
        headers = [(k.lower(), v) for k, v in scope["headers"]]
        values = {k: v.decode("latin-1") for k, v in headers}
        host = values.get(b"host", "").lower()
        name, _, port = host.rpartition(":") if ":" in host.rsplit("]", 1)[-1] else (host, "", "")
        if sum(k == b"host" for k, _ in headers) != 1 or name not in self.hosts or not self._right_port(port):
            return (
                403,
                "This address is not the studio's",
                "the request names another host, as pages do that were moved onto this address",
                "open the address that `rilievo serve` printed",
            )
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_ADDRESS:
            return 414, "The address is too long", f"{MAX_ADDRESS} characters are the most", ""
        origin, site = values.get(b"origin"), values.get(b"sec-fetch-site")
        opens = scope["method"] == "GET" and scope["path"] in PAGES and values.get(b"sec-fetch-mode") == "navigate"
        if (origin is not None and origin != f"{scope['scheme']}://{host}") or (
            site is not None and site not in ("same-origin", "none") and not opens
        ):
            return (
                403,
                "Another page may not ask the studio",
                f"the request comes from {origin or 'elsewhere'}"[:200],
                "",
            )
        if not self._has_token(scope, values):
            return 401, *KEY_PROBLEM
        return None

    def _right_port(self, port: str) -> bool:
        return self.port is None or port == str(self.port) or (port == "" and self.port == 80)

    def _has_token(self, scope: Scope, values: dict[bytes, str]) -> bool:
        shown = [
            part.split("=", 1)[1]
            for part in values.get(b"cookie", "").split("; ")
            if part.startswith(f"{self.cookie}=")
        ]
        shown += [v for k, v in _query(scope) if k == "token"]
        scheme, _, bearer = values.get(b"authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            shown.append(bearer.strip())
        return any(secrets.compare_digest(s.encode(), self.token.encode()) for s in shown)

    async def _greet(self, scope: Scope, send: Send) -> None:
        """The token moves from the address into a cookie that scripts do not see."""
        rest = urlencode([(k, v) for k, v in _query(scope) if k != "token"])
        cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
        headers = [
            (b"location", (scope["path"] + (f"?{rest}" if rest else "")).encode("ascii", "replace")),
            (b"set-cookie", cookie.encode()),
            (b"content-length", b"0"),
        ]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    # how long

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        most = None if self.large(scope["path"]) else self.limits.json_bytes
        came = 0
        over = False

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal came, over
            if over:  # only to hear that the client has gone: that may take as long as it likes
                return await receive()
            try:
                async with asyncio.timeout(self.limits.silence_s):
                    message = await receive()
            except TimeoutError:
                raise Stopped(408, "The request stopped", f"nothing came for {self.limits.silence_s:.0f} s") from None
            over = message["type"] != "http.request" or not message.get("more_body", False)
            came += len(message.get("body", b""))
            if most is not None and came > most:
                raise Stopped(413, "The request is too large", f"{most} bytes are the most here")
            return message

        return bounded

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                there = {k.lower() for k, _ in message["headers"]}
                more = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in there]
                message["headers"] = [*message["headers"], *more]
            try:
                async with asyncio.timeout(self.limits.silence_s):
                    await send(message)
            except TimeoutError:
                raise ConnectionAbortedError("the client does not take what it asked for") from None

        return sending


class Stopped(HTTPException):
    """A body that is not read to its end. An HTTPException, because nothing else gets through the reading of forms."""

    def __init__(self, status: int, what: str, why: str) -> None:
        super().__init__(status, what)
        self.document = {"error": what, "why": why, "hint": ""}


def _query(scope: Scope) -> list[tuple[str, str]]:
    try:
        return parse_qsl(_text(scope["query_string"]), keep_blank_values=True, max_num_fields=64)
    except ValueError:
        return []


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")


async def _refuse(send: Send, status: int, what: str, why: str, hint: str) -> None:
    raw = json.dumps({"error": what, "why": why, "hint": hint}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(raw)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": raw})
