"""Whatever is asked and whatever comes of it, nothing costs more than its quote's ceiling.

Requests are generated from a seed. What is used is the worst that can be: each byte of all that an engine is shown is
a token, there are some more around each message, and answers are as long as they may be, or anything less.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from fondaco.billing.line import total
from fondaco.billing.prices.audio import transcription_bill
from fondaco.billing.prices.tokens import TokenUse, chat_bill, completion_affordable, embedding_bill
from fondaco.billing.quoting.goods import goods
from fondaco.billing.quoting.known import KnownModels
from fondaco.billing.quoting.quote import Quote
from fondaco.chat import plan
from fondaco.chat.messages import unusual
from fondaco.chat.options import effective
from fondaco.chat.prompt import PromptBuilder
from fondaco.chat.quote import ChatQuotes
from fondaco.chat.wire import ChatRequest, normalised
from fondaco.clock import SystemClock
from fondaco.http.validation import decode
from fondaco.models.catalogue import Catalogue
from fondaco.models.registry import Registry
from fondaco.models.serving import LocalServing
from fondaco.settings import Binding, GgufModel, ModelSettings
from fondaco.upstream.seats import Seat
from fondaco.upstream.transport import Target

CATALOGUE = Catalogue()
FAR = {"base_url": "http://127.0.0.1:9/v1", "functions": True, "response_schema": True}
# Prices of which a token costs a part of a nano-dollar too, so that rounding shows.
ODD = {
    "odd": {"input_usd": "0.0000005", "output_usd": "0.0000013", "cache_input_usd": "0.0000007"},
    "dear-cache": {"input_usd": "0.3333333", "output_usd": "1.1111111", "cache_input_usd": "2.7182818"},
    "free-cache": {"input_usd": "0.0000015", "output_usd": "0", "cache_input_usd": "0"},
}
REGISTRY = Registry(
    ModelSettings(
        bind={
            **{name: Binding.model_validate({**FAR, **prices}) for name, prices in ODD.items()},
            **{
                name: Binding.model_validate(FAR)
                for name in ("qwen3-4b", "zai-org-glm-4.7", "kimi-k2-thinking")
            },
        },
        gguf={"mine": GgufModel(path="/models/mine.gguf")},
    ),
    CATALOGUE,
    lambda _: True,
    False,
    {"text"},
)
MODELS = KnownModels(REGISTRY, CATALOGUE)
PROMPT = PromptBuilder(SystemClock(), None)
CHATS = ChatQuotes(MODELS, PROMPT)
GOODS = {quotable.endpoint: quotable for quotable in goods(MODELS)}
SEAT = Seat(Target("127.0.0.1", 9))

AROUND_A_MESSAGE = 15
TEXTS = (
    "plain words, as most are. ",
    "déjà vu ",
    "漢字かな交じり文",
    "😀👩‍👩‍👧",
    '{"a": "\\"b\\""}\n',
    "\x00\x7f",
    "    ",
)
NAMES = [
    *ODD,
    "qwen3-4b",
    "zai-org-glm-4.7",
    "kimi-k2-thinking",
    "mine",
    "qwen2.5-coder-0.5b-instruct",
    "gpt-4o",
]


def test_no_chat_costs_more_than_its_ceiling() -> None:
    check_chats(1, 1_200)


def test_nothing_else_costs_more_than_its_ceiling() -> None:
    check_goods(1, 800)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_none_of_50_000_requests_costs_more_than_its_ceiling() -> None:
    check_chats(2, 35_000)
    check_goods(2, 15_000)


def check_chats(seed: int, number: int) -> None:
    chance = random.Random(seed)
    for at in range(number):
        body = json.dumps(chat(chance)).encode()
        quote = CHATS.quote(decode(body, ChatRequest))
        assert quote.amount <= quote.ceiling, (seed, at)
        request = normalised(decode(body, ChatRequest))
        resolved = MODELS.resolve(request.model, "text")
        options = effective(request.venice_parameters, resolved.suffix)
        sent = plan.make(request, request.messages, unusual(request.messages), resolved, options, PROMPT)
        longest = (sent.completion_limit or resolved.model.max_completion_tokens) * (request.n or 1)
        worst = worst_prompt(sent, local=type(resolved.served.serving) is LocalServing)
        prompt = chance.choice((worst, chance.randint(0, worst)))
        cached = chance.choice((0, prompt, chance.randint(0, prompt)))
        answered = chance.choice((longest, chance.randint(0, longest)))
        charged = total(chat_bill(resolved.model, TokenUse(prompt, cached, answered)))
        assert charged <= quote.ceiling, (seed, at, charged, quote.ceiling)
        # Cut to what the money pays for, it costs no more than the money.
        money = quote.ceiling * chance.randint(0, 100) // 100
        if most := completion_affordable(resolved.model, sent.prompt_bound, money):
            cut = TokenUse(prompt, cached, min(answered, most))
            assert total(chat_bill(resolved.model, cut)) <= money, (seed, at)


def check_goods(seed: int, number: int) -> None:
    chance = random.Random(seed)
    for at in range(number):
        endpoint, body, charged = chance.choice((embedding, transcription, fixed))(chance)
        quotable = GOODS[endpoint]
        quote: Quote = quotable.quote(decode(json.dumps(body).encode(), quotable.shape))
        assert quote.amount <= quote.ceiling, (seed, at)
        if charged is None:
            assert quote.amount == quote.ceiling, (seed, at)
        else:
            assert charged <= quote.ceiling, (seed, at, charged, quote.ceiling)


def worst_prompt(planned: plan.Plan, *, local: bool) -> int:
    """A token for every byte of each string and number that an engine could write into its prompt."""
    sent = json.loads(msgspec.json.encode(planned.body(SEAT)))
    shown = [sent["messages"], sent.get("tools")]
    if not local:  # here a schema is a grammar
        shown.append(sent.get("response_format"))
    return sum(map(size_of, strings(shown))) + AROUND_A_MESSAGE * len(sent["messages"])


def size_of(text: str) -> int:
    return len(text.encode())


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, int):
        yield str(value)


def text(chance: random.Random, most: int = 40) -> str:
    return chance.choice(TEXTS) * chance.randint(1, most)


def chat(chance: random.Random) -> dict[str, Any]:
    roles = [chance.choice(("system", "user", "assistant")) for _ in range(chance.randint(0, 6))]
    messages: list[dict[str, Any]] = [{"role": role, "content": text(chance)} for role in (*roles, "user")]
    if chance.random() < 0.2:
        messages[-1]["content"] = [
            {"type": "text", "text": text(chance)} for _ in range(chance.randint(1, 4))
        ]
    model = chance.choice(NAMES)
    if chance.random() < 0.2:
        model += ":include_venice_system_prompt=false"
    body: dict[str, Any] = {"model": model, "messages": messages}
    if chance.random() < 0.6:
        body[chance.choice(("max_tokens", "max_completion_tokens"))] = chance.randint(1, 2048)
    if chance.random() < 0.3:
        body["n"] = chance.randint(1, 8)
    schema = {"type": "object", "properties": {"p": {"type": "string", "description": text(chance)}}}
    if chance.random() < 0.3:
        named = [{"name": f"f{at}", "description": text(chance), "parameters": schema} for at in range(3)]
        body["tools"] = [{"type": "function", "function": function} for function in named]
        body["tool_choice"] = chance.choice(("auto", "none", "required"))
        messages[-1:-1] = [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c", "function": {"name": "f0", "arguments": json.dumps({"p": text(chance)})}}
                ],
            },
            {"role": "tool", "tool_call_id": "c", "content": text(chance)},
        ]
    if chance.random() < 0.2:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    return body


Case = tuple[str, dict[str, Any], int | None]
"""Endpoint, body, and what it came to cost; None where the price is fixed."""


def embedding(chance: random.Random) -> Case:
    model = chance.choice(list(CATALOGUE.of_type("embedding")))
    items = [text(chance) for _ in range(chance.randint(1, 8))]
    used = sum(map(size_of, items)) + 2 * len(items)
    bill = embedding_bill(MODELS.model(model, "embedding"), chance.choice((used, chance.randint(0, used))))
    return "/embeddings", {"model": model, "input": items if len(items) > 1 else items[0]}, total(bill)


def transcription(chance: random.Random) -> Case:
    model = chance.choice(list(CATALOGUE.of_type("asr")))
    size = chance.randint(1, 25_000_000)
    # Silence may last for days in a few bytes.
    milliseconds = chance.choice((chance.randint(0, 10**6), chance.randint(0, 10**9)))
    bill = transcription_bill(MODELS.model(model, "asr"), milliseconds, size)
    return "/audio/transcriptions", {"model": model, "file": {"bytes": size}}, total(bill)


def fixed(chance: random.Random) -> Case:
    endpoint = chance.choice(
        ("/image/generate", "/image/edit", "/image/upscale", "/audio/speech", "/augment/search")
    )
    images, edits = list(CATALOGUE.of_type("image")), list(CATALOGUE.of_type("inpaint"))
    body: dict[str, Any] = {
        "/image/generate": {"model": chance.choice(images), "variants": chance.randint(1, 4)},
        "/image/edit": {"model": chance.choice(edits), "enhance_prompt": chance.random() < 0.5},
        "/image/upscale": {"scale": chance.randint(100, 400) / 100},
        "/audio/speech": {"model": chance.choice(list(CATALOGUE.of_type("tts"))), "input": text(chance)},
        "/augment/search": {},
    }[endpoint]
    return endpoint, body, None
