"""Takes folders, files and pages into the index: what has changed since, and nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from fondaco.augment.documents import MAX_CHARACTERS, Documents, Unparsable
from fondaco.augment.index.passages import MOST, passages
from fondaco.augment.index.store import Document, IndexStore
from fondaco.augment.parsing.wire import Job, Parsed
from fondaco.augment.scrape import PAGES
from fondaco.net.errors import FetchError
from fondaco.net.fetching import Fetcher

MAX_FILE_BYTES = 25 * 1024 * 1024

Tell = Callable[[str, str], None]
"""Told of each document its name and what became of it: `added`, `unchanged`, or why it was left out."""


class Gathered(NamedTuple):
    added: int
    unchanged: int
    left_out: int
    gone: int
    """Documents that were in the index and are no longer there."""


class NoSuchPlace(Exception):
    """Neither a folder nor a file nor a page that can be taken in. The text says why."""


class Gathering:
    def __init__(self, store: IndexStore, documents: Documents, fetcher: Fetcher) -> None:
        self._store = store
        self._documents = documents
        self._fetcher = fetcher

    async def add(
        self, place: str, base_url: str | None = None, tell: Tell = lambda name, what: None
    ) -> Gathered:
        """A page's URL, or the path of a file or folder, whose files are told as `base_url` and their path in it.

        Given again, it is brought up to date. Raises NoSuchPlace, and IndexBroken.
        """
        if is_url(place):
            return await self._add_page(place, tell)
        path = await asyncio.to_thread(Path(place).resolve)
        if not await asyncio.to_thread(path.exists):
            raise NoSuchPlace("there is no such file or folder")
        if self._store.data_dir.resolve() in (path, path.parent if path.is_file() else path):
            raise NoSuchPlace("the server's own data directory is not taken in")
        return await self._add_files(path, base_url, tell)

    async def _add_page(self, url: str, tell: Tell) -> Gathered:
        try:
            found = await self._fetcher.fetch(url, accept=PAGES)
        except FetchError as error:
            raise NoSuchPlace(error.sentence) from None
        source_id, known = self._store.begin(url, None)
        job = Job(
            media_type=found.content_type, charset=found.charset, url=found.url, max_characters=MAX_CHARACTERS
        )
        what = await self._put(source_id, known, url, url, job, found.body)
        tell(url, what)
        return self._ended(url, [what], 0)

    async def _add_files(self, path: Path, base_url: str | None, tell: Tell) -> Gathered:
        source_id, known = self._store.begin(str(path), base_url)
        outcomes: list[str] = []
        seen: set[str] = set()
        own = self._store.data_dir.resolve()
        root, files = await asyncio.to_thread(_walked, path, own)
        base = base_url.rstrip("/") + "/" if base_url else f"file:{quote(root.name)}/"
        for file in files:
            name = file.relative_to(root).as_posix()
            read = await asyncio.to_thread(_read, file)
            if isinstance(read, bytes):
                seen.add(name)
                job = Job(name=file.name, max_characters=MAX_CHARACTERS)
                what = await self._put(source_id, known, name, base + quote(name), job, read)
            else:
                what = read
            outcomes.append(what)
            tell(name, what)
        gone = [name for name in known if name not in seen]
        for name in gone:
            self._store.drop(source_id, name)
        return self._ended(str(path), outcomes, len(gone))

    def _ended(self, place: str, outcomes: list[str], gone: int) -> Gathered:
        """A place that has nothing is not kept."""
        added, unchanged = outcomes.count("added"), outcomes.count("unchanged")
        if not added + unchanged:
            self._store.remove(place)
        return Gathered(added, unchanged, len(outcomes) - added - unchanged, gone)

    async def _put(
        self, source_id: int, known: dict[str, bytes], name: str, url: str, job: Job, data: bytes
    ) -> str:
        digest = sha256(data).digest()
        if known.get(name) == digest:
            return "unchanged"
        try:
            parsed = await self._documents.read(job, data)
        except Unparsable as unparsable:
            self._store.drop(source_id, name)
            return unparsable.sentence
        if not parsed.text:
            self._store.drop(source_id, name)
            return "there is no text in it"
        cut = list(passages(parsed.text))[:MOST]
        title = _title(parsed, Path(name).name)
        self._store.put(source_id, Document(name, url, title, parsed.date, digest, cut))
        return "added"


def is_url(place: str) -> bool:
    return place.lower().startswith(("http://", "https://"))


def _walked(path: Path, own: Path) -> tuple[Path, list[Path]]:
    """What paths are relative to, and all files; but for those of `own`, the server's own folder."""
    return path if path.is_dir() else path.parent, list(_files(path, own))


def _files(path: Path, own: Path) -> Iterator[Path]:
    """Hidden ones and links are none of it. A folder that cannot be looked into stands for itself."""
    entries: list[Path] = []
    try:
        is_one = path.is_file()
        if path.is_dir():
            entries = [
                entry
                for entry in sorted(path.iterdir())
                if not entry.name.startswith(".") and not entry.is_symlink() and entry != own
            ]
    except OSError:
        is_one = True
    if is_one:
        yield path
    for entry in entries:
        yield from _files(entry, own)


def _read(file: Path) -> bytes | str:
    """A file's bytes, or why it is left out."""
    try:
        str(file).encode()
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError:
        return "it cannot be read"
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    return data if len(data) <= MAX_FILE_BYTES else "it is too large"


def _title(parsed: Parsed, name: str) -> str:
    if parsed.title:
        return parsed.title
    first = parsed.text.partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else name
