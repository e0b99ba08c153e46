"""A single small GET to an engine, apart from the relay's pool: is it there, and what does it serve."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from fondaco.upstream.transport import ConnectFailed, ExchangeBroken, ExchangeTimeout, Target

_MOST = 1 << 20


class _Meta(msgspec.Struct):
    n_ctx: int = 0


class _Model(msgspec.Struct):
    meta: _Meta | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


async def healthy(target: Target, seconds: float) -> bool:
    """Whether `/health` answers 200 in time."""
    try:
        status, _ = await get(target, "/health", seconds)
    except (ConnectFailed, ExchangeBroken, ExchangeTimeout):
        return False
    return status == 200


async def context_tokens(target: Target, seconds: float) -> int:
    """What one request may hold, as the engine itself says in `/v1/models`; 0 if it does not say.

    Raises ConnectFailed, ExchangeBroken or ExchangeTimeout.
    """
    status, body = await get(target, "/v1/models", seconds)
    if status != 200:
        raise ExchangeBroken
    try:
        models = msgspec.json.decode(body, type=_Models)
    except msgspec.DecodeError:
        raise ExchangeBroken from None
    return max((model.meta.n_ctx for model in models.data if model.meta is not None), default=0)


async def get(target: Target, path: str, seconds: float) -> tuple[int, bytes]:
    """Status and body of `path`, which is taken from the engine's root and not from the target's base path."""
    try:
        async with asyncio.timeout(seconds):
            return await _get(target, path)
    except TimeoutError:
        raise ExchangeTimeout from None


async def _get(target: Target, path: str) -> tuple[int, bytes]:
    try:
        if target.socket:
            reader, writer = await asyncio.open_unix_connection(target.socket, limit=_MOST)
        else:
            reader, writer = await asyncio.open_connection(target.host, target.port, limit=_MOST)
    except OSError:
        raise ConnectFailed from None
    try:
        # HTTP/1.0 spares us chunked bodies: the answer ends when the connection does.
        head = [f"GET {path} HTTP/1.0".encode(), b"host: engine"]
        head += [name + b": " + value for name, value in target.headers]
        writer.write(b"\r\n".join(head) + b"\r\n\r\n")
        answer = bytearray()
        while piece := await reader.read(65536):
            answer += piece
            if len(answer) > _MOST:
                raise ExchangeBroken
    except OSError:
        raise ExchangeBroken from None
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    first, _, _ = answer.partition(b"\r\n")
    _, found, body = answer.partition(b"\r\n\r\n")
    words = first.split(b" ", 2)
    if not found or len(words) < 2 or not words[1].isdigit():
        raise ExchangeBroken
    return int(words[1]), bytes(body)
