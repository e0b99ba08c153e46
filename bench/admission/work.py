"""What is measured: a request's way through auth, limits, hold and settle, on a real database, many in flight.

Run as a program of the interpreter in question: `work.py DIRECTORY REQUESTS IN_FLIGHT WALL`. Prints the CPU time of a
request in microseconds, once with admission and once without, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from fondaco.accounts.service import AccountService
from fondaco.billing.ledger import Ledger
from fondaco.billing.meter import Meter
from fondaco.billing.prices.tokens import TokenUse, chat_bill, chat_ceiling
from fondaco.billing.use import Use
from fondaco.clock import SystemClock
from fondaco.http.limit_headers import LimitHeaders
from fondaco.http.limiting import Limiting
from fondaco.ids import request_id
from fondaco.keys.caller import SpendLimits
from fondaco.keys.secret import server_secret
from fondaco.keys.service import KeyService
from fondaco.limits.abuse import Abuse
from fondaco.limits.refusals import RefusalLog
from fondaco.limits.service import Limiter
from fondaco.limits.ticket import Ticket
from fondaco.models.catalogue import Catalogue
from fondaco.money import NanoUsd, from_decimal
from fondaco.store.presence import Presence
from fondaco.store.sqlite import Database

MODEL = "qwen3-4b"
PROMPT, ANSWER = 412, 180
_LIMIT = from_decimal("100000")


class House:
    """All parts of a gateway that stand between a request and its engine."""

    def __init__(self, directory: Path, wall: str) -> None:
        self.wall = wall
        self.clock = SystemClock()
        self.database = Database(directory)
        self.presence = Presence(self.database, self.clock)
        self.ledger = Ledger(self.database, self.clock, self.presence, prepaid=wall == "prepaid")
        self.refusals = RefusalLog(self.database, self.clock)
        self.limiter = Limiter(self.database, self.clock, self.presence, self.refusals, 1_000_000)
        self.meter = Meter(self.limiter, self.ledger)
        abuse = Abuse(20, self.clock, self.refusals)
        purses = self.ledger if wall == "prepaid" else None
        self.limiting = Limiting(abuse, LimitHeaders(self.clock, abuse, "seconds"), purses)
        found = Catalogue().find(MODEL)
        assert found is not None
        self.model = found

    async def open(self, directory: Path) -> None:
        await self.database.open()
        await self.presence.open()
        await self.ledger.open()
        accounts = AccountService(self.database, self.clock)
        self.keys = KeyService(self.database, server_secret(directory), self.clock, accounts)
        account = await accounts.ensure()
        limits = SpendLimits("LIFETIME", usd=_LIMIT) if self.wall == "key" else SpendLimits("LIFETIME")
        made = await self.keys.create(account.id, "INFERENCE", "bench", limits=limits)
        self.token = made.token.encode()
        await self.keys.authenticate(self.token)
        if self.wall == "prepaid":
            await self.ledger.credit(account.id, NanoUsd(_LIMIT), "USD", "bench")

    async def close(self) -> None:
        await self.limiter.close()
        await self.refusals.close()
        await self.keys.close()
        await self.ledger.close()
        await self.presence.close()
        await self.database.close()

    async def admitted(self) -> None:
        """One request, whose engine answers at once."""
        caller = self.keys.recall(self.token) or await self.keys.authenticate(self.token)
        ticket = Ticket(caller, request_id())
        if (first := self.limiting.enter(ticket)) is not None:
            await first
        metered = await self.meter.admit(ticket, self.model, PROMPT + 1024)
        if metered.walled:
            await metered.hold(chat_ceiling(self.model, PROMPT, ANSWER))
        await asyncio.sleep(0)
        bill = chat_bill(self.model, TokenUse(PROMPT, 0, ANSWER))
        await metered.settle(bill, Use(PROMPT, ANSWER, 1), PROMPT + ANSWER)
        self.limiting.headers(ticket)


async def bare() -> None:
    await asyncio.sleep(0)


async def cpu_us(one: Callable[[], Awaitable[None]], requests: int, in_flight: int) -> float:
    async def line() -> None:
        for _ in range(requests // in_flight):
            await one()

    began = time.process_time()
    await asyncio.gather(*(line() for _ in range(in_flight)))
    return (time.process_time() - began) / requests * 1e6


async def main(directory: Path, requests: int, in_flight: int, wall: str) -> None:
    house = House(directory, wall)
    await house.open(directory)
    await cpu_us(house.admitted, 20 * in_flight, in_flight)
    commits, writes = house.database.commits, house.database.writes
    admitted = await cpu_us(house.admitted, requests, in_flight)
    commits, writes = house.database.commits - commits, house.database.writes - writes
    without = await cpu_us(bare, requests, in_flight)
    await house.close()
    print(json.dumps({"admitted_us": admitted, "bare_us": without, "commits": commits, "writes": writes}))


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
