"""A model's weights on their way, and how long a request will wait for them."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

from fondaco import errors
from fondaco.clock import Clock
from fondaco.engines.backoff import BackOff
from fondaco.engines.lease import LocalModel, Weights
from fondaco.engines.weights.errors import DiskFull, HashMismatch, Offline, WeightError
from fondaco.engines.weights.progress import Progress
from fondaco.telemetry.logs import BoundLogger

LEARN_SECONDS = 5.0
"""A fetch that has just begun, or a file being hashed, cannot say how long it will take: so long we wait to learn."""

_POLL_SECONDS = 0.2
_RETRY_UNKNOWN = 30


class Arrival:
    """Fetches the weights of one model once for all who ask."""

    def __init__(
        self,
        model: LocalModel,
        weights: Weights,
        wait_seconds: float,
        clock: Clock,
        log: BoundLogger,
    ) -> None:
        self._model = model
        self._weights = weights
        self._wait = wait_seconds
        self._clock = clock
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self._backoff = BackOff(clock)
        self._failed = ""

    @property
    def here(self) -> bool:
        return all(self._weights.find(weight) is not None for weight in self._model.weights)

    @property
    def fetching(self) -> bool:
        return self._task is not None

    def paths(self) -> dict[str, Path] | None:
        """Paths by role once all is here."""
        paths: dict[str, Path] = {}
        for role, weight in self._model.files.items():
            if (path := self._weights.find(weight)) is None:
                return None
            paths[role] = path
        return paths

    async def wait(self, *, patient: bool) -> None:
        """Wait until all is here. Unless `patient`, raises ModelLoading as soon as it is clear that it takes too long.

        Raises ModelOffline when the weights cannot be had.
        """
        if self.here:
            return
        task = self._task
        if task is None:
            if (left := self._backoff.left) > 0:
                raise errors.ModelOffline(self._failed, retry_after=max(1, math.ceil(left)))
            task = self._task = asyncio.create_task(self._fetch())
            task.add_done_callback(self._fetched)
        if patient:
            await asyncio.shield(task)
            return
        began = self._clock.monotonic()
        while not task.done():
            waited = self._clock.monotonic() - began
            progress = self._progress()
            eta = self._eta()
            too_long = waited >= LEARN_SECONDS if eta is None else eta > self._wait - waited
            if too_long or waited >= self._wait:
                raise self._loading(progress, eta)
            await asyncio.wait((task,), timeout=_POLL_SECONDS)
        task.result()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _fetch(self) -> None:
        for weight in self._model.weights:
            try:
                await self._weights.fetch(weight)
            except WeightError as failed:
                # The sentence names files and folders of this machine: it is for the log alone.
                self._log.warning("weights.not_fetched", model=self._model.id, exc_info=failed)
                self._failed = _sentence(self._model.id, failed)
                self._backoff.failed()
                raise errors.ModelOffline(
                    self._failed, retry_after=max(1, math.ceil(self._backoff.left))
                ) from None
        self._backoff.reset()

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # those who waited have it; there may have been none

    def _progress(self) -> Progress | None:
        """Of the part that is moving."""
        for weight in self._model.weights:
            if (
                self._weights.find(weight) is None
                and (progress := self._weights.progress(weight)) is not None
            ):
                return progress
        return None

    def _eta(self) -> float | None:
        """Of everything: unknown while any part of it is."""
        total = 0.0
        for weight in self._model.weights:
            if self._weights.find(weight) is not None:
                continue
            progress = self._weights.progress(weight)
            if progress is None or progress.eta is None:
                return None
            total += progress.eta
        return total

    def _loading(self, progress: Progress | None, eta: float | None) -> errors.ModelLoading:
        if progress is None:
            how_far = "its weights are about to come"
        elif progress.total:
            share = 100 * progress.done // progress.total
            how_far = f"{share} % of its weights are here ({progress.done:,} of {progress.total:,} bytes)"
        else:
            how_far = f"{progress.done:,} bytes of its weights are here"
        retry_after = _RETRY_UNKNOWN if eta is None else max(1, math.ceil(eta))
        return errors.ModelLoading(
            f"The model {self._model.id} is being made ready: {how_far}. Please try again later.",
            retry_after=retry_after,
        )


def _sentence(model: str, failed: WeightError) -> str:
    if isinstance(failed, DiskFull):
        reason = "there is not enough room on disk for them"
    elif isinstance(failed, Offline):
        reason = "they are not here and the server is offline (weights.offline)"
    elif isinstance(failed, HashMismatch):
        reason = "what came does not have the expected hash"
    else:
        reason = "no source delivered them"
    return f"The weights of the model {model} could not be fetched: {reason}."
