"""Reports of a real ledger: pages, walks, sums, and nobody else's rows among them."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection

from billing_rows import NOON, Books, StoppedClock, answered, asked, books, used_row
from fondaco.billing.line import Line
from fondaco.billing.reports import analytics as analytics_module
from fondaco.billing.reports import store
from fondaco.billing.reports.analytics import Analytics
from fondaco.billing.reports.cursors import InvalidCursor
from fondaco.billing.reports.history import History
from fondaco.billing.reports.key_usage import KeyUsage, Spent
from fondaco.billing.reports.store import Selection
from fondaco.billing.reports.usage import COUNTS_SECONDS, UsagePages
from fondaco.billing.reports.wire import AnalyticsQuery, HistoryQuery, UsageQuery
from fondaco.errors import InvalidRequest, RequestTimeout
from fondaco.models.catalogue import Catalogue
from fondaco.money import NanoUsd
from fondaco.store.interface import Store
from fondaco.store.sqlite import Database

pytestmark = pytest.mark.anyio

T = TypeVar("T")
SECRET = bytes(range(32))
SECOND = timedelta(seconds=1)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Books]:
    async with books(tmp_path / "data") as open_books:
        yield open_books


def when(seconds: int) -> datetime:
    return NOON + seconds * SECOND


async def test_pages_hold_every_row_once_in_either_order_and_from_either_end(ledger: Books) -> None:
    mine, other = await ledger.account("mine"), await ledger.account("other")
    # Three rows a second, those of another account between them.
    for second in range(8):
        await ledger.fill(used_row(mine, asked(second * 3 + row), at=when(second)) for row in range(3))
        await ledger.fill([used_row(other, asked(9999), at=when(second))])
    usage = UsagePages(ledger.database, StoppedClock())
    for order, expected in (("asc", list(range(24))), ("desc", list(range(23, -1, -1)))):
        seen: list[int | None] = []
        for number in range(1, 6):
            found = await usage.page(mine, UsageQuery(limit=5, page=number, sort_order=order))
            assert (found.pagination.total, found.pagination.total_pages) == (24, 5)
            seen += [transfer.units for transfer in found.transfers]
        assert seen == expected
    beyond = await usage.page(mine, UsageQuery(limit=500, page=10**15))
    assert (beyond.transfers, beyond.pagination.total_pages) == ([], 1)


async def test_pages_are_of_a_currency_and_of_some_days(ledger: Books) -> None:
    mine = await ledger.account("mine")
    await ledger.use(mine, asked(1), at=datetime(2026, 3, 1, tzinfo=UTC))
    await ledger.use(mine, asked(2), at=datetime(2026, 3, 2, tzinfo=UTC), currency="DIEM")
    await ledger.use(mine, asked(3), at=datetime(2026, 3, 2, 23, 59, 59, 999000, tzinfo=UTC))
    await ledger.use(mine, asked(4), at=datetime(2026, 3, 3, tzinfo=UTC), currency="BUNDLED_CREDITS")
    usage = UsagePages(ledger.database, StoppedClock())

    async def units(**query: Any) -> list[int | None]:
        found = await usage.page(mine, UsageQuery(sort_order="asc", **query))
        assert found.pagination.total == len(found.transfers)
        return [transfer.units for transfer in found.transfers]

    assert await units() == [1, 2, 3, 4]
    assert await units(currency="DIEM") == [2]
    assert await units(currency="USD") == [1, 3]
    assert await units(currency="VCU") == []
    assert await units(start_date="2026-03-02", end_date="2026-03-02") == [2, 3]
    assert await units(start_date="2026-03-02T00:00:00.001Z") == [3, 4]
    assert await units(end_date="2026-03-02T00:00:00Z") == [1, 2]
    with pytest.raises(InvalidRequest) as refused:
        await units(start_date="2026-03-03", end_date="2026-03-02")
    assert refused.value.issues[0].path == ("endDate",)


async def test_totals_are_right_while_the_ledger_grows(
    ledger: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count is kept and only what came since is added, so both ways of counting must agree."""
    mine, other = await ledger.account("mine"), await ledger.account("other")
    clock = StoppedClock()
    usage = UsagePages(ledger.database, clock)
    queries = [UsageQuery(), UsageQuery(currency="DIEM"), UsageQuery(start_date="2026-03-10T12:00:03Z")]
    whole: list[bool] = []
    counting = store.count

    def count(connection: Connection, of: Selection, known: store.Counted | None = None) -> store.Counted:
        whole.append(known is None)
        return counting(connection, of, known)

    monkeypatch.setattr(store, "count", count)
    for second in range(6):
        await ledger.use(mine, asked(1), at=when(second), currency="DIEM" if second % 2 else "USD")
        await ledger.use(other, asked(1), at=when(second))
        expected = [second + 1, (second + 1) // 2, max(0, second - 2)]
        assert [(await usage.page(mine, query)).pagination.total for query in queries] == expected
    assert whole == [True] * 3 + [False] * 15
    clock.forward(COUNTS_SECONDS)
    assert (await usage.page(mine, queries[0])).pagination.total == 6
    assert whole[-1]


async def test_a_walk_sees_every_row_once_though_new_ones_come_while_it_goes(ledger: Books) -> None:
    mine, other = await ledger.account("mine"), await ledger.account("other")
    clock = StoppedClock()
    history = History(ledger.database, clock, SECRET)
    for second in range(4):
        await ledger.fill(used_row(mine, asked(second * 8 + row), at=when(second)) for row in range(8))
        await ledger.fill([used_row(other, asked(9999), at=when(second))])
    page = await history.begin(mine, HistoryQuery(page_size=10))
    seen = [transfer.units for transfer in page.transfers]
    await ledger.use(mine, asked(32), at=when(3))
    await ledger.use(mine, asked(33), at=when(4))
    sizes: list[int] = [len(page.transfers)]
    while page.next_cursor is not None:
        page = await history.follow(mine, page.next_cursor)
        seen += [transfer.units for transfer in page.transfers]
        sizes.append(len(page.transfers))
    assert seen == list(range(34))
    assert sizes == [10, 10, 10, 4]


async def test_windows_that_share_a_boundary_have_neither_gap_nor_overlap(ledger: Books) -> None:
    mine = await ledger.account("mine")
    await ledger.fill(used_row(mine, asked(number), at=when(number)) for number in range(40))
    await ledger.fill([used_row(mine, asked(99), at=when(5), currency="BUNDLED_CREDITS")])
    history = History(ledger.database, StoppedClock(), SECRET)

    async def units(**query: Any) -> list[int | None]:
        page = await history.begin(mine, HistoryQuery(page_size=10, currency="USD", **query))
        found = [transfer.units for transfer in page.transfers]
        while page.next_cursor is not None:
            page = await history.follow(mine, page.next_cursor)
            found += [transfer.units for transfer in page.transfers]
        return found

    boundary = "2026-03-10T12:00:17Z"
    assert await units(end_timestamp=boundary) == list(range(17))
    assert await units(start_timestamp=boundary) == list(range(17, 40))
    for end in (boundary, "2026-03-10T12:00:16Z"):
        with pytest.raises(InvalidRequest) as refused:
            await units(start_timestamp=boundary, end_timestamp=end)
        assert refused.value.issues[0].path == ("endTimestamp",)


async def test_a_cursor_of_another_account_leads_nowhere(ledger: Books) -> None:
    mine, other = await ledger.account("mine"), await ledger.account("other")
    await ledger.fill(used_row(mine, asked(number)) for number in range(20))
    history = History(ledger.database, StoppedClock(), SECRET)
    page = await history.begin(mine, HistoryQuery(page_size=10))
    assert page.next_cursor is not None
    with pytest.raises(InvalidCursor):
        await history.follow(other, page.next_cursor)


async def report(analytics: Analytics, account: str, **query: Any) -> dict[str, Any]:
    return json.loads(await analytics.report(account, AnalyticsQuery(**query)), parse_float=Decimal)


def analysed(ledger: Books, clock: StoppedClock, **more: Any) -> Analytics:
    return Analytics(ledger.database, clock, Catalogue().find, **more)


async def test_analytics_sum_up_days_models_parts_and_keys(ledger: Books) -> None:
    mine, other = await ledger.account("mine"), await ledger.account("other")
    first, second = await ledger.key(mine, "Production"), await ledger.key(mine, "Laptop")
    await ledger.use(other, asked(10**9), key=await ledger.key(other, "Theirs"))
    await ledger.use(mine, asked(1_000_000), answered(2_000_000), key=first)
    await ledger.use(mine, asked(1_000_000), key=second, currency="DIEM")
    yesterday, long_ago = NOON - timedelta(days=1), NOON - timedelta(days=7)
    await ledger.use(mine, asked(1000), key=first, at=yesterday, currency="BUNDLED_CREDITS")
    await ledger.use(mine, asked(7), key=first, at=long_ago)
    heard = Line("nvidia/parakeet-tdt-0.6b-v3-asr-second", 2500, NanoUsd(100_000), 1000)
    await ledger.use(mine, heard, key=second, model="nvidia/parakeet-tdt-0.6b-v3")
    await ledger.use(mine, Line("mine-image-unit", 3, NanoUsd(10_000_000), 1), key=first, model="mine")

    found = await report(analysed(ledger, StoppedClock()), mine)
    assert found["lookback"] == "7d"
    assert len(found["byDate"]) == 7
    assert found["byDate"][:3] == [
        {"date": "2026-03-10", "USD": Decimal("0.38025"), "DIEM": Decimal("0.05")},
        {"date": "2026-03-09", "USD": Decimal("0.00005"), "DIEM": 0},
        {"date": "2026-03-08", "USD": 0, "DIEM": 0},
    ]
    small, image, ears = found["byModel"]
    assert small == {
        "modelName": "Venice Small",
        "unitType": "tokens",
        "modelType": "LLM",
        "totalUsd": Decimal("0.35005"),
        "totalDiem": Decimal("0.05"),
        "totalUnits": 4_001_000,
        "breakdown": [
            {"type": "Output", "usd": Decimal("0.3"), "diem": 0, "units": 2_000_000},
            {"type": "Input", "usd": Decimal("0.05005"), "diem": Decimal("0.05"), "units": 2_001_000},
        ],
    }
    assert image == {
        "modelName": "mine",
        "unitType": "images",
        "modelType": None,
        "totalUsd": Decimal("0.03"),
        "totalDiem": 0,
        "totalUnits": 3,
    }
    assert (ears["unitType"], ears["modelType"], ears["totalUnits"]) == ("seconds", "ASR", Decimal("2.5"))
    assert found["topModels"] == [each["modelName"] for each in found["byModel"]]
    assert [row["date"] for row in found["byModelDaily"]] == [
        1_773_100_800_000 - 86_400_000 * ago for ago in range(6, -1, -1)
    ]
    assert found["byModelDaily"][-1]["Venice Small"] == Decimal("0.4")
    assert found["byModelDaily"][-2] == {
        "date": 1_773_014_400_000,
        "Venice Small": Decimal("0.00005"),
        "mine": 0,
        ears["modelName"]: 0,
    }
    assert found["byKey"] == [
        {
            "apiKeyId": first,
            "description": "Production",
            "totalUsd": Decimal("0.38005"),
            "totalDiem": 0,
            "totalUnits": 3_001_003,
        },
        {
            "apiKeyId": second,
            "description": "Laptop",
            "totalUsd": Decimal("0.00025"),
            "totalDiem": Decimal("0.05"),
            "totalUnits": Decimal("1000002.5"),
        },
    ]
    assert found["topKeyNames"] == ["Production", "Laptop"]
    assert found["byKeyDaily"][-1] == {
        "date": 1_773_100_800_000,
        "Production": Decimal("0.38"),
        "Laptop": Decimal("0.05025"),
    }


async def test_analytics_are_of_the_days_that_were_asked_for(ledger: Books) -> None:
    mine = await ledger.account("mine")
    for ago in (0, 1, 89, 90, 200):
        await ledger.use(mine, asked(1_000_000), at=NOON - timedelta(days=ago))
    analytics = analysed(ledger, StoppedClock())

    async def spent(**query: Any) -> list[str]:
        return [row["date"] for row in (await report(analytics, mine, **query))["byDate"] if row["USD"]]

    assert await spent(lookback="1d") == ["2026-03-10"]
    assert await spent(lookback="90d") == ["2026-03-10", "2026-03-09", "2025-12-11"]
    between = {"start_date": "2025-08-22", "end_date": "2025-12-10"}
    assert await spent(**between) == ["2025-12-10", "2025-08-22"]
    assert (await report(analytics, mine, **between))["lookback"] == "2025-08-22:2025-12-10"
    assert await spent(start_date="2026-03-09", end_date="2026-03-09") == ["2026-03-09"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(
            ({"lookback": text}, "lookback")
            for text in ("0d", "91d", "07d", "7", "-1d", "7D", "9" * 99 + "d")
        ),
        ({"start_date": "2026-01-01"}, "endDate"),
        ({"end_date": "2026-01-01"}, "startDate"),
        ({"start_date": "2026-01-02", "end_date": "2026-01-01"}, "endDate"),
        ({"start_date": "2026-02-30", "end_date": "2026-03-01"}, "startDate"),
        ({"start_date": "2026-01-01", "end_date": "2027-01-02"}, "endDate"),
        ({"start_date": "0001-01-01", "end_date": "9999-12-31"}, "endDate"),
    ],
)
async def test_days_that_make_no_sense_are_refused_at_their_field(
    tmp_path: Path, query: dict[str, str], field: str
) -> None:
    analytics = Analytics(Database(tmp_path), StoppedClock(), Catalogue().find)
    with pytest.raises(InvalidRequest) as refused:
        await report(analytics, "mine", **query)
    assert [issue.path for issue in refused.value.issues] == [(field,)]


