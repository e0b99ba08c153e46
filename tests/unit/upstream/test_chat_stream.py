"""Plain chunks pass undecoded, and never more than plain chunks; every shape of stream says the same at every cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fake_engines import cut
from fondaco.errors import FondacoError, InferenceFailed, ModelOverloaded
from fondaco.upstream.chat_stream import Envelope, Event, EventReader, Run
from fondaco.upstream.transport import ExchangeBroken

OURS = Envelope(b'data: {"id":"ours","model":"our model","choices":', b',"object":"chat.completion.chunk"}')
DONE = b"data: [DONE]\n\n"

Shape = Callable[[dict[str, Any], "str | None", int], bytes]


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")


def llama(delta: dict[str, Any], finish: str | None, at: int) -> bytes:
    # llama.cpp tells the time anew in each chunk.
    return compact(
        {
            "choices": [{"finish_reason": finish, "index": 0, "delta": delta}],
            "created": 1763749200 + at // 4,
            "id": "chatcmpl-x",
            "model": "their model",
            "system_fingerprint": "b1-0",
            "object": "chat.completion.chunk",
        }
    )


def vllm(delta: dict[str, Any], finish: str | None, at: int) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None}
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1763749200, "model": "their model"}
    return compact({**head, "choices": [choice]})


def openai(delta: dict[str, Any], finish: str | None, at: int) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1763749200, "model": "their model"}
    more = {
        "service_tier": "default",
        "system_fingerprint": None,
        "usage": None,
        "obfuscation": "Ab3x" * (at % 5),
    }
    return compact({**head, "choices": [choice], **more})


def spaced(delta: dict[str, Any], finish: str | None, at: int) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1763749200, "model": "their model"}
    return json.dumps({**head, "choices": [choice]}).encode()


def bare(delta: dict[str, Any], finish: str | None, at: int) -> bytes:
    return compact({"choices": [{"delta": delta, "finish_reason": finish}]})


def empty_finish(delta: dict[str, Any], finish: str | None, at: int) -> bytes:
    return vllm(delta, finish or "", at)


SHAPES: list[Shape] = [llama, vllm, openai, spaced, bare, empty_finish]

HOSTILE = [
    "plain",
    " word",
    "content",
    "delta",
    '"',
    "\\",
    '\\"',
    '":',
    '{"a":1,"b":"c"}',
    '"finish_reason":"stop"',
    '"},"finish_reason":"stop"}]}',
    "data: [DONE]",
    "data: [DONE]\n\n",
    "\n\n",
    "\r\n\r\n",
    "a\n\ndata: {}\n\n",
    vllm({"content": "x"}, None, 0).decode(),
    (b"\n\ndata: " + llama({"content": "x"}, "stop", 0) + b"\n\n").decode(),
    "é😀𝄞",
    "\x00\x1f\x7f\u2028\u2029",
    "x" * 900,
    "",
    "]",
    '"}',
]


def stream_of(shape: Shape, said: list[str], *, before: bytes = b"data: ", end: bytes = b"\n\n") -> bytes:
    chunks = [shape({"role": "assistant", "content": ""}, None, 0)]
    chunks += [shape({"content": text}, None, at) for at, text in enumerate(said)]
    chunks += [shape({}, "stop", len(said))]
    return b"".join(before + chunk + end for chunk in chunks) + before + b"[DONE]" + end


def read(pieces: list[bytes]) -> list[Event]:
    reader = EventReader()
    found: list[Event] = []
    for piece in pieces:
        found += reader.feed(piece)
        if reader.done:
            return found
    return found + reader.end()


def said_in(events: list[Event]) -> str:
    """The text, read as our own clients read it: runs are re-wrapped first."""
    texts: list[str] = []
    for event in events:
        if isinstance(event, Run):
            wire = event.rewrapped(OURS)
            blocks = wire.split(b"\n\n")
            assert blocks.pop() == b""
            assert len(blocks) == event.count == len(event.answers())
            for block in blocks:
                chunk = json.loads(block.removeprefix(b"data: "))
                assert set(chunk) == {"id", "model", "choices", "object"}
                assert (chunk["id"], chunk["model"]) == ("ours", "our model")
                [choice] = chunk["choices"]
                assert choice["index"] == 0
                assert choice["finish_reason"] is None
                texts.append(choice["delta"]["content"])
        else:
            texts += [choice.delta.content or "" for choice in event.choices if choice.delta is not None]
    return "".join(texts)


def decoded_text(events: list[Event]) -> str:
    """The text, as it is put together for an answer that is not streamed."""
    texts: list[str] = []
    for event in events:
        for answer in event.answers() if isinstance(event, Run) else [event]:
            texts += [choice.delta.content or "" for choice in answer.choices if choice.delta is not None]
    return "".join(texts)


def runs(events: list[Event]) -> int:
    return sum(event.count for event in events if isinstance(event, Run))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stream_says_the_same_cut_at_every_byte(shape: Shape) -> None:
    stream = stream_of(shape, HOSTILE)
    for size in (1, 3, 64, 1000, len(stream)):
        events = read(cut(stream, size))
        assert said_in(events) == decoded_text(events) == "".join(HOSTILE)
    short = stream_of(shape, ["one", " two", '"', " three"])
    for at in range(len(short)):
        assert said_in(read([short[:at], short[at:]])) == 'one two" three'


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize(
    "before", [b"data: ", b"data:", b"event: message\ndata: ", b": ping\n\ndata: ", b"\n\n\ndata: "]
)
def test_lines_may_be_written_otherwise(shape: Shape, before: bytes, end: bytes) -> None:
    stream = stream_of(
        shape, HOSTILE, before=before.replace(b"\n", b"\r\n") if b"\r" in end else before, end=end
    )
    for size in (7, 500, len(stream)):
        assert said_in(read(cut(stream, size))) == "".join(HOSTILE)


@pytest.mark.parametrize("text", [*HOSTILE, "x" * 300_000], ids=range(len(HOSTILE) + 1))
def test_no_text_passes_for_the_parts_around_it(text: str) -> None:
    for shape in SHAPES:
        stream = stream_of(shape, ["a", "b", text, "c", text, text, "d"])
        for size in (len(stream), 4096):
            assert said_in(read(cut(stream, size))) == f"ab{text}c{text}{text}d"


@given(
    st.sampled_from(SHAPES),
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(HOSTILE[:20]),
        max_size=10,
    ),
    st.lists(st.integers(0, 4000), max_size=10),
    st.sampled_from([b"\n\n", b"\r\n\r\n"]),
)
@example(vllm, ['"', '"content":"', "x"], [], b"\n\n")
def test_whatever_is_said_arrives_however_it_is_cut(
    shape: Shape, said: list[str], cuts: list[int], end: bytes
) -> None:
    stream = stream_of(shape, said, end=end)
    places = sorted({min(at, len(stream)) for at in cuts} | {0, len(stream)})
    events = read([stream[a:b] for a, b in pairwise(places)])
    assert said_in(events) == decoded_text(events) == "".join(said)


@pytest.mark.parametrize("shape", [llama, vllm, spaced])
def test_plain_chunks_are_not_decoded(shape: Shape) -> None:
    said = [f" word{at}" for at in range(200)]
    stream = stream_of(shape, said)
    assert runs(read([stream])) >= (150 if shape is not llama else 1)
    one_by_one = stream.split(b"\n\n")
    events = read([event + b"\n\n" for event in one_by_one if event])
    # The clock of llama.cpp's chunks moves on: each of its ticks costs a decoded chunk, no more.
    assert runs(events) >= (190 if shape is not llama else 140)
    assert said_in(events) == "".join(said)


EXTRAS: list[dict[str, Any]] = [
    {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]},
    {"reasoning_content": "hm"},
    {"reasoning": "hm"},
    {"refusal": "no"},
    {"content": None},
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("extra", EXTRAS)
def test_a_chunk_with_more_than_text_is_decoded(shape: Shape, extra: dict[str, Any]) -> None:
    plain = [shape({"content": text}, None, 0) for text in ("a", "b", "c")]
    odd = shape({"content": "x", **extra}, None, 0)
    chunks = [*plain, odd, *plain, shape({}, "stop", 0), b"[DONE]"]
    stream = b"".join(b"data: " + chunk + b"\n\n" for chunk in chunks)
    for size in (len(stream), 200, 50):
        events = read(cut(stream, size))
        alone = [event for event in events if not isinstance(event, Run)]
        assert sum(_has_extra(event, extra) for event in alone) == 1
        assert runs(events) <= 6


def _has_extra(event: Any, extra: dict[str, Any]) -> bool:
    [choice] = event.choices
    if choice.finish_reason is not None:
        return False
    [key] = extra
    value = getattr(choice.delta, key)
    return bool(value) if key != "content" else value is None


@pytest.mark.parametrize(
    "extra", [b'"usage":{"prompt_tokens":5,"completion_tokens":1}', b'"usage":{"prompt_tokens":5}']
)
def test_usage_beside_text_is_not_passed_over(extra: bytes) -> None:
    plain = vllm({"content": "a"}, None, 0)
    odd = plain[:-1] + b"," + extra + b"}"
    stream = b"".join(
        b"data: " + chunk + b"\n\n" for chunk in (plain, plain, odd, plain, vllm({}, "stop", 0))
    )
    events = read([stream])
    assert [event.usage.prompt_tokens for event in events if not isinstance(event, Run) and event.usage] == [
        5
    ]


def test_an_error_beside_text_is_not_passed_over() -> None:
    plain = vllm({"content": "a"}, None, 0)
    odd = plain[:-1] + b',"error":{"message":"out of memory"}}'
    with pytest.raises(InferenceFailed):
        read([b"".join(b"data: " + chunk + b"\n\n" for chunk in (plain, plain, odd, plain))])


def test_another_choice_is_not_taken_for_the_first() -> None:
    first = vllm({"content": "a"}, None, 0)
    second = first.replace(b'"index":0', b'"index":1')
    ends = [vllm({}, "stop", 0), vllm({}, "stop", 0).replace(b'"index":0', b'"index":1')]
    events = read([b"".join(b"data: " + chunk + b"\n\n" for chunk in (first, second, first, second, *ends))])
    indices = [choice.index for event in events if not isinstance(event, Run) for choice in event.choices]
    assert indices.count(1) == 3


def test_a_chunk_whose_text_is_broken_is_no_plain_one_and_fails_as_an_engine() -> None:
    plain = b"data: " + vllm({"content": "a"}, None, 0) + b"\n\n"
    broken = plain.replace(b'"a"', b'"\\q"')
    with pytest.raises(ExchangeBroken):
        read([plain + broken + b"data: " + vllm({}, "stop", 0) + b"\n\n"])


@pytest.mark.parametrize(
    "text", [b"\\ud83d", b"\\ude00x", b"\\ud83d\\u0041", b"\\\\\\ud83d", b"\xff\xfe", b"a\xe2\x82"]
)
def test_text_that_is_no_text_is_mended(text: bytes) -> None:
    for place in (0, 2):
        said = [b"a", b"b", b"c"]
        said[place] = text
        chunks = [vllm({"content": "?"}, None, 0).replace(b'"?"', b'"%b"' % each) for each in said]
        stream = b"".join(b"data: " + chunk + b"\n\n" for chunk in (*chunks, vllm({}, "stop", 0))) + DONE
        for size in (len(stream), 10):
            told = decoded_text(read(cut(stream, size)))
            assert "\ufffd" in told
            assert told.encode()


def test_half_an_emoji_spares_whole_ones_and_escaped_backslashes() -> None:
    chunk = vllm({"content": "?"}, None, 0).replace(b'"?"', b'"\\ud83d\\ude00 \\\\ud83d \\ud83d."')
    assert decoded_text(read([b"data: " + chunk + b"\n\n" + b"data: " + vllm({}, "stop", 0) + b"\n\n"])) == (
        "😀 \\ud83d \ufffd."
    )


# How streams end.


def event(choices: Any, **more: Any) -> bytes:
    return b"data: " + compact({"choices": choices, **more}) + b"\n\n"


TEXT = event([{"index": 0, "delta": {"content": "a"}, "finish_reason": None}])
END = event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
USAGE = event([], usage={"prompt_tokens": 1, "completion_tokens": 2})


def test_a_finished_answer_needs_no_done() -> None:
    assert said_in(read([TEXT + END + USAGE])) == "a"


@pytest.mark.parametrize(
    "stream", [b"", b": ping\n\n", TEXT, TEXT + TEXT, TEXT + USAGE, b"data: [DO", TEXT + END[:-9]]
)
def test_an_answer_that_stops_before_it_has_finished_is_broken(stream: bytes) -> None:
    for size in (1, len(stream) + 1):
        with pytest.raises(ExchangeBroken):
            read(cut(stream, size))


def test_an_answer_of_several_choices_has_finished_when_all_have() -> None:
    other = event([{"index": 1, "delta": {"content": "b"}, "finish_reason": None}])
    with pytest.raises(ExchangeBroken):
        read([TEXT + other + END])


def test_done_finishes_what_has_not() -> None:
    for stream in (TEXT + DONE, TEXT + USAGE + DONE):
        events = read([stream])
        finishes = [
            c.finish_reason for e in events if not isinstance(e, Run) for c in e.choices if c.finish_reason
        ]
        assert finishes == ["stop"]


@pytest.mark.parametrize("stream", [DONE, USAGE + DONE, b"data: {}\n\n" + DONE, event([]) + DONE])
def test_an_answer_without_any_choice_is_none(stream: bytes) -> None:
    with pytest.raises(ExchangeBroken):
        read([stream])


def test_nothing_is_read_after_done() -> None:
    assert said_in(read([TEXT + END + DONE + TEXT + b"data: rubbish\n\n"])) == "a"


@pytest.mark.parametrize("blank", [b"\n", b"\n\n", b"\n\n\n", b"\r\n", b"\r\n\r\n\r\n"])
def test_more_empty_lines_than_needed_do_no_harm(blank: bytes) -> None:
    stream = TEXT + blank + TEXT + TEXT + blank + END + blank + DONE + blank
    for size in range(1, 12):
        assert said_in(read(cut(stream, size))) == "aaa"
    assert said_in(read([stream])) == "aaa"


@pytest.mark.parametrize(
    "data", [b"{", b"not json", b"[]", b"7", b'{"choices":7}', b'{"choices":[{"index":"x"}]}']
)
def test_nonsense_is_broken(data: bytes) -> None:
    with pytest.raises(ExchangeBroken):
        read([TEXT + b"data: " + data + b"\n\n" + END + DONE])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "boom", "type": "server_error", "code": 500}, InferenceFailed),
        ("boom", InferenceFailed),
        ({"message": "slow down", "code": 429}, ModelOverloaded),
        ({"message": "slow down", "code": "rate_limit_exceeded"}, ModelOverloaded),
        ({"message": ["odd"]}, InferenceFailed),
        ([1], InferenceFailed),
        (True, InferenceFailed),
    ],
)
def test_an_error_event_is_the_engines_own_word(error: Any, kind: type[FondacoError]) -> None:
    with pytest.raises(kind):
        read([b"data: " + compact({"error": error}) + b"\n\n"])


def test_what_was_said_before_an_error_is_not_lost_with_it() -> None:
    failing = TEXT + TEXT + b'data: {"error":{"message":"boom"}}\n\n'
    for size in (len(failing), 30):
        reader = EventReader()
        found: list[Event] = []
        with pytest.raises(InferenceFailed):  # noqa: PT012
            for piece in cut(failing, size):
                found += reader.feed(piece)
            found += reader.end()
        assert said_in(found) == "aa"


def test_events_without_choices_or_with_null_counts_are_passed_over() -> None:
    odd = (
        event([], usage={"prompt_tokens": None, "completion_tokens": None})
        + event(None)
        + event([], usage={})
    )
    assert said_in(read([TEXT + odd + END + DONE])) == "a"
