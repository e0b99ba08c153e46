"""An answer that has begun: its events as the engine makes them, read, paid and checked on their way."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Protocol, TypeAlias

from fondaco.chat.charging import SPEND_LIMIT, Growth, Spending
from fondaco.chat.foreign import Citations
from fondaco.chat.options import Options
from fondaco.chat.tally import Tally
from fondaco.chat.web import Gathered
from fondaco.content import Content
from fondaco.errors import ModelOffline, RequestTimeout, UpstreamFailed
from fondaco.ids import completion_id
from fondaco.models.registry import Resolved
from fondaco.upstream.chat import EngineReply
from fondaco.upstream.chat_stream import Event, Run
from fondaco.upstream.seats import LocalLease, Seat
from fondaco.upstream.wire import EngineAnswer, EngineChoice, EngineDelta

BROKEN = (UpstreamFailed, ModelOffline, RequestTimeout)
"""With one of these an engine may be at fault."""

_PREAMBLE = 200
"""Characters that a model may say before it calls a tool."""

Form: TypeAlias = tuple[bool, bool]
"""Whether an answer is to be told as it comes, and whether a chunk of usage is to end it then."""


class Reader(Protocol):
    """Looks into an answer's choices, in order, and rewrites them."""

    def settled(self) -> bool:
        """Whether plain text of the first choice can pass unseen."""
        ...

    def rewrite(self, choice: EngineChoice) -> None: ...


class ChatAnswer:
    """An answer that has begun: take its events with `more`, and always `aclose` it, which leaves the engine."""

    __slots__ = (
        "_citations",
        "_place",
        "_readers",
        "_reply",
        "created",
        "first",
        "found",
        "id",
        "model",
        "options",
        "resolved",
        "spending",
        "streams",
        "tally",
        "usage_chunk",
    )

    def __init__(
        self,
        form: Form,
        asked: bytes,
        resolved: Resolved,
        options: Options,
        created: int,
        reply: EngineReply,
        readers: tuple[Reader, ...],
        place: Place | None,
        spending: Spending,
    ) -> None:
        """`asked` is the engine's request as it was sent."""
        self.id = completion_id()
        self.streams, self.usage_chunk = form
        """Whether it is to be told as it comes, and whether a chunk of usage is to end it then."""
        self.resolved = resolved
        self.model = resolved.model.id
        """The id of what really runs."""
        self.options = options
        self.created = created
        self._reply = reply
        self._readers = readers
        self._citations: Citations | None = None
        self._place = place
        self.found: Gathered | None = None
        """What was found for it, if anything was to be."""
        self.tally = Tally(Content(asked), spending.prompt_tokens, local=place is not None)
        self.spending = spending
        """Who takes the answer's events settles it."""
        self.first: list[Event] | None = None
        """Events that are known already: `more` begins with them."""

    @property
    def local(self) -> bool:
        return self._place is not None

    @property
    def whole(self) -> EngineAnswer | None:
        """The answer, where it came in one piece and goes out as it is; else None, and `more` tells it."""
        if (
            self._citations is None
            and self._reply.whole
            and self.first
            and type(whole := self.first[0]) is not Run
        ):
            return whole
        return None

    async def more(self) -> list[Event]:
        """The events that came next, thoughts and tool calls put where they belong; none when all is said."""
        if self.first is not None:
            first, self.first = self.first, None
            return await self._checked(first)
        try:
            events = await self._reply.more()
        except BROKEN:
            if self._place is not None:
                self._place.lease.fail()
            raise
        if self.spending.growth is not None and events:
            await self._pay(self.spending.growth, events)
        self.tally.read(events)
        if self._readers and events:
            events = self._read(events)
        return await self._checked(events)

    def cite(self, citations: Citations) -> None:
        """Have all that is said checked, from the beginning."""
        self._citations = citations

    async def _checked(self, events: list[Event]) -> list[Event]:
        return events if self._citations is None else await self._citations.checked(events)

    async def calls(self, choices: int) -> bool:
        """Whether one of its choices calls a tool; what it takes to know that `more` still tells.

        Models like to say what they are about to do: only what says more than that is no call.
        """
        begun: list[Event] = []
        said: dict[int, int] = {}
        while events := await self.more():
            begun += events
            self.first = begun
            for event in events:
                for answer in event.answers() if type(event) is Run else (event,):
                    for choice in answer.choices:
                        delta = choice.delta
                        if delta is not None and delta.tool_calls:
                            return True
                        more = _PREAMBLE if choice.finish_reason else len((delta and delta.content) or "")
                        said[choice.index] = said.get(choice.index, 0) + more
            if len(said) >= choices and min(said.values()) >= _PREAMBLE:
                break
            self.first = None
        self.first = begun
        return False

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


class Place:
    """A seat at a local engine, kept until the answer is over."""

    __slots__ = ("_stack", "lease", "seat")

    def __init__(self, stack: AsyncExitStack, seat: Seat, lease: LocalLease) -> None:
        self._stack = stack
        self.seat = seat
        self.lease = lease

    async def aclose(self) -> None:
        await self._stack.aclose()


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