async def test_keys_and_models_of_one_name_keep_their_own_line_in_a_chart(ledger: Books) -> None:
    mine = await ledger.account("mine")
    keys = [await ledger.key(mine, name) for name in ("twin", "twin", "date", "")]
    for number, key in enumerate(keys):
        await ledger.use(mine, asked(1_000_000 * (number + 1)), key=key)
    await ledger.use(mine, asked(100), key="")
    await ledger.use(mine, asked(10), key="0" * 36)
    found = await report(analysed(ledger, StoppedClock()), mine, lookback="1d")
    names = ["", f"date ({keys[2][-6:]})", f"twin ({keys[1][-6:]})", f"twin ({keys[0][-6:]})", "Web App"]
    assert found["topKeyNames"] == [*names, "Removed key"]
    assert found["byKeyDaily"] == [
        {
            "date": 1_773_100_800_000,
            **dict(zip(names, map(Decimal, ("0.2", "0.15", "0.1", "0.05", "0.000005")), strict=True)),
            "Removed key": Decimal("0.0000005"),
        }
    ]
    assert [row["description"] for row in found["byKey"]] == [
        "",
        "date",
        "twin",
        "twin",
        "Web App",
        "Removed key",
    ]
    assert found["byKey"][4]["apiKeyId"] is None


