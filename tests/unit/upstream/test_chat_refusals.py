"""What engines say when they refuse, and what our caller is told of it (CONTRACT 2.4, 2.5)."""

from __future__ import annotations

from typing import Any

import pytest

from fondaco.upstream.transport import ConnectFailed, ExchangeBroken, ExchangeTimeout, TransportError
from scripted_chat import Gateway, Said, in_json

pytestmark = pytest.mark.anyio

OVERFLOW = {
    "message": "Your request exceeds the model's maximum context. Please reduce your prompt or completion length.",
    "type": "invalid_request_error",
    "param": "messages",
    "code": "context_length_exceeded",
}

TOO_LONG: dict[str, Any] = {
    "llama.cpp": {
        "error": {
            "code": 400,
            "message": "the request exceeds the available context size, try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 9000,
            "n_ctx": 4096,
        }
    },
    "vllm": {
        "error": {
            "message": "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens.",
            "type": "BadRequestError",
            "param": "input_tokens",
            "code": 400,
        }
    },
    "vllm, older": {
        "object": "error",
        "message": "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens.",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    },
    "openai": {
        "error": {
            "message": "This model's maximum context length is 8192 tokens. Please reduce the length.",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        }
    },
    "sglang": {
        "object": "error",
        "message": "The input (9000 tokens) is longer than the model's context length (4096 tokens).",
        "type": "BadRequestError",
        "code": 400,
    },
}


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("whose", TOO_LONG)
async def test_a_prompt_that_is_too_long_is_told_of_in_the_contracts_shape(
    whose: str, streamed: bool
) -> None:
    gateway = Gateway(in_json(TOO_LONG[whose], 400))
    response = await gateway.ask(stream=streamed)
    assert response.status == 400
    assert response.json["error"] == OVERFLOW
    assert gateway.engine.exchanges[0].closed.is_set()


async def test_a_refusal_is_told_in_the_engines_words_with_the_request_id() -> None:
    for body in (
        {"error": {"message": "seed is not for this model"}},
        {"error": "seed is not for this model"},
    ):
        response = await Gateway(in_json(body, 400)).ask()
        assert response.status == 400
        assert response.json == {
            "error": "seed is not for this model",
            "code": "INVALID_REQUEST",
            "request_id": response.headers["cf-ray"],
        }


@pytest.mark.parametrize(
    ("theirs", "ours", "code"),
    [
        (400, 400, "INVALID_REQUEST"),
        (401, 502, "UPSTREAM_FAILED"),
        (403, 502, "UPSTREAM_FAILED"),
        (404, 502, "UPSTREAM_FAILED"),
        (405, 502, "UPSTREAM_FAILED"),
        (302, 502, "UPSTREAM_FAILED"),
        (204, 502, "UPSTREAM_FAILED"),
        (408, 504, "REQUEST_TIMEOUT"),
        (413, 400, "INVALID_REQUEST"),
        (422, 400, "INVALID_REQUEST"),
        (429, 429, "MODEL_OVERLOADED"),
        (500, 500, "INFERENCE_FAILED"),
        (501, 500, "INFERENCE_FAILED"),
        (502, 503, "MODEL_OFFLINE"),
        (503, 503, "MODEL_OFFLINE"),
        (504, 504, "REQUEST_TIMEOUT"),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"<html>secret</html>", b'{"error":{"message":"secret-detail"}}', b"[1]", b"\xff"]
)
async def test_each_status_of_an_engine_becomes_one_of_ours(
    theirs: int, ours: int, code: str, body: bytes
) -> None:
    gateway = Gateway(in_json(body, theirs))
    response = await gateway.ask(stream=True)
    assert (response.status, response.json["code"]) == (ours, code)
    assert isinstance(response.json["error"], str)
    if ours != 400:
        # Only a fault of the caller's request is explained to the caller in the engine's words.
        assert b"secret" not in response.content
    assert ("retry-after" in response.headers) == (ours in (429, 503))
    assert gateway.engine.exchanges[0].closed.is_set()


@pytest.mark.parametrize(
    ("said", "told"), [("7", "7"), ("0", "1"), ("", "30"), ("soon", "30"), ("9" * 20, "30")]
)
async def test_the_engines_retry_after_is_passed_on(said: str, told: str) -> None:
    for status in (429, 503):
        response = await Gateway(in_json(b"{}", status, retry_after=said)).ask()
        assert response.headers["retry-after"] == told


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (ConnectFailed(), 503, "MODEL_OFFLINE"),
        (ExchangeTimeout(), 504, "REQUEST_TIMEOUT"),
        (ExchangeBroken(), 502, "UPSTREAM_FAILED"),
    ],
)
async def test_an_engine_that_does_not_answer_is_a_status(
    failure: TransportError, status: int, code: str
) -> None:
    gateway = Gateway()
    gateway.engine.refuses = failure
    response = await gateway.ask()
    assert (response.status, response.json["code"]) == (status, code)
    assert ("retry-after" in response.headers) == (status == 503)


async def test_a_refusal_that_breaks_off_is_still_one() -> None:
    response = await Gateway(Said([b'{"err'], 400, "application/json", fails=ExchangeBroken())).ask()
    assert response.status == 502
    long = await Gateway(Said([b"x" * 100_000], 400, "application/json")).ask()
    assert long.status == 400


# Fallbacks.


def only(good: str) -> Any:
    def answer(asked: dict[str, Any]) -> Said:
        if asked["model"] == good:
            return in_json({"choices": [{"index": 0, "message": {"content": good}, "finish_reason": "stop"}]})
        return in_json(b"{}", 503)

    return answer


async def test_fallbacks_are_tried_in_their_order() -> None:
    others = {name: {"upstream_model": name} for name in ("second", "third")}
    gateway = Gateway(only("third"), others=others)
    fallbacks = [{"model": "nobody"}, {"model": "second"}, {"model": "third"}]
    response = await gateway.ask(fallbacks=fallbacks)
    assert response.json["model"] == response.headers["x-venice-model-id"] == "third"
    assert [asked["model"] for asked in gateway.engine.asked] == ["theirs", "second", "third"]
    failed = await gateway.ask(fallbacks=fallbacks[:2])
    assert (failed.status, failed.json["code"]) == (503, "MODEL_OFFLINE")


async def test_a_request_that_is_wrong_is_not_tried_elsewhere() -> None:
    gateway = Gateway(in_json({"error": "bad"}, 400), others={"second": {}})
    response = await gateway.ask(fallbacks=[{"model": "second"}])
    assert response.status == 400
    assert len(gateway.engine.asked) == 1
