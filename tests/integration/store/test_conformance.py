"""What every adapter of `Store` promises. A new one is a new line in ADAPTERS."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import IntegrityError

from fondaco.store.errors import DatabaseClosed
from fondaco.store.interface import Store
from fondaco.store.schema import accounts, api_keys
from fondaco.store.sqlite import Database

pytestmark = pytest.mark.anyio

ADAPTERS: dict[str, Callable[[Path], Store]] = {"sqlite": Database}

BORN = datetime(2026, 3, 1, 12, 30, 15, 123_000, tzinfo=UTC)


@pytest.fixture(params=ADAPTERS)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Store, Store]]:
    """Two open stores over the same data, as two gateways have them."""
    adapter = ADAPTERS[request.param]
    first, second = adapter(tmp_path / "data"), adapter(tmp_path / "data")
    await first.open()
    await second.open()
    yield first, second
    await second.close()
    await first.close()


@pytest.fixture
def store(stores: tuple[Store, Store]) -> Store:
    return stores[0]


def adding(name: str) -> Callable[[Connection], str]:
    def add(connection: Connection) -> str:
        connection.execute(insert(accounts).values(id=name, name=name, created_at=BORN))
        return name

    return add


def names(connection: Connection) -> list[str]:
    return sorted(connection.scalars(select(accounts.c.name)))


async def test_a_write_returns_the_result_of_its_work_and_is_seen_by_the_next_read(store: Store) -> None:
    assert await store.write(adding("ann")) == "ann"
    assert await store.read(names) == ["ann"]


async def test_a_write_that_raises_leaves_nothing_and_raises_to_its_caller(store: Store) -> None:
    def half(connection: Connection) -> None:
        adding("half")(connection)
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        await store.write(half)
    assert await store.read(names) == []


async def test_a_failed_write_does_not_take_its_neighbours_with_it(store: Store) -> None:
    asked = [store.write(adding(name)) for name in ("a", "b", "a", "c", "b")]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [str, str, IntegrityError, str, IntegrityError]
    assert await store.read(names) == ["a", "b", "c"]


async def test_writes_happen_in_the_order_they_were_asked_for(store: Store) -> None:
    order: list[int] = []
    await asyncio.gather(*(store.write(lambda _, n=n: order.append(n)) for n in range(300)))
    assert order == list(range(300))


async def test_a_cancelled_wait_does_not_undo_the_write(store: Store) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        begun.set()
        go_on.wait(10)
        adding("kept")(connection)

    waiting = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(begun.wait, 10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    await store.write(adding("after"))
    assert await store.read(names) == ["after", "kept"]


async def test_a_read_cannot_write(store: Store) -> None:
    with pytest.raises(Exception):  # noqa: B017  # which one is the adapter's affair
        await store.read(adding("sneaked"))
    assert await store.read(names) == []


async def test_a_read_sees_one_moment_while_writes_go_on(store: Store) -> None:
    counted, go_on = threading.Event(), threading.Event()

    def count_twice(connection: Connection) -> tuple[int, int]:
        count = select(func.count()).select_from(accounts)
        first = connection.scalar(count)
        counted.set()
        go_on.wait(10)
        return first or 0, connection.scalar(count) or 0

    reading = asyncio.create_task(store.read(count_twice))
    await asyncio.to_thread(counted.wait, 10)
    await store.write(adding("late"))
    go_on.set()
    assert await reading == (0, 0)
    assert await store.read(names) == ["late"]


async def test_a_reference_to_a_row_that_is_not_there_is_refused(store: Store) -> None:
    row = {
        "id": "k",
        "account_id": "nobody",
        "kind": "ADMIN",
        "description": "",
        "key_hash": b"h",
        "last6": "123456",
        "created_at": BORN,
    }
    with pytest.raises(IntegrityError):
        await store.write(lambda connection: connection.execute(insert(api_keys).values(row)) and None)


async def test_errors_do_not_show_the_values_of_a_statement(store: Store) -> None:
    await store.write(adding("hush-hush"))
    with pytest.raises(IntegrityError) as caught:
        await store.write(adding("hush-hush"))
    assert "hush-hush" not in str(caught.value)


async def test_times_come_back_as_they_were_to_the_millisecond(store: Store) -> None:
    await store.write(adding("ann"))
    assert await store.read(lambda connection: connection.scalar(select(accounts.c.created_at))) == BORN


async def test_what_one_gateway_wrote_the_other_reads_and_hears_of(stores: tuple[Store, Store]) -> None:
    first, second = stores
    heard = asyncio.Event()
    second.on_foreign_change(heard.set)
    await first.write(adding("ann"))
    assert await second.read(names) == ["ann"]
    await asyncio.wait_for(heard.wait(), 2)


async def test_two_gateways_write_at_once_and_both_are_kept(stores: tuple[Store, Store]) -> None:
    first, second = stores
    asked = [
        store.write(adding(f"{n}-{who}")) for n in range(50) for who, store in enumerate((first, second))
    ]
    await asyncio.gather(*asked)
    assert len(await first.read(names)) == 100


async def test_a_closed_store_refuses_work_after_doing_what_it_had_accepted(store: Store) -> None:
    accepted = [asyncio.create_task(store.write(adding(f"a{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert len(await asyncio.gather(*accepted)) == 20
    with pytest.raises(DatabaseClosed):
        await store.write(adding("late"))
    with pytest.raises(DatabaseClosed):
        await store.read(names)
    await store.close()
    await store.open()
    assert len(await store.read(names)) == 20