async def test_charts_have_a_line_for_the_eight_dearest_and_the_tables_for_all(ledger: Books) -> None:
    mine = await ledger.account("mine")
    for number in range(12):
        await ledger.use(
            mine, asked(1000 * (number + 1)), model=f"m{number:02}", key=await ledger.key(mine, f"k{number}")
        )
    found = await report(analysed(ledger, StoppedClock()), mine, lookback="2d")
    assert found["topModels"] == [f"m{number:02}" for number in range(11, 3, -1)]
    assert found["topKeyNames"] == [f"k{number}" for number in range(11, 3, -1)]
    assert len(found["byModel"]) == len(found["byKey"]) == 12
    assert [set(row) - {"date"} for row in found["byModelDaily"]] == [set(found["topModels"])] * 2


async def test_analytics_are_kept_ten_minutes_for_their_account_and_days_alone(ledger: Books) -> None:
    mine, other = await ledger.account("mine"), await ledger.account("other")
    await ledger.use(mine, asked(1_000_000))
    clock = StoppedClock()
    analytics = analysed(ledger, clock)

    async def today(account: str, **query: Any) -> Decimal:
        return (await report(analytics, account, **query))["byDate"][0]["USD"]

    assert await today(mine) == Decimal("0.05")
    await ledger.use(mine, asked(1_000_000))
    clock.forward(599)
    assert await today(mine) == Decimal("0.05")
    assert await today(mine, lookback="6d") == Decimal("0.1")
    assert await today(other) == 0
    clock.forward(1)
    assert await today(mine) == Decimal("0.1")
    clock.forward(86_400)
    assert await today(mine) == 0


