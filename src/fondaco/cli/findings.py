"""What `serve` needs of this machine, each need looked at by one function. Nothing is changed and no network asked.

What its engines need is in `engine_findings`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import shutil
import socket
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import msgspec

from fondaco.settings import Settings

Level = Literal["ok", "warning", "problem"]

_LONGEST_SOCKET: Final = 100  # the system's limit is 104 to 108 bytes, our names in the directory take some
_SOCKET_NAME: Final = len("/engines/0123456789abcdef.sock")
_SMALL_DISK: Final = 256 * 1024**2
_BUSY_SECONDS: Final = 5.0
_READERS: Final[Mapping[str, tuple[str, ...]]] = {
    "web pages": ("trafilatura", "markdownify"),
    "PDF": ("pypdf",),
    "DOCX": ("mammoth", "markdownify"),
    "XLSX": ("openpyxl",),
    "PPTX": ("pptx",),
    "EPUB": ("lxml", "markdownify"),
}
"""What is read by modules that need not be installed."""


class Finding(msgspec.Struct, frozen=True):
    """A `problem` makes `serve` impossible or useless; a `warning` does not. `remedy` is what to do."""

    level: Level
    what: str
    remedy: str = ""


def python() -> Iterator[Finding]:
    version = platform.python_version()
    if sys.version_info >= (3, 15):
        yield Finding(
            "warning", f"Python {version} is newer than what is tested", "use 3.11 to 3.14 if it fails"
        )
    elif sys.version_info < (3, 13):
        yield Finding("ok", f"Python {version} (3.13 is 15 to 30 % faster)")
    else:
        yield Finding("ok", f"Python {version}")


def system() -> Iterator[Finding]:
    name = f"{platform.system()} {platform.machine()}"
    if platform.system() == "Linux" and platform.machine() in ("x86_64", "AMD64"):
        yield Finding("ok", name)
    else:
        yield Finding(
            "warning",
            f"{name}: only Linux x86_64 is tested, and an engine without a wheel for this platform is left out",
            "bind a model to another OpenAI-speaking server ([models.bind] in fondaco.toml) where one is missing",
        )


def data_dir(settings: Settings) -> Iterator[Finding]:
    folder = settings.server.data_dir.expanduser().absolute()
    remedy = "choose another with --data-dir, or mend its owner and mode"
    if not folder.exists():
        parent = nearest(folder)
        if parent.is_dir() and _writable(parent):
            yield Finding("ok", f"data directory {folder} will be made")
        else:
            yield Finding("problem", f"data directory {folder} cannot be made in {parent}", remedy)
        return
    if not folder.is_dir() or not _writable(folder):
        yield Finding("problem", f"data directory {folder} is not a directory that can be written to", remedy)
        return
    yield Finding("ok", f"data directory {folder} is writable")
    found = folder.stat()
    if stat.S_IMODE(found.st_mode) & 0o077:
        yield Finding(
            "warning",
            f"others may look into {folder} (mode {found.st_mode & 0o777:o})",
            f"chmod 700 {folder}",
        )
    free = shutil.disk_usage(folder).free
    if free < _SMALL_DISK:
        yield Finding(
            "warning", f"only {size(free)} free for {folder}", "free some space: the ledger is kept there"
        )


def books(settings: Settings) -> Iterator[Finding]:
    """The ledger as its last commit left it, also while a server runs on it."""
    from sqlalchemy.exc import SQLAlchemyError

    from fondaco.store.errors import StoreError
    from fondaco.store.faults import translated
    from fondaco.store.folder import DATABASE_NAME

    path = settings.server.data_dir.expanduser().absolute() / DATABASE_NAME
    if not path.is_file():
        return
    try:
        wrong = _audited(path)
    except (StoreError, SQLAlchemyError, sqlite3.Error) as error:
        meant = translated(error, path)
        said = str(meant) if isinstance(meant, StoreError) else f"the database {path} cannot be read"
        yield Finding("problem", said, "mend it, or restore it from a backup")
        return
    if wrong is None:
        yield Finding("ok", f"database {path} is of an older version; `serve` brings it up to date")
    elif wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        remedy = "keep a copy of the data directory, and report it with these words"
        yield Finding("warning", f"the ledger's books are wrong: {wrong[0]}{more}", remedy)
    else:
        yield Finding("ok", "the ledger's books are right")


def web(settings: Settings) -> Iterator[Finding]:
    """Whether pages and documents can be read, and the web be searched; chats go on without."""
    unread = [what for what, modules in _READERS.items() if not all(map(find_spec, modules))]
    lacking = [f"{', '.join(unread)} cannot be read"] if unread else []
    if "ddgs" in settings.search.providers and not find_spec("ddgs"):
        lacking.append("the provider ddgs cannot search")
    if lacking:
        remedy = "`pip install 'fondaco[web]'`, or `uv sync` in a checkout"
        yield Finding("warning", f"web: {'; '.join(lacking)}", remedy)
    else:
        yield Finding("ok", "web pages and documents can be read")


def port(settings: Settings) -> Iterator[Finding]:
    host, number = settings.server.host, settings.server.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        match error.errno:
            case errno.EADDRINUSE:
                said, remedy = f"port {number} is taken on {host}", "stop what listens there, or give --port"
            case errno.EACCES:
                said, remedy = f"port {number} is not allowed to you", "give a --port above 1023"
            case _:
                said, remedy = f"{host}:{number} cannot be listened on", "give a --host of this machine"
        yield Finding("problem", said, remedy)
        return
    yield Finding("ok", f"{host}:{number} is free")


def unix_sockets(settings: Settings) -> Iterator[Finding]:
    """Engines are reached over Unix sockets; without them over loopback with a key, which is a little slower."""
    folder = settings.server.data_dir.expanduser().absolute()
    instead = "engines are reached over loopback with a random key instead"
    if len(os.fsencode(folder)) + _SOCKET_NAME > _LONGEST_SOCKET:
        yield Finding(
            "warning", f"the path of {folder} is too long for Unix sockets; {instead}", "a shorter --data-dir"
        )
        return
    try:
        with (
            tempfile.TemporaryDirectory(dir=folder if folder.is_dir() else None) as place,
            socket.socket(socket.AF_UNIX) as probe,
        ):
            probe.bind(str(Path(place) / "s"))
    except (OSError, AttributeError):
        yield Finding(
            "warning", f"Unix sockets do not work in {folder}; {instead}", "a --data-dir on a local disk"
        )
        return
    yield Finding("ok", "Unix sockets work")


def _audited(path: Path) -> list[str] | None:
    """What is wrong with the books; None where the schema is not today's. Raises StoreError, and what SQLite does."""
    from fondaco.billing.audit import audit
    from fondaco.store import connections, migrations

    # One that may write leaves no files of its own beside the database; it is only read by.
    link = connections.Link(connections.engine(partial(connections.writing, path, _BUSY_SECONDS)))
    with contextlib.closing(link):
        if migrations.revision(link.raw, path) != migrations.REVISIONS[-1]:
            return None
        link.raw.execute("BEGIN")
        try:
            return audit(link.sql)
        finally:
            link.raw.execute("ROLLBACK")


def nearest(path: Path) -> Path:
    """The path itself or the closest one above it that is there."""
    return next((place for place in (path, *path.parents) if place.exists()), Path("/"))


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def size(count: int | None) -> str:
    if count is None:
        return "size unknown"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
