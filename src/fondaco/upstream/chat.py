"""One chat exchange with an engine: the request out, events back, every failure as one of our errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from fondaco.upstream.chat_stream import Event, EventReader, whole
from fondaco.upstream.faults import failed, refusal
from fondaco.upstream.transport import Exchange, Target, Transport, TransportError
from fondaco.upstream.wire import EngineRequest

PATH = "/chat/completions"
MAX_ANSWER = 64 * 1024 * 1024

encoded: Callable[[EngineRequest], bytes] = msgspec.json.Encoder().encode
"""The body of a request to an engine."""


class EngineReply:
    """An answer that an engine has begun: take its events with `more`, and always `aclose` it."""

    __slots__ = ("_exchange", "_over", "_pieces", "_reader", "whole")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._over = False
        self._reader: EventReader | None = None
        self.whole = False
        """The answer is one event."""
        if exchange.headers.get(b"content-type", b"").lower().startswith(b"text/event-stream"):
            self._reader = EventReader()
            self._pieces = exchange.chunks()
        else:
            self.whole = True

    async def more(self) -> list[Event]:
        """The events that came next, in order; none when the answer is over.

        Raises UpstreamFailed, RequestTimeout or what the engine's error event says.
        """
        if self._over:
            return []
        try:
            reader = self._reader
            if reader is None:
                self._over = True
                return [whole(await self._exchange.read(MAX_ANSWER))]
            while not reader.done:
                piece = await anext(self._pieces, None)
                found = reader.end() if piece is None else reader.feed(piece)
                if found:
                    return found
        except TransportError as error:
            raise failed(error) from None
        self._over = True
        return []

    def aclose(self) -> Awaitable[None]:
        """Leave the engine: at once if it still talks. `more` has nothing more to say then."""
        self._over = True
        return self._exchange.aclose()


async def ask(transport: Transport, target: Target, body: bytes) -> EngineReply:
    """Send a request and wait until the engine takes it. Raises the error that its refusal or silence means."""
    try:
        exchange = await transport.send(target, "POST", PATH, body)
        if exchange.status == 200:
            return EngineReply(exchange)
        try:
            raise await refusal(exchange)
        finally:
            await exchange.aclose()
    except TransportError as error:
        raise failed(error) from None
