"""Calls are found in whatever form an engine writes them, at every cut, and text that is none stays as it is."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from fondaco.chat.tool_calls import CallReader, ForcedCalls, NativeCalls, ProseCalls
from fondaco.upstream.wire import EngineChoice, EngineDelta, EngineFunction, EngineToolCall

Read = tuple[str, list[tuple[str, str]], str]


def gather(reader: CallReader, deltas: list[EngineDelta], finish: str = "stop") -> Read:
    """(text, calls, finish_reason) as a client adds them up; checks each fragment's form on the way."""
    said = ""
    calls: list[list[str]] = []
    ids: list[str] = []
    finished = ""
    for number, delta in enumerate([*deltas, EngineDelta()]):
        choice = EngineChoice(delta=delta, finish_reason=finish if number == len(deltas) else None)
        reader.rewrite(choice)
        assert choice.delta is not None
        said += choice.delta.content or ""
        for call in choice.delta.tool_calls or ():
            assert call.index is not None
            assert call.function is not None
            if call.index == len(calls):
                assert call.id
                ids.append(call.id)
                calls.append([call.function.name or "", ""])
                assert calls[-1][0]
            else:
                assert call.id is None
                assert call.function.name is None
            calls[call.index][1] += call.function.arguments_text() or ""
        finished = choice.finish_reason or ""
    assert len(set(ids)) == len(ids)
    return said, [(name, arguments) for name, arguments in calls], finished


def texts(text: str, sizes: list[int]) -> list[EngineDelta]:
    deltas: list[EngineDelta] = []
    while text:
        size = sizes[len(deltas) % len(sizes)]
        deltas.append(EngineDelta(content=text[:size]))
        text = text[size:]
    return deltas


def prose(text: str, *sizes: int, parallel: bool = True, finish: str = "stop") -> Read:
    reader = ProseCalls(["get_weather", "add"], parallel=parallel)
    return gather(reader, texts(text, list(sizes)), finish)


W = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
A = '{"name":"add","arguments":{"a":[1,{"b":"}{\\"]"}],"c":""}}'
WEATHER = ("get_weather", {"city": "Paris"})
ADD = ("add", {"a": [1, {"b": '}{"]'}], "c": ""})

CALLS: list[tuple[str, str, list[Any]]] = [
    (W, "", [WEATHER]),
    (f"\n {W}\n", "", [WEATHER]),
    (f"{W}{A}", "", [WEATHER, ADD]),
    (f"{W}\n{A}\n", "", [WEATHER, ADD]),
    (f"{W}, {A}; {W}", "", [WEATHER, ADD, WEATHER]),
    (f"[{W}, {A}]", "", [WEATHER, ADD]),
    (f"<tool_call>\n{W}\n</tool_call>", "", [WEATHER]),
    (f"<tool_call>{W}</tool_call>\n<tool_call>{A}</tool_call>", "", [WEATHER, ADD]),
    (f"<tool_call>{W}\n{A}</tool_call>", "", [WEATHER, ADD]),
    (f"<tool_call>{W}", "", [WEATHER]),
    (f"Let me look.\n<tool_call>{W}</tool_call>", "Let me look.\n", [WEATHER]),
    (f"I look.\n<tool_call>{W}</tool_call>\n\nThere you are.", "I look.\nThere you are.", [WEATHER]),
    (f"```json\n{W}\n```", "", [WEATHER]),
    (f"```\n{W}\n```\n", "", [WEATHER]),
    (f"```xml\n<tool_call>{W}</tool_call>\n```", "", [WEATHER]),
    (f"```json\n[{W},\n{A}]\n```", "", [WEATHER, ADD]),
    (f"I call it:\n\n```json\n{W}\n```\nDone  now.", "I call it:\n\nDone  now.", [WEATHER]),
    (f"```json\n{W}", "", [WEATHER]),
    ('{"name": "get_weather", "parameters": {"city": "Paris"}}', "", [WEATHER]),
    ('{"function": "get_weather", "arguments": {"city": "Paris"}}', "", [WEATHER]),
    ('{"type":"function","function":{"name":"get_weather","arguments":{"city":"Paris"}}}', "", [WEATHER]),
    ('{"name":"get_weather","arguments":"{\\"city\\":\\"Paris\\"}"}', "", [WEATHER]),
    ('{"name":"get_weather"}', "", [("get_weather", {})]),
    ('{"name":"get_weather","arguments":null}', "", [("get_weather", {})]),
    ('{"name":"get_weather","arguments":""}', "", [("get_weather", {})]),
    ('{"arguments": {"city": "Paris"}, "name": "get_weather"}', "", [WEATHER]),
    (
        '{"name":"get_weather","arguments":{"city":"Par\\u00eds 😀"}}',
        "",
        [("get_weather", {"city": "París 😀"})],
    ),
]


