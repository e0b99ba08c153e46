"""`fondaco accounts`: make, list, suspend and resume accounts, also while a server runs on the same data directory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from fondaco.cli.keyring import Config, DataDir, fail, opened, run
from fondaco.cli.tables import day, harmless, print_table

if TYPE_CHECKING:
    from fondaco.accounts.service import Account

app = typer.Typer(
    name="accounts",
    help="Make, list, suspend and resume accounts.",
    no_args_is_help=True,
    add_completion=False,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The account's name, in 64 characters.")]


@app.command()
def create(name: Name, data_dir: DataDir = None, config: Config = None) -> None:
    """Make an account and print its id. It has no keys yet: `fondaco keys create --account NAME` makes one."""

    async def make() -> Account:
        async with opened(data_dir, config, make=True) as (_, accounts):
            return await accounts.create(name)

    typer.echo(run(make(), config).id)


@app.command("list")
def list_accounts(data_dir: DataDir = None, config: Config = None) -> None:
    """Show all accounts, oldest first."""

    async def rows() -> Sequence[Account]:
        async with opened(data_dir, config) as (_, accounts):
            return await accounts.list()

    print_table([("ID", "NAME", "CREATED", "STATE"), *map(_row, run(rows(), config))])


@app.command()
def suspend(name: Name, data_dir: DataDir = None, config: Config = None) -> None:
    """Refuse all keys of an account. Running servers do so within a tenth of a second."""
    run(_set_suspended(name, True, data_dir, config), config)
    typer.echo(f"Suspended the account {harmless(name)}.", err=True)


@app.command()
def resume(name: Name, data_dir: DataDir = None, config: Config = None) -> None:
    """Let an account's keys in again."""
    run(_set_suspended(name, False, data_dir, config), config)
    typer.echo(f"Resumed the account {harmless(name)}.", err=True)


async def _set_suspended(name: str, suspended: bool, data_dir: DataDir, config: Config) -> None:
    async with opened(data_dir, config) as (_, accounts):
        found = await accounts.find(name)
        if found is None:
            fail("There is no such account. `fondaco accounts list` shows those that there are.", status=1)
        if suspended:
            await accounts.suspend(found.id)
        else:
            await accounts.resume(found.id)


def _row(account: Account) -> tuple[str, ...]:
    state = "suspended" if account.suspended else "active"
    return account.id, harmless(account.name), day(account.created_at), state
