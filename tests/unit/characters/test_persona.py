"""A character brought into a conversation."""

from __future__ import annotations

from typing import Any

from card_files import raw
from fondaco.characters.card import Card, read
from fondaco.characters.persona import Aside, Staged, Turn, staged


def card(**fields: Any) -> Card:
    return read(raw({"spec": "chara_card_v2", "data": {"name": "Nell", **fields}})).card


def play(
    made: Card, *turns: Turn, user: str | None = None, original: str = "", context: int = 32_768
) -> Staged:
    return staged(made, turns, user=user, original=original, context_tokens=context)


ASKED = Turn(False, "Hello")

FULL = {
    "description": "{{char}} keeps the mill.",
    "personality": "kind",
    "scenario": "{{user}} is at the door.",
    "first_mes": "Come in, {{user}}!",
    "mes_example": "<START>\n{{user}}: hi\n{{char}}: hello\n<start>\n{{user}}: bye\n{{char}}: so soon?",
}


def test_the_parts_of_a_card_are_told_in_order() -> None:
    book = {
        "entries": [
            {"keys": ["hello"], "content": "AFTER", "position": "after_char", "enabled": True},
            {"keys": ["hello"], "content": "BEFORE", "position": "before_char", "enabled": True},
        ]
    }
    part = play(card(**FULL, character_book=book), ASKED, user="Tom")
    places = [
        part.system.index(told)
        for told in ("you are Nell", "BEFORE", "Nell keeps the mill.", "kind", "Tom is at the door.", "AFTER")
    ]
    places += [part.system.index("Tom: hi\nNell: hello"), part.system.index("Tom: bye\nNell: so soon?")]
    assert places == sorted(places)
    assert "<START>" not in part.system
    assert (part.greeting, part.closing, part.replaces_prompt) == ("Come in, Tom!", "", False)


def test_a_bare_card_is_only_who_it_is() -> None:
    part = play(card(), ASKED)
    assert "you are Nell" in part.system
    assert "\n" not in part.system
    assert (part.greeting, part.closing, part.asides) == ("", "", ())


def test_a_greeting_is_not_said_twice() -> None:
    assert play(card(**FULL), Turn(True, "Good day."), ASKED).greeting == ""
    assert play(card(**FULL), ASKED, Turn(True, "Good day.")).greeting != ""


def test_a_card_s_own_system_prompt_stands_in_the_place_of_the_server_s() -> None:
    part = play(card(system_prompt="You play {{char}}."), ASKED, original="SERVER")
    assert part.replaces_prompt
    assert part.system == "You play Nell."
    quoting = play(card(system_prompt="{{original}}\nYou play {{char}}."), ASKED, original="SERVER {{char}}")
    assert quoting.system == "SERVER {{char}}\nYou play Nell."
    assert not play(card(system_prompt=" \n"), ASKED, original="SERVER").replaces_prompt


def test_the_last_word_is_the_card_s() -> None:
    assert play(card(post_history_instructions="{{original}} Stay {{char}}."), ASKED).closing == "Stay Nell."


def test_what_is_for_people_is_not_told_to_the_model() -> None:
    part = play(card(creator_notes="NOTES", creator="MAKER", tags=["TAG"], **FULL), ASKED)
    told = part.system + part.greeting + part.closing
    assert not any(word in told for word in ("NOTES", "MAKER", "TAG"))


def test_examples_give_way_to_the_conversation() -> None:
    long = card(**FULL | {"mes_example": "<START>\nalpha " + "a" * 200 + "\n<START>\nomega " + "b" * 200})
    assert "omega" in play(long, ASKED, context=1000).system
    some = play(long, ASKED, context=400).system
    assert "alpha" in some
    assert "omega" not in some
    assert "alpha" not in play(long, Turn(False, "x" * 600), context=400).system
    assert "Nell keeps the mill." in play(long, Turn(False, "x" * 100_000), context=400).system


def test_lore_hears_the_greeting_and_counts_it() -> None:
    entries = [
        {"keys": ["come in"], "content": "THE DOOR", "enabled": True},
        {"keys": ["hello"], "content": "@@activate_only_after 1\nGREETED", "enabled": True},
        {"keys": ["hello"], "content": "@@activate_only_after 2\nTWICE", "enabled": True},
    ]
    part = play(card(**FULL, character_book={"entries": entries}), ASKED)
    assert "THE DOOR" in part.system
    assert "GREETED" in part.system
    assert "TWICE" not in part.system


def test_lore_for_a_part_that_the_card_lacks_goes_before_the_card() -> None:
    entries = [{"keys": ["hello"], "content": "@@position scenario\nLORE", "enabled": True}]
    without = play(card(description="DESCRIPTION", character_book={"entries": entries}), ASKED).system
    assert without.index("LORE") < without.index("DESCRIPTION")
    given = card(description="DESCRIPTION", scenario="SCENARIO", character_book={"entries": entries})
    assert play(given, ASKED).system.index("LORE") > play(given, ASKED).system.index("SCENARIO")


def test_lore_among_the_turns_is_no_part_of_the_system_prompt() -> None:
    entries = [{"keys": ["hello"], "content": "@@depth 1\nLORE", "enabled": True}]
    part = play(card(character_book={"entries": entries}), ASKED)
    assert "LORE" not in part.system
    assert part.asides == (Aside(1, "system", "LORE"),)
