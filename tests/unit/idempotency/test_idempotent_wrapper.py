"""What wrapping an endpoint costs those who send no key, and what of a request its hashes tell apart."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Any, cast

import pytest

from fondaco.clock import SystemClock
from fondaco.http.call import Call
from fondaco.http.idempotent import idempotent
from fondaco.http.reply import Reply
from fondaco.idempotency.service import Idempotency, Use
from fondaco.store.sqlite import Database
from keyed_house import Named

pytestmark = pytest.mark.anyio


def service(tmp_path: Path, secret: bytes = b"s" * 32) -> Idempotency:
    return Idempotency(Database(tmp_path), secret, SystemClock(), Named("here"))


def test_a_request_without_the_header_goes_straight_to_its_endpoint() -> None:
    answer = cast("Awaitable[Reply]", object())
    wrapped = idempotent(lambda _: answer, cast("Idempotency", None))
    assert wrapped(Call(cast("Any", None), "POST", "/x", b"", {})) is answer


async def test_each_part_of_a_use_makes_another_hash(tmp_path: Path) -> None:
    here = service(tmp_path)

    async def use(
        key: str = "key", route: str = "/route", text: bytes = b"text", target: bytes = b"", body: bytes = b""
    ) -> Use:
        return await here.use(key, route, text, target, body)

    first = await use()
    assert await use() == first
    others = [
        await use(key="k"),
        await use(route="/r"),
        await use(text=b"t"),
        await use(key="key/", route="route"),
    ]
    assert len({first.id, *(other.id for other in others)}) == 5
    assert {other.body for other in others} == {first.body}
    bodies = [
        await use(target=b"a"),
        await use(body=b"a"),
        await use(target=b"ab"),
        await use(target=b"a", body=b"b"),
    ]
    assert len({first.body, *(other.body for other in bodies)}) == 5
    assert {other.id for other in bodies} == {first.id}


async def test_a_large_body_hashes_to_the_same_whether_or_not_it_came_in_pieces(tmp_path: Path) -> None:
    here = service(tmp_path)
    body = b"x" * 3_000_000
    assert await here.use("k", "/r", b"t", b"", body) == await here.use("k", "/r", b"t", b"", bytearray(body))
    assert await here.use("k", "/r", b"t", b"", body) != await here.use("k", "/r", b"t", b"", body + b"x")


async def test_hashes_of_another_secret_say_nothing_of_these(tmp_path: Path) -> None:
    ours, theirs = service(tmp_path), service(tmp_path, b"t" * 32)
    use, other = await ours.use("k", "/r", b"t", b"", b"b"), await theirs.use("k", "/r", b"t", b"", b"b")
    assert use.id != other.id
    assert use.body != other.body
