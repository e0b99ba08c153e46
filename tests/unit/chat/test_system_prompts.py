"""The server's own system prompts: which model is given which, and the day it is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fondaco.chat.options import Options
from fondaco.chat.prompt import PromptBuilder
from fondaco.chat.system_prompts import CODE, GENERAL, IN_CHARACTER, SMALL, family
from fondaco.clock import SystemClock
from fondaco.models.catalogue import Catalogue
from fondaco.models.model import Model

CATALOGUE = Catalogue()
LOCAL = {each.model.id: each.model for each in CATALOGUE.local}
PLAIN = Options()


def model(name: str) -> Model:
    found = LOCAL.get(name) or CATALOGUE.find(name)
    assert found is not None
    return found


class At(SystemClock):
    def __init__(self, *date: int) -> None:
        self.at = datetime(*date, tzinfo=UTC)  # pyright: ignore[reportArgumentType]

    def now(self) -> datetime:
        return self.at

    def unix(self) -> int:
        return int(self.at.timestamp())


def prompt(name: str, system: str | None = None, options: Options = PLAIN, **by_model: str) -> str:
    patterns = {key.replace("_", "*"): text for key, text in by_model.items()}
    return PromptBuilder(At(2026, 3, 1, 9), system, patterns).own_prompt(model(name), options)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qwen2.5-coder-0.5b-instruct", SMALL),
        ("smollm2-135m-instruct", SMALL),
        ("qwen3-4b", SMALL),
        ("zai-org-glm-4.7", GENERAL),
        ("qwen3-coder-480b-a35b-instruct", CODE),
    ],
)
def test_each_family_has_its_own(name: str, text: str) -> None:
    assert prompt(name) == f"{text}\nToday is Sunday, 01 March 2026."


def test_small_models_are_given_little_to_read() -> None:
    assert len(SMALL) < 300
    assert len(IN_CHARACTER) < 200
    assert len(GENERAL) < 2000
    for local in LOCAL.values():
        assert local.type != "text" or family(local) == "small"


def test_the_day_follows_the_clock() -> None:
    clock = At(2026, 12, 31, 23, 59, 59)
    builder = PromptBuilder(clock, None)
    assert "31 December 2026" in builder.own_prompt(model("qwen3-4b"), PLAIN)
    clock.at = datetime(2027, 1, 1, tzinfo=UTC)
    assert "Friday, 01 January 2027" in builder.own_prompt(model("qwen3-4b"), PLAIN)
    assert "01 January 2027" in builder.own_prompt(model("zai-org-glm-4.7"), PLAIN)


def test_the_operator_s_prompts_go_before_ours() -> None:
    assert prompt("qwen3-4b", "Ours.").startswith("Ours.\nToday is")
    assert prompt("qwen3-4b", "Ours.", qwen_="For Qwen.").startswith("For Qwen.\nToday is")
    assert prompt("zai-org-glm-4.7", "Ours.", qwen_="For Qwen.").startswith("Ours.\n")
    assert prompt("qwen3-4b", None, qwen3_="First.", qwen_="Second.").startswith("First.\n")


def test_empty_text_is_no_prompt_not_even_the_day() -> None:
    assert prompt("qwen3-4b", "") == ""
    assert prompt("qwen3-4b", "Ours.", qwen_="") == ""


def test_the_switch_of_a_request_turns_all_off() -> None:
    off = Options(include_venice_system_prompt=False)
    assert prompt("qwen3-4b", "Ours.", off, qwen_="For Qwen.") == ""


def test_a_character_is_given_a_prompt_without_an_assistant_in_it() -> None:
    as_character = Options(character_slug="nell")
    for name in ("qwen3-4b", "zai-org-glm-4.7"):
        assert prompt(name, None, as_character) == f"{IN_CHARACTER}\nToday is Sunday, 01 March 2026."
    assert prompt("qwen3-4b", "Ours.", as_character).startswith("Ours.\n")
