"""What every authenticated answer says of rates, failures left and balances (CONTRACT 2.3; 16, row 21)."""

from __future__ import annotations

from math import ceil
from typing import Literal, Protocol

from fondaco import money
from fondaco.clock import Clock
from fondaco.http.reply import Header
from fondaco.keys.caller import Caller
from fondaco.limits.admission import WINDOW_MS, WINDOW_SECONDS, Window
from fondaco.limits.ticket import Ticket
from fondaco.money import NanoUsd

_TYPE: Header = (b"x-ratelimit-type", b"user")
"""All rates are an account's."""

_SECONDS_LEFT: tuple[Header, ...] = tuple(
    (b"x-ratelimit-reset-tokens", b"%d" % left) for left in range(WINDOW_SECONDS + 1)
)


class FailureBudget(Protocol):
    def left(self, caller: Caller) -> tuple[int, int] | None:
        """How many failures the key has left, and when they are all forgotten in Unix milliseconds."""
        ...


class LimitHeaders:
    """Makes them for every answer, so what stays the same from one to the next is made once."""

    def __init__(
        self, clock: Clock, failures: FailureBudget, unit: Literal["seconds", "milliseconds"]
    ) -> None:
        """`unit` of the reset headers: `seconds` is Unix seconds for requests and seconds left for tokens,
        `milliseconds` is Unix milliseconds for both."""
        self._monotonic = clock.monotonic
        self._failures = failures
        self._in_seconds = unit == "seconds"
        self._budget: tuple[int, int] = (-1, -1)
        self._budget_headers: tuple[Header, ...] = ()
        self._usd = _Balance(b"x-venice-balance-usd")
        self._diem = _Balance(b"x-venice-balance-diem")

    def of(self, ticket: Ticket | None) -> list[Header]:
        """The headers for a request's answer, whatever came of it. None for a request without a good key."""
        if ticket is None:
            return []
        headers: list[Header] = []
        admission = ticket.admission
        if admission is not None and (window := admission.window) is not None:
            self._add_rates(headers, window)
        budget = self._failures.left(ticket.caller)
        if budget is not None:
            if budget != self._budget:
                self._budget = budget
                self._budget_headers = (
                    (b"x-ratelimit-remaining", b"%d" % budget[0]),
                    (b"x-ratelimit-resets", b"%d" % budget[1]),
                )
            headers += self._budget_headers
        balances = ticket.balances
        if balances is not None:
            headers.append(self._usd.header(balances.usd))
            headers.append(self._diem.header(balances.diem))
        return headers

    def _add_rates(self, headers: list[Header], window: Window) -> None:
        headers += window.headers or self._lasting(window)
        left = window.requests_left
        headers.append((b"x-ratelimit-remaining-requests", b"%d" % left if left > 0 else b"0"))
        if window.rate.tokens is None:
            return
        left = window.tokens_left
        headers.append((b"x-ratelimit-remaining-tokens", b"%d" % left if left > 0 else b"0"))
        if self._in_seconds:
            seconds = ceil(window.ends - self._monotonic())
            headers.append(_SECONDS_LEFT[min(max(0, seconds), WINDOW_SECONDS)])

    def _lasting(self, window: Window) -> tuple[Header, ...]:
        rate, ends_at = window.rate, window.opened_at + WINDOW_MS
        # Rounded up: who comes at that second finds the window ended.
        reset = b"%d" % (-(-ends_at // 1000) if self._in_seconds else ends_at)
        made: list[Header] = [
            _TYPE,
            (b"x-ratelimit-limit-requests", b"%d" % rate.requests),
            (b"x-ratelimit-reset-requests", reset),
        ]
        if rate.tokens is not None:
            made.append((b"x-ratelimit-limit-tokens", b"%d" % rate.tokens))
            if not self._in_seconds:
                made.append((b"x-ratelimit-reset-tokens", reset))
        window.headers = tuple(made)
        return window.headers


class _Balance:
    """One balance as a header, made anew when it is another than before."""

    __slots__ = ("_amount", "_header", "_name")

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._amount = NanoUsd(0)
        self._header: Header = (name, b"0")

    def header(self, amount: NanoUsd) -> Header:
        if amount != self._amount:
            self._amount = amount
            self._header = (self._name, money.to_json(amount))
        return self._header
