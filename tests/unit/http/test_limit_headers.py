"""What answers say of rates, failures left and balances."""

from __future__ import annotations

import re
import timeit
from typing import Literal, NamedTuple

import pytest

from fondaco.http.limit_headers import LimitHeaders
from fondaco.limits.abuse import Abuse
from fondaco.limits.admission import LIFTED
from fondaco.limits.ticket import Ticket
from fondaco.limits.tiers import Rate
from fondaco.limits.windows import Windows
from fondaco.money import NanoUsd, from_decimal
from limit_parts import START_MS, HandClock, ticket

RATE = Rate(20, 500_000)
END = START_MS + 60_000


class Balances(NamedTuple):
    usd: NanoUsd
    diem: NanoUsd


class House:
    def __init__(self, unit: Literal["seconds", "milliseconds"] = "seconds") -> None:
        self.clock = HandClock()
        self.windows = Windows(self.clock)
        self.abuse = Abuse(20, self.clock)
        self.made = LimitHeaders(self.clock, self.abuse, unit)

    def admitted(self, rate: Rate = RATE, tokens: int = 0) -> Ticket:
        made = ticket()
        made.admission = self.windows.admit("account", "model", rate, tokens)
        return made

    def of(self, ticket: Ticket | None) -> dict[str, str]:
        headers = self.made.of(ticket)
        assert len(dict(headers)) == len(headers), "a header twice"
        return {name.decode(): value.decode() for name, value in headers}


BUDGET = {"x-ratelimit-remaining": "20", "x-ratelimit-resets": str(START_MS - 250 + 30_000)}


def test_an_admitted_request_is_told_its_window_in_the_units_of_the_documents() -> None:
    house = House()
    asked = house.admitted(tokens=1200)
    house.clock.passed = 0.5
    assert house.of(asked) == {
        "x-ratelimit-limit-requests": "20",
        "x-ratelimit-remaining-requests": "19",
        "x-ratelimit-reset-requests": str(END // 1000 + 1),
        "x-ratelimit-limit-tokens": "500000",
        "x-ratelimit-remaining-tokens": "498800",
        "x-ratelimit-reset-tokens": "60",
        "x-ratelimit-type": "user",
        **BUDGET,
    }


def test_both_resets_can_be_unix_milliseconds() -> None:
    headers = House("milliseconds")
    told = headers.of(headers.admitted())
    assert told["x-ratelimit-reset-requests"] == told["x-ratelimit-reset-tokens"] == str(END)


@pytest.mark.parametrize(
    ("passed", "left"), [(0, "60"), (0.001, "60"), (59, "1"), (59.9, "1"), (60, "0"), (99, "0")]
)
def test_seconds_left_are_never_too_few_and_never_negative(passed: float, left: str) -> None:
    house = House()
    asked = house.admitted()
    house.clock.passed = passed
    assert house.of(asked)["x-ratelimit-reset-tokens"] == left


def test_who_waits_until_the_second_that_was_told_is_admitted() -> None:
    house = House()
    for _ in range(20):
        house.admitted()
    refused = house.admitted()
    assert refused.admission is not None
    assert refused.admission.refused
    told = int(house.of(refused)["x-ratelimit-reset-requests"])
    house.clock.passed = told - START_MS / 1000
    again = house.admitted().admission
    assert again is not None
    assert again.refused is None


def test_a_refused_request_is_told_that_nothing_is_left() -> None:
    house = House()
    house.admitted(tokens=500_000).admission.used(900_000)  # pyright: ignore[reportOptionalMemberAccess]
    refused = house.admitted(tokens=1)
    told = house.of(refused)
    assert (told["x-ratelimit-remaining-requests"], told["x-ratelimit-remaining-tokens"]) == ("19", "0")


def test_large_counts_are_told_too() -> None:
    house = House()
    told = house.of(house.admitted(Rate(50_000_000, 10**12), 5))
    assert told["x-ratelimit-remaining-requests"] == "49999999"
    assert told["x-ratelimit-remaining-tokens"] == str(10**12 - 5)


def test_where_tokens_are_not_counted_nothing_is_said_of_them() -> None:
    house = House()
    assert not [name for name in house.of(house.admitted(Rate(60))) if "tokens" in name]


def test_lifted_limits_are_not_told() -> None:
    house = House()
    asked = ticket()
    asked.admission = LIFTED
    assert house.of(asked) == BUDGET


def test_a_request_that_met_no_limit_is_told_its_failures_only() -> None:
    house = House()
    assert house.of(ticket()) == BUDGET
    house.abuse.note(ticket().caller)
    assert house.of(ticket())["x-ratelimit-remaining"] == "19"
    assert house.of(ticket("other"))["x-ratelimit-remaining"] == "20"


def test_a_request_without_a_key_is_told_nothing() -> None:
    assert House().of(None) == {}


def test_balances_are_told_exactly_where_they_are_known() -> None:
    house = House()
    asked = ticket()
    for usd, diem in (("12.340000001", "0"), ("12.34", "0.5"), ("-0.000000001", "90.05"), ("12.34", "100")):
        asked.balances = Balances(from_decimal(usd), from_decimal(diem))
        told = house.of(asked)
        assert (told["x-venice-balance-usd"], told["x-venice-balance-diem"]) == (usd, diem)


def test_without_abuse_protection_there_is_no_budget_to_tell() -> None:
    clock = HandClock()
    assert LimitHeaders(clock, Abuse(0, clock), "seconds").of(ticket()) == []


def test_values_follow_the_window_while_it_lasts_and_the_next_one_after() -> None:
    house = House()
    seen: list[tuple[str, str]] = []
    for passed in (0, 1, 60, 61):
        house.clock.passed = passed
        told = house.of(house.admitted())
        seen.append((told["x-ratelimit-remaining-requests"], told["x-ratelimit-reset-requests"]))
    first, second = str(END // 1000 + 1), str(END // 1000 + 61)
    assert seen == [("19", first), ("18", first), ("19", second), ("18", second)]


def test_every_value_is_a_whole_number_or_a_word() -> None:
    house = House()
    for name, value in house.of(house.admitted()).items():
        assert re.fullmatch(r"\d+|user", value), name


def test_they_cost_little() -> None:
    house = House()
    asked = house.admitted(tokens=1200)
    asked.balances = Balances(from_decimal("12.34"), from_decimal("5"))
    spent = min(timeit.repeat(lambda: house.made.of(asked), number=2000, repeat=5)) / 2000
    assert spent < 40e-6  # far more than it takes: a slow machine is no fault, a search or a read is
