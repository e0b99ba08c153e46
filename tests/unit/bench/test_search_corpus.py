"""The library that the local index is measured with."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.augment import corpus


def test_questions_are_put_in_words_of_their_own() -> None:
    asked = corpus.questions()
    assert len(asked) >= 150
    assert max(each.shared for each in asked) <= 1 / 3
    assert len({each.passage for each in asked}) == len(asked)


def test_a_question_that_gives_its_passage_away_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "passages.txt").write_text("# sea\n\n? When is high water?\nHigh water stands at noon.\n")
    monkeypatch.setattr(corpus, "LIBRARY", tmp_path)
    with pytest.raises(corpus.UnfitCorpusError, match="100%"):
        corpus.questions()


def test_passages_on_the_same_subjects_are_many_and_the_same_each_time() -> None:
    near = corpus.near()
    assert len(set(near)) > 1000
    assert near == corpus.near()
    assert not any("{" in passage or "|" in passage for passage in near)


@pytest.mark.long
def test_a_library_has_as_many_passages_as_are_asked_for(tmp_path: Path) -> None:
    by_hand = len(corpus.questions()) + len(set(corpus.near()))
    written = corpus.write(tmp_path / "library", corpus.questions(), by_hand + 5)
    assert len(written) == by_hand + 5
