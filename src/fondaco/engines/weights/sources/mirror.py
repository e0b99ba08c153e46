"""The user's mirror: a web server that has files under their sha256."""

from __future__ import annotations

import re

import aiohttp

from fondaco.engines.weights.partial import Partial
from fondaco.engines.weights.sources.attempt import Attempt, Interrupted, SourceFailed
from fondaco.engines.weights.threads import in_thread
from fondaco.engines.weights.weight import Weight

_BLOCK = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (?P<start>\d+)-\d+/(?P<total>\d+|\*)")


class Mirror:
    label = "mirror"

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")

    def usable(self, weight: Weight, partial: Partial) -> int:
        return partial.size

    def overhead(self, weight: Weight, partial: Partial) -> int:
        return 0

    async def supply(self, attempt: Attempt) -> None:
        # Silence is judged by the watcher, which sees the file grow.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=attempt.patience.first)
        try:
            async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
                await self._get(session, attempt)
        except TimeoutError:
            raise Interrupted("no connection in time") from None
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL):
            raise SourceFailed("no connection") from None
        except aiohttp.ClientError:
            raise Interrupted("the connection broke off") from None

    async def _get(self, session: aiohttp.ClientSession, attempt: Attempt) -> None:
        partial = attempt.partial
        have = partial.size
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        async with session.get(f"{self._base_url}/{attempt.weight.sha256}", headers=headers) as answer:
            if answer.status == 416:
                # There is nothing after what we have. If that is not the weight, the hash will tell.
                return
            if answer.status not in (200, 206):
                raise SourceFailed(f"answered with status {answer.status}")
            start = _start_of(answer) if answer.status == 206 else 0
            if start > have:
                raise SourceFailed("answered with another range than the one asked for")
            partial.truncate(start)
            if answer.content_length is not None:
                attempt.expect_size(start + answer.content_length)
            async for block in answer.content.iter_chunked(_BLOCK):
                await in_thread(partial.append, block)


def _start_of(answer: aiohttp.ClientResponse) -> int:
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None:
        raise SourceFailed("answered with a range that cannot be read")
    return int(match["start"])
