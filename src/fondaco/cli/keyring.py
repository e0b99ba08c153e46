"""Keys and accounts opened for one command, also while a server runs on them; what is wrong is told in a line."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from fondaco.accounts.service import AccountService
    from fondaco.keys.service import KeyService

T = TypeVar("T")

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where the server's database lives.", metavar="DIR")
]
Config = Annotated[
    Path | None, typer.Option("--config", help="Read this file instead of ./fondaco.toml.", metavar="FILE")
]


class Opened(NamedTuple):
    keys: KeyService
    accounts: AccountService


@asynccontextmanager
async def opened(
    data_dir: Path | None, config: Path | None, *, make: bool = False
) -> AsyncGenerator[Opened, None]:
    """Keys and accounts of the server's database, which is made if it is not there and `make` says so."""
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
        yield Opened(keys, accounts)
        await keys.close()
    finally:
        await database.close()


def run(work: Coroutine[Any, Any, T], config: Path | None) -> T:
    """Run `work`; what is wrong is said in one line, without a traceback."""
    import asyncio

    from fondaco.accounts.service import AccountExists
    from fondaco.errors import InvalidRequest, KeyNotFound
    from fondaco.keys.secret import SecretDamaged
    from fondaco.settings_origin import explain
    from fondaco.store.errors import StoreError

    try:
        return asyncio.run(work)
    except KeyNotFound:
        fail("There is no such key. `fondaco keys list` shows those that there are.", status=1)
    except AccountExists:
        fail("There is an account of that name already.", status=1)
    except InvalidRequest as error:
        fail("; ".join(issue.message for issue in error.issues) or error.message, status=2)
    except (StoreError, SecretDamaged) as error:
        fail(str(error), status=1)
    except Exception as error:
        faults = explain(error, config)
        if faults:
            fail("; ".join(faults), status=2)
        if isinstance(error, OSError):
            fail(f"{error.filename or 'The data directory'}: {error.strerror}", status=1)
        raise


def fail(message: str, status: int) -> NoReturn:
    typer.echo(f"fondaco: {message}", err=True)
    raise typer.Exit(status)
