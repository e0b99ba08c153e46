"""The words in a card that stand for others."""

from __future__ import annotations

import random
import time

import pytest

from fondaco.characters.macros import Macros


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("{{char}} greets {{user}}.", "Nell greets Tom."),
        ("{{CHAR}}, <BOT>, <char>; {{User}}, <user>", "Nell, Nell, Nell; Tom, Tom"),
        ("a {{// never told}}b{{comment: nor this}}{{hidden_key: or that}}", "a b"),
        ("{{reverse:abc}}", "cba"),
        ("{{reverse:{{char}}}}", "lleN"),
        (
            "{{unknown}} {{time:now}} {x} {{}} {{roll:x}} {{roll:0}}",
            "{{unknown}} {{time:now}} {x} {{}} {{roll:x}} {{roll:0}}",
        ),
        ("{{pick:only}} {{random::only}}", "only only"),
        ("{{random:a\\,b}}", "a,b"),
        ("<b>bold</b> 1 < 2", "<b>bold</b> 1 < 2"),
        ("  {{char}}\n", "Nell"),
        (None, ""),
    ],
)
def test_macros_stand_for_what_they_name(text: str | None, made: str) -> None:
    assert Macros("Nell", "Tom")(text) == made


def test_chance_is_between_the_values_and_a_pick_stays() -> None:
    macros = Macros("Nell", chance=random.Random(1))
    assert {macros("{{random:a,b,c}}") for _ in range(60)} == {"a", "b", "c"}
    assert {macros("{{roll:d3}}") for _ in range(60)} == {"1", "2", "3"}
    picked = macros("{{pick:a,b,c,d}}")
    assert {Macros("Nell")("{{pick:a,b,c,d}}") for _ in range(20)} == {picked}


def test_who_has_no_name_is_called_user_and_a_name_is_no_macro() -> None:
    assert Macros("Nell")("{{user}}") == "User"
    assert Macros("Nell", " ")("{{user}}") == "User"
    assert Macros("Nell", "{{char}}<bot>")("{{user}}") == "charbot"
    assert len(Macros("Nell", "x" * 10_000)("{{user}}")) == 64


def test_the_original_is_put_in_as_it_is() -> None:
    macros = Macros("Nell", "Tom")
    assert (
        macros.around("{{original}}\nYou are {{char}}.", "Be {{char}}, kind.")
        == "Be {{char}}, kind.\nYou are Nell."
    )
    assert macros.around("First. {{ORIGINAL}} Last.", "") == "First.  Last."
    assert macros.around("You are {{char}}.", "unused") == "You are Nell."
    assert macros.around(None, "unused") == ""


@pytest.mark.parametrize("piece", ["{{", "}}", "{{random:", "{{a", "<", "{{user}}{{", "{{pick:,,,,}}"])
def test_odd_texts_take_no_longer_than_they_are(piece: str) -> None:
    started = time.process_time()
    Macros("Nell", "{{user}}" * 10)(piece * 20_000)
    assert time.process_time() - started < 2
