"""Which rows of which requests are read together, and in what order."""

from __future__ import annotations

from fondaco.engines.embeddings.waiting import PADDING, RUN_TOKENS, Waiting


class Row:
    def __init__(self, name: str, length: int) -> None:
        self.name = name
        self.ids = [1] * length
        self.wanted = True


def rows(name: str, *lengths: int) -> list[Row]:
    return [Row(name, length) for length in lengths]


def names(batch: list[Row]) -> str:
    return " ".join(row.name for row in batch)


def test_nothing_waits_at_first() -> None:
    assert Waiting[Row]().take(256) == []


def test_what_waits_together_is_read_together() -> None:
    waiting = Waiting[Row]()
    for name in "abc":
        waiting.add(rows(name, 8))
    assert names(waiting.take(256)) == "a b c"
    assert waiting.take(256) == []


def test_a_batch_has_no_more_tokens_than_allowed() -> None:
    waiting = Waiting[Row]()
    waiting.add(rows("a", *[10] * 9))
    taken = [len(waiting.take(40)) for _ in range(4)]
    assert taken == [4, 4, 1, 0]


def test_filling_counts_as_tokens() -> None:
    waiting = Waiting[Row]()
    waiting.add(rows("a", 9, 9, 10))
    assert len(waiting.take(29)) == 2


def test_a_row_longer_than_a_batch_is_read_alone() -> None:
    waiting = Waiting[Row]()
    waiting.add(rows("a", 512))
    waiting.add(rows("b", 512))
    assert names(waiting.take(256)) == "a"
    assert names(waiting.take(256)) == "b"


def test_short_rows_do_not_wait_for_long_ones() -> None:
    waiting = Waiting[Row]()
    waiting.add(rows("long", 200))
    waiting.add(rows("short", 6))
    assert names(waiting.take(256)) == "short"
    assert names(waiting.take(256)) == "long"


def test_little_of_a_batch_is_filling() -> None:
    waiting = Waiting[Row]()
    for length in range(2, 200):
        waiting.add(rows(str(length), length, length))
    left = 2 * 198
    while batch := waiting.take(256):
        longest = max(len(row.ids) for row in batch)
        filled = longest * len(batch)
        assert filled - sum(len(row.ids) for row in batch) <= RUN_TOKENS + filled // PADDING
        left -= len(batch)
    assert left == 0


def test_a_lone_text_overtakes_what_is_left_of_a_large_request() -> None:
    waiting = Waiting[Row]()
    waiting.add(rows("large", *[100] * 2048))
    waiting.take(256)
    waiting.add(rows("lone", 12))
    assert names(waiting.take(256)) == "lone"


def test_large_requests_take_turns() -> None:
    waiting = Waiting[Row]()
    waiting.add(rows("a", *[100] * 500))
    for _ in range(100):
        waiting.take(200)
    waiting.add(rows("b", *[100] * 500))
    both = [row.name for _ in range(100) for row in waiting.take(200)]
    assert 90 <= both.count("a") <= 110


def test_a_long_text_is_read_in_the_end_however_many_short_ones_come() -> None:
    waiting = Waiting[Row]()
    waiting.add(rows("long", 250))
    for turn in range(200):
        for _ in range(40):
            waiting.add(rows("short", 6))
        if any(row.name == "long" for row in waiting.take(240)):
            assert turn < 60
            return
    raise AssertionError("it was never read")


def test_rows_that_nobody_wants_any_more_are_not_read() -> None:
    waiting = Waiting[Row]()
    gone = rows("gone", 8, 8, 30)
    waiting.add(gone)
    waiting.add(rows("here", 8))
    for row in gone:
        row.wanted = False
    assert names(waiting.take(256)) == "here"
    assert waiting.take(256) == []
