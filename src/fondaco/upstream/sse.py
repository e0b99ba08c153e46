"""Server-sent events, cut out of a byte stream.

Whole events are handed on in blocks as they arrived, undecoded: a block is what one read brought, up to its last
blank line. Lines end in LF or CRLF.
"""

from __future__ import annotations

from collections.abc import Iterator

from fondaco.upstream.transport import AnswerTooLarge, ExchangeBroken

# No honest event is larger: a single delta, or a tool call's arguments.
MAX_EVENT = 8 * 1024 * 1024


class Blocks:
    """Cuts pieces, wherever they were cut before, into blocks of whole events with LF line ends."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> bytes:
        """The whole events that are in now, each ending in an empty line; empty when none is.

        Raises AnswerTooLarge for an event past MAX_EVENT.
        """
        data = self._rest + piece if self._rest else piece
        held = b""
        if b"\r" in data:
            # A CR at the very end may belong to a CRLF whose LF is still to come.
            if data.endswith(b"\r"):
                data, held = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n")
        if not held and data.endswith(b"\n\n"):
            self._rest = b""
            return data
        end = data.rfind(b"\n\n") + 2
        if end == 1:
            end = 0
        self._rest = data[end:] + held
        if len(self._rest) > MAX_EVENT:
            raise AnswerTooLarge
        return data[:end]

    def end(self) -> bytes:
        """The body is over: a closing event may lack its empty line. Raises ExchangeBroken for any other."""
        rest = self._rest.replace(b"\r", b"\n").rstrip(b"\n")
        self._rest = b""
        if not rest.startswith(b"data:"):
            return b""
        if rest.removeprefix(b"data:").strip() != b"[DONE]":
            raise ExchangeBroken
        return b"data: [DONE]\n\n"


def payloads(block: bytes) -> Iterator[bytes]:
    """The data of each event in a block; comments and events without data are passed over."""
    for event in block.split(b"\n\n"):
        if event.startswith(b"data: ") and b"\n" not in event:
            yield event[6:]
            continue
        lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
        if lines:
            yield b"\n".join(lines)
