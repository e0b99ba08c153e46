"""The data directory and its files belong to one user: 0700 and 0600, whatever the umask."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fondaco.store.errors import DatabaseReadOnly

DATABASE_NAME = "fondaco.db"

_COMPANIONS = ("", "-wal", "-shm", "-journal")


def prepare(data_dir: Path) -> None:
    """Make `data_dir` with mode 0700, or tighten the one that is there.

    A directory that holds other things is left as it is: `--data-dir .` must not lock others out of a project,
    and our files are 0600 in any case. Raises OSError where it cannot be made.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        if not data_dir.is_dir():
            raise
        names = {entry.name for entry in data_dir.iterdir()}
        if names and DATABASE_NAME not in names:
            return
    _tighten(data_dir, 0o700)


def prepare_database(path: Path) -> None:
    """See that the file at `path` is there, if empty, and that it and its companions are 0600.

    Must run before the first connection. The file is opened here only when this call made it: to close any
    descriptor of a file that SQLite has open in this process would drop SQLite's locks on it.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass
    except OSError:
        raise DatabaseReadOnly(path) from None
    # SQLite gives -wal and -shm the mode of the database; those of an earlier, laxer start are mended here.
    for suffix in _COMPANIONS:
        _tighten(path.with_name(path.name + suffix), 0o600)


def _tighten(path: Path, mode: int) -> None:
    try:
        found = path.stat()
        if stat.S_IMODE(found.st_mode) != mode and found.st_uid == os.geteuid():
            path.chmod(mode)
    except FileNotFoundError:
        pass
