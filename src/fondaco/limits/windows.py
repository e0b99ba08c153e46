"""Rate windows in memory: the truth where one gateway has its database for itself.

A window opens with its first admitted request and lasts 60 seconds. Tokens beyond its limit are a debt that counts
in the next window. A debt as large as a whole window's limit would keep that one from ever opening: so it is also
paid by time, one limit for each 60 seconds since the window ended, which is what those minutes would have allowed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import timedelta

from fondaco.clock import Clock
from fondaco.limits.admission import WINDOW_MS, WINDOW_SECONDS, Admission, Home, Key, Standing, Window
from fondaco.limits.tiers import Rate
from fondaco.store.schema import EPOCH

_MOST = 100_000


class Windows:
    def __init__(self, clock: Clock, most: int = _MOST) -> None:
        """At most `most` windows are kept; beyond that those go first which opened first."""
        self._clock = clock
        self._monotonic = clock.monotonic
        self._most = most
        # In the order in which they were opened, which is that in which they end. (A plain dict has that order too,
        # but to take the first out of one again and again costs more each time.)
        self._windows: OrderedDict[Key, Window] = OrderedDict()
        self._found: dict[Key, Standing] = {}
        self._found_until = 0.0

    def __len__(self) -> int:
        return len(self._windows)

    def admit(self, account_id: str, model_id: str, rate: Rate, tokens: int) -> Admission:
        """A place for a request, or a refusal. `tokens` is at most `rate.tokens`, and 0 where that is None."""
        now = self._monotonic()
        window = self._windows.get((account_id, model_id))
        if window is None or now >= window.ends:
            window = self._begin(account_id, model_id, rate, tokens, now, window)
        left = window.requests_left
        if left <= 0:
            return Admission(window, 0, "RPM")
        if tokens > window.tokens_left:
            return Admission(window, 0, "TPM")
        window.requests_left = left - 1
        window.tokens_left -= tokens
        return Admission(window, tokens)

    def correct(self, window: Window, requests: int, tokens: int) -> None:
        window.requests_left -= requests
        window.tokens_left -= tokens
        if window.tokens_left < 0:
            self._carry(window)
        elif requests < 0 and _is_untouched(window):
            window.ends = self._monotonic()  # nothing was admitted after all, so it has not been opened

    def hand_over(self, home: Home) -> list[Window]:
        """All windows that are open or in debt; from now on they are counted at `home`."""
        now = self._monotonic()
        windows = list(self._windows.values())
        self._windows.clear()
        self._found.clear()
        for window in windows:
            window.home = home
        return [window for window in windows if not _is_over(window, now)]

    def adopt(self, found: Mapping[Key, Standing]) -> None:
        """Go on from how windows stood elsewhere. Their rates are not known before somebody asks for a place."""
        self._found = dict(found)
        self._found_until = self._monotonic() + 2 * WINDOW_SECONDS

    def in_place_of(self, window: Window) -> Window:
        """The window that is counted here for one that was counted elsewhere, if it is."""
        own = self._windows.get((window.account_id, window.model_id))
        if own is None:
            now = self._monotonic()
            if own := self._take_found(window.account_id, window.model_id, window.rate, now):
                self._keep(own)
        return own if own is not None and own.opened_at == window.opened_at else window

    def _begin(
        self, account_id: str, model_id: str, rate: Rate, tokens: int, now: float, last: Window | None
    ) -> Window:
        if last is None and (last := self._take_found(account_id, model_id, rate, now)) and now < last.ends:
            self._keep(last)
            return last
        begins, tokens_left = now, rate.tokens or 0
        if last is not None and last.tokens_left < 0 and tokens_left:
            periods = int((now - last.ends) // WINDOW_SECONDS)
            debt = -last.tokens_left - periods * tokens_left
            last.tokens_left = 0
            if debt > 0:
                tokens_left -= debt
                if tokens > tokens_left:
                    # No request opens this one: it is as if it had opened when the last ended, to pay its debt.
                    begins = last.ends + periods * WINDOW_SECONDS
        standing = Standing(unix_ms(self._clock) - round(1000 * (now - begins)), rate.requests, tokens_left)
        window = window_of(self, account_id, model_id, rate, standing, begins + WINDOW_SECONDS)
        self._drop(now)
        self._keep(window)
        return window

    def _take_found(self, account_id: str, model_id: str, rate: Rate, now: float) -> Window | None:
        if now >= self._found_until:
            self._found.clear()
        if (found := self._found.pop((account_id, model_id), None)) is None:
            return None
        ends = now + (found.opened_at + WINDOW_MS - unix_ms(self._clock)) / 1000
        return window_of(self, account_id, model_id, rate, found, ends)

    def _carry(self, window: Window) -> None:
        """The overrun of a window that is no longer the last counts in the one that is."""
        key = window.account_id, window.model_id
        last = self._windows.setdefault(key, window)
        if last is not window:
            last.tokens_left += window.tokens_left
            window.tokens_left = 0

    def _keep(self, window: Window) -> None:
        key = window.account_id, window.model_id
        self._windows[key] = window
        self._windows.move_to_end(key)

    def _drop(self, now: float) -> None:
        # Two for each that opens: so those that are over go sooner than others come, and none waits for a sweep.
        windows = self._windows
        for _ in range(min(2, len(windows))):
            key, window = next(iter(windows.items()))
            if _is_over(window, now) or len(windows) >= self._most:
                del windows[key]
            elif now >= window.ends:
                windows.move_to_end(key)  # it has a debt yet to pay


def window_of(
    home: Home, account_id: str, model_id: str, rate: Rate, standing: Standing, ends: float
) -> Window:
    """The window that stands so. What it has left is no more than `rate` gives now."""
    return Window(
        home,
        account_id,
        model_id,
        rate,
        standing.opened_at,
        ends,
        min(standing.requests_left, rate.requests),
        min(standing.tokens_left, rate.tokens or 0),
    )


def unix_ms(clock: Clock) -> int:
    return (clock.now() - EPOCH) // timedelta(milliseconds=1)


def _is_over(window: Window, now: float) -> bool:
    """It has ended, and owes nothing to a next one."""
    if now < window.ends:
        return False
    debt = -window.tokens_left
    return debt <= 0 or (now - window.ends) // WINDOW_SECONDS * (window.rate.tokens or debt) >= debt


def _is_untouched(window: Window) -> bool:
    return window.requests_left == window.rate.requests and window.tokens_left == (window.rate.tokens or 0)
