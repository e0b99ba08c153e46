"""Rate windows in memory, by a clock that is moved by hand."""

from __future__ import annotations

import tracemalloc

import pytest

from fondaco.limits.admission import Admission
from fondaco.limits.tiers import Rate
from fondaco.limits.windows import Windows
from limit_parts import START_MS, HandClock

RATE = Rate(3, 1000)
COUNTED = Rate(3)


class House:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.windows = Windows(self.clock)

    def ask(
        self, tokens: int = 0, model: str = "model", account: str = "account", rate: Rate = RATE
    ) -> Admission:
        return self.windows.admit(account, model, rate, tokens)


@pytest.fixture
def house() -> House:
    return House()


def test_a_window_admits_its_requests_and_refuses_the_next(house: House) -> None:
    assert [house.ask().refused for _ in range(5)] == [None, None, None, "RPM", "RPM"]


def test_a_window_lasts_a_minute_from_its_first_admitted_request(house: House) -> None:
    house.clock.passed = 7
    first = house.ask()
    assert first.reset_at == START_MS + 67_000
    house.clock.passed = 66.9
    house.ask(), house.ask()
    assert house.ask().refused == "RPM"
    house.clock.passed = 67
    assert house.ask().refused is None


def test_refused_requests_do_not_count_and_do_not_make_the_window_longer(house: House) -> None:
    for _ in range(3):
        house.ask()
    house.clock.passed = 59
    refused = house.ask()
    assert (refused.reset_at, refused.remaining_requests) == (START_MS + 60_000, 0)
    house.clock.passed = 60
    assert house.ask().remaining_requests == 2


def test_accounts_and_models_have_windows_of_their_own(house: House) -> None:
    for _ in range(4):
        last = house.ask()
    assert last.refused
    assert house.ask(model="other").refused is None
    assert house.ask(account="other").refused is None


def test_tokens_are_reserved_and_refused_after_requests(house: House) -> None:
    assert house.ask(600).remaining_tokens == 400
    assert house.ask(401).refused == "TPM"
    assert house.ask(400).remaining_tokens == 0
    house.ask(0)
    assert house.ask(1).refused == "RPM"


def test_the_truth_replaces_what_was_reserved(house: House) -> None:
    admission = house.ask(600)
    admission.used(100)
    assert admission.remaining_tokens == 900
    assert house.ask(900).refused is None


def test_the_truth_counts_once(house: House) -> None:
    admission = house.ask(600)
    admission.used(100)
    admission.used(0)
    admission.give_back()
    assert (admission.remaining_requests, admission.remaining_tokens) == (2, 900)


def test_an_overrun_counts_in_the_next_window(house: House) -> None:
    admission = house.ask(600)
    admission.used(1300)
    assert admission.remaining_tokens == 0
    assert house.ask(0).refused == "TPM"
    house.clock.passed = 60
    after = house.ask(100)
    assert (after.remaining_tokens, after.reset_at) == (600, START_MS + 120_000)
    house.clock.passed = 120
    assert house.ask(0).remaining_tokens == 1000


def test_what_a_window_in_debt_has_no_room_for_waits_for_one_without(house: House) -> None:
    house.ask(0).used(1300)
    house.clock.passed = 70
    refused = house.ask(701)
    assert (refused.refused, refused.remaining_tokens, refused.reset_at) == ("TPM", 700, START_MS + 120_000)
    assert house.ask(700).refused is None
    house.clock.passed = 120
    assert house.ask(1000).refused is None


def test_a_debt_of_several_windows_is_paid_by_as_many_minutes(house: House) -> None:
    house.ask(0).used(3500)  # one window's tokens, and a debt of two and a half
    for passed, refused in ((60, "TPM"), (119, "TPM"), (120, "TPM"), (179, "TPM")):
        house.clock.passed = passed
        assert house.ask(0).refused == refused
    house.clock.passed = 180
    assert house.ask(0).remaining_tokens == 500


