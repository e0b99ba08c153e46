"""Recordings through a model: one thread hears, and recordings that wait take turns at it, segment by segment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from msgspec import UNSET, structs

from fondaco.engines.transcription.model import Model
from fondaco.engines.transcription.recording import Recording
from fondaco.engines.transcription.speech import STRETCH_SECONDS, stretches
from fondaco.engines.transcription.wire import Segment, Wish, Word


class Transcription:
    """One recording's, on its way. Take its segments with `more`; who stops asking costs nothing more."""

    def __init__(self, recording: Recording, model: Model, wish: Wish, thread: ThreadPoolExecutor) -> None:
        self.recording = recording
        self.language = wish.language or ""
        """The code of the language spoken; known once there is a segment, empty where nobody knows."""
        self._model = model
        self._wish = wish
        self._thread = thread
        self._steps = self._heard()

    async def more(self) -> Segment | None:
        """What was said next; None when all is said. Cancelled, it lets a segment that is being heard be the last."""
        loop = asyncio.get_running_loop()
        while True:
            step = await loop.run_in_executor(self._thread, next, self._steps, None)
            if step is None or isinstance(step, Segment):
                return step

    def _heard(self) -> Iterator[Segment | bool]:
        """Segments; False where a stretch is over, so that others have their turn in a long silence too."""
        seconds, count = self.recording.seconds, 0
        for stretch in stretches(self.recording.pieces(STRETCH_SECONDS), self._model.listening):
            if stretch.spans:
                wish = structs.replace(self._wish, language=self.language or None)
                spoken, segments = self._model.hear(stretch, wish)
                self.language = self.language or spoken
                for segment in segments:
                    yield _within(segment, seconds, count)
                    count += 1
            yield False


class Transcriber:
    def __init__(self, model: Model, max_seconds: float) -> None:
        self._model = model
        self._max_seconds = max_seconds
        self._thread = ThreadPoolExecutor(1, "transcription")

    async def begin(self, file: bytes | memoryview, wish: Wish) -> Transcription:
        """Raises BadAudio."""
        # Not by the thread that hears: what is refused need not wait.
        recording = await asyncio.to_thread(Recording, file, self._max_seconds)
        return Transcription(recording, self._model, wish, self._thread)


def _within(segment: Segment, seconds: float, count: int) -> Segment:
    """Models hear in windows of a fixed length and may put an end after the file's own."""
    last = round(seconds, 2)
    words = segment.words
    if words is not UNSET:
        words = [Word(word.word, min(word.start, last), min(word.end, last)) for word in words]
    return structs.replace(
        segment, id=count, start=min(segment.start, last), end=min(segment.end, last), words=words
    )