@pytest.mark.parametrize(("text", "said", "calls"), CALLS)
def test_calls_are_found_wherever_the_text_is_cut(text: str, said: str, calls: list[Any]) -> None:
    for size in (*range(1, 20), len(text)):
        shown, found, finish = prose(text, size)
        assert [(name, json.loads(arguments)) for name, arguments in found] == calls
        assert (shown, finish) == (said, "tool_calls")
    for at in range(1, len(text)):
        assert prose(text, at, len(text)) == prose(text, len(text))


NO_CALLS = [
    "Hello there.",
    "",
    "  ",
    "\n\n",
    '{"a": 1}',
    '{"name": "unknown", "arguments": {}}',
    '<tool_call>{"name": "unknown", "arguments": {}}</tool_call> and so on',
    '```json\n{"name": "unknown"}\n```\nText  after.',
    '```json\n{"name": "Ann", "age": 7}\n```',
    '```python\nprint({"name": "get_weather"})\n```',
    "```python\nx = 1\n```\n\nThen\n\n```\n{}\n```\n",
    "a `b` ``c`` ```",
    "<tool_call>",
    "<tool_call>not json</tool_call>",
    "<tool_calls> <tool",
    "[1, 2, 3]",
    "[[[",
    '{"na',
    '{"name": ["get_weather"], "arguments": {}}',
    '{"name": {"a": 1}}',
    '{"function": 7}',
    '{"name": "get_weather", "arguments": {"city": "Pa',
    '{"name": "get_weather" "arguments"}',
    f"Write {W} to call it.",
    '{"arguments": ' + "[" * 5000 + "]" * 5000 + "}",
    '```json\n{"name": ' + "[" * 5000 + "]" * 5000 + "}\n```",
]


@pytest.mark.parametrize("text", NO_CALLS, ids=range(len(NO_CALLS)))
def test_text_without_calls_passes_unchanged(text: str) -> None:
    for size in (*range(1, 12 if len(text) < 5000 else 1), 1000, len(text) + 1):
        assert prose(text, size) == (text, [], "stop")


_bits = st.sampled_from(
    [
        "```",
        "`",
        "```json\n",
        "<tool_call>",
        "</tool_call>",
        "<",
        "tool_",
        "{",
        "}",
        "[",
        "]",
        '"',
        '"name"',
        ":",
        "get",
        " ",
        "\n",
        ",",
        "\\",
        "é",
        "word",
        '{"name": "nobody", "arguments": {}}',
        '{"a":',
        "1",
    ]
)


@given(st.lists(_bits, max_size=14).map("".join), st.lists(st.integers(1, 9), min_size=1, max_size=5))
@example('```{"name"`', [1])
def test_any_text_without_calls_passes_unchanged(text: str, sizes: list[int]) -> None:
    assert prose(text, *sizes) == (text, [], "stop")


@given(
    st.lists(
        st.sampled_from([W, A, f"<tool_call>{A}</tool_call>", f"```json\n{W}\n```"]), min_size=1, max_size=3
    ),
    st.sampled_from(["", "First I look.\n", "So:\n\n"]),
    st.sampled_from(["", "\nThat was it, I  think.", "\n\nA\n\nB"]),
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
)
def test_calls_with_prose_around_read_alike_at_any_cut(
    blocks: list[str], before: str, after: str, sizes: list[int]
) -> None:
    if before:
        blocks = [block if block[0] in "<`" else f"<tool_call>{block}</tool_call>" for block in blocks]
    text = before + "\n".join(blocks) + after
    shown, calls, finish = prose(text, *sizes)
    assert shown == before + after.lstrip()
    assert len(calls) == len(blocks)
    assert finish == "tool_calls"


