"""Canaries in every field of every route, right and wrong, and none of them kept anywhere."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from canaries import Flock
from retention_routes import ROWS, Body, Plant, Row

from conftest import MAX_BODY, House
from fondaco.app import App
from fondaco.http.openapi import Operation
from fondaco.http.routing import Route, Routes
from fondaco.settings import load
from gateways import ADMIN_KEY

BY_ROUTE = {row.route: row for row in ROWS}

CHAT = "/api/v1/chat/completions"


@pytest.fixture
async def operations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Operation]:
    """Every operation of the application as it is composed."""
    found: list[Route] = []

    class Seen(Routes):
        def __init__(self, routes: list[Route]) -> None:
            found.extend(routes)
            super().__init__(routes)

    monkeypatch.setattr("fondaco.app.Routes", Seen)
    settings = load(
        None, {"server": {"data_dir": tmp_path}, "weights": {"offline": True, "cache_dir": tmp_path}}
    )
    app = App(settings)
    await app.start()
    await app.close()
    assert len(found) > 5
    return [route.operation for route in found]


def name_of(operation: Operation) -> str:
    return f"{operation.method} {operation.path.replace(':path}', '}')}"


@pytest.mark.anyio
async def test_every_route_has_a_row(operations: list[Operation]) -> None:
    assert {name_of(operation) for operation in operations} == set(BY_ROUTE)
    for operation in operations:
        row = BY_ROUTE[name_of(operation)]
        assert {query.name for query in operation.query} == set(row.queries), row.route


@pytest.mark.anyio
async def test_every_field_has_a_canary(operations: list[Operation]) -> None:
    for operation in operations:
        if operation.request is None:
            continue
        row = BY_ROUTE[name_of(operation)]
        flock = Flock()
        bodies = row.written(flock.plant)
        assert all(file in body for file in operation.files for body in bodies[:1])
        told = {path for body in bodies for path, _ in leaves(body)}
        sown = {path for body in bodies for path, leaf in leaves(body) if flock.stem in str(leaf)}
        fields = list(fields_of(msgspec.inspect.type_info(operation.request), ""))
        assert [path for path, _ in fields if path not in told] == [], "fields that no body of the row has"
        assert [path for path, is_text in fields if is_text and path not in sown] == [], (
            "fields without a canary"
        )


def test_a_field_without_a_canary_would_be_noticed() -> None:
    inner = msgspec.defstruct("Inner", [("text", str | None, None)])
    outer = msgspec.defstruct("Outer", [("items", list[inner]), ("word", str), ("kind", int)])
    fields = dict(fields_of(msgspec.inspect.type_info(outer), ""))
    assert fields == {"items[].text": True, "word": True, "kind": False}


def together(rows: Iterable[Row]) -> pytest.MarkDecorator:
    """A test of these rows, which searches once for what several of them may have left: a search takes a while."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault("chat" if row.engine else "others", []).append(row)
    return pytest.mark.parametrize("rows", groups.values(), ids=groups)


@together(row for row in ROWS if row.bodies)
def test_accepted_bodies_leave_nothing(house: House, rows: list[Row]) -> None:
    for row in rows:
        assert row.bodies is not None
        for body in row.bodies(planter(house, row)):
            status, answer = ask(house, row, encoded(body))
            assert status == 200, answer
            if row.engine:
                assert house.flock.seen_in([("the answer", answer)]), "the engine's own canaries come through"
    house.settle()
    assert house.leaks() == []


@together(row for row in ROWS if row.told(str))
def test_a_canary_in_place_of_any_value_or_beside_any_key_leaves_nothing(
    house: House, rows: list[Row]
) -> None:
    for row in rows:
        plant = planter(house, row)
        good = {200, *row.statuses} if row.bodies else row.statuses
        statuses: dict[int, int] = {}
        for body in spoilt(row.told(plant), plant):
            status, answer = ask(house, row, encoded(body))
            assert status in good, (row.route, body, answer)
            statuses[status] = statuses.get(status, 0) + 1
        large = len(encoded(row.told(plant)[0])) > 1000
        assert statuses[400] > (50 if row.bodies and large else 1)
    house.settle()
    assert house.leaks() == []


