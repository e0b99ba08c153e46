"""One weight on its way: its sources in turn, watched for silence, until the bytes hash to what they should."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from pathlib import Path

from fondaco.clock import Clock
from fondaco.engines.weights.errors import DiskFull, HashMismatch, NoSource
from fondaco.engines.weights.partial import Overlong, Partial
from fondaco.engines.weights.patience import Patience
from fondaco.engines.weights.progress import Meter, Progress
from fondaco.engines.weights.shelf import Shelf
from fondaco.engines.weights.sources.attempt import (
    Attempt,
    Interrupted,
    SourceFailed,
    Supplier,
    WrongContent,
)
from fondaco.engines.weights.threads import in_thread
from fondaco.engines.weights.weight import Weight

TICK_SECONDS = 0.2
_MAX_TRIES = 20
_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)


class Fetching:
    """Use it once. `run` may be cancelled at any point and leaves what it has for the next."""

    def __init__(
        self,
        weight: Weight,
        shelf: Shelf,
        suppliers: Sequence[Supplier],
        *,
        patience: Patience,
        clock: Clock,
        free_space: Callable[[Path], int],
        tell: Callable[[Progress], None],
    ) -> None:
        self._weight = weight
        self._shelf = shelf
        self._suppliers = suppliers
        self._patience = patience
        self._clock = clock
        self._free_space = free_space
        self._tell = tell
        self._partial: Partial = shelf.partial(weight)
        self._meter = Meter(weight.name, weight.size)

    @property
    def progress(self) -> Progress:
        return self._meter.progress()

    async def run(self) -> Path:
        """The whole weight's path. Raises NoSource, HashMismatch or DiskFull."""
        failures: list[tuple[str, str]] = []
        mismatches: list[str] = []
        try:
            for supplier in self._suppliers:
                try:
                    return await self._from(supplier)
                except SourceFailed as failure:
                    failures.append((supplier.label, failure.reason))
                except WrongContent:
                    mismatches.append(supplier.label)
        except OSError as error:
            if error.errno not in _DISK_IS_FULL:
                raise
            # A full disk also stops the ledger: give back what we took rather than keep a part of a weight.
            needed = (self._meter.total or 0) - self._partial.size
            await in_thread(self._partial.drop)
            free = self._free_space(self._shelf.folder)
            raise DiskFull(self._weight.name, self._shelf.folder, needed, free) from None
        finally:
            self._partial.close()
        if mismatches:
            raise HashMismatch(self._weight.name, mismatches)
        raise NoSource(self._weight.name, failures)

    async def _from(self, supplier: Supplier) -> Path:
        """Raises SourceFailed or WrongContent."""
        once_more = True
        for _ in range(_MAX_TRIES):
            begun_with = supplier.usable(self._weight, self._partial)
            await in_thread(self._partial.truncate, begun_with)
            try:
                return await self._try(supplier)
            except Interrupted:
                if self._partial.size <= begun_with:
                    raise
            except (WrongContent, Overlong):
                await in_thread(self._partial.drop)
                # The fault may lie in the bytes that were there before: judge the source by its own alone.
                if not begun_with or not once_more:
                    raise WrongContent from None
                once_more = False
        raise SourceFailed("the connection broke off too often")

    async def _try(self, supplier: Supplier) -> Path:
        def expect_size(total: int) -> None:
            if self._weight.size is not None and total != self._weight.size:
                raise WrongContent
            self._meter.total = self._partial.limit = total
            self._require_room(supplier)

        self._require_room(supplier)
        attempt = Attempt(self._weight, self._partial, self._patience, expect_size)
        self._meter.begin(supplier.label, self._partial.size)
        if self._partial.size != self._weight.size:
            await self._watched(supplier, attempt)
        sha256 = await in_thread(self._partial.sha256)
        if attempt.expected_sha256 not in (None, sha256):
            raise WrongContent
        path = await in_thread(self._shelf.put, self._weight, self._partial, sha256)
        self._meter.total = path.stat().st_size
        self._meter.read(self._meter.total, self._clock.monotonic())
        self._tell(self._meter.progress())
        return path

    async def _watched(self, supplier: Supplier, attempt: Attempt) -> None:
        """Let the source work for as long as it is not silent."""
        begun_with = heard = attempt.position
        heard_at = self._clock.monotonic()
        graced = 0.0
        work = asyncio.ensure_future(supplier.supply(attempt))
        tick = min(TICK_SECONDS, self._patience.first / 4)
        try:
            while not (await asyncio.wait([work], timeout=tick))[0]:
                now, position = self._clock.monotonic(), attempt.position
                self._meter.read(position, now)
                self._tell(self._meter.progress())
                if position != heard or attempt.grace < graced:
                    heard, heard_at = position, now
                graced = attempt.grace
                begun = position != begun_with
                limit = (self._patience.stalled if begun else self._patience.first) + attempt.grace
                if now - heard_at > limit:
                    raise SourceFailed(f"silent for {now - heard_at:.0f} s")
            work.result()
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait([work])
            if not work.cancelled():
                work.exception()

    def _require_room(self, supplier: Supplier) -> None:
        total = self._meter.total
        if total is None:
            return
        needed = total - self._partial.size + supplier.overhead(self._weight, self._partial)
        free = self._free_space(self._shelf.folder)
        if free < needed:
            raise DiskFull(self._weight.name, self._shelf.folder, needed, free)