async def test_what_is_kept_has_a_bound_however_many_ask(
    ledger: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analytics_module, "MOST_KEPT", 5)
    reads = Counting(ledger.database)
    analytics = Analytics(reads, StoppedClock(), Catalogue().find)
    for days in (*range(1, 8), 7, 3, 2):
        await report(analytics, "mine", lookback=f"{days}d")
    assert reads.count == 8
    monkeypatch.setattr(analytics_module, "MOST_KEPT_BYTES", 100)
    for _ in range(2):
        await report(analytics, "mine", lookback="9d")
    assert reads.count == 10


class Counting(Store):
    """A store that counts reads, and may be slow."""

    def __init__(self, behind: Store) -> None:
        self._behind = behind
        self.count = 0
        self.gate: asyncio.Event | None = None

    async def read(self, work: Callable[[Connection], T]) -> T:
        self.count += 1
        if self.gate is not None:
            await self.gate.wait()
        return await self._behind.read(work)


async def test_sums_that_take_too_long_are_504_and_there_for_the_next_who_asks(ledger: Books) -> None:
    mine = await ledger.account("mine")
    slow = Counting(ledger.database)
    slow.gate = asyncio.Event()
    analytics = Analytics(slow, StoppedClock(), Catalogue().find, timeout_seconds=0)
    for _ in range(2):
        with pytest.raises(RequestTimeout):
            await report(analytics, mine)
    slow.gate.set()
    deadline = time.monotonic() + 5
    while True:
        try:
            assert len((await report(analytics, mine))["byDate"]) == 7
            break
        except RequestTimeout:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
    assert slow.count == 1


