"""The embedding engine in its own process, with the real default model, over its socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Generator
from typing import Any

import aiohttp
import numpy as np
import pytest

from bench.embeddings.texts import PASSAGES, QUESTIONS
from embedding_models import Bare, Engine, engine, minilm, unit, vector

pytestmark = pytest.mark.anyio

TEXTS = [
    "The cat sat on the mat.",
    "a",
    "Which floor is the accounting department on?",
    "Ο ήλιος λάμπει, das Wetter ist schön, 今日は暑い",
    "🙂🙂🙂",
    "\x00\x07 control \u202e characters",
    "x" * 300,
    "SELECT name FROM users WHERE id = 7; -- " * 5,
    " ",
]


@pytest.fixture(scope="module")
def served() -> Generator[tuple[Engine, Bare]]:
    launch = asyncio.run(minilm())
    with engine(launch) as running:
        yield running, Bare(launch)


@pytest.fixture
def bare(served: tuple[Engine, Bare]) -> Bare:
    return served[1]


@pytest.fixture
async def asked(served: tuple[Engine, Bare]) -> AsyncGenerator[Any]:
    async with served[0].session() as session:

        async def ask(**fields: Any) -> tuple[int, Any]:
            return await served[0].ask(session, **fields)

        yield ask


async def test_an_answer_has_the_form_of_openais(asked: Any, bare: Bare) -> None:
    status, answer = await asked(input=TEXTS[0], model="whatever", user="somebody")
    assert status == 200
    [item] = answer.pop("data")
    assert answer == {
        "object": "list",
        "model": "all-minilm-l6-v2",
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    }
    said = item.pop("embedding")
    assert item == {"object": "embedding", "index": 0}
    np.testing.assert_allclose(vector(said), bare(TEXTS[0]), atol=5e-4)


@pytest.mark.parametrize("form", ["float", "base64"])
async def test_vectors_are_those_of_the_bare_model(asked: Any, bare: Bare, form: str) -> None:
    status, answer = await asked(input=TEXTS, encoding_format=form)
    assert status == 200
    assert [item["index"] for item in answer["data"]] == list(range(len(TEXTS)))
    vectors = np.stack([vector(item["embedding"]) for item in answer["data"]])
    assert vectors.shape == (len(TEXTS), 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors * bare.all(TEXTS)).sum(1).min() > 0.9999
    bare.tokenizer.no_truncation()
    assert answer["usage"]["prompt_tokens"] == sum(len(bare.tokenizer.encode(text).ids) for text in TEXTS)


async def test_both_encodings_tell_the_same_numbers(asked: Any) -> None:
    _, plain = await asked(input=TEXTS[0])
    _, packed = await asked(input=TEXTS[0], encoding_format="base64")
    np.testing.assert_allclose(
        vector(plain["data"][0]["embedding"]), vector(packed["data"][0]["embedding"]), atol=1e-9
    )


async def test_a_crowd_gets_each_its_own(served: tuple[Engine, Bare]) -> None:
    running, bare = served
    texts = [
        f"{word} number {n}" for n in range(32) for word in ("street", "a rather longer text about a house")
    ]
    async with running.session() as session:
        answers = await asyncio.gather(*(running.ask(session, input=text) for text in texts))
    assert {status for status, _ in answers} == {200}
    vectors = np.stack([vector(answer["data"][0]["embedding"]) for _, answer in answers])
    assert (vectors * bare.all(texts)).sum(1).min() > 0.9999


async def test_all_of_a_long_text_counts(asked: Any, bare: Bare) -> None:
    text = "The harbour was quiet that morning. " * 60 + "Suddenly an enormous volcano erupted. " * 30
    ids = bare.tokenizer.encode(text, add_special_tokens=False)
    bare.tokenizer.no_truncation()
    ids = bare.tokenizer.encode(text).ids[1:-1]
    windows = [[101, *ids[at : at + 254], 102] for at in range(0, len(ids), 254)]
    assert len(windows) > 2
    mean = sum(len(window) * bare.of_ids(window) for window in windows)
    status, answer = await asked(input=text)
    assert status == 200
    assert answer["usage"]["prompt_tokens"] == len(ids) + 2
    np.testing.assert_allclose(vector(answer["data"][0]["embedding"]), unit(mean), atol=5e-4)


async def test_tokens_in_place_of_a_text_give_its_vector(asked: Any, bare: Bare) -> None:
    ids = bare.tokenizer.encode(TEXTS[2]).ids
    for given in (ids, ids[1:-1], [ids]):
        status, answer = await asked(input=given)
        assert status == 200
        assert answer["usage"]["prompt_tokens"] == len(ids)
        np.testing.assert_allclose(vector(answer["data"][0]["embedding"]), bare(TEXTS[2]), atol=5e-4)


REFUSED: list[tuple[dict[str, Any], str, str, str]] = [
    ({"input": ""}, "input", "input_empty", "empty"),
    ({"input": ["a", "b", ""]}, "input.2", "input_empty", "input[2]"),
    ({"input": []}, "input", "input_empty", "empty"),
    ({"input": [[1, 2], []]}, "input.1", "input_empty", "input[1]"),
    ({"input": ["a"] * 2049}, "input", "too_many_inputs", "2048"),
    ({"input": "word " * 8191}, "input", "input_too_long", "maximum token limit of 8192 tokens"),
    ({"input": ["a", "word " * 8191]}, "input.1", "input_too_long", "maximum token limit of 8192 tokens"),
    ({"input": [2000] * 8191}, "input", "input_too_long", "maximum token limit of 8192 tokens"),
    ({"input": [[5], [5, 30522]]}, "input.1", "unknown_token", "0 to 30521"),
    ({"input": [-1]}, "input", "unknown_token", "0 to 30521"),
    ({"input": ["a", 5]}, "input.1", "invalid_input", "mixture"),
    ({"input": ["a", [5]]}, "input.1", "invalid_input", "mixture"),
    ({"input": {"text": "a"}}, "input", "invalid_request", "Expected"),
    ({"input": ["a", None]}, "input.1", "invalid_request", "Expected"),
    ({}, "input", "invalid_request", "required"),
    ({"input": "a", "encoding_format": "hex"}, "encoding_format", "invalid_request", "enum"),
    ({"input": "a", "dimensions": "many"}, "dimensions", "invalid_request", "Expected"),
    ({"input": "a", "dimensions": 100}, "dimensions", "dimensions_not_supported", "384"),
]


@pytest.mark.parametrize(("fields", "param", "code", "said"), REFUSED, ids=lambda value: str(value)[:40])
async def test_a_refusal_names_the_field(
    asked: Any, fields: dict[str, Any], param: str, code: str, said: str
) -> None:
    status, answer = await asked(**fields)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert (answer["error"]["param"], answer["error"]["code"]) == (param, code)
    assert said in answer["error"]["message"]


async def test_what_is_no_json_is_refused(served: tuple[Engine, Bare]) -> None:
    async with served[0].session() as session:
        for body in (b"", b"{", b"[[", b'{"input": "\xff"}', b'{"input": "\\ud800"}'):
            async with session.post("/v1/embeddings", data=body) as answer:
                assert answer.status == 400, body
                assert (await answer.json())["error"]["type"] == "invalid_request_error"


async def test_the_native_dimension_may_be_asked_for(asked: Any) -> None:
    status, answer = await asked(input="a", dimensions=384)
    assert (status, len(answer["data"][0]["embedding"])) == (200, 384)


async def test_it_tells_what_it_is(served: tuple[Engine, Bare]) -> None:
    async with served[0].session() as session, session.get("/v1/models") as answer:
        [row] = (await answer.json())["data"]
    assert row["id"] == "all-minilm-l6-v2"
    assert (row["dimensions"], row["max_tokens"], row["window_tokens"]) == (384, 8192, 256)


async def test_nobody_embeds_without_the_key(served: tuple[Engine, Bare]) -> None:
    async with (
        aiohttp.ClientSession("http://engine", connector=aiohttp.UnixConnector(served[0].socket)) as session,
        session.post("/v1/embeddings", json={"input": "a"}) as answer,
    ):
        assert answer.status == 401


@pytest.mark.long
async def test_a_search_finds_first_what_it_finds_with_the_bare_model(served: tuple[Engine, Bare]) -> None:
    running, bare = served
    texts = [*PASSAGES, *QUESTIONS]
    async with running.session() as session:
        answers = await asyncio.gather(*(running.ask(session, input=text) for text in texts))
    theirs = np.stack([vector(answer["data"][0]["embedding"]) for _, answer in answers])
    mine = bare.all(texts)
    first = [(made[len(PASSAGES) :] @ made[: len(PASSAGES)].T).argmax(1) for made in (theirs, mine)]
    assert (first[0] == first[1]).mean() >= 0.99
    # And what it finds is right, or the comparison would tell little.
    assert (first[0] == np.arange(len(QUESTIONS)) // 2).mean() > 0.85


@pytest.mark.long
async def test_a_single_text_is_answered_while_thousands_are_in_work(served: tuple[Engine, Bare]) -> None:
    running, _ = served
    async with running.session() as session:
        large = asyncio.create_task(running.ask(session, input=["one of many words " * 3] * 2048))
        await asyncio.sleep(1)
        took = []
        for _ in range(10):
            began = time.perf_counter()
            assert (await running.ask(session, input="a single one"))[0] == 200
            took.append(time.perf_counter() - began)
        assert not large.done()
        assert sorted(took)[5] < 1
        status, answer = await large
    assert (status, len(answer["data"])) == (200, 2048)
    assert [item["index"] for item in answer["data"]] == list(range(2048))


@pytest.mark.long
async def test_a_text_of_all_the_tokens_that_are_allowed(asked: Any) -> None:
    status, answer = await asked(input="word " * 8190)
    assert (status, answer["usage"]["prompt_tokens"]) == (200, 8192)


async def test_a_client_that_leaves_ends_the_work(served: tuple[Engine, Bare]) -> None:
    running, _ = served
    body = json.dumps({"input": [f"{n} " + "and so on " * 60 for n in range(1000)]}).encode()
    reader, writer = await asyncio.open_unix_connection(running.socket)
    head = f"POST /v1/embeddings HTTP/1.1\r\nhost: e\r\nauthorization: Bearer {running.key}\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    await asyncio.sleep(1)
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.5)  # the batch in work and the tokens of a few texts
    before = running.cpu_seconds
    await asyncio.sleep(0.5)
    assert running.cpu_seconds - before < 0.1
    async with running.session() as session:
        assert (await running.ask(session, input="Still there?"))[0] == 200
    del reader
