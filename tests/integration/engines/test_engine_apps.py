"""An ASGI engine of ours in its own process: its key, its errors, and its end."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fondaco.engines.child import Child, StartFailed
from fondaco.engines.kinds import KINDS
from fondaco.engines.launch import Launch
from fondaco.engines.serving import LoadFailed, Refusal, engine_app
from fondaco.engines.serving import main as main

SECRET = "what-was-asked-4711"


def echo(launch: Launch) -> Starlette:
    async def say(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    async def refuse(request: Request) -> Response:
        raise Refusal(400, "bad_voice", "There is no such voice.", "voice")

    async def fall(request: Request) -> Response:
        raise ValueError(SECRET)

    post = ["POST"]
    routes = [Route("/v1/say", say, methods=post), Route("/v1/refuse", refuse, methods=post)]
    return engine_app(launch, [*routes, Route("/v1/fall", fall, methods=post)], {"abilities": ["echo"]})


def unloadable(launch: Launch) -> Starlette:
    raise LoadFailed


def without_runtime(launch: Launch) -> Starlette:
    raise ImportError


def command(create: Callable[[Launch], Starlette]) -> tuple[str, ...]:
    folder = Path(__file__).parent
    said = f"import sys; sys.path.insert(0, {str(folder)!r}); import {Path(__file__).stem} as t; t.main(t.{create.__name__})"
    return (sys.executable, "-c", said)


@asynccontextmanager
async def running(create: Callable[[Launch], Starlette], *, on_socket: bool = True) -> AsyncGenerator[Child]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        socket = f"{folder}/e.sock" if on_socket else None
        launch = Launch(model="none", threads=1, key="k3y", name="echo-1", socket=socket)
        child = await Child.spawn(launch, command(create))
        try:
            await child.ready(30)
            yield child
        finally:
            await child.stop()


async def ask(
    child: Child, method: str, path: str, *, keyed: bool = True, body: bytes = b""
) -> tuple[int, Any]:
    target = child.target
    headers = {name.decode(): value.decode() for name, value in target.headers} if keyed else {}
    connector = aiohttp.UnixConnector(target.socket) if target.socket else aiohttp.TCPConnector()
    url = f"http://127.0.0.1:{target.port or 80}{path}"
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(method, url, headers=headers, data=body) as answer,
    ):
        if answer.content_type == "application/json":
            return answer.status, await answer.json()
        return answer.status, await answer.read()


pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("on_socket", [True, False])
async def test_an_engine_answers_whoever_has_its_key(on_socket: bool) -> None:
    async with running(echo, on_socket=on_socket) as child:
        assert await ask(child, "POST", "/v1/say", body=b"hello") == (200, b"hello")
        assert await ask(child, "GET", "/health", keyed=False) == (200, {"status": "ok", "wire": 1})
        status, listed = await ask(child, "GET", "/v1/models")
        assert (status, listed["data"][0]["id"], listed["data"][0]["abilities"]) == (200, "echo-1", ["echo"])
        for path in ("/v1/say", "/v1/models", "/v1/nothing"):
            status, told = await ask(child, "POST", path, keyed=False, body=b"hello")
            assert (status, told["error"]["code"]) == (401, "invalid_api_key")


async def test_its_errors_are_openais_and_say_nothing_of_what_was_asked() -> None:
    async with running(echo) as child:
        status, told = await ask(child, "POST", "/v1/refuse")
        assert (status, told["error"]) == (
            400,
            {
                "message": "There is no such voice.",
                "type": "invalid_request_error",
                "code": "bad_voice",
                "param": "voice",
            },
        )
        status, told = await ask(child, "POST", "/v1/fall")
        assert (status, told["error"]["code"]) == (500, "engine_failed")
        assert SECRET not in str(told)
        assert (await ask(child, "POST", "/v1/nothing"))[0] == 404
        assert (await ask(child, "POST", "/v1/say", body=b"still there")) == (200, b"still there")


async def test_it_goes_when_its_gateway_does() -> None:
    async with running(echo) as child:
        await asyncio.wait_for(child.stop(), 10)
        assert await child.wait() == "exit-0"


@pytest.mark.parametrize(
    ("create", "kind"), [(unloadable, "unreadable_weights"), (without_runtime, "no_runtime")]
)
async def test_an_engine_that_cannot_start_says_why(create: Callable[[Launch], Starlette], kind: str) -> None:
    with pytest.raises(StartFailed) as failed:
        async with running(create):
            pass
    assert failed.value.kind == kind


def test_every_kind_of_engine_is_a_module_that_can_be_run() -> None:
    for kind in KINDS.values():
        package = Path(__file__).parents[3] / "src" / Path(*kind.module.split("."))
        assert package.with_suffix(".py").is_file() or (package / "__main__.py").is_file(), kind.module
