"""What a search engine is asked for a message."""

from __future__ import annotations

import pytest

from fondaco.augment.query import search_query
from fondaco.augment.search import MAX_QUERY


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("weather in Berlin", "weather in Berlin"),
        ("Who coaches Arsenal?", "Who coaches Arsenal"),
        ("Hey, could you please tell me who coaches Arsenal? Thanks!", "who coaches Arsenal"),
        ("search the web for heat pump subsidies", "heat pump subsidies"),
        ("Please do a web search for the best e-bike, thanks", "the best e-bike"),
        ("google Blue Heron Books for me", "Blue Heron Books"),
        ("googling habits of teenagers", "googling habits of teenagers"),
        ("look up ferry times to Texel please", "ferry times to Texel"),
        ("Kannst du mir bitte sagen, wie hoch der Leitzins ist?", "sagen, wie hoch der Leitzins ist"),
        ("Suche im Internet nach Pegelstand Rhein", "Pegelstand Rhein"),
        ("Peux-tu me dire qui dirige Renault ? Merci", "qui dirige Renault"),
        ("cherche sur internet le prix du gaz", "le prix du gaz"),
        ("Hola, ¿puedes decirme quién ganó ayer?", "quién ganó ayer"),
        ("busca en internet horarios del Prado", "horarios del Prado"),
        ("cerca su internet orari degli Uffizi per favore", "orari degli Uffizi"),
        ("pesquise na internet preço do dólar", "preço do dólar"),
        ("zoek op internet naar openingstijden Rijksmuseum", "openingstijden Rijksmuseum"),
        ("帮我搜索一下新能源补贴", "新能源补贴"),
        ("台風の進路を検索してください", "台風の進路"),
        ("please", "please"),
        ("search", "search"),
        ("???", ""),
        ("", ""),
        ("\x00\x01", ""),
    ],
)
def test_a_short_message_is_asked_without_politeness(said: str, asked: str) -> None:
    assert search_query(said) == asked


def test_the_question_of_a_long_message_stands_first_or_last() -> None:
    pasted = "The company said on Monday that it would close two plants. Its workers went on strike. " * 10
    assert search_query(f"Is it true that Volkswagen closes its plant?\n\n{pasted}") == (
        "Is it true that Volkswagen closes its plant"
    )
    assert search_query(f"{pasted}\nWho leads the union now?") == "Who leads the union now"
    assert search_query(f"{pasted} Does anybody know the number of workers? {pasted}") == (
        "Does anybody know the number of workers"
    )


def test_what_is_no_question_gives_its_first_sentence() -> None:
    said = (
        "I need the current rent prices in Leeds. "
        + "My daughter moves there, she is twenty and likes tea. " * 6
    )
    assert search_query(said) == "I need the current rent prices in Leeds"


@pytest.mark.parametrize(
    ("before", "said", "words"),
    [
        (["what's the weather in Paris?"], "and in Berlin?", {"weather", "Berlin"}),
        (["who is the CEO of Lufthansa?"], "how old is he?", {"CEO", "Lufthansa", "old"}),
        (["latest version of Python", "thanks!"], "and Rust?", {"latest", "version", "Rust"}),
        (["Wie wird das Wetter in Köln?"], "und morgen?", {"Wetter", "Köln?", "morgen"}),
    ],
)
def test_a_message_that_says_little_takes_the_words_of_the_one_before(
    before: list[str], said: str, words: set[str]
) -> None:
    found = {word.strip("?,") for word in search_query(said, before).split()}
    assert {word.strip("?,") for word in words} <= found


def test_japanese_follows_on_too() -> None:
    assert search_query("大阪は？", ["東京の天気は？"]) == "東京の天気は 大阪は"


def test_a_message_that_says_enough_stands_alone() -> None:
    said = "opening hours of the Rijksmuseum on Sunday"
    assert search_query(said, ["who wrote Hamlet?"]) == said


def test_urls_and_code_are_no_query() -> None:
    said = "why does https://example.com/a?b=c fail with this error?\n```\nraise ValueError('secret')\n```"
    asked = search_query(said)
    assert "example" not in asked
    assert "secret" not in asked
    assert asked.startswith("why does")


def test_a_message_of_nothing_but_code_or_a_url_still_asks_something() -> None:
    assert search_query("https://example.com/blog") == "https://example.com/blog"
    assert "total" in search_query("```\ntotal = 1\n```")


@pytest.mark.parametrize(
    "said",
    [
        "a" * 1_000_000,
        "who " * 250_000,
        "? " * 500_000,
        "天" * 1_000_000,
        "```" * 300_000,
        "please " * 100_000,
        "“" * 10**6,
    ],
)
def test_a_query_is_one_short_line_whatever_the_message(said: str) -> None:
    asked = search_query(said, [said, said])
    assert len(asked) <= MAX_QUERY
    assert "\n" not in asked
    assert bool(asked) == any(map(str.isalnum, said))
