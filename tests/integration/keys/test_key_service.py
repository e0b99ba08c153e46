"""Keys over a real database file."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from fondaco.accounts.service import AccountNotFound, AccountService
from fondaco.errors import AccessDisabled, AuthenticationFailed, InvalidRequest, KeyNotFound
from fondaco.keys.secret import server_secret
from fondaco.keys.service import KeyService, SeveralKeys
from fondaco.keys.uses import Uses
from fondaco.store.schema import api_keys
from fondaco.store.sqlite import Database

pytestmark = pytest.mark.anyio


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.passed)

    def unix(self) -> int:
        return int(self.now().timestamp())

    def monotonic(self) -> float:
        return self.passed


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "data")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def accounts(database: Database, clock: HandClock) -> AccountService:
    return AccountService(database, clock)


@pytest.fixture
async def keys(
    database: Database, tmp_path: Path, clock: HandClock, accounts: AccountService
) -> AsyncIterator[KeyService]:
    keys = KeyService(database, server_secret(tmp_path / "data"), clock, accounts)
    yield keys
    await keys.close()


@pytest.fixture
async def owner(accounts: AccountService) -> str:
    return (await accounts.ensure()).id


async def is_good(keys: KeyService, token: str) -> bool:
    try:
        await keys.authenticate(token.encode())
    except (AuthenticationFailed, AccessDisabled):
        assert keys.recall(token.encode()) is None
        return False
    assert keys.recall(token.encode()) is not None
    return True


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits up to a second for it to hold."""
    for _ in range(100):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within a second")


async def test_a_key_says_who_is_calling(keys: KeyService, owner: str) -> None:
    made = await keys.create(owner, "ADMIN", "mine")
    assert keys.recall(made.token.encode()) is None
    caller = await keys.authenticate(made.token.encode())
    assert (caller.key_id, caller.account_id, caller.kind, caller.model_privacy) == (
        made.id,
        owner,
        "ADMIN",
        "ALL",
    )
    assert keys.recall(made.token.encode()) is caller


@pytest.mark.parametrize(
    "token", [b"", b"nonsense", b"\xff\x00", b"VENICE_ADMIN_KEY_" + b"A" * 43, b"x" * 100_000]
)
async def test_any_other_text_is_refused(keys: KeyService, owner: str, token: bytes) -> None:
    made = await keys.create(owner, "ADMIN", "mine")
    for wrong in (token, made.token[:-1].encode(), made.token.encode() + b"\n", made.token.lower().encode()):
        with pytest.raises(AuthenticationFailed):
            await keys.authenticate(wrong)


