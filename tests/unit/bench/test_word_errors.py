"""How `bench.audio` counts wrong words."""

from __future__ import annotations

import pytest

from bench.audio.errors import error_rate, words


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        ("three hundred and fifty dollars", "$350"),
        ("nineteen ninety eight", "1998"),
        ("two thousand and twelve", "2012"),
        ("the fourteenth of March", "the 14th of March"),
        ("at ten fifteen the rain stopped", "At 10:15, the rain stopped."),
        ("fifteen hundred people", "1,500 people"),
        ("forty-two apples and eleven pears", "42 apples and 11 pears"),
        ("Doctor Patel", "Dr. Patel"),
        ("half past seven and then", "half past 7, and then"),
    ],
)
def test_numbers_are_the_same_however_they_are_written(spoken: str, written: str) -> None:
    assert words(spoken) == words(written)


@pytest.mark.parametrize(
    ("spoken", "written"),
    [("forty two", "43"), ("nineteen ninety eight", "1988"), ("four hundred", "4"), ("seven", "seventeen")],
)
def test_a_wrong_number_is_wrong(spoken: str, written: str) -> None:
    assert error_rate([spoken], [written])[0] == 1


def test_errors_are_words_replaced_left_out_and_put_in() -> None:
    said = ["the cat sat on the mat"]
    assert error_rate(said, said) == (0, 6)
    assert error_rate(said, ["a cat sat on the mat"]) == (1, 6)
    assert error_rate(said, ["cat sat on the mat"]) == (1, 6)
    assert error_rate(said, ["the cat sat down on the mat"]) == (1, 6)
    assert error_rate(said, [""]) == (6, 6)
    assert error_rate(["a b", "c"], ["a", "d e"]) == (3, 3)
