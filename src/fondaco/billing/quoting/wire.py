"""Bodies of requests as far as their price needs them, and the wire form of a quote.

What else a body has is left to the endpoint itself: a quote that can be given is no promise that it will be taken.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from msgspec import Meta, Raw, field

from fondaco.billing.line import Line
from fondaco.billing.quoting.quote import Quote
from fondaco.content import Sealed
from fondaco.money import NANO, to_json

Number = Annotated[Raw, Meta(extra_json_schema={"type": "number", "minimum": 0})]

_MOST_BYTES = 2**40


class QuoteRequest(Sealed, kw_only=True, forbid_unknown_fields=True):
    endpoint: Annotated[
        str,
        Meta(
            description="Path of the endpoint that would be asked, such as `/chat/completions`.",
            examples=["/chat/completions"],
        ),
    ]
    body: Annotated[
        Raw,
        Meta(
            description='What it would be asked. An audio file is `{"seconds": 12.5}` or, less exactly, '
            '`{"bytes": 200000}`; of other files nothing need be said.',
            extra_json_schema={"type": "object"},
        ),
    ]


class QuoteLine(Sealed, kw_only=True, frozen=True):  # pyright: ignore[reportGeneralTypeIssues]
    """`price` is in dollars for one of the units; `amount` is rounded half-even to a nano-dollar."""

    sku: str
    units: Number
    price: Number
    amount: Number


class QuoteAnswer(Sealed, kw_only=True, frozen=True):  # pyright: ignore[reportGeneralTypeIssues]
    """In dollars. `quote` is what it will most likely cost, by these lines; `ceiling` the most that it can cost."""

    quote: Number
    ceiling: Number
    lines: list[QuoteLine]


def answer(quote: Quote) -> QuoteAnswer:
    return QuoteAnswer(
        quote=Raw(to_json(quote.amount)),
        ceiling=Raw(to_json(quote.ceiling)),
        lines=[_line(line) for line in quote.lines],
    )


def _line(line: Line) -> QuoteLine:
    # Units as the vendor's ledger has them: of a million tokens, of a second.
    return QuoteLine(
        sku=line.sku,
        units=Raw(to_json(line.units * NANO // line.per)),
        price=Raw(to_json(line.price)),
        amount=Raw(to_json(line.amount)),
    )


class EmbeddingAsked(Sealed, kw_only=True):
    """`input` is a text, several, or tokens in place of either."""

    model: str
    input: str | Annotated[list[str | int | list[int]], Meta(min_length=1, max_length=8192)]


class ImageAsked(Sealed, kw_only=True):
    model: str
    variants: Annotated[int, Meta(ge=1, le=4)] | None = None
    resolution: str | None = None
    enhance_prompt: bool | None = None
    enable_web_search: bool | None = None


class OpenAIImageAsked(Sealed, kw_only=True):
    model: str | None = None
    n: Annotated[int, Meta(ge=1, le=1)] | None = None


class EditAsked(Sealed, kw_only=True):
    model: str | None = None
    model_id: str | None = field(default=None, name="modelId")
    enhance_prompt: bool | None = None


class UpscaleAsked(Sealed, kw_only=True):
    model: str | None = None
    scale: Decimal | None = None


class CutoutAsked(Sealed, kw_only=True):
    model: str | None = None


class SpeechAsked(Sealed, kw_only=True):
    model: str | None = None
    input: Annotated[str, Meta(min_length=1, max_length=4096)]


class AudioFile(Sealed, kw_only=True):
    """How long a file is; else how large."""

    seconds: Decimal | None = None
    bytes: Annotated[int, Meta(ge=1, le=_MOST_BYTES)] | None = None


class TranscriptionAsked(Sealed, kw_only=True):
    model: str | None = None
    file: AudioFile


class VideoAsked(Sealed, kw_only=True):
    model: str


class CallAsked(Sealed, kw_only=True):
    """A call with one price, whatever it is about."""
