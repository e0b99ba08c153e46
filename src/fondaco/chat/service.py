"""Chat completions: the work, without HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from fondaco.augment.citing.evidence import Evidence, Source
from fondaco.augment.results import Result
from fondaco.chat import gates, plan
from fondaco.chat.answer_wire import Usage
from fondaco.chat.cast import Cast, NoCharacters
from fondaco.chat.charging import (
    Meter,
    Spending,
    SpendLimit,
    guessed_tokens,
    reservation,
)
from fondaco.chat.enclosures import Enclosures
from fondaco.chat.foreign import Citations, Documents, NoCalls, NoPictures
from fondaco.chat.media_parts import has_media
from fondaco.chat.messages import ToolMessage, unusual
from fondaco.chat.options import Options, effective
from fondaco.chat.plan import Plan
from fondaco.chat.prompt import PromptBuilder
from fondaco.chat.underway import BROKEN, ChatAnswer, Place, Reader
from fondaco.chat.web import Errand, Gathered, Web, errand_for, room, with_briefing
from fondaco.chat.wire import ChatRequest, TextFormat
from fondaco.clock import Clock
from fondaco.content import Content, Sealed
from fondaco.errors import (
    FondacoError,
    InferenceFailed,
    ModelNotFound,
    ModelOffline,
    ModelOverloaded,
    RequestTimeout,
    UpstreamFailed,
)
from fondaco.limits.ticket import Ticket
from fondaco.models import policy
from fondaco.models.model import Model
from fondaco.models.registry import Registry, Resolved
from fondaco.models.serving import LocalServing, RemoteServing
from fondaco.upstream.chat import ask, encoded
from fondaco.upstream.seats import Seat, Seats
from fondaco.upstream.token_count import prompt_tokens
from fondaco.upstream.transport import Transport

# With one of these the caller's `fallbacks` are tried, as long as nothing has been answered.
_TRY_NEXT = (ModelNotFound, ModelOffline, ModelOverloaded, UpstreamFailed, InferenceFailed, RequestTimeout)


class _Chat(Sealed):
    """One request as it is put to one model."""

    account: str
    request: ChatRequest
    resolved: Resolved
    options: Options
    messages: list[Any]
    odd: list[int]
    """Which of the messages are `unusual`."""
    spending: Spending

    @property
    def model(self) -> Model:
        return self.resolved.model

    def but(self, *, request: ChatRequest | None = None, messages: list[Any] | None = None) -> _Chat:
        """The same with another request or other messages."""
        changed: dict[str, Any] = {}
        if request is not None:
            changed["request"] = request
        if messages is not None:
            changed["messages"], changed["odd"] = messages, unusual(messages)
        return msgspec.structs.replace(self, **changed)


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
        enclosures: Enclosures,
        cast: Cast | None = None,
        web: Web | None = None,
    ) -> None:
        self._models = models
        self._prompt = prompt
        self._seats = seats
        self._transport = transport
        self._meter = meter
        self._clock = clock
        self._enclosures = enclosures
        self._cast = cast or Cast(NoCharacters(), prompt)
        self._web = web

    def begin(self, ticket: Ticket, request: ChatRequest) -> Awaitable[ChatAnswer]:
        """Admit the request, hold what it may cost, ask an engine and wait until its answer begins.

        Raises InvalidRequest, ModelNotFound, ModelNotAllowed, RateLimitExceeded, PaymentRequired, ContextExceeded,
        ModelOffline and whatever else kept every model named in the request from answering.
        """
        if request.fallbacks:
            return self._ask_in_turn(ticket, request)
        return self._ask(ticket, request, self._models.resolve(request.model), self._web)

    async def _ask_in_turn(self, ticket: Ticket, request: ChatRequest) -> ChatAnswer:
        failed: FondacoError | None = None
        web = None if self._web is None else self._web.once()
        for name in (request.model, *(fallback.model for fallback in request.fallbacks or ())):
            try:
                return await self._ask(ticket, request, self._models.resolve(name), web)
            except _TRY_NEXT as error:
                failed = failed or error
        assert failed is not None
        raise failed

    async def _ask(
        self, ticket: Ticket, request: ChatRequest, resolved: Resolved, web: Web | None
    ) -> ChatAnswer:
        model, serving = resolved.model, resolved.served.serving
        policy.check(ticket.caller.model_privacy, model)
        options = effective(request.venice_parameters, resolved.suffix, search_tool=request.offers_search)
        messages: list[Any] = request.messages
        media = has_media(messages, unusual(messages))
        gates.check(request, resolved, media=media)
        played, playing = self._played(messages, options, model)
        tokens = reservation(played, unusual(played), request.completion_limit)
        spending = Spending(await self._meter.admit(ticket, model, tokens), model, self._clock)
        account = ticket.caller.account_id
        given: list[Result] = []
        # After the rate has been taken: to name a URL costs a caller little, and us what it leads to.
        try:
            if media:
                local = type(serving) is LocalServing
                opened = await self._enclosures.opened(
                    request.messages, model.capabilities, local=local, account=account
                )
                played, _ = self._played(opened.messages, options, model)
                given = opened.pages
            # Of the caller's words alone: what a document says sends for nothing.
            errand = None if request.demands_call else errand_for(request.messages, options, given)
        except BaseException:
            spending.void()
            raise
        chat = _Chat(account, request, resolved, playing, played, unusual(played), spending)
        if errand is not None and web is not None:
            return await self._told(chat, errand, web)
        begun = self._begun(chat)
        # None of it is kept here: it goes as soon as its engine has been asked.
        del request, messages, played, chat
        return await begun

    def _played(self, messages: list[Any], options: Options, model: Model) -> tuple[list[Any], Options]:
        """The conversation as the character's whom the options name, if they name one, and the options that then hold."""
        if options.character_slug is None:
            return messages, options
        return self._cast.play(options.character_slug, messages, options, model)

    async def _told(self, chat: _Chat, errand: Errand, web: Web) -> ChatAnswer:
        """The answer to a chat that is told what the errand brings.

        Where tools are offered, whether one is called is settled before anything foreign is in sight: the engine that
        has read it is offered none.
        """
        request, spending = chat.request, chat.spending
        first: ChatAnswer | None = None
        spending.ahead = errand.ceiling
        try:
            if request.offered_functions and request.tool_choice != "none":
                # Streamed, so that an answer which is no call need not be waited for.
                asked = msgspec.structs.replace(request, stream=True)
                first = await self._begun(chat.but(request=asked))
                first.streams = request.stream is True
                first.found = Gathered()
                if await first.calls(request.n or 1):
                    return first
            if spending.walled and first is None:
                await spending.hold_ahead()
            gathered = await web.run(errand, chat.account)
            plain = chat.but(request=_without_tools(request))
            briefing = await web.brief(gathered, errand, chat.options, chat.model, self._room(plain))
            if first is not None:
                if not gathered.sources:
                    first.found = gathered
                    return first
                await first.aclose()
            told = plain if not briefing else plain.but(messages=with_briefing(chat.messages, briefing))
            spending.services, spending.ahead = gathered.bill, ()
            answer = await self._begun(told, _after(gathered, chat) if gathered.sources else ())
            answer.found = gathered
            if chat.options.enable_web_citations and _is_prose(request):
                # Without sources too: then every mark points to nothing.
                sources = [Source(source.title, source.content) for source in gathered.told]
                answer.cite(Citations(Evidence(sources, web.embedder)))
        except BaseException:
            try:
                if first is not None:
                    await first.aclose()
            finally:
                spending.void()
            raise
        return answer

    async def _begun(self, chat: _Chat, guards: tuple[Reader, ...] = ()) -> ChatAnswer:
        """Hold what the answer may cost, ask an engine, and wait until it begins. Ends the spending if it cannot."""
        resolved, spending, request = chat.resolved, chat.spending, chat.request
        serving = resolved.served.serving
        place: Place | None = None
        asked: bytes | None = None
        answer: ChatAnswer | None = None
        try:
            made = plan.make(request, chat.messages, chat.odd, resolved, chat.options, self._prompt)
            form = (request.stream is True, request.wants_usage_chunk)
            readers: tuple[Reader, ...] = (*made.readers, *guards)
            if spending.walled:
                await self._hold(spending, request, resolved, made)
                if spending.limited:
                    readers = (*readers, SpendLimit())
            if type(serving) is RemoteServing:
                seat = self._seats.bound(resolved.model.id, serving.binding)
            else:
                place = await self._place(chat.account, resolved, request, made)
                seat = place.seat
            asked = encoded(made.body(seat))
            options = chat.options
            # From here on only the bytes are needed. A conversation that goes while its engine thinks leaves its
            # memory, still in the processor's cache, to the next one.
            del request, chat, made
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
                    if isinstance(error, BROKEN):
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

    def _room(self, chat: _Chat) -> int:
        made = plan.make(chat.request, chat.messages, chat.odd, chat.resolved, chat.options, self._prompt)
        return room(made, chat.resolved, chat.request.n or 1)

    async def _hold(self, spending: Spending, request: ChatRequest, resolved: Resolved, made: Plan) -> None:
        """Hold the answer's ceiling, by the engine's own count of the prompt where it is there to be asked."""
        local = type(resolved.served.serving) is LocalServing
        # A recording's or a film's bytes are no tokens, and no engine reads more than its context.
        prompt = min(made.prompt_bound, resolved.model.context_tokens or made.prompt_bound)
        spending.prompt_tokens = None
        if local and (target := self._seats.running(resolved.model.id)) is not None:
            body = Content(encoded(made.body(Seat(target, local=True))))
            spending.prompt_tokens = await prompt_tokens(self._transport, target, body)
            prompt = spending.prompt_tokens or prompt
        # An engine that cannot be watched cannot be stopped: one that answers whole, or that thinks unseen.
        watched = local or (request.stream is True and not resolved.model.capabilities.reasoning)
        stepwise = watched and request.completion_limit is None
        await spending.hold(made, prompt, request.n or 1, stepwise=stepwise)

    async def _place(self, account: str, resolved: Resolved, request: ChatRequest, made: Plan) -> Place:
        choices = request.n or 1
        tokens = made.prompt_bound + choices * (made.completion_limit or 0)
        async with AsyncExitStack() as stack:
            seat, lease = await stack.enter_async_context(
                self._seats.local(resolved.model.id, account, tokens, choices)
            )
            return Place(stack.pop_all(), seat, lease)


def _after(gathered: Gathered, chat: _Chat) -> tuple[Reader, ...]:
    """Who reads an answer for which foreign text was gathered."""
    readers: tuple[Reader, ...] = (NoCalls(), NoPictures())
    if chat.options.return_search_results_as_documents:
        return (*readers, Documents(gathered.citations))
    return readers


def _without_tools(request: ChatRequest) -> ChatRequest:
    """The same with none on offer. Some servers take no calls in a conversation whose tools they are not told."""
    if any(type(message) is ToolMessage for message in request.messages):
        return msgspec.structs.replace(request, tool_choice="none")
    return msgspec.structs.replace(request, tools=None, tool_choice=None)


def _is_prose(request: ChatRequest) -> bool:
    """Whether marks may stand in the answer: in JSON they would break it."""
    return request.response_format is None or type(request.response_format) is TextFormat