async def test_an_unknown_key_costs_one_look_at_the_database_a_second(
    keys: KeyService, database: Database, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = database.read

    async def counting(work):  # pyright: ignore
        nonlocal reads
        reads += 1
        return await read(work)  # pyright: ignore

    monkeypatch.setattr(database, "read", counting)
    for _ in range(20):
        assert not await is_good(keys, "wrong")
    assert reads == 1
    clock.passed = 1
    assert not await is_good(keys, "wrong")
    assert reads == 2


async def test_a_key_that_expires_is_refused_from_that_moment(
    keys: KeyService, owner: str, clock: HandClock
) -> None:
    made = await keys.create(owner, "INFERENCE", "short", clock.now() + timedelta(seconds=60))
    assert await is_good(keys, made.token)
    clock.passed = 59.999
    assert await is_good(keys, made.token)
    clock.passed = 60
    assert not await is_good(keys, made.token)
    assert await keys.list() == []
    assert (await keys.get(made.id)).expires_at == made.expires_at


@pytest.mark.parametrize("named_by", ["id", "last6", "token"])
async def test_a_revoked_key_is_refused_at_once(keys: KeyService, owner: str, named_by: str) -> None:
    made, other = await keys.create(owner, "ADMIN", "mine"), await keys.create(owner, "ADMIN", "other")
    assert await is_good(keys, made.token)
    revoked = await keys.revoke(getattr(made, named_by))
    assert revoked.id == made.id
    assert revoked.revoked_at is not None
    assert keys.recall(made.token.encode()) is None
    assert not await is_good(keys, made.token)
    assert await is_good(keys, other.token)
    assert [key.id for key in await keys.list()] == [other.id]


async def test_revoking_again_by_id_keeps_the_first_time(
    keys: KeyService, owner: str, clock: HandClock
) -> None:
    made = await keys.create(owner, "ADMIN", "mine")
    first = await keys.revoke(made.id)
    clock.passed = 100
    assert (await keys.revoke(made.id)).revoked_at == first.revoked_at
    with pytest.raises(KeyNotFound):
        await keys.revoke(made.last6)


async def test_an_ending_that_several_keys_share_ends_none(
    keys: KeyService, owner: str, database: Database
) -> None:
    made = [await keys.create(owner, "ADMIN", "twin") for _ in range(2)]
    await database.write(
        lambda connection: connection.execute(update(api_keys).values(last6="zzzzzz")) and None
    )
    with pytest.raises(SeveralKeys, match="INVALID_REQUEST"):
        await keys.revoke("zzzzzz")
    assert [await is_good(keys, key.token) for key in made] == [True, True]


@pytest.mark.parametrize("name", ["", "zzzzzz", "\ud800", "%", "a" * 100_000])
async def test_revoking_what_is_not_there_says_so(keys: KeyService, owner: str, name: str) -> None:
    await keys.create(owner, "ADMIN", "mine")
    with pytest.raises(KeyNotFound):
        await keys.revoke(name)
    with pytest.raises(KeyNotFound):
        await keys.get("zzzzzz")


async def test_a_revocation_during_a_look_at_the_database_is_not_overlooked(
    keys: KeyService, owner: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await keys.create(owner, "ADMIN", "mine")
    read = database.read

    async def slowly(work):  # pyright: ignore
        found = await read(work)  # pyright: ignore
        monkeypatch.undo()
        await keys.revoke(made.id)
        return found

    monkeypatch.setattr(database, "read", slowly)
    await keys.authenticate(made.token.encode())
    assert keys.recall(made.token.encode()) is None
    assert not await is_good(keys, made.token)


async def test_keys_of_a_suspended_account_are_refused_until_it_is_resumed(
    keys: KeyService, accounts: AccountService, owner: str
) -> None:
    made = await keys.create(owner, "ADMIN", "mine")
    other = await keys.create((await accounts.ensure("other")).id, "ADMIN", "theirs")
    assert await is_good(keys, made.token)
    await accounts.suspend(owner)
    assert not await is_good(keys, made.token)
    assert await is_good(keys, other.token)
    for _ in range(2):
        with pytest.raises(AccessDisabled):
            await keys.authenticate(made.token.encode())
    await keys.revoke(made.id)
    with pytest.raises(AuthenticationFailed):
        await keys.authenticate(made.token.encode())
    made = await keys.create(owner, "ADMIN", "another")
    await accounts.resume(owner)
    assert await is_good(keys, made.token)
    with pytest.raises(AccountNotFound):
        await accounts.suspend("nobody")


async def test_keys_are_listed_newest_first_and_by_account(
    keys: KeyService, accounts: AccountService, owner: str, clock: HandClock
) -> None:
    other = (await accounts.ensure("other")).id
    made = []
    for n, account in enumerate((owner, other, owner)):
        clock.passed = n
        made.append((await keys.create(account, "INFERENCE", f"number {n}")).id)
    assert [key.id for key in await keys.list()] == made[::-1]
    assert [key.id for key in await keys.list(owner)] == [made[2], made[0]]
    assert [key.description for key in await keys.list(other)] == ["number 1"]


@pytest.mark.parametrize(("description", "seconds"), [("x" * 65, None), ("ok", 0), ("ok", -5)])
async def test_a_bad_description_or_expiry_makes_no_key(
    keys: KeyService, owner: str, clock: HandClock, description: str, seconds: float | None
) -> None:
    expires = None if seconds is None else clock.now() + timedelta(seconds=seconds)
    with pytest.raises(InvalidRequest):
        await keys.create(owner, "ADMIN", description, expires)
    assert await keys.list() == []


async def test_the_first_start_makes_one_key_of_each_kind_and_the_second_none(keys: KeyService) -> None:
    first = await keys.ensure_first(None)
    assert first is not None
    assert (await keys.authenticate(first.admin.token.encode())).kind == "ADMIN"
    assert (await keys.authenticate(first.inference.token.encode())).kind == "INFERENCE"
    assert await keys.ensure_first(None) is None
    for key in await keys.list():
        await keys.revoke(key.id)
    assert await keys.ensure_first(None) is None, "who revoked every key does not want new ones"


async def test_of_several_first_starts_only_one_makes_keys(keys: KeyService) -> None:
    made = await asyncio.gather(*(keys.ensure_first(None) for _ in range(5)))
    assert sum(first is not None for first in made) == 1
    assert len(await keys.list()) == 2


async def test_a_chosen_admin_key_is_the_only_one_and_a_later_choice_is_added(keys: KeyService) -> None:
    for chosen in ("chosen-key-of-mine", "chosen-key-of-mine", "chosen-ключ-later"):
        assert await keys.ensure_first(chosen) is None
        assert (await keys.authenticate(chosen.encode())).kind == "ADMIN"
    assert [key.last6 for key in await keys.list()] != []
    assert {(key.kind, key.last6) for key in await keys.list()} == {("ADMIN", "f-mine"), ("ADMIN", "-later")}
    assert await keys.ensure_first(None) is None


async def test_a_chosen_admin_key_that_was_revoked_stays_so(keys: KeyService) -> None:
    await keys.ensure_first("chosen-key-of-mine")
    await keys.revoke("chosen-key-of-mine")
    await keys.ensure_first("chosen-key-of-mine")
    assert not await is_good(keys, "chosen-key-of-mine")


async def test_an_inference_key_does_not_become_an_admin_key_by_being_chosen(
    keys: KeyService, owner: str
) -> None:
    made = await keys.create(owner, "INFERENCE", "mine")
    with pytest.raises(InvalidRequest) as caught:
        await keys.ensure_first(made.token)
    assert made.token not in caught.value.message
    assert (await keys.authenticate(made.token.encode())).kind == "INFERENCE"


async def test_the_last_use_is_told_at_once_and_written_at_close(
    keys: KeyService, owner: str, database: Database, clock: HandClock
) -> None:
    made = await keys.create(owner, "ADMIN", "mine")
    assert (await keys.get(made.id)).last_used_at is None
    await keys.authenticate(made.token.encode())
    clock.passed = 7
    assert keys.recall(made.token.encode()) is not None
    stored = select(api_keys.c.last_used_at)
    assert (await keys.get(made.id)).last_used_at == clock.now()
    assert (await keys.list())[0].last_used_at == clock.now()
    assert await database.read(lambda connection: connection.scalar(stored)) is None
    await keys.close()
    assert await database.read(lambda connection: connection.scalar(stored)) == clock.now()


async def test_last_uses_are_written_again_and_again_and_never_moved_back(
    keys: KeyService, owner: str, database: Database, clock: HandClock
) -> None:
    made = await keys.create(owner, "ADMIN", "mine")
    stored = select(api_keys.c.last_used_at)
    uses = Uses(database, every_seconds=0.01)
    uses.keep_writing()

    async def written_down() -> bool:
        at = await database.read(lambda connection: connection.scalar(stored))
        return not uses.noted and at == clock.now()

    for seconds, expected in ((5, 5), (9, 9), (3, 9)):
        clock.passed = seconds
        uses.noted[made.id] = clock.now()
        clock.passed = expected
        await until(written_down)
    await uses.close()


async def test_a_key_revoked_by_another_process_is_refused_here_soon(
    keys: KeyService, owner: str, tmp_path: Path
) -> None:
    made = await keys.create(owner, "ADMIN", "mine")
    assert await is_good(keys, made.token)
    script = "from fondaco.cli.keys import app; app()"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, "revoke", made.id, "--data-dir", str(tmp_path / "data")
    )
    assert await child.wait() == 0

    async def forgotten() -> bool:
        return keys.recall(made.token.encode()) is None

    await until(forgotten)
    assert not await is_good(keys, made.token)


async def test_a_key_refused_here_and_then_made_elsewhere_is_good_soon(
    keys: KeyService, tmp_path: Path, clock: HandClock
) -> None:
    assert not await is_good(keys, "chosen-key-of-mine")
    other_database = Database(tmp_path / "data")
    await other_database.open()
    other = KeyService(other_database, server_secret(tmp_path / "data"), clock)
    await other.ensure_first("chosen-key-of-mine")
    # The clock stands still: it is not the refusal that runs out.
    await until(lambda: is_good(keys, "chosen-key-of-mine"))
    await other.close()
    await other_database.close()


async def test_under_another_secret_no_key_is_good(
    database: Database, keys: KeyService, clock: HandClock
) -> None:
    first = await keys.ensure_first(None)
    assert first is not None
    thief = KeyService(database, b"?" * 32, clock)
    with pytest.raises(AuthenticationFailed):
        await thief.authenticate(first.admin.token.encode())


async def test_the_key_itself_is_nowhere_on_disk(
    keys: KeyService, database: Database, tmp_path: Path
) -> None:
    first = await keys.ensure_first(None)
    assert first is not None
    await keys.ensure_first("chosen-key-of-mine")
    await keys.authenticate(first.admin.token.encode())
    await keys.revoke(first.inference.token)
    await keys.close()
    kept = b"".join(path.read_bytes() for path in _copies(tmp_path))
    assert first.admin.last6.encode() in kept, "the search would find what is there"
    for token in (first.admin.token, first.inference.token):
        secret_part = token.split("_KEY_")[1]
        assert secret_part.encode() not in kept
        assert secret_part[:12].encode() not in kept
    assert b"chosen-key" not in kept


def _copies(folder: Path) -> list[Path]:
    # Copied by another process: closing a descriptor of the open database here would drop SQLite's locks.
    import shutil
    import subprocess

    copy = folder / "copy"
    subprocess.run([shutil.which("cp") or "cp", "-r", folder / "data", copy], check=True)
    names = {path.name for path in copy.iterdir()}
    assert {"fondaco.db", "fondaco.db-wal", "secret.key"} <= names
    return [path for path in copy.iterdir() if path.is_file()]
