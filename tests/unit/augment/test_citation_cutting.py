"""Where sentences end, what is no sentence, and that nothing of an answer is lost on the way."""

from __future__ import annotations

import random
import time

import pytest

from fondaco.augment.citing.cutting import LONGEST, Cutter, Kind


def cut(text: str, *sizes: int) -> list[tuple[Kind, str]]:
    """The pieces of a text that is fed in parts of these sizes in turn; whole without sizes."""
    cutter, at, turn = Cutter(), 0, 0
    pieces: list[tuple[Kind, str]] = []
    while at < len(text):
        size = sizes[turn % len(sizes)] if sizes else len(text)
        pieces += [(piece.kind, piece.text) for piece in cutter.feed(text[at : at + size])]
        at, turn = at + size, turn + 1
    return pieces + [(piece.kind, piece.text) for piece in cutter.end()]


def sentences(text: str, *sizes: int) -> list[str]:
    return [said.strip() for kind, said in cut(text, *sizes) if kind is Kind.SENTENCE]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It opened. It closed!  Did it? Yes", ["It opened.", "It closed!", "Did it?", "Yes"]),
        ("It opened.^1^ It closed. [2] It", ["It opened.^1^", "It closed. [2]", "It"]),
        ("It opened.^1^^2^It closed.", ["It opened.^1^^2^", "It closed."]),
        ("It opened. (Source 1) It closed.", ["It opened. (Source 1)", "It closed."]),
        ("It opened. (So they say.) It closed.", ["It opened.", "(So they say.)", "It closed."]),
        ("He said “It opened.” She left.", ["He said “It opened.”", "She left."]),
        ("**It opened.** It closed.", ["**It opened.**", "It closed."]),
        ("Dr. Lisk and J. R. Marsh met Mr. Roe at 3.5 km, e.g. here.", None),
        (
            "It is approx. five, i.e. few, as the U.S. Army has it. Then",
            ["It is approx. five, i.e. few, as the U.S. Army has it.", "Then"],
        ),
        ("It has cheese, bread, etc. It closed.", ["It has cheese, bread, etc.", "It closed."]),
        ("Well... it opened... It closed.", ["Well... it opened...", "It closed."]),
        ("See https://a.example/b.c?d=e. It closed.", ["See https://a.example/b.c?d=e.", "It closed."]),
        ("Say `ab. B` and $xy. Y$ and \\(xy. Y\\). It", ["Say `ab. B` and $xy. Y$ and \\(xy. Y\\).", "It"]),
        ("It costs $5. It closed.", ["It costs $5.", "It closed."]),
        ("它于1932年开通。^1^它关闭了！是吗？", ["它于1932年开通。^1^", "它关闭了！", "是吗？"]),
        ("「開いた。」閉じた。", ["「開いた。」", "閉じた。"]),
        ("It opened in\n1932. It closed", ["It opened in", "1932.", "It closed"]),
        (
            "- One item\n* Two. Three\n1. Four\n2) Five\n> Six",
            ["One item", "Two.", "Three", "Four", "Five", "Six"],
        ),
        ("- a\n\n    more of it. And more.\n", ["a", "more of it.", "And more."]),
        ("It opened.\r\nIt closed.\r\n", ["It opened.", "It closed."]),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str] | None) -> None:
    for sizes in ((), (1,)):
        assert sentences(text, *sizes) == (expected or [text])


@pytest.mark.parametrize(
    "block",
    [
        "```\nIt opened. [1]\n```\n",
        "~~~~ text\nIt opened.\n~~~\n~~~~\n",
        "```py\nIt opened.\n\n    a ``` b\n``` c\n```\n",
        "    x = a[1]. It opened.\n    y\n",
        "\tx = a[1]. It opened.\n",
        "$$\nx. Y^1^\n$$\n",
        "\\[ x. Y \\] and more. Of it.\n",
        "[1]: https://a.example/ It opened.\n",
        "[^1]: It opened. It closed.\n",
        "\n  \n\t\n",
    ],
)
def test_what_is_no_prose_passes_untouched(block: str) -> None:
    for sizes in ((), (1,), (3, 2)):
        pieces = cut(block + "It opened.", *sizes)
        assert {kind for kind, _ in pieces[:-1]} == {Kind.UNTOUCHED}
        assert pieces[-1] == (Kind.SENTENCE, "It opened.")


def test_code_that_is_never_closed_passes_untouched_to_its_end() -> None:
    assert {kind for kind, _ in cut("```\nIt opened. It closed.\n``\nIt")} == {Kind.UNTOUCHED}


