"""What browsers are told."""

from __future__ import annotations

import asyncio

import pytest

from fondaco.http.call import Call
from fondaco.http.cors import Cors
from fondaco.http.reply import Header

OURS = "https://app.example"


class Nobody:
    """A client that is not asked for anything here."""

    def answer(self, status: int, headers: object, body: bytes) -> None:
        raise AssertionError

    def begin(self, status: int, headers: object) -> None:
        raise AssertionError

    def piece(self, data: bytes) -> None:
        raise AssertionError

    def end(self) -> None:
        raise AssertionError

    def clogged(self) -> asyncio.Future[None] | None:
        raise AssertionError

    def continue_body(self) -> None:
        raise AssertionError


def call(method: str = "GET", **headers: str) -> Call:
    sent = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Call(Nobody(), method, "/", b"", sent)


def told(cors: Cors, origin: str | None) -> dict[bytes, bytes]:
    return as_dict(cors.headers(call() if origin is None else call(origin=origin)))


def as_dict(headers: list[Header] | tuple[Header, ...]) -> dict[bytes, bytes]:
    found = dict(headers)
    assert len(found) == len(headers)
    return found


def test_an_origin_of_ours_may_read_the_answer_and_its_headers() -> None:
    headers = told(Cors([OURS, "https://other.example"]), OURS)
    assert headers[b"access-control-allow-origin"] == OURS.encode()
    assert headers[b"access-control-expose-headers"] == b"*"
    assert headers[b"vary"] == b"origin"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        f"{OURS}.evil.example",
        OURS.upper(),
        f"{OURS}:444",
        f"{OURS}/",
        "",
        None,
        "*",
    ],
)
def test_no_other_may_and_no_cache_takes_one_answer_for_the_other(origin: str | None) -> None:
    assert told(Cors([OURS]), origin) == {b"vary": b"origin"}


def test_where_all_may_the_answer_is_one_for_all() -> None:
    cors = Cors(["*"])
    headers = told(cors, "https://any.example")
    assert headers[b"access-control-allow-origin"] == b"*"
    assert b"vary" not in headers
    assert told(cors, None) == {}


def test_credentials_are_never_allowed() -> None:
    for origins in ([OURS], ["*"]):
        assert b"access-control-allow-credentials" not in told(Cors(origins), OURS)


def test_a_preflight_is_answered_without_a_body() -> None:
    reply = Cors([OURS]).preflight(
        call(
            "OPTIONS",
            origin=OURS,
            access_control_request_method="POST",
            access_control_request_headers="authorization,x-mine",
        )
    )
    assert reply is not None
    assert (reply.status, reply.body) == (204, b"")
    headers = dict(reply.headers)
    assert headers[b"access-control-allow-headers"] == b"authorization,x-mine"
    assert b"DELETE" in headers[b"access-control-allow-methods"]
    assert int(headers[b"access-control-max-age"]) > 0


def test_a_preflight_that_asks_for_no_headers_is_told_the_usual_ones() -> None:
    reply = Cors([OURS]).preflight(call("OPTIONS", origin=OURS, access_control_request_method="GET"))
    assert reply is not None
    assert b"authorization" in dict(reply.headers)[b"access-control-allow-headers"]


@pytest.mark.parametrize(
    "other",
    [
        call("OPTIONS", origin=OURS),
        call("POST", origin=OURS, access_control_request_method="POST"),
        call("GET"),
    ],
)
def test_anything_else_is_no_preflight(other: Call) -> None:
    assert Cors([OURS]).preflight(other) is None
