"""POST /quote."""

from __future__ import annotations

from fondaco.billing.quoting.service import QuoteService
from fondaco.billing.quoting.wire import QuoteAnswer, QuoteRequest, answer
from fondaco.errors import InvalidRequest, Issue
from fondaco.http.call import Call
from fondaco.http.openapi import Operation
from fondaco.http.reply import Reply, json_reply
from fondaco.http.routing import Route
from fondaco.http.validation import decode


def routes(quotes: QuoteService) -> list[Route]:
    async def quote_request(call: Call) -> Reply:
        """POST /quote: `{"endpoint", "body"}`, where files are their lengths or sizes."""
        asked = decode((await call.json_body()).reveal(), QuoteRequest)
        quotable = quotes.find(asked.endpoint)
        try:
            quote = quotes.quote(quotable, decode(bytes(asked.body), quotable.shape))
        except InvalidRequest as refusal:
            raise _within_body(refusal) from None
        return json_reply(answer(quote))

    about = Operation(
        method="POST",
        path="/quote",
        summary="What a request would cost",
        description=(
            "By the function that bills it; nothing is run or charged. `quote` is the most likely cost: for tokens, "
            "the prompt at one token for 3.2 characters and an answer of the caller's limit, or of 1,024. `ceiling` is "
            "the most that can be charged. What has a fixed price costs exactly that. In place of an audio file say "
            '`{"seconds": 12.5}`, or `{"bytes": 200000}` for a guess at 128 kbit/s and a ceiling at 4 kbit/s.'
        ),
        tag="Billing",
        access="open",
        request=QuoteRequest,
        answer=QuoteAnswer,
        errors=(404,),
    )
    return [Route(quote_request, about)]


def _within_body(refusal: InvalidRequest) -> InvalidRequest:
    """The same faults, with paths from the root of what was sent."""
    issues = [Issue(issue.code, ("body", *issue.path), issue.message, issue.keys) for issue in refusal.issues]
    return InvalidRequest(issues, refusal.message)
