"""Feature suffixes are cut at the first colon and read as query text."""

from __future__ import annotations

import pytest

from fondaco.errors import InvalidRequest
from fondaco.models import suffix


def test_a_name_is_cut_at_its_first_colon_only() -> None:
    assert suffix.split("nvidia/parakeet:a=b:c") == ("nvidia/parakeet", "a=b:c")
    assert suffix.split("qwen3-4b") == ("qwen3-4b", "")


def test_known_keys_are_decoded_and_unknown_ones_passed_over() -> None:
    text = "enable_web_search=auto&character_slug=alan%20watts&colour=red&strip_thinking_response=true&&x"
    assert suffix.parse(text) == {
        "enable_web_search": "auto",
        "character_slug": "alan watts",
        "strip_thinking_response": "true",
    }


def test_the_last_of_a_repeated_key_holds() -> None:
    assert suffix.parse("disable_thinking=true&disable_thinking=false") == {"disable_thinking": "false"}


@pytest.mark.parametrize(
    "text",
    [
        "disable_thinking=yes",
        "disable_thinking=True",
        "disable_thinking=",
        "disable_thinking",
        "enable_web_citations=1",
        "enable_web_search=true",
    ],
)
def test_a_value_that_its_key_cannot_have_is_a_fault_of_the_model_field(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        suffix.parse(text)
    (issue,) = refused.value.issues
    assert issue.path == ("model",)
    assert text.partition("=")[0] in issue.message


def test_a_suffix_beyond_all_measure_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        suffix.parse("a&" * 100_000)
