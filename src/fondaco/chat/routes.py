"""POST /chat/completions."""

from __future__ import annotations

from fondaco.chat.answer import fold
from fondaco.chat.answer_wire import Chunk, Completion
from fondaco.chat.service import ChatService
from fondaco.chat.streaming import ChatStream
from fondaco.chat.underway import ChatAnswer
from fondaco.chat.wire import ChatRequest, normalised
from fondaco.http.call import Call
from fondaco.http.model_headers import model_headers
from fondaco.http.openapi import Operation
from fondaco.http.reply import Header, Reply, stream_reply
from fondaco.http.routing import Route
from fondaco.http.validation import decode


def routes(chats: ChatService) -> list[Route]:
    async def create_chat_completion(call: Call) -> Reply:
        """POST /chat/completions (CONTRACT 3)."""
        # The request is not kept here: it goes as soon as its engine has been asked.
        answer = await chats.begin(
            call.admitted, normalised(decode((await call.json_body()).reveal(), ChatRequest))
        )
        call.model = answer.model
        if answer.streams:
            return stream_reply(ChatStream(answer), _headers(answer))
        return Reply(await fold(answer), headers=_headers(answer), compressible=True)

    about = Operation(
        method="POST",
        path="/chat/completions",
        summary="Complete a chat",
        description="The answer is whole, or a stream of events that ends with `[DONE]` when `stream` is true.",
        tag="Chat",
        request=ChatRequest,
        answer=Completion,
        chunk=Chunk,
        errors=(400, 402, 403, 404, 413, 415, 422, 429, 500, 502, 503, 504),
    )
    return [Route(create_chat_completion, about)]


def _headers(answer: ChatAnswer) -> tuple[Header, ...]:
    model = answer.resolved.model
    return model_headers(model.id, model.name, local=answer.local)
