"""Server-sent events, cut out of a byte stream.

Whole events are handed on in blocks as they arrived, undecoded: a block is what one read brought, up to its last
blank line. Lines end in LF or CRLF.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from fondaco.upstream.transport import AnswerTooLarge, ExchangeBroken

# No honest event is larger: a single delta, or a tool call's arguments.
MAX_EVENT = 8 * 1024 * 1024


async def blocks(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Runs of whole events, each ending in an empty line (`\\n\\n`), with LF line ends.

    Raises AnswerTooLarge for an event past MAX_EVENT and ExchangeBroken for one cut off by the body's end.
    """
    rest = b""
    async for piece in pieces:
        data = rest + piece if rest else piece
        if b"\r" in data:
            # A CR at the very end may belong to a CRLF whose LF is still to come.
            held = data.endswith(b"\r")
            data = (data[:-1] if held else data).replace(b"\r\n", b"\n")
            tail = b"\r" if held else b""
        else:
            tail = b""
        end = data.rfind(b"\n\n") + 2
        if end == 1:
            rest = data + tail
        else:
            rest = data[end:] + tail
            yield data[:end]
        if len(rest) > MAX_EVENT:
            raise AnswerTooLarge
    rest = rest.replace(b"\r", b"\n").rstrip(b"\n")
    if rest.startswith(b"data:"):
        if rest.removeprefix(b"data:").strip() != b"[DONE]":
            raise ExchangeBroken
        yield b"data: [DONE]\n\n"


def payloads(block: bytes) -> Iterator[bytes]:
    """The data of each event in a block; comments and events without data are passed over."""
    for event in block.split(b"\n\n"):
        if event.startswith(b"data: ") and b"\n" not in event:
            yield event[6:]
            continue
        lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
        if lines:
            yield b"\n".join(lines)
