"""How a text is cut for the model."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco.engines.speech.kokoro import MAX_PHONEMES
from fondaco.engines.speech.sentences import FIRST, TOGETHER, Piece, pieces


def said(text: str) -> str:
    """Stands in for a language: each letter is its own sound."""
    phonemes = " ".join(re.sub(r"[^a-z,.!? ]", "", text.lower()).split())
    return phonemes if re.search("[a-z]", phonemes) else ""


def cut(text: str, language: str = "en-us") -> list[Piece]:
    return list(pieces(text, language, said))


LONG = "The merchants of the house kept their books with care and counted every coin that they took in on that long day. "


def test_each_sentence_is_a_piece_and_says_where_it_ends() -> None:
    text = LONG + LONG + LONG.strip()
    made = cut(text)
    assert [piece.end for piece in made] == [len(LONG), 2 * len(LONG), len(text)]
    assert all(piece.phonemes == said(LONG) for piece in made)


def test_abbreviations_and_numbers_do_not_end_a_sentence() -> None:
    text = "Dr. Smith paid Mr. Jones 3.50 dollars on Jan. 5 for a book about the old customs of Venice, e.g. trade."
    assert len(cut(text)) == 1


def test_short_sentences_are_spoken_together() -> None:
    made = cut("Yes. No. Maybe so. " + LONG.strip())
    assert made[0].phonemes == "yes. no. maybe so."
    assert len(made[0].phonemes) < TOGETHER
    assert len(made) == 2


def test_a_first_sentence_that_is_long_enough_waits_for_no_other() -> None:
    first, rest = cut("The ships came in very early. Yes. No.")
    assert (first.phonemes, rest.phonemes) == ("the ships came in very early.", "yes. no.")


def test_a_paragraph_ends_a_piece_with_a_longer_pause() -> None:
    first, second = cut("Yes.\n\nNo.")
    assert (first.phonemes, second.phonemes) == ("yes.", "no.")
    assert first.pause > cut(LONG + LONG)[0].pause > second.pause == 0


def test_a_long_first_sentence_is_cut_at_a_clause_so_that_it_is_heard_soon() -> None:
    text = "when the ships came in from the east, " * 10 + "they sang."
    made = cut(text)
    assert len(made[0].phonemes) <= FIRST
    assert made[0].phonemes.endswith(",")
    assert "".join(piece.phonemes for piece in made).replace(" ", "") == said(text).replace(" ", "")


@pytest.mark.parametrize("text", ["a" * 4096, "word " * 800, "one, " * 800, "x, " + "y" * 4000])
def test_no_piece_is_longer_than_the_model_takes(text: str) -> None:
    made = cut(text)
    assert all(0 < len(piece.phonemes) <= MAX_PHONEMES for piece in made)
    spoken = "".join(piece.phonemes for piece in made)
    assert re.sub("[ .]", "", spoken) == re.sub("[ .]", "", said(text))
    ends = [piece.end for piece in made]
    assert ends == sorted(ends)
    assert ends[-1] == len(text)


@pytest.mark.parametrize("text", ["...", "😀", " \n\n ", "\x00\x07", "!?"])
def test_what_cannot_be_spoken_makes_no_piece(text: str) -> None:
    assert cut(text) == []


def test_titles_and_items_of_lists_end_as_sentences_do() -> None:
    assert cut("Wares\n\n- silk\n- pepper")[0].phonemes == "wares."
    assert cut("Hello")[0].phonemes == "hello."


def test_what_cannot_be_spoken_at_the_end_belongs_to_the_last_piece() -> None:
    text = "Hello there. 😀 😀"
    assert [piece.end for piece in cut(text)] == [len(text)]


@pytest.mark.parametrize(
    ("language", "text", "count"),
    [
        ("ja", "今日はとてもいい天気ですね。" * 2, 2),
        ("zh", "今天天气很好，我们去公园。" * 2, 2),
        ("hi", "यह एक वाक्य है। यह दूसरा वाक्य है।", 2),
        ("es", "El Sr. López llegó a la casa. ¿Cómo está?", 2),
    ],
)
def test_sentences_end_as_their_language_ends_them(language: str, text: str, count: int) -> None:
    long = "x" * (TOGETHER - 1) + "."
    assert len(list(pieces(text, language, lambda sentence: long))) == count


@given(st.text(alphabet="ab,.!? \n…é😀1", max_size=400))
@settings(max_examples=200, deadline=None)
def test_whatever_is_given_all_that_can_be_spoken_is_spoken_in_order(text: str) -> None:
    made = cut(text)
    letters = "".join(piece.phonemes for piece in made)
    assert re.sub("[^ab]", "", letters) == re.sub("[^ab]", "", text)
    ends = [piece.end for piece in made]
    assert ends == sorted(ends)
    assert not made or ends[-1] == len(text)


def test_blank_lines_before_a_word_cost_nothing() -> None:
    cut("x")  # what is loaded once is not counted
    began = time.process_time()
    assert len(cut("\n" * 1190 + "x")) == 1
    assert time.process_time() - began < 0.3
