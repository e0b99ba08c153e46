"""Pictures in answers that were written with foreign text in sight: none is left that a client would fetch."""

from __future__ import annotations

import pytest

from browsing import fetched_by, pictures
from fondaco.augment.citing.evidence import Evidence, Source
from fondaco.chat.foreign import Citations, NoCalls, NoPictures
from fondaco.upstream.wire import EngineAnswer, EngineChoice, EngineDelta, EngineToolCall

URL = "http://a.test/b?said=secret"
PICTURES = pictures(URL)

ORDINARY = """\
High tide! At noon!!! Is a < b, 1<2 or a <3? [A link](http://a.test/), [another][t] and [!](http://b.test/).

1. **Bold**, <b>bold</b> and <a href="https://a.test/?x=1&y=2" title='a'>a link</a>, <br/> and <details><summary>
2. `if (a < b) {}` and `vector<int>` and `std::array<T>`

| a | b |
|---|---|
| <td class="x" data-y='1'> | -> => <- <= |

```html
<div id=a><ul><li>one</li></ul></div>
<input type="text" name="q">
```
"""


def shown(*pieces: str, key: str = "content") -> str:
    """What comes of an answer in these pieces."""
    reader = NoPictures()
    told = ""
    for piece in pieces:
        choice = EngineChoice(delta=EngineDelta(**{key: piece}))
        reader.rewrite(choice)
        told += _said(choice, key)
    last = EngineChoice(finish_reason="stop")
    reader.rewrite(last)
    return told + _said(last, key)


def _said(choice: EngineChoice, key: str) -> str:
    assert choice.delta is not None
    return getattr(choice.delta, key) or ""


@pytest.mark.parametrize("picture", PICTURES)
def test_no_picture_is_left_wherever_it_is_cut(picture: str) -> None:
    if "^" not in picture:  # then it is one only when a mark has been taken out, see below
        assert fetched_by(picture)
    text = f"The tide.\n\n{picture}\n\nIs high."
    known = shown(text)
    assert not fetched_by(known)
    assert URL in known
    for at in range(min(len(text), 200)):
        assert shown(text[:at], text[at:]) == known
    assert not fetched_by(shown(*text))
    assert shown(*text, key="reasoning_content") == shown(*text)


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_other_text_stays_as_it_is(size: int) -> None:
    assert shown(*(ORDINARY[at : at + size] for at in range(0, len(ORDINARY), size))) == ORDINARY


def test_choices_do_not_mix() -> None:
    reader = NoPictures()
    for index in (0, 1):
        reader.rewrite(EngineChoice(index=index, delta=EngineDelta(content="!")))
    second = EngineChoice(index=1, delta=EngineDelta(content=" yes"))
    first = EngineChoice(index=0, delta=EngineDelta(content="[a](b)"))
    reader.rewrite(second)
    reader.rewrite(first)
    assert (first.delta, second.delta) == (EngineDelta(content="[a](b)"), EngineDelta(content="! yes"))


def test_thoughts_are_over_before_the_answer_begins() -> None:
    reader = NoPictures()
    reader.rewrite(EngineChoice(delta=EngineDelta(reasoning_content="So!")))
    answer = EngineChoice(delta=EngineDelta(content="Noon."))
    reader.rewrite(answer)
    assert answer.delta == EngineDelta(content="Noon.", reasoning_content="!")


@pytest.mark.anyio
@pytest.mark.parametrize("picture", PICTURES)
async def test_no_picture_comes_about_where_a_citation_goes(picture: str) -> None:
    citations = Citations(Evidence([Source("Boats", "Nothing of the kind.")], None))
    reader = NoPictures()
    told = ""
    for piece in ("The harbour ", *picture, " is in the lagoon.", None):
        delta = EngineDelta(content=piece)
        choice = EngineChoice(delta=delta, finish_reason=None if piece else "stop")
        reader.rewrite(choice)
        await citations.checked([EngineAnswer([choice])])
        told += delta.content or ""
    assert not fetched_by(told)


def test_no_call_is_left() -> None:
    choice = EngineChoice(
        delta=EngineDelta(content="a", tool_calls=[EngineToolCall()]), finish_reason="tool_calls"
    )
    NoCalls().rewrite(choice)
    assert choice.delta == EngineDelta(content="a")
    assert choice.finish_reason == "stop"
