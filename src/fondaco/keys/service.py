"""API keys: who is calling, and making, listing and ending the keys that say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import Connection

from fondaco import ids
from fondaco.accounts.service import AccountService
from fondaco.clock import Clock
from fondaco.errors import AccessDisabled, AuthenticationFailed, InvalidRequest, KeyNotFound
from fondaco.keys import store
from fondaco.keys.cache import KeyCache, Known
from fondaco.keys.caller import Caller, ModelPrivacy, Period, SpendLimits
from fondaco.keys.store import KeyRecord
from fondaco.keys.tokens import Kind, digester, mint
from fondaco.keys.uses import Uses
from fondaco.money import NanoUsd
from fondaco.store.interface import Store

__all__ = [
    "Caller",
    "FirstKeys",
    "KeyChange",
    "KeyRecord",
    "KeyService",
    "Kind",
    "NewKey",
    "SeveralKeys",
]

DESCRIPTION_LENGTH = 64
MOST_KEYS = 500
"""Keys of one account that are neither revoked nor expired."""

NO_LIMITS = SpendLimits("EPOCH")

OnLimits = Callable[[Connection, str, SpendLimits | None], None]
"""Told of a key's new limits within the transaction that changes them."""


class NewKey(KeyRecord, frozen=True, kw_only=True):
    """A key just made. `token` is shown to its owner now or never."""

    token: str

    def __repr__(self) -> str:
        return f"NewKey(id={self.id!r})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("id", self.id)]


class KeyChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be different about a key. UNSET stays as it is; None takes an expiry or a limit away."""

    description: str | UnsetType = UNSET
    expires_at: datetime | UnsetType | None = UNSET
    model_privacy: ModelPrivacy | UnsetType = UNSET
    limit_usd: NanoUsd | UnsetType | None = UNSET
    limit_diem: NanoUsd | UnsetType | None = UNSET
    limit_vcu: NanoUsd | UnsetType | None = UNSET
    limit_period: Period | UnsetType = UNSET


class FirstKeys(msgspec.Struct, frozen=True):
    admin: NewKey
    inference: NewKey


class SeveralKeys(InvalidRequest):
    """Several keys end in the same six characters."""

    default = "Several keys end in these characters: name one by its id"


class KeyService:
    """Knows callers by their keys. One a process; `close` it before its database."""

    def __init__(
        self,
        database: Store,
        secret: bytes,
        clock: Clock,
        accounts: AccountService | None = None,
        on_limits: OnLimits | None = None,
    ) -> None:
        self._on_limits = on_limits
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
        """The caller.

        Raises AuthenticationFailed for a key that is unknown, expired or revoked, and AccessDisabled for a good one
        whose account is suspended.
        """
        key_hash = self._digest(token)
        if caller := self._cache.recall(key_hash):
            return caller
        if refusal := self._cache.refusal(key_hash):
            raise refusal
        generation = self._cache.generation
        found = await self._database.read(lambda connection: store.by_hash(connection, key_hash))
        now = self._clock.now()
        if found is None or not _is_usable(found[0], now):
            self._cache.refuse(key_hash, AuthenticationFailed, generation)
            raise AuthenticationFailed
        record, suspended = found
        if suspended:
            self._cache.refuse(key_hash, AccessDisabled, generation)
            raise AccessDisabled
        caller = Caller(
            key_id=record.id,
            account_id=record.account_id,
            kind=record.kind,
            model_privacy=record.model_privacy,
            limits=record.limits,
            expires_at=record.expires_at,
        )
        self._cache.keep(key_hash, Known(caller, record.expires_at), generation)
        self._uses.noted[caller.key_id] = now
        self._uses.keep_writing()
        return caller

    async def create(
        self,
        account_id: str,
        kind: Kind,
        description: str,
        expires_at: datetime | None = None,
        *,
        limits: SpendLimits = NO_LIMITS,
        model_privacy: ModelPrivacy = "ALL",
    ) -> NewKey:
        """Make a key.

        Raises InvalidRequest for a description over 64 characters, an expiry that has passed, or one key too many.
        """
        now = self._clock.now()
        _check(description, expires_at, now)
        made = _new(account_id, kind, description, now, mint(kind), expires_at, limits, model_privacy)

        def add(connection: Connection) -> None:
            if store.count_usable(connection, now, account_id) >= MOST_KEYS:
                raise InvalidRequest(message=f"An account can have at most {MOST_KEYS} active API keys")
            self._add(connection, made)

        await self._database.write(add)
        self._cache.forget()
        return made

    async def get_own(self, account_id: str, key_id: str) -> KeyRecord:
        """This account's key. Raises KeyNotFound for one that is another's, has ended or never was."""
        now = self._clock.now()
        found = await self._database.read(
            lambda connection: store.usable_one(connection, now, account_id, key_id)
        )
        if found is None:
            raise KeyNotFound
        return self._uses.on_top(found)

    async def change_own(self, account_id: str, key_id: str, change: KeyChange) -> KeyRecord:
        """Change this account's key; new limits hold from the next request on.

        Raises KeyNotFound for one that is another's, has ended or never was, and InvalidRequest as `create` does.
        """
        now = self._clock.now()
        asked = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}
        _check(asked.get("description", ""), asked.get("expires_at"), now)

        def change_it(connection: Connection) -> KeyRecord:
            found = store.usable_one(connection, now, account_id, key_id)
            if found is None:
                raise KeyNotFound("API key not found or expired")
            changed = msgspec.structs.replace(found, **asked)
            store.replace(connection, changed)
            if self._on_limits is not None and changed.limits != found.limits:
                self._on_limits(connection, key_id, changed.limits)
            return changed

        changed = await self._database.write(change_it)
        self._cache.forget()
        return self._uses.on_top(changed)

    async def revoke_own(self, account_id: str, key_id: str) -> None:
        """End this account's key, be it the one that asks. Raises KeyNotFound as `get_own` does."""
        now = self._clock.now()

        def revoke(connection: Connection) -> None:
            if store.usable_one(connection, now, account_id, key_id) is None:
                raise KeyNotFound("API key could not be found")
            store.set_revoked(connection, key_id, now)

        await self._database.write(revoke)
        self._cache.forget()

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
    limits: SpendLimits = NO_LIMITS,
    model_privacy: ModelPrivacy = "ALL",
) -> NewKey:
    return NewKey(
        id=ids.row_id(),
        account_id=account_id,
        kind=kind,
        description=description,
        last6=token[-6:],
        created_at=now,
        expires_at=expires_at,
        model_privacy=model_privacy,
        limit_usd=limits.usd,
        limit_diem=limits.diem,
        limit_vcu=limits.vcu,
        limit_period=limits.period,
        token=token,
    )


def _check(description: str, expires_at: datetime | None, now: datetime) -> None:
    if len(description) > DESCRIPTION_LENGTH:
        raise InvalidRequest.at(
            "description",
            message=f"String must contain at most {DESCRIPTION_LENGTH} character(s)",
            code="too_big",
        )
    if expires_at is not None and expires_at <= now:
        raise InvalidRequest.at("expiresAt", message="Expiration must be in the future")


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
