"""Waveforms into the files that the contract names, by FFmpeg's encoders and in memory."""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from fondaco.engines.speech.kokoro import SAMPLE_RATE

if TYPE_CHECKING:
    from fondaco.engines.speech.kokoro import Audio


class Format(NamedTuple):
    container: str
    codec: str
    media_type: str
    bit_rate: int | None = None
    options: Mapping[str, str] = {}  # of the container


FORMATS: Mapping[str, Format] = {
    "mp3": Format("mp3", "libmp3lame", "audio/mpeg", 96_000),
    "opus": Format("ogg", "libopus", "audio/opus", 48_000, {"page_duration": "200000"}),
    "aac": Format("adts", "aac", "audio/aac", 96_000),
    "flac": Format("flac", "flac", "audio/flac"),
    "wav": Format("wav", "pcm_s16le", "audio/wav", options={"fflags": "+bitexact"}),
    "pcm": Format("s16le", "pcm_s16le", "audio/pcm"),
}
"""By the name of `response_format`. All are mono at SAMPLE_RATE; `pcm` is 16 bits, little-endian, without a header."""


class Encoder:
    """One file in the making."""

    def __init__(self, name: str, *, streaming: bool) -> None:
        """When streaming, bytes are given as they come and never gone back to: headers say no length."""
        self._av: Any = importlib.import_module("av")
        self._numpy: Any = importlib.import_module("numpy")
        form = FORMATS[name]
        self._sink: _Stream | io.BytesIO = _Stream() if streaming else io.BytesIO()
        options = {**form.options, "flush_packets": "1"} if streaming else dict(form.options)
        if name == "mp3" and streaming:
            options["write_xing"] = "0"
        self._container = self._av.open(self._sink, "w", format=form.container, container_options=options)
        self._stream = self._container.add_stream(form.codec, rate=SAMPLE_RATE, layout="mono")
        if form.bit_rate is not None:
            self._stream.bit_rate = form.bit_rate
        self._samples = 0

    def add(self, audio: Audio) -> bytes:
        """What of the file is ready with `audio` added; nothing unless streaming."""
        if audio.size:
            samples = (self._numpy.clip(audio, -1, 1) * 32767).astype(self._numpy.int16)
            frame = self._av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            frame.pts = self._samples
            self._samples += samples.size
            self._container.mux(self._stream.encode(frame))
        return self._ready()

    def finish(self) -> bytes:
        """The rest of the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._ready(closed=True)

    def _ready(self, *, closed: bool = False) -> bytes:
        if isinstance(self._sink, _Stream):
            return self._sink.taken()
        return self._sink.getvalue() if closed else b""


class _Stream:
    """Where FFmpeg writes, as it can to what has no `seek`."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def taken(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken
