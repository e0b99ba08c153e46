"""Canaries in every field of every route, right and wrong, and none of them kept anywhere."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
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
        if operation.request is None or operation.form:
            continue
        row = BY_ROUTE[name_of(operation)]
        assert row.bodies is not None, row.route
        flock = Flock()
        bodies = [*row.bodies(flock.plant), *(row.refused(flock.plant) if row.refused else ())]
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


@pytest.mark.parametrize("row", [row for row in ROWS if row.bodies], ids=lambda row: row.route)
def test_accepted_bodies_leave_nothing(house: House, row: Row) -> None:
    assert row.bodies is not None
    for body in row.bodies(house.flock.plant):
        status, answer = house.ask(row.method, row.target(house.flock.plant), encoded(body))
        assert status == 200, answer
        assert house.flock.stem.encode() in answer, "the engine's own canaries come through"
    house.settle()
    assert house.leaks() == []


@pytest.mark.parametrize("row", [row for row in ROWS if row.bodies], ids=lambda row: row.route)
def test_a_canary_in_place_of_any_value_or_beside_any_key_leaves_nothing(house: House, row: Row) -> None:
    assert row.bodies is not None
    statuses: dict[int, int] = {}
    for body in spoilt(row.bodies(house.flock.plant), house.flock.plant):
        status, _ = house.ask(row.method, row.target(house.flock.plant), encoded(body))
        assert status in (200, 400, 404), body
        statuses[status] = statuses.get(status, 0) + 1
    assert statuses[400] > 50
    house.settle()
    assert house.leaks() == []


@pytest.mark.parametrize("row", [row for row in ROWS if row.refused], ids=lambda row: row.route)
def test_bodies_that_are_refused_for_what_they_ask_leave_nothing(house: House, row: Row) -> None:
    assert row.refused is not None
    for body in row.refused(house.flock.plant):
        status, answer = house.ask(row.method, row.target(house.flock.plant), encoded(body))
        assert status in (400, 404), (body, answer)
    house.settle()
    assert house.leaks() == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.route)
def test_what_stands_around_a_body_leaves_nothing(house: House, row: Row) -> None:
    plant = house.flock.plant
    body = encoded(row.bodies(plant)[0]) if row.bodies else None
    target = row.target(plant)

    def ask(target: str, headers: dict[str, str] | None = None, method: str = row.method) -> int:
        return house.ask(method, target, body, headers)[0]

    seen = {
        ask(f"{target}?{plant('query name')}={plant('query value')}#{plant('fragment')}"),
        *(ask(f"{target}?{name}={plant(name)}&{name}=%22{plant(name)}") for name in row.queries),
        *(ask(target, {name: plant(name)}) for name in HEADERS),
        *(ask(target, {"Authorization": form.format(plant(form))}) for form in KEYS),
        *(ask(target, {plant("header name"): plant("header value")}) for _ in range(1)),
        ask(f"{target}/{plant('path below')}"),
        ask(f"{target}/"),
        ask(target, method=plant("method").upper()),
        ask(target, method="PATCH"),
        ask(f"/{plant('unknown path')}?{plant('query')}"),
        ask(f"/api/v1/{plant('unknown path')}/%2e%2e/{plant('rest')}"),
    }
    assert seen <= {200, 400, 401, 404, 405, 415}
    assert {404, 405} <= seen
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
HEADERS += ("Accept-Encoding", "Forwarded", "Traceparent", "Content-Type", "X-Api-Key", "From", "Range")
KEYS = ("Bearer {}", "bearer   {}", "Bearer VENICE_ADMIN_KEY_{}", "Basic {}", "{}", "Bearer {} and more")


@pytest.mark.parametrize("row", [row for row in ROWS if row.method != "GET"], ids=lambda row: row.route)
def test_bodies_that_are_not_what_they_should_be_leave_nothing(house: House, row: Row) -> None:
    plant = house.flock.plant
    target = row.target(plant)

    def ask(body: bytes, **headers: str) -> int:
        status, _ = house.ask(
            row.method, target, body, {name.replace("_", "-"): told for name, told in headers.items()}
        )
        return status

    def told(field: str) -> bytes:
        return plant(field).encode()

    assert ask(b'{"model": "' + told("unclosed")) == 400
    assert ask(b"{'" + told("wrong quotes") + b"': 1}") == 400
    assert ask(b'"' + told("a string") + b'"') == 400
    assert ask(b'["' + told("an array") + b'"]') == 400
    assert ask(b'{"' + told("key") + b'": "\xff\xfe' + told("not utf-8") + b'"}') == 400
    assert ask(b"[" * 10_000 + b'"' + told("deep") + b'"' + b"]" * 10_000) == 400
    assert ask(b'{"model": 7, "model": "' + told("said twice") + b'"}') == 400
    assert ask(told("bare"), Content_Type="text/plain") == 415
    assert ask(told("bare"), Content_Type=f"application/{plant('content type')}") == 415
    assert ask(told("form"), Content_Type=f"multipart/form-data; boundary={plant('boundary')}") == 415
    large = b'{"model": "' + told("large") * (MAX_BODY // 30 + 1) + b'"}'
    assert ask(large) == 413
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
