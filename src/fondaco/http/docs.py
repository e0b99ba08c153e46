"""The page at `/docs`: the OpenAPI document, rendered by a script of our own. It asks no other host for anything."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import msgspec

from fondaco import __version__
from fondaco.http.call import Call
from fondaco.http.openapi import Operation, document
from fondaco.http.reply import Reply
from fondaco.http.routing import Route


def routes(described: Sequence[Route]) -> list[Route]:
    """`/api/v1/openapi.json` for those routes, and the page that renders it."""

    @cache
    def made() -> bytes:
        operations = [route.operation for route in described]
        return msgspec.json.encode(document(operations, title="Fondaco", version=__version__))

    async def get_document(call: Call) -> Reply:
        """GET /openapi.json."""
        return Reply(made(), compressible=True)

    async def get_page(call: Call) -> Reply:
        """GET /docs."""
        policy = (b"content-security-policy", content_security_policy().encode())
        return Reply(page(), content_type=b"text/html; charset=utf-8", headers=(policy,))

    def about(path: str, summary: str, answer: str, *, based: bool) -> Operation:
        return Operation(
            method="GET",
            path=path,
            summary=summary,
            tag="Documentation",
            access="open",
            based=based,
            answer=answer,
        )

    return [
        Route(get_document, about("/openapi.json", "This document", "application/json", based=True)),
        Route(get_page, about("/docs", "This document as a page", "text/html", based=False)),
    ]


_inline = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@cache
def page(document_url: str = "/api/v1/openapi.json") -> bytes:
    """The page as HTML in UTF-8. `document_url` is a path on this server."""
    text = files("fondaco.http").joinpath("docs.html").read_text(encoding="utf-8")
    return text.replace("{{document_url}}", _attribute(document_url)).encode()


@cache
def content_security_policy() -> str:
    """The header that lets the page do what it does and no more: its own script and style, and this server's JSON."""
    text = files("fondaco.http").joinpath("docs.html").read_text(encoding="utf-8")
    allowed = {kind: _source_of(inline) for kind, inline in _inline.findall(text)}
    return (
        f"default-src 'none'; script-src {allowed['script']}; style-src {allowed['style']}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _source_of(inline: str) -> str:
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
