"""Requests admitted by account and model, in one gateway and in several on one database."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from fondaco.clock import SystemClock
from fondaco.errors import RateLimitExceeded
from fondaco.limits.refusals import RefusalLog
from fondaco.limits.service import Limiter
from fondaco.limits.ticket import Ticket
from fondaco.store.schema import rate_windows
from fondaco.store.sqlite import Database
from limit_parts import START_MS, Company, HandClock, opened, ticket

pytestmark = pytest.mark.anyio

ACCOUNT = "account"


class Gateway:
    """One of several on a database, as far as rates go."""

    def __init__(self, database: Database, clock: HandClock, scale: float = 1, alone: bool = True) -> None:
        self.database = database
        self.company = Company(alone)
        self.refusals = RefusalLog(database, clock)
        self.limiter = Limiter(database, clock, self.company, self.refusals, scale)

    async def ask(self, tokens: int = 0, tier: str = "L", model: str = "model") -> Ticket:
        """A request's ticket, also of one that was refused."""
        made = ticket()
        try:
            await self.limiter.admit(made, model, tier, tokens)
        except RateLimitExceeded:
            assert is_refused(made)
        return made

    async def admitted(self, requests: int, tokens: int = 0, tier: str = "L", model: str = "model") -> int:
        """How many of so many at once."""
        asked = await asyncio.gather(*(self.ask(tokens, tier, model) for _ in range(requests)))
        return sum(not is_refused(made) for made in asked)

    async def close(self) -> None:
        await self.limiter.close()
        await self.refusals.close()
        await self.database.close()


def is_refused(made: Ticket) -> bool:
    assert made.admission is not None
    return made.admission.refused is not None


def left(made: Ticket) -> tuple[int, int]:
    assert made.admission is not None
    return made.admission.remaining_requests, made.admission.remaining_tokens


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def gateway(tmp_path: Path, clock: HandClock) -> AsyncIterator[Gateway]:
    gateway = Gateway(await opened(tmp_path, ACCOUNT), clock)
    yield gateway
    await gateway.close()


