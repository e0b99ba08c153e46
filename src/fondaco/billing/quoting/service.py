"""Which requests can be quoted, and for how much."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fondaco.billing.prices.free import waived
from fondaco.billing.quoting.quote import Quotable, Quote
from fondaco.errors import InvalidRequest
from fondaco.money import NanoUsd

_BASES = ("/api/v1", "/v1")


class QuoteService:
    def __init__(self, quotables: Iterable[Quotable[Any]], *, free: bool = False) -> None:
        """`free`: nothing costs anything here."""
        self._quotables = {quotable.endpoint: quotable for quotable in quotables}
        self._free = free

    def find(self, endpoint: str) -> Quotable[Any]:
        """The endpoint of this path, with or without the API's base. Raises InvalidRequest at `endpoint`."""
        path = endpoint
        for base in _BASES:
            if path.startswith(base + "/"):
                path = path[len(base) :]
                break
        quotable = self._quotables.get(path)
        if quotable is None:
            listed = ", ".join(self._quotables)
            raise InvalidRequest.at("endpoint", message=f"Requests to these endpoints have a price: {listed}")
        return quotable

    def quote(self, quotable: Quotable[Any], asked: Any) -> Quote:
        """What `asked`, which has the endpoint's shape, would cost. Raises what the endpoint's own quote does."""
        quote = quotable.quote(asked)
        return Quote(waived(quote.lines), NanoUsd(0)) if self._free else quote
