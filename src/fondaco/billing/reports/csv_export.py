"""The ledger as a CSV file that a spreadsheet opens, and computes nothing of (RFC 4180, UTF-8)."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Raw

from fondaco.billing.reports.wire import Entry

COLUMNS = (
    "timestamp",
    "sku",
    "pricePerUnitUsd",
    "units",
    "amount",
    "currency",
    "notes",
    "inferenceDetails.requestId",
    "inferenceDetails.inferenceExecutionTime",
    "inferenceDetails.promptTokens",
    "inferenceDetails.completionTokens",
)
HEADER = ",".join(COLUMNS) + "\r\n"

# What makes a cell a formula, in its wide forms too, which some spreadsheets take for the same.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
_QUOTED = frozenset('",\r\n')


def export(entries: Iterable[Entry]) -> bytes:
    """A whole file: the header, and a line for each entry."""
    return (HEADER + "".join(map(line, entries))).encode()


def line(entry: Entry) -> str:
    details = entry.inference_details
    cells = [
        entry.timestamp,
        _text(entry.sku),
        _number(entry.price_per_unit_usd),
        _number(entry.units),
        _number(entry.amount),
        entry.currency,
        _text(entry.notes),
    ]
    if details is None:
        cells += [""] * 4
    else:
        cells.append(_text(details.request_id))
        cells += map(
            _count, (details.inference_execution_time, details.prompt_tokens, details.completion_tokens)
        )
    return ",".join(cells) + "\r\n"


def _number(value: Raw) -> str:
    return bytes(value).decode()


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


def _text(text: str) -> str:
    if text.startswith(_FORMULA):
        text = f"'{text}"
    if _QUOTED.isdisjoint(text):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'
