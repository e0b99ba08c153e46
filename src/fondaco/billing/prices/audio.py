"""Speech by the character, transcription by the millisecond of audio."""

from __future__ import annotations

from fondaco.billing.line import Bill, Line
from fondaco.billing.prices.facts import pricing_of
from fondaco.models.model import Model, SpeechPricing, TranscriptionPricing

MILLION = 1_000_000
SECOND = 1000
"""In milliseconds."""

FEWEST_BYTES_A_SECOND = 500
"""No codec that is taken needs fewer for speech. A file that lasts longer for its size is charged as if it did not, so
that a file's size alone says what it can cost at most."""


LIKELY_BYTES_A_SECOND = 16_000
"""Of a file whose length nobody told: what 128 kbit/s make in a second."""


def speech_bill(model: Model, characters: int) -> Bill:
    """What reading so many characters aloud costs."""
    price = pricing_of(model, SpeechPricing).input
    return (Line(f"{model.id}-tts-mcharacter", characters, price, MILLION),) if characters > 0 else ()


def transcription_bill(model: Model, milliseconds: int, size: int | None = None) -> Bill:
    """What writing down so much audio costs, which came in a file of `size` bytes where that is known."""
    price = pricing_of(model, TranscriptionPricing).per_audio_second
    if size is not None:
        milliseconds = min(milliseconds, longest(size))
    return (Line(f"{model.id}-asr-second", milliseconds, price, SECOND),) if milliseconds > 0 else ()


def likely(size: int) -> int:
    """About how many milliseconds a file of so many bytes lasts."""
    return size * SECOND // LIKELY_BYTES_A_SECOND


def longest(size: int) -> int:
    """The most milliseconds that a file of so many bytes is charged for."""
    return -(-size * SECOND // FEWEST_BYTES_A_SECOND)
