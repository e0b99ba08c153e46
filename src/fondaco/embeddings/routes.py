"""POST /embeddings."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from fondaco.content import Sealed
from fondaco.embeddings.service import EmbeddingService
from fondaco.embeddings.wire import EmbeddingList, EmbeddingRequest, EmbeddingUsage
from fondaco.http.call import Call
from fondaco.http.model_headers import model_headers
from fondaco.http.openapi import Operation
from fondaco.http.reply import Reply
from fondaco.http.routing import Route
from fondaco.http.validation import decode
from fondaco.models.serving import LocalServing


def routes(embeddings: EmbeddingService) -> list[Route]:
    async def create_embedding(call: Call) -> Reply:
        """POST /embeddings (CONTRACT 5)."""
        request = decode((await call.json_body()).reveal(), EmbeddingRequest)
        made = await embeddings.embed(call.admitted, request)
        model = made.resolved.model
        call.model = model.id
        local = isinstance(made.resolved.served.serving, LocalServing)
        body = _encode(_Answer("list", made.data, model.id, made.usage))
        return Reply(body, headers=model_headers(model.id, model.name, local=local), compressible=True)

    about = Operation(
        method="POST",
        path="/embeddings",
        summary="Turn texts into vectors",
        description="One vector of length 1 for each input.",
        tag="Embeddings",
        request=EmbeddingRequest,
        answer=EmbeddingList,
        errors=(400, 402, 403, 404, 413, 415, 429, 500, 502, 503, 504),
    )
    return [Route(create_embedding, about)]


class _Answer(Sealed):
    """EmbeddingList with its vectors as the engine wrote them."""

    object: str
    data: Raw
    model: str
    usage: EmbeddingUsage


_encode = msgspec.json.Encoder().encode
