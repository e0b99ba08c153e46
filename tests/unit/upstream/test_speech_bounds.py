"""Audio from an engine that never ends."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fondaco.errors import UpstreamFailed
from fondaco.upstream import speech
from fondaco.upstream.speech import SpeechReply

pytestmark = pytest.mark.anyio


class Endless:
    status = 200

    def __init__(self) -> None:
        self.headers = {b"content-type": b"audio/mpeg"}

    async def read(self, limit: int) -> bytes:
        raise NotImplementedError

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            yield bytes(1000)

    async def aclose(self) -> None:
        pass


async def test_audio_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "MAX_AUDIO", 10_000)
    reply = SpeechReply(Endless())
    for _ in range(10):
        assert await reply.more() is not None
    with pytest.raises(UpstreamFailed):
        await reply.more()
