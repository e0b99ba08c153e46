"""The slice of API keys in one process: a real database, service, routes and edge, asked without a socket."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fondaco.accounts.service import AccountService
from fondaco.http.call import Call
from fondaco.http.edge import Edge
from fondaco.http.routing import Routes
from fondaco.keys import routes as key_routes
from fondaco.keys.secret import server_secret
from fondaco.keys.service import KeyService, OnLimits
from fondaco.keys.spent import KeyUsage
from fondaco.keys.wallet import Stake, WalletKeys
from fondaco.models import routes as model_routes
from fondaco.models.catalogue import Catalogue
from fondaco.models.registry import Registry
from fondaco.models.service import ModelsService
from fondaco.settings import Binding, ModelSettings
from fondaco.store.sqlite import Database
from fondaco.telemetry.logs import logger

START = datetime(2026, 3, 1, 12, tzinfo=UTC)

PRIVATE_TEXT = "qwen3-4b"
ANONYMOUS_TEXT = "zai-org-glm-4.7"
ANONYMOUS_IMAGE = "venice-sd35"


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed)

    def unix(self) -> int:
        return int(self.now().timestamp())

    def monotonic(self) -> float:
        return self.passed


@dataclass
class Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def faults(self) -> dict[tuple[Any, ...], str]:
        """The message at each path of a refused body."""
        assert self.status == 400, self.body
        return {tuple(issue["path"]): issue["message"] for issue in self.json()["issues"]}


class _Client:
    """Keeps what it is answered."""

    said: Answer

    def answer(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        self.said = Answer(status, list(headers), bytes(body))

    def begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        raise AssertionError("no answer here is a stream")

    def piece(self, data: bytes) -> None: ...
    def end(self) -> None: ...
    def clogged(self) -> None: ...
    def continue_body(self) -> None: ...


class Desk:
    def __init__(
        self, keys: KeyService, accounts: AccountService, database: Database, edge: Edge, clock: HandClock
    ) -> None:
        self.keys = keys
        self.accounts = accounts
        self.database = database
        self.edge = edge
        self.clock = clock
        self.admin = ""
        """The text of an ADMIN key of the account `default`, whose id is `account`."""
        self.account = ""

    async def ask(
        self, method: str, target: str, body: Any = None, *, key: str | None = None, raw: bytes | None = None
    ) -> Answer:
        """By the admin key if none is given; by none if `key` is empty."""
        path, _, query = target.partition("?")
        headers = {b"content-type": b"application/json"} if body is not None or raw is not None else {}
        if key != "":
            headers[b"authorization"] = f"Bearer {self.admin if key is None else key}".encode()
        client = _Client()
        call = Call(client, method, f"/api/v1{path}", query.encode(), headers)
        sent = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        if sent:
            call.take(sent, 1 << 25)
        call.finish()
        await self.edge.handle(call)
        return client.said

    async def make(self, key: str | None = None, **fields: Any) -> dict[str, Any]:
        """What POST /api_keys says of a new key."""
        body = {"apiKeyType": "INFERENCE", "description": "made", **fields}
        answer = await self.ask("POST", "/api_keys", body, key=key)
        assert answer.status == 200, answer.body
        data: dict[str, Any] = answer.json()["data"]
        return data


@contextlib.asynccontextmanager
async def open_desk(
    folder: Path,
    *,
    on_limits: OnLimits | None = None,
    usage: KeyUsage | None = None,
    web3: bool = False,
    stake: Stake | None = None,
    clock: HandClock | None = None,
) -> AsyncIterator[Desk]:
    """Several of them on one folder are several gateways."""
    clock = clock or HandClock()
    database = Database(folder)
    await database.open()
    accounts = AccountService(database, clock)
    secret = server_secret(folder)
    keys = KeyService(database, secret, clock, accounts, on_limits)
    wallets = WalletKeys(keys, accounts, secret, clock, enabled=web3, stake=stake)
    far = Binding(base_url="http://127.0.0.1:9/v1")
    near = Binding(base_url="http://127.0.0.1:9/v1", privacy="private")
    bind = {PRIVATE_TEXT: near, ANONYMOUS_TEXT: far, ANONYMOUS_IMAGE: far}
    registry = Registry(ModelSettings(bind=bind), Catalogue(), lambda _: False, True, ())
    table = [*key_routes.routes(keys, wallets, usage), *model_routes.routes(ModelsService(registry))]
    desk = Desk(keys, accounts, database, Edge(Routes(table), keys, logger("fondaco.http")), clock)
    desk.account = (await accounts.ensure()).id
    desk.admin = (await keys.create(desk.account, "ADMIN", "the desk's own")).token
    try:
        yield desk
    finally:
        await keys.close()
        await database.close()
