"""One embedding exchange with an engine: the request out, vectors back, every failure as one of our errors."""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from fondaco.content import Sealed
from fondaco.errors import UpstreamFailed
from fondaco.upstream.faults import failed, refusal
from fondaco.upstream.transport import Target, Transport, TransportError

PATH = "/embeddings"

MAX_ANSWER = 512 * 1024 * 1024
"""Bytes: 2,048 vectors of 4,096 numbers of 20 characters are 170 MB."""


class EngineEmbeddings(Sealed, omit_defaults=True, kw_only=True):
    """The body of an engine's `/v1/embeddings`. UNSET fields are not sent."""

    input: str | Sequence[str | int | Sequence[int]]
    model: str | UnsetType = UNSET
    encoding_format: Literal["base64"] | UnsetType = UNSET
    dimensions: int | UnsetType = UNSET


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Item(Sealed, kw_only=True):
    object: str = "embedding"
    index: int
    embedding: Raw


class _Answer(Sealed):
    data: list[_Item]
    usage: _Usage | None = None


class Vectors(Sealed):
    """What an engine made: `data` is an answer's own, each input's vector in their order."""

    data: Raw
    prompt_tokens: int | None
    """As the engine has counted them; None where it has not."""


_decoder = msgspec.json.Decoder(_Answer)
_encoder = msgspec.json.Encoder()


async def embed(transport: Transport, target: Target, body: EngineEmbeddings, count: int) -> Vectors:
    """Ask for the vectors of `count` inputs. Raises the error that the engine's refusal or silence means."""
    try:
        exchange = await transport.send(target, "POST", PATH, _encoder.encode(body))
        try:
            if exchange.status != 200:
                raise await refusal(exchange)
            answer = await exchange.read(MAX_ANSWER)
        finally:
            await exchange.aclose()
    except TransportError as error:
        raise failed(error) from None
    return read(answer, count, packed=body.encoding_format == "base64")


def read(answer: bytes, count: int, *, packed: bool) -> Vectors:
    """An engine's answer. Vectors pass undecoded, save those of servers that do not know `base64`.

    Raises UpstreamFailed when it is not one vector for each of `count` inputs.
    """
    try:
        told = _decoder.decode(answer)
        items = told.data
        if [item.index for item in items] != list(range(count)):
            items.sort(key=lambda item: item.index)
            if [item.index for item in items] != list(range(count)):
                raise UpstreamFailed
        for item in items:
            item.embedding = _in_form(item.embedding, packed=packed)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, struct.error, OverflowError):
        raise UpstreamFailed from None
    usage = told.usage or _Usage()
    tokens = usage.total_tokens if usage.prompt_tokens is None else usage.prompt_tokens
    return Vectors(Raw(_encoder.encode(items)), None if tokens is None else max(0, tokens))


def _in_form(vector: Raw, *, packed: bool) -> Raw:
    """The vector as it was asked for."""
    text = bytes(vector).lstrip()[:1] == b'"'
    if text == packed:
        return vector
    if packed:
        numbers = msgspec.json.decode(vector, type=list[float])
        return Raw(b'"' + b64encode(struct.pack(f"<{len(numbers)}f", *numbers)) + b'"')
    data = b64decode(msgspec.json.decode(vector, type=str), validate=True)
    return Raw(_encoder.encode(struct.unpack(f"<{len(data) // 4}f", data)))
