"""The whole gateway in this process: the app behind a server on loopback, with a clock that can be moved.

And a client for it, which also speaks to a gateway that is a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import fake_engines
from fake_engines import FakeEngine, Seen
from fondaco.accounts.service import AccountService
from fondaco.app import App
from fondaco.billing.audit import audit
from fondaco.billing.ledger import Ledger
from fondaco.clock import SystemClock
from fondaco.http.server import Server
from fondaco.media.multipart import File, write_form
from fondaco.money import from_decimal
from fondaco.settings import load
from fondaco.store.presence import Presence
from fondaco.store.sqlite import Database
from gateways import ADMIN_KEY
from raw_http import Answer, Place, Wire

CHATS = "/chat/completions"
USER = [{"role": "user", "content": "hi"}]
PROMPT = 10
"""What `spends_all` says that every prompt has."""


class AheadClock(SystemClock):
    """Real time, plus what a test has added."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead)

    def unix(self) -> int:
        return int(self.now().timestamp())

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class Key(NamedTuple):
    id: str
    token: str


class Multipart(NamedTuple):
    """A body that is a form."""

    content_type: str
    body: bytes


def form(data: bytes | None, *fields: tuple[str, str], name: str = "a.bin") -> Multipart:
    """Of a file and fields, with a boundary of its own."""
    files = [] if data is None else [("file", File(memoryview(data), name))]
    kind, body = write_form(fields, files)
    return Multipart(kind.decode(), body)


class Client:
    """Asks one gateway, with the admin key where no other is named."""

    def __init__(self, port: int) -> None:
        self.place = Place(None, port, [])  # pyright: ignore[reportArgumentType]
        self._forgotten = 0

    def request(self, method: str, path: str, body: Any = None, key: str = ADMIN_KEY, *headers: str) -> bytes:
        kind = "application/json"
        if isinstance(body, Multipart):
            kind, body = body.content_type, body.body
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} /api/v1{path} HTTP/1.1", "host: x", f"authorization: Bearer {key}", *headers]
        if raw:
            lines += [f"content-length: {len(raw)}", f"content-type: {kind}"]
        return "\r\n".join((*lines, "", "")).encode("latin-1") + raw

    async def connect(self) -> Wire:
        return await self.place.connect()

    async def ask(
        self, method: str, path: str, body: Any = None, key: str = ADMIN_KEY, *headers: str
    ) -> Answer:
        wire = await self.connect()
        try:
            return await wire.ask(self.request(method, path, body, key, *headers))
        finally:
            wire.leave()

    async def chat(self, key: str = ADMIN_KEY, *headers: str, **fields: Any) -> Answer:
        body = {"model": "m", "messages": USER, **fields}
        return await self.ask("POST", CHATS, body, key, *headers)

    async def begin(self, key: str = ADMIN_KEY, **fields: Any) -> Wire:
        """A streamed chat of which the head has come."""
        wire = await self.connect()
        body = {"model": "m", "messages": USER, "stream": True, **fields}
        await wire.send(self.request("POST", CHATS, body, key))
        status, _ = await wire.head()
        assert status == 200
        return wire

    async def at_once(self, count: int, key: str, **fields: Any) -> list[Answer]:
        """So many chats, each on a connection of its own, none sent before all are connected."""
        return await self.all_at_once(count, CHATS, {"model": "m", "messages": USER, **fields}, key)

    async def all_at_once(self, count: int, path: str, body: Any, key: str = ADMIN_KEY) -> list[Answer]:
        """The same of any request."""
        request = self.request("POST", path, body, key)
        wires: list[Wire] = []
        for _ in range(0, count, 50):
            wires += await asyncio.gather(*(self.connect() for _ in range(min(50, count - len(wires)))))
        try:
            return await asyncio.gather(*(wire.ask(request) for wire in wires))
        finally:
            for wire in wires:
                wire.leave()

    async def key(self, **fields: Any) -> Key:
        """A new one of the admin's account."""
        body = {"apiKeyType": "INFERENCE", "description": "test", **fields}
        made = await self.ask("POST", "/api_keys", body)
        assert made.status == 200, made.body
        data = made.json()["data"]
        return Key(data["id"], data["apiKey"])

    async def forget(self) -> None:
        """Tell no more of what is in the ledger now."""
        self._forgotten = 0
        self._forgotten = len(await self.entries())

    async def entries(self) -> list[dict[str, Any]]:
        """The ledger as its reader is told, oldest first, numbers exact."""
        found: list[dict[str, Any]] = []
        page = 0
        while True:
            page += 1
            told = await self.ask("GET", f"/billing/usage?sortOrder=asc&limit=500&page={page}")
            assert told.status == 200, told.body
            body = exact(told.body)
            found += body["data"]
            if page >= body["pagination"]["totalPages"]:
                return found[self._forgotten :]

    async def settled(self, lines: int) -> list[dict[str, Any]]:
        """The ledger, when it has so many lines; it must not have more."""
        async with asyncio.timeout(5):
            while len(found := await self.entries()) < lines:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert len(found) == lines
        return found

    async def charged(self) -> Decimal:
        """What was spent in all."""
        return -sum((row["amount"] for row in await self.entries() if row["inferenceDetails"]), Decimal(0))

    def close(self) -> None:
        for wire in self.place.wires:
            wire.leave()