@together(row for row in ROWS if row.refused)
@pytest.mark.long
def test_bodies_that_are_refused_for_what_they_ask_leave_nothing(house: House, rows: list[Row]) -> None:
    for row in rows:
        assert row.refused is not None
        for body in row.refused(planter(house, row)):
            status, answer = ask(house, row, encoded(body))
            assert status in row.statuses, (row.route, body, answer)
    house.settle()
    assert house.leaks() == []


@together(ROWS)
def test_what_stands_around_a_body_leaves_nothing(house: House, rows: list[Row]) -> None:
    for row in rows:
        plant = planter(house, row)
        told = row.told(plant)
        body = encoded(told[0]) if told else None
        target = row.target(plant)

        def send(
            target: str,
            headers: dict[str, str] | None = None,
            method: str = row.method,
            row: Row = row,
            body: bytes | None = body,
        ) -> int:
            return house.ask(method, target, body, {**key_for(row), **(headers or {})})[0]

        seen = {
            send(f"{target}?{plant('query name')}={plant('query value')}#{plant('fragment')}"),
            *(send(f"{target}?{name}={plant(name)}&{name}=%22{plant(name)}") for name in row.queries),
            *(send(target, {name: plant(name)}) for name in HEADERS),
            *(send(target, {"Authorization": form.format(plant(form))}) for form in KEYS),
            send(target, {plant("header name"): plant("header value")}),
            send(f"{target}/{plant('path below')}"),
            send(f"{target}/"),
            send(target, method=plant("method").upper()),
            send(target, method="TRACE"),
            send(f"/{plant('unknown path')}?{plant('query')}"),
            send(f"/api/v1/{plant('unknown path')}/%2e%2e/{plant('rest')}"),
        }
        assert seen <= {200, 400, 401, 404, 405, 415}, row.route
        assert {404, 405} <= seen, row.route
        if row.admin:
            assert house.ask(row.method, target, body)[0] == 401, "an inference key is not enough"
    house.settle()
    assert house.leaks() == []


HEADERS = (
    "User-Agent",
    "Referer",
    "Cookie",
    "X-Forwarded-For",
    "X-Request-Id",
    "Accept",
    "Accept-Language",
    "Origin",
)
HEADERS += ("Idempotency-Key", "Accept-Encoding", "Forwarded", "Traceparent", "Content-Type", "X-Api-Key")
HEADERS += ("From", "Range")
KEYS = ("Bearer {}", "bearer   {}", "Bearer VENICE_ADMIN_KEY_{}", "Basic {}", "{}", "Bearer {} and more")


