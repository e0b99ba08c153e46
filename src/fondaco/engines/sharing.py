"""Several gateways on one data directory, one set of engines.

The gateway that holds the directory listens on a Unix socket in it; the others ask there. One JSON line each way:
`Ask`, then `Answer`. A lease lives as long as its connection, so one whose gateway is killed is given back by the
kernel; the word `fail` on it means that the engine broke.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec

from fondaco import errors
from fondaco.engines.lease import Engines, EngineState, Lease, LocalModel, Weights
from fondaco.upstream.transport import Target

POLL_SECONDS = 0.5

_MOST = 1 << 20
_FAIL = b"fail\n"
_ERRORS: Mapping[str, type[errors.FondacoError]] = {
    kind.code: kind for kind in (errors.ModelOffline, errors.ModelLoading, errors.ModelAtCapacity)
}


class HolderGone(Exception):
    """Nobody answers at the socket, or stopped answering."""


class Refused(msgspec.Struct, frozen=True):
    code: str
    message: str
    retry_after: int | None = None


class Granted(msgspec.Struct, frozen=True):
    host: str
    port: int
    socket: str | None
    headers: tuple[tuple[str, str], ...]
    context_tokens: int
    slot: int
    cache_prompt: bool

    def __repr__(self) -> str:
        return "Granted()"


class Ask(msgspec.Struct, frozen=True):
    what: Literal["lease", "preload", "states"]
    models: tuple[LocalModel, ...]
    account: str = ""
    tokens: int = 0
    choices: int = 1


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    granted: Granted | None = None
    refused: Refused | None = None
    states: tuple[tuple[EngineState, int | None], ...] = ()


class Door:
    """The holder's side."""

    def __init__(self, engines: Engines, path: Path) -> None:
        self._engines = engines
        self._path = path
        self._server: asyncio.Server | None = None
        self._visits: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._visit, self._path, limit=_MOST)
        self._path.chmod(0o600)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for visit in self._visits:
            visit.cancel()
        if self._visits:
            await asyncio.wait(self._visits)
        self._path.unlink(missing_ok=True)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.current_task()
        assert visit is not None
        self._visits.add(visit)
        try:
            ask = msgspec.json.decode(await reader.readline(), type=Ask)
            await self._answer(ask, reader, writer)
        except (msgspec.DecodeError, ValueError, OSError, asyncio.CancelledError):
            pass  # a visitor who left or spoke nonsense, or the door is being closed: nothing is owed
        finally:
            self._visits.discard(visit)
            writer.close()

    async def _answer(self, ask: Ask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if ask.what == "states":
            engines = self._engines
            states: tuple[tuple[EngineState, int | None], ...] = tuple(
                (engines.state(model), engines.context_of(model)) for model in ask.models
            )
            writer.write(_line(Answer(states=states)))
            await writer.drain()
            return
        failed = asyncio.Event()
        gone = asyncio.create_task(_until_gone(reader, failed))
        work = asyncio.create_task(
            self._preload(ask, writer) if ask.what == "preload" else self._lease(ask, writer, failed)
        )
        try:
            await asyncio.wait((gone, work), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            work.cancel()
            await asyncio.wait((gone, work))
            if (
                not work.cancelled()
                and (broken := work.exception()) is not None
                and not isinstance(broken, OSError)
            ):
                raise broken

    async def _preload(self, ask: Ask, writer: asyncio.StreamWriter) -> None:
        await self._engines.preload(ask.models[0])
        writer.write(_line(Answer()))
        await writer.drain()

    async def _lease(self, ask: Ask, writer: asyncio.StreamWriter, failed: asyncio.Event) -> None:
        try:
            async with self._engines.lease(ask.models[0], ask.account, ask.tokens, ask.choices) as lease:
                writer.write(_line(Answer(granted=_granted(lease))))
                await writer.drain()
                await failed.wait()
                lease.fail()
                await asyncio.Event().wait()  # until the visitor leaves
        except errors.FondacoError as refused:
            writer.write(_line(Answer(refused=_refused(refused))))
            await writer.drain()


class Tenant:
    """The side of a gateway that found the directory held."""

    def __init__(self, path: Path, weights: Weights, gone: Callable[[], None]) -> None:
        """`gone` is called once the holder no longer answers."""
        self._path = path
        self._weights = weights
        self._gone = gone
        self._models: dict[str, LocalModel] = {}
        self._states: dict[str, tuple[EngineState, int | None]] = {}
        self._poll = asyncio.create_task(self._polling())

    @asynccontextmanager
    async def lease(
        self, model: LocalModel, account: str, tokens: int, choices: int
    ) -> AsyncGenerator[Lease]:
        self._models[model.id] = model
        ask = Ask("lease", (model,), account, tokens, choices)
        async with self._asked(ask) as (answer, writer):
            if answer.refused is not None:
                raise _error(answer.refused)
            if (granted := answer.granted) is None:
                raise HolderGone
            yield Lease(
                _target(granted),
                granted.context_tokens,
                granted.slot,
                granted.cache_prompt,
                lambda: writer.write(_FAIL),
            )

    def context_of(self, model: LocalModel) -> int | None:
        self._models[model.id] = model
        return self._states[model.id][1] if model.id in self._states else None

    def state(self, model: LocalModel) -> EngineState:
        self._models[model.id] = model
        if model.id in self._states:
            return self._states[model.id][0]
        return "stopped" if all(self._weights.find(weight) for weight in model.weights) else "absent"

    async def preload(self, model: LocalModel) -> None:
        self._models[model.id] = model
        async with self._asked(Ask("preload", (model,))):
            return

    async def close(self) -> None:
        self._poll.cancel()
        await asyncio.wait((self._poll,))

    async def _polling(self) -> None:
        while True:
            models = tuple(self._models.values())
            try:
                async with self._asked(Ask("states", models)) as (answer, _):
                    self._states = {m.id: state for m, state in zip(models, answer.states, strict=False)}
            except HolderGone:
                self._gone()
                return
            await asyncio.sleep(POLL_SECONDS)

    @asynccontextmanager
    async def _asked(self, ask: Ask) -> AsyncGenerator[tuple[Answer, asyncio.StreamWriter]]:
        try:
            reader, writer = await asyncio.open_unix_connection(self._path, limit=_MOST)
        except OSError:
            raise HolderGone from None
        try:
            try:
                writer.write(msgspec.json.encode(ask) + b"\n")
                answer = msgspec.json.decode(await reader.readline(), type=Answer)
            except (OSError, ValueError, msgspec.DecodeError):
                raise HolderGone from None
            yield answer, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _until_gone(reader: asyncio.StreamReader, failed: asyncio.Event) -> None:
    with contextlib.suppress(OSError, ValueError):
        while line := await reader.readline():
            if line == _FAIL:
                failed.set()


def _line(answer: Answer) -> bytes:
    return msgspec.json.encode(answer) + b"\n"


def _granted(lease: Lease) -> Granted:
    target = lease.target
    return Granted(
        host=target.host,
        port=target.port,
        socket=target.socket,
        headers=tuple((name.decode(), value.decode()) for name, value in target.headers),
        context_tokens=lease.context_tokens,
        slot=lease.slot,
        cache_prompt=lease.cache_prompt,
    )


def _target(granted: Granted) -> Target:
    return Target(
        host=granted.host,
        port=granted.port,
        socket=granted.socket,
        base_path="/v1",
        headers=tuple((name.encode(), value.encode()) for name, value in granted.headers),
    )


def _refused(error: errors.FondacoError) -> Refused:
    message = (
        error.issues[0].message
        if isinstance(error, errors.InvalidRequest) and error.issues
        else error.message
    )
    return Refused(error.code, message, error.retry_after)


def _error(refused: Refused) -> errors.FondacoError:
    if refused.code == errors.InvalidRequest.code:
        return errors.InvalidRequest.at("n", message=refused.message, code="too_big")
    return _ERRORS.get(refused.code, errors.ModelOffline)(refused.message, retry_after=refused.retry_after)
