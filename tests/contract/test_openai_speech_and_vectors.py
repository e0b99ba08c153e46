"""Speech, transcription and embeddings through the official Python client, on real models: only base URL and key."""

from __future__ import annotations

import io
import re
import wave
from collections.abc import Iterator

import pytest
from openai import BadRequestError, OpenAI

from gateways import ADMIN_KEY, CODER, Gateway

# A fresh machine fetches weights within the first test that needs them.
pytestmark = pytest.mark.timeout(900)

SENTENCE = "The fondaco opens at seven in the morning, and every merchant keeps his own key."

CONTAINERS = ("mp3", "opus", "aac", "flac", "wav")


@pytest.fixture(scope="module")
def client(tiny_gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(api_key=ADMIN_KEY, base_url=tiny_gateway.base_url, timeout=600) as client:
        yield client


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower().replace("7", "seven"))


def assert_said(heard: str) -> None:
    """All of SENTENCE but at most two words: `fondaco` is no English one."""
    said = words(SENTENCE)
    missing = [word for word in said if word not in words(heard)]
    assert len(missing) <= 2, heard


def test_what_is_spoken_is_written_down_again(client: OpenAI) -> None:
    speech = client.audio.speech.create(model="tts-kokoro", voice="af_sky", input=SENTENCE)
    assert speech.response.headers["content-type"] == "audio/mpeg"
    assert int(speech.response.headers["content-length"]) == len(speech.content)
    heard = client.audio.transcriptions.with_raw_response.create(
        model="nvidia/parakeet-tdt-0.6b-v3", file=("speech.mp3", speech.content)
    )
    assert heard.headers["x-venice-model-id"] == "whisper-base"
    assert_said(heard.parse().text)


@pytest.mark.long
@pytest.mark.parametrize("form", CONTAINERS)
@pytest.mark.parametrize("streaming", [False, True])
def test_every_container_carries_it(client: OpenAI, form: str, streaming: bool) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="tts-1",
        voice="nova",
        input=SENTENCE,
        response_format=form,  # pyright: ignore[reportArgumentType]
        extra_body={"streaming": streaming},
    ) as answer:
        assert ("content-length" in answer.headers) is not streaming
        audio = b"".join(answer.iter_bytes())
    heard = client.audio.transcriptions.create(model="whisper-1", file=("any-name.bin", audio))
    assert_said(heard.text)


@pytest.mark.long
def test_raw_samples_are_24_khz_16_bit_mono(client: OpenAI) -> None:
    raw = client.audio.speech.create(
        model="tts-1", voice="alloy", input=SENTENCE, response_format="pcm"
    ).content
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(2)
        made.setframerate(24_000)
        made.writeframes(raw)
    assert_said(client.audio.transcriptions.create(model="whisper-1", file=("a.wav", file.getvalue())).text)


@pytest.mark.long
def test_every_form_of_a_transcript_says_the_same(client: OpenAI) -> None:
    audio = client.audio.speech.create(
        model="tts-1", voice="alloy", input=SENTENCE, response_format="wav"
    ).content

    def transcribed(form: str) -> object:
        return client.audio.transcriptions.create(
            model="whisper-1",
            file=("a.wav", audio),
            response_format=form,  # pyright: ignore[reportArgumentType]
            language="en",
            timestamp_granularities=["word", "segment"],
        )

    text, srt, vtt, verbose = map(transcribed, ("text", "srt", "vtt", "verbose_json"))
    assert_said(str(text))
    assert re.match(r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n", str(srt))
    assert str(vtt).startswith("WEBVTT\n\n00:00:0")
    assert_said(str(srt))
    assert_said(str(vtt))
    assert verbose.language == "english"  # pyright: ignore[reportAttributeAccessIssue]
    assert verbose.words[0].end > verbose.words[0].start  # pyright: ignore[reportAttributeAccessIssue]
    assert 3 < verbose.duration < 9  # pyright: ignore[reportAttributeAccessIssue]


def test_text_becomes_vectors_that_tell_what_is_near(client: OpenAI) -> None:
    """By the client's own default (base64) and as numbers."""
    told = client.embeddings.create(
        model="text-embedding-3-small",
        input=["A ship enters the lagoon.", "Boats sail on water.", "Tax law."],
    )
    assert told.model == "all-minilm-l6-v2"
    ship, boats, law = (item.embedding for item in told.data)
    assert [item.index for item in told.data] == [0, 1, 2]
    assert len(ship) == 384
    near, far = _cosine(ship, boats), _cosine(ship, law)
    assert near > far + 0.2
    numbers = client.embeddings.create(
        model="text-embedding-bge-m3", input="A ship enters the lagoon.", encoding_format="float"
    )
    assert _cosine(numbers.data[0].embedding, ship) > 0.999
    assert numbers.usage.prompt_tokens == numbers.usage.total_tokens > 5


@pytest.mark.long
def test_the_missions_retrieval_sample(coder_gateway: Gateway) -> None:
    client = OpenAI(api_key=ADMIN_KEY, base_url=coder_gateway.base_url)
    documents = [
        "The gate is locked at sunset and opened at dawn.",
        "Pepper is weighed on the large scale in the courtyard.",
        "Guests pay their lodging on the first day of the month.",
    ]
    vectors = [
        client.embeddings.create(model="text-embedding-bge-m3", input=text).data[0].embedding
        for text in documents
    ]
    question = "When do I have to pay for my room?"
    asked = client.embeddings.create(model="text-embedding-bge-m3", input=question).data[0].embedding
    context = max(zip(vectors, documents, strict=True), key=lambda pair: _cosine(asked, pair[0]))[1]
    assert context == documents[2]
    response = client.chat.completions.create(
        model="venice-uncensored",
        messages=[
            {"role": "system", "content": f"Answer based on this context:\n{context}"},
            {"role": "user", "content": question},
        ],
        max_tokens=120,
        # So small a model says at times that it depends.
        temperature=0,
    )
    assert response.model == CODER
    assert "first" in (response.choices[0].message.content or "").lower()


def test_what_cannot_be_is_told_with_its_field(client: OpenAI) -> None:
    def refused(call: object) -> str:
        assert callable(call)
        with pytest.raises(BadRequestError) as error:
            call()
        return error.value.response.text

    assert "voice" in refused(lambda: client.audio.speech.create(model="tts-1", voice="nobody", input="Hi"))
    assert "4096" in refused(
        lambda: client.audio.speech.create(model="tts-1", voice="alloy", input="x" * 4097)
    )
    assert "speakable" in refused(
        lambda: client.audio.speech.create(model="tts-1", voice="alloy", input="🎉🎉")
    )
    assert "2048" in refused(lambda: client.embeddings.create(model="bge-m3", input=["a"] * 2049))
    assert "1" in refused(lambda: client.embeddings.create(model="text-embedding-bge-m3", input=["a", ""]))


def _cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return float(dot / (sum(a * a for a in one) * sum(b * b for b in other)) ** 0.5)
