from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fondaco.errors import AccessDisabled, AuthenticationFailed
from fondaco.keys import cache as module
from fondaco.keys.cache import Caller, KeyCache, Known

START = datetime(2026, 3, 1, tzinfo=UTC)


class HandClock:
    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed)

    def unix(self) -> int:
        return int(self.now().timestamp())

    def monotonic(self) -> float:
        return self.passed


def known(name: str = "k", seconds: float | None = None) -> Known:
    caller = Caller(key_id=name, account_id="a", kind="INFERENCE", model_privacy="ALL")
    return Known(caller, None if seconds is None else START + timedelta(seconds=seconds))


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def uses() -> dict[str, datetime]:
    return {}


@pytest.fixture
def cache(clock: HandClock, uses: dict[str, datetime]) -> KeyCache:
    return KeyCache(clock, uses)


def test_a_kept_key_is_recalled_and_its_use_noted(
    cache: KeyCache, clock: HandClock, uses: dict[str, datetime]
) -> None:
    cache.keep(b"d", known(), cache.generation)
    clock.passed = 5
    assert cache.recall(b"d") == known().caller
    assert uses == {"k": START + timedelta(seconds=5)}
    assert cache.recall(b"other") is None


def test_a_key_ends_at_its_expiry_and_not_before(cache: KeyCache, clock: HandClock) -> None:
    cache.keep(b"d", known(seconds=10), cache.generation)
    clock.passed = 9.999
    assert cache.recall(b"d") is not None
    clock.passed = 10
    assert cache.recall(b"d") is None


def test_an_answer_that_was_read_before_a_change_is_not_kept(cache: KeyCache) -> None:
    asked = cache.generation
    cache.forget()
    cache.keep(b"good", known(), asked)
    cache.refuse(b"bad", AuthenticationFailed, asked)
    assert cache.recall(b"good") is None
    assert cache.refusal(b"bad") is None


def test_forgetting_drops_good_and_bad(cache: KeyCache) -> None:
    cache.keep(b"good", known(), cache.generation)
    cache.refuse(b"bad", AuthenticationFailed, cache.generation)
    cache.forget()
    assert cache.recall(b"good") is None
    assert cache.refusal(b"bad") is None


def test_a_refusal_lasts_a_second(cache: KeyCache, clock: HandClock) -> None:
    cache.refuse(b"bad", AuthenticationFailed, cache.generation)
    clock.passed = 0.99
    assert cache.refusal(b"bad") is AuthenticationFailed
    clock.passed = 1
    assert cache.refusal(b"bad") is None


def test_a_refusal_says_why(cache: KeyCache) -> None:
    cache.refuse(b"bad", AuthenticationFailed, cache.generation)
    cache.refuse(b"bad", AccessDisabled, cache.generation)
    assert cache.refusal(b"bad") is AccessDisabled


def test_neither_side_grows_past_its_bound(cache: KeyCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_KNOWN", 3)
    monkeypatch.setattr(module, "_MOST_REFUSED", 3)
    for n in range(10):
        cache.keep(bytes([n]), known(str(n)), cache.generation)
        cache.refuse(bytes([n]), AuthenticationFailed, cache.generation)
    assert [n for n in range(10) if cache.recall(bytes([n]))] == [7, 8, 9]
    assert [n for n in range(10) if cache.refusal(bytes([n]))] == [7, 8, 9]
