"""Services that search and scrape, on loopback, each speaking its public API exactly as far as it is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from odd_servers import OddServer, answer

BRAVE_KEY = "brave-key-of-tests"
TAVILY_KEY = "tvly-key-of-tests"
FIRECRAWL_KEY = "fc-key-of-tests"


class SearchServices:
    """Answers on `server` for SearXNG, Brave, Tavily and Firecrawl from the rows that a test gives."""

    def __init__(self, server: OddServer, rows: list[dict[str, str]] | None = None) -> None:
        self.url = server.url
        self.rows = rows or []
        """Of `url`, `title`, `content` and perhaps `date` (ISO)."""
        self.pages: dict[str, dict[str, Any]] = {}
        """Firecrawl's, by URL."""
        self.asked: list[dict[str, Any]] = []
        """What each request asked, with its headers under `headers`."""
        self.status: int | None = None
        """Answer with this instead."""
        self.json_allowed = True
        """SearXNG refuses JSON unless its settings allow it."""
        self.unresponsive: list[list[str]] = []
        server.pages |= {
            "/search": self._searxng,
            "/res/v1/web/search": self._brave,
            "/tavily/search": self._tavily,
            "/v2/scrape": self._firecrawl,
        }
        self._server = server

    async def _searxng(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await self._request(reader)
        if asked.get("format") != "json" or not self.json_allowed:
            self._say(writer, 403, None)
            return
        rows = [
            {
                "url": row["url"],
                "title": row["title"],
                "content": row["content"],
                "publishedDate": row.get("date"),
                "pubdate": row.get("date"),
                "engine": "duckduckgo",
                "engines": ["duckduckgo", "brave"],
                "template": "default.html",
                "parsed_url": [*urlsplit(row["url"])],
                "positions": [at],
                "score": 1 / at,
                "category": "general",
                "thumbnail": None,
                "priority": "",
                "img_src": "",
            }
            for at, row in enumerate(self.rows, 1)
        ]
        self._say(
            writer,
            200,
            {
                "query": asked.get("q", ""),
                "number_of_results": 0,
                "results": rows,
                "answers": [],
                "corrections": [],
                "infoboxes": [],
                "suggestions": ["more of it"],
                "unresponsive_engines": self.unresponsive,
            },
        )

    async def _brave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await self._request(reader)
        if asked["headers"].get("x-subscription-token") != BRAVE_KEY:
            self._say(writer, 422, {"type": "ErrorResponse", "error": {"code": "SUBSCRIPTION_TOKEN_INVALID"}})
            return
        assert 1 <= int(asked["count"]) <= 20
        assert asked["safesearch"] in ("off", "moderate", "strict")
        rows = [
            {
                "type": "search_result",
                "subtype": "generic",
                "title": row["title"],
                "url": row["url"],
                "description": row["content"],
                "page_age": row.get("date"),
                "age": "3 days ago",
                "language": "en",
                "family_friendly": True,
                "extra_snippets": ["And this besides."],
                "meta_url": {"scheme": "https", "netloc": "x", "hostname": "x", "favicon": "", "path": ""},
            }
            for row in self.rows[: int(asked["count"])]
        ]
        found: dict[str, Any] = {
            "type": "search",
            "query": {"original": asked["q"]},
            "mixed": {"type": "mixed"},
        }
        # Where there is nothing, Brave leaves `web` out.
        self._say(writer, 200, found | ({"web": {"type": "search", "results": rows}} if rows else {}))

    async def _tavily(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await self._request(reader)
        if asked["headers"].get("authorization") != f"Bearer {TAVILY_KEY}":
            self._say(writer, 401, {"detail": {"error": "Unauthorized: missing or invalid API key."}})
            return
        rows = [
            {
                "title": row["title"],
                "url": row["url"],
                "content": row["content"],
                "score": 0.9,
                "raw_content": None,
                **({"published_date": row["date"]} if "date" in row else {}),
            }
            for row in self.rows[: asked["max_results"]]
        ]
        self._say(
            writer,
            200,
            {
                "query": asked["query"],
                "follow_up_questions": None,
                "answer": None,
                "images": [],
                "results": rows,
                "response_time": 0.4,
                "request_id": "r",
            },
        )

    async def _firecrawl(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await self._request(reader)
        if asked["headers"].get("authorization") != f"Bearer {FIRECRAWL_KEY}":
            self._say(writer, 401, {"success": False, "error": "Unauthorized: Invalid token"})
            return
        assert asked["formats"] == ["markdown"]
        page = self.pages.get(asked["url"])
        if page is None:
            self._say(writer, 500, {"success": False, "code": "UNKNOWN_ERROR", "error": "it failed"})
            return
        self._say(writer, 200, {"success": True, "data": page})

    async def _request(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        head = self._server.heads[-1].decode()
        first, *lines = head.split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
        }
        target = first.split(" ")[1]
        asked: dict[str, Any] = dict(parse_qsl(urlsplit(target).query))
        if length := int(headers.get("content-length", 0)):
            asked |= json.loads(await reader.readexactly(length))
        asked["headers"] = headers
        self.asked.append(asked)
        return asked

    def _say(self, writer: asyncio.StreamWriter, status: int, body: Mapping[str, Any] | None) -> None:
        if self.status is not None:
            status, body = self.status, {}
        kind = "text/html" if body is None else "application/json"
        said = b"<h1>Forbidden</h1>" if body is None else json.dumps(body).encode()
        writer.write(answer(said, status=status, headers={"content-type": kind}))
