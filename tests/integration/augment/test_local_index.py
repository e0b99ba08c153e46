"""The local index with this machine's own embedding model: from a folder to an answer, with no network."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fondaco.augment.index import index as index_module
from fondaco.cli import app
from gateways import TINY
from served_app import ServedApp, served_app

# A fresh machine fetches weights within the first test that needs them.
pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(300)]

PAGES = {
    "nose.md": "When the nose bleeds, sit up, lean forward, and pinch its soft part under the bone for ten minutes.",
    "glass.md": "In 1291 the Republic of Venice moved the furnaces of all glassmakers to Murano, to watch them there.",
    "turbine.md": "When gusts pass twenty-five metres a second each blade of the wind turbine is turned out of the flow.",
}
QUESTIONS = {
    "nose.md": "How is bleeding from the nostrils treated?",
    "glass.md": "Why were Venetian artisans locked on an island?",
    "turbine.md": "What keeps windmills whole in a storm?",
}


async def searched(served: ServedApp, query: str) -> list[dict[str, Any]]:
    answer = await served.ask("POST", "/augment/search", {"query": query})
    assert answer.status == 200, answer.body
    return answer.json()["results"]


async def test_a_question_in_other_words_finds_the_passage_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "LOOK_SECONDS", 0.2)
    folder, data = tmp_path / "pages", tmp_path / "data"
    folder.mkdir()
    for name, text in PAGES.items():
        (folder / name).write_text(text)
    words = ["index", "add", str(folder), "--data-dir", str(data)]
    added = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert "3 added" in added.output, added.output
    async with served_app(data, {}, local=TINY, search={"providers": []}, limits={"scale": 1000}) as served:
        async with asyncio.timeout(60):
            while not all([await searched(served, question) for question in QUESTIONS.values()]):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        for name, question in QUESTIONS.items():
            [found] = await searched(served, question)
            assert (found["url"], found["content"]) == (f"file:pages/{name}", PAGES[name])
        assert await searched(served, "How many goals did Pelé score?") == []
