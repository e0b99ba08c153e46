"""What a chat would cost: read, resolved and planned as the chat itself would be, and never sent."""

from __future__ import annotations

from fondaco.billing.line import Bill, total
from fondaco.billing.prices.tokens import TokenUse, chat_bill, chat_ceiling, estimated_tokens
from fondaco.billing.quoting.known import KnownModels
from fondaco.billing.quoting.quote import Quotable, Quote
from fondaco.chat import gates, plan, tool_prompt
from fondaco.chat.cast import Cast, NoCharacters
from fondaco.chat.media_parts import has_media, is_unmeasured
from fondaco.chat.messages import ChatMessage, ImagePart, UserMessage, unusual
from fondaco.chat.options import Options, effective
from fondaco.chat.plan import Plan
from fondaco.chat.prompt import PromptBuilder
from fondaco.chat.web import Web, errand_for, room
from fondaco.chat.wire import ChatRequest, normalised
from fondaco.errors import FondacoError, ModelNotFound, ModelOffline
from fondaco.models.model import Model
from fondaco.money import NanoUsd

LIKELY_COMPLETION = 1024
"""Tokens of an answer for which the caller has set no limit."""

# About what a picture of usual size comes to.
_LIKELY_PICTURE = 1024


class ChatQuotes:
    def __init__(
        self, models: KnownModels, prompt: PromptBuilder, cast: Cast | None = None, web: Web | None = None
    ) -> None:
        self._models = models
        self._prompt = prompt
        self._web = web
        self._cast = cast or Cast(NoCharacters(), prompt)

    @property
    def quotable(self) -> Quotable[ChatRequest]:
        return Quotable("/chat/completions", ChatRequest, self.quote)

    def quote(self, request: ChatRequest) -> Quote:
        """The request is changed in place. Raises whatever keeps the chat itself from being begun.

        The ceiling is that of the dearest model that may come to answer, fallbacks included.
        """
        request = normalised(request)
        quotes: list[Quote] = []
        failed: FondacoError | None = None
        for name in (request.model, *(fallback.model for fallback in request.fallbacks or ())):
            try:
                quotes.append(self._quote(request, name))
            except FondacoError as error:
                if not quotes and not isinstance(error, (ModelNotFound, ModelOffline)):
                    raise
                failed = failed or error
        if not quotes:
            assert failed is not None
            raise failed
        return Quote(quotes[0].lines, NanoUsd(max(quote.ceiling for quote in quotes)))

    def _quote(self, request: ChatRequest, name: str) -> Quote:
        resolved = self._models.resolve(name, "text")
        options = effective(request.venice_parameters, resolved.suffix, search_tool=request.offers_search)
        odd = unusual(request.messages)
        gates.check(request, resolved, media=has_media(request.messages, odd))
        messages = list(request.messages)
        errand = None if request.demands_call else errand_for(messages, options)
        if options.character_slug is not None:
            messages, options = self._cast.play(options.character_slug, messages, options, resolved.model)
            odd = unusual(messages)
        # Pictures are not looked into: that is work, and the bound is the same for any.
        made = plan.make(request, messages, odd, resolved, options, self._prompt)
        model, choices = resolved.model, request.n or 1
        prompt, answer = made.prompt_bound, completion_bound(made, model)
        if is_unmeasured(request.messages):
            prompt = max(prompt, model.context_tokens)
        services: Bill = ()
        briefing = 0
        if errand is not None and self._web is not None:
            # Nothing is looked up for a quote: it is as if all were found.
            services = errand.ceiling
            prompt += self._web.briefing_bound(errand, model, room(made, resolved, choices))
            briefing = estimated_tokens(self._web.characters(errand, model))
        likely = TokenUse(
            prompt=min(self._likely_prompt(messages, options, model) + briefing, prompt),
            completion=choices * min(request.completion_limit or LIKELY_COMPLETION, answer),
        )
        ceiling = NanoUsd(total(services) + chat_ceiling(model, prompt, choices * answer))
        return Quote(services + chat_bill(model, likely), ceiling)

    def _likely_prompt(self, messages: list[ChatMessage], options: Options, model: Model) -> int:
        size = len(self._prompt.own_prompt(model, options))
        pictures = 0
        for message in messages:
            size += len(tool_prompt.plain_text(message.content or ""))
            if type(message) is UserMessage and type(message.content) is list:
                pictures += sum(type(part) is ImagePart for part in message.content)
        return estimated_tokens(size) + _LIKELY_PICTURE * pictures


def completion_bound(made: Plan, model: Model) -> int:
    """The most tokens that one choice can have: the limit the engine is sent, else the model's own."""
    return made.completion_limit or model.max_completion_tokens
