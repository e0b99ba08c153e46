"""Which messages need the web, by themselves and after others."""

from __future__ import annotations

import pytest

from bench.augment.scores import Score, score
from bench.augment.train_auto import natural_messages
from fondaco.augment.need import needs_search
from fondaco.augment.signs import LOOKED_AT, MOST_WORDS, Asked, cues, signs, tokens

MIN_F1 = 0.85


@pytest.mark.parametrize(
    "said",
    [
        "What's the weather in Lisbon today?",
        "who coaches Arsenal",
        "latest stable version of PostgreSQL",
        "Search the web for heat pump subsidies in Austria",
        "Wie wird das Wetter morgen in Hamburg?",
        "Qui est le premier ministre actuel ?",
        "¿Quién ganó ayer el partido?",
        "東京の明日の天気は？",
        "比特币现在多少钱",
    ],
)
def test_what_changes_needs_the_web(said: str) -> None:
    assert needs_search(said)


@pytest.mark.parametrize(
    "said",
    [
        "Translate into German: what is the weather in Lisbon today?",
        "write a news article about a dragon",
        "how do I reverse a list in Python",
        "explain photosynthesis",
        "I feel sad today",
        "Don't search the web: what's the weather in Lisbon today?",
        "Ohne im Internet zu suchen: wer trainiert Arsenal?",
        "Schreib ein Gedicht über den Herbst",
        "把下面这句话翻译成英文：今天天气怎么样？",
        "",
        "…",
    ],
)
def test_what_a_model_can_do_alone_does_not(said: str) -> None:
    assert not needs_search(said)


def test_a_message_that_goes_on_needs_what_the_one_before_needed() -> None:
    assert needs_search("and in Berlin?", ["what's the weather in Paris today?"])
    assert not needs_search("and of Spain?", ["what is the capital of France?"])
    assert not needs_search("thanks!", ["what's the weather in Paris today?"])


def test_messages_kept_apart_from_the_training_come_out_right() -> None:
    natural = list(natural_messages())
    found = score(
        [search for *_, search in natural], [needs_search(said, before) for said, before, _ in natural]
    )
    assert found.f1 >= MIN_F1, found


def test_scores_count_each_kind_of_answer() -> None:
    found = score([True, True, False, False, False], [True, False, True, False, False])
    assert found == Score(hits=1, needless=1, missed=1, left=2)
    assert found.f1 == pytest.approx(0.5)


@pytest.mark.parametrize("year", ["2026", "2025"])
def test_how_recent_a_year_is_counts_from_now(year: str) -> None:
    now = signs(f"who won in {year}", 2026)
    later = signs(f"who won in {year}", 2056)
    assert {sign for sign in now if sign.startswith("f:year")} == {f"f:year={2026 - int(year)}"}
    assert {sign for sign in later if sign.startswith("f:year")} == {"f:year=past"}


def test_given_text_is_not_what_is_asked() -> None:
    asked = Asked("Summarize this: bitcoin fell today")
    assert asked.given
    assert "bitcoin" not in asked.words
    assert "secret" not in Asked('what does "the secret price of today" mean').words
    assert Asked("fix ```news()``` please").code


def test_cues_are_found_in_every_writing() -> None:
    assert "weather" in cues(tokens("Wettervorhersage"))
    assert "weather" in cues(tokens("MÉTÉO"))
    assert "weather" in cues(tokens("東京の天気"))


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        " ",
        '"',
        " '",
        "([{",
        "\x00\x01",
        "\n",
        "天",
        "http://",
        ": ",
        "```",
        "A ",
        "1.1 ",
        "é́",
        "ﷺ",
        "news ",
        "{;\n",
    ],
)
def test_work_is_bounded_whatever_the_message(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    def counted(text: str) -> list[str]:
        nonlocal read
        read += len(text)
        return tokens(text)

    monkeypatch.setattr("fondaco.augment.signs.tokens", counted)
    said = (unit * 1_000_000)[:1_000_000]
    shown = signs(said, 2026)
    assert read <= 6 * LOOKED_AT
    assert len(Asked(said).text) <= LOOKED_AT + 1
    assert len(shown) <= 20 * MOST_WORDS
    needs_search(said, [said] * 3)
