"""What a request for speech is charged and when, over an engine that says given bytes."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest

from fondaco.clock import SystemClock
from fondaco.engines.kinds import EngineKind
from fondaco.errors import (
    FondacoError,
    InferenceFailed,
    InsufficientBalance,
    InvalidRequest,
    ModelNotFound,
    ModelOffline,
    UpstreamFailed,
    UpstreamRefused,
)
from fondaco.models.catalogue import Catalogue
from fondaco.models.registry import Registry
from fondaco.models.seating import Seating
from fondaco.settings import Binding, ModelSettings
from fondaco.speech.service import Recital, SpeechService
from fondaco.speech.wire import SpeechRequest
from fondaco.upstream.seats import Seats
from fondaco.upstream.transport import ConnectFailed, ExchangeBroken, Target
from scripted_chat import TICKET, Exchange, LocalEngines, Purse, Said

pytestmark = pytest.mark.anyio

TEXT = "Good morning. And good night."
KINDS: set[EngineKind] = {"speech"}


class Engine:
    def __init__(self, said: Said | Exception) -> None:
        self.said = said
        self.asked: list[dict[str, Any]] = []
        self.exchanges: list[Exchange] = []

    async def send(
        self,
        target: Target,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: bytes = b"application/json",
    ) -> Exchange:
        assert (method, path) == ("POST", "/audio/speech")
        self.asked.append(json.loads(body))
        if isinstance(self.said, Exception):
            raise self.said
        self.exchanges.append(Exchange(self.said))
        return self.exchanges[-1]

    async def close(self) -> None: ...


class House:
    """The slice with one local model (`tts-kokoro`) and one bound (`far`)."""

    def __init__(self, said: Said | Exception, **far: Any) -> None:
        self.engine = Engine(said)
        self.local = LocalEngines()
        self.purse = Purse()
        bound = Binding(
            base_url="http://127.0.0.1:9/v1", type="tts", input_usd="10", upstream_model="theirs", **far
        )
        settings = ModelSettings(bind={"far": bound})
        registry = Registry(settings, Catalogue(), lambda _: True, False, KINDS)
        seating = Seating(Seats(self.local))
        self.service = SpeechService(registry, seating, self.engine, self.purse, SystemClock())  # pyright: ignore[reportArgumentType]

    async def begin(self, **fields: Any) -> Recital:
        return await self.service.begin(TICKET, SpeechRequest(**{"input": TEXT, **fields}))

    async def heard(self, **fields: Any) -> list[bytes]:
        recital = await self.begin(**fields)
        pieces: list[bytes] = []
        try:
            while piece := await recital.more():
                pieces.append(piece)
        finally:
            await recital.aclose()
        return pieces

    @property
    def ends(self) -> list[tuple[str, int]]:
        """How each charge ended, and for how many characters."""
        return [(how, sum(line.units for line in bill)) for how, bill, _ in self.purse.ends]


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def delta(audio: bytes, characters: int) -> bytes:
    return event(type="speech.audio.delta", audio=base64.b64encode(audio).decode(), characters=characters)


DONE = event(type="speech.audio.done", usage={}, characters=len(TEXT))
SPOKEN = (delta(b"abc", 14), delta(b"def", 29), DONE)


def events(*pieces: bytes, **given: Any) -> Said:
    return Said(pieces, **given)


def sound(*pieces: bytes, **given: Any) -> Said:
    return Said(pieces, content_type="audio/mpeg", **given)


def cuts(pieces: Sequence[bytes], size: int) -> list[bytes]:
    whole = b"".join(pieces)
    return [whole[at : at + size] for at in range(0, len(whole), size)]


async def test_what_was_spoken_is_charged_by_the_character() -> None:
    house = House(events(*SPOKEN))
    assert b"".join(await house.heard()) == b"abcdef"
    assert house.ends == [("settled", len(TEXT))]
    assert house.engine.asked == [
        {
            "input": TEXT,
            "voice": "af_sky",
            "response_format": "mp3",
            "stream_format": "sse",
            "streaming": False,
        }
    ]
    assert [lease.released for lease in house.local.leases] == [True]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_events_may_come_cut_anywhere(size: int) -> None:
    house = House(events(*cuts(SPOKEN, size)))
    assert b"".join(await house.heard()) == b"abcdef"


@pytest.mark.parametrize("said", [events(*SPOKEN), sound(b"abc", b"def")])
async def test_the_last_byte_waits_until_the_books_are_written(said: Said) -> None:
    house = House(said)
    recital = await house.begin(model="far" if said.content_type == "audio/mpeg" else "tts-kokoro")
    got = b""
    while len(got) < 5:
        assert house.ends == []
        got += await recital.more()
    assert got == b"abcde"
    assert await recital.more() == b"f"
    assert house.ends == [("settled", len(TEXT))]
    await recital.aclose()
    assert len(house.ends) == 1


async def test_who_leaves_pays_for_what_was_spoken() -> None:
    house = House(events(delta(b"abc", 14), hangs=True))
    recital = await house.begin()
    assert await recital.more() == b"ab"
    await recital.aclose()
    assert house.ends == [("left", 14)]
    assert house.engine.exchanges[0].closed.is_set()


async def test_who_leaves_before_anything_was_spoken_pays_nothing() -> None:
    house = House(events(hangs=True))
    recital = await house.begin()
    await recital.aclose()
    assert house.ends == [("left", 0)]


async def test_who_leaves_another_server_pays_for_what_it_was_asked() -> None:
    house = House(sound(b"abc", hangs=True))
    recital = await house.begin(model="far")
    assert await recital.more() == b"ab"
    await recital.aclose()
    assert house.ends == [("left", len(TEXT))]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (events(delta(b"abc", 14), fails=ExchangeBroken()), UpstreamFailed),
        (events(delta(b"abc", 14)), UpstreamFailed),
        (events(delta(b"abc", 14), event(type="error", error={})), InferenceFailed),
        (events(delta(b"abc", 14), b"data: {nonsense\n\n"), UpstreamFailed),
        (events(DONE), UpstreamFailed),
    ],
)
async def test_an_engine_that_breaks_costs_nothing(said: Said, error: type[FondacoError]) -> None:
    house = House(said)
    with pytest.raises(error):
        await house.heard()
    assert house.ends == [("void", 0)]
    failed = 0 if error is InferenceFailed else 1
    assert [(lease.failed, lease.released) for lease in house.local.leases] == [(failed, True)]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (ConnectFailed(), ModelOffline),
        (Said([b"{}"], 500, "application/json"), InferenceFailed),
        (Said([b'{"ok":true}'], 200, "application/json"), UpstreamFailed),
        (Said([b'{"error":{"message":"no"}}'], 401, "application/json"), UpstreamFailed),
        (Said([b'{"error":{"message":"no such voice"}}'], 400, "application/json"), UpstreamRefused),
    ],
)
async def test_an_engine_that_does_not_begin_costs_nothing(
    said: Said | Exception, error: type[FondacoError]
) -> None:
    house = House(said)
    with pytest.raises(error):
        await house.begin()
    assert house.ends == [("void", 0)]
    assert all(lease.released for lease in house.local.leases)


async def test_an_engines_refusal_names_our_field() -> None:
    told = {
        "message": "There is no such voice.",
        "type": "invalid_request_error",
        "code": "unknown_voice",
        "param": "voice",
    }
    house = House(Said([json.dumps({"error": told}).encode()], 400, "application/json"))
    with pytest.raises(InvalidRequest) as refused:
        await house.begin()
    assert [(issue.path, issue.message) for issue in refused.value.issues] == [(("voice",), told["message"])]
    assert house.ends == [("void", 0)]


async def test_nothing_speakable_is_said_in_the_contracts_words() -> None:
    told = {"message": "Input must contain speakable text", "code": "nothing_speakable", "param": "input"}
    house = House(Said([json.dumps({"error": told}).encode()], 400, "application/json"))
    with pytest.raises(InvalidRequest) as refused:
        await house.begin()
    assert refused.value.message == "Input must contain speakable text"


async def test_another_server_is_asked_in_plain_openai() -> None:
    house = House(sound(b"abcdef"))
    fields = {
        "voice": "verse",
        "speed": 1.5,
        "instructions": "softly",
        "response_format": "wav",
        "streaming": True,
    }
    assert b"".join(await house.heard(model="far", **fields)) == b"abcdef"
    assert house.engine.asked == [
        {
            "input": TEXT,
            "voice": "verse",
            "response_format": "wav",
            "model": "theirs",
            "speed": 1.5,
            "instructions": "softly",
        }
    ]
    assert house.local.leases == []


@pytest.mark.parametrize(
    ("voices", "asked"), [(("tara", "leo"), "tara"), ((), "alloy"), (("leo", "af_sky"), "af_sky")]
)
async def test_a_voice_that_nobody_named_is_one_that_the_server_has(
    voices: tuple[str, ...], asked: str
) -> None:
    house = House(sound(b"abcdef"), voices=voices)
    await house.heard(model="far")
    assert house.engine.asked[0]["voice"] == asked


async def test_what_it_costs_is_held_where_there_is_a_wall() -> None:
    house = House(events(*SPOKEN))
    house.purse.money = 10**9
    await house.heard()
    assert house.purse.held == [29 * 3500]

    house.purse.money = 29 * 3500 - 1
    with pytest.raises(InsufficientBalance):
        await house.begin()
    assert len(house.engine.asked) == 1


async def test_a_client_that_leaves_while_it_waits_frees_its_seat() -> None:
    house = House(events(*SPOKEN))
    never = asyncio.Event()

    async def silent(*_: object) -> Exchange:
        await never.wait()
        raise AssertionError

    house.engine.send = silent  # pyright: ignore[reportAttributeAccessIssue]
    asking = asyncio.create_task(house.begin())
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert house.ends == [("left", 0)]
    assert house.local.leases[0].released


@pytest.mark.parametrize("name", ["nothing-like-it", "qwen3-4b"])
async def test_a_model_that_does_not_speak_is_not_found(name: str) -> None:
    house = House(events(*SPOKEN))
    with pytest.raises(ModelNotFound):
        await house.begin(model=name)
    assert house.ends == []


@pytest.mark.parametrize("name", ["tts-1", "tts-1-hd", "tts-kokoro", None])
async def test_names_in_use_lead_to_the_local_voice(name: str | None) -> None:
    house = House(events(*SPOKEN))
    recital = await house.begin(model=name)
    assert (recital.model.id, recital.local) == ("tts-kokoro", True)
    await recital.aclose()
