"""Accounts: made by name, suspended and resumed."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from fondaco import ids
from fondaco.accounts import store
from fondaco.accounts.store import Account
from fondaco.clock import Clock
from fondaco.store.interface import Store

__all__ = ["DEFAULT_ACCOUNT", "Account", "AccountNotFound", "AccountService"]

DEFAULT_ACCOUNT = "default"
"""Owner of the keys that are made without naming an account."""


class AccountNotFound(LookupError):
    """No account has that id."""


class AccountService:
    def __init__(self, database: Store, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._callbacks: list[Callable[[], None]] = []

    async def ensure(self, name: str = DEFAULT_ACCOUNT) -> Account:
        """The account of that name, made if it is not there. Several processes may ask at once."""
        if found := await self._database.read(lambda connection: store.by_name(connection, name)):
            return found
        made = Account(id=ids.row_id(), name=name, created_at=self._clock.now(), suspended=False)

        def make(connection: Connection) -> Account:
            if other := store.by_name(connection, name):
                return other
            store.add(connection, made)
            return made

        return await self._database.write(make)

    async def find(self, name: str) -> Account | None:
        return await self._database.read(lambda connection: store.by_name(connection, name))

    async def get(self, account_id: str) -> Account:
        """Raises AccountNotFound."""
        found = await self._database.read(lambda connection: store.by_id(connection, account_id))
        if found is None:
            raise AccountNotFound
        return found

    async def suspend(self, account_id: str) -> None:
        """From now on its keys are refused. Raises AccountNotFound."""
        await self._set_suspended(account_id, True)

    async def resume(self, account_id: str) -> None:
        """Its keys are good again. Raises AccountNotFound."""
        await self._set_suspended(account_id, False)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` when this process has changed what an account may do."""
        self._callbacks.append(callback)

    async def _set_suspended(self, account_id: str, suspended: bool) -> None:
        found = await self._database.write(
            lambda connection: store.set_suspended(connection, account_id, suspended)
        )
        if not found:
            raise AccountNotFound
        for callback in self._callbacks:
            callback()
