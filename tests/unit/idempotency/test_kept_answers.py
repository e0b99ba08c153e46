"""How much of finished answers is held in memory, and for how long."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import pytest

from fondaco.content import Content, ContentLeak
from fondaco.idempotency.answers import LARGEST, Answer, Answers, Recording

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=24)


def answer(size: int) -> Answer:
    return Answer(200, ((b"content-type", b"text/plain"),), Content(b"x" * size), False, False)


def name(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_never_more_is_held_than_was_allowed_and_the_oldest_goes_first() -> None:
    answers = Answers(100_000)
    for number in range(50):
        answers.keep(name(number), b"body", LATER, answer(9_000))
        assert answers.held <= 100_000
    kept = [number for number in range(50) if answers.recall(name(number), NOW)]
    assert kept == list(range(41, 50))


def test_very_many_tiny_answers_are_bounded_too() -> None:
    answers = Answers(1_000_000)
    for number in range(5_000):
        answers.keep(name(number), b"body", LATER, answer(1))
    assert sum(answers.recall(name(number), NOW) is not None for number in range(5_000)) < 1_000


def test_an_answer_that_finds_no_room_is_not_kept() -> None:
    answers = Answers(10_000)
    answers.keep(name(1), b"body", LATER, answer(10_000))
    assert answers.recall(name(1), NOW) is None
    assert answers.held == 0


def test_what_is_being_recorded_counts_and_makes_older_answers_go() -> None:
    answers = Answers(100_000)
    answers.keep(name(1), b"body", LATER, answer(50_000))
    recording = Recording(answers)
    for _ in range(60):
        recording.add(b"x" * 1_000)
        assert answers.held <= 100_000
    assert answers.recall(name(1), NOW) is None
    other = Recording(answers)
    other.add(b"x" * 60_000)
    assert other.taken() is None, "two recordings may not have more than there is"
    whole = recording.taken()
    assert whole is not None
    assert whole.reveal() == b"x" * 60_000
    assert answers.held == 0


def test_tiny_pieces_of_a_recording_count_with_what_they_weigh() -> None:
    answers = Answers(100_000)
    recording = Recording(answers)
    for _ in range(10_000):
        recording.add(b"x")
    assert recording.taken() is None
    assert answers.held == 0


@pytest.mark.parametrize(("size", "kept"), [(LARGEST, True), (LARGEST + 1, False)])
def test_an_answer_of_more_than_the_largest_size_is_not_recorded(size: int, kept: bool) -> None:
    recording = Recording(Answers(64 << 20))
    recording.add(b"x" * (size - 10))
    recording.add(b"x" * 10)
    recording.add(b"")
    assert (recording.taken() is not None) is kept


def test_an_answer_ends_with_its_day() -> None:
    answers = Answers(100_000)
    answers.keep(name(1), b"body", LATER, answer(10))
    answers.keep(name(2), b"body", LATER + timedelta(seconds=1), answer(10))
    assert answers.recall(name(1), LATER - timedelta(milliseconds=1)) is not None
    assert answers.recall(name(1), LATER) is None
    answers.expire(LATER + timedelta(seconds=1))
    assert answers.held == 0


def test_an_answer_kept_twice_is_held_once() -> None:
    answers = Answers(100_000)
    for _ in range(3):
        answers.keep(name(1), b"body", LATER, answer(1_000))
    held = answers.held
    assert 1_000 < held < 3_000


def test_a_kept_answer_can_be_neither_printed_nor_pickled() -> None:
    answers = Answers(100_000)
    answers.keep(name(1), b"body", LATER, Answer(200, (), Content(b"canary"), True, False))
    kept = answers.recall(name(1), NOW)
    assert "canary" not in repr(kept)
    with pytest.raises(ContentLeak):
        pickle.dumps(kept)