@pytest.fixture
async def pair(tmp_path: Path, clock: HandClock) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Two that know of each other."""
    first = Gateway(await opened(tmp_path, ACCOUNT), clock, alone=False)
    second = Gateway(await opened(tmp_path, ACCOUNT), clock, alone=False)
    yield first, second
    await second.close()
    await first.close()


def rows(connection: Connection) -> list[tuple[str, int, int]]:
    columns = (rate_windows.c.model_id, rate_windows.c.requests_left, rate_windows.c.tokens_left)
    return [(row[0], row[1], row[2]) for row in connection.execute(select(*columns).order_by(columns[0]))]


async def test_of_five_hundred_at_once_exactly_twenty_are_admitted(gateway: Gateway) -> None:
    assert await gateway.admitted(500) == 20
    assert await gateway.admitted(500) == 0


async def test_a_gateway_that_is_alone_asks_no_database(gateway: Gateway) -> None:
    await gateway.ask()
    before = gateway.database.commits
    assert await gateway.admitted(10) == 10
    assert gateway.database.commits == before


async def test_a_refusal_says_when_to_come_again_and_shows_the_window(
    gateway: Gateway, clock: HandClock
) -> None:
    await gateway.admitted(20)
    clock.passed = 12.5
    made = ticket()
    with pytest.raises(RateLimitExceeded) as raised:
        await gateway.limiter.admit(made, "model", "L", 0)
    assert raised.value.retry_after == 48
    assert raised.value.message == "Rate limit exceeded"
    assert made.admission is not None
    assert (made.admission.limit_requests, made.admission.remaining_requests) == (20, 0)
    assert made.admission.reset_at == START_MS + 60_000
    clock.passed += 48
    assert not is_refused(await gateway.ask())


async def test_the_last_moment_of_a_window_still_asks_for_a_whole_second(
    gateway: Gateway, clock: HandClock
) -> None:
    await gateway.admitted(20)
    clock.passed = 59.9999
    with pytest.raises(RateLimitExceeded) as raised:
        await gateway.limiter.admit(ticket(), "model", "L", 0)
    assert raised.value.retry_after == 1


async def test_a_reservation_larger_than_a_window_is_admitted_alone(gateway: Gateway) -> None:
    assert left(await gateway.ask(9_000_000)) == (19, 0)
    assert is_refused(await gateway.ask(1))
    assert is_refused(await gateway.ask(9_000_000))
    await gateway.ask(1, model="other")
    assert is_refused(await gateway.ask(9_000_000, model="other"))


async def test_an_endpoint_without_a_model_has_a_rate_of_its_own(gateway: Gateway) -> None:
    endpoint = "endpoint:api/v1/api_keys"
    assert await gateway.admitted(30, 0, "key_creation", endpoint) == 20
    (first, *_) = await gateway.refusals.last(ACCOUNT)
    assert (first.model_id, first.type, first.tier) == (endpoint, "RPM", "paid")


async def test_refusals_are_logged_with_the_wall_they_met(gateway: Gateway) -> None:
    await gateway.ask(500_000)
    await gateway.ask(1)
    await gateway.admitted(25)
    kinds = [refusal.type for refusal in await gateway.refusals.last(ACCOUNT)]
    assert kinds == ["RPM"] * 6 + ["TPM"]


async def test_a_scale_of_zero_lifts_the_limits(tmp_path: Path, clock: HandClock) -> None:
    gateway = Gateway(await opened(tmp_path, ACCOUNT), clock, scale=0)
    assert await gateway.admitted(2000, 10**9) == 2000
    made = await gateway.ask()
    assert made.admission is not None
    assert (made.admission.limit_requests, made.admission.limit_tokens) == (None, None)
    made.admission.used(7)
    made.admission.give_back()
    await gateway.close()


async def test_two_gateways_on_one_database_admit_as_many_as_one(pair: tuple[Gateway, Gateway]) -> None:
    first, second = pair
    counts = await asyncio.gather(first.admitted(100), second.admitted(100))
    assert sum(counts) == 20
    assert left(await first.ask()) == left(await second.ask()) == (0, 500_000)


async def test_two_gateways_share_tokens_and_their_truth(
    pair: tuple[Gateway, Gateway], clock: HandClock
) -> None:
    first, second = pair
    asked = await first.ask(300_000)
    assert is_refused(await second.ask(200_001))
    assert asked.admission is not None
    asked.admission.used(100_000)
    await first.limiter.close()
    assert left(await second.ask(200_001)) == (18, 199_999)
    over = await second.ask(1)
    assert over.admission is not None
    over.admission.used(350_001)
    await second.limiter.close()
    assert is_refused(await first.ask(0))
    clock.passed = 60
    made = await first.ask(0)
    assert left(made) == (19, 500_000 - 150_002)
    assert made.admission is not None
    assert made.admission.reset_at == START_MS + 120_000


async def test_what_one_gives_back_the_other_can_have(pair: tuple[Gateway, Gateway]) -> None:
    first, second = pair
    asked = [await first.ask(25_000) for _ in range(20)]
    assert is_refused(await second.ask())
    assert asked[0].admission is not None
    asked[0].admission.give_back()
    await first.limiter.close()
    assert left(await second.ask(25_000)) == (0, 0)


async def test_a_shared_window_whose_only_request_was_given_back_has_not_opened(
    pair: tuple[Gateway, Gateway],
) -> None:
    first, _ = pair
    made = await first.ask(1000)
    assert made.admission is not None
    made.admission.give_back()
    await first.limiter.close()
    assert await first.database.read(rows) == []


async def test_a_debt_larger_than_a_shared_window_is_paid_by_time(
    pair: tuple[Gateway, Gateway], clock: HandClock
) -> None:
    first, second = pair
    made = await first.ask()
    assert made.admission is not None
    made.admission.used(1_250_000)
    await first.limiter.close()
    clock.passed = 70
    refused = ticket()
    with pytest.raises(RateLimitExceeded) as raised:
        await second.limiter.admit(refused, "model", "L", 0)
    assert raised.value.retry_after == 50
    assert refused.admission is not None
    assert (refused.admission.reset_at, refused.admission.remaining_tokens) == (START_MS + 120_000, 0)
    clock.passed = 120
    assert left(await second.ask(0)) == (19, 250_000)


async def test_an_overrun_that_comes_late_counts_in_the_shared_window_that_is_open(
    pair: tuple[Gateway, Gateway], clock: HandClock
) -> None:
    first, second = pair
    late = await first.ask(100_000)
    clock.passed = 61
    await second.ask()
    assert late.admission is not None
    late.admission.used(600_000)
    await first.limiter.close()
    assert left(await second.ask()) == (18, 400_000)


async def test_windows_are_shared_when_company_comes_and_taken_back_when_it_goes(
    tmp_path: Path, clock: HandClock
) -> None:
    first = Gateway(await opened(tmp_path, ACCOUNT), clock)
    assert await first.admitted(8, 10_000) == 8
    running = await first.ask(50_000)
    second = Gateway(await opened(tmp_path, ACCOUNT), clock, alone=False)
    first.company.comes()
    await first.limiter.close()  # which waits for what it has begun
    assert await first.database.read(rows) == [("model", 11, 370_000)]
    assert running.admission is not None
    running.admission.used(70_000)
    await first.limiter.close()
    assert left(await second.ask(0)) == (10, 350_000)
    counts = await asyncio.gather(first.admitted(30, 0), second.admitted(30, 0))
    assert sum(counts) == 10
    other = await first.ask(tier="S", model="other")
    await second.close()
    first.company.alone = True
    assert is_refused(await first.ask())
    assert other.admission is not None
    other.admission.used(1000)  # admitted in company, ended alone
    assert left(await first.ask(tier="S", model="other")) == (73, 749_000)
    commits = first.database.commits
    await first.admitted(50)
    assert first.database.commits == commits
    clock.passed = 60
    assert await first.admitted(50) == 20
    await first.close()


async def test_windows_in_the_table_that_are_over_are_removed(
    pair: tuple[Gateway, Gateway], clock: HandClock
) -> None:
    first, _ = pair
    for n in range(5):
        await first.ask(model=f"old{n}")
    clock.passed = 60
    await first.ask(model="new")
    assert [row[0] for row in await first.database.read(rows)] == ["new"]


async def test_a_window_that_a_clock_set_back_has_left_in_the_future_does_not_stay(
    pair: tuple[Gateway, Gateway], clock: HandClock
) -> None:
    first, _ = pair
    clock.passed = 100_000
    await first.admitted(20)
    clock.passed = 0
    first.limiter._shared._dropped_at = 0  # pyright: ignore[reportPrivateUsage]
    assert not is_refused(await first.ask())


async def test_where_the_database_fails_requests_are_admitted_from_memory(
    pair: tuple[Gateway, Gateway],
) -> None:
    first, _ = pair
    await first.ask()
    await first.database.close()
    assert await first.admitted(100) == 20


async def test_a_client_that_leaves_does_not_stop_the_windows_halfway(gateway: Gateway) -> None:
    await gateway.admitted(5)
    gateway.company.alone = False
    asking = asyncio.create_task(gateway.ask())
    await asyncio.sleep(0)
    asking.cancel()
    assert left(await gateway.ask()) == (14, 500_000)


CHILD = """
import asyncio, sys
from pathlib import Path
from fondaco.clock import SystemClock
from fondaco.errors import RateLimitExceeded
from fondaco.limits.refusals import RefusalLog
from fondaco.limits.service import Limiter
from fondaco.store.presence import Presence
from fondaco.store.sqlite import Database
from limit_parts import ticket