@pytest.mark.parametrize(
    "text", ["```It opened.``` It closed.", "``` It opened.", "$5. It", "#hash. It", "|"]
)
def test_what_begins_like_a_block_need_not_be_one(text: str) -> None:
    kinds = {kind for kind, _ in cut(text)}
    assert kinds <= ({Kind.UNTOUCHED} if text == "``` It opened." else {Kind.SENTENCE, Kind.ROW})


def test_headings_and_rows_of_tables_come_whole() -> None:
    text = "## It opened. So\n| a. B | c |\n|---|---|\n"
    assert cut(text) == [(Kind.ROW, line) for line in text.splitlines(keepends=True)]


def test_code_goes_out_as_it_comes() -> None:
    cutter = Cutter()
    assert "".join(piece.text for piece in cutter.feed("```py\nx = fun")) == "```py\nx = fun"
    assert "".join(piece.text for piece in cutter.feed("ny()")) == "ny()"


def test_a_sentence_is_not_held_for_ever() -> None:
    cutter = Cutter()
    waited = 0
    for at in range(LONGEST + 500):
        told = sum(len(piece.text) for piece in cutter.feed("word " if at % 5 == 0 else ""))
        waited = 0 if told else waited + (5 if at % 5 == 0 else 0)
        assert waited <= LONGEST + 5


def test_a_long_sentence_is_not_cut_inside_a_mark() -> None:
    for before in range(LONGEST - 30, LONGEST):
        text = "x" * before + " (source 1)" + "y" * 100
        assert any("(source 1)" in said for _, said in cut(text))


PARTS = [
    *(
        "It opened in 1932",
        "Dr. Lisk",
        "e.g.",
        "^1^",
        " [2]",
        " ^1, 3^",
        "(source 1)",
        "¹",
        "【1】",
        ".",
        "!",
        "?",
        "。",
    ),
    *(
        "\n",
        "\r\n",
        "\n\n",
        " ",
        "  ",
        "`a. b`",
        "`",
        "``",
        "```",
        "\n```\n",
        "~~~",
        "$",
        "$x$",
        "$$",
        "\\(",
        "\\)",
        "\\[",
    ),
    *(
        "\\]",
        "👩‍👩‍👧",
        "é",
        "- ",
        "1. ",
        "# ",
        "| a |",
        "> ",
        "    ",
        "\t",
        "[1]: ",
        "[x](y)",
        "https://a.example/",
        "…",
        "...",
    ),
    *(
        "**",
        "_",
        '"',
        ")",
        "[",
        "^",
        "“",
        "”",
        "它开通了",
        "\\",
        "\r",
        "<sup>1</sup>",
        "[REF]0[/REF]",
        "10^6^",
        "word " * 60,
    ),
]


@pytest.mark.parametrize("seed", range(40))
def test_however_an_answer_is_cut_its_pieces_are_the_same_and_it_is_whole(seed: int) -> None:
    assert_whole(seed)


@pytest.mark.long
def test_however_many_answers_are_cut_they_are_whole() -> None:
    for seed in range(100, 2500):
        assert_whole(seed)


def assert_whole(seed: int) -> None:
    chance = random.Random(seed)
    text = "".join(chance.choices(PARTS, k=chance.randint(1, 40)))
    whole = cut(text)
    assert "".join(said for _, said in whole) == text
    for sizes in ((1,), [chance.randint(1, 9) for _ in range(20)]):
        assert _merged(cut(text, *sizes)) == _merged(whole)


def _merged(pieces: list[tuple[Kind, str]]) -> list[tuple[Kind, str]]:
    """What passes untouched may pass in parts."""
    merged: list[tuple[Kind, str]] = []
    for kind, said in pieces:
        if merged and kind is merged[-1][0] is Kind.UNTOUCHED:
            merged[-1] = (kind, merged[-1][1] + said)
        else:
            merged.append((kind, said))
    return merged


@pytest.mark.parametrize("text", ["word ", "x", ".", "`", "$", "(", "\n", " ", "```", "a. ("])
def test_work_grows_with_the_text_and_no_faster(text: str) -> None:
    took: list[float] = []
    for size in (10_000, 40_000):
        said, cutter = (text * size)[:size], Cutter()
        began = time.process_time()
        for at in range(0, size, 4):
            for _ in cutter.feed(said[at : at + 4]):
                pass
        took.append(time.process_time() - began)
    assert took[1] < 8 * took[0] + 0.05
