"""What is done to speech between the model and the encoder: silence cut, edges faded, time stretched."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fondaco.engines.speech.kokoro import SAMPLE_RATE

if TYPE_CHECKING:
    from fondaco.engines.speech.kokoro import Audio

FRAME = SAMPLE_RATE // 100
"""Samples of 10 ms, over which loudness is taken."""

QUIET = 0.01
"""Loudness beside the loudest frame below which a frame is silence: 40 dB."""

MARGIN = 4
"""Frames of silence that stay at either end: consonants begin and end softly."""

FADE = SAMPLE_RATE // 100


def trimmed(audio: Audio) -> Audio:
    """`audio` without the silence around it, faded in and out over 10 ms so that it can stand beside anything."""
    numpy: Any = importlib.import_module("numpy")
    frames = audio[: audio.size // FRAME * FRAME].reshape(-1, FRAME)
    loudness = numpy.sqrt((frames * frames).mean(axis=1))
    loud = numpy.flatnonzero(loudness > QUIET * loudness.max(initial=0))
    if not loud.size:
        return audio[:0]
    first, last = max(0, int(loud[0]) - MARGIN), int(loud[-1]) + 1 + MARGIN
    kept = audio[first * FRAME : last * FRAME].copy()
    ramp = numpy.linspace(0, 1, min(FADE, kept.size), dtype=numpy.float32)
    kept[: ramp.size] *= ramp
    kept[kept.size - ramp.size :] *= ramp[::-1]
    return kept


def silence(seconds: float) -> Audio:
    numpy: Any = importlib.import_module("numpy")
    return numpy.zeros(round(seconds * SAMPLE_RATE), numpy.float32)


def stretched(audio: Audio, tempo: float) -> Audio:
    """`audio` at `tempo` times its pace, its pitch kept. `tempo` from 0.5 to 2."""
    if tempo == 1 or not audio.size:
        return audio
    av: Any = importlib.import_module("av")
    numpy: Any = importlib.import_module("numpy")
    graph = av.filter.Graph()
    graph.threads = 1  # its own threads would outlive it until the collector comes
    source = graph.add_abuffer(sample_rate=SAMPLE_RATE, format="flt", layout="mono")
    tempo_filter, sink = graph.add("atempo", f"{tempo:.4f}"), graph.add("abuffersink")
    source.link_to(tempo_filter)
    tempo_filter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(audio.reshape(1, -1), format="flt", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    source.push(frame)
    source.push(None)
    parts = list[Any]()
    while True:
        try:
            parts.append(sink.pull().to_ndarray().reshape(-1))
        except (av.error.EOFError, av.error.BlockingIOError):
            break
    return numpy.concatenate(parts) if parts else audio[:0]
