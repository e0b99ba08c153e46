"""A character imported from a PNG card talks like it, on a real model of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from card_files import in_base64, picture
from gateways import ADMIN_KEY, Gateway

# A fresh machine fetches weights within the first test that needs them.
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

BRINE = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Captain Brine",
        "description": (
            "{{char}} is a pirate captain on the ship Sea Biscuit. {{char}} has a parrot called Custard. "
            '{{char}} begins every reply with "Arr!" and calls everybody matey.'
        ),
        "personality": "loud, jolly",
        "scenario": "On deck, in a storm.",
        "first_mes": "Arr! Welcome aboard the Sea Biscuit, matey! I be Captain Brine.",
        "mes_example": "<START>\n{{user}}: How are you?\n{{char}}: Arr! Wet as a fish and twice as happy, matey!",
        "character_book": {
            "entries": [
                {
                    "keys": ["treasure"],
                    "content": "The treasure is buried on Gull Island, under the crooked palm.",
                    "enabled": True,
                    "insertion_order": 1,
                }
            ]
        },
    },
}


@pytest.fixture(scope="module")
def aboard(coder_gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A running server into which the captain has been imported."""
    card = tmp_path_factory.mktemp("cards") / "brine.png"
    card.write_bytes(picture(chara=in_base64(BRINE)))
    _characters(coder_gateway, "import", str(card), "--replace")
    yield coder_gateway
    _characters(coder_gateway, "remove", "captain-brine")


def _characters(gateway: Gateway, *words: str) -> None:
    command = [sys.executable, "-m", "fondaco", "characters", *words, "--data-dir", str(gateway.data_dir)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def _asked(gateway: Gateway, question: str, slug: str | None = "captain-brine") -> str:
    body: dict[str, Any] = {
        "model": "default" if slug is None else f"default:character_slug={slug}",
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": 60,
    }
    request = urllib.request.Request(
        f"{gateway.base_url}/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("question", "word"),
    [("What is your name?", "Brine"), ("Do you have a pet?", "Custard"), ("Where is the treasure?", "palm")],
)
def test_a_character_from_a_picture_talks_like_it(aboard: Gateway, question: str, word: str) -> None:
    said = _asked(aboard, question)
    assert said.startswith("Arr!")
    assert word in said


def test_without_it_the_model_is_no_pirate(aboard: Gateway) -> None:
    assert "Arr" not in _asked(aboard, "What is your name?", None)


def test_one_of_ours_speaks_for_herself(coder_gateway: Gateway, tmp_path: Path) -> None:
    assert "Marina" in _asked(coder_gateway, "Who are you and where am I?", "marina")
