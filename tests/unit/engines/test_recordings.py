"""Files decoded within bounds: the good ones whole, all others refused at once."""

from __future__ import annotations

import gc
import time
import tracemalloc
import zipfile
from io import BytesIO

import numpy as np
import pytest

from audio_files import (
    FORMS,
    SPOKEN,
    SPOKEN_SECONDS,
    crowded_opus,
    encoded,
    promising_flac,
    promising_m4a,
    silent_film,
    tone,
    wav,
)
from fondaco.engines.transcription.recording import RATE, BadAudio, NotAudio, Recording

LIMIT = 7200.0
SECOND = tone(1).tobytes()
HOURS = 10 * 3600


def zipped() -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("speech.mp3", bytes(9999))
    return out.getvalue()


def sound(data: bytes, piece: float = 60.0) -> tuple[Recording, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    recording = Recording(data, LIMIT)
    pieces = list(recording.pieces(piece))
    assert [last for _, last in pieces] == [False] * (len(pieces) - 1) + [True]
    return recording, np.concatenate([samples for samples, _ in pieces])


@pytest.mark.parametrize("ending", FORMS)
def test_every_kind_of_file_is_decoded_whole(ending: str) -> None:
    recording, samples = sound(encoded(ending, tone(5)))
    assert recording.seconds == pytest.approx(5, abs=0.15)
    assert len(samples) / RATE == pytest.approx(recording.seconds, abs=0.01)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * RATE / len(samples) == pytest.approx(440, abs=2)
    assert np.abs(samples).max() == pytest.approx(0.3, abs=0.08)


def test_several_channels_at_another_rate_become_one_at_ours() -> None:
    left, right = tone(3, 48_000, 300), tone(3, 48_000, 900)
    recording, samples = sound(wav(np.stack([left, right], 1).tobytes(), rate=48_000, channels=2))
    assert (recording.seconds, len(samples)) == (pytest.approx(3), pytest.approx(3 * RATE, abs=50))
    spectrum = np.abs(np.fft.rfft(samples))
    loud = {round(float(at) * RATE / len(samples) / 10) * 10 for at in np.argsort(spectrum)[-2:]}
    assert loud == {300, 900}


@pytest.mark.parametrize("size", [0.3, 1.0, 4.9999, 60.0])
def test_pieces_joined_are_the_whole(size: float) -> None:
    data = SPOKEN.read_bytes()
    recording, whole = sound(data)
    _, pieces = sound(data, size)
    assert recording.seconds == pytest.approx(SPOKEN_SECONDS, abs=0.01)
    np.testing.assert_array_equal(pieces, whole)


@pytest.mark.parametrize("promised", [0, 0xFFFF_FFFF, 0x7FFF_FFFF, len(SECOND) + 2])
def test_a_wav_file_written_as_it_came_is_read_to_its_end(promised: int) -> None:
    assert Recording(wav(SECOND, promised=promised), LIMIT).seconds == pytest.approx(1)


def test_a_broken_packet_in_the_middle_spoils_only_itself() -> None:
    data = bytearray(encoded("mp3", tone(5)))
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    assert Recording(bytes(data), LIMIT).seconds == pytest.approx(5, abs=0.3)


HOSTILE = {
    "a WAV head of 10 hours": (wav(SECOND, promised=HOURS * 32_000), "cut short"),
    "a FLAC head of 10 hours": (promising_flac(HOURS), "longer than the 7200 seconds"),
    "an M4A head of 10 hours": (promising_m4a(HOURS), "longer than the 7200 seconds"),
    "192 channels in WAV": (wav(SECOND * 192, channels=192), "192 channels"),
    "192 channels in Opus": (crowded_opus(192), "decoded"),
    "65535 channels": (wav(bytes(20_000_000), channels=65_535), "65535 channels"),
    "a rate of 2 GHz": (wav(SECOND, rate=2_000_000_000), "2000000000 Hz"),
    "a rate of nothing": (wav(SECOND, rate=0), "0 Hz"),
    "pictures alone": (silent_film(), "no sound"),
    "no samples": (wav(b""), "length is zero"),
    "a head and nothing": (encoded("flac", tone(1))[:120], "cut short"),
    "half a FLAC": (encoded("flac", tone(9))[:20_000], "cut short"),
    "half a WAV": (wav(SECOND * 9)[:100_000], "cut short"),
    "half an M4A": (encoded("m4a", tone(9))[:20_000], "cut short"),
    "half a WEBM": (encoded("webm", tone(9))[:20_000], "cut short"),
    "a WAV head cut off": (wav(SECOND)[:30], "cut short"),
    "a WAV file of empty chunks": (wav(SECOND)[:12] + b"junk\0\0\0\0" * 3_000_000, "cut short"),
    "noise behind an MP3 head": (
        encoded("mp3", tone(1))[:200] + np.random.default_rng(1).bytes(9**7),
        "damaged",
    ),
    "noise behind an Ogg head": (
        encoded("opus", tone(1))[:60] + np.random.default_rng(1).bytes(9**7),
        "damaged",
    ),
}
FOREIGN = {
    "text": b"this is no sound at all\n" * 999,
    "a zip": zipped(),
    "a playlist of files": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "a list to be joined": b"ffconcat version 1.0\nfile /etc/passwd\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_before_it_costs_anything(name: str) -> None:
    data, why = HOSTILE[name]
    Recording(wav(SECOND), LIMIT)  # what is loaded once is not counted
    began = time.process_time()
    with pytest.raises(BadAudio, match=why) as refused:
        Recording(data, LIMIT)
    assert time.process_time() - began < 0.1
    assert not isinstance(refused.value, NotAudio)


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_audio_is_never_opened(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("av.open", None)
    with pytest.raises(NotAudio):
        Recording(FOREIGN[name], LIMIT)


def test_an_empty_file_has_length_zero() -> None:
    with pytest.raises(BadAudio, match="zero"):
        Recording(b"", LIMIT)


def test_a_file_that_is_truly_too_long_is_refused_by_its_head() -> None:
    data = encoded("flac", np.zeros(16_000 * 61, np.int16))
    with pytest.raises(BadAudio, match="longer than the 60 seconds"):
        Recording(data, 60)
    assert Recording(data, 61).seconds == pytest.approx(61)


def test_one_that_does_not_say_so_is_refused_when_the_limit_is_reached() -> None:
    pcm = np.zeros(16_000 * 200, np.int16)
    with pytest.raises(BadAudio, match="longer than the 60 seconds"):
        Recording(encoded("aac", pcm), 60)


@pytest.mark.long
def test_only_a_piece_of_a_long_recording_is_in_memory() -> None:
    data = encoded("flac", np.tile(tone(10), 40))
    gc.collect()
    tracemalloc.start()
    try:
        recording = Recording(data, LIMIT)
        assert recording.seconds == pytest.approx(400)
        for samples, _ in recording.pieces(10):
            assert len(samples) <= 10 * RATE
            del samples
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6_000_000 < 400 * RATE * 4
