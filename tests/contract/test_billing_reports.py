"""`/billing/*` as the contract writes them (CONTRACT 2.3, 11, 16 rows 30 and 31), asked through the server's edge."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import jsonschema_rs
import msgspec
import pytest

from billing_rows import NOON, Books, StoppedClock, answered, asked, books, used_row
from fondaco.billing.reports import routes
from fondaco.billing.reports.analytics import Analytics
from fondaco.billing.reports.balance import BalanceReport
from fondaco.billing.reports.history import History
from fondaco.billing.reports.usage import UsagePages
from fondaco.errors import AuthenticationFailed
from fondaco.http import openapi
from fondaco.http.call import Call
from fondaco.http.edge import Edge
from fondaco.http.reply import Header
from fondaco.http.routing import Route, Routes
from fondaco.keys.caller import Caller
from fondaco.models.catalogue import Catalogue
from fondaco.money import NanoUsd, from_decimal
from fondaco.telemetry.logs import logger

pytestmark = pytest.mark.anyio

ENTRY = {
    "timestamp": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"},
    "sku": {"type": "string", "minLength": 1},
    "pricePerUnitUsd": {"type": "number"},
    "units": {"type": "number"},
    "amount": {"type": "number"},
    "currency": {"enum": ["USD", "VCU", "DIEM"]},
    "notes": {"type": "string"},
    "inferenceDetails": {
        "type": ["object", "null"],
        "properties": {
            "requestId": {"type": "string"},
            "inferenceExecutionTime": {"type": ["integer", "null"]},
            "promptTokens": {"type": ["integer", "null"]},
            "completionTokens": {"type": ["integer", "null"]},
        },
        "required": ["requestId", "inferenceExecutionTime", "promptTokens", "completionTokens"],
        "additionalProperties": False,
    },
}


REFUSED: list[tuple[str, dict[str, str], str]] = [
    *(("usage", {"limit": bad}, "limit") for bad in ("0", "501", "-1", "1.5", "x", "", "1e2", "9" * 30)),
    *(("usage", {"page": bad}, "page") for bad in ("0", "-5", "two")),
    ("usage", {"currency": "EUR"}, "currency"),
    ("usage", {"currency": "BUNDLED_CREDITS"}, "currency"),
    ("usage", {"sortOrder": "up"}, "sortOrder"),
    ("usage", {"startDate": "yesterday"}, "startDate"),
    ("usage", {"endDate": "2026-02-30"}, "endDate"),
    ("usage", {"startDate": "2026-02-02", "endDate": "2026-02-01"}, "endDate"),
    *(("usage-history", {"pageSize": bad}, "pageSize") for bad in ("9", "1001", "all")),
    ("usage-history", {"currency": "VCU"}, "currency"),
    ("usage-history", {"startTimestamp": "2026-02-01"}, "startTimestamp"),
    ("usage-history", {"cursor": "x", "pageSize": "10"}, "pageSize"),
    ("usage-history", {"cursor": "x", "startTimestamp": "2026-06-01T00:00:00Z"}, "startTimestamp"),
    ("usage-analytics", {"lookback": "91d"}, "lookback"),
    ("usage-analytics", {"startDate": "2026-01-01"}, "endDate"),
]


class Balance(msgspec.Struct):
    usd: NanoUsd
    diem: NanoUsd
    bundled: NanoUsd = NanoUsd(0)
    diem_allocation: NanoUsd = NanoUsd(0)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body, parse_float=Decimal)


class Client:
    """A connection that keeps the one answer it gets."""

    answered: Answer | None = None

    def answer(self, status: int, headers: Iterable[Header], body: bytes) -> None:
        self.answered = Answer(status, {name.decode(): value.decode() for name, value in headers}, body)

    def begin(self, status: int, headers: Iterable[Header]) -> None: ...
    def piece(self, data: bytes) -> None: ...
    def end(self) -> None: ...
    def clogged(self) -> None: ...
    def continue_body(self) -> None: ...


class Keys:
    """Tokens that say who has them: `admin:<account>` or `inference:<account>`."""

    def recall(self, token: bytes) -> Caller | None:
        return None

    async def authenticate(self, token: bytes) -> Caller:
        kind, _, account = token.decode().partition(":")
        if kind not in ("admin", "inference"):
            raise AuthenticationFailed
        return Caller(f"key of {account}", account, "ADMIN" if kind == "admin" else "INFERENCE")


class House:
    """The routes of billing behind an edge, and the ledger that they read."""

    def __init__(self, ledger: Books, mine: str, other: str) -> None:
        self.ledger = ledger
        self.mine = mine
        self.other = other
        self.clock = StoppedClock()
        self.table: list[Route] = routes.routes(
            UsagePages(ledger.database, self.clock),
            History(ledger.database, self.clock, bytes(32)),
            BalanceReport(self._balances, prepaid=True),
            Analytics(ledger.database, self.clock, Catalogue().find),
            self.clock,
        )
        self._edge = Edge(Routes(self.table), Keys(), logger("tests"))

    async def get(
        self, path: str, key: str | None = "admin", accept: str | None = None, **query: Any
    ) -> Answer:
        client = Client()
        headers: dict[bytes, bytes] = {}
        if key is not None:
            token = key if ":" in key else f"{key}:{self.mine}"
            headers[b"authorization"] = f"Bearer {token}".encode()
        if accept is not None:
            headers[b"accept"] = accept.encode()
        call = Call(client, "GET", f"/api/v1/billing/{path}", urlencode(query).encode(), headers)
        call.finish()
        await self._edge.handle(call)
        assert client.answered is not None
        return client.answered

    async def _balances(self, account_id: str) -> Balance:
        assert account_id == self.mine
        return Balance(usd=from_decimal("25"), diem=from_decimal("90.5"), diem_allocation=from_decimal("100"))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with books(tmp_path / "data") as ledger:
        yield House(ledger, await ledger.account("mine"), await ledger.account("other"))


async def test_usage_has_the_contracts_rows_pagination_and_headers(house: House) -> None:
    await house.ledger.move(house.mine, "credit", from_decimal("10"), note="Invoice 7 (by ann)")
    await house.ledger.use(
        house.mine,
        asked(412),
        answered(227),
        at=NOON + timedelta(seconds=1),
        currency="DIEM",
        tokens=(412, 227),
        ms=2964,
    )
    got = await house.get("usage")
    assert (got.status, got.headers["content-type"]) == (200, "application/json")
    assert {name: value for name, value in got.headers.items() if name.startswith("x-pagination")} == {
        "x-pagination-limit": "200",
        "x-pagination-page": "1",
        "x-pagination-total": "3",
        "x-pagination-total-pages": "1",
    }
    assert got.json["pagination"] == {"limit": 200, "page": 1, "total": 3, "totalPages": 1}
    details = {
        "requestId": "chatcmpl-1",
        "inferenceExecutionTime": 2964,
        "promptTokens": 412,
        "completionTokens": 227,
    }
    assert got.json["data"] == [
        {
            "timestamp": "2026-03-10T12:00:01.000Z",
            "sku": "qwen3-4b-llm-output-mtoken",
            "pricePerUnitUsd": Decimal("0.15"),
            "units": Decimal("0.000227"),
            "amount": Decimal("-0.00003405"),
            "currency": "DIEM",
            "notes": "API Inference",
            "inferenceDetails": details,
        },
        {
            "timestamp": "2026-03-10T12:00:01.000Z",
            "sku": "qwen3-4b-llm-input-mtoken",
            "pricePerUnitUsd": Decimal("0.05"),
            "units": Decimal("0.000412"),
            "amount": Decimal("-0.0000206"),
            "currency": "DIEM",
            "notes": "API Inference",
            "inferenceDetails": details,
        },
        {
            "timestamp": "2026-03-10T12:00:00.000Z",
            "sku": "account-credit",
            "pricePerUnitUsd": 1,
            "units": 10,
            "amount": 10,
            "currency": "USD",
            "notes": "Invoice 7 (by ann)",
            "inferenceDetails": None,
        },
    ]
    assert "warningMessage" not in got.json
    assert b'"units":0.000412,"amount":-0.0000206,' in got.body


async def test_usage_names_only_the_three_currencies_that_its_readers_know(house: House) -> None:
    await house.ledger.use(house.mine, asked(1), currency="BUNDLED_CREDITS", request=None)
    await house.ledger.use(house.mine, asked(1))
    found = (await house.get("usage")).json
    assert [row["currency"] for row in found["data"]] == ["USD", "USD"]
    assert "undled credits" in found["warningMessage"]
    schema = {"type": "object", "properties": ENTRY, "required": list(ENTRY), "additionalProperties": False}
    for row in json.loads((await house.get("usage")).body)["data"]:
        jsonschema_rs.validate(schema, row)
    assert [row["currency"] for row in (await house.get("usage-history")).json["data"]] == [
        "BUNDLED_CREDITS",
        "USD",
    ]
    exact = csv.DictReader(
        io.StringIO((await house.get("usage", accept="text/csv")).body.decode(), newline="")
    )
    assert [row["currency"] for row in exact] == ["USD", "BUNDLED_CREDITS"]


async def test_usage_as_csv_is_a_download_that_adds_up_to_the_balances_change(house: House) -> None:
    total = 0
    for number in range(30):
        await house.ledger.move(house.mine, "grant", from_decimal("1"), currency="DIEM")
        await house.ledger.use(house.mine, asked(7 * number), answered(number), currency="DIEM", book="funds")
        await house.ledger.move(
            house.mine, "lapse", from_decimal("0.123456789"), currency="DIEM", note="=1+1"
        )
        total += (
            from_decimal("1")
            - from_decimal("0.123456789")
            - asked(7 * number).amount
            - answered(number).amount
        )
    found: list[dict[str, str]] = []
    for page in (1, 2, 3):
        got = await house.get(
            "usage", accept="text/csv", limit=50, page=page, sortOrder="asc", currency="DIEM"
        )
        assert got.headers["content-type"] == "text/csv; charset=utf-8"
        assert got.headers["content-disposition"] == "attachment; filename=billing_usage.csv"
        assert (got.headers["x-pagination-total"], got.headers["x-pagination-total-pages"]) == ("120", "3")
        found += csv.DictReader(io.StringIO(got.body.decode(), newline=""))
    assert len(found) == 120
    assert sum(Decimal(row["amount"]) for row in found) == Decimal(total) / 10**9
    for row in found:
        assert abs(Decimal(row["amount"])) == Decimal(row["units"]) * Decimal(row["pricePerUnitUsd"])
    assert {row["notes"] for row in found} == {"API Inference", "By hand", "'=1+1"}


async def test_csv_is_for_those_who_ask_for_it(house: House) -> None:
    asked_for = {
        None: False,
        "*/*": False,
        "application/json": False,
        "text/csv": True,
        "TEXT/CSV; charset=utf-8": True,
        "application/json, text/csv": True,
        "text/csv;q=0.5, application/json": False,
        "text/csv, application/json;q=0.9": True,
        "text/csv;q=0": False,
        "text/csvx": False,
        "text/csv;q=banana": True,
    }
    for path in ("usage", "usage-history"):
        for accept, csv_wanted in asked_for.items():
            got = await house.get(path, accept=accept)
            assert got.headers["content-type"].startswith("text/csv" if csv_wanted else "application/json"), (
                accept
            )
            assert got.headers["vary"] == "accept"


async def test_history_is_walked_by_cursor_in_json_and_csv(house: House) -> None:
    await house.ledger.fill(used_row(house.mine, asked(number)) for number in range(25))
    window = {
        "startTimestamp": "2026-03-10T12:00:00Z",
        "endTimestamp": "2026-03-10T12:00:00.001Z",
        "pageSize": 10,
    }
    got = await house.get("usage-history", **window)
    as_csv = await house.get("usage-history", accept="text/csv", **window)
    units: list[Decimal] = []
    for size in (10, 10, 5):
        assert set(got.json) == {"data", "nextCursor"}
        assert len(got.json["data"]) == size
        units += [row["units"] for row in got.json["data"]]
        lines = list(csv.reader(io.StringIO(as_csv.body.decode(), newline="")))
        assert [Decimal(line[3]) for line in lines[1:]] == units[-size:]
        stamp = as_csv.headers["content-disposition"]
        assert stamp == "attachment; filename=billing-usage-history-20260310T120000000Z.csv"
        cursor = got.json["nextCursor"]
        assert as_csv.headers.get("x-next-cursor") == cursor
        if cursor is not None:
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,512}", cursor)
            got = await house.get("usage-history", cursor=cursor)
            as_csv = await house.get("usage-history", accept="text/csv", cursor=cursor)
    assert cursor is None
    assert units == [Decimal(number) / 10**6 for number in range(25)]


async def test_a_bad_foreign_or_expired_cursor_is_refused_with_the_contracts_sentence(house: House) -> None:
    await house.ledger.fill(used_row(house.mine, asked(number)) for number in range(11))
    cursor = (await house.get("usage-history", pageSize=10)).json["nextCursor"]
    assert len((await house.get("usage-history", cursor=cursor)).json["data"]) == 1
    body = {"error": "Invalid or expired cursor; restart from the first page", "code": "INVALID_REQUEST"}
    changed = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    refused = [
        await house.get("usage-history", cursor=bad) for bad in (changed, "", "x", "a b", "é", "A" * 5000)
    ]
    refused.append(await house.get("usage-history", key=f"admin:{house.other}", cursor=cursor))
    house.clock.forward(86_400)
    refused.append(await house.get("usage-history", cursor=cursor))
    assert [(got.status, got.json) for got in refused] == [(400, body)] * 8


async def test_a_query_that_makes_no_sense_is_refused_at_its_field(house: House) -> None:
    for path, query, field in REFUSED:
        got = await house.get(path, **query)
        assert got.status == 400, (path, query)
        assert got.json["error"] == "Invalid request parameters"
        assert [issue["path"] for issue in got.json["issues"]] == [[field]], (path, query)
        assert got.json["details"][field]["_errors"]


async def test_only_the_history_refuses_what_it_does_not_know(house: House) -> None:
    for query in ({"limit": 5}, {"limit": 5, "cursor": "x"}):
        got = await house.get("usage-history", **query)
        assert got.status == 400
        assert got.json["details"]["_errors"] == ["Unrecognized key(s) in object: 'limit'"]
    for path in ("usage", "usage-analytics", "balance"):
        assert (await house.get(path, other="x")).status == 200


async def test_balance_has_the_contracts_keys(house: House) -> None:
    assert (await house.get("balance")).json == {
        "canConsume": True,
        "consumptionCurrency": "DIEM",
        "balances": {"diem": Decimal("90.5"), "usd": 25},
        "diemEpochAllocation": 100,
    }


async def test_analytics_have_the_contracts_keys(house: House) -> None:
    await house.ledger.use(house.mine, asked(1_000_000), answered(1), key="")
    found = (await house.get("usage-analytics", lookback="2d")).json
    assert list(found) == [
        *("lookback", "byDate", "byModel", "byModelDaily", "topModels", "byKey", "byKeyDaily", "topKeyNames"),
    ]
    assert found["lookback"] == "2d"
    assert found["byKey"][0]["apiKeyId"] is None
    assert [part["type"] for part in found["byModel"][0]["breakdown"]] == ["Input", "Output"]


@pytest.mark.parametrize("path", ["usage", "usage-history", "usage-analytics", "balance"])
async def test_reports_are_for_admin_keys_and_of_their_own_account(house: House, path: str) -> None:
    assert (await house.get(path, key="inference")).json == {
        "error": "Admin API key required",
        "code": "AUTHENTICATION_FAILED",
    }
    for key in ("inference", "unknown", None):
        assert (await house.get(path, key=key)).status == 401
    if path != "balance":
        await house.ledger.use(house.other, asked(10**9), key=await house.ledger.key(house.other, "Theirs"))
        for accept in (None, "text/csv"):
            assert b"mtoken" not in (await house.get(path, accept=accept)).body
            assert b"Theirs" not in (await house.get(path, accept=accept)).body


async def test_the_document_tells_the_reports_and_their_parameters(house: House) -> None:
    told = openapi.document([route.operation for route in house.table], title="t", version="1")
    history = told["paths"]["/billing/usage-history"]["get"]
    assert [each["name"] for each in history["parameters"]] == [
        *("startTimestamp", "endTimestamp", "currency", "pageSize", "cursor"),
    ]
    assert set(history["responses"]) == {"200", "400", "401", "403", "429", "500"}
    assert "504" in told["paths"]["/billing/usage-analytics"]["get"]["responses"]
