"""The models that come with the server, asked as a person would: what they say makes sense, and is counted right."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import sys
import urllib.request
from decimal import Decimal
from typing import Any

import pytest

from gateways import ADMIN_KEY, CODER, TINY, Gateway

# A fresh machine fetches weights within the first test that needs them.
pytestmark = pytest.mark.timeout(900)


def chat(gateway: Gateway, said: str | list[dict[str, str]], key: str = ADMIN_KEY, **fields: Any) -> Any:
    """The answer's body, its numbers exact."""
    messages = [{"role": "user", "content": said}] if isinstance(said, str) else said
    body = {"model": "default", "messages": messages, "temperature": 0, "max_tokens": 40, **fields}
    request = urllib.request.Request(
        f"{gateway.base_url}/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read(), parse_float=Decimal)


def text_of(answer: Any) -> str:
    return answer["choices"][0]["message"]["content"]


def test_the_smallest_model_writes_a_sentence_about_what_it_was_asked(tiny_gateway: Gateway) -> None:
    answer = chat(tiny_gateway, "Write one sentence about a cat.")
    words = re.findall(r"[A-Za-z']+", text_of(answer))
    assert answer["model"] == TINY
    assert "cat" in [word.lower() for word in words]
    assert len({word.lower() for word in words}) >= 5
    assert text_of(answer)[0].isupper()


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is the capital of France?", "Paris"),
        ("What is 2 + 3? Answer with the number only.", "5"),
        ("Write a Python function `add(a, b)` that returns their sum. Only code.", "return a + b"),
    ],
)
@pytest.mark.long
def test_the_default_model_knows_a_few_things(coder_gateway: Gateway, question: str, expected: str) -> None:
    answer = chat(coder_gateway, question)
    assert answer["model"] == CODER
    assert expected in text_of(answer)


def test_the_default_model_remembers_what_was_said_before(coder_gateway: Gateway) -> None:
    said = [
        {"role": "user", "content": "My name is Alice and I live in Lisbon."},
        {"role": "assistant", "content": "Nice to meet you, Alice!"},
        {"role": "user", "content": "In which city do I live?"},
    ]
    assert "Lisbon" in text_of(chat(coder_gateway, said))


def test_the_default_model_obeys_a_system_message(coder_gateway: Gateway) -> None:
    said = [
        {"role": "system", "content": "Whatever the user says, answer with the single word BANANA."},
        {"role": "user", "content": "Hello"},
    ]
    assert "banana" in text_of(chat(coder_gateway, said)).lower()


@pytest.mark.parametrize("gateway", ["tiny_gateway", "coder_gateway"])
def test_usage_adds_up_and_is_what_is_charged(gateway: str, request: pytest.FixtureRequest) -> None:
    server: Gateway = request.getfixturevalue(gateway)
    short = chat(server, "Say hello.", max_tokens=4)
    long = chat(server, "Say hello. " * 20, max_tokens=8)
    for answer in (short, long):
        usage = answer["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        # A million tokens of the prompt cost $0.05, of the answer $0.15: 50 and 150 nano-dollars each.
        nano = 50 * usage["prompt_tokens"] + 150 * usage["completion_tokens"]
        assert Decimal(answer["cost"]["usd"]) == Decimal(nano) / 10**9
    assert short["usage"]["completion_tokens"] <= 4
    assert long["usage"]["prompt_tokens"] - short["usage"]["prompt_tokens"] >= 19 * 2


def test_a_prompt_that_comes_again_is_not_read_again(tiny_gateway: Gateway) -> None:
    said = "Here is a list of words: " + " ".join(f"apple{number}" for number in range(15)) + ". Say hello."
    first = chat(tiny_gateway, said, max_tokens=4)["usage"]
    again = chat(tiny_gateway, said, max_tokens=4)["usage"]
    assert again["prompt_tokens"] == first["prompt_tokens"]
    # At first no more than the server's own prompt was known.
    assert first["prompt_tokens_details"]["cached_tokens"] < first["prompt_tokens"] - 40
    # The engine reads the last token again, for it needs a place to go on from.
    assert again["prompt_tokens_details"]["cached_tokens"] >= first["prompt_tokens"] - 8


@pytest.mark.long
def test_another_account_has_nothing_of_a_prompt_that_was_read(tiny_gateway: Gateway) -> None:
    said = "Here is another list: " + " ".join(f"pear{number}" for number in range(15)) + ". Say hello."
    chat(tiny_gateway, said, max_tokens=4)
    assert chat(tiny_gateway, said, max_tokens=4)["usage"]["prompt_tokens_details"]["cached_tokens"] > 30
    stranger = _key_of_another_account(tiny_gateway)
    asked = chat(tiny_gateway, said, key=stranger, max_tokens=4)["usage"]
    assert (asked["prompt_tokens_details"] or {"cached_tokens": 0})["cached_tokens"] == 0


def test_the_own_prompt_tells_the_day(coder_gateway: Gateway) -> None:
    told = chat(coder_gateway, "Which year is it today? Answer with the year only.", max_tokens=12)
    year = re.search(r"\b20\d\d\b", text_of(told))
    assert year is not None
    assert year[0] == _year(told)


def _year(answer: Any) -> str:
    return str(datetime.datetime.fromtimestamp(answer["created"], datetime.UTC).year)


def _key_of_another_account(gateway: Gateway) -> str:
    command = [sys.executable, "-m", "fondaco", "keys", "create", "--account", "stranger"]
    command += ["--data-dir", str(gateway.data_dir)]
    made = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return made.stdout.strip()
