"""A seat at the engine of a resolved model, be it one of this machine or a bound server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fondaco.errors import ModelOffline, RequestTimeout, UpstreamFailed
from fondaco.models.registry import Resolved
from fondaco.models.serving import RemoteServing
from fondaco.upstream.seats import Seat, Seats

BROKEN = (UpstreamFailed, ModelOffline, RequestTimeout)
"""Errors that speak of the engine and not of the request."""


class Seating:
    """For requests that need no tokens of a shared context."""

    def __init__(self, seats: Seats) -> None:
        self._seats = seats

    @asynccontextmanager
    async def seat(self, resolved: Resolved, account: str) -> AsyncGenerator[Seat]:
        """A seat for as long as the context lasts; an engine that breaks meanwhile is looked at before it is used again.

        Raises ModelLoading, ModelAtCapacity or ModelOffline when none can be had.
        """
        model, serving = resolved.model, resolved.served.serving
        if isinstance(serving, RemoteServing):
            yield self._seats.bound(model.id, serving.binding)
            return
        async with self._seats.local(model.id, account, 0, 1) as (seat, lease):
            try:
                yield seat
            except BROKEN:
                lease.fail()
                raise
