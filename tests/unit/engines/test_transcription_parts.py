"""Parts of the transcription engine that need no model: speech told from silence, languages, fields, words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from faster_whisper.tokenizer import _LANGUAGE_CODES  # pyright: ignore[reportPrivateUsage]
from hypothesis import given
from hypothesis import strategies as st

from audio_files import SPOKEN
from fondaco.engines.serving import Refusal
from fondaco.engines.transcription.asked import asked_of
from fondaco.engines.transcription.languages import NAMES, code_of, name_of
from fondaco.engines.transcription.parakeet import words_of
from fondaco.engines.transcription.recording import RATE, Recording, Samples
from fondaco.engines.transcription.speech import Joined, Listening, Span, Stretch, stretches
from fondaco.media.multipart import File, Form

# Speech.


def pieces(samples: Samples, seconds: float) -> Iterator[tuple[Samples, bool]]:
    size = int(seconds * RATE)
    for at in range(0, len(samples), size):
        yield samples[at : at + size], at + size >= len(samples)


@pytest.fixture(scope="module")
def spoken() -> Samples:
    [(samples, _)] = Recording(SPOKEN.read_bytes(), 60).pieces(60)
    return samples


def test_each_sentence_is_found_and_the_silence_between_is_not(spoken: Samples) -> None:
    [stretch] = stretches(pieces(spoken, 60), Listening(silence=1.0))
    found = [(span.start / RATE, span.end / RATE) for span in stretch.spans]
    assert len(found) == 3
    for (start, end), (begins, ends) in zip(found, [(0, 3.9), (6.9, 11.2), (14.2, 18)], strict=True):
        assert start == pytest.approx(begins, abs=0.8)
        assert end == pytest.approx(ends, abs=0.8)


@pytest.mark.parametrize("noise", ["silence", "hiss", "hum", "chords", "tune"])
def test_nobody_speaks_where_there_is_no_voice(noise: str) -> None:
    times = np.arange(20 * RATE) / RATE
    random = np.random.default_rng(4)
    notes = np.repeat(random.choice([262, 294, 330, 349, 392, 440], 40), RATE // 2)
    made = {
        "silence": np.zeros(len(times)),
        "hiss": random.normal(0, 0.1, len(times)),
        "hum": 0.3 * np.sin(2 * np.pi * 50 * times),
        "chords": sum(0.2 * np.sin(2 * np.pi * each * times) for each in (220, 277, 330))
        * np.sin(3 * times) ** 2,
        "tune": 0.5 * np.sin(2 * np.pi * np.cumsum(notes) / RATE),
    }[noise]
    assert [stretch.spans for stretch in stretches([(made.astype(np.float32), True)], Listening())] == [[]]


@pytest.mark.parametrize("seconds", [4.0, 6.5, 9.0])
def test_no_word_is_cut_where_pieces_meet(spoken: Samples, seconds: float) -> None:
    """All of the speech is told once, whatever the pieces."""
    listening = Listening(silence=1.0)
    [whole] = stretches(pieces(spoken, 60), listening)
    heard = np.zeros(len(spoken), np.int8)
    reached = 0
    for stretch in stretches(pieces(spoken, seconds), listening):
        assert round(stretch.offset * RATE) == reached
        reached += len(stretch.samples)
        for span in stretch.spans:
            at = round(stretch.offset * RATE)
            np.testing.assert_array_equal(
                stretch.samples[span.start : span.end], spoken[at + span.start : at + span.end]
            )
            heard[at + span.start : at + span.end] += 1
    assert reached == len(spoken)
    assert heard.max() == 1
    for span in whole.spans:
        middle = heard[span.start + RATE // 2 : span.end - RATE // 2]
        assert middle.mean() > 0.97


@pytest.mark.long
def test_endless_speech_is_cut_and_memory_with_it(spoken: Samples) -> None:
    [stretch] = stretches(pieces(spoken, 60), Listening())
    endless = np.tile(Joined(stretch).samples, 12)
    told = list(stretches(pieces(endless, 30), Listening(longest=10.0)))
    assert max(len(each.samples) for each in told) <= 42 * RATE
    assert sum(span.end - span.start for each in told for span in each.spans) > 0.9 * len(endless)


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 900)), min_size=1, max_size=6), st.floats(0, 50)
)
def test_times_lead_back_to_where_it_was_said(gaps: list[tuple[int, int]], offset: float) -> None:
    spans: list[Span] = []
    at = 0
    for silence, length in gaps:
        spans.append(Span(at + silence, at + silence + length))
        at += silence + length
    samples = np.arange(at, dtype=np.float32)
    joined = Joined(Stretch(samples, spans, offset))
    for sample in range(0, len(joined.samples), 37):
        seconds = sample / RATE
        start, end = joined.times(seconds, seconds)
        assert start == end
        assert start == pytest.approx(offset + float(joined.samples[sample]) / RATE, abs=0.0051)


def test_a_segment_that_reaches_into_the_next_speech_is_cut_back_to_its_own() -> None:
    samples = np.zeros(20 * RATE, np.float32)
    joined = Joined(Stretch(samples, [Span(0, 4 * RATE), Span(10 * RATE, 14 * RATE)], 100.0))
    assert joined.times(1.0, 4.3, 0.4) == (101.0, 104.0)
    assert joined.times(3.8, 7.0, 0.4) == (110.0, 113.0)
    assert joined.times(1.0, 6.0, 0.4) == (101.0, 112.0)


# Languages.


def test_every_language_of_whispers_is_known() -> None:
    assert set(NAMES) == set(_LANGUAGE_CODES)


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        (" English ", "en"),
        ("en-US", "en"),
        ("zh_Hans", "zh"),
        ("mandarin", "zh"),
        ("Haitian Creole", "ht"),
        ("nb-NO", "no"),
        ("jv", "jw"),
        ("klingon", None),
        ("xx", None),
        ("", None),
        ("e", None),
    ],
)
def test_a_language_is_known_by_code_locale_or_name(told: str, code: str | None) -> None:
    assert code_of(told) == code


def test_a_language_is_told_by_its_english_name() -> None:
    assert (name_of("de"), name_of("ht"), name_of("")) == ("german", "haitian creole", "")


# Fields.


def form(**fields: str | list[str]) -> Form:
    texts = {name: each if isinstance(each, list) else [each] for name, each in fields.items()}
    return Form(fields=texts, files={"file": [File(memoryview(b"x"))]})


def test_fields_not_sent_have_openais_defaults() -> None:
    asked = asked_of(form(), frozenset())
    assert (asked.response_format, asked.stream, asked.segments) == ("json", False, True)
    assert (asked.wish.language, asked.wish.prompt, asked.wish.temperature, asked.wish.words) == (
        None,
        None,
        0,
        False,
    )


def test_fields_sent_are_obeyed() -> None:
    sent = form(
        **{"timestamp_granularities[]": ["word"]},
        stream="True",
        language="German",
        prompt="Ada",
        temperature="0.4",
        response_format="vtt",
    )
    asked = asked_of(sent, frozenset({"de", "en"}))
    assert (asked.response_format, asked.stream, asked.segments) == ("vtt", True, False)
    assert (asked.wish.language, asked.wish.prompt, asked.wish.temperature, asked.wish.words) == (
        "de",
        "Ada",
        0.4,
        True,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("language", "klingon"),
        ("language", "fr"),
        ("temperature", "warm"),
        ("temperature", "1.5"),
        ("temperature", "nan"),
        ("temperature", "-1"),
        ("response_format", "yaml"),
        ("timestamp_granularities", "letter"),
        ("stream", "perhaps"),
    ],
)
def test_a_bad_field_is_refused_by_its_name(field: str, value: str) -> None:
    with pytest.raises(Refusal) as refused:
        asked_of(form(**{field: value}), frozenset({"en", "de"}))
    assert (refused.value.status, refused.value.param) == (400, field)
    assert refused.value.message.startswith(field)


def test_no_file_is_refused() -> None:
    with pytest.raises(Refusal, match="missing_file") as refused:
        asked_of(Form(fields={"file": ["not one"]}), frozenset())
    assert (refused.value.message, refused.value.param) == ("No audio file provided", "file")


# Parakeet's words.


def test_tokens_become_words_with_times() -> None:
    tokens = [" The", " in", "vo", "ice", ".", " Yes"]
    told = words_of(tokens, [0.08, 0.4, 0.48, 0.56, 0.64, 2.0], start=10.0, end=12.1)
    assert [(word.word, word.start, word.end) for word in told] == [
        ("The", 10.08, 10.4),
        ("invoice.", 10.4, 10.96),
        ("Yes", 12.0, 12.1),
    ]


def test_no_tokens_are_no_words() -> None:
    assert words_of([], [], 0, 1) == []
