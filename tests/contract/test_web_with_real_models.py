"""The web in chats with the models that users get: the documentation's own sample, and search without any network."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from fake_search import SearchServices
from gateways import ADMIN_KEY, CODER, Gateway, running
from odd_servers import odd_server

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

ROWS = [
    {
        "url": "https://harbour.example/",
        "title": "Harbour of Vell",
        "content": "Today the ferry to Vell leaves at 16:40 from the north quay.",
    },
    {"url": "https://mill.example/", "title": "Mill", "content": "The mill of Vell grinds rye and spelt."},
]
HANDBOOK = """# Handbook

## Leave

Staff of the Orrin observatory have 31 days of leave a year, and hand their requests to Mirela.

## Tea

Tea is made in the east kitchen at half past three.
"""


@contextlib.contextmanager
def searched(rows: list[dict[str, str]]) -> Generator[str]:
    """A SearXNG-speaking server on a loop of its own. Yields its URL."""
    loop = asyncio.new_event_loop()
    over = asyncio.Event()
    began: threading.Event = threading.Event()
    url: list[str] = []

    async def serve() -> None:
        async with odd_server() as server:
            SearchServices(server, rows)
            url.append(server.url)
            began.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert began.wait(10)
    try:
        yield url[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with searched(ROWS) as url:
        config = f'[search]\nproviders = ["searxng"]\nsearxng_url = "{url}"\n'
        with running(tmp_path_factory.mktemp("web"), "--model", CODER, config=config) as gateway:
            gateway.wait_ready(seconds=840)
            yield gateway


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(api_key=ADMIN_KEY, base_url=gateway.base_url) as client:
        yield client


def test_the_documentation_s_own_sample(client: OpenAI) -> None:
    completion = client.chat.completions.create(
        model="venice-uncensored",
        messages=[{"role": "user", "content": "When does the ferry to Vell leave today?"}],
        extra_body={"venice_parameters": {"enable_web_search": "auto"}},
    )
    assert "16:40" in (completion.choices[0].message.content or "")
    assert completion.model_extra is not None
    cited: list[Any] = completion.model_extra["venice_parameters"]["web_search_citations"]
    assert cited[0]["url"] == "https://harbour.example/"


def test_a_stream_cites_the_page_that_says_it(client: OpenAI) -> None:
    said, cited = "", None
    for chunk in client.chat.completions.create(
        model="default:enable_web_search=on&enable_web_citations=true",
        messages=[{"role": "user", "content": "From which quay does the ferry to Vell leave?"}],
        stream=True,
    ):
        said += chunk.choices[0].delta.content or ""
        if cited is None:
            cited = (chunk.model_extra or {})["venice_parameters"]["web_search_citations"]
    assert cited is not None
    number = 1 + [each["url"] for each in cited].index("https://harbour.example/")
    assert "north" in said.lower()
    assert f"^{number}^" in said


def test_without_a_network_the_operator_s_own_pages_are_searched(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    folder.mkdir()
    (folder / "handbook.md").write_text(HANDBOOK)
    data = tmp_path / "data"
    command = [sys.executable, "-m", "fondaco", "index", "add", str(folder), "--data-dir", str(data)]
    subprocess.run(command, check=True, capture_output=True)
    config = "[search]\nproviders = []\n"
    with running(tmp_path / "house", "--model", CODER, config=config, data_dir=data) as gateway:
        gateway.wait_ready(seconds=300)
        with OpenAI(api_key=ADMIN_KEY, base_url=gateway.base_url) as client:
            completion = client.chat.completions.create(
                model="default",
                messages=[{"role": "user", "content": "How many days of leave does staff of Orrin have?"}],
                extra_body={"venice_parameters": {"enable_web_search": "on"}},
            )
        assert "31" in (completion.choices[0].message.content or "")
        assert completion.model_extra is not None
        [cited, *_] = completion.model_extra["venice_parameters"]["web_search_citations"]
        assert cited["url"].endswith("books/handbook.md")
