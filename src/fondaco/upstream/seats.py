"""Where a request may sit: the server that is bound to its model, or a leased slot of a local engine."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from fondaco.settings import Binding
from fondaco.upstream.transport import Target, Timeouts


class Seat(msgspec.Struct, frozen=True, gc=False):
    """One request's place at an engine."""

    target: Target
    upstream_model: str | None = None
    """The model's name there; None where the engine has only one."""
    slot: int | None = None
    cache_prompt: bool | None = None
    local: bool = False


class LocalLease(Protocol):
    """What a supervisor gives; see `fondaco.engines.lease`."""

    @property
    def target(self) -> Target: ...
    @property
    def slot(self) -> int: ...
    @property
    def cache_prompt(self) -> bool: ...
    def fail(self) -> None: ...


class LocalEngines(Protocol):
    """Leases by model id; made at the composition root."""

    def lease(
        self, model_id: str, account: str, tokens: int, choices: int
    ) -> AbstractAsyncContextManager[LocalLease]: ...

    def running(self, model_id: str) -> Target | None:
        """Where the model's engine can be asked what needs no slot; None while it is not loaded."""
        ...


class Seats:
    def __init__(self, engines: LocalEngines) -> None:
        self._engines = engines
        self._bound: dict[str, Seat] = {}

    def bound(self, model_id: str, binding: Binding) -> Seat:
        """A seat at another server; it has as many as anybody wants."""
        seat = self._bound.get(model_id)
        if seat is None:
            seat = Seat(target_of(binding), upstream_model=binding.upstream_model or model_id)
            self._bound[model_id] = seat
        return seat

    def running(self, model_id: str) -> Target | None:
        """Where a local model's engine can be asked what needs no slot; None while it is not loaded."""
        return self._engines.running(model_id)

    @asynccontextmanager
    async def local(
        self, model_id: str, account: str, tokens: int, choices: int
    ) -> AsyncGenerator[tuple[Seat, LocalLease]]:
        """A slot of a local engine for as long as the context lasts.

        Raises ModelLoading, ModelAtCapacity or ModelOffline when none can be had.
        """
        async with self._engines.lease(model_id, account, tokens, choices) as lease:
            seat = Seat(lease.target, slot=lease.slot, cache_prompt=lease.cache_prompt, local=True)
            yield seat, lease


def target_of(binding: Binding) -> Target:
    """The target that a binding describes. The key is read from the environment now."""
    url = urlsplit(binding.base_url)
    headers = {name.lower(): value for name, value in binding.headers.items()}
    if binding.api_key_env and (key := os.environ.get(binding.api_key_env)):
        headers["authorization"] = f"Bearer {key}"
    tls = url.scheme == "https"
    return Target(
        host=url.hostname or "",
        port=url.port or (443 if tls else 80),
        tls=tls,
        base_path=url.path.rstrip("/"),
        headers=tuple((name.encode(), value.encode()) for name, value in headers.items()),
        timeouts=Timeouts(binding.connect_timeout, binding.first_byte_timeout, binding.chunk_timeout),
        proxy=binding.proxy,
    )
