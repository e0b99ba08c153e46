"""Chat completions: the work, without HTTP."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Any, Protocol

from fondaco.chat import gates, plan
from fondaco.chat.messages import unusual
from fondaco.chat.options import Options, effective
from fondaco.chat.pictures import has_media, prepared
from fondaco.chat.plan import Plan
from fondaco.chat.prompt import PromptBuilder
from fondaco.chat.wire import ChatRequest
from fondaco.clock import Clock
from fondaco.content import Content
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
from fondaco.upstream.chat import EngineReply, ask, encoded
from fondaco.upstream.chat_stream import Event, Run
from fondaco.upstream.seats import LocalLease, Seat, Seats
from fondaco.upstream.transport import Transport
from fondaco.upstream.wire import EngineAnswer, EngineChoice

# With one of these the caller's `fallbacks` are tried, as long as nothing has been answered.
_TRY_NEXT = (ModelNotFound, ModelOffline, ModelOverloaded, UpstreamFailed, InferenceFailed, RequestTimeout)
_BROKEN = (UpstreamFailed, ModelOffline, RequestTimeout)


_Form = tuple[bool, bool]


class ChatAnswer:
    """An answer that has begun: take its events with `more`, and always `aclose` it, which leaves the engine."""

    __slots__ = (
        "_place",
        "_readers",
        "_reply",
        "asked",
        "created",
        "first",
        "id",
        "model",
        "options",
        "resolved",
        "streams",
        "usage_chunk",
    )

    def __init__(
        self,
        form: _Form,
        asked: bytes,
        resolved: Resolved,
        options: Options,
        created: int,
        reply: EngineReply,
        readers: tuple[Reader, ...],
        place: _Place | None,
    ) -> None:
        self.id = completion_id()
        self.asked = Content(asked)
        """The engine's request as it was sent."""
        self.streams, self.usage_chunk = form
        """Whether it is to be told as it comes, and whether a chunk of usage is to end it then."""
        self.resolved = resolved
        self.model = resolved.model.id
        """The id of what really runs."""
        self.options = options
        self.created = created
        self._reply = reply
        self._readers = readers
        self._place = place
        self.first: list[Event] | None = None
        """Events that are known already: `more` begins with them."""

    @property
    def local(self) -> bool:
        return self._place is not None

    @property
    def whole(self) -> EngineAnswer | None:
        """The answer, where it came in one piece; else None, and `more` tells it."""
        if self._reply.whole and self.first and type(whole := self.first[0]) is not Run:
            return whole
        return None

    async def more(self) -> list[Event]:
        """The events that came next, thoughts and tool calls put where they belong; none when all is said."""
        if self.first is not None:
            first, self.first = self.first, None
            return first
        try:
            events = await self._reply.more()
        except _BROKEN:
            if self._place is not None:
                self._place.lease.fail()
            raise
        return self._read(events) if self._readers and events else events

    def _read(self, events: list[Event]) -> list[Event]:
        """Plain runs go by unseen as soon as no reader waits for anything."""
        read: list[Event] = []
        for event in events:
            if type(event) is Run:
                if all(reader.settled() for reader in self._readers):
                    read.append(event)
                    continue
                answers = event.answers()
            else:
                answers = (event,)
            for answer in answers:
                for choice in answer.choices:
                    for reader in self._readers:
                        reader.rewrite(choice)
                read.append(answer)
        return read

    async def aclose(self) -> None:
        try:
            await self._reply.aclose()
        finally:
            if self._place is not None:
                await self._place.aclose()


class Reader(Protocol):
    """Looks into an answer's choices, in order, and rewrites them."""

    def settled(self) -> bool:
        """Whether plain text of the first choice can pass unseen."""
        ...

    def rewrite(self, choice: EngineChoice) -> None: ...


class _Place:
    """A seat at a local engine, kept until the answer is over."""

    __slots__ = ("_stack", "lease", "seat")

    def __init__(self, stack: AsyncExitStack, seat: Seat, lease: LocalLease) -> None:
        self._stack = stack
        self.seat = seat
        self.lease = lease

    async def aclose(self) -> None:
        await self._stack.aclose()


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

    def begin(self, account: str, request: ChatRequest) -> Awaitable[ChatAnswer]:
        """Ask an engine and wait until its answer begins.

        Raises InvalidRequest, ModelNotFound, ContextExceeded, ModelOffline and whatever else kept every model
        named in the request from answering.
        """
        if request.fallbacks:
            return self._ask_in_turn(account, request)
        return self._ask(account, request, self._models.resolve(request.model))

    async def _ask_in_turn(self, account: str, request: ChatRequest) -> ChatAnswer:
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
        serving = resolved.served.serving
        messages: list[Any] = request.messages
        odd = unusual(messages)
        media = has_media(messages, odd)
        gates.check(request, resolved, media=media)
        if media:
            local = type(serving) is LocalServing
            messages = await prepared(request.messages, resolved.model.capabilities, local=local)
        made = plan.make(request, messages, odd, resolved, options, self._prompt)
        form = (request.stream is True, request.wants_usage_chunk)
        place: _Place | None = None
        if type(serving) is RemoteServing:
            seat = self._seats.bound(resolved.model.id, serving.binding)
        else:
            place = await self._place(account, resolved, request, made)
            seat = place.seat
        answer: ChatAnswer | None = None
        try:
            asked, readers = encoded(made.body(seat)), made.readers
            # From here on only the bytes are needed. A conversation that goes while its engine thinks leaves its
            # memory, still in the processor's cache, to the next one.
            del request, messages, made
            reply = await ask(self._transport, seat.target, asked)
            answer = ChatAnswer(form, asked, resolved, options, self._clock.unix(), reply, readers, place)
            # A failure until the first events can still be an HTTP status.
            answer.first = await answer.more()
        except BaseException as error:
            if answer is not None:
                await answer.aclose()
            elif place is not None:
                if isinstance(error, _BROKEN):
                    place.lease.fail()
                await place.aclose()
            raise
        return answer

    async def _place(self, account: str, resolved: Resolved, request: ChatRequest, made: Plan) -> _Place:
        choices = request.n or 1
        tokens = made.prompt_bound + choices * (made.completion_limit or 0)
        async with AsyncExitStack() as stack:
            seat, lease = await stack.enter_async_context(
                self._seats.local(resolved.model.id, account, tokens, choices)
            )
            return _Place(stack.pop_all(), seat, lease)