@together(row for row in ROWS if row.told(str))
def test_bodies_that_are_not_what_they_should_be_leave_nothing(house: House, rows: list[Row]) -> None:
    for row in rows:
        plant = planter(house, row)
        target = row.target(plant)

        def send(body: bytes, kind: str = "application/json", row: Row = row, target: str = target) -> int:
            return house.ask(row.method, target, body, {**key_for(row), "Content-Type": kind})[0]

        def told(field: str, plant: Plant = plant) -> bytes:
            return plant(field).encode()

        assert send(b'{"model": "' + told("unclosed")) == 400
        assert send(b"{'" + told("wrong quotes") + b"': 1}") == 400
        assert send(b'"' + told("a string") + b'"') == 400
        assert send(b'["' + told("an array") + b'"]') == 400
        assert send(b'{"' + told("key") + b'": "\xff\xfe' + told("not utf-8") + b'"}') == 400
        assert send(b"[" * 10_000 + b'"' + told("deep") + b'"' + b"]" * 10_000) == 400
        assert send(b'{"model": 7, "model": "' + told("said twice") + b'"}') == 400
        assert send(told("bare"), "text/plain") == 415
        assert send(told("bare"), f"application/{plant('content type')}") == 415
        assert send(told("form"), f"multipart/form-data; boundary={plant('boundary')}") == 415
        large = b'{"model": "' + told("large") * (MAX_BODY // 30 + 1) + b'"}'
        assert send(large) == 413
    house.settle()
    assert house.leaks() == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_is_to_run_once_leaves_neither_its_key_nor_itself(house: House, stream: bool) -> None:
    plant = house.flock.plant

    def once(key: str, content: str, model: str = "says") -> tuple[int, bytes]:
        messages = [{"role": "user", "content": content}]
        body = encoded({"model": model, "messages": messages, "stream": stream})
        return house.ask("POST", CHAT, body, {"Idempotency-Key": key})

    key, content = plant("Idempotency-Key"), plant("content")
    first = once(key, content)
    assert first[0] == 200
    assert house.flock.stem.encode() in first[1]
    assert once(key, content) == first, "the same answer, from memory"
    status, answer = once(key, plant("other content"))
    assert (status, json.loads(answer)["code"]) == (409, "idempotency_key_reused")
    for model in ("refuses-500", "refuses-400", "breaks-at-once", "gone", "breaks", plant("model")):
        once(plant(f"key of {model}"), plant(f"content for {model}"), model)
    for odd in (plant("a long key") * 20, plant("a key with") + "\t" + plant("a tab")):
        assert once(odd, plant("content beside it"))[0] == 400
    with house.connect() as connection:
        body = encoded({"model": "hangs", "messages": [{"role": "user", "content": plant("left")}]})
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.key}\r\n"
        head += f"Idempotency-Key: {plant('key of one that left')}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
    house.settle()
    assert house.leaks() == []


def test_a_key_made_over_http_is_kept_nowhere(house: House) -> None:
    plant = house.flock.plant
    admin = {"Authorization": f"Bearer {ADMIN_KEY}"}

    def managed(method: str, path: str, body: Body | None = None) -> Any:
        status, answer = house.ask(method, path, None if body is None else encoded(body), admin)
        assert status == 200, answer
        return json.loads(answer)

    terms = {"consumptionLimit": {"usd": 5}, "limitPeriod": "MONTH", "expiresAt": "2199-01-01"}
    told = {"apiKeyType": "INFERENCE", "description": "made for a test", **terms}
    made = managed("POST", "/api/v1/api_keys", told)["data"]
    house.flock.guard("a key made over HTTP", made["apiKey"])
    path = f"/api/v1/api_keys/{made['id']}"
    managed("PATCH", path, {"description": "and changed"})
    managed("GET", path)
    body = {"model": "says", "messages": [{"role": "user", "content": plant("paid content")}]}
    used = {"Authorization": f"Bearer {made['apiKey']}"}
    assert house.ask("POST", CHAT, encoded(body), used)[0] == 200
    managed("PATCH", path, {"consumptionLimit": {"usd": 0}})
    refused = {**body, "messages": [{"role": "user", "content": plant("unpaid content")}]}
    status, answer = house.ask("POST", CHAT, encoded(refused), used)
    assert (status, json.loads(answer)["code"]) == (402, "API_KEY_USD_SPEND_LIMIT_EXCEEDED")
    listed = managed("GET", "/api/v1/billing/usage")["data"]
    assert listed[0]["inferenceDetails"]["promptTokens"] == 12, "it is in the books, without its content"
    managed("DELETE", path)
    assert house.ask("POST", CHAT, encoded(body), used)[0] == 401
    house.settle()
    assert house.leaks() == []