async def main(data_dir, before, requests):
    database, clock = Database(Path(data_dir)), SystemClock()
    await database.open()
    presence, refusals = Presence(database, clock), RefusalLog(database, clock)
    limiter = Limiter(database, clock, presence, refusals)
    await presence.open()

    async def ask():
        try:
            await limiter.admit(ticket(), "model", "L", 0)
        except RateLimitExceeded:
            return 0
        return 1

    admitted = sum([await ask() for _ in range(before)])
    print("up", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    assert not presence.alone
    admitted += sum(await asyncio.gather(*(ask() for _ in range(requests))))
    print(admitted, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await limiter.close()
    await refusals.close()
    await presence.close()
    await database.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


@pytest.mark.parametrize("before", [pytest.param(0, marks=pytest.mark.long), 7])
async def test_two_processes_on_one_database_together_admit_exactly_the_limit(
    tmp_path: Path, before: int
) -> None:
    """250 requests each at once; `before`: so many that the first admitted while it was alone."""
    await (await opened(tmp_path, ACCOUNT)).close()

    async def begun(asked_before: int) -> asyncio.subprocess.Process:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", CHILD, str(tmp_path), str(asked_before), "250"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        )
        assert child.stdout is not None
        assert await child.stdout.readline() == b"up\n"
        return child

    async def told(child: asyncio.subprocess.Process) -> int:
        assert child.stdout is not None
        return int(await child.stdout.readline())

    children = [await begun(before), await begun(0)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"\n")
    counts = await asyncio.gather(*map(told, children))
    await asyncio.gather(*(child.communicate(b"\n") for child in children))
    assert sum(counts) == 20
    assert [child.returncode for child in children] == [0, 0]


async def test_sharing_costs_a_commit_for_many_requests_not_for_each(tmp_path: Path) -> None:
    database = await opened(tmp_path, ACCOUNT)
    clock = SystemClock()
    refusals = RefusalLog(database, clock)
    limiter = Limiter(database, clock, Company(alone=False), refusals, scale=1000)
    before = database.commits
    await asyncio.gather(*(limiter.admit(ticket(), "model", "L", 10) for _ in range(500)))
    assert database.commits - before < 100
    await limiter.close()
    await database.close()
