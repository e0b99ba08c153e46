"""How many tokens a prompt has, asked of the engine that would answer it."""

from __future__ import annotations

import msgspec

from fondaco.content import Content, Sealed
from fondaco.upstream.transport import Target, Transport, TransportError

PATH = "/chat/completions/input_tokens"

_MAX_ANSWER = 64 * 1024


class _Counted(Sealed):
    input_tokens: int


async def prompt_tokens(transport: Transport, target: Target, body: Content[bytes]) -> int | None:
    """The exact count for a request's body, template and all; None where the engine cannot say.

    llama.cpp's own route: about a millisecond, and no slot is taken.
    """
    try:
        exchange = await transport.send(target, "POST", PATH, body.reveal())
        try:
            if exchange.status != 200:
                return None
            return msgspec.json.decode(await exchange.read(_MAX_ANSWER), type=_Counted).input_tokens
        finally:
            await exchange.aclose()
    except (TransportError, msgspec.DecodeError):
        return None
