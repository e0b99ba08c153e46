"""GET /healthz and /readyz: for whoever runs the server."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fondaco import __version__
from fondaco.http.call import Call
from fondaco.http.openapi import Operation
from fondaco.http.reply import Reply, json_reply
from fondaco.http.routing import Route


class Readiness(msgspec.Struct, frozen=True):
    """Whether the default model can answer now; `percent` is how much of its weights has come, while they come."""

    ready: bool
    model: str | None = None
    state: str = "unknown"
    percent: int | None = None


def routes(readiness: Callable[[], Readiness]) -> list[Route]:
    async def healthz(call: Call) -> Reply:
        """GET /healthz: the gateway runs."""
        return json_reply({"status": "ok", "version": __version__})

    async def readyz(call: Call) -> Reply:
        """GET /readyz: 200 once the default model can answer, 503 before."""
        now = readiness()
        return json_reply(now, status=200 if now.ready else 503)

    def about(path: str, summary: str) -> Operation:
        return Operation(method="GET", path=path, summary=summary, tag="Health", access="open", based=False)

    return [
        Route(healthz, about("/healthz", "Whether the gateway runs")),
        Route(readyz, about("/readyz", "Whether the default model can answer: 200, else 503")),
    ]
