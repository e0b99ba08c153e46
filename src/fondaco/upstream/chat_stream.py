"""An engine's chat answer as events, in the order the engine made them.

An event is either a `Run`, several plain chunks still encoded as they came, or an `EngineAnswer`, one chunk decoded.
In a stream the plain chunks, which say only a bit more text, are alike but for that text. The likeness is learnt
from a decoded one; a run of chunks that have it is never decoded, only re-wrapped, and any other chunk (usage, a
finish_reason, tool calls, reasoning, an error) is. In JSON a quotation mark inside a string is always escaped, so no
text that a model says can pass for the parts around it, and none of the parts around it for text.
"""

from __future__ import annotations

import re
from typing import NoReturn, final

import msgspec

from fondaco.content import ContentLeak, Sealed
from fondaco.errors import (
    ContextExceeded,
    FondacoError,
    InferenceFailed,
    ModelOverloaded,
    UpstreamRefused,
)
from fondaco.upstream.leniency import mended, says_too_long
from fondaco.upstream.sse import Blocks, payloads
from fondaco.upstream.transport import ExchangeBroken, TransportError
from fondaco.upstream.wire import NOTHING, EngineAnswer, EngineChoice, EngineDelta

_answers = msgspec.json.Decoder(EngineAnswer)

# A block that mixes plain and other chunks is cut so often at most; past that it is decoded chunk by chunk.
_CUTS = 4

# A likeness is learnt anew when the engine's clock, which may stand in each chunk, moves on. Where every chunk differs
# from the last this would never bear fruit: after so many in vain it is given up.
_LESSONS = 16


class _Failure(Sealed):
    message: str | None = None
    type: str | int | None = None
    code: str | int | None = None


class Envelope(msgspec.Struct, frozen=True):
    """What stands before and after `choices` in each chunk of one stream of ours."""

    before: bytes
    after: bytes


class _RawDelta(Sealed):
    content: msgspec.Raw = msgspec.Raw()


class _RawChoice(Sealed):
    delta: _RawDelta | None = None
    index: msgspec.Raw = msgspec.Raw()
    finish_reason: msgspec.Raw = msgspec.Raw()


class _RawChunk(Sealed):
    choices: msgspec.Raw


_raw_choices = msgspec.json.Decoder(list[_RawChoice])
_raw_chunk = msgspec.json.Decoder(_RawChunk)


class Likeness:
    """What the plain chunks of one engine's stream have in common: all but the text."""

    __slots__ = ("_between", "closing", "head", "opening", "tail")

    def __init__(self, data: bytes, choices: slice, text: slice) -> None:
        self.head = b"data: " + data[: text.start]
        self.tail = data[text.stop :] + b"\n\n"
        self._between = self.tail + self.head
        self.opening = data[choices.start : text.start]
        self.closing = data[text.stop : choices.stop]

    @classmethod
    def of(cls, data: bytes, answer: EngineAnswer) -> Likeness | None:
        """Learn it from a plain chunk's JSON; None where the chunk is not plain or cannot be told apart surely."""
        if len(answer.choices) != 1 or answer.usage is not None or data.count(b'"content":') != 1:
            return None
        choice = answer.choices[0]
        delta = choice.delta
        if delta is None or not delta.content or choice.finish_reason or choice.index or choice.stop_reason:
            return None
        if delta.thought() or delta.tool_calls or bytes(choice.logprobs) not in NOTHING:
            return None
        try:
            choices = bytes(_raw_chunk.decode(data).choices)
            [outline] = _raw_choices.decode(choices)
        except msgspec.DecodeError:  # it had to be mended
            return None
        if outline.delta is None or data.count(choices) != 1:
            return None
        # Clients get this as it is: an index must be there, and some servers say "" for no finish_reason.
        if bytes(outline.index) != b"0" or bytes(outline.finish_reason) not in NOTHING:
            return None
        at = data.index(choices)
        text = bytes(outline.delta.content)
        start = data.index(text, data.index(b'"content":') + len(b'"content":'))
        return cls(data, slice(at, at + len(choices)), slice(start + 1, start + len(text) - 1))

    def texts(self, block: bytes) -> list[bytes]:
        """The texts, as they stand in the JSON, of a block that holds nothing but plain chunks; else none."""
        head, tail = self.head, self.tail
        if not (block.startswith(head) and block.endswith(tail) and len(block) >= len(head) + len(tail)):
            return []
        # Counting the long joint is one pass; splitting by it would prepare the search anew for each chunk.
        # A split by one byte is quick too; every other line is the empty one that ends an event.
        chunks = block[:-2].split(b"\n")[::2]
        if len(chunks) > 1 and block.count(self._between) != len(chunks) - 1:
            return []
        start, stop = len(head), len(b"\n\n") - len(tail)
        texts = [chunk[start:stop] for chunk in chunks]
        said = b"".join(texts)
        # A quotation mark would end the string, and what follows it would be more of the chunk.
        if b'"' in said or b"\\" in said or b"\n" in said or not said.isascii():
            return texts if _are_strings(texts) else []
        return texts

    def chunk(self, text: bytes) -> bytes:
        """A whole chunk's JSON."""
        return self.head[len(b"data: ") :] + text + self.tail[: -len(b"\n\n")]


# What may stand in a JSON string; it never looks back. Halves of characters are not for clients to meet.
_string = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}))*+')


def _are_strings(texts: list[bytes]) -> bool:
    try:
        for text in texts:
            if _string.fullmatch(text) is None:
                return False
            text.decode()
    except UnicodeDecodeError:
        return False
    return True


