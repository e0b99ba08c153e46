"""The embedding engine as an ASGI app: `POST /v1/embeddings` in front of one encoder."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Protocol

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fondaco.engines.embeddings import wire
from fondaco.engines.embeddings.batching import Batcher, ClientLeft
from fondaco.engines.embeddings.bert import Bert
from fondaco.engines.embeddings.encoder import POOLINGS, Encoder, Pooling, unit
from fondaco.engines.embeddings.tokens import Text, Tokens, TooLong, UnknownToken
from fondaco.engines.launch import Launch
from fondaco.engines.serving import QUIET_SECONDS, LoadFailed, Refusal, engine_app

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOW_TOKENS = 512
MAX_TOKENS = 8192
"""What the contract lets a text have."""

_SHORT = 4096
"""Characters that are tokenised sooner than another thread could be woken up for it."""

_SLICE = 64
"""Texts that are tokenised at once, between looks at whether the client is still there."""


def create(launch: Launch) -> Starlette:
    """The engine of `launch.model`, an ONNX file; `launch.files["tokenizer"]` is its `tokenizer.json`.

    A file whose role is `data:NAME` holds weights that the graph keeps outside itself as NAME. Options: `pooling`
    (mean, cls, last), `window_tokens` (what the model reads at once), `max_tokens` (of a text), `prefix` (put before
    each text), `custom_dimensions` (`yes`: vectors may be cut), `output` (of the graph), `heads` (of attention, for a
    BERT that is to be run by CTranslate2).

    Raises ImportError and LoadFailed.
    """
    options = launch.options
    pooling = options.get("pooling", "mean")
    if pooling not in POOLINGS or "tokenizer" not in launch.files:
        raise LoadFailed
    window = int(options.get("window_tokens", WINDOW_TOKENS))
    most = int(options.get("max_tokens", MAX_TOKENS))
    # The cores are the model's: one request with many texts is not to take them all.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokens = Tokens(launch.files["tokenizer"], window, most, options.get("prefix", ""))
    encoder = _bert(launch) if "heads" in options else _onnx(launch, pooling, tokens.pad)
    cut = options.get("custom_dimensions") == "yes"
    endpoint = Embeddings(launch.name, tokens, encoder, most, cut=cut)
    row: dict[str, object] = {
        "dimensions": encoder.dimensions,
        "custom_dimensions": cut,
        "max_tokens": most,
        "window_tokens": window,
    }
    return engine_app(launch, [Route("/v1/embeddings", endpoint, methods=["POST"])], row)


class Model(Protocol):
    """Rows of token ids in, unit vectors out."""

    @property
    def dimensions(self) -> int: ...
    @property
    def at_once(self) -> int:
        """How many calls may be made side by side."""
        ...

    def encode(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]: ...


def _bert(launch: Launch) -> Model:
    return Bert(launch.model, threads=launch.threads, heads=int(launch.options["heads"]))


def _onnx(launch: Launch, pooling: Pooling, pad: int) -> Model:
    data = {role[5:]: path for role, path in launch.files.items() if role.startswith("data:")}
    output = launch.options.get("output")
    return Encoder(launch.model, threads=launch.threads, pooling=pooling, pad=pad, output=output, data=data)


class Embeddings:
    """The endpoint, as plain ASGI: what it does beside the model must be small beside it."""

    def __init__(self, name: str, tokens: Tokens, encoder: Model, most: int, *, cut: bool) -> None:
        self._name = name
        self._tokens = tokens
        self._dimensions = encoder.dimensions
        self._batcher = Batcher(encoder.encode, encoder.dimensions, encoder.at_once)
        self._most = most
        self._cut = cut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if body is None:
            return
        left: asyncio.Future[None] = asyncio.ensure_future(_left(receive))
        try:
            asked = wire.decode(body)
            inputs = wire.inputs(asked)
            self._check_dimensions(asked.dimensions)
            texts = await self._read(asked, inputs, left)
            # From here on nothing is refused.
            await _said(self._answer(asked, texts, left), send)
        except ClientLeft:
            return
        finally:
            left.cancel()

    async def _answer(self, asked: wire.Asked, texts: Sequence[Text], left: asyncio.Future[None]) -> bytes:
        vectors = await self._batcher.embed(texts, left)
        if asked.dimensions is not None:
            vectors = unit(vectors[:, : asked.dimensions])
        tokens = sum(text.tokens for text in texts)
        if vectors.size > _SHORT:
            return await asyncio.to_thread(wire.encode, vectors, asked, self._name, tokens)
        return wire.encode(vectors, asked, self._name, tokens)

    def _check_dimensions(self, asked: int | None) -> None:
        if asked is None or asked == self._dimensions:
            return
        if not self._cut:
            message = f"This model's vectors have {self._dimensions} dimensions and cannot have others."
            raise Refusal(400, "dimensions_not_supported", message, "dimensions")
        if not 1 <= asked <= self._dimensions:
            message = f"dimensions must be from 1 to {self._dimensions}."
            raise Refusal(400, "invalid_dimensions", message, "dimensions")

    async def _read(
        self, asked: wire.Asked, inputs: Sequence[wire.Input], left: asyncio.Future[None]
    ) -> list[Text]:
        """Raises Refusal, and ClientLeft."""
        if isinstance(inputs[0], str):
            return await self._read_texts(asked, inputs, left)  # pyright: ignore[reportArgumentType]
        read: list[Text] = []
        for index, ids in enumerate(inputs):
            try:
                read.append(self._tokens.take(ids))  # pyright: ignore[reportArgumentType]
            except UnknownToken:
                raise wire.unknown_token(asked, index, self._tokens.vocabulary) from None
            except TooLong:
                raise wire.too_long(asked, index, self._most) from None
        return read

    async def _read_texts(
        self, asked: wire.Asked, texts: Sequence[str], left: asyncio.Future[None]
    ) -> list[Text]:
        read: list[Text] = []
        for start in range(0, len(texts), _SLICE):
            some = texts[start : start + _SLICE]
            try:
                if sum(map(len, some)) <= _SHORT:
                    read += self._tokens.read_all(some)
                else:
                    read += await asyncio.to_thread(self._tokens.read_all, some)
            except TooLong as fault:
                raise wire.too_long(asked, start + fault.args[0], self._most) from None
            if left.done():
                raise ClientLeft
        return read


async def _body(receive: Receive) -> bytearray | None:
    """The request's body; None where the client left before its end. Raises Refusal."""
    whole = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        whole += message.get("body", b"")
        if len(whole) > wire.MAX_BODY:
            raise Refusal(413, "body_too_large", f"The body must have at most {wire.MAX_BODY} bytes.")
        if not message.get("more_body"):
            return whole


async def _said(answer: Coroutine[None, None, bytes], send: Send) -> None:
    """Send the answer once it is there, and meanwhile a space now and then: whoever has much to read is not hung."""
    headers = [(b"content-type", b"application/json")]
    begun = False
    work = asyncio.ensure_future(answer)
    try:
        while not (await asyncio.wait((work,), timeout=QUIET_SECONDS))[0]:
            if not begun:
                begun = True
                await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
        told = work.result()
    finally:
        work.cancel()
    if not begun:
        headers.append((b"content-length", b"%d" % len(told)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})


async def _left(receive: Receive) -> None:
    """Ends when the client has gone."""
    with contextlib.suppress(OSError):
        while (await receive())["type"] != "http.disconnect":
            pass
