"""The server's secret: 32 random bytes beside the database, never in it.

Key hashes are made under it, so a stolen database alone verifies no guess. Made at the first start; of several
processes that start at once, the first to link its file in place wins and the others read that one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from fondaco.store import folder

SECRET_NAME = "secret.key"
SECRET_BYTES = 32


class SecretDamaged(Exception):
    """The secret's file is there and is not what was written; keys made under it cannot be checked."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is damaged: restore it from a backup, or remove it and make new keys (old ones stop working)."
        )


def server_secret(data_dir: Path) -> bytes:
    """Read the secret, or make it. Raises SecretDamaged, and OSError if the directory cannot be used."""
    path = data_dir / SECRET_NAME
    if not path.exists():
        folder.prepare(data_dir)
        _make(path)
    return _read(path)


def _read(path: Path) -> bytes:
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise SecretDamaged(path)
    found = path.stat()
    if stat.S_IMODE(found.st_mode) != 0o600 and found.st_uid == os.geteuid():
        path.chmod(0o600)
    return secret


def _make(path: Path) -> None:
    draft = path.with_name(f".{SECRET_NAME}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(
            os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb"
        ) as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first: its secret is the one
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # no key is given out under a secret that a power cut could still take
    finally:
        os.close(directory)
