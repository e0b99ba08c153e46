"""Which transport carries an exchange: the relay, save where a target lies behind a proxy."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from fondaco.upstream.relay import RelayTransport
from fondaco.upstream.transport import ConnectFailed, Exchange, Target, Transport

if TYPE_CHECKING:
    from fondaco.upstream.aiohttp_transport import AiohttpTransport


def open_transport() -> Transport:
    """The transport for all engines. Close it when the gateway ends."""
    return _RoutedTransport()


class _RoutedTransport:
    def __init__(self) -> None:
        self._relay = RelayTransport()
        self._proxied: AiohttpTransport | None = None
        self._closed = False

    def send(
        self,
        target: Target,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: bytes = b"application/json",
    ) -> Awaitable[Exchange]:
        carrier = self._relay if target.proxy is None else self._through_proxy()
        return carrier.send(target, method, path, body, content_type)

    async def close(self) -> None:
        self._closed = True
        await self._relay.close()
        if self._proxied is not None:
            await self._proxied.close()

    def _through_proxy(self) -> AiohttpTransport:
        if self._closed:
            raise ConnectFailed("the transport is closed")
        if self._proxied is None:
            # aiohttp takes a quarter of a second and 16 MiB to import, which most gateways never need.
            from fondaco.upstream.aiohttp_transport import AiohttpTransport

            self._proxied = AiohttpTransport()
        return self._proxied
