"""`fondaco engine`: the real engines, each alone, asked with OpenAI's client."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from openai import OpenAI

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

SAID = "The fondaco has seven rooms and one door."


@contextmanager
def alone(kind: str) -> Iterator[OpenAI]:
    """A client of such an engine; its weights are fetched if they are not here."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fondaco", "engine", kind], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        found = next(
            (
                found
                for line in process.stdout
                if (found := re.search(r"listens on (\S+) and asks for no", line))
            ),
            None,
        )
        assert found, "it ended before it listened"
        with OpenAI(base_url=found[1], api_key="none", max_retries=0) as client:
            yield client
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_what_one_engine_says_the_other_hears() -> None:
    with alone("speech") as client:
        spoken = client.audio.speech.create(
            model="tts-kokoro", voice="af_heart", input=SAID, response_format="mp3"
        ).read()
    with alone("transcription") as client:
        heard = client.audio.transcriptions.create(model="whisper-base", file=("said.mp3", spoken))
    assert _words(heard.text) == _words(SAID.replace("seven", "7")) or _words(heard.text) == _words(SAID)


def test_like_texts_have_like_vectors() -> None:
    texts = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose again."]
    with alone("embeddings") as client:
        rows = client.embeddings.create(model="all-minilm-l6-v2", input=texts).data
    cat, kitten, rates = (row.embedding for row in rows)
    assert len(cat) == 384
    assert _cosine(cat, kitten) > 0.5 > _cosine(cat, rates) + 0.2


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
