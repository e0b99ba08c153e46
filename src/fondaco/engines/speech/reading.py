"""Reads a text aloud, piece by piece, and shares the machine among those who want something read.

All pieces are spoken by one thread in the order in which they were asked for, and a request asks for its next piece
only when the last is done: so requests take turns, and one that is given up takes up to one piece more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from fondaco.content import Sealed
from fondaco.engines.speech.encoding import Encoder
from fondaco.engines.speech.g2p.languages import Languages
from fondaco.engines.speech.kokoro import FASTEST, SLOWEST, Kokoro
from fondaco.engines.speech.sentences import Piece, pieces
from fondaco.engines.speech.waveform import silence, stretched, trimmed

if TYPE_CHECKING:
    from fondaco.engines.speech.kokoro import Audio


class Spoken(Sealed):
    audio: bytes
    """What of the file is ready."""
    characters: int
    """How much of the text has been spoken."""
    phonemes: int
    """Of this piece."""
    last: bool


class Reading(Sealed):
    """What is asked for."""

    text: str
    voice: str
    language: str
    speed: float
    form: str
    streaming: bool


class Reader:
    def __init__(self, model: Kokoro, languages: Languages) -> None:
        self.languages = languages
        self._model = model
        self._worker = ThreadPoolExecutor(1, "speech")

    async def read(self, reading: Reading) -> AsyncIterator[Spoken]:
        """The file's bytes as they come about; nothing when nothing of the text can be spoken."""
        ready = self._pieces(reading)
        while (spoken := await self._turn(partial(next, ready, None))) is not None:
            yield spoken
            if spoken.last:  # known without waiting for another turn
                return

    async def _turn(self, work: partial[Spoken | None]) -> Spoken | None:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _pieces(self, reading: Reading) -> Iterator[Spoken]:
        coming = pieces(
            reading.text,
            reading.language,
            partial(self.languages.phonemes, language=reading.language),
        )
        if (piece := next(coming, None)) is None:
            return
        encoder = Encoder(reading.form, streaming=reading.streaming)
        while piece is not None:
            ready = encoder.add(self._speak(piece, reading.voice, reading.speed))
            ready += encoder.add(silence(piece.pause / reading.speed))
            following = next(coming, None)
            if following is None:
                ready += encoder.finish()
            yield Spoken(ready, piece.end, len(piece.phonemes), following is None)
            piece = following

    def _speak(self, piece: Piece, voice: str, speed: float) -> Audio:
        """What the model cannot do of `speed` is done to what it said."""
        own = min(max(speed, SLOWEST), FASTEST)
        return stretched(trimmed(self._model.speak(piece.phonemes, voice, own)), speed / own)
