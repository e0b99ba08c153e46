"""The bench of citations: what it asks, and how it judges."""

from __future__ import annotations

import pytest

from bench.augment.citations import judged, questions
from bench.process import NotReadyError


def test_each_of_a_hundred_questions_has_its_passage_and_four_others() -> None:
    asked = list(questions())
    assert len({question.text for question in asked}) == 100
    assert len({question.right.id for question in asked}) == 60
    for question in asked:
        assert len({passage.url for passage in question.found}) == 5
        assert question.right in question.found
        assert all(60 <= len(passage.text.split()) <= 150 for passage in question.found)


def test_marks_are_judged_by_where_they_lead() -> None:
    question = next(questions())
    right = question.found.index(question.right) + 1
    wrong = right % 5 + 1
    told = judged(question, _answer([p.url for p in question.found], f"So.^{right}^ And.^{wrong},6^ Or.^0^"))
    assert told.marks == [question.right.id, question.found[wrong - 1].id, None, None]


def test_an_answer_from_other_sources_voids_the_run() -> None:
    question = next(questions())
    with pytest.raises(NotReadyError):
        judged(question, _answer([p.url for p in question.found[:4]], "So.^1^"))


def _answer(urls: list[str], text: str) -> dict[str, object]:
    sources = [{"title": "", "url": url} for url in urls]
    return {
        "venice_parameters": {"web_search_citations": sources},
        "choices": [{"message": {"content": text}}],
    }
