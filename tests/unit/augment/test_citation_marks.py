"""How marks are told from everything that looks like one, and how they go out."""

from __future__ import annotations

import time

import pytest

from fondaco.augment.citing import marks
from fondaco.content import ContentLeak


@pytest.mark.parametrize(
    "mark",
    [
        *("^2^", "^[2]^", "[2]", "[^2]", "[[2]]", "[Source 2]", "(source 2)", "(Source: 2)", "[ref 2]"),
        *("【2】", "【2†page】", "<sup>2</sup>", "<sup>[2]</sup>", "²", "[REF]1[/REF]"),
    ],
)
def test_a_mark_is_read_in_every_spelling(mark: str) -> None:
    for sentence in ("The bridge opened{}.", "The bridge opened {}.", "The bridge opened.{}"):
        marked = marks.read(sentence.format(mark))
        assert (marked.bare, marked.claims) == ("The bridge opened.", [2])


@pytest.mark.parametrize(
    ("mark", "numbers"),
    [
        *[
            (mark, [1, 3])
            for mark in ("^1,3^", "^1, 3^", "^1^^3^", "^1^, ^3^", "[1][3]", "[1], [3]", "[1, 3]")
        ],
        *[
            (mark, [1, 3])
            for mark in ("[Sources 1 and 3]", "(sources 1, 3)", "¹,³", "[REF]0,2[/REF]", "^1;3^")
        ],
        ("^3,1,3^", [3, 1]),
        ("[1-3]", [1, 3, 2]),
        ("^99^", [99]),
        ("^0^", [0]),
    ],
)
def test_a_mark_may_name_several_sources(mark: str, numbers: list[int]) -> None:
    marked = marks.read(f"The bridge opened {mark}.")
    assert (marked.bare, marked.claims) == ("The bridge opened.", numbers)


@pytest.mark.parametrize(
    "text",
    [
        "About 10^6^ fish.",
        "2^10^ is 1024.",
        "It holds 3×10^8^ of them.",
        "Where x^2^ is small.",
        "E=mc^2^ holds.",
        "An area of 45 m^2^ and 12 km².",
        "Some 45 metres² of it.",
        "At 9.8 m/s^2^ it falls.",
        "(a+b)^2^ is positive.",
        "So 3^2^ = 9.",
        "Then 10⁶ more.",
        "10^6 and 10^7.",
        "In the range [1, 5] of it.",
        "The list [3].",
        "Take v = [1].",
        "See [1](https://a.example/) there.",
        "Say `rows[1]` or ``a^1^`b``.",
        "Where $a^1^$ and \\(b[1]\\).",
        "It takes [0] of them.",
        "She said [sic] so (see 4).",
        "Born in [1932].",
        "A caret ^ and another ^.",
    ],
)
def test_what_only_looks_like_a_mark_stays(text: str) -> None:
    marked = marks.read(text)
    assert (marked.bare, marked.claims) == (text, [])


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("It opened in 1932^1^.", [1]),
        ("It costs $5 million^1^ or $6 million^2^.", [1, 2]),
        ("In the US^1^.", [1]),
        ("It opened.^1", [1]),
        ("An open `tick and a mark^1^.", [1]),
        ("It was closed (in 1932)^1^.", [1]),
    ],
)
def test_a_mark_after_a_number_or_beside_code_is_one(text: str, numbers: list[int]) -> None:
    assert marks.read(text).claims == numbers


def test_taking_a_mark_out_leaves_none_behind() -> None:
    marked = marks.read("It opened^(source 2)9^.")
    assert (marked.bare, marked.claims) == ("It opened.", [2, 9])


@pytest.mark.parametrize(
    ("text", "numbers", "made"),
    [
        ("It opened [2].", [1], "It opened.^1^"),
        ("It opened.", [3, 1, 3], "It opened.^1,3^"),
        ("It opened.^2^", [], "It opened."),
        ("An item  ", [1], "An item^1^  "),
        ("A hard break\\", [1], "A hard break^1^\\"),
        ("An item\r", [1], "An item^1^\r"),
        ("**It opened.**", [1], "**It opened.**^1^"),
        ("An area of 45 m", [2], "An area of 45 m ^2^"),
        ("About 10", [1], "About 10 ^1^"),
        ("A part of 10^6", [1], "A part of 10^6 ^1^"),
        ("See https://a.example/b", [1], "See https://a.example/b ^1^"),
        ("According to [2], it opened.", [1], "According to ^1^, it opened."),
    ],
)
def test_a_mark_goes_where_readers_look_for_it(text: str, numbers: list[int], made: str) -> None:
    marked = marks.read(text)
    assert marks.placed(marked, numbers) == made
    again = marks.read(made)
    assert (again.bare, again.claims) == (marked.bare, sorted(set(numbers)))


def test_marks_in_a_row_stay_in_their_cells() -> None:
    assert (
        marks.kept("| ferry ^1^ | 1932 ^1, 9^ | [2] | 10^6^ |", {1})
        == "| ferry ^1^ | 1932 ^1^ | [2] | 10^6^ |"
    )
    assert marks.kept("| ferry ^1^ | 1932 ^9^ |", set()) == "| ferry | 1932 |"


def test_what_was_marked_cannot_be_printed() -> None:
    with pytest.raises(ContentLeak):
        str(marks.read("It opened.^1^"))


@pytest.mark.parametrize(
    "text", ["^1" * 1000, "[1" * 1000, "`$" * 1000, "\\(" * 1000, "[" * 2000, "^" * 500 + "1^" * 500]
)
def test_a_sentence_of_nothing_but_signs_is_read_at_once(text: str) -> None:
    began = time.process_time()
    marks.read(text)
    assert time.process_time() - began < 0.2