class ServedApp(Client):
    """A client beside its gateway."""

    def __init__(self, app: App, clock: AheadClock, port: int) -> None:
        super().__init__(port)
        self.app = app
        self.clock = clock
        self.data_dir = app.settings.server.data_dir

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.place.port}/api/v1"

    async def faults(self) -> list[str]:
        return await faults(self.data_dir)


@contextlib.asynccontextmanager
async def served_app(
    data_dir: Path,
    bind: dict[str, dict[str, Any]],
    *,
    local: str | None = None,
    **sections: dict[str, Any],
) -> AsyncGenerator[ServedApp]:
    """`bind` and further sections are of the settings. `local` is a real model of this machine, if there is to be one."""
    weights = {} if local else {"offline": True, "cache_dir": data_dir / "weights"}
    settings = load(
        None,
        {
            "server": {"data_dir": data_dir},
            "weights": weights,
            "engines": {"context_tokens": 4096, "threads": 2},
            "models": {"bind": bind, "default": local or next(iter(bind))},
            "keys": {"admin_key": ADMIN_KEY},
            "prompt": {"system": ""},
            "log": {"access": False},
            **sections,
        },
    )
    clock = AheadClock()
    app = App(settings, clock)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(2000)
    listening.setblocking(False)
    server = Server(app.handle)
    try:
        await app.start()
        await server.start(listening)
        served = ServedApp(app, clock, listening.getsockname()[1])
        try:
            yield served
        finally:
            served.close()
    finally:
        await server.close()
        await app.close()
        listening.close()


@contextlib.asynccontextmanager
async def books(data_dir: Path) -> AsyncGenerator[Database, None]:
    """The gateway's database, looked into from beside it."""
    database = Database(data_dir, create=False)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def faults(data_dir: Path) -> list[str]:
    """What does not add up in the ledger."""
    async with books(data_dir) as database:
        return await database.read(audit)


async def credit(data_dir: Path, amount: str, account: str = "default") -> None:
    """As `fondaco credit` does."""
    async with books(data_dir) as database:
        clock = SystemClock()
        ledger = Ledger(database, clock, Presence(database, clock), prepaid=True)
        found = await AccountService(database, clock).find(account)
        assert found is not None
        await ledger.credit(found.id, from_decimal(amount), "USD", "test")


def binding(engine: FakeEngine, **facts: Any) -> dict[str, Any]:
    return {"base_url": engine.base_url, **facts}


def exact(body: bytes) -> Any:
    """JSON without a float in it."""
    return json.loads(body, parse_float=Decimal)


async def events(wire: Wire, count: int) -> list[dict[str, Any]]:
    """The next events of a stream."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            line = await wire.reader.readline()
            assert line, "the stream has ended"
            if line.startswith(b"data: {"):
                found.append(json.loads(line[6:]))
    return found


def chunks_of(body: bytes) -> list[dict[str, Any]]:
    """All events of a whole stream, numbers exact."""
    *parts, done, nothing = body.split(b"\n\n")
    assert (done, nothing) == (b"data: [DONE]", b"")
    return [exact(part.removeprefix(b"data: ")) for part in parts]


def spends_all(seen: Seen) -> fake_engines.Answer:
    """An engine that says it took `PROMPT` tokens and made as many as it may."""
    made = seen.body.get("max_tokens") or seen.body.get("max_completion_tokens") or 3
    usage = {"prompt_tokens": PROMPT, "completion_tokens": made, "total_tokens": PROMPT + made}
    if seen.body.get("stream"):
        return fake_engines.Answer([fake_engines.stream({"content": "yes"}, finish="length", usage=usage)])
    body = fake_engines.whole({"content": "yes"}, finish="length", usage=usage)
    return fake_engines.Answer([body], content_type="application/json")
