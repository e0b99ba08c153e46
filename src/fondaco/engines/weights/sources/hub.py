"""A model hub, reached through `huggingface_hub` in a child process, so that a fetch can be stopped at any byte.

The child writes straight into the partial file; this side reads its news from a pipe. A second pipe, which only we
hold, ends the child when we end, however that happens.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from fondaco.engines.weights.partial import Note, Partial
from fondaco.engines.weights.sources.attempt import Attempt, Interrupted, SourceFailed, WrongContent
from fondaco.engines.weights.sources.programs import client_environment, end
from fondaco.engines.weights.threads import in_thread
from fondaco.engines.weights.weight import HubSource, Weight

_CHILD = Path(__file__).with_name("hub_child.py")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ORIGIN = "hub:"


class Job(msgspec.Struct):
    """What the child is told, as one line on its standard input."""

    repo: str
    file: str
    revision: str | None
    endpoint: str | None
    path: str
    etag: str | None
    """Go on from the bytes there only if the file still has this etag; None: in any case."""
    wanted_sha256: str | None
    probe_seconds: float


class News(msgspec.Struct):
    """A line that the child says."""

    kind: str
    size: int | None = None
    etag: str = ""
    reason: str = ""


class Hub:
    label = "model hub"

    def __init__(self, source: HubSource, endpoint: str | None) -> None:
        self._source = source
        self._endpoint = endpoint

    def usable(self, weight: Weight, partial: Partial) -> int:
        known = weight.sha256 is not None or partial.note().origin.startswith(_ORIGIN)
        return partial.size if known else 0

    def overhead(self, weight: Weight, partial: Partial) -> int:
        return 0

    async def supply(self, attempt: Attempt) -> None:
        attempt.partial.close()
        attempt.grace = attempt.patience.starting
        environment = client_environment() | {
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        }
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # this folder's modules must not stand in for others
            str(_CHILD),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            with suppress(ConnectionError):
                child.stdin.write(msgspec.json.encode(self._job(attempt)) + b"\n")
                await child.stdin.drain()
            await _listen(child.stdout, attempt)
        finally:
            await end(child)

    def _job(self, attempt: Attempt) -> Job:
        weight = attempt.weight
        origin = attempt.partial.note().origin
        return Job(
            repo=self._source.repo,
            file=self._source.file,
            revision=self._source.revision,
            endpoint=self._endpoint,
            path=str(attempt.partial.path),
            etag=origin.removeprefix(_ORIGIN) if weight.sha256 is None else None,
            wanted_sha256=weight.sha256,
            probe_seconds=attempt.patience.first,
        )


async def _listen(lines: asyncio.StreamReader, attempt: Attempt) -> None:
    while line := await lines.readline():
        try:
            news = msgspec.json.decode(line, type=News)
        except msgspec.MsgspecError:
            continue  # something else in that process printed a line
        if news.kind == "ready":
            attempt.grace = 0.0
        elif news.kind == "found":
            if news.size is not None:
                attempt.expect_size(news.size)
            if attempt.weight.sha256 is None:
                if _SHA256.fullmatch(news.etag):
                    attempt.expected_sha256 = news.etag
                await in_thread(attempt.partial.write_note, Note(origin=_ORIGIN + news.etag))
        elif news.kind == "other":
            raise WrongContent
        elif news.kind == "failed":
            raise SourceFailed(news.reason)
        elif news.kind == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        elif news.kind == "broken":
            raise Interrupted(news.reason)
        elif news.kind == "done":
            return
    raise Interrupted("its client ended without a word")