def test_what_is_hardly_http_leaves_nothing(house: House) -> None:
    plant = house.flock.plant
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {plant('host')}\r\nAuthorization: Bearer {house.key}\r\n"
    head += "Content-Type: application/json\r\n"
    for sent in (
        f"{plant('no http')}\r\n\r\n",
        f"GET /{plant('bad version')} HTTP/9.9\r\n\r\n",
        f"GET /{plant('a blank')} {plant('in the path')} HTTP/1.1\r\n\r\n",
        f"{head}{plant('header without colon')}\r\n\r\n",
        f"{head}Content-Length: {plant('content-length')}\r\n\r\n",
        f"{head}Content-Length: 5000\r\n\r\n{plant('half a body')}",
        f"{head}Transfer-Encoding: chunked\r\n\r\n{plant('chunk size')}\r\n",
        f"{head}Transfer-Encoding: chunked\r\n\r\n18\r\n{plant('chunk')[:24]}{plant('no end')}\r\n",
        f"{head}Upgrade: {plant('upgrade')}\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
        f"{head}Expect: {plant('expect')}\r\nContent-Length: 24\r\n\r\n{plant('body')[:24]}",
        f"GET /{plant('long path') * 4000} HTTP/1.1\r\n\r\n",
    ):
        with house.connect() as connection:
            connection.sendall(sent.encode())
            connection.settimeout(0.2)
            with contextlib.suppress(TimeoutError, ConnectionError):
                connection.recv(4096)
    house.settle()
    assert house.leaks() == []


def test_the_log_did_say_something(house: House) -> None:
    house.ask("GET", "/api/v1/models")
    house.settle()
    lines = [line for line in house.gateway.output.splitlines() if "request.answered" in line]
    assert any("/api/v1/models" in line for line in lines)
    assert "debug" in house.gateway.output


def ask(house: House, row: Row, body: bytes) -> tuple[int, bytes]:
    return house.ask(row.method, row.target(planter(house, row)), body, key_for(row))


def planter(house: House, row: Row) -> Plant:
    """Plants with the route beside the field's name."""
    return lambda field: house.flock.plant(f"{row.route}: {field}")


def key_for(row: Row) -> dict[str, str]:
    return {"Authorization": f"Bearer {ADMIN_KEY}"} if row.admin else {}


def encoded(body: Body) -> bytes:
    return json.dumps(body).encode()


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each node of a body with its path: `a.b[].c`. Keys of a dict stand beside it as leaves of their own."""
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}[]")


def fields_of(kind: msgspec.inspect.Type, path: str) -> Iterator[tuple[str, bool]]:
    """Each field of a request's type that is a value, with its path, and whether it can be free text."""
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            yield from fields_of(inner, path)
        case msgspec.inspect.UnionType(types=types):
            found: dict[str, bool] = {}
            for inner in types:
                if not isinstance(inner, msgspec.inspect.NoneType):
                    for name, is_text in fields_of(inner, path):
                        found[name] = found.get(name, False) or is_text
            yield from found.items()
        case msgspec.inspect.StructType(fields=fields):
            for field in fields:
                yield from fields_of(field.type, f"{path}.{field.encode_name}" if path else field.encode_name)
        case msgspec.inspect.ListType(item_type=inner):
            yield from fields_of(inner, f"{path}[]")
        case msgspec.inspect.DictType() | msgspec.inspect.RawType() | msgspec.inspect.StrType():
            yield path, True
        case _:
            yield path, False


def spoilt(bodies: Any, plant: Plant) -> Iterator[Body]:
    """The bodies with a canary once in place of each value and once beside each key."""
    done: set[str] = set()
    for body in bodies:
        for path, at in places(body, ()):
            name = ".".join(str(step) for step in path)
            if name in done:
                continue
            done.add(name)
            changed = copy.deepcopy(body)
            if path:
                inside = changed
                for step in path[:-1]:
                    inside = inside[step]
                inside[path[-1]] = plant(name)
                yield changed
            if isinstance(at, dict):
                changed = copy.deepcopy(body)
                inside = changed
                for step in path:
                    inside = inside[step]
                inside[plant(f"a key in {name}")] = {plant(f"deeper in {name}"): plant(f"value in {name}")}
                yield changed


def places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))
