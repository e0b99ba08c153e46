"""The body of POST /embeddings and its answer (CONTRACT 5)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw

from fondaco.content import Sealed
from fondaco.errors import ModelNotText

MAX_INPUTS = 2048
MAX_TOKENS = 8192

Text = Annotated[str, Meta(min_length=1)]
Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Tokens = Annotated[list[Token], Meta(min_length=1, max_length=MAX_TOKENS)]


class EmbeddingRequest(Sealed, kw_only=True, forbid_unknown_fields=True):
    """Texts to be turned into vectors. A null stands for an absent field wherever one is optional."""

    model: Annotated[str, Meta(description="Model id or compatibility name.")]
    input: (
        Text
        | Annotated[
            list[Text | Token | Tokens],
            Meta(
                min_length=1,
                max_length=MAX_TOKENS,
                description=f"Up to {MAX_INPUTS} texts; or token ids of one text, or of several, for a local model "
                "that is asked by its own id.",
            ),
        ]
    )
    dimensions: (
        Annotated[int, Meta(ge=1, description="Cut the vectors to so many, where the model allows it.")]
        | None
    ) = None
    encoding_format: Annotated[
        Literal["float", "base64"] | None, Meta(description="`base64`: little-endian 32-bit floats.")
    ] = None
    user: Annotated[str | None, Meta(description="Accepted and ignored.")] = None

    @staticmethod
    def respelled(fields: dict[str, Raw]) -> None:
        """Raises ModelNotText, because no other fault is looked at before that one."""
        if "model" not in fields:
            raise ModelNotText(message="model is required")
        if not bytes(fields["model"]).lstrip().startswith(b'"'):
            raise ModelNotText(message="model must be a string")


class EmbeddingUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class Embedding(Sealed):
    """One input's vector."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingList(Sealed):
    """The answer: a vector for each input, in their order."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
