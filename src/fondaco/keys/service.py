"""API keys: who is calling, and making, listing and ending the keys that say so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection

from fondaco import ids
from fondaco.accounts.service import AccountService
from fondaco.clock import Clock
from fondaco.errors import AuthenticationFailed, InvalidRequest, KeyNotFound
from fondaco.keys import store
from fondaco.keys.cache import KeyCache, Known
from fondaco.keys.caller import Caller
from fondaco.keys.store import KeyRecord
from fondaco.keys.tokens import Kind, digester, mint
from fondaco.keys.uses import Uses
from fondaco.store.interface import Store

__all__ = ["Caller", "FirstKeys", "KeyRecord", "KeyService", "Kind", "NewKey", "SeveralKeys"]

DESCRIPTION_LENGTH = 64


class NewKey(KeyRecord, frozen=True, kw_only=True):
    """A key just made. `token` is shown to its owner now or never."""

    token: str

    def __repr__(self) -> str:
        return f"NewKey(id={self.id!r})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("id", self.id)]


class FirstKeys(msgspec.Struct, frozen=True):
    admin: NewKey
    inference: NewKey


class SeveralKeys(InvalidRequest):
    """Several keys end in the same six characters."""

    default = "Several keys end in these characters: name one by its id"


class KeyService:
    """Knows callers by their keys. One a process; `close` it before its database."""

    def __init__(
        self, database: Store, secret: bytes, clock: Clock, accounts: AccountService | None = None
    ) -> None:
        self._database = database
        self._digest = digester(secret)
        self._clock = clock
        self._accounts = accounts or AccountService(database, clock)
        self._uses = Uses(database)
        self._cache = KeyCache(clock, self._uses.noted)
        database.on_foreign_change(self._cache.forget)
        self._accounts.on_change(self._cache.forget)

    def recall(self, token: bytes) -> Caller | None:
        """The caller if this process has checked the key lately; None says nothing yet: `authenticate` it."""
        return self._cache.recall(self._digest(token))

    async def authenticate(self, token: bytes) -> Caller:
        """The caller. Raises AuthenticationFailed for a key that is unknown, expired, revoked or suspended."""
        key_hash = self._digest(token)
        if caller := self._cache.recall(key_hash):
            return caller
        if self._cache.is_refused(key_hash):
            raise AuthenticationFailed
        generation = self._cache.generation
        found = await self._database.read(lambda connection: store.by_hash(connection, key_hash))
        now = self._clock.now()
        if found is None or found[1] or not _is_usable(found[0], now):
            self._cache.refuse(key_hash, generation)
            raise AuthenticationFailed
        record = found[0]
        caller = Caller(
            key_id=record.id,
            account_id=record.account_id,
            kind=record.kind,
            model_privacy=record.model_privacy,
        )
        self._cache.keep(key_hash, Known(caller, record.expires_at), generation)
        self._uses.noted[caller.key_id] = now
        self._uses.keep_writing()
        return caller

    async def create(
        self, account_id: str, kind: Kind, description: str, expires_at: datetime | None = None
    ) -> NewKey:
        """Make a key. Raises InvalidRequest for a description over 64 characters or an expiry that has passed."""
        now = self._clock.now()
        if len(description) > DESCRIPTION_LENGTH:
            raise InvalidRequest.at(
                "description",
                message=f"String must contain at most {DESCRIPTION_LENGTH} character(s)",
                code="too_big",
            )
        if expires_at is not None and expires_at <= now:
            raise InvalidRequest.at("expiresAt", message="Expiration must be in the future")
        made = _new(account_id, kind, description, now, mint(kind), expires_at)
        await self._database.write(lambda connection: self._add(connection, made))
        self._cache.forget()
        return made

    async def list(self, account_id: str | None = None) -> Sequence[KeyRecord]:
        """Keys that are neither revoked nor expired, newest first, of one account or of all."""
        now = self._clock.now()
        records = await self._database.read(lambda connection: store.usable(connection, now, account_id))
        return [self._uses.on_top(record) for record in records]

    async def get(self, key_id: str) -> KeyRecord:
        """Any key, also one that has ended. Raises KeyNotFound."""
        found = await self._database.read(lambda connection: store.by_id(connection, key_id))
        if found is None:
            raise KeyNotFound
        return self._uses.on_top(found)

    async def revoke(self, which: str) -> KeyRecord:
        """End the key with this id, these last six characters or this text; no request gets in with it after this.

        Revoking by id or text what is revoked already changes nothing. Raises KeyNotFound, or SeveralKeys.
        """
        which = which.encode(errors="replace").decode()
        key_hash = self._digest(which.encode())
        now = self._clock.now()

        def revoke(connection: Connection) -> KeyRecord:
            record = _named(connection, which, key_hash)
            store.set_revoked(connection, record.id, now)
            return store.by_id(connection, record.id) or record

        revoked = await self._database.write(revoke)
        self._cache.forget()
        return revoked

    async def ensure_first(self, admin_key: str | None) -> FirstKeys | None:
        """See that somebody can get in.

        Where no key was ever made, make an ADMIN and an INFERENCE key and return them. With `admin_key` that text
        is an admin key from now on, none is made up, and nothing is returned; one that was revoked stays so.
        Raises InvalidRequest if it is an inference key here. Several processes may ask at once.
        """
        account = await self._accounts.ensure()
        now = self._clock.now()
        if admin_key is not None:
            given = _new(account.id, "ADMIN", "Set by FONDACO_ADMIN_KEY", now, admin_key)
            await self._database.write(lambda connection: self._add_given(connection, given))
            self._cache.forget()
            return None
        admin = _new(account.id, "ADMIN", "First admin key", now, mint("ADMIN"))
        inference = _new(account.id, "INFERENCE", "First inference key", now, mint("INFERENCE"))

        def add_first(connection: Connection) -> FirstKeys | None:
            if store.any_at_all(connection):
                return None
            self._add(connection, admin)
            self._add(connection, inference)
            return FirstKeys(admin=admin, inference=inference)

        return await self._database.write(add_first)

    async def close(self) -> None:
        """Write down the last uses."""
        await self._uses.close()

    def _add(self, connection: Connection, key: NewKey) -> None:
        store.add(connection, key, self._digest(key.token.encode()))

    def _add_given(self, connection: Connection, given: NewKey) -> None:
        found = store.by_hash(connection, self._digest(given.token.encode()))
        if found is None:
            self._add(connection, given)
        elif found[0].kind != "ADMIN":
            raise InvalidRequest(message="The admin key that was set is an inference key here")


def _new(
    account_id: str,
    kind: Kind,
    description: str,
    now: datetime,
    token: str,
    expires_at: datetime | None = None,
) -> NewKey:
    return NewKey(
        id=ids.row_id(),
        account_id=account_id,
        kind=kind,
        description=description,
        last6=token[-6:],
        created_at=now,
        expires_at=expires_at,
        token=token,
    )


def _named(connection: Connection, which: str, key_hash: bytes) -> KeyRecord:
    if record := store.by_id(connection, which):
        return record
    if found := store.by_hash(connection, key_hash):
        return found[0]
    ending = store.by_last6(connection, which)
    if len(ending) > 1:
        raise SeveralKeys
    if not ending:
        raise KeyNotFound
    return ending[0]


def _is_usable(record: KeyRecord, now: datetime) -> bool:
    return record.revoked_at is None and (record.expires_at is None or now < record.expires_at)
