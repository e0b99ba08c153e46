"""Pages as text: fetched by ourselves, and by Firecrawl."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

import papers
from fake_search import FIRECRAWL_KEY, SearchServices
from fondaco.augment.documents import Documents
from fondaco.augment.firecrawl import Firecrawl
from fondaco.augment.scrape import DirectScraper, ScrapeFailed
from fondaco.net.fetching import Fetcher
from fondaco.net.guard import Guard, Resolve
from odd_servers import OddServer, answer, odd_server, redirect

pytestmark = pytest.mark.anyio


@pytest.fixture
async def site() -> AsyncGenerator[OddServer]:
    async with odd_server() as site:
        yield site


async def public(host: str, port: int) -> list[str]:
    return ["93.184.216.34"]


async def private(host: str, port: int) -> list[str]:
    return ["10.0.0.1"]


def fetcher(*allow: str, resolve: Resolve | None = None) -> Fetcher:
    return Fetcher(Guard(allow, resolve=resolve), max_bytes=1_000_000, seconds=5)


async def test_a_page_has_its_text_its_title_and_its_date(site: OddServer, documents: Documents) -> None:
    head = "<meta property='article:published_time' content='2024-05-06T10:00:00Z'>"
    text = "The tide comes in twice a day, and the lagoon knows it well."
    site.pages |= {
        "/go": redirect("/tides"),
        "/tides": answer(
            papers.page("On tides", *[text] * 3, head=head), headers={"content-type": "text/html"}
        ),
        "/paper": answer(papers.pdf("High water at noon"), headers={"content-type": "application/pdf"}),
        "/latin": answer(
            "<p>d\xe9j\xe0 vu</p>".encode("latin-1"), headers={"content-type": "text/html;charset=latin1"}
        ),
        "/plain": answer(b"just words", headers={"content-type": "text/plain"}),
    }
    scraper = DirectScraper(fetcher(site.place), documents)
    page = await scraper.scrape(f"{site.url}/go")
    assert (page.url, page.title, page.date) == (f"{site.url}/go", "On tides", "2024-05-06")
    assert text in page.text
    paper = await scraper.scrape(f"{site.url}/paper")
    assert (paper.title, paper.text) == ("Tide tables", "High water at noon")
    assert (await scraper.scrape(f"{site.url}/latin")).text == "d\xe9j\xe0 vu"
    assert (await scraper.scrape(f"{site.url}/plain")).text == "just words"


async def test_a_redirect_to_a_closed_site_is_refused(site: OddServer, documents: Documents) -> None:
    site.pages["/go"] = redirect("https://x.com/somebody")
    with pytest.raises(ScrapeFailed):
        await DirectScraper(fetcher(site.place, resolve=public), documents).scrape(f"{site.url}/go")


async def test_what_cannot_be_read_is_said_in_a_whole_sentence(site: OddServer, documents: Documents) -> None:
    picture = b"\x89PNG\r\n\x1a\n\x00\x00"
    site.pages["/picture.png"] = answer(picture, headers={"content-type": "image/png"})
    with pytest.raises(ScrapeFailed) as failed:
        await DirectScraper(fetcher(site.place), documents).scrape(f"{site.url}/picture.png")
    assert failed.value.blame == "url"
    assert failed.value.sentence == (
        "The page could not be read: its format is not one that can be read here"
        " (PDF, DOCX, XLSX, PPTX, EPUB, HTML, text)."
    )


async def test_firecrawl_reads_what_we_would_fetch(site: OddServer) -> None:
    services = SearchServices(site)
    services.pages = {
        "https://tides.test/": {
            "markdown": "# Tides",
            "metadata": {
                "title": "On tides",
                "sourceURL": "https://tides.test/",
                "statusCode": 200,
                "publishedTime": "2024-05-06T10:00:00Z",
            },
        },
        "https://old.test/": {
            "markdown": "# Old",
            "metadata": {"title": ["Old", "older"], "statusCode": 200, "publishedTime": ["2020-01-02", "x"]},
        },
        "https://gone.test/": {"markdown": "Not here", "metadata": {"statusCode": 404}},
        "https://empty.test/": {"markdown": "", "metadata": {}},
    }
    scraper = Firecrawl(services.url, FIRECRAWL_KEY, fetcher(resolve=public), 5)
    page = await scraper.scrape("https://tides.test/")
    assert (page.url, page.title, page.text, page.date) == (
        "https://tides.test/",
        "On tides",
        "# Tides",
        "2024-05-06",
    )
    # It is asked for what was checked, in the one spelling that nobody can read otherwise.
    old = await scraper.scrape("HTTPS://\u24de\u24db\u24d3.test/#x")
    assert (old.url, old.title, old.date) == ("HTTPS://\u24de\u24db\u24d3.test/#x", "Old", "2020-01-02")
    for url in ("https://gone.test/", "https://empty.test/", "https://unknown.test/"):
        with pytest.raises(ScrapeFailed) as failed:
            await scraper.scrape(url)
        assert failed.value.blame == "page"


async def test_firecrawl_is_never_asked_for_what_we_would_refuse(site: OddServer) -> None:
    services = SearchServices(site)
    scraper = Firecrawl(services.url, FIRECRAWL_KEY, fetcher(resolve=private), 5)
    for url in (
        "http://127.0.0.1/",
        "https://inside.test/",
        "file:///etc/passwd",
        "https://x.com/",
        "nonsense",
    ):
        with pytest.raises(ScrapeFailed) as failed:
            await scraper.scrape(url)
        assert failed.value.blame == "url"
    assert services.asked == []


async def test_a_firecrawl_that_does_not_know_us_is_no_fault_of_the_url(site: OddServer) -> None:
    services = SearchServices(site)
    with pytest.raises(ScrapeFailed) as failed:
        await Firecrawl(services.url, "wrong", fetcher(resolve=public), 5).scrape("https://tides.test/")
    assert failed.value.blame == "page"
    assert "tides" not in failed.value.sentence
