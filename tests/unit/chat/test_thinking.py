"""Thoughts go where they were asked to go, however they come and wherever they are cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_engines import DONE, delta, event, stream, whole
from fondaco.chat.thinking import Show, Thinking
from fondaco.upstream.wire import EngineChoice, EngineDelta
from scripted_chat import Folded, Gateway, in_cuts, in_json

THOUGHT, ANSWER = "Hm, 1 < 2.\nSo </b> it is.\n", "It <is> so."
TAGGED = f"<think>\n{THOUGHT}</think>\n\n{ANSWER}"


def read(text: str, show: Show, sizes: list[int], *, prefilled: bool = False) -> tuple[str, str]:
    """What comes of `text` as (thought, said), cut into such sizes over and over."""
    thinking = Thinking(show, prefilled=prefilled)
    pieces: list[str] = []
    while text:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[:size])
        text = text[size:]
    thought = said = ""
    for piece in [*pieces, None]:
        choice = EngineChoice(
            delta=EngineDelta(content=piece), finish_reason=None if piece is not None else "stop"
        )
        thinking.rewrite(choice)
        assert choice.delta is not None
        thought += choice.delta.reasoning_content or ""
        said += choice.delta.content or ""
    return thought, said


CASES: list[tuple[str, tuple[str, str], str]] = [
    (TAGGED, (THOUGHT, ANSWER), ANSWER),
    (f"  \n<think>{THOUGHT}</think>{ANSWER}", (THOUGHT, ANSWER), ANSWER),
    (ANSWER, ("", ANSWER), ANSWER),
    ("", ("", ""), ""),
    ("  two spaces", ("", "  two spaces"), "  two spaces"),
    ("\n\n", ("", "\n\n"), "\n\n"),
    ("<think></think>x", ("", "x"), "x"),
    ("<think>\n\n</think>\n\nx", ("", "x"), "x"),
    ("<think>never closed", ("never closed", ""), ""),
    ("<think>cut </thi", ("cut </thi", ""), ""),
    ("<think>", ("", ""), ""),
    ("<th", ("", "<th"), "<th"),
    ("<that> is text", ("", "<that> is text"), "<that> is text"),
    ("<thinking> is text", ("", "<thinking> is text"), "<thinking> is text"),
    ("a</think>b", ("", "a</think>b"), "a</think>b"),
    ("Say <think> and </think> out loud", ("", "Say <think> and </think> out loud"), "Say out loud"),
    ("<think>a</think>b<think>c</think>d", ("a", "b<think>c</think>d"), "bd"),
    ("x <thin", ("", "x <thin"), "x <thin"),
    ("<think>a<think>b</think>c", ("a<think>b", "c"), "c"),
    ("😀<think>", ("", "😀<think>"), "😀"),
]


@pytest.mark.parametrize(("text", "parted", "stripped"), CASES)
def test_text_is_parted_alike_wherever_it_is_cut(text: str, parted: tuple[str, str], stripped: str) -> None:
    for size in range(1, len(text) + 2):
        assert read(text, "field", [size]) == parted
        assert read(text, "nothing", [size]) == ("", stripped)
    for at in range(1, len(text)):
        assert read(text, "field", [at, len(text)]) == parted
        assert read(text, "nothing", [at, len(text)]) == ("", stripped)


@pytest.mark.parametrize("text", [text for text, _, _ in CASES if text.startswith("<think>")])
def test_tags_stay_alike_wherever_they_are_cut(text: str) -> None:
    once = read(text, "tags", [len(text)])
    assert once[0] == ""
    for size in range(1, len(text) + 1):
        assert read(text, "tags", [size]) == once
    assert read(TAGGED, "tags", [3]) == ("", TAGGED)


def test_a_prefilled_thought_needs_no_opening() -> None:
    for size in range(1, 30):
        assert read(f"\n{THOUGHT}</think>\n\n{ANSWER}", "field", [size], prefilled=True) == (THOUGHT, ANSWER)
        assert read(f"{THOUGHT}</think>{ANSWER}", "nothing", [size], prefilled=True) == ("", ANSWER)
        assert read(f"{THOUGHT}</think>{ANSWER}", "tags", [size], prefilled=True) == ("", TAGGED)
        assert read("all thought", "field", [size], prefilled=True) == ("all thought", "")


_bits = st.lists(
    st.sampled_from(["<think>", "</think>", "<", "think", ">", "</", "\n", " ", "a", "é", "<th"]), max_size=12
)


@given(
    _bits.map("".join),
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.sampled_from(["field", "tags", "nothing"]),
)
def test_any_text_reads_alike_at_any_cut(text: str, sizes: list[int], show: Show) -> None:
    assert read(text, show, sizes) == read(text, show, [len(text) + 1])


# Through the whole slice.

pytest_anyio = pytest.mark.anyio


def spoken(field: str) -> bytes:
    deltas = [{field: THOUGHT[at : at + 5]} for at in range(0, len(THOUGHT), 5)]
    return stream(*deltas, *({"content": ANSWER[at : at + 3]} for at in range(0, len(ANSWER), 3)))


def tagged(size: int) -> bytes:
    return stream(*({"content": TAGGED[at : at + size]} for at in range(0, len(TAGGED), size)))


SOURCES: dict[str, Any] = {
    "reasoning_content": in_cuts(spoken("reasoning_content"), 50),
    "reasoning": in_cuts(spoken("reasoning"), 10_000),
    "tags": in_cuts(tagged(4), 100),
    "tags in one": in_cuts(tagged(1000), 7),
    "whole field": in_json(whole({"content": ANSWER, "reasoning_content": THOUGHT})),
    "whole other field": in_json(whole({"content": ANSWER, "reasoning": THOUGHT})),
    "whole tags": in_json(whole({"content": TAGGED})),
}


@pytest_anyio
@pytest.mark.parametrize("source", SOURCES)
async def test_thoughts_go_into_their_field(source: str) -> None:
    said = await Gateway(SOURCES[source], reasoning=True).both()
    assert (said.thought, said.text) == (THOUGHT, ANSWER)


@pytest_anyio
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("switch", ["strip_thinking_response", "disable_thinking"])
async def test_thoughts_are_left_out_when_asked(source: str, switch: str) -> None:
    gateway = Gateway(SOURCES[source], reasoning=True)
    said = await gateway.both(venice_parameters={switch: True})
    assert (said.thought, said.text) == ("", ANSWER)
    assert said.venice_parameters[switch] is True
    response = await gateway.ask(stream=True, model=f"m:{switch}=true")
    assert b"reasoning_content" not in response.content


@pytest_anyio
@pytest.mark.parametrize("source", SOURCES)
async def test_models_that_think_aloud_keep_their_tags(source: str) -> None:
    for facts in ({"reasoning": True}, {}):
        said = await Gateway(SOURCES[source], think_tags=True, **facts).both()
        assert (said.thought, said.text) == ("", TAGGED)
    said = await Gateway(SOURCES[source], think_tags=True, reasoning=True).both(
        venice_parameters={"strip_thinking_response": True}
    )
    assert (said.thought, said.text) == ("", ANSWER)


@pytest_anyio
async def test_a_prefilled_template_is_told_of_in_the_binding() -> None:
    text = f"{THOUGHT}</think>\n\n{ANSWER}"
    said = in_cuts(stream(*({"content": text[at : at + 6]} for at in range(0, len(text), 6))), 90)
    answer = await Gateway(said, think_prefilled=True, reasoning=True).both()
    assert (answer.thought, answer.text) == (THOUGHT, ANSWER)


@pytest_anyio
async def test_each_choice_thinks_for_itself() -> None:
    texts = ["<think>one</think>1", "<think>two, longer</think>2 and 3"]
    events = []
    for at in range(0, 40, 3):
        events += [
            event([delta(index, content=text[at : at + 3])]) for index, text in enumerate(texts) if text[at:]
        ]
    events += [event([delta(0, finish="stop")]), event([delta(1, finish="length")]), DONE]
    for size in (1, 50, 5000):
        answer: Folded = await Gateway(in_cuts(b"".join(events), size), reasoning=True).both(n=2)
        assert answer.thoughts == ["one", "two, longer"]
        assert answer.texts == ["1", "2 and 3"]
        assert answer.finish == ["stop", "length"]


@pytest_anyio
async def test_thoughts_come_before_the_text_and_at_once() -> None:
    chunks = await Gateway(in_cuts(tagged(4), 100), reasoning=True).streamed()
    kinds = [key for chunk in chunks for key in chunk["choices"][0]["delta"] if key != "role"]
    assert kinds.index("reasoning_content") < len(kinds) - kinds[::-1].index("reasoning_content")
    said = "".join("t" if kind == "reasoning_content" else "c" for kind in kinds)
    assert said.lstrip("c").rstrip("c").strip("t") == ""
    assert said.count("t") > 5


@pytest_anyio
async def test_an_answer_cut_off_inside_a_thought_is_all_thought() -> None:
    said = await Gateway(
        in_cuts(stream({"content": "<think>so far"}, finish="length"), 60), reasoning=True
    ).both()
    assert (said.thought, said.text, said.finish) == ("so far", "", ["length"])
    gone = await Gateway(
        in_cuts(stream({"content": "<think>so far </th"}, finish="length"), 60), think_tags=True
    ).both()
    assert gone.text == "<think>\nso far </th</think>\n\n"