async def test_many_who_ask_for_the_same_at_once_share_one_reading(ledger: Books) -> None:
    mine = await ledger.account("mine")
    store_behind = Counting(ledger.database)
    analytics = Analytics(store_behind, StoppedClock(), Catalogue().find)
    found = await asyncio.gather(*(analytics.report(mine, AnalyticsQuery()) for _ in range(50)))
    assert len(set(found)) == 1
    assert store_behind.count == 1


async def test_keys_show_their_last_seven_days_and_their_running_period(ledger: Books) -> None:
    mine, other = await ledger.account("mine"), await ledger.account("other")
    key, unused, theirs = (
        await ledger.key(mine, "used"),
        await ledger.key(mine, "unused"),
        await ledger.key(other, "x"),
    )
    for ago in (0, 6, 7, 9, 10, 400):
        await ledger.use(mine, asked(1_000_000), key=key, at=NOON - timedelta(days=ago))
    await ledger.use(mine, asked(2_000_000), key=key, currency="DIEM")
    await ledger.use(mine, asked(4_000_000), key=key, currency="BUNDLED_CREDITS")
    await ledger.use(other, asked(1_000_000), key=theirs)
    usage = KeyUsage(ledger.database, StoppedClock())

    def spent(usd: int, diem: int = 0) -> Spent:
        return Spent(NanoUsd(usd * 50_000_000), NanoUsd(diem * 50_000_000))

    assert await usage.trailing([key, unused, theirs]) == {
        key: spent(6, 2),
        unused: spent(0),
        theirs: spent(1),
    }
    for period, expected in (("EPOCH", 5), ("MONTH", 8), ("LIFETIME", 10)):
        assert await usage.in_period({key: period}) == {key: spent(expected, 2)}
    both = await usage.in_period({key: "MONTH", theirs: "EPOCH"})
    assert both == {key: spent(8, 2), theirs: spent(1)}
    assert await usage.trailing([]) == {}
    assert await usage.in_period({}) == {}
    many = await usage.trailing([key, *(f"{number:036}" for number in range(1200))])
    assert (len(many), many[key]) == (1201, spent(6, 2))


