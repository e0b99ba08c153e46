"""Requests with an `Idempotency-Key`, through the edge and over a real database."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from fondaco.idempotency.service import Run
from fondaco.store.errors import DatabaseFull
from keyed_house import PRICE, House, open_house
from raw_http import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path / "data") as house:
        yield house


def code(answer: Any) -> str:
    return answer.json()["code"]


async def settled(house: House) -> None:
    """Whatever was set going in the background is written."""
    await asyncio.sleep(0.01)
    await house.idempotency.close()


async def test_a_repeat_gets_the_first_answer_and_nothing_runs_or_is_charged_again(house: House) -> None:
    first = await house.ask({"say": "hello", "status": 201})
    for _ in range(3):
        again = await house.ask({"say": "hello", "status": 201})
        assert (again.status, again.body) == (201, first.body)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["content-type"] == first.headers["content-type"]
        assert again.headers["x-venice-model-id"] == "tiny"
        assert "x-ratelimit-remaining-requests" not in again.headers
        assert again.headers["cf-ray"] != first.headers["cf-ray"]
    assert "idempotent-replayed" not in first.headers
    assert house.work.runs == 1
    assert await house.work.charges() == 1
    assert await house.rows() == [("done", first.headers["cf-ray"], PRICE)]


async def test_without_the_header_every_request_runs_and_nothing_is_written(house: House) -> None:
    for _ in range(2):
        assert (await house.ask({}, None)).status == 200
    assert house.work.runs == 2
    assert await house.rows() == []


async def test_a_repeat_is_compressed_for_clients_that_take_it(house: House) -> None:
    first = await house.ask({"size": 5_000})
    again = await house.ask({"size": 5_000}, headers=("Accept-Encoding: gzip",))
    assert again.headers["content-encoding"] == "gzip"
    assert gzip.decompress(again.body) == first.body


async def test_of_a_hundred_at_once_one_runs_and_afterwards_all_get_its_answer(house: House) -> None:
    house.work.go.clear()
    wires = [await house.place.connect() for _ in range(100)]
    asked = [asyncio.create_task(house.ask({"say": "x"}, wire=wire)) for wire in wires]
    await until(lambda: sum(task.done() for task in asked) == 99)
    house.work.go.set()
    answers = await asyncio.gather(*asked)
    assert Counter(answer.status for answer in answers) == {200: 1, 409: 99}
    assert {code(answer) for answer in answers if answer.status == 409} == {"in_progress"}
    first = next(answer for answer in answers if answer.status == 200)
    again = await asyncio.gather(*(house.ask({"say": "x"}, wire=wire) for wire in wires))
    assert {(answer.status, answer.body) for answer in again} == {(200, first.body)}
    assert house.work.runs == 1
    assert await house.work.charges() == 1


async def test_the_row_is_there_before_anything_runs(house: House) -> None:
    await house.ask({})
    assert house.work.seen == [["running"]]


async def test_another_body_is_refused_while_the_first_runs_and_when_it_is_done(house: House) -> None:
    house.work.go.clear()
    asked = asyncio.create_task(house.ask({"say": "one"}))
    await until(lambda: house.work.runs == 1)
    running = await house.ask({"say": "two"})
    house.work.go.set()
    await asked
    done = await house.ask({"say": "two"})
    assert [(answer.status, code(answer)) for answer in (running, done)] == [
        (409, "idempotency_key_reused"),
        (409, "idempotency_key_reused"),
    ]
    assert house.work.runs == 1


async def test_a_key_counts_for_one_api_key_and_one_route(house: House) -> None:
    await house.ask({})
    await house.ask({}, token=1)
    await house.ask({}, path="/api/v1/other")
    await house.ask({}, "two")
    await house.ask({}, "One")
    assert house.work.runs == 5
    await house.ask({}, path="/v1/work")
    assert house.work.runs == 5, "both bases are one route"


async def test_the_same_key_for_another_path_or_query_is_another_request(house: House) -> None:
    assert (await house.ask({}, path="/api/v1/of/ann")).status == 200
    assert code(await house.ask({}, path="/api/v1/of/bob")) == "idempotency_key_reused"
    assert code(await house.ask({}, path="/api/v1/of/ann?a=b")) == "idempotency_key_reused"
    assert (await house.ask({}, path="/api/v1/of/ann")).headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("fail", ["raise", "answer", "settle"])
async def test_after_a_failure_it_runs_again(house: House, fail: str) -> None:
    first = await house.ask({"fail": fail})
    assert first.status >= 400
    assert await house.rows() == []
    second = await house.ask({"say": "another body is welcome too"})
    assert second.status == 200
    assert house.work.runs == 2
    assert await house.work.charges() == 1


async def test_what_failed_after_it_was_charged_is_not_charged_again(house: House) -> None:
    first = await house.ask({"fail": "late"})
    again = await house.ask({"fail": "late"})
    assert (first.status, again.status, code(again)) == (500, 409, "already_completed")
    assert house.work.runs == 1


async def test_a_body_that_is_no_json_leaves_no_row(house: House) -> None:
    answer = await house.ask({}, headers=("Content-Type: text/plain",))
    assert answer.status == 415
    assert await house.rows() == []


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "caf\xe9", "a\tb"])
async def test_a_key_that_is_none_is_refused_by_name(house: House, key: str) -> None:
    answer = await house.ask({}, key)
    assert (answer.status, code(answer)) == (400, "INVALID_REQUEST")
    assert "Idempotency-Key" in answer.json()["error"]
    assert answer.json()["issues"][0]["path"] == ["Idempotency-Key"]
    assert house.work.runs == 0


@pytest.mark.parametrize("key", ["x", "x" * 255, "a b~!", " padded "])
async def test_any_printable_text_of_up_to_255_is_a_key(house: House, key: str) -> None:
    await house.ask({}, key)
    assert (await house.ask({}, key.strip())).headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("free", [False, True])
async def test_a_stream_is_repeated_byte_for_byte_as_a_stream(house: House, free: bool) -> None:
    wish = {"stream": 5_000, "say": "word" * 5, "free": free}
    first = await house.ask(wish)
    again = await house.ask(wish)
    assert first.body.endswith(b"data: [DONE]\n\n")
    assert again.body == first.body
    for name in (
        "content-type",
        "cache-control",
        "x-accel-buffering",
        "x-venice-model-id",
        "transfer-encoding",
    ):
        assert again.headers[name] == first.headers[name]
    assert again.headers["idempotent-replayed"] == "true"
    assert house.work.runs == 1
    assert [row[0] for row in await house.rows()] == ["done"]
    assert await house.work.charges() == (0 if free else 1)


async def test_what_was_free_is_done_before_the_answer_ends(house: House) -> None:
    wire = await house.place.connect()
    await wire.send(house.request({"stream": 2, "free": True, "pause": "after"}))
    assert b"[DONE]" in await wire.reader.readuntil(b"[DONE]\n\n")
    assert [(state, amount) for state, _, amount in await house.rows()] == [("done", 0)]
    await house.ask({"free": True}, "two")
    assert [state for state, _, _ in await house.rows()] == ["done", "done"]


async def test_a_client_that_leaves_after_the_last_event_can_have_the_answer_again(house: House) -> None:
    wish = {"stream": 3, "pause": "after"}
    wire = await house.place.connect()
    await wire.send(house.request(wish))
    await wire.reader.readuntil(b"[DONE]\n\n")
    wire.leave()
    again = await house.ask(wish)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.body.count(b"data: ") == 4


async def test_a_stream_that_breaks_off_without_a_charge_runs_again(house: House) -> None:
    broken = await house.ask({"stream": 3, "cut": True, "free": True})
    assert b'"error"' in broken.body
    whole = await house.ask({"stream": 3})
    assert whole.status == 200
    assert house.work.runs == 2


async def test_a_stream_that_breaks_off_after_its_charge_is_done(house: House) -> None:
    broken = await house.ask({"stream": 3, "cut": True})
    again = await house.ask({"stream": 3, "cut": True})
    assert (again.status, code(again)) == (409, "already_completed")
    assert again.json()["request_id"] == broken.headers["cf-ray"]
    assert house.work.runs == 1


@pytest.mark.parametrize("charged", [False, True])
@pytest.mark.parametrize("stream", [0, 3])
async def test_a_client_that_leaves_runs_again_unless_it_was_charged(
    house: House, charged: bool, stream: int
) -> None:
    wish = {"stream": stream, "pause": "before", "leaving": charged}
    if not stream:
        house.work.go.clear()
    wire = await house.place.connect()
    await wire.send(house.request(wish))
    if stream:
        await wire.reader.readuntil(b'"at":3')
    else:
        await until(lambda: len(house.work.seen) == 1)
    wire.leave()
    await until(lambda: not house.place.server.connections)
    await settled(house)
    house.work.go.set()
    again = await house.ask({"stream": stream} if not charged else wish)
    if charged:
        assert (again.status, code(again)) == (409, "already_completed")
        assert again.json()["cost"] == {"usd": 0.03, "diem": 0}
    else:
        assert again.status == 200
    assert house.work.runs == (1 if charged else 2)
    assert await house.work.charges() == 1


async def test_a_repeat_that_comes_before_the_charge_of_one_that_left_does_not_run(house: House) -> None:
    wish = {"stream": 3, "pause": "before", "leaving": True}
    wire = await house.place.connect()
    await wire.send(house.request(wish))
    await wire.reader.readuntil(b'"at":3')
    house.store.open_turns.clear()
    wire.leave()
    await until(lambda: not house.place.server.connections)
    wires = [await house.place.connect() for _ in range(2)]
    early = await house.ask(wish, wire=wires[0])
    house.store.open_turns.set()
    await settled(house)
    late = await house.ask(wish, wire=wires[1])
    assert (code(early), code(late)) == ("in_progress", "already_completed")
    assert house.work.runs == 1


async def test_a_charge_whose_commit_fails_leaves_the_request_done_all_the_same(house: House) -> None:
    run = await house.idempotency.begin(await house.idempotency.use("key", "/r", b"text", b"", b""), "first")
    assert isinstance(run, Run)

    def undone(connection: Connection) -> None:
        run.join(connection, PRICE, "USD")
        raise DatabaseFull(house.database.path)

    with pytest.raises(DatabaseFull):
        await house.store.write(undone)
    assert [state for state, _, _ in await house.rows()] == ["running"]
    await run.done(200, ())
    assert await house.rows() == [("done", "first", 0)]
    await house.store.write(lambda connection: run.join(connection, PRICE, "USD"))
    assert await house.rows() == [("done", "first", PRICE)]


async def test_a_client_that_leaves_while_its_row_is_written_leaves_no_row(house: House) -> None:
    raw = sqlite3.connect(house.database.path, isolation_level=None)
    try:
        raw.execute("BEGIN IMMEDIATE")  # the first write has to wait
        wire = await house.place.connect()
        await wire.send(house.request({}))
        await asyncio.sleep(0.05)
        wire.leave()
        await until(lambda: not house.place.server.connections)
    finally:
        raw.execute("ROLLBACK")
        raw.close()
    await settled(house)
    assert await house.rows() == []
    assert house.work.runs == 0
    assert (await house.ask({})).status == 200


async def test_an_answer_beyond_the_memory_is_told_with_its_id_and_cost(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data", memory_bytes=20_000) as house:
        first = await house.ask({"size": 30_000})
        again = await house.ask({"size": 30_000})
        assert again.status == 409
        assert again.json() == {
            "error": again.json()["error"],
            "code": "already_completed",
            "request_id": first.headers["cf-ray"],
            "cost": {"usd": 0.03, "diem": 0},
        }
        assert first.headers["cf-ray"] in again.json()["error"]
        assert "0.03 USD" in again.json()["error"]
        assert code(await house.ask({"size": 1})) == "idempotency_key_reused"
        for number in range(40):
            await house.ask({"size": 1_000}, f"key {number}")
        late = [await house.ask({"size": 1_000}, f"key {number}") for number in (0, 39)]
        assert [answer.status for answer in late] == [409, 200]
        assert house.work.runs == 41


async def test_an_answer_of_more_than_8_mib_is_not_kept(house: House) -> None:
    assert (await house.ask({"size": 8 << 20})).status == 200
    assert code(await house.ask({"size": 8 << 20})) == "already_completed"


async def test_after_a_day_the_key_is_new_and_its_row_is_removed_in_passing(house: House) -> None:
    await house.ask({})
    await house.ask({}, "two")
    house.clock.passed = 24 * 3600 - 1
    assert (await house.ask({})).headers["idempotent-replayed"] == "true"
    house.clock.passed += 1
    assert "idempotent-replayed" not in (await house.ask({})).headers
    await settled(house)
    assert house.work.runs == 3
    assert len(await house.rows()) == 1, "the other one's row has gone too"


async def test_if_the_row_cannot_be_written_nothing_runs(house: House) -> None:
    house.store.full = True
    answer = await house.ask({})
    assert (answer.status, code(answer)) == (503, "LEDGER_UNAVAILABLE")
    assert house.work.runs == 0
    house.store.full = False
    assert (await house.ask({})).status == 200


@pytest.mark.parametrize("fail", [None, "raise"])
async def test_an_end_that_cannot_be_written_is_known_here_and_written_later(
    house: House, fail: str | None
) -> None:
    house.work.go.clear()
    wish = {"free": True, "fail": fail}
    asked = asyncio.create_task(house.ask(wish))
    await until(lambda: house.work.runs == 1)
    house.store.full = True
    house.work.go.set()
    first = await asked
    assert [state for state, _, _ in await house.rows()] == ["running"]
    again = await house.ask(wish)
    if fail:
        assert (first.status, again.status, code(again)) == (500, 503, "LEDGER_UNAVAILABLE")
    else:
        assert again.body == first.body
    house.store.full = False
    await house.ask({}, "two")
    await settled(house)
    assert [state for state, _, _ in await house.rows()] == (["done"] if fail else ["done", "done"])
    assert house.work.runs == 2
