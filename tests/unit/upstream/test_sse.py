"""Server-sent events out of bytes that are cut anywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_engines import cut
from fondaco.upstream.sse import MAX_EVENT, Blocks, payloads
from fondaco.upstream.transport import AnswerTooLarge, ExchangeBroken


def read(pieces: list[bytes]) -> list[bytes]:
    blocks = Blocks()
    found = [blocks.feed(piece) for piece in pieces]
    found.append(blocks.end())
    assert all(block == b"" or block.endswith(b"\n\n") for block in found)
    return [data for block in found for data in payloads(block)]


STREAM = (
    b": hello\n\n"
    b'data: {"a":1}\n\n'
    b"event: message\nid: 7\nretry: 3\ndata: two\n\n"
    b"data:no space\n\n"
    b"data: line one\ndata: line two\n\n"
    b"event: nothing\n\n"
    b"\n\n\n"
    b"data: \xc3\xa9\xf0\x9f\x98\x80\n\n"
    b"data: [DONE]\n\n"
)
EVENTS = [
    b'{"a":1}',
    b"two",
    b"no space",
    b"line one\nline two",
    "é😀".encode(),
    b"[DONE]",
]


@pytest.mark.parametrize("stream", [STREAM, STREAM.replace(b"\n", b"\r\n")], ids=["LF", "CRLF"])
def test_events_are_the_same_wherever_the_stream_is_cut(stream: bytes) -> None:
    assert read([stream]) == EVENTS
    for size in range(1, 9):
        assert read(cut(stream, size)) == EVENTS
    for at in range(len(stream)):
        assert read([stream[:at], stream[at:]]) == EVENTS


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b" \n"])
def test_a_closing_event_may_lack_its_empty_line(end: bytes) -> None:
    assert read([b"data: x\n\ndata: [DONE]" + end]) == [b"x", b"[DONE]"]


def test_any_other_event_without_its_empty_line_was_cut_off() -> None:
    with pytest.raises(ExchangeBroken):
        read([b'data: {"a":1}\n\ndata: {"b"'])


def test_an_event_without_end_is_given_up() -> None:
    blocks = Blocks()
    with pytest.raises(AnswerTooLarge):  # noqa: PT012
        for _ in range(MAX_EVENT // 65536 + 2):
            blocks.feed(b"x" * 65536)


_line = st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b""))


@given(
    st.lists(_line, max_size=8), st.lists(st.integers(0, 200), max_size=12), st.sampled_from([b"\n", b"\r\n"])
)
def test_any_data_comes_through_any_cutting(said: list[bytes], cuts: list[int], end: bytes) -> None:
    stream = b"".join(b"data: " + data + end * 2 for data in said)
    places = sorted({min(at, len(stream)) for at in cuts} | {0, len(stream)})
    pieces = [stream[a:b] for a, b in pairwise(places)]
    assert read(pieces) == said