def test_text_and_foreign_code_are_not_held_back() -> None:
    reader = ProseCalls(["get_weather"], parallel=True)
    text = "Look:\n```python\nfor x in y:\n    print(x)\n```\nThat is all there is to it."
    shown = ""
    for at, character in enumerate(text):
        choice = EngineChoice(delta=EngineDelta(content=character))
        reader.rewrite(choice)
        assert choice.delta is not None
        shown += choice.delta.content or ""
        assert at + 1 - len(shown) <= len("```python\n")
    assert shown == text


def test_only_one_call_is_let_through_when_calls_are_not_to_be_parallel() -> None:
    _, calls, finish = prose(f"{W}{A}", 7, parallel=False)
    assert [name for name, _ in calls] == ["get_weather"]
    assert finish == "tool_calls"


def test_an_answer_cut_off_by_its_length_says_so() -> None:
    assert prose(W[:-20], 5, finish="length") == (W[:-20], [], "length")
    shown, calls, finish = prose(W + A[:-10], 5, finish="length")
    assert (len(calls), finish) == (1, "length")
    assert shown == A[:-10]


def test_a_long_call_costs_no_more_than_its_length() -> None:
    # Each piece must not read again all that is held.
    text = '{"name":"add","arguments":{"a":"' + "word {} " * 8000 + '"}}'
    started = time.perf_counter()
    _, calls, _ = prose(text, 5)
    assert len(json.loads(calls[0][1])["a"]) == 64_000
    assert time.perf_counter() - started < 2


# Constrained calls.


def forced(text: str, *sizes: int, finish: str = "stop") -> Read:
    return gather(ForcedCalls(), texts(text, list(sizes)), finish)


@pytest.mark.parametrize(
    "text", [W, f"[{W}]", f"[{W},{A}]", f" [ {W} , {A} , {W} ] \n", '[{"name":"add","arguments":{}}]']
)
def test_constrained_calls_stream_alike_at_every_cut(text: str) -> None:
    value = json.loads(text)
    wanted = [(call["name"], call["arguments"]) for call in (value if isinstance(value, list) else [value])]
    for size in (*range(1, 25), len(text)):
        said, calls, finish = forced(text, size)
        assert (said, finish) == ("", "tool_calls")
        assert [(name, json.loads(arguments)) for name, arguments in calls] == wanted


def test_arguments_of_constrained_calls_stream_as_they_grow() -> None:
    reader = ForcedCalls()
    grown: list[str] = []
    for delta in texts(f"[{W}]", [4]):
        choice = EngineChoice(delta=delta)
        reader.rewrite(choice)
        assert choice.delta is not None
        grown += [
            call.function.arguments_text() or "" for call in choice.delta.tool_calls or () if call.function
        ]
    assert len([piece for piece in grown if piece]) >= 4
    assert "".join(grown) == '{"city": "Paris"}'


def test_a_constrained_call_cut_off_by_its_length_is_no_finished_one() -> None:
    said, calls, finish = forced(f"[{W[:-10]}", 6, finish="length")
    assert (said, finish) == ("", "length")
    assert calls[0][0] == "get_weather"


def test_names_and_arguments_may_hold_anything() -> None:
    name = 'we"ird\\né😀'
    text = json.dumps([{"name": name, "arguments": {'"},{"name":"x","arguments":{': ["\\", "]}", {}]}}])
    for size in range(1, 30):
        _, calls, _ = forced(text, size)
        assert [(calls[0][0], json.loads(calls[0][1]))] == [
            (name, {'"},{"name":"x","arguments":{': ["\\", "]}", {}]})
        ]


# Calls in the wire's own form.


def fragment(
    index: int | None = None, call_id: str | None = None, name: str | None = None, arguments: Any = None
) -> EngineToolCall:
    raw = Raw() if arguments is None else Raw(json.dumps(arguments).encode())
    return EngineToolCall(index=index, id=call_id, function=EngineFunction(name=name, arguments=raw))


