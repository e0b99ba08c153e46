"""The same as `test_requests_leave_nothing` for routes that take forms: canaries in every part and around it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence

import pytest
from retention_routes import ROWS, Part, Parts, Plant, Row

from conftest import MAX_BODY, House

FORMS = [row for row in ROWS if row.forms]


def planter(house: House, row: Row) -> Plant:
    return lambda field: house.flock.plant(f"{row.route}: {field}")


def encoded(parts: Sequence[Part], boundary: str, *more: str) -> bytes:
    """A form's body. `more` are further header lines of each part."""
    written: list[bytes] = []
    for part in parts:
        described = f'name="{part.name}"' + (f'; filename="{part.file_name}"' if part.file_name else "")
        lines = [f"Content-Disposition: form-data; {described}", *more]
        lines += [f"Content-Type: {part.content_type}"] if part.content_type else []
        head = "\r\n".join((f"--{boundary}", *lines, "", "")).encode()
        written.append(head + (part.data.encode() if isinstance(part.data, str) else part.data))
    return b"\r\n".join((*written, f"--{boundary}--\r\n".encode()))


def send(house: House, row: Row, parts: Sequence[Part], *more: str) -> tuple[int, bytes]:
    boundary = "x" + secrets.token_hex(8)
    return send_raw(house, row, encoded(parts, boundary, *more), boundary)


def send_raw(house: House, row: Row, body: bytes, boundary: str) -> tuple[int, bytes]:
    return house.ask(row.method, row.target(str), body, {"Content-Type": typed(boundary)})


def typed(boundary: str) -> str:
    return f"multipart/form-data; boundary={boundary}"


@pytest.mark.long
def test_forms_right_and_wrong_leave_nothing(house: House) -> None:
    for row in FORMS:
        assert row.forms is not None
        assert row.refused_forms is not None
        plant = planter(house, row)
        for parts in row.forms(plant):
            status, answer = send(house, row, parts)
            assert status == 200, answer
            assert house.flock.seen_in([("the answer", answer)]), "canaries come through"
        for parts in row.refused_forms(plant):
            status, answer = send(house, row, parts)
            assert status in {400, 404, 415, 422}, (parts, answer)
        seen = {send(house, row, parts)[0] for parts in spoilt(row.forms(plant)[0], plant)}
        assert {200, 400} <= seen <= {200, 400, 404}
    house.settle()
    assert house.leaks() == []


@pytest.mark.parametrize("row", FORMS, ids=lambda row: row.route)
def test_what_is_hardly_a_form_leaves_nothing(house: House, row: Row) -> None:
    assert row.forms is not None
    plant = planter(house, row)
    parts = row.forms(plant)[0]
    boundary = plant("boundary")
    whole = encoded(parts, boundary)
    file = next(part for part in parts if part.name == "file")

    def status(body: bytes, told: str = boundary) -> int:
        return send_raw(house, row, body, told)[0]

    assert status(whole) == 200
    assert status(whole, plant("another boundary")) == 400
    assert status(whole, plant("boundary that is too long") * 3) == 400
    assert status(whole[: len(whole) // 2]) == 400
    assert status(whole.replace(b"\r\n\r\n", b"\r\n")) == 400
    assert status(whole.replace(b"form-data", plant("disposition").encode())) == 400
    assert status(plant("no form").encode() * 9) == 400
    assert status(plant("before the form").encode() + b"\r\n" + whole) in {200, 400}
    assert status(whole + plant("after the form").encode()) in {200, 400}
    assert send(house, row, parts, f"{plant('name of a header')}: {plant('header')}")[0] == 200
    assert send(house, row, parts, f"X-{plant('long header')}: {plant('its value') * 200}")[0] == 400
    assert send(house, row, parts, *(f"X-{number}: {plant('many')}" for number in range(9)))[0] == 400
    assert send(house, row, [*parts, *(Part("x", plant("many parts")) for _ in range(64))])[0] == 400
    assert send(house, row, [*parts, Part("x", b"\xff\xfe" + plant("not UTF-8").encode())])[0] == 400
    assert send(house, row, [file._replace(data=b"")])[0] in {400, 422}
    large = file._replace(data=plant("large").encode() * (MAX_BODY // 30))
    assert send(house, row, [large])[0] == 413
    json = b'{"file": "%b", "%b": 1}' % (plant("JSON").encode(), plant("key").encode())
    assert house.ask(row.method, row.target(str), json)[0] == 415
    # And a client that leaves in the middle of it.
    head = f"POST {row.target(str)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.key}\r\n"
    head += f"Content-Type: {typed(boundary)}\r\nContent-Length: {len(whole)}\r\n\r\n"
    with house.connect() as connection:
        connection.sendall(head.encode() + whole[: len(whole) // 2])
        time.sleep(0.1)
    house.settle()
    assert house.leaks() == []


def test_a_form_that_is_to_run_once_leaves_neither_its_key_nor_itself(house: House) -> None:
    (row,) = (row for row in ROWS if row.route == "POST /audio/transcriptions")
    assert row.forms is not None
    plant = planter(house, row)
    headers = {"Idempotency-Key": plant("Idempotency-Key")}
    parts = row.forms(plant)[0]

    def once(parts: Parts) -> tuple[int, bytes]:
        boundary = plant("boundary")
        told = {**headers, "Content-Type": typed(boundary)}
        return house.ask(row.method, row.target(str), encoded(parts, boundary), told)

    first = once(parts)
    assert first[0] == 200
    assert once(parts) == first, "the same answer, from memory, to a form of another boundary"
    assert once([*parts, Part("x", plant("more"))])[0] == 409
    house.settle()
    assert house.leaks() == []


def spoilt(parts: Parts, plant: Plant) -> Iterator[Parts]:
    """The form with a canary once in place of each thing that is told of each part."""
    for at, part in enumerate(parts):
        told = f"{at}. {part.name}"
        odd = [
            part._replace(data=plant(f"{told}: data")),
            part._replace(name=plant(f"{told}: name")),
            part._replace(file_name=plant(f"{told}: file name"), content_type=plant(f"{told}: type")),
        ]
        yield from ([*parts[:at], each, *parts[at + 1 :]] for each in odd)
