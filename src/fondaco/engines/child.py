"""One engine's process, from its start to its end.

What it prints is never passed on: llama.cpp's lines can hold pieces of prompts. Its stdout carries our own few
events; of its stderr only the kind of a known failure is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from fondaco.engines import probe
from fondaco.engines.launch import Launch, Said, encode
from fondaco.upstream.transport import Target, TransportError

FailureKind = Literal[
    "no_runtime",
    "out_of_memory",
    "unreadable_weights",
    "unsupported_model",
    "too_slow",
    "not_startable",
    "ended",
]

SENTENCES: Mapping[FailureKind, str] = {
    "no_runtime": "the runtime for local models is not installed (pip install 'fondaco[local]')",
    "out_of_memory": "there was not enough memory for it",
    "unreadable_weights": "its weights could not be read",
    "unsupported_model": "the runtime does not know this kind of model",
    "too_slow": "it did not get ready within engines.start_seconds",
    "not_startable": "its process could not be started",
    "ended": "its process ended",
}

STOP_SECONDS = 3.0

# The first that is found in a line decides, so the more telling ones stand first.
_KNOWN_LINES: tuple[tuple[bytes, FailureKind], ...] = (
    (b"unknown model architecture", "unsupported_model"),
    (b"unknown pre-tokenizer", "unsupported_model"),
    (b"failed to allocate", "out_of_memory"),
    (b"unable to allocate", "out_of_memory"),
    (b"out of memory", "out_of_memory"),
    (b"std::bad_alloc", "out_of_memory"),
    (b"invalid magic", "unreadable_weights"),
    (b"not within the file bounds", "unreadable_weights"),
    (b"failed to load model", "unreadable_weights"),
)

# Settings of ours and credentials for elsewhere stay out of a process that reads prompts.
_KEPT_ENV = ("PATH", "HOME", "LANG", "TMPDIR", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "SYSTEMROOT")
_KEPT_ENV_PREFIXES = (
    "LC_",
    "LD_",
    "DYLD_",
    "CUDA_",
    "NVIDIA_",
    "HIP_",
    "ROCR_",
    "HSA_",
    "GGML_",
    "PYTHONDONT",
)


class StartFailed(Exception):
    """The engine did not come up."""

    def __init__(self, kind: FailureKind) -> None:
        super().__init__(kind)
        self.kind: FailureKind = kind


class Child:
    """A running process. Make it with `spawn`, then wait for `ready`; always `stop` it."""

    def __init__(self, process: asyncio.subprocess.Process, launch: Launch) -> None:
        self._process = process
        self._socket = launch.socket
        self._key = launch.key
        self._port = 0
        self._listening = asyncio.Event()
        self._said: FailureKind | None = None
        self._readers = [asyncio.create_task(self._read_events()), asyncio.create_task(self._read_noise())]
        self.kind: FailureKind | None = None
        """The last failure it was seen to suffer."""

    @classmethod
    async def spawn(cls, launch: Launch, command: Sequence[str]) -> Child:
        """Raises StartFailed when there is no such program or no process to be had."""
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment(os.environ),
                # A terminal's Ctrl-C is for the gateway, which drains first.
                start_new_session=True,
            )
        except OSError:
            raise StartFailed("not_startable") from None
        child = cls(process, launch)
        assert process.stdin is not None
        try:
            process.stdin.write(encode(launch))
            await process.stdin.drain()
        except (ConnectionError, BrokenPipeError):
            pass  # it ended at once; `ready` tells why
        except BaseException:
            await child.stop()
            raise
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def target(self) -> Target:
        bearer = (b"authorization", b"Bearer " + self._key.encode())
        return Target(
            host="127.0.0.1", port=self._port, socket=self._socket, base_path="/v1", headers=(bearer,)
        )

    async def ready(self, seconds: float) -> int:
        """Wait until it answers; returns the context of one request in tokens. Raises StartFailed."""
        try:
            async with asyncio.timeout(seconds):
                await self._listens()
                while not await probe.healthy(self.target, 5):
                    if self._process.returncode is not None:
                        raise StartFailed(await self._why())
                    await asyncio.sleep(0.05)
                return await probe.context_tokens(self.target, 10)
        except TimeoutError:
            raise StartFailed("too_slow") from None
        except TransportError:
            raise StartFailed(await self._why()) from None

    async def wait(self) -> str:
        """Wait for its end and say how it ended: an exit code or a signal's name."""
        code = await self._process.wait()
        self._remove_socket()
        if code >= 0:
            return f"exit-{code}"
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"

    async def healthy(self, seconds: float) -> bool:
        return await probe.healthy(self.target, seconds)

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Close its stdin, which asks it to go; kill it when it has not gone after `seconds`."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        except asyncio.CancelledError:
            self.kill()
            raise
        finally:
            self._remove_socket()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _listens(self) -> None:
        told = asyncio.create_task(self._listening.wait())
        ended = asyncio.create_task(self._process.wait())
        try:
            await asyncio.wait((told, ended), return_when=asyncio.FIRST_COMPLETED)
            if not self._listening.is_set():
                raise StartFailed(await self._why())
        finally:
            for task in (told, ended):
                task.cancel()

    async def _why(self) -> FailureKind:
        """What its last words were, once all are read."""
        if self._process.returncode is not None:
            await asyncio.wait(self._readers, timeout=1)
        return self.kind or self._said or "ended"

    async def _read_events(self) -> None:
        assert self._process.stdout is not None
        async for line in _lines(self._process.stdout):
            with contextlib.suppress(msgspec.DecodeError):
                said = msgspec.json.decode(line, type=Said)
                if said.event == "listening":
                    self._port = said.port
                    self._listening.set()
                elif said.event == "no_runtime":
                    self._said = "no_runtime"
                elif said.event == "load_failed":
                    self._said = "unreadable_weights"

    async def _read_noise(self) -> None:
        assert self._process.stderr is not None
        async for line in _lines(self._process.stderr):
            for mark, kind in _KNOWN_LINES:
                # The general complaint follows the telling one and must not hide it.
                if mark in line and (self.kind is None or kind != "unreadable_weights"):
                    self.kind = kind
                    break

    def _remove_socket(self) -> None:
        if self._socket:
            Path(self._socket).unlink(missing_ok=True)


def new_key() -> str:
    return secrets.token_urlsafe(32)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """What of our environment an engine needs."""
    kept = {
        name: value
        for name, value in given.items()
        if name in _KEPT_ENV or name.startswith(_KEPT_ENV_PREFIXES)
    }
    return kept | {"OMP_WAIT_POLICY": "passive"}


async def _lines(stream: asyncio.StreamReader, longest: int = 8192) -> AsyncIterator[bytes]:
    """Lines as they come; what a line has beyond `longest` bytes is dropped, never waited for."""
    rest = b""
    while piece := await stream.read(65536):
        *whole, rest = (rest + piece).split(b"\n")
        rest = rest[:longest]
        for line in whole:
            yield line[:longest]
    if rest:
        yield rest
