"""One request on its way through: what an endpoint sees of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl

from fondaco.content import Content
from fondaco.errors import MalformedForm, PayloadTooLarge, UnsupportedContentType
from fondaco.http.reply import Header
from fondaco.ids import request_id
from fondaco.media.multipart import BadForm, FileTooLarge, Form, boundary_of, read_form

if TYPE_CHECKING:
    from fondaco.keys.caller import Caller
    from fondaco.limits.ticket import Ticket


FILE_TOO_LARGE = "File exceeds the maximum allowed size of 25 MB."


class ClientGone(Exception):
    """The client closed the connection before its request was whole: nobody is left to answer."""


class Client(Protocol):
    """The connection that a request came by and its answer goes out on."""

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None: ...
    def begin(self, status: int, headers: Sequence[Header]) -> None: ...
    def piece(self, data: bytes) -> None: ...
    def end(self) -> None: ...
    def clogged(self) -> asyncio.Future[None] | None: ...
    def continue_body(self) -> None: ...


class Call:
    """One HTTP request. `ticket` is set once its key has been checked."""

    __slots__ = (
        "_body",
        "_waiter",
        "client",
        "complete",
        "gone",
        "headers",
        "last",
        "method",
        "model",
        "old",
        "path",
        "path_params",
        "query_string",
        "request_id",
        "size",
        "started",
        "template",
        "ticket",
        "too_large",
    )

    def __init__(
        self, client: Client, method: str, path: str, query_string: bytes, headers: dict[bytes, bytes]
    ) -> None:
        """`headers` are by lower-case name; of a repeated one the last."""
        self.client = client
        self.method = method
        self.path = path
        self.query_string = query_string
        self.headers = headers
        self.request_id = request_id()
        self.started = time.perf_counter()
        self.ticket: Ticket | None = None
        """Who asks, and what limits and money know of it; None on open routes without a key."""
        self.path_params: dict[str, str] = {}
        self.template = "-"
        """The route's own path, for logs: what the client wrote in its place may be anything."""
        self.model: str | None = None
        """The id of the model that runs, for logs and headers."""
        self.gone = False
        """The client has left."""
        self.complete = False
        """The whole body is in."""
        self.too_large = False
        self.last = False
        """The client wants the connection closed after the answer."""
        self.old = False
        """The client speaks HTTP/1.0."""
        self.size = 0
        """How much of the body has come."""
        self._body: bytes | bytearray = b""
        self._waiter: asyncio.Future[None] | None = None

    @property
    def caller(self) -> Caller | None:
        """Who asks; None where nobody has to say."""
        return None if self.ticket is None else self.ticket.caller

    @property
    def admitted(self) -> Ticket:
        """The ticket on a route that needs a key."""
        assert self.ticket is not None, "the route is open"
        return self.ticket

    @property
    def identified(self) -> Caller:
        """The caller on a route that needs a key."""
        return self.admitted.caller

    def query(self) -> dict[str, str]:
        """Query parameters; of a repeated one the last."""
        raw = self.query_string
        return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True)) if raw else {}

    async def json_body(self) -> Content[bytes]:
        """The body of a request that must be JSON, once: it is not kept here. Raises UnsupportedContentType, PayloadTooLarge."""
        kind = self.headers.get(b"content-type")
        if kind is not None and kind != b"application/json":
            bare = kind.partition(b";")[0].strip().lower()
            if bare != b"application/json":
                raise UnsupportedContentType("Invalid request content-type: it must be application/json")
        if not self.complete:
            await self.wait_whole()
        body, self._body = self._body, b""
        return Content(body if type(body) is bytes else bytes(body))

    async def form_body(self) -> Form:
        """The body of a request that must be multipart/form-data, once: it is not kept here.

        Raises UnsupportedContentType, PayloadTooLarge and MalformedForm.
        """
        try:
            boundary = boundary_of(self.headers.get(b"content-type", b""))
            if not boundary:
                raise UnsupportedContentType("Invalid request content-type: it must be multipart/form-data")
            await self.wait_whole()
            body, self._body = self._body, b""
            return read_form(bytes(body), boundary)
        except (PayloadTooLarge, FileTooLarge):  # what is so large is always the file
            raise PayloadTooLarge(FILE_TOO_LARGE) from None
        except BadForm as bad:
            raise MalformedForm(f"Invalid form request: {bad}") from None

    async def peek_body(self) -> Content[bytes | bytearray]:
        """The whole body, which stays for whoever reads it after. Raises PayloadTooLarge, and ClientGone."""
        if not self.complete:
            await self.wait_whole()
        return Content(self._body)

    async def wait_whole(self) -> None:
        """Until the whole body is in. Raises PayloadTooLarge as soon as it is known to be, and ClientGone."""
        if not (self.complete or self.size or self.too_large or self.old):
            expected = self.headers.get(b"expect")
            if expected is not None and expected.strip().lower() == b"100-continue":
                self.client.continue_body()
        while not self.complete:
            if self.too_large:
                raise PayloadTooLarge
            if self.gone:
                raise ClientGone
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    # Called by the connection as the body comes in.

    def take(self, piece: bytes, limit: int) -> None:
        before = self.size
        self.size += len(piece)
        if self.size > limit:
            self.overflow()
        elif not before:
            self._body = piece
        elif type(self._body) is bytearray:
            self._body += piece
        else:
            # Not a list of pieces: of very small ones that would take many times the body's size.
            self._body = bytearray(self._body)
            self._body += piece

    def overflow(self) -> None:
        """The body is longer than is taken: it is thrown away."""
        self.too_large = True
        self._body = b""
        self._wake()

    def finish(self) -> None:
        self.complete = not self.too_large
        self._wake()

    def hang_up(self) -> None:
        """No more of the body will come."""
        if not self.complete:
            self.gone = True
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
