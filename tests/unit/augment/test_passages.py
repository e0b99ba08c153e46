"""How texts are cut into passages."""

from __future__ import annotations

from fondaco.augment.index.passages import LONGEST, passages


def test_headings_go_with_what_follows_them() -> None:
    text = "before\n\n# Tides\n\nTwice a day.\n\n## Neap\n\nWhen the moon is half.\n\n# Wind\nFrom the south."
    assert [(each.heading, each.text) for each in passages(text)] == [
        ("", "before"),
        ("Tides", "Twice a day."),
        ("Tides › Neap", "When the moon is half."),
        ("Wind", "From the south."),
    ]


def test_a_hostile_heading_takes_no_longer_than_its_length() -> None:
    (passage,) = passages("## Tides ##\n# a" + " " * 500_000 + "b\nthe text")
    assert passage.heading.endswith("b")
    assert passage.text == "the text"


def test_short_paragraphs_stay_together_and_long_ones_are_cut_between_sentences() -> None:
    short = "\n\n".join(["A line."] * 10)
    assert len(list(passages(short))) == 1
    long = " ".join(f"Sentence number {at} is here." for at in range(200))
    found = [each.text for each in passages(long)]
    assert len(found) > 5
    assert all(len(text) <= LONGEST and text.endswith("here.") for text in found)
    assert " ".join(found) == long


def test_nothing_is_lost_of_a_text_without_any_end() -> None:
    found = [each.text for each in passages("x" * (3 * LONGEST + 5))]
    assert "".join(found) == "x" * (3 * LONGEST + 5)
    assert max(map(len, found)) <= LONGEST
    assert list(passages("")) == []
    assert list(passages("# Only a heading")) == []
