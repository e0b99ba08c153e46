"""Names that other clients use for the same fields."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fondaco.chat.wire import ChatRequest
from fondaco.errors import InvalidRequest
from fondaco.http.validation import decode


def read(**fields: Any) -> ChatRequest:
    return decode(msgspec.json.encode({"model": "m"} | fields), ChatRequest)


def refused(**fields: Any) -> list[tuple[str | int, ...]]:
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)
    return [issue.path for issue in caught.value.issues]


def test_input_is_messages() -> None:
    assert read(input=[{"role": "user", "content": "hi"}]).messages[0].content == "hi"


def test_input_may_be_what_the_user_says() -> None:
    message = read(input='say "hi"').messages[0]
    assert (message.role, message.content) == ("user", 'say "hi"')


def test_messages_win_over_input() -> None:
    messages = [{"role": "user", "content": "a"}]
    assert read(messages=messages, input="b").messages[0].content == "a"


def test_other_names_are_understood() -> None:
    request = read(input="x", max_output_tokens=7, promptCacheKey="k", web_search=True)
    assert request.max_tokens == 7
    assert request.prompt_cache_key == "k"
    assert request.venice_parameters is not None
    assert request.venice_parameters.enable_web_search == "on"


def test_the_search_switch_keeps_other_parameters_and_gives_way_to_its_own() -> None:
    request = read(input="x", web_search=False, venice_parameters={"disable_thinking": True})
    assert request.venice_parameters is not None
    assert request.venice_parameters.enable_web_search == "off"
    assert request.venice_parameters.disable_thinking is True
    both = read(input="x", web_search=False, venice_parameters={"enable_web_search": "auto"})
    assert both.venice_parameters is not None
    assert both.venice_parameters.enable_web_search == "auto"


def test_null_asks_for_nothing() -> None:
    assert read(input="x", web_search=None, max_output_tokens=None).venice_parameters is None


def test_a_whole_number_may_be_written_with_a_point() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":100.0,"n":1.0,"top_k":-0.0}'
    request = decode(body, ChatRequest)
    assert (request.max_tokens, request.n, request.top_k) == (100, 1, 0)
    assert refused(input="x", max_tokens=100.5) == [("max_tokens",)]


def test_faults_are_named_in_the_spelling_that_counts() -> None:
    assert refused(input=7) == [("messages",)]
    assert refused(input="x", max_output_tokens="many") == [("max_tokens",)]
    assert refused(input="x", web_search="yes") == [("web_search",)]
    assert refused(input="x", web_search=True, venice_parameters=7) == [("venice_parameters",)]
    assert refused(input="x", zzz=1) == [()]
