"""HTML: its main text as Markdown, its title and its date."""

from __future__ import annotations

import importlib
from typing import Any

from fondaco.augment.parsing.text import decoded
from fondaco.augment.parsing.wire import Job, Parsed

_WARM_UP = (
    b"<html><head><title>a</title></head><body><article><p>"
    + b"Some words. " * 40
    + b"</p></article></body></html>"
)


def load() -> None:
    """Once through all of it: the library reads word lists and patterns as it goes, a long one for URLs with a port."""
    for url in ("https://example.com/2020/01/02/a", "http://127.0.0.1:8080/a"):
        read(Job(url=url, max_characters=1000), _WARM_UP)


def read(job: Job, data: bytes) -> Parsed:
    trafilatura: Any = importlib.import_module("trafilatura")
    # Without a charset of its server's, the library looks at what the page says of itself.
    page: Any = decoded(data, job.charset) if job.charset else data
    found: Any = trafilatura.bare_extraction(
        page,
        url=job.url or None,
        output_format="markdown",
        with_metadata=True,
        include_comments=False,
        include_tables=True,
        include_formatting=True,
        favor_recall=True,
        date_extraction_params={"extensive_search": False, "original_date": True},
    )
    text: str = (found and found.text) or ""
    if not text.strip():
        # It takes what has no `<html>` for no page at all.
        text = trafilatura.html2txt(page) or markdown(decoded(data, job.charset))
    return Parsed(text=text, title=(found and found.title) or "", date=(found and found.date) or "")


def markdown(html: str) -> str:
    """All of an HTML text as Markdown, without its pictures."""
    markdownify: Any = importlib.import_module("markdownify")
    return markdownify.markdownify(html, heading_style="ATX", strip=["img", "a", "script", "style"])
