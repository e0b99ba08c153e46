"""`fondaco usage`: what an account spent, by day, model and key, or line by line as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fondaco.cli.keyring import Config, DataDir, run
from fondaco.cli.opened import account_named, opened_database
from fondaco.cli.tables import harmless, print_table

if TYPE_CHECKING:
    from pathlib import Path

    from fondaco.billing.reports.summary import Spend, Summary


def usage(
    days: Annotated[int, typer.Option(min=1, max=366, help="So many days (UTC), today included.")] = 7,
    account: Annotated[str, typer.Option(help="Whose usage.", metavar="NAME")] = "default",
    csv: Annotated[
        bool, typer.Option("--csv", help="Print every entry of the ledger, as /billing/usage-history does.")
    ] = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Show what was spent, also while a server runs. Bundled credits count as USD in the tables."""
    if csv:
        run(_print_entries(days, account, data_dir, config), config)
    else:
        _print_tables(run(_summed(days, account, data_dir, config), config))


async def _summed(days: int, account: str, data_dir: Path | None, config: Path | None) -> Summary:
    from fondaco.billing.reports import dates
    from fondaco.billing.reports.summary import summarise
    from fondaco.clock import SystemClock
    from fondaco.models.catalogue import Catalogue

    async with opened_database(data_dir, config) as (database, _):
        owner = await account_named(database, account)
        today = dates.day_now(SystemClock().now())
        known = Catalogue()
        local = {each.model.id: each.model for each in known.local}
        return await database.read(
            lambda connection: summarise(
                connection, owner, today - days + 1, today, lambda name: local.get(name) or known.find(name)
            )
        )


async def _print_entries(days: int, account: str, data_dir: Path | None, config: Path | None) -> None:
    from fondaco.billing.reports import csv_export, dates
    from fondaco.billing.reports.history import everything
    from fondaco.billing.reports.wire import entry
    from fondaco.clock import SystemClock

    async with opened_database(data_dir, config) as (database, _):
        owner = await account_named(database, account)
        today = dates.day_now(SystemClock().now())
        typer.echo(csv_export.HEADER.encode(), nl=False)
        since, until = (today - days + 1) * dates.DAY_MS, (today + 1) * dates.DAY_MS
        async for page in everything(database, owner, since, until):
            lines = "".join(csv_export.line(entry(transfer)) for transfer in page)
            typer.echo(lines.encode(), nl=False)


def _print_tables(found: Summary) -> None:
    from fondaco.billing.reports import dates

    spent = [(day, spend) for day, spend in found.days.items() if spend.total]
    if not found.models:
        first, last = dates.day_text(found.first), dates.day_text(found.last)
        typer.echo(f"Nothing was used from {first} to {last}.", err=True)
        return
    days = [_line(dates.day_text(day), spend=spend) for day, spend in spent]
    usd, diem = sum(spend.usd for _, spend in spent), sum(spend.diem for _, spend in spent)
    print_table([("DAY", "USD", "DIEM"), *days, ("all", _figure(usd), _figure(diem))], figures=2)
    models = [
        _line(harmless(use.model_id), use.unit, _figure(use.units), spend=use.spend) for use in found.models
    ]
    typer.echo()
    print_table([("MODEL", "COUNTED IN", "UNITS", "USD", "DIEM"), *models], figures=3)
    keys = [_line(use.key_id or "-", harmless(use.description), spend=use.spend) for use in found.keys]
    typer.echo()
    print_table([("KEY", "DESCRIPTION", "USD", "DIEM"), *keys], figures=2)


def _line(*words: str, spend: Spend) -> tuple[str, ...]:
    return (*words, _figure(spend.usd), _figure(spend.diem))


def _figure(billionths: int) -> str:
    from fondaco import money

    return money.to_json(billionths).decode()
