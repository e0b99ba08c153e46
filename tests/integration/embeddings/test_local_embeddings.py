"""Embeddings by models of this machine, through a whole gateway."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from embedding_models import CLS, SEP, Vectors, table, tiny_graph, tiny_tokenizer, unit, vector
from fake_engines import Answer, engine
from fondaco.embeddings.service import NO_TOKENS
from gateways import TINY
from served_app import ServedApp, binding, credit, served_app

# A fresh machine fetches weights within the first test that needs them.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

PATH = "/embeddings"
BGE = "text-embedding-bge-m3"


async def embedded(served: ServedApp, **fields: Any) -> tuple[int, Any]:
    answer = await served.ask("POST", PATH, fields)
    return answer.status, answer.json()


def of(answer: Any) -> Vectors:
    return np.stack([vector(item["embedding"]) for item in answer["data"]])


@pytest.fixture
async def own(tmp_path: Path) -> AsyncGenerator[ServedApp]:
    """A gateway with a tiny model of the user's own that has BGE-M3's form and stands under its name."""
    tiny_graph(tmp_path / "model.onnx", 1024, outputs=("last_hidden_state",), data="model.onnx_data")
    bge = {
        "path": str(tmp_path / "model.onnx"),
        "data": [str(tmp_path / "model.onnx_data")],
        "tokenizer": str(tiny_tokenizer(tmp_path)),
        "dimensions": 1024,
        "max_tokens": 8192,
        "pooling": "cls",
        "custom_dimensions": True,
    }
    with engine(Answer([])) as other:
        bind = {"chatty": binding(other)}
        models = {"bind": bind, "default": "chatty", "embedding": {BGE: bge}}
        data = tmp_path / "data"
        async with served_app(data, bind, models=models, billing={"mode": "prepaid"}) as served:
            await credit(data, "1")
            await served.forget()
            yield served


async def test_a_model_of_the_form_of_bge_m3_answers_to_its_names(own: ServedApp) -> None:
    words = table(1024)
    status, answer = await embedded(
        own, model="text-embedding-3-small", input="w5 w6", encoding_format="base64"
    )
    assert (status, answer["model"]) == (200, BGE)
    np.testing.assert_allclose(of(answer)[0], unit(words[CLS]), atol=1e-6)
    assert answer["usage"] == {"prompt_tokens": 4, "total_tokens": 4}

    status, answer = await embedded(own, model=BGE, input=[[CLS, 7, SEP], [7, 8]], dimensions=100)
    assert status == 200
    np.testing.assert_allclose(of(answer), unit(words[[CLS, CLS], :100]), atol=1e-6)

    long = " ".join(["w9"] * 8190)
    status, answer = await embedded(own, model=BGE, input=long)
    assert (status, answer["usage"]["prompt_tokens"]) == (200, 8192)
    status, answer = await embedded(own, model=BGE, input=["w9", f"{long} w9"])
    message = "Input text exceeds the maximum token limit of 8192 tokens"
    assert (status, answer["error"], answer["issues"][0]["path"]) == (400, message, ["input", 1])

    status, answer = await embedded(own, model="bge-m3", input=[5, 6])
    assert (status, answer["error"]) == (400, NO_TOKENS)
    status, answer = await embedded(own, model=BGE, input=[[5], [500]])
    assert (status, answer["issues"][0]["path"]) == (400, ["input", 1])

    rows = await own.settled(3)
    assert {row["sku"] for row in rows} == {f"{BGE}-embedding-mtoken"}
    assert sum(row["units"] for row in rows) == Decimal(4 + 3 + 4 + 8192) / 1_000_000
    assert await own.faults() == []


@pytest.fixture
async def served(tmp_path: Path) -> AsyncGenerator[ServedApp]:
    async with served_app(tmp_path, {}, local=TINY) as served:
        yield served


@pytest.mark.long
async def test_an_engine_that_is_killed_fails_its_request_and_serves_the_next(served: ServedApp) -> None:
    model = "all-minilm-l6-v2"
    assert (await embedded(served, model=model, input="first"))[0] == 200
    await served.settled(1)
    many = asyncio.create_task(embedded(served, model=model, input=["some of many words " * 30] * 2048))
    await asyncio.sleep(1.5)
    for child in psutil.Process(os.getpid()).children(recursive=True):
        if "fondaco.engines.embeddings" in child.cmdline():
            child.kill()
    status, answer = await many
    assert status in (500, 502, 503), answer
    async with asyncio.timeout(60):
        while (await embedded(served, model=model, input="next"))[0] != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    await served.settled(2)


@pytest.mark.long
async def test_nomic_is_there_by_its_name(served: ServedApp) -> None:
    model = "nomic-embed-text-v1.5"
    texts = [
        "search_query: ships in the lagoon",
        "search_document: Boats sail on water.",
        "search_document: Tax law.",
    ]
    status, answer = await embedded(served, model=model, input=texts, encoding_format="base64")
    assert (status, answer["model"]) == (200, model), answer
    query, boats, law = of(answer)
    assert query.shape == (768,)
    assert np.linalg.norm(query) == pytest.approx(1, abs=1e-4)
    assert query @ boats > query @ law + 0.1
    status, answer = await embedded(served, model=model, input="word " * 2100)
    message = "Input text exceeds the maximum token limit of 2048 tokens"
    assert (status, answer["error"]) == (400, message)
    status, answer = await embedded(served, model=BGE, input="a")
    assert answer["model"] == "all-minilm-l6-v2"
