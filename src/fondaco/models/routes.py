"""GET /models, /models/traits and /models/compatibility_mapping; and /models/{id}, which OpenAI's clients ask."""

from __future__ import annotations

from typing import Any, Literal

from fondaco.http.call import Call
from fondaco.http.openapi import Operation, Query
from fondaco.http.reply import Reply
from fondaco.http.routing import Route
from fondaco.models.policy import ModelPrivacy
from fondaco.models.service import LIST_TYPES, TYPES, ModelsService
from fondaco.models.wire import ModelList, ModelRow, NameMap


def routes(models: ModelsService) -> list[Route]:
    async def list_models(call: Call) -> Reply:
        """GET /models (CONTRACT 9.1)."""
        return Reply(models.models(call.query().get("type"), _policy(call)), compressible=True)

    async def list_traits(call: Call) -> Reply:
        """GET /models/traits (CONTRACT 9.2)."""
        return Reply(models.traits(call.query().get("type"), _policy(call)))

    async def list_compatibility(call: Call) -> Reply:
        """GET /models/compatibility_mapping (CONTRACT 9.3)."""
        return Reply(models.compatibility_mapping(call.query().get("type"), _policy(call)))

    async def get_model(call: Call) -> Reply:
        """GET /models/{id}: one row of the list."""
        return Reply(models.model(call.path_params["id"], _policy(call)))

    def about(path: str, summary: str, answer: Any, *query: Query) -> Operation:
        return Operation(
            method="GET",
            path=path,
            summary=summary,
            tag="Models",
            access="open",
            answer=answer,
            query=query,
            errors=(400,) if query else (404,),
        )

    kinds = Query(
        "type", Literal[LIST_TYPES], "Models of one type; `all` for any, `code` for those that are good at it"
    )  # pyright: ignore[reportArgumentType, reportUnknownArgumentType]
    types = Query("type", Literal[TYPES], "Of models of one type; `text` if absent")  # pyright: ignore[reportArgumentType, reportUnknownArgumentType]
    return [
        Route(list_models, about("/models", "Models that can be asked here", ModelList, kinds)),
        Route(list_traits, about("/models/traits", "Which model each trait leads to", NameMap, types)),
        Route(
            list_compatibility,
            about(
                "/models/compatibility_mapping", "Which model other vendors' names lead to", NameMap, types
            ),
        ),
        Route(get_model, about("/models/{id:path}", "One model", ModelRow)),
    ]


def _policy(call: Call) -> ModelPrivacy:
    """These routes are open: who comes without a key may look at everything."""
    return "ALL" if call.caller is None else call.caller.model_privacy
