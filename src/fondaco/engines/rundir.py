"""The folder where a gateway meets its engines: 0700, one holder at a time, socket paths short enough to bind."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import sys
import tempfile
from pathlib import Path

if sys.platform == "win32":
    fcntl = None
else:
    import fcntl

UNIX_SOCKETS = hasattr(socket, "AF_UNIX") and fcntl is not None

LONGEST_SOCKET_PATH = 99
"""Bytes. The kernel's field holds 107 on Linux and 103 on macOS."""

_POINTER = "sockets-at"
_PREFIX = "fondaco-"
_SHARING = "share.sock"


class RunDir:
    """`hold` it to put sockets in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sockets: Path | None = None
        self._lock: int | None = None

    def hold(self) -> bool:
        """Take the lock and clear what a dead holder left; False when another process has it.

        The lock goes with the process, however it ends.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        if not self._locked():
            return False
        self._clear()
        self._sockets = self._folder
        if len(os.fsencode(self._folder / f"e-{'0' * 16}.sock")) > LONGEST_SOCKET_PATH:
            self._sockets = Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))
            (self._folder / _POINTER).write_text(str(self._sockets))
        return True

    def new_socket(self) -> str | None:
        """A path that no one has used: a socket's file cannot be bound twice. None where there are no Unix sockets."""
        if self._sockets is None or not UNIX_SOCKETS:
            return None
        return str(self._sockets / f"e-{secrets.token_hex(8)}.sock")

    def sharing_socket(self) -> Path:
        """Where the holder listens for other gateways, whether we hold it or not."""
        if self._sockets is not None:
            return self._sockets / _SHARING
        return (self._pointed_at() or self._folder) / _SHARING

    def release(self) -> None:
        if self._lock is None:
            return
        self._clear()
        self._sockets = None
        os.close(self._lock)
        self._lock = None

    def _locked(self) -> bool:
        if self._lock is not None:
            return True
        handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(handle)
                return False
        self._lock = handle
        return True

    def _clear(self) -> None:
        for stale in (*self._folder.glob("e-*.sock"), self._folder / _SHARING):
            stale.unlink(missing_ok=True)
        if (elsewhere := self._pointed_at()) is not None:
            shutil.rmtree(elsewhere, ignore_errors=True)
        (self._folder / _POINTER).unlink(missing_ok=True)

    def _pointed_at(self) -> Path | None:
        """The folder of our own that the pointer names, and nothing else that it might name."""
        with contextlib.suppress(OSError):
            folder = Path((self._folder / _POINTER).read_text())
            found = folder.lstat()
            ours = folder.parent == Path("/tmp") and folder.name.startswith(_PREFIX) and folder.is_dir()
            if ours and not folder.is_symlink() and found.st_uid == os.getuid() and not found.st_mode & 0o077:
                return folder
        return None