@final
class Run:
    """Plain chunks, received together and not decoded. Never printed: they are content."""

    __slots__ = ("_likeness", "_texts", "count")

    def __init__(self, texts: list[bytes], likeness: Likeness) -> None:
        self._texts = texts
        self._likeness = likeness
        self.count = len(texts)

    def __repr__(self) -> str:
        return f"Run({self.count})"

    def __reduce_ex__(self, protocol: object, /) -> NoReturn:
        raise ContentLeak

    def rewrapped(self, ours: Envelope) -> bytes:
        """The same chunks as events of our stream."""
        before = ours.before + self._likeness.opening
        after = b"".join((self._likeness.closing, ours.after, b"\n\n"))
        texts = self._texts
        return b"".join((before, texts[0] if self.count == 1 else (after + before).join(texts), after))

    def answers(self) -> list[EngineAnswer]:
        """The chunks decoded, for those who must look into them."""
        return [_decode(self._likeness.chunk(text)) for text in self._texts]


Event = Run | EngineAnswer


class EventReader:
    """Makes events of a streamed answer's bytes, piece by piece, up to `[DONE]`."""

    __slots__ = ("_begun", "_blocks", "_failed", "_finished", "_lessons", "_likeness", "done")

    def __init__(self) -> None:
        self._blocks = Blocks()
        self._likeness: Likeness | None = None
        self._lessons = 0
        """Likenesses learnt since one was of use."""
        self._begun: set[int] = set()
        """The choices that have said anything, and of these the ones that have said their finish_reason."""
        self._finished: set[int] = set()
        self._failed: FondacoError | TransportError | None = None
        """What went wrong after the events last handed out."""
        self.done = False
        """The engine has said `[DONE]`: what may follow is not read."""

    def feed(self, piece: bytes) -> list[Event]:
        """The events that are whole now. Raises ExchangeBroken for nonsense, a FondacoError for an error event.

        Nothing that came before a failure is lost: then the next call raises it.
        """
        if self._failed is not None:
            raise self._failed
        found: list[Event] = []
        if block := self._blocks.feed(piece):
            self._read(block, found)
        return found

    def end(self) -> list[Event]:
        """The last events, when the body is over. Raises ExchangeBroken if the answer had not finished."""
        if self._failed is not None:
            raise self._failed
        found: list[Event] = []
        if block := self._blocks.end():
            self._read(block, found)
        if not (self.done or (self._begun and self._begun == self._finished)):
            raise ExchangeBroken
        self.done = True
        return found

    def _read(self, block: bytes, found: list[Event]) -> None:
        try:
            self._take(block, found)
        except (FondacoError, TransportError) as error:
            if not found:
                raise
            self._failed = error

    def _take(self, block: bytes, found: list[Event]) -> None:
        at, cuts = 0, 0
        while at < len(block):
            likeness = self._likeness
            if likeness is not None and cuts < _CUTS:
                cuts += 1
                end = block.rfind(likeness.tail, at) + len(likeness.tail)
                plain = block if at == 0 and end == len(block) else block[at:end]
                if plain and (texts := likeness.texts(plain)):
                    found.append(Run(texts, likeness))
                    self._lessons = 0
                    at = end
                    continue
            end = block.find(b"\n\n", at) + 2
            if end == 1:  # an empty line more than needed
                return
            for data in payloads(block[at:end]):
                if data == b"[DONE]":
                    self._finish(found)
                    return
                answer = _decode(data)
                self._note(answer)
                if self._lessons < _LESSONS and not (
                    likeness is not None
                    and block.startswith(likeness.head, at)
                    and block.endswith(likeness.tail, at, end)
                ):
                    learnt = Likeness.of(data, answer)
                    if learnt is not None:
                        self._likeness = learnt
                        self._lessons += 1
                found.append(answer)
            at = end

    def _note(self, answer: EngineAnswer) -> None:
        for choice in answer.choices:
            self._begun.add(choice.index)
            if choice.finish_reason is not None:
                self._finished.add(choice.index)

    def _finish(self, found: list[Event]) -> None:
        """`[DONE]`: a choice that has not said why it ended has simply ended. Raises ExchangeBroken without any."""
        if not self._begun:
            raise ExchangeBroken
        self.done = True
        if unfinished := self._begun - self._finished:
            choices = [
                EngineChoice(index=index, delta=EngineDelta(), finish_reason="stop")
                for index in sorted(unfinished)
            ]
            found.append(EngineAnswer(choices=choices))


def _decode(data: bytes) -> EngineAnswer:
    try:
        answer = _answers.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            answer = _answers.decode(mended(data))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ExchangeBroken from None
    if bytes(answer.error) not in NOTHING:
        raise failure(bytes(answer.error))
    for choice in answer.choices:
        if choice.finish_reason == "":
            choice.finish_reason = None
    return answer


def failure(raw: bytes) -> FondacoError:
    """The error inside a stream as one of ours."""
    try:
        told = msgspec.json.decode(raw, type=_Failure | str)
    except msgspec.DecodeError:
        return InferenceFailed()
    if isinstance(told, str):
        told = _Failure(told)
    if says_too_long(f"{told.type} {told.code} {told.message}"):
        return ContextExceeded()
    if told.code in (429, "429", "model_overloaded", "rate_limit_exceeded"):
        return ModelOverloaded(told.message)
    if told.code in (400, "400"):
        return UpstreamRefused(told.message)
    return InferenceFailed(told.message)


def whole(body: bytes) -> EngineAnswer:
    """A non-streamed answer as the one event that it is: its messages are deltas that say all at once."""
    answer = _decode(body)
    for choice in answer.choices:
        choice.delta, choice.message = choice.message or choice.delta, None
        choice.finish_reason = choice.finish_reason or "stop"
    if not answer.choices:
        raise ExchangeBroken
    return answer
