"""A file's sound: measured once when it is opened, then decoded piece by piece, never as a whole.

The demuxer is chosen by what the file is, and only the decoders listed here are ever run: a file cannot lead to
another one, nor to an address, nor wake one of the codecs that nobody needs for speech.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from fondaco.media.audio_kind import AudioKind, audio_kind

RATE = 16_000
"""Samples a second, of one channel, that all models here hear."""

MAX_CHANNELS = 8
MIN_RATE, MAX_RATE = 4_000, 384_000
MAX_CHUNKS = 1000
"""Of a WAV file, before its sound."""

Samples = NDArray[np.float32]

_DEMUXERS: dict[AudioKind, str] = {
    "aac": "aac",
    "flac": "flac",
    "mp3": "mp3",
    "mp4": "mov",
    "ogg": "ogg",
    "wav": "wav",
    "webm": "matroska",
}
_OPTIONS = {
    "codec_whitelist": ",".join(
        (
            *("aac", "alac", "flac", "mp2", "mp2float", "mp3", "mp3float", "opus", "libopus", "vorbis"),
            *(
                "pcm_alaw",
                "pcm_mulaw",
                "pcm_u8",
                "pcm_s16le",
                "pcm_s24le",
                "pcm_s32le",
                "pcm_f32le",
                "pcm_f64le",
            ),
            *("pcm_s16be", "pcm_s24be", "adpcm_ms", "adpcm_ima_wav"),
        )
    ),
    "probesize": "1048576",
}

# These say exactly how long they are, and so whether they are cut short. WAV is looked at by ourselves; MP3, AAC and
# Ogg may end anywhere.
_EXACT = frozenset[AudioKind](("flac", "mp4", "webm"))
_SHORTFALL = 0.9
_SHORTFALL_SECONDS = 0.5


class BadAudio(Exception):
    """The file cannot be transcribed; the text says why and holds nothing of it."""


class NotAudio(BadAudio):
    """It is not of a kind that is read here."""


class Recording:
    """A file whose sound has been found good from its first to its last second."""

    def __init__(self, data: bytes | memoryview, max_seconds: float) -> None:
        """Raises BadAudio, as soon as it is known: most are refused by their head."""
        kind = audio_kind(data)
        if not len(data):
            raise BadAudio("it is empty: its length is zero")
        if kind is None:
            raise NotAudio("it is not an audio file of a known kind")
        self._data = data
        self._kind: AudioKind = kind
        self._max_seconds = max_seconds
        if kind == "wav":
            _check_wav(data)
        self.seconds = self._measured()

    def pieces(self, seconds: float) -> Iterator[tuple[Samples, bool]]:
        """The sound at RATE, in order, in pieces of so many seconds; with the last one comes True."""
        size = int(seconds * RATE)
        piece, filled = np.empty(size, np.float32), 0
        for samples in self._resampled():
            while filled + len(samples) > size:
                fits = size - filled
                piece[filled:] = samples[:fits]
                yield piece, False
                piece, filled, samples = np.empty(size, np.float32), 0, samples[fits:]
            piece[filled : filled + len(samples)] = samples
            filled += len(samples)
        yield piece[:filled].copy(), True

    def _measured(self) -> float:
        seconds = reached = 0.0
        with self._opened() as container:
            promised = (container.duration or 0) / av.time_base
            # What is guessed from a bit rate may be far off.
            if promised > self._max_seconds * (1 if self._kind in _EXACT else 2) + 1:
                raise self._too_long()
            for frame in self._frames(container):
                seconds += frame.samples / frame.sample_rate
                if seconds > self._max_seconds + 1 / RATE:
                    raise self._too_long()
                reached = seconds if frame.time is None else frame.time + frame.samples / frame.sample_rate
        if seconds * RATE < 1:
            raise BadAudio("it holds no sound: its length is zero")
        if self._kind in _EXACT and reached < promised * _SHORTFALL - _SHORTFALL_SECONDS:
            raise BadAudio(f"it is cut short: it promises {promised:.1f} seconds and holds {reached:.1f}")
        return round(seconds, 4)

    def _too_long(self) -> BadAudio:
        return BadAudio(f"it is longer than the {self._max_seconds:g} seconds that are taken")

    def _opened(self) -> InputContainer:
        try:
            return av.open(io.BytesIO(self._data), "r", format=_DEMUXERS[self._kind], options=_OPTIONS)
        except (FFmpegError, ValueError):
            raise BadAudio("it cannot be decoded: it is damaged, or cut short") from None

    def _frames(self, container: InputContainer) -> Iterator[AudioFrame]:
        """Raises BadAudio where there is no sound, or of a form that no speech has, or mostly rubbish."""
        stream = _audio_stream(container)
        good = bad = 0
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                frames = packet.decode()
            except (FFmpegError, ValueError):
                # A file may hold some broken packets and be understood all the same.
                bad += 1
                if bad > good + 16:
                    break
                continue
            for frame in frames:
                if frame.samples:
                    _check_form(frame.sample_rate, frame.layout.nb_channels)
                    good += 1
                    yield frame
        if bad > good:
            raise BadAudio("it cannot be decoded: it is damaged, or not what it says it is")

    def _resampled(self) -> Iterator[Samples]:
        resampler, form = _resampler(), None
        with self._opened() as container:
            for frame in self._frames(container):
                frame.pts = None  # whatever times it gives, its sounds follow one another
                now = (frame.sample_rate, frame.layout.name, frame.format.name)
                if form is not None and now != form:
                    yield from _flat(resampler.resample(None))
                    resampler = _resampler()
                form = now
                yield from _flat(resampler.resample(frame))
        if form is not None:
            yield from _flat(resampler.resample(None))


def _audio_stream(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        what = "pictures, and no sound" if container.streams.video else "no sound"
        raise BadAudio(f"it holds {what}")
    stream = container.streams.audio[0]
    context = stream.codec_context
    # Some say their form in their frames only.
    if context.sample_rate or context.layout.nb_channels:
        _check_form(context.sample_rate or RATE, context.layout.nb_channels or 1)
    context.thread_count = 1
    return stream


def _check_form(rate: int, channels: int) -> None:
    if not 1 <= channels <= MAX_CHANNELS:
        raise BadAudio(f"it has {channels} channels, and at most {MAX_CHANNELS} are taken")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise BadAudio(f"its sampling rate is {rate} Hz, and {MIN_RATE} to {MAX_RATE} are taken")


def _check_wav(data: bytes | memoryview) -> None:
    """A WAV file's own account of its form and length, which its demuxer partly ignores."""
    at, view = 12, memoryview(data)
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(view):
            break
        name, size = bytes(view[at : at + 4]), int.from_bytes(view[at + 4 : at + 8], "little")
        at += 8
        if name == b"fmt " and at + 8 <= len(view):
            _, channels, rate = struct.unpack_from("<HHI", view, at)
            _check_form(rate, channels)
        elif name == b"data":
            # Who writes it while it comes does not know how much it will be, and says as much as can be, or nothing.
            told = 0 < size < 0x7FFF_0000
            there = len(view) - at
            if told and there < size * _SHORTFALL - RATE:
                raise BadAudio(f"it is cut short: it promises {size} bytes of sound and holds {there}")
            return
        at += size + size % 2
    raise BadAudio("it is cut short: it holds no sound")


def _resampler() -> AudioResampler:
    # Without threads of its own, which would stay until Python looks for cycles. PyAV 18, the last for Python 3.11,
    # cannot be told so.
    alone: dict[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 19 else {}
    return AudioResampler(format="flt", layout="mono", rate=RATE, **alone)


def _flat(frames: list[AudioFrame]) -> Iterator[Samples]:
    for frame in frames:
        yield cast("Samples", frame.to_ndarray()[0])