def test_minutes_in_which_nobody_asked_pay_a_debt_too(house: House) -> None:
    house.ask(0).used(3500)
    house.clock.passed = 200
    assert house.ask(0).remaining_tokens == 500
    house.ask(0).used(3500)
    house.clock.passed = 100_000
    assert house.ask(0).remaining_tokens == 1000


def test_a_truth_that_comes_after_its_window_counts_in_that_window(house: House) -> None:
    late = house.ask(100)
    house.clock.passed = 60
    now = house.ask(100)
    late.used(900)
    assert now.remaining_tokens == 900  # the first window had room for it


def test_an_overrun_that_comes_after_its_window_counts_in_the_one_that_is_open(house: House) -> None:
    late = house.ask(100)
    house.clock.passed = 60
    now = house.ask(100)
    late.used(1250)
    assert now.remaining_tokens == 650


def test_a_late_overrun_counts_in_the_next_window_where_none_is_open(house: House) -> None:
    late = house.ask(100)
    house.clock.passed = 70
    late.used(1250)
    assert house.ask(0).remaining_tokens == 750


def test_a_late_overrun_is_not_lost_with_its_forgotten_window(house: House) -> None:
    late = house.ask(100)
    house.clock.passed = 70
    for n in range(5):
        house.ask(model=f"m{n}")
    assert len(house.windows) == 5
    late.used(1250)
    assert house.ask(0).remaining_tokens == 750


def test_what_is_given_back_does_not_count(house: House) -> None:
    house.ask(100)
    admission = house.ask(300)
    admission.give_back()
    admission.give_back()
    assert (admission.remaining_requests, admission.remaining_tokens) == (2, 900)
    assert [house.ask().refused for _ in range(3)] == [None, None, "RPM"]


def test_a_window_whose_only_request_was_given_back_has_not_opened(house: House) -> None:
    house.ask(300).give_back()
    house.clock.passed = 30
    assert house.ask().reset_at == START_MS + 90_000


def test_a_request_larger_than_a_whole_window_takes_one_for_itself(house: House) -> None:
    rate = Rate(3, 1000)
    assert (
        house.windows.admit("a", "m", rate, 1000).remaining_tokens == 0
    )  # the limiter caps what is reserved
    assert house.windows.admit("a", "m", rate, 1).refused == "TPM"


def test_where_tokens_are_not_counted_they_are_not_limited(house: House) -> None:
    admission = house.ask(rate=COUNTED)
    admission.used(10**9)
    assert admission.limit_tokens is None
    assert [house.ask(rate=COUNTED).refused for _ in range(3)] == [None, None, "RPM"]


def test_a_refused_request_can_neither_use_nor_give_back(house: House) -> None:
    for _ in range(3):
        house.ask()
    refused = house.ask()
    refused.give_back()
    refused.used(5)
    assert (refused.remaining_requests, refused.remaining_tokens) == (0, 1000)
    assert house.ask().refused == "RPM"


def test_windows_that_are_over_are_forgotten_as_others_open(house: House) -> None:
    for minute in range(20):
        house.clock.passed = 60 * minute
        for n in range(50):
            house.ask(model=f"{minute}-{n}")
        assert len(house.windows) <= 100


def test_windows_in_debt_are_kept_until_it_is_paid(house: House) -> None:
    house.ask(0).used(4000)
    house.clock.passed = 61
    for n in range(10):
        house.ask(model=f"{n}")
    assert house.ask(0).refused == "TPM"


def test_there_are_never_more_windows_than_the_most() -> None:
    windows = Windows(HandClock(), most=100)
    for n in range(1000):
        assert windows.admit(f"a{n}", "m", RATE, 1).refused is None
    assert len(windows) <= 100


def test_requests_without_end_take_no_memory() -> None:
    house = House()
    wide = Rate(10**9, 10**12)
    for _ in range(100):
        house.ask(1, rate=wide).used(2)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10_000):
            house.ask(1, rate=wide).used(2)
        assert tracemalloc.get_traced_memory()[0] - before < 10_000
    finally:
        tracemalloc.stop()
