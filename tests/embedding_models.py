"""Embedding models for tests: the real default one, and tiny ones of every form that an engine must take."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from base64 import b64decode
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np
import onnx
import onnxruntime
import psutil
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from fondaco.engines.kinds import KINDS
from fondaco.engines.launch import Launch, encode
from fondaco.engines.weights import WeightStore, pinned
from fondaco.models.catalogue import Catalogue
from fondaco.settings import WeightSettings

Vectors = NDArray[np.float32]

WINDOW = 256
WORDS = 500
CLS, SEP, PAD = 0, 2, 1
"""As in XLM-RoBERTa, where the filling is not 0."""


async def minilm(**given: Any) -> Launch:
    """The default embedding model from this machine's cache, fetched on its first use."""
    store = WeightStore(WeightSettings())
    try:
        model = await store.fetch(pinned()["all-minilm-l6-v2-int8.onnx"])
        tokenizer = await store.fetch(pinned()["all-minilm-l6-v2-tokenizer.json"])
    finally:
        await store.close()
    return Launch(
        model=str(model),
        files={"tokenizer": str(tokenizer)},
        options=dict(
            next(local.options for local in Catalogue().local if local.model.id == "all-minilm-l6-v2")
        ),
        name="all-minilm-l6-v2",
        threads=2,
        **given,
    )


class Bare:
    """The same model as anybody would call it: one text at a time, mean of its tokens."""

    def __init__(self, launch: Launch) -> None:
        self.tokenizer = Tokenizer.from_file(launch.files["tokenizer"])
        self.tokenizer.enable_truncation(WINDOW)
        self.tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = launch.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(launch.model, options, providers=["CPUExecutionProvider"])

    def of_ids(self, ids: Sequence[int]) -> Vectors:
        row = np.array([ids])
        given = {
            "input_ids": row,
            "attention_mask": np.ones_like(row),
            "token_type_ids": np.zeros_like(row),
        }
        [[hidden]] = self.session.run(["last_hidden_state"], given)
        mean = hidden.mean(0)
        return mean / np.linalg.norm(mean)

    def __call__(self, text: str) -> Vectors:
        return self.of_ids(self.tokenizer.encode(text).ids)

    def all(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self(text) for text in texts])


@cache
def tiny_tokenizer(folder: Path) -> Path:
    """Knows the words `w3` to `w499`; its file says, as many do, to cut and to fill up every text to 8 tokens."""
    words = {"<s>": CLS, "<pad>": PAD, "</s>": SEP} | {f"w{n}": n for n in range(3, WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w3"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", CLS), ("</s>", SEP)]
    )
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8, pad_id=PAD, pad_token="<pad>")
    file = folder / "tokenizer.json"
    tokenizer.save(str(file))
    return file


def table(dimensions: int) -> Vectors:
    """The vectors of a tiny model's words."""
    return np.random.default_rng(11).standard_normal((WORDS, dimensions)).astype(np.float32)


def tiny_graph(
    file: Path,
    dimensions: int = 16,
    *,
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
    integers: int = TensorProto.INT64,
    outputs: Sequence[str] = ("last_hidden_state",),
    half: bool = False,
    data: str | None = None,
) -> Path:
    """An encoder that only looks words up. `outputs` that are called otherwise are pooled: the first token's vector.

    `data` is the name of a file beside it that holds its weights.
    """
    words = table(dimensions)
    nodes = [helper.make_node("Gather", ["words", "input_ids"], ["by_token"])]
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    told: list[Any] = []
    for name in outputs:
        by_token = name in ("last_hidden_state", "token_embeddings")
        if by_token:
            nodes.append(helper.make_node("Identity", ["by_token"], [name]))
        elif name == "sparse_vecs":
            nodes.append(helper.make_node("Neg", ["by_token"], [name]))
        else:
            nodes.append(helper.make_node("Gather", ["by_token", "first"], [name], axis=1))
        shape = ["batch", "sequence", dimensions] if name != "dense_vecs" else ["batch", dimensions]
        told.append(helper.make_tensor_value_info(name, kind, shape))
    asked = [helper.make_tensor_value_info(name, integers, ["batch", "sequence"]) for name in inputs]
    weights = [
        numpy_helper.from_array(words.astype(np.float16) if half else words, "words"),
        numpy_helper.from_array(np.array(0), "first"),
    ]
    graph = helper.make_graph(nodes, "tiny", asked, told, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(file), save_as_external_data=data is not None, location=data, size_threshold=1024)
    return file


def unit(vectors: Vectors) -> Vectors:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


class Engine:
    """An embedding engine in a process of its own, asked over its socket."""

    def __init__(self, socket: str, key: str, pid: int) -> None:
        self.socket = socket
        self.key = key
        self.pid = pid

    def session(self) -> aiohttp.ClientSession:
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return aiohttp.ClientSession(
            "http://engine", connector=aiohttp.UnixConnector(self.socket, limit=0), headers=headers
        )

    async def ask(self, session: aiohttp.ClientSession, **fields: Any) -> tuple[int, Any]:
        """Status and JSON of one request."""
        async with session.post("/v1/embeddings", json=fields) as answer:
            return answer.status, await answer.json()

    @property
    def cpu_seconds(self) -> float:
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system


@contextmanager
def engine(launch: Launch) -> Generator[Engine]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        launch = msgspec.structs.replace(launch, socket=f"{folder}/e.sock", key="k3y")
        words = [sys.executable, "-m", KINDS["embeddings"].module]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(encode(launch))
            process.stdin.flush()
            assert b"listening" in process.stdout.readline()
            yield Engine(f"{folder}/e.sock", launch.key, process.pid)
        finally:
            process.stdin.close()
            process.stdout.close()
            process.wait(20)


def vector(said: list[float] | str) -> Vectors:
    """A vector as an answer tells it."""
    if isinstance(said, str):
        return np.frombuffer(b64decode(said), "<f4")
    return np.array(said, np.float32)
