"""Vectors for searches, by an embedding model of this server; nobody is charged for them."""

from __future__ import annotations

from array import array
from base64 import b64decode
from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from fondaco.content import Sealed
from fondaco.errors import FondacoError
from fondaco.models.registry import Registry
from fondaco.models.seating import Seating
from fondaco.upstream.embeddings import EngineEmbeddings, embed
from fondaco.upstream.transport import Transport

_ACCOUNT = "fondaco:search"
"""Under which searches wait for a seat: one turn for all of them together."""


class _Item(Sealed):
    embedding: str


class EngineEmbedder:
    """See `fondaco.augment.meaning.Embedder`."""

    def __init__(self, model: str, models: Registry, seating: Seating, transport: Transport) -> None:
        self.model = model
        self._models = models
        self._seating = seating
        self._transport = transport

    async def embed(self, texts: Sequence[str]) -> list[array[float]] | None:
        """None where the model is not there, is still being made ready, or fails."""
        try:
            resolved = self._models.resolve(self.model, "embedding")
            async with self._seating.seat(resolved, _ACCOUNT) as seat:
                body = EngineEmbeddings(
                    input=list(texts), model=seat.upstream_model or UNSET, encoding_format="base64"
                )
                made = await embed(self._transport, seat.target, body, len(texts))
            items = msgspec.json.decode(made.data, type=list[_Item])
            return [array("f", b64decode(item.embedding)) for item in items]
        except (FondacoError, msgspec.DecodeError, ValueError):
            return None
