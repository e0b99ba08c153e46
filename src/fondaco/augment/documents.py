"""The text of documents, by the parsing process: who asks it, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Mapping

import msgspec

from fondaco.augment.parsing.server import HEAD
from fondaco.augment.parsing.wire import Fault, Job, Limits, Parsed, encode
from fondaco.augment.turns import Turns
from fondaco.engines.child import environment

MAX_CHARACTERS = 2_000_000
LIMITS = Limits(memory_bytes=512 * 1024 * 1024, cpu_seconds=30, seconds=60)
START_SECONDS = 30.0
IDLE_SECONDS = 600.0
"""After so long without a document the process ends, and with it the memory that its libraries take."""

SENTENCES: Mapping[Fault, str] = {
    "unsupported": "its format is not one that can be read here (PDF, DOCX, XLSX, PPTX, EPUB, HTML, text)",
    "encrypted": "it is encrypted",
    "damaged": "it is damaged",
    "too_much": "to read it would take too long, or too much memory",
    "not_installed": "the libraries that read documents are not installed here (pip install 'fondaco[web]')",
}


class Unparsable(Exception):
    """A document whose text cannot be had. `sentence` holds nothing of it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault: Fault = fault
        self.sentence = SENTENCES[fault]


class Documents:
    """Starts the process when it is first needed. Belongs to one event loop; `close` it there."""

    def __init__(self, limits: Limits = LIMITS, at_once: int | None = None) -> None:
        self._limits = limits
        self._turns = Turns(at_once or max(2, min(4, os.cpu_count() or 2)))
        self._starting = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._under_way = 0
        self._idle: asyncio.TimerHandle | None = None

    async def parse(self, data: bytes | memoryview, name: str = "", account: str | None = None) -> str:
        """A document's text, as Markdown where it has any form; empty where there is none. Raises Unparsable."""
        return (await self.read(Job(name=name, max_characters=MAX_CHARACTERS), data, account)).text

    async def read(self, job: Job, data: bytes | memoryview, account: str | None = None) -> Parsed:
        """The text and what else is known. `account` is whose share of turns is taken. Raises Unparsable."""
        self._under_way += 1
        if self._idle is not None:
            self._idle.cancel()
        try:
            async with self._turns.turn(account):
                parsed = await self._asked(job, data) or await self._asked(job, data)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end)
        if parsed is None:
            raise Unparsable("too_much")
        if parsed.fault is not None:
            raise Unparsable(parsed.fault)
        return parsed

    async def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        process = self._process
        self._end()
        if process is not None:
            await process.wait()

    async def _asked(self, job: Job, data: bytes | memoryview) -> Parsed | None:
        """None where the whole process was lost, and the document may be blameless."""
        process, control = await self._running()
        mine, theirs = socket.socketpair()
        with mine:
            try:
                with theirs:
                    await _hand_over(control, theirs)
                answer = await self._exchange(mine, job, data)
            except (OSError, TimeoutError):
                answer = b""
        if not answer:
            # Where the kernel has ended the fork there is no answer either.
            if process.returncode is not None or await _gone(process):
                return None
            return Parsed(fault="too_much")
        return msgspec.msgpack.decode(answer, type=Parsed)

    async def _exchange(self, mine: socket.socket, job: Job, data: bytes | memoryview) -> bytes:
        loop = asyncio.get_running_loop()
        mine.setblocking(False)
        head = encode(job)
        answer = bytearray()
        # Closing the socket, whatever the reason, ends the fork.
        async with asyncio.timeout(START_SECONDS + self._limits.seconds):
            await loop.sock_sendall(mine, HEAD.pack(len(head)) + head)
            await loop.sock_sendall(mine, data)
            mine.shutdown(socket.SHUT_WR)
            most = 8 * job.max_characters + 65536
            while piece := await loop.sock_recv(mine, 256 * 1024):
                answer += piece
                if len(answer) > most:
                    return b""
        return bytes(answer)

    async def _running(self) -> tuple[asyncio.subprocess.Process, socket.socket]:
        async with self._starting:
            if self._process is None or self._control is None or self._process.returncode is not None:
                self._end()
                self._control, theirs = socket.socketpair()
                self._control.setblocking(False)  # a process that takes nothing must not hold up the loop
                with theirs:
                    self._process = await asyncio.create_subprocess_exec(
                        sys.executable,
                        "-m",
                        "fondaco.augment.parsing",
                        str(self._limits.memory_bytes),
                        str(self._limits.cpu_seconds),
                        str(self._limits.seconds),
                        stdin=theirs.fileno(),
                        # What libraries print may quote a document.
                        stdout=asyncio.subprocess.DEVNULL,
                        stderr=asyncio.subprocess.DEVNULL,
                        env=environment(os.environ),
                        start_new_session=True,
                    )
            return self._process, self._control

    def _end(self) -> None:
        """Closing its stdin ends it and all its forks."""
        control, self._control = self._control, None
        self._process = None
        if control is not None:
            control.close()


async def _hand_over(control: socket.socket, document: socket.socket) -> None:
    """Raises OSError or TimeoutError where the process takes nothing."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                socket.send_fds(control, [b"d"], [document.fileno()])
            except BlockingIOError:  # those of clients that have left fill the way
                await asyncio.sleep(0.05)
            else:
                return


async def _gone(process: asyncio.subprocess.Process) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await process.wait()
            return True
    return False
