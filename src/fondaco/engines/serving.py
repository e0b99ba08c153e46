"""Engines that are ASGI apps of ours: what they share on the wire, and how their process serves them.

An app knows nothing of who started it, so it can as well be deployed elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from hmac import compare_digest
from typing import NoReturn

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fondaco.engines.launch import Launch
from fondaco.engines.process import Process

WIRE = 1
"""Version of what we have added to OpenAI's API."""

BACKLOG = 1024

KEEP_ALIVE_SECONDS = 600
"""Longer than a gateway keeps an idle connection, so that it is never the engine that ends one."""

QUIET_SECONDS = 15.0
"""Less than a gateway takes for a hung engine's silence."""

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


class Refusal(Exception):
    """An engine's answer to what it cannot do. `message` is for the caller and may repeat what was sent."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        """`param` names the field at fault."""
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.param = param


class LoadFailed(Exception):
    """The weights could not be read."""


def engine_app(
    launch: Launch,
    routes: Sequence[Route],
    model: Mapping[str, object],
    *,
    lifespan: Lifespan | None = None,
) -> Starlette:
    """An engine's app: its routes behind its key, with health, its one model's row, and errors as OpenAI has them.

    `model` is what `/v1/models` says beside `id` and `object`.
    """
    row = {"id": launch.name, "object": "model", "created": 0, "owned_by": "fondaco", **model}
    listed = msgspec.json.encode({"object": "list", "data": [row]})
    healthy = msgspec.json.encode({"status": "ok", "wire": WIRE})

    async def health(request: Request) -> Response:
        return Response(healthy, media_type="application/json")

    async def models(request: Request) -> Response:
        return Response(listed, media_type="application/json")

    return Starlette(
        routes=[Route("/health", health), Route("/v1/models", models), *routes],
        middleware=[Middleware(_Guard, key=launch.key)],
        exception_handlers={Refusal: _refused, HTTPException: _not_served, Exception: _failed},
        lifespan=lifespan,
    )


def refusal_response(refusal: Refusal) -> Response:
    """An error as OpenAI has them."""
    kind = "invalid_request_error" if refusal.status < 500 else "server_error"
    told = {"message": refusal.message, "type": kind, "code": refusal.code, "param": refusal.param}
    return Response(msgspec.json.encode({"error": told}), refusal.status, media_type="application/json")


async def kept_alive(
    events: AsyncGenerator[bytes], quiet_seconds: float = QUIET_SECONDS
) -> AsyncGenerator[bytes]:
    """Server-sent events, with an empty comment whenever none came for so long: whoever waits its turn is not hung."""
    coming: asyncio.Future[bytes | None] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(events, None))
            while not (await asyncio.wait((coming,), timeout=quiet_seconds))[0]:
                yield b":\n\n"
            if (event := coming.result()) is None:
                return
            yield event
    finally:
        if coming is not None and not coming.done():
            coming.cancel()
            await asyncio.wait((coming,))
        await events.aclose()


def main(create: Callable[[Launch], Starlette]) -> NoReturn:
    """Be an engine's process: serve the app that `create` makes until the gateway is gone.

    `create` raises ImportError when its runtime is not installed, and LoadFailed.
    """
    process = Process.begin()
    try:
        app = create(process.launch)
    except ImportError:
        process.no_runtime()
    except LoadFailed:
        process.load_failed()
    listening = _listen(process.launch.socket)
    port = 0 if process.launch.socket else listening.getsockname()[1]
    # Who connects now waits in the backlog until the server runs.
    process.listening(port)
    serve(app, listening)
    # Not by way of the interpreter's end, which the thread that waits for the gateway stands in the way of.
    os._exit(0)


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Serve `app` until the process is told to end. Nothing is logged: lines of a server may hold content."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    uvicorn.Server(config).run([listening])


def _listen(path: str | None) -> socket.socket:
    if path:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(path)
    else:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.bind(("127.0.0.1", 0))
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


class _Guard:
    """Lets nobody in without the key, save to ask how the engine is."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode() if key else None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http" or self._expected is None or scope["path"] == "/health":
            return self._app(scope, receive, send)
        for name, value in scope["headers"]:
            if name == b"authorization" and compare_digest(value, self._expected):
                return self._app(scope, receive, send)
        refusal = Refusal(401, "invalid_api_key", "This engine wants its key as `Authorization: Bearer …`.")
        return refusal_response(refusal)(scope, receive, send)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refusal_response(error)


def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal_response(
        Refusal(error.status_code, "not_found", f"This engine has no such route: {error.detail}")
    )


def _failed(request: Request, error: Exception) -> Response:
    # Where and what kind, never the error's own words, which may repeat what was asked.
    at = traceback.extract_tb(error.__traceback__)[-1:]
    sys.stderr.write(f"{type(error).__name__} at {[f'{frame.filename}:{frame.lineno}' for frame in at]}\n")
    return refusal_response(Refusal(500, "engine_failed", "The engine failed."))
