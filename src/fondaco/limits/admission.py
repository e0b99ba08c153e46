"""A rate window, and a request's place in one."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from fondaco.limits.tiers import Rate

WINDOW_SECONDS: Final = 60
WINDOW_MS: Final = 1000 * WINDOW_SECONDS

Wall: TypeAlias = Literal["RPM", "TPM"]
"""Which rate a refused request ran into, as the log of refusals names it."""


Key: TypeAlias = tuple[str, str]
"""Account and model of a window."""


class Standing(NamedTuple):
    """How a window stands. `opened_at` is in Unix milliseconds."""

    opened_at: int
    requests_left: int
    tokens_left: int


class Home(Protocol):
    """Where a window is counted: in this process, or in a database that several share."""

    def correct(self, window: Window, requests: int, tokens: int) -> None:
        """So many requests and tokens more have been used than was counted in `window`; negative is fewer."""
        ...


class Window:
    """What one account may still ask of one model until the window ends. Counts may fall below zero."""

    __slots__ = (
        "account_id",
        "ends",
        "headers",
        "home",
        "model_id",
        "opened_at",
        "rate",
        "requests_left",
        "tokens_left",
    )

    def __init__(
        self,
        home: Home,
        account_id: str,
        model_id: str,
        rate: Rate,
        opened_at: int,
        ends: float,
        requests_left: int,
        tokens_left: int,
    ) -> None:
        """`opened_at` is in Unix milliseconds, `ends` in seconds of the monotonic clock. `tokens_left` is 0 where
        tokens are not counted."""
        self.home = home
        self.account_id = account_id
        self.model_id = model_id
        self.rate = rate
        self.opened_at = opened_at
        self.ends = ends
        self.requests_left = requests_left
        self.tokens_left = tokens_left
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        """Those that say what does not change while it lasts, kept here by whoever makes them."""


class Admission:
    """A request's place in a window. One that was refused has none: it only tells how the window stands.

    Limits of None are not enforced. The counts are those of the window as it stands now, never below zero.
    """

    __slots__ = ("_reserved", "refused", "window")

    def __init__(self, window: Window | None, reserved: int, refused: Wall | None = None) -> None:
        """`reserved` tokens have been taken from `window`, and one request, unless it was `refused`."""
        self.window = window
        self.refused: Wall | None = refused
        self._reserved = reserved if refused is None else None

    @property
    def limit_requests(self) -> int | None:
        return None if self.window is None else self.window.rate.requests

    @property
    def remaining_requests(self) -> int:
        return 0 if self.window is None else max(0, self.window.requests_left)

    @property
    def limit_tokens(self) -> int | None:
        return None if self.window is None else self.window.rate.tokens

    @property
    def remaining_tokens(self) -> int:
        return 0 if self.window is None else max(0, self.window.tokens_left)

    @property
    def reset_at(self) -> int:
        """When the window ends, in Unix milliseconds."""
        return 0 if self.window is None else self.window.opened_at + WINDOW_MS

    def used(self, tokens: int) -> None:
        """The truth in place of what was reserved; more than the window has counts in the next.

        The first of `used` and `give_back` counts, and only once.
        """
        reserved, self._reserved = self._reserved, None
        window = self.window
        if (
            reserved is not None
            and window is not None
            and tokens != reserved
            and window.rate.tokens is not None
        ):
            window.home.correct(window, 0, tokens - reserved)

    def give_back(self) -> None:
        """The request was refused after all, for another reason: it does not count."""
        reserved, self._reserved = self._reserved, None
        if reserved is not None and self.window is not None:
            self.window.home.correct(self.window, -1, -reserved)


LIFTED: Final = Admission(None, 0)
"""Everybody's place where limits are lifted."""
