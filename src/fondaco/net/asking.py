"""Calls to services that the operator has named in the settings, such as a search engine of his own.

Their addresses are his choice, so they may be private; for the rest they are as bounded as foreign pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp

from fondaco import __version__
from fondaco.net.errors import BadAnswer, TooLarge, TooSlow, Unreachable

MAX_ANSWER = 8 * 1024 * 1024


async def ask(
    method: str,
    url: str,
    *,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    seconds: float,
    max_bytes: int = MAX_ANSWER,
) -> bytes:
    """The answer's body, whose status is 200. `body` is JSON. No redirect is followed, so no key goes astray.

    Raises FetchError; the status of a BadAnswer says what the service thought.
    """
    given = {"accept": "application/json", "user-agent": f"fondaco/{__version__}", **(headers or {})}
    if body is not None:
        given["content-type"] = "application/json"
    try:
        async with (
            asyncio.timeout(seconds),
            aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None)
            ) as session,
            session.request(
                method, url, params=params, headers=given, data=body, allow_redirects=False
            ) as response,
        ):
            if response.status != 200:
                raise BadAnswer(status=response.status)
            answer = bytearray()
            async for piece in response.content.iter_any():
                answer += piece
                if len(answer) > max_bytes:
                    raise TooLarge
            return bytes(answer)
    except TimeoutError:
        raise TooSlow from None
    except (aiohttp.ClientError, OSError, ValueError):
        raise Unreachable from None
