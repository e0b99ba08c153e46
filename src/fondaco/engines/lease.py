"""What a request holds while it uses a local engine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from fondaco.engines.kinds import EngineKind
from fondaco.engines.weights.progress import Progress
from fondaco.engines.weights.weight import Weight
from fondaco.upstream.transport import Target

EngineState = Literal["absent", "fetching", "stopped", "starting", "ready", "backing_off"]


class LocalModel(msgspec.Struct, frozen=True):
    """A model that runs on this machine."""

    id: str
    weight: Weight
    parts: tuple[tuple[str, Weight], ...] = ()
    """Further files that it needs, by what they are to its engine: a projector, a tokenizer."""
    engine: EngineKind = "text"
    options: tuple[tuple[str, str], ...] = ()
    """What its engine is to know of it."""

    @property
    def files(self) -> dict[str, Weight]:
        """All its files by role; the main one is `model`."""
        return {"model": self.weight, **dict(self.parts)}

    @property
    def weights(self) -> tuple[Weight, ...]:
        return tuple(self.files.values())


class Lease:
    """The right to send one request to `target`; it ends with the context that gave it."""

    __slots__ = ("_fail", "cache_prompt", "context_tokens", "slot", "target")

    def __init__(
        self, target: Target, context_tokens: int, slot: int, cache_prompt: bool, fail: Callable[[], None]
    ) -> None:
        self.target = target
        self.context_tokens = context_tokens
        """What one request may hold, prompt and completion together."""
        self.slot = slot
        """To be sent as llama.cpp's `id_slot`."""
        self.cache_prompt = cache_prompt
        """To be sent as llama.cpp's `cache_prompt`: only the slot's last user may build on what it remembers."""
        self._fail = fail

    def fail(self) -> None:
        """The engine broke under this request: look at it now, before it is given to anyone else."""
        self._fail()


class Weights(Protocol):
    """The part of the weight store that engines need."""

    def find(self, weight: Weight) -> Path | None: ...
    async def fetch(self, weight: Weight) -> Path: ...
    def progress(self, weight: Weight) -> Progress | None: ...


class Engines(Protocol):
    """Local engines, be they our own children or those of the gateway we share a data directory with."""

    def lease(
        self, model: LocalModel, account: str, tokens: int, choices: int
    ) -> AbstractAsyncContextManager[Lease]: ...
    def context_of(self, model: LocalModel) -> int | None: ...
    def state(self, model: LocalModel) -> EngineState: ...
    async def preload(self, model: LocalModel) -> None: ...
    async def close(self) -> None: ...