def native(*chunks: list[EngineToolCall], finish: str = "stop") -> list[tuple[str, str]]:
    said, calls, finished = gather(NativeCalls(), [EngineDelta(tool_calls=chunk) for chunk in chunks], finish)
    assert said == ""
    assert finished == ("tool_calls" if finish in ("stop", "tool_calls") else finish)
    return calls


F, G = ("f", '{"x":1}'), ("g", '{"y":2}')


@pytest.mark.parametrize(
    ("chunks", "calls"),
    [
        ([[fragment(0, "a", "f", "")], [fragment(0, None, None, '{"x"')], [fragment(0, None, None, ":1}")]], [F]),
        ([[fragment(0, "a", "f", '{"x":1}')]], [F]),
        ([[fragment(None, None, "f", '{"x":1}')]], [F]),
        ([[fragment(0, "a", "f")]], [("f", "{}")]),
        ([[fragment(0, "a", "f", "")]], [("f", "{}")]),
        ([[fragment(0, "a", "f", {"x": 1})]], [("f", '{"x": 1}')]),
        ([[fragment(0, "a", "f", '{"x":1}'), fragment(1, "b", "g", '{"y":2}')]], [F, G]),
        ([[fragment(None, "a", "f", '{"x":1}'), fragment(None, "b", "g", '{"y":2}')]], [F, G]),
        ([[fragment(None, None, "f", '{"x":1}'), fragment(None, None, "g", '{"y":2}')]], [F, G]),
        ([[fragment(None, "a", "f", '{"x":1}')], [fragment(None, "b", "g", '{"y":2}')]], [F, G]),
        ([[fragment(None, None, "f", '{"x":1}')], [fragment(None, None, "g", '{"y":2}')]], [F, G]),
        ([[fragment(0, "a", "f", '{"x":1}')], [fragment(0, "b", "g", '{"y":2}')]], [F, G]),
        ([[fragment(0, "a", "f", '{"x"')], [fragment(1, "b", "g", '{"y"')], [fragment(0, arguments=":1}")],
          [fragment(1, arguments=":2}")]], [F, G]),
        ([[fragment(0, "a", "f", '{"x"')], [fragment(0, "a", "f", ":1}")]], [F]),
        ([[fragment(0, "a", "f", '{"x"')], [fragment(0, "z", None, ":1}")]], [F]),
        ([[fragment(None, "a", "f", '{"x"')], [fragment(None, None, None, ":1}")]], [F]),
        ([[fragment(None, "a", "f", '{"x"')], [fragment(None, "b", "g", '{"y":2}')], [fragment(None, "a", None, ":1}")]],
         [F, G]),
        ([[fragment(1, "a", "f", '{"x":1}')], [fragment(2, "b", "g", '{"y":2}')]], [F, G]),
        ([[fragment(0, "", "f", '{"x":1}')], [fragment(1, "", "g", '{"y":2}')]], [F, G]),
    ],
    ids=range(19),
)  # fmt: skip
def test_native_calls_get_what_they_lack(
    chunks: list[list[EngineToolCall]], calls: list[tuple[str, str]]
) -> None:
    assert native(*chunks) == calls
    # Rewriting changes them in place, and what has been put right stays so.
    assert native(*chunks, finish="length") == calls


def test_an_answer_without_calls_keeps_its_finish_reason() -> None:
    assert gather(NativeCalls(), [EngineDelta(content="x")]) == ("x", [], "stop")
    assert gather(NativeCalls(), [EngineDelta(content="x", tool_calls=[])], "length") == ("x", [], "length")


def test_native_calls_of_a_runtime_are_put_right_beside_those_in_prose() -> None:
    reader = ProseCalls(["add"], parallel=True)
    deltas = [EngineDelta(tool_calls=[fragment(None, None, "f")]), *texts(A, [6])]
    _, calls, finish = gather(reader, deltas)
    assert sorted(name for name, _ in calls) == ["add", "f"]
    assert all(json.loads(arguments) is not None for _, arguments in calls)
    assert finish == "tool_calls"
