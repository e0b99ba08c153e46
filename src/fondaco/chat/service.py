"""Chat completions: the work, without HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Any, Protocol

from fondaco.chat import gates, plan
from fondaco.chat.answer_wire import Usage
from fondaco.chat.cast import Cast, NoCharacters
from fondaco.chat.charging import (
    SPEND_LIMIT,
    Growth,
    Meter,
    Spending,
    SpendLimit,
    guessed_tokens,
    reservation,
)
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
from fondaco.limits.ticket import Ticket
from fondaco.models import policy
from fondaco.models.registry import Registry, Resolved
from fondaco.models.serving import LocalServing, RemoteServing
from fondaco.upstream.chat import EngineReply, ask, encoded
from fondaco.upstream.chat_stream import Event, Run
from fondaco.upstream.seats import LocalLease, Seat, Seats
from fondaco.upstream.token_count import prompt_tokens
from fondaco.upstream.transport import Transport
from fondaco.upstream.wire import EngineAnswer, EngineChoice, EngineDelta

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
        "spending",
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
        spending: Spending,
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
        self.spending = spending
        """Who takes the answer's events settles it."""
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
        if self.spending.growth is not None and events:
            await self._pay(self.spending.growth, events)
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

    async def _pay(self, growth: Growth, events: list[Event]) -> None:
        """Hold more for what comes next; where that cannot be had, the answer ends with what is paid of these events."""
        said = 0
        for event in events:
            if type(event) is Run:
                said += event.count
            else:
                said += len(event.choices)
        if await growth.covers(said):
            growth.ended |= _ended(events)
            return
        self.spending.growth = None
        # An engine that is quick may have said much while the money was looked for.
        _shorten(events, growth.over)
        growth.ended |= _ended(events)
        if len(growth.ended) < growth.choices:
            cut = [_cut(index) for index in range(growth.choices) if index not in growth.ended]
            events.append(EngineAnswer(cut))
            await self._reply.aclose()

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
        self,
        models: Registry,
        prompt: PromptBuilder,
        seats: Seats,
        transport: Transport,
        meter: Meter,
        clock: Clock,
        cast: Cast | None = None,
    ) -> None:
        self._models = models
        self._prompt = prompt
        self._seats = seats
        self._transport = transport
        self._meter = meter
        self._clock = clock
        self._cast = cast or Cast(NoCharacters(), prompt)

    def begin(self, ticket: Ticket, request: ChatRequest) -> Awaitable[ChatAnswer]:
        """Admit the request, hold what it may cost, ask an engine and wait until its answer begins.

        Raises InvalidRequest, ModelNotFound, ModelNotAllowed, RateLimitExceeded, PaymentRequired, ContextExceeded,
        ModelOffline and whatever else kept every model named in the request from answering.
        """
        if request.fallbacks:
            return self._ask_in_turn(ticket, request)
        return self._ask(ticket, request, self._models.resolve(request.model))

    async def _ask_in_turn(self, ticket: Ticket, request: ChatRequest) -> ChatAnswer:
        failed: FondacoError | None = None
        for name in (request.model, *(fallback.model for fallback in request.fallbacks or ())):
            try:
                return await self._ask(ticket, request, self._models.resolve(name))
            except _TRY_NEXT as error:
                failed = failed or error
        assert failed is not None
        raise failed

    async def _ask(self, ticket: Ticket, request: ChatRequest, resolved: Resolved) -> ChatAnswer:
        model, serving = resolved.model, resolved.served.serving
        policy.check(ticket.caller.model_privacy, model)
        options = effective(request.venice_parameters, resolved.suffix)
        messages: list[Any] = request.messages
        odd = unusual(messages)
        media = has_media(messages, odd)
        gates.check(request, resolved, media=media)
        if media:
            local = type(serving) is LocalServing
            messages = await prepared(request.messages, model.capabilities, local=local)
        if options.character_slug is not None:
            messages, options = self._cast.play(options.character_slug, messages, options, model)
            odd = unusual(messages)
        made = plan.make(request, messages, odd, resolved, options, self._prompt)
        form = (request.stream is True, request.wants_usage_chunk)
        tokens = reservation(messages, odd, request.completion_limit)
        spending = Spending(await self._meter.admit(ticket, model, tokens), model, self._clock)
        place: _Place | None = None
        asked: bytes | None = None
        answer: ChatAnswer | None = None
        try:
            readers: tuple[Reader, ...] = made.readers
            if spending.walled:
                await self._hold(spending, request, resolved, made)
                if spending.limited:
                    readers = (*readers, SpendLimit())
            if type(serving) is RemoteServing:
                seat = self._seats.bound(model.id, serving.binding)
            else:
                place = await self._place(ticket.caller.account_id, resolved, request, made)
                seat = place.seat
            asked = encoded(made.body(seat))
            # From here on only the bytes are needed. A conversation that goes while its engine thinks leaves its
            # memory, still in the processor's cache, to the next one.
            del request, messages, made
            reply = await ask(self._transport, seat.target, asked)
            created = self._clock.unix()
            answer = ChatAnswer(form, asked, resolved, options, created, reply, readers, place, spending)
            # A failure until the first events can still be an HTTP status.
            answer.first = await answer.more()
        except BaseException as error:
            try:
                if answer is not None:
                    await answer.aclose()
                elif place is not None:
                    if isinstance(error, _BROKEN):
                        place.lease.fail()
                    await place.aclose()
            finally:
                if asked is not None and place is None and isinstance(error, asyncio.CancelledError):
                    # A client that leaves while another server works has had nothing, but that was asked.
                    prompt = guessed_tokens(asked)
                    spending.leave(Usage(prompt_tokens=prompt, completion_tokens=0, total_tokens=prompt))
                else:
                    spending.void()
            raise
        return answer

    async def _hold(self, spending: Spending, request: ChatRequest, resolved: Resolved, made: Plan) -> None:
        """Hold the answer's ceiling, by the engine's own count of the prompt where it is there to be asked."""
        local = type(resolved.served.serving) is LocalServing
        prompt = made.prompt_bound
        if local and (target := self._seats.running(resolved.model.id)) is not None:
            body = Content(encoded(made.body(Seat(target, local=True))))
            spending.prompt_tokens = await prompt_tokens(self._transport, target, body)
            prompt = spending.prompt_tokens or prompt
        # An engine that cannot be watched cannot be stopped: one that answers whole, or that thinks unseen.
        watched = local or (request.stream is True and not resolved.model.capabilities.reasoning)
        stepwise = watched and request.completion_limit is None
        await spending.hold(made, prompt, request.n or 1, stepwise=stepwise)

    async def _place(self, account: str, resolved: Resolved, request: ChatRequest, made: Plan) -> _Place:
        choices = request.n or 1
        tokens = made.prompt_bound + choices * (made.completion_limit or 0)
        async with AsyncExitStack() as stack:
            seat, lease = await stack.enter_async_context(
                self._seats.local(resolved.model.id, account, tokens, choices)
            )
            return _Place(stack.pop_all(), seat, lease)


def _ended(events: list[Event]) -> set[int]:
    """The choices that end with these events."""
    answers = [event for event in events if type(event) is not Run]
    return {choice.index for answer in answers for choice in answer.choices if choice.finish_reason}


def _shorten(events: list[Event], pieces: int) -> None:
    """Take so many pieces from the end, and whatever was said of usage after what is left."""
    while pieces > 0 and events:
        last = events.pop()
        if type(last) is not Run:
            pieces -= len(last.choices)
        elif last.count > pieces:
            events += last.answers()[:-pieces]
            return
        else:
            pieces -= last.count


def _cut(index: int) -> EngineChoice:
    """The end of a choice whose money has run out."""
    return EngineChoice(index=index, delta=EngineDelta(), finish_reason="length", stop_reason=SPEND_LIMIT)
