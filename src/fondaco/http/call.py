"""One request on its way through: what an endpoint sees of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from fondaco.content import Content
from fondaco.errors import PayloadTooLarge, UnsupportedContentType
from fondaco.keys.service import Caller

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ClientGone(Exception):
    """The client closed the connection before its request was whole: nobody is left to answer."""


class Call:
    """One HTTP request. `caller` is set once the route's access rule has been met; None on open routes."""

    __slots__ = (
        "body_read",
        "caller",
        "gone",
        "max_body",
        "method",
        "model",
        "path",
        "path_params",
        "receive",
        "request_id",
        "scope",
        "started",
        "template",
    )

    def __init__(self, scope: Scope, receive: Receive, request_id: str, max_body: int) -> None:
        self.scope = scope
        self.receive = receive
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.request_id = request_id
        self.max_body = max_body
        self.started = time.perf_counter()
        self.caller: Caller | None = None
        self.path_params: dict[str, str] = {}
        self.template = "-"
        """The route's own path, for logs: what the client wrote in its place may be anything."""
        self.model: str | None = None
        """The id of the model that runs, for logs and headers."""
        self.body_read = self.method in ("GET", "HEAD")
        """Nothing more of the body is to come: from now on `receive` tells only of the client's leaving."""
        self.gone = False
        """The client has left."""

    @property
    def identified(self) -> Caller:
        """The caller on a route that needs a key."""
        assert self.caller is not None, "the route is open"
        return self.caller

    def header(self, name: bytes) -> bytes | None:
        """The first header of that lower-case name."""
        for key, value in self.scope["headers"]:
            if key == name:
                return value
        return None

    def query(self) -> dict[str, str]:
        """Query parameters; of a repeated one the last."""
        raw: bytes = self.scope["query_string"]
        return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True)) if raw else {}

    async def body(self) -> Content[bytes]:
        """The whole body. Raises PayloadTooLarge as soon as it is known to be, without reading the rest."""
        length = self.header(b"content-length")
        if length is not None and length.isdigit() and int(length) > self.max_body:
            raise PayloadTooLarge
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self.max_body:
                raise PayloadTooLarge
            self.body_read = True
            return Content(body)
        parts: list[bytes] = [message.get("body", b"")]
        size = len(parts[0])
        while message.get("more_body"):
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self.max_body:
                raise PayloadTooLarge
            parts.append(part)
        self.body_read = True
        return Content(b"".join(parts))

    async def json_body(self) -> Content[bytes]:
        """The body of a request that must be JSON, not yet read. Raises UnsupportedContentType, PayloadTooLarge."""
        kind = self.header(b"content-type")
        if kind is not None and kind != b"application/json":
            bare = kind.partition(b";")[0].strip().lower()
            if bare != b"application/json":
                raise UnsupportedContentType("Invalid request content-type: it must be application/json")
        return await self.body()
