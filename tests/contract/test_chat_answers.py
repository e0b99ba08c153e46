"""Answers of /chat/completions, streamed and whole, come to the same and have the contract's shape (3.7, 3.8, 19)."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

from fake_engines import DONE, USAGE, cut, delta, event, stream, whole
from fondaco.chat.messages import UserMessage
from fondaco.chat.wire import ChatRequest
from fondaco.upstream.transport import ExchangeBroken, ExchangeTimeout
from scripted_chat import LOCAL, TICKET, Gateway, Said, folded, in_cuts, in_json

pytestmark = pytest.mark.anyio

HELLO = stream({"content": "Hel"}, {"content": "lo"}, {"content": "!"})
SIZES = [1, 5, 64, 10_000]

TOP = ["id", "object", "created", "model", "choices", "prompt_logprobs", "usage", "cost", "venice_parameters"]
ECHO = {
    "enable_web_search": "off",
    "enable_web_citations": False,
    "enable_web_scraping": False,
    "include_venice_system_prompt": True,
    "include_search_results_in_stream": False,
    "return_search_results_as_documents": False,
    "strip_thinking_response": False,
    "disable_thinking": False,
    "web_search_citations": [],
    "enable_e2ee": False,
}


async def test_a_whole_answer_has_the_contracts_shape() -> None:
    answer = await Gateway(in_json(whole({"content": "Hello!"}))).whole()
    assert list(answer) == TOP
    assert answer["id"].startswith("chatcmpl-")
    assert len(answer["id"]) == 9 + 32
    assert (answer["object"], answer["model"]) == ("chat.completion", "m")
    assert isinstance(answer["created"], int)
    assert answer["prompt_logprobs"] is None
    [choice] = answer["choices"]
    assert choice == {
        "index": 0,
        "finish_reason": "stop",
        "stop_reason": None,
        "logprobs": None,
        "message": {"role": "assistant", "content": "Hello!", "reasoning_content": None, "tool_calls": []},
    }
    details = {"prompt_tokens_details": None, "completion_tokens_details": None}
    assert answer["usage"] == {**USAGE, **details}
    assert answer["cost"] == {"usd": 0, "diem": 0}
    assert answer["venice_parameters"] == ECHO


@pytest.mark.parametrize("size", SIZES)
async def test_streamed_and_whole_agree(size: int) -> None:
    gateway = Gateway(in_cuts(HELLO, size), input_usd="0.5", output_usd="2")
    said = await gateway.both()
    assert (said.text, said.finish, said.calls) == ("Hello!", ["stop"], [[]])
    assert said.usage["total_tokens"] == 15
    assert said.cost == {"usd": 0.000012, "diem": 0}


@pytest.mark.parametrize("body", [in_cuts(HELLO, 30), in_json(whole({"content": "Hello!"}))])
async def test_an_engine_may_stream_when_not_asked_to_and_not_when_asked(body: Said) -> None:
    said = await Gateway(body).both()
    assert (said.text, said.finish, said.usage["completion_tokens"]) == ("Hello!", ["stop"], 3)


async def test_the_first_chunk_has_the_role_and_the_parameters_and_the_last_the_usage() -> None:
    chunks = await Gateway(in_cuts(HELLO, 70)).streamed()
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[0]["venice_parameters"] == ECHO
    assert [("usage" in chunk, "cost" in chunk) for chunk in chunks[:-1]] == [(False, False)] * (
        len(chunks) - 1
    )
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["total_tokens"] == 15
    assert [c["choices"][0]["delta"].get("content", "") for c in chunks[1:-1]] == ["Hel", "lo", "!"]
    assert all(len(chunk["choices"]) == 1 for chunk in chunks), "the seed's sample reads choices[0] unguarded"


async def test_the_extra_chunk_comes_last_and_only_when_asked_for() -> None:
    for options in (None, {}, {"include_usage": False}, {"include_usage": None}):
        chunks = await Gateway(in_cuts(HELLO, 70)).streamed(stream_options=options)
        assert chunks[-1]["choices"]
    chunks = await Gateway(in_cuts(HELLO, 70)).streamed(stream_options={"include_usage": True, "more": 1})
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == chunks[-2]["usage"]
    assert chunks[-1]["cost"] == chunks[-2]["cost"]
    assert folded(chunks[:-1]).text == "Hello!"
    assert [chunk["choices"] for chunk in chunks].count([]) == 1


async def test_an_empty_answer_is_one() -> None:
    for said in (
        stream(),
        event([delta(finish="stop")]) + DONE,
        event([delta(role="assistant", content=None)]) + event([delta(content="", finish="length")]) + DONE,
    ):
        answer = await Gateway(in_cuts(said, 40)).both()
        assert answer.text == ""
        assert answer.finish[0] in ("stop", "length")
    answer = await Gateway(in_json(whole({"content": ""}))).whole()
    assert answer["choices"][0]["message"]["content"] == ""
    answer = await Gateway(in_json(whole({"content": None}))).both()
    assert answer.text == ""


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("eos_token", "stop")],
)
async def test_finish_reasons_are_the_contracts(theirs: str, ours: str) -> None:
    said = await Gateway(in_cuts(stream({"content": "x"}, finish=theirs), 50)).both()
    assert said.finish == [ours]


async def test_an_end_said_twice_loses_nothing_and_is_told_once() -> None:
    ends = event([delta(content="b", finish="stop")]) + event([delta(content="", finish="stop")], usage=USAGE)
    said = await Gateway(in_cuts(event([delta(content="a")]) + ends + DONE, 60)).both()
    assert (said.text, said.finish) == ("ab", ["stop"])
    ends += event([delta(content="c", finish="length")])
    said = await Gateway(in_cuts(event([delta(content="a")]) + ends + DONE, 60)).both()
    assert (said.text, said.finish) == ("abc", ["length"])


async def test_the_stop_that_was_met_is_named() -> None:
    last = {**delta(finish="stop"), "stop_reason": "END"}
    said = await Gateway(in_cuts(event([delta(content="x")]) + event([last]) + DONE, 50)).both()
    assert said.stop_reason == ["END"]
    last["stop_reason"] = 151645  # a token's number says nothing to anybody
    said = await Gateway(in_cuts(event([delta(content="x")]) + event([last]) + DONE, 50)).both()
    assert said.stop_reason == [None]


async def test_several_choices_are_kept_apart() -> None:
    events = [event([delta(at, role="assistant", content="")]) for at in (1, 0)]
    events += [event([delta(at, content=f"{word}{at} ")]) for word in "abc" for at in (0, 1)]
    events += [
        event([delta(1, finish="length")]),
        event([delta(0, finish="stop")]),
        event([], usage=USAGE),
        DONE,
    ]
    for size in SIZES:
        gateway = Gateway(in_cuts(b"".join(events), size))
        said = await gateway.both(n=2)
        assert said.texts == ["a0 b0 c0 ", "a1 b1 c1 "]
        assert said.finish == ["stop", "length"]
        assert gateway.engine.body["n"] == 2


async def test_two_choices_may_come_in_one_chunk() -> None:
    both = event([delta(0, role="assistant", content="a"), delta(1, role="assistant", content="b")])
    ends = event([delta(0, finish="stop"), delta(1, finish="stop")])
    said = await Gateway(in_cuts(both + both + ends + event([], usage=USAGE) + DONE, 33)).both(n=2)
    assert said.texts == ["aa", "bb"]


def with_logprobs(text: str, finish: str | None = None) -> dict[str, Any]:
    tokens = (
        [{"token": text, "logprob": -0.5, "bytes": list(text.encode()), "top_logprobs": []}] if text else []
    )
    said = {"content": text} if text else {}
    return {**delta(finish=finish, **said), "logprobs": {"content": tokens} if text else None}


async def test_logprobs_are_put_together() -> None:
    said = b"".join(event([with_logprobs(text)]) for text in ("a", "b", "\n", "c"))
    said += event([with_logprobs("", "stop")]) + event([], usage=USAGE) + DONE
    for size in SIZES:
        answer = await Gateway(in_cuts(said, size)).both(logprobs=True)
        assert [each["token"] for each in answer.logprobs[0]["content"]] == ["a", "b", "\n", "c"]


async def test_logprobs_of_text_that_is_held_back_come_too() -> None:
    said = b"".join(event([with_logprobs(text)]) for text in ("<", "th", "at", "> x"))
    said += event([with_logprobs("", "stop")]) + DONE
    answer = await Gateway(in_cuts(said, 100), reasoning=True).both(logprobs=True)
    assert answer.text == "<that> x"
    assert [each["token"] for each in answer.logprobs[0]["content"]] == ["<", "th", "at", "> x"]


async def test_logprobs_in_another_form_do_no_harm() -> None:
    odd = {**delta(content="x"), "logprobs": {"tokens": ["x"], "content": "x"}}
    said = event([odd]) + event([delta(finish="stop")]) + DONE
    answer = await Gateway(in_cuts(said, 1000)).whole(logprobs=True)
    assert answer["choices"][0]["message"]["content"] == "x"


# Usage.


async def test_usage_is_told_even_where_the_engine_tells_none() -> None:
    for said in (
        in_cuts(stream({"content": "Hel"}, {"content": "lo"}, usage=None), 60),
        in_cuts(stream({"content": "Hel"}, {"content": "lo"}, usage={}), 60),
        in_json(whole({"content": "Hello, you there! " * 20}, usage=None)),
    ):
        answer = await Gateway(said).both()
        assert answer.usage["prompt_tokens"] > 0
        assert answer.usage["completion_tokens"] > 1
        assert answer.usage["total_tokens"] == sum(
            answer.usage[f"{kind}_tokens"] for kind in ("prompt", "completion")
        )


async def test_cached_and_reasoning_tokens_are_told_and_priced() -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 60, "audio_tokens": 0},
    }
    gateway = Gateway(
        in_cuts(stream({"content": "x"}, usage=usage), 80),
        input_usd="1",
        output_usd="2",
        cache_input_usd="0.1",
    )
    answer = await gateway.both()
    assert answer.usage["prompt_tokens_details"] == {"cached_tokens": 400}
    assert answer.usage["completion_tokens_details"] == {"reasoning_tokens": 60}
    assert answer.cost["usd"] == pytest.approx(0.0006 + 0.00004 + 0.0002)


async def test_usage_in_every_chunk_counts_once() -> None:
    events = [
        event([delta(content="a")], usage={"prompt_tokens": 5, "completion_tokens": at}) for at in (1, 2)
    ]
    events.append(event([delta(finish="stop")], usage={"prompt_tokens": 5, "completion_tokens": 3}))
    answer = await Gateway(in_cuts(b"".join((*events, DONE)), 50)).both()
    assert (answer.text, answer.usage["prompt_tokens"], answer.usage["completion_tokens"]) == ("aa", 5, 3)


# Ends that are none.


async def test_an_answer_without_done_is_good_once_it_has_finished() -> None:
    for said in (HELLO.removesuffix(DONE), HELLO.removesuffix(b"\n\n"), HELLO.replace(b"\n", b"\r\n")):
        assert (await Gateway(in_cuts(said, 40)).both()).text == "Hello!"


async def test_done_without_a_finish_reason_is_an_end() -> None:
    said = event([delta(role="assistant", content="a")]) + event([delta(content="b")]) + DONE
    answer = await Gateway(in_cuts(said, 40)).both()
    assert (answer.text, answer.finish) == ("ab", ["stop"])


PART = (
    event([delta(role="assistant", content="a")]) + event([delta(content="b")]) + event([delta(content="c")])
)


def error_of(response: Any) -> dict[str, Any]:
    *_, last, done = response.content.split(b"\n\n")[:-1]
    assert done == b"data: [DONE]"
    return json.loads(last.removeprefix(b"data: "))["error"]


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        (in_cuts(PART, 30), "server_error", "upstream_error"),
        (Said(cut(PART, 30), fails=ExchangeBroken()), "server_error", "upstream_error"),
        (Said(cut(PART, 30), fails=ExchangeTimeout()), "server_error", "upstream_error"),
        (in_cuts(PART + b"data: rubbish\n\n", 30), "server_error", "upstream_error"),
        (
            in_cuts(PART + b'data: {"error":{"message":"boom"}}\n\n' + DONE, 30),
            "server_error",
            "upstream_error",
        ),
        (
            in_cuts(PART + b'data: {"error":{"message":"m","code":429}}\n\n', 30),
            "api_error",
            "model_overloaded",
        ),
    ],
)
async def test_a_stream_that_fails_ends_with_the_contracts_error_event(
    said: Said, kind: str, code: str
) -> None:
    gateway = Gateway(said)
    response = await gateway.ask(stream=True)
    assert response.status == 200
    assert b'"content":"a"' in response.content
    assert b'"content":"c"' in response.content, "what was said before is not lost"
    error = error_of(response)
    assert (error["type"], error["code"], error["param"]) == (kind, code, None)
    assert error["message"]
    assert gateway.engine.exchanges[0].closed.is_set()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (in_cuts(PART, 30), 502),
        (Said(cut(PART, 30), fails=ExchangeBroken()), 502),
        (Said(cut(PART, 30), fails=ExchangeTimeout()), 504),
        (in_cuts(PART + b"data: rubbish\n\n", 30), 502),
        (in_cuts(PART + b'data: {"error":{"message":"boom"}}\n\n', 30), 500),
        (in_cuts(PART + b'data: {"error":{"message":"m","code":429}}\n\n', 30), 429),
    ],
)
async def test_a_whole_answer_that_fails_is_a_status(said: Said, status: int) -> None:
    gateway = Gateway(said)
    response = await gateway.ask()
    assert response.status == status
    assert isinstance(response.json["error"], str)
    assert response.json["code"]
    assert gateway.engine.exchanges[0].closed.is_set()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (in_cuts(b'data: {"error":{"message":"boom"}}\n\n'), 500),
        (in_cuts(b'data: {"error":{"message":"busy","code":429}}\n\n' + DONE), 429),
        (
            in_cuts(
                b'data: {"error":{"message":"This prompt is longer than the model\'s context","code":400}}\n\n'
            ),
            400,
        ),
        (in_cuts(b""), 502),
        (in_cuts(DONE), 502),
        (in_cuts(b": ping\n\n"), 502),
        (in_cuts(b"rubbish\n\n"), 502),
        (in_cuts(b"data: rubbish\n\n"), 502),
        (Said(fails=ExchangeTimeout()), 504),
        (in_json(b""), 502),
        (in_json(b"{"), 502),
        (in_json(b"[]"), 502),
        (in_json(b"{}"), 502),
        (in_json(b'{"choices":[]}'), 502),
        (in_json(b'{"choices":[{"message":"text"}]}'), 502),
        (in_json(b"\xff\xfe{}"), 502),
        (in_json(b'{"error":{"message":"boom"}}'), 500),
        (in_json(b'{"error":"boom"}'), 500),
        (in_json(b'{"object":"error","message":"boom","code":500}'), 502),
        (Said([b"<html>"], 200, "text/html"), 502),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_failure_before_the_first_word_is_a_status(said: Said, status: int, streamed: bool) -> None:
    gateway = Gateway(said)
    response = await gateway.ask(stream=streamed)
    assert response.status == status, response.content
    assert response.headers["content-type"] == "application/json"
    assert gateway.engine.exchanges[0].closed.is_set()


# The head.


async def test_the_headers_name_what_ran() -> None:
    for streamed in (True, False):
        response = await Gateway(in_cuts(HELLO, 80), name="My Modèl").ask(stream=streamed)
        assert response.headers["x-venice-model-id"] == "m"
        assert response.headers["x-venice-model-name"] == "My Mod?l"
        assert response.headers["x-venice-model-router"] == "remote"
        assert len(response.headers["cf-ray"]) == 16
        assert response.headers["x-venice-version"].count(".") == 1
        assert "content-encoding" not in response.headers


async def test_a_stand_in_is_named_as_what_it_is() -> None:
    gateway = Gateway(in_cuts(HELLO, 80))
    body = {"model": "llama-3.3-70b", "messages": [{"role": "user", "content": "x"}]}
    response = await gateway.request(body)
    assert response.status == 200
    assert response.json["model"] == response.headers["x-venice-model-id"]
    assert response.json["model"] != "llama-3.3-70b"
    assert response.headers["x-venice-model-router"] == "local"


async def test_gzip_is_for_whole_answers_and_for_those_who_ask() -> None:
    long = in_json(whole({"content": "Hello! " * 1000}))
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    packed = await Gateway(long).request(body, headers={"accept-encoding": "gzip, br"})
    assert packed.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(packed.content))["choices"][0]["message"]["content"] == "Hello! " * 1000
    plain = await Gateway(long).request(body)
    assert "content-encoding" not in plain.headers
    streamed = await Gateway(long).request({**body, "stream": True}, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in streamed.headers
    assert folded(streamed.chunks).text == "Hello! " * 1000


# Clients that leave.


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("said", [b"", PART], ids=["before the first word", "in the middle"])
async def test_a_client_that_leaves_frees_the_engine_at_once(streamed: bool, said: bytes) -> None:
    for model in ("m", LOCAL):
        gateway = Gateway(Said([said] if said else [], hangs=True))
        leaves = asyncio.Event()
        body = {"model": model, "messages": [{"role": "user", "content": "x"}], "stream": streamed}
        task = asyncio.create_task(gateway.request(body, leaves=leaves))
        await asyncio.sleep(0.05)
        [exchange] = gateway.engine.exchanges
        assert not exchange.closed.is_set()
        leaves.set()
        async with asyncio.timeout(0.5):
            await exchange.closed.wait()
        await task
        assert all(lease.released and not lease.failed for lease in gateway.local.leases)


async def test_an_answer_that_nobody_reads_can_be_left() -> None:
    gateway = Gateway(Said([PART], hangs=True))
    request = ChatRequest(model="m", messages=[UserMessage(content="x")])
    answer = await gateway.chats.begin(TICKET, request)
    await answer.aclose()
    assert gateway.engine.exchanges[0].closed.is_set()


# A local engine.


async def test_a_local_engine_gets_a_slot_and_is_let_go() -> None:
    gateway = Gateway(in_cuts(HELLO, 80))
    for streamed in (True, False):
        response = await gateway.ask(model=LOCAL, stream=streamed, max_tokens=50, n=2)
        assert response.status == 200
        assert gateway.engine.body["id_slot"] == 3
        assert gateway.engine.body["cache_prompt"] is True
        assert gateway.engine.body["stream"] is True
        assert "model" not in gateway.engine.body
        model_id, account, tokens, choices = gateway.local.asked[-1]
        assert (model_id, account, choices) == (LOCAL, "account", 2)
        assert tokens > 100
    assert all(lease.released and not lease.failed for lease in gateway.local.leases)


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_local_engine_that_breaks_is_reported(streamed: bool) -> None:
    for said in (in_cuts(PART, 40), Said(fails=ExchangeBroken())):
        gateway = Gateway(said)
        await gateway.ask(model=LOCAL, stream=streamed)
        [lease] = gateway.local.leases
        assert lease.failed
        assert lease.released
