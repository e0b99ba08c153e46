"""The process that forks for each document. It has one thread, opens no document and reads no byte of one.

Its stdin is a Unix socket on which the gateway hands over one end of a pair for each document. The fork at this end
reads the job, a length first, then the document up to its end, and answers. When the gateway closes its end, because
nobody waits any more, the fork is killed; when stdin ends, all are.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import struct
import sys
from typing import NoReturn

import msgspec

from fondaco.augment.parsing.confinement import leave_the_network, limit
from fondaco.augment.parsing.wire import Job, Limits, Parsed, encode

HEAD = struct.Struct("!I")
MAX_HEAD = 64 * 1024


def main(limits: Limits) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Libraries would load these when they are there, and start threads that no fork survives.
    for heavy in ("numpy", "pandas"):
        sys.modules[heavy] = None  # pyright: ignore[reportArgumentType]
    from fondaco.augment.parsing import formats

    formats.load()
    leave_the_network()
    gc.freeze()
    _Forks(socket.socket(fileno=0), limits).run()
    os._exit(0)


class _Forks:
    def __init__(self, control: socket.socket, limits: Limits) -> None:
        self._control = control
        self._limits = limits
        self._documents: dict[int, tuple[int, socket.socket]] = {}
        """By descriptor: the fork that reads it, and this process's own hold on it, by which it sees a hang-up."""
        self._poll = select.poll()
        self._died, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, _noted)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._poll.register(self._died, select.POLLIN)
        self._poll.register(control, select.POLLIN)

    def run(self) -> None:
        """Until the gateway is gone."""
        while True:
            for descriptor, event in self._poll.poll():
                if descriptor == self._died:
                    os.read(self._died, 4096)
                    self._reap()
                elif descriptor == self._control.fileno():
                    if not self._receive():
                        self._kill_all()
                        return
                elif event and descriptor in self._documents:
                    # It is reaped, and its socket closed, when its end is told.
                    self._poll.unregister(descriptor)
                    _kill(self._documents[descriptor][0])

    def _receive(self) -> bool:
        """Take a document over. False when there will be no more."""
        message, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        if not message:
            return False
        for descriptor in descriptors:
            document = socket.socket(fileno=descriptor)
            process = os.fork()
            if not process:
                _be_a_fork(document, self._limits)
            self._documents[document.fileno()] = (process, document)
            self._poll.register(document, 0)
        return True

    def _reap(self) -> None:
        while True:
            try:
                process, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not process:
                return
            for descriptor, (reader, document) in list(self._documents.items()):
                if reader == process:
                    with contextlib.suppress(KeyError):
                        self._poll.unregister(descriptor)
                    del self._documents[descriptor]
                    document.close()

    def _kill_all(self) -> None:
        for process, _ in self._documents.values():
            _kill(process)


def _noted(number: int, frame: object) -> None:
    """A signal that is only wanted for the byte that it writes."""


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _be_a_fork(document: socket.socket, limits: Limits) -> NoReturn:
    """Read one document, say what it holds, and end. Nothing that goes wrong is told but its kind."""
    try:
        signal.set_wakeup_fd(-1)
        # All but this document: those of others, the way to the gateway.
        os.dup2(document.fileno(), 0)
        os.closerange(3, 4096)
        limit(limits)
        with socket.socket(fileno=0) as mine:
            mine.setblocking(True)
            mine.sendall(encode(_parsed(mine)))
    except BaseException:
        os._exit(1)
    os._exit(0)


def _parsed(document: socket.socket) -> Parsed:
    from fondaco.augment.parsing import formats

    try:
        with document.makefile("rb") as reader:
            (size,) = HEAD.unpack(reader.read(HEAD.size))
            if size > MAX_HEAD:
                return Parsed(fault="too_much")
            job = msgspec.msgpack.decode(reader.read(size), type=Job)
            data = reader.read()
        return formats.parse(job, data)
    except MemoryError:
        return Parsed(fault="too_much")
