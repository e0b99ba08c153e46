"""Audio files for tests: real ones of every kind, and those that somebody means harm with."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

Pcm = NDArray[np.int16]

SPOKEN = Path(__file__).parent / "spoken" / "three_sentences.ogg"
"""Made with Kokoro, whose speech is free of rights: three sentences with three seconds of silence after each."""
SPOKEN_SECONDS = 18.328
SENTENCES = (
    "The invoice of $350 is due in 30 days.",
    "Turn left after the bridge and you will find the museum on your right.",
    "My grandmother Helen baked 24 cookies for the whole class.",
)

FORMS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "wav": ("wav", "wav", "pcm_s16le"),
        "flac": ("flac", "flac", "flac"),
        "mp3": ("mp3", "mp3", "libmp3lame"),
        "m4a": ("mp4", "ipod", "aac"),
        "mp4": ("mp4", "mp4", "aac"),
        "aac": ("aac", "adts", "aac"),
        "opus": ("ogg", "ogg", "libopus"),
        "oga": ("ogg", "oga", "flac"),
        "webm": ("webm", "webm", "libopus"),
    }
)
"""By the ending of its name: what kind of file it is, and libav's names of its container and codec."""


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0, volume: float = 0.3) -> Pcm:
    times = np.arange(round(seconds * rate)) / rate
    return (np.sin(2 * np.pi * hertz * times) * volume * 32767).astype(np.int16)


def encoded(ending: str, pcm: Pcm, rate: int = 16_000) -> bytes:
    """One channel as a file of that form."""
    _, container, codec = FORMS[ending]
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=48_000 if codec == "libopus" else rate)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        for at in range(0, len(pcm), 4096):
            frame = av.AudioFrame.from_ndarray(pcm[None, at : at + 4096], format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, at
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


def wav(pcm: bytes, *, rate: int = 16_000, channels: int = 1, promised: int | None = None) -> bytes:
    """A WAV file whose head may promise other than what follows."""
    size = len(pcm) if promised is None else promised
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2 % 2**32, channels * 2 % 2**16, 16)
    head = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", (len(head) + size) % 2**32) + head + pcm


def silent_film(seconds: int = 2) -> bytes:
    """An MP4 file with pictures and no sound."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64  # pyright: ignore[reportAttributeAccessIssue]
        for _ in range(seconds * 10):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            file.mux(stream.encode(picture))  # pyright: ignore[reportArgumentType, reportCallIssue]
        file.mux(stream.encode(None))  # pyright: ignore[reportArgumentType, reportCallIssue]
    return out.getvalue()


def promising_flac(seconds: int) -> bytes:
    """A second of sound whose head promises so many."""
    file = bytearray(encoded("flac", tone(1)))
    # 36 bits of STREAMINFO, after the magic, a block's head and 13.5 bytes.
    samples = seconds * 16_000
    file[21] = file[21] & 0xF0 | samples >> 32
    file[22:26] = (samples & 0xFFFF_FFFF).to_bytes(4, "big")
    return bytes(file)


def promising_m4a(seconds: int) -> bytes:
    """The same, as M4A, wherever that is written down there."""
    file = bytearray(encoded("m4a", tone(1)))
    ticks = (seconds * 16_000).to_bytes(4, "big")
    for box, place in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24), (b"elst", 12)):
        at = file.index(box) + place
        file[at : at + 4] = ticks
    # How many packets last how long.
    at = file.index(b"stts") + 12
    packets = int.from_bytes(file[at : at + 4], "big")
    file[at + 4 : at + 8] = (seconds * 16_000 // packets).to_bytes(4, "big")
    return bytes(file)


def crowded_opus(channels: int) -> bytes:
    file = bytearray(encoded("opus", tone(1)))
    file[file.index(b"OpusHead") + 9] = channels
    return bytes(file)
