"""CSV exports: exact, quoted by RFC 4180, and nothing in them that a spreadsheet would compute."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from fondaco.billing.reports import csv_export
from fondaco.billing.reports.store import Kind, Transfer
from fondaco.billing.reports.wire import entry


def row(**changes: Any) -> Transfer:
    kind: Kind = "usage"
    given: dict[str, Any] = {
        "id": 1,
        "at": 1_781_550_310_504,
        "kind": kind,
        "debit": "tab",
        "currency": "USD",
        "amount": 20_600,
        "note": "API Inference",
        "request_id": "chatcmpl-1",
        "sku": "qwen3-4b-llm-input-mtoken",
        "price": 50_000_000,
        "units": 412,
        "per": 1_000_000,
        "prompt_tokens": 412,
        "completion_tokens": 0,
        "execution_ms": None,
        **changes,
    }
    return Transfer(**given)


def test_a_line_says_what_was_used_to_the_last_digit() -> None:
    text = csv_export.export([entry(row())]).decode()
    assert text == (
        "timestamp,sku,pricePerUnitUsd,units,amount,currency,notes,inferenceDetails.requestId,"
        "inferenceDetails.inferenceExecutionTime,inferenceDetails.promptTokens,inferenceDetails.completionTokens\r\n"
        "2026-06-15T19:05:10.504Z,qwen3-4b-llm-input-mtoken,0.05,0.000412,-0.0000206,USD,API Inference,"
        "chatcmpl-1,,412,0\r\n"
    )


@pytest.mark.parametrize(
    ("kind", "debit", "currency", "sku", "amount"),
    [
        ("credit", "outside", "USD", "account-credit", "12.5"),
        ("debit", "funds", "USD", "account-debit", "-12.5"),
        ("grant", "outside", "DIEM", "diem-epoch-grant", "12.5"),
        ("lapse", "funds", "DIEM", "diem-epoch-lapse", "-12.5"),
    ],
)
def test_money_that_comes_and_goes_is_so_many_dollars_at_a_price_of_one(
    kind: str, debit: str, currency: str, sku: str, amount: str
) -> None:
    nothing = dict.fromkeys(
        ["request_id", "sku", "price", "units", "per", "prompt_tokens", "completion_tokens"]
    )
    found = entry(
        row(**nothing, kind=kind, debit=debit, currency=currency, amount=12_500_000_000, note="Invoice 7")
    )
    cells = csv_export.line(found).removesuffix("\r\n").split(",")
    assert cells[1:] == [sku, "1", "12.5", amount, currency, "Invoice 7", "", "", "", ""]
    assert found.inference_details is None


@pytest.mark.parametrize("start", "=+-@\t\r\n＝＋－＠")
def test_text_that_a_spreadsheet_would_compute_stays_text(start: str) -> None:
    note = f'{start}HYPERLINK("http://127.0.0.1/?x="&A1,"free")'
    found = next(csv.DictReader(io.StringIO(csv_export.export([entry(row(note=note))]).decode(), newline="")))
    assert found["notes"] == f"'{note}"
    assert found["amount"] == "-0.0000206"


def test_quotes_commas_line_breaks_and_every_alphabet_come_back_as_they_were() -> None:
    notes = ['said "so", twice', "two\r\nlines", "à la carte €", "日本", " padded ", "", "it's = fine"]
    text = csv_export.export(entry(row(note=note)) for note in notes).decode()
    assert [each["notes"] for each in csv.DictReader(io.StringIO(text, newline=""))] == notes
