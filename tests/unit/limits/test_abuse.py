"""A key whose requests fail again and again."""

from __future__ import annotations

import pytest

from fondaco import errors
from fondaco.errors import FondacoError, TooManyFailures
from fondaco.limits.abuse import Abuse, counts
from limit_parts import START_MS, HandClock, caller

KEY = caller()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def fail(abuse: Abuse, times: int, key: str = "key") -> None:
    for _ in range(times):
        abuse.note(caller(key))


def is_blocked(abuse: Abuse, key: str = "key") -> bool:
    try:
        abuse.check(caller(key))
    except TooManyFailures:
        return True
    return False


def test_more_than_the_number_of_failures_block_the_key_and_no_other(clock: HandClock) -> None:
    abuse = Abuse(20, clock)
    fail(abuse, 20)
    assert not is_blocked(abuse)
    fail(abuse, 1)
    assert is_blocked(abuse)
    assert not is_blocked(abuse, "another")


@pytest.mark.parametrize("most", [20, 3])
def test_the_refusal_is_worded_as_the_contract_says_and_tells_how_long_to_wait(
    clock: HandClock, most: int
) -> None:
    abuse = Abuse(most, clock)
    fail(abuse, most + 1)
    clock.passed = 10.5
    with pytest.raises(TooManyFailures) as raised:
        abuse.check(KEY)
    assert raised.value.message == (
        f"Too many failed attempts (> {most}) resulting in a non-success status code. "
        "Please wait 30s and try again."
    )
    assert raised.value.retry_after == 20
    assert (raised.value.status, raised.value.code) == (429, "RATE_LIMIT_EXCEEDED")


def test_a_block_ends_after_thirty_seconds_and_the_count_begins_anew(clock: HandClock) -> None:
    abuse = Abuse(20, clock)
    fail(abuse, 21)
    clock.passed = 29.9
    assert is_blocked(abuse)
    clock.passed = 30
    assert not is_blocked(abuse)
    fail(abuse, 20)
    assert not is_blocked(abuse)


def test_what_fails_while_the_key_is_blocked_does_not_make_it_longer(clock: HandClock) -> None:
    abuse = Abuse(20, clock)
    fail(abuse, 21)
    clock.passed = 20
    fail(abuse, 50)
    clock.passed = 30
    assert not is_blocked(abuse)


def test_any_thirty_seconds_count_and_older_failures_do_not(clock: HandClock) -> None:
    abuse = Abuse(20, clock)
    fail(abuse, 1)
    clock.passed = 29
    fail(abuse, 19)
    clock.passed = 31  # the first is forgotten
    fail(abuse, 1)
    assert not is_blocked(abuse)
    fail(abuse, 1)  # 21 between 29 and 31
    assert is_blocked(abuse)


def test_the_failures_left_are_told(clock: HandClock) -> None:
    abuse = Abuse(20, clock)
    assert abuse.left(KEY) == (20, START_MS - 250 + 30_000)
    clock.passed = 2
    fail(abuse, 3)
    assert abuse.left(KEY) == (17, START_MS - 250 + 32_000)
    clock.passed = 31.5
    assert abuse.left(KEY) == (17, START_MS - 250 + 31_000 + 500)
    clock.passed = 32
    assert abuse.left(KEY) == (20, START_MS - 250 + 62_000)
    fail(abuse, 21)
    assert abuse.left(KEY) == (0, START_MS - 250 + 62_000)


def test_zero_turns_it_off(clock: HandClock) -> None:
    abuse = Abuse(0, clock)
    fail(abuse, 1000)
    assert not is_blocked(abuse)
    assert abuse.left(KEY) is None
    assert len(abuse) == 0


def test_no_more_keys_are_remembered_than_the_most(clock: HandClock) -> None:
    abuse = Abuse(20, clock, most_keys=100)
    for n in range(1000):
        fail(abuse, 2, f"key{n}")
    assert len(abuse) == 100
    assert abuse.left(caller("key999")) == (18, START_MS - 250 + 30_000)


def test_no_more_failures_are_remembered_than_the_most(clock: HandClock) -> None:
    abuse = Abuse(1000, clock, most_failures=5000)
    for n in range(20):
        fail(abuse, 900, f"key{n}")
    assert len(abuse) <= 6


def test_keys_that_fail_no_more_are_forgotten_as_others_fail(clock: HandClock) -> None:
    abuse = Abuse(20, clock)
    for n in range(500):
        clock.passed = n
        fail(abuse, 1, f"key{n}")
    assert len(abuse) <= 31


COUNTED = {
    errors.InvalidRequest,
    errors.ModelNotText,
    errors.ContextExceeded,
    errors.UpstreamRefused,
    errors.KeyNotFound,
    errors.Forbidden,
    errors.ModelNotAllowed,
    errors.ModelNotFound,
    errors.CharacterNotFound,
    errors.RouteNotFound,
    errors.Conflict,
    errors.ContentPolicy,
}


def tree(root: type[FondacoError]) -> list[type[FondacoError]]:
    return [root, *(below for child in root.__subclasses__() for below in tree(child))]


@pytest.mark.parametrize(
    "kind",
    [kind for kind in tree(FondacoError) if kind.__module__ == "fondaco.errors"],
    ids=lambda kind: kind.__name__,
)
def test_what_counts_is_what_the_contract_says(kind: type[FondacoError]) -> None:
    error = errors.KeySpendLimitExceeded("USD") if kind is errors.KeySpendLimitExceeded else kind()
    expected = kind.status in {400, 403, 404, 409, 422} and kind not in (
        errors.MalformedJson,
        errors.MalformedForm,
    )
    assert counts(error) == expected
    if kind in COUNTED:
        assert expected
