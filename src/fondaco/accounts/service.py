"""Accounts: made by name, listed, suspended and resumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from fondaco import ids
from fondaco.accounts import store
from fondaco.accounts.store import Account
from fondaco.clock import Clock
from fondaco.errors import InvalidRequest
from fondaco.store.interface import Store

__all__ = ["DEFAULT_ACCOUNT", "Account", "AccountExists", "AccountNotFound", "AccountService"]

DEFAULT_ACCOUNT = "default"
"""Owner of the keys that are made without naming an account."""


NAME_LENGTH = 64


class AccountNotFound(LookupError):
    """No account has that id."""


class AccountExists(Exception):
    """An account of that name is there already."""


class AccountService:
    def __init__(self, database: Store, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._callbacks: list[Callable[[], None]] = []

    async def ensure(self, name: str = DEFAULT_ACCOUNT) -> Account:
        """The account of that name, made if it is not there. Several processes may ask at once.

        Raises InvalidRequest for what cannot be a name.
        """
        if found := await self._database.read(lambda connection: store.by_name(connection, name)):
            return found
        try:
            return await self.create(name)
        except AccountExists:
            found = await self.find(name)
            assert found is not None, "accounts are never removed"
            return found

    async def create(self, name: str) -> Account:
        """Make an account. Raises AccountExists, and InvalidRequest for what cannot be a name."""
        if not 0 < len(name) <= NAME_LENGTH or not name.isprintable() or name != name.strip():
            raise InvalidRequest.at(
                "name", message=f"An account's name has 1 to {NAME_LENGTH} printable characters"
            )
        made = Account(id=ids.row_id(), name=name, created_at=self._clock.now(), suspended=False)

        def make(connection: Connection) -> None:
            if store.by_name(connection, name) is not None:
                raise AccountExists
            store.add(connection, made)

        await self._database.write(make)
        return made

    async def list(self) -> Sequence[Account]:
        """All of them, oldest first."""
        return await self._database.read(store.everyone)

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
