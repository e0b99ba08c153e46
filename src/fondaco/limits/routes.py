"""GET /api_keys/rate_limits and its log, of the calling key and, by id, of another key of its account."""

from __future__ import annotations

from typing import Any

from fondaco.http.call import Call
from fondaco.http.openapi import Access, Operation
from fondaco.http.reply import Reply, json_reply
from fondaco.http.routing import Route
from fondaco.limits.report import LimitReport
from fondaco.limits.wire import RateLimitsAnswer, RefusalList


def routes(report: LimitReport) -> list[Route]:
    async def get_rate_limits(call: Call) -> Reply:
        """GET /api_keys/rate_limits (CONTRACT 10)."""
        return json_reply(await report.rate_limits(call.identified))

    async def get_rate_limits_of_key(call: Call) -> Reply:
        """GET /api_keys/{id}/rate_limits (CONTRACT 10)."""
        return json_reply(await report.rate_limits(call.identified, call.path_params["id"]))

    async def list_refusals(call: Call) -> Reply:
        """GET /api_keys/rate_limits/log (CONTRACT 10)."""
        return json_reply(await report.refusals(call.identified))

    async def list_refusals_of_key(call: Call) -> Reply:
        """GET /api_keys/{id}/rate_limit_logs (CONTRACT 10)."""
        return json_reply(await report.refusals(call.identified, call.path_params["id"]))

    def about(path: str, summary: str, answer: Any, access: Access = "admin") -> Operation:
        return Operation(
            method="GET",
            path=path,
            summary=summary,
            tag="API keys",
            access=access,
            answer=answer,
            errors=(400,) if "{" in path else (),
        )

    return [
        Route(
            get_rate_limits,
            about("/api_keys/rate_limits", "Balances and rates of the calling key", RateLimitsAnswer, "key"),
        ),
        Route(
            list_refusals, about("/api_keys/rate_limits/log", "Requests that a limit refused", RefusalList)
        ),
        Route(
            get_rate_limits_of_key,
            about("/api_keys/{id}/rate_limits", "Balances and rates of one key", RateLimitsAnswer),
        ),
        Route(
            list_refusals_of_key,
            about("/api_keys/{id}/rate_limit_logs", "One key's requests that a limit refused", RefusalList),
        ),
    ]