async def test_every_report_goes_by_an_index_and_new_rows_are_counted_by_number(ledger: Books) -> None:
    """Asked of SQLite itself, for the statements as they are sent."""
    mine = await ledger.account("mine")
    await ledger.use(mine, asked(1), asked(2))
    of = Selection(mine, "USD", 0, 10**13)

    def steps(connection: Connection, work: Callable[[], object]) -> list[str]:
        sent: list[str] = []
        raw: Any = connection.connection.driver_connection
        raw.set_trace_callback(sent.append)
        work()
        raw.set_trace_callback(None)
        assert sent
        return [row[3] for text in sent for row in raw.execute(f"EXPLAIN QUERY PLAN {text}")]

    def look(connection: Connection) -> None:
        for work in (
            lambda: store.count(connection, of),
            lambda: store.page(connection, of, first=3, size=5, total=20, newest_first=True),
            lambda: store.page(connection, of, first=13, size=5, total=20, newest_first=True),
            lambda: store.following(connection, of, (5, 6), 11),
            lambda: store.by_day(connection, mine, 1, 9),
            lambda: store.by_model(connection, mine, 1, 9),
            lambda: list(store.by_key(connection, mine, 1, 9)),
            lambda: store.by_model_and_day(connection, mine, 1, 9, ["a", "b"]),
            lambda: store.by_key_and_day(connection, mine, 1, 9, ["a", "b"]),
            lambda: store.spent_since(connection, ["a", "b"], 3),
            lambda: store.spent_since(connection, ["a", "b"], None),
        ):
            assert [step for step in steps(connection, work) if step.startswith("SCAN")] == []
        added = steps(connection, lambda: store.count(connection, of, store.Counted(1, 1)))
        assert any("INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in step for step in added), added

    await ledger.database.read(look)


@pytest.mark.long
async def test_a_page_of_a_million_rows_takes_milliseconds(ledger: Books) -> None:
    mine = await ledger.account("mine")
    row = used_row(mine, asked(412), request_id="chatcmpl-" + "0" * 32, key_id="0" * 36, model_id="qwen3-4b")
    columns = [name for name in row if name != "at"]
    text = f"INSERT INTO transfers (at, {', '.join(columns)}) VALUES ({', '.join('?' * (len(columns) + 1))})"
    begin = int(NOON.timestamp() * 1000)

    def fill(connection: Connection) -> None:
        raw: Any = connection.connection.driver_connection
        rest = [row[name] for name in columns]
        raw.executemany(text, ((begin + number * 3, *rest) for number in range(1_000_000)))

    await ledger.database.write(fill)
    usage = UsagePages(ledger.database, StoppedClock())
    history = History(ledger.database, StoppedClock(), SECRET)
    started = time.perf_counter()
    first = await usage.page(mine, UsageQuery())
    anew = time.perf_counter() - started
    assert first.pagination.total == 1_000_000
    taken: dict[str, float] = {}
    for number in (1, 2, 100, 2500, 4999, 5000):
        taken[f"page {number}"] = await best(lambda number=number: usage.page(mine, UsageQuery(page=number)))
    walk = HistoryQuery(start_timestamp="2026-03-10T12:30:00Z")
    taken["walk"] = await best(lambda: history.begin(mine, walk))
    figures = {name: f"{seconds * 1000:.1f} ms" for name, seconds in {"counted anew": anew, **taken}.items()}
    sys.stdout.write(f"\nof 1,000,000 transfers: {figures}\n")
    assert all(seconds <= 0.05 for seconds in taken.values()), figures


async def best(work: Callable[[], Any]) -> float:
    times: list[float] = []
    for _ in range(5):
        started = time.perf_counter()
        await work()
        times.append(time.perf_counter() - started)
    return min(times)
