"""POST /augment/search, /augment/scrape and /augment/text-parser (CONTRACT 13)."""

from __future__ import annotations

from typing import Any

from fondaco.augment.service import AugmentService
from fondaco.augment.wire import (
    ParsedText,
    ParseRequest,
    ScrapeAnswer,
    ScrapeRequest,
    SearchAnswer,
    SearchRequest,
    encoded,
)
from fondaco.errors import InvalidRequest
from fondaco.http.call import Call
from fondaco.http.forms import decode_form
from fondaco.http.openapi import Operation
from fondaco.http.reply import Reply
from fondaco.http.routing import Route
from fondaco.http.validation import decode


def routes(augment: AugmentService) -> list[Route]:
    async def search_web(call: Call) -> Reply:
        request = decode((await call.json_body()).reveal(), SearchRequest)
        return Reply(encoded(await augment.search(call.admitted, request)), compressible=True)

    async def scrape_page(call: Call) -> Reply:
        request = decode((await call.json_body()).reveal(), ScrapeRequest)
        return Reply(encoded(await augment.scrape(call.admitted, request)), compressible=True)

    async def parse_text(call: Call) -> Reply:
        form = await call.form_body()
        request = decode_form(form, ParseRequest)
        file = form.file("file")
        if file is None:
            raise InvalidRequest.at("file", message="Required")
        parsed = await augment.parse(call.admitted, file.data, file.name)
        if request.response_format == "text":
            return Reply(parsed.text.encode(), content_type=b"text/plain; charset=utf-8", compressible=True)
        return Reply(encoded(parsed), compressible=True)

    def about(name: str, summary: str, description: str, request: Any, answer: Any, **more: Any) -> Operation:
        return Operation(
            method="POST",
            path=f"/augment/{name}",
            summary=summary,
            description=description,
            tag="Augment",
            request=request,
            answer=answer,
            errors=(402, 503),
            **more,
        )

    return [
        Route(
            search_web,
            about(
                "search",
                "Search the web",
                "And the server's own index. `search_provider` is asked first where the server has it.",
                SearchRequest,
                SearchAnswer,
            ),
        ),
        Route(
            scrape_page,
            about(
                "scrape", "Read a page of the web", "Its main text, as Markdown.", ScrapeRequest, ScrapeAnswer
            ),
        ),
        Route(
            parse_text,
            about(
                "text-parser",
                "Take the text out of a document",
                "PDF, DOCX, XLSX, PPTX, EPUB, HTML and text of any kind.",
                ParseRequest,
                ParsedText,
                form=True,
                files=("file",),
                export="text/plain",
            ),
        ),
    ]
