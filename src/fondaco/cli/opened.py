"""The server's database opened for one command, also while a server runs on it; none is made."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fondaco.cli.keyring import fail
from fondaco.cli.tables import harmless

if TYPE_CHECKING:
    from fondaco.settings import Settings
    from fondaco.store.interface import Store


@asynccontextmanager
async def opened_database(
    data_dir: Path | None, config: Path | None
) -> AsyncGenerator[tuple[Store, Settings], None]:
    """Raises StoreError where there is none."""
    from fondaco import settings
    from fondaco.store.sqlite import Database

    loaded = settings.load(config, {"server": {"data_dir": data_dir}})
    database = Database(loaded.server.data_dir, create=False)
    await database.open()
    try:
        yield database, loaded
    finally:
        await database.close()


async def account_named(database: Store, name: str) -> str:
    """The account's id; ends the command where there is none."""
    from fondaco.accounts.service import AccountService
    from fondaco.clock import SystemClock

    found = await AccountService(database, SystemClock()).find(name)
    if found is None:
        fail(
            f"There is no account {harmless(name)}. `fondaco accounts list` shows those that there are.",
            status=1,
        )
    return found.id
