"""/augment/search, /augment/scrape and /augment/text-parser over HTTP: what they answer, refuse, charge and keep."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from array import array
from base64 import b64encode
from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

import papers
from fake_search import SearchServices
from fondaco.augment import sources
from fondaco.augment.documents import Documents
from fondaco.augment.index.passages import Passage
from fondaco.augment.index.store import Document, IndexStore
from fondaco.media.multipart import File, write_form
from gateways import ADMIN_KEY
from odd_servers import OddServer, answer, odd_server
from raw_http import Answer
from served_app import ServedApp, credit, served_app

pytestmark = pytest.mark.anyio

SEARCH, SCRAPE, PARSER = "/augment/search", "/augment/scrape", "/augment/text-parser"
CENT = Decimal("0.01")
NOWHERE = {"m": {"base_url": "http://127.0.0.1:9"}}
PAGE = papers.page("On tides", *(["The tide comes in twice a day, and the lagoon knows it well."] * 3))


@pytest.fixture(scope="module")
async def site() -> AsyncGenerator[OddServer]:
    async with odd_server() as site:
        yield site


class Shared:
    """The parsing process of all tests, which no server may end."""

    def __init__(self, documents: Documents) -> None:
        self.parse, self.read = documents.parse, documents.read

    async def close(self) -> None: ...


@pytest.fixture(scope="module")
async def house(
    tmp_path_factory: pytest.TempPathFactory, site: OddServer, documents: Documents
) -> AsyncGenerator[ServedApp]:
    await documents.parse(b"warm", "a.txt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "Documents", lambda: Shared(documents))
        house = served_house(tmp_path_factory.mktemp("augment"), site)
        async with house as served:
            yield served


def served_house(folder: Path, site: OddServer) -> contextlib.AbstractAsyncContextManager[ServedApp]:
    return served_app(
        folder,
        NOWHERE,
        search={"providers": ["searxng"], "searxng_url": site.url, "seconds": 2},
        net={"allow_hosts": [site.place], "seconds": 1},
        limits={"abuse_failures": 0, "scale": 100},
    )


@pytest.fixture
async def asked(house: ServedApp, site: OddServer) -> ServedApp:
    """The house with an empty ledger, as far as one can see, beside a site that is as it was."""
    site.pages.clear()
    site.connections = 0
    await house.forget()
    return house


def serve(site: OddServer, *rows: dict[str, str]) -> SearchServices:
    return SearchServices(site, list(rows))


async def upload(house: ServedApp, data: bytes, name: str, **fields: str) -> Answer:
    kind, body = write_form(fields.items(), [("file", File(memoryview(data), name))])
    return await send_form(house, kind, body)


async def send_form(house: ServedApp, kind: bytes, body: bytes) -> Answer:
    head = f"POST /api/v1{PARSER} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n".encode()
    wire = await house.connect()
    try:
        return await wire.ask(
            head + b"content-type: " + kind + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
    finally:
        wire.leave()


def path_at_fault(answer: Answer) -> list[Any]:
    assert answer.status == 400, answer.body
    assert answer.json()["code"] == "INVALID_REQUEST"
    return answer.json()["issues"][0]["path"]


# Search.


async def test_a_search_answers_as_the_contract_says_and_costs_a_cent(
    asked: ServedApp, site: OddServer
) -> None:
    serve(
        site,
        {"url": "https://a.test/", "title": "Tides", "content": "High water", "date": "2024-05-06T10:00:00"},
    )
    told = await asked.ask("POST", SEARCH, {"query": "tides", "limit": 3})
    assert told.status == 200, told.body
    assert told.json() == {
        "query": "tides",
        "results": [
            {"title": "Tides", "url": "https://a.test/", "content": "High water", "date": "2024-05-06"}
        ],
    }
    assert told.headers["x-ratelimit-limit-requests"] == "2000"
    (row,) = await asked.settled(1)
    assert (row["sku"], row["amount"]) == ("augment-search-request", -CENT)
    assert row["inferenceDetails"]["inferenceExecutionTime"] >= 0


async def test_a_search_that_finds_nothing_is_an_answer(asked: ServedApp, site: OddServer) -> None:
    serve(site)
    told = await asked.ask("POST", SEARCH, {"query": "tides"})
    assert (told.status, told.json()["results"]) == (200, [])
    await asked.settled(1)


async def test_when_nobody_searches_that_is_said_and_costs_nothing(asked: ServedApp, site: OddServer) -> None:
    serve(site).status = 429
    told = await asked.ask("POST", SEARCH, {"query": "canary"})
    assert told.status == 503
    assert told.json() == {
        "error": "No search provider answered (searxng: rate limited).",
        "code": "SEARCH_UNAVAILABLE",
    }
    assert await asked.entries() == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "query"),
        ({"query": ""}, "query"),
        ({"query": "   "}, "query"),
        ({"query": "x" * 401}, "query"),
        ({"query": 7}, "query"),
        ({"query": "x", "limit": 0}, "limit"),
        ({"query": "x", "limit": 21}, "limit"),
        ({"query": "x", "limit": 1.5}, "limit"),
        ({"query": "x", "search_provider": "bing"}, "search_provider"),
    ],
)
async def test_a_search_that_cannot_be_names_the_field(
    asked: ServedApp, body: dict[str, Any], field: str
) -> None:
    assert path_at_fault(await asked.ask("POST", SEARCH, body)) == [field]
    assert await asked.entries() == []


async def test_an_unknown_field_is_passed_over(asked: ServedApp, site: OddServer) -> None:
    serve(site)
    assert (await asked.ask("POST", SEARCH, {"query": "x", "engine": "y"})).status == 200


# Scraping.


async def test_a_page_comes_as_markdown_and_costs_a_cent(asked: ServedApp, site: OddServer) -> None:
    site.pages["/tides"] = answer(PAGE, headers={"content-type": "text/html; charset=utf-8"})
    url = f"{site.url}/tides"
    told = await asked.ask("POST", SCRAPE, {"url": url})
    assert told.status == 200, told.body
    assert (told.json()["url"], told.json()["format"]) == (url, "markdown")
    assert "The tide comes in twice a day" in told.json()["content"]
    assert "All rights reserved" not in told.json()["content"]
    (row,) = await asked.settled(1)
    assert (row["sku"], row["amount"]) == ("augment-scrape-request", -CENT)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:80/",
        "http://localhost/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://2130706433/",
        "http://example.com:22/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "nonsense",
        "",
        "https://x.com/somebody/status/1",
        "https://www.reddit.com/r/all",
        "https://mobile.twitter.com/somebody",
    ],
)
async def test_what_is_not_fetched_is_a_fault_of_the_url(asked: ServedApp, site: OddServer, url: str) -> None:
    assert path_at_fault(await asked.ask("POST", SCRAPE, {"url": url})) == ["url"]
    assert site.connections == 0
    assert await asked.entries() == []


async def test_a_page_that_is_not_to_be_had_costs_nothing(asked: ServedApp, site: OddServer) -> None:
    site.pages |= {
        "/empty": answer(b"<html></html>", headers={"content-type": "text/html"}),
        "/gone": answer(b"", status=410),
        "/inside": answer(status=302, headers={"location": "http://127.0.0.1/"}),
        "/picture": answer(b"\x89PNG\r\n\x1a\n\x00", headers={"content-type": "image/png"}),
    }
    for path in ("/empty", "/gone", "/nowhere"):
        told = await asked.ask("POST", SCRAPE, {"url": site.url + path})
        assert (told.status, told.json()["code"]) == (500, "PAGE_UNAVAILABLE"), path
    for path in ("/inside", "/picture"):
        assert path_at_fault(await asked.ask("POST", SCRAPE, {"url": site.url + path})) == ["url"]
    assert await asked.entries() == []


# Documents.


async def test_a_document_gives_its_text_and_about_how_many_tokens(asked: ServedApp) -> None:
    told = await upload(asked, papers.pdf("High water at noon"), "tides.pdf")
    assert told.status == 200, told.body
    assert told.json() == {"text": "High water at noon", "tokens": 6}
    (row,) = await asked.settled(1)
    assert (row["sku"], row["amount"]) == ("augment-text-parser-request", -CENT)


async def test_the_text_alone_can_be_asked_for(asked: ServedApp) -> None:
    told = await upload(asked, "grün".encode(), "a.txt", response_format="text")
    assert (told.status, told.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert told.body.decode() == "grün"


async def test_a_file_that_cannot_be_read_is_a_fault_of_the_file(asked: ServedApp) -> None:
    for data in (b"\x89PNG\r\n\x1a\n\x00", b"", b"%PDF-1.4 no more", papers.archive({"a": "b"})):
        assert path_at_fault(await upload(asked, data, "a.pdf")) == ["file"]
    kind, body = write_form([("response_format", "json")], [])
    assert path_at_fault(await send_form(asked, kind, body)) == ["file"]
    assert path_at_fault(await upload(asked, b"x", "a.txt", response_format="xml")) == ["response_format"]
    assert (await asked.ask("POST", PARSER, {"file": "x"})).status == 415
    assert await asked.entries() == []


@pytest.mark.long
async def test_a_server_has_a_parsing_process_of_its_own_for_as_long_as_it_runs(
    tmp_path: Path, site: OddServer
) -> None:
    others = _parsers()
    async with served_house(tmp_path, site) as house:
        # On a busy machine it takes longer to start than a test waits for an answer.
        with contextlib.suppress(TimeoutError):
            await upload(house, b"warm", "a.txt")
        assert (await upload(house, b"here", "a.txt")).json()["text"] == "here"
        assert len(_parsers()) == len(others) + 1
    assert _parsers() == others


def _parsers() -> list[int]:
    mine = psutil.Process().children()
    return [each.pid for each in mine if "fondaco.augment.parsing" in each.cmdline()]


# Limits and money.


async def test_each_endpoint_has_a_rate_of_its_own(tmp_path: Path, site: OddServer) -> None:
    serve(site)
    async with served_app(
        tmp_path,
        NOWHERE,
        search={"providers": ["searxng"], "searxng_url": site.url},
        limits={"abuse_failures": 0, "scale": 0.1},
    ) as house:
        statuses = [(await house.ask("POST", SEARCH, {"query": "x"})).status for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert (await house.ask("POST", SCRAPE, {"url": "nonsense"})).status == 400


async def test_what_cannot_be_paid_is_not_begun(tmp_path: Path, site: OddServer) -> None:
    services = serve(site)
    async with served_app(
        tmp_path,
        NOWHERE,
        search={"providers": ["searxng"], "searxng_url": site.url},
        net={"allow_hosts": [site.place]},
        billing={"mode": "prepaid"},
    ) as house:
        site.connections = 0
        for path, body in ((SEARCH, {"query": "x"}), (SCRAPE, {"url": site.url})):
            assert (await house.ask("POST", path, body)).status == 402
        assert site.connections == 0
        await credit(house.data_dir, "0.015")
        assert (await house.ask("POST", SEARCH, {"query": "x"})).status == 200
        assert (await house.ask("POST", SEARCH, {"query": "x"})).status == 402
        assert len(services.asked) == 1
        assert await house.faults() == []


async def test_a_repeat_gets_the_first_answer_and_is_not_charged(asked: ServedApp, site: OddServer) -> None:
    services = serve(site, {"url": "https://a.test/", "title": "Tides", "content": "High water"})
    for _ in range(2):
        told = await asked.ask("POST", SEARCH, {"query": "tides"}, ADMIN_KEY, "idempotency-key: once")
        assert told.json()["results"][0]["title"] == "Tides"
    assert len(services.asked) == 1
    await asked.settled(1)


async def test_a_client_that_leaves_pays_nothing_and_holds_nothing(asked: ServedApp, site: OddServer) -> None:
    left = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        left.set()

    site.pages["/slow"] = slow
    wire = await asked.connect()
    await wire.send(asked.request("POST", SCRAPE, {"url": f"{site.url}/slow"}))
    while not site.connections:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    wire.leave()
    async with asyncio.timeout(1):
        await left.wait()
    assert await asked.entries() == []
    assert await asked.faults() == []


# What stays behind.


async def test_queries_pages_and_documents_are_kept_nowhere(
    asked: ServedApp, site: OddServer, capfd: pytest.CaptureFixture[str]
) -> None:
    serve(site, {"url": "https://canaryone.test/", "title": "canarytwo", "content": "canarythree"})
    site.pages["/canaryfour"] = answer(
        PAGE.replace(b"lagoon", b"canaryfive"), headers={"content-type": "text/html"}
    )
    assert (await asked.ask("POST", SEARCH, {"query": "canarysix"})).status == 200
    assert (await asked.ask("POST", SCRAPE, {"url": f"{site.url}/canaryfour"})).status == 200
    assert (await asked.ask("POST", SCRAPE, {"url": f"{site.url}/canarygone"})).status == 500
    assert (await asked.ask("POST", SCRAPE, {"url": "http://canary.localhost/"})).status == 400
    assert (await upload(asked, b"canaryseven", "canaryeight.txt")).status == 200
    assert (await upload(asked, b"\x00canarynine", "canaryten.pdf")).status == 400
    assert await asked.faults() == []
    kept = [path for path in asked.data_dir.rglob("*") if path.is_file() and b"canary" in path.read_bytes()]
    assert kept == []
    assert "canary" not in "".join(capfd.readouterr())


# The local index, by the embedding model of the settings.


async def test_without_a_network_the_index_is_searched_by_meaning_too(
    tmp_path: Path, site: OddServer
) -> None:
    seen: list[list[str]] = []

    async def embeddings(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int(re.findall(rb"content-length: (\d+)", site.heads[-1].lower())[0])
        asked = json.loads(await reader.readexactly(size))
        assert asked["encoding_format"] == "base64"
        seen.append(asked["input"])
        # All that is about bread points one way.
        vectors = [array("f", [1, 0] if re.search("dough|loaf", text) else [0, 1]) for text in asked["input"]]
        data = [{"index": at, "embedding": b64encode(each).decode()} for at, each in enumerate(vectors)]
        writer.write(
            answer(json.dumps({"data": data}).encode(), headers={"content-type": "application/json"})
        )

    site.pages["/v1/embeddings"] = embeddings
    store = IndexStore(tmp_path)
    source_id, _ = store.begin("handbook", None)
    for name, text in (("bread", "Knead the dough."), ("tides", "High water is at noon.")):
        store.put(source_id, Document(name, f"file:{name}", name, "", b"", [Passage("", text)]))
    embedding = {"type": "embedding", "base_url": f"{site.url}/v1", "input_usd": "0.15"}
    async with served_app(
        tmp_path,
        {**NOWHERE, "vectors": embedding},
        search={"providers": [], "embedding": "vectors"},
        limits={"scale": 1000},
    ) as house:
        async with asyncio.timeout(5):
            while store.sources()[0].embedded < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        told = await house.ask("POST", SEARCH, {"query": "bake a loaf"})
        assert [each["url"] for each in told.json()["results"]] == ["file:bread"]
        # Nobody is charged for the vectors.
        (row,) = await house.settled(1)
        assert row["sku"] == "augment-search-request"
    store.close()
    assert ["bake a loaf"] in seen
