"""A gateway's edge with one endpoint that runs, charges, fails and streams as its request says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, insert, select

from fondaco.accounts.service import AccountService
from fondaco.errors import InferenceFailed
from fondaco.http.call import Call
from fondaco.http.edge import Edge
from fondaco.http.idempotent import idempotent
from fondaco.http.openapi import Operation
from fondaco.http.reply import Reply, stream_reply
from fondaco.http.routing import Route, Routes
from fondaco.http.server import Server
from fondaco.idempotency.service import MEMORY_BYTES, Idempotency
from fondaco.keys.secret import server_secret
from fondaco.keys.service import KeyService
from fondaco.limits.ticket import Ticket
from fondaco.money import NanoUsd
from fondaco.store.errors import DatabaseFull
from fondaco.store.interface import Store
from fondaco.store.schema import gateways, idempotency, transfers
from fondaco.store.sqlite import Database
from fondaco.telemetry.logs import logger
from raw_http import Answer, Place, Wire, post

T = TypeVar("T")

PRICE = NanoUsd(30_000_000)


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.passed)

    def unix(self) -> int:
        return int(self.now().timestamp())

    def monotonic(self) -> float:
        return self.passed


class Named(NamedTuple):
    """A gateway of this id."""

    id: str


class Failing(Store):
    """A real database whose disk is full while `full` is set."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.full = False
        self.open_turns = asyncio.Event()
        self.open_turns.set()
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        await self.database.open()

    async def close(self) -> None:
        await self.database.close()

    async def write(self, work: Callable[[Connection], T]) -> T:
        if self.full:
            raise DatabaseFull(self.database.path)
        return await self.database.write(work)

    async def write_in_turn(self, work: Callable[[Connection], T]) -> T:
        """As the ledger writes: one transaction at a time, and none while `open_turns` is not set."""
        async with self._turn:
            await self.open_turns.wait()
            return await self.write(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self.database.read(work)

    def on_foreign_change(self, callback: Callable[[], None]) -> None:
        self.database.on_foreign_change(callback)


class Work:
    """The endpoint. Its request says what becomes of it:

    `free` charges nothing; `fail` is `raise`, `answer`, `settle` (the settlement is undone) or `late` (charged, then
    failed); `stream` is how many events come; `cut` ends them with an error; `pause` waits for `go` before the end;
    `leaving` charges a client that leaves; `size` makes a long answer.
    """

    def __init__(self, store: Failing) -> None:
        self._store = store
        self._tasks: set[asyncio.Task[None]] = set()
        self.runs = 0
        self.seen: list[list[str]] = []
        """The states of all rows as each run found them."""
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, call: Call) -> Reply:
        self.runs += 1
        number = self.runs
        self.seen.append(await self._store.read(lambda c: list(c.scalars(select(idempotency.c.state)))))
        wish = json.loads((await call.json_body()).reveal())
        fail = wish.get("fail")
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            if wish.get("leaving"):
                self.settle_soon(call)
            raise
        if wish.get("stream"):
            return stream_reply(Events(self, call, wish, number), ((b"x-venice-model-id", b"tiny"),))
        if fail == "raise":
            raise InferenceFailed
        if fail == "answer":
            return Reply(b"{}", status=422)
        if not wish.get("free"):
            await self.settle(call, undone=fail == "settle")
        if fail == "late":
            raise InferenceFailed
        body = json.dumps({"run": number, "said": wish.get("say"), "pad": "x" * wish.get("size", 0)}).encode()
        headers = ((b"x-venice-model-id", b"tiny"), (b"x-ratelimit-remaining-requests", b"7"))
        return Reply(body, status=wish.get("status", 200), headers=headers, compressible=True)

    async def settle(self, call: Call, *, undone: bool = False) -> None:
        """As the ledger does: the charge and what joins it, in one transaction."""
        ticket = call.ticket
        assert ticket is not None

        def charge(connection: Connection) -> None:
            connection.execute(
                insert(transfers).values(
                    at=datetime(2026, 3, 1, tzinfo=UTC),
                    account_id=ticket.caller.account_id,
                    kind="usage",
                    debit="tab",
                    credit="sales",
                    currency="USD",
                    amount=PRICE,
                    note="",
                    request_id=ticket.request_id,
                )
            )
            for join in ticket.joins:
                join(connection, PRICE, "USD")
            if undone:
                raise InferenceFailed

        await self._store.write_in_turn(charge)

    def settle_soon(self, call: Call) -> None:
        task = asyncio.get_running_loop().create_task(self.settle(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def charges(self) -> int:
        return len(await self._store.read(lambda c: c.execute(select(transfers.c.id)).all()))


class Events:
    def __init__(self, work: Work, call: Call, wish: dict[str, Any], number: int) -> None:
        self._work = work
        self._call = call
        self._wish = wish
        self._number = number
        self._at = 0
        self._settled = False

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> bytes:
        self._at += 1
        if self._at <= self._wish["stream"]:
            return b'data: {"run":%d,"at":%d,"said":"%b"}\n\n' % (
                self._number,
                self._at,
                self._wish.get("say", "").encode(),
            )
        if self._at == self._wish["stream"] + 1:
            if self._wish.get("pause") == "before":
                await asyncio.Event().wait()
            if not self._wish.get("free"):
                await self._work.settle(self._call)
                self._settled = True
            if self._wish.get("cut"):
                raise InferenceFailed
            return b"data: [DONE]\n\n"
        if self._wish.get("pause") == "after":
            await asyncio.Event().wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        if self._wish.get("leaving") and not self._settled:
            self._work.settle_soon(self._call)


class House:
    """One gateway over a data directory."""

    def __init__(self, data_dir: Path, clock: HandClock, name: str, memory_bytes: int) -> None:
        self.database = Database(data_dir)
        self.store = Failing(self.database)
        self.clock = clock
        self.name = name
        self.secret = server_secret(data_dir)
        self.idempotency = Idempotency(
            self.store,
            self.secret,
            clock,
            Named(name),
            memory_bytes=memory_bytes,
            write_end=self.store.write_in_turn,
        )
        self.work = Work(self.store)
        accounts = AccountService(self.database, clock)
        self.keys = KeyService(self.database, self.secret, clock, accounts)
        self.accounts = accounts
        self.tokens: list[str] = []
        self.edge: Edge
        self.place: Place

    async def ask(
        self,
        wish: dict[str, Any] | bytes,
        key: str | None = "one",
        *,
        path: str = "/api/v1/work",
        token: int = 0,
        wire: Wire | None = None,
        headers: tuple[str, ...] = (),
    ) -> Answer:
        wire = wire or await self.place.connect()
        return await wire.ask(self.request(wish, key, path=path, token=token, headers=headers))

    def request(
        self,
        wish: dict[str, Any] | bytes,
        key: str | None = "one",
        *,
        path: str = "/api/v1/work",
        token: int = 0,
        headers: tuple[str, ...] = (),
    ) -> bytes:
        body = wish if isinstance(wish, bytes) else json.dumps(wish).encode()
        if key is not None:
            headers = (*headers, f"Idempotency-Key: {key}")
        return post(body, path, f"Authorization: Bearer {self.tokens[token]}", *headers)

    async def rows(self) -> list[tuple[str, str, int]]:
        """State, request id and amount of each row."""
        columns = (idempotency.c.state, idempotency.c.request_id, idempotency.c.amount)
        found = await self.store.read(lambda connection: connection.execute(select(*columns)).all())
        return [tuple(row) for row in found]

    def routes(self) -> Routes:
        once = idempotent(self.work, self.idempotency)

        async def ticketed(call: Call) -> Reply:
            call.ticket = Ticket(call.identified, call.request_id)
            return await once(call)

        return Routes(
            Route(ticketed, Operation(method="POST", path=path, summary="", tag=""))
            for path in ("/work", "/other", "/of/{name}")
        )

    async def open(self) -> None:
        await self.database.open()
        await self.database.write(
            lambda connection: connection.execute(
                insert(gateways).values(
                    id=self.name, started_at=self.clock.now(), heartbeat_at=self.clock.now()
                )
            )
        )
        account = await self.accounts.ensure()
        self.tokens = [(await self.keys.create(account.id, "INFERENCE", "test")).token for _ in range(2)]
        self.edge = Edge(self.routes(), self.keys, logger("fondaco.http"))


@contextlib.asynccontextmanager
async def open_house(
    data_dir: Path, clock: HandClock | None = None, name: str = "first", memory_bytes: int = MEMORY_BYTES
) -> AsyncIterator[House]:
    house = House(data_dir, clock or HandClock(), name, memory_bytes)
    await house.open()
    # Not `raw_http.serving`, which counts tasks: a fixture's teardown is a task that its setup did not see.
    loop = asyncio.get_running_loop()
    failures: list[Any] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1000)
    listening.setblocking(False)
    server = Server(house.edge.handle)
    await server.start(listening)
    house.place = Place(server, listening.getsockname()[1], failures)
    try:
        yield house
    finally:
        for wire in house.place.wires:
            wire.leave()
        await server.close()
        await house.idempotency.close()
        await house.keys.close()
        await house.database.close()
    assert not failures
    loop.set_exception_handler(None)
