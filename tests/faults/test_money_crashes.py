"""Money when something breaks: a gateway that is killed over running chats, and a ledger that cannot be written."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Connection, select, update

import fake_engines
from fake_engines import DONE, Answer, FakeEngine, Seen, event
from fake_engines import delta as said
from fondaco.store.errors import DatabaseFull
from fondaco.store.schema import gateways, leases, transfers, walls
from fondaco.store.sqlite import Database
from gateways import Gateway, running
from raw_http import Wire, until
from served_app import CHATS, USER, Client, ServedApp, binding, books, exact, faults, served_app, spends_all

pytestmark = pytest.mark.anyio

T = TypeVar("T")

DOLLAR = 1_000_000_000
CAP = 5 * DOLLAR
PRICES = {"input_usd": "2", "output_usd": "10"}
COST = 10 * 2_000 + 20 * 10_000
"""Nano-dollars of one chat here: ten tokens of prompt and twenty of answer."""


# A gateway that is killed.


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    def slowly(seen: Seen) -> Answer:
        answer = spends_all(seen)
        answer.pieces = fake_engines.cut(answer.pieces[0], 400)
        answer.pause = 0.002
        return answer

    with fake_engines.engine(slowly) as made:
        yield made


class Traffic:
    """Clients that chat until their gateway is gone. `whole` are the request ids of the answers that came whole."""

    def __init__(self, gateway: Gateway, key: str) -> None:
        self._client = Client(urlsplit(gateway.root).port or 0)
        self._key = key
        self.whole: list[str] = []
        self.sent = 0

    async def run(self, clients: int) -> None:
        await asyncio.gather(*(self._chat(streams=bool(number % 2)) for number in range(clients)))
        self._client.close()

    async def _chat(self, *, streams: bool) -> None:
        body = {"model": "m", "messages": USER, "max_tokens": 20, "stream": streams}
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            wire = await self._client.connect()
            while True:
                self.sent += 1
                answer = await wire.ask(self._client.request("POST", CHATS, body, self._key))
                assert answer.status == 200, answer.body
                assert not streams or answer.body.endswith(b"data: [DONE]\n\n")
                self.whole.append(answer.headers["cf-ray"])


async def leased(data_dir: Path) -> tuple[int, int]:
    """What is leased of all walls, by them and by the leases."""

    def read(connection: Connection) -> tuple[int, int]:
        of_walls = connection.scalars(select(walls.c.leased)).all()
        return sum(of_walls), sum(connection.scalars(select(leases.c.amount)).all())

    async with books(data_dir) as database:
        return await database.read(read)


async def bury(data_dir: Path) -> None:
    """A minute has passed for whoever was there."""
    gone = datetime.now(UTC) - timedelta(seconds=60)
    async with books(data_dir) as database:
        await database.write(lambda c: c.execute(update(gateways).values(heartbeat_at=gone)))


async def charges(data_dir: Path) -> list[Any]:
    asked = select(transfers).where(transfers.c.kind == "usage")
    async with books(data_dir) as database:
        return await database.read(lambda connection: list(connection.execute(asked)))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [30, 200, 500])
async def test_a_gateway_that_is_killed_has_billed_every_answer_that_came_whole_once(
    tmp_path: Path, engine: FakeEngine, count: int
) -> None:
    config = "[limits]\nscale = 0\n[log]\naccess = false\n" + fake_engines.binding("m", engine, **PRICES)
    with running(tmp_path / "one", config=config) as gateway:
        client = Client(urlsplit(gateway.root).port or 0)
        key = await client.key(consumptionLimit={"usd": CAP // DOLLAR}, limitPeriod="LIFETIME")
        client.close()
        traffic = Traffic(gateway, key.token)
        clients = asyncio.create_task(traffic.run(24))
        await until(lambda: len(traffic.whole) >= count, 30)
        gateway.process.send_signal(signal.SIGKILL)
        await asyncio.wait_for(clients, 10)
        data_dir = gateway.data_dir

    # What nobody can give back any more is still kept for whoever had it.
    of_walls, of_leases = await leased(data_dir)
    assert of_walls == of_leases > 0
    await bury(data_dir)
    with running(tmp_path / "two", config=config, data_dir=data_dir) as again:
        assert await leased(data_dir) == (0, 0), "free again as soon as it is known that it died"
        rows = await charges(data_dir)
        lines = Counter((row.request_id, row.sku) for row in rows)
        assert set(lines.values()) == {1}, "no line is there twice"
        amounts: Counter[str] = Counter()
        for row in rows:
            amounts[row.request_id] += row.amount
        assert [name for name in traffic.whole if amounts[name] != COST] == []
        # A request that was charged without its client's having had the last byte was under way at the end.
        assert len(amounts) - len(traffic.whole) <= 24
        assert amounts.total() == COST * len(amounts)
        async with books(data_dir) as database:
            (wall,) = await database.read(lambda c: list(c.execute(select(walls))))
        assert (wall.spent, wall.free) == (amounts.total(), CAP - amounts.total())
        client = Client(urlsplit(again.root).port or 0)
        assert (await client.chat(key.token, max_tokens=20)).status == 200
        client.close()
    assert await faults(data_dir) == []
    assert len(await charges(data_dir)) == len(rows) + 2
    print(f"{len(traffic.whole)} whole of {traffic.sent} sent, {len(amounts)} billed")  # noqa: T201


# A ledger that cannot be written.


class Disk:
    full = False


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Every database's writes fail at their end while it is `full`."""
    made = Disk()
    write = Database.write

    async def failing(self: Database, work: Callable[[Connection], T]) -> T:
        def fail(connection: Connection) -> T:
            result = work(connection)
            if made.full:
                raise DatabaseFull(self.path)
            return result

        return await write(self, fail)

    monkeypatch.setattr(Database, "write", failing)
    return made


