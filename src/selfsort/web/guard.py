"""Who may ask the page's server for what: checked for every request, before anything else."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

MAX_BODY = 8_000_000
MAX_AT_ONCE = 64
"""Requests that are worked on at a time; more are told to come again."""
SECONDS_FOR_BODY = 30.0
SECONDS_FOR_ANSWER = 600.0
"""An export of very many images takes minutes."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True)
class Rules:
    """What the server answers to.

    Attributes
    ----------
    hosts : frozenset of str
        Values of the header Host, exactly. A page elsewhere whose name was made to point here
        (DNS rebinding) sends its own name.
    token : str
    cookie : str
        Its name holds the port: cookies of one host go to all its ports.
    """

    hosts: frozenset[str]
    token: str
    cookie: str

    @property
    def origins(self) -> frozenset[str]:
        """Return the values of the header Origin of our own pages."""
        return frozenset(f"http://{host}" for host in self.hosts)


class Guard:
    """Wraps the application.

    A request is refused unless its Host is ours, its Origin is ours (a write must have one; a read
    may have none), it carries the token, and a write is JSON of a limited size. ``/health`` alone
    needs no token.

    Parameters
    ----------
    app : ASGI application
    rules : Rules
    """

    def __init__(self, app: App, rules: Rules) -> None:
        self.app = app
        self.rules = rules
        self._n_now = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no web sockets here
            return
        if self._n_now >= MAX_AT_ONCE:
            await refuse(send, 503, "Too much at once: try again.", [(b"retry-after", b"1")])
            return
        self._n_now += 1
        try:
            await self._checked(scope, receive, send)
        finally:
            self._n_now -= 1

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        problem = self._problem(scope, headers)
        if problem is not None:
            await refuse(send, *problem)
            return
        if self._brings_token(scope):
            await self._let_in(send)
            return
        if scope["method"] == "POST":
            body = await _read(receive, headers)
            if isinstance(body, tuple):
                await refuse(send, *body)
                return
            receive = _replayed(body, receive)
        await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        try:
            await asyncio.wait_for(self.app(scope, receive, sending), SECONDS_FOR_ANSWER)
        except TimeoutError:
            if not began:
                await refuse(send, 503, "That took too long: try again.")

    def _problem(self, scope: Scope, headers: dict[str, list[str]]) -> tuple[int, str] | None:
        host, origin = headers.get("host", []), headers.get("origin", [])
        if len(host) != 1 or host[0] not in self.rules.hosts:
            return 403, "This host is not served here."
        writes = scope["method"] not in ("GET", "HEAD")
        if (writes or origin) and (len(origin) != 1 or origin[0] not in self.rules.origins):
            return 403, "Requests from other pages are refused."
        if scope["path"] == "/health":
            return None
        if not self._has_token(headers) and not self._brings_token(scope):
            return 401, "Open the page by the address that selfsort printed."
        kind = headers.get("content-type", [""])[0].partition(";")[0].strip().lower()
        if writes and kind != "application/json":
            return 415, "Send JSON."
        return None

    def _has_token(self, headers: dict[str, list[str]]) -> bool:
        cookies: SimpleCookie = SimpleCookie()
        try:
            for line in headers.get("cookie", []):
                cookies.load(line)
        except CookieError:
            return False
        found = cookies.get(self.rules.cookie)
        return found is not None and self._is_token(found.value)

    def _brings_token(self, scope: Scope) -> bool:
        """Return whether this is the address that was printed."""
        if scope["path"] != "/" or scope["method"] != "GET":
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        return len(given) == 1 and self._is_token(given[0])

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.rules.token.encode())

    async def _let_in(self, send: Send) -> None:
        """Keep the token in a cookie, and show the page without it in the address."""
        cookie = f"{self.rules.cookie}={self.rules.token}; Path=/; HttpOnly; SameSite=Strict"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode())]
        await refuse(send, 303, "", headers)


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


async def _read(receive: Receive, headers: dict[str, list[str]]) -> bytes | tuple[int, str]:
    """Return the body of a request, or why it is refused."""
    too_large = 413, f"At most {MAX_BODY // 1_000_000} MB."
    length = headers.get("content-length", ["0"])[0]
    if not length.isdecimal() or int(length) > MAX_BODY:
        return too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(SECONDS_FOR_BODY):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return 400, "The request ended early."
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > MAX_BODY:
                    return too_large
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        return 408, "The request took too long to arrive."


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return what gives the application a body that was read already."""
    given = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def refuse(
    send: Send, status: int, sentence: str, more: list[tuple[bytes, bytes]] | None = None
) -> None:
    """Answer with a status and a sentence, as JSON."""
    body = b'{"error": "' + sentence.encode() + b'"}' if sentence else b""
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    headers += [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    headers += [(b"content-length", str(len(body)).encode()), *(more or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
