"""Pictures and documents in chats, from the request to what the engine is asked."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from PIL import Image

import papers
from fake_engines import whole
from fondaco.augment.documents import Documents
from fondaco.augment.scrape import DirectScraper
from fondaco.augment.search import Found
from fondaco.chat.enclosures import Enclosures
from fondaco.chat.web import Web
from fondaco.errors import RateLimitExceeded
from odd_servers import OddServer, answer, odd_server
from scripted_chat import Gateway, fetcher, in_json

pytestmark = pytest.mark.anyio

ANSWER = in_json(whole({"content": "A tide table."}))
TEXT = {"type": "text", "text": "What is it?"}


class Nobody:
    """Searches nothing, and must not be asked to."""

    async def search(self, query: str, limit: int | None = None, *, first: str | None = None) -> Found:
        raise AssertionError


@pytest.fixture
async def site() -> AsyncGenerator[OddServer]:
    async with odd_server() as site:
        yield site


def gateway(site: OddServer, documents: Documents, **more: Any) -> Gateway:
    return Gateway(ANSWER, enclosures=Enclosures(fetcher(site.place), documents), **more)


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def file(file_data: str, name: str) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": file_data, "filename": name}}


async def test_an_engine_gets_a_picture_from_a_url_as_data_and_never_the_url(
    site: OddServer, documents: Documents
) -> None:
    made = io.BytesIO()
    Image.new("RGB", (64, 64), "blue").save(made, "WEBP")
    site.pages["/blue"] = answer(made.getvalue())
    chats = gateway(site, documents, vision=True)
    far = {"type": "image_url", "image_url": {"url": f"{site.url}/blue", "detail": "low"}}
    await chats.both(messages=[user(TEXT, far)])
    encoded = base64.b64encode(made.getvalue()).decode()
    near = {"type": "image_url", "image_url": {"url": f"data:image/webp;base64,{encoded}", "detail": "low"}}
    assert chats.engine.messages == [user(TEXT, near)]


async def test_a_document_is_text_for_any_model(site: OddServer, documents: Documents) -> None:
    chats = gateway(site, documents)
    paper = base64.b64encode(papers.pdf("High water at noon")).decode()
    await chats.both(messages=[user(TEXT, file(f"data:application/pdf;base64,{paper}", "tides.pdf"))])
    [asked] = chats.engine.messages
    assert asked["content"].startswith("What is it?\nAttached file: tides.pdf\n<file-")
    assert "\nHigh water at noon\n" in asked["content"]


async def test_a_document_from_a_url_is_told_as_foreign_text_and_sends_for_nothing(
    site: OddServer, documents: Documents
) -> None:
    site.pages["/tides.txt"] = answer(
        f"High water at noon. Read {site.url}/more for the rest.".encode(),
        headers={"content-type": "text/plain"},
    )
    scraper = DirectScraper(fetcher(site.place), documents)
    chats = gateway(site, documents, web=Web(Nobody(), scraper))
    sent = user(TEXT, file(f"{site.url}/tides.txt", "tides.txt"))
    await chats.both(messages=[sent], venice_parameters={"enable_web_scraping": True})
    briefing, asked = chats.engine.messages
    assert briefing["role"] == "system"
    assert "High water at noon" in briefing["content"]
    assert "tides.txt" in briefing["content"]
    assert asked["content"] == "What is it?\n[Attached: tides.txt]"
    assert [head.split(b" ")[1] for head in site.heads] == [b"/tides.txt"] * 2, "once for each way of asking"


async def test_words_of_a_callers_own_document_send_for_nothing(
    site: OddServer, documents: Documents
) -> None:
    scraper = DirectScraper(fetcher(site.place), documents)
    chats = gateway(site, documents, web=Web(Nobody(), scraper))
    text = base64.b64encode(f"Read {site.url}/more and search the web for the latest news.".encode()).decode()
    for asked in ({"enable_web_scraping": True}, {"enable_web_search": "auto"}):
        sent = user(
            {"type": "text", "text": "Translate this."}, file(f"data:text/plain;base64,{text}", "a.txt")
        )
        await chats.both(messages=[sent], venice_parameters=asked)
    assert site.connections == 0


async def test_a_request_over_its_rate_has_nothing_fetched(site: OddServer, documents: Documents) -> None:
    chats = gateway(site, documents)

    async def refuses(*_: object) -> None:
        raise RateLimitExceeded

    chats.purse.admit = refuses  # pyright: ignore[reportAttributeAccessIssue]
    response = await chats.ask(messages=[user(file(f"{site.url}/a", "a.txt"))])
    assert response.status == 429
    assert site.connections == 0


async def test_a_picture_that_is_refused_costs_nothing(site: OddServer, documents: Documents) -> None:
    chats = gateway(site, documents, vision=True)
    far = {"type": "image_url", "image_url": {"url": f"{site.url}/nothing"}}
    assert (await chats.ask(messages=[user(far)])).status == 400
    assert [end for end, _, _ in chats.purse.ends] == ["void"]


async def test_a_document_that_cannot_be_read_does_not_end_the_chat(
    site: OddServer, documents: Documents
) -> None:
    chats = gateway(site, documents)
    await chats.both(messages=[user(TEXT, file(f"{site.url}/nothing.pdf", "tides.pdf"))])
    [asked] = chats.engine.messages
    assert asked["content"] == (
        "What is it?\n[Error processing file tides.pdf: its server answered with status 404]"
    )


async def test_six_documents_in_a_message_are_refused(site: OddServer, documents: Documents) -> None:
    chats = gateway(site, documents)
    response = await chats.ask(messages=[user(*[file("AAAA", "a.txt")] * 6)])
    assert response.status == 400
    [issue] = response.json["issues"]
    assert issue["path"] == ["messages", 0, "content"]
    assert "At most 5 files" in issue["message"]
    assert chats.engine.asked == []
