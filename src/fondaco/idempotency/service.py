"""Which request with an `Idempotency-Key` runs, and what its repeats are told.

A key counts for one API key and one route, for a day. Before the first request runs, a row says so durably; the
row becomes `done` in the transaction that charges the request, and goes if the request fails. So whatever ends
this process, a request is either done and charged, or neither. Of the request only keyed hashes are written down.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import Literal, Protocol

import msgspec
from sqlalchemy import Connection

from fondaco.clock import Clock
from fondaco.errors import Conflict, LedgerUnavailable
from fondaco.idempotency import store
from fondaco.idempotency.answers import Answer, Answers, Header, Recording
from fondaco.idempotency.store import Claim, Earlier
from fondaco.money import NanoUsd, to_json
from fondaco.store.errors import StoreError
from fondaco.store.interface import Store

__all__ = ["Answer", "Header", "Idempotency", "Run", "Use"]

LIFETIME = timedelta(hours=24)
MEMORY_BYTES = 64 * 1024 * 1024

_LARGE_BODY = 256 * 1024
"""Bytes whose hash is worth a thread of its own."""
_SWEEP_SECONDS = 60.0
_SWEEP_ROWS = 1000


class Use(msgspec.Struct, frozen=True):
    """One use of an `Idempotency-Key`, as keyed hashes: of whose it is, and of the request it came with."""

    id: bytes
    body: bytes


Write = Callable[[Callable[[Connection], None]], Awaitable[None]]
"""Does a piece of work in a transaction; returns once that is durable, or raises StoreError."""


class Gateway(Protocol):
    """This process in the table of gateways; taken for dead, it comes back under another id."""

    @property
    def id(self) -> str: ...


class Idempotency:
    """Requests with an `Idempotency-Key`. One a process; `close` it before its database, after the ledger."""

    def __init__(
        self,
        database: Store,
        secret: bytes,
        clock: Clock,
        gateway: Gateway,
        *,
        memory_bytes: int = MEMORY_BYTES,
        write_end: Write | None = None,
    ) -> None:
        """`secret` is the server's. `write_end` writes how a request has ended, after every settlement that was
        asked for before, as the ledger can; without it the database does.
        """
        self._database = database
        self._clock = clock
        self._gateway = gateway
        self._write: Write = write_end or database.write
        # Keys of their own, so that no hash here can be compared with one made elsewhere under the same secret.
        self._use_key = hmac.digest(secret, b"fondaco idempotency: use", sha256)
        self._body_key = hmac.digest(secret, b"fondaco idempotency: body", sha256)
        self._answers = Answers(memory_bytes)
        self._runs: dict[bytes, Run] = {}
        """First requests that run here, or whose end could not be written yet."""
        self._unwritten: set[Run] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweep_at = clock.monotonic()

    async def use(self, key_id: str, route: str, text: bytes, target: bytes, body: bytes | bytearray) -> Use:
        """`text` is the header's; `target` is what of the request's path and query the route does not fix."""
        name = hmac.digest(self._use_key, b"\0".join((key_id.encode(), route.encode(), text)), sha256)
        digest = partial(_body_digest, self._body_key, target, body)
        return Use(name, await asyncio.to_thread(digest) if len(body) > _LARGE_BODY else digest())

    async def begin(self, use: Use, request_id: str) -> Run | Answer:
        """A run if this is the first use, which the caller has to end; the answer if the first was answered.

        Raises Conflict (`in_progress`, `idempotency_key_reused`, `already_completed`), and LedgerUnavailable if the
        first use cannot be written down.
        """
        now = self._clock.now()
        earlier = self._runs.get(use.id)
        if earlier is not None and earlier not in self._unwritten and earlier.end != "done":
            # Also while its failure is being written: a late charge for it is written before that.
            raise _conflict(use, earlier.told)
        if (kept := self._answers.recall(use.id, now)) is not None:
            if kept.request != use.body:
                raise _reused()
            return kept.answer
        if earlier is not None and earlier.end == "done":
            raise _conflict(use, earlier.told)
        run = Run(self, Claim(use.id, use.body, self._gateway.id, request_id, now + LIFETIME), self._answers)
        self._runs[use.id] = run
        try:
            found = await self._database.write(partial(store.claim, wanted=run.claim, now=now))
        except StoreError:
            self._forget(run)
            raise LedgerUnavailable from None
        except BaseException:
            # The row may be written all the same.
            run.left()
            raise
        self._tidy()
        if found is not None:
            self._forget(run)
            raise _conflict(use, found)
        return run

    async def close(self) -> None:
        """Wait for what is being written, and try once more what could not be."""
        self._write_again()
        while tasks := tuple(self._tasks):
            await asyncio.gather(*tasks)
            self._tasks.difference_update(tasks)

    # Called by runs.

    def ended(self, run: Run) -> asyncio.Task[None]:
        """Write how `run` has ended; the task never raises StoreError."""
        task = asyncio.get_running_loop().create_task(self._write_end(run))
        self._watch(task)
        return task

    def keep(self, claim: Claim, answer: Answer) -> None:
        self._answers.keep(claim.id, claim.body, claim.expires_at, answer)

    def _forget(self, run: Run) -> None:
        if self._runs.get(run.claim.id) is run:
            del self._runs[run.claim.id]

    async def _write_end(self, run: Run) -> None:
        try:
            if run.end == "failed":
                await self._write(partial(store.release, mine=run.claim))
            # A settlement that its commit undid is written later, though the answer goes out: so look.
            elif not run.charged or not await self._database.read(partial(store.is_done, mine=run.claim)):
                await self._write(partial(store.mark, mine=run.claim))
        except StoreError:
            # It stays known here, and is written once the database takes something again.
            self._unwritten.add(run)
            return
        self._forget(run)

    def _tidy(self) -> None:
        """In passing, the database being well: what could not be written, and, once a minute, what has expired."""
        self._write_again()
        if self._clock.monotonic() >= self._sweep_at:
            self._sweep_at = self._clock.monotonic() + _SWEEP_SECONDS
            self._watch(asyncio.get_running_loop().create_task(self._sweep()))

    async def _sweep(self) -> None:
        now = self._clock.now()
        self._answers.expire(now)
        try:
            removed = await self._database.write(partial(store.sweep, now=now, most=_SWEEP_ROWS))
        except StoreError:
            return
        if removed >= _SWEEP_ROWS:
            self._sweep_at = self._clock.monotonic()

    def _write_again(self) -> None:
        unwritten, self._unwritten = self._unwritten, set()
        for run in unwritten:
            self.ended(run)

    def _watch(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Run:
    """The first request with its key. Put `join` into its settlement, `record` its answer, and end it once:
    `done`, `failed`, or `left` where nothing can be waited for. Whoever ends it again changes nothing."""

    __slots__ = ("_idempotency", "_recording", "charged", "claim", "end")

    def __init__(self, idempotency: Idempotency, claim: Claim, answers: Answers) -> None:
        self.claim = claim
        self.end: Literal["running", "done", "failed"] = "running"
        self.charged = False
        """Its settlement has marked it as done, if that was committed."""
        self._idempotency = idempotency
        self._recording = Recording(answers)

    @property
    def told(self) -> Earlier:
        """What its repeats are told."""
        return Earlier(body=self.claim.body, done=self.end == "done", request_id=self.claim.request_id)

    def join(self, connection: Connection, amount: NanoUsd, currency: str) -> None:
        """Part of the transaction that settles the request (a `Join` of its ticket): from here on it is done."""
        store.mark(connection, self.claim, amount, currency)
        self.charged = True

    def record(self, piece: bytes) -> None:
        """The answer's next piece. One that is too large as a whole is not kept."""
        self._recording.add(piece)

    async def done(
        self, status: int, headers: tuple[Header, ...], *, streamed: bool = False, compressible: bool = False
    ) -> None:
        """Answered in full. Returns once that is durable, or known to this process while nothing can be written."""
        if self.end != "running":
            return
        self.end = "done"
        body = self._recording.taken()
        if body is not None:
            answer = Answer(status, headers, body, streamed, compressible)
            self._idempotency.keep(self.claim, answer)
        await asyncio.shield(self._idempotency.ended(self))

    async def failed(self) -> None:
        """Not answered: the next with this key runs, unless this one was charged all the same."""
        if (written := self._give_up()) is not None:
            await asyncio.shield(written)

    def left(self) -> None:
        """Its client has left: as `failed`, without waiting."""
        self._give_up()

    def _give_up(self) -> asyncio.Task[None] | None:
        if self.end != "running":
            return None
        self.end = "failed"
        self._recording.drop()
        return self._idempotency.ended(self)


def _conflict(use: Use, earlier: Earlier) -> Conflict:
    """What the repeat of `earlier` is told when it cannot have the answer."""
    if earlier.body != use.body:
        return _reused()
    if not earlier.done:
        return Conflict(
            "A request with this Idempotency-Key is still running: try again when it has ended.",
            code="in_progress",
        )
    digits = to_json(earlier.amount)
    unit = "DIEM" if earlier.currency == "DIEM" else "USD"
    zero = msgspec.Raw(to_json(0))
    cost = {"usd": zero, "diem": zero, unit.lower(): msgspec.Raw(digits)}
    return Conflict(
        f"The request with this Idempotency-Key was completed as {earlier.request_id} and cost "
        f"{digits.decode()} {unit}; its answer is no longer kept, and it is not run again.",
        code="already_completed",
        facts={"request_id": earlier.request_id, "cost": cost},
    )


def _reused() -> Conflict:
    return Conflict(
        "This Idempotency-Key was used with another request: take a new one for a new request.",
        code="idempotency_key_reused",
    )


def _body_digest(key: bytes, target: bytes, body: bytes | bytearray) -> bytes:
    digest = hmac.new(key, b"%d\0%b" % (len(target), target), sha256)
    digest.update(body)
    return digest.digest()
