"""The routes under /api_keys as the contract writes them (CONTRACT 10; 16, rows 4, 5 and 47)."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fondaco.keys.caller import Period
from fondaco.money import NanoUsd
from key_desk import Answer, Desk, open_desk

pytestmark = pytest.mark.anyio

ROW = {
    "id",
    "apiKeyType",
    "description",
    "createdAt",
    "expiresAt",
    "lastUsedAt",
    "last6Chars",
    "consumptionLimits",
    "limitPeriod",
    "modelPrivacy",
}
CREATED = {
    "id",
    "apiKey",
    "apiKeyType",
    "description",
    "expiresAt",
    "consumptionLimit",
    "limitPeriod",
    "modelPrivacy",
}
MISSING = "e28e82dc-9df2-4b47-b726-d0a222ef2ab5"


class Spent(NamedTuple):
    usd: NanoUsd
    diem: NanoUsd


class Books:
    """Keys have spent what is told here."""

    def __init__(self) -> None:
        self.asked: Mapping[str, Period] = {}

    async def trailing(self, key_ids: Sequence[str]) -> Mapping[str, Spent]:
        return {key_id: Spent(NanoUsd(10_242_350_000), NanoUsd(50_000)) for key_id in key_ids}

    async def in_period(self, keys: Mapping[str, Period]) -> Mapping[str, Spent]:
        self.asked = keys
        return {key_id: Spent(NanoUsd(5_123_450_000), NanoUsd(0)) for key_id in keys}


@pytest.fixture
async def books() -> Books:
    return Books()


@pytest.fixture
async def desk(tmp_path: Path, books: Books) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, usage=books) as desk:
        yield desk


def said(answer: Answer, status: int = 400) -> str:
    assert answer.status == status, answer.body
    assert answer.json()["code"]
    text: str = answer.json()["error"]
    return text


async def test_a_new_key_is_shown_once_and_works(desk: Desk) -> None:
    answer = await desk.ask(
        "POST",
        "/api_keys",
        {
            "apiKeyType": "INFERENCE",
            "description": "Example API Key",
            "expiresAt": "2026-12-31T23:59:59Z",
            "consumptionLimit": {"usd": 50, "diem": 10.5, "vcu": None},
            "limitPeriod": "MONTH",
            "modelPrivacy": "PRIVATE_TEXT",
        },
    )
    assert answer.status == 200
    assert set(answer.json()) == {"success", "data"}
    assert answer.json()["success"] is True
    data = answer.json()["data"]
    assert set(data) == CREATED
    token = data.pop("apiKey")
    assert re.fullmatch(r"VENICE_INFERENCE_KEY_[\w-]{43}", token)
    key_id = data.pop("id")
    assert data == {
        "apiKeyType": "INFERENCE",
        "description": "Example API Key",
        "expiresAt": "2026-12-31T23:59:59.000Z",
        "consumptionLimit": {"usd": 50, "diem": 10.5, "vcu": None},
        "limitPeriod": "MONTH",
        "modelPrivacy": "PRIVATE_TEXT",
    }
    caller = await desk.keys.authenticate(token.encode())
    assert (caller.key_id, caller.account_id, caller.model_privacy) == (key_id, desk.account, "PRIVATE_TEXT")
    assert caller.limits is not None
    assert (caller.limits.period, caller.limits.usd, caller.limits.diem, caller.limits.vcu) == (
        "MONTH",
        50_000_000_000,
        10_500_000_000,
        None,
    )
    assert caller.expires_at is not None
    for again in (await desk.ask("GET", "/api_keys"), await desk.ask("GET", f"/api_keys/{key_id}")):
        assert token.encode() not in again.body


async def test_a_key_with_nothing_said_has_the_defaults(desk: Desk) -> None:
    for nothing in (
        {},
        {"expiresAt": ""},
        {"expiresAt": None, "consumptionLimit": None, "limitPeriod": None},
    ):
        made = await desk.make(**nothing)
        assert (made["expiresAt"], made["limitPeriod"], made["modelPrivacy"]) == (None, "EPOCH", "ALL")
        assert made["consumptionLimit"] == {"usd": None, "diem": None, "vcu": None}
        caller = await desk.keys.authenticate(made["apiKey"].encode())
        assert (caller.limits, caller.expires_at, caller.model_privacy) == (None, None, "ALL")
    described = await desk.make(description="")
    assert (await desk.keys.get(described["id"])).description == ""


async def test_rows_have_the_fields_that_clients_read(desk: Desk, books: Books) -> None:
    made = await desk.make(
        consumptionLimit={"usd": 0, "vcu": 30}, limitPeriod="LIFETIME", expiresAt="2026-04-01"
    )
    only_vcu = await desk.make(consumptionLimit={"vcu": 1})
    answer = await desk.ask("GET", "/api_keys")
    assert set(answer.json()) == {"object", "data"}
    assert answer.json()["object"] == "list"
    rows = {row["id"]: row for row in answer.json()["data"]}
    row = rows[made["id"]]
    assert set(row) == ROW | {"usage", "currentPeriodUsage"}
    assert row | {"usage": 0} == {
        "id": made["id"],
        "apiKeyType": "INFERENCE",
        "description": "made",
        "createdAt": "2026-03-01T12:00:00.000Z",
        "expiresAt": "2026-04-01T00:00:00.000Z",
        "lastUsedAt": None,
        "last6Chars": made["apiKey"][-6:],
        "consumptionLimits": {"usd": 0, "diem": None, "vcu": 30},
        "limitPeriod": "LIFETIME",
        "modelPrivacy": "ALL",
        "usage": 0,
        "currentPeriodUsage": {"usd": "5.1234", "diem": "0.0000"},
    }
    # Half-even, once, from the nano-dollar.
    assert row["usage"] == {"trailingSevenDays": {"usd": "10.2424", "vcu": "0.0000", "diem": "0.0000"}}
    assert set(rows[only_vcu["id"]]) == ROW | {"usage"}, "nothing is charged in VCU"
    assert books.asked == {made["id"]: "LIFETIME"}
    one = await desk.ask("GET", f"/api_keys/{made['id']}")
    assert one.json() == {"data": row}


async def test_the_list_is_newest_first_without_what_has_ended(desk: Desk) -> None:
    made = []
    for n in range(4):
        desk.clock.passed = n + 1
        made.append(await desk.make(description=str(n), expiresAt="2026-03-02" if n == 1 else None))
    await desk.ask("DELETE", f"/api_keys/{made[2]['id']}")
    listed = (await desk.ask("GET", "/api_keys")).json()["data"]
    assert [row["description"] for row in listed] == ["3", "1", "0", "the desk's own"]
    desk.clock.passed = 86_400
    listed = (await desk.ask("GET", "/api_keys")).json()["data"]
    assert [row["description"] for row in listed] == ["3", "0", "the desk's own"]
    assert listed[-1]["lastUsedAt"] == "2026-03-02T12:00:00.000Z"


CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"description": "renamed"}, {"description": "renamed"}),
    ({"description": ""}, {"description": ""}),
    ({"expiresAt": "2026-12-31"}, {"expiresAt": "2026-12-31T00:00:00.000Z"}),
    ({"expiresAt": "2026-12-31T01:02:03.004Z"}, {"expiresAt": "2026-12-31T01:02:03.004Z"}),
    ({"expiresAt": ""}, {"expiresAt": None}),
    ({"expiresAt": None}, {"expiresAt": None}),
    ({"consumptionLimit": {"usd": 100}}, {"consumptionLimits": {"usd": 100, "diem": 10, "vcu": None}}),
    ({"consumptionLimit": {"usd": None}}, {"consumptionLimits": {"usd": None, "diem": 10, "vcu": None}}),
    (
        {"consumptionLimit": {"diem": 0, "vcu": 7}},
        {"consumptionLimits": {"usd": 50, "diem": 0, "vcu": 7}},
    ),
    ({"consumptionLimit": {}}, {}),
    ({"limitPeriod": "LIFETIME"}, {"limitPeriod": "LIFETIME"}),
    ({"modelPrivacy": "PRIVATE_ONLY"}, {"modelPrivacy": "PRIVATE_ONLY"}),
    ({}, {}),
]


SPELLINGS = [("PATCH", False, True), ("PATCH", True, False), ("PUT", True, False), ("PUT", True, True)]
"""Method, and whether the id is in the path and in the body."""


@pytest.mark.parametrize(("method", "in_path", "in_body"), SPELLINGS)
async def test_a_change_touches_what_it_names_in_every_spelling(
    desk: Desk, method: str, in_path: bool, in_body: bool
) -> None:
    for change, effect in CHANGES:
        made = await desk.make(consumptionLimit={"usd": 50, "diem": 10}, expiresAt="2026-06-01")
        before = (await desk.ask("GET", f"/api_keys/{made['id']}")).json()["data"]
        body = {**change, **({"id": made["id"]} if in_body else {})}
        answer = await desk.ask(method, f"/api_keys/{made['id']}" if in_path else "/api_keys", body)
        assert answer.status == 200, answer.body
        assert set(answer.json()) == {"success", "data"}
        after = (await desk.ask("GET", f"/api_keys/{made['id']}")).json()["data"]
        expected = {name: effect.get(name, before[name]) for name in ROW}
        assert answer.json()["data"] == expected, change
        assert {name: after[name] for name in ROW} == expected, change


async def test_a_key_ends_in_every_spelling_and_at_once(desk: Desk) -> None:
    for n in range(3):
        made = await desk.make()
        assert (await desk.ask("GET", "/models", key=made["apiKey"])).status == 200
        assert await desk.keys.authenticate(made["apiKey"].encode())
        answer = await (
            desk.ask("DELETE", f"/api_keys?id={made['id']}"),
            desk.ask("DELETE", "/api_keys", {"id": made["id"]}),
            desk.ask("DELETE", f"/api_keys/{made['id']}"),
        )[n]
        assert (answer.status, answer.json()) == (200, {"success": True})
        assert desk.keys.recall(made["apiKey"].encode()) is None
        refused = await desk.ask("GET", "/api_keys", key=made["apiKey"])
        assert (refused.status, refused.json()["error"]) == (401, "Authentication failed")


async def test_an_admin_key_may_end_itself(desk: Desk) -> None:
    made = await desk.make(apiKeyType="ADMIN")
    assert (await desk.ask("DELETE", f"/api_keys/{made['id']}", key=made["apiKey"])).status == 200
    assert (await desk.ask("GET", "/api_keys", key=made["apiKey"])).status == 401


async def test_an_inference_key_and_no_key_are_kept_out(desk: Desk) -> None:
    made = await desk.make()
    for method, target in (
        ("GET", "/api_keys"),
        ("POST", "/api_keys"),
        ("PATCH", "/api_keys"),
        ("DELETE", "/api_keys"),
        ("GET", f"/api_keys/{made['id']}"),
        ("PUT", f"/api_keys/{made['id']}"),
        ("PATCH", f"/api_keys/{made['id']}"),
        ("DELETE", f"/api_keys/{made['id']}"),
    ):
        assert said(await desk.ask(method, target, key=made["apiKey"]), 401) == "Admin API key required"
        assert said(await desk.ask(method, target, key=""), 401) == "Authentication failed"


ASKED = [
    ("GET", "/api_keys/{id}", False, "API key not found"),
    ("PATCH", "/api_keys", True, "API key not found or expired"),
    ("PATCH", "/api_keys/{id}", False, "API key not found or expired"),
    ("PUT", "/api_keys/{id}", False, "API key not found or expired"),
    ("DELETE", "/api_keys?id={id}", False, "API key could not be found"),
    ("DELETE", "/api_keys", True, "API key could not be found"),
    ("DELETE", "/api_keys/{id}", False, "API key could not be found"),
]


@pytest.mark.parametrize(("method", "target", "in_body", "sentence"), ASKED)
async def test_other_peoples_ended_and_missing_keys_are_one_to_the_byte(
    desk: Desk, method: str, target: str, in_body: bool, sentence: str
) -> None:
    other = await desk.accounts.ensure("other")
    theirs = await desk.keys.create(other.id, "ADMIN", "theirs")
    revoked = await desk.make()
    await desk.ask("DELETE", f"/api_keys/{revoked['id']}")
    expired = await desk.make(expiresAt="2026-03-01T12:00:10Z")
    desk.clock.passed = 10
    answers: list[tuple[int, list[tuple[bytes, bytes]], bytes]] = []
    names = (MISSING, theirs.id, revoked["id"], expired["id"], "nonsense", "x" * 5000, "%00", "%C3%A9", "'")
    for name in names:
        change = {"description": "taken"} if method in ("PATCH", "PUT") else None
        body = {**(change or {}), "id": name} if in_body else change
        answer = await desk.ask(method, target.format(id=name), body)
        headers = [pair for pair in answer.headers if pair[0] != b"cf-ray"]
        answers.append((answer.status, headers, answer.body))
    assert all(each == answers[0] for each in answers)
    assert json.loads(answers[0][2]) == {"error": sentence, "code": "INVALID_REQUEST"}
    assert answers[0][0] == 400
    assert (await desk.keys.get(theirs.id)).description == "theirs"
    assert await desk.keys.authenticate(theirs.token.encode())
    assert (await desk.ask("GET", "/api_keys", key=theirs.token)).json()["data"][0]["id"] == theirs.id


REFUSED: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    ({"apiKeyType": "ROOT"}, ("apiKeyType",)),
    ({"apiKeyType": None}, ("apiKeyType",)),
    ({"description": None}, ("description",)),
    ({"description": "x" * 65}, ("description",)),
    ({"description": 7}, ("description",)),
    ({"expiresAt": "tomorrow"}, ("expiresAt",)),
    ({"expiresAt": "2026-3-1"}, ("expiresAt",)),
    ({"expiresAt": "2026-12-31T23:59:59"}, ("expiresAt",)),
    ({"expiresAt": "2026-12-31T23:59:59+01:00"}, ("expiresAt",)),
    ({"expiresAt": "2026-12-31T23:59:59.0Z"}, ("expiresAt",)),
    ({"expiresAt": "2026-12-31 23:59:59Z"}, ("expiresAt",)),
    ({"expiresAt": "2026-12-31\n"}, ("expiresAt",)),
    ({"expiresAt": "٢٠٢٦-12-31"}, ("expiresAt",)),
    ({"expiresAt": "2026-02-30"}, ("expiresAt",)),
    ({"expiresAt": "2026-12-31T24:00:01Z"}, ("expiresAt",)),
    ({"expiresAt": "0000-01-01"}, ("expiresAt",)),
    ({"expiresAt": "2026-03-01"}, ("expiresAt",)),
    ({"expiresAt": "2026-03-01T12:00:00Z"}, ("expiresAt",)),
    ({"expiresAt": 1_900_000_000}, ("expiresAt",)),
    ({"limitPeriod": "WEEK"}, ("limitPeriod",)),
    ({"modelPrivacy": "private"}, ("modelPrivacy",)),
    ({"consumptionLimit": 5}, ("consumptionLimit",)),
    ({"consumptionLimit": {"usd": -0.01}}, ("consumptionLimit", "usd")),
    ({"consumptionLimit": {"diem": 10_000_000_000}}, ("consumptionLimit", "diem")),
    ({"consumptionLimit": {"vcu": "5"}}, ("consumptionLimit", "vcu")),
    ({"consumptionLimit": {"usd": True}}, ("consumptionLimit", "usd")),
    ({"consumptionLimit": {"usd": [5]}}, ("consumptionLimit", "usd")),
    ({"consumptionLimit": {"USD": 5}}, ("consumptionLimit",)),
    ({"surprise": 1}, ()),
]


async def test_a_field_that_is_wrong_is_named_and_nothing_is_made_or_changed(desk: Desk) -> None:
    own = await desk.make(consumptionLimit={"usd": 5})
    before = (await desk.ask("GET", "/api_keys")).body
    for wrong, path in REFUSED:
        made = await desk.ask("POST", "/api_keys", {"apiKeyType": "INFERENCE", "description": "x", **wrong})
        assert list(made.faults()) == [path], wrong
        details = made.json()["details"]
        for part in path:
            details = details[part]
        assert details["_errors"]
        changed = await desk.ask("PATCH", "/api_keys", {"id": own["id"], **wrong})
        assert list(changed.faults()) == [() if "apiKeyType" in wrong else path], wrong
    assert (await desk.ask("GET", "/api_keys")).body == before


async def test_each_wrong_limit_of_several_is_named(desk: Desk) -> None:
    limits = {"usd": -1, "diem": "x", "vcu": 1}
    answer = await desk.ask(
        "POST", "/api_keys", {"apiKeyType": "ADMIN", "description": "x", "consumptionLimit": limits}
    )
    assert answer.faults() == {
        ("consumptionLimit", "usd"): "Number must be greater than or equal to 0",
        ("consumptionLimit", "diem"): "Expected number, received string",
    }


async def test_what_must_be_there_is_asked_for(desk: Desk) -> None:
    assert (await desk.ask("POST", "/api_keys", {})).faults() == {
        ("apiKeyType",): "Required",
        ("description",): "Required",
    }
    assert (await desk.ask("PATCH", "/api_keys", {"description": "x"})).faults() == {("id",): "Required"}
    assert (await desk.ask("DELETE", "/api_keys")).faults() == {("id",): "Required"}
    assert (await desk.ask("DELETE", "/api_keys", {})).faults() == {("id",): "Required"}
    made = await desk.make()
    answer = await desk.ask("PUT", f"/api_keys/{made['id']}", {"id": MISSING})
    assert list(answer.faults()) == [("id",)]
    for field in ("expiresAt", "consumptionLimit", "limitPeriod"):
        answer = await desk.ask("PATCH", "/api_keys", {"id": made["id"], field: None})
        assert answer.status == (200 if field == "expiresAt" else 400)
    for raw in (b"", b"{", b"[]", b"\xff"):
        assert (await desk.ask("POST", "/api_keys", raw=raw)).status == 400


AMOUNTS = [
    ("0.1", "0.1"),
    ("1e2", "100"),
    ("2.50E-1", "0.25"),
    ("0.000000001", "0.000000001"),
    ("0.0000000005", "0"),
    ("0.0000000015", "0.000000002"),
    ("0.00000000050000000000000000000000000000000001", "0.000000001"),
    ("9223372035.999999999", "9223372035.999999999"),
    # Nano-dollars have 64 bits: what does not fit is kept as the most that does.
    ("9223372036.5", "9223372036"),
    ("9999999999", "9223372036"),
    ("0.30000000000000004", "0.3"),
    ("1e-9999", "0"),
    ("-0", "0"),
]


async def test_an_amount_is_kept_to_the_nano_dollar_and_written_as_it_is(desk: Desk) -> None:
    for digits, kept in AMOUNTS:
        raw = b'{"apiKeyType":"INFERENCE","description":"%b","consumptionLimit":{"usd": %b }}'
        answer = await desk.ask("POST", "/api_keys", raw=raw % (digits.encode(), digits.encode()))
        assert answer.status == 200, answer.body
        assert b'"consumptionLimit":{"usd":%b,' % kept.encode() in answer.body
        listed = json.loads((await desk.ask("GET", "/api_keys")).body, parse_float=Decimal, parse_int=Decimal)
        found = next(row for row in listed["data"] if row["description"] == digits)
        assert found["consumptionLimits"]["usd"] == Decimal(kept)
        stored = await desk.keys.get(answer.json()["data"]["id"])
        assert stored.limit_usd == int(Decimal(kept) * 10**9)


async def test_an_amount_out_of_range_is_refused(desk: Desk) -> None:
    for digits in (b"9999999999.000000001", b"1e10", b"1e99999", b"1e-99999", b"1" * 401, b"-1e-9", b"-5"):
        raw = b'{"apiKeyType":"INFERENCE","description":"x","consumptionLimit":{"usd":%b}}' % digits
        assert list((await desk.ask("POST", "/api_keys", raw=raw)).faults()) == [("consumptionLimit", "usd")]


async def test_a_restricted_key_is_shown_only_what_it_may_ask(desk: Desk) -> None:
    seen: dict[str, dict[str, Any]] = {}
    for policy in ("ALL", "PRIVATE_TEXT", "PRIVATE_ONLY", None):
        key = "" if policy is None else (await desk.make(modelPrivacy=policy))["apiKey"]
        seen[str(policy)] = {
            path: (await desk.ask("GET", path, key=key)).json()
            for path in ("/models", "/models/traits?type=text", "/models/compatibility_mapping?type=text")
        }
    ids = {policy: {row["id"] for row in answers["/models"]["data"]} for policy, answers in seen.items()}
    assert ids["None"] == ids["ALL"] == {"qwen3-4b", "zai-org-glm-4.7", "venice-sd35"}
    assert ids["PRIVATE_TEXT"] == {"qwen3-4b", "venice-sd35"}
    assert ids["PRIVATE_ONLY"] == {"qwen3-4b"}
    for path in ("/models/traits?type=text", "/models/compatibility_mapping?type=text"):
        assert "zai-org-glm-4.7" in seen["ALL"][path]["data"].values()
        assert set(seen["PRIVATE_ONLY"][path]["data"].values()) == {"qwen3-4b"}
    key = (await desk.make(modelPrivacy="PRIVATE_ONLY"))["apiKey"]
    assert (await desk.ask("GET", "/models/zai-org-glm-4.7", key=key)).status == 404
    assert (await desk.ask("GET", "/models/qwen3-4b", key=key)).status == 200
    assert (await desk.ask("GET", "/models?type=nonsense", key=key)).status == 400
