"""Pages, documents and pictures that chats are told of by URL are kept nowhere, nor are their addresses."""

from __future__ import annotations

import base64
import json
from typing import Any

from conftest import House


def test_pages_and_documents_leave_nothing(house: House) -> None:
    plant = house.flock.plant

    def url(name: str) -> str:
        return f"{house.site}/{name}/{plant(f'path of {name}')}?q={plant(f'query of {name}')}"

    def part(kind: str, **told: Any) -> dict[str, Any]:
        return {"type": kind, kind: told}

    scraping = {"venice_parameters": {"enable_web_scraping": True, "enable_web_citations": True}}
    for stream in (False, True):
        status, answer = house.chat(
            "says", f"Read {url('page')} and {url('gone')}", stream=stream, **scraping
        )
        assert status == 200, answer
        assert house.flock.seen_in([("the answer", answer)]), "what was found is told"
    own = base64.b64encode(plant("text of a file").encode()).decode()
    parts = [
        part("file", file_data=f"data:text/plain;base64,{own}", filename=f"{plant('name of a file')}.txt"),
        part("file", file_data=url("document"), filename=plant("name of a document")),
        part("file", file_data=url("gone"), filename=plant("name of what is gone")),
        {"type": "text", "text": plant("text beside files")},
    ]
    status, answer = house.chat("says", parts)  # pyright: ignore[reportArgumentType]
    assert status == 200, answer
    status, answer = house.chat("says", [part("image_url", url=url("picture"))])  # pyright: ignore[reportArgumentType]
    assert status == 400, answer
    for path, statuses in (("page", (200,)), ("gone", (500,)), ("picture", (200,))):
        status, answer = house.ask("POST", "/api/v1/augment/scrape", json.dumps({"url": url(path)}).encode())
        assert status in statuses, answer
    house.settle()
    assert house.leaks() == []
