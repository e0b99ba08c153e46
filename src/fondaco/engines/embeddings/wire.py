"""`POST /v1/embeddings` as OpenAI has it: what comes in, what is refused, what goes out."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from fondaco.content import Sealed
from fondaco.engines.serving import Refusal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_INPUTS = 2048

MAX_BODY = 40 * 1024 * 1024
"""Bytes; a gateway lets through 35 MB."""

DECIMALS = 10
"""Of a number in an answer: more than its 32 bits hold, so that only its text is rounded."""

Input: TypeAlias = "str | list[int]"
"""A text, or its tokens."""


class Asked(Sealed):
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


class _Embedding(Sealed):
    object: str
    index: int
    embedding: list[float] | str


class _Usage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class _Answer(Sealed):
    object: str
    data: list[_Embedding]
    model: str
    usage: _Usage


_decoder = msgspec.json.Decoder(Asked)
_encoder = msgspec.json.Encoder()
_place = re.compile(r" - at `\$((?:\.\w+|\[(?:\d+|\.\.\.)\])*)`$")


def decode(body: bytes | bytearray) -> Asked:
    """Raises Refusal."""
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        said = str(error)
        at = _place.search(said)
        param = at[1].strip(".").replace("[", ".").replace("]", "") if at else None
        raise Refusal(400, "invalid_request", said, param or "input") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal(400, "invalid_json", "The request's body is not JSON.") from None


def inputs(asked: Asked) -> list[Input]:
    """What is to be embedded, each an answer's item. Raises Refusal, which names the field as `input` or `input.3`."""
    given = asked.input
    if isinstance(given, str) or (given and all(type(item) is int for item in given)):
        given = [given]
    if not given:
        raise Refusal(400, "input_empty", "input must not be an empty array.", "input")
    if len(given) > MAX_INPUTS:
        message = f"input must have at most {MAX_INPUTS} items, not {len(given)}."
        raise Refusal(400, "too_many_inputs", message, "input")
    kind = type(given[0])
    for index, item in enumerate(given):
        if type(item) is not kind or kind is int:
            message = "input must be a string, strings, token ids, or arrays of token ids, not a mixture."
            raise Refusal(400, "invalid_input", message, f"input.{index}")
        if not item:
            raise Refusal(400, "input_empty", f"input[{index}] must not be empty.", _param(asked, index))
    return given  # pyright: ignore[reportReturnType]


def too_long(asked: Asked, index: int, most: int) -> Refusal:
    message = f"Input text exceeds the maximum token limit of {most} tokens"
    return Refusal(400, "input_too_long", message, _param(asked, index))


def unknown_token(asked: Asked, index: int, vocabulary: int) -> Refusal:
    message = f"input[{index}] has a token id that this model does not know: they are 0 to {vocabulary - 1}."
    return Refusal(400, "unknown_token", message, _param(asked, index))


def encode(vectors: NDArray[np.float32], asked: Asked, model: str, tokens: int) -> bytes:
    """The answer: `vectors` is (inputs, dimensions)."""
    said: Sequence[Any]
    if asked.encoding_format == "base64":
        said = [b64encode(vector).decode() for vector in vectors.astype("<f4", copy=False)]
    else:
        # A number that is rounded as float64 has short decimals; those of a float32 are twice as long.
        said = vectors.astype("f8").round(DECIMALS).tolist()
    data = [_Embedding("embedding", index, vector) for index, vector in enumerate(said)]
    return _encoder.encode(_Answer("list", data, model, _Usage(tokens, tokens)))


def _param(asked: Asked, index: int) -> str:
    """The field of item `index`: `input` itself where there is only that."""
    whole = isinstance(asked.input, str) or type(asked.input[0]) is int
    return "input" if whole else f"input.{index}"
