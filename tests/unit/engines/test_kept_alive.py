"""Events of an engine that takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from fondaco.engines.serving import kept_alive
from fondaco.upstream.sse import Blocks, payloads

pytestmark = pytest.mark.anyio


async def test_silence_is_filled_with_comments_that_readers_pass_over() -> None:
    go_on = asyncio.Event()

    async def events() -> AsyncGenerator[bytes]:
        yield b"data: 1\n\n"
        await go_on.wait()
        yield b"data: 2\n\n"

    said: list[bytes] = []
    async for piece in kept_alive(events(), 0.01):
        said.append(piece)
        if said.count(b":\n\n") == 3:
            go_on.set()
    assert said == [b"data: 1\n\n", b":\n\n", b":\n\n", b":\n\n", b"data: 2\n\n"]
    blocks = Blocks()
    assert [payload for piece in said for payload in payloads(blocks.feed(piece))] == [b"1", b"2"]


async def test_who_leaves_in_the_silence_ends_the_work() -> None:
    ended: list[str] = []

    async def events() -> AsyncGenerator[bytes]:
        try:
            yield b"data: 1\n\n"
            await asyncio.Event().wait()
        finally:
            ended.append("events")

    async def listen() -> None:
        async for _ in kept_alive(events(), 0.01):
            pass

    listener = asyncio.ensure_future(listen())
    await asyncio.sleep(0.05)
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener
    assert ended == ["events"]


async def test_what_breaks_is_said() -> None:
    async def events() -> AsyncGenerator[bytes]:
        yield b"data: 1\n\n"
        raise ValueError

    with pytest.raises(ValueError):
        _ = [piece async for piece in kept_alive(events())]
