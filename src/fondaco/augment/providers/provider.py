"""The port that every provider stands behind, and what they share in asking their services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeAlias, TypeVar

import msgspec

from fondaco.augment.results import Result
from fondaco.net.asking import ask
from fondaco.net.errors import BadAnswer, FetchError, TooSlow

T = TypeVar("T")

Reason: TypeAlias = Literal[
    "no key", "not installed", "unreachable", "too slow", "refused", "rate limited", "no usable answer"
]


class ProviderFailed(Exception):
    """It gave no answer. `reason` is fit for a log line: it holds nothing of the query."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Provider(Protocol):
    @property
    def name(self) -> str: ...

    async def search(self, query: str, limit: int) -> Sequence[Result]:
        """At most about `limit` results, the best first; none where there are none. Raises ProviderFailed."""
        ...


async def answer(
    type_: type[T],
    method: str,
    url: str,
    *,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    seconds: float,
) -> T:
    """A service's JSON answer. Raises ProviderFailed."""
    try:
        raw = await ask(method, url, params=params, headers=headers, body=body, seconds=seconds)
        return msgspec.json.decode(raw, type=type_, strict=False)
    except FetchError as error:
        raise ProviderFailed(_reason(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ProviderFailed("no usable answer") from None


def _reason(error: FetchError) -> Reason:
    if isinstance(error, BadAnswer):
        if error.status in (429, 432, 433):  # the last two are Tavily's, for a plan that is used up
            return "rate limited"
        return "refused" if error.status in (400, 401, 402, 403, 422) else "no usable answer"
    return "too slow" if isinstance(error, TooSlow) else "unreachable"
