"""An answer's events as server-sent events (CONTRACT 3.8).

Plain runs are re-wrapped without being decoded. The finishing chunk waits for the engine's usage, which comes after
it, so that usage stands on the last chunk that has a choice; the chunk without choices is sent only when asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import UNSET

from fondaco.chat.answer import FINISH_REASONS, parameters
from fondaco.chat.answer_wire import ChunkChoice, Delta, FunctionDelta, ToolCallDelta
from fondaco.chat.underway import ChatAnswer
from fondaco.upstream.chat_stream import Envelope, Event, Run
from fondaco.upstream.wire import NOTHING, EngineChoice, EngineDelta, EngineToolCall

_encoder = msgspec.json.Encoder()

DONE = b"data: [DONE]\n\n"


class ChatStream:
    """The pieces of a streamed answer. `aclose` leaves the engine, also if nothing was ever taken."""

    __slots__ = ("_answer", "_envelope", "_last", "_over", "_results", "_spoken")

    def __init__(self, answer: ChatAnswer) -> None:
        self._answer = answer
        self._envelope = _envelope(answer)
        self._spoken: set[int] = set()
        """Choices whose role has been said."""
        self._last: dict[int, ChunkChoice] = {}
        """Their finishing chunks, which wait for the usage."""
        self._results = answer.found is not None and answer.options.include_search_results_in_stream
        """What was found is still to be told in a chunk of its own."""
        self._over = False

    def __aiter__(self) -> ChatStream:
        return self

    async def __anext__(self) -> bytes:
        if self._results:
            self._results = False
            return _chunk(self._envelope, [], self._opening())
        while not self._over:
            try:
                events = await self._answer.more()
            except Exception:
                self._answer.spending.void()
                raise
            if not events:
                self._over = True
                return b"".join(await self._ending())
            if len(events) == 1 and type(run := events[0]) is Run:
                return run.rewrapped(self._envelope)
            if piece := b"".join(self._encoded(events)):
                return piece
        raise StopAsyncIteration

    async def aclose(self) -> None:
        try:
            await self._answer.aclose()
        finally:
            # Neither told whole nor failed: its client has left.
            if not self._answer.spending.over:
                self._answer.spending.leave(self._answer.tally.so_far())

    def _encoded(self, events: list[Event]) -> Iterator[bytes]:
        for event in events:
            if type(event) is Run:
                yield event.rewrapped(self._envelope)
                continue
            for choice in event.choices:
                if (made := self._chunk_choice(choice)) is not None:
                    yield made

    def _chunk_choice(self, choice: EngineChoice) -> bytes | None:
        """One choice as a chunk of its own; None for one that says nothing, or waits for the usage."""
        delta = _delta(choice.delta)
        if choice.index not in self._spoken:
            delta.role = "assistant"
        elif choice.finish_reason is None and _empty(delta) and bytes(choice.logprobs) in NOTHING:
            return None
        made = _choice(choice, delta)
        if made.finish_reason is not None:
            earlier = self._last.get(choice.index)
            if earlier is not None and _empty(delta):  # said twice
                return None
            self._last[choice.index] = made
            if earlier is None or _empty(earlier.delta):
                return None
            made, earlier.finish_reason = earlier, None
        opening = self._opening()
        self._spoken.add(choice.index)
        return _chunk(self._envelope, [made], opening)

    def _opening(self) -> bytes:
        """What the first chunk of a stream has more than the others."""
        return b"" if self._spoken else b',"venice_parameters":' + parameters(self._answer)

    async def _ending(self) -> list[bytes]:
        usage = self._answer.tally.usage()
        cost = await self._answer.spending.settle(usage)
        used = b',"usage":%b,"cost":%b' % (_encoder.encode(usage), _encoder.encode(cost))
        pieces: list[bytes] = []
        finals = sorted(self._last)
        for index in finals:
            more = self._opening() + (used if index == finals[-1] else b"")
            self._spoken.add(index)
            pieces.append(_chunk(self._envelope, [self._last[index]], more))
        if self._answer.usage_chunk:
            pieces.append(_chunk(self._envelope, [], used))
        pieces.append(DONE)
        return pieces


def _envelope(answer: ChatAnswer) -> Envelope:
    before = b'data: {"id":"%b","object":"chat.completion.chunk","created":%d,"model":%b,"choices":' % (
        answer.id.encode(),
        answer.created,
        _encoder.encode(answer.model),
    )
    return Envelope(before, b"}")


def _chunk(envelope: Envelope, choices: list[ChunkChoice], more: bytes = b"") -> bytes:
    return b"".join((envelope.before, _encoder.encode(choices), more, envelope.after, b"\n\n"))


def _choice(choice: EngineChoice, delta: Delta) -> ChunkChoice:
    finish = None if choice.finish_reason is None else FINISH_REASONS.get(choice.finish_reason, "stop")
    made = ChunkChoice(index=choice.index, delta=delta, finish_reason=finish)
    if finish is not None and isinstance(choice.stop_reason, str):
        made.stop_reason = choice.stop_reason
    if bytes(choice.logprobs) not in NOTHING:
        made.logprobs = choice.logprobs
    return made


def _delta(delta: EngineDelta | None) -> Delta:
    made = Delta()
    if delta is None:
        return made
    if delta.role:
        made.role = "assistant"
    if delta.content is not None and (delta.content or delta.role):
        made.content = delta.content
    if thought := delta.thought():
        made.reasoning_content = thought
    if delta.tool_calls:
        made.tool_calls = [_call(call) for call in delta.tool_calls]
    return made


def _call(call: EngineToolCall) -> ToolCallDelta:
    function = FunctionDelta()
    opening = call.id is not None
    if call.function is not None:
        if call.function.name is not None:
            function.name = call.function.name
        arguments = call.function.arguments_text()
        if arguments is not None:
            function.arguments = arguments
    if opening and function.arguments is UNSET:
        # Clients add fragments up, and stumble over one that is not there.
        function.arguments = ""
    made = ToolCallDelta(index=call.index or 0, function=function)
    if call.id is not None:
        made.id, made.type = call.id, "function"
    return made


def _empty(delta: Delta) -> bool:
    return delta.content in (UNSET, "") and delta.reasoning_content is UNSET and delta.tool_calls is UNSET
