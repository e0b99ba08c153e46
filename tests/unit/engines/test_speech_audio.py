"""What becomes of speech after the model: silence cut, time stretched, files made."""

from __future__ import annotations

import wave
from io import BytesIO

import numpy as np
import pytest

from fondaco.engines.speech.encoding import FORMATS, Encoder
from fondaco.engines.speech.kokoro import SAMPLE_RATE
from fondaco.engines.speech.waveform import silence, stretched, trimmed
from fondaco.speech.wire import MEDIA_TYPES
from speech_engine import Waveform, decoded, dominant, tone

MAGIC = {
    "mp3": (b"ID3", b"\xff\xf3"),
    "opus": (b"OggS",),
    "aac": (b"\xff\xf1",),
    "flac": (b"fLaC",),
    "wav": (b"RIFF",),
}
PIECES = [tone(440, 0.7), tone(440, 0.5), tone(440, 0.8)]


def encoded(form: str, *, streaming: bool) -> list[bytes]:
    encoder = Encoder(form, streaming=streaming)
    return [*(encoder.add(piece) for piece in PIECES), encoder.finish()]


@pytest.mark.parametrize("tempo", [0.5, 0.75, 1.5, 2.0])
def test_stretching_keeps_the_pitch_and_changes_the_length(tempo: float) -> None:
    given = tone(220, 2)
    made = stretched(given, tempo)
    assert made.size == pytest.approx(given.size / tempo, rel=0.02)
    assert dominant(made) == pytest.approx(220, rel=0.01)


def test_silence_around_speech_is_cut_and_its_edges_fade() -> None:
    speech = tone(300, 1)
    made = trimmed(np.concatenate([silence(0.6), speech, silence(1.2)]))
    assert speech.size <= made.size <= speech.size + SAMPLE_RATE // 10
    assert made[0] == made[-1] == 0
    assert trimmed(speech)[0] == trimmed(speech)[-1] == 0


def test_faint_noise_before_speech_is_silence_too() -> None:
    noise = np.random.default_rng(1).normal(0, 1e-4, SAMPLE_RATE).astype(np.float32)
    assert trimmed(np.concatenate([noise, tone(300, 1)])).size <= 1.1 * SAMPLE_RATE


def test_pieces_join_without_a_click() -> None:
    """No step between neighbouring samples is larger than within the speech itself."""
    pieces = [trimmed(np.concatenate([silence(0.2), tone(200, 0.5), silence(0.3)])) for _ in range(3)]
    joined = np.concatenate([part for piece in pieces for part in (piece, silence(0.1))])
    assert np.abs(np.diff(joined)).max() <= np.abs(np.diff(tone(200, 0.5))).max() * 1.05


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("form", list(FORMATS))
def test_a_file_is_what_its_format_says_and_sounds_as_it_should(form: str, streaming: bool) -> None:
    file = b"".join(encoded(form, streaming=streaming))
    assert file.startswith(MAGIC.get(form, (b"",)))
    sound = decoded(file, form)
    assert sound.size == pytest.approx(2 * SAMPLE_RATE, rel=0.05)
    assert dominant(sound) == pytest.approx(440, rel=0.01)
    assert loudness(sound) == pytest.approx(loudness(np.concatenate(PIECES)), rel=0.1)


@pytest.mark.parametrize("form", list(FORMATS))
def test_a_streamed_file_comes_while_it_is_made(form: str) -> None:
    *while_made, _ = encoded(form, streaming=True)
    assert all(while_made)
    *while_made, last = encoded(form, streaming=False)
    assert not any(while_made)
    assert last


def test_whole_files_say_how_long_they_are() -> None:
    with wave.open(BytesIO(b"".join(encoded("wav", streaming=False)))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, SAMPLE_RATE)
        assert file.getnframes() == 2 * SAMPLE_RATE
    flac = b"".join(encoded("flac", streaming=False))
    samples = int.from_bytes(flac[21:26], "big") & (1 << 36) - 1
    assert samples == 2 * SAMPLE_RATE


def test_raw_samples_are_the_waveform_in_sixteen_bits() -> None:
    raw = b"".join(encoded("pcm", streaming=True))
    assert np.abs(decoded(raw, "pcm") - np.concatenate(PIECES)).max() < 1e-3


def test_what_is_too_loud_is_clipped_and_not_wrapped() -> None:
    encoder = Encoder("pcm", streaming=False)
    encoder.add(4 * tone(100, 0.1))
    sound = decoded(encoder.finish(), "pcm")
    assert sound.max() == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(sound)).max() < 0.2


def test_the_gateway_names_the_formats_as_the_engine_does() -> None:
    assert {form: kind.encode() for form, (_, _, kind, *_) in FORMATS.items()} == MEDIA_TYPES


def loudness(sound: Waveform) -> float:
    return float(np.sqrt((sound * sound).mean()))
