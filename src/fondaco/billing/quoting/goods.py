"""Quotes for all that is not chat, from the catalogue's prices alone."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal
from typing import Any

from fondaco.billing.line import Bill, total
from fondaco.billing.prices.audio import SECOND, likely, longest, speech_bill, transcription_bill
from fondaco.billing.prices.facts import unknown_price
from fondaco.billing.prices.images import cutout_bill, edit_bill, image_bill, upscale_bill
from fondaco.billing.prices.services import (
    AUGMENT_SCRAPE,
    AUGMENT_SEARCH,
    AUGMENT_TEXT_PARSER,
    PROMPT_ENHANCEMENT,
    SEARCH_IN_CHAT,
    Service,
    service_bill,
)
from fondaco.billing.prices.tokens import embedding_bill, embedding_tokens
from fondaco.billing.quoting.known import KnownModels
from fondaco.billing.quoting.quote import Quotable, Quote, fixed
from fondaco.billing.quoting.wire import (
    CallAsked,
    CutoutAsked,
    EditAsked,
    EmbeddingAsked,
    ImageAsked,
    OpenAIImageAsked,
    SpeechAsked,
    TranscriptionAsked,
    UpscaleAsked,
    VideoAsked,
)
from fondaco.errors import InvalidRequest, ModelNotFound

SPEECH_MODEL = "tts-kokoro"
TRANSCRIPTION_MODEL = "nvidia/parakeet-tdt-0.6b-v3"
IMAGE_MODEL = "default"
EDIT_MODEL = "qwen-edit"
UPSCALE_MODEL = "upscaler"
CUTOUT_MODEL = "bg-remover"

_TWO = Decimal(2)
_LONGEST_SECONDS = 1_000_000


def goods(models: KnownModels) -> list[Quotable[Any]]:
    """Every endpoint of the contract that has a price, but for chat."""
    from_catalogue = _FromCatalogue(models)
    return [
        Quotable("/embeddings", EmbeddingAsked, from_catalogue.embedding),
        Quotable("/image/generate", ImageAsked, from_catalogue.image),
        Quotable("/images/generations", OpenAIImageAsked, from_catalogue.openai_image),
        Quotable("/image/edit", EditAsked, from_catalogue.edit),
        Quotable("/image/multi-edit", EditAsked, from_catalogue.edit),
        Quotable("/image/upscale", UpscaleAsked, from_catalogue.upscale),
        Quotable("/image/background-remove", CutoutAsked, from_catalogue.cutout),
        Quotable("/audio/speech", SpeechAsked, from_catalogue.speech),
        Quotable("/audio/transcriptions", TranscriptionAsked, from_catalogue.transcription),
        Quotable("/video/queue", VideoAsked, from_catalogue.video),
        Quotable("/augment/search", CallAsked, _call(AUGMENT_SEARCH)),
        Quotable("/augment/scrape", CallAsked, _call(AUGMENT_SCRAPE)),
        Quotable("/augment/text-parser", CallAsked, _call(AUGMENT_TEXT_PARSER)),
    ]


def _call(service: Service) -> Callable[[CallAsked], Quote]:
    quote = fixed(service_bill(service))
    return lambda asked: quote


class _FromCatalogue:
    def __init__(self, models: KnownModels) -> None:
        self._models = models

    def embedding(self, asked: EmbeddingAsked) -> Quote:
        model = self._models.model(asked.model, "embedding")
        likely, most = embedding_tokens(asked.input)
        return Quote(embedding_bill(model, likely), total(embedding_bill(model, most)))

    def image(self, asked: ImageAsked) -> Quote:
        model = self._models.model(asked.model, "image")
        bill = image_bill(model, asked.variants or 1, asked.resolution)
        if asked.enable_web_search:
            bill += service_bill(SEARCH_IN_CHAT)
        return fixed(_enhanced(bill, asked.enhance_prompt))

    def openai_image(self, asked: OpenAIImageAsked) -> Quote:
        try:
            model = self._models.model(asked.model or IMAGE_MODEL, "image")
        except ModelNotFound:
            # OpenAI's clients send names of OpenAI's: this route never minds.
            model = self._models.model(IMAGE_MODEL, "image")
        return fixed(image_bill(model))

    def edit(self, asked: EditAsked) -> Quote:
        model = self._models.model(asked.model or asked.model_id or EDIT_MODEL, "inpaint")
        return fixed(_enhanced(edit_bill(model), asked.enhance_prompt))

    def upscale(self, asked: UpscaleAsked) -> Quote:
        scale = _TWO if asked.scale is None else asked.scale
        _check_range(scale, 1, 4, "scale")
        return fixed(upscale_bill(self._models.model(asked.model or UPSCALE_MODEL, "upscale"), scale))

    def cutout(self, asked: CutoutAsked) -> Quote:
        return fixed(cutout_bill(self._models.model(asked.model or CUTOUT_MODEL, "image")))

    def speech(self, asked: SpeechAsked) -> Quote:
        return fixed(speech_bill(self._models.model(asked.model or SPEECH_MODEL, "tts"), len(asked.input)))

    def transcription(self, asked: TranscriptionAsked) -> Quote:
        model = self._models.model(asked.model or TRANSCRIPTION_MODEL, "asr")
        seconds, size = asked.file.seconds, asked.file.bytes
        if seconds is not None:
            _check_range(seconds, 0, _LONGEST_SECONDS, "file", "seconds")
            milliseconds = int((seconds * SECOND).to_integral_value(ROUND_CEILING))
            return fixed(transcription_bill(model, milliseconds, size))
        if size is None:
            raise InvalidRequest.at(
                "file", message='The file\'s length is needed: {"seconds": …} or {"bytes": …}'
            )
        most = total(transcription_bill(model, longest(size), size))
        return Quote(transcription_bill(model, likely(size), size), most)

    def video(self, asked: VideoAsked) -> Quote:
        model = self._models.model(asked.model, "video")
        raise unknown_price("model", f"No price is known for videos by '{model.id}'")


def _check_range(number: Decimal, least: int, most: int, *path: str) -> None:
    if not (number.is_finite() and least <= number <= most):
        raise InvalidRequest.at(*path, message=f"Number must be from {least} to {most}")


def _enhanced(bill: Bill, wanted: bool | None) -> Bill:
    return bill + service_bill(PROMPT_ENHANCEMENT) if wanted else bill
