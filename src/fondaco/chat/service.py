"""Chat completions: the work, without HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fondaco.chat import gates, plan
from fondaco.chat.options import Options, effective
from fondaco.chat.pictures import has_media, prepared
from fondaco.chat.plan import Plan
from fondaco.chat.prompt import PromptBuilder
from fondaco.chat.wire import ChatRequest
from fondaco.clock import Clock
from fondaco.errors import (
    FondacoError,
    InferenceFailed,
    ModelNotFound,
    ModelOffline,
    ModelOverloaded,
    RequestTimeout,
    UpstreamFailed,
)
from fondaco.ids import completion_id
from fondaco.models.registry import Registry, Resolved
from fondaco.models.serving import LocalServing, RemoteServing
from fondaco.upstream.chat import chat
from fondaco.upstream.chat_stream import Event, Run
from fondaco.upstream.seats import Seats
from fondaco.upstream.transport import Transport
from fondaco.upstream.wire import EngineAnswer

# With one of these the caller's `fallbacks` are tried, as long as nothing has been answered.
_TRY_NEXT = (ModelNotFound, ModelOffline, ModelOverloaded, UpstreamFailed, InferenceFailed, RequestTimeout)
_BROKEN = (UpstreamFailed, ModelOffline, RequestTimeout)

# A prompt's tokens before anybody has counted them: small models need no more than one for three bytes of prose.
_BYTES_PER_TOKEN = 3
_TOKENS_PER_MESSAGE = 16


class ChatAnswer:
    """An answer that has begun. Take its events once; closing them leaves the engine."""

    __slots__ = ("_events", "created", "id", "options", "request", "resolved")

    def __init__(
        self,
        request: ChatRequest,
        resolved: Resolved,
        options: Options,
        created: int,
        events: AsyncGenerator[Event],
    ) -> None:
        self.id = completion_id()
        self.request = request
        self.resolved = resolved
        self.options = options
        self.created = created
        self._events = events

    @property
    def model(self) -> str:
        """The id of what really runs."""
        return self.resolved.model.id

    @property
    def local(self) -> bool:
        return isinstance(self.resolved.served.serving, LocalServing)

    def events(self) -> AsyncGenerator[Event]:
        return self._events

    async def aclose(self) -> None:
        await self._events.aclose()


class ChatService:
    """Completes chats on whichever engine serves the model.

    Events come in the order in which the engine makes them; a non-streamed answer is these events folded. All that
    can be refused is refused by `begin`, before the first event.
    """

    def __init__(
        self, models: Registry, prompt: PromptBuilder, seats: Seats, transport: Transport, clock: Clock
    ) -> None:
        self._models = models
        self._prompt = prompt
        self._seats = seats
        self._transport = transport
        self._clock = clock

    async def begin(self, account: str, request: ChatRequest) -> ChatAnswer:
        """Ask an engine and wait until its answer begins.

        Raises InvalidRequest, ModelNotFound, ContextExceeded, ModelOffline and whatever else kept every model
        named in the request from answering.
        """
        failed: FondacoError | None = None
        for name in (request.model, *(fallback.model for fallback in request.fallbacks or ())):
            try:
                return await self._ask(account, request, self._models.resolve(name))
            except _TRY_NEXT as error:
                failed = failed or error
        assert failed is not None
        raise failed

    async def _ask(self, account: str, request: ChatRequest, resolved: Resolved) -> ChatAnswer:
        options = effective(request.venice_parameters, resolved.suffix)
        gates.check(request, resolved)
        serving = resolved.served.serving
        messages: list[Any] = request.messages
        if has_media(request.messages):
            local = isinstance(serving, LocalServing)
            messages = await prepared(request.messages, resolved.model.capabilities, local=local)
        made = plan.make(request, messages, resolved, options, self._prompt)
        if isinstance(serving, RemoteServing):
            events = self._remote(resolved, serving, made)
        else:
            events = self._local(account, resolved, request, made)
        return ChatAnswer(request, resolved, options, int(self._clock.now().timestamp()), await _begun(events))

    async def _remote(self, resolved: Resolved, serving: RemoteServing, made: Plan) -> AsyncGenerator[Event]:
        seat = self._seats.bound(resolved.model.id, serving.binding)
        async with aclosing(chat(self._transport, seat.target, made.body(seat))) as events:
            async for event in _read(events, made):
                yield event

    async def _local(
        self, account: str, resolved: Resolved, request: ChatRequest, made: Plan
    ) -> AsyncGenerator[Event]:
        choices = request.n or 1
        tokens = prompt_bound(request) + choices * (made.completion_limit or 0)
        async with self._seats.local(resolved.model.id, account, tokens, choices) as (seat, lease):
            try:
                async with aclosing(chat(self._transport, seat.target, made.body(seat))) as events:
                    async for event in _read(events, made):
                        yield event
            except _BROKEN:
                lease.fail()
                raise


async def _begun(events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
    """The same events, with the first of them already here."""
    first = await anext(events, None)

    async def all_of_them() -> AsyncGenerator[Event]:
        try:
            if first is not None:
                yield first
            async for event in events:
                yield event
        finally:
            await events.aclose()

    return all_of_them()


async def _read(events: AsyncGenerator[Event], made: Plan) -> AsyncGenerator[Event]:
    """Thoughts and tool calls put where they belong. Plain runs go by unseen as soon as nobody waits for them."""
    thinking, calls = made.thinking, made.calls
    readers = [reader for reader in (thinking, calls) if reader is not None]

    def read(answer: EngineAnswer) -> EngineAnswer:
        for choice in answer.choices:
            if choice.message is not None:
                choice.delta, choice.message = choice.message, None
            for reader in readers:
                reader.rewrite(choice)
        return answer

    async for event in events:
        if type(event) is Run:
            if all(reader.settled() for reader in readers):
                yield event
            else:
                for answer in event.answers():
                    yield read(answer)
        else:
            assert isinstance(event, EngineAnswer)
            yield read(event)


def prompt_bound(request: ChatRequest) -> int:
    """About how many tokens the prompt may have."""
    size = 0
    for message in request.messages:
        content = message.content
        if isinstance(content, str):
            size += len(content)
        elif content is not None:
            size += sum(len(getattr(part, "text", "")) for part in content)
    return size // _BYTES_PER_TOKEN + _TOKENS_PER_MESSAGE * len(request.messages)
