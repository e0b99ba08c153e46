"""`fondaco keys`: make, list and revoke API keys, also while a server runs on the same data directory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from fondaco.accounts.service import AccountService
    from fondaco.keys.service import KeyRecord, KeyService

T = TypeVar("T")

app = typer.Typer(
    name="keys", help="Make, list and revoke API keys.", no_args_is_help=True, add_completion=False
)

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where the server's database lives.", metavar="DIR")
]
Config = Annotated[
    Path | None, typer.Option("--config", help="Read this file instead of ./fondaco.toml.", metavar="FILE")
]

_HEADINGS = ("ID", "KIND", "LAST6", "CREATED", "EXPIRES", "LAST USED", "DESCRIPTION")


@app.command()
def create(
    admin: Annotated[bool, typer.Option("--admin", help="A key that may also manage keys.")] = False,
    description: Annotated[
        str, typer.Option(help="What the key is for, in 64 characters.")
    ] = "Made on the command line",
    expires: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="The key ends at 00:00 UTC of this day.", metavar="YYYY-MM-DD"
        ),
    ] = None,
    account: Annotated[
        str, typer.Option(help="Whose key it is; made if it is not there.", metavar="NAME")
    ] = "default",
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Make a key and print it, this once: the key alone goes to standard output."""
    if not 0 < len(account) <= 64:
        _fail("An account's name has 1 to 64 characters.", status=2)
    kind = "ADMIN" if admin else "INFERENCE"
    end = None if expires is None else expires.replace(tzinfo=UTC)

    async def make() -> str:
        async with _opened(data_dir, config, make=True) as (keys, accounts):
            owner = await accounts.find(account)
            if owner is None:
                owner = await accounts.ensure(account)
                typer.echo(f"Made the account {account}.", err=True)
            made = await keys.create(owner.id, kind, description, end)
            typer.echo(f"Made the {kind} key {made.id}. It is not kept and cannot be shown again.", err=True)
            return made.token

    typer.echo(_run(make(), config))


@app.command("list")
def list_keys(data_dir: DataDir = None, config: Config = None) -> None:
    """Show the keys that are neither revoked nor expired, newest first."""

    async def rows() -> Sequence[KeyRecord]:
        async with _opened(data_dir, config) as (keys, _):
            return await keys.list()

    found = _run(rows(), config)
    if not found:
        typer.echo("There are no keys. `fondaco keys create` makes one.", err=True)
        return
    _print_table([_HEADINGS, *map(_row, found)])


# A key may end in `-x9_Qa`, which must not be taken for an option.
@app.command(context_settings={"ignore_unknown_options": True})
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID|LAST6", help="The key's id, or its last six characters.")],
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """End a key. Running servers refuse it within a tenth of a second."""

    async def end() -> KeyRecord:
        async with _opened(data_dir, config) as (keys, _):
            return await keys.revoke(key)

    ended = _run(end(), config)
    typer.echo(f"Revoked the {ended.kind} key {ended.id} that ends in {ended.last6}.", err=True)


@asynccontextmanager
async def _opened(
    data_dir: Path | None, config: Path | None, *, make: bool = False
) -> AsyncGenerator[tuple[KeyService, AccountService], None]:
    from fondaco import settings
    from fondaco.accounts.service import AccountService
    from fondaco.clock import SystemClock
    from fondaco.keys.secret import server_secret
    from fondaco.keys.service import KeyService
    from fondaco.store.sqlite import Database

    folder = settings.load(config, {"server": {"data_dir": data_dir}}).server.data_dir
    database = Database(folder, create=make)
    await database.open()
    try:
        clock = SystemClock()
        accounts = AccountService(database, clock)
        keys = KeyService(database, server_secret(folder), clock, accounts)
        yield keys, accounts
        await keys.close()
    finally:
        await database.close()


def _run(work: Coroutine[Any, Any, T], config: Path | None) -> T:
    """Run `work`; what is wrong is said in one line, without a traceback."""
    import asyncio

    from fondaco.errors import InvalidRequest, KeyNotFound
    from fondaco.keys.secret import SecretDamaged
    from fondaco.settings_origin import explain
    from fondaco.store.errors import StoreError

    try:
        return asyncio.run(work)
    except KeyNotFound:
        _fail("There is no such key. `fondaco keys list` shows those that there are.", status=1)
    except InvalidRequest as error:
        _fail("; ".join(issue.message for issue in error.issues) or error.message, status=2)
    except (StoreError, SecretDamaged) as error:
        _fail(str(error), status=1)
    except Exception as error:
        faults = explain(error, config)
        if faults:
            _fail("; ".join(faults), status=2)
        if isinstance(error, OSError):
            _fail(f"{error.filename or 'The data directory'}: {error.strerror}", status=1)
        raise


def _fail(message: str, status: int) -> NoReturn:
    typer.echo(f"fondaco: {message}", err=True)
    raise typer.Exit(status)


def _row(key: KeyRecord) -> tuple[str, ...]:
    # A description is anybody's text: control characters in it must not reach the terminal.
    description = "".join(letter if letter.isprintable() else "�" for letter in key.description)
    return (
        key.id,
        key.kind,
        key.last6,
        _day(key.created_at),
        _day(key.expires_at),
        _minute(key.last_used_at),
        description,
    )


def _day(time: datetime | None) -> str:
    return "-" if time is None else f"{time:%Y-%m-%d}"


def _minute(time: datetime | None) -> str:
    return "never" if time is None else f"{time:%Y-%m-%d %H:%M}Z"


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