class Tap:
    """An engine whose stream ends when it is told to."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def __call__(self, seen: Seen) -> Answer:
        return Answer(self._pieces()) if seen.body.get("stream") else spends_all(seen)  # pyright: ignore[reportArgumentType]

    def _pieces(self) -> Iterator[bytes]:
        usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
        yield event([said(role="assistant", content="one")])
        assert self.open.wait(10)
        yield event([said(finish="stop")]) + event([], usage=usage) + DONE


@pytest.fixture
async def tapped(tmp_path: Path, disk: Disk) -> AsyncGenerator[tuple[ServedApp, Tap], None]:
    tap = Tap()
    with fake_engines.engine(tap) as engine:
        async with served_app(tmp_path, {"m": binding(engine, **PRICES)}) as served:
            yield served, tap
            disk.full = False
            tap.open.set()


async def test_what_runs_while_the_ledger_cannot_be_written_ends_well_and_is_written_later(
    tapped: tuple[ServedApp, Tap], disk: Disk
) -> None:
    served, tap = tapped
    capped = await served.key(consumptionLimit={"usd": 1}, limitPeriod="LIFETIME")
    streams: list[Wire] = []
    for key in (capped.token, (await served.key()).token):
        wire = await served.begin(key, max_tokens=20)
        await wire.reader.readuntil(b"\n\n")
        streams.append(wire)
    disk.full = True
    # The first to find out has been answered, and is told what it costs.
    found_out = await served.chat(max_tokens=20)
    assert found_out.status == 200
    assert exact(found_out.body)["cost"]["usd"] * DOLLAR == COST
    for streamed in (False, True):
        refused = await served.chat(stream=streamed)
        assert (refused.status, refused.json()["code"]) == (503, "LEDGER_UNAVAILABLE")
    # Nothing was counted against them either: reading goes on.
    assert (await served.ask("GET", "/models")).status == 200
    assert await served.entries() == []
    tap.open.set()
    for wire in streams:
        rest = await asyncio.wait_for(wire.reader.readuntil(b"data: [DONE]\n\n"), 5)
        assert b'"cost":{"usd":0.00022' in rest
        assert b'"error"' not in rest
    assert await served.entries() == []
    disk.full = False
    rows = await served.settled(6)
    assert -sum(row["amount"] for row in rows) * DOLLAR == 3 * COST
    assert set(Counter(row["inferenceDetails"]["requestId"] for row in rows).values()) == {2}
    # And new ones are taken again, within the same cap.
    assert (await served.chat(capped.token, max_tokens=20)).status == 200
    assert await served.faults() == []


async def test_a_capped_request_is_refused_before_its_engine_is_asked_if_nothing_can_be_held(
    tapped: tuple[ServedApp, Tap], disk: Disk
) -> None:
    served, _ = tapped
    key = await served.key(consumptionLimit={"usd": 1})
    disk.full = True
    refused = await served.chat(key.token, max_tokens=20)
    assert (refused.status, refused.json()["code"]) == (503, "LEDGER_UNAVAILABLE")
    assert refused.headers["x-ratelimit-remaining-requests"] == "20", "its place is given back"
    assert await served.entries() == []


@pytest.mark.long
async def test_a_gateway_that_is_closed_while_nothing_can_be_written_tries_until_the_end(
    tmp_path: Path, disk: Disk
) -> None:
    with fake_engines.engine(spends_all) as engine:
        async with served_app(tmp_path, {"m": binding(engine, **PRICES)}) as served:
            disk.full = True
            assert (await served.chat(max_tokens=20)).status == 200
            asyncio.get_running_loop().call_later(0.2, setattr, disk, "full", False)
    assert sum(row.amount for row in await charges(tmp_path)) == COST
    assert await faults(tmp_path) == []
