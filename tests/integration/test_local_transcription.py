"""Transcription on this machine's own model, through a real gateway and OpenAI's own client."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from collections.abc import Iterator

import numpy as np
import openai
import psutil
import pytest

from audio_files import FORMS, SENTENCES, SPOKEN, SPOKEN_SECONDS, encoded
from fondaco.engines.transcription.recording import Recording
from gateways import ADMIN_KEY, TINY, Gateway, running
from whisper_engine import bare, weight

# A fresh machine fetches weights within the first test that needs them.
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

TEXT = bare(" ".join(SENTENCES))
BOUNDED = bool(os.environ.get("FONDACO_TEST_BOUNDED"))
PARAKEET = "nvidia/parakeet-tdt-0.6b-v3"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    for role in ("model", "config.json", "tokenizer.json", "vocabulary.txt"):
        weight(role)
    with running(tmp_path_factory.mktemp("spoken"), "--model", TINY) as one:
        yield one


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key=ADMIN_KEY, max_retries=10, timeout=300) as one:
        yield one


def lines(gateway: Gateway) -> list[dict[str, object]]:
    asked = urllib.request.Request(
        f"{gateway.base_url}/billing/usage?limit=500", headers={"authorization": f"Bearer {ADMIN_KEY}"}
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return json.load(answer)["data"]


@pytest.mark.parametrize(
    "name", [PARAKEET] if BOUNDED else [PARAKEET, "openai/whisper-large-v3", "whisper-1", "whisper-base"]
)
def test_the_missions_names_are_answered_by_the_model_that_is_here(client: openai.OpenAI, name: str) -> None:
    said = client.audio.transcriptions.with_raw_response.create(model=name, file=SPOKEN, language="en")
    assert said.headers["x-venice-model-id"] == "whisper-base"
    assert said.headers["x-venice-model-router"] == "local"
    told = said.parse()
    assert bare(told.text) == TEXT
    assert told.model_extra is not None
    assert told.model_extra["model"] == "whisper-base"
    assert told.model_extra["duration"] == pytest.approx(SPOKEN_SECONDS, abs=0.01)


@pytest.mark.parametrize("ending", ("webm", "aac") if BOUNDED else FORMS)
def test_every_kind_of_file_is_taken(client: openai.OpenAI, ending: str) -> None:
    [(samples, _)] = Recording(SPOKEN.read_bytes(), 60).pieces(60)
    data = encoded(ending, (samples * 32767).astype(np.int16))
    told = client.audio.transcriptions.create(model="whisper-1", file=(f"a.{ending}", data), language="en")
    assert bare(told.text) == TEXT


def test_its_client_understands_every_form_of_answer(client: openai.OpenAI) -> None:
    create = client.audio.transcriptions.create
    assert bare(create(model="whisper-1", file=SPOKEN, response_format="text")) == TEXT
    assert create(model="whisper-1", file=SPOKEN, response_format="srt").startswith("1\n00:00:00,000 --> ")
    assert create(model="whisper-1", file=SPOKEN, response_format="vtt").startswith(
        "WEBVTT\n\n00:00:00.000 --> "
    )
    told = create(
        model="whisper-1",
        file=SPOKEN,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert (told.language, bare(told.text)) == ("english", TEXT)
    assert told.segments is not None
    assert len(told.segments) == 3
    assert bare(" ".join(word.word for word in told.words or ())) == TEXT


def test_silence_is_heard_and_paid_as_silence(client: openai.OpenAI, gateway: Gateway) -> None:
    told = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", encoded("wav", quiet(30))))
    assert told.text == ""
    row = lines(gateway)[0]
    assert (row["sku"], row["units"]) == ("whisper-base-asr-second", 30)


def quiet(seconds: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.zeros(seconds * 16_000, np.int16)


def test_an_engine_that_dies_gives_a_clean_error_and_the_next_call_works(
    client: openai.OpenAI, gateway: Gateway
) -> None:
    client.audio.transcriptions.create(model="whisper-1", file=SPOKEN, language="en")
    paid = len(lines(gateway))
    [(samples, _)] = Recording(SPOKEN.read_bytes(), 60).pieces(60)
    long = encoded("flac", np.tile((samples * 32767).astype(np.int16), 10))
    failed: list[openai.APIStatusError] = []

    def ask() -> None:
        with pytest.raises(openai.APIStatusError) as raised:
            client.with_options(max_retries=0).audio.transcriptions.create(
                model="whisper-1", file=("a.flac", long)
            )
        failed.append(raised.value)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(3)
    [engine] = [
        child
        for child in psutil.Process(gateway.process.pid).children(recursive=True)
        if "fondaco.engines.transcription" in child.cmdline()
    ]
    engine.kill()
    asking.join(30)
    [error] = failed
    assert error.status_code in (502, 503)
    assert error.response.json()["code"]
    assert len(lines(gateway)) == paid
    told = client.audio.transcriptions.create(model="whisper-1", file=SPOKEN, language="en")
    assert bare(told.text) == TEXT
